//! `dlconf render`: the configuration in a reader's format.

use std::path::PathBuf;

use clap::Args;

use super::assemble::{Setup, given_out, setup};
use super::check::with_report;
use super::output::Terminal;
use super::{Failure, Fault, Global, exit};
use crate::assemble::Choice;
use crate::broker::judge::Judged;
use crate::delivery::encode::{Format, Options, encode};
use crate::disk::file::{self, Permissions};
use crate::model::finding::Code;
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::model::validate::{Refused, Validated};
use crate::report;

#[derive(Debug, Args)]
pub(super) struct Render {
    /// The reader: dotenv, compose, docker, systemd, shell, powershell, godotenv, node, python, json, yaml, k8s-secret
    #[arg(long, default_value = "dotenv", value_name = "READER", value_parser = parse_format)]
    format: Format,
    /// Write to this file (atomically, mode 0600) instead of stdout
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// k8s-secret: the Secret's name; by default the schema's name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// k8s-secret: the Secret's namespace
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

fn parse_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|()| {
        let known: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
        format!("one of: {}", known.join(", "))
    })
}

impl Render {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let setup = setup(global, Choice::Asked, terminal.stderr_style())?;
        let options = Options {
            name: Some(self.name.clone().unwrap_or_else(|| setup.schema.name.to_string())),
            namespace: self.namespace.clone(),
        };
        if let Some(problem) = options.problem(self.format) {
            return Err(Failure::usage(
                format!("no Secret can be written: {problem}"),
                "say --name NAME (and --namespace NAMESPACE)",
            ));
        }
        let done = self.write(&setup, &options, terminal);
        setup.close(given_out(&done), terminal);
        done
    }

    fn write(&self, setup: &Setup, options: &Options, terminal: &Terminal) -> Result<u8, Failure> {
        let assembled = setup.assemble(false, terminal);
        let validated = match passed(setup, assembled, terminal) {
            Ok(validated) => validated,
            Err(code) => return Ok(code),
        };
        let values: Vec<(&Key, &SecretValue)> =
            validated.variables().iter().map(|d| (&d.key, &*d.value)).collect();
        let encoded = encode(self.format, &values, options).map_err(|refused| Failure {
            exit: exit::FINDINGS,
            faults: refused
                .into_iter()
                .map(|refused| {
                    let (format, key) = (self.format.as_str(), &refused.key);
                    Fault {
                        code: Some(Code::NotRepresentable),
                        message: format!("{key} cannot be represented for {format}: {}", refused.reason),
                        place: validated.get(key).map(|d| d.origin.location.to_string()),
                        help: Some(refused.help),
                        drawn: None,
                    }
                })
                .collect(),
        })?;
        match &self.output {
            None => Terminal::payload(encoded.expose())?,
            Some(path) => {
                file::replace(path, encoded.expose().as_bytes(), &Permissions::private())
                    .map_err(|error| Failure::new(exit::REFUSED, error.to_string(), Some(error.help())))?;
                terminal.note(&format!(
                    "wrote {} variables to {} for {}",
                    values.len(),
                    path.display(),
                    self.format.as_str()
                ));
            }
        }
        Ok(exit::FINE)
    }
}

/// The valid configuration; without one, the findings go to stderr and the exit
/// code comes back.
///
/// What was resolved is dropped here: from now on there is one copy of each value.
pub(super) fn passed(setup: &Setup, assembled: Judged, terminal: &Terminal) -> Result<Validated, u8> {
    terminal.detail(&setup.describe());
    if assembled.verdict.outcome.is_err() || assembled.unread {
        let style = terminal.stderr_style();
        terminal.drawn(&with_report(setup, &assembled, |report| report::text::render(report, style)));
        return Err(if assembled.unread { exit::UNREADABLE } else { exit::FINDINGS });
    }
    let warnings = assembled.verdict.findings.len();
    if warnings > 0 {
        let noun = if warnings == 1 { "warning" } else { "warnings" };
        terminal.note(&format!("{warnings} {noun}: `dlconf check` shows them"));
    }
    assembled.verdict.outcome.map_err(|Refused| exit::FINDINGS)
}
