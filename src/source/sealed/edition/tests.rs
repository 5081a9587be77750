use std::sync::Arc;

use super::*;
use crate::sealed::{Key as SealedKey, Purpose};
use crate::source::sealed::chunks;

fn changed(before: &str, after: &str) -> (String, usize) {
    let key = SealedKey::new(Zeroizing::new(vec![7; 32])).unwrap();
    let label = Arc::from(".env");
    let old = chunks(before, &label).unwrap();
    let container = Container::seal(
        Purpose::File,
        &[&key],
        State { generation: 1, written: now(), ..State::default() },
        &all_new(&old),
        &mut Kernel,
    )
    .unwrap();
    let opened = container.open(Purpose::File, &key).ok().unwrap();
    let new = chunks(after, &label).unwrap();
    let change = Edition::new(&container, &opened, &new);
    let sealed = change.sealed(&container, &opened).unwrap();
    let opened = sealed.open(Purpose::File, &key).ok().unwrap();
    assert_eq!(*text_of(&opened).unwrap(), after);
    assert_eq!(sealed.state.generation, 2);
    let kept = sealed.entries.iter().filter(|entry| container.entries.contains(entry)).count();
    (change.words(), kept)
}

#[test]
fn a_change_is_told_by_names() {
    for (before, after, words, kept) in [
        ("A=1\nB=2\n", "A=1\nB=3\n", "changed B", 1),
        ("A=1\nB=2\n", "B=2\nA=1\n", "changed the order", 2),
        ("A=1\n", "A=1\nB=2\n", "added B", 1),
        ("A=1\nB=2\n", "B=2\n", "removed A", 1),
        ("A=1\n", "# x\nA=1\n", "changed comments or empty lines", 1),
        ("A=1\nA=2\n", "A=1\n", "removed A", 1),
        ("A=1\n", "A=1\nA=1\n", "added A", 1),
        ("A=1\nA=2\n", "A=3\nA=4\n", "changed A", 0),
        ("A=1\n", "", "removed A", 0),
        ("A=1\nC=1", "B=1\nC=2", "changed C; added B; removed A", 0),
    ] {
        let (said, stayed) = changed(before, after);
        assert_eq!((said.as_str(), stayed), (words, kept), "{before:?} {after:?}");
    }
}
