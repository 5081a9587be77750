//! What a daemon shows of itself: the parts' words, put together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;

use crate::access::Gate;
use crate::broker::{Broker, Forgetting, time};
use crate::delivery::courier::Record;
use crate::model::key::Key;
use crate::serve::{Forgotten, Subject};
use crate::status::{Explanation, RefusedReload, Status, VariableStatus};
use crate::telemetry::Telemetry;

/// What a daemon shows of itself.
pub(super) struct Face {
    broker: Arc<Broker>,
    telemetry: Arc<Telemetry>,
    started: String,
    deliveries: Mutex<Vec<Arc<Record>>>,
    reload_refused: Mutex<Option<RefusedReload>>,
    /// Once ready, always ready: what fails later is told, and is no reason to take
    /// away what works.
    was_ready: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Face {
    pub(super) fn new(broker: Arc<Broker>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            broker,
            telemetry,
            started: time(SystemTime::now()),
            deliveries: Mutex::default(),
            reload_refused: Mutex::default(),
            was_ready: AtomicBool::new(false),
        }
    }

    /// A gate in front of what is published.
    pub(super) fn gate(&self) -> Gate {
        self.broker.gate()
    }

    pub(super) fn telemetry(&self) -> Arc<Telemetry> {
        Arc::clone(&self.telemetry)
    }

    /// The deliveries that are shown from now on.
    pub(super) fn show(&self, deliveries: Vec<Arc<Record>>) {
        *lock(&self.deliveries) = deliveries;
    }

    /// The reload that was refused; none once one worked. True if that is for other
    /// reasons than the one before.
    pub(super) fn refuse(&self, refused: Option<RefusedReload>) -> bool {
        let mut shown = lock(&self.reload_refused);
        let reasons =
            |refused: &Option<RefusedReload>| refused.as_ref().map(|refused| refused.findings.clone());
        let is_other = reasons(&refused) != reasons(&shown);
        *shown = refused;
        is_other
    }

    /// Whether a generation was published and every delivery has had one.
    pub(super) fn is_ready(&self) -> bool {
        let is_ready = self.was_ready.load(Ordering::Relaxed)
            || (self.broker.version().is_some()
                && lock(&self.deliveries).iter().all(|record| record.has_delivered()));
        if is_ready {
            self.was_ready.store(true, Ordering::Relaxed);
        }
        is_ready
    }
}

#[async_trait]
impl Subject for Face {
    fn status(&self) -> Status {
        let status = self.broker.status();
        let records = lock(&self.deliveries).clone();
        let variables = status.variables.into_iter().map(|variable| {
            let readers = records.iter().filter_map(|record| record.reader_of(&variable.key));
            VariableStatus { deliveries: readers.map(str::to_owned).collect(), ..variable }
        });
        Status {
            variables: variables.collect(),
            started: self.started.clone(),
            ready: self.is_ready(),
            deliveries: records.iter().map(|record| record.status()).collect(),
            reload_refused: lock(&self.reload_refused).clone(),
            ..status
        }
    }

    async fn explain(&self, key: &str) -> Option<Explanation> {
        self.broker.explain(key)
    }

    async fn forget(&self, key: &str) -> Forgotten {
        let Ok(key) = Key::new(key) else { return Forgotten::Unknown };
        match self.broker.forget(&key) {
            Forgetting::Done(version) => Forgotten::Done { version },
            Forgetting::NotHeld if self.broker.declares(&key) => Forgotten::NotHeld,
            Forgetting::NotHeld => Forgotten::Unknown,
            Forgetting::Refused(findings) => Forgotten::Refused { findings },
        }
    }
}
