//! Writing to a sealed file: its text is changed as an env file's is, and sealed.
//!
//! Invariants: what did not change stays as it was sealed, byte for byte; the file is
//! read again and opened while it is held; the state and old values that are kept are
//! sealed like everything else.
//! Must not know: how a text is changed (`dotenv::rewrite`), how a file is replaced.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::document::chunks;
use super::edition::{Edition, text_of};
use super::{SealedFile, SealedSource};
use crate::disk::stamp::Stamp;
use crate::model::key::Key;
use crate::model::origin::Revision;
use crate::model::rotation::Ledger;
use crate::sealed::{Container, Opened};
use crate::source::dotenv::parse;
use crate::source::dotenv::rewrite::{Readers, fields, rewritten};
use crate::source::file::{TEXT_LIMIT, read_text_beneath};
use crate::source::file_write::{self, Revisions};
use crate::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};
use crate::source::{Fault, FaultKind};

#[async_trait]
impl WritableSource for SealedSource {
    async fn open(&self, owner: &Key) -> Result<Document, WriteError> {
        let (file, revisions) = (Arc::clone(&self.file), self.revisions.clone());
        let owner = owner.clone();
        spawn_blocking(move || file.document(&revisions, &owner)).await.map_err(|_ended| ending())?
    }

    async fn write(&self, document: &Document, change: &Change) -> Result<Revision, WriteError> {
        let (file, revisions) = (Arc::clone(&self.file), self.revisions.clone());
        let (field, revision) = (document.field.clone(), document.revision.clone());
        let (ledger, change) = (document.ledger.clone(), change.clone());
        let write = move || file.write(&revisions, &revision, &field, &ledger, &change);
        let written = spawn_blocking(write).await;
        // Whatever became of it: what is there now is to be read.
        self.local.wake();
        written.map_err(|_ended| ending())?
    }

    async fn before(&self, _document: &Document, _owner: &Key) -> Result<Option<Document>, WriteError> {
        Ok(None)
    }
}

/// The runtime takes no more work.
fn ending() -> WriteError {
    let message = "this process is ending".to_owned();
    file_write::error(WriteErrorKind::Unavailable, message, "start it again")
}

/// A file that was read and opened.
struct Open {
    stamp: Stamp,
    revision: Revision,
    container: Container,
    opened: Opened,
    text: Zeroizing<String>,
}

impl SealedFile {
    fn open_now(&self, revisions: &Revisions) -> Result<Open, WriteError> {
        let read = read_text_beneath(&self.path, TEXT_LIMIT, self.beneath.as_deref())
            .map_err(|fault| file_write::unread_file(fault, &self.label))?;
        let container =
            Container::from_text(&read.text).map_err(|error| file_write::unread(self.unopened(&error)))?;
        let first = |faults: Vec<Fault>| faults.into_iter().next().map_or_else(ending, file_write::unread);
        let opened = self.opened(&container).map_err(first)?;
        let text = text_of(&opened).ok_or_else(|| {
            let message = format!("{} is whole, and what was sealed in it is no text", self.label);
            file_write::unread(self.fault(FaultKind::Malformed, message, "seal an env file".to_owned()))
        })?;
        let revision = revisions.of(&read.stamp, read.text.as_bytes());
        Ok(Open { stamp: read.stamp, revision, container, opened, text })
    }

    fn document(&self, revisions: &Revisions, owner: &Key) -> Result<Document, WriteError> {
        let open = self.open_now(revisions)?;
        let first = |faults: Vec<Fault>| faults.into_iter().next().map_or_else(ending, file_write::unread);
        let parsed = parse(&self.name, &self.label, &open.text, None).map_err(first)?;
        let found = fields(&parsed, owner.as_str())
            .map_err(|misfit| file_write::misfit(&self.label, &misfit))?
            .ok_or_else(|| file_write::not_set(&self.label, owner.as_str()))?;
        file_write::look(&self.path, &self.label)?;
        Ok(Document {
            place: Arc::clone(&self.label),
            revision: open.revision,
            field: owner.as_str().into(),
            values: found.values,
            ledger: found.ledger,
            server_time: None,
        })
    }

    fn write(
        &self,
        revisions: &Revisions,
        revision: &Revision,
        owner: &str,
        ledger: &Ledger,
        change: &Change,
    ) -> Result<Revision, WriteError> {
        let label = &*self.label;
        file_write::look(&self.path, label)?;
        let held = file_write::held(&self.path, label)?;
        let open = self.open_now(revisions)?;
        if open.revision != *revision || !held.is_of(&open.stamp) {
            return Err(file_write::conflict(label));
        }
        let text = rewritten(&open.text, owner, change, ledger, Readers::Ours)
            .map_err(|misfit| file_write::misfit(label, &misfit))?;
        let first = |faults: Vec<Fault>| faults.into_iter().next().map_or_else(ending, file_write::unread);
        let chunks = chunks(&text, &self.label).map_err(first)?;
        let new = Edition::new(&open.container, &open.opened, &chunks)
            .sealed(&open.container, &open.opened)
            .map_err(|error| {
                let message = format!("{label} is not written: {error}");
                file_write::error(WriteErrorKind::Refused, message, "see whether the kernel is in order")
            })?
            .to_text();
        if u64::try_from(new.len()).is_ok_and(|size| size > TEXT_LIMIT) {
            let message = format!("{label} is not written: it would have more bytes than are read");
            return Err(file_write::error(WriteErrorKind::Refused, message, "seal it as several files"));
        }
        let stamp = held
            .replace(new.as_bytes(), open.stamp)
            .map_err(|reason| file_write::unwritten(label, &reason))?;
        Ok(revisions.of(&stamp, new.as_bytes()))
    }
}
