//! What a daemon shows of itself: the parts' words, put together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::sync::watch;

use super::hearing::Audience;
use super::last_good::Keeper;
use super::rotation::Rotations;
use crate::access::{Audit, Gate, Policy, Rules};
use crate::broker::{Broker, Forgetting, time};
use crate::delivery::courier::Record;
use crate::model::key::Key;
use crate::model::validate::Delivered;
use crate::rotation::consumers::{Acknowledgement, NotTaken};
use crate::rotation::order::{NotOrdered, Ordered};
use crate::serve::{Forgotten, Program, RotateAsked, Subject};
use crate::status::{Explanation, Provenance, RefusedReload, Status, VariableStatus};
use crate::telemetry::Telemetry;

/// What a daemon shows of itself.
pub(super) struct Face {
    broker: Arc<Broker>,
    keeper: Arc<Keeper>,
    rules: watch::Sender<Arc<Rules>>,
    generations: watch::Receiver<u64>,
    telemetry: Arc<Telemetry>,
    started: String,
    audience: Arc<Audience>,
    rotations: Arc<Rotations>,
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
    pub(super) fn new(
        broker: Arc<Broker>,
        keeper: Arc<Keeper>,
        rules: Rules,
        telemetry: Arc<Telemetry>,
        audience: Arc<Audience>,
        rotations: Arc<Rotations>,
    ) -> Self {
        Self {
            generations: broker.generations(),
            broker,
            keeper,
            rules: watch::Sender::new(Arc::new(rules)),
            telemetry,
            started: time(SystemTime::now()),
            audience,
            rotations,
            deliveries: Mutex::default(),
            reload_refused: Mutex::default(),
            was_ready: AtomicBool::new(false),
        }
    }

    /// A gate in front of what is published.
    pub(super) fn gate(&self) -> Gate {
        self.broker.gate(self.rules.subscribe())
    }

    /// The number of the generation that is published.
    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        self.broker.generations()
    }

    /// By what it is decided, from now on.
    pub(super) fn rule_by(&self, policy: Policy, audit: Option<Arc<Audit>>) {
        // Not asked of the broker, which waits for this to be done.
        let present = *self.generations.borrow();
        self.rules.send_modify(|rules| {
            *rules = Arc::new(rules.succeeded_by(policy, audit, present));
        });
    }

    /// What is rotated.
    pub(super) fn rotations(&self) -> &Arc<Rotations> {
        &self.rotations
    }

    /// The audit log in force.
    pub(super) fn audit(&self) -> Option<Arc<Audit>> {
        self.rules.borrow().audit().cloned()
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
            consumers: self.audience.statuses(&self.broker),
            rotator: self.rotations.status(),
            rotations: self.rotations.statuses(),
            audit: self.audit().map(|audit| audit.status()),
            snapshot: self.keeper.status(&status.sources),
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
            Forgetting::NotHeld if self.program().schema.var(&key).is_some() => Forgotten::NotHeld,
            Forgetting::NotHeld => Forgotten::Unknown,
            Forgetting::Refused(findings) => Forgotten::Refused { findings },
        }
    }

    async fn rotate(&self, key: &Key, asked: RotateAsked) -> Result<Ordered, NotOrdered> {
        self.rotations.order(key, asked).await
    }

    fn acknowledge(&self, consumer: &str, uid: u32, said: Acknowledgement) -> Result<(), NotTaken> {
        self.audience.hear(consumer, uid, said)
    }

    fn provenance(&self, delivered: &Delivered) -> Provenance {
        self.broker.provenance(delivered)
    }

    fn snapshot_age(&self, is_one: &dyn Fn(&Key) -> bool) -> Option<u64> {
        self.broker.snapshot_age(is_one).map(|age| age.as_secs())
    }

    fn program(&self) -> Program {
        let (schema, environment, service) = self.broker.program();
        Program { schema, environment, service }
    }
}
