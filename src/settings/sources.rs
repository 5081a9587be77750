//! The list of sources: `order` and `[source.NAME]`, checked together.

use std::time::Duration;

use super::layers::Merged;
use super::raw::{Raw, RawSource, SourceType};
use super::table::{Least, Table};
use super::{Network, Opened, SettingsError, SourceKind, SourceSettings};
use crate::model::key::SourceName;
use crate::model::schema::toml_reader::nearest;
use crate::source::structured::Notation;

/// The least of a local source, which is read again every 30 seconds.
const LOCAL_AGE: Duration = Duration::from_mins(1);

/// How long a source may go without confirming what it gave.
pub const MAX_AGE: Duration = Duration::from_hours(24);

impl Opened {
    /// The sources, lowest first.
    pub(super) fn sources(
        &self,
        merged: &Merged<'_>,
        raw: &Raw,
        network: Network<'_>,
    ) -> Result<Vec<SourceSettings>, SettingsError> {
        let declared = || raw.source.keys().map(String::as_str);
        let order: Vec<&str> = match &raw.order {
            Some(order) => order.iter().map(String::as_str).collect(),
            None if raw.source.len() <= 1 => declared().collect(),
            None => {
                let names: Vec<&str> = declared().collect();
                return Err(SettingsError::new(
                    "the settings have several sources but no `order`",
                    merged.place(&["source"]),
                    format!("write `order = [\"{}\"]`, the last one wins", names.join("\", \"")),
                ));
            }
        };
        let rotates = raw.rotation.enabled == Some(true);
        let mut sources: Vec<SourceSettings> = Vec::with_capacity(order.len());
        for &name in &order {
            let Some(source) = raw.source.get(name) else {
                let near = nearest(name, declared());
                return Err(SettingsError::new(
                    format!("`order` names source `{name}`, which is not declared"),
                    merged.place(&["order"]),
                    near.map_or_else(
                        || format!("declare [source.{name}]"),
                        |near| format!("did you mean `{near}`?"),
                    ),
                ));
            };
            if sources.iter().any(|source| source.name.as_str() == name) {
                return Err(SettingsError::new(
                    format!("`order` names source `{name}` twice"),
                    merged.place(&["order"]),
                    "keep the later one, which is the one that would win",
                ));
            }
            let kind = self.kind(merged, name, source, rotates, network)?;
            let table = Table { opened: self, merged, at: &["source", name] };
            let max_age = table.duration(&["max_age"], source.max_age.as_deref(), MAX_AGE, Least::Some)?;
            if max_age < LOCAL_AGE && source.kind.is_local() {
                return Err(SettingsError::new(
                    format!("`max_age` of source `{name}` is shorter than a minute"),
                    merged.place(&["source", name, "max_age"]),
                    "write \"1m\" or more: files that do not change are confirmed every 30 seconds",
                ));
            }
            sources.push(SourceSettings { name: SourceName::new(name), kind, max_age });
        }
        if let Some(unused) = declared().find(|name| !order.contains(name)) {
            return Err(SettingsError::new(
                format!(
                    "source `{unused}` is declared but `order` does not name it, so it would never be read"
                ),
                merged.place(&["source", unused]),
                format!("add \"{unused}\" to `order`, or remove [source.{unused}]"),
            ));
        }
        Ok(sources)
    }

    /// What a source is. `kinds` has judged which fields it has.
    fn kind(
        &self,
        merged: &Merged<'_>,
        name: &str,
        source: &RawSource,
        rotates: bool,
        network: Network<'_>,
    ) -> Result<SourceKind, SettingsError> {
        let error = |field: &str, message: String, help: &str| {
            SettingsError::new(message, merged.place(&["source", name, field]), help)
        };
        let optional = source.optional.unwrap_or(false);
        let path = match &source.path {
            Some(path) => {
                let at = ["source", name, "path"];
                let beneath = self.beneath().filter(|_| !merged.is_of_the_caller(&at));
                Some(self.shown(path, beneath, || merged.place(&at))?)
            }
            None => None,
        };
        let needs_path = |kind: &str| {
            let message = format!("source `{name}` of type \"{kind}\" has no `path`");
            error("type", message, "add `path = \"…\"`")
        };
        Ok(match source.kind {
            SourceType::Env => SourceKind::Env,
            SourceType::Kubernetes => self.kubernetes(merged, name, source, network)?,
            SourceType::Vault => self.vault(merged, name, source, rotates, network)?,
            SourceType::Dotenv => {
                let folder = self.shown("", self.beneath(), || None)?;
                SourceKind::Dotenv { path, folder, optional }
            }
            SourceType::File => {
                let path = path.ok_or_else(|| needs_path("file"))?;
                let notation = match source.notation.as_deref() {
                    Some("toml") => Some(Notation::Toml),
                    Some("json") => Some(Notation::Json),
                    Some("yaml") => Some(Notation::Yaml),
                    Some(_) => {
                        return Err(error(
                            "notation",
                            format!("source `{name}` has an unknown `notation`"),
                            "one of: toml, json, yaml",
                        ));
                    }
                    None => Notation::of_path(&path.label),
                };
                let notation = notation.ok_or_else(|| {
                    error(
                        "path",
                        format!("the name of source `{name}`'s file does not tell its notation"),
                        "add `notation = \"toml\"` (or json, yaml)",
                    )
                })?;
                SourceKind::File { path, notation, optional }
            }
            SourceType::Directory => {
                SourceKind::Directory { path: path.ok_or_else(|| needs_path("directory"))?, optional }
            }
            SourceType::Sealed => {
                let table = Table { opened: self, merged, at: &["source", name] };
                let RawSource { key_file, passphrase_file, credential, .. } = source;
                let written = [key_file, passphrase_file, credential].map(Option::as_deref);
                let path = path.ok_or_else(|| needs_path("sealed"))?;
                SourceKind::Sealed { path, key: table.key_place(written)?, optional }
            }
        })
    }
}
