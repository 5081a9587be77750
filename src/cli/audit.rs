//! `dlconf audit verify`: whether the record of who got what is all there.

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::access::audit::AuditConfig;
use crate::access::audit::verify::{Expected, NotedHead, Part, order, part, parts, verify};
use crate::assemble::{Choice, ground};
use crate::report::audit::{json, text};
use crate::settings::ShownPath;

#[derive(Debug, Args)]
pub(super) struct AuditCommand {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Say whether records were changed, removed, put in or cut off
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// The files, in any order; by default the settings' log with its full ones
    #[arg(value_name = "FILE", value_parser = super::path())]
    files: Vec<PathBuf>,
    /// The file with the key; by default the settings'
    #[arg(long, value_name = "FILE", value_parser = super::path())]
    key_file: Option<PathBuf>,
    /// Some record must have this code: 12 to 64 hexadecimal digits, or the number of `dlconf_audit_head`
    #[arg(long, value_name = "HEAD")]
    expect_head: Option<NotedHead>,
    /// There must be so many records, or more: the number of `dlconf_audit_records_total`
    #[arg(long, value_name = "N")]
    expect_count: Option<u64>,
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

impl AuditCommand {
    pub(super) fn run(self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let Act::Verify(verify) = self.act;
        verify.run(global, terminal)
    }
}

impl Verify {
    fn run(self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let configured = match (&self.key_file, self.files.is_empty()) {
            (Some(_), false) => None,
            _ => Some(configured(global, terminal)?),
        };
        let (parts, key_file) = match (configured, self.key_file) {
            (Some(config), key_file) => {
                let parts = if self.files.is_empty() {
                    parts(&config.path, &config.label).map_err(|(label, error)| unread(&label, &error))?
                } else {
                    named(&self.files)?
                };
                (parts, key_file.map_or(config.key_file, |path| ShownPath::named(&path)))
            }
            (None, key_file) => (named(&self.files)?, ShownPath::named(&key_file.unwrap_or_default())),
        };
        let expected = Expected { head: self.expect_head, count: self.expect_count };
        let verdict = verify(parts, &key_file, &expected)
            .map_err(|error| Failure::new(exit::UNREADABLE, error.message, Some(error.help)))?;
        Terminal::payload(&match self.format {
            Format::Text => text(&verdict, terminal.stdout_style()),
            Format::Json => json(&verdict),
        })?;
        Ok(if verdict.is_whole() { exit::FINE } else { exit::FINDINGS })
    }
}

/// The log that the settings name.
fn configured(global: &Global, terminal: &Terminal) -> Result<AuditConfig, Failure> {
    let ground = ground(&global.request(), Choice::Asked, terminal.stderr_style())?;
    let settings = ground.opened.label().unwrap_or("the embedded settings").to_owned();
    ground.settings.audit.ok_or_else(|| {
        Failure::usage(
            format!("{settings}: no [audit] in {}", ground.environment),
            "name the files and the key: dlconf audit verify FILE --key-file FILE",
        )
    })
}

fn named(files: &[PathBuf]) -> Result<Vec<Part>, Failure> {
    let open = |path: &PathBuf| {
        let label = path.display().to_string();
        part(path, label.clone()).map_err(|error| unread(&label, &error))
    };
    let parts = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    order(parts).map_err(|(label, error)| unread(&label, &error))
}

fn unread(label: &str, error: &io::Error) -> Failure {
    let help = match error.kind() {
        io::ErrorKind::NotFound => "see whether the path is right, and whether a daemon ever ran with it",
        io::ErrorKind::PermissionDenied => "run this as a user who may read it: the log's owner, or root",
        _ => "see whether the path and the disk are in order",
    };
    Failure::new(exit::UNREADABLE, format!("{label} cannot be read: {error}"), Some(help.to_owned()))
}
