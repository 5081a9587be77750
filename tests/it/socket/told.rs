//! The routes that tell of variables or act upon them: explain, forget, rotate,
//! names, status.

use dlconf::serve::socket::Names;
use dlconf::status::{Explanation, Status};
use serde_json::Value;

use super::client::ask_as;
use super::*;

fn post(daemon: &Daemon, target: &str) -> Answer {
    ask(&daemon.socket, "POST", target, &[], "")
}

#[test]
fn a_variable_is_explained_without_its_value() {
    let (_folder, daemon) = daemon(&shop("NAMED=note-Zq81\nDEAD=dead-Zq81\nMODE=fast\n"));
    let explain = |key: &str| -> Explanation {
        let answer = get(&daemon.socket, &format!("/v1/explain/{key}")).is(200);
        for value in [KEY, "Zq81", "shop\""] {
            assert!(!answer.body.contains(value), "{answer:?}");
        }
        serde_json::from_str(&answer.body).unwrap()
    };
    let key = explain("SIGNING_KEY");
    assert_eq!((key.offers[0].verb.as_str(), key.offers[0].place.as_str()), ("wins", ".env:2:13"));
    assert!(!explain("PORT").offers.last().unwrap().words.is_empty());
    explain("NOTE");
    // Names that only a source or an older schema knows.
    explain("NAMED");
    explain("DEAD");
    let words = get(&daemon.socket, "/v1/explain/NAMES").refuses(404, "unknown-variable");
    assert!(words.contains("did you mean NAME?"), "{words}");
    get(&daemon.socket, "/v1/explain/NAME?x=1").refuses(400, "malformed");
    post(&daemon, "/v1/explain/NAME").refuses(405, "wrong-method");
}

#[test]
fn what_is_told_is_narrowed_to_what_may_be_seen() {
    let policy =
        own() + &allow(SOMEBODY, &["NAME", "MAIL_*"], &["status"]) + &allow(SOMEBODY_ELSE, &["*"], &["read"]);
    let (folder, daemon) = ruled(&policy, &shop("MAIL_USER=ann\nNAMED=x\n"));
    let whole: Status = serde_json::from_str(&get(&daemon.socket, "/v1/status").is(200).body).unwrap();
    let names = |status: &Status| status.variables.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
    assert!(names(&whole).contains(&"SIGNING_KEY".to_owned()) && !whole.findings.is_empty(), "{whole:?}");
    let as_somebody = |target: &str| ask_as(SOMEBODY, &daemon.socket, "GET", target, "");
    let narrow: Status = serde_json::from_str(&as_somebody("/v1/status").is(200).body).unwrap();
    assert_eq!(names(&narrow), ["NAME", "MAIL_USER"]);
    assert_eq!((narrow.version, narrow.sources.len()), (whole.version, 1));
    assert!(narrow.findings.is_empty(), "{:?}", narrow.findings);
    // What is refused is told of as far as it concerns the caller.
    put(&folder, ".env", &shop("MAIL_USER=ann\nPORT=many\n"));
    daemon.says("is not published");
    let narrow = as_somebody("/v1/status").is(200);
    assert!(!narrow.body.contains("PORT"), "{narrow:?}");
    assert!(!narrow.json()["rejected"].is_null());
    as_somebody("/v1/explain/NAME").is(200);
    let words = as_somebody("/v1/explain/SIGNING_KEY").refuses(403, "not-permitted");
    assert!(words.contains("see the status of SIGNING_KEY"), "{words}");
    // Others' names, and those of nobody, are for who sees everything.
    let unknown = as_somebody("/v1/explain/NAMED").refuses(404, "unknown-variable");
    assert!(!unknown.contains(".env"), "{unknown}");
    get(&daemon.socket, "/v1/explain/NAMED");
    // Who may only read is told nothing of this.
    for target in ["/v1/status", "/v1/explain/NAME", "/v1/explain/NAMED"] {
        ask_as(SOMEBODY_ELSE, &daemon.socket, "GET", target, "").refuses(403, "not-permitted");
    }
}

#[test]
fn what_is_about_somebody_elses_variable_is_told_to_nobody_else() {
    // It is the same as MAIL_PASSWORD: who has the one would know the other.
    let policy = own() + &allow(SOMEBODY, &["SIGNING_KEY"], &["read", "status"]);
    let (_folder, daemon) = unready(&policy, &shop(&format!("MAIL_PASSWORD={KEY}\n")));
    let whole = get(&daemon.socket, "/v1/status").is(200);
    assert!(whole.body.contains("SIGNING_KEY holds the same secret as MAIL_PASSWORD"), "{whole:?}");
    for target in ["/v1/status", "/v1/explain/SIGNING_KEY"] {
        let told = ask_as(SOMEBODY, &daemon.socket, "GET", target, "").is(200);
        assert!(!told.body.contains("MAIL_PASSWORD") && !told.body.contains("same secret"), "{told:?}");
    }
}

#[test]
fn what_has_no_value_is_hidden_too() {
    // Nothing is published, so no variable is shown; the findings are there.
    let policy = own() + &allow(SOMEBODY, &["NAME"], &["status"]);
    let (_folder, daemon) = unready(&policy, &shop("PORT=many\n"));
    assert!(get(&daemon.socket, "/v1/status").is(200).body.contains("PORT"));
    let told = ask_as(SOMEBODY, &daemon.socket, "GET", "/v1/status", "").is(200);
    assert!(!told.body.contains("PORT") && !told.json()["rejected"].is_null(), "{told:?}");
}

#[test]
fn names_are_for_everybody_whom_a_rule_is_for() {
    let policy = own() + &allow(SOMEBODY, &["NAME"], &["watch"]);
    let (_folder, daemon) = ruled(&policy, &shop(""));
    let answer = ask_as(SOMEBODY, &daemon.socket, "GET", "/v1/names", "").is(200);
    let names: Names = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((names.environment.as_str(), names.environment_variable.as_str()), ("staging", "APP_ENV"));
    assert_eq!((names.service.as_deref(), names.schema.as_str()), (Some("web"), "shop"));
    for name in ["NAME", "MODE", "DEAD", "SIGNING_KEY_PREVIOUS", "RECORD_KEY_3", "RECORD_KEY_ACTIVE"] {
        assert!(names.known.iter().any(|known| known == name), "{name}: {names:?}");
    }
    for target in ["/v1/names", "/v1/openapi.json", "/v1/config", "/nothing"] {
        ask_as(SOMEBODY_ELSE, &daemon.socket, "GET", target, "").refuses(403, "not-permitted");
    }
}

#[test]
fn what_is_not_held_is_not_forgotten() {
    let (_folder, daemon) = daemon(&shop(""));
    assert!(post(&daemon, "/v1/forget/NAME").refuses(409, "not-held").contains("NAME is not held"));
    assert!(post(&daemon, "/v1/forget/NAEM").refuses(404, "unknown-variable").contains("NAME?"));
    let answer = get(&daemon.socket, "/v1/forget/NAME");
    assert_eq!(answer.header("allow"), Some("POST"));
    answer.refuses(405, "wrong-method");
}

/// Asks for a rotation with this body.
fn rotate(daemon: &Daemon, name: &str, body: &str) -> Answer {
    ask(&daemon.socket, "POST", &format!("/v1/rotate/{name}"), &[], body)
}

#[test]
fn who_may_rotate_is_told_why_not() {
    let policy = own() + &allow(SOMEBODY, &["*"], &["read"]) + &allow(SOMEBODY_ELSE, &["NAME"], &["rotate"]);
    let (_folder, daemon) = ruled(&policy, &shop(""));
    let answer = rotate(&daemon, "SIGNING_KEY", "");
    assert!(answer.json()["help"].as_str().unwrap().contains("`enabled = true` under [rotation]"));
    assert!(answer.refuses(409, "off").contains("rotates nothing"));
    assert!(rotate(&daemon, "NAME", "").refuses(409, "not-rotating").contains("how NAME is rotated"));
    rotate(&daemon, "SIGNING_KYE", "").refuses(404, "unknown-variable");
    let by = |uid| ask_as(uid, &daemon.socket, "POST", "/v1/rotate/SIGNING_KEY", "");
    by(SOMEBODY).refuses(403, "not-permitted");
    assert!(by(SOMEBODY_ELSE).refuses(403, "not-permitted").contains("rotate SIGNING_KEY"));
    assert_eq!(daemon.status()["rotator"], serde_json::Value::Null);
    assert_eq!(daemon.status()["rotations"], serde_json::json!([]));
}

#[test]
fn a_wish_that_is_none_is_not_guessed_at() {
    let (_folder, daemon) = daemon(&shop(""));
    for (body, status, code) in [
        ("{", 400, "malformed"),
        ("[]", 400, "malformed"),
        (r#"{"wish":"retire"}"#, 400, "malformed"),
        (r#"{"dryrun":true}"#, 400, "malformed"),
        (r#"{"value":1}"#, 400, "malformed"),
        (r#"{"value":""}"#, 422, "malformed"),
        (r#"{"reason":"two\nlines"}"#, 422, "malformed"),
        (r#"{"wish":"compromised","confirm":"NAME"}"#, 409, "needs-confirmation"),
        (r#"{"wish":"undo"}"#, 409, "off"),
        (r#"{"dry_run":true,"reason":"monthly","accept_logout":true,"take_over":true}"#, 409, "off"),
    ] {
        rotate(&daemon, "SIGNING_KEY", body).refuses(status, code);
    }
    let long = format!("{{\"value\":\"{}\"}}", "canary".repeat(20_000));
    let answer = rotate(&daemon, "SIGNING_KEY", &long);
    assert_eq!(answer.status, 413);
    // A value that was sent is nowhere.
    let told = rotate(&daemon, "SIGNING_KEY", r#"{"value":"canary-5uPpL13d"}"#);
    told.refuses(409, "off");
    assert_eq!(daemon.count("canary-5uPpL13d"), 0);
}

#[test]
fn routes_that_there_are_not() {
    let (_folder, daemon) = daemon(&shop(""));
    for target in
        ["/", "/v1", "/v1/", "/v1/config/", "/v1/config/NAME/", "/v2/config", "/v1/status/x", "/V1/status"]
    {
        get(&daemon.socket, target).refuses(404, "unknown-route");
    }
    let get_only = [
        "/v1/config",
        "/v1/config/NAME",
        "/v1/keys/NAME",
        "/v1/watch",
        "/v1/explain/NAME",
        "/v1/status",
        "/v1/names",
        "/v1/openapi.json",
    ];
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        for target in get_only {
            let answer = ask(&daemon.socket, method, target, &[], "");
            assert_eq!(answer.header("allow"), Some("GET,HEAD"), "{method} {target}");
            assert!(answer.refuses(405, "wrong-method").contains(method));
        }
    }
    let told: Value = get(&daemon.socket, "/v1/openapi.json").is(200).json();
    assert_eq!(told["openapi"], "3.1.0");
}
