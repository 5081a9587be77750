//! How the rotations are, for who asks: value-free.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use tokio::time::Instant;

use super::desk::{Desk, Known, Told};
use super::{Rotator, Tended, WAIT};
use crate::model::key::Key;
use crate::model::rotation::{Phase, Progress};
use crate::model::schema::Strategy;
use crate::rotation::estate::Rotating;
use crate::rotation::order::NotOrdered;
use crate::status::{FindingStatus, RotationStatus};
use crate::telemetry::{Event, Words};

/// One variable, as it was last seen.
pub(super) struct View {
    known: Option<Known>,
    due: Option<u64>,
    /// Of what is leased: its number, and since when it is replaced.
    leased: (u64, Option<u64>),
    waiting: Vec<String>,
    trouble: Option<NotOrdered>,
}

impl View {
    pub(super) fn of(desk: &Desk, rotating: &Rotating, tended: &Tended) -> Self {
        let (waiting, trouble) = match tended {
            Tended::Waits(waiting) => (waiting.clone(), None),
            Tended::Stuck(trouble) | Tended::Failed(trouble) => (Vec::new(), Some(trouble.clone())),
            _ => (Vec::new(), None),
        };
        let due = desk.known.as_ref().and_then(|known| Rotator::due(rotating, known));
        Self { known: desk.known.clone(), due, leased: desk.leased.shown(), waiting, trouble }
    }

    /// In the status' words; without a view, of what was not looked at yet.
    pub(super) fn status(view: Option<&Self>, rotating: &Rotating, now: u64) -> RotationStatus {
        let known = view.and_then(|view| view.known.as_ref());
        let none = Progress::default();
        let progress = known.map_or(&none, |known| &known.progress);
        let now = now.max(progress.clock);
        let is_leased = rotating.rotation.strategy == Strategy::Dynamic;
        let (leased, replaced) = view.map_or((0, None), |view| view.leased);
        let (phase, since) = match (is_leased, replaced) {
            (true, Some(since)) => (Phase::Activated, since),
            _ => (progress.phase, progress.since),
        };
        let has_begun = known.is_some() && progress.writes > 0 || replaced.is_some();
        let due = view.and_then(|view| view.due);
        let kids = progress.keys.iter().map(|(slot, note)| (String::from(*slot), note.kid.to_string()));
        let finding = |trouble: &NotOrdered| FindingStatus {
            code: None,
            severity: "error".to_owned(),
            variable: Some(rotating.key.to_string()),
            message: trouble.message.clone(),
            place: known.map(|known| known.place.to_string()),
            help: Some(trouble.help.clone()).filter(|help| !help.is_empty()),
        };
        RotationStatus {
            key: rotating.key.to_string(),
            strategy: strategy(rotating.rotation.strategy).to_owned(),
            phase: phase.as_str().to_owned(),
            phase_seconds: if has_begun { now.saturating_sub(since) } else { 0 },
            number: if is_leased { leased } else { progress.count },
            place: known.map(|known| known.place.to_string()),
            due_seconds: due.map(|due| due.cast_signed().saturating_sub(now.cast_signed())),
            retires_seconds: progress.retire_after.map(|then| then.saturating_sub(now)),
            waiting: view.map(|view| view.waiting.clone()).unwrap_or_default(),
            trouble: view.and_then(|view| view.trouble.as_ref()).map(finding),
            kids: kids.collect::<BTreeMap<_, _>>(),
        }
    }
}

/// A strategy as the schema writes it.
pub(super) fn strategy(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Overlap => "overlap",
        Strategy::Ring => "ring",
        Strategy::Supplied => "supplied",
        Strategy::Dynamic => "dynamic",
        Strategy::StaticRole => "static-role",
        Strategy::Manual => "manual",
    }
}

impl Rotator {
    pub(super) fn show(&self, key: &Key, view: View) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), view);
    }

    /// Tells what is new: a reason or a list once, and not what lasts a moment only.
    pub(super) fn tell(&self, told: &mut Told, key: &Key, tended: &Tended) {
        match tended {
            Tended::Stuck(trouble) | Tended::Failed(trouble) => {
                // The words of a clock move with it.
                let is_known = |known: &NotOrdered| {
                    known == trouble || (known.code == trouble.code && known.code == "clock")
                };
                if !told.failure.as_ref().is_some_and(is_known) {
                    told.failure = Some(trouble.clone());
                    let (message, help) = (trouble.message.clone(), trouble.help.clone());
                    let help = Some(help).filter(|help| !help.is_empty());
                    let words = Words { code: None, message, place: None, help };
                    self.listener.tell(Event::RotationFailed { key: key.clone(), words });
                }
                return;
            }
            Tended::Waits(waiting) => {
                let since = *told.waits_since.get_or_insert_with(Instant::now);
                // Who comes and goes makes no line of each time.
                let is_quiet = told.waits_said.is_none_or(|at| at.elapsed() >= WAIT);
                if since.elapsed() >= WAIT && is_quiet && told.waiting != *waiting {
                    told.waits_said = Some(Instant::now());
                    told.waiting.clone_from(waiting);
                    let waiting = waiting.clone();
                    self.listener.tell(Event::RotationWaits { key: key.clone(), waiting });
                }
            }
            _ => {
                told.waiting = Vec::new();
                told.waits_since = None;
            }
        }
        told.failure = None;
    }
}
