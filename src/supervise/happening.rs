//! What a supervisor tells. Value-free.

use std::time::Duration;

use super::offer::Difference;

/// Who is told.
pub trait Witness {
    /// Something happened.
    fn tell(&self, happening: Happening);
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// The program was started.
    Started {
        /// Its number.
        pid: i32,
        /// Whether it is the first time.
        first: bool,
    },
    /// What runs was proven with the values of this version, or had the same before.
    Runs {
        /// None where no daemon named one.
        version: Option<Box<str>>,
    },
    /// It runs no more.
    RunsNoMore,
    /// Its variables changed, and it is about to be started with them.
    Restarting(Difference),
    /// Its variables changed, and it is told by a signal or a command.
    Reloading(Difference),
    /// Its variables changed, and it goes on with the old ones.
    GoesOn(Difference),
    /// What was about to be applied is what it has already.
    ChangedBack,
    /// There is a valid configuration that cannot be handed in this way. The program goes
    /// on with what it has.
    NotTaken {
        /// Why, as a clause.
        why: String,
    },
    /// The signal or the command for a change failed. The program goes on.
    ReloadFailed {
        /// Why, as a clause.
        why: String,
    },
    /// It ended by itself and is started again.
    Died {
        /// Its code.
        code: u8,
        /// After this.
        again_in: Duration,
    },
    /// A signal ended it that was no request to end, and dlconf ends with it.
    EndedBySignal {
        /// 128 and the signal's number.
        code: u8,
        /// Whether it is the one that tells of a change.
        by_ours: bool,
    },
    /// It ended by itself too often in a row.
    GivenUp {
        /// Its code.
        code: u8,
        /// How often it was started again.
        restarts: u32,
    },
    /// It could not be started with new values.
    NotStarted {
        /// Why.
        why: String,
        /// When that is tried again; none where it is not.
        again_in: Option<Duration>,
    },
    /// It does not work with new values, and is put back on those that it had before.
    PutBack {
        /// The variables that differ.
        from: Difference,
        /// Why.
        why: Unhealthy,
        /// Why the last look at it showed nothing, as a clause; where there was one.
        saw: Option<String>,
    },
    /// It works, with the values it was put back on or started with first.
    Healthy {
        /// Whether it was put back on these.
        put_back: bool,
    },
    /// It does not work, and there is nothing to put it back on.
    NotHealthy {
        /// Whether it was put back already.
        put_back: bool,
        /// How long that was waited for.
        waited: Duration,
        /// Why the last look at it showed nothing, as a clause; where there was one.
        saw: Option<String>,
    },
    /// It does not work, so that it remains our turn: no other one restarts.
    HoldsUp,
    /// It, or what it had started, did not end in time and was killed.
    Killed {
        /// The time.
        after: Duration,
    },
    /// What it had started cannot even be killed, and is left behind.
    LeftBehind,
}

/// Why new values are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unhealthy {
    /// The program ended with this code.
    Ended(u8),
    /// It did not become healthy within this time.
    InTime(Duration),
    /// It could not be started.
    NotStarted,
}
