//! What a supervised program finds, however often it is started, and what of the world
//! around it does not end it.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::bao::poll;
use crate::program::{Folder, SMALL_SCHEMA};
use crate::running::Running;

fn folder() -> Folder {
    let folder = Folder::with_env("PORT=1\n");
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder
}

/// A supervisor that `around` starts.
fn under(folder: &Folder, around: &[&str], options: &[&str], command: &[&str]) -> Running {
    let dlconf = env!("CARGO_BIN_EXE_dlconf");
    let words = [around, &[dlconf, "run", "--watch"], options, &["--"], command].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder.path()).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap());
    Running::start(command)
}

#[test]
fn a_program_that_is_started_again_finds_the_mask_of_the_first() {
    let folder = folder();
    let options = ["--keep-alive", "--backoff", "1ms", "--max-restarts", "2"];
    let around = ["env", "--block-signal=USR1,USR2,TERM,WINCH,ALRM"];
    let mut running = under(&folder, &around, &options, &["grep", "SigBlk", "/proc/self/status"]);
    assert_eq!(running.code(), 0, "{}", running.err());
    running.has(3, "SigBlk:");
    assert_eq!(running.lines("SigBlk:\t"), ["0000000008006a00"; 3]);
}

#[test]
fn a_hangup_that_was_to_be_ignored_ends_nothing_while_nothing_runs() {
    let folder = folder();
    let options = ["--keep-alive", "--backoff", "1m", "--backoff-max", "1m"];
    let around = ["env", "--ignore-signal=HUP,INT"];
    let mut running = under(&folder, &around, &options, &["sh", "-c", "exit 3"]);
    running.tells("is started again in");
    running.send(Signal::SIGHUP);
    running.send(Signal::SIGINT);
    // It hears this one last.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(running.terminate().0, 128 + 15);
}

#[test]
fn a_value_that_no_environment_takes_ends_no_program() {
    let folder = folder();
    folder.file(
        "dlconf.schema.toml",
        &format!("{SMALL_SCHEMA}\n[var.TEXT]\ntype = \"string\"\nrequired = false\n"),
    );
    let mut running = under(&folder, &[], &[], &["sh", "-c", "echo start $PORT; exec sleep 60"]);
    running.has(1, "start ");
    folder.file(".env", &format!("PORT=2\nTEXT={}\n", "x".repeat(140_000)));
    running.tells("TEXT is longer than the 131071 bytes that this system lets");
    folder.file(".env", "PORT=3\n");
    running.has(2, "start ");
    assert_eq!(running.lines("start "), ["1", "3"]);
    assert_eq!(running.terminate().0, 128 + 15);
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let folder = folder();
    let (_unread, log) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&log, nix::fcntl::FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    let starts = folder.path().join("starts");
    let mut dlconf = Command::new(env!("CARGO_BIN_EXE_dlconf"))
        .args([
            "run",
            "--watch",
            "--keep-alive",
            "--backoff",
            "1ms",
            "--backoff-max",
            "1ms",
            "--",
            "sh",
            "-c",
        ])
        .arg("echo >> starts; exit 1")
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .stdin(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    // Each start is a line of some fifty bytes.
    let many = poll(|| std::fs::read(&starts).is_ok_and(|starts| starts.len() > 300).then_some(()));
    let pid = nix::unistd::Pid::from_raw(dlconf.id().try_into().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
    let ended = poll(|| dlconf.try_wait().unwrap());
    let _it_may_hang = dlconf.kill();
    dlconf.wait().unwrap();
    assert!(many.is_some(), "it stands still");
    assert!(ended.is_some(), "it hears nothing");
}
