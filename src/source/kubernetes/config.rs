//! What a Kubernetes source is told: checked, and without any secret.
//!
//! Settings make it; nothing here reads a file or asks a server.

use std::time::Duration;

use crate::kubernetes::{Kind, Name, Server};
use crate::source::fields::Select;

/// What holds where settings say nothing.
pub mod default {
    use std::time::Duration;

    /// For one request, its whole answer included.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
    /// For a one-shot command, all retries included.
    pub const DEADLINE: Duration = Duration::from_secs(10);
}

/// `[source.NAME]` with `type = "kubernetes"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which API server, and as whom.
    pub server: Server,
    /// Where the objects are; none is the context's namespace, or the pod's own.
    pub namespace: Option<Name>,
    /// What is read; at least one. Of one name, the later object wins.
    pub objects: Vec<Spec>,
    /// Whether an object that is not there is an error.
    pub required: bool,
    /// The most that one request may take, its whole answer included.
    pub timeout: Duration,
    /// The most that a one-shot command waits for it, all retries included.
    pub deadline: Duration,
}

/// One object, and what is taken of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// A Secret or a ConfigMap.
    pub kind: Kind,
    /// Its name.
    pub name: Name,
    /// Which of its keys, under which names.
    pub select: Select,
    /// The keys that are taken in base64, as the API has them: bytes that are no text.
    pub base64: Vec<String>,
}
