//! A one-shot command's sources: read once, judged, closed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Runtime;

use super::output::Terminal;
use super::{Failure, Global, exit};
use crate::assemble::{self, Choice, Ground, Sources, WatchedFiles, ground};
use crate::broker::Plan;
use crate::broker::judge::{Given, Judged, Terms, judge};
use crate::model::finding::{Finding, Fix};
use crate::model::key::SourceName;
use crate::model::schema::Schema;
use crate::process::Interrupts;
use crate::report::Style;
use crate::settings::ShownPath;
use crate::source::env::Environment;
use crate::source::notice::Notices;
use crate::source::{Ask, Fault, Source, Use};

/// How long the sources of a one-shot command may take to be closed.
pub(super) const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// How long they may take to take leases back once the program has ended that had them:
/// less than what those who stop services wait before they kill.
pub(super) const RETURN_DEADLINE: Duration = Duration::from_secs(5);

/// How long a person is left without a word while sources are asked.
const SILENCE: Duration = Duration::from_secs(1);

/// Everything that was chosen before a source is read.
pub(super) struct Setup {
    pub(super) schema: Arc<Schema>,
    pub(super) environment: String,
    pub(super) service: Option<String>,
    pub(super) process: Environment,
    /// The env files, lowest first, that the dotenv sources read.
    pub(super) env_files: Vec<ShownPath>,
    /// Every single file that a source reads.
    pub(super) files: Vec<ShownPath>,
    pub(super) sources: Vec<Arc<dyn Source>>,
    /// Remote sources that are not asked, since the caller is offline.
    pub(super) passed_over: Vec<SourceName>,
    /// What waits for the sources, on this thread.
    pub(super) runtime: Runtime,
}

/// Chooses everything that is chosen before a source is read.
pub(super) fn setup(global: &Global, choice: Choice, style: Style) -> Result<Setup, Failure> {
    build(ground(&global.request(), choice, style)?, global)
}

/// Builds the sources.
pub(super) fn build(ground: Ground, global: &Global) -> Result<Setup, Failure> {
    let sources = assemble::build(&ground, &global.request(), None, &|_| None);
    Ok(Setup::new(ground, sources, runtime()?))
}

/// The same, with sources that notice changes, what a broker is to do with them, and
/// the files that settings and schema were read from.
pub(super) fn setup_watched(
    runtime: Runtime,
    global: &Global,
    choice: Choice,
    style: Style,
) -> Result<(Setup, Plan, WatchedFiles), Failure> {
    let (request, hub) = (global.request(), Notices::new());
    let ground = ground(&request, choice, style)?;
    let sources = assemble::build(&ground, &request, Some(&hub), &|_| None);
    let plan = assemble::plan(&ground, &sources);
    let files = WatchedFiles::new(&hub, ground.files.clone());
    Ok((Setup::new(ground, sources, runtime), plan, files))
}

/// One thread: sources wait, they do not compute.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::new(exit::REFUSED, format!("the system refuses what waiting needs: {error}"), None)
    })
}

/// Closes sources, all at once; false if some were not done by the deadline.
pub(super) async fn close_all(sources: &[Arc<dyn Source>], values: Use, deadline: Duration) -> bool {
    let closing = join_all(sources.iter().map(|source| source.close(values)));
    tokio::time::timeout(deadline, closing).await.is_ok()
}

/// What becomes of the values of a command that gives them to its caller.
pub(super) fn given_out(done: &Result<u8, Failure>) -> Use {
    if matches!(done, Ok(exit::FINE)) { Use::GoesOn } else { Use::Over }
}

impl Setup {
    fn new(ground: Ground, sources: Sources, runtime: Runtime) -> Self {
        let Sources { all, env_files, files, passed_over } = sources;
        let sources = all.into_iter().map(|(source, _)| source).collect();
        let Ground { schema, environment, service, process, .. } = ground;
        Self { schema, environment, service, process, env_files, files, sources, passed_over, runtime }
    }

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
            let held = self.is_remote().then(Interrupts::hold);
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
        let is_remote = self.is_remote();
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
        work: impl AsyncFnOnce(&[Arc<dyn Source>]) -> (T, bool),
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

    /// Whether somebody has to be waited for.
    fn is_remote(&self) -> bool {
        self.sources.iter().any(|source| source.is_remote())
    }

    /// Reads the sources, resolves and validates.
    pub(super) fn assemble(&self, names_only: bool, terminal: &Terminal) -> Judged {
        self.attend(self.read(names_only, terminal))
    }

    /// The same, for who waits in the runtime.
    pub(super) async fn read(&self, names_only: bool, terminal: &Terminal) -> Judged {
        let known = self.schema.known_names();
        let ask = Ask { known: &known, names_only, retry: true };
        let mut fetching = join_all(self.sources.iter().map(|source| source.fetch(ask)));
        let fetched = match tokio::time::timeout(SILENCE, &mut fetching).await {
            Ok(fetched) => fetched,
            Err(_) => {
                let remote = self.sources.iter().filter(|source| source.is_remote());
                let names: Vec<&str> = remote.map(|source| source.name().as_str()).collect();
                terminal.note(&format!("waiting for {}; --offline goes without", names.join(", ")));
                fetching.await
            }
        };
        let fetched: Vec<(Option<Box<_>>, Vec<Fault>)> = fetched
            .into_iter()
            .map(|fetched| match fetched {
                Ok(layer) => (Some(Box::new(layer)), Vec::new()),
                Err(error) => (error.rest, error.faults),
            })
            .collect();
        let given: Vec<Given<'_>> = self
            .sources
            .iter()
            .zip(&fetched)
            .map(|(source, (layer, faults))| Given {
                source: source.name(),
                layer: layer.as_deref(),
                faults,
                is_unread: !faults.is_empty(),
            })
            .collect();
        let terms = Terms {
            schema: &self.schema,
            environment: &self.environment,
            service: self.service.as_deref(),
            process: &self.process,
            names_only,
            value_free: false,
            forgotten: &[],
        };
        let mut judged = judge(terms, &given, &self.passed_over);
        self.withdraw_impossible_fixes(&mut judged.verdict.findings);
        judged
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
}
