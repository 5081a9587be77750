//! `dlconf run --watch`: a program runs with the newest valid configuration, and is
//! stopped with all that it started. The numbers are those of what the peers' own tests
//! prove (agents of Vault, envconsul).

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{Folder, Ran, SMALL_SCHEMA};
use crate::running::{Running, vanishes};

/// Says which one it is and what it has, and waits to be ended.
const SAYS: &str = "echo start $$ ${PORT-none}; exec sleep 60";

fn folder(env: &str) -> Folder {
    let folder = Folder::with_env(env);
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder
}

/// Settings for a slow machine: what a test writes at once is gathered.
const PATIENT: &str = "[source.local]\ntype = \"dotenv\"\n[debounce]\nmin = \"400ms\"\nmax = \"8s\"\n";

fn watch(folder: &Folder, options: &[&str], script: &str) -> Running {
    let arguments = [&["run", "--watch"], options, &["--", "sh", "-c", script]].concat();
    Running::start(folder.command(&arguments))
}

/// What was started with, in order: `9090`.
fn ports(running: &Running, count: usize) -> Vec<String> {
    let started = running.has(count, "start ");
    started.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

fn pids(running: &Running, count: usize) -> Vec<String> {
    let started = running.has(count, "start ");
    started.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn behaviour_4_a_burst_is_one_restart() {
    let folder = folder("PORT=1\n");
    folder.file("dlconf.toml", &format!("environment = \"development\"\n{PATIENT}"));
    let running = watch(&folder, &["--min-interval", "0s"], SAYS);
    assert_eq!(ports(&running, 1), ["1"]);
    for port in 100..140 {
        folder.file(".env", &format!("PORT={port}\n"));
    }
    assert_eq!(ports(&running, 2), ["1", "139"]);
    // What would come late has come before this.
    folder.file(".env", "PORT=2\n");
    assert_eq!(ports(&running, 3), ["1", "139", "2"]);
    assert_eq!(running.err().matches("restarting sh").count(), 2, "{}", running.err());
}

#[test]
fn behaviour_5_it_starts_only_with_a_whole_valid_environment() {
    let folder = folder("PORT=abc\nTTL=7d\n");
    let ran = folder.run(&["run", "--watch", "--", "touch", "started"]).exits(125);
    ran.warns("PORT").warns("TTL").never_says("keeps what it has");
    assert!(!folder.join("started").exists());
    folder.file(".env", "PORT=9090\n");
    let ran = folder.run(&["run", "--watch", "--", "sh", "-c", "echo $PORT $TTL $APP_ENV"]).exits(0);
    assert_eq!(ran.stdout, "9090 300s development\n");
}

#[test]
fn behaviour_8_a_signal_keeps_the_process_and_a_restart_makes_a_new_one() {
    let script = "trap 'echo told $$' HUP; echo start $$ $PORT; \
                  n=0; while [ $n -lt 1200 ]; do n=$((n+1)); sleep 0.05; done";
    let told = folder("PORT=1\n");
    let running = watch(&told, &["--on-change", "signal:HUP"], script);
    let first = pids(&running, 1).remove(0);
    told.file(".env", "PORT=2\n");
    assert_eq!(running.has(1, "told "), [first]);
    running.tells("PORT changed in .env: telling sh");
    assert_eq!(running.lines("start ").len(), 1);

    let restarted = folder("PORT=1\n");
    let running = watch(&restarted, &[], SAYS);
    ports(&running, 1);
    restarted.file(".env", "PORT=2\n");
    assert_eq!(ports(&running, 2), ["1", "2"]);
    let pids = pids(&running, 2);
    assert_ne!(pids[0], pids[1]);
    vanishes(&pids[0]);
    running.tells("dlconf: PORT changed in .env: restarting sh\n");
}

#[test]
fn behaviour_9_stopping_a_dead_program_does_not_hang() {
    let folder = folder("");
    let options = ["--keep-alive", "--backoff", "1m", "--backoff-max", "1m"];
    let mut running = watch(&folder, &options, "echo start $$; exit 3");
    running.tells("sh ended with 3 and is started again in");
    let (code, took) = running.terminate();
    assert_eq!(code, 128 + 15);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(running.lines("start ").len(), 1);
}

#[test]
fn behaviour_10_all_that_it_started_in_its_group_is_stopped_with_it() {
    let folder = folder("PORT=1\n");
    let script = "sleep 60 & echo below $!; echo start $$ $PORT; wait";
    let mut running = watch(&folder, &[], script);
    let first = running.has(1, "below ").remove(0);
    folder.file(".env", "PORT=2\n");
    let second = running.has(2, "below ").remove(1);
    vanishes(&first);
    assert_eq!(running.terminate().0, 128 + 15);
    vanishes(&second);
}

#[test]
fn behaviour_11_what_does_not_end_is_killed_at_the_timeout() {
    let folder = folder("PORT=1\n");
    let script =
        "trap '' TERM; echo start $$ $PORT; n=0; while [ $n -lt 600 ]; do n=$((n+1)); sleep 0.1; done";
    let mut running = watch(&folder, &["--kill-timeout", "300ms"], script);
    ports(&running, 1);
    folder.file(".env", "PORT=2\n");
    assert_eq!(ports(&running, 2), ["1", "2"]);
    running.tells("did not end within 300ms and is killed");
    vanishes(&pids(&running, 2)[0]);
    let (code, took) = running.terminate();
    assert_eq!(code, 128 + 9);
    assert!(took >= Duration::from_millis(300), "{took:?}");
}

#[test]
fn behaviour_12_the_programs_own_code_comes_through() {
    let folder = folder("");
    for (script, code) in [("exit 0", 0), ("exit 5", 5), ("kill -KILL $$", 128 + 9), ("kill $$", 128 + 15)] {
        let mut running = watch(&folder, &[], script);
        assert_eq!(running.code(), code, "{script}");
    }
    folder.run(&["run", "--watch", "--", "no-such-program"]).exits(127).warns("command not found");
    folder.run(&["run", "--watch", "--", "./.env"]).exits(126);
}

#[test]
fn an_invalid_state_restarts_nothing_and_is_told_once() {
    let folder = folder("PORT=1\n");
    let running = watch(&folder, &["--min-interval", "0s"], SAYS);
    ports(&running, 1);
    folder.file(".env", "PORT=secret-abc\n");
    running.tells("dlconf: error: the new state is invalid, sh keeps what it has: [DLC013]");
    // The same once more is no news.
    folder.file(".env", "# more\nPORT=1\n");
    running.tells("dlconf: the state is valid again");
    folder.file(".env", "PORT=2\n");
    assert_eq!(ports(&running, 2), ["1", "2"]);
    let err = running.err();
    assert_eq!(err.matches("is invalid").count(), 1, "{err}");
    assert_eq!(err.matches("valid again").count(), 1, "{err}");
    assert!(!err.contains("secret-abc") && !err.contains("published"), "{err}");
}

#[test]
fn what_no_process_can_be_given_stops_nothing() {
    let folder = Folder::with_env("NAME=one\n");
    let schema = format!("{SMALL_SCHEMA}\n[var.NAME]\ntype = \"string\"\ndescription = \"Anything.\"\n");
    folder.file("dlconf.schema.toml", &schema);
    let running = watch(&folder, &["--min-interval", "0s"], "echo start $$ $NAME; exec sleep 60");
    assert_eq!(ports(&running, 1), ["one"]);
    // Longer than the kernel takes in one variable.
    folder.file(".env", &format!("NAME={}\n", "canary".repeat(1 << 16)));
    running.tells("sh goes on with what it has, the new values cannot be handed to it: NAME is longer than");
    folder.file(".env", "NAME=two\n");
    assert_eq!(ports(&running, 2), ["one", "two"]);
    assert!(!running.err().contains("canary"), "{}", running.err());
}

#[test]
fn what_other_services_read_restarts_nothing() {
    let folder = folder("PORT=1\n");
    let running = watch(&folder, &["--service", "web", "--min-interval", "0s"], SAYS);
    ports(&running, 1);
    folder.file(".env", "PORT=1\nMODE=fast\n");
    folder.file(".env", "PORT=1\nMODE=safe\nSTRANGE=1\n");
    folder.file(".env", "PORT=2\nMODE=safe\n");
    assert_eq!(ports(&running, 2), ["1", "2"]);
    assert!(!running.err().contains("MODE"), "{}", running.err());
}

#[test]
fn two_hundred_generations_under_a_program_that_never_pauses() {
    const GENERATIONS: usize = 200;
    let folder = folder("PORT=1000\n");
    let settings =
        "environment = \"development\"\n[source.local]\ntype = \"dotenv\"\n[debounce]\nmin = \"1ms\"\n";
    folder.file("dlconf.toml", settings);
    let script = "n=0; while [ $n -lt 3000000 ]; do echo \"line $PORT $n end\"; n=$((n+1)); done";
    let arguments = ["run", "--watch", "--min-interval", "0s", "--", "sh", "-c", script];
    let mut dlconf =
        folder.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(dlconf.stdout.take().unwrap());
    let (mut line, mut port, mut number) = (String::new(), 999, 0);
    // Every one is started with, once, and every line of each comes, whole.
    while port < 1000 + GENERATIONS {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended at {port}");
        let parts: Vec<&str> = line.trim_end().split(' ').collect();
        let ["line", its_port, its_number, "end"] = parts[..] else { panic!("torn: {line:?}") };
        let (its_port, its_number): (usize, u32) = (its_port.parse().unwrap(), its_number.parse().unwrap());
        if its_number == 0 {
            assert_eq!(its_port, port + 1, "after {port}");
            port = its_port;
            if port < 1000 + GENERATIONS {
                folder.file("next", &format!("PORT={}\n", port + 1));
                std::fs::rename(folder.join("next"), folder.join(".env")).unwrap();
            }
        } else {
            assert_eq!((its_port, its_number), (port, number + 1));
        }
        number = its_number;
    }
    kill(Pid::from_raw(dlconf.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    drop(said);
    let ran = Ran::of(&dlconf.wait_with_output().unwrap());
    assert_eq!(ran.stderr.matches("restarting sh").count(), GENERATIONS, "{}", ran.stderr);
}

#[test]
fn a_stop_during_the_start_is_obeyed() {
    let folder = folder("");
    for wait in (0..40).map(|step| Duration::from_micros(700 * step)) {
        let mut running = watch(&folder, &[], SAYS);
        std::thread::sleep(wait);
        let (code, took) = running.terminate();
        assert_eq!(code, 128 + 15, "after {wait:?}: {}", running.err());
        assert!(took < Duration::from_secs(10), "after {wait:?}: {took:?}");
        for line in running.lines("start ") {
            vanishes(line.split(' ').next().unwrap());
        }
    }
}

#[test]
fn a_second_stop_is_heard_a_second_time() {
    let script = "trap 'n=$((n+1)); echo told $n; [ $n -lt 2 ] || exit 9' TERM; n=0; echo start $$; \
                  i=0; while [ $i -lt 600 ]; do i=$((i+1)); sleep 0.05; done";
    let folder = folder("");
    let mut running = watch(&folder, &[], script);
    running.has(1, "start ");
    running.send(Signal::SIGTERM);
    running.has(1, "told ");
    running.send(Signal::SIGTERM);
    assert_eq!(running.code(), 9);
    assert_eq!(running.has(2, "told "), ["1", "2"]);
}

#[test]
fn it_is_kept_alive_so_often_and_no_longer() {
    let folder = folder("");
    let options = ["--keep-alive", "--backoff", "10ms", "--backoff-max", "40ms", "--max-restarts", "3"];
    let mut running = watch(&folder, &options, "echo start $$; exit 3");
    assert_eq!(running.code(), 3);
    running.tells("after it was started again 3 times in a row: it is given up");
    assert_eq!(running.lines("start ").len(), 4);
}

#[test]
fn what_mends_it_is_tried_at_once() {
    let folder = folder("PORT=1\n");
    let options = ["--keep-alive", "--backoff", "1m", "--backoff-max", "1m"];
    let running = watch(&folder, &options, "echo start $$ $PORT; [ $PORT = 2 ] || exit 3; exec sleep 60");
    running.tells("is started again in");
    folder.file(".env", "PORT=2\n");
    assert_eq!(ports(&running, 2), ["1", "2"]);
}

#[test]
fn a_program_that_wants_no_restart_goes_on() {
    let folder = folder("PORT=1\n");
    let mut running = watch(&folder, &["--on-change", "none"], SAYS);
    ports(&running, 1);
    folder.file(".env", "PORT=2\n");
    running.tells("dlconf: PORT changed in .env: sh goes on with what it has");
    assert_eq!(running.terminate().0, 128 + 15);
    assert_eq!(running.lines("start ").len(), 1);
}

#[test]
fn a_command_runs_with_the_new_values() {
    let folder = folder("PORT=1\n");
    folder.bytes("tell", b"#!/bin/sh\necho told $PORT \"$1\"\n", 0o755);
    let running = watch(&folder, &["--on-change", "exec:./tell 'a b'"], SAYS);
    ports(&running, 1);
    folder.file(".env", "PORT=2\n");
    assert_eq!(running.has(1, "told "), ["2 a b"]);
    assert_eq!(running.lines("start ").len(), 1);
}

#[test]
fn a_program_that_does_not_live_with_new_values_is_put_back() {
    let folder = folder("PORT=1\n");
    let script = "echo start $$ $PORT; [ $PORT != 2 ] || exit 4; exec sleep 60";
    let running = watch(&folder, &["--healthy", "1", "--min-interval", "2s"], script);
    ports(&running, 1);
    folder.file(".env", "PORT=2\n");
    assert_eq!(ports(&running, 3), ["1", "2", "1"]);
    running.tells("sh ended with 4 with new values: it is put back on the values that it had before");
    running.tells(
        "; PORT changed in .env, and is not tried again until it changes once more (fix: correct it at its",
    );
    running.tells("sh works again, with the values that it had before");
}

#[test]
fn changes_have_their_words_and_machines_their_names() {
    let folder = folder("PORT=1\nTTL=5s\n");
    let mut command = folder.command(&["--log-format", "json", "run", "--watch", "--", "sh", "-c", SAYS]);
    command.arg("sh");
    let running = Running::start(command);
    ports(&running, 1);
    folder.file(".env", "TOKEN=0123456789abcdefghijklmnopqrstuv\nTTL=6s\n");
    ports(&running, 2);
    running.tells("restarting");
    let line: serde_json::Value = serde_json::from_str(running.err().lines().next().unwrap()).unwrap();
    assert_eq!((&line["event"], &line["level"]), (&"restarting".into(), &"info".into()), "{line}");
    assert_eq!(line["message"], "PORT, TTL changed, TOKEN added in .env: restarting sh");
    assert_eq!(line["fields"]["added"], serde_json::json!(["TOKEN"]));
    assert!(!running.err().contains("0123456789"));
}

#[test]
fn quiet_says_nothing_of_what_goes_well() {
    let folder = folder("PORT=1\n");
    let mut running = Running::start(folder.command(&["-q", "run", "--watch", "--", "sh", "-c", SAYS]));
    ports(&running, 1);
    folder.file(".env", "PORT=2\n");
    ports(&running, 2);
    running.terminate();
    assert_eq!(running.err(), "");
}

#[test]
fn what_chooses_and_what_passes_is_as_without_it() {
    let folder = folder("PORT=1\n");
    folder.file("other.env", "PORT=7\n");
    let arguments =
        ["run", "--env-file", "other.env", "--watch", "--pristine", "--allow", "HOME", "--", "env"];
    let ran = folder.run_with(&arguments, &[("HOME", "/home/x"), ("LANG", "C")]).exits(0);
    let mut lines: Vec<&str> = ran.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["APP_ENV=development", "HOME=/home/x", "PORT=7", "TTL=300s"]);
}

#[test]
fn settings_that_changed_are_told() {
    let folder = folder("PORT=1\n");
    let running = watch(&folder, &[], SAYS);
    ports(&running, 1);
    folder.file("dlconf.schema.toml", &format!("{SMALL_SCHEMA}\n# more\n"));
    running.tells("dlconf.schema.toml changed: restart dlconf to have that read");
    folder.file(".env", "PORT=2\n");
    assert_eq!(ports(&running, 2), ["1", "2"]);
}

#[test]
fn what_does_not_go_together_is_wrong_usage() {
    let folder = folder("");
    let refused = |options: &[&str], texts: &[&str]| {
        let arguments = [&["run"], options, &["--", "touch", "started"]].concat();
        let ran = folder.run(&arguments).exits(125);
        for text in texts {
            assert!(ran.stderr.contains(text), "{options:?}: {text:?} not in\n{}", ran.stderr);
        }
        assert!(!folder.join("started").exists(), "{options:?}");
    };
    for option in [&["--keep-alive"][..], &["--setsid"], &["--on-change", "none"], &["--healthy", "3"]] {
        refused(option, &["--watch"]);
    }
    for (options, texts) in [
        (
            &["--deliver", "fd", "--on-change", "signal:HUP"][..],
            &["--deliver fd hands over a sealed file"][..],
        ),
        (&["--deliver", "fd", "--on-change", "exec:true"], &["--deliver fd hands over a sealed file"]),
        (&["--on-change", "signal:KILL"], &["--on-change with a signal that ends"]),
        (&["--on-change", "signal:TSTP"], &["leaves it standing still"]),
        (&["--on-change", "exec:"], &["the command is missing"]),
        (&["--on-change", "sometimes"], &["write restart, signal:NAME, exec:CMD or none"]),
        (&["--stop-signal", "WINCH"], &["--stop-signal names a signal that ends no program"]),
        (&["--healthy", "0"], &["--healthy 0 shows nothing"]),
        (&["--healthy", "9", "--healthy-timeout", "3s"], &["--healthy-timeout is shorter"]),
        (&["--healthy", "true", "--healthy-timeout", "0s"], &["leaves no time"]),
        (&["--healthy-timeout", "3s"], &["--healthy"]),
        (&["--backoff", "1s"], &["--keep-alive"]),
        (&["--keep-alive", "--backoff", "1m"], &["--backoff is longer than --backoff-max"]),
        // All of it in one run.
        (
            &["--keep-alive", "--backoff", "1m", "--healthy", "0", "--on-change", "signal:TERM"],
            &["--backoff is longer", "--healthy 0", "--on-change with a signal"],
        ),
    ] {
        refused(&[&["--watch"], options].concat(), texts);
    }
}
