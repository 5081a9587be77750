//! Handing over: files that are written, in the dialect of who reads them.
//!
//! Owns: the encodings, the one way in which dlconf writes a file, and the
//! deliveries of the daemon. Invariants: a delivery takes only what the gate
//! released; its readers see all old or all new; identical content is not
//! written again.
//! Must not know: policy; where values come from.

pub mod config;
pub mod encode;
pub mod file;

use crate::access::Released;
use crate::model::finding::Code;

/// What became of one generation at a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Other bytes are there than before.
    Changed,
    /// They were there already (the mode or owner may have been mended).
    Unchanged,
}

/// Something that generations are delivered to. It may wait for a disk.
pub trait Delivery: Send {
    /// Puts what was released in the place of what is there.
    ///
    /// # Errors
    /// [`DeliveryError`]; what was there is untouched.
    fn deliver(&mut self, released: &Released) -> Result<Outcome, DeliveryError>;
}

/// Why a delivery failed. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DeliveryError {
    /// The finding that it is, where it is one (DLC061).
    pub code: Option<Code>,
    /// One sentence, naming the file.
    pub message: String,
    /// What to do.
    pub help: String,
}
