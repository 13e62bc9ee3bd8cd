//! The `vlmgate` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    vlmgate::cli::run()
}
