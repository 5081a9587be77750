//! What comes with a request and goes with an answer.
//!
//! Owns: how much and how slowly may come; when an answer has ended. Invariants: a
//! request is asked until its answer's last byte was taken over for writing; when
//! serving ends, an answer without an end of its own ends there.
//! Must not know: what is in them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Asked;

/// The most bytes of a request's body.
pub(super) const LARGEST: u64 = 64 * 1024;

/// What was wrong with a request's body, for the answer.
pub(super) type Verdict = Arc<OnceLock<StatusCode>>;

/// A request's body.
pub(super) struct Received {
    body: Incoming,
    /// Bytes that may still come.
    left: u64,
    due: Instant,
    /// Runs once something was waited for.
    over: Option<Pin<Box<Sleep>>>,
    verdict: Verdict,
}

impl Received {
    /// A body that has to be here within `patience`, and where it is told that it is
    /// not.
    pub(super) fn new(body: Incoming, patience: Duration) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let due = Instant::now() + patience;
        (Self { body, left: LARGEST, due, over: None, verdict: Arc::clone(&verdict) }, verdict)
    }

    fn refuse(&self, status: StatusCode) -> io::Error {
        // The first one counts.
        let _told_before = self.verdict.set(status);
        io::ErrorKind::InvalidData.into()
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => {
                let due = self.due;
                let over = self.over.get_or_insert_with(|| Box::pin(sleep_until(due)));
                over.as_mut().poll(context).map(|()| Some(Err(self.refuse(StatusCode::REQUEST_TIMEOUT))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                Poll::Ready(Some(match self.left.checked_sub(bytes) {
                    Some(left) => {
                        self.left = left;
                        Ok(frame)
                    }
                    None => Err(self.refuse(StatusCode::PAYLOAD_TOO_LARGE)),
                }))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body.
pub(super) struct Answer {
    body: Body,
    asked: Asked,
}

impl Answer {
    pub(super) fn new(body: Body, asked: Asked) -> Self {
        Self { body, asked }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.asked.activity().ends() && self.body.size_hint().exact().is_none() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
