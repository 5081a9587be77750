//! Which variables a text like `["group:jwt", "DB_*"]` means.

use std::collections::BTreeSet;

use crate::model::key::Key;
use crate::model::schema::toml_reader::nearest;
use crate::model::schema::{Glob, Schema};

/// Names, patterns with `*` and `?`, and groups (`group:jwt`) of a schema.
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
            let meant: Vec<&Key> = if let Some(name) = part.strip_prefix("group:") {
                let group = schema.groups.iter().find(|group| *group.name == *name);
                group.map(|group| group.vars.iter().collect()).unwrap_or_default()
            } else {
                let glob = Glob::new(part);
                schema.vars.iter().map(|var| &var.key).filter(|key| glob.matches(key.as_str())).collect()
            };
            if meant.is_empty() {
                let near = match part.strip_prefix("group:") {
                    Some(name) => nearest(name, schema.groups.iter().map(|group| &*group.name))
                        .map(|near| format!("group:{near}").into()),
                    None => nearest(part, schema.vars.iter().map(|var| var.key.as_str())).map(Into::into),
                };
                return Err(NothingSelected { part: part.clone(), near });
            }
            let ours =
                meant.into_iter().filter(|key| schema.var(key).is_some_and(|var| var.read_by(service)));
            keys.extend(ours.cloned());
        }
        Ok(keys)
    }
}
