//! Another plan in the place of the present one.

use super::*;

/// The schema with OPT required.
fn stricter() -> String {
    SCHEMA.replacen("[var.OPT]\ntype = \"string\"\nrequired = false", "[var.OPT]\ntype = \"string\"", 1)
}

fn refusal(reloaded: Reloaded) -> Vec<String> {
    match reloaded {
        Ok(_) => panic!("it was accepted"),
        Err(findings) => findings.into_iter().filter_map(|finding| finding.code).collect(),
    }
}

fn names(ended: &[Arc<dyn Source>]) -> Vec<&str> {
    ended.iter().map(|source| source.name().as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_both_plans_have_goes_on_and_the_rest_is_exchanged() {
    let (kept, old) = (Fake::remote("kept", "REQ=1 KEEP=1"), Fake::local("old", "OPT=old"));
    let bench = Bench::of(&[&kept, &old]).await;
    kept.holds("KEEP=1");
    assert_eq!(bench.told().await, ["held REQ until forgotten"]);
    let fetches = kept.fetches();
    let new = Fake::local("new", "OPT=new");
    let ended = bench.broker.reload(plan("production", &[&kept, &new]), || ()).await;
    assert_eq!(names(&ended.unwrap_or_else(|findings| panic!("{findings:?}"))), ["old"]);
    assert_eq!(bench.heard.take(), ["published 2 OPT"]);
    assert_eq!(
        (bench.values().as_str(), bench.state("REQ")),
        ("REQ=1 OPT=new KEEP=1", VariableState::Deleted)
    );
    assert_eq!((kept.fetches(), new.fetches()), (fetches, 1), "nothing is asked twice");
    // The new one is heard, the old one is not.
    new.holds("OPT=newer");
    assert_eq!(bench.told().await, ["published 3 OPT"]);
    let asked = old.fetches();
    old.holds("OPT=older");
    assert_eq!(bench.told().await, [""; 0]);
    assert_eq!(old.fetches(), asked);
    kept.holds("KEEP=2 REQ=2");
    assert_eq!(bench.told().await, ["published 4 REQ,KEEP"]);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_changes_no_value_is_no_generation() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    bench.broker.reload(plan("production", &[&source]), || ()).await.unwrap_or_else(|_| panic!("refused"));
    assert_eq!((bench.heard.take(), bench.generation()), (vec![], 1));
}

#[tokio::test(start_paused = true)]
async fn a_plan_under_which_it_is_invalid_changes_nothing() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    let refused = bench.broker.reload(plan_of(&stricter(), "production", &[&source]), || ()).await;
    assert_eq!(refusal(refused), ["DLC001"]);
    source.holds("REQ=2 KEEP=1");
    assert_eq!(bench.told().await, ["published 2 REQ"]);
    assert_eq!(bench.rejected(), None);
}

#[tokio::test(start_paused = true)]
async fn a_new_source_that_cannot_be_read_refuses_the_plan() {
    for partly in [false, true] {
        let (source, new) = (Fake::remote("s", "REQ=1 KEEP=1"), Fake::remote("new", ""));
        if partly {
            new.lacks(&["q"], "OPT=1");
        } else {
            new.fails();
        }
        let bench = Bench::of(&[&source]).await;
        let refused = bench.broker.reload(plan("production", &[&source, &new]), || ()).await;
        assert_eq!(refusal(refused), ["DLC050"]);
        let asked = new.fetches();
        new.holds("OPT=2");
        assert_eq!(bench.told().await, [""; 0]);
        assert_eq!((bench.values().as_str(), new.fetches()), ("REQ=1 KEEP=1", asked), "it is left alone");
    }
}

#[tokio::test(start_paused = true)]
async fn a_kept_source_that_is_down_refuses_nothing() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    source.fails();
    bench.told().await;
    let new = Fake::local("new", "OPT=1");
    assert!(bench.broker.reload(plan("production", &[&source, &new]), || ()).await.is_ok());
    assert_eq!(bench.values(), "REQ=1 OPT=1 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn what_comes_during_a_trial_is_in_force_at_once_and_afterwards() {
    let (kept, new) = (Fake::remote("kept", "REQ=1 KEEP=1"), Fake::remote("new", "OPT=1"));
    new.hangs();
    let bench = Bench::of(&[&kept]).await;
    let broker = Arc::clone(&bench.broker);
    let both = plan("production", &[&kept, &new]);
    let trial = tokio::spawn(async move { broker.reload(both, || ()).await.is_ok() });
    sleep(Duration::from_secs(3)).await;
    kept.holds("REQ=2 KEEP=1");
    assert_eq!(bench.told().await, ["published 2 REQ"], "a trial holds nobody up");
    // One arrives in the last moment, within the window.
    kept.holds("REQ=3 KEEP=1");
    sleep(Duration::from_millis(10)).await;
    new.holds("OPT=1");
    assert!(trial.await.unwrap());
    assert_eq!(bench.told().await, ["published 3 REQ,OPT"]);
    assert_eq!(bench.values(), "REQ=3 OPT=1 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn a_kept_source_that_has_not_answered_yet_is_waited_for() {
    let (slow, new) = (Fake::remote("slow", "REQ=1 KEEP=1"), Fake::local("new", "OPT=1"));
    slow.hangs();
    let bench = Bench::of(&[&slow]).await;
    let broker = Arc::clone(&bench.broker);
    let both = plan("production", &[&slow, &new]);
    let trial = tokio::spawn(async move { broker.reload(both, || ()).await.is_ok() });
    sleep(Duration::from_secs(3)).await;
    assert!(!trial.is_finished());
    slow.holds("REQ=1 KEEP=1");
    assert!(trial.await.unwrap());
    bench.told().await;
    assert_eq!(bench.values(), "REQ=1 OPT=1 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn a_second_reload_takes_the_place_of_one_that_waits() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let (hangs, new) = (Fake::remote("hangs", ""), Fake::local("new", "OPT=1"));
    hangs.hangs();
    let bench = Bench::of(&[&source]).await;
    let broker = Arc::clone(&bench.broker);
    let first = plan("production", &[&source, &hangs]);
    let first = tokio::spawn(async move { broker.reload(first, || ()).await.map(|_| ()) });
    sleep(Duration::from_secs(1)).await;
    assert!(!first.is_finished());
    let ended = bench.broker.reload(plan("production", &[&source, &new]), || ()).await;
    assert_eq!(names(&ended.unwrap_or_else(|_| panic!("refused"))), ["hangs"]);
    let told = first.await.unwrap().unwrap_err();
    assert!(told.len() == 1 && told[0].message.contains("another reload"), "{told:?}");
    assert_eq!(bench.values(), "REQ=1 OPT=1 KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn a_new_schema_decides_what_becomes_of_held_values() {
    let source = Fake::remote("s", "REQ=1 KEEP=1 OPT=1");
    let bench = Bench::of(&[&source]).await;
    source.holds("REQ=1 KEEP=1");
    assert_eq!(bench.told().await, ["held OPT for a minute"]);
    assert!(bench.broker.reload(plan_of(&stricter(), "production", &[&source]), || ()).await.is_ok());
    assert_eq!(bench.told_after(Duration::from_mins(3)).await, [""; 0], "it is required now");
    assert_eq!(bench.values(), "REQ=1 OPT=1 KEEP=1");
    // And back: its minute is long over.
    assert!(bench.broker.reload(plan("production", &[&source]), || ()).await.is_ok());
    let told = bench.told_after(Duration::from_secs(2)).await;
    assert_eq!(told, ["given up OPT in time", "published 2 OPT"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_stays_so_until_the_new_plan_has_it() {
    let source = Fake::remote("s", "REQ=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    source.holds("KEEP=1");
    bench.told().await;
    assert_eq!(bench.forget("REQ"), "done test.2");
    bench.heard.take();
    assert!(bench.broker.reload(plan("production", &[&source]), || ()).await.is_ok());
    assert_eq!(bench.values(), "KEEP=1");
    let new = Fake::local("new", "REQ=2");
    assert!(bench.broker.reload(plan("production", &[&source, &new]), || ()).await.is_ok());
    assert_eq!(bench.heard.take(), ["published 3 REQ"]);
    new.holds("");
    assert_eq!(bench.told().await, ["rejected DLC001 3 holds"], "nobody gave up this one");
}
