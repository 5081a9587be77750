//! What a rotator works with, made of what the daemon has: its broker and the settings in
//! force.
//!
//! Invariant: nothing is kept here; each question is answered by what holds at that
//! moment.
//! Must not know: what a rotation does next.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use crate::broker::{Broker, Placed};
use crate::model::key::Key;
use crate::model::schema::kind::Typed;
use crate::model::schema::{Schema, Var};
use crate::model::secret::SecretValue;
use crate::rotation::config::RotationConfig;
use crate::rotation::estate::{Estate, Giver, Rotating};
use crate::status::FindingStatus;

/// Nanoseconds in a second.
const SECOND: i128 = 1_000_000_000;

/// The daemon, as a rotator sees it.
pub(super) struct Premises {
    broker: Arc<Broker>,
    config: watch::Receiver<Arc<RotationConfig>>,
    /// What was seen last: a change is told once.
    seen: Mutex<Seen>,
}

#[derive(Clone)]
struct Seen {
    judgements: watch::Receiver<()>,
    config: watch::Receiver<Arc<RotationConfig>>,
}

impl Premises {
    pub(super) fn new(broker: Arc<Broker>, config: watch::Receiver<Arc<RotationConfig>>) -> Self {
        let seen = Seen { judgements: broker.judgements(), config: config.clone() };
        Self { broker, config, seen: Mutex::new(seen) }
    }

    /// The longest life of what a key signs, by the values in force.
    fn token_life(&self, schema: &Schema, tokens: &[Key]) -> Option<u64> {
        let life = |key: &Key| {
            let var = schema.var(key)?;
            let given = self.broker.value_of(key);
            // A duration is no secret: it is read, and not kept.
            let text = given.as_ref().map(|value| value.expose()).or(var.default.as_deref())?;
            match var.kind.judge(text, var.dialect) {
                Ok(Typed::Duration(nanos)) => u64::try_from((nanos + SECOND - 1) / SECOND).ok(),
                _ => None,
            }
        };
        tokens.iter().filter_map(life).max()
    }
}

#[async_trait]
impl Estate for Premises {
    fn rotating(&self) -> Vec<Rotating> {
        let (schema, _, service) = self.broker.program();
        let config = self.config.borrow().clone();
        let ours = schema.vars.iter().filter(|var| var.read_by(service.as_deref()));
        ours.filter_map(|var| {
            let rotation = var.rotation.clone()?;
            let (expected, undeclared) = config.readers(&schema, var);
            Some(Rotating {
                key: var.key.clone(),
                token_life: self.token_life(&schema, &rotation.tokens),
                rotation,
                generate: var.generate,
                expected,
                undeclared,
            })
        })
        .collect()
    }

    fn giver(&self, key: &Key) -> Option<Giver> {
        let (schema, ..) = self.broker.program();
        let is_implied = |var: &&Var| var.implied_by.as_ref() == Some(key);
        let implied: Vec<Key> = schema.vars.iter().filter(is_implied).map(|var| var.key.clone()).collect();
        let Placed { source, place, value, below, beside } = self.broker.placed(key, &implied)?;
        Some(Giver { source, place, value, below, strays: beside })
    }

    fn judge(&self, values: &[(Key, Arc<SecretValue>)]) -> Vec<String> {
        let (schema, ..) = self.broker.program();
        let owner_of = |(key, _): &(Key, Arc<SecretValue>)| {
            schema.var(key).and_then(|var| var.implied_by.clone()).unwrap_or_else(|| key.clone())
        };
        let Some(owner) = values.first().map(owner_of) else { return Vec::new() };
        let sentence = |finding: FindingStatus| match finding.code {
            Some(code) => format!("[{code}] {}", finding.message),
            None => finding.message,
        };
        self.broker.wrong_with(&owner, values).into_iter().map(sentence).collect()
    }

    async fn moved(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Neither ends as long as this is there.
        tokio::select! {
            _ = seen.judgements.changed() => {}
            _ = seen.config.changed() => {}
        }
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }
}
