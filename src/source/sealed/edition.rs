//! A sealed file's next state: what of it is sealed anew, and what stays as it is.
//!
//! Invariants: a piece that did not change keeps its line byte for byte; the generation
//! is one more; words name variables, never values.
//! Must not know: where keys come from, how a file is written.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use super::document::Chunk;
use crate::model::key::Key;
use crate::sealed::{Container, Entry, Kernel, Opened, Piece, SealError, State};

/// What was sealed, as one text; none where it is no text.
pub fn text_of(opened: &Opened) -> Option<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(opened.texts.iter().map(|text| text.len()).sum()));
    for piece in &opened.texts {
        text.push_str(std::str::from_utf8(piece).ok()?);
    }
    Some(text)
}

/// Seconds since 1970, as this machine's clock has it.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Pieces that are all sealed anew.
pub fn all_new<'c>(chunks: &'c [Chunk<'_>]) -> Vec<Piece<'c>> {
    chunks.iter().map(new_piece).collect()
}

fn new_piece<'c>(chunk: &'c Chunk<'_>) -> Piece<'c> {
    Piece::New(chunk.name.as_ref().map(Key::as_str), chunk.text.as_bytes())
}

/// A new state of a file: its pieces, and what is different.
#[derive(Debug)]
pub struct Edition<'c> {
    pieces: Vec<Piece<'c>>,
    changed: BTreeSet<&'c str>,
    added: BTreeSet<&'c str>,
    removed: BTreeSet<&'c str>,
    comments: bool,
}

impl<'c> Edition<'c> {
    /// What stays as it was keeps its line: the same text under the same name.
    pub fn new(container: &'c Container, opened: &'c Opened, chunks: &'c [Chunk<'_>]) -> Self {
        let mut old: HashMap<(Option<&str>, &[u8]), VecDeque<&Entry>> = HashMap::new();
        for (entry, text) in container.entries.iter().zip(&opened.texts) {
            old.entry((entry.name.as_deref(), text)).or_default().push_back(entry);
        }
        let mut change = Self {
            pieces: Vec::with_capacity(chunks.len()),
            changed: BTreeSet::new(),
            added: BTreeSet::new(),
            removed: BTreeSet::new(),
            comments: false,
        };
        for chunk in chunks {
            let name = chunk.name.as_ref().map(Key::as_str);
            let kept = old.get_mut(&(name, chunk.text.as_bytes())).and_then(VecDeque::pop_front);
            change.pieces.push(match (kept, name) {
                (Some(entry), _) => Piece::Kept(entry),
                (None, Some(name)) => {
                    change.added.insert(name);
                    new_piece(chunk)
                }
                (None, None) => {
                    change.comments = true;
                    new_piece(chunk)
                }
            });
        }
        let left = old.iter().filter(|(_, entries)| !entries.is_empty());
        for name in left.map(|((name, _), _)| *name) {
            match name {
                None => change.comments = true,
                Some(name) if change.added.remove(name) || change.changed.contains(name) => {
                    change.changed.insert(name);
                }
                Some(name) => {
                    change.removed.insert(name);
                }
            }
        }
        change
    }

    /// The container that it makes, written now.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn sealed(&self, container: &Container, opened: &Opened) -> Result<Container, SealError> {
        let state = State {
            generation: container.state.generation.saturating_add(1),
            written: now(),
            ..container.state.clone()
        };
        container.change(opened, state, &self.pieces, &mut Kernel)
    }

    /// In words: `changed JWT_SECRET; added PORT`.
    pub fn words(&self) -> String {
        let list = |verb: &str, names: &BTreeSet<&str>| {
            let names: Vec<&str> = names.iter().copied().collect();
            (!names.is_empty()).then(|| format!("{verb} {}", names.join(", ")))
        };
        let comments = self.comments.then(|| "changed comments or empty lines".to_owned());
        let all = [
            list("changed", &self.changed),
            list("added", &self.added),
            list("removed", &self.removed),
            comments,
        ];
        let words: Vec<String> = all.into_iter().flatten().collect();
        if words.is_empty() { "changed the order".to_owned() } else { words.join("; ") }
    }
}

#[cfg(test)]
mod tests;
