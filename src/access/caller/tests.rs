use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::unit;
use super::{Caller, Process, Program};

/// A process that may end while it is looked at.
#[derive(Debug, Default, Clone)]
struct Staged {
    ends_at_look: bool,
    ended: Arc<AtomicBool>,
    looks: Arc<AtomicUsize>,
}

impl Process for Staged {
    fn program(&self) -> Program {
        self.looks.fetch_add(1, Ordering::Relaxed);
        if self.ends_at_look {
            self.ended.store(true, Ordering::Relaxed);
            // Its number is another's by now.
            return Program { exe: Some("/usr/bin/trusted".into()), unit: Some("trusted.service".into()) };
        }
        Program { exe: Some("/usr/bin/api".into()), unit: Some("api.service".into()) }
    }

    fn is_alive(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }
}

fn caller(staged: &Staged) -> Caller {
    Caller::new(1000, 100, vec![7], Some(Box::new(staged.clone())))
}

#[test]
fn the_program_is_looked_for_where_it_matters_and_once() {
    let staged = Staged::default();
    let caller = caller(&staged);
    assert!(caller.facts(false).program.is_none());
    assert_eq!((staged.looks.load(Ordering::Relaxed), caller.known_program()), (0, None));
    for _ in 0..3 {
        let facts = caller.facts(true);
        assert_eq!((facts.uid, facts.gid, facts.groups), (1000, 100, &[7][..]));
        assert_eq!(facts.program.unwrap().unit.as_deref(), Some("api.service"));
    }
    assert_eq!(staged.looks.load(Ordering::Relaxed), 1);
    assert!(caller.known_program().is_some());
}

#[test]
fn who_ended_while_looked_at_has_no_program() {
    let staged = Staged { ends_at_look: true, ..Staged::default() };
    let caller = caller(&staged);
    assert!(caller.facts(true).program.is_none(), "another's program, by the number alone");
    assert!(caller.facts(true).program.is_none());
    // What was not confirmed is told nobody, the audit included.
    assert_eq!(caller.known_program(), None);
}

#[test]
fn who_ended_later_has_no_program_any_more() {
    let staged = Staged::default();
    let caller = caller(&staged);
    assert!(caller.facts(true).program.is_some());
    staged.ended.store(true, Ordering::Relaxed);
    assert!(caller.facts(true).program.is_none());
}

#[test]
fn of_another_namespace_nothing_but_user_and_groups_is_known() {
    let caller = Caller::without_program(1000, 100, vec![7]);
    assert!(caller.facts(true).program.is_none() && caller.pid().is_none());
    assert_eq!(caller.facts(true).groups, [7]);
}

#[test]
fn the_kernel_says_who_connected() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let caller = Caller::of(&ours).unwrap();
    assert_eq!(caller.uid(), nix::unistd::geteuid().as_raw());
    assert_eq!(caller.gid(), nix::unistd::getegid().as_raw());
    assert_eq!(caller.pid(), Some(nix::unistd::getpid().as_raw()));
    let mut groups: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|gid| gid.as_raw()).collect();
    let mut told = caller.facts(false).groups.to_vec();
    groups.sort_unstable();
    told.sort_unstable();
    assert_eq!(told, groups);
    let exe = caller.facts(true).program.expect("Linux 6.5 or newer").exe.clone();
    assert_eq!(exe, Some(std::env::current_exe().unwrap()));
    drop(theirs);
    assert!(Caller::of(&std::fs::File::open("/dev/null").unwrap()).is_err());
}

#[test]
fn a_unit_is_what_systemd_takes_it_for() {
    let long = format!("0::/{}.service\n", "x".repeat(248));
    for (cgroup, expected) in [
        ("0::/system.slice/api.service\n", Some("api.service")),
        ("0::/system.slice/system-getty.slice/getty@tty1.service\n", Some("getty@tty1.service")),
        ("0::/api.service\n", Some("api.service")),
        ("0::/init.scope\n", Some("init.scope")),
        // What is below a unit is its own affair.
        ("0::/system.slice/api.service/other.service\n", Some("api.service")),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/api.service\n",
            Some("user@1000.service"),
        ),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", Some("session-2.scope")),
        ("0::/system.slice/_cpu.service\n", Some("cpu.service")),
        ("0::/_system.slice/api.service\n", Some("api.service")),
        ("0::/system.slice/docker-0a1b.scope\n", Some("docker-0a1b.scope")),
        // The first version, alone and beside the second.
        ("12:cpu,cpuacct:/x.service\n1:name=systemd:/system.slice/api.service\n", Some("api.service")),
        ("1:name=systemd:/system.slice/api.service\n0::/\n", Some("api.service")),
        ("1:name=systemd:/system.slice/old.service\n0::/system.slice/api.service\n", Some("api.service")),
        ("3:cpu:/a::b\n0::/system.slice/api.service\n", Some("api.service")),
        // None.
        ("0::/\n", None),
        ("0::/system.slice\n", None),
        ("0::/docker/0a1b/api.service\n", None),
        ("0::/../api.service\n", None),
        ("0::/system.slice/api\n", None),
        ("0::/system.slice/.service\n", None),
        ("0::/system.slice/api@.service\n", None),
        ("0::/system.slice/@x.service\n", None),
        ("0::/system.slice/a b.service\n", None),
        ("0::/system.slice/api.service (deleted)\n", None),
        ("12:cpu:/system.slice/api.service\n", None),
        ("1:name=other:/system.slice/api.service\n", None),
        ("0::system.slice/api.service\n", None),
        (&long, None),
        ("", None),
    ] {
        assert_eq!(unit::of(cgroup.as_bytes()).as_deref(), expected, "{cgroup}");
    }
    assert_eq!(unit::of(b"0::/\xff.service\n"), None);
}
