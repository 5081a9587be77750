//! `dlconf vault-policy`: what it prints.

mod server;

use std::path::{Path, PathBuf};

use expect_test::expect_file;

use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// No address of these is ever asked: `.invalid` names nobody.
const VAULT: &str = r#"
environment = "production"
order = ["vault"]
[source.vault]
type = "vault"
address = "https://vault.invalid:8200"
auth = { method = "kubernetes", role = "shop" }
paths = [{ engine = "kv2", mount = "secret", path = "shop/production" }]
"#;

fn run(settings: &str, arguments: &[&str]) -> Ran {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("s.toml", settings);
    folder.run(&[&["--config", "s.toml", "vault-policy"], arguments].concat())
}

#[test]
fn it_prints_the_policy_and_nothing_else() {
    let ran = run(VAULT, &[]).exits(0);
    assert_eq!(ran.stderr, "");
    let first = ran.stdout.lines().next().unwrap();
    assert_eq!(first, "# Made by `dlconf vault-policy` from s.toml,");
    let ran = ran.says("# environment production, source vault.\n");
    ran.says("\npath \"secret/data/shop/production\" {\n  capabilities = [\"read\"]\n}\n")
        .says("path \"secret/metadata/shop/production\"")
        .never_says("vault.invalid");
    run(VAULT, &["--offline"]).exits(0).says("secret/data/shop/production");
}

#[test]
fn names_only_reads_no_data() {
    let ran = run(VAULT, &["--names-only"]).exits(0).says("secret/subkeys/shop/production");
    ran.never_says("secret/data/").never_says("Careful");
    let v1 = VAULT.replace("kv2", "kv1");
    run(&v1, &["--names-only"])
        .exits(0)
        .says("# Careful: this reads values")
        .says("\"secret/shop/production\"");
    run(VAULT, &["--names-only", "--rotate"]).exits(2);
}

#[test]
fn rotation_may_write() {
    run(VAULT, &["--rotate"]).exits(0).says("capabilities = [\"create\", \"read\", \"update\"]");
}

#[test]
fn a_namespace_is_where_the_policy_belongs() {
    let settings = VAULT.replace("auth =", "namespace = \"team/a\"\nauth =");
    let ran = run(&settings, &[]).exits(0).says("inside the namespace team/a: write the policy there");
    ran.says("path \"secret/data/shop/production\"");
}

#[test]
fn sources_of_two_logins_need_two_policies() {
    let other = VAULT.split_once("[source.vault]").unwrap().1.replace("shop/production", "shop/common");
    let two = |other: &str| {
        let settings = VAULT.replace("[\"vault\"]", "[\"vault\", \"common\"]");
        format!("{settings}\n[source.common]{other}")
    };
    let alike = two(&other);
    let both = run(&alike, &[]).exits(0).says("source vault and common.");
    let both = both.says("secret/data/shop/production").says("secret/data/shop/common");
    // Each source asks for itself, so there is nothing to list at once.
    both.never_says("detailed-metadata");
    let apart = two(&other.replace("role = \"shop\"", "role = \"common\""));
    run(&apart, &[]).exits(2).warns("each needs a policy of its own").warns("--source vault");
    let one = run(&apart, &["--source", "common"]).exits(0).says("secret/data/shop/common");
    one.never_says("shop/production");
    run(&apart, &["--source", "comon"]).exits(2).warns("did you mean common?");
}

#[test]
fn without_such_a_source_there_is_nothing_to_print() {
    let folder = Folder::new();
    folder.run(&["vault-policy"]).exits(2).warns("no source of type \"vault\"").warns("docs/vault.md");
    folder.run(&["vault-policy", "--source", "x"]).exits(2).warns("the settings have none");
}

#[test]
fn a_pattern_is_never_granted() {
    for path in ["shop/*", "+/production", "shop*", "a/{{identity.entity.id}}"] {
        let ran = run(&VAULT.replace("shop/production", path), &[]).exits(2);
        assert_eq!(ran.stdout, "", "{path}");
    }
}

/// `UPDATE_EXPECT=1 tests/run` writes them anew.
#[test]
fn the_shipped_policies_are_what_it_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (option, name) in [
        (None, "datalens-read"),
        (Some("--names-only"), "datalens-names-only"),
        (Some("--rotate"), "datalens-rotate"),
    ] {
        let mut command = Folder::new().command(&["--config", "policies/vault/dlconf.toml", "vault-policy"]);
        let ran = Ran::of(&command.args(option).current_dir(root).output().unwrap()).exits(0);
        let path: PathBuf = root.join("policies/vault").join(name).with_extension("hcl");
        expect_file![path].assert_eq(&ran.stdout);
    }
}
