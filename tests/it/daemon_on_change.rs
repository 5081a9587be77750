//! What the programs of `on_change` do to a daemon, and it to them: the real binary.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::Folder;

const SCHEMA: &str = r#"schema_version = 1
name = "small"
environments = { variable = "APP_ENV", names = ["development", "production"] }

[var.TOKEN]
type = "api-key"
"#;

const OLD: &str = "Zx81secretOLD77x9q2m";
const NEW: &str = "Qw55secretNEW31y7p0z";

/// A daemon that is ended with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped = self.0.wait();
    }
}

impl Daemon {
    /// Ends it, and gives what it wrote to stderr.
    fn terminate(mut self) -> String {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }
}

fn start(folder: &Folder, hook: &str) -> Daemon {
    folder.file("schema.toml", SCHEMA).file("app.env", &format!("TOKEN={OLD}\n"));
    folder.bytes("hook.sh", format!("#!/bin/sh\ncd {}\n{hook}", folder.path().display()).as_bytes(), 0o755);
    let settings = format!(
        r#"schema = "schema.toml"
environment = "production"
[source.local]
type = "dotenv"
path = "app.env"
[delivery.app]
type = "env-file"
path = "out/app.env"
on_change = {{ exec = ["{}"], min_interval = "0s", timeout = "60s" }}
[debounce]
min = "0s"
"#,
        folder.join("hook.sh").display()
    );
    folder.file("dlconf.toml", &settings);
    let mut command = folder.command(&["--config", "dlconf.toml", "daemon"]);
    Daemon(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
}

#[track_caller]
fn until(what: &str, is: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn holds(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|content| content.contains(text))
}

#[test]
fn a_value_that_is_exchanged_while_a_program_runs_is_masked_in_what_it_writes() {
    let folder = Folder::new();
    let hook = "read=$(cat $DLCONF_PATH)\n: > reading\nn=0; while [ $n -lt 1500 ] && ! [ -e go ]; do n=$((n+1)); sleep 0.02; done\n\
                echo \"$read\"\necho done >> ran\n";
    let daemon = start(&folder, hook);
    until("it reads", || folder.join("reading").exists());
    folder.file("next.env", &format!("TOKEN={NEW}\n"));
    fs::rename(folder.join("next.env"), folder.join("app.env")).unwrap();
    until("the new value", || holds(&folder.join("out/app.env"), NEW));
    // The daemon may notice only now that it is there: the next run is after that.
    folder.file("go", "");
    until("both ran", || holds(&folder.join("ran"), "done\ndone"));
    let said = daemon.terminate();
    assert!(said.contains("TOKEN="), "{said}");
    assert!(!said.contains(OLD) && !said.contains(NEW), "{said}");
}

#[test]
fn no_program_outlives_the_daemon() {
    let folder = Folder::new();
    let daemon = start(
        &folder,
        "trap '' TERM\necho $$ > pid\nn=0; while [ $n -lt 300 ]; do n=$((n+1)); sleep 0.1; done\n",
    );
    let file = folder.join("pid");
    until("it runs", || holds(&file, "\n"));
    let program = Pid::from_raw(fs::read_to_string(&file).unwrap().trim().parse().unwrap());
    let _said = daemon.terminate();
    let is_gone = || {
        let status = fs::read_to_string(format!("/proc/{program}/stat"));
        status.is_err() || status.is_ok_and(|status| status.contains(") Z "))
    };
    let deadline = Instant::now() + Duration::from_secs(2);
    while !is_gone() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let was_gone = is_gone();
    if !was_gone {
        kill(program, Signal::SIGKILL).unwrap();
    }
    assert!(was_gone, "the program still ran");
}
