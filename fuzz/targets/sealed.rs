//! Sealed containers: both forms read, one way to write each, and nothing opens but
//! what was sealed.
//!
//! Shared by the fuzz target and by the test that replays its corpus.

use std::sync::LazyLock;

use dlconf::sealed::{Container, Key, NoRandom, OpenError, Piece, Purpose, Random, State};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// The longest input. Reading is linear; this bounds what is mutated.
const LONGEST: usize = 16 * 1024;
/// The most mutations of one container.
const MUTATIONS: usize = 24;
/// Bytes of a header before its slots, with their number; of a slot; of the commitment.
const HEADER: (usize, usize, usize) = (44, 97, 32);

/// What every input must satisfy.
pub(crate) fn judge(input: &[u8]) {
    let input = input.get(..LONGEST).unwrap_or(input);
    if let Ok(container) = Container::decode(input) {
        assert_eq!(container.encode(), input, "bytes have one reading");
        opens_only_what_was_sealed(&container);
    }
    if let Ok(text) = std::str::from_utf8(input)
        && let Ok(container) = Container::from_text(text)
    {
        assert!(container.to_text().lines().eq(text.lines()), "a text has one reading");
        assert_eq!(Container::decode(&container.encode()).as_ref(), Ok(&container));
        opens_only_what_was_sealed(&container);
    }
    mutated(input);
}

/// Containers of one key: versions of one file, another file, two slots, a snapshot.
struct Sealed {
    container: Container,
    contents: Vec<&'static [u8]>,
}

/// Not that of the test vectors, which are in the corpus.
static KEY: LazyLock<Key> = LazyLock::new(|| key(7));
static SEALED: LazyLock<Vec<Sealed>> = LazyLock::new(sealed);

fn key(byte: u8) -> Key {
    Key::new(Zeroizing::new(vec![byte; 32])).expect("32 bytes are a key")
}

/// Random bytes that are the same in each run.
struct Stream(u64);

impl Random for Stream {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        for chunk in bytes.chunks_mut(32) {
            self.0 += 1;
            chunk.copy_from_slice(&Sha256::digest(self.0.to_be_bytes())[..chunk.len()]);
        }
        Ok(())
    }
}

fn sealed() -> Vec<Sealed> {
    let random = &mut Stream(0);
    let state = |generation| State { generation, written: 1_795_000_000, ..State::default() };
    let mut all = Vec::new();
    let one: [(Option<&str>, &'static [u8]); 3] =
        [(None, b"# two secrets\n"), (Some("JWT_SECRET"), b"JWT_SECRET=one\n"), (Some("DB"), b"DB=two\n")];
    let contents = || one.iter().map(|&(_, text)| text).collect::<Vec<_>>();
    let pieces = one.map(|(name, text)| Piece::New(name, text));
    let (own, other) = (key(7), key(8));
    for keys in [vec![&own], vec![&own], vec![&other, &own]] {
        let container =
            Container::seal(Purpose::File, &keys, state(1), &pieces, random).expect("it is sealed");
        all.push(Sealed { container, contents: contents() });
    }
    let first = &all[0].container;
    let opened = first.open(Purpose::File, &own).expect("it opens");
    let changed: [&'static [u8]; 3] = [b"# two secrets\n", b"JWT_SECRET=three\n", b"DB=two\n"];
    let pieces = [
        Piece::Kept(&first.entries[0]),
        Piece::New(Some("JWT_SECRET"), changed[1]),
        Piece::Kept(&first.entries[2]),
    ];
    let second = first.change(&opened, state(2), &pieces, random).expect("it is changed");
    all.push(Sealed { container: second, contents: changed.to_vec() });
    let snapshot = State { not_after: Some(1_796_000_000), schema: "shop".into(), ..state(9) };
    let pieces = [Piece::New(None, b"{}")];
    let container =
        Container::seal(Purpose::Snapshot, &[&own], snapshot, &pieces, random).expect("it is sealed");
    all.push(Sealed { container, contents: vec![b"{}"] });
    all
}

/// Whatever opens with the key is one of those that were sealed with it, whole.
fn opens_only_what_was_sealed(container: &Container) {
    let purpose = container.header.purpose;
    let opened = match container.open(purpose, &KEY) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.help().is_empty());
            assert!(
                matches!(error, OpenError::WrongKey { .. } | OpenError::Altered(_)),
                "what was read is of a known form: {error}"
            );
            return;
        }
    };
    let known = SEALED.iter().find(|one| one.container == *container);
    let known = known.expect("nothing opens but what was sealed");
    assert!(opened.texts.iter().map(|text| text.as_slice()).eq(known.contents.iter().copied()));
    let other = if purpose == Purpose::File { Purpose::Snapshot } else { Purpose::File };
    assert!(matches!(container.open(other, &KEY), Err(OpenError::Purpose { .. })));
}

/// Takes the input as changes of a container that opens.
fn mutated(input: &[u8]) {
    let Some((&[which, form], changes)) = input.split_first_chunk() else { return };
    let origin = &SEALED[usize::from(which) % SEALED.len()].container;
    let donor = &SEALED[usize::from(which) / SEALED.len() % SEALED.len()].container;
    match form % 3 {
        0 => {
            let bytes = changed(origin.encode(), &donor.encode(), changes);
            for bytes in [rechecked(bytes.clone()), bytes] {
                if let Ok(container) = Container::decode(&bytes) {
                    opens_only_what_was_sealed(&container);
                }
            }
        }
        1 if origin.header.purpose == Purpose::File => {
            let text = changed(origin.to_text().into(), &donor.to_text().into_bytes(), changes);
            if let Some(container) =
                String::from_utf8(text).ok().and_then(|text| Container::from_text(&text).ok())
            {
                opens_only_what_was_sealed(&container);
            }
        }
        _ => {
            // Whoever changes a container and writes it rightly has a right checksum.
            let container = rearranged(origin.clone(), donor, changes);
            if let Ok(container) = Container::decode(&container.encode()) {
                opens_only_what_was_sealed(&container);
            }
        }
    }
}

/// Bytes changed as the input says: a kind, two places, a byte.
fn changed(mut bytes: Vec<u8>, donor: &[u8], changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(6).take(MUTATIONS) {
        let place = |at: usize| usize::from(u16::from_be_bytes([change[at], change[at + 1]]));
        let (from, to) = (place(1) % (bytes.len() + 1), place(3));
        let length = (to % 128).min(bytes.len() - from);
        match change[0] % 7 {
            0 if from < bytes.len() => bytes[from] ^= change[5],
            1 if from < bytes.len() => bytes[from] = change[5],
            2 => bytes.truncate(from),
            3 => drop(bytes.drain(from..from + length)),
            4 => {
                let copy = bytes[from..from + length].to_vec();
                let at = to % (bytes.len() + 1);
                bytes.splice(at..at, copy);
            }
            5 => {
                let at = from.min(donor.len());
                let taken = &donor[at..donor.len().min(at + length)];
                bytes.splice(from..(from + taken.len()).min(bytes.len()), taken.iter().copied());
            }
            _ => bytes.insert(from, change[5]),
        }
    }
    bytes
}

/// The same bytes with the checksum of their header.
fn rechecked(mut bytes: Vec<u8>) -> Vec<u8> {
    let (before, slot, commitment) = HEADER;
    let slots = bytes.get(before - 1).map_or(0, |&count| usize::from(count));
    let end = before + slots * slot + commitment;
    if let Some((header, rest)) = bytes.split_at_mut_checked(end)
        && let Some(check) = rest.first_chunk_mut::<8>()
    {
        check.copy_from_slice(&Sha256::digest(header)[..8]);
    }
    bytes
}

/// A container with its parts moved as the input says.
fn rearranged(mut container: Container, donor: &Container, changes: &[u8]) -> Container {
    for change in changes.chunks_exact(3).take(MUTATIONS) {
        let at = |count: usize, by: u8| usize::from(by) % count.max(1);
        let Container { header, state, entries, .. } = &mut container;
        let (one, two) = (at(entries.len(), change[1]), at(entries.len(), change[2]));
        match change[0] % 10 {
            0 if !entries.is_empty() => entries.swap(one, two),
            1 if !entries.is_empty() => drop(entries.remove(one)),
            2 if !entries.is_empty() => entries.insert(two, entries[one].clone()),
            3 if !entries.is_empty() && !donor.entries.is_empty() => {
                entries[one] = donor.entries[at(donor.entries.len(), change[2])].clone();
            }
            4 if !entries.is_empty() => {
                entries[one].name = donor.entries.first().and_then(|entry| entry.name.clone());
            }
            5 => header.slots.clone_from(&donor.header.slots),
            6 => header.slots.push(donor.header.slots[at(donor.header.slots.len(), change[1])].clone()),
            7 => header.purpose = [Purpose::File, Purpose::Snapshot, Purpose::Mark][at(3, change[1])],
            8 => state.clone_from(&donor.state),
            _ => state.generation = state.generation.wrapping_add(change[1].into()),
        }
    }
    container
}
