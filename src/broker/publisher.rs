//! Publishing: the only place that makes a generation.
//!
//! Owns: what is published, what was last judged, what was refused. Invariants: a
//! generation is valid and holds something else than the one before it; what is
//! refused leaves what is published as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use super::desk::Desk;
use super::judge::Judged;
use super::words;
use crate::model::finding::Finding;
use crate::model::key::Key;
use crate::model::snapshot::{Cause, Snapshot, Version};
use crate::model::validate::{Delivered, Validated};
use crate::status::FindingStatus;
use crate::telemetry::{Event, Listener};

/// What is published, and what was not.
pub(super) struct Publisher {
    instance: Arc<str>,
    published: watch::Sender<Option<Arc<Snapshot>>>,
    generations: watch::Sender<u64>,
    refuses: watch::Sender<bool>,
    judgements: watch::Sender<()>,
    listener: Arc<dyn Listener>,
    /// The latest judgement, be it good or not.
    judged: Option<Judged>,
    /// What is in force, with the places where it is found now: they may move
    /// while the values stay.
    in_force: Option<Validated>,
    /// When each value was first seen.
    seen: BTreeMap<Key, SystemTime>,
    /// What nobody gets since its source is too old.
    withheld: BTreeSet<Key>,
    /// The latest state, if it was refused.
    rejected: Option<Rejected>,
}

/// A state that was not published.
pub(super) struct Rejected {
    pub(super) at: SystemTime,
    pub(super) findings: Vec<FindingStatus>,
}

impl Publisher {
    pub(super) fn new(instance: Arc<str>, listener: Arc<dyn Listener>) -> Self {
        Self {
            instance,
            published: watch::Sender::new(None),
            generations: watch::Sender::new(0),
            refuses: watch::Sender::new(false),
            judgements: watch::Sender::new(()),
            listener,
            judged: None,
            in_force: None,
            seen: BTreeMap::new(),
            withheld: BTreeSet::new(),
            rejected: None,
        }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Arc<Snapshot>>> {
        self.published.subscribe()
    }

    pub(super) fn generations(&self) -> watch::Receiver<u64> {
        self.generations.subscribe()
    }

    /// Whether the latest state is refused.
    pub(super) fn refuses(&self) -> watch::Receiver<bool> {
        self.refuses.subscribe()
    }

    /// Changes with every judgement, also where nothing comes of it.
    pub(super) fn judgements(&self) -> watch::Receiver<()> {
        self.judgements.subscribe()
    }

    /// What is published, if anything is.
    pub(super) fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.published.borrow().clone()
    }

    pub(super) fn version(&self) -> Option<Version> {
        self.published.borrow().as_ref().map(|snapshot| snapshot.version().clone())
    }

    pub(super) fn judged(&self) -> Option<&Judged> {
        self.judged.as_ref()
    }

    pub(super) fn in_force(&self) -> &[Delivered] {
        self.in_force.as_ref().map(Validated::variables).unwrap_or_default()
    }

    pub(super) fn seen(&self, key: &Key) -> Option<SystemTime> {
        self.seen.get(key).copied()
    }

    pub(super) fn withheld(&self) -> &BTreeSet<Key> {
        &self.withheld
    }

    pub(super) fn rejected(&self) -> Option<&Rejected> {
        self.rejected.as_ref()
    }

    /// Notes a judgement that cannot be acted upon: a source was never read.
    pub(super) fn wait(&mut self, judged: Judged) {
        self.judged = Some(judged);
        self.judgements.send_replace(());
    }

    /// Publishes what was judged, if it is valid and new.
    pub(super) fn settle(&mut self, desk: &mut Desk, mut judged: Judged) {
        let outcome = std::mem::replace(&mut judged.verdict.outcome, Err(crate::model::validate::Refused));
        let mut causes = Vec::new();
        let in_force = match outcome {
            Ok(validated) => {
                self.rejected = None;
                self.refuses.send_if_modified(std::mem::take);
                causes.extend(desk.tracked.iter_mut().filter_map(|tracked| {
                    let noticed = tracked.noticed.take()?.into_std();
                    Some(Cause { source: tracked.name().clone(), noticed })
                }));
                Some(validated)
            }
            Err(_) => {
                self.reject(&judged);
                self.in_force.take()
            }
        };
        // A state that is refused does not keep what is in force from becoming too old.
        if let Some(validated) = in_force {
            let withheld = desk.withheld(&validated);
            self.tell_of_stale(desk, &withheld);
            judged.verdict.findings.splice(0..0, desk.stale_findings(&withheld));
            self.publish(causes, &validated, withheld);
            self.in_force = Some(validated);
        }
        self.judged = Some(judged);
        self.judgements.send_replace(());
    }

    /// Makes a generation of it, if it is another than the last.
    fn publish(&mut self, causes: Vec<Cause>, validated: &Validated, withheld: BTreeSet<Key>) {
        let before = self.snapshot();
        if before.as_ref().is_none_or(|before| !before.holds_the_same(validated, &withheld)) {
            let generation = before.as_ref().map_or(0, |before| before.version().generation()) + 1;
            let version = Version::new(Arc::clone(&self.instance), generation);
            let now = SystemTime::now();
            let snapshot =
                Snapshot::new(version.clone(), now, causes, validated, &withheld, before.as_deref());
            let changed: Vec<Key> = snapshot.changed_after(generation - 1).cloned().collect();
            self.seen.retain(|key, _| validated.get(key).is_some());
            for key in &changed {
                self.seen.insert(key.clone(), now);
            }
            self.published.send_replace(Some(Arc::new(snapshot)));
            self.generations.send_replace(generation);
            self.listener.tell(Event::Published { version, changed });
        }
        self.withheld = withheld;
    }

    fn reject(&mut self, judged: &Judged) {
        let findings = words::reasons(&judged.verdict);
        if self.rejected.as_ref().is_some_and(|rejected| rejected.findings == findings) {
            return;
        }
        self.listener
            .tell(Event::Rejected { findings: words::error_words(&findings), holds: self.version() });
        self.refuses.send_replace(true);
        self.rejected = Some(Rejected { at: SystemTime::now(), findings });
    }

    /// Says which sources became too old, and what is withheld for that.
    fn tell_of_stale(&self, desk: &Desk, withheld: &BTreeSet<Key>) {
        let told = self.judged.as_ref().map(|judged| &judged.verdict.findings);
        for finding in desk.stale_findings(withheld) {
            let is_it = |told: &Finding| told.code == finding.code && told.message == finding.message;
            if told.is_some_and(|told| told.iter().any(is_it)) {
                continue;
            }
            if let Some(origin) = &finding.origin {
                self.listener.tell(Event::SourceStale {
                    source: origin.source.clone(),
                    words: words::in_words(&finding),
                    withheld: withheld.iter().cloned().collect(),
                });
            }
        }
    }
}
