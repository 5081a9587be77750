//! Credentials that end: renewed, replaced in time, given back.

use std::time::Duration;

use dlconf::model::key::Key;
use dlconf::source::fields::Select;
use dlconf::source::vault::config::{Auth, Engine, PathSpec};
use dlconf::source::{Source as _, Use};
use serde_json::json;

use super::watched::{Watched, approle, block_on, config, spec};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, poll, postgres};
use crate::hostile::{Hostile, Reply};
use crate::program::Folder;

fn credentials(role: &str) -> PathSpec {
    let map = [("username", "DB_USER"), ("password", "DB_PASSWORD")];
    let map = map.map(|(field, key)| (field.to_owned(), Key::new(key).unwrap())).into();
    let select = Select { map, ..Select::default() };
    PathSpec { engine: Engine::Database { path: format!("database/creds/{role}") }, select }
}

fn is_gone(user: &str) -> bool {
    poll(|| (!postgres::role_exists(user)).then_some(())).is_some()
}

#[test]
fn a_lease_is_renewed_and_replaced_in_its_end_window() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "5s", "max_ttl": "8s" }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let config = config(&proxy.address(), bao.namespace(), Auth::Token, vec![credentials("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        let (user, password) = (watched.value("DB_USER").unwrap(), watched.value("DB_PASSWORD").unwrap());
        assert!(postgres::accepts(&user, &password));
        assert!(!watched.source.vitals().await.lent.is_empty());
        // Past its first life: renewed, not made anew.
        watched.is_quiet_for(Duration::from_millis(5500)).await;
        assert!(postgres::accepts(&user, &password), "renewed");
        watched.change().await;
        let next = watched.value("DB_USER").unwrap();
        assert_ne!(next, user);
        assert!(postgres::accepts(&user, &password), "the old ones still work when the new ones are there");
        let requests = proxy.take_requests();
        let made = requests.iter().filter(|(_, path)| path.ends_with("/creds/app")).count();
        assert_eq!(made, 2, "{requests:?}");
        watched.close(Use::Over).await;
        assert!(is_gone(&next), "leases end with their use");
        assert!(is_gone(&user));
    });
}

#[test]
fn leases_are_revoked_on_clean_exit_and_live_on_when_somebody_has_the_values() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    bao.policy(
        "p",
        "path \"database/creds/app\" { capabilities = [\"read\"] }\n\
         path \"sys/leases/revoke\" { capabilities = [\"update\"] }",
    );
    let folder = Folder::new();
    let login = approle(&bao, &folder, &["p"], &json!({}));
    let given = bao.token(&["p"], &json!({}));
    block_on(async {
        for (auth, token) in [(login, ""), (Auth::Token, given.as_str())] {
            for values in [Use::GoesOn, Use::Over] {
                let paths = vec![credentials("app")];
                let watched =
                    Watched::new(config(&bao.address(), bao.namespace(), auth.clone(), paths), token).await;
                let user = watched.value("DB_USER").unwrap();
                assert!(postgres::role_exists(&user));
                watched.close(values).await;
                match values {
                    Use::Over => assert!(is_gone(&user), "{auth:?}"),
                    Use::GoesOn => assert!(postgres::role_exists(&user), "{auth:?}"),
                }
            }
        }
    });
}

#[test]
fn credentials_whose_lease_was_revoked_are_made_anew() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "3s", "max_ttl": "1h" }));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![credentials("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        let user = watched.value("DB_USER").unwrap();
        bao.write("sys/leases/revoke-prefix/database/creds/app", &json!({}));
        watched.until(|watched| watched.value("DB_USER").is_some_and(|now| now != user)).await;
        let (user, password) = (watched.value("DB_USER").unwrap(), watched.value("DB_PASSWORD").unwrap());
        assert!(postgres::accepts(&user, &password));
        watched.close(Use::Over).await;
    });
}

fn leased(serial: u32) -> Reply {
    Reply::json(
        200,
        &json!({
            "request_id": "x", "lease_id": format!("database/creds/app/{serial}"), "lease_duration": 4,
            "renewable": true, "data": { "username": format!("user-{serial}"), "password": "p" },
        }),
    )
}

#[test]
fn failing_renewals_mint_nothing_before_the_end_window() {
    for refusal in [500, 403] {
        let server = Hostile::new();
        server.on("/v1/database/creds/app", [leased(1), leased(2), leased(3)]);
        server.on("/v1/sys/leases/renew", [Reply::error(refusal)]);
        server.on("/v1/auth/token/lookup-self", [Reply::error(404)]);
        block_on(async {
            let config = config(&server.address(), "", Auth::Token, vec![credentials("app")]);
            let mut watched = Watched::new(config, "t").await;
            let start = std::time::Instant::now();
            watched.change().await;
            assert!(start.elapsed() >= Duration::from_millis(3500), "{refusal}: {:?}", start.elapsed());
            assert_eq!(watched.value("DB_USER").unwrap(), "user-2");
        });
        let made = server.requests().iter().filter(|request| request.path.ends_with("/creds/app")).count();
        assert_eq!(made, 2, "{refusal}");
    }
}

#[test]
fn a_generic_path_with_a_lease_is_kept_like_any_lease() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "4s", "max_ttl": "1h" }));
    block_on(async {
        let engine = Engine::Generic { path: "database/creds/app".into() };
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![spec(engine)]);
        let watched = Watched::new(config, bao.root_token()).await;
        let (user, password) = (watched.value("username").unwrap(), watched.value("password").unwrap());
        watched.is_quiet_for(Duration::from_secs(6)).await;
        assert!(postgres::accepts(&user, &password), "renewed");
        watched.close(Use::Over).await;
        assert!(is_gone(&user));
    });
}

#[test]
fn static_credentials_are_followed() {
    let server = Hostile::new();
    let answer = |password: &str, ttl: u32| {
        let data = json!({ "username": "app", "password": password, "ttl": ttl });
        Reply::json(200, &json!({ "request_id": "x", "lease_id": "", "lease_duration": 0, "data": data }))
    };
    server.on("/v1/database/static-creds/app", [answer("one", 1), answer("one", 0), answer("two", 60)]);
    block_on(async {
        let engine = Engine::Database { path: "database/static-creds/app".into() };
        let config = config(&server.address(), "", Auth::Token, vec![spec(engine)]);
        let mut watched = Watched::new(config, "t").await;
        assert!(watched.source.vitals().await.lent.is_empty());
        watched.until(|watched| watched.value("password").as_deref() == Some("two")).await;
    });
}

#[test]
fn leases_are_made_anew_before_the_token_that_made_them_ends() {
    let bao = Bao::shared();
    bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
    bao.policy("p", "path \"database/creds/app\" { capabilities = [\"read\"] }");
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({ "token_ttl": "5s", "token_max_ttl": "5s" }));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), auth, vec![credentials("app")]);
        let mut watched = Watched::new(config, "").await;
        let user = watched.value("DB_USER").unwrap();
        watched.change().await;
        let (next, password) = (watched.value("DB_USER").unwrap(), watched.value("DB_PASSWORD").unwrap());
        assert_ne!(next, user, "the lease has an hour, its token five seconds");
        assert!(is_gone(&user), "as the server does it");
        assert!(postgres::accepts(&next, &password));
        watched.close(Use::Over).await;
    });
}
