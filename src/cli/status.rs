//! `dlconf status`: what the daemon tells of itself, on one screen; with `--fleet`, what
//! every replica says of itself, wherever it runs.
//!
//! A report: whatever it says, the command that got it is fine.

use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, ValueEnum};

use super::ask::{Daemon, Question, runtime};
use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::access::Action;
use crate::assemble::{Choice, ground};
use crate::kubernetes::{Name, Server};
use crate::report;
use crate::report::fleet::Fleet;
use crate::rotation::board::{Board, Unheard};
use crate::status::Status as Told;

#[derive(Debug, Args)]
pub(super) struct Status {
    /// How it is written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Every replica, by its acknowledgement in a Kubernetes Lease
    #[arg(long)]
    fleet: bool,
    /// What the names of these Leases begin with; by default what the settings say
    #[arg(long, value_name = "PREFIX", value_parser = prefix, requires = "fleet")]
    leases: Option<Name>,
}

fn prefix(text: &str) -> Result<Name, String> {
    let name = Name::object(text.strip_prefix("leases/").unwrap_or(text));
    name.ok_or_else(|| {
        "write PREFIX, or leases/PREFIX, in lower-case letters, digits, `-` and `.`".to_owned()
    })
}

/// The prefix that the settings have.
fn configured(global: &Global, terminal: &Terminal) -> Result<Name, Failure> {
    let ground = ground(&global.request(), Choice::Asked, terminal.stderr_style())?;
    ground.settings.rotation.acknowledgements.clone().ok_or_else(|| {
        let of = ground.opened.label().unwrap_or("the embedded settings");
        Failure::usage(
            format!("{of}: acknowledgements stay with each daemon, so nobody knows all replicas"),
            "set `[rotation] acknowledgements = \"leases/PREFIX\"`, or name the Leases: --leases PREFIX",
        )
    })
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
        let text = if self.fleet {
            let prefix = match &self.leases {
                Some(prefix) => prefix.clone(),
                None => configured(global, terminal)?,
            };
            self.fleet(&prefix, terminal)?
        } else {
            self.own(global, terminal)?
        };
        Terminal::payload(&text)?;
        Ok(exit::FINE)
    }

    fn own(&self, global: &Global, terminal: &Terminal) -> Result<String, Failure> {
        let daemon = Daemon::configured(global, terminal)?;
        let told: Told =
            daemon.ask(&Question::get(&["v1", "status"], Action::Status))?.or_fail(exit::UNREADABLE)?;
        Ok(match self.format {
            Format::Text => {
                let place = daemon.place().display().to_string();
                report::status::text(&told, &place, terminal.stdout_style())
            }
            Format::Json => report::status::json(&told),
        })
    }

    /// Of the cluster that this environment means: a pod's own, or the kubeconfig's.
    fn fleet(&self, prefix: &Name, terminal: &Terminal) -> Result<String, Failure> {
        let process: Vec<_> = std::env::vars_os().collect();
        let server = Server::of_environment(&process, None, true);
        let nowhere = |message: String, help: String| Failure::new(exit::UNREADABLE, message, Some(help));
        server.is_somewhere().map_err(|misfit| nowhere(misfit.message, misfit.help))?;
        // It only listens: nobody holds anything.
        let board = Board::new(server, prefix.clone(), "", Arc::new(|_| {}))
            .map_err(|error| Failure::usage(error.to_string(), "name a shorter one"))?;
        let fleet = runtime()?.block_on(async {
            let place = board.place().await?;
            Ok(Fleet::new(place, &board.all().await?, SystemTime::now()))
        });
        let fleet = fleet.map_err(|Unheard { message, help }| nowhere(message, help))?;
        Ok(match self.format {
            Format::Text => report::fleet::text(&fleet, terminal.stdout_style()),
            Format::Json => report::fleet::json(&fleet),
        })
    }
}
