//! A connection whose client has to speak and to read in time.
//!
//! Owns: the deadlines of what comes and goes, byte by byte. hyper has one for the
//! head that runs while nobody asks anything too, and none for how long an answer
//! is left lying. Invariant: one timer for all, which is seldom set anew: it may
//! ring early, and is judged then.
//! Must not know: HTTP, beyond when a request begins and ends ([`Activity`]).

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::activity::Activity;

/// All that waits to be read, in so many times of what one piece of it may take:
/// who reads a byte now and then is not waited for.
const WRITES: u32 = 6;

/// How long each thing may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From the first byte of a request's head to its last.
    pub(super) head: Duration,
    /// From one request to the next.
    pub(super) idle: Duration,
    /// For which a client may read nothing of what waits for it.
    pub(super) write: Duration,
}

/// Fails a read or a write that takes too long.
pub(super) struct Patient<S> {
    io: S,
    activity: Arc<Activity>,
    patience: Patience,
    /// Rings no later than the first deadline of those that are waited for, and than
    /// an idle client is closed: a request may end without our being asked.
    over: Pin<Box<Sleep>>,
    reading: Reading,
    writing: Option<Writing>,
    /// Whether something was written since all was.
    wrote: bool,
    /// Whether the client closed its side, and waits for its last answer.
    asks_no_more: bool,
}

/// Waiting for a request.
#[derive(Default)]
struct Reading {
    /// How many requests there were before it.
    after: u64,
    /// Whether a part of its head is here.
    has_begun: bool,
    /// Since when the rest of it is waited for.
    since: Option<Instant>,
}

/// Waiting for the client to read.
struct Writing {
    began: Instant,
    /// When it last read something.
    moved: Instant,
}

impl<S: AsFd> Patient<S> {
    pub(super) fn new(io: S, activity: Arc<Activity>, patience: Patience) -> Self {
        let over = Box::pin(sleep(patience.head.min(patience.idle)));
        Self {
            io,
            activity,
            patience,
            over,
            reading: Reading::default(),
            writing: None,
            wrote: false,
            asks_no_more: false,
        }
    }

    /// The request that is waited for.
    fn awaited(&mut self) -> &mut Reading {
        let asked = self.activity.asked();
        if self.reading.after != asked {
            self.reading = Reading { after: asked, ..Reading::default() };
        }
        &mut self.reading
    }

    /// Something came.
    fn heard(&mut self) {
        // What comes while something is asked is that request's body.
        if !self.activity.is_asked() {
            let reading = self.awaited();
            if !reading.has_begun {
                *reading = Reading { has_begun: true, since: None, ..*reading };
            }
        }
    }

    /// Nothing comes: an error where a request should have been here by now.
    fn judge_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Patience { head, idle, .. } = self.patience;
        if self.activity.is_asked() {
            // hyper does not ask again when that is answered: the bell does.
            return self.judge_absence(context);
        }
        let answered = self.activity.answered();
        let reading = self.awaited();
        // Who was let in because something had come does not say it twice.
        let due = if reading.has_begun || reading.after == 0 {
            *reading.since.get_or_insert_with(Instant::now) + head
        } else {
            answered + idle
        };
        self.fail_at(context, due)
    }

    /// An error where the client has gone while it is answered. hyper sees that by
    /// itself, but not where more was said than was asked.
    fn judge_absence<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        while self.over.as_mut().poll(context).is_ready() {
            self.over.as_mut().reset(Instant::now() + self.patience.idle);
            if has_hung_up(&self.io) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
        }
        Poll::Pending
    }

    /// What became of a write; an error instead of one more wait when the time is
    /// over.
    fn judge_write<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.wrote = true;
            if let Some(writing) = &mut self.writing {
                writing.moved = Instant::now();
            }
            return written;
        }
        let writing = self.writing.get_or_insert_with(|| {
            let now = Instant::now();
            Writing { began: now, moved: now }
        });
        let patience = self.patience.write;
        let due = (writing.moved + patience).min(writing.began + patience * WRITES);
        self.activity.set_waits(true);
        self.fail_at(context, due)
    }

    /// All that there was to write is written.
    fn note_written(&mut self) {
        if self.wrote {
            self.wrote = false;
            self.writing = None;
            self.activity.note_written();
        }
    }

    fn fail_at<T>(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<io::Result<T>> {
        loop {
            if self.over.deadline() > due {
                self.over.as_mut().reset(due);
            }
            ready!(self.over.as_mut().poll(context));
            let now = Instant::now();
            if now >= due {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.over.as_mut().reset(due.min(now + self.patience.idle));
        }
    }
}

/// Whether the other side is closed, both ways.
fn has_hung_up(socket: &impl AsFd) -> bool {
    // Hanging up is told unasked.
    let mut wanted = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    let told = poll(&mut wanted, PollTimeout::ZERO);
    told.is_ok() && wanted[0].revents().is_some_and(|said| said.contains(PollFlags::POLLHUP))
}

impl<S: AsyncRead + AsFd + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.io).poll_read(context, buffer) {
            Poll::Pending => self.judge_silence(context),
            Poll::Ready(read) => {
                if buffer.filled().len() > before {
                    self.heard();
                } else if read.is_ok() && self.activity.is_asked() && !has_hung_up(&self.io) {
                    // To hyper the end of what is asked would be the end of who asks.
                    self.asks_no_more = true;
                    return self.judge_absence(context);
                }
                Poll::Ready(read)
            }
        }
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.judge_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.judge_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes when it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.io).poll_flush(context));
        self.note_written();
        if self.asks_no_more && !self.activity.is_asked() {
            // Now hyper may hear of it, and ends the connection.
            context.waker().wake_by_ref();
        }
        match self.activity.is_asked().then(|| self.judge_absence(context)) {
            Some(Poll::Ready(gone)) => Poll::Ready(gone),
            _ => Poll::Ready(flushed),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
