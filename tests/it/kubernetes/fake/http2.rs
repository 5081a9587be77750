//! HTTP/2, which a real API server prefers: it says GOAWAY when it ends, the one
//! warning that a client of its watches gets.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::Shared;
use super::answer::{Answer, Reply};
use super::ask::Asked;
use super::events::Events;
use super::wire::{headers, until};

/// Whole, or piece by piece.
enum Pieces {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Vec<u8>>),
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Stream(lines) => ready!(lines.poll_recv(context)).map(Bytes::from),
        };
        Poll::Ready(piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Serves requests without bodies, and no faults but those that are answers.
pub(super) async fn converse(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shared: &Arc<Shared>,
    number: u64,
) {
    let answering = Arc::clone(shared);
    let service = service_fn(move |request| {
        let response = answer(&request, &answering, number);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let control = shared.control.subscribe();
    tokio::select! {
        _end = connection.as_mut() => return,
        () = until(control.clone(), |control| control.closed_up_to >= number) => return,
        () = until(control.clone(), |control| control.stopping) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _end = connection => {}
        () = until(control, |control| control.closed_up_to >= number) => {}
    }
}

fn answer(request: &Request<Incoming>, shared: &Arc<Shared>, number: u64) -> Response<Pieces> {
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        raw_query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        ..Asked::default()
    };
    let (answer, body) = match shared.reply(&asked, number).0 {
        Reply::Answer(mut answer) => {
            let body = Bytes::from(std::mem::take(&mut answer.body));
            (answer, Pieces::Whole(Some(body)))
        }
        Reply::Watch(watch) => {
            let (sender, receiver) = mpsc::channel(1);
            let mut events = Events::new(watch, shared);
            tokio::spawn(async move {
                while let Some(line) = events.next().await {
                    if sender.send(line).await.is_err() {
                        return;
                    }
                }
            });
            (Answer::json(200, &serde_json::Value::Null), Pieces::Stream(receiver))
        }
        Reply::Never | Reply::CloseAfter(_) => (Answer::text(503, "not over HTTP/2"), Pieces::Whole(None)),
    };
    let mut response = Response::builder().status(answer.code);
    for (name, value) in headers(&answer) {
        response = response.header(name, value);
    }
    response.body(body).unwrap()
}
