//! `[audit]`: where it is recorded who got what.
//!
//! Must not know: what a record says.

use std::ops::RangeInclusive;

use super::layers::Merged;
use super::raw::Raw;
use super::table::Table;
use super::{Opened, SettingsError};
use crate::access::audit::AuditConfig;
use crate::model::schema::kind::parse_bytes_size;

/// How large a file becomes before another one is begun.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How many full ones are kept.
const KEEP: u32 = 10;
/// The sizes that a file may have: a few lines, and what disks have.
const SIZES: RangeInclusive<u64> = 4096..=1 << 40;
/// How many full ones may be kept.
const MOST_KEPT: u32 = 10_000;

impl Opened {
    /// `[audit]`.
    pub(super) fn audit(&self, merged: &Merged<'_>, raw: &Raw) -> Result<Option<AuditConfig>, SettingsError> {
        let Some(raw) = &raw.audit else { return Ok(None) };
        let table = Table { opened: self, merged, at: &["audit"] };
        let path = table.target(&["path"], "write", &raw.path)?;
        let key = table.filled(&["key_file"], &raw.key_file)?;
        let key = self.reached("read", key, table.confined(&["key_file"]), || table.place(&["key_file"]))?;
        Ok(Some(AuditConfig {
            path: path.path,
            label: path.label,
            key_file: key,
            required: raw.required.unwrap_or(true),
            max_bytes: max_bytes(&table, raw.max_size.as_deref())?,
            keep: keep(&table, raw.keep)?,
        }))
    }
}

fn max_bytes(table: &Table<'_>, text: Option<&str>) -> Result<u64, SettingsError> {
    let Some(text) = text else { return Ok(MAX_BYTES) };
    let field = ["max_size"];
    let bytes = parse_bytes_size(text)
        .ok_or_else(|| table.wrong(&field, "is no size", "write a number of bytes such as \"64MiB\""))?;
    if SIZES.contains(&bytes) {
        Ok(bytes)
    } else {
        Err(table.wrong(&field, "must be from 4KiB to 1TiB", "write \"64MiB\", or remove it"))
    }
}

fn keep(table: &Table<'_>, written: Option<u32>) -> Result<u32, SettingsError> {
    match written {
        None => Ok(KEEP),
        Some(keep @ 1..=MOST_KEPT) => Ok(keep),
        Some(_) => {
            let clause = format!("must be from 1 to {MOST_KEPT}");
            let help = "write 10, or collect the full files elsewhere: a chain that has lost its begin cannot be \
                        checked from there";
            Err(table.wrong(&["keep"], &clause, help))
        }
    }
}
