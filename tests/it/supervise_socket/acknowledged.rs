//! What runs is said to the daemon: when it was proven, under which name, with which keys.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;

/// Waits until the instance is known as this.
#[track_caller]
fn consumer(daemon: &Daemon, is_so: impl Fn(&Value) -> bool) -> Value {
    daemon.until("the acknowledgement", |status| is_so(&status["consumers"][0]))["consumers"].clone()
}

#[test]
fn what_runs_is_acknowledged_with_its_keys() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    let version = daemon.status()["version"].clone();
    let known = consumer(&daemon, |one| one["version"] == version);
    assert_eq!(known.as_array().unwrap().len(), 1, "{known}");
    let one = &known[0];
    assert_eq!(
        (&one["name"], &one["instance"], &one["current"]),
        (&json!("web"), &json!("api-7c9f"), &json!(true))
    );
    assert_eq!(one["runs"], json!({ "SIGNING_KEY": { "verifies": ["initial"], "signs": "initial" } }));
    let moved = format!("NAME=one\nSIGNING_KEY={OTHER_KEY}\nSIGNING_KEY_PREVIOUS={KEY}\n");
    let version = publish(&daemon, &folder, &moved);
    let known = consumer(&daemon, |one| one["version"] == version);
    let mut verifies: Vec<String> =
        serde_json::from_value(known[0]["runs"]["SIGNING_KEY"]["verifies"].clone()).unwrap();
    verifies.sort();
    assert_eq!(verifies, ["initial", "initial-previous"], "{known}");
    assert_eq!(known[0]["runs"]["SIGNING_KEY"]["signs"], "initial");
    assert_eq!(watched.starts().len(), 2);
}

#[test]
fn how_a_program_is_is_said_with_its_keys_or_without() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let options = ["--keep-alive", "--backoff", "60s", "--backoff-max", "60s"];
    let watched = Watched::start(&folder, &options);
    let known = consumer(&daemon, |one| one["health"] == "running");
    assert!(known[0]["runs"]["SIGNING_KEY"].is_object(), "{known}");
    watched.kill_program();
    let known = consumer(&daemon, |one| one["health"] == "failed");
    assert_eq!(known[0]["runs"], json!({}), "what does not run has no keys");
    folder.run(&["--config", "dlconf.toml", "status"]).exits(0).says("failed");
    drop(watched);
    let _proven = Watched::start(&folder, &["--healthy", "100ms"]);
    let known = consumer(&daemon, |one| one["health"] == "healthy");
    assert!(known[0]["runs"]["SIGNING_KEY"].is_object(), "{known}");
}

#[test]
fn a_program_that_goes_on_with_what_it_has_says_that_of_its_keys() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &["--on-change", "none"]);
    let first = daemon.status()["version"].clone();
    consumer(&daemon, |one| one["version"] == first);
    publish(&daemon, &folder, &shop("NAME=two\n"));
    watched.says("sh goes on with what it has");
    let known = consumer(&daemon, |one| !one.is_null());
    assert_eq!(known[0]["version"], first);
    assert_eq!(watched.starts().len(), 1);
}

#[test]
fn only_what_was_proven_is_acknowledged() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &["--healthy", "300ms"]);
    let first = daemon.status()["version"].as_str().unwrap().to_owned();
    watched.says(&format!("acknowledged as api-7c9f of web: {first}"));
    let said = watched.said();
    let (proven, acknowledged) = (said.find("sh works").unwrap(), said.find("acknowledged as").unwrap());
    assert!(proven < acknowledged, "{said}");
    // It does not live with this, and is put back.
    let bad = publish(&daemon, &folder, &shop("NAME=bad\n"));
    watched.says("sh works again");
    let again = || (watched.count(&format!("acknowledged as api-7c9f of web: {first}")) == 2).then_some(());
    wait_for("the acknowledgement after the put-back", || watched.said(), again);
    assert!(!watched.said().contains(&format!("web: {bad}")), "{}", watched.said());
    assert_eq!(daemon.status()["consumers"][0]["version"], first);
    let starts = watched.starts();
    assert_eq!(starts.len(), 3, "{starts:?}");
    // What is mended is taken.
    let mended = publish(&daemon, &folder, &shop("NAME=two\n"));
    consumer(&daemon, |one| one["version"] == mended);
}

#[test]
fn of_all_services_one_has_to_be_named() {
    let folder = home("", "");
    let daemon = Daemon::ready(&folder);
    let unnamed = Watched::start(&folder, &[]);
    unnamed.says("what runs is not acknowledged: no service (--service) is known");
    let named = Watched::start(&folder, &["--service", "worker"]);
    let known = consumer(&daemon, |one| !one.is_null());
    assert_eq!((known.as_array().unwrap().len(), &known[0]["name"]), (1, &json!("worker")));
    drop((unnamed, named));
}

/// A daemon of an older release, which does not say which variables have keys, takes no
/// word that it does not know, and whose acknowledgements lapse at once.
#[derive(Default)]
struct Old {
    refused: AtomicUsize,
    words: Mutex<Vec<Value>>,
    is_over: AtomicBool,
}

impl Old {
    fn serve(&self, listener: &UnixListener) {
        listener.set_nonblocking(true).unwrap();
        while !self.is_over.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((stream, _)) => self.answer(stream),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(1)),
            }
        }
    }

    fn answer(&self, mut stream: UnixStream) {
        stream.set_nonblocking(false).unwrap();
        let mut asked = [0; 4096];
        let count = stream.read(&mut asked).unwrap_or(0);
        let text = String::from_utf8_lossy(&asked[..count]).into_owned();
        let names = r#"{"environment":"staging","environment_variable":"APP_ENV","service":"web","schema":"s","known":["NAME"]}"#;
        let config = r#"{"version":"7f3a.1","values":{"NAME":"one"}}"#;
        let (status, body) = match text.split_whitespace().nth(1).unwrap_or_default() {
            "/v1/names" => ("200 OK", names),
            path if path.starts_with("/v1/config") && text.contains("if-none-match: \"a\"") => {
                ("304 Not Modified", "")
            }
            path if path.starts_with("/v1/config") => ("200 OK", config),
            "/v1/consumers/web" if text.contains("health") => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                (
                    "400 Bad Request",
                    r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"no","code":"malformed"}"#,
                )
            }
            "/v1/consumers/web" => {
                self.words
                    .lock()
                    .unwrap()
                    .push(serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap());
                ("200 OK", r#"{"consumer":"web","instance":"api-7c9f","expires_in_seconds":1}"#)
            }
            _ => ("404 Not Found", "{}"),
        };
        let length = if status.starts_with("304") {
            String::new()
        } else {
            format!("content-length: {}\r\n", body.len())
        };
        let _gone = write!(stream, "HTTP/1.1 {status}\r\netag: \"a\"\r\n{length}\r\n{body}");
    }

    fn words(&self) -> usize {
        self.words.lock().unwrap().len()
    }
}

#[test]
fn it_is_said_again_before_it_lapses_also_to_an_older_daemon_and_when_nothing_runs() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.join("dlconf.sock")).unwrap();
    let old = Arc::new(Old::default());
    let server = std::thread::spawn({
        let old = Arc::clone(&old);
        move || old.serve(&listener)
    });
    let watched = Watched::start(&folder, &["--keep-alive", "--backoff", "60s", "--backoff-max", "60s"]);
    wait_for("three acknowledgements", || watched.said(), || (old.words() >= 3).then_some(()));
    let said = json!({ "instance": "api-7c9f", "runs": {}, "version": "7f3a.1" });
    assert!(old.words.lock().unwrap().iter().all(|word| *word == said));
    watched.kill_program();
    watched.says("is started again in");
    watched.says("acknowledged as api-7c9f of web: failed");
    let words = old.words();
    wait_for("two more", || watched.said(), || (old.words() >= words + 2).then_some(()));
    assert_eq!(old.refused.load(Ordering::Relaxed), 1, "it is left out from then on");
    old.is_over.store(true, Ordering::Relaxed);
    drop(watched);
    server.join().unwrap();
}
