//! What somebody else's write did to a document, and how it is mended.
//!
//! Pure, over what is there now and what was there before. Invariants: of two states the
//! one that was written more often holds, so that what was retired or compromised does
//! not come back; a key that is noted is found again by its print, wherever it is; a new
//! value of the variable itself is taken at its word, and the key that signed before is
//! verified with from then on; all of it is one write.
//! Must not know: where a document lies; whether anybody acknowledged anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::model::key::Key;
use crate::model::rotation::{KeyNote, Kid, Phase, Print, Progress, Slot};
use crate::model::schema::Strategy;
use crate::model::secret::SecretValue;
use crate::source::writable::{Change, Document};

/// What a rotator remembers of a document: the state, and the values that it notes.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The state.
    pub progress: Progress,
    /// The keys that live.
    pub values: BTreeMap<Slot, Arc<SecretValue>>,
}

impl Seen {
    /// What is to be remembered of a document; none before its first rotation.
    pub fn of(document: &Document) -> Option<Self> {
        let progress = document.progress()?.clone();
        let is_noted = |slot: &Slot| progress.keys.contains_key(slot);
        let live = document.values.iter().filter(|(slot, _)| is_noted(slot));
        let values = live.map(|(slot, value)| (*slot, Arc::clone(value))).collect();
        Some(Self { progress, values })
    }

    /// The later of two.
    pub fn later(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) if other.progress.writes > one.progress.writes => Some(other),
            (None, other) => other,
            (one, _) => one,
        }
    }
}

/// Everything that it depends on.
#[derive(Debug)]
pub struct Case<'a> {
    /// The variable.
    pub owner: &'a Key,
    /// How it is rotated.
    pub strategy: Strategy,
    /// How many numbers its ring has.
    pub slots: u32,
    /// What is there.
    pub document: &'a Document,
    /// What was there.
    pub seen: Option<&'a Seen>,
    /// What a new key would be called.
    pub fresh: &'a Kid,
    /// Seconds since 1970.
    pub now: u64,
}

/// How a document is.
#[derive(Debug)]
pub enum Verdict {
    /// As the state says, or no rotation of it ever began.
    Intact,
    /// One write makes it whole.
    Mend(Box<Mending>),
    /// The key that signs is gone, and nobody has it: a sentence.
    Lost(String),
}

/// What is to be written; the state's new keys still lack their prints.
#[derive(Debug)]
pub struct Mending {
    /// What was wrong, and what becomes of it, a sentence each.
    pub what: Vec<String>,
    /// The write.
    pub change: Change,
}

/// Whether this is the key that was noted; a note without a print is of any.
fn is_of(note: &KeyNote, value: &SecretValue) -> bool {
    note.print.as_ref().is_none_or(|print| *print == Print::of(&note.kid, value))
}

/// Judges a document.
pub fn judge(case: &Case<'_>) -> Verdict {
    let here = case.document.progress();
    let later =
        case.seen.map(|seen| &seen.progress).filter(|seen| here.is_none_or(|here| here.writes < seen.writes));
    let Some(truth) = later.or(here) else { return Verdict::Intact };
    let mut mender = Mender {
        case,
        went_back: later.is_some() && here.is_some(),
        progress: truth.clone(),
        what: Vec::new(),
        set: BTreeMap::new(),
        remove: BTreeSet::new(),
    };
    if later.is_some() {
        let owner = case.owner;
        mender.what.push(if here.is_some() {
            format!("the state of {owner}'s rotation was an older one")
        } else {
            format!("the state of {owner}'s rotation was gone")
        });
    }
    mender.mend()
}

struct Mender<'a> {
    case: &'a Case<'a>,
    /// An older state was put back, and with it perhaps keys that were retired.
    went_back: bool,
    progress: Progress,
    what: Vec<String>,
    set: BTreeMap<Slot, Arc<SecretValue>>,
    remove: BTreeSet<Slot>,
}

impl Mender<'_> {
    fn mend(mut self) -> Verdict {
        let there = self.case.document.values.get(&Slot::Current).cloned();
        let signs = self.progress.keys.get(&Slot::Current).cloned();
        if let Some(signs) = signs {
            let lost = self.find(Slot::Current, &signs);
            match (there, lost) {
                (Some(there), _) if is_of(&signs, &there) => {}
                (Some(there), lost) if !(lost.is_some() && self.is_unwelcome(&there)) => {
                    self.adopt(there, &signs, lost);
                }
                (_, Some(lost)) => self.put_back(Slot::Current, lost),
                (_, None) => {
                    return Verdict::Lost(format!(
                        "{} is gone from {}, and no version of it is left",
                        self.case.owner, self.case.document.place
                    ));
                }
            }
        }
        self.remove_what_came_back();
        self.put_back_the_others();
        self.straighten();
        self.remove_copies();
        self.point_at_the_active();
        let is_intact = self.what.is_empty() && self.set.is_empty() && self.remove.is_empty();
        if is_intact {
            return Verdict::Intact;
        }
        self.progress.clock = self.progress.clock.max(self.case.now);
        let set: Vec<_> = self.set.into_iter().collect();
        let remove = self.remove.into_iter().filter(|slot| self.case.document.values.contains_key(slot));
        let remove = remove.collect();
        let change = Change { set, remove, progress: self.progress };
        Verdict::Mend(Box::new(Mending { what: self.what, change }))
    }

    fn name(&self, slot: Slot) -> String {
        match slot {
            Slot::Kept => format!("the value before {}", self.case.owner),
            slot => slot.field(self.case.owner.as_str()),
        }
    }

    /// A noted key: in its slot, or wherever it is.
    fn find(&self, slot: Slot, note: &KeyNote) -> Option<Arc<SecretValue>> {
        let own = self.case.document.values.get(&slot);
        let seen = self.case.seen.map(|seen| &seen.values);
        let all = self.case.document.values.values().chain(seen.into_iter().flat_map(BTreeMap::values));
        // Without a print only its own slot can have it.
        let mut all = all.filter(|_| note.print.is_some());
        own.filter(|value| is_of(note, value)).or_else(|| all.find(|value| is_of(note, value))).cloned()
    }

    fn put_back(&mut self, slot: Slot, value: Arc<SecretValue>) {
        let was = if self.case.document.values.contains_key(&slot) { "was another" } else { "was gone" };
        self.what.push(format!("{} {was}, and is there again", self.name(slot)));
        self.set.insert(slot, value);
    }

    /// Somebody put another value in the place of the key that signs.
    fn adopt(&mut self, found: Arc<SecretValue>, signed: &KeyNote, lost: Option<Arc<SecretValue>>) {
        match self.case.strategy {
            Strategy::Ring => self.adopt_in_ring(found, lost),
            Strategy::Overlap => self.adopt_with_overlap(&found, signed, lost),
            _ => {
                let note = self.named(&found);
                let owner = self.case.owner;
                self.what.push(format!("{owner} was changed by hand, and that holds"));
                self.progress.keys = BTreeMap::from([(Slot::Current, note)]);
                self.remove.insert(Slot::Kept);
                self.begin_anew(Phase::Steady);
            }
        }
    }

    /// The note of a value that signs from now on: its own, if it has one.
    fn named(&mut self, found: &SecretValue) -> KeyNote {
        let noted = self.progress.keys.iter().filter(|(slot, _)| **slot != Slot::Current);
        let known = noted.map(|(_, note)| note).find(|note| note.print.is_some() && is_of(note, found));
        let not_before = Some(self.case.now);
        if let Some(known) = known {
            return KeyNote { not_before, ..known.clone() };
        }
        self.progress.count = self.progress.count.saturating_add(1);
        KeyNote { kid: self.case.fresh.clone(), print: None, not_before, rest: serde_json::Map::new() }
    }

    fn begin_anew(&mut self, phase: Phase) {
        let now = self.case.now.max(self.progress.clock);
        self.progress.phase = phase;
        self.progress.since = now;
        self.progress.rotated = Some(now);
        self.progress.retire_after = None;
        self.progress.undone = false;
    }

    fn adopt_with_overlap(
        &mut self,
        found: &Arc<SecretValue>,
        signed: &KeyNote,
        lost: Option<Arc<SecretValue>>,
    ) {
        let owner = self.case.owner;
        let is_found = |note: &KeyNote| note.print.is_some() && is_of(note, found);
        let notes = &self.progress.keys;
        let note_in = |slot: Slot| notes.get(&slot).filter(|note| !is_found(note)).cloned();
        let is_activated = self.progress.phase == Phase::Activated;
        // Before the activation the next key has signed nothing.
        let older = note_in(Slot::Previous).filter(|_| is_activated);
        let oldest = note_in(Slot::Next).filter(|_| is_activated);
        let (Some(lost), None) = (lost.clone(), older.as_ref().and(oldest.as_ref())) else {
            let Some(lost) = lost else { return self.adopt_without_the_one_before(found) };
            self.what.push(format!(
                "{owner} was changed by hand while three keys were verified with, and was changed back"
            ));
            self.set.insert(Slot::Current, lost);
            return;
        };
        let note = self.named(found);
        let mut keys = BTreeMap::from([(Slot::Current, note), (Slot::Previous, signed.clone())]);
        self.what.push(format!(
            "{owner} was changed by hand: that holds, and the key before is verified with as {}",
            self.name(Slot::Previous)
        ));
        self.set.insert(Slot::Previous, lost);
        let had_next = self.progress.keys.contains_key(&Slot::Next);
        // One that is older still goes where there is a place that is verified with.
        if let Some(older) = older.or(oldest) {
            if let Some(value) = self.find(Slot::Previous, &older) {
                self.set.insert(Slot::Next, value);
                keys.insert(Slot::Next, older);
            }
        } else if had_next {
            self.remove.insert(Slot::Next);
        }
        self.progress.keys = keys;
        self.begin_anew(Phase::Activated);
    }

    /// The key that signed before is nowhere any more.
    fn adopt_without_the_one_before(&mut self, found: &Arc<SecretValue>) {
        let owner = self.case.owner;
        let note = self.named(found);
        self.what.push(if self.progress.is_compromised(found) {
            format!(
                "{owner} is a key that leaked, and the one that took its place is lost: \
                 dlconf rotate {owner} --compromised replaces it"
            )
        } else {
            format!("{owner} was changed by hand: that holds, and the key before is lost")
        });
        let before = std::mem::take(&mut self.progress.keys);
        self.progress.keys =
            before.into_iter().filter(|(_, note)| !(note.print.is_some() && is_of(note, found))).collect();
        let phase = self.progress.phase;
        self.progress.keys.insert(Slot::Current, note);
        self.begin_anew(phase);
        for slot in [Slot::Next, Slot::Previous] {
            let there = self.case.document.values.get(&slot);
            if there.is_some_and(|there| there.same_as(found)) {
                self.remove.insert(slot);
            }
        }
    }

    fn adopt_in_ring(&mut self, found: Arc<SecretValue>, lost: Option<Arc<SecretValue>>) {
        let owner = self.case.owner;
        let numbered = |slot: &Slot| if let Slot::Numbered(number) = slot { Some(*number) } else { None };
        let noted = self.progress.keys.iter();
        let known = noted
            .filter(|(_, note)| note.print.is_some() && is_of(note, &found))
            .find_map(|(slot, _)| numbered(slot));
        let there = self.case.document.values.keys().chain(self.progress.keys.keys());
        let highest = there.filter_map(numbered).max().unwrap_or(0);
        let number = known.unwrap_or(highest.saturating_add(1));
        if let (true, Some(lost)) = (number > self.case.slots, lost) {
            self.what.push(format!("{owner} was changed by hand, its ring is full, and it was changed back"));
            self.set.insert(Slot::Current, lost);
            return;
        }
        let note = self.named(&found);
        self.what
            .push(format!("{owner} was changed by hand: that holds, and is number {number} of its ring"));
        if known.is_none() {
            self.set.insert(Slot::Numbered(number), found);
        }
        self.progress.keys.insert(Slot::Current, note.clone());
        self.progress.keys.insert(Slot::Numbered(number), note);
        self.progress.active = Some(number);
        self.begin_anew(Phase::Steady);
    }

    /// Whether a value of the variable itself is not taken at its word: nobody chose it
    /// who put a whole older state back, and a key that leaked never signs again.
    fn is_unwelcome(&self, value: &SecretValue) -> bool {
        self.went_back || self.progress.is_compromised(value)
    }

    /// What an older state had, and the later one has not, was retired: it goes again,
    /// and so does what leaked.
    fn remove_what_came_back(&mut self) {
        let here = self.case.document.progress().filter(|_| self.went_back);
        let beside = |slot: &Slot| !matches!(slot, Slot::Current | Slot::Active);
        for (slot, value) in self.case.document.values.iter().filter(|(slot, _)| beside(slot)) {
            let is_gone = !self.progress.keys.contains_key(slot) && !self.set.contains_key(slot);
            let was_noted = here.is_some_and(|here| here.is_noted(*slot, value));
            if is_gone && (was_noted || self.progress.is_compromised(value)) {
                self.what.push(format!("{} was back, and is gone again", self.name(*slot)));
                self.remove.insert(*slot);
            }
        }
    }

    fn put_back_the_others(&mut self) {
        let others: Vec<(Slot, KeyNote)> = self
            .progress
            .keys
            .iter()
            .filter(|(slot, _)| **slot != Slot::Current && !self.set.contains_key(slot))
            .map(|(slot, note)| (*slot, note.clone()))
            .collect();
        for (slot, note) in others {
            let there = self.case.document.values.get(&slot);
            if there.is_some_and(|there| is_of(&note, there)) {
                continue;
            }
            match self.find(slot, &note) {
                Some(value) => self.put_back(slot, value),
                None => {
                    self.what.push(format!("{} is gone, and no version of it is left", self.name(slot)));
                    self.progress.keys.remove(&slot);
                }
            }
        }
    }

    /// A phase needs its keys: without them it is over.
    fn straighten(&mut self) {
        let has = |slot: Slot| self.progress.keys.contains_key(&slot);
        let fits = match (self.case.strategy, self.progress.phase) {
            (Strategy::Overlap, Phase::Staged) => has(Slot::Next),
            (Strategy::Overlap, Phase::Activated) => {
                if !has(Slot::Previous) && has(Slot::Next) {
                    // Only the one that is older still is left: it has its time.
                    self.move_older();
                    true
                } else {
                    has(Slot::Previous)
                }
            }
            (Strategy::Supplied, Phase::Activated) => has(Slot::Kept),
            (Strategy::Ring, Phase::Staged) => {
                let active = self.progress.active;
                let highest = self.progress.keys.keys().rev().find_map(|slot| match slot {
                    Slot::Numbered(number) => Some(*number),
                    _ => None,
                });
                highest.is_some() && highest != active
            }
            _ => true,
        };
        if !fits {
            self.progress.phase = Phase::Steady;
            self.progress.since = self.case.now.max(self.progress.clock);
            self.progress.retire_after = None;
            self.progress.undone = true;
        }
    }

    /// Who put an older document back without its state left a key of ours in a place
    /// that it has left since: it is verified with where it is noted, and its copy would
    /// only be in the way of the next rotation.
    fn remove_copies(&mut self) {
        if self.case.strategy != Strategy::Overlap {
            return;
        }
        for slot in [Slot::Next, Slot::Previous] {
            let Some(there) = self.case.document.values.get(&slot) else { continue };
            let is_noted_here = self.progress.keys.contains_key(&slot);
            let is_of_ours = |note: &KeyNote| note.print.is_some() && is_of(note, there);
            if !is_noted_here && self.progress.keys.values().any(is_of_ours) && self.remove.insert(slot) {
                self.what
                    .push(format!("{} was a copy of a key that has moved on, and is gone", self.name(slot)));
            }
        }
    }

    fn move_older(&mut self) {
        let Some(note) = self.progress.keys.remove(&Slot::Next) else { return };
        let there = self.set.remove(&Slot::Next).or_else(|| self.find(Slot::Next, &note));
        if let Some(value) = there {
            self.set.insert(Slot::Previous, value);
            self.progress.keys.insert(Slot::Previous, note);
            self.remove.insert(Slot::Next);
        }
    }

    /// A ring's two names of the key that signs say the same.
    fn point_at_the_active(&mut self) {
        let (Strategy::Ring, Some(active)) = (self.case.strategy, self.progress.active) else { return };
        let text = active.to_string();
        let there = self.case.document.values.get(&Slot::Active);
        if there.is_some_and(|there| there.expose() == text) {
            return;
        }
        self.what.push(format!("{} names number {active} again, which signs", self.name(Slot::Active)));
        self.set.insert(Slot::Active, Arc::new(SecretValue::new(text)));
    }
}
