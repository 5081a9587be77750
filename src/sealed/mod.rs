//! What is sealed: one container of AES-256-GCM for files that may be committed and
//! for the last-known-good snapshot (docs/sealed-format.md).
//!
//! Owns: the container (`container`), who can open it (`key`), the composition of
//! primitives (`crypt`), how much a passphrase may cost (`stretch`), and its form as text
//! that a reviewer reads (`armour`).
//! Invariants: the header is authenticated whole, before anything else of a
//! container is believed; what a key is stretched with is bounded before it is used;
//! nothing is given out unless all of it is as it was sealed; no error says anything
//! of what was sealed.
//! Must not know: files, clocks, what the contents mean.

mod armour;
mod container;
mod crypt;
mod key;
mod stretch;
mod terms;
mod trouble;

pub use armour::FIRST_LINE;
pub use container::{Container, Entry, Header, Slot, State};
pub use crypt::{Kernel, NoRandom, Opened, Piece, Random, SealError};
pub use key::{Key, KeyBytes};
pub use stretch::Stretch;
pub use terms::{KeyId, Purpose};
pub use trouble::OpenError;

#[cfg(test)]
mod tests;
