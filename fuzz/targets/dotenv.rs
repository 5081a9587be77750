//! Env files: the reader, its ranges, the eight dialects, and layering.
//!
//! Shared by the fuzz target and by the test that replays its corpus.

use std::sync::Arc;

use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::{Layer, Place, Value};
use dlconf::model::origin::Span;
use dlconf::model::resolve::{EXPANSION_LIMIT, resolve};
use dlconf::model::secret::SecretValue;
use dlconf::source::dotenv::portability::{self, Reading};
use dlconf::source::dotenv::{assignments, parse};

/// The longest input. What is read has to be linear; this bounds what is not.
const LONGEST: usize = 64 * 1024;

/// How many offers are layered: each may grow to the limit of one value.
const LAYERED: usize = 128;

/// Stands in the input as one byte, so that a mutation moves it as a whole. It
/// is no name, so whatever quotes it quotes a value or a malformed line.
const CANARY_BYTE: &str = "\u{1}";
const CANARY: &str = "c4n!4ry-5e0d";

/// What every input must satisfy.
pub(crate) fn judge(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input.get(..LONGEST).unwrap_or(input)) else { return };
    let text = text.replace(CANARY_BYTE, CANARY);
    let places = Places::of(&text);
    ranges(&text, &places);
    offers(&text, &places);
    disagreements(&text, &places);
}

/// The lines of a text, as their lengths in characters.
struct Places(Vec<usize>);

impl Places {
    fn of(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self(text.split('\n').map(|line| line.chars().count()).collect())
    }

    /// A place is inside a line, or just behind its last character.
    fn hold(&self, line: u32, column: u32) {
        let length = self.0[line as usize - 1];
        assert!((1..=length + 1).contains(&(column as usize)), "{line}:{column} of {length} characters");
    }

    fn hold_span(&self, at: Option<Span>) {
        let at = at.expect("whatever stands in an env file has a place");
        self.hold(at.line, at.column);
    }
}

fn ranges(text: &str, places: &Places) {
    let mut end = 0;
    for found in assignments(text) {
        let key = text.get(found.key.clone()).expect("a name is a piece of the text");
        let value = text.get(found.value.clone()).expect("a value is a piece of the text");
        let inner = text.get(found.inner.clone()).expect("its inside as well");
        assert!(!key.is_empty() && key.trim() == key);
        assert!(end <= found.key.start && found.key.end < found.value.start, "in order");
        match found.quote {
            Some(quote) => assert_eq!(value, format!("{quote}{inner}{quote}")),
            None => assert_eq!(value, inner),
        }
        places.hold(found.key_at.line, found.key_at.column);
        places.hold(found.value_at.line, found.value_at.column);
        assert!(found.key_at < found.value_at);
        end = found.value.end;
    }
}

fn offers(text: &str, places: &Places) {
    let source = SourceName::new("dotenv");
    let parsed = match parse(&source, &Arc::from(".env"), text, None) {
        Ok(parsed) => parsed,
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in &faults {
                places.hold_span(fault.location.span());
            }
            return silent("a fault", &faults);
        }
    };
    silent("what was read", &parsed);
    let named = |range: std::ops::Range<usize>| text.get(range).is_some_and(|name| Key::new(name).is_ok());
    let expected = assignments(text).into_iter().filter(|found| named(found.key.clone())).count();
    assert_eq!(parsed.offers.len(), expected, "every assignment is an offer");
    for remark in &parsed.remarks {
        places.hold_span(remark.origin.location.span());
    }
    for offer in &parsed.offers {
        places.hold_span(offer.origin.location.span());
        let excerpt = offer.excerpt.as_ref().expect("a text has an excerpt");
        let written = excerpt.text.expose();
        assert!(written.is_char_boundary(excerpt.value_at) && written.starts_with(offer.key.as_str()));
        assert!(!written.contains('\n'));
        if let Value::Template(template) = &offer.value {
            assert!(template.references().iter().all(|name| Key::new(name.as_str()).is_ok()));
        }
    }
    let mut offers = parsed.offers;
    offers.truncate(LAYERED);
    let places = vec![Place { label: ".env".into(), mode: None }];
    let layer = Layer { source, places, offers, remarks: parsed.remarks };
    let resolution = resolve([&layer], &|name| (name == "HOME").then(|| SecretValue::from(CANARY)));
    for candidates in resolution.variables.values() {
        if let Some(winner) = &candidates.winner {
            assert!(!winner.value.is_empty() && winner.value.len() <= EXPANSION_LIMIT.max(text.len()));
        }
    }
    silent("the resolution", &resolution);
}

fn disagreements(text: &str, places: &Places) {
    let host = |name: &str| (name == "HOME").then(|| CANARY.to_owned());
    let found = portability::judge(text, &host);
    for one in &found {
        places.hold(one.line, one.column);
        assert!(one.readings.len() >= 2, "they differ");
        assert!(one.key.as_deref().is_none_or(|key| Key::new(key).is_ok()), "only a name is told");
        for (reading, readers) in &one.readings {
            assert!(!readers.is_empty());
            if let Reading::Refused(why) | Reading::Runtime(why) = reading {
                assert!(!why.is_empty());
            }
        }
    }
    silent("a disagreement", &found);
}

/// Nothing that may be printed or logged quotes the text.
fn silent(what: &str, told: &impl std::fmt::Debug) {
    assert!(!format!("{told:?}").contains(CANARY), "{what} tells a value");
}
