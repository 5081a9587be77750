//! One look at one variable: read, mended, decided, written.

use super::decide::{Decision, fresh_kid, scene};
use super::desk::{Desk, Known};
use super::write::{Prepared, prepare, prepare_mending};
use super::{Rotator, Tended};
use crate::model::key::Key;
use crate::model::rotation::Phase;
use crate::model::schema::Strategy;
use crate::rotation::clock::{APART, seconds};
use crate::rotation::course::{Act, RING_SLOTS, Step, span};
use crate::rotation::estate::{Giver, Rotating};
use crate::rotation::order::NotOrdered;
use crate::rotation::repair::{Case, Mending, Seen, Verdict, judge};
use crate::source::writable::{Document, WritableSource, WriteErrorKind};
use crate::telemetry::Event;

/// How often a write that lost a race is decided anew.
pub(super) const ATTEMPTS: usize = 5;

/// A document that was read a moment ago.
pub(super) enum Looked {
    Intact(Sight),
    /// Somebody else's write has to be mended first.
    Hurt(Document, Mending),
}

/// A document that is whole.
pub(super) struct Sight {
    pub(super) document: Document,
    pub(super) known: Known,
    /// What time it is.
    pub(super) now: u64,
    /// Why nothing begins and nothing is retired: a server's clock says otherwise.
    pub(super) apart: Option<NotOrdered>,
}

impl Rotator {
    /// Looks at one variable, and writes what comes next: once at most.
    pub async fn tend(&self, key: &Key) -> Tended {
        let Some(rotating) = self.rotating(key) else { return Tended::Off };
        if !self.terms().enabled || !self.is_leading() {
            return Tended::Off;
        }
        let desk = self.desk(key);
        let mut desk = desk.lock().await;
        let tended = match rotating.rotation.strategy {
            Strategy::Dynamic => self.tend_leased(&mut desk, &rotating).await,
            Strategy::StaticRole | Strategy::Manual => Tended::Rests(None),
            Strategy::Overlap | Strategy::Ring | Strategy::Supplied => {
                self.tend_written(&mut desk, &rotating).await
            }
        };
        self.note(&mut desk, &rotating, &tended);
        tended
    }

    async fn tend_written(&self, desk: &mut Desk, rotating: &Rotating) -> Tended {
        let Some(giver) = self.estate.giver(&rotating.key) else { return Tended::Rests(None) };
        let source = match writable(&rotating.key, &giver) {
            Ok(source) => source,
            Err(_) if is_idle(desk, rotating) => return Tended::Rests(None),
            Err(why) => return Tended::Stuck(why),
        };
        desk.turn_to(&giver.source);
        for _ in 0..ATTEMPTS {
            match self.tend_once(desk, rotating, source).await {
                Tended::Failed(why) if why.code == "conflict" => {}
                tended => return tended,
            }
        }
        Tended::Failed(too_many_conflicts(&rotating.key))
    }

    async fn tend_once(&self, desk: &mut Desk, rotating: &Rotating, source: &dyn WritableSource) -> Tended {
        let sight = match self.look(desk, rotating, source).await {
            Ok(Looked::Intact(sight)) => sight,
            Ok(Looked::Hurt(document, mending)) => {
                return match self.repair(desk, rotating, source, &document, mending).await {
                    Ok(what) => Tended::Repaired(what),
                    Err(why) => unfinished(why),
                };
            }
            Err(why) => return unfinished(why),
        };
        let fresh = match fresh_kid() {
            Ok(fresh) => fresh,
            Err(why) => return Tended::Failed(why),
        };
        let roll_call = self.roll_call(rotating).await;
        let scene = scene(rotating, &sight.known, &roll_call, sight.now, &fresh);
        let step = match self.decide(rotating, &scene) {
            Decision::Wait(unmet) => return Tended::Waits(unmet),
            Decision::Rest(until) => {
                return sight.apart.map_or(Tended::Rests(until), Tended::Stuck);
            }
            Decision::Step(step) => step,
            Decision::Begin(order) => match scene.begin(&order) {
                Ok(step) => Box::new(step),
                Err(refusal) => return Tended::Stuck(refusal.into()),
            },
        };
        if let Some(why) = sight.apart {
            return Tended::Stuck(why);
        }
        let done = match prepare(&step, &rotating.key, &sight.document, rotating.generate, None) {
            Ok(prepared) => self.take(desk, rotating, source, &sight.document, &step, &prepared).await,
            Err(why) => Err(why),
        };
        match done {
            Ok(()) => Tended::Did(step.act),
            Err(why) => unfinished(why),
        }
    }

    /// Writes a step that was decided, and tells of it.
    pub(super) async fn take(
        &self,
        desk: &mut Desk,
        rotating: &Rotating,
        source: &dyn WritableSource,
        document: &Document,
        step: &Step,
        prepared: &Prepared,
    ) -> Result<(), NotOrdered> {
        self.is_fine(&rotating.key, prepared).await?;
        self.write(desk, source, document, prepared, Some(step.act)).await?;
        self.tell_step(&rotating.key, step.act, &document.place, prepared.progress().count);
        Ok(())
    }

    pub(super) fn tell_step(&self, key: &Key, act: Act, place: &str, number: u64) {
        if !matches!(act, Act::Settle | Act::Unsettle) {
            let (key, place) = (key.clone(), place.to_owned());
            self.listener.tell(Event::Rotated { key, act: act.as_str(), place, number });
        }
    }

    /// Reads a document, and judges what others did to it.
    pub(super) async fn look(
        &self,
        desk: &mut Desk,
        rotating: &Rotating,
        source: &dyn WritableSource,
    ) -> Result<Looked, NotOrdered> {
        let key = &rotating.key;
        let document = source.open(key).await?;
        desk.come_to(&document.place);
        let server = document.server_time.map(seconds);
        if let Some(server) = server {
            self.hear_time(server);
        }
        let now = self.now().now;
        let seen = self.seen(desk, key, source, &document).await?;
        let fresh = fresh_kid()?;
        let case = Case {
            owner: key,
            strategy: rotating.rotation.strategy,
            slots: rotating.rotation.slots.unwrap_or(RING_SLOTS),
            document: &document,
            seen: seen.as_ref(),
            fresh: &fresh,
            now,
        };
        match judge(&case) {
            Verdict::Intact => {}
            Verdict::Mend(mending) => return Ok(Looked::Hurt(document, *mending)),
            Verdict::Lost(what) => {
                let help = "write a new one there by hand: a document that has one is taken as it is";
                return Err(NotOrdered::new("lost", what, help));
            }
        }
        let known = Known::of(&document);
        desk.seen = Seen::of(&document);
        desk.known = Some(known.clone());
        // A write whose answer was lost was done after all.
        if let Some((progress, act)) = desk.unsure.take()
            && document.progress() == Some(&progress)
        {
            self.tell_step(key, act, &document.place, progress.count);
        }
        let apart = server.filter(|server| server.abs_diff(now) > APART);
        let written = known.progress.clock;
        let why = match apart {
            Some(server) => Some(self::apart(key, now, server)),
            // The time that was written holds where ours is before it: it must be one.
            None => (written > now.saturating_add(APART)).then(|| ahead(key, written)),
        };
        // What is written all the same must not be ahead of the time.
        let (apart, now) = (why, apart.map_or(now, |server| server.min(now)));
        Ok(Looked::Intact(Sight { document, known, now, apart }))
    }

    /// What was there before: what is remembered, or the place's own former versions
    /// where those know better.
    async fn seen(
        &self,
        desk: &mut Desk,
        key: &Key,
        source: &dyn WritableSource,
        document: &Document,
    ) -> Result<Option<Seen>, NotOrdered> {
        // Whatever others wrote since may be older than what is remembered here: only the
        // place knows what was there in between.
        if desk.asked_before.as_ref() != Some(&document.revision) {
            let before = match source.before(document, key).await {
                Ok(before) => before.as_ref().and_then(Seen::of),
                Err(error)
                    if matches!(error.kind, WriteErrorKind::Unavailable | WriteErrorKind::Conflict) =>
                {
                    return Err(error.into());
                }
                // Who may not read them goes by what is there.
                Err(_) => None,
            };
            desk.asked_before = Some(document.revision.clone());
            desk.seen = Seen::later(desk.seen.take(), before);
        }
        Ok(desk.seen.clone())
    }

    /// Writes what makes a document whole, and tells of it.
    pub(super) async fn repair(
        &self,
        desk: &mut Desk,
        rotating: &Rotating,
        source: &dyn WritableSource,
        document: &Document,
        mending: Mending,
    ) -> Result<Vec<String>, NotOrdered> {
        let what = mending.what.clone();
        let prepared = prepare_mending(mending, document);
        self.write(desk, source, document, &prepared, None).await?;
        let (key, place) = (rotating.key.clone(), document.place.to_string());
        self.listener.tell(Event::RotationRepaired { key, place, what: what.clone() });
        Ok(what)
    }
}

/// A failure that is tried again, or one that somebody has to mend.
fn unfinished(why: NotOrdered) -> Tended {
    match why.code.as_str() {
        "not-leader" => Tended::Off,
        "conflict" | "unavailable" | "random" => Tended::Failed(why),
        _ => Tended::Stuck(why),
    }
}

pub(super) fn too_many_conflicts(key: &Key) -> NotOrdered {
    NotOrdered::new(
        "conflict",
        format!("somebody else writes to where {key} is, again and again: nothing was written"),
        "find out who, and try it again",
    )
}

/// Whether nothing of it is under way, and nothing begins by itself.
fn is_idle(desk: &Desk, rotating: &Rotating) -> bool {
    let is_steady = desk.known.as_ref().is_none_or(|known| known.progress.phase == Phase::Steady);
    let is_never_due = rotating.rotation.every.is_none() || rotating.rotation.strategy == Strategy::Supplied;
    is_steady && is_never_due
}

/// The source that is written to.
pub(super) fn writable<'g>(key: &Key, giver: &'g Giver) -> Result<&'g dyn WritableSource, NotOrdered> {
    let place = &giver.place;
    let Some(source) = giver.source.writable() else {
        let name = giver.source.name();
        return Err(match giver.below.first() {
            Some(below) => NotOrdered::new(
                "shadowed",
                format!("{key} at {place} wins over {below}, and source {name} cannot be written to"),
                format!("remove {key} from {place}: then {below} gives it, and can be rotated"),
            ),
            None => NotOrdered::new(
                "not-writable",
                format!("{key} comes from {place}, and source {name} cannot be written to"),
                "keep it in a vault, kubernetes, sealed or dotenv source, or change it there by hand",
            ),
        });
    };
    if let Some((stray, at)) = giver.strays.first() {
        return Err(NotOrdered::new(
            "shadowed",
            format!("{at} gives {stray}, which the rotation of {key} keeps beside it: beside {place}"),
            format!("remove {stray} from {at}"),
        ));
    }
    Ok(source)
}

fn apart(key: &Key, now: u64, server: u64) -> NotOrdered {
    let (by, which) = if now > server { (now - server, "ahead of") } else { (server - now, "behind") };
    NotOrdered::new(
        "clock",
        format!(
            "this machine's clock ({}) is {} {which} the server's ({}): nothing of {key} begins, and nothing is retired",
            time(now),
            span(by),
            time(server)
        ),
        "set the clock that is wrong",
    )
}

/// Either clock is wrong: ours now, or that of whoever wrote the state.
fn ahead(key: &Key, written: u64) -> NotOrdered {
    NotOrdered::new(
        "clock",
        format!(
            "the state of {key}'s rotation was written at {}, which is minutes after this machine's time: \
             nothing of it begins, and nothing is retired",
            time(written)
        ),
        "set this machine's clock; where that is right, correct the times in DLCONF_STATE",
    )
}

/// As people read it: `2024-01-01T00:00:00Z`.
fn time(seconds: u64) -> String {
    let known = i64::try_from(seconds).ok().and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0));
    known.map_or_else(|| seconds.to_string(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}
