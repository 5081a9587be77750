//! The program: harden, run, exit code.

use std::process::ExitCode;

use dlconf::model::secret::{WIPING_ALLOCATOR, WipingAllocator};

#[global_allocator]
static ALLOCATOR: WipingAllocator = WIPING_ALLOCATOR;

fn main() -> ExitCode {
    let hardened = dlconf::process::harden();
    ExitCode::from(dlconf::cli::main(std::env::args_os(), hardened))
}
