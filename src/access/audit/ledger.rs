//! Refusals that repeat: who hammers must not flush the log.
//!
//! Pure: whoever asks brings the time. Invariants: of each user and action the
//! first are written one by one, the rest is counted and written once, for as long
//! as it goes on after longer and longer, in whatever measure; no refusal is lost;
//! the table is bounded, however many users there are.
//! Must not know: how lines are written.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::time::{Duration, Instant};

use super::record::{NAME, NAMED, Refused, repeated};
use crate::model::key::Key;

/// For as long as a count runs; of who does not stop the next runs twice as long.
const SECOND: Duration = Duration::from_secs(1);
/// But no longer than this.
const LONGEST: Duration = Duration::from_mins(1);
/// So many are written one by one.
const SINGLE: u32 = 8;
/// So many users and actions are told apart.
const APART: usize = 1024;

/// Counts.
#[derive(Debug, Default)]
pub(super) struct Ledger(BTreeMap<Refused, Count>);

#[derive(Debug)]
struct Count {
    since: Instant,
    length: Duration,
    single: u32,
    /// Whether there was any since it runs. Who did not stop has no more single ones.
    goes_on: bool,
    times: u64,
    keys: BTreeSet<Key>,
    is_whole: bool,
}

impl Ledger {
    /// Whether a refusal is written by itself. If not, it is counted. Where there
    /// is no room for a line (`room`), it is counted too.
    pub(super) fn note(&mut self, who: Refused, keys: &[Key], room: bool, now: Instant) -> bool {
        let is_known = self.0.contains_key(&who) || self.0.len() < APART;
        let who = if is_known { who } else { Refused { uid: None, ..who } };
        let count = self.0.entry(who).or_insert_with(|| Count {
            since: now,
            length: SECOND,
            // Many users together are never written one by one.
            single: if is_known { 0 } else { SINGLE },
            goes_on: true,
            times: 0,
            keys: BTreeSet::new(),
            is_whole: true,
        });
        count.goes_on = true;
        if count.single < SINGLE && room {
            count.single += 1;
            return true;
        }
        count.times = count.times.saturating_add(1);
        for key in keys {
            if count.keys.len() < NAMED && key.as_str().len() <= NAME {
                count.keys.insert(key.clone());
            } else {
                count.is_whole &= count.keys.contains(key);
            }
        }
        false
    }

    /// When the next count is over.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|count| count.since + count.length).min()
    }

    /// The lines of the counts that are over; of all, where no time is given.
    pub(super) fn over(&mut self, now: Option<Instant>) -> Vec<(u64, String)> {
        let mut lines = Vec::new();
        self.0.retain(|who, count| {
            if now.is_some_and(|now| now.saturating_duration_since(count.since) < count.length) {
                return true;
            }
            if !take(&mut count.goes_on) {
                return false;
            }
            let times = take(&mut count.times);
            if times > 0 {
                lines.push((times, repeated(*who, times, &take(&mut count.keys), count.is_whole)));
                (count.single, count.is_whole) = (SINGLE, true);
            }
            count.since += count.length;
            count.length = (count.length * 2).min(LONGEST);
            // Whoever takes them all wants no more of them.
            now.is_some()
        });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::policy::Action;

    fn who(uid: u32) -> Refused {
        Refused { uid: Some(uid), action: Action::Read }
    }

    fn key(name: &str) -> Key {
        Key::new(name).unwrap()
    }

    #[test]
    fn the_first_of_a_second_are_single_and_the_rest_is_counted() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let single = (0..100).filter(|_| ledger.note(who(7), &[key("A")], true, start)).count();
        assert_eq!(single, 8);
        assert_eq!(ledger.due(), Some(start + SECOND));
        assert!(ledger.over(Some(start + SECOND / 2)).is_empty(), "the second is not over");
        let lines = ledger.over(Some(start + SECOND));
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].0, 92);
        assert!(lines[0].1.contains("\"uid\":7,\"times\":92,\"vars\":[\"A\"]"), "{lines:?}");
    }

    #[test]
    fn who_does_not_stop_gets_a_line_a_minute() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let (mut lines, mut times, mut single) = (0, 0, 0);
        for tenth in 0..36_000 {
            let now = start + SECOND * tenth / 10;
            single += u64::from(ledger.note(who(7), &[], true, now));
            for (counted, _) in ledger.over(Some(now)) {
                lines += 1;
                times += counted;
            }
        }
        assert_eq!(single, 8);
        assert!((60..70).contains(&lines), "{lines} lines an hour");
        times += ledger.over(None).iter().map(|(times, _)| times).sum::<u64>();
        assert_eq!(times + single, 36_000);
    }

    #[test]
    fn who_keeps_just_below_the_measure_gets_no_more_lines() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        let (mut lines, mut times, mut single) = (0, 0, 0);
        for second in 0..3600 {
            let now = start + SECOND * second;
            for (counted, _) in ledger.over(Some(now)) {
                lines += 1;
                times += counted;
            }
            single += (0..SINGLE - 1).filter(|_| ledger.note(who(7), &[], true, now)).count();
        }
        assert_eq!(single, SINGLE as usize);
        assert!((60..70).contains(&lines), "{lines} lines an hour");
        times += ledger.over(None).iter().map(|(times, _)| times).sum::<u64>();
        assert_eq!(times + single as u64, 3600 * u64::from(SINGLE - 1));
    }

    #[test]
    fn who_stopped_is_forgotten() {
        let (mut ledger, start) = (Ledger::default(), Instant::now());
        for _ in 0..20 {
            ledger.note(who(7), &[], true, start);
        }
        assert_eq!(ledger.over(Some(start + SECOND)).len(), 1);
        assert!(!ledger.note(who(7), &[], true, start + SECOND), "not yet");
        assert_eq!(ledger.over(Some(start + SECOND * 3)).len(), 1);
        assert!(ledger.over(Some(start + SECOND * 7)).is_empty());
        assert_eq!(ledger.due(), None);
        assert!(ledger.note(who(7), &[], true, start + SECOND * 7));
    }

    #[test]
    fn users_and_actions_count_apart() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        for _ in 0..9 {
            ledger.note(who(1), &[], true, now);
        }
        assert!(ledger.note(who(2), &[], true, now));
        assert!(ledger.note(Refused { uid: Some(1), action: Action::Watch }, &[], true, now));
        assert_eq!(ledger.over(None).len(), 1);
    }

    #[test]
    fn without_room_it_is_counted() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        assert!(!ledger.note(who(1), &[], false, now));
        assert_eq!(ledger.over(None)[0].0, 1);
        assert!(ledger.over(None).is_empty(), "once");
    }

    #[test]
    fn the_table_is_bounded_and_nothing_is_lost() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let single = (0..100_000).filter(|uid| ledger.note(who(*uid), &[], true, now)).count();
        assert_eq!(single, APART);
        assert!(ledger.0.len() <= APART + Action::ALL.len());
        let lines = ledger.over(None);
        assert_eq!(lines.iter().map(|(times, _)| times).sum::<u64>(), 100_000 - APART as u64);
        assert!(lines[0].1.contains("\"uid\":null"), "{lines:?}");
    }

    #[test]
    fn names_are_bounded_and_that_is_told() {
        let (mut ledger, now) = (Ledger::default(), Instant::now());
        let keys: Vec<Key> = (0..40).map(|number| key(&format!("K{number}"))).collect();
        ledger.note(who(1), &keys[..NAMED], false, now);
        ledger.note(who(1), &keys[..2], false, now);
        ledger.note(who(2), &keys, false, now);
        ledger.note(who(3), &[key(&"L".repeat(10_000))], false, now);
        let lines = ledger.over(None);
        assert!(!lines[0].1.contains("more_vars"), "{lines:?}");
        assert!(lines[1].1.ends_with(",\"more_vars\":true"), "{lines:?}");
        assert!(lines[2].1.ends_with(",\"vars\":[],\"more_vars\":true"), "{lines:?}");
    }
}
