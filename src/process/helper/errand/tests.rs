//! Real programs, in this process.

use std::io::PipeWriter;
use std::path::Path;

use super::super::tests::{gone, until};
use super::*;

/// Far from over when a test has long failed.
const LONG: Duration = Duration::from_mins(1);

fn request(script: &str, timeout: Duration) -> Request {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Request { argv, timeout, environment: vec![("PATH".into(), "/usr/bin:/bin".into())] }
}

fn stop() -> (PipeReader, PipeWriter) {
    io::pipe().unwrap()
}

fn sh(script: &str, timeout: Duration) -> Ran {
    let (stop, _running_on) = stop();
    run(&request(script, timeout), &[], stop.as_fd())
}

fn pid(line: &str) -> Pid {
    Pid::from_raw(line.parse().unwrap())
}

#[test]
fn outcomes() {
    for (script, expect) in [
        ("exit 0", Outcome::Code(0)),
        ("exit 3", Outcome::Code(3)),
        ("kill -KILL $$", Outcome::Signal(9)),
        ("kill -40 $$", Outcome::Signal(40)),
        ("exec 1>&- 2>&-; exit 7", Outcome::Code(7)),
    ] {
        assert_eq!(sh(script, LONG).outcome, expect, "{script}");
    }
}

#[test]
fn what_cannot_be_started_says_why() {
    let (stop, _running_on) = stop();
    for (program, expect) in [
        ("/nowhere/at/all", "there is no such program"),
        ("/etc", "this user may not execute it"),
        ("/bin/\0", "NUL byte"),
        ("", "there is no such program"),
    ] {
        let request = Request { argv: vec![program.into()], ..request("", LONG) };
        let Outcome::NotStarted(why) = run(&request, &[], stop.as_fd()).outcome else {
            panic!("{program:?}")
        };
        assert!(why.contains(expect), "{program:?}: {why}");
    }
}

#[test]
fn it_gets_what_is_given_and_nothing_else() {
    let (stop, _running_on) = stop();
    let request = Request {
        argv: vec!["/usr/bin/env".into()],
        timeout: LONG,
        environment: vec![("DLCONF_DELIVERY".into(), "app".into())],
    };
    let ran = run(&request, &[("HOME".into(), "/home/x".into())], stop.as_fd());
    assert_eq!(ran.lines, ["DLCONF_DELIVERY=app", "HOME=/home/x"]);
    let ran = sh("readlink /proc/self/fd/0; pwd; cut -d' ' -f5 /proc/$$/stat; echo $$", LONG);
    let [stdin, folder, group, process] = ran.lines.as_slice() else { panic!("{:?}", ran.lines) };
    assert_eq!((stdin.as_str(), folder.as_str()), ("/dev/null", "/"));
    assert_eq!(group, process, "it leads a process group");
}

#[test]
fn output_is_lines_and_bounded() {
    let ran = sh(r"printf 'a\r\n\n'; printf 'to stderr\n' >&2; printf 'b\377\033[1m'", LONG);
    assert_eq!(ran.lines, ["a", "", "to stderr", "b\u{fffd}\u{1b}[1m"]);
    assert_eq!(ran.dropped_lines, 0);
    let ran = sh("i=0; while [ $i -lt 250 ]; do echo $i; i=$((i+1)); done", LONG);
    assert_eq!((ran.lines.len(), ran.dropped_lines), (100, 150));
    assert_eq!(ran.lines[99], "99");
    let ran = sh("head -c 5000000 /dev/zero | tr '\\0' x; echo; printf %1000s", LONG);
    assert_eq!(ran.lines[0].chars().count(), 1001);
    assert!(ran.lines[0].ends_with(CUT));
    assert_eq!(ran.lines[1], " ".repeat(1000), "one that fits is not cut");
}

#[test]
fn a_line_is_cut_between_characters() {
    let mut lines = Lines::default();
    lines.push("🦀".repeat(1002).as_bytes());
    lines.push(b"\n");
    let (whole, _) = lines.finish();
    assert_eq!(whole, [format!("{}{CUT}", "🦀".repeat(1000))]);
}

#[test]
fn one_that_obeys_is_ended_by_sigterm_at_its_timeout() {
    let begun = Instant::now();
    let script = "trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done";
    let ran = sh(script, Duration::from_millis(300));
    assert_eq!(ran.outcome, Outcome::TimedOut);
    assert_eq!(ran.lines.last().map(String::as_str), Some("bye"), "what it says at its end is heard");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(begun.elapsed() < GRACE, "it was not waited for after its end");
}

#[test]
fn one_that_does_not_is_killed_with_its_group() {
    let begun = Instant::now();
    // Its grandchild holds no pipe: only its group tells that it belongs here.
    let script = "trap '' TERM; echo $$; sleep 1000 >/dev/null 2>&1 & echo $!; wait; sleep 1000";
    let ran = sh(script, Duration::from_millis(100));
    assert_eq!(ran.outcome, Outcome::TimedOut);
    assert!(begun.elapsed() >= GRACE, "it had time to end by itself");
    for line in &ran.lines {
        until(|| gone(pid(line)));
    }
}

#[test]
fn a_grandchild_that_ignores_sigterm_is_killed_after_its_parent_has_ended() {
    let script = "(trap '' TERM; sleep 1000) & echo $!; sleep 1000";
    let ran = sh(script, Duration::from_millis(200));
    assert_eq!(ran.outcome, Outcome::TimedOut);
    until(|| gone(pid(&ran.lines[0])));
}

#[test]
fn what_it_leaves_running_does_not_hold_up_the_answer() {
    let ran = sh("sleep 1000 & echo $!", LONG);
    assert_eq!(ran.outcome, Outcome::Code(0));
    let left = pid(&ran.lines[0]);
    assert!(!gone(left), "it stays");
    nix::sys::signal::kill(left, Signal::SIGKILL).unwrap();
    // Nor does one that never stops writing.
    let ran = sh("yes & echo", LONG);
    assert_eq!(ran.outcome, Outcome::Code(0));
}

#[test]
fn all_end_when_dlconf_does() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let (stop, running_on) = stop();
    std::thread::scope(|scope| {
        let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 1; done", file.display());
        let stop = stop.as_fd();
        let ran = scope.spawn(move || run(&request(&script, LONG), &[], stop));
        until(|| Path::new(&file).metadata().is_ok_and(|file| file.len() > 0));
        let begun = Instant::now();
        drop(running_on);
        assert_eq!(ran.join().unwrap().outcome, Outcome::Signal(9));
        assert!(begun.elapsed() >= SHORT_GRACE && begun.elapsed() < GRACE);
    });
}

#[test]
fn it_works_where_the_kernel_has_no_pidfd() {
    let (stop, _running_on) = stop();
    let mut errand = Errand::start(&request("exec >&- 2>&-; sleep 0.1; exit 5", LONG), &[]).unwrap();
    assert!(errand.wakes.take().is_some());
    assert_eq!(errand.follow(LONG, stop.as_fd()).outcome, Outcome::Code(5));
}
