//! Whether a program works.
//!
//! Invariants: one attempt at a time, none of which outlives its deadline, nor what it
//! asks about; what it needs is held while a program is to be proven, and no longer.
//! Must not know: what follows from that.
//!
//! Rooms: `web` asks over HTTP; `command` lets a command look.

mod command;
mod web;

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::handing::Handed;
use super::terms::Health;
use crate::process::{Change, Found, Hardened, Pid};
use command::Look;
use web::Web;

/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// After a start, and after the first attempt; twice as long after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// From one attempt to the next, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks a program, again and again until it works.
pub(super) struct Proof {
    health: Option<Health>,
    state: State,
    /// Asks over HTTP; made for the first attempt.
    web: Option<Web>,
    /// Why the last attempt showed nothing, as a clause.
    saw: Option<String>,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// [`Proof::ask`].
    Ask,
    /// It works.
    Proven,
}

enum State {
    /// Nothing is to be shown.
    Idle,
    /// It has to live until then.
    Lives(Instant),
    /// It is asked next at this moment.
    Pauses { until: Instant, pause: Duration },
    /// It is being asked, and next at this moment, unless that takes longer.
    Asks { attempt: Attempt, next: Instant, pause: Duration },
}

enum Attempt {
    Web(web::Answer),
    Command(Look),
}

impl Proof {
    pub(super) fn new(health: Option<Health>) -> Self {
        Self { health, state: State::Idle, web: None, saw: None }
    }

    /// Something new runs. What was being asked of something older is given up.
    pub(super) fn begin(&mut self) {
        let now = Instant::now();
        self.saw = None;
        self.state = match &self.health {
            None => State::Idle,
            Some(Health::Lives(time)) => State::Lives(now + *time),
            Some(Health::Answers(_) | Health::Runs(_)) => {
                State::Pauses { until: now + FIRST_PAUSE, pause: FIRST_PAUSE }
            }
        };
    }

    /// Why the last attempt since [`Self::begin`] showed nothing, as a clause.
    pub(super) fn saw(&self) -> Option<String> {
        self.saw.clone()
    }

    /// Nothing runs any more, or nothing is to be asked any more.
    pub(super) fn end(&mut self) {
        (self.state, self.web) = (State::Idle, None);
    }

    /// It stood still for so long, with us.
    pub(super) fn suspended(&mut self, time: Duration) {
        match &mut self.state {
            State::Lives(until) | State::Pauses { until, .. } => *until += time,
            // The attempt is judged as it ends.
            State::Asks { next, .. } => *next += time,
            State::Idle => {}
        }
    }

    /// Waits until something is to be done. It may be dropped at any time.
    pub(super) async fn due(&mut self) -> Due {
        loop {
            let works = match &mut self.state {
                State::Idle => pending().await,
                State::Lives(until) => {
                    sleep_until(*until).await;
                    Ok(())
                }
                State::Pauses { until, .. } => {
                    sleep_until(*until).await;
                    return Due::Ask;
                }
                State::Asks { attempt: Attempt::Web(answer), .. } => answer.await,
                State::Asks { attempt: Attempt::Command(look), .. } => look.too_long().await,
            };
            match works {
                Ok(()) => {
                    self.end();
                    return Due::Proven;
                }
                Err(why) => self.pause(why),
            }
        }
    }

    /// Begins to ask once. `handed` is what a command that asks is started with.
    pub(super) fn ask(
        &mut self,
        hardened: Hardened,
        found: Found,
        handed: impl FnOnce() -> Result<Handed, String>,
    ) {
        let State::Pauses { pause, .. } = self.state else { return };
        let now = Instant::now();
        let attempt = match &self.health {
            Some(Health::Answers(url)) => {
                let web = self.web.get_or_insert_with(|| Web::new(url));
                Ok(Attempt::Web(web.ask(url, PATIENCE)))
            }
            Some(Health::Runs(command)) => handed()
                .and_then(|handed| Look::begin(hardened, found, command, &handed, now + PATIENCE))
                .map(Attempt::Command),
            Some(Health::Lives(_)) | None => return,
        };
        let next = now + pause;
        let pause = (pause * 2).min(LONGEST_PAUSE);
        self.state = match attempt {
            Ok(attempt) => State::Asks { attempt, next, pause },
            Err(why) => {
                self.saw = Some(why);
                State::Pauses { until: next, pause }
            }
        };
    }

    /// The command that asks.
    pub(super) fn leader(&self) -> Option<Pid> {
        match &self.state {
            State::Asks { attempt: Attempt::Command(look), .. } => look.leader(),
            _ => None,
        }
    }

    /// Notes what happened to a child, which may be the command that asks. True if that
    /// shows that the program works.
    pub(super) fn note(&mut self, pid: Pid, change: Change) -> bool {
        let State::Asks { attempt: Attempt::Command(look), .. } = &mut self.state else { return false };
        let Change::Ended(ended) = change else { return false };
        if !look.ended(pid) {
            return false;
        }
        if ended.code == 0 {
            self.end();
        } else {
            self.pause(format!("the command ended with {}", ended.code));
        }
        ended.code == 0
    }

    /// The attempt showed nothing.
    fn pause(&mut self, why: String) {
        self.saw = Some(why);
        if let State::Asks { next, pause, .. } = self.state {
            self.state = State::Pauses { until: next, pause };
        }
    }
}

#[cfg(test)]
mod tests;
