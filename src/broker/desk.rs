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
use super::hold::{Deletion, Rules, Share, offered, relocated};
use super::judge::{Given, Judged, Terms, judge};
use super::plan::{Plan, Planned};
use super::recall::{Moment, Recalled, Unclaimed};
use super::words::time;
use crate::model::finding::{Code, Finding, Severity};
use crate::model::kept::{Kept, KeptLease};
use crate::model::key::{Key, SourceName};
use crate::model::layer::Layer;
use crate::model::origin::{Location, Origin};
use crate::model::validate::Validated;
use crate::source::{Lent, Source, Vitals};

/// One source of the plan.
#[derive(Clone)]
pub(super) struct Tracked {
    pub(super) planned: Planned,
    pub(super) share: Share,
    pub(super) vitals: Vitals,
    /// What an earlier daemon knew of it, until it is read whole.
    recalled: Option<Recalled>,
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
    /// It had faults, or was not read yet and something stood in for it; now it is
    /// read whole.
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
            recalled: None,
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
        match self.standing_in() {
            Some(recalled) => Some(recalled.age(now)),
            None => Some(now.saturating_duration_since(self.vitals.confirmed?)),
        }
    }

    /// What an earlier daemon knew of it, while that stands in.
    pub(super) fn standing_in(&self) -> Option<&Recalled> {
        self.recalled.as_ref().filter(|_| self.share.stands_in)
    }

    /// What ends by itself: what this process was lent, and what an earlier one was,
    /// as far as that is in use.
    pub(super) fn lent(&self) -> Vec<Lent> {
        let in_use = self.share.layer.iter().flat_map(Layer::places_from_snapshot).collect::<BTreeSet<_>>();
        let old = self.standing_in().into_iter().flat_map(Recalled::lent);
        let mut lent: Vec<Lent> = old.filter(|lent| in_use.contains(&lent.place)).collect();
        for new in &self.vitals.lent {
            if lent.iter().all(|old| old.place != new.place) {
                lent.push(new.clone());
            }
        }
        lent
    }

    /// What is to be kept of it; none where it gave nothing yet.
    fn kept(&self, at: Moment) -> Option<Kept> {
        let layer = self.share.layer.clone()?;
        let (confirmed, max_age) = match (self.standing_in(), self.vitals.confirmed) {
            (Some(recalled), _) => (recalled.confirmed(), recalled.max_age()),
            (None, Some(confirmed)) => (at.wall_of(confirmed), None),
            // It is whole and says nothing of its age: it has none.
            (None, None) => (at.wall, None),
        };
        let ends = |lent: &Lent| lent.ends.map(|ends| at.wall_of(ends));
        let lent = self.lent().into_iter().map(|lent| KeptLease { ends: ends(&lent), place: lent.place });
        Some(Kept {
            source: self.name().clone(),
            identity: self.planned.identity.clone(),
            confirmed,
            max_age,
            lent: lent.collect(),
            layer: relocated(layer, Location::into_itself),
            is_cut: self.share.is_cut,
        })
    }

    /// What an earlier daemon knew of another source lies ready for this one, if
    /// both read the same.
    fn inherit(&mut self, other: &Self) {
        let is_same = self.name() == other.name() && self.planned.identity == other.planned.identity;
        if is_same && let (Some(recalled), Some(layer)) = (&other.recalled, other.share.recalled()) {
            self.recalled = Some(recalled.clone());
            self.share.recall(layer.clone(), other.share.is_cut);
        }
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
            let rules = tracked.rules(plan);
            if let Some(theirs) = other.tracked.iter().find(same) {
                *tracked = Tracked { planned: tracked.planned.clone(), ..theirs.clone() };
                tracked.share.judge_anew(rules, now);
            } else if other
                .tracked
                .iter()
                .any(|theirs| theirs.name() == tracked.name() && theirs.share.stands_in)
            {
                tracked.share.stand_in(rules, now);
            }
        }
        forgotten.extend(other.forgotten.iter().cloned());
        self.end_waivers();
    }

    /// What was kept and lies on another desk lies ready here, for new sources that
    /// read the same as the old ones.
    pub(super) fn inherit(&mut self, other: &Self) {
        for tracked in self.tracked.iter_mut().filter(|tracked| !other.has(&tracked.planned.source)) {
            other.tracked.iter().for_each(|theirs| tracked.inherit(theirs));
        }
    }

    /// Lays ready what an earlier daemon kept, and tells what of it is of no source of
    /// the plan.
    pub(super) fn recall(&mut self, kept: Vec<Kept>, at: Moment) -> Vec<Unclaimed> {
        let mut unclaimed = Vec::new();
        for Kept { source, identity, confirmed, max_age, lent, layer, is_cut } in kept {
            let why = match self.tracked.iter_mut().find(|tracked| *tracked.name() == source) {
                None => "the settings have no such source",
                Some(tracked) if tracked.planned.identity != identity => "it reads something else now",
                // It needs none any more.
                Some(tracked) if tracked.share.was_whole => continue,
                Some(tracked) => {
                    tracked.recalled = Some(Recalled::new(confirmed, max_age, lent, at));
                    tracked.share.recall(layer, is_cut);
                    continue;
                }
            };
            unclaimed.push(Unclaimed { source, why });
        }
        unclaimed
    }

    /// Lets what was kept stand in for what was not read whole: for which sources it
    /// does so from now on, and how old it is.
    pub(super) fn stand_in(&mut self, now: Instant) -> Vec<(SourceName, Duration)> {
        let Self { plan, tracked, .. } = self;
        let mut standing = Vec::new();
        for tracked in tracked {
            let rules = tracked.rules(plan);
            if tracked.share.stand_in(rules, now) {
                tracked.noticed.get_or_insert(now);
                let age = tracked.age(now).unwrap_or_default();
                standing.push((tracked.name().clone(), age));
            }
        }
        self.end_waivers();
        standing
    }

    /// What every source gave; none of those that are this process's own.
    pub(super) fn kept(&self, at: Moment) -> Vec<Kept> {
        let kept = self.tracked.iter().filter(|tracked| !tracked.planned.source.is_own());
        kept.filter_map(|tracked| tracked.kept(at)).collect()
    }

    /// Whether everything that came was judged and accepted: what is refused stays
    /// noticed until something is accepted after it.
    pub(super) fn is_settled(&self) -> bool {
        self.is_complete() && self.tracked.iter().all(|tracked| tracked.noticed.is_none())
    }

    /// Whether a source is one of the plan's.
    pub(super) fn has(&self, source: &Arc<dyn Source>) -> bool {
        self.tracked.iter().any(|tracked| is_same(&tracked.planned.source, source))
    }

    /// Whether a source is one of the plan's and has answered, or what was kept stands
    /// in for that.
    pub(super) fn has_heard_of(&self, source: &Arc<dyn Source>) -> bool {
        let was_heard = |tracked: &Tracked| tracked.has_arrived || tracked.share.stands_in;
        self.tracked.iter().any(|tracked| was_heard(tracked) && is_same(&tracked.planned.source, source))
    }

    /// Takes what a source gave.
    pub(super) fn take(&mut self, arrival: Arrival, now: Instant) -> Moved {
        let Self { plan, tracked, .. } = self;
        let ours = tracked.iter_mut().find(|tracked| is_same(&tracked.planned.source, &arrival.source));
        let Some(tracked) = ours else { return Moved::default() };
        let had_faults = tracked.share.faults.clone();
        let stood_in = tracked.share.stands_in;
        let rules = tracked.rules(plan);
        let something = tracked.share.take(arrival.fetched, rules, now) || !tracked.has_arrived;
        tracked.has_arrived = true;
        tracked.vitals = arrival.vitals;
        if tracked.share.was_whole {
            tracked.recalled = None;
        }
        let faults = &tracked.share.faults;
        if something {
            tracked.noticed.get_or_insert(arrival.noticed);
        }
        let moved = Moved {
            something,
            failed: !faults.is_empty() && *faults != had_faults,
            recovered: faults.is_empty() && (stood_in || !had_faults.is_empty()),
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

    /// Whether every source was read whole at least once, by this daemon or by one
    /// before it: before that nobody can tell what is missing from what is unread.
    pub(super) fn is_complete(&self) -> bool {
        self.tracked.iter().all(|tracked| tracked.share.is_complete())
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
                is_unread: !tracked.share.is_complete() || tracked.share.is_cut,
            })
            .collect();
        let forgotten: Vec<Key> = self.forgotten.iter().cloned().collect();
        let terms = Terms {
            schema: &self.plan.schema,
            environment: &self.plan.environment,
            service: self.plan.service.as_deref(),
            process: &self.plan.process,
            names_only: false,
            // Logs and pages are read by nobody knows whom.
            value_free: !self.plan.quotes,
            forgotten: &forgotten,
        };
        let mut judged = judge(terms, &given, &self.plan.passed_over);
        judged.verdict.findings.splice(0..0, self.stand_ins());
        judged
    }

    /// DLC050 of each source that what was kept stands in for. It says since when,
    /// not how old that is: it is said once, and stays true.
    fn stand_ins(&self) -> Vec<Finding> {
        let standing = self.tracked.iter().filter_map(|tracked| Some((tracked, tracked.standing_in()?)));
        standing
            .map(|(tracked, recalled)| {
                let (name, since) = (tracked.name(), time(recalled.confirmed()));
                let fault = tracked.share.faults.first();
                let place = Location::Named(name.as_str().into());
                Finding {
                    code: Code::SourceUnreachable,
                    severity: Severity::Warning,
                    variable: None,
                    message: format!(
                        "source {name} was not read since the start; the last-known-good snapshot stands in for it, as of {since}"
                    ),
                    origin: Some(Origin {
                        mark: None,
                        source: name.clone(),
                        location: fault.map_or(place, |fault| fault.location.clone()),
                        revision: None,
                        modified: None,
                    }),
                    snippet: None,
                    notes: Vec::new(),
                    help: Some("see why it does not answer: dlconf doctor".to_owned()),
                    fix: None,
                }
            })
            .collect()
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
                        mark: None,
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
