//! The ops port: alive, ready, numbers, and a page that only this machine sees.

use std::fmt::Write as _;

use dlconf::serve::{Limits, Subject as _};

use super::fake::{Routes, Served, ask_unix, body, code, cut_off, ill, loopback, starting, unix, well};

#[test]
fn it_is_alive_whatever_else() {
    let served = Served::ops(starting());
    let answer = served.get("/healthz");
    assert_eq!((code(&answer), body(&answer)), (200, "ok\n"));
    // Not even the status is asked for: a daemon that hangs over it is still seen alive.
    let _held = served.fake.status.lock().unwrap();
    assert_eq!(code(&served.get("/healthz")), 200);
}

#[test]
fn readiness_latches() {
    let served = Served::ops(starting());
    let answer = served.get("/readyz");
    assert_eq!(code(&answer), 503);
    assert!(body(&answer).contains("3 sources not read yet: local, vault, env"), "{answer}");
    *served.fake.status.lock().unwrap() = well();
    assert_eq!(code(&served.get("/readyz")), 200);
    *served.fake.status.lock().unwrap() = starting();
    assert_eq!(code(&served.get("/readyz")), 200);
}

#[test]
fn reasons_are_told_in_words() {
    let mut status = starting();
    status.rejected = ill().rejected;
    let served = Served::ops(status);
    let answer = served.get("/readyz");
    assert!(body(&answer).contains("[DLC001] PORTAL_JWT_SECRET is not set"), "{answer}");
    let mut status = well();
    status.ready = false;
    status.deliveries[0].version = None;
    *served.fake.status.lock().unwrap() = status;
    let answer = served.get("/readyz");
    assert!(body(&answer).contains("1 delivery without a version: file"), "{answer}");
}

#[test]
fn others_see_no_page_and_no_names() {
    let mut status = starting();
    status.rejected = ill().rejected;
    let served = Served::new(&loopback(), Routes::OpsForAll, status, Limits::default());
    let ask = |path: &str| served.get(path);
    assert_eq!(code(&ask("/")), 404);
    let answer = ask("/readyz");
    assert_eq!(code(&answer), 503);
    assert!(
        body(&answer).contains("3 sources not read yet\n") && body(&answer).contains("2 findings\n"),
        "{answer}"
    );
    for name in ["vault", "JWT", "local"] {
        assert!(!answer.contains(name), "{name}: {answer}");
    }
    assert_eq!(code(&ask("/metrics")), 200);
}

#[test]
fn a_name_that_was_made_to_point_here_is_refused() {
    let served = Served::ops(starting());
    let ask = |path: &str, hosts: &[&str]| {
        let hosts = hosts.iter().fold(String::new(), |mut text, host| {
            let _ = write!(text, "host: {host}\r\n");
            text
        });
        served.ask(&format!("GET {path} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n"))
    };
    assert_eq!(code(&ask("/", &["localhost:1"])), 200);
    assert_eq!(code(&ask("/", &["127.0.0.1:1"])), 200);
    for hosts in [&["evil.example"][..], &["evil.example:80"], &["localhost", "evil.example"], &[]] {
        let answer = ask("/", hosts);
        assert_eq!(code(&answer), 421, "{hosts:?}");
        assert!(!answer.contains("production"), "{answer}");
        assert!(!ask("/readyz", hosts).contains("vault"));
    }
}

#[test]
fn a_page_is_guarded() {
    let served = Served::ops(ill());
    let (one, two) = (served.get("/"), served.get("/"));
    let policy = |answer: &str| {
        let line = answer.lines().find(|line| line.starts_with("content-security-policy: ")).unwrap();
        line.to_owned()
    };
    assert!(policy(&one).contains("default-src 'none'") && !policy(&one).contains("unsafe"));
    assert_ne!(policy(&one), policy(&two), "the same nonce twice");
    let nonce = policy(&one).split("'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
    assert!(body(&one).contains(&format!("<style nonce=\"{nonce}\">")));
    for said in [
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
        "x-frame-options: DENY",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(one.contains(said), "{said}: {one}");
    }
    // What a stranger named is text.
    assert!(!one.contains("<script") && one.contains("&lt;script"));
    assert!(!body(&one).contains(" style=\""), "the policy would refuse it");
    assert!(one.contains("http-equiv=\"refresh\""));
    assert!(!served.get("/?still").contains("http-equiv=\"refresh\""));
}

#[test]
fn only_reading_is_allowed() {
    let served = Served::ops(well());
    let ask = |method: &str, path: &str| {
        let host = served.address.unwrap();
        served.ask(&format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    };
    for path in ["/", "/healthz", "/readyz", "/metrics"] {
        let head = ask("HEAD", path);
        assert_eq!((code(&head), body(&head)), (200, ""), "{path}");
        for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(code(&ask(method, path)), 405, "{method} {path}");
        }
    }
    assert_eq!(code(&ask("GET", "/other")), 404);
}

#[test]
fn it_listens_on_a_unix_socket_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ops.sock");
    let served = Served::new(&unix(&path, 0o600), Routes::Ops, well(), Limits::default());
    assert!(ask_unix(&path, "GET", "/").contains(&served.fake.status().environment));
    assert_eq!(body(&ask_unix(&path, "GET", "/readyz")), "ready\n");
}

#[test]
fn ready_on_the_snapshot_says_so() {
    let served = Served::ops(cut_off());
    let told = "ready\nthe last-known-good snapshot stands in for 1 source (vault), 3h old\n";
    let answer = served.get("/readyz");
    assert_eq!((code(&answer), body(&answer)), (200, told));
    // Whoever is not known by its address learns no names.
    let answer = served.ask("GET /readyz HTTP/1.1\r\nhost: elsewhere.example\r\nconnection: close\r\n\r\n");
    assert_eq!(code(&answer), 200);
    assert_eq!(body(&answer), told.replace(" (vault)", ""));
}
