//! What settings and schema make of a daemon: its plan, its deliveries, where it
//! listens. Read whole, so that a reload changes all of it or nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use nix::unistd::Uid;

use super::last_good::Terms;
use super::leader;
use crate::access::audit::{AuditConfig, AuditError};
use crate::access::{Audit, NothingSelected, Policy};
use crate::assemble::{self, Choice, Ground, Request, Sources, ground, load_policy};
use crate::broker::Plan;
use crate::delivery::config::DeliveryConfig;
use crate::disk::stamp::Stamp;
use crate::failure::{Failure, Fault, exit};
use crate::kubernetes::{Name, Server};
use crate::last_good::{About, SnapshotConfig, judge_key};
use crate::model::key::Key;
use crate::report::Style;
use crate::rotation::config::RotationConfig;
use crate::serve::config::Listen;
use crate::serve::{BindError, Bound, Limits, socket};
use crate::settings::{Settings, ShownPath, SocketSettings, SourceSettings};
use crate::source::Source;
use crate::source::notice::Notices;
use crate::telemetry::Listener;

/// A daemon as settings and schema describe it.
pub(super) struct Layout {
    pub(super) plan: Plan,
    /// What the settings say of each source of the plan.
    said: Vec<(Arc<dyn Source>, Option<SourceSettings>)>,
    pub(super) deliveries: Vec<Granted>,
    pub(super) socket: Option<SocketSettings>,
    /// Who may do what on it.
    pub(super) policy: Policy,
    pub(super) audit: Option<AuditConfig>,
    pub(super) ops: Option<Listen>,
    /// The last-known-good snapshot.
    pub(super) snapshot: Option<SnapshotConfig>,
    /// What is rotated, and how.
    pub(super) rotation: RotationConfig,
    schema_hash: [u8; 32],
    /// The settings file, as the user wrote it.
    pub(super) settings: Option<String>,
    /// The files that say all this, as they were when they were read.
    pub(super) files: Vec<(ShownPath, Option<Stamp>)>,
    known: BTreeSet<Key>,
}

/// A delivery, and what it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) config: DeliveryConfig,
    pub(super) keys: BTreeSet<Key>,
}

/// What was bound and is not served yet; none where nothing is new.
#[derive(Debug, Default)]
pub(super) struct BoundAll {
    pub(super) ops: Option<Bound>,
    pub(super) socket: Option<Bound>,
}

impl Layout {
    /// Reads settings and schema. Remote sources of `present` that are said to be
    /// the same stay: they neither log in nor read again.
    pub(super) fn read(
        request: &Request,
        style: Style,
        hub: &Arc<Notices>,
        present: Option<&Self>,
    ) -> Result<Self, Failure> {
        let ground = ground(request, Choice::Asked, style)?;
        let known = ground.schema.known_names();
        // What a source takes from a shared place depends on the names.
        let present = present.filter(|present| present.known == known);
        let kept = |settings: &SourceSettings| {
            let same = |(source, said): &&(Arc<dyn Source>, Option<SourceSettings>)| {
                source.is_remote() && said.as_ref().is_some_and(|said| said.runs_as(settings))
            };
            present?.said.iter().find(same).map(|(source, _)| Arc::clone(source))
        };
        let sources = assemble::build(&ground, request, Some(hub), &kept);
        let plan = assemble::plan(&ground, &sources);
        let Sources { all, env_files, .. } = sources;
        let deliveries = deliveries(&ground)?;
        let read = ground.files.iter().map(|(file, _)| file).chain(&env_files);
        overwrites_nothing(&deliveries, ground.settings.snapshot.as_ref(), read)?;
        let (policy, policy_file) = load_policy(&ground, Uid::effective().as_raw(), style)?;
        let label = ground.opened.label().map(str::to_owned);
        let Ground { mut files, schema_hash, settings, .. } = ground;
        files.extend(policy_file);
        let Settings { socket, audit, ops, snapshot, rotation, .. } = settings;
        Ok(Self {
            plan,
            said: all,
            deliveries,
            socket,
            policy,
            audit,
            ops,
            snapshot,
            rotation,
            schema_hash,
            settings: label,
            files,
            known,
        })
    }

    /// Refuses to run for nothing.
    pub(super) fn judge_purpose(&self) -> Result<(), Failure> {
        if self.deliveries.is_empty() && self.socket.is_none() {
            return Err(Failure::usage(
                "the settings give a daemon nothing to do: they have no delivery and no socket",
                "write a [delivery.NAME] with `type = \"env-file\"` and `path = \"…\"` into dlconf.toml",
            ));
        }
        Ok(())
    }

    /// Refuses a key of the snapshot that others could use: what it seals is all
    /// that the sources give. One that is not there is told when it is needed.
    pub(super) fn judge_snapshot_key(&self) -> Result<(), Failure> {
        let Some(config) = &self.snapshot else { return Ok(()) };
        judge_key(config).map_err(|trouble| Failure::new(exit::REFUSED, trouble.message, Some(trouble.help)))
    }

    /// Refuses to rotate where nobody could tell who leads, or who has which key.
    pub(super) fn judge_leader(&self) -> Result<(), Failure> {
        if let Some((server, name)) = self.leader() {
            server.is_somewhere().map_err(|misfit| {
                Failure::usage(
                    format!("lease/{name} cannot say who rotates: {}", misfit.message),
                    misfit.help,
                )
            })?;
        }
        if let Some((server, prefix)) = self.board() {
            server.is_somewhere().map_err(|misfit| {
                let why = format!("leases/{prefix} cannot carry acknowledgements: {}", misfit.message);
                Failure::usage(why, misfit.help)
            })?;
        }
        Ok(())
    }

    /// The begin of the names of the Leases that carry acknowledgements, and where they
    /// are; none where each daemon keeps what it is told to itself.
    pub(super) fn board(&self) -> Option<(Server, Name)> {
        let prefix = self.rotation.acknowledgements.clone()?;
        Some((leader::server(&self.plan.process), prefix))
    }

    /// The Lease whose holder rotates, and where it is; none where this daemon rotates
    /// alone, or not at all.
    pub(super) fn leader(&self) -> Option<(Server, Name)> {
        let name = self.rotation.leader.clone().filter(|_| self.rotation.enabled)?;
        Some((leader::server(&self.plan.process), name))
    }

    /// By what its keeper is to keep it; `instance` names the daemon.
    pub(super) fn terms(&self, instance: &str) -> Option<Terms> {
        let about = About {
            schema: self.plan.schema.name.to_string(),
            schema_hash: self.schema_hash,
            environment: self.plan.environment.clone(),
            service: self.plan.service.clone().unwrap_or_default(),
            instance: instance.to_owned(),
        };
        Some(Terms { config: self.snapshot.clone()?, about })
    }

    /// The audit log: that of `present`, where its path is the same. One file has
    /// one writer.
    pub(super) fn open_audit(
        &self,
        present: Option<(&Self, Option<Arc<Audit>>)>,
        listener: &Arc<dyn Listener>,
    ) -> Result<Option<Arc<Audit>>, Failure> {
        let Some(config) = &self.audit else { return Ok(None) };
        let (theirs, audit) =
            present.map_or((None, None), |(present, audit)| (present.audit.as_ref(), audit));
        let failed = |error: AuditError| Failure::new(exit::REFUSED, error.message, Some(error.help));
        let audit = match (audit, theirs) {
            (Some(audit), Some(theirs)) if theirs == config => return Ok(Some(audit)),
            (Some(audit), Some(theirs)) if theirs.path == config.path => audit.with(config),
            _ => Audit::open(config, Arc::clone(listener)),
        };
        audit.map(|audit| Some(Arc::new(audit))).map_err(failed)
    }

    /// Takes the addresses that `present` does not listen at already.
    pub(super) fn bind(&self, present: Option<&Self>) -> Result<BoundAll, Failure> {
        let bind = |what, listen: Option<Listen>, present: Option<Listen>| {
            let new = listen.filter(|listen| present.as_ref() != Some(listen));
            let failed = |error: BindError| Failure::new(exit::REFUSED, error.message, Some(error.help));
            new.map(|listen| Bound::bind(what, &listen)).transpose().map_err(failed)
        };
        if let (Some(ours), Some(theirs)) =
            (&self.socket, present.and_then(|present| present.socket.as_ref()))
            && ours.at.path == theirs.at.path
            && let Some(field) = ours.differs_in(theirs)
        {
            return Err(Failure::usage(
                format!(
                    "the `{field}` of the socket at {} cannot be changed while it is served",
                    ours.at.label
                ),
                "restart the daemon, or write what was there before",
            ));
        }
        let theirs = present.and_then(|present| present.ops.clone());
        Ok(BoundAll {
            ops: bind("the ops port", self.ops.clone(), theirs)?,
            socket: bind("the socket", self.control(), present.and_then(Self::control))?,
        })
    }

    /// The socket as something to listen at.
    pub(super) fn control(&self) -> Option<Listen> {
        self.socket.as_ref().map(|socket| Listen::Unix(socket.at.clone()))
    }

    /// What clients may ask of the socket.
    pub(super) fn limits(&self) -> Limits {
        let limits = Limits { answer: socket::ANSWER, ..Limits::default() };
        self.socket.as_ref().map_or(limits, |socket| Limits {
            connections: socket.max_connections,
            per_user: socket.max_connections_per_user,
            ..limits
        })
    }

    /// The sources that are in this and not in the other.
    pub(super) fn sources_beside(&self, other: &Self) -> Vec<Arc<dyn Source>> {
        let theirs = |source: &Arc<dyn Source>| {
            other.plan.sources.iter().any(|planned| Arc::ptr_eq(&planned.source, source))
        };
        let ours = self.plan.sources.iter().map(|planned| &planned.source);
        ours.filter(|source| !theirs(source)).cloned().collect()
    }
}

/// Refuses a delivery, or the snapshot, over what this was read from. The settings judge what they
/// name themselves; they do not know what the caller names, nor which schema was
/// found.
fn overwrites_nothing<'a>(
    deliveries: &[Granted],
    snapshot: Option<&SnapshotConfig>,
    read: impl Iterator<Item = &'a ShownPath>,
) -> Result<(), Failure> {
    for file in read {
        let Ok(place) = file.path.canonicalize() else { continue };
        for Granted { config, .. } in deliveries {
            if config.path.canonicalize().is_ok_and(|path| place.starts_with(path)) {
                return Err(Failure::usage(
                    format!("delivery `{}` would be written over {}, which is read", config.name, file.label),
                    "choose another `path` for it",
                ));
            }
        }
        for (field, path) in snapshot.iter().flat_map(|own| [("path", &own.path), ("high_water", &own.mark)])
        {
            if path.canonicalize().is_ok_and(|path| path == place) {
                return Err(Failure::usage(
                    format!("the snapshot would be written over {}, which is read", file.label),
                    format!("choose another `{field}` in [snapshot]"),
                ));
            }
        }
    }
    Ok(())
}

/// The deliveries, each with what its `vars` mean by the schema; every mistake in
/// one run.
fn deliveries(ground: &Ground) -> Result<Vec<Granted>, Failure> {
    let mut granted = Vec::new();
    let mut faults = Vec::new();
    for config in &ground.settings.deliveries {
        match config.vars.keys(&ground.schema, ground.service.as_deref()) {
            Ok(keys) => granted.push(Granted { config: config.clone(), keys }),
            Err(NothingSelected { part, near }) => faults.push(Fault {
                code: None,
                message: format!(
                    "`vars` of delivery `{}` names `{part}`, which selects nothing that {} declares",
                    config.name, ground.schema.path
                ),
                place: ground.opened.label().map(str::to_owned),
                help: Some(match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name variables, patterns like `DB_*`, or groups like `group:jwt`".to_owned(),
                }),
                drawn: None,
            }),
        }
    }
    if faults.is_empty() { Ok(granted) } else { Err(Failure { exit: exit::USAGE, faults }) }
}
