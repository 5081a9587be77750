//! What may happen in the model: chosen at random, and replayed when it is made smaller.

use dlconf::rotation::course::Wish;
use proptest::prelude::{Just, any, prop, prop_oneof};
use proptest::strategy::Strategy;

use super::fragile::Trouble;

/// What somebody else writes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hand {
    /// Without one of the rotation's fields.
    Drops(usize),
    /// Without the state.
    DropsState,
    /// Only what he knows: the key that signs, and what is not the rotation's.
    Replaces,
    /// Another key.
    Changes,
    /// Another key, and without the state.
    ChangesWithoutState,
    /// What was there so many versions ago.
    RollsBack(usize),
    /// A field that is none of the rotation's; or another value of it.
    Adds(usize),
}

/// What a rotator is asked to do.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Deed {
    Tend,
    Order(Wish),
}

/// How a deed ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// As it does, with this trouble.
    By(Option<Trouble>),
    /// Half way: dropped.
    Cut(usize),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Move {
    /// One of the two does something; whether it ends then, and the next one comes from
    /// nothing.
    One {
        who: usize,
        deed: Deed,
        end: End,
        dies: bool,
    },
    /// Both do something at once, and somebody else writes in the middle of it.
    Race {
        deeds: [Deed; 2],
        meddler: Option<(usize, Hand)>,
        dies: bool,
    },
    /// An instance takes up what is there.
    CatchUp(usize),
    AllCatchUp,
    Pass,
    /// One of them starts with a clock that was set back, and looks.
    StartsInThePast(usize),
    Meddle(Hand),
}

pub(crate) fn hands() -> impl Strategy<Value = Hand> {
    prop_oneof![
        3 => (0_usize..5).prop_map(Hand::Drops),
        1 => Just(Hand::DropsState),
        1 => Just(Hand::Replaces),
        2 => Just(Hand::Changes),
        1 => Just(Hand::ChangesWithoutState),
        2 => (1_usize..4).prop_map(Hand::RollsBack),
        1 => (0_usize..3).prop_map(Hand::Adds),
    ]
}

pub(crate) fn moves(at_most: usize) -> impl Strategy<Value = Vec<Move>> {
    let wish = || prop_oneof![5 => Just(Wish::Rotate), 2 => Just(Wish::Undo), 1 => Just(Wish::Compromised)];
    let deed = move || prop_oneof![2 => Just(Deed::Tend), 1 => wish().prop_map(Deed::Order)];
    let trouble = prop_oneof![Just(Trouble::Conflict), Just(Trouble::LostBefore), Just(Trouble::LostAfter),];
    let end = prop_oneof![
        3 => Just(End::By(None)),
        2 => trouble.prop_map(|trouble| End::By(Some(trouble))),
        2 => (1_usize..16).prop_map(End::Cut),
    ];
    let meddler = prop_oneof![3 => Just(None), 1 => (0_usize..8, hands()).prop_map(Some)];
    let one = prop_oneof![
        3 => (0_usize..2, wish()).prop_map(|(who, wish)| {
            Move::One { who, deed: Deed::Order(wish), end: End::By(None), dies: false }
        }),
        8 => (0_usize..2, deed(), end, any::<bool>())
            .prop_map(|(who, deed, end, dies)| Move::One { who, deed, end, dies }),
        5 => (deed(), deed(), meddler, any::<bool>())
            .prop_map(|(one, other, meddler, dies)| Move::Race { deeds: [one, other], meddler, dies }),
        2 => (0_usize..2).prop_map(Move::CatchUp),
        6 => Just(Move::AllCatchUp),
        2 => Just(Move::Pass),
        1 => (0_usize..2).prop_map(Move::StartsInThePast),
        3 => hands().prop_map(Move::Meddle),
    ];
    prop::collection::vec(one, 1..at_most)
}
