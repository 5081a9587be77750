//! From the fields of a secret to variables: which are taken, under which names,
//! and what their text is. Pure.
//!
//! A string is its text. Anything else (a number, true, a list, a table) is its
//! JSON as the server writes it, except null, which is unset. Fields that begin
//! with `DLCONF_` are dlconf's own (rotation keeps its state there) and are
//! never delivered.

use std::collections::{BTreeMap, BTreeSet};

use super::api::RawFields;
use super::config::Select;
use crate::model::key::Key;
use crate::model::schema::toml_reader::nearest;
use crate::model::secret::SecretValue;
use crate::source::key_for;

/// What begins so is dlconf's own.
const OURS: &str = "DLCONF_";

/// A field that is taken.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in the secret.
    pub(super) name: Box<str>,
    /// The variable.
    pub(super) key: Key,
    /// None where only names were asked for.
    pub(super) value: Option<SecretValue>,
}

/// Something to remark: a field's name, one sentence, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldNote {
    pub(super) field: Box<str>,
    pub(super) message: String,
    pub(super) help: String,
}

/// What a secret gives.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The fields, by variable.
    pub(super) fields: Vec<Field>,
    pub(super) notes: Vec<FieldNote>,
}

/// Takes the values of a secret.
pub(super) fn take(raw: &RawFields, select: &Select, known: &BTreeSet<Key>) -> Taken {
    select_fields(raw.keys().map(String::as_str), select, known, |name| {
        raw.get(name).and_then(|raw| text(raw.get()))
    })
}

/// Takes names alone.
pub(super) fn take_names<'n>(
    names: impl Iterator<Item = &'n str>,
    select: &Select,
    known: &BTreeSet<Key>,
) -> Taken {
    let mut taken = select_fields(names, select, known, |_| Some(SecretValue::from("")));
    for field in &mut taken.fields {
        field.value = None;
    }
    taken
}

/// A field's text; none where it is null.
fn text(json: &str) -> Option<SecretValue> {
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(json).ok().map(SecretValue::new),
        Some(b'n') => None,
        _ => Some(SecretValue::from(json)),
    }
}

fn select_fields<'n>(
    names: impl Iterator<Item = &'n str>,
    select: &Select,
    known: &BTreeSet<Key>,
    mut value: impl FnMut(&str) -> Option<SecretValue>,
) -> Taken {
    let mut taken = Taken::default();
    let mut by_key: BTreeMap<Key, Field> = BTreeMap::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut note = |field: &str, message: String, help: String| {
        taken.notes.push(FieldNote { field: field.into(), message, help });
    };
    for name in names {
        seen.insert(name);
        if name.starts_with(OURS) || !(select.only.is_empty() || select.only.iter().any(|only| only == name))
        {
            continue;
        }
        let mapped = select.map.iter().find(|(field, _)| field == name).map(|(_, key)| key.clone());
        let key = match mapped {
            Some(key) => key,
            None => match key_for(&format!("{}{name}", select.prefix), known) {
                Some(key) => key,
                None => {
                    note(
                        name,
                        format!(
                            "the field `{name}` has a name that no variable can have, so it is passed over"
                        ),
                        "give it one with `map`, or leave it out with `only`".into(),
                    );
                    continue;
                }
            },
        };
        let Some(value) = value(name) else { continue };
        let field = Field { name: name.into(), key: key.clone(), value: Some(value) };
        // Of two fields for one variable the one that is named or spelt like it.
        let exact = |field: &Field| {
            select.map.iter().any(|(mapped, _)| **mapped == *field.name)
                || format!("{}{}", select.prefix, field.name) == key.as_str()
        };
        match by_key.remove(&key) {
            None => {
                by_key.insert(key, field);
            }
            Some(first) => {
                let (kept, dropped) =
                    if exact(&field) && !exact(&first) { (field, first) } else { (first, field) };
                note(
                    &dropped.name,
                    format!("the field `{}` is passed over: {} gives {key} already", dropped.name, kept.name),
                    "keep one of the two".into(),
                );
                by_key.insert(key, kept);
            }
        }
    }
    let wanted = select.map.iter().map(|(field, _)| field).chain(&select.only);
    let absent: BTreeSet<&String> = wanted.filter(|field| !seen.contains(field.as_str())).collect();
    for field in absent {
        let near = nearest(field, seen.iter().copied());
        note(
            field,
            format!("the settings name the field `{field}`, and the secret does not have it"),
            near.map_or_else(
                || "write the field, or take it out of `map` and `only`".to_owned(),
                |near| format!("did you mean `{near}`?"),
            ),
        );
    }
    taken.fields = by_key.into_values().collect();
    taken
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
