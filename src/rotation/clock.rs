//! What time it is, for things that must not happen too early.
//!
//! Pure but for [`SystemClock`]. Invariants: a leap of the wall clock is not believed
//! until a server's clock confirms it; what is believed strays from what it was anchored
//! to by a minute at most.
//! Must not know: what is due.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The machine's clocks.
pub trait Clock: Send + Sync {
    /// Seconds since 1970, as the machine has it now: it may leap.
    fn wall(&self) -> u64;

    /// Since some fixed moment: it never leaps, and goes on while the machine sleeps.
    fn steady(&self) -> Duration;
}

/// The kernel's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> u64 {
        seconds(SystemTime::now())
    }

    fn steady(&self) -> Duration {
        crate::process::since_boot()
    }
}

/// Seconds since 1970; 0 for what is before.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How far the wall clock may stray from what it was anchored to.
const LEAP: u64 = 60;

/// How far a server's clock may be from ours.
pub const APART: u64 = 300;

/// What time it is believed to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timekeeper {
    /// A wall clock that was believed, and the steady one at that moment.
    anchor: (u64, Duration),
}

/// The time, as it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Seconds since 1970.
    pub now: u64,
    /// By how many seconds the wall clock leapt from it; 0 where it is believed.
    pub leap: i64,
}

impl Timekeeper {
    /// One that believes the wall clock as it is now.
    pub fn new(wall: u64, steady: Duration) -> Self {
        Self { anchor: (wall, steady) }
    }

    /// The time. It follows the wall clock as long as that did not leap.
    pub fn read(&self, wall: u64, steady: Duration) -> Reading {
        let (then, at) = self.anchor;
        let expected = then.saturating_add(steady.saturating_sub(at).as_secs());
        if wall.abs_diff(expected) <= LEAP {
            return Reading { now: wall, leap: 0 };
        }
        let leap = i64::try_from(i128::from(wall) - i128::from(expected)).unwrap_or(i64::MAX);
        Reading { now: expected, leap }
    }

    /// A server's clock was read: where it agrees with the wall clock, that is right.
    pub fn confirm(&mut self, wall: u64, steady: Duration, server: u64) {
        if wall.abs_diff(server) <= APART {
            self.anchor = (wall, steady);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000;

    /// After so many seconds, with the wall clock off by so many, and a server's clock
    /// off by so many: what is believed, off by so many, and whether it leapt.
    #[track_caller]
    fn check(course: &[(u64, i64, Option<i64>, i64, bool)]) {
        let mut keeper = Timekeeper::new(START, Duration::from_secs(500));
        for (row, (after, wall, server, believed, leapt)) in course.iter().enumerate() {
            let off = |by: &i64| START.saturating_add(*after).saturating_add_signed(*by);
            let steady = Duration::from_secs(500 + after);
            if let Some(server) = server {
                keeper.confirm(off(wall), steady, off(server));
            }
            let reading = keeper.read(off(wall), steady);
            assert_eq!((reading.now, reading.leap != 0), (off(believed), *leapt), "row {row}");
            assert_eq!(reading.leap, if *leapt { wall - believed } else { 0 }, "row {row}");
        }
    }

    #[test]
    fn a_leap_is_not_believed_until_a_server_confirms_it() {
        check(&[(0, 0, None, 0, false), (3600, 60, None, 60, false), (7200, -60, None, -60, false)]);
        // However often it creeps, it strays by a minute at most.
        check(&[(10, 50, None, 50, false), (20, 100, None, 0, true), (30, 61, None, 0, true)]);
        check(&[(10, 86_400, None, 0, true), (99, 86_400, None, 0, true), (200, 5, None, 5, false)]);
        check(&[(10, -86_400, None, 0, true), (99, -86_400, Some(-86_400), -86_400, false)]);
        check(&[
            (10, 9_000, Some(0), 0, true),
            (20, 9_000, Some(9_300), 9_000, false),
            (30, 0, None, 9_000, true),
        ]);
        check(&[(10, 9_000, Some(9_301), 0, true)]);
    }

    #[test]
    fn the_steady_clock_goes_on() {
        let before = SystemClock.steady();
        assert!(before > Duration::ZERO && SystemClock.steady() >= before);
        assert!(SystemClock.wall() > START - 100_000_000);
    }
}
