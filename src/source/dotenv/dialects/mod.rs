//! The readers of other programs, reproduced: each takes a whole env file and
//! says what it would read.
//!
//! Owns: one module a reader, and what they share: their notes ([`Notes`]),
//! the variables so far ([`Vars`]), line numbers ([`Lines`]).
//! Invariants: nothing is executed, whatever the file says; time and memory are
//! bounded, though some of the readers are not; a reason never quotes the text.
//! Must not know: how readings are compared (`portability`).
//!
//! Current limitations: where a reader lets the process's environment win over
//! the file, that is precedence and no reading: only references look at `host`.

mod bash;
mod compose;
mod docker;
mod godotenv;
mod node;
mod python;
pub(super) mod reading;
mod systemd;

use std::collections::HashMap;

use crate::model::secret::SecretValue;

use reading::{Reader, Reading};

/// How many bytes of other variables' values a file's references may copy. A
/// few lines of `B=$A$A` would fill any memory.
const SUBSTITUTION_LIMIT: usize = 64 * 1024 * 1024;

/// Looks a name up in the environment that the reader runs in.
pub(super) type Host<'h> = &'h dyn Fn(&str) -> Option<String>;

/// What one reader makes of a file.
#[derive(Debug, Default)]
pub struct Notes {
    /// What it reads, in the file's order; of two of one name the later wins.
    pub entries: Vec<Entry>,
    /// Lines that it complains of and passes over.
    pub complaints: Vec<Complaint>,
    /// The line at which it gives up: it reads nothing that follows, and most
    /// readers then read nothing at all.
    pub refusal: Option<Complaint>,
}

/// One variable, as a reader reads it.
#[derive(Debug)]
pub struct Entry {
    /// The line on which the reader sees its name, from 1.
    pub line: u32,
    /// The name, which need not be one that a variable can have.
    pub key: String,
    /// Its value.
    pub reading: Reading,
}

/// Why a reader does not take a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Complaint {
    /// The line, from 1.
    pub line: u32,
    /// Why, without a word of the text.
    pub reason: &'static str,
}

impl Notes {
    fn value(&mut self, line: u32, key: &str, value: &str) {
        let reading = Reading::Value(SecretValue::from(value));
        self.entries.push(Entry { line, key: key.to_owned(), reading });
    }

    fn absent(&mut self, line: u32, key: &str) {
        self.entries.push(Entry { line, key: key.to_owned(), reading: Reading::Absent });
    }

    /// The whole file is refused: nothing that was read counts.
    fn refused(line: u32, reason: &'static str) -> Self {
        Self { refusal: Some(Complaint { line, reason }), ..Self::default() }
    }

    /// These notes, unless substituting went beyond all bounds.
    fn bounded(self, vars: &Vars<'_>) -> Self {
        match vars.exhausted {
            Some(line) => Self::refused(line, "its references expand to more than can be held"),
            None => self,
        }
    }
}

/// What `reader` makes of `text`.
pub(super) fn read(reader: Reader, text: &str, host: Host<'_>) -> Notes {
    match reader {
        Reader::Docker => docker::read(text, host),
        Reader::Compose => compose::read(text, host),
        Reader::Godotenv => godotenv::read(text, host),
        Reader::Node => node::read(text),
        Reader::Expand => node::expand(text, host),
        Reader::Python => python::read(text, host),
        Reader::Bash => bash::read(text, host),
        Reader::Systemd => systemd::read(text),
    }
}

/// The variables that a reader knows: those of the file so far and the host's.
struct Vars<'h> {
    host: Host<'h>,
    file: HashMap<String, String>,
    left: usize,
    exhausted: Option<u32>,
}

impl<'h> Vars<'h> {
    fn new(host: Host<'h>) -> Self {
        Self { host, file: HashMap::new(), left: SUBSTITUTION_LIMIT, exhausted: None }
    }

    fn set(&mut self, key: &str, value: String) {
        self.file.insert(key.to_owned(), value);
    }

    fn file_first(&self, key: &str) -> Option<String> {
        self.file.get(key).cloned().or_else(|| (self.host)(key))
    }

    fn host_first(&self, key: &str) -> Option<String> {
        (self.host)(key).or_else(|| self.file.get(key).cloned())
    }

    /// Appends a variable's value, within the limit.
    fn append(&mut self, line: u32, out: &mut String, value: &str) {
        if let Some(left) = self.left.checked_sub(value.len()) {
            self.left = left;
            out.push_str(value);
        } else {
            self.exhausted.get_or_insert(line);
        }
    }
}

/// Line numbers of byte offsets in a text that a reader has changed.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The text with every line end as a line feed. A carriage return alone
    /// becomes one too, but starts no line as others count them.
    fn universal(text: &str) -> (String, Self) {
        let mut out = String::with_capacity(text.len());
        let mut feeds = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['\r', '\n']) {
            out.push_str(rest.get(..at).unwrap_or_default());
            let end = rest.get(at..).unwrap_or_default();
            let length = if end.starts_with("\r\n") { 2 } else { 1 };
            if length == 2 || end.starts_with('\n') {
                feeds.push(out.len());
            }
            out.push('\n');
            rest = end.get(length..).unwrap_or_default();
        }
        out.push_str(rest);
        (out, Self(feeds))
    }

    fn at(&self, offset: usize) -> u32 {
        let before = self.0.partition_point(|&feed| feed < offset);
        u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
    }
}
