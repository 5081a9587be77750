//! Text broken at words into lines that fit.
//!
//! Invariants: no break parts a word, nor a short piece of code in backticks,
//! so that what people copy stays whole; what is wider than the line runs over
//! it. No line begins with what the CI runner takes for a command.
//!
//! Current limitations: every character counts as one column.

use super::visible::visible;

/// However narrow the terminal and deep the indent, lines have these columns.
const LEAST: usize = 20;

/// The lines of a text without line breaks, each of at most `room` columns;
/// one at least. The text is [`visible`] already.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(LEAST);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut columns = 0;
    for word in unbreakable(text, room / 2) {
        let wide = word.chars().count();
        if columns > 0 && columns + 1 + wide > room {
            lines.push(std::mem::take(&mut line));
            columns = 0;
        }
        if columns > 0 {
            line.push(' ');
            columns += 1;
        }
        line.push_str(word);
        columns += wide;
    }
    lines.push(line);
    // A break may have brought to a line's beginning what was harmless before.
    lines.iter().map(|line| visible(line.trim_end()).into_owned()).collect()
}

/// Appends `head`, which is `columns` wide, and the text in lines of at most
/// `width` columns, all under where the text begins. `paint` colours each.
pub(crate) fn hang(
    out: &mut String,
    (head, columns): (&str, usize),
    text: &str,
    width: usize,
    paint: impl Fn(&str) -> String,
) {
    for (index, line) in wrap(text, width.saturating_sub(columns)).iter().enumerate() {
        if index == 0 {
            out.push_str(head);
        } else {
            out.extend(std::iter::repeat_n(' ', columns));
        }
        out.push_str(&paint(line));
        out.push('\n');
    }
}

/// The pieces of a text that no line break may part: words, and code of at
/// most so many columns.
fn unbreakable(text: &str, most: usize) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.split(move |c| {
        in_code ^= c == '`';
        c == ' ' && !in_code
    })
    .flat_map(move |piece| {
        let whole = piece.chars().count() <= most;
        piece.split(move |c| c == ' ' && !whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words() {
        for (text, room, expected) in [
            ("", 20, &[""][..]),
            ("fits in the very row", 20, &["fits in the very row"]),
            ("fits not in a single row", 20, &["fits not in a single", "row"]),
            ("https://example.com/a/long/address ends", 20, &["https://example.com/a/long/address", "ends"]),
            ("write `a b c` or `d e` here", 20, &["write `a b c` or", "`d e` here"]),
            ("`code that is too long to stay whole`", 20, &["`code that is too", "long to stay whole`"]),
            ("an odd ` is only a character, is it not", 20, &["an odd ` is only a", "character, is it not"]),
            ("two  spaces stay", 20, &["two  spaces stay"]),
            ("é✓漢字 é✓漢字 é✓漢字 é✓漢字 x", 20, &["é✓漢字 é✓漢字 é✓漢字 é✓漢字", "x"]),
            ("no room means twenty columns", 0, &["no room means twenty", "columns"]),
        ] {
            assert_eq!(wrap(text, room), expected, "{text}");
        }
    }

    #[test]
    fn no_break_makes_a_command() {
        for text in ["twenty columns here. ::error::x", "twenty columns here.  ::error::x", "x ::error::y"] {
            for room in 0..40 {
                let lines = wrap(text, room);
                assert!(lines.iter().all(|line| !line.trim_start().starts_with("::")), "{room}: {lines:?}");
            }
        }
    }

    #[test]
    fn lines_hang_under_the_text() {
        let mut out = String::new();
        hang(&mut out, ("= fix: ", 7), "write it so that all of them agree", 30, |line| format!("<{line}>"));
        assert_eq!(out, "= fix: <write it so that all of>\n       <them agree>\n");
    }
}
