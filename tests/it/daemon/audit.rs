//! A daemon with an audit log: what is delivered is recorded before.

use super::*;

const AUDIT: &str = "[audit]\npath = \"log/audit.jsonl\"\nkey_file = \"audit-key\"\n";
const KEY: &str = "0123456789abcdef0123456789abcdef\n";

fn audited(more: &str) -> Folder {
    let folder = home(&[SOURCES, DELIVERIES, AT_ONCE, AUDIT, more]);
    folder.file("audit-key", KEY);
    folder
}

fn lines(folder: &Folder, name: &str) -> Vec<Value> {
    folder.read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until the log has such a line.
#[track_caller]
fn recorded(folder: &Folder, name: &str, is_so: impl Fn(&Value) -> bool) {
    let text = || fs::read_to_string(folder.join(name)).unwrap_or_default();
    let whole = |text: String| {
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        text[..end].lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).any(|line| is_so(&line))
    };
    wait_for("a line in the log", text, || whole(text()).then_some(()));
}

fn verify(folder: &Folder) {
    folder.run(&["--config", "dlconf.toml", "audit", "verify"]).exits(0).says("whole");
}

#[test]
fn every_delivery_is_recorded_and_no_value_is() {
    let folder = audited("");
    let daemon = Daemon::ready(&folder);
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    let log = lines(&folder, "log/audit.jsonl");
    assert_eq!(log[0]["event"], "opened");
    let of_app: Vec<&Value> = log.iter().filter(|line| line["delivery"] == "app").collect();
    assert_eq!(of_app.len(), 2, "one a version");
    assert_eq!((&of_app[0]["event"], &of_app[0]["action"]), (&"release".into(), &"read".into()));
    assert!(of_app[0]["vars"].as_array().unwrap().contains(&"TOKEN".into()));
    assert_eq!(of_app[1]["version"], daemon.status()["version"]);
    let status = daemon.status();
    assert_eq!(status["audit"]["head"], log.last().unwrap()["mac"]);
    assert_eq!(status["audit"]["records"], log.len());
    assert_eq!(daemon.metric("dlconf_audit_records_total"), log.len() as u64);
    assert_eq!(daemon.metric("dlconf_audit_failing"), 0);
    let head = daemon.metric("dlconf_audit_head").to_string();
    folder
        .run(&["--config", "dlconf.toml", "audit", "verify", "--expect-head", &head])
        .exits(0)
        .says("last record's");
    daemon.end(Signal::SIGTERM).exits(0);
    assert_eq!(lines(&folder, "log/audit.jsonl").last().unwrap()["event"], "closed");
    verify(&folder);
    let text = folder.read("log/audit.jsonl");
    assert!(!text.contains(TOKEN) && !text.contains("two") && !text.contains("9000"), "{text}");
}

#[test]
fn a_second_daemon_is_refused() {
    let folder = audited("");
    let daemon = Daemon::ready(&folder);
    let other = [SOURCES, DELIVERIES, AT_ONCE, AUDIT].concat().replace("dlconf.sock", "other.sock");
    folder.file("other.toml", &other.replace("ops.sock", "other-ops.sock").replace("out/", "other/"));
    let other = Daemon::of(&folder, &mut folder.command(&["--config", "other.toml", "daemon"]));
    other.wait().exits(4).said("another daemon writes the audit log log/audit.jsonl");
    drop(daemon);
    Daemon::ready(&folder).end(Signal::SIGTERM).exits(0);
    verify(&folder);
}

#[test]
fn a_key_that_is_wrong_ends_the_start() {
    let folder = audited("");
    let run = || Daemon::start(&folder).wait().exits(4);
    folder.bytes("audit-key", KEY.as_bytes(), 0o644);
    run().said("audit-key holds the audit key and has mode 0644").said("chmod 0400 audit-key");
    fs::remove_file(folder.join("audit-key")).unwrap();
    run().said("there is no file audit-key").said("openssl rand -base64 48 > audit-key");
    folder.file("audit-key", KEY);
    Daemon::ready(&folder).end(Signal::SIGTERM).exits(0);
    folder.file("audit-key", "another key of thirty-two bytes!");
    run().said("was not written with this key").said("--key-file OLD");
    assert!(!folder.join("dlconf.sock").exists());
}

#[test]
fn a_hang_up_after_a_move_begins_another_file() {
    let folder = audited("");
    let daemon = Daemon::ready(&folder);
    fs::rename(folder.join("log/audit.jsonl"), folder.join("log/moved")).unwrap();
    daemon.signal(Signal::SIGHUP);
    recorded(&folder, "log/audit.jsonl", |line| line["why"] == "moved");
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    assert!(lines(&folder, "log/audit.jsonl").iter().any(|line| line["delivery"] == "app"));
    daemon.end(Signal::SIGTERM).exits(0);
    let files = ["log/audit.jsonl", "log/moved"];
    let verify = [&["--config", "dlconf.toml", "audit", "verify"], &files[..]].concat();
    folder.run(&verify).exits(0).says("records 1 (");
}

#[test]
fn a_reload_records_where_the_log_goes() {
    const DONE: &str = "settings and schema were read again and hold";
    let folder = audited("");
    let daemon = Daemon::ready(&folder);
    let with = |audit: &str| {
        let before = daemon.count(DONE);
        put(&folder, "dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, audit].concat());
        daemon.says_for(before + 1, DONE);
    };
    // The same log with other terms: no second writer.
    with(&format!("{AUDIT}required = false\nkeep = 3\n"));
    assert_eq!(daemon.status()["audit"]["required"], false);
    assert!(!folder.read("log/audit.jsonl").contains("closed"));
    // Another log.
    with(&AUDIT.replace("log/", "elsewhere/"));
    let last = || lines(&folder, "log/audit.jsonl").last().unwrap().clone();
    assert_eq!((&last()["event"], &last()["why"]), (&"closed".into(), &"another log".into()));
    assert_eq!(lines(&folder, "elsewhere/audit.jsonl")[0]["event"], "opened");
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    recorded(&folder, "elsewhere/audit.jsonl", |line| line["delivery"] == "app");
    // None.
    with("");
    let elsewhere = lines(&folder, "elsewhere/audit.jsonl");
    assert_eq!(elsewhere.last().unwrap()["why"], "no more audit");
    assert_eq!(daemon.status()["audit"], Value::Null);
    // And again.
    with(AUDIT);
    assert_eq!(last()["event"], "opened");
    daemon.end(Signal::SIGTERM).exits(0);
    verify(&folder);
}

#[test]
fn a_reload_does_not_exchange_the_key() {
    let folder = audited("");
    let daemon = Daemon::ready(&folder);
    folder.file("other-key", "another key of thirty-two bytes!");
    put(
        &folder,
        "dlconf.toml",
        &[SOURCES, DELIVERIES, AT_ONCE, &AUDIT.replace("audit-key", "other-key")].concat(),
    );
    daemon.says("the key of the audit log log/audit.jsonl cannot be exchanged");
    // The same key elsewhere is the same key.
    folder.file("other-key", KEY);
    daemon.signal(Signal::SIGHUP);
    daemon.says("settings and schema were read again and hold");
    daemon.end(Signal::SIGTERM).exits(0);
    verify(&folder);
}

/// A daemon for which no file may be larger than 64 or 128 KiB: shells count in
/// blocks of either size.
fn cramped(folder: &Folder) -> Command {
    let mut command = folder.command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 128; exec \"$0\" --config dlconf.toml -v daemon"]);
    shell.arg(command.get_program()).current_dir(folder.path()).env_clear();
    shell.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
    command = shell;
    command
}

/// Makes a log that is larger than that.
fn grow(folder: &Folder) {
    use dlconf::access::audit::AuditConfig;
    use dlconf::source::file::ShownPath;
    struct Nobody;
    impl dlconf::telemetry::Listener for Nobody {
        fn tell(&self, _: dlconf::telemetry::Event) {}
    }
    let config = AuditConfig {
        path: folder.path().canonicalize().unwrap().join("log/audit.jsonl"),
        label: "log".to_owned(),
        key_file: ShownPath::named(&folder.join("audit-key")),
        required: true,
        max_bytes: 1 << 30,
        keep: 1,
    };
    while fs::metadata(&config.path).map_or(0, |metadata| metadata.len()) < 200 * 1024 {
        for _ in 0..100 {
            drop(dlconf::access::Audit::open(&config, Arc::new(Nobody)).unwrap());
        }
    }
}

#[test]
fn what_cannot_be_recorded_is_not_released() {
    let folder = audited("");
    grow(&folder);
    let daemon = Daemon::of(&folder, &mut cramped(&folder));
    daemon.wait().exits(4).said("the audit log log/audit.jsonl cannot be written: File too large");
    assert!(!folder.join("out/app.env").exists());
}

#[test]
fn what_need_not_be_recorded_is_released_loudly() {
    let folder = audited("required = false\n");
    grow(&folder);
    let daemon = Daemon::of(&folder, &mut cramped(&folder));
    daemon.holds(&folder, "out/app.env", "one");
    daemon.says(
        "error: the audit log log/audit.jsonl cannot be written: File too large; values are released without",
    );
    let status = daemon.until("readiness", |status| status["ready"] == true);
    assert!(status["audit"]["failure"].as_str().unwrap().contains("File too large"));
    assert_eq!(daemon.metric("dlconf_audit_failing"), 1);
    folder
        .run(&["--config", "dlconf.toml", "status"])
        .exits(0)
        .says("the audit log log/audit.jsonl cannot be written");
    daemon.end(Signal::SIGTERM).exits(0);
}
