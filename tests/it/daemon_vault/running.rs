//! A real daemon with a Vault source and one delivery, ended with the test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::bao::{http, poll};
use crate::program::{Folder, Ran};

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
[var.APP_ENV]
type = "string"
required = false
[var.TOKEN]
type = "string"
secret = true
[var.PIN]
type = "string"
secret = true
required = false
stale = "refuse"
[var.OPT]
type = "string"
required = false
[var.DB_USER]
type = "string"
required = false
[var.DB_PASSWORD]
type = "password"
required = false
"#;

/// The daemon's settings, to be started with.
pub(super) struct Setup {
    pub(super) folder: Folder,
    address: String,
    namespace: String,
    token: String,
}

impl Setup {
    /// `lines` are those of `[source.vault]` beside type, address, namespace and
    /// `poll = "1s"`; an empty token is none.
    pub(super) fn new(address: &str, namespace: &str, token: &str, lines: &str) -> Self {
        let folder = Folder::new();
        folder.file("dlconf.schema.toml", SCHEMA);
        let setup =
            Self { folder, address: address.into(), namespace: namespace.into(), token: token.into() };
        setup.write(lines, "");
        setup
    }

    /// Writes the settings, with more at their end.
    pub(super) fn write(&self, lines: &str, rest: &str) {
        let mut text = String::from("environment = \"production\"\norder = [\"vault\"]\n");
        write!(text, "[source.vault]\ntype = \"vault\"\npoll = \"1s\"\naddress = \"{}\"\n", self.address)
            .unwrap();
        if !self.namespace.is_empty() {
            writeln!(text, "namespace = \"{}\"", self.namespace).unwrap();
        }
        writeln!(text, "{lines}").unwrap();
        text.push_str("[delivery.app]\ntype = \"env-file\"\nformat = \"json\"\npath = \"app.json\"\n");
        text.push_str("[socket]\npath = \"d.sock\"\n[ops]\nlisten = \"unix:ops.sock\"\n");
        text.push_str(rest);
        self.folder.file("set.toml", &text);
    }

    pub(super) fn start(self) -> Daemon {
        let (child, log) = self.spawn();
        Daemon { setup: self, child, log }
    }

    fn spawn(&self) -> (Child, Arc<Mutex<String>>) {
        let mut command = self.folder.command(&["--config", "set.toml", "daemon"]);
        if !self.token.is_empty() {
            command.env("VAULT_TOKEN", &self.token);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log: Arc<Mutex<String>> = Arc::default();
        let (reader, written) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        thread::spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                writeln!(written.lock().unwrap(), "{line}").unwrap();
            }
        });
        (child, log)
    }
}

/// One that runs, until dropped.
pub(super) struct Daemon {
    pub(super) setup: Setup,
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    /// Another one in its place, as the same settings say; a killed one ends by no order.
    pub(super) fn restart(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
        (self.child, self.log) = self.setup.spawn();
    }

    /// Waits until something is so.
    #[track_caller]
    pub(super) fn until(&mut self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let mut ended = None;
        let reached = poll(|| {
            ended = self.child.try_wait().unwrap();
            (ended.is_some() || is_so(self)).then_some(())
        });
        assert!(ended.is_none(), "it ended ({ended:?}) before: {what}; log:\n{}", self.log());
        let status = self.status().unwrap_or_default();
        assert!(reached.is_some(), "it never came: {what}; log:\n{}\nstatus: {status:#}", self.log());
    }

    /// Nothing else is so for a while: several polls.
    #[track_caller]
    pub(super) fn stays(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + Duration::from_millis(2500);
        while Instant::now() < end {
            assert!(is_so(self), "it changed: {what}; log:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub(super) fn is_ready(&mut self) {
        self.until("it is ready", |daemon| daemon.ops("/readyz").is_some_and(|(status, _)| status == 200));
    }

    /// The variables of the delivered file; none where there is no file.
    pub(super) fn file(&self) -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(self.setup.folder.join("app.json")).unwrap_or("{}".into());
        serde_json::from_str(&text).unwrap()
    }

    pub(super) fn value(&self, key: &str) -> Option<String> {
        self.file().remove(key)
    }

    #[track_caller]
    pub(super) fn delivers(&mut self, key: &str, value: &str) {
        self.until(&format!("{key} is {value}"), |daemon| daemon.value(key).as_deref() == Some(value));
    }

    pub(super) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    #[track_caller]
    pub(super) fn tells(&mut self, words: &str) {
        self.until(&format!("the log has {words:?}"), |daemon| daemon.log().contains(words));
    }

    fn ask(&self, socket: &str, path: &str) -> Option<(u16, String)> {
        let stream = UnixStream::connect(self.setup.folder.join(socket)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let answer = http::ask(stream, "localhost", "GET", path, &[], b"").ok()?;
        Some((answer.status, String::from_utf8(answer.body).unwrap()))
    }

    pub(super) fn ops(&self, path: &str) -> Option<(u16, String)> {
        self.ask("ops.sock", path)
    }

    pub(super) fn status(&self) -> Option<Value> {
        let (status, body) = self.ask("d.sock", "/v1/status")?;
        assert_eq!(status, 200, "{body}");
        Some(serde_json::from_str(&body).unwrap())
    }

    /// `current`, `held`, …; empty where it is not told.
    pub(super) fn state(&self, key: &str) -> String {
        let status = self.status().unwrap_or_default();
        let variables = status["variables"].as_array().cloned().unwrap_or_default();
        let variable = variables.into_iter().find(|variable| variable["key"] == key).unwrap_or_default();
        variable["state"].as_str().unwrap_or_default().to_owned()
    }

    /// `up`, `down`, …
    pub(super) fn health(&self) -> String {
        let status = self.status().unwrap_or_default();
        status["sources"][0]["health"].as_str().unwrap_or_default().to_owned()
    }

    /// The one number of a metric.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.ops("/metrics")?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// Runs a command with the same settings.
    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        self.setup.folder.run(&[&["--config", "set.toml"], arguments].concat())
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Ends it in order; how long that took.
    #[track_caller]
    pub(super) fn terminate(&mut self) -> Duration {
        let start = Instant::now();
        self.signal(Signal::SIGTERM);
        let ended = poll(|| self.child.try_wait().unwrap()).expect("it does not end");
        assert_eq!(ended.code(), Some(0), "{ended:?}: {}", self.log());
        start.elapsed()
    }
}
