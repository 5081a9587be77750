//! What `dlconf doctor` says of a Kubernetes source.

use serde_json::{Value, json};

use super::cluster::{Cluster, Of, everywhere};
use super::fake::Fault;
use super::shop::Shop;
use crate::bao::poll;
use crate::program::Ran;

/// What it says of the source: what, how, and in words.
fn observed(shop: &Shop) -> Vec<(String, String, String)> {
    let ran: Ran = shop.run(&["doctor", "--format", "json"]).never_says("canary");
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let source = told["sources"].as_array().unwrap().iter().find(|source| source["name"] == "config");
    let observations = source.unwrap()["observations"].as_array().unwrap().clone();
    let text = |one: &Value, field: &str| one[field].as_str().unwrap_or_default().to_owned();
    observations.iter().map(|one| (text(one, "what"), text(one, "state"), text(one, "detail"))).collect()
}

#[track_caller]
fn says(shop: &Shop, what: &str, state: &str, detail: &str) {
    // A right counts when the server has heard of it.
    let said = || {
        let told = observed(shop);
        let found = told.iter().any(|(a, b, c)| a.contains(what) && b == state && c.contains(detail));
        found.then_some(())
    };
    assert!(poll(said).is_some(), "{what} {state} {detail}: {:#?}", observed(shop));
}

fn app(cluster: &Cluster) -> Shop {
    cluster.create(Of::Secret, "app", &[("TOKEN", "canary")]);
    cluster.grant(&[(Of::Secret, "app")]);
    Shop::new(cluster, "secrets = [\"app\"]")
}

#[test]
fn all_is_well() {
    everywhere(|cluster| {
        let shop = app(cluster);
        let reader = format!("we are system:serviceaccount:{}:reader; the token ends in ", cluster.namespace);
        says(&shop, &format!("https://{}", cluster.admin.host), "fine", ", verified by TLS");
        says(&shop, "login", "fine", &reader);
        says(&shop, &format!("namespace {}", cluster.namespace), "fine", "not read other Secrets");
        says(&shop, &format!("k8s:{}/secret/app", cluster.namespace), "fine", "permitted");
        shop.run(&["doctor"]).exits(0).never_says("canary");
        // The object's values were asked of nobody.
        if let Some(fake) = cluster.recorder() {
            assert!(
                !fake.seen().iter().any(|seen| seen.verb == "get" && seen.resource == "secrets"),
                "it was read"
            );
        }
    });
}

#[test]
fn more_than_is_needed_is_said() {
    everywhere(|cluster| {
        let shop = app(cluster);
        let path =
            format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles/reader", cluster.namespace);
        let all = json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"] }]);
        cluster.admin.put(&path, &json!({ "metadata": { "name": "reader" }, "rules": all })).fine();
        says(&shop, "namespace ", "degraded", "we may get and list every Secret of it");
        shop.run(&["doctor", "--format", "json"])
            .exits(0)
            .says("`dlconf rbac` prints the Role that is enough");
    });
}

#[test]
fn a_copy_that_apply_left_is_said_and_not_shown() {
    everywhere(|cluster| {
        let shop = app(cluster);
        cluster.apply(Of::Secret, "app", &[("TOKEN", "canary")]);
        says(&shop, "secret/app", "degraded", "`kubectl apply` keeps a copy of its values");
        shop.run(&["doctor"]).exits(0).never_says("canary").never_says("Y2FuYXJ5");
    });
}

#[test]
fn what_is_not_there_is_wrong_unless_it_is_excused() {
    everywhere(|cluster| {
        let _app = app(cluster);
        cluster.grant(&[(Of::Secret, "absent")]);
        let shop = Shop::new(cluster, "secrets = [\"absent\"]");
        says(&shop, "secret/absent", "wrong", "it is not there");
        shop.run(&["doctor"]).exits(1);
        let shop = Shop::new(cluster, "secrets = [\"absent\"]\nrequired = false");
        says(&shop, "secret/absent", "fine", "need not be");
        shop.run(&["doctor"]).exits(0);
    });
}

#[test]
fn who_is_not_known_is_told_so() {
    everywhere(|cluster| {
        let shop = app(cluster);
        cluster.folder().file("token", "canary");
        let told = observed(&shop);
        assert_eq!(told.len(), 1, "nothing else can be asked: {told:#?}");
        assert!(
            told[0].1 == "wrong" && told[0].2.contains("does not accept our credentials (401)"),
            "{told:#?}"
        );
        shop.run(&["doctor"]).exits(1);
    });
}

#[test]
fn a_server_that_is_away_cannot_be_read() {
    let cluster = Cluster::fake();
    let shop = app(&cluster);
    cluster.faults().fail_always("* *", Fault::Status(503));
    let told = observed(&shop);
    assert_eq!((told.len(), &*told[0].1), (1, "unreadable"), "{told:#?}");
    shop.run(&["doctor"]).exits(3);
}
