//! What takes the time of a watch: half a minute. All the rest is told by events.

use std::time::{Duration, Instant};

use super::cluster::{Cluster, Of};
use super::fake::Fault;
use super::shop::{Running, Shop};

/// A silent watch is given up five seconds after its 30.
const NOTICED: Duration = Duration::from_secs(40);

fn watching() -> (Cluster, Running) {
    let cluster = Cluster::fake();
    cluster.create(Of::Secret, "app", &[("TOKEN", "first")]);
    cluster.grant(&[(Of::Secret, "app")]);
    let running = Shop::new(&cluster, "secrets = [\"app\"]").ready();
    running.until("it watches", |_| cluster.faults().seen().iter().any(|seen| seen.verb == "watch"));
    (cluster, running)
}

#[test]
fn a_connection_that_was_silently_dropped_is_noticed_within_forty_seconds() {
    let (cluster, running) = watching();
    cluster.faults().mute();
    let changed = Instant::now();
    cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
    running.delivers_within(NOTICED, "TOKEN", "second");
    assert!(changed.elapsed() > Duration::from_secs(5), "it was dropped: nobody could tell before");
    assert!(!running.log().contains("deleted"), "{}", running.log());
}

/// Each waits for the end of a watch: side by side, in one test.
#[test]
fn the_end_of_a_watch() {
    let scenes: [(&str, fn()); 4] = [
        ("future", a_version_from_the_future_is_not_believed_for_longer_than_a_watch),
        ("mute", a_watch_that_begins_and_never_says_anything_is_given_up),
        ("peace", watches_that_end_in_peace_go_on_without_a_read),
        ("no bookmark", without_a_bookmark_the_object_is_found_anew),
    ];
    std::thread::scope(|scope| {
        for (name, scene) in scenes {
            std::thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, scene).unwrap();
        }
    });
}

fn a_version_from_the_future_is_not_believed_for_longer_than_a_watch() {
    let (cluster, running) = watching();
    let fake = cluster.faults();
    let then = fake.revision();
    fake.advance_to(then + 1000);
    cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
    running.delivers("TOKEN", "second");
    running.until("it watches from there", |_| {
        fake.seen().iter().any(|seen| {
            let from = seen.asks("resourceVersion").and_then(|version| version.parse().ok());
            seen.verb == "watch" && from > Some(then + 1000)
        })
    });
    // etcd is restored from a backup: what dlconf watches from is to come, and the
    // object is changed once more.
    fake.restore(then);
    let changed = Instant::now();
    cluster.set(Of::Secret, "app", &[("TOKEN", "third")]);
    running.delivers_within(NOTICED, "TOKEN", "third");
    assert!(changed.elapsed() > Duration::from_secs(5), "the watch was silent");
}

fn a_watch_that_begins_and_never_says_anything_is_given_up() {
    let (cluster, running) = watching();
    cluster.faults().fail("watch secrets/app", [Fault::Mute]);
    cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
    running.delivers("TOKEN", "second");
    let version = cluster.version(Of::Secret, "app");
    cluster.faults().sees("the mute one", Duration::from_secs(10), |seen| {
        seen.verb == "watch" && seen.asks("resourceVersion").as_ref() == Some(&version)
    });
    cluster.set(Of::Secret, "app", &[("TOKEN", "third")]);
    running.delivers_within(NOTICED, "TOKEN", "third");
}

fn watches_that_end_in_peace_go_on_without_a_read() {
    let (cluster, running) = watching();
    let fake = cluster.faults();
    fake.forget_seen();
    let second = fake.sees("the second watch", NOTICED, |seen| seen.verb == "watch");
    let before: Vec<String> = fake.seen().iter().map(super::fake::Seen::what).collect();
    assert_eq!(before, ["watch secrets/app"], "it had a bookmark, so it is believed");
    assert_eq!(fake.link(second.connection).closed, None);
    cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
    running.delivers("TOKEN", "second");
}

fn without_a_bookmark_the_object_is_found_anew() {
    let (cluster, running) = watching();
    let fake = cluster.faults();
    fake.set_bookmarks(false);
    fake.cut();
    running.until("it watches again", |_| fake.seen().iter().filter(|seen| seen.verb == "watch").count() > 1);
    fake.forget_seen();
    fake.sees("the list", NOTICED, |seen| seen.verb == "list" && seen.user_agent.starts_with("dlconf/"));
    assert!(fake.seen().iter().all(|seen| seen.verb != "get"), "it has not moved");
    assert_eq!(running.health(), "up");
}
