//! `dlconf status`: what the daemon tells of itself, on one screen.
//!
//! A report: whatever it says, the command that got it is fine.

use clap::{Args, ValueEnum};

use super::ask::{Daemon, Question};
use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::access::Action;
use crate::report;
use crate::status::Status as Told;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Format {
    /// A table for people
    #[default]
    Text,
    /// The daemon's own document
    Json,
}

impl Status {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let daemon = Daemon::configured(global, terminal)?;
        let told: Told =
            daemon.ask(&Question::get(&["v1", "status"], Action::Status))?.or_fail(exit::UNREADABLE)?;
        let text = match self.format {
            Format::Text => {
                let place = daemon.place().display().to_string();
                report::status::text(&told, &place, terminal.stdout_style())
            }
            Format::Json => report::status::json(&told),
        };
        Terminal::payload(&text)?;
        Ok(exit::FINE)
    }
}
