//! `dlconf dev`: a laptop with an empty folder, and one with an old `.env`.

use crate::program::{Folder, SMALL_SCHEMA};

#[test]
fn in_an_empty_folder_it_makes_what_is_missing_and_says_so() {
    let folder = Folder::new();
    folder.file(".gitignore", "/target");
    let ran = folder.run(&["dev", "--", "sh", "-c", "echo ${#JWT_SECRET} $APP_ENV"]).exits(0);
    assert_eq!(ran.stdout, "64 development\n");
    ran.warns(".env.local (mode 0600)").warns("JWT_SECRET").warns("added .env.local to .gitignore");
    assert_eq!(folder.mode(".env.local"), 0o600);
    assert_eq!(folder.read(".gitignore"), "/target\n.env.local\n");

    let first = folder.read(".env.local");
    folder.run(&["dev", "--", "true"]).exits(0).never_says("generated");
    assert_eq!(folder.read(".env.local"), first, "what was generated stays");
}

#[test]
fn generated_values_are_never_printed() {
    let folder = Folder::new();
    let ran = folder.run(&["-v", "dev", "--", "true"]).exits(0);
    for line in folder.read(".env.local").lines().filter(|l| !l.starts_with('#')) {
        let (_, value) = line.split_once('=').unwrap();
        assert!(value.len() > 20 && !ran.stderr.contains(value) && !ran.stdout.contains(value));
    }
}

#[test]
fn what_is_there_is_kept_and_what_is_missing_is_added() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file(".env.local", "# mine\nPORT=9090");
    folder.run(&["dev", "--", "true"]).exits(0);
    let text = folder.read(".env.local");
    assert!(text.starts_with("# mine\nPORT=9090\n# Generated"), "{text}");
    assert!(text.contains("\nTOKEN="), "{text}");

    let folder = Folder::with_env("TOKEN=0123456789abcdefghijklmnopqrstuv\n");
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder.run(&["dev", "--", "true"]).exits(0);
    assert!(!folder.join(".env.local").exists(), "nothing was missing");
}

#[test]
fn it_is_for_development_only() {
    let folder = Folder::new();
    folder.run(&["dev", "--env", "production", "--", "true"]).exits(125).warns("dev is for development");
    assert!(!folder.join(".env.local").exists());
}

#[test]
fn a_link_in_the_files_place_is_not_followed() {
    let folder = Folder::new();
    folder.file("elsewhere", "PORT=1\n").file("dlconf.schema.toml", SMALL_SCHEMA);
    std::os::unix::fs::symlink("elsewhere", folder.join(".env.local")).unwrap();
    folder.run(&["dev", "--", "true"]).exits(125).warns(".env.local");
    assert_eq!(folder.read("elsewhere"), "PORT=1\n");
}

#[test]
fn two_that_start_at_once_get_the_same_keys() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = folder.command(&["dev", "-q", "--", "sh", "-c", "echo $TOKEN"]);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let keys: std::collections::BTreeSet<Vec<u8>> =
        children.into_iter().map(|child| child.wait_with_output().unwrap().stdout).collect();
    assert_eq!(keys.len(), 1, "every child runs with one key");
    assert_eq!(folder.read(".env.local").matches("TOKEN=").count(), 1);
}

#[test]
fn it_says_when_git_does_not_ignore_the_secrets_and_when_none_are_made() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file(".git/HEAD", "x");
    folder.run(&["dev", "--", "true"]).exits(0).warns("not ignored by git");

    let ignored = Folder::new();
    ignored.file(".git/HEAD", "x").file(".gitignore", ".env*\n").file("sub/dlconf.schema.toml", SMALL_SCHEMA);
    let mut command = ignored.command(&["dev", "--", "true"]);
    let ran = crate::program::Ran::of(&command.current_dir(ignored.join("sub")).output().unwrap()).exits(0);
    ran.never_says("not ignored");

    let named = Folder::new();
    named.file("dlconf.schema.toml", SMALL_SCHEMA).file("my.env", "PORT=1\n");
    named.run(&["dev", "--env-file", "my.env", "--", "true"]).exits(0).warns("nothing offers TOKEN");
}

#[test]
fn warnings_are_told_a_line_each() {
    let folder = Folder::with_env("OLD_TTL=5m\nSTRANGE=1\n");
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    let ran = folder.run(&["dev", "--", "true"]).exits(0);
    ran.warns(".env:1:1: the shop does not read OLD_TTL").warns(".env:2:1: STRANGE is not declared");
}
