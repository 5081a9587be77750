//! What `seal`, `unseal`, `edit` and `rekey` have in common: the sealed file on the
//! disk, its text in pieces, and the words for both.
//!
//! Invariants: what was read is what is replaced; words name variables, never values.
//! Must not know: where keys come from (`keys`).

pub(super) mod keys;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Failure, Fault, exit};
use crate::disk::file::{self, Expected, Permissions};
use crate::disk::stamp::Stamp;
use crate::disk::write_error::WriteError;
use crate::model::origin::Location;
use crate::sealed::{Container, OpenError, Opened, Purpose, SealError, Slot, State};
use crate::source::file::{FileFault, ShownPath, TEXT_LIMIT};
use crate::source::sealed::{Chunk, chunks, now};
use crate::source::{self};

/// A sealed file as it was read.
pub(super) struct SealedFile {
    /// As the user wrote it.
    pub(super) label: String,
    pub(super) container: Container,
    /// Links followed: what they lead to is what is replaced.
    path: PathBuf,
    stamp: Stamp,
}

impl SealedFile {
    /// Reads it; nothing of it is opened.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = ShownPath::named(path);
        let read = shown.read(TEXT_LIMIT).map_err(|fault| match (fault, binary(&shown)) {
            (FileFault::NotUtf8(_), Some(error)) => refused(&shown.label, &error),
            _ => unread(fault.at(&shown.label.as_str().into())),
        })?;
        let container = Container::from_text(&read.text).map_err(|error| refused(&shown.label, &error))?;
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self { label: shown.label, container, path, stamp: read.stamp })
    }

    /// Replaces it, if it is still as it was read; its mode and owner stay. See
    /// [`write()`].
    pub(super) fn replace(&self, container: &Container) -> Result<Settled, Failure> {
        write(&self.path, container, Permissions::keep(), Expected::File(self.stamp))
    }
}

/// What is written has its name, and only that the disk keeps it is perhaps not sure.
/// Whatever opens it is then needed.
pub(super) type Settled = Result<(), Failure>;

/// Writes a container under a name that is free, or over the file that was read. After
/// an error nothing was written; [`Settled`] is what came behind that.
pub(super) fn write(
    path: &Path,
    container: &Container,
    permissions: Permissions,
    expected: Expected,
) -> Result<Settled, Failure> {
    let text = bounded(container.to_text())?;
    let failed = |error: &WriteError| Failure::new(exit::REFUSED, error.to_string(), Some(error.help()));
    match file::replace_expected(path, text.as_bytes(), &permissions, expected) {
        Ok(()) => Ok(Ok(())),
        Err(error @ WriteError::Unsettled { .. }) => Ok(Err(failed(&error))),
        Err(error) => Err(failed(&error)),
    }
}

/// A file that no reader would take is not written.
pub(super) fn bounded(text: String) -> Result<String, Failure> {
    if u64::try_from(text.len()).is_ok_and(|size| size <= TEXT_LIMIT) {
        return Ok(text);
    }
    let message = format!("sealed, it would have more than {} MiB, which nothing reads", TEXT_LIMIT >> 20);
    Err(Failure::new(exit::REFUSED, message, Some("seal it as several files".into())))
}

/// What was sealed, as one text.
pub(super) fn text_of(label: &str, opened: &Opened) -> Result<Zeroizing<String>, Failure> {
    source::sealed::text_of(opened).ok_or_else(|| {
        let message = format!("{label} is whole, and what was sealed in it is no text");
        Failure::new(exit::REFUSED, message, Some("seal an env file".into()))
    })
}

/// An env file's text, in the pieces that are sealed one by one.
pub(super) fn pieces_of<'t>(text: &'t str, label: &str) -> Result<Vec<Chunk<'t>>, Failure> {
    let words = |fault: source::Fault| Fault {
        code: None,
        message: fault.message,
        place: Some(fault.location.to_string()),
        help: Some(fault.help),
        drawn: None,
    };
    chunks(text, &Arc::from(label))
        .map_err(|faults| Failure { exit: exit::FINDINGS, faults: faults.into_iter().map(words).collect() })
}

/// The state of a file that is sealed for the first time.
pub(super) fn first_state() -> State {
    State { generation: 1, written: now(), ..State::default() }
}

/// Who opens a file, in words: `key 0123456789abcdef`.
pub(super) fn holder(slot: &Slot) -> String {
    match slot.stretch {
        None => format!("key {}", slot.id),
        Some(_) => format!("passphrase {}", slot.id),
    }
}

/// Everybody who opens a file, in words.
pub(super) fn holders(container: &Container) -> String {
    let slots: Vec<String> = container.header.slots.iter().map(holder).collect();
    slots.join(" or ")
}

/// The names in a file, in order, each once.
pub(super) fn names(container: &Container) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    container
        .entries
        .iter()
        .filter_map(|entry| entry.name.as_deref())
        .filter(|name| seen.insert(*name))
        .collect()
}

/// What a container is that is no text: a snapshot, or its mark.
fn binary(file: &ShownPath) -> Option<OpenError> {
    let found = Container::decode(&file.read_bytes(TEXT_LIMIT).ok()?.0).ok()?.header.purpose;
    Some(OpenError::Purpose { found, wanted: Purpose::File })
}

/// A file that could not be read.
pub(super) fn unread(fault: source::Fault) -> Failure {
    let mut failure = Failure::new(exit::UNREADABLE, fault.message, Some(fault.help));
    // Other faults name their file themselves.
    if let (Location::File { at: Some(_), .. }, Some(first)) = (&fault.location, failure.faults.first_mut()) {
        first.place = Some(fault.location.to_string());
    }
    failure
}

/// A sealed file that is not opened.
pub(super) fn refused(label: &str, error: &OpenError) -> Failure {
    Failure::new(exit::REFUSED, format!("{label} is not opened: {error}"), Some(error.help().into()))
}

/// Something that could not be sealed.
pub(super) fn unsealed(error: &SealError) -> Failure {
    Failure::new(exit::REFUSED, format!("nothing was sealed: {error}"), None)
}
