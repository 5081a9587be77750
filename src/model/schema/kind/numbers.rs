//! Booleans, integers, floats, ports and sizes, as Go's `strconv` reads them.

use super::{Fault, first_not, quoted};

/// `strconv.ParseBool`: exactly twelve words.
pub(super) fn boolean(value: &str) -> Result<bool, Fault> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => {
            let meant = match value.trim().to_ascii_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "enable" | "enabled" | "1" => Some("true"),
                "false" | "f" | "no" | "n" | "off" | "disable" | "disabled" | "0" => Some("false"),
                _ => None,
            };
            Err(Fault::not(format!("{} is neither true nor false", quoted(value)))
                .works(meant.map(str::to_owned)))
        }
    }
}

/// `strconv.Atoi` on a 64-bit machine: a sign, decimal digits, nothing else.
/// Rust's own parser accepts exactly the same texts.
fn atoi(value: &str) -> Result<i64, Fault> {
    value.parse().map_err(|_| {
        if value.contains("://") {
            return Fault::not(
                "an address, as Kubernetes service links inject them: set enableServiceLinks: false",
            );
        }
        let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
        let offset = value.len() - digits.len();
        match first_not(digits, |c| c.is_ascii_digit()) {
            None if digits.is_empty() => Fault::not("there are no digits"),
            None => Fault::not("it does not fit into 64 bits"),
            Some((at, _)) if at.start == 0 => Fault::not(format!("{} is no integer", quoted(value))),
            Some((at, c)) => Fault::not(format!("{} is no digit", quoted(c.encode_utf8(&mut [0; 4]))))
                .at(at.start + offset..at.end + offset)
                .works(integer_meant(value)),
        }
    })
}

/// The integer that other notations stand for: `8_080`, `8,080`, `0x1f90`,
/// `8080.0`, `1e3`.
fn integer_meant(value: &str) -> Option<String> {
    let value = value.trim();
    let (sign, digits) = match value.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", value.strip_prefix('+').unwrap_or(value)),
    };
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0b", 2)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            return Some(format!("{sign}{}", u64::from_str_radix(digits, radix).ok()?));
        }
    }
    if digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'_' | b',' | b' ')) {
        // A separator groups thousands; "1,2" or "80 80" is no number of anybody's.
        let grouped = digits.contains('_')
            || digits
                .split([',', ' '])
                .enumerate()
                .all(|(i, group)| if i == 0 { (1..=3).contains(&group.len()) } else { group.len() == 3 });
        let bare: String = digits.chars().filter(char::is_ascii_digit).collect();
        return (grouped && !bare.is_empty()).then(|| format!("{sign}{bare}"));
    }
    if let Some((whole, zeros)) = digits.split_once('.') {
        return (!zeros.contains(|c| c != '0') && !whole.is_empty()).then(|| format!("{sign}{whole}"));
    }
    let (whole, exponent) = digits.split_once(['e', 'E'])?;
    let exponent: usize = exponent.parse().ok().filter(|&e| e < 19)?;
    Some(format!("{sign}{whole}{}", "0".repeat(exponent)))
}

/// An integer within limits.
pub(super) fn int(value: &str, min: Option<i64>, max: Option<i64>) -> Result<i64, Fault> {
    let number = atoi(value)?;
    match (min, max) {
        (Some(min), _) if number < min => Err(Fault::range(format!("it is less than {min}"))),
        (_, Some(max)) if number > max => Err(Fault::range(format!("it is more than {max}"))),
        _ => Ok(number),
    }
}

/// A port that can be listened on and connected to: 1 to 65535.
pub(super) fn port(value: &str) -> Result<i64, Fault> {
    let number = atoi(value)?;
    if (1..=65_535).contains(&number) {
        return Ok(number);
    }
    Err(Fault::range(if number == 0 { "port 0 cannot be connected to" } else { "ports go from 1 to 65535" }))
}

/// The decimal forms of `strconv.ParseFloat`, underscores between digits
/// included; infinities and NaN read but are out of range. Hexadecimal floats,
/// which Go would read, are refused: in a configuration they are a mistake.
pub(super) fn float(value: &str, min: Option<f64>, max: Option<f64>) -> Result<f64, Fault> {
    let bare = underscores_part_digits(value).then(|| value.replace('_', ""));
    let number: f64 = bare.and_then(|bare| bare.parse().ok()).ok_or_else(|| {
        let meant = value.split_once(',').filter(|(_, rest)| !rest.contains(['.', ',']));
        Fault::not(format!("{} is no number", quoted(value)))
            .works(meant.map(|(whole, fraction)| format!("{whole}.{fraction}")))
    })?;
    if !number.is_finite() {
        // Go fails where digits overflow, and reads the words.
        return Err(if value.contains(|c: char| c.is_ascii_digit()) {
            Fault::not("it does not fit into a 64-bit float")
        } else {
            Fault::range("it is not finite")
        });
    }
    match (min, max) {
        (Some(min), _) if number < min => Err(Fault::range(format!("it is less than {min}"))),
        (_, Some(max)) if number > max => Err(Fault::range(format!("it is more than {max}"))),
        _ => Ok(number),
    }
}

fn underscores_part_digits(value: &str) -> bool {
    let bytes = value.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'_')
        .all(|(at, _)| digit(at.checked_sub(1)) && digit(at.checked_add(1)))
}

/// A number of bytes: digits and a unit. `k`, `kB`, `M`, … are powers of 1000
/// and `Ki`, `KiB`, `Mi`, … of 1024, as Kubernetes and Go's humanize read them;
/// capitals do not matter. The result fits into 63 bits.
pub(super) fn bytes_size(value: &str) -> Result<u64, Fault> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at_checked(digits).unwrap_or((value, ""));
    if number.is_empty() {
        return Err(Fault::not(format!("{} does not begin with a digit", quoted(value))));
    }
    let Some(scale) = size_unit(unit) else {
        return Err(Fault::not(format!("there is no unit {}", quoted(unit)))
            .at(digits..value.len())
            .works(size_meant(number, unit)));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(scale))
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| Fault::not("it does not fit into 64 bits"))
}

/// A number of bytes as the type `bytes-size` reads it.
pub fn parse_bytes_size(text: &str) -> Option<u64> {
    bytes_size(text).ok()
}

fn size_unit(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    let prefix = lower.strip_suffix('b').unwrap_or(&lower);
    let (prefix, base) = match prefix.strip_suffix('i') {
        Some("") => return None,
        Some(prefix) => (prefix, 1024_u64),
        None => (prefix, 1000),
    };
    let power = ["", "k", "m", "g", "t", "p", "e"].iter().position(|known| *known == prefix)?;
    base.checked_pow(u32::try_from(power).ok()?)
}

/// `10 MiB` is `10MiB`; `1.5GiB` is a whole number of bytes.
fn size_meant(number: &str, rest: &str) -> Option<String> {
    let rest = rest.trim();
    if let Some(fraction) = rest.strip_prefix('.') {
        let places = fraction.bytes().take_while(u8::is_ascii_digit).count();
        let (fraction, unit) = fraction.split_at_checked(places)?;
        let scale = size_unit(unit.trim())?;
        let tenths = 10_u64.checked_pow(u32::try_from(places).ok()?)?;
        let total = format!("{number}{fraction}").parse::<u64>().ok()?.checked_mul(scale)?;
        return (total % tenths == 0).then(|| (total / tenths).to_string());
    }
    let unit = match rest.to_ascii_lowercase().as_str() {
        "byte" | "bytes" => "",
        _ => rest,
    };
    size_unit(unit).map(|_| format!("{number}{unit}"))
}
