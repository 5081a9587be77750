//! From a Secret or a ConfigMap to variables. Pure.
//!
//! A Secret holds bytes, in base64; a ConfigMap text (`data`) and bytes
//! (`binaryData`). Bytes that are UTF-8 are text. Others are taken where the
//! settings say so in words, as base64; else they are passed over, and named.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::config::Spec;
use crate::kubernetes::{Kind, Meta, Object};
use crate::model::key::Key;
use crate::model::rotation::{FIELD, Ledger, LedgerError, Mark, Slot};
use crate::model::secret::SecretValue;
use crate::source::fields::{FieldNote, Taken, Words, select_fields};

/// An object as the API answers it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    #[serde(default)]
    kind: Box<str>,
    pub(super) metadata: Meta,
    #[serde(default)]
    data: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    binary_data: Option<BTreeMap<String, Option<String>>>,
    #[serde(default)]
    pub(super) immutable: Option<bool>,
}

/// What an object gives.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) taken: Taken,
    /// Keys that hold bytes which are no text.
    pub(super) binary: Vec<Box<str>>,
    /// Which key of a rotation a key's value is.
    pub(super) marks: BTreeMap<Box<str>, Arc<Mark>>,
}

impl Stored {
    /// Whether it is that object: a list, or another, has none of its values.
    pub(super) fn is(&self, object: &Object) -> bool {
        *self.kind == *object.kind.title() && *self.metadata.name == *object.name.as_str()
    }

    /// The state of rotations that a Secret has; none before the first.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub(super) fn ledger(&self) -> Result<Option<Ledger>, LedgerError> {
        let state = self.data.as_ref().and_then(|data| data.get(FIELD));
        let Some(encoded) = state else { return Ok(None) };
        let text = text(encoded.as_deref().unwrap_or_default()).ok_or(LedgerError::Malformed)?;
        Ledger::parse(text.expose()).map(Some)
    }

    /// What a Secret has for a rotated variable, which is in `field`. What is empty is
    /// left out.
    ///
    /// # Errors
    /// The key that holds no text.
    pub(super) fn slots(&self, field: &str) -> Result<BTreeMap<Slot, Arc<SecretValue>>, String> {
        let mut slots = BTreeMap::new();
        for (name, encoded) in self.data.iter().flatten() {
            let Some(slot) = Slot::of_field(field, name) else { continue };
            let value = text(encoded.as_deref().unwrap_or_default()).ok_or_else(|| name.clone())?;
            if !value.is_empty() {
                slots.insert(slot, Arc::new(value));
            }
        }
        Ok(slots)
    }

    /// Takes what is selected.
    pub(super) fn take(self, spec: &Spec, known: &BTreeSet<Key>) -> Given {
        // Rotations write Secrets only.
        let ledger = if spec.kind == Kind::Secret { self.ledger() } else { Ok(None) };
        let (texts, bytes) = match spec.kind {
            Kind::ConfigMap => (self.data, self.binary_data),
            Kind::Secret | Kind::Lease => (None, self.data),
        };
        let (texts, bytes) = (texts.unwrap_or_default(), bytes.unwrap_or_default());
        let binary = RefCell::new(Vec::new());
        let names = texts.keys().chain(bytes.keys()).map(String::as_str);
        let wants_base64 = |name: &str| spec.base64.iter().any(|key| key == name);
        let mut taken = select_fields(words(spec.kind), names, &spec.select, known, |name| {
            if let Some(text) = texts.get(name) {
                let text = text.as_deref().unwrap_or_default();
                return Some(if wants_base64(name) {
                    SecretValue::new(STANDARD.encode(text))
                } else {
                    SecretValue::from(text)
                });
            }
            let encoded = bytes.get(name)?.as_deref().unwrap_or_default();
            if wants_base64(name) {
                return Some(SecretValue::from(encoded));
            }
            let decoded = self::text(encoded);
            if decoded.is_none() {
                binary.borrow_mut().push(name.into());
            }
            decoded
        });
        let marks = match ledger {
            Ok(ledger) => ledger.map(|ledger| marks(&ledger, &taken)).unwrap_or_default(),
            Err(error) => {
                taken.notes.push(FieldNote {
                    field: FIELD.into(),
                    message: format!(
                        "the key `{FIELD}` cannot be used: {error}; no key has a name, and none is rotated"
                    ),
                    help: "use the release that wrote it; or remove the key, if no rotation is under way"
                        .into(),
                });
                BTreeMap::new()
            }
        };
        Given { taken, binary: binary.into_inner(), marks }
    }
}

/// The text that is there in base64; none where the bytes are no text.
fn text(encoded: &str) -> Option<SecretValue> {
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(SecretValue::new)
}

fn marks(ledger: &Ledger, taken: &Taken) -> BTreeMap<Box<str>, Arc<Mark>> {
    let mark = |field: &crate::source::fields::Field| {
        let mark = ledger.mark(&field.name, field.value.as_ref()?)?;
        Some((field.name.clone(), Arc::new(mark)))
    };
    taken.fields.iter().filter_map(mark).collect()
}

/// As Kubernetes calls them.
fn words(kind: Kind) -> Words {
    Words { field: "key", holder: kind.title() }
}

impl Given {
    /// Whether another gives the program just the same.
    pub(super) fn gives_the_same(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.taken, &other.taken);
        self.binary == other.binary
            && self.marks == other.marks
            && ours.notes == theirs.notes
            && ours.fields.len() == theirs.fields.len()
            && ours.fields.iter().zip(&theirs.fields).all(|(a, b)| {
                a.name == b.name
                    && a.key == b.key
                    && match (&a.value, &b.value) {
                        (Some(a), Some(b)) => a.same_as(b),
                        (a, b) => a.is_none() == b.is_none(),
                    }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::Name;
    use crate::source::fields::Select;

    fn spec(kind: Kind, base64: &[&str]) -> Spec {
        Spec {
            kind,
            name: Name::object("db").unwrap(),
            select: Select::default(),
            base64: base64.iter().map(|key| (*key).to_owned()).collect(),
        }
    }

    fn given(kind: Kind, base64: &[&str], json: &str) -> Given {
        let json = format!(r#"{{"metadata":{{"resourceVersion":"1"}},{json}}}"#);
        let known = ["DB_USER", "KEYSTORE"].map(|name| Key::new(name).unwrap()).into();
        serde_json::from_str::<Stored>(&json).unwrap().take(&spec(kind, base64), &known)
    }

    #[track_caller]
    fn check(kind: Kind, base64: &[&str], json: &str, expect: &[&str], binary: &[&str]) {
        let given = given(kind, base64, json);
        let told = |field: &crate::source::fields::Field| {
            format!("{}={:?} ({})", field.key, field.value.as_ref().unwrap().expose(), field.name)
        };
        assert_eq!(given.taken.fields.iter().map(told).collect::<Vec<_>>(), expect, "{json}");
        assert_eq!(given.binary.iter().map(|name| &**name).collect::<Vec<_>>(), binary, "{json}");
    }

    #[test]
    fn bytes_that_are_text_are_text() {
        let json = r#""data":{"db_user":"dcOkCg==","EMPTY":"","NUL":"YQBi"}"#;
        check(
            Kind::Secret,
            &[],
            json,
            &[r#"DB_USER="uä\n" (db_user)"#, r#"EMPTY="" (EMPTY)"#, r#"NUL="a\0b" (NUL)"#],
            &[],
        );
        check(Kind::Secret, &[], r#""type":"Opaque""#, &[], &[]);
        check(Kind::Secret, &[], r#""data":null"#, &[], &[]);
    }

    #[test]
    fn other_bytes_are_taken_in_base64_where_settings_say_so() {
        let json = r#""data":{"KEYSTORE":"//79","A":"YQ=="}"#;
        check(Kind::Secret, &[], json, &[r#"A="a" (A)"#], &["KEYSTORE"]);
        check(Kind::Secret, &["KEYSTORE"], json, &[r#"A="a" (A)"#, r#"KEYSTORE="//79" (KEYSTORE)"#], &[]);
    }

    #[test]
    fn config_maps_hold_text_and_bytes() {
        let json = r#""data":{"A":"a=b"},"binaryData":{"KEYSTORE":"//79","B":"Yg=="}"#;
        check(Kind::ConfigMap, &["A"], json, &[r#"A="YT1i" (A)"#, r#"B="b" (B)"#], &["KEYSTORE"]);
    }

    #[test]
    fn a_rotation_gives_its_keys_names_which_count_as_content() {
        use crate::model::rotation::{KeyNote, Kid, Phase, Print, Progress};

        let note = |kid: &str, value: &str| {
            let kid = Kid::new(kid).unwrap();
            KeyNote {
                print: Some(Print::of(&kid, &value.into())),
                kid,
                not_before: None,
                rest: serde_json::Map::new(),
            }
        };
        let keys = BTreeMap::from([(Slot::Current, note("k2", "b")), (Slot::Previous, note("k1", "a"))]);
        let progress = |retire_after| Progress {
            phase: Phase::Activated,
            retire_after,
            keys: keys.clone(),
            ..Progress::default()
        };
        let json = |retire_after| {
            let state = Ledger::default().with("KEY", progress(retire_after)).to_text();
            format!(
                r#""data":{{"KEY":"Yg==","KEY_PREVIOUS":"YQ==","KEY_NEXT":"Yw==","DLCONF_STATE":"{}"}}"#,
                STANDARD.encode(state)
            )
        };
        let (first, settled) =
            (given(Kind::Secret, &[], &json(None)), given(Kind::Secret, &[], &json(Some(9))));
        let kids: Vec<_> = first.marks.iter().map(|(name, mark)| (&**name, mark.kid.as_str())).collect();
        assert_eq!(kids, [("KEY", "k2"), ("KEY_PREVIOUS", "k1")]);
        assert_eq!(first.taken.fields.len(), 3, "the state is nobody's variable");
        assert!(!first.gives_the_same(&settled));
        let broken = given(Kind::Secret, &[], r#""data":{"KEY":"Yg==","DLCONF_STATE":"e30="}"#);
        assert!(broken.marks.is_empty() && broken.taken.notes[0].message.contains("DLCONF_STATE"));
    }

    #[test]
    fn what_gives_the_same_is_no_change() {
        let a = || given(Kind::Secret, &[], r#""data":{"A":"YQ=="}"#);
        assert!(a().gives_the_same(&a()));
        for other in [
            r#""data":{"A":"Yg=="}"#,
            r#""data":{"B":"YQ=="}"#,
            r#""data":{}"#,
            r#""data":{"A":"YQ==","B":""}"#,
        ] {
            assert!(!a().gives_the_same(&given(Kind::Secret, &[], other)), "{other}");
        }
    }
}
