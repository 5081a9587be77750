//! A plan, and what its sources have given so far: all that a judgement needs.
//!
//! Two of them exist while a reload is tried: the one in force, and the one that
//! may take its place.
//! Must not know: what was published.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::feed::{Arrival, is_same};
use super::hold::{Deletion, Rules, Share, offered};
use super::judge::{Given, Judged, Terms, judge};
use super::plan::{Plan, Planned};
use crate::model::finding::{Code, Finding, Severity};
use crate::model::key::{Key, SourceName};
use crate::model::origin::{Location, Origin};
use crate::model::validate::Validated;
use crate::source::{Source, Vitals};

/// One source of the plan.
#[derive(Clone)]
pub(super) struct Tracked {
    pub(super) planned: Planned,
    pub(super) share: Share,
    pub(super) vitals: Vitals,
    /// Whether it is older than it may be.
    pub(super) is_stale: bool,
    /// Whether it was asked at all.
    pub(super) has_arrived: bool,
    /// When the oldest change of it was noticed that is not yet published.
    pub(super) noticed: Option<Instant>,
}

/// What an arrival changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Moved {
    /// Something is other than before.
    pub(super) something: bool,
    /// It has faults that it did not have, or other ones.
    pub(super) failed: bool,
    /// It had faults, and has none.
    pub(super) recovered: bool,
}

/// A plan and what its sources gave.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) plan: Plan,
    pub(super) tracked: Vec<Tracked>,
    /// Values that somebody gave up although they are required, until their
    /// source has them again.
    pub(super) forgotten: BTreeSet<Key>,
}

impl Tracked {
    fn new(planned: Planned) -> Self {
        Self {
            planned,
            share: Share::default(),
            vitals: Vitals::default(),
            is_stale: false,
            has_arrived: false,
            noticed: None,
        }
    }

    pub(super) fn name(&self) -> &SourceName {
        self.planned.source.name()
    }

    /// Since when it was not confirmed.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        Some(now.saturating_duration_since(self.vitals.confirmed?))
    }

    fn rules<'p>(&self, plan: &'p Plan) -> Rules<'p> {
        Rules {
            schema: &plan.schema,
            environment: &plan.environment,
            service: plan.service.as_deref(),
            is_remote: self.planned.source.is_remote(),
        }
    }
}

impl Desk {
    /// A desk on which nothing lies yet.
    pub(super) fn new(plan: Plan) -> Self {
        let tracked = plan.sources.iter().cloned().map(Tracked::new).collect();
        Self { plan, tracked, forgotten: BTreeSet::new() }
    }

    /// Lays here what lies on another desk, of the sources that both plans have.
    pub(super) fn copy(&mut self, other: &Self, now: Instant) {
        let Self { plan, tracked, forgotten } = self;
        for tracked in tracked {
            let same = |theirs: &&Tracked| is_same(&theirs.planned.source, &tracked.planned.source);
            if let Some(theirs) = other.tracked.iter().find(same) {
                *tracked = Tracked { planned: tracked.planned.clone(), ..theirs.clone() };
                let rules = tracked.rules(plan);
                tracked.share.judge_anew(rules, now);
            }
        }
        forgotten.extend(other.forgotten.iter().cloned());
        self.end_waivers();
    }

    /// Whether a source is one of the plan's.
    pub(super) fn has(&self, source: &Arc<dyn Source>) -> bool {
        self.tracked.iter().any(|tracked| is_same(&tracked.planned.source, source))
    }

    /// Whether a source is one of the plan's and has answered.
    pub(super) fn has_heard_of(&self, source: &Arc<dyn Source>) -> bool {
        self.tracked.iter().any(|tracked| tracked.has_arrived && is_same(&tracked.planned.source, source))
    }

    /// Takes what a source gave.
    pub(super) fn take(&mut self, arrival: Arrival, now: Instant) -> Moved {
        let Self { plan, tracked, .. } = self;
        let ours = tracked.iter_mut().find(|tracked| is_same(&tracked.planned.source, &arrival.source));
        let Some(tracked) = ours else { return Moved::default() };
        let had_faults = tracked.share.faults.clone();
        let rules = tracked.rules(plan);
        let something = tracked.share.take(arrival.fetched, rules, now) || !tracked.has_arrived;
        tracked.has_arrived = true;
        tracked.vitals = arrival.vitals;
        let faults = &tracked.share.faults;
        if something {
            tracked.noticed.get_or_insert(arrival.noticed);
        }
        let moved = Moved {
            something,
            failed: !faults.is_empty() && *faults != had_faults,
            recovered: faults.is_empty() && !had_faults.is_empty(),
        };
        self.end_waivers();
        moved
    }

    /// That a value is missing is no longer accepted once a source has it.
    fn end_waivers(&mut self) {
        let Self { tracked, forgotten, .. } = self;
        for layer in tracked.iter().filter_map(|tracked| tracked.share.layer.as_ref()) {
            let offered = offered(layer);
            forgotten.retain(|key| !offered.contains(key));
        }
    }

    /// Whether every source was read whole at least once: before that nobody can
    /// tell what is missing from what is unread.
    pub(super) fn is_complete(&self) -> bool {
        self.tracked.iter().all(|tracked| tracked.share.was_whole)
    }

    /// Whether every source has answered, be it with faults.
    pub(super) fn all_answered(&self) -> bool {
        self.tracked.iter().all(|tracked| tracked.has_arrived)
    }

    /// Gives up optional values that are gone for long enough.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(Key, SourceName)> {
        let Self { plan, tracked, .. } = self;
        let mut given_up = Vec::new();
        for tracked in tracked {
            let rules = tracked.rules(plan);
            let keys = tracked.share.expire(rules, now);
            given_up.extend(keys.into_iter().map(|key| (key, tracked.name().clone())));
        }
        given_up
    }

    /// The sources that stated this value to be gone, while it is held.
    pub(super) fn holders(&self, key: &Key) -> Vec<SourceName> {
        let holding = self.tracked.iter().filter(|tracked| tracked.share.deleted.contains_key(key));
        holding.map(|tracked| tracked.name().clone()).collect()
    }

    /// Gives a held value up.
    pub(super) fn give_up(&mut self, key: &Key, now: Instant) {
        let Self { plan, tracked, forgotten } = self;
        for tracked in tracked.iter_mut().filter(|tracked| tracked.share.deleted.contains_key(key)) {
            let rules = tracked.rules(plan);
            tracked.share.give_up(std::slice::from_ref(key), rules, now);
            tracked.noticed.get_or_insert(now);
        }
        forgotten.insert(key.clone());
        // Where another source has it, it is not missing.
        self.end_waivers();
    }

    /// What is held although its source deleted it.
    pub(super) fn deletions(&self) -> BTreeMap<&Key, (&SourceName, Deletion)> {
        let all = self.tracked.iter().flat_map(|tracked| {
            tracked.share.deleted.iter().map(|(key, deletion)| (key, (tracked.name(), *deletion)))
        });
        all.collect()
    }

    /// Judges everything.
    pub(super) fn judge(&self) -> Judged {
        let given: Vec<Given<'_>> = self
            .tracked
            .iter()
            .map(|tracked| Given {
                source: tracked.name(),
                layer: tracked.share.layer.as_ref(),
                faults: &tracked.share.faults,
                is_unread: !tracked.share.was_whole,
            })
            .collect();
        let forgotten: Vec<Key> = self.forgotten.iter().cloned().collect();
        let terms = Terms {
            schema: &self.plan.schema,
            environment: &self.plan.environment,
            service: self.plan.service.as_deref(),
            process: &self.plan.process,
            names_only: false,
            // They go to logs and pages: nobody knows who reads those.
            value_free: true,
            forgotten: &forgotten,
        };
        judge(terms, &given, &self.plan.passed_over)
    }

    /// Notes how a source is.
    pub(super) fn set_vitals(&mut self, source: &Arc<dyn Source>, vitals: Vitals) {
        let ours = self.tracked.iter_mut().find(|tracked| is_same(&tracked.planned.source, source));
        if let Some(tracked) = ours {
            tracked.vitals = vitals;
        }
    }

    /// Looks at how old the sources are. True if one became stale, or fresh.
    pub(super) fn look_at_ages(&mut self, now: Instant) -> bool {
        let mut moved = false;
        for tracked in &mut self.tracked {
            let is_stale = tracked.age(now).is_some_and(|age| age > tracked.planned.max_age);
            moved |= is_stale != tracked.is_stale;
            tracked.is_stale = is_stale;
        }
        moved
    }

    /// What nobody gets while its source is older than it may be.
    pub(super) fn withheld(&self, validated: &Validated) -> BTreeSet<Key> {
        let is_stale = |source: &SourceName| {
            self.tracked.iter().any(|tracked| tracked.is_stale && tracked.name() == source)
        };
        let withheld = validated.variables().iter().filter(|delivered| {
            let refuses = self.plan.schema.var(&delivered.key).is_some_and(|var| var.refuse_stale);
            refuses && is_stale(&delivered.origin.source)
        });
        withheld.map(|delivered| delivered.key.clone()).collect()
    }

    /// DLC052 of each source that is older than it may be.
    pub(super) fn stale_findings(&self, withheld: &BTreeSet<Key>) -> Vec<Finding> {
        let development = self.plan.schema.environments.is_development(&self.plan.environment);
        let stale = self.tracked.iter().filter(|tracked| tracked.is_stale);
        stale
            .map(|tracked| {
                let name = tracked.name();
                let held = match withheld.len() {
                    0 => "what it gave is held".to_owned(),
                    _ => {
                        let names: Vec<&str> = withheld.iter().map(Key::as_str).collect();
                        format!("what it gave is held, but for {}, which nobody gets", names.join(", "))
                    }
                };
                let max_age = tracked.planned.max_age.as_secs();
                let faults = tracked.share.faults.first();
                Finding {
                    code: Code::Stale,
                    severity: if development { Severity::Warning } else { Severity::Error },
                    variable: None,
                    message: format!(
                        "source {name} was not confirmed for longer than its max_age of {max_age}s; {held}"
                    ),
                    origin: Some(Origin {
                        source: name.clone(),
                        location: faults.map_or_else(
                            || Location::Named(name.as_str().into()),
                            |fault| fault.location.clone(),
                        ),
                        revision: None,
                        modified: None,
                    }),
                    snippet: None,
                    notes: Vec::new(),
                    help: Some(faults.map_or_else(
                        || "see why it does not answer: dlconf doctor".to_owned(),
                        |fault| fault.help.clone(),
                    )),
                    fix: None,
                }
            })
            .collect()
    }
}
