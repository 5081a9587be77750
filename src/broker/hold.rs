//! What one source gave, and what of it is held when the source gives less.
//!
//! Owns: law 2. What cannot be read is held. What a remote source states to be
//! gone is held for [`GRACE`] where it is optional, and until somebody forgets it
//! where it is required; a local source's word counts at once. An atomic group is
//! held whole, so that its members stay of one revision. What a rotation took away, as
//! the document itself says, is gone at once. What an earlier daemon kept
//! of the source is the layer before its first whole one.
//! Pure: time is an argument.
//! Must not know: who wins; whether the whole is valid.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::key::Key;
use crate::model::layer::{Layer, Offer, Value};
use crate::model::origin::Location;
use crate::model::rotation::Slot;
use crate::model::schema::Schema;
use crate::source::{Fault, SourceError};

/// How long an optional value is held after its source stated that it is gone.
pub(super) const GRACE: Duration = Duration::from_mins(1);

/// By what it is decided what is held.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) schema: &'a Schema,
    pub(super) environment: &'a str,
    pub(super) service: Option<&'a str>,
    /// Whether a deletion is somebody else's statement.
    pub(super) is_remote: bool,
}

/// What is kept of one source.
#[derive(Debug, Clone, Default)]
pub(super) struct Share {
    /// What it offers, with what is held.
    pub(super) layer: Option<Layer>,
    /// What it offered the last time, without what is held. It shares the values.
    fetched: Option<Layer>,
    /// Why it could not be read, or not whole, the last time.
    pub(super) faults: Vec<Fault>,
    /// Whether it was ever read whole.
    pub(super) was_whole: bool,
    /// What it stated to be gone and is held all the same.
    pub(super) deleted: BTreeMap<Key, Deletion>,
    /// What an earlier daemon kept of it: the layer before all others, until it is
    /// read whole.
    recalled: Option<Layer>,
    /// Whether that layer stands in for it.
    pub(super) stands_in: bool,
    /// Whether what was kept is not all that there was.
    pub(super) is_cut: bool,
}

/// A deletion that does not count yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deletion {
    /// Since when it is known.
    pub(super) since: Instant,
    /// Whether it counts only when somebody says so.
    pub(super) until_forgotten: bool,
}

impl Share {
    /// Takes what a fetch gave. True if that is anything else than before.
    pub(super) fn take(
        &mut self,
        fetched: Result<Layer, SourceError>,
        rules: Rules<'_>,
        now: Instant,
    ) -> bool {
        let (new, faults) = match fetched {
            Ok(layer) => (Some(layer), Vec::new()),
            Err(error) => (error.rest.map(|rest| *rest), error.faults),
        };
        let is_whole = faults.is_empty();
        if is_whole && !self.was_whole {
            self.come_home(rules, now);
        }
        let mut moved = faults != self.faults || (is_whole && !self.was_whole);
        self.faults = faults;
        self.was_whole |= is_whole;
        let Some(new) = new else { return moved };
        let (layer, deleted) = self.merged(&new, rules, now);
        moved |=
            deleted != self.deleted || self.layer.as_ref().is_none_or(|old| !gives_the_same(old, &layer));
        (self.layer, self.fetched, self.deleted) = (Some(layer), Some(new), deleted);
        moved
    }

    /// Notes what an earlier daemon kept of it, or what is left of that.
    pub(super) fn recall(&mut self, layer: Layer, is_cut: bool) {
        (self.recalled, self.is_cut) = (Some(layer), is_cut);
    }

    /// What an earlier daemon knew of it, be it in use or not.
    pub(super) fn recalled(&self) -> Option<&Layer> {
        if self.stands_in { self.layer.as_ref() } else { self.recalled.as_ref() }
    }

    /// Whether it was read whole, or what was kept stands in for that.
    pub(super) fn is_complete(&self) -> bool {
        self.was_whole || self.stands_in
    }

    /// Lets what was kept stand in, where it was not read whole. True if it does so
    /// from now on.
    pub(super) fn stand_in(&mut self, rules: Rules<'_>, now: Instant) -> bool {
        let Some(recalled) = self.recalled.take() else { return false };
        self.lay_under(relocated(recalled, Location::from_snapshot), rules, now);
        self.stands_in = true;
        true
    }

    /// It is read whole: what an earlier daemon knew is the layer before, as if that
    /// daemon had never stopped.
    fn come_home(&mut self, rules: Rules<'_>, now: Instant) {
        if let Some(recalled) = self.recalled.take() {
            self.lay_under(recalled, rules, now);
        }
        self.is_cut = false;
        if std::mem::take(&mut self.stands_in) {
            self.layer = self.layer.take().map(|layer| relocated(layer, Location::into_itself));
        }
    }

    /// Lays a layer under what it gave so far, which was never the whole.
    fn lay_under(&mut self, old: Layer, rules: Rules<'_>, now: Instant) {
        if let Some(given) = self.layer.replace(old) {
            self.layer = Some(self.merged(&given, rules, now).0);
        }
    }

    /// The new layer with what is held of the present one, and the deletions.
    fn merged(&self, new: &Layer, rules: Rules<'_>, now: Instant) -> (Layer, BTreeMap<Key, Deletion>) {
        let Rules { schema, environment, service, is_remote } = rules;
        let is_whole = self.faults.is_empty();
        let Some(old) = self.layer.as_ref().filter(|_| is_remote) else {
            return (new.clone(), BTreeMap::new());
        };
        let (before, after) = (offered(old), offered(new));
        let mut deleted = BTreeMap::new();
        let mut held: BTreeSet<&Key> = BTreeSet::new();
        for key in before.difference(&after) {
            let Some(var) = schema.var(key).filter(|var| var.read_by(service)) else { continue };
            if var.implied_by.as_ref().is_some_and(|owner| is_retired(new, owner, key)) {
                continue;
            }
            held.insert(key);
            let until_forgotten = var.required_in(environment);
            match self.deleted.get(*key) {
                Some(known) => drop(deleted.insert((*key).clone(), Deletion { until_forgotten, ..*known })),
                // While it is not read whole, nobody states that something is gone.
                None if is_whole => {
                    deleted.insert((*key).clone(), Deletion { since: now, until_forgotten });
                }
                None => {}
            }
        }
        let mut waiting: BTreeSet<&Key> = BTreeSet::new();
        for group in schema.groups.iter().filter(|group| group.atomic) {
            let here: Vec<&Key> = group.vars.iter().filter(|key| before.contains(key)).collect();
            let is_torn =
                here.iter().any(|key| held.contains(*key)) || (!is_whole && places(old, &here).len() > 1);
            if is_torn {
                held.extend(here);
                // What is new in it is of the other revision.
                waiting.extend(group.vars.iter().filter(|key| !before.contains(key)));
            }
        }
        let is_held = |offer: &&Offer| held.contains(&offer.key);
        let theirs = new.offers.iter().filter(|offer| !is_held(offer) && !waiting.contains(&offer.key));
        let offers = theirs.chain(old.offers.iter().filter(is_held)).cloned().collect();
        let layer = Layer {
            source: new.source.clone(),
            places: new.places.clone(),
            offers,
            remarks: new.remarks.clone(),
        };
        (layer, deleted)
    }

    /// Optional values whose time is over are given up. They are named.
    pub(super) fn expire(&mut self, rules: Rules<'_>, now: Instant) -> Vec<Key> {
        let over = |deletion: &Deletion| !deletion.until_forgotten && now >= deletion.since + GRACE;
        let keys: Vec<Key> =
            self.deleted.iter().filter(|(_, deletion)| over(deletion)).map(|(key, _)| key.clone()).collect();
        self.give_up(&keys, rules, now);
        keys
    }

    /// Gives up values that the source stated to be gone, and with them what was
    /// held for their sake.
    pub(super) fn give_up(&mut self, keys: &[Key], rules: Rules<'_>, now: Instant) {
        if keys.is_empty() {
            return;
        }
        self.deleted.retain(|key, _| !keys.contains(key));
        if let Some(layer) = &mut self.layer {
            layer.offers.retain(|offer| !keys.contains(&offer.key));
        }
        self.judge_anew(rules, now);
    }

    /// Decides again what is held of what there is: the rules, or what is held, are
    /// other ones.
    pub(super) fn judge_anew(&mut self, rules: Rules<'_>, now: Instant) {
        if let Some(fetched) = self.fetched.take() {
            let (layer, deleted) = self.merged(&fetched, rules, now);
            (self.layer, self.fetched, self.deleted) = (Some(layer), Some(fetched), deleted);
        }
    }
}

/// A layer whose values come from other places. It shares the values.
pub(super) fn relocated(mut layer: Layer, to: impl Fn(Location) -> Location) -> Layer {
    for offer in &mut layer.offers {
        let place = std::mem::replace(&mut offer.origin.location, Location::Named(Box::default()));
        offer.origin.location = to(place);
    }
    layer
}

/// The names that a layer gives a value for; an empty one counts as unset.
pub(super) fn offered(layer: &Layer) -> BTreeSet<&Key> {
    let is_set = |offer: &&Offer| match &offer.value {
        Value::Literal(value) => !value.is_empty(),
        Value::Template(_) => true,
    };
    layer.offers.iter().filter(is_set).map(|offer| &offer.key).collect()
}

/// Whether the document that gives a rotated variable says itself that what the rotation
/// put beside it is not there any more. That is no deletion that might be a mistake, and
/// a key that leaked must not live on for a minute.
fn is_retired(layer: &Layer, owner: &Key, key: &Key) -> bool {
    let offer = layer.offers.iter().rfind(|offer| offer.key == *owner);
    let mark = offer.and_then(|offer| offer.origin.mark.as_ref());
    let slot = Slot::of_field(owner.as_str(), key.as_str());
    mark.zip(slot).is_some_and(|(mark, slot)| !mark.beside.contains(&slot))
}

/// The places from which a layer offers these names.
fn places<'l>(layer: &'l Layer, keys: &[&Key]) -> BTreeSet<Option<&'l str>> {
    let theirs = layer.offers.iter().filter(|offer| keys.contains(&&offer.key));
    theirs.map(|offer| offer.origin.location.place().map(|place| &**place)).collect()
}

/// Whether two layers offer the same from the same places.
fn gives_the_same(old: &Layer, new: &Layer) -> bool {
    let same = |(old, new): (&Offer, &Offer)| {
        old.key == new.key
            && old.origin == new.origin
            && match (&old.value, &new.value) {
                (Value::Literal(old), Value::Literal(new)) => old.same_as(new),
                // What it makes may differ where the text is the same.
                _ => false,
            }
    };
    old.offers.len() == new.offers.len()
        && old.offers.iter().zip(&new.offers).all(same)
        && old.places.len() == new.places.len()
        && old.places.iter().zip(&new.places).all(|(old, new)| old.label == new.label && old.mode == new.mode)
        && old.remarks.len() == new.remarks.len()
}

#[cfg(test)]
mod tests;
