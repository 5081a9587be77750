//! `dlconf rotate KEY`: asks the daemon to change a secret, and says how far that is.
//!
//! Invariants: a value that was made is never seen here; one that is supplied comes from
//! stdin or the terminal, and goes to the daemon alone; who would be logged out is named
//! before a leaked key is retired.
//! Must not know: how a secret is rotated.

use std::io::{IsTerminal as _, Read as _};
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use super::ask::{Answer, Daemon, Missed, Question, runtime};
use super::output::Terminal;
use super::{Failure, Global, exit, prompt};
use crate::access::Action;
use crate::model::schema::kind::parse_go_duration;
use crate::rotation::order::Ordered;
use crate::serve::problem::Problem;
use crate::status::{RotationStatus, Status};

/// The longest value that is supplied: a daemon takes 64 KiB, in which each byte may need
/// six.
const LONGEST: usize = 8 * 1024;

/// How long a daemon may take to write: a source that answers slowly is asked more than
/// once, and a value may be tried before.
const PATIENCE: Duration = Duration::from_secs(80);

/// How often it is looked how far a rotation is.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of the command")]
pub(super) struct Rotate {
    /// The variable
    #[arg(value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    key: String,
    /// Take the new value from stdin; on a terminal it is not shown
    #[arg(long, conflicts_with = "undo")]
    from_stdin: bool,
    /// Stay until every consumer uses the new key
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// The longest to stay
    #[arg(long, requires = "wait", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    timeout: Duration,
    /// Give a rotation up that waits, or put the key before back
    #[arg(long, conflicts_with = "compromised")]
    undo: bool,
    /// The key leaked: retire it at once, and log out whoever depends on it
    #[arg(long)]
    compromised: bool,
    /// Do not ask whether --compromised is meant
    #[arg(long, requires = "compromised")]
    yes: bool,
    /// Accept that who verifies with a single key logs people out
    #[arg(long, conflicts_with_all = ["undo", "compromised"])]
    accept_logout: bool,
    /// Write an object that another controller owns
    #[arg(long)]
    take_over: bool,
    /// Why, kept beside the key for whoever asks later
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    reason: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// How the answer is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: on stderr, and the plan of a dry run on stdout
    #[default]
    Text,
    /// The daemon's own document
    Json,
}

fn duration(text: &str) -> Result<Duration, String> {
    let nanos = parse_go_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| "write a duration as Go does: 10m".to_owned())
}

/// What the daemon is told.
#[derive(Serialize)]
struct Asked<'a> {
    wish: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    accept_logout: bool,
    take_over: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm: Option<&'a str>,
    dry_run: bool,
}

impl Rotate {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let daemon = Daemon::configured(global, terminal)?;
        let value = self.from_stdin.then(|| supplied(&self.key)).transpose()?;
        let value = value.as_ref().map(|value| value.as_str());
        // Where a new value is given there are no tokens: nobody is logged out.
        let is_confirmed = self.yes || self.dry_run || !self.compromised || value.is_some();
        if !is_confirmed {
            self.confirm(&daemon, terminal)?;
        }
        let ordered = match self.ask(&daemon, value, true, self.dry_run)? {
            Answer::Given(ordered) => ordered,
            Answer::Refused(problem) => return Err(refusal(problem, &self.key)),
        };
        match (self.format, ordered.dry_run) {
            (Format::Json, _) => Terminal::payload(&crate::report::to_json(&ordered))?,
            (Format::Text, true) => Terminal::payload(&plan(&ordered))?,
            (Format::Text, false) => {
                terminal.note(&format!("{}: {}, in {}", ordered.key, ordered.act, ordered.place));
                for sentence in &ordered.plan {
                    terminal.note(sentence);
                }
            }
        }
        if self.wait { self.stay(&daemon, &ordered, terminal) } else { Ok(exit::FINE) }
    }

    fn ask(
        &self,
        daemon: &Daemon<'_>,
        value: Option<&str>,
        confirmed: bool,
        dry_run: bool,
    ) -> Result<Answer<Ordered>, Failure> {
        let asked = Asked {
            wish: match (self.undo, self.compromised) {
                (true, _) => "undo",
                (_, true) => "compromised",
                _ => "rotate",
            },
            value,
            reason: self.reason.as_deref(),
            accept_logout: self.accept_logout,
            take_over: self.take_over,
            confirm: (confirmed && self.compromised).then_some(&self.key),
            dry_run,
        };
        // As long as it can become: what grows is copied, and copied again.
        let mut said = Vec::with_capacity(value.map_or(0, str::len) * 6 + 8 * 1024);
        let written =
            serde_json::to_writer(&mut said, &asked).ok().and_then(|()| String::from_utf8(said).ok());
        let said =
            written.ok_or_else(|| Failure::new(exit::UNREADABLE, "the wish cannot be written", None))?;
        let path = ["v1", "rotate", &self.key];
        daemon.ask(&Question::order(&path, Action::Rotate, said, PATIENCE))
    }

    /// Shows whom it logs out, and asks for the variable's name.
    fn confirm(&self, daemon: &Daemon<'_>, terminal: &Terminal) -> Result<(), Failure> {
        match self.ask(daemon, None, false, true)? {
            // It logs out nobody.
            Answer::Given(_) => return Ok(()),
            Answer::Refused(problem) if &*problem.code == "needs-confirmation" => {
                terminal.warn(&problem.detail);
                if !prompt::is_there() {
                    let message =
                        format!("{} stays as it is: there is no terminal to confirm that on", self.key);
                    let help = "if it is meant, confirm it with --yes".to_owned();
                    return Err(Failure::new(exit::REFUSED, message, Some(help)));
                }
            }
            Answer::Refused(problem) => return Err(refusal(problem, &self.key)),
        }
        if prompt::repeats(&format!("Type {} to go on: ", self.key), &self.key)? {
            return Ok(());
        }
        Err(Failure::new(exit::REFUSED, format!("{} stays as it is: its name was not typed", self.key), None))
    }

    /// Stays until every consumer uses the new key.
    fn stay(&self, daemon: &Daemon<'_>, ordered: &Ordered, terminal: &Terminal) -> Result<u8, Failure> {
        let followed = async {
            let ends = Instant::now() + self.timeout;
            let (mut told, mut last) = (String::new(), None);
            loop {
                match look(daemon, &ordered.key).await {
                    Ok(Some(rotation)) if rotation.number < ordered.number => {}
                    Ok(Some(rotation)) => {
                        let (words, is_done) = stage(&rotation);
                        if words != told {
                            terminal.note(&format!("{}: {words}", ordered.key));
                            told = words;
                        }
                        if is_done {
                            return Ok(exit::FINE);
                        }
                        last = Some(rotation);
                    }
                    Ok(None) => {
                        let message = format!("the daemon rotates {} no more", ordered.key);
                        let help = "see its settings, and `dlconf status`".to_owned();
                        return Err(Failure::new(exit::REFUSED, message, Some(help)));
                    }
                    // One that is started anew goes on where it was.
                    Err(Missed::Away(failure)) if Instant::now() >= ends => return Err(failure),
                    Err(Missed::Away(_)) => {}
                    Err(missed) => return Err(missed.into_failure()),
                }
                if Instant::now() >= ends {
                    return Err(late(&ordered.key, self.timeout, last.as_ref()));
                }
                sleep(LOOK.min(ends.saturating_duration_since(Instant::now()))).await;
            }
        };
        runtime()?.block_on(followed)
    }
}

/// How far the rotation is; none where the daemon does not rotate this.
async fn look(daemon: &Daemon<'_>, key: &str) -> Result<Option<RotationStatus>, Missed> {
    let path = ["v1", "status"];
    match daemon.ask_now::<Status>(&Question::get(&path, Action::Status)).await? {
        Answer::Given(status) => Ok(status.rotations.into_iter().find(|rotation| rotation.key == key)),
        Answer::Refused(problem) => {
            let help = problem.help.map(Into::into);
            Err(Missed::Failed(Failure::new(exit::UNREADABLE, problem.detail, help)))
        }
    }
}

/// How far a rotation is, in words that stay as they are while nothing happens, and
/// whether every consumer uses the new key.
fn stage(rotation: &RotationStatus) -> (String, bool) {
    let waits = match rotation.waiting.as_slice() {
        [] => String::new(),
        clauses => format!("; waits: {}", clauses.join("; ")),
    };
    let trouble =
        rotation.trouble.as_ref().map_or_else(String::new, |trouble| format!("; {}", trouble.message));
    match (rotation.phase.as_str(), rotation.retires_seconds) {
        ("steady", _) => ("done: the new key is the only one".to_owned(), true),
        // Nobody acknowledges what somebody else made.
        ("activated", Some(_)) if rotation.strategy == "supplied" => {
            ("done: it is written, and the value before is kept for --undo".to_owned(), true)
        }
        ("activated", Some(_)) => {
            ("done: every consumer uses the new key, and the one before is retired later".to_owned(), true)
        }
        (phase, _) => (format!("{phase}{waits}{trouble}"), false),
    }
}

/// Why it is not over in time.
fn late(key: &str, timeout: Duration, last: Option<&RotationStatus>) -> Failure {
    let after = format!("after {} s", timeout.as_secs());
    let Some(rotation) = last else {
        return Failure::new(
            exit::WAITS,
            format!("nothing was heard of the rotation of {key} {after}"),
            None,
        );
    };
    if let Some(trouble) = &rotation.trouble {
        let message = format!("the rotation of {key} does not go on: {}", trouble.message);
        return Failure::new(exit::FINDINGS, message, trouble.help.clone());
    }
    let whom = match rotation.waiting.as_slice() {
        [] => format!("it is {}", rotation.phase),
        clauses => clauses.join("; "),
    };
    let help = "it goes on by itself, and nothing that is in use is taken away: `dlconf status` shows how far it is; \
                `dlconf rotate KEY --undo` gives it up"
        .replace("KEY", key);
    Failure::new(exit::WAITS, format!("the rotation of {key} waits {after}: {whom}"), Some(help))
}

/// A dry run, for people.
fn plan(ordered: &Ordered) -> String {
    let mut text = format!(
        "{} ({}) would be {}, in {}; then:\n",
        ordered.key, ordered.strategy, ordered.act, ordered.place
    );
    for sentence in &ordered.plan {
        text.push_str(&format!("  - {}\n", crate::report::visible(sentence)));
    }
    text
}

/// The daemon's refusal, by what it means to who asks.
fn refusal(problem: Problem, key: &str) -> Failure {
    let help = match &*problem.code {
        "value-needed" => Some(format!(
            "somebody else gives it: `dlconf rotate {key} --from-stdin < FILE`, or without `< FILE` at a terminal"
        )),
        _ => problem.help.map(Into::into),
    };
    let code = match &*problem.code {
        "unknown-variable" | "malformed" | "not-rotating" | "value-needed" | "value-given" => exit::USAGE,
        "unavailable" | "not-ready" | "not-recorded" => exit::UNREADABLE,
        "clock" | "conflict" | "invalid" | "nothing-to-undo" | "probe" | "random" | "same" | "unusable" => {
            exit::FINDINGS
        }
        _ => exit::REFUSED,
    };
    Failure::new(code, problem.detail, help)
}

/// The value that somebody gives: without the line's end behind it.
fn supplied(key: &str) -> Result<Zeroizing<String>, Failure> {
    let mut stdin = std::io::stdin();
    let value = if stdin.is_terminal() {
        prompt::value(key)?
    } else {
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 2));
        let mut limited = stdin.by_ref().take(LONGEST as u64 + 2);
        limited.read_to_end(&mut bytes).map_err(|error| {
            Failure::new(exit::UNREADABLE, format!("stdin cannot be read: {error}"), None)
        })?;
        let text = std::str::from_utf8(&bytes).map_err(|_| unfit("is not UTF-8"))?;
        let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        Zeroizing::new(line.unwrap_or(text).to_owned())
    };
    match () {
        () if value.is_empty() => Err(unfit("is empty")),
        () if value.len() > LONGEST => Err(unfit(&format!("is longer than {LONGEST} bytes"))),
        () if value.contains('\0') => Err(unfit("holds a NUL byte, which no environment can carry")),
        () => Ok(value),
    }
}

fn unfit(clause: &str) -> Failure {
    Failure::usage(format!("the value on stdin {clause}"), "give the value alone, as text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(phase: &str, retires_seconds: Option<u64>, waiting: &[&str]) -> RotationStatus {
        RotationStatus {
            key: "JWT_SECRET".into(),
            phase: phase.into(),
            retires_seconds,
            waiting: waiting.iter().map(|clause| (*clause).to_owned()).collect(),
            ..RotationStatus::default()
        }
    }

    #[test]
    fn it_is_done_when_every_consumer_uses_the_new_key() {
        for (phase, retires, waiting, words, is_done) in [
            ("staged", None, &["cc: a lacks it"][..], "staged; waits: cc: a lacks it", false),
            ("staged", None, &[], "staged", false),
            ("activated", None, &["cc: b lacks it"], "activated; waits: cc: b lacks it", false),
            ("activated", Some(3600), &[], "done: every consumer", true),
            ("steady", None, &[], "done: the new key", true),
        ] {
            let (told, done) = stage(&rotation(phase, retires, waiting));
            assert!(told.starts_with(words) && done == is_done, "{told}");
        }
        let supplied = RotationStatus { strategy: "supplied".into(), ..rotation("activated", Some(9), &[]) };
        let (told, done) = stage(&supplied);
        assert!(done && !told.contains("consumer"), "{told}");
    }

    #[test]
    fn who_is_waited_for_is_named_with_5() {
        let waits = rotation("staged", None, &["cc: 2 of 3 instances have acknowledged it"]);
        let failure = late("JWT_SECRET", Duration::from_mins(10), Some(&waits));
        assert_eq!(failure.exit, 5);
        assert!(failure.faults[0].message.contains("after 600 s: cc: 2 of 3 instances"));
        let trouble = crate::status::FindingStatus {
            code: None,
            severity: "error".into(),
            variable: None,
            message: "it refuses".into(),
            place: None,
            help: Some("grant it".into()),
        };
        let stuck = RotationStatus { trouble: Some(trouble), ..waits };
        let failure = late("JWT_SECRET", Duration::from_secs(1), Some(&stuck));
        assert_eq!((failure.exit, failure.faults[0].help.as_deref()), (1, Some("grant it")));
    }

    #[test]
    fn each_refusal_has_its_exit_code() {
        let of = |code: &str| {
            let problem = serde_json::json!({
                "type": "about:blank", "title": "Conflict", "status": 409, "code": code, "detail": "no", "help": "x",
            });
            refusal(serde_json::from_value(problem).unwrap(), "K").exit
        };
        for (code, expected) in [
            ("unknown-variable", 2),
            ("value-needed", 2),
            ("unavailable", 3),
            ("off", 4),
            ("single", 4),
            ("under-way", 4),
            ("not-leader", 4),
            ("shadowed", 4),
            ("conflict", 1),
            ("probe", 1),
        ] {
            assert_eq!(of(code), expected, "{code}");
        }
    }
}
