//! What a broker is to do, as settings and schema say it; exchanged whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::model::key::{Key, SourceName};
use crate::model::schema::Schema;
use crate::source::Source;
use crate::source::env::Environment;

/// All of it.
#[derive(Clone)]
pub struct Plan {
    /// The schema.
    pub schema: Arc<Schema>,
    /// The environment: one of the schema's.
    pub environment: String,
    /// The service; none means all.
    pub service: Option<String>,
    /// The process's environment, which references may look at.
    pub process: Environment,
    /// The sources, lowest first.
    pub sources: Vec<Planned>,
    /// Remote sources that are not asked: offline.
    pub passed_over: Vec<SourceName>,
    /// How changes are gathered.
    pub debounce: Debounce,
    /// Whether findings may quote plain values: only where none but the person who asked
    /// reads them.
    pub quotes: bool,
}

/// One source.
#[derive(Clone)]
pub struct Planned {
    /// Itself. One that two plans share goes on as it is.
    pub source: Arc<dyn Source>,
    /// Its type in the settings.
    pub kind: &'static str,
    /// What it reads, as the settings say it ([`crate::model::kept::Kept`]).
    pub identity: Arc<str>,
    /// How old what it gave may become before DLC052.
    pub max_age: Duration,
}

/// How long changes gather before they become one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debounce {
    /// So long after the last change.
    pub min: Duration,
    /// So long after the first at the latest; not less than `min`.
    pub max: Duration,
}

impl Default for Debounce {
    fn default() -> Self {
        Self { min: Duration::from_millis(50), max: Duration::from_secs(2) }
    }
}

impl Plan {
    /// The names that sources may take from a place they share with strangers.
    pub(super) fn known(&self) -> Arc<BTreeSet<Key>> {
        Arc::new(self.schema.known_names())
    }
}
