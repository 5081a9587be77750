//! A daemon that does not rotate says why, and so does the command.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use dlconf::serve::socket::REFUSALS;
use nix::sys::signal::Signal;
use regex::Regex;

use super::{daemon, rotate};
use crate::daemon::put;

#[test]
fn where_it_is_off_that_is_said() {
    let (folder, daemon) = daemon("");
    let ran = rotate(&folder, &["SIGNING_KEY", "--wait"]).exits(4);
    ran.warns("this daemon rotates nothing").warns("`enabled = true` under [rotation]");
    rotate(&folder, &["SIGNING_KYE"]).exits(2).warns("did you mean SIGNING_KEY?");
    rotate(&folder, &["TOKEN_LIFE"]).exits(2).warns("does not say how TOKEN_LIFE is rotated");
    // Off costs nothing: not even a place in the status.
    let status = daemon.status();
    assert!(status["rotator"].is_null() && status["rotations"] == serde_json::json!([]), "{status:#}");
    let text = folder.run(&["--config", "dlconf.toml", "status"]).exits(0).stdout;
    assert!(!text.contains("rotation"), "{text}");
    let (_, metrics) = daemon.page("/metrics");
    assert!(!metrics.contains("rotation_phase") && !metrics.contains("rotation_due"), "{metrics}");
    daemon.end(Signal::SIGTERM).exits(0);
}

#[test]
fn a_reload_puts_it_on_and_off() {
    let (folder, daemon) = daemon("");
    let off = folder.read("dlconf.toml");
    let done = "settings and schema were read again and hold";
    put(&folder, "dlconf.toml", &format!("{off}[rotation]\nenabled = true\n"));
    daemon.until("rotation to be on", |status| status["rotator"]["leads"] == true);
    daemon.says_for(1, done);
    rotate(&folder, &["SIGNING_KEY"]).never_says("rotates nothing");
    put(&folder, "dlconf.toml", &off);
    daemon.says_for(2, done);
    daemon.until("rotation to be off", |status| status["rotator"].is_null());
    rotate(&folder, &["SIGNING_KEY"]).exits(4).warns("rotates nothing");
    daemon.end(Signal::SIGTERM).exits(0);
}

#[test]
fn without_the_lease_it_does_not_lead() {
    // Nothing listens there: the daemon cannot tell who leads.
    let folder = super::home("[rotation]\nenabled = true\nleader = \"lease/rotator\"\n");
    folder.file(
        "kubeconfig",
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{name: k, cluster: {server: 'http://127.0.0.1:9'}}]\n\
         users: [{name: u, user: {token: t}}]\n\
         contexts: [{name: c, context: {cluster: k, user: u, namespace: shop}}]\n",
    );
    let mut command = folder.command(&["--config", "dlconf.toml", "-v", "daemon"]);
    command.env("KUBECONFIG", folder.join("kubeconfig"));
    let daemon = crate::daemon::Daemon::started(&folder, &mut command);
    daemon.says("nobody can tell who holds lease/rotator, so this daemon rotates nothing");
    let status = daemon.until("its trouble", |status| status["rotator"]["trouble"].is_string());
    assert_eq!(
        (&status["rotator"]["leads"], &status["rotator"]["lease"]),
        (&false.into(), &"lease/rotator".into())
    );
    let ran = rotate(&folder, &["SIGNING_KEY"]).exits(4);
    ran.warns("nobody can tell who rotates here").warns("may write lease/rotator");
    let text = folder.run(&["--config", "dlconf.toml", "status"]).exits(0).stdout;
    assert!(text.contains("no rotation begins or goes on"), "{text}");
    daemon.end(Signal::SIGTERM).exits(0);
}

#[test]
fn a_lease_that_is_nowhere_is_a_mistake() {
    let folder = super::home("[rotation]\nenabled = true\nleader = \"lease/rotator\"\n");
    let ran = folder.run(&["--config", "dlconf.toml", "daemon"]).exits(2);
    ran.warns("lease/rotator cannot say who rotates").warns("KUBECONFIG");
}

/// The sources of a room, tests left out.
fn sources(room: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(room).unwrap() {
        let path = entry.unwrap().path();
        match path.file_name().and_then(|name| name.to_str()).unwrap() {
            "tests" | "tests.rs" => {}
            _ if path.is_dir() => sources(&path, found),
            _ => found.push(path),
        }
    }
}

#[test]
fn every_reason_is_one_that_the_description_names() {
    let mut files = Vec::new();
    for room in ["src/rotation", "src/daemon"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(room), &mut files);
    }
    let reason =
        Regex::new(r#"(?:refused|NotOrdered::new)\(\s*"([a-z-]+)"|NotOrdered \{\s*code: "([a-z-]+)""#)
            .unwrap();
    let text: String = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let found: BTreeSet<&str> =
        reason.captures_iter(&text).map(|found| found.get(1).or(found.get(2)).unwrap().as_str()).collect();
    assert!(found.len() > 25, "is it still read right? {found:?}");
    let unknown: Vec<&&str> = found.iter().filter(|code| !REFUSALS.contains(code)).collect();
    assert!(unknown.is_empty(), "{unknown:?}: add them to REFUSALS and to openapi.json");
}
