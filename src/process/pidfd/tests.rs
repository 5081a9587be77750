#![allow(clippy::disallowed_methods, reason = "a test's own files")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command};

use super::*;

/// Two users that nobody is.
const SOMEBODY: u32 = 65_530;
const ANOTHER: u32 = 65_531;

struct Case {
    folder: tempfile::TempDir,
    process: Child,
}

impl Case {
    /// A process to signal; as another user only where we are root.
    fn new(user: Option<u32>) -> Self {
        let mut command = Command::new("/bin/sleep");
        command.arg("1000");
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        Self { folder: tempfile::tempdir().unwrap(), process: command.spawn().unwrap() }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.process.id().cast_signed())
    }

    fn file(&self, content: &str) -> PathBuf {
        let path = self.folder.path().join("pid");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }

    /// The signal that has ended it, if one has.
    fn ended_by(&mut self) -> Option<i32> {
        self.process.wait().unwrap().signal()
    }

    fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

#[test]
fn the_process_gets_the_signal() {
    for end in ["", "\n", " \r\n"] {
        let mut case = Case::new(None);
        let file = case.file(&format!("{}{end}", case.pid()));
        assert_eq!(send_to(&file, Signal::SIGUSR1), Ok(case.pid()));
        assert_eq!(case.ended_by(), Some(libc::SIGUSR1));
    }
}

#[test]
fn what_is_no_pid_file_is_refused() {
    let mut case = Case::new(None);
    let pid = case.pid();
    let folder = case.folder.path().to_owned();
    assert_eq!(send_to(&folder.join("none"), Signal::SIGTERM), Err(SignalError::NoFile));
    let many = format!("{pid}\n{pid}\n");
    let long = format!("{}{pid}", "0".repeat(64));
    for content in ["", "\n", "1", "0", "-5", "+5", "x", "5x", "99999999999", "0x10", "5.0", &many, &long] {
        let file = case.file(content);
        assert_eq!(send_to(&file, Signal::SIGTERM), Err(SignalError::NotANumber), "{content:?}");
    }
    let file = case.file(&getpid().to_string());
    assert_eq!(send_to(&file, Signal::SIGTERM), Err(SignalError::Ourselves));
    let file = case.file(&pid.to_string());
    let link = folder.join("link");
    symlink(&file, &link).unwrap();
    assert_eq!(send_to(&link, Signal::SIGTERM), Err(SignalError::NotAFile { what: "a symbolic link" }));
    assert!(matches!(send_to(&folder, Signal::SIGTERM), Err(SignalError::NotAFile { what: "a directory" })));
    let pipe = folder.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(send_to(&pipe, Signal::SIGTERM), Err(SignalError::NotAFile { .. })));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o646)).unwrap();
    assert_eq!(send_to(&file, Signal::SIGTERM), Err(SignalError::Writable));
    assert!(case.runs());
}

#[test]
fn a_process_that_has_gone_is_named() {
    let mut case = Case::new(None);
    let pid = case.pid();
    let file = case.file(&pid.to_string());
    case.process.kill().unwrap();
    // Not yet reaped, it has a number still, but nobody to tell.
    case.ended_by();
    assert_eq!(send_to(&file, Signal::SIGTERM), Err(SignalError::NoProcess { pid }));
}

#[test]
fn a_descriptor_never_reaches_who_comes_after() {
    let mut case = Case::new(None);
    let process = open(case.pid()).unwrap();
    case.process.kill().unwrap();
    case.ended_by();
    assert_eq!(send(&process, Signal::SIGTERM), Err(Errno::ESRCH));
}

#[test]
fn whose_process_and_whose_file() {
    if !Uid::effective().is_root() {
        return;
    }
    for (owner, expect) in [(SOMEBODY, true), (0, true), (ANOTHER, false)] {
        let mut case = Case::new(Some(SOMEBODY));
        let pid = case.pid();
        let file = case.file(&pid.to_string());
        chown(&file, Some(owner), Some(owner)).unwrap();
        let sent = send_to(&file, Signal::SIGTERM);
        if expect {
            assert_eq!(sent, Ok(pid), "file of {owner}");
            assert_eq!(case.ended_by(), Some(libc::SIGTERM));
        } else {
            assert_eq!(sent, Err(SignalError::OtherOwner { pid }), "file of {owner}");
            assert!(case.runs());
        }
    }
    // Nor may somebody's file reach a process of root.
    let mut case = Case::new(None);
    let pid = case.pid();
    let file = case.file(&pid.to_string());
    chown(&file, Some(SOMEBODY), None).unwrap();
    assert_eq!(send_to(&file, Signal::SIGTERM), Err(SignalError::OtherOwner { pid }));
    assert!(case.runs());
}

#[test]
fn what_the_kernel_forbids_is_said() {
    if !Uid::effective().is_root() {
        return;
    }
    let case = Case::new(Some(SOMEBODY));
    let pid = case.pid();
    // The file is root's; the asker is another, in a thread of its own: the raw
    // system call changes the user of one thread only.
    let file = case.file(&pid.to_string());
    fs::set_permissions(case.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let sent = std::thread::spawn(move || {
        // SAFETY: takes three numbers, and only this thread, which ends below.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, ANOTHER, ANOTHER, ANOTHER) };
        assert_eq!(changed, 0);
        send_to(&file, Signal::SIGTERM)
    });
    assert_eq!(sent.join().unwrap(), Err(SignalError::NotPermitted { pid }));
}
