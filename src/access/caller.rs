//! Who asks: what the kernel says of the process at the other end of a connection.
//!
//! Owns: the facts, and how long they hold. Invariants: user and groups are those
//! at the moment of connecting; of a process that is of another pid namespace,
//! whose end was seen, or that cannot be told from a later one of the same
//! number, no program is known.
//! Must not know: what is permitted to whom.
//!
//! Current limitations: the program is that of who connected, looked at when it
//! first mattered. While that process lives, whoever it gave the socket to passes
//! for it, and a program that it becomes later is not seen. So programs narrow what
//! users and groups are permitted, and never permit by themselves.

mod unit;

use std::fmt::Debug;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::process::peer;

/// One end of a connection over a Unix socket, as the kernel knows it.
#[derive(Debug)]
pub struct Caller {
    uid: u32,
    gid: u32,
    /// The supplementary groups.
    groups: Vec<u32>,
    pid: Option<i32>,
    /// Where its program can be seen; none where it cannot.
    process: Option<Box<dyn Process>>,
    /// Looked for once. What is in here was confirmed.
    program: OnceLock<Option<Program>>,
}

/// What runs in the process that connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file that it executes.
    pub exe: Option<PathBuf>,
    /// Its systemd unit.
    pub unit: Option<String>,
}

/// What a policy decides by.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: &'a [u32],
    /// What runs there; none where that cannot be told for certain.
    pub program: Option<&'a Program>,
}

/// How a process is looked at.
pub trait Process: Debug + Send + Sync {
    /// What runs under its number now, whosever that is by now.
    fn program(&self) -> Program;

    /// Whether it has not ended. Once it has, never again.
    fn is_alive(&self) -> bool;
}

impl Caller {
    /// Who connected to a Unix socket.
    ///
    /// # Errors
    /// The kernel's, where it is no connected Unix socket.
    pub fn of(socket: &impl AsFd) -> nix::Result<Self> {
        let peer::Credentials { uid, gid, pid } = peer::credentials(socket)?;
        let groups = peer::groups(socket).unwrap_or_default();
        // Without it (Linux before 6.5) nothing can be confirmed, so nothing is known.
        let lives = pid.and_then(|_| peer::process(socket).ok());
        let running = pid.zip(lives).map(|(pid, lives)| Box::new(Running { pid, lives }) as Box<dyn Process>);
        Ok(Self { pid, ..Self::new(uid, gid, groups, running) })
    }

    /// A caller whose process is looked at so; of whom no program is known without
    /// one.
    pub fn new(uid: u32, gid: u32, groups: Vec<u32>, process: Option<Box<dyn Process>>) -> Self {
        Self { uid, gid, groups, pid: None, process, program: OnceLock::new() }
    }

    /// A caller of whom no program can be known.
    pub fn without_program(uid: u32, gid: u32, groups: Vec<u32>) -> Self {
        Self::new(uid, gid, groups, None)
    }

    /// The user.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The process; none where it is of another pid namespace.
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// What runs there, as far as somebody has asked.
    pub fn known_program(&self) -> Option<&Program> {
        self.program.get().and_then(Option::as_ref)
    }

    /// What a policy decides by. The program is looked for only where that matters
    /// (`narrowed`), once a connection; that the process lives, each time.
    pub fn facts(&self, narrowed: bool) -> Facts<'_> {
        let program = if narrowed { self.program() } else { None };
        Facts { uid: self.uid, gid: self.gid, groups: &self.groups, program }
    }

    fn program(&self) -> Option<&Program> {
        let process = self.process.as_deref()?;
        let looked = self.program.get_or_init(|| {
            let program = process.program();
            // Afterwards: while it lives nobody else can have its number, so what was
            // seen was its own.
            process.is_alive().then_some(program)
        });
        looked.as_ref().filter(|_| process.is_alive())
    }
}

/// A process, by its number and by a descriptor that no other can take over.
#[derive(Debug)]
struct Running {
    pid: i32,
    lives: OwnedFd,
}

impl Process for Running {
    fn program(&self) -> Program {
        let groups = fs::read(format!("/proc/{}/cgroup", self.pid)).unwrap_or_default();
        Program { exe: exe(self.pid), unit: unit::of(&groups) }
    }

    fn is_alive(&self) -> bool {
        peer::is_alive(&self.lives)
    }
}

/// The file that a process executes, if it has that name here too: in a mount
/// namespace of its own anybody can give any name to any file.
fn exe(pid: i32) -> Option<PathBuf> {
    let link = format!("/proc/{pid}/exe");
    let path = fs::read_link(&link).ok()?;
    // What the kernel writes behind a name that was removed.
    if !path.is_absolute() || path.as_os_str().as_bytes().ends_with(b" (deleted)") {
        return None;
    }
    let (theirs, ours) = (fs::metadata(&link).ok()?, fs::symlink_metadata(&path).ok()?);
    ((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())).then_some(path)
}

#[cfg(test)]
mod tests;
