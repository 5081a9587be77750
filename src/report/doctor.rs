//! What `doctor` found, for people and for machines.
//!
//! Invariants: as of all reports (see the module above).

use annotate_snippets::renderer::{AnsiColor, Effects, Style as Paint};
use serde::Serialize;

use super::{Style, hang, plural, to_json, visible};
use crate::protections::{Force, Name, Protection};
use crate::source::{Observation, State};

pub(super) const GOOD: Paint = AnsiColor::Green.on_default();
pub(super) const DOUBTFUL: Paint = AnsiColor::Yellow.on_default().effects(Effects::BOLD);
pub(super) const BAD: Paint = AnsiColor::BrightRed.on_default().effects(Effects::BOLD);
pub(super) const STRONG: Paint = Paint::new().effects(Effects::BOLD);

/// The widest word for a state.
const STATE: usize = "unreadable".len();
/// A name wider than this has its words on the next line.
const WIDEST: usize = 40;

/// All that one run of `doctor` has to say.
#[derive(Debug)]
pub struct Examination {
    /// The protections of this process.
    pub protections: Vec<Protection>,
    /// Those that the caller cannot do without.
    pub required: Vec<Name>,
    /// What was chosen before a source was asked.
    pub settings: Vec<Observation>,
    /// The sources, lowest first.
    pub sources: Vec<(String, Vec<Observation>)>,
}

impl Examination {
    /// What is required and not in force in full.
    pub fn missing(&self) -> Vec<Name> {
        let lacking = self.protections.iter().filter(|p| p.force != Force::InForce);
        lacking.map(|p| p.name).filter(|name| self.required.contains(name)).collect()
    }

    /// How many things are in a state, protections that dlconf sees to included.
    pub fn count(&self, state: State) -> usize {
        let sources = self.sources.iter().flat_map(|(_, observations)| observations);
        let observed = self.settings.iter().chain(sources).filter(|o| o.state == state).count();
        let own = self.protections.iter().filter(|p| p.name.is_own());
        let forces = own.map(|p| match p.force {
            Force::InForce => State::Fine,
            Force::Degraded => State::Degraded,
            Force::Off => State::Wrong,
        });
        observed + forces.filter(|other| *other == state).count()
    }

    /// Whether nothing is wrong.
    pub fn ok(&self) -> bool {
        self.count(State::Wrong) + self.count(State::Unreadable) == 0 && self.missing().is_empty()
    }
}

/// A line: how it is, what, why, and what to do.
struct Row<'a> {
    state: (&'static str, Paint),
    what: &'a str,
    detail: &'a str,
    help: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(observation: &'a Observation) -> Self {
        let Observation { what, state, detail, help } = observation;
        let paint = match state {
            State::Fine => GOOD,
            State::Degraded => DOUBTFUL,
            State::Wrong | State::Unreadable => BAD,
        };
        Self { state: (state.as_str(), paint), what, detail, help: help.as_deref() }
    }

    fn of_protection(protection: &'a Protection, required: bool) -> Self {
        let bad = if required || protection.name.is_own() { BAD } else { DOUBTFUL };
        let paint = match protection.force {
            Force::InForce => GOOD,
            Force::Degraded if required => BAD,
            Force::Degraded => DOUBTFUL,
            Force::Off => bad,
        };
        let what = protection.name.as_str();
        let state = (word(protection.force), paint);
        Self { state, what, detail: &protection.detail, help: protection.help }
    }
}

fn word(force: Force) -> &'static str {
    match force {
        Force::InForce => "in force",
        Force::Degraded => "degraded",
        Force::Off => "off",
    }
}

/// For people, ending with a newline.
pub fn text(examination: &Examination, style: Style) -> String {
    let mut out = String::new();
    let required = |p: &Protection| examination.required.contains(&p.name);
    let rows: Vec<Row<'_>> =
        examination.protections.iter().map(|p| Row::of_protection(p, required(p))).collect();
    section(&mut out, "protections", &rows, style);
    section(&mut out, "settings", &examination.settings.iter().map(Row::of).collect::<Vec<_>>(), style);
    for (name, observations) in &examination.sources {
        let rows: Vec<Row<'_>> = observations.iter().map(Row::of).collect();
        section(&mut out, &format!("source {name}"), &rows, style);
    }
    let counted =
        [State::Unreadable, State::Wrong, State::Degraded].map(|s| (examination.count(s), s.as_str()));
    let some = counted.iter().filter(|(count, _)| *count > 0);
    let mut verdict: Vec<String> = some.map(|(count, word)| format!("{count} {word}")).collect();
    if verdict.is_empty() {
        verdict.push(format!("{}: all fine", plural(examination.sources.len(), "source")));
    }
    let missing: Vec<&str> = examination.missing().into_iter().map(Name::as_str).collect();
    if !missing.is_empty() {
        verdict.push(format!("required but not in force: {}", missing.join(", ")));
    }
    out.push_str(&format!("{}\n", verdict.join(", ")));
    out
}

fn section(out: &mut String, title: &str, rows: &[Row<'_>], style: Style) {
    let paint = |paint: Paint, text: &str| {
        if style.color {
            format!("{}{text}{}", paint.render(), paint.render_reset())
        } else {
            text.to_owned()
        }
    };
    out.push_str(&format!("{}\n", paint(STRONG, &visible(title))));
    let names: Vec<_> = rows.iter().map(|row| visible(row.what)).collect();
    let widths = names.iter().map(|name| name.chars().count()).filter(|width| *width <= WIDEST);
    let width = widths.max().unwrap_or(0);
    let columns = 2 + STATE + 2 + width + 2;
    for (row, name) in rows.iter().zip(&names) {
        let (word, color) = row.state;
        let state = format!("{}{}", paint(color, word), " ".repeat(STATE - word.len()));
        let indent = " ".repeat(columns);
        let head = format!("  {state}  {name:width$}  ");
        let head = if name.chars().count() > width { format!("{}\n{indent}", head.trim_end()) } else { head };
        let lines = |out: &mut String, head: &str, columns, text: &str| {
            hang(out, (head, columns), &visible(text), style.width, str::to_owned);
        };
        lines(out, &head, columns, row.detail);
        if let Some(help) = row.help {
            lines(out, &format!("{indent}{} ", paint(STRONG, "fix:")), columns + "fix: ".len(), help);
        }
    }
    out.push('\n');
}

/// One line of JSON.
pub fn json(examination: &Examination) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        ok: bool,
        protections: Vec<ProtectionJson<'a>>,
        settings: Vec<ObservationJson<'a>>,
        sources: Vec<SourceJson<'a>>,
    }
    #[derive(Serialize)]
    struct ProtectionJson<'a> {
        name: &'static str,
        state: &'static str,
        required: bool,
        detail: &'a str,
        help: Option<&'static str>,
    }
    #[derive(Serialize)]
    struct SourceJson<'a> {
        name: &'a str,
        observations: Vec<ObservationJson<'a>>,
    }
    #[derive(Serialize)]
    struct ObservationJson<'a> {
        what: &'a str,
        state: &'static str,
        detail: &'a str,
        help: Option<&'a str>,
    }
    fn observed(observations: &[Observation]) -> Vec<ObservationJson<'_>> {
        observations
            .iter()
            .map(|o| ObservationJson {
                what: &o.what,
                state: o.state.as_str(),
                detail: &o.detail,
                help: o.help.as_deref(),
            })
            .collect()
    }
    let protections = examination.protections.iter().map(|p| ProtectionJson {
        name: p.name.as_str(),
        state: word(p.force),
        required: examination.required.contains(&p.name),
        detail: &p.detail,
        help: p.help,
    });
    let sources = examination.sources.iter();
    let sources = sources.map(|(name, all)| SourceJson { name, observations: observed(all) });
    to_json(&Document {
        ok: examination.ok(),
        protections: protections.collect(),
        settings: observed(&examination.settings),
        sources: sources.collect(),
    })
}
