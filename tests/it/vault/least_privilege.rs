//! The printed policy is enough, and every line of it is needed.

use serde_json::json;

use super::Setting;
use crate::bao::{Bao, postgres};

const PATHS: &str = "paths = [\n\
    { mount = \"secret\", path = \"app/one\" },\n\
    { mount = \"secret\", path = \"app/two\" },\n\
    { engine = \"kv1\", mount = \"plain\", path = \"app\" },\n\
    { engine = \"database\", path = \"database/creds/app\",\n\
      map = { username = \"DB_USER\", password = \"DB_PASSWORD\" } },\n\
  ]\n";

struct Shop {
    bao: Bao,
    setting: Setting,
}

impl Shop {
    fn new() -> Self {
        let bao = Bao::shared();
        bao.kv_put("app/one", &json!({ "TOKEN": "k-3Fv8Qm1Zt6Yw0Lb4Hd" }));
        bao.kv_put("app/two", &json!({ "PORT": 9000 }));
        bao.mount_kv("plain", 1);
        bao.write("plain/app", &json!({ "APP_ENV": "production" }));
        bao.database_role("app", &json!({ "default_ttl": "1h", "max_ttl": "1h" }));
        let mut setting = Setting::new(&bao, "{ method = \"token\" }");
        setting.lines(&format!("auth = {{ method = \"token\" }}\n{PATHS}"));
        Self { bao, setting }
    }

    /// What `vault-policy` prints, as its blocks.
    fn blocks(&self, options: &[&str]) -> Vec<String> {
        let printed =
            self.setting.run(self.bao.root_token(), &[&["vault-policy"], options].concat()).exits(0);
        let blocks = printed.stdout.split_inclusive("}\n").map(str::to_owned);
        blocks.filter(|block| block.contains("path \"")).collect()
    }

    /// A token that has these blocks for its policy, and no other policy.
    fn token(&self, blocks: &[String]) -> String {
        self.bao.policy("exact", &blocks.concat());
        self.bao.token(&["exact"], &json!({ "no_default_policy": true }))
    }
}

/// The path that a block is for.
fn path(block: &str) -> &str {
    block.split('"').nth(1).unwrap()
}

#[test]
fn the_printed_policy_is_enough() {
    let shop = Shop::new();
    let token = shop.token(&shop.blocks(&[]));
    shop.setting.run(&token, &["check"]).exits(0);
    let doctor = shop.setting.run(&token, &["doctor"]);
    assert!(!doctor.stdout.contains("wrong"), "{}", doctor.stdout);
    let said = shop.setting.run(&token, &["run", "--", "sh", "-c", "echo $DB_USER"]).exits(0).stdout;
    assert!(!postgres::role_exists(said.trim()), "its lease was given back");
    shop.setting.run(&token, &["render"]).exits(0).says("PORT=9000");
    let names = shop.token(&shop.blocks(&["--names-only"]));
    shop.setting.run(&names, &["check", "--names-only"]).exits(0);
    shop.setting.run(&names, &["check"]).exits(3);
}

#[test]
fn who_rotates_is_told_which_right_a_write_lacks() {
    let mut shop = Shop::new();
    let doctor = |shop: &Shop, options: &[&str]| {
        let token = shop.token(&shop.blocks(options));
        let told = shop.setting.run(&token, &["doctor"]).stdout;
        // As it would be without the ends of lines.
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let lack = "writing secret/data/app/one needs the capability `update`";
    let reads = doctor(&shop, &[]);
    assert!(!reads.contains(lack), "{reads}");
    shop.setting.lines(&format!("auth = {{ method = \"token\" }}\n{PATHS}[rotation]\nenabled = true\n"));
    let lacks = doctor(&shop, &[]);
    assert!(lacks.contains(lack) && lacks.contains("`dlconf vault-policy --rotate`"), "{lacks}");
    let may = doctor(&shop, &["--rotate"]);
    assert!(may.contains("fine secret/app/one permitted"), "{may}");
}

#[test]
fn without_one_line_the_refusal_names_path_and_capability() {
    let shop = Shop::new();
    for options in [&[][..], &["--names-only"]] {
        let blocks = shop.blocks(options);
        let read = |block: &&String| {
            let path = path(block);
            let own = !path.starts_with("auth/") && !path.starts_with("sys/");
            own && !path.contains("metadata/")
        };
        let needed: Vec<&String> = blocks.iter().filter(read).collect();
        assert_eq!(needed.len(), if options.is_empty() { 4 } else { 3 }, "{blocks:?}");
        for without in needed {
            let rest: Vec<String> = blocks.iter().filter(|block| *block != without).cloned().collect();
            let token = shop.token(&rest);
            let path = path(without);
            let ran = shop.setting.run(&token, &[&["check", "--format", "json"], options].concat()).exits(3);
            assert_eq!(ran.findings(), ["DLC051 - error"], "{path}");
            ran.says(&format!("needs the capability `read` on `{path}`"));
        }
    }
}
