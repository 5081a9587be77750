//! `ETag`, `If-None-Match` and `?wait=`.

use std::time::{Duration, Instant};

use super::client::request;
use super::*;

#[track_caller]
fn if_none_match(daemon: &Daemon, target: &str, tag: &str) -> Answer {
    ask(&daemon.socket, "GET", target, &[("if-none-match", tag)], "")
}

/// The tag of what this gives.
#[track_caller]
fn tag(daemon: &Daemon, target: &str) -> String {
    get(&daemon.socket, target).is(200).tag().to_owned()
}

#[track_caller]
fn holds(daemon: &Daemon, target: &str, tag: &str) {
    let answer = if_none_match(daemon, target, tag).is(304);
    assert_eq!((answer.tag(), &*answer.body), (tag, ""), "{answer:?}");
}

const TARGETS: [&str; 4] =
    ["/v1/config", "/v1/config?vars=NAME,PORT", "/v1/config/NAME", "/v1/keys/SIGNING_KEY"];

#[test]
fn who_says_that_nothing_more_is_asked_is_answered() {
    let (_folder, daemon) = daemon(&shop(""));
    let mut stream = std::os::unix::net::UnixStream::connect(&daemon.socket).unwrap();
    let known = request("GET", "/v1/config?wait=300ms", &[("if-none-match", "*")], "");
    std::io::Write::write_all(&mut stream, known.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    let began = Instant::now();
    // To its end: nothing more can come, so the connection is over.
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 304"), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "it was left open");
}

#[test]
fn a_tag_holds_until_something_of_the_view_changes() {
    let (folder, daemon) = daemon(&shop("NOTE=a\n"));
    let before = TARGETS.map(|target| tag(&daemon, target));
    for (target, tag) in TARGETS.iter().zip(&before) {
        holds(&daemon, target, tag);
        assert_eq!(*get(&daemon.socket, target).tag(), **tag, "the same twice");
    }
    // Outside of all but the first.
    publish(&daemon, &folder, &shop("NOTE=b\n"));
    assert_eq!(if_none_match(&daemon, TARGETS[0], &before[0]).is(200).json()["values"]["NOTE"], "b");
    for (target, tag) in TARGETS.iter().zip(&before).skip(1) {
        holds(&daemon, target, tag);
    }
    // Inside of two more.
    publish(&daemon, &folder, &shop("NOTE=b\n").replace("NAME=shop", "NAME=store"));
    for (target, tag) in TARGETS.iter().zip(&before).take(3) {
        let answer = if_none_match(&daemon, target, tag).is(200);
        assert!(answer.body.contains("store") && answer.tag() != tag, "{answer:?}");
    }
    holds(&daemon, TARGETS[3], &before[3]);
    // What appears changes its ring.
    publish(&daemon, &folder, &shop(&format!("SIGNING_KEY_NEXT={OTHER_KEY}\n")));
    assert!(if_none_match(&daemon, TARGETS[3], &before[3]).is(200).body.contains(OTHER_KEY));
    // A value that is what it was is another generation's all the same.
    assert_ne!(tag(&daemon, TARGETS[2]), before[2]);
}

#[test]
fn another_view_has_another_tag() {
    let (_folder, daemon) = daemon(&shop("MAIL_USER=ann\n"));
    let targets = [
        "/v1/config",
        "/v1/config?vars=NAME",
        "/v1/config?vars=PORT",
        "/v1/config/NAME",
        "/v1/config?format=json",
        "/v1/config?format=yaml",
        "/v1/config?vars=NAME&format=json",
        "/v1/keys/NAME",
    ];
    let tags = targets.map(|target| tag(&daemon, target));
    for (at, one) in tags.iter().enumerate() {
        for (other, target) in targets.iter().enumerate() {
            let status = if at == other { 304 } else { 200 };
            assert_eq!(if_none_match(&daemon, target, one).status, status, "{} {target}", targets[at]);
        }
    }
    // However it is asked for.
    assert_eq!(
        tag(&daemon, "/v1/config?vars=MAIL_USER,NAME"),
        tag(&daemon, "/v1/config?vars=NAME,MAIL_USER")
    );
}

#[test]
fn another_instance_has_another_tag() {
    let (folder, first) = daemon(&shop(""));
    let before = TARGETS.map(|target| tag(&first, target));
    first.end(nix::sys::signal::Signal::SIGTERM).exits(0);
    let second = Daemon::ready(&folder);
    for (target, tag) in TARGETS.iter().zip(&before) {
        if_none_match(&second, target, tag).is(200);
    }
}

#[test]
fn a_tag_is_compared_as_http_says() {
    let (_folder, daemon) = daemon(&shop(""));
    let tag = tag(&daemon, "/v1/config");
    let strong = tag.trim_start_matches("W/").to_owned();
    for (header, status) in [
        (strong.clone(), 304),
        (format!("\"a\", {tag}"), 304),
        ("*".to_owned(), 304),
        (strong.trim_matches('"').to_owned(), 200),
        (tag[..tag.len() - 2].to_owned() + "\"", 200),
        ("W/\"\"".to_owned(), 200),
        (String::new(), 200),
    ] {
        assert_eq!(if_none_match(&daemon, "/v1/config", &header).status, status, "{header}");
    }
    // A list may come in several lines; what is no text is no tag.
    let two = [("if-none-match", "\"a\""), ("if-none-match", &*tag)];
    ask(&daemon.socket, "GET", "/v1/config", &two, "").is(304);
    let bytes = b"GET /v1/config HTTP/1.1\r\nhost: x\r\nif-none-match: \xff\r\nconnection: close\r\n\r\n";
    Asked::raw(&daemon.socket, bytes).answer().is(200);
    // What there is none of has no tag that could hold.
    if_none_match(&daemon, "/v1/config/NOTE", "\"a\"").refuses(404, "not-set");
    if_none_match(&daemon, "/v1/config/NOET", "*").refuses(404, "unknown-variable");
}

#[test]
fn a_change_wakes_who_waits() {
    let (folder, daemon) = daemon(&shop(""));
    let asked = |target: &str| {
        let wait = if target.contains('?') { "&wait=20s" } else { "?wait=20s" };
        Asked::get(&daemon.socket, &format!("{target}{wait}"), &[("if-none-match", &tag(&daemon, target))])
    };
    // Two wait for one thing, one for another.
    let mut waiting =
        vec![asked("/v1/config/NAME"), asked("/v1/config?vars=NAME"), asked("/v1/keys/SIGNING_KEY")];
    client::round_trip(&daemon.socket);
    assert!(waiting.iter().all(|asked| !asked.is_answered()));
    // A change of something else wakes nobody.
    publish(&daemon, &folder, &shop("NOTE=a\n"));
    client::round_trip(&daemon.socket);
    assert!(waiting.iter().all(|asked| !asked.is_answered()));
    let version = publish(&daemon, &folder, &shop("NOTE=a\n").replace("NAME=shop", "NAME=store"));
    let third = waiting.pop().unwrap();
    for asked in waiting {
        let answer = asked.answer().is(200);
        assert!(answer.body.contains("store"), "{answer:?}");
        assert_eq!(answer.json()["version"], *version);
    }
    assert!(!third.is_answered());
    put(&folder, ".env", &shop(&format!("SIGNING_KEY_NEXT={OTHER_KEY}\n")));
    assert!(third.answer().is(200).body.contains(OTHER_KEY));
}

#[test]
fn what_goes_away_wakes_who_waits() {
    let (folder, daemon) = daemon(&shop("NOTE=a\n"));
    let tag = tag(&daemon, "/v1/config/NOTE");
    let asked = Asked::get(&daemon.socket, "/v1/config/NOTE?wait=20s", &[("if-none-match", &tag)]);
    put(&folder, ".env", &shop(""));
    asked.answer().refuses(404, "not-set");
}

#[test]
fn without_a_change_the_wait_has_an_end() {
    let (_folder, daemon) = daemon(&shop(""));
    let tag = tag(&daemon, "/v1/config");
    let began = Instant::now();
    holds(&daemon, "/v1/config?wait=300ms", &tag);
    assert!(began.elapsed() >= Duration::from_millis(300));
    // Nobody waits who has not got it.
    let began = Instant::now();
    if_none_match(&daemon, "/v1/config?wait=20s", "\"a\"").is(200);
    get(&daemon.socket, "/v1/config?wait=20s").is(200);
    assert!(began.elapsed() < Duration::from_secs(10));
    for wait in ["", "1", "-1s", "1d", "30", "s", "1s1", "9999999999999h", "%2B", "1s&wait=1s"] {
        get(&daemon.socket, &format!("/v1/config?wait={wait}")).refuses(400, "malformed");
    }
    for wait in ["0", "0s", "1ns", "%2B1us", "0.001s", "1ms1us"] {
        holds(&daemon, &format!("/v1/config?wait={wait}"), &tag);
    }
}

#[test]
fn who_is_gone_leaves_nothing() {
    let (_folder, daemon) = daemon(&shop(""));
    let open = || fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    let before = open();
    let tag = tag(&daemon, "/v1/config");
    let known = [("if-none-match", &*tag)];
    let waiting: Vec<Asked> =
        (0..20).map(|_| Asked::get(&daemon.socket, "/v1/config?wait=60s", &known)).collect();
    wait_for("their connections", String::new, || (open() >= before + 19).then_some(()));
    drop(waiting);
    wait_for("the end of their connections", || open().to_string(), || (open() <= before).then_some(()));
}

#[test]
fn the_end_of_the_daemon_ends_every_wait() {
    let (_folder, daemon) = daemon(&shop(""));
    let tag = tag(&daemon, "/v1/config");
    let asked = Asked::get(&daemon.socket, "/v1/config?wait=60s", &[("if-none-match", &tag)]);
    client::round_trip(&daemon.socket);
    let ended = daemon.end(nix::sys::signal::Signal::SIGTERM).exits(0);
    assert!(ended.lines.iter().all(|line| !line.contains("panicked")));
    // An answer or an end, and either soon: reading has a deadline.
    asked.bytes();
}

#[test]
fn who_asks_for_the_head_gets_that() {
    let (_folder, daemon) = daemon(&shop(""));
    for target in TARGETS {
        let (head, whole) =
            (ask(&daemon.socket, "HEAD", target, &[], "").is(200), get(&daemon.socket, target));
        assert_eq!((head.tag(), &*head.body), (whole.tag(), ""), "{target}");
        assert_eq!(head.header("content-length"), whole.header("content-length"), "{target}");
    }
}
