//! Judging variables together: shared secrets, groups, rules.

use std::collections::{BTreeSet, HashMap};

use super::place::located;
use super::{Judge, Text};
use crate::model::finding::{Code, Finding, Severity};
use crate::model::key::Key;
use crate::model::schema::kind::Typed;
use crate::model::schema::rule::{Operand, Outcome, Scope};
use crate::model::schema::{Group, Rule, Var};

/// Findings after which a value says nothing about others: it has to be
/// replaced anyway.
const JUNK: [Code; 3] = [Code::Placeholder, Code::PublishedFallback, Code::Empty];

impl Judge<'_> {
    /// The same secret in two variables: who learns one has the other.
    pub(super) fn shared_secrets(&mut self) {
        let mut holders: HashMap<&str, &Var> = HashMap::new();
        for var in self.schema.vars.iter().filter(|var| var.secret && var.implied_by.is_none()) {
            if !var.read_by(self.question.service) || self.flag(&var.key, &JUNK).is_some() {
                continue;
            }
            let Some(entry) = self.winner(&var.key) else { continue };
            let Some(first) = holders.get(entry.value.expose()) else {
                holders.insert(entry.value.expose(), var);
                continue;
            };
            let message = format!("{} holds the same secret as {}", var.key, first.key);
            let label = "whoever learns one of them has both";
            let finding = self.finding(Code::SharedSecret, Some(&var.key), message);
            let finding = located(finding, entry, true, None, label);
            let help = super::value::how_to_set(var);
            let allowed = first.allow.contains_key(&Code::SharedSecret);
            if !allowed {
                self.add(Finding { help: Some(help), ..finding });
            }
        }
    }

    pub(super) fn groups(&mut self) {
        for group in &self.schema.groups {
            self.group(group);
        }
    }

    fn group(&mut self, group: &Group) {
        let judged = |key: &&Key| self.schema.var(key).is_some_and(|var| var.read_by(self.question.service));
        let members: Vec<&Key> = group.all_or_none.iter().filter(judged).collect();
        let (set, unset): (Vec<&Key>, Vec<&Key>) = members.into_iter().partition(|key| self.offered(key));
        let (Some(present), Some(absent)) = (set.first(), unset.first()) else { return };
        if !self.question.unread.is_empty() {
            return;
        }
        let list = |keys: &[&Key]| keys.iter().map(|k| k.as_str()).collect::<Vec<_>>().join(", ");
        let (is, are) = (be(set.len()), be(unset.len()));
        let message = format!(
            "group {} is incomplete: {} {is} set, {} {are} not",
            group.name,
            list(&set),
            list(&unset)
        );
        let mut finding = self.finding(Code::IncompleteGroup, Some(absent), message);
        finding.origin = self.winner(present).map(|entry| entry.origin.clone());
        if let Some(description) = &group.description {
            finding.notes.push(description.to_string());
        }
        finding.help = Some(format!("set {} too, or unset {}", list(&unset), list(&set)));
        self.add(finding);
    }

    pub(super) fn rules(&mut self) {
        let (environment, service) = (self.question.environment, self.question.service);
        // What a source that was not read may hold cannot be held against a rule.
        let unknown: BTreeSet<&Key> = self.unjudged.iter().map(|u| &u.variable).collect();
        let known = |rule: &&Rule| rule.expression.variables().iter().all(|key| !unknown.contains(key));
        let rules = || self.schema.rules.iter().filter(|r| r.applies(environment, service)).filter(known);
        // Each variable is read once, however many rules look at it.
        let mut read: HashMap<&Key, Result<(Typed, &str), Unreadable>> = HashMap::new();
        for key in rules().flat_map(|rule| rule.expression.variables()) {
            let Some(var) = self.schema.var(key).filter(|var| var.read_by(service)) else { continue };
            let Some(Text(text)) = self.value_in_force(var) else { continue };
            read.entry(key).or_insert_with(|| match var.kind.judge(text, var.dialect) {
                Ok(typed) => Ok((typed, text)),
                Err(_) => Err(Unreadable),
            });
        }
        let lookup = |key: &Key| match read.get(key) {
            None => Operand::Unset,
            Some(Err(Unreadable)) => Operand::Unreadable,
            Some(Ok((typed, text))) => Operand::Set { typed, text },
        };
        let scope = Scope { lookup: &lookup, env: environment, service };
        let outcomes: Vec<(&Rule, Outcome)> =
            rules().map(|rule| (rule, rule.expression.evaluate(&scope))).collect();
        for (rule, outcome) in outcomes {
            self.rule(rule, outcome);
        }
    }

    fn rule(&mut self, rule: &Rule, outcome: Outcome) {
        let broken = match outcome {
            Outcome::Holds | Outcome::NotApplicable => return,
            Outcome::Fails => None,
            Outcome::Broken(reason) => Some(reason),
        };
        let subject = rule.expression.variables().first();
        // A value that is already refused need not fail its rules as well.
        let junk = [Code::Placeholder, Code::PublishedFallback, Code::MisplacedSecret];
        let refused = |key: &Key| self.flag(key, &junk) == Some(Severity::Error);
        if broken.is_none() && rule.expression.variables().iter().any(refused) {
            return;
        }
        let message = match &broken {
            None => rule.message.to_string(),
            Some(_) => format!("rule {} could not be judged", rule.id),
        };
        let mut finding = self.finding(Code::Rule, subject, message);
        finding.severity = rule.severity;
        let place = rule.expression.variables().iter().find_map(|key| {
            let entry = self.winner(key)?;
            Some((self.schema.var(key)?, entry))
        });
        if let Some((var, entry)) = place {
            let masked = var.secret || self.discretion.hides(entry);
            finding = located(finding, entry, masked, None, &format!("rule {}", rule.id));
        } else {
            finding.origin = Some(self.schema_origin(rule.at));
            finding.notes.push(format!("rule {}", rule.id));
        }
        if let Some(reason) = broken {
            finding.notes.push(reason);
        }
        finding.help = rule.help.as_ref().map(ToString::to_string);
        self.add(finding);
    }
}

/// The value is not of its type; that has a finding of its own.
struct Unreadable;

fn be(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}
