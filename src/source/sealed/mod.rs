//! The sealed source: an env file that was sealed and may be committed.
//!
//! Owns: how such a file is cut into what is sealed piece by piece (`document`), how
//! its pieces become offers, why it cannot be opened, and its next state (`edition`), as
//! people and rotations (`writable`) make it.
//! Invariants: the key is read for each time that the file is opened, and dropped at
//! once; a piece that sets another variable than the one it is named after is an
//! error; nothing of a line that was sealed is shown anywhere; where names are
//! enough, neither the key nor a value is touched.
//! Must not know: other layers, schemas, which offer wins.
//!
//! Current limitations: without the key, names are as the file says them: who may
//! change the file may change those.

mod document;
mod edition;
mod writable;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::dotenv::{Parsed, Reserved, nul, parse};
use super::file::{FileFault, FileText, TEXT_LIMIT, read_text_beneath};
use super::file_write::Revisions;
use super::key_file::{KeyFileError, KeyPlace, Trouble};
use super::local::Local;
use super::notice::Notices;
use super::writable::WritableSource;
use super::{Ask, Fault, FaultKind, Observation, Source, SourceError, State, Vitals, marks};
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer, Place, Remark, Value};
use crate::model::origin::{Location, Origin, Revision, Span};
use crate::model::rotation::is_reserved;
use crate::sealed::{Container, Entry, OpenError, Opened, Purpose};

pub use document::{Chunk, chunks};
pub use edition::{Edition, all_new, now, text_of};

/// The mode that makes a sealed file worth a finding (DLC080): it is made to be read
/// by everybody, and who may write it can put an older one in its place. Groups are
/// not judged: many systems give each user one, and let it write.
const WRITABLE_BY_EVERYBODY: u32 = 0o002;

/// `type = "sealed"`.
#[derive(Debug)]
pub struct SealedSource {
    file: Arc<SealedFile>,
    local: Local,
    revisions: Revisions,
}

/// What is read, and with which key.
#[derive(Debug, Clone)]
struct SealedFile {
    name: SourceName,
    path: PathBuf,
    label: Arc<str>,
    key: KeyPlace,
    optional: bool,
    beneath: Option<PathBuf>,
}

impl SealedSource {
    /// A source over a sealed file; `label` is how the user wrote its path.
    pub fn new(name: SourceName, path: PathBuf, label: &str, key: KeyPlace, optional: bool) -> Self {
        let file = SealedFile { name, path, label: label.into(), key, optional, beneath: None };
        Self { file: Arc::new(file), local: Local::default(), revisions: Revisions::default() }
    }

    /// The same, reading only what lies in this folder, links followed.
    #[must_use]
    pub fn beneath(self, folder: Option<PathBuf>) -> Self {
        Self { file: Arc::new(SealedFile { beneath: folder, ..(*self.file).clone() }), ..self }
    }

    /// The same, which tells of changes from now on: of the file, and of its key,
    /// which may come a moment later.
    #[must_use]
    pub fn watched(self, notices: &Arc<Notices>) -> Self {
        let paths = [self.file.path.clone()].into_iter().chain(self.file.key.path()).collect();
        Self { local: Local::of_files(notices, paths), ..self }
    }
}

#[async_trait]
impl Source for SealedSource {
    fn name(&self) -> &SourceName {
        &self.file.name
    }

    async fn fetch(&self, ask: Ask<'_>) -> Result<Layer, SourceError> {
        let begun = Instant::now();
        let read = if ask.names_only {
            self.file.names()
        } else if self.file.key.is_stretched() {
            // It takes a tenth of a second and more, in which others are to go on.
            let file = Arc::clone(&self.file);
            match spawn_blocking(move || file.layer()).await {
                Ok(read) => read,
                Err(_ended) => Err(vec![self.file.fault(
                    FaultKind::Unreachable,
                    "its passphrase could not be stretched: this process is ending".to_owned(),
                    "start it again".to_owned(),
                )]),
            }
        } else {
            self.file.layer()
        };
        let failed = |faults| SourceError { source_name: self.file.name.clone(), faults, rest: None };
        self.local.note(begun, read.map_err(failed))
    }

    async fn examine(&self) -> Vec<Observation> {
        let file = Arc::clone(&self.file);
        spawn_blocking(move || file.examine()).await.unwrap_or_default()
    }

    async fn changed(&self) {
        self.local.changed().await;
    }

    async fn vitals(&self) -> Vitals {
        self.local.vitals()
    }

    fn writable(&self) -> Option<&dyn WritableSource> {
        Some(self)
    }
}

/// A file that was read and not opened yet.
struct Read {
    mode: u32,
    container: Container,
}

impl SealedFile {
    /// The file as it stands; none where it is absent and may be.
    fn read(&self) -> Result<Option<Read>, Fault> {
        let text = match read_text_beneath(&self.path, TEXT_LIMIT, self.beneath.as_deref()) {
            Ok(FileText { text, mode, .. }) => (text, mode),
            Err(FileFault::NotFound) if self.optional => return Ok(None),
            Err(fault) => return Err(fault.at_source(&self.label)),
        };
        let container = Container::from_text(&text.0).map_err(|error| self.unopened(&error))?;
        Ok(Some(Read { mode: text.1, container }))
    }

    /// The names that it says it has: no key is needed for that.
    fn names(&self) -> Result<Layer, Vec<Fault>> {
        let mut layer = self.empty();
        let Some(Read { mode, container }) = self.read().map_err(|fault| vec![fault])? else {
            return Ok(layer);
        };
        layer.places.push(self.place(mode));
        for (at, entry) in container.entries.iter().enumerate() {
            let Some(key) = name_of(entry).filter(|key| !is_reserved(key.as_str())) else { continue };
            let origin = self.origin(&container, at);
            layer.offers.push(Offer { key, value: Value::unread(), origin, excerpt: None });
        }
        Ok(layer)
    }

    /// All that it holds.
    fn layer(&self) -> Result<Layer, Vec<Fault>> {
        let mut layer = self.empty();
        let Some(Read { mode, container }) = self.read().map_err(|fault| vec![fault])? else {
            return Ok(layer);
        };
        layer.places.push(self.place(mode));
        let mut faults = Vec::new();
        let mut reserved = Vec::new();
        let mut state_at = 0;
        for (at, text) in self.opened(&container)?.texts.into_iter().enumerate() {
            match self.piece(&container, at, &text) {
                Ok(piece) => {
                    layer.offers.extend(piece.offers);
                    layer.remarks.extend(piece.remarks);
                    state_at = if piece.reserved.is_empty() { state_at } else { at };
                    reserved.extend(piece.reserved);
                }
                Err(wrong) => faults.extend(wrong),
            }
        }
        let origin = |_: &Reserved| self.origin(&container, state_at);
        layer.remarks.extend(marks::mark(&reserved, &mut layer.offers, origin));
        if faults.is_empty() { Ok(layer) } else { Err(faults) }
    }

    /// The texts of its pieces, and what it takes to change them.
    fn opened(&self, container: &Container) -> Result<Opened, Vec<Fault>> {
        if let Some(end) = container.state.not_after
            && SystemTime::UNIX_EPOCH + seconds(end) < SystemTime::now()
        {
            return Err(vec![self.fault(
                FaultKind::NotPermitted,
                format!("{} may not be used any more: that ended at {}", self.label, time(end)),
                "seal it anew, with values that hold today".to_owned(),
            )]);
        }
        let key = self.key.read(self.what()).map_err(|error| vec![self.keyless(error)])?;
        container.open(Purpose::File, &key).map_err(|error| vec![self.unopened(&error)])
    }

    /// What one piece sets.
    fn piece(&self, container: &Container, at: usize, text: &[u8]) -> Result<Parsed, Vec<Fault>> {
        let origin = self.origin(container, at);
        let here = |fault: Fault| Fault {
            location: origin.location.clone(),
            help: format!("correct it: dlconf edit {}", self.label),
            ..fault
        };
        let wrong = |message: &str| Fault {
            kind: FaultKind::Malformed,
            location: origin.location.clone(),
            message: message.to_owned(),
            help: "seal its plain text anew: `dlconf seal` writes one variable under each name".to_owned(),
        };
        let text = std::str::from_utf8(text)
            .map_err(|_| vec![wrong("what is sealed on this line is no UTF-8 text")])?;
        let parsed = parse(&self.name, &self.label, text, origin.modified)
            .map_err(|faults| faults.into_iter().map(here).collect::<Vec<_>>())?;
        let offered = parsed.offers.iter().map(|offer| &offer.key);
        let names: Vec<&Key> = offered.chain(parsed.reserved.iter().map(|field| &field.key)).collect();
        if names != container.entries.get(at).and_then(name_of).iter().collect::<Vec<_>>() {
            return Err(vec![wrong("what is sealed on this line does not set what it is named after")]);
        }
        if let Some(fault) = parsed.offers.iter().find_map(nul) {
            return Err(vec![Fault { location: origin.location, ..fault }]);
        }
        let offer = |offer| Offer { origin: origin.clone(), excerpt: None, ..offer };
        let remark = |remark| Remark { origin: origin.clone(), ..remark };
        Ok(Parsed {
            offers: parsed.offers.into_iter().map(offer).collect(),
            remarks: parsed.remarks.into_iter().map(remark).collect(),
            reserved: parsed.reserved,
        })
    }

    /// How it is, for `doctor`.
    fn examine(&self) -> Vec<Observation> {
        let unreadable = |what: &str, fault: Fault| Observation {
            what: what.to_owned(),
            state: State::Unreadable,
            detail: fault.message,
            help: Some(fault.help),
        };
        let fine = |what: &str, detail| Observation {
            what: what.to_owned(),
            state: State::Fine,
            detail,
            help: None,
        };
        let Read { mode, container } = match self.read() {
            Ok(Some(read)) => read,
            Ok(None) => return vec![fine(&self.label, "there is none, and none is needed".to_owned())],
            Err(fault) => return vec![unreadable(&self.label, fault)],
        };
        let slots: Vec<String> = container.header.slots.iter().map(slot).collect();
        let state = &container.state;
        let mut all = vec![fine(
            &self.label,
            format!(
                "generation {}, written {}; opens with {}",
                state.generation,
                time(state.written),
                slots.join(" or ")
            ),
        )];
        if mode & WRITABLE_BY_EVERYBODY != 0 {
            all.push(Observation {
                what: self.label.to_string(),
                state: State::Degraded,
                detail: format!("it has mode {mode:04o}: everybody may put an older one in its place"),
                help: Some(format!("chmod o-w {}", self.label)),
            });
        }
        match self.key.read(self.what()) {
            Ok(key) => {
                let which = key.id().map_or_else(|| "a passphrase".to_owned(), |id| format!("key {id}"));
                all.push(fine("key", format!("{which}, from {}", self.key.label())));
            }
            Err(error) => {
                all.push(unreadable("key", self.keyless(error)));
                return all;
            }
        }
        all.push(match self.layer() {
            Ok(layer) => {
                let count = match layer.offers.len() {
                    1 => "1 name".to_owned(),
                    count => format!("{count} names"),
                };
                fine("contents", format!("{count}; all of it is as it was sealed"))
            }
            Err(faults) => match faults.into_iter().next() {
                Some(fault) => unreadable("contents", fault),
                None => return all,
            },
        });
        all
    }

    /// What its key is called in errors.
    fn what(&self) -> &'static str {
        match self.key {
            KeyPlace::Passphrase(_) => "passphrase of the sealed file",
            KeyPlace::File(_) | KeyPlace::Credential { .. } => "key of the sealed file",
        }
    }

    fn empty(&self) -> Layer {
        Layer { source: self.name.clone(), places: Vec::new(), offers: Vec::new(), remarks: Vec::new() }
    }

    fn place(&self, mode: u32) -> Place {
        let mode = Some(mode).filter(|mode| mode & WRITABLE_BY_EVERYBODY != 0);
        Place { label: Arc::clone(&self.label), mode }
    }

    /// Where an entry stands: its line. When it was written, the file says itself,
    /// whoever copied it since.
    fn origin(&self, container: &Container, at: usize) -> Origin {
        let at = Span { line: container.line_of(at), column: 0 };
        let written = SystemTime::UNIX_EPOCH.checked_add(seconds(container.state.written));
        Origin {
            mark: None,
            source: self.name.clone(),
            location: Location::File { path: Arc::clone(&self.label), at: Some(at) },
            revision: Some(Revision(container.state.generation.to_string().into())),
            modified: written,
        }
    }

    fn fault(&self, kind: FaultKind, message: String, help: String) -> Fault {
        let location = Location::File { path: Arc::clone(&self.label), at: None };
        Fault { kind, location, message, help }
    }

    /// The key is not to be had. Another one would be of no use: it was sealed for
    /// this one.
    fn keyless(&self, error: KeyFileError) -> Fault {
        let help = match &self.key {
            KeyPlace::Credential { .. } => error.help,
            _ if matches!(error.trouble, Trouble::Missing | Trouble::Unfit) => {
                format!("put what {} was sealed with into {}", self.label, self.key.label())
            }
            _ => error.help,
        };
        self.fault(FaultKind::NotPermitted, format!("{} stays closed: {}", self.label, error.message), help)
    }

    fn unopened(&self, error: &OpenError) -> Fault {
        let kind = match error {
            OpenError::WrongKey { .. } => FaultKind::NotPermitted,
            OpenError::Memory => FaultKind::Unreachable,
            OpenError::Foreign
            | OpenError::Version(_)
            | OpenError::Suite(_)
            | OpenError::Purpose { .. }
            | OpenError::Stretch { .. }
            | OpenError::Damaged(_)
            | OpenError::Line { .. }
            | OpenError::Merge { .. }
            | OpenError::Altered(_) => FaultKind::Malformed,
        };
        let help = match error {
            OpenError::WrongKey { given: Some(_), wanted } if wanted.iter().all(Option::is_none) => {
                "name its passphrase with `passphrase_file`; the file itself is whole".to_owned()
            }
            OpenError::WrongKey { given: None, wanted } if !wanted.contains(&None) => {
                "name its key with `key_file` or `credential`; the file itself is whole".to_owned()
            }
            OpenError::WrongKey { .. } => {
                format!("put what it was sealed with into {}; the file itself is whole", self.key.label())
            }
            _ => error.help().to_owned(),
        };
        self.fault(kind, format!("{} cannot be opened: {error}", self.label), help)
    }
}

/// The variable that an entry is named after.
fn name_of(entry: &Entry) -> Option<Key> {
    entry.name.as_deref().and_then(|name| Key::new(name).ok())
}

/// What opens a slot.
fn slot(slot: &crate::sealed::Slot) -> String {
    if slot.stretch.is_some() { "a passphrase".to_owned() } else { format!("key {}", slot.id) }
}

/// Seconds since 1970; what is before counts as then.
fn seconds(since: i64) -> Duration {
    Duration::from_secs(since.try_into().unwrap_or_default())
}

fn time(since: i64) -> String {
    DateTime::from_timestamp(since, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests;
