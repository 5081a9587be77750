//! Trying a new value on the other side, with everything else as it is in force.
//!
//! Must not know: how the other side is asked; what becomes of the answer.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::broker::Broker;
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::probe::{Probed, probe};
use crate::rotation::config::RotationConfig;
use crate::rotation::estate::Prober;

/// The probes of the schema, asked with the values in force.
pub(super) struct Trials {
    broker: Arc<Broker>,
    config: watch::Receiver<Arc<RotationConfig>>,
}

impl Trials {
    pub(super) fn new(broker: Arc<Broker>, config: watch::Receiver<Arc<RotationConfig>>) -> Self {
        Self { broker, config }
    }
}

#[async_trait]
impl Prober for Trials {
    async fn probe(&self, key: &Key, candidate: &SecretValue) -> Option<Probed> {
        let (schema, ..) = self.broker.program();
        let spec = schema.probe(key)?;
        let config = self.config.borrow().clone();
        let values = |key: &Key| self.broker.value_of(key);
        Some(probe(spec, &values, candidate, &config.probe_hosts).await)
    }
}
