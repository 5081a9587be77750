//! Times of the week, read from what the settings write.
//!
//! Pure. Invariant: a text means the same everywhere: no time zone's rules are looked up,
//! only a fixed distance from UTC.

use std::time::Duration;

use crate::rotation::config::Window;

const DAY: u64 = 24 * 3600;
const MINUTE: u64 = 60;

/// From Monday on, as they are written.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// The greatest distance from UTC that any place on Earth has.
const FARTHEST: i32 = 14 * 3600;

/// Why a text is no window. It does not repeat the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoWindow {
    /// What it is or lacks, as a clause.
    pub clause: String,
    /// What to write.
    pub help: String,
}

fn no<T>(clause: impl Into<String>, help: impl Into<String>) -> Result<T, NoWindow> {
    Err(NoWindow { clause: clause.into(), help: help.into() })
}

impl Window {
    /// Reads `Mon-Fri 10:00-16:00`, `Mon,Wed 22:00-24:00`, `Sat 02:00-04:00 +05:30`.
    ///
    /// # Errors
    /// [`NoWindow`].
    pub fn parse(text: &str) -> Result<Self, NoWindow> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let (days, times, offset) = match *parts.as_slice() {
            [days, times] => (days, times, None),
            [days, times, offset] => (days, times, Some(offset)),
            [times] if times.contains(':') => {
                return no(
                    "does not say on which days",
                    format!("write \"Mon-Sun {times}\" for all of them"),
                );
            }
            _ => {
                return no(
                    "is no time of the week",
                    "write days, times and, unless it is UTC, the distance from it: \"Mon-Fri 10:00-16:00 +05:30\"",
                );
            }
        };
        let days = days_of(days)?;
        let (begins, ends) = times_of(times)?;
        let seconds = offset.map_or(Ok(0), offset_of)?;
        if begins == ends {
            return no("ends when it begins", "write a later end; a whole day is 00:00-24:00");
        }
        if begins > ends {
            let offset = offset.map(|offset| format!(" {offset}")).unwrap_or_default();
            let mut next = days;
            next.rotate_right(1);
            return no(
                "goes over midnight",
                format!(
                    "write two: \"{} {}-24:00{offset}\" and \"{} 00:00-{}{offset}\"",
                    named(days),
                    clock(begins),
                    named(next),
                    clock(ends)
                ),
            );
        }
        let since = |minutes| Duration::from_secs(minutes * MINUTE);
        Ok(Self { days, begins: since(begins), ends: since(ends), offset: seconds })
    }
}

fn days_of(text: &str) -> Result<[bool; 7], NoWindow> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (Some(first), Some(last)) = (day(first), day(last)) else {
            return no(
                "names days that there are not",
                "write Mon, Tue, Wed, Thu, Fri, Sat or Sun: \"Mon-Fri\", \"Mon,Wed\"",
            );
        };
        // Sat-Mon is the weekend and the day after it.
        let many = (last + 7 - first) % 7;
        for at in first..=first + many {
            if let Some(day) = days.get_mut(at % 7) {
                *day = true;
            }
        }
    }
    Ok(days)
}

fn day(text: &str) -> Option<usize> {
    DAYS.iter().position(|day| day.eq_ignore_ascii_case(text))
}

/// Days as they are written: `Mon-Wed,Sat`.
fn named(days: [bool; 7]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for at in (0..7).filter(|at| days.get(*at) == Some(&true)) {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == at => *last = at,
            _ => parts.push((at, at)),
        }
    }
    let name = |at: usize| DAYS.get(at).copied().unwrap_or_default();
    let written = |(first, last): (usize, usize)| match last - first {
        0 => name(first).to_owned(),
        _ => format!("{}-{}", name(first), name(last)),
    };
    parts.into_iter().map(written).collect::<Vec<_>>().join(",")
}

/// In minutes since midnight.
fn times_of(text: &str) -> Result<(u64, u64), NoWindow> {
    let times = text.split_once('-').and_then(|(begins, ends)| Some((minutes(begins)?, minutes(ends)?)));
    match times {
        Some((begins, ends)) if begins < DAY / MINUTE && ends <= DAY / MINUTE => Ok((begins, ends)),
        Some(_) => no(
            "has a time beyond the day",
            "write 00:00 to 23:59 for its begin, and 24:00 at most for its end",
        ),
        None => no("has no times", "write them with two digits each: \"09:30-16:00\""),
    }
}

/// `10:30`, and `24:30` too.
fn minutes(text: &str) -> Option<u64> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes)
}

fn two_digits(text: &str) -> Option<u64> {
    let is_two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_two)
}

fn clock(minutes: u64) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// `+05:30`, in seconds.
fn offset_of(text: &str) -> Result<i32, NoWindow> {
    if matches!(text, "Z" | "UTC") {
        return Ok(0);
    }
    let help =
        "write it as \"+05:30\" or \"-03:00\"; it does not follow summer time, and without one it is UTC";
    let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(rest), _) => (1, rest),
        (_, Some(rest)) => (-1, rest),
        _ => return no("ends with something that is no distance from UTC", help),
    };
    let seconds = minutes(rest).and_then(|minutes| i32::try_from(minutes * MINUTE).ok());
    match seconds.filter(|seconds| *seconds <= FARTHEST) {
        Some(seconds) => Ok(sign * seconds),
        None => no("is farther from UTC than any place", help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-23, a Monday, at midnight in UTC.
    const MONDAY: u64 = 1_795_392_000;

    /// Seconds since 1970 of a time in that week.
    fn at(day: u64, hour: u64, minute: u64) -> u64 {
        MONDAY + day * DAY + hour * 3600 + minute * MINUTE
    }

    #[test]
    fn a_window_is_open_from_its_begin_until_before_its_end() {
        for (text, now, is_open) in [
            ("Mon-Fri 10:00-16:00", at(0, 9, 59), false),
            ("Mon-Fri 10:00-16:00", at(0, 10, 0), true),
            ("Mon-Fri 10:00-16:00", at(4, 15, 59), true),
            ("Mon-Fri 10:00-16:00", at(4, 16, 0), false),
            ("Mon-Fri 10:00-16:00", at(5, 12, 0), false),
            ("Mon,Wed 00:00-24:00", at(2, 23, 59), true),
            ("Mon,Wed 00:00-24:00", at(1, 23, 59), false),
            ("Mon,Wed 00:00-24:00", at(3, 0, 0), false),
            ("mon-tue,SUN 10:00-11:00", at(6, 10, 30), true),
            ("Sat-Mon 10:00-11:00", at(0, 10, 30), true),
            ("Sat-Mon 10:00-11:00", at(6, 10, 30), true),
            ("Sat-Mon 10:00-11:00", at(1, 10, 30), false),
            // 02:00 on a Saturday in India is 20:30 on Friday in UTC.
            ("Sat 02:00-04:00 +05:30", at(4, 20, 29), false),
            ("Sat 02:00-04:00 +05:30", at(4, 20, 30), true),
            ("Sat 02:00-04:00 +05:30", at(5, 2, 30), false),
            // 23:00 on a Sunday in Brazil is 02:00 on Monday in UTC.
            ("Sun 22:00-24:00 -03:00", at(0, 2, 0), true),
            ("Mon 10:00-11:00 UTC", at(0, 10, 0), true),
            ("Thu 00:00-00:01", 0, true),
            ("Wed 19:00-24:00 -05:00", 0, true),
        ] {
            assert_eq!(Window::parse(text).unwrap().is_open(now), is_open, "{text} at {now}");
        }
    }

    #[test]
    fn what_is_no_window_says_what_to_write() {
        for (text, clause, help) in [
            ("", "is no time of the week", "Mon-Fri 10:00-16:00"),
            ("always", "is no time of the week", "Mon-Fri 10:00-16:00"),
            ("10:00-16:00", "does not say on which days", "\"Mon-Sun 10:00-16:00\""),
            ("Monday 10:00-16:00", "names days that there are not", "Mon, Tue"),
            ("Mon- 10:00-16:00", "names days that there are not", "Mon, Tue"),
            ("Mon,,Tue 10:00-16:00", "names days that there are not", "Mon, Tue"),
            ("Mon 10-16", "has no times", "\"09:30-16:00\""),
            ("Mon 9:30-16:00", "has no times", "\"09:30-16:00\""),
            ("Mon 10:60-16:00", "has no times", "\"09:30-16:00\""),
            ("Mon 10:00-24:01", "has a time beyond the day", "24:00 at most"),
            ("Mon 24:00-24:00", "has a time beyond the day", "00:00 to 23:59"),
            ("Mon 10:00-10:00", "ends when it begins", "00:00-24:00"),
            (
                "Fri-Sun 22:00-02:00 +05:30",
                "goes over midnight",
                "write two: \"Fri-Sun 22:00-24:00 +05:30\" and \"Mon,Sat-Sun 00:00-02:00 +05:30\"",
            ),
            ("Mon 10:00-16:00 Asia/Kolkata", "no distance from UTC", "summer time"),
            ("Mon 10:00-16:00 +0530", "is farther from UTC", "\"+05:30\""),
            ("Mon 10:00-16:00 +14:01", "is farther from UTC", "\"+05:30\""),
            ("Mon 10:00-16:00 +05:30 x", "is no time of the week", ""),
        ] {
            let wrong = Window::parse(text).unwrap_err();
            assert!(wrong.clause.contains(clause) && wrong.help.contains(help), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn what_is_written_instead_of_one_over_midnight_is_taken() {
        for text in ["Fri-Sun 22:00-02:00 +05:30", "Mon,Wed 23:30-00:30", "Sun 12:00-11:59"] {
            let help = Window::parse(text).unwrap_err().help;
            let two: Vec<&str> = help.split('"').skip(1).step_by(2).collect();
            assert_eq!(two.len(), 2, "{help}");
            for one in two {
                Window::parse(one).unwrap();
            }
        }
    }
}
