//! What an earlier daemon kept, while sources cannot be read.

use std::time::SystemTime;

use super::source::layer;
use super::*;
use crate::model::kept::KeptLease;
use crate::model::layer::Value;
use crate::model::origin::Location;
use crate::status::{Health, SourceStatus};

const A_MINUTE: Duration = Duration::from_mins(1);
const AN_HOUR: Duration = Duration::from_hours(1);

/// What was kept of a source, so long ago.
fn kept(source: &str, holds: &str, age: Duration) -> Kept {
    let confirmed = SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH);
    Kept {
        source: SourceName::new(source),
        identity: "fake".into(),
        confirmed,
        max_age: Some(AN_HOUR),
        lent: Vec::new(),
        layer: layer(source, holds),
        is_cut: false,
    }
}

/// `s: A=1 B=2` of what is to be kept; panics where something says `snapshot`.
fn words(kept: &[Kept]) -> Vec<String> {
    let word = |offer: &crate::model::layer::Offer| match &offer.value {
        Value::Literal(value) => {
            assert!(!matches!(offer.origin.location, Location::Snapshot(_)), "{offer:?}");
            format!(" {}={}", offer.key, value.expose())
        }
        Value::Template(_) => format!(" {}=…", offer.key),
    };
    let mut words: Vec<String> = Vec::new();
    for kept in kept {
        let mut offers: Vec<String> = kept.layer.offers.iter().map(word).collect();
        offers.sort();
        words.push(format!("{}:{}", kept.source, offers.concat()));
    }
    words
}

impl Bench {
    /// A broker that has been told what was kept, before it asks anybody.
    fn recalling(plan: Plan, kept: Vec<Kept>) -> Self {
        let heard = Arc::new(Heard::default());
        let (broker, intake) = Broker::new(plan, "test".into(), Arc::clone(&heard) as _);
        assert_eq!(broker.recall(kept), []);
        let working = Arc::clone(&broker);
        let task = tokio::spawn(async move { working.run(intake).await });
        Self { broker, heard, task }
    }

    /// The sources that what was kept stands in for from now on.
    fn stand_in(&self) -> Vec<String> {
        self.broker.stand_in().iter().map(ToString::to_string).collect()
    }

    fn keeps(&self) -> Option<Vec<String>> {
        self.broker.kept().as_deref().map(words)
    }

    fn source(&self, index: usize) -> SourceStatus {
        self.broker.status().sources.swap_remove(index)
    }
}

/// A daemon whose only source is down and that runs on what was kept an hour ago.
async fn standing(source: &Arc<Fake>, holds: &str) -> Bench {
    source.fails();
    let bench = Bench::recalling(plan("production", &[source]), vec![kept("s", holds, AN_HOUR / 2)]);
    bench.told().await;
    assert_eq!(bench.stand_in(), ["s"]);
    bench.heard.take();
    bench
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_stands_in_for_what_cannot_be_read() {
    let (low, high) = (Fake::remote("low", ""), Fake::local("high", "OPT=2"));
    low.fails();
    let both = vec![
        kept("low", "REQ=1@p#7 KEEP=1", AN_HOUR / 2),
        kept("high", "OPT=old NUMBER=7", Duration::from_secs(5)),
    ];
    let bench = Bench::recalling(plan("production", &[&low, &high]), both);
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, ["down low 1"]);
    assert!(bench.broker.version().is_none(), "nothing is published before it is said to stand in");
    assert_eq!((bench.keeps(), bench.source(0).snapshot_age_seconds), (None, None));
    assert_eq!(bench.stand_in(), ["low"]);
    let told = bench.told().await;
    assert_eq!(told, ["stands in low 1802", "published 1 APP_ENV,REQ,OPT,KEEP,MODE"]);
    assert_eq!(bench.values(), "REQ=1 OPT=2 KEEP=1", "what was read is not from the snapshot");
    assert_eq!(bench.place("REQ").as_deref(), Some("snapshot:low:p#REQ@7"));
    assert_eq!((bench.state("REQ"), bench.state("OPT")), (VariableState::Held, VariableState::Current));
    assert_eq!(bench.findings(), ["DLC050 warning", "DLC050 error"]);
    let low = bench.source(0);
    assert_eq!((low.health, low.snapshot_age_seconds), (Health::Down, Some(1802)));
    assert_eq!(low.age_seconds, low.snapshot_age_seconds);
    assert_eq!(bench.source(1).snapshot_age_seconds, None);
    let oldest = |names: &'static [&'static str]| {
        let age = bench.broker.snapshot_age(|key| names.contains(&key.as_str()));
        age.map(|age| age.as_secs())
    };
    assert_eq!((oldest(&["REQ", "OPT"]), oldest(&["OPT", "MODE"])), (Some(1802), None));
    let explained = bench.broker.explain("OPT").unwrap();
    let told: Vec<&str> = explained.findings.iter().map(|finding| finding.severity.as_str()).collect();
    assert_eq!(told, ["warning", "error"], "both are about a source that may have it too");
    assert!(explained.findings[0].message.contains("snapshot stands in for it, as of 20"));
    // Again: nothing happens.
    assert_eq!((bench.stand_in(), bench.told().await), (vec![], vec![]));
    assert_eq!(bench.keeps().unwrap(), ["low: KEEP=1 REQ=1", "high: OPT=2"]);
}

#[tokio::test(start_paused = true)]
async fn it_stands_in_for_a_source_that_says_nothing_at_all() {
    let source = Fake::remote("s", "");
    source.hangs();
    let bench = Bench::recalling(plan("production", &[&source]), vec![kept("s", "REQ=1 KEEP=1", A_MINUTE)]);
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, [""; 0]);
    assert_eq!(bench.stand_in(), ["s"]);
    assert_eq!(bench.told().await, ["stands in s 62", "published 1 APP_ENV,REQ,KEEP,MODE"]);
    assert_eq!((bench.findings(), bench.state("REQ")), (vec!["DLC050 warning".into()], VariableState::Held));
    source.holds("REQ=1 KEEP=1");
    assert_eq!(bench.told().await, ["up s"], "the same values are no generation");
    assert_eq!((bench.findings(), bench.state("REQ")), (vec![], VariableState::Current));
}

#[tokio::test(start_paused = true)]
async fn the_source_takes_over_when_it_is_back() {
    let source = Fake::remote("s", "");
    let bench = standing(&source, "REQ=1 KEEP=1").await;
    let published = bench.snapshot().unwrap();
    let told = bench.broker.provenance(&published.variables()[1]);
    assert_eq!((told.place.as_str(), told.snapshot_age_seconds), ("snapshot:s:p#REQ", Some(1800)));
    // What goes on failing, and fails in another way, changes nothing.
    source.lacks(&["q"], "");
    assert_eq!(bench.told_after(3 * A_MINUTE).await, ["down s 1"]);
    assert_eq!((bench.values().as_str(), bench.generation()), ("REQ=1 KEEP=1", 1));
    source.holds("REQ=1 KEEP=1");
    assert_eq!(bench.told().await, ["up s"]);
    assert_eq!((bench.generation(), bench.place("REQ").as_deref()), (1, Some("s:p#REQ")));
    // Also to whom the generation from before it is told.
    let published = bench.snapshot().unwrap();
    let req = published.variables().iter().find(|delivered| delivered.key.as_str() == "REQ").unwrap();
    assert_eq!(req.origin.location.to_string(), "snapshot:s:p#REQ");
    let told = bench.broker.provenance(req);
    assert_eq!((told.place.as_str(), told.snapshot_age_seconds), ("s:p#REQ", None));
    assert_eq!(bench.broker.snapshot_age(|_| true), None);
    let status = bench.source(0);
    assert_eq!((status.health, status.snapshot_age_seconds), (Health::Up, None));
    assert!(status.age_seconds.unwrap() < 2 && bench.findings().is_empty());
    // The next change flows.
    source.holds("REQ=2 KEEP=1");
    assert_eq!(bench.told().await, ["published 2 REQ"]);
    assert_eq!(bench.keeps().unwrap(), ["s: KEEP=1 REQ=2"]);
    // It was read: nothing stands in for it any more.
    source.fails();
    bench.told().await;
    assert_eq!((bench.stand_in(), bench.state("REQ")), (vec![], VariableState::Held));
    assert_eq!(bench.place("REQ").as_deref(), Some("s:p#REQ"));
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_while_nobody_looked_is_held_as_ever() {
    for stands_in_first in [false, true] {
        let source = Fake::remote("s", "");
        source.fails();
        let before = "REQ=1 KEEP=1 OPT=1 UNKNOWN=1";
        let bench = Bench::recalling(plan("production", &[&source]), vec![kept("s", before, A_MINUTE)]);
        bench.told().await;
        if stands_in_first {
            bench.stand_in();
            bench.told().await;
        }
        source.holds("KEEP=1");
        let told = bench.told().await;
        assert_eq!(told[..3], ["up s", "held OPT for a minute", "held REQ until forgotten"], "{told:?}");
        assert_eq!(bench.values(), "REQ=1 OPT=1 KEEP=1");
        assert_eq!(bench.state("REQ"), VariableState::Deleted);
        // The source said so: the snapshot has no more to do with it.
        assert_eq!(bench.place("REQ").as_deref(), Some("s:p#REQ"));
        assert_eq!(bench.keeps().unwrap(), ["s: KEEP=1 OPT=1 REQ=1"]);
        assert_eq!(
            bench.told_after(A_MINUTE + Duration::from_secs(2)).await,
            ["given up OPT in time", "published 2 OPT"]
        );
        assert_eq!((bench.stand_in(), bench.values().as_str()), (vec![], "REQ=1 KEEP=1"));
        bench.forget("REQ");
        assert_eq!(bench.values(), "KEEP=1");
        assert_eq!(bench.keeps().unwrap(), ["s: KEEP=1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_word_of_a_local_source_counts_at_once() {
    let source = Fake::local("s", "REQ=1 KEEP=1");
    let old = vec![kept("s", "REQ=old KEEP=old OPT=old", A_MINUTE)];
    let bench = Bench::recalling(plan("production", &[&source]), old);
    assert_eq!(bench.told().await, ["published 1 APP_ENV,REQ,KEEP,MODE"]);
    assert_eq!((bench.values().as_str(), bench.stand_in()), ("REQ=1 KEEP=1", vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_can_be_read_is_laid_over_what_was_kept() {
    for (rest_first, rest) in [(true, "REQ=2"), (false, "REQ=2"), (true, "REQ=2 OPT=2@q")] {
        let source = Fake::remote("s", "");
        source.hangs();
        let old = vec![kept("s", "REQ=1 KEEP=1 OPT=1@q", A_MINUTE)];
        let bench = Bench::recalling(plan("production", &[&source]), old);
        if rest_first {
            source.lacks(&["r"], rest);
            bench.told().await;
            assert!(bench.broker.version().is_none(), "it was not read whole");
        }
        assert_eq!(bench.stand_in(), ["s"]);
        source.lacks(&["r"], rest);
        bench.told().await;
        let (opt, place) = if rest.contains("OPT") { ("2", "s:q#OPT") } else { ("1", "snapshot:s:q#OPT") };
        assert_eq!(bench.values(), format!("REQ=2 OPT={opt} KEEP=1"));
        assert_eq!(bench.place("OPT").as_deref(), Some(place));
        assert_eq!(bench.place("REQ").as_deref(), Some("s:p#REQ"), "what was read is not held");
        assert_eq!(bench.place("KEEP").as_deref(), Some("snapshot:s:p#KEEP"));
        assert!(bench.source(0).snapshot_age_seconds.is_some());
        // It was not read whole: nobody stated that something is gone.
        assert_eq!(bench.told_after(5 * A_MINUTE).await, [""; 0]);
        assert_eq!(bench.keeps().unwrap(), [format!("s: KEEP=1 OPT={opt} REQ=2")]);
        source.holds("REQ=2 KEEP=1");
        assert_eq!(bench.told().await, ["up s", "held OPT for a minute"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_atomic_group_stays_of_one_daemon() {
    let schema = SCHEMA.replace("all_or_none = [\"P1\", \"P2\"]", "atomic = true");
    let source = Fake::remote("s", "");
    source.lacks(&["q"], "REQ=2 KEEP=2 P1=2");
    let old = vec![kept("s", "REQ=1 KEEP=1 P1=1@p P2=1@q", A_MINUTE)];
    let bench = Bench::recalling(plan_of(&schema, "production", &[&source]), old);
    bench.told().await;
    bench.stand_in();
    assert_eq!(bench.values(), "REQ=2 KEEP=2 P1=1 P2=1");
    source.holds("REQ=2 KEEP=2 P1=3 P2=3@q");
    bench.told().await;
    assert_eq!(bench.values(), "REQ=2 KEEP=2 P1=3 P2=3");
}

#[tokio::test(start_paused = true)]
async fn what_is_of_no_source_is_told_and_not_used() {
    let source = Fake::remote("s", "");
    source.fails();
    let (broker, _intake) =
        Broker::new(plan("production", &[&source]), "test".into(), Arc::new(Heard::default()));
    let other = Kept { identity: "another server".into(), ..kept("s", "REQ=1 KEEP=1", A_MINUTE) };
    let unclaimed = broker.recall(vec![other, kept("gone", "REQ=1 KEEP=1", A_MINUTE)]);
    let told: Vec<String> = unclaimed.iter().map(|it| format!("{}: {}", it.source, it.why)).collect();
    assert_eq!(told, ["s: it reads something else now", "gone: the settings have no such source"]);
    assert_eq!((broker.stand_in(), broker.version()), (vec![], None));
}

#[tokio::test(start_paused = true)]
async fn what_is_invalid_is_not_published_whoever_gave_it() {
    let source = Fake::remote("s", "");
    source.fails();
    let old = vec![kept("s", "REQ=1 KEEP=1 NUMBER=x", A_MINUTE)];
    let bench = Bench::recalling(plan("production", &[&source]), old);
    bench.told().await;
    assert_eq!(bench.stand_in(), ["s"]);
    assert_eq!(bench.told().await, ["stands in s 60", "rejected DLC010 0 holds"]);
    assert_eq!((bench.broker.version(), bench.keeps()), (None, None));
    source.holds("REQ=1 KEEP=1 NUMBER=1");
    assert_eq!(bench.told().await, ["up s", "published 1 APP_ENV,REQ,NUMBER,KEEP,MODE"]);
}

#[tokio::test(start_paused = true)]
async fn its_age_is_that_of_what_was_kept() {
    let source = Fake::remote("s", "");
    source.fails();
    let old = vec![kept("s", "REQ=1 KEEP=1", 59 * A_MINUTE)];
    let bench = Bench::recalling(plan("production", &[&source]), old);
    bench.told().await;
    bench.stand_in();
    assert_eq!((bench.values().as_str(), bench.findings().len()), ("REQ=1 KEEP=1", 2));
    bench.heard.take();
    let told = bench.told_after(A_MINUTE + Duration::from_secs(1)).await;
    assert_eq!(told, ["stale s [KEEP]", "published 2 KEEP"]);
    assert_eq!(bench.state("KEEP"), VariableState::Withheld);
    assert_eq!(bench.source(0).health, Health::Stale);
    source.holds("REQ=1 KEEP=1");
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, ["up s", "published 3 KEEP"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_already_is_withheld_from_the_first() {
    for age in [MAX_AGE + A_MINUTE, Duration::MAX] {
        let source = Fake::remote("s", "");
        source.fails();
        let old = vec![kept("s", "REQ=1 KEEP=1", age)];
        let bench = Bench::recalling(plan("production", &[&source]), old);
        bench.told().await;
        bench.stand_in();
        assert_eq!((bench.values().as_str(), bench.state("KEEP")), ("REQ=1", VariableState::Withheld));
        assert!(bench.source(0).snapshot_age_seconds.unwrap() >= 3660);
        // It is kept all the same: with its age.
        assert_eq!(bench.keeps().unwrap(), ["s: KEEP=1 REQ=1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn times_beyond_every_clock_are_borne() {
    let source = Fake::remote("s", "");
    source.fails();
    let far = SystemTime::now() + Duration::from_hours(24 * 365 * 1_000_000);
    let lease = |place: &str, ends| KeptLease { place: place.into(), ends };
    let lent = vec![lease("s:p", Some(far)), lease("s:q", Some(SystemTime::UNIX_EPOCH)), lease("s:r", None)];
    let old = Kept { confirmed: far, lent, ..kept("s", "REQ=1@p KEEP=1@q OPT=1@r", A_MINUTE) };
    let bench = Bench::recalling(plan("production", &[&source]), vec![old]);
    bench.told().await;
    bench.stand_in();
    assert_eq!(bench.source(0).snapshot_age_seconds, Some(0));
    let ends: Vec<Option<u64>> = bench.source(0).leases.iter().map(|lease| lease.ttl_seconds).collect();
    assert!(ends.len() == 3 && ends[1] == Some(0) && ends[2].is_none(), "{ends:?}");
    assert!(bench.broker.kept().is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_lent_and_is_over_is_unread_not_missing() {
    let source = Fake::remote("s", "");
    source.fails();
    let old = Kept { is_cut: true, ..kept("s", "KEEP=1", A_MINUTE) };
    let bench = Bench::recalling(plan("production", &[&source]), vec![old]);
    bench.told().await;
    bench.stand_in();
    bench.told().await;
    assert_eq!(bench.broker.version(), None);
    let rejected = bench.broker.status().rejected.unwrap();
    let told: Vec<&str> = rejected.findings.iter().map(|finding| finding.message.as_str()).collect();
    assert_eq!(told, ["REQ could not be judged: source s could not be read"]);
    // Read whole, it is there, or missing.
    source.holds("REQ=1 KEEP=1");
    bench.told().await;
    assert!(bench.broker.version().is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_a_state_that_was_not_accepted() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::new(plan("production", &[&source]));
    assert_eq!(bench.keeps(), None);
    bench.told().await;
    assert_eq!(bench.keeps().unwrap(), ["s: KEEP=1 REQ=1"]);
    // It has come and was not judged yet.
    source.holds("REQ=2 KEEP=1 NUMBER=x");
    sleep(Duration::from_millis(10)).await;
    assert_eq!(bench.keeps(), None);
    assert_eq!(bench.told().await, ["rejected DLC010 1 holds"]);
    assert_eq!(bench.keeps(), None);
    source.holds("REQ=3 KEEP=1 NUMBER=1");
    bench.told().await;
    assert_eq!(bench.keeps().unwrap(), ["s: KEEP=1 NUMBER=1 REQ=3"]);
    // That it cannot be read is no new state.
    source.fails();
    bench.told().await;
    assert_eq!(bench.keeps().unwrap(), ["s: KEEP=1 NUMBER=1 REQ=3"]);
}

#[tokio::test(start_paused = true)]
async fn when_it_was_confirmed_and_what_was_lent_is_kept_in_wall_time() {
    let source = Fake::remote("s", "REQ=1 KEEP=1@db");
    source.borrows("s:db", AN_HOUR);
    let bench = Bench::of(&[&source]).await;
    source.ages();
    sleep(10 * A_MINUTE).await;
    let about = |time: SystemTime, expected: SystemTime| {
        let apart = time.duration_since(expected).unwrap_or_else(|early| early.duration());
        assert!(apart < Duration::from_secs(5), "{apart:?}");
    };
    let [first] = bench.broker.kept().unwrap().try_into().unwrap();
    assert_eq!(&*first.identity, "fake");
    let confirmed = SystemTime::now() - 10 * A_MINUTE;
    let ends = SystemTime::now() + 50 * A_MINUTE;
    about(first.confirmed, confirmed);
    about(first.lent[0].ends.unwrap(), ends);
    // Through the next daemon, which never reads it, all of that stays as it is.
    let source = Fake::remote("s", "");
    source.fails();
    let bench = Bench::recalling(plan("production", &[&source]), vec![first.clone()]);
    bench.told().await;
    bench.stand_in();
    sleep(A_MINUTE).await;
    let [second] = bench.broker.kept().unwrap().try_into().unwrap();
    assert_eq!(second.confirmed, first.confirmed);
    let leases = bench.source(0).leases;
    assert_eq!((leases[0].path.as_str(), leases.len()), ("s:db", 1));
    assert!((2930..=2941).contains(&leases[0].ttl_seconds.unwrap()), "{leases:?}");
    assert_eq!((second.lent.len(), &*second.lent[0].place), (1, "s:db"));
    // What this daemon was lent takes the place of it.
    source.borrows("s:db", 2 * AN_HOUR);
    source.lacks(&["q"], "KEEP=2@db");
    bench.told_after(Duration::from_secs(2)).await;
    let [third] = bench.broker.kept().unwrap().try_into().unwrap();
    assert_eq!((third.confirmed, third.lent.len()), (first.confirmed, 1));
    about(third.lent[0].ends.unwrap(), SystemTime::now() + 2 * AN_HOUR);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_of_the_process_itself() {
    let (own, other) = (Fake::own("own", "REQ=1"), Fake::local("other", "KEEP=1"));
    let bench = Bench::of(&[&own, &other]).await;
    assert_eq!(bench.values(), "REQ=1 KEEP=1");
    assert_eq!(bench.keeps().unwrap(), ["other: KEEP=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_carries_what_stands_in() {
    let source = Fake::remote("s", "");
    let bench = standing(&source, "REQ=1 KEEP=1").await;
    let new = Fake::local("new", "OPT=1");
    let reloaded = bench.broker.reload(plan("production", &[&source, &new]), || ()).await;
    assert!(reloaded.is_ok());
    assert_eq!((bench.values().as_str(), bench.state("REQ")), ("REQ=1 OPT=1 KEEP=1", VariableState::Held));
    assert!(bench.source(0).snapshot_age_seconds.unwrap() >= 1800);
    source.holds("KEEP=1");
    assert_eq!(bench.told().await, ["published 2 OPT", "up s", "held REQ until forgotten"]);
}

#[tokio::test(start_paused = true)]
async fn what_only_stands_in_keeps_the_limit_that_it_had() {
    let source = Fake::remote("s", "");
    let bench = standing(&source, "REQ=1 KEEP=1").await;
    let limit = || bench.broker.kept().unwrap()[0].max_age;
    assert_eq!(limit(), Some(AN_HOUR));
    // Neither the same source under a new plan makes it younger, nor one built anew.
    let again = Fake::remote("s", "");
    again.fails();
    for next in [&source, &again] {
        assert!(bench.broker.reload(plan("production", &[next]), || ()).await.is_ok());
        assert_eq!(limit(), Some(AN_HOUR));
    }
    again.holds("REQ=1 KEEP=1");
    bench.told().await;
    assert_eq!(limit(), None, "it was read");
}

#[tokio::test(start_paused = true)]
async fn a_reload_waits_for_no_source_that_something_stands_in_for() {
    let source = Fake::remote("s", "");
    source.hangs();
    let old = vec![kept("s", "REQ=1 KEEP=1", A_MINUTE)];
    let bench = Bench::recalling(plan("production", &[&source]), old);
    let broker = Arc::clone(&bench.broker);
    let again = plan("production", &[&source]);
    let trial = tokio::spawn(async move { broker.reload(again, || ()).await.is_ok() });
    sleep(Duration::from_secs(3)).await;
    assert!(!trial.is_finished());
    bench.stand_in();
    sleep(Duration::from_secs(2)).await;
    assert!(trial.is_finished() && trial.await.unwrap());
    assert_eq!(bench.values(), "REQ=1 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn only_a_source_that_reads_the_same_inherits_what_stands_in() {
    for (identity, inherits) in [("fake", true), ("another server", false)] {
        let (source, new) = (Fake::remote("s", ""), Fake::remote("s", ""));
        new.fails();
        let bench = standing(&source, "REQ=1 KEEP=1").await;
        let mut plan = plan("production", &[&new]);
        plan.sources[0].identity = identity.into();
        let reloaded = bench.broker.reload(plan, || ()).await;
        assert_eq!(reloaded.is_ok(), inherits, "{identity}");
        assert_eq!(bench.values(), "REQ=1 KEEP=1");
        // Whoever reads it, what it deletes is held.
        if inherits { &new } else { &source }.holds("KEEP=1");
        let told = bench.told().await;
        assert_eq!(told.last().map(String::as_str), Some("held REQ until forgotten"), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_source_that_can_be_read_needs_nothing_to_stand_in() {
    let (source, new) = (Fake::remote("s", ""), Fake::remote("s", "REQ=2 KEEP=1"));
    let bench = standing(&source, "REQ=1 KEEP=1 OPT=1").await;
    assert!(bench.broker.reload(plan("production", &[&new]), || ()).await.is_ok());
    assert_eq!(bench.values(), "REQ=2 OPT=1 KEEP=1");
    assert_eq!((bench.state("OPT"), bench.state("REQ")), (VariableState::Deleted, VariableState::Current));
    assert_eq!(bench.source(0).snapshot_age_seconds, None);
}

/// How many still have a value: the one that asks is one of them.
fn holders(kept: &Kept) -> usize {
    let Value::Literal(value) = &kept.layer.offers[0].value else { panic!("a template") };
    Arc::strong_count(value)
}

#[tokio::test(start_paused = true)]
async fn nothing_keeps_what_an_earlier_daemon_knew_of_a_source_that_was_read() {
    let (source, other) = (Fake::remote("s", ""), Fake::remote("other", ""));
    source.fails();
    let old = kept("s", "REQ=1 KEEP=1", A_MINUTE);
    let witness = old.clone();
    let bench = Bench::recalling(plan("production", &[&source, &other]), vec![old]);
    bench.told().await;
    assert!(holders(&witness) > 1);
    source.holds("REQ=2 KEEP=2");
    bench.told().await;
    assert_eq!(holders(&witness), 1, "before it stood in");
    let source = Fake::remote("s", "");
    let bench = standing(&source, "REQ=1 KEEP=1").await;
    let [witness] = bench.broker.kept().unwrap().try_into().unwrap();
    source.holds("REQ=2 KEEP=2");
    assert_eq!(bench.told().await, ["up s", "published 2 REQ,KEEP"]);
    assert_eq!(holders(&witness), 1, "after it stood in");
}
