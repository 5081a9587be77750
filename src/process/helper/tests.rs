//! The process itself.
//!
//! A test has threads, and a fork of it could hold another's locks. So there are
//! two stand-ins, both this binary started again: what is meant by [`ROLE`] is
//! done before the test harness, while there is one thread.
//! - `daemon` forks as `main` does and then goes on as the test of its name, which
//!   finds the process in [`FORKED`];
//! - `helper` is the process itself, with its socket as stdin: for tests of what
//!   is asked of it.
#![allow(clippy::disallowed_methods, reason = "a test's own files")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, getsid, setgid, setuid};
use tokio::time::timeout;

use super::*;
use crate::process::harden;

const ROLE: &str = "DLCONF_TEST_ROLE";
/// Who the stand-in for the daemon becomes first; there is no such user.
const USER: &str = "DLCONF_TEST_USER";
/// How long anything here may take at most.
const PATIENCE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_mins(1);

static FORKED: Mutex<Option<Helper>> = Mutex::new(None);

extern "C" fn before_the_harness() {
    match std::env::var(ROLE).as_deref() {
        Ok("helper") => {
            // SAFETY: whoever started us made it the socket; nobody else owns it yet.
            let socket = unsafe { OwnedFd::from_raw_fd(0) };
            let above_stderr = socket.try_clone().unwrap();
            std::mem::forget(socket);
            inside::become_helper(&above_stderr.into())
        }
        Ok("daemon") => {
            if let Some(user) = std::env::var(USER).ok().and_then(|user| user.parse().ok()) {
                setgid(nix::unistd::Gid::from_raw(user)).unwrap();
                setuid(Uid::from_raw(user)).unwrap();
                nix::sys::prctl::set_dumpable(true).unwrap();
            }
            // Something that stays open over exec, as a careless caller leaves it.
            let open = fs::File::open("/").unwrap();
            std::mem::forget(open.as_fd().try_clone_to_owned().unwrap());
            nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
            std::mem::forget(open);
            *FORKED.lock().unwrap() = Helper::fork_if_needed(&["dlconf", "daemon"].map(OsString::from));
        }
        _ => {}
    }
}

// SAFETY: the loader calls each pointer of this section once, before `main`.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_THE_HARNESS: extern "C" fn() = before_the_harness;

/// A process that runs programs; not forked from this one.
pub(crate) fn apart() -> Helper {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env(ROLE, "helper").env("VAULT_TOKEN", "t0k3n").env("LC_ALL", "C.UTF-8");
    #[expect(clippy::zombie_processes, reason = "the `Helper` reaps it")]
    let child = command.stdin(Stdio::from(OwnedFd::from(theirs))).spawn().unwrap();
    Helper { parts: Some((Pid::from_raw(child.id().cast_signed()), ours)) }
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(TICK);
    }
}

/// Whether a process has ended, reaped or not.
pub(crate) fn gone(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
}

fn reaped(pid: Pid) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, work).await.expect("it hangs") })
}

fn sh(script: &str) -> Request {
    let argv = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    Request { argv, timeout: LONG, environment: Vec::new() }
}

/// The test of this name in a process of its own, which has forked before.
fn as_daemon(test: &str) -> Command {
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture", "--test-threads=1"]);
    command.env_clear().env(ROLE, "daemon").env("VAULT_TOKEN", "t0k3n").env("DLCONF_SOURCE__A__B", "c");
    command.env("LANG", "C.UTF-8").env("TZ", "UTC").env("PATH", "/nowhere").env("HOME", "/root");
    command
}

fn forked() -> Option<Helper> {
    FORKED.lock().unwrap().take()
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}

#[test]
fn other_commands_have_none() {
    // (Those that have one are not asked for here, where there are threads.)
    for line in ["dlconf", "daemon", "dlconf check", "dlconf run -- daemon", "dlconf get daemons"] {
        assert!(Helper::fork_if_needed(&words(line)).is_none(), "{line}");
    }
}

#[test]
fn it_is_what_dlconf_was_before_hardening() {
    let Some(helper) = forked() else {
        let mut inner = as_daemon("it_is_what_dlconf_was_before_hardening");
        if Uid::effective().is_root() {
            inner.env(USER, "65533");
        }
        // SAFETY: system calls, no memory.
        unsafe {
            inner.pre_exec(|| {
                let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
                setrlimit(Resource::RLIMIT_CORE, hard.min(8192), hard)?;
                let mut held = nix::sys::signal::SigSet::empty();
                held.add(Signal::SIGUSR1);
                held.thread_block()?;
                nix::sys::signal::signal(Signal::SIGHUP, nix::sys::signal::SigHandler::SigIgn)?;
                nix::libc::signal(40, nix::libc::SIG_IGN);
                Ok(())
            });
        }
        let output = inner.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
        return;
    };
    let pid = helper.pid().unwrap();
    let (before, _) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    let limits = || fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = |limits: String| {
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned();
        line.split_ascii_whitespace().nth(4).unwrap().to_owned()
    };
    let _hardened = harden();
    assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap().0, 0);
    assert_ne!(before, 0, "a hard limit of 0 shows nothing");
    assert_eq!(core(limits()), before.to_string());
    until(|| getsid(Some(pid)) == Ok(pid));
    until(|| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "dlconf-helper\n"));
    if !Uid::effective().is_root() {
        // /proc gives what is not dumpable to root.
        let owner = |pid: String| fs::metadata(format!("/proc/{pid}/limits")).unwrap().uid();
        assert_eq!(owner("self".into()), 0);
        until(|| owner(pid.to_string()) == 0);
        let environment = fs::read(format!("/proc/{pid}/environ"));
        assert!(environment.is_err(), "its user cannot read what it was started with");
    }
    block_on(async {
        let helper = helper.start().unwrap();
        let ran = helper.run(sh("ulimit -c; stat -c %u /proc/$$/limits")).await.unwrap();
        // The shell counts in blocks of 512 bytes.
        let expect = [(before / 512).to_string(), Uid::effective().to_string()];
        assert_eq!(ran.lines, expect, "the caller's limit, and dumpable");
        let ran = helper.run(sh("sed -n 's/^Sig\\(Blk\\|Ign\\):\\s*/0x/p' /proc/self/status")).await.unwrap();
        // Whoever started these tests may have left 32 and 33 ignored, which are the
        // C library's own: nobody can set them.
        let [blocked, ignored] = [0, 1].map(|at| u64::from_str_radix(&ran.lines[at][2..], 16).unwrap());
        println!("blocked {blocked:x}, ignored {ignored:x}");
        assert_eq!((blocked, ignored & !(0b11 << 31)), (0, 0));
        let ran = helper.run(sh("ls /proc/$$/fd")).await.unwrap();
        assert_eq!(ran.lines, ["0", "1", "2"], "nothing that the caller left open");
        let env = Request { argv: vec!["/usr/bin/env".into()], ..sh("") };
        let env = Request { environment: vec![("DLCONF_PATH".into(), "/x".into())], ..env };
        let mut ran = helper.run(env).await.unwrap();
        ran.lines.sort();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        assert_eq!(ran.lines, ["DLCONF_PATH=/x", "HOME=/root", "LANG=C.UTF-8", path, "TZ=UTC"]);
        helper.close(PATIENCE).await;
        assert!(reaped(pid));
    });
}

#[test]
fn all_ends_when_dlconf_is_killed() {
    let Some(helper) = forked() else {
        let mut inner = as_daemon("all_ends_when_dlconf_is_killed").stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(inner.stdout.take().unwrap()).lines();
        let pids: Vec<Pid> = lines
            .map_while(Result::ok)
            .filter_map(|line| Some(Pid::from_raw(line.strip_prefix("pid ")?.parse().unwrap())))
            .take(3)
            .collect();
        assert_eq!(pids.len(), 3);
        assert!(pids.iter().all(|pid| !gone(*pid)));
        inner.kill().unwrap();
        inner.wait().unwrap();
        until(|| pids.iter().all(|pid| gone(*pid)));
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pids");
    println!("\npid {}", helper.pid().unwrap());
    let script = format!("trap '' TERM; sleep 1000 & echo $$ $! > {}; wait; sleep 1000", file.display());
    block_on(async {
        let helper = helper.start().unwrap();
        let program = helper.run(sh(&script));
        let watch = async {
            let pids = loop {
                let text = fs::read_to_string(&file).unwrap_or_default();
                if text.ends_with('\n') {
                    break text;
                }
                tokio::time::sleep(TICK).await;
            };
            pids.split_whitespace().for_each(|pid| println!("pid {pid}"));
            drop(folder);
            std::future::pending::<()>().await;
        };
        tokio::select! { _ = program => panic!("it ended"), () = watch => {} }
    });
}

#[test]
fn programs_run_side_by_side_up_to_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    block_on(async {
        let helper = apart().start().unwrap();
        let mut running = tokio::task::JoinSet::new();
        for i in 0..inside::AT_ONCE {
            let script =
                format!("echo > {path}/{i}; until [ -e {path}/go ]; do sleep 0.01; done; echo {i}; exit {i}");
            let helper = helper.clone();
            running.spawn(async move { (i, helper.run(sh(&script)).await.unwrap()) });
        }
        while fs::read_dir(folder.path()).unwrap().count() < inside::AT_ONCE {
            tokio::time::sleep(TICK).await;
        }
        let Outcome::NotStarted(why) = helper.run(sh("exit 0")).await.unwrap().outcome else { panic!() };
        assert_eq!(why, "16 programs of deliveries are running already");
        fs::write(folder.path().join("go"), "").unwrap();
        while let Some(ran) = running.join_next().await {
            let (i, ran) = ran.unwrap();
            assert_eq!(ran.outcome, Outcome::Code(i32::try_from(i).unwrap()), "the answer is its own");
            assert_eq!(ran.lines, [i.to_string()]);
        }
        assert_eq!(helper.run(sh("exit 0")).await.unwrap().outcome, Outcome::Code(0), "there is room again");
        helper.close(PATIENCE).await;
    });
}

#[test]
fn who_stops_waiting_breaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (go, done) = (folder.path().join("go"), folder.path().join("done"));
    block_on(async {
        let helper = apart().start().unwrap();
        let script = format!("until [ -e {} ]; do sleep 0.01; done; echo > {}", go.display(), done.display());
        assert!(timeout(Duration::from_millis(50), helper.run(sh(&script))).await.is_err());
        fs::write(&go, "").unwrap();
        while !done.exists() {
            tokio::time::sleep(TICK).await;
        }
        for i in 0..3 {
            let ran = helper.run(sh(&format!("exit {i}"))).await.unwrap();
            assert_eq!(ran.outcome, Outcome::Code(i));
        }
        helper.close(PATIENCE).await;
    });
}

#[test]
fn its_own_end_is_noticed() {
    block_on(async {
        let process = apart();
        let pid = process.pid().unwrap();
        let helper = process.start().unwrap();
        let asked = helper.run(sh("kill -KILL $PPID"));
        let (answer, how) = tokio::join!(asked, helper.ended());
        assert_eq!((answer, how.as_str()), (Err(HelperError::Ended), "by SIGKILL"));
        assert!(reaped(pid));
        assert_eq!(helper.run(sh("exit 0")).await, Err(HelperError::Ended));
        assert_eq!(helper.clone().ended().await, "by SIGKILL", "whoever asks later learns it too");
        helper.close(PATIENCE).await;
    });
}

#[test]
fn closing_ends_and_reaps_it_and_is_no_loss() {
    block_on(async {
        let process = apart();
        let pid = process.pid().unwrap();
        let helper = process.start().unwrap();
        let other = helper.clone();
        let asked = async { other.run(sh("trap 'exit 9' TERM; while :; do sleep 0.01; done")).await };
        let close = async {
            // Its request is on its way before.
            tokio::task::yield_now().await;
            helper.clone().run(sh("exit 0")).await.unwrap();
            helper.close(PATIENCE).await;
        };
        let (ran, ()) = tokio::join!(asked, close);
        // The shell may not yet have come as far as its trap.
        let ran = ran.unwrap().outcome;
        assert!(matches!(ran, Outcome::Code(9) | Outcome::Signal(15)), "{ran:?}");
        assert!(reaped(pid));
        assert!(timeout(Duration::from_millis(50), other.ended()).await.is_err());
        assert_eq!(other.run(sh("exit 0")).await, Err(HelperError::Ended));
    });
}

#[test]
fn one_that_does_not_end_is_killed_at_the_deadline() {
    block_on(async {
        let process = apart();
        let pid = process.pid().unwrap();
        let helper = process.start().unwrap();
        kill(pid, Signal::SIGSTOP).unwrap();
        helper.close(Duration::from_millis(50)).await;
        assert!(reaped(pid));
    });
    // Nor does one that was never used hold up a command that needs none.
    let process = apart();
    let pid = process.pid().unwrap();
    kill(pid, Signal::SIGSTOP).unwrap();
    drop(process);
    assert!(reaped(pid));
}

#[test]
fn it_ends_when_nobody_has_a_handle() {
    block_on(async {
        let process = apart();
        let pid = process.pid().unwrap();
        let helper = process.start().unwrap();
        assert_eq!(helper.run(sh("exit 0")).await.unwrap().outcome, Outcome::Code(0));
        drop(helper);
        while !reaped(pid) {
            tokio::time::sleep(TICK).await;
        }
    });
}

#[test]
fn what_is_sent_to_a_whole_service_is_left_to_the_daemon() {
    block_on(async {
        let helper = apart().start().unwrap();
        helper.run(sh("exit 0")).await.unwrap();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1] {
            kill(helper.pid(), signal).unwrap();
        }
        assert_eq!(helper.run(sh("kill -TERM $$")).await.unwrap().outcome, Outcome::Signal(15));
        helper.close(PATIENCE).await;
    });
}

#[test]
fn too_much_is_refused_here() {
    block_on(async {
        let helper = apart().start().unwrap();
        let large = sh(&"x".repeat(wire::LARGEST));
        assert_eq!(helper.run(large).await, Err(HelperError::TooLarge));
        assert_eq!(helper.run(sh("exit 0")).await.unwrap().outcome, Outcome::Code(0));
        helper.close(PATIENCE).await;
    });
}

#[test]
fn debug_shows_no_line() {
    let ran = Ran { outcome: Outcome::Code(1), lines: vec!["hunter2".into()], dropped_lines: 2 };
    assert_eq!(format!("{ran:?}"), "Ran(Code(1), 3 lines)");
}
