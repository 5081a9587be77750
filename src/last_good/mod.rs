//! The last-known-good snapshot: what sources gave, sealed on the disk, for a start
//! at which one of them cannot be asked.
//!
//! Owns: the snapshot's file and its high-water mark (`store`), how it is opened
//! (`key`), what is in it (`contents`), what of it may still be used (`usable`, pure),
//! and why it is not (`unusable`).
//! Invariants: it is written whole or not at all; what is wrong with one is said by
//! its own name, and is never taken for 'there is none'; nothing older than
//! `max_age`, or lent until a time that is over, is used.
//! Must not know: what a daemon does with it; which layer wins.

mod contents;
mod key;
mod store;
mod unusable;
mod usable;

pub use key::{examine_key, judge_key};
pub use store::{NotWritten, Store, Written};
pub use unusable::Unusable;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::model::kept::Kept;
use crate::model::schema::kind::go_duration;
use crate::source::key_file::KeyPlace;

/// `[snapshot]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// The file, absolute.
    pub path: PathBuf,
    /// As the user wrote it.
    pub label: String,
    /// The file of the high-water mark, absolute; by default beside it.
    pub mark: PathBuf,
    /// As shown.
    pub mark_label: String,
    /// Its key: a file or a credential.
    pub key: KeyPlace,
    /// The oldest that is used.
    pub max_age: Duration,
    /// How long a start waits for the sources before it is used.
    pub start_grace: Duration,
}

/// What a snapshot is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The schema's name.
    pub schema: String,
    /// SHA-256 of its text.
    pub schema_hash: [u8; 32],
    /// The environment.
    pub environment: String,
    /// The service; empty for the union of all.
    pub service: String,
    /// The daemon that writes it.
    pub instance: String,
}

/// What a snapshot holds that may be used.
#[derive(Debug)]
pub struct Recalled {
    /// What sources gave.
    pub kept: Vec<Kept>,
    /// What else is in it and may not be used, and why: value-free, a sentence each.
    pub dropped: Vec<String>,
    /// When it was written.
    pub written: SystemTime,
    /// Which one it is.
    pub generation: u64,
    /// Why a rollback to it could not be noticed, if so.
    pub unguarded: Option<String>,
}

/// The last second of the year 9999: what is later cannot be written.
const LAST_SECOND: u64 = 253_402_300_799;

/// A time in words: RFC 3339, UTC.
fn time(time: SystemTime) -> String {
    let time = DateTime::<Utc>::from_timestamp(to_seconds(time), 0).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A span in words, whole seconds.
pub fn span(span: Duration) -> String {
    go_duration(i128::from(span.as_secs()) * 1_000_000_000)
}

/// A time as a container has it: seconds since 1970.
fn to_seconds(time: SystemTime) -> i64 {
    let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
    time.duration_since(UNIX_EPOCH).map_or_else(|error| -whole(error.duration()), whole)
}

/// That as a time; what cannot be written, as the nearest one that can.
fn from_seconds(seconds: i64) -> SystemTime {
    let span = Duration::from_secs(seconds.unsigned_abs().min(LAST_SECOND));
    let time = if seconds >= 0 { UNIX_EPOCH.checked_add(span) } else { UNIX_EPOCH.checked_sub(span) };
    time.unwrap_or(UNIX_EPOCH)
}
