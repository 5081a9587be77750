//! What is too old to be given, as those see it who are given the rest: a gate says its
//! names to who may read them, and a caller who has an answer is told of it.

use std::collections::BTreeSet;

use tokio::sync::watch;

use super::*;
use crate::access::policy::{Rule, RuleId};
use crate::access::{Action, Asked, Caller, Policy, Refusal, Released, Rules, Standing};

const SCHEMA_OF_TWO: &str = r#"
schema_version = 1
name = "test"
environments = { variable = "APP_ENV", names = ["development", "production"] }
[var.APP_ENV]
type = "string"
required = false
[var.CARD]
type = "string"
required = false
stale = "refuse"
[var.PIN]
type = "string"
required = false
stale = "refuse"
[var.OPEN]
type = "string"
required = false
"#;

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

fn keys(names: &str) -> BTreeSet<Key> {
    names.split_whitespace().map(key).collect()
}

fn words<'k>(keys: impl Iterator<Item = &'k Key>) -> String {
    keys.map(Key::as_str).filter(|name| *name != "APP_ENV").collect::<Vec<_>>().join(" ")
}

/// `OPEN | CARD PIN`: what was let out, and what of it was withheld.
fn written(released: &Released) -> String {
    let given = words(released.variables().iter().map(|delivered| &delivered.key));
    format!("{given} | {}", words(released.withheld().iter()))
}

/// Two that may be asked as: 1 may read everything, 2 only what is open and the card.
struct Counter {
    bench: Bench,
    gate: Gate,
    _rules: watch::Sender<Arc<Rules>>,
}

impl Counter {
    async fn of(sources: &[&Arc<Fake>]) -> Self {
        let bench = Bench::new(plan_of(SCHEMA_OF_TWO, "production", sources));
        bench.told().await;
        let rule = |uid: u32, of: &str| Rule {
            id: RuleId(uid),
            uid: Some(uid),
            gid: None,
            exe: None,
            unit: None,
            keys: Arc::new(keys(of)),
            actions: Action::ALL.into_iter().collect(),
        };
        let policy = Policy::new(vec![rule(1, "APP_ENV OPEN CARD PIN"), rule(2, "OPEN CARD")]);
        let (rules, in_force) = watch::channel(Arc::new(Rules::new(policy, None)));
        let gate = bench.broker.gate(in_force);
        Self { bench, gate, _rules: rules }
    }

    async fn asked(&self, uid: u32, asked: Asked<'_>) -> (String, Standing) {
        let caller = Caller::without_program(uid, 100, Vec::new());
        let (released, standing) = self.gate.release(&caller, asked).await.unwrap();
        (written(&released), standing)
    }

    async fn gives(&self, uid: u32, asked: Asked<'_>) -> String {
        self.asked(uid, asked).await.0
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_withheld_is_named_to_who_may_read_it_and_asked_for_it() {
    let (old, young) = (Fake::remote("old", "CARD=1 PIN=1"), Fake::remote("young", "OPEN=1"));
    let counter = Counter::of(&[&old, &young]).await;
    assert_eq!(counter.gives(1, Asked::Everything).await, "CARD PIN OPEN | ");
    old.ages();
    counter.bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    assert_eq!(counter.gives(1, Asked::Everything).await, "OPEN | CARD PIN");
    assert_eq!(counter.gives(2, Asked::Everything).await, "OPEN | CARD");
    assert_eq!(counter.gives(1, Asked::These(&keys("OPEN PIN"))).await, "OPEN | PIN");
    assert_eq!(counter.gives(2, Asked::These(&keys("OPEN"))).await, "OPEN | ");
    assert_eq!(counter.gives(2, Asked::Ring(&key("CARD"), &keys(""))).await, " | CARD");
    let other = Caller::without_program(2, 100, Vec::new());
    let refused = counter.gate.release(&other, Asked::These(&keys("CARD PIN"))).await.map(|_| ());
    assert_eq!(refused, Err(Refusal::NotPermitted(vec![key("PIN")])));
}

#[tokio::test(start_paused = true)]
async fn it_is_another_answer_when_something_is_withheld_and_when_it_is_given_again() {
    let (old, young) = (Fake::remote("old", "CARD=1"), Fake::remote("young", "OPEN=1"));
    let counter = Counter::of(&[&old, &young]).await;
    let card = keys("CARD");
    let changed_in = async |asked| counter.asked(2, asked).await.1.changed_in;
    let (all, open) = (Asked::Everything, keys("OPEN"));
    assert_eq!((changed_in(all).await, counter.bench.generation()), (1, 1));
    old.ages();
    counter.bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    assert_eq!((changed_in(all).await, changed_in(Asked::These(&card)).await), (2, 2));
    // Who asks for the rest only has it already.
    assert_eq!(changed_in(Asked::These(&open)).await, 1);
    // It stays withheld: no other answer, also while other things change.
    young.holds("OPEN=2");
    assert_eq!(counter.bench.told().await, ["published 3 OPEN"]);
    assert_eq!((changed_in(all).await, changed_in(Asked::These(&card)).await), (3, 2));
    old.is_young();
    counter.bench.told_after(Duration::from_secs(2)).await;
    assert_eq!((changed_in(all).await, changed_in(Asked::These(&card)).await), (4, 4));
    assert_eq!(counter.gives(2, all).await, "CARD OPEN | ");
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_not_withheld() {
    let (old, high) = (Fake::remote("old", "CARD=1"), Fake::local("high", "OPEN=1"));
    let counter = Counter::of(&[&old, &high]).await;
    old.ages();
    counter.bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    assert_eq!(counter.gives(2, Asked::Everything).await, "OPEN | CARD");
    // Another source gives it: that one is young.
    high.holds("OPEN=1 CARD=2");
    counter.bench.told().await;
    assert_eq!(counter.gives(2, Asked::Everything).await, "CARD OPEN | ");
    high.holds("OPEN=1");
    counter.bench.told().await;
    assert_eq!(
        (counter.gives(2, Asked::Everything).await.as_str(), counter.bench.generation()),
        ("OPEN | CARD", 4)
    );
    // Deleted there, and its minute over: nobody has it.
    old.holds("");
    counter.bench.told_after(2 * Duration::from_mins(1)).await;
    assert_eq!(counter.gives(2, Asked::Everything).await, "OPEN | ");
}

#[tokio::test(start_paused = true)]
async fn what_never_was_given_is_withheld_from_the_first_without_a_change_of_it() {
    let (old, young) = (Fake::remote("old", ""), Fake::remote("young", "OPEN=1"));
    old.ages();
    let mut counter = Counter::of(&[&old, &young]).await;
    counter.bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    let before = counter.bench.generation();
    old.lacks(&["q"], "CARD=1");
    counter.bench.told_after(Duration::from_secs(2)).await;
    assert_eq!(counter.gives(2, Asked::Everything).await, "OPEN | CARD");
    // It is one generation: that there is something is what changed.
    assert_eq!(counter.bench.generation(), before + 1);
    // A delivery gets what it got: all but that.
    let granted = keys("APP_ENV OPEN CARD");
    let released = counter.gate.deliver("app", &granted).await.unwrap().unwrap();
    assert_eq!(written(&released), "OPEN | CARD");
    let released = counter.gate.deliver("other", &keys("OPEN")).await.unwrap().unwrap();
    assert_eq!(written(&released), "OPEN | ");
}
