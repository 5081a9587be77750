//! A private folder in memory, with one file in it.
//!
//! Owns: plaintext outside our own memory. Invariants: it is on a file system that
//! the kernel keeps in memory, in a folder that nobody else can enter; whoever reads the
//! file sees all of one text; whatever is in that folder at the end is overwritten and
//! removed; what a killed process left is known by its name and by having no living
//! owner, and goes at the next start.
//! Must not know: what the text means, and what it is laid down for.
//!
//! # Current limitations
//! - A file that lost its name to another one (a new text, or an editor's new file) is
//!   freed by the kernel when its last reader closes it, not overwritten by us: somebody
//!   may be in the middle of it.
//! - The kernel may swap such a file out: see docs/sealed.md.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{Uid, Whence, lseek};
use zeroize::Zeroizing;

use crate::disk::leftovers::{ATTEMPTS, claim, is_abandoned, is_random};

/// What our folders' names begin with; what for, a dot and 16 hexadecimal digits follow.
const PREFIX: &str = "dlconf-";

/// What there are folders for.
const PURPOSES: [Purpose; 2] = [Purpose::Edit, Purpose::Run];

/// The name of a new file until it has its own. A text's name never begins so.
const NEW: &str = "..new";

/// `linux/magic.h`: nix has no word for it.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// The folder and its file; wiped when dropped.
#[derive(Debug)]
pub(crate) struct Private {
    folder: PathBuf,
    name: OsString,
    /// The file that we made: an editor may have put another one in its place.
    file: File,
    /// Says that we live: whoever sweeps takes only what it can lock.
    _lock: File,
    is_wiped: bool,
}

/// What a text is laid down for: people see it in the folder's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An editor.
    Edit,
    /// A program that is supervised.
    Run,
}

/// Why something could not be done with a private folder. Value-free.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PrivateError {
    /// No folder is fit for it.
    #[error(
        "there is no folder in memory for the text: neither $XDG_RUNTIME_DIR nor /dev/shm is one (tmpfs)"
    )]
    NoMemory,
    /// The file could not be made there.
    #[error("no private file could be made in {}: {reason}", place.display())]
    NotMade {
        /// The folder that it was to be in.
        place: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// The file cannot be read any more.
    #[error("the private file cannot be read: {why}")]
    NotRead {
        /// As a clause.
        why: String,
    },
    /// Something is left.
    #[error("{} is in memory and could not be wiped: {reason}", folder.display())]
    NotWiped {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

impl PrivateError {
    /// What to do about it.
    pub(crate) fn help(&self) -> Option<String> {
        match self {
            Self::NoMemory => Some("mount a tmpfs there; plaintext is not laid down on a disk".into()),
            Self::NotWiped { folder, .. } => Some(format!("rm -r {}", folder.display())),
            Self::NotMade { .. } | Self::NotRead { .. } => None,
        }
    }
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Edit => "edit",
            Self::Run => "run",
        }
    }
}

impl Private {
    /// Lays a text down under a name, after sweeping what others left.
    pub(crate) fn make(purpose: Purpose, name: &OsStr, text: &str) -> Result<Self, PrivateError> {
        let base = bases().into_iter().find(|base| is_fit(base)).ok_or(PrivateError::NoMemory)?;
        sweep(&base);
        let failed = |reason| PrivateError::NotMade { place: base.clone(), reason };
        let (folder, lock) = made(&base, purpose).map_err(failed)?;
        let file = match create(&folder.join(name)) {
            Ok(file) => file,
            Err(error) => {
                let _left = fs::remove_dir(&folder);
                return Err(failed(error));
            }
        };
        let mut private = Self { folder, name: name.into(), file, _lock: lock, is_wiped: false };
        private.file.write_all(text.as_bytes()).map_err(failed)?;
        Ok(private)
    }

    /// Puts another text in the place of the one that is there: readers see all of one
    /// of them. Where that fails, the old one stays.
    pub(crate) fn replace(&mut self, text: &str) -> Result<(), PrivateError> {
        let path = self.folder.join(NEW);
        let failed = |reason| PrivateError::NotMade { place: self.folder.clone(), reason };
        let mut file = create(&path).map_err(failed)?;
        let placed = file.write_all(text.as_bytes()).and_then(|()| fs::rename(&path, self.path()));
        if let Err(reason) = placed {
            // Nobody reads it yet.
            let _as_far_as_possible = zero(&mut file);
            let _swept_later = fs::remove_file(&path);
            return Err(failed(reason));
        }
        self.file = file;
        Ok(())
    }

    /// The file.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the file holds now, whichever file has the name now, up to so many bytes.
    pub(crate) fn read(&self, limit: u64) -> Result<Zeroizing<String>, PrivateError> {
        let failed = |why: String| PrivateError::NotRead { why };
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = File::options().read(true).custom_flags(flags.bits()).open(self.path());
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => failed("a symbolic link is in its place".into()),
            _ => failed(error.to_string()),
        })?;
        let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
        if !metadata.is_file() {
            return Err(failed("it is no regular file any more".into()));
        }
        let mut text = Zeroizing::new(String::with_capacity(
            usize::try_from(metadata.len().min(limit + 1)).unwrap_or(0),
        ));
        let count = file.take(limit + 1).read_to_string(&mut text);
        match count.map_err(|error| failed(error.to_string()))? {
            count if count as u64 > limit => Err(failed("it is too large".into())),
            _ => Ok(text),
        }
    }

    /// Overwrites and removes everything.
    pub(crate) fn wipe(mut self) -> Result<(), PrivateError> {
        self.wiped().map_err(|reason| PrivateError::NotWiped { folder: self.folder.clone(), reason })
    }

    fn wiped(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_wiped, true) {
            return Ok(());
        }
        // Ours too, if it has lost its name.
        let ours = zero(&mut self.file);
        wipe(&self.folder).and(ours)
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _said_elsewhere = self.wiped();
    }
}

/// A new file that only we may read and write.
fn create(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
}

/// Whether files of such a file system are in memory.
pub(crate) fn is_memory(kind: FsType) -> bool {
    kind == TMPFS_MAGIC || kind == RAMFS_MAGIC
}

/// Folders that may be in memory, the best one first.
fn bases() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = PathBuf::from(format!("/run/user/{}", Uid::effective()));
    own.into_iter().chain([PathBuf::from("/dev/shm"), usual]).collect()
}

/// Whether a folder is in memory, and nobody else can exchange what we make in it.
fn is_fit(base: &Path) -> bool {
    let is_safe = |metadata: fs::Metadata| {
        let is_owned = metadata.uid() == 0 || metadata.uid() == Uid::effective().as_raw();
        let is_closed = metadata.mode() & 0o022 == 0 || metadata.mode() & 0o1000 != 0;
        metadata.is_dir() && is_owned && is_closed
    };
    statfs(base).is_ok_and(|system| is_memory(system.filesystem_type())) && base.metadata().is_ok_and(is_safe)
}

/// A new folder, and the lock on it.
fn made(base: &Path, purpose: Purpose) -> io::Result<(PathBuf, File)> {
    for _ in 0..ATTEMPTS {
        let random = getrandom::u64().map_err(|_| io::ErrorKind::Other)?;
        let folder = base.join(format!("{PREFIX}{}.{random:016x}", purpose.as_str()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        }
        match directory(&folder) {
            // Somebody who sweeps was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(lock) if claim(&lock)? => return Ok((folder, lock)),
            Ok(_) => {}
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn directory(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits()).open(path)
}

/// Wipes what killed processes of ours left. What cannot be wiped stays.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| is_ours(path)) {
        let Ok(folder) = directory(&path) else { continue };
        let owner = folder.metadata().map(|metadata| metadata.uid());
        if owner.is_ok_and(|owner| owner == Uid::effective().as_raw()) && is_abandoned(&folder) {
            let _for_the_next_time = wipe(&path);
        }
    }
}

/// Whether a name is of the form that we give.
fn is_ours(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let parts = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(purpose, random)| {
        PURPOSES.iter().any(|known| known.as_str() == purpose) && is_random(random.as_bytes())
    })
}

/// Overwrites every file in a folder and removes all, the folder too. Goes on where
/// something cannot be wiped; gives the first reason.
fn wipe(folder: &Path) -> io::Result<()> {
    let mut outcome = Ok(());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let one = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => wipe(&path),
            Ok(metadata) if metadata.is_file() => {
                let flags = OFlag::O_NOFOLLOW.bits();
                let opened = File::options().write(true).custom_flags(flags).open(&path);
                let wiped = opened.and_then(|mut file| zero(&mut file));
                fs::remove_file(&path).and(wiped)
            }
            Ok(_) => fs::remove_file(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        };
        outcome = outcome.and(one);
    }
    outcome.and(fs::remove_dir(folder))
}

/// Zeros, where a file has bytes. What was never written is left out: a file may have
/// more of that than there is memory.
fn zero(file: &mut File) -> io::Result<()> {
    let mut at = 0;
    loop {
        let start = match lseek(&*file, at, Whence::SeekData) {
            Ok(start) => start,
            Err(Errno::ENXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        at = lseek(&*file, start, Whence::SeekHole)?;
        lseek(&*file, start, Whence::SeekSet)?;
        io::copy(&mut io::repeat(0).take(u64::try_from(at - start).unwrap_or(0)), file)?;
    }
}

#[cfg(test)]
mod tests;
