//! Taking an address: before anything is served, so that a mistake ends the
//! start and not the running daemon.
//!
//! Invariants: a Unix socket has its mode from its first moment on, and no other
//! thread's files get theirs by that; only a socket that nobody answers at is
//! replaced, and nothing that is no socket is removed; what is removed at the end is
//! ours.
//! Must not know: what is answered.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::Uid;

use super::config::{Listen, SocketConfig};

/// What fits into the kernel's address of a Unix socket, beside its end.
const LONGEST_PATH: usize = 107;
/// A folder that is made for a socket.
const FOLDER_MODE: u32 = 0o750;

/// Where a umask belongs to the whole process, one at a time changes it.
static UMASK: Mutex<()> = Mutex::new(());

/// An address that was taken and is not served yet.
#[derive(Debug)]
pub struct Bound {
    pub(super) what: &'static str,
    pub(super) at: String,
    pub(super) socket: Socket,
    /// A descriptor to give up when there is no other.
    pub(super) reserve: File,
}

#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, Box<Placed>),
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
        let reserve = reserve().map_err(failed)?;
        Ok(Self { what, at: actual.to_string(), socket: Socket::Tcp(listener, actual), reserve })
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
            make(folder).map_err(|error| failed("its folder cannot be made", &error))?;
        }
        let lock = Lock::take(&config.path).map_err(|error| match error {
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
        let (listener, file) = place(config).map_err(|error| failed("binding", &error))?;
        let reserve = reserve().map_err(|error| failed("a descriptor in reserve", &error))?;
        let placed = Box::new(Placed { config: config.clone(), file, lock });
        Ok(Self { what, at: label.clone(), socket: Socket::Unix(listener, placed), reserve })
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

/// A descriptor that is kept so that it can be given up.
pub(super) fn reserve() -> io::Result<File> {
    File::open("/dev/null")
}

/// Which file it is, whatever its name.
type FileId = (u64, u64);

fn id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// A socket's name in the file system, which ends with it.
#[derive(Debug)]
pub(super) struct Placed {
    config: SocketConfig,
    file: FileId,
    /// Held until the name is gone.
    lock: Lock,
}

/// What is found under a socket's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The socket.
    There,
    /// Nothing.
    Gone,
    /// Something else, or nobody can tell.
    Replaced,
}

impl Placed {
    /// What is found under its name.
    pub(super) fn look(&self) -> Look {
        match self.config.path.symlink_metadata() {
            Ok(metadata) if id(&metadata) == self.file => Look::There,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Look::Gone,
            _ => Look::Replaced,
        }
    }

    /// Binds a name anew that was removed; unless another instance is about to.
    pub(super) fn renew(&mut self) -> io::Result<UnixListener> {
        if let Some(folder) = self.config.path.parent() {
            make(folder)?;
        }
        if !self.lock.is_found(&self.config.path) {
            self.lock = Lock::take(&self.config.path)?;
        }
        let (listener, file) = place(&self.config)?;
        self.file = file;
        Ok(listener)
    }

    /// Whether others may put something of theirs in its place: they may write into
    /// its folder, and nothing keeps them from other people's names there; or the
    /// folder is theirs.
    pub(super) fn is_exposed(&self) -> bool {
        let folder = self.config.path.parent().and_then(|folder| folder.metadata().ok());
        folder.is_some_and(|folder| {
            let is_shared = folder.mode() & 0o022 != 0 && folder.mode() & 0o1000 == 0;
            let owners = [0, Uid::effective().as_raw()];
            is_shared || !owners.contains(&folder.uid())
        })
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        if self.look() == Look::There {
            // Gone already is as good.
            let _gone = std::fs::remove_file(&self.config.path);
        }
    }
}

/// A lock beside a socket, `PATH.lock`, for as long as it lives. Its file stays:
/// whoever removes it may take it from under somebody who has just locked it.
#[derive(Debug)]
struct Lock(Flock<File>);

impl Lock {
    fn name(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        name.into()
    }

    fn take(path: &Path) -> Result<Self, Errno> {
        let errno = |error: io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        // What somebody else put there may be a pipe, whose opening waits for a partner.
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let file = options.custom_flags(flags).open(Self::name(path)).map_err(errno)?;
        if !file.metadata().map_err(errno)?.is_file() {
            return Err(Errno::EINVAL);
        }
        Flock::lock(file, FlockArg::LockExclusiveNonblock).map(Self).map_err(|(_, errno)| errno)
    }

    /// Whether another instance would find it.
    fn is_found(&self, path: &Path) -> bool {
        let there = Self::name(path).symlink_metadata();
        there.and_then(|there| Ok(id(&there) == id(&self.0.metadata()?))).unwrap_or(false)
    }
}

/// Makes the folder of a socket, where it is missing.
fn make(folder: &Path) -> io::Result<()> {
    with_umask(0o777 & !FOLDER_MODE, || DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder))
}

/// Binds a socket where nothing is.
fn place(config: &SocketConfig) -> io::Result<(UnixListener, FileId)> {
    // The mode comes from the umask: a chmod afterwards would leave a moment in which
    // anybody could connect.
    let listener = with_umask(0o777 & !config.mode, || UnixListener::bind(&config.path))?;
    listener.set_nonblocking(true)?;
    Ok((listener, id(&config.path.symlink_metadata()?)))
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
    // Knocked at as if for datagrams: that neither waits where a queue of connections is
    // full, as a connection would, nor disturbs who listens.
    match UnixDatagram::unbound().and_then(|knock| knock.connect(path)) {
        Ok(()) => Err(Obstacle::Alive),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(Obstacle::Failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Somebody is there, for connections.
        Err(error) if error.raw_os_error() == Some(Errno::EPROTOTYPE as i32) => Err(Obstacle::Alive),
        Err(error) => Err(Obstacle::Failed(error)),
    }
}

/// Does something under a umask of its own.
fn with_umask<T: Send>(mask: u32, act: impl Fn() -> io::Result<T> + Sync) -> io::Result<T> {
    let mask = Mode::from_bits_truncate(mask);
    // A thread can leave the others' umask and have one that ends with it: what others
    // make meanwhile keeps its mode.
    let alone = || {
        unshare(CloneFlags::CLONE_FS).ok()?;
        umask(mask);
        Some(act())
    };
    let done = thread::scope(|scope| {
        let thread = thread::Builder::new().spawn_scoped(scope, alone).ok()?;
        thread.join().ok().flatten()
    });
    // Some sandboxes forbid it.
    done.unwrap_or_else(|| {
        let _alone = UMASK.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = umask(mask);
        let done = act();
        umask(previous);
        done
    })
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
