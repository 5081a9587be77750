//! `--deliver file|fd`: nothing of a value in any environment; a file that is there as
//! long as its program, exchanged as a whole; a memory file that nobody can change.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::supervised::{Supervised, environment_of, folder, set};

const FIRST: &str = "canary-wigeon-one";
const SECOND: &str = "canary-gadwall-two";

/// Says its number, that of a child, and what the file holds; stays.
const SHOWS: &str =
    r#"sleep 60 & echo "pid $$ $!"; echo "file $DLCONF_FILE"; grep TOKEN "$DLCONF_FILE"; wait"#;

fn words(line: &str) -> Vec<&str> {
    line.split(' ').skip(1).collect()
}

/// The numbers and the path of a start that was said in three lines.
fn start(said: &[String]) -> (Vec<String>, PathBuf) {
    let pids = words(&said[0]).into_iter().map(str::to_owned).collect();
    (pids, words(&said[1])[0].into())
}

#[track_caller]
fn started(supervised: &Supervised<'_>, times: usize) -> (Vec<String>, PathBuf) {
    let is_so = || (supervised.said().len() == 3 * times).then(|| supervised.said());
    start(&supervised.until("a start", is_so)[3 * (times - 1)..])
}

#[track_caller]
fn has_no_value(pids: &[String]) {
    for pid in pids {
        let environment = environment_of(pid);
        assert!(environment.contains("DLCONF_FILE=") && !environment.contains("canary"), "{environment}");
        assert!(!environment.contains("TOKEN="), "{environment}");
    }
}

#[test]
fn a_file_in_memory_for_each_start_and_none_in_the_end() {
    let folder = folder(FIRST);
    let supervised = Supervised::start(&folder, &["--deliver", "file"], SHOWS);
    let (pids, file) = started(&supervised, 1);
    has_no_value(&pids);
    assert_eq!(supervised.said()[2], format!("TOKEN={FIRST}"));
    assert_eq!(supervised.files(), std::slice::from_ref(&file));
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));

    set(&folder, SECOND);
    let (again, other) = started(&supervised, 2);
    has_no_value(&again);
    assert_eq!(supervised.said()[5], format!("TOKEN={SECOND}"));
    // What the old one could read is gone with it.
    assert_eq!(supervised.files(), [other]);

    assert_eq!(supervised.stops(), 143);
    assert_eq!(fs::read_dir(supervised.runtime()).unwrap().count(), 0);
    assert!(!supervised.log().contains("canary"), "{}", supervised.log());
}

#[test]
fn the_file_goes_with_a_program_that_ends_by_itself() {
    let folder = folder(FIRST);
    let supervised =
        Supervised::start(&folder, &["--deliver", "file"], "cat $DLCONF_FILE | grep -c can; exit 7");
    assert_eq!(supervised.ends(), 7);
    supervised.says(&["1"]);
    assert_eq!(fs::read_dir(supervised.runtime()).unwrap().count(), 0);

    // While it waits to be started again, too.
    let options = ["--deliver", "file", "--keep-alive", "--backoff", "1m", "--backoff-max", "1m"];
    let supervised = Supervised::start(&folder, &options, "exit 3");
    supervised.tells("started again in");
    let left = || fs::read_dir(supervised.runtime()).unwrap().next().is_none().then_some(());
    supervised.until("the file was to go", left);
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn a_signal_comes_when_the_file_is_exchanged() {
    let folder = folder(FIRST);
    // It holds the old one open. What it says last is the last thing that it does: the next
    // signal may come in the midst of a trap.
    let script = r#"
        exec 3< "$DLCONF_FILE"
        trap 'exec 4<&3 3< "$DLCONF_FILE"; grep TOKEN "$DLCONF_FILE"; grep TOKEN <&4' HUP
        echo "$$ $DLCONF_FILE"
        while :; do sleep 60 & wait $!; done"#;
    let supervised = Supervised::start(&folder, &["--deliver", "file", "--on-change", "signal:HUP"], script);
    let line = supervised.until("a start", || supervised.said().first().cloned());
    let file = supervised.files().pop().unwrap();
    let inode = file.metadata().unwrap().ino();
    let (first, second) = (format!("TOKEN={FIRST}"), format!("TOKEN={SECOND}"));
    set(&folder, SECOND);
    supervised.says(&[&line, &second, &first]);
    assert_eq!(supervised.files(), std::slice::from_ref(&file));
    assert_ne!(file.metadata().unwrap().ino(), inode);
    set(&folder, FIRST);
    supervised.says(&[&line, &second, &first, &first, &second]);
    assert_eq!(supervised.stops(), 143);
    assert_eq!(fs::read_dir(supervised.runtime()).unwrap().count(), 0);
}

#[test]
fn a_command_for_a_change_sees_the_new_file() {
    let folder = folder(FIRST);
    let command = r#"exec:sh -c 'echo "for $DLCONF_PID"; grep TOKEN "$DLCONF_FILE"; env | grep -c canary'"#;
    let script = r#"echo "I am $$"; sleep 60"#;
    let supervised = Supervised::start(&folder, &["--deliver", "file", "--on-change", command], script);
    let line = supervised.until("a start", || supervised.said().first().cloned());
    set(&folder, SECOND);
    let whose = line.replace("I am", "for");
    supervised.says(&[&line, &whose, &format!("TOKEN={SECOND}"), "0"]);
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn a_memory_file_that_only_the_program_has() {
    let folder = folder(FIRST);
    let options = ["--deliver", "fd", "--deliver-format", "json", "--keep-alive", "--backoff", "1ms"];
    let supervised = Supervised::start(&folder, &options, SHOWS);
    let (pids, path) = started(&supervised, 1);
    has_no_value(&pids);
    assert!(supervised.said()[2].contains(&format!("\"TOKEN\": \"{FIRST}\"")), "{:?}", supervised.said());
    assert_eq!(fs::read_dir(supervised.runtime()).unwrap().count(), 0);

    let number = path.strip_prefix("/proc/self/fd").unwrap();
    let memory = Path::new("/proc").join(&pids[0]).join("fd").join(number);
    assert_eq!(fs::read_link(&memory).unwrap(), Path::new("/memfd:dlconf (deleted)"));
    let file = fs::File::open(&memory).unwrap();
    let seals = SealFlag::from_bits_retain(fcntl(file.as_fd(), FcntlArg::F_GET_SEALS).unwrap());
    let all = [SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW, SealFlag::F_SEAL_SEAL];
    assert!(all.into_iter().all(|seal| seals.contains(seal)), "{seals:?}");
    // Here it is closed, as soon as the program has it.
    let ours = Path::new("/proc").join(supervised.pid().to_string()).join("fd");
    let is_memory = |descriptor: fs::DirEntry| {
        fs::read_link(descriptor.path()).is_ok_and(|leads| leads.to_string_lossy().contains("memfd"))
    };
    let is_closed = || !fs::read_dir(&ours).unwrap().flatten().any(is_memory);
    supervised.until("the memory file to be closed here", || is_closed().then_some(()));
    let inode = file.metadata().unwrap().ino();
    drop(file);

    // Another start has another one.
    kill(Pid::from_raw(pids[0].parse().unwrap()), Signal::SIGKILL).unwrap();
    let (again, path) = started(&supervised, 2);
    has_no_value(&again);
    let number = path.strip_prefix("/proc/self/fd").unwrap();
    let memory = Path::new("/proc").join(&again[0]).join("fd").join(number);
    assert_ne!(memory.metadata().unwrap().ino(), inode);
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn what_a_killed_one_left_goes_at_the_next_start() {
    let folder = folder(FIRST);
    let supervised = Supervised::start(&folder, &["--deliver", "file"], SHOWS);
    let (_, left) = started(&supervised, 1);
    let runtime = supervised.killed();
    assert!(left.exists(), "nobody could wipe it");

    fs::remove_file(folder.join("out")).unwrap();
    let supervised = Supervised::start_in(runtime, &folder, &["--deliver", "file"], SHOWS, &[]);
    let (_, file) = started(&supervised, 1);
    assert!(!left.exists());
    assert_eq!(supervised.files(), [file]);
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn what_cannot_be_written_is_not_started_and_not_taken() {
    let folder = folder("'canary of three'");
    for how in ["file", "fd"] {
        let supervised = Supervised::start(&folder, &["--deliver", how], "echo started");
        assert_eq!(supervised.ends(), 125);
        assert!(supervised.log().contains("TOKEN (the value holds a character"), "{}", supervised.log());
        assert!(supervised.log().contains("DLC061") && supervised.said().is_empty());
        assert_eq!(fs::read_dir(supervised.runtime()).unwrap().count(), 0);
    }
    fs::remove_file(folder.join("log")).unwrap();

    // A program that runs goes on.
    set(&folder, FIRST);
    let script = r#"echo "$$ $(grep TOKEN $DLCONF_FILE)"; sleep 60"#;
    for how in ["file", "fd"] {
        let supervised = Supervised::start(&folder, &["--deliver", how], script);
        let line = supervised.until("a start", || supervised.said().first().cloned());
        set(&folder, "'canary of three'");
        supervised.tells("goes on with what it has");
        supervised.says(&[&line]);
        assert!(!supervised.log().contains("canary"), "{}", supervised.log());
        // And takes what it can.
        set(&folder, SECOND);
        supervised
            .until("a start", || supervised.said().get(1).filter(|line| line.ends_with(SECOND)).cloned());
        assert_eq!(supervised.stops(), 143);
        fs::remove_file(folder.join("out")).unwrap();
        fs::remove_file(folder.join("log")).unwrap();
        set(&folder, FIRST);
    }
}

#[test]
fn nobody_else_names_the_file() {
    let folder = folder(FIRST);
    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let theirs = [("DLCONF_FILE", "/not/ours")];
    let script = r#"echo "$DLCONF_FILE""#;
    let supervised = Supervised::start_in(runtime, &folder, &["--deliver", "file"], script, &theirs);
    assert_eq!(supervised.ends(), 0);
    assert!(
        supervised.said()[0].starts_with(supervised.runtime().to_str().unwrap()),
        "{:?}",
        supervised.said()
    );
    drop(supervised);

    let manifest = ["run", "--watch", "--deliver", "file", "--deliver-format", "k8s-secret", "--", "true"];
    folder.run(&manifest).exits(125).warns("one of: dotenv, compose");
    folder.run(&["run", "--watch", "--deliver-format", "json", "--", "true"]).exits(125).warns("--deliver");
}
