//! Handing over: files that are written, in the dialect of who reads them.
//!
//! Owns: the encodings, and the deliveries of the daemon. Invariants: a delivery takes only what the gate
//! released; its readers see all old or all new; identical content is not
//! written again.
//! Must not know: policy; where values come from.

pub mod config;
pub mod courier;
pub mod directory;
pub mod encode;
pub mod env_file;
pub mod environment;
pub mod hook;
pub(crate) mod private;

use crate::access::Released;
use crate::disk::write_error::WriteError;
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
    /// [`DeliveryError`]. Readers still see all of the old or, where only what
    /// follows the exchange failed, all of the new; then the next success says
    /// [`Outcome::Changed`], so that nobody is left untold.
    fn deliver(&mut self, released: &Released) -> Result<Outcome, DeliveryError>;

    /// Removes what an earlier process left when it was killed. To be called once,
    /// before the first delivery.
    ///
    /// # Errors
    /// [`DeliveryError`], where the place cannot be looked at.
    fn clean(&mut self) -> Result<(), DeliveryError>;
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

impl From<WriteError> for DeliveryError {
    fn from(error: WriteError) -> Self {
        Self { code: None, message: error.to_string(), help: error.help() }
    }
}
