//! A file in memory that has no name and cannot be changed, for a program that we start.
//!
//! Must not know: what it holds.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

/// What it is called in `/proc/PID/fd`.
const NAME: &str = "dlconf";

/// `linux/memfd.h`, since Linux 6.3: nobody may ever run it. nix has no word for it.
const MFD_NOEXEC_SEAL: u32 = 0x8;

/// Freed when this and every program that was started with it have closed it.
#[derive(Debug)]
pub struct MemoryFile {
    file: File,
}

impl MemoryFile {
    /// One with this text, sealed, to be read from its beginning.
    ///
    /// # Errors
    /// What the system says.
    pub fn sealed(text: &str) -> io::Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let made = match memfd_create(NAME, flags | MFdFlags::from_bits_retain(MFD_NOEXEC_SEAL)) {
            Err(Errno::EINVAL) => memfd_create(NAME, flags),
            made => made,
        };
        let mut file = File::from(made?);
        fchmod(&file, Mode::S_IRUSR)?;
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        let seals =
            SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Self { file })
    }

    /// Where a program that is started with it finds it. (It gets the same number there.)
    pub fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.descriptor()).into()
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    #[test]
    fn it_cannot_be_changed() {
        let mut memory = MemoryFile::sealed("canary").unwrap();
        let seals = fcntl(&memory.file, FcntlArg::F_GET_SEALS).unwrap();
        let wanted =
            SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        assert!(SealFlag::from_bits_retain(seals).contains(wanted), "{seals:#x}");
        // By path and by number, from the beginning.
        assert_eq!(fs::read_link(memory.path()).unwrap(), Path::new("/memfd:dlconf (deleted)"));
        assert_eq!(memory.path().metadata().unwrap().permissions().mode() & 0o777, 0o400);
        assert_eq!(fs::read_to_string(memory.path()).unwrap(), "canary");
        let mut read = String::new();
        memory.file.read_to_string(&mut read).unwrap();
        assert_eq!(read, "canary");
        assert!(memory.file.write_all(b"x").is_err());
        assert!(memory.file.set_len(0).is_err());
    }
}
