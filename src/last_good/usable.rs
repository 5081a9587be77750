//! What of a snapshot may still be used: pure, the times are arguments.
//!
//! Invariants: nothing counts as younger than it was when it was confirmed; what was
//! lent ends when it was to end, whoever may have renewed it meanwhile; the limit
//! that was in force at the writing binds as the present one does.
//! Must not know: files, keys, what a daemon does with it.

use std::time::{Duration, SystemTime};

use super::contents::limit;
use super::unusable::Unusable;
use super::{About, from_seconds, span, time};
use crate::model::kept::Kept;
use crate::sealed::State;

/// How far clocks may differ.
const SKEW: Duration = Duration::from_mins(5);

/// Whether this may be used at all, by what is sealed beside the values.
///
/// # Errors
/// [`Unusable`]
pub(super) fn judge(state: &State, about: &About, now: SystemTime) -> Result<(), Unusable> {
    let other = |theirs: &str, ours: &str| (theirs != ours).then(|| (theirs.to_owned(), ours.to_owned()));
    if let Some((theirs, ours)) = other(&state.schema, &about.schema) {
        return Err(Unusable::OtherSchema { theirs, ours });
    }
    if let Some((theirs, ours)) = other(&state.environment, &about.environment) {
        return Err(Unusable::OtherEnvironment { theirs, ours });
    }
    if let Some((theirs, ours)) = other(&state.service, &about.service) {
        return Err(Unusable::OtherService { theirs, ours });
    }
    let written = from_seconds(state.written);
    if written > now + SKEW {
        return Err(Unusable::FromTheFuture { written, now });
    }
    Ok(())
}

/// What sources gave and may be used, and of what else there is why it may not be.
///
/// # Errors
/// [`Unusable::TooOld`], where nothing is left for its age.
pub(super) fn sift(
    contents: Vec<Kept>,
    state: &State,
    max_age: Duration,
    now: SystemTime,
) -> Result<(Vec<Kept>, Vec<String>), Unusable> {
    let written = from_seconds(state.written);
    let age_of = |time: SystemTime| now.duration_since(time).unwrap_or_default();
    // What is nearest to being used: the least that is over its limit.
    let ages = contents.iter().map(|kept| (age_of(kept.confirmed), limit(kept, max_age)));
    let nearest = ages.min_by_key(|(age, most)| age.saturating_sub(*most));
    let (age, most) = nearest.unwrap_or((age_of(written), max_age));
    if age > most || state.not_after.is_some_and(|end| from_seconds(end) < now) {
        return Err(Unusable::TooOld { written, age, max_age: most });
    }
    let (mut usable, mut dropped) = (Vec::new(), Vec::new());
    for mut kept in contents {
        let (source, confirmed) = (&kept.source, kept.confirmed);
        let (age, most) = (age_of(confirmed), limit(&kept, max_age));
        if confirmed > now + SKEW {
            dropped.push(format!(
                "what source {source} gave: it was confirmed at {}, which is yet to come",
                time(confirmed)
            ));
        } else if age > most {
            dropped.push(format!(
                "what source {source} gave: it was last confirmed at {}, {} ago, and the limit is {}",
                time(confirmed),
                span(age),
                span(most)
            ));
        } else {
            dropped.extend(end_leases(&mut kept, now));
            usable.push(kept);
        }
    }
    Ok((usable, dropped))
}

/// Takes away what was lent until a time that is over.
fn end_leases(kept: &mut Kept, now: SystemTime) -> Vec<String> {
    let mut dropped = Vec::new();
    let lent = std::mem::take(&mut kept.lent);
    for lease in lent {
        let Some(ends) = lease.ends.filter(|ends| *ends <= now) else {
            kept.lent.push(lease);
            continue;
        };
        kept.layer.offers.retain(|offer| offer.origin.location.place() != Some(&lease.place));
        kept.is_cut = true;
        dropped.push(format!(
            "what source {} has of {}: its lease ended at {}",
            kept.source,
            lease.place,
            time(ends)
        ));
    }
    dropped
}

#[cfg(test)]
mod tests;
