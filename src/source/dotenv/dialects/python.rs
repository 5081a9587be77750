//! python-dotenv 1.2.

use crate::source::file::strip_bom;

use super::{Complaint, Host, Lines, Notes, Vars};

pub(super) fn read(text: &str, host: Host<'_>) -> Notes {
    let (text, lines) = Lines::universal(text);
    let mut notes = Notes::default();
    let mut vars = Vars::new(host);
    let mut cursor = Cursor { text: &text, at: text.len() - strip_bom(&text).len() };
    while !cursor.rest().is_empty() {
        cursor.skip(is_space);
        let start = cursor.at;
        let line = lines.at(start);
        match cursor.binding() {
            Err(Unparsable) => {
                // It warns and goes on behind what it has understood.
                cursor.skip(|c| c != '\n');
                cursor.take("\n");
                notes.complaints.push(Complaint { line, reason: "it cannot parse the line" });
            }
            Ok((None, _)) => {}
            Ok((Some(key), None)) => {
                notes.absent(line, key);
                vars.file.insert(key.to_owned(), String::new());
            }
            Ok((Some(key), Some(value))) => {
                let value = interpolate(&value, line, &mut vars);
                notes.value(line, key, &value);
                vars.set(key, value);
            }
        }
    }
    notes.bounded(&vars)
}

/// What Python takes for white space.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn is_blank(c: char) -> bool {
    is_space(c) && c != '\n'
}

/// A line that it cannot understand.
struct Unparsable;

/// A name (none for a comment or nothing) and a value (none without `=`).
type Binding<'t> = (Option<&'t str>, Option<String>);

struct Cursor<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    /// Passes over characters of a kind, and gives them.
    fn skip(&mut self, what: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c| !what(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    /// Reads to the end of the line on which the binding ends.
    fn binding(&mut self) -> Result<Binding<'t>, Unparsable> {
        if self.rest().is_empty() {
            return Ok((None, None));
        }
        if let Some(behind) = self.rest().strip_prefix("export")
            && behind.starts_with(is_blank)
        {
            self.at += "export".len();
            self.skip(is_blank);
        }
        let key = if self.rest().starts_with('#') { None } else { Some(self.key().ok_or(Unparsable)?) };
        self.skip(is_blank);
        let value = if self.take("=") {
            let blanks = self.skip(is_blank);
            if !blanks.is_empty() && self.rest().starts_with('#') {
                Some(String::new())
            } else {
                Some(self.value().ok_or(Unparsable)?)
            }
        } else {
            None
        };
        self.skip(is_blank);
        if self.rest().starts_with('#') {
            self.skip(|c| c != '\n');
        }
        if self.take("\n") || self.rest().is_empty() { Ok((key, value)) } else { Err(Unparsable) }
    }

    fn key(&mut self) -> Option<&'t str> {
        if let Some(behind) = self.rest().strip_prefix('\'') {
            let (key, _) = behind.split_once('\'').filter(|(key, _)| !key.is_empty())?;
            self.at += key.len() + 2;
            return Some(key);
        }
        Some(self.skip(|c| !matches!(c, '=' | '#') && !is_space(c))).filter(|key| !key.is_empty())
    }

    fn value(&mut self) -> Option<String> {
        if let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '\'' | '"')) {
            return self.quoted(quote);
        }
        let written = self.skip(|c| c != '\n');
        let comment = written
            .match_indices('#')
            .find(|&(at, _)| written.get(..at).is_some_and(|before| before.ends_with(is_space)));
        let end = comment.map_or(written.len(), |(at, _)| at);
        Some(written.get(..end).unwrap_or_default().trim_end_matches(is_space).to_owned())
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut escaped = false;
        let behind = self.rest().get(1..).unwrap_or_default();
        let length = behind.bytes().position(|byte| {
            let closes = byte == quote as u8 && !escaped;
            escaped = byte == b'\\' && !escaped;
            closes
        })?;
        self.at += length + 2;
        let mut out = String::with_capacity(length);
        let mut chars = behind.get(..length).unwrap_or_default().chars();
        while let Some(c) = chars.next() {
            if c != '\\' {
                out.push(c);
                continue;
            }
            match (chars.next(), quote) {
                (Some(c @ ('\\' | '\'')), _) | (Some(c @ '"'), '"') => out.push(c),
                (Some('a'), '"') => out.push('\u{7}'),
                (Some('b'), '"') => out.push('\u{8}'),
                (Some('f'), '"') => out.push('\u{c}'),
                (Some('n'), '"') => out.push('\n'),
                (Some('r'), '"') => out.push('\r'),
                (Some('t'), '"') => out.push('\t'),
                (Some('v'), '"') => out.push('\u{b}'),
                (other, _) => {
                    out.push('\\');
                    out.extend(other);
                }
            }
        }
        Some(out)
    }
}

/// `${NAME}` and `${NAME:-default}`, in every kind of quotes; a name is all
/// that is neither a colon nor a closing brace.
fn interpolate(value: &str, line: u32, vars: &mut Vars<'_>) -> String {
    let mut out = String::with_capacity(value.len());
    // Behind the last closing brace no reference can end.
    let end = value.rfind('}').map_or(0, |at| at + 1);
    let (mut rest, literal) = value.split_at_checked(end).unwrap_or_default();
    while let Some((before, behind)) = rest.split_once("${") {
        out.push_str(before);
        let (name, after) = behind.split_at_checked(behind.find(['}', ':']).unwrap_or(0)).unwrap_or_default();
        let (default, after) = if let Some(word) = after.strip_prefix(":-") {
            word.split_once('}').unwrap_or_default()
        } else if let Some(after) = after.strip_prefix('}') {
            ("", after)
        } else {
            // Nor can any that begins before this colon.
            out.push_str("${");
            out.push_str(name);
            rest = after;
            continue;
        };
        // A variable that is set to nothing is set: the default is not used.
        match vars.file_first(name) {
            Some(found) => vars.append(line, &mut out, &found),
            None => out.push_str(default),
        }
        rest = after;
    }
    out.push_str(rest);
    out.push_str(literal);
    out
}
