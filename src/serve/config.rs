//! What the settings say of listening, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

/// `[ops] listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `127.0.0.1:9470`.
    Tcp(SocketAddr),
    /// `unix:/run/dlconf/ops.sock`.
    Unix(SocketConfig),
}

/// A Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketConfig {
    /// Where it is bound, absolute, 107 bytes at most.
    pub path: PathBuf,
    /// The path as the user wrote it.
    pub label: String,
    /// Its permission bits.
    pub mode: u32,
}
