//! The test vectors of docs/sealed-format.md are what this code writes.

use super::*;

/// 00 01 02 … ff 00 …
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        for byte in bytes {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn written() -> serde_json::Value {
    let one = |purpose, keys: &[&Key], state: State, pieces: &[Piece<'_>]| {
        let made = Container::seal(purpose, keys, state, pieces, &mut Counting(0)).unwrap();
        assert!(made.open(purpose, keys[0]).is_ok());
        let text = (purpose == Purpose::File).then(|| made.to_text());
        serde_json::json!({ "bytes": hex(&made.encode()), "text": text })
    };
    let full = State {
        not_after: Some(1_797_000_000),
        schema_hash: [0x5c; 32],
        schema: "shop".to_owned(),
        environment: "production".to_owned(),
        service: "api".to_owned(),
        instance: "web-1".to_owned(),
        ..state(9)
    };
    let mut file = state(1);
    file.not_after = Some(1_797_000_000);
    serde_json::json!({
        "file of a key": one(Purpose::File, &[&key(1)], state(7), &[JWT, COMMENT]),
        "file of two keys": one(Purpose::File, &[&key(1), &key(2)], file, &[]),
        "file of a passphrase":
            one(Purpose::File, &[&passphrase("correct horse battery staple")], state(1), &[DB]),
        "snapshot": one(Purpose::Snapshot, &[&key(1)], full, &[Piece::New(None, b"{}")]),
        "mark": one(Purpose::Mark, &[&key(1)], state(9), &[]),
        "key ids": { "01 32 times": key(1).id().unwrap().to_string(), "02 32 times": key(2).id().unwrap().to_string() },
    })
}

#[test]
fn they_are_what_is_written() {
    let documented = include_str!("../../../tests/fixtures/sealed/vectors.json");
    let documented: serde_json::Value = serde_json::from_str(documented).unwrap();
    let written = written();
    assert_eq!(documented, written, "written now:\n{written:#}");
}
