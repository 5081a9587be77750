//! One exchange with an API server, or one watch: HTTP/1.1 with our own deadlines,
//! limits and trust.
//!
//! Invariants: each has a connection of its own, which is closed with it, so that
//! nothing that came over it stays in a buffer; every exchange ends within the
//! configured time and size; redirections are not followed; credentials that are
//! refused are read anew for the next exchange.
//! Must not know: what is asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, DATE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::access::Access;
use super::object::Name;
use super::server::Server;
use super::token::Token;
use super::trouble::{Trouble, Why};
use super::wire::Event;
use crate::network::{Break, connect_to_any, retry_after};

/// The largest answer, in bytes: an object is below 1.5 MiB, its data in base64 and
/// its annotations included.
const ANSWER_LIMIT: usize = 4 << 20;

/// Of what is asked, the representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// All of it.
    Whole,
    /// The metadata of a list.
    ListOfMeta,
    /// The metadata of each object of a watch.
    Meta,
}

impl Shape {
    fn accept(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Whole => "application/json",
            Self::ListOfMeta => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Self::Meta => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        })
    }
}

/// What is asked.
#[derive(Clone)]
pub(crate) struct Said {
    pub(crate) method: Method,
    /// Path and query, as the API has them.
    pub(crate) target: String,
    pub(crate) shape: Shape,
    /// JSON; of a PATCH, a JSON patch (RFC 6902).
    pub(crate) body: Option<Vec<u8>>,
}

impl Said {
    /// To read something.
    pub(crate) fn get(target: String, shape: Shape) -> Self {
        Self { method: Method::GET, target, shape, body: None }
    }

    /// What the body is.
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static(match self.method {
            Method::PATCH => "application/json-patch+json",
            _ => "application/json",
        })
    }
}

/// An API server as we reach it.
pub(crate) struct Client {
    server: Server,
    timeout: Duration,
    /// Opened when it is first needed, and again after it was refused.
    access: Arc<Mutex<Option<Arc<Access>>>>,
    /// Whoever opens it has this.
    opening: Arc<tokio::sync::Mutex<()>>,
    /// The server's address, once it is known.
    address: Mutex<Option<Arc<str>>>,
}

impl Client {
    /// Asks nobody yet. `timeout` is for one exchange, its whole answer included.
    pub(crate) fn new(server: Server, timeout: Duration) -> Self {
        Self { server, timeout, access: Arc::default(), opening: Arc::default(), address: Mutex::new(None) }
    }

    /// The server as messages call it: its address, or what should name one.
    pub(crate) fn label(&self) -> String {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        address.as_deref().map_or_else(|| self.server.label(), str::to_owned)
    }

    /// The namespace of the context, or the pod's own.
    ///
    /// # Errors
    /// [`Trouble`] where there is no way to the server.
    pub(crate) async fn namespace(&self) -> Result<Option<Name>, Trouble> {
        // A credential plugin may hang.
        let access = timeout(self.timeout, self.access()).await.map_err(|_| Break::Timeout)??;
        Ok(access.namespace.clone())
    }

    /// Our token, as far as it says something of itself; none where we show another
    /// credential, or none.
    ///
    /// # Errors
    /// [`Trouble`] where there is no way to the server, or no credential.
    pub(crate) async fn token(&self) -> Result<Option<Token>, Trouble> {
        let mut headers = HeaderMap::new();
        let signed = async { self.access().await?.sign(&mut headers).await };
        timeout(self.timeout, signed).await.map_err(|_| Break::Timeout)??;
        Ok(Token::among(&headers))
    }

    /// Asks, and gives the answer's content.
    ///
    /// # Errors
    /// [`Trouble`], also for every status but success and for what is not JSON of
    /// that shape.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, said: Said) -> Result<T, Trouble> {
        Ok(self.ask_dated(said).await?.0)
    }

    /// The same, and what the server's clock said.
    ///
    /// # Errors
    /// As of [`Self::ask`].
    pub(crate) async fn ask_dated<T: DeserializeOwned>(
        &self,
        said: Said,
    ) -> Result<(T, Option<SystemTime>), Trouble> {
        let asked = async {
            let is_known = self.is_open();
            match self.exchange(said.clone()).await {
                // The token may have been exchanged since it was read.
                Err(Trouble { why: Why::Unauthorized, .. }) if is_known => self.exchange(said).await,
                answer => answer,
            }
        };
        let (body, date) = timeout(self.timeout, asked).await.map_err(|_| Break::Timeout)??;
        Ok((serde_json::from_slice(&body).map_err(|_| Why::NotTheApi)?, date))
    }

    /// Begins a watch: what is asked is answered line by line.
    ///
    /// # Errors
    /// [`Trouble`] where it does not begin.
    pub(crate) async fn watch(&self, said: Said) -> Result<Lines, Trouble> {
        let began = async {
            let (link, answer) = self.send(said).await?;
            if answer.status().is_success() {
                return Ok(Lines { body: answer.into_body(), read: Vec::new(), _link: link });
            }
            Err(self.refusal(&link, answer).await)
        };
        timeout(self.timeout, began).await.map_err(|_| Break::Timeout)?
    }

    fn is_open(&self) -> bool {
        self.access.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    async fn exchange(&self, said: Said) -> Result<(Vec<u8>, Option<SystemTime>), Trouble> {
        // The connection ends with this function.
        let (link, answer) = self.send(said).await?;
        if answer.status().is_success() {
            let date = date(answer.headers());
            return Ok((whole(answer.into_body()).await?, date));
        }
        Err(self.refusal(&link, answer).await)
    }

    async fn refusal(&self, link: &Link, answer: Response<Incoming>) -> Trouble {
        let status = answer.status().as_u16();
        let wait = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wait = wait.and_then(|value| retry_after(value, SystemTime::now()));
        let body = whole(answer.into_body()).await.unwrap_or_default();
        let trouble = Trouble::of_status(status, wait, &body);
        if trouble.why == Why::Unauthorized {
            self.forget(&link.access);
        }
        trouble
    }

    async fn send(&self, said: Said) -> Result<(Link, Response<Incoming>), Trouble> {
        let access = self.access().await?;
        let content_type = said.content_type();
        let mut request = Request::builder()
            .method(said.method)
            .uri(format!("{}{}", access.prefix, said.target))
            .body(Full::new(Bytes::from(said.body.unwrap_or_default())))
            .map_err(|_| Why::Rejected(400))?;
        let headers = request.headers_mut();
        access.sign(headers).await?;
        if let Some(value) = headers.get_mut(AUTHORIZATION) {
            value.set_sensitive(true);
        }
        headers.insert(HOST, access.authority.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("dlconf/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, said.shape.accept());
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let sent = async {
            let mut link = Link::open(&access).await?;
            let answer = link.sender.send_request(request).await.map_err(|error| Break::of(&error))?;
            Ok::<_, Break>((link, answer))
        };
        match sent.await {
            Ok(sent) => Ok(sent),
            Err(what) => {
                // Authorities, our certificate, or the address may have been exchanged.
                if !what.passes() || access.has_moved() {
                    self.forget(&access);
                }
                Err(what.into())
            }
        }
    }

    async fn access(&self) -> Result<Arc<Access>, Trouble> {
        if let Some(access) = self.known_access() {
            return Ok(access);
        }
        let alone = Arc::clone(&self.opening).lock_owned().await;
        // Somebody may have opened it meanwhile.
        if let Some(access) = self.known_access() {
            return Ok(access);
        }
        let (server, slot) = (self.server.clone(), Arc::clone(&self.access));
        // A task of its own: what a slow plugin gives is of use, whoever still waits.
        let opened = tokio::spawn(async move {
            let access = Arc::new(Access::open(&server, alone).await?);
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&access));
            Ok(access)
        });
        let access = opened.await.map_err(|_| Break::Timeout)?.map_err(Why::Access)?;
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&access.address));
        Ok(access)
    }

    fn known_access(&self) -> Option<Arc<Access>> {
        let access = self.access.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&access.address));
        Some(access)
    }

    /// Gives up what was refused, unless another has its place already.
    fn forget(&self, refused: &Arc<Access>) {
        let mut access = self.access.lock().unwrap_or_else(PoisonError::into_inner);
        access.take_if(|access| Arc::ptr_eq(access, refused));
    }
}

/// What the server's clock said.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let date = headers.get(DATE)?.to_str().ok()?;
    chrono::DateTime::parse_from_rfc2822(date.trim()).ok().map(SystemTime::from)
}

/// The whole of an answer.
async fn whole(mut body: Incoming) -> Result<Vec<u8>, Trouble> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Break::of(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > ANSWER_LIMIT {
            return Err(Why::TooLarge.into());
        }
        read.extend_from_slice(&data);
    }
    Ok(read)
}

/// A connection, and the task that moves its bytes; both end together.
struct Link {
    /// By what it was opened.
    access: Arc<Access>,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Link {
    async fn open(access: &Arc<Access>) -> Result<Self, Break> {
        let tcp = connect(access).await?;
        match &access.tls {
            None => Self::over(access, tcp).await,
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                let tls = connector.connect(name.clone(), tcp).await.map_err(|error| Break::of(&error))?;
                Self::over(access, tls).await
            }
        }
    }

    async fn over(
        access: &Arc<Access>,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, Break> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| Break::of(&error))?;
        let task = tokio::spawn(async move {
            // What goes wrong is told to whoever waits for the answer.
            let _told = connection.await;
        });
        Ok(Self { access: Arc::clone(access), sender, task })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first of the host's addresses that answers.
async fn connect(access: &Access) -> Result<TcpStream, Break> {
    let (host, port) = (access.host.clone(), access.port);
    // A resolver that hangs keeps a thread, also where nobody waits for it any longer:
    // one, and not all.
    let alone = Arc::clone(&access.resolving).lock_owned().await;
    let found = tokio::spawn(async move {
        let _alone = alone;
        lookup_host((host, port)).await.map(Iterator::collect::<Vec<_>>)
    });
    let found = found.await.ok().and_then(Result::ok).ok_or(Break::UnknownHost)?;
    connect_to_any(found).await
}

/// A watch under way.
pub(crate) struct Lines {
    body: Incoming,
    /// What came and is no whole line yet.
    read: Vec<u8>,
    _link: Link,
}

impl Lines {
    /// The next event; none when the server ended the watch between two lines. It
    /// waits for as long as nothing comes. Cancel-safe.
    ///
    /// # Errors
    /// [`Trouble`] for what the server says is wrong, for what is no event, and
    /// where the connection broke.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Trouble> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let line = std::mem::replace(&mut self.read, rest);
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                return Event::read(line).map(Some);
            }
            match self.body.frame().await {
                None if self.read.is_empty() => return Ok(None),
                None => return Err(Break::Connection.into()),
                Some(frame) => {
                    let frame = frame.map_err(|error| Break::of(&error))?;
                    let Ok(data) = frame.into_data() else { continue };
                    if self.read.len() + data.len() > ANSWER_LIMIT {
                        return Err(Why::TooLarge.into());
                    }
                    self.read.extend_from_slice(&data);
                }
            }
        }
    }
}
