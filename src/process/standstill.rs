//! Standing still, as a shell's Ctrl-Z wants it.
//!
//! Invariants: we stand still only where somebody would continue us, which is for the
//! kernel to say: it stops nobody in a group without a parent in the same session (PID 1
//! in a container, a service, what a shell has disowned); the handlers are afterwards as
//! they were.
//! Must not know: what runs.

use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, raise, sigaction};
use nix::unistd::Pid;

/// Who is to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// This process.
    Us,
    /// All of its group, as the terminal would have done it.
    OurGroup,
}

/// Whether we were continued since this was last made false.
static CONTINUED: AtomicBool = AtomicBool::new(false);

extern "C" fn continued(_signal: libc::c_int) {
    CONTINUED.store(true, Ordering::Relaxed);
}

/// Stops by the default action of SIGTSTP, SIGTTIN or SIGTTOU, and comes back when
/// continued: true. False if the kernel refused. Who hears SIGCONT does not hear this
/// one.
pub(super) fn stand_still(whom: Whom, signal: Signal) -> bool {
    CONTINUED.store(false, Ordering::Relaxed);
    let note = set(Signal::SIGCONT, SigHandler::Handler(continued));
    // Ours comes on its own, to this very thread: it has happened when `raise` returns.
    let before = set(signal, SigHandler::SigIgn);
    if whom == Whom::OurGroup {
        let _refused_by_some = kill(Pid::from_raw(0), signal);
    }
    let _default = set(signal, SigHandler::SigDfl);
    let mut let_in = SigSet::empty();
    let_in.add(signal);
    let_in.add(Signal::SIGCONT);
    let mask = let_in.thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
    if !CONTINUED.load(Ordering::Relaxed) {
        let _refused = raise(signal);
    }
    let _unchanged = mask.and_then(|mask| mask.thread_set_mask());
    for (signal, action) in [(signal, before), (Signal::SIGCONT, note)] {
        if let Some(action) = action {
            // SAFETY: it is the action that was in place before.
            let _replaced = unsafe { sigaction(signal, &action) };
        }
    }
    CONTINUED.load(Ordering::Relaxed)
}

/// Sets what a signal does; what it did before.
fn set(signal: Signal, handler: SigHandler) -> Option<SigAction> {
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the one handler that is given here stores to an atomic and does nothing else.
    unsafe { sigaction(signal, &action) }.ok()
}
