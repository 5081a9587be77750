//! Says to others whatever this daemon knows of the programs beside it.
//!
//! Invariants: a change is said at once, and what does not change is said again long
//! before it lapses; what lapses here is given up there; that something could not be said
//! is told once for each reason, and tried again more and more rarely.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Board, LIFE, NotSaid, SaidOfInstance};
use crate::source::backoff::{Backoff, jittered, share};

/// Several changes that come together are one.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// How many are said at once.
const AT_ONCE: usize = 4;

/// How often at most it is looked whether there is something to say.
const REST: Duration = Duration::from_hours(1);

/// Says what is known here on a [`Board`].
pub struct Publisher {
    board: Arc<Board>,
    receive: watch::Receiver<Vec<SaidOfInstance>>,
    known: BTreeMap<(Box<str>, Box<str>), Kept>,
}

/// What is kept of one instance.
struct Kept {
    /// What is to be said.
    wanted: SaidOfInstance,
    /// Whether it is to be given up instead.
    is_gone: bool,
    /// Nothing is left to be done.
    is_over: bool,
    /// When it is to be said.
    due: Instant,
    backoff: Backoff,
}

impl Publisher {
    /// One that says everything that comes; the list is always of all instances.
    pub fn new(board: Arc<Board>, receive: watch::Receiver<Vec<SaidOfInstance>>) -> Self {
        Self { board, receive, known: BTreeMap::new() }
    }

    /// Says it for as long as anybody has something to say; never done.
    pub async fn run(mut self) -> Infallible {
        let mut is_fed = true;
        loop {
            self.take();
            self.say_what_is_due().await;
            let next = self.known.values().map(|kept| kept.due).min();
            let next = next.unwrap_or_else(|| Instant::now() + REST);
            tokio::select! {
                changed = self.receive.changed(), if is_fed => {
                    is_fed = changed.is_ok();
                    sleep(DEBOUNCE).await;
                }
                () = sleep_until(next) => {}
            }
        }
    }

    /// Takes what is known now.
    fn take(&mut self) {
        let now = Instant::now();
        let wanted = self.receive.borrow_and_update().clone();
        for kept in self.known.values_mut() {
            let is_there = |said: &SaidOfInstance| {
                said.consumer == kept.wanted.consumer && said.said.instance == kept.wanted.said.instance
            };
            if !kept.is_gone && !wanted.iter().any(is_there) {
                (kept.is_gone, kept.due) = (true, now);
            }
        }
        for said in wanted {
            let name = (said.consumer.clone(), said.said.instance.as_str().into());
            match self.known.get_mut(&name) {
                Some(kept) if !kept.is_gone && kept.wanted == said => {}
                Some(kept) => (kept.wanted, kept.is_gone, kept.due) = (said, false, now),
                None => drop(self.known.insert(name, Kept::new(said, now))),
            }
        }
    }

    async fn say_what_is_due(&mut self) {
        let now = Instant::now();
        let board = &self.board;
        let due = self.known.values_mut().filter(|kept| kept.due <= now);
        // Collected first: each future is tied to the borrow of what it says.
        let due: Vec<_> = due.map(|kept| kept.say(board)).collect();
        stream::iter(due).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
        self.known.retain(|_, kept| !kept.is_over);
    }
}

impl Kept {
    fn new(wanted: SaidOfInstance, due: Instant) -> Self {
        Self { wanted, is_gone: false, is_over: false, due, backoff: Backoff::default() }
    }

    /// Says it, or gives it up.
    async fn say(&mut self, board: &Board) {
        let began = Instant::now();
        let said =
            if self.is_gone { board.forget(&self.wanted).await } else { board.say(&self.wanted).await };
        let Err(why) = said else {
            self.is_over = self.is_gone;
            self.backoff.reset();
            self.due = began + jittered(LIFE / 3);
            return;
        };
        board.tell(
            format!(
                "what {} of {} runs is not told to whoever rotates: {why}",
                self.wanted.said.instance.as_str(),
                self.wanted.consumer
            ),
            why.help(),
        );
        // What nobody renews lapses by itself.
        self.is_over = self.is_gone;
        self.due = began
            + match why {
                NotSaid::Foreign { .. } | NotSaid::TooLong => jittered(LIFE / 3),
                NotSaid::Away { .. } => self.backoff.after_failure(share()),
            };
    }
}
