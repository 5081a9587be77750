//! APIs that take a key in a header.

use std::sync::Arc;

use serde_json::json;

use super::{assert_said, probes, var};
use crate::bao::http::Request;
use crate::hostile::{Hostile, Reply};

const KEY: &str = "sk-canary-0123456789abcdefghij";

/// Knows one key; `refuses` is what it answers to others.
fn api(header: &'static str, shown: &'static str, refuses: u16) -> Hostile {
    let server = Hostile::new();
    let judge = move |request: &Request| {
        let right = request.method == "GET" && request.headers.get(header).is_some_and(|text| text == shown);
        Reply::json(if right { 200 } else { refuses }, &json!({ "key": KEY }))
    };
    server.on("/v1/models", [Reply::By(Arc::new(judge))]);
    server
}

fn schema(server: &Hostile, more: &str) -> String {
    let url = format!("{}/v1/models", server.address());
    format!(
        "{}[probe.api]\nkind = \"bearer\"\nsecret = \"API_KEY\"\nurl = \"{url}\"\n{more}\n",
        var("API_KEY", "api-key")
    )
}

fn env(key: &str) -> String {
    format!("API_KEY=\"{key}\"\n")
}

#[test]
fn right_and_wrong_are_told_apart() {
    let server = api("authorization", "Bearer sk-canary-0123456789abcdefghij", 401);
    let schema = schema(&server, "");
    assert_said(&probes(&schema, &env(KEY)), "works", "API_KEY works");
    assert_eq!(server.requests().len(), 2, "the key, and one that is wrong");
    assert_said(&probes(&schema, &env("sk-canary-another0123456789")), "wrong", "refuses it (401)");
}

#[test]
fn the_header_may_be_another() {
    let server = api("x-api-key", KEY, 401);
    let schema = schema(&server, "header = \"x-api-key\"\nheaders = { anthropic-version = \"2023-06-01\" }");
    assert_said(&probes(&schema, &env(KEY)), "works", "works");
    for request in server.requests() {
        assert_eq!(request.headers["anthropic-version"], "2023-06-01");
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[test]
fn which_status_refuses_is_the_schemas_word() {
    let server = api("authorization", "nobody", 403);
    assert_said(&probes(&schema(&server, ""), &env(KEY)), "wrong", "(403)");
    assert_said(&probes(&schema(&server, "refused = [401]"), &env(KEY)), "unknown", "answered 403");
}

#[test]
fn a_page_for_everybody_proves_nothing() {
    let server = Hostile::new();
    server.on("/v1/models", [Reply::json(200, &json!([]))]);
    assert_said(
        &probes(&schema(&server, ""), &env(KEY)),
        "unknown",
        "does not refuse a wrong secret either (200)",
    );
}

#[test]
fn a_redirection_and_a_failure_say_nothing() {
    for (reply, part) in [
        (Reply::redirect("http://127.0.0.1:1/v1/models"), "answered 307"),
        (Reply::error(503), "answered 503"),
        (Reply::error(429), "answered 429"),
    ] {
        let server = Hostile::new();
        server.on("/v1/models", [reply]);
        assert_said(&probes(&schema(&server, ""), &env(KEY)), "unknown", part);
    }
}

#[test]
fn a_key_that_no_header_can_carry_is_wrong() {
    let server = api("authorization", "nobody", 401);
    let schema = schema(&server, "").replace("\"api-key\"", "\"string\"\nsecret = true");
    assert_said(&probes(&schema, &env("canary\\nline")), "wrong", "no header can carry");
    assert!(server.requests().is_empty());
}
