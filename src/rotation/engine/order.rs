//! What somebody wants, done: its first step.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::Rotator;
use super::decide::{fresh_kid, scene};
use super::desk::Desk;
use super::tend::{ATTEMPTS, Looked, Sight, too_many_conflicts, writable};
use super::view::strategy;
use super::write::prepare;
use crate::model::key::Key;
use crate::model::rotation::{Phase, Progress, Slot};
use crate::model::schema::Strategy;
use crate::model::secret::SecretValue;
use crate::rotation::course::{Act, Order, Step, Wish, span};
use crate::rotation::estate::Rotating;
use crate::rotation::order::{NotOrdered, Ordered, words};
use crate::source::backoff::{Backoff, share};
use crate::source::writable::WritableSource;

/// How often a place that did not answer is asked what became of a write.
const ENQUIRIES: usize = 3;

/// Somebody's order, and what came with it.
struct Wanted<'a> {
    rotating: &'a Rotating,
    order: &'a Order,
    supplied: Option<&'a Arc<SecretValue>>,
    dry_run: bool,
}

impl Rotator {
    /// Does what somebody wants: its first step. The rest follows by itself.
    /// `supplied` is the new value, where the variable's strategy takes one.
    ///
    /// # Errors
    /// [`NotOrdered`]: nothing was written, unless it says that nobody knows.
    pub async fn order(
        &self,
        key: &Key,
        order: Order,
        supplied: Option<SecretValue>,
        dry_run: bool,
    ) -> Result<Ordered, NotOrdered> {
        if !self.terms().enabled {
            return Err(NotOrdered::new(
                "off",
                "this daemon rotates nothing",
                "[rotation] `enabled = true` in the settings of the one that may write",
            ));
        }
        if !self.is_leading() {
            return Err(not_leading());
        }
        let Some(rotating) = self.rotating(key) else {
            return Err(NotOrdered::new(
                "unknown",
                format!("the schema has no `rotation` for {key}, or no service of this daemon reads it"),
                "dlconf status lists what is rotated",
            ));
        };
        let supplied = supplied.map(Arc::new);
        let wanted = Wanted { rotating: &rotating, order: &order, supplied: supplied.as_ref(), dry_run };
        wanted.has_its_value()?;
        let desk = self.desk(key);
        let mut desk = desk.lock().await;
        let ordered = if rotating.rotation.strategy == Strategy::Dynamic {
            self.order_leased(&mut desk, &rotating, &order, dry_run).await
        } else {
            self.order_written(&mut desk, &wanted).await
        };
        if ordered.is_ok() && !dry_run {
            self.nudge.send_modify(|times| *times += 1);
        }
        ordered
    }

    async fn order_written(&self, desk: &mut Desk, wanted: &Wanted<'_>) -> Result<Ordered, NotOrdered> {
        let key = &wanted.rotating.key;
        let never_written = matches!(
            wanted.rotating.rotation.strategy,
            Strategy::StaticRole | Strategy::Manual | Strategy::Dynamic
        );
        let giver = if never_written { None } else { self.estate.giver(key) };
        let Some(giver) = giver else {
            return Err(self.refuse_without_a_giver(wanted).await);
        };
        let source = writable(key, &giver)?;
        desk.turn_to(&giver.source);
        for _ in 0..ATTEMPTS {
            match self.attempt(desk, wanted, source).await {
                Err(why) if why.code == "conflict" => {}
                done => return done,
            }
        }
        Err(too_many_conflicts(key))
    }

    /// Why it is not rotated, where the schema itself says why; else that nobody gives it.
    async fn refuse_without_a_giver(&self, wanted: &Wanted<'_>) -> NotOrdered {
        let key = &wanted.rotating.key;
        let known =
            super::desk::Known::new("".into(), Progress::default(), &std::collections::BTreeMap::new());
        let roll_call = self.roll_call(wanted.rotating).await;
        let fresh = crate::model::rotation::Kid::initial();
        let scene = scene(wanted.rotating, &known, &roll_call, 0, &fresh);
        match scene.begin(wanted.order) {
            Err(refusal) if refusal.code != "not-there" => refusal.into(),
            _ => NotOrdered::new(
                "no-source",
                format!("no source gives {key}, so that nobody knows where it is written"),
                "put a first value where it belongs",
            ),
        }
    }

    async fn attempt(
        &self,
        desk: &mut Desk,
        wanted: &Wanted<'_>,
        source: &dyn WritableSource,
    ) -> Result<Ordered, NotOrdered> {
        let (rotating, key) = (wanted.rotating, &wanted.rotating.key);
        let sight = self.look_and_mend(desk, wanted, source).await?;
        let fresh = fresh_kid()?;
        let roll_call = self.roll_call(rotating).await;
        let now = sight.now;
        let scene = scene(rotating, &sight.known, &roll_call, now, &fresh);
        let step = scene.begin(wanted.order)?;
        // What leaked goes whatever the time is.
        if wanted.order.wish == Wish::Rotate
            && let Some(why) = sight.apart
        {
            return Err(why);
        }
        wanted.is_another(&sight)?;
        let prepared = prepare(&step, key, &sight.document, rotating.generate, wanted.supplied)?;
        let ordered = Ordered {
            key: key.to_string(),
            strategy: strategy(rotating.rotation.strategy).to_owned(),
            act: step.act.as_str().to_owned(),
            place: sight.document.place.to_string(),
            dry_run: wanted.dry_run,
            plan: plan(&step, rotating),
            number: step.progress.count,
        };
        if wanted.dry_run {
            self.is_fine(key, &prepared).await?;
            return Ok(ordered);
        }
        match self.take(desk, rotating, source, &sight.document, &step, &prepared).await {
            Ok(()) => Ok(ordered),
            Err(why) if why.code == "unavailable" => {
                self.enquire(desk, rotating, source, prepared.progress(), why).await.map(|()| ordered)
            }
            Err(why) => Err(why),
        }
    }

    /// Looks, and mends what somebody else's write did.
    async fn look_and_mend(
        &self,
        desk: &mut Desk,
        wanted: &Wanted<'_>,
        source: &dyn WritableSource,
    ) -> Result<Sight, NotOrdered> {
        let key = &wanted.rotating.key;
        for _ in 0..ATTEMPTS {
            match self.look(desk, wanted.rotating, source).await? {
                Looked::Intact(sight) => return Ok(sight),
                Looked::Hurt(_, mending) if wanted.dry_run => {
                    return Err(NotOrdered::new(
                        "changed-by-hand",
                        format!(
                            "somebody else changed what the rotation of {key} needs: {}",
                            mending.what.join("; ")
                        ),
                        "the rotator mends that within moments; try it again then",
                    ));
                }
                Looked::Hurt(document, mending) => {
                    match self.repair(desk, wanted.rotating, source, &document, mending).await {
                        Ok(_) => {}
                        Err(why) if why.code == "conflict" => {}
                        Err(why) => return Err(why),
                    }
                }
            }
        }
        Err(too_many_conflicts(key))
    }

    /// What became of a write whose answer was lost.
    async fn enquire(
        &self,
        desk: &mut Desk,
        rotating: &Rotating,
        source: &dyn WritableSource,
        wanted: &Progress,
        why: NotOrdered,
    ) -> Result<(), NotOrdered> {
        let mut backoff = Backoff::default();
        for _ in 0..ENQUIRIES {
            let pause: Duration = backoff.after_failure(share());
            sleep(pause).await;
            if let Ok(Looked::Intact(sight)) = self.look(desk, rotating, source).await {
                if sight.document.progress() == Some(wanted) {
                    return Ok(());
                }
                if sight.document.progress().is_some_and(|there| there.writes >= wanted.writes) {
                    // Somebody else's write took its place: ours cannot come any more.
                    return Err(NotOrdered::new("conflict", why.message, why.help));
                }
            }
        }
        let message = format!("{}: nobody knows whether it was written", why.message);
        Err(NotOrdered::new("unavailable", message, "dlconf status shows it, once that answers again"))
    }
}

impl Wanted<'_> {
    /// A value comes with the order where one is needed, and nowhere else.
    fn has_its_value(&self) -> Result<(), NotOrdered> {
        let key = &self.rotating.key;
        let takes_one =
            self.rotating.rotation.strategy == Strategy::Supplied && self.order.wish != Wish::Undo;
        match self.supplied {
            Some(_) if !takes_one => Err(NotOrdered::new(
                "value-given",
                format!("{key} takes no value from you here"),
                "leave the value out",
            )),
            Some(value) if value.is_empty() => Err(NotOrdered::new(
                "value-needed",
                format!("the new {key} is empty"),
                "give one: --from-stdin",
            )),
            None if takes_one => Err(NotOrdered::new(
                "value-needed",
                format!("a new {key} is made elsewhere, and none was given"),
                "give it: --from-stdin",
            )),
            _ => Ok(()),
        }
    }

    fn is_another(&self, sight: &Sight) -> Result<(), NotOrdered> {
        let there = sight.document.values.get(&Slot::Current);
        if self.supplied.is_some_and(|given| sight.known.progress.is_compromised(given)) {
            return Err(NotOrdered::new(
                "same",
                format!("this {} leaked, and was taken away: it does not come back", self.rotating.key),
                "give a new one",
            ));
        }
        match (self.supplied, there) {
            (Some(given), Some(there)) if given.same_as(there) => Err(NotOrdered::new(
                "same",
                format!("this is the {} that is there already", self.rotating.key),
                "give the new one",
            )),
            _ => Ok(()),
        }
    }
}

pub(super) fn not_leading() -> NotOrdered {
    NotOrdered::new(
        "not-leader",
        "another daemon is the one that rotates",
        "ask that one: the holder of the Lease that [rotation] names",
    )
}

/// The step in sentences, and what follows.
fn plan(step: &Step, rotating: &Rotating) -> Vec<String> {
    let key = &rotating.key;
    let mut plan = words(step, key.as_str());
    let then = |text: &str| text.to_owned();
    let retired = || {
        let overlap = rotating.rotation.overlap.unwrap_or(0).max(rotating.token_life.unwrap_or(0));
        format!(
            "{} after everybody uses the new key, {} is removed",
            span(overlap),
            Slot::Previous.field(key.as_str())
        )
    };
    match (step.act, rotating.rotation.strategy) {
        (Act::Stage, Strategy::Ring) => {
            plan.push(then("once everybody has acknowledged it, it signs; no key is ever removed"));
        }
        (Act::Stage, _) => {
            plan.push(format!(
                "once everybody has acknowledged it, it becomes {key}, and {key} becomes {}",
                Slot::Previous.field(key.as_str())
            ));
            plan.push(retired());
        }
        (Act::Undo, Strategy::Overlap) if step.progress.phase == Phase::Activated => plan.push(retired()),
        (Act::Supply, _) => {
            if let Some(until) = step.progress.retire_after {
                let kept = span(until.saturating_sub(step.progress.since));
                plan.push(format!("for {kept}, --undo puts the value before back"));
            }
        }
        (Act::Compromise, Strategy::Overlap) if step.set.is_empty() => {
            plan.push(then("what the key before signed is refused from then on"));
            plan.push(format!("the present {key} stays: if that is the one that leaked, say so once more"));
        }
        (Act::Compromise, Strategy::Overlap) => {
            plan.push(format!("what the old {key} signed is refused from then on, and it never signs again"));
        }
        (Act::Compromise, Strategy::Supplied) => {
            plan.push(then("the old one is not kept: --undo cannot put it back"));
        }
        _ => {}
    }
    plan
}
