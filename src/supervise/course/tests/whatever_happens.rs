//! Whatever happens in whatever order: one program at a time, nothing after the end, and
//! when all is quiet the newest runs.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Offer(u8),
    Pass(u32),
    Due,
    Die(u8),
    Healthy,
    Reloaded(bool),
    Signal(Signal),
    OurTurn,
}

fn act() -> impl Strategy<Value = Act> {
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1];
    prop_oneof![
        4 => (0..4_u8).prop_map(Act::Offer),
        2 => (0..40_000_u32).prop_map(Act::Pass),
        6 => Just(Act::Due),
        2 => (0..3_u8).prop_map(Act::Die),
        2 => Just(Act::Healthy),
        2 => any::<bool>().prop_map(Act::Reloaded),
        2 => Just(Act::OurTurn),
        1 => prop::sample::select(signals.to_vec()).prop_map(Act::Signal),
    ]
}

proptest! {
    #[test]
    fn it_holds(
        acts in prop::collection::vec(act(), 1..80),
        keep_alive: bool,
        proves: bool,
        reloads: bool,
        queues: bool,
        most in prop::option::of(0..3_u32),
    ) {
        let on_change = if reloads { OnChange::Signal(Signal::SIGHUP) } else { OnChange::Restart };
        let healthy = proves.then(answers);
        let mut course = Course::new(
            Terms { on_change, healthy, keep_alive, max_restarts: most, min_interval: SECOND, ..terms() },
            Box::new(|most| most / 2),
            queues,
            offer("A=0"),
            Instant::now(),
        );
        let mut now = Instant::now();
        // What runs, whether it is alive, what is newest, whether it is all over.
        let (mut runs, mut lives, mut newest, mut over) = (None, false, offer("A=0"), false);
        // What it was not told of, or did not work with, since something else was offered.
        let mut refused: Vec<Arc<Offer>> = Vec::new();
        let mut reloading: Option<Arc<Offer>> = None;
        let mut starts = 0;
        // Whether it is in the queue, and whether it is its turn.
        let (mut waits, mut has_turn) = (false, false);
        let quiet = [Act::OurTurn, Act::Due, Act::Reloaded(true), Act::Healthy].into_iter().cycle().take(80);
        for act in acts.into_iter().chain(quiet) {
            let input = match act {
                Act::Offer(value) => {
                    newest = offer(&format!("A={value}"));
                    if !refused.iter().any(|refused| refused.same_as(&newest)) {
                        refused.clear();
                    }
                    Input::Offered(Arc::clone(&newest))
                }
                Act::Pass(millis) => {
                    now += Duration::from_millis(millis.into());
                    Input::Due
                }
                Act::Due => {
                    now = course.due().map_or(now, |due| due.max(now));
                    Input::Due
                }
                Act::Die(code) if lives => {
                    lives = false;
                    ended(code)
                }
                Act::Healthy if lives && proves => Input::Healthy,
                Act::Reloaded(ok) if reloading.is_some() => {
                    let told = reloading.take();
                    if ok { runs = told } else { refused.extend(told) }
                    Input::Reloaded(if ok { Ok(()) } else { Err("no".into()) })
                }
                Act::Signal(signal) => Input::Signalled(signal),
                Act::OurTurn if waits => {
                    has_turn = true;
                    Input::OurTurn
                }
                Act::Die(_) | Act::Healthy | Act::Reloaded(_) | Act::OurTurn => continue,
            };
            let mut inputs = vec![input];
            while let Some(input) = inputs.pop() {
                for step in course.take(input, now) {
                    prop_assert!(!over, "something is done after the end: {step:?}");
                    match step {
                        Step::Start(offer) => {
                            prop_assert!(!lives, "two at once");
                            (runs, lives, reloading) = (Some(offer), true, None);
                            starts += 1;
                            inputs.push(Input::Started(1));
                        }
                        // A program that obeys, and takes all its own with it.
                        Step::Signal(Signal::SIGTERM) => {
                            if std::mem::take(&mut lives) {
                                inputs.insert(0, ended(0));
                            }
                            inputs.insert(0, Input::Gone);
                        }
                        Step::Reload(offer) => reloading = Some(offer),
                        Step::Queue => {
                            prop_assert!(queues && !waits && lives, "it asks for nothing");
                            waits = true;
                        }
                        Step::Leave => {
                            prop_assert!(waits, "it leaves no queue");
                            (waits, has_turn) = (false, false);
                        }
                        Step::Tell(Happening::Restarting(_)) if lives => {
                            prop_assert!(!queues || has_turn, "it restarts out of turn");
                        }
                        Step::Tell(Happening::PutBack { .. }) => refused.extend(reloading.take().or_else(|| runs.clone())),
                        Step::End(_) => over = true,
                        Step::Signal(_) | Step::Pass(_) | Step::Prove | Step::Tell(_) => {}
                    }
                }
            }
        }
        prop_assert!(!over || !waits, "it keeps its turn beyond its end");
        prop_assert!(starts <= 80 + 80, "{starts} starts");
        if !over {
            prop_assert!(!waits, "it keeps its turn although all is quiet");
            prop_assert!(lives, "nothing runs");
            let runs = runs.unwrap();
            let is_refused = refused.iter().any(|refused| refused.same_as(&newest));
            prop_assert!(runs.same_as(&newest) || is_refused, "{runs:?} runs, {newest:?} is newest");
        }
    }
}
