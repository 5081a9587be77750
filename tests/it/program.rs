//! Running the real binary in a folder of its own, with nothing of this
//! machine's environment.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with files, to run dlconf in.
pub(crate) struct Folder {
    dir: tempfile::TempDir,
}

/// What a run gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A folder with one `.env` of mode 0600.
    pub(crate) fn with_env(text: &str) -> Self {
        let folder = Self::new();
        folder.file(".env", text);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of mode 0600, and its folders.
    pub(crate) fn file(&self, name: &str, text: &str) -> &Self {
        self.bytes(name, text.as_bytes(), 0o600)
    }

    pub(crate) fn bytes(&self, name: &str, bytes: &[u8], mode: u32) -> &Self {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.join(name)).unwrap()
    }

    pub(crate) fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.join(name)).unwrap().permissions().mode() & 0o7777
    }

    /// The command, ready to run: an empty environment but for PATH.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dlconf"));
        command.args(arguments).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
        Ran::of(&self.command(arguments).envs(environment.iter().copied()).output().unwrap())
    }
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code, showing everything if it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "{text:?} not in stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn warns(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "{text:?} not in stderr:\n{}\nstdout:\n{}",
            self.stderr,
            self.stdout
        );
        self
    }

    #[track_caller]
    pub(crate) fn never_says(self, text: &str) -> Self {
        assert!(!self.stdout.contains(text), "{text:?} in stdout:\n{}", self.stdout);
        assert!(!self.stderr.contains(text), "{text:?} in stderr:\n{}", self.stderr);
        self
    }

    /// The findings of `--format json` as `CODE VARIABLE severity`, in order.
    pub(crate) fn findings(&self) -> Vec<String> {
        let document: serde_json::Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr));
        document["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| {
                let text = |name: &str| f[name].as_str().unwrap_or("-").to_owned();
                format!("{} {} {}", text("code"), text("variable"), text("severity"))
            })
            .collect()
    }
}

/// A schema for tests that are not about DataLens.
pub(crate) const SMALL_SCHEMA: &str = r#"
schema_version = 1
name = "small"
program = "the shop"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web", "worker"]

[defaults]
dialect = "go"
on_invalid = "default"

[var.APP_ENV]
type = "string"
required = false
description = "The environment."

[var.PORT]
type = "port"
default = "8080"
description = "Listens here."

[var.TTL]
type = "duration"
default = "300s"
replaces = ["OLD_TTL"]
description = "How long."

[var.TOKEN]
type = "hmac-key"
min_bytes = 32
required = ["production"]
generate = "base64url:32"
fallback = "a key of its own"
description = "Signs."

[var.MODE]
type = "enum"
values = ["fast", "safe"]
required = false
services = ["worker"]
description = "How it works."

[retired]
DEAD = "nothing reads it"
"#;
