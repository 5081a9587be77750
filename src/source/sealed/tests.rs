use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::model::finding::Code;
use crate::sealed::{Kernel, Key as SealedKey, Piece, State as SealedState};
use crate::source::dotenv::Parsed;
use crate::source::file::ShownPath;

fn cut(text: &str) -> Result<Vec<Chunk<'_>>, Vec<Fault>> {
    chunks(text, &"app.env".into())
}

/// Names and pieces, as `NAME|text` and `#|text`.
#[track_caller]
fn pieces(text: &str, expected: &[&str]) {
    let shown: Vec<String> = cut(text)
        .unwrap_or_else(|faults| panic!("{text:?}: {faults:?}"))
        .iter()
        .map(|chunk| format!("{}|{}", chunk.name.as_ref().map_or("#", Key::as_str), chunk.text))
        .collect();
    assert_eq!(shown, expected, "{text:?}");
}

#[test]
fn a_text_is_cut_at_its_assignments() {
    pieces("", &[]);
    pieces("\n", &["#|\n"]);
    pieces("A=1", &["A|A=1"]);
    pieces("A=1\nB=2\n", &["A|A=1\n", "B|B=2\n"]);
    pieces("# c\n\nA=1 # d\n \n#e", &["#|# c\n\n", "A|A=1 # d\n", "#| \n#e"]);
    pieces("A=1\r\n\r\nB=2\r\n", &["A|A=1\r\n", "#|\r\n", "B|B=2\r\n"]);
    pieces("\u{feff}A=1\n", &["A|\u{feff}A=1\n"]);
    pieces("\u{feff}# c\nA=1\n", &["#|\u{feff}# c\n", "A|A=1\n"]);
    pieces("A=\"1\n# no comment\nB=2\" # c\nC: 3\n", &["A|A=\"1\n# no comment\nB=2\" # c\n", "C|C: 3\n"]);
    pieces("  export A='x'\n", &["A|  export A='x'\n"]);
    pieces("A=1\nA=2\n", &["A|A=1\n", "A|A=2\n"]);
    // What sets nothing has no name.
    pieces("NAME\nA=1\n", &["#|NAME\n", "A|A=1\n"]);
    pieces("a.b=1\nA=1\n", &["#|a.b=1\n", "A|A=1\n"]);
    pieces("A=\"x\" tail\n", &["A|A=\"x\" tail\n"]);
}

#[test]
fn what_could_not_be_read_or_named_is_refused() {
    for (text, place, says) in [
        ("A=1\nno assignment\n", "app.env:2:1", "it has no `=`"),
        ("A=\"open\n", "app.env:1:3", "never closed"),
        ("A=${B\n", "app.env:1:3", ""),
        ("A=\"1\" B=2\n", "app.env:1:7", "a second variable is set on this line"),
        ("A=1\nB=\"1\n2\" C='3' D=4\n", "app.env:3:4", "a second variable"),
        ("A=\"1\" a.b=2\n", "app.env:1:7", "a second variable"),
        ("A=x\0y\n", "app.env:1:3", "A holds a NUL byte"),
    ] {
        let faults = cut(text).unwrap_err();
        assert_eq!(faults[0].location.to_string(), place, "{text:?}");
        assert!(faults[0].message.contains(says), "{text:?}: {faults:?}");
    }
    // As a source of type dotenv tells it, and all of it.
    let text = "no\nassignment here\nA=${\n";
    let read = parse(&SourceName::new("x"), &"app.env".into(), text, None).unwrap_err();
    assert_eq!(cut(text).unwrap_err(), read);
    assert_eq!(cut("A=\"1\" B=\"2\" C=3\n").unwrap_err().len(), 2);
}

/// Texts that come near everything that the dialect knows.
fn env_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "A",
        "B_1",
        "=",
        ": ",
        "\n",
        "\r\n",
        " ",
        "\"",
        "'",
        "\\",
        "#",
        " # c",
        "export ",
        "${A}",
        "$B",
        "x",
        "a.b",
        "\u{feff}",
        "\t",
        "ü",
        "A=1\n",
        "B=\"2\n3\"\n",
        "C='4' ",
        "\u{2028}",
        "\u{85}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

type Meaning = (Vec<(Key, String)>, Vec<(Code, String)>);

/// What a text sets and says, without its places.
fn meaning(Parsed { offers, remarks, .. }: &Parsed) -> Meaning {
    let value = |value: &Value| match value {
        Value::Literal(value) => value.expose().to_owned(),
        Value::Template(template) => format!("{:?}", template.references()),
    };
    (
        offers.iter().map(|offer| (offer.key.clone(), value(&offer.value))).collect(),
        remarks.iter().map(|remark| (remark.code, remark.message.clone())).collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn pieces_put_together_are_the_text_and_say_what_it_says(text in env_text()) {
        let Ok(chunks) = cut(&text) else { return Ok(()) };
        prop_assert_eq!(chunks.iter().map(|chunk| chunk.text).collect::<String>(), text.as_str());
        let read = |text: &str| parse(&SourceName::new("x"), &"x".into(), text, None);
        let whole = meaning(&read(&text).expect("it was cut"));
        let mut parts: Meaning = (Vec::new(), Vec::new());
        for chunk in &chunks {
            let (offers, remarks) = meaning(&read(chunk.text).expect("a piece of what can be read"));
            let names: Vec<Key> = offers.iter().map(|(key, _)| key.clone()).collect();
            prop_assert_eq!(&names, &chunk.name.iter().cloned().collect::<Vec<_>>());
            parts.0.extend(offers);
            parts.1.extend(remarks);
        }
        prop_assert_eq!(parts, whole);
    }
}

const KEY: [u8; 32] = [7; 32];

fn key() -> SealedKey {
    SealedKey::new(Zeroizing::new(KEY.to_vec())).unwrap()
}

fn write(folder: &Path, name: &str, bytes: &[u8], mode: u32) -> ShownPath {
    let path = folder.join(name);
    let _ = std::fs::remove_file(&path);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&path).unwrap();
    file.write_all(bytes).unwrap();
    ShownPath { path, label: name.to_owned(), beneath: None }
}

/// A source over these pieces.
fn source(folder: &Path, pieces: &[Piece<'_>], state: SealedState) -> SealedSource {
    let container = Container::seal(Purpose::File, &[&key()], state, pieces, &mut Kernel).unwrap();
    let file = write(folder, "app.sealed", container.to_text().as_bytes(), 0o644);
    let place = KeyPlace::File(write(folder, "app.key", &KEY, 0o400));
    SealedSource::new(SourceName::new("config"), file.path, "app.sealed", place, false)
}

/// What a fetch gives; without the key, where names are enough.
async fn fetched(pieces: &[Piece<'_>], names_only: bool) -> Result<Layer, SourceError> {
    let folder = tempfile::tempdir().unwrap();
    let state = SealedState { generation: 3, written: 1_795_000_000, ..SealedState::default() };
    let source = source(folder.path(), pieces, state);
    if names_only {
        std::fs::remove_file(folder.path().join("app.key")).unwrap();
    }
    source.fetch(Ask { known: &BTreeSet::default(), names_only, retry: false }).await
}

#[tokio::test]
async fn an_offer_has_the_line_and_generation_of_the_sealed_file_and_no_excerpt() {
    let pieces = [
        Piece::New(None, b"# old: A=secret\n\n"),
        Piece::New(Some("A"), b"export A=\"1\n2\"\n"),
        Piece::New(Some("B"), b"B=${A}-${NONE:-x}\n"),
    ];
    let layer = fetched(&pieces, false).await.unwrap();
    let told: Vec<String> = layer
        .offers
        .iter()
        .map(|Offer { key, origin, .. }| {
            format!("{key} {}@{}", origin.location, origin.revision.as_ref().unwrap().0)
        })
        .collect();
    assert_eq!(told, ["A app.sealed:8@3", "B app.sealed:9@3"]);
    assert!(layer.offers.iter().all(|offer| offer.excerpt.is_none() && offer.origin.modified.is_some()));
    assert!(matches!(&layer.offers[0].value, Value::Literal(value) if value.expose() == "1\n2"));
    assert!(matches!(&layer.offers[1].value, Value::Template(_)));
    assert_eq!(layer.places[0].mode, None);
}

#[tokio::test]
async fn names_are_told_without_the_key() {
    let pieces = [Piece::New(None, b"# a\n"), Piece::New(Some("A"), b"A=1\n")];
    let layer = fetched(&pieces, true).await.unwrap();
    let names: Vec<&str> = layer.offers.iter().map(|offer| offer.key.as_str()).collect();
    assert_eq!(names, ["A"]);
}

/// Who has the key may have sealed by other means than ours.
#[tokio::test]
async fn a_piece_that_is_not_what_its_name_says_is_refused() {
    for (pieces, place, says) in [
        (vec![Piece::New(Some("A"), b"B=1\n")], "app.sealed:7", "does not set what it is named after"),
        (vec![Piece::New(Some("A"), b"A=1\nB=1\n")], "app.sealed:7", "does not set what it is named after"),
        (vec![Piece::New(Some("A"), b"# A=1\n")], "app.sealed:7", "does not set what it is named after"),
        (vec![Piece::New(None, b"A=1\n")], "app.sealed:7", "does not set what it is named after"),
        (
            vec![Piece::New(Some("B"), b"B=1\n"), Piece::New(Some("A"), b"A=\xff\n")],
            "app.sealed:8",
            "no UTF-8 text",
        ),
        (vec![Piece::New(Some("A"), b"A=\"hunter2\n")], "app.sealed:7", "never closed"),
        (vec![Piece::New(Some("A"), b"A=hunter2\0\n")], "app.sealed:7", "A holds a NUL byte"),
    ] {
        let error = fetched(&pieces, false).await.unwrap_err();
        let fault = &error.faults[0];
        assert_eq!(fault.location.to_string(), place, "{fault:?}");
        assert!(fault.message.contains(says), "{fault:?}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn a_file_that_everybody_may_write_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let source = source(folder.path(), &[Piece::New(Some("A"), b"A=1\n")], SealedState::default());
    for (mode, judged) in [(0o644, None), (0o664, None), (0o666, Some(0o666))] {
        let path = folder.path().join("app.sealed");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let layer = source.fetch(Ask { known: &BTreeSet::default(), names_only: false, retry: false }).await;
        assert_eq!(layer.unwrap().places[0].mode, judged, "{mode:o}");
    }
}
