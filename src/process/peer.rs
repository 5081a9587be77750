//! What the kernel says of the process at the other end of a Unix socket.
//!
//! Owns: asking it. Invariant: all of it is of the process that connected, as it
//! was then; who inherited the socket or was passed it later changes nothing.
//! Must not know: what it is asked for.

use std::mem::{MaybeUninit, size_of, size_of_val};
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Groups that are asked for at first; few users are in more.
const GROUPS: usize = 32;

/// Who connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The number of the process here; none where it has none in our pid namespace.
    pub pid: Option<i32>,
}

/// Who connected.
///
/// # Errors
/// The kernel's: it is no Unix socket, or not connected.
pub fn credentials(socket: &impl AsFd) -> nix::Result<Credentials> {
    let mut peer = [MaybeUninit::<libc::ucred>::uninit()];
    let length = option(socket, libc::SO_PEERCRED, &mut peer)?;
    if length != size_of::<libc::ucred>() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the kernel wrote all of it, as the length says, and every bit pattern
    // is one of the three numbers.
    let peer = unsafe { peer[0].assume_init() };
    Ok(Credentials { uid: peer.uid, gid: peer.gid, pid: (peer.pid > 0).then_some(peer.pid) })
}

/// The supplementary groups of who connected.
///
/// # Errors
/// The kernel's: it is no Unix socket, or the kernel is older than 4.13.
pub fn groups(socket: &impl AsFd) -> nix::Result<Vec<u32>> {
    let mut buffer: Vec<MaybeUninit<libc::gid_t>> = vec![MaybeUninit::uninit(); GROUPS];
    // They do not change any more, so that what was too little is enough when doubled
    // often enough: the kernel has 65,536 at most.
    let length = loop {
        match option(socket, libc::SO_PEERGROUPS, &mut buffer) {
            Err(Errno::ERANGE) if buffer.len() <= 1 << 16 => {
                let doubled = buffer.len() * 2;
                buffer.resize(doubled, MaybeUninit::uninit());
            }
            other => break other?,
        }
    };
    let written = buffer.iter().take(length / size_of::<libc::gid_t>());
    // SAFETY: the kernel wrote so many bytes, and every bit pattern is a number.
    Ok(written.map(|gid| unsafe { gid.assume_init() }).collect())
}

/// A descriptor of the process that connected. It stays that process's whoever gets
/// its number later.
///
/// # Errors
/// The kernel's: it is older than 6.5, the process ended (some kernels), no
/// descriptor is left.
pub fn process(socket: &impl AsFd) -> nix::Result<OwnedFd> {
    let mut descriptor = [MaybeUninit::<RawFd>::uninit()];
    let length = option(socket, libc::SO_PEERPIDFD, &mut descriptor)?;
    if length != size_of::<RawFd>() {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the kernel wrote all of the number, as the length says.
    let descriptor = unsafe { descriptor[0].assume_init() };
    if descriptor < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: the kernel made it for us just now (close-on-exec, as all of its kind),
    // and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether a process still runs. What cannot be told is taken for its end.
pub fn is_alive(process: &impl AsFd) -> bool {
    let mut wanted = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    // Its descriptor is readable once it has ended, and stays so.
    matches!(poll(&mut wanted, PollTimeout::ZERO), Ok(0))
}

/// Asks for an option of a socket; how many bytes of the answer were written.
fn option<T: Copy>(socket: &impl AsFd, name: libc::c_int, into: &mut [MaybeUninit<T>]) -> nix::Result<usize> {
    let room = size_of_val(into);
    let mut length = libc::socklen_t::try_from(room).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the descriptor is open; the buffer is ours to write, and `length` says
    // how long it is. The kernel writes no more than that and says how much it wrote.
    let asked = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            name,
            into.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(asked)?;
    Ok((length as usize).min(room))
}
