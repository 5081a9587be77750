//! The fixtures themselves: they do what the tests of dlconf rely on.

use std::time::Duration;

use serde_json::{Value, json};

use super::proxy::Proxy;
use super::{Bao, OwnBao, poll, postgres};

const READ_ALL: &str = "path \"secret/*\" { capabilities = [\"read\", \"list\"] }";

fn none() -> Value {
    json!({})
}

#[test]
fn the_shared_server_gives_each_test_a_namespace() {
    let (one, other) = (Bao::shared(), Bao::shared());
    assert_ne!(one.namespace(), other.namespace());
    assert_eq!(one.address(), other.address());
    assert_eq!(one.kv_put("app/web", &json!({ "A": "1" })), 1);
    assert_eq!(one.kv_put("app/web", &json!({ "A": "2" })), 2);
    assert_eq!(one.read("secret/data/app/web")["data"]["data"]["A"], "2");
    assert_eq!(one.list("secret/metadata/app"), ["web"]);
    assert!(other.list("secret/metadata/app").is_empty());
    assert_eq!(other.request("GET", "secret/data/app/web", other.root_token(), None).0, 404);
}

#[test]
fn versions_are_deleted_undeleted_and_destroyed() {
    let bao = Bao::shared();
    let version = bao.kv_put("a", &json!({ "A": "1" }));
    let deletion = || bao.request("GET", "secret/data/a", bao.root_token(), None);
    bao.kv_delete("a");
    let (status, answer) = deletion();
    assert!(status == 404 && answer["data"]["metadata"]["deletion_time"] != "", "{answer}");
    bao.kv_undelete("a", version);
    assert_eq!(deletion().0, 200);
    bao.kv_destroy("a", version);
    let (status, answer) = deletion();
    assert_eq!((status, &answer["data"]["metadata"]["destroyed"]), (404, &json!(true)));
    bao.kv_forget("a");
    assert_eq!(deletion(), (404, json!({ "errors": [] })));

    bao.mount_kv("old", 1);
    bao.write("old/a", &json!({ "A": "1" }));
    assert_eq!(bao.read("old/a")["data"], json!({ "A": "1" }));
    bao.delete("old/a");
    assert_eq!(bao.request("GET", "old/a", bao.root_token(), None).0, 404);
}

#[test]
fn tokens_have_the_policies_and_the_life_they_are_given() {
    let bao = Bao::shared();
    bao.kv_put("a", &json!({ "A": "1" }));
    bao.policy("reader", READ_ALL);
    let token = bao.token(&["reader"], &json!({ "ttl": "1h" }));
    assert_eq!(bao.request("GET", "secret/data/a", &token, None).0, 200);
    assert_eq!(bao.request("POST", "secret/data/a", &token, Some(&json!({ "data": {} }))).0, 403);
    let short = bao.token(&["reader"], &json!({ "ttl": "1s", "renewable": false }));
    assert!(bao.knows(&token) && !bao.knows("s.nobody"));
    assert!(poll(|| (!bao.knows(&short)).then_some(())).is_some(), "a token outlived its second");
}

#[test]
fn a_wrapped_secret_id_opens_once_and_logs_in() {
    let bao = Bao::shared();
    bao.kv_put("a", &json!({ "A": "1" }));
    bao.policy("reader", READ_ALL);
    let (role_id, secret_id) = bao.approle("web", &["reader"], &json!({ "token_ttl": "1h" }));
    let wrapped = bao.wrapped_secret_id("web", "60s");
    let unwrap = || bao.request("POST", "sys/wrapping/unwrap", &wrapped, None);
    let (status, answer) = unwrap();
    assert_eq!(status, 200, "{answer}");
    assert_eq!(unwrap().0, 400, "a wrapping token opened twice");
    for secret_id in [secret_id.as_str(), answer["data"]["secret_id"].as_str().unwrap()] {
        let login = json!({ "role_id": role_id, "secret_id": secret_id });
        let answer = bao.request("POST", "auth/approle/login", "", Some(&login)).1;
        let token = answer["auth"]["client_token"].as_str().unwrap();
        assert_eq!(bao.request("GET", "secret/data/a", token, None).0, 200);
    }
}

#[test]
fn signed_tokens_and_service_accounts_log_in() {
    let bao = Bao::shared();
    bao.policy("reader", READ_ALL);
    let login = |kind: &str, role: &str, jwt: &str| {
        bao.request("POST", &format!("auth/{kind}/login"), "", Some(&json!({ "role": role, "jwt": jwt })))
    };
    let hour = Duration::from_hours(1);
    let signer = bao.jwt_role("ci", &["reader"], &none());
    let (status, answer) = login("jwt", "ci", &signer.token("pipeline", hour));
    assert_eq!((status, &answer["auth"]["token_policies"]), (200, &json!(["default", "reader"])), "{answer}");
    assert_ne!(login("jwt", "ci", &signer.sign(&json!({ "sub": "x", "aud": "other" }))).0, 200);

    let cluster = bao.kubernetes_role("web", ("shop", "web"), &["reader"], &json!({ "token_ttl": "1h" }));
    let token = cluster.token("shop", "web", hour);
    let (status, answer) = login("kubernetes", "web", &token);
    assert_eq!((status, &answer["auth"]["token_policies"]), (200, &json!(["default", "reader"])), "{answer}");
    assert_eq!(cluster.reviews(), 1);
    assert_eq!(login("kubernetes", "web", &cluster.token("shop", "other", hour)).0, 403);
    cluster.revoke(&token);
    assert_eq!(login("kubernetes", "web", &token).0, 403);
}

#[test]
fn database_logins_are_made_and_revoked() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "2h" }));
    let made = bao.read("database/creds/app");
    let [user, password] = ["username", "password"].map(|f| made["data"][f].as_str().unwrap());
    assert!(postgres::role_exists(user) && postgres::accepts(user, password));
    assert!(!postgres::accepts(user, "another password"));
    bao.write("sys/leases/revoke", &json!({ "lease_id": made["lease_id"], "sync": true }));
    assert!(!postgres::role_exists(user) && !postgres::accepts(user, password));

    bao.database_role("short", &json!({ "default_ttl": "1s", "max_ttl": "1s" }));
    let made = bao.read("database/creds/short");
    let user = made["data"]["username"].as_str().unwrap();
    assert!(poll(|| (!postgres::role_exists(user)).then_some(())).is_some(), "a login outlived its lease");
}

#[test]
fn a_raft_server_with_tls_seals_and_takes_client_certificates() {
    let bao = OwnBao::production(true);
    assert!(bao.address().starts_with("https://127.0.0.1:"));
    bao.policy("reader", READ_ALL);
    let identity = bao.cert_role("web", "web.shop", &["reader"]);
    let login = |identity| bao.request_with("POST", "auth/cert/login", &[], Some(&none()), identity);
    let (status, answer) = login(Some(&identity));
    assert_eq!((status, &answer["auth"]["token_policies"]), (200, &json!(["default", "reader"])), "{answer}");
    assert_eq!(login(None).0, 400);
    assert_ne!(login(Some(&bao.client("stranger"))).0, 200);

    bao.kv_put("a", &json!({ "A": "1" }));
    let read = || bao.request("GET", "secret/data/a", bao.root_token(), None);
    bao.seal();
    assert_eq!((read().0, bao.health()), (503, Some(503)));
    bao.unseal();
    assert_eq!(read().0, 200);
}

#[test]
fn what_is_stored_survives_a_kill_and_a_restart() {
    for with_tls in [false, true] {
        let mut bao = OwnBao::production(with_tls);
        let address = bao.address();
        bao.kv_put("a", &json!({ "A": "1" }));
        bao.kill();
        assert_eq!(bao.health(), None, "killed");
        bao.start();
        assert_eq!(bao.health(), Some(503), "it comes back sealed");
        bao.unseal();
        assert_eq!(bao.read("secret/data/a")["data"]["data"]["A"], "1");
        bao.restart();
        assert_eq!(bao.read("secret/data/a")["data"]["metadata"]["version"], 1);
        assert_eq!(bao.address(), address);
    }
}

#[test]
fn an_own_server_ends_with_its_test() {
    let mut bao = OwnBao::dev();
    bao.kv_put("a", &json!({ "A": "1" }));
    bao.restart();
    assert!(bao.list("secret/metadata").is_empty(), "a dev server starts empty");
    let address = bao.address;
    let panicked = std::thread::spawn(move || {
        let _bao = bao;
        panic!("as a failing test does");
    });
    assert!(panicked.join().is_err());
    assert!(std::net::TcpStream::connect(address).is_err(), "the server outlived its test");
}

#[test]
fn the_proxy_notes_and_cuts() {
    let bao = Bao::shared();
    bao.kv_put("a", &json!({ "A": "1" }));
    let proxy = Proxy::to(&bao.address());
    let through = Bao { address: proxy.address().strip_prefix("http://").unwrap().parse().unwrap(), ..bao };
    through.read("secret/data/a?version=1");
    through.list("secret/metadata");
    let pair = |method: &str, path: &str| (method.to_owned(), path.to_owned());
    let both = [pair("GET", "/v1/secret/data/a?version=1"), pair("LIST", "/v1/secret/metadata")];
    assert_eq!(proxy.requests(), both);
    assert_eq!(proxy.full_requests()[0].headers["x-vault-namespace"], through.namespace());
    assert_eq!(proxy.take_requests(), both);

    proxy.refuse();
    assert_eq!((through.health(), proxy.requests()), (None, Vec::new()));
    proxy.hang();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| through.read("secret/data/a"));
        assert!(poll(|| (proxy.requests().len() == 1).then_some(())).is_some());
        assert!(!asked.is_finished(), "an answer came through");
        proxy.pass();
        assert_eq!(asked.join().unwrap()["data"]["data"]["A"], "1");
    });
}
