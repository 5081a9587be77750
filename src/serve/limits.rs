//! How much clients may ask, and how long they may take.

use std::time::Duration;

/// How much clients may ask of one listener, and how long they may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. One more closes the oldest of which nothing is asked at
    /// that moment, of who has most; where there is none, the oldest of the user that
    /// has most, if that is more than the user who comes; else it is closed itself.
    /// They are fewer where this process may not have as many descriptors.
    pub connections: usize,
    /// Of these, how many of one user, over a Unix socket. One more closes the user's
    /// own oldest of which nothing is asked; where there is none, it is closed itself.
    pub per_user: usize,
    /// From the connection to its first byte.
    pub first: Duration,
    /// From the first byte of a request's head to its last.
    pub head: Duration,
    /// From the head to the end of the request's body.
    pub body: Duration,
    /// From the head to the head of the answer. The answer's body may take as long as
    /// it likes, as long as it is read.
    pub answer: Duration,
    /// For which a client may read nothing of what is written to it.
    pub write: Duration,
    /// From an answer to the next request.
    pub idle: Duration,
    /// For the last answers when serving ends.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            per_user: 64,
            first: Duration::from_secs(5),
            head: Duration::from_secs(5),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            write: Duration::from_secs(5),
            idle: Duration::from_mins(1),
            drain: Duration::from_millis(300),
        }
    }
}

impl Limits {
    /// The same for one connection: those that came together do not end together, for
    /// to end thousands at once takes a while in which nobody is answered. Nobody has
    /// less time; some have up to a quarter more.
    pub(super) fn of_one(self, number: u64) -> Self {
        // Neighbours are far apart.
        let part = u32::try_from(number.wrapping_mul(619) % 1024).unwrap_or(0);
        let more = |time: Duration| time + time / 4096 * part;
        Self { first: more(self.first), head: more(self.head), idle: more(self.idle), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_came_together_end_one_after_the_other() {
        let usual = Limits::default();
        let mut ends: Vec<Duration> = (0..1024).map(|number| usual.of_one(number).first).collect();
        ends.sort();
        assert!(ends[0] >= usual.first && ends[1023] <= usual.first * 5 / 4);
        // In every tenth of that time there are about a tenth of them.
        let after = |part: u32| usual.first + usual.first / 40 * part;
        for tenth in 0..10 {
            let count = ends.iter().filter(|end| (after(tenth)..after(tenth + 1)).contains(*end)).count();
            assert!((90..=115).contains(&count), "{count} in tenth {tenth}");
        }
    }
}
