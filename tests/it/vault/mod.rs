//! `type = "vault"` against a real OpenBao, through the real binary.

mod age;
mod auth;
mod case;
mod endure;
mod failure;
mod generic;
mod kv;
mod leases;
mod least_privilege;
mod memory;
mod names_only;
mod replace;
mod rotation_state;
mod run;
mod tls;
mod watch;
pub(crate) mod watched;
mod write;

use std::fmt::Write as _;

use crate::bao::Bao;
use crate::program::{Folder, Ran};

/// A folder whose trusted settings (`--config set.toml`) read paths of a server.
pub(crate) struct Setting {
    pub(crate) folder: Folder,
    /// Lines of `[source.vault]` beside type, address and namespace.
    lines: String,
    address: String,
    namespace: String,
}

/// The schema of these tests: every type of value that they need.
pub(crate) const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
[var.APP_ENV]
type = "string"
required = false
description = "The environment."
[var.PORT]
type = "port"
required = false
description = "Listens here."
[var.TOKEN]
type = "api-key"
description = "Signs."
[var.DB_USER]
type = "string"
required = false
description = "Who."
[var.DB_PASSWORD]
type = "password"
required = false
description = "Secret."
"#;

impl Setting {
    /// Settings that read `secret/app` of a server, with a login.
    pub(crate) fn new(bao: &Bao, auth: &str) -> Self {
        let lines = format!("auth = {auth}\npaths = [{{ mount = \"secret\", path = \"app\" }}]\n");
        Self::of(&bao.address(), bao.namespace(), &lines)
    }

    /// Settings with these lines for a server at this address.
    pub(crate) fn of(address: &str, namespace: &str, lines: &str) -> Self {
        let folder = Folder::new();
        folder.file("dlconf.schema.toml", SCHEMA);
        let setting =
            Self { folder, lines: lines.to_owned(), address: address.into(), namespace: namespace.into() };
        setting.write();
        setting
    }

    /// Other lines instead.
    pub(crate) fn lines(&mut self, lines: &str) {
        lines.clone_into(&mut self.lines);
        self.write();
    }

    fn write(&self) {
        let mut text = String::from(
            "environment = \"production\"\norder = [\"vault\"]\n[source.vault]\ntype = \"vault\"\n",
        );
        writeln!(text, "address = \"{}\"", self.address).unwrap();
        if !self.namespace.is_empty() {
            writeln!(text, "namespace = \"{}\"", self.namespace).unwrap();
        }
        text.push_str(&self.lines);
        self.folder.file("set.toml", &text);
    }

    /// Runs dlconf with these settings and this `VAULT_TOKEN`; an empty one is none.
    pub(crate) fn run(&self, token: &str, arguments: &[&str]) -> Ran {
        let arguments = [&["--config", "set.toml"], arguments].concat();
        let environment = [("VAULT_TOKEN", token)];
        let environment = if token.is_empty() { &[][..] } else { &environment[..] };
        self.folder.run_with(&arguments, environment)
    }
}

#[test]
fn values_come_from_kv_v2_with_their_version() {
    let bao = Bao::shared();
    bao.kv_put("app", &serde_json::json!({ "TOKEN": "first-7Hq2vXc9Lp4Zr8Wn" }));
    bao.kv_put("app", &serde_json::json!({ "TOKEN": "second-7Hq2vXc9Lp4Zr8W" }));
    let setting = Setting::new(&bao, "{ method = \"token\" }");
    let ran = setting.run(bao.root_token(), &["get", "--local", "TOKEN"]).exits(0);
    assert_eq!(ran.stdout, "second-7Hq2vXc9Lp4Zr8W\n");
    ran.warns("TOKEN from vault:secret/app#TOKEN@2");
}
