//! What goes over the wire: how little is asked for, and by which connections.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::{Cluster, Of, PATIENCE};
use super::fake::{Fake, Seen};
use super::shop::{Running, Shop};

fn two() -> (Cluster, Running) {
    let cluster = Cluster::fake();
    cluster.create(Of::Secret, "app", &[("TOKEN", "first")]);
    cluster.create(Of::ConfigMap, "more", &[("OPT", "first")]);
    cluster.grant(&[(Of::Secret, "app"), (Of::ConfigMap, "more")]);
    cluster.faults().forget_seen();
    let running = Shop::new(&cluster, "secrets = [\"app\"]\nconfig_maps = [\"more\"]").ready();
    for object in ["secrets/app", "configmaps/more"] {
        watched(cluster.faults(), object, 0);
    }
    (cluster, running)
}

/// What dlconf asked, in order.
fn asked(fake: &Fake) -> Vec<Seen> {
    fake.seen().into_iter().filter(|seen| seen.user_agent.starts_with("dlconf/")).collect()
}

/// Waits for a watch of this object, by a connection after that one.
fn watched(fake: &Fake, object: &str, after: u64) -> Seen {
    let what = format!("watch {object}");
    fake.sees(&what, PATIENCE, |seen| seen.what() == what && seen.connection > after)
}

#[test]
fn each_object_is_found_and_watched_by_its_name_and_by_metadata_alone() {
    let (cluster, running) = two();
    cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
    running.delivers("TOKEN", "second");
    let seen = asked(cluster.faults());
    let mut watches = BTreeMap::<String, usize>::new();
    for seen in &seen {
        assert_eq!(seen.user, format!("system:serviceaccount:{}:reader", cluster.namespace));
        let selector = seen.asks("fieldSelector");
        match seen.verb {
            "list" | "watch" => {
                assert_eq!(selector, Some(format!("metadata.name={}", seen.name)), "{seen:?}");
                assert!(seen.metadata_only, "{seen:?}");
            }
            "get" => assert!(!seen.metadata_only && selector.is_none(), "{seen:?}"),
            other => panic!("{other} was not to be asked: {seen:?}"),
        }
        if seen.verb == "watch" {
            *watches.entry(seen.what()).or_default() += 1;
            let seconds: u64 = seen.asks("timeoutSeconds").unwrap().parse().unwrap();
            assert!((10..=30).contains(&seconds), "{seen:?}");
            assert_eq!(seen.asks("allowWatchBookmarks").as_deref(), Some("true"), "{seen:?}");
            let version: u64 = seen.asks("resourceVersion").unwrap().parse().unwrap();
            assert!(version > 0, "{seen:?}");
        }
    }
    // An event ends its own watch and no other.
    watched(cluster.faults(), "secrets/app", watched(cluster.faults(), "secrets/app", 0).connection);
    assert_eq!(watches["watch configmaps/more"], 1, "{watches:?}");
}

#[test]
fn values_come_by_connections_that_are_closed_when_they_came() {
    let (cluster, running) = two();
    let fake = cluster.faults();
    for value in ["second", "third"] {
        let before = fake.links() as u64;
        cluster.set(Of::Secret, "app", &[("TOKEN", value)]);
        running.delivers("TOKEN", value);
        let get = fake.sees("the read", PATIENCE, |seen| {
            seen.what() == "get secrets/app" && seen.connection > before && seen.user.ends_with(":reader")
        });
        // By itself, and by the time that the next watch is there.
        let sharing = fake.seen().into_iter().filter(|seen| seen.connection == get.connection).count();
        assert_eq!(sharing, 1, "nothing else is asked by a connection that carried values");
        running.until("the connection is closed", |_| fake.link(get.connection).closed.is_some());
    }
}

#[test]
fn every_connection_is_verified_tls_and_speaks_http_1() {
    let (cluster, _running) = two();
    let fake = cluster.faults();
    let seen = asked(fake);
    assert!(seen.len() >= 4, "{seen:?}");
    for seen in seen {
        let link = fake.link(seen.connection);
        assert!(link.tls, "{seen:?}");
        assert_eq!(link.protocol.as_deref(), Some("http/1.1"), "h2 is offered, and not taken: {seen:?}");
    }
}

#[test]
fn a_quiet_source_asks_for_nothing_but_its_watches() {
    let (cluster, running) = two();
    let fake = cluster.faults();
    fake.forget_seen();
    // A server's bookmarks come at its watches' ends: nothing for this long.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(asked(fake).len(), 0, "{:?}", asked(fake));
    assert_eq!(running.health(), "up");
}

#[test]
fn sixty_thousand_others_cost_nothing() {
    let (cluster, running) = two();
    cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
    running.delivers("TOKEN", "second");
    let before = running.anonymous_kib();
    cluster.faults().fill(&cluster.namespace, 60_000, 300);
    for value in ["third", "fourth"] {
        cluster.set(Of::Secret, "app", &[("TOKEN", value)]);
        running.delivers("TOKEN", value);
    }
    let running = running.restart();
    running.delivers("TOKEN", "fourth");
    cluster.set(Of::Secret, "app", &[("TOKEN", "fifth")]);
    running.delivers("TOKEN", "fifth");
    let after = running.anonymous_kib();
    // A list of them would be 30 MB and more.
    assert!(after < before + 2048, "{before} KiB before, {after} KiB after");
    for seen in asked(cluster.faults()) {
        assert!(["app", "more"].contains(&seen.name.as_str()), "{seen:?}");
    }
}
