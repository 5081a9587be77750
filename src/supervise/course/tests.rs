//! What a supervisor decides, told as stories: what happens, when, and what is done.

mod in_turn;
mod put_back;
mod whatever_happens;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::key::Key;
use crate::process::Place;
use crate::supervise::{Backoff, Deliver, Difference};

const SECOND: Duration = Duration::from_secs(1);

/// A course with a clock of its own.
struct Story {
    course: Course,
    begin: Instant,
    now: Instant,
    pid: i32,
}

fn terms() -> Terms {
    Terms {
        on_change: OnChange::Restart,
        stop_signal: Signal::SIGTERM,
        kill_timeout: 30 * SECOND,
        splay: Duration::ZERO,
        min_interval: Duration::ZERO,
        keep_alive: false,
        backoff: Backoff { first: SECOND, most: 10 * SECOND },
        max_restarts: None,
        healthy: None,
        healthy_timeout: 60 * SECOND,
        place: Place::Group,
        deliver: Deliver::Environment,
    }
}

fn answers() -> Health {
    Health::Answers("http://127.0.0.1:1/".parse().unwrap())
}

/// Variables as `A=1 B=2`; the version is their text.
fn offer(text: &str) -> Arc<Offer> {
    let variables: BTreeMap<Key, _> = text
        .split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (Key::new(key).unwrap(), Arc::new(value.into())))
        .collect();
    let known: BTreeSet<Key> = ["A", "B", "C"].map(|key| Key::new(key).unwrap()).into();
    Arc::new(Offer { version: Some(text.replace(' ', "+").into()), variables, known: Arc::new(known) })
}

fn ended(code: u8) -> Input {
    Input::Ended(Ended { code, signal: None })
}

fn died_of(signal: Signal) -> Input {
    Input::Ended(Ended::of(signal))
}

impl Story {
    fn new(terms: Terms, first: &str) -> Self {
        Self::queues(false, terms, first)
    }

    fn queues(queues: bool, terms: Terms, first: &str) -> Self {
        let now = Instant::now();
        // The longest of all random times.
        let course = Course::new(terms, Box::new(|most| most), queues, offer(first), now);
        Self { course, begin: now, now, pid: 0 }
    }

    /// One that runs already.
    fn running(terms: Terms, first: &str) -> Self {
        let mut story = Self::new(terms, first);
        story.takes(Input::Due);
        story
    }

    /// What is done about it, in a line; programs start at once.
    fn takes(&mut self, input: Input) -> String {
        let mut told = Vec::new();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for step in self.course.take(input, self.now) {
                told.push(match step {
                    Step::Start(offer) => {
                        self.pid += 1;
                        inputs.push(Input::Started(self.pid));
                        format!("start {}", offer.version.as_deref().unwrap_or("?"))
                    }
                    Step::Signal(signal) => format!("all {}", &signal.as_str()[3..]),
                    Step::Pass(signal) => format!("pass {}", &signal.as_str()[3..]),
                    Step::Reload(offer) => format!("reload {}", offer.version.as_deref().unwrap_or("?")),
                    Step::Prove => "prove".to_owned(),
                    Step::Queue => "queue".to_owned(),
                    Step::Leave => "leave".to_owned(),
                    Step::End(ended) => format!("end {}", ended.code),
                    Step::Tell(Happening::Runs { version }) => format!("runs {}", version.unwrap()),
                    Step::Tell(Happening::Started { .. }) => continue,
                    Step::Tell(Happening::RunsNoMore) => "runs no more".to_owned(),
                    Step::Tell(Happening::Restarting(difference)) => {
                        format!("restarting: {}", names(&difference))
                    }
                    Step::Tell(Happening::Reloading(difference)) => {
                        format!("reloading: {}", names(&difference))
                    }
                    Step::Tell(Happening::GoesOn(difference)) => format!("goes on: {}", names(&difference)),
                    Step::Tell(Happening::PutBack { from, why, .. }) => {
                        format!("put back: {} {why:?}", names(&from))
                    }
                    Step::Tell(Happening::Died { code, again_in }) => {
                        format!("died {code}, again in {again_in:?}")
                    }
                    Step::Tell(Happening::NotHealthy { put_back, .. }) => {
                        format!("not healthy, put back {put_back}")
                    }
                    Step::Tell(Happening::Healthy { put_back }) => format!("healthy, put back {put_back}"),
                    Step::Tell(Happening::Killed { .. }) => "kills".to_owned(),
                    Step::Tell(Happening::GivenUp { restarts, .. }) => format!("given up after {restarts}"),
                    Step::Tell(other) => format!("{other:?}"),
                });
            }
        }
        told.join(", ")
    }

    fn offers(&mut self, text: &str) -> String {
        self.takes(Input::Offered(offer(text)))
    }

    /// Waits until something is due, and how long that took since the beginning.
    fn waits(&mut self) -> String {
        self.now = self.course.due().expect("nothing is due").max(self.now);
        let at = self.now.duration_since(self.begin);
        format!("{at:?}: {}", self.takes(Input::Due))
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    fn rests(&self) -> bool {
        self.course.due().is_none()
    }
}

fn names(difference: &Difference) -> String {
    let named = |sign: &str, keys: &[Key]| keys.iter().map(|key| format!("{sign}{key}")).collect::<Vec<_>>();
    [named("", &difference.changed), named("+", &difference.added), named("-", &difference.removed)]
        .concat()
        .join(" ")
}

#[test]
fn a_program_is_started_and_its_end_is_ours() {
    let mut story = Story::new(terms(), "A=1");
    assert_eq!(story.waits(), "0ns: start A=1, runs A=1");
    assert!(story.rests());
    assert_eq!(story.takes(ended(5)), "runs no more, end 5");
    assert!(story.rests());
}

#[test]
fn the_same_again_is_no_change() {
    let mut story = Story::running(terms(), "A=1 B=2");
    assert_eq!(story.offers("A=1 B=2"), "runs A=1+B=2");
    assert!(story.rests());
}

#[test]
fn a_change_is_one_restart_when_all_of_the_old_is_gone() {
    let mut story = Story::running(terms(), "A=1 B=2");
    assert_eq!(story.offers("A=2 C=3"), "");
    assert_eq!(story.waits(), "0ns: restarting: A +C -B, runs no more, all TERM, all CONT");
    // Its children still end.
    assert_eq!(story.takes(ended(0)), "");
    assert_eq!(story.takes(Input::Gone), "start A=2+C=3, runs A=2+C=3");
    assert_eq!(story.takes(Input::Gone), "");
    assert!(story.rests());
}

#[test]
fn what_comes_while_it_stops_is_started_at_once() {
    let mut story = Story::running(terms(), "A=1");
    story.offers("A=2");
    story.waits();
    assert_eq!(story.offers("A=3"), "");
    assert_eq!(story.offers("A=4"), "");
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=4, runs A=4");
    assert!(story.rests());
}

#[test]
fn changes_are_gathered_over_the_interval_and_the_splay() {
    let mut story = Story::running(Terms { min_interval: 10 * SECOND, splay: 4 * SECOND, ..terms() }, "A=1");
    story.passes(SECOND);
    story.offers("A=2");
    story.passes(SECOND);
    story.offers("A=3");
    assert_eq!(story.waits(), "10s: restarting: A, runs no more, all TERM, all CONT");
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=3, runs A=3");
    story.passes(20 * SECOND);
    story.offers("A=4");
    assert_eq!(story.waits(), "34s: restarting: A, runs no more, all TERM, all CONT");
}

#[test]
fn what_changed_back_in_time_changes_nothing() {
    let mut story = Story::running(Terms { splay: 4 * SECOND, ..terms() }, "A=1");
    story.offers("A=2");
    assert_eq!(story.offers("A=1"), "ChangedBack, runs A=1");
    assert!(story.rests());
}

#[test]
fn what_does_not_end_is_killed_and_what_cannot_be_killed_is_left() {
    let mut story = Story::running(terms(), "A=1");
    story.offers("A=2");
    story.waits();
    assert_eq!(story.waits(), "30s: kills, all KILL");
    assert_eq!(story.waits(), "35s: LeftBehind, start A=2, runs A=2");
}

#[test]
fn a_stop_waits_for_all_and_ends_with_the_programs_code() {
    let mut story = Story::running(terms(), "A=1");
    assert_eq!(story.takes(Input::Signalled(Signal::SIGTERM)), "all TERM, all CONT");
    assert_eq!(story.takes(ended(7)), "");
    assert_eq!(story.waits(), "30s: kills, all KILL");
    assert_eq!(story.takes(Input::Gone), "end 7");
}

#[test]
fn a_second_stop_is_passed_on_and_prolongs_nothing() {
    let mut story = Story::running(Terms { stop_signal: Signal::SIGQUIT, ..terms() }, "A=1");
    assert_eq!(story.takes(Input::Signalled(Signal::SIGTERM)), "all QUIT, all CONT");
    story.passes(20 * SECOND);
    assert_eq!(story.takes(Input::Signalled(Signal::SIGTERM)), "all QUIT");
    assert_eq!(story.waits(), "30s: kills, all KILL");
    assert_eq!(story.takes(died_of(Signal::SIGKILL)), "");
    assert_eq!(story.takes(Input::Gone), "end 137");
}

#[test]
fn a_stop_during_a_restart_starts_nothing() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let mut story = Story::running(terms(), "A=1");
        story.offers("A=2");
        story.waits();
        let passed = story.takes(Input::Signalled(signal));
        assert_eq!(
            passed,
            if signal == Signal::SIGTERM { String::new() } else { format!("pass {}", &signal.as_str()[3..]) }
        );
        story.takes(ended(0));
        assert_eq!(story.takes(Input::Gone), "end 0");
    }
}

#[test]
fn a_stop_of_what_does_not_run_ends_at_once() {
    let mut story = Story::new(terms(), "A=1");
    assert_eq!(story.takes(Input::Signalled(Signal::SIGUSR1)), "");
    assert_eq!(story.takes(Input::Signalled(Signal::SIGTERM)), "end 143");
    assert_eq!(story.takes(Input::Signalled(Signal::SIGTERM)), "");
    assert_eq!(story.offers("A=2"), "");
    assert!(story.rests());
}

#[test]
fn other_signals_pass_on_and_change_nothing() {
    let mut story = Story::running(terms(), "A=1");
    for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGINT, Signal::SIGWINCH, Signal::SIGCONT] {
        assert_eq!(story.takes(Input::Signalled(signal)), format!("pass {}", &signal.as_str()[3..]));
    }
    assert!(story.rests());
}

#[test]
fn a_program_that_dies_again_and_again_comes_back_later_and_later() {
    let mut story = Story::running(Terms { keep_alive: true, ..terms() }, "A=1");
    // The random part is a quarter at most, and here it is all of it.
    for (again, at) in
        [("750ms", "750ms"), ("1.5s", "2.25s"), ("3s", "5.25s"), ("6s", "11.25s"), ("7.5s", "18.75s")]
    {
        assert_eq!(
            story.takes(ended(3)),
            format!("runs no more, died 3, again in {again}, all TERM, all CONT")
        );
        assert_eq!(story.takes(Input::Gone), "");
        assert_eq!(story.waits(), format!("{at}: start A=1, runs A=1"));
    }
    // It lived for longer than the longest pause: the row is over.
    story.passes(11 * SECOND);
    assert!(story.takes(ended(3)).contains("again in 750ms"));
}

#[test]
fn what_died_is_started_at_once_with_what_may_mend_it() {
    let mut story = Story::running(Terms { keep_alive: true, ..terms() }, "A=1");
    story.takes(ended(1));
    story.takes(Input::Gone);
    assert_eq!(story.offers("A=1"), "");
    assert!(!story.rests());
    story.offers("A=2");
    assert_eq!(story.waits(), "0ns: start A=2, runs A=2");
}

#[test]
fn a_row_of_deaths_has_an_end() {
    let mut story = Story::running(Terms { keep_alive: true, max_restarts: Some(1), ..terms() }, "A=1");
    story.takes(ended(1));
    story.takes(Input::Gone);
    story.waits();
    assert_eq!(story.takes(ended(9)), "runs no more, given up after 1, end 9");
}

#[test]
fn who_asks_for_an_end_gets_one_although_it_is_kept_alive() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        let mut story = Story::running(Terms { keep_alive: true, ..terms() }, "A=1");
        story.takes(Input::Signalled(signal));
        story.passes(SECOND);
        assert_eq!(story.takes(ended(2)), "runs no more, end 2", "{signal}");
        // It took no notice, and died much later of something else.
        let mut story = Story::running(Terms { keep_alive: true, ..terms() }, "A=1");
        story.takes(Input::Signalled(signal));
        story.passes(31 * SECOND);
        assert!(story.takes(ended(2)).contains("again"), "{signal}");
    }
    // The terminal told the program alone.
    let mut story = Story::running(Terms { keep_alive: true, ..terms() }, "A=1");
    assert_eq!(story.takes(died_of(Signal::SIGINT)), "runs no more, end 130");
}

#[test]
fn what_it_was_put_back_from_is_not_kept_when_there_is_something_newer() {
    let healthy = Some(answers());
    let mut story = Story::running(Terms { healthy, ..terms() }, "A=1");
    story.takes(Input::Healthy);
    let refused = offer("A=2");
    story.takes(Input::Offered(Arc::clone(&refused)));
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    assert!(story.waits().contains("put back: A"));
    story.takes(ended(0));
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
    assert_eq!(Arc::strong_count(&refused), 2, "it is not to be tried again");
    story.course.passed_over();
    assert_eq!(Arc::strong_count(&refused), 1);
}

#[test]
fn something_newer_that_waits_is_tried_before_it_is_put_back() {
    let mut story = Story::running(Terms { healthy: Some(answers()), ..terms() }, "A=1");
    story.takes(Input::Healthy);
    story.offers("A=2");
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    story.offers("A=3");
    assert_eq!(story.takes(ended(1)), "runs no more, restarting: A, all TERM, all CONT");
    assert_eq!(story.takes(Input::Gone), "start A=3, prove");
    assert!(story.takes(ended(1)).contains("put back: A"));
    assert_eq!(story.takes(Input::Gone), "start A=1, prove");
}

#[test]
fn a_signal_or_a_command_leaves_the_program_running() {
    for on_change in [OnChange::Signal(Signal::SIGHUP), OnChange::Exec(vec!["true".into()])] {
        let deliver = Deliver::File(crate::delivery::encode::Format::Dotenv);
        let mut story = Story::running(Terms { on_change, deliver, ..terms() }, "A=1");
        story.offers("A=2");
        assert_eq!(story.waits(), "0ns: reloading: A, reload A=2");
        // What comes meanwhile waits for its end.
        story.offers("A=3");
        assert!(story.rests());
        assert_eq!(story.takes(Input::Reloaded(Ok(()))), "runs A=2");
        assert_eq!(story.waits(), "0ns: reloading: A, reload A=3");
        assert_eq!(story.takes(Input::Reloaded(Ok(()))), "runs A=3");
        assert!(story.rests());
    }
}

#[test]
fn a_signal_hands_over_nothing_where_values_are_in_the_environment() {
    for healthy in [None, Some(answers())] {
        let on_change = OnChange::Signal(Signal::SIGHUP);
        let mut story = Story::running(Terms { on_change, healthy, keep_alive: true, ..terms() }, "A=1");
        story.takes(Input::Healthy);
        story.offers("A=2");
        assert_eq!(story.waits(), "0ns: reloading: A, reload A=2");
        story.takes(Input::Reloaded(Ok(())));
        // It is not said to run what it cannot have.
        assert!(!story.takes(Input::Healthy).contains("runs"));
        assert_eq!(story.offers("A=2"), "");
        // Until it was started with it.
        story.takes(ended(1));
        story.takes(Input::Gone);
        assert!(story.waits().contains("start A=2"));
        story.takes(Input::Healthy);
        assert_eq!(story.offers("A=2"), "runs A=2");
    }
}

#[test]
fn a_reload_that_fails_is_told_and_not_repeated_with_the_same() {
    let mut story =
        Story::running(Terms { on_change: OnChange::Exec(vec!["false".into()]), ..terms() }, "A=1");
    story.offers("A=2");
    story.waits();
    assert_eq!(
        story.takes(Input::Reloaded(Err("it ended with 1".into()))),
        "ReloadFailed { why: \"it ended with 1\" }"
    );
    assert_eq!(story.offers("A=2"), "");
    assert!(story.rests());
    story.offers("A=3");
    assert!(story.waits().contains("reload A=3"));
}

#[test]
fn while_it_is_being_told_nothing_is_due_and_what_it_showed_is_asked_again() {
    let on_change = OnChange::Exec(vec!["tell".into()]);
    let mut story = Story::running(Terms { on_change, healthy: Some(answers()), ..terms() }, "A=1");
    story.takes(Input::Offered(offer("A=2")));
    assert_eq!(story.waits(), "0ns: reloading: A, reload A=2");
    story.takes(Input::Offered(offer("A=3")));
    assert!(story.rests(), "that is the command's time");
    story.takes(Input::Offered(offer("A=2")));
    story.now += 90 * SECOND;
    assert_eq!(story.takes(Input::Due), "");
    // It works with A=1, but that was not the question.
    assert_eq!(story.takes(Input::Healthy), "");
    let told = story.takes(Input::Reloaded(Err("it ended with 1".into())));
    assert!(told.ends_with(", prove"), "{told}");
    assert_eq!(story.takes(Input::Healthy), "healthy, put back false, runs A=1");
}

#[test]
fn a_stop_that_was_asked_of_one_program_is_not_asked_of_the_next() {
    let mut story = Story::running(Terms { keep_alive: true, ..terms() }, "A=1");
    assert_eq!(story.takes(Input::Signalled(Signal::SIGHUP)), "pass HUP");
    story.takes(Input::Offered(offer("A=2")));
    story.waits();
    story.takes(ended(0));
    story.takes(Input::Gone);
    let told = story.takes(ended(3));
    assert!(told.contains("died 3"), "{told}");
}

#[test]
fn while_it_is_told_of_something_newer_it_is_not_judged() {
    for told in [Ok(()), Err("no".to_owned())] {
        let on_change = OnChange::Exec(vec!["slow".into()]);
        let mut story = Story::running(Terms { on_change, healthy: Some(answers()), ..terms() }, "A=1");
        story.takes(Input::Healthy);
        story.offers("A=2");
        story.waits();
        story.takes(Input::Reloaded(Ok(())));
        story.offers("A=3");
        assert_eq!(story.waits(), "0ns: reloading: A, reload A=3");
        // The time of the second is over, and what it shows may be of the third.
        assert!(story.rests());
        story.passes(90 * SECOND);
        assert_eq!(story.takes(Input::Due), "");
        assert_eq!(story.takes(Input::Healthy), "");
        let is_told = told.is_ok();
        assert!(story.takes(Input::Reloaded(told)).ends_with("prove"));
        let runs = if is_told { "A=3" } else { "A=2" };
        assert_eq!(story.takes(Input::Healthy), format!("healthy, put back false, runs {runs}"));
    }
}

#[test]
fn it_goes_on_where_a_change_does_nothing() {
    let mut story = Story::running(Terms { on_change: OnChange::None, ..terms() }, "A=1");
    story.offers("A=2");
    assert_eq!(story.waits(), "0ns: goes on: A");
    assert!(story.rests());
    // It does not run what is offered, and what it runs is not kept here.
    assert_eq!(story.offers("A=2"), "");
    story.offers("A=2 B=1");
    assert_eq!(story.waits(), "0ns: goes on: +B");
}

#[test]
fn a_program_that_cannot_be_started_again_is_put_back_or_ends_us() {
    let mut story = Story::running(terms(), "A=1");
    story.offers("A=2");
    story.waits();
    story.takes(ended(0));
    let steps = story.course.take(Input::Gone, story.now);
    assert!(matches!(steps[..], [Step::Start(_)]));
    let told = story.takes(Input::NotStarted(127, "not found".into()));
    assert_eq!(told, "NotStarted { why: \"not found\", again_in: None }, end 127");
}

#[test]
fn a_start_that_fails_for_our_own_reasons_is_tried_again() {
    let mut story = Story::running(terms(), "A=1");
    story.offers("A=2");
    story.waits();
    story.takes(ended(0));
    for (again, at) in [("750ms", "750ms"), ("1.5s", "2.25s")] {
        let steps = story.course.take(Input::Gone, story.now);
        let steps = if steps.is_empty() { story.course.take(Input::Due, story.now) } else { steps };
        assert!(matches!(steps[..], [Step::Start(_)]), "{steps:?}");
        let told = story.takes(Input::NotStarted(125, "no room".into()));
        assert_eq!(told, format!("NotStarted {{ why: \"no room\", again_in: Some({again}) }}"));
        story.now = story.course.due().unwrap();
        assert_eq!(format!("{:?}", story.now - story.begin), at);
    }
    assert_eq!(story.takes(Input::Due), "start A=2, runs A=2");
}

#[test]
fn an_end_by_a_signal_that_nobody_sent_for_it_is_told() {
    for (on_change, by_ours) in [(OnChange::Restart, false), (OnChange::Signal(Signal::SIGHUP), true)] {
        let mut story = Story::running(Terms { on_change, ..terms() }, "A=1");
        let told = story.takes(died_of(Signal::SIGHUP));
        let expected = format!("runs no more, EndedBySignal {{ code: 129, by_ours: {by_ours} }}, end 129");
        assert_eq!(told, expected);
    }
}
