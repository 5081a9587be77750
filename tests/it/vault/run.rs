//! `run` and its like over credentials that end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::Setting;
use crate::bao::{Bao, poll, postgres};

/// Settings that read credentials with these options of their role.
fn leased(bao: &Bao, options: &Value) -> Setting {
    bao.database_role("app", options);
    bao.kv_put("app", &json!({ "TOKEN": "k-9Lm3Xq7Vb2Nc8Ws5Rt" }));
    let mut setting = Setting::new(bao, "{ method = \"token\" }");
    setting.lines(
        "auth = { method = \"token\" }\n\
         paths = [\n\
           { mount = \"secret\", path = \"app\" },\n\
           { engine = \"database\", path = \"database/creds/app\",\n\
             map = { username = \"DB_USER\", password = \"DB_PASSWORD\" } },\n\
         ]\n",
    );
    setting
}

/// A running `dlconf run`, and the lines of its program.
struct Running {
    dlconf: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    fn start(setting: &Setting, bao: &Bao, script: &str) -> Self {
        let mut command: Command =
            setting.folder.command(&["--config", "set.toml", "run", "--", "sh", "-c", script]);
        command.env("VAULT_TOKEN", bao.root_token()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut dlconf = command.spawn().unwrap();
        let said = BufReader::new(dlconf.stdout.take().unwrap());
        Self { dlconf, said }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.dlconf.id().try_into().unwrap())
    }

    /// Lets the program go on past its `read`.
    fn go_on(&mut self) {
        drop(self.dlconf.stdin.take());
    }

    fn code(&mut self) -> i32 {
        self.dlconf.wait().unwrap().code().unwrap()
    }
}

fn is_gone(user: &str) -> bool {
    poll(|| (!postgres::role_exists(user)).then_some(())).is_some()
}

#[test]
fn leases_are_revoked_when_the_program_ends_and_its_code_comes_through() {
    let bao = Bao::shared();
    let setting = leased(&bao, &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    for code in [0, 5] {
        let script = format!("echo $DB_USER; read x; exit {code}");
        let mut running = Running::start(&setting, &bao, &script);
        let user = running.line();
        assert!(postgres::role_exists(&user), "{user:?}");
        running.go_on();
        assert_eq!(running.code(), code);
        assert!(!postgres::role_exists(&user), "revoked before dlconf ended");
    }
}

#[test]
fn a_signal_is_passed_on_and_leases_are_revoked_after_it() {
    let bao = Bao::shared();
    let setting = leased(&bao, &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    for (script, code) in [
        ("trap 'exit 7' TERM; echo $DB_USER; n=0; while [ $n -lt 600 ]; do n=$((n+1)); sleep 0.05; done", 7),
        ("echo $DB_USER; exec sleep 60", 128 + 15),
    ] {
        let mut running = Running::start(&setting, &bao, script);
        let user = running.line();
        kill(running.pid(), Signal::SIGTERM).unwrap();
        running.go_on();
        assert_eq!(running.code(), code, "{script}");
        assert!(is_gone(&user));
    }
}

#[test]
fn credentials_live_as_long_as_the_program() {
    let bao = Bao::shared();
    let setting = leased(&bao, &json!({ "default_ttl": "4s", "max_ttl": "1h" }));
    let mut running =
        Running::start(&setting, &bao, "echo $DB_USER; echo $DB_PASSWORD; sleep 6; echo late; read x");
    let (user, password) = (running.line(), running.line());
    assert_eq!(running.line(), "late");
    assert!(postgres::accepts(&user, &password), "renewed past its first life");
    running.go_on();
    running.code();
    assert!(is_gone(&user));
}

#[test]
fn who_kills_dlconf_ends_the_program() {
    let bao = Bao::shared();
    let setting = leased(&bao, &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    let mut running = Running::start(
        &setting,
        &bao,
        "trap 'echo told; exit' TERM; echo ready; n=0; while [ $n -lt 600 ]; do n=$((n+1)); sleep 0.05; done",
    );
    assert_eq!(running.line(), "ready");
    kill(running.pid(), Signal::SIGKILL).unwrap();
    running.dlconf.wait().unwrap();
    assert_eq!(running.line(), "told");
    bao.write("sys/leases/revoke-prefix/database/creds/app", &json!({}));
}

#[test]
fn without_leases_the_program_takes_the_place_of_dlconf() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "k-9Lm3Xq7Vb2Nc8Ws5Rt" }));
    let setting = Setting::new(&bao, "{ method = \"token\" }");
    let mut running = Running::start(&setting, &bao, "echo $$; echo ${VAULT_TOKEN-none}");
    assert_eq!(running.line(), running.dlconf.id().to_string());
    assert_eq!(running.line(), "none", "the server's token is not the program's business");
    assert_eq!(running.code(), 0);
}

#[test]
fn a_check_leaves_no_lease_and_a_rendering_one() {
    let bao = Bao::shared();
    let setting = leased(&bao, &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    let leases = || bao.list("sys/leases/lookup/database/creds/app").len();
    setting.run(bao.root_token(), &["check"]).exits(0);
    setting.run(bao.root_token(), &["explain", "DB_USER"]).exits(0);
    assert_eq!(leases(), 0);
    let rendered = setting.run(bao.root_token(), &["render"]).exits(0).stdout;
    assert_eq!(leases(), 1);
    let user = rendered.lines().find_map(|line| line.strip_prefix("DB_USER=")).unwrap().to_owned();
    assert!(postgres::role_exists(&user));
    // What is refused hands nothing out: its lease is not left.
    setting.folder.file(
        "dlconf.schema.toml",
        &format!("{}\n[var.MORE]\ntype = \"string\"\ndescription = \"x\"\n", super::SCHEMA),
    );
    setting.run(bao.root_token(), &["render"]).exits(1);
    setting.run(bao.root_token(), &["run", "--", "true"]).exits(125);
    assert_eq!(leases(), 1);
    bao.write("sys/leases/revoke-prefix/database/creds/app", &json!({}));
}

#[test]
fn what_the_program_says_is_all_that_is_on_stdout() {
    let bao = Bao::shared();
    let setting = leased(&bao, &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    let mut running = Running::start(&setting, &bao, "printf x");
    let mut all = String::new();
    running.said.read_to_string(&mut all).unwrap();
    assert_eq!((all.as_str(), running.code()), ("x", 0));
}
