//! The words and widths that all parts of a container share.

use std::fmt;

/// Bytes of a key, a salt, a hash.
pub(super) const WIDTH: usize = 32;
/// Bytes of a nonce of AES-GCM.
pub(super) const NONCE: usize = 12;
/// Bytes of a tag of AES-GCM.
pub(super) const TAG: usize = 16;

/// What a container is for: one is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A file that may be committed.
    File,
    /// The last-known-good snapshot.
    Snapshot,
    /// The high-water mark of snapshots: a container that holds nothing.
    Mark,
}

impl Purpose {
    pub(super) fn byte(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Snapshot => 2,
            Self::Mark => 3,
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "sealed file",
            Self::Snapshot => "snapshot",
            Self::Mark => "high-water mark",
        })
    }
}

/// Which key: the first bytes of a value that is derived from it. It tells nothing
/// of the key, and is the same in every container; a passphrase has another one in
/// each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
