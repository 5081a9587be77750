//! One program: started, listened to, ended in time.
//!
//! Invariants: its process group is signalled only while its number is certainly
//! its own, that is before it is reaped; whatever it leaves behind, the answer
//! comes; what is kept of its output is bounded.

use std::ffi::OsString;
use std::io::{self, PipeReader, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use zeroize::Zeroizing;

use super::{CUT, Outcome, Ran, Request};
use crate::process::pidfd;

/// From SIGTERM to SIGKILL after a timeout.
const GRACE: Duration = Duration::from_secs(2);
/// The same when dlconf ends, which has waited before it says so. Shorter than what
/// it leaves us (`HELPER_ENDS`): a program must not outlive us.
const SHORT_GRACE: Duration = Duration::from_millis(150);
/// How long a process that was killed is waited for.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// How often the end is looked for where the kernel cannot wake us.
const TICK: Duration = Duration::from_millis(20);

/// How many lines are passed on.
const LINES: usize = 100;
/// How many characters of each.
const CHARACTERS: usize = 1000;
/// How much is read before something else is looked at. More than a pipe holds.
const AT_ONCE: usize = 128 << 10;

/// Runs a program to its end; `stop` becomes readable when all are to end.
pub(super) fn run(request: &Request, environment: &[(OsString, OsString)], stop: BorrowedFd<'_>) -> Ran {
    match Errand::start(request, environment) {
        Ok(errand) => errand.follow(request.timeout, stop),
        Err(error) => Ran::not_started(words(&error)),
    }
}

/// A program that was started and not yet reaped.
struct Errand {
    child: Child,
    /// Its process, and its process group.
    pid: Pid,
    /// Readable when it has ended; none where the kernel has no such thing.
    wakes: Option<OwnedFd>,
    /// None once all who could write to it are gone.
    output: Option<PipeReader>,
    lines: Lines,
}

/// Where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It runs, for so long at most.
    Runs,
    /// It was asked to end.
    Asked,
    /// It was killed.
    Killed,
}

impl Errand {
    fn start(request: &Request, environment: &[(OsString, OsString)]) -> io::Result<Self> {
        let (output, writes) = io::pipe()?;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        fcntl(&output, FcntlArg::F_SETFL(flags)).map_err(io::Error::from)?;
        let program = request.argv.first().map(String::as_str).unwrap_or_default();
        let mut command = Command::new(program);
        command.args(request.argv.iter().skip(1));
        command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        command.envs(request.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(writes.try_clone()?).stderr(writes);
        let child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let wakes = pidfd::open(pid).ok();
        Ok(Self { child, pid, wakes, output: Some(output), lines: Lines::default() })
    }

    fn follow(mut self, timeout: Duration, stop: BorrowedFd<'_>) -> Ran {
        let mut stage = Stage::Runs;
        let mut until = Instant::now().checked_add(timeout);
        let (mut timed_out, mut stopping) = (false, false);
        loop {
            self.listen();
            let ended = self.has_ended();
            let over = until.is_some_and(|until| Instant::now() >= until);
            let late = match stage {
                Stage::Runs if ended => break,
                // A member of the group that holds no output is not waited for.
                Stage::Asked if ended && self.output.is_none() => break,
                Stage::Killed if ended || over => break,
                _ if !stopping && is_readable(stop) => {
                    stopping = true;
                    Some(SHORT_GRACE)
                }
                Stage::Runs if over => {
                    timed_out = true;
                    Some(GRACE)
                }
                Stage::Asked if over => {
                    self.signal(Signal::SIGKILL);
                    (stage, until) = (Stage::Killed, Instant::now().checked_add(LAST_WAIT));
                    None
                }
                _ => None,
            };
            if let Some(grace) = late {
                if stage == Stage::Runs {
                    self.signal(Signal::SIGTERM);
                    stage = Stage::Asked;
                }
                if stage == Stage::Asked {
                    until = Instant::now().checked_add(grace);
                }
            }
            let stop = (!stopping).then_some(stop);
            self.wait(stop, ended, until);
        }
        self.end(stage, timed_out)
    }

    /// Reaps it, and says what it did.
    fn end(mut self, stage: Stage, timed_out: bool) -> Ran {
        // Between the last look at the output and its end it may have written more.
        self.listen();
        if stage == Stage::Asked {
            self.signal(Signal::SIGKILL);
        }
        // One that not even that has ended hangs in the kernel: it is left to that.
        let status = if self.has_ended() { self.child.wait().ok() } else { None };
        let outcome = match status {
            _ if timed_out => Outcome::TimedOut,
            None => Outcome::Signal(libc_sigkill()),
            Some(status) => match (status.code(), status.signal()) {
                (Some(code), _) => Outcome::Code(code),
                (None, signal) => Outcome::Signal(signal.unwrap_or_else(libc_sigkill)),
            },
        };
        let (lines, dropped_lines) = self.lines.finish();
        Ran { outcome, lines, dropped_lines }
    }

    /// Takes what was written, without waiting.
    fn listen(&mut self) {
        let mut chunk = Zeroizing::new([0; 8192]);
        let mut taken = 0;
        while let Some(output) = self.output.as_mut().filter(|_| taken < AT_ONCE) {
            match output.read(&mut *chunk) {
                Ok(0) => self.output = None,
                Ok(length) => {
                    taken += length;
                    self.lines.push(chunk.get(..length).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.output = None,
            }
        }
    }

    /// Whether it has ended. It is not reaped by this.
    fn has_ended(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        // nix has no word for a death by a real-time signal, and says EINVAL.
        !matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR))
    }

    /// Signals its process group.
    fn signal(&self, signal: Signal) {
        // Some of it may have become another user.
        let _refused = killpg(self.pid, signal);
    }

    /// Waits until something may have happened.
    fn wait(&self, stop: Option<BorrowedFd<'_>>, ended: bool, until: Option<Instant>) {
        let wakes = self.wakes.as_ref().filter(|_| !ended).map(OwnedFd::as_fd);
        let output = self.output.as_ref().map(PipeReader::as_fd);
        let mut watched: Vec<_> = [stop, wakes, output]
            .into_iter()
            .flatten()
            .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN))
            .collect();
        let mut longest = until.map(|until| until.saturating_duration_since(Instant::now()));
        if wakes.is_none() && !ended {
            longest = Some(longest.map_or(TICK, |longest| longest.min(TICK)));
        }
        let longest = longest.map_or(PollTimeout::NONE, |longest| {
            // Rounded up, so that the time is over when it returns.
            PollTimeout::try_from(longest.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
        });
        let _looked_at_again = poll(&mut watched, longest);
    }
}

fn libc_sigkill() -> i32 {
    Signal::SIGKILL as i32
}

fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(descriptor, PollFlags::POLLIN)];
    matches!(poll(&mut watched, PollTimeout::ZERO), Ok(count) if count > 0)
}

/// Why it did not start.
fn words(error: &io::Error) -> String {
    match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
        (_, Some(Errno::ENOENT)) => "there is no such program, or its interpreter is not there".into(),
        (_, Some(Errno::EACCES)) => "this user may not execute it".into(),
        (_, Some(Errno::ENOEXEC)) => "it is no program: a script begins with a line such as #!/bin/sh".into(),
        (_, Some(errno)) => errno.desc().into(),
        (io::ErrorKind::InvalidInput, None) => {
            "an argument or a variable holds a NUL byte, which no process can be given".into()
        }
        (kind, None) => kind.to_string(),
    }
}

/// Output as lines, as many as are kept.
#[derive(Default)]
struct Lines {
    whole: Vec<String>,
    dropped: usize,
    /// The beginning of the line that is not yet at its end: enough bytes for one
    /// character more than is passed on.
    begun: Vec<u8>,
    /// Whether there is such a line.
    open: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.close();
            } else {
                self.open = true;
                if self.whole.len() < LINES && self.begun.len() < 4 * (CHARACTERS + 1) {
                    self.begun.push(byte);
                }
            }
        }
    }

    fn close(&mut self) {
        if self.whole.len() < LINES {
            let bytes = self.begun.strip_suffix(b"\r").unwrap_or(&self.begun);
            let text = String::from_utf8_lossy(bytes);
            let mut line: String = text.chars().take(CHARACTERS).collect();
            if line.len() < text.len() {
                line.push(CUT);
            }
            self.whole.push(line);
        } else {
            self.dropped += 1;
        }
        self.begun.clear();
        self.open = false;
    }

    fn finish(mut self) -> (Vec<String>, usize) {
        if self.open {
            self.close();
        }
        (self.whole, self.dropped)
    }
}

#[cfg(test)]
mod tests;
