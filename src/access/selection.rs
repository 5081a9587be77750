//! Which variables a text like `["group:jwt", "DB_*"]` means.

use std::collections::BTreeSet;

use crate::model::key::Key;
use crate::model::schema::toml_reader::nearest;
use crate::model::schema::{Glob, Schema};

/// Names, patterns with `*` and `?`, groups (`group:jwt`) of a schema, and all that
/// a service reads (`service:cc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(Vec<Box<str>>);

/// A part of a selection that means no variable of the schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` selects nothing that the schema declares")]
pub struct NothingSelected {
    /// As it is written.
    pub part: Box<str>,
    /// A name that was perhaps meant.
    pub near: Option<Box<str>>,
}

impl Selection {
    /// These parts. What they mean is for [`Self::keys`] to say.
    pub fn new(parts: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        Self(parts.into_iter().map(Into::into).collect())
    }

    /// Everything that the schema declares.
    pub fn everything() -> Self {
        Self::new(["*"])
    }

    /// The variables that it means, of those that the service reads.
    ///
    /// # Errors
    /// [`NothingSelected`] for the first part that means none of the schema's, of
    /// whatever service.
    pub fn keys(&self, schema: &Schema, service: Option<&str>) -> Result<BTreeSet<Key>, NothingSelected> {
        let mut keys = BTreeSet::new();
        for part in &self.0 {
            let part = Part::of(part);
            let meant = part.keys(schema);
            if meant.is_empty() {
                return Err(NothingSelected { part: part.written().into(), near: part.near(schema) });
            }
            let ours =
                meant.into_iter().filter(|key| schema.var(key).is_some_and(|var| var.read_by(service)));
            keys.extend(ours.cloned());
        }
        Ok(keys)
    }
}

/// What a part is of.
#[derive(Debug, Clone, Copy)]
enum Part<'p> {
    Group(&'p str, &'p str),
    Service(&'p str, &'p str),
    Names(&'p str),
}

impl<'p> Part<'p> {
    fn of(written: &'p str) -> Self {
        match written.split_once(':') {
            Some(("group", name)) => Self::Group(written, name),
            Some(("service", name)) => Self::Service(written, name),
            _ => Self::Names(written),
        }
    }

    fn written(self) -> &'p str {
        match self {
            Self::Group(written, _) | Self::Service(written, _) | Self::Names(written) => written,
        }
    }

    /// The variables, of whatever service.
    fn keys(self, schema: &Schema) -> Vec<&Key> {
        let vars = schema.vars.iter();
        match self {
            Self::Group(_, name) => {
                let group = schema.groups.iter().find(|group| *group.name == *name);
                group.map(|group| group.vars.iter().collect()).unwrap_or_default()
            }
            Self::Service(_, name) if schema.services.iter().any(|service| **service == *name) => {
                vars.filter(|var| var.read_by(Some(name))).map(|var| &var.key).collect()
            }
            Self::Service(..) => Vec::new(),
            Self::Names(pattern) => {
                let glob = Glob::new(pattern);
                vars.map(|var| &var.key).filter(|key| glob.matches(key.as_str())).collect()
            }
        }
    }

    /// What was perhaps meant.
    fn near(self, schema: &Schema) -> Option<Box<str>> {
        let prefixed = |prefix: &str, near: &str| format!("{prefix}:{near}").into();
        match self {
            Self::Group(_, name) => {
                nearest(name, schema.groups.iter().map(|group| &*group.name)).map(|n| prefixed("group", n))
            }
            Self::Service(_, name) => {
                nearest(name, schema.services.iter().map(|name| &**name)).map(|n| prefixed("service", n))
            }
            Self::Names(name) => {
                // `cc` and `jwt` are meant as what has that name.
                let group = schema.groups.iter().find(|group| *group.name == *name);
                let service = schema.services.iter().find(|service| ***service == *name);
                nearest(name, schema.vars.iter().map(|var| var.key.as_str()))
                    .map(Into::into)
                    .or_else(|| group.map(|group| prefixed("group", &group.name)))
                    .or_else(|| service.map(|service| prefixed("service", service)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::schema::parse::parse;

    const SCHEMA: &str = r#"
schema_version = 1
environments = { variable = "APP_ENV", names = ["development"] }
services = ["web", "worker"]
[var.APP_ENV]
type = "string"
[var.DB_HOST]
type = "host"
services = ["web"]
[var.DB_USER]
type = "string"
services = ["web", "worker"]
[var.QUEUE]
type = "string"
services = ["worker"]
[group.db]
vars = ["DB_*"]
"#;

    fn keys(part: &str, service: Option<&str>) -> Result<Vec<String>, Option<String>> {
        let schema = parse("schema", SCHEMA).unwrap().schema;
        let keys = Selection::new([part]).keys(&schema, service);
        keys.map(|keys| keys.iter().map(Key::to_string).collect())
            .map_err(|nothing| nothing.near.map(String::from))
    }

    #[test]
    fn parts_mean_variables() {
        let all = ["APP_ENV", "DB_HOST", "DB_USER", "QUEUE"];
        for (part, service, expected) in [
            ("*", None, &all[..]),
            ("*", Some("web"), &all[..3]),
            ("DB_HOST", None, &["DB_HOST"]),
            ("DB_HOST", Some("worker"), &[]),
            ("DB_?OST", None, &["DB_HOST"]),
            ("group:db", None, &["DB_HOST", "DB_USER"]),
            ("group:db", Some("worker"), &["DB_USER"]),
            ("service:web", None, &["APP_ENV", "DB_HOST", "DB_USER"]),
            ("service:worker", None, &["APP_ENV", "DB_USER", "QUEUE"]),
            // Of another service than the reader's: what both have.
            ("service:worker", Some("web"), &["APP_ENV", "DB_USER"]),
            ("service:web", Some("web"), &["APP_ENV", "DB_HOST", "DB_USER"]),
        ] {
            assert_eq!(keys(part, service).unwrap(), expected, "{part} {service:?}");
        }
    }

    #[test]
    fn what_means_nothing_is_an_error_with_what_was_meant() {
        for (part, near) in [
            ("DB_HOTS", Some("DB_HOST")),
            ("group:bd", Some("group:db")),
            ("group:x", None),
            ("group:dbs", Some("group:db")),
            ("group:", None),
            ("service:wbe", Some("service:web")),
            ("service:", None),
            ("services:web", None),
            ("worker", Some("service:worker")),
            ("db", Some("group:db")),
            ("", None),
            ("NOTHING_*", None),
        ] {
            assert_eq!(keys(part, None).unwrap_err().as_deref(), near, "{part}");
        }
    }
}
