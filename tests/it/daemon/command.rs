//! The commands that ask a daemon.

use std::os::unix::fs::PermissionsExt as _;

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
    let folder =
        home(&[&SOURCES.replace("dlconf.sock\"", "dlconf.sock\"\nmode = \"0666\""), DELIVERIES, AT_ONCE]);
    let daemon = Daemon::ready(&folder);
    // They may reach it, and even read the settings.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (arguments, action, key) in [
        (&["status"][..], "status", ""),
        (&["health", "--live"], "status", ""),
        (&["explain", "NAME"], "status", " --var NAME"),
        (&["forget", "NAME"], "forget", " --var NAME"),
        (&["get", "NAME"], "read", ""),
        (&["get", "-q", "NAME"], "read", " --var NAME"),
    ] {
        let Some(mut theirs) = as_nobody(&folder, arguments) else { return };
        let ran = Ran::of(&theirs.env("DLCONF_SOCKET", folder.join("dlconf.sock")).output().unwrap());
        let help = format!("`dlconf access test --uid 65534 --action {action}{key}` explains");
        ran.exits(4).warns("refuses: ").warns("user 65534").warns(&help);
    }
    assert_eq!(daemon.count("refused: the socket: no rule is for user 65534"), 1, "{:?}", daemon.lines());
    assert_eq!(daemon.metric("dlconf_access_denied_total"), 6);
    asked(&folder, &["status"]).exits(0);
    // The socket itself may be closed to them.
    fs::set_permissions(folder.join("dlconf.sock"), fs::Permissions::from_mode(0o600)).unwrap();
    let Some(mut theirs) = as_nobody(&folder, &["status"]) else { return };
    let ran = Ran::of(&theirs.env("DLCONF_SOCKET", folder.join("dlconf.sock")).output().unwrap());
    ran.exits(4).warns("permission denied").warns("`mode` under [socket]");
}

/// A daemon of another user is for whoever named its socket, and not for who found
/// settings that name it.
#[test]
fn whose_daemon_answers_matters_where_settings_were_found() {
    let folder =
        home(&[&SOURCES.replace("dlconf.sock\"", "dlconf.sock\"\nmode = \"0666\""), DELIVERIES, AT_ONCE]);
    let Some(mut theirs) = as_nobody(&folder, &["--config", "dlconf.toml", "-v", "daemon"]) else { return };
    for name in ["", ".env", "dlconf.toml", "dlconf.schema.toml"] {
        std::os::unix::fs::chown(folder.join(name), Some(65534), Some(65534)).unwrap();
    }
    let daemon = Daemon::of(&folder, &mut theirs);
    daemon.holds(&folder, "out/app.env", "one");
    folder.run(&["status"]).exits(4).warns("is another user's: that of user 65534").warns("merely found");
    // It answers, and refuses, since it has no policy.
    let everybody = "everybody may write to the folder of";
    let socket = folder.join("dlconf.sock");
    let named = [("DLCONF_SOCKET", socket.to_str().unwrap())];
    asked(&folder, &["status"]).exits(4).warns("refuses: ").never_says(everybody);
    folder.run_with(&["status"], &named).exits(4).warns("refuses: ").never_says(everybody);
    // An emptyDir.
    std::os::unix::fs::chown(folder.path(), Some(0), Some(0)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let ran = folder.run_with(&["status"], &named).exits(4).warns("refuses: ");
    ran.warns(everybody).warns("user 65534 does");
    folder.run(&["status"]).exits(4).warns("is another user's");
}
