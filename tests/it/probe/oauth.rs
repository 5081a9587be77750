//! A token endpoint: RFC 6749 as servers keep it, and as some do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{assert_said, probes, var};
use crate::bao::http::Request;
use crate::hostile::{Hostile, Reply};

const SECRET: &str = "canary+right/Secret&of=the%client";

fn schema(url: &str, more: &str) -> String {
    let vars = [var("CLIENT_SECRET", "oauth-client-secret"), var("CLIENT_ID", "oauth-client-id")].concat();
    format!(
        "{vars}[probe.login]\nkind = \"oauth\"\nsecret = \"CLIENT_SECRET\"\nurl = \"{url}\"\n\
         client_id = \"${{CLIENT_ID}}\"\n{more}\n"
    )
}

fn env(secret: &str) -> String {
    format!("CLIENT_ID=app\nCLIENT_SECRET='{secret}'\n")
}

fn error(status: u16, code: &str) -> Reply {
    Reply::json(status, &json!({ "error": code, "error_description": SECRET }))
}

/// The fields of a form.
fn form(request: &Request) -> Vec<(String, String)> {
    url::form_urlencoded::parse(&request.body).into_owned().collect()
}

/// Authenticates the client, then looks at the grant, which nobody ever got.
fn honest() -> Hostile {
    let server = Hostile::new();
    let judge = |request: &Request| {
        let form = form(request);
        let field = |name: &str| form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let well_formed = request.method == "POST"
            && request.headers["content-type"] == "application/x-www-form-urlencoded"
            && field("grant_type") == Some("authorization_code")
            && field("code").is_some_and(|code| code.len() > 20);
        match (well_formed, field("client_id"), field("client_secret")) {
            (false, ..) => error(400, "invalid_request"),
            (true, Some("app"), Some(SECRET)) => error(400, "invalid_grant"),
            _ => error(401, "invalid_client"),
        }
    };
    server.on("/token", [Reply::By(Arc::new(judge))]);
    server
}

fn token(server: &Hostile) -> String {
    format!("{}/token", server.address())
}

#[test]
fn right_and_wrong_are_told_apart() {
    let server = honest();
    let schema = schema(&token(&server), "redirect_uri = \"https://shop.example.com/back\"");
    assert_said(&probes(&schema, &env(SECRET)), "works", "CLIENT_SECRET works");
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "the secret, and one that is wrong");
    let redirect = ("redirect_uri".to_owned(), "https://shop.example.com/back".to_owned());
    assert!(requests.iter().all(|request| form(request).contains(&redirect)));
    assert_ne!(form(&requests[0]), form(&requests[1]));

    assert_said(&probes(&schema, &env("another")), "wrong", "invalid_client");
    assert_eq!(server.requests().len(), 3, "no wrong secret is needed to believe that");
}

#[test]
fn a_secret_may_stand_in_a_header() {
    use base64::Engine as _;
    let server = Hostile::new();
    let judge = |request: &Request| {
        assert!(!String::from_utf8_lossy(&request.body).contains("client_"), "in the form as well");
        let login = request.headers["authorization"].strip_prefix("Basic ").unwrap().to_owned();
        let login = base64::engine::general_purpose::STANDARD.decode(login).unwrap();
        let pair = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect::<String>();
        let right = login == format!("app:{pair}").into_bytes();
        error(if right { 400 } else { 401 }, if right { "invalid_grant" } else { "invalid_client" })
    };
    server.on("/token", [Reply::By(Arc::new(judge))]);
    let schema = schema(&token(&server), "auth = \"basic\"");
    assert_said(&probes(&schema, &env(SECRET)), "works", "works");
    assert_said(&probes(&schema, &env("another")), "wrong", "invalid_client");
}

#[test]
fn servers_that_prove_nothing_are_not_believed() {
    for (reply, part) in [
        (error(400, "invalid_grant"), "does not refuse a wrong secret either"),
        (error(400, "invalid_request"), "answered 400"),
        (error(400, "unauthorized_client"), "answered 400"),
        (error(500, "invalid_client"), "answered 500"),
        (Reply::json(200, &json!({ "access_token": "x" })), "answered 200"),
        (Reply::html(401), "answered 401"),
        (Reply::Close, "the connection broke"),
        (Reply::HeadOnly, "the connection broke"),
    ] {
        let server = Hostile::new();
        server.on("/token", [reply]);
        let said = probes(&schema(&token(&server), ""), &env(SECRET));
        assert_said(&said, "unknown", part);
        assert!(!said.concat().contains("canary"), "{said:?}");
    }
    // It refuses the wrong secret, but not as one.
    let server = Hostile::new();
    server.on("/token", [error(400, "invalid_grant"), error(400, "invalid_request")]);
    assert_said(&probes(&schema(&token(&server), ""), &env(SECRET)), "unknown", "does not refuse");
}

#[test]
fn a_redirection_leads_nowhere() {
    let elsewhere = honest();
    let server = Hostile::new();
    server.on("/token", [Reply::redirect(&token(&elsewhere))]);
    assert_said(&probes(&schema(&token(&server), ""), &env(SECRET)), "unknown", "answered 307");
    assert_eq!(server.requests().len(), 1);
    assert!(elsewhere.requests().is_empty());
}

#[test]
fn an_answer_is_read_so_far_and_no_further() {
    let server = Hostile::new();
    server.on("/token", [Reply::Endless]);
    assert_said(&probes(&schema(&token(&server), ""), &env(SECRET)), "unknown", "answered 200");
    // What the sockets between hold is more than what is read.
    assert!(server.endless_bytes() < 32 << 20, "{}", server.endless_bytes());
}

#[test]
fn who_is_slow_is_not_waited_for() {
    for reply in [Reply::Silence, Reply::Drip] {
        let server = Hostile::new();
        server.on("/token", [reply]);
        let began = Instant::now();
        assert_said(&probes(&schema(&token(&server), ""), &env(SECRET)), "unknown", "in time");
        assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    }
}

#[test]
fn only_allowed_hosts_are_asked() {
    let server = honest();
    let by_variable = |hosts: &str| {
        let schema = schema("${TOKEN_URL}", hosts);
        let env = format!("{}TOKEN_URL={}\n", env(SECRET), token(&server));
        probes(&(schema + &var("TOKEN_URL", "url")), &env)
    };
    for hosts in
        ["", "hosts = []", "hosts = [\"api.example.com\", \"*.0.0.example\"]", "hosts = [\"localhost\"]"]
    {
        let said = by_variable(hosts);
        assert_said(&said, "unknown", "the host that TOKEN_URL names is on no list");
        assert!(!said.concat().contains("127.0.0.1"), "a variable's value is shown: {said:?}");
    }
    assert!(server.requests().is_empty());
    assert_said(&by_variable("hosts = [\"127.0.0.1\"]"), "works", "works");
}

#[test]
fn nothing_is_sent_in_the_clear_to_others() {
    let schema =
        schema("${TOKEN_URL}", "hosts = [\"*.example.com\", \"192.0.2.1\"]") + &var("TOKEN_URL", "url");
    for url in ["http://api.example.com/token", "http://192.0.2.1/token"] {
        let said = probes(&schema, &format!("{}TOKEN_URL={url}\n", env(SECRET)));
        assert_said(&said, "unknown", "TOKEN_URL is http://");
    }
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let (server, proxy) = (honest(), Hostile::new());
    let folder = super::folder(&schema(&token(&server), ""), &env(SECRET));
    let names = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let address = proxy.address();
    let environment: Vec<(&str, &str)> = names.iter().map(|name| (*name, &*address)).collect();
    let ran =
        folder.run_with(&["--schema", "schema.toml", "check", "--probe", "--format", "json"], &environment);
    assert_said(&super::said(&ran), "works", "works");
    assert!(proxy.requests().is_empty());
}

#[test]
fn what_a_probe_needs_must_be_set() {
    let server = honest();
    let schema = schema(&token(&server), "");
    let said = probes(&schema, &format!("CLIENT_SECRET='{SECRET}'\n"));
    assert_said(&said, "unknown", "CLIENT_ID is not set");
    assert!(probes(&schema, "CLIENT_ID=app\n").is_empty(), "there is nothing to try");
    assert!(server.requests().is_empty());
}
