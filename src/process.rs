//! This process: hardening at the start, becoming another program at the end.
//!
//! Owns: what the kernel is asked to do to this process. Invariants: hardening
//! runs before any thread and before any value is read; what it changed that a
//! child would inherit is put back before the child runs; a panic says where,
//! never with what.
//! Must not know: values' meaning.

#![allow(unsafe_code, reason = "one sigaction before the runtime; see SIGPIPE_AT_START")]

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Whether SIGPIPE was ignored when this process was started. Rust's runtime
/// sets it to ignored before `main`, so it has to be looked at before that: a
/// program that we become must find it as a bare exec would have left it
/// (systemd starts services with it ignored, a shell does not).
static SIGPIPE_IGNORED_AT_START: AtomicBool = AtomicBool::new(false);

extern "C" fn look_at_sigpipe() {
    // SAFETY: `sigaction` is valid for a zeroed, writable struct, and with a
    // null action it changes nothing. No allocation, no Rust runtime needed.
    let ignored = unsafe {
        let mut current: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut current) == 0
            && current.sa_sigaction == libc::SIG_IGN
    };
    SIGPIPE_IGNORED_AT_START.store(ignored, Ordering::Relaxed);
}

// SAFETY: the loader calls each pointer of this section once, before `main`;
// the function takes no arguments it reads and returns nothing.
#[used]
#[unsafe(link_section = ".init_array")]
static SIGPIPE_AT_START: extern "C" fn() = look_at_sigpipe;

/// What hardening changed and a child must get back.
#[derive(Debug, Clone, Copy)]
pub struct Hardened {
    core_limit: Option<(u64, u64)>,
}

/// Makes this process hard to look into: no core file, no debugger of the same
/// user, `/proc/self` closed to others. To be called first in `main`, before
/// any thread and any value.
///
/// Failures are not fatal here: a sandbox may forbid the calls; `doctor`
/// reports what is in force.
pub fn harden() -> Hardened {
    std::panic::set_hook(Box::new(|panic| {
        // The payload may quote a value (a slice error prints the text), so
        // only the place is said.
        let place = panic.location().map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
        let text = format!("dlconf: internal error{place}; please report it with the command you ran\n");
        let _closed = std::io::stderr().lock().write_all(text.as_bytes());
    }));
    let _unsupported = nix::sys::prctl::set_dumpable(false);
    let core_limit = getrlimit(Resource::RLIMIT_CORE).ok();
    if let Some((_, hard)) = core_limit {
        let _forbidden = setrlimit(Resource::RLIMIT_CORE, 0, hard);
    }
    Hardened { core_limit }
}

/// Why this process could not become another program.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// Nothing has this name (exit 127).
    #[error("{program}: command not found")]
    NotFound {
        /// As the user wrote it.
        program: String,
    },
    /// It is there but cannot be run (exit 126).
    #[error("{program}: {reason}")]
    NotExecutable {
        /// As the user wrote it.
        program: String,
        /// The kernel's answer.
        reason: String,
    },
    /// An argument or a variable cannot be passed (exit 125).
    #[error("{what} holds a NUL byte, which no process can be given")]
    Nul {
        /// The argument's position or the variable's name.
        what: String,
    },
    /// The environment and arguments are more than the kernel takes (exit 125).
    #[error("the environment and arguments together are larger than this system lets a process have")]
    TooLarge,
}

impl ExecError {
    /// The exit code that shells and `env` give for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Nul { .. } | Self::TooLarge => 125,
        }
    }
}

/// Becomes another program. Its limits, its signal mask and its disposition of
/// SIGPIPE are what they would have been without us; its environment is exactly
/// `environment`. The program is looked for in our own `PATH`.
///
/// # Errors
/// [`ExecError`]; on success it does not return.
pub fn become_program(
    hardened: Hardened,
    argv: &[OsString],
    environment: &[(OsString, OsString)],
) -> Result<Infallible, ExecError> {
    let program = argv.first().map(OsString::as_os_str).unwrap_or_default();
    let mut arguments = Vec::with_capacity(argv.len());
    for (i, argument) in argv.iter().enumerate() {
        arguments.push(c_string(argument.as_bytes(), || format!("argument {i}"))?);
    }
    let mut variables = Vec::with_capacity(environment.len());
    for (name, value) in environment {
        let mut pair = Vec::with_capacity(name.len() + value.len() + 2);
        pair.extend_from_slice(name.as_bytes());
        pair.push(b'=');
        pair.extend_from_slice(value.as_bytes());
        variables.push(c_string(pair, || name.to_string_lossy().into_owned())?);
    }
    hand_back(hardened);
    let mut denied = None;
    for candidate in candidates(program) {
        let Ok(path) = CString::new(candidate.into_os_string().into_vec()) else { continue };
        match nix::unistd::execve(&path, &arguments, &variables) {
            // A script that is there but whose interpreter is not gives ENOENT too.
            Err(Errno::ENOENT) if exists(&path) => {
                denied = denied.or(Some("the interpreter in its first line is not there"));
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(Errno::E2BIG) => return Err(ExecError::TooLarge),
            Err(Errno::ENOEXEC) => {
                denied = denied.or(Some("it is no program: a script begins with a line such as #!/bin/sh"));
            }
            Err(errno) => denied = denied.or(Some(errno.desc())),
            Ok(never) => return Ok(never),
        }
    }
    let program = program.to_string_lossy().into_owned();
    Err(match denied {
        None => ExecError::NotFound { program },
        Some(reason) => ExecError::NotExecutable { program, reason: reason.to_owned() },
    })
}

fn exists(path: &CString) -> bool {
    Path::new(OsStr::from_bytes(path.as_bytes())).exists()
}

fn c_string(bytes: impl Into<Vec<u8>>, what: impl FnOnce() -> String) -> Result<CString, ExecError> {
    CString::new(bytes).map_err(|_| ExecError::Nul { what: what() })
}

/// Where a command may be: itself if it has a slash, else along `PATH`, as
/// `execvp` looks. A directory in the path with the command's name is no command.
fn candidates(program: &OsStr) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![PathBuf::from(program)];
    }
    if program.is_empty() {
        return Vec::new();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/bin:/usr/bin".into());
    // An empty piece of the path is the working directory.
    std::env::split_paths(&path)
        .map(|folder| if folder.as_os_str().is_empty() { Path::new(".").into() } else { folder })
        .map(|folder: PathBuf| folder.join(program))
        .filter(|candidate| candidate.metadata().is_ok_and(|m| m.is_file()))
        .collect()
}

/// Puts back what a child would inherit. (exec itself makes it dumpable again.)
fn hand_back(hardened: Hardened) {
    if let Some((soft, hard)) = hardened.core_limit {
        let _unchanged = setrlimit(Resource::RLIMIT_CORE, soft, hard);
    }
    if !SIGPIPE_IGNORED_AT_START.load(Ordering::Relaxed) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: SIG_DFL runs no code of ours.
        let _previous = unsafe { sigaction(Signal::SIGPIPE, &default) };
    }
}
