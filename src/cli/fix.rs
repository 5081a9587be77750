//! `check --fix`: mends what is safe in env files: renames, plain values that
//! have one equivalent that works, file modes.
//!
//! Invariants: comments, order and line ends stay; a file is replaced whole or
//! not at all; the diff masks secrets; nothing is mended whose meaning is a guess.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::assemble::Setup;
use super::output::Terminal;
use super::{Failure, exit};
use crate::broker::judge::Judged;
use crate::disk::file::{self, Expected, Permissions};
use crate::model::finding::{Finding, Fix};
use crate::model::validate::MASK;
use crate::report;
use crate::settings::ShownPath;
use crate::source::dotenv::{Assignment, assignments};
use crate::source::file::TEXT_LIMIT;

/// Mends, says what was done, and gives the number of findings mended.
pub(super) fn mend(setup: &Setup, assembled: &Judged, terminal: &Terminal) -> Result<usize, Failure> {
    let mut of_file: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in assembled.verdict.findings.iter().filter(|f| f.fix.is_some()) {
        if let Some(path) = finding.origin.as_ref().and_then(|o| o.location.path()) {
            of_file.entry(path).or_default().push(finding);
        }
    }
    let mut mended = 0;
    for (path, findings) in of_file {
        let Some(file) = setup.files.iter().find(|file| file.label == path) else { continue };
        mended += mend_file(setup, assembled, file, &findings, terminal)?;
    }
    Ok(mended)
}

fn mend_file(
    setup: &Setup,
    assembled: &Judged,
    file: &ShownPath,
    findings: &[&Finding],
    terminal: &Terminal,
) -> Result<usize, Failure> {
    let read = file.read(TEXT_LIMIT).map_err(|fault| {
        let fault = fault.at(&file.label.as_str().into());
        Failure::new(exit::UNREADABLE, fault.message, Some(fault.help))
    })?;
    let all = assignments(&read.text);
    let mut edits: Vec<Edit<'_>> = Vec::new();
    let mut mode = None;
    for finding in findings {
        let assignment = assignment_of(finding, &all, &read.text);
        let edit = match (&finding.fix, assignment) {
            (Some(Fix::Mode(wanted)), _) => {
                mode = Some(*wanted);
                continue;
            }
            (Some(Fix::Rename(new)), Some(assignment)) => {
                let old = read.text.get(assignment.key.clone()).unwrap_or_default();
                if is_referred_to(old, setup) {
                    terminal.note(&format!("{old} is not renamed: other lines refer to it"));
                    continue;
                }
                Edit { range: assignment.key.clone(), text: new.to_string(), assignment, finding }
            }
            (Some(Fix::Value(new)), Some(assignment)) => {
                // What the file writes must be the judged value itself, letter
                // by letter: what is made from references is not ours to fix.
                let key = finding.variable.as_ref();
                let entry = key.and_then(|key| assembled.resolution.variables.get(key)?.winner.as_ref());
                let inner = read.text.get(assignment.inner.clone());
                let verbatim = entry.is_some_and(|entry| inner == Some(entry.value.expose()));
                let simple = new.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-+".contains(&b));
                if !verbatim || !simple {
                    continue;
                }
                Edit { range: assignment.inner.clone(), text: new.clone(), assignment, finding }
            }
            _ => continue,
        };
        let overlaps =
            |other: &Edit<'_>| other.range.start < edit.range.end && edit.range.start < other.range.end;
        if !edits.iter().any(overlaps) {
            edits.push(edit);
        }
    }
    let mended = edits.len() + usize::from(mode.is_some());
    if !edits.is_empty() {
        edits.sort_by_key(|edit| edit.range.start);
        let text = edited(&read.text, &edits);
        let permissions = mode.map_or_else(Permissions::keep, |mode| Permissions::keep().with_mode(mode));
        let expected = Expected::File(read.stamp);
        file::replace_expected(&file.path, text.as_bytes(), &permissions, expected)
            .map_err(|error| Failure::new(exit::REFUSED, error.to_string(), Some(error.help())))?;
        terminal.drawn(&diff(&file.label, &read.text, &edits));
    } else if let Some(mode) = mode {
        change_mode(&file.path, &file.label, mode)?;
    }
    if let Some(mode) = mode {
        terminal.note(&format!("{}: mode {:04o} is now {mode:04o}", file.label, read.mode));
    }
    Ok(mended)
}

/// Whether a line of an env file refers to a name: renaming it would change
/// another value.
fn is_referred_to(name: &str, setup: &Setup) -> bool {
    setup.env_files.iter().any(|file| {
        let Ok(read) = file.read(TEXT_LIMIT) else { return false };
        read.text.split('$').skip(1).any(|rest| {
            let rest = rest.strip_prefix('{').unwrap_or(rest);
            rest.strip_prefix(name)
                .is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        })
    })
}

fn change_mode(path: &Path, label: &str, mode: u32) -> Result<(), Failure> {
    file::change_mode(path, mode).map_err(|error| {
        Failure::new(exit::REFUSED, format!("the mode of {label} could not be changed: {error}"), None)
    })
}

struct Edit<'f> {
    range: Range<usize>,
    text: String,
    assignment: &'f Assignment,
    finding: &'f Finding,
}

/// The assignment that a finding is about: the one on its line with its name.
/// The file may have changed since it was judged.
fn assignment_of<'a>(finding: &Finding, all: &'a [Assignment], text: &str) -> Option<&'a Assignment> {
    let line = finding.origin.as_ref()?.location.span()?.line;
    let name = finding.variable.as_ref()?.as_str();
    let mut named = all.iter().filter(|a| a.value_at.line == line && text.get(a.key.clone()) == Some(name));
    // Two of one name on one line: which was judged is a guess.
    named.next().filter(|_| named.next().is_none())
}

fn edited(text: &str, edits: &[Edit<'_>]) -> String {
    let mut out = String::with_capacity(text.len() + edits.iter().map(|e| e.text.len()).sum::<usize>());
    let mut done = 0;
    for edit in edits {
        out.push_str(text.get(done..edit.range.start).unwrap_or_default());
        out.push_str(&edit.text);
        done = edit.range.end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// The changed assignments, old and new: nothing else of their lines. A value is
/// shown only where the finding itself shows it.
fn diff(label: &str, text: &str, edits: &[Edit<'_>]) -> String {
    let mut out = format!("--- {label}\n+++ {label}\n");
    let mut rest = edits;
    while let [first, ..] = rest {
        let assignment = first.assignment;
        let count = rest.iter().take_while(|edit| edit.assignment == assignment).count();
        let (of_one, others) = rest.split_at(count);
        rest = others;
        let shown = of_one
            .iter()
            .all(|edit| edit.finding.snippet.as_ref().is_some_and(|snippet| !snippet.text.contains(MASK)));
        let piece = |range: Range<usize>| text.get(range).unwrap_or_default();
        let renamed = of_one.iter().find(|edit| edit.range == assignment.key);
        let changed = of_one.iter().find(|edit| edit.range == assignment.inner);
        let between = piece(assignment.key.end..assignment.value.start);
        let quote = assignment.quote.map_or(String::new(), String::from);
        let line = |name: &str, inner: &str| {
            let value =
                if shown || inner.is_empty() { format!("{quote}{inner}{quote}") } else { MASK.into() };
            report::visible(&format!("{name}{between}{value}")).into_owned()
        };
        let (name, inner) = (piece(assignment.key.clone()), piece(assignment.inner.clone()));
        out.push_str(&format!("@@ line {} @@\n-{}\n", assignment.key_at.line, line(name, inner)));
        let (name, inner) =
            (renamed.map_or(name, |edit| &edit.text), changed.map_or(inner, |edit| &edit.text));
        out.push_str(&format!("+{}\n", line(name, inner)));
    }
    out
}
