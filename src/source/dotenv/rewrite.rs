//! An env file's text, with the fields of one rotation changed.
//!
//! Pure. Owns: what a document's fields are in such a text, and where the new ones go: a
//! field that is there is changed in its place, new ones come right behind the variable
//! that they belong to, the state is the last line.
//! Invariants: every other byte stays: comments, order, line ends, `export`, blanks; a
//! value is written so that all readers read it alike (or, where dlconf alone reads the
//! file, so that it does), or not at all; what is written was read back before; buffers
//! with values are made in their final size, and wiped.
//! Must not know: files.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::parse::{Parsed, parse, value};
use super::portable::is_portable;
use super::scan::{Assignment, assignments, is_blank};
use crate::model::key::SourceName;
use crate::model::layer::Value;
use crate::model::rotation::{FIELD, Ledger, LedgerError, Slot};
use crate::model::secret::SecretValue;
use crate::source::marks;
use crate::source::writable::Change;

/// Who reads a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Readers {
    /// Whoever reads env files.
    All,
    /// Nobody but dlconf.
    Ours,
}

/// Why a text is not changed. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::source) enum Misfit {
    #[error("{0} is made of other variables there, so that it cannot be replaced")]
    Template(String),
    #[error("its {FIELD} cannot be understood: {0}")]
    State(#[from] LedgerError),
    #[error("{0} shares its line with something else")]
    SharedLine(String),
    #[error("the new {0} has a character that readers of env files disagree on")]
    NotPortable(String),
    #[error("it does not set {0} any more")]
    NotSet(String),
    #[error("it would not be read as it was meant")]
    Misread,
}

impl Misfit {
    /// What to do.
    pub(in crate::source) fn help(&self) -> &'static str {
        match self {
            Self::Template(_) => "write the value itself there: single quotes keep a `$`",
            Self::State(_) => "put that line back as it was, or use the release that wrote it",
            Self::SharedLine(_) => "give each variable a line of its own, without anything behind its quotes",
            Self::NotPortable(_) => {
                "take a value of letters, digits and _!%*+,./:=?@^{}[]-, or keep it in a sealed file"
            }
            Self::NotSet(_) => "see who changed the file",
            Self::Misread => "give each variable a plain line of its own: NAME=value",
        }
    }
}

/// The fields of one rotation in a document.
#[derive(Debug)]
pub(in crate::source) struct Fields {
    pub(in crate::source) values: BTreeMap<Slot, Arc<SecretValue>>,
    pub(in crate::source) ledger: Ledger,
}

/// What a text holds of the variable's rotation; none where it does not set the
/// variable.
pub(in crate::source) fn fields(parsed: &Parsed, owner: &str) -> Result<Option<Fields>, Misfit> {
    let offers = parsed.offers.iter().map(|offer| (&offer.key, &offer.value));
    let reserved = parsed.reserved.iter().map(|field| (&field.key, &field.value));
    let mut found: BTreeMap<Slot, &Value> = BTreeMap::new();
    for (key, value) in offers.chain(reserved) {
        let is_set = !matches!(value, Value::Literal(value) if value.is_empty());
        if let Some(slot) = Slot::of_field(owner, key.as_str()).filter(|_| is_set) {
            found.insert(slot, value);
        }
    }
    if !found.contains_key(&Slot::Current) {
        return Ok(None);
    }
    let literal = |(slot, value): (Slot, &Value)| match value {
        Value::Literal(value) => Ok((slot, Arc::clone(value))),
        Value::Template(_) => Err(Misfit::Template(slot.field(owner))),
    };
    let values = found.into_iter().map(literal).collect::<Result<_, _>>()?;
    let ledger = marks::ledger(&parsed.reserved)?.unwrap_or_default();
    Ok(Some(Fields { values, ledger }))
}

/// The text with this change, and with the state that says so.
pub(in crate::source) fn rewritten(
    text: &str,
    owner: &str,
    change: &Change,
    ledger: &Ledger,
    readers: Readers,
) -> Result<Zeroizing<String>, Misfit> {
    let all = Assignments { text, all: assignments(text) };
    let home = all.winner(owner).filter(|home| !home.1).ok_or_else(|| Misfit::NotSet(owner.to_owned()))?.0;
    let home_lines = lines_of(text, &(home.key.start..home.value.end));
    let end = line_end(text, &home_lines);
    let mut edits: Vec<(Range<usize>, Zeroizing<String>)> = Vec::new();
    let mut added: Vec<(String, Zeroizing<String>)> = Vec::new();
    for (slot, value) in &change.set {
        let name = slot.field(owner);
        let readers = if *slot == Slot::Kept { Readers::Ours } else { readers };
        let written = all.written(&name, value, readers)?;
        match all.winner(&name) {
            Some((there, _)) => {
                let gap = if all.tail(there, &name)? { " " } else { "" };
                edits.push((there.value.clone(), joined(&[&written, gap])));
            }
            None => added.push((name, written)),
        }
    }
    for name in change.remove.iter().map(|slot| slot.field(owner)).chain([FIELD.to_owned()]) {
        for there in all.of(&name) {
            all.tail(there, &name)?;
            let lines = lines_of(text, &(there.key.start..there.value.end));
            if !all.is_first(there, lines.start) {
                return Err(Misfit::SharedLine(name.clone()));
            }
            edits.push((lines, Zeroizing::default()));
        }
    }
    if !added.is_empty() {
        let ended = text[home_lines.clone()].ends_with('\n');
        let export = export_of(text, home);
        let mut parts = vec![if ended { "" } else { end }];
        for (name, written) in &added {
            parts.extend([export, name, "=", written, end]);
        }
        edits.push((home_lines.end..home_lines.end, joined(&parts)));
    }
    let state = quoted_state(&ledger.clone().with(owner, change.progress.clone()).to_text());
    let new = assembled(text, edits, end, &state);
    confirmed(&all, &new, owner, change)?;
    Ok(new)
}

/// The assignments of a text.
struct Assignments<'t> {
    text: &'t str,
    all: Vec<Assignment>,
}

impl<'t> Assignments<'t> {
    fn name(&self, of: &Assignment) -> &'t str {
        self.text.get(of.key.clone()).unwrap_or_default()
    }

    fn of<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl DoubleEndedIterator<Item = &'a Assignment> + use<'a, 'n, 't> {
        self.all.iter().filter(move |one| self.name(one) == name)
    }

    /// The assignment that counts: the last one that is not empty, else the last; and
    /// whether it is empty.
    fn winner(&self, name: &str) -> Option<(&Assignment, bool)> {
        let is_set = |one: &&Assignment| !one.inner.is_empty();
        let set = self.of(name).rfind(is_set).map(|one| (one, false));
        set.or_else(|| self.of(name).next_back().map(|one| (one, true)))
    }

    /// Whether a comment follows a value without a blank between. Anything else behind
    /// it on its line is refused: it might become a part of the new value.
    fn tail(&self, of: &Assignment, name: &str) -> Result<bool, Misfit> {
        let rest = self.text.get(of.value.end..).unwrap_or_default();
        let line = rest.split('\n').next().unwrap_or_default();
        match line.trim_start_matches(is_blank).chars().next() {
            None => Ok(false),
            Some('#') => Ok(line.starts_with('#')),
            Some(_) => Err(Misfit::SharedLine(name.to_owned())),
        }
    }

    /// Whether nothing else stands before it on its lines.
    fn is_first(&self, of: &Assignment, line: usize) -> bool {
        let before = self.text.get(line..of.key.start).unwrap_or_default();
        let before = before.trim_start_matches('\u{feff}').trim_matches(is_blank);
        before.is_empty() || before == "export"
    }

    /// A value as it is to stand in the text. One that stands there already is written
    /// as it stands: its readers got along with that.
    fn written(&self, name: &str, new: &SecretValue, readers: Readers) -> Result<Zeroizing<String>, Misfit> {
        if is_portable(name, new.expose()) {
            return Ok(joined(&[new.expose()]));
        }
        let is_it = |one: &&Assignment| matches!(value(self.text, one), Ok(Value::Literal(there)) if there.same_as(new));
        if let Some(there) = self.all.iter().find(is_it) {
            return Ok(joined(&[self.text.get(there.value.clone()).unwrap_or_default()]));
        }
        let is_ours = readers == Readers::Ours && !new.expose().contains('\0');
        is_ours.then(|| quoted(new)).ok_or_else(|| Misfit::NotPortable(name.to_owned()))
    }
}

/// Texts, one behind the other, in one block of their size.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        out.push_str(part);
    }
    out
}

/// A value in the double quotes that dlconf reads.
fn quoted(value: &SecretValue) -> Zeroizing<String> {
    let is_escaped = |c: char| matches!(c, '\\' | '"' | '$' | '\n' | '\r');
    let more = value.expose().chars().filter(|&c| is_escaped(c)).count();
    let mut out = Zeroizing::new(String::with_capacity(value.len() + more + 2));
    out.push('"');
    for c in value.expose().chars() {
        if is_escaped(c) {
            out.push('\\');
        }
        out.push(match c {
            '\n' => 'n',
            '\r' => 'r',
            c => c,
        });
    }
    out.push('"');
    out
}

/// JSON in single quotes, in which every reader but docker takes it as it stands: what
/// one of them would change is written as JSON's escapes of numbers.
fn quoted_state(json: &str) -> String {
    let mut out = String::from("'");
    let mut chars = json.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('"') => out.push_str("\\u0022"),
                Some('\\') => out.push_str("\\u005c"),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '\'' => out.push_str("\\u0027"),
            '$' => out.push_str("\\u0024"),
            '`' => out.push_str("\\u0060"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A range, widened to whole lines.
fn lines_of(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[range.end..].find('\n').map_or(text.len(), |at| range.end + at + 1);
    start..end
}

/// How these lines end; where the last one has no end, how the one before it ends.
fn line_end(text: &str, lines: &Range<usize>) -> &'static str {
    let own = text.get(lines.clone()).unwrap_or_default();
    let ended = if own.ends_with('\n') { own } else { text.get(..lines.start).unwrap_or_default() };
    if ended.ends_with("\r\n") { "\r\n" } else { "\n" }
}

/// `export `, where it stands before this one.
fn export_of(text: &str, assignment: &Assignment) -> &'static str {
    let line = text[..assignment.key.start].rfind('\n').map_or(0, |at| at + 1);
    let before = text[line..assignment.key.start].trim_end_matches(is_blank);
    if before.ends_with("export") { "export " } else { "" }
}

/// The text with these edits, and with the state in its last line.
fn assembled(
    text: &str,
    mut edits: Vec<(Range<usize>, Zeroizing<String>)>,
    end: &str,
    state: &str,
) -> Zeroizing<String> {
    edits.sort_by_key(|(range, _)| (range.start, range.end));
    let more: usize = edits.iter().map(|(_, new)| new.len()).sum();
    let state = [FIELD, "=", state, end].concat();
    let capacity = text.len() + more + end.len() + state.len();
    let mut out = Zeroizing::new(String::with_capacity(capacity));
    let mut done = 0;
    for (range, new) in &edits {
        out.push_str(text.get(done..range.start).unwrap_or_default());
        out.push_str(new);
        done = done.max(range.end);
    }
    out.push_str(text.get(done..).unwrap_or_default());
    if !out.is_empty() && !out.ends_with('\n') {
        out.push_str(end);
    }
    out.push_str(&state);
    debug_assert!(out.len() <= capacity, "the text outgrew its block");
    out
}

/// Reads the new text back: what was to change did, and nothing else.
fn confirmed(old: &Assignments<'_>, new: &str, owner: &str, change: &Change) -> Result<(), Misfit> {
    let parsed = parse(&SourceName::new("new"), &Arc::from("new"), new, None).map_err(|_| Misfit::Misread)?;
    let read = fields(&parsed, owner)?.ok_or(Misfit::Misread)?;
    let is_set = |(slot, value): &(Slot, Arc<SecretValue>)| {
        read.values.get(slot).is_some_and(|there| there.same_as(value)) || value.is_empty()
    };
    let is_gone = |slot: &Slot| !read.values.contains_key(slot);
    let is_written = read.ledger.of(owner) == Some(&change.progress);
    if !(change.set.iter().all(is_set) && change.remove.iter().all(is_gone) && is_written) {
        return Err(Misfit::Misread);
    }
    let new = Assignments { text: new, all: assignments(new) };
    let touched = |name: &str| {
        let slot = Slot::of_field(owner, name);
        name == FIELD
            || slot.is_some_and(|slot| change.set.iter().any(|(set, _)| *set == slot))
            || slot.is_some_and(|slot| change.remove.contains(&slot))
    };
    let mut others = [old, &new].map(|of| {
        let others = of.all.iter().filter(|one| !touched(of.name(one)));
        others.map(|one| of.text.get(one.key.start..one.value.end))
    });
    let [before, after] = &mut others;
    if before.eq(after) { Ok(()) } else { Err(Misfit::Misread) }
}

#[cfg(test)]
mod tests;
