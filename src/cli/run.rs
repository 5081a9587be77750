//! `dlconf run -- CMD`: resolve, validate, become CMD; over leased credentials,
//! stay as its parent. With `--watch`, supervise it. With `--socket`, a daemon has
//! resolved and validated.

pub(super) mod here;
mod instance;
mod keeper;
mod lock;
mod socket;
pub(super) mod stage;
pub(super) mod supervision;
pub(super) mod words;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::assemble::{CLOSE_DEADLINE, Setup, close_all, setup};
use super::output::Terminal;
use super::render::passed;
use super::{Failure, Global, exit};
use crate::assemble::Choice;
use crate::broker::judge::Judged;
use crate::delivery::environment::{Inherited, environment};
use crate::kubernetes::Name;
use crate::model::schema::kind::parse_go_duration;
use crate::process::{Hardened, become_program};
use crate::source::Use;
use here::{Here, Program};
use keeper::Keeper;
use lock::Lock;
pub(super) use lock::lease;
use supervision::Supervision;

#[derive(Debug, Args)]
#[command(mut_group("Supervision", |options| options.requires("watch")))]
pub(super) struct Run {
    /// Stay as the program's parent: when its variables change, restart it, or do what --on-change says
    #[arg(long)]
    watch: bool,
    /// Give only declared variables: nothing of this process's environment passes
    #[arg(long)]
    pristine: bool,
    /// With --pristine, pass this name of the environment as well (PATH, HOME…)
    #[arg(long, value_name = "NAME", requires = "pristine")]
    allow: Vec<String>,
    /// Take the values from the daemon whose socket this is; nothing is read here
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// With --socket, only these variables: names, patterns, group:NAME
    #[arg(long, value_name = "A,B", value_delimiter = ',', requires = "socket")]
    vars: Vec<String>,
    /// With --socket, how long to wait for a daemon that is not there or not ready yet
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "socket", value_parser = duration)]
    wait: Duration,
    #[command(flatten)]
    supervision: Supervision,
    /// Restart for a change only while holding this Kubernetes Lease, and until --healthy has shown that the program works: one replica at a time
    #[arg(long, value_name = "lease/NAME", requires = "watch", value_parser = lock::lease, help_heading = "Supervision")]
    restart_lock: Option<Name>,
    /// The command, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    pub(super) fn run(
        &self,
        global: &Global,
        terminal: &Terminal,
        hardened: Hardened,
    ) -> Result<u8, Failure> {
        if self.watch {
            return self.watch(global, terminal, hardened);
        }
        let inherited = if self.pristine { Inherited::Only(&self.allow) } else { Inherited::Undeclared };
        if let Some(lender) = self.lender() {
            let environment = lender.environment(global, terminal, inherited).map_err(Failure::for_run)?;
            let Err(error) = become_program(hardened, &self.command, &environment);
            return Err(Failure::new(error.exit_code(), error.to_string(), None));
        }
        let setup = setup(global, Choice::Asked, terminal.stderr_style()).map_err(Failure::for_run)?;
        let assembled = setup.assemble(false, terminal);
        hand_over(setup, assembled, terminal, hardened, &self.command, inherited)
    }
}

impl Run {
    fn lender(&self) -> Option<socket::Lender<'_>> {
        let path = self.socket.as_ref()?;
        Some(socket::Lender { path, vars: &self.vars, wait: self.wait })
    }

    /// Supervises the command, over a daemon or over the sources themselves.
    fn watch(&self, global: &Global, terminal: &Terminal, hardened: Hardened) -> Result<u8, Failure> {
        let terms = self.supervision.terms(self.restart_lock.is_some()).map_err(Failure::for_run)?;
        let lock = self.restart_lock.clone().map(Lock::named).transpose().map_err(Failure::for_run)?;
        let only = self.pristine.then(|| self.allow.clone());
        let program = Program { command: &self.command, only, terms, lock };
        if let Some(lender) = self.lender() {
            return lender.watch(global, terminal, program, hardened).map_err(Failure::for_run);
        }
        let mut here = Here::begin(global, Choice::Asked, terminal, hardened).map_err(Failure::for_run)?;
        Ok(match here.read(terminal) {
            Ok(first) => here.supervise(first, program, None, terminal),
            Err(told) => here.give_up(told, terminal),
        })
    }
}

/// As Go writes durations.
fn duration(text: &str) -> Result<Duration, String> {
    let nanos = parse_go_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    nanos.map(Duration::from_nanos).ok_or_else(|| "write a duration such as 30s or 2m".to_owned())
}

/// Gives the command what validated: becomes it, or stays while it runs. Closes
/// the sources.
fn hand_over(
    setup: Setup,
    assembled: Judged,
    terminal: &Terminal,
    hardened: Hardened,
    command: &[OsString],
    inherited: Inherited<'_>,
) -> Result<u8, Failure> {
    let Ok(validated) = passed(&setup, assembled, terminal) else {
        setup.close(Use::Over, terminal);
        return Ok(exit::RUN_FAILED);
    };
    let known = setup.schema.known_names();
    let variables = validated.variables().iter().map(|delivered| (&delivered.key, &*delivered.value));
    let environment = environment(&setup.process, &known, variables, inherited);
    if setup.has_leases() {
        drop(validated);
        return keep(setup, terminal, hardened, command, environment);
    }
    setup.close(Use::GoesOn, terminal);
    let Err(error) = become_program(hardened, command, &environment);
    Err(Failure::new(error.exit_code(), error.to_string(), None))
}

/// Runs the command as our child: what it was given would die under it if we
/// were gone.
fn keep(
    setup: Setup,
    terminal: &Terminal,
    hardened: Hardened,
    command: &[OsString],
    environment: Vec<(OsString, OsString)>,
) -> Result<u8, Failure> {
    setup.end(terminal, async |sources| {
        let started = Keeper::start(hardened, command, &environment);
        // The child has its own copy.
        drop(environment);
        match started {
            Ok(keeper) => {
                let kept = keeper.stay(sources, &|text| terminal.warn(text)).await;
                (Ok(kept.code), kept.closed)
            }
            Err(failure) => (Err(failure), close_all(sources, Use::Over, CLOSE_DEADLINE).await),
        }
    })
}
