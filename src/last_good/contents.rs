//! What is inside a snapshot: what sources gave, as bytes, before they are sealed.
//!
//! JSON of a form of its own, with a version: the types of the model may change, and
//! what an older release wrote is still read or refused by name. Templates are
//! written as a flat list of marks, so that no depth of them meets a reader's limit.
//! Excerpts and remarks are not kept: they are about the text of today.
//! Invariants: values are read out of the model where they lie and written once, into
//! one buffer of the final size, which is wiped; a reader's error says nothing of
//! what it read.
//! Must not know: keys, files, what may still be used.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{LAST_SECOND, from_seconds};
use crate::model::kept::{Kept, KeptLease};
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer, Operator, Part, Place, Template, Value};
use crate::model::origin::{Location, Origin, Revision, Span};
use crate::model::rotation::Mark as KeyMark;
use crate::model::secret::SecretValue;

/// The version of this form.
const VERSION: u32 = 1;

/// Why contents are not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotUnderstood {
    /// A later release wrote them.
    Newer(u32),
    /// They are none.
    Malformed,
}

/// These as bytes. Each may become as old as it says itself, and no older than
/// `max_age`.
///
/// # Errors
/// Only where the writer of JSON refuses, which it has no reason to.
pub(super) fn encode(kept: &[Kept], max_age: Duration) -> io::Result<Zeroizing<Vec<u8>>> {
    let forms = kept.iter().map(|kept| KeptForm::of(kept, limit(kept, max_age)));
    let form = Form { version: VERSION, kept: forms.collect() };
    // A buffer that grows would leave values behind in what it was before.
    let mut length = Counter(0);
    serde_json::to_writer(&mut length, &form)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, &form)?;
    Ok(bytes)
}

/// How old this may become, where nothing may become older than `max_age`.
pub(super) fn limit(kept: &Kept, max_age: Duration) -> Duration {
    kept.max_age.map_or(max_age, |theirs| theirs.min(max_age))
}

/// What is less than one is one: a limit that is rounded down would end too early.
fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// What [`encode`] wrote.
///
/// # Errors
/// [`NotUnderstood`]
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Kept>, NotUnderstood> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    // The errors of the reader quote what they do not like: they end here.
    let malformed = |_: serde_json::Error| NotUnderstood::Malformed;
    match serde_json::from_slice::<Head>(bytes).map_err(malformed)?.version {
        VERSION => {}
        newer if newer > VERSION => return Err(NotUnderstood::Newer(newer)),
        _ => return Err(NotUnderstood::Malformed),
    }
    let form: Form<'static> = serde_json::from_slice(bytes).map_err(malformed)?;
    let kept = form.kept.into_iter().map(KeptForm::understood).collect::<Option<_>>();
    kept.ok_or(NotUnderstood::Malformed)
}

/// Counts what would be written.
struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
struct Form<'a> {
    version: u32,
    kept: Vec<KeptForm<'a>>,
}

#[derive(Serialize, Deserialize)]
struct KeptForm<'a> {
    source: Cow<'a, str>,
    identity: Cow<'a, str>,
    confirmed: Moment,
    /// In whole milliseconds.
    max_age: u64,
    lent: Vec<(Cow<'a, str>, Option<Moment>)>,
    places: Vec<(Cow<'a, str>, Option<u32>)>,
    offers: Vec<OfferForm<'a>>,
}

#[derive(Serialize, Deserialize)]
struct OfferForm<'a> {
    key: Cow<'a, str>,
    value: ValueForm<'a>,
    at: LocationForm<'a>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<Moment>,
    /// Later than the first form: who does not know it passes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<KeyMark>,
}

#[derive(Serialize, Deserialize)]
enum ValueForm<'a> {
    Text(Secret<'a>),
    Template(Vec<Mark<'a>>),
}

/// A piece of a template. What begins with an operator that has a word ends with
/// `End`.
#[derive(Serialize, Deserialize)]
enum Mark<'a> {
    Text(Secret<'a>),
    Bare(Cow<'a, str>),
    Braced(Cow<'a, str>),
    Default(Cow<'a, str>, bool),
    Alternative(Cow<'a, str>, bool),
    Required(Cow<'a, str>, bool),
    End,
}

#[derive(Serialize, Deserialize)]
enum LocationForm<'a> {
    File(Cow<'a, str>, Option<(u32, u32)>),
    Named(Cow<'a, str>),
    Field(Cow<'a, str>, Cow<'a, str>, Option<Cow<'a, str>>),
}

/// A value, which is never anything else while it is read or written.
enum Secret<'a> {
    Lent(&'a SecretValue),
    Own(SecretValue),
}

impl Serialize for Secret<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Lent(value) => serializer.serialize_str(value.expose()),
            Self::Own(value) => serializer.serialize_str(value.expose()),
        }
    }
}

impl<'de> Deserialize<'de> for Secret<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Taker;

        impl Visitor<'_> for Taker {
            type Value = SecretValue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_str<E>(self, text: &str) -> Result<SecretValue, E> {
                Ok(SecretValue::from(text))
            }

            fn visit_string<E>(self, text: String) -> Result<SecretValue, E> {
                Ok(SecretValue::new(text))
            }
        }

        deserializer.deserialize_str(Taker).map(Secret::Own)
    }
}

impl Secret<'_> {
    fn taken(self) -> SecretValue {
        match self {
            Self::Own(value) => value,
            Self::Lent(value) => SecretValue::from(value.expose()),
        }
    }
}

/// A time: seconds since 1970, and nanoseconds after that.
#[derive(Serialize, Deserialize)]
struct Moment(i64, u32);

impl Moment {
    fn of(time: SystemTime) -> Self {
        let whole = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(whole(after), after.subsec_nanos()),
            Err(error) => {
                let before = error.duration();
                match before.subsec_nanos() {
                    0 => Self(-whole(before), 0),
                    nanos => Self(-whole(before) - 1, 1_000_000_000 - nanos),
                }
            }
        }
    }

    fn time(&self) -> Option<SystemTime> {
        let Self(seconds, nanos) = *self;
        let is_one = seconds.unsigned_abs() <= LAST_SECOND && nanos < 1_000_000_000;
        is_one.then(|| from_seconds(seconds) + Duration::from_nanos(nanos.into()))
    }
}

impl<'a> KeptForm<'a> {
    fn of(kept: &'a Kept, max_age: Duration) -> Self {
        Self {
            source: kept.source.as_str().into(),
            identity: (*kept.identity).into(),
            confirmed: Moment::of(kept.confirmed),
            max_age: milliseconds(max_age),
            lent: kept.lent.iter().map(|lease| ((*lease.place).into(), lease.ends.map(Moment::of))).collect(),
            places: kept.layer.places.iter().map(|place| ((*place.label).into(), place.mode)).collect(),
            offers: kept.layer.offers.iter().map(OfferForm::of).collect(),
        }
    }

    fn understood(self) -> Option<Kept> {
        let source = SourceName::new(&self.source);
        let lease = |(place, ends): (Cow<'_, str>, Option<Moment>)| {
            let ends = ends.map(|ends| ends.time().ok_or(())).transpose().ok()?;
            Some(KeptLease { place: (*place).into(), ends })
        };
        let place = |(label, mode): (Cow<'_, str>, Option<u32>)| Place { label: (*label).into(), mode };
        Some(Kept {
            identity: (*self.identity).into(),
            confirmed: self.confirmed.time()?,
            max_age: Some(Duration::from_millis(self.max_age)),
            lent: self.lent.into_iter().map(lease).collect::<Option<_>>()?,
            is_cut: false,
            layer: Layer {
                source: source.clone(),
                places: self.places.into_iter().map(place).collect(),
                offers: self
                    .offers
                    .into_iter()
                    .map(|offer| offer.understood(&source))
                    .collect::<Option<_>>()?,
                remarks: Vec::new(),
            },
            source,
        })
    }
}

impl<'a> OfferForm<'a> {
    fn of(offer: &'a Offer) -> Self {
        let value = match &offer.value {
            Value::Literal(value) => ValueForm::Text(Secret::Lent(value)),
            Value::Template(template) => {
                let mut marks = Vec::new();
                flatten(template, &mut marks);
                ValueForm::Template(marks)
            }
        };
        Self {
            key: offer.key.as_str().into(),
            value,
            at: LocationForm::of(&offer.origin.location),
            revision: offer.origin.revision.as_ref().map(|revision| (*revision.0).into()),
            modified: offer.origin.modified.map(Moment::of),
            mark: offer.origin.mark.as_deref().cloned(),
        }
    }

    fn understood(self, source: &SourceName) -> Option<Offer> {
        let value = match self.value {
            ValueForm::Text(secret) => secret.taken().into(),
            ValueForm::Template(marks) => raised(marks)?.into(),
        };
        let origin = Origin {
            mark: self.mark.map(Arc::new),
            source: source.clone(),
            location: self.at.understood(),
            revision: self.revision.map(|revision| Revision((*revision).into())),
            modified: self.modified.map(|moment| moment.time().ok_or(())).transpose().ok()?,
        };
        Some(Offer { key: Key::new(&self.key).ok()?, value, origin, excerpt: None })
    }
}

impl<'a> LocationForm<'a> {
    /// What came from a snapshot itself is kept by where it came from at first.
    fn of(location: &'a Location) -> Self {
        match location {
            Location::File { path, at } => Self::File((**path).into(), at.map(|at| (at.line, at.column))),
            Location::Named(text) => Self::Named((**text).into()),
            Location::Field { of, name, revision } => {
                Self::Field((**of).into(), (**name).into(), revision.as_deref().map(Into::into))
            }
            Location::Snapshot(inner) => Self::of(inner),
        }
    }

    fn understood(self) -> Location {
        match self {
            Self::File(path, at) => {
                Location::File { path: (*path).into(), at: at.map(|(line, column)| Span { line, column }) }
            }
            Self::Named(text) => Location::Named((*text).into()),
            Self::Field(of, name, revision) => Location::Field {
                of: (*of).into(),
                name: (*name).into(),
                revision: revision.map(|revision| (*revision).into()),
            },
        }
    }
}

fn flatten<'a>(template: &'a Template, marks: &mut Vec<Mark<'a>>) {
    for part in &template.0 {
        let (name, operator) = match part {
            Part::Text(text) => {
                marks.push(Mark::Text(Secret::Lent(text)));
                continue;
            }
            Part::Reference { name, operator } => (Cow::Borrowed(name.as_str()), operator),
        };
        let (mark, word) = match operator {
            Operator::Bare => (Mark::Bare(name), None),
            Operator::Braced => (Mark::Braced(name), None),
            Operator::Default { or_empty, word } => (Mark::Default(name, *or_empty), Some(word)),
            Operator::Alternative { or_empty, word } => (Mark::Alternative(name, *or_empty), Some(word)),
            Operator::Required { or_empty, message } => (Mark::Required(name, *or_empty), Some(message)),
        };
        marks.push(mark);
        if let Some(word) = word {
            flatten(word, marks);
            marks.push(Mark::End);
        }
    }
}

/// What is open while a template is put together.
type WithWord = fn(bool, Template) -> Operator;

/// The template of these marks; none where they are those of none.
fn raised(marks: Vec<Mark<'_>>) -> Option<Template> {
    let mut done: Vec<Part> = Vec::new();
    let mut open: Vec<(Vec<Part>, Key, bool, WithWord)> = Vec::new();
    for mark in marks {
        let (name, or_empty, with): (_, _, WithWord) = match mark {
            Mark::Text(text) => {
                done.push(Part::Text(text.taken()));
                continue;
            }
            Mark::Bare(name) => {
                done.push(Part::Reference { name: Key::new(&name).ok()?, operator: Operator::Bare });
                continue;
            }
            Mark::Braced(name) => {
                done.push(Part::Reference { name: Key::new(&name).ok()?, operator: Operator::Braced });
                continue;
            }
            Mark::End => {
                let (outer, name, or_empty, with) = open.pop()?;
                let operator = with(or_empty, Template(std::mem::replace(&mut done, outer)));
                done.push(Part::Reference { name, operator });
                continue;
            }
            Mark::Default(name, or_empty) => {
                (name, or_empty, |or_empty, word| Operator::Default { or_empty, word })
            }
            Mark::Alternative(name, or_empty) => {
                (name, or_empty, |or_empty, word| Operator::Alternative { or_empty, word })
            }
            Mark::Required(name, or_empty) => {
                (name, or_empty, |or_empty, message| Operator::Required { or_empty, message })
            }
        };
        open.push((std::mem::take(&mut done), Key::new(&name).ok()?, or_empty, with));
    }
    open.is_empty().then_some(Template(done))
}

#[cfg(test)]
mod tests;
