//! Whose note counts, and for how long. Pure: time comes from the caller.
//!
//! Invariants: of a note's times only that they change is believed, and then for the
//! note's own life by our clock; what we see for the first time may be long over, and then
//! counts against whoever waits for it, not for it; who holds a note keeps it until it
//! lapses.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::said::SaidOfInstance;
use crate::kubernetes::Note;

/// What a note is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Counts,
    /// Its holder may have gone long before we came: it counts as an instance that said
    /// nothing.
    Doubtful,
    /// Two write it, and the first has not lapsed: it counts as an instance that said
    /// nothing.
    Disputed,
    /// It cannot be understood: it counts as an instance that said nothing.
    Unclear,
    /// Its holder said nothing for too long.
    Lapsed,
    /// Its holder gave it up.
    Freed,
}

impl Standing {
    /// Whether it counts in no way any more.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Lapsed | Self::Freed)
    }

    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counts => "present",
            Self::Doubtful => "silent",
            Self::Disputed => "disputed",
            Self::Unclear => "unclear",
            Self::Lapsed => "lapsed",
            Self::Freed => "gone",
        }
    }
}

/// One instance, as its Lease has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The Lease's name.
    pub lease: Box<str>,
    /// What it is worth.
    pub standing: Standing,
    /// What it says; none where that cannot be understood.
    pub said: Option<SaidOfInstance>,
    /// Who says it, where that is a plain name.
    pub holder: Option<Box<str>>,
    /// When that was said, by its holder's clock.
    pub renewed: Option<SystemTime>,
}

/// What we saw last of one.
#[derive(Debug, Clone)]
struct Sight {
    holder: Box<str>,
    renewed: Option<Box<str>>,
    text: Option<Box<str>>,
    life: Duration,
    /// When we saw that for the first time.
    since: Instant,
    /// Whether its holder was there then.
    is_fresh: bool,
    entry: Entry,
}

/// What we saw of all.
#[derive(Debug, Default)]
pub(super) struct Sights(BTreeMap<Box<str>, Sight>);

impl Sights {
    /// Takes a whole list: everybody who is there, and who was there until a while ago.
    pub(super) fn look(&mut self, notes: &[Note], server_time: SystemTime, now: Instant) -> Vec<Entry> {
        let mut entries: BTreeMap<Box<str>, Entry> = BTreeMap::new();
        for note in notes {
            entries.insert(note.name.clone(), self.look_at(note, server_time, now));
        }
        // Whose Lease somebody deleted may live all the same.
        self.0.retain(|name, sight| {
            if entries.contains_key(name) {
                return true;
            }
            let is_there = !sight.is_over(now);
            if is_there {
                entries.insert(name.clone(), sight.shown(now));
            }
            is_there
        });
        entries.into_values().collect()
    }

    /// Takes one.
    pub(super) fn look_at(&mut self, note: &Note, server_time: SystemTime, now: Instant) -> Entry {
        let Some(holder) = note.holder.clone() else {
            self.0.remove(&note.name);
            return Entry { standing: Standing::Freed, ..entry(note) };
        };
        let before = self.0.get(&note.name);
        if let Some(first) = before
            && first.holder != holder
            && !first.is_over(now)
        {
            return Entry { standing: Standing::Disputed, ..first.entry.clone() };
        }
        if let Some(same) = before
            && (&same.holder, &same.renewed, &same.text) == (&holder, &note.renewed, &note.text)
        {
            return same.shown(now);
        }
        // What changes under our eyes is fresh, whatever time it names.
        let is_fresh = before.is_some() || seems_fresh(note, server_time);
        let sight = Sight {
            holder,
            renewed: note.renewed.clone(),
            text: note.text.clone(),
            life: note.life,
            since: now,
            is_fresh,
            entry: entry(note),
        };
        let shown = sight.shown(now);
        self.0.insert(note.name.clone(), sight);
        shown
    }
}

impl Sight {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= self.life
    }

    fn shown(&self, now: Instant) -> Entry {
        let standing = match &self.entry.said {
            _ if self.is_over(now) => Standing::Lapsed,
            None => Standing::Unclear,
            Some(_) if !self.is_fresh => Standing::Doubtful,
            Some(_) => Standing::Counts,
        };
        Entry { standing, ..self.entry.clone() }
    }
}

/// Whether a note that we never saw before was renewed within its life, as far as clocks
/// can be believed. One that is ahead is not: its holder may be long gone.
fn seems_fresh(note: &Note, server_time: SystemTime) -> bool {
    /// By how much an honest clock is ahead.
    const AHEAD: Duration = Duration::from_secs(30);
    let Some(renewed) = note.renewed_at() else { return false };
    match server_time.duration_since(renewed) {
        Ok(age) => age < note.life,
        Err(ahead) => ahead.duration() <= AHEAD,
    }
}

fn entry(note: &Note) -> Entry {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let holder = note.holder.clone();
    Entry {
        lease: note.name.clone(),
        standing: Standing::Unclear,
        said: note.text.as_deref().and_then(SaidOfInstance::parse),
        holder: holder.filter(|holder| holder.len() <= 300 && holder.bytes().all(is_plain)),
        renewed: note.renewed_at(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::said::tests::said;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn server_time() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 365 * 30)
    }

    /// Renewed so many seconds before the server's time; for a minute.
    fn note(holder: &str, ago: i64, text: &str) -> Note {
        let at = chrono::DateTime::<chrono::Utc>::from(server_time()) - chrono::Duration::seconds(ago);
        let renewed = at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        Note::of_json(json!({
            "metadata": { "name": "acks-cc-1", "annotations": { "dlconf.dev/said": text } },
            "spec": { "holderIdentity": holder, "leaseDurationSeconds": 60, "renewTime": renewed },
        }))
    }

    fn text(kid: &str) -> String {
        said("cc", "a", kid).to_text()
    }

    fn standing(sights: &mut Sights, notes: &[Note], now: Instant) -> Vec<Standing> {
        sights.look(notes, server_time(), now).iter().map(|entry| entry.standing).collect()
    }

    #[test]
    fn a_note_counts_for_its_life_since_it_was_renewed_by_our_own_clock() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        let first = [note("h", 10, &text("k"))];
        assert_eq!(standing(&mut sights, &first, start), [Standing::Counts]);
        assert_eq!(standing(&mut sights, &first, start + 59 * SECOND), [Standing::Counts]);
        assert_eq!(standing(&mut sights, &first, start + 60 * SECOND), [Standing::Lapsed]);
        // It moves, to whatever time.
        let renewed = [note("h", -4000, &text("k"))];
        assert_eq!(standing(&mut sights, &renewed, start + 61 * SECOND), [Standing::Counts]);
        assert_eq!(standing(&mut sights, &renewed, start + 120 * SECOND), [Standing::Counts]);
        assert_eq!(standing(&mut sights, &renewed, start + 121 * SECOND), [Standing::Lapsed]);
    }

    #[test]
    fn what_may_be_long_over_when_we_come_is_not_believed_until_it_moves() {
        for ago in [60, 86_400, -31] {
            let (mut sights, start) = (Sights::default(), Instant::now());
            let old = [note("h", ago, &text("k"))];
            assert_eq!(standing(&mut sights, &old, start), [Standing::Doubtful], "{ago}");
            assert_eq!(standing(&mut sights, &old, start + 60 * SECOND), [Standing::Lapsed]);
            let moved = [note("h", ago - 1, &text("k"))];
            assert_eq!(standing(&mut sights, &moved, start + 61 * SECOND), [Standing::Counts]);
        }
    }

    #[test]
    fn who_holds_a_note_keeps_it_until_it_lapses() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        let (first, second) = ([note("h", 0, &text("k1"))], [note("other", 0, &text("k2"))]);
        standing(&mut sights, &first, start);
        let entries = sights.look(&second, server_time(), start + SECOND);
        assert_eq!(entries[0].standing, Standing::Disputed);
        assert_eq!(entries[0].said, Some(said("cc", "a", "k1")), "the first one's");
        assert_eq!(standing(&mut sights, &first, start + 2 * SECOND), [Standing::Counts]);
        assert_eq!(standing(&mut sights, &second, start + 60 * SECOND), [Standing::Counts]);
        assert_eq!(standing(&mut sights, &first, start + 61 * SECOND), [Standing::Disputed]);
    }

    #[test]
    fn what_cannot_be_understood_is_there_until_it_lapses() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        let unclear = [note("h", 0, "{}")];
        assert_eq!(standing(&mut sights, &unclear, start), [Standing::Unclear]);
        assert_eq!(standing(&mut sights, &unclear, start + 60 * SECOND), [Standing::Lapsed]);
    }

    #[test]
    fn what_is_given_up_is_gone_at_once_and_what_is_deleted_when_it_lapses() {
        let (mut sights, start) = (Sights::default(), Instant::now());
        let held = [note("h", 0, &text("k"))];
        standing(&mut sights, &held, start);
        assert_eq!(standing(&mut sights, &[], start + 59 * SECOND), [Standing::Counts]);
        assert_eq!(standing(&mut sights, &[], start + 60 * SECOND), []);
        standing(&mut sights, &held, start + 61 * SECOND);
        assert_eq!(standing(&mut sights, &[note("", 0, &text("k"))], start + 62 * SECOND), [Standing::Freed]);
    }
}
