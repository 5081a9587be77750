//! Stops a thread of a child at each of its system calls, between two SIGSTOPs
//! that it sends to itself.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// What happens to a call that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Goes,
    /// It is not made, and gives this.
    Fails(Errno),
    /// It is not made: the process ends here.
    Kills,
}

/// The calls that a child made.
pub(super) struct Run {
    pub(super) calls: Vec<i64>,
    pub(super) killed: bool,
}

const TRACED: &str = "DLCONF_TEST_TRACED";

/// What the child was given, if this is one.
pub(super) fn given() -> Option<String> {
    std::env::var(TRACED).ok()
}

/// In the child: from here on the parent is asked about every call.
pub(super) fn begin() {
    ptrace::traceme().unwrap();
    raise(Signal::SIGSTOP).unwrap();
}

/// In the child: no longer. Does nothing between the calls that matter and the
/// signal.
pub(super) fn end() {
    raise(Signal::SIGSTOP).unwrap();
}

/// Runs a test of this binary as the child. `fate` is asked with the number of
/// calls so far and the one that comes; `ended` looks around before the child
/// goes on after [`end`].
#[allow(clippy::zombie_processes, reason = "waited for below, as its thread is")]
pub(super) fn run(
    test: &str,
    given: &Path,
    mut fate: impl FnMut(usize, i64) -> Fate,
    mut ended: impl FnMut(),
) -> Run {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env(TRACED, given)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let process = Pid::from_raw(child.id().cast_signed());
    let mut run = Run { calls: Vec::new(), killed: false };
    let mut failing = None;
    let mut begun = false;
    loop {
        // Whatever stops is a thread of our one child: tests run in threads, and
        // children of other threads are not waited for.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        match waitpid(None, Some(flags)).unwrap() {
            WaitStatus::Stopped(thread, Signal::SIGSTOP) if !begun => {
                begun = true;
                let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
                ptrace::setoptions(thread, options).unwrap();
                ptrace::syscall(thread, None).unwrap();
            }
            WaitStatus::Stopped(thread, Signal::SIGSTOP) => {
                ended();
                ptrace::detach(thread, None).unwrap();
            }
            WaitStatus::Stopped(thread, signal) => ptrace::syscall(thread, signal).unwrap(),
            WaitStatus::PtraceSyscall(thread) => {
                let entering = ptrace::syscall_info(thread).unwrap().op == libc::PTRACE_SYSCALL_INFO_ENTRY;
                let mut registers = ptrace::getregs(thread).unwrap();
                if entering {
                    let call = registers.orig_rax.cast_signed();
                    match fate(run.calls.len(), call) {
                        Fate::Goes => {}
                        Fate::Fails(reason) => {
                            failing = Some(reason);
                            registers.orig_rax = u64::MAX;
                            ptrace::setregs(thread, registers).unwrap();
                        }
                        Fate::Kills => {
                            run.killed = true;
                            kill(process, Signal::SIGKILL).unwrap();
                            continue;
                        }
                    }
                    run.calls.push(call);
                } else if let Some(reason) = failing.take() {
                    registers.rax = (-i64::from(reason as i32)).cast_unsigned();
                    ptrace::setregs(thread, registers).unwrap();
                }
                ptrace::syscall(thread, None).unwrap();
            }
            WaitStatus::Exited(ended, code) if ended == process => {
                assert!(begun && code == 0, "the child failed with {code}");
                return run;
            }
            WaitStatus::Signaled(ended, signal, _) if ended == process => {
                assert!(run.killed, "{signal} ended the child");
                return run;
            }
            _ => {}
        }
    }
}
