//! What follows from what is written and from the process: no process is needed.

use std::ffi::OsString;

use super::*;
use crate::model::key::Key;
use crate::settings::{SettingsFile, Trust};
use crate::source::fields::Select;
use crate::source::vault::config::{Engine, PathSpec};

const PATHS: &str = "paths = [{ mount = \"secret\", path = \"a\" }]\n";

/// The source that follows, and the variable of its token.
fn read(
    fields: &str,
    process: &[(&str, &str)],
    trust: Trust,
) -> Result<(Config, Option<&'static str>), SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    let paths = if fields.contains("paths = ") { "" } else { PATHS };
    let text = format!("[source.v]\ntype = \"vault\"\n{paths}{fields}");
    let file = SettingsFile { label: FILE_NAME.into(), folder: folder.path().into(), text };
    let opened = Opened::new(Some(file), folder.path(), trust)?;
    let process: Vec<(OsString, OsString)> = process.iter().map(|(k, v)| (k.into(), v.into())).collect();
    let settings = opened.in_environment("staging", &["staging".into()], Network::Online(&process))?;
    match settings.sources.into_iter().next().map(|source| source.kind) {
        Some(SourceKind::Vault { config, token }) => Ok((*config, token)),
        other => panic!("{other:?}"),
    }
}

fn config(fields: &str) -> Config {
    let process = [("VAULT_ADDR", "http://127.0.0.1:8200"), ("VAULT_TOKEN", "t")];
    read(fields, &process, Trust::Full).unwrap_or_else(|error| panic!("{fields}: {error:?}")).0
}

#[test]
fn what_is_not_written_has_a_default() {
    let config = config("");
    assert_eq!(config.address.as_str(), "http://127.0.0.1:8200");
    assert_eq!((config.namespace, config.auth, config.required), (None, Auth::Token, true));
    assert_eq!((config.poll, config.timeout), (default::POLL, default::TIMEOUT));
    assert_eq!((config.deadline, config.tls), (default::DEADLINE, Tls::default()));
    let engine = Engine::Kv2 { mount: "secret".into(), path: "a".into() };
    assert_eq!(config.paths, [PathSpec { engine, select: Select::default() }]);
}

#[test]
fn what_is_written_holds() {
    let config = config(
        r#"
        address = "https://vault.example.com/base/"
        namespace = "/team/a/"
        auth = { method = "approle", mount = "ci/roles/", role_id = "r", secret_id_file = "s", wrapped = true }
        poll = "1m30s"
        timeout = "100ms"
        deadline = "10m"
        required = false
        tls = { ca_cert = "ca.pem", client_cert = "c.pem", client_key = "/k.pem", insecure_skip_verify = true }
        paths = [
          { path = "/datalens/production/", mount = "/team/kv/", prefix = "DB_", only = ["a", "a"] },
          { engine = "kv1", mount = "old", path = "x" },
          { engine = "database", path = "database/creds/x", map = { username = "DB_USER", password = "DB_PASS" } },
          { engine = "generic", path = "aws/sts/x" },
        ]"#,
    );
    assert_eq!(config.address.as_str(), "https://vault.example.com/base");
    assert_eq!(config.namespace.as_deref(), Some("team/a"));
    let Auth::AppRole { mount, role_id, secret_id: Some(secret_id), wrapped: true } = config.auth else {
        panic!("{:?}", config.auth)
    };
    assert_eq!((mount.as_str(), role_id), ("ci/roles", RoleId::Text("r".into())));
    assert!(secret_id.path.is_absolute() && secret_id.label == "s" && secret_id.beneath.is_none());
    assert_eq!(config.poll, Duration::from_secs(90));
    assert_eq!(config.timeout, Duration::from_millis(100));
    assert_eq!(config.deadline, Duration::from_mins(10));
    assert!(!config.required && config.tls.insecure_skip_verify);
    assert_eq!(config.tls.ca_cert.unwrap().label, "ca.pem");
    assert_eq!(config.tls.identity.unwrap().key.path, Path::new("/k.pem"));
    let api: Vec<String> = config.paths.iter().map(|path| path.engine.api_path()).collect();
    assert_eq!(api, ["team/kv/data/datalens/production", "old/x", "database/creds/x", "aws/sts/x"]);
    assert_eq!((&*config.paths[0].select.prefix, config.paths[0].select.only.len()), ("DB_", 2));
    let name = |name| Key::new(name).unwrap();
    let map = [("password".to_owned(), name("DB_PASS")), ("username".to_owned(), name("DB_USER"))];
    assert_eq!(config.paths[2].select.map, map);
}

#[test]
fn every_method_has_its_defaults() {
    let kubernetes = config("auth = { method = \"kubernetes\", role = \"r\" }");
    let Auth::Kubernetes { mount, role, token } = kubernetes.auth else { panic!() };
    assert_eq!((&*mount, &*role, &*token.label), ("kubernetes", "r", default::KUBERNETES_TOKEN));
    let jwt = config("auth = { method = \"jwt\", token_file = \"t\" }");
    assert!(matches!(jwt.auth, Auth::Jwt { mount, role: None, .. } if mount == "jwt"));
    let file = config("auth = { method = \"token-file\", path = \"t\" }");
    assert!(matches!(file.auth, Auth::TokenFile { path } if path.label == "t"));
    let cert = config(
        "address = \"https://v\"\nauth = { method = \"cert\" }\ntls = { client_cert = \"c\", client_key = \"c\" }",
    );
    assert!(matches!(cert.auth, Auth::Cert { mount, role: None } if mount == "cert"));
    let role = config("auth = { method = \"approle\", role_id_file = \"r\" }");
    let Auth::AppRole { mount, role_id: RoleId::File(_), secret_id: None, wrapped: false } = role.auth else {
        panic!()
    };
    assert_eq!(mount, "approle");
}

#[test]
fn variables_stand_for_what_is_not_written() {
    let both = [
        ("BAO_ADDR", "https://bao"),
        ("VAULT_ADDR", "https://vault"),
        ("BAO_NAMESPACE", "b/"),
        ("VAULT_NAMESPACE", "v"),
        ("BAO_CACERT", "b.pem"),
        ("VAULT_CACERT", "v.pem"),
        ("BAO_TOKEN", "b"),
        ("VAULT_TOKEN", "v"),
        ("VAULT_SKIP_VERIFY", "true"),
        ("BAO_SKIP_VERIFY", "1"),
    ];
    let read = |fields: &str, process: &[(&str, &str)]| read(fields, process, Trust::Found).unwrap();
    let (bao, token) = read("", &both);
    assert_eq!((bao.address.as_str(), bao.namespace.as_deref()), ("https://bao", Some("b")));
    assert_eq!((bao.tls.ca_cert.unwrap().path.as_path(), token), (Path::new("b.pem"), Some("BAO_TOKEN")));
    assert!(!bao.tls.insecure_skip_verify);
    let emptied = both.map(|(name, value)| (name, if name.starts_with("BAO") { "" } else { value }));
    let (vault, token) = read("", &emptied);
    assert_eq!((vault.address.as_str(), vault.namespace.as_deref()), ("https://vault", Some("v")));
    assert_eq!((vault.tls.ca_cert.unwrap().path.as_path(), token), (Path::new("v.pem"), Some("VAULT_TOKEN")));
    let (root, _) = read("namespace = \"\"", &both);
    assert_eq!(root.namespace, None, "an empty one that is written is the root");
}

#[test]
fn a_token_goes_home() {
    let (bao, vault) = (("BAO_TOKEN", "b"), ("VAULT_TOKEN", "v"));
    let (at_bao, at_vault) = (("BAO_ADDR", "https://bao"), ("VAULT_ADDR", "https://vault:443/"));
    let here = "address = \"https://VAULT\"";
    let away = "address = \"https://elsewhere\"";
    // The fields, the process; the token that is sent by named settings, and by found ones.
    for (fields, process, named, found) in [
        (here, vec![vault, at_vault], "VAULT_TOKEN", Some("VAULT_TOKEN")),
        ("", vec![vault, at_vault], "VAULT_TOKEN", Some("VAULT_TOKEN")),
        (here, vec![bao, vault, at_vault], "VAULT_TOKEN", Some("VAULT_TOKEN")),
        (here, vec![bao, vault, at_bao, at_vault], "VAULT_TOKEN", Some("VAULT_TOKEN")),
        ("", vec![bao, vault, at_vault], "VAULT_TOKEN", Some("VAULT_TOKEN")),
        ("", vec![bao, vault, at_bao, at_vault], "BAO_TOKEN", Some("BAO_TOKEN")),
        ("", vec![vault, at_bao], "VAULT_TOKEN", None),
        ("", vec![bao, at_vault], "BAO_TOKEN", None),
        (here, vec![vault], "VAULT_TOKEN", None),
        (here, vec![vault, at_bao], "VAULT_TOKEN", None),
        (away, vec![bao, vault, at_bao, at_vault], "BAO_TOKEN", None),
        (away, vec![vault, at_vault], "VAULT_TOKEN", None),
        ("address = \"http://vault\"", vec![vault, at_vault], "VAULT_TOKEN", None),
        ("address = \"https://vault:8200\"", vec![vault, at_vault], "VAULT_TOKEN", None),
        ("address = \"https://vault/x\"", vec![vault, at_vault], "VAULT_TOKEN", None),
        (away, vec![vault, ("VAULT_ADDR", "no URL")], "VAULT_TOKEN", None),
    ] {
        let named_one = read(fields, &process, Trust::Full).unwrap().1;
        assert_eq!(named_one, Some(named), "{fields} {process:?}");
        match (read(fields, &process, Trust::Found), found) {
            (Ok((_, token)), Some(_)) => assert_eq!(token, found, "{fields} {process:?}"),
            (Err(error), None) => assert!(error.refused, "{fields} {process:?}: {error:?}"),
            (other, _) => panic!("{fields} {process:?}: {other:?}"),
        }
    }
}

#[test]
fn found_settings_do_not_vouch_for_the_server() {
    let process = [("VAULT_ADDR", "https://vault"), ("VAULT_TOKEN", "t")];
    let refused = |fields: &str| read(fields, &process, Trust::Found).unwrap_err().refused;
    assert!(refused("tls = { ca_cert = \"ca.pem\" }"));
    assert!(refused("tls = { insecure_skip_verify = true }"));
    let own = "auth = { method = \"token-file\", path = \"t\" }\ntls = { ca_cert = \"ca.pem\" }";
    assert!(read(own, &process, Trust::Found).is_ok(), "a login of its own is its own affair");
    assert!(read("tls = { insecure_skip_verify = false }", &process, Trust::Found).is_ok());
}

#[test]
fn the_bounds_are_inside() {
    for (field, least, most) in
        [("poll", "1s", "1h"), ("timeout", "100ms", "5m"), ("deadline", "100ms", "10m")]
    {
        for good in [least, most] {
            let _read = config(&format!("{field} = \"{good}\""));
        }
        for bad in ["999us", "0s", "-5s", "10m1s1h", "61m", "5", "5 s", "", "1d"] {
            let error = read(&format!("{field} = \"{bad}\""), &[], Trust::Full).unwrap_err();
            assert!(error.message.contains(&format!("from {least} to {most}")), "{bad:?}: {error}");
        }
    }
}

#[test]
fn paths_stay_what_they_are_in_a_url() {
    assert_eq!(paths::segments("//a/b c/Ü//").as_deref(), Ok("a/b c/Ü"));
    for bad in ["", "/", "a//b", ".", "a/..", "../a", "a?b", "a#b", "a%2e", "a\\b", "a\nb", "a\u{7f}"] {
        assert!(paths::segments(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_higher_layer_replaces_lists_and_other_logins_whole() {
    let text = r#"
        [source.v]
        type = "vault"
        address = "https://vault"
        auth = { method = "kubernetes", role = "r", mount = "k8s" }
        paths = [{ mount = "secret", path = "a" }, { mount = "secret", path = "b", prefix = "B_" }]
        [env.staging.source.v]
        auth = { method = "token-file", path = "t" }
        paths = [{ mount = "secret", path = "c" }]
        [env.production.source.v]
        auth = { method = "kubernetes", mount = "other" }
        [env.development.source.v]
        auth.role = "laptop"
    "#;
    let file = SettingsFile { label: FILE_NAME.into(), folder: "/nowhere".into(), text: text.into() };
    let opened = Opened::new(Some(file), Path::new("/nowhere"), Trust::Full).unwrap();
    let of = |environment: &str| {
        let known = ["development", "staging", "production"].map(Box::from);
        let settings = opened.in_environment(environment, &known, Network::Online(&[])).unwrap();
        match settings.sources.into_iter().next().map(|source| source.kind) {
            Some(SourceKind::Vault { config, .. }) => (config.auth, config.paths.len()),
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(of("staging"), (Auth::TokenFile { .. }, 1)));
    let (Auth::Kubernetes { mount, role, .. }, 2) = of("production") else { panic!() };
    assert_eq!((&*mount, &*role), ("other", "r"), "the same login is merged");
    assert!(matches!(of("development"), (Auth::Kubernetes { role, .. }, 2) if role == "laptop"));
}
