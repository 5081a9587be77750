//! The behaviours that users of Kubernetes tools miss elsewhere, a test each: on
//! the fake, and on a real server if there is one.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;
use serde_json::json;

use super::cluster::{Cluster, Of, PATIENCE, everywhere};
use super::shop::{REST, SCHEMA, Shop};
use crate::daemon::{Daemon, wait_for};
use crate::program::Folder;

/// A cluster's Secret `app` with these values, which dlconf may read.
fn app(cluster: &Cluster, values: &[(&str, &str)]) {
    cluster.create(Of::Secret, "app", values);
    cluster.grant(&[(Of::Secret, "app")]);
}

const APP: &str = "secrets = [\"app\"]";

/// An `on_change` that notes that it ran, and how often it did.
fn hook(cluster: &Cluster) -> (String, impl Fn() -> usize + use<>) {
    let note = cluster.folder().join("ran");
    let exec = format!("[\"/bin/sh\", \"-c\", \"echo ran >> {}\"]", note.display());
    let ran = move || std::fs::read_to_string(&note).unwrap_or_default().lines().count();
    (format!("[delivery.app.on_change]\nexec = {exec}\n"), ran)
}

#[test]
fn behaviour_01_a_changed_value_propagates_and_equal_content_is_no_change() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first")]);
        let (hook, ran) = hook(cluster);
        let running = Shop::with_more(cluster, APP, &hook).ready();
        running.delivers("TOKEN", "first");
        let second = cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
        running.delivers("TOKEN", "second");
        let (place, trace) = (format!("secret/app#TOKEN@{second}"), running.trace());
        running.run(&["explain", "TOKEN"]).exits(0).says(&format!("k8s:{}/{place}", cluster.namespace));
        assert_eq!(running.generation(), 2);
        running.until("both were told of", |_| ran() == 2);
        // Neither a label nor the same values written once more.
        cluster.label(Of::Secret, "app", "gold");
        cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
        // What comes after it has come: it is the next generation, and the next line.
        let before = running.trace();
        assert_eq!(before, trace);
        cluster.set(Of::Secret, "app", &[("TOKEN", "third")]);
        running.delivers("TOKEN", "third");
        running.until("that was told of", |_| ran() >= 3);
        assert_eq!((running.generation(), ran()), (3, 3), "{}", running.log());
        let log = running.log();
        assert!(!["first", "second", "third"].iter().any(|value| log.contains(value)), "{log}");
    });
}

#[test]
fn behaviour_03_deleted_is_held_if_it_is_required_and_recreated_counts() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first"), ("OPT", "more")]);
        let running = Shop::new(cluster, APP).ready();
        cluster.delete(Of::Secret, "app");
        running.daemon.says("source config deleted TOKEN, which is required: its value is held");
        running.daemon.says("source config deleted OPT: its value is held for a minute");
        assert_eq!((running.state("TOKEN"), running.health()), ("deleted".into(), "up".into()));
        assert_eq!(running.value("TOKEN").as_deref(), Some("first"));
        running.run(&["forget", "OPT"]).exits(0);
        running.until("OPT is gone", |running| running.value("OPT").is_none());
        assert_eq!(running.value("TOKEN").as_deref(), Some("first"));
        // Another object of the same name: with a version of its own, and the same value.
        let again = cluster.create(Of::Secret, "app", &[("TOKEN", "first")]);
        running.until("it is current", |running| running.state("TOKEN") == "current");
        let version = super::cluster::version(&again);
        running.until("its place is the new object", |running| {
            running.run(&["explain", "TOKEN"]).stdout.contains(&format!("#TOKEN@{version}"))
        });
        cluster.delete(Of::Secret, "app");
        running.until("it is deleted again", |running| running.state("TOKEN") == "deleted");
        cluster.create(Of::Secret, "app", &[("TOKEN", "again"), ("OPT", "back")]);
        running.delivers("TOKEN", "again");
        running.delivers("OPT", "back");
        cluster.delete(Of::Secret, "app");
        running.until("it is deleted once more", |running| running.state("TOKEN") == "deleted");
        running.run(&["forget", "TOKEN"]).exits(0).warns("gave up TOKEN");
        running.until("the file is without it", |running| running.value("TOKEN").is_none());
    });
}

#[test]
fn behaviour_03_an_immutable_secret_replaced_under_its_name_counts() {
    everywhere(|cluster| {
        cluster.create_immutable(Of::Secret, "app", &[("TOKEN", "first")]);
        cluster.grant(&[(Of::Secret, "app")]);
        let running = Shop::new(cluster, APP).ready();
        running.delivers("TOKEN", "first");
        for value in ["second", "third"] {
            cluster.delete(Of::Secret, "app");
            cluster.create_immutable(Of::Secret, "app", &[("TOKEN", value)]);
            running.delivers("TOKEN", value);
        }
        running.until("all is well", |running| running.state("TOKEN") == "current");
    });
}

#[test]
fn behaviour_04_a_missing_object_at_start_is_a_clear_error_and_not_ready() {
    everywhere(|cluster| {
        cluster.grant(&[(Of::Secret, "app")]);
        let shop = Shop::new(cluster, &format!("{APP}\ndeadline = \"2s\""));
        let ran = shop.run(&["check", "--format", "json"]).exits(3);
        assert_eq!(ran.findings(), ["DLC050 - error"], "never called missing");
        ran.says(&format!("there is no Secret `app` in namespace {}", cluster.namespace));
        shop.run(&["get", "--local", "TOKEN"]).exits(3);
        let running = shop.start();
        running.daemon.says("there is no Secret `app`");
        running.until("it answers", |running| running.status()["ready"] == false);
        assert!(running.file().is_empty());
        assert_eq!(running.daemon.page("/readyz").0, 503);
        // Whoever makes it need not tell anybody.
        cluster.create(Of::Secret, "app", &[("TOKEN", "late")]);
        running.delivers("TOKEN", "late");
        running.is_ready();
    });
}

#[test]
fn behaviour_04_absence_may_be_excused_but_nothing_else() {
    everywhere(|cluster| {
        cluster.create(Of::Secret, "app", &[("TOKEN", "one")]);
        cluster.grant(&[(Of::Secret, "app"), (Of::ConfigMap, "extra")]);
        let lines = format!("{APP}\nconfig_maps = [\"extra\"]\nrequired = false\ndeadline = \"2s\"");
        let shop = Shop::new(cluster, &lines);
        shop.run(&["get", "--local", "TOKEN"]).exits(0).says("one");
        cluster.grant(&[(Of::Secret, "app")]);
        cluster.wait_until_it_may_not(Of::ConfigMap, "extra");
        let ran = shop.run(&["check", "--format", "json"]).exits(3);
        assert_eq!(ran.findings(), ["DLC051 - error"], "{}", ran.stdout);
        ran.says("configmaps `extra`");
    });
}

#[test]
fn behaviour_05_bytes_with_nul_are_refused_with_the_key_named() {
    everywhere(|cluster| {
        let data =
            json!({ "TOKEN": STANDARD.encode("fine"), "OPT": STANDARD.encode(b"a\0b"), "PIN": "//79" });
        cluster.create_raw(Of::Secret, &json!({ "metadata": { "name": "app" }, "data": data }));
        cluster.grant(&[(Of::Secret, "app")]);
        let shop = Shop::new(cluster, APP);
        let ran = shop.run(&["check", "--format", "json"]);
        assert_ne!(ran.code, 0, "{}", ran.stdout);
        assert!(ran.stdout.contains("OPT") && ran.stdout.contains("NUL"), "{}", ran.stdout);
        assert!(ran.stdout.contains("`PIN` holds bytes that are no UTF-8 text"), "{}", ran.stdout);
        let ran = shop.run(&["render", "--format", "dotenv"]);
        assert!(ran.code != 0 && ran.stdout.is_empty(), "{}", ran.stdout);
        ran.never_says("a\0b");
        // Also under the name that the settings give it.
        shop.write(
            "secrets = [{ name = \"app\", only = [\"TOKEN\", \"PIN\"], map = { PIN = \"TLS_KEY\" } }]",
            "",
        );
        let ran = shop.run(&["check", "--format", "json"]).exits(3);
        assert!(ran.stdout.contains("`PIN` holds bytes that are no UTF-8 text"), "{}", ran.stdout);
        // In base64, where the settings say so, bytes are a text.
        let lines = "secrets = [{ name = \"app\", only = [\"TOKEN\", \"PIN\"], base64 = [\"PIN\"] }]";
        shop.write(lines, "");
        shop.run(&["get", "--local", "PIN"]).exits(0).says("//79");
    });
}

#[test]
fn behaviour_06_the_later_object_wins_and_a_secret_stands_above_a_config_map() {
    everywhere(|cluster| {
        let (map, secret) = (Of::ConfigMap, Of::Secret);
        cluster.create(map, "plain", &[("A", "map-1"), ("B", "map-1"), ("OPT", "map-1")]);
        cluster.create(map, "more", &[("A", "map-2"), ("B", "map-2")]);
        cluster.create(secret, "app", &[("A", "upper-8Kq"), ("TOKEN", "upper-8Kq"), ("PIN", "upper-8Kq")]);
        let shared = [("PIN", "shared-5Zt"), ("a", "lower"), ("tls.key", "k"), ("NO", "x")];
        cluster.create(secret, "shared", &shared);
        cluster.grant(&[(map, "plain"), (map, "more"), (secret, "app"), (secret, "shared")]);
        let lines = r#"
            secrets = ["app", { name = "shared", only = ["PIN", "tls.key"], map = { "tls.key" = "TLS_KEY" } }]
            config_maps = ["plain", "more"]
        "#;
        let running = Shop::new(cluster, lines).ready();
        let wanted = [
            ("A", "upper-8Kq"),
            ("B", "map-2"),
            ("OPT", "map-1"),
            ("TOKEN", "upper-8Kq"),
            ("PIN", "shared-5Zt"),
        ];
        for (key, value) in wanted {
            assert_eq!(running.value(key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(running.value("TLS_KEY").as_deref(), Some("k"));
        let version = cluster.version(Of::ConfigMap, "more");
        let place = format!("k8s:{}/configmap/more#B@{version}", cluster.namespace);
        running.run(&["explain", "B"]).exits(0).says(&place);
        // What stood above is taken away: what stood below is there again, at once for
        // a key that another object still gives.
        cluster.set(Of::Secret, "app", &[("TOKEN", "upper-8Kq")]);
        running.delivers("A", "map-2");
    });
}

#[test]
fn behaviour_06_a_prefix_and_a_map_name_variables() {
    everywhere(|cluster| {
        app(cluster, &[("A", "prefixed"), ("token", "mapped"), ("B", "left out")]);
        let lines = r#"secrets = [{ name = "app", only = ["A", "token"], prefix = "X_", map = { token = "TOKEN" } }]"#;
        let ran = Shop::new(cluster, lines).run(&["render", "--format", "dotenv"]).exits(0);
        let lines: BTreeSet<&str> = ran.stdout.lines().collect();
        assert!(lines.contains("X_A=prefixed") && lines.contains("TOKEN=mapped"), "{}", ran.stdout);
        ran.never_says("left out");
    });
}

#[test]
fn behaviour_07_readers_see_all_old_or_all_new() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "0"), ("A", "0"), ("B", "0")]);
        let running = Shop::new(cluster, APP).ready();
        let last = "20";
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let end = Instant::now() + Duration::from_secs(30);
                let mut seen = BTreeSet::new();
                while Instant::now() < end {
                    let file = running.file();
                    let values: BTreeSet<&String> = ["TOKEN", "A", "B"].map(|key| &file[key]).into();
                    assert_eq!(values.len(), 1, "half of one and half of another: {file:?}");
                    seen.insert(file["TOKEN"].clone());
                    if file["TOKEN"] == last {
                        break;
                    }
                }
                seen
            });
            for value in 1..=20 {
                let value = value.to_string();
                cluster.set(Of::Secret, "app", &[("TOKEN", &value), ("A", &value), ("B", &value)]);
            }
            let seen = reader.join().unwrap();
            assert!(seen.contains(last), "{seen:?}");
        });
    });
}

#[test]
fn behaviour_08_a_removed_key_is_held_for_a_minute_and_can_be_given_up() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first"), ("OPT", "more")]);
        let running = Shop::new(cluster, APP).ready();
        cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
        running.delivers("TOKEN", "second");
        running.daemon.says("source config deleted OPT: its value is held for a minute");
        assert_eq!(
            (running.value("OPT").as_deref(), running.state("OPT").as_str()),
            (Some("more"), "deleted")
        );
        running.run(&["forget", "OPT"]).exits(0);
        running.until("the file is without it", |running| running.value("OPT").is_none());
        // Who starts now never had it.
        let running = running.restart();
        running.delivers("TOKEN", "second");
        assert_eq!(running.value("OPT"), None);
    });
}

#[test]
fn behaviour_09_a_token_that_ends_is_read_again() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first")]);
        let running = Shop::new(cluster, APP).ready();
        if let Some(fake) = cluster.recorder() {
            fake.sees("the watch", PATIENCE, |seen| seen.verb == "watch");
        }
        // The watch that is open knows nothing of it; what is read next does.
        cluster.replace_account();
        cluster.renew_token();
        cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
        running.delivers("TOKEN", "second");
        cluster.set(Of::Secret, "app", &[("TOKEN", "third")]);
        running.delivers("TOKEN", "third");
        assert!(!running.log().contains("DLC05"), "nothing was held for it: {}", running.log());
    });
}

#[test]
fn behaviour_10_a_restart_changes_nothing() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first")]);
        let (hook, ran) = hook(cluster);
        let running = Shop::with_more(cluster, APP, &hook).ready();
        running.until("it was told of", |_| ran() == 1);
        let trace = running.trace();
        let running = running.restart();
        running.is_ready();
        assert_eq!((running.trace(), ran()), (trace, 1));
        // Something else was told of first, so nothing comes late.
        cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
        running.delivers("TOKEN", "second");
        running.until("that was told of", |_| ran() >= 2);
        assert_eq!(ran(), 2);
        running.daemon.end(Signal::SIGTERM).exits(0);
    });
}

#[test]
fn behaviour_11_two_objects_in_one_second_are_one_generation() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first")]);
        cluster.create(Of::ConfigMap, "more", &[("OPT", "first")]);
        cluster.grant(&[(Of::Secret, "app"), (Of::ConfigMap, "more")]);
        let lines = format!("{APP}\nconfig_maps = [\"more\"]");
        let rest = "[delivery.app]\ntype = \"env-file\"\nformat = \"json\"\npath = \"app.json\"\n\
                    [socket]\npath = \"dlconf.sock\"\n[ops]\nlisten = \"unix:ops.sock\"\n\
                    [debounce]\nmin = \"700ms\"\nmax = \"5s\"\n";
        let running = Shop::with(cluster, &lines, rest).ready();
        cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
        cluster.set(Of::ConfigMap, "more", &[("OPT", "second")]);
        running.delivers("TOKEN", "second");
        assert_eq!(running.value("OPT").as_deref(), Some("second"), "both, or neither");
        assert_eq!(running.generation(), 2);
    });
}

#[test]
fn behaviour_12_a_role_that_is_taken_away_and_given_back() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first")]);
        cluster.create(Of::ConfigMap, "more", &[("OPT", "first")]);
        let both = [(Of::Secret, "app"), (Of::ConfigMap, "more")];
        cluster.grant(&both);
        let running = Shop::new(cluster, &format!("{APP}\nconfig_maps = [\"more\"]")).ready();
        // One of the two: the other goes on.
        cluster.grant_verbs(&[(Of::ConfigMap, "more")], &["get", "list", "watch"]);
        cluster.wait_until_it_may_not(Of::Secret, "app");
        cluster.set(Of::Secret, "app", &[("TOKEN", "unseen")]);
        running.becomes("down");
        let line = running.daemon.says("DLC051");
        assert!(line.contains("secrets `app`"), "{line}");
        assert!(["get", "list", "watch"].iter().all(|verb| line.contains(verb)), "{line}");
        cluster.set(Of::ConfigMap, "more", &[("OPT", "second")]);
        running.delivers("OPT", "second");
        assert_eq!(
            (running.value("TOKEN").as_deref(), running.state("TOKEN")),
            (Some("first"), "held".into())
        );
        assert!(!running.log().contains("deleted"), "{}", running.log());
        cluster.grant(&both);
        running.delivers_within(Duration::from_secs(40), "TOKEN", "unseen");
        running.becomes("up");
    });
}

#[test]
fn behaviour_12_without_rights_at_start_every_missing_one_is_named() {
    everywhere(|cluster| {
        cluster.create(Of::Secret, "app", &[("TOKEN", "first")]);
        cluster.grant_verbs(&[(Of::Secret, "app")], &["get"]);
        let shop = Shop::new(cluster, &format!("{APP}\ndeadline = \"2s\""));
        // One-shot commands only read.
        shop.run(&["get", "--local", "TOKEN"]).exits(0).says("first");
        let running = shop.start();
        let line = running.daemon.says("DLC051");
        assert!(line.contains("list or watch") && line.contains("`app`"), "{line}");
        cluster.grant_verbs(&[(Of::Secret, "app")], &[]);
        let ran = running.run(&["check", "--format", "json"]).exits(3);
        assert_eq!(ran.findings(), ["DLC051 - error"]);
        ran.says("get, list or watch");
    });
}

/// As a Secret is mounted: files that lead through `..data`. Lost events are covered by
/// `file_watch::without_inotify_files_are_looked_at_again_and_again`.
#[test]
fn behaviour_13_a_mounted_secret_is_followed_through_its_symbolic_links() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SCHEMA);
    let source = "environment = \"production\"\norder = [\"mount\"]\n\
                  [source.mount]\ntype = \"directory\"\npath = \"mount\"\n";
    folder.file("dlconf.toml", &format!("{source}{REST}"));
    // The kubelet's way: a new folder, and one rename that exchanges the link to it.
    let publish = |revision: u32, token: &str| {
        let (of, mount) = (format!("..2026_{revision}"), folder.join("mount"));
        folder.file(&format!("mount/{of}/TOKEN"), token).file(&format!("mount/{of}/A"), token);
        symlink(&of, mount.join("..data_tmp")).unwrap();
        std::fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
        for name in ["TOKEN", "A"] {
            let _there_already = symlink(format!("..data/{name}"), mount.join(name));
        }
        if revision > 1 {
            std::fs::remove_dir_all(mount.join(format!("..2026_{}", revision - 1))).unwrap();
        }
    };
    publish(1, "first");
    let daemon = Daemon::ready(&folder);
    let delivered = |value: &str| {
        wait_for(
            value,
            || daemon.lines().join("\n"),
            || {
                let file: BTreeMap<String, String> = serde_json::from_str(&folder.read("app.json")).unwrap();
                assert_eq!(file["TOKEN"], file["A"], "half of one and half of another");
                (file["TOKEN"] == value).then_some(())
            },
        );
    };
    delivered("first");
    for (revision, value) in [(2, "second"), (3, "third")] {
        publish(revision, value);
        delivered(value);
    }
    assert_eq!(daemon.status()["generation"], 3, "each swap is one: {}", daemon.lines().join("\n"));
}

#[test]
fn behaviour_14_what_is_not_named_never_triggers() {
    everywhere(|cluster| {
        app(cluster, &[("TOKEN", "first"), ("B", "not taken")]);
        cluster.create(Of::Secret, "other", &[("TOKEN", "other")]);
        // It may; it has no reason to.
        cluster.grant(&[(Of::Secret, "app"), (Of::Secret, "other")]);
        let running = Shop::new(cluster, "secrets = [{ name = \"app\", only = [\"TOKEN\", \"A\"] }]").ready();
        let trace = running.trace();
        cluster.set(Of::Secret, "other", &[("TOKEN", "changed")]);
        cluster.set(Of::Secret, "app", &[("TOKEN", "first"), ("B", "changed")]);
        cluster.delete(Of::Secret, "other");
        assert_eq!(running.trace(), trace);
        cluster.set(Of::Secret, "app", &[("TOKEN", "first"), ("A", "fence")]);
        running.delivers("A", "fence");
        assert_eq!(running.generation(), 2, "the fence alone: {}", running.log());
        if let Some(fake) = cluster.recorder() {
            let dlconf = fake.seen().into_iter().filter(|seen| seen.user_agent.starts_with("dlconf/"));
            let asked: BTreeSet<String> =
                dlconf.map(|seen| format!("{}/{}", seen.resource, seen.name)).collect();
            assert_eq!(asked, BTreeSet::from(["secrets/app".to_owned()]));
        }
    });
}
