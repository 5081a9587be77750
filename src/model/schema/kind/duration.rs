//! Durations in the three dialects, and the one reading of what people write.
//!
//! Go's is `time.ParseDuration` to the last overflow: whatever it refuses, the
//! program replaces by its default without a word.

use std::fmt::Write;

use super::{Dialect, Fault, quoted};

const NANOSECOND: i128 = 1;
const MICROSECOND: i128 = 1_000;
const MILLISECOND: i128 = 1_000_000;
const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;
const WEEK: i128 = 7 * DAY;

/// Reads a duration within limits, in nanoseconds.
pub(super) fn read(
    value: &str,
    dialect: Dialect,
    min: Option<i128>,
    max: Option<i128>,
) -> Result<i64, Fault> {
    let nanos = match dialect {
        Dialect::Go => go(value),
        Dialect::Iso8601 => iso(value).ok_or_else(|| Fault::not("it is no ISO 8601 duration")),
        Dialect::Seconds => seconds(value),
    }
    .map_err(|fault| fault.works(meant(value, dialect)))?;
    match (min, max) {
        (Some(min), _) if i128::from(nanos) < min => {
            Err(Fault::range(format!("it is shorter than {}", write(min, dialect))))
        }
        (_, Some(max)) if i128::from(nanos) > max => {
            Err(Fault::range(format!("it is longer than {}", write(max, dialect))))
        }
        _ => Ok(nanos),
    }
}

/// Writes a duration as a dialect reads it.
pub(super) fn write(nanos: i128, dialect: Dialect) -> String {
    match dialect {
        Dialect::Go => go_duration(nanos),
        Dialect::Seconds => (nanos / SECOND).to_string(),
        Dialect::Iso8601 => iso_duration(nanos.max(0)),
    }
}

/// Writes nanoseconds after ISO 8601: `P7D`, `PT1H30M`, `PT0.5S`.
fn iso_duration(nanos: i128) -> String {
    let mut text = "P".to_owned();
    let mut left = nanos;
    for (unit, name) in [(DAY, "D"), (HOUR, "H"), (MINUTE, "M")] {
        if left >= unit {
            if unit < DAY && !text.contains('T') {
                text.push('T');
            }
            let _ = write!(text, "{}{name}", left / unit);
            left %= unit;
        }
    }
    if left > 0 || nanos == 0 {
        let (seconds, fraction) = (left / SECOND, format!("{:09}", left % SECOND));
        let fraction = fraction.trim_end_matches('0');
        let (begin, point) =
            (if text.contains('T') { "" } else { "T" }, if fraction.is_empty() { "" } else { "." });
        let _ = write!(text, "{begin}{seconds}{point}{fraction}S");
    }
    text
}

/// Writes nanoseconds as a Go duration, in as few units as it takes: `168h`,
/// `15m`, `1h30m`, `1s500ms`.
pub fn go_duration(nanos: i128) -> String {
    let mut left = nanos.unsigned_abs();
    if left == 0 {
        return "0s".to_owned();
    }
    let mut text = if nanos < 0 { "-".to_owned() } else { String::new() };
    let units = [
        (HOUR, "h"),
        (MINUTE, "m"),
        (SECOND, "s"),
        (MILLISECOND, "ms"),
        (MICROSECOND, "us"),
        (NANOSECOND, "ns"),
    ];
    for (unit, name) in units {
        let unit = unit.unsigned_abs();
        if left >= unit {
            let _ = write!(text, "{}{name}", left / unit);
            left %= unit;
        }
    }
    text
}

/// Nanoseconds, where Go's `time.ParseDuration` reads the text.
pub fn parse_go_duration(text: &str) -> Option<i64> {
    go(text).ok()
}

/// Nanoseconds of a duration as people write it: Go's units, and days, weeks,
/// words and spaces: `30d`, `2 weeks`, `1h 30m`. A number needs its unit.
pub fn plain_duration(text: &str) -> Option<i128> {
    let mut total: i128 = 0;
    for part in plain_parts(text)? {
        total = total.checked_add(part.nanos()?)?;
    }
    Some(total)
}

/// `time.ParseDuration`, step for step, so that the two agree on every input.
fn go(value: &str) -> Result<i64, Fault> {
    const LIMIT: u64 = 1 << 63;
    let overflow = || Fault::not("it is longer than the 292 years that fit into 64 bits");
    let (negative, mut rest) = match value.as_bytes() {
        [b'-', ..] => (true, value.get(1..).unwrap_or_default()),
        [b'+', ..] => (false, value.get(1..).unwrap_or_default()),
        _ => (false, value),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(Fault::not("there is no number"));
    }
    let mut total: u64 = 0;
    while let Some(first) = rest.chars().next() {
        let offset = value.len() - rest.len();
        if first != '.' && !first.is_ascii_digit() {
            return Err(Fault::not(format!("{} is no number", quoted(rest))).at(offset..value.len()));
        }
        let (whole, fraction, after) = number(rest);
        let unit_at = value.len() - after.len();
        if whole.is_empty() && fraction.is_none_or(str::is_empty) {
            return Err(Fault::not("there are no digits").at(offset..unit_at));
        }
        let whole = whole
            .bytes()
            .try_fold(0_u64, |sum, digit| {
                let next = (sum <= LIMIT / 10).then(|| sum * 10 + u64::from(digit - b'0'))?;
                (next <= LIMIT).then_some(next)
            })
            .ok_or_else(overflow)?;
        let end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(end).unwrap_or((after, ""));
        let nanos: u64 = match unit {
            "" => return Err(Fault::not("a number without a unit").at(offset..unit_at)),
            "ns" => 1,
            // Both the micro sign and the Greek letter.
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => {
                let reason = if unit.trim() == unit {
                    format!("Go has no unit {}", quoted(unit))
                } else {
                    "Go allows no spaces in a duration".to_owned()
                };
                // The number is marked with its unit: 7d, not only the d.
                return Err(Fault::not(reason).at(offset..unit_at + unit.len()));
            }
        };
        let mut part = whole.checked_mul(nanos).ok_or_else(overflow)?;
        part = part.saturating_add(fraction_of(fraction.unwrap_or_default(), nanos));
        if part > LIMIT {
            return Err(overflow());
        }
        // Go's sum wraps, in the one case of two parts of 2^63 each.
        total = total.wrapping_add(part);
        if total > LIMIT {
            return Err(overflow());
        }
        rest = next;
    }
    if negative {
        return Ok(0_i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| overflow())
}

/// Splits `12.5h…` into `12`, `5` and `h…`.
fn number(text: &str) -> (&str, Option<&str>, &str) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (whole, rest) = text.split_at_checked(digits(text)).unwrap_or((text, ""));
    match rest.strip_prefix('.') {
        Some(rest) => {
            let (fraction, rest) = rest.split_at_checked(digits(rest)).unwrap_or((rest, ""));
            (whole, Some(fraction), rest)
        }
        None => (whole, None, rest),
    }
}

/// Go computes fractions in 64-bit floats and drops digits that overflow.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the casts are Go's own, and the result is what Go gets"
)]
fn fraction_of(digits: &str, unit: u64) -> u64 {
    let (mut number, mut scale) = (0_u64, 1_f64);
    for digit in digits.bytes() {
        if number > (u64::MAX >> 1) / 10 {
            break;
        }
        let next = number * 10 + u64::from(digit - b'0');
        if next > 1 << 63 {
            break;
        }
        number = next;
        scale *= 10.0;
    }
    (number as f64 * (unit as f64 / scale)) as u64
}

fn seconds(value: &str) -> Result<i64, Fault> {
    if value.is_empty() || value.contains(|c: char| !c.is_ascii_digit()) {
        return Err(Fault::not("only digits are read, as seconds"));
    }
    value
        .parse::<i64>()
        .ok()
        .and_then(|seconds| seconds.checked_mul(1_000_000_000))
        .ok_or_else(|| Fault::not("it is longer than 292 years"))
}

/// `P1W`, `P7D`, `PT1H30M`, `P1DT12H`, `PT0.5S`. Years and months have no fixed
/// length and are refused.
fn iso(value: &str) -> Option<i64> {
    let mut rest = value.strip_prefix('P')?;
    let mut units: &[(char, i128)] = &[('W', WEEK), ('D', DAY)];
    let mut total: i128 = 0;
    let mut parts = 0;
    let mut clock = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            if clock || after.is_empty() {
                return None;
            }
            clock = true;
            units = &[('H', HOUR), ('M', MINUTE), ('S', SECOND)];
            rest = after;
            continue;
        }
        let (whole, fraction, after) = number(rest);
        let unit = after.chars().next()?;
        let position = units.iter().position(|(name, _)| *name == unit)?;
        let (_, scale) = *units.get(position)?;
        rest = after.get(unit.len_utf8()..)?;
        // Only the last number may have a fraction.
        if fraction.is_some() && !rest.is_empty() {
            return None;
        }
        total = total.checked_add(scaled(whole, fraction, scale)?)?;
        units = units.get(position + 1..)?;
        parts += 1;
    }
    if parts == 0 {
        return None;
    }
    i64::try_from(total).ok()
}

fn scaled(whole: &str, fraction: Option<&str>, scale: i128) -> Option<i128> {
    if whole.is_empty() || whole.len() > 19 {
        return None;
    }
    let sum = whole.parse::<i128>().ok()?.checked_mul(scale)?;
    match fraction {
        None => Some(sum),
        Some(digits) if digits.is_empty() || digits.len() > 9 => None,
        Some(digits) => {
            let tenths = 10_i128.checked_pow(u32::try_from(digits.len()).ok()?)?;
            sum.checked_add(digits.parse::<i128>().ok()?.checked_mul(scale)? / tenths)
        }
    }
}

/// A number with a unit as a person wrote it.
struct Part<'a> {
    whole: &'a str,
    fraction: Option<&'a str>,
    /// In nanoseconds.
    unit: i128,
    /// Go's name of the unit, if it has one.
    name: Option<&'static str>,
}

impl Part<'_> {
    fn nanos(&self) -> Option<i128> {
        scaled(self.whole, self.fraction, self.unit)
    }
}

fn plain_parts(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (whole, fraction, after) = number(rest);
        let after = after.trim_start();
        let end = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(end)?;
        let (unit, name) = match unit.to_lowercase().as_str() {
            "ns" => (NANOSECOND, Some("ns")),
            "us" | "\u{3bc}s" | "\u{b5}s" => (MICROSECOND, Some("us")),
            "ms" | "msec" | "msecs" | "millis" | "millisecond" | "milliseconds" => (MILLISECOND, Some("ms")),
            "s" | "sec" | "secs" | "second" | "seconds" => (SECOND, Some("s")),
            "m" | "min" | "mins" | "minute" | "minutes" => (MINUTE, Some("m")),
            "h" | "hr" | "hrs" | "hour" | "hours" => (HOUR, Some("h")),
            "d" | "day" | "days" => (DAY, None),
            "w" | "wk" | "wks" | "week" | "weeks" => (WEEK, None),
            _ => return None,
        };
        if whole.is_empty() {
            return None;
        }
        parts.push(Part { whole, fraction, unit, name });
        rest = next.trim_start();
    }
    (!parts.is_empty()).then_some(parts)
}

/// The value in the program's dialect that means what was written.
fn meant(value: &str, dialect: Dialect) -> Option<String> {
    let value = value.trim();
    if dialect != Dialect::Seconds && !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // A bare number is taken for seconds, and keeps its figures.
        return match dialect {
            Dialect::Go => Some(format!("{value}s")),
            _ => Some(format!("PT{value}S")),
        };
    }
    let nanos = if let Some(nanos) = iso(&value.to_ascii_uppercase()) {
        i128::from(nanos)
    } else {
        let parts = plain_parts(value)?;
        if dialect == Dialect::Go && parts.iter().all(|part| part.name.is_some()) {
            // Go knows the units: only the spelling changes, 90 minutes stay 90m.
            return Some(parts.iter().map(in_go).collect());
        }
        plain_duration(value)?
    };
    (dialect != Dialect::Seconds || nanos % SECOND == 0).then(|| write(nanos, dialect))
}

fn in_go(part: &Part<'_>) -> String {
    let name = part.name.unwrap_or_default();
    match part.fraction {
        Some(fraction) => format!("{}.{fraction}{name}", part.whole),
        None => format!("{}{name}", part.whole),
    }
}
