//! An env file's text becomes offers.
//!
//! Owns: the reader of dlconf itself. It reads compose's dialect with one
//! difference: a bare `$NAME` that is set nowhere stays as it is written, which
//! is for `resolve` to do.
//! Invariants: pure, linear, no panic on any text; every malformed line is
//! reported in one run; no fault and no remark quotes the text.
//! Must not know: files, layers, other variables' values.
//!
//! Current limitations: names that compose allows but no environment variable
//! has (`a.b`, `1A`) are remarks, not offers.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::finding::Code;
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Offer, Remark, Value};
use crate::model::origin::{Excerpt, Location, Origin, Span};
use crate::model::rotation::is_reserved;
use crate::model::secret::SecretValue;
use crate::source::{Fault, FaultKind, marks};

use super::scan::{Assignment, Locator, Scanner, Statement};
use super::template::{self, TemplateFault};

/// How many malformed lines, and how many remarks, are listed one by one.
const LISTED: usize = 100;

/// What an env file holds.
#[derive(Debug)]
pub struct Parsed {
    /// Its assignments in order; where two are of one name, the later wins.
    pub offers: Vec<Offer>,
    /// What it holds beside them.
    pub remarks: Vec<Remark>,
    /// The fields of dlconf's own: they are no offers.
    pub reserved: Vec<Reserved>,
}

impl Parsed {
    /// Says of its values which keys of rotations they are.
    pub(super) fn mark(&mut self, source: &SourceName, path: &Arc<str>, modified: Option<SystemTime>) {
        let origin = |field: &Reserved| Origin {
            mark: None,
            source: source.clone(),
            location: Location::File { path: Arc::clone(path), at: Some(field.at) },
            revision: None,
            modified,
        };
        self.remarks.extend(marks::mark(&self.reserved, &mut self.offers, origin));
    }
}

/// A field of dlconf's own.
#[derive(Debug)]
pub struct Reserved {
    /// Its name.
    pub key: Key,
    /// What it holds.
    pub value: Value,
    /// Where that begins.
    pub at: Span,
}

/// Reads an env file's text. `path` is the file as the user wrote it,
/// `modified` when it was last written.
///
/// # Errors
/// A fault for every malformed line, in order; from the hundredth on only their
/// number.
pub fn parse(
    source: &SourceName,
    path: &Arc<str>,
    text: &str,
    modified: Option<SystemTime>,
) -> Result<Parsed, Vec<Fault>> {
    let origin = |at| Origin {
        mark: None,
        source: source.clone(),
        location: Location::File { path: path.clone(), at: Some(at) },
        revision: None,
        modified,
    };
    let mut offers = Vec::new();
    let mut reserved: Vec<Reserved> = Vec::new();
    let mut remarks = Capped::new();
    let mut faults = Capped::new();
    if let Some(fault) = Fault::sealed(text, path) {
        return Err(vec![fault]);
    }
    for statement in Scanner::new(text) {
        match statement {
            Statement::Malformed { at, problem } => faults.push(|| (at, (), problem.words())),
            Statement::Bare { at, tail, .. } => remarks.push(|| (at, bare_code(tail), bare_words(tail))),
            Statement::Assignment(assignment) => {
                let Ok(key) = Key::new(text.get(assignment.key.clone()).unwrap_or_default()) else {
                    remarks.push(|| (assignment.key_at, Code::UnknownName, NOT_A_NAME));
                    continue;
                };
                if reads_a_comment(text, &assignment) {
                    remarks.push(|| (assignment.value_at, Code::ReadersDisagree, COMMENT_AS_VALUE));
                }
                match value(text, &assignment) {
                    Ok(value) if is_reserved(key.as_str()) => {
                        reserved.push(Reserved { key, value, at: assignment.value_at });
                    }
                    Ok(value) => offers.push(Offer {
                        key,
                        value,
                        origin: origin(assignment.value_at),
                        excerpt: Some(excerpt(text, &assignment)),
                    }),
                    Err((at, words)) => faults.push(|| (at, (), words)),
                }
            }
        }
    }
    if !faults.listed.is_empty() {
        return Err(faults.into_list("lines are malformed", |at, (), message, help| Fault {
            kind: FaultKind::Malformed,
            location: Location::File { path: path.clone(), at: Some(at) },
            message,
            help,
        }));
    }
    let remarks = remarks.into_list("such lines follow", |at, code, message, help| Remark {
        code,
        origin: origin(at),
        message,
        help,
    });
    Ok(Parsed { offers, remarks, reserved })
}

/// A message and what to do about it.
type Words = (&'static str, &'static str);

const NOT_A_NAME: Words = (
    "this assignment is passed over: its name is none that a variable can have",
    "a name is made of letters, digits and underscores and does not begin with a digit",
);

const COMMENT_AS_VALUE: Words = (
    "the `#` that begins here is read as the value, not as a comment, as compose does",
    "move the comment to a line of its own, or put a value that begins with `#` into quotes",
);

/// Text behind a closing quote is part of the value for others (bash); a name
/// alone is none that the file sets.
fn bare_code(tail: bool) -> Code {
    if tail { Code::ReadersDisagree } else { Code::UnknownName }
}

fn bare_words(tail: bool) -> Words {
    if tail {
        ("text behind the closing quote belongs to no value", "put the whole value into one pair of quotes")
    } else {
        (
            "this name has no `=`: compose takes it from the host's environment, here it sets nothing",
            "write NAME=value, or remove the line; the environment is a source of its own",
        )
    }
}

/// `NAME= # words`: for bash, node and python the value is empty, for compose
/// it is the comment.
fn reads_a_comment(text: &str, assignment: &Assignment) -> bool {
    let before = text.get(assignment.key.end..assignment.value.start).unwrap_or_default();
    assignment.quote.is_none()
        && text.get(assignment.value.start..).is_some_and(|value| value.starts_with('#'))
        && before.ends_with(super::scan::is_blank)
}

/// An assignment's value; a fault in it has the place in the file.
pub(super) fn value(text: &str, assignment: &Assignment) -> Result<Value, (Span, Words)> {
    let inner = text.get(assignment.inner.clone()).unwrap_or_default();
    let decoded = match assignment.quote {
        Some('\'') => return Ok(SecretValue::new(unquote(inner, '\'', usize::MAX).0).into()),
        Some(quote) => unquote(inner, quote, usize::MAX).0,
        None => inner.to_owned(),
    };
    template::interpolate(decoded).map_err(|TemplateFault { offset, problem }| {
        let offset = match assignment.quote {
            Some(quote) => unquote(inner, quote, offset).1,
            None => offset,
        };
        let mut places = Locator::from(text, assignment.value.start, assignment.value_at);
        (places.at(assignment.inner.start + offset), problem.words())
    })
}

/// Undoes the escapes of a quoted text, as compose does: in both kinds of
/// quotes the escaped quote, in double quotes also `\a \b \f \n \r \t \v \\`,
/// `\0` with three octal digits, and `\$`, which becomes the template's `$$`.
/// Other backslashes stay.
///
/// Stops once it has written `until` bytes, and says how many bytes it has
/// read: that gives the place of a fault in what it wrote.
fn unquote(inner: &str, quote: char, until: usize) -> (String, usize) {
    let mut out = String::with_capacity(inner.len());
    let mut at = 0;
    while out.len() < until {
        let rest = inner.get(at..).unwrap_or_default();
        let plain = rest.find('\\').unwrap_or(rest.len()).min(until - out.len());
        out.push_str(rest.get(..plain).unwrap_or_default());
        at += plain;
        let Some(escaped) = rest.get(plain..).and_then(|rest| rest.strip_prefix('\\')) else { break };
        if out.len() == until {
            break;
        }
        at += 1 + escape(escaped, quote, &mut out);
    }
    (out, at)
}

/// Writes what the text behind a backslash stands for; gives its length.
fn escape(escaped: &str, quote: char, out: &mut String) -> usize {
    let Some(c) = escaped.chars().next() else {
        out.push('\\');
        return 0;
    };
    let plain = match c {
        c if c == quote => c,
        _ if quote == '\'' => {
            out.push('\\');
            c
        }
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        '$' => {
            out.push('$');
            '$'
        }
        '0' => return octal(escaped, out),
        _ => {
            out.push('\\');
            c
        }
    };
    out.push(plain);
    c.len_utf8()
}

/// `0` and up to three digits. What is no octal number up to 377 loses its
/// nought and keeps its backslash: so does compose.
fn octal(escaped: &str, out: &mut String) -> usize {
    let length = escaped.bytes().skip(1).take(3).take_while(u8::is_ascii_digit).count();
    let digits = escaped.get(1..=length).unwrap_or_default();
    match u8::from_str_radix(digits, 8) {
        Ok(byte) if digits.len() == 3 => out.push(char::from(byte)),
        _ => {
            out.push('\\');
            out.push_str(digits);
        }
    }
    1 + digits.len()
}

/// The assignment as written, to the end of the value or of its first line.
fn excerpt(text: &str, assignment: &Assignment) -> Excerpt {
    let written = text.get(assignment.key.start..assignment.value.end).unwrap_or_default();
    let line = written.split('\n').next().unwrap_or_default();
    Excerpt {
        text: SecretValue::from(line.strip_suffix('\r').unwrap_or(line)).into(),
        value_at: assignment.value.start - assignment.key.start,
        column: assignment.key_at.column,
    }
}

/// A list that a hostile file cannot make long, of places, sorts and words.
struct Capped<S> {
    listed: Vec<(Span, S, Words)>,
    more: usize,
}

impl<S: Copy> Capped<S> {
    fn new() -> Self {
        Self { listed: Vec::new(), more: 0 }
    }

    fn push(&mut self, make: impl FnOnce() -> (Span, S, Words)) {
        if self.listed.len() < LISTED {
            self.listed.push(make());
        } else {
            self.more += 1;
        }
    }

    fn into_list<T>(self, what: &str, make: impl Fn(Span, S, String, String) -> T) -> Vec<T> {
        let end = self.listed.last().map(|&(at, sort, _)| (at, sort));
        let mut list: Vec<T> = self
            .listed
            .into_iter()
            .map(|(at, sort, (message, help))| make(at, sort, message.into(), help.into()))
            .collect();
        if let Some((at, sort)) = end.filter(|_| self.more > 0) {
            let message = format!("{} more {what} after this one", self.more);
            list.push(make(at, sort, message, "see whether the file is an env file at all".to_owned()));
        }
        list
    }
}

#[cfg(test)]
mod tests;
