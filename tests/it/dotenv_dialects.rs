//! What eight real readers made of 41 files, as recorded: `--portability` must
//! reproduce every reading, and dlconf's own reader must agree with compose.

use std::collections::BTreeMap;
use std::sync::Arc;

use dlconf::model::key::SourceName;
use dlconf::model::layer::{Operator, Part, Value};
use dlconf::source::dotenv::parse;
use dlconf::source::dotenv::portability::{Reader, Reading, judge, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    input: Option<String>,
    input_note: Option<String>,
    parsers: BTreeMap<String, Recorded>,
}

#[derive(Deserialize, PartialEq)]
struct Recorded {
    #[serde(default)]
    vars: BTreeMap<String, Option<String>>,
    err: Option<String>,
}

#[allow(clippy::expect_used, reason = "a test's own fixture")]
fn cases() -> Vec<Case> {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../fixtures/dotenv-dialects.json")).expect("the fixture is JSON");
    assert_eq!(fixture.cases.len(), 41);
    fixture.cases
}

impl Case {
    /// The file. One is described, and its long value is recorded as a length.
    fn input(&self) -> String {
        self.input.clone().unwrap_or_else(|| {
            assert_eq!(self.input_note.as_deref(), Some("A= followed by 70000 x, newline, B=2"));
            format!("A={}\nB=2", "x".repeat(70_000))
        })
    }

    /// What was recorded, without bash's exit status, and with what only a
    /// running reader knows (a process id, a script's path, a command's output)
    /// as a mark.
    fn recorded(&self, reader: Reader) -> (BTreeMap<String, Option<String>>, bool) {
        let recorded = &self.parsers[reader.as_str()];
        let mut vars = recorded.vars.clone();
        vars.remove("rc");
        let runtime = matches!(
            (self.name.as_str(), reader),
            ("bcrypt bare" | "a$$b", Reader::Bash) | ("$(cmd)", Reader::Bash | Reader::Expand)
        );
        for value in vars.values_mut().filter(|_| runtime) {
            *value = Some(RUNTIME.to_owned());
        }
        (vars, recorded.err.is_some())
    }
}

const RUNTIME: &str = "<known when it runs>";

fn host(name: &str) -> Option<String> {
    (name == "HOSTSET").then(|| "hs".to_owned())
}

fn shown(value: &str) -> String {
    if value.len() > 1000 { format!("<{} chars>", value.len()) } else { value.to_owned() }
}

/// The variables that a reader gives, and whether it complains aloud.
fn emulated(reader: Reader, text: &str) -> (BTreeMap<String, Option<String>>, bool) {
    let notes = read(reader, text, &host);
    let mut vars = BTreeMap::new();
    for entry in notes.entries {
        match entry.reading {
            Reading::Value(value) => drop(vars.insert(entry.key, Some(shown(value.expose())))),
            Reading::Runtime(_) => drop(vars.insert(entry.key, Some(RUNTIME.to_owned()))),
            // python-dotenv alone gives such a name, without a value.
            Reading::Absent if reader == Reader::Python => drop(vars.insert(entry.key, None)),
            Reading::Absent | Reading::Refused(_) => {}
        }
    }
    // python-dotenv's complaints are warnings in a log, which was not recorded.
    let aloud = notes.refusal.is_some() || (reader != Reader::Python && !notes.complaints.is_empty());
    (vars, aloud)
}

#[test]
fn every_recorded_reading_is_reproduced() {
    for case in cases() {
        for reader in Reader::ALL {
            assert_eq!(emulated(reader, &case.input()), case.recorded(reader), "{reader} on {:?}", case.name);
        }
    }
}

#[test]
fn a_disagreement_is_told_exactly_where_readers_differ() {
    let mut agreeing = Vec::new();
    for case in cases() {
        let recorded: Vec<_> = Reader::ALL.map(|reader| case.recorded(reader)).into();
        let differ = recorded.iter().any(|one| one != &recorded[0]);
        let found = judge(&case.input(), &host);
        assert_eq!(!found.is_empty(), differ, "{:?}: {found:?}", case.name);
        if !differ {
            agreeing.push(case.name);
        }
    }
    assert_eq!(agreeing, ["A=", "dup", "unicode val", "lead ws", "a=b"]);
}

/// dlconf's reader, with what `resolve` would look up.
fn own(text: &str) -> Option<BTreeMap<String, Option<String>>> {
    let parsed = parse(&SourceName::new("dotenv"), &Arc::from(".env"), text, None).ok()?;
    let mut vars: BTreeMap<String, Option<String>> = BTreeMap::new();
    for offer in parsed.offers {
        let value = match offer.value {
            Value::Literal(value) => value.expose().to_owned(),
            Value::Template(template) => template
                .0
                .iter()
                .map(|part| match part {
                    Part::Text(text) => text.expose().to_owned(),
                    Part::Reference { name, operator: Operator::Bare | Operator::Braced } => {
                        host(name.as_str())
                            .or_else(|| vars.get(name.as_str()).cloned().flatten())
                            .unwrap_or_else(|| format!("${name}"))
                    }
                    Part::Reference { .. } => panic!("no recorded case has an operator"),
                })
                .collect(),
        };
        vars.insert(offer.key.as_str().to_owned(), Some(shown(&value)));
    }
    Some(vars)
}

#[test]
fn dlconfs_own_reader_agrees_with_compose() {
    for case in cases() {
        let (mut expected, refused) = case.recorded(Reader::Compose);
        if case.name == "bcrypt bare" {
            // The one difference: `$abc` is set nowhere and stays.
            assert_eq!(expected["A"].as_deref(), Some("$2a$10"));
            expected.insert("A".to_owned(), Some("$2a$10$abc".to_owned()));
        }
        assert_eq!(own(&case.input()), (!refused).then_some(expected), "{:?}", case.name);
    }
}
