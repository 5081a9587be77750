//! Reading a log back: whether it is all there, as it was written.
//!
//! Invariants: a log is read as a stream, however large; what is broken has its
//! file and line. A daemon may go on writing meanwhile.
//! Must not know: how the verdict is shown.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;

use super::chain::{Broken, Checker, Code, hex};
use super::file::LONGEST;
use super::place::number;
use super::record::is_opening;
use super::{AuditError, chain_key};
use crate::source::file::ShownPath;

/// So many breaks are told; the rest is counted.
const TOLD: usize = 20;

/// A line that is being written has its end by then.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);

/// How often the names are looked at again, while a daemon exchanges them.
const ATTEMPTS: usize = 5;

/// A file of a log, open.
#[derive(Debug)]
pub struct Part {
    label: String,
    file: File,
}

/// What was noted elsewhere, and must be there.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The code of some record.
    pub head: Option<NotedHead>,
    /// So many records, or more.
    pub count: Option<u64>,
}

/// A record's code as it was noted: the first 12 hexadecimal digits of it or more,
/// or the number of the metric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedHead {
    digits: Option<String>,
    number: Option<u64>,
}

/// It is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither 12 to 64 hexadecimal digits nor the number of dlconf_audit_head")]
pub struct NoHead;

/// What a log turned out to be.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The files, with the number of records of each.
    pub files: Vec<(String, u64)>,
    /// How many genuine records there are.
    pub records: u64,
    /// The first one.
    pub first: Option<Mark>,
    /// The last one.
    pub last: Option<Mark>,
    /// What is broken, at `file:line`, in words.
    pub breaks: Vec<(String, String)>,
    /// How many more breaks there are.
    pub more_breaks: u64,
    /// How many records follow the one that was expected.
    pub behind_head: Option<u64>,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub seq: u64,
    /// When it was written: RFC 3339, UTC.
    pub time: String,
    /// Its code: 64 hexadecimal digits.
    pub code: String,
}

impl FromStr for NotedHead {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digits = (is_hex && (12..=64).contains(&text.len())).then(|| text.to_ascii_lowercase());
        let number = text.parse().ok().filter(|_| !text.starts_with('0'));
        let number = number.or_else(|| scientific(text)).filter(|number| *number < 1 << 48);
        if digits.is_none() && number.is_none() {
            return Err(NoHead);
        }
        Ok(Self { digits, number })
    }
}

/// A whole number as metrics are often shown: `1.23456789012345e+14`.
fn scientific(text: &str) -> Option<u64> {
    let (mantissa, exponent) = text.split_once("e+")?;
    let exponent: usize = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let padding = exponent.checked_sub(fraction.len()).filter(|padding| *padding < 20)?;
    format!("{whole}{fraction}{}", "0".repeat(padding)).parse().ok()
}

impl NotedHead {
    fn is(&self, code: &Code) -> bool {
        let number = code.iter().take(6).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        self.number == Some(number)
            || self.digits.as_ref().is_some_and(|digits| hex(code).starts_with(digits))
    }
}

/// A file of a log that somebody names.
///
/// # Errors
/// The kernel's, or that it is no regular file.
pub fn part(path: &Path, label: String) -> io::Result<Part> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(Part { label, file })
    } else {
        Err(io::Error::other("it is no regular file"))
    }
}

/// Puts files in the order of their first records. Those without any come last.
///
/// # Errors
/// The kernel's, with the file's label.
pub fn order(parts: Vec<Part>) -> Result<Vec<Part>, (String, io::Error)> {
    let mut keyed = Vec::with_capacity(parts.len());
    for part in parts {
        let first = super::file::first_of(&part.file).map_err(|error| (part.label.clone(), error))?;
        keyed.push((first.unwrap_or(u64::MAX), part));
    }
    keyed.sort_by_key(|(first, _)| *first);
    Ok(keyed.into_iter().map(|(_, part)| part).collect())
}

/// The files of a log: the full ones, and the one that is written. All are opened
/// before any is read, so that a daemon may exchange them meanwhile.
///
/// # Errors
/// The kernel's, with the file's label.
pub fn parts(path: &Path, label: &str) -> Result<Vec<Part>, (String, io::Error)> {
    let at = |label: &str| {
        let label = label.to_owned();
        move |error| (label, error)
    };
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err((label.to_owned(), io::Error::from(io::ErrorKind::InvalidInput)));
    };
    let mut attempts = 0;
    'again: loop {
        attempts += 1;
        // First the one that is written: if it is exchanged now, it is found below.
        let mut live = match part(path, label.to_owned()) {
            Ok(live) => Some(live),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err((label.to_owned(), error)),
        };
        let id = |part: &Part| part.file.metadata().map(|metadata| (metadata.dev(), metadata.ino()));
        let live_id = live.as_ref().map(id).transpose().map_err(at(label))?;
        let mut fulls = Vec::new();
        for entry in std::fs::read_dir(above).map_err(at(&above.display().to_string()))? {
            let found = entry.map_err(at(&above.display().to_string()))?.file_name();
            fulls.extend(number(&found, name).map(|number| (number, found)));
        }
        fulls.sort();
        let mut parts = Vec::new();
        for (number, found) in fulls {
            let label = format!("{label}.{number:012}");
            match part(&above.join(found), label.clone()) {
                Ok(full) => {
                    // It was exchanged meanwhile: this is its place now.
                    if Some(id(&full).map_err(at(&label))?) == live_id {
                        live = None;
                    }
                    parts.push(full);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS => {
                    continue 'again;
                }
                Err(error) => return Err((label, error)),
            }
        }
        parts.extend(live);
        if parts.is_empty() {
            return Err((label.to_owned(), io::ErrorKind::NotFound.into()));
        }
        return Ok(parts);
    }
}

/// Reads all of a log.
///
/// # Errors
/// The key's; or a file's, where it cannot be read.
pub fn verify(parts: Vec<Part>, key_file: &ShownPath, expected: &Expected) -> Result<Verdict, AuditError> {
    let mut reading = Reading {
        checker: Checker::new(chain_key(key_file)?),
        expected,
        verdict: Verdict::default(),
        is_first: true,
    };
    let last = parts.len().saturating_sub(1);
    for (at, part) in parts.into_iter().enumerate() {
        let label = part.label.clone();
        reading.file(part, at == last).map_err(|error| AuditError {
            message: format!("{label} cannot be read: {error}"),
            help: "see who may read it, and whether that disk is in order".into(),
        })?;
    }
    Ok(reading.concluded())
}

struct Reading<'e> {
    checker: Checker,
    expected: &'e Expected,
    verdict: Verdict,
    is_first: bool,
}

impl Reading<'_> {
    fn file(&mut self, part: Part, is_last: bool) -> io::Result<()> {
        let Part { label, file } = part;
        let mut reader = BufReader::with_capacity(256 * 1024, file);
        let mut line = Vec::new();
        let (mut number, mut records) = (0_u64, 0_u64);
        loop {
            line.clear();
            number += 1;
            match next(&mut reader, &mut line, is_last)? {
                Next::Line => {}
                Next::End => break,
                Next::Torn => {
                    let words = if is_last {
                        "it ends within a line: a write that never ended, and was not acknowledged (a daemon cuts it off when it starts)"
                    } else {
                        "it ends within a line: it was cut off"
                    };
                    self.breaks(format!("{label}:{number}"), words.to_owned());
                    break;
                }
                Next::Endless => {
                    self.breaks(format!("{label}:{number}"), "this line is longer than any of ours".into());
                    break;
                }
            }
            records += u64::from(self.line(&label, number, &line));
        }
        self.verdict.files.push((label, records));
        Ok(())
    }

    /// True where it is a genuine record.
    fn line(&mut self, label: &str, number: u64, text: &[u8]) -> bool {
        let (line, judged) = self.checker.take(text);
        let is_first = std::mem::take(&mut self.is_first);
        if let Err(broken) = judged {
            self.breaks(format!("{label}:{number}"), words(broken, is_first));
        }
        let Some(line) = line else { return false };
        if is_first && !is_opening(line.words) {
            let words = format!(
                "a file begins with its opening, and this is record {}: lines are missing before it",
                line.seq
            );
            self.breaks(format!("{label}:{number}"), words);
        }
        let verdict = &mut self.verdict;
        verdict.records += 1;
        verdict.behind_head = verdict.behind_head.map(|behind| behind + 1);
        if self.expected.head.as_ref().is_some_and(|head| head.is(&line.code)) {
            verdict.behind_head = Some(0);
        }
        // Only the first and the last are of interest: no copy of each.
        let mark =
            verdict.last.get_or_insert_with(|| Mark { seq: 0, time: String::new(), code: String::new() });
        mark.seq = line.seq;
        line.time.clone_into(&mut mark.time);
        mark.code = hex(&line.code);
        if verdict.first.is_none() {
            verdict.first = verdict.last.clone();
        }
        true
    }

    fn breaks(&mut self, place: String, words: String) {
        if self.verdict.breaks.len() < TOLD {
            self.verdict.breaks.push((place, words));
        } else {
            self.verdict.more_breaks += 1;
        }
    }

    fn concluded(mut self) -> Verdict {
        let place = self.verdict.files.last().map_or_else(String::new, |(label, _)| label.clone());
        if self.verdict.records == 0 {
            let words =
                "there is no genuine record: a log that was ever opened has one (is it the right key?)";
            self.breaks(place.clone(), words.into());
        }
        if self.expected.head.is_some() && self.verdict.behind_head.is_none() {
            let words = "no record has the head that was expected: the end was cut off, all of it was exchanged, or that record is in an older file";
            self.breaks(place.clone(), words.into());
        }
        let last = self.verdict.last.as_ref().map_or(0, |last| last.seq);
        if let Some(count) = self.expected.count.filter(|count| *count > last) {
            self.breaks(
                place,
                format!("it ends with record {last}, and {count} were expected: the end was cut off"),
            );
        }
        self.verdict
    }
}

impl Verdict {
    /// Whether nothing is broken.
    pub fn is_whole(&self) -> bool {
        self.breaks.is_empty()
    }
}

enum Next {
    Line,
    End,
    /// There is a part of a line, and no more.
    Torn,
    /// There is no end to it.
    Endless,
}

/// The next line, without its end.
fn next(reader: &mut BufReader<File>, line: &mut Vec<u8>, is_last: bool) -> io::Result<Next> {
    let begin = Instant::now();
    loop {
        let room = LONGEST.saturating_sub(line.len() as u64);
        reader.by_ref().take(room).read_until(b'\n', line)?;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(Next::Line);
        }
        if line.is_empty() {
            return Ok(Next::End);
        }
        if line.len() as u64 >= LONGEST {
            return Ok(Next::Endless);
        }
        // Whoever writes it is not done yet, or takes it back.
        if reader.stream_position()? > reader.get_ref().metadata()?.len() {
            return Ok(Next::End);
        }
        if !is_last || begin.elapsed() > PATIENCE {
            return Ok(Next::Torn);
        }
        sleep(LOOK);
    }
}

fn words(broken: Broken, is_first: bool) -> String {
    match broken {
        Broken::Form => "this is no record: it was changed or put in".to_owned(),
        Broken::Code if is_first => {
            "this record's code is wrong: it was changed, or the key is another".to_owned()
        }
        Broken::Code => "this record's code is wrong: it was changed or put in".to_owned(),
        Broken::Missing { from, to } if from == to => format!("record {from} is missing before this one"),
        Broken::Missing { from, to } => format!("records {from} to {to} are missing before this one"),
        Broken::Order { seq, expected } => {
            format!("record {seq} comes where {expected} has to: it was copied or moved here")
        }
        Broken::Fork { seq } => {
            format!(
                "record {seq} is genuine and follows another one than the one before it: two logs are mixed"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_noted_in_digits_or_as_a_number() {
        let code: Code = std::array::from_fn(|at| u8::try_from(at * 7 + 1).unwrap());
        let (digits, number) = (hex(&code), 0x0108_0f16_1d24_u64);
        for fits in [
            digits.clone(),
            digits.to_uppercase(),
            digits[..12].to_owned(),
            digits[..13].to_owned(),
            number.to_string(),
            "1.134124473636e+12".to_owned(),
        ] {
            assert!(fits.parse::<NotedHead>().unwrap().is(&code), "{fits}");
        }
        for other in [hex(&[0; 32]), (number + 1).to_string(), format!("{}0", &digits[..12])] {
            assert!(!other.parse::<NotedHead>().unwrap().is(&code), "{other}");
        }
        for wrong in ["", "xyz", "0108abcdef1", "0123", &format!("{digits}0"), "1.5e+0", "1e+99"] {
            assert_eq!(wrong.parse::<NotedHead>(), Err(NoHead), "{wrong}");
        }
    }
}
