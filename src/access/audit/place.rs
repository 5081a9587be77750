//! The names of a log: the file that is written, the full ones beside it, the lock.
//!
//! Invariants: a full file is named like the log, with the number of its first
//! record in twelve digits behind it, so that names sort as records do; nothing
//! else in the folder is ever touched.
//! Must not know: what the files hold.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};

use super::AuditError;
use crate::strict::{FLAGS, link_in, open_folder, plain, real};

const DIGITS: usize = 12;

/// A new file may be read and written by us alone.
const OURS: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// Of folders that are made.
const MADE: Mode = Mode::S_IRWXU.union(Mode::S_IRGRP).union(Mode::S_IXGRP);

/// A log's folder, open, and its names in it.
#[derive(Debug)]
pub(super) struct Place {
    folder: File,
    name: OsString,
    label: String,
}

/// A file that was opened, and whether it was made by that.
pub(super) struct Found {
    pub(super) file: File,
    pub(super) stat: FileStat,
}

impl Place {
    /// Opens the log's folder through no link. `make` makes it where it is missing.
    pub(super) fn open(path: &Path, label: &str, make: bool) -> Result<Self, AuditError> {
        let path = plain(path);
        let wrong = |message: String, help: &str| AuditError { message, help: help.into() };
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(wrong(format!("the audit log {label} names no file"), "name a file"));
        };
        let folder = if make { made(above) } else { open_folder(above) };
        let folder = folder.map_err(|reason| match link_in(above, reason) {
            Some(link) => wrong(
                format!(
                    "the folder of the audit log {label} cannot be trusted: {} is a symbolic link",
                    link.display()
                ),
                &real(above).map_or_else(
                    || "write the folder's own path".to_owned(),
                    |real| format!("write {}, where it leads", real.join(name).display()),
                ),
            ),
            None => wrong(
                format!("the folder of the audit log {label} cannot be opened: {}", reason.desc()),
                "make it, or let this user search it (`namei -l` shows which part refuses)",
            ),
        })?;
        let stat = fstat(&folder).map_err(|reason| {
            wrong(
                format!("the folder of the audit log {label} cannot be looked at: {}", reason.desc()),
                "see whether that disk is in order",
            )
        })?;
        if stat.st_uid != 0 && stat.st_uid != Uid::effective().as_raw() {
            return Err(wrong(
                format!("the folder of the audit log {label} belongs to user {}", stat.st_uid),
                "give it to root or to the user that dlconf runs as, or name another",
            ));
        }
        Ok(Self { folder, name: name.to_owned(), label: label.to_owned() })
    }

    /// As the user wrote it.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// The file that is written to, made where it is missing.
    pub(super) fn log(&self) -> Result<Found, Errno> {
        let flags = OFlag::O_RDWR
            | OFlag::O_APPEND
            | OFlag::O_NOFOLLOW
            | OFlag::O_NONBLOCK
            | OFlag::O_NOCTTY
            | OFlag::O_CLOEXEC;
        let file = match openat(&self.folder, &*self.name, flags | OFlag::O_CREAT | OFlag::O_EXCL, OURS) {
            Err(Errno::EEXIST) => openat(&self.folder, &*self.name, flags, Mode::empty()),
            other => other,
        };
        let file = File::from(file?);
        Ok(Found { stat: fstat(&file)?, file })
    }

    /// A file of it, to be read: the log itself, or the full one of this number.
    pub(super) fn read(&self, first: Option<u64>) -> Result<Found, Errno> {
        let flags =
            OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let name = first.map_or_else(|| self.name.clone(), |first| self.full(first));
        let file = File::from(openat(&self.folder, &*name, flags, Mode::empty())?);
        Ok(Found { stat: fstat(&file)?, file })
    }

    /// The lock of who writes it.
    pub(super) fn lock(&self) -> Result<File, Errno> {
        let mut name = self.name.clone();
        name.push(".lock");
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        openat(&self.folder, &*name, flags, OURS).map(File::from)
    }

    /// Whether the log's name is still that of this file.
    pub(super) fn is_at(&self, file: &FileStat) -> Result<bool, Errno> {
        match fstatat(&self.folder, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (file.st_dev, file.st_ino)),
            Err(Errno::ENOENT) => Ok(false),
            Err(reason) => Err(reason),
        }
    }

    /// Names the log as full; the first of its records has this number.
    pub(super) fn retire(&self, first: u64) -> Result<(), Errno> {
        let full = self.full(first);
        match renameat2(&self.folder, &*self.name, &self.folder, &*full, RenameFlags::RENAME_NOREPLACE) {
            // Not every file system can.
            Err(Errno::EINVAL | Errno::ENOSYS) => {
                match fstatat(&self.folder, &*full, AtFlags::AT_SYMLINK_NOFOLLOW) {
                    Err(Errno::ENOENT) => renameat(&self.folder, &*self.name, &self.folder, &*full),
                    Ok(_) => Err(Errno::EEXIST),
                    Err(reason) => Err(reason),
                }
            }
            other => other,
        }
    }

    /// The full files by the numbers of their first records, the oldest first.
    pub(super) fn fulls(&self) -> Result<Vec<u64>, Errno> {
        // A descriptor of its own: reading a folder moves a position.
        let mut folder = Dir::openat(&self.folder, c".", FLAGS, Mode::empty())?;
        let mut fulls = Vec::new();
        for entry in folder.iter() {
            let entry = entry?;
            fulls.extend(number(OsStr::from_bytes(entry.file_name().to_bytes()), &self.name));
        }
        fulls.sort_unstable();
        Ok(fulls)
    }

    /// Removes a full one.
    pub(super) fn remove(&self, first: u64) -> Result<(), Errno> {
        unlinkat(&self.folder, &*self.full(first), UnlinkatFlags::NoRemoveDir)
    }

    /// Waits for the disk to keep the names.
    pub(super) fn sync(&self) -> std::io::Result<()> {
        self.folder.sync_all()
    }

    /// How a full file is shown.
    pub(super) fn shown(&self, first: Option<u64>) -> String {
        first.map_or_else(|| self.label.clone(), |first| format!("{}.{first:012}", self.label))
    }

    fn full(&self, first: u64) -> OsString {
        let mut name = self.name.clone();
        name.push(format!(".{first:012}"));
        name
    }
}

/// The number in the name of a full file of the log of this name.
pub(super) fn number(candidate: &OsStr, name: &OsStr) -> Option<u64> {
    let rest = candidate.as_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b".")?;
    let is_number = rest.len() >= DIGITS && rest.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(rest).ok().filter(|_| is_number)?.parse().ok()
}

/// What a log must be to be written on.
pub(super) fn judged(stat: &FileStat) -> Result<(), &'static str> {
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        Err("is no regular file")
    } else if stat.st_uid != Uid::effective().as_raw() {
        Err("belongs to another user")
    } else if stat.st_nlink > 1 {
        Err("has more than one name")
    } else if stat.st_mode & 0o022 != 0 {
        Err("may be written by others")
    } else {
        Ok(())
    }
}

/// A folder, and those above it where they are missing. They are ours and nobody
/// else's from the first moment.
fn made(path: &Path) -> Result<File, Errno> {
    match open_folder(path) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ENOENT) };
    match mkdirat(made(above)?, name, MADE) {
        Ok(()) | Err(Errno::EEXIST) => open_folder(path),
        Err(reason) => Err(reason),
    }
}

/// The paths that belong to a log: itself and its lock.
pub fn names(path: &Path) -> [PathBuf; 2] {
    let mut lock = path.as_os_str().to_owned();
    lock.push(".lock");
    [path.to_owned(), lock.into()]
}

/// Whether a path is, or could become, a full file of a log.
pub fn is_full(candidate: &Path, log: &Path) -> bool {
    candidate.parent() == log.parent()
        && candidate.file_name().zip(log.file_name()).is_some_and(|(one, log)| number(one, log).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_known_by_their_names() {
        for (candidate, expected) in [
            ("a.jsonl.000000000017", Some(17)),
            ("a.jsonl.1000000000000", Some(1_000_000_000_000)),
            ("a.jsonl", None),
            ("a.jsonl.17", None),
            ("a.jsonl.00000000001x", None),
            ("a.jsonl.lock", None),
            ("b.jsonl.000000000017", None),
            ("a.jsonl.99999999999999999999999", None),
        ] {
            assert_eq!(number(OsStr::new(candidate), OsStr::new("a.jsonl")), expected, "{candidate}");
        }
    }
}
