//! Findings as SARIF 2.1.0, for code scanning.
//!
//! Invariants: no source lines and no values; no path of this machine but
//! those that the user gave as absolute ones; a finding keeps its fingerprint
//! when lines move.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;
use serde_sarif::sarif;

use super::explain::{explanation, markdown, plain};
use super::visible::visible;
use super::{Report, anchor, column_of, file_of, in_words, to_json};
use crate::model::finding::{Code, Finding, Severity};
use crate::model::origin::Location;

/// The name of our fingerprint; its number rises when its making changes.
const FINGERPRINT: &str = "dlconf/v1";
/// Where findings stand that no file has to do with: where most would be mended.
const NOWHERE: &str = ".env";
const SCHEMA_URI: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// One SARIF log with one run, one line, ending with a newline. `version` is
/// dlconf's own.
pub fn render(report: &Report<'_>, version: &str) -> String {
    let codes: BTreeSet<Code> = report.findings.iter().map(|finding| finding.code).collect();
    let codes: Vec<Code> = codes.into_iter().collect();
    let driver = sarif::ToolComponent::builder()
        .name("dlconf")
        .version(version)
        .semantic_version(version)
        .rules(codes.iter().map(|code| rule(*code)).collect::<Vec<_>>())
        .build();
    let mut fingerprints = Fingerprints::default();
    let results: Vec<sarif::Result> =
        report.findings.iter().map(|finding| result(report, finding, &codes, &mut fingerprints)).collect();
    let unjudged: Vec<sarif::Notification> = report
        .unjudged
        .iter()
        .map(|unjudged| {
            let text = format!("{} was not judged: {}", unjudged.variable, unjudged.reason);
            sarif::Notification::builder().level(json!("warning")).message(message(&text)).build()
        })
        .collect();
    let invocation = sarif::Invocation::builder()
        .execution_successful(true)
        .tool_execution_notifications(unjudged)
        .build();
    let run = sarif::Run::builder()
        .tool(sarif::Tool::builder().driver(driver).build())
        .column_kind(json!("unicodeCodePoints"))
        .invocations(vec![invocation])
        .results(results)
        .build();
    to_json(&sarif::Sarif::builder().schema(SCHEMA_URI).version(json!("2.1.0")).runs(vec![run]).build())
}

fn rule(code: Code) -> sarif::ReportingDescriptor {
    let explained = explanation(code);
    let text = |text: &str| sarif::MultiformatMessageString::builder().text(text).build();
    sarif::ReportingDescriptor::builder()
        .id(code.as_str())
        // SARIF wants a name in Pascal case, as the variant has.
        .name(format!("{code:?}"))
        .short_description(text(explained.title))
        .full_description(text(explained.what))
        .help(sarif::MultiformatMessageString::builder().text(plain(code)).markdown(markdown(code)).build())
        .default_configuration(
            sarif::ReportingConfiguration::builder()
                .level(json!(explained.weight.outside_development().as_str()))
                .build(),
        )
        .build()
}

fn result(
    report: &Report<'_>,
    finding: &Finding,
    rules: &[Code],
    fingerprints: &mut Fingerprints,
) -> sarif::Result {
    let level = match finding.severity {
        Severity::Error => sarif::ResultLevel::Error,
        Severity::Warning => sarif::ResultLevel::Warning,
    };
    // Every code is among the rules; they are collected from the same findings.
    let index = rules.iter().position(|code| *code == finding.code).unwrap_or_default();
    sarif::Result::builder()
        .rule_id(finding.code.as_str())
        .rule_index(i64::try_from(index).unwrap_or(i64::MAX))
        .level(level)
        .message(message(&in_words(finding)))
        .locations(vec![location(report, finding)])
        .partial_fingerprints(BTreeMap::from([(FINGERPRINT.to_owned(), fingerprints.of(finding))]))
        .build()
}

/// A message in plain text. SARIF reads `[text](target)` even there as a link;
/// what a stranger wrote must not become one.
fn message(text: &str) -> sarif::Message {
    let lines: Vec<_> = text.lines().map(visible).collect();
    sarif::Message::builder().text(lines.join("\n").replace("](", "] (")).build()
}

/// Where a finding is. Code scanning refuses a whole log for one result without
/// a line in a file, so what has none stands on the first line of its file, and
/// what has no file stands in another: see [`anchor`].
fn location(report: &Report<'_>, finding: &Finding) -> sarif::Location {
    let (path, span) = anchor(report, finding).unwrap_or((NOWHERE, None));
    let region = sarif::Region {
        start_line: Some(span.map_or(1, |span| span.line.max(1).into())),
        start_column: span.and_then(column_of).map(i64::from),
        ..sarif::Region::default()
    };
    let physical = sarif::PhysicalLocation {
        artifact_location: Some(sarif::ArtifactLocation::builder().uri(uri(path)).build()),
        region: Some(region),
        ..sarif::PhysicalLocation::default()
    };
    let logical = logical_name(finding).map(|full| {
        let logical = sarif::LogicalLocation::builder().fully_qualified_name(full.clone()).kind("variable");
        let name = finding.variable.as_ref().map_or(full, ToString::to_string);
        logical.name(name).build()
    });
    sarif::Location {
        physical_location: Some(physical),
        logical_locations: logical.map(|logical| vec![logical]),
        ..sarif::Location::default()
    }
}

/// `env:JWT_SECRET` for a place that is no file, else the variable.
fn logical_name(finding: &Finding) -> Option<String> {
    match finding.origin.as_ref().map(|origin| origin.location.itself()) {
        Some(Location::Named(name)) => Some(visible(name).into_owned()),
        // Without the revision: a new version of a secret makes no new finding.
        Some(Location::Field { of, name, .. }) => Some(visible(&format!("{of}#{name}")).into_owned()),
        _ => finding.variable.as_ref().map(ToString::to_string),
    }
}

/// A path as a URI reference: relative as it is, absolute as `file:`.
fn uri(path: &str) -> String {
    let path = if cfg!(windows) { path.replace('\\', "/") } else { path.to_owned() };
    let drive = cfg!(windows) && path.as_bytes().get(1) == Some(&b':');
    let mut uri = match (path.starts_with('/'), drive) {
        (true, _) => "file://".to_owned(),
        (_, true) => "file:///".to_owned(),
        _ => String::new(),
    };
    let shortened = path.strip_prefix("./").unwrap_or(&path);
    for (index, byte) in shortened.bytes().enumerate() {
        // RFC 3986's unreserved characters, and what stands between segments.
        let plain = byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) || (drive && index == 1);
        if plain {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

/// Makes fingerprints of code and variable (or file), so that neither moved
/// lines nor changed values make an old finding a new one. Findings that share
/// both are numbered.
#[derive(Default)]
struct Fingerprints(BTreeMap<String, usize>);

impl Fingerprints {
    fn of(&mut self, finding: &Finding) -> String {
        let subject = match (&finding.variable, file_of(finding)) {
            (Some(variable), _) => variable.to_string(),
            (None, Some((path, _))) => uri(path),
            (None, None) => logical_name(finding).unwrap_or_default(),
        };
        let fingerprint = format!("{}:{subject}", finding.code);
        let seen = self.0.entry(fingerprint.clone()).or_default();
        *seen += 1;
        if *seen == 1 { fingerprint } else { format!("{fingerprint}:{seen}") }
    }
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_become_uris() {
        for (path, expected) in [
            (".env", ".env"),
            ("./deploy/.env", "deploy/.env"),
            ("../.env", "../.env"),
            ("my env/ä#?.env", "my%20env/%C3%A4%23%3F.env"),
            ("a:b", "a%3Ab"),
            ("100%", "100%25"),
            ("/etc/dlconf/x y", "file:///etc/dlconf/x%20y"),
            ("", ""),
        ] {
            assert_eq!(uri(path), expected, "{path}");
        }
    }
}
