//! Parts of containers that were sealed, put together by somebody without the key.

use super::*;

const HEADER: &str = "its header is not the one that its keys were put in";

fn not_together(container: &Container) {
    let what = altered(container);
    assert!(what.starts_with("each value in it was sealed there once"), "{what}");
}

#[test]
fn slots_of_another_file() {
    let (own, other) = (sealed(&[&key(1)]), sealed(&[&key(1)]));
    let mut mixed = own.clone();
    mixed.header.slots.clone_from(&other.header.slots);
    assert_eq!(altered(&mixed), HEADER);
    // With the salt, so that the slot opens: it gives a key that the header does not
    // commit to.
    mixed.header.salt = other.header.salt;
    assert_eq!(altered(&mixed), HEADER);
    // The commitment as well: that is the other's header whole.
    mixed.header.commitment = other.header.commitment;
    assert_eq!(
        altered(&mixed),
        "the value of JWT_SECRET (line 7) is not one that was sealed under that name"
    );
}

#[test]
fn a_slot_that_wraps_another_key() {
    // Somebody who has the key makes a slot that gives two readers two contents.
    let own = sealed(&[&key(1), &key(2)]);
    let mut forged = own.clone();
    let mut header = own.header.clone();
    header.slots.clear();
    header.slots.push(super::super::crypt::wrap_for_tests(&own.header, &key(1), [9; 32]));
    header.slots.push(own.header.slots[1].clone());
    forged.header = header;
    assert_eq!(altered(&forged), HEADER);
    assert!(forged.open(Purpose::File, &key(2)).is_err(), "the other slot does not open it either");
}

#[test]
fn slots_removed_moved_doubled() {
    let own = sealed(&[&key(1), &key(2)]);
    let [first, second] = own.header.slots.clone().try_into().unwrap();
    for slots in
        [vec![first.clone()], vec![second.clone(), first.clone()], vec![first.clone(), first.clone()]]
    {
        let mut mixed = own.clone();
        mixed.header.slots = slots;
        assert_eq!(altered(&mixed), HEADER);
    }
    let mut mixed = own;
    mixed.header.slots = vec![second];
    assert!(matches!(refused(&mixed, &key(1)), OpenError::WrongKey { .. }));
}

#[test]
fn a_slot_that_says_another_key() {
    let mut mixed = sealed(&[&key(1)]);
    mixed.header.slots[0].id = key(2).id().unwrap();
    assert!(matches!(refused(&mixed, &key(1)), OpenError::WrongKey { .. }));
    assert_eq!(refused(&mixed, &key(2)), OpenError::Altered(HEADER.to_owned()));
}

#[test]
fn entries_moved_between_names() {
    let mut mixed = sealed(&[&key(1)]);
    let (jwt, db) = (mixed.entries[0].clone(), mixed.entries[2].clone());
    mixed.entries[0] = Entry { name: jwt.name.clone(), ..db.clone() };
    mixed.entries[2] = Entry { name: db.name, ..jwt };
    assert_eq!(
        altered(&mixed),
        "the value of JWT_SECRET (line 7) is not one that was sealed under that name"
    );
    let mut mixed = sealed(&[&key(1)]);
    mixed.entries[1].name = Some("COMMENT".into());
    assert_eq!(altered(&mixed), "the value of COMMENT (line 8) is not one that was sealed under that name");
    let mut mixed = sealed(&[&key(1)]);
    mixed.entries[0].name = None;
    assert_eq!(altered(&mixed), "the comments or empty lines on line 7 are not what was sealed there");
}

#[test]
fn entries_of_another_file() {
    let (mut mixed, other) = (sealed(&[&key(1)]), sealed(&[&key(1)]));
    mixed.entries[2] = other.entries[2].clone();
    assert_eq!(altered(&mixed), "the value of DB (line 9) is not one that was sealed under that name");
}

#[test]
fn entries_reordered_removed_doubled() {
    let own = sealed_with(&[&key(1)], &[JWT, DB, Piece::New(Some("DB"), b"DB=lion\n")]);
    let changes: [fn(&mut Vec<Entry>); 4] = [
        |entries| entries.swap(0, 1),
        |entries| entries.swap(1, 2),
        |entries| drop(entries.pop()),
        |entries| entries.push(entries[0].clone()),
    ];
    for change in changes {
        let mut mixed = own.clone();
        change(&mut mixed.entries);
        not_together(&mixed);
        // The same, as a line of the text.
        not_together(&Container::from_text(&mixed.to_text()).unwrap());
    }
    let mut mixed = own;
    mixed.entries.clear();
    not_together(&mixed);
}

#[test]
fn parts_of_an_older_version() {
    let first = sealed(&[&key(1)]);
    let opened = open(&first, &key(1));
    let pieces = [Piece::New(Some("JWT_SECRET"), b"JWT_SECRET=rotated\n"), COMMENT, DB];
    let second = first.change(&opened, state(8), &pieces, &mut Kernel).unwrap();
    assert_eq!(open(&second, &key(1)).texts[0].as_slice(), b"JWT_SECRET=rotated\n");
    let parts: [fn(&mut Container, &Container); 4] = [
        |new, old| new.entries[0] = old.entries[0].clone(),
        |new, old| new.entries.clone_from(&old.entries),
        |new, old| new.seal = old.seal,
        |new, old| new.state.clone_from(&old.state),
    ];
    for part in parts {
        let mut mixed = second.clone();
        part(&mut mixed, &first);
        not_together(&mixed);
    }
    // All of them are that older version: nothing in a file tells that it is not the
    // newest one.
    let mut mixed = second;
    for part in parts {
        part(&mut mixed, &first);
    }
    assert_eq!(mixed, first);
    assert!(mixed.open(Purpose::File, &key(1)).is_ok());
}

#[test]
fn a_state_that_was_changed() {
    let changes: [fn(&mut State); 3] = [
        |state| state.generation += 1,
        |state| state.written += 1,
        |state| state.not_after = Some(1_900_000_000),
    ];
    for change in changes {
        let mut mixed = sealed(&[&key(1)]);
        change(&mut mixed.state);
        not_together(&mixed);
    }
}

#[test]
fn a_purpose_is_not_another_one() {
    let purposes = [Purpose::File, Purpose::Snapshot, Purpose::Mark];
    for made in purposes {
        let own = Container::seal(made, &[&key(1)], state(1), &[], &mut Kernel).unwrap();
        for wanted in purposes {
            let opened = own.open(wanted, &key(1));
            if made == wanted {
                assert!(opened.is_ok());
                continue;
            }
            let error = opened.err().unwrap();
            assert_eq!(error, OpenError::Purpose { found: made, wanted });
            let mut mixed = own.clone();
            mixed.header.purpose = wanted;
            let mixed = Container::decode(&mixed.encode()).unwrap();
            let error = mixed.open(wanted, &key(1)).err();
            assert_eq!(error, Some(OpenError::Altered(HEADER.to_owned())));
        }
    }
}

#[test]
fn nothing_is_kept_of_another_container() {
    let (own, other) = (sealed(&[&key(1)]), sealed(&[&key(1)]));
    let opened = open(&own, &key(1));
    let unfit = |result: Result<Container, SealError>| {
        assert!(matches!(result, Err(SealError::Unfit(_))), "{result:?}");
    };
    unfit(own.change(&opened, state(8), &[Piece::Kept(&other.entries[0])], &mut Kernel));
    unfit(other.change(&opened, state(8), &[JWT], &mut Kernel));
    let kept = [Piece::Kept(&own.entries[0])];
    unfit(Container::seal(Purpose::File, &[&key(1)], state(1), &kept, &mut Kernel));
}
