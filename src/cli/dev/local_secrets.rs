//! The development secrets that `dlconf dev` makes into `.env.local`.
//!
//! Invariants: only what nothing offers is made, under a lock that others of us wait
//! for; the file is one that is read; no value is told.
//! Must not know: what is run.

use std::cell::Cell;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::broker::judge::Judged;
use crate::cli::assemble::Setup;
use crate::cli::output::Terminal;
use crate::cli::run::here::{Mended, Mender};
use crate::cli::{Failure, exit};
use crate::delivery::encode::{Format, Options, encode};
use crate::disk::file::{self, Expected, Permissions};
use crate::generate::generate;
use crate::model::key::Key;
use crate::model::schema::{Schema, Var};
use crate::model::secret::SecretValue;
use crate::source::file::{FileFault, TEXT_LIMIT, read_text};

/// Where generated secrets go.
const LOCAL_FILE: &str = ".env.local";

/// How often what became missing is made again: who takes it away each time does not
/// want it.
const AGAIN: u32 = 10;

/// Between two looks at a lock that somebody else has: long enough for most who have it.
const LOOK: Duration = Duration::from_millis(20);

/// How many of them pass before that is told.
const LOOKS_IN_SILENCE: u32 = 50;

/// Who makes them.
pub(super) struct Maker<'t> {
    /// Where the file is, if it is among those that are read: otherwise the next run
    /// would make them again.
    folder: Option<PathBuf>,
    schema: Arc<Schema>,
    environment: String,
    service: Option<String>,
    terminal: &'t Terminal,
    left: Cell<u32>,
}

/// Others of us wait while this lives.
pub(super) struct Held {
    _folder: File,
}

impl<'t> Maker<'t> {
    pub(super) fn new(setup: &Setup, terminal: &'t Terminal) -> Self {
        let folder = setup.env_files.iter().find_map(|file| {
            let is_local = file.path.file_name().is_some_and(|name| name == LOCAL_FILE);
            is_local.then(|| file.path.parent().map(Path::to_owned)).flatten()
        });
        Self {
            folder,
            schema: Arc::clone(&setup.schema),
            environment: setup.environment.clone(),
            service: setup.service.clone(),
            terminal,
            left: Cell::new(AGAIN),
        }
    }

    /// Holds off others who might make the same, until it is dropped. What they have
    /// made is there when this is given. It may be dropped at any time.
    pub(super) async fn hold(&self) -> Result<Option<Held>, Failure> {
        let Some(folder) = self.folder.as_deref() else { return Ok(None) };
        for look in 0.. {
            if let Some(held) = lock(folder)? {
                return Ok(Some(held));
            }
            if look == LOOKS_IN_SILENCE {
                self.terminal
                    .note("waiting for another program that has locked this folder: `dlconf dev`, as a rule");
            }
            sleep(LOOK).await;
        }
        Ok(None)
    }

    /// Makes what is missing. True if it did: then the sources are to be read again.
    /// Needs [`Self::hold`], and a state that was read after it.
    pub(super) fn make(&self, assembled: &Judged) -> Result<bool, Failure> {
        let missing = self.missing(assembled);
        let Some(folder) = &self.folder else {
            if !missing.is_empty() {
                let names: Vec<&str> = missing.iter().map(|var| var.key.as_str()).collect();
                self.terminal.note(&format!(
                    "nothing offers {}, and none is generated: {LOCAL_FILE} is not among the sources",
                    names.join(", ")
                ));
            }
            return Ok(false);
        };
        if assembled.unread || missing.is_empty() {
            return Ok(false);
        }
        let mut made: Vec<(&Key, SecretValue)> = Vec::new();
        for var in missing {
            let Some(recipe) = var.generate else { continue };
            let value = generate(recipe).map_err(|error| {
                Failure::new(exit::RUN_FAILED, format!("the system gives no random bytes: {error}"), None)
            })?;
            made.push((&var.key, value));
        }
        let path = folder.join(LOCAL_FILE);
        append(&path, present(&path)?, &made)?;
        ignore_in_git(folder, self.terminal);
        let names: Vec<&str> = made.iter().map(|(key, _)| key.as_str()).collect();
        self.terminal.note(&format!(
            "generated {} for {} into {LOCAL_FILE} (mode 0600): {}",
            if made.len() == 1 { "a secret" } else { "secrets" },
            self.environment,
            names.join(", ")
        ));
        Ok(true)
    }

    /// Makes what is missing all of a sudden, unless somebody is at it.
    fn make_again(&self, judged: &Judged) -> Result<Mended, Failure> {
        let Some(folder) = &self.folder else { return Ok(Mended::No) };
        let Some(_held) = lock(folder)? else { return Ok(Mended::Later) };
        self.left.set(self.left.get().saturating_sub(1));
        // Another one of us may have done it since this was read.
        let (text, _) = present(&folder.join(LOCAL_FILE))?;
        let is_there = self.missing(judged).into_iter().all(|var| gives(&text, &var.key));
        Ok(if is_there || self.make(judged)? { Mended::Yes } else { Mended::No })
    }

    /// The secrets that can be made and that nothing offers, not even under an old
    /// name.
    fn missing(&self, assembled: &Judged) -> Vec<&Var> {
        let offered = |key: &Key| assembled.resolution.variables.get(key).is_some_and(|c| c.winner.is_some());
        let wanted = |var: &&Var| {
            var.read_by(self.service.as_deref())
                && var.secret
                && var.generate.is_some()
                && !offered(&var.key)
                && !var.replaces.iter().any(offered)
        };
        self.schema.vars.iter().filter(wanted).collect()
    }
}

impl Mender for Maker<'_> {
    fn is_needed(&self, judged: &Judged) -> bool {
        self.folder.is_some() && self.left.get() > 0 && !judged.unread && !self.missing(judged).is_empty()
    }

    fn mend(&self, judged: &Judged) -> Mended {
        self.make_again(judged).unwrap_or_else(|failure| {
            self.left.set(self.left.get().saturating_sub(1));
            self.terminal.failure(&failure);
            Mended::No
        })
    }
}

/// What the file holds, and what it is to be when it is written.
fn present(path: &Path) -> Result<(String, Expected), Failure> {
    match read_text(path, TEXT_LIMIT) {
        Ok(file) => Ok((file.text, Expected::File(file.stamp))),
        Err(FileFault::NotFound) => Ok((String::new(), Expected::Nothing)),
        Err(fault) => {
            let fault = fault.at(&LOCAL_FILE.into());
            Err(Failure::new(exit::UNREADABLE, fault.message, Some(fault.help)))
        }
    }
}

/// Whether a line gives this variable something.
fn gives(text: &str, key: &Key) -> bool {
    let values = text.lines().filter_map(|line| line.strip_prefix(key.as_str())?.strip_prefix('='));
    values.map(|value| value.trim().trim_matches(['"', '\''])).any(|value| !value.is_empty())
}

/// Writes the file anew with what it held and the new lines.
fn append(
    path: &Path,
    (present, expected): (String, Expected),
    made: &[(&Key, SecretValue)],
) -> Result<(), Failure> {
    let values: Vec<(&Key, &SecretValue)> = made.iter().map(|(key, value)| (*key, value)).collect();
    let lines = encode(Format::Dotenv, &values, &Options::default()).map_err(|_| {
        Failure::new(exit::RUN_FAILED, "a generated secret could not be written as an env file", None)
    })?;
    let heading = "# Generated by `dlconf dev` for this machine. Never commit this file.\n";
    let mut text = String::with_capacity(present.len() + heading.len() + lines.len() + 1);
    text.push_str(&present);
    if !present.is_empty() && !present.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(heading);
    text.push_str(lines.expose());
    let text = SecretValue::new(text);
    file::replace_expected(path, text.expose().as_bytes(), &Permissions::private(), expected)
        .map_err(|error| Failure::new(exit::REFUSED, error.to_string(), Some(error.help())))?;
    Ok(())
}

/// Holds others off the folder's generated file until it is dropped; none where somebody
/// else holds it. Nobody is waited for: signals have to be heard meanwhile.
fn lock(folder: &Path) -> Result<Option<Held>, Failure> {
    let failed = |reason: std::io::Error| {
        Failure::new(exit::REFUSED, format!("{} could not be locked: {reason}", folder.display()), None)
    };
    let folder =
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }).map_err(failed)?;
    match folder.try_lock() {
        Ok(()) => Ok(Some(Held { _folder: folder })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Adds the file to `.gitignore`, where there is one that does not name it. In a
/// repository without one here, it says that the file is not ignored.
fn ignore_in_git(folder: &Path, terminal: &Terminal) {
    let path = folder.join(".gitignore");
    let Ok(present) = read_text(&path, TEXT_LIMIT) else {
        if in_git(folder) && !ancestors(folder).any(|above| covers(&above.join(".gitignore"))) {
            terminal.warn(&format!("{LOCAL_FILE} is not ignored by git: put it into a .gitignore"));
        }
        return;
    };
    if covers(&path) {
        return;
    }
    let line_end = if present.text.is_empty() || present.text.ends_with('\n') { "" } else { "\n" };
    let text = format!("{}{line_end}{LOCAL_FILE}\n", present.text);
    let expected = Expected::File(present.stamp);
    match file::replace_expected(&path, text.as_bytes(), &Permissions::keep(), expected) {
        Ok(()) => terminal.note(&format!("added {LOCAL_FILE} to .gitignore")),
        Err(error) => terminal.warn(&format!("{LOCAL_FILE} is not in .gitignore: {error}")),
    }
}

/// The folder and those above it, up to the repository's own.
fn ancestors(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let real = folder.canonicalize().or_else(|_| std::env::current_dir()).unwrap_or_default();
    let mut below_root = true;
    real.ancestors().map(Path::to_owned).collect::<Vec<_>>().into_iter().take_while(move |above| {
        let take = below_root;
        below_root = !above.join(".git").exists();
        take
    })
}

fn in_git(folder: &Path) -> bool {
    ancestors(folder).last().is_some_and(|top| top.join(".git").exists())
}

/// Whether a `.gitignore` covers the file by one of the usual lines, and no
/// later line takes it back.
fn covers(path: &Path) -> bool {
    let Ok(file) = read_text(path, TEXT_LIMIT) else { return false };
    let usual = [".env.local", ".env*.local", ".env.*", ".env*", "*.local", ".env.*local"];
    file.text.lines().map(str::trim).fold(false, |covered, line| match line.strip_prefix('!') {
        Some(back) if usual.contains(&back.trim_start_matches('/')) => false,
        _ => covered || usual.contains(&line.trim_start_matches('/')),
    })
}
