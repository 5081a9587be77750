//! What is left of a value that was changed.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dlconf::source::Source as _;
use dlconf::source::file::ShownPath;
use dlconf::source::vault::config::Auth;
use serde_json::json;

use super::watched::{Watched, block_on, config, kv2};
use crate::bao::OwnBao;
use crate::memory_scan::scan;

/// Set in the process that watches: where the server is.
const ROLE: &str = "DLCONF_TEST_WATCH_AT";

const CHANGES: u64 = 50;

/// What every value of the secret begins with, and nothing else: not this program
/// either, which the watching process is too.
fn canary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("canary-{:016x}{:016x}", random(), random())
}

#[test]
fn after_fifty_changes_no_old_value_is_in_memory() {
    if let Ok(address) = std::env::var(ROLE) {
        return watch(&address);
    }
    let bao = OwnBao::production(true);
    let canary = canary();
    let value = |serial: u64| format!("{canary}-{serial:04}-rest");
    bao.kv_put("app", &json!({ "A": value(0), "B": "other" }));
    let mut watcher = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "vault::memory::after_fifty_changes_no_old_value_is_in_memory", "--nocapture"])
        .env(ROLE, bao.address())
        .env("DLCONF_TEST_CA", bao.ca())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut token = watcher.stdin.take().unwrap();
    writeln!(token, "{}", bao.root_token()).unwrap();
    let mut said = BufReader::new(watcher.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut until = |version: u64| {
        let wanted = format!("has version {version}");
        assert!(said.any(|line| line.ends_with(&wanted)), "it ended before {wanted}");
    };
    until(1);
    for serial in 1..=CHANGES {
        bao.kv_put("app", &json!({ "A": value(serial), "B": "other" }));
        until(serial + 1);
    }
    // A second, by the laws; more of ours, since the process stands still while it is
    // looked at, and shares the machine.
    let end = Instant::now() + Duration::from_secs(3);
    let mut all = scan(watcher.id(), canary.as_bytes()).unwrap();
    while all.total() > 1 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        all = scan(watcher.id(), canary.as_bytes()).unwrap();
    }
    let current = scan(watcher.id(), value(CHANGES).as_bytes()).unwrap();
    // Guard pages hold nothing.
    let read = all
        .unread
        .iter()
        .all(|what| what.contains(" ---p ") || what.contains("the kernel's") || what.contains("[vsyscall]"));
    assert!(read, "{:?}", all.unread);
    assert_eq!(current.total(), 1, "what is held is there, once: {current:?}");
    assert_eq!(all.total(), 1, "old values: {all:?}");
    drop(token);
    assert!(watcher.wait().unwrap().success());
}

fn tell(version: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "has version {version}").unwrap();
}

/// The watching process: tells versions, ends with its input.
fn watch(address: &str) {
    let mut token = String::new();
    std::io::stdin().read_line(&mut token).unwrap();
    block_on(async {
        let mut config = config(address, "", Auth::Token, vec![kv2("app")]);
        config.poll = Duration::from_millis(20);
        let ca = PathBuf::from(std::env::var_os("DLCONF_TEST_CA").unwrap());
        config.tls.ca_cert = Some(ShownPath::named(&ca));
        let mut watched = Watched::new(config, token.trim()).await;
        let mut ended = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        loop {
            let version = watched.layer().offers[0].origin.revision.clone().unwrap();
            // What was handed over is gone: only the source holds it now.
            watched.fetched = Err(dlconf::source::SourceError {
                source_name: watched.fetched.unwrap().source,
                faults: Vec::new(),
                rest: None,
            });
            tell(&version.0);
            tokio::select! {
                () = watched.source.changed() => { watched.fetch().await; }
                _ended = &mut ended => return,
            }
        }
    });
}
