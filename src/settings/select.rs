//! `map`, `prefix`, `only`: which fields become variables, under which names.
//!
//! Must not know: of what they are fields.

use std::collections::BTreeMap;

use super::SettingsError;
use crate::model::key::Key;
use crate::source::fields::Select;

/// What a name must be.
const NAME: &str = "a name is made of letters, digits and underscores and does not begin with a digit";

/// The three, as they are written.
pub(super) struct Written<'a> {
    pub(super) map: &'a BTreeMap<String, String>,
    pub(super) prefix: &'a str,
    pub(super) only: &'a [String],
}

impl Written<'_> {
    /// The selection; `error` places a mistake: the field, what is wrong, what to do.
    pub(super) fn select(
        &self,
        error: impl Fn(&[&str], String, String) -> SettingsError,
    ) -> Result<Select, SettingsError> {
        let mut names: BTreeMap<Key, &str> = BTreeMap::new();
        let mut map = Vec::with_capacity(self.map.len());
        for (field, text) in self.map {
            let at = ["map", field.as_str()];
            let key = Key::new(text).map_err(|_| {
                error(&at, format!("`map` gives `{field}` no name of a variable"), NAME.into())
            })?;
            if let Some(other) = names.insert(key.clone(), field) {
                let message = format!("`map` gives `{other}` and `{field}` the same name, {key}");
                return Err(error(&at, message, "give each its own".into()));
            }
            if self.leaves_out(field) {
                let message = format!("`map` names `{field}`, which `only` leaves out");
                let help = format!("add \"{field}\" to `only`, or remove it from `map`");
                return Err(error(&at, message, help));
            }
            map.push((field.clone(), key));
        }
        if !self.prefix.is_empty() && Key::new(self.prefix).is_err() {
            return Err(error(&["prefix"], "`prefix` is not the beginning of a name".into(), NAME.into()));
        }
        if let Some(at) = self.only.iter().position(String::is_empty) {
            let at = at.to_string();
            return Err(error(&["only", &at], "`only` has an empty name".into(), "remove it".into()));
        }
        Ok(Select { map, prefix: self.prefix.to_owned(), only: self.only.to_vec() })
    }

    /// Whether `only` is written and does not name a field.
    pub(super) fn leaves_out(&self, field: &str) -> bool {
        !self.only.is_empty() && !self.only.iter().any(|only| only == field)
    }
}
