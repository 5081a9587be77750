//! Leased credentials that are replaced on demand: the old ones work until nobody needs
//! them.

use std::time::Duration;

use dlconf::model::key::Key;
use dlconf::source::fields::Select;
use dlconf::source::vault::Config;
use dlconf::source::vault::config::{Auth, Engine, PathSpec};
use dlconf::source::writable::WriteErrorKind;
use dlconf::source::{Source as _, Use};
use serde_json::json;
use tokio::time::timeout;

use super::watched::{PATIENCE, Watched, block_on, config, kv2};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, poll, postgres};
use crate::hostile::{Hostile, Reply};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

/// A source of database credentials that looks at nothing for an hour.
async fn lending(address: &str, namespace: &str, token: &str) -> Watched {
    let map = [("username", "DB_USER"), ("password", "DB_PASSWORD")];
    let map = map.map(|(field, name)| (field.to_owned(), key(name))).into();
    let select = Select { map, ..Select::default() };
    let engine = Engine::Database { path: "database/creds/app".into() };
    let paths = vec![kv2("app"), PathSpec { engine, select }];
    let config = Config { poll: Duration::from_hours(1), ..config(address, namespace, Auth::Token, paths) };
    Watched::new(config, token).await
}

fn login(watched: &Watched) -> (String, String) {
    (watched.value("DB_USER").unwrap(), watched.value("DB_PASSWORD").unwrap())
}

fn accepts((user, password): &(String, String)) -> bool {
    postgres::accepts(user, password)
}

async fn replace(watched: &mut Watched) -> (String, String) {
    watched.source.replace_lent(&key("DB_PASSWORD")).await.unwrap().unwrap();
    watched.change().await;
    login(watched)
}

#[test]
fn what_is_replaced_works_until_it_is_given_up() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "2h" }));
    bao.kv_put("app", &json!({ "TOKEN": "x" }));
    block_on(async {
        let mut watched = lending(&bao.address(), bao.namespace(), bao.root_token()).await;
        let source = |watched: &Watched| watched.source.writable().is_some();
        assert!(source(&watched));
        let old = login(&watched);
        let new = replace(&mut watched).await;
        assert_ne!(new, old);
        assert!(accepts(&old) && accepts(&new));

        // One at a time.
        let error = watched.source.replace_lent(&key("DB_USER")).await.unwrap().unwrap_err();
        assert_eq!(error.kind, WriteErrorKind::Refused, "{error}");
        assert!(error.message.contains("vault:database/creds/app was replaced a moment ago"), "{error}");
        assert!(!format!("{error:?}").contains(&new.1), "{error}");
        assert_eq!(bao.list("sys/leases/lookup/database/creds/app").len(), 2, "nothing was made");

        watched.source.give_up_replaced(&key("DB_USER")).await;
        assert!(!accepts(&old), "it is over");
        assert!(accepts(&new));
        // Nothing is left to give up, and the next may come.
        watched.source.give_up_replaced(&key("DB_USER")).await;
        assert!(accepts(&new));
        let newest = replace(&mut watched).await;
        assert!(accepts(&new) && accepts(&newest));
        watched.close(Use::Over).await;
        assert!(!accepts(&new) && !accepts(&newest), "all are revoked at the end");
        assert!(bao.list("sys/leases/lookup/database/creds/app").is_empty());
    });
}

#[test]
fn what_is_not_lent_is_not_replaced() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    bao.kv_put("app", &json!({ "TOKEN": "x" }));
    block_on(async {
        let watched = lending(&bao.address(), bao.namespace(), bao.root_token()).await;
        assert!(watched.source.replace_lent(&key("TOKEN")).await.is_none());
        assert!(watched.source.replace_lent(&key("NOBODY_GIVES")).await.is_none());
        watched.source.give_up_replaced(&key("TOKEN")).await;
        assert!(accepts(&login(&watched)));
        watched.close(Use::Over).await;
    });
}

#[test]
fn both_live_on_past_their_first_life_though_nothing_is_polled() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "4s", "max_ttl": "1h" }));
    bao.kv_put("app", &json!({ "TOKEN": "x" }));
    block_on(async {
        let mut watched = lending(&bao.address(), bao.namespace(), bao.root_token()).await;
        let old = login(&watched);
        // The watcher is asleep already, for what was due before.
        watched.is_quiet_for(Duration::from_millis(200)).await;
        let new = replace(&mut watched).await;
        watched.is_quiet_for(Duration::from_millis(5500)).await;
        assert!(accepts(&new), "renewed");
        assert!(accepts(&old), "renewed too");
        watched.close(Use::Over).await;
        assert!(!accepts(&new) && !accepts(&old));
    });
}

#[test]
fn what_lives_shorter_than_the_one_before_is_renewed_in_time() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    bao.kv_put("app", &json!({ "TOKEN": "x" }));
    block_on(async {
        let mut watched = lending(&bao.address(), bao.namespace(), bao.root_token()).await;
        watched.is_quiet_for(Duration::from_millis(200)).await;
        bao.database_role("app", &json!({ "default_ttl": "4s", "max_ttl": "1h" }));
        let new = replace(&mut watched).await;
        watched.is_quiet_for(Duration::from_millis(5500)).await;
        assert!(accepts(&new), "the watcher slept for what was due before");
        watched.close(Use::Over).await;
    });
}

#[test]
fn what_could_not_be_ended_is_ended_later() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    bao.kv_put("app", &json!({ "TOKEN": "x" }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let mut watched = lending(&proxy.address(), bao.namespace(), bao.root_token()).await;
        let old = login(&watched);
        let new = replace(&mut watched).await;
        // The watcher is asleep, for what is due in an hour.
        watched.is_quiet_for(Duration::from_millis(200)).await;
        proxy.refuse();
        watched.source.give_up_replaced(&key("DB_USER")).await;
        assert!(accepts(&old), "nobody was told");
        proxy.pass();
        // Long before the hour is over.
        let ended = async {
            while accepts(&old) {
                watched.is_quiet_for(Duration::from_millis(100)).await;
            }
        };
        timeout(PATIENCE, ended).await.expect("it is still alive");
        assert!(accepts(&new));
        watched.close(Use::Over).await;
    });
}

#[test]
fn values_that_somebody_has_live_on_both() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    bao.kv_put("app", &json!({ "TOKEN": "x" }));
    block_on(async {
        let mut watched = lending(&bao.address(), bao.namespace(), bao.root_token()).await;
        let old = login(&watched);
        let new = replace(&mut watched).await;
        watched.close(Use::GoesOn).await;
        assert!(accepts(&old) && accepts(&new));
        bao.write("sys/leases/revoke-prefix/database/creds/app", &json!({}));
        assert!(poll(|| (!accepts(&old) && !accepts(&new)).then_some(())).is_some());
    });
}

fn leased(serial: u32) -> Reply {
    Reply::json(
        200,
        &json!({
            "request_id": "x", "lease_id": format!("database/creds/app/{serial}"), "lease_duration": 3600,
            "renewable": true, "data": { "username": format!("user-{serial}"), "password": "p-8Zr1Lx7V" },
        }),
    )
}

#[test]
fn a_server_that_gives_nothing_else_takes_nothing_away() {
    let unavailable = WriteErrorKind::Unavailable;
    for (reply, kind, words) in [
        (Reply::error(500), unavailable, "failed (500)"),
        (Reply::Close, unavailable, "the connection broke"),
        (Reply::error(403), WriteErrorKind::Refused, "needs the capability `read` on `database/creds/app`"),
        (Reply::error(404), WriteErrorKind::Unusable, "lends nothing any more"),
        (
            Reply::json(
                200,
                &json!({ "request_id": "x", "data": { "username": "u", "password": "p-8Zr1Lx7V" } }),
            ),
            WriteErrorKind::Unusable,
            "lends nothing any more",
        ),
    ] {
        let server = Hostile::new();
        server.on("/v1/secret/data/app", [Reply::error(404)]);
        server.on("/v1/database/creds/app", [leased(1), reply, leased(2)]);
        block_on(async {
            let mut watched = lending(&server.address(), "", "t").await;
            let error = watched.source.replace_lent(&key("DB_USER")).await.unwrap().unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(error.kind == kind && text.contains(words) && !text.contains("p-8Zr1Lx7V"), "{text}");
            watched.fetch().await;
            assert_eq!(watched.value("DB_USER").as_deref(), Some("user-1"));
            // And it is tried again when somebody asks again.
            watched.source.replace_lent(&key("DB_USER")).await.unwrap().unwrap();
            watched.fetch().await;
            assert_eq!(watched.value("DB_USER").as_deref(), Some("user-2"));
        });
    }
}
