//! Settings: reading them, found and named, and narrowing them.
//!
//! Shared by the fuzz target and by the test that replays its corpus.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dlconf::delivery::config::Action;
use dlconf::kubernetes::Server;
use dlconf::serve::config::{Listen, SocketConfig};
use dlconf::settings::{
    Network, Opened, Settings, SettingsError, SettingsFile, ShownPath, SourceKind, Trust,
};
use dlconf::source::key_file::KeyPlace;
use dlconf::source::kubernetes::Config as KubernetesConfig;
use dlconf::source::vault::Config;
use dlconf::source::vault::config::{Auth, RoleId};

const LONGEST: usize = 64 * 1024;

const LABEL: &str = "dlconf.toml";

/// Where the caller's token belongs.
const HOME: &str = "https://vault.example.com:8200";

/// The caller's own.
const KUBECONFIG: &str = "/home/caller/kubeconfig";

/// What every input must satisfy.
pub(crate) fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input.get(..LONGEST).unwrap_or(input)) else { return };
    let folder = folder();
    let names: Vec<Box<str>> = ["development", "staging", "production"].map(Box::from).into();
    for trust in [Trust::Found, Trust::Full] {
        let file = SettingsFile { label: LABEL.into(), folder: folder.to_owned(), text: text.to_owned() };
        let opened = match Opened::new(Some(file), folder, trust) {
            Ok(opened) => opened,
            Err(error) => {
                placed(text, &error);
                continue;
            }
        };
        assert!(opened.has_file());
        let _name = opened.environment();
        match opened.schema() {
            Ok(Some(schema)) => allowed(&schema, folder, trust),
            Ok(None) => {}
            Err(error) => placed(text, &error),
        }
        let process = [("VAULT_ADDR", HOME), ("VAULT_TOKEN", "t"), ("KUBECONFIG", KUBECONFIG)]
            .map(|(k, v)| (k.into(), v.into()));
        let process: &[(OsString, OsString)] = &process;
        for environment in ["production", "development"] {
            for network in [Network::Offline, Network::Online(process)] {
                match opened.in_environment(environment, &names, network) {
                    Ok(settings) => reached(&settings, folder, trust, network),
                    Err(error) => {
                        placed(text, &error);
                        assert!(!error.refused || trust == Trust::Found, "what is named may do all");
                    }
                }
            }
        }
    }
}

/// A folder with a way out, and with a pipe, at which whoever opens it waits
/// for ever: settings open nothing.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let target =
            option_env!("CARGO_TARGET_TMPDIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target"));
        let folder = Path::new(target).join("settings-folder");
        fs::create_dir_all(folder.join("sub")).expect("a folder among what was built");
        for (to, link) in [("/", "out"), ("sub", "in")] {
            let made = symlink(to, folder.join(link));
            assert!(made.is_ok() || folder.join(link).is_symlink(), "{made:?}");
        }
        // Two processes may be at it: that one of them made it is enough.
        let _already_there = Command::new("mkfifo").arg("-m600").arg(folder.join("pipe")).output();
        let pipe = folder.join("pipe").metadata().expect("mkfifo made it");
        assert!(pipe.file_type().is_fifo());
        folder.canonicalize().expect("it is there")
    })
}

fn placed(text: &str, error: &SettingsError) {
    assert!(!error.message.is_empty());
    let Some(at) = error.place.as_ref().and_then(dlconf::model::origin::Location::span) else { return };
    let line = text.split('\n').nth(at.line as usize - 1).expect("the line is there");
    let length = line.chars().count();
    assert!((1..=length + 1).contains(&(at.column as usize)), "{at:?} of {length} characters");
}

fn reached(settings: &Settings, folder: &Path, trust: Trust, network: Network<'_>) {
    for source in &settings.sources {
        match &source.kind {
            SourceKind::Env => {}
            SourceKind::Dotenv { path, folder: of_four, .. } => {
                allowed(of_four, folder, trust);
                if let Some(path) = path {
                    allowed(path, folder, trust);
                }
            }
            SourceKind::File { path, .. } | SourceKind::Directory { path, .. } => {
                allowed(path, folder, trust);
            }
            SourceKind::Sealed { path, key, .. } => {
                allowed(path, folder, trust);
                match key {
                    KeyPlace::File(file) | KeyPlace::Passphrase(file) => allowed(file, folder, trust),
                    KeyPlace::Credential { name, .. } => {
                        assert!(trust == Trust::Full && !name.contains('/') && name != "..");
                    }
                }
            }
            SourceKind::Vault { config, token } => vault(config, *token, folder, trust),
            SourceKind::Kubernetes { config } => kubernetes(config, folder, trust),
            SourceKind::PassedOver => assert!(matches!(network, Network::Offline)),
        }
        assert!(!source.max_age.is_zero());
    }
    daemon(settings, folder, trust);
}

/// Something is read of it, once each; a stranger's kubeconfig lies in his folder and
/// is not trusted, and what is trusted then is the caller's own.
fn kubernetes(config: &KubernetesConfig, folder: &Path, trust: Trust) {
    assert!(!config.objects.is_empty());
    for (at, object) in config.objects.iter().enumerate() {
        let same =
            config.objects.iter().filter(|other| (other.kind, &other.name) == (object.kind, &object.name));
        assert_eq!(same.count(), 1, "{at}");
    }
    assert!(!config.timeout.is_zero() && !config.deadline.is_zero());
    let Server::Kubeconfig { files, trusted, .. } = &config.server else { panic!("this is no pod") };
    if trust == Trust::Full {
        assert!(*trusted);
    } else if *trusted {
        assert_eq!(files, &[Path::new(KUBECONFIG)]);
    } else {
        for file in files {
            inside(file, folder, trust);
        }
    }
}

/// What a daemon is told can be done, and found settings keep it to their folder
/// and this machine.
fn daemon(settings: &Settings, folder: &Path, trust: Trust) {
    let found = trust == Trust::Found;
    for delivery in &settings.deliveries {
        inside(&delivery.path, folder, trust);
        assert!(delivery.path.file_name().is_some() && delivery.access.mode & !0o666 == 0);
        assert!(!found || delivery.on_change.is_none());
        if let Some(Action::Exec { argv, timeout }) = delivery.on_change.as_ref().map(|todo| &todo.action) {
            assert!(argv.first().is_some_and(|program| program.starts_with('/')) && !timeout.is_zero());
        }
    }
    let socket = |socket: &SocketConfig| {
        inside(&socket.path, folder, trust);
        assert!(socket.path.is_absolute() && socket.mode & !0o666 == 0);
        assert!(std::os::unix::net::SocketAddr::from_pathname(&socket.path).is_ok());
    };
    settings.socket.iter().map(|asked| &asked.at).for_each(socket);
    match &settings.ops {
        Some(Listen::Unix(ops)) => socket(ops),
        Some(Listen::Tcp(address)) => assert!(!found || address.ip().to_canonical().is_loopback()),
        None => {}
    }
    assert!(settings.debounce.min <= settings.debounce.max);
}

/// What a Vault source is told can be asked for, and nothing of the caller's goes
/// to a server that found settings choose.
fn vault(config: &Config, token: Option<&str>, folder: &Path, trust: Trust) {
    assert_eq!(token.is_some(), config.auth == Auth::Token);
    assert!(!config.paths.is_empty());
    for path in &config.paths {
        let url = config.address.url().join(&format!("/v1/{}", path.engine.api_path())).expect("a URL");
        assert_eq!(url.path().split('/').count(), path.engine.api_path().split('/').count() + 2);
        assert!(url.query().is_none() && url.fragment().is_none());
    }
    let (first, second) = match &config.auth {
        Auth::Token | Auth::Cert { .. } => (None, None),
        Auth::TokenFile { path } => (Some(path), None),
        Auth::Kubernetes { token, .. } | Auth::Jwt { token, .. } => (Some(token), None),
        Auth::AppRole { role_id: RoleId::File(role), secret_id, .. } => (Some(role), secret_id.as_ref()),
        Auth::AppRole { secret_id, .. } => (None, secret_id.as_ref()),
    };
    let identity = config.tls.identity.iter().flat_map(|identity| [&identity.cert, &identity.key]);
    for file in first.into_iter().chain(second).chain(identity).chain(&config.tls.ca_cert) {
        allowed(file, folder, trust);
    }
    if trust == Trust::Found {
        assert!(!config.tls.insecure_skip_verify);
        assert!(token.is_none() || (config.address.as_str() == HOME && config.tls.ca_cert.is_none()));
    }
}

fn allowed(shown: &ShownPath, folder: &Path, trust: Trust) {
    inside(&shown.path, folder, trust);
}

/// What exists of a path of merely found settings lies inside their folder.
fn inside(path: &Path, folder: &Path, trust: Trust) {
    if trust == Trust::Full {
        return;
    }
    let real = path.ancestors().find_map(|path| path.canonicalize().ok());
    assert!(real.is_some_and(|real| real.starts_with(folder)), "{} is outside", path.display());
}
