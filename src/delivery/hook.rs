//! `on_change` of one delivery: what is done when its bytes have changed.
//!
//! Owns: when the next run is due; carrying it out; hiding values in what a
//! program wrote. Invariants: never two runs at once, and never two beginnings
//! within the least interval; changes meanwhile are told together, as the last of
//! them; the program is told which delivery and version, never a value.
//! Must not know: whether bytes changed (the courier does); how lines are shown.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::config::{Action, OnChange};
use crate::model::snapshot::Version;
use crate::process::helper::{Outcome, Ran, Request};
use crate::process::{HelperHandle, Signal, pidfd};

mod mask;

pub use mask::mask;

/// What a change is told as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The generation that changed the bytes: `DLCONF_VERSION`.
    pub version: Version,
    /// The file or directory: `DLCONF_PATH`.
    pub path: PathBuf,
}

/// What became of one run.
#[derive(Clone, PartialEq, Eq)]
pub struct HookRan {
    /// Whether it did what it is for.
    pub ok: bool,
    /// How it went, in words: `exit code 1`, `TERM sent to process 4711`.
    pub detail: String,
    /// What to do, where that is known.
    pub help: Option<&'static str>,
    /// What the program wrote. It may repeat secrets: see [`mask`]. `Debug` does
    /// not show it.
    pub lines: Vec<String>,
    /// How many lines it wrote beyond those.
    pub dropped_lines: usize,
}

impl fmt::Debug for HookRan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.len() + self.dropped_lines;
        write!(f, "HookRan({}, {lines} lines)", self.detail)
    }
}

/// The `on_change` of one delivery.
#[derive(Debug)]
pub struct Hook {
    delivery: String,
    action: Action,
    min_interval: Duration,
    helper: Option<HelperHandle>,
    /// The last change that was not yet told.
    wanted: Option<Context>,
    /// Before which there is no next run.
    not_before: Option<Instant>,
    /// Held by the run that is under way.
    one_at_once: Arc<Mutex<()>>,
}

impl Hook {
    /// For the delivery of this name. Without the process that runs programs, an
    /// `exec` says that it was not started.
    pub fn new(delivery: &str, on_change: OnChange, helper: Option<HelperHandle>) -> Self {
        Self {
            delivery: delivery.to_owned(),
            action: on_change.action,
            min_interval: on_change.min_interval,
            helper,
            wanted: None,
            not_before: None,
            one_at_once: Arc::default(),
        }
    }

    /// The delivery's bytes have changed. A change before it that was not yet told
    /// is told with it.
    pub fn wanted(&mut self, context: Context) {
        self.wanted = Some(context);
    }

    /// Whether a change was not yet told.
    pub fn is_owed(&self) -> bool {
        self.wanted.is_some()
    }

    /// Waits until a run is wanted and allowed; for ever if none is wanted. It may
    /// be dropped at any time.
    pub async fn due(&self) {
        if self.wanted.is_none() {
            std::future::pending::<()>().await;
        }
        if let Some(not_before) = self.not_before {
            tokio::time::sleep_until(not_before).await;
        }
        drop(self.one_at_once.lock().await);
    }

    /// Tells what is wanted; does nothing, and gives none, if nothing is. The run
    /// counts from this call, and keeps nothing of the hook: the courier can wait
    /// for it beside other work. One that is dropped has told nobody, or leaves its
    /// program running until its timeout.
    pub fn run(&mut self) -> impl Future<Output = Option<HookRan>> + Send + use<> {
        let wanted = self.wanted.take();
        if wanted.is_some() {
            self.not_before = Instant::now().checked_add(self.min_interval);
        }
        let (action, helper) = (self.action.clone(), self.helper.clone());
        let (delivery, turn) = (self.delivery.clone(), Arc::clone(&self.one_at_once));
        async move {
            let context = wanted?;
            let _turn = turn.lock_owned().await;
            Some(match action {
                Action::Exec { argv, timeout } => {
                    let environment = told(delivery, &context);
                    execute(helper, Request { argv, timeout, environment }).await
                }
                Action::Signal { signal, pid_file, label } => send(signal, pid_file, &label).await,
            })
        }
    }
}

/// What a program learns about the change.
fn told(delivery: String, context: &Context) -> Vec<(String, String)> {
    vec![
        ("DLCONF_DELIVERY".into(), delivery),
        ("DLCONF_VERSION".into(), context.version.to_string()),
        ("DLCONF_PATH".into(), context.path.to_string_lossy().into_owned()),
    ]
}

async fn execute(helper: Option<HelperHandle>, request: Request) -> HookRan {
    let timeout = request.timeout;
    let ran = match helper {
        Some(helper) => helper.run(request).await.map_err(|error| error.to_string()),
        None => Err("the system had no process for it when dlconf started".into()),
    };
    let Ran { outcome, lines, dropped_lines } = match ran {
        Ok(ran) => ran,
        // Whether it was started, nobody can say if its process has gone since.
        Err(why) => return failed(format!("not run to its end: {why}"), None),
    };
    let (ok, detail) = match outcome {
        Outcome::Code(code) => (code == 0, format!("exit code {code}")),
        Outcome::Signal(number) => (false, format!("ended by {}", signal_name(number))),
        Outcome::TimedOut => (false, format!("timed out after {timeout:?} and was ended")),
        Outcome::NotStarted(why) => (false, format!("not started: {why}")),
    };
    HookRan { ok, detail, help: None, lines, dropped_lines }
}

async fn send(signal: Signal, pid_file: PathBuf, label: &str) -> HookRan {
    // The file may be on a disk that makes us wait.
    let sent = tokio::task::spawn_blocking(move || pidfd::send_to(&pid_file, signal)).await;
    let name = signal.as_str().trim_start_matches("SIG");
    match sent {
        Ok(Ok(pid)) => HookRan {
            ok: true,
            detail: format!("{name} sent to process {pid}"),
            help: None,
            lines: Vec::new(),
            dropped_lines: 0,
        },
        Ok(Err(error)) => failed(format!("{name} not sent: {label}: {error}"), Some(error.help())),
        Err(_) => failed(format!("{name} not sent: {label}: dlconf is ending"), None),
    }
}

fn failed(detail: String, help: Option<&'static str>) -> HookRan {
    HookRan { ok: false, detail, help, lines: Vec::new(), dropped_lines: 0 }
}

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

#[cfg(test)]
mod tests;
