//! `dlconf run --socket`: the values come from a daemon.
//!
//! Owns: waiting for a daemon that is just starting; what its two answers become.
//! Invariants: nothing is read here but these answers, so neither settings nor schema
//! are needed; a value goes nowhere but into the program's environment; when that is
//! made, nothing is open any more.
//! Must not know: how a daemon is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::environment::{Inherited, environment};
use crate::access::Action;
use crate::cli::ask::{Answer, Daemon, Missed, Question, Value, runtime};
use crate::cli::get::unanswered;
use crate::cli::output::Terminal;
use crate::cli::{Failure, Global, exit};
use crate::model::key::Key;
use crate::model::schema::kind::go_duration;
use crate::model::secret::SecretValue;
use crate::process::Interrupts;
use crate::serve::socket::Names;

/// How long a person is left without a word.
const SILENCE: Duration = Duration::from_secs(1);
/// Between two attempts, at first and at most.
const STEPS: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// The longest word that may be shown though nobody knows what it is.
const LONGEST_WORD: usize = 24;

/// The daemon that lends its values, and what is wanted of it.
pub(super) struct Lender<'a> {
    pub(super) path: &'a Path,
    /// Empty means all that it gives.
    pub(super) vars: &'a [String],
    pub(super) wait: Duration,
}

/// What `GET /v1/config` answers.
#[derive(Deserialize)]
struct Config {
    version: String,
    values: BTreeMap<String, Value>,
}

impl Lender<'_> {
    /// The program's environment.
    ///
    /// # Errors
    /// [`Failure`], with an exit code that `run` replaces.
    pub(super) fn environment(
        &self,
        global: &Global,
        terminal: &Terminal,
        inherited: Inherited<'_>,
    ) -> Result<Vec<(OsString, OsString)>, Failure> {
        alone(global)?;
        let daemon = Daemon::at(self.path.to_owned(), terminal);
        let (names, Config { version, values }) = attend(self.ask(&daemon, terminal))?;
        let foreign = || {
            let message = format!("the daemon at {} gives what is no variable", self.path.display());
            Failure::new(
                exit::UNREADABLE,
                message,
                Some("compare `dlconf --version` with the daemon's".into()),
            )
        };
        let key = |name: &str| Key::new(name).map_err(|_| foreign());
        let known: BTreeSet<Key> = names.known.iter().map(|name| key(name)).collect::<Result<_, _>>()?;
        let mut variables: BTreeMap<Key, SecretValue> = values
            .into_iter()
            .map(|(name, Value(value))| Ok((key(&name)?, value)))
            .collect::<Result<_, Failure>>()?;
        let chosen = key(&names.environment_variable)?;
        // The one that was given is of the same generation as the others.
        let given = variables.entry(chosen).or_insert_with(|| names.environment.as_str().into());
        let process: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        self.agrees(&names, given.expose(), global, &process)?;
        terminal.detail(&format!(
            "{} variables of version {version} from the daemon at {}",
            variables.len(),
            self.path.display()
        ));
        Ok(environment(&process, &known, variables.iter(), inherited))
    }

    /// The names first, so that the values are not held for any longer than needed.
    async fn ask(&self, daemon: &Daemon<'_>, terminal: &Terminal) -> Result<(Names, Config), Failure> {
        let until = Instant::now() + self.wait;
        let mut asking = std::pin::pin!(async {
            let names = |_| Question::get(&["v1", "names"], Action::Read);
            let config = |left| {
                let question = Question::get(&["v1", "config"], Action::Read).waiting(left);
                if self.vars.is_empty() { question } else { question.with("vars", self.vars.join(",")) }
            };
            Ok((self.patiently(daemon, until, names).await?, self.patiently(daemon, until, config).await?))
        });
        if let Ok(done) = timeout(SILENCE, &mut asking).await {
            return done;
        }
        terminal.note(&format!(
            "waiting for the daemon at {}, for {} at most (--wait)",
            self.path.display(),
            written(self.wait)
        ));
        asking.await
    }

    /// Asks until there is an answer, or the time is over.
    async fn patiently<'q, T: DeserializeOwned>(
        &self,
        daemon: &Daemon<'_>,
        until: Instant,
        question: impl Fn(Duration) -> Question<'q>,
    ) -> Result<T, Failure> {
        let mut step = STEPS.0;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let failure = match daemon.ask_now(&question(left)).await {
                Ok(Answer::Given(given)) => return Ok(given),
                // Not ready, or not able to record: both may pass.
                Ok(Answer::Refused(problem)) if problem.status == 503 => unanswered(daemon, &problem),
                Ok(Answer::Refused(problem)) => return Err(Failure::new(exit::USAGE, problem.detail, None)),
                Err(Missed::Away(failure)) => failure,
                Err(Missed::Failed(failure)) => return Err(failure),
            };
            if left.is_zero() {
                return Err(self.waited(failure));
            }
            sleep(step.min(left)).await;
            step = (step * 2).min(STEPS.1);
        }
    }

    fn waited(&self, mut failure: Failure) -> Failure {
        if !self.wait.is_zero() {
            for fault in &mut failure.faults {
                fault.message.push_str(&format!(" (waited {})", written(self.wait)));
            }
        }
        failure
    }

    /// Whether the daemon serves what the caller means.
    fn agrees(
        &self,
        names: &Names,
        environment: &str,
        global: &Global,
        process: &[(OsString, OsString)],
    ) -> Result<(), Failure> {
        let place = self.path.display();
        let serves = |what: &str, is: &str, asked: String| {
            let message = format!("the daemon at {place} serves {is}, but {asked}");
            Err(Failure::usage(message, format!("ask the daemon of that {what}, or leave the {what} out")))
        };
        if let Some(asked) = global.environment.as_deref().filter(|asked| *asked != environment) {
            return serves("environment", environment, format!("--env or DLCONF_ENV says {}", shown(asked)));
        }
        if let Some(asked) = global.service.as_deref()
            && names.service.as_deref() != Some(asked)
        {
            let is = names.service.as_ref().map_or("all services".to_owned(), |own| format!("service {own}"));
            return serves("service", &is, format!("--service or DLCONF_SERVICE says {}", shown(asked)));
        }
        let variable = &names.environment_variable;
        let own = process.iter().find(|(name, _)| name == variable.as_str()).map(|(_, value)| value);
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

/// What chooses here has nothing to choose where a daemon has chosen.
fn alone(global: &Global) -> Result<(), Failure> {
    let given = [
        ("--config (or DLCONF_CONFIG)", global.config.is_some()),
        ("--schema (or DLCONF_SCHEMA)", global.schema.is_some()),
        ("--env-file", !global.env_files.is_empty()),
    ];
    let given: Vec<&str> =
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect();
    if given.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(
        format!(
            "with --socket everything comes from the daemon, but {} says what to read here",
            given.join(", ")
        ),
        "leave either out",
    ))
}

/// A word that is like the name of an environment; other text is not shown.
fn shown(text: &str) -> &str {
    let is_word = text.len() <= LONGEST_WORD
        && text.bytes().all(|byte| byte.is_ascii_alphabetic() || b"-_".contains(&byte));
    if is_word { text } else { "another one" }
}

/// Waits. Who tells us to end meanwhile is obeyed, also where we are PID 1.
fn attend<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    runtime()?.block_on(async {
        let Some(interrupts) = Interrupts::hold() else { return work.await };
        tokio::select! {
            done = work => done,
            () = interrupts.came() => match interrupts.end() {},
        }
    })
}

/// A duration as it is written in `--wait`.
fn written(duration: Duration) -> String {
    go_duration(i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX))
}
