//! systemd 252 (`EnvironmentFile=`): characters, one state after the other.

use super::{Lines, Notes};

#[derive(Clone, Copy, PartialEq)]
enum State {
    BeforeKey,
    Key,
    BeforeValue,
    Value,
    Escape,
    Single,
    Double,
    DoubleEscape,
    Comment,
    CommentEscape,
}

const NEWLINE: [char; 2] = ['\n', '\r'];
const BLANK: [char; 4] = [' ', '\t', '\n', '\r'];

pub(super) fn read(text: &str) -> Notes {
    let lines = Lines::of(text);
    if let Some(at) = text.find('\0') {
        return Notes::refused(lines.at(at), "a NUL character");
    }
    let mut notes = Notes::default();
    let mut state = State::BeforeKey;
    let (mut key, mut value) = (String::new(), String::new());
    let mut start = 0;
    // Where the blanks begin with which a value ends, as far as it is read.
    let mut trailing = None;
    for (at, c) in text.char_indices() {
        let newline = NEWLINE.contains(&c);
        let blank = BLANK.contains(&c);
        state = match state {
            State::BeforeKey if matches!(c, '#' | ';') => State::Comment,
            State::BeforeKey if blank => state,
            State::BeforeKey => {
                start = at;
                key.push(c);
                State::Key
            }
            State::Key if newline => {
                key.clear();
                State::BeforeKey
            }
            State::Key if c == '=' => {
                trailing = None;
                State::BeforeValue
            }
            State::Key => {
                key.push(c);
                State::Key
            }
            State::BeforeValue | State::Value if newline => {
                let end = trailing.filter(|_| state == State::Value).unwrap_or(value.len());
                notes.value(
                    lines.at(start),
                    key.trim_end_matches(BLANK),
                    value.get(..end).unwrap_or_default(),
                );
                key.clear();
                value.clear();
                State::BeforeKey
            }
            State::BeforeValue if c == '\'' => State::Single,
            State::BeforeValue if c == '"' => State::Double,
            State::BeforeValue | State::Value if c == '\\' => {
                trailing = None;
                State::Escape
            }
            State::BeforeValue if blank => state,
            State::BeforeValue | State::Value => {
                trailing = if blank { trailing.or(Some(value.len())) } else { None };
                value.push(c);
                State::Value
            }
            State::Escape => {
                if !newline {
                    value.push(c);
                }
                State::Value
            }
            State::Single if c == '\'' => State::BeforeValue,
            State::Double if c == '"' => State::BeforeValue,
            State::Double if c == '\\' => State::DoubleEscape,
            State::Single | State::Double => {
                value.push(c);
                state
            }
            State::DoubleEscape => {
                if matches!(c, '"' | '\\' | '`' | '$') {
                    value.push(c);
                } else if c != '\n' {
                    value.push('\\');
                    value.push(c);
                }
                State::Double
            }
            State::Comment if c == '\\' => State::CommentEscape,
            State::Comment if newline => State::BeforeKey,
            // A comment goes on behind an escaped line end.
            State::Comment | State::CommentEscape => State::Comment,
        };
    }
    if !matches!(state, State::BeforeKey | State::Key | State::Comment | State::CommentEscape) {
        let end = trailing.filter(|_| state == State::Value).unwrap_or(value.len());
        notes.value(lines.at(start), key.trim_end_matches(BLANK), value.get(..end).unwrap_or_default());
    }
    notes
}
