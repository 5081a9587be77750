//! Compose's interpolation: text with `$NAME` and `${NAME…}` becomes a
//! [`Template`]. Nothing is looked up here (`resolve` does), nothing is run:
//! `$(…)` is text.
//!
//! Invariants: one pass; recursion and the number of references are capped; a
//! value without references is a literal.

use crate::model::key::Key;
use crate::model::layer::{Operator, Part, Template, Value};
use crate::model::secret::SecretValue;

/// How deep `${A:-${B:-…}}` may nest. Nobody writes three; the cap keeps the
/// stack of those who read, expand and drop a template.
const MAX_DEPTH: usize = 32;
/// How many references one value may hold.
const MAX_REFERENCES: usize = 1000;

/// Why a text is no template, and at which byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TemplateFault {
    pub(super) offset: usize,
    pub(super) problem: TemplateProblem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TemplateProblem {
    Unterminated,
    NoName,
    UnknownOperator,
    TooDeep,
    TooMany,
}

impl TemplateProblem {
    /// What is wrong and what to do, without a word of the text.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        const LITERAL: &str = "write `$$` for a `$` that is meant, or put the value into single quotes";
        match self {
            Self::Unterminated => ("the `${` that begins here is not closed on its line", LITERAL),
            Self::NoName => ("behind this `${` stands no name", LITERAL),
            Self::UnknownOperator => (
                "behind this `${` and its name stands neither `}` nor one of `:-` `-` `:+` `+` `:?` `?`",
                LITERAL,
            ),
            Self::TooDeep => {
                ("references nest more than 32 deep here", "give the inner ones a variable of their own")
            }
            Self::TooMany => (
                "this value has more than 1000 references",
                "put a text that is no template into single quotes",
            ),
        }
    }
}

/// Makes a value of a text whose escapes are undone, but for `$$`.
pub(super) fn interpolate(text: String) -> Result<Value, TemplateFault> {
    if !text.contains('$') {
        return Ok(SecretValue::new(text).into());
    }
    let mut reader = Reader { text: &text, at: 0, references: 0 };
    let mut parts = reader.parts(0)?.0;
    Ok(match parts.pop() {
        None => SecretValue::from("").into(),
        Some(Part::Text(only)) if parts.is_empty() => only.into(),
        Some(last) => {
            parts.push(last);
            Template(parts).into()
        }
    })
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    references: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// Takes a name, where one begins here.
    fn name(&mut self) -> Option<Key> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let key = Key::new(rest.get(..length)?).ok()?;
        self.at += length;
        Some(key)
    }

    /// Reads to the end of the text or, inside braces (`depth` above 0), behind
    /// the brace that closes them. Braces that belong to no `$` count in pairs.
    fn parts(&mut self, depth: usize) -> Result<Template, TemplateFault> {
        let opened = self.at;
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut pairs = 0_usize;
        loop {
            let rest = self.rest();
            let plain = rest.find(|c| c == '$' || (depth > 0 && matches!(c, '{' | '}' | '\n')));
            let length = plain.unwrap_or(rest.len());
            text.push_str(rest.get(..length).unwrap_or_default());
            self.at += length;
            let mut keep = "";
            match self.rest().as_bytes().first() {
                Some(b'$') => {
                    let dollar = self.at;
                    self.at += 1;
                    if self.take("$") {
                        text.push('$');
                    } else if self.take("{") {
                        let operator = self.braced(dollar, depth)?;
                        flush(&mut text, &mut parts);
                        parts.push(operator);
                    } else if let Some(name) = self.name() {
                        self.count(dollar)?;
                        flush(&mut text, &mut parts);
                        parts.push(Part::Reference { name, operator: Operator::Bare });
                    } else {
                        text.push('$');
                    }
                }
                Some(b'{') => {
                    pairs += 1;
                    keep = "{";
                }
                Some(b'}') if pairs > 0 => {
                    pairs -= 1;
                    keep = "}";
                }
                Some(b'}') => {
                    self.at += 1;
                    break;
                }
                None if depth == 0 => break,
                Some(_) | None => {
                    return Err(TemplateFault { offset: opened, problem: TemplateProblem::Unterminated });
                }
            }
            text.push_str(keep);
            self.at += keep.len();
        }
        flush(&mut text, &mut parts);
        Ok(Template(parts))
    }

    /// Reads what follows `${`, which stands at `dollar`.
    fn braced(&mut self, dollar: usize, depth: usize) -> Result<Part, TemplateFault> {
        let fault = |problem| TemplateFault { offset: dollar, problem };
        if depth == MAX_DEPTH {
            return Err(fault(TemplateProblem::TooDeep));
        }
        self.count(dollar)?;
        let name = self.name().ok_or(fault(TemplateProblem::NoName))?;
        if self.take("}") {
            return Ok(Part::Reference { name, operator: Operator::Braced });
        }
        if matches!(self.rest().as_bytes().first(), None | Some(b'\n')) {
            return Err(fault(TemplateProblem::Unterminated));
        }
        let or_empty = self.take(":");
        let sign = self.rest().as_bytes().first().copied();
        if !matches!(sign, Some(b'-' | b'+' | b'?')) {
            return Err(fault(TemplateProblem::UnknownOperator));
        }
        self.at += 1;
        let word = self.parts(depth + 1).map_err(|inner| match inner.problem {
            // The brace that is missing may be any of them: name the outermost.
            TemplateProblem::Unterminated => fault(TemplateProblem::Unterminated),
            _ => inner,
        })?;
        let operator = match sign {
            Some(b'-') => Operator::Default { or_empty, word },
            Some(b'+') => Operator::Alternative { or_empty, word },
            _ => Operator::Required { or_empty, message: word },
        };
        Ok(Part::Reference { name, operator })
    }

    fn count(&mut self, offset: usize) -> Result<(), TemplateFault> {
        self.references += 1;
        if self.references > MAX_REFERENCES {
            return Err(TemplateFault { offset, problem: TemplateProblem::TooMany });
        }
        Ok(())
    }
}

fn flush(text: &mut String, parts: &mut Vec<Part>) {
    if !text.is_empty() {
        parts.push(Part::Text(SecretValue::new(std::mem::take(text))));
    }
}
