//! `engine = "generic"`: whatever answers a read with `data`.

use serde_json::{Value, json};

use super::Setting;
use crate::bao::Bao;
use crate::hostile::{Hostile, Reply};

const TOKEN: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";
const LEASE: &str = "some/engine/app/lease-canary";

fn lines(path: &str, select: &str) -> String {
    format!(
        "auth = {{ method = \"token\" }}\ndeadline = \"1s\"\n\
         paths = [{{ engine = \"generic\", path = \"{path}\"{select} }}]\n"
    )
}

fn reading(bao: &Bao, path: &str, select: &str) -> Setting {
    Setting::of(&bao.address(), bao.namespace(), &lines(path, select))
}

#[track_caller]
fn values(setting: &Setting, token: &str) -> Value {
    let ran = setting.run(token, &["render", "--format", "json"]).exits(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn any_path_with_data_gives_its_fields() {
    let bao = Bao::shared();
    bao.mount_kv("old", 1);
    bao.write("old/app", &json!({ "token": TOKEN, "PORT": 80 }));
    let expected = json!({ "APP_ENV": "production", "TOKEN": TOKEN, "PORT": "80" });
    let setting = reading(&bao, "old/app", "");
    assert_eq!(values(&setting, bao.root_token()), expected);
    let ran = setting.run(bao.root_token(), &["get", "--local", "PORT"]).exits(0);
    ran.warns("PORT from vault:old/app#PORT\n");

    bao.write("identity/oidc/config", &json!({ "issuer": "https://issuer.example" }));
    let select = ", map = { issuer = \"TOKEN\" }";
    let issuer = values(&reading(&bao, "identity/oidc/config", select), bao.root_token());
    assert_eq!(issuer["TOKEN"].as_str().unwrap(), "https://issuer.example");

    bao.policy("of-interest", "path\"x\"{capabilities=[\"read\"]}");
    let select = ", map = { policy = \"TOKEN\" }, only = [\"policy\"]";
    let policy = values(&reading(&bao, "sys/policies/acl/of-interest", select), bao.root_token());
    assert!(policy["TOKEN"].as_str().unwrap().starts_with("path\"x\"{"), "{policy}");
}

#[test]
fn what_cannot_be_read_says_why() {
    let bao = Bao::shared();
    let ran = reading(&bao, "sys/tools/random", "").run(bao.root_token(), &["check"]).exits(3);
    ran.says("DLC050").says("does not support the operation (405)").says("use another `engine`");

    let ran = reading(&bao, "cubbyhole/nothing", "").run(bao.root_token(), &["check"]).exits(3);
    ran.says("there is nothing at cubbyhole/nothing");
    let ran = reading(&bao, "nowhere/app", "").run(bao.root_token(), &["check"]).exits(3);
    ran.says("has no engine or auth method mounted there");

    bao.mount_kv("old", 1);
    bao.write("old/app", &json!({ "TOKEN": TOKEN }));
    bao.policy("writes", "path \"old/app\" { capabilities = [\"create\", \"update\"] }");
    let token = bao.token(&["writes"], &json!({}));
    let ran = reading(&bao, "old/app", "").run(&token, &["check", "--format", "json"]).exits(3);
    assert_eq!(ran.findings(), ["DLC051 - error"]);
    ran.says("reading old/app needs the capability `read` on `old/app`");
}

#[test]
fn an_answer_without_data_is_none() {
    let server = Hostile::new();
    server.on("/v1/some/engine/app", [Reply::json(200, &json!({ "type": "shamir", "sealed": false }))]);
    let setting = Setting::of(&server.address(), "", &lines("some/engine/app", ""));
    let ran = setting.run("t", &["check", "--format", "json"]).exits(3);
    assert_eq!(ran.findings(), ["DLC050 - error"]);
}

/// A server with an answer that has a lease of an hour.
fn leased() -> (Hostile, Setting) {
    let server = Hostile::new();
    let answer = json!({
        "lease_id": LEASE, "lease_duration": 3600, "renewable": true, "data": { "TOKEN": TOKEN, "PORT": 5 },
    });
    server.on("/v1/some/engine/app", [Reply::json(200, &answer)]);
    server.on("/v1/sys/leases/revoke", [Reply::json(200, &json!({}))]);
    let setting = Setting::of(&server.address(), "", &lines("some/engine/app", ""));
    (server, setting)
}

fn revoked(server: &Hostile) -> Vec<Value> {
    let requests = server.requests();
    let asked = requests.iter().filter(|request| request.path == "/v1/sys/leases/revoke");
    asked.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

#[test]
fn a_lease_that_only_a_check_made_ends_with_it() {
    let (server, setting) = leased();
    setting.run("t", &["-vv", "check"]).exits(0).never_says("lease-canary");
    assert_eq!(revoked(&server), [json!({ "lease_id": LEASE, "sync": true })]);
}

#[test]
fn a_lease_of_values_that_were_given_out_lives_on() {
    let (server, setting) = leased();
    assert_eq!(values(&setting, "t")["TOKEN"], TOKEN);
    assert_eq!(revoked(&server), Vec::<Value>::new());
}

#[test]
fn a_ttl_in_the_data_is_a_field_like_any_other() {
    let server = Hostile::new();
    let answer = json!({ "lease_id": "", "data": { "TOKEN": TOKEN, "ttl": 30 } });
    server.on("/v1/some/engine/app", [Reply::json(200, &answer)]);
    let setting = Setting::of(&server.address(), "", &lines("some/engine/app", ", map = { ttl = \"PORT\" }"));
    assert_eq!(values(&setting, "t")["PORT"], "30");
    assert_eq!(revoked(&server), Vec::<Value>::new(), "nothing was leased");
}
