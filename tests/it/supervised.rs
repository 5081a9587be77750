//! `dlconf run --watch` over an env file, and a script that it supervises. The script
//! says what it sees in a file of its own.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bao::poll;
use crate::program::Folder;

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
environments = { variable = "APP_ENV", names = ["development", "production"] }
[var.APP_ENV]
type = "string"
required = false
[var.TOKEN]
type = "string"
secret = true
"#;

/// A folder with a schema and this token, in memory: some tests look for what is on disks.
pub(crate) fn folder(token: &str) -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SCHEMA);
    set(&folder, token);
    folder
}

/// Puts another token into the env file, as one change.
pub(crate) fn set(folder: &Folder, token: &str) {
    folder.file("new", &format!("TOKEN={token}\n"));
    fs::rename(folder.join("new"), folder.join(".env")).unwrap();
}

/// A supervisor. Killed when dropped; its program hears of that.
pub(crate) struct Supervised<'f> {
    folder: &'f Folder,
    child: RefCell<Child>,
    /// Where what is only in memory goes.
    runtime: tempfile::TempDir,
}

impl Drop for Supervised<'_> {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ended_already = child.kill();
        let _ended_already = child.wait();
    }
}

impl<'f> Supervised<'f> {
    /// Starts one with these options over this script.
    pub(crate) fn start(folder: &'f Folder, options: &[&str], script: &str) -> Self {
        let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
        Self::start_in(runtime, folder, options, script, &[])
    }

    pub(crate) fn start_in(
        runtime: tempfile::TempDir,
        folder: &'f Folder,
        options: &[&str],
        script: &str,
        environment: &[(&str, &str)],
    ) -> Self {
        let all =
            [&["run", "--watch", "--min-interval", "0s"], options, &["--", "sh", "-c", script]].concat();
        let mut command = folder.command(&all);
        let file =
            |name: &str| fs::File::options().create(true).append(true).open(folder.join(name)).unwrap();
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("log"));
        command.env("XDG_RUNTIME_DIR", runtime.path());
        let child = command.envs(environment.iter().copied()).spawn().unwrap();
        Self { folder, child: RefCell::new(child), runtime }
    }

    /// What the script said, in lines.
    pub(crate) fn said(&self) -> Vec<String> {
        fs::read_to_string(self.folder.join("out")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// What dlconf said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Waits until it is so.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, ask: impl Fn() -> Option<T>) -> T {
        let answer = poll(ask);
        answer.unwrap_or_else(|| panic!("{what}: said {:?}, log:\n{}", self.said(), self.log()))
    }

    /// Waits until the script has said exactly these lines.
    #[track_caller]
    pub(crate) fn says(&self, lines: &[&str]) {
        self.until(&format!("it was to say {lines:?}"), || (self.said() == lines).then_some(()));
    }

    /// Waits until dlconf has said something.
    #[track_caller]
    pub(crate) fn tells(&self, text: &str) {
        self.until(&format!("dlconf was to say {text:?}"), || self.log().contains(text).then_some(()));
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.borrow().id().try_into().unwrap())
    }

    /// The folder for what is only in memory.
    pub(crate) fn runtime(&self) -> &Path {
        self.runtime.path()
    }

    /// The files that are in memory now.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.runtime()).unwrap().flatten();
        folders
            .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .collect()
    }

    /// Waits for its end: its code, or -1 after a signal.
    #[track_caller]
    pub(crate) fn ends(&self) -> i32 {
        let ended = || self.child.borrow_mut().try_wait().unwrap();
        self.until("it was to end", ended).code().unwrap_or(-1)
    }

    /// Asks it to end, and waits.
    #[track_caller]
    pub(crate) fn stops(&self) -> i32 {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        self.ends()
    }

    /// Ends it as nobody can hold back, and gives its folder back.
    pub(crate) fn killed(mut self) -> tempfile::TempDir {
        self.child.get_mut().kill().unwrap();
        self.child.get_mut().wait().unwrap();
        let other = tempfile::tempdir_in("/dev/shm").unwrap();
        std::mem::replace(&mut self.runtime, other)
    }
}

/// The environment that a process was started with.
pub(crate) fn environment_of(pid: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/environ")).unwrap().replace('\0', "\n")
}
