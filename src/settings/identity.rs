//! By what a source is known again, in another run and by another release.
//!
//! Owns: a text for each kind of source, which is another one whenever the source
//! reads something else. What was kept of a source is given back to nobody else.
//! Invariants: value-free; the text of a kind stays as it is in every release (a
//! new field that changes what is read is written only where it is used); how a
//! source logs in, how often it asks and what it excuses are no part of it.

use std::path::Path;

use serde_json::{Value, json};

use super::SourceKind;
use crate::kubernetes::{Name, Server};
use crate::source::fields::Select;
use crate::source::kubernetes::Config as KubernetesConfig;
use crate::source::kubernetes::config::Spec;
use crate::source::structured::Notation;
use crate::source::vault::config::{Config, Engine, PathSpec};

impl SourceKind {
    /// What it reads, in one line: another line is another source, whatever its name
    /// is. A list in JSON, so that no path can pass for another field.
    pub fn identity(&self) -> String {
        match self {
            Self::Env => json!(["env"]),
            Self::Dotenv { path: Some(path), .. } => json!(["dotenv", "file", shown(&path.path)]),
            Self::Dotenv { path: None, folder, .. } => json!(["dotenv", "list", shown(&folder.path)]),
            Self::File { path, notation, .. } => json!(["file", shown(&path.path), notated(*notation)]),
            Self::Directory { path, .. } => json!(["directory", shown(&path.path)]),
            Self::Sealed { path, .. } => json!(["sealed", shown(&path.path)]),
            Self::Vault { config, .. } => vault(config),
            Self::Kubernetes { config } => kubernetes(config),
            Self::PassedOver => json!(["remote"]),
        }
        .to_string()
    }
}

/// A path; links are not followed: where they lead may change, and what is read
/// through them with it.
fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn notated(notation: Notation) -> &'static str {
    match notation {
        Notation::Toml => "toml",
        Notation::Json => "json",
        Notation::Yaml => "yaml",
    }
}

fn vault(config: &Config) -> Value {
    let paths: Vec<Value> = config.paths.iter().map(path).collect();
    // An address has no user and no password: `Address::parse` refuses them.
    json!(["vault", config.address.as_str(), config.namespace.as_deref().unwrap_or_default(), paths])
}

fn kubernetes(config: &KubernetesConfig) -> Value {
    // A kubeconfig is not opened for this: of another server in the same file and
    // context nothing is known here.
    let server = match &config.server {
        Server::InCluster => json!(["pod"]),
        Server::Kubeconfig { files, context, .. } => {
            let files: Vec<String> = files.iter().map(|file| shown(file)).collect();
            json!(["kubeconfig", files, context.as_deref().unwrap_or_default()])
        }
    };
    let namespace = config.namespace.as_ref().map(Name::as_str).unwrap_or_default();
    let objects: Vec<Value> = config.objects.iter().map(object).collect();
    json!(["kubernetes", server, namespace, objects])
}

fn object(Spec { kind, name, select, base64 }: &Spec) -> Value {
    let mut base64: Vec<&str> = base64.iter().map(String::as_str).collect();
    base64.sort_unstable();
    let (map, prefix, only) = selected(select);
    json!([kind.singular(), name.as_str(), map, prefix, only, base64])
}

fn path(PathSpec { engine, select }: &PathSpec) -> Value {
    let (kind, mount, path) = match engine {
        Engine::Kv2 { mount, path } => ("kv2", mount.as_str(), path),
        Engine::Kv1 { mount, path } => ("kv1", mount.as_str(), path),
        Engine::Database { path } => ("database", "", path),
        Engine::Generic { path } => ("generic", "", path),
    };
    let (map, prefix, only) = selected(select);
    json!([kind, mount, path, map, prefix, only])
}

/// Which fields, in an order that is always the same.
fn selected(Select { map, prefix, only }: &Select) -> (Vec<(&str, &str)>, &str, Vec<&str>) {
    let mut map: Vec<(&str, &str)> = map.iter().map(|(field, key)| (field.as_str(), key.as_str())).collect();
    let mut only: Vec<&str> = only.iter().map(String::as_str).collect();
    map.sort_unstable();
    only.sort_unstable();
    (map, prefix, only)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::kubernetes::Kind;
    use crate::model::key::Key;
    use crate::settings::ShownPath;
    use crate::source::key_file::KeyPlace;
    use crate::source::vault::config::{Address, Auth, Tls};

    fn file(path: &str) -> ShownPath {
        ShownPath::named(Path::new(path))
    }

    fn kv2(path: &str, select: Select) -> PathSpec {
        PathSpec { engine: Engine::Kv2 { mount: "secret".into(), path: path.into() }, select }
    }

    fn vault(namespace: Option<&str>, paths: Vec<PathSpec>) -> SourceKind {
        let config = Config {
            address: Address::parse("https://vault.example.com:8200/").unwrap(),
            namespace: namespace.map(str::to_owned),
            auth: Auth::Token,
            paths,
            poll: Duration::from_secs(5),
            required: true,
            tls: Tls::default(),
            timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
            rotates: false,
        };
        SourceKind::Vault { config: Box::new(config), token: Some("VAULT_TOKEN") }
    }

    fn cluster(server: Server, namespace: Option<&str>, base64: Vec<String>) -> SourceKind {
        let name = Name::object("app").unwrap();
        let config = KubernetesConfig {
            server,
            namespace: namespace.and_then(Name::namespace),
            objects: vec![Spec { kind: Kind::Secret, name, select: Select::default(), base64 }],
            required: true,
            timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(10),
        };
        SourceKind::Kubernetes { config: Box::new(config) }
    }

    /// The texts themselves: what earlier releases kept is found by them.
    #[test]
    fn each_kind_has_a_text_that_stays() {
        let key = KeyPlace::File(file("/etc/app.key"));
        let select = Select {
            map: vec![("user".into(), Key::new("DB_USER").unwrap())],
            prefix: "DB_".into(),
            only: vec!["user".into(), "host".into()],
        };
        let engines = [
            Engine::Kv1 { mount: "old".into(), path: "app".into() },
            Engine::Database { path: "database/creds/app".into() },
            Engine::Generic { path: "cubbyhole/app".into() },
        ];
        let others = engines.map(|engine| PathSpec { engine, select: Select::default() });
        let folder = file("/srv");
        for (kind, text) in [
            (SourceKind::Env, r#"["env"]"#),
            (
                SourceKind::Dotenv { path: Some(file("/srv/a.env")), folder: folder.clone(), optional: true },
                r#"["dotenv","file","/srv/a.env"]"#,
            ),
            (SourceKind::Dotenv { path: None, folder, optional: false }, r#"["dotenv","list","/srv"]"#),
            (
                SourceKind::File { path: file("/srv/\"a"), notation: Notation::Yaml, optional: false },
                r#"["file","/srv/\"a","yaml"]"#,
            ),
            (
                SourceKind::Directory { path: file("/run/secrets"), optional: false },
                r#"["directory","/run/secrets"]"#,
            ),
            (
                SourceKind::Sealed { path: file("/srv/a.sealed"), key, optional: false },
                r#"["sealed","/srv/a.sealed"]"#,
            ),
            (
                vault(None, vec![kv2("app", select)]),
                r#"["vault","https://vault.example.com:8200","",[["kv2","secret","app",[["user","DB_USER"]],"DB_",["host","user"]]]]"#,
            ),
            (
                vault(Some("team"), others.into()),
                r#"["vault","https://vault.example.com:8200","team",[["kv1","old","app",[],"",[]],["database","","database/creds/app",[],"",[]],["generic","","cubbyhole/app",[],"",[]]]]"#,
            ),
            (
                cluster(Server::InCluster, None, Vec::new()),
                r#"["kubernetes",["pod"],"",[["secret","app",[],"",[],[]]]]"#,
            ),
            (
                cluster(
                    Server::Kubeconfig {
                        files: vec!["/a".into(), "/b".into()],
                        context: None,
                        trusted: true,
                    },
                    Some("shop"),
                    vec!["k.p12".into()],
                ),
                r#"["kubernetes",["kubeconfig",["/a","/b"],""],"shop",[["secret","app",[],"",[],["k.p12"]]]]"#,
            ),
            (SourceKind::PassedOver, r#"["remote"]"#),
        ] {
            assert_eq!(kind.identity(), text);
        }
    }

    #[test]
    fn how_it_logs_in_is_no_part_of_it() {
        let one = vault(None, vec![kv2("app", Select::default())]);
        let SourceKind::Vault { config, .. } = one.clone() else { unreachable!() };
        let auth = Auth::TokenFile { path: file("/run/token") };
        let other = Config { auth, poll: Duration::from_mins(1), required: false, ..*config };
        let other = SourceKind::Vault { config: Box::new(other), token: None };
        assert_eq!(one.identity(), other.identity());
    }
}
