//! What a daemon tells of itself: value-free, and the same for the socket, the
//! status page and `dlconf status`.
//!
//! Owns: the document of `GET /v1/status`. Ages are whole seconds at the time it
//! was made; times are RFC 3339, UTC.
//! Must not know: values; how it is drawn.

use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The release of dlconf.
    pub release: String,
    /// What is published: `7f3a.42`; none before the first generation.
    pub version: Option<String>,
    /// The number in it; 0 before the first.
    pub generation: u64,
    /// When that was published.
    pub since: Option<String>,
    /// When the daemon started.
    pub started: String,
    /// Whether a valid generation was published and every delivery has had one.
    pub ready: bool,
    /// The environment.
    pub environment: String,
    /// The service; none means all.
    pub service: Option<String>,
    /// The schema's name.
    pub schema: String,
    /// The schema's file.
    pub schema_path: String,
    /// The sources, lowest first.
    pub sources: Vec<SourceStatus>,
    /// The variables that have a value or a finding, in schema order.
    pub variables: Vec<VariableStatus>,
    /// The deliveries.
    pub deliveries: Vec<DeliveryStatus>,
    /// What is to be said of the present generation: warnings, and what is held.
    pub findings: Vec<FindingStatus>,
    /// The last new state that was not published, if it is the latest.
    pub rejected: Option<RejectedStatus>,
    /// The last reload that was refused, if no later one worked.
    pub reload_refused: Option<RefusedReload>,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Its name in the settings.
    pub name: String,
    /// Its type in the settings.
    pub kind: String,
    /// How it is.
    pub health: Health,
    /// Seconds since what it gave was last confirmed; none before the first time.
    pub age_seconds: Option<u64>,
    /// How old it may become, in seconds.
    pub max_age_seconds: u64,
    /// How many variables it offers.
    pub offers: usize,
    /// What is wrong with it.
    pub faults: Vec<FindingStatus>,
    /// What it was lent.
    pub leases: Vec<LeaseStatus>,
}

/// Something that a source was lent and keeps alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// Where: `vault:database/creds/datalens`.
    pub path: String,
    /// Seconds until it ends unless it is renewed; none where that is not known.
    pub ttl_seconds: Option<u64>,
}

/// How a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not read yet.
    Waiting,
    /// It was read, and nothing is wrong.
    Up,
    /// It cannot be read, or not whole: what it gave before is held.
    Down,
    /// That has lasted longer than it may (DLC052).
    Stale,
}

/// One variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariableStatus {
    /// Its name.
    pub key: String,
    /// Whether the schema calls it secret.
    pub secret: bool,
    /// How it is.
    pub state: VariableState,
    /// The source that gives it; none where it is the schema's default, or unset.
    pub source: Option<String>,
    /// The place: `vault:secret/datalens/production#JWT_SECRET@7`, `schema default`.
    pub origin: Option<String>,
    /// The source's revision.
    pub revision: Option<String>,
    /// Seconds since the value was written, where the source tells; else since
    /// this daemon first saw it.
    pub age_seconds: Option<u64>,
    /// The deliveries that may have it.
    pub deliveries: Vec<String>,
}

/// How a variable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VariableState {
    /// As its source has it.
    Current,
    /// Its source cannot be read: the last value holds.
    Held,
    /// Its source deleted it: the value is held until `dlconf forget`, or for a
    /// minute where it is optional.
    Deleted,
    /// Its source is older than it may be, and the schema says `stale = "refuse"`:
    /// nobody gets it.
    Withheld,
    /// A finding says that it is missing.
    Missing,
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// Its name in the settings.
    pub name: String,
    /// `env-file` or `directory`.
    pub kind: String,
    /// Where.
    pub path: String,
    /// How many variables are there; 0 before the first delivery.
    pub vars: usize,
    /// The version that is there; none before the first.
    pub version: Option<String>,
    /// Seconds since it was put there.
    pub age_seconds: Option<u64>,
    /// Why the latest is not there.
    pub failure: Option<FindingStatus>,
    /// What became of the last `on_change`, in words; none where none is set, or
    /// none was needed yet.
    pub on_change: Option<HookStatus>,
}

/// What became of an `on_change`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Whether it worked.
    pub ok: bool,
    /// In words: `exit code 1`, `TERM sent to process 4711`.
    pub detail: String,
    /// Seconds since.
    pub age_seconds: u64,
}

/// A finding in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingStatus {
    /// `DLC050`, where it is a finding of the contract.
    pub code: Option<String>,
    /// `error` or `warning`.
    pub severity: String,
    /// The variable, where it is about one.
    pub variable: Option<String>,
    /// One sentence.
    pub message: String,
    /// Where.
    pub place: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// A new state that was not published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedStatus {
    /// When.
    pub at: String,
    /// Why.
    pub findings: Vec<FindingStatus>,
}

/// A reload that was refused: the old settings and schema hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// When.
    pub at: String,
    /// Why.
    pub findings: Vec<FindingStatus>,
}

/// Where a variable's value comes from, and what else was offered. Value-free
/// where it comes from a daemon; `dlconf explain` without one may show plain
/// values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The variable.
    pub key: String,
    /// The environment.
    pub environment: String,
    /// The schema's file.
    pub schema_path: String,
    /// What the schema says, a line each: its description, its facts.
    pub declared: Vec<String>,
    /// Every place that offered it, the winner first.
    pub offers: Vec<OfferStatus>,
    /// The findings about it, and sources that were not read.
    pub findings: Vec<FindingStatus>,
}

/// One offer, or what stands in for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferStatus {
    /// `wins`, `loses`, `old`, `seen`, `unused`, `unset`.
    pub verb: String,
    /// Where.
    pub place: String,
    /// The source, where one offers it.
    pub source: Option<String>,
    /// The source's revision.
    pub revision: Option<String>,
    /// Seconds since it was written, where the source tells.
    pub age_seconds: Option<u64>,
    /// Why, or what it is.
    pub words: String,
}
