//! Findings for GitHub Actions: workflow commands that annotate files, and a
//! job summary in Markdown.
//!
//! Invariant: one finding is one command; nothing in it can end the command,
//! begin another, or become markup.
//!
//! Current limitations: paths are written as the user gave them, so they meet
//! the files of the pull request when dlconf runs in the checkout's root.

use std::fmt::Write as _;

use super::explain::explanation;
use super::visible::visible;
use super::{Report, anchor, column_of, in_words, place_of, plural};
use crate::model::finding::{Finding, Severity};
use crate::model::origin::Location;

/// How many annotations `text` adds under Actions; GitHub shows no more of one
/// kind for one step.
pub const WORST: usize = 10;
/// How many findings the summary lists; GitHub drops summaries beyond 1 MiB.
const ROWS: usize = 200;

/// Workflow commands, errors first, one a line. With a limit, the line after
/// that many says how many more there are.
pub fn annotations(report: &Report<'_>, limit: Option<usize>) -> String {
    let findings = report.worst_first();
    let shown = limit.unwrap_or(findings.len()).min(findings.len());
    let mut out = String::new();
    for finding in findings.iter().take(shown) {
        command(&mut out, report, finding);
    }
    if shown < findings.len() {
        let _ = writeln!(out, "::notice title=dlconf::… and {} more", findings.len() - shown);
    }
    out
}

fn command(out: &mut String, report: &Report<'_>, finding: &Finding) {
    let mut properties = Vec::new();
    if let Some((path, span)) = anchor(report, finding) {
        properties.push(format!("file={}", property(path)));
        properties.push(format!("line={}", span.map_or(1, |span| span.line.max(1))));
        properties.extend(span.and_then(column_of).map(|column| format!("col={column}")));
    }
    let mut words = in_words(finding);
    // An annotation stands at a file; what is of none says itself where it is.
    let place = finding.origin.as_ref().map(|origin| &origin.location);
    if let Some(Location::Field { .. } | Location::Snapshot(_)) = place {
        let place = place_of(finding).unwrap_or_default();
        words = format!("{}: {words}", visible(&place));
    }
    let title = explanation(finding.code).title;
    properties.push(format!("title={}", property(&format!("{} {title}", finding.code))));
    // Writing to a String cannot fail.
    let _ = writeln!(out, "::{} {}::{}", finding.severity.as_str(), properties.join(","), data(&words));
}

/// Text after the second `::`, as the runner reads it back. The per cent sign
/// comes first: it begins the other escapes.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property, as the runner reads it back. The runner keeps a
/// semicolon as it is: only its older syntax ended a property there.
fn property(text: &str) -> String {
    data(&visible(text)).replace(':', "%3A").replace(',', "%2C")
}

/// The job summary, in Markdown.
pub fn summary(report: &Report<'_>) -> String {
    let mut out = String::new();
    let mark = if report.ok { "✅" } else { "❌" };
    let service = report.service.map(|service| format!(" · service {}", inline(service))).unwrap_or_default();
    let _ = writeln!(out, "### {mark} dlconf check: {}{service}\n", inline(report.environment));

    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let mut counts = Vec::new();
    counts.extend((errors > 0).then(|| format!("**{}**", plural(errors, "error"))));
    counts.extend((warnings > 0).then(|| plural(warnings, "warning")));
    counts.push(format!("{} fine", plural(report.fine, "variable")));
    counts.extend((!report.unjudged.is_empty()).then(|| format!("{} not judged", report.unjudged.len())));
    let _ = writeln!(out, "{} · schema {}", counts.join(", "), inline(report.schema_path));

    if !report.findings.is_empty() {
        out.push_str("\n| | Code | Variable | What is wrong | Where | Fix |\n|---|---|---|---|---|---|\n");
        for finding in report.worst_first().into_iter().take(ROWS) {
            row(&mut out, finding);
        }
        if report.findings.len() > ROWS {
            let _ = writeln!(out, "\n… and {} more", report.findings.len() - ROWS);
        }
    }
    if !report.unjudged.is_empty() {
        out.push_str("\n| Not judged | Why |\n|---|---|\n");
        for unjudged in report.unjudged.iter().take(ROWS) {
            let _ = writeln!(out, "| `{}` | {} |", unjudged.variable, inline(&unjudged.reason));
        }
        if report.unjudged.len() > ROWS {
            let _ = writeln!(out, "\n… and {} more", report.unjudged.len() - ROWS);
        }
    }
    if let Some(code) = report.leading_code() {
        let _ = writeln!(out, "\n`dlconf explain {code}` says more.");
    }
    out
}

fn row(out: &mut String, finding: &Finding) {
    let weight = match finding.severity {
        Severity::Error => "🔴",
        Severity::Warning => "🟡",
    };
    let _ = writeln!(
        out,
        "| {weight} | {} | {} | {} | {} | {} |",
        finding.code,
        // A name holds nothing that could end the code span.
        finding.variable.as_ref().map(|key| format!("`{key}`")).unwrap_or_default(),
        inline(&finding.message),
        place_of(finding).map(|place| inline(&place)).unwrap_or_default(),
        finding.help.as_deref().map(inline).unwrap_or_default(),
    );
}

/// Text as Markdown that shows just that text. Every character that Markdown,
/// HTML or GitHub's own extensions could read as markup is written as a
/// character reference, which no renderer takes for structure.
fn inline(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in visible(text).chars() {
        if c.is_ascii_punctuation() && !",.;'()/=+?-".contains(c) {
            let _ = write!(shown, "&#{};", u32::from(c));
        } else {
            shown.push(c);
        }
    }
    shown
}
