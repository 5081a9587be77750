//! `dlconf run --socket PATH --watch -- CMD`: a real daemon, a real program, and what
//! happens to the one when the other changes, goes away, refuses or lies.
//!
//! A program writes a line when it starts; what must not start it again is followed by
//! something that must, and then there is one line more.

mod acknowledged;
mod outages;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemon::{AT_ONCE, Daemon, put, wait_for};
use crate::memory_scan::scan;
use crate::program::Folder;
use crate::running::Running;

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
program = "the shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web", "worker"]

[defaults]
dialect = "go"
on_invalid = "fail"

[var.APP_ENV]
type = "string"
required = false
description = "The environment."

[var.NAME]
type = "string"
required = true
description = "What it is called."

[var.NOTE]
type = "string"
required = false
description = "Anything."

[var.SIGNING_KEY]
type = "hmac-key"
min_bytes = 32
required = true
generate = "base64url:48"
rotation = { strategy = "overlap", every = "30d", overlap = "8d" }
description = "Signs tokens."

[var.MODE]
type = "enum"
values = ["fast", "safe"]
required = false
services = ["worker"]
description = "How it works."

[retired]
DEAD = "nothing reads it"
"#;

const SOURCES: &str = r#"environment = "staging"
order = ["local"]
[source.local]
type = "dotenv"
path = ".env"
[ops]
listen = "unix:ops.sock"
[socket]
path = "dlconf.sock"
mode = "0666"
"#;

const KEY: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6Te";
const OTHER_KEY: &str = "m4Wz8KqN2vXr7TbL5cYj9GdPsF3hQa6Ue";

/// What starts writes a line, and stays.
const PROGRAM: &str = r#"echo "$NAME ${NOTE-none} ${MODE-none} ${DEAD-none} $APP_ENV" >> started
[ "$NAME" = bad ] && exit 3
exec sleep 1000"#;

/// `.env` for the shop.
fn shop(more: &str) -> String {
    format!("SIGNING_KEY={KEY}\n{more}")
}

/// A folder for a daemon with these settings before and behind the usual ones.
fn home(before: &str, behind: &str) -> Folder {
    let folder = Folder::with_env(&shop("NAME=one\n"));
    let settings = format!("{before}{SOURCES}{behind}{AT_ONCE}");
    folder.file("dlconf.schema.toml", SCHEMA).file("dlconf.toml", &settings);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

/// That of the service `web`.
fn web() -> Folder {
    home("service = \"web\"\n", "")
}

/// A `dlconf run --socket --watch` that runs, in a folder of its own.
struct Watched {
    running: Running,
    folder: Folder,
}

impl Watched {
    fn start(daemon: &Folder, options: &[&str]) -> Self {
        Self::with(daemon, options, &[])
    }

    fn with(daemon: &Folder, options: &[&str], own: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let socket = daemon.join("dlconf.sock");
        let socket = socket.to_str().unwrap();
        let common = ["-v", "run", "--socket", socket, "--watch", "--min-interval", "0s"];
        let mut command = folder.command(&[&common, options, &["--", "sh", "-c", PROGRAM]].concat());
        command.env("HOSTNAME", "api-7c9f").envs(own.iter().copied());
        Self { running: Running::start(command), folder }
    }

    fn said(&self) -> String {
        self.running.err()
    }

    fn count(&self, text: &str) -> usize {
        self.said().matches(text).count()
    }

    #[track_caller]
    fn says(&self, text: &str) {
        self.running.tells(text);
    }

    /// A line for each start so far: NAME, NOTE, MODE, DEAD, APP_ENV.
    fn starts(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.folder.join("started")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    /// Waits for so many starts; there must be no more.
    #[track_caller]
    fn started(&self, lines: &[&str]) {
        let context = || format!("{:?}\n{}", self.starts(), self.said());
        wait_for("the start", context, || (self.starts().len() >= lines.len()).then_some(()));
        assert_eq!(self.starts(), lines, "{}", self.said());
    }

    /// Kills the program, and leaves dlconf alone.
    fn kill_program(&self) {
        let pid = self.running.pid();
        let list = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let program =
            wait_for("the program", || self.said(), || list().split_whitespace().next()?.parse().ok());
        kill(Pid::from_raw(program), Signal::SIGKILL).unwrap();
    }
}

/// Exchanges `.env` and waits until the daemon has published it.
#[track_caller]
fn publish(daemon: &Daemon, folder: &Folder, env: &str) -> String {
    let before = daemon.status()["generation"].as_u64();
    put(folder, ".env", env);
    let status = daemon.until("the generation", |status| status["generation"].as_u64() > before);
    status["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_start_waits_for_the_daemon_and_a_change_restarts_once() {
    let folder = web();
    let own = [("NAME", "canary"), ("DEAD", "canary"), ("MODE", "canary"), ("APP_ENV", "staging")];
    let mut watched = Watched::with(&folder, &[], &own);
    watched.says("waiting for the daemon at");
    assert_eq!(watched.starts(), [""; 0]);
    let daemon = Daemon::ready(&folder);
    watched.started(&["one none none none staging"]);
    publish(&daemon, &folder, &shop("NAME=two\nNOTE=n\n"));
    watched.started(&["one none none none staging", "two n none none staging"]);
    watched.says("NAME changed, NOTE added");
    // What was invalid in between started nothing.
    put(&folder, ".env", "NAME=none\n");
    daemon.says("DLC001");
    publish(&daemon, &folder, &shop("NAME=three\n"));
    watched.started(&[
        "one none none none staging",
        "two n none none staging",
        "three none none none staging",
    ]);
    let (code, _) = watched.running.terminate();
    let said = watched.running.whole_err();
    assert_eq!(code, 128 + 15, "{said}");
    assert!(!said.contains("canary") && !said.contains(KEY), "{said}");
}

#[test]
fn what_another_service_reads_restarts_nothing() {
    // This daemon serves all services.
    let folder = home("", "");
    folder.file(".env", &shop("NAME=one\nMODE=fast\n"));
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &["--service", "web"]);
    watched.started(&["one none none none staging"]);
    publish(&daemon, &folder, &shop("NAME=one\nMODE=safe\n"));
    publish(&daemon, &folder, &shop("NAME=two\nMODE=safe\n"));
    watched.started(&["one none none none staging", "two none none none staging"]);
    assert_eq!(watched.count("restarting"), 1, "{}", watched.said());
}

#[test]
fn a_service_is_chosen_where_the_daemon_serves_all() {
    let folder = home("", "");
    folder.file(".env", &shop("NAME=one\nMODE=fast\n"));
    let daemon = Daemon::ready(&folder);
    let empty = Folder::new();
    let run = |options: &[&str]| {
        let socket = daemon.socket.to_str().unwrap();
        empty.run(&[&["run", "--socket", socket], options, &["--", "env"]].concat())
    };
    run(&["--service", "web"]).exits(0).says("NAME=one").never_says("MODE");
    run(&["--service", "worker"]).exits(0).says("MODE=fast");
    run(&[]).exits(0).says("MODE=fast");
    for watch in [&[][..], &["--watch"]] {
        let run = |options: &[&str]| run(&[options, watch].concat()).exits(125).never_says("NAME=one");
        run(&["--service", "wbe"]).warns("knows of no service wbe").warns("--service");
        run(&["--service", "web", "--vars", "NAME"]).warns("serves all services").warns("leave --vars out");
        run(&["--env", "production"]).warns("serves staging, but");
    }
}

#[test]
fn a_value_that_was_rotated_out_is_gone_within_a_second() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    watched.started(&["one none none none staging"]);
    let pid = watched.running.pid().as_raw().cast_unsigned();
    assert!(scan(pid, KEY.as_bytes()).unwrap().total() > 0, "what runs is held");
    publish(&daemon, &folder, &shop("NAME=two\n").replace(KEY, OTHER_KEY));
    watched.started(&["one none none none staging", "two none none none staging"]);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(1);
    loop {
        let is_last = std::time::Instant::now() > until;
        let found = scan(pid, KEY.as_bytes()).unwrap();
        if found.total() == 0 {
            break;
        }
        assert!(!is_last, "{:?}", found.copies);
    }
    assert!(scan(pid, OTHER_KEY.as_bytes()).unwrap().total() > 0);
}
