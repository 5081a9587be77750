//! Cut and flipped anywhere: refused, without a panic and without output.

use super::*;

/// A container that is as small as one with everything can be.
fn small() -> Container {
    sealed_with(&[&key(1), &key(2)], &[Piece::New(Some("A"), b"A=1\n"), Piece::New(None, b"\n")])
}

/// Why such bytes are not opened: by any key, so that no slot hides behind another.
fn bytes(bytes: &[u8]) -> Option<OpenError> {
    match Container::decode(bytes) {
        Ok(container) => container.open(Purpose::File, &key(1)).err(),
        Err(error) => Some(error),
    }
}

fn text(bytes: &[u8]) -> Option<OpenError> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Some(OpenError::Foreign) };
    match Container::from_text(text) {
        Ok(container) => container.open(Purpose::File, &key(1)).err(),
        Err(error) => Some(error),
    }
}

fn every_cut(whole: &[u8], why: fn(&[u8]) -> Option<OpenError>) {
    assert_eq!(why(whole), None);
    for end in 0..whole.len() {
        let error = why(&whole[..end]).unwrap_or_else(|| panic!("cut at {end}, it opens"));
        assert!(
            matches!(
                error,
                OpenError::Foreign | OpenError::Damaged(_) | OpenError::Line { .. } | OpenError::Version(_)
            ),
            "cut at {end}: {error}"
        );
    }
}

fn every_flip(whole: &[u8], why: fn(&[u8]) -> Option<OpenError>) {
    let mut changed = whole.to_vec();
    for at in 0..whole.len() {
        for bit in 0..8 {
            changed[at] ^= 1 << bit;
            let error = why(&changed).unwrap_or_else(|| panic!("bit {bit} of byte {at} flipped, it opens"));
            assert!(!matches!(error, OpenError::WrongKey { .. }), "damage is no other key: {error}");
            changed[at] ^= 1 << bit;
        }
    }
}

#[test]
fn bytes_cut_anywhere() {
    every_cut(&small().encode(), bytes);
}

#[test]
fn text_cut_anywhere() {
    every_cut(small().to_text().as_bytes(), text);
    every_cut(small().to_text().replace('\n', "\r\n").as_bytes(), text);
}

#[test]
fn every_bit_of_bytes_flipped() {
    every_flip(&small().encode(), bytes);
}

#[test]
fn every_bit_of_text_flipped() {
    every_flip(small().to_text().as_bytes(), text);
}

/// The same with a passphrase, at a bit of each field of the slot: nothing is
/// stretched, as the checksum is looked at first.
#[test]
fn bits_of_a_passphrase_s_slot_flipped() {
    let container = sealed_with(&[&passphrase("correct horse")], &[DB]);
    let whole = container.encode();
    for at in 44..44 + 97 {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let error = Container::decode(&changed).expect_err("it is damaged");
        assert!(matches!(error, OpenError::Damaged(_) | OpenError::Stretch { .. }), "{at}: {error}");
    }
    for at in [whole.len() - 1, whole.len() - 30] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let changed = Container::decode(&changed).unwrap();
        assert!(matches!(refused(&changed, &passphrase("correct horse")), OpenError::Altered(_)));
    }
}

#[test]
fn something_behind_the_end() {
    let container = small();
    let behind = OpenError::Damaged("something comes behind its end");
    assert_eq!(Container::decode(&[container.encode(), vec![0]].concat()), Err(behind.clone()));
    assert_eq!(Container::from_text(&(container.to_text() + "\n")), Err(behind));
}

#[test]
fn a_text_has_one_way_to_be_written() {
    let container = small();
    let text = container.to_text();
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        Container::from_text(&text.replacen(from, to, 1)).expect_err(to)
    };
    assert_eq!(Container::from_text(&text.replace('\n', "\r\n")).as_ref(), Ok(&container));
    for (from, to) in [
        ("salt ", "salt  "),
        ("salt ", " salt "),
        ("salt ", "salt\t"),
        ("salt ", "salt \r"),
        ("generation=7", "generation=07"),
        ("generation=7", "generation=+7"),
        ("written=2026-11-18T11:06:40Z", "written=2026-11-18T11:06:40+00:00"),
        ("written=2026-11-18T11:06:40Z", "written=2026-11-18T11:06:40.0Z"),
        ("written=2026-11-18T11:06:40Z", "written=2026-11-18t11:06:40z"),
        ("written=2026-11-18T11:06:40Z", "written=99999999999"),
        ("\nA: ", "\nA:  "),
        ("\nA: ", "\nA : "),
        ("\nA: ", "\nÄ: "),
        ("\nA: ", "\n\nA: "),
        ("\nA: ", "\nA\u{1b}: "),
        ("\nseal ", "seal "),
        ("\nkey ", "\nkey A"),
    ] {
        let error = changed(from, to);
        assert!(matches!(error, OpenError::Line { .. } | OpenError::Damaged(_)), "{to:?}: {error}");
    }
    let id = container.header.slots[0].id.to_string();
    if id != id.to_uppercase() {
        assert_eq!(changed(&id, &id.to_uppercase()), OpenError::Line { line: 3 });
    }
    assert_eq!(changed("generation=7", "generation=07"), OpenError::Line { line: 6 });
    assert_eq!(changed("\nsalt ", "\r\r\nsalt "), OpenError::Foreign);
    assert_eq!(Container::from_text(&format!("\u{feff}{text}")), Err(OpenError::Foreign));
}

#[test]
fn a_merge_that_nobody_finished() {
    let text = small().to_text().replacen("\nA: ", "\n<<<<<<< HEAD\nA: ", 1);
    assert_eq!(Container::from_text(&text), Err(OpenError::Merge { line: 8 }));
}

#[test]
fn something_else_and_newer_ones_are_no_damage() {
    let text = small().to_text();
    let first = |line: &str| Container::from_text(&text.replacen(FIRST_LINE, line, 1)).err();
    assert_eq!(first("dlconf-sealed 2"), Some(OpenError::Version(2)));
    for line in ["", "DB=tiger", "dlconf-sealed", "dlconf-sealed +1", "dlconf-sealed 01", "dlconf-sealed 256"]
    {
        assert_eq!(first(line), Some(OpenError::Foreign), "{line}");
    }
    assert_eq!(Container::from_text(""), Err(OpenError::Foreign));
    let mut bytes = small().encode();
    bytes[8] = 2;
    assert_eq!(Container::decode(&bytes), Err(OpenError::Version(2)));
    (bytes[8], bytes[9]) = (1, 2);
    assert_eq!(Container::decode(&bytes), Err(OpenError::Suite(2)));
    assert_eq!(Container::decode(text.as_bytes()), Err(OpenError::Foreign));
}
