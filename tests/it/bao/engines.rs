//! What a server keeps: KV of both versions, database credentials.

use serde_json::{Value, json};

use super::{Bao, poll, postgres};

impl Bao {
    /// Mounts a KV engine, and waits until it serves.
    pub(crate) fn mount_kv(&self, mount: &str, version: u8) {
        let options = json!({ "version": version.to_string() });
        self.write(&format!("sys/mounts/{mount}"), &json!({ "type": "kv", "options": options }));
        // A fresh KV v2 refuses for a moment, until it has made its own configuration.
        let path = if version == 2 { format!("{mount}/config") } else { format!("{mount}/none") };
        let served = poll(|| {
            let (status, _) = self.request("GET", &path, self.root_token(), None);
            matches!((version, status), (2, 200) | (1, 404)).then_some(())
        });
        assert!(served.is_some(), "the mount {mount} does not serve");
    }

    /// Writes a version of a KV v2 secret at `secret/`, and gives its number.
    #[track_caller]
    pub(crate) fn kv_put(&self, path: &str, data: &Value) -> u64 {
        let answer = self.write(&format!("secret/data/{path}"), &json!({ "data": data }));
        answer["data"]["version"].as_u64().unwrap()
    }

    /// Deletes the latest version, which can be undeleted.
    #[track_caller]
    pub(crate) fn kv_delete(&self, path: &str) {
        self.delete(&format!("secret/data/{path}"));
    }

    #[track_caller]
    pub(crate) fn kv_undelete(&self, path: &str, version: u64) {
        self.write(&format!("secret/undelete/{path}"), &json!({ "versions": [version] }));
    }

    #[track_caller]
    pub(crate) fn kv_destroy(&self, path: &str, version: u64) {
        self.write(&format!("secret/destroy/{path}"), &json!({ "versions": [version] }));
    }

    /// Removes a secret with all its versions: as if it had never been.
    #[track_caller]
    pub(crate) fn kv_forget(&self, path: &str) {
        self.delete(&format!("secret/metadata/{path}"));
    }

    /// A role of the database engine at `database/` over the PostgreSQL of
    /// `tests/run`: `database/creds/ROLE` makes a login. `options` are the
    /// role's, as `{"default_ttl": "2s", "max_ttl": "10s"}`.
    pub(crate) fn database_role(&self, role: &str, options: &Value) {
        if !self.has_mount("database") {
            self.write("sys/mounts/database", &json!({ "type": "database" }));
            let server = postgres::url();
            let (host, port) = (server.host_str().unwrap(), server.port().unwrap());
            let target = format!("{host}:{port}{}?sslmode=disable", server.path());
            self.write(
                "database/config/postgres",
                &json!({
                    "plugin_name": "postgresql-database-plugin",
                    "connection_url": format!("postgresql://{{{{username}}}}:{{{{password}}}}@{target}"),
                    "username": server.username(),
                    "password": server.password().unwrap(),
                    "allowed_roles": "*",
                    // Many namespaces share one PostgreSQL: they hold no connection when idle.
                    "max_open_connections": 2,
                    "max_idle_connections": -1,
                }),
            );
        }
        let mut body = json!({
            "db_name": "postgres",
            "creation_statements":
                ["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"],
            "renew_statements": ["ALTER ROLE \"{{name}}\" VALID UNTIL '{{expiration}}'"],
            // Short: OpenBao's own default locks schemas, in which other tests are.
            "revocation_statements": ["DROP ROLE IF EXISTS \"{{name}}\""],
        });
        super::merge(&mut body, options);
        self.write(&format!("database/roles/{role}"), &body);
    }

    fn has_mount(&self, name: &str) -> bool {
        self.read("sys/mounts")["data"].get(format!("{name}/")).is_some()
    }
}
