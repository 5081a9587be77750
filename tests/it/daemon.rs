//! The daemon as a process: the real binary in a folder of its own, its lines on
//! stderr, its sockets, its end. Sources are local files.
//!
//! Nothing here waits for a time to pass: a condition is looked at until it holds
//! or a deadline is over. Where nothing is to happen, something else is made to
//! happen afterwards (`Daemon::fence`), and has to be the only thing that did.

mod audit;
mod broker;
mod command;
mod deliveries;
mod get;
mod life;
mod on_change;
mod policy;
mod refusals;
mod reload;
mod run_socket;
mod systemd;
mod values;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::program::Folder;

/// Longer than anything takes that works, on a machine with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
program = "the shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web", "worker"]

[defaults]
dialect = "go"
on_invalid = "fail"

[group.mail]
vars = ["MAIL_*"]
atomic = true
all_or_none = ["MAIL_USER", "MAIL_PASSWORD"]

[var.APP_ENV]
type = "string"
required = false
description = "The environment."

[var.NAME]
type = "string"
required = true
description = "What it is called."

[var.PORT]
type = "port"
default = "8080"
description = "Listens here."

[var.TOKEN]
type = "hmac-key"
min_bytes = 32
required = true
forbid = ["change-me*"]
description = "Signs."

[var.NOTE]
type = "string"
required = false
description = "Tells a test that its change has arrived."

[var.MAIL_USER]
type = "string"
required = false
description = "Sends."

[var.MAIL_PASSWORD]
type = "password"
required = false
description = "Sends."

[var.MODE]
type = "enum"
values = ["fast", "safe"]
required = false
services = ["worker"]
description = "How it works."

[[rule]]
id = "no-beast"
assert = "vars.PORT != 6666"
message = "this port is not for us"
severity = "error"
"#;

pub(crate) const TOKEN: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6Te";

/// Two sources, of which the second is for the fence.
const SOURCES: &str = r#"environment = "staging"
order = ["local", "note"]
[source.local]
type = "dotenv"
path = ".env"
[source.note]
type = "dotenv"
path = "note.env"
optional = true
[socket]
path = "dlconf.sock"
[ops]
listen = "unix:ops.sock"
"#;

/// One delivery of everything but what the fence needs, one of that.
const DELIVERIES: &str = r#"[delivery.app]
type = "env-file"
path = "out/app.env"
vars = ["APP_ENV", "NAME", "PORT", "TOKEN", "MAIL_*", "MODE"]
[delivery.note]
type = "env-file"
path = "out/note.env"
vars = ["NOTE"]
"#;

/// Changes count at once.
pub(crate) const AT_ONCE: &str = "[debounce]\nmin = \"0ms\"\n";

/// `.env` with this name for the shop.
fn shop(name: &str) -> String {
    format!("NAME={name}\nTOKEN={TOKEN}\nPORT=9000\n")
}

/// A folder with a schema, a valid `.env` and these settings.
fn home(settings: &[&str]) -> Folder {
    let folder = Folder::with_env(&shop("one"));
    folder.file("dlconf.schema.toml", SCHEMA).file("dlconf.toml", &settings.concat());
    folder
}

/// The usual one.
fn usual() -> Folder {
    home(&[SOURCES, DELIVERIES, AT_ONCE])
}

/// Another user, whom no policy knows.
const NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// dlconf as that user, with nothing of this machine's environment; none where this
/// user may not become another.
fn as_nobody(folder: &Folder, arguments: &[&str]) -> Option<Command> {
    let may = Command::new(NOBODY[0]).args(&NOBODY[1..]).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = Command::new(NOBODY[0]);
    command.args(&NOBODY[1..]).args(["--inh-caps=-all", env!("CARGO_BIN_EXE_dlconf")]).args(arguments);
    command.current_dir(folder.path()).env_clear().stdin(Stdio::null());
    command.env("PATH", std::env::var_os("PATH").unwrap());
    Some(command)
}

/// Exchanges a file as a whole.
pub(crate) fn put(folder: &Folder, name: &str, text: &str) {
    let new = format!("{name}.new~");
    folder.file(&new, text);
    fs::rename(folder.join(&new), folder.join(name)).unwrap();
}

/// What must not change while a file stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Trace {
    inode: u64,
    written: (i64, i64),
    bytes: Vec<u8>,
}

fn trace(path: &Path) -> Trace {
    let metadata = fs::symlink_metadata(path).unwrap();
    Trace {
        inode: metadata.ino(),
        written: (metadata.mtime(), metadata.mtime_nsec()),
        bytes: fs::read(path).unwrap(),
    }
}

/// Looks until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(
    what: &str,
    context: impl Fn() -> String,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not come:\n{}", context());
        std::thread::sleep(LOOK);
    }
}

/// Asks over a Unix socket: status code and body.
fn ask(socket: &Path, method: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// A daemon that runs. Dropping it ends it.
pub(crate) struct Daemon {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    pub(crate) socket: PathBuf,
    ops: PathBuf,
}

/// How one ended.
pub(crate) struct Ended {
    code: Option<i32>,
    pub(crate) lines: Vec<String>,
    took: Duration,
}

impl Daemon {
    fn command(folder: &Folder) -> Command {
        folder.command(&["--config", "dlconf.toml", "-v", "daemon"])
    }

    pub(crate) fn start(folder: &Folder) -> Self {
        Self::of(folder, &mut Self::command(folder))
    }

    /// One that is started by this command.
    pub(crate) fn started(folder: &Folder, command: &mut Command) -> Self {
        Self::of(folder, command)
    }

    pub(crate) fn of(folder: &Folder, command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let stderr = child.stderr.take().unwrap();
        let reader = std::thread::spawn({
            let lines = Arc::clone(&lines);
            move || read(stderr, &lines)
        });
        let (socket, ops) = (folder.join("dlconf.sock"), folder.join("ops.sock"));
        Self { child, lines, reader: Some(reader), socket, ops }
    }

    /// Starts one and waits until it is ready.
    #[track_caller]
    pub(crate) fn ready(folder: &Folder) -> Self {
        let daemon = Self::start(folder);
        daemon.until("readiness", |status| status["ready"] == true);
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// How many lines hold this text.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(text)).count()
    }

    /// Waits for a line.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> String {
        self.says_for(1, text)
    }

    /// Waits for so many lines that hold this text; the last of them.
    #[track_caller]
    pub(crate) fn says_for(&self, times: usize, text: &str) -> String {
        wait_for(
            &format!("{text:?}, {times} times,"),
            || self.lines().join("\n"),
            || self.lines().into_iter().filter(|line| line.contains(text)).nth(times - 1),
        )
    }

    /// What it tells of itself; null where nobody answers.
    pub(crate) fn status(&self) -> Value {
        match ask(&self.socket, "GET", "/v1/status") {
            Ok((200, body)) => serde_json::from_str(&body).unwrap(),
            Ok((code, body)) => panic!("{code}: {body}"),
            Err(_) => Value::Null,
        }
    }

    /// Waits for a status like this.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        wait_for(
            what,
            || format!("{:#}\n{}", self.status(), self.lines().join("\n")),
            || Some(self.status()).filter(|status| is_so(status)),
        )
    }

    fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().unwrap()
    }

    /// A page of the ops port.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        ask(&self.ops, "GET", path).unwrap()
    }

    /// A number of the metrics; 0 where there is none yet.
    fn metric(&self, name: &str) -> u64 {
        let (code, text) = self.page("/metrics");
        assert_eq!(code, 200);
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |number| number.parse().unwrap())
    }

    /// How often a source was read so far.
    fn reads(&self, source: &str) -> usize {
        self.count(&format!("source {source} was read"))
    }

    /// Does something that makes a source read again, and waits for that.
    #[track_caller]
    fn reread(&self, source: &str, act: impl FnOnce()) {
        let before = self.reads(source);
        act();
        self.says_for(before + 1, &format!("source {source} was read"));
    }

    /// Makes a change of its own and waits until it is delivered: what was to come
    /// of anything before has come. It must be the only generation since.
    #[track_caller]
    fn fence(&self, folder: &Folder) {
        let before = self.generation();
        self.pass(folder);
        let status =
            self.until("the fence's generation", |status| status["generation"].as_u64() > Some(before));
        assert_eq!(status["generation"], before + 1, "{}", self.lines().join("\n"));
    }

    /// The same, whatever else was published.
    #[track_caller]
    fn pass(&self, folder: &Folder) {
        let text = format!("NOTE=fence-{}\n", self.lines().len());
        put(folder, "note.env", &text);
        self.holds(folder, "out/note.env", text.trim().trim_start_matches("NOTE="));
    }

    /// Waits until a file holds a text.
    #[track_caller]
    fn holds(&self, folder: &Folder, name: &str, text: &str) {
        wait_for(
            &format!("{text:?} in {name}"),
            || format!("{:?}\n{}", fs::read_to_string(folder.join(name)), self.lines().join("\n")),
            || fs::read_to_string(folder.join(name)).ok().filter(|content| content.contains(text)),
        );
    }

    /// The processes that it started and that run.
    fn children(&self) -> Vec<u32> {
        children(self.pid())
    }

    /// Waits until it ends by itself.
    #[track_caller]
    fn wait(mut self) -> Ended {
        let begun = Instant::now();
        let status =
            wait_for("its end", || self.lines.lock().unwrap().join("\n"), || self.child.try_wait().unwrap());
        let took = begun.elapsed();
        self.reader.take().unwrap().join().unwrap();
        Ended { code: status.code(), lines: self.lines(), took }
    }

    /// Asks it to end, and waits for that.
    #[track_caller]
    pub(crate) fn end(self, signal: Signal) -> Ended {
        self.signal(signal);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.lines.join("\n"));
        self
    }

    #[track_caller]
    fn said(self, text: &str) -> Self {
        assert!(
            self.lines.iter().any(|line| line.contains(text)),
            "{text:?} not in\n{}",
            self.lines.join("\n")
        );
        self
    }
}

fn read(stderr: ChildStderr, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).split(b'\n') {
        let Ok(line) = line else { return };
        lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
    }
}

/// The processes that any thread of this one started and that are not reaped.
fn children(pid: u32) -> Vec<u32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default());
    let text = lists.collect::<Vec<_>>().join(" ");
    text.split_whitespace().map(|number| number.parse().unwrap()).collect()
}

/// The one delivery, source, … of a list in the status that has this name.
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let all = list.as_array().unwrap();
    all.iter()
        .find(|one| one["name"] == name || one["key"] == name)
        .unwrap_or_else(|| panic!("no {name}: {list}"))
}
