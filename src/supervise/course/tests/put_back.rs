//! What is proven, and what is put back: once, and on what worked.

use super::*;

#[test]
fn what_does_not_become_healthy_is_put_back_once() {
    let mut story = Story::running(Terms { healthy: Some(answers()), ..terms() }, "A=1");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=1");
    story.passes(SECOND);
    story.offers("A=2");
    assert_eq!(story.waits(), "1s: restarting: A, runs no more, all TERM, all CONT");
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=2, prove");
    assert_eq!(story.waits(), "61s: put back: A InTime(60s), runs no more, all TERM, all CONT");
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
    // The same that did not work is not tried again, whoever repeats it.
    assert_eq!(story.offers("A=2"), "");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back true, runs A=1");
    assert_eq!(story.offers("A=2"), "");
    assert!(story.rests());
    // Something else is.
    story.offers("A=3");
    assert!(story.waits().starts_with("61s: restarting: A"));
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=3, prove");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=3");
}

#[test]
fn what_ends_with_new_values_is_put_back_and_not_for_ever() {
    for keep_alive in [false, true] {
        let mut story = Story::running(Terms { healthy: Some(answers()), keep_alive, ..terms() }, "A=1");
        story.takes(Input::Healthy);
        story.offers("A=2");
        story.waits();
        story.takes(ended(0));
        story.takes(Input::Gone);
        assert_eq!(story.takes(ended(4)), "runs no more, put back: A Ended(4), all TERM, all CONT");
        assert_eq!(story.takes(Input::Gone), "start A=1, prove");
        let then = story.takes(ended(4));
        assert_eq!(then.contains("end 4"), !keep_alive, "{then}");
        assert_eq!(then.contains("again in"), keep_alive, "{then}");
    }
}

#[test]
fn the_first_start_has_nothing_to_be_put_back_on() {
    let mut story = Story::running(Terms { healthy: Some(answers()), ..terms() }, "A=1");
    assert_eq!(story.waits(), "60s: not healthy, put back false");
    assert!(story.rests());
    // It was slow: it counts all the same.
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=1");
}

#[test]
fn what_never_worked_is_not_what_is_gone_back_to() {
    let mut story = Story::running(Terms { healthy: Some(answers()), ..terms() }, "A=1");
    story.takes(Input::Healthy);
    story.offers("A=2");
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    // Before the second is judged, a third is there.
    story.offers("A=3");
    story.waits();
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=3, prove");
    story.takes(ended(1));
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
}

#[test]
fn something_newer_takes_the_place_of_what_it_is_put_back_on() {
    let mut story = Story::running(Terms { healthy: Some(answers()), ..terms() }, "A=1");
    story.takes(Input::Healthy);
    story.offers("A=2");
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    story.takes(ended(1));
    story.offers("A=3");
    assert_eq!(story.takes(Input::Gone), "start A=3, prove");
    // And is put back on the same, since nothing else ever worked.
    assert!(story.takes(ended(1)).contains("put back: A"));
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
}

#[test]
fn who_has_only_to_live_is_never_too_late() {
    let healthy = Some(Health::Lives(90 * SECOND));
    let mut story = Story::running(Terms { healthy, ..terms() }, "A=1");
    assert!(story.rests());
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=1");
}

#[test]
fn time_in_which_it_stood_still_is_not_held_against_it() {
    let mut story = Story::running(Terms { healthy: Some(answers()), ..terms() }, "A=1");
    story.passes(1000 * SECOND);
    story.takes(Input::Suspended(1000 * SECOND));
    assert_eq!(story.waits(), "1060s: not healthy, put back false");
}

#[test]
fn what_is_unhealthy_after_a_reload_is_started_with_what_it_had() {
    let healthy = Some(answers());
    let on_change = OnChange::Signal(Signal::SIGHUP);
    let mut story = Story::running(Terms { on_change, healthy, ..terms() }, "A=1");
    story.takes(Input::Healthy);
    story.offers("A=2");
    story.waits();
    assert_eq!(story.takes(Input::Reloaded(Ok(()))), "prove");
    assert_eq!(story.waits(), "60s: put back: A InTime(60s), runs no more, all TERM, all CONT");
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
}

#[test]
fn what_it_is_put_back_on_may_be_offered_again() {
    let mut story = Story::running(Terms { healthy: Some(answers()), ..terms() }, "A=1");
    story.takes(Input::Healthy);
    story.offers("A=2");
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    story.takes(ended(1));
    story.offers("A=1");
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
    // It was put back once.
    assert_eq!(story.takes(ended(1)), "runs no more, end 1");
}
