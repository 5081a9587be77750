//! `dlconf seal`, `unseal`, `edit` and `rekey`: sealed files in people's hands.

mod bombs;
mod edit;
mod git;
mod terminal;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;

use dlconf::sealed::{Container, Kernel, Key, Purpose, State};
use zeroize::Zeroizing;

use crate::program::{Folder, Ran};

/// An env file with everything that must be kept: comments, order, blanks, quotes.
pub(crate) const ENV: &str = "# was canary-old until May\n\
    JWT_SECRET=canary-jwt\n\
    \n\
    export PORT = 8080 # the port\n\
    DSN=\"postgres://shop:canary-dsn@db/shop\"\n\
    MOTTO='two\n\
    canary-lines'\n";

/// What must never be seen.
const CANARIES: [&str; 4] = ["canary-old", "canary-jwt", "canary-dsn", "canary-lines"];

/// A folder with `.env` sealed into `.env.sealed` for the key in `key`.
pub(crate) fn sealed() -> Folder {
    let folder = Folder::with_env(ENV);
    value_free(folder.run(&["seal", ".env", "--new-key-file", "key"]).exits(0));
    folder
}

fn value_free(ran: Ran) -> Ran {
    CANARIES.into_iter().fold(ran, Ran::never_says)
}

/// The lines of a sealed file that carry what was sealed.
fn lines(folder: &Folder) -> Vec<String> {
    let is_sealed = |line: &&str| line.contains(": ");
    folder.read(".env.sealed").lines().filter(is_sealed).map(str::to_owned).collect()
}

#[test]
fn what_is_sealed_comes_back_byte_for_byte() {
    for text in [ENV, "", "\n\n", "A=1", "# only\n", "\u{feff}A=1\r\nB=\"x\r\ny\"\r\n\r\n", "A=1\nA=2\nA=1\n"]
    {
        let folder = Folder::with_env(text);
        folder.run(&["seal", ".env", "--new-key-file", "key"]).exits(0);
        let ran = folder.run(&["unseal", ".env.sealed", "--key-file", "key"]).exits(0);
        assert_eq!(ran.stdout, text);
    }
}

#[test]
fn sealing_tells_names_and_no_values() {
    let folder = Folder::with_env(ENV);
    let ran = value_free(folder.run(&["seal", ".env", "--new-key-file", "key"]).exits(0));
    let ran = ran.warns("sealed 4 variables into .env.sealed; it opens with key ");
    ran.warns(".env is still there").warns("key is the new key");
    let text = folder.read(".env.sealed");
    assert!(CANARIES.iter().all(|canary| !text.contains(canary)), "{text}");
    let names: Vec<_> =
        lines(&folder).iter().map(|line| line.split_once(':').unwrap().0.to_owned()).collect();
    assert_eq!(names, ["#", "JWT_SECRET", "#", "PORT", "DSN", "MOTTO"]);
    assert_eq!((folder.mode(".env.sealed"), folder.mode("key")), (0o600, 0o600));
    assert_eq!(folder.read(".env"), ENV, "the env file is nobody's to remove");
    folder.run(&["unseal", "--names", ".env.sealed"]).exits(0).warns("not verified");
    let ran = folder.run(&["unseal", "--names", ".env.sealed", "--key-file", "key"]).exits(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("JWT_SECRET\nPORT\nDSN\nMOTTO\n", ""));
}

#[test]
fn without_a_key_nothing_is_sealed() {
    let folder = Folder::with_env(ENV);
    folder.run(&["seal", ".env"]).exits(2).warns("--new-key-file ../shop.key");
    assert!(!folder.join(".env.sealed").exists());
    let sealed = sealed();
    sealed.run(&["unseal", ".env.sealed"]).exits(2).warns("opens with key ").warns("--key-file FILE");
}

#[test]
fn keys_are_one_or_two_and_nobody_elses() {
    let folder = Folder::with_env(ENV);
    for name in ["a", "b", "c"] {
        folder.file(name, &format!("{name}{}", "0123456789abcdef".repeat(3)));
    }
    let seal = |keys: &[&str]| {
        let arguments: Vec<&str> =
            ["seal", ".env"].into_iter().chain(keys.iter().flat_map(|key| ["--key-file", key])).collect();
        folder.run(&arguments)
    };
    seal(&["a", "b", "c"]).exits(2).warns("room for two");
    seal(&["a", "a"]).exits(2).warns("given twice");
    seal(&["d"]).exits(3).warns("cannot be read");
    folder.bytes("wide", b"0123456789abcdef0123456789abcdef", 0o644);
    seal(&["wide"]).exits(4).warns("everybody may use it");
    folder.file("short", "0123456789");
    seal(&["short"]).exits(4).warns("needs 32");
    assert!(!folder.join(".env.sealed").exists());
    seal(&["a", "b"]).exits(0);
    for key in ["a", "b"] {
        folder.run(&["unseal", ".env.sealed", "--key-file", key]).exits(0).says("canary-jwt");
    }
    let ran = value_free(folder.run(&["unseal", ".env.sealed", "--key-file", "c"]).exits(4));
    assert!(ran.stdout.is_empty());
    ran.warns("it opens with key ").warns(" was given");
}

#[test]
fn a_new_key_takes_nobodys_place() {
    let folder = Folder::with_env(ENV);
    folder.file("key", "precious");
    folder.run(&["seal", ".env", "--new-key-file", "key"]).exits(4).warns("--key-file key");
    assert_eq!(folder.read("key"), "precious");
    folder.run(&["seal", ".env", "--new-key-file", "other", "-o", "no/such/folder"]).exits(4);
    assert!(!folder.join("other").exists(), "nothing was sealed for it");
    folder.file(".env", "A='\n");
    folder.run(&["seal", ".env", "--new-key-file", "other"]).exits(1);
    assert!(!folder.join("other").exists());
}

#[test]
fn a_malformed_file_is_not_sealed() {
    let folder = Folder::with_env("A=1\nSECRET=\"canary-jwt\nB=2\n");
    let ran = value_free(folder.run(&["seal", ".env", "--new-key-file", "key"]).exits(1));
    ran.warns(".env:2:8");
    assert!(!folder.join(".env.sealed").exists());
}

#[test]
fn what_is_sealed_is_told_where_plain_text_is_wanted() {
    let folder = sealed();
    let once = |ran: Ran| {
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(told.matches(".env.sealed is sealed, and plain text was expected").count(), 1, "{told}");
        assert!(told.contains("`type = \"sealed\"`"), "{told}");
        ran.never_says("no assignment").never_says("DLC060");
    };
    once(folder.run(&["seal", ".env.sealed", "--key-file", "key"]).exits(1));
    once(folder.run(&["check", "--env-file", ".env.sealed"]).exits(3));
    once(folder.run(&["check", "--env-file", ".env.sealed", "--portability"]).exits(3));
    once(folder.run(&["run", "--env-file", ".env.sealed", "--", "true"]).exits(125));
    folder.file("dlconf.toml", "[source.a]\ntype = \"file\"\nnotation = \"yaml\"\npath = \".env.sealed\"\n");
    once(folder.run(&["check", "--env", "production"]).exits(3));
}

#[test]
fn what_is_no_text_is_told_with_its_place_and_what_it_is() {
    let folder = sealed();
    let state = State { schema: "s".into(), environment: "e".into(), ..State::default() };
    let key = Key::new(Zeroizing::new(folder.read("key").trim_end().into())).unwrap();
    let snapshot = Container::seal(Purpose::Snapshot, &[&key], state, &[], &mut Kernel).unwrap();
    folder.bytes("snapshot", &snapshot.encode(), 0o600);
    for command in ["unseal", "edit", "rekey"] {
        let mut arguments = vec![command, "snapshot", "--key-file", "key"];
        if command == "rekey" {
            arguments.extend(["--to-new-key-file", "new"]);
        }
        folder.run(&arguments).exits(4).warns("it is a snapshot, and a sealed file was expected");
    }
    folder.bytes("bytes", b"A=\xff", 0o600);
    folder.run(&["unseal", "bytes", "--key-file", "key"]).exits(3).warns("bytes:1:3");
    folder.run(&["seal", "bytes", "--key-file", "key"]).exits(3).warns("bytes:1:3");
}

#[test]
fn sealing_again_changes_what_changed() {
    let folder = sealed();
    let before = lines(&folder);
    let bytes = folder.read(".env.sealed");
    folder.run(&["seal", ".env", "--key-file", "key"]).exits(0).warns("left as it is");
    assert_eq!(folder.read(".env.sealed"), bytes);

    folder.file(".env", &ENV.replace("8080", "9090"));
    folder.bytes(".env.sealed", bytes.as_bytes(), 0o640);
    let ran = value_free(folder.run(&["seal", ".env", "--key-file", "key"]).exits(0));
    ran.warns(".env.sealed: changed PORT\n");
    let after = lines(&folder);
    let same: Vec<bool> = before.iter().zip(&after).map(|(old, new)| old == new).collect();
    assert_eq!(same, [true, true, true, false, true, true]);
    assert_eq!(folder.mode(".env.sealed"), 0o640);
    assert!(folder.read(".env.sealed").contains("generation=2"));
}

#[test]
fn only_its_own_key_seals_over_a_sealed_file() {
    let folder = sealed();
    let bytes = folder.read(".env.sealed");
    folder.file(".env", "OTHER=1\n").file("other", &"0123456789abcdef".repeat(3));
    folder.run(&["seal", ".env", "--key-file", "other"]).exits(4).warns("it opens with key ");
    folder.run(&["seal", ".env", "--new-key-file", "new"]).exits(2).warns("rekey");
    folder.run(&["seal", ".env", "--key-file", "key", "--key-file", "other"]).exits(2).warns("rekey");
    folder.run(&["seal", ".env"]).exits(2).warns("opens with key ");
    assert_eq!(folder.read(".env.sealed"), bytes);
    assert!(!folder.join("new").exists());
    // A key that is named beside a right one, and opens nothing, is not passed over.
    folder.file("third", &"fedcba9876543210".repeat(3));
    folder.run(&["seal", ".env", "-o", "two", "--key-file", "key", "--key-file", "other"]).exits(0);
    folder.run(&["seal", ".env", "-o", "two", "--key-file", "key", "--key-file", "third"]).exits(4);
    folder.file("notes", "mine\n");
    folder.run(&["seal", ".env", "--key-file", "key", "-o", "notes"]).exits(4).warns("not sealed by dlconf");
    assert_eq!(folder.read("notes"), "mine\n");
}

#[test]
fn a_pipe_is_sealed_onto_stdout() {
    let folder = Folder::new();
    folder.file("key", &"0123456789abcdef".repeat(3));
    let mut command = folder.command(&["seal", "-", "--key-file", "key"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ENV.as_bytes()).unwrap();
    let ran = value_free(Ran::of(&child.wait_with_output().unwrap()).exits(0));
    assert!(!ran.stderr.contains("still there"), "{}", ran.stderr);
    folder.file("out", &ran.stdout);
    assert_eq!(folder.run(&["unseal", "out", "--key-file", "key"]).exits(0).stdout, ENV);
}

#[test]
fn passphrases_and_credentials_open_files_too() {
    let folder = Folder::with_env(ENV);
    folder
        .file("short", "hunter2\n")
        .file("phrase", "correct horse battery\n")
        .file("wrong", "some other words\n");
    folder
        .run(&["seal", ".env", "--passphrase-file", "short"])
        .exits(4)
        .warns("has 7 characters, and needs 12")
        .never_says("hunter2");
    folder.file("creds/shop", &"0123456789abcdef".repeat(3));
    let creds = folder.join("creds").display().to_string();
    let with = [("CREDENTIALS_DIRECTORY", creds.as_str())];
    let seal = ["seal", ".env", "--passphrase-file", "phrase", "--credential", "shop"];
    folder.run(&seal).exits(3).warns("LoadCredentialEncrypted=shop");
    folder.run_with(&seal, &with).exits(0).warns(" or passphrase ");
    folder.run(&["unseal", ".env.sealed", "--passphrase-file", "phrase"]).exits(0).says("canary-jwt");
    folder.run_with(&["unseal", ".env.sealed", "--credential", "shop"], &with).exits(0).says("canary-jwt");
    folder.run_with(&["unseal", ".env.sealed", "--credential", "../key"], &with).exits(2);
    let ran = folder.run(&["unseal", ".env.sealed", "--passphrase-file", "wrong"]);
    value_free(ran.exits(4)).never_says("some other words");
    folder
        .run(&["unseal", ".env.sealed", "--passphrase-file", "phrase", "--key-file", "creds/shop"])
        .exits(2)
        .warns("cannot be used with");
}

#[test]
fn what_was_altered_gives_nothing_out() {
    let folder = sealed();
    let text = folder.read(".env.sealed");
    let (jwt, port) = (lines(&folder)[1].clone(), lines(&folder)[3].clone());
    let swapped = text
        .replace(&jwt, &format!("JWT_SECRET{}", port.strip_prefix("PORT").unwrap()))
        .replace(&port, &format!("PORT{}", jwt.strip_prefix("JWT_SECRET").unwrap()));
    let removed = text.replace(&format!("{port}\n"), "");
    for (altered, says) in [(swapped, "the value of JWT_SECRET"), (removed, "not all of them together")] {
        assert_ne!(altered, text);
        folder.file(".env.sealed", &altered);
        let ran = value_free(folder.run(&["unseal", ".env.sealed", "--key-file", "key"]).exits(4));
        assert_eq!(ran.stdout, "");
        ran.warns(says);
        let editor = [("EDITOR", "touch edited; true")];
        folder.run_with(&["edit", ".env.sealed", "--key-file", "key"], &editor).exits(4);
        folder.run(&["rekey", ".env.sealed", "--key-file", "key", "--to-new-key-file", "new"]).exits(4);
        assert!(!folder.join("edited").exists() && !folder.join("new").exists());
        assert_eq!(folder.read(".env.sealed"), altered);
    }
    folder.run(&["unseal", ".env", "--key-file", "key"]).exits(4).warns("not sealed by dlconf");
    folder.run(&["unseal", "nothing", "--key-file", "key"]).exits(3);
}

#[test]
fn a_file_is_told_that_plaintext_is_on_a_disk_now() {
    let folder = sealed();
    let out = fs::File::create(folder.join("out")).unwrap();
    let mut command = folder.command(&["unseal", ".env.sealed", "--key-file", "key"]);
    let ran = Ran::of(&command.stdout(out).output().unwrap()).exits(0);
    assert_eq!(folder.read("out"), ENV);
    ran.warns("stdout is a file on a disk");
}

#[test]
fn what_was_printed_in_part_keeps_its_key() {
    let folder = Folder::with_env(ENV);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = folder.command(&["seal", ".env", "-o", "-", "--new-key-file", "new"]);
    let ran = Ran::of(&command.stdout(full).output().unwrap()).exits(3);
    ran.warns("the output could not be written").warns("new is the new key").never_says("sealed 4 variables");
    assert!(folder.join("new").exists());
}

#[test]
fn rekeying_changes_every_line_and_says_what_it_cannot_undo() {
    let folder = sealed();
    let (before, whole) = (lines(&folder), folder.read(".env.sealed"));
    let id = folder.run(&["unseal", ".env.sealed"]).exits(2).stderr;
    let id = id.split("opens with key ").nth(1).unwrap()[..16].to_owned();
    folder.run(&["rekey", ".env.sealed", "--key-file", "key"]).exits(2).warns("--to-key-file");
    assert_eq!(folder.read(".env.sealed"), whole);

    let to_new = ["rekey", ".env.sealed", "--key-file", "key", "--to-new-key-file", "new"];
    let ran = value_free(folder.run(&to_new).exits(0));
    ran.warns(&format!("whoever had key {id} could read every value")).warns("JWT_SECRET, PORT, DSN, MOTTO");
    let after = lines(&folder);
    assert!(before.iter().zip(&after).all(|(old, new)| old != new));
    assert_eq!(after.len(), before.len());
    let salt = |text: &str| text.lines().nth(1).unwrap().to_owned();
    assert_ne!(salt(&whole), salt(&folder.read(".env.sealed")));
    folder.run(&["unseal", ".env.sealed", "--key-file", "key"]).exits(4);
    assert_eq!(folder.run(&["unseal", ".env.sealed", "--key-file", "new"]).exits(0).stdout, ENV);
}

#[test]
fn a_key_that_stays_is_named_and_not_warned_of() {
    let folder = sealed();
    folder.file("phrase", "correct horse battery\n");
    let both = ["--to-key-file", "key", "--to-passphrase-file", "phrase"];
    let rekey = |keys: &[&str]| folder.run(&[&["rekey", ".env.sealed"], keys].concat());
    let ran = rekey(&[&["--key-file", "key"], both.as_slice()].concat()).exits(0);
    assert!(!ran.stderr.contains("whoever"), "{}", ran.stderr);
    // The passphrase stays, though it has another salt now.
    let ran = rekey(&["--key-file", "key", "--to-passphrase-file", "phrase"]).exits(0);
    assert!(ran.stderr.contains("whoever had key "), "{}", ran.stderr);
    assert!(!ran.stderr.contains("whoever had passphrase"), "{}", ran.stderr);
    folder.run(&["unseal", ".env.sealed", "--passphrase-file", "phrase"]).exits(0).says("canary-jwt");
    folder.run(&["unseal", ".env.sealed", "--key-file", "key"]).exits(4);
    let three = ["--passphrase-file", "phrase", "--to-new-key-file", "new"];
    let ran = rekey(&[three.as_slice(), &both].concat()).exits(2);
    ran.warns("room for two");
    assert!(!folder.join("new").exists());
    let before = fs::metadata(folder.join(".env.sealed")).unwrap();
    rekey(&["--key-file", "key", "--to-new-key-file", "new"]).exits(4);
    assert_eq!(before.mtime_nsec(), fs::metadata(folder.join(".env.sealed")).unwrap().mtime_nsec());
    assert!(!folder.join("new").exists());
}

/// Runs it with the disk that fails the N-th time that it is asked to keep something.
fn unsettled(folder: &Folder, sync: u32, arguments: &[&str]) -> Ran {
    let inject = format!("inject=fsync:error=EIO:when={sync}");
    let mut command = std::process::Command::new("strace");
    command.args(["-o", "/dev/null", "-e", "trace=fsync", "-e", &inject, env!("CARGO_BIN_EXE_dlconf")]);
    Ran::of(&command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).output().unwrap())
}

#[test]
fn a_new_key_stays_wherever_something_is_sealed_for_it() {
    // The key, its folder, the sealed file, its folder.
    for (arguments, file) in [
        (["seal", ".env", "-o", "made", "--new-key-file", "new"].as_slice(), "made"),
        (&["rekey", ".env.sealed", "--key-file", "key", "--to-new-key-file", "new"], ".env.sealed"),
    ] {
        let folder = sealed();
        let before = folder.read(".env.sealed");
        for sync in 1..=3 {
            unsettled(&folder, sync, arguments).exits(4);
            assert!(!folder.join("new").exists() && !folder.join("made").exists(), "{sync}");
            assert_eq!(folder.read(".env.sealed"), before);
        }
        let ran =
            unsettled(&folder, 4, arguments).exits(4).warns("is replaced, but syncing its folder failed");
        ran.warns("new is the new key");
        assert_eq!(folder.run(&["unseal", file, "--key-file", "new"]).exits(0).stdout, ENV);
    }
}
