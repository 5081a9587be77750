//! The last-known-good snapshot in words.

use super::plural;
use super::status::age;
use crate::status::{SnapshotStatus, Status};

/// For how many sources the last-known-good snapshot stands in, and how old it is, as
/// a sentence; with names only where they may be told.
pub(crate) fn stand_ins(status: &Status, names: bool) -> Option<String> {
    let standing = status.sources.iter().filter(|source| source.snapshot_age_seconds.is_some());
    let list: Vec<&str> = standing.clone().map(|source| source.name.as_str()).collect();
    let oldest = standing.filter_map(|source| source.snapshot_age_seconds).max()?;
    let number = plural(list.len(), "source");
    let names = if names { format!(" ({})", list.join(", ")) } else { String::new() };
    Some(format!("the last-known-good snapshot stands in for {number}{names}, {} old", age(oldest)))
}

/// The last-known-good snapshot in a line, after its path.
pub(crate) fn snapshot_facts(snapshot: &SnapshotStatus) -> String {
    let mut facts = match (snapshot.generation, snapshot.age_seconds) {
        (Some(_), Some(seconds)) => format!("{} old", age(seconds)),
        (Some(_), None) => "written".to_owned(),
        (None, _) => "none written yet".to_owned(),
    };
    facts.push_str(&format!(", used up to {}", age(snapshot.max_age_seconds)));
    if !snapshot.stands_in.is_empty() {
        facts.push_str(&format!(" · stands in for {}", snapshot.stands_in.join(", ")));
    }
    if let Some(failure) = &snapshot.failure {
        facts.push_str(&format!(" · failed: {}", failure.message));
    }
    if let Some(why) = &snapshot.unguarded {
        facts.push_str(&format!(" · an older one put in its place would not be noticed: {why}"));
    }
    facts
}
