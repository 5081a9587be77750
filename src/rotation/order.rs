//! What becomes of a wish: the answer to `dlconf rotate`.

use serde::{Deserialize, Serialize};

use super::course::{Act, Refusal, Step};
use crate::model::rotation::Slot;
use crate::source::writable::{WriteError, WriteErrorKind};

/// What was done, or would be. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The variable.
    pub key: String,
    /// How it is rotated: `overlap`.
    pub strategy: String,
    /// The step: `staged`.
    pub act: String,
    /// Where it was written, or would be: `vault:secret/datalens/production`.
    pub place: String,
    /// Whether nothing was written: a dry run.
    pub dry_run: bool,
    /// What happens then, a sentence each, in order.
    pub plan: Vec<String>,
    /// The number of this rotation: `status` shows it as long as it is the last.
    pub number: u64,
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotOrdered {
    /// A word for programs: a refusal's ([`Refusal::code`]), `off`, `unknown`,
    /// `not-leader`, `no-source`, `not-writable`, `shadowed`, `owned`, `value-needed`,
    /// `value-given`, `same`, `no-recipe`, `invalid`, `probe`, `clock`, `unusable`,
    /// `refused`, `unavailable`, `conflict`, `random`, `not-leased`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl NotOrdered {
    /// From its three parts.
    pub fn new(code: &str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), help: help.into() }
    }
}

impl From<WriteError> for NotOrdered {
    fn from(error: WriteError) -> Self {
        let code = match error.kind {
            WriteErrorKind::Conflict => "conflict",
            WriteErrorKind::Unavailable => "unavailable",
            WriteErrorKind::Refused => "refused",
            WriteErrorKind::Owned => "owned",
            WriteErrorKind::Unusable => "unusable",
        };
        Self::new(code, error.message, error.help)
    }
}

impl From<Refusal> for NotOrdered {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code.to_owned(), message: refusal.message, help: refusal.help }
    }
}

/// A step in sentences: which variables it writes.
pub(super) fn words(step: &Step, owner: &str) -> Vec<String> {
    let name = |slot: &Slot| match slot {
        Slot::Kept => format!("{} (the value before, given to nobody)", slot.field(owner)),
        slot => slot.field(owner),
    };
    let mut words = Vec::new();
    if !step.set.is_empty() {
        let set: Vec<String> = step.set.iter().map(|(slot, _)| name(slot)).collect();
        words.push(format!("writes {}", set.join(" and ")));
    }
    if !step.remove.is_empty() {
        let gone: Vec<String> = step.remove.iter().map(name).collect();
        words.push(format!("removes {}", gone.join(" and ")));
    }
    if step.act == Act::Settle {
        words.push("fixes when the key before is retired".to_owned());
    }
    words
}
