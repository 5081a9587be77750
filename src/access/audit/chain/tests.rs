use proptest::prelude::*;

use super::*;

fn key() -> ChainKey {
    ChainKey::new(b"0123456789abcdef0123456789abcdef")
}

fn log(lines: usize) -> Vec<String> {
    let mut chain = Chain::new(key(), End::START);
    let mut text = String::new();
    for number in 0..lines {
        chain.append(
            &mut text,
            "2026-11-22T10:00:00.000Z",
            &format!("\"event\":\"release\",\"uid\":{number}"),
        );
    }
    text.lines().map(str::to_owned).collect()
}

/// What is broken, line by line; and the last genuine line's code.
fn check<T: AsRef<[u8]>>(key: ChainKey, lines: &[T]) -> (Vec<(usize, Broken)>, Option<Code>) {
    let mut checker = Checker::new(key);
    let (mut breaks, mut head) = (Vec::new(), None);
    for (at, text) in lines.iter().enumerate() {
        let (line, judged) = checker.take(text.as_ref());
        breaks.extend(judged.err().map(|broken| (at, broken)));
        head = line.map(|line| line.code).or(head);
    }
    (breaks, head)
}

#[test]
fn a_line_is_json_and_says_what_the_documentation_says() {
    let lines = log(2);
    let parsed: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(parsed["seq"], 2);
    assert_eq!(parsed["uid"], 1);
    let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!((&first["prev"], &first["mac"]), (&hex(&NONE).into(), &parsed["prev"]));
    // Anybody with the key can say so: HMAC over all before `,"mac"`.
    let (signed, _) = lines[1].split_once(",\"mac\"").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
    let mut code = NONE;
    code.copy_from_slice(hmac::sign(&key, signed.as_bytes()).as_ref());
    let code = hex(&code);
    assert_eq!(parsed["mac"], code);
}

#[test]
fn each_mischief_has_its_name() {
    let lines = log(6);
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat();
    assert_eq!(check(key(), &lines).0, []);
    assert_eq!(check(key(), &lines[2..]).0, [], "earlier files may be elsewhere");
    assert_eq!(check(key(), &without(2)).0, [(2, Broken::Missing { from: 3, to: 3 })]);
    let mut twice = lines.clone();
    twice.insert(3, lines[2].clone());
    assert_eq!(check(key(), &twice).0[0], (3, Broken::Order { seq: 3, expected: 4 }));
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    assert_eq!(check(key(), &swapped).0[0], (2, Broken::Missing { from: 3, to: 3 }));
    let mut changed = lines.clone();
    changed[2] = changed[2].replace("\"uid\":2", "\"uid\":0");
    assert_eq!(check(key(), &changed).0, [(2, Broken::Code)], "and those behind it are fine");
    changed[2] = "{}".to_owned();
    assert_eq!(check(key(), &changed).0, [(2, Broken::Form)]);
    let other = ChainKey::new(b"another key of thirty-two bytes!");
    assert_eq!(check(other, &lines).0.len(), lines.len());
    // The same numbers, another history.
    let mut fork = Chain::new(key(), End::START);
    let mut text = String::new();
    for _ in 0..4 {
        fork.append(&mut text, "2026-11-22T10:00:00.000Z", "\"event\":\"other\"");
    }
    let mut mixed = lines.clone();
    mixed[3] = text.lines().nth(3).unwrap().to_owned();
    let breaks = check(key(), &mixed).0;
    assert_eq!(breaks, [(3, Broken::Fork { seq: 4 }), (4, Broken::Fork { seq: 5 })]);
}

#[test]
fn what_was_taken_back_can_be_written_again() {
    let mut chain = Chain::new(key(), End::START);
    let (mut first, mut second) = (String::new(), String::new());
    let before = chain.end();
    chain.append(&mut first, "t", "\"event\":\"x\"");
    chain.back_to(before);
    chain.append(&mut second, "t", "\"event\":\"x\"");
    assert_eq!(first, second);
}

#[test]
fn only_one_form_is_a_line() {
    let line = &log(1)[0];
    assert!(Line::read(line.as_bytes()).is_some());
    for other in [
        line.to_uppercase(),
        format!(" {line}"),
        format!("{line} "),
        line.replace("\"seq\":1", "\"seq\":01"),
        line.replace("\"seq\":1", "\"seq\":+1"),
        line.replace("\"seq\":1", "\"seq\":-1"),
        line.replace("\"seq\":1", "\"seq\":99999999999999999999"),
        line.replace("\"prev\"", "\"next\""),
        line[..line.len() - 1].to_owned(),
        String::new(),
    ] {
        assert_eq!(Line::read(other.as_bytes()), None, "{other}");
    }
}

proptest! {
    #[test]
    fn any_changed_byte_is_found(at in 0..8usize, place in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let mut lines: Vec<Vec<u8>> = log(8).into_iter().map(String::into_bytes).collect();
        let place = place.index(lines[at].len());
        lines[at][place] ^= flip;
        let (breaks, _) = check(key(), &lines);
        prop_assert_eq!(breaks.first().map(|(line, _)| *line), Some(at));
    }

    /// Whatever order, number or choice of the lines: only a whole stretch of the
    /// chain is taken for one, and with the head only one that has the end.
    #[test]
    fn any_other_choice_of_lines_is_found(choice in prop::collection::vec(0..8usize, 1..12)) {
        let lines = log(8);
        let chosen: Vec<&String> = choice.iter().map(|at| &lines[*at]).collect();
        let is_stretch = choice.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let (breaks, head) = check(key(), &chosen);
        prop_assert_eq!(breaks.is_empty(), is_stretch);
        let has_end = choice.last() == Some(&7);
        prop_assert_eq!(head == check(key(), &lines).1, has_end);
    }

    #[test]
    fn whatever_is_said_stays_in_its_line(words in "[ -~]{0,40}") {
        let mut chain = Chain::new(key(), End::START);
        let mut text = String::new();
        let words = format!("\"event\":{}", serde_json::Value::from(words));
        chain.append(&mut text, "t", &words);
        chain.append(&mut text, "t", &words);
        let lines: Vec<&str> = text.lines().collect();
        prop_assert_eq!(check(key(), &lines).0, []);
    }
}
