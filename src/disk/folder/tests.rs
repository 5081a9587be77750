#![allow(clippy::disallowed_methods, reason = "a test's own files")]
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;
use crate::strict::walk;

const RIGHTS: Rights = Rights { mode: 0o440, owner: None, group: None };

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Both ways of opening a folder strictly say the same of every path.
#[test]
fn walking_is_as_strict_as_the_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("real/deep")).unwrap();
    fs::write(at("file"), "").unwrap();
    symlink("real", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    for (name, expected) in [
        ("real/deep", Ok(())),
        ("real", Ok(())),
        ("none", Err("does not exist")),
        ("real/none/deep", Err("does not exist")),
        ("file", Err("opening the folder failed")),
        ("file/deep", Err("opening the folder failed")),
        ("link", Err("link is a symbolic link")),
        ("link/deep", Err("link is a symbolic link")),
        ("link/none", Err("link is a symbolic link")),
        ("dangling", Err("dangling is a symbolic link")),
        ("dangling/deep", Err("dangling is a symbolic link")),
    ] {
        let path = at(name);
        let say = |opened: Result<File, Errno>| match opened {
            Ok(_) => Ok(()),
            Err(Errno::ENOENT) => Err(WriteError::NoFolder { path: path.clone() }.to_string()),
            Err(reason) => Err(explained(&path, reason).to_string()),
        };
        let (kernel, walked) = (say(open_folder(&path)), say(walk(&path)));
        assert_eq!(kernel, walked, "{name}");
        match expected {
            Ok(()) => assert_eq!(kernel, Ok(())),
            Err(part) => assert!(kernel.clone().unwrap_err().contains(part), "{name}: {kernel:?}"),
        }
    }
    assert!(open_folder(Path::new("/proc/self/cwd")).is_err(), "a magic link is a link");
    assert!(walk(Path::new("/proc/self/cwd")).is_err(), "a magic link is a link");
    assert!(walk(Path::new("/")).is_ok());
}

#[test]
fn a_folder_has_its_mode_before_its_name() {
    let above = tempfile::tempdir().unwrap();
    let folder = Folder::strict(above.path(), RIGHTS).unwrap();
    // What a kill left of an earlier attempt.
    fs::create_dir(above.path().join(".run.0123456789abcdef")).unwrap();
    folder.make(OsStr::new("run"), RIGHTS.with_mode(0o750)).unwrap();
    assert_eq!(names(above.path()), ["run"]);
    assert_eq!(fs::metadata(above.path().join("run")).unwrap().permissions().mode() & 0o7777, 0o750);
    // One that is there is not touched.
    fs::write(above.path().join("run/file"), "").unwrap();
    folder.make(OsStr::new("run"), RIGHTS.with_mode(0o700)).unwrap();
    assert_eq!(names(above.path()), ["run"]);
    assert_eq!(names(&above.path().join("run")), ["file"]);
    assert_eq!(fs::metadata(above.path().join("run")).unwrap().permissions().mode() & 0o7777, 0o750);
}

#[test]
fn folders_in_what_is_removed_are_not() {
    let above = tempfile::tempdir().unwrap();
    fs::create_dir_all(above.path().join("old/theirs")).unwrap();
    let folder = Folder::follow(above.path()).unwrap();
    assert!(folder.remove_folder(OsStr::new("old")).is_err());
    assert_eq!(names(&above.path().join("old")), ["theirs"]);
}
