//! Sources: each reads one backend and hands over a [`Layer`]. Nothing here
//! knows which layer wins.

pub mod directory;
pub mod dotenv;
pub mod env;
pub mod file;
pub mod structured;

use std::collections::BTreeSet;

use crate::model::key::{Key, SourceName};
use crate::model::layer::Layer;
use crate::model::origin::Location;

/// A place that values come from.
pub trait Source {
    /// Its name in the settings.
    fn name(&self) -> &SourceName;

    /// Reads everything it has.
    ///
    /// `known` are the names that the schema declares, replaces or retires: a
    /// source that shares its place with strangers (the process environment)
    /// takes those and what looks like a slip of the pen for one of them.
    ///
    /// # Errors
    /// [`SourceError`] where it could not be read: never the same as 'holds
    /// nothing'.
    fn fetch(&self, known: &BTreeSet<Key>) -> Result<Layer, SourceError>;
}

/// A source that could not be read, with everything that was wrong in one run.
/// Value-free.
#[derive(Debug, thiserror::Error)]
#[error("source '{source_name}' could not be read: {}", .faults.first().map_or("", |f| f.message.as_str()))]
pub struct SourceError {
    /// The source's name in the settings.
    pub source_name: SourceName,
    /// What is wrong, at least one.
    pub faults: Vec<Fault>,
}

/// One reason why a source could not be read. Value-free: a malformed line is
/// never quoted, since it may be a piece of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What sort of failure.
    pub kind: FaultKind,
    /// Where.
    pub location: Location,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Fault {
    /// A value that no environment can carry: C ends its strings there.
    fn nul(key: &Key, location: Location) -> Self {
        Self {
            kind: FaultKind::Malformed,
            location,
            message: format!("{key} holds a NUL byte, which no environment can carry"),
            help: "store text; base64 carries binary data".into(),
        }
    }
}

/// Sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It is not there, or does not answer (DLC050).
    Unreachable,
    /// It refuses us (DLC051).
    NotPermitted,
    /// It was read but cannot be understood (DLC050, with the place).
    Malformed,
}
