//! Rotators that end after every step, race, and lose answers, beside somebody who writes
//! what he likes: whatever happens, one key signs, what signed before is verified with
//! until what it signed is over, and nothing is lost.
//!
//! Two instances verify and sign with what they took up last, and say just that. What
//! they sign lives for as long as the schema says. Where the document lies is a [`Place`]'s
//! matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dlconf::model::rotation::{FIELD, Kid, Ledger, Phase, Progress, Slot};
use dlconf::model::schema;
use dlconf::rotation::course::Wish;
use dlconf::rotation::engine::{Rotator, Tended};
use dlconf::rotation::roll_call::Heard;
use dlconf::source::Source;
use proptest::prelude::{ProptestConfig, TestCaseError, prop_assert, prop_assert_eq};
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;
use tokio::task::yield_now;

use super::fragile::{Fragile, Trouble, cut};
use super::moves::{Deed, End, Hand, Move, moves};
use super::stand::{OVERLAP, START, Stand, order};

/// All fields of a document.
pub(crate) type Fields = BTreeMap<String, String>;

/// Where the one document lies, as somebody sees it who may do everything there.
pub(crate) trait Place {
    /// A source over it, just started.
    async fn source(&self) -> Arc<dyn Source>;

    fn fields(&self) -> Fields;

    /// Somebody else writes all of it.
    fn put(&self, fields: Fields);

    /// What was there so many versions ago.
    fn before(&self, by: usize) -> Fields;
}

/// How a model is run.
pub(crate) struct Terms<'a> {
    pub(crate) cases: u32,
    pub(crate) moves: usize,
    pub(crate) strategy: schema::Strategy,
    pub(crate) wishes: &'a [Wish],
}

/// Runs many cases, each at a place of its own. `DLCONF_TEST_MODEL_CASES` is how many.
pub(crate) fn run<P: Place>(terms: &Terms<'_>, runtime: impl Fn() -> Runtime, place: impl Fn(Fields) -> P) {
    let asked = std::env::var("DLCONF_TEST_MODEL_CASES").ok().and_then(|cases| cases.parse().ok());
    let config = ProptestConfig {
        cases: asked.unwrap_or(terms.cases),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&moves(terms.moves), |moves| {
        let fields = [("KEY", "one"), ("OTHER", "kept"), ("KEYS", "of nobody")];
        let fields = fields.map(|(field, value)| (field.to_owned(), value.to_owned())).into();
        runtime().block_on(async {
            let mut model = Model::new(place(fields), terms).await;
            for step in moves {
                model.make(step).await?;
            }
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// A document that is whole: its state, and what is in its slots.
#[derive(Debug, Clone, Default)]
struct Whole {
    progress: Progress,
    values: BTreeMap<Slot, String>,
}

impl Whole {
    fn signs(&self) -> Option<&String> {
        self.values.get(&Slot::Current)
    }

    fn number(&self) -> Option<u32> {
        self.values.get(&Slot::Active)?.parse().ok()
    }

    /// What somebody who reads it verifies with.
    fn ring(&self) -> BTreeSet<String> {
        let delivered = self.values.iter().filter(|(slot, _)| !matches!(slot, Slot::Active | Slot::Kept));
        delivered.map(|(_, value)| value.clone()).collect()
    }
}

/// A program that has what it took up last.
#[derive(Debug, Clone)]
struct Instance {
    verifies: BTreeSet<String>,
    signs: String,
}

/// One daemon's part.
struct Part {
    source: Arc<Fragile>,
    rotator: Arc<Rotator>,
}

/// What was done in one move.
#[derive(Default)]
struct Done {
    /// Orders that were done, or may have been.
    wishes: Vec<Wish>,
    /// Nobody knows what became of something.
    unsure: bool,
    /// Somebody else wrote.
    by_hand: bool,
    /// One thing was done at most.
    alone: bool,
}

struct Model<P> {
    place: P,
    stand: Stand,
    strategy: schema::Strategy,
    wishes: Vec<Wish>,
    /// Through which somebody who has seen nothing looks after each move.
    watch: Arc<Fragile>,
    parts: [Part; 2],
    instances: [Instance; 2],
    heard: [Option<Heard>; 2],
    made: usize,
    whole: Whole,
    /// Until when what a key signed lives.
    live: BTreeMap<String, u64>,
    /// What was taken away on purpose, or changed before there was a rotation.
    gone: BTreeSet<String>,
    /// What leaked, and must never be back.
    leaked: BTreeSet<String>,
    /// What signs without having been announced: another's, or the next after a leak.
    sudden: BTreeSet<String>,
    /// What another put into the rotation's places, and no rotation has a note of.
    by_hand: BTreeMap<Slot, String>,
    /// The fields that are nobody's business.
    others: Fields,
    /// What was cut may still come.
    unsure: bool,
}

impl<P: Place> Model<P> {
    async fn new(place: P, terms: &Terms<'_>) -> Self {
        let stand = Stand::new(terms.strategy);
        let watch = Fragile::new(place.source().await);
        let part = async || {
            let source = Fragile::new(place.source().await);
            Part { rotator: stand.rotator(Arc::clone(&source) as _), source }
        };
        let parts = [part().await, part().await];
        let instance = Instance { verifies: ["one".to_owned()].into(), signs: "one".into() };
        let mut model = Self {
            strategy: terms.strategy,
            wishes: terms.wishes.to_vec(),
            watch,
            parts,
            instances: [instance.clone(), instance],
            heard: [None, None],
            made: 0,
            whole: Whole::default(),
            live: BTreeMap::new(),
            gone: BTreeSet::new(),
            leaked: BTreeSet::new(),
            sudden: BTreeSet::new(),
            by_hand: BTreeMap::new(),
            others: Fields::new(),
            unsure: false,
            place,
            stand,
        };
        model.others = model.foreign();
        model.whole = model.look().unwrap_or_default();
        model
    }

    /// Seconds that really passed, of the world's clock.
    fn now(&self) -> u64 {
        use dlconf::rotation::clock::Clock as _;
        self.stand.clock.steady().as_secs()
    }

    fn foreign(&self) -> Fields {
        let fields = self.place.fields().into_iter();
        fields.filter(|(name, _)| Slot::of_field("KEY", name).is_none() && name != FIELD).collect()
    }

    /// What is there; none where it is not whole.
    fn look(&self) -> Option<Whole> {
        let fields = self.place.fields();
        let progress = match fields.get(FIELD) {
            Some(text) => Ledger::parse(text).ok()?.of("KEY").cloned().unwrap_or_default(),
            None => Progress::default(),
        };
        let values: BTreeMap<Slot, String> = fields
            .iter()
            .filter_map(|(name, value)| Some((Slot::of_field("KEY", name)?, value.clone())))
            .collect();
        let is_noted = |slot: &Slot| {
            values.get(slot).is_some_and(|value| progress.is_noted(*slot, &value.as_str().into()))
        };
        progress.keys.keys().all(is_noted).then(|| Whole { progress: progress.clone(), values })
    }

    async fn make(&mut self, step: Move) -> Result<(), TestCaseError> {
        let mut done = Done::default();
        let mut dying = Vec::new();
        match step {
            Move::One { who, deed, end, dies } => {
                done.alone = matches!(end, End::By(_));
                let end = match (deed, end) {
                    // Whoever asked waits until it is known: that has tests of its own.
                    (Deed::Order(_), End::By(Some(_))) => End::By(None),
                    (_, end) => end,
                };
                self.one(who, deed, end, &mut done).await;
                dying.extend(dies.then_some(who));
            }
            Move::Race { deeds, meddler, dies } => {
                self.race(deeds, meddler, &mut done).await;
                dying.extend(dies.then_some([0, 1]).into_iter().flatten());
            }
            Move::CatchUp(who) => self.catch_up(who),
            Move::AllCatchUp => (0..2).for_each(|who| self.catch_up(who)),
            Move::Pass => self.stand.clock.pass(OVERLAP / 2 + 1),
            Move::StartsInThePast(who) => {
                self.restart(who);
                self.stand.clock.leap(-(OVERLAP / 2).cast_signed());
                self.restart(who);
                self.one(who, Deed::Tend, End::By(None), &mut done).await;
                self.stand.clock.leap(0);
                self.restart(who);
            }
            Move::Meddle(hand) => done.by_hand = self.meddle(hand),
        }
        let was = self.whole.clone();
        self.mend().await?;
        // Without a server's clock the end is reckoned from what that one believed.
        if matches!(step, Move::StartsInThePast(_)) && was.progress.retire_after.is_none() {
            let retires = self.whole.progress.retire_after.map(|then| then - START);
            self.live.values_mut().for_each(|until| *until = (*until).min(retires.unwrap_or(u64::MAX)));
        }
        for who in dying {
            let source = Fragile::new(self.place.source().await);
            self.parts[who] = Part { rotator: self.stand.rotator(Arc::clone(&source) as _), source };
        }
        self.excuse(&was, &done);
        self.sign();
        self.holds(&was, &done)?;
        self.unsure = done.unsure;
        Ok(())
    }

    fn restart(&mut self, who: usize) {
        self.parts[who].rotator = self.stand.rotator(Arc::clone(&self.parts[who].source) as _);
    }

    async fn one(&mut self, who: usize, deed: Deed, end: End, done: &mut Done) {
        if let End::By(trouble) = end {
            self.parts[who].source.expect(trouble);
        }
        match end {
            End::By(trouble) => {
                let became = self.deed(who, deed).await;
                self.count(became, done);
                done.unsure |= trouble == Some(Trouble::LostAfter);
            }
            End::Cut(polls) => {
                let became = cut(polls, self.deed(who, deed)).await;
                done.unsure |= became.is_none();
                let wish = if let Deed::Order(wish) = deed { Some(wish) } else { None };
                self.count(became.unwrap_or(wish), done);
            }
        }
        self.parts[who].source.expect(None);
    }

    async fn race(&mut self, deeds: [Deed; 2], meddler: Option<(usize, Hand)>, done: &mut Done) {
        let [one, other] = deeds;
        // What he puts there is read at once, or before: he knows no check-and-set.
        let old = self.place.fields();
        let by_hand = std::cell::RefCell::new(None);
        let meddle = async {
            let Some((after, hand)) = meddler else { return };
            for _ in 0..after {
                yield_now().await;
            }
            let fresh = self.place.fields();
            let is_first = !fresh.contains_key(FIELD) || !old.contains_key(FIELD);
            if !is_first {
                *by_hand.borrow_mut() = Some(hand);
                let read = if after % 2 == 0 { fresh } else { old.clone() };
                self.scribble(hand, read);
            }
        };
        let (first, second, ()) = tokio::join!(self.deed(0, one), self.deed(1, other), meddle);
        let hand = by_hand.into_inner();
        self.count(first, done);
        self.count(second, done);
        if hand.is_some() {
            self.made += 1;
            self.others = self.foreign();
            done.by_hand = true;
        }
    }

    async fn deed(&self, who: usize, deed: Deed) -> Option<Wish> {
        let rotator = &self.parts[who].rotator;
        match deed {
            Deed::Tend => {
                rotator.tend(&self.stand.key).await;
                None
            }
            Deed::Order(wish) if !self.wishes.contains(&wish) => None,
            Deed::Order(wish) => {
                let is_given = self.strategy == schema::Strategy::Supplied && wish != Wish::Undo;
                let count = self.whole.progress.count;
                let value = is_given.then(|| format!("given {count} {who} {}", self.made).as_str().into());
                let ordered = rotator.order(&self.stand.key, order(wish), value, false).await;
                ordered.is_ok().then_some(wish)
            }
        }
    }

    fn count(&mut self, wish: Option<Wish>, done: &mut Done) {
        self.made += 1;
        done.wishes.extend(wish);
    }

    /// Somebody else writes, if there is a rotation that could be hurt.
    fn meddle(&mut self, hand: Hand) -> bool {
        if self.whole.progress == Progress::default() {
            return false;
        }
        self.made += 1;
        self.scribble(hand, self.place.fields());
        self.others = self.foreign();
        true
    }

    fn scribble(&self, hand: Hand, mut fields: Fields) {
        let value = format!("hand {}", self.made);
        match hand {
            Hand::Drops(number) => {
                let is_ours = |name: &&String| Slot::of_field("KEY", name).is_some();
                let name = fields.keys().filter(is_ours).nth(number).cloned();
                if let Some(name) = name {
                    fields.remove(&name);
                }
            }
            Hand::DropsState => drop(fields.remove(FIELD)),
            Hand::Replaces => {
                fields.retain(|name, _| matches!(Slot::of_field("KEY", name), Some(Slot::Current) | None));
                fields.remove(FIELD);
            }
            Hand::Changes => drop(fields.insert("KEY".into(), value)),
            Hand::ChangesWithoutState => {
                fields.remove(FIELD);
                fields.insert("KEY".into(), value);
            }
            Hand::RollsBack(by) => {
                let writes = self.whole.progress.writes;
                let old = if u64::try_from(by).is_ok_and(|by| by < writes) {
                    self.place.before(by)
                } else {
                    Fields::new()
                };
                // Only what rotators wrote is put back: what is older is as foreign as any.
                if !old.contains_key(FIELD) || !old.contains_key("KEY") {
                    return;
                }
                fields = old;
            }
            Hand::Adds(number) => drop(fields.insert(format!("OTHER_{number}"), value)),
        }
        self.place.put(fields);
    }

    /// An instance takes up what is there, and says so.
    fn catch_up(&mut self, who: usize) {
        let Whole { progress, values } = &self.whole;
        let Some(signs) = self.whole.signs() else { return };
        self.instances[who] = Instance { verifies: self.whole.ring(), signs: signs.clone() };
        let kid = |slot: &Slot| progress.kid(*slot).cloned();
        let verifies: Vec<Kid> = values.keys().filter(|slot| **slot != Slot::Kept).filter_map(kid).collect();
        self.heard[who] = Some(Heard {
            consumer: "cc".into(),
            instance: format!("cc-{who}").into(),
            verifies,
            signs: kid(&Slot::Current),
            current: true,
        });
        *self.stand.hearing.heard.lock().unwrap() = self.heard.iter().flatten().cloned().collect();
    }

    /// Somebody who has seen nothing makes it whole. He hears nobody, so that no rotation
    /// goes on by him.
    async fn mend(&mut self) -> Result<(), TestCaseError> {
        let said = std::mem::take(&mut *self.stand.hearing.heard.lock().unwrap());
        let fresh = self.stand.rotator(Arc::clone(&self.watch) as _);
        let mut tended = Vec::new();
        for _ in 0..6 {
            tended.push(fresh.tend(&self.stand.key).await);
            if !matches!(tended.last(), Some(Tended::Repaired(_) | Tended::Failed(_) | Tended::Did(_))) {
                break;
            }
        }
        *self.stand.hearing.heard.lock().unwrap() = said;
        let whole = self.look();
        prop_assert!(whole.is_some(), "it is not whole: {tended:?} {:?}", self.whole.progress);
        let was = std::mem::replace(&mut self.whole, whole.unwrap_or_default());
        prop_assert!(
            self.whole.progress != Progress::default() || was.progress == Progress::default(),
            "the state is gone: {tended:?} {was:?}"
        );
        Ok(())
    }

    /// What nobody is promised any more, after what was done.
    fn excuse(&mut self, was: &Whole, done: &Done) {
        let now = self.whole.ring();
        let leaks = done.wishes.contains(&Wish::Compromised);
        if leaks || (self.unsure && !self.whole.progress.compromised.is_empty()) {
            let lost: Vec<String> = was.ring().difference(&now).cloned().collect();
            if leaks && !done.unsure {
                self.leaked.extend(lost.iter().cloned());
            }
            self.gone.extend(lost);
            let instances = self.instances.iter().flat_map(|one| one.verifies.iter());
            self.gone.extend(instances.filter(|value| !now.contains(*value)).cloned());
        }
        let is_new = self.whole.signs() != was.signs();
        if is_new && (leaks || self.unsure) {
            self.sudden.extend(self.whole.signs().cloned());
        }
        if done.by_hand {
            self.by_hand = self.whole.values.clone();
            self.by_hand.retain(|slot, _| !self.whole.progress.keys.contains_key(slot));
            self.sudden.extend(now.difference(&was.ring()).cloned());
        }
        self.live.retain(|value, _| !self.gone.contains(value));
    }

    /// Each instance signs with what it has.
    fn sign(&mut self) {
        // Nothing of a ring is ever over.
        let life = if self.strategy == schema::Strategy::Ring { u64::MAX / 2 } else { OVERLAP };
        let until = self.now() + life;
        for instance in &self.instances {
            if !self.gone.contains(&instance.signs) {
                let lives = self.live.entry(instance.signs.clone()).or_default();
                *lives = (*lives).max(until);
            }
        }
    }

    fn holds(&self, was: &Whole, done: &Done) -> Result<(), TestCaseError> {
        let Whole { progress, values } = &self.whole;
        prop_assert_eq!(&self.foreign(), &self.others, "what is others' stays");
        self.one_signs()?;
        // The state goes forward only.
        let before = &was.progress;
        prop_assert!(progress.count >= before.count && progress.writes >= before.writes, "{progress:?}");
        prop_assert!(progress.clock >= before.clock, "the clock went back: {before:?} {progress:?}");
        prop_assert!(progress.clock >= progress.since, "it is written when it was: {progress:?}");
        if let (None, Some(then)) = (before.retire_after, progress.retire_after) {
            prop_assert!(then > before.clock + OVERLAP - 1, "{before:?} {progress:?}");
        }
        let ring = self.whole.ring();
        prop_assert!(self.leaked.is_disjoint(&ring), "what leaked is back: {progress:?} {values:?}");
        if self.strategy == schema::Strategy::Supplied {
            return Ok(());
        }
        for (value, until) in &self.live {
            prop_assert!(
                *until <= self.now() || ring.contains(value),
                "{value} is lost, and what it signed lives for {} s more: {was:?} {progress:?} {values:?}",
                until - self.now()
            );
        }
        for (signer, verifier) in [(0, 1), (1, 0)] {
            let signs = &self.instances[signer].signs;
            let is_known = self.instances[verifier].verifies.contains(signs);
            let is_excused = self.sudden.contains(signs) || self.gone.contains(signs);
            prop_assert!(is_known || is_excused, "{verifier} does not verify {signs}: {progress:?}");
        }
        self.the_one_before(was, done)
    }

    fn one_signs(&self) -> Result<(), TestCaseError> {
        let Whole { progress, values } = &self.whole;
        let signs = self.whole.signs();
        prop_assert!(signs.is_some_and(|signs| !signs.is_empty()), "no key signs: {progress:?}");
        for beside in [Slot::Next, Slot::Previous, Slot::Kept] {
            prop_assert!(values.get(&beside) != signs, "{beside:?} is the one that signs: {progress:?}");
        }
        if self.strategy == schema::Strategy::Ring && *progress != Progress::default() {
            let number = self.whole.number();
            prop_assert_eq!(number, progress.active, "{:?}", progress);
            let active = number.and_then(|number| values.get(&Slot::Numbered(number)));
            prop_assert_eq!(active, signs, "the two names of what signs differ: {:?}", progress);
        }
        if self.strategy == schema::Strategy::Overlap {
            let has = |slot: Slot| progress.keys.contains_key(&slot);
            let fits = match progress.phase {
                Phase::Steady => !has(Slot::Next) && !has(Slot::Previous),
                Phase::Staged => has(Slot::Next) && !has(Slot::Previous),
                Phase::Activated => has(Slot::Previous),
            };
            prop_assert!(fits, "{progress:?}");
            let is_by_hand = |(slot, value): &(&Slot, &String)| {
                self.by_hand.get(slot) == Some(value) && !progress.keys.contains_key(slot)
            };
            let there = values.iter().filter(|one| !is_by_hand(one)).map(|(slot, _)| slot);
            let noted = progress.keys.keys();
            let is_same = *progress == Progress::default() || noted.eq(there);
            prop_assert!(is_same, "{progress:?} {values:?}");
        }
        Ok(())
    }

    /// What signed before this move is what is verified with as the previous one.
    fn the_one_before(&self, was: &Whole, done: &Done) -> Result<(), TestCaseError> {
        let Whole { progress, values } = &self.whole;
        let (Some(signed), Some(signs)) = (was.signs(), self.whole.signs()) else { return Ok(()) };
        let is_plain = done.alone && !done.by_hand && !self.unsure;
        let leaks = done.wishes.contains(&Wish::Compromised);
        if self.strategy == schema::Strategy::Overlap && signed != signs && is_plain && !leaks {
            prop_assert_eq!(progress.phase, Phase::Activated);
            prop_assert_eq!(values.get(&Slot::Previous), Some(signed));
            let came_from = [Slot::Next, Slot::Previous].map(|slot| was.values.get(&slot));
            prop_assert!(came_from.contains(&Some(signs)), "{signs} was announced: {was:?}");
        }
        // Nothing that is noted goes but by its end, by an order, or as what leaked.
        let ended = done.unsure
            || self.unsure
            || done.wishes.iter().any(|wish| *wish != Wish::Rotate)
            || was.progress.phase == Phase::Activated && progress.phase == Phase::Steady
            || was.progress.retire_after.is_some_and(|then| then <= START + self.now());
        let ring = self.whole.ring();
        for (slot, value) in &was.values {
            // What another put there beside is his, and he may take it again.
            let is_ours = *slot == Slot::Current || was.progress.keys.contains_key(slot);
            let has_signed = is_ours
                && !matches!(slot, Slot::Active | Slot::Kept)
                && (*slot != Slot::Next || was.progress.phase != Phase::Staged);
            prop_assert!(
                ended || !has_signed || ring.contains(value),
                "{slot:?} {value} is lost: {was:?} {progress:?}"
            );
        }
        Ok(())
    }
}
