//! What is lent: replaced by its source, and the old one given up once nobody uses it.
//!
//! Nothing of it is stored: when the daemon ends, the old one lives to its end.

use super::decide::fresh_kid;
use super::desk::Desk;
use super::view::strategy;
use super::{Rotator, Tended};
use crate::model::rotation::{Kid, Print};
use crate::rotation::course::{Act, Order, Wish};
use crate::rotation::estate::Rotating;
use crate::rotation::order::{NotOrdered, Ordered};
use crate::rotation::roll_call::Need;

/// How far the replacement of something lent is.
#[derive(Default)]
pub(super) struct Leased {
    /// How often it was replaced since the start.
    number: u64,
    replaced: Option<Replaced>,
}

struct Replaced {
    since: u64,
    /// What recognises the old one.
    old: (Kid, Print),
}

impl Leased {
    /// Its number, and since when one is being replaced.
    pub(super) fn shown(&self) -> (u64, Option<u64>) {
        (self.number, self.replaced.as_ref().map(|replaced| replaced.since))
    }
}

impl Rotator {
    pub(super) async fn order_leased(
        &self,
        desk: &mut Desk,
        rotating: &Rotating,
        order: &Order,
        dry_run: bool,
    ) -> Result<Ordered, NotOrdered> {
        let key = &rotating.key;
        let compromised = order.wish == Wish::Compromised;
        if order.wish == Wish::Undo {
            return Err(NotOrdered::new(
                "dynamic",
                format!("{key} is leased, and what was lent before does not come back"),
                format!("a new one does: dlconf rotate {key}"),
            ));
        }
        if self.is_still_replacing(desk, rotating).await && !compromised {
            return Err(NotOrdered::new(
                "under-way",
                format!("{key} is being replaced: not everybody uses the new one yet"),
                "dlconf status says who",
            ));
        }
        if compromised && !order.accept_logout {
            return Err(NotOrdered::new(
                "needs-confirmation",
                format!(
                    "to end a leaked {key} at once cuts off everybody who has not taken up the new one yet"
                ),
                "say so by name: --yes, or answer the question at a terminal",
            ));
        }
        let Some(giver) = self.estate.giver(key) else {
            return Err(NotOrdered::new(
                "no-source",
                format!("no source gives {key}"),
                "dlconf explain says why",
            ));
        };
        let mut ordered = Ordered {
            key: key.to_string(),
            strategy: strategy(rotating.rotation.strategy).to_owned(),
            act: if compromised { Act::Compromise } else { Act::Activate }.as_str().to_owned(),
            place: giver.place.clone(),
            dry_run,
            plan: vec![
                "asks the server for another, and nothing is written".to_owned(),
                if compromised {
                    "ends the old one at once".to_owned()
                } else {
                    "ends the old one once everybody has taken up the new one, or when its lease ends"
                        .to_owned()
                },
            ],
            number: desk.leased.number + 1,
        };
        if dry_run {
            return Ok(ordered);
        }
        let kid = fresh_kid()?;
        let old = Print::of(&kid, &giver.value);
        if compromised {
            // One that is being replaced leaked as well, or nobody knows; and a path lends
            // no third one beside the two.
            giver.source.give_up_replaced(key).await;
            desk.leased.replaced = None;
        }
        match giver.source.replace_lent(key).await {
            None => {
                return Err(NotOrdered::new(
                    "not-leased",
                    format!("{key} comes from {}, which lends nothing", giver.place),
                    "take it from the server's database engine, or change its `strategy` in the schema",
                ));
            }
            Some(replaced) => replaced?,
        }
        desk.leased.number += 1;
        ordered.number = desk.leased.number;
        if compromised {
            giver.source.give_up_replaced(key).await;
            desk.leased.replaced = None;
        } else {
            desk.leased.replaced = Some(Replaced { since: self.now().now, old: (kid, old) });
        }
        let act = if compromised { Act::Compromise } else { Act::Activate };
        self.tell_step(key, act, &giver.place, ordered.number);
        Ok(ordered)
    }

    /// Whether one is being replaced, and has not come to its own end.
    async fn is_still_replacing(&self, desk: &mut Desk, rotating: &Rotating) -> bool {
        if desk.leased.replaced.is_none() {
            return false;
        }
        let key = &rotating.key;
        let Some(giver) = self.estate.giver(key) else { return true };
        if giver.source.has_replaced(key).await {
            return true;
        }
        desk.leased.replaced = None;
        self.tell_step(key, Act::Retire, &giver.place, desk.leased.number);
        false
    }

    pub(super) async fn tend_leased(&self, desk: &mut Desk, rotating: &Rotating) -> Tended {
        let key = &rotating.key;
        let was_replacing = desk.leased.replaced.is_some();
        if was_replacing && !self.is_still_replacing(desk, rotating).await {
            return Tended::Did(Act::Retire);
        }
        let Some(Replaced { old: (kid, old), .. }) = &desk.leased.replaced else {
            return Tended::Rests(None);
        };
        let Some(giver) = self.estate.giver(key) else { return Tended::Rests(None) };
        if *old == Print::of(kid, &giver.value) {
            return Tended::Waits(vec!["the new one is not published yet".to_owned()]);
        }
        let roll_call = self.roll_call(rotating).await;
        let mut unmet = roll_call.unmet(Need::Current);
        if !roll_call.has_anybody() || !roll_call.undeclared.is_empty() {
            unmet.push(
                "nobody knows everybody who uses the old one: it lives to the end of its lease".to_owned(),
            );
        }
        if !unmet.is_empty() {
            return Tended::Waits(unmet);
        }
        giver.source.give_up_replaced(key).await;
        desk.leased.replaced = None;
        self.tell_step(key, Act::Retire, &giver.place, desk.leased.number);
        Tended::Did(Act::Retire)
    }
}
