//! A Kubernetes API server, as everybody here asks it.
//!
//! Owns: the way to it (`server` says which, `access` knows its address, whom to
//! trust and who we are), one exchange or one watch at a time (`client`), what its
//! answers look like (`wire`), what is asked for (`object`), what a failure means
//! (`trouble`), who we are (`identity`), what we may (`rights`) and how that is granted (`role`); a Lease as a
//! lock (`lease`), and Leases that carry a note each (`note`). No other room of the program names `kube`.
//! Invariants: every exchange ends within a deadline and a size; a connection
//! carries one exchange and is closed, so that no buffer outlives what it carried;
//! TLS is always verified; nothing that a server, a kubeconfig or a credential
//! plugin says is repeated in a message.
//! Must not know: what the objects are for.

mod access;
mod client;
mod lease;
mod note;
mod object;
mod rights;
mod role;
mod server;
mod token;
mod trouble;
mod wire;

pub(crate) use client::{Client, Lines, Said, Shape};
pub(crate) use lease::{Candidate, DURATION as LEASE_DURATION, Standing};
pub(crate) use note::{Note, Notes};
pub(crate) use object::Object;
pub use object::{Kind, Name};
pub(crate) use rights::{Verb, Who, may_all, missing, who};
pub(crate) use role::{Account, Role, Rule, yaml};
pub(crate) use server::SERVICE_ACCOUNT;
pub use server::Server;
pub(crate) use token::Life;
pub(crate) use trouble::{Misfit, Trouble, Why};
pub(crate) use wire::{Event, Items, Meta, Names};
