//! Taking an address: before anything is served, so that a mistake ends the
//! start and not the running daemon.
//!
//! Invariants: a Unix socket has its mode from its first moment on; only a
//! socket that nobody answers at is replaced, and nothing that is no socket is
//! removed; what is removed at the end is ours.
//! Must not know: what is answered.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{Mode, umask};

use super::config::{Listen, SocketConfig};

/// What fits into the kernel's address of a Unix socket, beside its end.
const LONGEST_PATH: usize = 107;
/// A folder that is made for a socket.
const FOLDER_MODE: u32 = 0o750;

/// The umask belongs to the whole process: one at a time changes it.
static UMASK: Mutex<()> = Mutex::new(());

/// An address that was taken and is not served yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) what: &'static str,
    pub(super) at: String,
    pub(super) socket: Socket,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, Placed),
}

/// Why an address was not taken. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BindError {
    /// One sentence, naming the address.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl BindError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

impl Bound {
    /// Takes an address. `what` names it in events: `the ops port`.
    ///
    /// # Errors
    /// [`BindError`]; nothing is left behind.
    pub fn bind(what: &'static str, listen: &Listen) -> Result<Self, BindError> {
        match listen {
            Listen::Tcp(address) => Self::tcp(what, *address),
            Listen::Unix(config) => Self::unix(what, config),
        }
    }

    fn tcp(what: &'static str, address: SocketAddr) -> Result<Self, BindError> {
        let failed = |error: io::Error| {
            let help = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EADDRINUSE) => {
                    format!(
                        "end what listens there (`ss -ltnp 'sport = :{}'` names it), or choose another port",
                        address.port()
                    )
                }
                Some(Errno::EACCES) if address.port() < 1024 => {
                    "choose a port from 1024 on: those below are for root, or CAP_NET_BIND_SERVICE".into()
                }
                Some(Errno::EADDRNOTAVAIL) => "name an address that this machine has".into(),
                _ => "choose another address".into(),
            };
            BindError::new(format!("{what} cannot listen at {address}: {}", reason(&error)), help)
        };
        // The standard library sets SO_REUSEADDR, so that a restart finds its port.
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let actual = listener.local_addr().map_err(failed)?;
        Ok(Self { what, at: actual.to_string(), socket: Socket::Tcp(listener, actual) })
    }

    fn unix(what: &'static str, config: &SocketConfig) -> Result<Self, BindError> {
        let label = &config.label;
        let failed = |step: &str, error: &io::Error| {
            let help = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                    "see who may write into its folder".to_owned()
                }
                _ => "see whether its folder is in order, or choose another path".to_owned(),
            };
            BindError::new(format!("{what} cannot listen at {label}: {step}: {}", reason(error)), help)
        };
        let length = config.path.as_os_str().as_bytes().len();
        if length > LONGEST_PATH {
            return Err(BindError::new(
                format!(
                    "{what} cannot listen at {label}: the path has {length} bytes, and the kernel takes {LONGEST_PATH}"
                ),
                "choose a shorter path",
            ));
        }
        if let Some(folder) = config.path.parent() {
            with_umask(0o777 & !FOLDER_MODE, || {
                DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
            })
            .map_err(|error| failed("its folder cannot be made", &error))?;
        }
        let lock = lock(&config.path).map_err(|error| match error {
            Errno::EAGAIN => BindError::new(
                format!("{what} cannot listen at {label}: another dlconf does"),
                "end that one first, or give this one a path of its own",
            ),
            other => failed(&format!("its lock, {label}.lock, cannot be taken"), &other.into()),
        })?;
        clear(&config.path).map_err(|obstacle| match obstacle {
            Obstacle::Alive => BindError::new(
                format!("{what} cannot listen at {label}: something answers there already"),
                "end it first, or choose another path",
            ),
            Obstacle::NoSocket => BindError::new(
                format!("{what} cannot listen at {label}: what is there is no socket, so it is left alone"),
                "move it away, or choose another path",
            ),
            Obstacle::Failed(error) => failed("what is there cannot be looked at", &error),
        })?;
        // The mode comes from the umask: a chmod afterwards would leave a moment
        // in which anybody could connect.
        let listener = with_umask(0o777 & !config.mode, || UnixListener::bind(&config.path))
            .map_err(|error| failed("binding", &error))?;
        let metadata = config.path.symlink_metadata().map_err(|error| failed("looking at it", &error))?;
        let file = (metadata.dev(), metadata.ino());
        let placed = Placed { path: config.path.clone(), file, _lock: lock };
        listener.set_nonblocking(true).map_err(|error| failed("binding", &error))?;
        Ok(Self { what, at: label.clone(), socket: Socket::Unix(listener, placed) })
    }

    /// Where it listens, in words. A port that the kernel chose is told.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// The address, unless it is a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.socket {
            Socket::Tcp(_, address) => Some(address),
            Socket::Unix(..) => None,
        }
    }

    /// Whether only this machine can connect: a Unix socket, or loopback.
    pub fn is_local(&self) -> bool {
        self.address().is_none_or(is_loopback)
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// A socket's name in the file system, which ends with it.
#[derive(Debug)]
pub(super) struct Placed {
    path: PathBuf,
    file: (u64, u64),
    /// Held until the name is gone. The lock's file stays: whoever removes it
    /// may take it from under somebody who has just locked it.
    _lock: Flock<File>,
}

impl Drop for Placed {
    fn drop(&mut self) {
        let ours = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino()) == self.file;
        if self.path.symlink_metadata().is_ok_and(ours) {
            // Gone already is as good.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Why a path is not free.
enum Obstacle {
    Alive,
    NoSocket,
    Failed(io::Error),
}

/// Removes a socket that nobody answers at.
fn clear(path: &Path) -> Result<(), Obstacle> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Obstacle::Failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(Obstacle::NoSocket),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(Obstacle::Alive),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(Obstacle::Failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full queue is somebody's.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Obstacle::Alive),
        Err(error) => Err(Obstacle::Failed(error)),
    }
}

/// Locks `PATH.lock` for as long as what is returned lives.
fn lock(path: &Path) -> Result<Flock<File>, Errno> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let errno = |error: io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    // What somebody else put there may be a pipe, whose opening waits for a partner.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = options.custom_flags(flags).open(name).map_err(errno)?;
    if !file.metadata().map_err(errno)?.is_file() {
        return Err(Errno::EINVAL);
    }
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
}

fn with_umask<T>(mask: u32, act: impl FnOnce() -> T) -> T {
    let _alone = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
    let previous = umask(Mode::from_bits_truncate(mask));
    let done = act();
    umask(previous);
    done
}

/// The kernel's words without the number.
fn reason(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_owned())
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_loopback_is_of_this_machine_alone() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
            ("[fe80::1]:1", false),
        ] {
            assert_eq!(is_loopback(address.parse().unwrap()), expected, "{address}");
        }
    }
}
