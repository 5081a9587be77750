//! No plaintext touches a disk: every write of every command that handles sealed
//! files, and of a daemon with a snapshot, is watched (strace), that of the programs
//! they start too.

mod daemon;
mod watch;

use self::watch::{Sight, watched};
use crate::program::{Folder, Ran};

/// A secret value, another one that takes its place, one of a Vault, a comment, and a
/// plain value.
const SECRET: &str = "canary-kestrel-jwt";
const CHANGED: &str = "canary-osprey-later";
const TOKEN: &str = "canary-plover-token";
const COMMENT: &str = "canary-dunlin-remark";
const PLAIN: &str = "canary-avocet-plain";

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
environments = { variable = "APP_ENV", names = ["development", "production"] }
[var.APP_ENV]
type = "string"
required = false
[var.JWT_SECRET]
type = "string"
secret = true
[var.TOKEN]
type = "string"
secret = true
required = false
[var.NAME]
type = "string"
required = false
secret = false
[var.PORT]
type = "port"
required = false
"#;

const SETTINGS: &str = r#"environment = "production"
order = ["config"]
[source.config]
type = "sealed"
path = ".env.sealed"
key_file = "key"
"#;

/// An env file with every canary that is not to come later.
fn plain() -> String {
    format!("JWT_SECRET={SECRET}\n# {COMMENT} was another\nNAME={PLAIN}\nPORT=8080\n")
}

/// A folder with a sealed file, its key, a schema and settings, and no plaintext.
fn sealed(settings: &str) -> Folder {
    let folder = Folder::with_env(&plain());
    folder.file("dlconf.schema.toml", SCHEMA).file("dlconf.toml", settings);
    folder.run(&["seal", ".env", "--new-key-file", "key"]).exits(0);
    std::fs::remove_file(folder.join(".env")).unwrap();
    folder
}

/// Where plaintext may go: nowhere, to whoever reads stdout, or into our own folder in
/// memory; and how many writes of it there are at least.
enum May {
    Nothing,
    Print(&'static [&'static str]),
    Edit(usize),
    /// Into what a program is handed: a file in our folder in memory, or one without a name.
    Hand(&'static str),
}

impl May {
    #[track_caller]
    fn judge(&self, arguments: &[&str], runtime: &str, sights: &[Sight]) {
        for sight in sights {
            let may = match self {
                Self::Nothing => false,
                Self::Print(what) => sight.is_stdout_pipe() && what.contains(&sight.what),
                Self::Edit(_) => sight.place.contains(&format!("<{runtime}/dlconf-edit.")),
                Self::Hand(place) => sight.place.contains(&place.replace("RUNTIME", runtime)),
            };
            assert!(may, "{arguments:?} writes plaintext: {sight:?}");
        }
        let least = match self {
            Self::Nothing => 0,
            Self::Print(what) => what.len(),
            Self::Edit(least) => *least,
            // Both are in one text.
            Self::Hand(_) => 2,
        };
        assert!(sights.len() >= least, "the watch sees what is written: {arguments:?}: {sights:?}");
    }
}

/// A command to be watched: arguments, environment, exit code.
type Try<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], i32, May);

/// Runs these one after another in a folder.
#[track_caller]
fn all_watched(folder: &Folder, tries: &[Try<'_>]) {
    let memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let runtime = memory.path().display().to_string();
    for (arguments, environment, code, may) in tries {
        let environment = [environment, &[("XDG_RUNTIME_DIR", runtime.as_str())][..]].concat();
        let program = env!("CARGO_BIN_EXE_dlconf");
        let (output, sights) = watched(folder, program, arguments, &environment);
        Ran::of(&output).exits(*code);
        may.judge(arguments, &runtime, &sights);
    }
    assert_eq!(std::fs::read_dir(memory.path()).unwrap().count(), 0);
}

#[test]
fn no_command_writes_plaintext_to_a_disk() {
    let folder = Folder::with_env(&plain());
    let edits = format!("sed -i s/{SECRET}/{CHANGED}/");
    let broken = "sh -c 'echo \"A=\\\"\" >> \"$1\"' sh";
    all_watched(
        &folder,
        &[
            (&["seal", ".env", "--new-key-file", "key"], &[], 0, May::Nothing),
            (&["seal", ".env", "--key-file", "key"], &[], 0, May::Nothing),
            (&["unseal", ".env.sealed", "--names"], &[], 0, May::Nothing),
            (&["unseal", ".env.sealed", "--key-file", "key"], &[], 0, May::Print(&[SECRET, COMMENT, PLAIN])),
            (&["edit", ".env.sealed", "--key-file", "key"], &[("EDITOR", &edits)], 0, May::Edit(2)),
            (&["edit", ".env.sealed", "--key-file", "key"], &[("EDITOR", broken)], 1, May::Edit(1)),
            (
                &["rekey", ".env.sealed", "--key-file", "key", "--to-new-key-file", "new"],
                &[],
                0,
                May::Nothing,
            ),
            (&["unseal", ".env.sealed", "--key-file", "key"], &[], 4, May::Nothing),
            (&["unseal", ".env.sealed", "--key-file", "new"], &[], 0, May::Print(&[CHANGED, COMMENT, PLAIN])),
            // What is left in the plain file changes one line of the sealed one.
            (&["seal", ".env", "--key-file", "new"], &[], 0, May::Nothing),
        ],
    );
}

#[test]
fn no_command_that_reads_a_sealed_source_writes_plaintext_to_a_disk() {
    let folder = sealed(SETTINGS);
    all_watched(
        &folder,
        &[
            (&["--config", "dlconf.toml", "check"], &[], 0, May::Nothing),
            (&["--config", "dlconf.toml", "check", "--format", "json"], &[], 0, May::Nothing),
            (&["--config", "dlconf.toml", "check", "--names-only"], &[], 0, May::Nothing),
            (
                &["--config", "dlconf.toml", "render", "--format", "json"],
                &[],
                0,
                May::Print(&[SECRET, PLAIN]),
            ),
            (&["--config", "dlconf.toml", "explain", "JWT_SECRET"], &[], 0, May::Nothing),
            (&["--config", "dlconf.toml", "explain", "NAME"], &[], 0, May::Print(&[PLAIN])),
            (&["--config", "dlconf.toml", "get", "--local", "JWT_SECRET"], &[], 0, May::Print(&[SECRET])),
            (&["--config", "dlconf.toml", "doctor"], &[], 0, May::Nothing),
            (&["--config", "dlconf.toml", "run", "--", "true"], &[], 0, May::Nothing),
        ],
    );
    // By another way than an environment.
    let reads = "grep -q canary \"$DLCONF_FILE\"";
    let run = |how| {
        [
            "--config",
            "dlconf.toml",
            "run",
            "--watch",
            "--deliver",
            how,
            "--healthy",
            "1",
            "--",
            "sh",
            "-c",
            reads,
        ]
    };
    all_watched(
        &folder,
        &[
            (&run("file"), &[], 0, May::Hand("<RUNTIME/dlconf-run.")),
            (&run("fd"), &[], 0, May::Hand("</memfd:dlconf")),
        ],
    );
    // What is wrong is told, and of a secret not how: one that is none, one that was
    // sealed under another name.
    folder.file(
        "dlconf.schema.toml",
        &SCHEMA.replace("[var.JWT_SECRET]\ntype = \"string\"", "[var.JWT_SECRET]\ntype = \"port\""),
    );
    all_watched(
        &folder,
        &[
            (&["--config", "dlconf.toml", "check"], &[], 1, May::Nothing),
            (&["--config", "dlconf.toml", "check", "--format", "sarif"], &[], 1, May::Nothing),
            (&["--config", "dlconf.toml", "run", "--", "true"], &[], 125, May::Nothing),
        ],
    );
}
