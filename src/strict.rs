//! Folders that are reached through no link.
//!
//! Owns: opening a path whose every part is a real folder, and saying which part
//! is not. Who writes below the descriptor writes where the path says, whatever is
//! linked meanwhile.
//! Must not know: what is written there; whose a folder may be.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// How a folder is opened.
pub const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// The path without `.` and `..`: where no link is followed they are only text.
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// Opens the folder of a plain path.
///
/// # Errors
/// The kernel's; [`link_in`] says which part is a link, if one is.
pub fn open_folder(path: &Path) -> Result<File, Errno> {
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    match openat2(AT_FDCWD, path, OpenHow::new().flags(FLAGS).resolve(resolve)) {
        // Older kernels and gVisor do not know the call, some sandboxes forbid it.
        Err(Errno::ENOSYS | Errno::EPERM) => walk(path),
        other => other.map(File::from),
    }
}

/// What `openat2` does, one component after the other.
pub(crate) fn walk(path: &Path) -> Result<File, Errno> {
    let through = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut folder = File::from(openat(AT_FDCWD, c"/", through, Mode::empty())?);
    for component in path.components() {
        if let Component::Normal(name) = component {
            folder = File::from(openat(&folder, name, through, Mode::empty())?);
        }
    }
    openat(&folder, c".", FLAGS, Mode::empty()).map(File::from)
}

/// The part of a path that is a link, if that is why its folder was not opened.
pub fn link_in(path: &Path, reason: Errno) -> Option<PathBuf> {
    let is_link = |part: &&Path| part.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
    let links = matches!(reason, Errno::ELOOP | Errno::ENOTDIR);
    path.ancestors().filter(is_link).last().filter(|_| links).map(Path::to_owned)
}

/// Where a path really leads, as far as it exists.
pub fn real(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|part| {
        let rest = path.strip_prefix(part).ok()?;
        // A link into nothing: whoever makes that folder decides where it leads.
        let dangling = part.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink());
        match part.canonicalize() {
            Ok(real) => Some(Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })),
            Err(_) if dangling => Some(None),
            Err(_) => None,
        }
    })?
}
