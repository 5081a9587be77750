//! How a passphrase becomes a key, and how much of that is borne.
//!
//! Must not know: passphrases.

use super::trouble::OpenError;

/// How a passphrase becomes a key: Argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// In KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
    /// The salt.
    pub salt: [u8; 16],
}

impl Stretch {
    /// The second choice of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
    pub(super) fn usual(salt: [u8; 16]) -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4, salt }
    }

    /// Refuses what would take a machine's memory or time, before any is taken.
    pub(super) fn bounded(self) -> Result<Self, OpenError> {
        const MOST: Stretch = Stretch { memory_kib: 256 * 1024, passes: 10, lanes: 8, salt: [0; 16] };
        let refused = |what: String| Err(OpenError::Stretch { what });
        match self {
            Self { memory_kib, .. } if memory_kib > MOST.memory_kib => {
                refused(format!("{memory_kib} KiB of memory"))
            }
            Self { passes, .. } if passes > MOST.passes => refused(format!("{passes} passes")),
            Self { lanes, .. } if lanes > MOST.lanes => refused(format!("{lanes} lanes")),
            Self { memory_kib, passes, lanes, .. } if passes == 0 || lanes == 0 || memory_kib < 8 * lanes => {
                Err(OpenError::Damaged("Argon2id has no such parameters"))
            }
            bounded => Ok(bounded),
        }
    }
}
