use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

const CANARY: &str = "canary-merlin";

fn offer(pairs: &[(&str, &str)]) -> Offer {
    let variables: BTreeMap<Key, _> =
        pairs.iter().map(|(key, value)| (Key::new(key).unwrap(), Arc::new((*value).into()))).collect();
    let known: BTreeSet<Key> = ["TOKEN", "NAME", "OTHER"].map(|key| Key::new(key).unwrap()).into();
    Offer { version: None, variables, known: Arc::new(known) }
}

fn handing(deliver: Deliver, only: Option<Vec<String>>) -> Handing {
    let process: Vec<(OsString, OsString)> = [
        ("PATH", "/bin"),
        ("TOKEN", "canary-of-our-own"),
        ("OTHER", "canary-of-another"),
        ("UNDECLARED", "stays"),
        (HANDED_NAME, "/not/ours"),
        ("DLCONF_PID", "1"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    Handing::new(deliver, Inheritance { process: process.into(), only })
}

fn names(environment: &[(OsString, OsString)]) -> Vec<&str> {
    environment.iter().map(|(name, _)| name.to_str().unwrap()).collect()
}

fn path(handed: &Handed) -> PathBuf {
    let (_, path) = handed.environment.iter().find(|(name, _)| name == HANDED_NAME).unwrap();
    path.into()
}

#[test]
fn by_environment_as_ever() {
    let mut handing = handing(Deliver::Environment, None);
    let handed = handing.hand(&offer(&[("TOKEN", CANARY), ("NAME", "a\nb")])).unwrap();
    assert_eq!(names(&handed.environment), ["PATH", "UNDECLARED", "NAME", "TOKEN"]);
    assert!(handed.memory.is_none());
    assert_eq!(handing.judge(&offer(&[("NAME", "a\nb")]), &["sh".into()]), Ok(()));
}

#[test]
fn what_no_program_can_be_given_is_known_before() {
    let long = CANARY.repeat(1 << 18);
    let judged = |deliver, value| handing(deliver, None).judge(&offer(&[("TOKEN", value)]), &["sh".into()]);
    let why = judged(Deliver::Environment, &long).unwrap_err();
    assert!(
        why.starts_with("TOKEN is longer than") && why.ends_with("; --deliver file hands over more"),
        "{why}"
    );
    assert!(!why.contains(CANARY));
    let why = judged(Deliver::Environment, "canary\0").unwrap_err();
    assert_eq!(why, "TOKEN holds a NUL byte, which no process can be given");
    // A file holds it.
    for deliver in [Deliver::File(Format::Json), Deliver::Fd(Format::Json)] {
        assert_eq!((judged(deliver, &long), judged(deliver, "canary\0")), (Ok(()), Ok(())));
    }
}

#[test]
fn by_a_file_that_nobody_else_reads_and_that_goes() {
    let mut handing = handing(Deliver::File(Format::Dotenv), None);
    // A name that the schema does not speak of is no exception.
    let handed = handing.hand(&offer(&[("TOKEN", CANARY), ("UNDECLARED", "given")])).unwrap();
    assert_eq!(names(&handed.environment), ["PATH", HANDED_NAME]);
    let file = path(&handed);
    let folder = file.parent().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("TOKEN={CANARY}\nUNDECLARED=given\n"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o7777, 0o700);

    // A command beside it has the same, and knows whom it is beside.
    let beside = handing.beside(&offer(&[]), Some(Pid::from_raw(7))).unwrap();
    assert_eq!(names(&beside.environment), ["PATH", "UNDECLARED", HANDED_NAME, "DLCONF_PID"]);
    assert_eq!(path(&beside), file);

    handing.withdraw();
    assert!(!folder.exists());
    let again = path(&handing.hand(&offer(&[("TOKEN", CANARY)])).unwrap());
    assert!(again.exists());
    drop(handing);
    assert!(!again.parent().unwrap().exists());
}

#[test]
fn only_what_is_allowed_passes_beside_the_file() {
    let only = Some(vec!["PATH".into(), "TOKEN".into(), HANDED_NAME.into()]);
    let mut handing = handing(Deliver::File(Format::Json), only);
    let handed = handing.hand(&offer(&[("TOKEN", CANARY)])).unwrap();
    assert_eq!(names(&handed.environment), ["PATH", HANDED_NAME]);
    assert!(path(&handed).ends_with("config.json"));
    let read: BTreeMap<String, String> = serde_json::from_slice(&fs::read(path(&handed)).unwrap()).unwrap();
    assert_eq!(read, BTreeMap::from([("TOKEN".into(), CANARY.into())]));
}

#[test]
fn who_reads_the_old_file_reads_all_of_it() {
    let mut handing = handing(Deliver::File(Format::Dotenv), None);
    let file = path(&handing.hand(&offer(&[("TOKEN", "old-one")])).unwrap());
    let mut reader = File::open(&file).unwrap();
    let mut start = [0; 3];
    reader.read_exact(&mut start).unwrap();
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let before = inode(&file);

    handing.replace(&offer(&[("TOKEN", CANARY)])).unwrap();
    assert_ne!(inode(&file), before, "it was exchanged, not written over");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("TOKEN={CANARY}\n"));
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "EN=old-one\n");

    // What cannot be written leaves it as it is.
    let why = handing.replace(&offer(&[("TOKEN", "canary\nof two lines")])).unwrap_err();
    assert!(!why.contains("canary"), "{why}");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("TOKEN={CANARY}\n"));
}

#[test]
fn what_cannot_be_written_is_named_without_its_value() {
    for deliver in [Deliver::File(Format::Docker), Deliver::Fd(Format::Docker)] {
        let mut handing = handing(deliver, None);
        let offer = offer(&[("NAME", "fine"), ("TOKEN", "canary\nof two lines")]);
        let why = handing.hand(&offer).unwrap_err();
        assert_eq!(Err(why.clone()), handing.judge(&offer, &["sh".into()]));
        assert!(why.starts_with("a docker file cannot carry TOKEN ("), "{why}");
        assert!(why.contains("--deliver-format ") && why.contains("json"), "{why}");
        assert!(why.ends_with("(DLC061)") && !why.contains("canary"), "{why}");
        assert!(handing.file.is_none());
    }
}

#[test]
fn by_a_memory_file_that_cannot_be_changed() {
    let mut handing = handing(Deliver::Fd(Format::Shell), None);
    let values = offer(&[("TOKEN", CANARY)]);
    let handed = handing.hand(&values).unwrap();
    assert_eq!(names(&handed.environment), ["PATH", "UNDECLARED", HANDED_NAME]);
    assert_eq!(path(&handed), handed.memory.as_ref().unwrap().path());
    let text = fs::read_to_string(path(&handed)).unwrap();
    assert!(text.contains(CANARY), "{text}");

    // Each start has one of its own.
    let again = handing.hand(&values).unwrap();
    let inode = |handed: &Handed| path(handed).metadata().unwrap().ino();
    assert_ne!(inode(&handed), inode(&again));
}
