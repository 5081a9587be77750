//! The comparison of readings, and of each reader what the recorded cases
//! (tests/it/dotenv_dialects.rs) leave out.

use std::fmt::Write as _;

use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};

use super::*;

fn host(name: &str) -> Option<String> {
    (name == "HOSTSET").then(|| "hs".to_owned())
}

/// What one reader gives: `A=1 B? C! ~D`: a value, nothing, refused, run time;
/// a refusal of the file is `!`.
fn readings(reader: Reader, text: &str) -> String {
    let notes = read(reader, text, &host);
    let mut out: Vec<_> = notes
        .entries
        .iter()
        .map(|entry| match &entry.reading {
            Reading::Value(value) => format!("{}={}", entry.key, value.expose()),
            Reading::Absent => format!("{}?", entry.key),
            Reading::Refused(_) => format!("{}!", entry.key),
            Reading::Runtime(_) => format!("~{}", entry.key),
        })
        .collect();
    out.extend(notes.refusal.map(|_| "!".to_owned()));
    out.join(" ")
}

#[track_caller]
fn check(reader: Reader, text: &str, expected: &str) {
    assert_eq!(readings(reader, text), expected, "{reader} of {text:?}");
}

#[test]
fn bash_follows_assignments_and_runs_nothing() {
    let bash = |text, expected| check(Reader::Bash, text, expected);
    bash("A=1; B=2 # c\nexport C=3 D=\"$A\"", "A=1 B=2 C=3 D=1");
    bash("A=1\nA+=2\nA=3 id\nB=$A", "A=1 A=12 A! B=12");
    bash("A=`id`\nB=$(id)x\nC=$$\nD=~/x\nE=$A", "~A ~B ~C ~D ~E");
    bash("A=${B:-x}${HOSTSET+y}${C-\"z w\"}${D:=v}$D", "A=xyz wvv");
    bash("A='a'\"b\\n\\$\"\\c$'\\n'", "A=ab\\n$c\n");
    bash("A=1\nB=2; C=\"x\nD=4", "A=1 B! !");
    bash("A=1\nB=(x y)", "A=1 !");
    bash("A=a&b\nB=a>b\nC=1", "A! B! C=1");
    bash("UID=1\nA=$UID", "UID! ~A");
    bash("A=1\\\n2\nB=3", "A=12 B=3");
    bash("A=${B?}\nC=1", "!");
}

#[test]
fn interpolating_readers_differ_in_defaults() {
    let text = "E=\nA=${E:-d}\nB=${E-d}\nC=${U:-d}\n";
    check(Reader::Compose, text, "E= A=d B= C=d");
    check(Reader::Expand, text, "E= A=d B= C=d");
    check(Reader::Bash, text, "E= A=d B= C=d");
    // Set to nothing is set; `-` alone is a part of the name.
    check(Reader::Python, text, "E= A= B= C=d");
    // Knows no defaults.
    check(Reader::Godotenv, text, "E= A=:-d} B=-d} C=:-d}");
    check(Reader::Compose, "A=${U:?no}", "!");
}

#[test]
fn quotes_and_comments_of_the_others() {
    check(Reader::Python, "A='it\\'s'\nB= # c\n'C'=1\nD='x' y\nE=1", "A=it's B= C=1 E=1");
    check(Reader::Node, "A=`x\ny` # c\nB: 2\nC = 'a' b\n", "A=x\ny B=2 C='a' b");
    check(Reader::Godotenv, "A=\"x\\\"\"\nB='y'", "A=x\\ B=y");
    check(Reader::Systemd, "# c \\\nA=1\nB='x' \"y\"\\\nz\n;C=1\nD=\"u\nE=2", "B=xyz D=u\nE=2");
    check(Reader::Docker, "HOSTSET\nU\n =x", "!");
    check(Reader::Docker, "HOSTSET\nU\nA=\"x\" ", "HOSTSET=hs U? A=\"x\" ");
}

/// `line:column key: reader,reader / reader`, the readings in the readers'
/// order.
fn shown(text: &str) -> String {
    let groups = |readings: &[(Reading, Vec<Reader>)]| {
        let names = |readers: &[Reader]| readers.iter().map(|r| r.as_str()).collect::<Vec<_>>().join(",");
        readings.iter().map(|(_, readers)| names(readers)).collect::<Vec<_>>().join(" / ")
    };
    judge(text, &host)
        .iter()
        .map(|d| {
            format!("{}:{} {}: {}", d.line, d.column, d.key.as_deref().unwrap_or("-"), groups(&d.readings))
        })
        .collect::<Vec<_>>()
        .join(" | ")
}

#[test]
fn disagreements_are_grouped_with_their_place() {
    assert_eq!(shown("A=1\nB=x.y\n"), "");
    assert_eq!(
        shown("# c\n  export A=1\n"),
        "2:10 A: docker / compose,godotenv,node,expand,python,bash / systemd"
    );
    // Another line that makes a reader refuse the file does not count here.
    assert_eq!(
        shown("A=1\nB=\"2\"\n hello world\n"),
        "3:2 -: docker / compose / godotenv / node,expand,systemd / python / bash"
    );
}

#[test]
fn lines_inside_a_value_count_for_its_first_line() {
    let text = "KEY=\"-----BEGIN KEY-----\nabc=\n-----END KEY-----\"\nB=2\n";
    assert_eq!(shown(text), "1:1 KEY: docker / compose,godotenv,node,expand,python,bash,systemd");
}

#[test]
fn a_name_that_no_variable_has_is_not_told() {
    assert!(judge(";hunter=1", &host).iter().all(|disagreement| disagreement.key.is_none()));
    assert!(!format!("{:?}", judge("*hunter2 x", &host)).contains("hunter2"));
}

#[test]
fn what_would_grow_without_bounds_is_refused() {
    let mut text = "A0=xxxxxxxxxxxxxxxx\n".to_owned();
    for number in 0..60 {
        writeln!(text, "A{}=${{A{number}}}${{A{number}}}", number + 1).unwrap();
    }
    for reader in [Reader::Compose, Reader::Godotenv, Reader::Expand, Reader::Python, Reader::Bash] {
        assert!(read(reader, &text, &host).refusal.is_some(), "{reader}");
    }
    check(Reader::Expand, "B=\\$B\nC=x$B", "B=$B C!");
    let deep = format!("A={}", "${B:-\"".repeat(100_000));
    assert!(read(Reader::Bash, &deep, &host).refusal.is_some());
}

/// Text in which everything that some reader looks for is frequent.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "A", "B", "=", "\"", "'", "`", "\\", "\n", "\r", "$", "${", "$(", ")", "}", "{", ":", ":-", "+", "?",
        "#", " ", "export ", "ä", "\u{a0}", "\u{feff}", "0", "\0", ";", "&", "~", "$A",
    ]);
    prop_oneof![prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat()), any::<String>()]
}

proptest! {
    #[test]
    fn judging_never_fails_and_stays_in_the_text(text in hostile()) {
        for found in judge(&text, &host) {
            assert!(found.readings.len() > 1);
            let line = text.split('\n').nth(found.line as usize - 1).expect("a line of the text");
            assert!(found.column as usize <= line.chars().count() + 1);
        }
    }

    #[test]
    fn plain_values_are_the_same_to_all(value in "[A-Za-z0-9_!%*+,./?@^-]{0,20}") {
        assert_eq!(shown(&format!("A={value}\nB=1\n")), "");
    }
}
