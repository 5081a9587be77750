//! The turn to restart, where only one of many may at a time.
//!
//! Owns: the two ends between a supervisor, who wants it, and whoever keeps the queue.
//! Invariant: a turn counts for as long as it was given for, and not a moment longer.
//! Must not know: who else wants it; how that is settled.

use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long an end waits until the turn is given back.
const LAST_WORD: Duration = Duration::from_secs(1);

/// A supervisor's end.
pub struct Turn {
    wish: watch::Sender<bool>,
    standing: watch::Receiver<Standing>,
}

/// The end of whoever keeps the queue.
pub struct Queue {
    wish: watch::Receiver<bool>,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The others do not see us.
    Out,
    Waits,
    /// It is ours until then, if nothing is done.
    Has(Instant),
}

/// Both ends.
pub fn turn() -> (Turn, Queue) {
    let (wish, wished) = watch::channel(false);
    let (stands, standing) = watch::channel(Standing::Out);
    (Turn { wish, standing }, Queue { wish: wished, standing: stands })
}

impl Turn {
    pub(super) fn ask(&self) {
        self.wish.send_replace(true);
    }

    /// Gives it back, or leaves the queue.
    pub(super) fn leave(&self) {
        self.wish.send_replace(false);
    }

    /// Waits until it is ours. It may be dropped at any time.
    pub(super) async fn came(&mut self) {
        loop {
            if let Standing::Has(until) = *self.standing.borrow_and_update()
                && Instant::now() < until
            {
                return;
            }
            if self.standing.changed().await.is_err() {
                return pending().await;
            }
        }
    }

    /// Leaves, and waits for a moment until the others know.
    pub(super) async fn left(mut self) {
        self.leave();
        let out = self.standing.wait_for(|standing| *standing == Standing::Out);
        // Who is not heard is missed by the others after a while.
        let _heard = timeout(LAST_WORD, out).await;
    }
}

impl Queue {
    /// Waits until the turn is wanted. It may be dropped at any time.
    pub async fn wanted(&mut self) {
        self.wishes(true).await;
    }

    /// Waits until the turn is not wanted any more. It may be dropped at any time.
    pub async fn unwanted(&mut self) {
        self.wishes(false).await;
    }

    async fn wishes(&mut self, wish: bool) {
        if self.wish.wait_for(|wished| *wished == wish).await.is_err() && wish {
            // Whoever wanted it is gone.
            pending::<()>().await;
        }
    }

    /// It is the supervisor's until then.
    pub fn gives(&self, until: Instant) {
        self.standing.send_replace(Standing::Has(until));
    }

    /// It is not, or not any more.
    pub fn lets_wait(&self) {
        self.standing.send_replace(Standing::Waits);
    }

    /// The others know that the supervisor does not want it.
    pub fn is_left(&self) {
        self.standing.send_replace(Standing::Out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_turn_counts_for_as_long_as_it_was_given_for() {
        let (mut turn, mut queue) = turn();
        assert!(timeout(SECOND, queue.wanted()).await.is_err());
        turn.ask();
        queue.wanted().await;
        queue.lets_wait();
        assert!(timeout(SECOND, turn.came()).await.is_err());
        // We stood still for longer.
        queue.gives(Instant::now() + SECOND);
        tokio::time::advance(2 * SECOND).await;
        assert!(timeout(SECOND, turn.came()).await.is_err());
        queue.gives(Instant::now() + SECOND);
        turn.came().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_waits_until_it_is_given_back_and_not_for_long() {
        for answers in [true, false] {
            let (turn, mut queue) = turn();
            turn.ask();
            queue.gives(Instant::now() + 15 * SECOND);
            let began = Instant::now();
            let keep = async {
                queue.unwanted().await;
                if answers {
                    queue.is_left();
                }
                pending::<()>().await;
            };
            tokio::select! {
                () = turn.left() => {}
                () = keep => {}
            }
            assert_eq!(began.elapsed(), if answers { Duration::ZERO } else { SECOND });
        }
    }
}
