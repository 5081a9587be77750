//! The broker: what sources give becomes generations.
//!
//! Owns: the one place that publishes. Each source is read by a task of its own
//! (`feed`); what it gives is held where law 2 says so (`hold`), lies on the
//! `desk`, is judged whole (`judge`) and published as one generation, if it is
//! valid and another than the last.
//! Invariants: only what validated is published; nothing is before every source
//! was read whole; a state that is refused changes nothing but what is told of it;
//! a reload takes the place of everything at once, or of nothing.
//! Must not know: who gets what, and how.

mod desk;
mod explain;
mod feed;
mod hold;
pub mod judge;
mod placed;
mod plan;
mod publisher;
mod recall;
mod view;
mod words;

pub use explain::{Showing, explain};
pub use placed::Placed;
pub use plan::{Debounce, Plan, Planned};
pub use recall::Unclaimed;
pub use words::{error_words, time};

use std::collections::BTreeSet;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::access::{Gate, Rules};
use crate::model::kept::Kept;
use crate::model::key::{Key, SourceName};
use crate::model::schema::Schema;
use crate::model::snapshot::Version;
use crate::model::validate::Delivered;
use crate::source::{Source, Vitals};
use crate::status::{Explanation, FindingStatus, Provenance, Status};
use crate::telemetry::{Event, Listener};
use desk::Desk;
use feed::{Arrival, Feeds};
use judge::Judged;
use publisher::Publisher;
use recall::Moment;

/// How often ages and held values are looked at.
const TICK: Duration = Duration::from_secs(1);

/// How many arrivals may wait for the broker.
const QUEUE: usize = 64;

/// What sources give becomes generations. Shared by its loop and by those who ask.
pub struct Broker {
    state: Mutex<State>,
    listener: Arc<dyn Listener>,
    arrivals: mpsc::Sender<Arrival>,
    reloads: mpsc::Sender<Trial>,
}

struct State {
    desk: Desk,
    publisher: Publisher,
    /// A reload that waits for its sources.
    trial: Option<Trial>,
}

/// A plan that may take the place of the one in force.
struct Trial {
    desk: Desk,
    /// Done when it does, right before anything of it is published.
    before: Box<dyn FnOnce() + Send>,
    done: oneshot::Sender<Reloaded>,
}

/// The sources that are no longer needed, to be closed; or why the old plan holds.
pub type Reloaded = Result<Vec<Arc<dyn Source>>, Vec<FindingStatus>>;

/// What the loop of a broker receives.
pub struct Intake {
    arrivals: mpsc::Receiver<Arrival>,
    reloads: mpsc::Receiver<Trial>,
}

/// What became of a value that somebody wanted to give up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgetting {
    /// It was given up; the version without it.
    Done(String),
    /// It is not held.
    NotHeld,
    /// Without it the configuration would be invalid, beyond its being missing.
    Refused(Vec<FindingStatus>),
}

/// When what has come is settled.
#[derive(Debug, Clone, Copy)]
struct Window {
    first: Instant,
    last: Instant,
}

impl Window {
    fn with(window: Option<Self>, now: Instant) -> Self {
        Self { first: window.map_or(now, |window| window.first), last: now }
    }

    fn ends(self, debounce: Debounce) -> Instant {
        (self.last + debounce.min).min(self.first + debounce.max)
    }
}

/// Waits for this moment; for ever, where there is none. A moment that is over is
/// not given to the timer, which would take a millisecond for it.
async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) if moment <= Instant::now() => {}
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

impl Broker {
    /// A broker of this plan, which has published nothing yet; `instance` is the
    /// name of its versions.
    pub fn new(plan: Plan, instance: Arc<str>, listener: Arc<dyn Listener>) -> (Arc<Self>, Intake) {
        let (arrivals, arriving) = mpsc::channel(QUEUE);
        let (reloads, reloading) = mpsc::channel(1);
        let publisher = Publisher::new(instance, Arc::clone(&listener));
        let state = State { desk: Desk::new(plan), publisher, trial: None };
        let broker = Arc::new(Self { state: Mutex::new(state), listener, arrivals, reloads });
        (broker, Intake { arrivals: arriving, reloads: reloading })
    }

    /// A gate in front of what it publishes, under these rules.
    pub fn gate(&self, rules: watch::Receiver<Arc<Rules>>) -> Gate {
        Gate::new(self.lock().publisher.subscribe(), rules)
    }

    /// The number of the generation that is published.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.lock().publisher.generations()
    }

    /// Whether the latest state is refused, and an earlier one holds.
    pub fn refuses(&self) -> watch::Receiver<bool> {
        self.lock().publisher.refuses()
    }

    /// Changes with every judgement, also where nothing comes of it.
    pub fn judgements(&self) -> watch::Receiver<()> {
        self.lock().publisher.judgements()
    }

    /// Looks at the latest judgement, be it good or not; none before the first. Nothing
    /// else may be asked of the broker meanwhile.
    pub fn look_at_judged<T>(&self, look: impl FnOnce(&Judged) -> T) -> Option<T> {
        self.lock().publisher.judged().map(look)
    }

    /// Everything that is to be told of it; deliveries are somebody else's.
    pub fn status(&self) -> Status {
        let state = self.lock();
        view::status(&state.desk, &state.publisher)
    }

    /// What is published.
    pub fn version(&self) -> Option<Version> {
        self.lock().publisher.version()
    }

    /// The schema, the environment and the service in force.
    pub fn program(&self) -> (Arc<Schema>, String, Option<String>) {
        let state = self.lock();
        let plan = &state.desk.plan;
        (Arc::clone(&plan.schema), plan.environment.clone(), plan.service.clone())
    }

    /// Where a value that was published comes from now, as the status tells it.
    pub fn provenance(&self, delivered: &Delivered) -> Provenance {
        let state = self.lock();
        view::provenance(&state.desk, &state.publisher, delivered)
    }

    /// How old the oldest of these values is that are known from the last-known-good
    /// snapshot only; none where none of them is.
    pub fn snapshot_age(&self, is_one: impl Fn(&Key) -> bool) -> Option<Duration> {
        let state = self.lock();
        view::oldest_from_snapshot(&state.desk, &state.publisher, is_one)
    }

    /// Whether any of these became another, came or went since a version, which may
    /// be of another instance.
    pub fn has_changed_since<'a>(&self, version: &str, mut of: impl Iterator<Item = &'a Key>) -> bool {
        let Some(snapshot) = self.lock().publisher.snapshot() else { return true };
        match snapshot.version().generation_of(version) {
            Some(generation) => {
                let changed: BTreeSet<&Key> = snapshot.changed_after(generation).collect();
                of.any(|key| changed.contains(key))
            }
            None => true,
        }
    }

    /// Where a variable comes from; none where neither schema nor sources know
    /// the name.
    pub fn explain(&self, name: &str) -> Option<Explanation> {
        let state = self.lock();
        let (plan, judged) = (&state.desk.plan, state.publisher.judged()?);
        explain::explain(
            &plan.schema,
            &plan.environment,
            plan.service.as_deref(),
            judged,
            &Key::new(name).ok()?,
            Showing::Nothing,
        )
    }

    /// Gives up a value that its source deleted. That it is missing is accepted:
    /// somebody said so. Everything else must be valid without it.
    pub fn forget(&self, key: &Key) -> Forgetting {
        let now = Instant::now();
        let state = &mut *self.lock();
        let holders = state.desk.holders(key);
        if holders.is_empty() {
            return Forgetting::NotHeld;
        }
        let mut without = state.desk.clone();
        without.give_up(key, now);
        let judged = without.judge();
        if judged.verdict.outcome.is_err() {
            return Forgetting::Refused(words::reasons(&judged.verdict));
        }
        state.desk = without;
        for source in holders {
            self.listener.tell(Event::GivenUp { key: key.clone(), source, by_request: true });
        }
        if state.desk.is_complete() {
            state.publisher.settle(&mut state.desk, judged);
        } else {
            state.publisher.wait(judged);
        }
        Forgetting::Done(
            state.publisher.version().map_or_else(|| "the first".to_owned(), |version| version.to_string()),
        )
    }

    /// Notes what an earlier daemon kept, before [`Self::run`]: it lies ready for the
    /// sources that it is of. What is of none of them is told and dropped.
    pub fn recall(&self, kept: Vec<Kept>) -> Vec<Unclaimed> {
        self.lock().desk.recall(kept, Moment::present())
    }

    /// Lets what was kept stand in for the sources that were not read whole yet, and
    /// publishes what comes of that. The sources that it stands in for from now on:
    /// none, if it is called again.
    pub fn stand_in(&self) -> Vec<SourceName> {
        let standing = self.lock().desk.stand_in(Instant::now());
        let mut sources = Vec::with_capacity(standing.len());
        for (source, age) in standing {
            self.listener.tell(Event::StandsIn { source: source.clone(), age });
            sources.push(source);
        }
        if !sources.is_empty() {
            self.settle();
        }
        sources
    }

    /// What is to be kept: what every source gave for the generation in force. None
    /// before the first, while the latest state is refused, and while something has
    /// come that is not judged yet.
    pub fn kept(&self) -> Option<Vec<Kept>> {
        let state = self.lock();
        let has_any = state.publisher.version().is_some();
        (has_any && state.desk.is_settled()).then(|| state.desk.kept(Moment::present()))
    }

    /// Puts another plan in the place of this one, if its sources can be read and
    /// what they give is valid. `before` is done when that is certain, right before
    /// anything is published by it: who must not have what the new plan gives is
    /// sent away there. Needs [`Self::run`].
    pub async fn reload(&self, plan: Plan, before: impl FnOnce() + Send + 'static) -> Reloaded {
        let (done, waiting) = oneshot::channel();
        let trial = Trial { desk: Desk::new(plan), before: Box::new(before), done };
        if self.reloads.send(trial).await.is_err() {
            return Err(Vec::new());
        }
        waiting.await.unwrap_or_else(|_| Err(Vec::new()))
    }

    /// Does the work, for as long as it is polled. It returns only if a task of its
    /// own ends unexpectedly.
    pub async fn run(&self, mut intake: Intake) {
        let mut feeds = Feeds::default();
        self.start(&mut feeds);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut window: Option<Window> = None;
        loop {
            let ends = window.map(|window| window.ends(self.lock().desk.plan.debounce));
            tokio::select! {
                biased;
                Some(arrival) = intake.arrivals.recv() => {
                    if self.take(arrival) {
                        window = Some(Window::with(window, Instant::now()));
                    }
                    self.end_trial(&mut feeds);
                }
                Some(trial) = intake.reloads.recv() => {
                    self.begin_trial(trial);
                    self.start(&mut feeds);
                    self.end_trial(&mut feeds);
                }
                () = passed(ends) => {
                    window = None;
                    self.settle();
                }
                _ = tick.tick() => {
                    // What is gathering is settled when its window ends, and all of it.
                    if self.look().await && window.is_none() {
                        self.settle();
                    }
                    // What stands in for a source may be what a trial waits for.
                    self.end_trial(&mut feeds);
                }
                () = feeds.ended() => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the tasks of all sources that have none yet.
    fn start(&self, feeds: &mut Feeds) {
        let state = self.lock();
        let desks = [Some(&state.desk), state.trial.as_ref().map(|trial| &trial.desk)];
        for desk in desks.into_iter().flatten() {
            let known = desk.plan.known();
            for tracked in &desk.tracked {
                feeds.start(&tracked.planned.source, &known, &self.arrivals);
            }
        }
    }

    /// Takes what came. True if that is to be settled.
    fn take(&self, arrival: Arrival) -> bool {
        let now = Instant::now();
        let state = &mut *self.lock();
        let name = arrival.source.name().clone();
        self.listener.tell(Event::Fetched { source: name.clone(), ok: arrival.fetched.is_ok() });
        // What only a trial asked for is its own; what both have stays with the desk
        // in force until the trial is over.
        let desk = if state.desk.has(&arrival.source) {
            &mut state.desk
        } else if let Some(trial) = &mut state.trial {
            trial.desk.take(arrival, now);
            return false;
        } else {
            return false;
        };
        let deleted_before: Vec<Key> = desk.deletions().into_keys().cloned().collect();
        let moved = desk.take(arrival, now);
        let tracked = desk.tracked.iter().find(|tracked| *tracked.name() == name);
        if moved.failed
            && let Some(tracked) = tracked
        {
            let faults = tracked.share.faults.iter().map(words::fault_in_words).collect();
            let holds = tracked.share.layer.as_ref().is_some_and(|layer| !layer.offers.is_empty());
            self.listener.tell(Event::SourceDown { source: name.clone(), faults, holds });
        }
        if moved.recovered {
            self.listener.tell(Event::SourceUp { source: name });
        }
        for (key, (source, deletion)) in desk.deletions() {
            if !deleted_before.contains(key) {
                let (key, source) = (key.clone(), source.clone());
                let until_forgotten = deletion.until_forgotten;
                self.listener.tell(Event::DeletionHeld { key, source, until_forgotten });
            }
        }
        moved.something
    }

    fn settle(&self) {
        let state = &mut *self.lock();
        // What has just come may have made its source young again.
        state.desk.look_at_ages(Instant::now());
        if state.desk.is_complete() {
            let judged = state.desk.judge();
            state.publisher.settle(&mut state.desk, judged);
        } else if state.desk.all_answered() {
            let judged = state.desk.judge();
            state.publisher.wait(judged);
        }
    }

    /// Looks at ages and at held values. True if something is to be settled.
    async fn look(&self) -> bool {
        let sources: Vec<Arc<dyn Source>> =
            self.lock().desk.tracked.iter().map(|tracked| Arc::clone(&tracked.planned.source)).collect();
        let vitals: Vec<Vitals> = join_all(sources.iter().map(|source| source.vitals())).await;
        let now = Instant::now();
        let state = &mut *self.lock();
        for (source, vitals) in sources.iter().zip(vitals) {
            state.desk.set_vitals(source, vitals);
        }
        let given_up = state.desk.expire(now);
        let moved = state.desk.look_at_ages(now) || !given_up.is_empty();
        for (key, source) in given_up {
            self.listener.tell(Event::GivenUp { key, source, by_request: false });
        }
        moved
    }

    fn begin_trial(&self, mut trial: Trial) {
        let state = &mut *self.lock();
        trial.desk.inherit(&state.desk);
        if let Some(Trial { done, .. }) = state.trial.replace(trial) {
            let _gone = done.send(Err(vec![superseded()]));
        }
    }

    /// Ends a trial whose new sources have all answered.
    fn end_trial(&self, feeds: &mut Feeds) {
        let state = &mut *self.lock();
        let Some(Trial { desk: trial, .. }) = &state.trial else { return };
        let answered =
            |tracked: &desk::Tracked| tracked.has_arrived || state.desk.has_heard_of(&tracked.planned.source);
        if !trial.tracked.iter().all(answered) {
            return;
        }
        let Some(Trial { mut desk, before, done }) = state.trial.take() else { return };
        desk.copy(&state.desk, Instant::now());
        let judged = desk.judge();
        let outcome = if !desk.is_complete() || judged.verdict.outcome.is_err() {
            Err(words::errors(&judged.verdict))
        } else {
            before();
            state.desk = desk;
            state.publisher.settle(&mut state.desk, judged);
            Ok(())
        };
        let wanted: Vec<Arc<dyn Source>> =
            state.desk.tracked.iter().map(|tracked| Arc::clone(&tracked.planned.source)).collect();
        let ended = feeds.keep(&wanted);
        // Who asked may be gone; then the sources are closed by being dropped.
        let _gone = done.send(outcome.map(|()| ended));
    }
}

/// What is told of a reload whose place another one took before it was over.
fn superseded() -> FindingStatus {
    FindingStatus {
        code: None,
        severity: "error".to_owned(),
        variable: None,
        message: "another reload came before this one was over".to_owned(),
        place: None,
        help: None,
    }
}

#[cfg(test)]
mod tests;
