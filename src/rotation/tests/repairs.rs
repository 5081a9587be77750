//! What somebody else's write did, and what becomes of it: with what the rotator
//! remembers, and by another one that has seen nothing.

use super::rig::Rig;
use super::shelf::Fields;
use super::stand::order;
use crate::model::rotation::{FIELD, Phase};
use crate::model::schema::Strategy;
use crate::rotation::course::{Act, Wish};
use crate::rotation::engine::Tended;

/// A document as far as `until`, somebody's write, and how it is afterwards: which old
/// values are in which fields. `one` is the first key, `two` the second, `hand` what was
/// put there by hand.
async fn check(
    strategy: Strategy,
    until: Act,
    meddle: fn(&mut Fields),
    expected: &[(&str, &str)],
    phase: Phase,
) {
    for remembers in [true, false] {
        let rig = Rig::new(strategy, &[("KEY", "one")]);
        rig.rotate_until(until).await;
        let before = rig.shelf.fields();
        let two = [before.get("KEY_NEXT"), before.get("KEY"), before.get("KEY_2")];
        let two = two.into_iter().flatten().find(|value| *value != "one").unwrap().clone();
        let count = rig.progress().unwrap().count;
        rig.shelf.meddle(meddle);
        let rotator = if remembers { rig.rotator.clone() } else { rig.another() };
        let tended = rotator.tend(&rig.key).await;
        assert!(matches!(tended, Tended::Repaired(_)), "{tended:?}");
        assert_eq!(rig.told.words().last().map(String::as_str), Some("repaired"));
        let mut fields = rig.shelf.fields();
        fields.remove(FIELD);
        let named =
            fields.iter().map(|(field, value)| (field.as_str(), if *value == two { "two" } else { value }));
        assert_eq!(named.collect::<Vec<_>>(), expected, "remembers: {remembers}");
        let progress = rig.progress().unwrap();
        assert_eq!(progress.phase, phase);
        assert!(progress.count >= count);
        assert!(!matches!(rotator.tend(&rig.key).await, Tended::Repaired(_)), "once is enough");
    }
}

fn remove(fields: &mut Fields, names: &[&str]) {
    for name in names {
        assert!(fields.remove(*name).is_some(), "{name}");
    }
}

fn by_hand(fields: &mut Fields, name: &str) {
    fields.insert(name.to_owned(), "hand".to_owned());
}

#[tokio::test(start_paused = true)]
async fn what_a_foreign_write_lost_comes_back() {
    let overlap = Strategy::Overlap;
    let staged = [("KEY", "one"), ("KEY_NEXT", "two")];
    check(overlap, Act::Stage, |fields| remove(fields, &["KEY_NEXT"]), &staged, Phase::Staged).await;
    check(overlap, Act::Stage, |fields| remove(fields, &["KEY", FIELD]), &staged, Phase::Staged).await;
    check(overlap, Act::Stage, |fields| by_hand(fields, "KEY_NEXT"), &staged, Phase::Staged).await;
    let activated = [("KEY", "two"), ("KEY_PREVIOUS", "one")];
    for meddle in [
        |fields: &mut Fields| remove(fields, &["KEY_PREVIOUS"]),
        |fields: &mut Fields| remove(fields, &[FIELD]),
        |fields: &mut Fields| remove(fields, &["KEY", "KEY_PREVIOUS"]),
        |fields: &mut Fields| by_hand(fields, "KEY_PREVIOUS"),
    ] {
        check(overlap, Act::Settle, meddle, &activated, Phase::Activated).await;
    }
    let ring = [("KEY", "two"), ("KEY_1", "one"), ("KEY_2", "two"), ("KEY_ACTIVE", "2")];
    for meddle in [
        |fields: &mut Fields| remove(fields, &["KEY_1", "KEY_ACTIVE"]),
        |fields: &mut Fields| by_hand(fields, "KEY_2"),
        |fields: &mut Fields| drop(fields.insert("KEY_ACTIVE".into(), "1".into())),
    ] {
        check(Strategy::Ring, Act::Activate, meddle, &ring, Phase::Steady).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_put_there_by_hand_signs_and_the_one_before_is_verified_with() {
    let change = |fields: &mut Fields| by_hand(fields, "KEY");
    let after = [("KEY", "hand"), ("KEY_PREVIOUS", "one")];
    check(Strategy::Overlap, Act::Stage, change, &after, Phase::Activated).await;
    let after = [("KEY", "hand"), ("KEY_PREVIOUS", "two")];
    check(Strategy::Overlap, Act::Retire, change, &after, Phase::Activated).await;
    let after = [("KEY", "hand"), ("KEY_NEXT", "one"), ("KEY_PREVIOUS", "two")];
    check(Strategy::Overlap, Act::Settle, change, &after, Phase::Activated).await;
    let swap = |fields: &mut Fields| drop(fields.insert("KEY".into(), "one".into()));
    let after = [("KEY", "one"), ("KEY_PREVIOUS", "two")];
    check(Strategy::Overlap, Act::Settle, swap, &after, Phase::Activated).await;
    let after = [("KEY", "hand"), ("KEY_1", "one"), ("KEY_2", "two"), ("KEY_3", "hand"), ("KEY_ACTIVE", "3")];
    check(Strategy::Ring, Act::Activate, change, &after, Phase::Steady).await;
}

#[tokio::test(start_paused = true)]
async fn an_older_document_that_is_put_back_brings_nothing_back() {
    for remembers in [true, false] {
        let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
        rig.rotate_until(Act::Retire).await;
        let signs = rig.field("KEY");
        rig.shelf.roll_back(2);
        assert_eq!(rig.field("KEY_PREVIOUS").as_deref(), Some("one"));
        let rotator = if remembers { rig.rotator.clone() } else { rig.another() };
        assert!(matches!(rotator.tend(&rig.key).await, Tended::Repaired(_)));
        assert_eq!((rig.field("KEY"), rig.field("KEY_PREVIOUS")), (signs, None));
    }
}

#[tokio::test(start_paused = true)]
async fn what_leaked_never_comes_back() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.order(Wish::Compromised).await.unwrap();
    let signs = rig.field("KEY");
    assert_ne!(signs.as_deref(), Some("one"));
    for name in ["KEY", "KEY_PREVIOUS", "KEY_NEXT"] {
        rig.shelf.meddle(|fields| drop(fields.insert(name.into(), "one".into())));
        assert!(matches!(rig.another().tend(&rig.key).await, Tended::Repaired(_)), "{name}");
        let fields = rig.shelf.fields();
        assert_eq!(fields.get("KEY"), signs.as_ref());
        assert!(!fields.values().any(|value| value == "one"), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fourth_key_has_no_place() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Settle).await;
    for hand in ["hand", "other hand"] {
        rig.shelf.meddle(|fields| drop(fields.insert("KEY".into(), hand.into())));
        assert!(matches!(rig.tend().await, Tended::Repaired(_)));
    }
    let fields = rig.shelf.fields();
    assert_eq!((fields["KEY"].as_str(), fields["KEY_NEXT"].as_str()), ("hand", "one"));
    // Both that are older go at their end.
    for _ in 0..3 {
        rig.all_catch_up();
        rig.tend().await;
        rig.clock.pass(super::stand::OVERLAP);
    }
    assert_eq!(rig.shelf.fields().keys().collect::<Vec<_>>(), [FIELD, "KEY"]);
    let ordered = rig.rotator.order(&rig.key, order(Wish::Rotate), None, false).await;
    assert_eq!(ordered.unwrap().act, "staged");
}

#[tokio::test(start_paused = true)]
async fn a_leaked_key_that_nobody_can_replace_is_named() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.order(Wish::Compromised).await.unwrap();
    rig.shelf.meddle(|fields| drop(fields.insert("KEY".into(), "one".into())));
    rig.shelf.forget_versions();
    let Tended::Repaired(what) = rig.another().tend(&rig.key).await else { panic!("it is another key") };
    assert!(what[0].contains("leaked") && what[0].contains("--compromised"), "{what:?}");
}

#[tokio::test(start_paused = true)]
async fn an_older_document_is_not_believed_by_who_never_saw_the_later_one() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Activate).await;
    // Another one takes the leaked key away; somebody puts it back as this one knew it.
    let other = rig.another();
    other.order(&rig.key, order(Wish::Compromised), None, false).await.unwrap();
    rig.shelf.roll_back(1);
    let tended = rig.tend().await;
    assert!(matches!(tended, Tended::Repaired(_)), "{tended:?}");
    assert_eq!(rig.field("KEY_PREVIOUS"), None, "what leaked does not come back");
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_key_that_has_moved_on_is_not_in_the_way() {
    let rig = Rig::new(Strategy::Overlap, &[("KEY", "one")]);
    rig.rotate_until(Act::Stage).await;
    let mut staged = rig.shelf.fields();
    rig.all_catch_up();
    assert_eq!(rig.tend().await, Tended::Did(Act::Activate));
    // Somebody who had read it before writes it back, without what he does not know.
    staged.remove(FIELD);
    let (one, two) = (staged["KEY"].clone(), staged["KEY_NEXT"].clone());
    rig.shelf.meddle(|fields| *fields = staged);
    assert!(matches!(rig.tend().await, Tended::Repaired(_)));
    assert_eq!((rig.field("KEY"), rig.field("KEY_PREVIOUS")), (Some(one), Some(two)));
    assert_eq!(rig.field("KEY_NEXT"), None);
}
