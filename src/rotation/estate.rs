//! What a rotator works with, behind traits: the daemon's sources and schema, who says
//! what it runs, and the probes. Tests bring their own.

use std::sync::Arc;

use async_trait::async_trait;

use super::roll_call::{Expected, Heard};
use crate::model::key::Key;
use crate::model::schema::{Generate, Rotation};
use crate::model::secret::SecretValue;
use crate::probe::Probed;
use crate::source::Source;

/// A rotated variable.
#[derive(Debug, Clone)]
pub struct Rotating {
    /// The variable.
    pub key: Key,
    /// How it is rotated.
    pub rotation: Rotation,
    /// How a key is made, where dlconf makes it.
    pub generate: Option<Generate>,
    /// The longest life of what it signs, in seconds, by the values in force.
    pub token_life: Option<u64>,
    /// Who is declared and reads it.
    pub expected: Vec<Expected>,
    /// The services that read it and are declared nowhere.
    pub undeclared: Vec<Box<str>>,
}

/// The source that gives a variable.
#[derive(Clone)]
pub struct Giver {
    /// It.
    pub source: Arc<dyn Source>,
    /// Where its value stands: `vault:secret/datalens/production#JWT_SECRET@7`.
    pub place: String,
    /// The value that is in force: what was published last.
    pub value: Arc<SecretValue>,
    /// The places of lower sources that offer the variable too, nearest first.
    pub below: Vec<String>,
    /// Places of other sources that give a name which the rotation needs: a stray
    /// `JWT_SECRET_NEXT` in the environment.
    pub strays: Vec<(Key, String)>,
}

/// The daemon, as a rotator sees it.
#[async_trait]
pub trait Estate: Send + Sync {
    /// The variables that the schema rotates and that this daemon's services read, in
    /// schema order.
    fn rotating(&self) -> Vec<Rotating>;

    /// Who gives a variable now; none before the first generation, and where nobody does.
    fn giver(&self, key: &Key) -> Option<Giver>;

    /// Whether the configuration would be valid with these values: what is wrong
    /// otherwise, a sentence each. Value-free.
    fn judge(&self, values: &[(Key, Arc<SecretValue>)]) -> Vec<String>;

    /// Waits until a source, the schema or the settings moved. It may be dropped at any
    /// time.
    async fn moved(&self);
}

/// Who says what it runs.
#[async_trait]
pub trait Hearing: Send + Sync {
    /// Everybody whose word on this variable still counts; also who lives and said
    /// nothing of it (with no kids).
    ///
    /// # Errors
    /// Why not everybody can be heard, as a clause.
    async fn heard(&self, key: &Key) -> Result<Vec<Heard>, String>;

    /// Waits until somebody may have said something new. It may be dropped at any time.
    async fn moved(&self);
}

/// Tries a value on the other side before it is written.
#[async_trait]
pub trait Prober: Send + Sync {
    /// Tries this value for the variable, with everything else as it is in force; none
    /// where the schema has no probe for it.
    async fn probe(&self, key: &Key, candidate: &SecretValue) -> Option<Probed>;
}
