//! joho/godotenv, what Go programs use.
//!
//! It looks for names byte by byte and takes each byte for a Latin-1 character,
//! so a byte order mark is an odd character to it, and half of an `é` too.

use super::super::scan::is_blank;
use super::{Host, Lines, Notes, Vars};

pub(super) fn read(text: &str, host: Host<'_>) -> Notes {
    let text = text.replace("\r\n", "\n");
    let lines = Lines::of(&text);
    let mut notes = Notes::default();
    let mut vars = Vars::new(host);
    let mut at = 0;
    while let Some(start) = statement(&text, at) {
        let line = lines.at(start);
        let (key, from) = match name(&text, start) {
            Ok(Some(found)) => found,
            // The last line has no sign: it goes under an empty name.
            Ok(None) => break,
            Err(reason) => return Notes::refused(line, reason),
        };
        let rest = text.get(from..).unwrap_or_default();
        let (value, length) = if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let Some(length) = quoted(rest, quote) else {
                return Notes::refused(line, "a quote is never closed");
            };
            // It trims every such quote at both ends, not one of each.
            let inner = rest.get(..length).unwrap_or_default().trim_matches(quote);
            let value =
                if quote == '"' { expand(&unescape(inner), line, &mut vars) } else { inner.to_owned() };
            (value, length + 1)
        } else {
            let length = rest.find(['\n', '\r']).unwrap_or(rest.len());
            let written = rest.get(..length).unwrap_or_default();
            if written.starts_with('#') {
                return Notes::refused(line, "it crashes on a value that begins with `#`");
            }
            (expand(without_comment(written).trim_matches(is_blank), line, &mut vars), length)
        };
        notes.value(line, key, &value);
        vars.set(key, value);
        at = from + length;
    }
    notes.bounded(&vars)
}

/// The next character that is neither blank nor in a comment.
fn statement(text: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = text.get(at..)?;
        at += rest.find(|c: char| !c.is_whitespace())?;
        let rest = text.get(at..)?;
        if !rest.starts_with('#') {
            return Some(at);
        }
        at += rest.find('\n')?;
    }
}

/// The name at `start` and the offset of its value, where there is a sign.
fn name(text: &str, start: usize) -> Result<Option<(&str, usize)>, &'static str> {
    let rest = text.get(start..).unwrap_or_default();
    let src = match rest.strip_prefix("export") {
        Some(behind) if behind.starts_with(is_blank) => behind.trim_start_matches(is_blank),
        _ => rest,
    };
    for (at, byte) in src.bytes().enumerate() {
        let c = char::from(byte);
        match c {
            '=' | ':' => {
                let key = src.get(..at).unwrap_or_default().trim_end();
                let value = src.get(at + 1..).unwrap_or_default().trim_start_matches(is_blank);
                return Ok(Some((key, text.len() - value.len())));
            }
            '_' | '.' | '-' => {}
            '\n' => return Err("a line without `=`"),
            c if is_blank(c) || c.is_alphanumeric() => {}
            _ => return Err("a character that no name has"),
        }
    }
    Ok(None)
}

/// The offset of the closing quote: the first before which stands an even
/// number of backslashes.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    rest.bytes().enumerate().skip(1).find_map(|(at, byte)| {
        let closes = byte == quote as u8 && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes.then_some(at)
    })
}

fn without_comment(line: &str) -> &str {
    let end = line
        .match_indices('#')
        .find(|&(at, _)| line.get(..at).is_some_and(|before| before.ends_with(is_blank)))
        .map_or(line.len(), |(at, _)| at);
    line.get(..end).unwrap_or_default()
}

/// `\n` and `\r` are meant so, `\$` is left for [`expand`], every other
/// backslash falls away.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('$') => out.push_str("\\$"),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}

/// `$NAME` and `${NAME}` of capitals, digits and underscores; `\$` is a dollar.
fn expand(text: &str, line: u32, vars: &mut Vars<'_>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let escaped = rest.get(..at).is_some_and(|before| before.ends_with('\\'));
        out.push_str(rest.get(..if escaped { at - 1 } else { at }).unwrap_or_default());
        let written = rest.get(at..).unwrap_or_default();
        let behind = written.get(1..).unwrap_or_default();
        let behind = behind.strip_prefix('(').unwrap_or(behind);
        let behind = behind.strip_prefix('{').unwrap_or(behind);
        let length = behind
            .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
            .unwrap_or(behind.len());
        let (name, after) = behind.split_at_checked(length).unwrap_or_default();
        rest = after.strip_prefix('}').unwrap_or(after);
        if escaped || name.is_empty() {
            out.push_str(written.get(..written.len() - rest.len()).unwrap_or_default());
        } else if let Some(value) = vars.file_first(name) {
            vars.append(line, &mut out, &value);
        }
    }
    out.push_str(rest);
    out
}
