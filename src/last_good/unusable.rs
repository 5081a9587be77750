//! Why a snapshot is not used: each reason has words of its own.
//!
//! Must not know: what a daemon does without it.

use std::time::{Duration, SystemTime};

use super::{span, time};
use crate::sealed::OpenError;

/// Why a snapshot is not used; a clause about it. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// There is no key to open it with.
    #[error("{message}")]
    NoKey {
        /// In words.
        message: String,
        /// What to do.
        help: String,
    },
    /// Its file cannot be read.
    #[error("its file cannot be read: {message}")]
    Unreadable {
        /// In words.
        message: String,
        /// What to do.
        help: String,
    },
    /// It is gone, and the mark says that there was one.
    #[error("it is gone: number {mark} was written, says the high-water mark")]
    Gone {
        /// The last one that was written.
        mark: u64,
    },
    /// It cannot be opened.
    #[error("{0}")]
    Sealed(OpenError),
    /// It opens, and what is in it is nothing that was ever written.
    #[error("it is damaged: what is sealed in it is no snapshot")]
    Malformed,
    /// A later release wrote what is in it.
    #[error("its contents are of version {0}, which this release of dlconf does not know")]
    Newer(u32),
    /// Somebody put an older one in its place.
    #[error("it was rolled back: it is number {generation}, and number {mark} was written after it")]
    RolledBack {
        /// Which one it is.
        generation: u64,
        /// Which one was the last.
        mark: u64,
    },
    /// It is of another schema.
    #[error("it is of schema {theirs}, and the schema is {ours}")]
    OtherSchema {
        /// The snapshot's.
        theirs: String,
        /// The daemon's.
        ours: String,
    },
    /// It is of another environment.
    #[error("it is of environment {theirs}, and the environment is {ours}")]
    OtherEnvironment {
        /// The snapshot's.
        theirs: String,
        /// The daemon's.
        ours: String,
    },
    /// It is of another service.
    #[error("it is of {}, and the daemon is of {}", service(.theirs), service(.ours))]
    OtherService {
        /// The snapshot's; empty for all.
        theirs: String,
        /// The daemon's.
        ours: String,
    },
    /// All in it is older than it may be.
    #[error(
        "it is too old: it was written at {}, its youngest part was confirmed {} ago, and the limit is {}",
        time(*.written), span(*.age), span(*.max_age)
    )]
    TooOld {
        /// When it was written.
        written: SystemTime,
        /// How old the youngest part of it is.
        age: Duration,
        /// How old it may be.
        max_age: Duration,
    },
    /// It was written in the future.
    #[error("it is from the future: it was written at {}, and the clock says {}", time(*.written), time(*.now))]
    FromTheFuture {
        /// When it was written, as it says.
        written: SystemTime,
        /// The time.
        now: SystemTime,
    },
}

fn service(name: &str) -> String {
    if name.is_empty() { "all services".to_owned() } else { format!("service {name}") }
}

impl Unusable {
    /// What to do about it, where the snapshot is this file.
    pub fn help(&self, label: &str) -> String {
        match self {
            Self::NoKey { help, .. } | Self::Unreadable { help, .. } => help.clone(),
            Self::Gone { .. } => {
                "nothing, if you removed it: the next one is written by itself; else find out who did"
                    .to_owned()
            }
            Self::Sealed(OpenError::WrongKey { .. }) => format!(
                "give the key that it was sealed with; if that is lost, so is only this snapshot: the next one takes the place of {label} by itself"
            ),
            Self::Sealed(OpenError::Altered(_) | OpenError::Merge { .. }) => {
                format!("find out who writes to {label}: the next one takes its place by itself")
            }
            Self::Sealed(OpenError::Version(_) | OpenError::Suite(_)) | Self::Newer(_) => {
                "use the release that wrote it, or a newer one; else the next one takes its place by itself"
                    .to_owned()
            }
            Self::Sealed(OpenError::Foreign | OpenError::Purpose { .. }) => {
                format!(
                    "`path` of [snapshot] is to name a file of its own: move {label} away, or choose another"
                )
            }
            Self::Sealed(
                OpenError::Damaged(_)
                | OpenError::Line { .. }
                | OpenError::Stretch { .. }
                | OpenError::Memory,
            )
            | Self::Malformed => "look after the disk; the next one takes its place by itself".to_owned(),
            Self::RolledBack { .. } => format!(
                "find out who put it there; if it was restored from a backup: rm {label}, and let the sources answer"
            ),
            Self::OtherSchema { .. } | Self::OtherEnvironment { .. } | Self::OtherService { .. } => {
                "give each daemon a `path` of its own in [snapshot]".to_owned()
            }
            Self::TooOld { .. } => {
                "make the sources reachable: a larger max_age makes nothing younger; if the clock \
                                    is wrong, set it"
                    .to_owned()
            }
            Self::FromTheFuture { .. } => "set the clock".to_owned(),
        }
    }
}
