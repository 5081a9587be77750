//! Who is at the other end of a connection, for those who answer.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;

use crate::access::Caller;

/// Who asks, as the kernel says. Every request has it as an extension.
#[derive(Debug, Clone)]
pub enum Peer {
    /// Over TCP.
    Address(SocketAddr),
    /// Over a Unix socket: who connected.
    Caller(Arc<Caller>),
    /// Over a Unix socket, and the kernel did not say.
    Unknown,
}

/// What a router is asked with.
pub(super) fn peer(request: &Request) -> Peer {
    request.extensions().get::<Peer>().cloned().unwrap_or(Peer::Unknown)
}
