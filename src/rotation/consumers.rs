//! Who runs what: the instances of the programs that are served, in their own
//! words.
//!
//! Owns: what they said last, and for how long that counts. Invariants: an instance
//! belongs to the user that named it first, until that lapses; one user cannot take
//! the room of others; time comes from the caller.
//! Must not know: values; who may say what about which variable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::key::Key;
use crate::status::ChildHealth;

/// How long a word counts.
pub const LIFE: Duration = Duration::from_mins(5);
/// Instances of one user, over all consumers.
const INSTANCES: usize = 1024;
/// Variables and kids that they name, of one user over all consumers: a status
/// repeats them all.
const NAMES: usize = 16 * 1024;
/// Users.
const USERS: usize = 64;
/// Keys that are verified with, of one variable.
const RING: usize = 16;
/// Variables of one instance.
const RUNS: usize = 256;

/// The longest name of an instance or a key.
const NAME_BYTES: usize = 64;

/// What an instance says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Which one: `api-7c9f`.
    pub instance: Name,
    /// The keys in use, by variable.
    pub runs: BTreeMap<Key, Use>,
    /// The generation that it has taken up.
    pub version: Name,
    /// How the program is, where whoever runs it says so.
    pub health: Option<ChildHealth>,
}

/// The keys of one variable that are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// What is accepted.
    pub verifies: Vec<Name>,
    /// What new things are signed with, if anything is.
    pub signs: Option<Name>,
}

/// A short name that may be repeated anywhere: letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(Box<str>);

/// A text that is no [`Name`]. It is not repeated: it may be anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 letters, digits, `.`, `_` or `-`")]
pub struct InvalidName;

impl Name {
    /// Checks a text.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=NAME_BYTES).contains(&text.len()) && text.bytes().all(is_fine) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Acknowledgement {
    /// How many variables and kids it names.
    fn names(&self) -> usize {
        self.runs.values().map(|run| 1 + run.verifies.len() + usize::from(run.signs.is_some())).sum()
    }

    /// Whether it says more than anybody runs.
    pub fn is_too_long(&self) -> bool {
        self.runs.len() > RUNS || self.runs.values().any(|run| run.verifies.len() > RING)
    }
}

/// Why a word is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The instance is another user's.
    #[error("another user speaks for this instance")]
    Foreign,
    /// There is no room for one more.
    #[error("there are too many instances already")]
    Full,
}

/// What is known of all of them.
#[derive(Debug, Default)]
pub struct Consumers(BTreeMap<(Box<str>, Name), Known>);

/// What one instance said last.
#[derive(Debug)]
pub struct Known {
    /// The user that said it.
    pub uid: u32,
    /// What it said.
    pub said: Acknowledgement,
    at: Instant,
}

impl Known {
    /// Seconds since it was said.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.at)
    }
}

impl Consumers {
    /// Takes what an instance says, in the place of what it said before.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub fn hear(
        &mut self,
        consumer: &str,
        uid: u32,
        said: Acknowledgement,
        now: Instant,
    ) -> Result<(), NotTaken> {
        self.lapse(now);
        let key = (consumer.into(), said.instance.clone());
        let known = self.0.get(&key);
        if known.is_some_and(|known| known.uid != uid) {
            return Err(NotTaken::Foreign);
        }
        let (mut users, mut instances, mut names) = (BTreeSet::from([uid]), 1, said.names());
        for (_, other) in self.0.iter().filter(|(other, _)| **other != key) {
            users.insert(other.uid);
            if other.uid == uid {
                instances += 1;
                names += other.said.names();
            }
        }
        if users.len() > USERS || instances > INSTANCES || names > NAMES {
            return Err(NotTaken::Full);
        }
        self.0.insert(key, Known { uid, said, at: now });
        Ok(())
    }

    /// All whose word still counts, by consumer and instance.
    pub fn present(&mut self, now: Instant) -> impl Iterator<Item = (&str, &Known)> {
        self.lapse(now);
        self.0.iter().map(|((consumer, _), known)| (&**consumer, known))
    }

    fn lapse(&mut self, now: Instant) {
        self.0.retain(|_, known| known.age(now) < LIFE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(instance: &str) -> Acknowledgement {
        let (instance, version) = (Name::new(instance).unwrap(), Name::new("7f3a.1").unwrap());
        Acknowledgement { instance, runs: BTreeMap::new(), version, health: None }
    }

    fn present(consumers: &mut Consumers, now: Instant) -> Vec<(String, String, u32)> {
        let name = |(consumer, known): (&str, &Known)| {
            (consumer.to_owned(), known.said.instance.as_str().to_owned(), known.uid)
        };
        consumers.present(now).map(name).collect()
    }

    #[test]
    fn a_word_counts_for_five_minutes() {
        let (mut consumers, now) = (Consumers::default(), Instant::now());
        consumers.hear("cc", 1, said("a"), now).unwrap();
        consumers.hear("cc", 1, said("b"), now + LIFE / 2).unwrap();
        assert_eq!(present(&mut consumers, now + LIFE - Duration::from_secs(1)).len(), 2);
        assert_eq!(present(&mut consumers, now + LIFE), [("cc".into(), "b".into(), 1)]);
    }

    #[test]
    fn an_instance_is_its_users_until_it_lapses() {
        let (mut consumers, now) = (Consumers::default(), Instant::now());
        consumers.hear("cc", 1, said("a"), now).unwrap();
        assert_eq!(consumers.hear("cc", 2, said("a"), now), Err(NotTaken::Foreign));
        assert_eq!(consumers.hear("portal", 2, said("a"), now), Ok(()));
        assert_eq!(consumers.hear("cc", 2, said("a"), now + LIFE), Ok(()));
        assert_eq!(present(&mut consumers, now + LIFE), [("cc".into(), "a".into(), 2)]);
    }

    #[test]
    fn one_user_does_not_take_the_room_of_others() {
        let (mut consumers, now) = (Consumers::default(), Instant::now());
        for at in 0..INSTANCES {
            consumers.hear("cc", 1, said(&format!("i{at}")), now).unwrap();
        }
        assert_eq!(consumers.hear("cc", 1, said("more"), now), Err(NotTaken::Full));
        assert_eq!(consumers.hear("cc", 1, said("i7"), now), Ok(()));
        for uid in (2..).take(USERS - 1) {
            consumers.hear("cc", uid, said(&format!("u{uid}")), now).unwrap();
        }
        assert_eq!(consumers.hear("cc", 4711, said("more"), now), Err(NotTaken::Full));
    }

    #[test]
    fn what_one_user_says_is_bounded_in_all() {
        let (mut consumers, now) = (Consumers::default(), Instant::now());
        let long = |instance: &str| {
            let run = |number| (Key::new(&format!("V{number}")).unwrap(), kids());
            Acknowledgement { runs: (0..RUNS).map(run).collect(), ..said(instance) }
        };
        let taken =
            (0..INSTANCES).take_while(|at| consumers.hear("cc", 1, long(&format!("i{at}")), now).is_ok());
        assert_eq!(taken.count(), NAMES / (RUNS * (RING + 1)));
        assert_eq!(consumers.hear("cc", 1, long("i0"), now), Ok(()), "in its own place");
        assert_eq!(consumers.hear("cc", 1, said("short"), now), Ok(()));
        assert_eq!(consumers.hear("cc", 2, long("other"), now), Ok(()));
    }

    fn kids() -> Use {
        Use { verifies: (0..RING).map(|kid| Name::new(&format!("k{kid}")).unwrap()).collect(), signs: None }
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for (text, is_fine) in [
            ("api-7c9f", true),
            ("7f3a.42", true),
            ("", false),
            ("a b", false),
            ("a\n", false),
            ("é", false),
            ("../x", false),
            (&*"a".repeat(64), true),
            (&*"a".repeat(65), false),
        ] {
            assert_eq!(Name::new(text).is_ok(), is_fine, "{text:?}");
        }
    }
}
