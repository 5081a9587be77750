//! Requests that nobody means well with: nothing of them comes back, nothing of
//! them is kept, and the daemon goes on.

use super::*;

/// It could be a name, and looks like a value.
const MARKER: &str = "Zq81hunter2Marker";

const AUDIT: &str = "[audit]\npath = \"audit.jsonl\"\nkey_file = \"audit-key\"\n";

/// Whether a text holds it, however it is written.
fn holds_marker(text: &str) -> bool {
    text.to_lowercase().contains("zq81")
}

/// Requests with the marker in one place each.
fn with_marker() -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    let mut add = |method: &str, target: &str, headers: &[(&str, &str)], body: &str| {
        requests.push(client::request(method, target, headers, body).into_bytes());
    };
    let dsn = "postgres%3A%2F%2Fu%3AZq81%40h%2Fdb%3Fx";
    for value in [MARKER, dsn, "Zq81%0a%00", "Zq81==", "%C3%A9Zq81", "A=Zq81", "zq81.hunter", "%5aq81-x"] {
        for route in ["config", "keys", "explain"] {
            add("GET", &format!("/v1/{route}/{value}"), &[], "");
        }
        for route in ["forget", "rotate"] {
            add("POST", &format!("/v1/{route}/{value}"), &[], "");
        }
        let good = "{\"instance\":\"a\",\"version\":\"1\"}";
        add("PUT", &format!("/v1/consumers/{value}"), &[], good);
        add("GET", &format!("/{value}"), &[], "");
        add("POST", &format!("/v1/{value}"), &[], "");
        add("POST", &format!("/v1/config/{value}"), &[], "");
        add("GET", &format!("http://{value}@localhost/v1/config"), &[], "");
        add("GET", &format!("/v1/config#{value}"), &[], "");
        for parameter in ["vars", "wait", "format", "name", "other"] {
            add("GET", &format!("/v1/config?{parameter}={value}"), &[], "");
            add("GET", &format!("/v1/config?vars=NAME&{parameter}={value}"), &[], "");
            add("GET", &format!("/v1/config?format=k8s-secret&name=a&{parameter}={value}"), &[], "");
        }
        add("GET", &format!("/v1/config?vars=group:{value}"), &[], "");
        add("GET", &format!("/v1/config?{value}=1"), &[], "");
        add("GET", &format!("/v1/config?{value}"), &[], "");
        for route in ["status", "names", "openapi.json", "config/NAME", "keys/NAME", "explain/NAME"] {
            add("GET", &format!("/v1/{route}?{value}={value}"), &[], "");
        }
        add("GET", &format!("/v1/watch?vars={value}"), &[], "");
        add("GET", &format!("/v1/watch?{value}=1"), &[], "");
    }
    for header in [
        "authorization",
        "cookie",
        "if-none-match",
        "accept",
        "x-other",
        "user-agent",
        "origin",
        "referer",
        "range",
    ] {
        add("GET", "/v1/config/NOTHING", &[(header, MARKER)], "");
        add("GET", "/v1/config/NAME", &[(header, MARKER)], "");
    }
    add("GET", "/v1/config/NOTHING", &[("zq81hunter2", "x")], "");
    add("PUT", "/v1/consumers/web", &[("content-type", MARKER)], "{}");
    add("PUT", "/v1/consumers/web", &[("content-encoding", MARKER)], "{}");
    for body in [
        MARKER,
        "{\"Zq81\":1}",
        "{\"instance\":\"Zq81 \",\"version\":\"1\"}",
        "{\"instance\":\"a\",\"version\":\"Zq81 \"}",
        "{\"instance\":\"a\",\"version\":\"1\",\"runs\":{\"Zq81hunter2Marker\":{}}}",
        "{\"instance\":\"a\",\"version\":\"1\",\"runs\":{\"Zq81 \":{}}}",
        "{\"instance\":\"a\",\"version\":\"1\",\"runs\":{\"NAME\":{\"signs\":\"Zq81 \"}}}",
        "{\"instance\":\"a\",\"version\":\"1\",\"runs\":{\"NAME\":{\"verifies\":[\"Zq81 \"]}}}",
        "{\"instance\":\"a\",\"version\":\"1\",\"runs\":{\"NAME\":{\"verifies\":\"Zq81\"}}}",
    ] {
        add("PUT", "/v1/consumers/web", &[], body);
        add("POST", "/v1/forget/NAME", &[], body);
        add("POST", "/v1/rotate/SIGNING_KEY", &[], body);
        add("GET", "/v1/status", &[], body);
        add("POST", "/v1/status", &[], body);
    }
    for method in ["ZQ81", "ZQ81HUNTER2MARKER", "get-zq81"] {
        for target in ["/v1/config", "/v1/consumers/web", "/v1/forget/NAME", "/other"] {
            add(method, target, &[], "");
        }
    }
    for raw in [
        "GET /v1/config HTTP/Zq81\r\n\r\n",
        "Zq81\r\n\r\n",
        "GET /v1/config HTTP/1.1\r\nZq81\r\n\r\n",
        "GET /v1/config HTTP/1.1\r\nhost: Zq81\r\ncontent-length: Zq81\r\n\r\n",
        "GET Zq81 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        "CONNECT Zq81:80 HTTP/1.1\r\nhost: Zq81\r\nconnection: close\r\n\r\n",
        "GET /v1/config/NOTHING HTTP/1.1\r\nhost: Zq81\r\nhost: Zq81\r\nconnection: close\r\n\r\n",
        "PUT /v1/consumers/web HTTP/1.1\r\nhost: x\r\ntransfer-encoding: Zq81\r\nconnection: close\r\n\r\n",
        "PUT /v1/consumers/web HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nZq81\r\n",
        "PUT /v1/consumers/web HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n4;Zq81\r\nZq81\r\n0\r\nZq81: Zq81\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nZq81",
    ] {
        requests.push(raw.into());
    }
    requests.push(b"GET /v1/config/\xffZq81 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec());
    requests.push(b"GET /v1/config/%ffZq81 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec());
    requests.push(b"\x16\x03\x01Zq81\r\n\r\n".to_vec());
    requests
}

#[test]
fn nothing_of_a_request_is_repeated() {
    let folder = home(AUDIT, &shop(""));
    folder.file("audit-key", "0123456789abcdef0123456789abcdef\n");
    let daemon = Daemon::ready(&folder);
    for request in with_marker() {
        let answer = Asked::raw(&daemon.socket, &request).bytes();
        let (answer, request) = (String::from_utf8_lossy(&answer), String::from_utf8_lossy(&request));
        assert!(!holds_marker(&answer), "{answer}\nto {request}");
        // No answer is one that this API does not give.
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
            assert!(status < 500 || status == 501, "{answer}\nto {request}");
            let is_problem = head.contains("content-type: application/problem+json");
            assert!(status < 400 || is_problem || body.is_empty(), "{answer}\nto {request}");
        }
    }
    for page in ["/metrics", "/", "/readyz"] {
        let (_, text) = daemon.page(page);
        assert!(!holds_marker(&text), "{page}: {text}");
    }
    assert!(!holds_marker(&daemon.status().to_string()));
    let ended = daemon.end(nix::sys::signal::Signal::SIGTERM).exits(0);
    let audit = folder.read("audit.jsonl");
    assert!(audit.lines().count() > 20 && !holds_marker(&audit), "{audit}");
    let marked: Vec<_> = ended.lines.iter().filter(|line| holds_marker(line)).collect();
    assert!(marked.is_empty(), "{marked:#?}");
    assert!(ended.lines.iter().all(|line| !line.contains("panicked")));
}

#[test]
fn nothing_of_a_refused_request_is_repeated_or_kept() {
    let policy =
        own() + &allow(SOMEBODY, &["NAME"], &["read", "watch", "acknowledge", "status", "forget", "rotate"]);
    let folder = home(&format!("policy = \"access.toml\"\n{AUDIT}"), &shop(""));
    folder.file("audit-key", "0123456789abcdef0123456789abcdef\n").file("access.toml", &policy);
    let daemon = Daemon::ready(&folder);
    for (method, target, body) in [
        ("GET", &*format!("/v1/config/{MARKER}"), ""),
        ("GET", &*format!("/v1/config?vars=NAME,{MARKER}"), ""),
        ("GET", &*format!("/v1/explain/{MARKER}"), ""),
        ("GET", &*format!("/v1/watch?vars={MARKER}"), ""),
        ("POST", &*format!("/v1/forget/{MARKER}"), ""),
        ("POST", &*format!("/v1/rotate/{MARKER}"), ""),
        ("ZQ81", "/v1/config", ""),
        (
            "PUT",
            "/v1/consumers/web",
            "{\"instance\":\"a\",\"version\":\"1\",\"runs\":{\"Zq81hunter2Marker\":{}}}",
        ),
    ] {
        for uid in [SOMEBODY, SOMEBODY_ELSE] {
            let answer = client::ask_as(uid, &daemon.socket, method, target, body);
            assert!(!holds_marker(&answer.body), "{answer:?}");
            let wanted = if uid == SOMEBODY_ELSE {
                403
            } else if method == "ZQ81" {
                405
            } else {
                404
            };
            answer.is(wanted);
        }
    }
    let marked: Vec<_> = daemon.lines().into_iter().filter(|line| holds_marker(line)).collect();
    assert!(marked.is_empty(), "{marked:#?}");
    assert!(!holds_marker(&daemon.page("/metrics").1));
    daemon.end(nix::sys::signal::Signal::SIGTERM).exits(0);
    let audit = folder.read("audit.jsonl");
    assert!(audit.contains("4712") && !holds_marker(&audit), "{audit}");
}

#[test]
fn odd_requests_are_answered_or_refused() {
    let (_folder, daemon) = daemon(&shop(""));
    let end = "connection: close\r\n\r\n";
    for (request, status) in [
        (format!("GET http://elsewhere.example/v1/config HTTP/1.1\r\nhost: x\r\n{end}"), 200),
        (format!("GET /v1/config HTTP/1.1\r\n{end}"), 200),
        ("GET /v1/config HTTP/1.0\r\n\r\n".to_owned(), 200),
        (format!("GET /v1/%63onfig HTTP/1.1\r\nhost: x\r\n{end}"), 404),
        (format!("GET //v1/config HTTP/1.1\r\nhost: x\r\n{end}"), 404),
        (format!("GET /v1/../v1/config HTTP/1.1\r\nhost: x\r\n{end}"), 404),
        (format!("GET /v1/config/%4e%41%4d%45 HTTP/1.1\r\nhost: x\r\n{end}"), 200),
        (format!("GET /v1/config/NA%2fME HTTP/1.1\r\nhost: x\r\n{end}"), 404),
        (format!("GET /v1/config/%00 HTTP/1.1\r\nhost: x\r\n{end}"), 404),
        (format!("GET /v1/config/%ff HTTP/1.1\r\nhost: x\r\n{end}"), 400),
        (format!("GET /v1/config?vars=%ff HTTP/1.1\r\nhost: x\r\n{end}"), 404),
        (format!("GET /v1/config? HTTP/1.1\r\nhost: x\r\n{end}"), 200),
        (format!("GET /v1/config?& HTTP/1.1\r\nhost: x\r\n{end}"), 200),
        (format!("GET /v1/config?vars HTTP/1.1\r\nhost: x\r\n{end}"), 400),
        (format!("GET /v1/config?vars=NAME&vars=NAME HTTP/1.1\r\nhost: x\r\n{end}"), 400),
        (format!("GET /v1/config?VARS=NAME HTTP/1.1\r\nhost: x\r\n{end}"), 400),
        (format!("GET /v1/config?vars={}B HTTP/1.1\r\nhost: x\r\n{end}", "*".repeat(8000)), 404),
        (format!("GET /v1/config?vars={} HTTP/1.1\r\nhost: x\r\n{end}", "NAME,".repeat(1025)), 400),
        (format!("GET /v1/config?vars={} HTTP/1.1\r\nhost: x\r\n{end}", "NAME,".repeat(1024)), 200),
        (format!("GET /v1/config HTTP/1.1\r\nhost: x\r\nx: {}\r\n{end}", "y".repeat(16_000)), 200),
        (format!("GET /v1/config HTTP/1.1\r\nhost: x\r\nx: {}\r\n{end}", "y".repeat(17_000)), 431),
        (format!("GET /v1/config/{} HTTP/1.1\r\nhost: x\r\n{end}", "A".repeat(15_000)), 404),
        (format!("GET /v1/config/{} HTTP/1.1\r\nhost: x\r\n{end}", "A".repeat(17_000)), 431),
        (format!("OPTIONS * HTTP/1.1\r\nhost: x\r\n{end}"), 404),
        ("GET /v1/config HTTP/0.9\r\n\r\n".to_owned(), 400),
        ("GET /v1/config\r\n\r\n".to_owned(), 400),
        (format!("GET /v1/config HTTP/1.1\r\nx\0: 1\r\n{end}"), 400),
        (format!("GET /v1/config HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n{end}"), 400),
        (
            format!(
                "GET /v1/config HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n{end}xx"
            ),
            400,
        ),
    ] {
        let answer = Asked::raw(&daemon.socket, request.as_bytes()).answer();
        assert_eq!(answer.status, status, "{answer:?}\nto {}", &request[..request.len().min(200)]);
    }
    let long = client::request("GET", &format!("/v1/config/{}", "A".repeat(15_000)), &[], "");
    let words = Asked::raw(&daemon.socket, long.as_bytes()).answer().refuses(404, "unknown-variable");
    assert!(words.len() < 500, "{} bytes", words.len());
}

#[test]
fn requests_in_one_go_are_answered_in_their_order() {
    let (_folder, daemon) = daemon(&shop("NOTE=a\n"));
    let one = |key: &str| format!("GET /v1/config/{key} HTTP/1.1\r\nhost: x\r\n\r\n");
    let last = client::request("GET", "/v1/config/PORT", &[], "");
    let all = format!("{}{}{}{last}", one("NAME"), one("NOTE"), one("NOTHING"));
    let bytes = Asked::raw(&daemon.socket, all.as_bytes()).bytes();
    let text = String::from_utf8(bytes).unwrap();
    let places = ["\"key\":\"NAME\"", "\"key\":\"NOTE\"", "unknown-variable", "\"key\":\"PORT\""]
        .map(|part| text.find(part));
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} {text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 4);
}

#[test]
fn a_body_may_come_in_pieces_and_later() {
    use std::io::{Read as _, Write as _};
    let (_folder, daemon) = daemon(&shop(""));
    let body = format!("{{\"instance\":\"a\",\"version\":\"{}\"}}", version(&daemon));
    let (one, two) = body.split_at(7);
    let head = "PUT /v1/consumers/web HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let pieces = format!(
        "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        one.len(),
        two.len()
    );
    Asked::raw(&daemon.socket, pieces.as_bytes()).answer().is(200);
    let mut stream = std::os::unix::net::UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(crate::daemon::PATIENCE)).unwrap();
    let length = body.len();
    write!(stream, "{head}expect: 100-continue\r\ncontent-length: {length}\r\n\r\n").unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    Answer::of(&answer).is(200);
}
