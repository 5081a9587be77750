//! A signal for the process that a file names by its number.
//!
//! Owns: reading a pid file; whose process may be told by it. Invariants: a
//! process that got the number after the one that was looked at gets no signal,
//! since it goes through a descriptor of that one; a file makes us signal only
//! processes of its owner, unless root or we ourselves own it.
//! Must not know: why.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, Uid, getpid};

/// More than a number and a line end never are.
const LONGEST: u64 = 64;

/// Why no signal was sent. It does not name the file: the caller knows how the
/// user wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// Nothing has this name.
    #[error("the pid file does not exist")]
    NoFile,
    /// Something else is in its place.
    #[error("the pid file is {what}")]
    NotAFile {
        /// What it is: `a symbolic link`.
        what: &'static str,
    },
    /// It cannot be read.
    #[error("the pid file cannot be read: {}", reason.desc())]
    Unreadable {
        /// The kernel's answer.
        reason: Errno,
    },
    /// Everybody may write it, so that its owner says nothing.
    #[error("every user may write the pid file")]
    Writable,
    /// It does not hold the number of a process.
    #[error("the pid file does not hold one number above 1")]
    NotANumber,
    /// It holds ours.
    #[error("the pid file holds the number of dlconf itself")]
    Ourselves,
    /// Nothing runs under this number.
    #[error("there is no process {pid}")]
    NoProcess {
        /// The number.
        pid: Pid,
    },
    /// The process belongs to somebody else than the file.
    #[error("process {pid} runs as another user than the one who owns the pid file")]
    OtherOwner {
        /// The number.
        pid: Pid,
    },
    /// The kernel does not let us.
    #[error("process {pid} may not be signalled by this user")]
    NotPermitted {
        /// The number.
        pid: Pid,
    },
    /// The kernel cannot.
    #[error("process {pid} cannot be signalled: {}", reason.desc())]
    Failed {
        /// The number.
        pid: Pid,
        /// The kernel's answer.
        reason: Errno,
    },
}

impl SignalError {
    /// What to do about it.
    pub fn help(self) -> &'static str {
        match self {
            Self::NoFile => "see whether the service runs, and where it writes its number",
            Self::NotAFile { .. } => "name the file itself",
            Self::Unreadable { .. } => "see who may read that file and the folders above it",
            Self::Writable => "take the right to write from others: chmod o-w",
            Self::NotANumber => "name a file that holds the service's process number and nothing else",
            Self::Ourselves => "name the file that the service writes",
            Self::NoProcess { .. } => {
                "the file may be left from a run before: see whether the service runs \
                 (in another PID namespace, or hidden in /proc, it cannot be found)"
            }
            Self::OtherOwner { .. } => "let the user that the service runs as, or root, own the file",
            Self::NotPermitted { .. } => "run dlconf as the service's user or with CAP_KILL",
            Self::Failed { reason: Errno::ENOSYS, .. } => "this needs Linux 5.3 or newer",
            Self::Failed { .. } => "see whether a sandbox forbids it",
        }
    }
}

/// Sends a signal to the process whose number a file holds.
///
/// # Errors
/// [`SignalError`]; then nobody got a signal.
pub fn send_to(pid_file: &Path, signal: Signal) -> Result<Pid, SignalError> {
    let (pid, owner) = read(pid_file)?;
    if pid == getpid() {
        return Err(SignalError::Ourselves);
    }
    // First the descriptor, then the look at whose it is: should the process end
    // in between, the look may be at another, but the signal goes to nobody.
    let process = open(pid).map_err(|reason| match reason {
        // The number of a thread that leads no process is EINVAL, ENOENT when newer.
        Errno::ESRCH | Errno::EINVAL | Errno::ENOENT => SignalError::NoProcess { pid },
        reason => SignalError::Failed { pid, reason },
    })?;
    let runs_as = real_user(pid).ok_or(SignalError::NoProcess { pid })?;
    if owner != runs_as && !owner.is_root() && owner != Uid::effective() {
        return Err(SignalError::OtherOwner { pid });
    }
    send(&process, signal).map_err(|reason| match reason {
        Errno::ESRCH => SignalError::NoProcess { pid },
        Errno::EPERM => SignalError::NotPermitted { pid },
        reason => SignalError::Failed { pid, reason },
    })?;
    Ok(pid)
}

/// The number in the file, and who owns the file.
fn read(path: &Path) -> Result<(Pid, Uid), SignalError> {
    // A FIFO in its place must not hold us up.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path);
    let file = file.map_err(|error| match errno(&error) {
        Errno::ENOENT | Errno::ENOTDIR => SignalError::NoFile,
        // Links above it are counted too, but forty of them in a row are no pid file.
        Errno::ELOOP => SignalError::NotAFile { what: "a symbolic link" },
        Errno::ENXIO => SignalError::NotAFile { what: "a socket or a device" },
        reason => SignalError::Unreadable { reason },
    })?;
    let unreadable = |error: std::io::Error| SignalError::Unreadable { reason: errno(&error) };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "a pipe or a device" };
        return Err(SignalError::NotAFile { what });
    }
    // A group may stand for an application; root's word is root's alone.
    let others = if metadata.uid() == 0 { 0o022 } else { 0o002 };
    if metadata.mode() & others != 0 {
        return Err(SignalError::Writable);
    }
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content).map_err(unreadable)?;
    Ok((number(&content).ok_or(SignalError::NotANumber)?, Uid::from_raw(metadata.uid())))
}

/// One decimal number above 1, white space around it.
fn number(content: &[u8]) -> Option<Pid> {
    let digits = content.trim_ascii();
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: i32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number > 1).then(|| Pid::from_raw(number))
}

/// The real user of a process.
fn real_user(pid: Pid) -> Option<Uid> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().next()?.parse().ok().map(Uid::from_raw)
}

/// A descriptor of a process; readable once that has ended. (nix 0.31 has none.)
pub(super) fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: takes two numbers; close-on-exec is set by the kernel.
    let descriptor = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let descriptor = Errno::result(descriptor)?;
    let descriptor = i32::try_from(descriptor).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel made it for us just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn send(process: &OwnedFd, signal: Signal) -> nix::Result<()> {
    let information = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open; a null pointer asks for what `kill` would send.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal as libc::c_int, information, 0)
    };
    Errno::result(sent).map(drop)
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests;
