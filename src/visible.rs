//! Makes text from outside harmless to show: a stranger's `.env` must not move
//! the cursor, hide characters, reverse a line or speak to the CI runner.
//!
//! Invariant: what comes out has no control character, no invisible or
//! direction-changing character, and nothing that GitHub's runner takes for a
//! command. What was there remains recognisable.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

/// The runner's older command syntax, which it finds anywhere in a line.
const RUNNER_COMMAND: &str = "##[";

/// The text with everything that acts instead of showing replaced: `␛` for
/// escape, `<U+202E>` for a right-to-left override.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(acts) || text.contains(RUNNER_COMMAND) || begins_command(text) {
        Cow::Owned(visible_marked(text, 0..0).0)
    } else {
        Cow::Borrowed(text)
    }
}

/// As [`visible`], and where a stretch of characters of `text` is found in the
/// result, in bytes. A stretch beyond the text ends with the text.
pub(crate) fn visible_marked(text: &str, mark: Range<usize>) -> (String, Range<usize>) {
    let mut shown = String::with_capacity(text.len());
    let (mut start, mut end) = (None, None);
    for (index, c) in text.chars().enumerate() {
        if index == mark.start {
            start = Some(shown.len());
        }
        if index == mark.end {
            end = Some(shown.len());
        }
        let begins = c == ':' && begins_command(text) && shown.chars().all(char::is_whitespace);
        let command = begins || (c == '[' && shown.ends_with("##"));
        if command || hidden(c) {
            // Writing to a String cannot fail.
            let _ = write!(shown, "<U+{:04X}>", u32::from(c));
        } else {
            shown.push(picture(c).unwrap_or(c));
        }
    }
    let start = start.unwrap_or(shown.len());
    let end = end.unwrap_or(shown.len()).max(start);
    (shown, start..end)
}

/// Whether the runner would read a line of this text as a command: it looks
/// behind leading spaces.
fn begins_command(text: &str) -> bool {
    text.trim_start().starts_with("::")
}

/// JSON text with the same characters written as `\u` escapes: lossless, since
/// in JSON they only stand inside strings.
pub(crate) fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if acts(c) || (c == '[' && escaped.ends_with("##")) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Whether a character does something other than being shown.
fn acts(c: char) -> bool {
    picture(c).is_some() || hidden(c)
}

/// The picture of an ASCII control character.
fn picture(c: char) -> Option<char> {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)),
        '\x7f' => Some('␡'),
        _ => None,
    }
}

/// Whether a character beyond ASCII is invisible, changes the direction or the
/// line, or is a control character (or is no character: XML refuses those).
fn hidden(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown() {
        for (text, expected) in [
            ("", ""),
            ("plain: é ✓ 漢字 [x]", "plain: é ✓ 漢字 [x]"),
            ("\x1b[31mred", "␛[31mred"),
            ("a\nb\r\tc\0\x7f", "a␊b␍␉c␀␡"),
            ("\u{9b}31m", "<U+009B>31m"),
            ("user\u{202e}nimda", "user<U+202E>nimda"),
            ("zero\u{200b}width", "zero<U+200B>width"),
            ("tag\u{e0041}", "tag<U+E0041>"),
            ("::error::x", "<U+003A>:error::x"),
            (" \u{3000}::error::x", " \u{3000}<U+003A>:error::x"),
            ("a::b", "a::b"),
            ("x ##[add-mask]y", "x ##<U+005B>add-mask]y"),
        ] {
            assert_eq!(visible(text), expected);
        }
    }

    #[test]
    fn marks_follow_their_characters() {
        for (text, mark, expected) in [
            ("A=é7d", 3..5, "7d"),
            ("A=\x1b7d", 3..5, "7d"),
            ("A=\u{202e}7d", 2..3, "<U+202E>"),
            ("A=", 2..2, ""),
            ("A=b", 7..9, ""),
            ("A=b", 2..9, "b"),
        ] {
            let (shown, found) = visible_marked(text, mark);
            assert_eq!(&shown[found], expected, "{text:?}");
        }
    }

    #[test]
    fn json_keeps_its_meaning() {
        let text = "\u{9b}\u{202e}\u{e0041}\u{7f}##[add-mask]é";
        let json = escape_json(&serde_json::to_string(text).unwrap());
        assert!(!json.chars().any(acts) && !json.contains(RUNNER_COMMAND), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
