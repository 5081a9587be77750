//! The snapshot's file and its high-water mark.
//!
//! The mark is a container that holds nothing; its generation is the highest that was
//! ever written. It is written after the snapshot, so that a kill in between leaves a
//! snapshot that is newer than its mark, which is fine; one that is older was put
//! there by somebody.
//! Invariants: a snapshot is opened whole before anything of it is believed; both
//! files are replaced as a whole, or not at all; a generation is never used twice
//! with the same key while one of both is there (another key opens neither, and
//! begins again at 1).
//! Must not know: when it is time to write.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::contents::{self, NotUnderstood};
use super::{About, Recalled, SnapshotConfig, Unusable, from_seconds, key, to_seconds, usable};
use crate::disk::file::{self, Permissions};
use crate::disk::write_error::WriteError;
use crate::model::kept::Kept;
use crate::sealed::{Container, Kernel, Key, OpenError, Opened, Piece, Purpose, SealError, State};
use crate::source::file::{FileFault, ShownPath};
use crate::source::key_file::KeyFileError;

/// How large a snapshot may be: four sources as large as one may be.
const MOST: u64 = 64 * 1024 * 1024;
/// How large a mark may be.
const MARK: u64 = 1024 * 1024;

/// The files of one `[snapshot]`.
#[derive(Debug)]
pub struct Store {
    config: SnapshotConfig,
    /// The highest generation that is known of.
    highest: u64,
}

/// A snapshot that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Which one it is.
    pub generation: u64,
    /// Why a rollback to an older one could not be noticed, if so.
    pub unguarded: Option<String>,
}

/// Why a snapshot was not written; the old one is as it was. Value-free.
#[derive(Debug, thiserror::Error)]
pub enum NotWritten {
    /// There is no key to seal it with.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// It is larger than what would be read again.
    #[error("it would have {0} bytes, and may have {MOST}")]
    TooLarge(usize),
    /// It could not be put into words.
    #[error("it cannot be encoded")]
    Encode(#[from] io::Error),
    /// Something else has the place.
    #[error("{label} is something else than a {wanted}, and is left as it is")]
    Taken {
        /// The file, as the user wrote it.
        label: String,
        /// What would be put there.
        wanted: Purpose,
    },
    /// The disk.
    #[error(transparent)]
    File(#[from] WriteError),
}

impl NotWritten {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Key(trouble) => trouble.help.clone(),
            Self::Seal(_) | Self::Encode(_) => "please report it".to_owned(),
            Self::TooLarge(_) => {
                "let its sources read less: `only` of Vault's paths, smaller files".to_owned()
            }
            Self::Taken { label, .. } => {
                format!(
                    "`path` of [snapshot] is to name a file of its own: move {label} away, or choose another"
                )
            }
            Self::File(error) => error.help(),
        }
    }
}

/// What the mark says.
enum Mark {
    /// So many were written.
    Says(u64),
    /// It does not say.
    Silent(String),
}

impl Store {
    /// That of these settings. Nothing is read yet.
    pub fn new(config: SnapshotConfig) -> Self {
        Self { config, highest: 0 }
    }

    /// Its settings.
    pub fn config(&self) -> &SnapshotConfig {
        &self.config
    }

    /// Reads the snapshot; none where there never was one.
    ///
    /// # Errors
    /// [`Unusable`]
    pub fn recall(&mut self, about: &About, now: SystemTime) -> Result<Option<Recalled>, Unusable> {
        let key = key::read(&self.config);
        let bytes = match read(&self.config.path, &self.config.label, MOST) {
            Ok(bytes) => bytes,
            Err(Unread::NotThere) => {
                // A mark without its snapshot: somebody took that away.
                let mark = key.as_ref().map(|key| self.mark(key));
                return match mark {
                    Ok(Mark::Says(mark)) if mark > 0 => {
                        self.highest = self.highest.max(mark);
                        Err(Unusable::Gone { mark })
                    }
                    _ => Ok(None),
                };
            }
            Err(Unread::Fault { message, help }) => return Err(Unusable::Unreadable { message, help }),
        };
        let key = key.map_err(|KeyFileError { message, help, .. }| Unusable::NoKey { message, help })?;
        let mark = self.mark(&key);
        if let Mark::Says(mark) = mark {
            self.highest = self.highest.max(mark);
        }
        let container = Container::decode(&bytes).map_err(Unusable::Sealed)?;
        let opened = container.open(Purpose::Snapshot, &key).map_err(Unusable::Sealed)?;
        let state = &container.state;
        self.highest = self.highest.max(state.generation);
        let unguarded = match mark {
            Mark::Says(mark) if mark > state.generation => {
                return Err(Unusable::RolledBack { generation: state.generation, mark });
            }
            Mark::Says(_) => None,
            Mark::Silent(why) => Some(why),
        };
        usable::judge(state, about, now)?;
        let contents = understood(&opened)?;
        let (kept, dropped) = usable::sift(contents, state, self.config.max_age, now)?;
        let written = from_seconds(state.written);
        Ok(Some(Recalled { kept, dropped, written, generation: state.generation, unguarded }))
    }

    /// Writes a snapshot of what there is to keep, and then the mark; nothing, where
    /// there is nothing. It is asked for last: a disk that does not answer is not to
    /// keep values alive that were rotated out meanwhile.
    ///
    /// # Errors
    /// [`NotWritten`]
    pub fn write(
        &mut self,
        kept: impl FnOnce() -> Option<Vec<Kept>>,
        about: &About,
        now: SystemTime,
    ) -> Result<Option<Written>, NotWritten> {
        let key = key::read(&self.config)?;
        // Somebody else may write here too: what they wrote is not older than ours.
        if let Mark::Says(mark) = self.mark(&key) {
            self.highest = self.highest.max(mark);
        }
        let Some(kept) = kept() else { return Ok(None) };
        let generation = self.highest.saturating_add(1);
        let max_age = self.config.max_age;
        let ends = kept.iter().map(|kept| end(kept.confirmed, contents::limit(kept, max_age)));
        let not_after = Some(ends.max().unwrap_or_else(|| end(now, max_age)));
        let state = State {
            generation,
            written: to_seconds(now),
            not_after,
            schema_hash: about.schema_hash,
            schema: about.schema.clone(),
            environment: about.environment.clone(),
            service: about.service.clone(),
            instance: about.instance.clone(),
        };
        let bytes = {
            let contents = contents::encode(&kept, max_age)?;
            let pieces = [Piece::New(None, &contents)];
            Container::seal(Purpose::Snapshot, &[&key], state.clone(), &pieces, &mut Kernel)?.encode()
        };
        drop(kept);
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MOST) {
            return Err(NotWritten::TooLarge(bytes.len()));
        }
        ours(&self.config.path, &self.config.label, Purpose::Snapshot)?;
        put(&self.config.path, &bytes)?;
        self.highest = generation;
        let unguarded = self.raise_mark(&key, State { not_after: None, ..state }).err();
        Ok(Some(Written { generation, unguarded }))
    }

    fn raise_mark(&self, key: &Key, state: State) -> Result<(), String> {
        let failed = |why: &dyn std::fmt::Display| {
            format!("the high-water mark {} cannot be written: {why}", self.config.mark_label)
        };
        ours(&self.config.mark, &self.config.mark_label, Purpose::Mark).map_err(|error| failed(&error))?;
        let mark = Container::seal(Purpose::Mark, &[key], state, &[], &mut Kernel);
        put(&self.config.mark, &mark.map_err(|error| failed(&error))?.encode())
            .map_err(|error| failed(&error))
    }

    /// What the mark says.
    fn mark(&self, key: &Key) -> Mark {
        let label = &self.config.mark_label;
        let bytes = match read(&self.config.mark, label, MARK) {
            Ok(bytes) => bytes,
            Err(Unread::NotThere) => {
                return Mark::Silent(format!("there is no high-water mark {label}"));
            }
            Err(Unread::Fault { message, .. }) => {
                return Mark::Silent(format!("the high-water mark {label} cannot be read: {message}"));
            }
        };
        let opened = Container::decode(&bytes).and_then(|mark| {
            mark.open(Purpose::Mark, key)?;
            Ok::<_, OpenError>(mark.state.generation)
        });
        match opened {
            Ok(generation) => Mark::Says(generation),
            Err(error) => Mark::Silent(format!("the high-water mark {label} cannot be trusted: {error}")),
        }
    }
}

/// Until when it may be used: the whole second in which its time is over.
fn end(confirmed: SystemTime, max_age: Duration) -> i64 {
    let end = confirmed.checked_add(max_age).map_or(i64::MAX, |end| {
        let second = to_seconds(end);
        if from_seconds(second) < end { second.saturating_add(1) } else { second }
    });
    // Zero would be 'for ever'.
    if end == 0 { -1 } else { end }
}

fn understood(opened: &Opened) -> Result<Vec<Kept>, Unusable> {
    let [contents] = opened.texts.as_slice() else { return Err(Unusable::Malformed) };
    contents::decode(contents).map_err(|error| match error {
        NotUnderstood::Newer(version) => Unusable::Newer(version),
        NotUnderstood::Malformed => Unusable::Malformed,
    })
}

/// Why there are no bytes.
enum Unread {
    NotThere,
    Fault { message: String, help: String },
}

/// The bytes of a file of ours: we never make a link.
fn read(path: &Path, label: &str, limit: u64) -> Result<Vec<u8>, Unread> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => {
            return Err(Unread::Fault {
                message: format!("{label} is a symbolic link"),
                help: format!("find out who made it; rm {label}"),
            });
        }
        _ => {}
    }
    let file = ShownPath { path: path.to_owned(), label: label.to_owned(), beneath: None };
    match file.read_bytes(limit) {
        // The null device: whoever wants none of it.
        Ok((_, metadata)) if !metadata.is_file() => Err(Unread::NotThere),
        Ok((bytes, _)) => Ok(bytes),
        Err(FileFault::NotFound) => Err(Unread::NotThere),
        Err(FileFault::IsDirectory) => Err(Unread::Fault {
            message: format!("{label} is a directory"),
            help: format!("name a file in it: {label}/snapshot"),
        }),
        Err(fault) => {
            let told = fault.at(&label.into());
            Err(Unread::Fault { message: told.message, help: told.help })
        }
    }
}

/// Whether what is there may be replaced: nothing, or what was sealed for the same,
/// be it damaged.
fn ours(path: &Path, label: &str, purpose: Purpose) -> Result<(), NotWritten> {
    let taken = || Err(NotWritten::Taken { label: label.to_owned(), wanted: purpose });
    let bytes = match ShownPath::named(path).read_bytes(MOST) {
        Ok((bytes, _)) if !bytes.is_empty() => bytes,
        // None of ours is so large, or closed to us.
        Err(FileFault::TooLarge { .. }) => return taken(),
        Err(FileFault::PermissionDenied) if path.symlink_metadata().is_ok() => return taken(),
        // Nothing, or nothing that can be read any more; what is no file at all is
        // refused by who replaces it.
        _ => return Ok(()),
    };
    match Container::decode(&bytes) {
        Err(OpenError::Foreign) => taken(),
        Ok(other) if other.header.purpose != purpose => taken(),
        _ => Ok(()),
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    // What a kill left is of no use to anybody.
    file::clean(path)?;
    file::replace(path, bytes, &Permissions::private())
}
