//! What happens, told: each event once, and from it a line on stderr and the
//! metrics.
//!
//! Owns: the list of what can happen ([`Event`]), its words (`log`) and its
//! numbers (`metrics`). Invariants: events are value-free by their types; text
//! from outside cannot steer what shows a line.
//! Must not know: who listens to the numbers; values.

pub mod log;
pub mod metrics;
mod spool;

use std::time::Duration;

use crate::model::finding::Code;
use crate::model::key::{Key, SourceName};
use crate::model::snapshot::Version;

/// How much an event weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For `-v`.
    Debug,
    /// The usual course.
    Info,
    /// Something is held, withheld or late.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Something in words: a finding, a fault. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// The finding that it is, where it is one.
    pub code: Option<Code>,
    /// One sentence.
    pub message: String,
    /// Where.
    pub place: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// What can happen to a daemon.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each variant's line says what its fields are")]
pub enum Event {
    /// It begins: its release, and what it is for.
    Started { environment: String, service: Option<String>, schema: String, settings: Option<String> },
    /// A valid generation was published and every delivery has had one.
    Ready { version: Option<Version> },
    /// It listens: `the ops port`, `127.0.0.1:9470`.
    Listening { what: &'static str, at: String },
    /// A generation was published; `changed` names those that are other, new or
    /// gone.
    Published { version: Version, changed: Vec<Key> },
    /// A new state is invalid, and the last generation holds (or there is none).
    Rejected { findings: Vec<Words>, holds: Option<Version> },
    /// A source was read: whole, or with faults.
    Fetched { source: SourceName, ok: bool },
    /// A source cannot be read, or not whole; told once for each new set of faults.
    /// `holds`: it gave something before.
    SourceDown { source: SourceName, faults: Vec<Words>, holds: bool },
    /// A source that was down is up.
    SourceUp { source: SourceName },
    /// A source was not read since the start, and what the last-known-good snapshot
    /// holds of it stands in; so long ago it was confirmed.
    StandsIn { source: SourceName, age: Duration },
    /// A source was not confirmed for longer than it may be (DLC052).
    SourceStale { source: SourceName, words: Words, withheld: Vec<Key> },
    /// A source states that a value is gone, and it is held for the time being.
    DeletionHeld { key: Key, source: SourceName, until_forgotten: bool },
    /// A value that was held is given up: its time was over, or somebody asked.
    GivenUp { key: Key, source: SourceName, by_request: bool },
    /// A delivery has a generation; each source's change took so long to get there.
    Delivered { delivery: String, version: Version, changed: bool, took: Vec<(SourceName, Duration)> },
    /// A delivery failed and is tried again by itself.
    DeliveryFailed { delivery: String, words: Words, again_in: Duration },
    /// An `on_change` is done.
    Hook { delivery: String, ok: bool, detail: String },
    /// A line that an `on_change` program wrote, values masked.
    HookSaid { delivery: String, line: String },
    /// Settings and schema were read again and hold.
    Reloaded,
    /// They were read again, are refused, and the old ones hold.
    ReloadRefused { faults: Vec<Words> },
    /// Somebody was refused on the socket: which user, where that is known.
    Denied { what: &'static str, uid: Option<u32>, detail: String },
    /// Records cannot be written to the audit log; told once, until they can be.
    /// `required`: what cannot be recorded is refused.
    AuditFailed { log: String, reason: String, required: bool },
    /// They can be again; so many could not, meanwhile.
    AuditWorks { log: String, unrecorded: u64 },
    /// The last-known-good snapshot is not used, and why; told at a start.
    SnapshotUnusable { path: String, why: String, help: String },
    /// Not all that is in it may be used.
    SnapshotDropped { path: String, what: String },
    /// Whether an older one was put in its place could not be noticed.
    SnapshotUnguarded { path: String, why: String },
    /// It was written: the sources' present state, or the same confirmed again.
    SnapshotWritten { path: String, generation: u64 },
    /// It cannot be written, and is tried again. `is_news`: for another reason than
    /// the last time.
    SnapshotFailed { path: String, reason: String, help: String, is_news: bool },
    /// It can be written again.
    SnapshotWorks { path: String },
    /// The settings have none any more; its file stays as it is.
    SnapshotEnded { path: String },
    /// Somebody else cut, removed or wrote to the audit log's file.
    AuditMeddled { log: String, what: String },
    /// The audit log's file cannot be exchanged for a new one, and is written on.
    AuditNotRotated { log: String, reason: String },
    /// A connection was closed as it came: so many are open already.
    TurnedAway { what: &'static str },
    /// A connection was ended because its client did not read while a new generation
    /// came.
    CutOff { what: &'static str },
    /// There may be fewer connections than the settings have: the process may not have
    /// as many descriptors.
    FewConnections { what: &'static str, connections: usize, wanted: usize },
    /// Others may write into the folder of a socket, and so take its place.
    SocketExposed { what: &'static str, at: String },
    /// A socket is not found any more under its name; `bound_again`: a new one is.
    SocketLost { what: &'static str, at: String, bound_again: bool },
    /// No connection can be accepted for the moment: `too many open files`.
    CannotAccept { what: &'static str, reason: &'static str },
    /// A step of a rotation was written; `act`: `staged`, `activated`, `retired`.
    Rotated { key: Key, act: &'static str, place: String, number: u64 },
    /// A rotation cannot begin or go on; told once for each reason.
    RotationFailed { key: Key, words: Words },
    /// A rotation waits, and for whom, a clause each; told once for each list.
    RotationWaits { key: Key, waiting: Vec<String> },
    /// Somebody else's write lost what a rotation needs, and it is there again: a
    /// sentence each.
    RotationRepaired { key: Key, place: String, what: Vec<String> },
    /// Somebody wanted a rotation that is not done; `code`: why, for programs.
    RotationRefused { key: Key, code: String, words: Words },
    /// This daemon rotates: it holds the Lease.
    Leads { lease: String },
    /// Another daemon does, by its name where that is known.
    Follows { lease: String, holder: Option<String> },
    /// Nobody can tell who does, so this daemon does not: why, as a clause.
    LeaderUnknown { lease: String, why: String },
    /// What programs run is not told to other daemons, or what stands there cannot be
    /// understood; told once for each reason.
    AcknowledgementsTroubled { words: Words },
    /// This machine's clock leapt by so many seconds, and is not believed.
    ClockDoubted { seconds: i64 },
    /// It is believed again.
    ClockBelieved,
    /// A request was answered.
    Answered { route: &'static str, status: u16, took: Duration },
    /// It ends, and why; `failed`: nobody told it to.
    Stopping { why: String, failed: bool },
}

impl Event {
    /// Whether it happens all the time, and a line of it is for `-v` only.
    fn is_routine(&self) -> bool {
        matches!(self, Self::Answered { .. } | Self::Fetched { .. })
    }
}

/// Who is told of events.
pub trait Listener: Send + Sync {
    /// Something happened.
    fn tell(&self, event: Event);

    /// So many connections are open at a listener now. It is no event: they come and
    /// go too fast for that.
    fn connections(&self, _what: &'static str, _open: usize) {}
}

/// The one listener of a daemon: a line and the numbers of each event.
#[derive(Debug)]
pub struct Telemetry {
    log: log::Log,
    metrics: metrics::Metrics,
}

impl Telemetry {
    /// With nothing counted yet.
    pub fn new(log: log::Log) -> Self {
        Self { log, metrics: metrics::Metrics::new() }
    }

    /// The numbers.
    pub fn metrics(&self) -> &metrics::Metrics {
        &self.metrics
    }
}

impl Listener for Telemetry {
    fn tell(&self, event: Event) {
        self.metrics.count(&event);
        self.log.write(&event);
    }

    fn connections(&self, what: &'static str, open: usize) {
        self.metrics.connections(what, open);
    }
}
