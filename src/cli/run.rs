//! `dlconf run -- CMD`: resolve, validate, become CMD; over leased credentials,
//! stay as its parent.

mod keeper;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::Args;

use super::assemble::{CLOSE_DEADLINE, Setup, close_all, setup};
use super::output::Terminal;
use super::render::passed;
use super::{Failure, Global, exit};
use crate::assemble::Choice;
use crate::broker::judge::Judged;
use crate::model::key::Key;
use crate::model::validate::Validated;
use crate::process::{Hardened, become_program};
use crate::source::Use;
use keeper::Keeper;

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Give only declared variables: nothing of this process's environment passes
    #[arg(long)]
    pristine: bool,
    /// With --pristine, pass this name of the environment as well (PATH, HOME…)
    #[arg(long, value_name = "NAME", requires = "pristine")]
    allow: Vec<String>,
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
        let setup = setup(global, Choice::Asked, terminal.stderr_style()).map_err(Failure::for_run)?;
        let inherited = if self.pristine { Inherited::Only(&self.allow) } else { Inherited::Undeclared };
        let assembled = setup.assemble(false, terminal);
        hand_over(setup, assembled, terminal, hardened, &self.command, inherited)
    }
}

/// What of this process's own environment a child gets beside its variables.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inherited<'a> {
    /// Every name that the schema does not speak of.
    Undeclared,
    /// These names.
    Only(&'a [String]),
}

/// Gives the command what validated: becomes it, or stays while it runs. Closes
/// the sources.
pub(super) fn hand_over(
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
    let environment = environment(&setup, &validated, inherited);
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

/// The child's environment: what passes of our own, then the variables.
fn environment(setup: &Setup, validated: &Validated, inherited: Inherited<'_>) -> Vec<(OsString, OsString)> {
    let delivered: BTreeMap<&str, &str> =
        validated.variables().iter().map(|d| (d.key.as_str(), d.value.expose())).collect();
    let mut environment: Vec<(OsString, OsString)> = setup
        .process
        .iter()
        .filter(|(name, _)| {
            let passes = match inherited {
                Inherited::Undeclared => passes(setup, name),
                Inherited::Only(names) => {
                    passes(setup, name) && names.iter().any(|allowed| name == OsStr::new(allowed))
                }
            };
            passes && name.to_str().is_none_or(|name| !delivered.contains_key(name))
        })
        .cloned()
        .collect();
    environment.extend(delivered.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
    environment
}

/// Whether a name of our own environment may pass to a child: not dlconf's
/// settings, not the backends' credentials, nothing that the schema speaks of
/// (declared names arrive from validation, or not at all).
fn passes(setup: &Setup, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    if name == "DLCONF_SOCKET" {
        return true;
    }
    if ["DLCONF_", "VAULT_", "BAO_"].iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    let schema = &setup.schema;
    Key::new(name).map_or(true, |key| {
        schema.var(&key).is_none() && schema.replacement(&key).is_none() && schema.retired(&key).is_none()
    })
}
