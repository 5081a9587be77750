//! Sources: each reads one backend and hands over a [`Layer`]. Nothing here
//! knows which layer wins.

pub(crate) mod backoff;
pub mod directory;
pub mod dotenv;
pub mod env;
pub mod fields;
pub mod file;
mod file_write;
pub mod key_file;
pub mod kubernetes;
mod local;
mod marks;
pub mod notice;
pub mod sealed;
pub mod structured;
pub mod vault;
pub mod writable;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::model::key::{Key, SourceName};
use crate::model::layer::Layer;
use crate::model::origin::Location;
use writable::{WritableSource, WriteError};

/// What a fetch is for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The names that the schema declares, replaces or retires: a source that
    /// shares its place with strangers (the process environment) takes those and
    /// what looks like a slip of the pen for one of them.
    pub known: &'a BTreeSet<Key>,
    /// Whether names are enough: a source that can tell them without reading
    /// values does so, and offers [`crate::model::layer::Value::unread`].
    pub names_only: bool,
    /// Whether a source that is not available is asked again until its deadline:
    /// a one-shot command has no later tick.
    pub retry: bool,
}

/// What becomes of the values that a source gave, when it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// They were looked at and dropped: leases end now.
    Over,
    /// Somebody has them: leases live as long as the server lets them.
    GoesOn,
}

/// A place that values come from. Local sources never wait; remote ones do.
#[async_trait]
pub trait Source: Send + Sync {
    /// Its name in the settings.
    fn name(&self) -> &SourceName;

    /// Reads everything it has.
    ///
    /// # Errors
    /// [`SourceError`] where some of it could not be read: never the same as
    /// 'holds nothing'.
    async fn fetch(&self, ask: Ask<'_>) -> Result<Layer, SourceError>;

    /// Looks after itself for `doctor`, without reading a value or making a
    /// credential. Nothing to say means that a fetch says it all.
    async fn examine(&self) -> Vec<Observation> {
        Vec::new()
    }

    /// Waits until a fetch would give something else than the last one. It may be
    /// dropped at any time. A source that cannot tell waits for ever.
    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    /// Whether somebody else has to answer: then what is not there may only be
    /// unread, and a deletion is what the other side states.
    fn is_remote(&self) -> bool {
        false
    }

    /// Whether it is a part of this process, which is there whenever we are: nothing
    /// is kept of it for another start.
    fn is_own(&self) -> bool {
        false
    }

    /// How it is, without asking anybody.
    async fn vitals(&self) -> Vitals {
        Vitals::default()
    }

    /// Itself, where a rotation can write to it.
    fn writable(&self) -> Option<&dyn WritableSource> {
        None
    }

    /// Replaces what this variable was lent, now: the next fetch has something else,
    /// and what was lent before lives on until [`Self::give_up_replaced`], or its end.
    /// None where nothing of it is lent.
    ///
    /// # Errors
    /// [`WriteError`] where the server gives nothing else.
    async fn replace_lent(&self, key: &Key) -> Option<Result<(), WriteError>> {
        let _nothing_lent = key;
        None
    }

    /// Whether what was lent before it was replaced still lives.
    async fn has_replaced(&self, key: &Key) -> bool {
        let _nothing_lent = key;
        false
    }

    /// Ends what was replaced, since nobody uses it any more.
    async fn give_up_replaced(&self, key: &Key) {
        let _nothing_lent = key;
    }

    /// Gives back what it holds elsewhere: leases, and the login if nothing
    /// depends on it.
    async fn close(&self, values: Use) {
        let _nothing_held = values;
    }
}

/// How a source is. Value-free.
#[derive(Debug, Clone, Default)]
pub struct Vitals {
    /// When it was last known to hold just what it gave: a fetch, or a look at
    /// versions that had not moved. None before the first.
    pub confirmed: Option<Instant>,
    /// What ends by itself unless the source stays.
    pub lent: Vec<Lent>,
}

/// Something that was lent. Value-free.
#[derive(Debug, Clone)]
pub struct Lent {
    /// Where it was lent, as printed: `vault:database/creds/datalens`.
    pub place: Arc<str>,
    /// When it ends unless it is renewed; none where that is not known.
    pub ends: Option<Instant>,
}

/// Something that was looked at, and how it was. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// What was looked at: `TLS`, `secret/data/shop`.
    pub what: String,
    /// How it is.
    pub state: State,
    /// In words, as a clause.
    pub detail: String,
    /// What to do, where something is to be done.
    pub help: Option<String>,
}

/// How something is, the better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Fine,
    /// It works, but not as well or as safely as it could.
    Degraded,
    /// It does not work.
    Wrong,
    /// The source does not answer, or cannot be read at all.
    Unreadable,
}

impl State {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Degraded => "degraded",
            Self::Wrong => "wrong",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A source that could not be read, with everything that was wrong in one run.
/// Value-free.
#[derive(Debug, thiserror::Error)]
#[error("source '{source_name}' could not be read: {}", .faults.first().map_or("", |f| f.message.as_str()))]
pub struct SourceError {
    /// The source's name in the settings.
    pub source_name: SourceName,
    /// What is wrong, at least one.
    pub faults: Vec<Fault>,
    /// What could be read all the same, and what was read before of the rest:
    /// none where the source is read whole or not at all.
    pub rest: Option<Box<Layer>>,
}

/// One reason why a source could not be read. Value-free: a malformed line is
/// never quoted, since it may be a piece of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What sort of failure.
    pub kind: FaultKind,
    /// Where.
    pub location: Location,
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Fault {
    /// A value that no environment can carry: C ends its strings there.
    fn nul(key: &Key, location: Location) -> Self {
        Self {
            kind: FaultKind::Malformed,
            location,
            message: format!("{key} holds a NUL byte, which no environment can carry"),
            help: "store text; base64 carries binary data".into(),
        }
    }

    /// A sealed file where plain text was expected; none where it is plain.
    fn sealed(text: &str, path: &Arc<str>) -> Option<Self> {
        crate::sealed::Container::is_text(text).then(|| Self {
            kind: FaultKind::Malformed,
            location: Location::File { path: Arc::clone(path), at: None },
            message: format!("{path} is sealed, and plain text was expected"),
            help: "a source with `type = \"sealed\"` reads it; `dlconf edit` changes it".into(),
        })
    }
}

/// Sorts of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// It is not there, or does not answer (DLC050).
    Unreachable,
    /// It refuses us (DLC051).
    NotPermitted,
    /// It was read but cannot be understood (DLC050, with the place).
    Malformed,
}

/// The variable that a file or a field stands for: its own name, or that name in
/// upper case where the schema knows only that one. None where neither is a name
/// of a variable.
fn key_for(name: &str, known: &BTreeSet<Key>) -> Option<Key> {
    let key = Key::new(name).ok()?;
    if known.contains(&key) {
        return Some(key);
    }
    let upper = Key::new(&name.to_ascii_uppercase()).ok()?;
    Some(if known.contains(&upper) { upper } else { key })
}
