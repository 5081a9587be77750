//! What a broker tells of itself: its part of the status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::desk::{Desk, Tracked};
use super::hold::Deletion;
use super::publisher::Publisher;
use super::words::{code, finding_status, time};
use crate::model::finding::{Code, Finding, Severity};
use crate::model::key::{Key, SourceName};
use crate::model::origin::{Location, Origin};
use crate::model::validate::Delivered;
use crate::status::{
    FindingStatus, Health, LeaseStatus, Provenance, RejectedStatus, SourceStatus, Status, VariableState,
    VariableStatus,
};

/// The broker's part of the status.
pub(super) fn status(desk: &Desk, publisher: &Publisher) -> Status {
    let now = Instant::now();
    let plan = &desk.plan;
    let snapshot = publisher.snapshot();
    let findings = publisher.judged().map(|judged| judged.verdict.findings.as_slice()).unwrap_or_default();
    let is_rejected = publisher.rejected().is_some();
    Status {
        release: env!("CARGO_PKG_VERSION").to_owned(),
        version: snapshot.as_ref().map(|snapshot| snapshot.version().to_string()),
        generation: snapshot.as_ref().map_or(0, |snapshot| snapshot.version().generation()),
        since: snapshot.as_ref().map(|snapshot| time(snapshot.since())),
        started: String::new(),
        ready: false,
        environment: plan.environment.clone(),
        service: plan.service.clone(),
        schema: plan.schema.name.to_string(),
        schema_path: plan.schema.path.to_string(),
        sources: desk.tracked.iter().map(|tracked| source(tracked, now)).collect(),
        variables: variables(desk, publisher),
        deliveries: Vec::new(),
        // What was refused is told with the refusal.
        findings: findings
            .iter()
            .filter(|finding| !is_rejected || finding.code == Code::Stale)
            .map(finding_status)
            .collect(),
        rejected: publisher
            .rejected()
            .map(|rejected| RejectedStatus { at: time(rejected.at), findings: rejected.findings.clone() }),
        reload_refused: None,
        consumers: Vec::new(),
        audit: None,
        snapshot: None,
        rotator: None,
        rotations: Vec::new(),
    }
}

fn source(tracked: &Tracked, now: Instant) -> SourceStatus {
    let share = &tracked.share;
    let health = match () {
        () if tracked.is_stale => Health::Stale,
        () if !share.faults.is_empty() => Health::Down,
        () if share.was_whole => Health::Up,
        () => Health::Waiting,
    };
    let faults = share.faults.iter().map(|fault| FindingStatus {
        code: Some(code(fault).as_str().to_owned()),
        severity: Severity::Error.as_str().to_owned(),
        variable: None,
        message: fault.message.clone(),
        place: Some(fault.location.to_string()),
        help: Some(fault.help.clone()),
    });
    let keys: BTreeSet<&Key> =
        share.layer.iter().flat_map(|layer| layer.offers.iter().map(|offer| &offer.key)).collect();
    SourceStatus {
        name: tracked.name().to_string(),
        kind: tracked.planned.kind.to_owned(),
        health,
        age_seconds: tracked.age(now).map(|age| age.as_secs()),
        max_age_seconds: tracked.planned.max_age.as_secs(),
        offers: keys.len(),
        snapshot_age_seconds: tracked.standing_in().map(|recalled| recalled.age(now).as_secs()),
        leases: tracked
            .lent()
            .iter()
            .map(|lent| LeaseStatus {
                path: lent.place.to_string(),
                ttl_seconds: lent.ends.map(|ends| ends.saturating_duration_since(now).as_secs()),
            })
            .collect(),
        faults: faults.collect(),
    }
}

fn variables(desk: &Desk, publisher: &Publisher) -> Vec<VariableStatus> {
    let in_force: BTreeMap<&Key, &Delivered> =
        publisher.in_force().iter().map(|delivered| (&delivered.key, delivered)).collect();
    let deletions = desk.deletions();
    let findings = publisher.judged().map(|judged| judged.verdict.findings.as_slice()).unwrap_or_default();
    let is_missing = |finding: &&Finding| matches!(finding.code, Code::Missing | Code::Empty);
    let missing: BTreeSet<&Key> =
        findings.iter().filter(is_missing).filter_map(|finding| finding.variable.as_ref()).collect();
    let service = desk.plan.service.as_deref();
    let ours = desk.plan.schema.vars.iter().filter(|var| var.read_by(service));
    ours.filter_map(|var| match in_force.get(&var.key) {
        Some(delivered) => Some(variable(desk, publisher, &deletions, delivered)),
        None if missing.contains(&var.key) => Some(VariableStatus {
            key: var.key.to_string(),
            secret: var.secret,
            state: VariableState::Missing,
            source: None,
            origin: None,
            revision: None,
            age_seconds: None,
            deliveries: Vec::new(),
        }),
        None => None,
    })
    .collect()
}

fn variable(
    desk: &Desk,
    publisher: &Publisher,
    deletions: &BTreeMap<&Key, (&SourceName, Deletion)>,
    delivered: &Delivered,
) -> VariableStatus {
    let (key, origin) = (&delivered.key, &delivered.origin);
    let tracked = desk.tracked.iter().find(|tracked| *tracked.name() == origin.source);
    let deleted = deletions.get(key).is_some_and(|(source, _)| **source == origin.source);
    let state = if publisher.withheld().contains(key) {
        VariableState::Withheld
    } else if deleted {
        VariableState::Deleted
    } else if tracked.is_some_and(|tracked| is_held(tracked, delivered)) {
        VariableState::Held
    } else {
        VariableState::Current
    };
    let age = age(desk, publisher, delivered);
    VariableStatus {
        key: key.to_string(),
        secret: delivered.secret,
        state,
        source: tracked.map(|tracked| tracked.name().to_string()),
        origin: Some(origin.location.to_string()),
        revision: origin.revision.as_ref().map(|revision| revision.0.to_string()),
        age_seconds: age.map(|age| age.as_secs()),
        deliveries: Vec::new(),
    }
}

/// Since a value was written, where its source tells; else since it was first seen.
/// None for what no source gives.
fn age(desk: &Desk, publisher: &Publisher, delivered: &Delivered) -> Option<Duration> {
    let origin = &delivered.origin;
    let is_of_a_source = || desk.tracked.iter().any(|tracked| *tracked.name() == origin.source);
    let seen = || is_of_a_source().then(|| publisher.seen(&delivered.key)).flatten();
    let written = origin.modified.or_else(seen)?;
    SystemTime::now().duration_since(written).ok()
}

/// Where a value that was published is found now: it may be that of an older
/// generation, and its place may have moved while it stayed.
pub(super) fn provenance(desk: &Desk, publisher: &Publisher, given: &Delivered) -> Provenance {
    let is_it = |one: &&Delivered| one.key == given.key && one.value.same_as(&given.value);
    let delivered = publisher.in_force().iter().find(is_it).unwrap_or(given);
    Provenance {
        place: delivered.origin.location.to_string(),
        age_seconds: age(desk, publisher, delivered).map(|age| age.as_secs()),
        snapshot_age_seconds: snapshot_age(desk, &delivered.origin, Instant::now()).map(|age| age.as_secs()),
    }
}

/// How old the oldest of these values is that are those of an earlier daemon.
pub(super) fn oldest_from_snapshot(
    desk: &Desk,
    publisher: &Publisher,
    is_one: impl Fn(&Key) -> bool,
) -> Option<Duration> {
    // As good as always; this is asked with every answer.
    if desk.tracked.iter().all(|tracked| tracked.standing_in().is_none()) {
        return None;
    }
    let now = Instant::now();
    let ours = publisher.in_force().iter().filter(|delivered| is_one(&delivered.key));
    ours.filter_map(|delivered| snapshot_age(desk, &delivered.origin, now)).max()
}

/// How old what an earlier daemon knew of a value's source is, where the value is
/// that of an earlier daemon.
fn snapshot_age(desk: &Desk, origin: &Origin, now: Instant) -> Option<Duration> {
    let tracked = desk.tracked.iter().find(|tracked| *tracked.name() == origin.source)?;
    Some(tracked.standing_in().filter(|_| origin.location.is_from_snapshot())?.age(now))
}

/// Whether it is that of an earlier daemon, or a fault of its source is about its
/// place: one that names no place of the source is about all of them.
fn is_held(tracked: &Tracked, delivered: &Delivered) -> bool {
    if delivered.origin.location.is_from_snapshot() {
        return true;
    }
    if tracked.share.faults.is_empty() {
        return false;
    }
    let places: BTreeSet<&str> =
        tracked.share.layer.iter().flat_map(|layer| layer.places.iter().map(|place| &*place.label)).collect();
    let ours = delivered.origin.location.place().map(|place| &**place);
    tracked.share.faults.iter().any(|fault| {
        let place = match &fault.location {
            // A place as a whole.
            Location::Named(text) => Some(&**text),
            within => within.place().map(|place| &**place),
        };
        let place = place.filter(|place| places.contains(place));
        place.is_none() || place == ours
    })
}
