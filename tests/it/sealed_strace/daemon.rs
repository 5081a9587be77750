//! A daemon with a sealed source, a Vault and a snapshot, watched from its start to its
//! end: while values change, while the snapshot is written, and when it is all that
//! there is.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::watch::{Sight, seen, strace};
use super::{CHANGED, COMMENT, PLAIN, SECRET, TOKEN, sealed};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, http, poll};
use crate::program::Folder;

/// One delivery, into a folder in memory: plaintext where the user asked for it, which
/// shows that the watch sees what this program writes to files.
fn settings(address: &str, namespace: &str, memory: &Path) -> String {
    let memory = memory.display();
    format!(
        r#"environment = "production"
order = ["config", "vault"]
[source.config]
type = "sealed"
path = ".env.sealed"
key_file = "key"
[source.vault]
type = "vault"
address = "{address}"
namespace = "{namespace}"
auth = {{ method = "token" }}
paths = [{{ mount = "secret", path = "app" }}]
poll = "1s"
[socket]
path = "d.sock"
[snapshot]
path = "state/snapshot"
key_file = "snapshot-key"
start_grace = "200ms"
[delivery.app]
type = "env-file"
path = "{memory}/app.env"
[audit]
path = "log/audit.jsonl"
key_file = "key"
[debounce]
min = "0ms"
"#
    )
}

/// A daemon under strace, which is its own parent's child: `-D` makes the tracer a
/// stranger. Ended when dropped.
struct Watched<'f> {
    folder: &'f Folder,
    child: RefCell<Child>,
    trace: PathBuf,
    _memory: tempfile::TempDir,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        let child = self.child.get_mut();
        let _ended_already = child.kill();
        let _ended_already = child.wait();
    }
}

impl<'f> Watched<'f> {
    fn start(folder: &'f Folder, token: &str) -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let trace = memory.path().join("trace");
        // Ends with the test, even one that is killed.
        let mut command = strace(&["setpriv", "--pdeathsig=KILL"], &trace, &["-D"]);
        command.arg(env!("CARGO_BIN_EXE_dlconf")).args(["--config", "dlconf.toml", "-v", "daemon"]);
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).env_clear();
        command.stderr(std::fs::File::create(memory.path().join("log")).unwrap());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("VAULT_TOKEN", token);
        Self { folder, child: RefCell::new(command.spawn().unwrap()), trace, _memory: memory }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.trace.with_file_name("log")).unwrap_or_default()
    }

    fn status(&self) -> Option<Value> {
        let stream = UnixStream::connect(self.folder.join("d.sock")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let answer = http::ask(stream, "localhost", "GET", "/v1/status", &[], b"").ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let has_come = || self.status().is_some_and(|status| is_so(&status));
        let has_ended = || self.child.borrow_mut().try_wait().unwrap().is_some();
        let came = poll(|| if has_come() { Some(true) } else { has_ended().then_some(false) });
        assert!(
            came == Some(true),
            "{what} did not come: {:#}\n{}",
            self.status().unwrap_or_default(),
            self.log()
        );
    }

    /// What the socket gives.
    #[track_caller]
    fn gives(&self, name: &str, value: &str) {
        let get = || self.folder.run(&["--config", "dlconf.toml", "-q", "get", name]).stdout;
        let came = poll(|| (get() == format!("{value}\n")).then_some(()));
        assert!(came.is_some(), "{name} is {:?}:\n{}", get(), self.log());
    }

    /// Ends it in order, and gives what was seen of it.
    #[track_caller]
    fn ends(mut self) -> Vec<Sight> {
        let child = self.child.get_mut();
        let pid = child.id();
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGTERM).unwrap();
        let code = poll(|| child.try_wait().unwrap()).expect("it does not end");
        assert_eq!(code.code(), Some(0), "{}", self.log());
        let text = || std::fs::read_to_string(&self.trace).unwrap_or_default();
        let ended = format!("{pid} +++ exited with");
        let is_whole = |trace: &String| {
            trace
                .lines()
                .any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").starts_with(&ended))
        };
        seen(&poll(|| Some(text()).filter(is_whole)).expect("strace does not end"))
    }
}

/// Every sight is of something on its way, and each of these was seen on the socket.
#[track_caller]
fn only_given(sights: &[Sight], given: &[&str], folder: &Folder, memory: &Path) {
    let delivered = format!("<{}/", memory.display());
    let is_delivered = |sight: &Sight| sight.place.contains(&delivered);
    assert!(sights.iter().any(is_delivered), "the watch sees what is written to files: {sights:?}");
    for sight in sights {
        assert!(sight.is_in_transit() || is_delivered(sight), "plaintext on a disk: {sight:?}");
        assert_ne!(sight.what, COMMENT, "nobody asked for it: {sight:?}");
    }
    for value in given {
        let is_it = |sight: &Sight| sight.what == *value && sight.place.contains("d.sock");
        assert!(sights.iter().any(is_it), "the watch sees what is given: {value}: {sights:?}");
    }
    for name in ["state/snapshot", "state/snapshot.mark", "log/audit.jsonl", ".env.sealed"] {
        assert!(folder.join(name).metadata().unwrap().len() > 0, "{name}");
    }
}

#[test]
fn no_daemon_writes_plaintext_to_a_disk() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let proxy = Proxy::to(&bao.address());
    let folder = sealed(&settings(&proxy.address(), bao.namespace(), memory.path()));
    folder.file("snapshot-key", "a key of the snapshot, long enough, for tests");
    std::fs::create_dir(folder.join("state")).unwrap();
    std::fs::create_dir(folder.join("log")).unwrap();
    let generation = |status: &Value| status["snapshot"]["generation"].as_u64();

    let daemon = Watched::start(&folder, bao.root_token());
    daemon.until("the snapshot", |status| generation(status) >= Some(1));
    daemon.gives("TOKEN", TOKEN);
    daemon.gives("NAME", PLAIN);
    bao.kv_put("app", &json!({ "TOKEN": CHANGED }));
    daemon.gives("TOKEN", CHANGED);
    daemon.until("another snapshot", |status| generation(status) >= Some(2));
    // A state that is refused, told in findings.
    bao.kv_put("app", &json!({ "TOKEN": CHANGED, "PORT": SECRET }));
    daemon.until("a refusal", |status| !status["rejected"].is_null());
    only_given(&daemon.ends(), &[TOKEN, PLAIN, CHANGED], &folder, memory.path());

    // Both sources are away: the sealed file too.
    proxy.refuse();
    std::fs::rename(folder.join(".env.sealed"), folder.join("away")).unwrap();
    let daemon = Watched::start(&folder, bao.root_token());
    daemon.until("all of it stands in", |status| {
        status["snapshot"]["stands_in"] == json!(["config", "vault"]) && !status["version"].is_null()
    });
    daemon.gives("TOKEN", CHANGED);
    daemon.gives("JWT_SECRET", SECRET);
    let written = daemon.status().and_then(|status| generation(&status));
    std::fs::rename(folder.join("away"), folder.join(".env.sealed")).unwrap();
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    proxy.pass();
    daemon.gives("TOKEN", TOKEN);
    daemon.until("a snapshot of what is back", |status| generation(status) > written);
    only_given(&daemon.ends(), &[CHANGED, SECRET, TOKEN], &folder, memory.path());
}
