//! Other people's children, which become ours where we are PID 1.

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{Pid, getpid};

use super::reap::alone;

/// Takes the last of the processes that ended and were left to us, as the first
/// process of a container has to; elsewhere there are none. Our own child is left
/// to who waits for it.
pub fn reap_adopted(own: Option<Pid>) {
    if getpid() != Pid::from_raw(1) {
        return;
    }
    // Another look follows when a guest has gone.
    let Some(_no_guest_comes_meanwhile) = alone() else { return };
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, look) {
        let Some(pid) = status.pid().filter(|pid| status != WaitStatus::StillAlive && Some(*pid) != own)
        else {
            return;
        };
        if waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
            return;
        }
    }
}
