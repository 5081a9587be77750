//! What a daemon tells of itself: value-free, and the same for the socket, the
//! status page and `dlconf status`.
//!
//! Owns: the document of `GET /v1/status`. Ages are whole seconds at the time it
//! was made; times are RFC 3339, UTC.
//! Must not know: values; how it is drawn.

use std::collections::{BTreeMap, BTreeSet};

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
    /// The instances of programs that said which keys they run.
    #[serde(default)]
    pub consumers: Vec<ConsumerStatus>,
    /// The audit log; none where the settings have none.
    #[serde(default)]
    pub audit: Option<AuditStatus>,
    /// The last-known-good snapshot; none where the settings have none.
    #[serde(default)]
    pub snapshot: Option<SnapshotStatus>,
    /// Whether this daemon is the one that rotates; none where it rotates nothing.
    #[serde(default)]
    pub rotator: Option<RotatorStatus>,
    /// The variables that it rotates, in schema order.
    #[serde(default)]
    pub rotations: Vec<RotationStatus>,
}

/// The last-known-good snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotStatus {
    /// Its file.
    pub path: String,
    /// Which one it is; none where there is none that could be used.
    pub generation: Option<u64>,
    /// When it was written.
    pub written: Option<String>,
    /// Seconds since the least recently confirmed source in it was confirmed.
    pub age_seconds: Option<u64>,
    /// The oldest that may be used.
    pub max_age_seconds: u64,
    /// The sources that it stands in for.
    pub stands_in: Vec<String>,
    /// Why it was not used or could not be written, at the last attempt.
    pub failure: Option<FindingStatus>,
    /// Why a rollback to an older one could not be noticed, if so.
    pub unguarded: Option<String>,
}

impl Status {
    /// What may be seen of it by who sees these variables, and to whom these others
    /// are `hidden`: nothing is told that names one of them.
    #[must_use]
    pub fn narrowed(mut self, sees: impl Fn(&str) -> bool, hidden: &BTreeSet<&str>) -> Self {
        if hidden.is_empty() {
            return self;
        }
        self.variables.retain(|variable| sees(&variable.key));
        // What names no variable may speak of several, unless it is about a source.
        let is_of_a_source = |finding: &FindingStatus| {
            finding.code.as_deref().is_some_and(|code| SOURCE_CODES.contains(&code))
        };
        let is_seen = |finding: &FindingStatus| match &finding.variable {
            _ if finding.speaks_of(hidden) => false,
            Some(variable) => sees(variable),
            None => is_of_a_source(finding),
        };
        self.findings.retain(is_seen);
        self.rejected.iter_mut().for_each(|rejected| rejected.findings.retain(is_seen));
        self.reload_refused.iter_mut().for_each(|refused| refused.findings.clear());
        // That these are in trouble is for everybody.
        let faults = self.sources.iter_mut().flat_map(|source| &mut source.faults);
        let failures = self.deliveries.iter_mut().filter_map(|delivery| delivery.failure.as_mut());
        let snapshots = self.snapshot.iter_mut().filter_map(|snapshot| snapshot.failure.as_mut());
        faults
            .chain(failures)
            .chain(snapshots)
            .filter(|told| told.speaks_of(hidden))
            .for_each(FindingStatus::veil);
        self.rotations.retain(|rotation| sees(&rotation.key));
        self.rotations
            .iter_mut()
            .filter_map(|rotation| rotation.trouble.as_mut())
            .filter(|told| told.speaks_of(hidden))
            .for_each(FindingStatus::veil);
        for consumer in &mut self.consumers {
            consumer.runs.retain(|key, _| sees(key));
        }
        self
    }
}

impl FindingStatus {
    /// Whether it names one of these variables, whatever it is about.
    pub fn speaks_of(&self, names: &BTreeSet<&str>) -> bool {
        let texts = [Some(&self.message), self.variable.as_ref(), self.place.as_ref(), self.help.as_ref()];
        let is_of_a_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let mut words = texts.into_iter().flatten().flat_map(|text| text.split(|c| !is_of_a_word(c)));
        words.any(|word| names.contains(word))
    }

    /// Leaves nothing of it but that it is there.
    fn veil(&mut self) {
        self.message = String::from("it is about variables that are not shown here");
        (self.variable, self.place, self.help) = (None, None, None);
    }
}

/// The findings about sources (DLC050 to DLC053).
const SOURCE_CODES: [&str; 4] = ["DLC050", "DLC051", "DLC052", "DLC053"];

/// Who rotates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotatorStatus {
    /// Whether it is this daemon.
    pub leads: bool,
    /// The Lease whose holder rotates: `lease/datalens-rotator`; none where nobody else
    /// does.
    pub lease: Option<String>,
    /// Who holds it, where that is another one and known.
    pub holder: Option<String>,
    /// Why nobody can tell, as a clause.
    pub trouble: Option<String>,
}

/// The rotation of one variable, as who rotates knows it. Times in seconds from now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationStatus {
    /// The variable.
    pub key: String,
    /// How: `overlap`, `ring`, `supplied`, `dynamic`, `static-role`, `manual`.
    pub strategy: String,
    /// `steady`, `staged` or `activated`.
    pub phase: String,
    /// Seconds in that phase.
    pub phase_seconds: u64,
    /// The number of the last rotation; 0 before the first.
    pub number: u64,
    /// Where it is written: `vault:secret/datalens/production`.
    pub place: Option<String>,
    /// Seconds until the next one is due; negative where it is overdue.
    pub due_seconds: Option<i64>,
    /// Seconds until the key before is retired.
    pub retires_seconds: Option<u64>,
    /// Whom it waits for, a clause each.
    pub waiting: Vec<String>,
    /// What is wrong, and what to do.
    pub trouble: Option<FindingStatus>,
    /// The kids, by slot: `current`, `next`, `previous`, `3`.
    pub kids: BTreeMap<String, String>,
}

/// One instance of a program, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerStatus {
    /// The consumer: a service.
    pub name: String,
    /// Which one of it.
    pub instance: String,
    /// The user that said it.
    pub uid: u32,
    /// The version that it has taken up.
    pub version: String,
    /// Whether nothing of what it runs has changed since.
    pub current: bool,
    /// How the program is, where whoever runs it says so.
    #[serde(default)]
    pub health: Option<ChildHealth>,
    /// The keys in use, by variable.
    pub runs: BTreeMap<String, KeysInUse>,
    /// Seconds since it said so.
    pub age_seconds: u64,
    /// Seconds until that does not count any more.
    pub expires_in_seconds: u64,
}

/// The keys of one variable that are in use, by their kids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysInUse {
    /// What is accepted.
    pub verifies: Vec<String>,
    /// What new things are signed with, if anything is.
    pub signs: Option<String>,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// Its file.
    pub path: String,
    /// Whether what cannot be recorded is refused.
    pub required: bool,
    /// How many records there are, over all its files.
    pub records: u64,
    /// The last one's code: 64 hexadecimal digits, for `dlconf audit verify
    /// --expect-head`.
    pub head: String,
    /// Why records cannot be written, if so.
    pub failure: Option<String>,
}

impl AuditStatus {
    /// The first 48 bits of the head: as many as a number in JavaScript, or in
    /// Prometheus, has room for.
    pub fn head_number(&self) -> u64 {
        let digits = self.head.get(..12).unwrap_or_default();
        u64::from_str_radix(digits, 16).unwrap_or(0)
    }
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
    /// The same, where the last-known-good snapshot stands in for it: it was not read
    /// whole since this daemon started.
    #[serde(default)]
    pub snapshot_age_seconds: Option<u64>,
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

/// Where one value comes from, and how old it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The place: `vault:secret/datalens/production#JWT_SECRET@7`.
    pub place: String,
    /// Seconds since it was written, where the source tells; else since this daemon
    /// first saw it.
    pub age_seconds: Option<u64>,
    /// Seconds since its source confirmed it, where it is known from the
    /// last-known-good snapshot only.
    pub snapshot_age_seconds: Option<u64>,
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

/// How a program is, in the words of whoever runs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChildHealth {
    /// It showed that it works.
    Healthy,
    /// It runs, and nobody looks whether it works.
    Running,
    /// It ended by itself, does not work, or could not be started.
    Failed,
    /// It was ended, and is about to be started again.
    Stopped,
}

impl ChildHealth {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// Of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Healthy, Self::Running, Self::Failed, Self::Stopped]
            .into_iter()
            .find(|one| one.as_str() == word)
    }

    /// Whether it runs at all.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Healthy | Self::Running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_speaks_of_what_it_names_as_a_word() {
        let finding = |message: &str, place: &str| FindingStatus {
            code: None,
            severity: "error".into(),
            variable: Some("A".into()),
            message: message.into(),
            place: Some(place.into()),
            help: None,
        };
        let names = BTreeSet::from(["JWT", "KEY_2"]);
        for (message, place, speaks) in [
            ("A holds the same secret as JWT", ".env:1:2", true),
            ("A, KEY_2: both", ".env", true),
            ("A is weak", "vault:secret/x#JWT@7", true),
            ("A is weak", "/run/secrets/KEY_2", true),
            ("JWT_A, XJWT, KEY_22 and jwt", "KEY", false),
        ] {
            assert_eq!(finding(message, place).speaks_of(&names), speaks, "{message} {place}");
        }
        assert!(finding("", "").speaks_of(&BTreeSet::from(["A"])));
    }
}
