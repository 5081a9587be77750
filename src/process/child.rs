//! One child beside us that looks to everybody as if it were us.
//!
//! Owns: starting it, what happens to it, passing signals on. Invariants: no signal
//! goes to its number once it is reaped; it stays in our process group, so that the
//! terminal reaches it.
//! Must not know: when to do what (that is the keeper's).

use std::ffi::OsString;

use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getpgrp, getpid};

use super::program::Program;
use super::reap::{Change, change, wait};
use super::signals::Found;
use super::spawn::{Arrangement, Place, spawn};
use super::standstill::{Whom, stand_still};
use super::terminal::Terminal;
use super::{ExecError, Hardened};

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
    /// [`super::LISTENED`] and SIGCHLD are to be installed before, so that nothing is
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
        let adopts = getpid() == Pid::from_raw(1) || prctl::get_child_subreaper().unwrap_or(false);
        let arrangement =
            Arrangement { place: Place::Beside, terminal: None, descriptor: None, streams: None };
        let pid = spawn(hardened, found, &program, arrangement)?;
        Ok(Self { pid, adopts, ended: false })
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
            match change(status) {
                Change::Stopped(_) => return Some(Event::Stopped),
                Change::Ended(ended) => {
                    self.ended = true;
                    return Some(Event::Ended(ended.code));
                }
            }
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
        let foreground = Terminal::ours().and_then(|terminal| terminal.foreground());
        foreground == Some(group) && getpgid(Some(self.pid)) == Ok(group)
    }

    /// Stops this process as its child is stopped, and comes back when it is
    /// continued. Where nobody would do that we stay as we are.
    pub fn stop_with_it(&self) {
        if stand_still(Whom::Us, Signal::SIGTSTP) {
            self.pass(Signal::SIGCONT);
        }
    }
}
