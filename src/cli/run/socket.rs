//! `dlconf run --socket`: the values come from a daemon.
//!
//! Owns: waiting for a daemon that is just starting; what its answers become, once
//! (`environment`) or for as long as a program runs (`watch`).
//! Invariants: nothing is read here but these answers, so neither settings nor schema
//! are needed; a value goes nowhere but to the program; when dlconf becomes that, nothing
//! is open any more.
//! Must not know: how a daemon is asked; how a program is run.
//!
//! Rooms: `borrower` asks and judges what comes back; `follow` stays with a daemon;
//! `outage` tells of one that cannot be followed; `acknowledge` says what runs;
//! `ledger` is what these know of the program.

mod acknowledge;
mod borrower;
mod follow;
mod ledger;
mod outage;

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::here::Program;
use super::lock::supervise;
use super::stage::{self, unless_told};
use super::words::Spoken;
use crate::access::Action;
use crate::cli::ask::{Answer, Daemon, Missed, Question, Tag, runtime};
use crate::cli::get::unanswered;
use crate::cli::output::Terminal;
use crate::cli::{Failure, Global};
use crate::delivery::environment::{Inherited, environment};
use crate::model::schema::kind::go_duration;
use crate::process::{Hardened, Interrupts, die_like};
use crate::serve::socket::Names;
use crate::status::ChildHealth;
use crate::supervise::{Happening, Inheritance, Offer, Supervised, Witness};
use acknowledge::{Acknowledger, Running};
use borrower::{Borrower, Config, Served, config};
use follow::Follower;
use ledger::Ledger;

/// How long a person is left without a word.
const SILENCE: Duration = Duration::from_secs(1);
/// Between two attempts to get all, where some is withheld.
const PARTIAL: Duration = Duration::from_secs(1);
/// Between two attempts, at first and at most.
const STEPS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// The daemon that lends its values, and what is wanted of it.
pub(super) struct Lender<'a> {
    pub(super) path: &'a Path,
    /// Empty means all that it gives.
    pub(super) vars: &'a [String],
    pub(super) wait: Duration,
}

/// What a daemon lent first.
struct Lent {
    served: Served,
    names: Names,
    offer: Offer,
    tag: Option<Tag>,
}

/// Tells the acknowledger as well what becomes of the program.
struct Overheard<'a> {
    witness: &'a Spoken,
    runs: watch::Sender<Option<Running>>,
    /// How a program is called that was proven.
    proven: ChildHealth,
    /// What it is started with first.
    first: Option<Box<str>>,
}

impl Overheard<'_> {
    /// It does not run, or not well: with what it ran last.
    fn is_down(&self, health: ChildHealth) {
        self.runs.send_if_modified(|running| {
            let version = running.as_ref().map(|running| running.version.clone());
            let Some(version) = version.or_else(|| self.first.clone()) else { return false };
            let down = Some(Running { version, health });
            let is_other = *running != down;
            *running = down;
            is_other
        });
    }

    fn has_failed(&self) -> bool {
        self.runs.borrow().as_ref().is_some_and(|running| running.health == ChildHealth::Failed)
    }
}

impl Witness for Overheard<'_> {
    fn tell(&self, happening: Happening) {
        match &happening {
            Happening::Runs { version } => {
                let health = self.proven;
                let running = version.clone().map(|version| Running { version, health });
                drop(self.runs.send_replace(running));
            }
            // Why was said already, or follows.
            Happening::RunsNoMore if !self.has_failed() => self.is_down(ChildHealth::Stopped),
            Happening::Died { .. }
            | Happening::NotStarted { .. }
            | Happening::PutBack { .. }
            | Happening::NotHealthy { .. } => self.is_down(ChildHealth::Failed),
            _ => {}
        }
        self.witness.tell(happening);
    }
}

impl Lender<'_> {
    /// The program's environment.
    ///
    /// # Errors
    /// [`Failure`], with an exit code that `run` replaces.
    pub(super) fn environment(
        &self,
        global: &Global,
        terminal: &Terminal,
        inherited: Inherited<'_>,
    ) -> Result<Vec<(OsString, OsString)>, Failure> {
        alone(global)?;
        let process: Arc<[(OsString, OsString)]> = std::env::vars_os().collect();
        let daemon = Daemon::at(self.path.to_owned(), terminal);
        let borrower = Borrower::new(&daemon, self.vars, global, Arc::clone(&process));
        let Lent { offer, .. } = attend(self.lent(&borrower, terminal))?;
        let variables = offer.variables.iter().map(|(key, value)| (key, &**value));
        Ok(environment(&process, &offer.known, variables, inherited))
    }

    /// Runs a program with what the daemon lends, now and later, until it ends: its code.
    ///
    /// # Errors
    /// [`Failure`], with an exit code that `run` replaces: nothing was started.
    pub(super) fn watch(
        &self,
        global: &Global,
        terminal: &Terminal,
        program: Program<'_>,
        hardened: Hardened,
    ) -> Result<u8, Failure> {
        alone(global)?;
        let (runtime, mut ourselves) = stage::set(hardened)?;
        let process: Arc<[(OsString, OsString)]> = std::env::vars_os().collect();
        let daemon = Daemon::at(self.path.to_owned(), terminal);
        let borrower = Borrower::new(&daemon, self.vars, global, Arc::clone(&process));
        let ended = runtime.block_on(async {
            let lent = match unless_told(&mut ourselves, self.lent(&borrower, terminal)).await {
                Err(told) => return Ok(told.ended()),
                Ok(lent) => lent?,
            };
            let Lent { served, names, offer, tag } = lent;
            let spoken = Spoken::of(terminal, program.command);
            let first = Arc::new(offer);
            let ledger = RefCell::new(Ledger::default());
            ledger.borrow_mut().note(&names, &first);
            let (runs, running) = watch::channel(None);
            let (offers, offered) = watch::channel(Arc::clone(&first));
            let acknowledger =
                Acknowledger::new(&borrower, borrower.consumer(&served), &ledger, running, &spoken);
            let follower = Follower::new(&borrower, served, tag, &ledger, &spoken);
            let proven =
                if program.terms.healthy.is_some() { ChildHealth::Healthy } else { ChildHealth::Running };
            let supervised = Supervised {
                command: program.command.to_vec(),
                inherited: Inheritance { process, only: program.only },
                terms: program.terms,
                turn: None,
            };
            let overheard = Overheard { witness: &spoken, runs, proven, first: first.version.clone() };
            let ended = tokio::select! {
                biased;
                ended = supervise(supervised, ourselves, first, offered, &overheard, program.lock, &spoken) => ended,
                never = follower.follow(offers) => match never {},
                never = acknowledger.acknowledge() => match never {},
            };
            Ok::<_, Failure>(ended)
        })?;
        die_like(ended);
        Ok(ended.code)
    }

    /// The names first, so that the values are not held for any longer than needed.
    async fn lent(&self, borrower: &Borrower<'_>, terminal: &Terminal) -> Result<Lent, Failure> {
        let until = Instant::now() + self.wait;
        let mut asking = std::pin::pin!(async {
            let names = |_| Question::get(&["v1", "names"], Action::Read);
            let (names, _): (Names, _) = self.patiently(borrower, until, names).await?;
            let vars = borrower.vars(&names)?;
            let config = |left| config(vars.as_deref()).waiting(left);
            let (config, tag) = self.whole(borrower, until, config).await?;
            let (served, offer) = borrower.taken(&names, config)?;
            Ok(Lent { served, names, offer, tag })
        });
        let lent = match timeout(SILENCE, &mut asking).await {
            Ok(done) => done,
            Err(_) => {
                terminal.note(&format!(
                    "waiting for the daemon at {}, for {} at most (--wait)",
                    self.path.display(),
                    written(self.wait)
                ));
                asking.await
            }
        }?;
        terminal.detail(&format!(
            "{} variables of version {} from the daemon at {}",
            lent.offer.variables.len(),
            lent.offer.version.as_deref().unwrap_or_default(),
            self.path.display()
        ));
        Ok(lent)
    }

    /// Asks until all of it is given, or the time is over: with less a program would not
    /// have what is required.
    async fn whole<'q>(
        &self,
        borrower: &Borrower<'_>,
        until: Instant,
        question: impl Fn(Duration) -> Question<'q>,
    ) -> Result<(Config, Option<Tag>), Failure> {
        loop {
            let (config, tag): (Config, _) = self.patiently(borrower, until, &question).await?;
            let Some(failure) = borrower.is_partial(&config) else { return Ok((config, tag)) };
            if Instant::now() >= until {
                return Err(self.waited(failure));
            }
            sleep(PARTIAL).await;
        }
    }

    /// Asks until there is an answer, or the time is over.
    async fn patiently<'q, T: DeserializeOwned>(
        &self,
        borrower: &Borrower<'_>,
        until: Instant,
        question: impl Fn(Duration) -> Question<'q>,
    ) -> Result<(T, Option<Tag>), Failure> {
        let daemon = borrower.daemon();
        let mut step = STEPS.0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let failure = match daemon.tagged(&question(left)).await {
                Ok((Answer::Given(given), tag)) => return Ok((given, tag)),
                // Not ready, or not able to record: both may pass.
                Ok((Answer::Refused(problem), _)) if problem.status == 503 => unanswered(daemon, &problem),
                Ok((Answer::Refused(problem), _)) => return Err(borrower.refused(problem)),
                Err(Missed::Away(failure)) => failure,
                Err(missed) => return Err(missed.into_failure()),
            };
            if left.is_zero() {
                return Err(self.waited(failure));
            }
            sleep(step.min(left)).await;
            step = (step * 2).min(STEPS.1);
        }
    }

    fn waited(&self, mut failure: Failure) -> Failure {
        if !self.wait.is_zero() {
            for fault in &mut failure.faults {
                fault.message.push_str(&format!(" (waited {})", written(self.wait)));
            }
        }
        failure
    }
}

/// What chooses here has nothing to choose where a daemon has chosen.
fn alone(global: &Global) -> Result<(), Failure> {
    let given = [
        ("--config (or DLCONF_CONFIG)", global.config.is_some()),
        ("--schema (or DLCONF_SCHEMA)", global.schema.is_some()),
        ("--env-file", !global.env_files.is_empty()),
    ];
    let given: Vec<&str> =
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect();
    if given.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(
        format!(
            "with --socket everything comes from the daemon, but {} says what to read here",
            given.join(", ")
        ),
        "leave either out",
    ))
}

/// Waits. Who tells us to end meanwhile is obeyed, also where we are PID 1.
fn attend<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let Some(interrupts) = Interrupts::hold() else { return work.await };
        tokio::select! {
            done = work => done,
            () = interrupts.came() => match interrupts.end() {},
        }
    })
}

/// A duration as it is written in `--wait`.
fn written(duration: Duration) -> String {
    go_duration(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}
