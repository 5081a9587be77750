//! A source that gives what a test says, when a test says so; what it gives,
//! written in a line; and a listener that remembers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::model::finding::Code;
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer, Operator, Part, Place, Template, Value};
use crate::model::origin::{Location, Origin};
use crate::model::secret::SecretValue;
use crate::source::{Ask, Fault, FaultKind, Lent, Source, SourceError, Vitals};
use crate::telemetry::{Event, Listener};

/// `A=1 B=2@place D=3@place#7 C=${A}`: what a source offers, with a place (`s:p`
/// where none is said) and a revision.
pub(in crate::broker) fn layer(source: &str, text: &str) -> Layer {
    let name = SourceName::new(source);
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    let mut offers = Vec::new();
    for word in text.split_whitespace() {
        let (key, rest) = word.split_once('=').unwrap();
        let (value, place) = rest.split_once('@').unwrap_or((rest, "p"));
        let (place, revision) = match place.split_once('#') {
            Some((place, revision)) => (place, Some(revision.into())),
            None => (place, None),
        };
        let of: Arc<str> = format!("{source}:{place}").into();
        places.insert(place.to_owned(), Place { label: Arc::clone(&of), mode: None });
        let value = match value.strip_prefix("${") {
            Some(name) => {
                let name = Key::new(name.trim_end_matches('}')).unwrap();
                Template(vec![Part::Reference { name, operator: Operator::Braced }]).into()
            }
            None => Value::from(SecretValue::from(value)),
        };
        let location = Location::Field { of, name: key.into(), revision };
        let origin = Origin { mark: None, source: name.clone(), location, revision: None, modified: None };
        offers.push(Offer { key: Key::new(key).unwrap(), value, origin, excerpt: None });
    }
    Layer { source: name, places: places.into_values().collect(), offers, remarks: Vec::new() }
}

/// A source that cannot be read at these places, and what it has all the same.
pub(in crate::broker) fn failed(source: &str, places: &[&str], rest: Option<Layer>) -> SourceError {
    let fault = |place: &&str| Fault {
        kind: FaultKind::Unreachable,
        location: Location::Named(format!("{source}:{place}").into()),
        message: format!("{place} does not answer"),
        help: "wait".into(),
    };
    SourceError {
        source_name: SourceName::new(source),
        faults: places.iter().map(fault).collect(),
        rest: rest.map(Box::new),
    }
}

/// What a fetch finds.
#[derive(Clone)]
enum Holding {
    /// All of it.
    Whole(String),
    /// All but these places.
    Partial(String, Vec<String>),
    /// It cannot be read.
    Down,
    /// It does not answer.
    Silent,
}

/// A source by script.
pub(in crate::broker) struct Fake {
    name: SourceName,
    is_remote: bool,
    is_own: bool,
    state: Mutex<(Holding, Option<Instant>)>,
    moved: Notify,
    fetches: AtomicUsize,
    /// Whether it is confirmed all the time, as a quiet source is.
    stays_confirmed: Mutex<bool>,
    /// What it was lent.
    lent: Mutex<Vec<Lent>>,
}

impl Fake {
    pub(in crate::broker) fn remote(name: &str, holds: &str) -> Arc<Self> {
        Arc::new(Self::new(name, holds, true))
    }

    pub(in crate::broker) fn local(name: &str, holds: &str) -> Arc<Self> {
        Arc::new(Self::new(name, holds, false))
    }

    /// A part of this process.
    pub(in crate::broker) fn own(name: &str, holds: &str) -> Arc<Self> {
        Arc::new(Self { is_own: true, ..Self::new(name, holds, false) })
    }

    fn new(name: &str, holds: &str, is_remote: bool) -> Self {
        Self {
            name: SourceName::new(name),
            is_remote,
            is_own: false,
            state: Mutex::new((Holding::Whole(holds.to_owned()), None)),
            moved: Notify::new(),
            fetches: AtomicUsize::new(0),
            stays_confirmed: Mutex::new(true),
            lent: Mutex::default(),
        }
    }

    fn set(&self, holding: Holding) {
        self.state.lock().unwrap().0 = holding;
        self.moved.notify_one();
    }

    /// It has this now, and notices.
    pub(in crate::broker) fn holds(&self, text: &str) {
        *self.stays_confirmed.lock().unwrap() = true;
        self.set(Holding::Whole(text.to_owned()));
    }

    /// It cannot be read at these places, and has this of the others.
    pub(in crate::broker) fn lacks(&self, places: &[&str], text: &str) {
        *self.stays_confirmed.lock().unwrap() = false;
        self.set(Holding::Partial(text.to_owned(), places.iter().map(|&place| place.to_owned()).collect()));
    }

    /// It cannot be read.
    pub(in crate::broker) fn fails(&self) {
        *self.stays_confirmed.lock().unwrap() = false;
        self.set(Holding::Down);
    }

    /// It does not answer.
    pub(in crate::broker) fn hangs(&self) {
        *self.stays_confirmed.lock().unwrap() = false;
        self.set(Holding::Silent);
    }

    /// Nobody confirms what it has any more, and it notices nothing.
    pub(in crate::broker) fn ages(&self) {
        *self.stays_confirmed.lock().unwrap() = false;
    }

    /// It is confirmed again, and has nothing new.
    pub(in crate::broker) fn is_young(&self) {
        *self.stays_confirmed.lock().unwrap() = true;
    }

    /// It was lent this, for so long.
    pub(in crate::broker) fn borrows(&self, place: &str, time: Duration) {
        let lent = Lent { place: place.into(), ends: Some(Instant::now() + time) };
        self.lent.lock().unwrap().push(lent);
    }

    /// How often it was asked.
    pub(in crate::broker) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Source for Fake {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, _ask: Ask<'_>) -> Result<Layer, SourceError> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        loop {
            let holding = self.state.lock().unwrap().0.clone();
            let name = self.name.as_str();
            let answer = match holding {
                Holding::Whole(text) => Ok(layer(name, &text)),
                Holding::Partial(text, places) => {
                    let places: Vec<&str> = places.iter().map(String::as_str).collect();
                    Err(failed(name, &places, Some(layer(name, &text))))
                }
                Holding::Down => Err(failed(name, &["server"], None)),
                Holding::Silent => {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
            };
            if answer.is_ok() {
                self.state.lock().unwrap().1 = Some(Instant::now());
            }
            return answer;
        }
    }

    async fn changed(&self) {
        self.moved.notified().await;
    }

    fn is_remote(&self) -> bool {
        self.is_remote
    }

    fn is_own(&self) -> bool {
        self.is_own
    }

    async fn vitals(&self) -> Vitals {
        let mut state = self.state.lock().unwrap();
        if state.1.is_some() && *self.stays_confirmed.lock().unwrap() {
            state.1 = Some(Instant::now());
        }
        Vitals { confirmed: state.1, lent: self.lent.lock().unwrap().clone() }
    }
}

/// Remembers events, each in a few words.
#[derive(Default)]
pub(in crate::broker) struct Heard(Mutex<Vec<String>>);

impl Heard {
    /// What was told since the last time.
    pub(in crate::broker) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Listener for Heard {
    fn tell(&self, event: Event) {
        let list = |keys: &[Key]| keys.iter().map(Key::as_str).collect::<Vec<_>>().join(",");
        let words = match &event {
            // Told of every fetch.
            Event::Fetched { .. } => return,
            Event::Published { version, changed } => {
                format!("published {} {}", version.generation(), list(changed))
            }
            Event::Rejected { findings, holds } => {
                let codes: Vec<&str> =
                    findings.iter().filter_map(|words| words.code).map(Code::as_str).collect();
                let holds = holds.as_ref().map_or(0, crate::model::snapshot::Version::generation);
                format!("rejected {} {holds} holds", codes.join(","))
            }
            Event::SourceDown { source, faults, .. } => format!("down {source} {}", faults.len()),
            Event::SourceUp { source } => format!("up {source}"),
            Event::StandsIn { source, age } => format!("stands in {source} {}", age.as_secs()),
            Event::SourceStale { source, withheld, .. } => format!("stale {source} [{}]", list(withheld)),
            Event::DeletionHeld { key, until_forgotten, .. } => {
                format!("held {key} {}", if *until_forgotten { "until forgotten" } else { "for a minute" })
            }
            Event::GivenUp { key, by_request, .. } => {
                format!("given up {key} {}", if *by_request { "by request" } else { "in time" })
            }
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(words);
    }
}
