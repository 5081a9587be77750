//! Writing back: a document of a source, changed by compare-and-set.
//!
//! A document is what a source changes in one write: a KV v2 path, a Kubernetes Secret,
//! an env file. It has a variable, what its rotation put beside it, and the state of
//! that rotation.
//! Invariants: what was written since a document was read is never overwritten; a write
//! changes the named slots and the reserved field, and nothing else; values go to the
//! place that they came from, and into no error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::model::key::Key;
use crate::model::origin::Revision;
use crate::model::rotation::{Ledger, Progress, Slot};
use crate::model::secret::SecretValue;

/// A document, as it was read a moment ago.
#[derive(Debug)]
pub struct Document {
    /// As printed: `vault:secret/datalens/production`, `k8s:datalens/secret/datalens-api`.
    pub place: Arc<str>,
    /// What a write is compared with.
    pub revision: Revision,
    /// The field that has the variable itself.
    pub field: Box<str>,
    /// What is in its slots, as the field's text is; empty fields are left out.
    pub values: BTreeMap<Slot, Arc<SecretValue>>,
    /// The whole state that the document has.
    pub ledger: Ledger,
    /// What the server's clock said; none where there is no server.
    pub server_time: Option<SystemTime>,
}

impl Document {
    /// How far the rotation of the variable is; none before its first.
    pub fn progress(&self) -> Option<&Progress> {
        self.ledger.of(&self.field)
    }
}

/// What is to become of a document. A copy shares the values.
#[derive(Debug, Clone)]
pub struct Change {
    /// The slots that get a value.
    pub set: Vec<(Slot, Arc<SecretValue>)>,
    /// The slots that are gone afterwards.
    pub remove: Vec<Slot>,
    /// The state, which is written with them.
    pub progress: Progress,
}

/// Why a document could not be read or written. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct WriteError {
    /// What that means.
    pub kind: WriteErrorKind,
    /// One sentence that names the place.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// What a failure to write means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteErrorKind {
    /// Somebody wrote since it was read: read it again.
    Conflict,
    /// It does not answer now. What was sent may have been done: read it again later.
    Unavailable,
    /// It refuses us, or cannot be written at all: somebody has to do something.
    Refused,
    /// Another controller owns it: refused unless somebody takes it over by name.
    Owned,
    /// It is not there, or its state cannot be understood.
    Unusable,
}

/// A source that can be written to.
#[async_trait]
pub trait WritableSource: Send + Sync {
    /// Reads the document that has this variable, from its place and not from what is
    /// held.
    ///
    /// # Errors
    /// [`WriteError`].
    async fn open(&self, owner: &Key) -> Result<Document, WriteError>;

    /// Writes, if nobody did since it was read. Afterwards the source looks at its
    /// place anew without being told.
    ///
    /// # Errors
    /// [`WriteError`]: with `Unavailable` it may have happened.
    async fn write(&self, document: &Document, change: &Change) -> Result<Revision, WriteError>;

    /// The newest version of the document before the one that was read in which the
    /// state of this variable's rotation can be read, where the place keeps versions.
    ///
    /// # Errors
    /// [`WriteError`].
    async fn before(&self, document: &Document, owner: &Key) -> Result<Option<Document>, WriteError>;
}
