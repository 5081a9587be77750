//! What follows a change of a delivery's bytes.

use std::process::Command;

use dlconf::model::rotation::{KeyNote, Kid, Ledger, Print, Progress, Slot};

use super::*;

/// The app's delivery runs this in a shell.
fn running(folder: &Folder, script: &str, more: &str) {
    folder.file("hook.sh", script);
    let on_change = format!(
        "[delivery.app.on_change]\nexec = [\"/bin/sh\", \"{}\"]\n{more}\n",
        folder.join("hook.sh").display()
    );
    folder.file("dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, &on_change].concat());
}

/// A script that notes what it was told beside itself.
const NOTES: &str =
    "cd \"${0%/*}\"\necho \"$DLCONF_DELIVERY $DLCONF_VERSION $DLCONF_PATH\" >> told\nenv > told.env\n";

#[test]
fn a_program_runs_for_changed_bytes_only() {
    let folder = usual();
    running(&folder, NOTES, "min_interval = \"0s\"");
    let mut command = Daemon::command(&folder);
    let daemon = Daemon::of(&folder, command.env("STRANGE_SECRET", "9f8e7d6c5b4a"));
    daemon.says_for(1, "on_change of delivery app: exit code 0");
    daemon.fence(&folder);
    put(&folder, ".env", &shop("two"));
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    daemon.fence(&folder);
    let version = |generation: u64| {
        let version = daemon.status()["version"].as_str().unwrap().to_owned();
        format!("{}.{generation}", version.split_once('.').unwrap().0)
    };
    let path = folder.join("out/app.env");
    let told = |generation| format!("app {} {}\n", version(generation), path.display());
    assert_eq!(folder.read("told"), told(1) + &told(3));
    let environment = folder.read("told.env");
    assert!(!environment.contains("STRANGE_SECRET") && !environment.contains(TOKEN), "{environment}");
    let hook = named(&daemon.status()["deliveries"], "app")["on_change"].clone();
    assert_eq!((&hook["ok"], &hook["detail"]), (&true.into(), &"exit code 0".into()));
}

/// Which key of a rotation a value is makes a generation, and touches no reader.
#[test]
fn the_name_of_a_key_changes_no_bytes() {
    let folder = usual();
    running(&folder, NOTES, "min_interval = \"0s\"");
    let daemon = Daemon::ready(&folder);
    daemon.says_for(1, "on_change of delivery app: exit code 0");
    let (before, generation) = (trace(&folder.join("out/app.env")), daemon.generation());
    for kid in ["k1", "k2"] {
        let note = KeyNote {
            kid: Kid::new(kid).unwrap(),
            print: Some(Print::of(&Kid::new(kid).unwrap(), &TOKEN.into())),
            not_before: None,
            rest: serde_json::Map::new(),
        };
        let progress = Progress { keys: [(Slot::Current, note)].into(), ..Progress::default() };
        let state = Ledger::default().with("TOKEN", progress).to_text();
        let published = daemon.count("published ");
        put(&folder, ".env", &format!("{}DLCONF_STATE='{state}'\n", shop("one")));
        daemon.says_for(published + 1, "published ");
    }
    assert_eq!(daemon.generation(), generation + 2);
    daemon.fence(&folder);
    assert_eq!(trace(&folder.join("out/app.env")), before);
    put(&folder, ".env", &shop("two"));
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    assert_eq!(folder.read("told").lines().count(), 2);
}

#[test]
fn changes_within_the_least_interval_are_told_together() {
    let folder = usual();
    running(&folder, NOTES, "min_interval = \"700ms\"");
    let daemon = Daemon::ready(&folder);
    daemon.says_for(1, "on_change of delivery app: exit code 0");
    let begun = Instant::now();
    for name in ["two", "three", "four"] {
        put(&folder, ".env", &shop(name));
        daemon.holds(&folder, "out/app.env", name);
    }
    assert!(begun.elapsed() < Duration::from_millis(600), "this machine is too slow for this test");
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    // Had there been a run for each, the next would come before this one.
    put(&folder, ".env", &shop("five"));
    daemon.says_for(3, "on_change of delivery app: exit code 0");
    let told = folder.read("told");
    let generations: Vec<&str> = told.lines().map(|line| line.split([' ', '.']).nth(2).unwrap()).collect();
    assert_eq!(generations, ["1", "4", "5"]);
}

#[test]
fn what_a_program_prints_is_masked_in_the_log() {
    let folder = usual();
    running(&folder, "cat \"$DLCONF_PATH\"; echo done >&2; exit 3\n", "");
    let daemon = Daemon::ready(&folder);
    daemon.says("on_change of delivery app failed: exit code 3");
    daemon.says("on_change of delivery app says: NAME=one");
    daemon.says("on_change of delivery app says: TOKEN=");
    daemon.says("on_change of delivery app says: done");
    assert_eq!(daemon.count(TOKEN), 0, "{:?}", daemon.lines());
    let status = daemon.status();
    let hook = &named(&status["deliveries"], "app")["on_change"];
    assert_eq!((&hook["ok"], &hook["detail"]), (&false.into(), &"exit code 3".into()));
    // It is no failure of the delivery.
    assert_eq!(named(&status["deliveries"], "app")["failure"], Value::Null);
    let text = folder.run(&["--config", "dlconf.toml", "status"]).exits(0);
    text.says("delivery app").says("exit code 3");
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let folder = usual();
    let on_change = "[delivery.app.on_change]\nexec = [\"/nowhere/at/all\"]\n";
    folder.file("dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, on_change].concat());
    let daemon = Daemon::ready(&folder);
    daemon.says("on_change of delivery app failed: not started: ");
}

#[test]
fn a_signal_goes_to_the_process_in_the_pid_file() {
    let folder = usual();
    let on_change =
        "[delivery.app.on_change]\nsignal = \"USR1\"\npid_file = \"app.pid\"\nmin_interval = \"0s\"\n";
    folder.file("dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, on_change].concat());
    let daemon = Daemon::ready(&folder);
    daemon.says("on_change of delivery app failed: USR1 not sent: app.pid: the pid file does not exist");
    let mut sleeper = Command::new("sleep").arg("60").spawn().unwrap();
    folder.file("app.pid", &format!("{}\n", sleeper.id()));
    daemon.fence(&folder);
    assert_eq!(sleeper.try_wait().unwrap(), None);
    put(&folder, ".env", &shop("two"));
    daemon.says(&format!("on_change of delivery app: USR1 sent to process {}", sleeper.id()));
    let ended = wait_for("its end", String::new, || sleeper.try_wait().unwrap());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(Signal::SIGUSR1 as i32));
}

#[test]
fn nothing_runs_after_a_restart_with_the_same_content() {
    let folder = usual();
    running(&folder, NOTES, "min_interval = \"0s\"");
    let daemon = Daemon::ready(&folder);
    daemon.says("on_change of delivery app: exit code 0");
    daemon.end(Signal::SIGTERM).exits(0);
    let before = trace(&folder.join("out/app.env"));
    let daemon = Daemon::ready(&folder);
    daemon.fence(&folder);
    assert_eq!(trace(&folder.join("out/app.env")), before);
    put(&folder, ".env", &shop("two"));
    daemon.says("on_change of delivery app: exit code 0");
    assert_eq!(folder.read("told").lines().count(), 2);
}

/// A change that is not told for an hour.
const OWED: &str = "min_interval = \"1h\"";

#[test]
fn what_is_owed_is_told_before_the_end() {
    let folder = usual();
    running(&folder, NOTES, OWED);
    let daemon = Daemon::ready(&folder);
    daemon.says_for(1, "on_change of delivery app: exit code 0");
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    daemon.fence(&folder);
    assert_eq!(folder.read("told").lines().count(), 1);
    daemon.signal(Signal::SIGTERM);
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    assert_eq!(folder.read("told").lines().count(), 2);
}

#[test]
fn what_is_owed_is_told_when_a_reload_changes_the_delivery() {
    let folder = usual();
    running(&folder, NOTES, OWED);
    let daemon = Daemon::ready(&folder);
    daemon.says_for(1, "on_change of delivery app: exit code 0");
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    put(
        &folder,
        "dlconf.toml",
        &folder
            .read("dlconf.toml")
            .replace("path = \"out/app.env\"", "path = \"out/app.env\"\nmode = \"0640\""),
    );
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    wait_for("the mode", String::new, || (folder.mode("out/app.env") == 0o640).then_some(()));
}
