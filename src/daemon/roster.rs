//! Who is at work for which delivery.
//!
//! Invariant: who is told to stop is told for good.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::layout::Granted;
use crate::delivery::courier::Record;

/// The couriers at work, by their deliveries' names.
#[derive(Clone, Default)]
pub(super) struct Roster(Arc<Mutex<BTreeMap<String, Worker>>>);

/// A courier at work.
pub(super) struct Worker {
    pub(super) granted: Granted,
    pub(super) record: Arc<Record>,
    /// Gone when it was told to stop.
    pub(super) stop: Option<oneshot::Sender<()>>,
    /// Told when it has ended.
    pub(super) gone: oneshot::Receiver<()>,
}

impl Roster {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Worker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one more on it.
    pub(super) fn enter(&self, worker: Worker) {
        self.lock().insert(worker.granted.config.name.clone(), worker);
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    pub(super) fn records(&self) -> Vec<Arc<Record>> {
        self.lock().values().map(|worker| Arc::clone(&worker.record)).collect()
    }

    /// Tells all to stop but those that are to stay just as they are.
    pub(super) fn dismiss(&self, staying: &[Granted]) {
        for worker in self.lock().values_mut().filter(|worker| !staying.contains(&worker.granted)) {
            worker.stop = None;
        }
    }

    /// Those that were told to stop.
    pub(super) fn take_dismissed(&self) -> Vec<Worker> {
        let mut workers = self.lock();
        let (leaving, staying) =
            std::mem::take(&mut *workers).into_iter().partition(|(_, worker)| worker.stop.is_none());
        *workers = staying;
        let leaving: BTreeMap<String, Worker> = leaving;
        leaving.into_values().collect()
    }
}

impl Worker {
    pub(super) async fn leave(self) {
        let _gone = self.gone.await;
    }
}
