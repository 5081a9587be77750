//! Acknowledgements that travel: each instance of a program has a Lease, in which the
//! daemon beside it writes down what the instance says, and whoever rotates reads them all.
//!
//! Owns: one Lease an instance, `PREFIX-CONSUMER-…`, and when what stands there counts
//! (`sight`). Invariants: a note is value-free; it counts only for its time since *we* saw
//! it renewed, by our own clock; what cannot be understood, is disputed or is not known to
//! be fresh counts as an instance that said nothing, so that a rotation waits.
//! Must not know: why somebody rotates.
//!
//! The daemon beside the programs makes a [`Board`] and runs a [`Publisher`], which says
//! whatever the local [`super::consumers::Consumers`] know:
//!
//! ```text
//! let board = Arc::new(Board::new(server, prefix, holder, tell)?);
//! let (known, said) = tokio::sync::watch::channel(Vec::new());
//! spawn(Publisher::new(board, said).run());           // never done
//! known.send_replace(vec![SaidOfInstance::new(consumer, known, current)]);
//! ```
//!
//! Whoever rotates uses a [`Board`] as its [`super::estate::Hearing`].

mod hearing;
mod publisher;
mod said;
mod sight;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::consumers::LIFE;
use crate::kubernetes::{Name, Note, Notes, Server, Trouble, Why};
use crate::telemetry::Words;
pub use publisher::Publisher;
pub use said::SaidOfInstance;
use sight::Sights;
pub use sight::{Entry, Standing};

/// The longest prefix: it is the value of a label too.
pub const PREFIX_BYTES: usize = 63;

/// How old a list may be that somebody asks for.
const FRESH: Duration = Duration::from_millis(500);

/// The longest note.
const NOTE_BYTES: usize = 128 << 10;

/// How often in a row somebody else may be quicker.
const RACES: u32 = 3;

/// How long what has lapsed is left, for people to look at.
const REMAINS: Duration = Duration::from_hours(24);

/// How often what has lapsed is looked for.
const SWEEPS: Duration = Duration::from_hours(1);

/// How many different things are told before the first ones are told again.
const TOLD: usize = 256;

/// Who is told what is wrong. Value-free.
pub type Tell = Arc<dyn Fn(Words) + Send + Sync>;

/// All acknowledgements of a prefix in one namespace.
pub struct Board {
    notes: Notes,
    prefix: Name,
    holder: Box<str>,
    tell: Tell,
    told: Mutex<BTreeSet<String>>,
    /// What we wrote last, as long as nobody can have written it since.
    ours: Mutex<BTreeMap<Name, Note>>,
    /// What others say of instances that we speak for.
    theirs: Mutex<Sights>,
    heard: tokio::sync::Mutex<Heard>,
    /// Told when we said something.
    said: Notify,
}

/// Everybody, or why nobody can be heard.
type Entries = Result<Arc<[Entry]>, Unheard>;

/// What was read last.
#[derive(Default)]
struct Heard {
    sights: Sights,
    /// When, and what came of it.
    read: Option<(Instant, Entries)>,
    /// What may be deleted.
    old: Vec<Note>,
    swept: Option<Instant>,
}

/// A prefix that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the prefix of acknowledgement Leases has {PREFIX_BYTES} letters at most")]
pub struct PrefixTooLong;

/// Why an acknowledgement is not said to others. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSaid {
    /// Another holder speaks for the instance.
    Foreign {
        /// Who, where that is a plain name.
        holder: Option<Box<str>>,
    },
    /// It is longer than a Lease may be.
    TooLong,
    /// The API server does not take it now.
    Away {
        /// Why, as a sentence.
        message: String,
        /// What to do.
        help: String,
    },
}

impl fmt::Display for NotSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign { holder: Some(holder) } => write!(f, "{holder} speaks for this instance already"),
            Self::Foreign { holder: None } => f.write_str("another holder speaks for this instance already"),
            Self::TooLong => f.write_str("it names more keys than a Lease has room for"),
            Self::Away { message, .. } => f.write_str(message),
        }
    }
}

impl NotSaid {
    /// What to do.
    pub fn help(&self) -> &str {
        match self {
            Self::Foreign { .. } => "give each instance a name of its own (HOSTNAME)",
            Self::TooLong => "name fewer variables in what the program acknowledges",
            Self::Away { help, .. } => help,
        }
    }
}

/// Why nobody can be heard. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard {
    /// One sentence.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Board {
    /// Asks nobody yet. `holder` is ours for as long as this machine is the same: a daemon
    /// that is started anew goes on with the Leases of the one before.
    ///
    /// # Errors
    /// [`PrefixTooLong`].
    pub fn new(server: Server, prefix: Name, holder: &str, tell: Tell) -> Result<Self, PrefixTooLong> {
        if prefix.as_str().len() > PREFIX_BYTES {
            return Err(PrefixTooLong);
        }
        Ok(Self {
            notes: Notes::new(server, prefix.clone()),
            prefix,
            holder: holder.into(),
            tell,
            told: Mutex::default(),
            ours: Mutex::default(),
            theirs: Mutex::default(),
            heard: tokio::sync::Mutex::default(),
            said: Notify::new(),
        })
    }

    /// Where it is: `leases/PREFIX in namespace NAME`.
    ///
    /// # Errors
    /// [`Unheard`] where no namespace is named.
    pub async fn place(&self) -> Result<String, Unheard> {
        let namespace = self.notes.namespace().await.map_err(|trouble| self.unheard(&trouble))?;
        Ok(format!("leases/{} in namespace {namespace}", self.prefix))
    }

    /// Says what an instance says, for as long as [`LIFE`].
    ///
    /// # Errors
    /// [`NotSaid`].
    pub async fn say(&self, said: &SaidOfInstance) -> Result<(), NotSaid> {
        let text = said.to_text();
        let name = said.lease(&self.prefix).filter(|_| text.len() <= NOTE_BYTES).ok_or(NotSaid::TooLong)?;
        let mut last = Trouble::from(Why::Conflict);
        for _ in 0..RACES {
            let found = self.found(&name).await?;
            if let Some(found) = &found {
                self.may_speak(found)?;
            }
            match self.notes.write(&name, found, &self.holder, &text, LIFE).await {
                Ok(written) => {
                    lock(&self.ours).insert(name, written);
                    self.said.notify_waiters();
                    return Ok(());
                }
                // Somebody was quicker: what stands there now is looked at.
                Err(trouble) if was_late(&trouble) => last = trouble,
                Err(trouble) => return Err(self.away(&trouble)),
            }
        }
        Err(self.away(&last))
    }

    /// The instance says nothing any more: its Lease is held by nobody, if it was ours.
    ///
    /// # Errors
    /// [`NotSaid`].
    pub async fn forget(&self, said: &SaidOfInstance) -> Result<(), NotSaid> {
        let Some(name) = said.lease(&self.prefix) else { return Ok(()) };
        let mut last = Trouble::from(Why::Conflict);
        for _ in 0..RACES {
            let found = self.found(&name).await?;
            let is_ours =
                |found: &Note| self.notes.has(found) && found.holder.as_deref() == Some(&*self.holder);
            let Some(found) = found.filter(is_ours) else { return Ok(()) };
            match self.notes.free(&name, found).await {
                Ok(()) => {
                    self.said.notify_waiters();
                    return Ok(());
                }
                Err(trouble) if was_late(&trouble) => last = trouble,
                Err(trouble) => return Err(self.away(&trouble)),
            }
        }
        Err(self.away(&last))
    }

    /// Everybody who is there or was there a while ago; no older than a moment.
    ///
    /// # Errors
    /// [`Unheard`].
    pub async fn all(&self) -> Entries {
        let mut heard = self.heard.lock().await;
        if let Some((at, read)) = &heard.read
            && at.elapsed() < FRESH
        {
            return read.clone();
        }
        let read = match self.notes.list().await {
            Ok(listed) => {
                let server_time = listed.at.unwrap_or_else(SystemTime::now);
                let entries = heard.sights.look(&listed.notes, server_time, Instant::now());
                self.complain(&entries);
                heard.old = old(listed.notes, &entries, server_time);
                Ok(entries.into())
            }
            Err(trouble) => Err(self.unheard(&trouble)),
        };
        heard.read = Some((Instant::now(), read.clone()));
        read
    }

    /// Deletes what lapsed long ago, where that is permitted. For whoever rotates.
    async fn sweep(&self) {
        let mut heard = self.heard.lock().await;
        if heard.old.is_empty() || heard.swept.is_some_and(|swept| swept.elapsed() < SWEEPS) {
            return;
        }
        heard.swept = Some(Instant::now());
        for note in std::mem::take(&mut heard.old) {
            match self.notes.delete(&note).await {
                Ok(()) => {}
                Err(trouble) if was_late(&trouble) => {}
                // It is a courtesy: what is left does no harm.
                Err(_) => return,
            }
        }
    }

    /// What we wrote last, or what stands there.
    async fn found(&self, name: &Name) -> Result<Option<Note>, NotSaid> {
        let ours = lock(&self.ours).remove(name);
        match ours {
            Some(note) => Ok(Some(note)),
            None => self.notes.read(name).await.map_err(|trouble| self.away(&trouble)),
        }
    }

    /// Whether we may write over what stands there.
    fn may_speak(&self, found: &Note) -> Result<(), NotSaid> {
        if !self.notes.has(found) {
            return Err(NotSaid::Foreign { holder: None });
        }
        if found.holder.as_deref().is_none_or(|holder| *holder == *self.holder) {
            return Ok(());
        }
        let entry = lock(&self.theirs).look_at(found, SystemTime::now(), Instant::now());
        if entry.standing.is_over() { Ok(()) } else { Err(NotSaid::Foreign { holder: entry.holder }) }
    }

    /// Tells of what blocks a rotation and can only be put right by people.
    fn complain(&self, entries: &[Entry]) {
        for entry in entries {
            let (what, help) = match entry.standing {
                Standing::Unclear => (
                    "cannot be understood, so that its instance counts as one that said nothing",
                    "see who writes it; a later release may",
                ),
                Standing::Disputed => (
                    "is written by two, so that its instance counts as one that said nothing",
                    "give each instance a name of its own (HOSTNAME)",
                ),
                Standing::Counts | Standing::Doubtful | Standing::Lapsed | Standing::Freed => continue,
            };
            self.tell(format!("the Lease {} {what}", entry.lease), help);
        }
    }

    /// Tells it, once.
    fn tell(&self, message: String, help: &str) {
        let mut told = lock(&self.told);
        if told.len() >= TOLD {
            told.clear();
        }
        if told.insert(message.clone()) {
            (self.tell)(Words { code: None, message, place: None, help: Some(help.to_owned()) });
        }
    }

    fn away(&self, trouble: &Trouble) -> NotSaid {
        let Unheard { message, help } = self.unheard(trouble);
        NotSaid::Away { message, help }
    }

    fn unheard(&self, Trouble { why, .. }: &Trouble) -> Unheard {
        let message = match why {
            // It says where by itself.
            Why::Access(misfit) => misfit.message.clone(),
            why => format!("{} {why}", self.notes.label()),
        };
        let help = match why {
            Why::Forbidden => "`dlconf rbac --acknowledge` prints the Role that it needs".to_owned(),
            Why::NotFound => {
                "create the namespace, or name another one in the kubeconfig's context".to_owned()
            }
            why => why.help(),
        };
        Unheard { message, help }
    }
}

/// Whether somebody wrote or deleted it since it was read.
fn was_late(trouble: &Trouble) -> bool {
    matches!(trouble.why, Why::Conflict | Why::NotFound)
}

/// What counts no more, and was last renewed long ago.
fn old(notes: Vec<Note>, entries: &[Entry], server_time: SystemTime) -> Vec<Note> {
    let over: BTreeSet<&str> =
        entries.iter().filter(|entry| entry.standing.is_over()).map(|entry| &*entry.lease).collect();
    let is_old = |note: &Note| {
        let since = note.renewed_at().and_then(|at| server_time.duration_since(at).ok());
        over.contains(&*note.name) && since.is_some_and(|since| since >= REMAINS)
    };
    notes.into_iter().filter(is_old).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
