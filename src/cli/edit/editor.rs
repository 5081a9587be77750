//! The editor: a program in the foreground, until it ends or we are told to.
//!
//! Invariants: it is started as a bare exec would start it; what the terminal sends
//! to both of us is its own affair; a SIGTERM or SIGHUP ends the editing whatever the
//! editor makes of it; what it is known to write elsewhere it writes to the private
//! folder, or not at all.
//! Must not know: what is edited.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Failure, exit, prompt};
use crate::delivery::private::Private;
use crate::process::{Child, Ended, Event, Found, Hardened, Heard, Signal, Signals, from_the_keyboard};

/// How long an editor has to end when we are told to.
const GRACE: Duration = Duration::from_secs(2);

/// Where programs put what is temporary, and (Neovim) what they remember.
const FOLDERS: [&str; 6] = ["TMPDIR", "TMP", "TEMP", "TEMPDIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"];

/// How Vim is kept from remembering: no swap file, no viminfo (which holds what was
/// deleted and copied), no undo file, no backup.
const VIM: [&str; 5] = ["-n", "-i", "NONE", "-c", "set noundofile nobackup nowritebackup"];

/// How it ended.
pub(super) enum Done {
    /// By itself, with this code, or 128+N after signal N.
    Ended(u8),
    /// We were told to end: our code.
    Told(u8),
}

/// The user's editor, ready to be started.
pub(super) struct Editor {
    hardened: Hardened,
    found: Found,
    signals: Signals,
    command: OsString,
}

impl Editor {
    /// Listens to signals from now on: none of them ends us any more.
    pub(super) fn new(hardened: Hardened) -> Result<Self, Failure> {
        let found = Found::look();
        let signals = Signals::listen().map_err(|error| {
            Failure::new(exit::REFUSED, format!("the system refuses signal handlers: {error}"), None)
        })?;
        let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let command = named("VISUAL").or_else(|| named("EDITOR")).unwrap_or_else(|| "vi".into());
        Ok(Self { hardened, found, signals, command })
    }

    /// Whether a person sits before it, who can be asked.
    #[expect(clippy::unused_self, reason = "it is the editor's terminal that is asked about")]
    pub(super) fn is_watched(&self) -> bool {
        use std::io::IsTerminal as _;
        std::io::stdin().is_terminal() && prompt::is_there()
    }

    /// Runs it on the private file, until it ends.
    pub(super) async fn run(&mut self, private: &Private) -> Result<Done, Failure> {
        let mut child =
            Child::start(self.hardened, self.found, &self.arguments(private), &environment(private.folder()))
                .map_err(|error| Failure::new(exit::REFUSED, format!("no editor: {error}"), None))?;
        let mut told: Option<(Signal, Instant)> = None;
        loop {
            let deadline = told.map_or_else(Instant::now, |(_, deadline)| deadline);
            tokio::select! {
                heard = self.signals.next() => match heard {
                    Heard::Passed(signal) => {
                        if matches!(signal, Signal::SIGTERM | Signal::SIGHUP) && told.is_none() {
                            told = Some((signal, Instant::now() + GRACE));
                        }
                        if !(from_the_keyboard(signal) && child.is_in_foreground()) {
                            child.pass(signal);
                        }
                    }
                    Heard::Child => while let Some(event) = child.look() {
                        match (event, told) {
                            (Event::Ended(_), Some((signal, _))) => return Ok(Done::Told(code(signal))),
                            (Event::Ended(code), None) => return Ok(Done::Ended(code)),
                            (Event::Stopped, _) => child.stop_with_it(),
                        }
                    },
                },
                () = tokio::time::sleep_until(deadline), if told.is_some() => {
                    return Ok(Done::Told(told.map_or(0, |(signal, _)| code(signal))));
                }
            }
        }
    }

    /// As git starts editors: whatever the user wrote is a shell's command. Where it is
    /// one program, that takes the shell's place: signals would end the shell alone, and
    /// leave the editor behind with what it holds.
    fn arguments(&self, private: &Private) -> Vec<OsString> {
        let mut script = OsString::from(if is_one_program(&self.command) { "exec " } else { "" });
        script.push(&self.command);
        script.push(" \"$@\"");
        let mut arguments = vec!["sh".into(), "-c".into(), script, self.command.clone()];
        if is_vim(&self.command) {
            arguments.extend(VIM.map(OsString::from));
        }
        arguments.push(private.path().into_os_string());
        arguments
    }
}

/// The exit code of who was ended by a signal.
pub(super) fn code(signal: Signal) -> u8 {
    Ended::of(signal).code
}

/// Our own environment, with the places for what is temporary in the private folder.
fn environment(folder: &Path) -> Vec<(OsString, OsString)> {
    let is_ours = |name: &OsStr| FOLDERS.iter().any(|ours| name == *ours);
    let others = std::env::vars_os().filter(|(name, _)| !is_ours(name));
    others.chain(FOLDERS.map(|name| (name.into(), folder.as_os_str().to_owned()))).collect()
}

/// Whether a shell's command is one program with arguments: not several, and no word
/// that only the shell knows.
fn is_one_program(command: &OsStr) -> bool {
    let Some(command) = command.to_str().filter(|command| !command.contains(['|', '&', ';', '(', ')', '\n']))
    else {
        return false;
    };
    let Some(program) = command.split_whitespace().next() else { return false };
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether a command is Vim or Neovim, by whatever name.
fn is_vim(command: &OsStr) -> bool {
    let Some(program) = command.to_str().and_then(|command| command.split_whitespace().next()) else {
        return false;
    };
    let is_named_so = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vim") || name.starts_with("nvim")
    };
    let followed = |path: &Path| path.canonicalize().is_ok_and(|real| is_named_so(&real));
    if program.contains('/') {
        return followed(Path::new(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let first = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    first.is_some_and(|path| followed(&path))
}
