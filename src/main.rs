//! The `vlmgate` command.

use std::process::ExitCode;

/// A rush of uploads fills many arenas of the C library's allocator with pieces of bodies, and they
/// stay: after seven times the usual load the process kept seven times its memory. mimalloc hands
/// free pages back within a second: a rush peaks at 360 MB instead of 490 and leaves 1.1 times what was
/// there before, for 60 MB more in quiet times. Scenario S12 holds it to that (`F3_back`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vlmgate::cli::run()
}
