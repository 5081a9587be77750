//! Why a policy refuses: the rule that came nearest, and what it lacked.
//!
//! Pure. Invariant: no reason names a variable, a value or a path, so that it may
//! be logged. Must not know: who is told. (The refused caller never is: it would
//! learn what to pretend.)

use std::fmt;

use super::{Action, Rule, RuleId};
use crate::access::caller::Facts;
use crate::model::key::Key;

/// Why nothing permits something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenyReason {
    /// No rule is for this user or one of its groups.
    NoRule,
    /// One is, at least in part, and this is all that keeps it from permitting it.
    Near {
        /// Which.
        rule: RuleId,
        /// What it lacks: never nothing.
        lacks: Vec<Lack>,
    },
}

/// Why one rule does not permit something: the smaller, the nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// It is for another program.
    Exe(Unmet),
    /// It is for another systemd unit.
    Unit(Unmet),
    /// It permits other actions.
    Action,
    /// It is for other variables.
    Variable,
    /// It is for a group of which the caller is not.
    Group,
    /// It is for another user, and for a group of which the caller is.
    User,
}

/// How a narrowed rule does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unmet {
    /// The kernel says something else.
    Differs,
    /// Nothing is known for certain of the caller's program.
    Unknown,
}

/// The nearest miss of these rules, none of which permits it: of those that are for
/// the caller, or else for its user or group only, that which lacks least; of equals
/// the first.
pub(super) fn nearest(rules: &[Rule], facts: &Facts<'_>, action: Action, key: &Key) -> DenyReason {
    let misses = rules.iter().filter_map(|rule| {
        let lacks = lacks(rule, facts, action, key)?;
        let is_for_another = lacks.iter().any(|lack| matches!(lack, Lack::User | Lack::Group));
        Some((is_for_another, lacks.len(), lacks, rule.id))
    });
    misses.min().map_or(DenyReason::NoRule, |(_, _, lacks, rule)| DenyReason::Near { rule, lacks })
}

/// What a rule lacks; none where it is for somebody else altogether.
fn lacks(rule: &Rule, facts: &Facts<'_>, action: Action, key: &Key) -> Option<Vec<Lack>> {
    let (user, group) = (rule.is_for_user(facts), rule.is_for_group(facts));
    let is_of_caller = (rule.uid.is_some() && user) || (rule.gid.is_some() && group);
    if !is_of_caller {
        return None;
    }
    let unmet = |is: Option<bool>| match is {
        None => Some(Unmet::Unknown),
        Some(false) => Some(Unmet::Differs),
        Some(true) => None,
    };
    let exe = rule.exe.as_ref().and_then(|wanted| {
        unmet(facts.program.and_then(|program| program.exe.as_ref()).map(|exe| exe == wanted))
    });
    let unit = rule.unit.as_ref().and_then(|wanted| {
        unmet(facts.program.and_then(|program| program.unit.as_ref()).map(|unit| unit == wanted))
    });
    let lacking = [
        exe.map(Lack::Exe),
        unit.map(Lack::Unit),
        (!rule.actions.contains(&action)).then_some(Lack::Action),
        (!rule.keys.contains(key)).then_some(Lack::Variable),
        (!group).then_some(Lack::Group),
        (!user).then_some(Lack::User),
    ];
    Some(lacking.into_iter().flatten().collect())
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule => f.write_str("no rule is for this user or one of its groups"),
            Self::Near { rule, lacks } => {
                write!(f, "rule {rule} ")?;
                for (at, lack) in lacks.iter().enumerate() {
                    let and = match at {
                        0 => "",
                        at if at + 1 == lacks.len() => " and ",
                        _ => ", ",
                    };
                    write!(f, "{and}{lack}")?;
                }
                Ok(())
            }
        }
    }
}

/// A clause about a rule: `is for another program`.
impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exe(Unmet::Differs) => "is for another program",
            Self::Exe(Unmet::Unknown) => "is for one program, and the caller's is not known",
            Self::Unit(Unmet::Differs) => "is for another unit",
            Self::Unit(Unmet::Unknown) => "is for one unit, and the caller's is not known",
            Self::Group => "is for another group",
            Self::User => "is for another user",
            Self::Action => "does not permit this action",
            Self::Variable => "is for other variables",
        })
    }
}
