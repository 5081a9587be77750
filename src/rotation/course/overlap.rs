//! Overlap: the next and the previous key live beside the one that signs.
//!
//! While the state is activated, `NAME_NEXT` may hold a key that is older still: the
//! one before was itself replaced by hand. It is verified with until the end of the one
//! before, and goes with it.

use super::{Act, Content, Next, Order, Refusal, Scene, Step, refused, span};
use crate::model::rotation::{KeyNote, Phase, Progress, Slot};
use crate::rotation::roll_call::Need;

/// How long after an end was opened again it is not fixed anew: who says now this and now
/// that must not make a write of each word.
const OPEN_FOR: u64 = 60;

impl Scene<'_> {
    /// How long what was signed by the key before must stay valid.
    fn overlap(&self) -> u64 {
        self.rotation.overlap.unwrap_or(0).max(self.token_life.unwrap_or(0))
    }

    fn covers_tokens(&self) -> Result<(), Refusal> {
        let owner = self.owner;
        match (self.rotation.overlap, self.token_life) {
            (Some(overlap), Some(life)) if overlap < life => refused(
                "overlap",
                format!(
                    "what {owner} signs lives {}, and its `overlap` is {}: who got a token right before would be logged out",
                    span(life),
                    span(overlap)
                ),
                format!("write `overlap = \"{}h\"` or more in the schema", life.div_ceil(3600)),
            ),
            (None, None) => refused(
                "overlap",
                format!("nobody says how long what {owner} signs lives"),
                "write the longest life of it, and a day, in the schema: `overlap = \"8d\"`",
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn stage(&self, order: &Order) -> Result<Step, Refusal> {
        self.is_steady()?;
        self.is_verified_by_all(order.accept_logout)?;
        self.covers_tokens()?;
        self.taken(Slot::Next)?;
        self.taken(Slot::Previous)?;
        let keys = [(Slot::Current, self.current()), (Slot::Next, self.fresh(None))];
        let progress = Progress {
            accept_logout: order.accept_logout,
            undone: false,
            count: self.progress.count.saturating_add(1),
            ..self.at(Phase::Staged, keys)
        };
        let set = vec![(Slot::Next, Content::Generated)];
        Ok(Step { act: Act::Stage, set, remove: vec![], progress, probe: None })
    }

    pub(super) fn activate(&self) -> Next {
        let Some(next) = self.progress.keys.get(&Slot::Next) else { return Next::Rest(None) };
        // What held at the beginning may not hold any more.
        let still =
            self.is_verified_by_all(self.progress.accept_logout).and_then(|()| self.taken(Slot::Previous));
        if let Err(refusal) = still {
            return Next::Wait(vec![refusal.message]);
        }
        let unmet = self.roll_call.unmet(Need::Verifies(&next.kid));
        if !unmet.is_empty() {
            return Next::Wait(unmet);
        }
        let signs = KeyNote { not_before: Some(self.now), ..next.clone() };
        let keys = [(Slot::Current, signs), (Slot::Previous, self.current())];
        let progress = Progress { rotated: Some(self.now), ..self.at(Phase::Activated, keys) };
        Next::Step(Box::new(Step {
            act: Act::Activate,
            set: vec![(Slot::Previous, Content::Of(Slot::Current)), (Slot::Current, Content::Of(Slot::Next))],
            remove: vec![Slot::Next],
            progress,
            probe: None,
        }))
    }

    /// After the activation: until everybody uses the new key, and then until what the
    /// old one signed is over.
    pub(super) fn finish(&self) -> Next {
        let current = self.current();
        let fixed = |act, retire_after| {
            let progress = Progress { retire_after, clock: self.now, ..self.progress.clone() };
            Next::Step(Box::new(Step { act, set: vec![], remove: vec![], progress, probe: None }))
        };
        // Whoever signs with the old key again needs all of its time again.
        let signs_otherwise = self.roll_call.signs_otherwise(&current.kid).next().is_some();
        if self.progress.retire_after.is_some() && signs_otherwise {
            return fixed(Act::Unsettle, None);
        }
        if let Err(refusal) = self.is_known_who() {
            return Next::Wait(vec![refusal.message]);
        }
        let unmet = self.roll_call.unmet(Need::Uses(&current.kid));
        if !unmet.is_empty() {
            return Next::Wait(unmet);
        }
        match self.progress.retire_after {
            None if self.was_opened_again() > self.now => Next::Rest(Some(self.was_opened_again())),
            // The present second has begun: what was signed in the rest of it counts too.
            None => fixed(Act::Settle, Some(self.now.saturating_add(self.overlap()).saturating_add(1))),
            Some(then) if then > self.now => Next::Rest(Some(then)),
            Some(_) => {
                let progress = Progress {
                    accept_logout: false,
                    reason: None,
                    ..self.at(Phase::Steady, [(Slot::Current, current)])
                };
                let (set, remove) = (vec![], self.old());
                Next::Step(Box::new(Step { act: Act::Retire, set, remove, progress, probe: None }))
            }
        }
    }

    /// Until when an end that was opened again stays so; 0 where it was not.
    fn was_opened_again(&self) -> u64 {
        // Nothing else is written in a phase that has begun, but what is mended.
        let Progress { clock, since, .. } = self.progress;
        if clock > since { clock.saturating_add(OPEN_FOR) } else { 0 }
    }

    /// Where the keys are that only verify, of a rotation that is activated.
    fn old(&self) -> Vec<Slot> {
        let is_noted = |slot: &Slot| self.progress.keys.contains_key(slot);
        [Slot::Next, Slot::Previous].into_iter().filter(is_noted).collect()
    }

    pub(super) fn compromise(&self, order: &Order) -> Result<Step, Refusal> {
        if !order.accept_logout {
            return self.needs_confirmation();
        }
        let is_activated = self.progress.phase == Phase::Activated;
        let leaked: Vec<KeyNote> = if is_activated {
            self.old().iter().filter_map(|slot| self.progress.keys.get(slot)).cloned().collect()
        } else {
            vec![self.current()]
        };
        let done = |set, remove, signs: KeyNote, rotated| {
            let mut progress = Progress {
                rotated,
                accept_logout: false,
                undone: false,
                count: self.progress.count.saturating_add(1),
                ..self.at(Phase::Steady, [(Slot::Current, signs)])
            };
            for note in leaked {
                progress.banish(note);
            }
            Step { act: Act::Compromise, set, remove, progress, probe: None }
        };
        // What was put there by hand may be what leaked.
        let beside = [Slot::Next, Slot::Previous];
        let remove = beside.into_iter().filter(|slot| self.there.contains(slot)).collect();
        let now = Some(self.now);
        Ok(match (self.progress.phase, self.progress.keys.get(&Slot::Next)) {
            (Phase::Activated, _) => done(vec![], remove, self.current(), self.progress.rotated),
            (Phase::Staged, Some(next)) if self.there.contains(&Slot::Next) => {
                let signs = KeyNote { not_before: now, ..next.clone() };
                done(vec![(Slot::Current, Content::Of(Slot::Next))], remove, signs, now)
            }
            _ => done(vec![(Slot::Current, Content::Generated)], remove, self.fresh(now), now),
        })
    }

    fn needs_confirmation<T>(&self) -> Result<T, Refusal> {
        let owner = self.owner;
        let (what, who, then) = match self.progress.phase {
            Phase::Activated => (
                format!("to retire the key before the present {owner} at once"),
                "everybody whose token that one signed",
                "; the present key stays: if that is the one that leaked, say so once more afterwards",
            ),
            Phase::Steady | Phase::Staged => (
                format!("to replace a leaked {owner} at once"),
                "everybody whose token it signed, and who has not got the new key yet refuses tokens until then",
                "",
            ),
        };
        let readers: Vec<&str> = self.roll_call.expected.iter().map(|one| &*one.consumer).collect();
        let readers = if readers.is_empty() { String::new() } else { format!(" ({})", readers.join(", ")) };
        refused(
            "needs-confirmation",
            format!("{what} logs out {who}{readers}{then}"),
            "say so by name: --yes, or answer the question at a terminal",
        )
    }

    pub(super) fn undo(&self) -> Result<Step, Refusal> {
        let undone = |set, remove, progress| Step { act: Act::Undo, set, remove, progress, probe: None };
        match self.progress.phase {
            Phase::Staged => {
                let progress =
                    Progress { undone: true, ..self.at(Phase::Steady, [(Slot::Current, self.current())]) };
                Ok(undone(vec![], vec![Slot::Next], progress))
            }
            Phase::Activated => {
                let Some(old) = self.progress.keys.get(&Slot::Previous) else {
                    return Err(self.nothing_to_undo());
                };
                let old = KeyNote { not_before: Some(self.now), ..old.clone() };
                let mut keys = vec![(Slot::Current, old), (Slot::Previous, self.current())];
                keys.extend(self.progress.keys.get(&Slot::Next).map(|older| (Slot::Next, older.clone())));
                let progress = Progress {
                    rotated: Some(self.now),
                    undone: !self.progress.undone,
                    ..self.at(Phase::Activated, keys)
                };
                let set = vec![
                    (Slot::Current, Content::Of(Slot::Previous)),
                    (Slot::Previous, Content::Of(Slot::Current)),
                ];
                Ok(undone(set, vec![], progress))
            }
            Phase::Steady => Err(self.nothing_to_undo()),
        }
    }
}
