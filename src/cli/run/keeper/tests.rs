//! Real children, real signals; the source beside the trait is made up.
//!
//! Signals go to the whole process, so each test that sends some runs in a
//! process of its own: the test starts this binary again, for itself alone.
#![allow(clippy::disallowed_methods, reason = "a test's own files")]

use std::fs;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_trait::async_trait;
use nix::sys::prctl;
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpid};
use tokio::time::{sleep, timeout};

use super::*;
use crate::model::key::SourceName;
use crate::model::layer::Layer;
use crate::process::harden;
use crate::source::{Ask, Lent, SourceError, Vitals};

/// How long anything here may take at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Says to a test in which folder it plays the process under test.
const INNER: &str = "KEEPER_TEST_FOLDER";

/// What was asked of a [`Lender`].
#[derive(Default)]
struct Asked {
    closed: Vec<Use>,
    followed: usize,
}

/// A source that lends.
struct Lender {
    name: SourceName,
    moves: bool,
    closes: bool,
    asked: Arc<Mutex<Asked>>,
}

#[async_trait]
impl Source for Lender {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, _: Ask<'_>) -> Result<Layer, SourceError> {
        pending().await
    }

    async fn changed(&self) {
        self.asked.lock().unwrap().followed += 1;
        if !self.moves {
            pending::<()>().await;
        }
    }

    async fn vitals(&self) -> Vitals {
        Vitals { confirmed: None, lent: vec![Lent { place: "vault:database/creds/x".into(), ends: None }] }
    }

    async fn close(&self, values: Use) {
        self.asked.lock().unwrap().closed.push(values);
        if !self.closes {
            pending::<()>().await;
        }
    }
}

/// One lender called `vault`.
fn lender(moves: bool, closes: bool) -> (Vec<Arc<dyn Source>>, Arc<Mutex<Asked>>) {
    let asked = Arc::<Mutex<Asked>>::default();
    let lender = Lender { name: SourceName::new("vault"), moves, closes, asked: Arc::clone(&asked) };
    (vec![Arc::new(lender)], asked)
}

fn start(script: &str) -> Result<Keeper, Failure> {
    let command = ["sh", "-c", script].map(OsString::from);
    let path = std::env::var_os("PATH").unwrap();
    Keeper::start(harden(), &command, &[("PATH".into(), path), ("GIVEN".into(), "by us".into())])
}

/// Runs a script over one lender while the test does its part. Gives how it
/// ended, and how often which closing was asked for.
fn keep(script: &str, part: impl AsyncFnOnce()) -> (Kept, Vec<Use>) {
    let (sources, asked) = lender(false, true);
    let kept = block_on(async {
        let keeper = start(script).unwrap();
        let (kept, ()) = tokio::join!(keeper.stay(&sources, &|text| panic!("{text}")), part());
        kept
    });
    let closed = std::mem::take(&mut asked.lock().unwrap().closed);
    (kept, closed)
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, work).await.expect("it hangs") })
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        sleep(TICK).await;
    }
}

/// The folder to play in, if this process is the one under test.
fn inner() -> Option<PathBuf> {
    std::env::var_os(INNER).map(PathBuf::from)
}

/// The one test in a process of its own, without a terminal.
fn alone(test: &str, folder: &Path) -> Command {
    let mut command = Command::new("setsid");
    command.arg("--wait").args(this_test(test)).env(INNER, folder);
    command.current_dir(folder);
    command
}

fn this_test(test: &str) -> Vec<OsString> {
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let binary = std::env::current_exe().unwrap().into_os_string();
    vec![binary, "--exact".into(), name.into(), "--nocapture".into(), "--test-threads=1".into()]
}

/// Runs the test in a process of its own.
fn run_alone(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let said = said_by(&mut alone(test, folder.path()));
    assert!(said.contains("1 passed"), "{said}");
}

/// Runs the test in the foreground of a terminal that a Python script plays.
fn run_at_terminal(script: &str, test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", script]).args(this_test(test)).env(INNER, folder.path()).current_dir(folder.path());
    let said = said_by(&mut python);
    assert!(said.contains("1 passed"), "{said}");
}

/// What a command said, once it has ended well.
fn said_by(command: &mut Command) -> String {
    // A file, not a pipe: what is left of a test that failed would hold it open.
    let mut output = tempfile::tempfile().unwrap();
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap());
    let mut running = command.spawn().unwrap();
    let began = Instant::now();
    let status = loop {
        if let Some(status) = running.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            running.kill().unwrap();
        }
        std::thread::sleep(TICK);
    };
    let mut said = String::new();
    output.rewind().unwrap();
    output.read_to_string(&mut said).unwrap();
    assert!(status.success(), "{status}: {said}");
    said
}

/// A process's state and parent, as `/proc` says.
fn stat(pid: Pid) -> Option<(char, Pid)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, Pid::from_raw(fields.next()?.parse().ok()?)))
}

fn read_pid(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    text.strip_suffix('\n')?.parse().ok().map(Pid::from_raw)
}

#[test]
fn the_childs_own_code_comes_through_and_leases_are_given_back() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 5", 5),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -40 $$", 168),
    ] {
        let (kept, closed) = keep(script, async || {});
        assert_eq!(kept, Kept { code, closed: true }, "{script}");
        assert_eq!(closed, [Use::Over], "{script}");
    }
}

#[test]
fn the_child_has_exactly_the_environment_it_is_given() {
    let (kept, _) =
        keep("[ \"$(env | grep -Ev '^(PATH|PWD|_|OLDPWD|SHLVL)=')\" = 'GIVEN=by us' ]", async || {});
    assert_eq!(kept.code, 0);
}

#[test]
fn what_cannot_be_run_has_the_shells_codes_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plain"), "not a program").unwrap();
    let plain = folder.path().join("plain").into_os_string();
    let long = OsString::from("x".repeat(4 << 20));
    for (command, code, words) in [
        (vec!["no-such-program".into()], 127, "no-such-program: command not found"),
        (vec![plain], 126, "Permission denied"),
        (vec!["true".into(), long], 125, "larger than"),
        (vec!["true".into(), "a\0b".into()], 125, "argument 1 holds a NUL"),
    ] {
        let failure = block_on(async { Keeper::start(harden(), &command, &[]).err().unwrap() });
        assert_eq!(failure.exit, code, "{failure:?}");
        assert!(failure.faults[0].message.contains(words), "{failure:?}");
    }
    let children = fs::read_to_string("/proc/thread-self/children");
    assert_eq!(children.unwrap_or_default(), "", "no child is left");
}

#[test]
fn new_values_are_said_once() {
    let (sources, asked) = lender(true, true);
    let said = Mutex::new(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let go = folder.path().join("go");
    let script = format!("while [ ! -e '{}' ]; do sleep 0.01; done; exit 4", go.display());
    let kept = block_on(async {
        let keeper = start(&script).unwrap();
        let warn = |text: &str| said.lock().unwrap().push(text.to_owned());
        let part = async {
            until(|| !said.lock().unwrap().is_empty()).await;
            // Long enough for a second word, if there were one.
            for _ in 0..20 {
                sleep(TICK).await;
            }
            fs::write(&go, "").unwrap();
        };
        tokio::join!(keeper.stay(&sources, &warn), part).0
    });
    assert_eq!(kept.code, 4);
    let said = said.into_inner().unwrap();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("source 'vault' has other values now"), "{said:?}");
    assert_eq!(asked.lock().unwrap().followed, 1, "it is not asked in a circle");
}

#[test]
fn a_source_that_does_not_close_is_given_up() {
    let (sources, asked) = lender(false, false);
    assert!(!block_on(close_all(&sources, Use::Over, Duration::from_millis(20))));
    assert_eq!(asked.lock().unwrap().closed, [Use::Over]);
}

#[test]
fn signals_reach_the_child() {
    let test = "signals_reach_the_child";
    let Some(folder) = inner() else { return run_alone(test) };
    let ready = folder.join("ready");
    for (i, (name, signal)) in [
        ("TERM", Signal::SIGTERM),
        ("INT", Signal::SIGINT),
        ("HUP", Signal::SIGHUP),
        ("QUIT", Signal::SIGQUIT),
        ("USR1", Signal::SIGUSR1),
        ("USR2", Signal::SIGUSR2),
        ("WINCH", Signal::SIGWINCH),
    ]
    .into_iter()
    .enumerate()
    {
        let code = u8::try_from(i).unwrap() + 40;
        let script = format!("trap 'exit {code}' {name}; : > ready; while :; do sleep 0.01; done");
        let (kept, closed) = keep(&script, async || {
            until(|| ready.exists()).await;
            kill(getpid(), signal).unwrap();
        });
        assert_eq!(kept, Kept { code, closed: true }, "{name}");
        assert_eq!(closed, [Use::Over], "{name}");
        fs::remove_file(&ready).unwrap();
    }
}

#[test]
fn a_second_request_ends_the_closing_at_once() {
    let test = "a_second_request_ends_the_closing_at_once";
    let Some(folder) = inner() else { return run_alone(test) };
    let began = Instant::now();
    let (sources, asked) = lender(false, false);
    let kept = block_on(async {
        let keeper = start("trap 'exit 6' TERM; : > ready; while :; do sleep 0.01; done").unwrap();
        let part = async {
            until(|| folder.join("ready").exists()).await;
            kill(getpid(), Signal::SIGTERM).unwrap();
            until(|| !asked.lock().unwrap().closed.is_empty()).await;
            kill(getpid(), Signal::SIGINT).unwrap();
        };
        tokio::join!(keeper.stay(&sources, &|text| panic!("{text}")), part).0
    });
    assert_eq!(kept, Kept { code: 6, closed: false });
    assert!(began.elapsed() < RETURN_DEADLINE, "it waited for the deadline");
}

#[test]
fn a_first_request_does_not_end_the_closing() {
    let test = "a_first_request_does_not_end_the_closing";
    let Some(_folder) = inner() else { return run_alone(test) };
    let (sources, asked) = lender(false, false);
    let kept = block_on(async {
        let keeper = start("exit 6").unwrap();
        let stay = keeper.stay(&sources, &|text| panic!("{text}"));
        tokio::pin!(stay);
        tokio::select! {
            kept = &mut stay => panic!("{kept:?}"),
            () = until(|| !asked.lock().unwrap().closed.is_empty()) => {}
        }
        kill(getpid(), Signal::SIGTERM).unwrap();
        assert!(timeout(Duration::from_millis(200), &mut stay).await.is_err(), "the leases get their time");
        kill(getpid(), Signal::SIGTERM).unwrap();
        stay.await
    });
    assert_eq!(kept, Kept { code: 6, closed: false });
}

/// Starts the first process of a terminal, as containers with one do.
const FIRST: &str = r"
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
";

#[test]
fn it_does_not_stop_with_its_child_where_nobody_would_continue_it() {
    let test = "it_does_not_stop_with_its_child_where_nobody_would_continue_it";
    let Some(folder) = inner() else {
        run_alone(test);
        return run_at_terminal(FIRST, test);
    };
    let pid = folder.join("pid");
    let (kept, _) = keep("echo $$ > pid; kill -STOP $$; exit 8", async || {
        let stands_still = || read_pid(&pid).and_then(stat).is_some_and(|(state, _)| state == 'T');
        until(stands_still).await;
        // We were not stopped with it, or this would never be sent. More than once: the
        // stop that is refused to us takes a SIGCONT away that has not arrived yet.
        until(|| {
            kill(getpid(), Signal::SIGCONT).unwrap();
            !stands_still()
        })
        .await;
    });
    assert_eq!(kept.code, 8);
}

/// Plays a shell with job control: a terminal, a job in the foreground, Ctrl-Z,
/// `fg`.
const SHELL: &str = r#"
import os, pty, signal, sys, time
pid, terminal = pty.fork()
if pid == 0:
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if job == 0:
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        os.execv(sys.argv[1], sys.argv[1:])
    _, status = os.waitpid(job, os.WUNTRACED)
    assert os.WIFSTOPPED(status), status
    os.tcsetpgrp(0, os.getpgrp())
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
    open("gate", "w").close()
    _, status = os.waitpid(job, os.WUNTRACED)
    print("ended", status, flush=True)
    os._exit(0 if status == 0 else 1)
while not os.path.exists("ready"):
    time.sleep(0.005)
os.write(terminal, b"\x1a")
text = b""
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    text += piece
sys.stdout.write(text.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

#[test]
fn it_stops_and_continues_with_its_child_under_a_terminal() {
    let test = "it_stops_and_continues_with_its_child_under_a_terminal";
    if let Some(_folder) = inner() {
        // It starts nothing: a shell that is stopped between fork and exec of
        // its own child does not stop.
        let (kept, _) = keep("mkfifo gate; : > ready; read go < gate; exit 9", async || {});
        assert_eq!(kept.code, 9);
        return;
    }
    run_at_terminal(SHELL, test);
}

/// Presses Ctrl-C.
const KEYBOARD: &str = r#"
import os, pty, sys, time
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
while not os.path.exists("ready"):
    time.sleep(0.005)
os.write(terminal, b"\x03")
text = b""
while True:
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    text += piece
sys.stdout.write(text.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"#;

/// Ends with the number of interrupts that came within a while of the first. (A
/// shell may take two for one.)
const COUNT: &str = "
import signal, time
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
open('ready', 'w').close()
while not seen:
    time.sleep(0.005)
end = time.monotonic() + 0.3
while time.monotonic() < end:
    time.sleep(0.005)
raise SystemExit(len(seen))
";

#[test]
fn ctrl_c_reaches_the_child_once() {
    let test = "ctrl_c_reaches_the_child_once";
    if let Some(_folder) = inner() {
        let (kept, _) = keep(&format!("exec python3 -c \"{COUNT}\""), async || {});
        assert_eq!(kept.code, 1);
        return;
    }
    run_at_terminal(KEYBOARD, test);
}

#[test]
fn orphans_are_reaped_where_they_become_ours() {
    let test = "orphans_are_reaped_where_they_become_ours";
    let Some(_folder) = inner() else { return run_alone(test) };
    // As PID 1 is for all; without the privileges that a PID namespace needs.
    prctl::set_child_subreaper(true).unwrap();
    // The orphan is in /proc for as long as nobody reaps it.
    let script = "(sh -c 'echo $$ > orphan; mv orphan named; sleep 0.05' &)
        while [ ! -e named ]; do sleep 0.01; done
        while [ -d /proc/$(cat named) ]; do sleep 0.01; done
        exit 3";
    let (kept, _) = keep(script, async || {});
    assert_eq!(kept.code, 3);
}

#[test]
fn a_child_does_not_outlive_a_killed_parent() {
    let test = "a_child_does_not_outlive_a_killed_parent";
    if let Some(_folder) = inner() {
        keep("trap ': > asked; exit 0' TERM; echo $PPID > parent; while :; do sleep 0.01; done", async || {});
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut waiter = alone(test, folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    block_on(async {
        let parent = folder.path().join("parent");
        until(|| read_pid(&parent).is_some()).await;
        kill(read_pid(&parent).unwrap(), Signal::SIGKILL).unwrap();
        until(|| folder.path().join("asked").exists()).await;
    });
    let status = waiter.wait().unwrap();
    assert!(status.code() == Some(128 + 9) || status.signal() == Some(9), "{status}");
}

#[test]
fn the_child_finds_its_signals_as_a_bare_exec_leaves_them() {
    let test = "the_child_finds_its_signals_as_a_bare_exec_leaves_them";
    // Without a shell, which would unblock.
    let probe = ["grep", "-Eh", "^Max core|^Sig(Blk|Ign)", "/proc/self/limits", "/proc/self/status"];
    let probe = probe.map(OsString::from);
    if let Some(folder) = inner() {
        let (sources, _) = lender(false, true);
        let path = ("PATH".into(), std::env::var_os("PATH").unwrap());
        let kept = block_on(async {
            Keeper::start(harden(), &probe, &[path]).unwrap().stay(&sources, &|text| panic!("{text}")).await
        });
        assert_eq!(kept.code, 0);
        // What is blocked for the child is heard by us all the same.
        let script = "trap 'exit 11' USR2; : > ready; while :; do sleep 0.01; done";
        let (kept, _) = keep(script, async || {
            until(|| folder.join("ready").exists()).await;
            kill(getpid(), Signal::SIGUSR2).unwrap();
        });
        assert_eq!(kept.code, 11);
        return;
    }
    for ignored in ["", "signal.SIGPIPE,", "signal.SIGCHLD,signal.SIGHUP,signal.SIGINT,signal.SIGPIPE,"] {
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "import os,resource,signal,sys\nhard=resource.getrlimit(resource.RLIMIT_CORE)[1]\nresource.setrlimit(resource.RLIMIT_CORE,(hard,hard))\nsignal.signal(signal.SIGPIPE,signal.SIG_DFL)\nsignal.signal(signal.SIGXFSZ,signal.SIG_DFL)\nfor s in ({ignored}): signal.signal(s,signal.SIG_IGN)\nsignal.pthread_sigmask(signal.SIG_BLOCK,{{signal.SIGUSR1,signal.SIGTERM,signal.SIGCHLD}})\nos.execvp(sys.argv[1],sys.argv[1:])"
        );
        let run = |command: &[OsString]| {
            let mut python = Command::new("python3");
            python.args(["-c", &script]).args(command).env(INNER, folder.path()).current_dir(folder.path());
            said_by(&mut python)
        };
        let bare = found(&run(&probe));
        let alone = [vec!["setsid".into(), "--wait".into()], this_test(test)].concat();
        assert_eq!(found(&run(&alone)), bare, "ignored: {ignored}");
        assert!(bare.iter().any(|line| line == "Blk 14200"), "{bare:?}");
    }
}

/// What the probe said, without the two signals that belong to the C library's
/// threads (32 and 33).
fn found(said: &str) -> Vec<String> {
    let line = |line: &str| match line.strip_prefix("Sig").and_then(|line| line.split_once(":\t")) {
        Some((name, bits)) => {
            Some(format!("{name} {:x}", u64::from_str_radix(bits, 16).unwrap() & !(3 << 31)))
        }
        // The harness has begun the line.
        None => line.find("Max core").map(|at| line[at..].to_owned()),
    };
    said.lines().filter_map(line).collect()
}
