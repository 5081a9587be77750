//! Files and folders, as dlconf writes them.
//!
//! Owns: the one way in which dlconf replaces a file (`file`), what an open folder
//! can do (`folder`), who may use what is written (`rights`), what a crash leaves
//! (`leftovers`), which file was read (`stamp`), and a file that is changed while
//! nobody else of us changes it (`hold`).
//! Invariants: readers see all old or all new; what somebody else wrote meanwhile is
//! not overwritten where the caller says what it read.
//! Must not know: what is written, and why.

pub mod file;
pub(crate) mod folder;
pub mod hold;
pub(crate) mod leftovers;
pub mod rights;
pub mod stamp;
pub mod write_error;
