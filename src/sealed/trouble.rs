//! Why a container is not opened.

use super::terms::{KeyId, Purpose};

/// Why a container is not opened. Says nothing of what is in it but names, which
/// are no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It is something else.
    #[error("it is not sealed by dlconf")]
    Foreign,
    /// It is of another version of the format.
    #[error("it is of version {0} of the format, which this release of dlconf does not know")]
    Version(u8),
    /// It uses other algorithms.
    #[error("it uses algorithms (suite {0}) that this release of dlconf does not know")]
    Suite(u8),
    /// It was made for something else.
    #[error("it is a {found}, and a {wanted} was expected")]
    Purpose {
        /// What it is.
        found: Purpose,
        /// What it should be.
        wanted: Purpose,
    },
    /// A passphrase would be stretched with more than is sensible.
    #[error("its passphrase would take {what}: more than dlconf ever writes or accepts")]
    Stretch {
        /// Which parameter, with its value.
        what: String,
    },
    /// It is incomplete, or not as anybody wrote it: no key is needed to see that.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// A line is not as dlconf writes it: no key is needed to see that.
    #[error("it is damaged: line {line} is not as dlconf writes it")]
    Line {
        /// Which, from 1.
        line: u32,
    },
    /// Two versions were merged, and both are still in it.
    #[error("line {line} is the mark of a merge that nobody has finished")]
    Merge {
        /// Which, from 1.
        line: u32,
    },
    /// No slot is for the key that was given.
    #[error("{}", wrong_key(*.given, .wanted))]
    WrongKey {
        /// The key that was given; none where it is a passphrase.
        given: Option<KeyId>,
        /// The keys that open it: none for a passphrase.
        wanted: Vec<Option<KeyId>>,
    },
    /// The key is right, and something is not as it was sealed.
    #[error("it was altered after it was sealed: {0}")]
    Altered(String),
    /// The kernel has no memory for it.
    #[error("there is not enough memory to stretch its passphrase")]
    Memory,
}

impl OpenError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Foreign => "name a file that `dlconf seal` wrote",
            Self::Version(_) | Self::Suite(_) => "use the release of dlconf that wrote it, or a newer one",
            Self::Purpose { .. } => "name the right file",
            Self::Stretch { .. } => "do not trust this file: take it anew from where it was committed",
            Self::Damaged(_) | Self::Line { .. } => {
                "take it anew from where it was committed, or from a backup; no key was tried"
            }
            Self::Merge { .. } => {
                "take one side whole (`git checkout --ours` or `--theirs`), and repeat the other side's change with \
                 `dlconf edit`"
            }
            Self::WrongKey { .. } => "give a key that it was sealed for; the file itself is whole",
            Self::Altered(_) => {
                "the key is right, so take the file anew from where it was committed; after a merge, take one side \
                 whole and repeat the other side's change with `dlconf edit`"
            }
            Self::Memory => "leave more memory to dlconf: it needs up to 256 MiB for a moment",
        }
    }
}

fn wrong_key(given: Option<KeyId>, wanted: &[Option<KeyId>]) -> String {
    let name = |id: &Option<KeyId>| id.map_or_else(|| "a passphrase".to_owned(), |id| format!("key {id}"));
    let names: Vec<String> = wanted.iter().map(name).collect();
    let names = names.join(" or ");
    match given {
        Some(given) => format!("it opens with {names}, and key {given} was given"),
        None if wanted.contains(&None) => "it opens with a passphrase, and another one was given".to_owned(),
        None => format!("it opens with {names}, and a passphrase was given"),
    }
}
