//! Where the value of a variable stands, and whether others could take its place: for who
//! writes to sources.
//!
//! Invariants: what is tried is judged as everything else is, and published by nobody;
//! what is told of it is value-free.
//! Must not know: who writes, and why.

use std::sync::Arc;

use super::desk::Desk;
use super::{Broker, words};
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Offer, Value};
use crate::model::origin::Origin;
use crate::model::resolve::Loss;
use crate::model::secret::SecretValue;
use crate::source::Source;
use crate::status::FindingStatus;

/// Where a variable's value stands.
#[derive(Clone)]
pub struct Placed {
    /// The source that wins.
    pub source: Arc<dyn Source>,
    /// The place: `vault:secret/datalens/production#JWT_SECRET@7`.
    pub place: String,
    /// The value that is in force.
    pub value: Arc<SecretValue>,
    /// The places that offer it too and lose, nearest first.
    pub below: Vec<String>,
    /// Other places than the winner's that offer a name which belongs to it.
    pub beside: Vec<(Key, String)>,
}

/// In which document an offer stands: what is written in one go.
fn document(origin: &Origin) -> (&SourceName, Option<&Arc<str>>) {
    (&origin.source, origin.location.place())
}

impl Broker {
    /// Where a variable's value stands, with what stands elsewhere of the names that
    /// belong to it; none before the first generation, and where no source gives it.
    pub fn placed(&self, key: &Key, belonging: &[Key]) -> Option<Placed> {
        let state = self.lock();
        let variables = &state.publisher.judged()?.resolution.variables;
        let candidates = variables.get(key)?;
        let winner = candidates.winner.as_ref()?;
        let source = state.desk.source(&winner.origin.source)?;
        let in_force = state.publisher.in_force().iter().find(|delivered| delivered.key == *key)?;
        let lost = candidates.losers.iter().filter(|loser| loser.why != Loss::Empty);
        let is_elsewhere = |origin: &Origin| document(origin) != document(&winner.origin);
        let mut beside = Vec::new();
        for name in belonging {
            let Some(offers) = variables.get(name) else { continue };
            let won = offers.winner.iter().map(|winner| &winner.origin);
            let lost =
                offers.losers.iter().filter(|loser| loser.why != Loss::Empty).map(|loser| &loser.origin);
            let strays = won.chain(lost).filter(|origin| is_elsewhere(origin));
            beside.extend(strays.map(|origin| (name.clone(), origin.location.to_string())));
        }
        Some(Placed {
            source,
            place: winner.origin.location.to_string(),
            value: Arc::clone(&in_force.value),
            below: lost.map(|loser| loser.origin.location.to_string()).collect(),
            beside,
        })
    }

    /// The value of a variable: what is in force; of one that no service of ours reads,
    /// what a source offers.
    pub fn value_of(&self, key: &Key) -> Option<Arc<SecretValue>> {
        let state = self.lock();
        let in_force = state.publisher.in_force().iter().find(|delivered| delivered.key == *key);
        let offered = || {
            let variables = &state.publisher.judged()?.resolution.variables;
            Some(Arc::clone(&variables.get(key)?.winner.as_ref()?.value))
        };
        in_force.map(|delivered| Arc::clone(&delivered.value)).or_else(offered)
    }

    /// What would be wrong if these values stood where `owner` stands, or where each of
    /// them stands already; nothing where the configuration would be valid.
    pub fn wrong_with(&self, owner: &Key, values: &[(Key, Arc<SecretValue>)]) -> Vec<FindingStatus> {
        let (mut trial, places): (Desk, Vec<Option<Origin>>) = {
            let state = self.lock();
            let variables = state.publisher.judged().map(|judged| &judged.resolution.variables);
            let origin = |key: &Key| Some(variables?.get(key)?.winner.as_ref()?.origin.clone());
            let places = values.iter().map(|(key, _)| origin(key).or_else(|| origin(owner))).collect();
            (state.desk.clone(), places)
        };
        for ((key, value), origin) in values.iter().zip(places) {
            // Of what nobody offers there is nothing to replace.
            if let Some(origin) = origin {
                trial.put(key, value, origin);
            }
        }
        let judged = trial.judge();
        if judged.verdict.outcome.is_ok() {
            return Vec::new();
        }
        let reasons = words::reasons(&judged.verdict);
        if reasons.is_empty() { words::errors(&judged.verdict) } else { reasons }
    }
}

impl Desk {
    fn source(&self, name: &SourceName) -> Option<Arc<dyn Source>> {
        let ours = self.tracked.iter().find(|tracked| tracked.name() == name)?;
        Some(Arc::clone(&ours.planned.source))
    }

    /// Puts a value into the place of what a source offers, or beside it.
    fn put(&mut self, key: &Key, value: &Arc<SecretValue>, origin: Origin) {
        let ours = self.tracked.iter_mut().find(|tracked| *tracked.name() == origin.source);
        let Some(layer) = ours.and_then(|tracked| tracked.share.layer.as_mut()) else { return };
        let value = Value::Literal(Arc::clone(value));
        match layer.offers.iter_mut().rev().find(|offer| offer.key == *key) {
            Some(offer) => (offer.value, offer.excerpt) = (value, None),
            None => layer.offers.push(Offer { key: key.clone(), value, origin, excerpt: None }),
        }
    }
}
