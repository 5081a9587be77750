//! Places that are nobody else's: what a daemon makes lies neither upon nor
//! inside anything else that it makes, nor what it reads. It would read back what
//! it wrote, or two would replace each other's files for ever.
//!
//! Places are compared as they are now, links followed; who exchanges a link
//! later gains a mistake, not a right.

use std::path::{Component, Path, PathBuf};

use super::layers::Merged;
use super::table::Table;
use super::{Opened, Settings, SettingsError, ShownPath, SourceKind};
use crate::access::audit::{is_full, names};
use crate::kubernetes::{SERVICE_ACCOUNT, Server};
use crate::serve::config::Listen;
use crate::source::dotenv::four_files;
use crate::source::key_file::KeyPlace;
use crate::source::vault::Config;
use crate::source::vault::config::{Auth, RoleId};

/// Something that is made.
struct Made<'a> {
    table: Vec<&'a str>,
    field: &'static str,
    place: PathBuf,
}

/// Something that is read.
struct Read {
    what: String,
    place: PathBuf,
}

impl Opened {
    /// Judges the places of everything that is made.
    pub(super) fn judge_places(
        &self,
        merged: &Merged<'_>,
        settings: &Settings,
        environment: &str,
    ) -> Result<(), SettingsError> {
        let made = made(settings);
        if made.is_empty() {
            return Ok(());
        }
        let read = self.read(settings, environment);
        let log = settings.audit.as_ref().map(|audit| resolved(&audit.path));
        if let Some(log) = &log
            && let Some(Read { what, .. }) = read.iter().find(|read| is_full(&read.place, log))
        {
            let table = Table { opened: self, merged, at: &["audit"] };
            let help = "choose another place: full files of the log get such names";
            return Err(table.wrong(&["path"], &format!("needs a name that is {what}"), help));
        }
        for (at, one) in made.iter().enumerate() {
            let table = Table { opened: self, merged, at: &one.table };
            let others = made.iter().enumerate().filter(|(other, _)| *other != at);
            for (other, two) in others {
                let clause = if one.place == two.place && other < at {
                    "is the same place as"
                } else if one.place != two.place && one.place.starts_with(&two.place) {
                    "lies inside"
                } else {
                    continue;
                };
                let two = Table { opened: self, merged, at: &two.table }.named(&[two.field]);
                let help = "give each a place of its own";
                return Err(table.wrong(&[one.field], &format!("{clause} {two}"), help));
            }
            if one.table != ["audit"]
                && let Some(log) = &log
                && is_full(&one.place, log)
            {
                let help = "give each a place of its own: full files of the log get such names";
                return Err(table.wrong(&[one.field], "is a name that the audit log needs", help));
            }
            for Read { what, place } in &read {
                let clause = if one.place == *place {
                    "is"
                } else if one.place.starts_with(place) {
                    "lies inside"
                } else if place.starts_with(&one.place) {
                    "holds"
                } else {
                    continue;
                };
                let help = "choose another place: dlconf would take what it makes for what was given to it";
                return Err(table.wrong(&[one.field], &format!("{clause} {what}"), help));
            }
        }
        Ok(())
    }

    fn read(&self, settings: &Settings, environment: &str) -> Vec<Read> {
        let named = |what: &str, path: PathBuf| Read { what: what.to_owned(), place: resolved(&path) };
        let own = self.path().map(|path| named("the settings file", path.to_owned()));
        let schema = self.raw.schema.as_ref().map(|path| named("the schema", self.folder.join(path)));
        let policy = settings.socket.as_ref().and_then(|socket| socket.policy.as_ref());
        let policy = policy.map(|file| named("the access policy", file.path.clone()));
        let sources = settings.sources.iter().flat_map(|source| {
            let what = format!("what source `{}` reads", source.name);
            let paths = paths(&source.kind, environment);
            paths.into_iter().map(move |path| Read { what: what.clone(), place: resolved(&path) })
        });
        let key = settings.audit.as_ref().map(|audit| named("the audit key", audit.key_file.path.clone()));
        let snapshot = settings.snapshot.as_ref().and_then(|snapshot| match &snapshot.key {
            KeyPlace::File(file) | KeyPlace::Passphrase(file) => Some(file.path.clone()),
            KeyPlace::Credential { name, folder } => Some(folder.as_ref()?.join(name)),
        });
        let snapshot = snapshot.map(|path| named("the snapshot's key", path));
        own.into_iter().chain(schema).chain(policy).chain(key).chain(snapshot).chain(sources).collect()
    }
}

fn made(settings: &Settings) -> Vec<Made<'_>> {
    let deliveries = settings.deliveries.iter().map(|delivery| Made {
        table: vec!["delivery", &delivery.name],
        field: "path",
        place: resolved(&delivery.path),
    });
    let socket = settings.socket.as_ref().map(|socket| ("socket", "path", &socket.at.path));
    let ops = settings.ops.as_ref().and_then(|listen| match listen {
        Listen::Unix(socket) => Some(("ops", "listen", &socket.path)),
        Listen::Tcp(_) => None,
    });
    // Beside each there is its lock.
    let sockets = socket.into_iter().chain(ops).flat_map(|(table, field, path)| {
        let lock = PathBuf::from(format!("{}.lock", path.display()));
        [resolved(path), resolved(&lock)].map(|place| Made { table: vec![table], field, place })
    });
    // A log has names beside its own.
    let audit = settings.audit.iter().flat_map(|audit| names(&audit.path));
    let audit = audit.map(|path| Made { table: vec!["audit"], field: "path", place: resolved(&path) });
    let snapshot = settings.snapshot.iter().flat_map(|snapshot| {
        let places = [("path", &snapshot.path), ("high_water", &snapshot.mark)];
        places.map(|(field, path)| Made { table: vec!["snapshot"], field, place: resolved(path) })
    });
    deliveries.chain(sockets).chain(audit).chain(snapshot).collect()
}

/// What a source reads of the disk.
fn paths(kind: &SourceKind, environment: &str) -> Vec<PathBuf> {
    match kind {
        SourceKind::Env | SourceKind::PassedOver => Vec::new(),
        SourceKind::Dotenv { path: Some(path), .. }
        | SourceKind::File { path, .. }
        | SourceKind::Directory { path, .. } => vec![path.path.clone()],
        SourceKind::Sealed { path, key, .. } => [path.path.clone()].into_iter().chain(key.path()).collect(),
        // Whether the environment is a laptop's, only the schema says: all four.
        SourceKind::Dotenv { path: None, folder, .. } => {
            four_files(environment, true).into_iter().map(|name| folder.path.join(name)).collect()
        }
        SourceKind::Kubernetes { config } => match &config.server {
            Server::InCluster => vec![PathBuf::from(SERVICE_ACCOUNT)],
            Server::Kubeconfig { files, .. } => files.clone(),
        },
        SourceKind::Vault { config, .. } => credentials(config).map(|file| file.path.clone()).collect(),
    }
}

/// The files that a Vault source logs in and verifies with.
fn credentials(config: &Config) -> impl Iterator<Item = &ShownPath> {
    let (one, other) = match &config.auth {
        Auth::Token | Auth::Cert { .. } => (None, None),
        Auth::TokenFile { path } => (Some(path), None),
        Auth::Kubernetes { token, .. } | Auth::Jwt { token, .. } => (Some(token), None),
        Auth::AppRole { role_id: RoleId::File(file), secret_id, .. } => (Some(file), secret_id.as_ref()),
        Auth::AppRole { secret_id, .. } => (None, secret_id.as_ref()),
    };
    let identity = config.tls.identity.iter().flat_map(|identity| [&identity.cert, &identity.key]);
    one.into_iter().chain(other).chain(identity).chain(&config.tls.ca_cert)
}

/// A path with the links of what exists of it followed.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let existing = path.ancestors().find_map(|upper| Some((upper, upper.canonicalize().ok()?)));
    let Some((upper, mut real)) = existing else { return path.to_owned() };
    for component in path.strip_prefix(upper).unwrap_or(Path::new("")).components() {
        match component {
            Component::ParentDir => _ = real.pop(),
            Component::Normal(name) => real.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    real
}
