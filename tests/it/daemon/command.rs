//! The commands that ask a daemon.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::*;
use crate::program::Ran;

const NAMED: [&str; 2] = ["--config", "dlconf.toml"];

fn asked(folder: &Folder, arguments: &[&str]) -> Ran {
    folder.run(&[&NAMED, arguments].concat())
}

#[test]
fn status_shows_one_screen_or_the_document() {
    let folder = usual();
    folder.file("note.env", "NOTE=hello-there\n");
    let daemon = Daemon::ready(&folder);
    let version = daemon.status()["version"].as_str().unwrap().to_owned();
    let text = asked(&folder, &["status"]).exits(0);
    for part in [&*version, "staging", "local", "note", "app", "out/app.env", "TOKEN", ".env:2:7"] {
        assert!(text.stdout.contains(part), "{part}:\n{}", text.stdout);
    }
    text.never_says(TOKEN).never_says("hello-there");
    let json = asked(&folder, &["status", "--format", "json"]).exits(0);
    let document: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["version"], version.as_str());
    assert_eq!(named(&document["variables"], "TOKEN")["origin"], ".env:2:7");
    assert_eq!(named(&document["sources"], "local")["health"], "up");
    json.never_says(TOKEN).never_says("hello-there");
    // The socket may be named without any settings.
    let socket = folder.join("dlconf.sock");
    let elsewhere = Folder::new();
    elsewhere.run_with(&["status"], &[("DLCONF_SOCKET", socket.to_str().unwrap())]).exits(0).says(&version);
}

#[test]
fn health_answers_with_its_exit_code() {
    let folder = usual();
    fs::remove_file(folder.join(".env")).unwrap();
    asked(&folder, &["health", "--live"]).exits(3).warns("no daemon answers at");
    let daemon = Daemon::start(&folder);
    daemon.says("source local cannot be read");
    asked(&folder, &["health", "--live"]).exits(0);
    asked(&folder, &["health", "--ready"]).exits(1).warns("not ready: no configuration is published yet");
    put(&folder, ".env", &shop("one"));
    daemon.until("readiness", |status| status["ready"] == true);
    asked(&folder, &["health", "--ready"]).exits(0);
    asked(&folder, &["health", "--ready", "--live"]).exits(0);
    daemon.end(Signal::SIGTERM).exits(0);
    asked(&folder, &["health", "--ready"]).exits(3);
    asked(&folder, &["status"]).exits(3).warns("no daemon answers at").warns("is it running?");
    asked(&folder, &["forget", "NOTE"]).exits(3);
}

#[test]
fn explain_shows_no_value_but_local_does() {
    let folder = usual();
    folder.file("note.env", "NAME=shadowing-name\n");
    let daemon = Daemon::ready(&folder);
    let ran = asked(&folder, &["explain", "NAME"]).exits(0).never_says("shadowing-name");
    ran.says("note.env:1:6").says(".env:1:6").says("wins").says("loses").says("dlconf.sock");
    asked(&folder, &["explain", "PORT"]).exits(0).never_says("9000");
    asked(&folder, &["explain", "--local", "NAME"]).exits(0).says("shadowing-name");
    asked(&folder, &["explain", "TOKEN"]).exits(0).never_says(TOKEN);
    asked(&folder, &["explain", "--local", "TOKEN"]).exits(0).never_says(TOKEN);
    asked(&folder, &["explain", "NAEM"]).exits(2).warns("did you mean NAME?");
    // What is refused is explained as well: it is what the sources say now.
    put(&folder, "note.env", "NAME=x\nPORT=many-of-them\n");
    daemon.says("is not published");
    asked(&folder, &["explain", "PORT"]).exits(0).says("DLC010").never_says("many-of-them");
}

#[test]
fn forget_gives_up_only_what_is_held() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    asked(&folder, &["forget", "NAME"]).exits(1).warns("NAME is not held");
    asked(&folder, &["forget", "NAEM"]).exits(2).warns("did you mean NAME?");
    let secret = format!("TOKEN={TOKEN}");
    asked(&folder, &["forget", &secret]).exits(2).never_says(TOKEN);
    assert_eq!(daemon.generation(), 1);
    assert_eq!(daemon.count(TOKEN), 0);
}

#[test]
fn a_daemon_that_holds_the_old_settings_can_be_asked() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let (schema, settings) = (folder.read("dlconf.schema.toml"), folder.read("dlconf.toml"));
    put(&folder, "dlconf.schema.toml", "[\n");
    daemon.says_for(1, "are refused, the old ones hold");
    let asks = |arguments: &[&str]| folder.run(&[&["--config", "dlconf.toml"], arguments].concat());
    asks(&["health", "--live", "--ready"]).exits(0);
    assert!(asks(&["status"]).exits(0).stdout.contains("a reload was refused"));
    put(&folder, "dlconf.schema.toml", &schema);
    daemon.says("settings and schema were read again and hold");
    put(&folder, "dlconf.toml", &settings.replace("NOTE", "NOTO"));
    daemon.says_for(2, "are refused, the old ones hold");
    asks(&["health", "--live", "--ready"]).exits(0);
    let environment = settings.lines().find(|line| line.starts_with("environment")).unwrap();
    put(&folder, "dlconf.toml", &settings.replace(environment, "environment = \"prod\""));
    daemon.says_for(3, "are refused, the old ones hold");
    asks(&["health", "--live", "--ready"]).exits(0);
}

#[test]
fn another_user_is_refused() {
    let may =
        Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "true"]).status();
    if !may.is_ok_and(|status| status.success()) {
        // Needs root.
        return;
    }
    let folder =
        home(&[&SOURCES.replace("dlconf.sock\"", "dlconf.sock\"\nmode = \"0666\""), DELIVERIES, AT_ONCE]);
    let daemon = Daemon::ready(&folder);
    // They may reach it, and even read the settings.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = env!("CARGO_BIN_EXE_dlconf");
    let theirs = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", program]);
        command.args(arguments).current_dir(folder.path()).env_clear();
        command
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("DLCONF_SOCKET", folder.join("dlconf.sock"));
        Ran::of(&command.output().unwrap())
    };
    for arguments in [&["status"][..], &["health", "--live"], &["explain", "NAME"], &["forget", "NAME"]] {
        theirs(arguments).exits(4).warns("refuses").warns("fix: ask as the user that the daemon runs as");
    }
    assert_eq!(daemon.count("refused: the socket: user 65534 asked"), 1, "{:?}", daemon.lines());
    assert_eq!(daemon.metric("dlconf_access_denied_total"), 4);
    asked(&folder, &["status"]).exits(0);
}
