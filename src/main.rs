//! The `vlmgate` command.

use std::process::ExitCode;

/// A rush of uploads fills many arenas of the C library's allocator with pieces of bodies, and they
/// stay: after seven times the usual load the process kept seven times its memory. mimalloc hands
/// free pages back within a second. Huge pages are off: they held a third more memory at rest and gave
/// no time for it. Scenario S12 holds what a rush leaves to what one left before (`F3_back`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    vlmgate::cli::run()
}
