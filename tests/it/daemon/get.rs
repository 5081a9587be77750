//! `dlconf get`: one value, from the daemon.

use super::*;

const NAMED: [&str; 2] = ["--config", "dlconf.toml"];

#[test]
fn the_value_is_all_of_stdout_and_the_header_says_whose_it_is() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let version = daemon.status()["version"].as_str().unwrap().to_owned();
    let ran = folder.run(&[&NAMED[..], &["get", "TOKEN"]].concat()).exits(0);
    assert_eq!(ran.stdout, format!("{TOKEN}\n"));
    let socket = folder.join("dlconf.sock");
    let header =
        format!("from the daemon at {}, for staging: TOKEN {version} from .env:2:7", socket.display());
    ran.warns(&header).warns(" old\n");
    let quiet = folder.run(&[&NAMED[..], &["-q", "get", "PORT"]].concat()).exits(0);
    assert_eq!((&*quiet.stdout, &*quiet.stderr), ("9000\n", ""));
    // What is published, not what stands in the file by now.
    put(&folder, ".env", &shop("two").replace("9000", "many"));
    daemon.says("is not published");
    let ran = folder.run(&[&NAMED[..], &["get", "NAME"]].concat()).exits(0);
    assert_eq!(ran.stdout, "one\n");
    folder.run(&[&NAMED[..], &["get", "--local", "NAME"]].concat()).exits(1);
    put(&folder, ".env", &shop("two"));
    let ran = folder.run(&[&NAMED[..], &["get", "--local", "NAME"]].concat()).exits(0);
    assert_eq!(ran.stdout, "two\n");
    ran.warns("resolved here, for staging: NAME from .env:1:6");
}

#[test]
fn a_socket_is_enough() {
    let folder = usual();
    let _daemon = Daemon::ready(&folder);
    let socket = folder.join("dlconf.sock");
    let named = [("DLCONF_SOCKET", socket.to_str().unwrap())];
    let elsewhere = Folder::new();
    // Which of the text's characters JSON has to escape makes no difference.
    let awkward = "a\\\"b\tc=é";
    put(&folder, "note.env", &format!("NOTE='{awkward}'\n"));
    wait_for("the note", String::new, || {
        Some(elsewhere.run_with(&["get", "NOTE"], &named).stdout).filter(|text| text.contains(awkward))
    });
    let ran = elsewhere.run_with(&["get", "APP_ENV"], &named).exits(0);
    assert_eq!(ran.stdout, "staging\n");
}

#[test]
fn what_is_not_there_has_the_same_words_as_without_a_daemon() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let get = |name: &str| folder.run(&[&NAMED[..], &["get", name]].concat());
    get("NAEM").exits(2).warns("did you mean NAME?");
    get("NOTE").exits(1).warns("NOTE is not set").warns("dlconf explain NOTE");
    get(&format!("TOKEN={TOKEN}")).exits(2).never_says(TOKEN).warns("this is no name of a variable");
    daemon.end(Signal::SIGTERM).exits(0);
    get("NAME").exits(3).warns("no daemon answers at").warns("is it running?");
    assert!(
        Folder::with_env("")
            .run(&["get", "CORS_ORIGINS"])
            .exits(2)
            .stderr
            .contains("no daemon's socket is configured")
    );
}

#[test]
fn before_anything_is_published_there_is_nothing_to_get() {
    let folder = usual();
    folder.file(".env", "NAME=one\n");
    let daemon = Daemon::start(&folder);
    daemon.says(" published yet: [DLC001]");
    let ran = folder.run(&[&NAMED[..], &["get", "NAME"]].concat()).exits(3);
    ran.warns("is not ready: no valid configuration was published yet");
}
