//! Who gets which values.
//!
//! Owns: the kernel's facts about who asks (`caller`), what the policy makes of
//! them (`policy`, pure), the value-free record of it (`audit`), and the gate, the
//! only exit for published values: decide, record, release. What a delivery may
//! have is written in its own `vars`.
//! Must not know: how values travel.

pub mod audit;
pub mod caller;
mod gate;
pub mod policy;
mod selection;

pub use audit::Audit;
pub use caller::Caller;
pub use gate::{Asked, Gate, Refusal, Released, Rules, Standing};
pub use policy::{Action, Policy, RuleId};
pub use selection::{NothingSelected, Selection};
