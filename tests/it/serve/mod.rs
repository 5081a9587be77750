//! What people and probes see of a daemon: in-process, over loopback and Unix
//! sockets, with a subject that says what a test wants.

mod ask;
mod clients;
mod control;
pub(crate) mod fake;
mod host;
mod listen;
mod ops;
mod picture;
mod socket;
mod told;
