//! `on_change`: what is done when a delivery's bytes have changed.
//!
//! Invariants: a program is named by its whole path, because none is searched
//! for; settings that were merely found run and signal nothing.

use std::str::FromStr as _;
use std::time::Duration;

use super::super::SettingsError;
use super::super::raw::RawOnChange;
use super::super::table::{Least, Table};
use crate::delivery::config::{Action, OnChange};
use crate::model::schema::toml_reader::nearest;
use crate::process::Signal;

/// After which a program is ended.
const TIMEOUT: Duration = Duration::from_secs(30);

/// From one change that is told to the next.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn read(table: &Table<'_>, raw: &RawOnChange) -> Result<OnChange, SettingsError> {
    let action = match (&raw.exec, &raw.signal) {
        (Some(argv), None) => {
            useless(table, "pid_file", raw.pid_file.as_ref(), "it runs a program")?;
            exec(table, argv, raw.timeout.as_deref())?
        }
        (None, Some(name)) => {
            useless(table, "timeout", raw.timeout.as_ref(), "a signal takes no time")?;
            to_process(table, name, raw.pid_file.as_deref())?
        }
        (Some(_), Some(_)) => {
            let field = ["on_change", "signal"];
            return Err(table.wrong(&field, "stands beside `exec`", "keep one of them"));
        }
        (None, None) => {
            let help =
                "add `exec = [\"/usr/local/bin/reload\"]`, or `signal = \"HUP\"` with `pid_file = \"…\"`";
            return Err(table.wrong(&["on_change"], "says nothing that is to be done", help));
        }
    };
    let field = ["on_change", "min_interval"];
    let min_interval = table.duration(&field, raw.min_interval.as_deref(), MIN_INTERVAL, Least::Zero)?;
    Ok(OnChange { action, min_interval })
}

fn useless(
    table: &Table<'_>,
    field: &str,
    text: Option<&String>,
    because: &str,
) -> Result<(), SettingsError> {
    match text {
        Some(_) => {
            Err(table.wrong(&["on_change", field], &format!("has no use here: {because}"), "remove it"))
        }
        None => Ok(()),
    }
}

fn exec(table: &Table<'_>, argv: &[String], timeout: Option<&str>) -> Result<Action, SettingsError> {
    let field = ["on_change", "exec"];
    if table.confined(&field).is_some() {
        return Err(table.refused(&field, "run programs"));
    }
    let Some((program, arguments)) = argv.split_first() else {
        return Err(table.wrong(&field, "is empty", "write a list: [\"/usr/local/bin/reload\", \"app\"]"));
    };
    let program = self::program(table, program)?;
    for (at, argument) in arguments.iter().enumerate() {
        // An argument may be empty.
        if argument.contains('\0') {
            let (at, help) = ((at + 1).to_string(), "remove it: no argument can hold one");
            return Err(table.wrong(&["on_change", "exec", &at], "holds a NUL byte", help));
        }
    }
    let argv = [program].into_iter().chain(arguments.iter().cloned()).collect();
    let timeout = table.duration(&["on_change", "timeout"], timeout, TIMEOUT, Least::Some)?;
    Ok(Action::Exec { argv, timeout })
}

/// The program's whole path.
fn program(table: &Table<'_>, text: &str) -> Result<String, SettingsError> {
    let field = ["on_change", "exec", "0"];
    let text = table.filled(&field, text)?;
    if !text.contains('/') {
        let clause = "has no `/`, and no PATH is searched";
        return Err(table.wrong(&field, clause, format!("write it whole: \"/usr/local/bin/{text}\"")));
    }
    table.opened.folder.join(text).into_os_string().into_string().map_err(|_| {
        let clause = "starts at the settings' folder, whose name is not UTF-8";
        table.wrong(&field, clause, "write it whole: \"/usr/local/bin/reload\"")
    })
}

fn to_process(table: &Table<'_>, name: &str, pid_file: Option<&str>) -> Result<Action, SettingsError> {
    let (field, of_pid) = (["on_change", "signal"], ["on_change", "pid_file"]);
    // Both, because either alone would choose what happens to whom.
    if let Some(own) = [field, of_pid].iter().find(|field| table.confined(*field).is_some()) {
        return Err(table.refused(own, "signal processes"));
    }
    let signal = signal(table, &field, name)?;
    let Some(path) = pid_file else {
        let help = "add `pid_file = \"…\"`: the file that holds the process's number";
        return Err(table.wrong(&field, "has no `pid_file` beside it", help));
    };
    let shown = table.opened.shown(table.filled(&of_pid, path)?, None, || table.place(&of_pid))?;
    Ok(Action::Signal { signal, pid_file: shown.path, label: shown.label })
}

fn signal(table: &Table<'_>, field: &[&str], name: &str) -> Result<Signal, SettingsError> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let signal = Signal::from_str(&format!("SIG{short}")).map_err(|_| {
        let known = Signal::iterator().map(Signal::as_str).filter_map(|name| name.strip_prefix("SIG"));
        let help = nearest(short, known).map_or_else(
            || "write its name: \"HUP\", \"TERM\", \"USR1\"".to_owned(),
            |near| format!("did you mean \"{near}\"?"),
        );
        table.wrong(field, "is no signal that is known here", help)
    })?;
    if matches!(signal, Signal::SIGKILL | Signal::SIGSTOP) {
        let clause = format!("is {short}, which no process can act upon");
        return Err(table.wrong(
            field,
            &clause,
            "write one that it handles: \"HUP\" to reload, \"TERM\" to end",
        ));
    }
    Ok(signal)
}
