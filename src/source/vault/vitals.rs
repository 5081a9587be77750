//! How the source is, told without waiting: the state is locked for as long as the
//! server takes to answer, so whoever had it leaves a summary.
//!
//! Invariants: nobody has the state but by [`Held`], which leaves that summary;
//! what is not looked at because it is good until then (a lease, data that says so)
//! is confirmed as long as nothing is wrong with it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};

use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::Shared;
use super::state::{State, Tracked};
use crate::source::{Lent, Vitals};

/// The state, for the one who works with it.
pub(super) struct Held<'a> {
    state: MutexGuard<'a, State>,
    shared: &'a Shared,
}

impl<'a> Held<'a> {
    /// Waits for the one before.
    pub(super) async fn of(shared: &'a Shared) -> Self {
        Self { state: shared.state.lock().await, shared }
    }
}

impl Deref for Held<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        self.state.confirm_what_lasts(now);
        let standing = Standing::of(&self.state, now);
        *self.shared.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

/// How the source was when somebody last had it. Value-free.
pub(super) struct Standing {
    /// Of each path; none of one that was never read.
    paths: Vec<Option<Confirmed>>,
    lent: Vec<Lent>,
}

/// When a path was confirmed.
#[derive(Clone, Copy)]
struct Confirmed {
    at: Instant,
    /// Until when it goes on being so.
    lasts: Lasts,
}

/// How long something is good without being looked at.
#[derive(Clone, Copy)]
enum Lasts {
    /// Not at all.
    No,
    /// Until then.
    Until(Instant),
    /// It does not end.
    ForEver,
}

impl Lasts {
    /// The last moment, up to now, at which it was good.
    fn moment(self, now: Instant) -> Option<Instant> {
        match self {
            Self::No => None,
            Self::Until(end) => Some(end.min(now)),
            Self::ForEver => Some(now),
        }
    }
}

impl Standing {
    pub(super) fn of(state: &State, now: Instant) -> Self {
        let paths = state.paths.iter().map(|path| {
            let at = path.confirmed?.min(now);
            Some(Confirmed { at, lasts: state.lasts(path) })
        });
        let leases = state.paths.iter().filter_map(|path| Some((&path.place, path.lease()?)));
        let lent = leases.map(|(place, lease)| Lent { place: Arc::clone(place), ends: lease.life.ends() });
        Self { paths: paths.collect(), lent: lent.collect() }
    }
}

/// How the source is now.
pub(super) fn vitals(shared: &Shared, now: Instant) -> Vitals {
    let standing = shared.standing.lock().unwrap_or_else(PoisonError::into_inner);
    let confirmed = standing.paths.iter().try_fold(now, |oldest, path| {
        let path = (*path)?;
        Some(oldest.min(path.lasts.moment(now).map_or(path.at, |good| good.max(path.at))))
    });
    Vitals { confirmed, lent: standing.lent.clone() }
}

impl State {
    /// Counts what is good without being looked at as confirmed, so that it is not
    /// suddenly old when something goes wrong.
    fn confirm_what_lasts(&mut self, now: Instant) {
        for index in 0..self.paths.len() {
            let good = self.paths.get(index).and_then(|path| self.lasts(path).moment(now));
            if let (Some(path), Some(good)) = (self.paths.get_mut(index), good) {
                path.confirmed = path.confirmed.max(Some(good));
            }
        }
    }

    fn lasts(&self, path: &Tracked) -> Lasts {
        if self.trouble.is_some() || path.trouble.is_some() || path.stale || path.held.is_none() {
            return Lasts::No;
        }
        match (path.lease().map(|lease| lease.life.ends()), path.good_until) {
            (Some(Some(end)), _) | (None, Some(end)) => Lasts::Until(end),
            (Some(None), _) => Lasts::ForEver,
            (None, None) => Lasts::No,
        }
    }
}
