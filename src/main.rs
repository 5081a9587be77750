//! The program: set a process aside that stays as we were started, harden, run,
//! exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use dlconf::model::secret::{WIPING_ALLOCATOR, WipingAllocator};
use dlconf::process::Helper;

#[global_allocator]
static ALLOCATOR: WipingAllocator = WIPING_ALLOCATOR;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let helper = Helper::fork_if_needed(&arguments);
    let hardened = dlconf::process::harden();
    ExitCode::from(dlconf::cli::main(arguments, hardened, helper))
}
