//! What goes on at one connection, for those who may end it.
//!
//! Shared by the connection's task, its input and output, and the accept loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// What goes on at one connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// When it began.
    began: Instant,
    /// Requests so far.
    asked: AtomicU64,
    /// Requests whose answer, with its body, has not ended.
    unanswered: AtomicUsize,
    /// When the last answer ended, in microseconds since the beginning.
    answered: AtomicU64,
    /// Whether bytes wait for the client to read.
    waits: AtomicBool,
    /// How often all that there was to write was written.
    written: AtomicU64,
    /// Whether serving ends.
    ends: AtomicBool,
}

impl Activity {
    /// Of a connection that begins.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            asked: AtomicU64::new(0),
            unanswered: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            written: AtomicU64::new(0),
            ends: AtomicBool::new(false),
        }
    }

    /// A request was made; it is answered when what is returned is dropped.
    pub(super) fn ask(self: &Arc<Self>) -> Asked {
        self.asked.fetch_add(1, Relaxed);
        self.unanswered.fetch_add(1, Relaxed);
        Asked(Arc::clone(self))
    }

    /// Requests so far.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Relaxed)
    }

    /// Whether something is asked and not answered.
    pub(super) fn is_asked(&self) -> bool {
        self.unanswered.load(Relaxed) > 0
    }

    /// When the last answer ended.
    pub(super) fn answered(&self) -> Instant {
        self.began + Duration::from_micros(self.answered.load(Relaxed))
    }

    /// Whether somebody would miss something if it ended now.
    pub(super) fn is_busy(&self) -> bool {
        self.is_asked() || self.waits()
    }

    /// Whether bytes wait for the client to read.
    pub(super) fn waits(&self) -> bool {
        self.waits.load(Relaxed)
    }

    /// Notes whether they do.
    pub(super) fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Relaxed);
    }

    /// How often all that there was to write was written.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// All that there was to write is written.
    pub(super) fn note_written(&self) {
        self.written.fetch_add(1, Relaxed);
        self.set_waits(false);
    }

    /// Whether serving ends.
    pub(super) fn ends(&self) -> bool {
        self.ends.load(Relaxed)
    }

    /// Serving ends: answers without an end of their own end now. To be polled
    /// again after this.
    pub(super) fn end(&self) {
        self.ends.store(true, Relaxed);
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Asked(Arc<Activity>);

impl Asked {
    /// Where it was asked.
    pub(super) fn activity(&self) -> &Activity {
        &self.0
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let since = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.answered.store(since, Relaxed);
        self.0.unanswered.fetch_sub(1, Relaxed);
    }
}
