//! Replacing a file so that readers see all old or all new, across crashes and
//! full disks.
//!
//! Owns: the one way in which dlconf writes a file. The folder is opened once,
//! and everything happens below that descriptor: a random name, created
//! exclusively with mode 0600; mode and owner set before the first byte; write,
//! fsync, rename, fsync of the folder. (`O_TMPFILE` cannot replace a name that
//! exists: `linkat` gives EEXIST.)
//! Invariants: a link, a FIFO, a directory or a device in the target's place is
//! refused and left alone; what was made from a file's old content replaces that
//! content only ([`Expected`]); after an error nothing of ours is left behind, and
//! what a kill leaves is known by its name and has no living writer
//! (`leftovers.rs`).
//! Must not know: what the content means.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{Gid, Uid};
use zeroize::Zeroizing;

use super::folder::{Folder, called, errno, kind};
use super::leftovers::{ATTEMPTS, beside, claim, is_beside};
use super::rights::Rights;
use super::stamp::Stamp;
use super::write_error::WriteError;

/// How much of an old file is compared at once, at most.
const BLOCK: usize = 64 * 1024;

/// Who may use the new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permissions {
    /// The mode; none keeps that of the file that is replaced.
    mode: Option<u32>,
    /// Whether the owner and group of the file that is replaced are kept.
    keep_owner: bool,
}

impl Permissions {
    /// The owner may read and write, nobody else anything: 0600.
    pub fn private() -> Self {
        Self::mode(0o600)
    }

    /// This mode.
    pub fn mode(mode: u32) -> Self {
        Self { mode: Some(mode), keep_owner: false }
    }

    /// Those of the file that is replaced; 0600 where there is none.
    pub fn keep() -> Self {
        Self { mode: None, keep_owner: true }
    }

    /// The same with another mode.
    #[must_use]
    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode: Some(mode), ..self }
    }

    /// What they come to where this file is replaced.
    pub(super) fn over(self, present: Option<&FileStat>) -> Rights {
        let kept = present.filter(|_| self.keep_owner);
        Rights {
            mode: self.mode.or_else(|| present.map(|stat| stat.st_mode & 0o7777)).unwrap_or(0o600),
            owner: kept.map(|stat| Uid::from_raw(stat.st_uid)),
            group: kept.map(|stat| Gid::from_raw(stat.st_gid)),
        }
    }
}

/// What must still be in the target's place when the new file takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing has this name.
    Nothing,
    /// The file that was read, unchanged.
    File(Stamp),
}

/// What became of [`place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// The file is new.
    Written,
    /// These bytes, with this mode, were there already: nothing was written.
    Already,
    /// Another file has the name, and keeps it.
    Taken,
}

impl Expected {
    pub(super) fn found(stat: &FileStat) -> Option<Self> {
        let size = u64::try_from(stat.st_size).ok()?;
        let (file, written) = ((stat.st_dev, stat.st_ino), (stat.st_mtime, stat.st_mtime_nsec));
        Some(Self::File(Stamp { file, size, written }))
    }

    fn is(self, present: Option<&FileStat>) -> bool {
        match (self, present) {
            (Self::Nothing, None) => true,
            (Self::File(stamp), Some(stat)) => {
                stamp.file == (stat.st_dev, stat.st_ino)
                    && i64::try_from(stamp.size) == Ok(stat.st_size)
                    && stamp.written == (stat.st_mtime, stat.st_mtime_nsec)
            }
            _ => false,
        }
    }
}

/// Gives a file another mode. Links are followed.
///
/// # Errors
/// What the system says.
pub fn change_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Replaces the file at `path`, or creates it.
///
/// Links above the target are followed once, when its folder is opened.
///
/// # Errors
/// [`WriteError`]; the old file, if there was one, is as it was, but for
/// [`WriteError::Unsettled`].
pub fn replace(path: &Path, content: &[u8], permissions: &Permissions) -> Result<(), WriteError> {
    write(path, content, permissions, None)
}

/// [`replace`], if what was read is what is still there: looked at last of all,
/// right before the new file takes the name.
///
/// # Errors
/// [`WriteError::Changed`], and those of [`replace`].
pub fn replace_expected(
    path: &Path,
    content: &[u8],
    permissions: &Permissions,
    expected: Expected,
) -> Result<(), WriteError> {
    write(path, content, permissions, Some(expected))
}

/// Creates the file at `path` with this mode; a file that is there stays unless it has
/// these bytes, and then only gets the mode. `over` lets any file be replaced.
///
/// # Errors
/// [`WriteError`], as [`replace_expected`] gives it.
pub fn place(path: &Path, content: &[u8], mode: u32, over: bool) -> Result<Placed, WriteError> {
    let (folder, name) = split(path)?;
    let folder = Folder::follow(folder)?;
    let target = Target { folder: &folder, name, path };
    let rights = Rights { mode, owner: None, group: None };
    let present = target.look()?;
    let expected = match &present {
        None => Some(Expected::Nothing),
        Some(stat) => match (target.holds(stat, content)?, rights.are_of(stat)) {
            (true, true) => return Ok(Placed::Already),
            (true, false) => Expected::found(stat),
            (false, _) if over => None,
            (false, _) => return Ok(Placed::Taken),
        },
    };
    target.put(content, rights, expected.filter(|_| !over))?;
    Ok(Placed::Written)
}

/// Removes what writers of this file left when they were killed. A living one
/// keeps its own.
///
/// # Errors
/// [`WriteError`], where the folder cannot be opened.
pub fn clean(path: &Path) -> Result<(), WriteError> {
    let (folder, name) = split(path)?;
    let ours = Rights { mode: 0, owner: None, group: None };
    sweep(&Folder::follow(folder)?, name, ours);
    Ok(())
}

/// [`clean`] in an open folder. What cannot be removed is for the next time.
pub(crate) fn sweep(folder: &Folder, name: &OsStr, rights: Rights) {
    folder.sweep(rights, |candidate, kind| kind == SFlag::S_IFREG && is_beside(candidate, name));
}

fn write(
    path: &Path,
    content: &[u8],
    permissions: &Permissions,
    expected: Option<Expected>,
) -> Result<(), WriteError> {
    let (folder, name) = split(path)?;
    let folder = Folder::follow(folder)?;
    let target = Target { folder: &folder, name, path };
    let present = target.look()?;
    target.put(content, permissions.over(present.as_ref()), expected)
}

/// The folder and the name of a path.
pub(crate) fn split(path: &Path) -> Result<(&Path, &OsStr), WriteError> {
    let name = path.file_name().ok_or_else(|| WriteError::NoName { path: path.into() })?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    Ok((folder, name))
}

/// A name in an open folder, and the path to print.
pub(crate) struct Target<'a> {
    pub(crate) folder: &'a Folder,
    pub(crate) name: &'a OsStr,
    pub(crate) path: &'a Path,
}

impl Target<'_> {
    fn failed(&self, step: &'static str, reason: Errno) -> WriteError {
        WriteError::Step { path: self.path.into(), step, reason }
    }

    /// What is in the target's place, if it may be replaced.
    pub(crate) fn look(&self) -> Result<Option<FileStat>, WriteError> {
        let present =
            self.folder.look(self.name).map_err(|reason| self.failed("looking at the old file", reason))?;
        match present.and_then(|stat| called(kind(&stat))) {
            Some(what) => Err(WriteError::NotAFile { path: self.path.into(), what }),
            None => Ok(present),
        }
    }

    /// Whether these bytes are there already. A file that cannot be read has others.
    pub(crate) fn holds(&self, present: &FileStat, content: &[u8]) -> Result<bool, WriteError> {
        if usize::try_from(present.st_size) != Ok(content.len()) {
            return Ok(false);
        }
        let file = match self.folder.file(self.name) {
            Ok(file) => file,
            Err(Errno::ENOENT | Errno::EACCES | Errno::ELOOP) => return Ok(false),
            Err(reason) => return Err(self.failed("opening the old file", reason)),
        };
        Ok(has(file, content).unwrap_or(false))
    }

    /// Puts a new file in the target's place.
    pub(crate) fn put(
        &self,
        content: &[u8],
        rights: Rights,
        expected: Option<Expected>,
    ) -> Result<(), WriteError> {
        let temporary = self.create()?;
        self.fill(&temporary.file, content, rights)?;
        // Looked at last of all: what must not be replaced may have come meanwhile.
        let present = self.look()?;
        if expected.is_some_and(|expected| !expected.is(present.as_ref())) {
            return Err(WriteError::Changed { path: self.path.into() });
        }
        renameat(self.folder, temporary.name.as_os_str(), self.folder, self.name)
            .map_err(|reason| self.failed("renaming the new file", reason))?;
        temporary.keep();
        self.folder.sync().map_err(|reason| WriteError::Unsettled { path: self.path.into(), reason })
    }

    /// A new file under a name that nobody can guess.
    fn create(&self) -> Result<Temporary<'_>, WriteError> {
        let failed = |reason| self.failed("creating a file beside it", reason);
        for _ in 0..ATTEMPTS {
            let name = beside(self.name).map_err(failed)?;
            let file = match create(self.folder, &name) {
                Ok(file) => file,
                Err(Errno::EEXIST) => continue,
                Err(reason) => return Err(failed(reason)),
            };
            let temporary = Temporary { folder: self.folder, name, file };
            if claim(&temporary.file).map_err(|error| failed(errno(&error)))? {
                return Ok(temporary);
            }
        }
        Err(failed(Errno::EEXIST))
    }

    /// Writes a new file whole: who may use it, then the bytes, then the disk.
    pub(crate) fn fill(&self, mut file: &File, content: &[u8], rights: Rights) -> Result<(), WriteError> {
        rights.give(file, self.path)?;
        file.write_all(content).map_err(|error| self.failed("writing", errno(&error)))?;
        file.sync_all().map_err(|error| self.failed("syncing", errno(&error)))
    }
}

/// A new file (0600) in a folder; nothing may have its name.
pub(crate) fn create(folder: &Folder, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map(File::from)
}

/// A file without its own name yet; removed again unless it is kept.
struct Temporary<'a> {
    folder: &'a Folder,
    name: OsString,
    file: File,
}

impl Temporary<'_> {
    /// It has its name.
    fn keep(mut self) {
        self.name.clear();
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // The error that led here is the one that matters.
            let _left = self.folder.remove(&self.name);
        }
    }
}

/// Compares piece by piece, in one block that is wiped.
fn has(mut file: File, content: &[u8]) -> std::io::Result<bool> {
    // One more than there should be shows whether there is more.
    let mut block = Zeroizing::new(vec![0_u8; content.len().saturating_add(1).min(BLOCK)]);
    let mut rest = content;
    loop {
        let count = match file.read(&mut block) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            return Ok(rest.is_empty());
        }
        match block.get(..count).and_then(|piece| rest.strip_prefix(piece)) {
            Some(after) => rest = after,
            None => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests;
