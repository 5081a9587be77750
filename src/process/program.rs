//! Another program, with exactly the arguments and the environment it is given.
//!
//! Owns: where a command is looked for, and why it did not run.
//! Invariant: everything is allocated before; what runs right before `execve` may
//! run in a forked child too.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::ptr;

use nix::errno::Errno;
use nix::libc;

use super::{Hardened, hand_back};

/// Why another program does not run.
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
    /// An argument or a variable is longer than the kernel takes (exit 125).
    #[error("{what} is longer than the {longest} bytes that this system lets an argument or a variable have")]
    TooLong {
        /// The argument's position or the variable's name.
        what: String,
        /// How long it may be, with its name.
        longest: u64,
    },
    /// The environment and arguments are more than the kernel takes (exit 125).
    #[error("the environment and arguments together are larger than this system lets a process have")]
    TooLarge,
    /// There can be no other process beside this one (exit 125).
    #[error("no process could be started: {}", reason.desc())]
    NoProcess {
        /// The kernel's answer.
        reason: Errno,
    },
}

impl ExecError {
    /// The exit code that shells and `env` give for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } => 126,
            Self::Nul { .. } | Self::TooLong { .. } | Self::TooLarge | Self::NoProcess { .. } => 125,
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
    let program = Program::new(argv, environment)?;
    hand_back(hardened);
    let refusal = program.exec();
    Err(program.refused(refusal))
}

/// A command with what it is given, as `execve` wants it.
pub(super) struct Program {
    name: String,
    candidates: Vec<CString>,
    arguments: Strings,
    variables: Strings,
}

/// Strings with the array of pointers to them that C wants, which ends with null.
struct Strings {
    pointers: Vec<*const c_char>,
    /// What the pointers lead to: a `CString`'s bytes stay where they are when it
    /// is moved.
    _owned: Vec<CString>,
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        let pointers = owned.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _owned: owned }
    }
}

/// Why no candidate ran, in a form that fits through a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal(i32);

impl Refusal {
    /// Nothing has this name.
    const NOT_FOUND: Self = Self(0);
    /// It is a script, but its interpreter is not there.
    const NO_INTERPRETER: Self = Self(-1);

    pub(super) fn of(errno: Errno) -> Self {
        Self(errno as i32)
    }

    pub(super) fn to_bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(i32::from_ne_bytes(bytes))
    }
}

impl Program {
    pub(super) fn new(argv: &[OsString], environment: &[(OsString, OsString)]) -> Result<Self, ExecError> {
        let name = argv.first().map(OsString::as_os_str).unwrap_or_default();
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
        let candidates = candidates(name).into_iter();
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            candidates: candidates
                .filter_map(|path| CString::new(path.into_os_string().into_vec()).ok())
                .collect(),
            arguments: Strings::new(arguments),
            variables: Strings::new(variables),
        })
    }

    /// Runs the first candidate that can be run in place of this process; comes
    /// back only if there is none. Allocates nothing, takes no lock.
    pub(super) fn exec(&self) -> Refusal {
        let mut refusal = Refusal::NOT_FOUND;
        for candidate in &self.candidates {
            // SAFETY: the path and every string of the two arrays end with NUL, the
            // arrays end with null, and all of them live in `self`.
            unsafe {
                libc::execve(
                    candidate.as_ptr(),
                    self.arguments.pointers.as_ptr(),
                    self.variables.pointers.as_ptr(),
                );
            }
            let reason = match Errno::last() {
                // A script that is there but whose interpreter is not gives ENOENT too.
                // SAFETY: the path ends with NUL.
                Errno::ENOENT if unsafe { libc::access(candidate.as_ptr(), libc::F_OK) } == 0 => {
                    Refusal::NO_INTERPRETER
                }
                Errno::ENOENT | Errno::ENOTDIR => continue,
                Errno::E2BIG => return Refusal(libc::E2BIG),
                errno => Refusal::of(errno),
            };
            if refusal == Refusal::NOT_FOUND {
                refusal = reason;
            }
        }
        refusal
    }

    /// What a refusal means.
    pub(super) fn refused(&self, refusal: Refusal) -> ExecError {
        let program = self.name.clone();
        let reason = match refusal {
            Refusal::NOT_FOUND => return ExecError::NotFound { program },
            Refusal(libc::E2BIG) => return ExecError::TooLarge,
            Refusal::NO_INTERPRETER => "the interpreter in its first line is not there",
            Refusal(libc::ENOEXEC) => "it is no program: a script begins with a line such as #!/bin/sh",
            Refusal(errno) => Errno::from_raw(errno).desc(),
        };
        ExecError::NotExecutable { program, reason: reason.to_owned() }
    }
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
