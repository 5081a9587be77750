//! The file with the key of the chain.
//!
//! Invariants: a key that others could read, or that could be guessed, is refused;
//! no error says anything of it but its length.
//! Must not know: what is done with the key.

use std::os::unix::fs::MetadataExt as _;

use nix::unistd::Uid;

use super::AuditError;
use super::chain::ChainKey;
use crate::source::file::{FileFault, ShownPath};

/// In bytes. A shorter key of HMAC-SHA256 is weaker than its codes.
const LEAST: usize = 32;
/// What has more was meant for something else.
const MOST: u64 = 4096;

/// Reads the key. A line end at its end is not counted.
pub(super) fn read(file: &ShownPath) -> Result<ChainKey, AuditError> {
    let label = &file.label;
    let make = format!("openssl rand -base64 48 > {label} && chmod 0400 {label}");
    let unread = |fault: FileFault| {
        let is_missing = matches!(fault, FileFault::NotFound);
        let fault = fault.at(&label.as_str().into());
        let help = if is_missing { format!("{make}; or correct the path") } else { fault.help };
        AuditError { message: format!("the audit key cannot be read: {}", fault.message), help }
    };
    let (bytes, metadata) = file.read_bytes(MOST).map_err(unread)?;
    if let Some(who) = too_wide(metadata.mode(), metadata.uid(), Uid::effective()) {
        return Err(AuditError {
            message: format!(
                "{label} holds the audit key and has mode {:04o}: {who} may use it",
                metadata.mode() & 0o7777
            ),
            help: format!("chmod 0400 {label}, and take another key if somebody may have read it"),
        });
    }
    let key = trimmed(&bytes);
    if key.len() < LEAST {
        return Err(AuditError {
            message: format!("the audit key in {label} has {} bytes, and needs {LEAST}", key.len()),
            help: make,
        });
    }
    Ok(ChainKey::new(key))
}

/// Who could use the key beside us. A group may where Kubernetes mounts it so
/// (`fsGroup`): the file is root's, and we are not.
fn too_wide(mode: u32, owner: u32, us: Uid) -> Option<&'static str> {
    let mounted = owner == 0 && !us.is_root();
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
            assert_eq!(too_wide(mode, owner, uid).is_none(), fits, "{mode:o} of {owner} for {uid}");
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
