//! Changing secrets without an outage.
//!
//! Owns: who runs which version of them (`consumers`). Must not know: values; how
//! a consumer says so.

pub mod consumers;
