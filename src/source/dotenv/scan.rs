//! Where statements, names and values stand in an env file, in compose's
//! dialect.
//!
//! Owns: the one scanner. `parse` makes offers of what it finds, `check --fix`
//! edits the ranges it gives, and `portability` asks it what compose sees.
//! Invariants: one pass, linear; every range lies inside the text on character
//! boundaries; after a malformed statement it goes on with the next line.
//! Must not know: what a value means (`decode`, `template`).

use std::ops::Range;

use crate::model::origin::Span;
use crate::source::file::strip_bom;

/// One assignment, as ranges of bytes in the text that was scanned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Where the name begins; `export` before it does not count.
    pub key_at: Span,
    /// The name. Compose allows more than a variable's name may be.
    pub key: Range<usize>,
    /// Where the value begins, with its quote.
    pub value_at: Span,
    /// The value as written, quotes included; without comment and blanks.
    pub value: Range<usize>,
    /// The value as written, without quotes; escapes are not undone.
    pub inner: Range<usize>,
    /// The quote around it, `"` or `'`.
    pub quote: Option<char>,
}

/// The assignments of an env file, in order. Malformed lines are passed over:
/// `parse` reports them.
pub fn assignments(text: &str) -> Vec<Assignment> {
    Scanner::new(text)
        .filter_map(|statement| match statement {
            Statement::Assignment(assignment) => Some(assignment),
            Statement::Bare { .. } | Statement::Malformed { .. } => None,
        })
        .collect()
}

/// What the scanner finds.
#[derive(Debug)]
pub(super) enum Statement {
    /// `NAME=value` or `NAME: value`.
    Assignment(Assignment),
    /// `NAME` alone, which compose takes from the host's environment.
    Bare {
        at: Span,
        name: Range<usize>,
        /// Whether it follows a closing quote on the same line.
        tail: bool,
    },
    /// What compose refuses.
    Malformed { at: Span, problem: Problem },
}

/// Why a statement is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// A line without `=`.
    NoEquals,
    /// A character that no name has.
    OddCharacter,
    /// A blank inside a name.
    BlankInName,
    /// Nothing before `=`.
    NoName,
    /// A quote that nothing closes.
    UnterminatedQuote,
    /// Text behind a closing quote that is no statement of its own.
    BehindQuote,
}

impl Problem {
    /// What is wrong and what to do, without a word of the text.
    pub(super) fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::NoEquals => {
                ("this line is no assignment: it has no `=`", "write NAME=value, or `#` before a comment")
            }
            Self::OddCharacter => (
                "a name holds a character that no name has",
                "a name is made of letters, digits and underscores; a comment begins with `#`; a value of \
                 several lines needs quotes",
            ),
            Self::BlankInName => ("a name holds a blank", "write NAME=value"),
            Self::NoName => ("there is no name before `=`", "write NAME=value"),
            Self::UnterminatedQuote => (
                "the quote that begins here is never closed",
                "close it, or write \\ before a quote that is meant",
            ),
            Self::BehindQuote => (
                "behind the closing quote stands text that belongs to no value",
                "put the whole value into one pair of quotes; inside \"…\" a quote is written \\\"",
            ),
        }
    }
}

/// Blanks inside a line, as compose counts them.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

/// The statements of a text. A byte order mark before it is passed over.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
    places: Locator<'t>,
    /// The last statement was a quoted value, and its line goes on.
    tail: bool,
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let start = text.len() - strip_bom(text).len();
        Self { text, at: start, places: Locator::new(text, start), tail: false }
    }

    fn rest(&self, from: usize) -> &'t str {
        self.text.get(from..).unwrap_or_default()
    }

    /// The offset of the next line feed, or of the end.
    fn line_end(&self, from: usize) -> usize {
        self.rest(from).find('\n').map_or(self.text.len(), |offset| from + offset)
    }

    fn behind(&self, from: usize, what: impl Fn(char) -> bool) -> usize {
        self.rest(from).find(|c| !what(c)).map_or(self.text.len(), |offset| from + offset)
    }

    /// Goes to the first character of the next statement, if there is one.
    fn go_to_statement(&mut self) -> bool {
        loop {
            let next = self.behind(self.at, char::is_whitespace);
            if self.text.get(self.at..next).is_some_and(|blanks| blanks.contains('\n')) {
                self.tail = false;
            }
            self.at = next;
            if !self.rest(next).starts_with('#') {
                return next < self.text.len();
            }
            self.at = self.line_end(next);
        }
    }

    fn malformed(&mut self, at: usize, problem: Problem) -> Statement {
        self.at = self.line_end(at);
        let problem = match problem {
            Problem::NoEquals | Problem::OddCharacter | Problem::BlankInName if self.tail => {
                Problem::BehindQuote
            }
            problem => problem,
        };
        Statement::Malformed { at: self.places.at(at), problem }
    }

    fn statement(&mut self) -> Statement {
        let start = match self.rest(self.at).strip_prefix("export") {
            Some(rest) if rest.starts_with(is_blank) => self.behind(self.at + "export".len(), is_blank),
            _ => self.at,
        };
        let mut end = None;
        for (offset, c) in self.rest(start).char_indices() {
            match c {
                '=' | ':' | '\n' => {
                    end = Some((start + offset, c));
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if c.is_alphanumeric() || is_blank(c) => {}
                _ => {
                    let odd = start + offset;
                    let line = self.text.get(odd..self.line_end(odd)).unwrap_or_default();
                    return if line.contains('=') {
                        self.malformed(odd, Problem::OddCharacter)
                    } else {
                        self.malformed(start, Problem::NoEquals)
                    };
                }
            }
        }
        let (end, sign) = end.unwrap_or((self.text.len(), '\n'));
        let name = self.text.get(start..end).unwrap_or_default().trim_end();
        let key = start..start + name.len();
        let blank = name.find(char::is_whitespace);
        if sign == '\n' {
            if blank.is_some() {
                return self.malformed(start, Problem::NoEquals);
            }
            self.at = end;
            return Statement::Bare { at: self.places.at(start), name: key, tail: self.tail };
        }
        if let Some(blank) = blank {
            return self.malformed(start + blank, Problem::BlankInName);
        }
        if name.is_empty() {
            return self.malformed(start, Problem::NoName);
        }
        self.value(key, end + sign.len_utf8())
    }

    /// The value of `key`, whose sign ends at `from`.
    fn value(&mut self, key: Range<usize>, from: usize) -> Statement {
        let start = self.behind(from, is_blank);
        let quote = self.rest(start).chars().next().filter(|c| matches!(c, '"' | '\''));
        let (value, inner) = if let Some(quote) = quote {
            let Some(length) = quoted_length(self.rest(start + 1), quote) else {
                return self.malformed(start, Problem::UnterminatedQuote);
            };
            let end = start + 1 + length;
            (start..end + 1, start + 1..end)
        } else {
            let line = self.text.get(start..self.line_end(start)).unwrap_or_default();
            let written = line.split(" #").next().unwrap_or_default().trim_end();
            // An empty value begins behind its sign, not behind stray blanks.
            let start = if written.is_empty() { from } else { start };
            (start..start + written.len(), start..start + written.len())
        };
        self.at = if quote.is_some() { value.end } else { self.line_end(value.end) };
        self.tail = quote.is_some();
        let key_at = self.places.at(key.start);
        let value_at = self.places.at(value.start);
        Statement::Assignment(Assignment { key_at, key, value_at, value, inner, quote })
    }
}

impl Iterator for Scanner<'_> {
    type Item = Statement;

    fn next(&mut self) -> Option<Statement> {
        self.go_to_statement().then(|| self.statement())
    }
}

/// The length of the text before the quote that closes it.
fn quoted_length(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == quote as u8 && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// Turns byte offsets into lines and columns, going forward only.
pub(super) struct Locator<'t> {
    text: &'t str,
    offset: usize,
    span: Span,
}

impl<'t> Locator<'t> {
    /// A locator whose line 1, column 1 is at `start`.
    pub(super) fn new(text: &'t str, start: usize) -> Self {
        Self { text, offset: start, span: Span { line: 1, column: 1 } }
    }

    /// A locator that goes on from a place that is known.
    pub(super) fn from(text: &'t str, offset: usize, span: Span) -> Self {
        Self { text, offset, span }
    }

    /// The place of an offset; one that lies behind gives the last place.
    pub(super) fn at(&mut self, offset: usize) -> Span {
        let passed = self.text.get(self.offset..offset).unwrap_or_default();
        let lines = passed.bytes().filter(|&byte| byte == b'\n').count();
        let last = passed.rsplit('\n').next().unwrap_or_default();
        let before = if lines == 0 { self.span.column } else { 1 };
        self.span.line = self.span.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.span.column = before.saturating_add(u32::try_from(last.chars().count()).unwrap_or(u32::MAX));
        self.offset = self.offset.max(offset);
        self.span
    }
}
