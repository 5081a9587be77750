//! A service account with the Role that `dlconf rbac` prints can do what the settings
//! need, and nothing beside it.

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value, json};

use super::cluster::{Cluster, Of, everywhere};
use super::shop::Shop;
use crate::bao::poll;

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces";

/// The settings of a source with one object of each kind.
fn lines(cluster: &Cluster) -> String {
    format!("namespace = \"{}\"\nsecrets = [\"app\"]\nconfig_maps = [\"app\"]", cluster.namespace)
}

/// Two objects that it reads, and a stranger's.
fn scene(cluster: &Cluster) -> Shop {
    cluster.create(Of::Secret, "app", &[("TOKEN", "first")]);
    cluster.create(Of::ConfigMap, "app", &[("OPT", "plain")]);
    cluster.create(Of::Secret, "stranger", &[("TOKEN", "theirs")]);
    Shop::new(cluster, &lines(cluster))
}

/// What `dlconf rbac` prints for the account that the tests have.
fn printed(shop: &Shop, options: &[&str]) -> Vec<Value> {
    let account = ["rbac", "--service-account", "reader"];
    let text = shop.run(&[&account, options].concat()).exits(0).stdout;
    documents(&text)
}

/// YAML as JSON: mappings, sequences and quoted texts are all that there may be.
fn documents(text: &str) -> Vec<Value> {
    type Events<'t> = Parser<'t, saphyr_parser::StrInput<'t>>;
    fn next<'t>(parser: &mut Events<'t>) -> Event<'t> {
        parser.next_event().expect("more").expect("YAML").0
    }
    fn value<'t>(parser: &mut Events<'t>, event: Event<'t>) -> Value {
        match event {
            Event::Scalar(text, style, ..) => {
                let plain = style == saphyr_parser::ScalarStyle::Plain;
                assert!(!plain || text.bytes().all(|byte| byte.is_ascii_alphabetic()), "{text}");
                json!(text)
            }
            Event::SequenceStart(..) => {
                let mut all = Vec::new();
                loop {
                    match next(parser) {
                        Event::SequenceEnd => return Value::Array(all),
                        event => all.push(value(parser, event)),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut all = Map::new();
                loop {
                    match next(parser) {
                        Event::MappingEnd => return Value::Object(all),
                        event => {
                            let Value::String(key) = value(parser, event) else { panic!("a key") };
                            let event = next(parser);
                            let value = value(parser, event);
                            assert!(all.insert(key, value).is_none());
                        }
                    }
                }
            }
            other => panic!("{other:?}"),
        }
    }
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    while let Some(event) = parser.next_event() {
        match event.expect("YAML").0 {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => documents.push(value(&mut parser, event)),
        }
    }
    documents
}

/// Makes them as they are, or puts them in the place of what is there.
fn apply(cluster: &Cluster, documents: &[Value]) {
    for document in documents {
        let resource = if document["kind"] == "Role" { "roles" } else { "rolebindings" };
        let path = format!("{ROLES}/{}/{resource}", cluster.namespace);
        let made = cluster.admin.post(&path, document);
        if made.status == 409 {
            let name = document["metadata"]["name"].as_str().unwrap();
            cluster.admin.put(&format!("{path}/{name}"), document).fine();
        } else {
            made.fine();
        }
    }
}

/// Waits until a request of the account is answered so.
#[track_caller]
fn answers(what: &str, status: u16, ask: impl Fn() -> u16) {
    let mut last = 0;
    let came = poll(|| {
        last = ask();
        (last == status).then_some(())
    });
    assert!(came.is_some(), "{what}: {last}, not {status}");
}

#[test]
fn the_printed_role_is_enough_for_a_daemon_and_for_nothing_else() {
    everywhere(|cluster| {
        let shop = scene(cluster);
        let role = printed(&shop, &[]);
        assert_eq!(role.len(), 2, "{role:#?}");
        apply(cluster, &role);
        let reader = cluster.reader();
        answers("get", 200, || reader.get(&cluster.path(Of::Secret, "app")).status);
        let running = shop.ready();
        running.delivers("TOKEN", "first");
        cluster.set(Of::Secret, "app", &[("TOKEN", "second")]);
        running.delivers("TOKEN", "second");
        cluster.set(Of::ConfigMap, "app", &[("OPT", "other")]);
        running.delivers("OPT", "other");
        assert_eq!(running.health(), "up", "{}", running.log());
        let core = format!("/api/v1/namespaces/{}", cluster.namespace);
        for refused in ["secrets", "configmaps", "secrets/stranger", "serviceaccounts"] {
            assert_eq!(reader.get(&format!("{core}/{refused}")).status, 403, "{refused}");
        }
        let write = json!({ "metadata": { "labels": { "a": "b" } } });
        for of in [Of::Secret, Of::ConfigMap] {
            assert_eq!(reader.merge(&cluster.path(of, "app"), &write).status, 403, "{of:?}");
        }
        assert_eq!(reader.delete(&cluster.path(Of::Secret, "app")).status, 403);
    });
}

#[test]
fn without_any_one_of_its_verbs_something_is_wrong() {
    everywhere(|cluster| {
        let shop = scene(cluster);
        let role = printed(&shop, &[]);
        for verb in ["get", "list", "watch"] {
            let mut less = role.clone();
            let verbs = less[0]["rules"][0]["verbs"].as_array_mut().unwrap();
            verbs.retain(|other| *other != verb);
            assert_eq!(verbs.len(), 2);
            apply(cluster, &less);
            let lacks = format!("we may not {verb} it");
            let place = format!("k8s:{}/secret/app", cluster.namespace);
            let told = poll(|| {
                let ran = shop.run(&["doctor", "--format", "json"]);
                (ran.code == 1 && ran.stdout.contains(&lacks)).then_some(ran)
            });
            let told = told.unwrap_or_else(|| panic!("without {verb}: {}", shop.run(&["doctor"]).stdout));
            told.says(&place).says("`dlconf rbac` prints the Role").never_says("first");
            let again = Shop::new(cluster, &lines(cluster));
            let running = again.start();
            let refused = format!("we may not {verb} secrets `app`");
            running.until("it says so", |running| {
                running.findings().contains(&refused) || running.log().contains(&refused)
            });
        }
    });
}

#[test]
fn who_says_what_runs_may_write_leases_and_who_rotates_may_read_all() {
    everywhere(|cluster| {
        let shop = scene(cluster);
        apply(cluster, &printed(&shop, &["--acknowledge"]));
        let reader = cluster.reader();
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", cluster.namespace);
        let lease = |name: &str| json!({ "metadata": { "name": name }, "spec": { "holderIdentity": "a" } });
        answers("create", 201, || reader.post(&leases, &lease("acks-api-1")).status);
        let path = format!("{leases}/acks-api-1");
        let mine = reader.get(&path).fine();
        reader.put(&path, &mine).fine();
        assert_eq!((reader.get(&leases).status, reader.delete(&path).status), (403, 403));
        assert_eq!(reader.get(&cluster.path(Of::Secret, "stranger")).status, 403);
        apply(cluster, &printed(&shop, &["--acknowledge", "--rotate"]));
        answers("list", 200, || reader.get(&leases).status);
        answers("delete", 200, || reader.delete(&path).status);
    });
}

#[test]
fn rotation_may_write_by_patch_and_a_lock_its_lease() {
    everywhere(|cluster| {
        let shop = scene(cluster);
        apply(cluster, &printed(&shop, &["--rotate", "--restart-lock", "lease/turn"]));
        let reader = cluster.reader();
        let write = json!({ "metadata": { "labels": { "a": "b" } } });
        answers("patch", 200, || reader.merge(&cluster.path(Of::Secret, "app"), &write).status);
        for (of, name) in [(Of::Secret, "stranger"), (Of::ConfigMap, "app")] {
            assert_eq!(reader.merge(&cluster.path(of, name), &write).status, 403, "{of:?} {name}");
        }
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", cluster.namespace);
        let lease = |name: &str| json!({ "metadata": { "name": name }, "spec": { "holderIdentity": "a" } });
        answers("create", 201, || reader.post(&leases, &lease("turn")).status);
        let mine = reader.get(&format!("{leases}/turn")).fine();
        reader.put(&format!("{leases}/turn"), &mine).fine();
        cluster.admin.post(&leases, &lease("theirs")).fine();
        assert_eq!(reader.get(&format!("{leases}/theirs")).status, 403);
        assert_eq!(reader.get(&leases).status, 403);
    });
}
