//! `dlconf explain KEY` and `dlconf explain DLC013`.

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use super::ask::{Daemon, Question};
use super::assemble::{Setup, setup};
use super::output::Terminal;
use super::variable::declared;
use super::{Failure, Global, exit};
use crate::access::Action;
use crate::assemble::Choice;
use crate::broker::{Showing, explain};
use crate::model::finding::Code;
use crate::model::key::Key;
use crate::report::explain::render_explanation;
use crate::report::{hang, visible};
use crate::source::Use;
use crate::status::{Explanation, FindingStatus, OfferStatus};

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A variable's name, or the code of a finding
    #[arg(value_name = "KEY|CODE", value_parser = NonEmptyStringValueParser::new())]
    subject: String,
    /// Resolve here instead of asking the daemon whose socket is configured
    #[arg(long)]
    local: bool,
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
        if !self.local
            && let Some(daemon) = Daemon::if_configured(global, terminal)?
        {
            return self.ask(&daemon, terminal);
        }
        let setup = setup(global, Choice::Asked, terminal.stderr_style())?;
        let done = self.print(&setup, terminal);
        setup.close(Use::Over, terminal);
        done
    }

    fn ask(&self, daemon: &Daemon<'_>, terminal: &Terminal) -> Result<u8, Failure> {
        let path = ["v1", "explain", &self.subject];
        let explanation: Explanation =
            daemon.ask(&Question::get(&path, Action::Status))?.or_fail(exit::USAGE)?;
        let who = format!(" · told by the daemon at {}", daemon.place().display());
        Terminal::payload(&draw(&explanation, &who, terminal.stdout_style().width))?;
        Ok(exit::FINE)
    }

    fn print(&self, setup: &Setup, terminal: &Terminal) -> Result<u8, Failure> {
        let judged = setup.assemble(false, terminal);
        let explained = |key: &Key| {
            explain(&setup.schema, &setup.environment, setup.service.as_deref(), &judged, key, Showing::Plain)
        };
        let explanation = match Key::new(&self.subject).ok().and_then(|key| explained(&key)) {
            Some(explanation) => Some(explanation),
            None => explained(&declared(&setup.schema, &self.subject)?),
        };
        let width = terminal.stdout_style().width;
        Terminal::payload(
            &explanation.map_or_else(String::new, |explanation| draw(&explanation, "", width)),
        )?;
        Ok(if judged.unread { exit::UNREADABLE } else { exit::FINE })
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

/// An explanation as text, `who` at the end of its header, lines of this width at most where words allow.
fn draw(explanation: &Explanation, who: &str, width: usize) -> String {
    let Explanation { key, environment, schema_path, declared, offers, findings } = explanation;
    let mut lines = vec![Line::new("", format!("{key} · {environment} · {schema_path}{who}"))];
    lines.extend(declared.iter().map(|words| Line::new("  ", words.as_str())));
    lines.push(Line::verbatim(String::new()));
    let places: Vec<String> = offers.iter().map(place).collect();
    let column = places.iter().map(|place| place.chars().count()).max().unwrap_or(0);
    for (offer, place) in offers.iter().zip(places) {
        let head = format!("  {:<6}  {place:<column$}  ", offer.verb);
        // The other rows show a value.
        lines.push(if matches!(&*offer.verb, "old" | "loses" | "unset") {
            Line::new(head, offer.words.as_str())
        } else {
            Line::verbatim(head + &offer.words)
        });
    }
    let (ours, unread): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| finding.variable.as_ref() == Some(key));
    if !ours.is_empty() {
        lines.push(Line::verbatim(String::new()));
    }
    for FindingStatus { code, severity, message, help, .. } in ours {
        let code = code.as_deref().unwrap_or_default();
        lines.push(Line::new(format!("  {severity}[{code}]: "), message.as_str()));
        lines.extend(help.iter().map(|help| Line::new("    fix: ", help.as_str())));
    }
    for FindingStatus { place, message, .. } in unread {
        let place = place.as_ref().map_or_else(String::new, |place| format!("{place}: "));
        lines.push(Line::new("  not read: ", format!("{place}{message}")));
    }
    let mut text = String::new();
    for line in &lines {
        line.print(&mut text, width);
    }
    text
}

/// `.env:4:12 (source dotenv, revision 7, 3 minutes old)`.
fn place(offer: &OfferStatus) -> String {
    let Some(source) = &offer.source else { return offer.place.clone() };
    let mut facts = vec![format!("source {source}")];
    facts.extend(offer.revision.as_ref().map(|revision| format!("revision {revision}")));
    facts.extend(offer.age_seconds.map(|age| format!("{} old", span(Duration::from_secs(age)))));
    format!("{} ({})", offer.place, facts.join(", "))
}

/// `3 minutes`.
pub(super) fn span(age: Duration) -> String {
    let seconds = age.as_secs();
    let (number, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7_199 => (seconds / 60, "minute"),
        7_200..=172_799 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    if number == 1 { format!("1 {unit}") } else { format!("{number} {unit}s") }
}
