//! One connection, from its first byte to its end.
//!
//! Owns: HTTP on it. Invariants: nothing is set up for who says nothing; a head or
//! a body that is too large, a body or an answer that takes too long has an answer
//! of ours, after which the connection ends; no answer's bytes stay with a
//! connection once they are written.
//! Must not know: who else is connected; what is answered.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_LENGTH};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::activity::Activity;
use super::body::{Answer, LARGEST, Received};
use super::limits::Limits;
use super::patience::{Patience, Patient};
use super::peer::Peer;
use super::problem::Problem;

/// The request line and headers together.
const HEAD_BYTES: usize = 16 * 1024;
/// What hyper reads into, and how much of an answer it takes over for writing.
const BUFFER_BYTES: usize = 32 * 1024;
/// For answers that are on their way when serving ends.
const LAST_ANSWERS: Duration = Duration::from_millis(100);

/// What is spoken over.
pub(super) trait Stream: AsyncRead + AsyncWrite + AsFd + Send + Sync + Unpin + 'static {
    /// Waits for the first byte, or for the end.
    fn spoken(&self) -> impl Future<Output = io::Result<()>> + Send;
}

macro_rules! spoken {
    ($($stream:ty),*) => { $(
        impl Stream for $stream {
            async fn spoken(&self) -> io::Result<()> {
                // That it is readable is a guess of tokio's at first: the kernel is asked,
                // and tokio told when it was wrong.
                loop {
                    self.readable().await?;
                    match self.try_io(Interest::READABLE, || has_spoken(self)) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        told => return told,
                    }
                }
            }
        }
    )* };
}

spoken!(TcpStream, UnixStream);

/// Whether there is something to read, or the end.
fn has_spoken(socket: &impl AsFd) -> io::Result<()> {
    match poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)? {
        0 => Err(io::ErrorKind::WouldBlock.into()),
        _ => Ok(()),
    }
}

/// One connection, from its first byte to its end.
pub(super) async fn converse<S: Stream>(
    io: S,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut ended: watch::Receiver<bool>,
    activity: Arc<Activity>,
) {
    tokio::select! {
        first = timeout(limits.first, io.spoken()) => match first {
            Ok(Ok(())) => {}
            _ => return,
        },
        _told = ended.wait_for(|ended| *ended) => return,
    }
    let router = TowerToHyperService::new(router);
    let here = Arc::clone(&activity);
    let answer = service_fn(move |request| answer(request, &peer, &router, &limits, &here));
    let patience = Patience { head: limits.head, idle: limits.idle, write: limits.write };
    let patient = Patient::new(io, Arc::clone(&activity), patience);
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        // An answer's bytes are then written from where they are and freed, instead of
        // being copied into a buffer that lives as long as the connection.
        .writev(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(patient), answer));
    // What goes wrong on one connection is its client's affair.
    tokio::select! {
        _done = connection.as_mut() => return,
        _told = ended.wait_for(|ended| *ended) => {}
    }
    if activity.is_busy() {
        activity.end();
        connection.as_mut().graceful_shutdown();
        let _done = connection.await;
    }
}

/// One request.
fn answer(
    mut request: hyper::Request<Incoming>,
    peer: &Peer,
    router: &TowerToHyperService<Router>,
    limits: &Limits,
    activity: &Arc<Activity>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + use<> {
    let asked = activity.ask();
    let limit = limits.answer;
    let mut verdict = None;
    let answer = if announced(&request).is_some_and(|bytes| bytes > LARGEST) {
        None
    } else {
        request.extensions_mut().insert(peer.clone());
        Some(router.call(request.map(|body| {
            if body.is_end_stream() {
                return Body::empty();
            }
            let (body, where_told) = Received::new(body, limits.body);
            verdict = Some(where_told);
            Body::new(body)
        })))
    };
    async move {
        let answer = match answer {
            None => last(StatusCode::PAYLOAD_TOO_LARGE),
            Some(answer) => in_time(answer, limit, asked.activity()).await,
        };
        let refused = verdict.and_then(|verdict| verdict.get().copied());
        let answer = refused.map_or(answer, last);
        Ok(answer.map(|body| Answer::new(body, asked)))
    }
}

/// An answer, or one of ours when it takes too long, or serving ends.
async fn in_time(
    answer: impl Future<Output = Result<Response, Infallible>>,
    limit: Duration,
    activity: &Activity,
) -> Response {
    let mut answer = pin!(answer);
    // Most answers are there at once, and need no timer.
    let mut over = None;
    let mut is_last = false;
    poll_fn(|context| {
        if let Poll::Ready(Ok(answer)) = answer.as_mut().poll(context) {
            return Poll::Ready(answer);
        }
        let over = over.get_or_insert_with(|| Box::pin(sleep(limit)));
        if activity.ends() && !is_last {
            is_last = true;
            let soon = Instant::now() + LAST_ANSWERS;
            if soon < over.deadline() {
                over.as_mut().reset(soon);
            }
        }
        let status = if is_last { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::GATEWAY_TIMEOUT };
        over.as_mut().poll(context).map(|()| last(status))
    })
    .await
}

/// How long the body is that a request announces.
fn announced(request: &hyper::Request<Incoming>) -> Option<u64> {
    request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// An answer after which the connection ends.
fn last(status: StatusCode) -> Response {
    let (code, words) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => ("body-too-large", "a request's body has 64 KiB at most"),
        StatusCode::REQUEST_TIMEOUT => ("body-too-slow", "the request's body took too long to come"),
        StatusCode::SERVICE_UNAVAILABLE => ("ending", "the daemon ends: ask the next one"),
        _ => ("answer-too-slow", "there was no answer in time: ask again"),
    };
    let mut response = Problem::new(status, code, words).into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
