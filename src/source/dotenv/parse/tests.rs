//! Tables of the reader; its agreement with compose itself is tested with the
//! recorded cases in tests/it/dotenv_dialects.rs.

use std::fmt::Write as _;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::*;
use crate::model::layer::{Operator, Part, Template};
use crate::source::dotenv::assignments;

fn read(text: &str) -> Result<Parsed, Vec<Fault>> {
    parse(&SourceName::new("dotenv"), &Arc::from(".env"), text, None)
}

/// A template in a notation that shows every part.
fn show(template: &Template, out: &mut String) {
    for part in &template.0 {
        match part {
            Part::Text(text) => out.push_str(text.expose()),
            Part::Reference { name, operator } => {
                let (sign, word) = match operator {
                    Operator::Bare => ("bare", None),
                    Operator::Braced => ("braced", None),
                    Operator::Default { or_empty: true, word } => (":-", Some(word)),
                    Operator::Default { or_empty: false, word } => ("-", Some(word)),
                    Operator::Alternative { or_empty: true, word } => (":+", Some(word)),
                    Operator::Alternative { or_empty: false, word } => ("+", Some(word)),
                    Operator::Required { or_empty: true, message } => (":?", Some(message)),
                    Operator::Required { or_empty: false, message } => ("?", Some(message)),
                };
                write!(out, "<{name} {sign}").unwrap();
                if let Some(word) = word {
                    out.push(' ');
                    show(word, out);
                }
                out.push('>');
            }
        }
    }
}

fn shown(text: &str) -> String {
    match read(text) {
        Ok(parsed) => {
            let mut out = Vec::new();
            for offer in &parsed.offers {
                let (sign, value) = match &offer.value {
                    Value::Literal(value) => ('=', value.expose().to_owned()),
                    Value::Template(template) => {
                        let mut shown = String::new();
                        show(template, &mut shown);
                        ('~', shown)
                    }
                };
                let at = offer.origin.location.span().unwrap();
                out.push(format!("{}:{} {}{sign}{value}", at.line, at.column, offer.key));
            }
            for remark in &parsed.remarks {
                let at = remark.origin.location.span().unwrap();
                out.push(format!("{}:{} {}", at.line, at.column, remark.code));
            }
            out.join(" | ")
        }
        Err(faults) => faults
            .iter()
            .map(|fault| {
                assert_eq!(fault.kind, FaultKind::Malformed);
                let at = fault.location.span().unwrap();
                let words: Vec<_> = fault.message.split(' ').rev().take(3).collect();
                format!(
                    "{}:{} … {}",
                    at.line,
                    at.column,
                    words.into_iter().rev().collect::<Vec<_>>().join(" ")
                )
            })
            .collect::<Vec<_>>()
            .join(" | "),
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(shown(text), expected, "of {text:?}");
}

#[test]
fn plain_values() {
    check("", "");
    check("JWT_REFRESH_TOKEN_EXPIRY=7d", "1:26 JWT_REFRESH_TOKEN_EXPIRY=7d");
    check("\u{feff}A=1\r\nB=2\r\n", "1:3 A=1 | 2:3 B=2");
    check("  export\tA = x y  \n", "1:14 A=x y");
    check("A: 1\nB:2\n", "1:4 A=1 | 2:3 B=2");
    check("A=\nB=   \nC=3", "1:3 A= | 2:3 B= | 3:3 C=3");
    check("A=1 # c\nA=1#c\nA=#c\n", "1:3 A=1 | 2:3 A=1#c | 3:3 A=#c");
    check("A=\\n\\\\\nB=`id`\nC=$(id)", "1:3 A=\\n\\\\ | 2:3 B=`id` | 3:3 C=$(id)");
    check("A=ä\nB='x' C=\"ü\" D=3", "1:3 A=ä | 2:3 B=x | 2:9 C=ü | 2:15 D=3");
    check("A=a\0b", "1:3 A=a\0b");
}

#[test]
fn quoted_values() {
    check(r#"A="a\n\t\"\\\$H\'\x\0101""#, "1:3 A=a\n\t\"\\$H\\'\\xA");
    check(r#"A="\0\018\0400\c" "#, "1:3 A=\\\\18\\400\\c");
    check(r"A='a\n\'b\\$H'", r"1:3 A=a\n'b\\$H");
    check("A=\"l1\nl2\" # c\nB='x\r\ny'\nC=1", "1:3 A=l1\nl2 | 3:3 B=x\r\ny | 5:3 C=1");
}

#[test]
fn references() {
    check("A=$B", "1:3 A~<B bare>");
    check("A=x${B}y", "1:3 A~x<B braced>y");
    check("A=${B:-c}${B-}${B:+d}${B+e}", "1:3 A~<B :- c><B - ><B :+ d><B + e>");
    check("A=${B:?no b}${B?}", "1:3 A~<B :? no b><B ? >");
    check("A=${B:-${C:-$D}e}f", "1:3 A~<B :- <C :- <D bare>>e>f");
    check(r#"A=${B:-{"k":{}}}"#, r#"1:3 A~<B :- {"k":{}}>"#);
    check("A='${B}'", "1:3 A=${B}");
    check("A=a$$b$$$$", "1:3 A=a$b$$");
    check("A=$2a$10$abc", "1:3 A~$2a$10<abc bare>");
    check("A=$2a$10$.N9qo8u", "1:3 A=$2a$10$.N9qo8u");
    check("A=$", "1:3 A=$");
    check(r#"A="\${B}$C""#, "1:3 A~${B}<C bare>");
    check(r"A=\$B", r"1:3 A~\<B bare>");
}

#[test]
fn what_is_no_offer_is_remarked() {
    check("A\nB=2", "2:3 B=2 | 1:1 DLC030");
    check("export A", "1:8 DLC030");
    check("a.b=1\n1A=2\nÄ=3", "1:1 DLC030 | 2:1 DLC030 | 3:1 DLC030");
    check("A= # c", "1:4 A=# c | 1:4 DLC060");
    check("A=\"a\"b\nB=2", "1:3 A=a | 2:3 B=2 | 1:6 DLC060");
}

#[test]
fn every_malformed_line_is_told_in_one_run() {
    check(
        ";A=1\nhello world\nA B=1\n=x\nC=\"x\n*\nOK=1",
        "1:1 … no name has | 2:1 … has no `=` | 3:2 … holds a blank | 4:1 … name before `=` | \
         5:3 … is never closed | 6:1 … has no `=`",
    );
    check("A='it'\\''s'\nB=${\nC=${1}", "1:7 … to no value | 2:3 … stands no name | 3:3 … stands no name");
    check("A=x${B\nC=${D:=e}", "1:4 … on its line | 2:3 … `+` `:?` `?`");
    check("A=\"ä\\n\\$\n${B:-${C\n}\"", "2:1 … on its line");
}

#[test]
fn faults_and_remarks_never_quote_the_text() {
    let parsed = read("hunter2\nhunter.2=1").unwrap();
    assert!(!format!("{:?}", parsed.remarks).contains("hunter"));
    for text in ["hunter 2", "*hunter", "A=\"hunter", "A=${hunter:=x}", "A='x'hunter*2"] {
        assert!(!format!("{:?}", read(text)).contains("hunter"), "{text}");
    }
}

#[test]
fn nesting_and_lists_are_capped() {
    let deep = |depth| format!("A={}{}", "${B:-".repeat(depth), "}".repeat(depth));
    assert!(read(&deep(32)).is_ok());
    assert!(read(&deep(33)).is_err());
    assert!(read(&deep(100_000)).is_err());
    assert!(read(&format!("A={}", "$B".repeat(1000))).is_ok());
    assert!(read(&format!("A={}", "$B".repeat(1001))).is_err());
    let faults = read(&";\n".repeat(250)).unwrap_err();
    assert_eq!(faults.len(), LISTED + 1);
    assert_eq!(faults.last().unwrap().message, "150 more lines are malformed after this one");
    assert_eq!(read(&"A\n".repeat(250)).unwrap().remarks.len(), LISTED + 1);
}

#[test]
fn excerpts_begin_with_the_name_and_end_with_the_value() {
    let parsed = read("  export A=\"x\ny\" B='secret' # c\n").unwrap();
    let excerpts: Vec<_> = parsed
        .offers
        .iter()
        .map(|offer| {
            let excerpt = offer.excerpt.as_ref().unwrap();
            (excerpt.text.expose(), excerpt.value_at, excerpt.column)
        })
        .collect();
    assert_eq!(excerpts, [("A=\"x", 2, 10), ("B='secret'", 2, 4)]);
}

#[test]
fn assignments_give_ranges_for_edits() {
    let text = "\u{feff}# c\nexport A = \"x\\\"y\" # c\nB C=1\nD=7d # old\nE=\n";
    let ranges: Vec<_> = assignments(text)
        .into_iter()
        .map(|a| (a.key_at.line, &text[a.key], &text[a.value], &text[a.inner], a.quote))
        .collect();
    assert_eq!(
        ranges,
        [(2, "A", "\"x\\\"y\"", "x\\\"y", Some('"')), (4, "D", "7d", "7d", None), (5, "E", "", "", None),]
    );
}

/// Text in which everything that the scanner looks for is frequent.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("A"),
        Just("="),
        Just("\""),
        Just("'"),
        Just("\\"),
        Just("\n"),
        Just("\r\n"),
        Just("$"),
        Just("${"),
        Just("}"),
        Just("{"),
        Just(":-"),
        Just("?"),
        Just(" #"),
        Just("#"),
        Just(" "),
        Just("export "),
        Just("ä"),
        Just("\u{a0}"),
        Just("\u{feff}"),
        Just("0"),
        Just(":"),
        Just("\0"),
    ];
    prop_oneof![prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat()), any::<String>(),]
}

proptest! {
    #[test]
    fn places_lie_in_the_text(text in hostile()) {
        let inside = |at: Span| {
            let line = text.split('\n').nth(at.line as usize - 1).expect("a line of the text");
            assert!(at.column as usize <= line.chars().count() + 1, "{at:?}");
        };
        match read(&text) {
            Ok(parsed) => {
                for offer in &parsed.offers {
                    inside(offer.origin.location.span().unwrap());
                    let excerpt = offer.excerpt.as_ref().unwrap();
                    assert!(excerpt.text.expose().is_char_boundary(excerpt.value_at));
                    assert!(excerpt.text.expose().starts_with(offer.key.as_str()));
                }
                parsed.remarks.iter().for_each(|remark| inside(remark.origin.location.span().unwrap()));
            }
            Err(faults) => faults.iter().for_each(|fault| inside(fault.location.span().unwrap())),
        }
        for found in assignments(&text) {
            assert!(text.get(found.key.clone()).is_some() && text.get(found.inner.clone()).is_some());
            assert!(found.key.end < found.value.start + 1 && found.value.end >= found.inner.end);
            inside(found.key_at);
        }
    }

    #[test]
    fn quoted_values_come_back(values in prop::collection::vec("(?s)[^'\\\\]{0,20}", 1..9)) {
        let mut text = String::new();
        for (number, value) in values.iter().enumerate() {
            writeln!(text, "KEY_{number}='{value}'").unwrap();
        }
        let parsed = read(&text).unwrap();
        assert_eq!(parsed.offers.len(), values.len());
        for (offer, expected) in parsed.offers.iter().zip(&values) {
            let Value::Literal(value) = &offer.value else { panic!("a single-quoted value is literal") };
            assert_eq!(value.expose(), expected);
        }
    }

    #[test]
    fn double_quoted_values_come_back(value in any::<String>()) {
        let escaped: String = value
            .chars()
            .flat_map(|c| matches!(c, '\\' | '"' | '$').then_some('\\').into_iter().chain([c]))
            .collect();
        let parsed = read(&format!("A=\"{escaped}\"")).unwrap();
        let [Offer { value: Value::Literal(read), .. }] = parsed.offers.as_slice() else { panic!("one literal") };
        assert_eq!(read.expose(), value);
    }
}
