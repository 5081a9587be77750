//! No command shows a secret but those whose payload it is.

use crate::memory_scan::scan;
use crate::program::{Folder, SMALL_SCHEMA};

const CANARY: &str = "canary0q8Zr2LxV5nBt7KjWm4Yc9PdHs";

#[test]
fn only_get_render_and_the_child_see_a_secret() {
    let schema =
        format!("{SMALL_SCHEMA}\n[var.NOTE]\ntype = \"string\"\nrequired = false\ndescription = \"x\"\n");
    let folder = Folder::with_env(&format!(
        "TOKEN={CANARY}\nNOTE=\"see ${{TOKEN}}\"\nTOKN={CANARY}\nDEAD={CANARY}\nPORT=x\n"
    ));
    folder.file("dlconf.schema.toml", &schema);
    for arguments in [
        &["check"][..],
        &["-vv", "check"],
        &["check", "--portability"],
        &["check", "--names-only"],
        &["check", "--format", "json"],
        &["check", "--format", "sarif"],
        &["check", "--format", "github"],
        &["check", "--format", "junit"],
        &["check", "--env", "production"],
        &["explain", "TOKEN"],
        &["explain", "NOTE"],
        &["explain", "TOKN"],
        &["explain", "DEAD"],
        &["explain", "DLC020"],
        &["render"],
        &["run", "--", "true"],
        &["dev", "--", "true"],
        &["get", "--local", "PORT"],
        &["schema", "lint"],
        &["schema", "docs"],
        &["schema", "env-example"],
        &["schema", "json-schema"],
        &["init", "--from", ".env", "--force"],
    ] {
        folder.run(arguments).never_says("canary");
    }
    for name in ["dlconf.schema.toml", "dlconf.toml"] {
        assert!(!folder.read(name).contains("canary"), "init copied a secret into {name}");
    }
}

#[test]
fn get_and_render_print_it() {
    let folder = Folder::with_env(&format!("TOKEN={CANARY}\n"));
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    let ran = folder.run(&["get", "--local", "TOKEN"]).exits(0);
    assert_eq!(ran.stdout, format!("{CANARY}\n"));
    ran.warns("resolved here, for development: TOKEN from .env:1:7");
    folder.run(&["render"]).exits(0).says(CANARY);
}

#[test]
fn get_needs_local_until_there_is_a_daemon() {
    let folder = Folder::with_env("PORT=1\n");
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder.run(&["get", "PORT"]).exits(2).warns("dlconf get --local PORT");
    folder.run(&["get", "--local", "PROT"]).exits(2).warns("did you mean PORT?");
    folder.run(&["get", "--local", "TOKEN"]).exits(1).warns("TOKEN is not set");
    folder.run(&["get", "--local", "APP_ENV"]).exits(0).says("development");
}

/// A dlconf that waits, inside `write`, for a reader of its output.
struct Waiting {
    child: std::process::Child,
    stdout: std::process::ChildStdout,
}

impl Waiting {
    /// `wrapped` are words before the program: `setpriv …`.
    fn new(folder: &Folder, wrapped: &str) -> Self {
        use std::io::Read as _;
        let program = env!("CARGO_BIN_EXE_dlconf");
        let script = format!("ulimit -Sc unlimited; exec {wrapped} {program} render --format json");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).current_dir(folder.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        // The first byte has come and the pipe takes 64 KiB: it cannot be done.
        stdout.read_exact(&mut [0]).unwrap();
        Self { child, stdout }
    }

    fn finish(mut self) {
        let text = std::io::read_to_string(&mut self.stdout).unwrap();
        assert!(self.child.wait().unwrap().success() && text.contains(CANARY));
    }
}

/// A small file with the secret, a large one to fill the pipe.
fn folder_that_waits() -> Folder {
    // Comments with it stand in the file's text only: in a buffer that is freed.
    let comments = format!("# {CANARY}\n").repeat(500);
    let folder = Folder::with_env(&format!("{comments}TOKEN=\"{CANARY}\"\nSEEN=${{TOKEN:-x}}\n"));
    folder.file(".env.development", &format!("PAD={}\n", "x".repeat(200_000)));
    let pad = "[var.PAD]\ntype = \"string\"\ndescription = \"x\"\n";
    let seen = "[var.SEEN]\ntype = \"password\"\ndescription = \"x\"\n";
    folder.file("dlconf.schema.toml", &format!("{SMALL_SCHEMA}\n{pad}{seen}"));
    folder
}

#[test]
fn other_processes_of_the_user_cannot_look_into_it() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = folder_that_waits();
    // As a user who is not root, whose processes' files are his own otherwise.
    let root = nix::unistd::geteuid().is_root();
    let wrapped = if root { "setpriv --reuid=65534 --regid=65534 --clear-groups" } else { "" };
    if root {
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for name in [".env", ".env.development", "dlconf.schema.toml"] {
            std::os::unix::fs::chown(folder.join(name), Some(65534), Some(65534)).unwrap();
        }
    }
    let waiting = Waiting::new(&folder, wrapped);
    let pid = waiting.child.id();
    let owner = std::fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid();
    assert_eq!(owner, 0, "a non-dumpable process's files belong to root");
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "soft core limit: {core}");
    waiting.finish();
}

#[test]
fn memory_holds_no_residue_of_a_secret() {
    let waiting = Waiting::new(&folder_that_waits(), "");
    match scan(waiting.child.id(), CANARY.as_bytes()) {
        // The file's text, its lines and the expansion are gone: two variables
        // and the output with both are left.
        Ok(found) => assert_eq!((found.copies["as it is"], found.total()), (4, 4), "{found:?}"),
        Err(error) => println!("not scanned, this user may not: {error}"),
    }
    waiting.finish();
}

#[test]
fn plain_values_that_took_a_secret_in_are_not_shown() {
    let schema = format!("{SMALL_SCHEMA}\n[var.M]\ntype = \"int\"\nrequired = false\ndescription = \"x\"\n");
    for (text, own) in [
        ("M='abc\nMY_PASS=canary-a\nX='\n", ""),
        ("M=abc\\nMY_PASS=canary-a\n", ""),
        ("TOKEN=\nMIIEvQcanary9DANBgkqhkiG9w0BAQEFAASC\n", ""),
        ("TOKEN=canary-old\nM=canary-old\n", "another-value-of-the-host-0123456789"),
        ("M=${TOKEN:-canary-a}\n", ""),
        ("TOKEN=x\nM=${TOKEN:+canary-a}\n", ""),
        ("M=Bearer canary-abcdefgh\n", ""),
        ("TOKEN=ab${canary9:?}\n", ""),
    ] {
        let folder = Folder::with_env(text);
        folder.file("dlconf.schema.toml", &schema);
        let environment = [("TOKEN", own)];
        for arguments in [
            &["check"][..],
            &["check", "--portability"],
            &["check", "--format", "json", "--portability"],
            &["explain", "M"],
        ] {
            folder.run_with(arguments, &environment).never_says("canary");
        }
    }
}
