//! Which file it is, and in which state.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// Which file it is, and in which state: another stamp is another content. Taken
/// before the first byte is read, so that a write in between shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device and inode.
    pub file: (u64, u64),
    /// Size in bytes.
    pub size: u64,
    /// When it was last written: seconds and nanoseconds.
    pub written: (i64, i64),
}

impl Stamp {
    /// That of a file that was looked at.
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
