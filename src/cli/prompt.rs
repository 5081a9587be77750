//! Asking the person at the terminal: a passphrase, or yes or no.
//!
//! Owns: the controlling terminal while a question stands on it. Invariants: what is
//! typed as a passphrase is not shown; the terminal is as it was before anything else
//! happens, also where ^C, ^Z or a SIGTERM ends or stops us meanwhile; what was typed
//! is wiped.
//! Must not know: what a passphrase opens.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{Failure, exit};
use crate::process::Found;
use crate::source::key_file::LEAST_PASSPHRASE;

/// The longest line that a terminal gives at once.
const LINE: usize = 4096;

/// What ends us or stops us, unless somebody listens.
const ENDING: [Signal; 5] =
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTSTP];

/// Asks for a passphrase that is there already.
pub(super) fn passphrase(of: &str) -> Result<Zeroizing<String>, Failure> {
    ask(&open()?, &format!("Passphrase of {of}: "))
}

/// Asks for a new passphrase, twice.
pub(super) fn new_passphrase(of: &str) -> Result<Zeroizing<String>, Failure> {
    let mut terminal = open()?;
    loop {
        let first = ask(&terminal, &format!("New passphrase of {of}: "))?;
        let problem = if first.chars().count() < LEAST_PASSPHRASE {
            format!("It needs at least {LEAST_PASSPHRASE} characters: five random words are good.\n")
        } else if *ask(&terminal, "The same again: ")? == *first {
            return Ok(first);
        } else {
            "The two are not the same.\n".to_owned()
        };
        terminal.write_all(problem.as_bytes()).map_err(|_| gone())?;
    }
}

/// Asks for a value that is not shown.
pub(super) fn value(of: &str) -> Result<Zeroizing<String>, Failure> {
    let terminal =
        at("there is no terminal to ask for the value on", "give it on stdin: --from-stdin < FILE")?;
    ask(&terminal, &format!("New {of}: "))
}

/// Asks for this word to be typed. False where something else was, or nothing.
pub(super) fn repeats(question: &str, word: &str) -> Result<bool, Failure> {
    let mut terminal = at("there is no terminal to ask on", "say so by name: --yes")?;
    let signals = Held::hold().map_err(|_| gone())?;
    terminal.write_all(question.as_bytes()).map_err(|_| gone())?;
    // A signal that came instead is delivered when `signals` is dropped.
    let typed = line(&terminal, &signals)?;
    Ok(typed.is_some_and(|typed| typed.trim() == word))
}

/// Whether there is a terminal to ask on.
pub(super) fn is_there() -> bool {
    open().is_ok()
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Enter alone says so too.
    Yes,
    /// So does ^C, and nobody who answers.
    No,
    /// Somebody told us to end.
    Told(Signal),
}

/// Asks yes or no. ^Z stops us meanwhile, and the question is asked again.
pub(super) fn agrees(question: &str) -> Answer {
    loop {
        match asked(question) {
            Ok(Heard::Line(answer)) if answer.trim().starts_with(['n', 'N']) => return Answer::No,
            Ok(Heard::Line(_)) => return Answer::Yes,
            // Its handler is ours: by itself the signal would not stop us.
            Ok(Heard::Signal(Signal::SIGTSTP)) if raise(Signal::SIGSTOP).is_ok() => {}
            Ok(Heard::Signal(signal @ (Signal::SIGTERM | Signal::SIGHUP))) => return Answer::Told(signal),
            Ok(Heard::Signal(_)) | Err(_) => return Answer::No,
        }
    }
}

/// What came first.
enum Heard {
    Line(Zeroizing<String>),
    Signal(Signal),
}

fn asked(question: &str) -> Result<Heard, Failure> {
    let mut terminal = open()?;
    // Before the question stands there, so that no ^C at it is lost.
    let signals = Held::hold().map_err(|_| gone())?;
    terminal.write_all(format!("{question} [Y/n] ").as_bytes()).map_err(|_| gone())?;
    match line(&terminal, &signals)? {
        Some(answer) => Ok(Heard::Line(answer)),
        None => signals.take().map(Heard::Signal).ok_or_else(gone),
    }
}

/// The terminal that controls us, whatever the streams are.
fn open() -> Result<File, Failure> {
    at(
        "there is no terminal to ask for the passphrase on",
        "give --passphrase-file FILE, a file of mode 0600 with the passphrase in it",
    )
}

/// The same, with what is said and to be done where there is none.
fn at(message: &str, help: &str) -> Result<File, Failure> {
    let flags = OFlag::O_NOCTTY;
    let opened = File::options().read(true).write(true).custom_flags(flags.bits()).open("/dev/tty");
    opened.map_err(|_| Failure::usage(message, help))
}

/// One answer that is not shown.
fn ask(mut terminal: &File, question: &str) -> Result<Zeroizing<String>, Failure> {
    loop {
        let signals = Held::hold().map_err(|_| gone())?;
        let quiet = Quiet::hush(terminal).map_err(|_| gone())?;
        terminal.write_all(question.as_bytes()).map_err(|_| gone())?;
        let answer = line(terminal, &signals);
        drop(quiet);
        let _closed = terminal.write_all(b"\n");
        // What came is delivered here, on a terminal that is as it was.
        drop(signals);
        // Still here: we were stopped, and continued.
        if let Some(answer) = answer? {
            return Ok(answer);
        }
    }
}

/// A line without its end; none where a signal came first.
fn line(mut terminal: &File, signals: &Held) -> Result<Option<Zeroizing<String>>, Failure> {
    let mut buffer = Zeroizing::new(vec![0_u8; LINE]);
    let mut ready = [
        PollFd::new(signals.came.as_fd(), PollFlags::POLLIN),
        PollFd::new(terminal.as_fd(), PollFlags::POLLIN),
    ];
    while let Err(reason) = poll(&mut ready, PollTimeout::NONE) {
        if reason != Errno::EINTR {
            return Err(gone());
        }
    }
    if ready.first().and_then(PollFd::any).unwrap_or(false) {
        return Ok(None);
    }
    let count = terminal.read(&mut buffer).map_err(|_| gone())?;
    let Some(line) = buffer.get(..count).and_then(|line| line.strip_suffix(b"\n")) else {
        return Err(Failure::new(exit::USAGE, "no answer was given", None));
    };
    let text = std::str::from_utf8(line)
        .map_err(|_| Failure::new(exit::USAGE, "what was typed is not UTF-8", None))?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

fn gone() -> Failure {
    Failure::new(exit::UNREADABLE, "the terminal cannot be used", None)
}

/// A terminal that shows nothing, and forgets what was typed before; as it was again
/// at the end.
struct Quiet<'t> {
    terminal: &'t File,
    before: Termios,
}

impl<'t> Quiet<'t> {
    fn hush(terminal: &'t File) -> Result<Self, Errno> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        let _gone = tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before);
    }
}

/// The signals that end us, held back. What came is delivered at the end.
struct Held {
    came: SignalFd,
    before: SigSet,
}

impl Held {
    fn hold() -> Result<Self, Errno> {
        let found = Found::look();
        let mut held = SigSet::empty();
        // A signal that is ignored is dropped only while it is not held back.
        ENDING.into_iter().filter(|signal| !found.ignores(*signal)).for_each(|signal| held.add(signal));
        let came = SignalFd::with_flags(&held, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let before = held.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(Self { came, before })
    }

    /// Takes one that came: it is delivered to nobody else.
    fn take(&self) -> Option<Signal> {
        let came = self.came.read_signal().ok()??;
        Signal::try_from(i32::try_from(came.ssi_signo).ok()?).ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _unchanged = self.before.thread_set_mask();
    }
}
