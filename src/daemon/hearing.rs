//! Who says which keys it runs: the programs that ask this daemon, in their own words, and
//! those of other daemons by what stands on the board.
//!
//! Invariant: who lives and says nothing of a key counts as one that does not have it.
//! Must not know: what follows from that.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::broker::Broker;
use crate::model::key::Key;
use crate::model::rotation::Kid;
use crate::rotation::board::{Board, SaidOfInstance};
use crate::rotation::config::RotationConfig;
use crate::rotation::consumers::{Acknowledgement, Consumers, Known, LIFE, Name, NotTaken};
use crate::rotation::estate::Hearing;
use crate::rotation::roll_call::Heard;
use crate::status::{ConsumerStatus, KeysInUse};

/// How often it is looked for words that count no more.
const LAPSES: Duration = Duration::from_secs(20);

/// Those that ask this daemon.
pub(super) struct Audience {
    known: Mutex<Consumers>,
    /// Counts words.
    words: watch::Sender<u64>,
    /// What is told to other daemons.
    told: watch::Sender<Vec<SaidOfInstance>>,
}

impl Audience {
    pub(super) fn new() -> Self {
        Self { known: Mutex::default(), words: watch::Sender::new(0), told: watch::Sender::new(Vec::new()) }
    }

    /// Takes what an instance says of itself.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(super) fn hear(&self, consumer: &str, uid: u32, said: Acknowledgement) -> Result<(), NotTaken> {
        let taken = self.with(|known| known.hear(consumer, uid, said, Instant::now()));
        if taken.is_ok() {
            self.words.send_modify(|words| *words += 1);
        }
        taken
    }

    /// All whose word still counts, for the status.
    pub(super) fn statuses(&self, broker: &Broker) -> Vec<ConsumerStatus> {
        let now = Instant::now();
        let name = |name: &Name| name.as_str().to_owned();
        let status = |(consumer, known): (&str, &Known)| {
            let said = &known.said;
            let age = known.age(now);
            let runs: BTreeMap<String, KeysInUse> = said
                .runs
                .iter()
                .map(|(key, used)| {
                    let verifies = used.verifies.iter().map(name).collect();
                    (key.to_string(), KeysInUse { verifies, signs: used.signs.as_ref().map(name) })
                })
                .collect();
            ConsumerStatus {
                name: consumer.to_owned(),
                instance: name(&said.instance),
                uid: known.uid,
                version: name(&said.version),
                current: !broker.has_changed_since(said.version.as_str(), said.runs.keys()),
                health: said.health,
                runs,
                age_seconds: age.as_secs(),
                expires_in_seconds: LIFE.saturating_sub(age).as_secs(),
            }
        };
        self.with(|known| known.present(now).map(status).collect())
    }

    /// What is to be told to other daemons.
    pub(super) fn known(&self) -> watch::Receiver<Vec<SaidOfInstance>> {
        self.told.subscribe()
    }

    /// Keeps what is to be told to other daemons as it is here.
    pub(super) async fn tell(&self, broker: &Broker) -> Infallible {
        let (mut words, mut generations) = (self.words.subscribe(), broker.generations());
        loop {
            words.borrow_and_update();
            generations.borrow_and_update();
            let said = |(consumer, known): (&str, &Known)| {
                let current = !broker.has_changed_since(known.said.version.as_str(), known.said.runs.keys());
                SaidOfInstance::new(consumer, known, current)
            };
            let all = self.with(|known| known.present(Instant::now()).map(said).collect());
            self.told.send_if_modified(|told| {
                let is_other = *told != all;
                *told = all;
                is_other
            });
            // Neither ends as long as this is there; what is said by nobody any more lapses.
            tokio::select! {
                _ = words.changed() => {}
                _ = generations.changed() => {}
                () = sleep(LAPSES) => {}
            }
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Consumers) -> T) -> T {
        act(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The same, as a rotator hears them.
pub(super) struct Ears {
    audience: Arc<Audience>,
    broker: Arc<Broker>,
    config: watch::Receiver<Arc<RotationConfig>>,
    board: watch::Receiver<Option<Arc<Board>>>,
    /// What was heard last: a word is told once.
    heard: Mutex<watch::Receiver<u64>>,
}

impl Ears {
    pub(super) fn new(
        audience: Arc<Audience>,
        broker: Arc<Broker>,
        config: watch::Receiver<Arc<RotationConfig>>,
        board: watch::Receiver<Option<Arc<Board>>>,
    ) -> Self {
        let heard = Mutex::new(audience.words.subscribe());
        Self { audience, broker, config, board, heard }
    }

    /// Those that ask this daemon.
    fn here(&self, key: &Key) -> Vec<Heard> {
        let kid = |name: &Name| Kid::new(name.as_str()).ok();
        let heard = |(consumer, known): (&str, &Known)| {
            let used = known.said.runs.get(key);
            Heard {
                consumer: consumer.into(),
                instance: known.said.instance.as_str().into(),
                verifies: used.iter().flat_map(|used| &used.verifies).filter_map(kid).collect(),
                signs: used.and_then(|used| used.signs.as_ref()).and_then(kid),
                current: !self.broker.has_changed_since(known.said.version.as_str(), std::iter::once(key)),
            }
        };
        self.audience.with(|known| known.present(Instant::now()).map(heard).collect())
    }
}

#[async_trait]
impl Hearing for Ears {
    async fn heard(&self, key: &Key) -> Result<Vec<Heard>, String> {
        let mut heard = self.here(key);
        let board = self.board.borrow().clone();
        let is_shared = self.config.borrow().acknowledgements.is_some();
        let Some(board) = board else {
            return if is_shared {
                Err("the board of acknowledgements is not there yet".to_owned())
            } else {
                Ok(heard)
            };
        };
        for other in board.heard(key).await? {
            // What is said here stands there a moment later.
            let is_it = |one: &Heard| one.consumer == other.consumer && one.instance == other.instance;
            if !heard.iter().any(is_it) {
                heard.push(other);
            }
        }
        Ok(heard)
    }

    async fn moved(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut boards = self.board.clone();
        let board = boards.borrow_and_update().clone();
        let there = async {
            match &board {
                Some(board) => board.moved().await,
                None => std::future::pending().await,
            }
        };
        // The audience is there as long as this is.
        tokio::select! {
            _ = heard.changed() => {}
            _ = boards.changed() => {}
            () = there => {}
        }
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = heard;
    }
}
