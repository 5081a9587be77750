//! Rotation's writes to KV v2: compared, complete, and seen at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dlconf::model::key::Key;
use dlconf::model::rotation::{KeyNote, Kid, Ledger, Phase, Print, Progress, Slot};
use dlconf::model::secret::SecretValue;
use dlconf::source::fields::Select;
use dlconf::source::vault::config::{Auth, Engine, PathSpec};
use dlconf::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};
use dlconf::source::{Ask, Source as _};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::watched::{PATIENCE, Watched, block_on, config, kv2, spec};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, OwnBao};
use crate::hostile::{Hostile, Reply};

/// Values that no message may repeat.
pub(super) const NOW: &str = "now-Jt5RkQ2w8Zr1Lx7V";
pub(super) const NEXT: &str = "next-Pm4Yc9Hs6Gf3Ta0E";
pub(super) const OTHER: &str = "other-Bn2Kd7Wq5Xs8Zv1C";

pub(super) fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// The names of a schema that rotates `JWT_SECRET`.
fn known() -> BTreeSet<Key> {
    ["JWT_SECRET", "JWT_SECRET_NEXT", "JWT_SECRET_PREVIOUS", "PORT"].map(key).into()
}

/// A source that looks at versions once an hour, and the names that it is asked for.
pub(super) async fn seldom(address: &str, namespace: &str, token: &str, paths: Vec<PathSpec>) -> Watched {
    let config = dlconf::source::vault::Config {
        poll: Duration::from_hours(1),
        ..config(address, namespace, Auth::Token, paths)
    };
    let mut watched = Watched::new(config, token).await;
    fetch(&mut watched).await;
    watched
}

async fn fetch(watched: &mut Watched) {
    let ask = Ask { known: &known(), names_only: false, retry: false };
    watched.fetched = watched.source.fetch(ask).await;
}

/// Waits for a change, which comes long before the hour is over, and fetches.
pub(super) async fn change(watched: &mut Watched) {
    timeout(PATIENCE, watched.source.changed()).await.expect("nothing changed");
    fetch(watched).await;
}

pub(super) fn app(bao: &Bao) -> impl Future<Output = Watched> {
    let (address, namespace, token) =
        (bao.address(), bao.namespace().to_owned(), bao.root_token().to_owned());
    async move { seldom(&address, &namespace, &token, vec![kv2("app")]).await }
}

pub(super) fn writable(watched: &Watched) -> &dyn WritableSource {
    watched.source.writable().unwrap()
}

pub(super) async fn open(watched: &Watched) -> Document {
    writable(watched).open(&key("JWT_SECRET")).await.unwrap()
}

fn note(kid: &str, value: &str) -> KeyNote {
    let kid = Kid::new(kid).unwrap();
    let print = Some(Print::of(&kid, &value.into()));
    KeyNote { kid, print, not_before: Some(1_700_000_000), rest: serde_json::Map::new() }
}

/// What stages `NEXT`.
pub(super) fn staging() -> Change {
    let keys = [(Slot::Current, note("initial", NOW)), (Slot::Next, note("k1", NEXT))].into();
    Change {
        set: vec![(Slot::Next, Arc::new(SecretValue::from(NEXT)))],
        remove: vec![],
        progress: Progress { phase: Phase::Staged, count: 1, keys, ..Progress::default() },
    }
}

/// What makes `NEXT` the one that signs.
pub(super) fn activating() -> Change {
    let keys = [(Slot::Current, note("k1", NEXT)), (Slot::Previous, note("initial", NOW))].into();
    Change {
        set: vec![
            (Slot::Current, Arc::new(SecretValue::from(NEXT))),
            (Slot::Previous, Arc::new(SecretValue::from(NOW))),
        ],
        remove: vec![Slot::Next],
        progress: Progress {
            phase: Phase::Activated,
            retire_after: Some(9),
            count: 1,
            keys,
            ..Progress::default()
        },
    }
}

pub(super) fn values(document: &Document) -> BTreeMap<Slot, String> {
    document.values.iter().map(|(slot, value)| (*slot, value.expose().to_owned())).collect()
}

/// The names of the keys that the offers have.
pub(super) fn kids(watched: &Watched) -> BTreeMap<String, String> {
    let offers = watched.layer().offers.iter();
    offers
        .filter_map(|offer| Some((offer.key.to_string(), offer.origin.mark.as_ref()?.kid.to_string())))
        .collect()
}

/// That nothing of any value is in an error.
#[track_caller]
pub(super) fn tells(error: &WriteError, kind: WriteErrorKind, words: &str) {
    let text = format!("{error} {error:?}");
    for value in [NOW, NEXT, OTHER] {
        assert!(!text.contains(value), "{text}");
    }
    assert_eq!(error.kind, kind, "{text}");
    assert!(text.contains(words), "{words:?} is not in {text}");
}

fn stored(bao: &Bao, path: &str) -> Value {
    bao.read(&format!("secret/data/{path}"))["data"]["data"].clone()
}

#[test]
fn a_rotation_is_staged_and_activated_and_seen_at_once() {
    let bao = Bao::shared();
    let foreign = json!({
        "PORT": 1.5, "BIG": 9_007_199_254_740_993_u64, "LIST": [1, { "a": null }], "EMPTY": "", "NONE": null,
        "TEXT": "<a href=\"x\">\u{1F511} & é</a>\n",
    });
    let with = |more: Value| {
        let mut all = foreign.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    bao.kv_put("app", &with(json!({ "JWT_SECRET": NOW })));
    let written = stored(&bao, "app");
    block_on(async {
        let mut watched = app(&bao).await;
        assert!(kids(&watched).is_empty());
        let document = open(&watched).await;
        assert_eq!(
            (&*document.place, &*document.revision.0, &*document.field),
            ("vault:secret/app", "1", "JWT_SECRET")
        );
        assert_eq!(values(&document), [(Slot::Current, NOW.to_owned())].into());
        assert_eq!((document.progress(), &document.ledger), (None, &Ledger::default()));
        let skew = document.server_time.unwrap().duration_since(SystemTime::now()).unwrap_or_default();
        assert!(skew < Duration::from_mins(1), "the server's clock: {skew:?}");

        let revision = writable(&watched).write(&document, &staging()).await.unwrap();
        assert_eq!(&*revision.0, "2");
        change(&mut watched).await;
        assert_eq!(watched.value("JWT_SECRET_NEXT").as_deref(), Some(NEXT));
        assert_eq!(kids(&watched), [("JWT_SECRET", "initial"), ("JWT_SECRET_NEXT", "k1")].map(pair).into());
        assert!(
            watched.values().keys().all(|name| !name.starts_with("DLCONF")),
            "{:?}",
            watched.values().keys()
        );

        let document = open(&watched).await;
        assert_eq!(document.progress(), Some(&staging().progress));
        writable(&watched).write(&document, &activating()).await.unwrap();
        change(&mut watched).await;
        assert_eq!(watched.value("JWT_SECRET").as_deref(), Some(NEXT));
        assert_eq!(watched.value("JWT_SECRET_PREVIOUS").as_deref(), Some(NOW));
        assert_eq!(watched.value("JWT_SECRET_NEXT"), None);
        assert_eq!(
            kids(&watched),
            [("JWT_SECRET", "k1"), ("JWT_SECRET_PREVIOUS", "initial")].map(pair).into()
        );

        let mut now = stored(&bao, "app");
        for ours in ["JWT_SECRET", "JWT_SECRET_PREVIOUS", "DLCONF_STATE"] {
            assert!(
                now.as_object_mut().unwrap().remove(ours).is_some_and(|value| value.is_string()),
                "{ours}"
            );
        }
        let mut before = written;
        before.as_object_mut().unwrap().remove("JWT_SECRET");
        assert_eq!(now.to_string(), before.to_string(), "what others wrote stays");
    });
}

fn pair((name, kid): (&str, &str)) -> (String, String) {
    (name.to_owned(), kid.to_owned())
}

/// A server that answers with a secret exactly as written, and takes writes.
fn exact(fields: &str) -> (Hostile, String) {
    let server = Hostile::new();
    let answer = format!(
        "{{\"request_id\":\"x\",\"data\":{{\"data\":{fields},\"metadata\":{{\"version\":4,\
         \"created_time\":\"2026-11-22T00:00:04Z\",\"deletion_time\":\"\",\"destroyed\":false}}}}}}"
    );
    let answer = Reply::Answer { status: 200, headers: Vec::new(), body: answer.into_bytes() };
    server.on("GET /v1/secret/data/app", [answer]);
    let address = server.address();
    (server, address)
}

fn version(version: u64) -> Value {
    json!({ "version": version, "created_time": "2026-11-22T00:00:09Z", "deletion_time": "", "destroyed": false })
}

#[test]
fn foreign_fields_go_back_byte_for_byte() {
    let fields =
        format!("{{\"N\":1.50,\"E\":1E400,\"JWT_SECRET\":\"{NOW}\",\"T\":\"\\u003cx\\/\",\"L\":[1,  2.0]}}");
    let (server, address) = exact(&fields);
    server.on(
        "POST /v1/secret/data/app",
        [Reply::json(200, &json!({ "request_id": "x", "data": version(5) }))],
    );
    block_on(async {
        let watched = seldom(&address, "", "t", vec![kv2("app")]).await;
        let document = open(&watched).await;
        assert_eq!(&*writable(&watched).write(&document, &staging()).await.unwrap().0, "5");
    });
    let requests = server.requests();
    let posts: Vec<_> = requests.iter().filter(|request| request.method == "POST").collect();
    assert_eq!(posts.len(), 1);
    let body = String::from_utf8(posts[0].body.clone()).unwrap();
    assert!(body.starts_with("{\"options\":{\"cas\":4},\"data\":{"), "{body}");
    for field in ["\"N\":1.50,", "\"E\":1E400,", "\"T\":\"\\u003cx\\/\"", "\"L\":[1,  2.0],"] {
        assert!(body.contains(field), "{field} in {body}");
    }
}

#[test]
fn what_somebody_wrote_meanwhile_is_never_overwritten() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "JWT_SECRET": NOW, "PORT": "1" }));
    block_on(async {
        let mut watched = app(&bao).await;
        let document = open(&watched).await;
        bao.kv_put("app", &json!({ "JWT_SECRET": NOW, "PORT": "2" }));
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        tells(&error, WriteErrorKind::Conflict, "somebody wrote to vault:secret/app");
        assert_eq!(stored(&bao, "app"), json!({ "JWT_SECRET": NOW, "PORT": "2" }));
        // And is told, long before the hour is over.
        change(&mut watched).await;
        assert_eq!(watched.value("PORT").as_deref(), Some("2"));

        // Deleted, and another secret under the same number.
        let document = open(&watched).await;
        bao.kv_delete("app");
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        tells(&error, WriteErrorKind::Conflict, "somebody wrote");
        bao.kv_forget("app");
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        bao.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        tells(&error, WriteErrorKind::Conflict, "somebody wrote");
        assert_eq!(stored(&bao, "app"), json!({ "JWT_SECRET": OTHER }));
    });
}

/// Stands before a server, and does what the test says with a write.
fn between(bao: &Bao, write: impl Fn(&dyn Fn() -> Reply) -> Reply + Send + Sync + 'static) -> Hostile {
    let server = Hostile::new();
    let (bao, path) = (bao.again(), "/v1/secret/data/app");
    let bao = Arc::new(bao);
    let ask = |bao: &Bao, request: &crate::bao::http::Request| {
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let path = request.path.trim_start_matches("/v1/");
        let (status, answer) = bao.request(&request.method, path, bao.root_token(), body.as_ref());
        Reply::json(status, &answer)
    };
    let reading = Arc::clone(&bao);
    server.on(path, [Reply::By(Arc::new(move |request| ask(&reading, request)))]);
    server.on(&format!("POST {path}"), [Reply::By(Arc::new(move |request| write(&|| ask(&bao, request))))]);
    server
}

#[test]
fn who_writes_between_our_look_and_our_write_wins() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "JWT_SECRET": NOW }));
    let other = bao.again();
    let server = between(&bao, move |forward| {
        other.kv_put("app", &json!({ "JWT_SECRET": OTHER }));
        forward()
    });
    block_on(async {
        let mut watched =
            seldom(&server.address(), bao.namespace(), bao.root_token(), vec![kv2("app")]).await;
        let document = open(&watched).await;
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        tells(&error, WriteErrorKind::Conflict, "somebody wrote to vault:secret/app");
        assert_eq!(stored(&bao, "app"), json!({ "JWT_SECRET": OTHER }));
        change(&mut watched).await;
        assert_eq!(watched.value("JWT_SECRET").as_deref(), Some(OTHER));
    });
}

#[test]
fn a_write_whose_answer_is_lost_is_sent_once_and_looked_at() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "JWT_SECRET": NOW }));
    let server = between(&bao, |forward| {
        let _lost = forward();
        Reply::Close
    });
    block_on(async {
        let mut watched =
            seldom(&server.address(), bao.namespace(), bao.root_token(), vec![kv2("app")]).await;
        let document = open(&watched).await;
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        tells(&error, WriteErrorKind::Unavailable, "the connection broke");
        change(&mut watched).await;
        assert_eq!(watched.value("JWT_SECRET_NEXT").as_deref(), Some(NEXT), "it had been done");
        assert_eq!(&*open(&watched).await.revision.0, "2");
    });
    assert_eq!(server.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

#[test]
fn what_a_refused_write_means() {
    let sealed = WriteErrorKind::Unavailable;
    for (reply, kind, words) in [
        (Reply::error(503), sealed, "is sealed"),
        (Reply::error(500), sealed, "failed (500)"),
        (Reply::error(429), sealed, "fewer requests"),
        (Reply::html(200), sealed, "not Vault's JSON"),
        (Reply::json(200, &json!({ "request_id": "x", "data": {} })), sealed, "not Vault's JSON"),
        (Reply::HeadOnly, sealed, "the connection broke"),
        (Reply::redirect("http://127.0.0.1:1/v1/x"), WriteErrorKind::Refused, "sends us elsewhere"),
        (Reply::error(405), WriteErrorKind::Refused, "does not support"),
        (Reply::json(400, &json!({ "errors": [format!("bad {NEXT}")] })), WriteErrorKind::Refused, "refuses"),
    ] {
        let (server, address) = exact(&format!("{{\"JWT_SECRET\":\"{NOW}\"}}"));
        server.on("POST /v1/secret/data/app", [reply]);
        block_on(async {
            let watched = seldom(&address, "", "t", vec![kv2("app")]).await;
            let document = open(&watched).await;
            let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
            tells(&error, kind, words);
        });
        assert_eq!(server.requests().iter().filter(|request| request.method == "POST").count(), 1, "{words}");
    }
}

#[test]
fn a_policy_that_only_reads_is_named() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "JWT_SECRET": NOW }));
    let read = "path \"secret/data/app\" { capabilities = [\"read\"] }\n\
                path \"secret/metadata/app\" { capabilities = [\"read\"] }\n";
    bao.policy("reads", read);
    bao.policy("writes", &read.replacen("\"read\"", "\"read\", \"update\", \"create\"", 1));
    block_on(async {
        let token = bao.token(&["reads"], &json!({}));
        let watched = seldom(&bao.address(), bao.namespace(), &token, vec![kv2("app")]).await;
        let document = open(&watched).await;
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        assert!(error.help.contains("dlconf vault-policy --rotate"), "{}", error.help);
        tells(&error, WriteErrorKind::Refused, "needs the capability `update` on `secret/data/app`");
        assert_eq!(stored(&bao, "app"), json!({ "JWT_SECRET": NOW }));

        let token = bao.token(&["writes"], &json!({}));
        let watched = seldom(&bao.address(), bao.namespace(), &token, vec![kv2("app")]).await;
        let document = open(&watched).await;
        writable(&watched).write(&document, &staging()).await.unwrap();
    });
}

#[test]
fn a_server_that_is_away_is_unavailable() {
    let bao = OwnBao::production(false);
    bao.kv_put("app", &json!({ "JWT_SECRET": NOW }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let mut watched = seldom(&proxy.address(), "", bao.root_token(), vec![kv2("app")]).await;
        let document = open(&watched).await;
        proxy.refuse();
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        tells(&error, WriteErrorKind::Unavailable, "the connection broke");
        proxy.pass();
        bao.seal();
        let error = writable(&watched).open(&key("JWT_SECRET")).await.unwrap_err();
        tells(&error, WriteErrorKind::Unavailable, "is sealed");
        let error = writable(&watched).write(&document, &staging()).await.unwrap_err();
        tells(&error, WriteErrorKind::Unavailable, "is sealed");
        bao.unseal();
        writable(&watched).write(&document, &staging()).await.unwrap();
        change(&mut watched).await;
        assert_eq!(watched.value("JWT_SECRET_NEXT").as_deref(), Some(NEXT));
    });
}

#[test]
fn an_older_version_than_the_one_that_was_written_is_not_believed() {
    let (server, address) = exact(&format!("{{\"JWT_SECRET\":\"{NOW}\"}}"));
    server.on(
        "POST /v1/secret/data/app",
        [Reply::json(200, &json!({ "request_id": "x", "data": version(5) }))],
    );
    block_on(async {
        let mut watched = seldom(&address, "", "t", vec![kv2("app")]).await;
        let document = open(&watched).await;
        writable(&watched).write(&document, &staging()).await.unwrap();
        // A standby that lags.
        let error = writable(&watched).open(&key("JWT_SECRET")).await.unwrap_err();
        tells(&error, WriteErrorKind::Unavailable, "lags behind its cluster");
        change(&mut watched).await;
        assert_eq!(watched.value("JWT_SECRET").as_deref(), Some(NOW), "what was held goes on");
        let after = json!({ "JWT_SECRET": NOW, "JWT_SECRET_NEXT": NEXT });
        let after = json!({ "request_id": "x", "data": { "data": after, "metadata": version(5) } });
        server.on("GET /v1/secret/data/app", [Reply::json(200, &after)]);
        while watched.value("JWT_SECRET_NEXT").is_none() {
            change(&mut watched).await;
        }
    });
}

#[test]
fn fields_are_written_under_the_names_that_they_have_there() {
    let bao = Bao::shared();
    let select = |map: &[(&str, &str)], prefix: &str, only: &[&str]| Select {
        map: map.iter().map(|(field, name)| ((*field).to_owned(), key(name))).collect(),
        prefix: prefix.into(),
        only: only.iter().map(|field| (*field).to_owned()).collect(),
    };
    for (name, field, select) in [
        ("mapped", "jwt", select(&[("jwt", "JWT_SECRET")], "", &["jwt"])),
        ("prefixed", "SECRET", select(&[], "JWT_", &["SECRET"])),
        ("lower", "jwt_secret", select(&[], "", &[])),
    ] {
        bao.kv_put(name, &json!({ field: NOW, "beside": OTHER }));
        block_on(async {
            let engine = Engine::Kv2 { mount: "secret".into(), path: name.into() };
            let paths = vec![PathSpec { engine, select }];
            let mut watched = seldom(&bao.address(), bao.namespace(), bao.root_token(), paths).await;
            let document = open(&watched).await;
            assert_eq!(&*document.field, field);
            writable(&watched).write(&document, &staging()).await.unwrap();
            change(&mut watched).await;
            assert_eq!(watched.value("JWT_SECRET_NEXT").as_deref(), Some(NEXT), "{name}");
            let marks = [("JWT_SECRET", "initial"), ("JWT_SECRET_NEXT", "k1")].map(pair);
            assert_eq!(kids(&watched), marks.into(), "{name}");
            assert!(watched.layer().remarks.is_empty(), "{:?}", watched.layer().remarks);
        });
        let now = stored(&bao, name);
        assert_eq!(now[format!("{field}_NEXT")], NEXT, "{name}");
        assert_eq!(now["beside"], OTHER, "{name}");
    }
}

#[test]
fn the_path_that_wins_is_the_one_that_is_written() {
    let bao = Bao::shared();
    bao.kv_put("low", &json!({ "JWT_SECRET": OTHER }));
    bao.kv_put("high", &json!({ "JWT_SECRET": NOW }));
    bao.mount_kv("plain", 1);
    bao.write("plain/app", &json!({ "JWT_SECRET": NOW }));
    let plain = spec(Engine::Kv1 { mount: "plain".into(), path: "app".into() });
    let opened = async |paths: Vec<PathSpec>| {
        let watched = seldom(&bao.address(), bao.namespace(), bao.root_token(), paths).await;
        writable(&watched).open(&key("JWT_SECRET")).await
    };
    block_on(async {
        let document = opened(vec![kv2("low"), kv2("high")]).await.unwrap();
        assert_eq!(&*document.place, "vault:secret/high");
        bao.kv_delete("high");
        let document = opened(vec![kv2("low"), kv2("high")]).await.unwrap();
        assert_eq!(&*document.place, "vault:secret/low", "a deleted version gives nothing");
        let error = opened(vec![kv2("low"), plain]).await.unwrap_err();
        tells(&error, WriteErrorKind::Refused, "comes from vault:plain/app, which has no check-and-set");
        let error = opened(vec![kv2("high")]).await.unwrap_err();
        tells(&error, WriteErrorKind::Unusable, "no path of the source gives JWT_SECRET");
        // What it gave it does not have any more.
        bao.kv_undelete("high", 1);
        let watched = seldom(&bao.address(), bao.namespace(), bao.root_token(), vec![kv2("high")]).await;
        bao.kv_put("high", &json!({ "JWT_SECRET": null }));
        // Where it belongs is known all the same, to whoever puts it back.
        let document = writable(&watched).open(&key("JWT_SECRET")).await.unwrap();
        assert_eq!((&*document.field, document.values.len()), ("JWT_SECRET", 0));
        bao.kv_put("high", &json!({ "JWT_SECRET": NOW, "jwt_secret": OTHER }));
        let error = writable(&watched).open(&key("JWT_SECRET")).await.unwrap_err();
        tells(&error, WriteErrorKind::Unusable, "both give JWT_SECRET");
        bao.kv_delete("high");
        let error = writable(&watched).open(&key("JWT_SECRET")).await.unwrap_err();
        tells(&error, WriteErrorKind::Unusable, "there is nothing at vault:secret/high");
    });
}

#[test]
fn a_path_that_was_never_read_may_give_it_too() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "JWT_SECRET": NOW }));
    bao.policy("app", "path \"secret/data/app\" { capabilities = [\"read\"] }");
    let token = bao.token(&["app"], &json!({}));
    block_on(async {
        let paths = vec![kv2("app"), kv2("other")];
        let watched = seldom(&bao.address(), bao.namespace(), &token, paths).await;
        let error = writable(&watched).open(&key("JWT_SECRET")).await.unwrap_err();
        tells(&error, WriteErrorKind::Unavailable, "vault:secret/other was not read yet");
    });
}

#[test]
fn a_write_that_need_not_be_compared_is_told() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "JWT_SECRET": NOW }));
    let told = async |token: &str, rotates: bool| {
        let config = dlconf::source::vault::Config {
            rotates,
            ..config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app"), kv2("none")])
        };
        let watched = Watched::new(config, token).await;
        let told = watched.source.examine().await;
        let told = told.into_iter().filter(|told| told.detail.contains("name the version"));
        told.map(|told| format!("{} {}: {}", told.what, told.state.as_str(), told.help.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    bao.policy(
        "reads",
        "path \"secret/data/app\" { capabilities = [\"read\"] }\n\
         path \"secret/metadata/+\" { capabilities = [\"read\"] }\n",
    );
    let reader = bao.token(&["reads"], &json!({}));
    block_on(async {
        let root = bao.root_token();
        assert!(told(root, false).await.is_empty());
        let help = "bao kv metadata put -mount=secret -cas-required=true app";
        assert_eq!(told(root, true).await, [format!("secret/app degraded: {help}")]);
        assert_eq!(told(&reader, true).await, ["secret/app fine: "], "who may not look cannot tell");
        bao.write("secret/config", &json!({ "cas_required": true }));
        assert_eq!(told(root, true).await, ["secret/app fine: "]);
        bao.write("secret/config", &json!({ "cas_required": false }));
        bao.write("secret/metadata/app", &json!({ "cas_required": true }));
        assert_eq!(told(&reader, true).await, ["secret/app fine: "]);
        // Ours are.
        let watched = app(&bao).await;
        let document = open(&watched).await;
        writable(&watched).write(&document, &staging()).await.unwrap();
    });
}
