//! Who must have a key, and who has it.
//!
//! Pure. Invariants: whoever lives and has not said so counts as one who has not; fewer
//! than are declared are too few; what cannot be known is as good as a no.
//! Must not know: how it was heard.

use crate::model::rotation::Kid;

/// What a program does with a key that is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verifies {
    /// It verifies with every key of a ring.
    Ring,
    /// It knows one key: today's DataLens API.
    Single,
}

/// Who is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The consumer.
    pub consumer: Box<str>,
    /// How many instances at least.
    pub instances: u32,
    /// What it does with keys.
    pub verifies: Verifies,
}

/// What one instance said of one variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The consumer.
    pub consumer: Box<str>,
    /// Which one of it.
    pub instance: Box<str>,
    /// What it accepts.
    pub verifies: Vec<Kid>,
    /// What it signs with, if it signs.
    pub signs: Option<Kid>,
    /// Whether the version that it has taken up has the value that is in force. What is
    /// leased has no kids: that is all that is known of it.
    pub current: bool,
}

/// Everybody who reads a variable, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RollCall {
    /// Who is declared.
    pub expected: Vec<Expected>,
    /// The services that read it and are declared nowhere.
    pub undeclared: Vec<Box<str>>,
    /// Who was heard, and still counts.
    pub heard: Vec<Heard>,
    /// Why not everybody could be heard, if so.
    pub deaf: Option<String>,
}

/// What is asked of everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need<'k> {
    /// To verify with a key. Who knows one key is not asked.
    Verifies(&'k Kid),
    /// To sign with a key, or, who does not sign, to verify with it.
    Uses(&'k Kid),
    /// To have taken up the value that is in force.
    Current,
}

impl Need<'_> {
    fn concerns(self, expected: &Expected) -> bool {
        !matches!(self, Self::Verifies(_)) || expected.verifies == Verifies::Ring
    }

    fn is_met(self, heard: &Heard) -> bool {
        match self {
            Self::Verifies(kid) => heard.verifies.contains(kid),
            Self::Uses(kid) => {
                heard.signs.as_ref().map_or_else(|| heard.verifies.contains(kid), |own| own == kid)
            }
            Self::Current => heard.current,
        }
    }
}

impl RollCall {
    /// Who can verify only one key, of those who run.
    pub fn single(&self) -> impl Iterator<Item = &str> {
        let runs = |expected: &&Expected| expected.verifies == Verifies::Single && expected.instances > 0;
        self.expected.iter().filter(runs).map(|expected| &*expected.consumer)
    }

    /// Whether anybody is declared who runs.
    pub fn has_anybody(&self) -> bool {
        self.expected.iter().any(|expected| expected.instances > 0)
    }

    /// What is missing until everybody meets this, a clause each; none where nothing is.
    pub fn unmet(&self, need: Need<'_>) -> Vec<String> {
        let mut unmet = Vec::new();
        unmet.extend(self.deaf.clone());
        for expected in self.expected.iter().filter(|expected| need.concerns(expected)) {
            let consumer = &*expected.consumer;
            let of_it = || self.heard.iter().filter(|heard| heard.consumer == expected.consumer);
            let behind = of_it().filter(|heard| !need.is_met(heard)).map(|heard| &*heard.instance);
            unmet.extend(behind.map(|instance| format!("{consumer}: {instance} does not have it yet")));
            let (met, least) =
                (of_it().filter(|heard| need.is_met(heard)).count(), expected.instances as usize);
            if of_it().count() < least {
                unmet.push(format!("{consumer}: {met} of {least} instances have acknowledged it"));
            }
        }
        // Whoever names its keys uses it, also where nobody declared that.
        let is_stranger =
            |heard: &&Heard| !self.expected.iter().any(|expected| expected.consumer == heard.consumer);
        let names_keys = |heard: &&Heard| heard.signs.is_some() || !heard.verifies.is_empty();
        let strangers = self.heard.iter().filter(is_stranger).filter(names_keys);
        let behind = strangers.filter(|heard| !need.is_met(heard));
        unmet.extend(
            behind.map(|heard| format!("{}: {} does not have it yet", heard.consumer, heard.instance)),
        );
        unmet
    }

    /// Who signs with another key than this one, by its own word.
    pub fn signs_otherwise(&self, kid: &Kid) -> impl Iterator<Item = &Heard> {
        self.heard.iter().filter(move |heard| heard.signs.as_ref().is_some_and(|own| own != kid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kid(text: &str) -> Kid {
        Kid::new(text).unwrap()
    }

    /// `api-1 verifies a,b signs a`, by words: consumer-instance, kids, own kid or `-`.
    fn heard(text: &str) -> Heard {
        let words: Vec<&str> = text.split(' ').collect();
        let (consumer, _) = words[0].split_once('-').unwrap();
        let kids = words[1].split(',').filter(|word| *word != "-").map(kid).collect();
        let signs = Some(words[2]).filter(|word| *word != "-").map(kid);
        let (consumer, instance) = (consumer.into(), words[0].into());
        Heard { consumer, instance, verifies: kids, signs, current: words.len() == 3 }
    }

    #[track_caller]
    fn check(need: Need<'_>, said: &[&str], unmet: &[&str]) {
        let expected =
            |consumer: &str, instances, verifies| Expected { consumer: consumer.into(), instances, verifies };
        let expected = vec![
            expected("api", 2, Verifies::Ring),
            expected("old", 1, Verifies::Single),
            expected("gone", 0, Verifies::Ring),
        ];
        let heard = said.iter().map(|text| heard(text)).collect();
        let roll_call = RollCall { expected, heard, ..RollCall::default() };
        assert_eq!(roll_call.unmet(need), unmet, "{said:?}");
    }

    #[test]
    fn everybody_who_lives_must_have_said_so_and_no_fewer_than_are_declared() {
        let (b, c) = (kid("b"), kid("c"));
        let verifies = Need::Verifies(&b);
        check(verifies, &["api-1 a,b a", "api-2 a,b a", "old-1 a a"], &[]);
        check(verifies, &["api-1 a,b a"], &["api: 1 of 2 instances have acknowledged it"]);
        check(verifies, &["api-1 a,b a", "api-2 a,b a", "api-3 - -"], &["api: api-3 does not have it yet"]);
        check(
            verifies,
            &["api-1 a,b a", "api-2 a,b a", "gone-1 a a"],
            &["gone: gone-1 does not have it yet"],
        );
        check(verifies, &["api-1 a,b a", "api-2 a,b a", "who-1 a a"], &["who: who-1 does not have it yet"]);
        check(verifies, &["api-1 a,b a", "api-2 a,b a", "who-1 - -"], &[]);
        let uses = Need::Uses(&c);
        check(uses, &["api-1 a,c c", "api-2 a,c -", "old-1 c c"], &[]);
        check(uses, &["api-1 a,c a", "api-2 a,c c", "old-1 c c"], &["api: api-1 does not have it yet"]);
        check(uses, &["api-1 c c", "api-2 c c"], &["old: 0 of 1 instances have acknowledged it"]);
        let behind = ["api: api-2 does not have it yet"];
        check(Need::Current, &["api-1 - -", "api-2 - - late", "old-1 - -"], &behind);
    }

    #[test]
    fn who_cannot_be_heard_has_not_said_so() {
        let roll_call = RollCall { deaf: Some("no answer".into()), ..RollCall::default() };
        assert_eq!(roll_call.unmet(Need::Current), ["no answer"]);
    }
}
