//! What people and probes see of a daemon: in-process, over loopback and Unix
//! sockets, with a subject that says what a test wants.

mod ask;
mod control;
mod fake;
mod listen;
mod ops;
mod picture;
mod socket;
mod told;
