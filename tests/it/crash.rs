//! A delivery is killed at every system call that it makes, and every call that a
//! disk can fail is failed: readers see all old or all new.
//!
//! The child is a test of this binary (`child`), which delivers a new generation
//! over an old one while its parent decides what becomes of each call.

mod scenario;
mod tracer;

use std::fmt::Write as _;
use std::fs;

use nix::errno::Errno;
use nix::libc;

use crate::released::scratch;
use scenario::{CANARY, Kind, Scenario, Seen};
use tracer::{Fate, Run};

const CHILD: &str = "crash::child";

/// Delivers twice, and says what became of it. Only the first is watched.
#[test]
#[ignore = "the other tests run it, in a process of its own"]
#[allow(clippy::disallowed_methods, reason = "a test's own file")]
fn child() {
    let scenario = Scenario::given(&tracer::given().expect("runs as a child only"));
    let mut writer = scenario.writer(Seen::New);
    tracer::begin();
    let first = writer.write();
    tracer::end();
    let mut said = String::new();
    for outcome in [first, writer.write()] {
        match outcome {
            Ok(changed) => writeln!(said, "ok {changed}").unwrap(),
            Err(text) => writeln!(said, "error {text}").unwrap(),
        }
    }
    fs::write(scenario.report(), said).unwrap();
}

fn run(scenario: &Scenario, fate: impl FnMut(usize, i64) -> Fate, between: impl FnMut()) -> Run {
    let _none_yet = fs::remove_file(scenario.report());
    tracer::run(CHILD, scenario.folder(), fate, between)
}

/// What the child said of its first delivery and of its second.
fn said(scenario: &Scenario) -> (String, String) {
    let text = fs::read_to_string(scenario.report()).unwrap();
    let (first, second) = text.trim_end().split_once('\n').unwrap();
    (first.into(), second.into())
}

/// Kills at every call, and gives the number of calls after which each generation
/// was seen.
fn killed_everywhere(kind: Kind) {
    let folder = scratch();
    let (mut old, mut new) = (0, 0);
    for place in 0.. {
        let scenario = Scenario::prepared(kind, folder.path());
        let run = run(&scenario, |made, _| if made == place { Fate::Kills } else { Fate::Goes }, || {});
        if !run.killed {
            assert!(place > 10, "only {place} calls were seen");
            break;
        }
        let seen = scenario.seen();
        match seen {
            Seen::Old => old += 1,
            Seen::New => new += 1,
        }
        assert!(seen == Seen::New || new == 0, "{kind:?}: the old one is back at call {place}");

        // The next start.
        let mut writer = scenario.writer(Seen::New);
        writer.clean();
        assert_eq!(scenario.seen(), seen, "{kind:?} at call {place}: cleaning changes nothing");
        if !matches!(kind, Kind::MissingFolders | Kind::MissingDirectory) {
            assert_eq!(scenario.left_over(), [""; 0], "{kind:?} at call {place}, cleaned");
        }
        let changed = writer.write().unwrap();
        assert_eq!(scenario.seen(), Seen::New, "{kind:?} at call {place}");
        assert_eq!(scenario.left_over(), [""; 0], "{kind:?} at call {place}");
        scenario.assert_whole();
        assert!(changed || seen == Seen::New, "{kind:?} at call {place}");
    }
    assert!(old > 5 && new > 0, "{kind:?} was killed {old} times before and {new} times after");
}

#[test]
fn an_env_file_survives_a_kill_at_every_call() {
    killed_everywhere(Kind::EnvFile);
}

#[test]
fn folders_that_are_made_survive_a_kill_at_every_call() {
    killed_everywhere(Kind::MissingFolders);
    killed_everywhere(Kind::MissingDirectory);
}

#[test]
fn a_directory_survives_a_kill_at_every_call() {
    killed_everywhere(Kind::Directory);
}

#[test]
fn a_file_of_a_snapshots_size_survives_a_kill_at_every_call() {
    killed_everywhere(Kind::Snapshot);
}

#[test]
fn a_file_that_is_written_back_survives_a_kill_at_every_call() {
    killed_everywhere(Kind::WrittenBack);
}

/// What a full or broken disk can answer to.
const FAILING: [i64; 16] = [
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_symlinkat,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_ftruncate,
];

const RENAMES: [i64; 3] = [libc::SYS_rename, libc::SYS_renameat, libc::SYS_renameat2];

fn failed_everywhere(kind: Kind, reason: Errno) {
    let folder = scratch();
    let scenario = Scenario::prepared(kind, folder.path());
    let calls = run(&scenario, |_, _| Fate::Goes, || {}).calls;
    assert_eq!(said(&scenario).0, "ok true");
    assert_eq!(scenario.left_over(), [""; 0]);
    // Until this one succeeds the old is there.
    let exchange = calls.iter().rposition(|call| RENAMES.contains(call)).unwrap();
    let mut failed = Vec::new();
    for (place, call) in calls.iter().enumerate().filter(|(_, call)| FAILING.contains(call)) {
        let at = format!("{kind:?}, {reason} at call {place} (number {call})");
        let scenario = Scenario::prepared(kind, folder.path());
        let mut between = None;
        run(
            &scenario,
            |made, _| if made == place { Fate::Fails(reason) } else { Fate::Goes },
            || between = Some((scenario.seen(), scenario.left_over())),
        );
        let (seen, left) = between.unwrap();
        let (first, second) = said(&scenario);
        assert_eq!(scenario.seen(), Seen::New, "{at}");
        assert_eq!(scenario.left_over(), [""; 0], "{at}");
        scenario.assert_whole();
        let Some(text) = first.strip_prefix("error ") else {
            // That nobody can look for leftovers is no reason to fail.
            let looks = !matches!(kind, Kind::Directory | Kind::Snapshot);
            assert!(looks && *call == libc::SYS_openat && seen == Seen::New, "{at}: {first}");
            continue;
        };
        failed.push(*call);
        if place <= exchange {
            assert_eq!(seen, Seen::Old, "{at}");
            assert_eq!(left, [""; 0], "{at}");
        } else {
            assert_eq!(seen, Seen::New, "{at}");
        }
        assert!(!text.contains(CANARY), "{at}: {text}");
        assert!(text.contains(scenario.folder().to_str().unwrap()), "{at}: {text}");
        let help = if reason == Errno::ENOSPC { "make room on that disk" } else { "disk is in order" };
        assert!(text.contains(help), "{at}: {text}");
        // Nobody was told of the first, so the second is news, whatever was there.
        assert_eq!(second, "ok true", "{at}");
    }
    for needed in [libc::SYS_write, libc::SYS_fsync, libc::SYS_openat, libc::SYS_fchmod] {
        assert!(failed.contains(&needed), "{kind:?}: call {needed} never failed: {failed:?}");
    }
    assert!(failed.iter().any(|call| RENAMES.contains(call)), "{failed:?}");
}

#[test]
fn a_full_disk_at_every_call_leaves_the_old() {
    for kind in Scenario::ALL {
        failed_everywhere(kind, Errno::ENOSPC);
    }
}

#[test]
fn a_broken_disk_at_every_call_leaves_the_old() {
    for kind in Scenario::ALL {
        failed_everywhere(kind, Errno::EIO);
    }
}

/// Nothing is written to a file that has not its owner and mode, nothing gets its
/// name that the disk has not kept, and the names are kept at the end.
#[test]
fn the_steps_are_made_in_their_order() {
    let step = |call: &i64| match *call {
        libc::SYS_mkdirat => Some("mkdir"),
        libc::SYS_openat => Some("open"),
        libc::SYS_fchown => Some("chown"),
        libc::SYS_fchmod => Some("chmod"),
        libc::SYS_write => Some("write"),
        libc::SYS_fsync => Some("sync"),
        libc::SYS_symlinkat => Some("link"),
        libc::SYS_unlinkat => Some("remove"),
        call if RENAMES.contains(&call) => Some("rename"),
        _ => None,
    };
    let folder = scratch();
    let steps = |kind| {
        let calls = run(&Scenario::prepared(kind, folder.path()), |_, _| Fate::Goes, || {}).calls;
        calls.iter().filter_map(step).collect::<Vec<_>>()
    };
    // The owner is changed by root only, as which the tests may run.
    let owned = |steps: &str| {
        let root = nix::unistd::Uid::effective().is_root();
        let without = steps.replace("chown ", "");
        if root { steps.to_owned() } else { without }
    };
    let file = owned("open chown chmod write sync");
    let made = steps(Kind::EnvFile).join(" ");
    assert!(made.starts_with(&format!("{file} rename sync")), "{made}");
    let made = steps(Kind::Directory).join(" ");
    let files =
        format!("mkdir open {file} {file} {file} {} link rename link remove sync", owned("chown chmod sync"));
    assert!(made.contains(&files), "{made}");
    assert!(made.ends_with("remove remove remove remove"), "{made}");
}

/// Older kernels and gVisor know no `openat2`.
#[test]
fn without_openat2_everything_is_delivered_all_the_same() {
    let folder = scratch();
    for kind in [Kind::EnvFile, Kind::MissingFolders, Kind::Directory, Kind::MissingDirectory] {
        let scenario = Scenario::prepared(kind, folder.path());
        let mut failed = 0;
        let fate = |_, call| {
            if call == libc::SYS_openat2 {
                failed += 1;
                Fate::Fails(Errno::ENOSYS)
            } else {
                Fate::Goes
            }
        };
        run(&scenario, fate, || assert_eq!(scenario.seen(), Seen::New));
        assert!(failed > 0, "{kind:?} asks for openat2 first");
        assert_eq!(said(&scenario).0, "ok true");
        scenario.assert_whole();
    }
}

/// Only root may give a file away: what another user gets is said.
#[test]
fn who_may_not_give_the_file_away_is_told_what_to_do() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let folder = scratch();
    for kind in [Kind::EnvFile, Kind::Directory] {
        let scenario = Scenario::prepared(kind, folder.path());
        let fate = |_, call| if call == libc::SYS_fchown { Fate::Fails(Errno::EPERM) } else { Fate::Goes };
        run(&scenario, fate, || {
            assert_eq!((scenario.seen(), scenario.left_over()), (Seen::Old, vec![]));
        });
        let (first, second) = said(&scenario);
        assert!(
            first.contains("cannot be given to user 12345 and group 23456: Operation not permitted"),
            "{first}"
        );
        assert!(first.contains("run dlconf as root, or as that user and a member of that group"), "{first}");
        assert_eq!(second, "ok true");
    }
}
