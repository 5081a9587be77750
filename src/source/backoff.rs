//! How long to wait before a server is asked again, and the jitter that keeps
//! many of us from asking at once.
//!
//! Pure but for the kernel's random numbers.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(250);

/// The longest.
const LAST: Duration = Duration::from_secs(30);

/// Exponential, capped, with jitter; back to the start after a success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: between half of it and all, by `share`
    /// (0 to 1).
    pub(crate) fn after_failure(&mut self, share: f64) -> Duration {
        let wait = FIRST.saturating_mul(2_u32.saturating_pow(self.failures.min(16))).min(LAST);
        self.failures = self.failures.saturating_add(1);
        wait.mul_f64(0.5 + share.clamp(0.0, 1.0) / 2.0)
    }

    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A random number from 0 to 1. Without random numbers, the middle.
pub(crate) fn share() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

/// A span, one tenth more or less.
pub(crate) fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.9 + share() / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_back_off_and_reset_on_success() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..10).map(|_| backoff.after_failure(1.0).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        backoff.reset();
        assert_eq!(backoff.after_failure(0.0), Duration::from_millis(125), "half of the first");
        let mut long = Backoff { failures: u32::MAX };
        assert_eq!(long.after_failure(1.0), LAST);
    }

    #[test]
    fn jitter_is_a_tenth() {
        for _ in 0..1000 {
            let span = jittered(Duration::from_secs(10)).as_secs_f64();
            assert!((9.0..=11.0).contains(&span), "{span}");
        }
    }
}
