//! What the fake does beside answering: how it fails, ends, and what it notes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::client::Client;
use super::fake::{Fake, Fault};

const DB: &str = "/api/v1/namespaces/shop/secrets/db";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";
const WATCH: &str = "/api/v1/namespaces/shop/secrets?watch=1&fieldSelector=metadata.name%3Ddb";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/shop/leases";

/// A fake with one Secret, and its administrator.
fn shop() -> (Fake, Client) {
    let fake = Fake::start();
    let admin = client(&fake, fake.administrator());
    admin.post("/api/v1/namespaces", &json!({ "metadata": { "name": "shop" } })).fine();
    admin.post(SECRETS, &json!({ "metadata": { "name": "db" }, "data": { "k": "QQ==" } })).fine();
    (fake, admin)
}

fn client(fake: &Fake, token: &str) -> Client {
    let host = fake.https().strip_prefix("https://").unwrap().to_owned();
    Client { host, ca: Some(fake.ca()), token: token.into(), identity: None, agent: "tests/1" }
}

fn rotate(admin: &Client, value: &str) -> Value {
    admin.merge(DB, &json!({ "stringData": { "k": value } })).fine()
}

fn within(time: Duration, what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while !is() {
        assert!(Instant::now() < end, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_watch_outlives_its_token_and_its_rights() {
    let (fake, admin) = shop();
    let token = fake.token_of("guest");
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop";
    let rule = json!({
        "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db"], "verbs": ["get", "list", "watch"],
    });
    admin.post(&format!("{rbac}/roles"), &json!({ "metadata": { "name": "r" }, "rules": [rule] })).fine();
    let binding = json!({
        "metadata": { "name": "r" }, "subjects": [{ "kind": "User", "name": "guest" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r" },
    });
    let guest = client(&fake, &token);
    assert_eq!(guest.get(DB).status, 403);
    admin.post(&format!("{rbac}/rolebindings"), &binding).fine();
    assert_eq!(guest.get(DB).status, 200);
    assert_eq!(guest.get(SECRETS).status, 403, "only by its name");
    let mut watch = guest.watch(WATCH, &[]).unwrap();
    assert_eq!(watch.event().0, "ADDED");
    admin.delete(&format!("{rbac}/rolebindings/r")).fine();
    assert_eq!(guest.get(DB).status, 403);
    fake.expire(&token);
    assert_eq!(guest.get(DB).status, 401);
    rotate(&admin, "two");
    assert_eq!(watch.event().1["data"]["k"], "dHdv", "what is open goes on");
}

#[test]
fn what_may_be_done_can_be_asked() {
    let (fake, admin) = shop();
    let ask = |client: &Client, verb: &str| {
        let attributes = json!({ "verb": verb, "resource": "secrets", "namespace": "shop", "name": "db" });
        let review = json!({ "spec": { "resourceAttributes": attributes } });
        let answer = client.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review);
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["status"]["allowed"].clone()
    };
    assert_eq!(ask(&admin, "watch"), true);
    assert_eq!(ask(&client(&fake, &fake.token_of("guest")), "watch"), false);
}

#[test]
fn metadata_only_has_no_value_but_what_annotations_hold() {
    let (_fake, admin) = shop();
    let applied = "{\"data\":{\"k\":\"QQ==\"}}";
    let note = json!({ "kubectl.kubernetes.io/last-applied-configuration": applied });
    admin.merge(DB, &json!({ "metadata": { "annotations": note } })).fine();
    let partial = [
        ("accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
        ("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io, application/json"),
    ];
    for header in partial {
        let list = admin.ask("GET", SECRETS, &[header], b"").unwrap().json();
        assert_eq!(list["kind"], "PartialObjectMetadataList");
        assert!(list["items"][0].get("data").is_none(), "{list}");
        assert!(list.to_string().contains("QQ=="), "{list}");
        let (_, object) = admin.watch(WATCH, &[header]).unwrap().event();
        assert_eq!((object["kind"].as_str(), object.get("data")), (Some("PartialObjectMetadata"), None));
    }
}

#[test]
fn equal_content_is_no_version_and_no_event() {
    let (fake, admin) = shop();
    let mut watch = admin.watch(WATCH, &[]).unwrap();
    watch.event();
    let before = fake.revision();
    rotate(&admin, "A");
    assert_eq!(fake.revision(), before);
    rotate(&admin, "B");
    assert_eq!(watch.event().1["data"]["k"], "Qg==");
}

#[test]
fn a_lease_is_held_by_who_wrote_it_last_with_the_right_version() {
    let (_fake, admin) = shop();
    let spec = |holder: &str| json!({ "holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z" });
    let made = admin.post(LEASES, &json!({ "metadata": { "name": "lock" }, "spec": spec("a") }));
    assert_eq!(made.status, 201, "{}", made.text);
    let path = format!("{LEASES}/lock");
    let mut lease = made.json();
    lease["spec"] = spec("b");
    let taken = admin.put(&path, &lease);
    assert_eq!((taken.status, &taken.json()["spec"]["holderIdentity"]), (200, &json!("b")));
    let late = admin.put(&path, &lease);
    assert_eq!((late.status, &late.json()["reason"]), (409, &json!("Conflict")));
    // Without a version nobody may write over it.
    lease["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(admin.put(&path, &lease).status, 422);
    let test = json!([
        { "op": "test", "path": "/spec/holderIdentity", "value": "a" },
        { "op": "replace", "path": "/spec/holderIdentity", "value": "c" },
    ]);
    let refused = admin.json_patch(&path, &test);
    assert_eq!((refused.status, &refused.json()["reason"]), (422, &json!("Invalid")));
    let change = json!([{ "op": "replace", "path": "/spec/holderIdentity", "value": "c" }]);
    assert_eq!(admin.json_patch(&path, &change).fine()["spec"]["holderIdentity"], "c");
    let badly = json!({ "metadata": { "name": "other" }, "spec": { "renewTime": "2026-01-01T00:00:00Z" } });
    assert_eq!(admin.post(LEASES, &badly).status, 400, "a MicroTime has six digits");
    let options = json!({ "preconditions": { "resourceVersion": "1" } }).to_string();
    assert_eq!(admin.ask("DELETE", &path, &[], options.as_bytes()).unwrap().status, 409);
    assert_eq!(admin.delete(&path).status, 200);
    assert_eq!(admin.get(&path).status, 404);
}

#[test]
fn a_server_that_ends_refuses_connections_and_leaves_its_watches_silent() {
    let (fake, admin) = shop();
    let mut watch = admin.watch(WATCH, &[]).unwrap();
    watch.event();
    fake.shut_down();
    assert!(admin.ask("GET", DB, &[], b"").is_err(), "nobody can connect");
    let watched = fake.sees("it", Duration::ZERO, |seen| seen.verb == "watch").connection;
    assert!(fake.link(watched).closed.is_none(), "what is open stays open");
    fake.start_again();
    assert!(watch.next().is_none(), "the process is gone");
    rotate(&admin, "two");
    let mut watch = admin.watch(WATCH, &[]).unwrap();
    assert_eq!(watch.event().1["data"]["k"], "dHdv", "what was kept is there");
}

#[test]
fn a_frozen_etcd_closes_a_get_hangs_a_list_and_leaves_the_cache() {
    let (fake, admin) = shop();
    fake.freeze(true);
    let began = Instant::now();
    let closed = admin.ask("GET", &format!("{DB}?timeout=1s"), &[], b"");
    assert!(closed.is_err() && began.elapsed() >= Duration::from_secs(1), "{closed:?}");
    assert_eq!(admin.get(&format!("{SECRETS}?resourceVersion=0")).status, 200);
    let mut stream = TcpStream::connect(fake.http().strip_prefix("http://").unwrap()).unwrap();
    let list = format!("GET {SECRETS} HTTP/1.1\r\nauthorization: Bearer {}\r\n\r\n", fake.administrator());
    stream.write_all(list.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silence = stream.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock, "a consistent list hangs");
}

#[test]
fn a_forgotten_connection_takes_bytes_and_says_nothing() {
    let (fake, admin) = shop();
    let mut watch = admin.watch(WATCH, &[]).unwrap();
    watch.event();
    let number = fake.sees("it", Duration::ZERO, |seen| seen.verb == "watch").connection;
    fake.mute();
    rotate(&admin, "two");
    let heard = std::thread::spawn(move || watch.next().is_some());
    // New connections see the change, and the old one is open and silent all the while.
    assert_eq!(admin.get(DB).fine()["data"]["k"], "dHdv");
    assert!(fake.link(number).closed.is_none());
    fake.cut();
    assert!(!heard.join().unwrap(), "it ended without a word");
}

#[test]
fn a_stream_breaks_off_in_the_middle_of_a_line() {
    let (fake, admin) = shop();
    fake.fail("watch secrets/db", [Fault::CutAfter(1)]);
    let mut stream = TcpStream::connect(fake.http().strip_prefix("http://").unwrap()).unwrap();
    let watch = format!("GET {WATCH} HTTP/1.1\r\nauthorization: Bearer {}\r\n\r\n", fake.administrator());
    stream.write_all(watch.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with('{') {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
    }
    rotate(&admin, "two");
    let mut rest = String::new();
    let _reset = reader.read_to_string(&mut rest);
    let half = rest.lines().last().unwrap();
    assert!(half.starts_with("{\"") && serde_json::from_str::<Value>(half).is_err(), "{rest}");
    // Once was planned.
    assert_eq!(admin.watch(WATCH, &[]).unwrap().event().0, "ADDED");
}

#[test]
fn every_planned_failure_looks_as_it_should() {
    let (fake, admin) = shop();
    for code in [500, 502, 503, 504] {
        fake.fail("get secrets/db", [Fault::Status(code)]);
        let answer = admin.get(DB);
        assert_eq!((answer.status, &answer.json()["code"]), (code, &json!(code)));
    }
    fake.fail("get *", [Fault::Page, Fault::Half, Fault::CutAfter(0), Fault::Close, Fault::Gone]);
    assert!(admin.get(DB).text.starts_with("<!doctype html>"));
    let half = admin.get(DB);
    assert!(half.status == 200 && serde_json::from_str::<Value>(&half.text).is_err());
    let cut = admin.get(DB);
    assert!(cut.headers["content-length"].parse::<usize>().unwrap() > cut.text.len(), "{cut:?}");
    assert!(admin.ask("GET", DB, &[], b"").is_err());
    assert_eq!(admin.get(DB).status, 410);
    fake.fail("watch *", [Fault::Gone, Fault::Lines(vec!["{\"type\":\"BOOKMARK\"}".into()])]);
    let (kind, status) = admin.watch(WATCH, &[]).unwrap().event();
    assert_eq!((kind.as_str(), &status["code"]), ("ERROR", &json!(410)));
    let mut odd = admin.watch(WATCH, &[]).unwrap();
    assert!(odd.next().is_some() && odd.next().is_none());
    fake.fail_always("* secrets/db", Fault::TooMany(7));
    for _ in 0..2 {
        let busy = admin.get(DB);
        assert_eq!((busy.status, busy.headers["retry-after"].as_str()), (429, "7"));
    }
    fake.heal();
    assert_eq!(admin.get(DB).status, 200);
}

#[test]
fn endless_bodies_end_with_the_client() {
    let (fake, _) = shop();
    for (fault, bytes) in [(Fault::Endless, 2_000_000), (Fault::Drip, 100)] {
        fake.fail("get secrets/db", [fault]);
        let mut stream = TcpStream::connect(fake.http().strip_prefix("http://").unwrap()).unwrap();
        write!(stream, "GET {DB} HTTP/1.1\r\n\r\n").unwrap();
        stream.read_exact(&mut vec![0; bytes]).unwrap();
        let number = fake.links() as u64;
        drop(stream);
        within(Duration::from_secs(10), "the end", || fake.link(number).closed.is_some());
    }
    assert!(fake.endless_bytes() > 1_000_000);
}

#[test]
fn what_was_asked_is_noted_without_its_token() {
    let (fake, admin) = shop();
    fake.forget_seen();
    admin.ask("GET", DB, &[("user-agent", "me/1")], b"").unwrap();
    client(&fake, "nonsense").get(DB);
    let seen = fake.seen();
    assert_eq!(seen.iter().map(super::fake::Seen::what).collect::<Vec<_>>(), ["get secrets/db"; 2]);
    assert_eq!((seen[0].user.as_str(), seen[1].user.as_str()), ("admin-rig", "-"));
    assert_eq!((seen[0].user_agent.as_str(), seen[0].namespace.as_str()), ("me/1", "shop"));
    assert_ne!(seen[0].connection, seen[1].connection);
    within(Duration::from_secs(10), "its end", || fake.link(seen[0].connection).closed.is_some());
    let link = fake.link(seen[0].connection);
    assert!(link.tls && link.protocol.is_none() && link.closed > Some(link.opened), "{link:?}");
    let text = format!("{seen:?}");
    assert!(!text.contains(fake.administrator()) && !text.contains("nonsense"), "{text}");
}

#[test]
fn a_backup_that_is_restored_makes_versions_of_the_future() {
    let (fake, admin) = shop();
    let old = fake.revision();
    rotate(&admin, "two");
    fake.advance_to(old + 100);
    fake.restore(old);
    assert_eq!(admin.get(DB).fine()["data"]["k"], "QQ==");
    let list = admin.get(&format!("{SECRETS}?resourceVersion={}", old + 100));
    assert_eq!((list.status, list.headers["retry-after"].as_str()), (504, "1"));
}

#[test]
fn initial_events_are_refused_by_who_does_not_know_them() {
    let (fake, admin) = shop();
    let path = format!("{WATCH}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1");
    assert_eq!(admin.get(&path).status, 200);
    fake.set_initial_events(false);
    let refused = admin.get(&path);
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("sendInitialEvents is forbidden"), "{}", refused.text);
}

/// A client of HTTP/2, which dlconf is not.
#[test]
fn http_2_is_offered_and_says_goaway_at_the_end() {
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let (fake, _) = shop();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fake.ca()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let host = fake.https().strip_prefix("https://").unwrap().to_owned();
        let stream = tokio::net::TcpStream::connect(&host).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = |path: &str| {
            hyper::Request::get(format!("https://{host}{path}"))
                .header("authorization", format!("Bearer {}", fake.administrator()))
                .body(String::new())
                .unwrap()
        };
        let list = sender.send_request(request(SECRETS)).await.unwrap();
        assert_eq!((list.status().as_u16(), list.version()), (200, hyper::Version::HTTP_2));
        let watch = sender.send_request(request(&format!("{WATCH}&timeoutSeconds=1"))).await.unwrap();
        assert_eq!(watch.status().as_u16(), 200);
        let number = fake.links() as u64;
        assert_eq!(fake.link(number).protocol.as_deref(), Some("h2"));
        fake.shut_down();
        // Told so, a client sends nothing more here; the open watch stays.
        let refused = loop {
            match sender.send_request(request(DB)).await {
                Ok(_raced) => tokio::task::yield_now().await,
                Err(error) => break error,
            }
        };
        assert!(refused.is_canceled() || refused.is_closed() || is_goaway(&refused), "{refused:?}");
        assert!(fake.link(number).closed.is_none());
        drop((watch, sender));
        fake.cut();
        connection.await.unwrap().ok();
    });
}

fn is_goaway(error: &dyn std::error::Error) -> bool {
    format!("{error:?}").contains("GoAway")
}
