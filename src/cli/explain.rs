//! `dlconf explain KEY` and `dlconf explain DLC013`.

use std::time::{Duration, SystemTime};

use clap::Args;

use super::assemble::{Setup, setup};
use super::get::declared;
use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::assemble::Choice;
use crate::broker::judge::Judged;
use crate::model::discretion::Discretion;
use crate::model::finding::{Code, Severity};
use crate::model::key::Key;
use crate::model::origin::Origin;
use crate::model::resolve::{Candidates, Entry, Loss};
use crate::model::schema::{OnInvalid, Presence, Strategy, Var};
use crate::report::explain::render_explanation;
use crate::report::{hang, visible};
use crate::source::Use;

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A variable's name, or the code of a finding
    #[arg(value_name = "KEY|CODE")]
    subject: String,
}

impl Explain {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        if let Ok(code) = self.subject.parse::<Code>() {
            Terminal::payload(&render_explanation(code, terminal.stdout_style()))?;
            return Ok(exit::FINE);
        }
        if self.subject.to_ascii_uppercase().starts_with("DLC0") {
            let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
            return Err(Failure::usage(
                "there is no such finding",
                format!("codes are: {}", codes.join(", ")),
            ));
        }
        let setup = setup(global, Choice::Asked, terminal.stderr_style())?;
        let done = self.print(&setup, terminal);
        setup.close(Use::Over, terminal);
        done
    }

    fn print(&self, setup: &Setup, terminal: &Terminal) -> Result<u8, Failure> {
        let assembled = setup.assemble(false, terminal);
        let known = Key::new(&self.subject).ok().filter(|key| {
            setup.schema.replacement(key).is_some()
                || setup.schema.retired(key).is_some()
                || assembled.resolution.variables.contains_key(key)
        });
        let key = match known {
            Some(key) => key,
            None => declared(&setup.schema, &self.subject)?,
        };
        let width = terminal.stdout_style().width;
        Terminal::payload(&explain(setup, &assembled, &key, width))?;
        Ok(if assembled.unread { exit::UNREADABLE } else { exit::FINE })
    }
}

/// A line to print: its beginning, and the words that hang under each other
/// behind it.
struct Line {
    head: String,
    words: String,
}

impl Line {
    fn new(head: impl Into<String>, words: impl Into<String>) -> Self {
        Self { head: head.into(), words: words.into() }
    }

    /// A line that is printed as it is, however long: a value must not change.
    fn verbatim(text: String) -> Self {
        Self { head: text, words: String::new() }
    }

    fn print(&self, out: &mut String, width: usize) {
        let (head, words) = (visible(&self.head), visible(&self.words));
        if words.is_empty() {
            out.push_str(head.trim_end());
            out.push('\n');
        } else {
            hang(out, (&head, head.chars().count()), &words, width, str::to_owned);
        }
    }
}

fn explain(setup: &Setup, assembled: &Judged, key: &Key, width: usize) -> String {
    let schema = &setup.schema;
    let mut lines = vec![Line::new("", format!("{key} · {} · {}", setup.environment, schema.path))];
    let var = schema.var(key);
    match var {
        Some(var) => lines.extend(declaration(var)),
        None => {
            let words = if let Some(new) = schema.replacement(key) {
                format!("an old name: {} reads {}, and {key} is never delivered", schema.program, new.key)
            } else if let Some(retired) = schema.retired(key) {
                format!("retired: {}; it is never delivered", retired.reason)
            } else {
                "not declared, so it is never delivered".into()
            };
            lines.push(Line::new("  ", words));
        }
    }
    if let (Some(var), Some(service)) = (var, setup.service.as_deref())
        && !var.read_by(Some(service))
    {
        lines.push(Line::new("  ", format!("service {service} does not read it, so it is not delivered")));
    }
    lines.push(Line::verbatim(String::new()));
    lines.extend(provenance(setup, assembled, key, var));
    let findings: Vec<_> =
        assembled.verdict.findings.iter().filter(|f| f.variable.as_ref() == Some(key)).collect();
    if !findings.is_empty() {
        lines.push(Line::verbatim(String::new()));
    }
    for finding in findings {
        let head = format!("  {}[{}]: ", finding.severity.as_str(), finding.code);
        lines.push(Line::new(head, finding.message.as_str()));
        lines.extend(finding.help.iter().map(|help| Line::new("    fix: ", help.as_str())));
    }
    for unread in assembled.verdict.findings.iter().filter(|f| {
        matches!(f.code, Code::SourceUnreachable | Code::NotPermitted) && f.severity == Severity::Error
    }) {
        let place = unread.origin.as_ref().map_or(String::new(), |o| format!("{}: ", o.location));
        lines.push(Line::new("  not read: ", format!("{place}{}", unread.message)));
    }
    let mut text = String::new();
    for line in &lines {
        line.print(&mut text, width);
    }
    text
}

/// What the schema says.
fn declaration(var: &Var) -> Vec<Line> {
    let mut facts = vec![var.kind.name().to_owned()];
    if var.secret {
        facts.push("secret".into());
    }
    facts.push(match &var.presence {
        Presence::Always => "required".into(),
        Presence::Never => "optional".into(),
        Presence::In(names) => format!("required in {}", names.join(", ")),
    });
    if !var.services.is_empty() {
        facts.push(format!("read by {}", var.services.join(", ")));
    }
    if var.kind.is_parsed() && var.on_invalid == OnInvalid::Default {
        facts.push("an invalid value is silently ignored".into());
    }
    if let Some(rotation) = &var.rotation {
        facts.push(match rotation.strategy {
            Strategy::Overlap => "rotates with overlap".into(),
            Strategy::Ring => "rotates as a ring".into(),
            Strategy::Supplied => "rotates with a value you supply".into(),
            Strategy::Dynamic => "leased from Vault".into(),
            Strategy::StaticRole => "rotated by Vault".into(),
            Strategy::Manual => {
                format!(
                    "never rotated by a program: {}",
                    rotation.reason.as_deref().unwrap_or("see the schema")
                )
            }
        });
    }
    let mut lines = Vec::new();
    lines.extend(var.description.as_ref().map(|text| Line::new("  ", &**text)));
    lines.push(Line::new("  ", facts.join(" · ")));
    lines
}

/// Every layer that offered a value, who won, and why.
fn provenance(setup: &Setup, assembled: &Judged, key: &Key, var: Option<&Var>) -> Vec<Line> {
    let mut rows: Vec<(&str, String, String)> = Vec::new();
    let delivered = var.is_some_and(|var| var.read_by(setup.service.as_deref()));
    let candidates = assembled.resolution.variables.get(key);
    let discretion = Discretion::new(&setup.schema, &assembled.resolution);
    if let Some(entry) = candidates.and_then(|c| c.winner.as_ref()) {
        let verb = if delivered { "wins" } else { "seen" };
        rows.push((verb, place(&entry.origin), shown(&discretion, entry, var)));
    }
    for old in var.map(|var| var.replaces.as_slice()).unwrap_or_default() {
        if let Some((origin, _)) = assembled.resolution.variables.get(old).and_then(Candidates::highest) {
            rows.push(("old", place(origin), format!("{old}: an old name, never delivered")));
        }
    }
    for loser in candidates.map(|c| c.losers.as_slice()).unwrap_or_default() {
        let why = match loser.why {
            Loss::Empty => "empty, which counts as unset and shadows nothing",
            Loss::Shadowed => "shadowed by a higher place, with another value",
            Loss::ShadowedBySame => "shadowed by a higher place, with the same value",
        };
        rows.push(("loses", place(&loser.origin), why.into()));
    }
    let set = candidates.is_some_and(|c| c.winner.is_some());
    if let Some(var) = var {
        let verb = if set { "unused" } else { "wins" };
        if *key == setup.schema.environments.variable {
            rows.push((verb, "chosen environment".into(), setup.environment.clone()));
        } else if let Some(default) = &var.default {
            rows.push((verb, "schema default".into(), default.to_string()));
        } else if !set {
            let fallback = var.fallback.as_ref().map_or_else(
                || "nothing is delivered".to_owned(),
                |fallback| format!("nothing is delivered; {} uses {fallback}", setup.schema.program),
            );
            rows.push(("unset", looked_in(assembled), fallback));
        }
    }
    let width = rows.iter().map(|(_, place, _)| place.chars().count()).max().unwrap_or(0);
    let line = |(verb, place, what): (&str, String, String)| {
        let head = format!("  {verb:<6}  {place:<width$}  ");
        // The other rows show a value.
        if matches!(verb, "old" | "loses" | "unset") {
            Line::new(head, what)
        } else {
            Line::verbatim(head + &what)
        }
    };
    rows.into_iter().map(line).collect()
}

fn looked_in(assembled: &Judged) -> String {
    let labels: Vec<&str> = assembled.resolution.places.iter().map(|(place, _)| &*place.label).collect();
    format!("looked in: {}", labels.join(", "))
}

/// `.env:4:12 (dotenv, revision 7, 3 minutes old)`.
fn place(origin: &Origin) -> String {
    let mut facts = vec![format!("source {}", origin.source)];
    facts.extend(origin.revision.as_ref().map(|revision| format!("revision {}", revision.0)));
    let age = origin.modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
    facts.extend(age.map(|age| format!("{} old", span(age))));
    format!("{} ({})", origin.location, facts.join(", "))
}

fn span(age: Duration) -> String {
    let seconds = age.as_secs();
    let (number, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
}

/// A plain value; of a secret only that it is one.
fn shown(discretion: &Discretion<'_>, entry: &Entry, var: Option<&Var>) -> String {
    match var {
        Some(var) if var.secret => "a secret".into(),
        Some(_) if !discretion.hides(entry) => entry.value.expose().to_owned(),
        _ => "not shown".into(),
    }
}
