//! Deletions that come true, and sources that nobody confirms.

use super::*;

const A_MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_deleted_value_is_held_and_told() {
    let source = Fake::remote("s", "REQ=1 OPT=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    source.holds("KEEP=1");
    assert_eq!(bench.told().await, ["held OPT for a minute", "held REQ until forgotten"]);
    assert_eq!((bench.state("REQ"), bench.state("OPT")), (VariableState::Deleted, VariableState::Deleted));
    assert_eq!(bench.told_after(Duration::from_secs(59)).await, [""; 0]);
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, ["given up OPT in time", "published 2 OPT"]);
    assert_eq!(bench.told_after(100 * A_MINUTE).await, [""; 0]);
    assert_eq!(bench.values(), "REQ=1 KEEP=1");
    source.holds("REQ=1 KEEP=1 OPT=2");
    assert_eq!(bench.told().await, ["published 3 OPT"]);
    assert_eq!(bench.state("REQ"), VariableState::Current);
}

#[tokio::test(start_paused = true)]
async fn a_local_deletion_counts_at_once_if_the_rest_is_valid() {
    let source = Fake::local("s", "REQ=1 OPT=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    source.holds("REQ=1 KEEP=1");
    assert_eq!(bench.told().await, ["published 2 OPT"]);
    source.holds("KEEP=1");
    assert_eq!(bench.told().await, ["rejected DLC001 2 holds"]);
    assert_eq!(bench.values(), "REQ=1 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_still_loses_to_a_higher_layer() {
    let (low, high) = (Fake::remote("low", "REQ=1 KEEP=1"), Fake::local("high", ""));
    let bench = Bench::of(&[&low, &high]).await;
    low.holds("KEEP=1");
    assert_eq!(bench.told().await, ["held REQ until forgotten"]);
    high.holds("REQ=2");
    assert_eq!(bench.told().await, ["published 2 REQ"]);
    assert_eq!(bench.state("REQ"), VariableState::Current, "the value in force was not deleted");
    high.holds("");
    assert_eq!(bench.told().await, ["published 3 REQ"]);
    assert_eq!((bench.values().as_str(), bench.state("REQ")), ("REQ=1 KEEP=1", VariableState::Deleted));
}

#[tokio::test(start_paused = true)]
async fn references_see_what_is_held() {
    let (low, high) = (Fake::remote("low", "REQ=1 KEEP=1 OPT=o"), Fake::local("high", "EXTRA=${OPT}"));
    let bench = Bench::of(&[&low, &high]).await;
    assert_eq!(bench.values(), "REQ=1 OPT=o KEEP=1 EXTRA=o");
    low.holds("REQ=2 KEEP=1");
    assert_eq!(bench.told().await, ["held OPT for a minute", "published 2 REQ"]);
    assert_eq!(bench.values(), "REQ=2 OPT=o KEEP=1 EXTRA=o");
    bench.told_after(A_MINUTE).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.values(), "REQ=2 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn a_quiet_source_does_not_age() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    assert_eq!(bench.told_after(3 * MAX_AGE).await, [""; 0]);
    assert!(bench.broker.status().sources[0].age_seconds.unwrap() <= 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_told_once_and_withheld_where_the_schema_says_so() {
    let (old, young) = (Fake::remote("old", "KEEP=1 OPT=1"), Fake::remote("young", "REQ=1"));
    let bench = Bench::of(&[&old, &young]).await;
    old.ages();
    assert_eq!(bench.told_after(Duration::from_secs(3598)).await, [""; 0]);
    let told = bench.told_after(Duration::from_secs(4)).await;
    assert_eq!(told, ["stale old [KEEP]", "published 2 KEEP"]);
    assert_eq!((bench.values().as_str(), bench.state("KEEP")), ("REQ=1 OPT=1", VariableState::Withheld));
    assert_eq!(bench.broker.status().sources[0].health, crate::status::Health::Stale);
    assert_eq!(bench.findings(), ["DLC052 error"]);
    // It is loud once; also while other things change, and when it fails visibly.
    young.holds("REQ=2");
    assert_eq!(bench.told().await, ["published 3 REQ"]);
    old.fails();
    assert_eq!(bench.told_after(3 * MAX_AGE).await, ["down old 1"]);
    // It is confirmed: everything is there again, in one generation with what is new.
    old.holds("KEEP=1 OPT=2");
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, ["up old", "published 4 OPT,KEEP"]);
    assert_eq!((bench.findings(), bench.state("KEEP")), (vec![], VariableState::Current));
    // And again.
    old.ages();
    let told = bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    assert_eq!(told, ["stale old [KEEP]", "published 5 KEEP"]);
    old.is_young();
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, ["published 6 KEEP"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_withheld_while_a_new_state_is_refused() {
    let (old, young) = (Fake::remote("old", "KEEP=1"), Fake::remote("young", "REQ=1 NUMBER=1"));
    let bench = Bench::of(&[&old, &young]).await;
    young.holds("REQ=2 NUMBER=x");
    assert_eq!(bench.told().await, ["rejected DLC010 1 holds"]);
    old.ages();
    let told = bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    assert_eq!(told, ["stale old [KEEP]", "published 2 KEEP"]);
    assert_eq!(bench.values(), "REQ=1 NUMBER=1");
    assert_eq!(bench.findings(), ["DLC052 error"]);
    young.holds("REQ=2 NUMBER=2");
    assert_eq!(bench.told().await, ["published 3 REQ,NUMBER"]);
    young.holds("REQ=2 NUMBER=x");
    assert_eq!(bench.told().await, ["rejected DLC010 3 holds"]);
    old.is_young();
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, ["published 4 KEEP"]);
    assert_eq!(bench.values(), "REQ=2 NUMBER=2 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn only_the_source_in_force_withholds() {
    let (old, high) = (Fake::remote("old", "KEEP=1 REQ=1"), Fake::local("high", "KEEP=2"));
    let bench = Bench::of(&[&old, &high]).await;
    old.ages();
    let told = bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    assert_eq!(told, ["stale old []"]);
    assert_eq!(bench.values(), "REQ=1 KEEP=2");
}

#[tokio::test(start_paused = true)]
async fn on_a_laptop_it_only_warns() {
    let source = Fake::remote("s", "REQ=1");
    let bench = Bench::new(plan("development", &[&source]));
    bench.told().await;
    source.ages();
    assert_eq!(bench.told_after(MAX_AGE + Duration::from_secs(2)).await, ["stale s []"]);
    assert_eq!(bench.findings(), ["DLC052 warning"]);
}

#[tokio::test(start_paused = true)]
async fn a_held_value_that_is_withheld_can_be_forgotten() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    source.holds("REQ=1");
    assert_eq!(bench.told().await, ["held KEEP until forgotten"]);
    source.ages();
    let told = bench.told_after(MAX_AGE + Duration::from_secs(2)).await;
    assert_eq!(told, ["stale s [KEEP]", "published 2 KEEP"]);
    assert_eq!(bench.state("KEEP"), VariableState::Withheld);
    // Nobody had it, but who has it from before learns that it is gone for good.
    assert_eq!(bench.forget("KEEP"), "done test.3");
    assert_eq!(bench.heard.take()[0], "given up KEEP by request");
    source.is_young();
    assert_eq!(bench.told_after(Duration::from_secs(2)).await, [""; 0]);
    assert_eq!(bench.values(), "REQ=1");
}
