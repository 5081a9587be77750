//! How long a token or a lease lives, and what is due when. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The share of a grant after which it is renewed.
const RENEW_AFTER: f64 = 2.0 / 3.0;

/// The share of the first grant at its end in which it is replaced: nothing new
/// is asked for earlier, so that no failure can mint without end.
const END_WINDOW: f64 = 0.1;

/// A renewal that adds less than this share of the grant is the last one: the
/// server's maximum is near.
const WORTHWHILE: f64 = 1.0 / 3.0;

/// More than this is as good as for ever, and more than the clock can count.
const MOST: Duration = Duration::from_hours(100 * 365 * 24);

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Life {
    /// What the first grant was.
    first: Duration,
    granted: Instant,
    /// What the present grant is; zero means for ever.
    ttl: Duration,
    renewable: bool,
    /// When it ends whatever is granted: with the token that made it.
    until: Option<Instant>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing: it lives for ever.
    Never,
    /// Renew it then.
    Renew(Instant),
    /// Get a new one then.
    Replace(Instant),
}

impl Due {
    /// When, if ever.
    pub(super) fn at(self) -> Option<Instant> {
        match self {
            Self::Never => None,
            Self::Renew(at) | Self::Replace(at) => Some(at),
        }
    }
}

impl Life {
    /// A first grant.
    pub(super) fn new(now: Instant, ttl: Duration, renewable: bool) -> Self {
        let ttl = ttl.min(MOST);
        Self { first: ttl, granted: now, ttl, renewable, until: None }
    }

    /// After a renewal.
    pub(super) fn renewed(&self, now: Instant, ttl: Duration, renewable: bool) -> Self {
        let next = self.prolonged(now, ttl, renewable);
        let gained = next.granted_until().zip(self.granted_until());
        let gained = gained.map(|(next, end)| next.saturating_duration_since(end));
        let worthwhile = gained.is_none_or(|gained| gained >= self.ttl.mul_f64(WORTHWHILE));
        Self { renewable: next.renewable && worthwhile, ..next }
    }

    /// After a renewal of what cannot be replaced, so that the least gain counts.
    pub(super) fn prolonged(&self, now: Instant, ttl: Duration, renewable: bool) -> Self {
        if ttl.is_zero() && !self.ttl.is_zero() {
            // Less than a second, which servers cut off: what ends does not become
            // endless.
            return self.final_grant();
        }
        Self { granted: now, ttl: ttl.min(MOST), renewable, ..self.clone() }
    }

    /// The same, which ends then at the latest.
    pub(super) fn limited(&self, until: Instant) -> Self {
        let until = self.until.map_or(until, |before| before.min(until));
        Self { until: Some(until), ..self.clone() }
    }

    /// The same, which cannot be renewed any more.
    pub(super) fn final_grant(&self) -> Self {
        Self { renewable: false, ..self.clone() }
    }

    /// When it ends; never, if it lives for ever.
    pub(super) fn ends(&self) -> Option<Instant> {
        [self.granted_until(), self.until].into_iter().flatten().min()
    }

    fn granted_until(&self) -> Option<Instant> {
        (!self.ttl.is_zero()).then(|| self.granted + self.ttl)
    }

    /// The time before its end in which it is replaced.
    fn window(&self) -> Duration {
        self.first.mul_f64(END_WINDOW).min(self.ttl)
    }

    /// Whether it is in that time, or past it.
    pub(super) fn is_nearly_over(&self, now: Instant) -> bool {
        self.ends().is_some_and(|end| end.saturating_duration_since(now) <= self.window())
    }

    /// What is due, spread by `share` (0 to 1) so that not all of us come at once.
    pub(super) fn due(&self, share: f64) -> Due {
        let Some(end) = self.ends() else { return Due::Never };
        // Past the end of the token nothing can be renewed.
        if self.renewable && self.until != Some(end) {
            return Due::Renew(self.granted + self.ttl.mul_f64(RENEW_AFTER * (1.0 - share / 10.0)));
        }
        Due::Replace(end - self.window().mul_f64(1.0 - share / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: u64) -> Duration {
        Duration::from_secs(text)
    }

    /// What is due, as seconds after the first grant.
    fn told(life: &Life, start: Instant) -> String {
        let at = |at: Instant| (at - start).as_secs();
        match life.due(0.0) {
            Due::Never => "never".into(),
            Due::Renew(then) => format!("renew at {}", at(then)),
            Due::Replace(then) => format!("replace at {}", at(then)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn renewal_timing_table() {
        let start = Instant::now();
        for (ttl, renewable, due) in [
            (0, false, "never"),
            (0, true, "never"),
            (60, true, "renew at 40"),
            (3600, true, "renew at 2400"),
            (60, false, "replace at 54"),
            (3600, false, "replace at 3240"),
            (1, true, "renew at 0"),
        ] {
            assert_eq!(told(&Life::new(start, seconds(ttl), renewable), start), due, "{ttl} {renewable}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_adds_little_is_the_last() {
        let start = Instant::now();
        // 60 seconds each, 150 at most.
        let life = Life::new(start, seconds(60), true);
        let life = life.renewed(start + seconds(40), seconds(60), true);
        assert_eq!(told(&life, start), "renew at 80");
        let life = life.renewed(start + seconds(80), seconds(60), true);
        assert_eq!(told(&life, start), "renew at 120");
        let life = life.renewed(start + seconds(120), seconds(30), true);
        assert_eq!(told(&life, start), "replace at 144", "a tenth of the first grant before the end");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_ends_early_is_replaced_before_that() {
        let start = Instant::now();
        let life = Life::new(start, seconds(100), true);
        // Shorter than the end window of the first grant: at once.
        let life = life.renewed(start + seconds(66), seconds(5), true);
        assert_eq!(told(&life, start), "replace at 66");
        // Not renewable any more.
        let life = Life::new(start, seconds(100), true).renewed(start + seconds(66), seconds(100), false);
        assert_eq!(told(&life, start), "replace at 156");
        assert_eq!(told(&Life::new(start, seconds(100), true).final_grant(), start), "replace at 90");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_with_its_token() {
        let start = Instant::now();
        let lease = Life::new(start, seconds(60), true);
        let limited = lease.limited(start + seconds(100));
        assert_eq!(told(&limited, start), "renew at 40", "it ends before the token does");
        let limited = limited.renewed(start + seconds(40), seconds(60), true);
        assert_eq!(told(&limited, start), "replace at 94", "a tenth of the first grant before the end");
        let limited = limited.limited(start + seconds(500));
        assert_eq!(told(&limited, start), "replace at 94", "of several tokens the first that ends counts");
    }

    #[tokio::test(start_paused = true)]
    async fn no_span_is_too_long_and_none_becomes_endless() {
        let start = Instant::now();
        for most in [u64::MAX, i64::MAX as u64] {
            let life = Life::new(start, seconds(most), true);
            assert_eq!(life.renewed(start, seconds(most), true).ends(), life.ends());
        }
        let life = Life::new(start, seconds(60), true).renewed(start + seconds(40), seconds(0), true);
        assert_eq!(told(&life, start), "replace at 54");
    }

    #[tokio::test(start_paused = true)]
    async fn the_spread_stays_in_its_window() {
        let start = Instant::now();
        let life = Life::new(start, seconds(1000), true);
        assert_eq!(life.due(1.0), Due::Renew(start + seconds(600)));
        let life = Life::new(start, seconds(1000), false);
        assert_eq!(life.due(1.0), Due::Replace(start + seconds(950)));
    }
}
