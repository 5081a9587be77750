//! A watch as it goes on: lines, one by one, for whoever writes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::answer::Watch;
use super::shared::Control;

/// What a stream says, in order.
pub(super) struct Events {
    watch: Watch,
    shared: Arc<Shared>,
    control: watch::Receiver<Control>,
    lines: VecDeque<Value>,
    /// Everything up to this version was said.
    cursor: u64,
    end: Option<Instant>,
    bookmarks: VecDeque<Instant>,
}

impl Events {
    pub(super) fn new(mut watch: Watch, shared: &Arc<Shared>) -> Self {
        let now = Instant::now();
        let end = watch.timeout.map(|timeout| now + timeout);
        let mut bookmarks = VecDeque::new();
        if let (true, Some(timeout)) = (watch.bookmarks, watch.timeout) {
            // As recorded: two, of which the first comes two seconds before the end.
            let before = |seconds| timeout.checked_sub(Duration::from_secs(seconds)).map(|after| now + after);
            bookmarks.extend([2, 1].into_iter().filter_map(before));
        }
        let lines = std::mem::take(&mut watch.first).into();
        let control = shared.control.subscribe();
        Self { cursor: watch.from, watch, shared: Arc::clone(shared), control, lines, end, bookmarks }
    }

    /// The next line with its end; `None` at the end of the watch. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            // Before the look, so that nothing falls between it and the wait.
            let stopping = self.control.borrow_and_update().stopping;
            if let Some(line) = self.lines.pop_front() {
                return Some(format!("{line}\n").into_bytes());
            }
            if self.watch.over {
                return None;
            }
            if stopping {
                // A server that is told to end leaves its watches open, and says nothing.
                self.control.changed().await.ok()?;
                continue;
            }
            let news = self.shared.lock().store.since(&self.watch.selection, self.cursor);
            if let Some(last) = news.last() {
                self.cursor = last.revision;
                self.lines.extend(news.iter().map(|change| self.watch.line(change)));
                continue;
            }
            tokio::select! {
                changed = self.control.changed() => changed.ok()?,
                () = at(self.end) => return None,
                () = at(self.bookmarks.front().copied()) => {
                    self.bookmarks.pop_front();
                    let revision = self.shared.lock().store.revision();
                    // A watch from the future hears nothing of the present.
                    if revision >= self.cursor {
                        self.lines.push_back(self.watch.bookmark(revision));
                    }
                }
            }
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
