//! A file that is changed while nobody else of us changes it.
//!
//! Owns: the lock, which is one on the file itself (`flock`), so that nothing lies
//! beside it when nobody writes. Since a writer replaces the file, who waited may have
//! locked one that has lost its name: then it takes the new one.
//! Invariants: nobody waits without end; what is not ours to replace is refused before
//! anything is waited for. An editor knows no lock: what it wrote meanwhile is seen by
//! [`Stamp`], right before the new file takes the name.
//! Must not know: what is written.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstat;
use nix::unistd::{AccessFlags, faccessat};

use super::file::{Expected, Permissions, Target, split, sweep};
use super::folder::{Folder, errno};
use super::stamp::Stamp;
use super::write_error::WriteError;

/// Between two looks at a lock that somebody has. A writer has it for milliseconds.
const BETWEEN: Duration = Duration::from_millis(5);

/// A file that is held until this is dropped.
#[derive(Debug)]
pub struct Hold {
    folder: Folder,
    name: OsString,
    path: PathBuf,
    file: File,
}

/// Whether we may replace the file at this path: it is a file and no link, and both it
/// and its folder may be written.
///
/// # Errors
/// [`WriteError`], with the reason.
pub fn may_replace(path: &Path) -> Result<(), WriteError> {
    let (folder, name) = split(path)?;
    let folder = Folder::follow(folder)?;
    Target { folder: &folder, name, path }.look()?;
    let failed = |step, reason| WriteError::Step { path: path.into(), step, reason };
    // By the rights that we have now, not by those of who started us.
    faccessat(&folder, name, AccessFlags::W_OK, AtFlags::AT_EACCESS)
        .map_err(|reason| failed("writing to it", reason))?;
    faccessat(&folder, c".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)
        .map_err(|reason| failed("writing to its folder", reason))
}

/// Holds the file at this path. Waits for whoever holds it, but not longer than this.
///
/// # Errors
/// [`WriteError::Busy`] after that; what else keeps it from being held.
pub fn hold(path: &Path, patience: Duration) -> Result<Hold, WriteError> {
    let (folder, name) = split(path)?;
    let folder = Folder::follow(folder)?;
    let failed = |step, reason| WriteError::Step { path: path.into(), step, reason };
    let until = Instant::now() + patience;
    loop {
        Target { folder: &folder, name, path }.look()?;
        let file = folder.file(name).map_err(|reason| failed("opening the file", reason))?;
        match file.try_lock() {
            Ok(()) => {
                let held = fstat(&file).map_err(|reason| failed("looking at the file", reason))?;
                let named = folder.look(name).map_err(|reason| failed("looking at the file", reason))?;
                if named.is_some_and(|named| (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)) {
                    return Ok(Hold { folder, name: name.into(), path: path.into(), file });
                }
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failed("locking it", errno(&error))),
        }
        if Instant::now() >= until {
            return Err(WriteError::Busy { path: path.into() });
        }
        std::thread::sleep(BETWEEN);
    }
}

impl Hold {
    /// Whether what was read is the file that is held.
    pub fn is_of(&self, stamp: &Stamp) -> bool {
        fstat(&self.file).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == stamp.file)
    }

    /// Replaces the file, if it is still as it was read; its mode and owner stay. What
    /// writers left that were killed goes too.
    ///
    /// # Errors
    /// [`WriteError`]; the old file is as it was, but for [`WriteError::Unsettled`].
    pub fn replace(&self, content: &[u8], read: Stamp) -> Result<Stamp, WriteError> {
        let target = Target { folder: &self.folder, name: &self.name, path: &self.path };
        let present = target.look()?;
        let rights = Permissions::keep().over(present.as_ref());
        sweep(&self.folder, &self.name, rights);
        target.put(content, rights, Some(Expected::File(read)))?;
        match target.look()?.as_ref().and_then(Expected::found) {
            Some(Expected::File(stamp)) => Ok(stamp),
            _ => Err(WriteError::Step {
                path: self.path.clone(),
                step: "looking at it",
                reason: Errno::ENOENT,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.env");
        std::fs::write(&path, "A=1\n").unwrap();
        (folder, path)
    }

    fn stamp(path: &Path) -> Stamp {
        Stamp::of(&path.metadata().unwrap())
    }

    #[test]
    fn one_holds_it_at_a_time() {
        let (_folder, path) = file();
        let held = hold(&path, LONG).unwrap();
        assert!(held.is_of(&stamp(&path)));
        assert!(matches!(hold(&path, Duration::ZERO), Err(WriteError::Busy { .. })));
        drop(held);
        hold(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn who_waited_holds_the_file_that_has_the_name() {
        let (_folder, path) = file();
        let first = hold(&path, LONG).unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || hold(&path, LONG).unwrap()
        });
        let new = first.replace(b"A=2\n", stamp(&path)).unwrap();
        assert_eq!(new, stamp(&path));
        drop(first);
        assert!(waiting.join().unwrap().is_of(&new));
    }

    #[test]
    fn what_was_written_meanwhile_stays() {
        let (_folder, path) = file();
        let held = hold(&path, LONG).unwrap();
        let read = stamp(&path);
        #[allow(clippy::disallowed_methods, reason = "an editor, which knows no lock")]
        std::fs::write(&path, "A=other\n").unwrap();
        assert!(matches!(held.replace(b"A=2\n", read), Err(WriteError::Changed { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"A=other\n");
    }

    #[test]
    fn rights_stay_and_what_the_killed_left_goes() {
        let (folder, path) = file();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let left = folder.path().join(".a.env.0123456789abcdef");
        std::fs::copy(&path, &left).unwrap();
        hold(&path, LONG).unwrap().replace(b"A=2\n", stamp(&path)).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
        assert!(!left.exists());
    }

    #[test]
    fn what_is_not_ours_to_replace_is_refused() {
        let (folder, path) = file();
        may_replace(&path).unwrap();
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        for path in [link, folder.path().to_owned()] {
            assert!(matches!(may_replace(&path), Err(WriteError::NotAFile { .. })));
            assert!(matches!(hold(&path, LONG), Err(WriteError::NotAFile { .. })));
        }
        let none = folder.path().join("none");
        assert!(matches!(may_replace(&none), Err(WriteError::Step { reason: Errno::ENOENT, .. })));
        assert!(hold(&none, LONG).is_err());
    }
}
