//! Deliveries: how values leave.
pub mod encode;
pub mod file;
