//! `dlconf run --watch` over a real OpenBao: its changes restart the program, its
//! absence does not, and what it lent is given back at the end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bao::proxy::Proxy;
use crate::bao::{Bao, poll, postgres};
use crate::running::Running;
use crate::vault::{SCHEMA, Setting};

const TOKENS: [&str; 3] = ["k-1Lm3Xq7Vb2Nc8Ws5Rt", "k-2Lm3Xq7Vb2Nc8Ws5Rt", "k-3Lm3Xq7Vb2Nc8Ws5Rt"];

const LINES: &str =
    "auth = { method = \"token\" }\npoll = \"1s\"\npaths = [{ mount = \"secret\", path = \"app\" }]\n";

fn watch(setting: &Setting, bao: &Bao, options: &[&str], script: &str) -> Running {
    let arguments =
        [&["--config", "set.toml", "run", "--watch"], options, &["--", "sh", "-c", script]].concat();
    let mut command = setting.folder.command(&arguments);
    command.env("VAULT_TOKEN", bao.root_token());
    Running::start(command)
}

#[test]
fn behaviour_13_a_changed_password_gives_exactly_one_restart_with_the_new_value() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0], "DB_PASSWORD": "first-pw-8Hq2vXc9" }));
    let setting = Setting::of(&bao.address(), bao.namespace(), LINES);
    let mut running = watch(&setting, &bao, &[], "echo start $DB_PASSWORD; exec sleep 60");
    assert_eq!(running.has(1, "start "), ["first-pw-8Hq2vXc9"]);
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0], "DB_PASSWORD": "second-pw-8Hq2vXc9" }));
    assert_eq!(running.has(2, "start ")[1], "second-pw-8Hq2vXc9");
    // The same once more is a version there, and none here; what comes then shows that
    // nothing came in between.
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0], "DB_PASSWORD": "second-pw-8Hq2vXc9" }));
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0], "DB_PASSWORD": "third-pw-8Hq2vXc9" }));
    let started = ["first-pw-8Hq2vXc9", "second-pw-8Hq2vXc9", "third-pw-8Hq2vXc9"];
    assert_eq!(running.has(3, "start "), started);
    assert_eq!(running.terminate().0, 128 + 15);
    let err = running.err();
    assert_eq!(err.matches("dlconf: DB_PASSWORD changed in vault: restarting sh\n").count(), 2, "{err}");
    assert!(!err.contains("-pw-"), "{err}");
}

/// Many polls, and much longer than values may be old.
#[test]
fn a_long_time_without_vault_restarts_nothing() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0] }));
    let proxy = Proxy::to(&bao.address());
    let lines = format!("{LINES}max_age = \"2s\"\n");
    let setting = Setting::of(&proxy.address(), bao.namespace(), &lines);
    let refuse = SCHEMA.replace("[var.TOKEN]\n", "[var.TOKEN]\nstale = \"refuse\"\n");
    setting.folder.file("dlconf.schema.toml", &refuse);
    let running = watch(&setting, &bao, &["--min-interval", "0s"], "echo start $TOKEN; exec sleep 60");
    running.has(1, "start ");
    proxy.refuse();
    running.tells("source vault cannot be read, what it gave before holds");
    running.tells("source vault is older than it may be");
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[1] }));
    // Refused connections are not counted: so long that it asked again and again.
    let end = Instant::now() + Duration::from_secs(6);
    while Instant::now() < end {
        assert_eq!(running.lines("start "), [TOKENS[0]], "{}", running.err());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(running.lines("start "), [TOKENS[0]]);
    proxy.pass();
    assert_eq!(running.has(2, "start "), &TOKENS[..2]);
    running.tells("source vault can be read again");
    assert_eq!(running.err().matches("restarting").count(), 1, "{}", running.err());
    assert_eq!(running.err().matches("cannot be read").count(), 1, "{}", running.err());
}

#[test]
fn a_deleted_secret_that_is_required_is_held_and_told() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0], "PORT": "1" }));
    let setting = Setting::of(&bao.address(), bao.namespace(), LINES);
    let running = watch(&setting, &bao, &[], "echo start $TOKEN $PORT; exec sleep 60");
    running.has(1, "start ");
    bao.kv_put("app", &json!({ "PORT": "2" }));
    running.tells("source vault deleted TOKEN, which is required: sh keeps its value (fix: put it back");
    assert_eq!(running.has(2, "start ")[1], format!("{} 2", TOKENS[0]));
}

#[test]
fn leases_live_as_long_as_the_program_and_are_given_back_at_its_end() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "4s", "max_ttl": "1h" }));
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0] }));
    let lines = "auth = { method = \"token\" }\npoll = \"1s\"\npaths = [\n\
           { mount = \"secret\", path = \"app\" },\n\
           { engine = \"database\", path = \"database/creds/app\",\n\
             map = { username = \"DB_USER\", password = \"DB_PASSWORD\" } },\n]\n";
    let setting = Setting::of(&bao.address(), bao.namespace(), lines);
    let leases = || bao.list("sys/leases/lookup/database/creds/app").len();
    let script = "echo start $DB_USER $DB_PASSWORD $TOKEN; sleep 6; echo late; exec sleep 60";
    let mut running = watch(&setting, &bao, &[], script);
    let start = running.has(1, "start ").remove(0);
    let parts: Vec<String> = start.split(' ').map(str::to_owned).collect();
    assert_eq!(leases(), 1, "what was read at the start is what is renewed");
    running.has(1, "late");
    assert!(postgres::accepts(&parts[0], &parts[1]), "renewed past its first life");
    // Another variable restarts it with the same login.
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[1] }));
    let again = running.has(2, "start ").remove(1);
    assert_eq!(again, format!("{} {} {}", parts[0], parts[1], TOKENS[1]));
    let (code, took) = running.terminate();
    assert_eq!(code, 128 + 15);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(leases(), 0);
    assert!(poll(|| (!postgres::role_exists(&parts[0])).then_some(())).is_some());
}

#[test]
fn a_stop_while_vault_does_not_answer_starts_nothing() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKENS[0] }));
    let proxy = Proxy::to(&bao.address());
    proxy.hang();
    let setting = Setting::of(&proxy.address(), bao.namespace(), LINES);
    let mut running = watch(&setting, &bao, &[], "echo start; exec sleep 60");
    running.tells("waiting for vault");
    let (code, took) = running.terminate();
    assert_eq!((code, running.out().as_str()), (128 + 15, ""));
    assert!(took < Duration::from_secs(5), "{took:?}");
}
