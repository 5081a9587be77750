//! `/v1/watch`: changes as they happen, and after having been away.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::client::Watching;
use super::*;

const ALL: [&str; 4] = ["APP_ENV", "NAME", "PORT", "SIGNING_KEY"];

fn watch(daemon: &Daemon) -> Watching {
    Watching::start(&daemon.socket, "/v1/watch", None)
}

#[test]
fn the_first_event_is_everything() {
    let (folder, daemon) = daemon(&shop(""));
    let mut watching = watch(&daemon);
    let first = watching.event();
    assert!(first.is_resync());
    assert_eq!(first.id, version(&daemon));
    assert_eq!(first.changed(), ALL);
    assert!(watching.text.starts_with("retry: 1000\n\n"), "{}", watching.text);
    // From then on, what changes, comes and goes.
    for (env, changed) in [
        (shop("PORT=9000\n"), vec!["PORT"]),
        (shop("PORT=9000\nNOTE=a\n").replace(KEY, OTHER_KEY), vec!["NOTE", "SIGNING_KEY"]),
        (shop("").replace(KEY, OTHER_KEY), vec!["PORT", "NOTE"]),
    ] {
        let version = publish(&daemon, &folder, &env);
        let event = watching.event();
        assert!(!event.is_resync(), "{event:?}");
        assert_eq!((&event.id, event.changed()), (&version, changed));
    }
}

#[test]
fn before_the_first_generation_nothing_is_told() {
    let folder = home("", "NAME=shop\n");
    let daemon = Daemon::start(&folder);
    daemon.says("nothing can be published yet");
    let mut watching = watch(&daemon);
    client::round_trip(&daemon.socket);
    put(&folder, ".env", &shop(""));
    let first = watching.event();
    assert!(first.is_resync());
    assert_eq!((first.id.rsplit_once('.').unwrap().1, first.changed()), ("1", ALL.to_vec()));
}

#[test]
fn less_than_everything_is_watched() {
    let (folder, daemon) = daemon(&shop(""));
    let mut mail = Watching::start(&daemon.socket, "/v1/watch?vars=group:mail,PORT", None);
    let mut all = watch(&daemon);
    assert_eq!((mail.event().changed(), all.event().changed()), (vec!["PORT"], ALL.to_vec()));
    publish(&daemon, &folder, &shop("NOTE=a\n"));
    assert_eq!(all.event().changed(), ["NOTE"]);
    client::round_trip(&daemon.socket);
    assert!(mail.is_silent());
    let version = publish(&daemon, &folder, &shop("NOTE=b\nMAIL_USER=ann\n"));
    let event = mail.event();
    assert_eq!((&event.id, event.changed(), event.is_resync()), (&version, vec!["MAIL_USER"], false));
    for (vars, status, code) in [
        ("NOET", 404, "unknown-variable"),
        ("MODE", 404, "unknown-variable"),
        ("", 400, "malformed"),
        (",", 400, "malformed"),
        ("NAME&vars=PORT", 400, "malformed"),
        ("NAME&wait=1s", 400, "malformed"),
    ] {
        get(&daemon.socket, &format!("/v1/watch?vars={vars}")).refuses(status, code);
    }
}

#[test]
fn who_watches_a_key_is_told_of_its_ring() {
    let (folder, daemon) = daemon(&shop(""));
    let mut watching = Watching::start(&daemon.socket, "/v1/watch?vars=SIGNING_KEY", None);
    assert_eq!(watching.event().changed(), ["SIGNING_KEY"]);
    publish(&daemon, &folder, &shop(&format!("SIGNING_KEY_NEXT={OTHER_KEY}\n")));
    assert_eq!(watching.event().changed(), ["SIGNING_KEY_NEXT"]);
}

#[test]
fn who_comes_back_is_told_what_was_missed() {
    let (folder, daemon) = daemon(&shop(""));
    let mut watching = watch(&daemon);
    let first = watching.event().id;
    publish(&daemon, &folder, &shop("NOTE=a\n"));
    let second = watching.event().id;
    drop(watching);
    publish(&daemon, &folder, &shop("NOTE=b\n"));
    publish(&daemon, &folder, &shop("NOTE=b\nPORT=1\n"));
    let present = publish(&daemon, &folder, &shop("NOTE=c\nPORT=1\nMAIL_USER=ann\n"));
    // What happened in the meantime is one event, and each name of it once.
    for (last, changed) in
        [(&second, vec!["PORT", "NOTE", "MAIL_USER"]), (&first, vec!["PORT", "NOTE", "MAIL_USER"])]
    {
        let mut back = Watching::start(&daemon.socket, "/v1/watch", Some(last));
        let event = back.event();
        assert_eq!((&event.id, event.changed(), event.is_resync()), (&present, changed, false));
    }
    let mut port = Watching::start(&daemon.socket, "/v1/watch?vars=PORT,NAME", Some(&second));
    assert_eq!(port.event().changed(), ["PORT"]);
    // Who missed nothing is told nothing, until something happens.
    let mut back = Watching::start(&daemon.socket, "/v1/watch", Some(&present));
    client::round_trip(&daemon.socket);
    put(&folder, ".env", &shop("NOTE=c\nPORT=2\nMAIL_USER=ann\n"));
    assert_eq!(back.event().changed(), ["PORT"]);
    assert_eq!(back.text.matches("data:").count(), 1);
}

#[test]
fn who_comes_from_elsewhere_begins_anew() {
    let (_folder, daemon) = daemon(&shop(""));
    let present = version(&daemon);
    let (instance, number) = present.rsplit_once('.').unwrap();
    let next = number.parse::<u64>().unwrap() + 1;
    for last in [
        format!("{instance}.{next}"),
        format!("x{instance}.{number}"),
        format!("{instance}.18446744073709551616"),
        format!("{instance}.-1"),
        format!("{instance}."),
        instance.to_owned(),
        number.to_owned(),
        ".".to_owned(),
        String::new(),
        "garbage".to_owned(),
        "0".repeat(8000),
    ] {
        let mut watching = Watching::start(&daemon.socket, "/v1/watch", Some(&last));
        let event = watching.event();
        assert!(event.is_resync(), "{last}: {event:?}");
        assert_eq!((&event.id, event.changed()), (&present, ALL.to_vec()), "{last}");
    }
}

#[test]
fn no_event_holds_a_value() {
    let (folder, daemon) = daemon(&shop(""));
    let mut watching = watch(&daemon);
    watching.event();
    for note in ["a-note-Zq81", "b-note-Zq81"] {
        publish(&daemon, &folder, &shop(&format!("NOTE={note}\n")).replace(KEY, OTHER_KEY));
        watching.event();
    }
    for value in ["Zq81", KEY, OTHER_KEY, "staging"] {
        assert!(!watching.text.contains(value), "{value} in {}", watching.text);
    }
}

#[test]
fn the_end_of_the_daemon_is_the_end() {
    let (_folder, daemon) = daemon(&shop(""));
    let mut watching: Vec<Watching> = (0..5).map(|_| watch(&daemon)).collect();
    for one in &mut watching {
        one.event();
    }
    let began = Instant::now();
    let _ended = daemon.end(Signal::SIGTERM).exits(0);
    assert!(began.elapsed() < Duration::from_secs(3));
    for one in &mut watching {
        assert!(one.next().is_none());
    }
}

#[test]
fn who_is_gone_leaves_nothing() {
    let (_folder, daemon) = daemon(&shop(""));
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = open();
    let watching: Vec<Watching> = (0..20).map(|_| watch(&daemon)).collect();
    // One may have been of a request before.
    assert!(open() >= before + 19);
    drop(watching);
    wait_for("the end of their connections", || open().to_string(), || (open() <= before).then_some(()));
}
