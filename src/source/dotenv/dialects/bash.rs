//! `set -a; . file` in bash: a script, of which only what assigns is followed.
//!
//! Nothing is run. What bash would run, look up in itself or write is a reading
//! of its own ([`Reading::Runtime`]) or a complaint.
//!
//! Current limitations: here-documents, functions and compound commands are
//! taken for commands, line by line.

use std::collections::HashMap;

use super::reading::Reading;
use super::{Complaint, Entry, Host, Notes, Vars};

/// How deep quotes and braces may nest.
const MAX_DEPTH: usize = 32;

const COMMAND: &str = "the output of a command, which it runs";
const PARAMETER: &str = "a parameter of the shell: its process id, its arguments";
const EXPANSION: &str = "an expansion that only the shell knows";
const HOME: &str = "a home directory, for `~`";

const RUNS: &str = "it runs a word of this line as a command";
const SHELL_SIGN: &str = "`&`, `|`, `<` and `>` are signs of the shell";
const SYNTAX: &str = "a syntax error: it reads nothing from here on";
const QUOTE: &str = "a quote is never closed: it reads nothing from here on";

/// Variables that bash keeps for itself.
const READ_ONLY: [&str; 6] = ["BASHOPTS", "BASH_VERSINFO", "EUID", "PPID", "SHELLOPTS", "UID"];
const OWN: [&str; 13] = [
    "BASH",
    "BASHPID",
    "BASH_VERSION",
    "EPOCHSECONDS",
    "EUID",
    "HOSTNAME",
    "IFS",
    "LINENO",
    "PPID",
    "RANDOM",
    "SECONDS",
    "UID",
    "_",
];

pub(super) fn read(text: &str, host: Host<'_>) -> Notes {
    // It drops NUL characters, wherever they are.
    let text = text.replace('\0', "");
    let mut shell = Shell {
        text: &text,
        at: 0,
        line: 1,
        vars: Vars::new(host),
        unknown: HashMap::new(),
        notes: Notes::default(),
        list: 0,
        depth: 0,
    };
    while !shell.rest().is_empty() {
        if let Err(reason) = shell.command() {
            shell.stop(reason);
            break;
        }
    }
    shell.notes.bounded(&shell.vars)
}

/// Why bash stops reading.
type Stop = &'static str;

/// What a word has become.
#[derive(Default)]
struct Word {
    text: String,
    /// Set where the text is not known before bash runs.
    runtime: Option<&'static str>,
}

impl Word {
    fn runtime(&mut self, what: &'static str) {
        self.runtime.get_or_insert(what);
    }
}

/// Where a word ends.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// At a blank or a sign of the shell.
    Blank,
    /// At the closing double quote.
    Quote,
    /// At the brace that closes `${…`; inside double quotes or not.
    Brace { quoted: bool },
}

struct Shell<'t, 'h> {
    text: &'t str,
    at: usize,
    /// The line on which the current command begins.
    line: u32,
    vars: Vars<'h>,
    /// Variables of the file whose values only bash itself would know.
    unknown: HashMap<String, &'static str>,
    notes: Notes,
    /// How many entries there were when the current list of commands began.
    list: usize,
    depth: usize,
}

impl<'t> Shell<'t, '_> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest().starts_with(prefix);
        if found {
            self.at += prefix.len();
        }
        found
    }

    fn skip(&mut self, what: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let length = rest.find(|c| !what(c)).unwrap_or(rest.len());
        self.at += length;
        rest.get(..length).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        loop {
            self.skip(|c| matches!(c, ' ' | '\t'));
            if !self.take("\\\n") {
                break;
            }
        }
        if self.rest().starts_with('#') {
            self.skip(|c| c != '\n');
        }
    }

    fn complain(&mut self, line: u32, reason: &'static str) {
        self.notes.complaints.push(Complaint { line, reason });
    }

    /// Gives up. A line is read whole before its first command runs, so what
    /// stands before the error is not set either.
    fn stop(&mut self, reason: Stop) {
        for entry in self.notes.entries.iter_mut().skip(self.list) {
            entry.reading = Reading::Refused(reason);
        }
        self.notes.refusal = Some(Complaint { line: self.line, reason });
    }

    /// Reads one command, up to the sign that ends it.
    fn command(&mut self) -> Result<(), Stop> {
        let begun = self.at;
        self.skip_blanks();
        if self.take("\n") {
            self.line = self.line.saturating_add(1);
            self.list = self.notes.entries.len();
            return Ok(());
        }
        if matches!(self.peek(), Some(';' | '&' | '|' | ')' | '(')) {
            return Err(SYNTAX);
        }
        let line = self.line;
        // What the assignments before a command have replaced, to put it back.
        let mut replaced = Vec::new();
        let first = self.notes.entries.len();
        let mut runs = false;
        let mut exports = false;
        loop {
            self.skip_blanks();
            match self.peek() {
                None | Some('\n' | ';') => break,
                Some('&' | '|' | '<' | '>') => {
                    self.undo(line, first, replaced, SHELL_SIGN);
                    self.skip(|c| c != '\n');
                    break;
                }
                Some('(' | ')') => return Err(SYNTAX),
                Some(_) if runs => {
                    self.word(Until::Blank, &mut Word::default())?;
                    continue;
                }
                Some(_) => {}
            }
            if let Some((name, word)) = self.assignment()? {
                let old = self.assign(name, word);
                if !exports {
                    replaced.push((name, old));
                }
                continue;
            }
            let begins = self.at;
            let mut word = Word::default();
            self.word(Until::Blank, &mut word)?;
            let written = self.text.get(begins..self.at).unwrap_or_default();
            if word.text.is_empty() && word.runtime.is_none() && !written.contains(['"', '\'']) {
                // A variable that is not set: no word at all.
                continue;
            }
            if exports {
                if !is_name(&word.text) {
                    self.complain(line, "a name that no variable of the shell has");
                }
            } else if word.text == "export" && word.runtime.is_none() {
                exports = true;
            } else {
                runs = true;
                self.undo(line, first, std::mem::take(&mut replaced), RUNS);
            }
        }
        self.take(";");
        let lines = self.text.get(begun..self.at).map_or(0, |passed| passed.matches('\n').count());
        self.line = line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Takes back assignments that were for a command only.
    fn undo(&mut self, line: u32, first: usize, replaced: Vec<(&str, Option<String>)>, reason: &'static str) {
        for entry in self.notes.entries.iter_mut().skip(first) {
            entry.reading = Reading::Refused(reason);
        }
        for (name, old) in replaced.into_iter().rev() {
            match old {
                Some(old) => self.vars.set(name, old),
                None => drop(self.vars.file.remove(name)),
            }
        }
        self.complain(line, reason);
    }

    /// Takes `NAME=value`, where the next word is one.
    fn assignment(&mut self) -> Result<Option<(&'t str, Word)>, Stop> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (name, behind) = rest.split_at_checked(length).unwrap_or_default();
        let sign = ["=", "+="].into_iter().find(|sign| behind.starts_with(sign));
        let Some(sign) = sign.filter(|_| is_name(name)) else { return Ok(None) };
        self.at += length + sign.len();
        let mut word = Word::default();
        if sign == "+=" {
            word.text = self.vars.file_first(name).unwrap_or_default();
        }
        if self.take("(") {
            return Err("an array, which no environment holds");
        }
        self.word(Until::Blank, &mut word)?;
        Ok(Some((name, word)))
    }

    /// Sets a variable; gives what the file had set before.
    fn assign(&mut self, name: &str, word: Word) -> Option<String> {
        let old = self.vars.file.get(name).cloned();
        let reading = if READ_ONLY.contains(&name) {
            self.complain(self.line, "a variable that the shell keeps for itself");
            Reading::Refused("a variable that the shell keeps for itself")
        } else {
            let reading = if let Some(what) = word.runtime {
                self.unknown.insert(name.to_owned(), what);
                Reading::Runtime(what)
            } else {
                self.unknown.remove(name);
                Reading::Value(word.text.as_str().into())
            };
            self.vars.set(name, word.text);
            reading
        };
        self.notes.entries.push(Entry { line: self.line, key: name.to_owned(), reading });
        old
    }

    /// Reads a word, or what stands in double quotes or braces; the closing
    /// sign of those is taken.
    fn word(&mut self, until: Until, out: &mut Word) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("quotes and braces nest too deep");
        }
        let quoted = until == Until::Quote || until == Until::Brace { quoted: true };
        let mut tilde = until == Until::Blank;
        loop {
            let Some(c) = self.peek() else {
                if until == Until::Blank {
                    break;
                }
                return Err(QUOTE);
            };
            let first = std::mem::replace(&mut tilde, until == Until::Blank && c == ':');
            match (until, c) {
                (Until::Blank, ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')') => break,
                (Until::Quote, '"') | (Until::Brace { .. }, '}') => {
                    self.at += 1;
                    break;
                }
                (_, '~') if first => {
                    self.at += 1;
                    out.runtime(HOME);
                }
                (_, '\'') if !quoted => {
                    let behind = self.rest().get(1..).unwrap_or_default();
                    let inner = behind.split('\'').next().unwrap_or_default();
                    if inner.len() == behind.len() {
                        return Err(QUOTE);
                    }
                    out.text.push_str(inner);
                    self.at += inner.len() + 2;
                }
                (_, '"') if until != Until::Quote => {
                    self.at += 1;
                    self.word(Until::Quote, out)?;
                }
                (_, '\\') => self.escape(quoted, out),
                (_, '`') => {
                    self.at += 1;
                    let mut escaped = false;
                    self.skip_until(|c| {
                        let closes = c == '`' && !escaped;
                        escaped = c == '\\' && !escaped;
                        closes
                    })?;
                    out.runtime(COMMAND);
                }
                (_, '$') => self.dollar(quoted, out)?,
                (_, c) => {
                    out.text.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Passes over everything up to and with the character that `closes`.
    fn skip_until(&mut self, closes: impl FnMut(char) -> bool) -> Result<(), Stop> {
        let length = self.rest().find(closes).ok_or(QUOTE)?;
        self.at += length + 1;
        Ok(())
    }

    fn escape(&mut self, quoted: bool, out: &mut Word) {
        self.at += 1;
        let Some(c) = self.peek() else {
            out.text.push('\\');
            return;
        };
        self.at += c.len_utf8();
        if c == '\n' {
            return;
        }
        if quoted && !matches!(c, '$' | '`' | '"' | '\\') {
            out.text.push('\\');
        }
        out.text.push(c);
    }

    /// Reads what begins with a dollar.
    fn dollar(&mut self, quoted: bool, out: &mut Word) -> Result<(), Stop> {
        self.at += 1;
        match self.peek() {
            Some('(') => {
                let mut depth = 0_usize;
                self.skip_until(|c| {
                    match c {
                        '(' => depth += 1,
                        ')' => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                })?;
                out.runtime(COMMAND);
            }
            Some('{') => self.braced(quoted, out)?,
            Some('\'') if !quoted => {
                self.at += 1;
                self.ansi_c(out)?;
            }
            // A translated text: itself, without a catalogue.
            Some('"') if !quoted => {}
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.skip(|c| c.is_ascii_alphanumeric() || c == '_');
                self.variable(name, out);
            }
            Some(c) if c.is_ascii_digit() || "@*#?-$!".contains(c) => {
                self.at += 1;
                out.runtime(PARAMETER);
            }
            _ => out.text.push('$'),
        }
        Ok(())
    }

    fn variable(&mut self, name: &str, out: &mut Word) {
        if OWN.contains(&name) && !self.vars.file.contains_key(name) {
            out.runtime(EXPANSION);
        } else if let Some(what) = self.unknown.get(name) {
            out.runtime(what);
        } else if let Some(value) = self.vars.file_first(name) {
            self.vars.append(self.line, &mut out.text, &value);
        }
    }

    /// Reads `{NAME}` and `{NAME:-word}` behind a dollar.
    fn braced(&mut self, quoted: bool, out: &mut Word) -> Result<(), Stop> {
        self.at += 1;
        let name = self.skip(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_name(name) && self.take("}") {
            self.variable(name, out);
            return Ok(());
        }
        let or_empty = self.take(":");
        let sign = self.peek();
        if !is_name(name) || !matches!(sign, Some('-' | '+' | '=' | '?')) {
            let special = if is_name(name) { "%#/^,@[" } else { "@*#?-$!" };
            let known =
                sign.is_some_and(|c| special.contains(c)) || or_empty || (!name.is_empty() && !is_name(name));
            let mut rest = Word::default();
            self.word(Until::Brace { quoted }, &mut rest)?;
            if !known {
                return Err("a bad substitution: the shell ends");
            }
            out.runtime(if is_name(name) { EXPANSION } else { PARAMETER });
            return Ok(());
        }
        self.at += 1;
        let mut word = Word::default();
        self.word(Until::Brace { quoted }, &mut word)?;
        let found = self.vars.file_first(name);
        let counts = found.as_ref().is_some_and(|value| !(or_empty && value.is_empty()));
        let chosen = match (sign, counts) {
            (Some('+'), true) => Some(word),
            (Some('+'), false) => None,
            (_, true) => {
                self.variable(name, out);
                None
            }
            (Some('?'), false) => return Err("a required variable is not set: the shell ends"),
            (sign, false) => {
                if sign == Some('=') {
                    self.vars.set(name, word.text.clone());
                }
                Some(word)
            }
        };
        if let Some(word) = chosen {
            self.vars.append(self.line, &mut out.text, &word.text);
            if let Some(what) = word.runtime {
                out.runtime(what);
            }
        }
        Ok(())
    }

    /// Reads the inside of `$'…'`.
    fn ansi_c(&mut self, out: &mut Word) -> Result<(), Stop> {
        loop {
            let c = self.peek().ok_or(QUOTE)?;
            self.at += c.len_utf8();
            if c == '\'' {
                return Ok(());
            }
            if c != '\\' {
                out.text.push(c);
                continue;
            }
            let escaped = self.peek().ok_or(QUOTE)?;
            self.at += escaped.len_utf8();
            match escaped {
                'a' => out.text.push('\u{7}'),
                'b' => out.text.push('\u{8}'),
                'e' | 'E' => out.text.push('\u{1b}'),
                'f' => out.text.push('\u{c}'),
                'n' => out.text.push('\n'),
                'r' => out.text.push('\r'),
                't' => out.text.push('\t'),
                'v' => out.text.push('\u{b}'),
                '\\' | '\'' | '"' | '?' => out.text.push(escaped),
                'x' | 'u' | 'U' | 'c' | '0'..='7' => out.runtime(EXPANSION),
                other => {
                    out.text.push('\\');
                    out.text.push(other);
                }
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
