//! `type = "kubernetes"`: from what is written to what the source is told.
//!
//! Owns: which API server is meant where nothing is written, and what the lists of
//! objects must be.
//! Invariants: no kubeconfig is opened and nobody is asked; settings that were
//! merely found name no kubeconfig outside their folder, and what such a kubeconfig
//! asks for is not granted (`trusted`). Of the caller's own kubeconfig they may
//! choose the context: a context's credentials go to its own server, wherever it is.
//! Must not know: how a server is asked.

use super::layers::Merged;
use super::raw::{RawObject, RawSource};
use super::select::Written;
use super::table::Table;
use super::{Network, Opened, SettingsError, SourceKind, durations};
use crate::kubernetes::{Kind, Name, Server};
use crate::source::kubernetes::Config;
use crate::source::kubernetes::config::{Spec, default};

/// What the API takes as a name.
const NAME: &str = "it is made of lower-case letters, digits, `-` and `.`";

/// One source, being read.
struct Reader<'a> {
    table: Table<'a>,
    raw: &'a RawSource,
}

impl Opened {
    /// A Kubernetes source.
    pub(super) fn kubernetes(
        &self,
        merged: &Merged<'_>,
        name: &str,
        raw: &RawSource,
        network: Network<'_>,
    ) -> Result<SourceKind, SettingsError> {
        let at = ["source", name];
        let reader = Reader { table: Table { opened: self, merged, at: &at }, raw };
        let objects = reader.objects()?;
        let namespace = reader.namespace()?;
        let table = &reader.table;
        let within = |field: &str, text: &Option<String>, usual, range| {
            table.duration_within(&[field], text.as_deref(), usual, range)
        };
        let timeout = within("timeout", &raw.timeout, default::TIMEOUT, &durations::TIMEOUTS)?;
        let deadline = within("deadline", &raw.deadline, default::DEADLINE, &durations::DEADLINES)?;
        let Some(server) = reader.server(network)? else { return Ok(SourceKind::PassedOver) };
        let required = raw.required.unwrap_or(true);
        let config = Config { server, namespace, objects, required, timeout, deadline };
        Ok(SourceKind::Kubernetes { config: Box::new(config) })
    }
}

impl Reader<'_> {
    /// The server that is meant; none where nobody will be asked.
    fn server(&self, network: Network<'_>) -> Result<Option<Server>, SettingsError> {
        let context = match &self.raw.context {
            Some(text) => Some(self.table.filled(&["context"], text)?.to_owned()),
            None => None,
        };
        let at = ["kubeconfig"];
        let text = match &self.raw.kubeconfig {
            Some(text) => Some(self.table.filled(&at, text)?),
            None => None,
        };
        let Network::Online(process) = network else { return Ok(None) };
        let Some(text) = text else {
            return Ok(Some(Server::of_environment(process, context, true)));
        };
        let confined = self.table.confined(&at);
        let file = self.table.opened.shown(text, confined, || self.table.place(&at))?;
        Ok(Some(Server::Kubeconfig { files: vec![file.path], context, trusted: confined.is_none() }))
    }

    fn namespace(&self) -> Result<Option<Name>, SettingsError> {
        let Some(text) = &self.raw.namespace else { return Ok(None) };
        let wrong = || {
            let help = match proposed(text).filter(|text| Name::namespace(text).is_some()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "it is made of at most 63 lower-case letters, digits and `-`".to_owned(),
            };
            self.table.wrong(&["namespace"], "is none that Kubernetes can have", help)
        };
        Name::namespace(text).map(Some).ok_or_else(wrong)
    }

    /// What is read, lowest first; at least one.
    fn objects(&self) -> Result<Vec<Spec>, SettingsError> {
        let lists = [
            ("config_maps", Kind::ConfigMap, &self.raw.config_maps),
            ("secrets", Kind::Secret, &self.raw.secrets),
        ];
        let mut all: Vec<Spec> = Vec::new();
        for (list, kind, raw) in lists {
            for (index, raw) in raw.iter().enumerate() {
                let entry = Entry { table: &self.table, list, index: index.to_string(), raw };
                let spec = entry.read(kind)?;
                if all.iter().any(|other| other.kind == spec.kind && other.name == spec.name) {
                    let help = "keep the later one, with everything that is taken of it";
                    let clause = format!("the list has `{}` already", spec.name);
                    return Err(entry.error(&["name"], &clause, help));
                }
                all.push(spec);
            }
        }
        if all.is_empty() {
            let help = "add `secrets = [\"…\"]` or `config_maps = [\"…\"]`";
            return Err(self
                .table
                .lacking("has no `secrets` and no `config_maps`, so it would read nothing", help));
        }
        Ok(all)
    }
}

/// One entry of a list, being read.
struct Entry<'a> {
    table: &'a Table<'a>,
    list: &'static str,
    index: String,
    raw: &'a RawObject,
}

impl Entry<'_> {
    fn read(&self, kind: Kind) -> Result<Spec, SettingsError> {
        let name = self.name(kind)?;
        let RawObject { map, prefix, only, base64, .. } = self.raw;
        let written = Written { map, prefix, only };
        let select = written.select(|field, clause, help| self.error(field, &clause, help))?;
        for (at, key) in base64.iter().enumerate() {
            let (clause, help) = if key.is_empty() {
                ("`base64` has an empty name".to_owned(), "remove it".to_owned())
            } else if written.leaves_out(key) {
                let help = format!("add \"{key}\" to `only`, or remove it from `base64`");
                (format!("`base64` names `{key}`, which `only` leaves out"), help)
            } else {
                continue;
            };
            return Err(self.error(&["base64", &at.to_string()], &clause, help));
        }
        Ok(Spec { kind, name, select, base64: base64.clone() })
    }

    fn name(&self, kind: Kind) -> Result<Name, SettingsError> {
        let text = self.raw.name.as_str();
        Name::object(text).ok_or_else(|| {
            let help = match text.rsplit_once('/') {
                Some((_, name)) if Name::object(name).is_some() => {
                    format!("write \"{name}\" alone: `namespace` says where it is")
                }
                _ => match proposed(text) {
                    Some(near) => format!("did you mean \"{near}\"?"),
                    None => NAME.to_owned(),
                },
            };
            let clause = format!("`name` is none that a {} can have", kind.title());
            self.error(&["name"], &clause, help)
        })
    }

    fn error(&self, field: &[&str], clause: &str, help: impl Into<String>) -> SettingsError {
        let entry = [self.list, self.index.as_str()];
        let message = format!("{}: {clause}", self.table.named(&entry));
        // A name alone stands where its entry does.
        let place = if self.raw.alone {
            self.table.place(&entry)
        } else {
            self.table.place(&[&entry, field].concat())
        };
        SettingsError::new(message, place, help)
    }
}

/// What was meant by a name that the API does not take, if that can be guessed.
fn proposed(text: &str) -> Option<String> {
    let near: String = text
        .trim()
        .chars()
        .map(|c| if matches!(c, '_' | ' ') { '-' } else { c.to_ascii_lowercase() })
        .collect();
    Name::object(near.trim_matches('-')).map(|name| name.to_string())
}

#[cfg(test)]
mod tests;
