//! The two streams: the payload to stdout, words to stderr.

use std::io::{self, IsTerminal as _, Write as _};

use super::{Color, Failure, Global, LogFormat, exit};
use crate::model::finding::Code;
use crate::report::Style;
use crate::telemetry::Level;
use crate::telemetry::log::{Format, Log};

/// What is known about the streams.
pub(super) struct Terminal {
    stdout_color: bool,
    stderr_color: bool,
    width: usize,
    json: bool,
    quiet: bool,
    verbose: u8,
}

impl Terminal {
    pub(super) fn new(global: &Global) -> Self {
        let wanted = |is_terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && allows_color(),
        };
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
        Self {
            stdout_color: wanted(io::stdout().is_terminal()),
            stderr_color: wanted(io::stderr().is_terminal()),
            width: width.clamp(60, 140),
            json: global.log_format == LogFormat::Json,
            quiet: global.quiet,
            verbose: global.verbose,
        }
    }

    /// How text on stdout is drawn.
    pub(super) fn stdout_style(&self) -> Style {
        Style { color: self.stdout_color, width: self.width, unicode: true }
    }

    /// How text on stderr is drawn.
    pub(super) fn stderr_style(&self) -> Style {
        Style { color: self.stderr_color && !self.json, width: self.width, unicode: true }
    }

    /// More about what is done, for `-v`.
    pub(super) fn detail(&self, text: &str) {
        if self.verbose > 0 {
            self.say("debug", text);
        }
    }

    /// The payload.
    ///
    /// # Errors
    /// A stdout that cannot be written is a failure: a half-written payload
    /// must not look like success. One that was closed by its reader is not.
    pub(super) fn payload(text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
                exit::UNREADABLE,
                format!("the output could not be written: {error}"),
                Some("see whether the disk behind stdout is full".into()),
            )),
            _ => Ok(()),
        }
    }

    /// A log of what happens while something goes on, with as much as was asked for. Who
    /// does not read it holds up nobody; its last lines are written when it is dropped.
    pub(super) fn log(&self) -> Log {
        let format = if self.json { Format::Json } else { Format::Text };
        let spooled = Log::spooled(format, self.least(), io::stderr());
        // Without a thread for it, lines are still better than none.
        spooled.unwrap_or_else(|_| Log::new(format, self.least(), Box::new(io::stderr())))
    }

    /// What lines must weigh.
    fn least(&self) -> Level {
        match (self.quiet, self.verbose) {
            (true, _) => Level::Warning,
            (false, 0) => Level::Info,
            (false, _) => Level::Debug,
        }
    }

    /// Whether more is to be said, `-v`.
    pub(super) fn is_verbose(&self) -> bool {
        self.verbose > 0 && !self.quiet
    }

    /// How findings are drawn on stderr while something goes on; none where machines read
    /// it.
    pub(super) fn drawing_style(&self) -> Option<Style> {
        (!self.json).then(|| self.stderr_style())
    }

    /// Whether notes are not told.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// A note to the person at the terminal; `-q` silences it.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.say("info", text);
        }
    }

    /// A warning; `-q` does not silence it.
    pub(super) fn warn(&self, text: &str) {
        self.say("warning", text);
    }

    /// Text that is drawn already (findings before a child starts).
    pub(super) fn drawn(&self, text: &str) {
        if self.json {
            self.say("error", text);
        } else {
            let _closed = io::stderr().lock().write_all(text.as_bytes());
        }
    }

    /// A failure, with its place and what to do.
    pub(super) fn failure(&self, failure: &Failure) {
        for fault in &failure.faults {
            if self.json {
                let line = serde_json::json!({
                    "level": "error", "code": fault.code.map(Code::as_str), "message": fault.message, "place": fault.place, "help": fault.help,
                });
                let _closed = writeln!(io::stderr().lock(), "{line}");
                continue;
            }
            if let Some(drawn) = &fault.drawn {
                let _closed = io::stderr().lock().write_all(drawn.as_bytes());
                continue;
            }
            let (red, bold, end) =
                if self.stderr_color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
            let code = fault.code.map_or(String::new(), |code| format!("[{code}]"));
            let mut text = format!("{red}error{code}{end}{bold}: {}{end}\n", visible(&fault.message));
            if let Some(place) = &fault.place {
                text.push_str(&format!("  --> {}\n", visible(place)));
            }
            if let Some(help) = &fault.help {
                text.push_str(&format!("   = fix: {}\n", visible(help)));
            }
            let _closed = io::stderr().lock().write_all(text.as_bytes());
        }
    }

    fn say(&self, level: &str, text: &str) {
        let mut stderr = io::stderr().lock();
        let line = if self.json {
            format!("{}\n", serde_json::json!({ "level": level, "message": text }))
        } else {
            format!("dlconf: {}\n", visible(text))
        };
        // In one piece: a program may write to the same place. Nobody reads stderr: there
        // is nowhere left to say so.
        let _closed = stderr.write_all(line.as_bytes());
    }
}

/// Control characters, as what they are: a name in a stranger's file must not
/// steer the terminal.
fn visible(text: &str) -> String {
    crate::report::visible(text).into_owned()
}

/// <https://no-color.org>, and terminals that have none.
fn allows_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
