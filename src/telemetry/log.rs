//! Events as lines of a log, for people or for machines.
//!
//! Owns: which are written, and how often; `line` has the words. Invariant: what repeats
//! for as long as somebody insists is said once a minute.
//! Must not know: values; who reads.

mod line;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::line::Line;
pub(crate) use self::line::{all, every, names, sentence};
use super::spool::Spool;
use super::{Event, Level};

/// How often a crowd is spoken of.
const CROWD: Duration = Duration::from_mins(1);
/// How many are told apart.
const CROWDS: usize = 64;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `dlconf: published 7f3a.42`.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes events that weigh enough.
pub struct Log {
    format: Format,
    least: Level,
    out: Mutex<Out>,
}

struct Out {
    writer: Box<dyn Write + Send>,
    /// When each of what repeats was last said.
    crowd: BTreeMap<Crowd, Instant>,
}

/// What repeats for as long as somebody insists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crowd {
    TurnedAway(&'static str),
    CannotAccept(&'static str),
    CutOff,
    /// Of each user; of all others together, where there are many.
    Denied(Option<u32>),
}

impl Out {
    /// Whether it was said a short while ago; if not, it is now.
    fn has_said(&mut self, mut crowd: Crowd) -> bool {
        let now = Instant::now();
        self.crowd.retain(|_, told| now.duration_since(*told) < CROWD);
        if self.crowd.len() >= CROWDS && !self.crowd.contains_key(&crowd) && matches!(crowd, Crowd::Denied(_))
        {
            crowd = Crowd::Denied(None);
        }
        let is_new = !self.crowd.contains_key(&crowd);
        if is_new {
            self.crowd.insert(crowd, now);
        }
        !is_new
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("format", &self.format)
            .field("least", &self.least)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// A log that leaves out what weighs less than `least`.
    pub fn new(format: Format, least: Level, writer: Box<dyn Write + Send>) -> Self {
        Self { format, least, out: Mutex::new(Out { writer, crowd: BTreeMap::new() }) }
    }

    /// A log whose reader holds up nobody: what it does not read is counted.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn spooled(format: Format, least: Level, writer: impl Write + Send + 'static) -> io::Result<Self> {
        let tell_loss = move |lost| {
            let message = format!("{lost} lines of this log were lost: nobody read them in time");
            Line::new(Level::Warning, "lines_lost", message, json!({ "lines": lost })).written(format)
        };
        Ok(Self::new(format, least, Box::new(Spool::new(writer, tell_loss)?)))
    }

    /// Writes the event's line, if it weighs enough.
    pub fn write(&self, event: &Event) {
        // Most of what happens is this, and most logs do not want it.
        if event.is_routine() && self.least > Level::Debug {
            return;
        }
        let line = Line::of(event);
        if line.level < self.least {
            return;
        }
        self.put(&line, event);
    }

    /// Writes a line that is no daemon's event, if it weighs enough; `event` is its
    /// name for machines.
    pub fn say(&self, level: Level, event: &'static str, message: String, fields: Value) {
        if level >= self.least {
            self.print(&Line::new(level, event, message, fields));
        }
    }

    /// Writes text that is drawn already, for people.
    pub fn draw(&self, text: &str) {
        self.pass(text);
    }

    fn put(&self, line: &Line, event: &Event) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let crowd = match event {
            Event::TurnedAway { what } => Some(Crowd::TurnedAway(what)),
            Event::CannotAccept { what, .. } => Some(Crowd::CannotAccept(what)),
            Event::CutOff { .. } => Some(Crowd::CutOff),
            Event::Denied { uid, .. } => Some(Crowd::Denied(*uid)),
            _ => None,
        };
        if crowd.is_some_and(|crowd| out.has_said(crowd)) {
            return;
        }
        drop(out);
        self.print(line);
    }

    fn print(&self, line: &Line) {
        self.pass(&line.written(self.format));
    }

    fn pass(&self, text: &str) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads it: there is nowhere left to say so.
        let _closed = out.writer.write_all(text.as_bytes()).and_then(|()| out.writer.flush());
    }
}
