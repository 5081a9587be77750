//! What comes next, from what is known: no document is read here.

use super::desk::{Desk, Known};
use super::{Rotator, Tended, view::View};
use crate::model::key::Key;
use crate::model::rotation::Kid;
use crate::rotation::course::{Next, Order, Scene, Step, Wish, span};
use crate::rotation::estate::Rotating;
use crate::rotation::order::NotOrdered;
use crate::rotation::roll_call::RollCall;
use crate::rotation::windows;

/// What is to be done.
pub(super) enum Decision {
    Step(Box<Step>),
    /// A rotation that is due begins.
    Begin(Order),
    Wait(Vec<String>),
    Rest(Option<u64>),
}

/// A scene over what is known.
pub(super) fn scene<'a>(
    rotating: &'a Rotating,
    known: &'a Known,
    roll_call: &'a RollCall,
    now: u64,
    fresh: &'a Kid,
) -> Scene<'a> {
    Scene {
        owner: &rotating.key,
        rotation: &rotating.rotation,
        progress: &known.progress,
        there: &known.there,
        active: known.active,
        same: &known.same,
        roll_call,
        token_life: rotating.token_life,
        // No clock that was set back is before what was written.
        now: now.max(known.progress.clock),
        fresh,
    }
}

/// A name for a new key.
pub(super) fn fresh_kid() -> Result<Kid, NotOrdered> {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Ok(Kid::of_random(bytes)),
        Err(_) => Err(no_random()),
    }
}

pub(super) fn no_random() -> NotOrdered {
    NotOrdered::new("random", "the kernel gave no random bytes for a new key", "try it again")
}

impl Rotator {
    /// Who has which key.
    pub(super) async fn roll_call(&self, rotating: &Rotating) -> RollCall {
        let (heard, deaf) = match self.hearing.heard(&rotating.key).await {
            Ok(heard) => (heard, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let (expected, undeclared) = (rotating.expected.clone(), rotating.undeclared.clone());
        RollCall { expected, undeclared, heard, deaf }
    }

    pub(super) fn decide(&self, rotating: &Rotating, scene: &Scene<'_>) -> Decision {
        match scene.next() {
            Next::Step(step) => Decision::Step(step),
            Next::Wait(unmet) => Decision::Wait(unmet),
            Next::Rest(until) => Decision::Rest(until),
            Next::Due(_) => {
                let terms = self.terms();
                if !windows::is_open(&terms.windows, scene.now) {
                    return Decision::Rest(windows::opens_after(&terms.windows, scene.now));
                }
                let every = rotating.rotation.every.map_or_else(String::new, span);
                Decision::Begin(Order {
                    wish: Wish::Rotate,
                    accept_logout: false,
                    take_over: false,
                    reason: Some(format!("every {every}")),
                })
            }
        }
    }

    /// What is to be said without a look at the document; none where one is needed.
    pub(super) async fn glance(&self, key: &Key) -> Option<Tended> {
        let rotating = self.rotating(key)?;
        if !self.terms().enabled || !self.is_leading() {
            return None;
        }
        let desk = self.desk(key);
        let mut desk = desk.lock().await;
        let known = desk.known.clone()?;
        let roll_call = self.roll_call(&rotating).await;
        let fresh = Kid::initial();
        let scene = scene(&rotating, &known, &roll_call, self.now().now, &fresh);
        let tended = match self.decide(&rotating, &scene) {
            Decision::Wait(unmet) => Tended::Waits(unmet),
            Decision::Rest(until) => Tended::Rests(until),
            Decision::Step(_) | Decision::Begin(_) => return None,
        };
        self.note(&mut desk, &rotating, &tended);
        Some(tended)
    }

    /// When the next rotation is due.
    pub(super) fn due(rotating: &Rotating, known: &Known) -> Option<u64> {
        let (roll_call, fresh) = (RollCall::default(), Kid::initial());
        scene(rotating, known, &roll_call, known.progress.clock, &fresh).due_at()
    }

    /// Keeps for the status how it is, and tells what is new.
    pub(super) fn note(&self, desk: &mut Desk, rotating: &Rotating, tended: &Tended) {
        self.tell(&mut desk.told, &rotating.key, tended);
        self.show(&rotating.key, View::of(desk, rotating, tended));
    }
}
