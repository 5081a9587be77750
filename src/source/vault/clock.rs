//! When the next step of a token's or a lease's life is due, and when it is tried
//! again after a failure.

use tokio::time::Instant;

use super::life::{Due, Life};
use super::state::wait;
use super::trouble::Trouble;
use crate::source::backoff::{Backoff, share};

/// The next step of a life, which does not move while the life is the same.
#[derive(Default)]
pub(super) struct Clock {
    of: Option<Life>,
    due: Option<Due>,
    backoff: Backoff,
    pub(super) not_before: Option<Instant>,
}

impl Clock {
    /// What is due for a life, and when.
    pub(super) fn due(&mut self, life: Option<&Life>) -> Due {
        if self.of.as_ref() != life {
            self.of = life.cloned();
            self.due = None;
            self.not_before = None;
        }
        let Some(life) = life else { return Due::Never };
        *self.due.get_or_insert_with(|| life.due(share()))
    }

    /// When that is, or is tried again.
    pub(super) fn at(&mut self, life: Option<&Life>) -> Option<Instant> {
        let at = self.due(life).at()?;
        Some(self.not_before.map_or(at, |then| then.max(at)))
    }

    /// Notes a failure. What does not pass by itself is tried again a few times
    /// before the end: it may be mended, or have been an answer of something between.
    pub(super) fn failed(&mut self, trouble: &Trouble) {
        let now = Instant::now();
        let end = self.of.as_ref().and_then(Life::ends);
        let left = end.map(|end| end.saturating_duration_since(now)).filter(|_| !trouble.kind.passes());
        let wait = wait(&mut self.backoff, trouble).max(left.unwrap_or_default() / 8);
        self.not_before = Some(now + wait);
    }

    /// Makes a renewal due now, which tells whether it lives.
    pub(super) fn hasten(&mut self, life: Option<&Life>) {
        if matches!(self.due(life), Due::Renew(_)) {
            self.due = Some(Due::Renew(Instant::now()));
            self.not_before = None;
        }
    }

    /// It worked.
    pub(super) fn worked(&mut self) {
        self.backoff.reset();
        self.not_before = None;
    }
}
