//! `dlconf doctor`: connectivity, permissions, protections in force.
//!
//! Invariant: it reports what it can whatever is broken; values are dropped
//! unseen, and a remote source is asked without reading any.

mod access;
mod rotation;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use futures_util::future::join_all;

use super::assemble::{Setup, build};
use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::access::audit::{self, Head};
use crate::assemble::{Choice, Ground, ground};
use crate::last_good::{About, Store, examine_key, span};
use crate::model::key::Key;
use crate::model::layer::{Layer, Offer, Place};
use crate::protections::{Facts, Name, judge};
use crate::report::doctor::{Examination, json, text};
use crate::report::plural;
use crate::settings::Trust;
use crate::source::{Ask, Fault, Observation, Source, SourceError, State, Use};

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: DoctorFormat,
    /// End with exit code 4 unless this protection is in force; repeatable
    #[arg(long, value_name = "PROTECTION", value_parser = protection())]
    require: Vec<Name>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum DoctorFormat {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

fn protection() -> impl TypedValueParser<Value = Name> {
    PossibleValuesParser::new(Name::ALL.map(Name::as_str)).try_map(|name| name.parse::<Name>())
}

impl Doctor {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let mut examination = Examination {
            protections: judge(&Facts::read()),
            required: self.require.clone(),
            settings: Vec::new(),
            sources: Vec::new(),
        };
        let failed = match ground(&global.request(), Choice::Asked, terminal.stderr_style()) {
            Ok(ground) => {
                examination.settings = settings(&ground, global);
                let refused = match access::examine(&ground, terminal.stderr_style()) {
                    Ok(more) => {
                        examination.settings.extend(more);
                        None
                    }
                    Err(failure) => Some(failure),
                };
                examination.settings.extend(log(&ground));
                examination.settings.extend(snapshot(&ground));
                let config = ground.settings.rotation.clone();
                match build(ground, global) {
                    Ok(setup) => {
                        examination.sources = sources(&setup);
                        examination.settings.extend(rotation::examine(&setup, &config));
                        setup.close(Use::Over, terminal);
                        refused
                    }
                    Err(failure) => Some(failure),
                }
            }
            Err(failure) => Some(failure),
        };
        if let Some(failure) = &failed {
            examination.settings.extend(faults(failure));
        }
        let code = if !examination.missing().is_empty() {
            exit::REFUSED
        } else if let Some(failure) = &failed {
            failure.exit
        } else if examination.count(State::Unreadable) > 0 {
            exit::UNREADABLE
        } else if examination.ok() {
            exit::FINE
        } else {
            exit::FINDINGS
        };
        Terminal::payload(&match self.format {
            DoctorFormat::Text => text(&examination, terminal.stdout_style()),
            DoctorFormat::Json => json(&examination),
        })?;
        Ok(code)
    }
}

fn observation(what: &str, state: State, detail: String) -> Observation {
    Observation { what: what.to_owned(), state, detail, help: None }
}

/// What was chosen.
fn settings(ground: &Ground, global: &Global) -> Vec<Observation> {
    let file = match (ground.opened.label(), ground.opened.trust()) {
        (None, _) => "none; .env files under the process environment are read".to_owned(),
        (Some(label), Trust::Found) => {
            format!("{label}, found in the working directory: it reads nothing outside its folder")
        }
        (Some(label), Trust::Full) if global.config.is_some() => format!("{label}, named and so trusted"),
        (Some(label), Trust::Full) => format!("{label}, the administrator's and so trusted"),
    };
    let schema = &ground.schema;
    let declared = schema.vars.iter().filter(|var| var.implied_by.is_none()).count();
    let service = ground.service.as_deref().unwrap_or("none chosen: the variables of all");
    let chosen = |what, detail| observation(what, State::Fine, detail);
    vec![
        chosen("file", file),
        chosen("schema", format!("{}, {}", schema.path, plural(declared, "variable"))),
        chosen("environment", ground.environment.clone()),
        chosen("service", service.to_owned()),
    ]
}

/// The audit log, where there is one.
fn log(ground: &Ground) -> Option<Observation> {
    let config = ground.settings.audit.as_ref()?;
    Some(match audit::examine(config) {
        Ok(Head { count, .. }) => {
            let number = plural(usize::try_from(count).unwrap_or(usize::MAX), "record");
            observation("audit", State::Fine, format!("{}, {number}; its end fits its key", config.label))
        }
        Err(error) => {
            Observation { help: Some(error.help), ..observation("audit", State::Wrong, error.message) }
        }
    })
}

/// The last-known-good snapshot, where the settings have one.
fn snapshot(ground: &Ground) -> Option<Observation> {
    let config = ground.settings.snapshot.clone()?;
    let label = config.label.clone();
    let about = About {
        schema: ground.schema.name.to_string(),
        schema_hash: ground.schema_hash,
        environment: ground.environment.clone(),
        service: ground.service.clone().unwrap_or_default(),
        instance: String::new(),
    };
    if let Err(trouble) = examine_key(&config) {
        let help = Some(trouble.help);
        return Some(Observation { help, ..observation("snapshot", State::Wrong, trouble.message) });
    }
    let max_age = span(config.max_age);
    let folder_is_there = config.path.parent().is_none_or(Path::is_dir);
    let now = SystemTime::now();
    Some(match Store::new(config).recall(&about, now) {
        Ok(None) if !folder_is_there => Observation {
            help: Some("make it, for the daemon's user alone (mode 0700)".to_owned()),
            ..observation(
                "snapshot",
                State::Wrong,
                format!("{label} cannot be written: its folder is not there"),
            )
        },
        Ok(None) => observation(
            "snapshot",
            State::Fine,
            format!("{label}: none yet, a daemon writes it; its key can be read"),
        ),
        Ok(Some(recalled)) => {
            let oldest = recalled.kept.iter().map(|kept| kept.confirmed).min().unwrap_or(recalled.written);
            let age = span(now.duration_since(oldest).unwrap_or_default());
            let sources = plural(recalled.kept.len(), "source");
            let detail = format!(
                "{label}, number {}: {sources}, confirmed {age} ago, the limit is {max_age}",
                recalled.generation
            );
            let lacks: Vec<String> = recalled.dropped.into_iter().chain(recalled.unguarded).collect();
            if lacks.is_empty() {
                observation("snapshot", State::Fine, format!("{detail}; a rollback would be noticed"))
            } else {
                let detail = format!("{detail}; {}", lacks.join("; "));
                let help = "the daemon writes it whole when its sources answer".to_owned();
                Observation { help: Some(help), ..observation("snapshot", State::Degraded, detail) }
            }
        }
        Err(why) => Observation {
            help: Some(why.help(&label)),
            ..observation("snapshot", State::Wrong, format!("{label} would not be used: {why}"))
        },
    })
}

/// Why there was nothing to choose.
fn faults(failure: &Failure) -> impl Iterator<Item = Observation> {
    failure.faults.iter().map(|fault| Observation {
        what: fault.place.clone().unwrap_or_else(|| "choice".to_owned()),
        state: State::Wrong,
        detail: fault.message.clone(),
        help: fault.help.clone(),
    })
}

fn sources(setup: &Setup) -> Vec<(String, Vec<Observation>)> {
    let known = setup.schema.known_names();
    let examined = join_all(setup.sources.iter().map(|source| examine(setup, &**source, &known)));
    let mut all = setup.attend(examined);
    all.extend(setup.passed_over.iter().map(|name| {
        let untouched = observation("--offline", State::Degraded, "it was not asked".to_owned());
        (name.to_string(), vec![untouched])
    }));
    all
}

/// A source's own word; where it has none, what comes of a fetch.
async fn examine(setup: &Setup, source: &dyn Source, known: &BTreeSet<Key>) -> (String, Vec<Observation>) {
    let mut observations = source.examine().await;
    if observations.is_empty() {
        let fetched = source.fetch(Ask { known, names_only: true, retry: false }).await;
        observations = match &fetched {
            Ok(layer) => places(setup, layer),
            Err(error) => unread(error),
        };
    }
    (source.name().to_string(), observations)
}

/// What was read, place by place.
fn places(setup: &Setup, layer: &Layer) -> Vec<Observation> {
    if layer.places.is_empty() {
        return vec![observation("files", State::Fine, "there are none, and none is needed".to_owned())];
    }
    let single = layer.places.len() == 1;
    let one = |place: &Place| {
        let here = |offer: &&Offer| single || offer.origin.location.path() == Some(&*place.label);
        let names: BTreeSet<&Key> = layer.offers.iter().filter(here).map(|offer| &offer.key).collect();
        let secrets = names.iter().any(|key| setup.schema.var(key).is_some_and(|var| var.secret));
        let count = plural(names.len(), "name");
        match place.mode {
            Some(mode) if mode & 0o077 != 0 && secrets => Observation {
                help: Some(format!("chmod 600 {}", place.label)),
                ..observation(
                    &place.label,
                    State::Degraded,
                    format!("{count}; it holds secrets and has mode {mode:04o}"),
                )
            },
            Some(mode) => observation(&place.label, State::Fine, format!("{count}; mode {mode:04o}")),
            None => observation(&place.label, State::Fine, count),
        }
    };
    layer.places.iter().map(one).collect()
}

fn unread(error: &SourceError) -> Vec<Observation> {
    let one = |fault: &Fault| Observation {
        what: fault.location.to_string(),
        state: State::Unreadable,
        detail: fault.message.clone(),
        help: Some(fault.help.clone()),
    };
    error.faults.iter().map(one).collect()
}
