//! What KV engines give: which version, under which names, as which text, and
//! what becomes of a value that is deleted, destroyed or was never there.

use serde_json::{Value, json};

use super::Setting;
use crate::bao::{Bao, poll};
use crate::program::{Folder, Ran};

/// A TOKEN that no finding is about.
const TOKEN: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";

/// Settings with these `paths`, and lines after them.
fn reading(bao: &Bao, paths: &str, more: &str) -> Setting {
    let lines = format!("auth = {{ method = \"token\" }}\npaths = [{paths}]\n{more}\n");
    Setting::of(&bao.address(), bao.namespace(), &lines)
}

const APP: &str = "{ mount = \"secret\", path = \"app\" }";

/// The values that a program would get.
#[track_caller]
fn values(setting: &Setting, bao: &Bao) -> Value {
    let ran = setting.run(bao.root_token(), &["render", "--format", "json"]).exits(0);
    serde_json::from_str(&ran.stdout).unwrap()
}

fn check(setting: &Setting, bao: &Bao) -> Ran {
    setting.run(bao.root_token(), &["check"])
}

fn check_json(setting: &Setting, bao: &Bao) -> Ran {
    setting.run(bao.root_token(), &["check", "--format", "json"])
}

#[test]
fn findings_name_path_field_and_version() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKEN, "PORT": "80" }));
    bao.kv_put("app", &json!({ "TOKEN": TOKEN, "PORT": "many" }));
    let setting = reading(&bao, APP, "");
    check(&setting, &bao).exits(1).says("DLC010").says("vault:secret/app#PORT@2");
}

#[test]
fn behaviour_14_deleted_destroyed_and_undeleted_versions() {
    let bao = Bao::shared();
    let setting = reading(&bao, APP, "");
    bao.kv_put("app", &json!({ "TOKEN": "an-older-one-8Zr2LxV5nBt7KjWm4Y" }));
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    check(&setting, &bao).exits(0);

    bao.kv_delete("app");
    let deleted =
        check_json(&setting, &bao).exits(1).says("looked in: vault:secret/app (version 2 is deleted)");
    assert_eq!(deleted.findings(), ["DLC001 TOKEN error"], "not an older version, and no fault");
    let explained = setting.run(bao.root_token(), &["explain", "TOKEN"]).exits(0);
    explained.says("vault:secret/app (version 2 is deleted)");

    bao.kv_undelete("app", 2);
    assert_eq!(values(&setting, &bao)["TOKEN"], TOKEN);

    bao.kv_destroy("app", 2);
    let destroyed = check_json(&setting, &bao).exits(1);
    assert_eq!(destroyed.findings(), ["DLC001 TOKEN error"]);
    destroyed.says("looked in: vault:secret/app (version 2 is destroyed)");

    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    setting.run(bao.root_token(), &["get", "--local", "TOKEN"]).exits(0).warns("vault:secret/app#TOKEN@3");
}

#[test]
fn a_version_that_deletes_itself_is_there_until_then() {
    let bao = Bao::shared();
    bao.write("secret/metadata/app", &json!({ "delete_version_after": "1s" }));
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    let setting = reading(&bao, APP, "");
    let mut was_there = false;
    let gone = poll(|| {
        let ran = check(&setting, &bao);
        was_there |= ran.code == 0;
        (ran.code != 0).then_some(ran)
    });
    assert!(was_there, "its deletion_time lies in the future at first");
    gone.unwrap().exits(1).says("DLC001").says("vault:secret/app (version 1 is deleted)");
}

#[test]
fn a_version_that_was_written_as_null_is_no_deletion() {
    let bao = Bao::shared();
    bao.kv_put("app", &Value::Null);
    let ran = check_json(&reading(&bao, APP, ""), &bao).exits(1).never_says("deleted");
    assert_eq!(ran.findings(), ["DLC001 TOKEN error"]);
}

#[test]
fn nothing_at_a_path_is_a_fault_unless_it_is_excused() {
    let bao = Bao::shared();
    let names = [(APP, "app"), ("{ mount = \"secret\", path = \"meta\" }", "meta")];
    bao.write("secret/metadata/meta", &json!({ "custom_metadata": { "owner": "us" } }));
    for (path, name) in names {
        let setting = reading(&bao, path, "");
        let ran = check_json(&setting, &bao).exits(3);
        assert_eq!(ran.findings(), ["DLC050 - error"], "{name}: required, and unjudged");
        let ran = ran.says(&format!("there is nothing at secret/{name}")).says("required = false");
        assert!(ran.stdout.contains("\"unjudged\""), "{}", ran.stdout);

        let setting = reading(&bao, path, "required = false");
        let ran = check_json(&setting, &bao).exits(1);
        assert_eq!(ran.findings(), ["DLC001 TOKEN error"], "{name}: excused, so it is judged");
        ran.says(&format!("looked in: vault:secret/{name} (nothing there)"));
    }
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    bao.kv_forget("app");
    check(&reading(&bao, APP, ""), &bao).exits(3).says("there is nothing at secret/app");
}

#[test]
fn kv_v1_has_values_and_no_versions() {
    let bao = Bao::shared();
    bao.mount_kv("old", 1);
    bao.write("old/deep/app", &json!({ "TOKEN": TOKEN, "PORT": 8080, "ttl": "5m" }));
    let setting = reading(&bao, "{ engine = \"kv1\", mount = \"old\", path = \"deep/app\" }", "");
    assert_eq!(values(&setting, &bao), json!({ "APP_ENV": "production", "TOKEN": TOKEN, "PORT": "8080" }));
    let ran = setting.run(bao.root_token(), &["get", "--local", "TOKEN"]).exits(0);
    ran.warns("TOKEN from vault:old/deep/app#TOKEN\n");
    bao.delete("old/deep/app");
    check(&setting, &bao).exits(3).says("there is nothing at old/deep/app");
}

#[test]
fn an_engine_of_another_kind_says_what_to_write() {
    let bao = Bao::shared();
    bao.mount_kv("old", 1);
    bao.write("old/app", &json!({ "TOKEN": TOKEN }));
    bao.kv_put("app", &json!({ "TOKEN": TOKEN }));
    let old_as_new = reading(&bao, "{ mount = \"old\", path = \"app\" }", "");
    check_json(&old_as_new, &bao).exits(3).says("old/ is KV version 1").says("engine = \\\"kv1\\\"");
    // Excused absence excuses no wrong settings, where the server tells them apart.
    for more in ["", "required = false"] {
        let new_as_old = reading(&bao, "{ engine = \"kv1\", mount = \"secret\", path = \"app\" }", more);
        let ran = check_json(&new_as_old, &bao).exits(3);
        ran.says("has KV version 2 there, not version 1").says("engine = \\\"kv2\\\"");
        let nowhere = reading(&bao, "{ mount = \"nowhere\", path = \"app\" }", more);
        let ran = check_json(&nowhere, &bao).exits(3).says("has no engine or auth method mounted there");
        assert_eq!(ran.findings(), ["DLC050 - error"]);
    }
}

#[test]
fn map_prefix_and_only_choose_and_rename() {
    let bao = Bao::shared();
    let data = json!({ "api_token": TOKEN, "user": "ann", "password": "c0rrect-h0rse-9", "PORT": "1" });
    bao.kv_put("app", &data);
    let path = |select: &str| format!("{{ mount = \"secret\", path = \"app\", {select} }}");
    let mapped =
        path("map = { api_token = \"TOKEN\", user = \"DB_USER\" }, only = [\"api_token\", \"user\"]");
    let expected = json!({ "APP_ENV": "production", "TOKEN": TOKEN, "DB_USER": "ann" });
    assert_eq!(values(&reading(&bao, &mapped, ""), &bao), expected);

    let token = path("map = { api_token = \"TOKEN\" }, only = [\"api_token\"]");
    let prefixed = path("prefix = \"DB_\", only = [\"user\", \"password\"]");
    let setting = reading(&bao, &format!("{token}, {prefixed}"), "");
    let expected = json!({
        "APP_ENV": "production", "TOKEN": TOKEN, "DB_USER": "ann", "DB_PASSWORD": "c0rrect-h0rse-9",
    });
    assert_eq!(values(&setting, &bao), expected);

    let wrong = path("map = { api_token = \"TOKEN\" }, only = [\"api_token\", \"pasword\"]");
    let ran = check_json(&reading(&bao, &wrong, ""), &bao).exits(0).says("did you mean `password`?");
    assert_eq!(ran.findings(), ["DLC030 - warning"]);
}

#[test]
fn fields_in_lower_case_stand_for_the_names_of_the_schema() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "token": TOKEN, "Db_User": "ann" }));
    let values = values(&reading(&bao, APP, ""), &bao);
    assert_eq!(values, json!({ "APP_ENV": "production", "TOKEN": TOKEN, "DB_USER": "ann" }));
}

#[test]
fn fields_that_are_no_strings_are_their_json() {
    let bao = Bao::shared();
    // As the server writes them: OpenBao makes KV v2's numbers floats, and keeps those of v1.
    bao.mount_kv("old", 1);
    let fields = json!({
        "TOKEN": TOKEN, "PORT": 8080, "A": true, "B": null, "C": [1, "x"], "D": { "k": { "l": false } },
        "E": "", "F": "null", "G": 1.25,
    });
    bao.kv_put("app", &fields);
    bao.write("old/app", &fields);
    for path in [APP, "{ engine = \"kv1\", mount = \"old\", path = \"app\" }"] {
        let setting = reading(&bao, path, "");
        let declare = |name| {
            format!(
                "[var.{name}]\ntype = \"string\"\nrequired = false\nsecret = false\ndescription = \"x\"\n"
            )
        };
        let schema = ["A", "B", "C", "D", "E", "F", "G"].map(declare).concat();
        setting.folder.file("dlconf.schema.toml", &format!("{}{schema}", super::SCHEMA));
        let expected = json!({
            "APP_ENV": "production", "TOKEN": TOKEN, "PORT": "8080", "A": "true", "C": "[1,\"x\"]",
            "D": "{\"k\":{\"l\":false}}", "F": "null", "G": "1.25",
        });
        assert_eq!(values(&setting, &bao), expected, "null and \"\" are unset ({path})");
    }
}

#[test]
fn long_values_and_any_text_come_whole() {
    let bao = Bao::shared();
    let long = "line 12\n".repeat(64 * 1024);
    assert_eq!(long.len(), 512 * 1024);
    for text in ["two\nlines\r\n", "π ≠ \u{1F511} e\u{301}", " \"quoted\" \\ $HOME `x` ", &long] {
        bao.kv_put("app", &json!({ "TOKEN": TOKEN, "DB_USER": text }));
        assert!(values(&reading(&bao, APP, ""), &bao)["DB_USER"] == text, "{text:.40}");
    }
}

#[test]
fn a_value_with_a_nul_byte_is_a_fault_with_its_place() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKEN, "DB_PASSWORD": "before\u{0}after" }));
    let ran = check(&reading(&bao, APP, ""), &bao).exits(3).says("DLC050");
    let ran = ran.says("vault:secret/app#DB_PASSWORD@1").says("DB_PASSWORD holds a NUL byte");
    ran.never_says("before").never_says("after");
}

#[test]
fn names_of_fields_are_disarmed_and_those_of_ours_are_never_delivered() {
    let bao = Bao::shared();
    let data = json!({
        "TOKEN": TOKEN, "DLCONF_STATE": "canary", "a-b": "canary", "x\u{1b}[31my\nz": "canary",
        "r\u{202e}l": "canary", "": "canary",
    });
    bao.kv_put("app", &data);
    let path = "{ mount = \"secret\", path = \"app\", map = { DLCONF_STATE = \"DB_USER\" } }";
    let setting = reading(&bao, path, "");
    assert_eq!(values(&setting, &bao), json!({ "APP_ENV": "production", "TOKEN": TOKEN }));
    for format in ["text", "json", "github", "sarif", "junit"] {
        let ran = setting.run(bao.root_token(), &["-vv", "check", "--format", format]).exits(0);
        let ran = ran.says("a-b").never_says("canary").never_says("\u{1b}").never_says("\u{202e}");
        ran.never_says("y\nz");
    }
    let ran = check_json(&setting, &bao).exits(0);
    // One for each name, and one for a state that is none.
    assert_eq!(ran.findings(), ["DLC030 - warning"; 5]);
    // Not even where the schema declares the name.
    let schema = "[var.DLCONF_STATE]\ntype = \"string\"\nrequired = false\ndescription = \"x\"\n";
    setting.folder.file("dlconf.schema.toml", &format!("{}{schema}", super::SCHEMA));
    setting.run(bao.root_token(), &["render"]).never_says("canary");
}

#[test]
fn of_several_paths_the_later_wins() {
    let bao = Bao::shared();
    bao.kv_put("common", &json!({ "TOKEN": TOKEN, "DB_USER": "common", "PORT": "1" }));
    bao.kv_put("app", &json!({ "DB_USER": "app" }));
    let common = "{ mount = \"secret\", path = \"common\" }";
    let setting = reading(&bao, &format!("{common}, {APP}"), "");
    let expected = json!({ "APP_ENV": "production", "TOKEN": TOKEN, "PORT": "1", "DB_USER": "app" });
    assert_eq!(values(&setting, &bao), expected);
    let setting = reading(&bao, &format!("{APP}, {common}"), "");
    assert_eq!(values(&setting, &bao)["DB_USER"], "common");
}

#[test]
fn vault_is_over_dotenv_and_under_env_and_explain_shows_every_layer() {
    let bao = Bao::shared();
    bao.kv_put("app", &json!({ "TOKEN": TOKEN, "DB_USER": "one" }));
    bao.kv_put("app", &json!({ "TOKEN": TOKEN, "DB_USER": "vault", "PORT": "2" }));
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", super::SCHEMA);
    folder.file(".env", "DB_USER=dotenv\nPORT=1\nTOKEN=of-dotenv-2LxV5nBt7KjWm4Yc9PdHs6G\n");
    let settings = format!(
        "environment = \"production\"\norder = [\"local\", \"vault\", \"env\"]\n\
         [source.local]\ntype = \"dotenv\"\npath = \".env\"\n[source.env]\ntype = \"env\"\n\
         [source.vault]\ntype = \"vault\"\naddress = \"{}\"\nnamespace = \"{}\"\npaths = [{APP}]\n",
        bao.address(),
        bao.namespace()
    );
    folder.file("set.toml", &settings);
    let environment = [("VAULT_TOKEN", bao.root_token()), ("PORT", "3")];
    let run = |words: &[&str]| folder.run_with(&[&["--config", "set.toml"], words].concat(), &environment);
    let rendered: Value =
        serde_json::from_str(&run(&["render", "--format", "json"]).exits(0).stdout).unwrap();
    let expected = json!({ "APP_ENV": "production", "TOKEN": TOKEN, "DB_USER": "vault", "PORT": "3" });
    assert_eq!(rendered, expected);

    let text = run(&["explain", "PORT"]).exits(0).stdout;
    let line = |begin: &str, place: &str| {
        let found = text.lines().find(|line| line.trim_start().starts_with(begin) && line.contains(place));
        found.unwrap_or_else(|| panic!("no `{begin} … {place}` in {text}")).to_owned()
    };
    line("wins", "env:PORT");
    let vault = line("loses", "vault:secret/app#PORT@2");
    assert!(vault.contains("source vault, revision 2, ") && vault.contains(" old)"), "{vault}");
    line("loses", ".env:2:6");
}

#[test]
fn paths_may_be_deep_and_written_in_any_script() {
    let bao = Bao::shared();
    let folder = ["a"; 40].join("/");
    let cases = [
        ("with a space/and + & = ;", "with%20a%20space/and%20%2B%20%26%20%3D%20%3B"),
        ("straße/設定/é", "stra%C3%9Fe/%E8%A8%AD%E5%AE%9A/%C3%A9"),
        (folder.as_str(), folder.as_str()),
        ("a:b@c/'x'", "a%3Ab%40c/'x'"),
    ];
    for (path, encoded) in cases {
        bao.kv_put(encoded, &json!({ "TOKEN": TOKEN }));
        let setting = reading(&bao, &format!("{{ mount = \"secret\", path = \"{path}\" }}"), "");
        let ran = setting.run(bao.root_token(), &["get", "--local", "TOKEN"]).exits(0);
        ran.warns(&format!("TOKEN from vault:secret/{path}#TOKEN@1"));
        setting.run(bao.root_token(), &["check", "--names-only"]).exits(0);
    }
}
