//! `dlconf get KEY`: one value.

use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::ask::{Answer, Daemon, Question, Value};
use super::assemble::{Setup, given_out, setup};
use super::explain::span;
use super::output::Terminal;
use super::render::passed;
use super::variable::{declared, name};
use super::{Failure, Global, exit};
use crate::access::Action;
use crate::assemble::Choice;
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::serve::problem::Problem;
use crate::serve::socket::Names;

#[derive(Debug, Args)]
pub(super) struct Get {
    /// The variable
    #[arg(value_name = "KEY")]
    key: String,
    /// Resolve here instead of asking the daemon whose socket is configured
    #[arg(long)]
    local: bool,
}

/// What the daemon answers.
#[derive(Deserialize)]
struct Told {
    value: Value,
    version: String,
    origin: String,
    age_seconds: Option<u64>,
    /// Of a daemon that knows it from its last-known-good snapshot only.
    #[serde(default)]
    snapshot_age_seconds: Option<u64>,
}

impl Get {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        if !self.local {
            return self.ask(global, terminal);
        }
        let setup = setup(global, Choice::Asked, terminal.stderr_style())?;
        let key = declared(&setup.schema, &self.key)?;
        let done = print(&setup, &key, terminal);
        setup.close(given_out(&done), terminal);
        done
    }

    fn ask(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let key = name(&self.key)?;
        let Some(daemon) = Daemon::if_configured(global, terminal)? else {
            return Err(Failure::usage(
                "no daemon's socket is configured",
                format!(
                    "set DLCONF_SOCKET, or `path` under [socket] in the settings, to the daemon's socket; or \
                     resolve here: dlconf get --local {key}"
                ),
            ));
        };
        // First, so that the value is held for no longer than it is printed.
        let environment = if terminal.is_quiet() {
            String::new()
        } else {
            let names = daemon.ask(&Question::get(&["v1", "names"], Action::Read))?;
            given::<Names>(&daemon, names, &key)?.environment
        };
        let told = daemon.ask(&Question::get(&["v1", "config", key.as_str()], Action::Read))?;
        let Told { value: Value(value), version, origin, age_seconds, snapshot_age_seconds } =
            given(&daemon, told, &key)?;
        let age = age_seconds.map(|age| format!(", {} old", span(Duration::from_secs(age))));
        let confirmed = snapshot_age_seconds.map(|age| {
            let age = span(Duration::from_secs(age));
            format!("; its source cannot be asked, and confirmed it {age} ago")
        });
        terminal.note(&format!(
            "from the daemon at {}, for {environment}: {key} {version} from {origin}{}{}",
            daemon.place().display(),
            age.unwrap_or_default(),
            confirmed.unwrap_or_default(),
        ));
        payload(&value)
    }
}

/// What was asked for, or what its refusal means here.
fn given<T>(daemon: &Daemon<'_>, answer: Answer<T>, key: &Key) -> Result<T, Failure> {
    let problem = match answer {
        Answer::Given(given) => return Ok(given),
        Answer::Refused(problem) => problem,
    };
    Err(match &*problem.code {
        "unknown-variable" => Failure::new(exit::USAGE, problem.detail, None),
        "not-set" => not_set(key),
        "not-recorded" => Failure::new(exit::REFUSED, problem.detail, None),
        _ => unanswered(daemon, &problem),
    })
}

/// A refusal that is about the daemon, not about what was asked.
pub(super) fn unanswered(daemon: &Daemon<'_>, problem: &Problem) -> Failure {
    let place = daemon.place().display();
    if &*problem.code == "not-ready" {
        let message = format!("the daemon at {place} is not ready: no valid configuration was published yet");
        return Failure::new(
            exit::UNREADABLE,
            message,
            Some("`dlconf status` says what it waits for".into()),
        );
    }
    Failure::new(exit::UNREADABLE, format!("the daemon at {place} says: {}", problem.detail), None)
}

fn not_set(key: &Key) -> Failure {
    Failure::new(exit::FINDINGS, format!("{key} is not set"), Some(format!("dlconf explain {key}")))
}

/// The value and a line feed.
fn payload(value: &SecretValue) -> Result<u8, Failure> {
    let value = value.expose();
    let mut line = String::with_capacity(value.len() + 1);
    line.push_str(value);
    line.push('\n');
    Terminal::payload(&line)?;
    Ok(exit::FINE)
}

fn print(setup: &Setup, key: &Key, terminal: &Terminal) -> Result<u8, Failure> {
    let validated = match passed(setup, setup.assemble(false, terminal), terminal) {
        Ok(validated) => validated,
        Err(code) => return Ok(code),
    };
    let Some(delivered) = validated.get(key) else {
        let service = setup.service.as_deref();
        let var = setup.schema.var(key).filter(|var| !var.read_by(service));
        return Err(match (var, service) {
            (Some(_), Some(service)) => Failure::usage(
                format!("service {service} does not read {key}"),
                "leave --service out, or name one that reads it",
            ),
            _ => not_set(key),
        });
    };
    let place = &delivered.origin.location;
    terminal.note(&format!("resolved here, for {}: {key} from {place}", setup.environment));
    payload(&delivered.value)
}
