//! `dlconf init`: drafts a schema and settings for a stranger's project.

mod example;

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::assemble::SCHEMA_FILE;
use crate::disk::file::{self, Permissions};
use crate::draft::draft;
use crate::settings::FILE_NAME;
use crate::source::file::{TEXT_LIMIT, read_text};
use example::Example;

/// Where examples are usually kept, best first; `.env` last, since its values
/// are real.
const EXAMPLES: [&str; 6] =
    [".env.example", ".env.sample", ".env.template", ".env.dist", "env.example", ".env"];

#[derive(Debug, Args)]
pub(super) struct Init {
    /// The example to draft from; by default .env.example, .env.sample, …, .env
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(super) fn run(&self, _global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let path = self.example()?;
        let label = path.display().to_string();
        for target in [SCHEMA_FILE, FILE_NAME] {
            if !self.force && Path::new(target).symlink_metadata().is_ok() {
                return Err(Failure::usage(
                    format!("{target} is already there"),
                    "edit it, move it away, or say --force to replace it",
                ));
            }
        }
        let read = read_text(&path, TEXT_LIMIT).map_err(|fault| {
            let fault = fault.at(&label.as_str().into());
            Failure::new(exit::UNREADABLE, fault.message, Some(fault.help))
        })?;
        let example = Example::read(&label, &read.text)?;
        if example.variables.is_empty() {
            return Err(Failure::usage(
                format!("{label} declares no variable"),
                "name another file: --from FILE",
            ));
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // `.env.example` is an example; `distributor.env` is not.
        let may_hold_secrets = !name
            .split(['.', '-', '_'])
            .any(|part| ["example", "sample", "template", "dist"].contains(&part));
        let project = project_name();
        let drafted = draft(&example.variables, &project, may_hold_secrets);
        write(SCHEMA_FILE, &drafted.schema_toml)?;
        write(FILE_NAME, &drafted.settings_toml)?;
        let guesses = drafted.schema_toml.matches("# guess:").count();
        terminal.note(&format!(
            "drafted {} variables from {label} into {SCHEMA_FILE}, and {FILE_NAME}",
            drafted.variables
        ));
        if !example.passed_over.is_empty() {
            terminal.note(&format!(
                "passed over: {} of {label}, for a name that no variable can have or a missing `=`",
                lines(&example.passed_over)
            ));
        }
        terminal
            .note(&format!("{guesses} guesses are marked `# guess:`; read them, then run `dlconf check`"));
        Ok(exit::FINE)
    }

    fn example(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.from {
            return Ok(path.clone());
        }
        EXAMPLES.iter().map(PathBuf::from).find(|path| path.symlink_metadata().is_ok()).ok_or_else(|| {
            Failure::usage(
                format!("there is nothing to draft from: none of {} is here", EXAMPLES.join(", ")),
                "name a file: --from FILE",
            )
        })
    }
}

/// `lines 3, 7 and 12`, of many the first ones.
fn lines(numbers: &[u32]) -> String {
    const LISTED: usize = 10;
    let listed: Vec<String> = numbers.iter().take(LISTED).map(u32::to_string).collect();
    match (listed.as_slice(), numbers.len().saturating_sub(LISTED)) {
        ([line], _) => format!("line {line}"),
        (listed, 0) => format!("lines {}", listed.join(", ")),
        (listed, more) => format!("lines {} and {more} more", listed.join(", ")),
    }
}

fn project_name() -> String {
    let folder = std::env::current_dir().ok();
    let name = folder.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "project".into())
}

fn write(path: &str, text: &str) -> Result<(), Failure> {
    file::replace(Path::new(path), text.as_bytes(), &Permissions::mode(0o644))
        .map_err(|error| Failure::new(exit::REFUSED, error.to_string(), Some(error.help())))
}
