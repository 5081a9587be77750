//! The key of a snapshot: read each time that it is needed, and not kept.
//!
//! Must not know: what is done with it.

use super::SnapshotConfig;
use crate::sealed::Key;
use crate::source::key_file::{KeyFileError, KeyPlace, Trouble};

/// What to do where there is a snapshot and no key: the advice to make one would cost
/// what is in it.
const PUT_BACK: &str =
    "put the key that it was sealed with back where the settings say: a new key opens nothing that is there";

/// Refuses a key that is there and must not be used: others could read it, or guess
/// it. One that is not there, or cannot be read, costs nothing but the snapshot.
///
/// # Errors
/// [`KeyFileError`]
pub fn judge_key(config: &SnapshotConfig) -> Result<(), KeyFileError> {
    match read(config) {
        Err(error) if matches!(error.trouble, Trouble::Exposed | Trouble::Unfit) => Err(error),
        _ => Ok(()),
    }
}

/// Whether the key can be had now.
///
/// # Errors
/// [`KeyFileError`]
pub fn examine_key(config: &SnapshotConfig) -> Result<(), KeyFileError> {
    read(config).map(drop)
}

/// The key of this snapshot.
pub(super) fn read(config: &SnapshotConfig) -> Result<Key, KeyFileError> {
    config.key.read("snapshot's key").map_err(|error| {
        let is_lacking = matches!(error.trouble, Trouble::Missing | Trouble::Unfit);
        if !is_lacking || config.path.symlink_metadata().is_err() {
            return error;
        }
        let help = match config.key {
            KeyPlace::Credential { .. } => format!("{}; {PUT_BACK}", error.help),
            KeyPlace::File(_) | KeyPlace::Passphrase(_) => PUT_BACK.to_owned(),
        };
        KeyFileError { help, ..error }
    })
}
