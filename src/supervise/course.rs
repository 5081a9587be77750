//! What is to be done next, and when: decided, not done.
//!
//! Pure: the time, random numbers and everything that happens come from outside.
//! Invariants: a program is started with a valid configuration only, the newest that
//! there is; one change starts it once; it is put back once; nothing is started after
//! the end was asked for. Where there is a queue, no change stops a program out of turn,
//! and the turn is kept until what was started then works.
//! Must not know: processes, files, sockets; who else is in the queue.
//!
//! Rooms: `traffic` is what goes in and comes out; `place` is ours in the queue.

mod place;
mod traffic;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::happening::{Happening, Unhealthy};
use super::offer::Offer;
use super::terms::{Health, OnChange, Terms};
use crate::failure::exit;
use crate::process::{Ended, Signal};
use place::Place;
pub(super) use traffic::{Input, Step};

/// How long what was killed may take to vanish.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// A random time up to this one.
pub(super) type Random = Box<dyn FnMut(Duration) -> Duration>;

/// The course of a program.
pub(super) struct Course {
    terms: Terms,
    random: Random,
    place: Place,
    phase: Phase,
    /// What it is to run with.
    wanted: Arc<Offer>,
    /// What it worked with last, as long as it is not proven with something newer.
    previous: Option<Arc<Offer>>,
    /// What it did not work with.
    refused: Option<Arc<Offer>>,
    /// Whether it is being put back on what it worked with.
    putting_back: bool,
    /// How often it ended by itself in a row.
    deaths: u32,
    /// Until when an end counts as asked for.
    asked_until: Option<Instant>,
    first: bool,
}

enum Phase {
    /// It is to be started at this moment, or is being started.
    Waiting(Option<Instant>),
    Up(Up),
    /// It is to vanish.
    Down {
        /// When what is left is killed; none once it is.
        kill_at: Option<Instant>,
        /// When what cannot be killed is left behind.
        leave_at: Option<Instant>,
        ended: Option<Ended>,
        then: Then,
    },
    Over,
}

/// What follows when a program has vanished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Start,
    StartAt(Instant),
    End,
}

/// It runs.
struct Up {
    offer: Arc<Offer>,
    since: Instant,
    is_proven: bool,
    put_back: bool,
    /// When it must be proven.
    prove_by: Option<Instant>,
    /// When a change is applied.
    apply_at: Option<Instant>,
    /// Whether it goes on with something older than `offer`, which is not kept.
    is_behind: bool,
    /// What it is being told.
    reloading: Option<Arc<Offer>>,
}

impl Up {
    /// It was proven, and it is told with what: only what it really has.
    fn runs(&self, steps: &mut Vec<Step>) {
        if !self.is_behind {
            steps.push(Step::Tell(Happening::Runs { version: self.offer.version.clone() }));
        }
    }
}

impl Course {
    /// A course that begins with a start. `queues`: restarts for changes wait for our turn.
    pub(super) fn new(terms: Terms, random: Random, queues: bool, offer: Arc<Offer>, now: Instant) -> Self {
        Self {
            terms,
            random,
            place: Place::new(queues),
            phase: Phase::Waiting(Some(now)),
            wanted: offer,
            previous: None,
            refused: None,
            putting_back: false,
            deaths: 0,
            asked_until: None,
            first: true,
        }
    }

    /// When [`Input::Due`] is due, if nothing happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Waiting(at) => *at,
            Phase::Up(up) => {
                // While it is being told of something newer, nothing is decided.
                let moments = [up.apply_at, up.prove_by].into_iter().flatten();
                moments.min().filter(|_| up.reloading.is_none())
            }
            Phase::Down { kill_at, leave_at, .. } => kill_at.or(*leave_at),
            Phase::Over => None,
        }
    }

    /// What a program that is up runs with.
    pub(super) fn runs_with(&self) -> Option<&Arc<Offer>> {
        match &self.phase {
            Phase::Up(up) => Some(&up.offer),
            Phase::Waiting(_) | Phase::Down { .. } | Phase::Over => None,
        }
    }

    /// Whether our turn is waited for.
    pub(super) fn waits_for_turn(&self) -> bool {
        self.place == Place::Waits
    }

    /// There is something newer than what it did not work with, though it cannot be had:
    /// then that is not kept any longer.
    pub(super) fn passed_over(&mut self) {
        self.refused = None;
    }

    /// Takes what happened; what is to be done about it, in this order.
    pub(super) fn take(&mut self, input: Input, now: Instant) -> Vec<Step> {
        let mut steps = Vec::new();
        match input {
            Input::Offered(offer) => self.offered(offer, now, &mut steps),
            Input::Started(pid) => self.started(pid, now, &mut steps),
            Input::NotStarted(code, why) => self.not_started(code, why, now, &mut steps),
            Input::Ended(ended) => self.ended(ended, now, &mut steps),
            Input::Gone => self.gone(now, &mut steps),
            Input::Reloaded(done) => self.reloaded(done, now, &mut steps),
            Input::Healthy => self.proven(&mut steps),
            Input::Suspended(time) => self.suspended(time),
            Input::Signalled(signal) => self.signalled(signal, now, &mut steps),
            Input::OurTurn => self.our_turn(now),
            Input::Due => self.passed(now, &mut steps),
        }
        steps
    }

    fn offered(&mut self, offer: Arc<Offer>, now: Instant, steps: &mut Vec<Step>) {
        if self.refused.as_ref().is_some_and(|refused| refused.same_as(&offer)) {
            return;
        }
        self.refused = None;
        let is_new = !self.wanted.same_as(&offer);
        // What it is put back on may be what is offered again.
        self.putting_back &= !is_new;
        self.wanted = Arc::clone(&offer);
        let up = match &mut self.phase {
            Phase::Up(up) => up,
            // What made it end may be mended.
            Phase::Waiting(Some(at)) if is_new => {
                (*at, self.deaths) = (now, 0);
                return;
            }
            Phase::Waiting(_) | Phase::Down { .. } | Phase::Over => return,
        };
        // What it is being told is what it will have.
        let has = up.reloading.as_ref().unwrap_or(&up.offer);
        if !has.same_as(&offer) {
            if up.apply_at.is_none() {
                let splay = (self.random)(self.terms.splay);
                up.apply_at = Some((now + splay).max(up.since + self.terms.min_interval));
            }
            return;
        }
        let waited = is_new && self.place == Place::Waits;
        if up.apply_at.take().is_some() || waited {
            steps.push(Step::Tell(Happening::ChangedBack));
        }
        if waited || (self.place == Place::Has && up.is_proven) {
            self.place.leave(steps);
        }
        if let Some(reloading) = &mut up.reloading {
            *reloading = offer;
        } else {
            up.offer = offer;
            if up.is_proven {
                up.runs(steps);
            }
        }
    }

    fn started(&mut self, pid: i32, now: Instant, steps: &mut Vec<Step>) {
        let (first, put_back) = (self.first, self.putting_back);
        (self.first, self.asked_until) = (false, None);
        steps.push(Step::Tell(Happening::Started { pid, first }));
        self.phase = Phase::Up(Up {
            offer: Arc::clone(&self.wanted),
            since: now,
            is_proven: false,
            put_back,
            prove_by: None,
            apply_at: None,
            is_behind: false,
            reloading: None,
        });
        self.prove(now, steps);
    }

    /// What runs is new: it is to be proven.
    fn prove(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let Phase::Up(up) = &mut self.phase else { return };
        if self.terms.healthy.is_some() {
            up.is_proven = false;
            // Who has only to live fails by ending.
            let must_answer = !matches!(self.terms.healthy, Some(Health::Lives(_)));
            up.prove_by = must_answer.then(|| now + self.terms.healthy_timeout);
            steps.push(Step::Prove);
        } else {
            up.is_proven = true;
            self.previous = None;
            up.runs(steps);
            self.settle(steps);
        }
    }

    fn proven(&mut self, steps: &mut Vec<Step>) {
        let Phase::Up(up) = &mut self.phase else { return };
        if up.is_proven || up.reloading.is_some() {
            return;
        }
        (up.is_proven, up.prove_by) = (true, None);
        self.previous = None;
        steps.push(Step::Tell(Happening::Healthy { put_back: up.put_back }));
        up.runs(steps);
        self.settle(steps);
    }

    /// It works: the next may go, unless something newer still waits for our turn.
    fn settle(&mut self, steps: &mut Vec<Step>) {
        let Phase::Up(up) = &self.phase else { return };
        if self.place == Place::Has || up.offer.same_as(&self.wanted) {
            self.place.leave(steps);
        }
    }

    /// What waited for it is done as soon as it may.
    fn our_turn(&mut self, now: Instant) {
        if !self.place.comes() {
            return;
        }
        if let Phase::Up(up) = &mut self.phase
            && !up.offer.same_as(&self.wanted)
        {
            up.apply_at = Some(now.max(up.since + self.terms.min_interval));
        }
    }

    fn not_started(&mut self, code: u8, why: String, now: Instant, steps: &mut Vec<Step>) {
        let ended = Ended { code, signal: None };
        // It was we who failed (no process, no room for a file), and the old program is
        // gone already: that is tried again, whoever is kept alive.
        if code == exit::RUN_FAILED && !self.first {
            let again_in = self.backoff();
            self.deaths += 1;
            steps.push(Step::Tell(Happening::NotStarted { why, again_in: Some(again_in) }));
            self.phase = Phase::Waiting(Some(now + again_in));
            return;
        }
        steps.push(Step::Tell(Happening::NotStarted { why, again_in: None }));
        if self.first {
            self.end(ended, steps);
            return;
        }
        let offer = Arc::clone(&self.wanted);
        self.died(ended, &offer, self.putting_back, None, Unhealthy::NotStarted, now, steps);
        // There is nothing that could vanish.
        self.gone(now, steps);
    }

    fn ended(&mut self, ended: Ended, now: Instant, steps: &mut Vec<Step>) {
        match &mut self.phase {
            Phase::Up(up) => {
                let offer = up.reloading.take().unwrap_or_else(|| Arc::clone(&up.offer));
                let (put_back, since, is_proven) = (up.put_back, up.since, up.is_proven);
                steps.push(Step::Tell(Happening::RunsNoMore));
                if is_proven && now.duration_since(since) > self.terms.backoff.most {
                    self.deaths = 0;
                }
                self.died(ended, &offer, put_back, Some(is_proven), Unhealthy::Ended(ended.code), now, steps);
            }
            Phase::Down { ended: known, .. } => *known = Some(ended),
            Phase::Waiting(_) | Phase::Over => {}
        }
    }

    /// It ended, or did not begin, although nobody wanted that.
    #[expect(clippy::too_many_arguments, reason = "one decision about all that is known of a death")]
    fn died(
        &mut self,
        ended: Ended,
        offer: &Arc<Offer>,
        put_back: bool,
        is_proven: Option<bool>,
        why: Unhealthy,
        now: Instant,
        steps: &mut Vec<Step>,
    ) {
        let is_asked = self.asked_until.is_some_and(|until| now <= until)
            || matches!(ended.signal, Some(Signal::SIGINT | Signal::SIGQUIT));
        if is_asked {
            self.end(ended, steps);
            return;
        }
        let is_new = is_proven != Some(true) && !put_back;
        if is_new && let Some(previous) = self.previous.clone() {
            if self.wanted.same_as(offer) {
                self.put_back(previous, offer, why, steps);
            } else {
                // Something newer was about to take its place.
                let difference = offer.difference_to(&self.wanted);
                steps.push(Step::Tell(Happening::Restarting(difference)));
            }
            self.clear_away(Some(ended), Then::Start, now, steps);
            return;
        }
        if !self.terms.keep_alive {
            if let Some(signal) = ended.signal {
                let by_ours = self.terms.on_change == OnChange::Signal(signal);
                steps.push(Step::Tell(Happening::EndedBySignal { code: ended.code, by_ours }));
            }
            self.end(ended, steps);
            return;
        }
        if self.terms.max_restarts.is_some_and(|most| self.deaths >= most) {
            steps.push(Step::Tell(Happening::GivenUp { code: ended.code, restarts: self.deaths }));
            self.end(ended, steps);
            return;
        }
        let again_in = self.backoff();
        self.deaths += 1;
        steps.push(Step::Tell(Happening::Died { code: ended.code, again_in }));
        self.clear_away(Some(ended), Then::StartAt(now + again_in), now, steps);
    }

    /// Doubles from death to death, less a random part so that replicas part.
    fn backoff(&mut self) -> Duration {
        let doubled = self.terms.backoff.first.saturating_mul(1 << self.deaths.min(20));
        let longest = doubled.min(self.terms.backoff.most);
        longest.saturating_sub((self.random)(longest / 4))
    }

    fn put_back(&mut self, previous: Arc<Offer>, offer: &Arc<Offer>, why: Unhealthy, steps: &mut Vec<Step>) {
        let from = previous.difference_to(offer);
        steps.push(Step::Tell(Happening::PutBack { from, why, saw: None }));
        self.refused = Some(Arc::clone(offer));
        self.wanted = previous;
        self.putting_back = true;
    }

    /// Lets what is left of a program vanish.
    fn clear_away(&mut self, ended: Option<Ended>, then: Then, now: Instant, steps: &mut Vec<Step>) {
        let kill_at = Some(now + self.terms.kill_timeout);
        self.phase = Phase::Down { kill_at, leave_at: None, ended, then };
        steps.push(Step::Signal(self.terms.stop_signal));
        // What stands still does not hear it.
        steps.push(Step::Signal(Signal::SIGCONT));
    }

    fn gone(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let Phase::Down { ended, then, .. } = &self.phase else { return };
        let (ended, then) = (*ended, *then);
        match then {
            Then::End => self.end(ended.unwrap_or(Ended::of(Signal::SIGTERM)), steps),
            Then::Start => self.start(steps),
            Then::StartAt(at) if at <= now => self.start(steps),
            Then::StartAt(at) => self.phase = Phase::Waiting(Some(at)),
        }
    }

    fn start(&mut self, steps: &mut Vec<Step>) {
        self.phase = Phase::Waiting(None);
        steps.push(Step::Start(Arc::clone(&self.wanted)));
    }

    fn end(&mut self, ended: Ended, steps: &mut Vec<Step>) {
        self.phase = Phase::Over;
        self.place.leave(steps);
        steps.push(Step::End(ended));
    }

    fn reloaded(&mut self, done: Result<(), String>, now: Instant, steps: &mut Vec<Step>) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(offer) = up.reloading.take() else { return };
        match done {
            Ok(()) => {
                let before = std::mem::replace(&mut up.offer, offer);
                if up.is_proven {
                    self.previous = Some(before);
                }
                (up.since, up.put_back) = (now, false);
                // What it was told of may be in no place where it could look.
                up.is_behind = self.terms.tells_without_handing();
                self.prove(now, steps);
            }
            Err(why) => {
                steps.push(Step::Tell(Happening::ReloadFailed { why }));
                self.refused = Some(offer);
                // What showed that it works meanwhile was not looked at.
                if !up.is_proven {
                    self.prove(now, steps);
                }
            }
        }
    }

    fn suspended(&mut self, time: Duration) {
        if let Phase::Up(up) = &mut self.phase {
            up.prove_by = up.prove_by.map(|by| by + time);
        }
    }

    fn signalled(&mut self, signal: Signal, now: Instant, steps: &mut Vec<Step>) {
        let ends = matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP);
        match &mut self.phase {
            Phase::Waiting(_) if ends || signal == Signal::SIGTERM => {
                self.end(Ended::of(signal), steps);
            }
            Phase::Waiting(_) | Phase::Over => {}
            Phase::Up(_) if signal == Signal::SIGTERM => {
                self.clear_away(None, Then::End, now, steps);
                self.place.leave(steps);
            }
            Phase::Up(_) => {
                if ends {
                    self.asked_until = Some(now + self.terms.kill_timeout);
                }
                steps.push(Step::Pass(signal));
            }
            Phase::Down { then, .. } => {
                let was_end = *then == Then::End;
                if ends || signal == Signal::SIGTERM {
                    *then = Then::End;
                    self.place.leave(steps);
                }
                match signal {
                    // It hears it a second time, as it would without us.
                    Signal::SIGTERM if was_end => steps.push(Step::Signal(self.terms.stop_signal)),
                    Signal::SIGTERM => {}
                    other => steps.push(Step::Pass(other)),
                }
            }
        }
    }

    fn passed(&mut self, now: Instant, steps: &mut Vec<Step>) {
        match &mut self.phase {
            Phase::Waiting(Some(at)) if *at <= now => self.start(steps),
            Phase::Down { kill_at: kill_at @ Some(_), leave_at, .. }
                if kill_at.is_some_and(|at| at <= now) =>
            {
                (*kill_at, *leave_at) = (None, Some(now + AFTER_KILL));
                steps.push(Step::Tell(Happening::Killed { after: self.terms.kill_timeout }));
                steps.push(Step::Signal(Signal::SIGKILL));
            }
            Phase::Down { kill_at: None, leave_at: Some(at), .. } if *at <= now => {
                steps.push(Step::Tell(Happening::LeftBehind));
                self.gone(now, steps);
            }
            Phase::Up(up) if up.reloading.is_none() && up.apply_at.is_some_and(|at| at <= now) => {
                up.apply_at = None;
                self.apply(now, steps);
            }
            Phase::Up(up) if up.reloading.is_none() && up.prove_by.is_some_and(|at| at <= now) => {
                up.prove_by = None;
                self.not_proven(now, steps);
            }
            Phase::Waiting(_) | Phase::Up(_) | Phase::Down { .. } | Phase::Over => {}
        }
    }

    fn apply(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let Phase::Up(up) = &mut self.phase else { return };
        let difference = up.offer.difference_to(&self.wanted);
        match &self.terms.on_change {
            OnChange::None => {
                steps.push(Step::Tell(Happening::GoesOn(difference)));
                (up.offer, up.is_behind) = (Arc::clone(&self.wanted), true);
            }
            // The old program goes on meanwhile.
            OnChange::Restart if !self.place.may_restart(steps) => {}
            OnChange::Restart => {
                steps.push(Step::Tell(Happening::Restarting(difference)));
                // It is worth going back to only if it worked.
                if up.is_proven && self.terms.healthy.is_some() {
                    self.previous = Some(Arc::clone(&up.offer));
                }
                steps.push(Step::Tell(Happening::RunsNoMore));
                self.clear_away(None, Then::Start, now, steps);
            }
            OnChange::Signal(_) | OnChange::Exec(_) => {
                steps.push(Step::Tell(Happening::Reloading(difference)));
                up.reloading = Some(Arc::clone(&self.wanted));
                steps.push(Step::Reload(Arc::clone(&self.wanted)));
            }
        }
    }

    fn not_proven(&mut self, now: Instant, steps: &mut Vec<Step>) {
        let Phase::Up(up) = &mut self.phase else { return };
        let waited = self.terms.healthy_timeout;
        if up.apply_at.is_some() {
            // Something newer is about to take its place.
            up.prove_by = up.apply_at;
            return;
        }
        let (offer, put_back) = (Arc::clone(&up.offer), up.put_back);
        match self.previous.clone() {
            Some(previous) if !put_back => {
                self.put_back(previous, &offer, Unhealthy::InTime(waited), steps);
                steps.push(Step::Tell(Happening::RunsNoMore));
                self.clear_away(None, Then::Start, now, steps);
            }
            _ => {
                steps.push(Step::Tell(Happening::NotHealthy { put_back, waited, saw: None }));
                if self.place == Place::Has {
                    steps.push(Step::Tell(Happening::HoldsUp));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
