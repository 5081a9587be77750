//! Why something ends, in words and as an exit code.
//!
//! Must not know: where the words are printed; values.

use crate::model::finding::Code;

/// What a process ends with.
pub mod exit {
    /// Fine.
    pub const FINE: u8 = 0;
    /// There are findings.
    pub const FINDINGS: u8 = 1;
    /// Wrong usage, settings or schema.
    pub const USAGE: u8 = 2;
    /// A required source could not be read.
    pub const UNREADABLE: u8 = 3;
    /// Refused by policy or protections.
    pub const REFUSED: u8 = 4;
    /// `rotate` waits for consumers.
    pub const WAITS: u8 = 5;
    /// The daemon had to stop: a part of it ended by itself (sysexits' EX_SOFTWARE).
    pub const INTERNAL: u8 = 70;
    /// `run`: dlconf itself failed or found errors.
    pub const RUN_FAILED: u8 = 125;
}

/// Why a command stopped, in words. Value-free.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// One thing that is wrong outside the configuration itself.
#[derive(Debug)]
pub struct Fault {
    /// The finding that it is, where it is one.
    pub code: Option<Code>,
    /// One sentence.
    pub message: String,
    /// Where, ready to print.
    pub place: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Text that is drawn already, for faults with a source line.
    pub drawn: Option<String>,
}

impl Failure {
    /// One fault.
    pub fn new(exit: u8, message: impl Into<String>, help: Option<String>) -> Self {
        let fault = Fault { code: None, message: message.into(), place: None, help, drawn: None };
        Self { exit, faults: vec![fault] }
    }

    /// Wrong usage, settings or schema.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message, Some(help.into()))
    }

    /// The same failure as `run` and `dev` report it.
    #[must_use]
    pub fn for_run(self) -> Self {
        Self { exit: exit::RUN_FAILED, ..self }
    }
}
