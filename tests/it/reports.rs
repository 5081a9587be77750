//! The formats of findings: what they say, what they keep to themselves, and
//! that nothing from outside can steer what shows them.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes its literals so")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests, the functions they share included")]

mod explanations;
pub(crate) mod machines;
mod mistakes;
mod text;

use std::sync::Arc;

use dlconf::model::finding::{Code, Finding, Fix, Severity, Snippet};
use dlconf::model::key::{Key, SourceName};
use dlconf::model::origin::{Location, Origin, Span};
use dlconf::report::{Read, Report, Style, Unjudged, github, json, junit, sarif, text as people};
use proptest::prelude::*;

const SCHEMA_PATH: &str = "policies/datalens.schema.toml";
const VERSION: &str = "1.2.3";

/// What a report borrows from.
struct Case {
    read: Vec<Read>,
    findings: Vec<Finding>,
    unjudged: Vec<Unjudged>,
    judged: Vec<Key>,
    fine: usize,
}

impl Case {
    fn new(findings: Vec<Finding>) -> Self {
        let read =
            |label: &str, offers| Read { label: label.into(), offers, is_file: label != "environment" };
        let judged = findings.iter().filter_map(|finding| finding.variable.clone());
        Self {
            read: vec![read(".env", 37), read("environment", 2)],
            judged: judged.chain([key("APP_PORT")]).collect(),
            findings,
            unjudged: Vec::new(),
            fine: 35,
        }
    }

    fn report(&self) -> Report<'_> {
        Report {
            schema: "datalens",
            schema_path: SCHEMA_PATH,
            environment: "production",
            service: None,
            read: &self.read,
            findings: &self.findings,
            unjudged: &self.unjudged,
            probes: None,
            judged: &self.judged,
            fine: self.fine,
            ok: self.unjudged.is_empty() && self.findings.iter().all(|f| f.severity == Severity::Warning),
        }
    }

    /// Every format, each by its name.
    fn everywhere(&self) -> [(&'static str, String); 7] {
        let report = self.report();
        [
            ("text", people::render(&report, Style::default())),
            ("colours", people::render(&report, Style { color: true, ..Style::default() })),
            ("json", json::render(&report)),
            ("sarif", sarif::render(&report, VERSION)),
            ("annotations", github::annotations(&report, None)),
            ("summary", github::summary(&report)),
            ("junit", junit::render(&report)),
        ]
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn at(path: &str, line: u32, column: u32) -> Origin {
    let location = Location::File { path: path.into(), at: Some(Span { line, column }) };
    Origin { mark: None, source: SourceName::new("local"), location, revision: None, modified: None }
}

fn named(name: &str) -> Origin {
    let location = Location::Named(name.into());
    Origin { mark: None, source: SourceName::new("env"), location, revision: None, modified: None }
}

fn finding(code: Code, severity: Severity, variable: &str, message: &str) -> Finding {
    Finding {
        code,
        severity,
        variable: Some(key(variable)),
        message: message.into(),
        origin: None,
        snippet: None,
        notes: Vec::new(),
        help: None,
        fix: None,
    }
}

fn silently_defaulted() -> Finding {
    Finding {
        origin: Some(at(".env", 15, 26)),
        snippet: Some(Snippet {
            path: ".env".into(),
            line: 15,
            column: 1,
            text: "JWT_REFRESH_TOKEN_EXPIRY=7d".into(),
            mark: 25..27,
            label: "Go has no unit \"d\"; the default, 168h, is used".into(),
        }),
        help: Some("write 168h".into()),
        fix: Some(Fix::Value("168h".into())),
        ..finding(
            Code::SilentlyDefaulted,
            Severity::Error,
            "JWT_REFRESH_TOKEN_EXPIRY",
            "the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d",
        )
    }
}

fn missing() -> Finding {
    Finding {
        origin: Some(at(SCHEMA_PATH, 74, 0)),
        notes: vec![
            "looked in: .env, environment".into(),
            "the portal would sign tokens with a key printed in its source".into(),
        ],
        help: Some("set 32 bytes or more; `openssl rand -base64 48` makes one".into()),
        ..finding(Code::Missing, Severity::Error, "PORTAL_JWT_SECRET", "PORTAL_JWT_SECRET is not set")
    }
}

fn unknown() -> Finding {
    Finding {
        origin: Some(named("env:JWT_SECERT")),
        help: Some("did you mean JWT_SECRET?".into()),
        ..finding(
            Code::UnknownName,
            Severity::Warning,
            "JWT_SECERT",
            "JWT_SECERT is not declared, so it is not delivered",
        )
    }
}

fn sample() -> Case {
    Case::new(vec![silently_defaulted(), missing(), unknown()])
}

/// Text that tries to steer everything that might show it.
const HOSTILE: &str = "a\x1b[31m\r\n::error::pwned\u{202e}##[add-mask]x|<script>alert(1)</script>]]>&\"'`*[l](http://e.example)%0A,;:";

fn hostile() -> Case {
    let mut found = finding(Code::Placeholder, Severity::Error, "JWT_SECRET", HOSTILE);
    found.origin = Some(at(&format!("dir/{HOSTILE}/.env"), 3, 1));
    found.notes = vec![HOSTILE.into()];
    found.help = Some(HOSTILE.into());
    found.snippet = Some(Snippet {
        path: HOSTILE.into(),
        line: 3,
        column: 1,
        text: HOSTILE.into(),
        mark: 0..40,
        label: HOSTILE.into(),
    });
    let mut warning = finding(Code::UnknownName, Severity::Warning, "JWT_SECERT", HOSTILE);
    warning.origin = Some(named(HOSTILE));
    let mut case = Case::new(vec![found, warning]);
    case.unjudged = vec![Unjudged { variable: key("A"), reason: HOSTILE.into(), required: true }];
    case.read = vec![Read { label: HOSTILE.into(), offers: 1, is_file: true }];
    case
}

/// No format lets a control character through (colours aside), turns the
/// direction of the text, or holds what the runner takes for a command.
fn assert_harmless(format: &str, output: &str) {
    for c in output.chars() {
        let ours = c == '\n' || (c == '\x1b' && format == "colours");
        assert!(ours || !(c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{format}: {c:?}");
    }
    for line in output.lines() {
        let command = line.trim_start().starts_with("::") || line.contains("##[");
        assert!(!command || format == "annotations", "{format}: {line}");
    }
}

/// The text without its colours, which are all that begins with an escape.
fn without_colours(text: &str) -> String {
    let mut pieces = text.split('\x1b');
    let mut stripped = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (sequence, rest) = piece.split_once('m').unwrap();
        assert!(sequence.starts_with('['), "{sequence}");
        stripped.push_str(rest);
    }
    stripped
}

#[test]
fn nothing_from_outside_steers_the_output() {
    for (format, output) in hostile().everywhere() {
        assert_harmless(format, &output);
    }
    let case = hostile();
    let report =
        Report { environment: "::error::x", schema_path: HOSTILE, service: Some(HOSTILE), ..case.report() };
    assert_harmless("text", &people::render(&report, Style::default()));
    assert_harmless("summary", &github::summary(&report));
    assert_harmless("junit", &junit::render(&report));
}

#[test]
fn source_lines_are_for_text_alone() {
    const CANARY: &str = "c4n4ry-5ecret-9f8e7d";
    let mut found = silently_defaulted();
    let snippet = found.snippet.as_mut().unwrap();
    snippet.text = format!("JWT_SECRET={CANARY}");
    snippet.label = CANARY.into();
    found.fix = Some(Fix::Value(CANARY.into()));
    for (format, output) in Case::new(vec![found.clone()]).everywhere() {
        let shows = matches!(format, "text" | "colours");
        assert_eq!(output.contains(CANARY), shows, "{format}: {output}");
    }
    // Masked, as validation hands a secret's line over, it is nowhere.
    let snippet = found.snippet.as_mut().unwrap();
    (snippet.text, snippet.label, snippet.mark) = ("JWT_SECRET=••••••••".into(), "weak".into(), 11..19);
    for (format, output) in Case::new(vec![found]).everywhere() {
        assert!(!output.contains(CANARY), "{format}: {output}");
    }
}

prop_compose! {
    fn any_finding()(
        code in proptest::sample::select(Code::ALL),
        error in any::<bool>(),
        texts in proptest::array::uniform5("(?s).{0,40}"),
        line in any::<u32>(),
        column in any::<u32>(),
        mark in 0_usize..60,
        length in 0_usize..60,
        shape in 0_u8..8,
    ) -> Finding {
        let [message, path, text, label, help] = texts;
        let severity = if error { Severity::Error } else { Severity::Warning };
        Finding {
            variable: (shape & 1 == 1).then(|| key("NAME")),
            origin: (shape & 2 == 2).then(|| at(&path, line, column)),
            snippet: (shape & 4 == 4).then(|| Snippet {
                path: Arc::from(path.as_str()), line, column, text, mark: mark..mark + length, label,
            }),
            notes: vec![help.clone()],
            help: Some(help),
            ..finding(code, severity, "NAME", &message)
        }
    }
}

proptest! {
    #[test]
    fn no_finding_panics_or_escapes(findings in proptest::collection::vec(any_finding(), 0..4), width in 0_usize..200) {
        let case = Case::new(findings);
        for (format, output) in case.everywhere() {
            assert_harmless(format, &output);
        }
        assert_harmless("text", &people::render(&case.report(), Style { width, ..Style::default() }));
    }
}
