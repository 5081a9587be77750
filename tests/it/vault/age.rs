//! When the server last confirmed what is held: a quiet source does not age, one
//! that cannot be asked does.

use std::time::Duration;

use dlconf::source::Source as _;
use dlconf::source::vault::config::{Auth, Config, Engine, PathSpec};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::watched::{A_WHILE, Watched, block_on, config, data, kv2, metadata, spec};
use crate::bao::Bao;
use crate::bao::proxy::Proxy;
use crate::hostile::{Hostile, Reply};

/// Some polls of 200 ms, on a busy machine; less than [`A_WHILE`].
const YOUNG: Duration = Duration::from_millis(900);

/// How old what is held is.
async fn age(watched: &Watched) -> Option<Duration> {
    Some(watched.source.vitals().await.confirmed?.elapsed())
}

/// Follows changes for a while. The greatest age meanwhile.
async fn oldest(watched: &mut Watched, span: Duration) -> Duration {
    let end = Instant::now() + span;
    let mut oldest = Duration::ZERO;
    while Instant::now() < end {
        let next = Instant::now() + Duration::from_millis(20);
        if timeout_at(next, watched.source.changed()).await.is_ok() {
            watched.fetch().await;
        }
        oldest = oldest.max(age(watched).await.expect("it was read"));
    }
    oldest
}

fn static_credentials() -> PathSpec {
    spec(Engine::Database { path: "database/static-creds/app".into() })
}

fn lent() -> PathSpec {
    spec(Engine::Database { path: "database/creds/app".into() })
}

/// Of a server that answers by script.
fn scripted(server: &Hostile, paths: Vec<PathSpec>) -> Config {
    server.on("/v1/auth/token/lookup-self", [Reply::error(404)]);
    config(&server.address(), "", Auth::Token, paths)
}

fn count(server: &Hostile, what: &str) -> usize {
    server.requests().iter().filter(|request| request.path.contains(what)).count()
}

#[test]
fn a_quiet_source_does_not_age() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.kv_put("dir/one", &json!({ "B": "1" }));
    bao.kv_put("dir/two", &json!({ "C": "1" }));
    let generic = spec(Engine::Generic { path: "secret/data/app".into() });
    let absent = kv2("nothing/there");
    for paths in [vec![kv2("app")], vec![kv2("dir/one"), kv2("dir/two")], vec![generic], vec![absent]] {
        block_on(async {
            let config = config(&bao.address(), bao.namespace(), Auth::Token, paths.clone());
            let mut watched = Watched::new(config, bao.root_token()).await;
            assert_eq!(watched.faults(), [""; 0]);
            let oldest = oldest(&mut watched, A_WHILE).await;
            assert!(oldest < YOUNG, "{paths:?}: {oldest:?}");
        });
    }
}

#[test]
fn a_server_that_is_cut_off_confirms_nothing_until_it_is_back() {
    let bao = Bao::shared();
    for path in ["app", "dir/one", "dir/two"] {
        bao.kv_put(path, &json!({ "A": "1" }));
    }
    for paths in [vec![kv2("app")], vec![kv2("dir/one"), kv2("dir/two")]] {
        let proxy = Proxy::to(&bao.address());
        block_on(async {
            let config = config(&proxy.address(), bao.namespace(), Auth::Token, paths.clone());
            let mut watched = Watched::new(config, bao.root_token()).await;
            assert!(oldest(&mut watched, A_WHILE / 2).await < YOUNG);
            proxy.refuse();
            let before = watched.source.vitals().await.confirmed.unwrap();
            oldest(&mut watched, A_WHILE).await;
            // A look that was under way may have been answered.
            let after = watched.source.vitals().await.confirmed.unwrap();
            assert!(after - before < YOUNG, "{paths:?}");
            assert!(age(&watched).await.unwrap() > A_WHILE / 2, "{paths:?}");
            assert!(watched.value("A").is_some(), "held all the same");
            proxy.pass();
            watched.until(|watched| watched.fetched.is_ok()).await;
            assert!(oldest(&mut watched, A_WHILE).await < YOUNG, "{paths:?}: it recovers");
        });
    }
}

#[test]
fn what_is_not_permitted_any_more_ages() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(1, "1"), Reply::error(403)]);
    server.on("/v1/secret/metadata/app", [metadata(1), Reply::error(403)]);
    server.on("/v1/secret/data/dir/other", [data(1, "1")]).on("/v1/secret/metadata/dir/other", [metadata(1)]);
    block_on(async {
        let mut watched = Watched::new(scripted(&server, vec![kv2("app"), kv2("dir/other")]), "t").await;
        oldest(&mut watched, 2 * A_WHILE).await;
        assert!(age(&watched).await.unwrap() > A_WHILE, "as old as its oldest path");
    });
}

#[test]
fn an_older_version_confirms_nothing() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(2, "2")]).on("/v1/secret/metadata/app", [metadata(1)]);
    block_on(async {
        let mut watched = Watched::new(scripted(&server, vec![kv2("app")]), "t").await;
        let read = watched.source.vitals().await.confirmed;
        oldest(&mut watched, A_WHILE).await;
        assert_eq!(watched.faults(), [""; 0], "it may be a standby that lags");
        assert_eq!(watched.source.vitals().await.confirmed, read);
        assert!(count(&server, "/metadata/") > 2);
    });
}

#[test]
fn a_version_that_moved_confirms_nothing_until_it_is_read() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(1, "1"), Reply::error(500)]);
    server.on("/v1/secret/metadata/app", [metadata(2)]);
    block_on(async {
        let mut watched = Watched::new(scripted(&server, vec![kv2("app")]), "t").await;
        let read = watched.source.vitals().await.confirmed;
        oldest(&mut watched, A_WHILE).await;
        assert!(!watched.faults().is_empty());
        assert_eq!(watched.source.vitals().await.confirmed, read);
    });
}

#[test]
fn a_deletion_is_an_answer() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        bao.request("DELETE", "secret/data/app", bao.root_token(), None);
        watched.until(|watched| watched.value("A").is_none()).await;
        assert!(oldest(&mut watched, A_WHILE).await < YOUNG);
    });
}

#[test]
fn one_path_that_was_never_read_is_enough() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(1, "1")]).on("/v1/secret/metadata/app", [metadata(1)]);
    server.on("/v1/secret/data/dir/shut", [Reply::error(500), data(1, "1")]);
    server.on("/v1/secret/metadata/dir/shut", [metadata(1)]);
    block_on(async {
        let mut watched = Watched::new(scripted(&server, vec![kv2("app"), kv2("dir/shut")]), "t").await;
        assert!(watched.fetched.is_err());
        assert_eq!(age(&watched).await, None);
        watched.until(|watched| watched.fetched.is_ok()).await;
        assert!(age(&watched).await.unwrap() < YOUNG);
    });
}

#[test]
fn what_is_good_for_a_time_is_not_asked_and_does_not_age() {
    let server = Hostile::new();
    let lease = json!({
        "request_id": "x", "lease_id": "database/creds/app/1", "lease_duration": 3600, "renewable": true,
        "data": { "username": "u", "password": "p" },
    });
    server.on("/v1/database/creds/app", [Reply::json(200, &lease)]);
    let lasting = json!({ "request_id": "x", "data": { "username": "u", "password": "p", "ttl": 3600 } });
    server.on("/v1/database/static-creds/app", [Reply::json(200, &lasting)]);
    for (path, most, place) in [(lent(), 1, "/creds/app"), (static_credentials(), 2, "/static-creds/app")] {
        block_on(async {
            let mut watched = Watched::new(scripted(&server, vec![path]), "t").await;
            let oldest = oldest(&mut watched, 2 * A_WHILE).await;
            assert!(oldest < YOUNG, "{oldest:?}");
        });
        assert_eq!(count(&server, place), most);
    }
}

#[test]
fn what_was_good_for_a_time_ages_after_it() {
    let server = Hostile::new();
    let lasting = json!({ "request_id": "x", "data": { "username": "u", "password": "p", "ttl": 1 } });
    let path = "/v1/database/static-creds/app";
    server.on(path, [Reply::json(200, &lasting), Reply::json(200, &lasting), Reply::error(500)]);
    block_on(async {
        let mut watched = Watched::new(scripted(&server, vec![static_credentials()]), "t").await;
        oldest(&mut watched, 2 * A_WHILE).await;
        assert!(!watched.faults().is_empty());
        let age = age(&watched).await.unwrap();
        assert!(age > A_WHILE, "{age:?}");
    });
}

#[test]
fn a_lease_is_lent_and_does_not_age_when_it_is_renewed() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "3s", "max_ttl": "1h" }));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![lent()]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        let first = watched.source.vitals().await.lent;
        let oldest = oldest(&mut watched, Duration::from_millis(3500)).await;
        assert!(oldest < YOUNG, "{oldest:?}");
        let later = watched.source.vitals().await.lent;
        assert_eq!((first.len(), later.len()), (1, 1));
        assert_eq!(&*later[0].place, "vault:database/creds/app");
        assert!(later[0].ends.unwrap() > first[0].ends.unwrap(), "renewed");
        watched.close(dlconf::source::Use::Over).await;
    });
}

#[test]
fn a_lease_that_is_gone_ages_although_its_time_is_not_over() {
    let server = Hostile::new();
    let lease = json!({
        "request_id": "x", "lease_id": "database/creds/app/1", "lease_duration": 6, "renewable": true,
        "data": { "username": "u", "password": "p" },
    });
    server.on("/v1/database/creds/app", [Reply::json(200, &lease), Reply::error(500)]);
    let gone = json!({ "errors": ["lease not found"] });
    server.on("/v1/sys/leases/renew", [Reply::json(400, &gone)]);
    block_on(async {
        let mut watched = Watched::new(scripted(&server, vec![lent()]), "t").await;
        oldest(&mut watched, Duration::from_millis(5500)).await;
        assert!(!watched.faults().is_empty());
        let age = age(&watched).await.unwrap();
        assert!(age > Duration::from_secs(1), "{age:?}");
    });
}
