//! One at a time: a change waits for our turn, which is kept until the program works.

use super::*;

const RESTARTING: &str = "restarting: A, runs no more, all TERM, all CONT";

/// One that works with `A=1`, and whose restarts wait.
fn works(terms: Terms) -> Story {
    let mut story = Story::queues(true, Terms { healthy: Some(answers()), ..terms }, "A=1");
    assert_eq!(story.waits(), "0ns: start A=1, prove");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=1");
    story
}

/// The same, with `A=2` being proven in its turn.
fn restarted(terms: Terms) -> Story {
    let mut story = works(terms);
    story.offers("A=2");
    assert!(story.waits().ends_with(": queue"));
    story.takes(Input::OurTurn);
    assert!(story.waits().ends_with(RESTARTING));
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=2, prove");
    story
}

#[test]
fn a_change_waits_for_its_turn_and_the_turn_for_the_proof() {
    let mut story = works(terms());
    assert_eq!(story.offers("A=2"), "");
    assert_eq!(story.waits(), "0ns: queue");
    assert!(story.rests(), "the old program goes on");
    story.passes(3600 * SECOND);
    assert_eq!(story.takes(Input::OurTurn), "");
    assert_eq!(story.waits(), format!("3600s: {RESTARTING}"));
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=2, prove");
    story.passes(59 * SECOND);
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=2, leave");
    assert!(story.rests());
}

#[test]
fn the_newest_of_what_waited_is_started() {
    let mut story = works(Terms { splay: 4 * SECOND, ..terms() });
    story.offers("A=2");
    assert_eq!(story.waits(), "4s: queue");
    story.offers("A=3");
    assert_eq!(story.takes(Input::OurTurn), "");
    assert_eq!(story.waits(), format!("4s: {RESTARTING}"));
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=3, prove");
}

#[test]
fn who_has_what_it_is_to_have_again_leaves_the_queue() {
    let mut story = works(terms());
    story.offers("A=2");
    story.waits();
    assert_eq!(story.offers("A=1"), "ChangedBack, leave, runs A=1");
    // It was our turn just now.
    assert_eq!(story.takes(Input::OurTurn), "");
    assert!(story.rests());
    // The same with the turn already, that waits for the interval.
    let mut story = works(Terms { min_interval: 10 * SECOND, ..terms() });
    story.offers("A=2");
    assert_eq!(story.waits(), "10s: queue");
    story.takes(Input::OurTurn);
    assert_eq!(story.offers("A=1"), "ChangedBack, leave, runs A=1");
    assert!(story.rests());
}

#[test]
fn the_first_start_and_one_after_a_death_wait_for_nobody() {
    let mut story = works(Terms { keep_alive: true, ..terms() });
    assert_eq!(story.takes(ended(1)), "runs no more, died 1, again in 750ms, all TERM, all CONT");
    story.takes(Input::Gone);
    assert_eq!(story.waits(), "750ms: start A=1, prove");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=1");
}

#[test]
fn who_dies_in_the_queue_is_started_with_what_waited() {
    for comes in [false, true] {
        let mut story = works(Terms { keep_alive: true, ..terms() });
        story.offers("A=2");
        story.waits();
        story.takes(ended(1));
        story.takes(Input::Gone);
        // It stays in the queue, so that the others wait for it if they can.
        if comes {
            assert_eq!(story.takes(Input::OurTurn), "");
        }
        assert_eq!(story.waits(), "750ms: start A=2, prove");
        assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=2, leave");
        assert!(story.rests());
    }
}

#[test]
fn putting_back_is_the_same_turn() {
    let mut story = restarted(terms());
    assert!(story.waits().starts_with("60s: put back: A InTime(60s)"));
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back true, runs A=1, leave");
    // What was refused asks for no turn.
    assert_eq!(story.offers("A=2"), "");
    assert!(story.rests());
}

#[test]
fn who_does_not_work_holds_the_others_up() {
    let mut story = restarted(terms());
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    assert_eq!(story.waits(), "120s: not healthy, put back true, HoldsUp");
    assert!(story.rests());
    // Something newer may mend it, in the same turn.
    story.offers("A=3");
    assert_eq!(story.waits(), format!("120s: {RESTARTING}"));
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=3, prove");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=3, leave");
}

#[test]
fn who_works_late_lets_the_others_go() {
    let mut story = restarted(terms());
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    story.waits();
    story.passes(3600 * SECOND);
    assert_eq!(story.takes(Input::Healthy), "healthy, put back true, runs A=1, leave");
}

#[test]
fn what_comes_after_the_proof_waits_anew() {
    let mut story = restarted(Terms { min_interval: 10 * SECOND, ..terms() });
    story.offers("A=3");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=2, leave");
    assert_eq!(story.waits(), "20s: queue");
}

#[test]
fn an_end_leaves_at_once() {
    let told = Input::Signalled(Signal::SIGTERM);
    let mut story = works(terms());
    story.offers("A=2");
    story.waits();
    assert_eq!(story.takes(told), "all TERM, all CONT, leave");
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "end 0");
    // In the middle of a restart.
    let mut story = works(terms());
    story.offers("A=2");
    story.waits();
    story.takes(Input::OurTurn);
    story.waits();
    assert_eq!(story.takes(Input::Signalled(Signal::SIGTERM)), "leave");
    // By itself.
    let mut story = restarted(terms());
    story.takes(Input::Healthy);
    story.offers("A=3");
    story.waits();
    assert_eq!(story.takes(ended(3)), "runs no more, leave, end 3");
}

#[test]
fn without_a_proof_the_turn_ends_with_the_start() {
    let mut story = Story::queues(true, terms(), "A=1");
    story.waits();
    story.offers("A=2");
    assert_eq!(story.waits(), "0ns: queue");
    story.takes(Input::OurTurn);
    story.waits();
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=2, runs A=2, leave");
}
