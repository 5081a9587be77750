//! Node: dotenv 18, and dotenv-expand 1000 on top of it, which also runs
//! commands.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::model::secret::SecretValue;

use super::reading::Reading;
use super::{Host, Lines, Notes, Vars};

/// What JavaScript takes for white space.
const SPACE: &str =
    r"[\t-\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}]";

/// How often dotenv-expand may substitute in one value before it is called
/// endless: it starts over after each, and `A=x$A` from the host never ends.
const ROUNDS: usize = 1000;

/// An assignment. The reader is itself one expression that backtracks over the
/// whole file; only another expression agrees with it on every odd quote.
#[allow(clippy::expect_used, reason = "a constant, which every test of this module compiles")]
static ASSIGNMENT: LazyLock<Regex> = LazyLock::new(|| {
    let quoted = |quote: char| format!(r"{SPACE}*{quote}(?:\\{quote}|[^{quote}])*{quote}");
    let [single, double, back] = ['\'', '"', '`'].map(quoted);
    let name = format!(r"^{SPACE}*(?:export{SPACE}+)?(?<key>[A-Za-z0-9_.\-]+)");
    let sign = format!(r"(?:{SPACE}*={SPACE}*?|:{SPACE}+?)");
    let value = format!(r"(?<value>{single}|{double}|{back}|[^#\r\n]+)?");
    let end = format!(r"{SPACE}*(?:#.*)?$");
    Regex::new(&format!("(?m){name}{sign}{value}{end}")).expect("the expression is a constant")
});

static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    #[allow(clippy::expect_used, reason = "a constant, which every test of this module compiles")]
    Regex::new(r"\$\{(?<braced>[^{}]+)\}|\$(?<bare>[A-Za-z_][A-Za-z0-9_]*)")
        .expect("the expression is a constant")
});

fn is_space(c: char) -> bool {
    matches!(c, '\t'..='\r' | ' ' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{2028}' | '\u{2029}')
        || matches!(c, '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}')
}

pub(super) fn read(text: &str) -> Notes {
    let (text, lines) = Lines::universal(text);
    let mut notes = Notes::default();
    for found in ASSIGNMENT.captures_iter(&text) {
        let Some(key) = found.name("key") else { continue };
        let written = found.name("value").map_or("", |value| value.as_str()).trim_matches(is_space);
        let value = unquote(written);
        notes.value(lines.at(key.start()), key.as_str(), &value);
    }
    notes
}

fn unquote(written: &str) -> String {
    let first = written.chars().next();
    let inner = first
        .filter(|quote| matches!(quote, '\'' | '"' | '`'))
        .and_then(|quote| written.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(written);
    if first == Some('"') { inner.replace("\\n", "\n").replace("\\r", "\r") } else { inner.to_owned() }
}

/// dotenv-expand works on what dotenv has read: the last value of each name, in
/// the order in which the names first occurred.
pub(super) fn expand(text: &str, host: Host<'_>) -> Notes {
    let mut notes = read(text);
    let mut last: HashMap<String, usize> = HashMap::new();
    let mut order = Vec::new();
    for (index, entry) in notes.entries.iter().enumerate() {
        if last.insert(entry.key.clone(), index).is_none() {
            order.push(entry.key.clone());
        }
    }
    let mut vars = Vars::new(host);
    for key in &order {
        let Some(entry) = last.get(key).and_then(|&index| notes.entries.get_mut(index)) else { continue };
        let Reading::Value(raw) = &entry.reading else { continue };
        let expanded = expand_value(raw.expose(), entry.line, &mut vars);
        entry.reading = match expanded {
            None => Reading::Refused("its references never come to an end"),
            Some(value) if runs_command(&value) => {
                vars.set(key, String::new());
                Reading::Runtime("the output of a command, which it runs")
            }
            Some(value) => {
                let value = value.replace("\\$", "$");
                let reading = Reading::Value(SecretValue::from(value.as_str()));
                vars.set(key, value);
                reading
            }
        };
    }
    // Values that a later line replaces are never expanded; they are judged as
    // if they were.
    for index in 0..notes.entries.len() {
        let Some(entry) = notes.entries.get_mut(index) else { continue };
        if last.get(&entry.key) == Some(&index) {
            continue;
        }
        if let Reading::Value(raw) = &entry.reading {
            entry.reading = match expand_value(raw.expose(), entry.line, &mut vars) {
                Some(value) if !runs_command(&value) => {
                    Reading::Value(SecretValue::new(value.replace("\\$", "$")))
                }
                _ => Reading::Absent,
            };
        }
    }
    notes.bounded(&vars)
}

/// A value with its references replaced; none where that never ends.
fn expand_value(value: &str, line: u32, vars: &mut Vars<'_>) -> Option<String> {
    let mut result = value.to_owned();
    for _ in 0..ROUNDS {
        let Some((written, expression)) = reference(&result) else { return Some(result) };
        let (name, sign, word) = match operator(expression) {
            Some((at, length)) => (
                expression.get(..at).unwrap_or_default(),
                expression.get(at..at + length).unwrap_or_default(),
                expression.get(at + length..).unwrap_or_default(),
            ),
            None => (expression, "", ""),
        };
        let found = vars.host_first(name);
        let filled = found.as_deref().filter(|value| !value.is_empty());
        let replacement = match sign {
            ":-" => filled.unwrap_or(word),
            "-" => found.as_deref().unwrap_or(word),
            ":+" => filled.map_or("", |_| word),
            "+" => found.as_ref().map_or("", |_| word),
            _ => filled.unwrap_or(""),
        };
        let next = replace_first(&result, written, replacement, line, vars);
        let done = found.as_ref() == Some(&next);
        result = next;
        if done {
            return Some(result);
        }
    }
    None
}

/// The first reference before which stands no backslash: as written, and what
/// it refers to.
fn reference(text: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let found = REFERENCE.captures_at(text, from)?;
        let all = found.get(0)?;
        if !text.get(..all.start())?.ends_with('\\') {
            let expression = found.name("braced").or_else(|| found.name("bare"))?;
            return Some((all.as_str(), expression.as_str()));
        }
        // A reference may begin inside one that a backslash disables.
        from = all.start() + 1;
    }
}

/// Where the first operator begins, and its length.
fn operator(expression: &str) -> Option<(usize, usize)> {
    let at = expression.find(['+', '-'])?;
    let colon = expression.get(..at).is_some_and(|before| before.ends_with(':'));
    Some(if colon { (at - 1, 2) } else { (at, 1) })
}

/// JavaScript's `replace`: the first occurrence, with `$$`, `$&`, `` $` `` and
/// `$'` in the replacement meaning something.
fn replace_first(text: &str, what: &str, with: &str, line: u32, vars: &mut Vars<'_>) -> String {
    let Some((before, after)) = text.split_once(what) else { return text.to_owned() };
    let mut out = String::new();
    vars.append(line, &mut out, before);
    let mut rest = with;
    while let Some(at) = rest.find('$') {
        vars.append(line, &mut out, rest.get(..at).unwrap_or_default());
        let behind = rest.get(at + 1..).unwrap_or_default();
        let meant = match behind.as_bytes().first() {
            Some(b'$') => Some("$"),
            Some(b'&') => Some(what),
            Some(b'`') => Some(before),
            Some(b'\'') => Some(after),
            _ => None,
        };
        vars.append(line, &mut out, meant.unwrap_or("$"));
        rest = behind.get(usize::from(meant.is_some())..).unwrap_or_default();
    }
    vars.append(line, &mut out, rest);
    vars.append(line, &mut out, after);
    out
}

/// Whether a value holds a complete `$(…)`; nobody writes a hundred that are not.
fn runs_command(value: &str) -> bool {
    value.match_indices("$(").take(100).any(|(at, _)| closes(value.get(at + 1..).unwrap_or_default()))
}

/// Whether the parenthesis with which a text begins is closed.
fn closes(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None | Some('"' | '`'), '\\') => drop(chars.next()),
            (None, '\'' | '"' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}
