//! Several daemons: one leads, and all hear what the programs of the others run. The API
//! server is the fake one.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{home, rotate};
use crate::daemon::Daemon;
use crate::kubernetes::cluster::Cluster;
use crate::program::Folder;
use crate::socket::client;

const LED: &str = "[rotation]\nenabled = true\nleader = \"lease/shop\"\n[consumer.web]\ninstances = 2\nverifies = \"ring\"\n";
const SHARED: &str = "[rotation]\nenabled = ENABLED\nacknowledgements = \"leases/acks\"\n[consumer.web]\ninstances = 2\nverifies = \"ring\"\n";

fn cluster() -> Cluster {
    let cluster = Cluster::fake();
    let verbs = ["get", "list", "watch", "create", "update", "delete"];
    let rules = json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs }]);
    let all = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles", cluster.namespace);
    cluster.admin.post(&all, &json!({ "metadata": { "name": "reader" }, "rules": rules })).fine();
    cluster
}

fn started(cluster: &Cluster, folder: &Folder) -> Daemon {
    let mut command = folder.command(&["--config", "dlconf.toml", "-v", "daemon"]);
    command.env("KUBECONFIG", cluster.kubeconfig());
    let daemon = Daemon::started(folder, &mut command);
    daemon.until("readiness", |status| status["ready"] == true);
    daemon
}

#[test]
fn one_leads_and_the_next_takes_over() {
    let (cluster, one, two) = (cluster(), home(LED), home(LED));
    let first = started(&cluster, &one);
    first.says("this daemon rotates: it holds lease/shop");
    let second = started(&cluster, &two);
    second.says("rotates, which holds lease/shop");
    let status = second.until("its leader's name", |status| status["rotator"]["holder"].is_string());
    assert_eq!(status["rotator"]["leads"], false);
    let holder = status["rotator"]["holder"].as_str().unwrap().to_owned();
    rotate(&two, &["SIGNING_KEY"]).exits(4).warns(&format!("{holder} holds lease/shop"));
    rotate(&one, &["SIGNING_KEY"]).exits(0).warns("SIGNING_KEY: staged");
    first.end(Signal::SIGTERM).exits(0);
    second.says("this daemon rotates: it holds lease/shop");
    rotate(&two, &["SIGNING_KEY"]).exits(0).warns("SIGNING_KEY: staged");
}

#[test]
fn what_one_daemon_is_told_counts_for_the_one_that_rotates() {
    let cluster = cluster();
    let (one, two) = (home(&SHARED.replace("ENABLED", "true")), home(&SHARED.replace("ENABLED", "false")));
    let (rotator, sidecar) = (started(&cluster, &one), started(&cluster, &two));
    let rotation = |status: &Value| {
        let all = status["rotations"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["key"] == "SIGNING_KEY").unwrap_or_default()
    };
    rotate(&one, &["SIGNING_KEY"]).exits(0);
    let staged = rotator.until("the next key", |status| rotation(status)["kids"]["next"].is_string());
    let next = rotation(&staged)["kids"]["next"].as_str().unwrap().to_owned();
    for (daemon, instance) in [(&rotator, "a"), (&sidecar, "b")] {
        let said = json!({
            "instance": instance, "version": daemon.status()["version"],
            "runs": { "SIGNING_KEY": { "verifies": ["initial", next], "signs": "initial" } },
        });
        client::ask(&daemon.socket, "PUT", "/v1/consumers/web", &[], &said.to_string()).is(200);
    }
    rotator.until("the activation", |status| rotation(status)["phase"] == "activated");
    assert!(sidecar.status()["rotator"].is_null());
}
