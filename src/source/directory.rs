//! A directory with one file a variable: Docker secrets, a mounted Kubernetes
//! Secret, systemd credentials.
//!
//! Rules: the file's name is the variable's (in lower case too, as Docker
//! secrets are often named, when only the upper-case name is known; where both
//! are there, the exact one counts); one line end at the very end is not part of
//! the value, everything else is; names that begin with a dot are passed over.
//! What cannot be read fails the source where the schema knows its name, and is
//! remarked where it does not. Where there is a `..data` link, as kubelet makes
//! it, the directory it points to is resolved once and read whole, so that all
//! values are of one revision.
//! Permissions are not judged: Kubernetes and Docker mount 0444.
//! Must not know: what a value means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::file::{FileFault, Pinned, TEXT_LIMIT, read_text_beneath};
use super::local::Local;
use super::notice::Notices;
use super::{Ask, Fault, FaultKind, Source, SourceError, Vitals, key_for};
use crate::model::finding::Code;
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer, Place, Remark};
use crate::model::origin::{Location, Origin, Revision};
use crate::model::rotation::is_reserved;
use crate::model::secret::SecretValue;

/// The largest file that is taken for a value, in bytes: a Kubernetes Secret
/// holds at most 1 MiB in all.
pub const VALUE_LIMIT: u64 = 1 << 20;

/// The most entries of one directory.
const ENTRY_LIMIT: usize = 20_000;

const UTF8_BOM: char = '\u{feff}';

/// `type = "directory"`.
pub struct DirectorySource {
    name: SourceName,
    path: PathBuf,
    label: Arc<str>,
    optional: bool,
    beneath: Option<PathBuf>,
    local: Local,
}

/// A directory whose files are read.
struct Opened {
    path: PathBuf,
    /// Kubelet's name of its revision.
    revision: Option<Revision>,
    /// What `path` leads through.
    _pinned: Option<Pinned>,
}

/// Why a directory could not be read.
enum DirectoryFault {
    /// As a file could not be.
    File(FileFault),
    /// It has more entries than [`ENTRY_LIMIT`].
    TooMany,
}

impl From<std::io::Error> for DirectoryFault {
    fn from(error: std::io::Error) -> Self {
        Self::File(FileFault::from_open(&error))
    }
}

impl DirectorySource {
    /// A source over a directory; `label` is how the user wrote it.
    pub fn new(name: SourceName, path: PathBuf, label: &str, optional: bool) -> Self {
        Self { name, path, label: label.into(), optional, beneath: None, local: Local::default() }
    }

    /// The same, reading only what lies in this folder, links followed.
    #[must_use]
    pub fn beneath(self, folder: Option<PathBuf>) -> Self {
        Self { beneath: folder, ..self }
    }

    /// The same, which tells of changes from now on.
    #[must_use]
    pub fn watched(self, notices: &Arc<Notices>) -> Self {
        Self { local: Local::of_directory(notices, &self.path), ..self }
    }

    fn origin(&self, file: Option<&str>, revision: Option<&Revision>) -> Origin {
        let path = match file {
            Some(file) => format!("{}/{file}", self.label.trim_end_matches('/')).into(),
            None => Arc::clone(&self.label),
        };
        Origin {
            mark: None,
            source: self.name.clone(),
            location: Location::File { path, at: None },
            revision: revision.cloned(),
            modified: None,
        }
    }

    /// The directory that holds the files.
    fn open(&self) -> Result<Opened, DirectoryFault> {
        let (path, revision) = match std::fs::canonicalize(self.path.join("..data")) {
            Ok(target) => {
                let name = target.file_name().and_then(|name| name.to_str());
                let revision = name.map(|name| Revision(name.into()));
                (target, revision)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (self.path.clone(), None),
            Err(error) => return Err(error.into()),
        };
        let pinned = match &self.beneath {
            Some(folder) => Some(Pinned::beneath(&path, folder).map_err(DirectoryFault::File)?),
            None => None,
        };
        let path = pinned.as_ref().map_or(path, Pinned::path);
        Ok(Opened { path, revision, _pinned: pinned })
    }

    fn names(directory: &Path) -> Result<Vec<String>, DirectoryFault> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                names.push(name);
            }
            if names.len() > ENTRY_LIMIT {
                return Err(DirectoryFault::TooMany);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The value in one file; none where it is a directory.
    fn value(&self, path: &Path) -> Result<Option<Read>, ValueFault> {
        match read_text_beneath(path, VALUE_LIMIT.min(TEXT_LIMIT), self.beneath.as_deref()) {
            // Subdirectories are somebody else's business (lost+found, nested mounts).
            Err(FileFault::IsDirectory) => Ok(None),
            Err(fault) => Err(ValueFault::File(fault)),
            Ok(file) if file.text.contains('\0') => Err(ValueFault::Nul),
            Ok(file) => {
                let text = file.text.strip_suffix('\n').unwrap_or(&file.text);
                let text = text.strip_suffix('\r').filter(|_| text.len() < file.text.len()).unwrap_or(text);
                let value = SecretValue::from(text);
                Ok(Some(Read { value, bom: text.starts_with(UTF8_BOM), modified: file.modified }))
            }
        }
    }
}

/// Why a file gives no value.
enum ValueFault {
    /// It cannot be read.
    File(FileFault),
    /// It holds a NUL byte.
    Nul,
}

impl ValueFault {
    fn is_outside(&self) -> bool {
        matches!(self, Self::File(FileFault::Outside))
    }

    fn at(&self, key: &Key, location: &Location) -> Fault {
        match self {
            Self::File(fault) => fault.at(&location.to_string().into()),
            Self::Nul => Fault::nul(key, location.clone()),
        }
    }
}

/// What one file held.
struct Read {
    value: SecretValue,
    /// Whether it begins with a byte order mark.
    bom: bool,
    modified: Option<SystemTime>,
}

#[async_trait]
impl Source for DirectorySource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, ask: Ask<'_>) -> Result<Layer, SourceError> {
        self.local.read(|| self.read(ask.known))
    }

    async fn changed(&self) {
        self.local.changed().await;
    }

    async fn vitals(&self) -> Vitals {
        self.local.vitals()
    }
}

impl DirectorySource {
    fn read(&self, known: &BTreeSet<Key>) -> Result<Layer, SourceError> {
        let mut layer = Layer {
            source: self.name.clone(),
            places: vec![Place { label: Arc::clone(&self.label), mode: None }],
            offers: Vec::new(),
            remarks: Vec::new(),
        };
        let fail = |faults| Err(SourceError { source_name: self.name.clone(), faults, rest: None });
        let opened = self.open().and_then(|opened| Self::names(&opened.path).map(|names| (opened, names)));
        let (directory, names) = match opened {
            Ok(opened) => opened,
            Err(DirectoryFault::File(FileFault::NotFound)) if self.optional => return Ok(layer),
            Err(fault) => return fail(vec![self.unreadable(&fault)]),
        };
        let mut remark = |code, origin, message, help: &str| {
            layer.remarks.push(Remark { code, origin, message, help: help.into() });
        };
        let origin = |name: &str| self.origin(Some(name), directory.revision.as_ref());
        let mut candidates = Vec::with_capacity(names.len());
        for name in names {
            match key_for(&name, known) {
                Some(key) if is_reserved(key.as_str()) => {}
                Some(key) => {
                    let rank = rank(&name, &key);
                    candidates.push((key, rank, name));
                }
                None => remark(
                    Code::UnknownName,
                    origin(&name),
                    "this file's name is no name of a variable, so it is passed over".into(),
                    "rename it, if it is meant to be one",
                ),
            }
        }
        candidates.sort_unstable();
        let mut taken: BTreeMap<Key, String> = BTreeMap::new();
        let mut faults = Vec::new();
        for (key, _, name) in candidates {
            let at = origin(&name);
            if let Some(first) = taken.get(&key) {
                let message = format!("this file is passed over: {first} gives {key} already");
                remark(Code::UnknownName, at, message, "keep one of the two");
                continue;
            }
            match self.value(&directory.path.join(&name)) {
                Ok(None) => continue,
                Ok(Some(read)) => {
                    if read.bom {
                        let message =
                            format!("{key} begins with a byte order mark, which is part of its value");
                        remark(
                            Code::ReadersDisagree,
                            at.clone(),
                            message,
                            "save the file as UTF-8 without one",
                        );
                    }
                    layer.offers.push(Offer {
                        key: key.clone(),
                        value: read.value.into(),
                        origin: Origin { modified: read.modified, ..at },
                        excerpt: None,
                    });
                }
                // What leads outside is an attempt, whatever it is called.
                Err(fault) if known.contains(&key) || fault.is_outside() => {
                    faults.push(fault.at(&key, &at.location));
                }
                Err(fault) => {
                    let Fault { location, message, .. } = fault.at(&key, &at.location);
                    let message =
                        format!("this file is passed over, for the schema does not know {key}: {message}");
                    let at = Origin { location, ..at };
                    remark(Code::UnknownName, at, message, "remove it, or correct its name");
                }
            }
            taken.insert(key, name);
        }
        if faults.is_empty() { Ok(layer) } else { fail(faults) }
    }
}

impl DirectorySource {
    fn unreadable(&self, fault: &DirectoryFault) -> Fault {
        let location = self.origin(None, None).location;
        let label = &self.label;
        let (kind, message, help) = match fault {
            DirectoryFault::File(FileFault::NotFound) => (
                FaultKind::Unreachable,
                format!("the directory {label} does not exist"),
                "mount or make it, or write `optional = true` in the source",
            ),
            DirectoryFault::File(FileFault::PermissionDenied) => (
                FaultKind::NotPermitted,
                format!("the directory {label} may not be read"),
                "let this user read and search it",
            ),
            DirectoryFault::File(FileFault::Io(std::io::ErrorKind::NotADirectory)) => (
                FaultKind::Malformed,
                format!("{label} is not a directory"),
                "use `type = \"dotenv\"` or `type = \"file\"` for a file",
            ),
            DirectoryFault::TooMany => (
                FaultKind::Malformed,
                format!("the directory {label} has more than {ENTRY_LIMIT} entries"),
                "see whether the path is right: a directory of secrets is never that large",
            ),
            DirectoryFault::File(other) => return other.at(label),
        };
        Fault { kind, location, message, help: help.into() }
    }
}

/// Where several files stand for one variable, the lowest is taken: the exact
/// name, then the one in lower case.
fn rank(name: &str, key: &Key) -> u8 {
    match name {
        exact if exact == key.as_str() => 0,
        lower if !lower.contains(|c: char| c.is_ascii_uppercase()) => 1,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
