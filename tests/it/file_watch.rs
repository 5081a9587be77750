//! Local sources that are watched: they tell that their files changed, and when
//! they were last read whole.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dlconf::model::key::SourceName;
use dlconf::model::layer::Value;
use dlconf::source::directory::DirectorySource;
use dlconf::source::dotenv::{DotenvSource, EnvFile};
use dlconf::source::env::EnvSource;
use dlconf::source::notice::{LOOK_WHEN_BLIND, Notices, SLOW_LOOK};
use dlconf::source::structured::{Notation, StructuredSource};
use dlconf::source::{Ask, Source};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::time::{Instant, timeout, timeout_at};

use crate::program::Folder;

/// Less than any slow look.
const SOON: Duration = Duration::from_secs(2);

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// A clock that stands still but for whoever waits.
fn block_on_paused<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(test)
}

fn dotenv(folder: &Folder, names: &[&str]) -> DotenvSource {
    let files = names.iter().map(|name| EnvFile {
        path: folder.join(name),
        label: (*name).into(),
        optional: true,
        beneath: None,
    });
    DotenvSource::new(SourceName::new("dotenv"), files.collect())
}

fn structured(folder: &Folder) -> StructuredSource {
    let path = folder.join("app.toml");
    StructuredSource::new(SourceName::new("file"), path, "app.toml", Notation::Toml, false)
}

fn directory(folder: &Folder) -> DirectorySource {
    DirectorySource::new(SourceName::new("directory"), folder.join("mount"), "mount", false)
}

/// What A is; none where it is not there or the source cannot be read.
async fn value(source: &dyn Source) -> Option<String> {
    let layer = fetch(source).await?;
    let offer = layer.offers.iter().rfind(|offer| offer.key.as_str() == "A")?;
    match &offer.value {
        Value::Literal(value) => Some(value.expose().to_owned()),
        Value::Template(_) => panic!("a template"),
    }
}

async fn fetch(source: &dyn Source) -> Option<dlconf::model::layer::Layer> {
    let known = BTreeSet::new();
    source.fetch(Ask { known: &known, names_only: false, retry: false }).await.ok()
}

/// Follows changes until A is this.
async fn comes(source: &dyn Source, wanted: Option<&str>) {
    let end = Instant::now() + SOON;
    loop {
        let told = timeout_at(end, source.changed()).await;
        let found = value(source).await;
        assert!(told.is_ok(), "{} never told: there is {found:?} for {wanted:?}", source.name());
        if found.as_deref() == wanted {
            return;
        }
    }
}

/// As kubelet does.
fn publish(mount: &Path, revision: &str, text: &str) {
    fs::create_dir_all(mount.join(revision)).unwrap();
    fs::File::create(mount.join(revision).join("A")).unwrap();
    write(&mount.join(revision).join("A"), text);
    symlink(revision, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    let _there_already = symlink("..data/A", mount.join("A"));
}

fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn an_env_file_of_several() {
    let folder = Folder::with_env("A=one\n");
    block_on(async {
        let source = dotenv(&folder, &[".env", "late/.env.local"]).watched(&Notices::new());
        assert_eq!(value(&source).await.as_deref(), Some("one"));
        folder.file(".env", "A=two\n");
        comes(&source, Some("two")).await;
        folder.file("late/.env.local", "A=three\n");
        comes(&source, Some("three")).await;
        fs::remove_dir_all(folder.join("late")).unwrap();
        comes(&source, Some("two")).await;
        fs::remove_file(folder.join(".env")).unwrap();
        comes(&source, None).await;
    });
}

#[test]
fn a_structured_file() {
    let folder = Folder::new();
    folder.file("app.toml", "a = 'one'");
    block_on(async {
        let source = structured(&folder).watched(&Notices::new());
        assert_eq!(value(&source).await.as_deref(), Some("one"));
        folder.file("next", "a = 'two'");
        fs::rename(folder.join("next"), folder.join("app.toml")).unwrap();
        comes(&source, Some("two")).await;
        folder.file("app.toml", "a = ");
        comes(&source, None).await;
        folder.file("app.toml", "a = 'three'");
        comes(&source, Some("three")).await;
    });
}

#[test]
fn a_directory() {
    let folder = Folder::new();
    block_on(async {
        let source = directory(&folder).watched(&Notices::new());
        assert_eq!(value(&source).await, None);
        publish(&folder.join("mount"), "..1", "one");
        comes(&source, Some("one")).await;
        publish(&folder.join("mount"), "..2", "two");
        comes(&source, Some("two")).await;
        fs::remove_dir_all(folder.join("mount")).unwrap();
        comes(&source, None).await;
        folder.file("mount/A", "three");
        comes(&source, Some("three")).await;
    });
}

#[test]
fn a_change_between_the_first_fetch_and_the_first_wait() {
    let folder = Folder::with_env("A=one\n");
    block_on(async {
        let source = dotenv(&folder, &[".env"]).watched(&Notices::new());
        assert_eq!(value(&source).await.as_deref(), Some("one"));
        folder.file(".env", "A=two\n");
        comes(&source, Some("two")).await;
    });
}

#[test]
fn reading_does_not_wake_and_who_is_not_watched_waits_for_ever() {
    let folder = Folder::with_env("A=one\n");
    folder.file("app.toml", "a = 'one'").file("mount/A", "one");
    let hub = Notices::new();
    let watched: [Box<dyn Source>; 3] = [
        Box::new(dotenv(&folder, &[".env"]).watched(&hub)),
        Box::new(structured(&folder).watched(&hub)),
        Box::new(directory(&folder).watched(&hub)),
    ];
    let unwatched: [Box<dyn Source>; 3] =
        [Box::new(dotenv(&folder, &[".env"])), Box::new(structured(&folder)), Box::new(directory(&folder))];
    // A file of the same folder tells when all events up to its own were told.
    let sentinel = hub.watch(vec![folder.join("sentinel")]);
    block_on(async {
        for source in &watched {
            for _ in 0..3 {
                assert_eq!(value(source.as_ref()).await.as_deref(), Some("one"));
            }
        }
        folder.file("sentinel", "");
        timeout(SOON, sentinel.changed()).await.expect("the one that matters is not told");
        for source in &watched {
            let woken = timeout(Duration::ZERO, source.changed()).await;
            assert!(woken.is_err(), "{} woke of its own reading", source.name());
        }
    });
    block_on_paused(async {
        for source in &unwatched {
            assert!(timeout(10 * SLOW_LOOK, source.changed()).await.is_err(), "{}", source.name());
        }
    });
}

#[test]
fn a_source_was_confirmed_when_it_was_last_read_whole() {
    let folder = Folder::with_env("A=one\n");
    folder.file("app.toml", "a = 'one'").file("mount/A", "one");
    block_on_paused(async {
        let sources: [Box<dyn Source>; 3] = [
            Box::new(dotenv(&folder, &[".env", "broken"])),
            Box::new(structured(&folder)),
            Box::new(directory(&folder)),
        ];
        for source in &sources {
            assert_eq!(source.vitals().await.confirmed, None, "{}", source.name());
            assert!(fetch(source.as_ref()).await.is_some());
            assert_eq!(source.vitals().await.confirmed, Some(Instant::now()), "{}", source.name());
        }
        let read = Instant::now();
        tokio::time::advance(Duration::from_mins(1)).await;
        folder.file("broken", "A='\n").file("app.toml", "a = ");
        fs::remove_dir_all(folder.join("mount")).unwrap();
        for source in &sources {
            assert!(fetch(source.as_ref()).await.is_none(), "{}", source.name());
            assert_eq!(source.vitals().await.confirmed, Some(read), "{}", source.name());
        }
        let environment = EnvSource::new(SourceName::new("env"), Arc::new([]));
        assert_eq!(environment.vitals().await.confirmed, Some(Instant::now()));
    });
}

/// Set for a run of this test in a process of its own, which it deprives of
/// descriptors.
const ALONE: &str = "DLCONF_TEST_ALONE";

#[test]
fn without_inotify_files_are_looked_at_again_and_again() {
    if std::env::var_os(ALONE).is_some() {
        return is_blind_for_a_while();
    }
    let name = "file_watch::without_inotify_files_are_looked_at_again_and_again";
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let ran = alone.args(["--exact", name, "--test-threads=1"]).env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

fn is_blind_for_a_while() {
    let folder = Folder::with_env("A=one\n");
    for name in ["two", "three"] {
        folder.file(name, &format!("A={name}\n"));
    }
    let put = |name: &str| fs::rename(folder.join(name), folder.join(".env")).unwrap();
    block_on(async {
        let hub = Notices::new();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        let watch = hub.watch(vec![folder.join(".env")]);
        let words = watch.degraded().expect("inotify without a descriptor");
        assert!(words.contains("fs.inotify.max_user_instances"), "{words}");
        assert_eq!(hub.any_degraded(), Some(words));
        put("two");
        let start = Instant::now();
        watch.changed().await;
        assert!((LOOK_WHEN_BLIND / 2..LOOK_WHEN_BLIND * 3).contains(&start.elapsed()), "{start:?}");
        assert!(watch.degraded().is_some());
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        watch.changed().await;
        assert_eq!((watch.degraded(), hub.any_degraded()), (None, None), "it recovers");
        put("three");
        timeout(SOON, watch.changed()).await.expect("not told");
    });
}
