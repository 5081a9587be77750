//! Folders, opened once: everything in them happens below the descriptor.
//!
//! Owns: opening with links followed (a person's own command line) and without
//! (a daemon's deliveries), making folders that are missing, and the few things
//! that are done with a name in a folder.
//! Invariants: a strict folder was reached through no link, and belongs to us, to
//! root or to the delivery's owner; a folder that is made has its mode and owner
//! before it has its name.
//! Must not know: what is written.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::leftovers::{ATTEMPTS, beside, claim, is_abandoned, is_beside};
use super::rights::Rights;
use super::write_error::WriteError;
use crate::strict::{FLAGS, link_in, open_folder, plain, real};

/// The mode of folders that are made above a delivery.
const MADE: u32 = 0o750;

/// An open folder, and the path to print.
#[derive(Debug)]
pub(crate) struct Folder {
    descriptor: File,
    pub(crate) path: PathBuf,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Folder {
    /// Opens a folder, links followed.
    pub(crate) fn follow(path: &Path) -> Result<Self, WriteError> {
        match openat(AT_FDCWD, path, FLAGS, Mode::empty()) {
            Ok(descriptor) => Ok(Self { descriptor: File::from(descriptor), path: path.into() }),
            Err(Errno::ENOENT) => Err(WriteError::NoFolder { path: path.into() }),
            Err(reason) => Err(not_opened(path, reason)),
        }
    }

    /// Opens a folder that no link leads to and nobody else owns.
    pub(crate) fn strict(path: &Path, rights: Rights) -> Result<Self, WriteError> {
        let path = plain(path);
        let folder = match open_folder(&path) {
            Ok(descriptor) => Self { descriptor, path },
            Err(Errno::ENOENT) => return Err(WriteError::NoFolder { path }),
            Err(reason) => return Err(explained(&path, reason)),
        };
        let stat = fstat(&folder).map_err(|reason| folder.failed("looking at the folder", reason))?;
        if stat.st_uid == 0 || rights.made_by(stat.st_uid) {
            Ok(folder)
        } else {
            Err(WriteError::ForeignFolder { path: folder.path, owner: stat.st_uid })
        }
    }

    /// [`Self::strict`]; the folder and those above it are made where missing.
    pub(crate) fn strict_or_made(path: &Path, rights: Rights) -> Result<Self, WriteError> {
        match Self::strict(path, rights) {
            Err(WriteError::NoFolder { path }) => {
                let parent = path.parent().ok_or_else(|| WriteError::NoFolder { path: path.clone() })?;
                let name = path.file_name().ok_or_else(|| WriteError::NoName { path: path.clone() })?;
                // Who owns what is above is not asked: only the folder itself is written to.
                let parent = match open_folder(parent) {
                    Ok(descriptor) => Self { descriptor, path: parent.into() },
                    Err(Errno::ENOENT) => Self::strict_or_made(parent, rights)?,
                    Err(reason) => return Err(explained(parent, reason)),
                };
                parent.make(name, rights.with_mode(MADE))?;
                Self::strict(&path, rights)
            }
            other => other,
        }
    }

    /// Makes a folder in this one. One that is there by then is left as it is.
    pub(crate) fn make(&self, name: &OsStr, rights: Rights) -> Result<(), WriteError> {
        let path = self.path.join(name);
        let failed = |step, reason| WriteError::Step { path: path.clone(), step, reason };
        self.sweep(rights, |candidate, kind| kind == SFlag::S_IFDIR && is_beside(candidate, name));
        let made = self.make_claimed(&path, || beside(name))?;
        rights.give(&made.folder, &path)?;
        let named = match renameat2(self, made.name(), self, name, RenameFlags::RENAME_NOREPLACE) {
            // Not every file system can; then an empty folder may be replaced.
            Err(Errno::EINVAL | Errno::ENOSYS) => renameat(self, made.name(), self, name),
            other => other,
        };
        match named {
            Ok(()) => made.keep(),
            Err(Errno::EEXIST | Errno::ENOTEMPTY) => drop(made),
            Err(reason) => return Err(failed("naming the new folder", reason)),
        }
        self.sync().map_err(|reason| failed("syncing the folder above", reason))
    }

    /// A new folder (0700) under a temporary name, which is removed again unless
    /// it is kept.
    pub(crate) fn make_claimed(
        &self,
        shown: &Path,
        name: impl Fn() -> Result<OsString, Errno>,
    ) -> Result<Made<'_>, WriteError> {
        let failed = |reason| WriteError::Step { path: shown.into(), step: "making a folder", reason };
        for _ in 0..ATTEMPTS {
            let name = name().map_err(failed)?;
            match mkdirat(self, name.as_os_str(), Mode::S_IRWXU) {
                Ok(()) => {}
                Err(Errno::EEXIST) => continue,
                Err(reason) => return Err(failed(reason)),
            }
            let unnamed = Unnamed { above: self, name };
            let folder = match self.below(&unnamed.name) {
                Ok(folder) => folder,
                Err(Errno::ENOENT) => continue,
                Err(reason) => return Err(failed(reason)),
            };
            if claim(&folder.descriptor).map_err(|error| failed(errno(&error)))? {
                return Ok(Made { folder, unnamed });
            }
        }
        Err(failed(Errno::EEXIST))
    }

    /// Opens a folder in this one.
    pub(crate) fn below(&self, name: &OsStr) -> Result<Self, Errno> {
        let descriptor = openat(self, name, FLAGS | OFlag::O_NOFOLLOW, Mode::empty())?;
        Ok(Self { descriptor: File::from(descriptor), path: self.path.join(name) })
    }

    /// Opens a file in this folder to be read, without waiting for anybody.
    pub(crate) fn file(&self, name: &OsStr) -> Result<File, Errno> {
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        openat(self, name, flags, Mode::empty()).map(File::from)
    }

    /// What has this name.
    pub(crate) fn look(&self, name: &OsStr) -> Result<Option<FileStat>, Errno> {
        match fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(reason) => Err(reason),
        }
    }

    /// What the folder itself is.
    pub(crate) fn stat(&self) -> Result<FileStat, Errno> {
        fstat(self)
    }

    /// Where a link of this folder points.
    pub(crate) fn link(&self, name: &OsStr) -> Result<OsString, Errno> {
        readlinkat(self, name)
    }

    /// Every name in it, in no order.
    pub(crate) fn names(&self) -> Result<Vec<OsString>, Errno> {
        // A descriptor of its own: reading a folder moves a position.
        let mut folder = Dir::openat(self, c".", FLAGS, Mode::empty())?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            let entry = entry?;
            if ![c".", c".."].contains(&entry.file_name()) {
                names.push(os_string(entry.file_name()));
            }
        }
        Ok(names)
    }

    /// Removes a name that is no folder.
    pub(crate) fn remove(&self, name: &OsStr) -> Result<(), Errno> {
        unlinkat(self, name, UnlinkatFlags::NoRemoveDir)
    }

    /// Removes a folder with the files in it. Folders in it are not ours: then it
    /// stays.
    pub(crate) fn remove_folder(&self, name: &OsStr) -> Result<(), Errno> {
        let folder = self.below(name)?;
        for file in folder.names()? {
            folder.remove(&file)?;
        }
        unlinkat(self, name, UnlinkatFlags::RemoveDir)
    }

    /// Waits for the disk to keep the names.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        self.descriptor.sync_all().map_err(|error| errno(&error))
    }

    /// Removes what we made, named as `ours` knows it, and nobody writes any more.
    /// What cannot be removed is for the next time.
    pub(crate) fn sweep(&self, rights: Rights, ours: impl Fn(&OsStr, SFlag) -> bool) {
        for name in self.names().unwrap_or_default() {
            let _kept = self.sweep_one(&name, rights, &ours);
        }
    }

    /// [`Self::sweep`] of one name.
    pub(crate) fn sweep_one(
        &self,
        name: &OsStr,
        rights: Rights,
        ours: impl Fn(&OsStr, SFlag) -> bool,
    ) -> Result<(), Errno> {
        let is_ours = |stat: &FileStat| rights.made_by(stat.st_uid) && ours(name, kind(stat));
        let Some(seen) = self.look(name)?.filter(is_ours) else { return Ok(()) };
        let found = self.file(name)?;
        let opened = fstat(&found)?;
        if (opened.st_dev, opened.st_ino) != (seen.st_dev, seen.st_ino) || !is_abandoned(&found) {
            return Ok(());
        }
        // It may have come into use before we locked it.
        if !ours(name, kind(&opened)) {
            return Ok(());
        }
        // While it is locked its writer cannot take it for its own.
        if kind(&opened) == SFlag::S_IFDIR { self.remove_folder(name) } else { self.remove(name) }
    }

    fn failed(&self, step: &'static str, reason: Errno) -> WriteError {
        WriteError::Step { path: self.path.clone(), step, reason }
    }
}

/// A new folder that has no name of its own yet.
pub(crate) struct Made<'a> {
    pub(crate) folder: Folder,
    unnamed: Unnamed<'a>,
}

impl Made<'_> {
    /// Its temporary name.
    pub(crate) fn name(&self) -> &OsStr {
        &self.unnamed.name
    }

    /// It stays.
    pub(crate) fn keep(mut self) {
        self.unnamed.name.clear();
    }
}

/// Removes a folder that was not kept.
struct Unnamed<'a> {
    above: &'a Folder,
    name: OsString,
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // The error that led here is the one that matters. Once renamed, it is gone.
            let _left = self.above.remove_folder(&self.name);
        }
    }
}

/// What kind of thing has been looked at.
pub(crate) fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// What a kind is called, where it is no regular file.
pub(crate) fn called(kind: SFlag) -> Option<&'static str> {
    match kind {
        SFlag::S_IFREG => None,
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFDIR => Some("a directory"),
        SFlag::S_IFIFO => Some("a named pipe"),
        SFlag::S_IFSOCK => Some("a socket"),
        _ => Some("a device"),
    }
}

/// The kernel's answer in an error of the standard library.
pub(crate) fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

fn os_string(name: &CStr) -> OsString {
    OsStr::from_bytes(name.to_bytes()).to_owned()
}

/// Why a folder was not opened strictly; says which part is a link, if one is.
fn explained(path: &Path, reason: Errno) -> WriteError {
    match link_in(path, reason) {
        Some(link) => WriteError::Link { path: path.into(), link, real: real(path) },
        None => not_opened(path, reason),
    }
}

fn not_opened(path: &Path, reason: Errno) -> WriteError {
    WriteError::Step { path: path.into(), step: "opening the folder", reason }
}

#[cfg(test)]
mod tests;
