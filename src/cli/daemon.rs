//! `dlconf daemon`: watch, publish, deliver.

use std::io;
use std::sync::Arc;

use clap::Args;

use super::output::Terminal;
use super::{Failure, Global, LogFormat, exit};
use crate::daemon::{Start, run};
use crate::process::Helper;
use crate::telemetry::log::{Format, Log};
use crate::telemetry::{Level, Telemetry};

#[derive(Debug, Args)]
pub(super) struct Daemon {}

impl Daemon {
    pub(super) fn run(global: &Global, terminal: &Terminal, helper: Option<Helper>) -> Result<u8, Failure> {
        let format = match global.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        let least = match (global.quiet, global.verbose) {
            (true, _) => Level::Warning,
            (false, 0) => Level::Info,
            (false, _) => Level::Debug,
        };
        let log = Log::spooled(format, least, io::stderr()).map_err(|error| {
            Failure::new(exit::REFUSED, format!("the system has no thread for the log: {error}"), None)
        })?;
        let telemetry = Arc::new(Telemetry::new(log));
        let style = terminal.stderr_style();
        run(Start { request: global.request(), style, telemetry, helper })
    }
}
