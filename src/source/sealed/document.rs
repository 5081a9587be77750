//! The text of an env file, cut into what is sealed piece by piece.
//!
//! Pure. Invariants: the pieces put together are the text, byte for byte, so that
//! order, comments and every blank are kept; a piece sets the variable that it is
//! named after and no other; read one by one, the pieces say what the text says.

use std::ops::Range;
use std::sync::Arc;

use crate::model::key::{Key, SourceName};
use crate::model::origin::{Location, Span};
use crate::source::dotenv::{assignments, nul, parse};
use crate::source::{Fault, FaultKind};

/// A piece of an env file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk<'t> {
    /// The variable that it sets; none for comments, empty lines, and whatever sets
    /// nothing.
    pub name: Option<Key>,
    /// The piece, with its line ends.
    pub text: &'t str,
}

/// Cuts a text: one piece for each assignment, with all its lines, and one for what
/// stands between two. `label` is the file as the user wrote it.
///
/// # Errors
/// What a source of type `dotenv` would not read, and lines that set two variables:
/// one of them could not be named.
pub fn chunks<'t>(text: &'t str, label: &Arc<str>) -> Result<Vec<Chunk<'t>>, Vec<Fault>> {
    let parsed = parse(&SourceName::new("sealed"), label, text, None)?;
    let mut faults: Vec<Fault> = parsed.offers.iter().filter_map(nul).collect();
    let mut chunks: Vec<Chunk<'t>> = Vec::new();
    let mut done = 0;
    for assignment in assignments(text) {
        let lines = lines_of(text, assignment.key.start..assignment.value.end);
        if lines.start < done {
            faults.push(second(label, assignment.key_at));
            continue;
        }
        let name = text.get(assignment.key).and_then(|name| Key::new(name).ok());
        if lines.start > done {
            chunks.push(Chunk { name: None, text: &text[done..lines.start] });
        }
        chunks.push(Chunk { name, text: &text[lines.clone()] });
        done = lines.end;
    }
    if done < text.len() {
        chunks.push(Chunk { name: None, text: &text[done..] });
    }
    if faults.is_empty() { Ok(chunks) } else { Err(faults) }
}

/// The fault of an assignment behind another one.
fn second(label: &Arc<str>, at: Span) -> Fault {
    Fault {
        kind: FaultKind::Malformed,
        location: Location::File { path: Arc::clone(label), at: Some(at) },
        message: "a second variable is set on this line, and a sealed file names one a line".to_owned(),
        help: "give it a line of its own".to_owned(),
    }
}

/// A range, widened to whole lines.
fn lines_of(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[range.end..].find('\n').map_or(text.len(), |at| range.end + at + 1);
    start..end
}
