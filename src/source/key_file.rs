//! Where a key is kept: of the audit log, of sealed files, of the snapshot.
//!
//! Invariants: a key that others could read, or that could be guessed, is refused;
//! no error says anything of it but its length.
//! Must not know: what is done with the key.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;
use zeroize::Zeroizing;

use super::file::{FileFault, ShownPath};
use crate::sealed::Key;

/// In bytes. A shorter key of HMAC-SHA256 is weaker than its codes, and one of
/// AES-256 than its rounds.
const LEAST: usize = 32;
/// What has more was meant for something else.
const MOST: u64 = 4096;

/// In characters. A shorter passphrase is found by trying, however long each try
/// takes; more cannot be judged here.
pub const LEAST_PASSPHRASE: usize = 12;

/// Where a secret is that opens something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// A file with at least 32 bytes that nobody can guess.
    File(ShownPath),
    /// A file with a passphrase.
    Passphrase(ShownPath),
    /// A credential that systemd gave (`LoadCredentialEncrypted=NAME`): a key.
    Credential {
        /// Its name.
        name: String,
        /// `$CREDENTIALS_DIRECTORY`; none where systemd gave nothing.
        folder: Option<PathBuf>,
    },
}

/// Why a key is not used. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct KeyFileError {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
    /// What sort of failure.
    pub trouble: Trouble,
}

/// Why a key is not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It is not there.
    Missing,
    /// It is there, and cannot be read.
    Unreadable,
    /// Others could use it.
    Exposed,
    /// It cannot be one: too short, or no text.
    Unfit,
}

impl KeyPlace {
    /// Reads it; `what` says of what it is in errors: `snapshot key`. A line end at its
    /// end is not counted.
    ///
    /// # Errors
    /// [`KeyFileError`]: it is not there, too short, or others could read it.
    pub fn read(&self, what: &str) -> Result<Key, KeyFileError> {
        match self {
            Self::File(file) => as_key(read(file, what)?, what, &file.label),
            Self::Passphrase(file) => passphrase(file, what),
            Self::Credential { name, folder } => {
                let file = credential(name, folder.as_deref(), what)?;
                let bytes = guarded(&file, what, &in_the_unit(name), Guard::ServiceManager)?;
                as_key(fitting(&bytes, what, &file.label, &in_the_unit(name))?, what, &file.label)
            }
        }
    }

    /// As printed: `app.key`, `credential app`.
    pub fn label(&self) -> String {
        match self {
            Self::File(file) | Self::Passphrase(file) => file.label.clone(),
            Self::Credential { name, .. } => format!("credential {name}"),
        }
    }

    /// The file that is read, where there is one.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(file) | Self::Passphrase(file) => Some(file.path.clone()),
            Self::Credential { name, folder } => folder.as_ref().map(|folder| folder.join(name)),
        }
    }

    /// Whether it takes time and memory to make a key of it.
    pub fn is_stretched(&self) -> bool {
        matches!(self, Self::Passphrase(_))
    }
}

/// Reads a key; `what` says of what in errors: `audit key`. A line end at its end is
/// not counted.
///
/// # Errors
/// [`KeyFileError`]: it is not there, too short, or others could read it.
pub fn read(file: &ShownPath, what: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let label = &file.label;
    let make = format!("openssl rand -base64 48 > {label} && chmod 0400 {label}");
    fitting(&guarded(file, what, &make, Guard::Owner)?, what, label, &make)
}

fn fitting(bytes: &[u8], what: &str, label: &str, make: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let key = trimmed(bytes);
    if key.len() < LEAST {
        let message = format!("the {what} in {label} has {} bytes, and needs {LEAST}", key.len());
        return Err(unfit(message, make));
    }
    Ok(Zeroizing::new(key.to_vec()))
}

fn as_key(bytes: Zeroizing<Vec<u8>>, what: &str, label: &str) -> Result<Key, KeyFileError> {
    let help = format!("put {LEAST} random bytes or more there");
    Key::new(bytes).ok_or_else(|| unfit(format!("the {what} in {label} is too short"), &help))
}

fn passphrase(file: &ShownPath, what: &str) -> Result<Key, KeyFileError> {
    let label = &file.label;
    let make = format!("write it into {label}, on one line, and chmod 0400 {label}");
    let bytes = guarded(file, what, &make, Guard::Owner)?;
    let text = std::str::from_utf8(trimmed(&bytes)).map_err(|_| {
        unfit(format!("the {what} in {label} is no UTF-8 text"), "save it as UTF-8, or use a key file")
    })?;
    match text.chars().count() {
        0 => Err(unfit(format!("the {what} in {label} is empty"), &make)),
        count if count < LEAST_PASSPHRASE => {
            let message =
                format!("the {what} in {label} has {count} characters, and needs {LEAST_PASSPHRASE}");
            Err(unfit(message, "take five random words or more, and seal anew with them"))
        }
        _ => Ok(Key::Passphrase(Zeroizing::new(text.to_owned()))),
    }
}

/// The file of a credential.
fn credential(name: &str, folder: Option<&Path>, what: &str) -> Result<ShownPath, KeyFileError> {
    let folder = folder.ok_or_else(|| KeyFileError {
        message: format!(
            "the {what} is the credential {name}, and the service manager gave none: CREDENTIALS_DIRECTORY is \
             not set"
        ),
        help: format!("run it as a unit of systemd: {}; or name a key file", in_the_unit(name)),
        trouble: Trouble::Missing,
    })?;
    let path = folder.join(name);
    Ok(ShownPath { label: path.display().to_string(), path, beneath: None })
}

fn in_the_unit(name: &str) -> String {
    format!(
        "write LoadCredentialEncrypted={name} into the unit's [Service], with what `systemd-creds encrypt \
         --name={name}` made of the key"
    )
}

fn unfit(message: String, help: &str) -> KeyFileError {
    KeyFileError { message, help: help.to_owned(), trouble: Trouble::Unfit }
}

/// The bytes of a file that nobody else may read.
fn guarded(
    file: &ShownPath,
    what: &str,
    make: &str,
    guard: Guard,
) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let label = &file.label;
    let unread = |fault: FileFault| {
        let trouble = match fault {
            FileFault::NotFound => Trouble::Missing,
            FileFault::TooLarge { .. } => Trouble::Unfit,
            _ => Trouble::Unreadable,
        };
        let fault = fault.at(&label.as_str().into());
        let help =
            if trouble == Trouble::Missing { format!("{make}; or correct the path") } else { fault.help };
        let message = format!("the {what} cannot be read: {}", fault.message);
        KeyFileError { message, help, trouble }
    };
    let (bytes, metadata) = file.read_bytes(MOST).map_err(unread)?;
    let bytes = Zeroizing::new(bytes);
    if let Some(who) = too_wide(metadata.mode(), metadata.uid(), Uid::effective(), guard) {
        return Err(KeyFileError {
            message: format!(
                "{label} holds the {what} and has mode {:04o}: {who} may use it",
                metadata.mode() & 0o7777
            ),
            help: format!("chmod 0400 {label}, and take another key if somebody may have read it"),
            trouble: Trouble::Exposed,
        });
    }
    Ok(bytes)
}

/// Who says who may read a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// The file's mode.
    Owner,
    /// systemd, by an access list for the service's user alone: the mode shows that
    /// list's mask as the rights of root's group.
    ServiceManager,
}

/// Who could use the key beside us. A group may where Kubernetes mounts it so
/// (`fsGroup`): the file is root's, and we are not.
fn too_wide(mode: u32, owner: u32, us: Uid, guard: Guard) -> Option<&'static str> {
    let mounted = owner == 0 && (!us.is_root() || guard == Guard::ServiceManager);
    if mode & 0o007 != 0 {
        Some("everybody")
    } else if mode & 0o030 != 0 || (mode & 0o040 != 0 && !mounted) {
        Some("its group")
    } else if owner != 0 && owner != us.as_raw() {
        Some("the other user whose it is")
    } else {
        None
    }
}

fn trimmed(bytes: &[u8]) -> &[u8] {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    text.strip_suffix(b"\r").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[test]
    fn who_may_use_the_key() {
        let (root, us) = (Uid::from_raw(0), Uid::from_raw(1000));
        for (mode, owner, uid, fits) in [
            (0o100_400, 1000, us, true),
            (0o100_600, 1000, us, true),
            (0o100_400, 0, us, true),
            (0o100_440, 0, us, true),
            (0o100_640, 0, us, true),
            (0o100_440, 1000, us, false),
            (0o100_440, 0, root, false),
            (0o100_460, 0, us, false),
            (0o100_450, 0, us, false),
            (0o100_444, 0, us, false),
            (0o100_404, 0, us, false),
            (0o100_601, 1000, us, false),
            (0o100_400, 1001, us, false),
            (0o100_400, 1000, root, false),
        ] {
            let found = too_wide(mode, owner, uid, Guard::Owner);
            assert_eq!(found.is_none(), fits, "{mode:o} of {owner} for {uid}");
        }
    }

    #[test]
    fn the_rights_that_systemd_gives_are_not_refused() {
        let (root, us) = (Uid::from_raw(0), Uid::from_raw(1000));
        for (mode, owner, uid, fits) in [
            (0o100_400, 0, root, true),
            (0o100_440, 0, root, true),
            (0o100_440, 0, us, true),
            (0o100_400, 1000, us, true),
            (0o100_440, 1000, us, false),
            (0o100_460, 0, us, false),
            (0o100_444, 0, us, false),
            (0o100_400, 1001, us, false),
        ] {
            let found = too_wide(mode, owner, uid, Guard::ServiceManager);
            assert_eq!(found.is_none(), fits, "{mode:o} of {owner} for {uid}");
        }
    }

    fn file(folder: &Path, name: &str, text: &[u8], mode: u32) -> ShownPath {
        let path = folder.join(name);
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&path).unwrap();
        file.write_all(text).unwrap();
        ShownPath { path, label: name.to_owned(), beneath: None }
    }

    #[test]
    fn each_place_gives_its_sort_of_key() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = file(folder.path(), "key", &[b'k'; 33], 0o400);
        let words = file(folder.path(), "words", "five words or möre\n".as_bytes(), 0o600);
        let place = KeyPlace::File(bytes);
        assert!(
            matches!(place.read("key"), Ok(key) if key.id() == Key::new(vec![b'k'; 33].into()).unwrap().id())
        );
        let place = KeyPlace::Passphrase(words);
        assert!(
            matches!(place.read("passphrase"), Ok(Key::Passphrase(text)) if *text == "five words or möre")
        );
        let folder = Some(folder.path().to_owned());
        let place = KeyPlace::Credential { name: "key".into(), folder: folder.clone() };
        assert!(matches!(place.read("key"), Ok(Key::Bytes(_))));
        for (folder, says) in
            [(folder, "cannot be read: there is no file"), (None, "CREDENTIALS_DIRECTORY is not set")]
        {
            let error = KeyPlace::Credential { name: "none".into(), folder }.read("key").unwrap_err();
            assert!(error.trouble == Trouble::Missing && error.message.contains(says), "{error:?}");
            assert!(error.help.contains("LoadCredentialEncrypted=none"), "{error:?}");
        }
    }

    #[test]
    fn what_is_no_passphrase_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, mode, says) in [
            ("empty", &b"\n"[..], 0o600, "is empty"),
            ("short", b"elevenchars\n", 0o600, "has 11 characters, and needs 12"),
            ("binary", b"\xff\xfe\xfd and more", 0o600, "no UTF-8 text"),
            ("wide", b"long enough for this", 0o644, "has mode 0644: everybody may use it"),
        ] {
            let place = KeyPlace::Passphrase(file(folder.path(), name, text, mode));
            let error = place.read("passphrase").unwrap_err();
            assert!(error.message.contains(says), "{error:?}");
            assert!(!error.message.contains("elevenchars") && !error.help.contains("elevenchars"));
        }
    }

    #[test]
    fn one_line_end_is_none_of_the_key() {
        for (text, key) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("\n", "")]
        {
            assert_eq!(trimmed(text.as_bytes()), key.as_bytes());
        }
    }
}
