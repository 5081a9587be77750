//! Structured text: enum, path, regex, JSON, base64, hex, UUID, semver.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use super::{Fault, first_not, quoted};

/// One of the listed values, letter for letter.
pub(super) fn one_of(value: &str, values: &[Box<str>]) -> Result<(), Fault> {
    if values.iter().any(|known| **known == *value) {
        return Ok(());
    }
    let wanted = value.trim().to_lowercase();
    if let Some(same) = values.iter().find(|known| known.to_lowercase() == wanted) {
        return Err(Fault::not("capitals and spaces count").works(same.to_string()));
    }
    // `prod` and `warning` mean `production` and `warn`, where only one fits.
    let mut akin = values.iter().filter(|known| {
        let known = known.to_lowercase();
        wanted.len() >= 3 && known.len() >= 3 && (known.starts_with(&wanted) || wanted.starts_with(&known))
    });
    if let (Some(meant), None) = (akin.next(), akin.next()) {
        return Err(Fault::not(format!("there is no {}", quoted(value))).works(meant.to_string()));
    }
    let close =
        values.iter().find(|known| strsim::damerau_levenshtein(known, &wanted) <= 2.min(known.len() / 3));
    Err(Fault::not(match close {
        Some(close) => format!("there is no {}; did you mean {close}?", quoted(value)),
        None => format!("there is no {}", quoted(value)),
    }))
}

/// Any path a system call takes.
pub(super) fn path(value: &str) -> Result<(), Fault> {
    match value.find('\0') {
        Some(at) => Err(Fault::not("a path holds no NUL").at(at..at + 1)),
        None if value.is_empty() => Err(Fault::not("the path is empty")),
        None => Ok(()),
    }
}

/// A regular expression of the RE2 family, to which Go's and Rust's belong.
pub(super) fn regex(value: &str) -> Result<(), Fault> {
    regex::Regex::new(value).map(drop).map_err(|error| Fault::not(regex_mistake(&error)))
}

/// The last line of the error, without the pattern that stands above it.
pub(crate) fn regex_mistake(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// Any JSON text; nothing is built from it.
pub(super) fn json(value: &str) -> Result<(), Fault> {
    serde_json::from_str::<serde::de::IgnoredAny>(value).map(drop).map_err(|error| {
        let line_start: usize =
            value.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
        let at = (line_start + error.column().saturating_sub(1)).min(value.len());
        Fault::not(error.to_string()).at(at..value.len().min(at + 1))
    })
}

/// Base64 of either alphabet, padded or not.
pub(super) fn base64(value: &str) -> Result<(), Fault> {
    if [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD].iter().any(|e| e.decode(value).is_ok()) {
        return Ok(());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+/-_=".contains(c);
    let Some((at, c)) = first_not(value, allowed) else {
        let mixed = value.contains(['+', '/']) && value.contains(['-', '_']);
        return Err(Fault::not(if mixed {
            "it mixes the standard and the URL-safe alphabet"
        } else {
            "the last characters do not end a byte"
        }));
    };
    let fault = Fault::not(format!("{} is not of the alphabet", quoted(c.encode_utf8(&mut [0; 4])))).at(at);
    let packed: String = value.split_ascii_whitespace().collect();
    Err(fault.works((packed.len() < value.len()).then_some(packed)))
}

/// Pairs of hexadecimal digits.
pub(super) fn hex(value: &str) -> Result<(), Fault> {
    if let Some(digits) = value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        return Err(Fault::not("the digits stand without 0x").at(0..2).works(digits.to_owned()));
    }
    match first_not(value, |c| c.is_ascii_hexdigit()) {
        Some((at, c)) => {
            Err(Fault::not(format!("{} is no hexadecimal digit", quoted(c.encode_utf8(&mut [0; 4])))).at(at))
        }
        None if value.is_empty() || value.len() % 2 == 1 => {
            Err(Fault::not(format!("{} digits make no whole bytes", value.len())))
        }
        None => Ok(()),
    }
}

/// `8-4-4-4-12` hexadecimal digits.
pub(super) fn uuid(value: &str) -> Result<(), Fault> {
    let groups: Vec<&str> = value.split('-').collect();
    let sizes = [8, 4, 4, 4, 12];
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    if groups.len() == 5 && groups.iter().zip(sizes).all(|(group, size)| group.len() == size && hex(group)) {
        return Ok(());
    }
    let bare: String = value
        .trim()
        .trim_start_matches("urn:uuid:")
        .chars()
        .filter(|c| !matches!(c, '{' | '}' | '-'))
        .collect();
    let works = (bare.len() == 32 && hex(&bare)).then(|| {
        let mut rest = bare.as_str();
        sizes
            .map(|size| {
                let (group, after) = rest.split_at_checked(size).unwrap_or((rest, ""));
                rest = after;
                group
            })
            .join("-")
    });
    Err(Fault::not("a UUID is 8-4-4-4-12 hexadecimal digits").works(works))
}

/// A version after Semantic Versioning 2.0.
pub(super) fn semver(value: &str) -> Result<(), Fault> {
    semver::Version::parse(value).map(drop).map_err(|error| {
        let fault = Fault::not(error.to_string());
        match value.strip_prefix(['v', 'V']) {
            Some(bare) => Fault::not("a version stands without v").at(0..1).works(bare.to_owned()),
            None => fault,
        }
    })
}
