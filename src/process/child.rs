//! One child beside us that looks to everybody as if it were us.
//!
//! Owns: starting it, what happens to it, passing signals on. Invariants: it
//! starts with the mask and dispositions that a bare exec would have left it; it
//! gets a SIGTERM when we are killed; no signal goes to its number once it is
//! reaped. It stays in our process group, so that the terminal reaches it.
//! Must not know: when to do what (that is the keeper's).

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, kill, raise, sigaction};
use nix::unistd::{ForkResult, Pid, fork, getpgid, getpgrp, getpid, getppid, getsid, pipe2, tcgetpgrp};

use super::program::{Program, Refusal};
use super::{ExecError, Hardened, hand_back};

/// The signals that are passed on to a child. The first one is to be dealt with
/// before a stop of the child is: both go to the whole group, in any order.
pub const LISTENED: [Signal; 9] = [
    Signal::SIGCONT,
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTSTP,
    Signal::SIGWINCH,
];

/// How this process found its signals, before it listened to any.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    ignored: SigSet,
}

impl Found {
    /// Looks. To be called before a handler is installed.
    pub fn look() -> Self {
        let mut ignored = SigSet::empty();
        for signal in handled() {
            // SAFETY: as in `look_at_sigpipe`: a null action changes nothing.
            let is_ignored = unsafe {
                let mut current: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal as libc::c_int, std::ptr::null(), &raw mut current) == 0
                    && current.sa_sigaction == libc::SIG_IGN
            };
            if is_ignored {
                ignored.add(signal);
            }
        }
        Self { ignored }
    }

    /// Whether we were started to ignore a signal.
    pub fn ignores(self, signal: Signal) -> bool {
        self.ignored.contains(signal)
    }

    /// Puts the dispositions back. Allocates nothing.
    fn hand_back(self) {
        for signal in handled() {
            let handler = if self.ignored.contains(signal) { SigHandler::SigIgn } else { SigHandler::SigDfl };
            let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
            // SAFETY: neither of the two runs code of ours.
            let _previous = unsafe { sigaction(signal, &action) };
        }
    }
}

/// The signals that a keeper installs handlers for.
fn handled() -> impl Iterator<Item = Signal> {
    LISTENED.into_iter().chain([Signal::SIGCHLD])
}

/// What happened to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It ended: its own code, or 128+N after signal N.
    Ended(u8),
    /// It was stopped, and may be continued.
    Stopped,
}

/// A child that was started and not yet reaped.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// Whether other people's children become ours when their parents end, as
    /// they do for PID 1.
    adopts: bool,
    ended: bool,
}

impl Child {
    /// Starts a program as [`super::become_program`] would become it. Handlers of
    /// [`LISTENED`] and SIGCHLD are to be installed before, so that nothing is
    /// missed; from now on these signals are not blocked here.
    ///
    /// The child gets a SIGTERM when the thread that called this ends, which is
    /// how Linux sees the end of a parent. It is SIGTERM and not SIGKILL because
    /// the credentials live on until their lease ends: there is time to finish
    /// what is in hand, and whoever wants to stop a program sends just that.
    ///
    /// # Errors
    /// [`ExecError`], with nothing left behind.
    pub fn start(
        hardened: Hardened,
        found: Found,
        argv: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> Result<Self, ExecError> {
        let program = Program::new(argv, environment)?;
        let no_process = |reason| ExecError::NoProcess { reason };
        let (answer, to_parent) = pipe2(OFlag::O_CLOEXEC).map_err(no_process)?;
        let adopts = getpid() == Pid::from_raw(1) || prctl::get_child_subreaper().unwrap_or(false);
        let parent = getpid();
        // Our handlers must not run in the child, where they would write into
        // what it shares with us.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(no_process)?;
        // SAFETY: other threads may hold locks, so the child must keep to what is
        // async-signal-safe until it execs or ends: see `in_child`.
        let forked = unsafe { fork() };
        let pid = match forked {
            Ok(ForkResult::Child) => {
                in_child(hardened, found, &mask, &program, parent, to_parent.as_raw_fd())
            }
            Ok(ForkResult::Parent { child }) => child,
            Err(reason) => {
                let _unchanged = mask.thread_set_mask();
                return Err(no_process(reason));
            }
        };
        drop(to_parent);
        let mut child = Self { pid, adopts, ended: false };
        let refusal = refusal(answer);
        let mut unblocked = mask;
        if refusal.is_none() {
            for signal in handled() {
                unblocked.remove(signal);
            }
        }
        let _unchanged = unblocked.thread_set_mask();
        match refusal {
            None => Ok(child),
            Some(refusal) => {
                child.reap();
                Err(program.refused(refusal))
            }
        }
    }

    /// What happened since the last look; none where there is nothing new. To be
    /// asked again until it says so, after every SIGCHLD.
    pub fn look(&mut self) -> Option<Event> {
        let whom = if self.adopts { -1 } else { self.pid.as_raw() };
        while !self.ended {
            let Some((pid, status)) = wait(whom, libc::WNOHANG | libc::WUNTRACED) else {
                // Somebody else took its status: it is gone, and nobody knows how.
                self.ended = true;
                return Some(Event::Ended(125));
            };
            if pid == 0 {
                return None;
            }
            if pid != self.pid.as_raw() {
                continue;
            }
            if libc::WIFSTOPPED(status) {
                return Some(Event::Stopped);
            }
            self.ended = true;
            return Some(Event::Ended(code(status)));
        }
        None
    }

    /// Sends it a signal, if it is there.
    pub fn pass(&self, signal: Signal) {
        if !self.ended {
            // It may have become another user: then only that user may.
            let _refused = kill(self.pid, signal);
        }
    }

    /// Whether a key at the terminal reaches the child without us: it is in our
    /// group, which is the one in the foreground.
    pub fn is_in_foreground(&self) -> bool {
        let group = getpgrp();
        let foreground = terminal().and_then(|terminal| tcgetpgrp(&terminal).ok());
        foreground == Some(group) && getpgid(Some(self.pid)) == Ok(group)
    }

    /// Stops this process as its child is stopped, and comes back when it is
    /// continued. Only where a shell with job control waits for us: elsewhere
    /// nobody would continue us when the child is continued.
    pub fn stop_with_it(&self) {
        if terminal().is_some() && getsid(None) != Ok(getpgrp()) {
            let _refused = raise(Signal::SIGSTOP);
        }
    }

    /// Waits for a child that is about to end.
    fn reap(&mut self) {
        let _gone = wait(self.pid.as_raw(), 0);
        self.ended = true;
    }
}

/// The terminal that controls this process.
fn terminal() -> Option<File> {
    File::options().read(true).custom_flags(OFlag::O_NOCTTY.bits()).open("/dev/tty").ok()
}

/// The child's side, between fork and exec. Everything here is a system call or
/// plain arithmetic: no allocation, no lock, no destructor.
fn in_child(
    hardened: Hardened,
    found: Found,
    mask: &SigSet,
    program: &Program,
    parent: Pid,
    to_parent: RawFd,
) -> ! {
    let _unsupported = prctl::set_pdeathsig(Signal::SIGTERM);
    // A parent that ended before that will send nothing.
    if getppid() == parent {
        found.hand_back();
        hand_back(hardened);
        let _unchanged = mask.thread_set_mask();
        let refusal = program.exec().to_bytes();
        // SAFETY: the descriptor is open, the buffer is as long as is said. Four
        // bytes go into an empty pipe at once.
        unsafe { libc::write(to_parent, refusal.as_ptr().cast(), refusal.len()) };
    }
    // SAFETY: ends this process without running what is registered for its end.
    unsafe { libc::_exit(127) }
}

/// Why the child did not exec: nothing, once exec has closed its end of the pipe.
fn refusal(answer: OwnedFd) -> Option<Refusal> {
    let mut bytes = [0; 4];
    File::from(answer).read_exact(&mut bytes).ok().map(|()| Refusal::from_bytes(bytes))
}

/// A child that changed, and its status; 0 if none did. None without a child.
/// (nix has no word for a death by a real-time signal.)
fn wait(whom: libc::pid_t, flags: libc::c_int) -> Option<(libc::pid_t, libc::c_int)> {
    loop {
        let mut status = 0;
        // SAFETY: the status is ours to write.
        let pid = unsafe { libc::waitpid(whom, &raw mut status, flags) };
        if pid >= 0 {
            return Some((pid, status));
        }
        if Errno::last() != Errno::EINTR {
            return None;
        }
    }
}

/// What shells make of a status.
fn code(status: libc::c_int) -> u8 {
    let code =
        if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    u8::try_from(code).unwrap_or(u8::MAX)
}
