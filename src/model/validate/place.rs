//! The place under a finding: the origin, and the line with its mark. This is
//! where values are masked.

use std::ops::Range;
use std::sync::Arc;

use crate::model::finding::{Finding, Snippet};
use crate::model::origin::Location;
use crate::model::resolve::{Candidates, Entry};

/// What a masked value shows: always as wide, whatever it hides.
pub const MASK: &str = "••••••••";

/// Adds the place of a name to a finding about the name itself.
pub(super) fn named(mut finding: Finding, candidates: &Candidates, masked: bool, label: &str) -> Finding {
    let Some((origin, excerpt)) = candidates.highest() else { return finding };
    let mut origin = origin.clone();
    if let (Some(excerpt), Location::File { path, at: Some(at) }) = (excerpt, &mut origin.location) {
        at.column = excerpt.column;
        let written = excerpt.text.expose();
        let head = written.get(..excerpt.value_at).unwrap_or_default();
        let empty = written.len() == head.len();
        let text = if masked && !empty { format!("{head}{MASK}") } else { written.to_owned() };
        let name = head.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
        finding.snippet = Some(Snippet {
            path: Arc::clone(path),
            line: at.line,
            column: excerpt.column,
            text,
            mark: 0..name,
            label: label.to_owned(),
        });
    }
    finding.origin = Some(origin);
    finding
}

/// Adds the place and the line to a finding. `at` is the offending stretch
/// in characters of the value; without it the whole value is marked.
pub(super) fn located(
    mut finding: Finding,
    entry: &Entry,
    masked: bool,
    at: Option<Range<usize>>,
    label: &str,
) -> Finding {
    finding.origin = Some(entry.origin.clone());
    let location = &entry.origin.location;
    if let (Some(excerpt), Location::File { path, at: Some(span) }) = (&entry.excerpt, location) {
        let written = excerpt.text.expose();
        let (head, tail) = written.split_at_checked(excerpt.value_at).unwrap_or(("", written));
        let before = head.chars().count();
        let (text, mark) = if masked {
            (format!("{head}{MASK}"), before..before + MASK.chars().count())
        } else {
            let inner = tail.strip_prefix(['"', '\'']).unwrap_or(tail);
            let quote = tail.chars().count() - inner.chars().count();
            let whole = before..before + tail.chars().count();
            // Only where the file writes the value letter by letter do its
            // characters stand where the problem says.
            let mark = match at {
                Some(at) if inner.starts_with(entry.value.expose()) => {
                    before + quote + at.start..before + quote + at.end
                }
                _ => whole,
            };
            (written.to_owned(), mark)
        };
        finding.snippet = Some(Snippet {
            path: Arc::clone(path),
            line: span.line,
            column: excerpt.column,
            text,
            mark,
            label: label.to_owned(),
        });
    } else {
        finding.notes.push(label.to_owned());
    }
    finding
}
