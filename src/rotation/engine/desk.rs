//! What is known of one variable, between two looks at it.
//!
//! Invariant: what is remembered is of one document: what another one holds is neither
//! mended by it nor measured by it.

use std::collections::{BTreeMap, BTreeSet};
use std::ptr;
use std::sync::{Arc, Weak};

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::leased::Leased;
use crate::model::origin::Revision;
use crate::model::rotation::{Progress, Slot};
use crate::model::secret::SecretValue;
use crate::rotation::course::Act;
use crate::rotation::order::NotOrdered;
use crate::rotation::repair::Seen;
use crate::source::Source;
use crate::source::writable::Document;

/// One desk: whoever works at it has it alone.
pub(super) type DeskHandle = Arc<Mutex<Desk>>;

#[derive(Default)]
pub(super) struct Desk {
    /// Whose document it is.
    source: Option<Weak<dyn Source>>,
    /// The document as it was last intact: the keys that live, and no others.
    pub(super) seen: Option<Seen>,
    /// The same without values, as a decision needs it; none before the first look.
    pub(super) known: Option<Known>,
    /// The last document whose former versions were asked for, or that was written here.
    pub(super) asked_before: Option<Revision>,
    /// A write whose answer was lost: what it would have made.
    pub(super) unsure: Option<(Progress, Act)>,
    /// What was lent and is being replaced.
    pub(super) leased: Leased,
    /// What was told last.
    pub(super) told: Told,
}

impl Desk {
    /// From now on it is a document of this source.
    pub(super) fn turn_to(&mut self, source: &Arc<dyn Source>) {
        let is_it = |seen: &Weak<dyn Source>| ptr::addr_eq(seen.as_ptr(), Arc::as_ptr(source));
        if !self.source.as_ref().is_some_and(is_it) {
            self.forget_document();
            self.source = Some(Arc::downgrade(source));
        }
    }

    /// The document is the one at this place.
    pub(super) fn come_to(&mut self, place: &str) {
        if self.known.as_ref().is_some_and(|known| *known.place != *place) {
            self.forget_document();
        }
    }

    fn forget_document(&mut self) {
        (self.seen, self.known, self.asked_before, self.unsure) = (None, None, None, None);
    }
}

/// What was told last of one variable.
#[derive(Default)]
pub(super) struct Told {
    pub(super) failure: Option<NotOrdered>,
    pub(super) waiting: Vec<String>,
    pub(super) waits_said: Option<Instant>,
    /// Since when it waits.
    pub(super) waits_since: Option<Instant>,
}

/// A document without its values.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) place: Arc<str>,
    pub(super) progress: Progress,
    pub(super) there: BTreeSet<Slot>,
    /// What `NAME_ACTIVE` says, where that is a number.
    pub(super) active: Option<u32>,
    /// The numbers of keys that are the same as the variable itself.
    pub(super) same: BTreeSet<u32>,
}

impl Known {
    pub(super) fn of(document: &Document) -> Self {
        let progress = document.progress().cloned().unwrap_or_default();
        Self::new(Arc::clone(&document.place), progress, &document.values)
    }

    pub(super) fn new(
        place: Arc<str>,
        progress: Progress,
        values: &BTreeMap<Slot, Arc<SecretValue>>,
    ) -> Self {
        let current = values.get(&Slot::Current);
        let is_same = |value: &SecretValue| current.is_some_and(|current| current.same_as(value));
        let same = values.iter().filter_map(|(slot, value)| match slot {
            Slot::Numbered(number) if is_same(value) => Some(*number),
            _ => None,
        });
        Self {
            place,
            progress,
            there: values.keys().copied().collect(),
            active: values.get(&Slot::Active).and_then(|active| active.expose().parse().ok()),
            same: same.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::SourceName;
    use crate::source::env::{EnvSource, Environment};

    fn source(name: &str) -> Arc<dyn Source> {
        Arc::new(EnvSource::new(SourceName::new(name), Environment::default()))
    }

    #[test]
    fn nothing_of_one_document_is_remembered_at_another() {
        let (one, other) = (source("one"), source("other"));
        let known = || Known::new("a".into(), Progress::default(), &BTreeMap::new());
        let mut desk = Desk::default();
        desk.turn_to(&one);
        desk.known = Some(known());
        desk.turn_to(&Arc::clone(&one));
        desk.come_to("a");
        assert!(desk.known.is_some(), "the same one");
        desk.come_to("b");
        assert!(desk.known.is_none(), "another place");
        desk.known = Some(known());
        desk.turn_to(&other);
        assert!(desk.known.is_none(), "another source");
    }
}
