//! Noticing changes, and what it costs.

use std::time::{Duration, Instant};

use dlconf::source::Source as _;
use dlconf::source::Use;
use dlconf::source::vault::config::{Auth, Engine};
use serde_json::json;
use tokio::time::timeout;

use super::watched::{A_WHILE, PATIENCE, Watched, approle, block_on, config, data, kv2, metadata, spec};
use crate::bao::proxy::Proxy;
use crate::bao::{Bao, OwnBao};
use crate::hostile::{Hostile, Reply};
use crate::program::Folder;

/// The most and the least ticks in [`A_WHILE`], at 200 ms with a tenth of jitter.
const TICKS: std::ops::RangeInclusive<usize> = 5..=10;

fn paths(requests: &[(String, String)]) -> Vec<String> {
    requests.iter().map(|(method, path)| format!("{method} {path}")).collect()
}

#[test]
fn an_unchanged_version_costs_one_metadata_read_a_tick_and_no_data() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let config = config(&proxy.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        let watched = Watched::new(config, bao.root_token()).await;
        assert_eq!(
            paths(&proxy.take_requests()),
            ["GET /v1/secret/data/app"],
            "the first read needs no more"
        );
        watched.is_quiet_for(A_WHILE).await;
        let mut requests = paths(&proxy.take_requests());
        // How long the token lives is asked once.
        requests.retain(|request| request != "GET /v1/auth/token/lookup-self");
        assert!(requests.iter().all(|request| request == "GET /v1/secret/metadata/app"), "{requests:?}");
        assert!(TICKS.contains(&requests.len()), "{requests:?}");
    });
}

#[test]
fn secrets_of_one_folder_cost_one_list_a_tick() {
    let bao = Bao::shared();
    for name in ["one", "two", "three"] {
        bao.kv_put(&format!("app/{name}"), &json!({ name: "1" }));
    }
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let all = vec![kv2("app/one"), kv2("app/two"), kv2("app/three")];
        let config = config(&proxy.address(), bao.namespace(), Auth::Token, all);
        let mut watched = Watched::new(config, bao.root_token()).await;
        proxy.take_requests();
        watched.is_quiet_for(A_WHILE).await;
        let mut requests = paths(&proxy.take_requests());
        requests.retain(|request| request != "GET /v1/auth/token/lookup-self");
        assert!(
            requests.iter().all(|request| request == "LIST /v1/secret/detailed-metadata/app"),
            "{requests:?}"
        );
        assert!(TICKS.contains(&requests.len()), "{requests:?}");
        bao.kv_put("app/two", &json!({ "two": "2" }));
        watched.change().await;
        assert_eq!(watched.value("two").unwrap(), "2");
        let data: Vec<String> =
            paths(&proxy.take_requests()).into_iter().filter(|request| request.contains("/data/")).collect();
        assert_eq!(data, ["GET /v1/secret/data/app/two"], "only what moved is read");
    });
}

#[test]
fn without_the_right_to_list_versions_are_looked_at_one_by_one() {
    let bao = Bao::shared();
    bao.kv_put("app/one", &json!({ "A": "1" }));
    bao.kv_put("app/two", &json!({ "B": "1" }));
    bao.policy(
        "p",
        "path \"secret/data/app/*\" { capabilities = [\"read\"] }\n\
         path \"secret/metadata/app/*\" { capabilities = [\"read\"] }",
    );
    let token = bao.token(&["p"], &json!({}));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let all = vec![kv2("app/one"), kv2("app/two")];
        let mut watched =
            Watched::new(config(&proxy.address(), bao.namespace(), Auth::Token, all), &token).await;
        watched.is_quiet_for(A_WHILE).await;
        let requests = paths(&proxy.take_requests());
        let lists = requests.iter().filter(|request| request.starts_with("LIST")).count();
        let reads = requests.iter().filter(|request| request.contains("/metadata/")).count();
        assert_eq!(lists, 1, "a server that refuses is not asked again: {requests:?}");
        assert!(reads >= 6, "{requests:?}");
        bao.kv_put("app/two", &json!({ "B": "2" }));
        watched.change().await;
        assert_eq!(watched.value("B").unwrap(), "2");
    });
}

#[test]
fn where_versions_may_not_be_looked_at_data_is_read_and_that_is_said() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.policy("p", "path \"secret/data/app\" { capabilities = [\"read\"] }");
    let token = bao.token(&["p"], &json!({}));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, &token).await;
        assert!(watched.layer().remarks.is_empty());
        watched.change().await;
        let remarks = &watched.layer().remarks;
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].message.contains("`secret/metadata/app`"), "{}", remarks[0].message);
        watched.is_quiet_for(A_WHILE).await;
        bao.kv_put("app", &json!({ "A": "2" }));
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "2");
        bao.kv_put("app", &json!({ "A": "2" }));
        watched.is_quiet_for(A_WHILE).await;
    });
}

#[test]
fn kv_v1_is_read_at_every_tick_and_told_when_it_differs() {
    let bao = Bao::shared();
    bao.mount_kv("plain", 1);
    bao.write("plain/app", &json!({ "A": "1" }));
    block_on(async {
        let engine = Engine::Kv1 { mount: "plain".into(), path: "app".into() };
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![spec(engine)]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        watched.is_quiet_for(A_WHILE).await;
        bao.write("plain/app", &json!({ "A": "2" }));
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "2");
    });
}

#[test]
fn deleted_destroyed_and_undeleted_versions_are_noticed() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.kv_put("app", &json!({ "A": "2" }));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        let place = |watched: &Watched| watched.places()[0].clone();
        assert_eq!(place(&watched), "vault:secret/app");
        bao.kv_delete("app");
        watched.change().await;
        assert_eq!((watched.value("A"), watched.faults().len()), (None, 0), "the server states it");
        assert_eq!(place(&watched), "vault:secret/app (version 2 is deleted)");
        bao.kv_undelete("app", 2);
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "2");
        bao.kv_destroy("app", 2);
        watched.change().await;
        assert_eq!((watched.value("A"), watched.faults().len()), (None, 0));
        assert_eq!(place(&watched), "vault:secret/app (version 2 is destroyed)");
        bao.kv_put("app", &json!({ "A": "3" }));
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "3");
    });
}

#[test]
fn metadata_that_is_gone_is_no_deletion_and_a_new_beginning_is_taken() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.kv_put("app", &json!({ "A": "2" }));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        bao.kv_forget("app");
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "2", "held");
        assert!(watched.faults()[0].contains("has nothing there (404)"), "{:?}", watched.faults());
        // Version 1 again, written later.
        bao.kv_put("app", &json!({ "A": "new" }));
        watched.until(|watched| watched.value("A").as_deref() == Some("new")).await;
        assert_eq!(watched.faults(), [""; 0]);
    });
}

#[test]
fn never_older_than_seen() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(3, "three"), data(2, "two"), data(2, "two"), data(4, "four")]);
    // A standby that lags answers now and then.
    server.on("/v1/secret/metadata/app", [metadata(2), metadata(3), metadata(4)]);
    block_on(async {
        let config = config(&server.address(), "", Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, "t").await;
        assert_eq!(watched.value("A").unwrap(), "three");
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "three", "version 2 is an answer from the past");
        assert!(watched.faults()[0].contains("lags behind"), "{:?}", watched.faults());
        watched.until(|watched| watched.value("A").as_deref() == Some("four")).await;
        assert_eq!(watched.faults(), [""; 0]);
    });
}

#[test]
fn a_server_that_was_restored_from_a_backup_is_told_and_what_was_newer_is_held() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(3, "three"), data(4, "four")]);
    let lagging = std::iter::repeat_n(metadata(2), 20);
    server.on("/v1/secret/metadata/app", lagging.chain([metadata(4)]));
    block_on(async {
        let config = config(&server.address(), "", Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, "t").await;
        watched.is_quiet_for(A_WHILE).await;
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "three");
        assert!(watched.faults()[0].contains("older version"), "{:?}", watched.faults());
        watched.until(|watched| watched.value("A").as_deref() == Some("four")).await;
        assert_eq!(watched.faults(), [""; 0]);
    });
}

#[test]
fn one_refusal_leaves_the_others_alone() {
    let bao = Bao::shared();
    bao.kv_put("mine", &json!({ "A": "1" }));
    bao.kv_put("other/b", &json!({ "B": "1" }));
    let policy = |paths: &[&str]| {
        let lines =
            paths.iter().map(|path| format!("path \"secret/+/{path}\" {{ capabilities = [\"read\"] }}\n"));
        bao.policy("p", &lines.collect::<String>());
    };
    policy(&["mine", "other/b"]);
    let token = bao.token(&["p"], &json!({}));
    block_on(async {
        let all = vec![kv2("mine"), kv2("other/b")];
        let mut watched =
            Watched::new(config(&bao.address(), bao.namespace(), Auth::Token, all), &token).await;
        policy(&["mine"]);
        watched.until(|watched| watched.faults().len() == 1).await;
        assert!(watched.faults()[0].contains("`secret/data/other/b`"), "{:?}", watched.faults());
        assert_eq!(watched.value("B").unwrap(), "1", "what was refused is held");
        bao.kv_put("mine", &json!({ "A": "2" }));
        watched.until(|watched| watched.value("A").as_deref() == Some("2")).await;
        assert_eq!(watched.value("B").unwrap(), "1");
        policy(&["mine", "other/b"]);
        bao.kv_put("other/b", &json!({ "B": "2" }));
        watched.until(|watched| watched.value("B").as_deref() == Some("2")).await;
        assert_eq!(watched.faults(), [""; 0]);
    });
}

#[test]
fn an_outage_holds_the_values_and_ends_without_reading_them_again() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let config = config(&proxy.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        watched.is_quiet_for(Duration::from_millis(500)).await;
        proxy.refuse();
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "1", "unreachable is not missing");
        assert_eq!(watched.faults().len(), 1, "{:?}", watched.faults());
        proxy.take_requests();
        proxy.pass();
        watched.until(|watched| watched.fetched.is_ok()).await;
        let requests = paths(&proxy.take_requests());
        assert!(!requests.iter().any(|request| request.contains("/data/")), "{requests:?}");
        assert_eq!(watched.value("A").unwrap(), "1");
    });
}

#[test]
fn a_sealed_server_is_unavailable_and_never_missing() {
    let bao = OwnBao::production(false);
    bao.kv_put("app", &json!({ "A": "1" }));
    block_on(async {
        let config = config(&bao.address(), "", Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        bao.seal();
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "1");
        assert!(watched.faults()[0].contains("is sealed"), "{:?}", watched.faults());
        bao.unseal();
        watched.until(|watched| watched.fetched.is_ok()).await;
        bao.kv_put("app", &json!({ "A": "2" }));
        watched.until(|watched| watched.value("A").as_deref() == Some("2")).await;
    });
}

#[test]
fn retry_after_is_honoured() {
    let server = Hostile::new();
    server.on("/v1/secret/data/app", [data(1, "one")]);
    let busy = Reply::error(429).header("retry-after", "2");
    server.on("/v1/secret/metadata/app", [busy, metadata(1)]);
    block_on(async {
        let config = config(&server.address(), "", Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, "t").await;
        watched.change().await;
        assert!(watched.faults()[0].contains("(429)"), "{:?}", watched.faults());
        let start = Instant::now();
        watched.until(|watched| watched.fetched.is_ok()).await;
        assert!(start.elapsed() > Duration::from_millis(1700), "{:?}", start.elapsed());
    });
}

#[test]
fn stopping_interrupts_a_sleeping_poll_at_once() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    block_on(async {
        let mut config = config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        config.poll = Duration::from_hours(1);
        let watched = Watched::new(config, bao.root_token()).await;
        watched.is_quiet_for(Duration::from_millis(50)).await;
        let start = Instant::now();
        watched.close(Use::Over).await;
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    });
}

#[test]
fn who_stops_waiting_loses_no_change() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    block_on(async {
        let config = config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]);
        let mut watched = Watched::new(config, bao.root_token()).await;
        watched.is_quiet_for(Duration::from_millis(50)).await;
        bao.kv_put("app", &json!({ "A": "2" }));
        // Nobody waits while it is noticed.
        tokio::time::sleep(Duration::from_millis(600)).await;
        // Whoever is dropped before being told leaves it to the next.
        drop(watched.source.changed());
        watched.change().await;
        assert_eq!(watched.value("A").unwrap(), "2");
    });
}

#[test]
fn a_token_is_renewed_for_as_long_as_it_is_used() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.policy("p", "path \"secret/+/app\" { capabilities = [\"read\"] }");
    let token = bao.token(&["p"], &json!({ "ttl": "4s", "period": "4s" }));
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({ "token_ttl": "4s", "token_max_ttl": "60s" }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let given =
            Watched::new(config(&bao.address(), bao.namespace(), Auth::Token, vec![kv2("app")]), &token);
        let ours = Watched::new(config(&proxy.address(), bao.namespace(), auth, vec![kv2("app")]), "");
        let (given, ours) = tokio::join!(given, ours);
        let span = Duration::from_secs(9);
        tokio::join!(given.is_quiet_for(span), ours.is_quiet_for(span));
        assert!(bao.knows(&token), "a given token outlives its first four seconds");
        let requests = paths(&proxy.take_requests());
        let count = |what: &str| requests.iter().filter(|request| request.ends_with(what)).count();
        assert_eq!(count("login"), 1, "{requests:?}");
        assert!((2..=4).contains(&count("renew-self")), "at two thirds of its life: {requests:?}");
        ours.close(Use::Over).await;
        given.close(Use::Over).await;
        assert!(bao.knows(&token), "a given token is not ours to revoke");
    });
}

#[test]
fn a_token_that_cannot_be_renewed_is_replaced_before_it_ends_and_nothing_is_read_again() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.policy("p", "path \"secret/+/app\" { capabilities = [\"read\"] }");
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({ "token_ttl": "4s", "token_max_ttl": "4s" }));
    let proxy = Proxy::to(&bao.address());
    block_on(async {
        let mut watched =
            Watched::new(config(&proxy.address(), bao.namespace(), auth, vec![kv2("app")]), "").await;
        watched.is_quiet_for(Duration::from_secs(9)).await;
        watched.fetch().await;
        assert_eq!(watched.faults(), [""; 0]);
        let requests = paths(&proxy.take_requests());
        let count = |what: &str| requests.iter().filter(|request| request.ends_with(what)).count();
        assert!((3..=4).contains(&count("login")), "every four seconds: {requests:?}");
        assert_eq!(count("/data/app"), 1, "{requests:?}");
    });
}

#[test]
fn a_token_that_was_revoked_is_replaced() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.policy("p", "path \"secret/+/app\" { capabilities = [\"read\"] }");
    let folder = Folder::new();
    let auth = approle(&bao, &folder, &["p"], &json!({}));
    block_on(async {
        let mut watched =
            Watched::new(config(&bao.address(), bao.namespace(), auth, vec![kv2("app")]), "").await;
        for accessor in bao.list("auth/token/accessors") {
            bao.request(
                "POST",
                "auth/token/revoke-accessor",
                bao.root_token(),
                Some(&json!({ "accessor": accessor })),
            );
        }
        bao.kv_put("app", &json!({ "A": "2" }));
        watched.until(|watched| watched.value("A").as_deref() == Some("2")).await;
        assert_eq!(watched.faults(), [""; 0]);
    });
}

#[test]
fn a_token_file_is_read_again_when_it_is_exchanged_and_its_absence_takes_nothing_away() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    bao.policy("p", "path \"secret/+/app\" { capabilities = [\"read\"] }");
    let folder = Folder::new();
    let first = bao.token(&["p"], &json!({}));
    folder.file("token", &format!("{first}\n"));
    let path = dlconf::source::file::ShownPath::named(&folder.join("token"));
    block_on(async {
        let auth = Auth::TokenFile { path };
        let mut watched =
            Watched::new(config(&bao.address(), bao.namespace(), auth, vec![kv2("app")]), "").await;
        std::fs::remove_file(folder.join("token")).unwrap();
        bao.kv_put("app", &json!({ "A": "2" }));
        watched.until(|watched| watched.value("A").as_deref() == Some("2")).await;
        folder.file("token", &format!("  {}\n\n", bao.token(&["p"], &json!({}))));
        bao.request("POST", "auth/token/revoke", bao.root_token(), Some(&json!({ "token": first })));
        bao.kv_put("app", &json!({ "A": "3" }));
        watched.until(|watched| watched.value("A").as_deref() == Some("3")).await;
        assert_eq!(watched.faults(), [""; 0]);
    });
}

#[test]
fn certificates_that_are_exchanged_are_read_again() {
    let bao = OwnBao::production(true);
    bao.kv_put("app", &json!({ "A": "1" }));
    let folder = Folder::new();
    let wrong = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    folder.file("ca.pem", &wrong.cert.pem());
    block_on(async {
        let mut config = config(&bao.address(), "", Auth::Token, vec![kv2("app")]);
        config.tls.ca_cert = Some(dlconf::source::file::ShownPath::named(&folder.join("ca.pem")));
        let mut watched = Watched::new(config, bao.root_token()).await;
        assert!(watched.faults()[0].contains("signed by nobody whom we trust"), "{:?}", watched.faults());
        folder.file("ca.pem", &std::fs::read_to_string(bao.ca()).unwrap());
        watched.until(|watched| watched.fetched.is_ok()).await;
        assert_eq!(watched.value("A").unwrap(), "1");
    });
}

#[test]
fn a_server_that_is_away_at_the_start_is_found_later() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "A": "1" }));
    let folder = Folder::new();
    bao.policy("p", "path \"secret/+/app\" { capabilities = [\"read\"] }");
    let auth = approle(&bao, &folder, &["p"], &json!({}));
    let proxy = Proxy::to(&bao.address());
    proxy.refuse();
    block_on(async {
        let mut watched =
            Watched::new(config(&proxy.address(), bao.namespace(), auth, vec![kv2("app")]), "").await;
        assert_eq!(watched.faults().len(), 1, "{:?}", watched.faults());
        assert!(watched.values().is_empty());
        proxy.pass();
        let found = timeout(PATIENCE, watched.until(|watched| watched.value("A").is_some())).await;
        assert!(found.is_ok());
    });
}
