//! What is published: one generation of a validated configuration.
//!
//! Pure. Invariants: only a [`Validated`] becomes a [`Snapshot`], and nothing
//! changes in one afterwards; a version names one content for as long as its
//! instance lives. Which key of a rotation a value is belongs to the content: who asks
//! for keys is told of it, and deliveries find the bytes that they have.
//! Must not know: who may read it.

use std::collections::{BTreeMap, BTreeSet};
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

    /// The generation that a text means: `7f3a.41`. None where it is of another
    /// instance, or of none that was published until this one.
    pub fn generation_of(&self, text: &str) -> Option<u64> {
        let (instance, generation) = text.rsplit_once('.')?;
        let generation = generation.parse().ok()?;
        (instance == self.instance() && generation <= self.generation).then_some(generation)
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
    variables: Vec<Arc<Delivered>>,
    /// Every name that there is or was.
    moved: BTreeMap<Key, Moved>,
}

/// How one name came to what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// The generation in which it last became another, came or went.
    pub last: u64,
    /// Where it stands among the variables; none where it is gone.
    pub at: Option<usize>,
    /// Whether it has a value, but one that is too old to be given (`stale = "refuse"`).
    pub withheld: bool,
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
    /// What validated, without what is withheld (`stale = "refuse"`), after what was
    /// published `before` it by the same instance.
    pub fn new(
        version: Version,
        since: SystemTime,
        causes: Vec<Cause>,
        validated: &Validated,
        withheld: &BTreeSet<Key>,
        before: Option<&Self>,
    ) -> Self {
        let given = validated.variables().iter().filter(|delivered| !withheld.contains(&delivered.key));
        let variables: Vec<_> = given.cloned().map(Arc::new).collect();
        let mut moved = before.map(|before| before.moved.clone()).unwrap_or_default();
        let old = before.map(|before| before.variables.as_slice()).unwrap_or_default();
        for (at, new) in variables.iter().enumerate() {
            let was = moved.get(&new.key).copied();
            let before = was.and_then(|was| old.get(was.at?));
            let is_same = before.is_some_and(|before| is_same(before, new));
            let last = was.filter(|_| is_same).map_or(version.generation, |was| was.last);
            moved.insert(new.key.clone(), Moved { last, at: Some(at), withheld: false });
        }
        for key in withheld {
            let gone = Moved { last: version.generation, at: None, withheld: false };
            moved.entry(key.clone()).or_insert(gone);
        }
        for (key, moved) in &mut moved {
            let is_gone = moved.at.is_some_and(|at| variables.get(at).is_none_or(|one| one.key != *key));
            let is_withheld = withheld.contains(key);
            if is_gone || moved.withheld != is_withheld {
                let at = moved.at.filter(|_| !is_gone);
                *moved = Moved { last: version.generation, at, withheld: is_withheld };
            }
        }
        Self { version, since, causes, variables, moved }
    }

    /// The names that became another, came or went after this generation, which is
    /// one of the same instance; all that there ever were after generation 0. In schema
    /// order, those that went last.
    pub fn changed_after(&self, generation: u64) -> impl Iterator<Item = &Key> {
        let mut changed: Vec<(&Key, &Moved)> =
            self.moved.iter().filter(|(_, moved)| moved.last > generation).collect();
        changed.sort_by_key(|(_, moved)| moved.at.unwrap_or(usize::MAX));
        changed.into_iter().map(|(key, _)| key)
    }

    /// The generation in which any of these last became another, came or went; 0
    /// where none ever was there.
    pub fn last_changed(&self, mut of: impl FnMut(&Key) -> bool) -> u64 {
        self.moved.iter().filter(|(key, _)| of(key)).map(|(_, moved)| moved.last).max().unwrap_or(0)
    }

    /// Every name that there is or was, in their order.
    pub fn names(&self) -> impl Iterator<Item = (&Key, Moved)> {
        self.moved.iter().map(|(key, moved)| (key, *moved))
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
    pub fn variables(&self) -> &[Arc<Delivered>] {
        &self.variables
    }

    /// Whether it holds the same names with the same values, which are the same keys of
    /// rotations, and withholds the same. Where they come from may differ.
    pub fn holds_the_same(&self, validated: &Validated, withheld: &BTreeSet<Key>) -> bool {
        let mut given = validated.variables().iter().filter(|delivered| !withheld.contains(&delivered.key));
        self.variables
            .iter()
            .all(|ours| given.next().is_some_and(|theirs| ours.key == theirs.key && is_same(ours, theirs)))
            && given.next().is_none()
            && self.moved.iter().filter(|(_, moved)| moved.withheld).map(|(key, _)| key).eq(withheld)
    }
}

/// Whether two values of a name are the same to everybody who asks for them.
fn is_same(one: &Delivered, other: &Delivered) -> bool {
    one.value.same_as(&other.value) && one.origin.mark == other.origin.mark
}
