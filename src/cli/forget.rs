//! `dlconf forget KEY`: gives up a value that is held although its source deleted
//! it.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Deserialize;

use super::ask::{Answer, Daemon, Question};
use super::output::Terminal;
use super::{Failure, Fault, Global, exit};
use crate::access::Action;
use crate::model::finding::Code;

#[derive(Debug, Args)]
pub(super) struct Forget {
    /// The variable
    #[arg(value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    key: String,
}

/// What the daemon says when it is done.
#[derive(Deserialize)]
struct GivenUp {
    version: String,
}

impl Forget {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        let daemon = Daemon::configured(global, terminal)?;
        let path = ["v1", "forget", &self.key];
        let problem = match daemon.ask::<GivenUp>(&Question::post(&path, Action::Forget))? {
            Answer::Given(GivenUp { version }) => {
                terminal.note(&format!("gave up {}; version {version} is without it", self.key));
                return Ok(exit::FINE);
            }
            Answer::Refused(problem) => problem,
        };
        let code = if &*problem.code == "unknown-variable" { exit::USAGE } else { exit::FINDINGS };
        let mut faults = Failure::new(code, problem.detail, None).faults;
        faults.extend(problem.findings.into_iter().map(|finding| Fault {
            code: finding.code.and_then(|code| code.parse::<Code>().ok()),
            message: finding.message,
            place: finding.place,
            help: finding.help,
            drawn: None,
        }));
        Err(Failure { exit: code, faults })
    }
}
