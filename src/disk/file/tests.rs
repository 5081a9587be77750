#![allow(clippy::disallowed_methods, reason = "a test's own files")]
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_file_is_private_and_alone() {
    let folder = folder();
    let path = folder.path().join("out");
    replace(&path, b"content", &Permissions::private()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"content");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn the_old_file_is_replaced_not_rewritten() {
    let folder = folder();
    let path = folder.path().join("out");
    fs::write(&path, "old").unwrap();
    let reader = File::open(&path).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    replace(&path, b"new", &Permissions::private()).unwrap();
    assert_ne!(fs::metadata(&path).unwrap().ino(), before);
    assert_eq!(std::io::read_to_string(reader).unwrap(), "old", "an open reader keeps all of the old");
}

#[test]
fn mode_and_owner_are_kept_when_asked() {
    let folder = folder();
    let path = folder.path().join("out");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    replace(&path, b"new", &Permissions::keep()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    replace(&path, b"new", &Permissions::keep().with_mode(0o600)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    replace(&folder.path().join("fresh"), b"new", &Permissions::keep()).unwrap();
    assert_eq!(fs::metadata(folder.path().join("fresh")).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn what_is_no_file_is_refused_and_left_alone() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("real"), "old").unwrap();
    symlink("real", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::create_dir(at("dir")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    let before = names(folder.path());
    for (name, what) in [
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("dir", "a directory"),
        ("fifo", "a named pipe"),
    ] {
        let error = replace(&at(name), b"new", &Permissions::private()).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(!error.help().is_empty());
    }
    assert!(
        replace(Path::new("/dev/null"), b"x", &Permissions::private())
            .unwrap_err()
            .to_string()
            .contains("a device")
    );
    assert_eq!(names(folder.path()), before);
    assert_eq!(fs::read_to_string(at("real")).unwrap(), "old");
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let folder = folder();
    let missing = folder.path().join("none/out");
    let error = replace(&missing, b"x", &Permissions::private()).unwrap_err();
    assert!(error.to_string().ends_with("none does not exist"), "{error}");
    fs::write(folder.path().join("file"), "").unwrap();
    let error = replace(&folder.path().join("file/out"), b"x", &Permissions::private()).unwrap_err();
    assert!(matches!(error, WriteError::Step { reason: Errno::ENOTDIR, .. }), "{error}");
    assert!(matches!(replace(Path::new("/"), b"x", &Permissions::private()), Err(WriteError::NoName { .. })));
}

#[test]
fn a_full_disk_leaves_the_old_file_and_nothing_else() {
    // RLIMIT_FSIZE would end the test process; /dev/full is a device. A name of
    // the longest length lets the create step fail, which is the next best.
    let folder = folder();
    let long = "x".repeat(250);
    fs::write(folder.path().join(&long), "old").unwrap();
    let error = replace(&folder.path().join(&long), b"new", &Permissions::private()).unwrap_err();
    assert!(matches!(error, WriteError::Step { reason: Errno::ENAMETOOLONG, .. }), "{error}");
    assert_eq!(fs::read_to_string(folder.path().join(&long)).unwrap(), "old");
    assert_eq!(names(folder.path()), [long]);
}

#[test]
fn links_above_the_target_are_followed() {
    let folder = folder();
    fs::create_dir(folder.path().join("real")).unwrap();
    symlink("real", folder.path().join("run")).unwrap();
    replace(&folder.path().join("run/out"), b"x", &Permissions::private()).unwrap();
    assert_eq!(names(&folder.path().join("real")), ["out"]);
}

#[test]
fn what_others_wrote_since_it_was_read_is_not_lost() {
    use std::io::Write as _;

    use crate::source::file::{TEXT_LIMIT, read_text};

    let folder = folder();
    let path = folder.path().join(".env");
    fs::write(&path, "A=1\n").unwrap();
    let read = read_text(&path, TEXT_LIMIT).unwrap();
    let keep = Permissions::keep();
    let mend = |stamp| replace_expected(&path, b"A=2\n", &keep, Expected::File(stamp));

    // Another process appends a line.
    File::options().append(true).open(&path).unwrap().write_all(b"B=1\n").unwrap();
    let error = mend(read.stamp).unwrap_err();
    assert_eq!(error.to_string(), format!("{} changed meanwhile: it is left as it is now", path.display()));
    assert_eq!(error.help(), "run it again");
    assert_eq!(fs::read_to_string(&path).unwrap(), "A=1\nB=1\n");

    // The same size, another time or another file, and no file at all.
    let read = read_text(&path, TEXT_LIMIT).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_nanos(1);
    File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert!(matches!(mend(read.stamp), Err(WriteError::Changed { .. })));
    let read = read_text(&path, TEXT_LIMIT).unwrap();
    fs::rename(&path, folder.path().join("old")).unwrap();
    assert!(matches!(mend(read.stamp), Err(WriteError::Changed { .. })));
    fs::write(&path, "A=1\nB=1\n").unwrap();
    assert!(matches!(mend(read.stamp), Err(WriteError::Changed { .. })));
    let nothing = replace_expected(&path, b"x", &keep, Expected::Nothing);
    assert!(matches!(nothing, Err(WriteError::Changed { .. })));
    assert_eq!(names(folder.path()), [".env", "old"], "nothing of ours is left");

    mend(read_text(&path, TEXT_LIMIT).unwrap().stamp).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "A=2\n");
    replace_expected(&folder.path().join("new"), b"x", &keep, Expected::Nothing).unwrap();
}
