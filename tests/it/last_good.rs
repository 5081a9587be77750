//! The last-known-good snapshot's files: every way in which they can be wrong is
//! refused in words of its own, and no way is a panic.

#![allow(clippy::disallowed_methods, reason = "a test spoils files in place")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use dlconf::last_good::{About, NotWritten, Recalled, SnapshotConfig, Store, Unusable, Written, examine_key};
use dlconf::model::kept::Kept;
use dlconf::model::key::{Key, SourceName};
use dlconf::model::layer::{Layer, Offer};
use dlconf::model::origin::{Location, Origin};
use dlconf::model::secret::SecretValue;
use dlconf::source::file::ShownPath;
use dlconf::source::key_file::KeyPlace;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use crate::program::Folder;

const KEY: &str = "a key of the snapshot, long enough, for tests";
const HOUR: Duration = Duration::from_hours(1);
const YEARS: Duration = Duration::from_hours(10 * 365 * 24);
/// Makes the files wrong.
type Spoil = fn(&Files);
/// Makes the daemon another one.
type Turn = fn(&mut About);
/// The folder that a child works in.
const CHILD: &str = "DLCONF_TEST_LAST_GOOD_CHILD";

fn config(folder: &Path) -> SnapshotConfig {
    SnapshotConfig {
        path: folder.join("s"),
        label: "s".into(),
        mark: folder.join("s.mark"),
        mark_label: "s.mark".into(),
        key: KeyPlace::File(ShownPath { path: folder.join("key"), label: "key".into(), beneath: None }),
        max_age: HOUR,
        start_grace: Duration::ZERO,
    }
}

fn about() -> About {
    About {
        schema: "shop".into(),
        schema_hash: [7; 32],
        environment: "production".into(),
        service: String::new(),
        instance: "7f3a".into(),
    }
}

fn kept(value: &str, confirmed: SystemTime) -> Vec<Kept> {
    let source = SourceName::new("vault");
    let location = Location::Named("vault:x".into());
    let origin = Origin { mark: None, source: source.clone(), location, revision: None, modified: None };
    let key = Key::new("TOKEN").unwrap();
    let offer = Offer { key, value: SecretValue::from(value).into(), origin, excerpt: None };
    let layer =
        Layer { source: source.clone(), places: Vec::new(), offers: vec![offer], remarks: Vec::new() };
    vec![Kept {
        source,
        identity: "vault".into(),
        confirmed,
        max_age: None,
        lent: Vec::new(),
        layer,
        is_cut: false,
    }]
}

fn put(store: &mut Store, kept: Vec<Kept>, now: SystemTime) -> Result<Written, NotWritten> {
    store.write(|| Some(kept), &about(), now).map(Option::unwrap)
}

/// A folder with a key and as many snapshots as were written to it, one over the other.
struct Files {
    folder: Folder,
    now: SystemTime,
}

impl Files {
    fn new() -> Self {
        let folder = Folder::new();
        folder.file("key", KEY);
        Self { folder, now: SystemTime::now() }
    }

    fn written(times: u64) -> Self {
        let files = Self::new();
        for generation in 1..=times {
            files.write(generation);
        }
        files
    }

    /// Writes one as a daemon does that has just started.
    #[track_caller]
    fn write(&self, generation: u64) {
        let mut store = self.store();
        let _read = store.recall(&about(), self.now);
        let written = put(&mut store, kept("canary-value", self.now), self.now).unwrap();
        assert_eq!((written.generation, written.unguarded), (generation, None));
    }

    fn store(&self) -> Store {
        Store::new(config(self.folder.path()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn recall_at(&self, now: SystemTime) -> Result<Option<Recalled>, Unusable> {
        self.store().recall(&about(), now)
    }

    fn recall(&self) -> Result<Option<Recalled>, Unusable> {
        self.recall_at(self.now)
    }

    #[track_caller]
    fn refusal(&self) -> String {
        self.recall().map(|found| found.map(|_| "used")).unwrap_err().to_string()
    }
}

#[test]
fn what_was_written_is_read() {
    let files = Files::written(3);
    let recalled = files.recall().unwrap().unwrap();
    assert_eq!((recalled.generation, recalled.unguarded, recalled.dropped), (3, None, Vec::new()));
    assert_eq!(recalled.kept[0].layer.offers[0].key.as_str(), "TOKEN");
    assert_eq!((files.folder.mode("s") & 0o7777, files.folder.mode("s.mark") & 0o7777), (0o600, 0o600));
    for name in ["s", "s.mark"] {
        assert!(!files.bytes(name).windows(6).any(|piece| piece == b"canary"), "{name}");
    }
    // Another text of the same schema is no other schema.
    let about = About { schema_hash: [9; 32], ..about() };
    assert!(files.store().recall(&about, files.now).unwrap().is_some());
}

#[test]
fn no_snapshot_is_no_trouble_unless_there_was_one() {
    let files = Files::new();
    assert!(files.recall().unwrap().is_none());
    fs::remove_file(files.path("key")).unwrap();
    assert!(files.recall().unwrap().is_none());
    let files = Files::written(2);
    fs::remove_file(files.path("s")).unwrap();
    assert_eq!(files.recall().unwrap_err(), Unusable::Gone { mark: 2 });
    // The numbers go on.
    files.write(3);
}

/// Each way in which one can be wrong: its words, and that what to do is said.
#[test]
fn each_refusal_has_its_own_words() {
    let ways: [(&str, Spoil); 12] = [
        ("it opens with key", |files| fs::write(files.path("key"), KEY.to_uppercase()).unwrap()),
        ("the snapshot's key cannot be read: there is no file key", |files| {
            fs::remove_file(files.path("key")).unwrap();
        }),
        ("it is damaged: it ends too early", |files| {
            let bytes = files.bytes("s");
            fs::write(files.path("s"), &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("it was altered after it was sealed", |files| {
            let mut bytes = files.bytes("s");
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(files.path("s"), bytes).unwrap();
        }),
        ("it is not sealed by dlconf", |files| fs::write(files.path("s"), "TOKEN=x\n").unwrap()),
        ("it is of version 2 of the format", |files| {
            let mut bytes = files.bytes("s");
            bytes[8] = 2;
            fs::write(files.path("s"), bytes).unwrap();
        }),
        ("it is a high-water mark, and a snapshot was expected", |files| {
            fs::copy(files.path("s.mark"), files.path("s")).unwrap();
        }),
        ("it was rolled back: it is number 2, and number 3 was written after it", |files| {
            let old = files.bytes("s");
            files.write(3);
            fs::write(files.path("s"), old).unwrap();
        }),
        ("its file cannot be read: s is a symbolic link", |files| {
            fs::rename(files.path("s"), files.path("t")).unwrap();
            std::os::unix::fs::symlink("t", files.path("s")).unwrap();
        }),
        ("its file cannot be read: s is a directory", |files| {
            fs::remove_file(files.path("s")).unwrap();
            fs::create_dir(files.path("s")).unwrap();
        }),
        ("it is gone: number 2 was written", |files| fs::remove_file(files.path("s")).unwrap()),
        ("its file cannot be read: s has 68157440 bytes", |files| {
            fs::File::options().write(true).open(files.path("s")).unwrap().set_len(65 << 20).unwrap();
        }),
    ];
    let mut all = BTreeSet::new();
    for (words, spoil) in ways {
        let files = Files::written(2);
        spoil(&files);
        let why = files.recall().map(|found| found.map(|_| "used")).unwrap_err();
        assert!(why.to_string().starts_with(words), "{why}, and not {words}");
        assert!(!why.help("s").is_empty());
        all.insert(why.to_string());
    }
    let files = Files::written(2);
    let others: [(&str, Turn); 3] = [
        ("it is of schema shop, and the schema is other", |about| about.schema = "other".into()),
        ("it is of environment production, and the environment is staging", |about| {
            about.environment = "staging".into();
        }),
        ("it is of all services, and the daemon is of service web", |about| about.service = "web".into()),
    ];
    for (words, turn) in others {
        let mut about = about();
        turn(&mut about);
        let why = files.store().recall(&about, files.now).unwrap_err();
        assert_eq!(why.to_string(), words);
        assert!(why.help("s").contains("`path` of its own"));
        all.insert(why.to_string());
    }
    for (now, words) in [
        (files.now + HOUR + Duration::from_secs(2), "it is too old: it was written at "),
        (files.now + YEARS, "it is too old: it was written at "),
        (files.now - YEARS, "it is from the future: it was written at "),
    ] {
        let why = files.recall_at(now).unwrap_err();
        assert!(why.to_string().starts_with(words), "{why}");
        all.insert(why.to_string());
    }
    assert_eq!(all.len(), 18, "{all:#?}");
}

#[test]
fn a_larger_limit_makes_nothing_younger() {
    let files = Files::written(1);
    let config = SnapshotConfig { max_age: YEARS, ..config(files.folder.path()) };
    let later = files.now + HOUR + Duration::from_secs(2);
    let why = Store::new(config.clone()).recall(&about(), later).unwrap_err();
    assert!(matches!(why, Unusable::TooOld { max_age: HOUR, .. }), "{why}");
    // Nor does a daemon that only stands in with it and writes it once more, be it by
    // other settings than those that it was read by.
    let recalled = files.recall_at(files.now + HOUR / 2).unwrap().unwrap();
    let mut store = Store::new(config);
    put(&mut store, recalled.kept, files.now + HOUR / 2).unwrap();
    let why = store.recall(&about(), later).unwrap_err();
    assert!(matches!(why, Unusable::TooOld { max_age: HOUR, .. }), "{why}");
    // What its source confirms is another matter.
    put(&mut store, kept("x", files.now + HOUR), files.now + HOUR).unwrap();
    assert!(store.recall(&about(), later).unwrap().is_some());
}

#[test]
fn a_limit_is_no_whole_number_of_seconds() {
    let files = Files::new();
    let max_age = Duration::from_millis(1500);
    let mut store = Store::new(SnapshotConfig { max_age, ..config(files.folder.path()) });
    put(&mut store, kept("x", files.now), files.now).unwrap();
    let recalled = files.recall_at(files.now + Duration::from_millis(1400)).unwrap().unwrap();
    assert_eq!(recalled.kept[0].max_age, Some(max_age));
    let why = files.recall_at(files.now + Duration::from_millis(1501)).unwrap_err();
    assert!(matches!(why, Unusable::TooOld { max_age: limit, .. } if limit == max_age), "{why}");
}

#[test]
fn cut_anywhere_and_with_any_bit_flipped_it_is_refused() {
    let files = Files::written(1);
    let whole = files.bytes("s");
    for end in 0..whole.len() {
        fs::write(files.path("s"), &whole[..end]).unwrap();
        let why = files.refusal();
        assert!(why.contains("damaged") || why.contains("not sealed by dlconf"), "{end}: {why}");
    }
    for at in 0..whole.len() {
        // Every bit would take long; over all bytes every place of a bit is met.
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(files.path("s"), bytes).unwrap();
        assert!(!files.refusal().contains("canary"), "{at}");
    }
    fs::write(files.path("s"), [whole.as_slice(), b"x"].concat()).unwrap();
    assert_eq!(files.refusal(), "it is damaged: something comes behind its end");
    fs::write(files.path("s"), &whole).unwrap();
    assert!(files.recall().unwrap().is_some());
}

#[test]
fn a_mark_that_cannot_speak_is_said() {
    let spoils: [(&str, Spoil); 4] = [
        ("there is no high-water mark s.mark", |files| fs::remove_file(files.path("s.mark")).unwrap()),
        ("the high-water mark s.mark cannot be trusted: it is not sealed by dlconf", |files| {
            fs::write(files.path("s.mark"), "x").unwrap();
        }),
        ("the high-water mark s.mark cannot be trusted: it is a snapshot", |files| {
            fs::copy(files.path("s"), files.path("s.mark")).unwrap();
        }),
        ("the high-water mark s.mark cannot be read: s.mark is a directory", |files| {
            fs::remove_file(files.path("s.mark")).unwrap();
            fs::create_dir(files.path("s.mark")).unwrap();
        }),
    ];
    for (words, spoil) in spoils {
        let files = Files::written(2);
        spoil(&files);
        let recalled = files.recall().unwrap().unwrap();
        assert!(recalled.unguarded.as_ref().is_some_and(|why| why.starts_with(words)), "{recalled:?}");
        // The next one is above what was read, and makes a mark where nothing else is.
        let mut store = files.store();
        store.recall(&about(), files.now).unwrap();
        let written = put(&mut store, kept("x", files.now), files.now).unwrap();
        assert_eq!(written.generation, 3);
        let is_taken = !words.starts_with("there is no");
        assert_eq!(written.unguarded.is_some(), is_taken, "{written:?}");
        assert_eq!(files.recall().unwrap().unwrap().unguarded.is_some(), is_taken);
    }
}

#[test]
fn what_is_no_snapshot_is_left_as_it_is() {
    let files = Files::new();
    for other in ["PORT=1\n", "dlconf-sealed 1\n"] {
        fs::write(files.path("s"), other).unwrap();
        let error = put(&mut files.store(), kept("x", files.now), files.now).unwrap_err();
        assert_eq!(error.to_string(), "s is something else than a snapshot, and is left as it is");
        assert_eq!(files.bytes("s"), other.as_bytes());
    }
    fs::remove_file(files.path("s")).unwrap();
    files.write(1);
    // Damage is not something else.
    let bytes = files.bytes("s");
    fs::write(files.path("s"), &bytes[..bytes.len() / 2]).unwrap();
    files.write(2);
}

#[test]
fn a_kill_between_snapshot_and_mark_costs_nothing() {
    let files = Files::written(1);
    let mark = files.bytes("s.mark");
    files.write(2);
    fs::write(files.path("s.mark"), mark).unwrap();
    let recalled = files.recall().unwrap().unwrap();
    assert_eq!((recalled.generation, recalled.unguarded), (2, None));
    files.write(3);
}

#[test]
fn another_key_begins_anew() {
    let files = Files::written(5);
    fs::write(files.path("key"), KEY.to_uppercase()).unwrap();
    files.write(1);
    assert_eq!(files.recall().unwrap().unwrap().generation, 1);
}

#[test]
fn where_there_is_a_snapshot_nobody_is_told_to_make_a_key() {
    let files = Files::new();
    fs::remove_file(files.path("key")).unwrap();
    let help = || examine_key(&config(files.folder.path())).unwrap_err().help;
    assert!(help().contains("openssl rand"), "there is nothing to lose: {}", help());
    for key in [None, Some("short")] {
        let files = Files::written(1);
        fs::remove_file(files.path("key")).unwrap();
        if let Some(key) = key {
            files.folder.file("key", key);
        }
        let why = files.recall().unwrap_err();
        let error = put(&mut files.store(), kept("x", files.now), files.now).unwrap_err();
        for help in [why.help("s"), error.help()] {
            assert!(help.starts_with("put the key that it was sealed with back"), "{help}");
        }
    }
}

#[test]
fn a_key_that_does_not_come_keeps_no_value() {
    let files = Files::written(1);
    fs::remove_file(files.path("key")).unwrap();
    let asked = || -> Option<Vec<Kept>> { panic!("values were asked for before they were needed") };
    files.store().write(asked, &about(), files.now).unwrap_err();
    files.folder.file("key", KEY);
    assert_eq!(files.store().write(|| None, &about(), files.now).unwrap(), None);
    assert_eq!(files.recall().unwrap().unwrap().generation, 1);
}

#[test]
fn a_credential_is_a_key() {
    let files = Files::new();
    let place = |folder: Option<PathBuf>| KeyPlace::Credential { name: "key".into(), folder };
    let with = |key| Store::new(SnapshotConfig { key, ..config(files.folder.path()) });
    let write = |key| put(&mut with(key), kept("x", files.now), files.now);
    assert_eq!(write(place(Some(files.folder.path().into()))).unwrap().generation, 1);
    assert_eq!(files.recall().unwrap().unwrap().generation, 1);
    let why = with(place(None)).recall(&about(), files.now).unwrap_err();
    assert!(why.to_string().contains("CREDENTIALS_DIRECTORY is not set"), "{why}");
    assert!(why.help("s").contains("LoadCredentialEncrypted=key"));
    let error = write(place(Some("/nowhere".into()))).unwrap_err();
    assert!(error.to_string().contains("/nowhere/key"), "{error}");
}

#[test]
#[ignore = "the process whose disk is full"]
fn meets_a_full_disk() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    // The kernel would end us instead; a disk that is full does not.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let now = SystemTime::now();
    let mut store = Store::new(config(&folder));
    let big = "x".repeat(8000);
    put(&mut store, kept("first", now), now).unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 4096, hard).unwrap();
    let error = put(&mut store, kept(&big, now), now).unwrap_err();
    assert!(error.to_string().contains("writing failed") && !error.help().is_empty(), "{error}");
    let mut again = Store::new(config(&folder));
    let recalled = again.recall(&about(), now).unwrap().unwrap();
    assert_eq!((recalled.generation, recalled.unguarded), (1, None));
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    assert_eq!(put(&mut store, kept(&big, now), now).unwrap().generation, 2);
}

#[test]
fn a_full_disk_leaves_the_old_one() {
    let files = Files::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "last_good::meets_a_full_disk", "--ignored"]);
    let ran = command.env(CHILD, files.folder.path()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stdout));
    let mut names: Vec<_> =
        fs::read_dir(files.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["key", "s", "s.mark"], "nothing is left of the attempt");
}

#[test]
fn what_is_too_large_to_be_one_is_left_as_it_is() {
    for name in ["s", "s.mark"] {
        let files = Files::new();
        files.folder.file(name, "somebody's");
        fs::File::options().write(true).open(files.path(name)).unwrap().set_len(65 << 20).unwrap();
        // One that is written beside something else than a mark is unguarded.
        let said = match put(&mut files.store(), kept("x", files.now), files.now) {
            Ok(written) => written.unguarded.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert!(said.contains(&format!("{name} is something else than a ")), "{said}");
        assert_eq!(&files.bytes(name)[..10], b"somebody's");
    }
}
