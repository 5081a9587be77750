//! What follows from what is written and from the process: no server is asked.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::model::key::Key;
use crate::settings::{FILE_NAME, SettingsFile, Trust};
use crate::source::fields::Select;

const HOME: (&str, &str) = ("HOME", "/home/a");

/// The source that follows, of settings in this folder.
fn read_in(
    folder: &Path,
    fields: &str,
    process: &[(&str, &str)],
    trust: Trust,
) -> Result<Config, SettingsError> {
    let secrets = if fields.contains("secrets = ") { "" } else { "secrets = [\"api\"]\n" };
    let text = format!("[source.k]\ntype = \"kubernetes\"\n{secrets}{fields}");
    let file = SettingsFile { label: FILE_NAME.into(), folder: folder.into(), text };
    let opened = Opened::new(Some(file), folder, trust)?;
    let process: Vec<(OsString, OsString)> = process.iter().map(|(k, v)| (k.into(), v.into())).collect();
    let settings = opened.in_environment("staging", &["staging".into()], Network::Online(&process))?;
    match settings.sources.into_iter().next().map(|source| source.kind) {
        Some(SourceKind::Kubernetes { config }) => Ok(*config),
        other => panic!("{other:?}"),
    }
}

fn read(fields: &str, process: &[(&str, &str)], trust: Trust) -> Result<Config, SettingsError> {
    let folder = tempfile::tempdir().unwrap();
    read_in(folder.path(), fields, process, trust)
}

fn config(fields: &str) -> Config {
    read(fields, &[HOME], Trust::Full).unwrap_or_else(|error| panic!("{fields}: {error:?}"))
}

fn plain(kind: Kind, name: &str) -> Spec {
    let name = Name::object(name).unwrap();
    Spec { kind, name, select: Select::default(), base64: Vec::new() }
}

#[test]
fn what_is_not_written_has_a_default() {
    let files = vec![PathBuf::from("/home/a/.kube/config")];
    let server = Server::Kubeconfig { files, context: None, trusted: true };
    let objects = vec![plain(Kind::Secret, "api")];
    let (timeout, deadline) = (default::TIMEOUT, default::DEADLINE);
    let expect = Config { server, namespace: None, objects, required: true, timeout, deadline };
    assert_eq!(config(""), expect);
}

#[test]
fn what_is_written_holds() {
    let config = config(
        r#"
        namespace = "datalens"
        secrets = ["api", { name = "shared", only = ["A", "tls.key", "k.p12"], prefix = "X_",
                            map = { "tls.key" = "TLS_KEY" }, base64 = ["k.p12"] }]
        config_maps = ["api", { name = "flags.v2" }]
        kubeconfig = "/etc/kube"
        context = "prod"
        required = false
        timeout = "1s"
        deadline = "1m""#,
    );
    let files = vec![PathBuf::from("/etc/kube")];
    assert_eq!(config.server, Server::Kubeconfig { files, context: Some("prod".into()), trusted: true });
    assert_eq!(config.namespace.as_ref().map(Name::as_str), Some("datalens"));
    assert!(!config.required);
    assert_eq!((config.timeout, config.deadline), (Duration::from_secs(1), Duration::from_mins(1)));
    let shared = Spec {
        select: Select {
            map: vec![("tls.key".into(), Key::new("TLS_KEY").unwrap())],
            prefix: "X_".into(),
            only: vec!["A".into(), "tls.key".into(), "k.p12".into()],
        },
        base64: vec!["k.p12".into()],
        ..plain(Kind::Secret, "shared")
    };
    // Config maps lie below secrets.
    let maps = [plain(Kind::ConfigMap, "api"), plain(Kind::ConfigMap, "flags.v2")];
    assert_eq!(config.objects[..2], maps);
    assert_eq!(config.objects[2..], [plain(Kind::Secret, "api"), shared]);
}

#[test]
fn the_nearest_word_says_which_server() {
    let pod = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    let named = ("KUBECONFIG", "/a:/b");
    let kubeconfig = |files: &[&str], context: Option<&str>| Server::Kubeconfig {
        files: files.iter().map(PathBuf::from).collect(),
        context: context.map(str::to_owned),
        trusted: true,
    };
    for (fields, process, expect) in [
        ("", vec![HOME, pod], Server::InCluster),
        ("", vec![HOME, pod, named], kubeconfig(&["/a", "/b"], None)),
        ("context = \"c\"", vec![HOME, pod], kubeconfig(&["/home/a/.kube/config"], Some("c"))),
        ("kubeconfig = \"/k\"", vec![HOME, pod, named], kubeconfig(&["/k"], None)),
        ("kubeconfig = \"/k\"\ncontext = \"c\"", vec![], kubeconfig(&["/k"], Some("c"))),
    ] {
        assert_eq!(read(fields, &process, Trust::Full).unwrap().server, expect, "{fields} {process:?}");
    }
    // What prints a Role or a policy needs no server: who asks one is told.
    let nowhere = read("", &[], Trust::Full).unwrap().server;
    assert!(nowhere.is_somewhere().unwrap_err().help.contains("KUBECONFIG="));
}

#[test]
fn a_found_kubeconfig_is_a_strangers_and_an_ambient_one_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    let beside = read_in(folder.path(), "kubeconfig = \"kube\"", &[HOME], Trust::Found).unwrap();
    let files = vec![folder.path().join("kube")];
    assert_eq!(beside.server, Server::Kubeconfig { files, context: None, trusted: false });
    for outside in ["/etc/kube", "../kube"] {
        let error = read_in(folder.path(), &format!("kubeconfig = \"{outside}\""), &[HOME], Trust::Found);
        let error = error.unwrap_err();
        assert!(error.refused && error.message.contains("outside its folder"), "{outside}: {error:?}");
    }
    for process in [vec![HOME], vec![HOME, ("KUBECONFIG", "/a")]] {
        let own = read("context = \"c\"", &process, Trust::Found).unwrap().server;
        let Server::Kubeconfig { context: Some(context), trusted: true, .. } = own else { panic!("{own:?}") };
        assert_eq!(context, "c");
    }
}

#[test]
fn a_higher_layer_replaces_lists_whole() {
    let text = r#"
        [source.k]
        type = "kubernetes"
        kubeconfig = "/k"
        secrets = [{ name = "a", prefix = "A_" }, "b"]
        config_maps = ["m"]
        [env.staging.source.k]
        secrets = [{ name = "c" }]
    "#;
    let file = SettingsFile { label: FILE_NAME.into(), folder: "/nowhere".into(), text: text.into() };
    let opened = Opened::new(Some(file), Path::new("/nowhere"), Trust::Full).unwrap();
    let settings = opened.in_environment("staging", &["staging".into()], Network::Online(&[])).unwrap();
    let Some(SourceKind::Kubernetes { config }) = settings.sources.into_iter().next().map(|s| s.kind) else {
        panic!()
    };
    assert_eq!(config.objects, [plain(Kind::ConfigMap, "m"), plain(Kind::Secret, "c")]);
}

#[test]
fn what_was_meant_by_a_name_is_guessed() {
    for (text, near) in [
        ("Datalens_API", Some("datalens-api")),
        (" api ", Some("api")),
        ("_x_", Some("x")),
        ("ä", None),
        ("", None),
        ("a/b", None),
    ] {
        assert_eq!(proposed(text).as_deref(), near, "{text:?}");
    }
}
