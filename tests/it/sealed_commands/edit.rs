//! `dlconf edit` with editors of many manners.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ENV, lines, sealed, value_free};
use crate::program::{Folder, Ran};

/// What an editor does until the test takes `ready` away. Half a minute at most, so that
/// none is left behind, whatever becomes of its test.
const WAIT: &str =
    "echo $$ > pid; : > ready; n=0; while [ $n -lt 1500 ] && [ -e ready ]; do n=$((n+1)); sleep 0.02; done";

/// A sealed file, and a folder in memory that is the test's own.
struct Desk {
    folder: Folder,
    memory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: sealed(), memory: tempfile::tempdir_in("/dev/shm").unwrap() }
    }

    /// The command, with an editor: a script that finds the file in `$1`.
    fn command(&self, editor: &str) -> std::process::Command {
        self.folder.bytes("editor", format!("#!/bin/sh\nset -e\n{editor}\n").as_bytes(), 0o755);
        let mut command = self.folder.command(&["edit", ".env.sealed", "--key-file", "key"]);
        command.env("EDITOR", "./editor").env("XDG_RUNTIME_DIR", self.memory.path());
        command
    }

    fn edit(&self, editor: &str) -> Ran {
        let ran = value_free(Ran::of(&self.command(editor).output().unwrap()));
        assert_eq!(self.left(), 0, "something is left");
        ran
    }

    /// Starts the command with an editor that does this and waits; what it says goes to
    /// `words`: an editor that does not listen would hold a pipe open.
    #[track_caller]
    fn start(&self, editor: &str) -> Running {
        let mut command = self.command(&format!("{editor}{WAIT}"));
        let words = fs::File::create(self.folder.join("words")).unwrap();
        let running = Running(command.stdout(Stdio::null()).stderr(words).spawn().unwrap());
        until("the editor does not start", || self.folder.join("ready").exists());
        running
    }

    /// Lets the editor that waits go on.
    fn go_on(&self) {
        fs::remove_file(self.folder.join("ready")).unwrap();
    }

    fn left(&self) -> usize {
        fs::read_dir(self.memory.path()).unwrap().count()
    }

    fn text(&self) -> String {
        self.folder.run(&["unseal", ".env.sealed", "--key-file", "key"]).exits(0).stdout
    }

    /// What an editing must leave as it is: bytes, file and times.
    fn state(&self) -> (String, u64, i64, i64) {
        let metadata = fs::metadata(self.folder.join(".env.sealed")).unwrap();
        (self.folder.read(".env.sealed"), metadata.ino(), metadata.mtime(), metadata.mtime_nsec())
    }

    /// Edits, and asserts that the sealed file did not change.
    #[track_caller]
    fn in_vain(&self, editor: &str, code: i32) -> Ran {
        let before = self.state();
        let ran = self.edit(editor).exits(code);
        assert_eq!(self.state(), before);
        ran
    }
}

/// A command that does not outlive its test. Its editor does not either: what it waits
/// for is in the test's folder.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

impl Running {
    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    #[track_caller]
    fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        until("the command does not end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn one_changed_value_is_one_changed_line() {
    let desk = Desk::new();
    let before = lines(&desk.folder);
    desk.edit("sed -i s/8080/9090/ \"$1\"").exits(0).warns(".env.sealed: changed PORT\n");
    assert_eq!(desk.text(), ENV.replace("8080", "9090"));
    let after = lines(&desk.folder);
    let changed: Vec<usize> = (0..6).filter(|&at| before[at] != after[at]).collect();
    assert_eq!(changed, [3]);
    assert_eq!(desk.folder.mode(".env.sealed"), 0o600);
    assert!(desk.folder.read(".env.sealed").contains("generation=2"));
}

#[test]
fn lines_are_added_removed_and_moved() {
    let desk = Desk::new();
    let before = lines(&desk.folder);
    let ran = desk.edit("{ echo NEW=1; grep -v PORT \"$1\"; } > t; cat t > \"$1\"; rm t").exits(0);
    ran.warns("added NEW; removed PORT");
    desk.edit("{ tail -n +2 \"$1\"; head -n 1 \"$1\"; } > t; cat t > \"$1\"; rm t")
        .exits(0)
        .warns("changed the order");
    let after = lines(&desk.folder);
    assert!(after.last().unwrap().starts_with("NEW: "), "{after:?}");
    for kept in ["JWT_SECRET", "DSN", "MOTTO"] {
        let line = before.iter().find(|line| line.starts_with(kept)).unwrap();
        assert!(after.contains(line), "{kept}");
    }
}

#[test]
fn what_is_not_changed_is_not_written() {
    let desk = Desk::new();
    desk.in_vain("true", 0).warns("nothing was changed");
    desk.in_vain("touch \"$1\"", 0).warns("nothing was changed");
}

#[test]
fn an_editor_may_put_another_file_in_its_place_but_no_link() {
    let desk = Desk::new();
    desk.edit("sed s/8080/9090/ \"$1\" > \"$1.new\"; mv \"$1.new\" \"$1\"").exits(0).warns("changed PORT");
    assert!(desk.text().contains("9090"));
    desk.folder.file("elsewhere", "A=1\n");
    desk.in_vain("ln -sf \"$PWD/elsewhere\" \"$1\"", 4).warns("a symbolic link is in its place");
    assert_eq!(desk.folder.read("elsewhere"), "A=1\n", "what the link leads to is not wiped");
    desk.in_vain("rm \"$1\"", 4).warns("cannot be read");
    desk.in_vain("rm \"$1\"; mkfifo \"$1\"", 4).warns("no regular file");
}

#[test]
fn a_broken_file_is_told_and_not_sealed() {
    let desk = Desk::new();
    let ran = desk.in_vain("printf 'A=\"canary-jwt\\nB=1\\n' > \"$1\"", 1);
    ran.warns(".env:1:3");
    desk.in_vain("printf 'A=\\377\\n' > \"$1\"", 4);
}

#[test]
fn an_editor_that_fails_changes_nothing() {
    let desk = Desk::new();
    desk.in_vain("sed -i s/8080/9090/ \"$1\"; exit 1", 1).warns("exit code 1");
    desk.in_vain("sed -i s/8080/9090/ \"$1\"; kill -KILL $$", 1).warns("exit code 137");
    let mut command = desk.command("true");
    let ran = Ran::of(&command.env("VISUAL", "/no/such/editor").output().unwrap()).exits(1);
    assert_eq!(desk.left(), 0);
    ran.warns("exit code 127");
}

#[test]
fn the_folder_is_private_in_memory_and_swept_of_everything() {
    let desk = Desk::new();
    desk.edit(
        "stat -c '%a %n' \"$1\" \"${1%/*}\" > seen; stat -f -c %T \"$1\" >> seen; echo \"$TMPDIR\" >> seen; \
         cp \"$1\" \"$1~\"; cp \"$1\" \"${1%/*}/.swp\"; mkdir -p \"$TMPDIR/a/b\"; cp \"$1\" \"$TMPDIR/a/b/c\"; \
         ln -s /etc/passwd \"$TMPDIR/link\"",
    )
    .exits(0);
    let seen = desk.folder.read("seen");
    let seen: Vec<&str> = seen.lines().collect();
    let folder = seen[3];
    assert!(folder.starts_with(&format!("{}/dlconf-edit.", desk.memory.path().display())), "{seen:?}");
    assert_eq!(seen[..3], [format!("600 {folder}/.env"), format!("700 {folder}"), "tmpfs".to_owned()]);
    assert!(!Path::new(folder).exists());
}

/// A second name of the file, outside the folder, shows what was done to it.
#[test]
fn what_is_removed_is_overwritten_before() {
    let desk = Desk::new();
    let aside = tempfile::tempdir_in("/dev/shm").unwrap();
    let link = |name: &str| aside.path().join(name).display().to_string();
    desk.edit(&format!(
        "cp \"$1\" \"$1~\"; ln \"$1~\" {}; ln \"$1\" {}; sed 's/8080/9090/' \"$1\" > \"$1.new\"; mv \"$1.new\" \"$1\"",
        link("backup"),
        link("first")
    ))
    .exits(0);
    for name in ["backup", "first"] {
        let bytes = fs::read(link(name)).unwrap();
        assert_eq!(bytes, vec![0; ENV.len()], "{name}");
    }
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    for (signal, editor) in [
        (Signal::SIGTERM, "sed -i s/8080/9090/ \"$1\"; "),
        (Signal::SIGHUP, "sed -i s/8080/9090/ \"$1\"; "),
        // One that ends well when it is told to, and one that does not listen.
        (Signal::SIGTERM, "trap 'exit 0' TERM; sed -i s/8080/9090/ \"$1\"; "),
        (Signal::SIGTERM, "trap '' TERM; "),
    ] {
        let desk = Desk::new();
        let before = desk.state();
        let mut running = desk.start(editor);
        assert_eq!(desk.left(), 1);
        let program = desk.folder.read("pid").trim().to_owned();
        running.send(signal);
        let status = running.ends();
        if !editor.contains("trap ''") {
            let stat = || fs::read_to_string(format!("/proc/{program}/stat"));
            until("the editor lives on", || stat().map_or(true, |stat| stat.contains(") Z ")));
        }
        desk.go_on();
        let words = desk.folder.read("words");
        assert_eq!(status.code(), Some(128 + signal as i32), "{words}");
        assert!(words.contains("a signal ended the editing") && !words.contains("canary"), "{words}");
        assert_eq!((desk.left(), desk.state()), (0, before));
    }
}

#[test]
fn what_a_killed_one_left_goes_at_the_next_and_what_a_living_one_has_stays() {
    let desk = Desk::new();
    let mut killed = desk.start("");
    killed.send(Signal::SIGKILL);
    killed.ends();
    desk.go_on();
    assert_eq!(desk.left(), 1, "a kill leaves it");
    // Not ours, though they look like it.
    for name in ["dlconf-edit.x", "dlconf-edit.0123456789ABCDEF", "other.0123456789abcdef"] {
        fs::create_dir(desk.memory.path().join(name)).unwrap();
    }
    fs::File::create(desk.memory.path().join("dlconf-edit.0123456789abcdef")).unwrap();

    let mut living = desk.start("");
    assert_eq!(desk.left(), 5, "the killed one's is gone");
    let other = sealed();
    let mut command = other.command(&["edit", ".env.sealed", "--key-file", "key"]);
    command.env("EDITOR", "true").env("XDG_RUNTIME_DIR", desk.memory.path());
    Ran::of(&command.output().unwrap()).exits(0);
    assert_eq!(desk.left(), 5, "the living one's stays");
    desk.go_on();
    assert!(living.ends().success());
    assert_eq!(desk.left(), 4);
}

#[test]
fn who_comes_second_overwrites_nothing() {
    let desk = Desk::new();
    let mut first = desk.start("sed -i s/8080/9090/ \"$1\"; ");
    let mut second = desk.folder.command(&["edit", ".env.sealed", "--key-file", "key"]);
    second.env("EDITOR", "sed -i s/8080/7070/").env("XDG_RUNTIME_DIR", desk.memory.path());
    Ran::of(&second.output().unwrap()).exits(0);
    desk.go_on();
    let status = first.ends();
    let words = desk.folder.read("words");
    assert_eq!(status.code(), Some(4), "{words}");
    assert!(words.contains(".env.sealed"), "{words}");
    assert!(desk.text().contains("7070"));
    assert_eq!(desk.left(), 0);
}

#[test]
fn the_editor_starts_as_a_bare_exec_would_start_it() {
    let desk = Desk::new();
    let probe = "ulimit -c; ulimit -n; grep -E 'SigBlk|SigIgn' /proc/self/status; for fd in /proc/$$/fd/*; do readlink $fd || true; done";
    desk.folder.bytes("probe", format!("#!/bin/sh\n{probe}\n").as_bytes(), 0o755);
    let mut bare = std::process::Command::new("./probe");
    bare.current_dir(desk.folder.path())
        .stdin(Stdio::null())
        .stdout(fs::File::create(desk.folder.join("bare")).unwrap());
    assert!(bare.stderr(Stdio::null()).status().unwrap().success());
    let mut command = desk.command("./probe > edited");
    assert!(command.stderr(Stdio::null()).status().unwrap().success());
    let plain = |name: &str| desk.folder.read(name).replace(name, "OUT");
    let without_fds = |text: String| -> Vec<String> {
        text.lines()
            .filter(|line| !line.contains("/proc/") && !line.starts_with('/'))
            .map(Into::into)
            .collect()
    };
    assert_eq!(without_fds(plain("edited")), without_fds(plain("bare")));
    let edited = plain("edited");
    assert!(!edited.contains("dlconf-edit"), "no descriptor of ours is inherited: {edited}");
}

/// Whatever a shell makes something of.
#[test]
fn an_editor_is_a_shell_s_command() {
    let desk = Desk::new();
    desk.folder.bytes("my editor", b"#!/bin/sh\nsed -i \"$1\" \"$2\"\n", 0o755);
    for (at, editor) in [
        "sed -i s/8080/9090/",
        "FROM=9090; sed -i s/$FROM/9091/",
        "TO=9092 ./editor s/9091/9092/",
        "command sed -i s/9092/9093/",
        "'./my editor' s/9093/9094/",
        "\"$PWD/my editor\" s/9094/9095/",
        "true && sed -i s/9095/9096/",
        "{ sed -i s/9096/9097/ \"$@\"; }; :",
    ]
    .into_iter()
    .enumerate()
    {
        let mut command = desk.command("sed -i \"$1\" \"$2\"");
        let ran = Ran::of(&command.env("EDITOR", editor).output().unwrap()).exits(0);
        ran.warns("changed PORT");
        assert!(desk.text().contains(&format!("{}", 9090 + at)), "{editor}: {}", desk.text());
    }
    let ran = Ran::of(&desk.command("").env("EDITOR", ":").output().unwrap()).exits(0);
    ran.warns("nothing was changed");
}

#[test]
fn only_memory_will_do() {
    let desk = Desk::new();
    let mut command = desk.command("echo \"$1\" > seen");
    // A folder on a disk, and none that others may write to.
    let ran = Ran::of(&command.env("XDG_RUNTIME_DIR", desk.folder.path()).output().unwrap());
    ran.exits(0);
    assert!(desk.folder.read("seen").starts_with("/dev/shm/dlconf-edit."), "{}", desk.folder.read("seen"));
}

#[test]
fn vim_remembers_nothing() {
    let desk = Desk::new();
    fs::create_dir(desk.folder.join("home")).unwrap();
    desk.folder.file("home/.vimrc", "set undofile undodir=~ backup backupdir=~ directory=~ viminfo='100\n");
    let mut command = desk.command("true");
    command.env("HOME", desk.folder.join("home")).env("TERM", "dumb");
    let vim = "vim -es -c '%s/8080/9090/' -c 'normal yy' -c 'wq'";
    let ran = Ran::of(&command.env("EDITOR", vim).output().unwrap());
    value_free(ran.exits(0)).warns("changed PORT");
    let home: Vec<_> =
        fs::read_dir(desk.folder.join("home")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(home, [".vimrc"]);
    assert_eq!(desk.left(), 0);
}
