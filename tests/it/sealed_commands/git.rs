//! The recipe of docs/sealed.md, with a real git.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{CANARIES, sealed};
use crate::program::Folder;

fn git(folder: &Folder, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder.path()).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder.path());
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "shop").env(format!("GIT_{who}_EMAIL"), "shop@example.com");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    // Objects are bytes; what is looked for in them is text.
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(fs::read(path).unwrap()) }
    }
}

#[test]
fn a_diff_shows_values_and_git_keeps_none() {
    let folder = sealed();
    fs::remove_file(folder.join(".env")).unwrap();
    fs::rename(folder.join("key"), folder.join("shop.key")).unwrap();
    git(&folder, &["init", "-q"]);
    folder.file(".gitattributes", "*.sealed diff=dlconf\n").file(".gitignore", "*.key\n.env\n");
    let program = env!("CARGO_BIN_EXE_dlconf");
    let textconv = format!("{program} unseal --key-file {}", folder.join("shop.key").display());
    git(&folder, &["config", "diff.dlconf.textconv", &textconv]);
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "-qm", "one"]);
    // As it comes out of git.
    fs::set_permissions(folder.join(".env.sealed"), fs::Permissions::from_mode(0o644)).unwrap();
    folder
        .run_with(
            &["edit", ".env.sealed", "--key-file", "shop.key"],
            &[("EDITOR", "sed -i 's/canary-jwt/canary-new/'")],
        )
        .exits(0);

    let shown = git(&folder, &["diff"]);
    let values: Vec<&str> =
        shown.lines().filter(|line| line.contains("canary-") && !line.starts_with(' ')).collect();
    assert_eq!(values, ["-JWT_SECRET=canary-jwt", "+JWT_SECRET=canary-new"], "{shown}");
    // Without the key, a reviewer sees which name changed.
    let shown = git(&folder, &["diff", "--no-textconv", "-U0"]);
    let names: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with('+') && line.contains(": "))
        .map(|line| &line[..12])
        .collect();
    assert_eq!(names, ["+JWT_SECRET:"], "{shown}");

    git(&folder, &["commit", "-qam", "two"]);
    assert!(git(&folder, &["show"]).contains("+JWT_SECRET=canary-new"));
    let mut kept = Vec::new();
    files(&folder.join(".git"), &mut kept);
    let objects = git(&folder, &["cat-file", "--batch-all-objects", "--batch"]);
    kept.push(objects.into_bytes());
    let canaries: Vec<&str> = CANARIES.into_iter().chain(["canary-new"]).collect();
    for canary in canaries {
        assert!(kept.iter().all(|file| memchr::memmem::find(file, canary.as_bytes()).is_none()), "{canary}");
    }
    assert!(kept.iter().any(|file| memchr::memmem::find(file, b"JWT_SECRET: ").is_some()), "names are there");
}

/// Why the recipe says that `cachetextconv` stays off.
#[test]
fn a_cache_of_git_would_keep_plaintext() {
    let folder = sealed();
    git(&folder, &["init", "-q"]);
    folder.file(".gitattributes", "*.sealed diff=dlconf\n");
    let textconv =
        format!("{} unseal --key-file {}", env!("CARGO_BIN_EXE_dlconf"), folder.join("key").display());
    git(&folder, &["config", "diff.dlconf.textconv", &textconv]);
    git(&folder, &["config", "diff.dlconf.cachetextconv", "true"]);
    git(&folder, &["add", ".env.sealed", ".gitattributes"]);
    git(&folder, &["commit", "-qm", "one"]);
    git(&folder, &["show"]);
    assert!(git(&folder, &["cat-file", "--batch-all-objects", "--batch"]).contains("canary-jwt"));
}
