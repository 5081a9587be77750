//! What needs Unix is in modules of its own, so that `check`, `render`, `run` and `dev`
//! can be built for Windows one day: which ones is listed here, and ARCHITECTURE.md says
//! the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What needs Unix of that which `check`, `render`, `run` and `dev` use: files, and
/// folders with all that is in them.
const NEEDED: [&str; 13] = [
    "access/audit/",
    "access/caller.rs",
    "access/policy/accounts.rs",
    "cli/ask.rs",
    "cli/ask/",
    "delivery/directory.rs",
    "delivery/private.rs",
    "disk/",
    "process/",
    "source/file.rs",
    "source/key_file.rs",
    "source/notice/",
    "strict.rs",
];

/// The daemon, and what other commands use.
const OTHERS: [&str; 8] = [
    "cli/access.rs",
    "cli/doctor/",
    "cli/prompt.rs",
    "cli/sealed/keys.rs",
    "cli/unseal.rs",
    "daemon/",
    "protections.rs",
    "serve/",
];

/// What Windows has not, as it is named in code.
const UNIX: [&str; 6] =
    ["nix::", "std::os::fd", "std::os::unix", "tokio::net::Unix", "tokio::signal::unix", "libc::"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below a folder that need Unix, but for tests, by their path in `src`.
fn that_need_unix(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if matches!(name, "tests" | "tests.rs") {
            continue;
        }
        if path.is_dir() {
            that_need_unix(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        let mut lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        if lines.any(|line| UNIX.iter().any(|name| line.contains(name))) {
            let path = path.strip_prefix(root().join("src")).unwrap();
            found.insert(path.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn what_needs_unix_is_where_it_is_said_to_be() {
    let mut found = BTreeSet::new();
    that_need_unix(&root().join("src"), &mut found);
    let listed = || NEEDED.into_iter().chain(OTHERS);
    let is_in = |file: &str, place: &str| file == place || (place.ends_with('/') && file.starts_with(place));
    for file in &found {
        assert!(listed().any(|place| is_in(file, place)), "src/{file} needs Unix: move that, or list it");
    }
    for place in listed() {
        assert!(found.iter().any(|file| is_in(file, place)), "src/{place} does not need Unix any more");
    }
}

#[test]
fn the_map_says_the_same() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, limitations) = map.split_once("## Current limitations").unwrap();
    let (_, named) = limitations.split_once("need Unix:").unwrap();
    let (named, _) = named.split_once("\n- ").unwrap();
    let named: BTreeSet<&str> = named.split('`').skip(1).step_by(2).collect();
    assert_eq!(named, NEEDED.into());
}
