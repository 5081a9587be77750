//! Where the readers of env files disagree: DLC060.
//!
//! Owns: the eight readers' names, what a reading is, and the comparison, line
//! by line, of what they make of one file.
//! Invariants: nothing is executed; a malformed file is judged too; a name is
//! told only where it is one that a variable can have, since in a malformed
//! file it may be a piece of a value.
//! Must not know: schemas, which variables are secret, how a finding is shown.

use std::collections::BTreeMap;

use crate::model::key::Key;
use crate::model::origin::Span;
use crate::model::rotation::is_reserved;

use super::dialects;
use super::scan::assignments;

pub use super::dialects::reading::{Reader, Reading};
pub use super::dialects::{Complaint, Entry, Notes};

/// An assignment, or a line that some take for one, on which readers disagree.
#[derive(Debug)]
pub struct Disagreement {
    /// The line, from 1.
    pub line: u32,
    /// The column of the name, or of the line's first character, from 1.
    pub column: u32,
    /// The variable, where the line names one.
    pub key: Option<String>,
    /// What is read, and by whom; at least two. A reader that refuses the file
    /// because of another line is not among them.
    pub readings: Vec<(Reading, Vec<Reader>)>,
}

/// What one reader makes of a whole env file. `host` is the environment that
/// it runs in, which references look at.
pub fn read(reader: Reader, text: &str, host: &dyn Fn(&str) -> Option<String>) -> Notes {
    dialects::read(reader, text, host)
}

/// Every assignment of an env file on which two readers disagree, in order.
///
/// A refusal of the whole file counts for the line that causes it; every other
/// line is judged among the readers that still read it.
pub fn judge(text: &str, host: &dyn Fn(&str) -> Option<String>) -> Vec<Disagreement> {
    let map = Map::of(text);
    let judged: Vec<_> = Reader::ALL.map(|reader| Judged::new(reader, read(reader, text, host), &map)).into();
    let mut subjects: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for reader in &judged {
        for (&line, entries) in &reader.entries {
            let keys = subjects.entry(line).or_default();
            for entry in entries {
                if !keys.contains(&entry.key.as_str()) && Key::new(&entry.key).is_ok() {
                    keys.push(&entry.key);
                }
            }
        }
        for &line in reader.complaints.keys() {
            subjects.entry(line).or_default();
        }
    }
    let mut disagreements = Vec::new();
    for (&line, keys) in &subjects {
        let keys: Vec<_> =
            if keys.is_empty() { vec![None] } else { keys.iter().map(|&key| Some(key)).collect() };
        // Those are dlconf's own: nobody else is to read them.
        for key in keys.into_iter().filter(|key| !key.is_some_and(is_reserved)) {
            let readings =
                grouped(judged.iter().filter_map(|reader| Some((reader.name, reader.of(line, key)?))));
            let refusals = readings.iter().all(|(reading, _)| matches!(reading, Reading::Refused(_)));
            if readings.len() > 1 && !refusals {
                let column = map.column(text, line, key);
                disagreements.push(Disagreement { line, column, key: key.map(str::to_owned), readings });
            }
        }
    }
    disagreements
}

fn grouped(readings: impl Iterator<Item = (Reader, Reading)>) -> Vec<(Reading, Vec<Reader>)> {
    let mut groups: Vec<(Reading, Vec<Reader>)> = Vec::new();
    for (reader, reading) in readings {
        match groups.iter_mut().find(|(other, _)| other.is_like(&reading)) {
            Some((_, readers)) => readers.push(reader),
            None => groups.push((reading, vec![reader])),
        }
    }
    groups
}

/// Where assignments stand as compose reads them: what other readers see inside
/// a value of several lines counts for the line on which it begins.
struct Map {
    /// First line, last line, and where each name is, in order.
    assignments: Vec<(u32, u32, String, Span)>,
    /// Offsets at which lines begin.
    lines: Vec<usize>,
}

impl Map {
    fn of(text: &str) -> Self {
        let assignments = assignments(text)
            .into_iter()
            .map(|found| {
                let value = text.get(found.value).unwrap_or_default();
                let feeds = u32::try_from(value.matches('\n').count()).unwrap_or(u32::MAX);
                let first = found.key_at.line;
                let key = text.get(found.key).unwrap_or_default().to_owned();
                (first, first.saturating_add(feeds), key, found.key_at)
            })
            .collect();
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { assignments, lines }
    }

    /// The line for which a line counts.
    fn line(&self, line: u32) -> u32 {
        let behind = self.assignments.partition_point(|&(first, ..)| first <= line);
        match behind.checked_sub(1).and_then(|index| self.assignments.get(index)) {
            Some(&(first, last, ..)) if line <= last => first,
            _ => line,
        }
    }

    fn column(&self, text: &str, line: u32, key: Option<&str>) -> u32 {
        let from = self.assignments.partition_point(|&(first, ..)| first < line);
        let same_line = self.assignments.get(from..).unwrap_or_default().iter();
        let named = same_line.take_while(|found| found.0 == line).find(|found| Some(found.2.as_str()) == key);
        if let Some((.., at)) = named {
            return at.column;
        }
        let index = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
        let start = self.lines.get(index).copied().unwrap_or(text.len());
        let content = text.get(start..).unwrap_or_default().split('\n').next().unwrap_or_default();
        let blanks = content.chars().take_while(|c| c.is_whitespace()).count();
        u32::try_from(blanks).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// One reader's notes, by line.
struct Judged {
    name: Reader,
    entries: BTreeMap<u32, Vec<Entry>>,
    complaints: BTreeMap<u32, &'static str>,
    refused_at: Option<u32>,
}

impl Judged {
    fn new(name: Reader, notes: Notes, map: &Map) -> Self {
        let mut entries: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
        // What it sees inside another's value is no assignment of its own.
        for entry in notes.entries.into_iter().filter(|entry| map.line(entry.line) == entry.line) {
            entries.entry(entry.line).or_default().push(entry);
        }
        let refused_at = notes.refusal.map(|refusal| map.line(refusal.line));
        let mut complaints = BTreeMap::new();
        for complaint in notes.refusal.into_iter().chain(notes.complaints) {
            complaints.entry(map.line(complaint.line)).or_insert(complaint.reason);
        }
        Self { name, entries, complaints, refused_at }
    }

    /// What it reads on a line; none where it no longer reads that line.
    fn of(&self, line: u32, key: Option<&str>) -> Option<Reading> {
        let complaint = self.complaints.get(&line).map(|why| Reading::Refused(why));
        if let Some(at) = self.refused_at {
            if at == line {
                return complaint;
            }
            if at < line || !self.name.keeps_what_it_read() {
                return None;
            }
        }
        let entries = self.entries.get(&line).map(Vec::as_slice).unwrap_or_default();
        let entry = match key {
            Some(key) => entries.iter().rev().find(|entry| entry.key == key),
            None => entries.first(),
        };
        Some(entry.map(|entry| entry.reading.copy()).or(complaint).unwrap_or(Reading::Absent))
    }
}

#[cfg(test)]
mod tests;
