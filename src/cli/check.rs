//! `dlconf check`: the CI command.

use std::fs::File;
use std::io::Write as _;

mod probing;

use clap::{Args, ValueEnum};

use super::assemble::{Setup, build};
use super::output::Terminal;
use super::{Failure, Global, exit, fix, portability};
use crate::assemble::{Choice, ground};
use crate::broker::judge::Judged;
use crate::model::finding::Severity;
use crate::model::schema::probe::HostPattern;
use crate::report::{self, Read, Report, Tried, Unjudged};
use crate::source::Use;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// How findings are written
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: CheckFormat,
    /// What makes the exit code 1
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    fail_on: FailOn,
    /// Judge presence from names alone: values are not looked at
    #[arg(long, conflicts_with_all = ["fix", "portability"])]
    names_only: bool,
    /// Mend what is safe: renames, Go durations, file modes; shows a diff
    #[arg(long)]
    fix: bool,
    /// Report lines that readers of env files read differently (DLC060)
    #[arg(long)]
    portability: bool,
    /// Try secrets on the other side, as the schema's probes say
    #[arg(long, conflicts_with = "names_only")]
    probe: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum CheckFormat {
    /// For people
    #[default]
    Text,
    /// One JSON document (schemas/findings.schema.json)
    Json,
    /// SARIF 2.1.0
    Sarif,
    /// GitHub workflow commands
    Github,
    /// JUnit XML
    Junit,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// An error
    #[default]
    Error,
    /// An error or a warning
    Warning,
    /// These, or a variable that could not be judged
    Unjudged,
}

impl Check {
    pub(super) fn run(&self, global: &Global, terminal: &Terminal) -> Result<u8, Failure> {
        if self.probe {
            probing::refuse_offline(global)?;
        }
        let ground = ground(&global.request(), Choice::Asked, terminal.stderr_style())?;
        if self.probe {
            probing::refuse_strangers(&ground, global)?;
        }
        let hosts = ground.settings.rotation.probe_hosts.clone();
        let setup = build(ground, global)?;
        terminal.detail(&setup.describe());
        let done = self.judge(&setup, &hosts, terminal);
        setup.close(Use::Over, terminal);
        done
    }

    fn judge(&self, setup: &Setup, hosts: &[HostPattern], terminal: &Terminal) -> Result<u8, Failure> {
        let mut assembled = setup.assemble(self.names_only, terminal);
        if self.portability {
            portability::add(setup, &mut assembled);
        }
        let mut mended = 0;
        let mut failed = None;
        if self.fix {
            match fix::mend(setup, &assembled, terminal) {
                Ok(count) => mended = count,
                // The findings are still worth printing.
                Err(failure) => failed = Some(failure),
            }
            if mended > 0 {
                // What is reported is what is there now.
                assembled = setup.assemble(false, terminal);
                if self.portability {
                    portability::add(setup, &mut assembled);
                }
            }
        }
        let tried = self.probe.then(|| probing::run(setup, &assembled, hosts, terminal));
        let code = self.exit_code(&assembled, tried.as_deref().unwrap_or_default());
        with_report(setup, &assembled, |report| {
            let is_wrong = |tried: &Tried| tried.outcome.severity() == Some(Severity::Error);
            let ok = report.ok && !tried.iter().flatten().any(is_wrong);
            self.print(&Report { probes: tried.as_deref(), ok, ..*report }, terminal)
        })?;
        if mended > 0 {
            terminal.note(&format!("mended {mended}"));
        }
        failed.map_or(Ok(code), Err)
    }

    fn print(&self, report: &Report<'_>, terminal: &Terminal) -> Result<(), Failure> {
        let in_actions = std::env::var_os("GITHUB_ACTIONS").is_some_and(|v| v == "true");
        let text = match self.format {
            CheckFormat::Text => {
                let mut text = report::text::render(report, terminal.stdout_style());
                if in_actions {
                    text.push_str(&report::github::annotations(report, Some(report::github::WORST)));
                }
                text
            }
            CheckFormat::Json => report::json::render(report),
            CheckFormat::Sarif => report::sarif::render(report, env!("CARGO_PKG_VERSION")),
            CheckFormat::Github => report::github::annotations(report, None),
            CheckFormat::Junit => report::junit::render(report),
        };
        // The other formats have no place for what is no finding.
        if !matches!(self.format, CheckFormat::Text | CheckFormat::Json) {
            for tried in report.probes.unwrap_or_default() {
                match tried.outcome.severity() {
                    None => terminal.note(&tried.message()),
                    Some(_) => terminal.warn(&tried.message()),
                }
            }
        }
        let summarises = matches!(self.format, CheckFormat::Text | CheckFormat::Github);
        if in_actions
            && summarises
            && let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY")
        {
            let appended = File::options()
                .append(true)
                .create(true)
                .open(&path)
                .and_then(|mut file| file.write_all(report::github::summary(report).as_bytes()));
            if let Err(error) = appended {
                terminal.warn(&format!("the job summary could not be written: {error}"));
            }
        }
        Terminal::payload(&text)
    }

    /// Unreadable beats findings: what could not be read cannot be called wrong.
    fn exit_code(&self, assembled: &Judged, tried: &[Tried]) -> u8 {
        if assembled.unread {
            return exit::UNREADABLE;
        }
        let verdict = &assembled.verdict;
        let probed = tried.iter().filter_map(|tried| tried.outcome.severity());
        let worst = verdict.findings.iter().map(|f| f.severity).chain(probed).max();
        let unjudged_fails = match self.fail_on {
            FailOn::Unjudged => !verdict.unjudged.is_empty(),
            FailOn::Error | FailOn::Warning => verdict.unjudged.iter().any(|u| u.required),
        };
        let least = if self.fail_on == FailOn::Error { Severity::Error } else { Severity::Warning };
        if worst.is_some_and(|worst| worst >= least) || unjudged_fails { exit::FINDINGS } else { exit::FINE }
    }
}

/// Lends a report on what was assembled.
pub(super) fn with_report<T>(setup: &Setup, assembled: &Judged, use_it: impl FnOnce(&Report<'_>) -> T) -> T {
    let verdict = &assembled.verdict;
    let read: Vec<Read> = assembled
        .resolution
        .places
        .iter()
        .map(|(place, offers)| Read {
            label: place.label.clone(),
            offers: *offers,
            // Only files have permissions that are judged.
            is_file: place.mode.is_some(),
        })
        .collect();
    let unjudged: Vec<Unjudged> = verdict
        .unjudged
        .iter()
        .map(|u| Unjudged { variable: u.variable.clone(), reason: u.reason.clone(), required: u.required })
        .collect();
    use_it(&Report {
        schema: &setup.schema.name,
        schema_path: &setup.schema.path,
        environment: &setup.environment,
        service: setup.service.as_deref(),
        read: &read,
        findings: &verdict.findings,
        unjudged: &unjudged,
        probes: None,
        judged: &verdict.judged,
        fine: verdict.fine(),
        ok: verdict.outcome.is_ok() && !assembled.unread,
    })
}
