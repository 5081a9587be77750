//! Random walks through an overlap rotation: orders, programs that keep up or lag, and
//! clocks that jump. What must never happen is looked for after every write.

use std::collections::BTreeMap;

use proptest::prelude::{
    Just, ProptestConfig, TestCaseError, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy;

use super::*;

/// What everybody does, whatever it is that the clock says.
#[derive(Debug, Clone, Copy)]
enum Move {
    Order(Wish, bool),
    /// The rotator takes what comes next; the write is lost, or done.
    Next(bool),
    /// A program takes up the document, and says so.
    Catch(usize),
    /// A program signs a token.
    Sign(usize),
    /// Time goes on, for everybody.
    Pass(u64),
    /// What the rotator is told of the time jumps: no further than a timekeeper believes.
    Jump(i64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let wish = prop_oneof![4 => Just(Wish::Rotate), 2 => Just(Wish::Undo), 1 => Just(Wish::Compromised)];
    let one = prop_oneof![
        2 => (wish, any::<bool>()).prop_map(|(wish, accepted)| Move::Order(wish, accepted)),
        6 => prop::bool::weighted(0.8).prop_map(Move::Next),
        6 => (0..PROGRAMS).prop_map(Move::Catch),
        4 => (0..PROGRAMS).prop_map(Move::Sign),
        3 => (1_u64..900).prop_map(Move::Pass),
        1 => (-60_i64..0).prop_map(Move::Jump),
    ];
    prop::collection::vec(one, 1..120)
}

const PROGRAMS: usize = 3;
/// How long a token lives: shorter than the overlap.
const LIFE: u64 = 700;

/// One run: the document, the programs, and the tokens.
struct Walk {
    world: World,
    /// The key in each slot of the document.
    keys: BTreeMap<Slot, Kid>,
    /// What each program has taken up.
    programs: Vec<BTreeMap<Slot, Kid>>,
    /// The true time. The rotator's own is behind it by what jumped.
    time: u64,
    behind: u64,
    /// Who signed with what, and when.
    tokens: Vec<(Kid, u64)>,
    /// What somebody gave up by name.
    leaked: BTreeSet<Kid>,
    made: u64,
}

impl Walk {
    fn new() -> Self {
        let mut world = world(OVERLAP);
        world.roll_call.expected[0].instances = u32::try_from(PROGRAMS).unwrap();
        let keys = BTreeMap::from([(Slot::Current, Kid::initial())]);
        let programs = vec![keys.clone(); PROGRAMS];
        let mut walk = Self {
            world,
            keys,
            programs,
            time: 1_000_000,
            behind: 0,
            tokens: vec![],
            leaked: BTreeSet::new(),
            made: 0,
        };
        walk.look();
        walk
    }

    /// What the rotator sees.
    fn look(&mut self) {
        self.world.now = (self.time - self.behind).max(self.world.progress.clock);
        let heard = self.programs.iter().enumerate().map(|(number, keys)| Heard {
            consumer: "cc".into(),
            instance: format!("cc-{number}").into(),
            verifies: keys.values().cloned().collect(),
            signs: keys.get(&Slot::Current).cloned(),
            current: true,
        });
        self.world.roll_call.heard = heard.collect();
        self.made += 1;
        self.world.fresh = kid(&format!("k{}", self.made));
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let before = self.keys.clone();
        let old = self.world.progress.clone();
        let signed = before[&Slot::Current].clone();
        if step.act == Act::Compromise {
            let gone =
                before.values().filter(|kid| step.progress.keys.values().all(|note| note.kid != **kid));
            self.leaked.extend(gone.cloned());
            // Who accepted that tokens are refused accepted it for all that were there.
            self.tokens.clear();
        }
        step.remove.iter().for_each(|slot| drop(self.keys.remove(slot)));
        for (slot, content) in &step.set {
            let kid = match content {
                Content::Generated => self.world.fresh.clone(),
                Content::Of(from) => before[from].clone(),
                other => panic!("{other:?} in an overlap rotation"),
            };
            self.keys.insert(*slot, kid);
        }
        self.world.take(step);
        let progress = &self.world.progress;
        for (slot, note) in &progress.keys {
            prop_assert_eq!(self.keys.get(slot), Some(&note.kid), "the note of {:?}", slot);
        }
        prop_assert_eq!(self.keys.len(), progress.keys.len(), "every key is noted");
        let distinct: BTreeSet<&Kid> = self.keys.values().collect();
        prop_assert_eq!(distinct.len(), self.keys.len(), "no key is in two places");
        prop_assert!(progress.count >= old.count && progress.clock >= old.clock);
        if matches!(step.act, Act::Activate | Act::Undo) && progress.phase == Phase::Activated {
            prop_assert_eq!(&self.keys[&Slot::Previous], &signed, "what signed is what is before");
        }
        if step.act != Act::Compromise {
            prop_assert!(self.keys.values().any(|kid| *kid == signed), "what signed is still verified with");
        }
        prop_assert!(self.keys.values().all(|kid| !self.leaked.contains(kid)), "what leaked is gone");
        Ok(())
    }

    /// Every token that lives is verified by every program.
    fn all_are_let_in(&mut self, accepted: bool) -> Result<(), TestCaseError> {
        let time = self.time;
        self.tokens.retain(|(_, signed)| time < signed + LIFE);
        if accepted {
            return Ok(());
        }
        for (number, program) in self.programs.iter().enumerate() {
            for (kid, signed) in &self.tokens {
                prop_assert!(
                    program.values().any(|own| own == kid),
                    "cc-{} has not got {}, which signed {} s ago: {:?}",
                    number,
                    kid,
                    time - signed,
                    program
                );
            }
        }
        Ok(())
    }

    fn make(&mut self, step: Move) -> Result<(), TestCaseError> {
        match step {
            Move::Pass(seconds) => self.time += seconds,
            // A clock that is behind retires late; one that goes back and returns is no reason
            // to retire early.
            Move::Jump(by) => {
                self.behind = if self.behind == 0 { by.unsigned_abs() } else { 0 };
            }
            Move::Catch(number) => self.programs[number].clone_from(&self.keys),
            Move::Sign(number) => {
                let kid = self.programs[number][&Slot::Current].clone();
                self.tokens.push((kid, self.time));
            }
            Move::Order(wish, accepted) => {
                self.look();
                let wanted = Order { accept_logout: accepted, ..order(wish) };
                if let Ok(step) = self.world.scene().begin(&wanted) {
                    self.take(&step)?;
                }
            }
            Move::Next(is_done) => {
                self.look();
                if let Next::Step(step) = self.world.scene().next()
                    && is_done
                {
                    self.take(&step)?;
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn nobody_is_logged_out_however_it_goes(moves in moves()) {
        let mut walk = Walk::new();
        // After a leak, whoever has not caught up refuses tokens: that was accepted.
        let mut lagging = false;
        for step in moves {
            let leaked = walk.leaked.len();
            walk.make(step)?;
            lagging |= walk.leaked.len() > leaked;
            if lagging && walk.programs.iter().all(|program| *program == walk.keys) {
                lagging = false;
                walk.tokens.clear();
            }
            walk.all_are_let_in(lagging)?;
        }
    }
}
