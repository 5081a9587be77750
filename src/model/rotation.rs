//! How far the rotations of one document are: which keys are in it, what they are
//! called, and what was begun.
//!
//! Owns: the text of the reserved field [`FIELD`], which lies in the same document as
//! the secrets and changes in the same compare-and-set write.
//! Invariants: value-free (a key is recognised by a salted hash); what a later release
//! put there survives; a text that cannot be understood is an error, never 'nothing'.
//! Must not know: where a document lies; when something is due.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::key::Key;
use super::secret::SecretValue;

/// The reserved field: dlconf's own, never delivered.
pub const FIELD: &str = "DLCONF_STATE";

/// In front of the field that keeps a supplied secret's old value.
const KEPT: &str = "DLCONF_KEPT_";

/// Whether a field is of dlconf's own: the state of rotations, or an old value that is
/// kept. Neither is a variable, whatever source has it.
pub fn is_reserved(field: &str) -> bool {
    field == FIELD || field.starts_with(KEPT)
}

/// The version of the text.
const VERSION: u64 = 1;

/// The name of a key that was there before its first rotation.
const INITIAL: &str = "initial";

/// The longest name of a key.
const KID_BYTES: usize = 64;

/// How many keys that leaked are remembered.
const COMPROMISED: usize = 8;

/// The name of a key: letters, digits, `.`, `_` and `-`. It says nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kid(Box<str>);

/// A text that is no name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name of a key has 1 to 64 letters, digits, `.`, `_` or `-`")]
pub struct InvalidKid;

impl Kid {
    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidKid`].
    pub fn new(text: &str) -> Result<Self, InvalidKid> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=KID_BYTES).contains(&text.len()) && text.bytes().all(is_fine);
        if fits { Ok(Self(text.into())) } else { Err(InvalidKid) }
    }

    /// The name of what was there before the first rotation.
    pub fn initial() -> Self {
        Self(INITIAL.into())
    }

    /// A name made of random bytes.
    pub fn of_random(bytes: [u8; 8]) -> Self {
        Self(format!("{:016x}", u64::from_be_bytes(bytes)).into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Kid {
    type Error = InvalidKid;

    fn try_from(text: String) -> Result<Self, InvalidKid> {
        Self::new(&text)
    }
}

impl From<Kid> for String {
    fn from(kid: Kid) -> Self {
        kid.0.into()
    }
}

/// What recognises a key: the first 128 bits of SHA-256 over its name and its value.
/// It lies beside the value itself, so it tells nobody more than they can read there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Print(Box<str>);

impl Print {
    /// That of a key.
    pub fn of(kid: &Kid, value: &SecretValue) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"dlconf key\0");
        hash.update(kid.as_str().as_bytes());
        hash.update([0]);
        hash.update(value.expose().as_bytes());
        let digest = hash.finalize();
        let half = digest.iter().take(16).fold(0_u128, |half, byte| half << 8 | u128::from(*byte));
        Self(format!("{half:032x}").into())
    }
}

/// Which key of a rotation a value is. Value-free. Times in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Its name.
    pub kid: Kid,
    /// From when on it signs, or signed.
    pub not_before: Option<u64>,
    /// When it will be retired, where that is certain.
    pub retire_after: Option<u64>,
    /// Of the variable itself: the slots beside it that its rotation says are there. What
    /// is missing of these was lost; what is missing besides was taken away.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub beside: BTreeSet<Slot>,
}

/// A place in a document that belongs to a rotated variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Slot {
    /// The variable itself.
    Current,
    /// `NAME_NEXT`: verified with, not signed with yet.
    Next,
    /// `NAME_PREVIOUS`: verified with, not signed with any more.
    Previous,
    /// `NAME_3` of a ring.
    Numbered(u32),
    /// `NAME_ACTIVE` of a ring: the number of the key that signs.
    Active,
    /// A supplied secret's old value, in a field of dlconf's own, which is delivered
    /// to nobody.
    Kept,
}

impl Slot {
    /// The field, beside the one that has the variable itself.
    pub fn field(self, owner: &str) -> String {
        match self {
            Self::Current => owner.to_owned(),
            Self::Next => format!("{owner}_NEXT"),
            Self::Previous => format!("{owner}_PREVIOUS"),
            Self::Numbered(number) => format!("{owner}_{number}"),
            Self::Active => format!("{owner}_ACTIVE"),
            Self::Kept => format!("{KEPT}{owner}"),
        }
    }

    /// The variable; none for what is delivered to nobody.
    pub fn key(self, owner: &Key) -> Option<Key> {
        if self == Self::Kept { None } else { Key::new(&self.field(owner.as_str())).ok() }
    }

    /// The slot that a field is of its owner's; none where it is none.
    pub fn of_field(owner: &str, field: &str) -> Option<Self> {
        if field.strip_prefix(KEPT) == Some(owner) {
            return Some(Self::Kept);
        }
        match field.strip_prefix(owner)? {
            "" => Some(Self::Current),
            "_NEXT" => Some(Self::Next),
            "_PREVIOUS" => Some(Self::Previous),
            "_ACTIVE" => Some(Self::Active),
            rest => rest.strip_prefix('_').and_then(number).map(Self::Numbered),
        }
    }
}

/// As this release writes one: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number: &u32| number.to_string() == text)
}

impl From<Slot> for String {
    fn from(slot: Slot) -> Self {
        match slot {
            Slot::Current => "current".into(),
            Slot::Next => "next".into(),
            Slot::Previous => "previous".into(),
            Slot::Numbered(number) => number.to_string(),
            Slot::Active => "active".into(),
            Slot::Kept => "kept".into(),
        }
    }
}

impl TryFrom<String> for Slot {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(match text.as_str() {
            "current" => Self::Current,
            "next" => Self::Next,
            "previous" => Self::Previous,
            "active" => Self::Active,
            "kept" => Self::Kept,
            text => Self::Numbered(number(text).ok_or("is no slot")?),
        })
    }
}

/// What was begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing.
    #[default]
    Steady,
    /// The next key is there to be verified with.
    Staged,
    /// The new key signs; the one before is there to be verified with.
    Activated,
}

impl Phase {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Staged => "staged",
            Self::Activated => "activated",
        }
    }
}

/// One key of a rotated variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyNote {
    /// Its name.
    pub kid: Kid,
    /// What recognises it; none only before it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub print: Option<Print>,
    /// From when on it signs, or signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// What later releases know of it.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How far the rotation of one variable is. Times in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What was begun.
    pub phase: Phase,
    /// Since when.
    pub since: u64,
    /// When the key that signs was put there; none where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<u64>,
    /// Activated: when the key before is retired. None until every instance was seen to
    /// use the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retire_after: Option<u64>,
    /// The latest time that was ever written here: no clock that was set back is before
    /// it.
    pub clock: u64,
    /// How many keys were made: two rotations never have the same number.
    pub count: u64,
    /// How often this was written: of two texts, the one with more is the later one,
    /// whichever is in force.
    #[serde(default)]
    pub writes: u64,
    /// A ring's number that signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<u32>,
    /// Somebody accepted by name that this rotation logs people out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept_logout: bool,
    /// Somebody accepted by name that the document belongs to another controller.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub take_over: bool,
    /// The rotation was undone: what is retired is the newer key.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undone: bool,
    /// Why somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its keys.
    #[serde(default)]
    pub keys: BTreeMap<Slot, KeyNote>,
    /// Those that leaked and were taken away, the last few: they never come back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compromised: Vec<KeyNote>,
    /// What later releases know of it.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Progress {
    /// The name of the key in a slot.
    pub fn kid(&self, slot: Slot) -> Option<&Kid> {
        self.keys.get(&slot).map(|note| &note.kid)
    }

    /// Whether a value is the one that was noted for a slot.
    pub fn is_noted(&self, slot: Slot, value: &SecretValue) -> bool {
        let note = self.keys.get(&slot);
        note.is_some_and(|note| note.print.as_ref() == Some(&Print::of(&note.kid, value)))
    }

    /// Remembers a key that leaked.
    pub fn banish(&mut self, note: KeyNote) {
        let too_many = (self.compromised.len() + 1).saturating_sub(COMPROMISED);
        self.compromised.drain(..too_many);
        self.compromised.push(note);
    }

    /// Whether a value is a key that leaked.
    pub fn is_compromised(&self, value: &SecretValue) -> bool {
        self.compromised.iter().any(|note| note.print.as_ref() == Some(&Print::of(&note.kid, value)))
    }

    /// The slots of variables that are there beside the variable itself.
    fn beside(&self) -> BTreeSet<Slot> {
        let noted = self.keys.keys().filter(|slot| !matches!(slot, Slot::Current | Slot::Kept));
        noted.copied().chain(self.active.map(|_| Slot::Active)).collect()
    }

    /// What the value in a slot is called; none where it is another than was noted.
    pub fn mark(&self, slot: Slot, value: &SecretValue) -> Option<Mark> {
        let note = self.keys.get(&slot).filter(|_| self.is_noted(slot, value))?;
        let retires = slot == Slot::Previous && self.phase == Phase::Activated;
        let retire_after = self.retire_after.filter(|_| retires);
        let beside = if slot == Slot::Current { self.beside() } else { BTreeSet::new() };
        Some(Mark { kid: note.kid.clone(), not_before: note.not_before, retire_after, beside })
    }
}

/// The whole text of a document's reserved field: one [`Progress`] for each field that
/// has a rotated variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    version: u64,
    /// By the field that has the variable itself.
    #[serde(default)]
    rotations: BTreeMap<String, Progress>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A reserved field that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// It is no such text.
    #[error("it is not what a rotation writes")]
    Malformed,
    /// A later release wrote it.
    #[error("version {0} of it is a later release's")]
    Version(u64),
}

impl Default for Ledger {
    fn default() -> Self {
        Self { version: VERSION, rotations: BTreeMap::new(), rest: Map::new() }
    }
}

impl Ledger {
    /// Understands a text.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let ledger: Self = serde_json::from_str(text).map_err(|_| LedgerError::Malformed)?;
        if ledger.version == VERSION { Ok(ledger) } else { Err(LedgerError::Version(ledger.version)) }
    }

    /// The text: one line of JSON.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The rotation of the variable that this field has.
    pub fn of(&self, field: &str) -> Option<&Progress> {
        self.rotations.get(field)
    }

    /// The same, with another state of one rotation.
    #[must_use]
    pub fn with(mut self, field: &str, progress: Progress) -> Self {
        self.rotations.insert(field.to_owned(), progress);
        self
    }

    /// What the value of any field is called; none where no rotation noted it.
    pub fn mark(&self, field: &str, value: &SecretValue) -> Option<Mark> {
        self.rotations.iter().find_map(|(owner, progress)| {
            let slot = Slot::of_field(owner, field)?;
            progress.mark(slot, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(kid: &str, value: &str) -> KeyNote {
        let kid = Kid::new(kid).unwrap();
        let print = Some(Print::of(&kid, &value.into()));
        KeyNote { kid, print, not_before: Some(7), rest: Map::new() }
    }

    fn ledger() -> Ledger {
        let keys = BTreeMap::from([(Slot::Current, noted("b", "two")), (Slot::Previous, noted("a", "one"))]);
        let progress =
            Progress { phase: Phase::Activated, retire_after: Some(90), keys, ..Progress::default() };
        Ledger::default().with("JWT_SECRET", progress)
    }

    #[test]
    fn a_text_comes_back_and_keeps_what_others_wrote() {
        let text = ledger().to_text();
        assert_eq!(Ledger::parse(&text).unwrap(), ledger());
        let later = text
            .replace("\"version\":1", "\"version\":1,\"beside\":[1]")
            .replace("\"phase\"", "\"within\":{\"a\":1},\"phase\"")
            .replace("\"kid\":\"a\"", "\"kid\":\"a\",\"of_key\":true");
        let changed =
            Ledger::parse(&later).unwrap().with("OTHER", Progress { count: 3, ..Progress::default() });
        let text = changed.to_text();
        for kept in ["\"beside\":[1]", "\"within\":{\"a\":1}", "\"of_key\":true", "\"OTHER\""] {
            assert!(text.contains(kept), "{kept} in {text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_no_empty_state() {
        for text in ["", "{}", "[]", "null", "{\"version\":1,\"rotations\":{\"A\":{}}}"] {
            assert_eq!(Ledger::parse(text), Err(LedgerError::Malformed), "{text}");
        }
        assert_eq!(Ledger::parse("{\"version\":2}"), Err(LedgerError::Version(2)));
    }

    #[test]
    fn a_value_is_called_what_was_noted_for_it_in_its_place() {
        let ledger = ledger();
        let kid = |field: &str, value: &str| {
            ledger.mark(field, &value.into()).map(|mark| (mark.kid.as_str().to_owned(), mark.retire_after))
        };
        assert_eq!(kid("JWT_SECRET", "two"), Some(("b".into(), None)));
        assert_eq!(kid("JWT_SECRET_PREVIOUS", "one"), Some(("a".into(), Some(90))));
        assert_eq!(kid("JWT_SECRET", "one"), None, "a foreign write has no name");
        assert_eq!(kid("JWT_SECRET_NEXT", "two"), None);
        assert_eq!(kid("OTHER", "two"), None);
    }

    #[test]
    fn a_slot_is_a_field_and_back() {
        let slots = [
            Slot::Current,
            Slot::Next,
            Slot::Previous,
            Slot::Numbered(1),
            Slot::Numbered(12),
            Slot::Active,
            Slot::Kept,
        ];
        for slot in slots {
            assert_eq!(Slot::of_field("A", &slot.field("A")), Some(slot));
            assert_eq!(Slot::try_from(String::from(slot)), Ok(slot));
        }
        for field in ["A_01", "A_+1", "A_", "AB", "B_A", "DLCONF_KEPT_B"] {
            assert_eq!(Slot::of_field("A", field), None, "{field}");
        }
        assert!(Slot::try_from("01".to_owned()).is_err());
    }
}
