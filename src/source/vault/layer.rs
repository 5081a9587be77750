//! What the rest of the program is told: a layer of what is held, and a fault
//! for each thing that could not be read. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::auth::LoginFault;
use super::config::{Config, Engine};
use super::policy::{Access, Need, needed};
use super::read::{Holding, Stored};
use super::state::{State, Tracked};
use super::trouble::{Kind, Trouble};
use crate::model::finding::Code;
use crate::model::key::SourceName;
use crate::model::layer::{Layer, Offer, Place, Remark, Value};
use crate::model::origin::{Location, Origin, Revision};
use crate::model::rotation::FIELD;
use crate::model::secret::SecretValue;
use crate::source::{Fault, FaultKind};

/// Everything that is held, in the order of the paths.
pub(super) fn layer(name: &SourceName, config: &Config, state: &State) -> (Layer, Vec<Fault>) {
    let mut layer =
        Layer { source: name.clone(), places: Vec::new(), offers: Vec::new(), remarks: Vec::new() };
    let mut faults = Vec::new();
    if config.tls.insecure_skip_verify {
        layer.remarks.push(unverified(name, config));
    }
    for path in &state.paths {
        if path.by_data {
            layer.remarks.push(unseen_versions(name, path));
        }
        let Some(held) = &path.held else { continue };
        layer.places.push(Place { label: label(path, held), mode: None });
        let revision: Option<Box<str>> = held.version.as_ref().map(|v| v.version.to_string().into());
        let modified = held.version.as_ref().and_then(super::api::VersionAnswer::created);
        let origin = |field: &str| Origin {
            mark: held.marks.get(field),
            source: name.clone(),
            location: Location::Field {
                of: Arc::clone(&path.place),
                name: field.into(),
                revision: revision.clone(),
            },
            revision: revision.clone().map(Revision),
            modified,
        };
        if let Some(fault) = held.marks.fault {
            layer.remarks.push(Remark {
                code: Code::UnknownName,
                origin: origin(FIELD),
                message: format!("the state of rotations in {FIELD} cannot be used: {fault}"),
                help: format!(
                    "write {FIELD} as it was in the version before: until then nothing is rotated there"
                ),
            });
        }
        for note in &held.taken.notes {
            layer.remarks.push(Remark {
                code: Code::UnknownName,
                origin: origin(&note.field),
                message: note.message.clone(),
                help: note.help.clone(),
            });
        }
        for field in &held.taken.fields {
            let origin = origin(&field.name);
            let value = match &field.value {
                None => Value::unread(),
                Some(value) if value.expose().contains('\0') => {
                    faults.push(Fault::nul(&field.key, origin.location));
                    continue;
                }
                Some(value) => SecretValue::from(value.expose()).into(),
            };
            layer.offers.push(Offer { key: field.key.clone(), value, origin, excerpt: None });
        }
    }
    faults.extend(self::faults(config, state));
    (layer, faults)
}

/// What a path is called where places are listed. A version that the server
/// states to be gone is said here: 'looked in' then answers where the value went.
fn label(path: &Tracked, held: &Holding) -> Arc<str> {
    let version = held.version.as_ref().map_or(0, |version| version.version);
    match held.state {
        Stored::Present => Arc::clone(&path.place),
        Stored::Deleted => format!("{} (version {version} is deleted)", path.place).into(),
        Stored::Destroyed => format!("{} (version {version} is destroyed)", path.place).into(),
        Stored::Nothing => format!("{} (nothing there)", path.place).into(),
    }
}

fn unseen_versions(name: &SourceName, path: &Tracked) -> Remark {
    let need = needed(&path.spec, Access::Version);
    Remark {
        code: Code::NotPermitted,
        origin: Origin {
            mark: None,
            source: name.clone(),
            location: Location::Named(path.place.as_ref().into()),
            revision: None,
            modified: None,
        },
        message: format!("its values are read at every tick, since {need}, which the policy does not give"),
        help: Need::HELP.into(),
    }
}

fn unverified(name: &SourceName, config: &Config) -> Remark {
    let address = config.address.as_str();
    Remark {
        code: Code::NotVerified,
        origin: Origin {
            mark: None,
            source: name.clone(),
            location: Location::Named(address.into()),
            revision: None,
            modified: None,
        },
        message: format!(
            "the certificate of {address} is not verified: anybody on the way can read every value"
        ),
        help: "remove `insecure_skip_verify`, and name the authority: `tls = { ca_cert = \"ca.pem\" }`"
            .into(),
    }
}

/// What could not be read, each thing once.
fn faults(config: &Config, state: &State) -> Vec<Fault> {
    if let Some(trouble) = &state.trouble {
        return vec![match trouble {
            LoginFault::Here(fault) => fault.clone(),
            LoginFault::There(trouble) => login_fault(config, &state.login.label(), trouble),
        }];
    }
    let mut said = BTreeSet::new();
    let faults = state.paths.iter().filter_map(|path| path_fault(config, state, path));
    // A server that is away is one fault, however many paths it has.
    faults.filter(|fault| said.insert((fault.message.clone(), fault.location.to_string()))).collect()
}

pub(super) fn login_fault(config: &Config, label: &str, trouble: &Trouble) -> Fault {
    let address = config.address.as_str();
    let kind = match trouble.kind {
        Kind::LoginRefused | Kind::Forbidden => FaultKind::NotPermitted,
        _ => FaultKind::Unreachable,
    };
    let message = match trouble.kind {
        kind if kind.passes() => format!("{address} {kind}"),
        kind => format!("{address} {kind} ({label})"),
    };
    Fault { kind, location: Location::Named(address.into()), message, help: trouble.kind.help().into() }
}

fn path_fault(config: &Config, state: &State, path: &Tracked) -> Option<Fault> {
    let address = config.address.as_str();
    let place = || Location::Named(path.place.as_ref().into());
    let Some(trouble) = &path.trouble else {
        let nothing = path.held.as_ref().is_some_and(|held| held.state == Stored::Nothing);
        return (nothing && config.required).then(|| Fault {
            kind: FaultKind::Unreachable,
            location: place(),
            message: format!("there is nothing at {}", path.spec.engine.shown_path()),
            help: match &path.spec.engine {
                // A mount of version 1 answers so to whatever is asked of version 2.
                Engine::Kv2 { mount, .. } => {
                    format!(
                        "{}; if {mount}/ is KV version 1, write `engine = \"kv1\"`",
                        Kind::NotFound.help()
                    )
                }
                _ => Kind::NotFound.help().into(),
            },
        });
    };
    let api_path = path.spec.engine.api_path();
    Some(match trouble.kind {
        Kind::Forbidden => {
            let access = if state.names_only() { Access::Names } else { Access::Values };
            let need = needed(&path.spec, access);
            let or_dead = if state.doubted { ", or the token has ended" } else { "" };
            Fault {
                kind: FaultKind::NotPermitted,
                location: place(),
                message: format!("{need}, which the policy does not give{or_dead}"),
                help: Need::HELP.into(),
            }
        }
        // What it says about itself, not about the path.
        kind if kind.passes() || !is_of_a_path(kind) => Fault {
            kind: FaultKind::Unreachable,
            location: Location::Named(address.into()),
            message: format!("{address} {kind}"),
            help: kind.help().into(),
        },
        kind => Fault {
            kind: FaultKind::Unreachable,
            location: place(),
            message: format!("{address} {kind}: /v1/{api_path}"),
            help: match (&path.spec.engine, kind) {
                (Engine::Kv2 { mount, .. }, Kind::Unsupported | Kind::NotTheApi) => {
                    format!("see whether {mount}/ is KV version 2; for version 1 write `engine = \"kv1\"`")
                }
                _ => kind.help().into(),
            },
        },
    })
}

fn is_of_a_path(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::NotFound
            | Kind::NoMount
            | Kind::Older
            | Kind::Versioned
            | Kind::Unsupported
            | Kind::Rejected(_)
            | Kind::NoLease
    )
}
