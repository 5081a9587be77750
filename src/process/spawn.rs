//! Another process that becomes a program: fork, arrange, exec.
//!
//! Invariants: between fork and exec there are system calls only; the program finds the
//! mask, limits and dispositions that a bare exec would have left it; it gets a SIGTERM
//! when we are gone.
//! Must not know: what becomes of it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid, pipe2};

use super::program::{Program, Refusal};
use super::reap::reap;
use super::signals::{Found, handled};
use super::{ExecError, Hardened, hand_back};

/// To which group of processes a program belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Ours: to everybody it looks as if it were us.
    Beside,
    /// One of its own, in our session.
    Group,
    /// A session of its own, without a terminal.
    Session,
}

/// How the process is arranged before it becomes the program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrangement {
    pub(super) place: Place,
    /// The terminal that is to listen to its group, a new one of our session.
    pub(super) terminal: Option<RawFd>,
    /// A descriptor that the program gets under the same number.
    pub(super) descriptor: Option<RawFd>,
    /// Where its input, output and errors lead, where not to ours.
    pub(super) streams: Option<RawFd>,
}

/// Starts it. Handlers of what [`handled`] lists are to be installed before, so that
/// nothing is missed; from now on these signals are not blocked here.
///
/// # Errors
/// [`ExecError`], with nothing left behind.
pub(super) fn spawn(
    hardened: Hardened,
    found: Found,
    program: &Program,
    arrangement: Arrangement,
) -> Result<Pid, ExecError> {
    let no_process = |reason| ExecError::NoProcess { reason };
    let (answer, to_parent) = pipe2(OFlag::O_CLOEXEC).map_err(no_process)?;
    let parent = getpid();
    // Our handlers must not run in the child, where they would write into
    // what it shares with us.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(no_process)?;
    // SAFETY: other threads may hold locks, so the child must keep to what is
    // async-signal-safe until it execs or ends: see `in_child`.
    let forked = unsafe { fork() };
    let pid = match forked {
        Ok(ForkResult::Child) => {
            in_child(hardened, found, program, arrangement, parent, to_parent.as_raw_fd())
        }
        Ok(ForkResult::Parent { child }) => child,
        Err(reason) => {
            let _unchanged = mask.thread_set_mask();
            return Err(no_process(reason));
        }
    };
    drop(to_parent);
    let refusal = refusal(answer);
    let mut unblocked = mask;
    if refusal.is_none() {
        for signal in handled() {
            unblocked.remove(signal);
        }
    }
    let _unchanged = unblocked.thread_set_mask();
    match refusal {
        None => Ok(pid),
        Some(refusal) => {
            reap(pid);
            Err(program.refused(refusal))
        }
    }
}

/// The child's side, between fork and exec. Everything here is a system call or
/// plain arithmetic: no allocation, no lock, no destructor.
fn in_child(
    hardened: Hardened,
    found: Found,
    program: &Program,
    arrangement: Arrangement,
    parent: Pid,
    to_parent: RawFd,
) -> ! {
    let _unsupported = prctl::set_pdeathsig(Signal::SIGTERM);
    // A parent that ended before that will send nothing.
    if getppid() == parent {
        let refusal = match arranged(arrangement) {
            Ok(()) => {
                found.hand_back();
                hand_back(hardened);
                found.let_in();
                program.exec()
            }
            Err(errno) => Refusal::of(errno),
        };
        let refusal = refusal.to_bytes();
        // SAFETY: the descriptor is open, the buffer is as long as is said. Four
        // bytes go into an empty pipe at once.
        unsafe { libc::write(to_parent, refusal.as_ptr().cast(), refusal.len()) };
    }
    // SAFETY: ends this process without running what is registered for its end.
    unsafe { libc::_exit(127) }
}

/// System calls only.
fn arranged(arrangement: Arrangement) -> nix::Result<()> {
    // SAFETY: plain numbers go in and out; the descriptors are open.
    unsafe {
        match arrangement.place {
            Place::Beside => {}
            Place::Group => {
                Errno::result(libc::setpgid(0, 0))?;
            }
            Place::Session => {
                Errno::result(libc::setsid())?;
            }
        }
        if let Some(terminal) = arrangement.terminal {
            // All signals are held back, so that this stops nobody; without the terminal the
            // program runs all the same.
            libc::tcsetpgrp(terminal, libc::getpid());
        }
        if let Some(null) = arrangement.streams {
            for stream in 0..=2 {
                Errno::result(libc::dup2(null, stream))?;
            }
        }
        if let Some(descriptor) = arrangement.descriptor {
            Errno::result(libc::fcntl(descriptor, libc::F_SETFD, 0))?;
        }
    }
    Ok(())
}

/// Why the child did not exec: nothing, once exec has closed its end of the pipe.
fn refusal(answer: OwnedFd) -> Option<Refusal> {
    let mut bytes = [0; 4];
    File::from(answer).read_exact(&mut bytes).ok().map(|()| Refusal::from_bytes(bytes))
}
