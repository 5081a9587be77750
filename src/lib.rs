//! dlconf: a secrets-and-configuration broker.
//!
//! ```text
//! sources ──> resolve ──> validate ──> deliveries
//! (I/O)       (pure)      (pure)       (I/O)
//! ```
//!
//! Values only move to the right, and types carry the safety: only
//! [`model::validate::validate`] makes a [`model::validate::Validated`], and
//! only that is delivered. What changes a secret (`rotation`) writes to sources, and its
//! change comes this way as any other does. ARCHITECTURE.md is the map of the rooms.

// Test doubles that the program's tests use as well name this crate as those do.
#[cfg(test)]
extern crate self as dlconf;

pub mod access;
pub mod assemble;
pub mod broker;
pub mod cli;
pub mod daemon;
pub mod delivery;
pub mod disk;
pub mod draft;
pub mod failure;
pub mod generate;
pub mod kubernetes;
pub mod last_good;
pub mod model;
mod network;
pub mod probe;
pub mod process;
pub mod protections;
pub mod report;
pub mod rotation;
pub mod sealed;
pub mod serve;
pub mod settings;
pub mod source;
pub mod status;
pub mod strict;
pub mod supervise;
pub mod telemetry;
pub mod visible;
