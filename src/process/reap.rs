//! What happened to children, as the kernel tells it.
//!
//! One thing reaps, so that nobody takes another's child.

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// What happened to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It ended.
    Ended(Ended),
    /// This signal stopped it, and it may be continued.
    Stopped(Option<Signal>),
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its own code, or 128+N after signal N: what shells make of it.
    pub code: u8,
    /// The signal that ended it, where one did that has a name.
    pub signal: Option<Signal>,
}

impl Ended {
    /// The end of a process that this signal ended.
    pub fn of(signal: Signal) -> Self {
        Self { code: u8::try_from(128 + signal as i32).unwrap_or(u8::MAX), signal: Some(signal) }
    }
}

/// What happened to any of our children, or adopted ones, since the last look; none
/// where there is nothing new. To be asked again until it says so, after every SIGCHLD.
pub fn next_change() -> Option<(Pid, Change)> {
    let (pid, status) = wait(-1, libc::WNOHANG | libc::WUNTRACED).filter(|(pid, _)| *pid > 0)?;
    Some((Pid::from_raw(pid), change(status)))
}

/// A child that changed, and its status; 0 if none did. None without a child.
/// (nix has no word for a death by a real-time signal.)
pub(super) fn wait(whom: libc::pid_t, flags: libc::c_int) -> Option<(libc::pid_t, libc::c_int)> {
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

/// Waits for a child that is about to end.
pub(super) fn reap(pid: Pid) {
    let _gone = wait(pid.as_raw(), 0);
}

/// What a status means.
pub(super) fn change(status: libc::c_int) -> Change {
    if libc::WIFSTOPPED(status) {
        return Change::Stopped(Signal::try_from(libc::WSTOPSIG(status)).ok());
    }
    let (code, signal) = if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        (128 + signal, Signal::try_from(signal).ok())
    } else {
        (libc::WEXITSTATUS(status), None)
    };
    Change::Ended(Ended { code: u8::try_from(code).unwrap_or(u8::MAX), signal })
}
