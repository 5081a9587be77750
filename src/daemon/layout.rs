//! What settings and schema make of a daemon: its plan, its deliveries, where it
//! listens. Read whole, so that a reload changes all of it or nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::access::NothingSelected;
use crate::assemble::{self, Choice, Ground, Request, Sources, ground};
use crate::broker::{Plan, Planned};
use crate::delivery::config::DeliveryConfig;
use crate::failure::{Failure, Fault, exit};
use crate::model::key::Key;
use crate::report::Style;
use crate::serve::config::{Listen, SocketConfig};
use crate::serve::{BindError, Bound};
use crate::settings::{MAX_AGE, ShownPath, SourceSettings};
use crate::source::Source;
use crate::source::file::Stamp;
use crate::source::notice::Notices;

/// A daemon as settings and schema describe it.
pub(super) struct Layout {
    pub(super) plan: Plan,
    /// What the settings say of each source of the plan.
    said: Vec<(Arc<dyn Source>, Option<SourceSettings>)>,
    pub(super) deliveries: Vec<Granted>,
    socket: Option<SocketConfig>,
    pub(super) ops: Option<Listen>,
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
                source.is_remote() && said.as_ref() == Some(settings)
            };
            present?.said.iter().find(same).map(|(source, _)| Arc::clone(source))
        };
        let Sources { all, passed_over, env_files, .. } = assemble::build(&ground, request, Some(hub), &kept);
        let deliveries = deliveries(&ground)?;
        let read = ground.files.iter().map(|(file, _)| file).chain(&env_files);
        overwrites_nothing(&deliveries, read)?;
        let label = ground.opened.label().map(str::to_owned);
        let Ground { files, schema, environment, service, settings, process, .. } = ground;
        let planned = |(source, said): &(Arc<dyn Source>, Option<SourceSettings>)| Planned {
            source: Arc::clone(source),
            kind: said.as_ref().map_or("dotenv", |said| said.kind.name()),
            max_age: said.as_ref().map_or(MAX_AGE, |said| said.max_age),
        };
        let plan = Plan {
            schema: Arc::new(schema),
            environment,
            service,
            process,
            sources: all.iter().map(planned).collect(),
            passed_over,
            debounce: settings.debounce,
        };
        let (socket, ops) = (settings.socket, settings.ops);
        Ok(Self { plan, said: all, deliveries, socket, ops, settings: label, files, known })
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

    /// Takes the addresses that `present` does not listen at already.
    pub(super) fn bind(&self, present: Option<&Self>) -> Result<BoundAll, Failure> {
        let bind = |what, listen: Option<Listen>, present: Option<Listen>| {
            let new = listen.filter(|listen| present.as_ref() != Some(listen));
            let failed = |error: BindError| Failure::new(exit::REFUSED, error.message, Some(error.help));
            new.map(|listen| Bound::bind(what, &listen)).transpose().map_err(failed)
        };
        if let (Some(ours), Some(theirs)) =
            (&self.socket, present.and_then(|present| present.socket.as_ref()))
            && ours.path == theirs.path
            && ours.mode != theirs.mode
        {
            return Err(Failure::usage(
                format!("the `mode` of the socket at {} cannot be changed while it is served", ours.label),
                "restart the daemon, or write the mode from before",
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
        self.socket.clone().map(Listen::Unix)
    }

    /// Every path whose change may change this.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        self.files.iter().map(|(file, _)| file.path.clone()).collect()
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

/// Refuses a delivery over what this was read from. The settings judge what they
/// name themselves; they do not know what the caller names, nor which schema was
/// found.
fn overwrites_nothing<'a>(
    deliveries: &[Granted],
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
