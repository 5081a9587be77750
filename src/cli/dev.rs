//! `dlconf dev -- CMD`: laptop mode.

mod local_secrets;

use std::ffi::OsString;

use clap::Args;

use super::output::Terminal;
use super::run::here::{Here, Mender, Program};
use super::run::stage::Told;
use super::run::supervision::Supervision;
use super::run::words::warnings;
use super::{Failure, Global, exit};
use crate::assemble::Choice;
use crate::broker::judge::Judged;
use crate::process::Hardened;
use local_secrets::Maker;

#[derive(Debug, Args)]
pub(super) struct Dev {
    #[command(flatten)]
    supervision: Supervision,
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
        let terms = self.supervision.terms(false).map_err(Failure::for_run)?;
        let mut here =
            Here::begin(global, Choice::Development, terminal, hardened).map_err(Failure::for_run)?;
        here.draw();
        let maker = Maker::new(&here.setup, terminal);
        match first_state(&mut here, &maker, terminal) {
            Ok(Ok(first)) => {
                tell_warnings(&first, terminal);
                let program = Program { command: &self.command, only: None, terms, lock: None };
                Ok(here.supervise(first, program, Some(&maker as &dyn Mender), terminal))
            }
            Ok(Err(told)) => Ok(here.give_up(told, terminal)),
            Err(failure) => {
                here.end(exit::RUN_FAILED, terminal);
                Err(failure.for_run())
            }
        }
    }
}

/// What the sources give, with the secrets that were missing.
fn first_state(
    here: &mut Here,
    maker: &Maker<'_>,
    terminal: &Terminal,
) -> Result<Result<Judged, Told>, Failure> {
    // Two that start at once must not make two sets of keys: one waits for the other.
    let held = match here.wait(maker.hold()) {
        Ok(held) => held?,
        Err(told) => return Ok(Err(told)),
    };
    let first = match here.read(terminal) {
        Ok(first) => first,
        Err(told) => return Ok(Err(told)),
    };
    if !maker.make(&first)? {
        return Ok(Ok(first));
    }
    drop(held);
    Ok(here.read(terminal))
}

/// A line for each warning: a laptop is where they are mended.
fn tell_warnings(assembled: &Judged, terminal: &Terminal) {
    for (place, warning) in warnings(assembled) {
        terminal.note(&format!("{place}{}", warning.message));
    }
}
