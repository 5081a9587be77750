//! Who gets which values.
//!
//! Owns: the gate, the only exit for published values. What a delivery may have
//! is written in its own `vars`.
//! Must not know: how values travel.

mod gate;
mod selection;

pub use gate::{Gate, Released};
pub use selection::{NothingSelected, Selection};
