//! Hiding values in what a program wrote.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::model::secret::SecretValue;
use crate::model::validate::MASK;
use crate::process::helper::CUT;

/// Shorter values stand in every other line by chance (`true`, `5432`); to hide
/// them would show where they are, and make lines useless.
const SHORTEST: usize = 6;

/// The line with a mark of one width in the place of every value, written plainly,
/// in base64 (as a whole, with or without its padding) or quoted for a shell. Of a
/// value with several lines each is looked for, since output comes line by line;
/// of a line that was cut, its end may be the beginning of a value.
///
/// What it cannot know: values of fewer than six characters, parts of values, and
/// values in any other form (percent-encoded, escaped for JSON, inside a longer
/// text that was encoded, hashed, reversed, broken over lines). A program that
/// must not tell a secret must not print it.
pub fn mask(line: &str, values: &[&SecretValue]) -> String {
    let mut hidden: Vec<Range<usize>> = Vec::new();
    for value in values {
        for form in forms(value.expose()) {
            // One after the other, overlapping ones too.
            let mut from = 0;
            while let Some(at) = line.get(from..).and_then(|rest| rest.find(form.as_str())) {
                let start = from + at;
                hidden.push(start..start + form.len());
                from = start + line[start..].chars().next().map_or(1, char::len_utf8);
            }
            hidden.extend(cut_off(line, &form));
        }
    }
    hidden.sort_by_key(|range| range.start);
    let mut masked = String::with_capacity(line.len());
    let mut shown = 0;
    for range in hidden {
        // What overlaps, or follows without a gap, is one mark: no width is told.
        if range.start > shown || shown == 0 {
            masked.push_str(line.get(shown..range.start).unwrap_or_default());
            masked.push_str(MASK);
        }
        shown = shown.max(range.end);
    }
    masked.push_str(line.get(shown..).unwrap_or_default());
    masked
}

/// How a value may stand in a line.
fn forms(value: &str) -> Vec<Zeroizing<String>> {
    let mut forms = Vec::new();
    if value.chars().count() >= SHORTEST {
        let encoded = Zeroizing::new(STANDARD.encode(value));
        forms.push(Zeroizing::new(encoded.trim_end_matches('=').to_owned()));
    }
    for line in value.lines().filter(|line| line.chars().count() >= SHORTEST) {
        forms.push(Zeroizing::new(line.to_owned()));
        if line.contains('\'') {
            forms.push(Zeroizing::new(line.replace('\'', r"'\''")));
        }
    }
    forms
}

/// The end of a line that was cut, if a value begins with it.
fn cut_off(line: &str, form: &str) -> Option<Range<usize>> {
    let kept = line.strip_suffix(CUT)?;
    let longest = (1..form.len()).rev().filter(|end| form.is_char_boundary(*end));
    let mut beginnings = longest.filter_map(|end| form.get(..end));
    let beginning = beginnings.find(|beginning| kept.ends_with(beginning))?;
    Some(kept.len() - beginning.len()..kept.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, values: &[&str], expect: &str) {
        let values: Vec<SecretValue> = values.iter().map(|value| SecretValue::from(*value)).collect();
        let values: Vec<&SecretValue> = values.iter().collect();
        assert_eq!(mask(line, &values), expect.replace('#', MASK));
    }

    #[test]
    fn values_are_hidden() {
        check("password hunter2 refused", &["hunter2"], "password # refused");
        check("hunter2", &["hunter2"], "#");
        check("hunter2 and hunter2, s3cr3t!", &["s3cr3t!", "hunter2"], "# and #, #");
        check("nothing here", &["hunter2"], "nothing here");
        check("", &["hunter2"], "");
        check("pässwörd: grün", &["pässwörd"], "#: grün");
    }

    #[test]
    fn what_overlaps_is_one_mark() {
        check("abcdefghij!", &["abcdef", "defghij"], "#!");
        check("-abababab-", &["ababab"], "-#-");
        check("hunter2hunter2", &["hunter2"], "#");
        check("-hunter2hunter2-", &["hunter2"], "-#-");
        check("hunter2000", &["hunter2", "hunter2000"], "#");
    }

    #[test]
    fn short_values_are_not() {
        check("port 5432, true", &["5432", "true", ""], "port 5432, true");
    }

    #[test]
    fn other_forms_are_hidden() {
        // base64 -w0 <<< of `hunter2!` and of `hunter2`
        check("aHVudGVyMiE= aHVudGVyMg", &["hunter2!", "hunter2"], "#= #");
        check(r"X='it'\''s me'", &["it's me"], "X='#'");
        check("    YWJjZGVm", &["abcdef"], "    #");
    }

    #[test]
    fn each_line_of_a_long_value_is_hidden() {
        let pem = "-----BEGIN KEY-----\nMIIEabcdef\nq==\n-----END KEY-----\n";
        check("got MIIEabcdef", &[pem], "got #");
        check("q==", &[pem], "q==");
    }

    #[test]
    fn the_end_of_a_line_that_was_cut_is_hidden() {
        check("it is hunt…", &["hunter2"], "it is #…");
        check("it is hunter2…", &["hunter2"], "it is #…");
        check("it is hunt", &["hunter2"], "it is hunt");
        check("it is grü…", &["grünlich"], "it is #…");
    }
}
