//! What a supervisor owes the processes around it: none is left a zombie, none is left
//! behind, and as PID 1 it is what `init` is.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{Folder, SMALL_SCHEMA};

/// How long anything here may take at most.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(5);

/// A script that runs supervised.
struct Supervised {
    folder: Folder,
    first: Child,
}

impl Supervised {
    fn new(options: &[&str], script: &str) -> Self {
        Self::under(&[], options, script)
    }

    /// `around` starts what follows it.
    fn under(around: &[&str], options: &[&str], script: &str) -> Self {
        let folder = Folder::new();
        folder.file("dlconf.schema.toml", SMALL_SCHEMA);
        let dlconf = env!("CARGO_BIN_EXE_dlconf");
        let words = [around, &[dlconf, "run", "--watch"], options, &["--", "sh", "-c", script]].concat();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(folder.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap());
        Self { first: command.spawn().unwrap(), folder }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.first.id().cast_signed())
    }

    /// Waits for a file that the script makes.
    #[track_caller]
    fn made(&mut self, name: &str) -> &mut Self {
        until(name, || {
            assert_eq!(self.first.try_wait().unwrap(), None, "it ended without {name}");
            self.folder.join(name).exists()
        });
        self
    }

    /// The number in a file.
    #[track_caller]
    fn number(&self, name: &str) -> Pid {
        let read = || fs::read_to_string(self.folder.join(name)).ok()?.strip_suffix('\n')?.parse().ok();
        until("a number", || read().is_some());
        Pid::from_raw(read().unwrap())
    }

    #[track_caller]
    fn exit(&mut self) -> i32 {
        until("over", || self.first.try_wait().unwrap().is_some());
        self.first.wait().unwrap().code().unwrap()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _gone = self.first.kill();
        let _gone = self.first.wait();
    }
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "not {what}");
        sleep(TICK);
    }
}

/// The children of a process, those that ended and were not reaped among them.
fn children(pid: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|child| Pid::from_raw(child.parse().unwrap())).collect()
}

/// Whether a process is there, and no zombie.
fn lives(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// 1,000 processes whose parents end before them.
const FORKS: &str = "echo $$ > pid
i=0
while [ $i -lt 1000 ]; do (: &); i=$((i + 1)); done
: > forked
while [ ! -e go ]; do sleep 0.02; done
exit 3";

#[test]
fn a_thousand_forks_leave_no_zombie() {
    let mut supervised = Supervised::new(&[], FORKS);
    supervised.made("forked");
    let program = supervised.number("pid");
    until("alone with its program", || children(supervised.pid()) == [program]);
    supervised.folder.file("go", "");
    assert_eq!(supervised.exit(), 3, "the program's own end is not lost among them");
}

#[test]
fn orphans_of_another_group_are_reaped_too() {
    let script = "(setsid sh -c 'echo $$ > orphan; while [ ! -e go ]; do sleep 0.02; done' &)
        while [ ! -e over ]; do sleep 0.02; done";
    let mut supervised = Supervised::new(&[], script);
    let orphan = supervised.number("orphan");
    until("adopted", || children(supervised.pid()).contains(&orphan));
    supervised.folder.file("go", "");
    until("reaped", || !children(supervised.pid()).contains(&orphan));
    supervised.folder.file("over", "");
    assert_eq!(supervised.exit(), 0);
}

#[test]
fn a_stop_ends_all_of_the_group() {
    // The program's own child hears nothing of the program's end.
    let script = "sh -c 'echo $$ > inner; exec sleep 1000' & echo $$ > pid; wait";
    for options in [&[][..], &["--setsid"]] {
        let mut supervised = Supervised::new(options, script);
        let both = [supervised.number("inner"), supervised.number("pid")];
        kill(supervised.pid(), Signal::SIGTERM).unwrap();
        assert_eq!(supervised.exit(), 143, "{options:?}");
        assert!(!both.into_iter().any(lives), "{options:?}");
    }
}

#[test]
fn what_does_not_end_is_killed_in_time() {
    let script = "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > inner; while :; do sleep 0.02; done' & wait";
    let mut supervised = Supervised::new(&["--kill-timeout", "200ms"], script);
    let inner = supervised.number("inner");
    kill(supervised.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(supervised.exit(), 137);
    assert!(!lives(inner));
}

#[test]
fn what_stands_still_can_be_stopped_for_good() {
    for options in [&[][..], &["--setsid"]] {
        let mut supervised = Supervised::new(options, "echo $$ > pid; while :; do sleep 0.02; done");
        let program = supervised.number("pid");
        kill(program, Signal::SIGSTOP).unwrap();
        let stat = || fs::read_to_string(format!("/proc/{program}/stat")).unwrap();
        until("stopped", || stat().contains(") T "));
        kill(supervised.pid(), Signal::SIGTERM).unwrap();
        assert_eq!(supervised.exit(), 143, "{options:?}");
    }
}

#[test]
fn the_program_does_not_outlive_a_killed_supervisor() {
    let script = "trap ': > asked; exit' TERM; echo $$ > pid; while :; do sleep 0.02; done";
    let mut supervised = Supervised::new(&[], script);
    supervised.number("pid");
    kill(supervised.pid(), Signal::SIGKILL).unwrap();
    until("asked to end", || supervised.folder.join("asked").exists());
    let _killed = supervised.first.wait();
}

#[test]
fn a_session_of_its_own_is_one() {
    let mut supervised = Supervised::new(
        &["--setsid"],
        "read p c s pp group session rest < /proc/$$/stat; [ $$ = $group ] && [ $$ = $session ]",
    );
    assert_eq!(supervised.exit(), 0);
    let mut supervised = Supervised::new(
        &[],
        "read p c s pp group session rest < /proc/$$/stat; [ $$ = $group ] && [ $$ != $session ]",
    );
    assert_eq!(supervised.exit(), 0);
}

#[test]
fn descriptors_masks_and_dispositions_are_as_without_us() {
    const START: &str = "import os, signal, sys
for s in (signal.SIGHUP, signal.SIGTTOU, signal.SIGCHLD): signal.signal(s, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
os.execvp(sys.argv[1], sys.argv[1:])
";
    // Without a shell, which would change some of it.
    const SHOWN: [&[&str]; 3] = [
        &["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"],
        &["ls", "/proc/self/fd"],
        &["cat", "/proc/self/limits", "/proc/self/oom_score_adj"],
    ];
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    let run = |words: &[&str]| {
        SHOWN.map(|shown| {
            let mut command = Command::new("python3");
            command.args(["-c", START]).args(words).args(shown).current_dir(folder.path()).env_clear();
            command.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
    };
    let bare = run(&["env"]);
    assert_eq!(run(&[env!("CARGO_BIN_EXE_dlconf"), "run", "--watch", "--"]), bare);
    assert_eq!(run(&[env!("CARGO_BIN_EXE_dlconf"), "run", "--watch", "--setsid", "--"]), bare);
    assert!(bare[0].contains("SigBlk:\t0000000000004200"), "{bare:?}");
}

/// Starts what follows as the first process of a container; none where this system lets
/// nobody do so.
fn container() -> Option<Vec<&'static str>> {
    let ways = [
        vec!["unshare", "--pid", "--fork", "--mount-proc"],
        vec!["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"],
    ];
    let works = |way: &Vec<&str>| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).arg("true").stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ways.into_iter().find(works)
}

#[test]
fn as_pid_1_it_reaps_what_others_left_behind_and_a_stop_ends_all() {
    let Some(container) = container() else { return };
    // A process beside the program, which no signal to its group reaches.
    let script = format!("(setsid sh -c ': > beside; exec sleep 1000' &)\n{FORKS}");
    let mut supervised = Supervised::under(&container, &[], &script);
    supervised.made("forked").made("beside");
    let first = children(supervised.pid())[0];
    // The program and the one beside it.
    until("alone with those that live", || children(first).len() == 2);
    let left = children(first);
    assert!(left.iter().all(|pid| lives(*pid)));
    kill(first, Signal::SIGTERM).unwrap();
    assert_eq!(supervised.exit(), 143);
    until("gone", || !left.iter().any(|pid| lives(*pid)));
}
