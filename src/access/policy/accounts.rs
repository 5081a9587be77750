//! Names of users and groups, as numbers.
//!
//! Owns: asking the system's accounts (files, and whatever its name service adds).
//! That may wait for a server; a policy is read seldom and beside the work.
//! Must not know: what an account may do.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// Who knows the numbers.
pub trait Accounts {
    /// The number of a user.
    ///
    /// # Errors
    /// [`Unresolved`].
    fn user(&self, name: &str) -> Result<u32, Unresolved>;

    /// The number of a group.
    ///
    /// # Errors
    /// [`Unresolved`].
    fn group(&self, name: &str) -> Result<u32, Unresolved>;
}

/// Why a name has no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// There is no such account.
    #[error("there is none")]
    Unknown,
    /// Nobody could say.
    #[error("{0}")]
    Failed(Errno),
}

/// This machine's.
#[derive(Debug, Clone, Copy)]
pub struct System;

/// An account and its groups, the first of them its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// Its groups.
    pub groups: Vec<u32>,
}

impl Accounts for System {
    fn user(&self, name: &str) -> Result<u32, Unresolved> {
        let user = User::from_name(name).map_err(unresolved)?;
        user.map(|user| user.uid.as_raw()).ok_or(Unresolved::Unknown)
    }

    fn group(&self, name: &str) -> Result<u32, Unresolved> {
        let group = Group::from_name(name).map_err(unresolved)?;
        group.map(|group| group.gid.as_raw()).ok_or(Unresolved::Unknown)
    }
}

/// Where there is no file of accounts, or no such entry in one, that is an error too.
fn unresolved(errno: Errno) -> Unresolved {
    match errno {
        Errno::ENOENT | Errno::ESRCH => Unresolved::Unknown,
        other => Unresolved::Failed(other),
    }
}

impl System {
    /// The account of a user's number, with the groups that a login would have.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub fn account(self, uid: u32) -> Result<Account, Unresolved> {
        let user = User::from_uid(Uid::from_raw(uid)).map_err(unresolved)?;
        let User { name, gid, .. } = user.ok_or(Unresolved::Unknown)?;
        let of = CString::new(name.as_str()).map_err(|_| Unresolved::Unknown)?;
        let mut groups = vec![gid.as_raw()];
        let all = getgrouplist(&of, gid).map_err(unresolved)?;
        groups.extend(all.into_iter().map(Gid::as_raw).filter(|group| *group != gid.as_raw()));
        Ok(Account { name, groups })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_root_and_nobody_else_by_guess() {
        assert_eq!((System.user("root"), System.group("root")), (Ok(0), Ok(0)));
        let account = System.account(0).unwrap();
        assert_eq!((account.name.as_str(), account.groups[0]), ("root", 0));
        for name in ["", "no-such-account-here", "ro\0ot", "0"] {
            assert_eq!(System.user(name), Err(Unresolved::Unknown), "{name}");
            assert_eq!(System.group(name), Err(Unresolved::Unknown), "{name}");
        }
        assert_eq!(System.account(4_000_000_000), Err(Unresolved::Unknown));
    }
}
