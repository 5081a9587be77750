//! `check --probe`: exit codes, formats, and who may say where secrets go.

use std::sync::Arc;

use serde_json::json;

use super::{HEAD, folder, said, var};
use crate::bao::http::Request;
use crate::hostile::{Hostile, Reply};
use crate::program::{Folder, Ran};

const KEY: &str = "sk-canary-0123456789abcdefghij";

/// `/right` takes the key, `/wrong` none, `/open` all.
fn api() -> Hostile {
    let server = Hostile::new();
    let right = |request: &Request| {
        let is_right = request.headers["authorization"] == format!("Bearer {KEY}");
        Reply::json(if is_right { 200 } else { 401 }, &json!({ "seen": KEY }))
    };
    server.on("/right", [Reply::By(Arc::new(right))]);
    server.on("/wrong", [Reply::json(401, &json!({ "seen": KEY }))]);
    server.on("/open", [Reply::json(200, &json!({ "seen": KEY }))]);
    server
}

/// A variable and a probe that asks `path`, both named after it.
fn probe(server: &Hostile, path: &str) -> String {
    let name = path.to_uppercase();
    let url = format!("{}/{path}", server.address());
    format!(
        "{}[probe.{path}]\nkind = \"bearer\"\nsecret = \"{name}\"\nurl = \"{url}\"\n",
        var(&name, "password")
    )
}

fn check(folder: &Folder, more: &[&str]) -> Ran {
    folder.run(&[&["--schema", "schema.toml", "check", "--probe"], more].concat())
}

#[test]
fn exit_codes() {
    let server = api();
    for (path, more, code) in [
        ("right", &[][..], 0),
        ("right", &["--fail-on", "warning"], 0),
        ("wrong", &[], 1),
        ("open", &[], 0),
        ("open", &["--fail-on", "warning"], 1),
        ("open", &["--fail-on", "unjudged"], 1),
    ] {
        let folder = folder(&probe(&server, path), &format!("{}={KEY}\n", path.to_uppercase()));
        check(&folder, more).exits(code);
    }
}

#[test]
fn text_says_what_is_what() {
    let server = api();
    let schema = ["right", "wrong", "open"].map(|path| probe(&server, path)).concat();
    let folder = folder(&schema, &format!("RIGHT={KEY}\nWRONG=canary-no-1234567\nOPEN=canary-all-123456\n"));
    check(&folder, &[])
        .exits(1)
        .says("\nprobe right: RIGHT works\n")
        .says("\nerror: probe wrong: WRONG is wrong: 127.0.0.1:")
        .says("  = fix: get the right value of WRONG from the other side\n")
        .says("\nwarning: probe open: nobody can tell whether OPEN works: 127.0.0.1:")
        .says("1 secret wrong by their probes")
        .never_says("canary");
    // Without being asked, nobody is.
    let asked = server.requests().len();
    folder.run(&["--schema", "schema.toml", "check"]).exits(0).never_says("probe ");
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn json_is_of_the_published_shape() {
    let server = api();
    let schema = ["right", "wrong", "open"].map(|path| probe(&server, path)).concat();
    let folder = folder(&schema, &format!("RIGHT={KEY}\nWRONG=canary-no-1234567\nOPEN=canary-all-123456\n"));
    let ran = check(&folder, &["--format", "json"]).exits(1);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["ok"], false);
    assert_eq!(document["probes"][0]["help"], serde_json::Value::Null);
    let outcomes: Vec<_> =
        document["probes"].as_array().unwrap().iter().map(|p| p["outcome"].clone()).collect();
    assert_eq!(outcomes, ["works", "wrong", "unknown"]);
    crate::reports::machines::assert_valid(dlconf::report::json::SCHEMA, &ran.stdout);
    let without = folder.run(&["--schema", "schema.toml", "check", "--format", "json"]);
    let document: serde_json::Value = serde_json::from_str(&without.stdout).unwrap();
    assert!(document.get("probes").is_none());
}

#[test]
fn no_format_shows_a_secret_and_each_tells_what_is_wrong() {
    let server = api();
    let schema = ["right", "wrong", "open"].map(|path| probe(&server, path)).concat();
    let folder = folder(&schema, &format!("RIGHT={KEY}\nWRONG=canary-no-1234567\nOPEN=canary-all-123456\n"));
    for format in ["text", "json", "sarif", "github", "junit"] {
        for verbose in [&[][..], &["-vv"]] {
            let words =
                [verbose, &["--schema", "schema.toml", "check", "--probe", "--format", format]].concat();
            let ran = folder.run(&words).exits(1).never_says("canary");
            assert!(format!("{}{}", ran.stdout, ran.stderr).contains("WRONG is wrong"), "{format}");
        }
    }
}

#[test]
fn what_has_an_error_is_not_tried() {
    let server = api();
    let mut schema =
        probe(&server, "right").replace("required = false", "required = false\npattern = \"x+\"");
    let has_error = folder(&schema, &format!("RIGHT={KEY}\n"));
    let ran = check(&has_error, &["--format", "json"]).exits(1);
    assert!(said(&ran).concat().contains("RIGHT has an error, or could not be read"), "{}", ran.stdout);
    schema = probe(&server, "right");
    let unset = folder(&schema, "");
    check(&unset, &[]).exits(0).says("no secret that is set has a probe");
    assert!(server.requests().is_empty());
}

#[test]
fn only_the_secrets_of_the_service_are_tried() {
    let server = api();
    let schema = format!(
        "services = [\"web\", \"worker\"]\n{}{}",
        probe(&server, "right").replace("required = false", "required = false\nservices = [\"web\"]"),
        probe(&server, "open").replace("required = false", "required = false\nservices = [\"worker\"]"),
    );
    let folder = folder(&schema, &format!("RIGHT={KEY}\nOPEN={KEY}x\n"));
    let ran = folder
        .run(&["--schema", "schema.toml", "--service", "web", "check", "--probe", "--format", "json"])
        .exits(0);
    assert_eq!(said(&ran), ["right works probe right: RIGHT works"]);
}

#[test]
fn strangers_do_not_say_where_secrets_go() {
    let server = api();
    let schema = format!("{HEAD}{}", probe(&server, "right"));
    let found = Folder::with_env(&format!("RIGHT={KEY}\n"));
    found.file("dlconf.schema.toml", &schema);
    found
        .run(&["check", "--probe"])
        .exits(4)
        .warns("dlconf.schema.toml was found, not named")
        .warns("--schema dlconf.schema.toml");
    assert!(server.requests().is_empty());
    found.run(&["--schema", "dlconf.schema.toml", "check", "--probe"]).exits(0);
    assert_eq!(server.requests().len(), 2);

    // Settings choose the sources, and may name a schema.
    found.file(
        "dlconf.toml",
        "schema = \"dlconf.schema.toml\"\nenvironment = \"development\"\n[source.local]\ntype = \"dotenv\"\n",
    );
    for arguments in [&["check", "--probe"][..], &["--schema", "dlconf.schema.toml", "check", "--probe"]] {
        found.run(arguments).exits(4).warns("dlconf.toml was found, not named").warns("--config dlconf.toml");
    }
    assert_eq!(server.requests().len(), 2);
    found.run(&["--config", "dlconf.toml", "check", "--probe"]).exits(0);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn wrong_usage() {
    let folder = folder(&var("A", "password"), "");
    check(&folder, &["--offline"]).exits(2).warns("--offline forbids it");
    check(&folder, &["--names-only"]).exits(2);
}

#[test]
fn the_built_in_schema_asks_nobody_who_is_not_named() {
    // The hosts are wherever a .env says.
    let folder = Folder::with_env(
        "SMTP_HOST=mail.evil.example\nSMTP_PORT=587\nSMTP_USER=u\nSMTP_PASS=canary-Qm2Vx9Lr4Tn8\n\
         DB_HOST=db.evil.example\nDB_PASSWORD=canary-Wk1Zp6Hs3Yd5\n",
    );
    let ran =
        folder.run(&["--env", "development", "check", "--probe", "--format", "json"]).never_says("canary");
    let said = said(&ran);
    assert_eq!(said.len(), 2, "{said:?}");
    for (line, variable) in said.iter().zip(["SMTP_HOST", "DB_HOST"]) {
        assert!(line.contains(&format!("the host that {variable} names is on no list")), "{line}");
    }
}

#[test]
fn settings_allow_hosts_too() {
    let server = api();
    let probe =
        probe(&server, "right").replace(&server.address(), "${BASE}").replace("${BASE}/right", "${BASE}");
    let folder =
        folder(&(probe + &var("BASE", "url")), &format!("RIGHT={KEY}\nBASE={}/right\n", server.address()));
    for (hosts, expected) in [("[]", "is on no list"), ("[\"127.0.0.1\"]", "RIGHT works")] {
        let settings = format!(
            "schema = \"schema.toml\"\nenvironment = \"development\"\n[rotation]\nprobe_hosts = {hosts}\n\
             [source.local]\ntype = \"dotenv\"\n"
        );
        folder.file("named.toml", &settings);
        folder.run(&["--config", "named.toml", "check", "--probe"]).exits(0).says(expected);
    }
}
