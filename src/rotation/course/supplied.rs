//! Supplied: an operator brings the new value, and the old one is kept for a while, for
//! the case that the new one does not work. Nobody verifies with it.

use super::{Act, Content, KEPT_FOR, Next, Order, Refusal, Scene, Step, Wish};
use crate::model::rotation::{KeyNote, Phase, Progress, Slot};

impl Scene<'_> {
    pub(super) fn supply(&self, order: &Order) -> Result<Step, Refusal> {
        let keeps = order.wish == Wish::Rotate;
        if keeps {
            self.is_steady()?;
        }
        let mut keys = vec![(Slot::Current, self.fresh(Some(self.now)))];
        let mut set = vec![(Slot::Current, Content::Supplied)];
        let mut remove = Vec::new();
        if keeps {
            keys.push((Slot::Kept, self.current()));
            set.push((Slot::Kept, Content::Of(Slot::Current)));
        } else if self.there.contains(&Slot::Kept) {
            remove.push(Slot::Kept);
        }
        let lasts = self.rotation.overlap.unwrap_or(KEPT_FOR);
        let (act, phase, until) = if keeps {
            (Act::Supply, Phase::Activated, Some(self.now.saturating_add(lasts)))
        } else {
            (Act::Compromise, Phase::Steady, None)
        };
        let mut progress = Progress {
            rotated: Some(self.now),
            retire_after: until,
            undone: false,
            count: self.progress.count.saturating_add(1),
            ..self.at(phase, keys)
        };
        if !keeps {
            progress.banish(self.current());
        }
        Ok(Step { act, set, remove, progress, probe: Some(Content::Supplied) })
    }

    /// The end of what is kept.
    pub(super) fn forget_kept(&self) -> Next {
        let lasts = self.rotation.overlap.unwrap_or(KEPT_FOR);
        let until = self.progress.retire_after.unwrap_or(self.progress.since.saturating_add(lasts));
        if until > self.now {
            return Next::Rest(Some(until));
        }
        let progress = Progress { reason: None, ..self.at(Phase::Steady, [(Slot::Current, self.current())]) };
        let (set, remove) = (vec![], vec![Slot::Kept]);
        Next::Step(Box::new(Step { act: Act::Retire, set, remove, progress, probe: None }))
    }

    pub(super) fn undo_supplied(&self) -> Result<Step, Refusal> {
        let Some(old) = self.progress.keys.get(&Slot::Kept).filter(|_| self.there.contains(&Slot::Kept))
        else {
            return Err(self.nothing_to_undo());
        };
        let signs = KeyNote { not_before: Some(self.now), ..old.clone() };
        let progress = Progress {
            // It is as old as it was.
            rotated: old.not_before,
            undone: true,
            ..self.at(Phase::Steady, [(Slot::Current, signs)])
        };
        let set = vec![(Slot::Current, Content::Of(Slot::Kept))];
        let (remove, probe) = (vec![Slot::Kept], Some(Content::Of(Slot::Kept)));
        Ok(Step { act: Act::Undo, set, remove, progress, probe })
    }
}
