//! `PUT /v1/consumers/{name}`: what an instance says of itself, and who may.

use serde_json::{Value, json};

use super::*;

fn said(instance: &str, version: &str) -> Value {
    json!({
        "instance": instance,
        "runs": { "SIGNING_KEY": { "verifies": ["initial", "initial-previous"], "signs": "initial" } },
        "version": version,
    })
}

#[track_caller]
fn tell(daemon: &Daemon, name: &str, body: &str) -> Answer {
    ask(
        &daemon.socket,
        "PUT",
        &format!("/v1/consumers/{name}"),
        &[("content-type", "application/json")],
        body,
    )
}

#[track_caller]
fn consumer(daemon: &Daemon, instance: &str) -> Value {
    let status = get(&daemon.socket, "/v1/status").is(200).json();
    let consumers = status["consumers"].as_array().unwrap();
    consumers.iter().find(|one| one["instance"] == instance).cloned().unwrap_or(Value::Null)
}

#[test]
fn what_is_said_is_shown() {
    let (folder, daemon) = daemon(&shop(""));
    let first = version(&daemon);
    let answer = tell(&daemon, "web", &said("api-1", &first).to_string()).is(200);
    assert_eq!(answer.json(), json!({ "consumer": "web", "instance": "api-1", "expires_in_seconds": 300 }));
    let shown = consumer(&daemon, "api-1");
    assert_eq!((&shown["name"], &shown["version"]), (&"web".into(), &(*first).into()));
    assert_eq!(shown["uid"], nix::unistd::geteuid().as_raw());
    assert_eq!(shown["runs"], said("", "")["runs"]);
    assert_eq!(shown["current"], true);
    assert!((290..=300).contains(&shown["expires_in_seconds"].as_u64().unwrap()));
    // A change of what it does not run changes nothing for it.
    publish(&daemon, &folder, &shop("NOTE=a\n"));
    assert_eq!(consumer(&daemon, "api-1")["current"], true);
    let second = publish(&daemon, &folder, &shop("NOTE=a\n").replace(KEY, OTHER_KEY));
    assert_eq!(consumer(&daemon, "api-1")["current"], false);
    tell(&daemon, "web", &said("api-1", &second).to_string()).is(200);
    assert_eq!(consumer(&daemon, "api-1")["current"], true);
    // Of a version that is not known, nothing is current.
    for version in ["other.1", "garbage"] {
        tell(&daemon, "web", &said("api-2", version).to_string()).is(200);
        assert_eq!(consumer(&daemon, "api-2")["current"], false, "{version}");
    }
}

#[test]
fn little_need_be_said() {
    let (_folder, daemon) = daemon(&shop(""));
    let version = version(&daemon);
    for body in [
        json!({ "instance": "a", "version": version }),
        json!({ "instance": "a", "version": version, "runs": {} }),
        json!({ "instance": "a", "version": version, "runs": { "NAME": {} } }),
        json!({ "instance": "a", "version": version, "runs": { "NAME": { "signs": null } }, "more": 1 }),
    ] {
        tell(&daemon, "web", &body.to_string()).is(200);
    }
    // A program of every service may be served; its consumers are named like those.
    tell(&daemon, "worker", &said("a", &version).to_string()).is(200);
    let words = tell(&daemon, "wbe-Zq81", &said("a", &version).to_string()).refuses(404, "unknown-consumer");
    assert!(words.contains("web, worker") && !words.contains("Zq81"), "{words}");
}

#[test]
fn what_is_not_understood_is_not_repeated() {
    let (_folder, daemon) = daemon(&shop(""));
    let long = "x".repeat(65);
    let many: serde_json::Map<String, Value> =
        (0..257).map(|number| (format!("Zq81_{number}"), json!({}))).collect();
    for (body, status) in [
        (String::new(), 400),
        ("Zq81".into(), 400),
        ("{\"instance\":\"Zq81\"".into(), 400),
        ("[\"Zq81\"]".into(), 400),
        ("{\"instance\":\"Zq81\"}".into(), 400),
        (json!({ "instance": 81, "version": "Zq81" }).to_string(), 400),
        (json!({ "instance": "a", "version": "1", "runs": { "NAME": "Zq81" } }).to_string(), 400),
        (json!({ "instance": "a", "version": "1", "runs": ["Zq81"] }).to_string(), 400),
        (
            json!({ "instance": "a", "version": "1", "runs": { "NAME": { "verifies": ["Zq81", 1] } } })
                .to_string(),
            400,
        ),
        ("{\"instance\":\"a\",\"version\":\"1\"} Zq81".into(), 400),
        (said("Zq 81", "1").to_string(), 422),
        (said("", "1").to_string(), 422),
        (said(&long, "1").to_string(), 422),
        (said("a", "Zq/81").to_string(), 422),
        (json!({ "instance": "a", "version": "1", "runs": { "Zq-81": {} } }).to_string(), 422),
        (
            json!({ "instance": "a", "version": "1", "runs": { "NAME": { "signs": "Zq 81" } } }).to_string(),
            422,
        ),
        (
            json!({ "instance": "a", "version": "1", "runs": { "NAME": { "verifies": vec!["k"; 17] } } })
                .to_string(),
            422,
        ),
        (json!({ "instance": "a", "version": "1", "runs": many }).to_string(), 422),
    ] {
        let answer = tell(&daemon, "web", &body);
        assert!(!answer.body.contains("Zq"), "{answer:?}");
        answer.refuses(status, "malformed");
    }
    let unknown = |key: &str| {
        let body = json!({ "instance": "a", "version": "1", "runs": { key: {} } });
        tell(&daemon, "web", &body.to_string()).refuses(404, "unknown-variable")
    };
    assert!(unknown("NAEM").contains("NAEM here; did you mean NAME?"));
    // It would be a name, and is perhaps a value.
    assert!(!unknown("Zq81hunter2Marker").contains("Zq81"));
    assert_eq!(daemon.count("Zq81"), 0);
    assert_eq!(daemon.status()["consumers"], json!([]));
    let not_utf8 = b"PUT /v1/consumers/web HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\n\"\xff\"";
    Asked::raw(&daemon.socket, not_utf8).answer().refuses(400, "malformed");
}

#[test]
fn a_body_has_a_largest_size() {
    let (_folder, daemon) = daemon(&shop(""));
    let of = |bytes: usize| {
        let body = said("a", &version(&daemon)).to_string();
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    tell(&daemon, "web", &of(64 * 1024)).is(200);
    tell(&daemon, "web", &of(64 * 1024 + 1)).refuses(413, "body-too-large");
    // Where it is not announced too.
    let body = of(64 * 1024 + 1);
    let request = format!(
        "PUT /v1/consumers/web HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    Asked::raw(&daemon.socket, request.as_bytes()).answer().refuses(413, "body-too-large");
}

#[test]
fn an_instance_belongs_to_its_user() {
    let policy = own()
        + &allow(SOMEBODY, &["SIGNING_KEY", "NAME"], &["acknowledge"])
        + &allow(SOMEBODY_ELSE, &["*"], &["acknowledge"]);
    let (_folder, daemon) = ruled(&policy, &shop(""));
    let body = said("api-1", &version(&daemon)).to_string();
    let tell_as = |uid, body: &str| client::ask_as(uid, &daemon.socket, "PUT", "/v1/consumers/web", body);
    tell_as(SOMEBODY, &body).is(200);
    let words = tell_as(SOMEBODY_ELSE, &body).refuses(409, "foreign-instance");
    assert!(!words.contains("api-1") && !words.contains("4711"), "{words}");
    tell(&daemon, "web", &body).refuses(409, "foreign-instance");
    assert_eq!(consumer(&daemon, "api-1")["uid"], SOMEBODY);
    tell_as(SOMEBODY_ELSE, &body.replace("api-1", "api-2")).is(200);
    tell_as(SOMEBODY, &body).is(200);
}

#[test]
fn who_may_not_say_so_is_refused() {
    let policy = own()
        + &allow(SOMEBODY, &["NAME", "SIGNING_KEY"], &["read", "status"])
        + &allow(SOMEBODY_ELSE, &["NAME"], &["acknowledge"]);
    let (_folder, daemon) = ruled(&policy, &shop(""));
    let body = said("api-1", &version(&daemon)).to_string();
    let tell_as = |uid, body: &str| client::ask_as(uid, &daemon.socket, "PUT", "/v1/consumers/web", body);
    // Whatever it says.
    for body in [&*body, "", "garbage"] {
        tell_as(SOMEBODY, body).refuses(403, "not-permitted");
    }
    let words = tell_as(SOMEBODY_ELSE, &body).refuses(403, "not-permitted");
    assert!(words.contains("acknowledge SIGNING_KEY"), "{words}");
    assert_eq!(daemon.status()["consumers"], json!([]));
}
