//! From a Secret or a ConfigMap to variables. Pure.
//!
//! A Secret holds bytes, in base64; a ConfigMap text (`data`) and bytes
//! (`binaryData`). Bytes that are UTF-8 are text. Others are taken where the
//! settings say so in words, as base64; else they are passed over, and named.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::config::Spec;
use crate::kubernetes::{Kind, Meta, Object};
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::source::fields::{Taken, Words, select_fields};

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
}

/// What an object gives.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) taken: Taken,
    /// Keys that hold bytes which are no text.
    pub(super) binary: Vec<Box<str>>,
}

impl Stored {
    /// Whether it is that object: a list, or another, has none of its values.
    pub(super) fn is(&self, object: &Object) -> bool {
        *self.kind == *object.kind.title() && *self.metadata.name == *object.name.as_str()
    }

    /// Takes what is selected.
    pub(super) fn take(self, spec: &Spec, known: &BTreeSet<Key>) -> Given {
        let (text, bytes) = match spec.kind {
            Kind::ConfigMap => (self.data, self.binary_data),
            Kind::Secret | Kind::Lease => (None, self.data),
        };
        let (text, bytes) = (text.unwrap_or_default(), bytes.unwrap_or_default());
        let binary = RefCell::new(Vec::new());
        let names = text.keys().chain(bytes.keys()).map(String::as_str);
        let wants_base64 = |name: &str| spec.base64.iter().any(|key| key == name);
        let taken = select_fields(words(spec.kind), names, &spec.select, known, |name| {
            if let Some(text) = text.get(name) {
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
            let decoded = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            if decoded.is_none() {
                binary.borrow_mut().push(name.into());
            }
            decoded.map(SecretValue::new)
        });
        Given { taken, binary: binary.into_inner() }
    }
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
