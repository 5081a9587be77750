//! What a source hands over: its offers, in the order in which later ones win.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::finding::Code;
use super::key::{Key, SourceName};
use super::origin::{Excerpt, Origin};
use super::secret::SecretValue;

/// All that one source offers. Knows nothing of other layers. A copy shares the
/// values.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The source's name in the settings.
    pub source: SourceName,
    /// The places that were read, for 'read .env (37)' and 'looked in'.
    pub places: Vec<Place>,
    /// Its offers; where two are of one name, the later wins.
    pub offers: Vec<Offer>,
    /// Names beside the known ones that the source holds but are not valid
    /// names of variables, or that it had to pass over, each with its place
    /// and the reason.
    pub remarks: Vec<Remark>,
}

impl Layer {
    /// The places of values that are known from the last-known-good snapshot only.
    pub fn places_from_snapshot(&self) -> impl Iterator<Item = &Arc<str>> {
        let locations = self.offers.iter().map(|offer| &offer.origin.location);
        locations.filter(|location| location.is_from_snapshot()).filter_map(|location| location.place())
    }
}

/// One place that a source read: a file, or the environment.
#[derive(Debug, Clone)]
pub struct Place {
    /// As printed: `.env`, `environment`, `/run/secrets`.
    pub label: Arc<str>,
    /// Permission bits, where they are to be judged (DLC080). None for what is
    /// no file and for directories of secrets, which Kubernetes mounts 0444.
    pub mode: Option<u32>,
}

/// One candidate for one variable.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The variable.
    pub key: Key,
    /// Its value, or how to make it.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
    /// The assignment as written, where the source is a text.
    pub excerpt: Option<Excerpt>,
}

/// A value, or a recipe for one that looks at other variables.
#[derive(Debug, Clone)]
pub enum Value {
    /// The value itself.
    Literal(Arc<SecretValue>),
    /// Text with references, which `resolve` expands.
    Template(Arc<Template>),
}

impl Value {
    /// What stands for a value that is there and was not asked for: names alone
    /// are judged then, and nothing looks at values.
    pub fn unread() -> Self {
        SecretValue::from("not read").into()
    }
}

impl From<SecretValue> for Value {
    fn from(value: SecretValue) -> Self {
        Self::Literal(Arc::new(value))
    }
}

impl From<Template> for Value {
    fn from(template: Template) -> Self {
        Self::Template(Arc::new(template))
    }
}

/// Text with references to variables, after compose's interpolation.
#[derive(Debug)]
pub struct Template(pub Vec<Part>);

/// A piece of a [`Template`].
#[derive(Debug)]
pub enum Part {
    /// Text as it is (escapes are already undone).
    Text(SecretValue),
    /// `$NAME` or `${NAME…}`.
    Reference {
        /// The variable that is looked up.
        name: Key,
        /// What to do with what is found.
        operator: Operator,
    },
}

/// What `${NAME…}` does, in compose's syntax.
#[derive(Debug)]
pub enum Operator {
    /// `$NAME`: the value; where it is set nowhere, the five characters stay
    /// (so that bcrypt's `$2a$10$…` survives) with a remark.
    Bare,
    /// `${NAME}`: the value, or nothing.
    Braced,
    /// `${NAME:-word}` (`or_empty`) and `${NAME-word}`.
    Default {
        /// Whether an empty value counts as unset (the colon).
        or_empty: bool,
        /// The word.
        word: Template,
    },
    /// `${NAME:+word}` and `${NAME+word}`: the word if it is set.
    Alternative {
        /// Whether an empty value counts as unset (the colon).
        or_empty: bool,
        /// The word.
        word: Template,
    },
    /// `${NAME:?message}` and `${NAME?message}`: an error if it is unset.
    Required {
        /// Whether an empty value counts as unset (the colon).
        or_empty: bool,
        /// The message; never printed where it holds references.
        message: Template,
    },
}

impl Template {
    /// Every name that the template looks at, defaults included.
    pub fn references(&self) -> BTreeSet<Key> {
        let mut names = BTreeSet::new();
        self.collect(&mut names);
        names
    }

    fn collect(&self, names: &mut BTreeSet<Key>) {
        for part in &self.0 {
            if let Part::Reference { name, operator } = part {
                names.insert(name.clone());
                match operator {
                    Operator::Bare | Operator::Braced => {}
                    Operator::Default { word, .. } | Operator::Alternative { word, .. } => {
                        word.collect(names);
                    }
                    Operator::Required { message, .. } => message.collect(names),
                }
            }
        }
    }
}

/// Something that a source saw and that is no offer. Value-free.
#[derive(Debug, Clone)]
pub struct Remark {
    /// What sort of finding it makes.
    pub code: Code,
    /// Where.
    pub origin: Origin,
    /// What, as one sentence without values.
    pub message: String,
    /// What to do about it.
    pub help: String,
}
