//! What lasts: failures that stay, answers that mislead, lives that end. Nothing
//! is lost, nothing is made without need, and the server is left in peace.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dlconf::model::key::Key;
use dlconf::source::fields::Select;
use dlconf::source::file::ShownPath;
use dlconf::source::vault::config::{Auth, Engine, PathSpec, RoleId};
use dlconf::source::{Ask, Source as _, Use};
use serde_json::json;
use tokio::time::timeout;

use super::watched::{A_WHILE, Watched, approle, block_on, config, data, kv2, metadata, spec};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, poll, postgres};
use crate::hostile::{Hostile, Reply};
use crate::program::Folder;

/// A login, or the renewal of one.
fn token(ttl: u64) -> Reply {
    let auth = json!({ "client_token": "t", "lease_duration": ttl, "renewable": true });
    Reply::json(200, &json!({ "request_id": "x", "auth": auth }))
}

fn looked_up(ttl: u64) -> Reply {
    Reply::json(200, &json!({ "request_id": "x", "data": { "ttl": ttl, "renewable": true } }))
}

fn leased(serial: u64, ttl: u64) -> Reply {
    Reply::json(
        200,
        &json!({
            "request_id": "x", "lease_id": format!("database/creds/app/{serial}"), "lease_duration": ttl,
            "renewable": true, "data": { "username": format!("user-{serial}"), "password": "p" },
        }),
    )
}

fn renewed(ttl: u64) -> Reply {
    Reply::json(200, &json!({ "request_id": "x", "lease_id": "l", "lease_duration": ttl, "renewable": true }))
}

/// An AppRole login of a role without a secret-id.
fn role() -> Auth {
    Auth::AppRole {
        mount: "approle".into(),
        role_id: RoleId::Text("r".into()),
        secret_id: None,
        wrapped: false,
    }
}

fn credentials(role: &str) -> PathSpec {
    let map = [("username", "DB_USER"), ("password", "DB_PASSWORD")];
    let map = map.map(|(field, key)| (field.to_owned(), Key::new(key).unwrap())).into();
    let select = Select { map, ..Select::default() };
    PathSpec { engine: Engine::Database { path: format!("database/creds/{role}") }, select }
}

fn count(server: &Hostile, what: &str) -> usize {
    server.requests().iter().filter(|request| request.path.contains(what)).count()
}

/// Follows changes for a while. How many there were.
async fn follow(watched: &mut Watched, span: Duration) -> usize {
    let end = tokio::time::Instant::now() + span;
    let mut changes = 0;
    while tokio::time::timeout_at(end, watched.source.changed()).await.is_ok() {
        watched.fetch().await;
        changes += 1;
    }
    changes
}

#[test]
fn nothing_there_takes_nothing_away_that_was_there() {
    let kv1 = Engine::Kv1 { mount: "secret".into(), path: "data/app".into() };
    let generic = Engine::Generic { path: "secret/data/app".into() };
    let plain = Reply::json(200, &json!({ "request_id": "x", "data": { "A": "1" } }));
    for (path, first) in [(kv2("app"), data(1, "1")), (spec(kv1), plain.clone()), (spec(generic), plain)] {
        let server = Hostile::new();
        server.on("/v1/secret/data/app", [first.clone(), Reply::error(404), Reply::error(404), first]);
        server.on("/v1/secret/metadata/app", [Reply::error(403)]);
        block_on(async {
            let config = config(&server.address(), "", Auth::Token, vec![path.clone()]);
            let mut watched = Watched::new(config, "t").await;
            assert_eq!(watched.value("A").unwrap(), "1");
            watched.until(|watched| !watched.faults().is_empty()).await;
            assert_eq!(watched.value("A").as_deref(), Some("1"), "{path:?}: held");
            assert!(watched.faults()[0].contains("has nothing there (404)"), "{:?}", watched.faults());
            watched.until(|watched| watched.fetched.is_ok()).await;
        });
    }
}

#[test]
fn an_excused_path_recovers_from_an_outage() {
    let bao = Bao::shared();
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let config = config(&proxy.address(), bao.namespace(), Auth::Token, vec![kv2("optional")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        assert!(watched.fetched.is_ok(), "excused: {:?}", watched.faults());
        watched.is_quiet_for(Duration::from_millis(300)).await;
        proxy.refuse();
        watched.until(|watched| watched.fetched.is_err()).await;
        proxy.pass();
        watched.until(|watched| watched.fetched.is_ok()).await;
    });
}

#[test]
fn a_secret_that_was_begun_anew_with_the_same_version_is_noticed() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "old" }));
    bao.kv_put("dir/one", &json!({ "B": "old" }));
    bao.kv_put("dir/two", &json!({ "C": "old" }));
    block_on(async {
        let all = vec![kv2("app"), kv2("dir/one"), kv2("dir/two")];
        let config = config(&bao.address(), bao.namespace(), Auth::Token, all);
        let mut watched = Watched::new(config, bao.root_token()).await;
        watched.is_quiet_for(Duration::from_millis(300)).await;
        for (path, name) in [("app", "A"), ("dir/one", "B")] {
            bao.kv_forget(path);
            bao.kv_put(path, &json!({ name: "new" }));
            watched.until(|watched| watched.value(name).as_deref() == Some("new")).await;
        }
        assert_eq!(watched.faults(), [""; 0]);
    });
}

#[test]
fn a_dead_token_teaches_nothing_about_rights() {
    let bao = Bao::shared();
    for path in ["app", "dir/one", "dir/two"] {
        bao.kv_put(path, &json!({ "A": "1" }));
    }
    bao.policy("p", "path \"secret/*\" { capabilities = [\"read\", \"list\"] }");
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({}));
    let given = bao.token(&["p"], &json!({}));
    folder.file("token", &given);
    let file = Auth::TokenFile { path: ShownPath::named(&folder.join("token")) };
    for auth in [auth, file] {
        let proxy = Proxy::to(&bao.address());
        block_on(async {
            let all = vec![kv2("app"), kv2("dir/one"), kv2("dir/two")];
            let mut watched =
                Watched::new(config(&proxy.address(), bao.namespace(), auth.clone(), all), "").await;
            watched.is_quiet_for(Duration::from_millis(5200)).await;
            for accessor in bao.list("auth/token/accessors") {
                let body = json!({ "accessor": accessor });
                bao.request("POST", "auth/token/revoke-accessor", bao.root_token(), Some(&body));
            }
            follow(&mut watched, A_WHILE).await;
            folder.file("token", &bao.token(&["p"], &json!({})));
            follow(&mut watched, Duration::from_secs(2)).await;
            assert_eq!(watched.faults(), [""; 0], "{auth:?}");
            proxy.take_requests();
            follow(&mut watched, A_WHILE).await;
            let requests = proxy.take_requests();
            let what = |what: &str| requests.iter().filter(|(_, path)| path.contains(what)).count();
            assert_eq!(what("/data/"), 0, "{auth:?}: {requests:?}");
            assert_eq!(what("/metadata/dir"), 0, "{auth:?}: {requests:?}");
            assert!(watched.layer().remarks.is_empty(), "{:?}", watched.layer().remarks);
        });
    }
}

#[test]
fn credentials_of_a_token_that_ends_are_replaced_before_it_does() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "2h" }));
    bao.policy(
        "p",
        "path \"database/creds/app\" { capabilities = [\"read\"] }\n\
         path \"sys/leases/*\" { capabilities = [\"update\"] }",
    );
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({ "token_ttl": "4s", "token_max_ttl": "4s" }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let paths = vec![credentials("app")];
        let mut watched = Watched::new(config(&proxy.address(), bao.namespace(), auth, paths), "").await;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(10) {
            let (user, password) = (watched.value("DB_USER").unwrap(), watched.value("DB_PASSWORD").unwrap());
            assert!(postgres::accepts(&user, &password), "dead after {:?}", start.elapsed());
            follow(&mut watched, Duration::from_millis(100)).await;
        }
        let made = proxy.take_requests().iter().filter(|(_, path)| path.ends_with("/creds/app")).count();
        assert!((3..=4).contains(&made), "one a token: {made}");
        watched.close(Use::Over).await;
    });
}

#[test]
fn credentials_that_died_with_their_token_are_made_anew_at_once() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "2h" }));
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.policy(
        "p",
        "path \"database/creds/app\" { capabilities = [\"read\"] }\n\
         path \"secret/*\" { capabilities = [\"read\"] }\n\
         path \"sys/leases/*\" { capabilities = [\"update\"] }",
    );
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({}));
    block_on(async {
        let paths = vec![credentials("app"), kv2("app")];
        let mut watched = Watched::new(config(&bao.address(), bao.namespace(), auth, paths), "").await;
        let user = watched.value("DB_USER").unwrap();
        for accessor in bao.list("auth/token/accessors") {
            let body = json!({ "accessor": accessor });
            bao.request("POST", "auth/token/revoke-accessor", bao.root_token(), Some(&body));
        }
        watched.until(|watched| watched.value("DB_USER").is_some_and(|now| now != user)).await;
        let (user, password) = (watched.value("DB_USER").unwrap(), watched.value("DB_PASSWORD").unwrap());
        assert!(postgres::accepts(&user, &password));
        watched.close(Use::Over).await;
    });
}

#[test]
fn a_renewal_that_fails_in_any_way_is_tried_again() {
    for bad in
        [Reply::redirect("http://127.0.0.1:1/"), Reply::error(403), Reply::error(400), Reply::error(500)]
    {
        let server = Hostile::new();
        server.on("/v1/secret/data/app", [data(1, "1")]).on("/v1/secret/metadata/app", [metadata(1)]);
        server.on("/v1/auth/token/lookup-self", [looked_up(6)]);
        server.on("/v1/auth/token/renew-self", [bad, token(6)]);
        server.on("/v1/database/creds/app", [leased(1, 6), leased(2, 6)]);
        block_on(async {
            let paths = vec![kv2("app"), credentials("app")];
            let config = config(&server.address(), "", Auth::Token, paths);
            let mut watched = Watched::new(config, "t").await;
            follow(&mut watched, Duration::from_millis(5900)).await;
        });
        assert!(count(&server, "renew-self") >= 2, "a given token is let die after one refusal");
    }
}

#[test]
fn a_token_whose_life_could_not_be_learnt_is_asked_for_it_again() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(1, "1")]).on("/v1/secret/metadata/app", [metadata(1)]);
    server.on("/v1/auth/token/lookup-self", [Reply::redirect("http://127.0.0.1:1/"), looked_up(2)]);
    server.on("/v1/auth/token/renew-self", [token(2)]);
    block_on(async {
        let config = config(&server.address(), "", Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, "t").await;
        follow(&mut watched, Duration::from_secs(3)).await;
    });
    assert!(count(&server, "renew-self") >= 1);
}

#[test]
fn a_lease_survives_a_refused_renewal() {
    let server = Hostile::new();
    server.on("/v1/database/creds/app", [leased(1, 6), leased(2, 6)]);
    server.on("/v1/sys/leases/renew", [Reply::error(403), renewed(6)]);
    server.on("/v1/auth/token/lookup-self", [looked_up(0)]);
    block_on(async {
        let config = config(&server.address(), "", Auth::Token, vec![credentials("app")]);
        let mut watched = Watched::new(config, "t").await;
        follow(&mut watched, Duration::from_secs(8)).await;
        assert_eq!(watched.value("DB_USER").unwrap(), "user-1");
    });
}

#[test]
fn a_renewal_for_no_time_at_all_is_the_last() {
    let server = Hostile::new();
    server.on("/v1/database/creds/app", [leased(1, 3), leased(2, 60)]);
    server.on("/v1/sys/leases/renew", [renewed(0)]);
    server.on("/v1/auth/token/lookup-self", [looked_up(0)]);
    block_on(async {
        let config = config(&server.address(), "", Auth::Token, vec![credentials("app")]);
        let mut watched = Watched::new(config, "t").await;
        follow(&mut watched, Duration::from_secs(4)).await;
        assert_eq!(watched.value("DB_USER").unwrap(), "user-2");
    });
}

#[test]
fn spans_without_measure_end_nothing() {
    for most in [u64::MAX, i64::MAX as u64] {
        let server = Hostile::new();
        server.on("/v1/secret/data/app", [data(1, "1"), data(2, "2")]);
        server.on("/v1/secret/metadata/app", [metadata(1), metadata(1), metadata(2)]);
        server.on("/v1/auth/approle/login", [token(most)]);
        server.on("/v1/auth/token/renew-self", [token(most)]);
        server.on("/v1/sys/leases/renew", [renewed(most)]);
        server.on("/v1/database/creds/app", [leased(1, most)]);
        let lasting = json!({ "request_id": "x", "data": { "ttl": most, "B": "1" } });
        server.on("/v1/any", [Reply::json(200, &lasting)]);
        block_on(async {
            let paths = vec![kv2("app"), credentials("app"), spec(Engine::Generic { path: "any".into() })];
            let mut watched = Watched::new(config(&server.address(), "", role(), paths), "").await;
            watched.until(|watched| watched.value("A").as_deref() == Some("2")).await;
        });
    }
}

#[test]
fn a_policy_that_permits_nothing_costs_little() {
    let server = Hostile::new();
    for path in ["secret/data/app", "secret/metadata/app", "auth/token/lookup-self"] {
        server.on(&format!("/v1/{path}"), [Reply::error(403)]);
    }
    server.on("/v1/auth/approle/login", [token(3600)]);
    block_on(async {
        let mut config = config(&server.address(), "", role(), vec![kv2("app")]);
        config.poll = Duration::from_secs(1);
        let mut watched = Watched::new(config, "").await;
        follow(&mut watched, Duration::from_secs(22)).await;
        let requests = server.requests();
        assert!(count(&server, "login") <= 3, "each leaves a token behind");
        assert!(requests.len() < 40);
    });
}

#[test]
fn a_given_token_that_permits_nothing_costs_little() {
    let server = Hostile::new();
    for path in ["secret/data/app", "secret/metadata/app", "auth/token/lookup-self"] {
        server.on(&format!("/v1/{path}"), [Reply::error(403)]);
    }
    block_on(async {
        let mut config = config(&server.address(), "", Auth::Token, vec![kv2("app")]);
        config.poll = Duration::from_secs(1);
        let mut watched = Watched::new(config, "t").await;
        let mut said = BTreeSet::new();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(15) {
            follow(&mut watched, Duration::from_millis(200)).await;
            said.extend(watched.faults());
        }
        let requests = server.requests();
        assert_eq!(said.len(), 1, "one thing is wrong: {said:?}");
        assert!(requests.len() < 30);
    });
}

#[test]
fn what_has_to_be_read_is_not_looked_at_meanwhile() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [Reply::error(403)]).on("/v1/secret/metadata/app", [metadata(1)]);
    server.on("/v1/auth/token/lookup-self", [looked_up(0)]);
    block_on(async {
        let config = config(&server.address(), "", Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, "t").await;
        follow(&mut watched, Duration::from_secs(3)).await;
    });
    assert_eq!(count(&server, "/metadata/"), 0);
}

/// Does something again and again. The longest that it took.
async fn longest_until(end: Instant, what: impl AsyncFn()) -> Duration {
    let mut longest = Duration::ZERO;
    while Instant::now() < end {
        let begun = Instant::now();
        what().await;
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

#[test]
fn a_server_that_hangs_keeps_nobody_waiting_for_long() {
    let server = Hostile::new();
    let names: Vec<String> = (0..8).map(|n| format!("app{n}")).collect();
    for name in &names {
        server.on(&format!("/v1/database/creds/{name}"), [leased(1, 3)]);
    }
    server.on("/v1/sys/leases/renew", [Reply::Silence]);
    server.on("/v1/auth/token/lookup-self", [looked_up(0)]);
    block_on(async {
        let paths = names.iter().map(|name| credentials(name)).collect();
        let mut config = config(&server.address(), "", Auth::Token, paths);
        config.timeout = Duration::from_secs(1);
        let watched = Watched::new(config, "t").await;
        let end = Instant::now() + Duration::from_secs(6);
        let _ = timeout(Duration::from_millis(1), watched.source.changed()).await;
        let known = BTreeSet::new();
        let fetches = longest_until(end, async || {
            let _read = watched.source.fetch(Ask { known: &known, names_only: false, retry: false }).await;
        });
        let vitals = longest_until(end, async || {
            watched.source.vitals().await;
        });
        let (fetch, vitals) = tokio::join!(fetches, vitals);
        assert!((500..2500).contains(&fetch.as_millis()), "a fetch waits for one silence: {fetch:?}");
        assert!(
            vitals < Duration::from_millis(200),
            "how the source is, is told without waiting: {vitals:?}"
        );
    });
}

#[test]
fn leases_of_batch_tokens_are_given_back() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    bao.policy(
        "p",
        "path \"database/creds/app\" { capabilities = [\"read\"] }\n\
         path \"sys/leases/revoke\" { capabilities = [\"update\"] }",
    );
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({ "token_type": "batch", "token_ttl": "1h" }));
    block_on(async {
        let paths = vec![credentials("app")];
        let watched = Watched::new(config(&bao.address(), bao.namespace(), auth, paths), "").await;
        let user = watched.value("DB_USER").unwrap();
        watched.close(Use::Over).await;
        assert!(poll(|| (!postgres::role_exists(&user)).then_some(())).is_some());
    });
}

#[test]
fn a_token_file_that_is_empty_for_a_moment_takes_nothing_away() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    let folder = Folder::new();
    folder.file("token", bao.root_token());
    let auth = Auth::TokenFile { path: ShownPath::named(&folder.join("token")) };
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), auth, vec![kv2("app")]);
        let mut watched = Watched::new(config, "").await;
        folder.file("token", "");
        let changes = follow(&mut watched, A_WHILE).await;
        assert_eq!((changes, watched.faults().len()), (0, 0), "{:?}", watched.faults());
    });
}
