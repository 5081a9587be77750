//! Giving up a value that its source deleted.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_held_can_be_given_up_and_nothing_else() {
    let source = Fake::remote("s", "REQ=1 OPT=1 KEEP=1");
    let bench = Bench::of(&[&source]).await;
    for key in ["REQ", "OPT", "NUMBER", "UNKNOWN"] {
        assert_eq!(bench.forget(key), "not held");
    }
    source.holds("REQ=1");
    bench.told().await;
    assert_eq!((bench.forget("REQ"), bench.forget("NUMBER")), ("not held".into(), "not held".into()));
    assert_eq!(bench.forget("KEEP"), "done test.2");
    assert_eq!(bench.heard.take(), ["given up KEEP by request", "published 2 KEEP"]);
    assert_eq!((bench.values().as_str(), bench.state("KEEP")), ("REQ=1 OPT=1", VariableState::Missing));
    assert_eq!(bench.findings(), ["DLC001 warning"]);
    assert_eq!(bench.forget("KEEP"), "not held");
    // An optional one need not wait for its minute.
    assert_eq!(bench.forget("OPT"), "done test.3");
    assert_eq!(bench.values(), "REQ=1");
    bench.heard.take();
    // That it is missing stays accepted.
    source.holds("REQ=2");
    assert_eq!(bench.told_after(Duration::from_mins(5)).await, ["published 4 REQ"]);
}

#[tokio::test(start_paused = true)]
async fn what_would_break_something_else_is_refused() {
    for (before, after, key, refused) in [
        ("P1=1 P2=1", "P1=1", "P2", "refused DLC041"),
        ("MODE=strict EXTRA=1", "MODE=strict", "EXTRA", "refused DLC040"),
    ] {
        let source = Fake::remote("s", &format!("REQ=1 KEEP=1 {before}"));
        let bench = Bench::of(&[&source]).await;
        source.holds(&format!("REQ=1 KEEP=1 {after}"));
        assert_eq!(bench.told().await, [format!("held {key} for a minute")]);
        assert_eq!(bench.forget(key), refused);
        assert_eq!(bench.heard.take(), [""; 0]);
        assert_eq!((bench.generation(), bench.state(key)), (1, VariableState::Deleted), "nothing happened");
        // Both can be given up.
        source.holds("REQ=1 KEEP=1");
        bench.told_after(Duration::from_mins(2)).await;
        assert_eq!(bench.values(), "REQ=1 KEEP=1");
    }
}

#[tokio::test(start_paused = true)]
async fn the_waiver_ends_when_a_source_has_the_value_again() {
    let (one, two) = (Fake::remote("one", "REQ=1 KEEP=1"), Fake::local("two", ""));
    for back in [&one, &two] {
        one.holds("REQ=1 KEEP=1");
        two.holds("");
        let bench = Bench::of(&[&one, &two]).await;
        one.holds("KEEP=1");
        bench.told().await;
        assert_eq!(bench.forget("REQ"), "done test.2");
        bench.heard.take();
        back.holds("REQ=3 KEEP=1");
        assert_eq!(bench.told().await, ["published 3 REQ"]);
        // It is gone again: that nobody accepted.
        back.holds("KEEP=1");
        let expected =
            if Arc::ptr_eq(back, &one) { "held REQ until forgotten" } else { "rejected DLC001 3 holds" };
        assert_eq!(bench.told().await, [expected]);
        assert_eq!(bench.values(), "REQ=3 KEEP=1");
    }
}

#[tokio::test(start_paused = true)]
async fn what_another_source_has_needs_no_waiver() {
    let (low, high) = (Fake::local("low", "REQ=low KEEP=1"), Fake::remote("high", "REQ=high"));
    let bench = Bench::of(&[&low, &high]).await;
    high.holds("");
    assert_eq!(bench.told().await, ["held REQ until forgotten"]);
    assert_eq!(bench.forget("REQ"), "done test.2");
    assert_eq!(bench.values(), "REQ=low KEEP=1");
    bench.heard.take();
    low.holds("KEEP=1");
    assert_eq!(bench.told().await, ["rejected DLC001 2 holds"], "nobody gave up this one");
}

#[tokio::test(start_paused = true)]
async fn an_empty_value_does_not_end_the_waiver() {
    let source = Fake::remote("s", "REQ=1 KEEP=1 OPT=1");
    let bench = Bench::of(&[&source]).await;
    source.holds("KEEP=1 OPT=1");
    bench.told().await;
    assert_eq!(bench.forget("REQ"), "done test.2");
    bench.heard.take();
    source.fails();
    assert_eq!(bench.told().await, ["down s 1"]);
    source.holds("KEEP=1 OPT=2");
    assert_eq!(bench.told().await, ["up s", "published 3 OPT"]);
}

#[tokio::test(start_paused = true)]
async fn two_sources_that_deleted_it_give_it_up_together() {
    let (low, high) = (Fake::remote("low", "REQ=low KEEP=1"), Fake::remote("high", "REQ=high"));
    let bench = Bench::of(&[&low, &high]).await;
    low.holds("KEEP=1");
    high.holds("");
    bench.told().await;
    assert_eq!(bench.state("REQ"), VariableState::Deleted);
    assert_eq!(bench.forget("REQ"), "done test.2");
    assert_eq!(bench.values(), "KEEP=1");
}

#[tokio::test(start_paused = true)]
async fn forgetting_publishes_nothing_before_every_source_was_read() {
    let (one, slow) = (Fake::remote("one", "REQ=1 KEEP=1 OPT=1"), Fake::remote("slow", ""));
    slow.hangs();
    let bench = Bench::of(&[&one, &slow]).await;
    one.holds("REQ=1 KEEP=1");
    assert_eq!(bench.told().await, ["held OPT for a minute"]);
    bench.forget("OPT");
    assert!(bench.broker.version().is_none());
    slow.holds("");
    bench.told().await;
    assert_eq!((bench.values().as_str(), bench.generation()), ("REQ=1 KEEP=1", 1));
}
