//! From the fields of a secret to variables: which text each is. Pure.
//!
//! A string is its text. Anything else (a number, true, a list, a table) is its
//! JSON as the server writes it, except null, which is unset.

use std::collections::BTreeSet;

use super::api::RawFields;
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::source::fields::{Select, Taken, Words, select_fields};

/// As Vault calls them.
pub(super) const WORDS: Words = Words { field: "field", holder: "secret" };

/// Takes the values of a secret.
pub(super) fn take(raw: &RawFields, select: &Select, known: &BTreeSet<Key>) -> Taken {
    select_fields(WORDS, raw.keys().map(String::as_str), select, known, |name| {
        raw.get(name).and_then(|raw| text(raw.get()))
    })
}

/// Takes names alone.
pub(super) fn take_names<'n>(
    names: impl Iterator<Item = &'n str>,
    select: &Select,
    known: &BTreeSet<Key>,
) -> Taken {
    let mut taken = select_fields(WORDS, names, select, known, |_| Some(SecretValue::from("")));
    for field in &mut taken.fields {
        field.value = None;
    }
    taken
}

/// A field's text; none where it is null.
pub(super) fn text(json: &str) -> Option<SecretValue> {
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(json).ok().map(SecretValue::new),
        Some(b'n') => None,
        _ => Some(SecretValue::from(json)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> RawFields {
        serde_json::from_str(json).unwrap()
    }

    fn known() -> BTreeSet<Key> {
        ["DB_USER", "DB_PASSWORD", "PORT", "app_mode"].map(|k| Key::new(k).unwrap()).into()
    }

    fn select(map: &[(&str, &str)], prefix: &str, only: &[&str]) -> Select {
        Select {
            map: map.iter().map(|(f, k)| ((*f).to_owned(), Key::new(k).unwrap())).collect(),
            prefix: prefix.into(),
            only: only.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    #[track_caller]
    fn check(json: &str, select: &Select, expect: &[&str], notes: &[&str]) {
        let taken = take(&raw(json), select, &known());
        let told: Vec<String> = taken
            .fields
            .iter()
            .map(|f| format!("{}={} ({})", f.key, f.value.as_ref().unwrap().expose(), f.name))
            .collect();
        assert_eq!(told, expect, "fields of {json}");
        let told: Vec<String> = taken.notes.iter().map(|n| format!("{}: {}", n.field, n.help)).collect();
        assert_eq!(told, notes, "notes of {json}");
    }

    #[test]
    fn strings_are_text_and_the_rest_is_json() {
        check(
            r#"{"A":"x\ny\u00e9","B":1.50,"C":true,"D":null,"E":[1, 2],"F":{"k":"v"},"G":"","H":"null"}"#,
            &Select::default(),
            &[
                "A=x\nyé (A)",
                "B=1.50 (B)",
                "C=true (C)",
                "E=[1, 2] (E)",
                r#"F={"k":"v"} (F)"#,
                "G= (G)",
                "H=null (H)",
            ],
            &[],
        );
    }

    #[test]
    fn lower_case_stands_for_the_name_that_the_schema_knows() {
        check(
            r#"{"db_user":"u","port":"1","other":"o","app_mode":"m"}"#,
            &Select::default(),
            &["DB_USER=u (db_user)", "PORT=1 (port)", "app_mode=m (app_mode)", "other=o (other)"],
            &[],
        );
    }

    #[test]
    fn map_prefix_and_only() {
        let json = r#"{"user":"u","password":"p","port":"1"}"#;
        check(
            json,
            &select(&[("user", "DB_USER"), ("password", "DB_PASSWORD")], "", &[]),
            &["DB_PASSWORD=p (password)", "DB_USER=u (user)", "PORT=1 (port)"],
            &[],
        );
        check(
            json,
            &select(&[], "DB_", &["user", "password"]),
            &["DB_PASSWORD=p (password)", "DB_USER=u (user)"],
            &[],
        );
        check(
            json,
            &select(&[("pasword", "DB_PASSWORD")], "", &["user"]),
            &["user=u (user)"],
            &["pasword: did you mean `password`?"],
        );
    }

    #[test]
    fn names_that_no_variable_can_have_are_remarked() {
        check(
            r#"{"a-b":"x","":"y"}"#,
            &Select::default(),
            &[],
            &[
                ": give it one with `map`, or leave it out with `only`",
                "a-b: give it one with `map`, or leave it out with `only`",
            ],
        );
    }

    #[test]
    fn two_fields_for_one_variable() {
        check(
            r#"{"PORT":"1","port":"2"}"#,
            &Select::default(),
            &["PORT=1 (PORT)"],
            &["port: keep one of the two"],
        );
    }

    #[test]
    fn our_own_fields_are_never_delivered() {
        check(
            r#"{"DLCONF_STATE":"x","A":"1"}"#,
            &select(&[("DLCONF_STATE", "PORT")], "", &[]),
            &["A=1 (A)"],
            &[],
        );
    }

    #[test]
    fn names_alone() {
        let taken = take_names(["port", "DLCONF_STATE"].into_iter(), &Select::default(), &known());
        assert_eq!(taken.fields.len(), 1);
        assert!(taken.fields[0].value.is_none());
    }
}
