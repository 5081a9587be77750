//! Opening and reading a file that a source names.
//!
//! Owns: the one way from a path to text. It looks at the open descriptor, never
//! twice at the path; it does not wait for a writer that may never come; it
//! reads regular files only (and the null device, which is an empty one), and
//! none above the caller's limit; where the caller names a folder, it reads
//! nothing outside that folder, links followed.
//! Invariant: the text is read into one buffer, which becomes the `String` that
//! is handed over; a fault says nothing of the content but the place in it.
//! Must not know: what the text means.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use nix::fcntl::OFlag;
use nix::sys::stat::makedev;

use crate::disk::stamp::Stamp;
use crate::model::origin::{Location, Span};

use super::{Fault, FaultKind};

/// The largest text file that a source reads, in bytes: 16 MiB. A larger one is
/// a mistake in the path, not a configuration.
pub const TEXT_LIMIT: u64 = 16 * 1024 * 1024;

/// Where a reader starts when the file system does not know the size (`/proc`).
const UNKNOWN_SIZE: usize = 4096;

const UTF8_BOM: char = '\u{feff}';

/// A file's text, as it stands on the disk: a UTF-8 byte order mark is kept, for
/// those who judge what other readers make of it (see [`strip_bom`]).
pub struct FileText {
    /// The whole content.
    pub text: String,
    /// Permission bits, with set-id and sticky: `0o7777` at most.
    pub mode: u32,
    /// When the file was last written, where the file system tells.
    pub modified: Option<SystemTime>,
    /// What the file was when it was opened.
    pub stamp: Stamp,
}

impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileText({} bytes, {:o})", self.text.len(), self.mode)
    }
}

/// A path, how it is shown, and how far it may lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownPath {
    /// To open.
    pub path: PathBuf,
    /// To print.
    pub label: String,
    /// The folder that it must lie in, links followed.
    pub beneath: Option<PathBuf>,
}

impl ShownPath {
    /// A path that the caller names: it may lead anywhere.
    pub fn named(path: &Path) -> Self {
        Self { path: path.to_owned(), label: path.display().to_string(), beneath: None }
    }

    /// The file as it is now, to know whether it is still the one that was read;
    /// none where it cannot be looked at.
    pub fn stamp(&self) -> Option<Stamp> {
        std::fs::metadata(&self.path).ok().as_ref().map(Stamp::of)
    }

    /// The bytes of the file, if it is where it may be, and what it was when it was
    /// opened. They need not be text.
    ///
    /// # Errors
    /// [`FileFault`], as [`Self::read`] gives it.
    pub fn read_bytes(&self, limit: u64) -> Result<(Vec<u8>, Metadata), FileFault> {
        match &self.beneath {
            None => read_open(&self.path, limit),
            Some(folder) => read_open(&Pinned::beneath(&self.path, folder)?.path(), limit),
        }
    }

    /// Reads the file, if it is where it may be.
    ///
    /// # Errors
    /// [`FileFault`], as [`read_text_beneath`] gives it.
    pub fn read(&self, limit: u64) -> Result<FileText, FileFault> {
        read_text_beneath(&self.path, limit, self.beneath.as_deref())
    }
}

/// Why a file was not read. Value-free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFault {
    /// Nothing has this name.
    NotFound,
    /// The file, or a directory above it, is closed to this process.
    PermissionDenied,
    /// It lies outside the folder to which the caller is confined.
    Outside,
    /// It is a directory.
    IsDirectory,
    /// It is neither a regular file nor a directory.
    Special(SpecialFile),
    /// It has more bytes than the limit.
    TooLarge {
        /// Its size in bytes, where it was known before reading.
        size: Option<u64>,
        /// The limit in bytes.
        limit: u64,
    },
    /// It is not UTF-8; the span is of the first byte that is not.
    NotUtf8(Span),
    /// It begins with a UTF-16 byte order mark.
    Utf16,
    /// The operating system failed otherwise.
    Io(io::ErrorKind),
}

/// What a special file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialFile {
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A block or character device.
    Device,
}

impl SpecialFile {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::Device => "a device",
        }
    }
}

/// Reads a regular file of at most `limit` bytes as UTF-8.
///
/// Follows symbolic links. Never blocks on a FIFO: the descriptor is opened with
/// `O_NONBLOCK` and looked at before the first read. The null device is empty:
/// `--env-file /dev/null` is how people say 'none'.
///
/// # Errors
/// [`FileFault`], which [`FileFault::at`] turns into a source's fault.
pub fn read_text(path: &Path, limit: u64) -> Result<FileText, FileFault> {
    let (bytes, metadata) = read_open(path, limit)?;
    let is_null = !metadata.is_file();
    Ok(FileText {
        text: decode(bytes)?,
        mode: metadata.mode() & 0o7777,
        modified: metadata.modified().ok().filter(|_| !is_null),
        stamp: Stamp::of(&metadata),
    })
}

/// A file's bytes, and what it was when it was opened. The null device has none.
fn read_open(path: &Path, limit: u64) -> Result<(Vec<u8>, Metadata), FileFault> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .map_err(|error| FileFault::from_open(&error))?;
    let metadata = file.metadata().map_err(|error| FileFault::Io(error.kind()))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(FileFault::IsDirectory);
    }
    if kind.is_fifo() {
        return Err(FileFault::Special(SpecialFile::Fifo));
    }
    if kind.is_socket() {
        return Err(FileFault::Special(SpecialFile::Socket));
    }
    if kind.is_char_device() && metadata.rdev() == makedev(1, 3) {
        return Ok((Vec::new(), metadata));
    }
    if !kind.is_file() {
        return Err(FileFault::Special(SpecialFile::Device));
    }
    if metadata.len() > limit {
        return Err(FileFault::TooLarge { size: Some(metadata.len()), limit });
    }
    let bytes = read_all(&file, metadata.len(), limit)?;
    Ok((bytes, metadata))
}

/// [`read_text`]; with a folder, only of what lies in it once every link is
/// followed.
///
/// # Errors
/// [`FileFault::Outside`], and those of [`read_text`].
pub fn read_text_beneath(path: &Path, limit: u64, beneath: Option<&Path>) -> Result<FileText, FileFault> {
    match beneath {
        None => read_text(path, limit),
        Some(folder) => read_text(&Pinned::beneath(path, folder)?.path(), limit),
    }
}

/// A file or directory that was seen to lie in a folder. It is held by a
/// descriptor (`O_PATH`, so nothing was opened for reading yet): whatever is
/// renamed or linked meanwhile, [`Pinned::path`] leads to this one.
#[derive(Debug)]
pub struct Pinned(File);

impl Pinned {
    /// Pins what `path` leads to, if that lies in `folder`.
    ///
    /// # Errors
    /// [`FileFault::Outside`], or why one of the two cannot be reached.
    pub fn beneath(path: &Path, folder: &Path) -> Result<Self, FileFault> {
        let pinned = Self::new(path)?;
        let inside = pinned.real_path()?.starts_with(Self::new(folder)?.real_path()?);
        if inside { Ok(pinned) } else { Err(FileFault::Outside) }
    }

    fn new(path: &Path) -> Result<Self, FileFault> {
        let opened = File::options().read(true).custom_flags(OFlag::O_PATH.bits()).open(path);
        opened.map(Self).map_err(|error| FileFault::from_open(&error))
    }

    /// A path that leads to it for as long as it is pinned.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    /// Where the kernel says that it is.
    fn real_path(&self) -> Result<PathBuf, FileFault> {
        std::fs::read_link(self.path()).map_err(|error| FileFault::Io(error.kind()))
    }
}

/// The text without the byte order mark that some editors put before it.
pub fn strip_bom(text: &str) -> &str {
    text.strip_prefix(UTF8_BOM).unwrap_or(text)
}

/// Reads to the end. The buffer has one byte more than the size that was seen,
/// so that the usual file fills it in one read and the next one says 'end'; a
/// file that grows meanwhile is read on, to the limit.
fn read_all(mut file: &File, size: u64, limit: u64) -> Result<Vec<u8>, FileFault> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let expected = usize::try_from(size).unwrap_or(usize::MAX);
    let first = if expected == 0 { UNKNOWN_SIZE } else { expected.saturating_add(1) };
    let mut buffer = vec![0_u8; first.min(most)];
    let mut filled = 0;
    loop {
        if filled == buffer.len() {
            if filled == most {
                return Err(FileFault::TooLarge { size: None, limit });
            }
            buffer.resize(filled.saturating_mul(2).clamp(1, most), 0);
        }
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileFault::Io(error.kind())),
        }
    }
    buffer.truncate(filled);
    Ok(buffer)
}

fn decode(bytes: Vec<u8>) -> Result<String, FileFault> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(FileFault::Utf16);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        FileFault::NotUtf8(end_of(std::str::from_utf8(valid).unwrap_or_default()))
    })
}

/// The place just behind a text.
fn end_of(text: &str) -> Span {
    let text = strip_bom(text);
    let lines = text.bytes().filter(|&byte| byte == b'\n').count();
    let last = text.rsplit('\n').next().unwrap_or_default();
    Span {
        line: u32::try_from(lines).unwrap_or(u32::MAX).saturating_add(1),
        column: u32::try_from(last.chars().count()).unwrap_or(u32::MAX).saturating_add(1),
    }
}

impl FileFault {
    /// What opening failed with.
    pub(super) fn from_open(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied => Self::PermissionDenied,
            // A socket cannot be opened at all, and Linux says so with ENXIO.
            _ if error.raw_os_error() == Some(nix::libc::ENXIO) => Self::Special(SpecialFile::Socket),
            kind => Self::Io(kind),
        }
    }

    /// This fault as a source reports it, of the file at `path` (as the user
    /// wrote it), which the settings could have excused.
    pub fn at_source(self, path: &Arc<str>) -> Fault {
        let fault = self.at(path);
        match self {
            Self::NotFound => Fault {
                help: "create it, correct its path, or mark the source `optional = true`".to_owned(),
                ..fault
            },
            _ => fault,
        }
    }

    /// This fault, of the file at `path` (as the user wrote it).
    pub fn at(self, path: &Arc<str>) -> Fault {
        let (kind, message, help) = match self {
            Self::NotFound => (
                FaultKind::Unreachable,
                format!("there is no file {path}"),
                "create it, or correct the path".to_owned(),
            ),
            Self::Outside => (
                FaultKind::NotPermitted,
                format!(
                    "{path} leads outside the folder of the settings, which were found, not named: it is not \
                     read"
                ),
                "if you trust them, say so: --config FILE".to_owned(),
            ),
            Self::PermissionDenied => (
                FaultKind::NotPermitted,
                format!("this process may not read {path}"),
                "let its user read the file and search the directories above it (`namei -l` shows which \
                 one refuses)"
                    .to_owned(),
            ),
            Self::IsDirectory => (
                FaultKind::Unreachable,
                format!("{path} is a directory, not a file"),
                "name a file; a folder with one file a variable is a source of type \"directory\"".to_owned(),
            ),
            Self::Special(special) => (
                FaultKind::Unreachable,
                format!("{path} is {}, not a regular file", special.as_str()),
                "name a regular file".to_owned(),
            ),
            Self::TooLarge { size, limit } => (
                FaultKind::Unreachable,
                match size {
                    Some(size) => format!("{path} has {size} bytes, more than the {limit} that are read"),
                    None => format!("{path} has more than the {limit} bytes that are read"),
                },
                "see whether the path is right: a configuration is never that large".to_owned(),
            ),
            Self::NotUtf8(_) => (
                FaultKind::Malformed,
                "a byte is not UTF-8".to_owned(),
                "save the file as UTF-8; binary values belong into base64".to_owned(),
            ),
            Self::Utf16 => (
                FaultKind::Malformed,
                format!("{path} is saved as UTF-16, as Windows Notepad and PowerShell do"),
                "save it as UTF-8".to_owned(),
            ),
            Self::Io(kind) => (
                FaultKind::Unreachable,
                format!("{path} could not be read: {kind}"),
                "see whether the path and the file system are in order".to_owned(),
            ),
        };
        let at = match self {
            Self::NotUtf8(span) => Some(span),
            _ => None,
        };
        Fault { kind, location: Location::File { path: path.clone(), at }, message, help }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;

    use super::*;

    /// A file with this content; the folder lives as long as the guard.
    #[allow(clippy::disallowed_methods, reason = "a test's own file")]
    fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn fault(content: &[u8], limit: u64) -> FileFault {
        let (_folder, path) = file(content);
        read_text(&path, limit).unwrap_err()
    }

    #[test]
    fn text_mode_and_time_are_read() {
        let (_folder, path) = file("A=1\nB=ü\n".as_bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let read = read_text(&path, TEXT_LIMIT).unwrap();
        assert_eq!(read.text, "A=1\nB=ü\n");
        assert_eq!(read.mode, 0o640);
        assert!(read.modified.is_some());
        assert_eq!(format!("{read:?}"), "FileText(9 bytes, 640)");
    }

    #[test]
    fn empty_files_and_files_of_unknown_size_are_read() {
        let (_folder, path) = file(b"");
        assert_eq!(read_text(&path, TEXT_LIMIT).unwrap().text, "");
        assert!(!read_text(Path::new("/proc/self/status"), TEXT_LIMIT).unwrap().text.is_empty());
        let limit = FileFault::TooLarge { size: None, limit: 10 };
        assert_eq!(read_text(Path::new("/proc/self/status"), 10).unwrap_err(), limit);
    }

    #[test]
    fn the_limit_is_inclusive() {
        let (_folder, path) = file(b"12345");
        assert_eq!(read_text(&path, 5).unwrap().text, "12345");
        assert_eq!(fault(b"123456", 5), FileFault::TooLarge { size: Some(6), limit: 5 });
    }

    #[test]
    fn other_encodings_are_named_with_their_place() {
        assert_eq!(fault(b"A=1\nB=\xc3\xbc\xff", 99), FileFault::NotUtf8(Span { line: 2, column: 4 }));
        assert_eq!(fault(b"\xef\xbb\xbfA\xff", 99), FileFault::NotUtf8(Span { line: 1, column: 2 }));
        assert_eq!(fault(b"\xff\xfeA\0=\0", 99), FileFault::Utf16);
        assert_eq!(fault(b"\xfe\xff\0A\0=", 99), FileFault::Utf16);
    }

    #[test]
    fn what_is_no_file_is_named_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, socket) = (folder.path().join("fifo"), folder.path().join("socket"));
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let special = |path: &Path| read_text(path, 99).unwrap_err();
        assert_eq!(special(&fifo), FileFault::Special(SpecialFile::Fifo));
        assert_eq!(special(&socket), FileFault::Special(SpecialFile::Socket));
        assert_eq!(special(Path::new("/dev/zero")), FileFault::Special(SpecialFile::Device));
        assert_eq!(read_text(Path::new("/dev/null"), 0).unwrap().text, "");
        assert_eq!(special(folder.path()), FileFault::IsDirectory);
        assert_eq!(special(&folder.path().join("none")), FileFault::NotFound);
    }

    #[test]
    fn a_link_leads_no_further_than_the_folder() {
        let (outer, _) = file(b"outside");
        let folder = outer.path().join("inner");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::copy(outer.path().join("file"), folder.join("own")).unwrap();
        let link = |target: &Path, name: &str| symlink(target, folder.join(name)).unwrap();
        link(Path::new("own"), "relative");
        link(&folder.join("own"), "absolute");
        link(Path::new("sub/../own"), "up-and-down");
        link(Path::new("../file"), "out");
        link(Path::new("sub"), "again");
        link(Path::new("/proc/self/cwd"), "magic");
        link(Path::new("/dev/null"), "null");
        link(Path::new("nowhere"), "dangling");
        let read =
            |name: &str| read_text_beneath(&folder.join(name), 99, Some(&folder)).map(|file| file.text);
        for inside in ["own", "relative", "absolute", "up-and-down", "again/../own"] {
            assert_eq!(read(inside).unwrap(), "outside", "{inside}");
        }
        for outside in ["out", "../file", "sub/../out", "magic", "null"] {
            assert_eq!(read(outside).unwrap_err(), FileFault::Outside, "{outside}");
        }
        assert_eq!(read("dangling").unwrap_err(), FileFault::NotFound);
        assert_eq!(read("sub").unwrap_err(), FileFault::IsDirectory);
        assert_eq!(read_text_beneath(&folder.join("out"), 99, None).unwrap().text, "outside");
    }

    #[test]
    fn what_is_pinned_cannot_be_exchanged() {
        let (folder, path) = file(b"pinned");
        let pinned = Pinned::beneath(&path, folder.path()).unwrap();
        fs::rename(&path, folder.path().join("away")).unwrap();
        symlink("/etc/passwd", &path).unwrap();
        assert_eq!(read_text(&pinned.path(), 99).unwrap().text, "pinned");
        assert_eq!(Pinned::beneath(&path, folder.path()).unwrap_err(), FileFault::Outside);
    }

    #[test]
    fn a_closed_file_is_not_permitted() {
        let error = io::Error::from(io::ErrorKind::PermissionDenied);
        let fault = FileFault::from_open(&error).at(&Arc::from(".env"));
        assert_eq!(fault.kind, FaultKind::NotPermitted);
        assert_eq!(fault.location.to_string(), ".env");
    }
}
