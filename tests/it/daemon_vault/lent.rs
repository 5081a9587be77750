//! `run --socket` of a daemon that withholds something, since its source was not
//! confirmed for too long.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use super::running::{Daemon, Setup};
use super::{APP, PIN, lines};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, poll};
use crate::program::Folder;
use crate::running::Running;

const OTHER_PIN: &str = "m4Wz8KqN2vXr7TbL5cYj9GdPsF3hQa6U";

const AUDIT: &str = "[audit]\npath = \"log/audit.jsonl\"\nkey_file = \"audit-key\"\n";

/// A daemon behind a proxy, whose values may be four seconds old.
fn daemon(bao: &Bao, proxy: &Proxy) -> Daemon {
    let setup = Setup::new(&proxy.address(), bao.namespace(), bao.root_token(), "");
    setup.folder.file("audit-key", "0123456789abcdef0123456789abcdef\n");
    setup.write(&(lines(&[APP]) + "max_age = \"4s\"\n"), AUDIT);
    let mut daemon = setup.start();
    daemon.is_ready();
    daemon
}

/// A program over that daemon; it says what it was started with.
fn run(daemon: &Daemon, own: &Folder, options: &[&str]) -> Running {
    let socket = daemon.setup.folder.join("d.sock");
    let common = ["run", "--socket", socket.to_str().unwrap()];
    let program = ["--", "sh", "-c", "echo start $TOKEN ${PIN-none}; exec sleep 60"];
    let mut command = own.command(&[&common, options, &program].concat());
    command.stdin(Stdio::null());
    Running::start(command)
}

/// How often values were let out, to anybody.
fn releases(daemon: &Daemon) -> usize {
    daemon.setup.folder.read("log/audit.jsonl").matches("\"event\":\"release\"").count()
}

#[test]
fn what_is_withheld_is_taken_from_no_program_and_asked_for_no_more_often() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first", "PIN": PIN }));
    let proxy = Proxy::to(&bao.address());
    let mut daemon = daemon(&bao, &proxy);
    let own = Folder::new();
    let running = run(&daemon, &own, &["--watch", "--min-interval", "0s"]);
    assert_eq!(running.has(1, "start "), [format!("first {PIN}")]);
    proxy.refuse();
    daemon.until("it is withheld", |daemon| daemon.value("PIN").is_none());
    running.tells("withholds PIN: too old to be given; sh goes on with what it has");
    let before = releases(&daemon);
    assert!(before >= 4, "to the delivery and to us, with it and without");
    daemon.stays("nothing is started", |_| running.lines("start ").len() == 1);
    assert_eq!(releases(&daemon), before, "nobody was given anything again");
    // It comes back with another value: then everything is as ever.
    bao.kv_put("app", &json!({ "TOKEN": "first", "PIN": OTHER_PIN }));
    proxy.pass();
    assert_eq!(running.has(2, "start ")[1], format!("first {OTHER_PIN}"));
    running.tells("is followed again, after");
    bao.kv_put("app", &json!({ "TOKEN": "second", "PIN": OTHER_PIN }));
    assert_eq!(running.has(3, "start ")[2], format!("second {OTHER_PIN}"));
    let err = running.err();
    assert_eq!((err.matches("withholds").count(), err.matches("restarting").count()), (1, 2), "{err}");
    assert_eq!(err.matches("is followed again").count(), 1, "{err}");
    assert!(!err.contains(PIN) && !err.contains(OTHER_PIN), "{err}");
}

#[test]
fn a_start_waits_for_what_is_withheld_and_starts_nothing_without_it() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": "first", "PIN": PIN }));
    let proxy = Proxy::to(&bao.address());
    let mut daemon = daemon(&bao, &proxy);
    let own = Folder::new();
    proxy.refuse();
    daemon.until("it is withheld", |daemon| daemon.value("PIN").is_none());
    for watch in [&[][..], &["--watch"]] {
        let begun = Instant::now();
        let mut running = run(&daemon, &own, &[&["--wait", "2s"], watch].concat());
        assert_eq!(running.code(), 125, "{}", running.err());
        assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
        running.tells("withholds PIN: too old to be given (waited 2s)");
        assert_eq!(running.out(), "");
        // Who needs less does not wait.
        let less = run(&daemon, &own, &[&["--wait", "2s", "--vars", "TOKEN"], watch].concat());
        assert_eq!(less.has(1, "start "), ["first none"]);
    }
    // What is waited for may come.
    let waiting: Vec<Running> =
        [&[][..], &["--watch"]].map(|watch| run(&daemon, &own, &[&["--wait", "60s"], watch].concat())).into();
    for one in &waiting {
        one.tells("waiting for the daemon at");
    }
    proxy.pass();
    for one in &waiting {
        assert_eq!(one.has(1, "start "), [format!("first {PIN}")]);
    }
    assert!(poll(|| (daemon.health() == "up").then_some(())).is_some());
}
