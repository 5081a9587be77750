//! Rotations in env files and sealed files: what a write changes and what it leaves, who
//! wins when two write, what is refused; and that the state of rotations is no variable.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::{Layer, Value};
use dlconf::model::rotation::{KeyNote, Kid, Ledger, Phase, Print, Progress, Slot};
use dlconf::model::secret::SecretValue;
use dlconf::sealed::{Container, Kernel, Key as SealedKey, Piece, Purpose, State};
use dlconf::source::dotenv::{DotenvSource, EnvFile};
use dlconf::source::file::ShownPath;
use dlconf::source::key_file::KeyPlace;
use dlconf::source::sealed::{SealedSource, chunks};
use dlconf::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};
use dlconf::source::{Ask, Source};
use tokio::runtime::{Builder, Runtime};
use zeroize::Zeroizing;

use crate::program::{Folder, SMALL_SCHEMA};
use crate::supervised::{self, Supervised};

const OLD: &str = "canary-old-q8Zr2LxV5nBt7KjWm4Yc9PdHs";
const NEW: &str = "canary-new-t9Bx3HpM6wLs1VnR8kZc4JfQy";
const KEY: [u8; 32] = *b"rotated-file-key-0R8xk2Vw9Lq4Zt_";
const PASSPHRASE: &str = "seven horses stapled to a battery";

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn token() -> Key {
    Key::new("TOKEN").unwrap()
}

fn file(folder: &Folder, name: &str) -> EnvFile {
    EnvFile { path: folder.join(name), label: name.into(), optional: true, beneath: None }
}

fn dotenv(folder: &Folder, names: &[&str]) -> DotenvSource {
    DotenvSource::new(SourceName::new("local"), names.iter().map(|name| file(folder, name)).collect())
}

fn sealed_source(folder: &Folder, key: KeyPlace) -> SealedSource {
    SealedSource::new(SourceName::new("config"), folder.join("a.sealed"), "a.sealed", key, false)
}

fn shown(folder: &Folder, name: &str) -> ShownPath {
    ShownPath { path: folder.join(name), label: name.into(), beneath: None }
}

fn open(source: &dyn WritableSource) -> Result<Document, WriteError> {
    runtime().block_on(source.open(&token()))
}

fn write(source: &dyn WritableSource, document: &Document, change: &Change) -> Result<(), WriteError> {
    runtime().block_on(source.write(document, change)).map(drop)
}

fn fetch(source: &dyn Source) -> Layer {
    let known = BTreeSet::from([token()]);
    let ask = Ask { known: &known, names_only: false, retry: false };
    runtime().block_on(source.fetch(ask)).unwrap()
}

fn note(kid: &str, value: &str) -> KeyNote {
    let kid = Kid::new(kid).unwrap();
    let print = Some(Print::of(&kid, &value.into()));
    KeyNote { kid, print, not_before: None, rest: serde_json::Map::new() }
}

fn progress(phase: Phase, keys: &[(Slot, &str, &str)]) -> Progress {
    let keys = keys.iter().map(|(slot, kid, value)| (*slot, note(kid, value))).collect();
    Progress { phase, keys, ..Progress::default() }
}

fn change(set: &[(Slot, &str)], remove: &[Slot], progress: Progress) -> Change {
    let value = |(slot, value): &(Slot, &str)| (*slot, Arc::new(SecretValue::from(*value)));
    Change { set: set.iter().map(value).collect(), remove: remove.to_vec(), progress }
}

fn staged() -> Change {
    let keys = [(Slot::Current, "k1", OLD), (Slot::Next, "k2", NEW)];
    change(&[(Slot::Next, NEW)], &[], progress(Phase::Staged, &keys))
}

fn activated() -> Change {
    let keys = [(Slot::Current, "k2", NEW), (Slot::Previous, "k1", OLD)];
    let set = [(Slot::Current, NEW), (Slot::Previous, OLD)];
    change(&set, &[Slot::Next], progress(Phase::Activated, &keys))
}

fn retired() -> Change {
    change(&[], &[Slot::Previous], progress(Phase::Steady, &[(Slot::Current, "k2", NEW)]))
}

/// Name, value and kid of each offer.
fn offers(layer: &Layer) -> Vec<(String, String, String)> {
    let text = |value: &Value| match value {
        Value::Literal(value) => value.expose().to_owned(),
        Value::Template(_) => "a template".to_owned(),
    };
    let kid = |offer: &dlconf::model::layer::Offer| {
        offer.origin.mark.as_ref().map_or("-".to_owned(), |mark| mark.kid.to_string())
    };
    layer.offers.iter().map(|offer| (offer.key.to_string(), text(&offer.value), kid(offer))).collect()
}

fn owned(all: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    all.iter().map(|(name, value, kid)| ((*name).into(), (*value).into(), (*kid).into())).collect()
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, WriteError>, kind: WriteErrorKind, says: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.kind, kind, "{error:?}");
    let words = format!("{error:?} {error}");
    assert!(words.contains(says) && !words.contains("canary"), "{words}");
}

/// The steps of a rotation in one file, whatever it is.
fn rotates(source: &(impl Source + WritableSource)) {
    let document = open(source).unwrap();
    assert_eq!(document.values[&Slot::Current].expose(), OLD);
    assert!(document.progress().is_none() && document.server_time.is_none());
    write(source, &document, &staged()).unwrap();
    let wanted = [("PORT", "9000", "-"), ("TOKEN", OLD, "k1"), ("TOKEN_NEXT", NEW, "k2")];
    assert_eq!(offers(&fetch(source)), owned(&wanted));

    let document = open(source).unwrap();
    assert_eq!(document.progress(), Some(&staged().progress));
    write(source, &document, &activated()).unwrap();
    let wanted = [("PORT", "9000", "-"), ("TOKEN", NEW, "k2"), ("TOKEN_PREVIOUS", OLD, "k1")];
    assert_eq!(offers(&fetch(source)), owned(&wanted));

    let document = open(source).unwrap();
    write(source, &document, &retired()).unwrap();
    assert_eq!(offers(&fetch(source)), owned(&[("PORT", "9000", "-"), ("TOKEN", NEW, "k2")]));
    // What was read before is not what is there now.
    refused(write(source, &document, &staged()), WriteErrorKind::Conflict, "changed meanwhile");
    assert!(runtime().block_on(source.before(&document, &token())).unwrap().is_none());
}

#[test]
fn a_rotation_in_an_env_file() {
    let folder = Folder::new();
    folder.bytes(
        ".env",
        format!("# of the shop\nPORT=9000\nexport TOKEN='{OLD}' # signs\n").as_bytes(),
        0o640,
    );
    rotates(&dotenv(&folder, &[".env"]));
    let text = folder.read(".env");
    let (before, state) = text.split_once("DLCONF_STATE=").unwrap();
    assert_eq!(before, format!("# of the shop\nPORT=9000\nexport TOKEN={NEW} # signs\n"));
    assert!(state.ends_with("}'\n") && !state.contains("canary"), "{state}");
    assert_eq!(folder.mode(".env"), 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn line_ends_stay_as_they_are() {
    for (text, staged_text) in [
        (
            format!("PORT=9000\r\nTOKEN={OLD}\r\n# end\r\n"),
            format!("PORT=9000\r\nTOKEN={OLD}\r\nTOKEN_NEXT={NEW}\r\n# end\r\n"),
        ),
        (format!("PORT=9000\nTOKEN={OLD}"), format!("PORT=9000\nTOKEN={OLD}\nTOKEN_NEXT={NEW}\n")),
    ] {
        let folder = Folder::with_env(&text);
        let source = dotenv(&folder, &[".env"]);
        write(&source, &open(&source).unwrap(), &staged()).unwrap();
        let written = folder.read(".env");
        let (before, state) = written.split_once("DLCONF_STATE=").unwrap();
        assert_eq!(before, staged_text);
        assert_eq!(state.ends_with("\r\n"), text.contains('\r'));
        folder.file(".env", &text);
        rotates(&source);
        let end = if text.contains('\r') { "\r\n" } else { "\n" };
        assert_eq!(folder.read(".env").matches('\n').count(), folder.read(".env").matches(end).count());
    }
}

#[test]
fn the_file_whose_line_wins_is_the_document() {
    let folder = Folder::new();
    folder.file(".env", "TOKEN=lowest\n").file(".env.production", &format!("TOKEN={OLD}\n"));
    folder.file(".env.local", "TOKEN=\nPORT=1\n");
    let source = dotenv(&folder, &[".env", ".env.production", ".env.local", ".env.none"]);
    let document = open(&source).unwrap();
    assert_eq!(&*document.place, ".env.production");
    write(&source, &document, &staged()).unwrap();
    assert_eq!(folder.read(".env"), "TOKEN=lowest\n");
    assert_eq!(folder.read(".env.local"), "TOKEN=\nPORT=1\n");

    // What another file sets as well would win, or come back.
    for name in [".env", ".env.local"] {
        let before = folder.read(name);
        folder.file(name, &format!("{before}TOKEN_NEXT=canary\n"));
        let document = open(&source).unwrap();
        let says = format!("{name} sets TOKEN_NEXT as well");
        refused(write(&source, &document, &activated()), WriteErrorKind::Refused, &says);
        folder.file(name, &before);
    }
    // Another file came to win.
    let document = open(&source).unwrap();
    folder.file(".env.local", "TOKEN=canary\n");
    refused(write(&source, &document, &activated()), WriteErrorKind::Conflict, ".env.production changed");
    // None sets it any more.
    for name in [".env", ".env.production", ".env.local"] {
        folder.file(name, "PORT=1\n");
    }
    refused(open(&source), WriteErrorKind::Unusable, "does not set TOKEN");
}

/// Writes text of the same length into a file, as if it had never been written.
#[allow(clippy::disallowed_methods, reason = "somebody else, who writes in place")]
fn forge(path: &Path, text: &str) {
    let before = path.metadata().unwrap();
    assert_eq!(before.len(), text.len() as u64);
    fs::write(path, text).unwrap();
    let times = FileTimes::new().set_modified(before.modified().unwrap());
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
    let after = path.metadata().unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[test]
fn what_somebody_wrote_meanwhile_is_not_overwritten() {
    let folder = Folder::with_env(&format!("TOKEN={OLD}\nPORT=1000\n"));
    let source = dotenv(&folder, &[".env"]);
    let document = open(&source).unwrap();
    let other = format!("TOKEN={OLD}\nPORT=2000\n");
    forge(&folder.join(".env"), &other);
    refused(write(&source, &document, &staged()), WriteErrorKind::Conflict, "left as it is now");
    assert_eq!(folder.read(".env"), other);
    let document = open(&source).unwrap();
    fs::remove_file(folder.join(".env")).unwrap();
    refused(write(&source, &document, &staged()), WriteErrorKind::Conflict, ".env");
    assert!(!folder.join(".env").exists());
}

#[test]
fn what_cannot_be_rotated_there_is_refused_in_words() {
    let folder = Folder::new();
    let source = dotenv(&folder, &[".env"]);
    folder.file("real.env", &format!("TOKEN={OLD}\n"));
    symlink(folder.join("real.env"), folder.join(".env")).unwrap();
    refused(open(&source), WriteErrorKind::Refused, "what is mounted is changed where it comes from");
    fs::remove_file(folder.join(".env")).unwrap();

    folder.file(".env", "A=canary\nTOKEN=\"${A}-x\"\n");
    refused(open(&source), WriteErrorKind::Refused, "TOKEN is made of other variables there");
    folder.file(".env", &format!("TOKEN={OLD}\nDLCONF_STATE='{{\"canary\":1}}'\n"));
    refused(open(&source), WriteErrorKind::Unusable, "DLCONF_STATE cannot be understood");
    folder.file(".env", &format!("TOKEN={OLD}\nno assignment of a canary\n"));
    refused(open(&source), WriteErrorKind::Unusable, ".env:2:1: ");
    folder.file(".env", &format!("TOKEN='{OLD}' PORT=1\n"));
    let document = open(&source).unwrap();
    refused(write(&source, &document, &activated()), WriteErrorKind::Refused, "TOKEN shares its line");
    folder.file(".env", &format!("TOKEN={OLD}\n"));
    let supplied = change(&[(Slot::Current, "canary $HOME")], &[], progress(Phase::Steady, &[]));
    let document = open(&source).unwrap();
    refused(
        write(&source, &document, &supplied),
        WriteErrorKind::Refused,
        "readers of env files disagree on",
    );
    assert_eq!(folder.read(".env"), format!("TOKEN={OLD}\n"));
}

/// Counts up by so many writes in so many threads; every write that lost is tried again.
fn race(source: impl Fn() -> Box<dyn WritableSource> + Sync, times: u64) {
    const THREADS: u64 = 4;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let source = source();
                let mut done = 0;
                let mut tries = 0;
                while done < times {
                    tries += 1;
                    assert!(tries < 10_000, "it never wins");
                    let document = open(&*source).unwrap();
                    let count = document.progress().map_or(0, |progress| progress.count);
                    let next = Progress { count: count + 1, ..Progress::default() };
                    match write(&*source, &document, &change(&[(Slot::Next, NEW)], &[], next)) {
                        Ok(()) => done += 1,
                        Err(error) => assert_eq!(error.kind, WriteErrorKind::Conflict, "{error:?}"),
                    }
                }
            });
        }
    });
    let count = open(&*source()).unwrap().progress().unwrap().count;
    assert_eq!(count, THREADS * times, "no write was lost");
}

#[test]
fn two_who_write_one_env_file_lose_nothing() {
    let folder = Folder::with_env(&format!("TOKEN={OLD}\nPORT=1\n"));
    race(|| Box::new(dotenv(&folder, &[".env"])), 20);
    let text = folder.read(".env");
    assert!(text.starts_with(&format!("TOKEN={OLD}\nTOKEN_NEXT={NEW}\nPORT=1\nDLCONF_STATE=")), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

fn sealed(text: &str, key: &SealedKey) -> Container {
    let label: Arc<str> = "plain.env".into();
    let chunks = chunks(text, &label).unwrap();
    let piece = |chunk: &dlconf::source::sealed::Chunk<'_>| {
        (chunk.name.as_ref().map(|name| name.as_str().to_owned()), chunk.text.as_bytes().to_vec())
    };
    let pieces: Vec<_> = chunks.iter().map(piece).collect();
    let pieces: Vec<Piece<'_>> =
        pieces.iter().map(|(name, text)| Piece::New(name.as_deref(), text)).collect();
    let state = State { generation: 7, written: 1_795_000_000, ..State::default() };
    Container::seal(Purpose::File, &[key], state, &pieces, &mut Kernel).unwrap()
}

fn bytes() -> SealedKey {
    SealedKey::new(Zeroizing::new(KEY.to_vec())).unwrap()
}

fn sealed_folder(text: &str) -> Folder {
    let folder = Folder::new();
    folder.bytes("a.sealed", sealed(text, &bytes()).to_text().as_bytes(), 0o644);
    folder.bytes("key", &KEY, 0o400);
    folder
}

#[test]
fn a_rotation_in_a_sealed_file() {
    let folder = sealed_folder(&format!("# of the shop\nPORT=9000\nTOKEN='{OLD}'\n"));
    let source = sealed_source(&folder, KeyPlace::File(shown(&folder, "key")));
    let container = |folder: &Folder| Container::from_text(&folder.read("a.sealed")).unwrap();
    let before = container(&folder);
    write(&source, &open(&source).unwrap(), &staged()).unwrap();
    let after = container(&folder);
    assert_eq!((before.state.generation, after.state.generation), (7, 8));
    assert_eq!(after.header, before.header);
    assert_eq!(after.entries[..3], before.entries[..], "what did not change stays byte for byte");
    let names: Vec<_> = after.entries.iter().map(|entry| entry.name.as_deref().unwrap_or("#")).collect();
    assert_eq!(names, ["#", "PORT", "TOKEN", "TOKEN_NEXT", "DLCONF_STATE"]);
    assert_eq!(folder.mode("a.sealed"), 0o644);
    assert!(!folder.read("a.sealed").contains("canary"));

    // Without a key, names are told; that of the state is none.
    let known = BTreeSet::from([token()]);
    let ask = Ask { known: &known, names_only: true, retry: false };
    let layer = runtime().block_on(source.fetch(ask)).unwrap();
    let names: Vec<_> = layer.offers.iter().map(|offer| offer.key.to_string()).collect();
    assert_eq!(names, ["PORT", "TOKEN", "TOKEN_NEXT"]);

    // The old value that is kept is sealed too, and offered to nobody.
    let kept =
        change(&[(Slot::Current, "a $value '\"\n\\"), (Slot::Kept, OLD)], &[], progress(Phase::Steady, &[]));
    let document = open(&source).unwrap();
    write(&source, &document, &kept).unwrap();
    let document = open(&source).unwrap();
    assert_eq!(document.values[&Slot::Current].expose(), "a $value '\"\n\\");
    assert_eq!(document.values[&Slot::Kept].expose(), OLD);
    assert!(!offers(&fetch(&source)).iter().any(|(name, ..)| name.starts_with("DLCONF_")));
}

#[test]
fn a_whole_rotation_with_a_key_file_and_with_a_passphrase() {
    let text = format!("PORT=9000\nTOKEN={OLD}\n");
    let folder = sealed_folder(&text);
    rotates(&sealed_source(&folder, KeyPlace::File(shown(&folder, "key"))));
    let with = SealedKey::Passphrase(Zeroizing::new(PASSPHRASE.to_owned()));
    folder.bytes("a.sealed", sealed(&text, &with).to_text().as_bytes(), 0o600);
    folder.file("words", &format!("{PASSPHRASE}\n"));
    let source = sealed_source(&folder, KeyPlace::Passphrase(shown(&folder, "words")));
    rotates(&source);
    folder.file("words", "another phrase, that opens nothing\n");
    refused(open(&source), WriteErrorKind::Refused, "cannot be opened");
    fs::remove_file(folder.join("a.sealed")).unwrap();
    refused(open(&source), WriteErrorKind::Unusable, "a.sealed");
}

#[test]
fn two_who_write_one_sealed_file_lose_nothing() {
    let folder = sealed_folder(&format!("TOKEN={OLD}\nPORT=1\n"));
    let source = || sealed_source(&folder, KeyPlace::File(shown(&folder, "key")));
    race(|| Box::new(source()), 10);
    let document = open(&source()).unwrap();
    folder.bytes("a.sealed", sealed("TOKEN=canary\n", &bytes()).to_text().as_bytes(), 0o644);
    refused(write(&source(), &document, &staged()), WriteErrorKind::Conflict, "a.sealed changed");
}

/// A line that says of TOKEN which key it is.
fn state(kid: &str, value: &str) -> String {
    let noted = progress(Phase::Steady, &[(Slot::Current, kid, value)]);
    format!("DLCONF_STATE='{}'\n", Ledger::default().with("TOKEN", noted).to_text())
}

#[test]
fn the_state_is_no_variable_of_any_source() {
    let folder = Folder::new();
    let own = format!("{}DLCONF_KEPT_TOKEN='{OLD}'\n", state("k1", OLD));
    let env = format!("PORT=1\nTOKEN={OLD}\n{own}");
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file(".env", &env).bytes("key", &KEY, 0o400);
    folder.file("a.json", r#"{"DLCONF_STATE": "x", "DLCONF_KEPT_TOKEN": "y", "MODE": "fast"}"#);
    folder.file("run/DLCONF_STATE", "x").file("run/TTL", "5m");
    folder.bytes("a.sealed", sealed(&own, &bytes()).to_text().as_bytes(), 0o644);
    folder.file(
        "dlconf.toml",
        "environment = \"production\"\n[source.a]\ntype = \"file\"\npath = \"a.json\"\n\
         [source.b]\ntype = \"directory\"\npath = \"run\"\n\
         [source.c]\ntype = \"sealed\"\npath = \"a.sealed\"\nkey_file = \"key\"\n\
         [source.local]\ntype = \"dotenv\"\npath = \".env\"\n[source.env]\ntype = \"env\"\n",
    );
    let environment = [("DLCONF_STATE", "x"), ("DLCONF_KEPT_TOKEN", "y")];
    let run = |arguments: &[&str]| folder.run_with(arguments, &environment);
    let order = fs::read_to_string(folder.join("dlconf.toml")).unwrap();
    folder.file("dlconf.toml", &format!("order = [\"a\", \"b\", \"c\", \"local\", \"env\"]\n{order}"));
    let ran = run(&["--config", "dlconf.toml", "check", "--format", "json"]).exits(0);
    assert_eq!(ran.findings(), [""; 0]);
    run(&["--config", "dlconf.toml", "check", "--portability"]).exits(0).never_says("DLCONF_");
    let ran = run(&["--config", "dlconf.toml", "render", "--format", "json"]).exits(0);
    ran.says(OLD).says("fast").says("5m").never_says("DLCONF_");

    // One that cannot be understood is told, and takes nothing away.
    folder.file(".env", &format!("TOKEN={OLD}\nDLCONF_STATE='canary-of-a-state'\n"));
    let ran = run(&["--config", "dlconf.toml", "check"]).exits(0).never_says("canary-of-a-state");
    ran.says("warning[DLC030]").says("DLCONF_STATE is passed over");

    let schema = format!("{SMALL_SCHEMA}\n[var.DLCONF_STATE]\ntype = \"string\"\nrequired = false\n");
    folder.file("dlconf.schema.toml", &schema);
    run(&["--config", "dlconf.toml", "check"]).exits(2).warns("DLCONF_STATE is dlconf's own");
}

/// A supervisor starts its program for other values, not for other names of keys.
#[test]
fn a_program_is_not_restarted_for_the_name_of_a_key() {
    let folder = supervised::folder(OLD);
    let supervised = Supervised::start(&folder, &["-v"], "echo $TOKEN; exec sleep 60");
    let publishes = |times: usize| {
        let is_so = || (supervised.log().matches("published ").count() == times).then_some(());
        supervised.until("a generation", is_so);
    };
    supervised.says(&[OLD]);
    publishes(1);
    for (at, kid) in ["k1", "k2"].into_iter().enumerate() {
        folder.file("new", &format!("TOKEN={OLD}\n{}", state(kid, OLD)));
        fs::rename(folder.join("new"), folder.join(".env")).unwrap();
        publishes(at + 2);
    }
    // Had a restart been due, it would come before this one.
    supervised::set(&folder, NEW);
    supervised.until("a start", || (supervised.said().len() > 1).then_some(()));
    assert_eq!(supervised.said(), [OLD, NEW]);
}
