//! Programs for `on_change`, run by a process that was forked before hardening.
//!
//! What hardens dlconf is inherited and cannot be taken back, so a program that a
//! delivery runs cannot be our child: it gets what dlconf itself was started
//! with, from a process that was set aside for it first of all in `main`.
//!
//! Owns: that process; what is asked of it and what it answers. Invariants:
//! - it is forked while there is one thread, and before any value is read: it
//!   cannot hold one, but in the output of a program that prints it. (Its
//!   environment block is necessarily the one that dlconf was started with,
//!   tokens and all, so it is closed to its own user as ours is; exec opens that
//!   for the programs.)
//! - it lives until its socket ends, however we ended, and no program outlives it
//!   that did not leave its process group;
//! - it is in a session of its own, where no key at the terminal reaches it.
//!
//! Rooms: `wire` is what goes through the socket; `inside` is that process,
//! `errand` one program in it; `handle` is our side once there is a runtime.
//! Must not know: deliveries; values.

mod errand;
mod handle;
mod inside;
mod wire;

use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};
use serde::{Deserialize, Serialize};

pub use handle::{HelperError, HelperHandle};

/// How long one that nobody needs may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A program to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The program (an absolute path) and its arguments; no shell.
    pub argv: Vec<String>,
    /// After which it is ended, with all that it started in its process group.
    pub timeout: Duration,
    /// What is added to the few variables that every program gets: PATH, HOME,
    /// USER, LOGNAME, LANG, LC_*, TZ.
    pub environment: Vec<(String, String)>,
}

/// What a program did. Its lines may repeat secrets: `Debug` does not show them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to stdout and stderr: at most 100 lines, of 1,000 characters.
    /// One that was longer ends with [`CUT`].
    pub lines: Vec<String>,
    /// How many lines it wrote beyond those.
    pub dropped_lines: usize,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It took too long and was ended.
    TimedOut,
    /// It never ran; why, in words.
    NotStarted(String),
}

/// The end of a line that was longer.
pub const CUT: char = '…';

impl Ran {
    fn not_started(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::NotStarted(why.into()), lines: Vec::new(), dropped_lines: 0 }
    }
}

impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.len() + self.dropped_lines;
        write!(f, "Ran({:?}, {lines} lines)", self.outcome)
    }
}

/// The process, before there is a runtime. When dropped, it is ended and reaped:
/// nothing of it is left to a program that we become.
#[derive(Debug)]
pub struct Helper {
    /// None once it is somebody else's to end.
    parts: Option<(Pid, UnixStream)>,
}

impl Helper {
    /// Forks it if the command may be `daemon`, the only one with deliveries. To
    /// be called first in `main`, before there is another thread and before
    /// hardening: what this process is now is what the programs get.
    ///
    /// None too if the system has no process for us: programs are then not
    /// started, and say so.
    pub fn fork_if_needed(arguments: &[OsString]) -> Option<Self> {
        let ours = arguments.iter().skip(1).take_while(|argument| *argument != "--");
        if !ours.into_iter().any(|argument| argument == "daemon") {
            return None;
        }
        // Both ends close on exec: no program holds one.
        let (ours, theirs) = UnixStream::pair().ok()?;
        // SAFETY: there is no other thread that could hold a lock, so the child
        // may do whatever we may.
        match unsafe { fork() }.ok()? {
            ForkResult::Child => {
                drop(ours);
                inside::become_helper(&theirs)
            }
            ForkResult::Parent { child } => Some(Self { parts: Some((child, ours)) }),
        }
    }

    /// Its process number, for as long as it is ours.
    pub fn pid(&self) -> Option<Pid> {
        self.parts.as_ref().map(|(pid, _)| *pid)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let Some((pid, mut socket)) = self.parts.take() else { return };
        let _ended_already = socket.shutdown(Shutdown::Write);
        let _unbounded = socket.set_read_timeout(Some(PATIENCE));
        // It says nothing unasked: this returns when it ends.
        let _gone = socket.read(&mut [0]);
        reap(pid);
    }
}

/// Takes the last of a process that has ended, or is to have ended by now. Its
/// number is still its own, since nobody else waits for it.
fn reap(pid: Pid) -> Option<nix::sys::wait::WaitStatus> {
    let _ended_already = kill(pid, Signal::SIGKILL);
    loop {
        match waitpid(pid, None) {
            Err(nix::errno::Errno::EINTR) => {}
            status => return status.ok(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
