//! One exchange with the server: HTTP with our own deadlines, limits and trust.
//!
//! Owns: two connections' worth of client. `Lane::Poll` keeps its connection, for
//! answers without values; `Lane::Data` closes it after every answer, since an
//! idle connection keeps what its buffers carried.
//! Invariants: every exchange ends within the configured time and size; tokens
//! go to the configured address only (redirections are not followed); TLS is
//! verified unless the settings say in so many words that it is not.
//! Must not know: what is asked for.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, Request, Response};
use rustify::endpoint::{Endpoint, MiddleWare};
use rustify::errors::ClientError;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::de::DeserializeOwned;

use super::api::{Envelope, Read};
use super::config::{Config, Tls};
use super::trouble::{Kind, Trouble};
use crate::disk::stamp::Stamp;
use crate::model::origin::Location;
use crate::model::secret::SecretValue;
use crate::network::{Break, retry_after};
use crate::source::file::{FileText, ShownPath};
use crate::source::{Fault, FaultKind};

/// The largest answer, in bytes. A secret is below one MiB; a folder of ten
/// thousand secrets' metadata is below this.
const ANSWER_LIMIT: usize = 8 << 20;

/// The largest certificate file, in bytes.
const PEM_LIMIT: u64 = 1 << 20;

/// Which connection an exchange takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// One that stays open: nothing secret comes back on it.
    Poll,
    /// One that is closed afterwards.
    Data,
}

/// The server as we reach it.
pub(super) struct Client {
    poll: reqwest::Client,
    data: reqwest::Client,
    /// Scheme, host and port.
    base: String,
    /// What stands in front of the API's paths: `/v1`.
    prefix: String,
    namespace: Option<String>,
    timeout: Duration,
}

/// An answer, whatever its status.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) date: Option<SystemTime>,
    retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    /// The answer's content.
    ///
    /// # Errors
    /// [`Trouble`] for any status but success, and where it is not what the API
    /// answers.
    pub(super) fn envelope<T: DeserializeOwned>(&self) -> Result<Envelope<T>, Trouble> {
        self.success()?;
        serde_json::from_slice(&self.body).map_err(|_| Kind::NotTheApi.into())
    }

    /// That it is a success, with or without content.
    ///
    /// # Errors
    /// [`Trouble`] for any other status.
    pub(super) fn success(&self) -> Result<(), Trouble> {
        match self.status {
            200..=299 => Ok(()),
            status => Err(Trouble::of_status(status, self.retry_after, &self.body)),
        }
    }
}

impl Client {
    /// Makes one from the settings; the certificate files are read here.
    ///
    /// # Errors
    /// [`Fault`] where a certificate file cannot be read or used.
    pub(super) fn new(config: &Config) -> Result<Self, Fault> {
        // Whoever comes first installs it; the second finds it there.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let url = config.address.url();
        let base = url.origin().ascii_serialization();
        let prefix = format!("{}/v1", url.path().trim_end_matches('/'));
        let trust = Trust::read(config)?;
        let build = |idle: usize| {
            let builder = trust.apply(reqwest::Client::builder());
            // A proxy of the environment may carry TLS, but not read a token.
            let builder = if config.address.is_tls() { builder } else { builder.no_proxy() };
            builder
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .tcp_nodelay(true)
                .user_agent(concat!("dlconf/", env!("CARGO_PKG_VERSION")))
                .pool_max_idle_per_host(idle)
                .build()
                .map_err(|_| untrusted(config))
        };
        Ok(Self {
            poll: build(1)?,
            data: build(0)?,
            base,
            prefix,
            namespace: config.namespace.clone(),
            timeout: config.timeout,
        })
    }

    /// Asks, and gives whatever the server answers.
    ///
    /// # Errors
    /// [`Trouble`] where there is no answer.
    pub(super) async fn exchange<E: Endpoint>(
        &self,
        lane: Lane,
        token: Option<&SecretValue>,
        endpoint: E,
    ) -> Result<Reply, Trouble> {
        self.send(lane, token, self.namespace.as_deref(), endpoint).await
    }

    /// How the server is, whatever status it says it with.
    ///
    /// # Errors
    /// [`Trouble`] where there is no answer.
    pub(super) async fn health(&self) -> Result<Reply, Trouble> {
        // It belongs to no namespace.
        self.send(Lane::Poll, None, None, Read { path: "sys/health".into() }).await
    }

    async fn send<E: Endpoint>(
        &self,
        lane: Lane,
        token: Option<&SecretValue>,
        namespace: Option<&str>,
        endpoint: E,
    ) -> Result<Reply, Trouble> {
        let headers = Headers { client: self, token, namespace };
        let wire = Wire { client: self, lane };
        let answer = endpoint.with_middleware(&headers).exec(&wire).await.map_err(|error| match error {
            ClientError::GenericError { source } => {
                source.downcast::<Trouble>().unwrap_or_else(|_| Break::Connection.into())
            }
            _ => Kind::Unwritable.into(),
        })?;
        let now = SystemTime::now();
        let headers = answer.response.headers();
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let date = text(http::header::DATE)
            .and_then(|text| chrono::DateTime::parse_from_rfc2822(text).ok())
            .map(SystemTime::from);
        let retry_after = text(RETRY_AFTER).and_then(|value| retry_after(value, now));
        Ok(Reply {
            status: answer.response.status().as_u16(),
            date,
            retry_after,
            body: answer.response.into_body(),
        })
    }

    /// Asks for content.
    ///
    /// # Errors
    /// [`Trouble`], also for every status but success.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        lane: Lane,
        token: Option<&SecretValue>,
        endpoint: impl Endpoint,
    ) -> Result<Envelope<T>, Trouble> {
        self.exchange(lane, token, endpoint).await?.envelope()
    }
}

/// What every request carries. The middleware of `vaultrs` panics on a token
/// with a line end and loses an address's path.
struct Headers<'a> {
    client: &'a Client,
    token: Option<&'a SecretValue>,
    namespace: Option<&'a str>,
}

impl MiddleWare for Headers<'_> {
    fn request<E: Endpoint>(&self, _: &E, request: &mut Request<Vec<u8>>) -> Result<(), ClientError> {
        let path = request.uri().path_and_query().map_or("", |path| path.as_str());
        // rustify ends every path that may have a query with a question mark.
        let path = path.trim_start_matches('/').trim_end_matches('?');
        let uri = format!("{}{}/{path}", self.client.base, self.client.prefix);
        *request.uri_mut() = uri.parse().map_err(|source| ClientError::UrlBuildError { source })?;
        let unwritable = |_| ClientError::GenericError { source: Trouble::from(Kind::Unwritable).into() };
        let headers = request.headers_mut();
        headers.insert("x-vault-request", HeaderValue::from_static("true"));
        if let Some(token) = self.token {
            let mut value = HeaderValue::from_str(token.expose()).map_err(unwritable)?;
            value.set_sensitive(true);
            headers.insert("x-vault-token", value);
        }
        if let Some(namespace) = self.namespace {
            headers.insert("x-vault-namespace", HeaderValue::from_str(namespace).map_err(unwritable)?);
        }
        Ok(())
    }

    fn response<E: Endpoint>(&self, _: &E, _: &mut Response<Vec<u8>>) -> Result<(), ClientError> {
        Ok(())
    }
}

/// One lane, as rustify's client.
struct Wire<'a> {
    client: &'a Client,
    lane: Lane,
}

#[async_trait]
impl rustify::client::Client for Wire<'_> {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ClientError> {
        let done = tokio::time::timeout(self.client.timeout, self.carry(request)).await;
        let done = done.unwrap_or_else(|_| Err(Break::Timeout.into()));
        done.map_err(|trouble| ClientError::GenericError { source: trouble.into() })
    }

    fn base(&self) -> &str {
        &self.client.base
    }

    /// Statuses are judged by [`Reply`], which has the headers; rustify would drop
    /// them.
    async fn execute(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ClientError> {
        self.send(request).await
    }
}

impl Wire<'_> {
    async fn carry(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Trouble> {
        let request = reqwest::Request::try_from(request).map_err(|_| Kind::Unwritable)?;
        let http = match self.lane {
            Lane::Poll => &self.client.poll,
            Lane::Data => &self.client.data,
        };
        let mut answer = http.execute(request).await.map_err(|error| Break::of(&error))?;
        let expected = answer.content_length().and_then(|length| usize::try_from(length).ok());
        let mut body = Vec::with_capacity(expected.unwrap_or(4096).min(ANSWER_LIMIT));
        while let Some(chunk) = answer.chunk().await.map_err(|error| Break::of(&error))? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(Kind::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        let mut response = Response::new(body);
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        Ok(response)
    }
}

/// Whom we trust and who we are, read.
struct Trust {
    /// None means the system's authorities.
    authorities: Option<Vec<reqwest::Certificate>>,
    identity: Option<reqwest::Identity>,
    verify: bool,
}

impl Trust {
    fn read(config: &Config) -> Result<Self, Fault> {
        let tls = &config.tls;
        if !config.address.is_tls() {
            // Nobody to trust. An empty list also keeps reqwest from looking for the
            // system's authorities, which a scratch image lacks.
            return Ok(Self { authorities: Some(Vec::new()), identity: None, verify: true });
        }
        let authorities = match &tls.ca_cert {
            None => None,
            Some(path) => Some(authorities(path)?),
        };
        let identity = match &tls.identity {
            None => None,
            Some(identity) => {
                let (cert, key) = (pem(&identity.cert)?, pem(&identity.key)?);
                let mut both = String::with_capacity(cert.text.len() + key.text.len() + 1);
                both.push_str(&cert.text);
                both.push('\n');
                both.push_str(&key.text);
                let both = SecretValue::new(both);
                let made = reqwest::Identity::from_pem(both.expose().as_bytes());
                Some(made.map_err(|_| {
                    unusable(&identity.cert, "and its key are no PEM certificate and private key")
                })?)
            }
        };
        Ok(Self { authorities, identity, verify: !tls.insecure_skip_verify })
    }

    fn apply(&self, builder: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
        let builder = match &self.authorities {
            Some(authorities) => builder.tls_certs_only(authorities.iter().cloned()),
            None => builder,
        };
        let builder = match &self.identity {
            Some(identity) => builder.identity(identity.clone()),
            None => builder,
        };
        builder.tls_danger_accept_invalid_certs(!self.verify)
    }
}

/// No client comes of what was read; the builder does not say why.
fn untrusted(config: &Config) -> Fault {
    match (&config.tls.identity, &config.tls.ca_cert) {
        (Some(identity), _) => unusable(&identity.cert, "does not go with its key, or TLS cannot use it"),
        (None, Some(path)) => unusable(path, "holds a certificate that TLS cannot use"),
        (None, None) => Fault {
            kind: FaultKind::Malformed,
            location: Location::Named(config.address.as_str().into()),
            message: "this system has no authorities to trust, so TLS cannot be verified".into(),
            help: "install its CA certificates, or name one: `tls = { ca_cert = \"ca.pem\" }`".into(),
        },
    }
}

/// The authorities of a file.
fn authorities(path: &ShownPath) -> Result<Vec<reqwest::Certificate>, Fault> {
    let text = pem(path)?;
    let pem = text.text.as_bytes();
    let certificates = reqwest::Certificate::from_pem_bundle(pem).ok().filter(|list| !list.is_empty());
    let certificates = certificates.ok_or_else(|| unusable(path, "holds no PEM certificate"))?;
    // Tried here: the builder does not say which file it dislikes.
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_slice_iter(pem).all(|one| one.is_ok_and(|one| roots.add(one).is_ok()));
    all.then_some(certificates).ok_or_else(|| unusable(path, "holds a certificate that TLS cannot use"))
}

fn pem(path: &ShownPath) -> Result<FileText, Fault> {
    path.read(PEM_LIMIT).map_err(|fault| fault.at(&path.label.as_str().into()))
}

fn unusable(path: &ShownPath, why: &str) -> Fault {
    Fault {
        kind: FaultKind::Malformed,
        location: Location::File { path: path.label.as_str().into(), at: None },
        message: format!("{} {why}", path.label),
        help: "write it anew, in PEM".into(),
    }
}

/// The certificate files as they are now, to know whether they are still those that
/// were read.
pub(super) fn stamps(tls: &Tls) -> Vec<Option<Stamp>> {
    let identity = tls.identity.iter().flat_map(|identity| [&identity.cert, &identity.key]);
    tls.ca_cert.iter().chain(identity).map(ShownPath::stamp).collect()
}
