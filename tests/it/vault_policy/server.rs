//! A token with the printed policy and no other one can do what the settings
//! need, and nothing beside it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::bao::Bao;
use crate::program::{Folder, SMALL_SCHEMA};

/// Two secrets in one folder, of which a third is a stranger's.
const PATHS: [&str; 2] = ["shop/production", "shop/common"];

struct Scene {
    bao: Bao,
    folder: Folder,
}

impl Scene {
    fn new() -> Self {
        let bao = Bao::shared();
        for path in PATHS.iter().chain(&["shop/stranger"]) {
            bao.kv_put(path, &json!({ "TOKEN": "hidden" }));
        }
        let folder = Folder::new();
        let mut settings = format!(
            "environment = \"production\"\norder = [\"vault\"]\n[source.vault]\ntype = \"vault\"\n\
             address = \"{}\"\nauth = {{ method = \"token-file\", path = \"token\" }}\n",
            bao.address()
        );
        if !bao.namespace().is_empty() {
            writeln!(settings, "namespace = \"{}\"", bao.namespace()).unwrap();
        }
        settings.push_str("paths = [\n");
        for path in PATHS {
            writeln!(settings, "  {{ engine = \"kv2\", mount = \"secret\", path = \"{path}\" }},").unwrap();
        }
        settings.push_str("]\n");
        folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("s.toml", &settings);
        Self { bao, folder }
    }

    fn policy(&self, options: &[&str]) -> String {
        self.folder.run(&[&["--config", "s.toml", "vault-policy"], options].concat()).exits(0).stdout
    }

    /// A token with this policy alone.
    fn token(&self, policy: &str) -> String {
        self.bao.policy("printed", policy);
        self.bao.token(&["printed"], &json!({ "no_default_policy": true }))
    }

    /// The requests that are permitted, of all that may matter.
    fn permitted(&self, token: &str) -> Vec<String> {
        let write = |cas: u64| json!({ "options": { "cas": cas }, "data": { "TOKEN": "new" } });
        let path = json!({ "paths": ["secret/data/shop/production"] });
        let requests: [(&str, &str, Option<Value>); 15] = [
            ("GET", "secret/data/shop/production", None),
            ("GET", "secret/metadata/shop/common", None),
            ("GET", "secret/subkeys/shop/production", None),
            ("LIST", "secret/detailed-metadata/shop", None),
            ("POST", "secret/data/shop/production", Some(write(1))),
            ("DELETE", "secret/data/shop/production", None),
            ("GET", "secret/data/shop/stranger", None),
            ("GET", "secret/subkeys/shop/stranger", None),
            ("LIST", "secret/metadata/shop", None),
            ("LIST", "secret/detailed-metadata", None),
            ("POST", "secret/data/shop/stranger", Some(write(1))),
            ("POST", "secret/data/shop/nobody", Some(write(0))),
            ("GET", "auth/token/lookup-self", None),
            ("POST", "sys/capabilities-self", Some(path)),
            ("GET", "sys/mounts", None),
        ];
        let mut permitted = Vec::new();
        for (method, path, body) in &requests {
            match self.bao.request(method, path, token, body.as_ref()) {
                (403, _) => {}
                (200..300, _) => permitted.push(format!("{method} {path}")),
                (status, answer) => panic!("{method} {path}: {status} {answer}"),
            }
        }
        permitted
    }
}

#[test]
fn reading_is_permitted_and_nothing_else() {
    let scene = Scene::new();
    assert_eq!(
        scene.permitted(&scene.token(&scene.policy(&[]))),
        [
            "GET secret/data/shop/production",
            "GET secret/metadata/shop/common",
            "LIST secret/detailed-metadata/shop",
            "GET auth/token/lookup-self",
            "POST sys/capabilities-self",
        ]
    );
}

#[test]
fn names_are_permitted_and_no_value() {
    let scene = Scene::new();
    assert_eq!(
        scene.permitted(&scene.token(&scene.policy(&["--names-only"]))),
        ["GET secret/subkeys/shop/production", "GET auth/token/lookup-self", "POST sys/capabilities-self",]
    );
}

#[test]
fn rotation_may_write_its_own_paths() {
    let scene = Scene::new();
    let permitted = scene.permitted(&scene.token(&scene.policy(&["--rotate"])));
    let write = "POST secret/data/shop/production";
    assert!(permitted.iter().any(|request| request == write), "{permitted:?}");
    let foreign = |r: &String| r.starts_with("DELETE") || r.contains("stranger") || r.contains("nobody");
    assert!(!permitted.iter().any(foreign), "{permitted:?}");
}

/// The server's own view of what the printer takes for plain and for patterns.
#[test]
fn odd_paths_are_granted_to_themselves_alone() {
    let scene = Scene::new();
    let settings = scene.folder.read("s.toml");
    for (path, stranger) in [("a*b/x", "aXb/x"), ("a/+b/c", "a/Xb/c"), ("+a", "Xa"), ("a$b", "aXb")] {
        scene.folder.file("s.toml", &settings.replace("shop/production", path));
        let token = scene.token(&scene.policy(&[]));
        let status = |path: &str| scene.bao.request("GET", &format!("secret/data/{path}"), &token, None).0;
        assert_eq!((status(path), status(stranger)), (404, 403), "{path}");
    }
}
