//! What is ours for a moment: temporary names, and what a crash leaves of them.
//!
//! The writer holds a lock on what it makes; who sweeps takes only what it can
//! lock itself. There is a moment between creating and locking in which a
//! sweeper may be faster. It does no harm: the writer then finds that it cannot
//! lock its file, or that the file has lost its name, and makes another
//! ([`claim`]). So no age and no clock is needed to tell the dead from the living.
//! Invariant: only names of exactly our form are ever removed.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use nix::errno::Errno;

/// How many random names are tried before giving up.
pub(crate) const ATTEMPTS: u32 = 8;

const DIGITS: usize = 16;

/// A name beside `name` that nobody can guess: `.NAME.<16 hex digits>`.
pub(crate) fn beside(name: &OsStr) -> Result<OsString, Errno> {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{:016x}", random()?));
    Ok(temporary)
}

/// Whether a name is of the form that [`beside`] makes.
pub(crate) fn is_beside(candidate: &OsStr, name: &OsStr) -> bool {
    let rest = candidate.as_bytes().strip_prefix(b".").and_then(|rest| rest.strip_prefix(name.as_bytes()));
    rest.and_then(|rest| rest.strip_prefix(b".")).is_some_and(is_random)
}

/// The name of a new generation of a directory: `..2026_11_22_07_07_40.<16 hex
/// digits>`. The time is for people.
pub(crate) fn generation() -> Result<OsString, Errno> {
    let now = DateTime::<Utc>::from(SystemTime::now()).format("%Y_%m_%d_%H_%M_%S");
    Ok(format!("..{now}.{:016x}", random()?).into())
}

/// Whether a name is of the form that [`generation`] makes. The kubelet's own end
/// in a decimal number and are not ours.
pub(crate) fn is_generation(name: &OsStr) -> bool {
    let Some((time, random)) = name.as_bytes().strip_prefix(b"..").and_then(|rest| {
        let dot = rest.iter().position(|byte| *byte == b'.')?;
        Some((rest.get(..dot)?, rest.get(dot + 1..)?))
    }) else {
        return false;
    };
    let form = b"dddd_dd_dd_dd_dd_dd";
    let alike = |(byte, form): (&u8, &u8)| if *form == b'd' { byte.is_ascii_digit() } else { byte == form };
    time.len() == form.len() && time.iter().zip(form).all(alike) && is_random(random)
}

/// Whether a text is of the form of our random numbers: 16 hexadecimal digits.
pub(crate) fn is_random(text: &[u8]) -> bool {
    text.len() == DIGITS && text.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b))
}

fn random() -> Result<u64, Errno> {
    getrandom::u64().map_err(|_| Errno::EIO)
}

/// Takes what was just created for oneself, for as long as it is open. False if a
/// sweeper was faster: then another must be made.
pub(crate) fn claim(made: &File) -> std::io::Result<bool> {
    match made.try_lock() {
        Err(TryLockError::WouldBlock) => Ok(false),
        // A file system without locks is written to without them: nobody sweeps there.
        Err(TryLockError::Error(_)) => Ok(true),
        Ok(()) => Ok(made.metadata()?.nlink() > 0),
    }
}

/// Whether nobody writes what was found: it is then ours to remove.
pub(crate) fn is_abandoned(found: &File) -> bool {
    found.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_names_are_known_again() {
        let name = OsStr::new("app.env");
        assert!(is_beside(&beside(name).unwrap(), name));
        assert!(is_generation(&generation().unwrap()), "{:?}", generation());
    }

    #[test]
    fn other_names_are_not_taken_for_own() {
        for other in [
            "app.env",
            ".app.env",
            ".app.env.",
            ".app.env.0123456789abcde",
            ".app.env.0123456789abcdef0",
            ".app.env.0123456789ABCDEF",
            ".app.env.0123456789abcdeg",
            "app.env.0123456789abcdef",
            ".app.env.x.0123456789abcdef",
            ".other.0123456789abcdef",
        ] {
            assert!(!is_beside(OsStr::new(other), OsStr::new("app.env")), "{other}");
        }
        for other in [
            "..data",
            "..data_tmp",
            "..2026_11_22_07_07_40.123456789",
            "..2026_11_22_07_07_40",
            ".2026_11_22_07_07_40.0123456789abcdef",
            "..2026_11_22_07_07_4x.0123456789abcdef",
            "..2026_11_22_07_07.0123456789abcdef",
        ] {
            assert!(!is_generation(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn a_writer_notices_that_a_sweeper_was_faster() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made");
        let sweeper = File::create(&path).unwrap();
        let writer = File::open(&path).unwrap();
        assert!(is_abandoned(&sweeper));
        assert!(!claim(&writer).unwrap(), "the sweeper holds it");
        std::fs::remove_file(&path).unwrap();
        drop(sweeper);
        assert!(!claim(&writer).unwrap(), "it has lost its name");

        let writer = File::create(&path).unwrap();
        assert!(claim(&writer).unwrap());
        assert!(!is_abandoned(&File::open(&path).unwrap()), "the writer lives");
        drop(writer);
        assert!(is_abandoned(&File::open(&path).unwrap()));
    }
}
