//! The terminal that controls this process: which group of processes it listens to, and
//! how it reads keys.
//!
//! Must not know: who is to have it.

use std::fs::File;
use std::io::{stdin, stdout};
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getpid, tcgetpgrp, tcsetpgrp};

/// The terminal that controls this process.
#[derive(Debug)]
pub(super) struct Terminal {
    file: File,
}

/// How a terminal reads keys and writes lines.
#[derive(Debug)]
pub(super) struct Modes(Termios);

impl Terminal {
    /// None where there is none, or where our group is of another PID namespace: what has
    /// no number here could not be given it back.
    pub(super) fn ours() -> Option<Self> {
        if getpgrp().as_raw() == 0 {
            return None;
        }
        let file = File::options().read(true).custom_flags(OFlag::O_NOCTTY.bits()).open("/dev/tty");
        file.ok().map(|file| Self { file })
    }

    /// As [`Terminal::ours`], to be given to others: from now on nothing that we write or
    /// ask there from the background stops us. (Programs that we start find it as we did.)
    pub(super) fn to_be_given() -> Option<Self> {
        let terminal = Self::ours()?;
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: SIG_IGN runs no code of ours.
        let _previous = unsafe { sigaction(Signal::SIGTTOU, &ignore) };
        Some(terminal)
    }

    /// The group in the foreground, where it is of our session and has a number here.
    pub(super) fn foreground(&self) -> Option<Pid> {
        tcgetpgrp(&self.file).ok().filter(|group| group.as_raw() > 0)
    }

    /// Brings a group to the foreground.
    pub(super) fn give(&self, group: Pid) {
        // The group may have vanished, and the terminal too.
        let _unchanged = tcsetpgrp(&self.file, group);
    }

    pub(super) fn modes(&self) -> Option<Modes> {
        tcgetattr(&self.file).ok().map(Modes)
    }

    /// Does not wait for what is still to be written: it may be held by Ctrl-S.
    pub(super) fn restore(&self, modes: &Modes) {
        let _unchanged = tcsetattr(&self.file, SetArg::TCSANOW, &modes.0);
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Whether a program that we start is one that a person starts at a terminal, alone: we
/// are in the foreground, lead our group, and read and write there.
pub(super) fn is_all_ours() -> bool {
    let group = getpgrp();
    let is_in_front = |foreground: nix::Result<Pid>| foreground == Ok(group);
    group == getpid() && is_in_front(tcgetpgrp(stdin())) && is_in_front(tcgetpgrp(stdout()))
}
