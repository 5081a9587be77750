//! The text of an example env file as variables to draft from.
//!
//! Owns: what is a variable there (an assignment, or one that is commented
//! out), and which comment lines are about it.
//! Invariants: no line that is passed over is quoted, only counted.
//! Must not know: what a schema makes of a variable (`draft`).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::cli::{Failure, Fault, exit};
use crate::draft::{ExampleVariable, is_given_name};
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Offer, Part, Value};
use crate::model::origin::Location;
use crate::model::secret::SecretValue;
use crate::source::dotenv::{assignments, parse};
use crate::source::file::strip_bom;

/// What an example holds.
pub(super) struct Example {
    /// Its variables in the order of their lines; a name may stand twice.
    pub(super) variables: Vec<ExampleVariable>,
    /// Lines that look like variables and are none, in order.
    pub(super) passed_over: Vec<u32>,
}

/// What a line of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'t> {
    /// Empty, or a comment without a word: what stands above is not about what
    /// stands below.
    Gap,
    /// A comment's words.
    Comment(&'t str),
    /// An assignment, or one that is commented out.
    Variable,
    /// Inside a value of several lines.
    Inside,
    /// Anything else.
    Other,
}

impl Example {
    /// Understands an example's text; `label` is its file as the user wrote it.
    pub(super) fn read(label: &str, text: &str) -> Result<Self, Failure> {
        let text = strip_bom(text);
        let source = SourceName::new("example");
        let parsed = parse(&source, &label.into(), text, None).map_err(|faults| Failure {
            exit: exit::UNREADABLE,
            faults: faults
                .into_iter()
                .map(|fault| Fault {
                    code: None,
                    message: fault.message,
                    place: Some(fault.location.to_string()),
                    help: Some(fault.help),
                    drawn: None,
                })
                .collect(),
        })?;
        // A remark at an offered value says that a comment is read as the value.
        let remarked: Vec<&Location> = parsed.remarks.iter().map(|remark| &remark.origin.location).collect();
        let offered: BTreeSet<u32> = parsed.offers.iter().map(line_of).collect();
        let mut passed_over: BTreeSet<u32> = remarked
            .iter()
            .filter(|place| parsed.offers.iter().all(|offer| offer.origin.location != ***place))
            .filter_map(|place| place.span())
            .map(|at| at.line)
            .collect();

        let mut variables = Vec::new();
        for offer in &parsed.offers {
            if !is_given_name(&offer.key) {
                passed_over.insert(line_of(offer));
                continue;
            }
            let comment_only = remarked.contains(&&offer.origin.location);
            variables.push(ExampleVariable {
                name: offer.key.clone(),
                value: value(&offer.value).filter(|_| !comment_only),
                comment: Vec::new(),
                commented_out: false,
                line: line_of(offer),
            });
        }
        let mut lines = lines(text, &offered);
        let in_use: BTreeSet<Key> = variables.iter().map(|variable| variable.name.clone()).collect();
        for (number, line) in (1..).zip(&mut lines) {
            let Line::Comment(words) = *line else { continue };
            // Beside the variable itself it is a remark about it.
            let Some((name, value)) = commented_out(words).filter(|(name, _)| !in_use.contains(name)) else {
                continue;
            };
            *line = Line::Variable;
            variables.push(ExampleVariable {
                name,
                value,
                comment: Vec::new(),
                commented_out: true,
                line: number,
            });
        }
        variables.sort_by_key(|variable| variable.line);
        for variable in &mut variables {
            variable.comment = comment_on(&lines, variable.line);
        }
        Ok(Self { variables, passed_over: passed_over.into_iter().collect() })
    }
}

fn line_of(offer: &Offer) -> u32 {
    offer.origin.location.span().map_or(1, |at| at.line)
}

/// The value, where the file gives one. What is put together from others says
/// nothing about its own shape.
fn value(value: &Value) -> Option<SecretValue> {
    let text = match value {
        Value::Literal(value) => value.expose(),
        Value::Template(template) => match template.0.as_slice() {
            [Part::Text(text)] => text.expose(),
            _ => "",
        },
    };
    (!text.is_empty()).then(|| SecretValue::from(text))
}

/// The file's lines; `offered` are those with an assignment.
fn lines<'t>(text: &'t str, offered: &BTreeSet<u32>) -> Vec<Line<'t>> {
    let quoted: Vec<_> =
        assignments(text).into_iter().filter(|a| a.quote.is_some()).map(|a| a.value).collect();
    let mut quoted = quoted.into_iter().peekable();
    let mut lines = Vec::new();
    let mut start = 0;
    for (number, whole) in (1..).zip(text.split_inclusive('\n')) {
        while quoted.next_if(|value| value.end <= start).is_some() {}
        let inside = quoted.peek().is_some_and(|value| value.start < start);
        start += whole.len();
        let line = whole.trim();
        lines.push(match line.strip_prefix('#') {
            _ if inside => Line::Inside,
            _ if offered.contains(&number) => Line::Variable,
            _ if line.is_empty() => Line::Gap,
            Some(words) => {
                let words = words.trim_start_matches('#').trim();
                let parts = is_ruler(line) && commented_out(words).is_none();
                if parts { Line::Gap } else { Line::Comment(words) }
            }
            None => Line::Other,
        });
    }
    lines
}

/// Whether a comment line parts what is above it from what is below: no word at
/// all, or a heading between dashes (`# ---- DB ----`, `### DB ###`).
fn is_ruler(line: &str) -> bool {
    const SHORTEST: usize = 3;
    let is_rule = |c: char| !c.is_alphanumeric() && !c.is_whitespace() && !".?!)\"'".contains(c);
    let words = line.strip_prefix('#').unwrap_or(line);
    // Marks of one kind in a row, of those that end no sentence.
    let run = |marks: &mut dyn Iterator<Item = char>| {
        let first = marks.next().filter(|&c| is_rule(c));
        first.is_some_and(|first| marks.take_while(|&c| c == first).count() + 1 >= SHORTEST)
    };
    !words.contains(char::is_alphanumeric)
        || run(&mut words.trim().chars())
        || run(&mut words.trim().chars().rev())
        || run(&mut line.chars())
}

/// The assignment that a comment consists of.
fn commented_out(words: &str) -> Option<(Key, Option<SecretValue>)> {
    let words = words.strip_prefix("export ").map_or(words, str::trim_start);
    let (name, rest) = words.split_once('=')?;
    let name = name.trim_end();
    let capitals =
        name.bytes().any(|b| b.is_ascii_uppercase()) && !name.bytes().any(|b| b.is_ascii_lowercase());
    let name = Key::new(name).ok().filter(|name| capitals && is_given_name(name))?;
    // `A == b` is a condition.
    if rest.starts_with('=') {
        return None;
    }
    let path: Arc<str> = "example".into();
    let parsed = parse(&SourceName::new("example"), &path, words, None).ok();
    let value = parsed.filter(|parsed| parsed.remarks.is_empty()).and_then(|parsed| {
        let [offer] = parsed.offers.as_slice() else { return None };
        // Words without quotes go on as a sentence.
        let quoted = rest.trim_start().starts_with(['"', '\'']);
        value(&offer.value).filter(|value| quoted || !value.expose().contains(char::is_whitespace))
    });
    Some((name, value))
}

/// The comment lines that are about the variable of a line: those just above it,
/// unless they are the heading of several variables.
fn comment_on(lines: &[Line<'_>], line: u32) -> Vec<String> {
    /// A short comment between variables is a heading too.
    const HEADING_WORDS: usize = 3;
    let at = line.saturating_sub(1) as usize;
    let above = lines.get(..at).unwrap_or_default();
    let mut comment: Vec<&str> = above
        .iter()
        .rev()
        .map_while(|line| match line {
            Line::Comment(words) => Some(*words),
            _ => None,
        })
        .collect();
    comment.reverse();
    let below = lines.get(at + 1..).unwrap_or_default();
    let several = below.iter().find(|line| **line != Line::Inside) == Some(&Line::Variable);
    let opens = !matches!(above.iter().rev().nth(comment.len()), Some(Line::Variable | Line::Inside));
    let short = comment.iter().flat_map(|words| words.split_whitespace()).count() <= HEADING_WORDS;
    if several && (opens || short) {
        return Vec::new();
    }
    comment.into_iter().map(str::to_owned).collect()
}
