//! `[snapshot]`: where the last-known-good snapshot is kept.
//!
//! Must not know: what is in one.

use std::path::PathBuf;
use std::time::Duration;

use super::layers::Merged;
use super::raw::{Raw, RawSnapshot};
use super::table::{Least, Table};
use super::{Opened, SettingsError};
use crate::last_good::SnapshotConfig;
use crate::source::key_file::KeyPlace;

/// How old what is in it may be.
const MAX_AGE: Duration = Duration::from_hours(24);
/// How long a start waits for the sources.
const START_GRACE: Duration = Duration::from_secs(2);
/// The longest that it may: whoever writes more meant `max_age`, or another unit.
const LONGEST_GRACE: Duration = Duration::from_hours(1);
/// What the name of the mark ends with, where none is written.
const MARK: &str = ".mark";
/// Where systemd puts credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

impl Opened {
    /// `[snapshot]`.
    pub(super) fn snapshot(
        &self,
        merged: &Merged<'_>,
        raw: &Raw,
    ) -> Result<Option<SnapshotConfig>, SettingsError> {
        let Some(raw) = &raw.snapshot else { return Ok(None) };
        let table = Table { opened: self, merged, at: &["snapshot"] };
        let path = table.target(&["path"], "write", &raw.path)?;
        let mark = match &raw.high_water {
            Some(mark) => table.target(&["high_water"], "write", mark)?,
            None => table.target(&["path"], "write", &format!("{}{MARK}", raw.path))?,
        };
        let start_grace =
            table.duration(&["start_grace"], raw.start_grace.as_deref(), START_GRACE, Least::Zero)?;
        if start_grace > LONGEST_GRACE {
            let help = "write \"2s\": while it lasts, nobody gets what only the snapshot has";
            return Err(table.wrong(&["start_grace"], "must not be longer than 1h", help));
        }
        Ok(Some(SnapshotConfig {
            path: path.path,
            label: path.label,
            mark: mark.path,
            mark_label: mark.label,
            key: self.snapshot_key(&table, raw)?,
            max_age: table.duration(&["max_age"], raw.max_age.as_deref(), MAX_AGE, Least::Some)?,
            start_grace,
        }))
    }

    fn snapshot_key(&self, table: &Table<'_>, raw: &RawSnapshot) -> Result<KeyPlace, SettingsError> {
        match (&raw.key_file, &raw.credential) {
            (Some(file), None) => {
                let file = table.filled(&["key_file"], file)?;
                let confined = table.confined(&["key_file"]);
                let place = || table.place(&["key_file"]);
                Ok(KeyPlace::File(self.reached("read", file, confined, place)?))
            }
            (None, Some(name)) => {
                let name = table.filled(&["credential"], name)?;
                if name.contains('/') || matches!(name, "." | "..") {
                    let help = "write the name before the colon of LoadCredentialEncrypted=";
                    return Err(table.wrong(&["credential"], "is no name of a credential", help));
                }
                if table.confined(&["credential"]).is_some() {
                    return Err(table.refused(&["credential"], "use a credential of the daemon"));
                }
                let folder = std::env::var_os(CREDENTIALS).filter(|folder| !folder.is_empty());
                Ok(KeyPlace::Credential { name: name.to_owned(), folder: folder.map(PathBuf::from) })
            }
            (Some(_), Some(_)) => Err(table.wrong(
                &["credential"],
                "is a second key beside `key_file`",
                "keep one of them: a snapshot has one key",
            )),
            (None, None) => Err(table.wrong(
                &[],
                "has no key",
                "write `key_file = \"FILE\"`, or `credential = \"NAME\"` for one of systemd",
            )),
        }
    }
}
