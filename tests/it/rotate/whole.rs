//! Whole rotations, over an env file: the command, the daemon, and programs that say what
//! they run.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{KEY, SETTINGS_FILE, daemon, rotate};
use crate::daemon::{Daemon, wait_for};
use crate::program::{Folder, Ran};
use crate::socket::client;

const ON: &str = "[rotation]\nenabled = true\n[consumer.web]\ninstances = 2\nverifies = \"ring\"\n";

/// How the rotation of a key is.
fn of(status: &Value, key: &str) -> Value {
    let all = status["rotations"].as_array().cloned().unwrap_or_default();
    all.into_iter().find(|one| one["key"] == key).unwrap_or_default()
}

/// Waits until it is so.
#[track_caller]
fn until(daemon: &Daemon, key: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    of(&daemon.until(what, |status| is_so(&of(status, key))), key)
}

fn kid(rotation: &Value, slot: &str) -> String {
    rotation["kids"][slot].as_str().unwrap_or_else(|| panic!("no {slot}: {rotation:#}")).to_owned()
}

/// An instance of `web` says what it runs.
#[track_caller]
fn says(daemon: &Daemon, instance: &str, verifies: &[&str], signs: &str) {
    let version = daemon.status()["version"].as_str().unwrap().to_owned();
    let said = json!({
        "instance": instance, "version": version,
        "runs": { "SIGNING_KEY": { "verifies": verifies, "signs": signs } },
    });
    client::ask(&daemon.socket, "PUT", "/v1/consumers/web", &[], &said.to_string()).is(200);
}

/// What the file has now.
fn fields(folder: &Folder) -> BTreeMap<String, String> {
    let lines = folder.read(".env");
    let pairs = lines.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

#[test]
fn a_key_goes_from_one_to_the_next_and_nobody_is_left_behind() {
    let (folder, daemon) = daemon(ON);
    rotate(&folder, &["SIGNING_KEY", "--reason", "monthly"]).exits(0).warns("SIGNING_KEY: staged, in .env");
    let staged = until(&daemon, "SIGNING_KEY", "staging", |one| one["phase"] == "staged");
    let next = kid(&staged, "next");
    let new = fields(&folder)["SIGNING_KEY_NEXT"].clone();
    // One of two is not enough, and who has not said so least of all.
    says(&daemon, "a", &["initial", &next], "initial");
    says(&daemon, "b", &["initial"], "initial");
    let waits = until(&daemon, "SIGNING_KEY", "waiting", |one| {
        one["waiting"].to_string().contains("b does not have it yet")
    });
    assert_eq!((&waits["phase"], fields(&folder)["SIGNING_KEY"].as_str()), (&json!("staged"), KEY));
    let late = rotate(&folder, &["SIGNING_KEY"]).exits(4);
    late.warns("is under way").warns("--undo");
    says(&daemon, "b", &["initial", &next], "initial");
    let activated = until(&daemon, "SIGNING_KEY", "activation", |one| one["phase"] == "activated");
    assert_eq!(
        (kid(&activated, "current"), kid(&activated, "previous")),
        (next.clone(), "initial".to_owned())
    );
    let file = fields(&folder);
    assert_eq!((file["SIGNING_KEY"].as_str(), file["SIGNING_KEY_PREVIOUS"].as_str()), (&*new, KEY));
    assert!(activated["retires_seconds"].is_null() || activated["waiting"] == json!([]), "{activated:#}");
    // The end of the one before is fixed when everybody uses the new one.
    for instance in ["a", "b"] {
        says(&daemon, instance, &["initial", &next], &next);
    }
    let settled = until(&daemon, "SIGNING_KEY", "settling", |one| one["retires_seconds"].is_u64());
    assert!(settled["retires_seconds"].as_u64().unwrap() > 3500, "{settled:#}");
    // It leaked: it goes at once, if its name is repeated.
    let asked = rotate(&folder, &["SIGNING_KEY", "--compromised"]).exits(4);
    asked.warns("logs out").warns("--yes");
    rotate(&folder, &["SIGNING_KEY", "--compromised", "--yes"]).exits(0).warns("SIGNING_KEY: compromised");
    let over = until(&daemon, "SIGNING_KEY", "the end", |one| one["phase"] == "steady");
    assert_eq!(over["kids"], json!({ "current": next }));
    assert!(!fields(&folder).contains_key("SIGNING_KEY_PREVIOUS"));
    let (_, metrics) = daemon.page("/metrics");
    for outcome in ["staged", "activated", "compromised", "refused"] {
        let line = format!("dlconf_rotation_total{{key=\"SIGNING_KEY\",outcome=\"{outcome}\"}} 1");
        assert!(metrics.contains(&line), "{line} not in\n{metrics}");
    }
    let ended = daemon.end(Signal::SIGTERM).exits(0);
    let told = ended.lines.join("\n");
    assert!(!told.contains(KEY) && !told.contains(&new), "a key was told");
}

#[test]
fn a_new_key_is_seen_by_nobody_who_waits_for_it() {
    let (folder, daemon) = daemon(ON);
    let mut command = folder.command(&[&SETTINGS_FILE[..], &["rotate", "SIGNING_KEY", "--wait"]].concat());
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let staged = until(&daemon, "SIGNING_KEY", "staging", |one| one["phase"] == "staged");
    let next = kid(&staged, "next");
    let new = fields(&folder)["SIGNING_KEY_NEXT"].clone();
    for instance in ["a", "b"] {
        says(&daemon, instance, &["initial", &next], "initial");
    }
    until(&daemon, "SIGNING_KEY", "activation", |one| one["phase"] == "activated");
    for instance in ["a", "b"] {
        says(&daemon, instance, &["initial", &next], &next);
    }
    let ran = Ran::of(&waiting.wait_with_output().unwrap()).exits(0);
    assert_eq!(ran.stdout, "");
    ran.warns("SIGNING_KEY: staged").warns("done: every consumer uses the new key").never_says(&new);
}

#[test]
fn who_does_not_acknowledge_is_named_with_5() {
    let (folder, daemon) = daemon(ON);
    says(&daemon, "a", &["initial"], "initial");
    let ran = rotate(&folder, &["SIGNING_KEY", "--wait", "--timeout", "1s"]).exits(5);
    ran.warns("waits after 1 s").warns("web: a does not have it yet").warns("--undo` gives it up");
    let text = folder.run(&[&SETTINGS_FILE[..], &["status"]].concat()).exits(0).stdout;
    assert!(text.contains("warning: the rotation of SIGNING_KEY waits"), "{text}");
    rotate(&folder, &["SIGNING_KEY", "--undo"]).exits(0).warns("SIGNING_KEY: undone");
    until(&daemon, "SIGNING_KEY", "undoing", |one| one["phase"] == "steady");
    let file = fields(&folder);
    assert_eq!(file["SIGNING_KEY"], KEY);
    assert!(!file.contains_key("SIGNING_KEY_NEXT"));
    rotate(&folder, &["SIGNING_KEY", "--undo"])
        .exits(1)
        .warns("no rotation of SIGNING_KEY that could be undone");
}

#[test]
fn a_dry_run_writes_nothing() {
    let (folder, daemon) = daemon(ON);
    let before = folder.read(".env");
    let ran = rotate(&folder, &["SIGNING_KEY", "--dry-run"]).exits(0);
    ran.says("SIGNING_KEY (overlap) would be staged, in .env").says("writes SIGNING_KEY_NEXT");
    let ran = rotate(&folder, &["SIGNING_KEY", "--dry-run", "--format", "json"]).exits(0);
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&told["act"], &told["dry_run"]), (&json!("staged"), &json!(true)));
    rotate(&folder, &["SIGNING_KEY", "--compromised", "--dry-run"]).exits(0).says("would be compromised");
    assert_eq!(folder.read(".env"), before);
    assert_eq!(of(&daemon.status(), "SIGNING_KEY")["number"], 0);
}

#[test]
fn a_value_that_is_given_takes_the_place_of_the_old_one() {
    let (folder, daemon) = daemon(ON);
    rotate(&folder, &["MAIL_PASSWORD"]).exits(2).warns("dlconf rotate MAIL_PASSWORD --from-stdin");
    let arguments = [&SETTINGS_FILE[..], &["rotate", "MAIL_PASSWORD", "--from-stdin"]].concat();
    let mut command = folder.command(&arguments);
    let streams = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"mail-Pw-77xXyZ9w\n").unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(0);
    ran.warns("MAIL_PASSWORD: supplied").never_says("mail-Pw-");
    assert_eq!(fields(&folder)["MAIL_PASSWORD"], "mail-Pw-77xXyZ9w");
    wait_for(
        "the new value",
        || daemon.lines().join("\n"),
        || {
            let got = client::get(&daemon.socket, "/v1/config/MAIL_PASSWORD").is(200).json();
            (got["value"] == "mail-Pw-77xXyZ9w").then_some(())
        },
    );
    rotate(&folder, &["MASTER_KEY"]).exits(4).warns("what is stored is encrypted by it");
}

#[test]
fn who_knows_one_key_would_log_people_out() {
    let single = ON.replace("\"ring\"", "\"single\"");
    let (folder, running) = daemon(&single);
    rotate(&folder, &["SIGNING_KEY"]).exits(4).warns("web verifies with one key").warns("--accept-logout");
    drop(running);
    let (folder, running) = daemon("[rotation]\nenabled = true\n");
    rotate(&folder, &["SIGNING_KEY"]).exits(4).warns("[consumer.web]");
    drop(running);
    // What a token lives is read from the value in force.
    let (folder, _running) = daemon(ON);
    let env = format!("{}TOKEN_LIFE=2h\n", folder.read(".env"));
    crate::daemon::put(&folder, ".env", &env);
    wait_for("the longer life to count", String::new, || {
        Some(rotate(&folder, &["SIGNING_KEY", "--dry-run"])).filter(|ran| ran.code == 4)
    })
    .warns("2h")
    .warns("overlap");
}
