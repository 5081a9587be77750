//! What is sealed comes back; what is kept stays; who has another key is told so.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_sealed_comes_back() {
    for keys in [vec![&key(1)], vec![&key(2), &key(1)], vec![&key(1), &key(2)]] {
        let container = sealed(&keys);
        assert_eq!(Container::decode(&container.encode()), Ok(container.clone()));
        assert_eq!(Container::from_text(&container.to_text()), Ok(container.clone()));
        let opened = open(&container, &key(1));
        assert_eq!(opened.slot, keys.len() - 1 - usize::from(keys[0].id() == key(1).id() && keys.len() == 2));
        let texts: Vec<&[u8]> = opened.texts.iter().map(|text| text.as_slice()).collect();
        assert_eq!(texts, [b"JWT_SECRET=hunter2\n".as_slice(), b"# a comment\n", b"DB=tiger\n"]);
    }
}

#[test]
fn a_passphrase_opens_beside_a_key_and_another_one_does_not() {
    let container = sealed(&[&key(1), &passphrase("correct horse")]);
    let text = container.to_text();
    assert!(text.contains("\npassphrase ") && text.contains(" m=65536 t=3 p=4 "), "{text}");
    let container = Container::from_text(&text).unwrap();
    assert_eq!(open(&container, &passphrase("correct horse")).slot, 1);
    assert_eq!(open(&container, &key(1)).slot, 0);
    assert_eq!(
        refused(&container, &passphrase("correct house")).to_string(),
        "it opens with a passphrase, and another one was given"
    );
    let (own, other) = (key(1).id().unwrap(), key(3).id().unwrap());
    assert_eq!(
        refused(&container, &key(3)).to_string(),
        format!("it opens with key {own} or a passphrase, and key {other} was given")
    );
}

#[test]
fn a_passphrase_for_a_file_of_a_key_is_told() {
    let container = sealed(&[&key(1)]);
    assert_eq!(
        refused(&container, &passphrase("correct horse")).to_string(),
        format!("it opens with key {}, and a passphrase was given", key(1).id().unwrap())
    );
}

#[test]
fn what_is_kept_stays_byte_for_byte() {
    let first = sealed(&[&key(2), &key(1)]);
    let opened = open(&first, &key(1));
    let pieces = [
        Piece::Kept(&first.entries[0]),
        Piece::Kept(&first.entries[1]),
        Piece::New(Some("DB"), b"DB=lion\n"),
        Piece::New(Some("NEW"), b""),
    ];
    let second = first.change(&opened, state(8), &pieces, &mut Kernel).unwrap();
    assert_eq!(second.header, first.header);
    assert_eq!(second.entries[..2], first.entries[..2]);
    assert_ne!(second.entries[2], first.entries[2]);
    let (before, after) = (first.to_text(), second.to_text());
    let same = after.lines().filter(|line| before.lines().any(|other| other == *line)).count();
    // Version, salt, two keys, check, two entries, two empty lines.
    assert_eq!(same, 9, "{before}\n{after}");
    for with in [key(1), key(2)] {
        let texts = open(&second, &with).texts;
        assert_eq!(texts[0].as_slice(), b"JWT_SECRET=hunter2\n");
        assert_eq!(texts[2].as_slice(), b"DB=lion\n");
        assert_eq!(texts[3].as_slice(), b"");
    }
}

#[test]
fn equal_texts_are_sealed_unequally_and_lengths_are_padded() {
    let container = sealed_with(&[&key(1)], &[DB, DB, Piece::New(Some("DB"), b"DB=elephant\n")]);
    let [one, two, three] = container.entries.as_slice() else { panic!() };
    assert_ne!(one.sealed, two.sealed);
    assert_eq!(one.sealed.len(), three.sealed.len());
    let lengths = [0, 31, 32, 63].map(|length| {
        sealed_with(&[&key(1)], &[Piece::New(None, &vec![b'x'; length])]).entries[0].sealed.len()
    });
    assert_eq!(lengths, [48, 48, 80, 80]);
}

#[test]
fn two_containers_share_nothing_but_the_key_s_id() {
    let (one, two) = (sealed(&[&key(1)]), sealed(&[&key(1)]));
    assert_eq!(one.header.slots[0].id, two.header.slots[0].id);
    assert_ne!(one.header.salt, two.header.salt);
    assert_ne!(one.header.commitment, two.header.commitment);
    assert_ne!(one.header.slots[0].wrapped, two.header.slots[0].wrapped);
}

#[test]
fn a_key_is_not_short_and_not_printed() {
    assert!(Key::new(Zeroizing::new(vec![7; 31])).is_none());
    assert!(Key::new(Zeroizing::new(vec![7; 33])).is_some());
    assert_eq!(format!("{:?} {:?}", key(7), passphrase("horse")), "Key::Bytes(…) Key::Passphrase(…)");
}

fn piece() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    (proptest::option::of("[A-Za-z0-9_.-]{1,40}"), proptest::collection::vec(any::<u8>(), 0..200))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn anything_comes_back_through_bytes_and_text(
        pieces in proptest::collection::vec(piece(), 0..6),
        generation: u64,
        written in 0_i64..=253_402_300_799,
        not_after in proptest::option::of(1_i64..=253_402_300_799),
        two_slots: bool,
    ) {
        let state = State { generation, written, not_after, ..State::default() };
        let (own, other) = (key(1), key(2));
        let keys = if two_slots { vec![&other, &own] } else { vec![&own] };
        let new: Vec<_> = pieces.iter().map(|(name, text)| Piece::New(name.as_deref(), text)).collect();
        let container = Container::seal(Purpose::File, &keys, state.clone(), &new, &mut Kernel).unwrap();
        let text = container.to_text();
        prop_assert_eq!(&Container::from_text(&text).unwrap(), &container);
        prop_assert_eq!(&Container::from_text(&text.replace('\n', "\r\n")).unwrap(), &container);
        let read = Container::decode(&container.encode()).unwrap();
        prop_assert_eq!(&read.state, &state);
        let opened = read.open(Purpose::File, &own).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(opened.texts.iter().map(|text| text.as_slice()).eq(pieces.iter().map(|(_, text)| text.as_slice())));
        for (at, (name, _)) in pieces.iter().enumerate() {
            let line = text.lines().nth(read.line_of(at) as usize - 1).unwrap();
            let begin = format!("{}: ", name.as_deref().unwrap_or("#"));
            prop_assert!(line.starts_with(&begin));
        }
    }

    #[test]
    fn any_state_of_a_snapshot_comes_back(schema in ".*", service in ".*", instance in ".*", hash: [u8; 32]) {
        let state = State { schema, service, instance, schema_hash: hash, ..state(1) };
        let keys = [&key(1)];
        let sealed = Container::seal(Purpose::Snapshot, &keys, state.clone(), &[], &mut Kernel).unwrap();
        let read = Container::decode(&sealed.encode()).unwrap();
        prop_assert_eq!(&read.state, &state);
        prop_assert!(read.open(Purpose::Snapshot, keys[0]).is_ok());
    }
}
