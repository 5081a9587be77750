//! Passphrases at a terminal: a pseudo-terminal with the real binary behind it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;

use super::{ENV, sealed};
use crate::program::Folder;

/// A terminal, and the program that it controls.
struct Terminal {
    master: File,
    /// Held open, so that the terminal outlives the program.
    slave: OwnedFd,
    child: Child,
    shown: String,
    seen: usize,
}

/// Nothing is left behind, whatever becomes of the test.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

impl Terminal {
    fn start(folder: &Folder, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let pty = openpty(None, None).unwrap();
        let stream = || Stdio::from(pty.slave.try_clone().unwrap());
        // Makes a session of its own, with its stdin as the controlling terminal.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_dlconf")]).args(arguments).current_dir(folder.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("TERM", "dumb");
        command.envs(environment.iter().copied());
        let child = command.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        Self { master: pty.master.into(), slave: pty.slave, child, shown: String::new(), seen: 0 }
    }

    /// Waits until it shows something that was not waited for before.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} is not shown: {}", self.shown);
            self.read(PollTimeout::from(50_u8));
        }
    }

    fn read(&mut self, patience: PollTimeout) {
        let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, patience).unwrap() > 0 {
            let mut bytes = [0; 4096];
            let count = self.master.read(&mut bytes).unwrap();
            self.shown += &String::from_utf8_lossy(&bytes[..count]);
        }
    }

    fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    fn gets(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_flags.contains(LocalFlags::ECHO)
    }

    /// Waits for its end: the exit code, or minus the signal.
    fn ends(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            self.read(PollTimeout::from(5_u8));
            if let Some(status) = self.child.try_wait().unwrap() {
                self.read(PollTimeout::ZERO);
                return status.code().unwrap_or_else(|| -status.signal().unwrap());
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.shown);
        }
    }
}

#[test]
fn a_passphrase_is_asked_twice_and_never_shown() {
    let folder = Folder::with_env(ENV);
    let mut terminal = Terminal::start(&folder, &["seal", ".env", "--passphrase"], &[]);
    terminal.shows("New passphrase of .env.sealed: ");
    assert!(!terminal.echoes());
    terminal.types("short\n");
    terminal.shows("at least 12 characters");
    terminal.shows("New passphrase");
    terminal.types("correct horse battery\n");
    terminal.shows("The same again: ");
    terminal.types("another horse battery\n");
    terminal.shows("not the same");
    terminal.shows("New passphrase");
    terminal.types("correct horse battery\n");
    terminal.shows("The same again: ");
    terminal.types("correct horse battery\n");
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown);
    assert!(terminal.echoes());
    assert!(!terminal.shown.contains("horse"), "{}", terminal.shown);

    // Nothing says how it opens: it is asked, since somebody is there to ask.
    let mut terminal = Terminal::start(&folder, &["unseal", ".env.sealed"], &[]);
    terminal.shows("Passphrase of .env.sealed: ");
    terminal.types("correct horse battery\n");
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown);
    assert!(terminal.shown.contains("JWT_SECRET=canary-jwt"), "{}", terminal.shown);
    assert!(!terminal.shown.contains("horse"));

    let mut terminal = Terminal::start(&folder, &["unseal", ".env.sealed"], &[]);
    terminal.shows("Passphrase of .env.sealed: ");
    terminal.types("wrong horse battery\n");
    assert_eq!(terminal.ends(), 4, "{}", terminal.shown);
    assert!(!terminal.shown.contains("canary"), "{}", terminal.shown);
}

#[test]
fn whatever_ends_the_question_leaves_a_terminal_that_shows() {
    let folder = Folder::with_env(ENV);
    let ends: [(&str, Option<Signal>, i32); 4] = [
        ("\x03", None, -(Signal::SIGINT as i32)),
        ("\x1c", None, -(Signal::SIGQUIT as i32)),
        ("", Some(Signal::SIGTERM), -(Signal::SIGTERM as i32)),
        ("\x04", None, 2),
    ];
    for (typed, signal, end) in ends {
        let mut terminal = Terminal::start(&folder, &["seal", ".env", "--passphrase"], &[]);
        terminal.shows("New passphrase");
        assert!(!terminal.echoes());
        terminal.types(typed);
        if let Some(signal) = signal {
            kill(Pid::from_raw(i32::try_from(terminal.child.id()).unwrap()), signal).unwrap();
        }
        assert_eq!(terminal.ends(), end, "{}", terminal.shown);
        assert!(terminal.echoes(), "{typed:?} {signal:?}");
        assert!(!folder.join(".env.sealed").exists());
    }
}

#[test]
fn without_a_terminal_the_way_out_is_said() {
    let folder = Folder::with_env(ENV);
    // A session of its own has no terminal.
    let mut command = Command::new("setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_dlconf"), "seal", ".env", "--passphrase"]);
    let output = command.current_dir(folder.path()).env_clear().stdin(Stdio::null()).output().unwrap();
    crate::program::Ran::of(&output).exits(2).warns("no terminal").warns("--passphrase-file");
}

#[test]
fn a_mistake_leads_back_to_the_editor() {
    let folder = sealed();
    let editor = "if [ -e twice ]; then sed -i s/8080/9090/ \"$1\"; printf 'OK=1\\n' > \"$1\"; else : > twice; printf 'A=\"\\n' > \"$1\"; fi";
    folder.bytes("editor", format!("#!/bin/sh\n{editor}\n").as_bytes(), 0o755);
    let arguments = ["edit", ".env.sealed", "--key-file", "key"];
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let environment = [("EDITOR", "./editor"), ("XDG_RUNTIME_DIR", memory.path().to_str().unwrap())];
    let before = folder.read(".env.sealed");
    let mut terminal = Terminal::start(&folder, &arguments, &environment);
    terminal.shows("Back to the editor? [Y/n] ");
    terminal.types("n\n");
    assert_eq!(terminal.ends(), 1, "{}", terminal.shown);
    assert_eq!(folder.read(".env.sealed"), before);
    assert_eq!(std::fs::read_dir(memory.path()).unwrap().count(), 0);

    std::fs::remove_file(folder.join("twice")).unwrap();
    let mut terminal = Terminal::start(&folder, &arguments, &environment);
    terminal.shows("Back to the editor? [Y/n] ");
    terminal.types("\n");
    assert_eq!(terminal.ends(), 0, "{}", terminal.shown);
    assert_eq!(folder.run(&["unseal", ".env.sealed", "--key-file", "key"]).exits(0).stdout, "OK=1\n");

    // ^C at the question is an answer too, and everything is wiped.
    std::fs::remove_file(folder.join("twice")).unwrap();
    let mut terminal = Terminal::start(&folder, &arguments, &environment);
    terminal.shows("Back to the editor? [Y/n] ");
    terminal.types("\x03");
    assert_eq!(terminal.ends(), 1, "{}", terminal.shown);
    assert_eq!(std::fs::read_dir(memory.path()).unwrap().count(), 0);

    // Who is told to end says so.
    std::fs::remove_file(folder.join("twice")).unwrap();
    let mut terminal = Terminal::start(&folder, &arguments, &environment);
    terminal.shows("Back to the editor? [Y/n] ");
    terminal.gets(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(terminal.ends(), 143, "{}", terminal.shown);
    assert_eq!(std::fs::read_dir(memory.path()).unwrap().count(), 0);
}
