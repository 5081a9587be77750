//! A program in a process group of its own, with all that it starts there.
//!
//! Owns: starting it, signalling it, whether anything of it is left. Invariants: no
//! signal goes to a number that may be somebody else's by now.
//! Must not know: why it is started or stopped.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::Pid;

use super::memory::MemoryFile;
use super::program::Program;
use super::signals::Found;
use super::spawn::{Arrangement, Place, spawn};
use super::{ExecError, Hardened};

/// A program to start.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The program and its arguments.
    pub argv: &'a [OsString],
    /// Its environment, and nothing else.
    pub environment: &'a [(OsString, OsString)],
    /// [`Place::Group`] or [`Place::Session`].
    pub place: Place,
    /// A file that the program finds at the same [`MemoryFile::path`].
    pub memory: Option<&'a MemoryFile>,
    /// Where its input, output and errors lead, where not to ours.
    pub streams: Option<&'a File>,
}

/// A program that was started, with its group.
#[derive(Debug)]
pub struct Job {
    leader: Pid,
    /// What was sent to it.
    sent: SigSet,
    has_ended: bool,
    is_gone: bool,
}

/// Lets orphans of what we start become ours, so that nothing of a job is out of sight
/// and none of it stays a zombie.
pub fn adopt_orphans() {
    // Older kernels have none: then init reaps them.
    let _unsupported = prctl::set_child_subreaper(true);
}

impl Job {
    /// Starts a program as [`super::become_program`] would become it, but for its group.
    /// It gets a SIGTERM when the thread that called this ends. `terminal` listens to its
    /// group before it begins.
    ///
    /// # Errors
    /// [`ExecError`], with nothing left behind.
    pub(super) fn start_at(
        hardened: Hardened,
        found: Found,
        launch: &Launch<'_>,
        terminal: Option<RawFd>,
    ) -> Result<Self, ExecError> {
        let program = Program::new(launch.argv, launch.environment)?;
        let arrangement = Arrangement {
            place: launch.place,
            terminal,
            descriptor: launch.memory.map(MemoryFile::descriptor),
            streams: launch.streams.map(AsRawFd::as_raw_fd),
        };
        let leader = spawn(hardened, found, &program, arrangement)?;
        Ok(Self { leader, sent: SigSet::empty(), has_ended: false, is_gone: false })
    }

    /// Starts a program that has no part at the terminal: see [`JobControl`] for one that
    /// has. It gets a SIGTERM when the thread that called this ends.
    ///
    /// # Errors
    /// [`ExecError`], with nothing left behind.
    ///
    /// [`JobControl`]: super::JobControl
    pub fn start(hardened: Hardened, found: Found, launch: &Launch<'_>) -> Result<Self, ExecError> {
        Self::start_at(hardened, found, launch, None)
    }

    /// The number of the program, which is that of its group.
    pub fn leader(&self) -> Pid {
        self.leader
    }

    /// Notes that the program itself was reaped. Its group may have others.
    pub fn ended(&mut self) {
        self.has_ended = true;
    }

    /// Whether the program itself was reaped.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Kills all of it. Who reaps it is told later, or not at all.
    pub fn kill(mut self) {
        self.signal(Signal::SIGKILL);
    }

    /// Whether nothing is left of it.
    pub fn is_gone(&mut self) -> bool {
        self.is_gone |= self.has_ended && killpg(self.leader, None) == Err(Errno::ESRCH);
        self.is_gone
    }

    /// Whether we have sent it this signal.
    pub(super) fn was_sent(&self, signal: Signal) -> bool {
        self.sent.contains(signal)
    }

    /// Whether a signal waits for the program, which stands still.
    pub(super) fn is_pending(&self, signal: Signal) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.leader)).unwrap_or_default();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
        let pending = pending.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
        pending.is_some_and(|bits| bits >> (signal as i32 - 1) & 1 == 1)
    }

    /// Signals the whole group.
    pub fn signal(&mut self, signal: Signal) {
        self.sent.add(signal);
        if !self.is_gone() {
            // Some of it may have become another user.
            let _refused = killpg(self.leader, signal);
        }
    }

    /// Signals the program alone.
    pub fn signal_leader(&mut self, signal: Signal) {
        self.sent.add(signal);
        if !self.has_ended {
            let _refused = kill(self.leader, signal);
        }
    }
}
