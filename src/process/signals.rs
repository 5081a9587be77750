//! Signals: how we found them, hearing them, their names.
//!
//! Invariant: what was found is looked at before a handler is installed.
//! Must not know: what becomes of a signal.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio::signal::unix::{self, SignalKind};

/// The signals that are passed on to a child. The first one is to be dealt with
/// before a stop of the child is: both go to the whole group, in any order.
pub const LISTENED: [Signal; 9] = [
    Signal::SIGCONT,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// How this process found its signals, before it listened to any.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    ignored: SigSet,
    /// Those that were held back. Ours changes: we let in what we hear.
    blocked: SigSet,
}

impl Found {
    /// Looks. To be called before a handler is installed.
    pub fn look() -> Self {
        let mut ignored = SigSet::empty();
        for signal in handled() {
            // SAFETY: as in `look_at_sigpipe`: a null action changes nothing.
            let is_ignored = unsafe {
                let mut current: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut current) == 0
                    && current.sa_sigaction == libc::SIG_IGN
            };
            if is_ignored {
                ignored.add(signal);
            }
        }
        Self { ignored, blocked: SigSet::thread_get_mask().unwrap_or_else(|_| SigSet::empty()) }
    }

    /// Whether we were started to ignore a signal.
    pub fn ignores(self, signal: Signal) -> bool {
        self.ignored.contains(signal)
    }

    /// Puts the dispositions back. Allocates nothing.
    pub(super) fn hand_back(self) {
        for signal in handled() {
            let handler = if self.ignored.contains(signal) { SigHandler::SigIgn } else { SigHandler::SigDfl };
            let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
            // SAFETY: neither of the two runs code of ours.
            let _previous = unsafe { sigaction(signal, &action) };
        }
    }

    /// Puts the mask back: what was held back meanwhile comes now. Allocates nothing.
    pub(super) fn let_in(self) {
        let _unchanged = self.blocked.thread_set_mask();
    }
}

/// The signals that [`Signals`] installs handlers for, and the one that we ignore at a
/// terminal.
pub(super) fn handled() -> impl Iterator<Item = Signal> {
    LISTENED.into_iter().chain([Signal::SIGCHLD, Signal::SIGTTOU])
}

/// Whether it is one that a terminal sends to everybody in the foreground.
pub fn from_the_keyboard(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP | Signal::SIGWINCH)
}

/// The signal that a person means: `HUP`, `sighup`, `1`. None where there is none, or
/// where it is one that nobody can handle.
pub fn signal_named(text: &str) -> Option<Signal> {
    let signal = match text.parse::<i32>() {
        Ok(number) => Signal::try_from(number).ok()?,
        Err(_) => {
            let name = text.to_ascii_uppercase();
            let name = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
            name.parse().ok()?
        }
    };
    Some(signal).filter(|signal| !matches!(signal, Signal::SIGSTOP))
}

/// What we hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A signal for the program.
    Passed(Signal),
    /// Something happened to a child.
    Child,
}

/// The signals we listen to.
#[derive(Debug)]
pub struct Signals {
    /// In the order of [`LISTENED`].
    passed: Vec<(Signal, unix::Signal)>,
    child: unix::Signal,
}

impl Signals {
    /// Listens from now on. To be called in a runtime.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        let passed = LISTENED.into_iter().map(|signal| {
            let kind = SignalKind::from_raw(signal as i32);
            unix::signal(kind).map(|stream| (signal, stream))
        });
        Ok(Self { passed: passed.collect::<io::Result<_>>()?, child: unix::signal(SignalKind::child())? })
    }

    /// The next one. Of those that came together, the child's comes last: a
    /// signal that was meant to stop or continue it must reach it before we judge
    /// how it is. It may be dropped at any time.
    pub async fn next(&mut self) -> Heard {
        poll_fn(|context| {
            for (signal, stream) in &mut self.passed {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(Heard::Passed(*signal));
                }
            }
            self.child.poll_recv(context).map(|_| Heard::Child)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_its_names() {
        for (text, expected) in [
            ("HUP", Some(Signal::SIGHUP)),
            ("sighup", Some(Signal::SIGHUP)),
            ("SIGUSR1", Some(Signal::SIGUSR1)),
            ("15", Some(Signal::SIGTERM)),
            ("KILL", Some(Signal::SIGKILL)),
            ("STOP", None),
            ("0", None),
            ("", None),
            ("NOPE", None),
        ] {
            assert_eq!(signal_named(text), expected, "{text}");
        }
    }
}
