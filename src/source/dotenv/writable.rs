//! Writing to env files: the document is the file whose line wins.
//!
//! Invariants: the file is read again while it is held, and written only if it is what
//! was read before, and still the one that wins; a field that another file of the source
//! sets as well is refused, since what is written would not count, or what is removed
//! would come back.
//! Must not know: how a text is changed (`rewrite`), how a file is replaced.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::spawn_blocking;

use super::parse::{Parsed, parse};
use super::rewrite::{Readers, fields, rewritten};
use super::{DotenvSource, EnvFile};
use crate::disk::stamp::Stamp;
use crate::model::key::{Key, SourceName};
use crate::model::layer::Value;
use crate::model::origin::Revision;
use crate::model::rotation::{Ledger, Slot};
use crate::source::file::{FileFault, TEXT_LIMIT, read_text_beneath};
use crate::source::file_write::{self, Revisions};
use crate::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};

/// What writing needs of the source, to be taken along to a thread that may wait.
#[derive(Debug, Clone)]
struct Files {
    name: SourceName,
    list: Arc<[EnvFile]>,
    revisions: Revisions,
}

/// A file as it was read.
struct Read {
    text: String,
    stamp: Stamp,
    parsed: Parsed,
}

#[async_trait]
impl WritableSource for DotenvSource {
    async fn open(&self, owner: &Key) -> Result<Document, WriteError> {
        let (files, owner) = (self.to_write(), owner.clone());
        spawn_blocking(move || files.open(&owner)).await.map_err(|_ended| ending())?
    }

    async fn write(&self, document: &Document, change: &Change) -> Result<Revision, WriteError> {
        let files = self.to_write();
        let (place, field) = (Arc::clone(&document.place), document.field.clone());
        let (revision, ledger) = (document.revision.clone(), document.ledger.clone());
        let change = change.clone();
        let written = spawn_blocking(move || files.write(&place, &revision, &field, &ledger, &change)).await;
        // Whatever became of it: what is there now is to be read.
        self.local.wake();
        written.map_err(|_ended| ending())?
    }

    async fn before(&self, _document: &Document, _owner: &Key) -> Result<Option<Document>, WriteError> {
        Ok(None)
    }
}

impl DotenvSource {
    fn to_write(&self) -> Files {
        let (name, list) = (self.name.clone(), Arc::clone(&self.files));
        Files { name, list, revisions: self.revisions.clone() }
    }
}

/// The runtime takes no more work.
fn ending() -> WriteError {
    let message = "this process is ending".to_owned();
    file_write::error(WriteErrorKind::Unavailable, message, "start it again")
}

impl Files {
    /// A file of the source; none where it is not there and need not be.
    fn read(&self, file: &EnvFile) -> Result<Option<Read>, WriteError> {
        let read = match read_text_beneath(&file.path, TEXT_LIMIT, file.beneath.as_deref()) {
            Ok(read) => read,
            Err(FileFault::NotFound) if file.optional => return Ok(None),
            Err(fault) => return Err(file_write::unread_file(fault, &file.label)),
        };
        let parsed = parse(&self.name, &file.label, &read.text, None)
            .map_err(|faults| faults.into_iter().next().map_or_else(ending, file_write::unread))?;
        Ok(Some(Read { text: read.text, stamp: read.stamp, parsed }))
    }

    fn open(&self, owner: &Key) -> Result<Document, WriteError> {
        for file in self.list.iter().rev() {
            let Some(read) = self.read(file)? else { continue };
            let found = fields(&read.parsed, owner.as_str());
            let Some(found) = found.map_err(|misfit| file_write::misfit(&file.label, &misfit))? else {
                continue;
            };
            file_write::look(&file.path, &file.label)?;
            return Ok(Document {
                place: Arc::clone(&file.label),
                revision: self.revisions.of(&read.stamp, read.text.as_bytes()),
                field: owner.as_str().into(),
                values: found.values,
                ledger: found.ledger,
                server_time: None,
            });
        }
        let labels: Vec<&str> = self.list.iter().map(|file| &*file.label).collect();
        Err(file_write::not_set(&labels.join(", "), owner.as_str()))
    }

    fn write(
        &self,
        place: &str,
        revision: &Revision,
        owner: &str,
        ledger: &Ledger,
        change: &Change,
    ) -> Result<Revision, WriteError> {
        let at = self.list.iter().position(|file| *file.label == *place);
        let Some((at, file)) = at.and_then(|at| Some((at, self.list.get(at)?))) else {
            return Err(file_write::not_set(place, owner));
        };
        file_write::look(&file.path, place)?;
        let held = file_write::held(&file.path, place)?;
        let read = self.read(file)?.ok_or_else(|| file_write::conflict(place))?;
        let is_same = self.revisions.of(&read.stamp, read.text.as_bytes()) == *revision;
        if !is_same || !held.is_of(&read.stamp) {
            return Err(file_write::conflict(place));
        }
        self.look_at_others(at, place, owner, change)?;
        let new = rewritten(&read.text, owner, change, ledger, Readers::All)
            .map_err(|misfit| file_write::misfit(place, &misfit))?;
        let stamp = held
            .replace(new.as_bytes(), read.stamp)
            .map_err(|reason| file_write::unwritten(place, &reason))?;
        Ok(self.revisions.of(&stamp, new.as_bytes()))
    }

    /// The fields that are written must count.
    fn look_at_others(&self, at: usize, place: &str, owner: &str, change: &Change) -> Result<(), WriteError> {
        let touched =
            |slot: Slot| change.remove.contains(&slot) || change.set.iter().any(|(set, _)| *set == slot);
        for (other_at, other) in self.list.iter().enumerate().filter(|(other_at, _)| *other_at != at) {
            let Some(read) = self.read(other)? else { continue };
            for offer in &read.parsed.offers {
                let is_set = !matches!(&offer.value, Value::Literal(value) if value.is_empty());
                let Some(slot) = Slot::of_field(owner, offer.key.as_str()).filter(|_| is_set) else {
                    continue;
                };
                if slot == Slot::Current && other_at > at {
                    return Err(file_write::conflict(place));
                }
                if slot != Slot::Current && touched(slot) {
                    let (key, label) = (&offer.key, &other.label);
                    let message = format!("{place} is not written: {label} sets {key} as well");
                    let help = format!("remove {key} from {label}: it belongs beside {owner}");
                    return Err(file_write::error(WriteErrorKind::Refused, message, &help));
                }
            }
        }
        Ok(())
    }
}
