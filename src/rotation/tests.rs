//! The rotator over a document in memory.

mod fragile;
mod memory;
mod model;
mod moves;
mod repairs;
mod rig;
mod shelf;
mod stand;

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use self::rig::Rig;
use self::shelf::Fault;
use self::stand::{OVERLAP, START, order};
use super::course::{Act, Wish};
use super::engine::{Tended, Terms};
use crate::model::rotation::{FIELD, Kid, Ledger, Progress, Slot};
use crate::model::schema::Strategy;
use crate::probe::Probed;

#[tokio::test(start_paused = true)]
async fn a_rotation_goes_its_way_as_its_consumers_keep_up() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one"), ("OTHER", "x")]);
    let ordered = rig.order(Wish::Rotate).await.unwrap();
    assert_eq!((&*ordered.act, ordered.number), ("staged", 1));
    assert!(ordered.plan[0].contains("writes KEY_NEXT"), "{ordered:?}");
    assert!(matches!(rig.tend().await, Tended::Waits(_)));
    let next = rig.field("KEY_NEXT").unwrap();
    rig.all_catch_up();
    assert_eq!(rig.tend().await, Tended::Did(Act::Activate));
    assert_eq!(rig.field("KEY"), Some(next.clone()));
    assert_eq!((rig.field("KEY_PREVIOUS").as_deref(), rig.field("KEY_NEXT")), (Some("one"), None));
    assert!(matches!(rig.tend().await, Tended::Waits(_)), "nobody uses it yet");
    rig.all_catch_up();
    assert_eq!(rig.tend().await, Tended::Did(Act::Settle));
    assert_eq!(rig.tend().await, Tended::Rests(Some(START + OVERLAP + 1)));
    let status = &rig.rotator.statuses()[0];
    assert_eq!((&*status.phase, status.retires_seconds), ("activated", Some(OVERLAP + 1)));
    rig.clock.pass(OVERLAP + 1);
    assert_eq!(rig.tend().await, Tended::Did(Act::Retire));
    assert_eq!((rig.field("KEY"), rig.field("KEY_PREVIOUS")), (Some(next), None));
    assert_eq!(rig.field("OTHER").as_deref(), Some("x"));
    assert_eq!(rig.told.words(), ["rotated staged", "rotated activated", "rotated retired"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_looked_for() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.shelf.fail(Fault::LostAfter);
    assert_eq!(rig.order(Wish::Rotate).await.unwrap().number, 1, "it was done");
    assert_eq!(rig.told.words(), ["rotated staged"]);
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.shelf.fail(Fault::LostBefore);
    let error = rig.order(Wish::Rotate).await.unwrap_err();
    assert_eq!(error.code, "unavailable");
    assert!(error.message.ends_with("nobody knows whether it was written"), "{error}");
    for _ in 0..3 {
        rig.shelf.fail(Fault::Conflict);
    }
    assert_eq!(rig.order(Wish::Rotate).await.unwrap().act, "staged", "conflicts are decided anew");
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    (0..9).for_each(|_| rig.shelf.fail(Fault::Conflict));
    assert_eq!(rig.order(Wish::Rotate).await.unwrap_err().code, "conflict");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_written_is_refused_with_a_word() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    let code = async |rig: &Rig| rig.order(Wish::Rotate).await.unwrap_err().code;
    rig.estate.change(|estate| estate.strays.push(("KEY_NEXT", "env:KEY_NEXT")));
    let error = rig.order(Wish::Rotate).await.unwrap_err();
    assert_eq!(error.code, "shadowed");
    assert!(error.message.contains("env:KEY_NEXT") && error.help.contains("KEY_NEXT"), "{error:?}");
    rig.estate.change(|estate| estate.strays.clear());
    rig.estate.change(|estate| estate.is_sealed_off = true);
    assert_eq!(code(&rig).await, "not-writable");
    rig.estate.change(|estate| estate.below.push("vault:secret/x#KEY@1"));
    let error = rig.order(Wish::Rotate).await.unwrap_err();
    assert_eq!(error.code, "shadowed");
    assert!(error.message.contains("vault:secret/x#KEY@1") && error.message.contains("shelf:"), "{error}");
    rig.estate.change(|estate| estate.is_sealed_off = false);
    rig.estate.change(|estate| estate.wrong.push("KEY is weak"));
    assert_eq!(code(&rig).await, "invalid");
    rig.estate.change(|estate| estate.wrong.clear());
    rig.leads.send_replace(false);
    assert_eq!(code(&rig).await, "not-leader");
    assert_eq!(rig.tend().await, Tended::Off);
    rig.leads.send_replace(true);
    rig.rotator.set_terms(Terms { enabled: false, windows: vec![] });
    assert_eq!(code(&rig).await, "off");
    rig.rotator.set_terms(Terms { enabled: true, windows: vec![] });
    rig.estate.change(|estate| estate.generate = None);
    assert_eq!(code(&rig).await, "no-recipe");
    let given = Some("mine".into());
    let error = rig.rotator.order(&rig.key, order(Wish::Rotate), given, false).await.unwrap_err();
    assert_eq!(error.code, "value-given");
    assert_eq!(rig.shelf.versions(), 1, "nothing was written");
}

#[tokio::test(start_paused = true)]
async fn a_supplied_value_is_probed_before_it_is_written() {
    let rig = Rig::new(Strategy::Supplied, &[("KEY", "one")]);
    let give = async |value: &str, wish| {
        rig.rotator.order(&rig.key, order(wish), Some(value.into()), false).await.map_err(|error| error.code)
    };
    assert_eq!(rig.order(Wish::Rotate).await.unwrap_err().code, "value-needed");
    assert_eq!(give("one", Wish::Rotate).await.unwrap_err(), "same");
    rig.prober.say(Probed::Wrong("invalid_client".into()));
    assert_eq!(give("two", Wish::Rotate).await.unwrap_err(), "probe");
    rig.prober.say(Probed::Unknown("it does not answer".into(), "try later".into()));
    assert_eq!(give("two", Wish::Rotate).await.unwrap_err(), "probe");
    assert_eq!(rig.shelf.versions(), 1);
    rig.prober.say(Probed::Works);
    give("two", Wish::Rotate).await.unwrap();
    assert_eq!(
        (rig.field("KEY").as_deref(), rig.field("DLCONF_KEPT_KEY").as_deref()),
        (Some("two"), Some("one"))
    );
    rig.prober.say(Probed::Wrong("it was ended".into()));
    assert_eq!(rig.order(Wish::Undo).await.unwrap_err().code, "probe", "the old one does not work any more");
    rig.prober.say(Probed::Works);
    rig.order(Wish::Undo).await.unwrap();
    assert_eq!((rig.field("KEY").as_deref(), rig.field("DLCONF_KEPT_KEY")), (Some("one"), None));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_writes_nothing_and_tells_the_plan() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    let ordered = rig.rotator.order(&rig.key, order(Wish::Rotate), None, true).await.unwrap();
    assert!(ordered.dry_run && ordered.plan.len() == 3, "{ordered:?}");
    assert_eq!((rig.shelf.versions(), rig.told.words().len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn clocks_that_disagree_begin_and_retire_nothing() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Settle).await;
    rig.clock.leap((OVERLAP + 1).cast_signed());
    assert_eq!(rig.tend().await, Tended::Rests(Some(START + OVERLAP + 1)), "a leap is not believed");
    assert!(rig.told.words().contains(&"clock doubted".to_owned()));
    rig.shelf.set_time(Some(UNIX_EPOCH + Duration::from_secs(START + 2 * OVERLAP)));
    let Tended::Stuck(why) = rig.tend().await else { panic!("a server says otherwise") };
    assert_eq!(why.code, "clock");
    assert!(rig.rotator.statuses()[0].trouble.is_some());
    rig.shelf.set_time(Some(UNIX_EPOCH + Duration::from_secs(START + OVERLAP + 1)));
    assert_eq!(rig.tend().await, Tended::Did(Act::Retire), "the server confirms it");
    let (ahead, rig) = (9_999, Rig::new(Strategy::Overlap, &[("KEY", "one")]));
    rig.shelf.set_time(Some(UNIX_EPOCH + Duration::from_secs(START + ahead)));
    assert_eq!(rig.order(Wish::Rotate).await.unwrap_err().code, "clock");
}

/// Somebody edits the state itself.
fn edit_state(rig: &Rig, edit: impl FnOnce(&mut Progress)) {
    let mut progress = rig.progress().unwrap();
    edit(&mut progress);
    rig.shelf.meddle(|fields| {
        let ledger = Ledger::parse(&fields[FIELD]).unwrap().with("KEY", progress);
        fields.insert(FIELD.to_owned(), ledger.to_text());
    });
}

#[tokio::test(start_paused = true)]
async fn a_state_of_the_future_retires_nothing() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Settle).await;
    edit_state(&rig, |progress| progress.clock = START + 9 * OVERLAP);
    for rotator in [Arc::clone(&rig.rotator), rig.another()] {
        let Tended::Stuck(why) = rotator.tend(&rig.key).await else { panic!("it is not that late") };
        assert_eq!(why.code, "clock");
    }
    assert_eq!(rig.field("KEY_PREVIOUS").as_deref(), Some("one"));
    // What leaked goes whatever the time is.
    rig.order(Wish::Compromised).await.unwrap();
    assert_eq!(rig.field("KEY_PREVIOUS"), None);
}

#[tokio::test(start_paused = true)]
async fn numbers_that_are_at_their_end_stay_there() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Stage).await;
    edit_state(&rig, |progress| (progress.writes, progress.count) = (u64::MAX, u64::MAX));
    rig.order(Wish::Undo).await.unwrap();
    assert_eq!(rig.order(Wish::Compromised).await.unwrap().number, u64::MAX);
}

#[tokio::test(start_paused = true)]
async fn a_supplied_value_that_leaked_is_not_taken_again() {
    let rig = Rig::new(Strategy::Supplied, &[("KEY", "one")]);
    let give = async |value: &str, wish| {
        rig.rotator.order(&rig.key, order(wish), Some(value.into()), false).await.map_err(|error| error.code)
    };
    give("two", Wish::Compromised).await.unwrap();
    assert_eq!(give("one", Wish::Compromised).await.unwrap_err(), "same");
    assert_eq!(give("one", Wish::Rotate).await.unwrap_err(), "same");
    assert_eq!(rig.field("KEY").as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_and_leaked_is_replaced_while_it_is_being_replaced() {
    let rig = Rig::new(Strategy::Dynamic, &[]);
    rig.order(Wish::Rotate).await.unwrap();
    assert_eq!(rig.order(Wish::Rotate).await.unwrap_err().code, "under-way");
    rig.order(Wish::Compromised).await.unwrap();
    assert_eq!(rig.shelf.lent(), (2, 2), "nothing is left of what was lent before");
}

#[tokio::test(start_paused = true)]
async fn what_is_due_begins_by_itself_and_what_rests_is_not_read() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Retire).await;
    let reads = rig.shelf.reads();
    let rotator = Arc::clone(&rig.rotator);
    let running = tokio::spawn(async move { rotator.run().await });
    let wait = async |seconds: u64| {
        for _ in 0..seconds.div_ceil(600) {
            rig.clock.pass(600);
            tokio::time::sleep(Duration::from_mins(10)).await;
        }
    };
    wait(20_000).await;
    assert_eq!(rig.shelf.reads() - reads, 1, "it is read once, and then rests");
    rig.estate.move_it();
    wait(600).await;
    assert_eq!(rig.shelf.reads() - reads, 2, "something moved");
    wait(100_000).await;
    assert!(rig.field("KEY_NEXT").is_some(), "it was due");
    rig.all_catch_up();
    rig.hearing.moved.notify_one();
    wait(600).await;
    assert!(rig.field("KEY_PREVIOUS").is_some(), "they said so");
    rig.shelf.set_down(true);
    rig.estate.move_it();
    wait(1_200).await;
    let words = rig.told.words();
    assert_eq!(
        words.iter().filter(|word| *word == "failed").count(),
        1,
        "told once: {words:?} {:?}",
        rig.rotator.statuses()
    );
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_kid_says_nothing_of_a_key_and_a_status_has_no_value() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Activate).await;
    let text = format!("{:?}", rig.rotator.statuses());
    for field in ["KEY", "KEY_PREVIOUS"] {
        assert!(!text.contains(&format!("\"{}\"", rig.field(field).unwrap())), "{text}");
    }
    let kids = &rig.rotator.statuses()[0].kids;
    assert_eq!(kids.get(&String::from(Slot::Previous)).map(String::as_str), Some(Kid::initial().as_str()));
}
