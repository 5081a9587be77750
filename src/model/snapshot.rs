//! What is published: one generation of a validated configuration.
//!
//! Pure. Invariants: only a [`Validated`] becomes a [`Snapshot`], and nothing
//! changes in one afterwards; a version names one content for as long as its
//! instance lives.
//! Must not know: who may read it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::key::{Key, SourceName};
use super::validate::{Delivered, Validated};

/// Which generation of which daemon: `7f3a.42`. Generations count from 1 and
/// begin anew with each instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    instance: Arc<str>,
    generation: u64,
}

impl Version {
    /// A version of this instance.
    pub fn new(instance: Arc<str>, generation: u64) -> Self {
        Self { instance, generation }
    }

    /// The daemon's random name, made anew at every start.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The number of the generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.instance, self.generation)
    }
}

/// One published configuration.
#[derive(Debug)]
pub struct Snapshot {
    version: Version,
    since: SystemTime,
    causes: Vec<Cause>,
    variables: Vec<Delivered>,
}

/// A change that led to a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// The source that changed.
    pub source: SourceName,
    /// When that was noticed.
    pub noticed: Instant,
}

impl Snapshot {
    /// What validated, without what is withheld (`stale = "refuse"`).
    pub fn new(
        version: Version,
        since: SystemTime,
        causes: Vec<Cause>,
        validated: &Validated,
        withheld: &BTreeSet<Key>,
    ) -> Self {
        let given = validated.variables().iter().filter(|delivered| !withheld.contains(&delivered.key));
        Self { version, since, causes, variables: given.cloned().collect() }
    }

    /// Which one it is.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// When it was published.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// What led to it.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// Its variables, in schema order.
    pub fn variables(&self) -> &[Delivered] {
        &self.variables
    }

    /// Whether it holds the same names with the same values. Where they come from
    /// may differ.
    pub fn holds_the_same(&self, validated: &Validated, withheld: &BTreeSet<Key>) -> bool {
        let mut given = validated.variables().iter().filter(|delivered| !withheld.contains(&delivered.key));
        self.variables.iter().all(|ours| {
            given.next().is_some_and(|theirs| ours.key == theirs.key && ours.value.same_as(&theirs.value))
        }) && given.next().is_none()
    }
}
