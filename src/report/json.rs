//! Findings as JSON, of the shape that [`SCHEMA`] publishes.

use serde::Serialize;

use super::{Report, Tried, column_of, file_of, place_in_words, to_json};
use crate::model::finding::{Finding, Severity};
use crate::model::key::Key;

/// The JSON Schema (draft 2020-12) of what [`render`] writes.
pub const SCHEMA: &str = include_str!("../../schemas/findings.schema.json");

/// One JSON document, one line, ending with a newline.
pub fn render(report: &Report<'_>) -> String {
    to_json(&Document {
        ok: report.ok,
        schema: report.schema,
        environment: report.environment,
        service: report.service,
        findings: report.findings.iter().map(Item::of).collect(),
        unjudged: report
            .unjudged
            .iter()
            .map(|unjudged| Unjudged { variable: unjudged.variable.as_str(), reason: &unjudged.reason })
            .collect(),
        probes: report.probes.map(|probes| probes.iter().map(Attempt::of).collect()),
        schema_path: report.schema_path,
        read: report.read.iter().map(|place| Read { place: &place.label, offers: place.offers }).collect(),
        counts: Counts {
            errors: report.count(Severity::Error),
            warnings: report.count(Severity::Warning),
            fine: report.fine,
            fixable: report.fixable(),
        },
    })
}

#[derive(Serialize)]
struct Document<'a> {
    ok: bool,
    schema: &'a str,
    environment: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    findings: Vec<Item<'a>>,
    unjudged: Vec<Unjudged<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<Vec<Attempt<'a>>>,
    schema_path: &'a str,
    read: Vec<Read<'a>>,
    counts: Counts,
}

#[derive(Serialize)]
struct Item<'a> {
    code: &'static str,
    name: &'static str,
    severity: &'static str,
    variable: Option<&'a str>,
    message: &'a str,
    origin: Option<Place<'a>>,
    help: Option<&'a str>,
    notes: &'a [String],
    fixable: bool,
}

#[derive(Serialize)]
struct Place<'a> {
    source: &'a str,
    location: String,
    file: Option<&'a str>,
    line: Option<u32>,
    column: Option<u32>,
}

#[derive(Serialize)]
struct Unjudged<'a> {
    variable: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Attempt<'a> {
    probe: &'a str,
    variable: &'a str,
    outcome: &'static str,
    message: String,
    help: Option<String>,
}

impl<'a> Attempt<'a> {
    fn of(tried: &'a Tried) -> Self {
        Self {
            probe: &tried.probe,
            variable: tried.variable.as_str(),
            outcome: tried.outcome.as_str(),
            message: tried.message(),
            help: tried.help(),
        }
    }
}

#[derive(Serialize)]
struct Read<'a> {
    place: &'a str,
    offers: usize,
}

#[derive(Serialize)]
struct Counts {
    errors: usize,
    warnings: usize,
    fine: usize,
    fixable: usize,
}

impl<'a> Item<'a> {
    fn of(finding: &'a Finding) -> Self {
        let file = file_of(finding);
        let span = file.and_then(|(_, span)| span);
        Self {
            code: finding.code.as_str(),
            name: finding.code.slug(),
            severity: finding.severity.as_str(),
            variable: finding.variable.as_ref().map(Key::as_str),
            message: &finding.message,
            origin: finding.origin.as_ref().map(|origin| Place {
                source: origin.source.as_str(),
                location: place_in_words(&origin.location),
                file: file.map(|(path, _)| path),
                line: span.map(|span| span.line),
                column: span.and_then(column_of),
            }),
            help: finding.help.as_deref(),
            notes: &finding.notes,
            fixable: finding.fix.is_some(),
        }
    }
}
