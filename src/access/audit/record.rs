//! Records in words: the part of a line that says what happened, in JSON.
//!
//! Invariants: value-free by its types; a line is one line, and text from outside
//! cannot steer what shows it.
//! Must not know: chains, files.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::{Outcome, Record, Who};
use crate::access::policy::Action;
use crate::model::key::Key;
use crate::visible::escape_json;

/// How many names the line of a refusal has: who is refused chose them.
pub(super) const NAMED: usize = 32;
/// How long each of them may be.
pub(super) const NAME: usize = 128;

/// Why a file was begun, or gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// The daemon started.
    Started,
    /// The one before is full.
    Rotated,
    /// Somebody moved or removed the one before.
    Moved,
}

/// Why nothing more follows for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The daemon ends.
    Stopped,
    /// New settings name another log.
    Elsewhere,
    /// New settings have no log.
    Removed,
    /// The settings that name it were refused after all.
    Refused,
}

impl Closing {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Elsewhere => "another log",
            Self::Removed => "no more audit",
            Self::Refused => "settings refused",
        }
    }
}

/// Who was refused so often that it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refused {
    /// The user; none for all those that are too many to be told apart.
    pub(super) uid: Option<u32>,
    pub(super) action: Action,
}

/// Something that somebody did or was refused.
pub(super) fn words(record: &Record) -> String {
    let mut text = String::with_capacity(256);
    let event = match (&record.outcome, record.action) {
        (Outcome::Refused, _) => "refuse",
        (Outcome::Permitted(_), Action::Read) => "release",
        (Outcome::Permitted(_), _) => "permit",
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "\"event\":\"{event}\",\"action\":\"{}\"", record.action.as_str());
    match &record.who {
        Who::Peer { uid, gid, pid, exe, unit } => {
            let _ = write!(text, ",\"uid\":{uid},\"gid\":{gid}");
            if let Some(pid) = pid {
                let _ = write!(text, ",\"pid\":{pid}");
            }
            let exe = exe.as_ref().map(|exe| exe.to_string_lossy().into_owned());
            for (name, told) in [("exe", exe.as_ref()), ("unit", unit.as_ref())] {
                if let Some(told) = told {
                    let _ = write!(text, ",\"{name}\":{}", string(told));
                }
            }
        }
        Who::Delivery(name) => _ = write!(text, ",\"delivery\":{}", string(name)),
    }
    if let Outcome::Permitted(rules) = &record.outcome
        && !rules.is_empty()
    {
        text.push_str(",\"rules\":[");
        for (at, rule) in rules.iter().enumerate() {
            let _ = write!(text, "{}{rule}", if at == 0 { "" } else { "," });
        }
        text.push(']');
    }
    if record.outcome == Outcome::Refused {
        let told = record.keys.iter().filter(|key| key.as_str().len() <= NAME).take(NAMED);
        let count = told.clone().count();
        vars(&mut text, told, count == record.keys.len());
    } else {
        vars(&mut text, record.keys.iter(), true);
    }
    if let Some(version) = &record.version {
        let _ = write!(text, ",\"version\":{}", string(&version.to_string()));
    }
    text
}

/// Refusals that were counted.
pub(super) fn repeated(refused: Refused, times: u64, keys: &BTreeSet<Key>, is_whole: bool) -> String {
    let uid = refused.uid.map_or(Value::Null, Value::from);
    let mut text = format!(
        "\"event\":\"refuse\",\"action\":\"{}\",\"uid\":{uid},\"times\":{times}",
        refused.action.as_str()
    );
    vars(&mut text, keys.iter(), is_whole);
    text
}

/// Whether these are the words that every file begins with.
pub(super) fn is_opening(words: &str) -> bool {
    words.starts_with("\"event\":\"opened\",")
}

/// The log is written from here on.
pub(super) fn opened(why: Opening, dropped: u64) -> String {
    let why = match why {
        Opening::Started => "started",
        Opening::Rotated => "rotated",
        Opening::Moved => "moved",
    };
    let (release, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
    let mut text = format!("\"event\":\"opened\",\"why\":\"{why}\",\"release\":\"{release}\",\"pid\":{pid}");
    if dropped > 0 {
        let _ = write!(text, ",\"dropped_bytes\":{dropped}");
    }
    text
}

/// Nothing more follows for now.
pub(super) fn closed(why: Closing) -> String {
    format!("\"event\":\"closed\",\"why\":\"{}\"", why.as_str())
}

/// Records could not be written before this one.
pub(super) fn lost(times: u64) -> String {
    format!("\"event\":\"unrecorded\",\"times\":{times}")
}

/// Somebody else wrote to the file: it had so many bytes, and has so many.
pub(super) fn meddled(had: u64, has: u64) -> String {
    format!("\"event\":\"meddled\",\"had_bytes\":{had},\"has_bytes\":{has}")
}

fn vars<'a>(text: &mut String, keys: impl Iterator<Item = &'a Key>, is_whole: bool) {
    text.push_str(",\"vars\":[");
    for (at, key) in keys.enumerate() {
        // Nothing of a name needs to be escaped.
        let _ = write!(text, "{}\"{key}\"", if at == 0 { "" } else { "," });
    }
    text.push(']');
    if !is_whole {
        text.push_str(",\"more_vars\":true");
    }
}

fn string(text: &str) -> String {
    escape_json(&Value::from(text).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::RuleId;

    #[test]
    fn text_from_outside_stays_in_its_string() {
        let evil = "x\",\"mac\":\"\n\u{1b}[31m\u{202e}::error::";
        let who =
            Who::Peer { uid: 1, gid: 2, pid: Some(3), exe: Some(evil.into()), unit: Some(evil.to_owned()) };
        for who in [who, Who::Delivery(evil.to_owned())] {
            let record = Record {
                who,
                action: Action::Read,
                keys: vec![Key::new("A").unwrap(), Key::new("B").unwrap()],
                version: None,
                outcome: Outcome::Permitted(vec![RuleId(2), RuleId(7)]),
            };
            let words = words(&record);
            assert!(words.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{words}");
            let parsed: Value = serde_json::from_str(&format!("{{{words}}}")).unwrap();
            assert_eq!(parsed["vars"], serde_json::json!(["A", "B"]));
            assert_eq!(parsed["rules"], serde_json::json!([2, 7]));
            assert_eq!(parsed.get("mac"), None);
            let told = if parsed["uid"] == 1 { &parsed["unit"] } else { &parsed["delivery"] };
            assert_eq!(told, evil);
        }
    }

    #[test]
    fn who_is_refused_does_not_choose_how_long_a_line_is() {
        let long = Key::new(&"L".repeat(NAME + 1)).unwrap();
        let many: Vec<Key> = (0..1000).map(|number| Key::new(&format!("K{number}")).unwrap()).collect();
        for (keys, told, more) in [
            (vec![long], 0, true),
            (many.clone(), NAMED, true),
            (many[..NAMED].to_vec(), NAMED, false),
            (Vec::new(), 0, false),
        ] {
            let who = Who::Delivery(String::new());
            let record = Record { who, action: Action::Read, keys, version: None, outcome: Outcome::Refused };
            let words: Value = serde_json::from_str(&format!("{{{}}}", words(&record))).unwrap();
            assert_eq!((words["vars"].as_array().unwrap().len(), words["more_vars"] == true), (told, more));
        }
    }

    #[test]
    fn every_line_is_json() {
        let refused = Refused { uid: None, action: Action::Watch };
        for words in [
            repeated(refused, 9, &BTreeSet::new(), false),
            opened(Opening::Moved, 7),
            closed(Closing::Removed),
            lost(1),
            meddled(1, 0),
        ] {
            let parsed: Value = serde_json::from_str(&format!("{{{words}}}")).unwrap();
            assert!(parsed["event"].is_string(), "{words}");
        }
    }
}
