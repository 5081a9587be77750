//! A Secret that is written: what is written, and what never is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dlconf::kubernetes::{Kind, Name, Server};
use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::{Layer, Value as Offered};
use dlconf::model::rotation::{FIELD, KeyNote, Kid, Phase, Print, Progress, Slot};
use dlconf::source::fields::Select;
use dlconf::source::kubernetes::KubernetesSource;
use dlconf::source::kubernetes::config::{Config, Spec};
use dlconf::source::writable::{Change, Document, WritableSource as _, WriteError, WriteErrorKind};
use dlconf::source::{Ask, Source as _};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::cluster::{Cluster, Of, PATIENCE, block_on, everywhere};
use super::fake::Fault;

const WRITES: [&str; 4] = ["get", "list", "watch", "patch"];

/// A source of a Secret, or of another object, `app`, which was read.
async fn source(cluster: &Cluster, kind: Kind) -> KubernetesSource {
    let spec =
        Spec { kind, name: Name::object("app").unwrap(), select: Select::default(), base64: Vec::new() };
    let config = Config {
        server: Server::Kubeconfig { files: vec![cluster.kubeconfig()], context: None, trusted: true },
        namespace: None,
        objects: vec![spec],
        required: true,
        timeout: Duration::from_secs(5),
        deadline: Duration::from_secs(10),
    };
    let source = KubernetesSource::new(SourceName::new("cluster"), config);
    fetched(&source).await;
    source
}

async fn fetched(source: &KubernetesSource) -> Layer {
    let known: BTreeSet<Key> = BTreeSet::new();
    source.fetch(Ask { known: &known, names_only: false, retry: true }).await.unwrap()
}

fn token() -> Key {
    Key::new("TOKEN").unwrap()
}

/// The variables with their values and the names of their keys.
fn told(layer: &Layer) -> BTreeMap<String, (String, Option<String>)> {
    let offer = |offer: &dlconf::model::layer::Offer| {
        let Offered::Literal(value) = &offer.value else { panic!("a template") };
        let kid = offer.origin.mark.as_ref().map(|mark| mark.kid.as_str().to_owned());
        (offer.key.to_string(), (value.expose().to_owned(), kid))
    };
    layer.offers.iter().map(offer).collect()
}

/// To the key `new` beside the one that is there.
fn staged(take_over: bool) -> Change {
    let note = |kid: &str, value: &str| {
        let kid = Kid::new(kid).unwrap();
        KeyNote { print: Some(Print::of(&kid, &value.into())), kid, not_before: None, rest: Map::new() }
    };
    let keys = [(Slot::Current, note("initial", "old")), (Slot::Next, note("k1", "new"))];
    let progress =
        Progress { phase: Phase::Staged, take_over, keys: keys.into(), count: 1, ..Progress::default() };
    Change { set: vec![(Slot::Next, Arc::new("new".into()))], remove: Vec::new(), progress }
}

fn create(cluster: &Cluster, metadata: Value, more: Value) {
    let mut document = json!({
        "metadata": { "name": "app" },
        "data": { "TOKEN": STANDARD.encode("old"), "OTHER": STANDARD.encode(" o\n"), "BYTES": "//79" },
    });
    for (part, from) in [(None, more), (Some("metadata"), metadata)] {
        let into = match part {
            Some(part) => document[part].as_object_mut().unwrap(),
            None => document.as_object_mut().unwrap(),
        };
        into.extend(from.as_object().cloned().unwrap_or_default());
    }
    cluster.create_raw(Of::Secret, &document);
}

/// A cluster's Secret that may be written.
fn secret(cluster: &Cluster) {
    create(cluster, json!({}), json!({}));
    cluster.grant_verbs(&[(Of::Secret, "app")], &WRITES);
}

fn there(cluster: &Cluster) -> Value {
    cluster.admin.get(&cluster.path(Of::Secret, "app")).fine()
}

async fn opened(source: &KubernetesSource) -> Document {
    source.open(&token()).await.unwrap()
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T, WriteError>, kind: WriteErrorKind, words: &[&str]) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, kind, "{error:?}");
    for words in words {
        assert!(format!("{} {}", error.message, error.help).contains(words), "{words}: {error:?}");
    }
}

#[test]
fn it_writes_what_it_names_and_nothing_else() {
    everywhere(|cluster| {
        create(cluster, json!({ "labels": { "team": "a" }, "annotations": { "note": "b" } }), json!({}));
        cluster.grant_verbs(&[(Of::Secret, "app")], &WRITES);
        block_on(async {
            let source = source(cluster, Kind::Secret).await;
            let document = opened(&source).await;
            assert_eq!((&*document.field, document.progress()), ("TOKEN", None));
            assert_eq!(*document.place, format!("k8s:{}/secret/app", cluster.namespace));
            assert_eq!(document.values.keys().collect::<Vec<_>>(), [&Slot::Current]);
            assert_eq!(&*document.revision.0, cluster.version(Of::Secret, "app"));
            let skew = document.server_time.unwrap().duration_since(SystemTime::now());
            assert!(skew.unwrap_or_else(|back| back.duration()) < Duration::from_mins(1));

            let before = there(cluster);
            let written = source.write(&document, &staged(false)).await.unwrap();
            assert_eq!(&*written.0, cluster.version(Of::Secret, "app"));
            let after = there(cluster);
            let mut data = after["data"].clone();
            let state = data.as_object_mut().unwrap().remove(FIELD).expect("the state, in the same write");
            assert!(
                !String::from_utf8(STANDARD.decode(state.as_str().unwrap()).unwrap())
                    .unwrap()
                    .contains("new")
            );
            assert_eq!(
                data.as_object_mut().unwrap().remove("TOKEN_NEXT"),
                Some(json!(STANDARD.encode("new")))
            );
            assert_eq!(data, before["data"]);
            for part in ["labels", "annotations"] {
                assert_eq!(after["metadata"][part], before["metadata"][part]);
            }

            // Nobody had to tell the source.
            timeout(PATIENCE, source.changed()).await.expect("it looks by itself");
            let told = told(&fetched(&source).await);
            assert_eq!(told["TOKEN"], ("old".into(), Some("initial".into())));
            assert_eq!(told["TOKEN_NEXT"], ("new".into(), Some("k1".into())));
            assert!(!told.contains_key(FIELD), "{told:?}");

            let document = opened(&source).await;
            assert_eq!(document.progress().unwrap().phase, Phase::Staged);
            let change = Change {
                set: vec![(Slot::Current, Arc::new("new".into()))],
                remove: vec![Slot::Next, Slot::Previous],
                progress: Progress::default(),
            };
            source.write(&document, &change).await.unwrap();
            let document = opened(&source).await;
            assert_eq!(document.values.len(), 1);
            assert_eq!(document.values[&Slot::Current].expose(), "new");
            assert!(source.before(&document, &token()).await.unwrap().is_none());
        });
    });
}

#[test]
fn what_somebody_else_wrote_meanwhile_is_never_written_over() {
    everywhere(|cluster| {
        secret(cluster);
        block_on(async {
            let (one, other) = (source(cluster, Kind::Secret).await, source(cluster, Kind::Secret).await);
            let document = opened(&one).await;
            cluster.label(Of::Secret, "app", "theirs");
            let before = there(cluster);
            fails(one.write(&document, &staged(false)).await, WriteErrorKind::Conflict, &["secret/app"]);
            assert_eq!(there(cluster)["data"], before["data"]);
            // Two at the same time, each with all that it needs: one is told by the server.
            for round in 0..5 {
                let (a, b) = (opened(&one).await, opened(&other).await);
                // Equal content would be no new version.
                let of = |count| {
                    let change = staged(false);
                    Change { progress: Progress { count, ..change.progress }, ..change }
                };
                let (change, same) = (of(100 + round), of(200 + round));
                let (a, b) = tokio::join!(one.write(&a, &change), other.write(&b, &same));
                let lost: Vec<WriteError> = [a, b].into_iter().filter_map(Result::err).collect();
                assert_eq!(lost.len(), 1, "{lost:?}");
                assert_eq!(lost[0].kind, WriteErrorKind::Conflict, "{lost:?}");
            }
        });
    });
}

#[test]
fn another_secret_of_the_same_name_is_another_document() {
    everywhere(|cluster| {
        secret(cluster);
        block_on(async {
            let source = source(cluster, Kind::Secret).await;
            let document = opened(&source).await;
            cluster.delete(Of::Secret, "app");
            fails(source.write(&document, &staged(false)).await, WriteErrorKind::Unusable, &["is not there"]);
            create(cluster, json!({}), json!({}));
            fails(source.write(&document, &staged(false)).await, WriteErrorKind::Conflict, &[]);
            assert_eq!(there(cluster)["data"].get("TOKEN_NEXT"), None);
        });
    });
}

#[test]
fn what_a_controller_owns_is_taken_over_by_name_only() {
    everywhere(|cluster| {
        create(cluster, json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } }), json!({}));
        cluster.grant_verbs(&[(Of::Secret, "app")], &WRITES);
        block_on(async {
            let source = source(cluster, Kind::Secret).await;
            let document = opened(&source).await;
            let words = ["belongs to Helm", "--take-over", "writes over it"];
            fails(source.write(&document, &staged(false)).await, WriteErrorKind::Owned, &words);
            assert_eq!(there(cluster)["data"].get("TOKEN_NEXT"), None);
            source.write(&document, &staged(true)).await.unwrap();
            assert!(there(cluster)["data"].get("TOKEN_NEXT").is_some());
        });
    });
}

#[test]
fn who_applies_a_key_on_a_real_server_owns_that_key() {
    let Some(cluster) = Cluster::real() else { return };
    secret(&cluster);
    let applied = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "app" },
        "data": { "TOKEN_NEXT": STANDARD.encode("theirs") },
    });
    let path = format!("{}?fieldManager=deployer&force=true", cluster.path(Of::Secret, "app"));
    let headers = [("content-type", "application/apply-patch+yaml")];
    cluster.admin.ask("PATCH", &path, &headers, applied.to_string().as_bytes()).unwrap().fine();
    block_on(async {
        let source = source(&cluster, Kind::Secret).await;
        let document = opened(&source).await;
        fails(
            source.write(&document, &staged(false)).await,
            WriteErrorKind::Owned,
            &["deployer, which applies it"],
        );
        // Another key of it is nobody's.
        let change = Change { set: vec![(Slot::Current, Arc::new("x".into()))], ..staged(false) };
        source.write(&document, &change).await.unwrap();
    });
}

#[test]
fn a_write_whose_answer_is_lost_may_have_happened() {
    let cluster = Cluster::fake();
    secret(&cluster);
    block_on(async {
        let source = source(&cluster, Kind::Secret).await;
        for (fault, happens) in
            [(Fault::Close, false), (Fault::Status(503), false), (Fault::CutAfter(10), true)]
        {
            let document = opened(&source).await;
            cluster.faults().fail("patch secrets/app", [fault.clone()]);
            fails(source.write(&document, &staged(false)).await, WriteErrorKind::Unavailable, &["https://"]);
            let again = opened(&source).await;
            assert_eq!(again.values.contains_key(&Slot::Next), happens, "{fault:?}");
            assert_eq!(again.revision != document.revision, happens, "{fault:?}");
        }
        cluster.faults().stop();
        fails(source.open(&token()).await, WriteErrorKind::Unavailable, &["refuses connections"]);
    });
}

#[test]
fn what_may_not_be_written_says_what_is_missing() {
    everywhere(|cluster| {
        create(cluster, json!({}), json!({}));
        cluster.grant(&[(Of::Secret, "app")]);
        block_on(async {
            let source = source(cluster, Kind::Secret).await;
            let document = opened(&source).await;
            let words = ["may not patch", "secret/app", "dlconf rbac --rotate"];
            fails(source.write(&document, &staged(false)).await, WriteErrorKind::Refused, &words);
        });
    });
}

#[test]
fn what_cannot_be_written_at_all_is_refused_when_it_is_opened() {
    everywhere(|cluster| {
        create(cluster, json!({}), json!({ "immutable": true }));
        cluster.create(Of::ConfigMap, "app", &[("TOKEN", "plain")]);
        cluster.grant_verbs(&[(Of::Secret, "app"), (Of::ConfigMap, "app")], &WRITES);
        block_on(async {
            let frozen = source(cluster, Kind::Secret).await;
            fails(frozen.open(&token()).await, WriteErrorKind::Refused, &["secret/app is immutable"]);
            let other = Key::new("NOBODY").unwrap();
            fails(frozen.open(&other).await, WriteErrorKind::Unusable, &["NOBODY"]);
            let map = source(cluster, Kind::ConfigMap).await;
            fails(
                map.open(&token()).await,
                WriteErrorKind::Refused,
                &["configmap/app", "move it into a Secret"],
            );
        });
    });
}

#[test]
fn a_secret_becomes_immutable_or_its_state_unclear_before_it_is_written() {
    everywhere(|cluster| {
        secret(cluster);
        block_on(async {
            let source = source(cluster, Kind::Secret).await;
            let path = cluster.path(Of::Secret, "app");
            let state = json!({ "data": { FIELD: STANDARD.encode("{\"version\":2}") } });
            cluster.admin.merge(&path, &state).fine();
            let words = ["DLCONF_STATE", "a later release's"];
            fails(source.open(&token()).await, WriteErrorKind::Unusable, &words);
            cluster.admin.merge(&path, &json!({ "data": { FIELD: null } })).fine();
            let document = opened(&source).await;
            cluster.admin.merge(&path, &json!({ "immutable": true })).fine();
            fails(source.write(&document, &staged(false)).await, WriteErrorKind::Conflict, &[]);
        });
    });
}
