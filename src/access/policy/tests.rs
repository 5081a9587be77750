//! Deciding, in tables and against what must hold of every policy.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::access::caller::Program;

const CC: u32 = 10_001;
const OPERATORS: u32 = 20_000;
const OWN: u32 = 999;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn keys(names: &[&str]) -> Arc<BTreeSet<Key>> {
    Arc::new(names.iter().copied().map(key).collect())
}

fn rule(id: u32, uid: Option<u32>, gid: Option<u32>, names: &[&str], actions: &[Action]) -> Rule {
    let actions = actions.iter().copied().collect();
    Rule { id: RuleId(id), uid, gid, exe: None, unit: None, keys: keys(names), actions }
}

/// The control centre reads A and B; so does one program of user 7; operators
/// rotate A; user 8 of the operators reads B in one unit.
fn policy() -> Policy {
    let everything = BTreeSet::from(["A", "B", "C"].map(key));
    let exe = Some(PathBuf::from("/usr/bin/app"));
    let unit = Some("app.service".to_owned());
    Policy::written(
        OWN,
        everything,
        [
            rule(1, Some(CC), None, &["A", "B"], &[Action::Read, Action::Watch]),
            Rule { exe, ..rule(2, Some(7), None, &["A"], &[Action::Read]) },
            rule(3, None, Some(OPERATORS), &["A"], &[Action::Rotate, Action::Status]),
            Rule { unit, ..rule(4, Some(8), Some(OPERATORS), &["B"], &[Action::Read]) },
        ],
    )
}

fn program(exe: Option<&str>, unit: Option<&str>) -> Program {
    Program { exe: exe.map(PathBuf::from), unit: unit.map(str::to_owned) }
}

#[track_caller]
fn check(facts: Facts<'_>, action: Action, name: &str, expected: &str) {
    let policy = policy();
    let decided = policy.decide(&facts, action, &key(name));
    let words = match &decided {
        Decision::Allow(rule) => format!("rule {rule}"),
        Decision::Deny(reason) => reason.to_string(),
    };
    assert_eq!(words, expected, "{facts:?} {action:?} {name}");
    let view = policy.view(&facts, action);
    assert_eq!(view.permits(&key(name)).is_some(), matches!(decided, Decision::Allow(_)));
}

fn user(uid: u32) -> Facts<'static> {
    Facts { uid, gid: uid, groups: &[], program: None }
}

#[test]
fn what_is_named_is_permitted_and_nothing_else() {
    use Action::{Acknowledge, Forget, Read, Rotate, Status, Watch};
    const NOBODY: &str = "no rule is for this user or one of its groups";
    check(user(CC), Read, "A", "rule 1");
    check(user(CC), Watch, "B", "rule 1");
    check(user(CC), Read, "C", "rule 1 is for other variables");
    check(user(CC), Forget, "A", "rule 1 does not permit this action");
    check(user(CC), Rotate, "C", "rule 1 does not permit this action and is for other variables");
    for uid in [0, 1, CC + 1, OPERATORS, u32::MAX] {
        for action in Action::ALL {
            let stranger = Facts { gid: 5, ..user(uid) };
            check(stranger, action, "A", NOBODY);
        }
    }
    let operator = Facts { gid: OPERATORS, ..user(50) };
    check(operator, Rotate, "A", "rule 3");
    check(operator, Read, "A", "rule 3 does not permit this action");
    // Nearer is a rule about something else than one that is for somebody else.
    check(operator, Read, "B", "rule 3 does not permit this action and is for other variables");
    check(operator, Acknowledge, "C", "rule 3 does not permit this action and is for other variables");
    // A group's number is no user's.
    check(Facts { gid: 5, ..user(OPERATORS) }, Status, "A", NOBODY);
}

#[test]
fn a_supplementary_group_counts() {
    let operator = Facts { groups: &[4, OPERATORS], ..user(50) };
    check(operator, Action::Rotate, "A", "rule 3");
    check(
        Facts { groups: &[4], ..user(50) },
        Action::Rotate,
        "A",
        "no rule is for this user or one of its groups",
    );
}

#[test]
fn user_and_group_must_both_match() {
    let here = program(None, Some("app.service"));
    let known = |facts| Facts { program: Some(&here), ..facts };
    check(Facts { groups: &[OPERATORS], ..known(user(8)) }, Action::Read, "B", "rule 4");
    check(known(user(8)), Action::Read, "B", "rule 4 is for another group");
    let alone = Policy::new(policy().rules()[4..].to_vec());
    let other = Facts { gid: OPERATORS, ..known(user(9)) };
    let near = DenyReason::Near { rule: RuleId(4), lacks: vec![Lack::User] };
    assert_eq!(alone.decide(&other, Action::Read, &key("B")), Decision::Deny(near));
}

#[test]
fn what_narrows_must_be_known_and_the_same() {
    let unknown = "rule 2 is for one program, and the caller's is not known";
    check(user(7), Action::Read, "A", unknown);
    for (exe, expected) in [
        (Some("/usr/bin/app"), "rule 2"),
        (Some("/usr/bin/app2"), "rule 2 is for another program"),
        (Some("/usr/bin/app (deleted)"), "rule 2 is for another program"),
        (Some("/tmp/usr/bin/app"), "rule 2 is for another program"),
        (None, unknown),
    ] {
        let program = program(exe, Some("app.service"));
        check(Facts { program: Some(&program), ..user(7) }, Action::Read, "A", expected);
    }
    let unit = |unit| program(Some("/usr/bin/app"), unit);
    for (unit, expected) in [
        (unit(Some("app.service")), "rule 4"),
        (unit(Some("app.scope")), "rule 4 is for another unit"),
        (unit(None), "rule 4 is for one unit, and the caller's is not known"),
    ] {
        let facts = Facts { groups: &[OPERATORS], program: Some(&unit), ..user(8) };
        check(facts, Action::Read, "B", expected);
    }
}

#[test]
fn the_nearest_rule_is_the_one_that_lacks_least() {
    let narrow = rule(1, Some(7), None, &["A"], &[Action::Read]);
    let narrow = Rule { exe: Some("/a".into()), unit: Some("a.service".into()), ..narrow };
    let other = rule(2, Some(7), None, &["B"], &[Action::Read]);
    let rules = [narrow, other, rule(3, Some(7), None, &["C"], &[Action::Read])];
    for (name, nearest) in [("A", 2), ("B", 2), ("C", 3), ("D", 2)] {
        let policy = Policy::new(rules.to_vec());
        match policy.decide(&user(7), Action::Read, &key(name)) {
            Decision::Deny(DenyReason::Near { rule, lacks }) => {
                assert_eq!((rule, lacks), (RuleId(nearest), vec![Lack::Variable]), "{name}");
            }
            decided => assert_eq!(decided, Decision::Allow(RuleId(nearest)), "{name}"),
        }
    }
}

#[test]
fn the_own_user_sees_the_status_and_reads_nothing() {
    for name in ["A", "B", "C"] {
        check(user(OWN), Action::Status, name, "rule 0");
        for action in Action::ALL.into_iter().filter(|action| *action != Action::Status) {
            check(user(OWN), action, name, "rule 0 does not permit this action");
        }
    }
    assert!(policy().knows(&user(OWN)));
    let keys = BTreeSet::from(["A", "B"].map(key));
    let without = Policy::own_user(OWN, keys);
    for action in Action::ALL {
        assert_eq!(without.decide(&user(OWN), action, &key("A")), Decision::Allow(RuleId(0)));
        assert_eq!(without.decide(&user(0), action, &key("A")), Decision::Deny(DenyReason::NoRule));
    }
}

/// Few of everything, so that things meet.
fn some_rule() -> impl Strategy<Value = Rule> {
    let exe = proptest::option::of(proptest::sample::select(vec!["/a", "/b"]));
    let unit = proptest::option::of(proptest::sample::select(vec!["a.service", "b.service"]));
    let who = (proptest::option::of(0..3_u32), proptest::option::of(0..3_u32));
    let names = proptest::sample::subsequence(vec!["A", "B", "C"], 0..=3);
    let actions = proptest::sample::subsequence(Action::ALL.to_vec(), 0..=6);
    (who, exe, unit, names, actions).prop_map(|((uid, gid), exe, unit, names, actions)| Rule {
        exe: exe.map(PathBuf::from),
        unit: unit.map(str::to_owned),
        ..rule(0, uid, gid, &names, &actions)
    })
}

fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let numbered = |rules: Vec<Rule>| {
        let number = |(id, rule)| Rule { id: RuleId(id), ..rule };
        (1..).zip(rules).map(number).collect()
    };
    proptest::collection::vec(some_rule(), 0..5).prop_map(numbered)
}

fn some_program() -> impl Strategy<Value = Option<Program>> {
    let exe = proptest::option::of(proptest::sample::select(vec!["/a", "/b"]));
    let unit = proptest::option::of(proptest::sample::select(vec!["a.service", "b.service"]));
    proptest::option::of((exe, unit).prop_map(|(exe, unit)| program(exe, unit)))
}

/// Everything that a caller may do: action, variable, and by which rule.
fn permitted(rules: &[Rule], facts: &Facts<'_>) -> BTreeSet<(Action, Key)> {
    let policy = Policy::new(rules.to_vec());
    let mut all = BTreeSet::new();
    for action in Action::ALL {
        for name in ["A", "B", "C"] {
            let decided = policy.decide(facts, action, &key(name));
            let seen = policy.view(facts, action).permits(&key(name));
            // However it is asked, the answer is one, and only rules give it.
            assert_eq!(
                seen.map(Decision::Allow),
                Some(decided.clone()).filter(|d| matches!(d, Decision::Allow(_)))
            );
            match decided {
                Decision::Allow(id) => {
                    let rule = rules.iter().find(|rule| rule.id == id).unwrap();
                    assert!(rule.permits(action, &key(name)));
                    assert!(policy.knows(facts));
                    all.insert((action, key(name)));
                }
                Decision::Deny(DenyReason::NoRule) => {}
                Decision::Deny(DenyReason::Near { lacks, .. }) => assert!(!lacks.is_empty()),
            }
        }
    }
    all
}

proptest! {
    #[test]
    fn whom_no_rule_names_gets_nothing(rules in some_rules(), program in some_program()) {
        let facts = Facts { uid: 90, gid: 91, groups: &[92, 93], program: program.as_ref() };
        let named: Vec<Rule> =
            rules.iter().filter(|rule| rule.uid.is_some() || rule.gid.is_some()).cloned().collect();
        prop_assert!(permitted(&rules, &facts).is_empty());
        prop_assert!(!Policy::new(named).knows(&facts));
    }

    #[test]
    fn narrowing_never_permits_more(
        rules in some_rules(), at in any::<proptest::sample::Index>(), by_exe in any::<bool>(),
        uid in 0..3_u32, gid in 0..3_u32, group in 0..3_u32, program in some_program(),
    ) {
        prop_assume!(!rules.is_empty());
        let groups = [group];
        let facts = Facts { uid, gid, groups: &groups, program: program.as_ref() };
        let mut narrowed = rules.clone();
        let rule = at.get(&rules).id;
        let rule = narrowed.iter_mut().find(|other| other.id == rule).unwrap();
        if by_exe {
            rule.exe.get_or_insert("/a".into());
        } else {
            rule.unit.get_or_insert("a.service".into());
        }
        prop_assert!(permitted(&narrowed, &facts).is_subset(&permitted(&rules, &facts)));
    }

    #[test]
    fn a_further_rule_takes_nothing(
        rules in some_rules(), more in some_rule(), at in any::<proptest::sample::Index>(),
        uid in 0..3_u32, gid in 0..3_u32, program in some_program(),
    ) {
        let facts = Facts { uid, gid, groups: &[], program: program.as_ref() };
        let mut longer = rules.clone();
        longer.insert(at.index(rules.len() + 1), Rule { id: RuleId(77), ..more });
        prop_assert!(permitted(&rules, &facts).is_subset(&permitted(&longer, &facts)));
    }

    #[test]
    fn an_unknown_program_is_as_if_narrowed_rules_were_not_there(
        rules in some_rules(), uid in 0..3_u32, gid in 0..3_u32,
    ) {
        let facts = Facts { uid, gid, groups: &[], program: None };
        let wide: Vec<Rule> = rules.iter().filter(|rule| !rule.is_narrowed()).cloned().collect();
        prop_assert_eq!(permitted(&rules, &facts), permitted(&wide, &facts));
        let nothing = program(None, None);
        let facts = Facts { program: Some(&nothing), ..facts };
        prop_assert_eq!(permitted(&rules, &facts), permitted(&wide, &facts));
    }

    #[test]
    fn every_group_counts_alike(rules in some_rules(), uid in 0..3_u32, one in 0..3_u32, other in 0..3_u32) {
        let (first, second) = ([other], [one]);
        let facts = Facts { uid, gid: one, groups: &first, program: None };
        let swapped = Facts { gid: other, groups: &second, ..facts };
        prop_assert_eq!(permitted(&rules, &facts), permitted(&rules, &swapped));
        let fewer = Facts { groups: &[], ..facts };
        prop_assert!(permitted(&rules, &fewer).is_subset(&permitted(&rules, &facts)));
    }
}
