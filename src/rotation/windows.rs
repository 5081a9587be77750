//! When rotations that are due may begin: times of the week, as they are `written`.
//!
//! Pure. Must not know: what is due.

mod written;

use super::config::Window;

const DAY: u64 = 86_400;
const WEEK: u64 = 7 * DAY;

impl Window {
    /// Whether it is open at this time, in seconds since 1970.
    pub fn is_open(&self, at: u64) -> bool {
        let (day, second) = self.local(at);
        let is_its_day = usize::try_from(day).ok().and_then(|day| self.days.get(day)) == Some(&true);
        is_its_day && (self.begins.as_secs()..self.ends.as_secs()).contains(&second)
    }

    /// The day of the week (0 is Monday) and the second of it, where the window is.
    fn local(&self, at: u64) -> (u64, u64) {
        // 1 January 1970 was a Thursday; two weeks keep it above zero.
        let shifted = at.saturating_add(3 * DAY + 2 * WEEK).saturating_add_signed(i64::from(self.offset));
        (shifted / DAY % 7, shifted % DAY)
    }

    /// When it opens next, after this time; none where it never does.
    fn opens_after(&self, at: u64) -> Option<u64> {
        let (_, second) = self.local(at);
        // Midnight before, there; then a week of days and one more.
        (0..=7).find_map(|days| {
            let opens = at.checked_add(days * DAY + self.begins.as_secs())?.checked_sub(second)?;
            (opens > at && self.is_open(opens)).then_some(opens)
        })
    }
}

/// Whether anything may begin now: with no windows, always.
pub(super) fn is_open(windows: &[Window], at: u64) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.is_open(at))
}

/// When the next one opens.
pub(super) fn opens_after(windows: &[Window], at: u64) -> Option<u64> {
    windows.iter().filter_map(|window| window.opens_after(at)).min()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Monday, 1 January 2024, 00:00 UTC.
    const MONDAY: u64 = 1_704_067_200;

    fn window(days: [bool; 7], hours: [u64; 2], offset: i32) -> Window {
        let [begins, ends] = hours.map(|hours| Duration::from_secs(hours * 3600));
        Window { days, begins, ends, offset }
    }

    #[track_caller]
    fn check(window: &Window, at: u64, open: bool, next: u64) {
        assert_eq!(window.is_open(MONDAY + at), open);
        let windows = std::slice::from_ref(window);
        assert_eq!(is_open(windows, MONDAY + at), open);
        assert_eq!(opens_after(windows, MONDAY + at), Some(MONDAY + next));
    }

    #[test]
    fn a_window_is_open_on_its_days_from_its_beginning_to_before_its_end() {
        const H: u64 = 3600;
        let week = window([true, true, true, true, true, false, false], [10, 16], 0);
        check(&week, 0, false, 10 * H);
        check(&week, 10 * H - 1, false, 10 * H);
        check(&week, 10 * H, true, DAY + 10 * H);
        check(&week, 16 * H - 1, true, DAY + 10 * H);
        check(&week, 16 * H, false, DAY + 10 * H);
        check(&week, 4 * DAY + 12 * H, true, WEEK + 10 * H);
        check(&week, 5 * DAY + 12 * H, false, WEEK + 10 * H);
        // Saturday 02:00 to 04:00 in India is Friday 20:30 to 22:30 UTC.
        let india = window([false, false, false, false, false, true, false], [2, 4], 19_800);
        let opens = 4 * DAY + 20 * H + 1800;
        check(&india, 0, false, opens);
        check(&india, opens - 1, false, opens);
        check(&india, opens, true, WEEK + opens);
        check(&india, opens + 2 * H, false, WEEK + opens);
        // Monday until midnight, ten hours west.
        let west = window([true, false, false, false, false, false, false], [22, 24], -36_000);
        check(&west, DAY + 8 * H, true, WEEK + DAY + 8 * H);
        check(&west, DAY + 10 * H, false, WEEK + DAY + 8 * H);
    }

    #[test]
    fn no_window_is_always_and_a_window_without_days_is_never() {
        assert!(is_open(&[], MONDAY));
        let never = [window([false; 7], [0, 24], 0)];
        assert!(!is_open(&never, MONDAY));
        assert_eq!(opens_after(&never, MONDAY), None);
        assert_eq!(opens_after(&[window([true; 7], [0, 24], 0)], u64::MAX), None, "the end of all time");
    }
}
