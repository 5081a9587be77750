//! `dlconf dev -- CMD`: laptop mode.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::fcntl::{Flock, FlockArg};

use super::assemble::{Setup, setup};
use super::output::Terminal;
use super::run::{Inherited, hand_over};
use super::{Failure, Global, exit};
use crate::assemble::Choice;
use crate::broker::judge::Judged;
use crate::delivery::encode::{Format, Options, encode};
use crate::delivery::file::{self, Expected, Permissions};
use crate::generate::generate;
use crate::model::finding::Severity;
use crate::model::key::Key;
use crate::model::schema::Var;
use crate::model::secret::SecretValue;
use crate::process::Hardened;
use crate::source::Use;
use crate::source::file::{FileFault, TEXT_LIMIT, read_text};

/// Where generated secrets go.
const LOCAL_FILE: &str = ".env.local";

#[derive(Debug, Args)]
pub(super) struct Dev {
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Dev {
    pub(super) fn run(
        &self,
        global: &Global,
        terminal: &Terminal,
        hardened: Hardened,
    ) -> Result<u8, Failure> {
        let open = || setup(global, Choice::Development, terminal.stderr_style()).map_err(Failure::for_run);
        let mut chosen = open()?;
        let filled_in = fill_in(&chosen, terminal);
        if !matches!(filled_in, Ok(false)) {
            chosen.close(Use::Over, terminal);
            filled_in.map_err(Failure::for_run)?;
            chosen = open()?;
        }
        let assembled = chosen.assemble(false, terminal);
        tell_warnings(&assembled, terminal);
        hand_over(chosen, assembled, terminal, hardened, &self.command, Inherited::Undeclared)
    }
}

/// A line for each warning: a laptop is where they are mended.
fn tell_warnings(assembled: &Judged, terminal: &Terminal) {
    for finding in &assembled.verdict.findings {
        if finding.severity == Severity::Warning {
            let place =
                finding.origin.as_ref().map_or(String::new(), |origin| format!("{}: ", origin.location));
            terminal.note(&format!("{place}{}", finding.message));
        }
    }
}

/// Generates the secrets that nothing offers into `.env.local`. True if it did.
fn fill_in(setup: &Setup, terminal: &Terminal) -> Result<bool, Failure> {
    // The file that is written must be one that is read, or the next run would
    // generate again.
    let folder = setup.env_files.iter().find_map(|file| {
        let is_local = file.path.file_name().is_some_and(|name| name == LOCAL_FILE);
        is_local.then(|| file.path.parent().map(Path::to_owned)).flatten()
    });
    let Some(folder) = folder else {
        let missing: Vec<&str> = missing(setup, &setup.assemble(false, terminal))
            .into_iter()
            .map(|var| var.key.as_str())
            .collect();
        if !missing.is_empty() {
            terminal.note(&format!(
                "nothing offers {}, and none is generated: {LOCAL_FILE} is not among the sources",
                missing.join(", ")
            ));
        }
        return Ok(false);
    };
    // Two that start at once must not make two sets of keys: one waits for the
    // other, and looks again. The lock goes with the descriptor.
    let lock = lock(&folder)?;
    let assembled = setup.assemble(false, terminal);
    if assembled.unread {
        return Ok(false);
    }
    let mut made: Vec<(&Key, SecretValue)> = Vec::new();
    for var in missing(setup, &assembled) {
        let Some(recipe) = var.generate else { continue };
        let value = generate(recipe).map_err(|error| {
            Failure::new(exit::RUN_FAILED, format!("the system gives no random bytes: {error}"), None)
        })?;
        made.push((&var.key, value));
    }
    if made.is_empty() {
        return Ok(false);
    }
    append(&folder.join(LOCAL_FILE), &made)?;
    drop(lock);
    ignore_in_git(&folder, terminal);
    let names: Vec<&str> = made.iter().map(|(key, _)| key.as_str()).collect();
    terminal.note(&format!(
        "generated {} for {} into {LOCAL_FILE} (mode 0600): {}",
        if made.len() == 1 { "a secret" } else { "secrets" },
        setup.environment,
        names.join(", ")
    ));
    Ok(true)
}

/// Writes the file anew with what it held and the new lines.
fn append(path: &Path, made: &[(&Key, SecretValue)]) -> Result<(), Failure> {
    let (present, expected) = match read_text(path, TEXT_LIMIT) {
        Ok(file) => (file.text, Expected::File(file.stamp)),
        Err(FileFault::NotFound) => (String::new(), Expected::Nothing),
        Err(fault) => {
            let fault = fault.at(&LOCAL_FILE.into());
            return Err(Failure::new(exit::UNREADABLE, fault.message, Some(fault.help)));
        }
    };
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

/// The secrets that can be made and that nothing offers, not even under an old
/// name.
fn missing<'s>(setup: &'s Setup, assembled: &Judged) -> Vec<&'s Var> {
    let offered = |key: &Key| assembled.resolution.variables.get(key).is_some_and(|c| c.winner.is_some());
    let wanted = |var: &&Var| {
        var.read_by(setup.service.as_deref())
            && var.secret
            && var.generate.is_some()
            && !offered(&var.key)
            && !var.replaces.iter().any(offered)
    };
    setup.schema.vars.iter().filter(wanted).collect()
}

/// Holds others off the folder's generated file until it is dropped.
fn lock(folder: &Path) -> Result<Flock<File>, Failure> {
    let failed = |reason: String| {
        Failure::new(exit::REFUSED, format!("{} could not be locked: {reason}", folder.display()), None)
    };
    let folder = File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        .map_err(|error| failed(error.to_string()))?;
    Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, errno)| failed(errno.desc().into()))
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
