//! Acknowledgements in Leases: said, heard, disputed, given up; and the fleet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use dlconf::kubernetes::{Name as LeaseName, Server};
use dlconf::model::key::Key;
use dlconf::rotation::board::{Board, NotSaid, Publisher, SaidOfInstance, Standing};
use dlconf::rotation::consumers::{Acknowledgement, Name, Use};
use dlconf::rotation::estate::Hearing as _;
use dlconf::status::ChildHealth;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::cluster::{Cluster, PATIENCE, block_on, everywhere};
use super::fake::Fault;
use crate::program::{Folder, SMALL_SCHEMA};

/// What a board told of trouble.
type Told = Arc<Mutex<Vec<String>>>;

fn board(cluster: &Cluster, holder: &str) -> (Arc<Board>, Told) {
    let server = Server::Kubeconfig { files: vec![cluster.kubeconfig()], context: None, trusted: true };
    let told = Told::default();
    let tell = {
        let told = Arc::clone(&told);
        Arc::new(move |words: dlconf::telemetry::Words| told.lock().unwrap().push(words.message))
    };
    let board = Board::new(server, LeaseName::object("acks").unwrap(), holder, tell).unwrap();
    (Arc::new(board), told)
}

fn said(instance: &str, kid: &str) -> SaidOfInstance {
    let name = |text: &str| Name::new(text).unwrap();
    let used = Use { verifies: vec![name(kid)], signs: None };
    SaidOfInstance {
        consumer: "api".into(),
        uid: 1000,
        said: Acknowledgement {
            instance: name(instance),
            runs: BTreeMap::from([(key(), used)]),
            version: name("7f3a.42"),
            health: Some(ChildHealth::Healthy),
        },
        current: true,
    }
}

fn key() -> Key {
    Key::new("JWT_SECRET").unwrap()
}

fn leases(cluster: &Cluster) -> String {
    format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", cluster.namespace)
}

/// What `dlconf rbac --acknowledge` prints, with `--rotate` or without.
fn permit(cluster: &Cluster, verbs: &[&str]) {
    let rules = json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs }]);
    let role = json!({ "metadata": { "name": "reader" }, "rules": rules });
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", cluster.namespace);
    cluster.admin.post(&path, &role).fine();
}

const SAYS: [&str; 3] = ["get", "create", "update"];
const HEARS: [&str; 5] = ["get", "create", "update", "list", "delete"];

/// Says it as soon as a real server believes its Roles.
async fn says(board: &Board, said: &SaidOfInstance) {
    let patient = async {
        while let Err(why) = board.say(said).await {
            assert!(matches!(&why, NotSaid::Away { help, .. } if help.contains("rbac")), "{why:?}");
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, patient).await.expect("it is permitted");
}

/// `a [k1]`, …
async fn heard(board: &Board) -> Result<Vec<String>, String> {
    let heard = board.heard(&key()).await?;
    let kids = |kids: &[dlconf::model::rotation::Kid]| {
        kids.iter().map(|kid| kid.as_str().to_owned()).collect::<Vec<_>>().join(",")
    };
    let mut heard: Vec<String> =
        heard.iter().map(|heard| format!("{} [{}]", heard.instance, kids(&heard.verifies))).collect();
    heard.sort();
    Ok(heard)
}

async fn until_heard(board: &Board, expected: &[&str]) {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let heard = heard(board).await;
        if heard.as_ref().is_ok_and(|heard| heard == expected) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{heard:?}, not {expected:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn what_two_daemons_say_is_heard_by_a_third_until_they_give_it_up() {
    everywhere(|cluster| {
        permit(cluster, &HEARS);
        block_on(async {
            let ((one, _), (other, _), (hears, told)) =
                (board(cluster, "node-1"), board(cluster, "node-2"), board(cluster, "node-3"));
            says(&one, &said("a", "k1")).await;
            says(&other, &said("b", "k1")).await;
            until_heard(&hears, &["a [k1]", "b [k1]"]).await;
            let list = cluster.admin.get(&leases(cluster)).fine();
            let lease = &list["items"][0];
            assert!(lease["metadata"]["name"].as_str().unwrap().starts_with("acks-api-"), "{lease}");
            assert_eq!(lease["metadata"]["labels"]["dlconf.dev/acknowledgement"], "acks");
            assert_eq!(lease["spec"]["leaseDurationSeconds"], 300);
            // What others keep in it stays.
            let path = format!("{}/{}", leases(cluster), lease["metadata"]["name"].as_str().unwrap());
            cluster.admin.merge(&path, &json!({ "metadata": { "labels": { "team": "x" } } })).fine();
            one.say(&said("a", "k2")).await.unwrap();
            other.say(&said("b", "k2")).await.unwrap();
            until_heard(&hears, &["a [k2]", "b [k2]"]).await;
            assert_eq!(cluster.admin.get(&path).fine()["metadata"]["labels"]["team"], "x");
            one.forget(&said("a", "k2")).await.unwrap();
            until_heard(&hears, &["b [k2]"]).await;
            assert_eq!(told.lock().unwrap().len(), 0, "{told:?}");
        });
    });
}

#[test]
fn an_instance_has_one_voice() {
    everywhere(|cluster| {
        permit(cluster, &HEARS);
        block_on(async {
            let ((one, _), (other, _)) = (board(cluster, "node-1"), board(cluster, "node-2"));
            says(&one, &said("a", "k1")).await;
            let foreign = Err(NotSaid::Foreign { holder: Some("node-1".into()) });
            assert_eq!(other.say(&said("a", "k2")).await, foreign);
            // Not theirs, so it is not given up either.
            other.forget(&said("a", "k2")).await.unwrap();
            until_heard(&other, &["a [k1]"]).await;
            // The same machine, started anew.
            let (again, _) = board(cluster, "node-1");
            again.say(&said("a", "k3")).await.unwrap();
            // The first one's version is not the newest any more.
            one.say(&said("a", "k4")).await.unwrap();
            until_heard(&other, &["a [k4]"]).await;
            one.forget(&said("a", "k4")).await.unwrap();
            other.say(&said("a", "k2")).await.unwrap();
            until_heard(&one, &["a [k2]"]).await;
        });
    });
}

/// A Lease of the board with this note, renewed so long ago.
fn foreign(name: &str, note: &str, ago: Duration, seconds: u64) -> Value {
    let at = chrono::DateTime::<chrono::Utc>::from(SystemTime::now() - ago);
    json!({
        "metadata": {
            "name": name,
            "labels": { "dlconf.dev/acknowledgement": "acks" },
            "annotations": { "dlconf.dev/said": note },
        },
        "spec": {
            "holderIdentity": "somebody", "leaseDurationSeconds": seconds,
            "renewTime": at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        },
    })
}

#[test]
fn what_cannot_be_understood_blocks_loudly_and_what_is_no_acknowledgement_does_not() {
    everywhere(|cluster| {
        permit(cluster, &HEARS);
        block_on(async {
            let ((one, _), (hears, told)) = (board(cluster, "node-1"), board(cluster, "node-2"));
            says(&one, &said("a", "k1")).await;
            let mut stranger = foreign("other", "{}", Duration::ZERO, 300);
            stranger["metadata"]["labels"] = json!({ "dlconf.dev/acknowledgement": "theirs" });
            cluster.admin.post(&leases(cluster), &stranger).fine();
            until_heard(&hears, &["a [k1]"]).await;
            cluster.admin.post(&leases(cluster), &foreign("acks-x", "{}", Duration::ZERO, 300)).fine();
            let end = tokio::time::Instant::now() + PATIENCE;
            while heard(&hears).await.is_ok() {
                assert!(tokio::time::Instant::now() < end, "it never blocks");
                sleep(Duration::from_millis(100)).await;
            }
            assert!(heard(&hears).await.unwrap_err().contains("acks-x"));
            assert!(told.lock().unwrap()[0].contains("acks-x cannot be understood"), "{told:?}");
        });
    });
}

#[test]
fn what_lapsed_long_ago_is_deleted_by_whoever_rotates_and_what_is_fresh_is_not() {
    everywhere(|cluster| {
        permit(cluster, &HEARS);
        let note = r#"{"consumer":"api","instance":"gone","uid":1,"version":"a.1","current":true,"runs":{}}"#;
        for (name, ago) in [("acks-old", Duration::from_hours(25)), ("acks-late", Duration::from_mins(5))] {
            cluster.admin.post(&leases(cluster), &foreign(name, note, ago, 1)).fine();
        }
        block_on(async {
            let (hears, _) = board(cluster, "node-1");
            let names = || -> Vec<String> {
                let list = cluster.admin.get(&leases(cluster)).fine();
                let names = list["items"].as_array().unwrap().iter();
                names.map(|lease| lease["metadata"]["name"].as_str().unwrap().to_owned()).collect()
            };
            let swept = async {
                while names().len() > 1 {
                    // As whoever rotates waits.
                    let _moved = timeout(Duration::from_secs(6), hears.moved()).await;
                }
            };
            timeout(PATIENCE + PATIENCE, swept).await.expect("it is deleted");
            assert_eq!(names(), ["acks-late"]);
            let entries = hears.all().await.unwrap();
            assert!(entries.iter().all(|entry| entry.standing == Standing::Lapsed), "{entries:?}");
        });
    });
}

#[test]
fn whatever_is_known_here_is_published_and_given_up_when_it_lapses_here() {
    everywhere(|cluster| {
        permit(cluster, &HEARS);
        block_on(async {
            let ((publishes, _), (hears, _)) = (board(cluster, "node-1"), board(cluster, "node-2"));
            let (known, receive) = watch::channel(vec![said("a", "k1")]);
            let never = Publisher::new(publishes, receive).run();
            let story = async {
                until_heard(&hears, &["a [k1]"]).await;
                known.send_replace(vec![said("a", "k2"), said("b", "k1")]);
                until_heard(&hears, &["a [k2]", "b [k1]"]).await;
                known.send_replace(vec![said("b", "k1")]);
                until_heard(&hears, &["b [k1]"]).await;
                known.send_replace(vec![said("a", "k3"), said("b", "k1")]);
                until_heard(&hears, &["a [k3]", "b [k1]"]).await;
            };
            tokio::select! { never = never => match never {}, () = story => {} }
            if let Some(fake) = cluster.recorder() {
                let is_write = |verb: &str| ["create", "update"].contains(&verb);
                let seen = fake.seen();
                let writes =
                    seen.iter().filter(|seen| seen.resource == "leases" && is_write(seen.verb)).count();
                assert_eq!(writes, 5, "what did not change is not said again at once");
            }
        });
    });
}

#[test]
fn an_outage_is_survived_and_told_once() {
    let cluster = Cluster::fake();
    permit(&cluster, &HEARS);
    block_on(async {
        let ((publishes, told), (hears, _)) = (board(&cluster, "node-1"), board(&cluster, "node-2"));
        let fake = cluster.faults();
        fake.fail("create leases/", [Fault::Status(503), Fault::Status(503), Fault::CutAfter(10)]);
        let (_known, receive) = watch::channel(vec![said("a", "k1")]);
        let never = Publisher::new(publishes, receive).run();
        tokio::select! { never = never => match never {}, () = until_heard(&hears, &["a [k1]"]) => {} }
        let told = told.lock().unwrap().clone();
        assert!(told[0].contains("what a of api runs is not told to whoever rotates"), "{told:?}");
        assert!(told.iter().filter(|told| told.contains("503")).count() <= 1, "{told:?}");
        fake.fail_always("list leases/", Fault::Close);
        sleep(Duration::from_millis(2100)).await;
        assert!(heard(&hears).await.unwrap_err().contains("cannot be read"));
    });
}

#[test]
fn who_only_says_may_not_hear_and_is_told_so() {
    everywhere(|cluster| {
        permit(cluster, &SAYS);
        block_on(async {
            let (one, _) = board(cluster, "node-1");
            says(&one, &said("a", "k1")).await;
            one.forget(&said("a", "k1")).await.unwrap();
            assert!(one.all().await.unwrap_err().help.contains("dlconf rbac --acknowledge"));
        });
    });
}

#[test]
fn the_fleet_shows_every_replica() {
    everywhere(|cluster| {
        permit(cluster, &HEARS);
        block_on(async {
            let (one, _) = board(cluster, "node-1");
            says(&one, &said("a", "k1")).await;
            let mut down = said("b", "k1");
            (down.said.health, down.said.runs) = (Some(ChildHealth::Failed), BTreeMap::new());
            says(&one, &down).await;
        });
        let note = r#"{"consumer":"api","instance":"gone","uid":1,"version":"a.1","current":true,"runs":{}}"#;
        cluster.admin.post(&leases(cluster), &foreign("acks-late", note, Duration::from_mins(5), 60)).fine();
        let (folder, kubeconfig) = (Folder::new(), cluster.kubeconfig());
        let environment = [("KUBECONFIG", kubeconfig.to_str().unwrap())];
        let fleet = ["status", "--fleet", "--leases", "acks"];
        let shown = folder.run_with(&fleet, &environment).exits(0);
        let shown = shown.says("3 replicas").says(&format!("leases/acks in namespace {}", cluster.namespace));
        let shown = shown.says("api a").says("healthy").says("JWT_SECRET verifies k1");
        let lines: Vec<&str> = shown.stdout.lines().collect();
        assert!(lines[1].contains("failed") && lines[1].contains("api b"), "{lines:?}");
        assert!(lines.last().unwrap().contains("lapsed"), "{lines:?}");
        let document = folder.run_with(&[&fleet[..], &["--format", "json"]].concat(), &environment).exits(0);
        let document: Value = serde_json::from_str(&document.stdout).unwrap();
        assert_eq!(document["replicas"].as_array().unwrap().len(), 3);
        let nobody = Folder::new();
        nobody
            .run_with(&fleet, &[("KUBECONFIG", "/nowhere/kubeconfig")])
            .exits(3)
            .warns("/nowhere/kubeconfig");
        nobody.run_with(&["status", "--leases", "acks"], &environment).exits(2);
        // What the settings say needs no option.
        let settings = "environment = \"production\"\n[source.env]\ntype = \"env\"\n";
        folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", settings);
        let fleet = ["--config", "dlconf.toml", "status", "--fleet"];
        folder.run_with(&fleet, &environment).exits(2).warns("--leases PREFIX");
        let rotation = "[rotation]\nacknowledgements = \"leases/acks\"\n";
        folder.file("dlconf.toml", &format!("{settings}{rotation}"));
        folder.run_with(&fleet, &environment).exits(0).says("3 replicas");
    });
}
