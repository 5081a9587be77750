//! Layering: which offer wins, with the provenance of all the others.
//!
//! Pure. Invariants: an empty value is unset and shadows nothing; every offer
//! that was seen is told of; expansion executes nothing and is bounded in size.
//! Must not know: the schema, or what a value means.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::key::Key;
use super::layer::{Layer, Operator, Part, Place, Remark, Template, Value};
use super::origin::{Excerpt, Origin};
use super::secret::SecretValue;

/// The longest value that expansion may make, in bytes: `B=$A$A` repeated
/// would otherwise fill the memory.
pub const EXPANSION_LIMIT: usize = 1 << 20;

/// What all references together may copy, in bytes: a short file of lines like
/// `V1=$LONG` would fill it as well.
pub const EXPANSION_TOTAL: usize = 64 << 20;

/// What it costs to remember that a value was made from another, in bytes.
/// Chains (`B=$A`, `C=$B`, …) remember more with each link.
const REFERENCE_COST: usize = 64;

/// A value with its provenance.
#[derive(Debug)]
pub struct Entry {
    /// The value; never empty.
    pub value: Arc<SecretValue>,
    /// Where it came from.
    pub origin: Origin,
    /// The assignment as written.
    pub excerpt: Option<Excerpt>,
    /// Variables whose values are part of this one, directly or not.
    pub references: BTreeSet<Key>,
    /// Whether a `$NAME` that is set nowhere stayed in it as text (DLC060).
    pub literal_reference: bool,
}

/// An offer that did not win.
#[derive(Debug)]
pub struct Loser {
    /// Where it came from.
    pub origin: Origin,
    /// The assignment as written, of an empty one: no other is ever shown.
    pub excerpt: Option<Excerpt>,
    /// Why it lost.
    pub why: Loss,
    /// Its value, to know it where it stands elsewhere; none of an empty one.
    pub value: Option<Arc<SecretValue>>,
}

/// Why an offer lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It is empty, which counts as unset.
    Empty,
    /// A higher place offers the same value.
    ShadowedBySame,
    /// A higher place offers another value.
    Shadowed,
}

/// All that was offered for one name.
#[derive(Debug, Default)]
pub struct Candidates {
    /// The highest offer that is not empty.
    pub winner: Option<Entry>,
    /// The others, highest first.
    pub losers: Vec<Loser>,
}

impl Candidates {
    /// The highest place that offers the name, even an empty value.
    pub fn highest(&self) -> Option<(&Origin, Option<&Excerpt>)> {
        let winner = self.winner.as_ref().map(|w| (&w.origin, w.excerpt.as_ref()));
        winner.or_else(|| self.losers.first().map(|l| (&l.origin, l.excerpt.as_ref())))
    }
}

/// The outcome of layering.
#[derive(Debug, Default)]
pub struct Resolution {
    /// By name.
    pub variables: BTreeMap<Key, Candidates>,
    /// The places that were read, lowest first, with the number of their offers.
    pub places: Vec<(Place, usize)>,
    /// What sources saw beside their offers.
    pub remarks: Vec<Remark>,
    /// Values that could not be made.
    pub broken: Vec<Broken>,
}

/// A value that could not be made from its template. Value-free.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The variable.
    pub key: Key,
    /// Where the template stands.
    pub origin: Origin,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

/// What references see: a value and what it was made of.
#[derive(Clone)]
struct Seen {
    value: Arc<SecretValue>,
    references: BTreeSet<Key>,
}

/// Layers, lowest first, become one set of variables. References look at
/// `ambient` (the process's environment), then at earlier lines, then at lower
/// layers.
pub fn resolve<'l>(
    layers: impl IntoIterator<Item = &'l Layer>,
    ambient: &dyn Fn(&str) -> Option<SecretValue>,
) -> Resolution {
    let mut resolution = Resolution::default();
    let mut scope: HashMap<Key, Seen> = HashMap::new();
    let mut left = EXPANSION_TOTAL;
    for layer in layers {
        let mut counts: HashMap<Arc<str>, usize> = HashMap::new();
        let only_place = if let [place] = layer.places.as_slice() { Some(place.label.clone()) } else { None };
        for offer in &layer.offers {
            let label = only_place.clone().or_else(|| offer.origin.location.place().cloned());
            if let Some(label) = label {
                *counts.entry(label).or_default() += 1;
            }
            let made = match &offer.value {
                Value::Literal(value) => Ok(Made {
                    value: Arc::clone(value),
                    references: BTreeSet::new(),
                    literal_reference: false,
                }),
                Value::Template(template) => make(template, ambient, &scope, &mut left),
            };
            let made = match made {
                Ok(made) => made,
                Err(failure) => {
                    resolution.broken.push(failure.at(offer.key.clone(), offer.origin.clone()));
                    continue;
                }
            };
            let candidates = resolution.variables.entry(offer.key.clone()).or_default();
            let value = made.value;
            if value.is_empty() {
                scope.entry(offer.key.clone()).or_insert_with(|| Seen { value, references: made.references });
                let (origin, excerpt) = (offer.origin.clone(), offer.excerpt.clone());
                candidates.losers.push(Loser { origin, excerpt, why: Loss::Empty, value: None });
                continue;
            }
            scope.insert(
                offer.key.clone(),
                Seen { value: Arc::clone(&value), references: made.references.clone() },
            );
            let entry = Entry {
                value,
                origin: offer.origin.clone(),
                excerpt: offer.excerpt.clone(),
                references: made.references,
                literal_reference: made.literal_reference,
            };
            if let Some(beaten) = candidates.winner.replace(entry) {
                let same = candidates.winner.as_ref().is_some_and(|w| w.value.same_as(&beaten.value));
                let why = if same { Loss::ShadowedBySame } else { Loss::Shadowed };
                candidates.losers.push(Loser {
                    origin: beaten.origin,
                    excerpt: None,
                    why,
                    value: Some(beaten.value),
                });
            }
        }
        for place in &layer.places {
            let count = counts.get(&place.label).copied().unwrap_or(0);
            resolution.places.push((place.clone(), count));
        }
        resolution.remarks.extend(layer.remarks.iter().cloned());
    }
    // They came lowest first.
    for candidates in resolution.variables.values_mut() {
        candidates.losers.reverse();
    }
    resolution
}

struct Made {
    value: Arc<SecretValue>,
    references: BTreeSet<Key>,
    literal_reference: bool,
}

enum Failure {
    Required { name: Key },
    TooLong,
    TooMuch,
}

impl Failure {
    fn at(self, key: Key, origin: Origin) -> Broken {
        let (message, help) = match self {
            // In an unquoted secret, what looks like a name may be a piece of it.
            Self::Required { name } if name.as_str().contains(|c: char| c.is_ascii_lowercase()) => {
                (format!("{key} needs a variable that is not set"), "set it, or quote the value".into())
            }
            Self::Required { name } => {
                (format!("{key} needs {name}, which is not set"), format!("set {name}"))
            }
            Self::TooLong => (
                format!("{key} grows beyond {} MiB when its references are expanded", EXPANSION_LIMIT >> 20),
                "write the value out, or refer to less".into(),
            ),
            Self::TooMuch => (
                format!(
                    "{key} is one too many: all references together copy more than {} MiB",
                    EXPANSION_TOTAL >> 20
                ),
                "write values out, or refer to less".into(),
            ),
        };
        Broken { key, origin, message, help }
    }
}

fn make(
    template: &Template,
    ambient: &dyn Fn(&str) -> Option<SecretValue>,
    scope: &HashMap<Key, Seen>,
    left: &mut usize,
) -> Result<Made, Failure> {
    // A template is not long: its own text and what it refers to.
    let mut made =
        Expansion { text: String::new(), references: BTreeSet::new(), literal: false, ambient, scope, left };
    made.expand(template)?;
    Ok(Made {
        value: Arc::new(SecretValue::new(made.text)),
        references: made.references,
        literal_reference: made.literal,
    })
}

struct Expansion<'a> {
    text: String,
    references: BTreeSet<Key>,
    literal: bool,
    ambient: &'a dyn Fn(&str) -> Option<SecretValue>,
    scope: &'a HashMap<Key, Seen>,
    left: &'a mut usize,
}

impl Expansion<'_> {
    fn expand(&mut self, template: &Template) -> Result<(), Failure> {
        for part in &template.0 {
            match part {
                Part::Text(text) => self.push(text.expose())?,
                Part::Reference { name, operator } => self.reference(name, operator)?,
            }
        }
        Ok(())
    }

    fn push(&mut self, text: &str) -> Result<(), Failure> {
        if self.text.len() + text.len() > EXPANSION_LIMIT {
            return Err(Failure::TooLong);
        }
        self.text.push_str(text);
        Ok(())
    }

    fn reference(&mut self, name: &Key, operator: &Operator) -> Result<(), Failure> {
        let ambient = (self.ambient)(name.as_str());
        let ambient = ambient.map(|value| Seen { value: Arc::new(value), references: BTreeSet::new() });
        // Empty is unset and shadows nothing, here too.
        let scope = self.scope;
        let ambient_if = |empty: bool| ambient.as_ref().filter(|seen| seen.value.is_empty() == empty);
        let found = ambient_if(false).or_else(|| scope.get(name)).or_else(|| ambient_if(true));
        let set = |or_empty: bool| found.filter(|seen| !(or_empty && seen.value.is_empty()));
        let used = match operator {
            Operator::Bare => {
                if found.is_none() {
                    self.literal = true;
                    self.push("$")?;
                    return self.push(name.as_str());
                }
                found
            }
            Operator::Braced => found,
            Operator::Default { or_empty, word } => match set(*or_empty) {
                Some(seen) => Some(seen),
                None => {
                    // What stands in for a secret is one too.
                    self.references.insert(name.clone());
                    return self.expand(word);
                }
            },
            Operator::Alternative { or_empty, word } => {
                if set(*or_empty).is_none() {
                    return Ok(());
                }
                self.references.insert(name.clone());
                return self.expand(word);
            }
            Operator::Required { or_empty, message: _ } => match set(*or_empty) {
                Some(seen) => Some(seen),
                // The message is not told: it may be a piece of the value.
                None => return Err(Failure::Required { name: name.clone() }),
            },
        };
        if let Some(seen) = used {
            let cost = seen.value.len() + (seen.references.len() + 1) * REFERENCE_COST;
            *self.left = self.left.checked_sub(cost).ok_or(Failure::TooMuch)?;
            self.references.insert(name.clone());
            self.references.extend(seen.references.iter().cloned());
            self.push(seen.value.expose())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
