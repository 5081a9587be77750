//! Unreachable is not missing: whatever a server does instead of answering, its
//! variables are 'not judged', in time, and nothing that it says is repeated.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Setting;
use crate::bao::{OwnBao, poll};
use crate::hostile::{Hostile, Reply};
use crate::program::{Folder, Ran};

const TOKEN: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";
const APP: &str = "{ mount = \"secret\", path = \"app\" }";
const OTHER: &str = "{ mount = \"secret\", path = \"other\" }";
const CHECK: [&str; 3] = ["check", "--format", "json"];

/// Settings that give up soon, with these `paths`.
fn hasty(address: &str, paths: &str) -> Setting {
    with_times(address, paths, "5s", "1s")
}

/// Settings for a server whose first answer is the last: they wait for a slow machine.
fn patient(address: &str, paths: &str) -> Setting {
    with_times(address, paths, "20s", "20s")
}

fn with_times(address: &str, paths: &str, timeout: &str, deadline: &str) -> Setting {
    Setting::of(address, "", &lines(paths, timeout, deadline))
}

fn lines(paths: &str, timeout: &str, deadline: &str) -> String {
    format!(
        "auth = {{ method = \"token\" }}\ntimeout = \"{timeout}\"\ndeadline = \"{deadline}\"\npaths = [{paths}]\n"
    )
}

/// An answer of KV v2.
fn kv(data: &Value) -> Reply {
    Reply::json(200, &kv_body(data))
}

fn kv_body(data: &Value) -> Value {
    let metadata = json!({
        "version": 1, "created_time": "2024-05-01T00:00:00Z", "deletion_time": "", "destroyed": false,
    });
    json!({ "request_id": "r", "data": { "data": data, "metadata": metadata } })
}

fn good() -> Reply {
    kv(&json!({ "TOKEN": TOKEN }))
}

/// The variables of `--format json` that were not judged, with the reasons.
fn unjudged(ran: &Ran) -> Vec<String> {
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    let list = document["unjudged"].as_array().unwrap();
    let text = |u: &Value| format!("{}: {}", u["variable"].as_str().unwrap(), u["reason"].as_str().unwrap());
    list.iter().map(text).collect()
}

/// That this is one fault of the source, and nothing is called missing.
#[track_caller]
fn is_unavailable(what: &str, ran: Ran) -> Ran {
    let ran = ran.exits(3);
    assert_eq!(ran.findings(), ["DLC050 - error"], "{what}: {}", ran.stdout);
    let all = ["PORT", "TOKEN", "DB_USER", "DB_PASSWORD"];
    assert_eq!(unjudged(&ran), all.map(|name| format!("{name}: source vault could not be read")), "{what}");
    ran
}

#[test]
fn behaviour_24_whatever_is_no_answer_is_unavailable_and_never_missing() {
    let bad_404 = Reply::Answer { status: 404, headers: Vec::new(), body: b"404 page not found\n".to_vec() };
    let other_json = Reply::json(404, &json!({ "message": "no Route matched" }));
    let other_errors = Reply::json(404, &json!({ "errors": [{ "code": "NOT_FOUND" }] }));
    let reason = Reply::json(404, &json!({ "errors": ["no such app"] }));
    let cases = [
        ("a proxy's 404", bad_404, "is not Vault's JSON"),
        ("a page with 404", Reply::html(404), "is not Vault's JSON"),
        ("a 404 in other JSON", other_json, "is not Vault's JSON"),
        ("errors of others", other_errors, "is not Vault's JSON"),
        ("a 404 for a reason", reason, "refuses the request (404)"),
        ("412", Reply::error(412), "lags behind its cluster"),
        ("429", Reply::error(429), "asks for fewer requests (429)"),
        ("472", Reply::error(472), "is a standby that does not serve this (472)"),
        ("473", Reply::error(473), "is a standby that does not serve this (473)"),
        ("500", Reply::error(500), "failed (500)"),
        ("502", Reply::html(502), "failed (502)"),
        ("503", Reply::error(503), "is sealed"),
        ("a page with 503", Reply::html(503), "failed (503)"),
        ("a page", Reply::html(200), "is not Vault's JSON"),
        ("half", Reply::half(&kv_body(&json!({ "TOKEN": TOKEN }))), "is not Vault's JSON"),
        (
            "an empty 200",
            Reply::Answer { status: 200, headers: Vec::new(), body: Vec::new() },
            "Vault's JSON",
        ),
        ("a redirect", Reply::redirect("http://127.0.0.1:1/v1/x"), "sends us elsewhere (307)"),
        ("drip", Reply::Drip, "did not answer in time"),
        ("silence", Reply::Silence, "did not answer in time"),
        ("a head", Reply::HeadOnly, "the connection broke"),
        ("the end", Reply::Close, "the connection broke"),
    ];
    // Each waits until its deadline: side by side.
    std::thread::scope(|scope| {
        for (what, reply, words) in cases {
            scope.spawn(move || {
                let server = Hostile::new();
                server.on("/v1/secret/data/app", [reply]);
                // Absence is excused, and this is none.
                let mut setting = hasty(&server.address(), APP);
                setting.lines(&format!("{}required = false\n", lines(APP, "5s", "1s")));
                let ran = setting.run("t", &CHECK);
                is_unavailable(what, ran).says(words);
            });
        }
    });
}

#[test]
fn a_404_that_states_no_deletion_is_none() {
    let server = Hostile::new();
    for deletion in [json!({}), json!({ "version": 3, "deletion_time": "", "destroyed": false })] {
        let body =
            json!({ "request_id": "r", "data": { "data": null, "subkeys": null, "metadata": deletion } });
        server.on("/v1/secret/data/app", [Reply::json(404, &body)]);
        server.on("/v1/secret/subkeys/app", [Reply::json(404, &body)]);
        let setting = patient(&server.address(), APP);
        is_unavailable("nothing", setting.run("t", &CHECK)).says("there is nothing at secret/app");
        let names = [&CHECK[..], &["--names-only"]].concat();
        is_unavailable("no names", setting.run("t", &names)).says("there is nothing at secret/app");
    }
}

#[test]
fn the_deadline_holds_whatever_the_server_does() {
    std::thread::scope(|scope| {
        for reply in [Reply::Silence, Reply::Drip, Reply::error(500)] {
            scope.spawn(move || {
                let server = Hostile::new();
                server.on("/v1/secret/data/app", [reply]);
                let setting = with_times(&server.address(), APP, "300ms", "1s");
                let began = Instant::now();
                is_unavailable("late", setting.run("t", &CHECK));
                assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
                assert!(server.requests().len() > 1, "it asked again");
            });
        }
    });
}

#[test]
fn an_endless_body_is_cut_where_no_secret_is_as_long() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [Reply::Endless]);
    let setting = with_times(&server.address(), APP, "20s", "30s");
    is_unavailable("endless", setting.run("t", &CHECK)).says("more than any secret can be");
    // What is not taken cannot fill the memory; the rest is in the sockets' buffers.
    let sent = server.endless_bytes();
    assert!(sent < 32 << 20, "{sent}");
    assert_eq!(server.requests().len(), 1, "it is not asked for again");
}

#[test]
fn one_refused_path_leaves_the_others_alone() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [Reply::error(403)]);
    server.on("/v1/secret/data/other", [kv(&json!({ "PORT": "many", "DB_USER": "ann" }))]);
    let setting = patient(&server.address(), &format!("{APP}, {OTHER}"));
    let ran = setting.run("t", &CHECK).exits(3);
    assert_eq!(ran.findings(), ["DLC051 - error", "DLC010 PORT error"]);
    let names = ["TOKEN", "DB_PASSWORD"].map(|name| format!("{name}: source vault could not be read"));
    assert_eq!(unjudged(&ran), names);
    ran.says("reading secret/data/app needs the capability `read` on `secret/data/app`");
    let reads = server.requests().into_iter().filter(|request| request.path.contains("/data/")).count();
    assert_eq!(reads, 2, "a refusal is not repeated");
}

#[test]
fn one_failing_path_is_asked_again_and_the_other_is_not() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [Reply::error(500), Reply::Close, good()]);
    server.on("/v1/secret/data/other", [kv(&json!({ "PORT": "1" }))]);
    let setting = with_times(&server.address(), &format!("{APP}, {OTHER}"), "5s", "20s");
    setting.run("t", &CHECK).exits(0);
    let requests = server.requests();
    let asked = |path: &str| requests.iter().filter(|request| request.path.starts_with(path)).count();
    assert_eq!((asked("/v1/secret/data/app"), asked("/v1/secret/data/other")), (3, 1));
}

/// Plans these replies for `secret/app`, and notes when each was asked for.
fn noted(server: &Hostile, replies: Vec<Reply>) -> Arc<Mutex<Vec<Instant>>> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noting = |reply: Reply| {
        let times = Arc::clone(&times);
        Reply::By(Arc::new(move |_| {
            times.lock().unwrap().push(Instant::now());
            reply.clone()
        }))
    };
    server.on("/v1/secret/data/app", replies.into_iter().map(noting));
    times
}

fn gaps(times: &Mutex<Vec<Instant>>) -> Vec<Duration> {
    times.lock().unwrap().windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[test]
fn behaviour_6_retries_back_off_until_the_answer_is_good() {
    let server = Hostile::new();
    let times = noted(&server, vec![Reply::error(500), Reply::html(200), Reply::HeadOnly, good()]);
    let setting = with_times(&server.address(), APP, "5s", "30s");
    setting.run("t", &CHECK).exits(0);
    let gaps = gaps(&times);
    assert_eq!(gaps.len(), 3);
    // Of each wait at least half, whatever the jitter.
    for (gap, least) in gaps.iter().zip([125, 250, 500]) {
        assert!(*gap >= Duration::from_millis(least), "{gaps:?}");
    }
}

#[test]
fn retry_after_is_honoured_within_the_deadline() {
    let server = Hostile::new();
    let times = noted(&server, vec![Reply::error(429).header("retry-after", "1"), good()]);
    let setting = with_times(&server.address(), APP, "5s", "30s");
    setting.run("t", &CHECK).exits(0);
    let gaps = gaps(&times);
    assert!(gaps.len() == 1 && gaps[0] >= Duration::from_secs(1), "{gaps:?}");

    let server = Hostile::new();
    let times = noted(&server, vec![Reply::error(503).header("retry-after", "60"), good()]);
    let began = Instant::now();
    is_unavailable("busy", hasty(&server.address(), APP).run("t", &CHECK));
    assert!(began.elapsed() < Duration::from_secs(10), "it does not wait for what comes too late");
    assert_eq!(times.lock().unwrap().len(), 1);
}

#[test]
fn a_server_that_is_away_is_one_fault() {
    let paths = (0..20).map(|n| format!("{{ mount = \"secret\", path = \"p{n}\" }}"));
    let paths = paths.collect::<Vec<_>>().join(", ");
    let nobody = Hostile::new().address();
    let ran = is_unavailable("nobody", hasty(&nobody, &paths).run("t", &CHECK));
    ran.says(&format!("{nobody} refuses connections"));

    let server = Hostile::new();
    for n in 0..20 {
        server.on(&format!("/v1/secret/data/p{n}"), [Reply::error(502)]);
    }
    is_unavailable("all fail", hasty(&server.address(), &paths).run("t", &CHECK)).says("failed (502)");

    // A name that cannot be asked for: no resolver is needed to know.
    let host = format!("http://{}.invalid:8200", "x".repeat(64));
    is_unavailable("no host", hasty(&host, &paths).run("t", &CHECK)).says("its name has no address");
}

#[test]
fn of_two_servers_one_away_the_values_of_the_other_are_judged() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [kv(&json!({ "PORT": "many", "DB_USER": "ann" }))]);
    let nobody = Hostile::new().address();
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", super::SCHEMA);
    let source = |name: &str, address: &str| {
        format!(
            "[source.{name}]\ntype = \"vault\"\naddress = \"{address}\"\ndeadline = \"500ms\"\npaths = [{APP}]\n"
        )
    };
    let head = "environment = \"production\"\norder = [\"here\", \"away\"]\n";
    folder.file("set.toml", &[head, &source("here", &server.address()), &source("away", &nobody)].concat());
    let words = [&["--config", "set.toml"], &CHECK[..]].concat();
    let ran = folder.run_with(&words, &[("VAULT_TOKEN", "t")]).exits(3);
    assert_eq!(ran.findings(), ["DLC050 - error", "DLC010 PORT error"]);
    let names = ["TOKEN", "DB_PASSWORD"].map(|name| format!("{name}: source away could not be read"));
    assert_eq!(unjudged(&ran), names);
}

#[test]
fn nothing_is_rendered_or_run_from_half_a_configuration() {
    use std::os::unix::fs::MetadataExt as _;
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [kv(&json!({ "TOKEN": TOKEN }))]);
    server.on("/v1/secret/data/other", [Reply::error(500)]);
    // Everything that is required is there: what is not read may still say otherwise.
    let setting = with_times(&server.address(), &format!("{APP}, {OTHER}"), "5s", "300ms");
    setting.folder.file("out.env", "TOKEN=older\n");
    let look = || {
        let metadata = std::fs::metadata(setting.folder.join("out.env")).unwrap();
        (metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), setting.folder.read("out.env"))
    };
    let before = look();
    let ran = setting.run("t", &["render", "-o", "out.env"]).exits(3).never_says(TOKEN);
    assert_eq!(ran.stdout, "");
    assert_eq!(look(), before);
    let ran = setting.run("t", &["render"]).exits(3).never_says(TOKEN);
    assert_eq!(ran.stdout, "");
    setting.run("t", &["run", "--", "touch", "started"]).exits(125).never_says(TOKEN);
    assert!(!setting.folder.join("started").exists());
    setting.run("t", &["get", "--local", "TOKEN"]).exits(3).never_says(TOKEN);
}

#[test]
fn behaviour_17_nothing_of_what_a_server_says_is_repeated() {
    const CANARY: &str = "canary7Hq2vXc9Lp4Zr8WnTk3Bd6";
    let token = "s.tokencanary5Fs1Gj7Mu";
    let texts = ["permission denied", "Vault is sealed", "invalid role or secret ID", "lease not found"];
    let errors = texts.map(|text| format!("{text}: {CANARY} {token} \u{1b}[31m"));
    let error = |status| {
        let body = json!({ "errors": errors, "warnings": [CANARY], "data": { "canary": CANARY } });
        Reply::json(status, &body).header("www-authenticate", CANARY).header("retry-after", "60")
    };
    let text = |status, text: &str| Reply::Answer { status, headers: Vec::new(), body: text.into() };
    let mut replies: Vec<Reply> = [400, 403, 404, 405, 412, 429, 472, 500, 503].map(error).into();
    replies.push(Reply::redirect(&format!("http://127.0.0.1:1/{CANARY}")));
    replies.push(text(200, &format!("<title>{CANARY} {token}</title>")));
    replies.push(text(502, &format!("<title>{CANARY} {token}</title>")));
    // JSON of another shape: what is wrong with it is not quoted either.
    replies.push(text(200, &format!("{{\"data\": \"{CANARY}\"}}")));
    replies.push(text(
        200,
        &format!("{{\"data\": {{\"data\": \"{CANARY}\", \"metadata\": {{\"version\": \"{CANARY}\"}}}}}}"),
    ));
    replies.push(text(200, &format!("{{\"data\": {{\"data\": {{\"TOKEN\": {CANARY}}}}}}}")));
    std::thread::scope(|scope| {
        for (number, reply) in replies.into_iter().enumerate() {
            scope.spawn(move || {
                let server = Hostile::new();
                server.on("/v1/secret/data/app", [reply.clone()]);
                server.on("/v1/secret/subkeys/app", [reply.clone()]);
                server.on("/v1/sys/health", [reply.clone()]);
                server.on("/v1/auth/token/lookup-self", [reply]);
                let setting = with_times(&server.address(), APP, "5s", "300ms");
                for words in [&["check"][..], &["check", "--names-only"], &["explain", "TOKEN"], &["render"]]
                {
                    let words = [&["-vv"], words].concat();
                    let ran = setting.run(token, &words);
                    assert_eq!(ran.code, 3, "reply {number}, {words:?}: {}{}", ran.stdout, ran.stderr);
                    ran.never_says("canary").never_says("\u{1b}");
                }
                let environment = [("VAULT_TOKEN", token), ("RUST_LOG", "trace"), ("RUST_BACKTRACE", "1")];
                let words = ["--config", "set.toml", "-vv", "doctor"];
                setting.folder.run_with(&words, &environment).never_says("canary").never_says("\u{1b}");
            });
        }
    });
}

#[test]
fn offline_nobody_is_asked_and_the_list_says_so() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [good()]);
    let setting = patient(&server.address(), APP);
    let ran = setting.run("t", &[&["--offline"], &CHECK[..]].concat()).exits(1);
    assert!(ran.findings().is_empty(), "{}", ran.stdout);
    let all = ["PORT", "TOKEN", "DB_USER", "DB_PASSWORD"];
    assert_eq!(unjudged(&ran), all.map(|name| format!("{name}: source vault was not asked: --offline")));
    setting
        .run("t", &["--offline", "check"])
        .exits(1)
        .says("was not asked: --offline")
        .never_says("could not be");
    assert!(server.requests().is_empty());
    setting.run("t", &CHECK).exits(0);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_real_server_that_is_sealed_or_killed_is_unavailable() {
    let mut own = OwnBao::production(false);
    own.kv_put("app", &json!({ "TOKEN": TOKEN }));
    let setting = hasty(&own.address(), APP);
    let token = own.root_token().to_owned();
    patient(&own.address(), APP).run(&token, &CHECK).exits(0);
    own.seal();
    is_unavailable("sealed", setting.run(&token, &CHECK)).says("is sealed").says("unseal");
    own.kill();
    is_unavailable("killed", setting.run(&token, &CHECK)).says("refuses connections");
}

#[test]
fn a_real_server_that_comes_back_within_the_deadline_is_waited_for() {
    let mut own = OwnBao::production(false);
    own.kv_put("app", &json!({ "TOKEN": TOKEN }));
    let setting = with_times(&own.address(), APP, "5s", "60s");
    let token = own.root_token().to_owned();
    own.kill();
    // In its place somebody who tells that dlconf came, and found nobody to answer.
    let placeholder = TcpListener::bind(own.address().strip_prefix("http://").unwrap()).unwrap();
    let mut command = setting.folder.command(&["--config", "set.toml", "get", "--local", "TOKEN"]);
    command.env("VAULT_TOKEN", &token).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    drop(placeholder.accept().unwrap());
    drop(placeholder);
    // Nobody, then sealed, then there.
    own.start();
    own.unseal();
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(0);
    assert_eq!(ran.stdout.trim_end(), TOKEN);
}

#[test]
fn who_waits_is_told_so() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [Reply::Silence]);
    let setting = with_times(&server.address(), APP, "2s", "2s");
    setting.run("t", &["check"]).exits(3).warns("waiting for vault");
    setting.run("t", &["-q", "check"]).exits(3).never_says("waiting");
}

#[test]
fn who_ends_a_command_while_it_waits_leaves_no_login_behind() {
    for (signal, number) in [(Signal::SIGTERM, 15), (Signal::SIGINT, 2), (Signal::SIGHUP, 1)] {
        let server = Hostile::new();
        let login = json!({ "request_id": "x", "auth": {
            "client_token": "s.login", "lease_duration": 3600, "renewable": true } });
        server.on("/v1/auth/approle/login", [Reply::json(200, &login)]);
        server.on("/v1/secret/data/app", [Reply::Silence]);
        server.on("/v1/auth/token/revoke-self", [Reply::json(204, &json!(null))]);
        let auth = "auth = { method = \"approle\", role_id = \"r\" }\n";
        let setting =
            Setting::of(&server.address(), "", &format!("{auth}paths = [{APP}]\ntimeout = \"20s\"\n"));
        let mut command = setting.folder.command(&["--config", "set.toml", "check"]);
        let mut dlconf = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let asked = |what: &str| server.requests().iter().any(|request| request.path.ends_with(what));
        poll(|| asked("/data/app").then_some(())).unwrap();
        kill(Pid::from_raw(dlconf.id().try_into().unwrap()), signal).unwrap();
        let status = dlconf.wait().unwrap();
        assert_eq!(status.signal(), Some(number), "{status:?}");
        assert!(asked("/revoke-self"), "{:?}", server.requests());
    }
}
