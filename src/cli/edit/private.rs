//! A private folder in memory, with one file in it.
//!
//! Owns: plaintext outside our own memory. Invariants: it is on a file system that
//! the kernel keeps in memory, in a folder that nobody else can enter; whatever is in
//! that folder at the end is overwritten and removed; what a killed process left is
//! known by its name and by having no living owner, and goes at the next start.
//! Must not know: what the text means.
//!
//! # Current limitations
//! - What an editor removed itself (an old state of the file) is freed by the kernel,
//!   not overwritten by us.
//! - The kernel may swap such a file out: see docs/sealed.md.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::unistd::{Uid, Whence, lseek};
use zeroize::Zeroizing;

use super::super::{Failure, exit};
use crate::delivery::leftovers::{claim, is_abandoned};
use crate::source::file::TEXT_LIMIT;

/// What our folders' names begin with; 16 hexadecimal digits follow.
const PREFIX: &str = "dlconf-edit.";

/// `linux/magic.h`: nix has no word for it.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// How many names are tried.
const ATTEMPTS: u32 = 8;

/// The folder and its file; wiped when dropped.
pub(super) struct Private {
    folder: PathBuf,
    name: OsString,
    /// The file that we made: an editor may have put another one in its place.
    file: File,
    /// Says that we live: whoever sweeps takes only what it can lock.
    _lock: File,
    is_wiped: bool,
}

impl Private {
    /// Lays a text down under a name, after sweeping what others left.
    pub(super) fn make(name: &OsStr, text: &str) -> Result<Self, Failure> {
        let base = bases().into_iter().find(|base| is_fit(base)).ok_or_else(|| {
            Failure::new(
                exit::REFUSED,
                "there is no folder in memory for the text: neither $XDG_RUNTIME_DIR nor /dev/shm is one (tmpfs)",
                Some("mount a tmpfs there; plaintext is not laid down on a disk".into()),
            )
        })?;
        sweep(&base);
        let failed = |error: io::Error| {
            let message = format!("no private file could be made in {}: {error}", base.display());
            Failure::new(exit::REFUSED, message, None)
        };
        let (folder, lock) = made(&base).map_err(failed)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(folder.join(name));
        let file = match file {
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

    /// The file, for the editor.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the file holds now, whichever file has the name now.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let failed = |why: String| {
            let message = format!("what the editor left cannot be read: {why}");
            Failure::new(exit::REFUSED, message, Some("save the file under the name that it had".into()))
        };
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let opened = File::options().read(true).custom_flags(flags.bits()).open(self.path());
        let file = opened.map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ELOOP) => failed("a symbolic link is in its place".into()),
            _ => failed(error.to_string()),
        })?;
        let metadata = file.metadata().map_err(|error| failed(error.to_string()))?;
        if !metadata.is_file() {
            return Err(failed("it is no regular file any more".into()));
        }
        let mut text = Zeroizing::new(String::with_capacity(
            usize::try_from(metadata.len().min(TEXT_LIMIT + 1)).unwrap_or(0),
        ));
        let count = file.take(TEXT_LIMIT + 1).read_to_string(&mut text);
        match count.map_err(|error| failed(error.to_string()))? {
            count if count as u64 > TEXT_LIMIT => Err(failed("it is too large".into())),
            _ => Ok(text),
        }
    }

    /// Overwrites and removes everything.
    pub(super) fn wipe(mut self) -> Result<(), Failure> {
        self.wiped().map_err(|error| {
            let folder = self.folder.display();
            let message = format!("{folder} is in memory and could not be wiped: {error}");
            Failure::new(exit::REFUSED, message, Some(format!("rm -r {folder}")))
        })
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

/// Whether files of such a file system are in memory.
pub(in crate::cli) fn is_memory(kind: FsType) -> bool {
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
fn made(base: &Path) -> io::Result<(PathBuf, File)> {
    for _ in 0..ATTEMPTS {
        let random = getrandom::u64().map_err(|_| io::ErrorKind::Other)?;
        let folder = base.join(format!("{PREFIX}{random:016x}"));
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
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
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
