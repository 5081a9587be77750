//! What a rotation does next, in tables: a world in, words out.

#![allow(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

mod walk;

use expect_test::{Expect, expect};

use super::*;
use crate::model::rotation::Print;
use crate::rotation::roll_call::{Expected, Heard, Verifies};

/// Everything that a scene is made of; by default a key of three instances that was
/// never rotated.
#[derive(Clone)]
pub(super) struct World {
    pub(super) owner: Key,
    pub(super) rotation: Rotation,
    pub(super) progress: Progress,
    pub(super) there: BTreeSet<Slot>,
    pub(super) active: Option<u32>,
    pub(super) same: BTreeSet<u32>,
    pub(super) roll_call: RollCall,
    pub(super) token_life: Option<u64>,
    pub(super) now: u64,
    pub(super) fresh: Kid,
}

pub(super) fn kid(text: &str) -> Kid {
    Kid::new(text).unwrap()
}

pub(super) fn world(strategy: Strategy) -> World {
    let expected = Expected { consumer: "cc".into(), instances: 2, verifies: Verifies::Ring };
    World {
        owner: Key::new("KEY").unwrap(),
        rotation: Rotation {
            strategy,
            every: Some(3_000),
            overlap: Some(800),
            slots: None,
            reason: None,
            tokens: Vec::new(),
        },
        progress: Progress::default(),
        there: BTreeSet::from([Slot::Current]),
        active: None,
        same: BTreeSet::new(),
        roll_call: RollCall { expected: vec![expected], ..RollCall::default() },
        token_life: Some(700),
        now: 10_000,
        fresh: kid("new"),
    }
}

pub(super) fn order(wish: Wish) -> Order {
    Order { wish, accept_logout: false, take_over: false, reason: None }
}

impl World {
    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            owner: &self.owner,
            rotation: &self.rotation,
            progress: &self.progress,
            there: &self.there,
            active: self.active,
            same: &self.same,
            roll_call: &self.roll_call,
            token_life: self.token_life,
            now: self.now,
            fresh: &self.fresh,
        }
    }

    /// The world after a step.
    pub(super) fn take(&mut self, step: &Step) {
        step.remove.iter().for_each(|slot| assert!(self.there.remove(slot), "{slot:?} was not there"));
        for (slot, content) in &step.set {
            if let Content::Number(number) = content {
                self.active = Some(*number);
            }
            self.there.insert(*slot);
        }
        self.progress = step.progress.clone();
        let signs = self.progress.kid(Slot::Current).cloned();
        let numbered = self.progress.keys.iter().filter(|(_, note)| Some(&note.kid) == signs.as_ref());
        self.same = numbered.filter_map(|(slot, _)| number_of(*slot)).collect();
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// As after these acts, in which everybody always says what is wanted.
    fn after(mut self, acts: &[Act]) -> Self {
        for act in acts {
            self.now += 100;
            self.fresh = kid(&format!("k{}", self.progress.count + 1));
            let wish = match act {
                Act::Undo => Wish::Undo,
                Act::Compromise => Wish::Compromised,
                _ => Wish::Rotate,
            };
            let wanted = Order { accept_logout: wish == Wish::Compromised, ..order(wish) };
            self.all_have_all();
            if *act == Act::Retire {
                self.now += 900;
            }
            let step = match self.scene().next() {
                Next::Step(step) if step.act == *act => *step,
                _ => self.scene().begin(&wanted).unwrap(),
            };
            assert_eq!(step.act, *act);
            self.take(&step);
        }
        self.fresh = kid("new");
        self.roll_call.heard.clear();
        self
    }

    /// Everybody verifies with every key and signs with the one that signs.
    fn all_have_all(&mut self) {
        let kids: Vec<Kid> = self.progress.keys.values().map(|note| note.kid.clone()).collect();
        let signs = self.progress.kid(Slot::Current).cloned();
        let heard = |instance: &str| Heard {
            consumer: "cc".into(),
            instance: instance.into(),
            verifies: kids.clone(),
            signs: signs.clone(),
            current: true,
        };
        self.roll_call.heard = vec![heard("cc-1"), heard("cc-2")];
    }

    fn all_have(mut self) -> Self {
        self.all_have_all();
        self
    }
}

fn number_of(slot: Slot) -> Option<u32> {
    if let Slot::Numbered(number) = slot { Some(number) } else { None }
}

fn words_of(step: &Step) -> String {
    let content = |content: &Content| match content {
        Content::Generated => "made".to_owned(),
        Content::Supplied => "given".to_owned(),
        Content::Of(slot) => String::from(*slot),
        Content::Number(number) => format!("number {number}"),
    };
    let set = step.set.iter().map(|(slot, from)| format!("{} := {}", String::from(*slot), content(from)));
    let gone = step.remove.iter().map(|slot| format!("{} goes", String::from(*slot)));
    let writes: Vec<String> = set.chain(gone).collect();
    let progress = &step.progress;
    let keys: Vec<String> =
        progress.keys.iter().map(|(slot, note)| format!("{}={}", String::from(*slot), note.kid)).collect();
    let mut text = format!("{}: {}\n", step.act.as_str(), writes.join(", "));
    text += &format!("{} {} count={}", progress.phase.as_str(), keys.join(" "), progress.count);
    let mut fact = |name: &str, value: Option<String>| {
        text += &value.map_or_else(String::new, |value| format!(" {name}={value}"));
    };
    fact("active", progress.active.map(|active| active.to_string()));
    fact("rotated", progress.rotated.map(|rotated| rotated.to_string()));
    fact("until", progress.retire_after.map(|until| until.to_string()));
    fact("undone", progress.undone.then(|| "yes".to_owned()));
    fact("leaked", progress.compromised.last().map(|note| note.kid.to_string()));
    fact("probe", step.probe.as_ref().map(content));
    text
}

#[track_caller]
fn check(world: &World, wanted: impl Into<Option<Order>>, expected: &Expect) {
    let text = match wanted.into() {
        Some(order) => match world.scene().begin(&order) {
            Ok(step) => words_of(&step),
            Err(refusal) => format!("{}: {}\n= {}", refusal.code, refusal.message, refusal.help),
        },
        None => match world.scene().next() {
            Next::Step(step) => words_of(&step),
            Next::Wait(unmet) => format!("waits: {}", unmet.join("; ")),
            Next::Rest(until) => format!("rests until {until:?}"),
            Next::Due(since) => format!("due since {since}"),
        },
    };
    expected.assert_eq(&text);
}

const OVERLAP: Strategy = Strategy::Overlap;
const FULL: [Act; 4] = [Act::Stage, Act::Activate, Act::Settle, Act::Retire];

fn accepted(wish: Wish) -> Order {
    Order { accept_logout: true, ..order(wish) }
}

#[test]
fn an_overlap_rotation_is_four_writes() {
    let rotate = || order(Wish::Rotate);
    check(
        &world(OVERLAP),
        rotate(),
        &expect![[r#"
        staged: next := made
        staged current=initial next=new count=1"#]],
    );
    check(&world(OVERLAP), None, &expect!["rests until None"]);
    let staged = world(OVERLAP).after(&[Act::Stage]);
    check(&staged, None, &expect!["waits: cc: 0 of 2 instances have acknowledged it"]);
    check(
        &staged.clone().all_have(),
        None,
        &expect![[r#"
        activated: previous := current, current := next, next goes
        activated current=k1 previous=initial count=1 rotated=10100"#]],
    );
    check(
        &staged,
        rotate(),
        &expect![[r#"
        under-way: a rotation of KEY is under way: its next key waits to be acknowledged by all
        = dlconf status says by whom; dlconf rotate KEY --undo gives it up"#]],
    );
    let activated = world(OVERLAP).after(&FULL[..2]);
    check(&activated, None, &expect!["waits: cc: 0 of 2 instances have acknowledged it"]);
    check(
        &activated.clone().all_have(),
        None,
        &expect![[r#"
            settled: 
            activated current=k1 previous=initial count=1 rotated=10200 until=11001"#]],
    );
    check(
        &activated,
        rotate(),
        &expect![[r#"
        under-way: a rotation of KEY is under way: not everybody uses the new key yet
        = dlconf status says who; dlconf rotate KEY --undo takes it back"#]],
    );
    let settled = world(OVERLAP).after(&FULL[..3]).all_have();
    check(&settled, None, &expect!["rests until Some(11101)"]);
    check(
        &settled,
        rotate(),
        &expect![[r#"
            under-way: the key before this KEY is not retired yet: that is in 801s
            = wait; where it leaked: dlconf rotate KEY --compromised"#]],
    );
    let over = settled.clone().with(|world| world.now = 11_101);
    check(
        &over,
        None,
        &expect![[r#"
        retired: previous goes
        steady current=k1 count=1 rotated=10200"#]],
    );
    let over = over.with(|world| world.roll_call.heard.truncate(1));
    check(&over, None, &expect!["waits: cc: 1 of 2 instances have acknowledged it"]);
    let retired = world(OVERLAP).after(&FULL);
    check(&retired, None, &expect!["rests until Some(13200)"]);
    check(&retired.clone().with(|world| world.now = 13_200), None, &expect!["due since 13200"]);
    check(
        &retired,
        rotate(),
        &expect![[r#"
        staged: next := made
        staged current=k1 next=new count=2 rotated=10200"#]],
    );
}

#[test]
fn what_signs_with_the_old_key_again_needs_all_of_its_time_again() {
    let late = world(OVERLAP).after(&FULL[..3]).all_have().with(|world| {
        world.roll_call.heard[1].signs = Some(kid("initial"));
        world.now = 99_999;
    });
    check(
        &late,
        None,
        &expect![[r#"
        unsettled: 
        activated current=k1 previous=initial count=1 rotated=10200"#]],
    );
    // Who says now this and now that makes no write of each word.
    let Next::Step(opened) = late.scene().next() else { panic!("it is opened again") };
    let mut open = late.all_have();
    open.take(&opened);
    check(&open, None, &expect!["rests until Some(100059)"]);
    let later = open.with(|world| world.now = 100_059);
    check(
        &later,
        None,
        &expect![[r#"
        settled: 
        activated current=k1 previous=initial count=1 rotated=10200 until=100860"#]],
    );
}

#[test]
fn who_cannot_keep_up_is_a_reason_to_refuse() {
    let single = world(OVERLAP).with(|world| world.roll_call.expected[0].verifies = Verifies::Single);
    check(
        &single,
        order(Wish::Rotate),
        &expect![[r#"
        single: cc verifies with one key: everybody whose token it issued would be logged out
        = teach it a ring of keys (docs/runbooks.md), or accept that: dlconf rotate KEY --accept-logout"#]],
    );
    check(
        &single,
        accepted(Wish::Rotate),
        &expect![[r#"
        staged: next := made
        staged current=initial next=new count=1"#]],
    );
    let undeclared = world(OVERLAP).with(|world| world.roll_call.undeclared = vec!["portal".into()]);
    check(
        &undeclared,
        accepted(Wish::Rotate),
        &expect![[r#"
        undeclared: portal reads KEY too, and nobody says whether it verifies with a ring of keys
        = [consumer.portal] with `instances` and `verifies`; `instances = 0` where it does not run"#]],
    );
    let nobody = world(OVERLAP).with(|world| world.roll_call.expected[0].instances = 0);
    check(
        &nobody,
        accepted(Wish::Rotate),
        &expect![[r#"
        nobody-expected: nobody is declared who has to acknowledge a new KEY
        = declare who verifies with it: [consumer.NAME] with `instances` and `verifies`"#]],
    );
    let short = world(OVERLAP).with(|world| world.token_life = Some(4_000));
    check(
        &short,
        accepted(Wish::Rotate),
        &expect![[r#"
        overlap: what KEY signs lives 4000s, and its `overlap` is 800s: who got a token right before would be logged out
        = write `overlap = "2h"` or more in the schema"#]],
    );
    let unknown = world(OVERLAP).with(|world| (world.token_life, world.rotation.overlap) = (None, None));
    check(
        &unknown,
        order(Wish::Rotate),
        &expect![[r#"
        overlap: nobody says how long what KEY signs lives
        = write the longest life of it, and a day, in the schema: `overlap = "8d"`"#]],
    );
    let empty = world(OVERLAP).with(|world| world.there.clear());
    check(
        &empty,
        order(Wish::Rotate),
        &expect![[r#"
        not-there: KEY has no value in the document that is to be written
        = write a first one there by hand"#]],
    );
    // What held when it began must hold when it goes on.
    let staged = world(OVERLAP).after(&[Act::Stage]).all_have();
    let single = staged.clone().with(|world| world.roll_call.expected[0].verifies = Verifies::Single);
    check(
        &single,
        None,
        &expect!["waits: cc verifies with one key: everybody whose token it issued would be logged out"],
    );
    let deaf = staged.with(|world| world.roll_call.deaf = Some("the Leases cannot be read".into()));
    check(&deaf, None, &expect!["waits: the Leases cannot be read"]);
    let undeclared = world(OVERLAP)
        .after(&FULL[..3])
        .all_have()
        .with(|world| (world.roll_call.undeclared, world.now) = (vec!["portal".into()], 99_999));
    check(
        &undeclared,
        None,
        &expect!["waits: portal reads KEY too, and nobody says whether it verifies with a ring of keys"],
    );
}

#[test]
fn what_was_put_there_by_hand_is_not_overwritten() {
    for slot in [Slot::Next, Slot::Previous] {
        let taken = world(OVERLAP).with(|world| _ = world.there.insert(slot));
        let refusal = taken.scene().begin(&order(Wish::Rotate)).unwrap_err();
        assert_eq!(refusal.code, "taken");
        assert!(refusal.help.contains(&slot.field("KEY")), "{refusal:?}");
    }
    let taken = world(OVERLAP).with(|world| _ = world.there.insert(Slot::Previous));
    check(
        &taken,
        order(Wish::Rotate),
        &expect![[r#"
        taken: KEY_PREVIOUS is there, no rotation put it there, and a rotation needs its place
        = once nothing that it signed is valid any more, remove KEY_PREVIOUS, and rotate again"#]],
    );
    // It goes where everything goes that may have leaked.
    check(
        &taken,
        accepted(Wish::Compromised),
        &expect![[r#"
        compromised: current := made, previous goes
        steady current=new count=1 rotated=10000 leaked=initial"#]],
    );
    let staged = world(OVERLAP).after(&[Act::Stage]).all_have();
    check(
        &staged.with(|world| _ = world.there.insert(Slot::Previous)),
        None,
        &expect!["waits: KEY_PREVIOUS is there, no rotation put it there, and a rotation needs its place"],
    );
}

#[test]
fn an_undo_takes_back_what_was_begun_and_an_undo_takes_that_back() {
    let undo = || order(Wish::Undo);
    check(
        &world(OVERLAP),
        undo(),
        &expect![[r#"
        nothing-to-undo: there is no rotation of KEY that could be undone
        = dlconf status shows what is under way"#]],
    );
    check(
        &world(OVERLAP).after(&[Act::Stage]),
        undo(),
        &expect![[r#"
        undone: next goes
        steady current=initial count=1 undone=yes"#]],
    );
    let undone = world(OVERLAP).after(&[Act::Stage, Act::Activate, Act::Undo]);
    check(
        &world(OVERLAP).after(&FULL[..3]),
        undo(),
        &expect![[r#"
        undone: current := previous, previous := current
        activated current=initial previous=k1 count=1 rotated=10300 undone=yes"#]],
    );
    check(&undone, None, &expect!["waits: cc: 0 of 2 instances have acknowledged it"]);
    check(
        &undone,
        undo(),
        &expect![[r#"
        undone: current := previous, previous := current
        activated current=k1 previous=initial count=1 rotated=10300"#]],
    );
    check(
        &world(OVERLAP).after(&FULL),
        undo(),
        &expect![[r#"
        nothing-to-undo: there is no rotation of KEY that could be undone
        = dlconf status shows what is under way"#]],
    );
    // What was undone is not begun again by itself at once.
    let due = |world: &mut World| world.now = 20_000;
    let undone = world(OVERLAP).after(&FULL).with(due).after(&[Act::Stage, Act::Undo]);
    check(&undone, None, &expect!["rests until Some(106600)"]);
}

#[test]
fn what_leaked_goes_at_once_once_somebody_said_so_by_name() {
    for acts in [&FULL[..0], &FULL[..1], &FULL[..2], &FULL[..3], &FULL[..]] {
        let refusal = world(OVERLAP).after(acts).scene().begin(&order(Wish::Compromised)).unwrap_err();
        assert_eq!(refusal.code, "needs-confirmation");
        assert!(refusal.message.contains("(cc)"), "{refusal:?}");
    }
    check(
        &world(OVERLAP),
        order(Wish::Compromised),
        &expect![[r#"
        needs-confirmation: to replace a leaked KEY at once logs out everybody whose token it signed, and who has not got the new key yet refuses tokens until then (cc)
        = say so by name: --yes, or answer the question at a terminal"#]],
    );
    check(
        &world(OVERLAP),
        accepted(Wish::Compromised),
        &expect![[r#"
        compromised: current := made
        steady current=new count=1 rotated=10000 leaked=initial"#]],
    );
    check(
        &world(OVERLAP).after(&[Act::Stage]),
        accepted(Wish::Compromised),
        &expect![[r#"
        compromised: current := next, next goes
        steady current=k1 count=2 rotated=10100 leaked=initial"#]],
    );
    let activated = world(OVERLAP).after(&FULL[..2]);
    check(
        &activated,
        order(Wish::Compromised),
        &expect![[r#"
        needs-confirmation: to retire the key before the present KEY at once logs out everybody whose token that one signed (cc); the present key stays: if that is the one that leaked, say so once more afterwards
        = say so by name: --yes, or answer the question at a terminal"#]],
    );
    check(
        &activated,
        accepted(Wish::Compromised),
        &expect![[r#"
        compromised: previous goes
        steady current=k1 count=2 rotated=10200 leaked=initial"#]],
    );
    check(
        &world(OVERLAP).after(&FULL[..3]),
        accepted(Wish::Compromised),
        &expect![[r#"
        compromised: previous goes
        steady current=k1 count=2 rotated=10200 leaked=initial"#]],
    );
    check(
        &world(Strategy::Ring),
        accepted(Wish::Compromised),
        &expect![[r#"
        ring: no key of KEY is ever retired: what it signed must stay verifiable
        = rotate it, so that the leaked key signs nothing more: dlconf rotate KEY"#]],
    );
}

#[test]
fn a_ring_grows_and_turns() {
    let ring = || world(Strategy::Ring);
    let rotate = || order(Wish::Rotate);
    check(
        &ring(),
        rotate(),
        &expect![[r#"
        staged: 1 := current, active := number 1, 2 := made
        staged current=initial 1=initial 2=new count=1 active=1"#]],
    );
    let staged = ring().after(&[Act::Stage]);
    check(&staged, None, &expect!["waits: cc: 0 of 2 instances have acknowledged it"]);
    check(
        &staged.clone().all_have(),
        None,
        &expect![[r#"
        activated: active := number 2, current := 2
        steady current=k1 1=initial 2=k1 count=1 active=2 rotated=10100"#]],
    );
    check(
        &staged,
        order(Wish::Undo),
        &expect![[r#"
        undone: 2 goes
        steady current=initial 1=initial count=1 active=1 undone=yes"#]],
    );
    let turned = ring().after(&[Act::Stage, Act::Activate]);
    check(&turned, None, &expect!["rests until Some(13200)"]);
    check(
        &turned,
        rotate(),
        &expect![[r#"
        staged: 3 := made
        staged current=k1 1=initial 2=k1 3=new count=2 active=2 rotated=10200"#]],
    );
    check(
        &turned,
        order(Wish::Undo),
        &expect![[r#"
        undone: active := number 1, current := 1
        steady current=initial 1=initial 2=k1 count=1 active=1 rotated=10200 undone=yes"#]],
    );
    let undone = ring().after(&[Act::Stage, Act::Activate, Act::Undo]);
    check(
        &undone,
        order(Wish::Undo),
        &expect![[r#"
        undone: active := number 2, current := 2
        steady current=k1 1=initial 2=k1 count=1 active=2 rotated=10200"#]],
    );
    check(
        &undone,
        rotate(),
        &expect![[r#"
        staged: 3 := made
        staged current=initial 1=initial 2=k1 3=new count=2 active=1 rotated=10200"#]],
    );
    let full = turned.with(|world| world.rotation.slots = Some(2));
    check(
        &full,
        rotate(),
        &expect![[r#"
        ring-full: the ring of KEY has 2 numbers, and none is left
        = raise `slots` in the schema: no key of it is ever retired"#]],
    );
}

#[test]
fn a_ring_that_was_made_by_hand_goes_on_as_it_is() {
    let by_hand = |numbers: &[u32], active: Option<u32>, same: &[u32]| {
        world(Strategy::Ring).with(|world| {
            world.there.extend(numbers.iter().map(|number| Slot::Numbered(*number)));
            world.there.extend(active.map(|_| Slot::Active));
            world.active = active;
            world.same = same.iter().copied().collect();
        })
    };
    let rotate = || order(Wish::Rotate);
    check(
        &by_hand(&[1, 4], Some(1), &[1]),
        rotate(),
        &expect![[r#"
        staged: 5 := made
        staged current=initial 1=initial 4=initial-4 5=new count=1 active=1"#]],
    );
    check(
        &by_hand(&[1, 2], None, &[2]),
        rotate(),
        &expect![[r#"
        staged: active := number 2, 3 := made
        staged current=initial 1=initial-1 2=initial 3=new count=1 active=2"#]],
    );
    check(
        &by_hand(&[1, 2], None, &[]),
        rotate(),
        &expect![[r#"
        staged: 3 := current, active := number 3, 4 := made
        staged current=initial 1=initial-1 2=initial-2 3=initial 4=new count=1 active=3"#]],
    );
    check(
        &by_hand(&[1, 2], Some(1), &[2]),
        rotate(),
        &expect![[r#"
        ring-broken: KEY_ACTIVE names no key that is the same as KEY: nobody knows which one signs
        = make KEY the same as the key that KEY_ACTIVE names"#]],
    );
    check(
        &by_hand(&[], Some(1), &[]),
        rotate(),
        &expect![[r#"
        ring-broken: KEY_ACTIVE names no key that is the same as KEY: nobody knows which one signs
        = make KEY the same as the key that KEY_ACTIVE names"#]],
    );
    // A number that came by hand while one was staged is not the one that was.
    let staged = world(Strategy::Ring).after(&[Act::Stage]).all_have();
    check(
        &staged.with(|world| _ = world.there.insert(Slot::Numbered(7))),
        None,
        &expect![[r#"
        activated: active := number 2, current := 2
        steady current=k1 1=initial 2=k1 count=1 active=2 rotated=10100"#]],
    );
}

#[test]
fn a_supplied_value_is_kept_for_an_undo_and_for_nothing_else() {
    let supplied = || world(Strategy::Supplied).with(|world| world.rotation.overlap = None);
    check(
        &supplied(),
        order(Wish::Rotate),
        &expect![[r#"
        supplied: current := given, kept := current
        activated current=new kept=initial count=1 rotated=10000 until=96400 probe=given"#]],
    );
    let kept = supplied().after(&[Act::Supply]);
    check(&kept, None, &expect!["rests until Some(96500)"]);
    check(
        &kept,
        order(Wish::Rotate),
        &expect![[r#"
        under-way: the value before this KEY is kept for --undo, for another 1d
        = dlconf rotate KEY --undo puts it back; with --compromised the new value takes its place"#]],
    );
    check(
        &kept,
        order(Wish::Undo),
        &expect![[r#"
        undone: current := kept, kept goes
        steady current=initial count=1 undone=yes probe=kept"#]],
    );
    check(
        &kept,
        order(Wish::Compromised),
        &expect![[r#"
        compromised: current := given, kept goes
        steady current=new count=2 rotated=10100 leaked=k1 probe=given"#]],
    );
    check(
        &kept.with(|world| world.now = 99_999),
        None,
        &expect![[r#"
        retired: kept goes
        steady current=k1 count=1 rotated=10100"#]],
    );
    check(
        &supplied(),
        order(Wish::Undo),
        &expect![[r#"
        nothing-to-undo: there is no rotation of KEY that could be undone
        = dlconf status shows what is under way"#]],
    );
    check(
        &supplied(),
        order(Wish::Compromised),
        &expect![[r#"
        compromised: current := given
        steady current=new count=1 rotated=10000 leaked=initial probe=given"#]],
    );
}

#[test]
fn what_others_rotate_is_refused_with_the_reason() {
    let manual = world(Strategy::Manual)
        .with(|world| world.rotation.reason = Some("it encrypts what is stored".into()));
    check(
        &manual,
        order(Wish::Rotate),
        &expect![[r#"
        manual: KEY is not rotated by a program: it encrypts what is stored
        = change it by hand: docs/runbooks.md has such a way"#]],
    );
    check(&manual, None, &expect!["rests until None"]);
    check(
        &world(Strategy::StaticRole),
        order(Wish::Rotate),
        &expect![[r#"
        static-role: Vault rotates KEY, and dlconf follows
        = bao write -f database/rotate-role/NAME rotates it now"#]],
    );
    check(
        &world(Strategy::Dynamic),
        order(Wish::Undo),
        &expect![[r#"
        dynamic: KEY is leased: what is lent is replaced, and nothing is written
        = its source replaces it"#]],
    );
}

#[test]
fn another_strategy_in_the_schema_ends_nothing_that_was_begun() {
    let was_overlap = world(OVERLAP).after(&FULL[..3]).with(|world| {
        world.rotation.strategy = Strategy::Ring;
        world.now = 99_999;
    });
    check(
        &was_overlap,
        None,
        &expect!["waits: a rotation of KEY was begun with another `strategy` than the schema has now"],
    );
    check(
        &was_overlap,
        order(Wish::Rotate),
        &expect![[r#"
        other-strategy: a rotation of KEY was begun with another `strategy` than the schema has now
        = put that strategy back until the rotation is over"#]],
    );
}

#[test]
fn what_was_accepted_for_a_rotation_is_accepted_for_all_of_its_writes() {
    let taken = Order { take_over: true, reason: Some("drill".into()), ..order(Wish::Rotate) };
    let mut world = world(OVERLAP);
    let step = world.scene().begin(&taken).unwrap();
    world.take(&step);
    for act in [Act::Activate, Act::Undo, Act::Settle, Act::Retire] {
        world = world.after(&[act]);
        assert!(world.progress.take_over, "{act:?}");
    }
    world = world.after(&[Act::Stage]);
    assert!(!world.progress.take_over);
}

#[test]
fn spans_are_said_in_the_largest_unit() {
    let cases = [
        (0, "0s"),
        (60, "1m"),
        (90, "90s"),
        (7_199, "7199s"),
        (7_201, "121m"),
        (691_200, "8d"),
        (691_201, "193h"),
    ];
    for (seconds, words) in cases {
        assert_eq!(span(seconds), words);
    }
}

#[test]
fn what_leaked_is_remembered_by_its_print_the_last_few() {
    let mut progress = Progress::default();
    for number in 0..20 {
        let kid = kid(&format!("k{number}"));
        let print = Some(Print::of(&kid, &"old".into()));
        progress.banish(KeyNote { print, ..unwritten(kid, None) });
    }
    assert_eq!(progress.compromised.len(), 8);
    assert!(progress.is_compromised(&"old".into()) && !progress.is_compromised(&"other".into()));
}
