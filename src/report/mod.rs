//! Findings in words and for machines: each format is a pure function from a
//! [`Report`] to text.
//!
//! Owns: the formats of `check` (`text`, `json`, `sarif`, `github`, `junit`), of
//! `doctor`, `status` (`fleet`: of all replicas), `access test` and `audit verify`, and the explanations of the
//! codes (`explain`).
//! Invariants: the same report gives the same bytes; nothing that came from
//! outside (a message, a path, a line of a stranger's `.env`) can steer the
//! terminal, the CI runner, the Markdown or the XML that it is written to.
//! Only `text` shows source lines; they arrive masked where they are secret.
//! Must not know: where the output goes, the process environment, values.

pub mod access;
pub mod audit;
pub mod doctor;
pub mod explain;
pub mod fleet;
pub mod github;
pub mod json;
pub mod junit;
pub mod mistake;
pub(crate) mod rotations;
pub mod sarif;
pub(crate) mod snapshots;
pub mod status;
pub mod text;
mod wrap;

pub use crate::visible::visible;
pub(crate) use wrap::hang;

use std::sync::Arc;

use crate::model::finding::{Code, Finding, Severity};
use crate::model::key::Key;
use crate::model::origin::{Location, Span};
use crate::visible;

/// The path of a schema that no file holds. Formats that link to files do not
/// link to it.
pub const BUILT_IN_SCHEMA: &str = "built-in schema";

/// All that one run of `check` has to say.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The schema's name: `datalens`.
    pub schema: &'a str,
    /// The schema's file, as the user wrote it, or [`BUILT_IN_SCHEMA`].
    pub schema_path: &'a str,
    /// The environment that was judged.
    pub environment: &'a str,
    /// The service that was judged; none means the union of all.
    pub service: Option<&'a str>,
    /// The places that were read, in layering order.
    pub read: &'a [Read],
    /// What was found, in schema order.
    pub findings: &'a [Finding],
    /// What could not be judged, in schema order.
    pub unjudged: &'a [Unjudged],
    /// What probes say, in the schema's order; none where they were not asked for.
    pub probes: Option<&'a [Tried]>,
    /// The declared variables that were judged, in schema order, for formats
    /// that list them.
    pub judged: &'a [Key],
    /// How many variables are set and no finding is about.
    pub fine: usize,
    /// Whether the configuration may be used: no errors, no required variable is
    /// unjudged, and no probe calls a secret wrong.
    pub ok: bool,
}

/// A secret that was tried on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The probe's name.
    pub probe: Box<str>,
    /// The variable.
    pub variable: Key,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a probe. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The other side takes the secret.
    Works,
    /// The other side says that it is wrong: why, as a clause.
    Wrong(String),
    /// Nobody can tell: why, as a clause, and what to do.
    Unknown(String, String),
}

impl Outcome {
    /// `works`, `wrong` or `unknown`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Wrong(_) => "wrong",
            Self::Unknown(..) => "unknown",
        }
    }

    /// How much it weighs; none where all is well.
    pub fn severity(&self) -> Option<Severity> {
        match self {
            Self::Works => None,
            Self::Wrong(_) => Some(Severity::Error),
            Self::Unknown(..) => Some(Severity::Warning),
        }
    }
}

impl Tried {
    /// One sentence.
    pub fn message(&self) -> String {
        let (probe, variable) = (&self.probe, &self.variable);
        match &self.outcome {
            Outcome::Works => format!("probe {probe}: {variable} works"),
            Outcome::Wrong(why) => format!("probe {probe}: {variable} is wrong: {why}"),
            Outcome::Unknown(why, _) => {
                format!("probe {probe}: nobody can tell whether {variable} works: {why}")
            }
        }
    }

    /// What to do, where there is something.
    pub fn help(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Works => None,
            Outcome::Wrong(_) => {
                Some(format!("get the right value of {} from the other side", self.variable))
            }
            Outcome::Unknown(_, help) => Some(help.clone()),
        }
    }
}

/// A place that was read: `.env (37)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// As printed: `.env`, `environment`.
    pub label: Arc<str>,
    /// How many variables it offers.
    pub offers: usize,
    /// Whether it is a file, to which a finding without one can be anchored;
    /// the environment and directories are none.
    pub is_file: bool,
}

/// A variable that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// The variable.
    pub variable: Key,
    /// Why, as a clause: `--offline leaves vault out`. Value-free.
    pub reason: String,
    /// Whether it must be set in this environment.
    pub required: bool,
}

/// How text is drawn. The caller knows the terminal, `NO_COLOR` and `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour, with ANSI sequences.
    pub color: bool,
    /// The columns that there are. Words are wrapped and source lines are cut
    /// to fit.
    pub width: usize,
    /// Whether ornaments may be other than ASCII.
    pub unicode: bool,
}

impl Default for Style {
    /// Without colour, 100 columns, with Unicode: for logs.
    fn default() -> Self {
        Self { color: false, width: 100, unicode: true }
    }
}

impl Report<'_> {
    /// How many findings have this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// How many findings `check --fix` can mend.
    pub fn fixable(&self) -> usize {
        self.findings.iter().filter(|finding| finding.fix.is_some()).count()
    }

    /// The findings, errors before warnings, else in schema order.
    fn worst_first(&self) -> Vec<&Finding> {
        let mut sorted: Vec<&Finding> = self.findings.iter().collect();
        sorted.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        sorted
    }

    /// The code that is worth explaining: the most frequent among the worst,
    /// and of equals the first.
    fn leading_code(&self) -> Option<Code> {
        let worst = self.findings.iter().map(|finding| finding.severity).max()?;
        let mut frequencies: Vec<(Code, usize)> = Vec::new();
        for finding in self.findings.iter().filter(|finding| finding.severity == worst) {
            match frequencies.iter_mut().find(|(code, _)| *code == finding.code) {
                Some((_, frequency)) => *frequency += 1,
                None => frequencies.push((finding.code, 1)),
            }
        }
        // `max_by_key` takes the last of equals, hence the reversal.
        frequencies.into_iter().rev().max_by_key(|(_, frequency)| *frequency).map(|(code, _)| code)
    }
}

/// The file that a finding is anchored in, and where in it. None for places
/// that are no file.
fn file_of(finding: &Finding) -> Option<(&str, Option<Span>)> {
    let location = &finding.origin.as_ref()?.location;
    location.path().filter(|path| *path != BUILT_IN_SCHEMA).map(|path| (path, location.span()))
}

/// The file that a finding is shown at by what shows findings only at files,
/// and where in it: its own; else the schema, which says how the variable
/// should be; else the first file that was read. None where none of these is.
fn anchor<'a>(report: &Report<'a>, finding: &'a Finding) -> Option<(&'a str, Option<Span>)> {
    let schema = (report.schema_path != BUILT_IN_SCHEMA).then_some(report.schema_path);
    let read = || report.read.iter().find(|place| place.is_file).map(|place| &*place.label);
    file_of(finding).or_else(|| schema.or_else(read).map(|path| (path, None)))
}

/// The column of a place, where it has one: column 0 stands for a whole line,
/// such as the declaration of a missing variable.
fn column_of(span: Span) -> Option<u32> {
    (span.column > 0).then_some(span.column)
}

/// The place of a finding, as printed; none where it has none.
fn place_of(finding: &Finding) -> Option<String> {
    match (&finding.origin, &finding.snippet) {
        (Some(origin), _) => Some(place_in_words(&origin.location)),
        (None, Some(snippet)) => {
            let offset = u32::try_from(snippet.mark.start).unwrap_or(u32::MAX);
            Some(format!("{}:{}:{}", snippet.path, snippet.line, snippet.column.saturating_add(offset)))
        }
        (None, None) => None,
    }
}

/// `.env:12:12`, `policies/datalens.schema.toml:74`, `env:JWT_SECRET`.
fn place_in_words(location: &Location) -> String {
    match location {
        Location::File { path, at: Some(at) } if column_of(*at).is_none() => format!("{path}:{}", at.line),
        Location::Snapshot(of) => format!("snapshot:{}", place_in_words(of)),
        other => other.to_string(),
    }
}

/// Everything that a finding says apart from its source line: the message,
/// the notes, the fix; one a line, without any character that acts on what
/// shows it.
fn in_words(finding: &Finding) -> String {
    let mut lines = vec![visible::visible(&finding.message).into_owned()];
    lines.extend(finding.notes.iter().map(|note| visible::visible(note).into_owned()));
    lines.extend(finding.help.iter().map(|help| format!("fix: {}", visible::visible(help))));
    lines.join("\n")
}

/// `1 error`, `2 errors`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// JSON as one line. Characters that a terminal or a CI log would act on are
/// escaped; a JSON reader sees the same text.
pub(crate) fn to_json(document: &impl serde::Serialize) -> String {
    #[expect(
        clippy::expect_used,
        reason = "fails only for maps without text keys and for failing Serialize, of which these types have none"
    )]
    let json = serde_json::to_string(document).expect("report types are plain JSON");
    let mut text = visible::escape_json(&json);
    text.push('\n');
    text
}
