#![allow(clippy::disallowed_methods, reason = "a test's own files")]

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use tokio::time::{timeout, timeout_at};

use super::*;

/// How long the kernel may take.
const SOON: Duration = Duration::from_secs(2);

/// A folder of files, what is watched in it, and something else that tells when
/// all events up to now were told.
struct Case {
    folder: tempfile::TempDir,
    watch: FileWatch,
    others: tempfile::TempDir,
    other: FileWatch,
}

impl Case {
    fn new(prepare: impl Fn(&Path), watch: impl Fn(&Arc<Notices>, &Path) -> FileWatch) -> Self {
        let (folder, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        prepare(folder.path());
        let hub = Notices::new();
        let watch = watch(&hub, folder.path());
        let other = hub.watch(vec![others.path().join("other")]);
        assert_eq!(watch.degraded(), None);
        Self { folder, watch, others, other }
    }

    /// Watches one file.
    fn file(name: &str, prepare: impl Fn(&Path)) -> Self {
        Self::new(prepare, |hub, folder| hub.watch(vec![folder.join(name)]))
    }

    /// Watches the directory `dir`.
    fn directory(prepare: impl Fn(&Path)) -> Self {
        Self::new(prepare, |hub, folder| hub.watch_directory(&folder.join("dir")))
    }

    /// Waits until every event up to now was told; the kernel keeps their order.
    async fn catch_up(&self) {
        fs::write(self.others.path().join("other"), "").unwrap();
        timeout(SOON, self.other.changed()).await.expect("no event comes at all");
    }

    fn noticed(&self) -> u64 {
        *self.watch.noticed.borrow()
    }

    /// Waits for a change until a file holds this; none where it is not there.
    async fn comes(&self, name: &str, wanted: Option<&str>) {
        let end = Instant::now() + SOON;
        let path = self.folder.path().join(name);
        loop {
            let told = timeout_at(end, self.watch.changed()).await;
            let found = fs::read_to_string(&path).ok();
            assert!(told.is_ok(), "nothing was told, and there is {found:?} for {wanted:?}");
            if found.as_deref() == wanted {
                break;
            }
        }
        // Whatever is still to come of it.
        for _ in 0..20 {
            self.catch_up().await;
            if timeout(Duration::ZERO, self.watch.changed()).await.is_err() {
                return;
            }
        }
        panic!("it never comes to rest");
    }

    /// A change is noticed, and so is every sort of write after it.
    async fn notices(&self, name: &str, wanted: Option<&str>, change: impl Fn(&Path)) {
        change(self.folder.path());
        self.comes(name, wanted).await;
        if wanted.is_none() {
            return;
        }
        fs::write(self.folder.path().join(name), "again").unwrap();
        self.comes(name, Some("again")).await;
    }

    /// None of these changes is noticed, though one after them is.
    async fn ignores(&self, name: &str, changes: impl Fn(&Path)) {
        self.catch_up().await;
        let before = self.noticed();
        changes(self.folder.path());
        save(&self.folder.path().join(name), "related");
        timeout(SOON, self.watch.changed()).await.expect("the one that matters is not told");
        self.catch_up().await;
        assert_eq!(self.noticed() - before, 1);
        assert!(timeout(Duration::ZERO, self.watch.changed()).await.is_err());
    }
}

/// As editors do: a file beside it, renamed over it. One event of this name.
fn save(path: &Path, text: &str) {
    let beside = path.with_file_name(".beside");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// As `ln -sfn` should do.
fn point(link: &Path, target: &str) {
    let beside = link.with_file_name(".link");
    symlink(target, &beside).unwrap();
    fs::rename(beside, link).unwrap();
}

/// As kubelet does: a new folder, `..data` swapped, the old folder taken away.
fn publish(mount: &Path, revision: &str, text: &str) {
    let old = fs::read_link(mount.join("..data")).ok();
    fs::create_dir_all(mount.join(revision)).unwrap();
    fs::write(mount.join(revision).join("KEY"), text).unwrap();
    symlink(revision, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    if !mount.join("KEY").is_symlink() {
        symlink("..data/KEY", mount.join("KEY")).unwrap();
    }
    if let Some(old) = old {
        fs::remove_dir_all(mount.join(old)).unwrap();
    }
}

fn one(folder: &Path) {
    fs::write(folder.join("env"), "one").unwrap();
}

fn inside(folder: &Path) {
    fs::create_dir_all(folder.join("dir")).unwrap();
    fs::write(folder.join("dir/env"), "one").unwrap();
}

#[tokio::test]
async fn a_write_in_place() {
    let case = Case::file("env", one);
    case.notices("env", Some("two"), |folder| fs::write(folder.join("env"), "two").unwrap()).await;
}

#[tokio::test]
async fn an_editor_that_renames_over_it() {
    let case = Case::file("env", one);
    case.notices("env", Some("two"), |folder| save(&folder.join("env"), "two")).await;
    case.notices("env", Some("three"), |folder| save(&folder.join("env"), "three")).await;
}

#[tokio::test]
async fn a_deletion_and_a_new_file() {
    let case = Case::file("env", one);
    case.notices("env", None, |folder| fs::remove_file(folder.join("env")).unwrap()).await;
    case.notices("env", Some("one"), one).await;
}

#[tokio::test]
async fn a_file_that_is_renamed_away_and_back() {
    let case = Case::file("env", one);
    case.notices("env", None, |folder| fs::rename(folder.join("env"), folder.join("away")).unwrap()).await;
    case.notices("env", Some("one"), |folder| fs::rename(folder.join("away"), folder.join("env")).unwrap())
        .await;
}

#[tokio::test]
async fn a_file_that_is_linked_into_its_place() {
    let case = Case::file("env", |folder| fs::write(folder.join("whole"), "one").unwrap());
    case.notices("env", Some("one"), |folder| {
        fs::hard_link(folder.join("whole"), folder.join("env")).unwrap();
    })
    .await;
}

#[tokio::test]
async fn permissions_that_change() {
    let case = Case::file("env", one);
    let mode = |mode| {
        move |folder: &Path| fs::set_permissions(folder.join("env"), Permissions::from_mode(mode)).unwrap()
    };
    case.notices("env", Some("one"), mode(0o640)).await;
}

#[tokio::test]
async fn folders_that_are_missing_and_appear_one_by_one() {
    let case = Case::file("a/b/c/env", |_| {});
    for part in ["a", "a/b", "a/b/c"] {
        fs::create_dir(case.folder.path().join(part)).unwrap();
        case.comes("a/b/c/env", None).await;
    }
    case.notices("a/b/c/env", Some("one"), |folder| fs::write(folder.join("a/b/c/env"), "one").unwrap())
        .await;
}

#[tokio::test]
async fn folders_that_are_missing_and_appear_at_once() {
    let case = Case::file("a/b/c/env", |_| {});
    case.notices("a/b/c/env", Some("one"), |folder| {
        fs::create_dir_all(folder.join("a/b/c")).unwrap();
        fs::write(folder.join("a/b/c/env"), "one").unwrap();
    })
    .await;
    let case = Case::file("a/b/env", |folder| {
        fs::create_dir_all(folder.join("made/b")).unwrap();
        fs::write(folder.join("made/b/env"), "one").unwrap();
    });
    case.notices("a/b/env", Some("one"), |folder| fs::rename(folder.join("made"), folder.join("a")).unwrap())
        .await;
}

#[tokio::test]
async fn a_folder_that_is_deleted_and_made_again() {
    let case = Case::file("dir/env", inside);
    // The file system may give the new folder the old one's inode.
    for _ in 0..5 {
        case.notices("dir/env", Some("one"), |folder| {
            fs::remove_dir_all(folder.join("dir")).unwrap();
            inside(folder);
        })
        .await;
    }
    case.notices("dir/env", None, |folder| fs::remove_dir_all(folder.join("dir")).unwrap()).await;
    case.notices("dir/env", Some("one"), inside).await;
}

#[tokio::test]
async fn a_folder_that_is_renamed_away_and_another_put_there() {
    let case = Case::file("dir/env", |folder| {
        inside(folder);
        fs::create_dir(folder.join("next")).unwrap();
        fs::write(folder.join("next/env"), "two").unwrap();
    });
    case.notices("dir/env", Some("two"), |folder| {
        fs::rename(folder.join("dir"), folder.join("old")).unwrap();
        fs::rename(folder.join("next"), folder.join("dir")).unwrap();
    })
    .await;
    case.ignores("dir/env", |folder| fs::write(folder.join("old/env"), "not mine").unwrap()).await;
}

#[tokio::test]
async fn a_folder_that_comes_and_goes_where_both_it_and_its_parent_are_watched() {
    // `notify` drops the watch of a folder when it hears of it from the parent.
    let case = Case::new(inside, |hub, folder| hub.watch(vec![folder.join("other"), folder.join("dir/env")]));
    for _ in 0..5 {
        case.notices("dir/env", Some("one"), |folder| {
            fs::rename(folder.join("dir"), folder.join("old")).unwrap();
            inside(folder);
            fs::remove_dir_all(folder.join("old")).unwrap();
        })
        .await;
    }
    case.notices("other", Some("one"), |folder| fs::write(folder.join("other"), "one").unwrap()).await;
}

#[tokio::test]
async fn a_link_into_another_folder() {
    let case = Case::file("env", |folder| {
        fs::create_dir(folder.join("far")).unwrap();
        fs::write(folder.join("far/first"), "one").unwrap();
        fs::write(folder.join("far/second"), "two").unwrap();
        symlink("far/first", folder.join("env")).unwrap();
    });
    case.notices("env", Some("1"), |folder| save(&folder.join("far/first"), "1")).await;
    case.notices("env", Some("two"), |folder| point(&folder.join("env"), "far/second")).await;
    case.ignores("far/second", |folder| fs::write(folder.join("far/first"), "not mine").unwrap()).await;
    case.notices("env", None, |folder| point(&folder.join("env"), "gone/file")).await;
    case.notices("env", Some("three"), |folder| {
        fs::create_dir(folder.join("gone")).unwrap();
        fs::write(folder.join("gone/file"), "three").unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_folder_on_the_way_that_is_a_link() {
    let case = Case::file("current/sub/env", |folder| {
        for (release, text) in [("r1", "one"), ("r2", "two")] {
            fs::create_dir_all(folder.join(release).join("sub")).unwrap();
            fs::write(folder.join(release).join("sub/env"), text).unwrap();
        }
        symlink("r1", folder.join("current")).unwrap();
    });
    case.notices("current/sub/env", Some("two"), |folder| point(&folder.join("current"), "r2")).await;
    case.ignores("r2/sub/env", |folder| fs::write(folder.join("r1/sub/env"), "not mine").unwrap()).await;
}

#[tokio::test]
async fn a_file_that_kubelet_mounts() {
    let case = Case::file("KEY", |folder| publish(folder, "..1", "one"));
    for (revision, text) in [("..2", "two"), ("..3", "three"), ("..4", "four")] {
        case.notices("KEY", Some(text), |folder| publish(folder, revision, text)).await;
    }
}

#[tokio::test]
async fn a_directory_that_kubelet_mounts() {
    let dir = |folder: &Path| folder.join("dir");
    let case = Case::directory(|folder| publish(&dir(folder), "..1", "one"));
    for (revision, text) in [("..2", "two"), ("..3", "three"), ("..4", "four")] {
        case.notices("dir/KEY", Some(text), |folder| publish(&dir(folder), revision, text)).await;
    }
    case.notices("dir/KEY", Some("five"), |folder| {
        fs::remove_dir_all(dir(folder)).unwrap();
        publish(&dir(folder), "..5", "five");
    })
    .await;
}

#[tokio::test]
async fn a_directory_of_files_and_links() {
    let case = Case::directory(|folder| {
        inside(folder);
        fs::create_dir(folder.join("far")).unwrap();
        fs::write(folder.join("far/file"), "one").unwrap();
        symlink("../far/file", folder.join("dir/LINK")).unwrap();
    });
    case.notices("dir/NEW", Some("one"), |folder| fs::write(folder.join("dir/NEW"), "one").unwrap()).await;
    case.notices("dir/env", None, |folder| fs::remove_file(folder.join("dir/env")).unwrap()).await;
    case.notices("dir/LINK", Some("two"), |folder| save(&folder.join("far/file"), "two")).await;
    case.notices("dir/LATE", Some("again"), |folder| point(&folder.join("dir/LATE"), "../far/file")).await;
    case.ignores("dir/NEW", |folder| {
        fs::write(folder.join("dir/.hidden"), "").unwrap();
        fs::write(folder.join("far/stranger"), "").unwrap();
    })
    .await;
    case.notices("dir/KEY", Some("kubelet"), |folder| publish(&folder.join("dir"), "..1", "kubelet")).await;
    // Now only what `..data` leads to is read.
    case.ignores("dir/..data/KEY", |folder| fs::write(folder.join("dir/NEW"), "not read").unwrap()).await;
}

#[tokio::test]
async fn a_directory_that_is_not_there_yet() {
    let case = Case::directory(|_| {});
    case.notices("dir/env", Some("one"), inside).await;
}

#[tokio::test]
async fn what_nobody_reads_wakes_nobody() {
    let case = Case::file("dir/env", inside);
    case.ignores("dir/env", |folder| {
        for name in ["stranger", "dir/.env.swp", "dir/env~", "dir/ENV"] {
            fs::write(folder.join(name), "x").unwrap();
            fs::remove_file(folder.join(name)).unwrap();
        }
        fs::create_dir(folder.join("dir/sub")).unwrap();
        fs::write(folder.join("dir/sub/env"), "x").unwrap();
        // As every fetch does.
        fs::read_to_string(folder.join("dir/env")).unwrap();
        fs::read_dir(folder.join("dir")).unwrap().for_each(drop);
    })
    .await;
}

#[tokio::test]
async fn a_write_counts_when_it_ends() {
    let case = Case::file("env", |_| {});
    let mut file = File::create(case.folder.path().join("env")).unwrap();
    case.catch_up().await;
    file.write_all(b"half").unwrap();
    case.catch_up().await;
    file.write_all(b" and half").unwrap();
    case.catch_up().await;
    assert_eq!(case.noticed(), 0);
    drop(file);
    case.comes("env", Some("half and half")).await;
    assert_eq!(case.noticed(), 1);
}

#[tokio::test]
async fn several_events_are_one_wake_up() {
    let case = Case::file("env", one);
    for n in 0..20 {
        save(&case.folder.path().join("env"), &n.to_string());
    }
    case.catch_up().await;
    assert_eq!(case.noticed(), 20);
    timeout(SOON, case.watch.changed()).await.unwrap();
    assert!(timeout(Duration::ZERO, case.watch.changed()).await.is_err(), "told twice");
}

#[tokio::test]
async fn what_happens_while_nobody_waits_is_told() {
    let case = Case::file("env", one);
    assert!(timeout(Duration::ZERO, case.watch.changed()).await.is_err());
    save(&case.folder.path().join("env"), "two");
    case.catch_up().await;
    timeout(SOON, case.watch.changed()).await.expect("it was lost");
}

#[tokio::test]
async fn lost_events_may_have_been_any() {
    let case = Case::file("dir/env", inside);
    case.watch.hub.lose_all();
    timeout(SOON, case.watch.changed()).await.expect("not told");
    timeout(SOON, case.other.changed()).await.expect("not told");
    case.notices("dir/env", Some("two"), |folder| save(&folder.join("dir/env"), "two")).await;
}

#[tokio::test]
async fn a_folder_is_watched_until_the_last_one_leaves() {
    let folder = tempfile::tempdir().unwrap();
    one(folder.path());
    let hub = Notices::new();
    let first = hub.watch(vec![folder.path().join("env")]);
    let second = hub.watch(vec![folder.path().join("env")]);
    drop(first);
    save(&folder.path().join("env"), "two");
    timeout(SOON, second.changed()).await.expect("whoever left took the watch along");
    drop(second);
    assert_eq!(hub.folders(), 0);
}

#[tokio::test(start_paused = true)]
async fn files_are_read_again_although_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let watch = Notices::new().watch(vec![folder.path().join("env")]);
    for _ in 0..3 {
        let start = Instant::now();
        // Whoever stops waiting and comes again does not put it off.
        for _ in 0..29 {
            assert!(timeout(Duration::from_secs(1), watch.changed()).await.is_err());
        }
        watch.changed().await;
        assert!((SLOW_LOOK..SLOW_LOOK + RESTLESS).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
}

#[test]
fn nothing_is_opened_for_nothing() {
    let hub = Notices::new();
    assert!(!hub.is_open());
    let _watch = hub.watch(vec!["/".into()]);
    assert!(!hub.is_open(), "there is nothing to watch of the root");
}

#[tokio::test]
async fn where_more_happens_than_can_be_followed_nobody_is_kept_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Notices::new();
    let first = hub.watch(vec![folder.path().join("first")]);
    let watcher = hub.watcher();
    let (done, is_done) = std::sync::mpsc::channel();
    let kept = lock(&watcher);
    let (asks, path) = (Arc::clone(&hub), folder.path().to_owned());
    std::thread::spawn(move || {
        fs::create_dir(path.join("sub")).unwrap();
        let second = asks.watch(vec![path.join("sub/second")]);
        let trouble = second.degraded();
        drop(first);
        done.send((second, trouble)).unwrap();
    });
    let (second, trouble) = is_done.recv_timeout(10 * SOON).expect("who asks waits for ever");
    assert!(trouble.is_some_and(|trouble| trouble.contains("more happens")));
    drop(kept);
    // What happened meanwhile was perhaps not told: it is looked at again.
    timeout(SOON, second.changed()).await.unwrap();
    assert_eq!(second.degraded(), None);
}
