//! The description that is served: of this release, of every route, of every
//! refusal.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use dlconf::serve::problem::Problem;
use dlconf::status::ChildHealth;
use dlconf::status::{AuditStatus, ConsumerStatus, Explanation, KeysInUse, OfferStatus};
use regex::Regex;
use serde_json::Value;

use super::*;
use crate::serve::fake;

const SOURCE: &str = include_str!("../../../src/serve/socket/mod.rs");
const CONVERSE: &str = include_str!("../../../src/serve/converse.rs");
const DOCUMENT: &str = include_str!("../../../src/serve/socket/openapi.json");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// Path, method, and what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let methods = |(path, item): (&String, &Value)| {
        let path = path.clone();
        let of =
            move |(method, operation): (&String, &Value)| (path.clone(), method.clone(), operation.clone());
        item.as_object().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    document["paths"].as_object().unwrap().iter().flat_map(methods).collect()
}

#[test]
fn it_is_of_this_release() {
    let (_folder, daemon) = daemon(&shop(""));
    let answer = get(&daemon.socket, "/v1/openapi.json").is(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), document());
    assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(daemon.status()["release"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn it_names_every_route_and_no_other() {
    let written = Regex::new(r#"\("(/v1/[^"]+)", (get|put|post|delete|patch)\("#).unwrap();
    let routed: BTreeSet<(String, String)> =
        written.captures_iter(SOURCE).map(|found| (found[1].to_owned(), found[2].to_owned())).collect();
    let told: BTreeSet<(String, String)> =
        operations(&document()).into_iter().map(|(path, method, _)| (path, method)).collect();
    assert_eq!(told, routed);
    assert_eq!(SOURCE.matches("\"/v1/").count(), routed.len() + 3, "a route that is written otherwise");
    // The router says the same.
    let (_folder, daemon) = daemon(&shop(""));
    for (path, method) in told {
        let answer = ask(&daemon.socket, "DELETE", &path.replace(['{', '}'], ""), &[], "");
        let allow = if method == "get" { "GET,HEAD".to_owned() } else { method.to_uppercase() };
        assert_eq!(answer.header("allow"), Some(&*allow), "{path}");
        answer.refuses(405, "wrong-method");
    }
}

#[test]
fn it_names_every_refusal_and_no_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/serve/socket");
    let sources = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let sources: String = sources
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let refusal = Regex::new(r#"Problem::new\(\s*[^",]+,\s*"([a-z-]+)""#).unwrap();
    let mut codes: BTreeSet<&str> =
        refusal.captures_iter(&sources).map(|found| found.get(1).unwrap().as_str()).collect();
    assert_eq!(refusal.captures_iter(&sources).count(), sources.matches("Problem::new(").count());
    // Those of the engine of rotations stand in a list.
    codes.extend(dlconf::serve::socket::REFUSALS);
    // Those of the connection stand in a table of their own.
    let (_, of_connections) = CONVERSE.split_once("fn last(").unwrap();
    let code = Regex::new(r#"\("([a-z-]+)", ""#).unwrap();
    assert!(code.is_match(of_connections));
    codes.extend(code.captures_iter(of_connections).map(|found| found.get(1).unwrap().as_str()));
    let document = document();
    let told = |codes: &Value| -> BTreeSet<String> {
        codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned()).collect()
    };
    let all = told(&document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]);
    assert_eq!(all.iter().map(String::as_str).collect::<BTreeSet<_>>(), codes);
    // Each belongs to an answer, but that of a route that there is not.
    let mut given = BTreeSet::from(["unknown-route".to_owned()]);
    for answer in document["components"]["responses"].as_object().unwrap().values() {
        let schema = &answer["content"]["application/problem+json"]["schema"];
        if !schema.is_null() {
            given.append(&mut told(&schema["allOf"][1]["properties"]["code"]["enum"]));
        }
    }
    assert_eq!(given, all);
}

#[test]
fn every_reference_leads_somewhere_and_every_part_is_referred_to() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    found.insert(target.trim_start_matches('#').to_owned());
                }
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for target in &found {
        assert!(document.pointer(target).is_some(), "{target}");
    }
    for (kind, parts) in document["components"].as_object().unwrap() {
        for name in parts.as_object().unwrap().keys() {
            // The data of an event is no answer by itself.
            let is_used = found.contains(&format!("/components/{kind}/{name}")) || name == "Change";
            assert!(is_used, "{kind} {name}");
        }
    }
}

const JUDGE: &str = "import json, sys\nfrom jsonschema import Draft202012Validator\n\
    told = json.load(sys.stdin)\nfor name, one in told['documents']:\n\
    \x20   schema = {'$ref': '#/components/schemas/' + name, 'components': told['components']}\n\
    \x20   for error in Draft202012Validator(schema).iter_errors(one):\n\
    \x20       print(name, list(error.absolute_path), error.message)";

/// What of these documents is not as the description says.
fn judge(documents: &Value) -> String {
    let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
    let mut child = Command::new(Path::new(&tools).join("venv/bin/python3"))
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = serde_json::json!({ "components": document()["components"], "documents": documents });
    child.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_document_is_as_it_says() {
    let mut status = fake::ill();
    let runs = [("JWT_SECRET", Some("initial")), ("DB_USER", None)].map(|(key, signs)| {
        let (verifies, signs) = (vec!["initial".to_owned()], signs.map(str::to_owned));
        (key.to_owned(), KeysInUse { verifies, signs })
    });
    status.consumers = vec![ConsumerStatus {
        name: "cc".into(),
        instance: "api-7c9f".into(),
        uid: 10_001,
        version: "7f3a.42".into(),
        current: true,
        health: Some(ChildHealth::Healthy),
        runs: runs.into(),
        age_seconds: 1,
        expires_in_seconds: 299,
    }];
    status.audit = Some(AuditStatus {
        path: "audit.jsonl".into(),
        required: true,
        records: 7,
        head: "0f".repeat(32),
        failure: Some("No space left on device".into()),
    });
    let offer = |verb: &str, age_seconds: Option<u64>| OfferStatus {
        verb: verb.into(),
        place: ".env:2:13".into(),
        source: age_seconds.map(|_| "local".into()),
        revision: None,
        age_seconds,
        words: "a secret".into(),
    };
    let explanation = Explanation {
        key: "JWT_SECRET".into(),
        environment: "production".into(),
        schema_path: "schema.toml".into(),
        declared: vec!["signs".into()],
        offers: vec![offer("wins", Some(1)), offer("unset", None)],
        findings: status.findings.clone(),
    };
    let mut refused = Problem {
        kind: "about:blank".into(),
        title: "Conflict".into(),
        status: 409,
        code: "refused".into(),
        detail: "it stays".into(),
        help: Some("see why".into()),
        findings: status.findings.clone(),
    };
    let (folder, daemon) = daemon(&shop("NAMED=x\n"));
    let of = |target: &str| get(&daemon.socket, target).is(200).json();
    let mut documents = serde_json::json!([
        ["Status", status],
        ["Status", fake::starting()],
        ["Status", fake::cut_off_and_full()],
        ["Status", fake::rotating()],
        ["Explanation", explanation],
        ["Problem", refused],
        ["Status", of("/v1/status")],
        ["Names", of("/v1/names")],
        ["Config", of("/v1/config")],
        ["Value", of("/v1/config/PORT")],
        ["Ring", of("/v1/keys/SIGNING_KEY")],
    ]);
    for key in ["PORT", "NAMED", "NOTE", "SIGNING_KEY", "RECORD_KEY_1"] {
        documents
            .as_array_mut()
            .unwrap()
            .push(serde_json::json!(["Explanation", of(&format!("/v1/explain/{key}"))]));
    }
    assert_eq!(judge(&documents), "");
    drop(folder);
    // It is judged at all.
    refused.code = "other".into();
    let found = judge(&serde_json::json!([["Problem", refused], ["Status", { "release": 1 }]]));
    assert!(found.contains("'other'") && found.contains("Status ['release']"), "{found}");
}
