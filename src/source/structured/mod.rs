//! TOML, JSON and YAML files as a source.
//!
//! Rules: nested keys join with `_` in upper case (`db: {host: x}` is
//! `DB_HOST`), `-` and `.` in keys become `_`; a list of scalars joins with
//! commas; null is unset; scalars keep the text that the file writes (YAML's
//! `no` is `no`, `0755` is `0755`), so nothing is re-typed on the way.
//! Invariant: values go from the parser's own buffer into a [`SecretValue`]; no
//! tree of values outlives the read.
//! Must not know: what a value means.

mod json;
mod toml;
mod yaml;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::file::{FileFault, TEXT_LIMIT, read_text_beneath, strip_bom};
use super::local::Local;
use super::notice::Notices;
use super::{Ask, Fault, FaultKind, Source, SourceError, Vitals};
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer, Place};
use crate::model::origin::{Excerpt, Location, Origin, Span};
use crate::model::rotation::is_reserved;
use crate::model::secret::SecretValue;

/// How deep keys may nest.
const DEPTH_LIMIT: usize = 32;

/// The notation of a structured file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// TOML 1.
    Toml,
    /// RFC 8259.
    Json,
    /// YAML 1.2, one document, without anchors.
    Yaml,
}

impl Notation {
    /// The notation that a file's name tells.
    pub fn of_path(path: &str) -> Option<Self> {
        let extension = path.rsplit_once('.')?.1.to_ascii_lowercase();
        match extension.as_str() {
            "toml" => Some(Self::Toml),
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// `type = "file"`.
pub struct StructuredSource {
    name: SourceName,
    path: PathBuf,
    label: Arc<str>,
    notation: Notation,
    optional: bool,
    beneath: Option<PathBuf>,
    local: Local,
}

impl StructuredSource {
    /// A source over a file; `label` is how the user wrote its path.
    pub fn new(name: SourceName, path: PathBuf, label: &str, notation: Notation, optional: bool) -> Self {
        Self { name, path, label: label.into(), notation, optional, beneath: None, local: Local::default() }
    }

    /// The same, reading only what lies in this folder, links followed.
    #[must_use]
    pub fn beneath(self, folder: Option<PathBuf>) -> Self {
        Self { beneath: folder, ..self }
    }

    /// The same, which tells of changes from now on.
    #[must_use]
    pub fn watched(self, notices: &Arc<Notices>) -> Self {
        let paths = vec![self.path.clone()];
        Self { local: Local::of_files(notices, paths), ..self }
    }
}

#[async_trait]
impl Source for StructuredSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, _ask: Ask<'_>) -> Result<Layer, SourceError> {
        self.local.read(|| self.read())
    }

    async fn changed(&self) {
        self.local.changed().await;
    }

    async fn vitals(&self) -> Vitals {
        self.local.vitals()
    }
}

impl StructuredSource {
    fn read(&self) -> Result<Layer, SourceError> {
        let mut layer =
            Layer { source: self.name.clone(), places: Vec::new(), offers: Vec::new(), remarks: Vec::new() };
        let fail = |faults| Err(SourceError { source_name: self.name.clone(), faults, rest: None });
        let file = match read_text_beneath(&self.path, TEXT_LIMIT, self.beneath.as_deref()) {
            Ok(file) => file,
            Err(FileFault::NotFound) if self.optional => return Ok(layer),
            Err(fault) => return fail(vec![fault.at_source(&self.label)]),
        };
        layer.places.push(Place { label: Arc::clone(&self.label), mode: Some(file.mode) });
        match read(&self.name, &self.label, strip_bom(&file.text), self.notation, file.modified) {
            Ok(offers) => layer.offers = offers,
            Err(faults) => return fail(faults),
        }
        Ok(layer)
    }
}

/// The offers of a text; pure.
///
/// # Errors
/// Every fault with its place, none of which quotes the text.
pub fn read(
    source: &SourceName,
    path: &Arc<str>,
    text: &str,
    notation: Notation,
    modified: Option<SystemTime>,
) -> Result<Vec<Offer>, Vec<Fault>> {
    if let Some(fault) = Fault::sealed(text, path) {
        return Err(vec![fault]);
    }
    let mut leaves = Leaves {
        source,
        path,
        modified,
        trail: Vec::new(),
        offers: Vec::new(),
        seen: HashMap::new(),
        faults: Vec::new(),
    };
    match notation {
        Notation::Toml => toml::walk(text, &mut leaves),
        Notation::Json => json::walk(text, &mut leaves),
        Notation::Yaml => yaml::walk(text, &mut leaves),
    }
    if leaves.faults.is_empty() { Ok(leaves.offers) } else { Err(leaves.faults) }
}

/// Why the text of a scalar cannot be had.
struct Unreadable {
    message: &'static str,
    help: &'static str,
}

/// What the three walkers report to: names flattened, faults gathered.
struct Leaves<'a> {
    source: &'a SourceName,
    path: &'a Arc<str>,
    modified: Option<SystemTime>,
    /// The keys above the present place.
    trail: Vec<String>,
    offers: Vec<Offer>,
    seen: HashMap<Key, Span>,
    faults: Vec<Fault>,
}

impl Leaves<'_> {
    /// Goes down into a key. False (and a fault) where that is too deep.
    fn enter(&mut self, name: &str, at: Span) -> bool {
        if self.trail.len() >= DEPTH_LIMIT {
            self.fault(at, format!("keys nest deeper than {DEPTH_LIMIT} levels"), "flatten the file");
            return false;
        }
        self.trail.push(name.to_ascii_uppercase().replace(['-', '.'], "_"));
        true
    }

    /// Comes up again.
    fn leave(&mut self) {
        self.trail.pop();
    }

    /// A scalar at the present place. `written` is how the file writes it, if
    /// that is one line, for showing.
    fn scalar(&mut self, text: String, at: Span, written: Option<&str>) {
        let value = SecretValue::new(text);
        let Ok(key) = Key::new(&self.trail.join("_")) else {
            self.fault(
                at,
                "this key does not make the name of a variable".into(),
                "use letters, digits, `_`, `-` and `.` in keys",
            );
            return;
        };
        if is_reserved(key.as_str()) {
            return;
        }
        if let Some(first) = self.seen.insert(key.clone(), at) {
            let message = format!("{key} is given twice: line {} gives it already", first.line);
            self.fault(at, message, "keep one of the two");
            return;
        }
        let location = Location::File { path: Arc::clone(self.path), at: Some(at) };
        if value.expose().contains('\0') {
            self.faults.push(Fault::nul(&key, location));
            return;
        }
        let excerpt = written.map(|written| Excerpt {
            text: SecretValue::from(written).into(),
            value_at: 0,
            column: at.column,
        });
        self.offers.push(Offer {
            key,
            value: value.into(),
            origin: Origin {
                mark: None,
                source: self.source.clone(),
                location,
                revision: None,
                modified: self.modified,
            },
            excerpt,
        });
    }

    /// A list of scalars at the present place.
    fn list(&mut self, items: &[SecretValue], at: Span) {
        if items.iter().any(|item| item.expose().contains(',')) {
            self.fault(
                at,
                "an item of this list holds a comma, and lists are joined with commas".into(),
                "write the value as one string, as the program reads it",
            );
            return;
        }
        let mut text = String::with_capacity(items.iter().map(|item| item.len() + 1).sum());
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            text.push_str(item.expose());
        }
        self.scalar(text, at, None);
    }

    /// A scalar that the notation allows but whose text cannot be had.
    fn unreadable(&mut self, at: Span, problem: &Unreadable) {
        self.fault(at, problem.message.into(), problem.help);
    }

    fn nested_list(&mut self, at: Span) {
        self.fault(
            at,
            "a list may hold plain values only".into(),
            "give the items names: an environment has no nested lists",
        );
    }

    fn fault(&mut self, at: Span, message: String, help: &str) {
        self.faults.push(Fault {
            kind: FaultKind::Malformed,
            location: Location::File { path: Arc::clone(self.path), at: Some(at) },
            message,
            help: help.into(),
        });
    }
}

#[cfg(test)]
mod tests;
