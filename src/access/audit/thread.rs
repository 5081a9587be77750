//! The thread that writes: a slow disk must hold up nobody but those who wait for
//! their own lines.
//!
//! Owns: what waits, and telling how the writing goes. Invariants: a line is
//! acknowledged when the kernel has it; what waits is bounded; who does not wait any
//! more gets no line; the disk is asked to keep what was written once a second and
//! at the end.
//! Must not know: what records mean.

use std::mem::take;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Unrecorded;
use super::file::{Limits, Log};
use super::ledger::Ledger;
use super::record::{Closing, Refused, closed};
use super::shown::Shown;
use crate::model::key::Key;

/// So many lines may wait.
const WAITING: usize = 8192;
/// So many of them may be refusals.
const REFUSALS: usize = 1024;
/// Between two requests to the disk to keep what was written; also how soon after a
/// failure it is seen whether writing works again.
const SECOND: Duration = Duration::from_secs(1);

type Ack = oneshot::Sender<Result<(), Unrecorded>>;

/// A line to be written.
#[derive(Debug)]
struct Entry {
    words: String,
    /// Who waits for it.
    ack: Option<Ack>,
    /// For how many records it stands.
    times: u64,
}

/// What waits for the thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    /// How many of them are refusals.
    refusals: usize,
    ledger: Ledger,
    /// Records for which there was no room, or that came too late.
    overflow: u64,
    limits: Option<Limits>,
    reopen: bool,
    closing: Option<(Closing, Option<oneshot::Sender<()>>)>,
}

/// Why a line cannot even wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// So many wait already.
    Full,
    /// The log was closed.
    Closed,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a line wait. It is told here when it is in the file.
    pub(super) fn push(&self, words: String) -> Result<oneshot::Receiver<Result<(), Unrecorded>>, NoRoom> {
        let (ack, acked) = oneshot::channel();
        let mut state = self.lock();
        if state.closing.is_some() {
            return Err(NoRoom::Closed);
        }
        if state.entries.len() >= WAITING {
            state.overflow += 1;
            return Err(NoRoom::Full);
        }
        state.entries.push(Entry { words, ack: Some(ack), times: 1 });
        drop(state);
        self.bell.notify_one();
        Ok(acked)
    }

    /// Somebody does not wait for a line any more.
    pub(super) fn give_up(&self) {
        self.lock().overflow += 1;
    }

    /// Lets the line of a refusal wait, or counts it.
    pub(super) fn refused(&self, who: Refused, keys: &[Key], words: impl FnOnce() -> String) {
        let mut state = self.lock();
        let room = state.refusals < REFUSALS && state.entries.len() < WAITING;
        let began = state.ledger.due().is_none();
        if state.ledger.note(who, keys, room, Instant::now()) {
            state.refusals += 1;
            state.entries.push(Entry { words: words(), ack: None, times: 1 });
        } else if !began {
            // The thread wakes by itself when the count is over.
            return;
        }
        drop(state);
        self.bell.notify_one();
    }

    pub(super) fn limit(&self, limits: Limits) {
        self.lock().limits = Some(limits);
        self.bell.notify_one();
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.bell.notify_one();
    }

    /// Nothing may wait from now on. `done` is told when all that did is written.
    pub(super) fn close(&self, why: Closing, done: Option<oneshot::Sender<()>>) {
        let mut state = self.lock();
        if state.closing.is_none() {
            state.closing = Some((why, done));
        }
        drop(state);
        self.bell.notify_one();
    }

    /// What there is to do, once there is something, or the time is over.
    fn wait(&self, until: Option<Instant>) -> State {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let due = until.into_iter().chain(state.ledger.due()).min();
            let is_due = due.is_some_and(|due| due <= now);
            if is_due || !state.entries.is_empty() || state.has_orders() {
                let is_last = state.closing.is_some();
                let counted = state.ledger.over((!is_last).then_some(now));
                let counted = counted.into_iter().map(|(times, words)| Entry { words, ack: None, times });
                state.entries.extend(counted);
                let closing = state.closing.as_mut().map(|(why, done)| (*why, done.take()));
                state.refusals = 0;
                return State {
                    entries: take(&mut state.entries),
                    refusals: 0,
                    ledger: Ledger::default(),
                    overflow: take(&mut state.overflow),
                    limits: state.limits.take(),
                    reopen: take(&mut state.reopen),
                    closing,
                };
            }
            state = match due {
                Some(due) => {
                    let waited = self.bell.wait_timeout(state, due.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl State {
    fn has_orders(&self) -> bool {
        self.limits.is_some() || self.reopen || self.closing.is_some()
    }
}

/// The thread.
pub(super) struct Writer {
    pub(super) log: Log,
    pub(super) queue: Arc<Queue>,
    pub(super) shown: Arc<Shown>,
    /// Dropped when it has ended.
    pub(super) _alive: SyncSender<()>,
    /// Records that are not in the log, and it does not say so yet.
    pub(super) lost: u64,
    /// Whether the disk refused to keep what was written.
    pub(super) is_unkept: bool,
}

impl Writer {
    /// Writes until the log is closed.
    pub(super) fn run(mut self) {
        let mut next = self.shown.is_failing().then(Instant::now);
        loop {
            let work = self.queue.wait(next);
            self.lost += work.overflow;
            if let Some(limits) = work.limits {
                self.log.limit(limits);
            }
            if work.reopen {
                match self.log.reopen() {
                    Ok(_) => {}
                    Err(reason) => self.shown.not_reopened(reason),
                }
            }
            // An empty batch writes what is to be noted, where there is anything.
            let is_due = next.is_some_and(|next| next <= Instant::now());
            if work.reopen || is_due || !work.entries.is_empty() {
                self.write(work.entries);
            }
            if let Some((why, done)) = work.closing {
                self.write(vec![Entry { words: closed(why), ack: None, times: 1 }]);
                self.sync();
                // The lock is given up before anybody is told.
                drop(self);
                if let Some(done) = done {
                    let _nobody_waits = done.send(());
                }
                return;
            }
            if is_due {
                self.sync();
                next = None;
            }
            if next.is_none() && (self.log.is_dirty() || self.lost > 0 || self.shown.is_failing()) {
                next = Some(Instant::now() + SECOND);
            }
        }
    }

    fn sync(&mut self) {
        let synced = self.log.sync();
        self.is_unkept = synced.is_err();
        if let Err(error) = synced {
            self.shown.failed(&format!("the disk does not keep it: {}", error.kind()));
        }
    }

    /// Writes lines, and tells those who wait for them.
    fn write(&mut self, entries: Vec<Entry>) {
        // Whoever gave up waiting was told that there is no line, and did nothing.
        let is_awaited = |entry: &Entry| entry.ack.as_ref().is_none_or(|ack| !ack.is_closed());
        let mut entries: Vec<Entry> = entries.into_iter().filter(is_awaited).collect();
        loop {
            match self.log.append(self.lost, entries.iter().map(|entry| entry.words.as_str())) {
                Ok(appended) => {
                    if let Some(what) = appended.meddled {
                        self.shown.meddled(what);
                    }
                    self.shown.advanced(self.log.end(), take(&mut self.lost), !self.is_unkept);
                    for entry in entries.drain(..appended.lines) {
                        if let Some(ack) = entry.ack {
                            let _nobody_waits = ack.send(Ok(()));
                        }
                    }
                }
                Err(reason) => {
                    self.lost += entries.iter().map(|entry| entry.times).sum::<u64>();
                    self.shown.failed(&reason);
                    for ack in entries.drain(..).filter_map(|entry| entry.ack) {
                        let _nobody_waits = ack.send(Err(Unrecorded { reason: reason.clone() }));
                    }
                    return;
                }
            }
            match self.log.rotate() {
                Ok(is_rotated) => self.shown.rotates(is_rotated),
                Err(reason) => self.shown.not_rotated(reason),
            }
            if entries.is_empty() {
                return;
            }
        }
    }
}
