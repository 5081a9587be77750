//! Everything that a rotator stands on beside its document, for tests: those of the
//! library and those over a server.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::Layer;
use dlconf::model::schema::{Generate, GenerateEncoding, Rotation, Strategy};
use dlconf::model::secret::SecretValue;
use dlconf::probe::Probed;
use dlconf::rotation::clock::Clock;
use dlconf::rotation::course::{Order, Wish};
use dlconf::rotation::engine::{Rotator, Terms};
use dlconf::rotation::estate::{Estate, Giver, Hearing, Prober, Rotating};
use dlconf::rotation::roll_call::{Expected, Heard, Verifies};
use dlconf::source::{Ask, Source, SourceError};
use dlconf::telemetry::{Event, Listener};
use tokio::sync::{Notify, watch};

pub(crate) const START: u64 = 1_800_000_000;
pub(crate) const OVERLAP: u64 = 8_000;
const EVERY: u64 = 90_000;

pub(crate) struct TestClock {
    steady: AtomicU64,
    leapt: AtomicI64,
}

impl TestClock {
    pub(crate) fn pass(&self, seconds: u64) {
        self.steady.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn leap(&self, seconds: i64) {
        self.leapt.store(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn wall(&self) -> u64 {
        let leapt = self.leapt.load(Ordering::SeqCst);
        START.saturating_add(self.steady.load(Ordering::SeqCst)).saturating_add_signed(leapt)
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.steady.load(Ordering::SeqCst))
    }
}

/// What the daemon knows.
pub(crate) struct Facts {
    pub(crate) strategy: Strategy,
    pub(crate) generate: Option<Generate>,
    pub(crate) strays: Vec<(&'static str, &'static str)>,
    pub(crate) below: Vec<&'static str>,
    pub(crate) wrong: Vec<&'static str>,
    /// The source that gives it cannot be written to.
    pub(crate) is_sealed_off: bool,
}

pub(crate) struct TestEstate {
    key: Key,
    facts: Mutex<Facts>,
    moved: Notify,
}

/// The same, as the daemon has it that reads through this source.
struct Household {
    estate: Arc<TestEstate>,
    source: Arc<dyn Source>,
}

impl TestEstate {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap());
    }

    pub(crate) fn move_it(&self) {
        self.moved.notify_one();
    }
}

/// The same source, read-only.
struct ReadOnly(SourceName);

#[async_trait]
impl Source for ReadOnly {
    fn name(&self) -> &SourceName {
        &self.0
    }

    async fn fetch(&self, _: Ask<'_>) -> Result<Layer, SourceError> {
        Ok(Layer { source: self.0.clone(), places: vec![], offers: vec![], remarks: vec![] })
    }
}

#[async_trait]
impl Estate for Household {
    fn rotating(&self) -> Vec<Rotating> {
        let facts = self.estate.facts.lock().unwrap();
        let expected = Expected { consumer: "cc".into(), instances: 2, verifies: Verifies::Ring };
        vec![Rotating {
            key: self.estate.key.clone(),
            rotation: Rotation {
                strategy: facts.strategy,
                every: Some(EVERY),
                overlap: Some(OVERLAP),
                slots: Some(64),
                reason: None,
                tokens: Vec::new(),
            },
            generate: facts.generate,
            token_life: None,
            expected: vec![expected],
            undeclared: vec![],
        }]
    }

    fn giver(&self, _: &Key) -> Option<Giver> {
        let facts = self.estate.facts.lock().unwrap();
        let source: Arc<dyn Source> = if facts.is_sealed_off {
            Arc::new(ReadOnly(SourceName::new("env")))
        } else {
            Arc::clone(&self.source)
        };
        Some(Giver {
            source,
            place: "shelf:document#KEY@1".into(),
            value: Arc::new("one".into()),
            below: facts.below.iter().map(|&below| below.into()).collect(),
            strays: facts.strays.iter().map(|(key, at)| (Key::new(key).unwrap(), (*at).into())).collect(),
        })
    }

    fn judge(&self, _: &[(Key, Arc<SecretValue>)]) -> Vec<String> {
        self.estate.facts.lock().unwrap().wrong.iter().map(|&wrong| wrong.into()).collect()
    }

    async fn moved(&self) {
        self.estate.moved.notified().await;
    }
}

#[derive(Default)]
pub(crate) struct TestHearing {
    pub(crate) heard: Mutex<Vec<Heard>>,
    pub(crate) moved: Notify,
}

#[async_trait]
impl Hearing for TestHearing {
    async fn heard(&self, _: &Key) -> Result<Vec<Heard>, String> {
        Ok(self.heard.lock().unwrap().clone())
    }

    async fn moved(&self) {
        self.moved.notified().await;
    }
}

pub(crate) struct TestProber(Mutex<Option<Probed>>);

impl TestProber {
    pub(crate) fn say(&self, probed: Probed) {
        *self.0.lock().unwrap() = Some(probed);
    }
}

#[async_trait]
impl Prober for TestProber {
    async fn probe(&self, _: &Key, _: &SecretValue) -> Option<Probed> {
        self.0.lock().unwrap().clone()
    }
}

#[derive(Default)]
pub(crate) struct Told(Mutex<Vec<Event>>);

impl Listener for Told {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Told {
    pub(crate) fn words(&self) -> Vec<String> {
        let word = |event: &Event| match event {
            Event::Rotated { act, .. } => format!("rotated {act}"),
            Event::RotationFailed { .. } => "failed".to_owned(),
            Event::RotationWaits { .. } => "waits".to_owned(),
            Event::RotationRepaired { .. } => "repaired".to_owned(),
            Event::ClockDoubted { .. } => "clock doubted".to_owned(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().iter().map(word).collect()
    }
}

/// All of it.
pub(crate) struct Stand {
    pub(crate) key: Key,
    pub(crate) estate: Arc<TestEstate>,
    pub(crate) hearing: Arc<TestHearing>,
    pub(crate) prober: Arc<TestProber>,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) leads: watch::Sender<bool>,
    pub(crate) told: Arc<Told>,
}

pub(crate) fn order(wish: Wish) -> Order {
    Order { wish, accept_logout: wish == Wish::Compromised, take_over: false, reason: None }
}

impl Stand {
    pub(crate) fn new(strategy: Strategy) -> Self {
        let key = Key::new("KEY").unwrap();
        let facts = Facts {
            strategy,
            generate: Some(Generate { encoding: GenerateEncoding::Hex, bytes: 16 }),
            strays: vec![],
            below: vec![],
            wrong: vec![],
            is_sealed_off: false,
        };
        Self {
            estate: Arc::new(TestEstate { key: key.clone(), facts: Mutex::new(facts), moved: Notify::new() }),
            key,
            hearing: Arc::new(TestHearing::default()),
            prober: Arc::new(TestProber(Mutex::new(None))),
            clock: Arc::new(TestClock { steady: AtomicU64::new(0), leapt: AtomicI64::new(0) }),
            leads: watch::Sender::new(true),
            told: Arc::new(Told::default()),
        }
    }

    /// One that has seen nothing, over this source.
    pub(crate) fn rotator(&self, source: Arc<dyn Source>) -> Arc<Rotator> {
        Arc::new(Rotator::new(
            Arc::new(Household { estate: Arc::clone(&self.estate), source }),
            Arc::clone(&self.hearing) as _,
            Arc::clone(&self.prober) as _,
            Arc::clone(&self.clock) as _,
            self.leads.subscribe(),
            Terms { enabled: true, windows: vec![] },
            Arc::clone(&self.told) as _,
        ))
    }
}
