//! A job's part at the terminal: it has a group of its own, and yet is to behave there as
//! if it were us.
//!
//! Owns: when the job's group is in the foreground, and when we stand still with it.
//! Invariants:
//! - the terminal goes from our group to the job's and back; from another group (the
//!   shell's, when it has put us into the background) it is never taken;
//! - a key reaches the job once: from the terminal where the job is in the foreground,
//!   through us where we are;
//! - we stand still only where somebody would continue us, and a job that cannot stand
//!   still with us goes on; each time that costs a stop of its own, so nothing turns in
//!   a circle but the job itself.
//!
//! Must not know: what runs, and why it ends.
//!
//! # Current limitations
//! - Two programs of one pipeline that both ask for the terminal, each under a
//!   supervisor: the second stops the pipeline, until `fg`.
//! - A job in a session of its own that catches SIGTSTP does not hear it: it is stopped
//!   as it is, since the kernel stops nobody there who does not want to be stopped.

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, kill, raise, sigaction};
use nix::unistd::{Pid, getpgrp, getpid};

use super::job::{Job, Launch};
use super::spawn::Place;
use super::standstill::{Whom, stand_still};
use super::terminal::{Modes, Terminal, is_all_ours};
use super::{Ended, ExecError, Found, Hardened, Signal};

/// What makes a job in a group of its own behave at a terminal as if it were us.
#[derive(Debug)]
pub struct JobControl {
    /// None where nothing controls us, or the job is in another session.
    terminal: Option<Terminal>,
    gives_at_start: bool,
    place: Place,
    /// Whether the job is to be in the foreground while we would be.
    is_given: bool,
    /// How the terminal was when the job was started in the foreground.
    modes: Option<Modes>,
    /// Whether a stop of the job is our doing.
    stops_it: bool,
    /// Whether it was told that nobody is at the terminal it asks for.
    was_hung_up: bool,
}

impl JobControl {
    /// `gives_at_start`: whether a job may have the terminal before it asks for it.
    pub fn new(gives_at_start: bool) -> Self {
        Self {
            terminal: None,
            gives_at_start,
            place: Place::Group,
            is_given: false,
            modes: None,
            stops_it: false,
            was_hung_up: false,
        }
    }

    /// Starts a job, in the foreground where a person has started us alone there.
    ///
    /// # Errors
    /// [`ExecError`], with nothing left behind.
    pub fn start(&mut self, hardened: Hardened, found: Found, launch: &Launch<'_>) -> Result<Job, ExecError> {
        self.place = launch.place;
        self.terminal = if self.place == Place::Group { Terminal::to_be_given() } else { None };
        self.is_given = self.gives_at_start && self.terminal.is_some() && is_all_ours();
        (self.stops_it, self.was_hung_up) = (false, false);
        self.modes = self.terminal.as_ref().filter(|_| self.is_ours()).and_then(Terminal::modes);
        let terminal = self.terminal.as_ref().filter(|_| self.is_given).map(Terminal::descriptor);
        let started = Job::start_at(hardened, found, launch, terminal);
        if started.is_err() {
            self.take_from(None);
        }
        started
    }

    /// Passes on a signal that was sent to us. The terminal has not sent it to the job as
    /// well: it sends to one group, and that is ours.
    pub fn pass(&mut self, job: &mut Job, signal: Signal) {
        match signal {
            Signal::SIGTSTP if self.place == Place::Session => {
                self.stops_it = true;
                job.signal(Signal::SIGSTOP);
            }
            Signal::SIGCONT => self.go_on(job),
            other => job.signal(other),
        }
    }

    /// The job's program was stopped by this signal. Comes back when it goes on, or is
    /// left as it is.
    pub fn stopped(&mut self, job: &mut Job, signal: Option<Signal>) {
        let asks = matches!(signal, Some(Signal::SIGTTIN | Signal::SIGTTOU));
        if asks && self.is_ours() {
            self.is_given = true;
            // Going on would lose a Ctrl-Z that came while it stood still.
            let is_to_stop = job.is_pending(Signal::SIGTSTP);
            self.go_on(job);
            if is_to_stop {
                job.signal(Signal::SIGTSTP);
            }
            return;
        }
        let is_in_front = self.is_ours() || self.has_it(job);
        let (whom, by) = match signal {
            Some(signal @ (Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)) => (Whom::OurGroup, signal),
            // Who sits before it wants the shell back. Who stops it from elsewhere means it
            // alone, and will continue it.
            _ if is_in_front || std::mem::take(&mut self.stops_it) => (Whom::Us, Signal::SIGTSTP),
            _ => return,
        };
        self.take_from(Some(job));
        if !stand_still(whom, by) && asks && !is_in_front {
            // Without us its read would have failed. It gets what the kernel sends to those
            // who stand still with nobody left to continue them.
            if std::mem::replace(&mut self.was_hung_up, true) {
                return;
            }
            job.signal(Signal::SIGHUP);
        }
        self.go_on(job);
    }

    /// The job's program has ended: the terminal is ours again. If a signal ended it, it
    /// could not leave the terminal's modes as it had found them.
    pub fn ended(&mut self, job: &mut Job, ended: Ended) {
        let had_it = self.has_it(job);
        self.take_from(Some(job));
        self.is_given = false;
        if ended.signal.is_some()
            && self.is_ours()
            && let (Some(terminal), Some(modes)) = (&self.terminal, &self.modes)
        {
            terminal.restore(modes);
        }
        if had_it && ended.signal == Some(Signal::SIGINT) && !job.was_sent(Signal::SIGINT) {
            // Ctrl-C, which all of our group would have heard: a script, a pipeline, we.
            let _heard = kill(Pid::from_raw(0), Signal::SIGINT);
        }
    }

    /// Continues the job, in the foreground if it was there before and we are now.
    fn go_on(&mut self, job: &mut Job) {
        if self.is_given
            && self.is_ours()
            && let Some(terminal) = &self.terminal
        {
            terminal.give(job.leader());
        }
        job.signal(Signal::SIGCONT);
    }

    /// Takes the terminal back from the job, or from one that did not begin.
    fn take_from(&self, job: Option<&Job>) {
        if let Some(terminal) = &self.terminal
            && self.is_given
            && job.is_none_or(|job| self.has_it(job))
        {
            terminal.give(getpgrp());
        }
    }

    /// Whether our group is in the foreground.
    fn is_ours(&self) -> bool {
        self.foreground() == Some(getpgrp())
    }

    /// Whether the job's group is.
    fn has_it(&self, job: &Job) -> bool {
        self.foreground() == Some(job.leader())
    }

    fn foreground(&self) -> Option<Pid> {
        self.terminal.as_ref()?.foreground()
    }
}

/// Ends this process as a program ended that SIGINT has ended at our terminal: a shell
/// ends its script only if what it waits for dies of it. To be called at the very end.
/// Comes back in all other cases; then [`Ended::code`] is the code to exit with.
pub fn die_like(ended: Ended) {
    // The kernel lets no signal end PID 1.
    if ended.signal != Some(Signal::SIGINT) || getpid().as_raw() == 1 || Terminal::ours().is_none() {
        return;
    }
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: SIG_DFL runs no code of ours.
    let _previous = unsafe { sigaction(Signal::SIGINT, &default) };
    let mut let_in = SigSet::empty();
    let_in.add(Signal::SIGINT);
    let _unchanged = let_in.thread_swap_mask(SigmaskHow::SIG_UNBLOCK);
    let _dead = raise(Signal::SIGINT);
}
