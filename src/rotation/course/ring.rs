//! Ring: numbered keys, of which one signs; nothing is ever retired.
//!
//! `NAME_ACTIVE` is the number of the key that signs, and `NAME` is the same key: for
//! who knows one name, and for who knows the ring.

use super::{Act, Content, Next, Order, RING_SLOTS, Refusal, Scene, Step, refused, unwritten};
use crate::model::rotation::{KeyNote, Kid, Phase, Progress, Slot};
use crate::rotation::roll_call::Need;

impl Scene<'_> {
    pub(super) fn stage_in_ring(&self, order: &Order) -> Result<Step, Refusal> {
        self.is_steady()?;
        self.is_verified_by_all(order.accept_logout)?;
        let mut set = Vec::new();
        let mut keys = vec![(Slot::Current, self.current())];
        let last = self.numbers().max().unwrap_or(0);
        // A key that is in no ring yet becomes a number of it first.
        let (signs, last) = match self.signing_number()? {
            Some(number) => (number, last),
            None => {
                let own = last.saturating_add(1);
                set.push((Slot::Numbered(own), Content::Of(Slot::Current)));
                (own, own)
            }
        };
        // The last of all numbers is beyond every ring.
        let number = last.saturating_add(1);
        let slots = self.rotation.slots.unwrap_or(RING_SLOTS);
        if number > slots {
            return refused(
                "ring-full",
                format!("the ring of {} has {slots} numbers, and none is left", self.owner),
                "raise `slots` in the schema: no key of it is ever retired",
            );
        }
        // What was put there by hand gets a name.
        let is_nameless = |number: &u32| !self.progress.keys.contains_key(&Slot::Numbered(*number));
        for found in self.numbers().filter(is_nameless).filter(|found| *found != signs) {
            if let Ok(kid) = Kid::new(&format!("{}-{found}", Kid::initial())) {
                keys.push((Slot::Numbered(found), unwritten(kid, None)));
            }
        }
        keys.push((Slot::Numbered(signs), self.current()));
        keys.push((Slot::Numbered(number), self.fresh(None)));
        if self.active != Some(signs) {
            set.push((Slot::Active, Content::Number(signs)));
        }
        set.push((Slot::Numbered(number), Content::Generated));
        let progress = Progress {
            active: Some(signs),
            accept_logout: order.accept_logout,
            undone: false,
            count: self.progress.count.saturating_add(1),
            ..self.at(Phase::Staged, keys)
        };
        Ok(Step { act: Act::Stage, set, remove: vec![], progress, probe: None })
    }

    /// The numbers that have a key.
    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.there.iter().filter_map(|slot| match slot {
            Slot::Numbered(number) => Some(*number),
            _ => None,
        })
    }

    /// The number of the key that signs; none where it is in no ring.
    fn signing_number(&self) -> Result<Option<u32>, Refusal> {
        let owner = self.owner;
        if let Some(active) = self.progress.active {
            return Ok(Some(active));
        }
        match self.active {
            Some(number) if self.same.contains(&number) => Ok(Some(number)),
            None if !self.there.contains(&Slot::Active) => Ok(self.same.last().copied()),
            _ => refused(
                "ring-broken",
                format!(
                    "{owner}_ACTIVE names no key that is the same as {owner}: nobody knows which one signs"
                ),
                format!("make {owner} the same as the key that {owner}_ACTIVE names"),
            ),
        }
    }

    /// The number that was staged: the highest that is noted, unless that signs.
    pub(super) fn staged_number(&self) -> Option<(u32, &KeyNote)> {
        let highest = self.progress.keys.iter().rev().find_map(|(slot, note)| match slot {
            Slot::Numbered(number) => Some((*number, note)),
            _ => None,
        });
        highest.filter(|(number, _)| Some(*number) != self.progress.active)
    }

    pub(super) fn activate_in_ring(&self) -> Next {
        let Some((number, note)) = self.staged_number() else { return Next::Rest(None) };
        if let Err(refusal) = self.is_verified_by_all(self.progress.accept_logout) {
            return Next::Wait(vec![refusal.message]);
        }
        let unmet = self.roll_call.unmet(Need::Verifies(&note.kid));
        if !unmet.is_empty() {
            return Next::Wait(unmet);
        }
        let signs = KeyNote { not_before: Some(self.now), ..note.clone() };
        let progress = Progress {
            rotated: Some(self.now),
            accept_logout: false,
            reason: None,
            ..self.signing(number, signs)
        };
        Next::Step(Box::new(Self::turn(Act::Activate, number, progress)))
    }

    /// The state in which this number signs.
    fn signing(&self, number: u32, note: KeyNote) -> Progress {
        let keys = [(Slot::Current, note.clone()), (Slot::Numbered(number), note)];
        Progress { active: Some(number), ..self.at(Phase::Steady, keys) }
    }

    /// From now on this number signs.
    fn turn(act: Act, number: u32, progress: Progress) -> Step {
        let set = vec![
            (Slot::Active, Content::Number(number)),
            (Slot::Current, Content::Of(Slot::Numbered(number))),
        ];
        Step { act, set, remove: vec![], progress, probe: None }
    }

    pub(super) fn undo_in_ring(&self) -> Result<Step, Refusal> {
        if self.progress.phase == Phase::Staged {
            // What has not signed anything may go.
            let Some((number, _)) = self.staged_number() else { return Err(self.nothing_to_undo()) };
            let mut progress = self.at(Phase::Steady, [(Slot::Current, self.current())]);
            progress.undone = true;
            progress.keys.remove(&Slot::Numbered(number));
            let remove = vec![Slot::Numbered(number)];
            return Ok(Step { act: Act::Undo, set: vec![], remove, progress, probe: None });
        }
        let Some(active) = self.progress.active else { return Err(self.nothing_to_undo()) };
        let mut noted = self.progress.keys.iter().filter_map(|(slot, note)| match slot {
            Slot::Numbered(number) => Some((*number, note)),
            _ => None,
        });
        // To undo what was undone is to go forward again.
        let forward =
            self.progress.undone.then(|| noted.clone().find(|(number, _)| *number > active)).flatten();
        let target = match forward {
            Some(forward) => Some((forward, false)),
            None => noted.rfind(|(number, _)| *number < active).map(|back| (back, true)),
        };
        let Some(((number, note), undone)) = target else { return Err(self.nothing_to_undo()) };
        let progress = Progress { undone, ..self.signing(number, note.clone()) };
        Ok(Self::turn(Act::Undo, number, progress))
    }
}
