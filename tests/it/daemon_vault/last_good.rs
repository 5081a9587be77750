//! The last-known-good snapshot: a daemon that starts while its Vault is gone.

#![allow(clippy::disallowed_methods, reason = "a test spoils files in place")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::running::{Daemon, Setup};
use super::{APP, lines};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, poll};
use crate::memory_scan::scan;

const KEY: &str = "a key of the snapshot, long enough, for tests";
const SNAPSHOT: &str = "[snapshot]\npath = \"s\"\nkey_file = \"key\"\nstart_grace = \"300ms\"\n";
/// A program that notes in the folder that it ran: it does not run there.
const HOOKED: &str = "[delivery.hooked]\ntype = \"env-file\"\npath = \"hooked.env\"\n\
    on_change = { exec = [\"/bin/sh\", \"-c\", \"echo ran >> FOLDER/ran\"] }\n";

/// Ready, with a snapshot of these settings; in front of its Vault is a proxy.
fn ready(bao: &Bao, rest: &str) -> (Daemon, Proxy) {
    let proxy = Proxy::to(&bao.address());
    let setup = Setup::new(&proxy.address(), bao.namespace(), bao.root_token(), &lines(&[APP]));
    setup.folder.file("key", KEY);
    let folder = setup.folder.path().display().to_string();
    setup.write(&lines(&[APP]), &rest.replace("FOLDER", &folder));
    let mut daemon = setup.start();
    daemon.is_ready();
    (daemon, proxy)
}

fn written(daemon: &mut Daemon, least: u64) {
    daemon.until("the snapshot is written", |daemon| {
        daemon.status().is_some_and(|status| status["snapshot"]["generation"].as_u64() >= Some(least))
    });
}

#[test]
fn a_day_without_vault() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first", "OPT": "more" }));
    let (mut daemon, proxy) = ready(&bao, &[HOOKED, SNAPSHOT].concat());
    daemon.delivers("TOKEN", "first");
    written(&mut daemon, 1);
    let of = |daemon: &Daemon, name: &str| fs::read(daemon.setup.folder.join(name)).unwrap_or_default();
    daemon.until("on_change has run", |daemon| !of(daemon, "ran").is_empty());
    let (plain, hooked, ran) = (of(&daemon, "app.json"), of(&daemon, "hooked.env"), of(&daemon, "ran"));
    let sealed = of(&daemon, "s");
    assert!(!sealed.windows(5).any(|piece| piece == b"first"));
    proxy.refuse();
    for _ in 0..5 {
        daemon.restart();
        daemon.is_ready();
        assert_eq!(daemon.metric("dlconf_snapshot_in_use"), Some(1.0));
        let status = daemon.status().unwrap();
        assert_eq!(status["snapshot"]["stands_in"], json!(["vault"]), "{status:#}");
        assert_eq!(status["snapshot"]["failure"], json!(null), "{status:#}");
        daemon.run(&["explain", "TOKEN"]).exits(0).says("snapshot:vault:secret/app#TOKEN@1");
        assert_eq!((of(&daemon, "app.json"), of(&daemon, "hooked.env")), (plain.clone(), hooked.clone()));
    }
    assert_eq!(of(&daemon, "ran"), ran, "no on_change");
    bao.kv_put("app", &json!({ "TOKEN": "second", "OPT": "more" }));
    proxy.pass();
    daemon.delivers("TOKEN", "second");
    daemon.until("nothing stands in", |daemon| daemon.metric("dlconf_snapshot_in_use") == Some(0.0));
    daemon.until("on_change has run again", |daemon| of(daemon, "ran").len() > ran.len());
    assert!(!daemon.log().contains("first") && !daemon.log().contains("second"), "{}", daemon.log());
}

#[test]
fn a_start_with_vault_up_uses_nothing_of_it() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, _proxy) = ready(&bao, &SNAPSHOT.replace("300ms", "1h"));
    written(&mut daemon, 1);
    daemon.terminate();
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.restart();
    daemon.delivers("TOKEN", "second");
    written(&mut daemon, 2);
    assert_eq!(daemon.metric("dlconf_snapshot_in_use"), Some(0.0));
    assert!(daemon.metric("dlconf_snapshot_write_total{").is_some_and(|count| count >= 1.0));
    assert!(daemon.metric("dlconf_snapshot_age_seconds").is_some_and(|age| age < 60.0));
}

#[test]
fn what_is_wrong_with_it_is_said_and_ends_nothing() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, proxy) = ready(&bao, SNAPSHOT);
    written(&mut daemon, 1);
    let path = |name: &str| daemon.setup.folder.join(name);
    let (snapshot, mark, key) = (path("s"), path("s.mark"), path("key"));
    let old = (fs::read(&snapshot).unwrap(), fs::read(&mark).unwrap());
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.delivers("TOKEN", "second");
    written(&mut daemon, 2);
    daemon.terminate();
    let latest = (fs::read(&snapshot).unwrap(), fs::read(&mark).unwrap());
    proxy.refuse();
    let mut tell = |what: &str| {
        daemon.restart();
        daemon.tells(what);
        daemon
            .stays("it is not ready", |daemon| daemon.ops("/readyz").is_none_or(|(status, _)| status != 200));
        let failure = daemon.status().unwrap()["snapshot"]["failure"].to_string();
        assert!(failure.contains(what.split(": ").last().unwrap()), "{failure}");
        // It would look again.
        daemon.terminate();
    };
    fs::write(&snapshot, &old.0).unwrap();
    tell("it was rolled back: it is number 1, and number");
    fs::write(&snapshot, &latest.0[..100]).unwrap();
    tell("it is damaged: it ends too early");
    fs::write(&snapshot, &latest.0).unwrap();
    fs::write(&key, KEY.to_uppercase()).unwrap();
    tell("it opens with key");
    fs::remove_file(&key).unwrap();
    tell("the snapshot's key cannot be read: there is no file key");
    fs::write(&key, KEY).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(&snapshot).unwrap();
    tell("it is gone: number");
    // With the right key and all in its place it is as good as before.
    fs::write(&snapshot, &latest.0).unwrap();
    fs::remove_file(&mark).unwrap();
    daemon.restart();
    daemon.is_ready();
    daemon.tells("nobody would notice: there is no high-water mark s.mark");
    daemon.delivers("TOKEN", "second");
}

#[test]
fn what_can_be_used_later_is_used_then() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, proxy) = ready(&bao, SNAPSHOT);
    written(&mut daemon, 1);
    daemon.terminate();
    proxy.refuse();
    let (key, away) = (daemon.setup.folder.join("key"), daemon.setup.folder.join("away"));
    fs::rename(&key, &away).unwrap();
    daemon.restart();
    daemon.tells("put the key that it was sealed with back");
    // It looks again, and says nothing twice.
    fs::write(&key, KEY.to_uppercase()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.tells("it opens with key");
    daemon.stays("it is not ready", |daemon| daemon.ops("/readyz").is_none_or(|(status, _)| status != 200));
    fs::rename(&away, &key).unwrap();
    daemon.is_ready();
    let status = daemon.status().unwrap();
    assert_eq!(status["snapshot"]["stands_in"], json!(["vault"]), "{status:#}");
    assert_eq!(status["snapshot"]["failure"], json!(null), "{status:#}");
    assert_eq!(daemon.log().matches(" is not used: ").count(), 2, "{}", daemon.log());
}

#[test]
fn a_key_that_is_not_there_is_said_before_it_is_needed() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, proxy) = ready(&bao, "");
    daemon.terminate();
    proxy.refuse();
    daemon.setup.write(&lines(&[APP]), SNAPSHOT);
    fs::remove_file(daemon.setup.folder.join("key")).unwrap();
    daemon.restart();
    daemon.tells("the snapshot's key cannot be read: there is no file key");
    let failure = daemon.status().unwrap()["snapshot"]["failure"].to_string();
    assert!(failure.contains("there is no file key") && failure.contains("openssl rand"), "{failure}");
    daemon.setup.folder.file("key", KEY);
    daemon.tells("can be written again");
    assert_eq!(daemon.status().unwrap()["snapshot"]["failure"], json!(null));
    assert_eq!(daemon.log().matches("cannot be written, the old one stays").count(), 1, "{}", daemon.log());
}

#[test]
fn a_key_for_everybody_ends_the_start() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let setup = Setup::new(&bao.address(), bao.namespace(), bao.root_token(), &lines(&[APP]));
    setup.write(&lines(&[APP]), SNAPSHOT);
    for (bytes, mode, words) in [
        (KEY, 0o644, "key holds the snapshot's key and has mode 0644"),
        ("short", 0o600, "the snapshot's key in key has 5 bytes, and needs 32"),
    ] {
        setup.folder.bytes("key", bytes.as_bytes(), mode);
        let ran = setup.folder.run_with(&["--config", "set.toml", "daemon"], &[("VAULT_TOKEN", "x")]);
        ran.exits(4).warns(words);
    }
}

#[test]
fn a_disk_that_fails_is_tried_again_and_a_reload_changes_the_place() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, _proxy) = ready(&bao, &SNAPSHOT.replace("\"s\"", "\"dir/s\""));
    daemon.tells("the last-known-good snapshot dir/s cannot be written, the old one stays");
    assert!(daemon.status().unwrap()["snapshot"]["failure"].to_string().contains("does not exist"));
    fs::create_dir(daemon.setup.folder.join("dir")).unwrap();
    daemon.tells("the last-known-good snapshot dir/s can be written again");
    assert_eq!(daemon.log().matches("dir/s cannot be written").count(), 1, "{}", daemon.log());
    assert_eq!(daemon.status().unwrap()["snapshot"]["failure"], json!(null));
    daemon.setup.write(&lines(&[APP]), SNAPSHOT);
    daemon.until("it is written elsewhere", |daemon| daemon.setup.folder.join("s.mark").exists());
    daemon.until("that is told", |daemon| daemon.status().unwrap()["snapshot"]["path"] == "s");
    daemon.setup.write(&lines(&[APP]), "");
    daemon.tells("no last-known-good snapshot is kept any more; s stays as it is, sealed");
    assert_eq!(daemon.status().unwrap()["snapshot"], json!(null));
    assert!(daemon.setup.folder.join("s").exists());
    // A key that everybody may read is no better while a daemon runs.
    daemon.setup.folder.bytes("wide", KEY.as_bytes(), 0o644);
    daemon.setup.write(&lines(&[APP]), &SNAPSHOT.replace("\"key\"", "\"wide\""));
    daemon.tells("wide holds the snapshot's key and has mode 0644: everybody may use it");
}

#[test]
fn it_is_ready_soon_after_the_grace() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, proxy) = ready(&bao, &SNAPSHOT.replace("300ms", "0s"));
    written(&mut daemon, 1);
    daemon.terminate();
    proxy.refuse();
    let begun = Instant::now();
    daemon.restart();
    daemon.is_ready();
    // A debug build, its schema and a busy machine included.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn doctor_says_how_it_is() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, _proxy) = ready(&bao, SNAPSHOT);
    written(&mut daemon, 1);
    let doctor = |daemon: &Daemon| {
        let arguments = ["--config", "set.toml", "doctor", "--format", "json"];
        daemon.setup.folder.run_with(&arguments, &[("VAULT_TOKEN", bao.root_token())])
    };
    doctor(&daemon).says("1 source, confirmed ").says("a rollback would be noticed");
    daemon.terminate();
    let path = |name: &str| daemon.setup.folder.join(name);
    fs::remove_file(path("s.mark")).unwrap();
    doctor(&daemon).says("there is no high-water mark s.mark");
    fs::remove_file(path("s")).unwrap();
    doctor(&daemon).says("none yet");
    let settings = daemon.setup.folder.read("set.toml");
    daemon.setup.folder.file("set.toml", &settings.replace("path = \"s\"", "path = \"nowhere/s\""));
    doctor(&daemon).says("nowhere/s cannot be written: its folder is not there");
    daemon.setup.folder.file("set.toml", &settings);
    fs::write(path("s"), "x").unwrap();
    doctor(&daemon).says("it is not sealed by dlconf");
    fs::remove_file(path("key")).unwrap();
    doctor(&daemon).says("the snapshot's key cannot be read");
}

/// A disk that takes its time to settle a folder, for a process that runs.
struct SlowDisk(Child);

impl SlowDisk {
    fn of(pid: u32, folder: &Path, milliseconds: u32) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-P"]).arg(folder);
        strace.arg(format!("-einject=fsync:delay_enter={}", 1000 * milliseconds));
        let slow = Self(strace.arg(format!("-p{pid}")).spawn().unwrap());
        let is_traced = |status: &str| !status.contains("TracerPid:\t0\n");
        let traced = || is_traced(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
        assert!(poll(|| traced().then_some(())).is_some(), "strace is not there");
        slow
    }
}

impl Drop for SlowDisk {
    fn drop(&mut self) {
        // Asked, not killed: it lets go of what it holds.
        let _ = kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// The snapshot in a folder of its own, which is there.
fn apart(daemon: &mut Daemon, rest: &str) {
    fs::create_dir(daemon.setup.folder.join("dir")).unwrap();
    daemon.setup.write(&lines(&[APP]), &rest.replace("\"s\"", "\"dir/s\""));
    daemon.until("it is written there", |daemon| daemon.setup.folder.join("dir/s.mark").exists());
}

#[test]
fn a_slow_disk_keeps_no_value_that_is_gone() {
    let [first, second, third] = ["canary-first-7Xq2", "canary-second-7Xq2", "canary-third-7Xq2"];
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": first }));
    let (mut daemon, _proxy) = ready(&bao, SNAPSHOT);
    apart(&mut daemon, SNAPSHOT);
    let _slow = SlowDisk::of(daemon.pid(), &daemon.setup.folder.join("dir"), 5000);
    bao.kv_put("app", &json!({ "TOKEN": second }));
    daemon.delivers("TOKEN", second);
    bao.kv_put("app", &json!({ "TOKEN": third }));
    daemon.delivers("TOKEN", third);
    let end = Instant::now() + Duration::from_secs(1);
    let copies = || scan(daemon.pid(), second.as_bytes()).unwrap().total();
    while copies() > 0 {
        assert!(Instant::now() < end, "{} copies of what nobody uses any more", copies());
    }
}

#[test]
fn a_disk_that_does_not_answer_is_said_and_holds_up_no_other() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, _proxy) = ready(&bao, SNAPSHOT);
    apart(&mut daemon, SNAPSHOT);
    let _slow = SlowDisk::of(daemon.pid(), &daemon.setup.folder.join("dir"), 60_000);
    bao.kv_put("app", &json!({ "TOKEN": "second" }));
    daemon.delivers("TOKEN", "second");
    // Twice as long as one waits here for anything.
    let end = Instant::now() + Duration::from_secs(20);
    while !daemon.log().contains("the disk does not answer") {
        assert!(Instant::now() < end, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let failure = daemon.status().unwrap()["snapshot"]["failure"].to_string();
    assert!(failure.contains("the disk does not answer"), "{failure}");
    daemon.setup.write(&lines(&[APP]), &SNAPSHOT.replace("\"s\"", "\"t\""));
    daemon.until("it is written elsewhere", |daemon| daemon.setup.folder.join("t.mark").exists());
    daemon.until("nothing fails", |daemon| daemon.status().unwrap()["snapshot"]["failure"] == json!(null));
}

#[test]
fn what_comes_while_it_is_written_is_written_at_the_end() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first" }));
    let (mut daemon, _proxy) = ready(&bao, SNAPSHOT);
    daemon.setup.folder.file("local.env", "OPT=one\n");
    apart(&mut daemon, SNAPSHOT);
    let settings = daemon.setup.folder.read("set.toml").replace("[\"vault\"]", "[\"vault\", \"local\"]");
    let settings = [&settings, "[source.local]\ntype = \"dotenv\"\npath = \"local.env\"\n"].concat();
    daemon.setup.folder.file("set.toml", &settings);
    daemon.delivers("OPT", "one");
    let slow = SlowDisk::of(daemon.pid(), &daemon.setup.folder.join("dir"), 100);
    daemon.setup.folder.file("local.env", "OPT=two\n");
    daemon.delivers("OPT", "two");
    daemon.setup.folder.file("local.env", "OPT=three\n");
    daemon.delivers("OPT", "three");
    daemon.terminate();
    drop(slow);
    // The file is not there to say it any more, and no reason to say otherwise.
    fs::remove_file(daemon.setup.folder.join("local.env")).unwrap();
    fs::create_dir(daemon.setup.folder.join("local.env")).unwrap();
    daemon.restart();
    daemon.is_ready();
    daemon.delivers("OPT", "three");
}
