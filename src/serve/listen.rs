//! Accepting and ending connections.
//!
//! Owns: every connection's task and its deadlines. Invariants: a client that
//! says nothing, says half of it, or does not read its answer is closed; no more
//! than so many are open at once, and who asks nothing gives way to who comes; a lack of descriptors waits instead of
//! spinning; when serving ends, no connection is left.
//! Must not know: what is answered.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::errno::Errno;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::bind::{Bound, Socket};
use super::patience::Patient;
use crate::telemetry::{Event, Listener};

/// How much clients may ask of one listener.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. One more closes the oldest of which nothing is asked at
    /// that moment; where there is none, it is closed itself.
    pub connections: usize,
    /// From the connection, or the last answer, to a whole request head.
    pub head: Duration,
    /// From the head to the answer.
    pub answer: Duration,
    /// For which a client may read nothing of its answer.
    pub write: Duration,
    /// For the last answers when serving ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            head: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            write: Duration::from_secs(5),
            drain: Duration::from_millis(300),
        }
    }
}

/// The request line and headers together.
const HEAD_BYTES: usize = 16 * 1024;
/// What hyper reads into and gathers answers in.
const BUFFER_BYTES: usize = 32 * 1024;
/// A request's body.
const BODY_BYTES: usize = 64 * 1024;
/// After an accept that failed for lack of something.
const PAUSE: Duration = Duration::from_millis(100);

/// Who asks, as the kernel says. Every request has it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Over TCP.
    Address(SocketAddr),
    /// Over a Unix socket: the user that connected.
    User(u32),
    /// Over a Unix socket, and the kernel did not say.
    Unknown,
}

impl Bound {
    /// Answers until `shutdown` is over, then ends what is open. To be called
    /// within the runtime that serves.
    ///
    /// # Errors
    /// The kernel's, where the socket cannot be listened at any more.
    pub async fn serve(
        self,
        router: Router,
        limits: Limits,
        listener: Arc<dyn Listener>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut doors =
            Doors { what: self.what, limits, listener, open: JoinSet::new(), held: VecDeque::new() };
        let (end, ended) = watch::channel(false);
        let router = router.layer(DefaultBodyLimit::max(BODY_BYTES));
        // Its name in the file system goes when nothing is accepted any more.
        let placed = match self.socket {
            Socket::Tcp(listener, _) => {
                let listener = TcpListener::from_std(listener)?;
                let accept = |context: &mut Context<'_>| {
                    listener.poll_accept(context).map_ok(|(io, from)| (io, Peer::Address(from)))
                };
                doors.accept(accept, &router, &ended, shutdown).await?;
                None
            }
            Socket::Unix(listener, placed) => {
                let listener = UnixListener::from_std(listener)?;
                let accept = |context: &mut Context<'_>| {
                    listener.poll_accept(context).map_ok(|(io, _)| {
                        let peer = io.peer_cred().map_or(Peer::Unknown, |peer| Peer::User(peer.uid()));
                        (io, peer)
                    })
                };
                doors.accept(accept, &router, &ended, shutdown).await?;
                Some(placed)
            }
        };
        drop(placed);
        // Nobody left to hear it is fine.
        let _nobody = end.send(true);
        let drained = async { while doors.open.join_next().await.is_some() {} };
        if timeout(limits.drain, drained).await.is_err() {
            doors.open.shutdown().await;
        }
        Ok(())
    }
}

struct Doors {
    what: &'static str,
    limits: Limits,
    listener: Arc<dyn Listener>,
    open: JoinSet<()>,
    /// Those that are open, the oldest first.
    held: VecDeque<Held>,
}

/// A connection that is open.
struct Held {
    task: AbortHandle,
    /// Whether a request is being answered.
    is_asked: Arc<AtomicBool>,
}

impl Doors {
    async fn accept<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &mut self,
        accept: impl Fn(&mut Context<'_>) -> Poll<io::Result<(S, Peer)>>,
        router: &Router,
        ended: &watch::Receiver<bool>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                Some(_) = self.open.join_next() => continue,
                accepted = poll_fn(&accept) => accepted,
            };
            match accepted {
                Ok((io, peer)) => {
                    if self.has_room() {
                        let is_asked = Arc::default();
                        let (router, asked) = (router.clone(), Arc::clone(&is_asked));
                        let task =
                            self.open.spawn(converse(io, peer, router, self.limits, ended.clone(), asked));
                        self.held.push_back(Held { task, is_asked });
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if is_scarcity(&error) => {
                    self.listener.tell(Event::CannotAccept { what: self.what, reason: words(&error) });
                    tokio::select! {
                        () = &mut shutdown => return Ok(()),
                        () = sleep(PAUSE) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Doors {
    /// Whether one more may come in. Those who hold connections and ask nothing must
    /// not keep out who asks whether the daemon lives.
    fn has_room(&mut self) -> bool {
        self.held.retain(|held| !held.task.is_finished());
        if self.held.len() < self.limits.connections {
            return true;
        }
        self.listener.tell(Event::TurnedAway { what: self.what });
        let idle = self.held.iter().position(|held| !held.is_asked.load(Ordering::Relaxed));
        let idle = idle.and_then(|idle| self.held.remove(idle));
        idle.inspect(|idle| idle.task.abort()).is_some()
    }
}

/// What accept reports of a client that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) || matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EPROTO | Errno::ENETDOWN | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EPERM)
    )
}

/// What passes when somebody gives something back.
fn is_scarcity(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

fn words(error: &io::Error) -> &'static str {
    error.raw_os_error().map_or("it failed", |number| Errno::from_raw(number).desc())
}

/// One connection, from its first byte to its end.
async fn converse<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    io: S,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut ended: watch::Receiver<bool>,
    is_asked: Arc<AtomicBool>,
) {
    let router = TowerToHyperService::new(router);
    let answer = service_fn(move |mut request: hyper::Request<Incoming>| {
        let too_long = announced(&request).is_some_and(|bytes| bytes > BODY_BYTES as u64);
        request.extensions_mut().insert(peer);
        let answer = router.call(request.map(axum::body::Body::new));
        let is_asked = Arc::clone(&is_asked);
        async move {
            if too_long {
                return Ok(last(StatusCode::PAYLOAD_TOO_LARGE));
            }
            is_asked.store(true, Ordering::Relaxed);
            let answer = timeout(limits.answer, answer).await;
            is_asked.store(false, Ordering::Relaxed);
            answer.unwrap_or_else(|_late| Ok(last(StatusCode::GATEWAY_TIMEOUT)))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(Patient::new(io, limits.write)), answer);
    let mut connection = std::pin::pin!(connection);
    // What goes wrong on one connection is its client's affair.
    tokio::select! {
        _done = connection.as_mut() => return,
        _told = ended.wait_for(|ended| *ended) => connection.as_mut().graceful_shutdown(),
    }
    let _done = connection.await;
}

/// How long the body is that a request announces.
fn announced(request: &hyper::Request<Incoming>) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer after which the connection ends.
fn last(status: StatusCode) -> Response {
    let mut response = status.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What a router is asked with.
pub(super) fn peer(request: &Request) -> Peer {
    request.extensions().get::<Peer>().copied().unwrap_or(Peer::Unknown)
}
