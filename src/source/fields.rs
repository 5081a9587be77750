//! From the fields of a secret to variables: which are taken, under which names.
//! Pure.
//!
//! Fields that begin with `DLCONF_` are dlconf's own (rotation keeps its state
//! there) and are never delivered.

use std::collections::{BTreeMap, BTreeSet};

use super::key_for;
use crate::model::key::Key;
use crate::model::schema::toml_reader::nearest;
use crate::model::secret::SecretValue;

/// What begins so is dlconf's own.
const OURS: &str = "DLCONF_";

/// Which fields are taken, under which names. The default is all, under their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Select {
    /// From field to variable.
    pub map: Vec<(String, Key)>,
    /// In front of the names of fields that `map` does not name.
    pub prefix: String,
    /// The fields that are taken; empty means all.
    pub only: Vec<String>,
}

/// What a backend calls its fields, and what has them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    pub(super) field: &'static str,
    pub(super) holder: &'static str,
}

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

/// Takes the fields that are selected; `value` is asked for each, and none is unset.
pub(super) fn select_fields<'n>(
    words: Words,
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
                            "the {} `{name}` has a name that no variable can have, so it is passed over",
                            words.field
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
                    format!(
                        "the {} `{}` is passed over: {} gives {key} already",
                        words.field, dropped.name, kept.name
                    ),
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
            format!(
                "the settings name the {} `{field}`, and the {} does not have it",
                words.field, words.holder
            ),
            near.map_or_else(
                || format!("write the {}, or take it out of `map` and `only`", words.field),
                |near| format!("did you mean `{near}`?"),
            ),
        );
    }
    taken.fields = by_key.into_values().collect();
    taken
}
