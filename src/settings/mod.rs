//! dlconf's own settings: raw, then checked.
//!
//! Owns: which file is read and how far it is trusted, the layers under and
//! over it (`layers`: embedded default < file < `[env.NAME]` < `DLCONF_A__B`
//! variables), which fields there are (`raw`) and for what (`kinds`, `understand`),
//! the list of sources that follows from it (`sources`, `vault`, `kubernetes`,
//! `select`, `keys`), by which
//! name a source is known again (`identity`), what a
//! daemon does with what they give (`delivery`, `daemon`), at places that are
//! nobody else's (`clashes`), and how it changes them (`rotation`).
//! Invariants: no secret value is in settings; an unknown field is an error;
//! every error says what to do; a file that was merely found reads and writes
//! nothing outside its own folder, runs no program, signals no process, rotates no
//! secret, listens to this machine only, and sends the caller's token nowhere but to the address
//! that came with it.
//! Must not know: how a source reads, how a delivery writes.

mod audit;
mod clashes;
mod daemon;
mod delivery;
mod durations;
mod identity;
mod keys;
mod kinds;
mod kubernetes;
mod layers;
mod mistakes;
mod raw;
mod rotation;
mod select;
mod snapshot;
mod sources;
mod table;
mod understand;
mod vault;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::access::audit::AuditConfig;
use crate::broker::Debounce;
use crate::delivery::config::DeliveryConfig;
use crate::disk::stamp::Stamp;
use crate::last_good::SnapshotConfig;
use crate::model::key::SourceName;
use crate::model::origin::Location;
use crate::model::schema::toml_reader::nearest;
use crate::rotation::config::RotationConfig;
use crate::serve::config::{Listen, SocketConfig};
use crate::source::file::{FileFault, FileText, TEXT_LIMIT};
use crate::source::key_file::KeyPlace;
use crate::source::kubernetes::Config as KubernetesConfig;
use crate::source::structured::Notation;
use crate::source::vault::Config as VaultConfig;

pub use crate::source::file::ShownPath;
pub use sources::MAX_AGE;

use layers::Layers;
use raw::Raw;
use understand::understand;

/// The name of the file that is looked for in the working directory.
pub const FILE_NAME: &str = "dlconf.toml";

/// Where an administrator puts one.
const SYSTEM_FILE: &str = "/etc/dlconf/dlconf.toml";

/// How far a settings file is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Named by the caller, or the administrator's.
    Full,
    /// Merely found in the working directory: a stranger may have put it there.
    Found,
}

/// Something wrong in the settings. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingsError {
    /// One sentence.
    pub message: String,
    /// The place in the file, or the variable, where there is one.
    pub place: Option<Location>,
    /// What to do.
    pub help: String,
    /// Whether the settings ask for what they may not have (exit 4).
    pub refused: bool,
}

impl SettingsError {
    fn new(message: impl Into<String>, place: Option<Location>, help: impl Into<String>) -> Self {
        Self { message: message.into(), place, help: help.into(), refused: false }
    }
}

/// Settings, read but not yet narrowed to an environment.
pub struct Opened {
    layers: Layers,
    /// The file, where it was opened here.
    path: Option<PathBuf>,
    /// What the file was when it was read.
    stamp: Option<Stamp>,
    folder: PathBuf,
    /// How the folder is written in front of paths that are shown.
    shown_folder: PathBuf,
    trust: Trust,
    /// The settings without any overlay.
    raw: Raw,
}

/// A name that the settings choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The name.
    pub name: String,
    /// Where they do, ready to print: `dlconf.toml:1:1`.
    pub place: String,
}

/// Checked settings for one environment.
#[derive(Debug)]
pub struct Settings {
    /// The sources, lowest first.
    pub sources: Vec<SourceSettings>,
    /// The service that they choose.
    pub service: Option<Chosen>,
    /// The deliveries, by name.
    pub deliveries: Vec<DeliveryConfig>,
    /// Where the daemon is asked.
    pub socket: Option<SocketSettings>,
    /// Where it is recorded who got what.
    pub audit: Option<AuditConfig>,
    /// Where the last-known-good snapshot is kept.
    pub snapshot: Option<SnapshotConfig>,
    /// Where the daemon is observed.
    pub ops: Option<Listen>,
    /// How long changes gather.
    pub debounce: Debounce,
    /// Whether and how secrets are rotated, and who has to acknowledge that.
    pub rotation: RotationConfig,
}

impl Settings {
    /// What opens the sealed file of this path, where a source reads it.
    pub fn key_of_sealed(&self, path: &Path) -> Option<&KeyPlace> {
        let wanted = clashes::resolved(path);
        self.sources.iter().find_map(|source| match &source.kind {
            SourceKind::Sealed { path, key, .. } if clashes::resolved(&path.path) == wanted => Some(key),
            _ => None,
        })
    }
}

/// `[socket]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketSettings {
    /// Where.
    pub at: SocketConfig,
    /// Who may do what; without one, the daemon's own user everything.
    pub policy: Option<ShownPath>,
    /// Connections at once.
    pub max_connections: usize,
    /// Of one user.
    pub max_connections_per_user: usize,
}

impl SocketSettings {
    /// The first field, but for the policy, that says something else.
    pub fn differs_in(&self, other: &Self) -> Option<&'static str> {
        [
            ("mode", self.at.mode != other.at.mode),
            ("max_connections", self.max_connections != other.max_connections),
            ("max_connections_per_user", self.max_connections_per_user != other.max_connections_per_user),
        ]
        .into_iter()
        .find_map(|(field, differs)| differs.then_some(field))
    }
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Its name.
    pub name: SourceName,
    /// What it is.
    pub kind: SourceKind,
    /// How long what it gave is held while nothing confirms it. (The process
    /// environment has the default: it confirms itself.)
    pub max_age: Duration,
}

impl SourceSettings {
    /// Whether a source with the one does everything that one with the other would.
    /// That rotations are on changes what `doctor` looks at, and nothing of a source
    /// that runs: it need not log in again, nor give up what it was lent.
    pub fn runs_as(&self, other: &Self) -> bool {
        let mut other = other.clone();
        if let (SourceKind::Vault { config, .. }, SourceKind::Vault { config: others, .. }) =
            (&self.kind, &mut other.kind)
        {
            others.rotates = config.rotates;
        }
        *self == other
    }
}

/// What a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// The process environment.
    Env,
    /// `.env` files.
    Dotenv {
        /// One file; none means the list of four in this folder.
        path: Option<ShownPath>,
        /// The folder of the list of four.
        folder: ShownPath,
        /// Whether it may be absent.
        optional: bool,
    },
    /// A TOML, JSON or YAML file.
    File {
        /// The file.
        path: ShownPath,
        /// Its notation.
        notation: Notation,
        /// Whether it may be absent.
        optional: bool,
    },
    /// A directory with one file a variable.
    Directory {
        /// The directory.
        path: ShownPath,
        /// Whether it may be absent.
        optional: bool,
    },
    /// A sealed env file.
    Sealed {
        /// The file.
        path: ShownPath,
        /// What opens it.
        key: KeyPlace,
        /// Whether it may be absent.
        optional: bool,
    },
    /// Vault or OpenBao.
    Vault {
        /// What it is told.
        config: Box<VaultConfig>,
        /// The variable whose value is its token, where it logs in with one.
        token: Option<&'static str>,
    },
    /// Secrets and ConfigMaps of Kubernetes.
    Kubernetes {
        /// What it is told.
        config: Box<KubernetesConfig>,
    },
    /// A remote source, checked as far as that goes without the process: the
    /// caller is offline and will not ask it.
    PassedOver,
}

impl SourceKind {
    /// Its `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Dotenv { .. } => "dotenv",
            Self::File { .. } => "file",
            Self::Directory { .. } => "directory",
            Self::Sealed { .. } => "sealed",
            Self::Vault { .. } => "vault",
            Self::Kubernetes { .. } => "kubernetes",
            Self::PassedOver => "remote",
        }
    }
}

/// Whether remote sources will be asked.
#[derive(Debug, Clone, Copy)]
pub enum Network<'p> {
    /// They will not.
    Offline,
    /// They will, with what these variables of the process say of them.
    Online(&'p [(OsString, OsString)]),
}

/// Reads the settings: `config` if given, else the file in `folder`, else the
/// administrator's, else the embedded default.
///
/// # Errors
/// [`SettingsError`] where the file cannot be read or understood.
pub fn open(config: Option<&Path>, folder: &Path) -> Result<Opened, SettingsError> {
    let found = folder.join(FILE_NAME);
    let (file, trust) = match config {
        Some(path) => (Some(ShownPath { path: folder.join(path), ..ShownPath::named(path) }), Trust::Full),
        None if present(&found, "--config")? => {
            let beneath = Some(folder.to_owned());
            (Some(ShownPath { path: found, label: FILE_NAME.to_owned(), beneath }), Trust::Found)
        }
        None if present(Path::new(SYSTEM_FILE), "--config")? => {
            (Some(ShownPath::named(Path::new(SYSTEM_FILE))), Trust::Full)
        }
        None => (None, Trust::Full),
    };
    let path = file.as_ref().map(|shown| shown.path.clone());
    let mut stamp = None;
    let file = match file {
        Some(shown) => {
            let read = read(&shown)?;
            stamp = Some(read.stamp);
            let folder = shown.path.parent().unwrap_or(folder).to_owned();
            Some(SettingsFile { folder, label: shown.label, text: read.text })
        }
        None => None,
    };
    Ok(Opened { path, stamp, ..Opened::new(file, folder, trust)? })
}

/// Whether a name is there at all, be it a link that leads nowhere. Only 'not
/// found' means that it is not: a file that is hidden by permissions must not be
/// passed over as if nobody had written it.
///
/// # Errors
/// Where that cannot be seen; `option` would name the file instead.
pub fn present(path: &Path, option: &str) -> Result<bool, SettingsError> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(SettingsError::new(
            format!("whether there is a file {} cannot be seen: {}", path.display(), error.kind()),
            None,
            format!(
                "let this user search its folder (`namei -l` shows the one), or name a file: {option} FILE"
            ),
        )),
    }
}

fn read(file: &ShownPath) -> Result<FileText, SettingsError> {
    file.read(TEXT_LIMIT).map_err(|fault| {
        if fault == FileFault::Outside {
            return found_only(&file.label, "lead outside its folder", None);
        }
        let fault = fault.at(&file.label.as_str().into());
        let message = format!("the settings could not be read: {}", fault.message);
        SettingsError::new(message, Some(fault.location), fault.help)
    })
}

/// The refusal of what settings may not do that were merely found.
fn found_only(label: &str, attempt: &str, place: Option<Location>) -> SettingsError {
    SettingsError {
        message: format!("{label} was found, not named, so it may not {attempt}"),
        place,
        help: format!("if you trust it, say so: --config {label}"),
        refused: true,
    }
}

/// A settings file's text, and where it stands.
#[derive(Debug)]
pub struct SettingsFile {
    /// As the user wrote it.
    pub label: String,
    /// Relative paths start here.
    pub folder: PathBuf,
    /// Its content.
    pub text: String,
}

impl Opened {
    /// Understands a settings file, or the embedded default, for whose paths
    /// `folder` is the start. Every overlay is judged, not only the one that will
    /// be chosen.
    ///
    /// # Errors
    /// Every kind of [`SettingsError`].
    pub fn new(file: Option<SettingsFile>, folder: &Path, trust: Trust) -> Result<Self, SettingsError> {
        let folder = file.as_ref().map_or_else(|| folder.to_owned(), |file| file.folder.clone());
        let layers = Layers::new(file.map(|file| (file.label, file.text)))?;
        let raw = understand(&layers.merged(None))?;
        for overlay in layers.overlays() {
            understand(&layers.merged(Some(overlay)))?;
        }
        let parent = layers.label().and_then(|label| Path::new(label).parent());
        let shown_folder = parent.map(Path::to_owned).unwrap_or_default();
        Ok(Self { layers, path: None, stamp: None, folder, shown_folder, trust, raw })
    }

    /// Whether there is a settings file at all.
    pub fn has_file(&self) -> bool {
        self.layers.label().is_some()
    }

    /// The settings file, as the user wrote it.
    pub fn label(&self) -> Option<&str> {
        self.layers.label()
    }

    /// The settings file that was opened, to be watched; absolute if the folder is
    /// that it was opened from. None for a text that came otherwise.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What that file was when it was read; any other is a change.
    pub fn stamp(&self) -> Option<Stamp> {
        self.stamp
    }

    /// How far it is trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// The environment that the settings choose.
    pub fn environment(&self) -> Option<Chosen> {
        let name = self.raw.environment.clone()?;
        Some(Chosen { name, place: self.layers.merged(None).shown_place("environment") })
    }

    /// The schema that the settings name.
    ///
    /// # Errors
    /// Where a settings file that was merely found names one outside its folder.
    pub fn schema(&self) -> Result<Option<ShownPath>, SettingsError> {
        let Some(path) = &self.raw.schema else { return Ok(None) };
        let place = || self.layers.merged(None).place(&["schema"]);
        self.shown(path, self.beneath(), place).map(Some)
    }

    /// The settings as they hold in an environment; `known` are the schema's.
    ///
    /// # Errors
    /// Every kind of [`SettingsError`].
    pub fn in_environment(
        &self,
        name: &str,
        known: &[Box<str>],
        network: Network<'_>,
    ) -> Result<Settings, SettingsError> {
        for overlay in self.layers.overlays() {
            if !known.iter().any(|k| **k == *overlay) {
                let near = nearest(overlay, known.iter().map(|k| &**k));
                return Err(SettingsError::new(
                    format!("[env.{overlay}] is for an environment that the schema does not have"),
                    self.layers.place_in_file(&["env", overlay]),
                    near.map_or_else(
                        || format!("the schema has: {}", known.join(", ")),
                        |near| format!("did you mean [env.{near}]?"),
                    ),
                ));
            }
        }
        let merged = self.layers.merged(Some(name));
        let raw = understand(&merged)?;
        let service = raw
            .service
            .as_ref()
            .map(|name| Chosen { name: name.clone(), place: merged.shown_place("service") });
        let settings = Settings {
            sources: self.sources(&merged, &raw, network)?,
            service,
            deliveries: self.deliveries(&merged, &raw)?,
            socket: self.socket(&merged, &raw)?,
            audit: self.audit(&merged, &raw)?,
            snapshot: self.snapshot(&merged, &raw)?,
            ops: self.ops(&merged, &raw)?,
            debounce: self.debounce(&merged, &raw)?,
            rotation: self.rotation(&merged, &raw)?,
        };
        self.judge_places(&merged, &settings, name)?;
        Ok(settings)
    }

    /// The folder that the paths of these settings must lie in, if they are
    /// confined to one.
    fn beneath(&self) -> Option<&Path> {
        (self.trust == Trust::Found).then_some(&*self.folder)
    }

    /// A path that is read: relative to the settings' folder, and inside `beneath`.
    fn shown(
        &self,
        path: &str,
        beneath: Option<&Path>,
        place: impl Fn() -> Option<Location>,
    ) -> Result<ShownPath, SettingsError> {
        self.reached("read", path, beneath, place)
    }

    /// The same of a path to which something else is done.
    fn reached(
        &self,
        verb: &str,
        path: &str,
        beneath: Option<&Path>,
        place: impl Fn() -> Option<Location>,
    ) -> Result<ShownPath, SettingsError> {
        let full = self.folder.join(path);
        if let Some(folder) = beneath
            && !leads_into(&full, folder)
        {
            let attempt = format!("{verb} {path}: that is outside its folder");
            return Err(found_only(self.layers.label().unwrap_or(FILE_NAME), &attempt, place()));
        }
        let label = self.shown_folder.join(path).display().to_string();
        Ok(ShownPath { path: full, label, beneath: beneath.map(Path::to_owned) })
    }
}

/// Whether a path stays in a folder as far as it exists now, links followed. The
/// reading judges again, by what it has opened.
fn leads_into(path: &Path, folder: &Path) -> bool {
    use std::path::Component;
    let Ok(folder) = folder.canonicalize() else { return false };
    let mut existing = path;
    loop {
        match existing.canonicalize() {
            Ok(real) => {
                let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
                return real.starts_with(&folder)
                    && rest.components().all(|c| matches!(c, Component::Normal(_)));
            }
            Err(_) => match existing.parent() {
                Some(parent) => existing = parent,
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests;
