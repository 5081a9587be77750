//! The dotenv source: env files in compose's dialect.
//!
//! Owns: which files are read, in which order, and how their text becomes
//! offers (`parse`); how a rotation changes one (`writable`, `rewrite`). Beside it, [`portability`] says where other readers of the
//! same file see something else.
//! Invariants: a required file that is missing, closed or malformed is an error
//! with its place, never 'holds nothing'; everything that is wrong in all files
//! is reported in one run; no command is ever executed; no value with a NUL byte
//! is offered.
//! Must not know: other layers, schemas, which offer wins.

mod dialects;
mod parse;
pub mod portability;
pub mod portable;
pub(in crate::source) mod rewrite;
mod scan;
mod template;
mod writable;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::model::key::SourceName;
use crate::model::layer::{Layer, Offer, Operator, Part, Place, Template, Value};

use super::file::{FileFault, TEXT_LIMIT, read_text_beneath};
use super::file_write::Revisions;
use super::local::Local;
use super::notice::Notices;
use super::writable::WritableSource;
use super::{Ask, Fault, Source, SourceError, Vitals};

pub use parse::{Parsed, Reserved, parse};
pub use scan::{Assignment, assignments};

/// One file of a [`DotenvSource`].
#[derive(Debug, Clone)]
pub struct EnvFile {
    /// Where it is opened.
    pub path: PathBuf,
    /// As printed: relative to the settings' folder, or as the user wrote it.
    pub label: Arc<str>,
    /// Whether it may be missing. It excuses nothing else.
    pub optional: bool,
    /// The folder that it must lie in, links followed.
    pub beneath: Option<PathBuf>,
}

/// Env files, read in order.
#[derive(Debug)]
pub struct DotenvSource {
    name: SourceName,
    files: Arc<[EnvFile]>,
    local: Local,
    revisions: Revisions,
}

impl DotenvSource {
    /// A source of these files, the lowest first: where two set a variable, the
    /// later file wins.
    pub fn new(name: SourceName, files: Vec<EnvFile>) -> Self {
        Self { name, files: files.into(), local: Local::default(), revisions: Revisions::default() }
    }

    /// The same, which tells of changes from now on.
    #[must_use]
    pub fn watched(self, notices: &Arc<Notices>) -> Self {
        let paths = self.files.iter().map(|file| file.path.clone()).collect();
        Self { local: Local::of_files(notices, paths), ..self }
    }
}

/// The file names that are read where nothing else is said, lowest first: `.env`,
/// `.env.$ENV` and, in development only, `.env.local` and `.env.$ENV.local`.
pub fn four_files(environment: &str, development: bool) -> Vec<String> {
    let mut files = vec![".env".to_owned(), format!(".env.{environment}")];
    if development {
        files.push(".env.local".to_owned());
        files.push(format!(".env.{environment}.local"));
    }
    // In an environment called `local`, two of them are one.
    files.dedup();
    files
}

#[async_trait]
impl Source for DotenvSource {
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

    fn writable(&self) -> Option<&dyn WritableSource> {
        Some(self)
    }
}

impl DotenvSource {
    /// Takes every name of its files: an env file is written for this program,
    /// so an unknown name in it is a mistake worth telling.
    fn read(&self) -> Result<Layer, SourceError> {
        let mut layer =
            Layer { source: self.name.clone(), places: Vec::new(), offers: Vec::new(), remarks: Vec::new() };
        let mut faults = Vec::new();
        for EnvFile { path, label, optional, beneath } in self.files.iter() {
            let file = match read_text_beneath(path, TEXT_LIMIT, beneath.as_deref()) {
                Ok(file) => file,
                Err(FileFault::NotFound) if *optional => continue,
                Err(fault) => {
                    faults.push(fault.at_source(label));
                    continue;
                }
            };
            layer.places.push(Place { label: label.clone(), mode: Some(file.mode) });
            match parse(&self.name, label, &file.text, file.modified) {
                Ok(mut parsed) => {
                    parsed.mark(&self.name, label, file.modified);
                    faults.extend(parsed.offers.iter().filter_map(nul));
                    layer.offers.extend(parsed.offers);
                    layer.remarks.extend(parsed.remarks);
                }
                Err(malformed) => faults.extend(malformed),
            }
        }
        if faults.is_empty() {
            Ok(layer)
        } else {
            Err(SourceError { source_name: self.name.clone(), faults, rest: None })
        }
    }
}

/// The fault of a value with a NUL byte. [`parse`] reads it as other readers do.
pub(super) fn nul(offer: &Offer) -> Option<Fault> {
    let holds_nul = match &offer.value {
        Value::Literal(value) => value.expose().contains('\0'),
        Value::Template(template) => template_holds_nul(template),
    };
    holds_nul.then(|| Fault::nul(&offer.key, offer.origin.location.clone()))
}

fn template_holds_nul(template: &Template) -> bool {
    template.0.iter().any(|part| match part {
        Part::Text(text) => text.expose().contains('\0'),
        Part::Reference { operator: Operator::Bare | Operator::Braced, .. } => false,
        Part::Reference {
            operator: Operator::Default { word, .. } | Operator::Alternative { word, .. },
            ..
        } => template_holds_nul(word),
        Part::Reference { operator: Operator::Required { message, .. }, .. } => template_holds_nul(message),
    })
}

#[cfg(test)]
mod tests;
