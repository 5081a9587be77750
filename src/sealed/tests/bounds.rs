//! What somebody else wrote takes no more than it should; what cannot be given back
//! is not sealed.

use std::time::{Duration, Instant};

use super::*;

/// Far more than a refusal takes, and far less than what is refused would.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A container that says that it takes so much, with a right checksum.
fn bomb(memory_kib: u32, passes: u32, lanes: u32) -> Container {
    let mut container = sealed(&[&key(1)]);
    container.header.slots[0].stretch = Some(Stretch { memory_kib, passes, lanes, salt: [5; 16] });
    container
}

#[test]
fn a_passphrase_takes_no_more_than_we_would_ever_write() {
    let most = u32::MAX;
    for (parameters, what) in [
        ((262_145, 3, 4), "262145 KiB of memory"),
        ((most, 3, 4), "4294967295 KiB of memory"),
        ((65_536, 11, 4), "11 passes"),
        ((65_536, most, 4), "4294967295 passes"),
        ((65_536, 3, 9), "9 lanes"),
        ((65_536, 3, most), "4294967295 lanes"),
        ((most, most, most), "4294967295 KiB of memory"),
    ] {
        let (memory, passes, lanes) = parameters;
        let bomb = bomb(memory, passes, lanes);
        let refusal = OpenError::Stretch { what: what.to_owned() };
        let started = Instant::now();
        assert_eq!(Container::decode(&bomb.encode()), Err(refusal.clone()));
        assert_eq!(Container::from_text(&bomb.to_text()), Err(refusal.clone()));
        // Even where somebody made it without reading it.
        assert_eq!(refused(&bomb, &passphrase("horse")), refusal);
        assert!(started.elapsed() < AT_ONCE);
    }
    for (memory, passes, lanes) in [(0, 3, 4), (65_536, 0, 4), (65_536, 3, 0), (31, 3, 4)] {
        let error = Container::decode(&bomb(memory, passes, lanes).encode());
        assert_eq!(error, Err(OpenError::Damaged("Argon2id has no such parameters")));
    }
}

#[test]
fn as_much_as_is_allowed_is_read_and_the_least_is_stretched() {
    let most = bomb(262_144, 10, 8);
    assert_eq!(Container::decode(&most.encode()).as_ref(), Ok(&most));
    assert_eq!(Container::from_text(&most.to_text()).as_ref(), Ok(&most));
    let least = bomb(32, 1, 4);
    assert!(matches!(refused(&least, &passphrase("horse")), OpenError::WrongKey { .. }));
}

#[test]
fn huge_counts_and_lengths_end_at_once() {
    let container = sealed_with(&[&key(1)], &[]);
    let whole = container.encode();
    let count = whole.len() - 28 - 4;
    let started = Instant::now();
    for end in [count + 4, whole.len()] {
        let mut bomb = whole[..end].to_vec();
        bomb[count..count + 4].fill(0xff);
        assert_eq!(Container::decode(&bomb), Err(OpenError::Damaged("it ends too early")));
    }
    // One entry of 4 GiB.
    let mut bomb = whole[..count].to_vec();
    bomb.extend([0, 0, 0, 1, 0, 1, b'A', 0xff, 0xff, 0xff, 0xff]);
    bomb.extend([0; 64]);
    assert_eq!(Container::decode(&bomb), Err(OpenError::Damaged("it ends too early")));
    assert!(started.elapsed() < AT_ONCE);
}

#[test]
fn slots_are_one_or_two() {
    let mut container = sealed(&[&key(1)]);
    let slot = container.header.slots[0].clone();
    for count in [0, 3, 300] {
        container.header.slots = vec![slot.clone(); count];
        assert!(Container::decode(&container.encode()).is_err());
        assert!(Container::from_text(&container.to_text()).is_err());
    }
}

/// One text has one form: who has the key and seals otherwise is refused.
#[test]
fn padding_is_of_one_form() {
    let container = sealed(&[&key(1)]);
    let opened = open(&container, &key(1));
    let with = |padded: &[u8]| super::super::crypt::pad_for_tests(&container, &opened, padded);
    let padded = |text: &[u8], mark: u8, length: usize| {
        let mut padded = [text, &[mark]].concat();
        padded.resize(length, 0);
        padded
    };
    for (text, length) in [(&b"A=1"[..], 32), (b"", 32), (&[b'x'; 31], 32), (&[b'x'; 32], 64)] {
        let opened = open(&with(&padded(text, 0x80, length)), &key(1));
        assert_eq!(**opened.texts[0], *text);
    }
    for wrong in [
        // Another mark, none, nothing but zeros, a block too many, and two.
        padded(b"A=1", 0x81, 32),
        vec![b'x'; 32],
        vec![0; 32],
        padded(b"A=1", 0x80, 64),
        padded(&[b'x'; 31], 0x80, 64),
        padded(b"", 0x80, 96),
    ] {
        let forged = with(&wrong);
        assert_eq!(Container::decode(&forged.encode()).as_ref(), Ok(&forged));
        assert_eq!(altered(&forged), "a value is not as it was sealed", "{wrong:?}");
    }
}

#[test]
fn what_cannot_be_given_back_is_not_sealed() {
    let seal = |purpose, state| Container::seal(purpose, &[&key(1)], state, &[JWT], &mut Kernel);
    let text = || "x".repeat(65_536);
    for (purpose, unfit) in [
        (Purpose::File, State { written: i64::MAX, ..state(1) }),
        (Purpose::File, State { written: 253_402_300_800, ..state(1) }),
        (Purpose::File, State { written: -1, ..state(1) }),
        (Purpose::File, State { not_after: Some(0), ..state(1) }),
        (Purpose::File, State { not_after: Some(i64::MAX), ..state(1) }),
        (Purpose::File, State { schema: "shop".to_owned(), ..state(1) }),
        (Purpose::File, State { schema_hash: [1; 32], ..state(1) }),
        (Purpose::Snapshot, State { instance: text(), ..state(1) }),
        (Purpose::Snapshot, State { written: i64::MIN, ..state(1) }),
    ] {
        let result = seal(purpose, unfit.clone());
        assert!(matches!(result, Err(SealError::Unfit(_))), "{unfit:?}");
        // Nor is it read where somebody wrote it.
        let mut container = seal(purpose, state(1)).unwrap();
        container.state = unfit;
        if container.state.instance.is_empty() && container.state.not_after != Some(0) {
            assert!(matches!(Container::decode(&container.encode()), Err(OpenError::Damaged(_))));
        }
    }
    for name in ["", "a b", "a:b", "a\nb", "#", "ä", "a\u{1b}[31m", &text()] {
        let pieces = [Piece::New(Some(name), b"x")];
        let result = Container::seal(Purpose::File, &[&key(1)], state(1), &pieces, &mut Kernel);
        assert!(matches!(result, Err(SealError::Unfit(_))), "{name:?}");
        let mut container = sealed(&[&key(1)]);
        container.entries[0].name = Some(name.into());
        if !name.is_empty() && name.len() < 100 {
            let read = Container::decode(&container.encode());
            assert!(matches!(read, Err(OpenError::Damaged(_))), "{name:?}");
        }
        // `#` is how a text writes that there is none: no other name is read so.
        match Container::from_text(&container.to_text()) {
            Ok(read) => assert!(name == "#" && read.entries[0].name.is_none(), "{name:?}"),
            Err(error) => assert!(matches!(error, OpenError::Line { .. } | OpenError::Damaged(_)), "{error}"),
        }
    }
}

#[test]
fn without_random_numbers_nothing_is_sealed() {
    struct After(usize);
    impl Random for After {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
            self.0 = self.0.checked_sub(1).ok_or(NoRandom)?;
            bytes.fill(1);
            Ok(())
        }
    }
    // The key, the salt, a slot's nonce, an entry's, the seal's.
    for count in 0..5 {
        let result = Container::seal(Purpose::File, &[&key(1)], state(1), &[JWT], &mut After(count));
        assert_eq!(result, Err(SealError::NoRandom(NoRandom)));
    }
    assert!(Container::seal(Purpose::File, &[&key(1)], state(1), &[JWT], &mut After(5)).is_ok());
}

#[test]
fn every_refusal_says_what_to_do() {
    let refusals = [
        OpenError::Foreign,
        OpenError::Version(2),
        OpenError::Suite(2),
        OpenError::Purpose { found: Purpose::File, wanted: Purpose::Snapshot },
        OpenError::Stretch { what: "11 passes".to_owned() },
        OpenError::Damaged("it ends too early"),
        OpenError::Line { line: 7 },
        OpenError::Merge { line: 7 },
        OpenError::WrongKey { given: key(1).id(), wanted: vec![key(2).id(), None] },
        OpenError::Altered("its contents are not what was sealed there".to_owned()),
        OpenError::Memory,
    ];
    let said: Vec<String> = refusals.iter().map(|error| format!("{error}; {}", error.help())).collect();
    for (at, one) in said.iter().enumerate() {
        assert!(!said[..at].contains(one), "{one}");
        assert!(!one.contains("  ") && !one.contains('\n'), "{one}");
    }
}
