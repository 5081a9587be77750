//! What happened to children, as the kernel tells it.
//!
//! One thing reaps, so that nobody takes another's child. Where a library starts a
//! process and waits for it by itself, a [`Guest`] says so.

use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

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
/// While there is a [`Guest`], only `ours` are looked at.
pub fn next_change(ours: &[Pid]) -> Option<(Pid, Change)> {
    let look = |whom| wait(whom, libc::WNOHANG | libc::WUNTRACED).filter(|(pid, _)| *pid > 0);
    let (pid, status) = match alone() {
        Some(_no_guest_comes_meanwhile) => look(-1),
        None => ours.iter().find_map(|pid| look(pid.as_raw())),
    }?;
    Some((Pid::from_raw(pid), change(status)))
}

/// Somebody who starts a process and waits for it by itself, as the standard library
/// does: nobody else may reap that.
pub struct Guest(());

struct Guests {
    count: usize,
    /// Whether something was not looked at because of them.
    missed: bool,
}

static GUESTS: Mutex<Guests> = Mutex::new(Guests { count: 0, missed: false });

impl Guest {
    /// To be held from before the start of the process until it was waited for.
    pub fn arrives() -> Self {
        guests().count += 1;
        Self(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut guests = guests();
        guests.count -= 1;
        if guests.count == 0 && std::mem::take(&mut guests.missed) {
            // What ended meanwhile is looked at now.
            let _we_are_here = kill(getpid(), Signal::SIGCHLD);
        }
    }
}

fn guests() -> MutexGuard<'static, Guests> {
    GUESTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Held while any child may be reaped; none where a guest waits for one.
pub(super) fn alone() -> Option<impl Drop> {
    let mut guests = guests();
    guests.missed |= guests.count > 0;
    (guests.count == 0).then_some(guests)
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};

    use super::*;

    #[test]
    fn what_a_guest_waits_for_is_left_to_it() {
        let _guest = Guest::arrives();
        let mut theirs = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let mut ours = Command::new("sh").args(["-c", "exit 3"]).spawn().unwrap();
        let pid = |child: &std::process::Child| Pid::from_raw(child.id().try_into().unwrap());
        let deadline = Instant::now() + Duration::from_secs(20);
        for child in [&theirs, &ours] {
            let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            while waitid(Id::Pid(pid(child)), look) == Ok(WaitStatus::StillAlive) {
                assert!(Instant::now() < deadline);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let change = next_change(&[pid(&ours)]);
        assert!(
            matches!(change, Some((found, Change::Ended(ended))) if found == pid(&ours) && ended.code == 3)
        );
        assert_eq!(next_change(&[pid(&ours)]), None);
        assert_eq!(theirs.wait().unwrap().code(), Some(7));
        assert!(ours.wait().is_err(), "it was reaped");
    }
}
