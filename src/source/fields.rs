//! From the fields of a secret to variables: which are taken, under which names; and
//! back, for who writes to a variable. Pure.
//!
//! Fields that begin with `DLCONF_` are dlconf's own (rotation keeps its state
//! there) and are never delivered. What a rotation puts beside a field follows it:
//! where `jwt` gives `JWT_SECRET`, `jwt_NEXT` gives `JWT_SECRET_NEXT`, if the schema
//! has that.
//! Invariant: the field that is written for a variable is the one that gives it.

use std::collections::{BTreeMap, BTreeSet};

use super::key_for;
use crate::model::key::Key;
use crate::model::rotation::Slot;
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

/// What a field is for.
enum For {
    /// It is not taken.
    Nobody,
    /// It is taken, and has a name that no variable can have.
    NoVariable,
    /// This variable; `exact` where the field is named in the settings, or spelt like it.
    Variable { key: Key, exact: bool },
}

impl Select {
    /// What a field is for.
    fn what_for(&self, field: &str, known: &BTreeSet<Key>) -> For {
        if field.starts_with(OURS) {
            return For::Nobody;
        }
        if !self.takes(field) {
            return self.follower(field, known).unwrap_or(For::Nobody);
        }
        if let Some(key) = self.mapped(field) {
            return For::Variable { key: key.clone(), exact: true };
        }
        if let Some(follower) = self.follower(field, known) {
            return follower;
        }
        let plain = format!("{}{field}", self.prefix);
        match key_for(&plain, known) {
            Some(key) => For::Variable { exact: plain == key.as_str(), key },
            None => For::NoVariable,
        }
    }

    /// The field that would give a variable under its own name, be it there or not.
    pub(super) fn own_field(&self, owner: &Key) -> Option<String> {
        if let Some((field, _)) = self.map.iter().find(|(_, key)| key == owner) {
            return Some(field.clone());
        }
        let field = owner.as_str().strip_prefix(&self.prefix)?;
        let is_it = !field.is_empty() && self.takes(field) && self.mapped(field).is_none();
        is_it.then(|| field.to_owned())
    }

    /// Whether `only` lets a field through.
    fn takes(&self, field: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == field)
    }

    fn mapped(&self, field: &str) -> Option<&Key> {
        self.map.iter().find(|(mapped, _)| mapped == field).map(|(_, key)| key)
    }

    /// What a field is for that a rotation puts beside one that the settings name. The
    /// settings need not name it: it comes and goes.
    fn follower(&self, field: &str, known: &BTreeSet<Key>) -> Option<For> {
        let named = self.map.iter().map(|(owner, _)| owner).chain(&self.only);
        named.filter(|owner| *owner != field && self.takes(owner)).find_map(|owner| {
            let slot = Slot::of_field(owner, field)?;
            let mapped = self.mapped(owner);
            let key = match mapped {
                Some(key) => key.clone(),
                None => key_for(&format!("{}{owner}", self.prefix), known)?,
            };
            let key = slot.key(&key).filter(|key| known.contains(key))?;
            let exact = mapped.is_some() || format!("{}{field}", self.prefix) == key.as_str();
            Some(For::Variable { key, exact })
        })
    }
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
    let mut by_key: BTreeMap<Key, (Field, bool)> = BTreeMap::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut note = |field: &str, message: String, help: String| {
        taken.notes.push(FieldNote { field: field.into(), message, help });
    };
    for name in names {
        seen.insert(name);
        let (key, exact) = match select.what_for(name, known) {
            For::Nobody => continue,
            For::NoVariable => {
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
            For::Variable { key, exact } => (key, exact),
        };
        let Some(value) = value(name) else { continue };
        let field = Field { name: name.into(), key: key.clone(), value: Some(value) };
        match by_key.remove(&key) {
            None => {
                by_key.insert(key, (field, exact));
            }
            Some((first, first_exact)) => {
                // Of two fields for one variable the one that is named or spelt like it.
                let (kept, dropped) = if exact && !first_exact { (field, first) } else { (first, field) };
                note(
                    &dropped.name,
                    format!(
                        "the {} `{}` is passed over: {} gives {key} already",
                        words.field, dropped.name, kept.name
                    ),
                    "keep one of the two".into(),
                );
                by_key.insert(key, (kept, exact || first_exact));
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
    taken.fields = by_key.into_values().map(|(field, _)| field).collect();
    taken
}

/// Why no field can be written for a variable. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoOwner {
    /// None gives it.
    Absent,
    /// Two give it.
    Two(Box<str>, Box<str>),
    /// A field gives what a rotation would put into another.
    Astray { field: Box<str>, key: Key, belongs_in: Box<str> },
}

impl NoOwner {
    /// One sentence, and what to do.
    pub(super) fn told(&self, words: Words, owner: &Key) -> (String, String) {
        let Words { field: what, holder } = words;
        match self {
            Self::Absent => (
                format!("no {what} of the {holder} gives {owner}"),
                format!("write a first {owner} there by hand"),
            ),
            Self::Two(one, other) => (
                format!(
                    "the {what}s `{one}` and `{other}` both give {owner}, and one of them is to be written"
                ),
                "keep one of the two".into(),
            ),
            Self::Astray { field, key, belongs_in } => (
                format!("the {what} `{field}` gives {key}, which a rotation writes to `{belongs_in}`"),
                format!("remove `{field}`, or name it `{belongs_in}`"),
            ),
        }
    }
}

/// The field that has a variable, of those that hold something: what a rotation puts
/// beside it is [`Slot::field`] of that.
///
/// # Errors
/// [`NoOwner`]: none, or not only that one.
pub(super) fn owner_field<'n>(
    names: impl Iterator<Item = &'n str>,
    owner: &Key,
    select: &Select,
    known: &BTreeSet<Key>,
) -> Result<&'n str, NoOwner> {
    let mut found: Option<&str> = None;
    let mut beside = Vec::new();
    for name in names {
        let For::Variable { key, .. } = select.what_for(name, known) else { continue };
        match (Slot::of_field(owner.as_str(), key.as_str()), found) {
            (None, _) => {}
            (Some(Slot::Current), Some(other)) => return Err(NoOwner::Two(other.into(), name.into())),
            (Some(Slot::Current), None) => found = Some(name),
            (Some(slot), _) => beside.push((slot, name, key)),
        }
    }
    let field = found.ok_or(NoOwner::Absent)?;
    for (slot, name, key) in beside {
        let belongs_in = slot.field(field);
        if name != belongs_in {
            return Err(NoOwner::Astray { field: name.into(), key, belongs_in: belongs_in.into() });
        }
    }
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words = Words { field: "field", holder: "secret" };

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    /// What a schema has that rotates `JWT_SECRET` by overlap and `RING` as a ring of two.
    fn known() -> BTreeSet<Key> {
        [
            "JWT_SECRET",
            "JWT_SECRET_NEXT",
            "JWT_SECRET_PREVIOUS",
            "RING",
            "RING_1",
            "RING_2",
            "RING_ACTIVE",
            "PORT",
        ]
        .map(key)
        .into()
    }

    fn select(map: &[(&str, &str)], prefix: &str, only: &[&str]) -> Select {
        Select {
            map: map.iter().map(|(field, name)| ((*field).to_owned(), key(name))).collect(),
            prefix: prefix.into(),
            only: only.iter().map(|field| (*field).to_owned()).collect(),
        }
    }

    fn taken(names: &[&str], select: &Select) -> (Vec<String>, Vec<String>) {
        let value = |_: &str| Some(SecretValue::from("v"));
        let taken = select_fields(WORDS, names.iter().copied(), select, &known(), value);
        let fields = taken.fields.iter().map(|field| format!("{} ({})", field.key, field.name)).collect();
        (fields, taken.notes.into_iter().map(|note| note.message).collect())
    }

    #[track_caller]
    fn gives(names: &[&str], select: &Select, expect: &[&str]) {
        let (fields, notes) = taken(names, select);
        assert_eq!(fields, expect, "{names:?}");
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn what_a_rotation_adds_follows_a_field_that_is_mapped() {
        let jwt = select(&[("jwt", "JWT_SECRET"), ("ring", "RING")], "", &[]);
        gives(
            &["jwt", "jwt_NEXT", "jwt_PREVIOUS", "ring", "ring_1", "ring_2", "ring_ACTIVE"],
            &jwt,
            &[
                "JWT_SECRET (jwt)",
                "JWT_SECRET_NEXT (jwt_NEXT)",
                "JWT_SECRET_PREVIOUS (jwt_PREVIOUS)",
                "RING (ring)",
                "RING_1 (ring_1)",
                "RING_2 (ring_2)",
                "RING_ACTIVE (ring_ACTIVE)",
            ],
        );
        // Nobody misses what is not there.
        gives(&["jwt", "ring"], &jwt, &["JWT_SECRET (jwt)", "RING (ring)"]);
    }

    #[test]
    fn it_follows_a_field_that_only_names() {
        gives(
            &["JWT_SECRET", "JWT_SECRET_NEXT", "PORT"],
            &select(&[], "", &["JWT_SECRET"]),
            &["JWT_SECRET (JWT_SECRET)", "JWT_SECRET_NEXT (JWT_SECRET_NEXT)"],
        );
        gives(
            &["secret", "secret_NEXT", "PORT"],
            &select(&[], "JWT_", &["secret"]),
            &["JWT_SECRET (secret)", "JWT_SECRET_NEXT (secret_NEXT)"],
        );
        gives(
            &["jwt", "jwt_NEXT", "PORT"],
            &select(&[("jwt", "JWT_SECRET")], "", &["jwt"]),
            &["JWT_SECRET (jwt)", "JWT_SECRET_NEXT (jwt_NEXT)"],
        );
        // What `only` leaves out has nothing that follows it.
        gives(
            &["PORT", "jwt", "jwt_NEXT"],
            &select(&[("jwt", "JWT_SECRET")], "", &["PORT"]),
            &["PORT (PORT)"],
        );
    }

    #[test]
    fn what_the_schema_does_not_have_follows_nothing() {
        let port = select(&[("port", "PORT")], "", &["port"]);
        gives(&["port", "port_NEXT", "port_1"], &port, &["PORT (port)"]);
        let port = select(&[("port", "PORT")], "", &[]);
        gives(&["port", "port_NEXT"], &port, &["PORT (port)", "port_NEXT (port_NEXT)"]);
        // As this release writes a number.
        gives(&["ring", "ring_01"], &select(&[("ring", "RING")], "", &["ring"]), &["RING (ring)"]);
    }

    #[test]
    fn what_the_settings_say_of_a_field_itself_goes_first() {
        let map = select(&[("jwt", "JWT_SECRET"), ("jwt_NEXT", "PORT")], "", &[]);
        gives(&["jwt", "jwt_NEXT"], &map, &["JWT_SECRET (jwt)", "PORT (jwt_NEXT)"]);
    }

    #[test]
    fn a_field_that_is_passed_over_is_named() {
        let jwt = select(&[("jwt", "JWT_SECRET")], "", &[]);
        let (fields, notes) = taken(&["JWT_SECRET_NEXT", "jwt", "jwt_NEXT"], &jwt);
        assert_eq!(fields, ["JWT_SECRET (jwt)", "JWT_SECRET_NEXT (JWT_SECRET_NEXT)"]);
        assert_eq!(
            notes,
            ["the field `jwt_NEXT` is passed over: JWT_SECRET_NEXT gives JWT_SECRET_NEXT already"]
        );
    }

    #[test]
    fn our_own_fields_follow_nobody() {
        gives(
            &["DLCONF_KEPT_jwt", "DLCONF_STATE", "jwt"],
            &select(&[("jwt", "JWT_SECRET")], "", &["jwt", "DLCONF_KEPT_jwt"]),
            &["JWT_SECRET (jwt)"],
        );
    }

    fn owner<'n>(names: &[&'n str], select: &Select) -> Result<&'n str, NoOwner> {
        owner_field(names.iter().copied(), &key("JWT_SECRET"), select, &known())
    }

    #[test]
    fn the_field_that_gives_a_variable_is_the_one_that_is_written() {
        for (names, select, field) in [
            (&["JWT_SECRET", "PORT"][..], select(&[], "", &[]), "JWT_SECRET"),
            (&["jwt_secret", "jwt_secret_NEXT"], select(&[], "", &[]), "jwt_secret"),
            (&["jwt", "jwt_NEXT", "jwt_PREVIOUS"], select(&[("jwt", "JWT_SECRET")], "", &[]), "jwt"),
            (&["SECRET", "SECRET_NEXT"], select(&[], "JWT_", &["SECRET"]), "SECRET"),
            (&["JWT_SECRET", "jwt"], select(&[("jwt", "JWT_SECRET")], "", &["jwt"]), "jwt"),
        ] {
            assert_eq!(owner(names, &select), Ok(field), "{names:?}");
            let (fields, _) = taken(names, &select);
            assert!(fields.contains(&format!("JWT_SECRET ({field})")), "it is what is delivered: {fields:?}");
        }
    }

    #[test]
    fn what_is_not_certain_is_not_written() {
        let jwt = select(&[("jwt", "JWT_SECRET")], "", &[]);
        assert_eq!(owner(&["PORT"], &jwt), Err(NoOwner::Absent));
        assert_eq!(owner(&["JWT_SECRET"], &select(&[], "", &["PORT"])), Err(NoOwner::Absent));
        for names in [&["JWT_SECRET", "jwt"], &["jwt", "JWT_SECRET"]] {
            assert!(matches!(owner(names, &jwt), Err(NoOwner::Two(..))));
        }
        // It would be delivered instead of what a rotation puts there.
        let astray = owner(&["JWT_SECRET_NEXT", "jwt"], &jwt).unwrap_err();
        assert_eq!(
            astray.told(WORDS, &key("JWT_SECRET")).0,
            "the field `JWT_SECRET_NEXT` gives JWT_SECRET_NEXT, which a rotation writes to `jwt_NEXT`"
        );
    }
}
