//! This process: hardening at the start, another program at the end.
//!
//! Owns: what the kernel is asked to do to this process and to those that it starts.
//! `program` becomes another program; `child` runs one beside us and follows it, `job`
//! one in a process group of its own; `spawn` is how both begin, `reap` how they end;
//! `job_control` is a job's part at the `terminal`, `standstill` is Ctrl-Z;
//! `signals` hears what is sent to us; `memory` is a file that only a job can read;
//! `helper` is a process set aside before hardening, which runs programs without
//! it; `pidfd` signals somebody else's; `peer` asks who connected to a socket;
//! `interrupt` holds back what ends us.
//! Invariants: hardening runs before any thread and before any value is read;
//! what it changed that a program would inherit is put back before that runs; a
//! panic says where, never with what.
//! Must not know: values' meaning; sources.

#![allow(
    unsafe_code,
    reason = "what the standard library and nix cannot do; each block says why it is sound"
)]

mod adopted;
mod child;
mod clock;
pub mod helper;
mod interrupt;
mod job;
mod job_control;
mod memory;
pub mod peer;
pub mod pidfd;
mod program;
mod reap;
mod room;
mod signals;
mod spawn;
mod standstill;
mod terminal;

pub use adopted::reap_adopted;
pub use child::{Child, Event};
pub use clock::since_boot;
pub use helper::{Helper, HelperHandle};
pub use interrupt::Interrupts;
pub use job::{Job, Launch, adopt_orphans};
pub use job_control::{JobControl, die_like};
pub use memory::MemoryFile;
pub use nix::sys::signal::Signal;
pub use nix::unistd::Pid;
pub use program::{ExecError, become_program};
pub use reap::{Change, Ended, Guest, next_change};
pub use room::can_be_given;
pub use signals::{Found, Heard, LISTENED, Signals, from_the_keyboard, signal_named};
pub use spawn::Place;

use std::ffi::OsString;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, sigaction};

/// Whether SIGPIPE was ignored when this process was started. Rust's runtime
/// sets it to ignored before `main`, so it has to be looked at before that: a
/// program that we become must find it as a bare exec would have left it
/// (systemd starts services with it ignored, a shell does not).
static SIGPIPE_IGNORED_AT_START: AtomicBool = AtomicBool::new(false);

extern "C" fn look_at_sigpipe() {
    // SAFETY: `sigaction` is valid for a zeroed, writable struct, and with a
    // null action it changes nothing. No allocation, no Rust runtime needed.
    let ignored = unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut current) == 0
            && current.sa_sigaction == libc::SIG_IGN
    };
    SIGPIPE_IGNORED_AT_START.store(ignored, Ordering::Relaxed);
}

// SAFETY: the loader calls each pointer of this section once, before `main`;
// the function takes no arguments it reads and returns nothing.
#[used]
#[unsafe(link_section = ".init_array")]
static SIGPIPE_AT_START: extern "C" fn() = look_at_sigpipe;

/// What hardening changed and a child must get back.
#[derive(Debug, Clone, Copy)]
pub struct Hardened {
    core_limit: Option<(u64, u64)>,
    /// A program may take every descriptor that it may have for one to look at, and
    /// `select` knows but 1,024.
    descriptor_limit: Option<(u64, u64)>,
}

/// Makes this process hard to look into: no core file, no debugger of the same
/// user, `/proc/self` closed to others. To be called first in `main`, before
/// any thread and any value.
///
/// Failures are not fatal here: a sandbox may forbid the calls; `doctor`
/// reports what is in force.
pub fn harden() -> Hardened {
    say_only_where_it_panics();
    let _unsupported = nix::sys::prctl::set_dumpable(false);
    let core_limit = getrlimit(Resource::RLIMIT_CORE).ok();
    if let Some((_, hard)) = core_limit {
        let _forbidden = setrlimit(Resource::RLIMIT_CORE, 0, hard);
    }
    Hardened { core_limit, descriptor_limit: getrlimit(Resource::RLIMIT_NOFILE).ok() }
}

/// Lets this process have at least so many descriptors at once, as far as the hard
/// limit goes; how many it may have now.
///
/// The kernel makes room for them here and now: it doubles a table that is full, and
/// where threads share it, waits for every processor each time, 10 ms or more.
pub fn allow_descriptors(wanted: u64) -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    let raised = wanted.min(hard).max(soft);
    let allowed = match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    if let Ok(last) = i32::try_from(wanted.min(allowed).saturating_sub(1)) {
        // Without it everything works, and is slower once.
        let farthest = fcntl(std::io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(last));
        let _closed = farthest.map(nix::unistd::close);
    }
    allowed
}

/// What this host, or container, is called.
pub fn host_name() -> Option<OsString> {
    nix::unistd::gethostname().ok()
}

/// Makes a panic say where, never with what.
fn say_only_where_it_panics() {
    std::panic::set_hook(Box::new(|panic| {
        // The payload may quote a value (a slice error prints the text), so
        // only the place is said.
        let place = panic.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let text = format!("dlconf: internal error{place}; please report it with the command you ran\n");
        let _closed = std::io::stderr().lock().write_all(text.as_bytes());
    }));
}

/// Puts back what a program would inherit. (exec itself makes it dumpable again.)
/// Allocates nothing: it also runs between fork and exec.
fn hand_back(hardened: Hardened) {
    if let Some((soft, hard)) = hardened.core_limit {
        let _unchanged = setrlimit(Resource::RLIMIT_CORE, soft, hard);
    }
    if let Some((soft, hard)) = hardened.descriptor_limit {
        let _unchanged = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
    }
    if !SIGPIPE_IGNORED_AT_START.load(Ordering::Relaxed) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: SIG_DFL runs no code of ours.
        let _previous = unsafe { sigaction(Signal::SIGPIPE, &default) };
    }
}
