//! The socket of the daemon's own user.

use std::path::Path;
use std::process::Command;

use dlconf::serve::{Forgotten, Limits};
use dlconf::status::{Explanation, Status};
use dlconf::telemetry::Event;
use serde_json::Value;

use super::fake::{Routes, Served, ask_unix, body, code, cut_off, ill, loopback, until, well};

/// A problem's code, after looking at what every problem has.
#[track_caller]
fn problem(answer: &str, status: u16) -> (String, String) {
    assert_eq!(code(answer), status, "{answer}");
    assert!(answer.contains("content-type: application/problem+json"), "{answer}");
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    let problem: Value = serde_json::from_str(body(answer)).unwrap();
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["status"], status);
    assert!(!problem["title"].as_str().unwrap().is_empty());
    (problem["code"].as_str().unwrap().to_owned(), problem["detail"].as_str().unwrap().to_owned())
}

#[test]
fn values_from_the_snapshot_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.sock");
    let served = Served::control(&path, cut_off());
    let routes = ["/v1/config", "/v1/config?format=json", "/v1/config/JWT_SECRET", "/v1/keys/JWT_SECRET"];
    for route in routes {
        let answer = ask_unix(&path, "GET", route);
        assert_eq!(code(&answer), 200, "{answer}");
        assert!(answer.contains("\r\ndlconf-snapshot-age: 11000\r\n"), "{answer}");
    }
    let one = |path: &Path| -> Value {
        serde_json::from_str(body(&ask_unix(path, "GET", "/v1/config/JWT_SECRET"))).unwrap()
    };
    assert_eq!(one(&path)["snapshot_age_seconds"], 11_000);
    // What gives no value does not.
    assert!(!ask_unix(&path, "GET", "/v1/status").contains("dlconf-snapshot-age"));
    drop(served);
    let path = dir.path().join("e.sock");
    let _served = Served::control(&path, well());
    for route in routes {
        assert!(!ask_unix(&path, "GET", route).contains("dlconf-snapshot-age"), "{route}");
    }
    assert_eq!(one(&path)["snapshot_age_seconds"], Value::Null);
}

#[test]
fn it_tells_its_own_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.sock");
    let served = Served::control(&path, ill());
    let status: Status = serde_json::from_str(body(&ask_unix(&path, "GET", "/v1/status"))).unwrap();
    assert_eq!(status, ill());
    let explained = ask_unix(&path, "GET", "/v1/explain/JWT_SECRET");
    let explained: Explanation = serde_json::from_str(body(&explained)).unwrap();
    assert_eq!(explained.key, "JWT_SECRET");
    let (code, words) = problem(&ask_unix(&path, "GET", "/v1/explain/JWT_SECRT"), 404);
    assert_eq!(code, "unknown-variable");
    assert!(words.contains("JWT_SECRT") && words.contains("did you mean JWT_SECRET?"), "{words}");
    let answered = |wanted: &str, with: u16| {
        let is = |event: &Event| matches!(event, Event::Answered { route, status, .. } if *route == wanted && *status == with);
        served.notes.count(is)
    };
    assert_eq!(answered("/v1/status", 200), 1);
    assert_eq!((answered("/v1/explain/{key}", 200), answered("/v1/explain/{key}", 404)), (1, 1));
}

#[test]
fn forgetting_says_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.sock");
    let served = Served::control(&path, well());
    let forget = |answer: Forgotten| {
        *served.fake.forgotten.lock().unwrap() = answer;
        ask_unix(&path, "POST", "/v1/forget/DB_USER")
    };
    let done = forget(Forgotten::Done { version: "7f3a.43".into() });
    assert_eq!(code(&done), 200);
    let done: Value = serde_json::from_str(body(&done)).unwrap();
    assert_eq!(done, serde_json::json!({ "key": "DB_USER", "version": "7f3a.43" }));
    assert_eq!(problem(&forget(Forgotten::NotHeld), 409).0, "not-held");
    assert_eq!(problem(&forget(Forgotten::Unknown), 404).0, "unknown-variable");
    let findings = ill().rejected.unwrap().findings;
    let refused = forget(Forgotten::Refused { findings });
    assert_eq!(problem(&refused, 409).0, "refused");
    assert!(refused.contains("PORTAL_JWT_SECRET is not set"));
}

#[test]
fn what_is_not_there_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.sock");
    let _served = Served::control(&path, well());
    assert_eq!(problem(&ask_unix(&path, "GET", "/v2"), 404).0, "unknown-route");
    assert_eq!(problem(&ask_unix(&path, "POST", "/v1/status"), 405).0, "wrong-method");
    assert_eq!(problem(&ask_unix(&path, "GET", "/v1/forget/DB_USER"), 405).0, "wrong-method");
    // What may be a value is not repeated.
    for name in ["c2VjcmV0dGhhdHdhc3Bhc3RlZDE", "A=hunter2", "hunter2%0a"] {
        let answer = ask_unix(&path, "GET", &format!("/v1/explain/{name}"));
        let words = problem(&answer, 404).1;
        assert!(!words.contains("hunter2") && !words.contains("c2Vj"), "{words}");
    }
}

#[test]
fn another_user_is_refused() {
    assert!(nix::unistd::Uid::effective().is_root(), "run as root: it takes another user's identity");
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let path = dir.path().join("d.sock");
    let listen = super::fake::unix(&path, 0o666);
    let served = Served::new(&listen, Routes::Control, well(), Limits::default());
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
        s.sendall(b'GET ' + sys.argv[2].encode() + b' HTTP/1.1\\r\\nhost: x\\r\\nconnection: close\\r\\n\\r\\n')\n\
        sys.stdout.write(b''.join(iter(lambda: s.recv(65536), b'')).decode())";
    // Every route, and what is none: the first thing that is asked is who asks.
    for target in ["/v1/status", "/v1/explain/JWT_SECRET", "/other"] {
        let ran = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--",
                "/usr/bin/python3",
                "-c",
                script,
            ])
            .args([path.to_str().unwrap(), target])
            .output()
            .unwrap();
        let answer = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(problem(&answer, 403).0, "not-permitted");
        assert!(!answer.contains("production"));
    }
    let denied = |event: &Event| matches!(event, Event::Denied { detail, .. } if detail.contains("65534"));
    until("it is told", || served.notes.count(denied) == 3);
    assert_eq!(code(&ask_unix(&path, "GET", "/v1/status")), 200);
}

#[test]
fn nobody_is_answered_over_tcp() {
    let served = Served::new(&loopback(), Routes::Control, well(), Limits::default());
    assert_eq!(problem(&served.get("/v1/status"), 403).0, "not-permitted");
}
