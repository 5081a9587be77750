//! `check --names-only`: a pull request is judged with a policy that reads no
//! value.

use serde_json::json;

use super::Setting;
use crate::bao::Bao;
use crate::bao::proxy::Proxy;

const TOKEN: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";

/// Settings with these `paths`, for a server behind a proxy.
fn reading(bao: &Bao, proxy: &Proxy, paths: &str) -> Setting {
    let lines = format!("auth = {{ method = \"token\" }}\npaths = [{paths}]\n");
    Setting::of(&proxy.address(), bao.namespace(), &lines)
}

const APP: &str = "{ mount = \"secret\", path = \"app\" }";
const NAMES: [&str; 4] = ["check", "--names-only", "--format", "json"];

#[test]
fn a_policy_that_reads_only_subkeys_is_enough_and_no_data_is_read() {
    let bao = Bao::shared();
    let proxy = Proxy::to(&bao.address());
    bao.kv_put("app", &json!({ "TOKEN": "short", "PORT": "not a port", "db_user": { "of": "names" } }));
    bao.policy("names", "path \"secret/subkeys/app\" { capabilities = [\"read\"] }");
    let token = bao.token(&["names"], &json!({ "no_default_policy": true }));
    let setting = reading(&bao, &proxy, APP);

    let ran = setting.run(&token, &NAMES).exits(0);
    assert!(ran.findings().is_empty(), "values are not looked at: {}", ran.stdout);
    assert_eq!(proxy.take_requests(), [("GET".into(), "/v1/secret/subkeys/app?depth=1".into())]);

    setting.run(&token, &["check"]).exits(3).says("DLC051").says("`secret/data/app`");
    setting.run(bao.root_token(), &["check"]).exits(1).says("DLC010");
}

#[test]
fn presence_is_judged() {
    let bao = Bao::shared();
    let proxy = Proxy::to(&bao.address());
    let setting = reading(&bao, &proxy, APP);
    bao.kv_put("app", &json!({ "PORT": "1", "TOKN": TOKEN }));
    let ran = setting.run(bao.root_token(), &NAMES).exits(1).says("looked in: vault:secret/app");
    assert_eq!(ran.findings(), ["DLC001 TOKEN error", "DLC030 TOKN warning"]);
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    setting.run(bao.root_token(), &NAMES).exits(0);
    bao.kv_delete("app");
    let ran = setting.run(bao.root_token(), &NAMES).exits(1);
    assert_eq!(ran.findings(), ["DLC001 TOKEN error"]);
    ran.says("looked in: vault:secret/app (version 2 is deleted)");
    bao.kv_destroy("app", 2);
    setting.run(bao.root_token(), &NAMES).exits(1).says("(version 2 is destroyed)");
    bao.kv_forget("app");
    setting.run(bao.root_token(), &NAMES).exits(3).says("there is nothing at secret/app");
    let requests = proxy.requests();
    assert!(requests.iter().all(|(_, path)| path == "/v1/secret/subkeys/app?depth=1"), "{requests:?}");
}

#[test]
fn a_refusal_names_the_path_of_the_names() {
    let bao = Bao::shared();
    let proxy = Proxy::to(&bao.address());
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    bao.policy("values", "path \"secret/data/app\" { capabilities = [\"read\"] }");
    let token = bao.token(&["values"], &json!({}));
    let setting = reading(&bao, &proxy, APP);
    let ran = setting.run(&token, &NAMES).exits(3).says("capability `read` on `secret/subkeys/app`");
    assert_eq!(ran.findings(), ["DLC051 - error"]);
    setting.run(&token, &["check"]).exits(0);
}

#[test]
fn engines_without_names_of_their_own_are_read_and_values_are_not_judged() {
    let bao = Bao::shared();
    let proxy = Proxy::to(&bao.address());
    bao.mount_kv("old", 1);
    bao.write("old/app", &json!({ "TOKEN": "canary", "PORT": "canary" }));
    for engine in
        ["engine = \"kv1\", mount = \"old\", path = \"app\"", "engine = \"generic\", path = \"old/app\""]
    {
        let setting = reading(&bao, &proxy, &format!("{{ {engine} }}"));
        let ran = setting.run(bao.root_token(), &NAMES).exits(0).never_says("canary");
        assert!(ran.findings().is_empty(), "{engine}: {}", ran.stdout);
        assert_eq!(proxy.take_requests(), [("GET".into(), "/v1/old/app".into())], "{engine}");
    }
}

#[test]
fn no_database_credential_is_minted() {
    let bao = Bao::shared();
    let proxy = Proxy::to(&bao.address());
    bao.database_role("app", &json!({ "default_ttl": "1m", "max_ttl": "2m" }));
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    let database = "{ engine = \"database\", path = \"database/creds/app\", \
                    map = { username = \"DB_USER\", password = \"DB_PASSWORD\" } }";
    let setting = reading(&bao, &proxy, &format!("{APP}, {database}"));
    let schema =
        super::SCHEMA.replace("required = false\ndescription = \"Secret.\"", "description = \"Secret.\"");
    assert_ne!(schema, super::SCHEMA);
    setting.folder.file("dlconf.schema.toml", &schema);
    let ran = setting.run(bao.root_token(), &NAMES).exits(0);
    assert!(ran.findings().is_empty(), "DB_PASSWORD is there: {}", ran.stdout);
    assert_eq!(proxy.take_requests(), [("GET".into(), "/v1/secret/subkeys/app?depth=1".into())]);
    assert!(bao.list("sys/leases/lookup/database/creds/app").is_empty());
}
