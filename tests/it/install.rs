//! `dlconf install`: the program copies itself, for images without `cp`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use crate::program::{Folder, Ran};

/// The bytes that run.
fn program() -> Vec<u8> {
    fs::read(env!("CARGO_BIN_EXE_dlconf")).unwrap()
}

/// Whether the file is the program; a diff of millions of bytes says nothing.
#[track_caller]
fn assert_is_the_program(folder: &Folder, name: &str) {
    assert!(fs::read(folder.join(name)).unwrap() == program(), "{name} has other bytes");
    assert_eq!(folder.mode(name), 0o755, "{name}");
}

fn names(folder: &Folder) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn the_copy_is_this_program_whatever_the_umask_and_runs() {
    let folder = Folder::new();
    let mut shell = Command::new("sh");
    shell.args(["-euc", "umask 077; exec \"$0\" install copy", env!("CARGO_BIN_EXE_dlconf")]);
    let ran = Ran::of(&shell.current_dir(folder.path()).env_clear().output().unwrap()).exits(0);
    assert_eq!(ran.stdout, "");
    ran.warns("copied dlconf");
    assert_is_the_program(&folder, "copy");
    assert_eq!(names(&folder), ["copy"], "nothing else is left");
    let version = Command::new(folder.join("copy")).arg("--version").env_clear().output().unwrap();
    assert_eq!(Ran::of(&version).exits(0).stdout, format!("dlconf {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_copy_that_is_there_is_not_written_again() {
    let folder = Folder::new();
    folder.run(&["install", "copy"]).exits(0);
    let before = fs::metadata(folder.join("copy")).unwrap();
    folder.run(&["install", "copy"]).exits(0).warns("already");
    folder.run(&["install", "--replace", "copy"]).exits(0).warns("already");
    let after = fs::metadata(folder.join("copy")).unwrap();
    assert_eq!((after.ino(), after.ctime_nsec()), (before.ino(), before.ctime_nsec()));
}

#[test]
fn a_copy_that_nobody_may_run_is_mended() {
    let folder = Folder::new();
    folder.bytes("copy", &program(), 0o600);
    folder.run(&["install", "copy"]).exits(0).warns("copied");
    assert_is_the_program(&folder, "copy");
}

#[test]
fn another_file_stays_unless_it_may_go() {
    let folder = Folder::new();
    // As long as the program, so that only its bytes tell.
    let mut other = program();
    *other.last_mut().unwrap() ^= 1;
    folder.bytes("copy", &other, 0o755).file("note", "mine\n");
    for name in ["copy", "note"] {
        folder.run(&["install", name]).exits(4).warns("is another file").warns("--replace");
    }
    assert!(fs::read(folder.join("copy")).unwrap() == other);
    assert_eq!((folder.read("note").as_str(), folder.mode("note")), ("mine\n", 0o600));

    // Who runs the old one keeps it: the name gets another file.
    fs::hard_link(folder.join("note"), folder.join("kept")).unwrap();
    folder.run(&["install", "--replace", "note"]).exits(0).warns("copied");
    assert_is_the_program(&folder, "note");
    assert_eq!(folder.read("kept"), "mine\n");
    assert_eq!(names(&folder), ["copy", "kept", "note"]);
}

#[test]
fn what_is_no_file_is_refused_and_left_alone() {
    let folder = Folder::new();
    folder.bytes("real", &program(), 0o755).file("sub/inside", "");
    symlink("real", folder.join("link")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let before = names(&folder);
    for (name, why) in [
        ("link", "symbolic link"),
        ("dangling", "symbolic link"),
        ("fifo", "a named pipe"),
        ("sub", "a directory"),
        ("absent/copy", "does not exist"),
    ] {
        folder.run(&["install", name]).exits(4).warns(why);
        folder.run(&["install", "--replace", name]).exits(4).warns(why);
    }
    assert_eq!(names(&folder), before);
    for arguments in [&["install"][..], &["install", ""]] {
        folder.run(arguments).exits(2);
    }
}
