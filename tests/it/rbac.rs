//! `dlconf rbac`: what it prints. That it is enough, and no more than enough, is
//! tested on servers: `kubernetes::rights`.

use crate::program::{Folder, Ran, SMALL_SCHEMA};

const CLUSTER: &str = r#"
environment = "production"
order = ["cluster"]
[source.cluster]
type = "kubernetes"
kubeconfig = "/nowhere/kubeconfig"
namespace = "shop"
secrets = ["shop", { name = "shared", only = ["A"] }]
config_maps = ["shop"]
"#;

fn run(settings: &str, arguments: &[&str]) -> Ran {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("s.toml", settings);
    folder.run(&[&["--config", "s.toml", "rbac"], arguments].concat())
}

/// With a second source.
fn two(second: &str) -> String {
    let settings = CLUSTER.replace("[\"cluster\"]", "[\"cluster\", \"more\"]");
    format!("{settings}[source.more]\ntype = \"kubernetes\"\n{second}")
}

#[test]
fn it_prints_the_role_and_nothing_else() {
    let ran = run(CLUSTER, &["--service-account", "web"]).exits(0);
    assert_eq!(ran.stderr, "");
    expect_test::expect![[r#"
        # Made by `dlconf rbac` from s.toml,
        # environment production, source cluster.
        apiVersion: "rbac.authorization.k8s.io/v1"
        kind: "Role"
        metadata:
          name: "web-dlconf"
          namespace: "shop"
        rules:
          - apiGroups: [""]
            resources: ["secrets"]
            resourceNames: ["shared", "shop"]
            verbs: ["get", "list", "watch"]
          - apiGroups: [""]
            resources: ["configmaps"]
            resourceNames: ["shop"]
            verbs: ["get", "list", "watch"]
        ---
        apiVersion: "rbac.authorization.k8s.io/v1"
        kind: "RoleBinding"
        metadata:
          name: "web-dlconf"
          namespace: "shop"
        roleRef:
          apiGroup: "rbac.authorization.k8s.io"
          kind: "Role"
          name: "web-dlconf"
        subjects:
          - kind: "ServiceAccount"
            name: "web"
            namespace: "shop"
    "#]]
    .assert_eq(&ran.stdout);
    assert_eq!(run(CLUSTER, &["--service-account", "web", "--offline"]).exits(0).stdout, ran.stdout);
}

#[test]
fn what_nobody_said_is_said_above() {
    let settings = CLUSTER.replace("namespace = \"shop\"\n", "");
    let ran = run(&settings, &[]).exits(0);
    let ran = ran
        .says("# The service account is taken to be dlconf: `--service-account NAME` names another.\n")
        .says("# The settings name no namespace: `kubectl apply --namespace NAME` says which it is.\n")
        .says("  name: \"dlconf\"\n");
    ran.never_says("\n  namespace:").never_says("\n    namespace:");
}

#[test]
fn rotation_may_patch_secrets_and_no_config_maps() {
    let ran = run(CLUSTER, &["--rotate"]).exits(0).says("# Made by `dlconf rbac --rotate` from s.toml,\n");
    let ran = ran.says("    verbs: [\"get\", \"list\", \"watch\", \"patch\"]\n");
    assert_eq!(ran.stdout.matches("\"patch\"").count(), 1);
    ran.never_says("leases");
    let led = run(CLUSTER, &["--rotate", "--leader", "lease/turn"]).exits(0);
    assert_eq!(led.stdout.matches("kind: \"Role\"\nmetadata").count(), 1);
    led.says("    resourceNames: [\"turn\"]\n    verbs: [\"get\", \"update\"]\n").says("[\"create\"]");
    run(CLUSTER, &["--leader", "lease/turn"]).exits(2);
}

#[test]
fn acknowledgements_are_leases_that_have_no_names_yet() {
    let said = run(CLUSTER, &["--acknowledge"]).exits(0);
    let said = said.says("# Made by `dlconf rbac --acknowledge` from s.toml,\n");
    let rule = "  # Acknowledgements: which instances there will be is not known before, nor their Leases' names.\n  \
                - apiGroups: [\"coordination.k8s.io\"]\n    resources: [\"leases\"]\n    verbs: ";
    said.says(&format!("{rule}[\"get\", \"create\", \"update\"]\n"));
    let heard = run(CLUSTER, &["--acknowledge", "--rotate"]).exits(0);
    heard.says(&format!("{rule}[\"get\", \"list\", \"create\", \"update\", \"delete\"]\n"));
    // It needs no source.
    let alone =
        run("environment = \"production\"\n[source.env]\ntype = \"env\"\n", &["--acknowledge"]).exits(0);
    alone.says(rule).never_says("secrets");
}

#[test]
fn a_restart_lock_is_a_role_of_its_own() {
    let options = ["--service-account", "web", "--restart-lock", "lease/b", "--restart-lock", "lease/a"];
    let ran = run(CLUSTER, &options).exits(0);
    let (_, lock) = ran.stdout.split_once("  name: \"web-dlconf-restart\"\n  namespace: \"shop\"\n").unwrap();
    assert!(lock.contains("resourceNames: [\"a\", \"b\"]\n    verbs: [\"get\", \"update\"]\n"), "{lock}");
    assert!(lock.contains("  # What is not there yet has no name for RBAC"), "{lock}");
    assert!(!lock.contains("secrets"), "{lock}");
    // It needs no source.
    let alone = run("environment = \"production\"\n[source.env]\ntype = \"env\"\n", &options).exits(0);
    let alone = alone.says("# environment production.\n").says("name: \"web-dlconf-restart\"\n");
    alone.never_says("secrets");
    run(CLUSTER, &["--restart-lock", "turn"]).exits(2).warns("write lease/NAME");
}

#[test]
fn sources_of_several_namespaces_give_a_role_each() {
    let kubeconfig = "kubeconfig = \"/nowhere/kubeconfig\"\n";
    let same = two(&format!("{kubeconfig}namespace = \"shop\"\nsecrets = [\"more\"]\n"));
    let one = run(&same, &[]).exits(0).says("source cluster and more.");
    one.says("resourceNames: [\"more\", \"shared\", \"shop\"]");
    let apart = two(&format!("{kubeconfig}namespace = \"team\"\nsecrets = [\"more\"]\n"));
    run(&apart, &[]).exits(2).warns("in several namespaces").warns("--service-account NAMESPACE/NAME");
    let both = run(&apart, &["--service-account", "jobs/web"]).exits(0);
    assert_eq!(both.stdout.matches("kind: \"Role\"\nmetadata").count(), 2);
    assert_eq!(both.stdout.matches("name: \"web\"\n    namespace: \"jobs\"\n").count(), 2);
    let both = both.says("  namespace: \"shop\"\n").says("  namespace: \"team\"\n");
    both.says("resourceNames: [\"more\"]").says("resourceNames: [\"shared\", \"shop\"]");
    run(&apart, &["--source", "more"]).exits(0).says("resourceNames: [\"more\"]").never_says("shared");
    run(&apart, &["--source", "mor"]).exits(2).warns("did you mean more?");
}

#[test]
fn sources_of_several_servers_are_printed_one_by_one() {
    let other = two("kubeconfig = \"/nowhere/other\"\nsecrets = [\"more\"]\n");
    run(&other, &[]).exits(2).warns("ask different API servers").warns("--source cluster");
    run(&other, &["--source", "more"]).exits(0).says("[\"more\"]").never_says("shared");
}

#[test]
fn an_account_is_one_that_can_be() {
    for bad in ["Web", "a/b/c", "a.b/c", "", "/a", "a/"] {
        run(CLUSTER, &["--service-account", bad]).exits(2).warns("write NAME or NAMESPACE/NAME");
    }
    run(CLUSTER, &["--service-account", &"x".repeat(253)]).exits(2).warns("too long");
}

#[test]
fn without_such_a_source_there_is_nothing_to_print() {
    let folder = Folder::new();
    folder
        .run(&["rbac"])
        .exits(2)
        .warns("no source of type \"kubernetes\"")
        .warns("docs/kubernetes-source.md");
    folder.run(&["rbac", "--source", "x"]).exits(2).warns("the settings have none");
}
