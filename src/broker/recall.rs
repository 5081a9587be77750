//! What an earlier daemon kept: of which source it is, how old, and what of it ends.
//!
//! Owns: from wall time, which survives a restart, to this process's clock, and back.
//! Pure: times are arguments.
//! Must not know: what becomes of the values (`hold`); where they were kept.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::model::kept::KeptLease;
use crate::model::key::SourceName;
use crate::source::Lent;

/// What was kept and is not used: of which source, and why, as a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclaimed {
    /// The source's name in the settings of the daemon that kept it.
    pub source: SourceName,
    /// `the settings have no such source`.
    pub why: &'static str,
}

/// What the clocks say at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) wall: SystemTime,
    pub(super) now: Instant,
}

impl Moment {
    pub(super) fn present() -> Self {
        Self { wall: SystemTime::now(), now: Instant::now() }
    }

    /// The wall time of a moment of this process.
    pub(super) fn wall_of(self, at: Instant) -> SystemTime {
        let time = if at > self.now {
            self.wall.checked_add(at.duration_since(self.now))
        } else {
            self.wall.checked_sub(self.now.duration_since(at))
        };
        time.unwrap_or(self.wall)
    }
}

/// When and for how long an earlier daemon knew what it kept of a source.
#[derive(Debug, Clone)]
pub(super) struct Recalled {
    confirmed: SystemTime,
    max_age: Option<Duration>,
    lent: Vec<KeptLease>,
    /// When it was recalled, and how old it was then. No moment of this process may
    /// be that long ago.
    at: Moment,
    age: Duration,
}

impl Recalled {
    pub(super) fn new(
        confirmed: SystemTime,
        max_age: Option<Duration>,
        lent: Vec<KeptLease>,
        at: Moment,
    ) -> Self {
        // One that is a little in the future was confirmed by a clock that was fast.
        let age = at.wall.duration_since(confirmed).unwrap_or_default();
        Self { confirmed, max_age, lent, at, age }
    }

    /// When the source last confirmed it.
    pub(super) fn confirmed(&self) -> SystemTime {
        self.confirmed
    }

    /// The limit that it was kept under.
    pub(super) fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    pub(super) fn age(&self, now: Instant) -> Duration {
        self.age.saturating_add(now.saturating_duration_since(self.at.now))
    }

    /// What was lent, by this process's clock.
    pub(super) fn lent(&self) -> impl Iterator<Item = Lent> {
        self.lent.iter().map(|lease| {
            let left = |ends: SystemTime| ends.duration_since(self.at.wall).unwrap_or_default();
            Lent {
                place: lease.place.clone(),
                ends: lease.ends.and_then(|ends| self.at.now.checked_add(left(ends))),
            }
        })
    }
}
