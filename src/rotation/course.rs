//! What a rotation does next: a function of the stored state, the clock, and who has
//! which key.
//!
//! Pure. Invariants: there is always just one key that signs; a key that somebody may
//! still verify with goes only when everybody uses another, for as long as what it
//! signed may live; each step is one write, and after a crash the same step comes out
//! again, or the one after it. Value-free: a step says which value goes where.
//! What nobody noted was put there by hand, and is not overwritten: a rotation that needs
//! its place does not begin, or waits.
//! Must not know: where a document lies, or what is in its slots.

mod overlap;
mod ring;
mod supplied;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::roll_call::RollCall;
use crate::model::key::Key;
use crate::model::rotation::{KeyNote, Kid, Phase, Progress, Slot};
use crate::model::schema::{Rotation, Strategy};

/// How long a supplied secret's old value is kept for `--undo`, unless the schema says
/// otherwise.
const KEPT_FOR: u64 = 24 * 3600;

/// How long a rotation that was undone is not begun again by itself.
const UNDONE_FOR: u64 = 24 * 3600;

/// How many slots a ring has, unless the schema says otherwise.
pub const RING_SLOTS: u32 = 9;

/// Everything that a step depends on.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The variable.
    pub owner: &'a Key,
    /// How it is rotated.
    pub rotation: &'a Rotation,
    /// How far it is.
    pub progress: &'a Progress,
    /// The slots that have a value. What is noted is there, and is what was noted:
    /// what a foreign write did to it is mended before.
    pub there: &'a BTreeSet<Slot>,
    /// The number that `NAME_ACTIVE` says, where it says one.
    pub active: Option<u32>,
    /// The numbers of the keys that are the same as the variable itself.
    pub same: &'a BTreeSet<u32>,
    /// Who has which key.
    pub roll_call: &'a RollCall,
    /// The longest life of what the key signs, in seconds, where the schema names it.
    pub token_life: Option<u64>,
    /// Seconds since 1970; never before the state's own clock.
    pub now: u64,
    /// What a new key would be called.
    pub fresh: &'a Kid,
}

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A new key.
    Rotate,
    /// The old one back.
    Undo,
    /// The old one gone.
    Compromised,
}

/// What somebody wants, and accepts by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub wish: Wish,
    /// That it logs people out.
    pub accept_logout: bool,
    /// That the document belongs to another controller.
    pub take_over: bool,
    /// Why.
    pub reason: Option<String>,
}

/// Where a slot's new value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// It is made.
    Generated,
    /// It was given.
    Supplied,
    /// It is what is in that slot before the write.
    Of(Slot),
    /// It is this number.
    Number(u32),
}

/// A step's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// The next key appears.
    Stage,
    /// The next key becomes the one that signs.
    Activate,
    /// Everybody uses it: the end of the one before is fixed.
    Settle,
    /// Somebody signs with the one before again: its end is open again.
    Unsettle,
    /// The one before goes.
    Retire,
    /// A supplied value takes the place of the old one.
    Supply,
    /// The old one is back.
    Undo,
    /// The old one is gone at once.
    Compromise,
}

impl Act {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "staged",
            Self::Activate => "activated",
            Self::Settle => "settled",
            Self::Unsettle => "unsettled",
            Self::Retire => "retired",
            Self::Supply => "supplied",
            Self::Undo => "undone",
            Self::Compromise => "compromised",
        }
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is.
    pub act: Act,
    /// The slots that get a value.
    pub set: Vec<(Slot, Content)>,
    /// The slots that are gone afterwards.
    pub remove: Vec<Slot>,
    /// The state afterwards; what is made or given still lacks its print.
    pub progress: Progress,
    /// The value that must pass its probe before, if there is a probe.
    pub probe: Option<Content>,
}

/// What comes next by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// A write, now.
    Step(Box<Step>),
    /// Somebody lacks something: a clause each.
    Wait(Vec<String>),
    /// Nothing, until then if nothing else happens; none where nothing is ever due.
    Rest(Option<u64>),
    /// A new rotation is due, since then.
    Due(u64),
}

/// Why something that somebody wants is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// A word for programs: `under-way`, `single`, `manual`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

fn refused<T>(code: &'static str, message: String, help: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, message, help: help.into() })
}

impl Scene<'_> {
    /// The first step of what somebody wants.
    ///
    /// # Errors
    /// [`Refusal`]: nothing is to be written.
    pub fn begin(&self, order: &Order) -> Result<Step, Refusal> {
        self.is_possible()?;
        let mut step = match (order.wish, self.rotation.strategy) {
            (Wish::Rotate, Strategy::Overlap) => self.stage(order),
            (Wish::Rotate, Strategy::Ring) => self.stage_in_ring(order),
            (Wish::Rotate | Wish::Compromised, Strategy::Supplied) => self.supply(order),
            (Wish::Undo, Strategy::Overlap) => self.undo(),
            (Wish::Undo, Strategy::Ring) => self.undo_in_ring(),
            (Wish::Undo, Strategy::Supplied) => self.undo_supplied(),
            (Wish::Compromised, Strategy::Overlap) => self.compromise(order),
            (Wish::Compromised, Strategy::Ring) => refused(
                "ring",
                format!("no key of {} is ever retired: what it signed must stay verifiable", self.owner),
                format!("rotate it, so that the leaked key signs nothing more: dlconf rotate {}", self.owner),
            ),
            (_, Strategy::Dynamic | Strategy::StaticRole | Strategy::Manual) => self.is_not_written(),
        }?;
        // What was accepted for a rotation is accepted for all of its writes.
        let goes_on = self.progress.phase != Phase::Steady && self.progress.take_over;
        step.progress.take_over = order.take_over || goes_on;
        step.progress.reason.clone_from(&order.reason);
        Ok(step)
    }

    /// What comes next by itself.
    pub fn next(&self) -> Next {
        if let Err(refusal) = self.is_of_this_strategy() {
            return Next::Wait(vec![refusal.message]);
        }
        match (self.rotation.strategy, self.progress.phase) {
            (Strategy::Dynamic | Strategy::StaticRole | Strategy::Manual, _)
            | (Strategy::Supplied, Phase::Steady) => Next::Rest(None),
            (_, Phase::Steady) => self.when_due(),
            (Strategy::Ring, _) => self.activate_in_ring(),
            (_, Phase::Staged) => self.activate(),
            (Strategy::Supplied, _) => self.forget_kept(),
            (_, Phase::Activated) => self.finish(),
        }
    }

    /// When the key that signs ought to be replaced; none where the schema names no time,
    /// or nobody knows how old it is.
    pub fn due_at(&self) -> Option<u64> {
        let (every, rotated) = (self.rotation.every?, self.progress.rotated?);
        let due = rotated.saturating_add(every);
        let is_undone = self.progress.undone && self.progress.phase == Phase::Steady;
        let again = self.progress.since.saturating_add(UNDONE_FOR);
        Some(if is_undone { due.max(again) } else { due })
    }

    fn when_due(&self) -> Next {
        match self.due_at() {
            Some(due) if due <= self.now => Next::Due(due),
            due => Next::Rest(due),
        }
    }

    fn is_not_written(&self) -> Result<Step, Refusal> {
        let owner = self.owner;
        match self.rotation.strategy {
            Strategy::Dynamic => refused(
                "dynamic",
                format!("{owner} is leased: what is lent is replaced, and nothing is written"),
                "its source replaces it",
            ),
            Strategy::StaticRole => refused(
                "static-role",
                format!("Vault rotates {owner}, and dlconf follows"),
                "bao write -f database/rotate-role/NAME rotates it now",
            ),
            _ => refused(
                "manual",
                format!(
                    "{owner} is not rotated by a program: {}",
                    self.rotation.reason.as_deref().unwrap_or("the schema says so")
                ),
                "change it by hand: docs/runbooks.md has such a way",
            ),
        }
    }

    fn is_possible(&self) -> Result<(), Refusal> {
        let strategy = self.rotation.strategy;
        if matches!(strategy, Strategy::Dynamic | Strategy::StaticRole | Strategy::Manual) {
            return self.is_not_written().map(drop);
        }
        if !self.there.contains(&Slot::Current) {
            return refused(
                "not-there",
                format!("{} has no value in the document that is to be written", self.owner),
                "write a first one there by hand",
            );
        }
        self.is_of_this_strategy()
    }

    /// Whether what was begun was begun by the strategy that the schema has now.
    fn is_of_this_strategy(&self) -> Result<(), Refusal> {
        let has = |slot: Slot| self.progress.keys.contains_key(&slot);
        let fits = match (self.rotation.strategy, self.progress.phase) {
            (_, Phase::Steady) | (Strategy::Dynamic | Strategy::StaticRole | Strategy::Manual, _) => true,
            (Strategy::Overlap, Phase::Staged) => has(Slot::Next),
            (Strategy::Overlap, Phase::Activated) => has(Slot::Previous),
            (Strategy::Supplied, Phase::Activated) => has(Slot::Kept),
            (Strategy::Ring, Phase::Staged) => self.staged_number().is_some(),
            (Strategy::Ring, Phase::Activated) | (Strategy::Supplied, Phase::Staged) => false,
        };
        if fits {
            return Ok(());
        }
        refused(
            "other-strategy",
            format!("a rotation of {} was begun with another `strategy` than the schema has now", self.owner),
            "put that strategy back until the rotation is over",
        )
    }

    /// Whether everybody who reads it keeps up with a second key.
    fn is_verified_by_all(&self, accept_logout: bool) -> Result<(), Refusal> {
        let owner = self.owner;
        self.is_known_who()?;
        let single: Vec<&str> = self.roll_call.single().collect();
        if !single.is_empty() && !accept_logout {
            let (who, what) = (single.join(" and "), self.what_breaks());
            let verify = if single.len() == 1 { "verifies" } else { "verify" };
            return refused(
                "single",
                format!("{who} {verify} with one key: {what}"),
                format!(
                    "teach it a ring of keys (docs/runbooks.md), or accept that: dlconf rotate {owner} --accept-logout"
                ),
            );
        }
        Ok(())
    }

    /// Whether everybody who reads it is declared, and somebody runs.
    fn is_known_who(&self) -> Result<(), Refusal> {
        let owner = self.owner;
        if let Some(service) = self.roll_call.undeclared.first() {
            return refused(
                "undeclared",
                format!(
                    "{service} reads {owner} too, and nobody says whether it verifies with a ring of keys"
                ),
                format!(
                    "[consumer.{service}] with `instances` and `verifies`; `instances = 0` where it does not run"
                ),
            );
        }
        if !self.roll_call.has_anybody() {
            return refused(
                "nobody-expected",
                format!("nobody is declared who has to acknowledge a new {owner}"),
                "declare who verifies with it: [consumer.NAME] with `instances` and `verifies`",
            );
        }
        Ok(())
    }

    fn what_breaks(&self) -> &'static str {
        match self.rotation.strategy {
            Strategy::Ring => "what was signed before could not be verified any more",
            _ => "everybody whose token it issued would be logged out",
        }
    }

    fn is_steady(&self) -> Result<(), Refusal> {
        let owner = self.owner;
        let waits = || format!("wait; where it leaked: dlconf rotate {owner} --compromised");
        match (self.progress.phase, self.progress.retire_after) {
            (Phase::Steady, _) => Ok(()),
            (Phase::Staged, _) => refused(
                "under-way",
                format!("a rotation of {owner} is under way: its next key waits to be acknowledged by all"),
                format!("dlconf status says by whom; dlconf rotate {owner} --undo gives it up"),
            ),
            (Phase::Activated, None) => refused(
                "under-way",
                format!("a rotation of {owner} is under way: not everybody uses the new key yet"),
                format!("dlconf status says who; dlconf rotate {owner} --undo takes it back"),
            ),
            (Phase::Activated, Some(then)) => {
                let left = span(then.saturating_sub(self.now));
                let (what, help) = if self.rotation.strategy == Strategy::Supplied {
                    let help = format!(
                        "dlconf rotate {owner} --undo puts it back; with --compromised the new value takes its place"
                    );
                    (format!("the value before this {owner} is kept for --undo, for another {left}"), help)
                } else {
                    (format!("the key before this {owner} is not retired yet: that is in {left}"), waits())
                };
                refused("under-way", what, help)
            }
        }
    }

    /// Whether a slot has something that no rotation put there.
    fn is_by_hand(&self, slot: Slot) -> bool {
        self.there.contains(&slot) && !self.progress.keys.contains_key(&slot)
    }

    /// A place that is needed, and taken by what was put there by hand.
    fn taken(&self, slot: Slot) -> Result<(), Refusal> {
        if !self.is_by_hand(slot) {
            return Ok(());
        }
        let name = slot.field(self.owner.as_str());
        refused(
            "taken",
            format!("{name} is there, no rotation put it there, and a rotation needs its place"),
            format!("once nothing that it signed is valid any more, remove {name}, and rotate again"),
        )
    }

    /// The note of the key that signs; one that was there before its first rotation is
    /// called `initial`.
    fn current(&self) -> KeyNote {
        let initial = || unwritten(Kid::initial(), None);
        self.progress.keys.get(&Slot::Current).cloned().unwrap_or_else(initial)
    }

    fn fresh(&self, not_before: Option<u64>) -> KeyNote {
        unwritten(self.fresh.clone(), not_before)
    }

    /// The state in a new phase, with these keys and no others but numbered ones.
    fn at(&self, phase: Phase, keys: impl IntoIterator<Item = (Slot, KeyNote)>) -> Progress {
        let numbered = |(slot, _): &(&Slot, &KeyNote)| matches!(slot, Slot::Numbered(_));
        let mut all: BTreeMap<Slot, KeyNote> =
            self.progress.keys.iter().filter(numbered).map(|(slot, note)| (*slot, note.clone())).collect();
        all.extend(keys);
        Progress {
            phase,
            since: self.now,
            clock: self.now,
            retire_after: None,
            keys: all,
            ..self.progress.clone()
        }
    }

    fn nothing_to_undo(&self) -> Refusal {
        Refusal {
            code: "nothing-to-undo",
            message: format!("there is no rotation of {} that could be undone", self.owner),
            help: "dlconf status shows what is under way".to_owned(),
        }
    }
}

/// A note of a key that is not written yet.
fn unwritten(kid: Kid, not_before: Option<u64>) -> KeyNote {
    KeyNote { kid, print: None, not_before, rest: serde_json::Map::new() }
}

/// Seconds as people say them: `8d`, `90m`, `3h`, `20s`. Rounded up to a minute where
/// there are more than two hours of them, and to an hour from two days on.
pub fn span(seconds: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("d", 86_400), ("h", 3_600), ("m", 60)];
    let rounded = match seconds {
        0..7_200 => seconds,
        7_200..172_800 => seconds.next_multiple_of(60),
        _ => seconds.checked_next_multiple_of(3_600).unwrap_or(seconds),
    };
    for (unit, length) in UNITS {
        if rounded > 0 && rounded.is_multiple_of(length) {
            return format!("{}{unit}", rounded / length);
        }
    }
    format!("{rounded}s")
}
