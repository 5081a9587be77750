//! The record of who got what: value-free lines, each bound to the one before it.
//!
//! Owns: the log's file, its chain, its rotation. Invariants: what is acknowledged
//! is in the file; a line that is changed, removed or put in is found by
//! `dlconf audit verify`, and with a head that was noted elsewhere, so is an end
//! that was cut off.
//! Must not know: values; who decides.
//!
//! `record` has the words, `chain` what binds them, `file` the log (at its `place`),
//! `thread` the writing, `ledger` the refusals that repeat, `verify` the reading
//! back.

mod chain;
mod file;
mod ledger;
mod place;
mod record;
mod shown;
mod thread;
pub mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::policy::{Action, RuleId};
use crate::model::key::Key;
use crate::model::snapshot::Version;
use crate::source::file::ShownPath;
use crate::source::key_file::{self, KeyFileError};
use crate::status::AuditStatus;
use crate::telemetry::Listener;
use chain::ChainKey;
use file::{Limits, Log};
pub use place::{is_full, names};
pub use record::Closing;
use record::Refused;
use shown::Shown;
use thread::{NoRoom, Queue, Writer};

/// `[audit]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// The log, absolute.
    pub path: PathBuf,
    /// As the user wrote it.
    pub label: String,
    /// The file with the key of the chain.
    pub key_file: ShownPath,
    /// Whether what cannot be recorded is refused.
    pub required: bool,
    /// How large the file may become, in bytes, before another one is begun.
    pub max_bytes: u64,
    /// How many full files are kept.
    pub keep: u32,
}

/// Something that was released, permitted or refused.
#[derive(Debug, Clone)]
pub struct Record {
    /// To whom.
    pub who: Who,
    /// What was to be done.
    pub action: Action,
    /// With which variables.
    pub keys: Vec<Key>,
    /// The generation, where values were released.
    pub version: Option<Version>,
    /// What became of it.
    pub outcome: Outcome,
}

/// To whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Who connected to the socket.
    Peer {
        /// The user.
        uid: u32,
        /// The group.
        gid: u32,
        /// The process; none where it is of another pid namespace.
        pid: Option<i32>,
        /// The file that it executes, where a rule asked for that.
        exe: Option<PathBuf>,
        /// Its systemd unit, where a rule asked for that.
        unit: Option<String>,
    },
    /// A delivery.
    Delivery(String),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// These rules permit it; none for a delivery, whose `vars` do.
    Permitted(Vec<RuleId>),
    /// No rule does.
    Refused,
}

/// It is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {reason}")]
pub struct Unrecorded {
    /// The kernel's words.
    pub reason: String,
}

/// The end of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// How many records there are, over all files.
    pub count: u64,
    /// The last one's code, 64 hexadecimal digits.
    pub code: String,
    /// Why the last one could not be written, if so.
    pub failure: Option<String>,
}

/// Who waits longer for a line is told that there is none.
const PATIENCE: Duration = Duration::from_secs(2);

/// For the last lines.
const LAST: Duration = Duration::from_millis(300);

/// For the last lines, where nobody waits for them.
const LAST_UNAWAITED: Duration = Duration::from_millis(100);

/// The log of one daemon, as one layout of it has it. Shared by all who write to
/// it.
#[derive(Debug)]
pub struct Audit {
    required: bool,
    limits: Limits,
    desk: Arc<Desk>,
}

/// What layouts that have the same log share.
#[derive(Debug)]
struct Desk {
    queue: Arc<Queue>,
    shown: Arc<Shown>,
    key: ChainKey,
    ended: std::sync::Mutex<Receiver<()>>,
}

/// Why there is no log. Value-free.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct AuditError {
    /// One sentence, naming the file.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Audit {
    /// Opens the log, and goes on with the chain where it ends. It waits for the
    /// disk.
    ///
    /// # Errors
    /// [`AuditError`]: the key cannot be read or is read by too many, the log cannot
    /// be written, another daemon writes it, or its end was not written with this
    /// key.
    pub fn open(config: &AuditConfig, listener: Arc<dyn Listener>) -> Result<Self, AuditError> {
        let key = chain_key(&config.key_file)?;
        let mut log = Log::open(config, key.clone())?;
        let begun = log.append(0, std::iter::empty());
        let shown = Arc::new(Shown::new(config.label.clone(), listener, config.required, log.end()));
        if let Err(reason) = begun {
            if config.required {
                return Err(AuditError {
                    message: format!("the audit log {} cannot be written: {reason}", config.label),
                    help: "see whether that disk is full or read-only".into(),
                });
            }
            shown.failed(&reason);
        }
        let queue = Arc::new(Queue::default());
        let (alive, ended) = sync_channel(0);
        let writer = Writer {
            log,
            queue: Arc::clone(&queue),
            shown: Arc::clone(&shown),
            _alive: alive,
            lost: 0,
            is_unkept: false,
        };
        let thread = std::thread::Builder::new().name("dlconf-audit".into()).stack_size(256 * 1024);
        thread.spawn(move || writer.run()).map_err(|error| AuditError {
            message: format!("the system has no thread for the audit log: {error}"),
            help: "raise the limit of processes".into(),
        })?;
        let desk = Arc::new(Desk { queue, shown, key, ended: ended.into() });
        Ok(Self { required: config.required, limits: Limits::of(config), desk })
    }

    /// The same log, as another layout has it, from [`Self::hold`] on. Its path must
    /// be the same.
    ///
    /// # Errors
    /// [`AuditError`] where the key is another, or cannot be read.
    pub fn with(&self, config: &AuditConfig) -> Result<Self, AuditError> {
        if !chain_key(&config.key_file)?.is(&self.desk.key) {
            return Err(AuditError {
                message: format!("the key of the audit log {} cannot be exchanged", config.label),
                help: "name another log for another key: a chain has one key".into(),
            });
        }
        let desk = Arc::clone(&self.desk);
        Ok(Self { required: config.required, limits: Limits::of(config), desk })
    }

    /// The layout that this is of is in force.
    pub fn hold(&self) {
        self.desk.queue.limit(self.limits);
        self.desk.shown.require(self.required);
    }

    /// Whether both write the same log.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.desk, &other.desk)
    }

    /// Whether what cannot be recorded is refused.
    pub fn is_required(&self) -> bool {
        self.required
    }

    /// Writes a record; done when it is in the file. A line that is late may still
    /// come: what is recorded may not have happened, never the reverse.
    ///
    /// # Errors
    /// [`Unrecorded`]: nothing of it was in the file in time.
    pub async fn record(&self, record: Record) -> Result<(), Unrecorded> {
        let Desk { queue, shown, .. } = &*self.desk;
        let failed = |reason: &str| {
            shown.failed(reason);
            Err(Unrecorded { reason: reason.to_owned() })
        };
        let acked = match queue.push(record::words(&record)) {
            Ok(acked) => acked,
            Err(NoRoom::Full) => return failed("the disk does not answer, and too many records wait for it"),
            Err(NoRoom::Closed) => return Err(Unrecorded { reason: "the log is closed".into() }),
        };
        match timeout(PATIENCE, acked).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => Err(Unrecorded { reason: "the log is closed".into() }),
            Err(_) => {
                queue.give_up();
                failed("the disk does not answer")
            }
        }
    }

    /// Notes a refusal, without waiting. Those that repeat are counted together.
    #[allow(clippy::needless_pass_by_value, reason = "a record is for one line, as in `record`")]
    pub fn refused(&self, record: Record) {
        let uid = match &record.who {
            Who::Peer { uid, .. } => Some(*uid),
            Who::Delivery(_) => None,
        };
        let who = Refused { uid, action: record.action };
        self.desk.queue.refused(who, &record.keys, || record::words(&record));
    }

    /// Opens the file again: somebody may have moved it away.
    pub fn reopen(&self) {
        self.desk.queue.reopen();
    }

    /// Writes what waits, and that nothing more follows. Whatever is to be recorded
    /// later is not.
    pub async fn close(&self, why: Closing) {
        let (done, told) = oneshot::channel();
        self.desk.queue.close(why, Some(done));
        let _written_or_late = timeout(LAST, told).await;
    }

    /// What is told of it.
    pub fn status(&self) -> AuditStatus {
        let Head { count, code, failure } = self.head();
        let path = self.desk.shown.log().to_owned();
        AuditStatus { path, required: self.required, records: count, head: code, failure }
    }

    /// The end of the chain.
    pub fn head(&self) -> Head {
        self.desk.shown.head()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.queue.close(Closing::Stopped, None);
        if let Ok(ended) = self.ended.get_mut() {
            let _written_or_late = ended.recv_timeout(LAST_UNAWAITED);
        }
    }
}

/// What a log ends with, without writing to it: for those who only look.
///
/// # Errors
/// As [`Audit::open`], where it can be told without writing.
pub fn examine(config: &AuditConfig) -> Result<Head, AuditError> {
    let end = file::examine(config, &chain_key(&config.key_file)?)?;
    Ok(Head { count: end.seq, code: chain::hex(&end.code), failure: None })
}

/// Reads the key of the chain.
fn chain_key(file: &ShownPath) -> Result<ChainKey, AuditError> {
    let failed = |error: KeyFileError| AuditError { message: error.message, help: error.help };
    Ok(ChainKey::new(&key_file::read(file, "audit key").map_err(failed)?))
}

#[cfg(test)]
mod tests;
