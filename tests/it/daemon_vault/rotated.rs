//! Rotations over OpenBao by the real daemon: what is lent and what is written there,
//! with somebody who meddles, a line that is cut, and a value that does not work.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::running::{Daemon, Setup};
use super::{APP, LEASE, lines};
use crate::bao::http::Request;
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, postgres};
use crate::hostile::{Hostile, Reply};
use crate::program::Ran;
use crate::socket::client;

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web"]
[var.APP_ENV]
type = "string"
required = false
[var.SIGNING_KEY]
type = "hmac-key"
min_bytes = 32
required = false
generate = "base64url:48"
rotation = { strategy = "overlap", every = "30d", overlap = "2s" }
[var.API_KEY]
type = "api-key"
required = false
rotation = { strategy = "supplied" }
[var.DB_USER]
type = "string"
required = false
[var.DB_PASSWORD]
type = "password"
required = false
rotation = { strategy = "dynamic" }
"#;

const ON: &str = "[rotation]\nenabled = true\n[consumer.web]\ninstances = 1\nverifies = \"ring\"\n";

/// A key of these tests, and of nothing else.
const KEY: &str = "h4Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6Rq";

/// A daemon over these paths, with this behind its settings, ready.
fn daemon(bao: &Bao, address: &str, paths: &[&str], schema: &str, rest: &str) -> Daemon {
    let setup = Setup::new(address, bao.namespace(), bao.root_token(), "");
    setup.folder.file("dlconf.schema.toml", schema);
    setup.write(&lines(paths), rest);
    let mut daemon = setup.start();
    daemon.is_ready();
    daemon
}

/// How the rotation of a variable is.
fn of(daemon: &Daemon, key: &str) -> Value {
    let status = daemon.status().unwrap_or_default();
    let all = status["rotations"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["key"] == key).unwrap_or_default()
}

/// Waits until it is in this phase.
#[track_caller]
fn comes_to(daemon: &mut Daemon, key: &str, phase: &str) -> Value {
    daemon.until(&format!("{key} is {phase}"), |daemon| of(daemon, key)["phase"] == phase);
    of(daemon, key)
}

fn kid(rotation: &Value, slot: &str) -> String {
    rotation["kids"][slot].as_str().unwrap_or_else(|| panic!("no {slot}: {rotation:#}")).to_owned()
}

/// The instance of `web` says that it has taken up everything, and which keys it runs.
#[track_caller]
fn says(daemon: &Daemon, verifies: &[&str], signs: Option<&str>) {
    let version = daemon.status().unwrap()["version"].as_str().unwrap().to_owned();
    let runs =
        signs.map_or(json!({}), |signs| json!({ "SIGNING_KEY": { "verifies": verifies, "signs": signs } }));
    let said = json!({ "instance": "a", "version": version, "runs": runs });
    let socket = daemon.setup.folder.join("d.sock");
    client::ask(&socket, "PUT", "/v1/consumers/web", &[], &said.to_string()).is(200);
}

/// How often something became of a variable.
fn times(daemon: &Daemon, key: &str, outcome: &str) -> Option<f64> {
    daemon.metric(&format!("dlconf_rotation_total{{key=\"{key}\",outcome=\"{outcome}\"}}"))
}

fn stored(bao: &Bao) -> Value {
    bao.read("secret/data/app")["data"]["data"].clone()
}

fn login(daemon: &Daemon) -> (String, String) {
    let mut file = daemon.file();
    (file.remove("DB_USER").unwrap(), file.remove("DB_PASSWORD").unwrap())
}

fn accepts((user, password): &(String, String)) -> bool {
    postgres::accepts(user, password)
}

#[test]
fn a_login_is_replaced_and_the_old_one_ends_when_everybody_has_the_new_one() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "SIGNING_KEY": KEY }));
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "2h" }));
    let mut daemon = daemon(&bao, &bao.address(), &[APP, LEASE], SCHEMA, "");
    let old = login(&daemon);
    daemon.run(&["rotate", "DB_PASSWORD"]).warns("this daemon rotates nothing");
    // That rotations are on is no reason to lend anything anew.
    daemon.setup.write(&lines(&[APP, LEASE]), ON);
    daemon.signal(Signal::SIGHUP);
    daemon.until("rotations are on", |daemon| daemon.run(&["rotate", "DB_PASSWORD", "--dry-run"]).code == 0);
    assert_eq!(login(&daemon), old);
    says(&daemon, &[], None);

    daemon.run(&["rotate", "DB_PASSWORD"]).exits(0).warns("DB_PASSWORD: activated");
    daemon.until("the new login is delivered", |daemon| login(daemon) != old);
    let new = login(&daemon);
    assert!(accepts(&new) && accepts(&old));
    daemon.until("it waits", |daemon| {
        of(daemon, "DB_PASSWORD")["waiting"].to_string().contains("a does not have it yet")
    });
    let waits = of(&daemon, "DB_PASSWORD");
    assert_eq!((&waits["phase"], &waits["number"]), (&json!("activated"), &json!(1)), "{waits:#}");
    daemon.run(&["rotate", "DB_PASSWORD"]).exits(4).warns("not everybody uses the new one yet");
    assert!(accepts(&old), "somebody may use it");
    assert_eq!(login(&daemon), new);

    says(&daemon, &[], None);
    daemon.until("the old login is revoked", |_| !postgres::role_exists(&old.0));
    assert!(accepts(&new));
    comes_to(&mut daemon, "DB_PASSWORD", "steady");
    assert_eq!(times(&daemon, "DB_PASSWORD", "retired"), Some(1.0));

    // One that leaked ends at once, with the one before it.
    daemon.run(&["rotate", "DB_PASSWORD"]).exits(0);
    daemon.until("another is delivered", |daemon| login(daemon) != new);
    let leaked = login(&daemon);
    daemon.run(&["rotate", "DB_PASSWORD", "--compromised", "--yes"]).exits(0);
    daemon.until("the last is delivered", |daemon| login(daemon) != leaked);
    daemon.until("both have ended", |_| !postgres::role_exists(&new.0) && !postgres::role_exists(&leaked.0));
    assert!(accepts(&login(&daemon)));
    let log = daemon.log();
    for (_, password) in [&old, &new, &leaked] {
        assert!(!log.contains(password), "a password was told");
    }
}

#[test]
fn a_login_that_nobody_gives_up_lives_to_its_own_end_and_then_another_may_come() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "SIGNING_KEY": KEY }));
    bao.database_role("app", &json!({ "default_ttl": "4s", "max_ttl": "7s" }));
    let proxy = Proxy::to(&bao.address());
    let mut daemon = daemon(&bao, &proxy.address(), &[APP, LEASE], SCHEMA, ON);
    let old = login(&daemon);
    daemon.run(&["rotate", "DB_PASSWORD"]).exits(0);
    daemon.until("the new login is delivered", |daemon| login(daemon) != old);
    assert!(accepts(&old));
    daemon.until("it waits", |daemon| {
        of(daemon, "DB_PASSWORD")["waiting"].to_string().contains("0 of 1 instances have acknowledged it")
    });
    daemon.until("it has come to its end", |_| !accepts(&old));
    assert!(!proxy.requests().iter().any(|(_, path)| path.contains("revoke")), "{:?}", proxy.requests());
    daemon.until("it can be replaced again", |daemon| daemon.run(&["rotate", "DB_PASSWORD"]).code == 0);
    assert!(accepts(&login(&daemon)));
}

#[test]
fn a_key_goes_on_where_it_was_when_the_line_is_mended() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "SIGNING_KEY": KEY, "beside": "stays" }));
    bao.write("secret/metadata/app", &json!({ "cas_required": true }));
    let proxy = Proxy::to(&bao.address());
    let mut daemon = daemon(&bao, &proxy.address(), &[APP], SCHEMA, ON);
    daemon.run(&["rotate", "SIGNING_KEY"]).exits(0).warns("SIGNING_KEY: staged");
    let staged = comes_to(&mut daemon, "SIGNING_KEY", "staged");
    let next = kid(&staged, "next");
    let new = stored(&bao)["SIGNING_KEY_NEXT"].as_str().unwrap().to_owned();
    daemon.delivers("SIGNING_KEY_NEXT", &new);

    proxy.refuse();
    says(&daemon, &["initial", &next], Some("initial"));
    daemon.until("it cannot go on", |daemon| of(daemon, "SIGNING_KEY")["trouble"].is_object());
    daemon.stays("the phase stays", |daemon| of(daemon, "SIGNING_KEY")["phase"] == "staged");
    assert_eq!(stored(&bao)["SIGNING_KEY"], KEY);
    assert_eq!(daemon.value("SIGNING_KEY").as_deref(), Some(KEY));
    proxy.pass();
    let activated = comes_to(&mut daemon, "SIGNING_KEY", "activated");
    assert_eq!((kid(&activated, "current"), kid(&activated, "previous")), (next.clone(), "initial".into()));
    daemon.delivers("SIGNING_KEY", &new);
    daemon.delivers("SIGNING_KEY_PREVIOUS", KEY);
    says(&daemon, &["initial", &next], Some(&next));
    comes_to(&mut daemon, "SIGNING_KEY", "steady");
    let over = stored(&bao);
    assert_eq!((&over["SIGNING_KEY"], &over["beside"]), (&json!(new), &json!("stays")));
    let names: Vec<&String> = over.as_object().unwrap().keys().collect();
    assert_eq!(names, ["DLCONF_STATE", "SIGNING_KEY", "beside"]);
    // A rotation took it away: that is not held for a minute, as another deletion is.
    daemon.until("it is gone", |daemon| daemon.value("SIGNING_KEY_PREVIOUS").is_none());
    // Nobody else's write can be unseen here.
    let put = json!({ "data": { "SIGNING_KEY": KEY } });
    assert_eq!(bao.request("POST", "secret/data/app", bao.root_token(), Some(&put)).0, 400);
    let log = daemon.log();
    assert!(!log.contains(KEY) && !log.contains(&new), "a key was told");
}

#[test]
fn what_somebody_else_drops_is_put_back_and_told() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "SIGNING_KEY": KEY, "beside": "ours" }));
    let mut daemon = daemon(&bao, &bao.address(), &[APP], SCHEMA, ON);
    let doctor = |daemon: &Daemon| {
        let token = [("VAULT_TOKEN", bao.root_token())];
        daemon.setup.folder.run_with(&["--config", "set.toml", "doctor"], &token)
    };
    doctor(&daemon).says("a write need not name the version that it follows");
    daemon.run(&["rotate", "SIGNING_KEY"]).exits(0);
    let staged = comes_to(&mut daemon, "SIGNING_KEY", "staged");
    let next = kid(&staged, "next");
    let new = stored(&bao)["SIGNING_KEY_NEXT"].clone();

    bao.kv_put("app", &json!({ "SIGNING_KEY": KEY, "beside": "theirs" }));
    daemon.tells("somebody else wrote to vault:secret/app");
    daemon.until("it is counted", |daemon| times(daemon, "SIGNING_KEY", "repaired") == Some(1.0));
    let mended = stored(&bao);
    assert_eq!((&mended["SIGNING_KEY_NEXT"], &mended["beside"]), (&new, &json!("theirs")));
    assert_eq!(kid(&comes_to(&mut daemon, "SIGNING_KEY", "staged"), "next"), next);
    says(&daemon, &["initial", &next], Some("initial"));
    comes_to(&mut daemon, "SIGNING_KEY", "activated");
    assert_eq!(stored(&bao)["SIGNING_KEY"], new);

    // Where nothing is rotated, nobody is bothered with it.
    daemon.setup.write(&lines(&[APP]), "");
    doctor(&daemon).never_says("a write need not name the version that it follows");
}

#[test]
fn a_value_that_the_other_side_refuses_is_not_written() {
    const OLD: &str = "sk-old-0123456789abcdefghij";
    const RIGHT: &str = "sk-right-0123456789abcdefgh";
    let server = Hostile::new();
    let judge = |request: &Request| {
        let shown = request.headers.get("authorization").map(String::as_str);
        let right = shown.is_some_and(|shown| shown.strip_prefix("Bearer ") == Some(RIGHT));
        Reply::json(if right { 200 } else { 401 }, &json!({}))
    };
    server.on("/v1/models", [Reply::By(Arc::new(judge))]);
    let probe = format!(
        "[probe.api]\nkind = \"bearer\"\nsecret = \"API_KEY\"\nurl = \"{}/v1/models\"\n",
        server.address()
    );
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "API_KEY": OLD, "SIGNING_KEY": KEY }));
    let mut daemon = daemon(&bao, &bao.address(), &[APP], &format!("{SCHEMA}{probe}"), ON);
    let give = |daemon: &Daemon, value: &str| {
        let arguments = ["--config", "set.toml", "rotate", "API_KEY", "--from-stdin"];
        let mut command = daemon.setup.folder.command(&arguments);
        let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = streams.spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{value}").unwrap();
        Ran::of(&child.wait_with_output().unwrap()).never_says("sk-")
    };
    let refused = give(&daemon, "sk-wrong-0123456789abcdefgh");
    assert_ne!(refused.code, 0);
    refused.warns("the value for API_KEY does not work, and was not written").warns("401");
    assert_eq!(stored(&bao), json!({ "API_KEY": OLD, "SIGNING_KEY": KEY }));
    assert_eq!(times(&daemon, "API_KEY", "refused"), Some(1.0));
    give(&daemon, RIGHT).exits(0).warns("API_KEY: supplied");
    assert_eq!(stored(&bao)["API_KEY"], RIGHT);
    daemon.delivers("API_KEY", RIGHT);
    assert!(!daemon.log().contains("sk-"), "{}", daemon.log());
}
