//! `dlconf health`: for probes. The exit code is the answer; the reason is one
//! line on stderr.

use clap::Args;

use super::ask::{Daemon, Question};
use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::access::Action;
use crate::report::status::waits_for;
use crate::status::Status;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("question").required(true).multiple(true))]
pub(super) struct Health {
    /// Whether a valid configuration was published and delivered
    #[arg(long, group = "question")]
    ready: bool,
    /// Whether the daemon answers
    #[arg(long, group = "question")]
    live: bool,
}

impl Health {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let daemon = Daemon::configured(global, terminal)?;
        // An answer says that it lives.
        let status: Status =
            daemon.ask(&Question::get(&["v1", "status"], Action::Status))?.or_fail(exit::UNREADABLE)?;
        if self.ready && !status.ready {
            terminal.warn(&format!("not ready: {}", waits_for(&status, true).join("; ")));
            return Ok(exit::FINDINGS);
        }
        Ok(exit::FINE)
    }
}
