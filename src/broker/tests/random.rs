//! Whatever happens, in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::snapshot::Snapshot;

/// What may happen.
#[derive(Debug, Clone)]
enum Step {
    /// A source has this, whole.
    Holds(usize, Vec<(usize, u8)>),
    /// A source has this, and cannot be read at one place.
    Lacks(usize, Vec<(usize, u8)>),
    Fails(usize),
    Ages(usize),
    Passes(u64),
    Forgets(usize),
    Reloads,
}

const KEYS: [&str; 7] = ["REQ", "KEEP", "OPT", "NUMBER", "P1", "P2", "EXTRA"];

fn step() -> impl Strategy<Value = Step> {
    let content = || proptest::collection::vec((0..KEYS.len(), 0..4_u8), 0..8);
    prop_oneof![
        4 => (0..3_usize, content()).prop_map(|(source, content)| Step::Holds(source, content)),
        2 => (0..3_usize, content()).prop_map(|(source, content)| Step::Lacks(source, content)),
        1 => (0..3_usize).prop_map(Step::Fails),
        1 => (0..3_usize).prop_map(Step::Ages),
        3 => prop_oneof![0..200_u64, Just(61_000), Just(3_700_000)].prop_map(Step::Passes),
        2 => (0..KEYS.len()).prop_map(Step::Forgets),
        1 => Just(Step::Reloads),
    ]
}

/// 3 stands for what NUMBER cannot be, and for an empty value elsewhere.
fn text(content: &[(usize, u8)]) -> String {
    let words: BTreeMap<&str, String> = content
        .iter()
        .map(|(key, value)| {
            let key = KEYS[*key];
            let value = match (key, value) {
                ("NUMBER", 3) => "x".to_owned(),
                (_, 3) => String::new(),
                (_, value) => value.to_string(),
            };
            (key, format!("{key}={value}@{}", if key < "N" { "p" } else { "q" }))
        })
        .collect();
    words.into_values().collect::<Vec<_>>().join(" ")
}

fn content(snapshot: &Snapshot) -> BTreeMap<String, String> {
    snapshot.variables().iter().map(|d| (d.key.to_string(), d.value.expose().to_owned())).collect()
}

/// What must hold of one generation, whatever was before it.
fn judge(content: &BTreeMap<String, String>, allowed_to_miss: &[String]) {
    for required in ["REQ", "KEEP"] {
        let is_there = content.contains_key(required);
        assert!(is_there || allowed_to_miss.iter().any(|key| key == required), "{required}: {content:?}");
    }
    assert!(content.get("NUMBER").is_none_or(|number| number.parse::<i64>().is_ok()), "{content:?}");
    assert_eq!(content.contains_key("P1"), content.contains_key("P2"), "{content:?}");
    assert!(content.values().all(|value| !value.is_empty()), "{content:?}");
}

async fn live(steps: Vec<Step>) {
    // The lower two are remote, the highest is a file.
    let sources = [Fake::remote("a", "REQ=0 KEEP=0@q"), Fake::remote("b", ""), Fake::local("c", "")];
    let all: Vec<&Arc<Fake>> = sources.iter().collect();
    let bench = Bench::of(&all).await;
    let mut last = bench.snapshot().unwrap();
    let mut given_up: Vec<String> = Vec::new();
    for step in steps {
        let mut forgot = None;
        match &step {
            Step::Holds(source, content) => sources[*source].holds(&text(content)),
            Step::Lacks(source, content) if *source < 2 => sources[*source].lacks(&["q"], &text(content)),
            // A file is read whole or not at all.
            Step::Lacks(source, _) | Step::Fails(source) => sources[*source].fails(),
            Step::Ages(source) => sources[*source].ages(),
            Step::Passes(ms) => sleep(Duration::from_millis(*ms)).await,
            Step::Forgets(key) => {
                if bench.forget(KEYS[*key]).starts_with("done") {
                    forgot = Some(KEYS[*key]);
                    given_up.push(KEYS[*key].to_owned());
                }
            }
            Step::Reloads => {
                // It may be refused, for what is invalid now.
                drop(bench.broker.reload(plan("production", &all), || ()).await);
            }
        }
        if matches!(step, Step::Holds(..) | Step::Lacks(..) | Step::Fails(_)) {
            sleep(SETTLED).await;
        }
        let next = bench.snapshot().unwrap();
        let (old, new) = (content(&last), content(&next));
        let grew = next.version().generation() - last.version().generation();
        match &step {
            // Several minutes may end, ages pass and deletions come true.
            Step::Passes(_) => {}
            // The tick may have come in between.
            _ => assert!(grew <= 2, "{grew} generations of {step:?}"),
        }
        if grew == 0 {
            assert!(Arc::ptr_eq(&last, &next));
        } else if grew == 1 {
            // What is withheld is a part of it: who has it from before must know.
            let (withheld_before, withheld) = (withheld(&last), withheld(&next));
            assert_ne!(
                (&old, withheld_before),
                (&new, withheld),
                "a generation with the same content: {step:?}"
            );
        }
        let mut allowed = given_up.clone();
        allowed.extend(bench.broker.lock().publisher.withheld().iter().map(ToString::to_string));
        judge(&new, &allowed);
        if let Some(key) = forgot {
            // A held value is gone; another source may have one of its own.
            let state = bench.broker.lock();
            let key = Key::new(key).unwrap();
            assert!(state.desk.holders(&key).is_empty(), "{key} survived");
            let offered = state.desk.tracked.iter().flat_map(|tracked| &tracked.share.layer);
            let is_offered = offered.flat_map(|layer| &layer.offers).any(|offer| offer.key == key);
            assert!(is_offered || !new.contains_key(key.as_str()), "{key} survived");
        }
        for required in ["REQ", "KEEP"] {
            let disappeared = old.contains_key(required) && !new.contains_key(required);
            assert!(!disappeared || allowed.iter().any(|key| key == required), "{required} in {step:?}");
        }
        last = next;
    }
}

fn withheld(snapshot: &Snapshot) -> Vec<Key> {
    snapshot.names().filter(|(_, moved)| moved.withheld).map(|(key, _)| key.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(live(steps));
    }
}
