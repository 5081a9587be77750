//! Who may use what is written: mode, owner and group, as the kernel counts them.
//!
//! Invariant: they are set before the first byte is written, the owner before
//! the mode: nobody can open the empty file who could not open it afterwards.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, Mode, fchmod, fstat};
use nix::unistd::{Gid, Group, Uid, User, fchown};

use super::write_error::WriteError;

/// Who may read a file that dlconf makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAccess {
    /// Permission bits of the files, at most 0666. Directories get search bits
    /// wherever these have read bits.
    pub mode: u32,
    /// The owner, by name or number; by default this process's user.
    pub owner: Option<String>,
    /// The group, by name or number; by default this process's group.
    pub group: Option<String>,
}

/// Mode, owner and group of one file or folder. An owner or group of none is
/// whatever the kernel gives to a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights {
    pub(crate) mode: u32,
    pub(crate) owner: Option<Uid>,
    pub(crate) group: Option<Gid>,
}

impl Rights {
    /// What the settings say of files. Names are looked up now: who
    /// they are may have changed.
    pub(crate) fn resolve(access: &FileAccess) -> Result<Self, WriteError> {
        let owner = match &access.owner {
            None => Uid::effective(),
            Some(name) => match name.parse() {
                Ok(number) => Uid::from_raw(number),
                Err(_) => found("user", name, User::from_name(name))?.uid,
            },
        };
        let group = match &access.group {
            None => Gid::effective(),
            Some(name) => match name.parse() {
                Ok(number) => Gid::from_raw(number),
                Err(_) => found("group", name, Group::from_name(name))?.gid,
            },
        };
        Ok(Self { mode: access.mode, owner: Some(owner), group: Some(group) })
    }

    /// Of a folder for such files: who may read them may list and search it, and
    /// its owner may change it.
    pub(crate) fn of_folder(self) -> Self {
        let read = self.mode & 0o044;
        Self { mode: 0o700 | read | read >> 2, ..self }
    }

    /// The same with another mode.
    pub(crate) fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Whether a file has them already.
    pub(crate) fn are_of(self, stat: &FileStat) -> bool {
        stat.st_mode & 0o7777 == self.mode && self.belongs(stat)
    }

    fn belongs(self, stat: &FileStat) -> bool {
        self.owner.is_none_or(|owner| owner.as_raw() == stat.st_uid)
            && self.group.is_none_or(|group| group.as_raw() == stat.st_gid)
    }

    /// Whether the user of this number is us or the owner: who may have made what
    /// is ours.
    pub(crate) fn made_by(self, user: u32) -> bool {
        user == Uid::effective().as_raw() || self.owner.is_some_and(|owner| owner.as_raw() == user)
    }

    /// Gives them to an open file or folder.
    pub(crate) fn give(self, descriptor: impl AsFd, path: &Path) -> Result<(), WriteError> {
        let failed = |step, reason| WriteError::Step { path: path.into(), step, reason };
        let stat = fstat(&descriptor).map_err(|reason| failed("looking at the new file", reason))?;
        // Some file systems know no owners: what is so already is not asked for.
        if !self.belongs(&stat) {
            fchown(&descriptor, self.owner, self.group).map_err(|reason| WriteError::NotGiven {
                path: path.into(),
                owner: self.owner.map_or(stat.st_uid, Uid::as_raw),
                group: self.group.map_or(stat.st_gid, Gid::as_raw),
                reason,
            })?;
        }
        fchmod(&descriptor, Mode::from_bits_truncate(self.mode))
            .map_err(|reason| failed("setting the mode", reason))
    }
}

fn found<T>(what: &'static str, name: &str, answer: Result<Option<T>, Errno>) -> Result<T, WriteError> {
    match answer {
        Ok(Some(account)) => Ok(account),
        // The C library says in either of these ways that there is none.
        Ok(None) | Err(Errno::ENOENT | Errno::ESRCH) => {
            Err(WriteError::NoAccount { what, name: name.into() })
        }
        Err(reason) => {
            Err(WriteError::Step { path: name.into(), step: "looking up the owner or group", reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(mode: u32, owner: Option<&str>, group: Option<&str>) -> FileAccess {
        FileAccess { mode, owner: owner.map(Into::into), group: group.map(Into::into) }
    }

    #[test]
    fn names_and_numbers_are_resolved() {
        let rights = Rights::resolve(&access(0o440, Some("root"), Some("4711"))).unwrap();
        assert_eq!(rights.owner, Some(Uid::from_raw(0)));
        assert_eq!(rights.group, Some(Gid::from_raw(4711)));
        let rights = Rights::resolve(&access(0o440, None, None)).unwrap();
        assert_eq!((rights.owner, rights.group), (Some(Uid::effective()), Some(Gid::effective())));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_what_to_do() {
        let error = Rights::resolve(&access(0o440, Some("no-such-user"), None)).unwrap_err();
        assert_eq!(error.to_string(), "there is no user `no-such-user` on this system");
        assert_eq!(error.help(), "make it, or write the user's number");
        let error = Rights::resolve(&access(0o440, None, Some("no-such-group"))).unwrap_err();
        assert_eq!(error.to_string(), "there is no group `no-such-group` on this system");
    }

    #[test]
    fn folders_are_open_to_those_who_may_read() {
        for (file, folder) in
            [(0o400, 0o700), (0o600, 0o700), (0o440, 0o750), (0o640, 0o750), (0o444, 0o755), (0o622, 0o700)]
        {
            let rights = Rights { mode: file, owner: None, group: None };
            assert_eq!(rights.of_folder().mode, folder, "{file:o}");
        }
    }
}
