//! dlconf with a Kubernetes source, in a folder of its own: its settings, its
//! daemon, and what it delivers.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cluster::Cluster;
use crate::daemon::{Daemon, wait_for};
use crate::program::{Folder, Ran};

pub(super) const SCHEMA: &str = r#"
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
[var.OPT]
type = "string"
required = false
[var.A]
type = "string"
required = false
[var.B]
type = "string"
required = false
[var.X_A]
type = "string"
required = false
[var.TLS_KEY]
type = "string"
secret = true
required = false
"#;

/// A folder with settings for a cluster.
pub(super) struct Shop {
    pub(super) folder: Folder,
    kubeconfig: String,
}

/// The settings beside the source: changes count at once, and come as JSON.
pub(super) const REST: &str = r#"
[delivery.app]
type = "env-file"
format = "json"
path = "app.json"
[socket]
path = "dlconf.sock"
[ops]
listen = "unix:ops.sock"
[debounce]
min = "0ms"
"#;

impl Shop {
    /// `lines` are those of `[source.config]` beside its type and its kubeconfig.
    pub(super) fn new(cluster: &Cluster, lines: &str) -> Self {
        Self::with(cluster, lines, REST)
    }

    /// With more settings after the usual ones.
    pub(super) fn with_more(cluster: &Cluster, lines: &str, more: &str) -> Self {
        Self::with(cluster, lines, &format!("{REST}{more}"))
    }

    pub(super) fn with(cluster: &Cluster, lines: &str, rest: &str) -> Self {
        let folder = Folder::new();
        folder.file("dlconf.schema.toml", SCHEMA);
        let shop = Self { folder, kubeconfig: cluster.kubeconfig().display().to_string() };
        shop.write(lines, rest);
        shop
    }

    pub(super) fn write(&self, lines: &str, rest: &str) {
        let text = format!(
            "environment = \"production\"\norder = [\"config\"]\n[source.config]\ntype = \"kubernetes\"\n\
             kubeconfig = \"{}\"\n{lines}\n{rest}",
            self.kubeconfig
        );
        self.folder.file("dlconf.toml", &text);
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        self.folder.run(&[&["--config", "dlconf.toml"], arguments].concat())
    }

    /// A daemon that is not waited for.
    pub(super) fn start(self) -> Running {
        Running { daemon: Daemon::start(&self.folder), shop: self }
    }

    /// One that has delivered.
    #[track_caller]
    pub(super) fn ready(self) -> Running {
        let running = self.start();
        running.is_ready();
        running
    }
}

/// A daemon at work, until dropped.
pub(super) struct Running {
    pub(super) shop: Shop,
    pub(super) daemon: Daemon,
}

/// What must not change while a file stays as it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trace {
    inode: u64,
    written: (i64, i64),
}

impl Running {
    #[track_caller]
    pub(super) fn is_ready(&self) {
        self.daemon.until("readiness", |status| status["ready"] == true);
    }

    /// The variables of the delivered file; none where there is no file.
    pub(super) fn file(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.shop.folder.join("app.json")).unwrap_or_else(|_| "{}".into());
        serde_json::from_str(&text).unwrap()
    }

    pub(super) fn value(&self, key: &str) -> Option<String> {
        self.file().remove(key)
    }

    pub(super) fn trace(&self) -> Trace {
        let metadata = fs::metadata(self.shop.folder.join("app.json")).unwrap();
        Trace { inode: metadata.ino(), written: (metadata.mtime(), metadata.mtime_nsec()) }
    }

    pub(super) fn log(&self) -> String {
        self.daemon.lines().join("\n")
    }

    #[track_caller]
    pub(super) fn delivers(&self, key: &str, value: &str) {
        wait_for(
            &format!("{key} = {value}"),
            || format!("{:?}\n{:#}\n{}", self.file(), self.daemon.status(), self.log()),
            || (self.value(key).as_deref() == Some(value)).then_some(()),
        );
    }

    /// The same within a time of its own; how long it took.
    #[track_caller]
    pub(super) fn delivers_within(&self, limit: Duration, key: &str, value: &str) -> Duration {
        let began = Instant::now();
        while self.value(key).as_deref() != Some(value) {
            assert!(began.elapsed() < limit, "{key} is not {value} after {limit:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        began.elapsed()
    }

    #[track_caller]
    pub(super) fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        wait_for(
            what,
            || format!("{:?}\n{:#}\n{}", self.file(), self.daemon.status(), self.log()),
            || is_so(self).then_some(()),
        );
    }

    /// `up`, `down`, …
    pub(super) fn health(&self) -> String {
        let status = self.daemon.status();
        status["sources"][0]["health"].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(super) fn becomes(&self, health: &str) {
        self.until(&format!("the source is {health}"), |running| running.health() == health);
    }

    /// `current`, `held`, `deleted`, …; empty where it is not told.
    pub(super) fn state(&self, key: &str) -> String {
        let status = self.daemon.status();
        let variables = status["variables"].as_array().cloned().unwrap_or_default();
        let variable = variables.into_iter().find(|variable| variable["key"] == key).unwrap_or_default();
        variable["state"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn generation(&self) -> u64 {
        self.daemon.status()["generation"].as_u64().unwrap()
    }

    /// The findings that the status tells, as text.
    pub(super) fn findings(&self) -> String {
        self.daemon.status()["findings"].to_string()
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Ran {
        self.shop.run(arguments)
    }

    /// Another one in its place; a killed one ends by no order.
    #[track_caller]
    pub(super) fn restart(self) -> Self {
        let Self { shop, daemon } = self;
        drop(daemon);
        shop.start()
    }

    /// Its memory that is no file's, in KiB.
    pub(super) fn anonymous_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.daemon.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    pub(super) fn status(&self) -> Value {
        self.daemon.status()
    }
}
