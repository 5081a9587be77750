//! The options of a supervisor, which `run --watch` and `dev` share.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};
use url::Url;

use super::duration;
use crate::cli::{Failure, exit};
use crate::delivery::encode::Format;
use crate::failure::Fault;
use crate::process::{Place, Signal, signal_named};
use crate::supervise::{self, Backoff, Health, OnChange, Terms};

/// How long a program may take to show that it works.
const HEALTHY_TIMEOUT: Duration = Duration::from_mins(1);

/// How a program is supervised.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Supervision")]
pub(in crate::cli) struct Supervision {
    /// What a change of the program's variables does: restart, signal:NAME (the program alone; with --deliver file, for its environment stays as it is), exec:CMD, none
    #[arg(long, value_name = "ACTION", default_value = "restart", value_parser = on_change)]
    on_change: OnChange,
    /// The signal that asks the program, and all in its process group, to end
    #[arg(long, value_name = "NAME", default_value = "TERM", value_parser = signal)]
    stop_signal: Signal,
    /// How long they may take before they are killed
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    kill_timeout: Duration,
    /// Let a change wait for a random time up to this, so that not all replicas restart at once
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    splay: Duration,
    /// At least so long between two restarts that changes cause
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    min_interval: Duration,
    /// Start the program again when it ends by itself, instead of ending with its code
    #[arg(long)]
    keep_alive: bool,
    /// With --keep-alive, start it again after this; doubled each time that it ends again
    #[arg(long, value_name = "DURATION", default_value = "500ms", requires = "keep_alive", value_parser = duration)]
    backoff: Duration,
    /// With --keep-alive, the longest of these times; a program that lived longer begins anew
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "keep_alive", value_parser = duration)]
    backoff_max: Duration,
    /// With --keep-alive, how often in a row it is started again before dlconf ends with its code
    #[arg(long, value_name = "N", requires = "keep_alive")]
    max_restarts: Option<u32>,
    /// What shows that it works with new values (an http or https URL, a command, or seconds that it lives); otherwise it is put back on the previous ones
    #[arg(long, value_name = "URL|CMD|SECONDS", value_parser = healthy)]
    healthy: Option<Health>,
    /// How long it may take to show that (60s)
    #[arg(long, value_name = "DURATION", requires = "healthy", value_parser = duration)]
    healthy_timeout: Option<Duration>,
    /// Start the program in a session of its own, without the terminal
    #[arg(long)]
    setsid: bool,
    /// How the program gets its values: env, or the path of a file (0600, in memory) or of a sealed memfd in DLCONF_FILE
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    deliver: Deliver,
    /// With --deliver file or fd, who reads it: dotenv, compose, docker, systemd, shell, powershell, godotenv, node, python, json, yaml
    #[arg(long, value_name = "READER", default_value = "dotenv", requires = "deliver", value_parser = readable)]
    deliver_format: Format,
}

/// `--deliver`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Deliver {
    /// As its environment.
    #[default]
    Env,
    /// As a private file in memory.
    File,
    /// As a sealed memory file without a name.
    Fd,
}

impl Supervision {
    /// What it comes to. `is_locked`: restarts wait for a lock.
    ///
    /// # Errors
    /// [`Failure`] with all that does not go together.
    pub(in crate::cli) fn terms(&self, is_locked: bool) -> Result<Terms, Failure> {
        let faults = self.faults(is_locked);
        if !faults.is_empty() {
            return Err(Failure { exit: exit::USAGE, faults });
        }
        Ok(Terms {
            on_change: self.on_change.clone(),
            stop_signal: self.stop_signal,
            kill_timeout: self.kill_timeout,
            splay: self.splay,
            min_interval: self.min_interval,
            keep_alive: self.keep_alive,
            backoff: Backoff { first: self.backoff, most: self.backoff_max },
            max_restarts: self.max_restarts,
            healthy: self.healthy.clone(),
            healthy_timeout: self.healthy_timeout.unwrap_or(HEALTHY_TIMEOUT),
            place: if self.setsid { Place::Session } else { Place::Group },
            deliver: match self.deliver {
                Deliver::Env => supervise::Deliver::Environment,
                Deliver::File => supervise::Deliver::File(self.deliver_format),
                Deliver::Fd => supervise::Deliver::Fd(self.deliver_format),
            },
        })
    }

    /// All that does not go together, in one run.
    fn faults(&self, is_locked: bool) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |message: &str, help: &str| {
            faults.push(Fault {
                code: None,
                message: message.to_owned(),
                place: None,
                help: Some(help.to_owned()),
                drawn: None,
            });
        };
        match self.on_change {
            OnChange::Signal(Signal::SIGKILL | Signal::SIGTERM) => fault(
                "--on-change with a signal that ends the program would end dlconf as well",
                "say --on-change restart; --stop-signal chooses the signal for that",
            ),
            OnChange::Signal(signal) if stops(signal) => fault(
                "--on-change with a signal that stops the program leaves it standing still",
                "name the one by which it reads its configuration again, such as HUP",
            ),
            OnChange::Signal(_) | OnChange::Exec(_) if self.deliver == Deliver::Fd => fault(
                "--deliver fd hands over a sealed file, which cannot change under the running program",
                "say --deliver file, or --on-change restart",
            ),
            _ => {}
        }
        if is_locked && self.on_change != OnChange::Restart {
            fault(
                "--restart-lock lets one replica restart at a time, and this --on-change restarts none",
                "leave either out",
            );
        }
        if stops(self.stop_signal) || is_harmless(self.stop_signal) {
            fault(
                "--stop-signal names a signal that ends no program",
                "name one that does, such as TERM, INT or QUIT",
            );
        }
        if self.backoff > self.backoff_max {
            fault(
                "--backoff is longer than --backoff-max, which is the longest of these times",
                "give a longer --backoff-max (30s by default), or a shorter --backoff",
            );
        }
        match (&self.healthy, self.healthy_timeout) {
            (Some(Health::Lives(time)), _) if time.is_zero() => {
                fault("--healthy 0 shows nothing", "give the seconds that a program lives if it works");
            }
            (Some(Health::Lives(time)), Some(timeout)) if timeout < *time => fault(
                "--healthy-timeout is shorter than the time of --healthy",
                "leave it out: a program that has only to live fails by ending",
            ),
            (Some(_), Some(timeout)) if timeout.is_zero() => {
                fault("--healthy-timeout 0 leaves no time to show anything", "give it some seconds");
            }
            _ => {}
        }
        faults
    }
}

/// Whether it lets a program stand still.
fn stops(signal: Signal) -> bool {
    matches!(signal, Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)
}

/// Whether it does nothing to a program that does not care.
fn is_harmless(signal: Signal) -> bool {
    matches!(signal, Signal::SIGCONT | Signal::SIGCHLD | Signal::SIGURG | Signal::SIGWINCH)
}

fn signal(text: &str) -> Result<Signal, String> {
    signal_named(text).ok_or_else(|| "write the name of a signal, such as TERM or HUP".to_owned())
}

fn on_change(text: &str) -> Result<OnChange, String> {
    match text.split_once(':') {
        None if text == "restart" => Ok(OnChange::Restart),
        None if text == "none" => Ok(OnChange::None),
        Some(("signal", name)) => signal(name).map(OnChange::Signal),
        Some(("exec", command)) => words(command).map(OnChange::Exec),
        _ => Err("write restart, signal:NAME, exec:CMD or none".to_owned()),
    }
}

/// A format that a program may read: no manifest.
fn readable(text: &str) -> Result<Format, String> {
    let formats = || Format::ALL.iter().copied().filter(|format| *format != Format::K8sSecret);
    formats().find(|format| format.as_str() == text).ok_or_else(|| {
        let known: Vec<&str> = formats().map(Format::as_str).collect();
        format!("one of: {}", known.join(", "))
    })
}

/// A command's words, as a shell quotes them; no shell runs it.
fn words(command: &str) -> Result<Vec<OsString>, String> {
    let words = shlex::split(command).ok_or("a quotation mark is not closed")?;
    if words.is_empty() {
        return Err("the command is missing".to_owned());
    }
    Ok(words.into_iter().map(OsString::from).collect())
}

fn healthy(text: &str) -> Result<Health, String> {
    if text.starts_with("http://") || text.starts_with("https://") {
        return Url::parse(text).map(Health::Answers).map_err(|error| format!("this is no URL: {error}"));
    }
    let seconds = text.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()));
    match seconds.or_else(|| duration(text).ok()) {
        Some(time) => Ok(Health::Lives(time)),
        None => words(text).map(Health::Runs),
    }
}
