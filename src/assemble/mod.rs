//! From what a caller asks for to sources that can be read: the composition root
//! below commands and the daemon, and the only place that names every source.
//!
//! Owns: reading settings and schema, choosing environment and service, building
//! the sources, a broker's plan for them. Must not know: what becomes of what they
//! give.

mod choose;
mod files;
mod plan;
mod policy;
mod schema;
mod sources;

pub use files::WatchedFiles;
pub use plan::plan;
pub use policy::{LoadedPolicy, load_policy, read_policy};
pub use schema::{LoadedSchema, SCHEMA_FILE, load_schema, mistake_fault};
pub use sources::{Sources, build};

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::disk::stamp::Stamp;
use crate::failure::{Failure, Fault, exit};
use crate::model::schema::Schema;
use crate::report::Style;
use crate::settings::{self, Network, Settings, SettingsError, ShownPath};
use crate::source::env::Environment;
use choose::{choose_environment, choose_service};

/// What a caller asks for, by options and `DLCONF_…` variables.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The settings file.
    pub config: Option<PathBuf>,
    /// The schema file.
    pub schema: Option<PathBuf>,
    /// The environment.
    pub environment: Option<String>,
    /// The service.
    pub service: Option<String>,
    /// The env files that are read instead of those of the settings.
    pub env_files: Vec<PathBuf>,
    /// Whether no network may be touched.
    pub offline: bool,
    /// Where relative paths begin; none where the working directory is gone.
    pub folder: Option<PathBuf>,
}

/// How the environment is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// By the caller, the settings or the process's own variable; a laptop's is
    /// assumed where there are no settings.
    Asked,
    /// Always the laptop's.
    Development,
}

/// What the options and the settings say, checked, before any source is built.
pub struct Ground {
    /// The settings file, and how far it is trusted.
    pub opened: settings::Opened,
    /// The schema.
    pub schema: Arc<Schema>,
    /// SHA-256 of its text.
    pub schema_hash: [u8; 32],
    /// The environment: one of the schema's.
    pub environment: String,
    /// The service: one of the schema's.
    pub service: Option<String>,
    /// The settings as they hold in that environment.
    pub settings: Settings,
    /// The process's environment.
    pub process: Environment,
    /// The files that all this was read from, and the one that would be read if
    /// it were there; each as it was then.
    pub files: Vec<(ShownPath, Option<Stamp>)>,
}

/// Opens the settings.
///
/// # Errors
/// [`Failure`] where they cannot be read or understood.
pub fn open_settings(request: &Request) -> Result<settings::Opened, Failure> {
    let folder = request
        .folder
        .as_ref()
        .ok_or_else(|| Failure::usage("the working directory is gone", "change to one that is there"))?;
    settings::open(request.config.as_deref(), folder).map_err(settings_failure)
}

/// Reads the settings and the schema, and chooses environment and service.
///
/// # Errors
/// [`Failure`]: wrong settings, a wrong schema, an unknown environment or service.
pub fn ground(request: &Request, choice: Choice, style: Style) -> Result<Ground, Failure> {
    let process: Environment = std::env::vars_os().collect::<Vec<_>>().into();
    let opened = open_settings(request)?;
    let LoadedSchema { parsed, file, stamp, text } = load_schema(request, &opened, style)?;
    let schema = Arc::new(parsed.schema);
    let schema_hash = Sha256::digest(text.as_bytes()).into();
    let environment = choose_environment(request, choice, &opened, &schema, &process)?;
    let network = if request.offline { Network::Offline } else { Network::Online(&process) };
    let settings =
        opened.in_environment(&environment, &schema.environments.names, network).map_err(settings_failure)?;
    opened.judge_consumers(&environment, &settings, &schema.consumers()).map_err(settings_failure)?;
    let service = choose_service(request, settings.service.clone(), &schema)?;
    let own = opened.path().zip(opened.label()).map(|(path, label)| {
        let file = ShownPath { path: path.to_owned(), label: label.to_owned(), beneath: None };
        (file, opened.stamp())
    });
    // As they were before their first byte was read: what was written since is a change.
    let files = own.into_iter().chain([(file, stamp)]).collect();
    Ok(Ground { opened, schema, schema_hash, environment, service, settings, process, files })
}

/// A mistake in the settings, as a failure.
pub fn settings_failure(error: SettingsError) -> Failure {
    let place = error.place.map(|place| place.to_string());
    Failure {
        exit: if error.refused { exit::REFUSED } else { exit::USAGE },
        faults: vec![Fault {
            code: None,
            message: error.message,
            place,
            help: Some(error.help),
            drawn: None,
        }],
    }
}
