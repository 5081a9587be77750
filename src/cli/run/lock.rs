//! `--restart-lock`: one replica restarts at a time, the one that holds a Kubernetes
//! Lease.
//!
//! Owns: keeping the queue for a supervisor: taking the Lease when it wants to restart,
//! renewing it until it has, giving it back; what is told of that.
//! Invariants: nothing is restarted for a change without the Lease, however long the API
//! server is away; a restart under way goes on although the Lease is lost, since nothing
//! better is left to do; an end waits for nobody.
//! Must not know: what a restart is.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::instance::instance;
use super::words::Spoken;
use crate::cli::Failure;
use crate::kubernetes::{Candidate, LEASE_DURATION, Name, Server, Standing, Trouble, Why};
use crate::process::Ended;
use crate::source::backoff::{Backoff, jittered, share};
use crate::supervise::{self, Offer, Ourselves, Queue, Supervised, Witness};
use crate::telemetry::Level;

/// From one renewal to the next.
const RENEW: Duration = Duration::from_secs(5);

/// Of what another holds, how often it is looked whether it still does; so much again at
/// random, so that those who wait do not ask at once.
const LOOK: Duration = Duration::from_secs(1);

/// The longest pause after a failure: what holds up a restart is over when it is over.
const AGAIN: Duration = Duration::from_secs(5);

/// The longest that an API server may ask to be left alone.
const LEFT_ALONE: Duration = Duration::from_mins(1);

/// The lock, not asked for yet.
pub(in crate::cli) struct Lock {
    name: Name,
    server: Server,
}

/// `lease/NAME`.
pub(in crate::cli) fn lease(text: &str) -> Result<Name, String> {
    let name = text.strip_prefix("lease/").and_then(Name::object);
    name.ok_or_else(|| "write lease/NAME, with the name of a Kubernetes Lease".to_owned())
}

impl Lock {
    /// The Lease of this name, where the environment says that the API server is.
    ///
    /// # Errors
    /// [`Failure`] where it does not say.
    pub(super) fn named(name: Name) -> Result<Self, Failure> {
        let process: Vec<_> = std::env::vars_os().collect();
        let server = Server::of_environment(&process, None, true);
        server
            .is_somewhere()
            .map_err(|misfit| Failure::usage(format!("--restart-lock: {}", misfit.message), misfit.help))?;
        Ok(Self { name, server })
    }
}

/// Runs a program as [`supervise::supervise`] does; with a lock, one at a time.
pub(super) async fn supervise(
    mut supervised: Supervised,
    ourselves: Ourselves,
    first: Arc<Offer>,
    offers: watch::Receiver<Arc<Offer>>,
    witness: &dyn Witness,
    lock: Option<Lock>,
    spoken: &Spoken,
) -> Ended {
    let Some(lock) = lock else {
        return supervise::supervise(supervised, ourselves, first, offers, witness).await;
    };
    if supervised.terms.healthy.is_none() {
        spoken.say(
            Level::Warning,
            "lock-without-proof",
            format!(
                "without --healthy, lease/{} is given back when {} is started, not when it works (fix: --healthy)",
                lock.name,
                spoken.program()
            ),
            json!({ "lease": lock.name.as_str() }),
        );
    }
    let (turn, queue) = supervise::turn();
    supervised.turn = Some(turn);
    let keeper = Keeper::of(lock, spoken);
    tokio::select! {
        biased;
        ended = supervise::supervise(supervised, ourselves, first, offers, witness) => ended,
        never = keeper.keep(queue) => match never {},
    }
}

/// Keeps the queue.
struct Keeper<'a> {
    candidate: Candidate,
    /// As messages call it: `lease/datalens-api`.
    lease: String,
    spoken: &'a Spoken,
    /// Until when it is ours.
    held: Option<Instant>,
    backoff: Backoff,
    told: Told,
}

/// What was told last, so that it is told once.
#[derive(Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// Who holds it.
    Waits(Option<Box<str>>),
    Trouble(Why),
    Lost,
}

impl<'a> Keeper<'a> {
    fn of(lock: Lock, spoken: &'a Spoken) -> Self {
        let host = instance().map_or_else(|| "dlconf".to_owned(), |name| name.as_str().to_owned());
        // A pod that is started anew has the name of the one before, and does not hold its lease.
        let number = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
        let lease = format!("lease/{}", lock.name);
        Self {
            candidate: Candidate::new(lock.server, lock.name, format!("{host}_{number:016x}").into()),
            lease,
            spoken,
            held: None,
            backoff: Backoff::default(),
            told: Told::Nothing,
        }
    }

    async fn keep(mut self, mut queue: Queue) -> Infallible {
        // What is in the way is told now, not when it is needed.
        let looked = tokio::select! {
            biased;
            looked = self.candidate.look() => looked,
            () = queue.wanted() => Ok(()),
        };
        if let Err(trouble) = looked {
            self.in_the_way(&trouble);
        }
        loop {
            queue.wanted().await;
            self.hold(&mut queue).await;
            self.give_back(&mut queue).await;
        }
    }

    /// Takes it and keeps it, until it is not wanted any more.
    async fn hold(&mut self, queue: &mut Queue) {
        loop {
            let attempt = tokio::select! {
                biased;
                () = queue.unwanted() => return,
                attempt = self.candidate.attempt() => attempt,
            };
            let pause = match attempt {
                Ok(Standing::Ours(until)) => self.is_ours(until, queue),
                Ok(Standing::Theirs { holder, free_at }) => self.is_theirs(holder, free_at, queue),
                Err(trouble) => self.failed(&trouble, queue),
            };
            tokio::select! {
                biased;
                () = queue.unwanted() => return,
                () = sleep(pause) => {}
            }
        }
    }

    fn is_ours(&mut self, until: Instant, queue: &Queue) -> Duration {
        self.backoff.reset();
        match std::mem::take(&mut self.told) {
            Told::Trouble(_) => self.say(Level::Info, "lock-back", "can be had again", ""),
            Told::Lost => self.say(Level::Info, "lock-back", "is ours again", ""),
            Told::Waits(_) | Told::Nothing => {}
        }
        if self.held.replace(until).is_none() {
            self.say(Level::Debug, "lock-taken", "is ours", "");
        }
        queue.gives(until);
        jittered(RENEW)
    }

    fn is_theirs(&mut self, holder: Option<Box<str>>, free_at: Instant, queue: &Queue) -> Duration {
        self.backoff.reset();
        queue.lets_wait();
        if self.held.take().is_some() {
            self.lost("another has taken it");
        } else if self.told != Told::Lost && self.told != Told::Waits(holder.clone()) {
            let program = self.spoken.program();
            self.spoken.say(
                Level::Info,
                "waits-for-turn",
                format!(
                    "{program} is to be restarted with new values, and goes on with the old ones until {} is free: {} holds it",
                    self.lease,
                    holder.as_deref().unwrap_or("somebody else")
                ),
                json!({ "lease": self.lease, "holder": holder }),
            );
            self.told = Told::Waits(holder);
        }
        let look = LOOK + LOOK.mul_f64(share());
        // The moment itself is too early by what it takes to ask.
        look.min(free_at.saturating_duration_since(Instant::now()) + Duration::from_millis(10))
    }

    fn failed(&mut self, trouble: &Trouble, queue: &Queue) -> Duration {
        match self.held {
            Some(until) if until <= Instant::now() => {
                self.held = None;
                queue.lets_wait();
                self.lost(&format!("{} {}", self.candidate.server(), trouble.why));
            }
            // It may still be renewed in time.
            Some(_) => {}
            None => {
                queue.lets_wait();
                self.in_the_way(trouble);
            }
        }
        let asked = trouble.retry_after.unwrap_or_default().min(LEFT_ALONE);
        self.backoff.after_failure(share()).min(AGAIN).max(asked)
    }

    /// Gives it back, unless it is wanted again.
    async fn give_back(&mut self, queue: &mut Queue) {
        (self.held, self.told) = (None, Told::Nothing);
        self.backoff.reset();
        let lapses_at = Instant::now() + LEASE_DURATION;
        while self.candidate.may_hold() {
            let released = tokio::select! {
                biased;
                released = self.candidate.release() => released,
                () = queue.wanted() => return,
            };
            let Err(trouble) = released else { break };
            if Instant::now() >= lapses_at {
                let why = format!("cannot be given back: {} {}", self.candidate.server(), trouble.why);
                let then = "; the next one takes it when it has seen for long enough that nobody renews it";
                self.say(Level::Warning, "lock-not-given-back", &why, then);
                break;
            }
            let pause = self.backoff.after_failure(share()).min(AGAIN);
            tokio::select! {
                biased;
                () = sleep(pause) => {}
                () = queue.wanted() => return,
            }
        }
        queue.is_left();
    }

    /// It cannot be had.
    fn in_the_way(&mut self, trouble: &Trouble) {
        if matches!(&self.told, Told::Trouble(why) if *why == trouble.why) || self.told == Told::Lost {
            return;
        }
        let Self { lease, spoken, .. } = self;
        let (program, server) = (spoken.program(), self.candidate.server());
        let why = match &trouble.why {
            // It says where by itself.
            Why::Access(misfit) => misfit.message.clone(),
            why => format!("{server} {why}"),
        };
        let help = match trouble.why {
            Why::Forbidden => format!("`dlconf rbac --restart-lock {lease}` prints the Role that it needs"),
            Why::NotFound => {
                "create the namespace, or name another one in the kubeconfig's context".to_owned()
            }
            _ => trouble.why.help(),
        };
        spoken.say(
            Level::Error,
            "lock-away",
            format!(
                "{lease} cannot be had: {why}; as long as that is so, {program} is not restarted with new values and goes on with the old ones (fix: {help})"
            ),
            json!({ "lease": lease, "why": why }),
        );
        self.told = Told::Trouble(trouble.why.clone());
    }

    /// It is not ours any more, in the middle of a restart.
    fn lost(&mut self, why: &str) {
        let program = self.spoken.program();
        self.spoken.say(
            Level::Error,
            "lock-lost",
            format!(
                "{} was lost while {program} is restarted: {why}; that restart goes on, since stopping in the middle of it would be no better, but another one may be restarted meanwhile (fix: see the API server, and who else writes that Lease)",
                self.lease
            ),
            json!({ "lease": self.lease, "why": why }),
        );
        self.told = Told::Lost;
    }

    fn say(&self, level: Level, event: &'static str, what: &str, more: &str) {
        self.spoken.say(level, event, format!("{} {what}{more}", self.lease), json!({ "lease": self.lease }));
    }
}
