//! Staying with a daemon for as long as a program runs.
//!
//! Owns: asking again and again for what changed. Invariants: what runs is held whatever
//! happens to the daemon; only an answer for the same environment and service is offered;
//! nothing of an answer is kept here but which one it was.
//! Must not know: what an offer does.

use std::cell::RefCell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::borrower::{Borrower, Config, Served, config};
use super::ledger::Ledger;
use super::outage::{Outage, Trouble};
use crate::access::Action;
use crate::cli::Failure;
use crate::cli::ask::{Answer, Question, Tag};
use crate::cli::get::unanswered;
use crate::cli::run::words::Spoken;
use crate::serve::socket::Names;
use crate::supervise::Offer;

/// How long the daemon may wait for something to tell: as a rule, and when it is to be
/// seen whether it can be followed again.
const WAIT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(1));
/// Between two answers, at least: what changes sooner is one change.
const PACE: Duration = Duration::from_millis(50);
/// Between two attempts, at first and at most: so soon it is seen that a daemon is back.
const STEPS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// Who stays with a daemon.
pub(super) struct Follower<'a> {
    borrower: &'a Borrower<'a>,
    /// Whom the program that runs is for.
    served: Served,
    tag: Option<Tag>,
    /// Whether the last answer was not whole.
    is_partial: bool,
    ledger: &'a RefCell<Ledger>,
    spoken: &'a Spoken,
}

/// Another answer.
enum Found {
    Whole {
        names: Names,
        offer: Offer,
        tag: Option<Tag>,
    },
    /// Some of it is too old to be given, which is no reason to take it away.
    Partial {
        why: Failure,
        tag: Option<Tag>,
    },
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        borrower: &'a Borrower<'a>,
        served: Served,
        tag: Option<Tag>,
        ledger: &'a RefCell<Ledger>,
        spoken: &'a Spoken,
    ) -> Self {
        Self { borrower, served, tag, is_partial: false, ledger, spoken }
    }

    /// Offers what the daemon gives; never done.
    pub(super) async fn follow(mut self, offers: watch::Sender<Arc<Offer>>) -> Infallible {
        let place = self.borrower.daemon().place().display().to_string();
        let mut outage = Outage::none_yet(self.spoken, place);
        let mut step = STEPS.0;
        loop {
            let next = Instant::now() + PACE;
            let wait = if outage.is_one() && !self.is_partial { WAIT.1 } else { WAIT.0 };
            match self.look(wait).await {
                Ok(found) => {
                    step = STEPS.0;
                    match found {
                        Some(Found::Partial { why, tag }) => {
                            (self.tag, self.is_partial) = (tag, true);
                            outage.goes_on(Trouble::partial(why));
                        }
                        None if self.is_partial => {}
                        None => outage.is_over(),
                        Some(Found::Whole { names, offer, tag }) => {
                            outage.is_over();
                            let offer = Arc::new(offer);
                            (self.tag, self.is_partial) = (tag, false);
                            self.ledger.borrow_mut().note(&names, &offer);
                            offers.send_replace(offer);
                        }
                    }
                    sleep_until(next).await;
                }
                Err(trouble) => {
                    outage.goes_on(trouble);
                    sleep(unlike_others(step)).await;
                    step = (step * 2).min(STEPS.1);
                }
            }
        }
    }

    /// Waits for a while for another answer than the last.
    async fn look(&self, wait: Duration) -> Result<Option<Found>, Trouble> {
        let daemon = self.borrower.daemon();
        let (_, vars) = self.names().await?;
        let question = config(vars.as_deref()).waiting(wait);
        let (config, tag): (Config, _) = match daemon.other_than(self.tag.as_ref(), &question).await? {
            None => return Ok(None),
            Some((Answer::Given(config), tag)) => (config, tag),
            Some((Answer::Refused(problem), _)) if problem.status == 503 => {
                return Err(Trouble::not_ready(unanswered(daemon, &problem)));
            }
            Some((Answer::Refused(problem), _)) => {
                return Err(Trouble::refused(self.borrower.refused(problem)));
            }
        };
        if let Some(why) = self.borrower.is_partial(&config) {
            return Ok(Some(Found::Partial { why, tag }));
        }
        // Those of before may be of an older schema.
        let (names, _) = self.names().await?;
        let (served, offer) = self.borrower.taken(&names, config).map_err(Trouble::another)?;
        self.borrower.follows(&self.served, &served).map_err(Trouble::another)?;
        Ok(Some(Found::Whole { names, offer, tag }))
    }

    /// The names, if they are for who is meant, and what to ask for. No value of
    /// another environment is asked for.
    async fn names(&self) -> Result<(Names, Option<String>), Trouble> {
        let daemon = self.borrower.daemon();
        let names: Names = match daemon.ask_now(&Question::get(&["v1", "names"], Action::Read)).await? {
            Answer::Given(names) => names,
            Answer::Refused(problem) => return Err(Trouble::not_ready(unanswered(daemon, &problem))),
        };
        let vars = self.borrower.vars(&names).map_err(Trouble::another)?;
        self.borrower.follows(&self.served, &Served::by(&names)).map_err(Trouble::another)?;
        Ok((names, vars))
    }
}

/// Half of it at least, and the rest by chance: what lost a daemon together does not come
/// back together.
fn unlike_others(step: Duration) -> Duration {
    let part = getrandom::u32().map_or(1.0, |part| f64::from(part) / f64::from(u32::MAX));
    step / 2 + (step / 2).mul_f64(part)
}
