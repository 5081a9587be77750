//! A daemon that cannot be followed: told once when that begins, once when it is over.
//!
//! Owns: the words. Invariant: however long it lasts, each kind is told once.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::time::Instant;

use super::SILENCE;
use crate::cli::Failure;
use crate::cli::ask::Missed;
use crate::cli::run::words::Spoken;
use crate::telemetry::Level;

/// Why a daemon cannot be followed.
#[derive(Debug)]
pub(super) struct Trouble {
    kind: Kind,
    why: Failure,
}

/// What kinds there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Nobody answers, or not to the end, or what is no answer.
    Away,
    NotReady,
    Refused,
    /// It serves somebody else.
    Another,
    /// It does not give all that the program has.
    Partial,
}

/// One that lasts.
pub(super) struct Outage<'a> {
    spoken: &'a Spoken,
    place: String,
    since: Option<Instant>,
    told: BTreeSet<Kind>,
}

impl Trouble {
    pub(super) fn not_ready(why: Failure) -> Self {
        Self { kind: Kind::NotReady, why }
    }

    pub(super) fn refused(why: Failure) -> Self {
        Self { kind: Kind::Refused, why }
    }

    pub(super) fn partial(why: Failure) -> Self {
        Self { kind: Kind::Partial, why }
    }

    pub(super) fn another(why: Failure) -> Self {
        Self { kind: Kind::Another, why }
    }
}

impl From<Missed> for Trouble {
    fn from(missed: Missed) -> Self {
        let kind = match missed {
            Missed::Refused(_) => Kind::Refused,
            Missed::Away(_) | Missed::Failed(_) => Kind::Away,
        };
        Self { kind, why: missed.into_failure() }
    }
}

impl<'a> Outage<'a> {
    pub(super) fn none_yet(spoken: &'a Spoken, place: String) -> Self {
        Self { spoken, place, since: None, told: BTreeSet::new() }
    }

    /// Whether there is one.
    pub(super) fn is_one(&self) -> bool {
        self.since.is_some()
    }

    /// It cannot be followed now.
    pub(super) fn goes_on(&mut self, trouble: Trouble) {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        // A daemon that is started anew is away for a moment, and that is no trouble.
        let may_pass = matches!(trouble.kind, Kind::Away | Kind::NotReady);
        if (may_pass && now.duration_since(since) < SILENCE) || !self.told.insert(trouble.kind) {
            return;
        }
        let program = self.spoken.program();
        for fault in trouble.why.faults {
            let fix = fault.help.map_or(String::new(), |help| format!(" (fix: {help})"));
            self.spoken.say(
                Level::Warning,
                "daemon-lost",
                format!("{}; {program} goes on with what it has{fix}", fault.message),
                json!({ "daemon": self.place, "why": fault.message }),
            );
        }
    }

    /// It can be followed.
    pub(super) fn is_over(&mut self) {
        let told = !std::mem::take(&mut self.told).is_empty();
        if let Some(since) = self.since.take()
            && told
        {
            let seconds = since.elapsed().as_secs();
            self.spoken.say(
                Level::Info,
                "daemon-back",
                format!("the daemon at {} is followed again, after {seconds} s", self.place),
                json!({ "daemon": self.place, "after_seconds": seconds }),
            );
        }
    }
}
