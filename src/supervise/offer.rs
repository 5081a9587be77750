//! What a program is to run with.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::model::key::Key;
use crate::model::secret::SecretValue;

/// One valid configuration.
pub struct Offer {
    /// The daemon's version (`7f3a.42`), where a daemon gave it.
    pub version: Option<Box<str>>,
    /// What the program gets.
    pub variables: BTreeMap<Key, Arc<SecretValue>>,
    /// Every name that the schema speaks of: none of them passes from our own environment.
    pub known: Arc<BTreeSet<Key>>,
}

/// The variables in which two configurations differ. Value-free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those with another value.
    pub changed: Vec<Key>,
    /// Those that were not there.
    pub added: Vec<Key>,
    /// Those that are not there any more.
    pub removed: Vec<Key>,
}

impl Offer {
    /// Whether a program would see the same.
    pub fn same_as(&self, other: &Self) -> bool {
        self.known == other.known && self.difference_to(other).is_empty()
    }

    /// What another one has otherwise.
    pub fn difference_to(&self, other: &Self) -> Difference {
        let mut difference = Difference::default();
        for (key, value) in &other.variables {
            match self.variables.get(key) {
                Some(ours) if ours.same_as(value) => {}
                Some(_) => difference.changed.push(key.clone()),
                None => difference.added.push(key.clone()),
            }
        }
        let removed = self.variables.keys().filter(|key| !other.variables.contains_key(*key));
        difference.removed.extend(removed.cloned());
        difference
    }
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.added.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer({:?}, {} variables)", self.version, self.variables.len())
    }
}
