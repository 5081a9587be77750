//! A server that fails, on the fake: what is held, how it is told, and that
//! everything comes back without a restart.

use std::time::{Duration, Instant};

use super::cluster::{Cluster, Of};
use super::fake::{Fake, Fault};
use super::shop::{Running, Shop};

const APP: &str = "secrets = [\"app\"]";
const KEY: &str = "a key of the snapshot, long enough, for tests";
const SNAPSHOT: &str = "[snapshot]\npath = \"s\"\nkey_file = \"key\"\nstart_grace = \"300ms\"\n";

fn cluster() -> Cluster {
    let cluster = Cluster::fake();
    cluster.create(Of::Secret, "app", &[("TOKEN", "first"), ("OPT", "more")]);
    cluster.grant(&[(Of::Secret, "app")]);
    cluster
}

/// A daemon that watches.
fn watching(cluster: &Cluster) -> Running {
    let running = Shop::new(cluster, APP).ready();
    running.until("it watches", |_| asked(cluster.faults(), "watch") > 0);
    running
}

/// How often dlconf asked that.
fn asked(fake: &Fake, verb: &str) -> usize {
    let dlconf = |seen: &super::fake::Seen| seen.user_agent.starts_with("dlconf/") && seen.verb == verb;
    fake.seen().iter().filter(|seen| dlconf(seen)).count()
}

/// That all is held and nothing is called missing or deleted.
#[track_caller]
fn is_held(running: &Running, what: &str) {
    let file = running.file();
    let values = ["TOKEN", "OPT"].map(|key| file.get(key).map(String::as_str));
    assert_eq!(values, [Some("first"), Some("more")], "{what}: {}", running.log());
    assert!(!running.log().contains("config deleted"), "{what}: {}", running.log());
}

/// Lets dlconf meet what is planned, while the object changes.
#[track_caller]
fn meets_it(cluster: &Cluster, running: &Running, what: &str) {
    let change = || cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
    if what.starts_with("list") {
        // Who is cut off looks for the object.
        cluster.faults().cut();
        running.becomes("down");
        change();
    } else {
        change();
        running.becomes("down");
    }
}

#[test]
fn behaviour_02_a_backend_error_is_an_error_and_the_last_value_stays() {
    let cluster = cluster();
    let running = watching(&cluster);
    cluster.faults().fail_always("* secrets/app", Fault::Status(500));
    cluster.faults().cut();
    running.becomes("down");
    running.daemon.says("DLC050");
    is_held(&running, "500");
    assert_eq!((running.state("TOKEN"), running.state("OPT")), ("held".into(), "held".into()));
    assert!(running.findings().contains("DLC050"), "{}", running.findings());
    assert_eq!(running.daemon.page("/readyz").0, 200, "once ready, always ready");
    assert_eq!(running.generation(), 1);
    cluster.faults().heal();
    cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
    running.delivers("TOKEN", "second");
    running.becomes("up");
    assert!(running.findings().contains("[]") || !running.findings().contains("DLC050"));
}

/// Whatever a server says instead of an object or a watch: held, told, and read
/// again when it is over.
#[test]
fn behaviour_12_everything_that_is_no_answer_is_held_and_passes() {
    let cases = [
        ("* secrets/app", Fault::Status(500)),
        ("* secrets/app", Fault::Status(503)),
        ("* secrets/app", Fault::Status(504)),
        ("* secrets/app", Fault::TooMany(1)),
        ("* secrets/app", Fault::Close),
        ("* secrets/app", Fault::Page),
        ("get secrets/app", Fault::Half),
        ("get secrets/app", Fault::CutAfter(0)),
        ("get secrets/app", Fault::Endless),
        ("get secrets/app", Fault::Gone),
        ("list secrets/app", Fault::Gone),
    ];
    std::thread::scope(|scope| {
        for (what, fault) in cases {
            scope.spawn(move || {
                let cluster = cluster();
                let running = watching(&cluster);
                cluster.faults().fail_always(what, fault.clone());
                meets_it(&cluster, &running, what);
                is_held(&running, &format!("{fault:?}"));
                cluster.faults().heal();
                running.delivers("TOKEN", "second");
                running.becomes("up");
            });
        }
    });
}

#[test]
fn behaviour_12_hangs_and_drips_end_by_our_own_clock() {
    let cases = [
        ("get secrets/app", Fault::Silence),
        ("list secrets/app", Fault::Silence),
        ("get secrets/app", Fault::Drip),
    ];
    std::thread::scope(|scope| {
        for (what, fault) in cases {
            scope.spawn(move || {
                let cluster = cluster();
                let running = Shop::new(&cluster, &format!("{APP}\ntimeout = \"1s\"")).ready();
                running.until("it watches", |_| asked(cluster.faults(), "watch") > 0);
                cluster.faults().fail_always(what, fault.clone());
                meets_it(&cluster, &running, what);
                is_held(&running, &format!("{fault:?}"));
                cluster.faults().heal();
                running.delivers("TOKEN", "second");
            });
        }
    });
}

/// A watch that breaks, however, is begun again, and misses nothing.
#[test]
fn behaviour_12_a_watch_that_breaks_misses_nothing() {
    let cases = [
        Fault::CutAfter(0),
        Fault::Gone,
        Fault::Close,
        Fault::Status(500),
        Fault::TooMany(1),
        Fault::Page,
        Fault::Lines(vec!["{\"type\":\"ADDED\",\"obj".into()]),
        Fault::Lines(vec!["nonsense".into()]),
        Fault::Lines(Vec::new()),
    ];
    std::thread::scope(|scope| {
        for fault in cases {
            scope.spawn(move || {
                let cluster = cluster();
                let running = watching(&cluster);
                // The next watch meets it, and while it does, the object changes.
                cluster.faults().fail("watch secrets/app", [fault.clone(), fault.clone()]);
                for value in ["second", "third", "fourth"] {
                    cluster.set(Of::Secret, "app", &[("TOKEN", value), ("OPT", "more")]);
                    running.delivers("TOKEN", value);
                }
                running.becomes("up");
                assert!(!running.log().contains("config deleted"), "{fault:?}: {}", running.log());
            });
        }
    });
}

/// Without a pause, an error would be asked for again and again.
#[test]
fn behaviour_12_no_failure_is_asked_for_in_a_circle() {
    let cases = [
        ("watch secrets/app", Fault::Gone),
        ("watch secrets/app", Fault::Lines(Vec::new())),
        ("watch secrets/app", Fault::CutAfter(0)),
        ("watch secrets/app", Fault::Close),
        ("watch secrets/app", Fault::Status(500)),
        ("watch secrets/app", Fault::Lines(vec!["nonsense".into()])),
        ("list secrets/app", Fault::Gone),
        ("get secrets/app", Fault::Status(500)),
    ];
    std::thread::scope(|scope| {
        for (what, fault) in cases {
            scope.spawn(move || {
                let cluster = cluster();
                let running = watching(&cluster);
                cluster.faults().fail_always(what, fault.clone());
                cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
                cluster.faults().cut();
                // At first a few at once; then they have to become rare.
                std::thread::sleep(Duration::from_secs(2));
                cluster.faults().forget_seen();
                std::thread::sleep(Duration::from_secs(3));
                let count: usize =
                    ["get", "list", "watch"].iter().map(|verb| asked(cluster.faults(), verb)).sum();
                assert!(count <= 15, "{what} {fault:?}: {count} requests in three seconds");
                drop(running);
            });
        }
    });
}

/// It can be found and read all the while: so it is neither well nor unwell in turn.
#[test]
fn behaviour_12_what_cannot_be_watched_is_told_once_and_read_all_the_same() {
    let cluster = cluster();
    let running = watching(&cluster);
    cluster.faults().fail_always("watch secrets/app", Fault::Status(500));
    cluster.faults().cut();
    running.becomes("down");
    // No event says so.
    cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
    running.delivers("TOKEN", "second");
    running.until("it was tried again and again", |_| asked(cluster.faults(), "watch") >= 5);
    assert_eq!(running.health(), "down");
    let told = |words: &str| running.daemon.count(words);
    assert_eq!((told("cannot be read"), told("can be read again")), (1, 0), "{}", running.log());
    cluster.faults().heal();
    running.becomes("up");
    assert_eq!((told("cannot be read"), told("can be read again")), (1, 1), "{}", running.log());
}

#[test]
fn behaviour_12_a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let cluster = cluster();
    let running = watching(&cluster);
    cluster.faults().fail("list secrets/app", [Fault::TooMany(3)]);
    cluster.faults().cut();
    running.becomes("down");
    let refused = cluster.faults().seen().into_iter().rfind(|seen| seen.verb == "list").unwrap();
    running.becomes("up");
    let next =
        cluster.faults().seen().into_iter().find(|seen| seen.at > refused.at && seen.verb == "list").unwrap();
    let waited = next.at - refused.at;
    assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(6), "{waited:?}");
}

#[test]
fn behaviour_12_an_expired_version_finds_the_object_anew() {
    let cluster = cluster();
    let running = watching(&cluster);
    // Everything that the watch could go on from is gone.
    cluster.faults().cut();
    cluster.faults().advance_to(cluster.faults().revision() + 1000);
    cluster.faults().compact();
    cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
    running.delivers("TOKEN", "second");
    running.becomes("up");
}

#[test]
fn a_token_that_ends_leaves_the_open_watch_and_stops_the_read() {
    let cluster = cluster();
    let token = cluster.folder().read("token");
    let running = watching(&cluster);
    cluster.faults().expire(&token);
    assert_eq!(running.health(), "up", "a watch goes on delivering, and tells nobody");
    cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
    running.becomes("down");
    running.daemon.says("does not accept our credentials (401)");
    is_held(&running, "401");
    cluster.renew_token();
    running.delivers("TOKEN", "second");
    running.becomes("up");
}

#[test]
fn a_server_that_is_away_at_the_start_is_stood_in_for_by_the_snapshot() {
    let cluster = cluster();
    let shop = Shop::with_more(&cluster, APP, SNAPSHOT);
    shop.folder.file("key", KEY);
    let running = shop.ready();
    running.until("the snapshot is written", |running| {
        running.status()["snapshot"]["generation"].as_u64() >= Some(1)
    });
    let trace = running.trace();
    cluster.faults().stop();
    let running = running.restart();
    running.is_ready();
    assert_eq!(running.status()["snapshot"]["stands_in"], serde_json::json!(["config"]));
    assert_eq!(running.trace(), trace);
    let place = format!("snapshot:k8s:{}/secret/app#TOKEN@", cluster.namespace);
    running.run(&["explain", "TOKEN"]).exits(0).says(&place);
    cluster.faults().start_again();
    cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
    running.delivers("TOKEN", "second");
    running.until("nothing stands in", |running| {
        running.status()["snapshot"]["stands_in"] == serde_json::json!([])
    });
}

#[test]
fn a_server_that_goes_away_later_is_waited_for() {
    let cluster = cluster();
    let running = watching(&cluster);
    cluster.faults().stop();
    running.becomes("down");
    is_held(&running, "down");
    cluster.faults().start_again();
    cluster.set(Of::Secret, "app", &[("TOKEN", "second"), ("OPT", "more")]);
    running.delivers("TOKEN", "second");
    running.becomes("up");
}

#[test]
fn what_is_not_answered_in_time_is_not_taken_for_absent() {
    let cluster = cluster();
    cluster.faults().fail_always("* secrets/app", Fault::Silence);
    let lines = format!("{APP}\nrequired = false\ntimeout = \"3s\"\ndeadline = \"500ms\"");
    let ran = Shop::new(&cluster, &lines).run(&["check", "--format", "json"]).exits(3);
    assert_eq!(ran.findings(), ["DLC050 - error"], "{}", ran.stdout);
}

#[test]
fn what_was_deleted_while_nobody_watched_is_a_deletion_if_the_server_remembers_it() {
    let cluster = cluster();
    let running = watching(&cluster);
    cluster.faults().stop();
    running.becomes("down");
    cluster.faults().start_again();
    cluster.faults().fail("* secrets/app", [Fault::Status(500)]);
    cluster.delete(Of::Secret, "app");
    running.daemon.says("source config deleted TOKEN, which is required: its value is held");
    running.becomes("up");
}

#[test]
fn what_was_deleted_while_nobody_watched_is_held_as_unknown() {
    let cluster = cluster();
    let running = watching(&cluster);
    cluster.faults().stop();
    running.becomes("down");
    cluster.faults().start_again();
    // It is there again before dlconf is; and the history that a watch could be told is gone.
    cluster.faults().fail("* secrets/app", [Fault::Status(500)]);
    cluster.delete(Of::Secret, "app");
    cluster.faults().compact();
    running.daemon.says("is gone");
    running.daemon.says("nobody saw it deleted");
    is_held(&running, "gone");
    assert_eq!((running.state("TOKEN"), running.health()), ("held".into(), "down".into()));
    cluster.create(Of::Secret, "app", &[("TOKEN", "again")]);
    running.delivers("TOKEN", "again");
    running.becomes("up");
}

#[test]
fn one_shot_commands_keep_to_their_deadline_whatever_the_server_does() {
    let cases = [
        ("silence", Fault::Silence),
        ("drip", Fault::Drip),
        ("500", Fault::Status(500)),
        ("429", Fault::TooMany(1)),
        ("a page", Fault::Page),
        ("half", Fault::Half),
        ("the end", Fault::Close),
    ];
    std::thread::scope(|scope| {
        for (what, fault) in cases {
            scope.spawn(move || {
                let cluster = cluster();
                let shop = Shop::new(&cluster, &format!("{APP}\ntimeout = \"1s\"\ndeadline = \"2s\""));
                cluster.faults().fail_always("* secrets/app", fault);
                let began = Instant::now();
                let ran = shop.run(&["check", "--format", "json"]).exits(3);
                assert!(began.elapsed() < Duration::from_secs(10), "{what}: {:?}", began.elapsed());
                assert_eq!(ran.findings(), ["DLC050 - error"], "{what}: {}", ran.stdout);
                assert!(asked(cluster.faults(), "get") > 1, "{what}: it is asked again");
                cluster.faults().heal();
                shop.run(&["get", "--local", "TOKEN"]).exits(0).says("first");
            });
        }
    });
}

#[test]
fn an_endless_answer_is_cut_where_no_object_is_as_large() {
    let cluster = cluster();
    let shop = Shop::new(&cluster, &format!("{APP}\ntimeout = \"20s\"\ndeadline = \"20s\""));
    cluster.faults().fail_always("* secrets/app", Fault::Endless);
    shop.run(&["check", "--format", "json"]).exits(3).says("more than any object can be");
    assert!(cluster.faults().endless_bytes() < 32 << 20, "{}", cluster.faults().endless_bytes());
}

#[test]
fn another_authority_is_nobody() {
    let cluster = cluster();
    let shop = Shop::new(&cluster, &format!("{APP}\ndeadline = \"2s\""));
    let other = Fake::start();
    std::fs::copy(other.ca(), cluster.folder().join("ca.pem")).unwrap();
    let ran = shop.run(&["check", "--format", "json"]).exits(3);
    assert_eq!(ran.findings(), ["DLC050 - error"], "{}", ran.stdout);
    assert_eq!(asked(cluster.faults(), "get"), 0, "no token is sent there");
}

#[test]
fn what_a_server_says_is_not_repeated() {
    let cluster = cluster();
    let page = "<title>canary-of-the-page</title>".to_owned();
    for verb in ["get", "list", "watch"] {
        cluster.faults().fail_always(&format!("{verb} secrets/app"), Fault::Lines(vec![page.clone()]));
    }
    let shop = Shop::new(&cluster, &format!("{APP}\ndeadline = \"1s\""));
    let token = cluster.folder().read("token");
    for arguments in [&["check"][..], &["-vv", "check"], &["doctor"], &["render"]] {
        shop.run(arguments).never_says("canary").never_says(&token);
    }
    let running = shop.start();
    running.daemon.says("DLC050");
    assert!(!running.log().contains("canary") && !running.log().contains(&token), "{}", running.log());
}
