//! Answering: the ops port, and the socket.
//!
//! Owns: listening (`bind`, `listen`), how much may be asked (`limits`), who may
//! connect (`places`), one connection and its deadlines (`converse`, `patience`,
//! `body`, `activity`), who asks (`peer`); the ops port (`ops`, `page`), which never
//! sees a value, and the socket (`socket`, `problem`), which sees those that the
//! gate lets out. Must not know: sources, deliveries, what is permitted to whom.

mod activity;
mod bind;
mod body;
pub mod config;
mod converse;
mod limits;
mod listen;
pub mod ops;
pub mod page;
mod patience;
mod peer;
mod places;
pub mod problem;
pub mod socket;

pub use bind::{BindError, Bound};
pub use limits::Limits;
pub use peer::Peer;

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::key::Key;
use crate::model::schema::Schema;
use crate::model::secret::SecretValue;
use crate::model::validate::Delivered;
use crate::rotation::consumers::{Acknowledgement, NotTaken};
use crate::rotation::course::Order;
use crate::rotation::order::{NotOrdered, Ordered};
use crate::status::{Explanation, FindingStatus, Provenance, Status};

/// What is answered for: the daemon, as far as it may be seen from outside.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Everything at this moment.
    fn status(&self) -> Status;

    /// Where a variable comes from; none where nobody knows the name.
    async fn explain(&self, key: &str) -> Option<Explanation>;

    /// Gives up a held value.
    async fn forget(&self, key: &str) -> Forgotten;

    /// Rotates a variable, or begins to: the rest follows by itself.
    ///
    /// # Errors
    /// [`NotOrdered`]: nothing was written.
    async fn rotate(&self, key: &Key, asked: RotateAsked) -> Result<Ordered, NotOrdered>;

    /// Takes what an instance of a consumer says of itself.
    ///
    /// # Errors
    /// [`NotTaken`].
    fn acknowledge(&self, consumer: &str, uid: u32, said: Acknowledgement) -> Result<(), NotTaken>;

    /// Where a value that was published comes from.
    fn provenance(&self, delivered: &Delivered) -> Provenance;

    /// Seconds since the oldest of these values was confirmed, of those that are known
    /// from the last-known-good snapshot only; none where none of them is.
    fn snapshot_age(&self, is_one: &dyn Fn(&Key) -> bool) -> Option<u64>;

    /// What program is served.
    fn program(&self) -> Program;
}

/// The program that is served, as the schema describes it.
#[derive(Debug, Clone)]
pub struct Program {
    /// The schema.
    pub schema: Arc<Schema>,
    /// The environment.
    pub environment: String,
    /// The service; none means all.
    pub service: Option<String>,
}

/// What somebody wants of a rotation.
#[derive(Debug)]
pub struct RotateAsked {
    /// What, and what is accepted for it.
    pub order: Order,
    /// The new value, where one was given.
    pub supplied: Option<SecretValue>,
    /// Whether it is only to be said what would be done.
    pub dry_run: bool,
}

/// What became of a request to forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forgotten {
    /// It was given up; the version that is without it.
    Done {
        /// The version.
        version: String,
    },
    /// Nothing is held under this name.
    NotHeld,
    /// The schema does not know the name.
    Unknown,
    /// The configuration would be invalid without it, beyond its being missing.
    Refused {
        /// Why.
        findings: Vec<FindingStatus>,
    },
}
