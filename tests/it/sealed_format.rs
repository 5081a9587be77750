//! docs/sealed-format.md is enough to write another implementation: one in Python,
//! with the primitives of another library, opens what we seal, and the other way.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use dlconf::sealed::{Container, Kernel, Key, Piece, Purpose, State};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// `tests/readers/sealed.py` with this order; what it says where it refuses.
fn python(what: &str, order: &Value) -> Result<Value, String> {
    let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers/sealed.py");
    let mut child = Command::new(Path::new(&tools).join("venv/bin/python3"))
        .arg(script)
        .arg(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(order.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn key(byte: u8) -> Key {
    Key::new(Zeroizing::new(vec![byte; 40])).unwrap()
}

fn passphrase() -> Key {
    Key::Passphrase(Zeroizing::new(PASSPHRASE.to_owned()))
}

const PASSPHRASE: &str = "correct horse, Zürich 🐎";
const PIECES: [(Option<&str>, &[u8]); 5] = [
    (Some("JWT_SECRET"), b"JWT_SECRET=hunter2\n"),
    (None, b"# 31 bytes, so one of the padding\n"),
    (Some("EMPTY"), b""),
    (Some("BLOCK"), b"exactly thirty-two bytes of text"),
    (Some("ZEROS"), b"\x80\0\0\x80\0\0\0"),
];

fn state() -> State {
    State { generation: 7, written: 1_795_000_000, not_after: Some(1_797_000_000), ..State::default() }
}

fn pieces() -> Vec<Piece<'static>> {
    PIECES.iter().map(|&(name, text)| Piece::New(name, text)).collect()
}

fn told(pieces: &[(Option<&str>, &[u8])]) -> Value {
    pieces.iter().map(|(name, text)| json!([name, hex(text)])).collect()
}

/// Python opens it as text and as bytes, with each of these.
fn is_read(container: &Container, with: &[Value], expected: &Value) {
    for how in with {
        let mut forms = vec![json!({ "bytes": hex(&container.encode()) })];
        if container.header.purpose == Purpose::File {
            forms.push(json!({ "text": container.to_text() }));
        }
        for mut order in forms {
            order.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
            let opened = python("open", &order).unwrap();
            assert_eq!(opened["pieces"], *expected);
            assert_eq!(opened["state"]["generation"], container.state.generation);
            assert_eq!(opened["state"]["written"], container.state.written);
            assert_eq!(opened["state"]["until"], container.state.not_after.unwrap());
        }
    }
}

#[test]
fn another_implementation_opens_what_we_seal() {
    let bytes = |byte: u8| json!({ "key": hex(&[byte; 40]) });
    let file = |keys: &[&Key]| Container::seal(Purpose::File, keys, state(), &pieces(), &mut Kernel).unwrap();
    is_read(&file(&[&key(1)]), &[bytes(1)], &told(&PIECES));
    let both = file(&[&key(1), &key(2)]);
    is_read(&both, &[bytes(1), bytes(2)], &told(&PIECES));
    is_read(
        &file(&[&passphrase(), &key(2)]),
        &[bytes(2), json!({ "passphrase": PASSPHRASE })],
        &told(&PIECES),
    );

    let opened = both.open(Purpose::File, &key(2)).unwrap_or_else(|error| panic!("{error}"));
    let mut changed: Vec<_> = both.entries.iter().map(Piece::Kept).collect();
    changed[2] = Piece::New(Some("EMPTY"), b"no more\n");
    let later = both.change(&opened, State { generation: 8, ..state() }, &changed, &mut Kernel).unwrap();
    let mut expected = PIECES;
    expected[2].1 = b"no more\n";
    is_read(&later, &[bytes(1), bytes(2)], &told(&expected));

    let snapshot = State { schema: "shop".into(), instance: "web-1".into(), schema_hash: [5; 32], ..state() };
    let snapshot =
        Container::seal(Purpose::Snapshot, &[&key(1)], snapshot, &[Piece::New(None, b"{}")], &mut Kernel);
    is_read(&snapshot.unwrap(), &[bytes(1)], &json!([[null, hex(b"{}")]]));

    // It judges at all.
    let wrong = python("open", &json!({ "key": hex(&[3; 40]), "text": both.to_text() }));
    assert!(wrong.unwrap_err().contains("wrong key"));
    let mut altered = both.clone();
    altered.state.generation += 1;
    let order = json!({ "key": hex(&[1; 40]), "text": altered.to_text() });
    assert!(python("open", &order).unwrap_err().contains("InvalidTag"));
}

#[test]
fn we_open_what_another_implementation_seals() {
    let keys = json!([{ "key": hex(&[1; 40]) }, { "passphrase": PASSPHRASE }]);
    let stated = json!({ "generation": 7, "written": 1_795_000_000, "until": 1_797_000_000 });
    let order = json!({ "purpose": "file", "keys": keys, "state": stated, "pieces": told(&PIECES) });
    let made = python("seal", &order).unwrap();
    let bytes = Container::decode(&unhex(made["bytes"].as_str().unwrap())).unwrap();
    let text = Container::from_text(made["text"].as_str().unwrap()).unwrap();
    assert_eq!(bytes, text);
    assert_eq!(text.state, state());
    for with in [key(1), passphrase()] {
        let opened = text.open(Purpose::File, &with).unwrap_or_else(|error| panic!("{error}"));
        let texts = opened.texts.iter().map(|text| text.as_slice());
        assert!(texts.eq(PIECES.iter().map(|(_, text)| *text)));
        assert!(
            text.entries.iter().map(|entry| entry.name.as_deref()).eq(PIECES.iter().map(|(name, _)| *name))
        );
    }
    assert!(text.open(Purpose::File, &key(2)).is_err());

    let stated = json!({ "generation": 9, "written": 1_795_000_000, "schema": "shop", "schema_hash": hex(&[5; 32]),
        "environment": "production", "service": "api", "instance": "web-1" });
    let keys = json!([{ "key": hex(&[1; 40]) }]);
    let order =
        json!({ "purpose": "snapshot", "keys": keys, "state": stated, "pieces": [[null, hex(b"{}")]] });
    let made = python("seal", &order).unwrap();
    let snapshot = Container::decode(&unhex(made["bytes"].as_str().unwrap())).unwrap();
    assert_eq!((snapshot.state.schema.as_str(), snapshot.state.service.as_str()), ("shop", "api"));
    let opened = snapshot.open(Purpose::Snapshot, &key(1)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.texts[0].as_slice(), b"{}");
}

#[test]
fn another_implementation_opens_the_documented_vectors() {
    let vectors: Value = serde_json::from_str(include_str!("../fixtures/sealed/vectors.json")).unwrap();
    let bytes = |byte: u8| json!({ "key": hex(&[byte; 32]) });
    let db = json!([["DB", hex(b"DB=tiger\n")]]);
    let file = json!([["JWT_SECRET", hex(b"JWT_SECRET=hunter2\n")], [null, hex(b"# a comment\n")]]);
    for (name, with, pieces) in [
        ("file of a key", bytes(1), &file),
        ("file of two keys", bytes(2), &json!([])),
        ("file of a passphrase", json!({ "passphrase": "correct horse battery staple" }), &db),
        ("snapshot", bytes(1), &json!([[null, hex(b"{}")]])),
        ("mark", bytes(1), &json!([])),
    ] {
        for form in ["bytes", "text"] {
            if vectors[name][form].is_null() {
                continue;
            }
            let mut order = with.clone();
            order[form] = vectors[name][form].clone();
            assert_eq!(python("open", &order).unwrap()["pieces"], *pieces, "{name}, {form}");
        }
    }
}
