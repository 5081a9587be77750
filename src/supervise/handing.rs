//! Values on their way into a program.
//!
//! Invariants: what is handed is of one configuration; where values go into a file,
//! none is in an environment; a file is there as long as a program that may read it, and
//! no longer; what was encoded is wiped as soon as it is written.
//! Must not know: when a program is started.
//!
//! # Current limitations
//! - What of a program left its process group, and lives on, finds the file gone.
//! - A memory file's pages are freed, not overwritten, when the last program closes it:
//!   that it cannot be written to any more holds for us too.

#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};

use super::Inheritance;
use super::offer::Offer;
use super::terms::Deliver;
use crate::delivery::encode::{Format, Options, encode};
use crate::delivery::environment::{Inherited, environment};
use crate::delivery::private::{Private, PrivateError, Purpose};
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::process::{ExecError, Launch, MemoryFile, Pid, Place, can_be_given};

/// The variable that holds the path of the file with the values.
pub const HANDED_NAME: &str = "DLCONF_FILE";

/// How values get into the programs that are started.
pub(super) struct Handing {
    deliver: Deliver,
    inherited: Inheritance,
    /// What the program that runs can read.
    file: Option<Private>,
}

/// What a program is started with.
#[derive(Debug)]
pub(super) struct Handed {
    pub(super) environment: Vec<(OsString, OsString)>,
    /// To be closed as soon as the program has it.
    pub(super) memory: Option<MemoryFile>,
}

impl Handed {
    /// A start of this with it, on our own streams.
    pub(super) fn launch<'a>(&'a self, argv: &'a [OsString], place: Place) -> Launch<'a> {
        let Self { environment, memory } = self;
        Launch { argv, environment, place, memory: memory.as_ref(), streams: None }
    }
}

impl Handing {
    pub(super) fn new(deliver: Deliver, inherited: Inheritance) -> Self {
        Self { deliver, inherited, file: None }
    }

    /// Whether these values can be handed at all.
    ///
    /// # Errors
    /// Why not, as a clause.
    pub(super) fn judge(&self, offer: &Offer, command: &[OsString]) -> Result<(), String> {
        if let Deliver::File(format) | Deliver::Fd(format) = self.deliver {
            drop(text(format, offer)?);
        }
        can_be_given(command, &self.environment(offer)).map_err(|error| match (&error, self.deliver) {
            (ExecError::TooLong { .. } | ExecError::TooLarge, Deliver::Environment) => {
                format!("{error}; --deliver file hands over more")
            }
            _ => error.to_string(),
        })
    }

    /// Prepares a start. What an earlier program could read vanishes.
    ///
    /// # Errors
    /// Why it cannot be, as a clause.
    pub(super) fn hand(&mut self, offer: &Offer) -> Result<Handed, String> {
        self.withdraw();
        if let Deliver::File(format) = self.deliver {
            let name = OsStr::new(name(format));
            let made = Private::make(Purpose::Run, name, text(format, offer)?.expose());
            self.file = Some(made.map_err(clause)?);
        }
        self.beside(offer, None)
    }

    /// Puts other values in the place of those that the running program can read, where
    /// it reads them from a file. What it has otherwise stays as it is.
    ///
    /// # Errors
    /// Why it cannot be, as a clause; then the old ones are still there.
    pub(super) fn replace(&mut self, offer: &Offer) -> Result<(), String> {
        match (self.deliver, &mut self.file) {
            (Deliver::File(format), Some(file)) => {
                file.replace(text(format, offer)?.expose()).map_err(clause)
            }
            _ => Ok(()),
        }
    }

    /// Takes back what can be: nobody is there any more to read it.
    pub(super) fn withdraw(&mut self) {
        self.file = None;
    }

    /// What a command beside the program is started with, which is told the program's
    /// number; it has its values as the program has them.
    ///
    /// # Errors
    /// Why it cannot be, as a clause.
    pub(super) fn beside(&self, offer: &Offer, program: Option<Pid>) -> Result<Handed, String> {
        let mut handed = Handed { environment: self.environment(offer), memory: None };
        if let Deliver::Fd(format) = self.deliver {
            let made = MemoryFile::sealed(text(format, offer)?.expose());
            let memory = made.map_err(|error| format!("no file in memory could be made: {error}"))?;
            handed.environment.push((HANDED_NAME.into(), memory.path().into()));
            handed.memory = Some(memory);
        }
        if let Some(file) = &self.file {
            handed.environment.push((HANDED_NAME.into(), file.path().into()));
        }
        if let Some(program) = program {
            handed.environment.push(("DLCONF_PID".into(), program.to_string().into()));
        }
        Ok(handed)
    }

    /// A program's environment, but for what leads it to a file.
    fn environment(&self, offer: &Offer) -> Vec<(OsString, OsString)> {
        let inherited = self.inherited.only.as_deref().map_or(Inherited::Undeclared, Inherited::Only);
        let process = &self.inherited.process;
        match self.deliver {
            Deliver::Environment => {
                let values = offer.variables.iter().map(|(key, value)| (key, &**value));
                environment(process, &offer.known, values, inherited)
            }
            Deliver::File(_) | Deliver::Fd(_) => {
                // Whatever the schema says of a name: a value of that name is in the file.
                let known = offer.known.iter().chain(offer.variables.keys()).cloned().collect();
                environment(process, &known, std::iter::empty(), inherited)
            }
        }
    }
}

/// The values as a program reads them.
///
/// # Errors
/// What this format cannot carry, as a clause.
fn text(format: Format, offer: &Offer) -> Result<SecretValue, String> {
    let values: Vec<(&Key, &SecretValue)> =
        offer.variables.iter().map(|(key, value)| (key, &**value)).collect();
    let options = Options::default();
    encode(format, &values, &options).map_err(|refused| {
        let named: Vec<String> = refused.iter().map(|one| format!("{} ({})", one.key, one.reason)).collect();
        let carries = |format: &&Format| encode(**format, &values, &options).is_ok();
        let others: Vec<&str> = Format::ALL.iter().filter(carries).map(|one| one.as_str()).collect();
        let help = if others.is_empty() {
            "no format carries them all".to_owned()
        } else {
            format!("--deliver-format {} would", others.join(", "))
        };
        format!("a {} file cannot carry {}; {help} (DLC061)", format.as_str(), named.join(", "))
    })
}

/// What the file is called: programs tell a format by the end of the name.
fn name(format: Format) -> &'static str {
    match format {
        Format::Json => "config.json",
        Format::Yaml | Format::K8sSecret => "config.yaml",
        Format::Shell => "config.sh",
        Format::Powershell => "config.ps1",
        Format::Dotenv
        | Format::Compose
        | Format::Docker
        | Format::Systemd
        | Format::Godotenv
        | Format::Node
        | Format::Python => "config.env",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "an error that is turned into another")]
fn clause(error: PrivateError) -> String {
    match error.help() {
        Some(help) => format!("{error}; {help}"),
        None => error.to_string(),
    }
}
