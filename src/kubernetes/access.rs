//! The way to an API server, made ready: its address, whom to trust, who we are.
//!
//! Owns: reading the pod's service account or a kubeconfig, as `kube` understands
//! them; a credential plugin runs here.
//! Invariants: verification is never off, and a credential goes in the clear to
//! this machine only; errors of `kube` are recognised and never printed, since they
//! quote kubeconfigs and what plugins say.
//! Must not know: what is asked for.

use std::future::ready;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use kube::client::middleware::AuthLayer;
use kube::client::{AuthError, ConfigExt as _};
use kube::config::{AuthInfo, Config, KubeConfigOptions, Kubeconfig, KubeconfigError, LoadDataError};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tower::{BoxError, Layer as _, ServiceExt as _, service_fn};

use super::object::Name;
use super::server::{SERVICE_ACCOUNT, Server};
use super::trouble::{Misfit, Trouble, Why};
use crate::process::Guest;

/// The largest kubeconfig, in bytes.
const KUBECONFIG_LIMIT: u64 = 1 << 20;

/// What tells a file from another in its place.
type Stamp = (u64, Option<SystemTime>);

/// Where objects are when nobody says: what kubectl does.
const DEFAULT_NAMESPACE: &str = "default";

/// How to reach a server and what to show it.
pub(super) struct Access {
    /// As messages print it: `https://10.0.0.1:6443`.
    pub(super) address: Arc<str>,
    pub(super) host: String,
    pub(super) port: u16,
    /// What goes into the `Host` header.
    pub(super) authority: HeaderValue,
    /// What stands in front of the API's paths, without a slash at its end.
    pub(super) prefix: String,
    /// None where the address is `http://`, which is this machine.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    auth: Option<AuthLayer>,
    /// Whoever asks for the host's addresses has this.
    pub(super) resolving: Arc<Mutex<()>>,
    /// Whoever renews a credential has this.
    renewing: Arc<Mutex<()>>,
    /// The files that it was read from, as they were.
    read_from: Vec<(PathBuf, Option<Stamp>)>,
    /// That of the context, or the pod's own; none where that is none.
    pub(super) namespace: Option<Name>,
}

impl Access {
    /// Reads files, and may run a credential plugin. `alone` is let go when both are
    /// done, also where nobody waits for that any longer: one that hangs keeps a thread.
    ///
    /// # Errors
    /// [`Misfit`] where there is no way to the server.
    pub(super) async fn open(server: &Server, alone: OwnedMutexGuard<()>) -> Result<Self, Misfit> {
        // Whoever comes first installs it; the second finds it there.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        server.is_somewhere()?;
        let (server, runtime) = (server.clone(), Handle::current());
        // Plugins and files: not on a thread that serves others.
        let made = tokio::task::spawn_blocking(move || {
            let _alone = alone;
            let _waits_for_a_plugin = Guest::arrives();
            let read_from = server.files().iter().map(|file| (file.clone(), stamp(file))).collect();
            let config = match &server {
                Server::InCluster => in_cluster()?,
                Server::Kubeconfig { .. } => runtime.block_on(by_kubeconfig(&server))?,
            };
            Self::of(&config, &server.label(), read_from)
        });
        made.await.unwrap_or_else(|_| {
            Err(Misfit {
                message: "the credentials could not be made ready".into(),
                help: "see the messages above".into(),
            })
        })
    }

    fn of(config: &Config, label: &str, read_from: Vec<(PathBuf, Option<Stamp>)>) -> Result<Self, Misfit> {
        let uri = &config.cluster_url;
        let (host, port, is_tls) = target(uri).ok_or_else(|| Misfit {
            message: format!("{label}: the server's address is no http:// or https:// address"),
            help: "write it as https://10.0.0.1:6443".into(),
        })?;
        if config.accept_invalid_certs {
            return Err(Misfit {
                message: format!("{label} turns the verification of the server off"),
                help: "replace `insecure-skip-tls-verify` by `certificate-authority-data`".into(),
            });
        }
        if !is_tls && !is_here(&host) {
            return Err(Misfit {
                message: format!("{label}: the address is http://, which sends every value in the clear"),
                help: "write https://; http:// is for `kubectl proxy` on this machine".into(),
            });
        }
        let tls = if is_tls {
            let mut client = config.rustls_client_config().map_err(|error| misfit(label, &error))?;
            // Of HTTP/2 a watch would learn little, and share a connection's buffers.
            client.alpn_protocols = vec![b"http/1.1".to_vec()];
            let name = config.tls_server_name.as_deref().unwrap_or(&host);
            let name = ServerName::try_from(name.to_owned()).map_err(|_| Misfit {
                message: format!("{label}: the server's name is none that a certificate can have"),
                help: "correct the address, or `tls-server-name`".into(),
            })?;
            Some((Arc::new(client), name))
        } else {
            None
        };
        if impersonates(&config.auth_info) {
            return Err(Misfit {
                message: format!("{label} acts as somebody else (`as`), which dlconf cannot"),
                help: "name a context whose user is the one that is meant".into(),
            });
        }
        let auth = config.auth_layer().map_err(|error| misfit(label, &error))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let authority = HeaderValue::from_str(authority.rsplit('@').next().unwrap_or(authority));
        Ok(Self {
            address: format!(
                "{}://{host_shown}:{port}",
                if is_tls { "https" } else { "http" },
                host_shown = shown(&host)
            )
            .into(),
            host,
            port,
            authority: authority.map_err(|_| Misfit {
                message: format!("{label}: the server's address is none"),
                help: "write it as https://10.0.0.1:6443".into(),
            })?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            tls,
            auth,
            resolving: Arc::default(),
            renewing: Arc::default(),
            read_from,
            namespace: Name::namespace(match config.default_namespace.trim() {
                "" => DEFAULT_NAMESPACE,
                named => named,
            }),
        })
    }

    /// Whether a file that it was read from is another by now.
    pub(super) fn has_moved(&self) -> bool {
        self.read_from.iter().any(|(file, before)| stamp(file) != *before)
    }

    /// Puts the credentials of this moment into a request.
    ///
    /// # Errors
    /// [`Trouble`] where there are none: a token file that went, a plugin that fails.
    pub(super) async fn sign(&self, headers: &mut HeaderMap) -> Result<(), Trouble> {
        let Some(auth) = &self.auth else { return Ok(()) };
        // The layer adds headers to a request; what it would send it to hands them back.
        let back = service_fn(|request: Request<String>| {
            let (parts, _) = request.into_parts();
            ready(Ok::<_, BoxError>(Response::new(parts.headers)))
        });
        let signed: BoxFuture<'static, Result<Response<HeaderMap>, BoxError>> =
            Box::pin(auth.layer(back).oneshot(Request::new(String::new())));
        // A token may have to be had from a plugin anew: from one at a time, also where
        // nobody waits for it any longer.
        let alone = Arc::clone(&self.renewing).lock_owned().await;
        let signed = tokio::spawn(async move {
            let _alone = alone;
            let _waits_for_a_plugin = Guest::arrives();
            signed.await.ok()
        });
        let Ok(Some(signed)) = signed.await else {
            return Err(Trouble::from(Why::Access(Misfit {
                message: format!("{}: our credentials cannot be renewed", self.address),
                help: "see whether the token's file is there, or what the credential plugin says".into(),
            })));
        };
        headers.extend(signed.into_body());
        Ok(())
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(file).ok()?;
    Some((found.len(), found.modified().ok()))
}

/// Host, port and whether it has TLS.
fn target(uri: &Uri) -> Option<(String, u16, bool)> {
    let is_tls = match uri.scheme_str()? {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    (!host.is_empty()).then_some((host, port, is_tls))
}

fn shown(host: &str) -> String {
    if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn in_cluster() -> Result<Config, Misfit> {
    use kube::config::InClusterError as Error;
    let help = format!(
        "mount a projected service account token with ca.crt and namespace at {SERVICE_ACCOUNT}, or name a `kubeconfig`"
    );
    Config::incluster_env().map_err(|error| {
        let unread =
            |what: &str, error: &io::Error| format!("{SERVICE_ACCOUNT}/{what} {}", cannot_be_read(error));
        let message = match &error {
            Error::ReadDefaultNamespace(error) => unread("namespace", error),
            Error::ReadCertificateBundle(error) => unread("ca.crt", error),
            Error::ParseCertificates(_) => format!("{SERVICE_ACCOUNT}/ca.crt holds no PEM certificate"),
            _ => "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT name no API server".to_owned(),
        };
        Misfit { message, help: help.clone() }
    })
}

async fn by_kubeconfig(server: &Server) -> Result<Config, Misfit> {
    let Server::Kubeconfig { files, context, trusted } = server else { return in_cluster() };
    let label = server.label();
    let mut merged = Kubeconfig::default();
    for file in files {
        // Of a list, those that are not there are passed over, as kubectl has it.
        if files.len() > 1 && !file.exists() && files.iter().any(|file| file.exists()) {
            continue;
        }
        let label = file.display().to_string();
        // It is read whole, so a device or a pipe would be read for ever.
        if std::fs::metadata(file).is_ok_and(|found| !found.is_file() || found.len() > KUBECONFIG_LIMIT) {
            return Err(Misfit {
                message: format!("{label} is no file of at most 1 MiB"),
                help: "name a kubeconfig".into(),
            });
        }
        let one = Kubeconfig::read_from(file);
        merged = one.and_then(|one| merged.merge(one)).map_err(|error| misfit_of(&label, &error))?;
    }
    // Before anything that it names is touched.
    if !trusted && reaches_beyond(&merged) {
        return Err(Misfit {
            message: format!(
                "{label} runs a program or names further files, and the settings that name it were merely found"
            ),
            help: "name the settings with --config, or embed the certificates and the token".into(),
        });
    }
    let chosen = context.clone().or_else(|| merged.current_context.clone());
    if uses_a_proxy(&merged, chosen.as_deref()) {
        return Err(Misfit {
            message: format!("{label} reaches the server through a proxy, which dlconf cannot"),
            help: "name a server that can be reached directly".into(),
        });
    }
    let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(merged, &options).await.map_err(|error| misfit_of(&label, &error))
}

/// Whether the kubeconfig itself says so: `HTTPS_PROXY` is not looked at.
fn uses_a_proxy(kubeconfig: &Kubeconfig, context: Option<&str>) -> bool {
    let context = kubeconfig.contexts.iter().find(|named| Some(named.name.as_str()) == context);
    let Some(context) = context.and_then(|named| named.context.as_ref()) else { return false };
    let cluster = kubeconfig.clusters.iter().find(|named| named.name == context.cluster);
    cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_ref()).is_some_and(|url| !url.is_empty())
}

/// Whether it runs a program, or reads files of its own choice, for whatever context.
fn reaches_beyond(kubeconfig: &Kubeconfig) -> bool {
    let mut clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
    let mut users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
    clusters.any(|cluster| cluster.certificate_authority.is_some())
        || users.any(|user| {
            let files = [&user.token_file, &user.client_certificate, &user.client_key];
            user.exec.is_some() || user.auth_provider.is_some() || files.iter().any(|file| file.is_some())
        })
}

/// Whether its user is to appear as another.
fn impersonates(user: &AuthInfo) -> bool {
    user.impersonate.is_some()
        || user.impersonate_uid.is_some()
        || user.impersonate_groups.as_ref().is_some_and(|groups| !groups.is_empty())
        || user.impersonate_user_extra.as_ref().is_some_and(|extra| !extra.is_empty())
}

fn cannot_be_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not there".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read".to_owned(),
        kind => format!("cannot be read ({kind})"),
    }
}

/// What is wrong with a kubeconfig, without its words.
fn misfit_of(label: &str, error: &KubeconfigError) -> Misfit {
    let misfit =
        |clause: &str, help: &str| Misfit { message: format!("{label} {clause}"), help: help.into() };
    let certificate = |what: &str, error: &LoadDataError| match error {
        LoadDataError::ReadFile(error, path) => misfit(
            &format!("names {} for its {what}, which {}", path.display(), cannot_be_read(error)),
            "correct the path, or embed it",
        ),
        _ => misfit(&format!("has a {what} that is no base64 of one"), "write it anew"),
    };
    match error {
        KubeconfigError::CurrentContextNotSet => {
            misfit("has no current context", "add `context = \"…\"`, or `kubectl config use-context`")
        }
        KubeconfigError::LoadContext(name) => {
            misfit(&format!("has no context `{name}`"), "`kubectl config get-contexts` shows them")
        }
        KubeconfigError::LoadClusterOfContext(name) => {
            misfit(&format!("has no cluster `{name}`, which its context names"), "correct the context")
        }
        KubeconfigError::ReadConfig(error, _) => {
            misfit(&cannot_be_read(error), "correct the path: `kubeconfig` in the settings, or KUBECONFIG")
        }
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => {
            misfit("names no usable server address", "write `server: https://…` for the cluster")
        }
        KubeconfigError::LoadCertificateAuthority(error) => certificate("certificate authority", error),
        KubeconfigError::LoadClientCertificate(error) => certificate("client certificate", error),
        KubeconfigError::LoadClientKey(error) => certificate("client key", error),
        KubeconfigError::ParseCertificates(_) => {
            misfit("has a certificate authority that is no PEM certificate", "write it anew")
        }
        _ => misfit("is no kubeconfig", "`kubectl config view` shows what kubectl makes of it"),
    }
}

/// What keeps certificates or credentials from being used, without their words.
fn misfit(label: &str, error: &kube::Error) -> Misfit {
    let (clause, help) = match error {
        kube::Error::Auth(AuthError::ReadTokenFile(error, path)) => (
            format!("names {} for its token, which {}", path.display(), cannot_be_read(error)),
            "see what mounts or writes it",
        ),
        kube::Error::Auth(AuthError::AuthExecStart(error)) => (
            format!("names a credential plugin that cannot be started ({})", error.kind()),
            "install it, or correct its path",
        ),
        kube::Error::Auth(AuthError::AuthExecRun { out, .. }) => (
            format!("names a credential plugin that failed ({})", out.status),
            "run it by hand: kubectl does the same",
        ),
        kube::Error::Auth(_) => {
            ("has credentials that cannot be used".to_owned(), "see whether kubectl can use them")
        }
        kube::Error::RustlsTls(_) => (
            "has certificates or a key that TLS cannot use, or names no authority where this system has none"
                .to_owned(),
            "write them anew, in PEM; `certificate-authority-data` names the authority",
        ),
        _ => ("cannot be used".to_owned(), "see whether kubectl can use it"),
    };
    Misfit { message: format!("{label} {clause}"), help: help.to_owned() }
}
