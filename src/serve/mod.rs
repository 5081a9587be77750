//! Answering: the ops port, and the socket of the daemon's own user.
//!
//! Owns: listening (`bind`, `listen`), deadlines of connections, who asks; the
//! ops port (`ops`, `page`), and the socket (`control`, `problem`). Must not know:
//! values (the ops port never sees one), sources, deliveries.

mod bind;
pub mod config;
pub mod control;
mod listen;
pub mod ops;
pub mod page;
mod patience;
pub mod problem;

pub use bind::{BindError, Bound};
pub use listen::{Limits, Peer};

use async_trait::async_trait;

use crate::status::{Explanation, FindingStatus, Status};

/// What is answered for: the daemon, as far as it may be seen from outside.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Everything at this moment.
    fn status(&self) -> Status;

    /// Where a variable comes from; none where nobody knows the name.
    async fn explain(&self, key: &str) -> Option<Explanation>;

    /// Gives up a held value.
    async fn forget(&self, key: &str) -> Forgotten;
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
