//! Being told to end while something is held elsewhere: a login, a lease.
//!
//! Owns: holding the signals back for a while. Invariants: what came is delivered
//! when they are let go, so that whoever sent it sees us end by it; the mask is
//! then as it was; a signal that we were started to ignore stays ignored.
//! Must not know: what is held.

use std::convert::Infallible;
use std::os::fd::AsRawFd as _;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::signals::Found;

/// What ends a program that does not listen.
const ENDING: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];

/// The signals that end us, held back for as long as this lives.
pub struct Interrupts {
    came: AsyncFd<SignalFd>,
    before: SigSet,
}

impl Interrupts {
    /// Holds them back; none where the system does not let us, or nothing is to be
    /// held. To be called in a runtime.
    pub fn hold() -> Option<Self> {
        let found = Found::look();
        let mut held = SigSet::empty();
        // A signal that is ignored is dropped only while it is not held back.
        ENDING.into_iter().filter(|signal| !found.ignores(*signal)).for_each(|signal| held.add(signal));
        let descriptor = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok()?;
        // SAFETY: a `SignalFd` owns its descriptor, gives always the same, and nothing
        // takes it out of the `AsyncFd` while that lives.
        let came = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }.ok()?;
        let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok()?;
        Some(Self { came, before })
    }

    /// Waits for one of them. It stays pending.
    pub async fn came(&self) {
        if self.came.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Lets them go, and with them this process.
    #[expect(clippy::disallowed_methods, reason = "reached only where somebody handles the signal after all")]
    pub fn end(self) -> Infallible {
        let which = self.came.get_ref().read_signal().ok().flatten();
        let which = which.and_then(|info| Signal::try_from(i32::try_from(info.ssi_signo).ok()?).ok());
        let which = which.unwrap_or(Signal::SIGTERM);
        let _dead_when_let_go = raise(which);
        drop(self);
        std::process::exit(128 + which as i32)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _unchanged = self.before.thread_set_mask();
    }
}

impl std::fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Interrupts({})", self.came.as_raw_fd())
    }
}
