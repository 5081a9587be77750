//! How a program is supervised.

use std::ffi::OsString;
use std::time::Duration;

use url::Url;

use crate::delivery::encode::Format;
use crate::process::{Place, Signal};

/// All of it.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What a change of its variables does.
    pub on_change: OnChange,
    /// What tells it to end.
    pub stop_signal: Signal,
    /// How long it may take to, with all that it started in its group.
    pub kill_timeout: Duration,
    /// A change waits for a random time up to this, so that not all replicas follow it
    /// at once.
    pub splay: Duration,
    /// Between the starts that changes cause, at least.
    pub min_interval: Duration,
    /// Whether it is started again when it ends by itself.
    pub keep_alive: bool,
    /// When.
    pub backoff: Backoff,
    /// How often in a row, at most.
    pub max_restarts: Option<u32>,
    /// What it must show before new values are taken for good.
    pub healthy: Option<Health>,
    /// Within which time.
    pub healthy_timeout: Duration,
    /// Where it runs.
    pub place: Place,
    /// How it gets its values.
    pub deliver: Deliver,
}

impl Terms {
    /// Whether a change is told to a program that cannot get the new values: a signal
    /// carries none, and an environment stays what it was.
    pub(super) fn tells_without_handing(&self) -> bool {
        matches!(self.on_change, OnChange::Signal(_)) && self.deliver == Deliver::Environment
    }
}

/// What a change of the variables does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnChange {
    /// The program is stopped and started with them.
    Restart,
    /// The program, not its group, gets a signal.
    Signal(Signal),
    /// A command runs, with the environment that the program would be started with.
    Exec(Vec<OsString>),
    /// It is told.
    None,
}

/// When a program that ended by itself is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first time; twice as long after each further one.
    pub first: Duration,
    /// At most. A program that lived for longer than this ends the row.
    pub most: Duration,
}

/// What shows that a program works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It lives for so long.
    Lives(Duration),
    /// A GET of this is answered with 200 to 399.
    Answers(Url),
    /// This command, run with the program's environment, ends with 0.
    Runs(Vec<OsString>),
}

/// How a program gets its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deliver {
    /// As its environment.
    Environment,
    /// As a private file in memory, whose path is in the environment.
    File(Format),
    /// As a sealed memory file without a name, whose path is in the environment.
    Fd(Format),
}
