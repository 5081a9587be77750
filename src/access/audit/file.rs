//! The log's file: opened, appended to, exchanged when it is full or was moved.
//!
//! Invariants: it is written by one process; lines are written whole or not at
//! all, and the chain goes on only with what is in the file; what somebody else did
//! to it is told and recorded, never mended in silence.
//! Must not know: who waits for a line; what records mean.

use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::chain::{Chain, ChainKey, End, Line};
use super::place::{Found, Place, judged};
use super::record::{self, Opening, meddled, opened};
use super::{AuditConfig, AuditError};

/// A line is never longer. (A request's head has 16 KiB, a schema's names less.)
pub(super) const LONGEST: u64 = 1024 * 1024;

/// Written at once at most, in bytes.
const BATCH: usize = 256 * 1024;

/// For a daemon that is about to end.
const LOCK: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(10);

/// How large, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) max_bytes: u64,
    pub(super) keep: u32,
}

impl Limits {
    pub(super) fn of(config: &AuditConfig) -> Self {
        Self { max_bytes: config.max_bytes, keep: config.keep }
    }
}

/// A log that is written.
#[derive(Debug)]
pub(super) struct Log {
    place: Place,
    chain: Chain,
    limits: Limits,
    open: Option<Open>,
    /// What is to be recorded before anything else.
    notes: Vec<String>,
    /// What somebody else did to the file, in words, until it is recorded.
    meddled: Option<String>,
    /// The size at which exchanging a full file is tried again.
    again_at: u64,
    text: String,
    _lock: File,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// What we have written of it, in bytes.
    len: u64,
    /// The number of its first line; none before there is one.
    first: Option<u64>,
    /// Whether there is more in it that we could not take back.
    is_torn: bool,
    is_dirty: bool,
}

/// What became of lines.
#[derive(Debug, Default)]
pub(super) struct Appended {
    /// How many of those that were given are in the file.
    pub(super) lines: usize,
    /// What somebody else did to the file, in words.
    pub(super) meddled: Option<String>,
}

impl Log {
    /// Opens a log behind its last whole line. What a write that never ended left
    /// behind it is cut off: nobody was told that it is there.
    pub(super) fn open(config: &AuditConfig, key: ChainKey) -> Result<Self, AuditError> {
        let label = &config.label;
        let place = Place::open(&config.path, label, true)?;
        let lock = locked(&place)?;
        let found = place.log().map_err(|reason| unopened(label, reason))?;
        judged(&found.stat).map_err(|clause| AuditError {
            message: format!("the audit log {label} {clause}"),
            help: "see who did that, move it away (the chain goes on in a new one), or name another".into(),
        })?;
        let size = size(&found);
        let failed = |error: io::Error| AuditError {
            message: format!("the audit log {label} cannot be read: {error}"),
            help: "see whether that disk is in order".into(),
        };
        let tail = Tail::read(&found.file, size).map_err(failed)?;
        let (end, first) = match &tail.last {
            Some(last) => {
                let end = genuine(last, &key).ok_or_else(|| foreign(label))?;
                (end, first_of(&found.file).map_err(failed)?)
            }
            None => (before(&place, &key)?, None),
        };
        let dropped = size - tail.len;
        if dropped > 0 {
            found.file.set_len(tail.len).map_err(failed)?;
        }
        let open = Open { file: found.file, len: tail.len, first, is_torn: false, is_dirty: false };
        Ok(Self {
            place,
            chain: Chain::new(key, end),
            limits: Limits::of(config),
            open: Some(open),
            notes: vec![opened(Opening::Started, dropped)],
            meddled: None,
            again_at: 0,
            text: String::new(),
            _lock: lock,
        })
    }

    pub(super) fn end(&self) -> End {
        self.chain.end()
    }

    pub(super) fn limit(&mut self, limits: Limits) {
        self.limits = limits;
        self.again_at = 0;
    }

    /// Writes lines, in one go: as many as one go has, or the file has room for.
    /// Before them it is recorded that others were `lost`, if any were.
    ///
    /// # Errors
    /// The kernel's words. None of them is in the file, and the chain is where it
    /// was.
    pub(super) fn append<'w>(
        &mut self,
        lost: u64,
        words: impl Iterator<Item = &'w str>,
    ) -> Result<Appended, String> {
        let mut appended = Appended::default();
        self.look()?;
        let Some(open) = &mut self.open else { return Err("it is not open".into()) };
        let (before, time) = (self.chain.end(), now());
        self.text.clear();
        for note in &self.notes {
            self.chain.append(&mut self.text, &time, note);
        }
        if lost > 0 {
            self.chain.append(&mut self.text, &time, &record::lost(lost));
        }
        let room = match usize::try_from(self.limits.max_bytes.saturating_sub(open.len)) {
            // It could not be exchanged.
            Ok(0) | Err(_) => BATCH,
            Ok(room) => room.min(BATCH),
        };
        for words in words {
            self.chain.append(&mut self.text, &time, words);
            appended.lines += 1;
            if self.text.len() >= room {
                break;
            }
        }
        if self.text.is_empty() {
            return Ok(appended);
        }
        if let Err(error) = open.write(self.text.as_bytes()) {
            self.chain.back_to(before);
            return Err(words_of(&error));
        }
        open.first.get_or_insert(before.seq + 1);
        self.notes.clear();
        appended.meddled = self.meddled.take();
        Ok(appended)
    }

    /// Sees to it that a file is open, and that what somebody else did to it is going
    /// to be recorded.
    fn look(&mut self) -> Result<(), String> {
        let Some(open) = &mut self.open else { return self.begin(Opening::Rotated) };
        if open.is_torn {
            open.file.set_len(open.len).map_err(|error| words_of(&error))?;
            open.is_torn = false;
        }
        let stat = fstat(&open.file).map_err(|reason| reason.desc().to_owned())?;
        if stat.st_nlink == 0 {
            self.begin(Opening::Moved)?;
            self.meddled = Some("it was removed while it was written".into());
            return Ok(());
        }
        let has = u64::try_from(stat.st_size).unwrap_or(0);
        if has == open.len {
            return Ok(());
        }
        let had = open.len;
        // What is there stays, as evidence; a line of ours begins at a line's begin.
        let tail = Tail::read(&open.file, has).map_err(|error| words_of(&error))?;
        if tail.len < has {
            open.file.write_all(b"\n").map_err(|error| words_of(&error))?;
        }
        open.len = has + u64::from(tail.len < has);
        self.notes.push(meddled(had, has));
        self.meddled = Some(if has < had {
            format!("it was cut while it was written: of {had} bytes {has} are left")
        } else {
            format!("somebody else wrote to it: it has {has} bytes, and {had} were written")
        });
        Ok(())
    }

    /// Begins the file that has the log's name: a new or an empty one.
    fn begin(&mut self, why: Opening) -> Result<(), String> {
        let found = self.place.log().map_err(|reason| reason.desc().to_owned())?;
        judged(&found.stat).map_err(|clause| format!("it {clause}"))?;
        if size(&found) > 0 {
            return Err("another file has its name, and is not empty".into());
        }
        self.sync().map_err(|error| words_of(&error))?;
        self.open = Some(Open { file: found.file, len: 0, first: None, is_torn: false, is_dirty: false });
        self.again_at = 0;
        self.notes.insert(0, opened(why, 0));
        // The records are kept without it; their file's name may be lost.
        let _later = self.place.sync();
        Ok(())
    }

    /// Exchanges the file if it is full. True if it was.
    ///
    /// # Errors
    /// Why it cannot be; it is written on, and tried again later.
    pub(super) fn rotate(&mut self) -> Result<bool, String> {
        let Some(Open { len, first: Some(first), .. }) = self.open else { return Ok(false) };
        if len < self.limits.max_bytes.max(self.again_at) {
            return Ok(false);
        }
        let exchanged = self.exchange(first);
        // Not with every line from now on.
        if exchanged.is_err() && self.open.as_ref().is_some_and(|open| open.len == len) {
            self.again_at = len + self.limits.max_bytes / 8 + 1;
        }
        exchanged
    }

    fn exchange(&mut self, first: u64) -> Result<bool, String> {
        let said = |reason: Errno| reason.desc().to_owned();
        self.sync().map_err(|error| words_of(&error))?;
        let Some(open) = &self.open else { return Ok(false) };
        let stat = fstat(&open.file).map_err(said)?;
        if self.place.is_at(&stat).map_err(said)? {
            self.place.retire(first).map_err(said)?;
        }
        self.open = None;
        self.begin(Opening::Rotated)?;
        let fulls = self.place.fulls().map_err(said)?;
        let keep = usize::try_from(self.limits.keep).unwrap_or(usize::MAX);
        for old in fulls.iter().take(fulls.len().saturating_sub(keep)) {
            let removed = self.place.remove(*old);
            removed.map_err(|reason| format!("an old file cannot be removed: {}", reason.desc()))?;
        }
        Ok(true)
    }

    /// Begins anew if the log's name is not this file's any more. True if it was so.
    ///
    /// # Errors
    /// Why it cannot; the file that was moved is written on.
    pub(super) fn reopen(&mut self) -> Result<bool, String> {
        if let Some(open) = &self.open {
            let stat = fstat(&open.file).map_err(|reason| reason.desc().to_owned())?;
            if self.place.is_at(&stat).map_err(|reason| reason.desc().to_owned())? {
                return Ok(false);
            }
        }
        self.begin(Opening::Moved).map(|()| true)
    }

    /// Whether the disk may not have kept all of it.
    pub(super) fn is_dirty(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_dirty)
    }

    /// Waits for the disk to keep what was written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match &mut self.open {
            Some(open) if open.is_dirty => {
                open.file.sync_data()?;
                open.is_dirty = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Open {
    /// All or nothing.
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self.file.write_all(text) {
            Ok(()) => {
                self.len += text.len() as u64;
                self.is_dirty = true;
                Ok(())
            }
            Err(error) => {
                self.is_torn = self.file.set_len(self.len).is_err();
                Err(error)
            }
        }
    }
}

/// The end of a file.
struct Tail {
    /// Up to the end of its last whole line, in bytes.
    len: u64,
    /// That line, without its end.
    last: Option<Vec<u8>>,
}

impl Tail {
    fn read(file: &File, size: u64) -> io::Result<Self> {
        let mut want = 4096.min(size);
        loop {
            let mut bytes = vec![0; usize::try_from(want).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, size - want)?;
            let end = bytes.iter().rposition(|byte| *byte == b'\n');
            let rest = end.map(|end| &bytes[..end]);
            let start = rest.and_then(|rest| rest.iter().rposition(|byte| *byte == b'\n'));
            match (end, start) {
                (Some(end), Some(start)) => {
                    let last = bytes.get(start + 1..end).map(<[u8]>::to_vec);
                    return Ok(Self { len: size - want + end as u64 + 1, last });
                }
                (Some(end), None) if want == size => {
                    return Ok(Self { len: end as u64 + 1, last: bytes.get(..end).map(<[u8]>::to_vec) });
                }
                (None, _) if want == size => return Ok(Self { len: 0, last: None }),
                _ if want > 2 * LONGEST => {
                    return Err(io::Error::other("it holds a line that is too long to be ours"));
                }
                _ => want = (want * 8).min(size),
            }
        }
    }
}

fn size(found: &Found) -> u64 {
    u64::try_from(found.stat.st_size).unwrap_or(0)
}

fn genuine(line: &[u8], key: &ChainKey) -> Option<End> {
    Line::read(line).filter(|line| line.is_genuine(key)).map(|line| line.end())
}

/// The number of a file's first line; none where it is no such file.
pub(super) fn first_of(file: &File) -> io::Result<Option<u64>> {
    let mut bytes = [0; 32];
    let count = file.read_at(&mut bytes, 0)?;
    let text = bytes.get(..count).and_then(|bytes| bytes.strip_prefix(b"{\"seq\":"));
    let digits = text.and_then(|text| text.split(|byte| !byte.is_ascii_digit()).next());
    Ok(digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()))
}

/// Where the chain ended before a file that is new: at the end of the newest full
/// one.
fn before(place: &Place, key: &ChainKey) -> Result<End, AuditError> {
    let newest = place.fulls().map_err(|reason| unopened(place.label(), reason))?.pop();
    let Some(newest) = newest else { return Ok(End::START) };
    let label = place.shown(Some(newest));
    let found = place.read(Some(newest)).map_err(|reason| unopened(&label, reason))?;
    let tail = Tail::read(&found.file, size(&found)).map_err(|error| AuditError {
        message: format!("the audit log {label} cannot be read: {error}"),
        help: "see whether that disk is in order".into(),
    })?;
    tail.last.and_then(|last| genuine(&last, key)).ok_or_else(|| foreign(&label))
}

fn locked(place: &Place) -> Result<File, AuditError> {
    let label = place.label();
    let lock = place.lock().map_err(|reason| unopened(&format!("{label}.lock"), reason))?;
    let begin = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK => sleep(LOOK),
            Err(TryLockError::WouldBlock) => {
                return Err(AuditError {
                    message: format!("another daemon writes the audit log {label}"),
                    help: "end that one, or give each a log of its own".into(),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(AuditError {
                    message: format!("the audit log {label} cannot be locked: {error}"),
                    help: "choose a file system that has locks: two daemons would break the chain".into(),
                });
            }
        }
    }
}

fn unopened(label: &str, reason: Errno) -> AuditError {
    AuditError {
        message: format!(
            "the audit log {label} cannot be opened: {}",
            if reason == Errno::ELOOP { "it is a symbolic link" } else { reason.desc() }
        ),
        help: match reason {
            Errno::ELOOP => "name the file that the link leads to, or remove the link",
            Errno::ENOSPC | Errno::EDQUOT => "make room on that disk",
            _ => "see who may write there",
        }
        .into(),
    }
}

fn foreign(label: &str) -> AuditError {
    AuditError {
        message: format!("the end of the audit log {label} was not written with this key"),
        help: format!(
            "if the key was exchanged: `dlconf audit verify --key-file OLD {label}`, then move it and the full \
             ones beside it away; if not, somebody changed the file: keep it"
        ),
    }
}

/// What the log ends with, as far as that can be told without writing to it.
pub(super) fn examine(config: &AuditConfig, key: &ChainKey) -> Result<End, AuditError> {
    let label = &config.label;
    if config.path.parent().is_some_and(|above| !above.exists()) {
        // It is made when a daemon starts.
        return Ok(End::START);
    }
    let place = Place::open(&config.path, label, false)?;
    let found = match place.read(None) {
        Err(Errno::ENOENT) => return before(&place, key),
        other => other.map_err(|reason| unopened(label, reason))?,
    };
    judged(&found.stat).map_err(|clause| AuditError {
        message: format!("the audit log {label} {clause}"),
        help: "see who did that; a daemon refuses to go on with it".into(),
    })?;
    let tail = Tail::read(&found.file, size(&found)).map_err(|error| AuditError {
        message: format!("the audit log {label} cannot be read: {error}"),
        help: "see whether that disk is in order".into(),
    })?;
    match tail.last {
        Some(last) => genuine(&last, key).ok_or_else(|| foreign(label)),
        None => before(&place, key),
    }
}

fn words_of(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |code| Errno::from_raw(code).desc().to_owned())
}

fn now() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Millis, true)
}
