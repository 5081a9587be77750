//! Changing secrets without an outage.
//!
//! Owns: what is done next (`course`, pure), who has which key (`consumers`, `roll_call`),
//! how that is heard of from other daemons (`board`), when a rotation may begin
//! (`windows`) and what time it is (`clock`), what another's write broke (`repair`), what
//! a rotator works with (`estate`), and the rotator itself (`engine`). Invariants: it
//! writes to sources, by compare-and-set, and never publishes; nothing that is verified
//! with goes before everybody who must have the other key said so.
//! Must not know: how a consumer says so; how a source writes; how a probe asks.

pub mod board;
pub mod clock;
pub mod config;
pub mod consumers;
pub mod course;
pub mod engine;
pub mod estate;
pub mod order;
pub mod repair;
pub mod roll_call;
mod windows;

#[cfg(test)]
mod tests;
