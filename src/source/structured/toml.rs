//! TOML, through the `toml` crate's borrowed tree.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Leaves, Unreadable};
use crate::model::schema::toml_reader::Lines;
use crate::model::secret::SecretValue;

pub(super) fn walk(text: &str, leaves: &mut Leaves<'_>) {
    let lines = Lines::new(text);
    match DeTable::parse(text) {
        Ok(table) => Walker { text, lines: &lines, leaves }.table(table.get_ref()),
        Err(error) => {
            // The crate's message may quote the text; the place says enough.
            let at = lines.span(error.span().map_or(0, |span| span.start));
            leaves.fault(at, "this is not valid TOML".into(), "correct the syntax here");
        }
    }
}

struct Walker<'a, 'l, 's> {
    text: &'a str,
    lines: &'l Lines<'a>,
    leaves: &'l mut Leaves<'s>,
}

impl<'a> Walker<'a, '_, '_> {
    fn table(&mut self, table: &DeTable<'a>) {
        let mut fields: Vec<_> = table.iter().collect();
        fields.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in fields {
            let at = self.lines.span(key.span().start);
            if self.leaves.enter(key.get_ref(), at) {
                self.value(value);
                self.leaves.leave();
            }
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'a>>) {
        let span = value.span();
        let at = self.lines.span(span.start);
        match value.get_ref() {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    match scalar(item.get_ref()) {
                        Ok(Some(text)) => texts.push(SecretValue::new(text)),
                        Ok(None) => return self.leaves.nested_list(at),
                        Err(problem) => {
                            return self.leaves.unreadable(self.lines.span(item.span().start), &problem);
                        }
                    }
                }
                self.leaves.list(&texts, at);
            }
            plain => match scalar(plain) {
                Ok(Some(text)) => self.leaves.scalar(text, at, one_line(self.text, span)),
                Ok(None) => self.leaves.nested_list(at),
                Err(problem) => self.leaves.unreadable(at, &problem),
            },
        }
    }
}

fn one_line(text: &str, span: Range<usize>) -> Option<&str> {
    text.get(span).filter(|written| !written.contains('\n'))
}

const TOO_LARGE: Unreadable =
    Unreadable { message: "this number is too large to write in decimal", help: "write it as a string" };

/// The text of a scalar, which lists and tables are not; numbers in decimal as
/// the file writes them.
fn scalar(value: &DeValue<'_>) -> Result<Option<String>, Unreadable> {
    Ok(Some(match value {
        DeValue::String(text) => text.as_ref().to_owned(),
        DeValue::Integer(number) => match number.radix() {
            10 => number.as_str().to_owned(),
            radix => i128::from_str_radix(number.as_str(), radix).map_err(|_| TOO_LARGE)?.to_string(),
        },
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) | DeValue::Table(_) => return Ok(None),
    }))
}
