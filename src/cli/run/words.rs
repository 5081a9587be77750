//! What a supervisor says: one line for each happening, names only.
//!
//! Owns: the words for people, and their names and parts for machines. Invariants: no
//! value is in them; what goes on as expected is told once; a line is written in one
//! piece, since the program may write to the same place.
//! Must not know: what is done about anything.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::broker::judge::Judged;
use crate::cli::output::Terminal;
use crate::model::finding::{Finding, Severity};
use crate::model::key::Key;
use crate::model::schema::kind::go_duration;
use crate::model::validate::Delivered;
use crate::report::Style;
use crate::supervise::{Difference, Happening, Unhealthy, Witness};
use crate::telemetry::log::{Log, all, every, names, sentence};
use crate::telemetry::{Event, Level, Words};

/// How many findings a line names.
const NAMED: usize = 8;

/// The log of a supervisor.
pub(in crate::cli) struct Spoken {
    log: Log,
    /// The program, as people call it.
    program: String,
    is_verbose: bool,
    /// How findings are drawn; none for machines.
    style: Option<Style>,
    /// Where each variable's value was found, or had been found.
    places: Mutex<BTreeMap<Key, Box<str>>>,
}

impl Spoken {
    /// What is said about this command.
    pub(in crate::cli) fn of(terminal: &Terminal, command: &[OsString]) -> Self {
        let program = command.first().map(Path::new).and_then(Path::file_name);
        let program = program.map_or_else(|| "the program".to_owned(), |name| name.to_string_lossy().into());
        Self {
            log: terminal.log(),
            program,
            is_verbose: terminal.is_verbose(),
            style: terminal.drawing_style(),
            places: Mutex::default(),
        }
    }

    /// One line, with its name and parts for machines.
    pub(in crate::cli) fn say(&self, level: Level, event: &'static str, message: String, parts: Value) {
        self.log.say(level, event, message, parts);
    }

    /// The program, as people call it.
    pub(in crate::cli) fn program(&self) -> &str {
        &self.program
    }

    /// Takes note of where values are found: a file, or else a source.
    pub(in crate::cli) fn found<'d>(&self, variables: impl Iterator<Item = &'d Delivered>) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for Delivered { key, origin, .. } in variables {
            let place = origin.location.path().unwrap_or(origin.source.as_str());
            // What takes the place of a value that is gone is not where that was.
            if origin.source.as_str() == "schema" && places.contains_key(key) {
                continue;
            }
            if places.get(key).is_none_or(|known| **known != *place) {
                places.insert(key.clone(), place.into());
            }
        }
    }

    /// The errors among these as `check` draws them; none for machines.
    pub(in crate::cli) fn drawn(&self, findings: &[Finding]) -> Option<String> {
        let drawn = crate::report::text::errors(findings, self.style?);
        (!drawn.is_empty()).then_some(drawn)
    }

    /// The latest state cannot be used; `drawn`: it is shown why.
    pub(in crate::cli) fn rejected(&self, findings: &[Words], drawn: Option<&str>) {
        let why = if drawn.is_some() { String::new() } else { format!(": {}", listed(findings)) };
        self.say(
            Level::Error,
            "rejected",
            format!("the new state is invalid, {} keeps what it has{why}", self.program),
            json!({ "findings": every(findings) }),
        );
        if let Some(drawn) = drawn {
            self.log.draw(drawn);
        }
    }

    /// What is doubtful and was not before: `told`, by what it says.
    pub(in crate::cli) fn doubted(&self, judged: &Judged, told: &mut BTreeSet<String>) {
        let before = std::mem::take(told);
        for (place, warning) in warnings(judged) {
            // Its line moves when others come; what it says does not.
            if told.insert(warning.message.clone()) && !before.contains(&warning.message) {
                let help = warning.help.as_ref().map_or(String::new(), |help| format!(" (fix: {help})"));
                self.say(
                    Level::Warning,
                    "doubtful",
                    format!("{place}{}{help}", warning.message),
                    json!({ "code": warning.code.as_str(), "message": warning.message, "help": warning.help }),
                );
            }
        }
    }

    /// The latest state is as good as the one that the program has.
    pub(in crate::cli) fn valid_again(&self) {
        self.say(Level::Info, "valid-again", "the state is valid again".to_owned(), Value::Null);
    }

    /// Files changed that are read at a start only.
    pub(in crate::cli) fn to_be_read_again(&self, files: &[String]) {
        let message = format!("{} changed: restart dlconf to have that read", files.join(", "));
        self.say(Level::Warning, "restart-needed", message, json!({ "files": files }));
    }

    /// What happened to the sources, as far as it matters to who runs one program.
    pub(in crate::cli) fn of_sources(&self, event: &Event) {
        let program = &self.program;
        match event {
            Event::Rejected { findings, .. } => self.rejected(findings, None),
            Event::DeletionHeld { key, source, until_forgotten: true } => self.say(
                Level::Warning,
                "deletion-held",
                format!(
                    "source {source} deleted {key}, which is required: {program} keeps its value (fix: put it back; without it dlconf will not start again)"
                ),
                json!({ "key": key.as_str(), "source": source.as_str(), "until_forgotten": true }),
            ),
            // What was published is told when the program gets it.
            Event::Published { .. } if !self.is_verbose => {}
            other => self.log.write(other),
        }
    }

    fn changed(&self, event: &'static str, difference: &Difference, then: &str) {
        let Difference { changed, added, removed } = difference;
        self.say(
            Level::Info,
            event,
            format!("{}{}: {then}", differing(difference), self.places_of(difference)),
            json!({ "changed": all(changed), "added": all(added), "removed": all(removed) }),
        );
    }

    /// Where that was: ` in .env, .env.local`.
    fn places_of(&self, difference: &Difference) -> String {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Difference { changed, added, removed } = difference;
        let found = changed.iter().chain(added).chain(removed).filter_map(|key| places.get(key));
        let found: BTreeSet<&str> = found.map(|place| &**place).collect();
        if found.is_empty() {
            return String::new();
        }
        format!(" in {}", found.into_iter().collect::<Vec<_>>().join(", "))
    }
}

impl Witness for Spoken {
    fn tell(&self, happening: Happening) {
        use Level::{Debug, Error, Info, Warning};
        let program = &self.program;
        match happening {
            Happening::Started { pid, first } => {
                let again = if first { "" } else { " again" };
                let message = format!("{program} was started{again}, PID {pid}");
                self.say(Debug, "started", message, json!({ "pid": pid, "first": first }));
            }
            Happening::Runs { .. } | Happening::RunsNoMore => {}
            Happening::Restarting(difference) => {
                self.changed("restarting", &difference, &format!("restarting {program}"));
            }
            Happening::Reloading(difference) => {
                self.changed("reloading", &difference, &format!("telling {program}"));
            }
            Happening::GoesOn(difference) => {
                self.changed("goes-on", &difference, &format!("{program} goes on with what it has"));
            }
            Happening::ChangedBack => self.say(
                Info,
                "changed-back",
                format!("everything is again as {program} has it: nothing is done"),
                Value::Null,
            ),
            Happening::NotTaken { why } => self.say(
                Error,
                "not-taken",
                format!("{program} goes on with what it has, the new values cannot be handed to it: {why}"),
                json!({ "why": why }),
            ),
            Happening::ReloadFailed { why } => self.say(
                Error,
                "reload-failed",
                format!(
                    "{program} could not be told of new values and goes on with the old ones: {why} (fix: see that what --on-change names works; restart dlconf, or change a value, and it is told again)"
                ),
                json!({ "why": why }),
            ),
            Happening::Died { code, again_in } => self.say(
                Warning,
                "died",
                format!("{program} ended {} and is started again in {}", with(code), shortly(again_in)),
                json!({ "code": code, "again_in_seconds": again_in.as_secs_f64() }),
            ),
            Happening::EndedBySignal { code, by_ours } => {
                let fix = "that is what --on-change sends; fix: --on-change restart";
                let why = if by_ours { format!(" ({fix})") } else { String::new() };
                let message = format!("{program} ended {}{why}", with(code));
                self.say(Warning, "ended-by-signal", message, json!({ "code": code }));
            }
            Happening::GivenUp { code, restarts } => self.say(
                Error,
                "given-up",
                format!(
                    "{program} ended {}, after it was started again {restarts} times in a row: it is given up (--max-restarts)",
                    with(code)
                ),
                json!({ "code": code, "restarts": restarts }),
            ),
            Happening::NotStarted { why, again_in } => {
                let again = again_in.map(|time| format!("; tried again in {}", shortly(time)));
                let seconds = again_in.map(|time| time.as_secs_f64());
                let message = format!("{why}{}", again.unwrap_or_default());
                self.say(Error, "not-started", message, json!({ "why": why, "again_in_seconds": seconds }));
            }
            Happening::PutBack { from, why, saw } => {
                let Difference { changed, added, removed } = &from;
                self.say(
                    Error,
                    "put-back",
                    format!(
                        "{program} {}{}: it is put back on the values that it had before; {}{}, and is not tried again until it changes once more (fix: correct it at its source)",
                        reason(why),
                        seen(saw.as_deref()),
                        differing(&from),
                        self.places_of(&from)
                    ),
                    json!({
                        "changed": all(changed), "added": all(added), "removed": all(removed), "why": reason(why), "saw": saw,
                    }),
                );
            }
            Happening::Healthy { put_back: true } => self.say(
                Warning,
                "healthy",
                format!("{program} works again, with the values that it had before"),
                json!({ "put_back": true }),
            ),
            Happening::Healthy { put_back: false } => {
                self.say(Debug, "healthy", format!("{program} works"), json!({ "put_back": false }));
            }
            Happening::NotHealthy { put_back, waited, saw } => {
                let more = if put_back { ", not even with the values that it had before" } else { "" };
                self.say(
                    Error,
                    "not-healthy",
                    format!(
                        "{program} does not show that it works{}{more}; {} were waited for, and it goes on (fix: see what {program} says, and whether --healthy asks the right thing)",
                        seen(saw.as_deref()),
                        shortly(waited)
                    ),
                    json!({ "put_back": put_back, "waited_seconds": waited.as_secs_f64(), "saw": saw }),
                );
            }
            Happening::HoldsUp => self.say(
                Error,
                "holds-up",
                format!(
                    "{program} was restarted and does not work, so no other replica is restarted before it does (fix: mend what keeps it from working, or end this replica)"
                ),
                Value::Null,
            ),
            Happening::Killed { after } => self.say(
                Warning,
                "killed",
                format!(
                    "{program}, or something that it started, did not end within {} and is killed (fix: have it end sooner, or give it a longer --kill-timeout)",
                    shortly(after)
                ),
                json!({ "after_seconds": after.as_secs_f64() }),
            ),
            Happening::LeftBehind => self.say(
                Error,
                "left-behind",
                format!("something that {program} started cannot even be killed, and is left behind"),
                Value::Null,
            ),
        }
    }
}

/// The warnings among what was found, and the place of each: `.env:12:1: `.
pub(in crate::cli) fn warnings(judged: &Judged) -> impl Iterator<Item = (String, &Finding)> {
    let warnings = judged.verdict.findings.iter().filter(|one| one.severity == Severity::Warning);
    warnings.map(|one| {
        let place = one.origin.as_ref().map_or(String::new(), |origin| format!("{}: ", origin.location));
        (place, one)
    })
}

/// The names, in words: `A, B changed, C added`.
fn differing(difference: &Difference) -> String {
    let Difference { changed, added, removed } = difference;
    let kinds = [(changed, "changed"), (added, "added"), (removed, "removed")];
    let parts: Vec<String> = kinds
        .into_iter()
        .filter(|(keys, _)| !keys.is_empty())
        .map(|(keys, how)| format!("{} {how}", names(keys)))
        .collect();
    if parts.is_empty() { "what the schema speaks of changed".to_owned() } else { parts.join(", ") }
}

fn listed(findings: &[Words]) -> String {
    let mut parts: Vec<String> = findings.iter().take(NAMED).map(sentence).collect();
    if findings.len() > NAMED {
        parts.push(format!("and {} more (`dlconf check` shows them)", findings.len() - NAMED));
    }
    parts.join("; ")
}

fn reason(why: Unhealthy) -> String {
    match why {
        Unhealthy::Ended(code) => format!("ended {} with new values", with(code)),
        Unhealthy::InTime(time) => {
            format!("did not show within {} that it works with new values", shortly(time))
        }
        Unhealthy::NotStarted => "could not be started with new values".to_owned(),
    }
}

/// What the last look at a program saw.
fn seen(saw: Option<&str>) -> String {
    saw.map_or(String::new(), |saw| format!(" ({saw})"))
}

/// An exit code, in words.
fn with(code: u8) -> String {
    match code {
        129..=192 => format!("by signal {}", code - 128),
        code => format!("with {code}"),
    }
}

/// A time as people write it, to the tenth of a second.
fn shortly(time: Duration) -> String {
    let tenths = i128::try_from(time.as_millis().div_ceil(100)).unwrap_or(i128::MAX / 100_000_000);
    go_duration(tenths * 100_000_000)
}
