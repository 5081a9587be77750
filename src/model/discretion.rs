//! Discretion: what must not be shown although its variable is plain.
//!
//! A plain variable may hold a secret all the same: made from one, equal to
//! one, or a URL with a login. Whoever shows a plain value asks here first.
//! Pure. Invariant: when in doubt, it is hidden; hiding too much costs a line of
//! a report, showing too much costs a secret.

use std::collections::HashMap;

use super::key::Key;
use super::origin::Location;
use super::resolve::{Entry, Resolution};
use super::schema::Schema;
use super::schema::kind::{carries_credentials, looks_like_secret};

/// Shorter secrets are words that stand in other values by chance; a value that
/// is equal to one is hidden all the same.
const CONTAINED: usize = 5;

/// The secrets of one resolution, to compare with.
#[derive(Debug)]
pub struct Discretion<'a> {
    schema: &'a Schema,
    /// Value to the name that holds it.
    secrets: HashMap<&'a str, &'a Key>,
    /// Whether no value at all may be shown.
    total: bool,
}

impl<'a> Discretion<'a> {
    /// Knows every value, in force or shadowed, of a secret, replaced or retired name.
    pub fn new(schema: &'a Schema, resolution: &'a Resolution) -> Self {
        let secret = |key: &Key| schema.retired(key).is_some() || is_secret_name(schema, key);
        let mut secrets = HashMap::new();
        for (key, candidates) in resolution.variables.iter().filter(|(key, _)| secret(key)) {
            // A shadowed secret is one still; the name in force is told before it.
            for value in candidates.losers.iter().filter_map(|loser| loser.value.as_ref()) {
                secrets.entry(value.expose()).or_insert(key);
            }
            if let Some(winner) = &candidates.winner {
                secrets.insert(winner.value.expose(), key);
            }
        }
        Self { schema, secrets, total: false }
    }

    /// The same, and hides every value: where no person asked, nobody knows who
    /// reads.
    #[must_use]
    pub fn total(self, total: bool) -> Self {
        Self { total, ..self }
    }

    /// Whether a name is that of a secret variable, or was.
    pub fn is_secret_name(&self, key: &Key) -> bool {
        is_secret_name(self.schema, key)
    }

    /// The secret variable that holds exactly this value.
    pub fn holder(&self, value: &str) -> Option<&'a Key> {
        self.secrets.get(value).copied()
    }

    /// Whether a text must not be shown, whatever it is the value of.
    pub fn hides_text(&self, text: &str) -> bool {
        let bare = text.trim_matches(['"', '\'']);
        self.total
            // An open quote swallows the lines that follow, whoever's they are.
            || text.contains(['\n', '\r'])
            || text.contains("\\n")
            || self.secrets.contains_key(text)
            || looks_like_secret(bare).is_some()
            || carries_credentials(bare)
            || self.secrets.keys().any(|secret| secret.len() >= CONTAINED && text.contains(secret))
    }

    /// Whether a plain variable's value must not be shown: its text says so, or
    /// what it was made from, or where it came from. What a server of secrets stores
    /// is one, whatever a schema calls it: a change of the schema must not print what
    /// only CI's login can read.
    pub fn hides(&self, entry: &Entry) -> bool {
        // It is one wherever it is known from.
        if self.total || matches!(entry.origin.location.itself(), Location::Field { .. }) {
            return true;
        }
        let made_from = |key: &Key| self.schema.var(key).is_none_or(|var| var.secret);
        entry.references.iter().any(made_from) || self.hides_text(entry.value.expose())
    }
}

fn is_secret_name(schema: &Schema, key: &Key) -> bool {
    schema.var(key).or_else(|| schema.replacement(key)).is_some_and(|var| var.secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::SourceName;
    use crate::model::layer::{Layer, Offer};
    use crate::model::origin::Origin;
    use crate::model::resolve::resolve;
    use crate::model::schema::parse::parse;
    use crate::model::secret::SecretValue;

    #[test]
    fn what_a_server_of_secrets_stores_is_hidden_wherever_it_is_known_from() {
        let schema = "schema_version = 1\nname = \"t\"\n\
            environments = { variable = \"APP_ENV\", names = [\"production\"] }\n\
            [var.APP_ENV]\ntype = \"string\"\nrequired = false\n[var.A]\ntype = \"string\"\n";
        let schema = parse("s.toml", schema).unwrap().schema;
        let field = Location::Field { of: "vault:secret/x".into(), name: "A".into(), revision: None };
        let file = Location::File { path: ".env".into(), at: None };
        for (location, hidden) in [
            (field.clone(), true),
            (field.from_snapshot(), true),
            (file.clone(), false),
            (file.from_snapshot(), false),
        ] {
            let (source, key) = (SourceName::new("s"), Key::new("A").unwrap());
            let origin =
                Origin { mark: None, source: source.clone(), location, revision: None, modified: None };
            let value = SecretValue::from("plain").into();
            let offers = vec![Offer { key: key.clone(), value, origin, excerpt: None }];
            let layer = Layer { source, places: Vec::new(), offers, remarks: Vec::new() };
            let resolution = resolve([&layer], &|_| None);
            let entry = resolution.variables[&key].winner.as_ref().unwrap();
            assert_eq!(
                Discretion::new(&schema, &resolution).hides(entry),
                hidden,
                "{}",
                entry.origin.location
            );
        }
    }
}
