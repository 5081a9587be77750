//! Who borrows from a daemon, and for whom.
//!
//! Owns: which variables are asked for; whether the daemon serves what the caller means;
//! what an answer becomes. Invariant: a value becomes a program's only when the daemon
//! serves the environment and the service that were asked for.
//! Must not know: when anything is asked, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;

use serde::Deserialize;

use crate::access::Action;
use crate::cli::ask::{Daemon, Question, Value};
use crate::cli::{Failure, Global, exit};
use crate::model::key::Key;
use crate::serve::problem::Problem;
use crate::serve::socket::Names;
use crate::supervise::Offer;

/// The longest word that may be shown though nobody knows what it is.
const LONGEST_WORD: usize = 24;

/// Who asks, and what is wanted.
pub(super) struct Borrower<'a> {
    daemon: &'a Daemon<'a>,
    vars: &'a [String],
    environment: Option<&'a str>,
    service: Option<&'a str>,
    process: Arc<[(OsString, OsString)]>,
}

/// Whom a daemon's values are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Served {
    environment: String,
    /// None means all.
    service: Option<String>,
}

/// What `GET /v1/config` answers.
#[derive(Deserialize)]
pub(super) struct Config {
    version: Box<str>,
    values: BTreeMap<String, Value>,
    /// What has a value that is too old to be given.
    #[serde(default)]
    withheld: Vec<String>,
}

impl<'a> Borrower<'a> {
    pub(super) fn new(
        daemon: &'a Daemon<'a>,
        vars: &'a [String],
        global: &'a Global,
        process: Arc<[(OsString, OsString)]>,
    ) -> Self {
        let (environment, service) = (global.environment.as_deref(), global.service.as_deref());
        Self { daemon, vars, environment, service, process }
    }

    pub(super) fn daemon(&self) -> &'a Daemon<'a> {
        self.daemon
    }

    /// What to ask for, of a daemon that says these names.
    ///
    /// # Errors
    /// Where it does not serve what the caller means.
    pub(super) fn vars(&self, names: &Names) -> Result<Option<String>, Failure> {
        self.agrees(names, &names.environment)?;
        match (self.service, &names.service) {
            (Some(service), None) if self.vars.is_empty() => Ok(Some(format!("service:{service}"))),
            (Some(_), None) => Err(Failure::usage(
                format!(
                    "the daemon at {} serves all services: there, --vars and --service (or DLCONF_SERVICE) \
                     say two different things",
                    self.daemon.place().display()
                ),
                "leave --vars out to have all that the service reads, or leave the service out",
            )),
            _ if self.vars.is_empty() => Ok(None),
            _ => Ok(Some(self.vars.join(","))),
        }
    }

    /// A refusal of that question.
    pub(super) fn refused(&self, problem: Problem) -> Failure {
        match self.service {
            // It was we who named a service there, so its words fit nothing that was typed.
            Some(service) if self.vars.is_empty() && &*problem.code == "unknown-variable" => Failure::usage(
                format!(
                    "the daemon at {} knows of no service{} that reads anything",
                    self.daemon.place().display(),
                    word(service).map_or(" of that name".to_owned(), |word| format!(" {word}"))
                ),
                "give --service (or DLCONF_SERVICE) one of the schema's services, or leave it out",
            ),
            _ => Failure::new(exit::USAGE, problem.detail, None),
        }
    }

    /// Whom the values are for, and what a program gets of an answer.
    ///
    /// # Errors
    /// What is no variable; another environment or service than was asked for.
    pub(super) fn taken(&self, names: &Names, config: Config) -> Result<(Served, Offer), Failure> {
        let Config { version, values, .. } = config;
        let mut known: BTreeSet<Key> =
            names.known.iter().map(|name| self.key(name)).collect::<Result<_, _>>()?;
        let mut variables: BTreeMap<Key, _> = values
            .into_iter()
            .map(|(name, Value(value))| Ok((self.key(&name)?, Arc::new(value))))
            .collect::<Result<_, Failure>>()?;
        let chosen = self.key(&names.environment_variable)?;
        // The one that was given is of the same generation as the others.
        let given = variables.entry(chosen).or_insert_with(|| Arc::new(names.environment.as_str().into()));
        let environment = given.expose().to_owned();
        self.agrees(names, &environment)?;
        // Of the others there is nothing to keep from the program, and a schema that
        // speaks of one more is no reason to restart it.
        known.retain(|key| self.process.iter().any(|(name, _)| name == key.as_str()));
        let served = Served { environment, service: names.service.clone() };
        Ok((served, Offer { version: Some(version), variables, known: Arc::new(known) }))
    }

    /// Why an answer is not whole: some of it is too old to be given. None where it is.
    pub(super) fn is_partial(&self, config: &Config) -> Option<Failure> {
        let names: Vec<&str> =
            config.withheld.iter().map(String::as_str).filter(|name| Key::new(name).is_ok()).collect();
        if config.withheld.is_empty() {
            return None;
        }
        let place = self.daemon.place().display();
        let message = format!("the daemon at {place} withholds {}: too old to be given", names.join(", "));
        let help = "see in `dlconf status` there which source is not reached".to_owned();
        Some(Failure::new(exit::UNREADABLE, message, Some(help)))
    }

    fn key(&self, name: &str) -> Result<Key, Failure> {
        Key::new(name).map_err(|_| {
            let message =
                format!("the daemon at {} gives what is no variable", self.daemon.place().display());
            Failure::new(
                exit::UNREADABLE,
                message,
                Some("compare `dlconf --version` with the daemon's".into()),
            )
        })
    }

    /// Who says what the program runs: its service, where that is known.
    pub(super) fn consumer(&self, served: &Served) -> Option<String> {
        self.service.map(str::to_owned).or_else(|| served.service.clone())
    }

    /// Whether a program that was started with what was served `before` may go on with
    /// what is served now.
    ///
    /// # Errors
    /// Where that is for somebody else.
    pub(super) fn follows(&self, before: &Served, now: &Served) -> Result<(), Failure> {
        let changed = |what: &str, now: &str, before: &str| {
            let place = self.daemon.place().display();
            let message = format!("the daemon at {place} serves {now} now, and served {before} before");
            Err(Failure::usage(message, format!("if the other {what} is meant, start this anew")))
        };
        let named = |service: &Option<String>| {
            service.as_ref().map_or("all services".to_owned(), |own| format!("service {own}"))
        };
        if now.environment != before.environment {
            return changed("environment", &now.environment, &before.environment);
        }
        // Where the caller named one, that was looked at already.
        if self.service.is_none() && now.service != before.service {
            return changed("service", &named(&now.service), &named(&before.service));
        }
        Ok(())
    }

    /// Whether the daemon serves what the caller means.
    fn agrees(&self, names: &Names, environment: &str) -> Result<(), Failure> {
        let place = self.daemon.place().display();
        let serves = |what: &str, is: &str, asked: String| {
            let message = format!("the daemon at {place} serves {is}, but {asked}");
            Err(Failure::usage(message, format!("ask the daemon of that {what}, or leave the {what} out")))
        };
        if let Some(asked) = self.environment.filter(|asked| *asked != environment) {
            return serves("environment", environment, format!("--env or DLCONF_ENV says {}", shown(asked)));
        }
        // One that serves all serves each.
        if let (Some(asked), Some(own)) = (self.service, &names.service)
            && asked != own
        {
            let is = format!("service {own}");
            return serves("service", &is, format!("--service or DLCONF_SERVICE says {}", shown(asked)));
        }
        let variable = &names.environment_variable;
        let own = self.process.iter().find(|(name, _)| name == variable.as_str()).map(|(_, value)| value);
        match own.filter(|own| !own.is_empty() && *own != environment) {
            None => Ok(()),
            Some(own) => {
                let own = own.to_str().map_or("another one", shown);
                let message = format!("the daemon at {place} serves {environment}, but {variable} is {own}");
                Err(Failure::usage(
                    message,
                    format!("unset {variable}, or ask the daemon of that environment"),
                ))
            }
        }
    }
}

/// The question for these variables; none means all.
pub(super) fn config(vars: Option<&str>) -> Question<'static> {
    let question = Question::get(&["v1", "config"], Action::Read);
    match vars {
        Some(vars) => question.with("vars", vars.to_owned()),
        None => question,
    }
}

impl Served {
    /// What a daemon says of itself, before its values are asked for.
    pub(super) fn by(names: &Names) -> Self {
        Self { environment: names.environment.clone(), service: names.service.clone() }
    }
}

/// A word that is like the name of an environment; other text is not shown.
fn shown(text: &str) -> &str {
    word(text).unwrap_or("another one")
}

fn word(text: &str) -> Option<&str> {
    let is_word = text.len() <= LONGEST_WORD
        && text.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte));
    is_word.then_some(text)
}
