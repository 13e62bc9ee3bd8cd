//! The `vlmgate` command.

use std::process::ExitCode;

/// A rush of uploads fills many arenas of the C library's allocator with pieces of bodies, and they
/// stay: after seven times the usual load the process kept seven times its memory. mimalloc hands
/// free pages back within milliseconds; scenario S12 holds it to that (`F3_back`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vlmgate::cli::run()
}
