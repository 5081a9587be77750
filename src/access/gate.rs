//! The gate: a snapshot goes in, what somebody may have comes out.
//!
//! Invariants: only this makes a [`Released`], and deliveries and the socket take
//! nothing else; what is released was decided by the rules in force, and recorded
//! before.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::audit::{Audit, Outcome, Record, Who};
use super::caller::{Caller, Facts};
use super::policy::{Action, Decision, DenyReason, Policy, RuleId, View};
use crate::model::key::Key;
use crate::model::snapshot::{Cause, Snapshot, Version};
use crate::model::validate::Delivered;

/// By what it is decided, and where that is recorded. Exchanged whole.
#[derive(Debug)]
pub struct Rules {
    policy: Policy,
    audit: Option<Arc<Audit>>,
    /// The generation that was published when this policy came into force; 0 where
    /// none was.
    since: u64,
    /// What each view picks of a generation, the last one first asked for.
    picks: Mutex<Vec<(View, Arc<Pick>)>>,
}

/// How many views' picks are kept.
const PICKS: usize = 32;

/// Which variables of a generation somebody may have. Value-free, so that it may be
/// kept.
#[derive(Debug)]
struct Pick {
    version: Version,
    /// Where they stand.
    at: Vec<usize>,
    /// By which rules, each once.
    rules: Vec<RuleId>,
    changed_in: u64,
    withheld: Vec<Key>,
}

impl Rules {
    /// Who may do what on the socket, and the record of it; none where the settings ask
    /// for none.
    pub fn new(policy: Policy, audit: Option<Arc<Audit>>) -> Self {
        Self { policy, audit, since: 0, picks: Mutex::default() }
    }

    /// What takes its place while this generation is published.
    #[must_use]
    pub fn succeeded_by(&self, policy: Policy, audit: Option<Arc<Audit>>, generation: u64) -> Self {
        let since = if policy == self.policy { self.since } else { generation };
        Self { since, ..Self::new(policy, audit) }
    }

    /// The record.
    pub fn audit(&self) -> Option<&Arc<Audit>> {
        self.audit.as_ref()
    }

    fn view(&self, caller: &Caller, action: Action) -> View {
        self.policy.view(&facts(&self.policy, caller), action)
    }

    /// What a view picks of a generation: worked out once for all who have it.
    fn pick(&self, view: &View, snapshot: &Snapshot) -> Arc<Pick> {
        let mut picks = self.picks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pick)) = picks.iter().find(|(known, _)| known == view)
            && pick.version == *snapshot.version()
        {
            return Arc::clone(pick);
        }
        let pick = Arc::new(Pick::of(snapshot, view.in_order()));
        picks.retain(|(known, pick)| known != view && pick.version == *snapshot.version());
        picks.truncate(PICKS - 1);
        picks.insert(0, (view.clone(), Arc::clone(&pick)));
        pick
    }

    async fn record(&self, record: impl FnOnce() -> Record) -> Result<(), Refusal> {
        let Some(audit) = &self.audit else { return Ok(()) };
        match audit.record(record()).await {
            Err(error) if audit.is_required() => Err(Refusal::Unrecorded(error.reason)),
            _ => Ok(()),
        }
    }
}

impl Pick {
    /// What is granted, and by what. It is asked for names in their order.
    fn of(snapshot: &Snapshot, mut granted: impl FnMut(&Key) -> Option<RuleId>) -> Self {
        let (mut at, mut rules, mut changed_in) = (Vec::new(), BTreeSet::new(), 0);
        let mut withheld = Vec::new();
        for (key, moved) in snapshot.names() {
            let Some(rule) = granted(key) else { continue };
            changed_in = moved.last.max(changed_in);
            if moved.withheld {
                withheld.push(key.clone());
            }
            if let Some(there) = moved.at {
                at.push(there);
                rules.insert(rule);
            }
        }
        at.sort_unstable();
        Self {
            version: snapshot.version().clone(),
            at,
            rules: rules.into_iter().collect(),
            changed_in,
            withheld,
        }
    }
}

/// The only exit for published values.
#[derive(Debug, Clone)]
pub struct Gate {
    published: watch::Receiver<Option<Arc<Snapshot>>>,
    rules: watch::Receiver<Arc<Rules>>,
    /// What was released to a delivery last, and recorded.
    recorded: Option<Version>,
}

/// What the gate let out: of one generation, and no more than was granted.
#[derive(Debug)]
pub struct Released {
    version: Version,
    causes: Vec<Cause>,
    variables: Vec<Arc<Delivered>>,
    withheld: Vec<Key>,
}

/// Why nothing was let out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No rule permits this caller to do that with these.
    #[error("no rule permits that")]
    NotPermitted(Vec<Key>),
    /// It could not be recorded.
    #[error("it cannot be recorded: {0}")]
    Unrecorded(String),
    /// Nothing is published yet.
    #[error("nothing is published yet")]
    NotReady,
}

/// What a caller asks for.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// Whatever it may have.
    Everything,
    /// These, and none less.
    These(&'a BTreeSet<Key>),
    /// A key with what its rotation adds: who may have the one may have the others,
    /// for they are the same key at other times.
    Ring(&'a Key, &'a BTreeSet<Key>),
}

impl Asked<'_> {
    /// Whether a variable is part of it, for who has this view.
    pub fn covers(self, view: &View, key: &Key) -> bool {
        match self {
            Self::Everything => view.permits(key).is_some(),
            Self::These(keys) => keys.contains(key),
            Self::Ring(one, others) => key == one || others.contains(key),
        }
    }

    /// The rule that permits a variable of it to who has this view. To be asked for
    /// names in their order.
    pub fn in_order(self, view: &View) -> impl FnMut(&Key) -> Option<RuleId> {
        let mut everything = view.in_order();
        move |key| match self {
            Self::Everything => everything(key),
            Self::These(keys) => keys.contains(key).then(|| view.permits(key))?,
            Self::Ring(one, _) => self.covers(view, key).then(|| view.permits(one))?,
        }
    }

    /// What of it a view does not permit; none where it permits all, and that is
    /// anything.
    fn beyond(self, view: &View) -> Option<Vec<Key>> {
        match self {
            Self::Everything => view.is_empty().then(Vec::new),
            Self::These(keys) => beyond(view, keys),
            Self::Ring(key, _) => view.permits(key).is_none().then(|| vec![key.clone()]),
        }
    }

    /// Whether a view permits all of it.
    pub fn is_permitted(self, view: &View) -> bool {
        self.beyond(view).is_none()
    }
}

/// How variables stand in a generation. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which one.
    pub version: Version,
    /// That in which any of them last changed.
    pub changed_in: u64,
}

impl Gate {
    /// A gate in front of what one broker publishes, under rules that may change.
    pub fn new(
        mut published: watch::Receiver<Option<Arc<Snapshot>>>,
        rules: watch::Receiver<Arc<Rules>>,
    ) -> Self {
        // What is published already was not yet released here.
        published.mark_changed();
        Self { published, rules, recorded: None }
    }

    /// Waits for a generation that this gate has not yet released. False when
    /// nothing will be published any more. It may be dropped at any time.
    pub async fn advanced(&mut self) -> bool {
        self.published.changed().await.is_ok()
    }

    /// Waits until there is another generation, or other rules, than at the last
    /// [`Self::seen`]. False when there will be none any more. It may be dropped at
    /// any time.
    pub async fn moved(&mut self) -> bool {
        tokio::select! {
            published = self.published.changed() => published.is_ok(),
            rules = self.rules.changed() => rules.is_ok(),
        }
    }

    /// Takes note of what there is now: [`Self::moved`] waits for something else.
    pub fn seen(&mut self) {
        self.published.borrow_and_update();
        self.rules.borrow_and_update();
    }

    /// The present generation; none before the first.
    pub fn version(&self) -> Option<Version> {
        self.published.borrow().as_ref().map(|snapshot| snapshot.version().clone())
    }

    /// How these variables stand in the present generation; none before the first.
    pub fn standing(&self, of: impl FnMut(&Key) -> bool) -> Option<Standing> {
        let published = self.published.borrow();
        let snapshot = published.as_ref()?;
        Some(Standing { version: snapshot.version().clone(), changed_in: snapshot.last_changed(of) })
    }

    /// The generation after which somebody goes on who was told of this version last.
    /// None where another instance told it, or where that may have been by another
    /// policy: what this one shows besides was never told.
    pub fn known(&self, told: &str) -> Option<u64> {
        let generation = self.version()?.generation_of(told)?;
        (generation > self.rules.borrow().since).then_some(generation)
    }

    /// The names that became another, came or went after that generation.
    pub fn changed_after(&self, generation: u64, of: impl Fn(&Key) -> bool) -> Vec<Key> {
        let published = self.published.borrow();
        let changed = published.iter().flat_map(|snapshot| snapshot.changed_after(generation));
        changed.filter(|key| of(key)).cloned().collect()
    }

    /// Whether any rule is for this caller.
    pub fn knows(&self, caller: &Caller) -> bool {
        let rules = self.rules.borrow();
        rules.policy.knows(&facts(&rules.policy, caller))
    }

    /// What a caller may do this with, at this moment. Nothing is recorded: it is
    /// for what tells no value.
    pub fn view(&self, caller: &Caller, action: Action) -> View {
        self.rules.borrow().view(caller, action)
    }

    /// Why a policy refuses this caller that, for its own people: without values, names
    /// and paths, but not for who was refused.
    pub fn reason(&self, caller: &Caller, action: Action, key: &Key) -> Option<DenyReason> {
        let rules = self.rules.borrow();
        match rules.policy.decide(&facts(&rules.policy, caller), action, key) {
            Decision::Allow(_) => None,
            Decision::Deny(reason) => Some(reason),
        }
    }

    /// Lets a delivery have the granted variables of the present generation; none
    /// before the first. From now on [`Self::advanced`] waits for the next.
    ///
    /// # Errors
    /// [`Refusal::Unrecorded`]: try again.
    pub async fn deliver(
        &mut self,
        delivery: &str,
        granted: &BTreeSet<Key>,
    ) -> Result<Option<Released>, Refusal> {
        let Some(snapshot) = self.published.borrow_and_update().clone() else { return Ok(None) };
        let released = Released::of(&snapshot, |key| granted.contains(key));
        drop(snapshot);
        if self.recorded.as_ref() != Some(released.version()) {
            let rules = self.rules.borrow().clone();
            rules.record(|| released.record(Who::Delivery(delivery.to_owned()), Vec::new())).await?;
            self.recorded = Some(released.version().clone());
        }
        Ok(Some(released))
    }

    /// Lets a caller have variables of the present generation, and tells how these
    /// stand in it. What waits for its record while the rules are exchanged is decided,
    /// and recorded, anew.
    ///
    /// # Errors
    /// Every kind of [`Refusal`].
    pub async fn release(&self, caller: &Caller, asked: Asked<'_>) -> Result<(Released, Standing), Refusal> {
        loop {
            let rules = self.rules.borrow().clone();
            let (released, pick) = self.picked(&rules, caller, asked)?;
            let recorded = rules.record(|| released.record(who(caller), pick.rules.clone())).await;
            if self.are_in_force(&rules) {
                let standing = Standing { version: pick.version.clone(), changed_in: pick.changed_in };
                return recorded.map(|()| (released, standing));
            }
        }
    }

    fn picked(
        &self,
        rules: &Rules,
        caller: &Caller,
        asked: Asked<'_>,
    ) -> Result<(Released, Arc<Pick>), Refusal> {
        let view = rules.view(caller, Action::Read);
        if let Some(keys) = asked.beyond(&view) {
            return Err(self.refuse(caller, Action::Read, keys));
        }
        let published = self.published.borrow();
        let snapshot = published.as_ref().ok_or(Refusal::NotReady)?;
        let pick = match asked {
            Asked::Everything => rules.pick(&view, snapshot),
            Asked::These(_) | Asked::Ring(..) => Arc::new(Pick::of(snapshot, asked.in_order(&view))),
        };
        Ok((Released::picked(snapshot, &pick), pick))
    }

    /// Decides about an act that lets no value out, and records it.
    ///
    /// # Errors
    /// [`Refusal::NotPermitted`], [`Refusal::Unrecorded`].
    pub async fn permit(&self, caller: &Caller, action: Action, keys: &BTreeSet<Key>) -> Result<(), Refusal> {
        loop {
            let rules = self.rules.borrow().clone();
            let view = rules.view(caller, action);
            if let Some(keys) = beyond(&view, keys) {
                return Err(self.refuse(caller, action, keys));
            }
            let by: BTreeSet<RuleId> = keys.iter().filter_map(|key| view.permits(key)).collect();
            let record = || Record {
                who: who(caller),
                action,
                keys: keys.iter().cloned().collect(),
                version: None,
                outcome: Outcome::Permitted(by.into_iter().collect()),
            };
            let recorded = rules.record(record).await;
            if self.are_in_force(&rules) {
                return recorded;
            }
        }
    }

    /// Whether these are still the rules. While something is recorded they may be
    /// exchanged: then it is decided, and recorded, by those that hold now.
    fn are_in_force(&self, rules: &Arc<Rules>) -> bool {
        Arc::ptr_eq(&self.rules.borrow(), rules)
    }

    /// Records that somebody was refused.
    pub fn refuse(&self, caller: &Caller, action: Action, keys: Vec<Key>) -> Refusal {
        let audit = self.rules.borrow().audit.clone();
        if let Some(audit) = audit {
            audit.refused(Record {
                who: who(caller),
                action,
                keys: keys.clone(),
                version: None,
                outcome: Outcome::Refused,
            });
        }
        Refusal::NotPermitted(keys)
    }
}

/// Those that a view does not permit; none where it permits all, and there are any.
fn beyond(view: &View, keys: &BTreeSet<Key>) -> Option<Vec<Key>> {
    let beyond: Vec<Key> = keys.iter().filter(|key| view.permits(key).is_none()).cloned().collect();
    (!beyond.is_empty() || keys.is_empty()).then_some(beyond)
}

/// What a policy decides by. The program counts only where a rule that is for this user
/// and group asks for it: to look for it takes a while.
fn facts<'a>(policy: &Policy, caller: &'a Caller) -> Facts<'a> {
    let of_user = caller.facts(false);
    if policy.is_narrowed_for(&of_user) { caller.facts(true) } else { of_user }
}

fn who(caller: &Caller) -> Who {
    let program = caller.known_program();
    Who::Peer {
        uid: caller.uid(),
        gid: caller.gid(),
        pid: caller.pid(),
        exe: program.and_then(|program| program.exe.clone()),
        unit: program.and_then(|program| program.unit.clone()),
    }
}

impl Released {
    fn of(snapshot: &Snapshot, is_granted: impl Fn(&Key) -> bool) -> Self {
        let granted = snapshot.variables().iter().filter(|delivered| is_granted(&delivered.key));
        let withheld = snapshot.names().filter(|(key, moved)| moved.withheld && is_granted(key));
        let withheld = withheld.map(|(key, _)| key.clone()).collect();
        Self::with(snapshot, granted.cloned().collect(), withheld)
    }

    fn picked(snapshot: &Snapshot, pick: &Pick) -> Self {
        let picked = pick.at.iter().filter_map(|at| snapshot.variables().get(*at));
        Self::with(snapshot, picked.cloned().collect(), pick.withheld.clone())
    }

    fn with(snapshot: &Snapshot, variables: Vec<Arc<Delivered>>, withheld: Vec<Key>) -> Self {
        let (version, causes) = (snapshot.version().clone(), snapshot.causes().to_vec());
        Self { version, causes, variables, withheld }
    }

    /// The record of its release.
    fn record(&self, who: Who, rules: Vec<RuleId>) -> Record {
        Record {
            who,
            action: Action::Read,
            keys: self.variables.iter().map(|delivered| delivered.key.clone()).collect(),
            version: Some(self.version.clone()),
            outcome: Outcome::Permitted(rules),
        }
    }

    /// The generation that it is of.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What led to it.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// The variables, in schema order.
    pub fn variables(&self) -> &[Arc<Delivered>] {
        &self.variables
    }

    /// What was granted and has a value, but one that is too old to be given.
    pub fn withheld(&self) -> &[Key] {
        &self.withheld
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::*;
    use crate::access::policy::Rule;

    fn keys() -> impl Strategy<Value = BTreeSet<Key>> {
        btree_set("[A-C]{1,2}".prop_map(|name| Key::new(&name).unwrap()), 0..12)
    }

    /// A log on a disk that takes its time.
    fn audit(folder: &std::path::Path) -> Arc<Audit> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        struct Deaf;
        impl crate::telemetry::Listener for Deaf {
            fn tell(&self, _: crate::telemetry::Event) {}
        }

        let key = folder.join("key");
        let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&key).unwrap();
        file.write_all(&[7; 32]).unwrap();
        let config = crate::access::audit::AuditConfig {
            path: folder.join("audit.jsonl"),
            label: "audit.jsonl".into(),
            key_file: crate::settings::ShownPath::named(&key),
            required: true,
            max_bytes: 1 << 20,
            keep: 1,
        };
        Arc::new(Audit::open(&config, Arc::new(Deaf)).unwrap())
    }

    #[test]
    fn rules_that_are_exchanged_while_it_is_recorded_decide() {
        use std::future::Future as _;
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};

        let folder = tempfile::tempdir().unwrap();
        let log = Some(audit(folder.path()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let caller = Caller::without_program(1000, 1000, Vec::new());
        let keys = BTreeSet::from([Key::new("A").unwrap()]);
        let given = || Arc::new(Rules::new(policy(vec![keys.clone()]), log.clone()));
        let mut waited = 0;
        for _ in 0..1000 {
            let (rules, seen) = watch::channel(given());
            let (_published, none) = watch::channel(None);
            let gate = Gate::new(none, seen);
            let mut permitted = pin!(gate.permit(&caller, Action::Watch, &keys));
            // A quick disk may be done at once.
            if permitted.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending {
                waited += 1;
                rules.send_replace(Arc::new(Rules::new(policy(Vec::new()), log.clone())));
                let refused = Err(Refusal::NotPermitted(keys.iter().cloned().collect()));
                assert_eq!(runtime.block_on(permitted), refused);
            }
        }
        assert!(waited > 0, "the log was never waited for");
    }

    fn policy(of: Vec<BTreeSet<Key>>) -> Policy {
        let rule = |(id, keys)| Rule {
            id: RuleId(id),
            uid: Some(1000),
            gid: None,
            exe: None,
            unit: None,
            keys: Arc::new(keys),
            actions: Action::ALL.into_iter().collect(),
        };
        Policy::new((1..).zip(of).map(rule).collect())
    }

    proptest! {
        #[test]
        fn one_walk_finds_what_looking_up_finds(rules in vec(keys(), 0..4), names in keys(), asked in keys()) {
            let caller = Caller::without_program(1000, 1000, Vec::new());
            let view = policy(rules).view(&caller.facts(false), Action::Read);
            let mut everything = Asked::Everything.in_order(&view);
            let mut these = Asked::These(&asked).in_order(&view);
            for name in &names {
                prop_assert_eq!(everything(name), view.permits(name));
                prop_assert_eq!(these(name), view.permits(name).filter(|_| asked.contains(name)));
            }
        }
    }
}
