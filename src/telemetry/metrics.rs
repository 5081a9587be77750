//! Events as numbers, in the text of OpenMetrics.
//!
//! Owns: the names, as the contract has them. What is counted is counted when it
//! is told; what is a state or an age is taken from the status that a scrape
//! brings.
//! Must not know: values; who scrapes.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Event;
use crate::model::finding::Code;
use crate::model::key::Key;
use crate::status::{Health, RotationStatus, Status};

/// What the text is, for a server's header.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a millisecond, which is a local file's way, to a minute.
const SECONDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// That a rotation waits is none of its phases, and shown beside them.
const WAITING: &str = "waiting";
/// What a rotation may be in.
const PHASES: [&str; 4] = ["steady", "staged", "activated", WAITING];

macro_rules! labels {
    ($($name:ident { $($label:ident: $kind:ty),* })*) => { $(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        struct $name { $($label: $kind),* }
    )* };
}

labels! {
    Way { source: String, delivery: String }
    OfSource { source: String }
    Fetch { source: String, outcome: &'static str }
    Rejection { code: &'static str }
    Delivery { delivery: String, outcome: &'static str }
    Answer { route: &'static str, status: u16 }
    Listener { listener: &'static str }
    OfKey { key: String }
    Writing { outcome: &'static str }
    OfPath { path: String }
    Rotation { key: String, outcome: &'static str }
    OfPhase { key: String, phase: &'static str }
    Build { version: &'static str, arch: &'static str }
}

/// The numbers of one daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    propagation: Family<Way, Histogram>,
    fetches: Family<Fetch, Counter>,
    rejected: Family<Rejection, Counter>,
    deliveries: Family<Delivery, Counter>,
    requests: Family<Answer, Counter>,
    request_time: Histogram,
    denied: Counter,
    turned_away: Family<Listener, Counter>,
    cut_off: Family<Listener, Counter>,
    connections: Family<Listener, Gauge>,
    snapshots: Family<Writing, Counter>,
    rotations: Family<Rotation, Counter>,
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Metrics {
    pub(super) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("dlconf"),
            propagation: Family::new_with_constructor(histogram),
            fetches: Family::default(),
            rejected: Family::default(),
            deliveries: Family::default(),
            requests: Family::default(),
            request_time: histogram(),
            denied: Counter::default(),
            turned_away: Family::default(),
            cut_off: Family::default(),
            connections: Family::default(),
            snapshots: Family::default(),
            rotations: Family::default(),
        };
        metrics.registered()
    }

    /// A counter's name gets its `_total` from the text's encoder, a unit its
    /// suffix, an info its `_info`; the help its full stop.
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register_with_unit(
            "propagation",
            "From a change in a source, as this daemon first saw it, to its delivery",
            Unit::Seconds,
            self.propagation.clone(),
        );
        registry.register(
            "source_fetch",
            "Reads of a source, by outcome: ok or failed",
            self.fetches.clone(),
        );
        registry.register(
            "rejected",
            "New states that were not published, by the codes of their findings",
            self.rejected.clone(),
        );
        registry.register(
            "delivery",
            "Generations brought to a delivery, by outcome: changed, unchanged or failed",
            self.deliveries.clone(),
        );
        registry.register(
            "socket_requests",
            "Requests that the socket answered, by route and HTTP status",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "socket_request",
            "How long the socket took to answer",
            Unit::Seconds,
            self.request_time.clone(),
        );
        registry.register("access_denied", "Requests that were refused to who asked", self.denied.clone());
        registry.register(
            "connections_refused",
            "Connections closed because too many were open",
            self.turned_away.clone(),
        );
        registry.register(
            "connections_cut",
            "Connections closed because their clients did not read while a new generation came",
            self.cut_off.clone(),
        );
        registry.register("socket_connections", "Connections that are open", self.connections.clone());
        registry.register(
            "snapshot_write",
            "Attempts to write the last-known-good snapshot, by outcome: written or failed",
            self.snapshots.clone(),
        );
        registry.register(
            "rotation",
            "What became of rotations, by outcome: staged, activated, settled, unsettled, retired, supplied, undone, compromised, refused, failed or repaired",
            self.rotations.clone(),
        );
        let build = Build { version: env!("CARGO_PKG_VERSION"), arch: std::env::consts::ARCH };
        registry.register("build", "This program", Info::new(build));
        self
    }

    pub(super) fn count(&self, event: &Event) {
        match event {
            Event::Fetched { source, ok } => {
                let outcome = if *ok { "ok" } else { "failed" };
                self.fetches.get_or_create(&Fetch { source: source.to_string(), outcome }).inc();
            }
            Event::Rejected { findings, .. } => {
                let mut codes: Vec<&str> =
                    findings.iter().map(|words| words.code.map_or("none", Code::as_str)).collect();
                codes.sort_unstable();
                codes.dedup();
                for code in codes {
                    self.rejected.get_or_create(&Rejection { code }).inc();
                }
            }
            Event::Delivered { delivery, changed, took, .. } => {
                let outcome = if *changed { "changed" } else { "unchanged" };
                self.deliveries.get_or_create(&Delivery { delivery: delivery.clone(), outcome }).inc();
                for (source, took) in took {
                    let way = Way { source: source.to_string(), delivery: delivery.clone() };
                    self.propagation.get_or_create(&way).observe(took.as_secs_f64());
                }
            }
            Event::DeliveryFailed { delivery, .. } => {
                let failed = Delivery { delivery: delivery.clone(), outcome: "failed" };
                self.deliveries.get_or_create(&failed).inc();
            }
            Event::Denied { .. } => {
                self.denied.inc();
            }
            Event::TurnedAway { what } => {
                self.turned_away.get_or_create(&Listener { listener: what }).inc();
            }
            Event::CutOff { what } => {
                self.cut_off.get_or_create(&Listener { listener: what }).inc();
            }
            Event::Answered { route, status, took } => {
                self.requests.get_or_create(&Answer { route, status: *status }).inc();
                self.request_time.observe(took.as_secs_f64());
            }
            Event::SnapshotWritten { .. } => {
                self.snapshots.get_or_create(&Writing { outcome: "written" }).inc();
            }
            Event::SnapshotFailed { .. } => {
                self.snapshots.get_or_create(&Writing { outcome: "failed" }).inc();
            }
            Event::Rotated { key, act, .. } => self.rotated(key, act),
            Event::RotationFailed { key, .. } => self.rotated(key, "failed"),
            Event::RotationRepaired { key, .. } => self.rotated(key, "repaired"),
            Event::RotationRefused { key, .. } => self.rotated(key, "refused"),
            Event::Started { .. }
            | Event::Ready { .. }
            | Event::Listening { .. }
            | Event::Published { .. }
            | Event::SourceDown { .. }
            | Event::RotationWaits { .. }
            | Event::Leads { .. }
            | Event::Follows { .. }
            | Event::LeaderUnknown { .. }
            | Event::AcknowledgementsTroubled { .. }
            | Event::ClockDoubted { .. }
            | Event::ClockBelieved
            | Event::SourceUp { .. }
            | Event::StandsIn { .. }
            | Event::SourceStale { .. }
            | Event::DeletionHeld { .. }
            | Event::GivenUp { .. }
            | Event::Hook { .. }
            | Event::HookSaid { .. }
            | Event::Reloaded
            | Event::ReloadRefused { .. }
            | Event::AuditFailed { .. }
            | Event::AuditWorks { .. }
            | Event::AuditMeddled { .. }
            | Event::SnapshotUnusable { .. }
            | Event::SnapshotDropped { .. }
            | Event::SnapshotUnguarded { .. }
            | Event::SnapshotWorks { .. }
            | Event::SnapshotEnded { .. }
            | Event::AuditNotRotated { .. }
            | Event::CannotAccept { .. }
            | Event::FewConnections { .. }
            | Event::SocketExposed { .. }
            | Event::SocketLost { .. }
            | Event::Stopping { .. } => {}
        }
    }

    fn rotated(&self, key: &Key, outcome: &'static str) {
        self.rotations.get_or_create(&Rotation { key: key.to_string(), outcome }).inc();
    }

    pub(super) fn connections(&self, what: &'static str, open: usize) {
        let open = i64::try_from(open).unwrap_or(i64::MAX);
        self.connections.get_or_create(&Listener { listener: what }).set(open);
    }

    /// All of it, at this moment.
    ///
    /// # Errors
    /// Where a text cannot be written to a string, which is never.
    pub fn text(&self, status: &Status) -> Result<String, fmt::Error> {
        let mut text = String::with_capacity(16 * 1024);
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &present(status))?;
        encode_eof(&mut text)?;
        Ok(text)
    }
}

/// What is so at the moment of a scrape.
fn present(status: &Status) -> Registry {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let generation = Gauge::<i64>::default();
    generation.set(whole(status.generation));
    let up = Family::<OfSource, Gauge>::default();
    let age = Family::<OfSource, Gauge>::default();
    let leases = Family::<OfPath, Gauge>::default();
    for source in &status.sources {
        let label = OfSource { source: source.name.clone() };
        up.get_or_create(&label).set(i64::from(source.health == Health::Up));
        if let Some(seconds) = source.age_seconds {
            age.get_or_create(&label).set(whole(seconds));
        }
        for lease in &source.leases {
            if let Some(seconds) = lease.ttl_seconds {
                leases.get_or_create(&OfPath { path: lease.path.clone() }).set(whole(seconds));
            }
        }
    }
    let ages = Family::<OfKey, Gauge>::default();
    for variable in &status.variables {
        if let Some(seconds) = variable.age_seconds {
            ages.get_or_create(&OfKey { key: variable.key.clone() }).set(whole(seconds));
        }
    }
    let mut registry = Registry::with_prefix("dlconf");
    rotations(&status.rotations, &mut registry);
    if let Some(audit) = &status.audit {
        let failing = i64::from(audit.failure.is_some());
        registry.register(
            "audit_records",
            "Records of the audit log, over all its files",
            ConstCounter::new(audit.records),
        );
        registry.register(
            "audit_head",
            "The last record's code: its first 12 hexadecimal digits as a number",
            ConstGauge::new(whole(audit.head_number())),
        );
        registry.register(
            "audit_failing",
            "1 while records cannot be written to the audit log",
            ConstGauge::new(failing),
        );
    }
    if let Some(snapshot) = &status.snapshot {
        if let Some(seconds) = snapshot.age_seconds {
            registry.register_with_unit(
                "snapshot_age",
                "Since the least recently confirmed source in the last-known-good snapshot was confirmed",
                Unit::Seconds,
                ConstGauge::new(whole(seconds)),
            );
        }
        registry.register(
            "snapshot_in_use",
            "1 while the last-known-good snapshot stands in for a source",
            ConstGauge::new(i64::from(!snapshot.stands_in.is_empty())),
        );
    }
    registry.register("config_generation", "The published generation, 0 before the first", generation);
    registry.register("source_up", "1 where the source was read whole", up);
    registry.register_with_unit(
        "source_age",
        "Since what a source gave was last confirmed",
        Unit::Seconds,
        age,
    );
    registry.register_with_unit(
        "lease_ttl",
        "Until a lease ends unless it is renewed",
        Unit::Seconds,
        leases,
    );
    registry.register_with_unit(
        "variable_age",
        "Since a value was written, or first seen where its source does not tell",
        Unit::Seconds,
        ages,
    );
    registry
}

/// How rotations are: nothing, where none is this daemon's.
fn rotations(rotations: &[RotationStatus], registry: &mut Registry) {
    let due = Family::<OfKey, Gauge>::default();
    let phases = Family::<OfPhase, Gauge>::default();
    let waiting = Family::<OfKey, Gauge>::default();
    for rotation in rotations {
        let key = || OfKey { key: rotation.key.clone() };
        if let Some(seconds) = rotation.due_seconds {
            due.get_or_create(&key()).set(seconds);
        }
        let waits = !rotation.waiting.is_empty();
        waiting.get_or_create(&key()).set(i64::from(waits));
        for phase in PHASES {
            let is_it = if phase == WAITING { waits } else { phase == rotation.phase };
            phases.get_or_create(&OfPhase { key: rotation.key.clone(), phase }).set(i64::from(is_it));
        }
    }
    if rotations.is_empty() {
        return;
    }
    registry.register_with_unit(
        "rotation_due",
        "Until the next rotation is due; negative where it is overdue",
        Unit::Seconds,
        due,
    );
    registry.register(
        "rotation_phase",
        "1 for the phase that a rotation is in, and for waiting while it waits for consumers",
        phases,
    );
    registry.register("rotation_waiting", "1 while a rotation waits for consumers", waiting);
}
