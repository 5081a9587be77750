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
//! content only ([`Expected`]); after an error nothing of ours is left behind.
//! Must not know: what the content means.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use crate::source::file::Stamp;

/// How many random names are tried before giving up.
const ATTEMPTS: u32 = 8;

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
}

/// What must still be in the target's place when the new file takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing has this name.
    Nothing,
    /// The file that was read, unchanged.
    File(Stamp),
}

impl Expected {
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

/// Why a file was not replaced. The old one is untouched.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something is in the target's place that must not be replaced.
    #[error("{path} is {what}, so it is not replaced")]
    NotAFile {
        /// The target.
        path: PathBuf,
        /// What it is: `a symbolic link`.
        what: &'static str,
    },
    /// The path names no file.
    #[error("{path} names no file")]
    NoName {
        /// The target.
        path: PathBuf,
    },
    /// The target's folder is not there.
    #[error("the folder {path} does not exist")]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else wrote it since it was read.
    #[error("{path} changed while it was being mended")]
    Changed {
        /// The target.
        path: PathBuf,
    },
    /// A step failed.
    #[error("{path}: {step} failed: {}", reason.desc())]
    Step {
        /// The target, or its folder.
        path: PathBuf,
        /// What was being done: `opening the folder`.
        step: &'static str,
        /// The kernel's answer.
        reason: Errno,
    },
}

impl WriteError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::NotAFile { what: "a symbolic link", .. } => {
                "name the file that the link points to, or remove the link".into()
            }
            Self::NotAFile { .. } | Self::NoName { .. } => "name a file".into(),
            Self::Changed { .. } => "run it again".into(),
            Self::NoFolder { .. } => "make it first, or correct the path".into(),
            Self::Step { reason: Errno::EACCES | Errno::EPERM | Errno::EROFS, .. } => {
                "see who may write into that folder".into()
            }
            Self::Step { reason: Errno::ENOSPC | Errno::EDQUOT, .. } => "make room on that disk".into(),
            Self::Step { .. } => "see whether that disk is in order".into(),
        }
    }
}

/// Replaces the file at `path`, or creates it.
///
/// Links above the target are followed once, when its folder is opened.
///
/// # Errors
/// [`WriteError`]; the old file, if there was one, is as it was.
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

fn write(
    path: &Path,
    content: &[u8],
    permissions: &Permissions,
    expected: Option<Expected>,
) -> Result<(), WriteError> {
    let name = path.file_name().ok_or_else(|| WriteError::NoName { path: path.into() })?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let folder = nix::fcntl::open(parent, flags, Mode::empty()).map_err(|reason| match reason {
        Errno::ENOENT => WriteError::NoFolder { path: parent.into() },
        reason => WriteError::Step { path: parent.into(), step: "opening the folder", reason },
    })?;
    let target = Target { folder, name, path };
    let present = target.look()?;
    let (file, temporary) = target.create()?;
    let written = target.fill(&file, content, permissions, present.as_ref()).and_then(|()| {
        if let Some(expected) = expected
            && !expected.is(target.look()?.as_ref())
        {
            return Err(WriteError::Changed { path: path.into() });
        }
        renameat(&target.folder, temporary.as_os_str(), &target.folder, name)
            .map_err(|reason| target.failed("renaming the new file", reason))
    });
    if let Err(error) = written {
        // The first error is the one that matters.
        let _left = unlinkat(&target.folder, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        return Err(error);
    }
    nix::unistd::fsync(&target.folder).map_err(|reason| target.failed("syncing the folder", reason))
}

struct Target<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
    path: &'a Path,
}

impl Target<'_> {
    fn failed(&self, step: &'static str, reason: Errno) -> WriteError {
        WriteError::Step { path: self.path.into(), step, reason }
    }

    /// What is in the target's place, if it may be replaced.
    fn look(&self) -> Result<Option<FileStat>, WriteError> {
        let stat = match fstatat(&self.folder, self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(None),
            Err(reason) => return Err(self.failed("looking at the old file", reason)),
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let what = match kind {
            SFlag::S_IFREG => return Ok(Some(stat)),
            SFlag::S_IFLNK => "a symbolic link",
            SFlag::S_IFDIR => "a directory",
            SFlag::S_IFIFO => "a named pipe",
            SFlag::S_IFSOCK => "a socket",
            _ => "a device",
        };
        Err(WriteError::NotAFile { path: self.path.into(), what })
    }

    /// A new file under a name that nobody can guess.
    fn create(&self) -> Result<(File, OsString), WriteError> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let mut last = Errno::EEXIST;
        for _ in 0..ATTEMPTS {
            let random = getrandom::u64().map_err(|_| self.failed("choosing a random name", Errno::EIO))?;
            let mut name = OsString::from(".");
            name.push(self.name);
            name.push(format!(".{random:016x}"));
            match openat(&self.folder, name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
                Ok(descriptor) => return Ok((File::from(descriptor), name)),
                Err(Errno::EEXIST) => {}
                Err(Errno::ENAMETOOLONG) => {
                    return Err(self.failed("creating a file beside it", Errno::ENAMETOOLONG));
                }
                Err(reason) => {
                    last = reason;
                    break;
                }
            }
        }
        Err(self.failed("creating a file beside it", last))
    }

    fn fill(
        &self,
        mut file: &File,
        content: &[u8],
        permissions: &Permissions,
        present: Option<&FileStat>,
    ) -> Result<(), WriteError> {
        if let Some(stat) = present.filter(|_| permissions.keep_owner) {
            let (owner, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            if owner != Uid::effective() || group != Gid::effective() {
                fchown(file.as_fd(), Some(owner), Some(group))
                    .map_err(|reason| self.failed("keeping the owner", reason))?;
            }
        }
        let kept = present.map_or(0o600, |stat| stat.st_mode & 0o7777);
        let mode = Mode::from_bits_truncate(permissions.mode.unwrap_or(kept));
        fchmod(file.as_fd(), mode).map_err(|reason| self.failed("setting the mode", reason))?;
        file.write_all(content).map_err(|error| self.failed("writing", errno(&error)))?;
        file.sync_all().map_err(|error| self.failed("syncing", errno(&error)))
    }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests;
