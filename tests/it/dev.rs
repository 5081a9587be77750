//! `dlconf dev`: a laptop with an empty folder, and one with an old `.env`.

use nix::fcntl::{Flock, FlockArg};

use crate::program::{Folder, SMALL_SCHEMA};
use crate::running::Running;

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

/// A laptop where something runs and says what it has.
fn runs(env: &str) -> (Folder, Running) {
    let folder = Folder::with_env(env);
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    let script = "echo start $PORT ${#TOKEN}; exec sleep 60";
    let running = Running::start(folder.command(&["dev", "--min-interval", "0s", "--", "sh", "-c", script]));
    running.has(1, "start ");
    (folder, running)
}

#[test]
fn a_change_restarts_and_one_line_says_what_and_where() {
    let (folder, running) = runs("PORT=1\n");
    // As editors save: another file in its place.
    folder.file(".env.new", "PORT=2\n");
    std::fs::rename(folder.join(".env.new"), folder.join(".env")).unwrap();
    assert_eq!(running.has(2, "start "), ["1 43", "2 43"]);
    running.tells("dlconf: PORT changed in .env: restarting sh\n");
    // A file that comes, and one that goes.
    folder.file(".env.development", "PORT=3\n");
    assert_eq!(running.has(3, "start ")[2], "3 43");
    running.tells("dlconf: PORT changed in .env.development: restarting sh\n");
    std::fs::remove_file(folder.join(".env.development")).unwrap();
    assert_eq!(running.has(4, "start ")[3], "2 43");
    let err = running.err();
    assert_eq!(err.lines().filter(|line| line.contains("restarting")).count(), 3, "{err}");
}

#[test]
fn an_invalid_change_is_drawn_and_the_old_child_goes_on() {
    let (folder, running) = runs("PORT=1\n");
    folder.file(".env", "PORT=abc\n");
    running.tells("the new state is invalid, sh keeps what it has\n");
    running.tells("error[DLC013]: the shop silently ignores PORT=abc");
    running.tells(" --> .env:1:6\n");
    running.tells("1 | PORT=abc");
    folder.file(".env", "PORT=1\n");
    running.tells("the state is valid again");
    folder.file(".env", "PORT=2\n");
    assert_eq!(running.has(2, "start "), ["1 43", "2 43"]);
}

#[test]
fn a_doubtful_change_is_told_once_though_nothing_restarts() {
    let (folder, running) = runs("OLD=1\nPORT=1\n");
    running.tells("dlconf: .env:1:1: OLD is not declared");
    folder.file(".env", "OLD=1\nPORT=1\nFRESH=1\n");
    running.tells("dlconf: warning: .env:3:1: FRESH is not declared, so it is not delivered (fix: ");
    // Both on other lines, beside a change that counts.
    folder.file(".env", "# moved\nOLD=1\nFRESH=1\nPORT=2\n");
    assert_eq!(running.has(2, "start "), ["1 43", "2 43"]);
    // What was gone and is there again is news.
    folder.file(".env", "OLD=1\nPORT=3\n");
    running.has(3, "start ");
    folder.file(".env", "OLD=1\nFRESH=1\nPORT=4\n");
    running.has(4, "start ");
    running.until("FRESH twice", |running| running.err().matches("FRESH is not declared").count() == 2);
    assert_eq!(running.err().matches("OLD is not declared").count(), 1, "{}", running.err());
}

#[test]
fn secrets_that_vanish_while_it_runs_are_made_again() {
    let (folder, running) = runs("PORT=1\n");
    let first = folder.read(".env.local");
    std::fs::remove_file(folder.join(".env.local")).unwrap();
    assert_eq!(running.has(2, "start "), ["1 43", "1 43"]);
    running.tells("TOKEN changed in .env.local: restarting sh");
    assert_eq!(running.err().matches("generated a secret for development").count(), 2);
    assert_ne!(folder.read(".env.local"), first);
    assert_eq!(folder.mode(".env.local"), 0o600);
    assert_eq!(folder.read(".env.local").matches("TOKEN=").count(), 1);
}

#[test]
fn jobs_end_with_their_code() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    for code in [0, 7] {
        folder.run(&["dev", "--", "sh", "-c", &format!("exit {code}")]).exits(code);
    }
    folder.run(&["dev", "--", "no-such-program"]).exits(127);
    folder.run(&["dev", "--healthy", "0", "--", "true"]).exits(125).warns("--healthy 0 shows nothing");
}

/// What only a program that hangs, or a strange one, does for long.
#[test]
fn a_locked_folder_keeps_nobody_from_being_ended() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    let lock = || {
        let opened = std::fs::File::open(folder.path()).unwrap();
        Flock::lock(opened, FlockArg::LockExclusive).unwrap()
    };
    let dev = || Running::start(folder.command(&["dev", "--", "sh", "-c", "echo start $$; exec sleep 60"]));
    let locked = lock();
    let mut ended = dev();
    ended.tells("waiting for another program that has locked this folder");
    assert_eq!((ended.terminate().0, ended.out().as_str()), (128 + 15, ""));
    let mut running = dev();
    running.tells("waiting for another program");
    drop(locked);
    running.has(1, "start ");
    // Also not while it runs.
    let locked = lock();
    std::fs::remove_file(folder.join(".env.local")).unwrap();
    running.tells("TOKEN removed in .env.local: restarting sh");
    assert_eq!(running.terminate().0, 128 + 15);
    drop(locked);
}

#[test]
fn what_somebody_else_makes_meanwhile_is_no_trouble() {
    let folder = Folder::new();
    let required = SMALL_SCHEMA.replace("required = [\"production\"]", "required = true");
    folder.file("dlconf.schema.toml", &required);
    let arguments = ["dev", "--min-interval", "0s", "--", "sh", "-c", "echo start ${#TOKEN}; exec sleep 60"];
    let running = Running::start(folder.command(&arguments));
    assert_eq!(running.has(1, "start "), ["43"]);
    let locked = Flock::lock(std::fs::File::open(folder.path()).unwrap(), FlockArg::LockExclusive).unwrap();
    std::fs::remove_file(folder.join(".env.local")).unwrap();
    // It waits for who is at it, longer than for an editor.
    std::thread::sleep(std::time::Duration::from_millis(800));
    folder.file("new", "TOKEN=q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6Te\n");
    std::fs::rename(folder.join("new"), folder.join(".env.local")).unwrap();
    assert_eq!(running.has(2, "start ")[1], "33");
    drop(locked);
    assert!(!running.err().contains("is invalid"), "{}", running.err());
}
