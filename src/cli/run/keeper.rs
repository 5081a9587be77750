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
//! - The program is not restarted when values change: that is said once a source, and
//!   is what `--watch` is for.
//! - SIGINT, SIGQUIT, SIGTSTP and SIGWINCH that somebody sends to dlconf alone are
//!   not passed on while it is in the foreground of a terminal: they cannot be told
//!   from the terminal's own, which the program gets anyway.
//! - A program that moves into the background by itself has ended, as we see it.

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::stage;
use crate::cli::Failure;
use crate::cli::assemble::{RETURN_DEADLINE, close_all};
use crate::process::{Child, Event, Hardened, Heard, Signal, Signals, from_the_keyboard};
use crate::source::{Source, Use};

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
        let (found, signals) = stage::listen()?;
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
            closed = close_all(sources, Use::Over, RETURN_DEADLINE) => closed,
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
         it read them (`run --watch` does that)",
        source.name()
    ));
    loop {
        tokio::time::sleep(FOLLOW_AGAIN).await;
        source.changed().await;
    }
}

#[cfg(test)]
mod tests;
