//! What programs read: JSON, SARIF, GitHub's runner, JUnit.

use std::collections::BTreeSet;
use std::process::Command;

use dlconf::model::finding::{Code, Finding, Severity};
use dlconf::report::{BUILT_IN_SCHEMA, Outcome, Read, Report, Tried, Unjudged, github, json, junit, sarif};
use expect_test::expect;

use super::{Case, VERSION, at, finding, hostile, key, missing, sample, silently_defaulted, unknown};

/// Reads workflow commands as the runner does: (name, properties, message).
fn as_the_runner_reads(line: &str) -> (String, Vec<(String, String)>, String) {
    let unescape = |text: &str, property: bool| {
        let text = text.replace("%0D", "\r").replace("%0A", "\n");
        let text = if property { text.replace("%3A", ":").replace("%2C", ",") } else { text };
        text.replace("%25", "%")
    };
    let (head, message) = line.strip_prefix("::").unwrap().split_once("::").unwrap();
    let (name, properties) = head.split_once(' ').unwrap_or((head, ""));
    let properties = properties.split(',').filter_map(|pair| pair.split_once('='));
    let properties = properties.map(|(name, value)| (name.to_owned(), unescape(value, true))).collect();
    (name.to_owned(), properties, unescape(message, false))
}

#[test]
fn annotations_are_escaped_as_the_runner_undoes_it() {
    let case = hostile();
    let output = github::annotations(&case.report(), None);
    assert_eq!(output.lines().count(), 2, "one command a finding: {output}");
    let (name, properties, message) = as_the_runner_reads(output.lines().next().unwrap());
    let names: Vec<&str> = properties.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((name.as_str(), names), ("error", vec!["file", "line", "col", "title"]));
    assert!(properties[0].1.contains("%0A,;:/.env"), "{properties:?}");
    assert!(message.starts_with("a␛[31m␍␊::error::pwned"), "{message}");
    assert_eq!(message.lines().count(), 3, "message, note, fix: {message}");
}

#[test]
fn annotations_show_the_worst_first_and_count_the_rest() {
    let report = sample();
    let report = report.report();
    let all = github::annotations(&report, None);
    expect![[r#"
        ::error file=.env,line=15,col=26,title=DLC013 the program would silently use its default::the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d%0Afix: write 168h
        ::error file=policies/datalens.schema.toml,line=74,title=DLC001 a required variable is not set::PORTAL_JWT_SECRET is not set%0Alooked in: .env, environment%0Athe portal would sign tokens with a key printed in its source%0Afix: set 32 bytes or more; `openssl rand -base64 48` makes one
        ::warning file=policies/datalens.schema.toml,line=1,title=DLC030 the schema does not know the name::JWT_SECERT is not declared, so it is not delivered%0Afix: did you mean JWT_SECRET?
    "#]].assert_eq(&all);
    let some =
        github::annotations(&Report { findings: &[unknown(), missing(), unknown()], ..report }, Some(1));
    expect![[r#"
        ::error file=policies/datalens.schema.toml,line=74,title=DLC001 a required variable is not set::PORTAL_JWT_SECRET is not set%0Alooked in: .env, environment%0Athe portal would sign tokens with a key printed in its source%0Afix: set 32 bytes or more; `openssl rand -base64 48` makes one
        ::notice title=dlconf::… and 2 more
    "#]].assert_eq(&some);
    let exactly = github::annotations(&report, Some(3));
    assert_eq!(exactly, all);
}

#[test]
fn summary_is_a_table_that_nothing_breaks() {
    expect![[r#"
        ### ❌ dlconf check: production

        **2 errors**, 1 warning, 35 variables fine · schema policies/datalens.schema.toml

        | | Code | Variable | What is wrong | Where | Fix |
        |---|---|---|---|---|---|
        | 🔴 | DLC013 | `JWT_REFRESH_TOKEN_EXPIRY` | the API silently ignores JWT&#95;REFRESH&#95;TOKEN&#95;EXPIRY=7d | .env&#58;15&#58;26 | write 168h |
        | 🔴 | DLC001 | `PORTAL_JWT_SECRET` | PORTAL&#95;JWT&#95;SECRET is not set | policies/datalens.schema.toml&#58;74 | set 32 bytes or more; &#96;openssl rand -base64 48&#96; makes one |
        | 🟡 | DLC030 | `JWT_SECERT` | JWT&#95;SECERT is not declared, so it is not delivered | env&#58;JWT&#95;SECERT | did you mean JWT&#95;SECRET? |

        `dlconf explain DLC013` says more.
    "#]].assert_eq(&github::summary(&sample().report()));
    let summary = github::summary(&hostile().report());
    for row in summary.lines().filter(|line| line.starts_with("| 🔴") || line.starts_with("| 🟡")) {
        assert_eq!(row.matches('|').count(), 7, "{row}");
    }
    for markup in ["<", ">", "](", "http:", "**a"] {
        assert!(!summary.contains(markup), "{markup}: {summary}");
    }
}

#[test]
fn junit_is_read_back() {
    let mut case = sample();
    case.unjudged = vec![unjudged("DB_PASSWORD")];
    let mut second = unknown();
    (second.variable, second.severity) = (Some(key("PORTAL_JWT_SECRET")), Severity::Error);
    case.findings.push(second);
    expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="dlconf" tests="5" skipped="1" failures="2" errors="0">
            <testsuite name="dlconf check production" tests="5" skipped="1" errors="0" failures="2">
                <testcase name="JWT_REFRESH_TOKEN_EXPIRY" classname="datalens.production">
                    <failure message="the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d" type="DLC013">error[DLC013]: the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d
          --&gt; .env:15:26
          fix: write 168h</failure>
                </testcase>
                <testcase name="PORTAL_JWT_SECRET" classname="datalens.production">
                    <failure message="PORTAL_JWT_SECRET is not set (and 1 other error)" type="DLC001">error[DLC001]: PORTAL_JWT_SECRET is not set
          --&gt; policies/datalens.schema.toml:74
          looked in: .env, environment
          the portal would sign tokens with a key printed in its source
          fix: set 32 bytes or more; `openssl rand -base64 48` makes one
        error[DLC030]: JWT_SECERT is not declared, so it is not delivered
          --&gt; env:JWT_SECERT
          fix: did you mean JWT_SECRET?</failure>
                </testcase>
                <testcase name="JWT_SECERT" classname="datalens.production">
                    <system-out>warning[DLC030]: JWT_SECERT is not declared, so it is not delivered
          --&gt; env:JWT_SECERT
          fix: did you mean JWT_SECRET?</system-out>
                </testcase>
                <testcase name="APP_PORT" classname="datalens.production"/>
                <testcase name="DB_PASSWORD" classname="datalens.production">
                    <skipped message="--offline leaves vault out"/>
                </testcase>
            </testsuite>
        </testsuites>
    "#]].assert_eq(&junit::render(&case.report()));

    let xml = junit::render(&hostile().report());
    let suites = quick_junit::Report::deserialize_from_str(&xml).unwrap().test_suites;
    assert_eq!((suites[0].tests, suites[0].failures, suites[0].skipped), (4, 1, 1));
    let quick_junit::TestCaseStatus::NonSuccess { message, .. } = &suites[0].test_cases[0].status else {
        panic!("JWT_SECRET has an error: {xml}")
    };
    assert!(message.as_ref().unwrap().contains("]]>&\"'`"), "{message:?}");
}

#[test]
fn json_has_the_shape_of_the_contract() {
    let case = Case::new(vec![silently_defaulted()]);
    let output = json::render(&case.report());
    expect![[r#"
        {"ok":false,"schema":"datalens","environment":"production","findings":[{"code":"DLC013","name":"silently-defaulted","severity":"error","variable":"JWT_REFRESH_TOKEN_EXPIRY","message":"the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d","origin":{"source":"local","location":".env:15:26","file":".env","line":15,"column":26},"help":"write 168h","notes":[],"fixable":true}],"unjudged":[],"schema_path":"policies/datalens.schema.toml","read":[{"place":".env","offers":37},{"place":"environment","offers":2}],"counts":{"errors":1,"warnings":0,"fine":35,"fixable":1}}
    "#]].assert_eq(&output);
}

fn unjudged(name: &str) -> Unjudged {
    Unjudged { variable: key(name), reason: "--offline leaves vault out".into(), required: true }
}

/// Validates a document with Python's `jsonschema`.
pub(crate) fn assert_valid(schema: &str, document: &str) {
    let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
    let folder = tempfile::tempdir().unwrap();
    let [schema_file, document_file] = ["schema.json", "document.json"].map(|name| folder.path().join(name));
    for (file, content) in [(&schema_file, schema), (&document_file, document)] {
        std::io::Write::write_all(&mut std::fs::File::create(file).unwrap(), content.as_bytes()).unwrap();
    }
    let script = "import json, sys, jsonschema\n\
        schema, document = (json.load(open(p, encoding='utf-8')) for p in sys.argv[1:])\n\
        kind = jsonschema.validators.validator_for(schema)\n\
        kind.check_schema(schema)\n\
        errors = [e.json_path + ': ' + e.message for e in kind(schema).iter_errors(document)]\n\
        sys.exit('\\n'.join(errors) or 0)";
    let python = std::path::Path::new(&tools).join("venv/bin/python3");
    let run =
        Command::new(python).args(["-c", script]).args([&schema_file, &document_file]).output().unwrap();
    assert!(run.status.success(), "{}\n{document}", String::from_utf8_lossy(&run.stderr));
}

fn with_service_and_unjudged() -> Case {
    let mut case = sample();
    case.unjudged = vec![unjudged("DB_PASSWORD")];
    // A finding about nothing in particular.
    case.findings.push(Finding { variable: None, ..finding(Code::Rule, Severity::Error, "A", "no place") });
    case
}

#[test]
fn json_is_valid_by_the_published_schema() {
    for case in [sample(), hostile(), with_service_and_unjudged(), Case::new(Vec::new())] {
        for service in [None, Some("cc")] {
            assert_valid(json::SCHEMA, &json::render(&Report { service, ..case.report() }));
        }
    }
}

#[test]
fn json_has_no_field_that_the_schema_keeps_quiet_about() {
    let schema: serde_json::Value = serde_json::from_str(json::SCHEMA).unwrap();
    let case = with_service_and_unjudged();
    let tried = [Tried { probe: "mail".into(), variable: key("SMTP_PASS"), outcome: Outcome::Works }];
    let output = json::render(&Report { service: Some("cc"), probes: Some(&tried), ..case.report() });
    let document: serde_json::Value = serde_json::from_str(&output).unwrap();
    for (instance, declared) in [
        ("", "/properties"),
        ("/counts", "/properties/counts/properties"),
        ("/read/0", "/properties/read/items/properties"),
        ("/unjudged/0", "/properties/unjudged/items/properties"),
        ("/probes/0", "/properties/probes/items/properties"),
        ("/findings/0", "/$defs/finding/properties"),
        ("/findings/0/origin", "/$defs/origin/properties"),
    ] {
        let names = |value: Option<&serde_json::Value>| -> BTreeSet<String> {
            value.unwrap().as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(names(document.pointer(instance)), names(schema.pointer(declared)), "{instance}");
    }
}

const SARIF_SCHEMA: &str = include_str!("../../fixtures/sarif-2.1.0.schema.json");

#[test]
fn sarif_is_valid() {
    let mut every =
        Case::new(Code::ALL.iter().map(|code| finding(*code, Severity::Error, "A", "wrong")).collect());
    every.findings[0].origin = Some(at("/etc/dlconf/my schema.toml", 3, 0));
    for case in [sample(), hostile(), with_service_and_unjudged(), every, Case::new(Vec::new())] {
        assert_valid(SARIF_SCHEMA, &sarif::render(&case.report(), VERSION));
    }
}

fn sarif_of(findings: Vec<Finding>) -> serde_json::Value {
    serde_json::from_str(&sarif::render(&Case::new(findings).report(), VERSION)).unwrap()
}

#[test]
fn sarif_says_what_and_where() {
    let log = sarif_of(vec![silently_defaulted(), missing(), unknown()]);
    let run = &log["runs"][0];
    let rules: Vec<&str> = run["tool"]["driver"]["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["id"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["DLC001", "DLC013", "DLC030"]);
    expect![[r#"
        [
          {
            "level": "error",
            "locations": [
              {
                "logicalLocations": [
                  {
                    "fullyQualifiedName": "JWT_REFRESH_TOKEN_EXPIRY",
                    "kind": "variable",
                    "name": "JWT_REFRESH_TOKEN_EXPIRY"
                  }
                ],
                "physicalLocation": {
                  "artifactLocation": {
                    "uri": ".env"
                  },
                  "region": {
                    "startColumn": 26,
                    "startLine": 15
                  }
                }
              }
            ],
            "message": {
              "text": "the API silently ignores JWT_REFRESH_TOKEN_EXPIRY=7d\nfix: write 168h"
            },
            "partialFingerprints": {
              "dlconf/v1": "DLC013:JWT_REFRESH_TOKEN_EXPIRY"
            },
            "ruleId": "DLC013",
            "ruleIndex": 1
          },
          {
            "level": "error",
            "locations": [
              {
                "logicalLocations": [
                  {
                    "fullyQualifiedName": "PORTAL_JWT_SECRET",
                    "kind": "variable",
                    "name": "PORTAL_JWT_SECRET"
                  }
                ],
                "physicalLocation": {
                  "artifactLocation": {
                    "uri": "policies/datalens.schema.toml"
                  },
                  "region": {
                    "startLine": 74
                  }
                }
              }
            ],
            "message": {
              "text": "PORTAL_JWT_SECRET is not set\nlooked in: .env, environment\nthe portal would sign tokens with a key printed in its source\nfix: set 32 bytes or more; `openssl rand -base64 48` makes one"
            },
            "partialFingerprints": {
              "dlconf/v1": "DLC001:PORTAL_JWT_SECRET"
            },
            "ruleId": "DLC001",
            "ruleIndex": 0
          },
          {
            "level": "warning",
            "locations": [
              {
                "logicalLocations": [
                  {
                    "fullyQualifiedName": "env:JWT_SECERT",
                    "kind": "variable",
                    "name": "JWT_SECERT"
                  }
                ],
                "physicalLocation": {
                  "artifactLocation": {
                    "uri": "policies/datalens.schema.toml"
                  },
                  "region": {
                    "startLine": 1
                  }
                }
              }
            ],
            "message": {
              "text": "JWT_SECERT is not declared, so it is not delivered\nfix: did you mean JWT_SECRET?"
            },
            "partialFingerprints": {
              "dlconf/v1": "DLC030:JWT_SECERT"
            },
            "ruleId": "DLC030",
            "ruleIndex": 2
          }
        ]"#]].assert_eq(&serde_json::to_string_pretty(&run["results"]).unwrap());
    for result in run["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index], result["ruleId"]);
    }
}

/// Code scanning refuses a log with one result that stands in no file.
#[test]
fn every_finding_stands_in_a_file() {
    let in_the_schema = Finding { origin: Some(at(BUILT_IN_SCHEMA, 74, 0)), ..missing() };
    let nowhere = Finding { variable: None, ..finding(Code::Rule, Severity::Error, "A", "no place") };
    let findings = [in_the_schema, unknown(), nowhere];
    let read = |label: &str, is_file| Read { label: label.into(), offers: 1, is_file };
    for (schema_path, read, expected, annotated) in [
        ("s.toml", vec![read("a.env", true)], "s.toml", "file=s.toml,line=1,"),
        (
            BUILT_IN_SCHEMA,
            vec![
                read("environment", false),
                read("/run/secrets", false),
                read("a.env", true),
                read(".env", true),
            ],
            "a.env",
            "file=a.env,line=1,",
        ),
        (BUILT_IN_SCHEMA, vec![read("environment", false)], ".env", ""),
        (BUILT_IN_SCHEMA, Vec::new(), ".env", ""),
    ] {
        let case = Case::new(findings.to_vec());
        let report = Report { schema_path, read: &read, ..case.report() };
        let log: serde_json::Value = serde_json::from_str(&sarif::render(&report, VERSION)).unwrap();
        let results = log["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), findings.len());
        for result in results {
            let place = &result["locations"][0]["physicalLocation"];
            let (uri, line) = (&place["artifactLocation"]["uri"], &place["region"]["startLine"]);
            assert_eq!((uri.as_str(), line.as_u64()), (Some(expected), Some(1)), "{result}");
        }
        for line in github::annotations(&report, None).lines() {
            let properties = line.split_once(' ').unwrap().1;
            assert!(properties.starts_with(&format!("{annotated}title=")), "{line}");
        }
    }
}

#[test]
fn sarif_fingerprints_outlive_moved_lines() {
    let prints = |findings: Vec<Finding>| -> Vec<String> {
        let log = sarif_of(findings);
        let results = log["runs"][0]["results"].as_array().unwrap().clone();
        results.iter().map(|result| result["partialFingerprints"].to_string()).collect()
    };
    let moved =
        Finding { origin: Some(at(".env", 99, 26)), message: "other words".into(), ..silently_defaulted() };
    assert_eq!(prints(vec![silently_defaulted()]), prints(vec![moved]));
    let twice = prints(vec![missing(), missing(), silently_defaulted()]);
    assert_eq!(twice.iter().collect::<BTreeSet<_>>().len(), 3, "{twice:?}");
}

#[test]
fn sarif_has_no_links_from_outside() {
    let log = sarif_of(hostile().findings);
    for result in log["runs"][0]["results"].as_array().unwrap() {
        let message = result["message"]["text"].as_str().unwrap();
        assert!(message.contains("[l] (http") && !message.contains("]("), "{message}");
    }
}
