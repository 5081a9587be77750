//! Deliveries of one daemon: what each gets, and that none waits for another.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use super::*;

const MAIL: &str = "MAIL_USER=me\nMAIL_PASSWORD=x9Kq2mVt7LpW4zRn\nMODE=fast\n";

/// The names in a file of assignments.
fn names(folder: &Folder, file: &str) -> Vec<String> {
    let text = folder.read(file);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
}

/// Waits until a delivery has failed, and gives its failure.
#[track_caller]
fn failure(daemon: &Daemon, delivery: &str) -> Value {
    let failure = |status: &Value| named(&status["deliveries"], delivery)["failure"].clone();
    failure(&daemon.until("a failure", |status| !status.is_null() && !failure(status).is_null()))
}

#[track_caller]
fn recovers(daemon: &Daemon, delivery: &str) {
    daemon.until("its recovery", |status| {
        let delivery = named(&status["deliveries"], delivery);
        delivery["failure"].is_null() && delivery["version"] == status["version"]
    });
}

#[test]
fn each_gets_what_its_vars_name_and_the_service_reads() {
    let deliveries = r#"[delivery.mail]
type = "env-file"
path = "out/mail.env"
vars = ["group:mail"]
[delivery.some]
type = "directory"
path = "out/some"
vars = ["N*", "PORT"]
[delivery.all]
type = "env-file"
path = "out/all.env"
"#;
    for (service, all) in [
        ("", &["APP_ENV", "NAME", "PORT", "TOKEN", "MAIL_USER", "MAIL_PASSWORD", "MODE"][..]),
        ("service = \"web\"\n", &["APP_ENV", "NAME", "PORT", "TOKEN", "MAIL_USER", "MAIL_PASSWORD"]),
    ] {
        let folder = home(&[service, SOURCES, deliveries]);
        folder.file(".env", &format!("{}{MAIL}", shop("one")));
        let daemon = Daemon::ready(&folder);
        assert_eq!(names(&folder, "out/mail.env"), ["MAIL_USER", "MAIL_PASSWORD"]);
        assert_eq!(names(&folder, "out/all.env"), all);
        let mut files: Vec<String> = fs::read_dir(folder.join("out/some"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        files.sort();
        assert_eq!(files, ["NAME", "PORT"]);
        assert_eq!(folder.read("out/some/NAME"), "one");
        let status = daemon.status();
        assert_eq!(named(&status["variables"], "PORT")["deliveries"], serde_json::json!(["all", "some"]));
        assert_eq!(named(&status["variables"], "TOKEN")["deliveries"], serde_json::json!(["all"]));
        put(&folder, ".env", &format!("{}{MAIL}", shop("two")));
        wait_for(
            "the new name",
            || daemon.lines().join("\n"),
            || (folder.read("out/some/NAME") == "two").then_some(()),
        );
    }
}

#[test]
fn mode_and_owner_are_there_after_every_change() {
    let access = "[delivery.app]\ntype = \"env-file\"\npath = \"out/app.env\"\nmode = \"0640\"\nowner = \"65534\"\ngroup = \"65533\"\n";
    let folder = home(&[SOURCES, access, AT_ONCE]);
    let daemon = Daemon::ready(&folder);
    let rights = || {
        let metadata = fs::metadata(folder.join("out/app.env")).unwrap();
        (metadata.permissions().mode() & 0o7777, metadata.uid(), metadata.gid())
    };
    assert_eq!(rights(), (0o640, 65534, 65533));
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    assert_eq!(rights(), (0o640, 65534, 65533));
    // Whoever changed them meanwhile.
    fs::set_permissions(folder.join("out/app.env"), fs::Permissions::from_mode(0o666)).unwrap();
    chown(folder.join("out/app.env"), Some(0), Some(0)).unwrap();
    put(&folder, ".env", &shop("three"));
    daemon.holds(&folder, "out/app.env", "three");
    assert_eq!(rights(), (0o640, 65534, 65533));
}

#[test]
fn missing_folders_are_made_or_asked_for() {
    let deliveries = "[delivery.app]\ntype = \"env-file\"\npath = \"new/below/app.env\"\n\
        [delivery.strict]\ntype = \"env-file\"\npath = \"other/strict.env\"\ncreate_dirs = false\n";
    let folder = home(&[SOURCES, deliveries, AT_ONCE]);
    let daemon = Daemon::start(&folder);
    daemon.holds(&folder, "new/below/app.env", "NAME=one");
    assert_eq!((folder.mode("new"), folder.mode("new/below")), (0o750, 0o750));
    let failure = failure(&daemon, "strict");
    assert!(failure["message"].as_str().unwrap().contains("other"), "{failure}");
    assert!(failure["help"].as_str().is_some(), "{failure}");
    assert!(!folder.join("other").exists());
    fs::create_dir(folder.join("other")).unwrap();
    recovers(&daemon, "strict");
    assert!(folder.read("other/strict.env").contains("NAME=one"));
}

#[test]
fn one_that_fails_is_tried_again_alone() {
    let folder = usual();
    fs::create_dir_all(folder.join("out/app.env")).unwrap();
    let daemon = Daemon::start(&folder);
    let failure = failure(&daemon, "app");
    assert!(failure["message"].as_str().unwrap().contains("out/app.env"), "{failure}");
    let line = daemon.says("delivery app failed, tried again in ");
    assert!(line.contains("out/app.env"), "{line}");
    // The other goes on; the new generation is tried at once.
    daemon.pass(&folder);
    daemon.fence(&folder);
    assert!(daemon.metric("dlconf_delivery_total{delivery=\"app\",outcome=\"failed\"}") >= 2);
    assert_eq!(daemon.metric("dlconf_delivery_total{delivery=\"note\",outcome=\"failed\"}"), 0);
    assert_eq!(named(&daemon.status()["deliveries"], "note")["failure"], Value::Null);
    // Nothing but the obstacle changes.
    let generation = daemon.generation();
    fs::remove_dir(folder.join("out/app.env")).unwrap();
    recovers(&daemon, "app");
    assert!(folder.read("out/app.env").contains("NAME=one"));
    assert_eq!(daemon.generation(), generation);
}

#[test]
fn a_value_that_a_format_cannot_carry_fails_that_delivery_alone() {
    let settings =
        DELIVERIES.replace("path = \"out/note.env\"", "path = \"out/note.env\"\nformat = \"docker\"");
    let folder = home(&[SOURCES, &settings, AT_ONCE]);
    folder.file("note.env", "NOTE=flat\n");
    let daemon = Daemon::ready(&folder);
    let before = trace(&folder.join("out/note.env"));
    put(&folder, "note.env", "NOTE=\"line-one\nline-two\"\n");
    let failure = failure(&daemon, "note");
    assert_eq!(failure["code"], "DLC061");
    assert!(failure["message"].as_str().unwrap().contains("NOTE ("), "{failure}");
    assert!(!failure.to_string().contains("line-"), "{failure}");
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    assert_eq!(trace(&folder.join("out/note.env")), before);
    assert_eq!(daemon.count("line-"), 0);
    put(&folder, "note.env", "NOTE=even\n");
    recovers(&daemon, "note");
    assert!(folder.read("out/note.env").contains("even"));
}

#[test]
fn a_link_in_the_targets_place_is_refused() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    folder.file("elsewhere", "untouched\n");
    symlink("../elsewhere", folder.join("out/link")).unwrap();
    fs::rename(folder.join("out/link"), folder.join("out/app.env")).unwrap();
    put(&folder, ".env", &shop("two"));
    let failure = failure(&daemon, "app");
    assert!(failure["message"].as_str().unwrap().contains("link"), "{failure}");
    assert_eq!(folder.read("elsewhere"), "untouched\n");
    assert!(fs::symlink_metadata(folder.join("out/app.env")).unwrap().is_symlink());
    fs::remove_file(folder.join("out/app.env")).unwrap();
    recovers(&daemon, "app");
    assert!(folder.read("out/app.env").contains("two"));
}
