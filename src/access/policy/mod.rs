//! What is permitted to whom.
//!
//! Owns: the rules, deciding by them (pure), reading them (`parse`, with the
//! machine's `accounts` behind a trait), and why something is refused (`explain`).
//! Invariants: what no rule permits is refused; a further rule takes nothing from
//! anybody; `exe` and `unit` narrow a rule and never match what is not known.
//! Must not know: where the file or the facts come from; values.

pub mod accounts;
mod explain;
pub mod parse;

pub use explain::{DenyReason, Lack, Unmet};

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use super::caller::Facts;
use crate::model::key::Key;

/// What somebody may do with a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Have its value.
    Read,
    /// Be told that it changed.
    Watch,
    /// Say which version of it is in use.
    Acknowledge,
    /// See where it comes from and how old it is.
    Status,
    /// Give up its held value.
    Forget,
    /// Rotate it.
    Rotate,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Watch, Self::Acknowledge, Self::Status, Self::Forget, Self::Rotate];

    /// As policies write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Watch => "watch",
            Self::Acknowledge => "acknowledge",
            Self::Status => "status",
            Self::Forget => "forget",
            Self::Rotate => "rotate",
        }
    }
}

/// The number of a rule: `[[allow]]` counts from 1; 0 is the daemon's own user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One `[[allow]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number.
    pub id: RuleId,
    /// Whose user it is for.
    pub uid: Option<u32>,
    /// Whose group it is for, be it the caller's first or a supplementary one.
    pub gid: Option<u32>,
    /// The only file that the caller may execute.
    pub exe: Option<PathBuf>,
    /// The only systemd unit that the caller may be of.
    pub unit: Option<String>,
    /// The variables.
    pub keys: Arc<BTreeSet<Key>>,
    /// What may be done.
    pub actions: BTreeSet<Action>,
}

/// What is decided about one action on one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The first rule that permits it.
    Allow(RuleId),
    /// Why none does. It is for the administrator, and never told to the caller.
    Deny(DenyReason),
}

/// All of it. What no rule permits is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    /// Of the keys of each rule.
    digests: Vec<u64>,
}

/// What one caller may do one thing with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View(Vec<Part>);

/// What one rule gives.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    id: RuleId,
    keys: Arc<BTreeSet<Key>>,
    digest: u64,
}

/// As many keys as a rule may have are hashed once, not at each request.
impl Hash for View {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for part in &self.0 {
            (part.id, part.digest).hash(state);
        }
    }
}

impl Policy {
    /// These rules.
    pub fn new(rules: Vec<Rule>) -> Self {
        let digest = |rule: &Rule| {
            let mut hasher = DefaultHasher::new();
            rule.keys.hash(&mut hasher);
            hasher.finish()
        };
        let digests = rules.iter().map(digest).collect();
        Self { rules, digests }
    }

    /// Without a policy: the daemon's own user may do everything.
    pub fn own_user(uid: u32, keys: BTreeSet<Key>) -> Self {
        Self::new(vec![Rule::of_own_user(uid, keys, Action::ALL)])
    }

    /// With one: what is written, and the daemon's own user may see the status of
    /// everything, or else its health could not be asked for. A value it gets only
    /// where a rule says so.
    pub fn written(uid: u32, keys: BTreeSet<Key>, rules: impl IntoIterator<Item = Rule>) -> Self {
        Self::new([Rule::of_own_user(uid, keys, [Action::Status])].into_iter().chain(rules).collect())
    }

    /// The rules, the daemon's own first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Whether a rule for this user and group asks for more than that.
    pub fn is_narrowed_for(&self, facts: &Facts<'_>) -> bool {
        let is_for = |rule: &&Rule| rule.is_for_user(facts) && rule.is_for_group(facts);
        self.rules.iter().filter(is_for).any(Rule::is_narrowed)
    }

    /// Whether any rule is for this caller.
    pub fn knows(&self, facts: &Facts<'_>) -> bool {
        self.rules.iter().any(|rule| rule.matches(facts))
    }

    /// What this caller may do this with.
    pub fn view(&self, facts: &Facts<'_>, action: Action) -> View {
        let rules = self.rules.iter().zip(&self.digests);
        let ours = rules.filter(|(rule, _)| rule.actions.contains(&action) && rule.matches(facts));
        View(
            ours.map(|(rule, digest)| Part { id: rule.id, keys: Arc::clone(&rule.keys), digest: *digest })
                .collect(),
        )
    }

    /// The same of one variable, with the reason where it is refused.
    pub fn decide(&self, facts: &Facts<'_>, action: Action, key: &Key) -> Decision {
        match self.rules.iter().find(|rule| rule.permits(action, key) && rule.matches(facts)) {
            Some(rule) => Decision::Allow(rule.id),
            None => Decision::Deny(explain::nearest(&self.rules, facts, action, key)),
        }
    }
}

impl Rule {
    fn of_own_user(uid: u32, keys: BTreeSet<Key>, actions: impl IntoIterator<Item = Action>) -> Self {
        Self {
            id: RuleId(0),
            uid: Some(uid),
            gid: None,
            exe: None,
            unit: None,
            keys: Arc::new(keys),
            actions: actions.into_iter().collect(),
        }
    }

    /// Whether it says more of the caller than user and group.
    pub fn is_narrowed(&self) -> bool {
        self.exe.is_some() || self.unit.is_some()
    }

    /// Whether it permits this to those whom it is for.
    pub fn permits(&self, action: Action, key: &Key) -> bool {
        self.actions.contains(&action) && self.keys.contains(key)
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        let is_named = self.uid.is_some() || self.gid.is_some();
        is_named
            && self.is_for_user(facts)
            && self.is_for_group(facts)
            && self
                .exe
                .as_ref()
                .is_none_or(|exe| facts.program.is_some_and(|is| is.exe.as_ref() == Some(exe)))
            && self
                .unit
                .as_ref()
                .is_none_or(|unit| facts.program.is_some_and(|is| is.unit.as_ref() == Some(unit)))
    }

    fn is_for_user(&self, facts: &Facts<'_>) -> bool {
        self.uid.is_none_or(|uid| uid == facts.uid)
    }

    fn is_for_group(&self, facts: &Facts<'_>) -> bool {
        self.gid.is_none_or(|gid| facts.gid == gid || facts.groups.contains(&gid))
    }
}

impl View {
    /// The first rule that permits it.
    pub fn permits(&self, key: &Key) -> Option<RuleId> {
        self.0.iter().find(|part| part.keys.contains(key)).map(|part| part.id)
    }

    /// Whether it permits nothing.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|part| part.keys.is_empty())
    }

    /// Every variable of it.
    pub fn keys(&self) -> BTreeSet<Key> {
        self.0.iter().flat_map(|part| part.keys.iter().cloned()).collect()
    }

    /// Asks it for many names, one after the other in their order. That takes one
    /// step a name, where to look each up takes many.
    pub fn in_order(&self) -> impl FnMut(&Key) -> Option<RuleId> {
        let mut parts: Vec<_> = self.0.iter().map(|part| (part.id, part.keys.iter().peekable())).collect();
        move |name| {
            let mut first = None;
            for (id, keys) in &mut parts {
                while keys.next_if(|key| *key < name).is_some() {}
                if first.is_none() && keys.peek() == Some(&name) {
                    first = Some(*id);
                }
            }
            first
        }
    }
}

#[cfg(test)]
mod tests;
