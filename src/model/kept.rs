//! What is kept of a source for a start at which it cannot be asked.
//!
//! Must not know: where it is kept, or for how long it may be used.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::key::SourceName;
use super::layer::Layer;

/// What one source gave, as the last-known-good snapshot keeps it. A copy shares
/// the values.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The source's name in the settings.
    pub source: SourceName,
    /// What it reads, as the settings say it: a source of the same name that reads
    /// something else is another one. Value-free.
    pub identity: Arc<str>,
    /// When it was last known to hold just this.
    pub confirmed: SystemTime,
    /// How old it may become by what was in force then, where somebody else kept it:
    /// whoever only stands in with it makes it no younger. None for what we read.
    pub max_age: Option<Duration>,
    /// What of it was lent, and ends by itself.
    pub lent: Vec<KeptLease>,
    /// What it gave.
    pub layer: Layer,
    /// Whether something of that was taken away, since its lease is over: what is
    /// lacking then is unread, not missing.
    pub is_cut: bool,
}

/// Something that was lent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLease {
    /// The place of the values ([`super::layer::Place`]).
    pub place: Arc<str>,
    /// When it ends unless it is renewed; none where that is not known.
    pub ends: Option<SystemTime>,
}
