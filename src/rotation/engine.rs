//! The rotator: brings what is stored, what is due and who has which key together, and
//! writes the next step.
//!
//! Owns: one desk for each variable, with what was last seen there. Invariants: a step
//! is decided from what was read a moment ago, and is one compare-and-set write; nothing
//! is written by who does not lead; what is remembered of values are keys that live.
//! Must not know: how a source writes; how a consumer says what it runs.

mod decide;
mod desk;
mod leased;
mod order;
mod tend;
mod view;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::sleep;

use self::desk::{Desk, DeskHandle};
use self::view::View;
use super::clock::{Clock, Reading, Timekeeper};
use super::config::{RotationConfig, Window};
use super::course::Act;
use super::estate::{Estate, Hearing, Prober, Rotating};
use super::order::NotOrdered;
use crate::model::key::Key;
use crate::source::backoff::{Backoff, share};
use crate::status::RotationStatus;
use crate::telemetry::{Event, Listener};

/// How often the word of consumers is asked for again while one is waited for: it ends
/// without being taken back.
const WAIT: Duration = Duration::from_secs(20);

/// How often what somebody has to mend is looked at again.
const STUCK: Duration = Duration::from_mins(1);

/// The longest time that a timer is trusted with.
const REST: Duration = Duration::from_hours(1);

/// What the settings say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Whether anything is rotated.
    pub enabled: bool,
    /// When rotations that are due begin; empty means always.
    pub windows: Vec<Window>,
}

impl From<&RotationConfig> for Terms {
    fn from(config: &RotationConfig) -> Self {
        Self { enabled: config.enabled, windows: config.windows.clone() }
    }
}

/// What became of one look at one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tended {
    /// Nothing of it is ours to do: rotations are off, another daemon leads, or nobody
    /// rotates this variable.
    Off,
    /// A step was written.
    Did(Act),
    /// What a foreign write lost is there again: a sentence each.
    Repaired(Vec<String>),
    /// Somebody lacks something: a clause each.
    Waits(Vec<String>),
    /// Nothing to do, until then (seconds since 1970) if nothing else happens.
    Rests(Option<u64>),
    /// It does not go on until somebody does something.
    Stuck(NotOrdered),
    /// It did not work, and is tried again.
    Failed(NotOrdered),
}

/// Rotates the variables of one daemon.
pub struct Rotator {
    estate: Arc<dyn Estate>,
    hearing: Arc<dyn Hearing>,
    prober: Arc<dyn Prober>,
    clock: Arc<dyn Clock>,
    leads: watch::Receiver<bool>,
    terms: watch::Sender<Terms>,
    listener: Arc<dyn Listener>,
    time: Mutex<Time>,
    desks: Mutex<BTreeMap<Key, DeskHandle>>,
    views: Mutex<BTreeMap<Key, View>>,
    /// Something was ordered: the loop looks at once.
    nudge: watch::Sender<u64>,
}

struct Time {
    keeper: Timekeeper,
    is_doubted: bool,
}

/// What wakes the loop's part for one variable.
#[derive(Clone)]
struct Signals {
    moved: watch::Receiver<u64>,
    heard: watch::Receiver<u64>,
    nudged: watch::Receiver<u64>,
    leads: watch::Receiver<bool>,
    terms: watch::Receiver<Terms>,
}

impl Rotator {
    /// One that has seen nothing yet. `leads`: whether this daemon is the one that
    /// rotates.
    pub fn new(
        estate: Arc<dyn Estate>,
        hearing: Arc<dyn Hearing>,
        prober: Arc<dyn Prober>,
        clock: Arc<dyn Clock>,
        leads: watch::Receiver<bool>,
        terms: Terms,
        listener: Arc<dyn Listener>,
    ) -> Self {
        let keeper = Timekeeper::new(clock.wall(), clock.steady());
        Self {
            estate,
            hearing,
            prober,
            clock,
            leads,
            terms: watch::Sender::new(terms),
            listener,
            time: Mutex::new(Time { keeper, is_doubted: false }),
            desks: Mutex::default(),
            views: Mutex::default(),
            nudge: watch::Sender::new(0),
        }
    }

    /// Other settings hold from now on.
    pub fn set_terms(&self, terms: Terms) {
        self.terms.send_if_modified(|old| {
            let is_new = *old != terms;
            *old = terms;
            is_new
        });
    }

    /// Tends all of them, for ever. Dropping it leaves nothing half done that the next
    /// one does not finish.
    pub async fn run(&self) -> Infallible {
        let (moved, heard) = (watch::Sender::new(0_u64), watch::Sender::new(0_u64));
        let signals = Signals {
            moved: moved.subscribe(),
            heard: heard.subscribe(),
            nudged: self.nudge.subscribe(),
            leads: self.leads.clone(),
            terms: self.terms.subscribe(),
        };
        let watch_estate = async {
            loop {
                self.estate.moved().await;
                moved.send_modify(|times| *times += 1);
            }
        };
        let listen = async {
            loop {
                self.hearing.moved().await;
                heard.send_modify(|times| *times += 1);
            }
        };
        let mind_all = async {
            let mut news = moved.subscribe();
            let mut minded = BTreeSet::new();
            let mut minds = FuturesUnordered::new();
            loop {
                for Rotating { key, .. } in self.estate.rotating() {
                    if minded.insert(key.clone()) {
                        minds.push(self.mind(key, signals.clone()));
                    }
                }
                tokio::select! {
                    () = changed(&mut news) => {}
                    Some(gone) = minds.next(), if !minds.is_empty() => { minded.remove(&gone); }
                }
            }
        };
        tokio::select! {
            never = watch_estate => never,
            never = listen => never,
            never = mind_all => never,
        }
    }

    /// Tends one, until nobody rotates it any more.
    async fn mind(&self, key: Key, mut signals: Signals) -> Key {
        let mut backoff = Backoff::default();
        let mut is_fresh = false;
        loop {
            // What happened as the timer ran out counts as well.
            is_fresh &= !signals.take_news();
            if self.rotating(&key).is_none() {
                self.forget(&key);
                return key;
            }
            let glanced = if is_fresh { self.glance(&key).await } else { None };
            let tended = match glanced {
                Some(tended) => tended,
                None => self.tend(&key).await,
            };
            is_fresh = matches!(tended, Tended::Waits(_) | Tended::Rests(_));
            match tended {
                Tended::Did(_) => backoff.reset(),
                Tended::Failed(_) | Tended::Repaired(_) => {
                    let pause = backoff.after_failure(share());
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = changed(&mut signals.leads) => {}
                    }
                }
                Tended::Off => {
                    self.forget(&key);
                    signals.wait(None, false).await;
                }
                Tended::Stuck(_) => {
                    signals.wait(Some(STUCK), false).await;
                }
                Tended::Waits(_) => {
                    backoff.reset();
                    is_fresh = !signals.wait(Some(WAIT), true).await;
                }
                Tended::Rests(until) => {
                    backoff.reset();
                    let rest = until.map(|until| self.until(until));
                    is_fresh = !signals.wait(rest, true).await;
                }
            }
        }
    }

    /// How long it is until then: never so long that a clock that goes wrong meanwhile
    /// is not noticed.
    fn until(&self, then: u64) -> Duration {
        let left = then.saturating_sub(self.now().now);
        Duration::from_secs(left).clamp(Duration::from_millis(50), REST)
    }

    /// How each of them is, as it was last seen, in schema order.
    pub fn statuses(&self) -> Vec<RotationStatus> {
        let now = self.now().now;
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.estate.rotating();
        all.iter().map(|rotating| View::status(views.get(&rotating.key), rotating, now)).collect()
    }

    /// Where this variable's matters are looked after: one at a time.
    fn desk(&self, key: &Key) -> DeskHandle {
        let mut desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(desks.entry(key.clone()).or_default())
    }

    /// Remembers no value of it any more. Somebody at its desk keeps that until he is
    /// done.
    fn forget(&self, key: &Key) {
        let desks = self.desks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(desk) = desks.get(key)
            && let Ok(mut desk) = desk.try_lock()
        {
            *desk = Desk::default();
        }
    }

    fn rotating(&self, key: &Key) -> Option<Rotating> {
        self.estate.rotating().into_iter().find(|rotating| rotating.key == *key)
    }

    fn is_leading(&self) -> bool {
        *self.leads.borrow()
    }

    fn terms(&self) -> Terms {
        self.terms.borrow().clone()
    }

    /// What time it is; a leap is told once.
    fn now(&self) -> Reading {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = time.keeper.read(self.clock.wall(), self.clock.steady());
        let is_doubted = reading.leap != 0;
        if is_doubted != std::mem::replace(&mut time.is_doubted, is_doubted) {
            self.listener.tell(if is_doubted {
                Event::ClockDoubted { seconds: reading.leap }
            } else {
                Event::ClockBelieved
            });
        }
        reading
    }

    /// A server told the time.
    fn hear_time(&self, server: u64) {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        time.keeper.confirm(self.clock.wall(), self.clock.steady(), server);
    }
}

impl Signals {
    /// Takes notice of all that happened until now. Whether what was read may be old.
    fn take_news(&mut self) -> bool {
        let moved = [&mut self.moved, &mut self.nudged].map(take_news);
        let others = [take_news(&mut self.leads), take_news(&mut self.terms)];
        self.heard.mark_unchanged();
        moved.contains(&true) || others.contains(&true)
    }

    /// Waits until something happens or the time is over; without one, for ever. Whether
    /// what was read may be old then.
    async fn wait(&mut self, at_most: Option<Duration>, hears: bool) -> bool {
        let timer = async {
            match at_most {
                Some(at_most) => sleep(at_most).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed(&mut self.moved) => true,
            () = changed(&mut self.nudged) => true,
            () = changed(&mut self.leads) => true,
            () = changed(&mut self.terms) => true,
            () = changed(&mut self.heard), if hears => false,
            () = timer => false,
        }
    }
}

/// Waits for another value; for ever, where nobody can send one any more.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn take_news<T>(receiver: &mut watch::Receiver<T>) -> bool {
    let is_news = receiver.has_changed().unwrap_or(false);
    receiver.mark_unchanged();
    is_news
}
