//! The parent of a program that runs on leased credentials.
//!
//! Owns: the time between the program's start and our own end. It lets the
//! sources renew what they lent, passes signals on, stops and continues with the
//! program, and ends with the program's own code once the leases are given back.
//! Invariants: a dead child is never waited for; nothing but the closing of the
//! sources comes between its end and ours, and that has a deadline.
//! Must not know: values; what a source is connected to.
//!
//! # Current limitations
//! - The program is not restarted when values change: that is said once a source.
//! - SIGINT, SIGQUIT, SIGTSTP and SIGWINCH that somebody sends to dlconf alone are
//!   not passed on while it is in the foreground of a terminal: they cannot be told
//!   from the terminal's own, which the program gets anyway.
//! - A program that moves into the background by itself has ended, as we see it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::{pending, poll_fn};
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::cli::assemble::close_all;
use crate::cli::{Failure, exit};
use crate::process::{Child, Event, Found, Hardened, LISTENED};
use crate::source::{Source, Use};

/// How long the sources may take to give leases back: less than what those who
/// stop services wait before they kill.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How soon a source is followed again after it said that values changed. We do
/// not fetch them, so it may say so at once again.
const FOLLOW_AGAIN: Duration = Duration::from_secs(5);

/// A running program, and what we hear of it.
pub(super) struct Keeper {
    child: Child,
    signals: Signals,
    /// Whether somebody asked for an end.
    asked: bool,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The program's own code, or 128+N after signal N.
    pub(super) code: u8,
    /// Whether the sources were closed in time.
    pub(super) closed: bool,
}

impl Keeper {
    /// Starts the program. To be called in the runtime, and on the thread that
    /// stays until the program's end: see [`Child::start`].
    pub(super) fn start(
        hardened: Hardened,
        command: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> Result<Self, Failure> {
        let found = Found::look();
        let signals = Signals::listen().map_err(|error| {
            Failure::new(exit::RUN_FAILED, format!("the system refuses signal handlers: {error}"), None)
        })?;
        let child = Child::start(hardened, found, command, environment)
            .map_err(|error| Failure::new(error.exit_code(), error.to_string(), None))?;
        Ok(Self { child, signals, asked: false })
    }

    /// Stays until the program has ended and the sources are closed. `warn` says
    /// a line to people.
    pub(super) async fn stay(mut self, sources: &[Arc<dyn Source>], warn: &dyn Fn(&str)) -> Kept {
        let code = {
            let follow = async {
                join_all(sources.iter().map(|source| follow(&**source, warn))).await;
                pending::<Infallible>().await
            };
            tokio::select! {
                code = self.until_the_end() => code,
                never = follow => match never {},
            }
        };
        let closed = tokio::select! {
            closed = close_all(sources, Use::Over, CLOSE_DEADLINE) => closed,
            () = asked_again(&mut self.signals, self.asked) => false,
        };
        Kept { code, closed }
    }

    async fn until_the_end(&mut self) -> u8 {
        loop {
            match self.signals.next().await {
                Heard::Passed(signal) => {
                    self.asked |= asks_for_an_end(signal);
                    if !(from_the_keyboard(signal) && self.child.is_in_foreground()) {
                        self.child.pass(signal);
                    }
                }
                Heard::Child => {
                    while let Some(event) = self.child.look() {
                        match event {
                            Event::Ended(code) => return code,
                            Event::Stopped => self.child.stop_with_it(),
                        }
                    }
                }
            }
        }
    }
}

fn asks_for_an_end(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT)
}

/// Whether it is one that a terminal sends to everybody in the foreground.
pub(in crate::cli) fn from_the_keyboard(signal: Signal) -> bool {
    matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP | Signal::SIGWINCH)
}

/// Waits until somebody asks for an end who has asked before.
async fn asked_again(signals: &mut Signals, mut asked: bool) {
    loop {
        if let Heard::Passed(signal) = signals.next().await
            && asks_for_an_end(signal)
            && std::mem::replace(&mut asked, true)
        {
            return;
        }
    }
}

/// Lets a source renew what it lent, which it does while it watches.
async fn follow(source: &dyn Source, warn: &dyn Fn(&str)) {
    source.changed().await;
    warn(&format!(
        "source '{}' has other values now; the program keeps those that it started with: restart it to have \
         it read them",
        source.name()
    ));
    loop {
        tokio::time::sleep(FOLLOW_AGAIN).await;
        source.changed().await;
    }
}

/// What we hear.
pub(in crate::cli) enum Heard {
    /// A signal for the program.
    Passed(Signal),
    /// Something happened to a child.
    Child,
}

/// The signals we listen to.
pub(in crate::cli) struct Signals {
    /// In the order of [`LISTENED`].
    passed: Vec<(Signal, unix::Signal)>,
    child: unix::Signal,
}

impl Signals {
    pub(in crate::cli) fn listen() -> io::Result<Self> {
        let passed = LISTENED.into_iter().map(|signal| {
            let kind = SignalKind::from_raw(signal as i32);
            unix::signal(kind).map(|stream| (signal, stream))
        });
        Ok(Self { passed: passed.collect::<io::Result<_>>()?, child: unix::signal(SignalKind::child())? })
    }

    /// The next one. Of those that came together, the child's comes last: a
    /// signal that was meant to stop or continue it must reach it before we judge
    /// how it is.
    pub(in crate::cli) async fn next(&mut self) -> Heard {
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
mod tests;
