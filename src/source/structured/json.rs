//! JSON, through `serde_json`'s raw values: each is a slice of the text, which
//! tells its place and leaves numbers as they are written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Leaves, Unreadable};
use crate::model::origin::Span;
use crate::model::schema::toml_reader::Lines;
use crate::model::secret::SecretValue;

pub(super) fn walk(text: &str, leaves: &mut Leaves<'_>) {
    let lines = Lines::new(text);
    let mut walker = Walker { text, lines: &lines, leaves };
    match serde_json::from_str::<&RawValue>(text) {
        Ok(top) if top.get().starts_with('{') => walker.value(top),
        Ok(_) => walker.leaves.fault(
            Span { line: 1, column: 1 },
            "a configuration is one JSON object".into(),
            "write { \"NAME\": \"value\" }",
        ),
        Err(error) => {
            let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let at = Span { line: narrow(error.line()).max(1), column: narrow(error.column()).max(1) };
            walker.leaves.fault(at, "this is not valid JSON".into(), "correct the syntax here");
        }
    }
}

struct Walker<'a, 'l, 's> {
    text: &'a str,
    lines: &'l Lines<'a>,
    leaves: &'l mut Leaves<'s>,
}

impl<'a> Walker<'a, '_, '_> {
    /// Where a slice of the text begins.
    fn span(&self, slice: &str) -> Span {
        self.lines.span((slice.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize))
    }

    fn value(&mut self, raw: &'a RawValue) {
        let written = raw.get();
        let at = self.span(written);
        match written.as_bytes().first() {
            Some(b'{') => match serde_json::from_str::<Fields<'a>>(written) {
                Ok(Fields(fields)) => self.fields(fields),
                Err(_) => self.leaves.unreadable(at, &LONE_SURROGATE_IN_NAME),
            },
            Some(b'[') => match serde_json::from_str::<Vec<&'a RawValue>>(written) {
                Ok(items) => self.list(&items, at),
                Err(_) => self.leaves.fault(at, "this is no list".into(), "correct the syntax here"),
            },
            _ => match scalar(written) {
                // null is unset: nothing is offered.
                Ok(Scalar::Null) => {}
                Ok(Scalar::Text(text)) => {
                    self.leaves.scalar(text, at, Some(written).filter(|w| !w.contains('\n')));
                }
                Err(problem) => self.leaves.unreadable(at, &problem),
            },
        }
    }

    fn fields(&mut self, fields: Vec<(String, &'a RawValue)>) {
        for (name, value) in fields {
            if self.leaves.enter(&name, self.span(value.get())) {
                self.value(value);
                self.leaves.leave();
            }
        }
    }

    fn list(&mut self, items: &[&'a RawValue], at: Span) {
        let mut texts = Vec::with_capacity(items.len());
        for item in items {
            let written = item.get();
            if written.starts_with(['{', '[']) {
                return self.leaves.nested_list(at);
            }
            match scalar(written) {
                Ok(Scalar::Text(text)) => texts.push(SecretValue::new(text)),
                Ok(Scalar::Null) => return self.leaves.nested_list(at),
                Err(problem) => return self.leaves.unreadable(self.span(written), &problem),
            }
        }
        self.leaves.list(&texts, at);
    }
}

/// What a raw value is that is no object and no list.
enum Scalar {
    Null,
    Text(String),
}

// The one thing that a raw value lets pass and a text does not.
const LONE_SURROGATE: Unreadable = Unreadable {
    message: "this string has a `\\u` escape that is half a character: surrogates stand in pairs",
    help: "write the character itself, or both halves of the pair",
};

const LONE_SURROGATE_IN_NAME: Unreadable = Unreadable {
    message: "a name in this object has a `\\u` escape that is half a character",
    help: "write names in letters, digits, `_`, `-` and `.`",
};

fn scalar(written: &str) -> Result<Scalar, Unreadable> {
    match written.as_bytes().first() {
        Some(b'"') => serde_json::from_str(written).map(Scalar::Text).map_err(|_| LONE_SURROGATE),
        Some(b'n') => Ok(Scalar::Null),
        _ => Ok(Scalar::Text(written.to_owned())),
    }
}

/// An object's fields in the order of the text, duplicates included.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
