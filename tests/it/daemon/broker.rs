//! From files to generations.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant, SystemTime};

use super::*;

#[test]
fn it_is_ready_when_everything_was_delivered_and_stays_so() {
    let folder = usual();
    fs::remove_file(folder.join(".env")).unwrap();
    let daemon = Daemon::start(&folder);
    daemon.says("source local cannot be read");
    let (code, text) = daemon.page("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("no configuration is published yet"), "{text}");
    assert!(text.contains("1 source not read yet: local"), "{text}");
    assert_eq!(daemon.page("/healthz"), (200, "ok\n".into()));

    put(&folder, ".env", &shop("one").replace("PORT=9000", "PORT=x"));
    daemon.says(" published yet: [DLC010]");
    let (code, text) = daemon.page("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("what was read is refused: 1 finding: [DLC010]"), "{text}");

    fs::create_dir_all(folder.join("out/app.env")).unwrap();
    put(&folder, ".env", &shop("one"));
    daemon.says("delivery app failed");
    daemon.says("delivery note has ");
    let (code, text) = daemon.page("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("1 delivery without a version: app"), "{text}");

    fs::remove_dir(folder.join("out/app.env")).unwrap();
    daemon.until("readiness", |status| status["ready"] == true);
    assert_eq!(daemon.page("/readyz"), (200, "ready\n".into()));

    put(&folder, ".env", &shop("one").replace("PORT=9000", "PORT=x"));
    daemon.until("a refusal", |status| !status["rejected"].is_null());
    assert_eq!(daemon.page("/readyz").0, 200);
    fs::remove_file(folder.join("out/app.env")).unwrap();
    fs::create_dir(folder.join("out/app.env")).unwrap();
    put(&folder, ".env", &shop("two"));
    daemon.until("a failure", |status| !named(&status["deliveries"], "app")["failure"].is_null());
    assert_eq!(daemon.page("/readyz").0, 200);
    assert_eq!(daemon.status()["ready"], true);
}

#[test]
fn nothing_is_published_before_every_source_was_read_whole() {
    let folder = usual();
    folder.file("note.env", "NOTE='never closed\n");
    let daemon = Daemon::start(&folder);
    daemon.says("source note cannot be read");
    daemon.reread("local", || put(&folder, ".env", &shop("two")));
    // As much again as everything takes that works.
    daemon.reread("local", || put(&folder, ".env", &shop("three")));
    let status = daemon.status();
    assert_eq!((&status["version"], &status["generation"]), (&Value::Null, &0.into()));
    assert!(!folder.join("out").exists());
    put(&folder, "note.env", "NOTE=x\n");
    let status = daemon.until("readiness", |status| status["ready"] == true);
    assert_eq!(status["generation"], 1);
    assert!(folder.read("out/app.env").contains("three"));
}

#[test]
fn a_burst_is_one_generation() {
    let folder = home(&[SOURCES, DELIVERIES, "[debounce]\nmin = \"300ms\"\n"]);
    let daemon = Daemon::ready(&folder);
    let begun = Instant::now();
    for number in 0..20 {
        put(&folder, ".env", &shop(&format!("shop-{number}")));
    }
    assert!(begun.elapsed() < Duration::from_millis(300), "this machine is too slow for this test");
    daemon.holds(&folder, "out/app.env", "shop-19");
    assert_eq!(daemon.generation(), 2);
    daemon.fence(&folder);
}

#[test]
fn steady_changes_are_published_after_the_longest_window() {
    let folder = home(&[SOURCES, DELIVERIES, "[debounce]\nmin = \"400ms\"\nmax = \"800ms\"\n"]);
    let daemon = Daemon::ready(&folder);
    let begun = Instant::now();
    let mut number = 0;
    wait_for(
        "a generation while changes go on",
        || daemon.lines().join("\n"),
        || {
            number += 1;
            put(&folder, ".env", &shop(&format!("shop-{number}")));
            std::thread::sleep(Duration::from_millis(20));
            (daemon.generation() > 1).then_some(())
        },
    );
    assert!(begun.elapsed() >= Duration::from_millis(700), "published after {:?}", begun.elapsed());
}

#[test]
fn changes_of_two_sources_within_the_window_are_one_generation() {
    let folder = home(&[SOURCES, DELIVERIES, "[debounce]\nmin = \"300ms\"\n"]);
    let daemon = Daemon::ready(&folder);
    put(&folder, ".env", &shop("two"));
    put(&folder, "note.env", "NOTE=too\n");
    daemon.holds(&folder, "out/note.env", "too");
    daemon.holds(&folder, "out/app.env", "two");
    assert_eq!(daemon.generation(), 2);
    let version = daemon.status()["version"].as_str().unwrap().to_owned();
    let line = daemon.says(&format!("published {version}"));
    assert!(line.ends_with(": NAME, NOTE"), "{line}");
    daemon.until("one version in both", |status| {
        let has = |delivery| named(&status["deliveries"], delivery)["version"] == status["version"];
        has("app") && has("note")
    });
    daemon.fence(&folder);
}

#[test]
fn equal_content_is_no_generation() {
    let told = "told";
    let folder = home(&[SOURCES, DELIVERIES, AT_ONCE]);
    let on_change = format!(
        "[delivery.app.on_change]\nexec = [\"/bin/sh\", \"-c\", \"echo x >> {}\"]\nmin_interval = \"0s\"\n",
        folder.join(told).display()
    );
    folder.file("dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, &on_change].concat());
    let daemon = Daemon::ready(&folder);
    daemon.says("on_change of delivery app: exit code 0");
    let before = trace(&folder.join("out/app.env"));
    let path = folder.join(".env");

    // As `touch` does it.
    daemon.reread("local", || {
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now()).unwrap();
    });
    daemon.reread("local", || put(&folder, ".env", &shop("one")));
    daemon.reread("local", || {
        put(&folder, ".env", &format!("# changed\n\nPORT='9000'\nTOKEN={TOKEN}\nNAME=one\n"));
    });
    daemon.reread("note", || put(&folder, "note.env", "NAME=one\n"));
    // And the places from which it comes are told as they are now.
    let status =
        daemon.until("its new place", |status| named(&status["variables"], "NAME")["source"] == "note");
    assert_eq!(status["generation"], 1);
    assert_eq!(trace(&folder.join("out/app.env")), before);

    put(&folder, "note.env", "NAME=one\nNOTE=x\n");
    daemon.holds(&folder, "out/note.env", "x");
    assert_eq!(daemon.generation(), 2);
    daemon.until("that app has it", |status| {
        named(&status["deliveries"], "app")["version"] == status["version"]
    });
    assert_eq!(trace(&folder.join("out/app.env")), before);
    put(&folder, "note.env", "NAME=two\n");
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    assert_eq!(folder.read(told), "x\nx\n");
    assert_eq!(daemon.metric("dlconf_delivery_total{delivery=\"app\",outcome=\"unchanged\"}"), 1);
}

#[test]
fn a_local_source_that_cannot_be_read_is_held_while_others_go_on() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let before = trace(&folder.join("out/app.env"));
    let mut downs = 0;
    let mut is_held = |place: &str| {
        downs += 1;
        let line = daemon.says_for(downs, "source local cannot be read, what it gave before holds: [DLC050]");
        assert!(line.contains(place), "{line}");
        let status = daemon.status();
        let local = named(&status["sources"], "local");
        assert_eq!((&local["health"], &local["faults"][0]["code"]), (&"down".into(), &"DLC050".into()));
        assert_eq!(named(&status["variables"], "NAME")["state"], "held");
        assert_eq!(status["rejected"], Value::Null);
        assert_eq!(daemon.metric("dlconf_source_up{source=\"local\"}"), 0);
        daemon.fence(&folder);
        assert_eq!(trace(&folder.join("out/app.env")), before);
        assert_eq!(daemon.page("/readyz").0, 200);
    };
    // Malformed.
    put(&folder, ".env", &format!("{}X='never closed\n", shop("two")));
    is_held(".env:4:3");
    // Something else in its place.
    fs::remove_file(folder.join(".env")).unwrap();
    is_held(".env");
    nix::unistd::mkfifo(&folder.join(".env"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    is_held(".env");
    fs::remove_file(folder.join(".env")).unwrap();
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    daemon.says("source local can be read again");
    daemon.until("health", |status| named(&status["sources"], "local")["health"] == "up");
    assert_eq!(daemon.metric("dlconf_source_up{source=\"local\"}"), 1);
}

#[test]
fn a_deletion_in_a_local_file_counts_at_once_if_the_rest_is_valid() {
    let folder = usual();
    folder.file(".env", &format!("{}MAIL_USER=me\nMAIL_PASSWORD=x9Kq2mVt7LpW4zRn\n", shop("one")));
    folder.file("note.env", "NOTE=x\n");
    let daemon = Daemon::ready(&folder);
    assert!(folder.read("out/app.env").contains("MAIL_USER"));
    put(&folder, ".env", &shop("one"));
    daemon.until("the second generation", |status| status["generation"] == 2);
    wait_for(
        "its absence",
        || folder.read("out/app.env"),
        || (!folder.read("out/app.env").contains("MAIL_")).then_some(()),
    );
    fs::remove_file(folder.join("note.env")).unwrap();
    daemon.until("the third generation", |status| status["generation"] == 3);
    wait_for(
        "its absence",
        || folder.read("out/note.env"),
        || (!folder.read("out/note.env").contains("NOTE")).then_some(()),
    );
    let before = trace(&folder.join("out/app.env"));
    put(&folder, ".env", &format!("TOKEN={TOKEN}\n"));
    daemon.says("is not published");
    assert_eq!(daemon.generation(), 3);
    assert_eq!(trace(&folder.join("out/app.env")), before);
    assert_eq!(daemon.status()["rejected"]["findings"][0]["code"], "DLC001");
}

#[test]
fn every_way_to_save_a_file_is_noticed() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let path = folder.join(".env");
    let arrives = |name: &str| daemon.holds(&folder, "out/app.env", name);

    folder.file(".env", &shop("in-place"));
    arrives("in-place");
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"NAME=appended\n").unwrap();
    drop(file);
    arrives("appended");
    put(&folder, ".env", &shop("renamed"));
    arrives("renamed");
    // As vim does it: the old one is the backup.
    fs::rename(&path, folder.join(".env~")).unwrap();
    folder.file(".env", &shop("by-editor"));
    fs::remove_file(folder.join(".env~")).unwrap();
    arrives("by-editor");
    fs::remove_file(&path).unwrap();
    daemon.says("source local cannot be read");
    folder.file(".env", &shop("recreated"));
    arrives("recreated");
    // A link that is exchanged.
    folder.file("v1/env", &shop("first-link")).file("v2/env", &shop("second-link"));
    symlink("v1/env", folder.join("link")).unwrap();
    fs::rename(folder.join("link"), &path).unwrap();
    arrives("first-link");
    symlink("v2/env", folder.join("link")).unwrap();
    fs::rename(folder.join("link"), &path).unwrap();
    arrives("second-link");
    put(&folder, "v2/env", &shop("behind-the-link"));
    arrives("behind-the-link");
}

#[test]
fn a_swap_of_data_is_one_generation() {
    let settings =
        SOURCES.replace("type = \"dotenv\"\npath = \".env\"", "type = \"directory\"\npath = \"conf\"");
    let folder = home(&[&settings, DELIVERIES, AT_ONCE]);
    let revision = |revision: &str, name: &str, port: &str| {
        folder.file(&format!("conf/..{revision}/NAME"), name);
        folder.file(&format!("conf/..{revision}/PORT"), port);
        folder.file(&format!("conf/..{revision}/TOKEN"), TOKEN);
        symlink(format!("..{revision}"), folder.join("conf/..data_tmp")).unwrap();
        fs::rename(folder.join("conf/..data_tmp"), folder.join("conf/..data")).unwrap();
    };
    revision("r1", "one", "9001");
    for name in ["NAME", "PORT", "TOKEN"] {
        symlink(format!("..data/{name}"), folder.join(&format!("conf/{name}"))).unwrap();
    }
    let daemon = Daemon::ready(&folder);
    revision("r2", "two", "9002");
    fs::remove_dir_all(folder.join("conf/..r1")).unwrap();
    daemon.holds(&folder, "out/app.env", "two");
    let text = folder.read("out/app.env");
    assert!(text.contains("9002"), "{text}");
    assert_eq!(daemon.generation(), 2);
    daemon.fence(&folder);
    // Without the directory its values are held.
    fs::rename(folder.join("conf"), folder.join("away")).unwrap();
    daemon.says("source local cannot be read");
    daemon.fence(&folder);
    fs::rename(folder.join("away"), folder.join("conf")).unwrap();
    daemon.says("source local can be read again");
}
