//! `dlconf get KEY`: one value.

use clap::Args;

use super::assemble::{Setup, given_out, setup};
use super::output::Terminal;
use super::render::passed;
use super::{Failure, Global, exit};
use crate::assemble::Choice;
use crate::model::key::Key;
use crate::model::schema::Schema;
use crate::model::schema::toml_reader::nearest;

#[derive(Debug, Args)]
pub(super) struct Get {
    /// The variable
    #[arg(value_name = "KEY")]
    key: String,
    /// Resolve here instead of asking a daemon
    #[arg(long)]
    local: bool,
}

impl Get {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        if !self.local {
            return Err(Failure::usage(
                "get asks a daemon, and the daemon of this release gives no values yet",
                format!("resolve here: dlconf get --local {}", self.key),
            ));
        }
        let setup = setup(global, Choice::Asked, terminal.stderr_style())?;
        let key = declared(&setup.schema, &self.key)?;
        let done = print(&setup, &key, terminal);
        setup.close(given_out(&done), terminal);
        done
    }
}

fn print(setup: &Setup, key: &Key, terminal: &Terminal) -> Result<u8, Failure> {
    let validated = match passed(setup, setup.assemble(false, terminal), terminal) {
        Ok(validated) => validated,
        Err(code) => return Ok(code),
    };
    let Some(delivered) = validated.get(key) else {
        let service = setup.service.as_deref();
        let var = setup.schema.var(key).filter(|var| !var.read_by(service));
        return Err(match (var, service) {
            (Some(_), Some(service)) => Failure::usage(
                format!("service {service} does not read {key}"),
                "leave --service out, or name one that reads it",
            ),
            _ => Failure::new(
                exit::FINDINGS,
                format!("{key} is not set"),
                Some(format!("dlconf explain {key}")),
            ),
        });
    };
    let place = &delivered.origin.location;
    terminal.note(&format!("resolved here, for {}: {key} from {place}", setup.environment));
    let value = delivered.value.expose();
    let mut line = String::with_capacity(value.len() + 1);
    line.push_str(value);
    line.push('\n');
    Terminal::payload(&line)?;
    Ok(exit::FINE)
}

/// A name that the schema declares, or a suggestion.
pub(super) fn declared(schema: &Schema, name: &str) -> Result<Key, Failure> {
    // What is no name is not repeated: it may be a whole assignment.
    let key = Key::new(name).map_err(|error| {
        Failure::usage(format!("this is no name of a variable: {error}"), "give the name alone")
    })?;
    if schema.var(&key).is_some() {
        return Ok(key);
    }
    let old = schema.replacement(&key).map(|var| var.key.clone());
    let near = nearest(name, schema.vars.iter().map(|var| var.key.as_str()));
    let help = match (old, near) {
        (Some(new), _) => format!("its name is {new}"),
        (None, Some(near)) => format!("did you mean {near}?"),
        (None, None) => "`dlconf schema docs` lists the names".into(),
    };
    Err(Failure::usage(format!("the schema does not declare {name}"), help))
}
