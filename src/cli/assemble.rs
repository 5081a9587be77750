//! From the settings to a verdict: what every command but `init` begins with.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Runtime;

use super::output::Terminal;
use super::{Failure, Fault, Global, exit};
use crate::model::finding::{Code, Finding, Fix, Severity};
use crate::model::key::{Key, SourceName};
use crate::model::origin::Origin;
use crate::model::resolve::{Resolution, resolve};
use crate::model::schema::Schema;
use crate::model::schema::parse::{Parsed, parse};
use crate::model::schema::toml_reader::{Lines, Mistake, nearest};
use crate::model::validate::{Question, Unread, Verdict, validate};
use crate::process::Interrupts;
use crate::report::{self, BUILT_IN_SCHEMA, Style};
use crate::settings::{self, Chosen, Network, SettingsError, ShownPath, SourceKind, SourceSettings};
use crate::source::directory::DirectorySource;
use crate::source::dotenv::{DotenvSource, EnvFile, four_files};
use crate::source::env::{self, EnvSource, Environment};
use crate::source::file::{FileFault, TEXT_LIMIT};
use crate::source::structured::StructuredSource;
use crate::source::vault::VaultSource;
use crate::source::{Ask, FaultKind, Source, Use};

/// The DataLens schema, compiled in.
const DATALENS: &str = include_str!("../../policies/datalens.schema.toml");

/// The schema file that is looked for in the working directory.
pub(super) const SCHEMA_FILE: &str = "dlconf.schema.toml";

/// How long the sources of a one-shot command may take to be closed.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// How long a person is left without a word while sources are asked.
const SILENCE: Duration = Duration::from_secs(1);

/// How the environment is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// By the caller, the settings or the process's own variable.
    Asked,
    /// Always the laptop's.
    Development,
}

/// Everything that was chosen before a source is read.
pub(super) struct Setup {
    pub(super) schema: Schema,
    pub(super) environment: String,
    pub(super) service: Option<String>,
    pub(super) process: Environment,
    /// The env files, lowest first, that the dotenv sources read.
    pub(super) env_files: Vec<ShownPath>,
    /// Every single file that a source reads.
    pub(super) files: Vec<ShownPath>,
    pub(super) sources: Vec<Box<dyn Source>>,
    /// Remote sources that are not asked, since the caller is offline.
    pub(super) passed_over: Vec<SourceName>,
    /// What waits for the sources, on this thread.
    pub(super) runtime: Runtime,
    /// The sources that wait for somebody.
    remote: Vec<SourceName>,
}

/// What the sources said, and what validation made of it.
pub(super) struct Assembled {
    pub(super) resolution: Resolution,
    pub(super) verdict: Verdict,
    /// Whether a source could not be read: exit 3.
    pub(super) unread: bool,
}

/// A schema and its text, with the warnings about it.
pub(super) struct LoadedSchema {
    pub(super) parsed: Parsed,
    pub(super) text: Cow<'static, str>,
}

/// The schema that the options, the settings or the working directory name.
pub(super) fn load_schema(
    global: &Global,
    opened: &settings::Opened,
    style: Style,
) -> Result<LoadedSchema, Failure> {
    let named = match &global.schema {
        Some(path) => Some(ShownPath::named(path)),
        None => opened.schema().map_err(settings_failure)?,
    };
    let here = Path::new(SCHEMA_FILE);
    let file = match named {
        Some(named) => Some(named),
        // Merely found: a stranger's link must not lead dlconf elsewhere.
        None => settings::present(here, "--schema")
            .map_err(settings_failure)?
            .then(|| ShownPath { beneath: Some(".".into()), ..ShownPath::named(here) }),
    };
    let (label, text) = match file {
        None => (BUILT_IN_SCHEMA.to_owned(), Cow::Borrowed(DATALENS)),
        Some(file) => {
            let read = file.read(TEXT_LIMIT).map_err(|fault| unread_schema(&file.label, fault))?;
            (file.label, Cow::Owned(read.text))
        }
    };
    match parse(&label, &text) {
        Ok(parsed) => Ok(LoadedSchema { parsed, text }),
        Err(mistakes) => {
            let errors = mistakes.into_iter().filter(|m| m.severity == Severity::Error);
            let faults = errors.map(|mistake| mistake_fault(&label, &text, mistake, style)).collect();
            Err(Failure { exit: exit::USAGE, faults })
        }
    }
}

fn unread_schema(label: &str, fault: FileFault) -> Failure {
    let outside = fault == FileFault::Outside;
    let fault = fault.at(&label.into());
    let (message, help) = if outside {
        (
            format!("{label} was found, not named, so it may not lead outside its folder"),
            format!("if you trust it, say so: --schema {label}"),
        )
    } else {
        (format!("the schema could not be read: {}", fault.message), fault.help)
    };
    Failure {
        exit: if outside { exit::REFUSED } else { exit::USAGE },
        faults: vec![Fault {
            code: None,
            message,
            place: Some(fault.location.to_string()),
            help: Some(help),
            drawn: None,
        }],
    }
}

/// A mistake in the schema, drawn with its line.
pub(super) fn mistake_fault(label: &str, text: &str, mistake: Mistake, style: Style) -> Fault {
    let at = Lines::new(text).span(mistake.at.start);
    Fault {
        code: None,
        drawn: Some(report::mistake::draw(label, text, &mistake, style)),
        message: mistake.message,
        place: Some(format!("{label}:{}:{}", at.line, at.column)),
        help: mistake.help,
    }
}

/// Opens the settings.
pub(super) fn open_settings(global: &Global) -> Result<settings::Opened, Failure> {
    let folder = std::env::current_dir().map_err(|error| {
        Failure::new(exit::USAGE, format!("the working directory is gone: {error}"), None)
    })?;
    settings::open(global.config.as_deref(), &folder).map_err(settings_failure)
}

/// What the options and the settings say, checked, before any source is built.
pub(super) struct Ground {
    pub(super) opened: settings::Opened,
    pub(super) schema: Schema,
    pub(super) environment: String,
    pub(super) service: Option<String>,
    pub(super) sources: Vec<SourceSettings>,
    process: Environment,
}

/// Reads the settings and the schema, and chooses environment and service.
pub(super) fn ground(global: &Global, choice: Choice, style: Style) -> Result<Ground, Failure> {
    let process: Environment = std::env::vars_os().collect::<Vec<_>>().into();
    let opened = open_settings(global)?;
    let schema = load_schema(global, &opened, style)?.parsed.schema;
    let environment = choose_environment(global, choice, &opened, &schema, &process)?;
    let network = if global.offline { Network::Offline } else { Network::Online(&process) };
    let settings =
        opened.in_environment(&environment, &schema.environments.names, network).map_err(settings_failure)?;
    let service = choose_service(global, settings.service, &schema)?;
    Ok(Ground { opened, schema, environment, service, sources: settings.sources, process })
}

/// Chooses everything that is chosen before a source is read.
pub(super) fn setup(global: &Global, choice: Choice, style: Style) -> Result<Setup, Failure> {
    build(ground(global, choice, style)?, global)
}

/// Builds the sources.
pub(super) fn build(ground: Ground, global: &Global) -> Result<Setup, Failure> {
    let Ground { schema, environment, service, sources: settings, process, opened: _ } = ground;
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    let mut env_files = Vec::new();
    let mut files: Vec<ShownPath> = Vec::new();
    let mut has_dotenv = false;
    let mut passed_over = Vec::new();
    let mut remote = Vec::new();
    for source in settings {
        let name = source.name;
        match source.kind {
            SourceKind::Env => sources.push(Box::new(EnvSource::new(name, Arc::clone(&process)))),
            SourceKind::Dotenv { path, folder, optional } => {
                let files = if !global.env_files.is_empty() && !has_dotenv {
                    named_files(&global.env_files)
                } else if !global.env_files.is_empty() {
                    Vec::new()
                } else if let Some(path) = path {
                    vec![(path, optional)]
                } else {
                    listed_files(&environment, schema.environments.is_development(&environment), &folder)
                };
                has_dotenv = true;
                sources.push(dotenv(name, &files));
                env_files.extend(files.into_iter().map(|(path, _)| path));
            }
            SourceKind::File { path, notation, optional } => {
                files.push(path.clone());
                let source = StructuredSource::new(name, path.path, &path.label, notation, optional);
                sources.push(Box::new(source.beneath(path.beneath)));
            }
            SourceKind::Directory { path, optional } => {
                let source = DirectorySource::new(name, path.path, &path.label, optional);
                sources.push(Box::new(source.beneath(path.beneath)));
            }
            SourceKind::Vault { config, token } => {
                let token = token.and_then(|variable| env::credential(&process, variable));
                remote.push(name.clone());
                sources.push(Box::new(VaultSource::new(name, *config, token)));
            }
            SourceKind::PassedOver => passed_over.push(name),
        }
    }
    if !has_dotenv && !global.env_files.is_empty() {
        // The settings have no such source: the files go under all others.
        let files = named_files(&global.env_files);
        sources.insert(0, dotenv(SourceName::new("env-file"), &files));
        env_files.extend(files.into_iter().map(|(path, _)| path));
    }
    files.extend(env_files.iter().cloned());
    let runtime = runtime()?;
    Ok(Setup {
        schema,
        environment,
        service,
        process,
        env_files,
        files,
        sources,
        passed_over,
        runtime,
        remote,
    })
}

/// One thread: sources wait, they do not compute.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(exit::REFUSED, format!("the system refuses what waiting needs: {error}"), None)
    })
}

/// Closes sources, all at once; false if some were not done by the deadline.
pub(super) async fn close_all(sources: &[Box<dyn Source>], values: Use, deadline: Duration) -> bool {
    let closing = join_all(sources.iter().map(|source| source.close(values)));
    tokio::time::timeout(deadline, closing).await.is_ok()
}

/// What becomes of the values of a command that gives them to its caller.
pub(super) fn given_out(done: &Result<u8, Failure>) -> Use {
    if matches!(done, Ok(exit::FINE)) { Use::GoesOn } else { Use::Over }
}

fn named_files(paths: &[PathBuf]) -> Vec<(ShownPath, bool)> {
    paths.iter().map(|path| (ShownPath::named(path), false)).collect()
}

fn listed_files(environment: &str, development: bool, folder: &ShownPath) -> Vec<(ShownPath, bool)> {
    let names = four_files(environment, development);
    let shown = |name: String| ShownPath {
        path: folder.path.join(&name),
        label: Path::new(&folder.label).join(&name).display().to_string(),
        beneath: folder.beneath.clone(),
    };
    names.into_iter().map(|name| (shown(name), true)).collect()
}

fn dotenv(name: SourceName, files: &[(ShownPath, bool)]) -> Box<dyn Source> {
    let files = files.iter().map(|(file, optional)| EnvFile {
        path: file.path.clone(),
        label: file.label.as_str().into(),
        optional: *optional,
        beneath: file.beneath.clone(),
    });
    Box::new(DotenvSource::new(name, files.collect()))
}

fn choose_environment(
    global: &Global,
    choice: Choice,
    opened: &settings::Opened,
    schema: &Schema,
    process: &Environment,
) -> Result<String, Failure> {
    let names = &schema.environments.names;
    let variable = &schema.environments.variable;
    let own = env::lookup(process, variable.as_str()).map(|value| value.expose().to_owned());
    let asked = by_caller(global.environment.as_ref(), "--env or DLCONF_ENV")
        .or_else(|| opened.environment().map(|chosen| by_settings(chosen, "environment")))
        .or_else(|| {
            own.filter(|name| !name.is_empty()).map(|name| (name, format!("the process's {variable}")))
        });
    let assumed = |laptop: &str| (laptop.to_owned(), "default".to_owned());
    let (chosen, by) = match (choice, asked, schema.environments.laptop()) {
        (Choice::Development, _, None) => {
            return Err(Failure::usage(
                "dev is for laptops, but the schema does not say which of its environments is theirs",
                format!(
                    "write `development = \"…\"` under `environments` in the schema, with one of: {}",
                    names.join(", ")
                ),
            ));
        }
        (Choice::Development, Some((name, by)), Some(laptop)) if name != laptop => {
            return Err(Failure::usage(
                format!("dev is for {laptop}, but {name} is chosen, by {by}"),
                format!("use `dlconf run --env {name} -- …`, or `dlconf dev --env {laptop} -- …`"),
            ));
        }
        (_, Some(asked), _) => asked,
        (Choice::Development, None, Some(laptop)) => assumed(laptop),
        (Choice::Asked, None, Some(laptop)) if !opened.has_file() => assumed(laptop),
        (Choice::Asked, None, _) => {
            let why = if opened.has_file() {
                "and with a settings file none is assumed"
            } else {
                "and the schema does not say which is a laptop's"
            };
            return Err(Failure::usage(
                format!("no environment is chosen, {why}"),
                format!("say `--env {}`, or set `environment` in the settings", names.join("` or `--env ")),
            ));
        }
    };
    if names.iter().any(|name| **name == *chosen) {
        return Ok(chosen);
    }
    let near = nearest(&chosen.to_ascii_lowercase(), names.iter().map(|name| &**name));
    Err(unknown("environment", &chosen, &by, near, names))
}

fn choose_service(
    global: &Global,
    settings: Option<Chosen>,
    schema: &Schema,
) -> Result<Option<String>, Failure> {
    let asked = by_caller(global.service.as_ref(), "--service or DLCONF_SERVICE")
        .or_else(|| settings.map(|chosen| by_settings(chosen, "service")));
    let Some((service, by)) = asked else { return Ok(None) };
    if schema.services.iter().any(|known| **known == *service) {
        return Ok(Some(service));
    }
    let near = nearest(&service, schema.services.iter().map(|s| &**s));
    Err(unknown("service", &service, &by, near, &schema.services))
}

/// A name, and who chose it.
fn by_caller(name: Option<&String>, option: &str) -> Option<(String, String)> {
    name.map(|name| (name.clone(), option.to_owned()))
}

fn by_settings(chosen: Chosen, field: &str) -> (String, String) {
    (chosen.name, format!("`{field}` in {}", chosen.place))
}

fn unknown(what: &str, name: &str, by: &str, near: Option<&str>, known: &[Box<str>]) -> Failure {
    let help = match near {
        Some(near) => format!("did you mean {near}?"),
        None if known.is_empty() => "the schema lists none: choose none".to_owned(),
        None => format!("the schema has: {}", known.join(", ")),
    };
    Failure::usage(format!("the schema has no {what} `{name}`, which is chosen by {by}"), help)
}

/// A mistake in the settings, as a failure.
pub(super) fn settings_failure(error: SettingsError) -> Failure {
    let place = error.place.map(|place| place.to_string());
    Failure {
        exit: if error.refused { exit::REFUSED } else { exit::USAGE },
        faults: vec![Fault {
            code: None,
            message: error.message,
            place,
            help: Some(error.help),
            drawn: None,
        }],
    }
}

impl Setup {
    /// What was chosen, for `-v`.
    pub(super) fn describe(&self) -> String {
        let sources: Vec<&str> = self.sources.iter().map(|source| source.name().as_str()).collect();
        format!(
            "schema {}; environment {}; service {}; sources, the last wins: {}",
            self.schema.path,
            self.environment,
            self.service.as_deref().unwrap_or("all"),
            sources.join(", ")
        )
    }

    /// Whether something that was read ends by itself once the sources are closed.
    pub(super) fn has_leases(&self) -> bool {
        let vitals = join_all(self.sources.iter().map(|source| source.vitals()));
        self.runtime.block_on(vitals).iter().any(|vitals| !vitals.lent.is_empty())
    }

    /// Waits for what the sources do. Who tells us to end meanwhile is obeyed when
    /// logins and leases are given back.
    pub(super) fn attend<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(async {
            let held = (!self.remote.is_empty()).then(Interrupts::hold);
            let Some(interrupts) = held.flatten() else { return work.await };
            tokio::select! {
                done = work => done,
                () = interrupts.came() => {
                    let _late_ones_end_by_themselves =
                        close_all(&self.sources, Use::Over, CLOSE_DEADLINE).await;
                    match interrupts.end() {}
                }
            }
        })
    }

    /// Ends the use of the sources. Every command that reads them comes here,
    /// whatever became of it; what fails is no failure of the command's.
    pub(super) fn close(self, values: Use, terminal: &Terminal) {
        let is_remote = !self.remote.is_empty();
        self.end(terminal, async |sources| {
            // Who tells us to end is obeyed a moment later.
            let _held_back = is_remote.then(Interrupts::hold);
            ((), close_all(sources, values, CLOSE_DEADLINE).await)
        });
    }

    /// Ends the use of the sources with a last work that closes them; it says
    /// whether they were closed in time.
    pub(super) fn end<T>(
        self,
        terminal: &Terminal,
        work: impl AsyncFnOnce(&[Box<dyn Source>]) -> (T, bool),
    ) -> T {
        let (done, closed) = self.runtime.block_on(work(&self.sources));
        if !closed {
            terminal
                .detail("not every source could be closed in time: its login and leases end by themselves");
        }
        // A name server that does not answer holds a thread, and must not hold us.
        self.runtime.shutdown_background();
        done
    }

    /// Reads the sources, resolves and validates.
    pub(super) fn assemble(&self, names_only: bool, terminal: &Terminal) -> Assembled {
        let known = self.known_names();
        let ask = Ask { known: &known, names_only, retry: true };
        let mut fetching = join_all(self.sources.iter().map(|source| source.fetch(ask)));
        let fetched = self.attend(async {
            if let Ok(fetched) = tokio::time::timeout(SILENCE, &mut fetching).await {
                return fetched;
            }
            let names: Vec<&str> = self.remote.iter().map(SourceName::as_str).collect();
            terminal.note(&format!("waiting for {}; --offline goes without", names.join(", ")));
            fetching.await
        });
        let mut layers = Vec::with_capacity(self.sources.len());
        let mut unread = Vec::new();
        let mut findings = Vec::new();
        for fetched in fetched {
            match fetched {
                Ok(layer) => layers.push(layer),
                Err(error) => {
                    layers.extend(error.rest.map(|rest| *rest));
                    for fault in error.faults {
                        let code = match fault.kind {
                            FaultKind::NotPermitted => Code::NotPermitted,
                            FaultKind::Unreachable | FaultKind::Malformed => Code::SourceUnreachable,
                        };
                        let source = error.source_name.clone();
                        let origin =
                            Origin { source, location: fault.location, revision: None, modified: None };
                        findings.push(finding(code, None, fault.message, origin, fault.help));
                    }
                    unread.push(Unread { source: error.source_name, why: "could not be read" });
                }
            }
        }
        let resolution = resolve(layers, &|name| env::lookup(&self.process, name));
        for broken in &resolution.broken {
            let (key, origin) = (Some(broken.key.clone()), broken.origin.clone());
            let (message, help) = (broken.message.clone(), broken.help.clone());
            findings.push(finding(Code::SourceUnreachable, key, message, origin, help));
        }
        let failed = !unread.is_empty() || !resolution.broken.is_empty();
        let not_asked =
            |source: &SourceName| Unread { source: source.clone(), why: "was not asked: --offline" };
        unread.extend(self.passed_over.iter().map(not_asked));
        let question = Question {
            environment: &self.environment,
            service: self.service.as_deref(),
            names_only,
            unread: &unread,
        };
        let mut verdict = validate(&self.schema, &resolution, question);
        verdict.findings.splice(0..0, findings);
        verdict.findings.extend(resolution.remarks.iter().map(|remark| Finding {
            severity: Severity::Warning,
            ..finding(remark.code, None, remark.message.clone(), remark.origin.clone(), remark.help.clone())
        }));
        self.withdraw_impossible_fixes(&mut verdict.findings);
        Assembled { resolution, verdict, unread: failed }
    }

    /// Takes the fixes away that cannot be done: in other notations than that of
    /// env files a value may be written in any way, and the environment is not ours
    /// to change.
    fn withdraw_impossible_fixes(&self, findings: &mut [Finding]) {
        for finding in findings {
            let path = finding.origin.as_ref().and_then(|origin| origin.location.path());
            let among = |files: &[ShownPath]| path.is_some_and(|path| files.iter().any(|f| f.label == path));
            let possible = match finding.fix {
                Some(Fix::Mode(_)) => among(&self.files),
                Some(Fix::Rename(_) | Fix::Value(_)) => among(&self.env_files),
                None => true,
            };
            if !possible {
                finding.fix = None;
            }
        }
    }

    /// Every name that a source may take from a place it shares with strangers.
    pub(super) fn known_names(&self) -> BTreeSet<Key> {
        let schema = &self.schema;
        let declared = schema.vars.iter().map(|var| &var.key);
        let replaced = schema.replaced.keys();
        let retired = schema.retired.iter().map(|retired| &retired.key);
        declared.chain(replaced).chain(retired).chain([&schema.environments.variable]).cloned().collect()
    }
}

fn finding(code: Code, variable: Option<Key>, message: String, origin: Origin, help: String) -> Finding {
    Finding {
        code,
        severity: Severity::Error,
        variable,
        message,
        origin: Some(origin),
        snippet: None,
        notes: Vec::new(),
        help: Some(help),
        fix: None,
    }
}
