//! `type = "kubernetes"`: named Secrets and ConfigMaps of one namespace.
//!
//! Owns: `config`, what the settings say; `state`, what is known of each object;
//! `look`, reading and finding one; `watch`, being told of changes; `data`, from an
//! object to variables; `layer`, what the rest of the program is told; `rbac`, the rights that are
//! needed; `examine`, what `doctor` asks; `write`, changing a Secret, and `owner`, whose it
//! is.
//! Invariants: only what the settings name is asked for, one object at a time;
//! unreachable is not missing, and a deletion is what the server states to be one;
//! a failure of one object leaves the others alone; values come over connections
//! that are closed when they have come.
//! Must not know: which source wins, or what a value means.

pub mod config;
mod data;
mod examine;
mod layer;
mod look;
mod owner;
pub(crate) mod rbac;
mod state;
mod watch;
mod write;

pub use config::Config;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use self::state::Tracked;
use self::watch::Watcher;
use super::writable::WritableSource;
use super::{Ask, Observation, Source, SourceError, Use, Vitals};
use crate::kubernetes::{Client, Name};
use crate::model::key::{Key, SourceName};
use crate::model::layer::Layer;

/// How many objects are read at once.
const AT_ONCE: usize = 4;

/// What is read of a Kubernetes API server.
pub struct KubernetesSource {
    name: SourceName,
    shared: Arc<Shared>,
    watcher: tokio::sync::Mutex<Option<Watcher>>,
}

/// What the source and its watches share.
struct Shared {
    config: Config,
    client: Client,
    /// Where the objects are, once that is known.
    namespace: OnceLock<Name>,
    objects: Vec<Slot>,
    /// The names that the last fetch knew.
    known: Mutex<Arc<BTreeSet<Key>>>,
    /// Told when a fetch would give something else.
    moved: Notify,
}

/// One object.
struct Slot {
    /// Whoever reads it has this, so that the later read is the newer one.
    turn: tokio::sync::Mutex<()>,
    tracked: Mutex<Tracked>,
}

impl Slot {
    fn tracked(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KubernetesSource {
    /// A source; nobody is asked yet.
    pub fn new(name: SourceName, config: Config) -> Self {
        let client = Client::new(config.server.clone(), config.timeout);
        let slot = |spec: &config::Spec| Slot {
            turn: tokio::sync::Mutex::new(()),
            tracked: Mutex::new(Tracked::new(spec.clone())),
        };
        let objects = config.objects.iter().map(slot).collect();
        let shared = Shared {
            config,
            client,
            namespace: OnceLock::new(),
            objects,
            known: Mutex::default(),
            moved: Notify::new(),
        };
        Self { name, shared: Arc::new(shared), watcher: tokio::sync::Mutex::new(None) }
    }
}

#[async_trait]
impl Source for KubernetesSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, ask: Ask<'_>) -> Result<Layer, SourceError> {
        let shared = &self.shared;
        let until = Instant::now() + shared.config.deadline;
        let learnt = shared.learn(ask.known);
        if ask.retry {
            let patient = async {
                while let Some(then) = shared.read_what_is_due(learnt).await.filter(|then| *then < until) {
                    sleep_until(then).await;
                }
            };
            let _what_is_known_is_told = timeout_at(until, patient).await;
        } else if learnt || self.watcher.lock().await.is_none() {
            // Afterwards the watches read, each in its own time.
            shared.read_what_is_due(learnt).await;
        }
        let (layer, faults) = layer::layer(&self.name, shared, ask.names_only);
        if faults.is_empty() {
            Ok(layer)
        } else {
            let rest = Some(Box::new(layer));
            Err(SourceError { source_name: self.name.clone(), faults, rest })
        }
    }

    async fn changed(&self) {
        {
            let mut watcher = self.watcher.lock().await;
            watcher.get_or_insert_with(|| Watcher::start(&self.shared));
        }
        self.shared.moved.notified().await;
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn vitals(&self) -> Vitals {
        let now = Instant::now();
        let confirmed = self
            .shared
            .objects
            .iter()
            .try_fold(now, |oldest, slot| Some(oldest.min(slot.tracked().confirmed?)));
        Vitals { confirmed, lent: Vec::new() }
    }

    fn writable(&self) -> Option<&dyn WritableSource> {
        Some(self)
    }

    async fn examine(&self) -> Vec<Observation> {
        examine::examine(&self.shared).await
    }

    async fn close(&self, _nothing_is_lent: Use) {
        if let Some(watcher) = self.watcher.lock().await.take() {
            watcher.stop().await;
        }
        for slot in &self.shared.objects {
            slot.tracked().held = None;
        }
    }
}

impl Shared {
    fn known(&self) -> Arc<BTreeSet<Key>> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the names that are known. True if they are others than before, so that
    /// objects have to be looked at anew.
    fn learn(&self, known: &BTreeSet<Key>) -> bool {
        let mut slot = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if **slot == *known {
            return false;
        }
        *slot = Arc::new(known.clone());
        true
    }

    /// Reads every object that has to be read (or all) and may be asked now. When
    /// something is to be tried again that may pass, it tells when.
    async fn read_what_is_due(&self, all: bool) -> Option<Instant> {
        let now = Instant::now();
        let due = self.objects.iter().filter(|slot| {
            let tracked = slot.tracked();
            let may_be_asked = tracked.not_before.is_none_or(|then| then <= now);
            may_be_asked && (all || tracked.is_unread() || tracked.failure.is_some())
        });
        let due: Vec<&Slot> = due.collect();
        // Collected first: each future is tied to the borrow of the objects. Whoever
        // asked sees for himself what moved.
        let reads: Vec<_> = due.into_iter().map(|slot| self.read(slot)).collect();
        let _moved: Vec<bool> = stream::iter(reads).buffer_unordered(AT_ONCE).collect().await;
        let again = self.objects.iter().filter_map(|slot| {
            let tracked = slot.tracked();
            tracked.not_before.filter(|_| tracked.failure.as_ref().is_some_and(|f| f.trouble.why.passes()))
        });
        again.min()
    }
}
