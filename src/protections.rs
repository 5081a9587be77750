//! What protects this process, as the kernel says it: nothing is assumed from
//! what was asked for at the start (`process.rs`).
//!
//! Owns: reading the facts back ([`Facts::read`]) and what they mean
//! ([`judge`], pure). Invariant: it changes nothing.
//! Must not know: values, settings, who asks.

use std::fmt;
use std::hint::black_box;
use std::io::IoSliceMut;
use std::str::FromStr;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, Uid};

/// A protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// The kernel writes no core file.
    CoreDumps,
    /// Other processes of the same user cannot look into this one.
    Ptrace,
    /// Memory is wiped when it is freed.
    WipedMemory,
    /// The process is not root's.
    Unprivileged,
    /// Nothing that it becomes can gain rights.
    NoNewPrivileges,
}

impl Name {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 5] =
        [Self::CoreDumps, Self::Ptrace, Self::WipedMemory, Self::Unprivileged, Self::NoNewPrivileges];

    /// As options and outputs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CoreDumps => "core-dumps",
            Self::Ptrace => "ptrace",
            Self::WipedMemory => "wiped-memory",
            Self::Unprivileged => "unprivileged",
            Self::NoNewPrivileges => "no-new-privileges",
        }
    }

    /// Whether dlconf itself sees to it, wherever it runs. The others are the
    /// caller's to choose.
    pub fn is_own(self) -> bool {
        matches!(self, Self::CoreDumps | Self::Ptrace | Self::WipedMemory)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No protection has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no protection has this name")]
pub struct UnknownName;

impl FromStr for Name {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or(UnknownName)
    }
}

/// How far a protection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It holds.
    InForce,
    /// It holds against some.
    Degraded,
    /// It does not hold.
    Off,
}

/// A protection, and how far it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// Which.
    pub name: Name,
    /// How far.
    pub force: Force,
    /// Why, as a clause.
    pub detail: String,
    /// What to do, where it does not hold in full.
    pub help: Option<&'static str>,
}

/// What the kernel says of this process. `None` where it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whether it may be dumped, and looked into by its own user.
    pub dumpable: Option<bool>,
    /// The soft limit of a core file, in bytes.
    pub core_limit: Option<u64>,
    /// Whether cores are piped into a program, for which no limit holds.
    pub core_is_piped: bool,
    /// `kernel.yama.ptrace_scope`; none also where there is no Yama.
    pub ptrace_scope: Option<u8>,
    /// Whether a program that it becomes can gain no rights.
    pub no_new_privileges: Option<bool>,
    /// The effective user.
    pub user: u32,
    /// Whether a block was seen wiped after it was freed.
    pub wiped: Option<bool>,
}

impl Facts {
    /// Asks the kernel.
    pub fn read() -> Self {
        let sysctl = |path| std::fs::read_to_string(path).ok();
        Self {
            dumpable: prctl::get_dumpable().ok(),
            core_limit: getrlimit(Resource::RLIMIT_CORE).ok().map(|(soft, _)| soft),
            // What cannot be seen may be a pipe.
            core_is_piped: sysctl("/proc/sys/kernel/core_pattern").is_none_or(|text| text.starts_with('|')),
            ptrace_scope: sysctl("/proc/sys/kernel/yama/ptrace_scope").and_then(|t| t.trim().parse().ok()),
            no_new_privileges: prctl::get_no_new_privs().ok(),
            user: Uid::effective().as_raw(),
            wiped: freed_memory_is_wiped(),
        }
    }
}

/// Frees a block and looks at what is there then. The kernel looks for us: a
/// freed block is none of this program's business, and by this way it may also
/// be gone.
fn freed_memory_is_wiped() -> Option<bool> {
    /// Small enough to stay with the allocator, which gives large blocks back.
    const BLOCK: usize = 512;
    /// The head of a freed block is the allocator's.
    const HEAD: usize = 64;
    const MARK: u8 = 0xa5;
    let block = black_box(vec![MARK; BLOCK]);
    let base = block.as_ptr().addr() + HEAD;
    drop(block);
    let mut seen = [0; BLOCK - HEAD];
    let remote = [RemoteIoVec { base, len: seen.len() }];
    let read = process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut seen)], &remote).ok()?;
    (read == seen.len()).then(|| !seen.contains(&MARK))
}

/// What the facts mean, one of each [`Name::ALL`].
pub fn judge(facts: &Facts) -> Vec<Protection> {
    let all = Name::ALL.into_iter();
    all.map(|name| {
        let (force, detail, help) = match name {
            Name::CoreDumps => core_dumps(facts),
            Name::Ptrace => ptrace(facts),
            Name::WipedMemory => wiped_memory(facts),
            Name::Unprivileged => unprivileged(facts),
            Name::NoNewPrivileges => no_new_privileges(facts),
        };
        Protection { name, force, detail, help: Some(help).filter(|_| force != Force::InForce) }
    })
    .collect()
}

type Judged = (Force, String, &'static str);

const ALLOW_PRCTL: &str = "dlconf asks for it at its start: let the sandbox allow prctl(PR_SET_DUMPABLE)";

fn core_dumps(facts: &Facts) -> Judged {
    let limit = match facts.core_limit {
        Some(u64::MAX) => "the limit is infinite".to_owned(),
        Some(limit) => format!("the limit is {limit}"),
        None => "the limit is unknown".to_owned(),
    };
    let (force, detail) = match (facts.dumpable, facts.core_limit, facts.core_is_piped) {
        (Some(false), ..) => (Force::InForce, format!("the process is not dumpable; {limit}")),
        (_, Some(0), false) => (Force::Degraded, format!("only {limit}: the process is dumpable")),
        (_, Some(0), true) => {
            (Force::Off, format!("the process is dumpable; {limit}, which does not hold for a piped core"))
        }
        _ => (Force::Off, format!("the process is dumpable; {limit}")),
    };
    (force, detail, ALLOW_PRCTL)
}

fn ptrace(facts: &Facts) -> Judged {
    let yama = facts.ptrace_scope.map_or_else(
        || "this kernel has no Yama".to_owned(),
        |scope| format!("Yama's ptrace_scope is {scope}"),
    );
    let root = facts.user == 0;
    match (facts.dumpable, facts.ptrace_scope) {
        (Some(false), _) if !root => {
            (Force::InForce, format!("closed to other processes of this user; {yama}"), "")
        }
        (Some(false), _) => (
            Force::Degraded,
            format!("it runs as root, and processes of root may look into it; {yama}"),
            "run it as a user of its own",
        ),
        (_, Some(1..)) => (Force::Degraded, format!("the process is dumpable; {yama}"), ALLOW_PRCTL),
        _ => (Force::Off, format!("the process is dumpable; {yama}"), ALLOW_PRCTL),
    }
}

fn wiped_memory(facts: &Facts) -> Judged {
    match facts.wiped {
        Some(true) => (Force::InForce, "a freed block was read back and is wiped".into(), ""),
        Some(false) => (
            Force::Off,
            "a freed block was read back and is not wiped".into(),
            "use the released program, which has the wiping allocator",
        ),
        None => (
            Force::Degraded,
            "it is built in, but the kernel does not let it be seen".into(),
            "let the sandbox allow process_vm_readv on the process itself",
        ),
    }
}

fn unprivileged(facts: &Facts) -> Judged {
    match facts.user {
        0 => (Force::Off, "the process runs as root".into(), "run it as a user of its own"),
        user => (Force::InForce, format!("the process runs as user {user}"), ""),
    }
}

fn no_new_privileges(facts: &Facts) -> Judged {
    let help =
        "setpriv --no-new-privs; NoNewPrivileges=yes in a unit; allowPrivilegeEscalation: false in a pod";
    match facts.no_new_privileges {
        Some(true) => (Force::InForce, "set: no set-user-ID program gains rights".into(), help),
        Some(false) => {
            (Force::Off, "not set: a set-user-ID program that it starts gains rights".into(), help)
        }
        None => (Force::Off, "the kernel does not say".into(), help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As after a start on an ordinary machine.
    const GOOD: Facts = Facts {
        dumpable: Some(false),
        core_limit: Some(0),
        core_is_piped: true,
        ptrace_scope: Some(1),
        no_new_privileges: Some(true),
        user: 1000,
        wiped: Some(true),
    };

    #[track_caller]
    fn check(facts: Facts, name: Name, force: Force, says: &str) {
        let protection = judge(&facts).into_iter().find(|p| p.name == name).unwrap();
        assert_eq!(protection.force, force, "{}", protection.detail);
        assert!(protection.detail.contains(says), "{}", protection.detail);
        assert_eq!(protection.help.is_none(), force == Force::InForce, "{:?}", protection.help);
        assert_ne!(protection.help, Some(""), "{name}");
    }

    #[test]
    fn all_is_in_force_on_an_ordinary_machine() {
        assert!(judge(&GOOD).iter().all(|p| p.force == Force::InForce), "{:?}", judge(&GOOD));
    }

    #[test]
    fn a_limit_is_less_than_not_being_dumpable() {
        let open = Facts { dumpable: Some(true), ..GOOD };
        check(Facts { core_limit: None, ..GOOD }, Name::CoreDumps, Force::InForce, "unknown");
        check(open, Name::CoreDumps, Force::Off, "piped");
        check(Facts { core_is_piped: false, ..open }, Name::CoreDumps, Force::Degraded, "only the limit");
        check(Facts { core_limit: Some(u64::MAX), ..open }, Name::CoreDumps, Force::Off, "infinite");
        check(Facts { dumpable: None, core_limit: Some(5), ..GOOD }, Name::CoreDumps, Force::Off, "is 5");
    }

    #[test]
    fn whoever_may_look_in_is_said() {
        let open = Facts { dumpable: Some(true), ..GOOD };
        check(open, Name::Ptrace, Force::Degraded, "ptrace_scope is 1");
        check(Facts { ptrace_scope: Some(0), ..open }, Name::Ptrace, Force::Off, "ptrace_scope is 0");
        check(Facts { ptrace_scope: None, ..open }, Name::Ptrace, Force::Off, "no Yama");
        check(Facts { user: 0, ..GOOD }, Name::Ptrace, Force::Degraded, "root");
        check(Facts { user: 0, ptrace_scope: None, ..open }, Name::Ptrace, Force::Off, "dumpable");
    }

    #[test]
    fn the_rest_follows_its_fact() {
        check(Facts { user: 0, ..GOOD }, Name::Unprivileged, Force::Off, "root");
        check(GOOD, Name::Unprivileged, Force::InForce, "1000");
        check(Facts { wiped: Some(false), ..GOOD }, Name::WipedMemory, Force::Off, "not wiped");
        check(Facts { wiped: None, ..GOOD }, Name::WipedMemory, Force::Degraded, "seen");
        check(Facts { no_new_privileges: Some(false), ..GOOD }, Name::NoNewPrivileges, Force::Off, "not set");
        check(Facts { no_new_privileges: None, ..GOOD }, Name::NoNewPrivileges, Force::Off, "does not say");
    }

    #[test]
    fn memory_that_is_not_wiped_is_seen() {
        // The tests of the library run with the system's allocator; tests/it asks
        // the program.
        assert_eq!(freed_memory_is_wiped(), Some(false));
    }
}
