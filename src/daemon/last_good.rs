//! The keeper of the last-known-good snapshot: reads it at the start, lets it stand in
//! when the sources had their time, and writes it.
//!
//! Owns: when that is done. Written is each new generation, and the same again once
//! the sources have confirmed it for a while; off the loop, never twice at once, and
//! the latest state wins. One that cannot be used is read again for as long as nothing
//! is published: a key may be mounted later, a clock be set.
//! Invariants: trouble with a snapshot ends nothing and is told, once for each
//! reason; what cannot be written is tried again; what was read at the start is handed
//! over and not held here; the loop waits for no disk.
//! Must not know: what is in a snapshot, who wins over whom.

use std::collections::BTreeMap;
use std::future::pending;
use std::mem::discriminant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use crate::broker::{Broker, time};
use crate::last_good::{About, NotWritten, Recalled, SnapshotConfig, Store, Unusable, Written, examine_key};
use crate::model::kept::Kept;
use crate::model::key::SourceName;
use crate::source::backoff::{Backoff, share};
use crate::source::key_file::KeyFileError;
use crate::status::{FindingStatus, SnapshotStatus, SourceStatus};
use crate::telemetry::{Event, Listener};

/// For a disk that does not answer: sources are read without a snapshot then.
const READING: Duration = Duration::from_secs(5);
/// When it is said that a disk does not answer.
const WRITING: Duration = Duration::from_secs(10);
/// How often one that cannot be used is read again.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// How often it is looked whether something is to be written.
const LOOK: Duration = Duration::from_secs(5);
/// The same, while something waits that is not settled.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// The least age of what is stored at which the same is written again, and the most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(5));

/// How old what is stored may become while the sources confirm it: a start loses no
/// more than that of `max_age`, and a disk is written to rarely.
fn again_after(max_age: Duration) -> Duration {
    (max_age / 24).clamp(AGAIN.0, AGAIN.1)
}

/// By what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) config: SnapshotConfig,
    /// What it is kept of.
    pub(super) about: About,
}

/// The keeper.
pub(super) struct Keeper {
    broker: Arc<Broker>,
    listener: Arc<dyn Listener>,
    terms: watch::Sender<Option<Terms>>,
    shown: Mutex<Shown>,
}

/// What is told of it.
#[derive(Default)]
struct Shown {
    held: Option<Held>,
    failure: Option<FindingStatus>,
    unguarded: Option<String>,
}

/// What the file holds.
struct Held {
    generation: u64,
    written: SystemTime,
    /// The least recent confirmation in it.
    oldest: SystemTime,
}

/// When each source was confirmed.
type Confirmed = BTreeMap<SourceName, SystemTime>;

/// What came of asking the disk.
enum Done {
    /// What is there; where nothing is, why there is no key for one, if so.
    Read(Result<Option<Recalled>, Unusable>, Option<KeyFileError>),
    /// What was written at that time; none where there was nothing to write.
    Wrote(Result<Option<Written>, NotWritten>, Confirmed, SystemTime),
}

/// What the disk is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Read,
    Write,
    /// What a writer began whose place another one took: it has the same file.
    Others,
}

/// What the disk does.
struct Job {
    work: Work,
    task: JoinHandle<Done>,
    /// When it is said that it takes too long, until that was said.
    late_at: Option<Instant>,
}

impl Job {
    fn new(work: Work, task: JoinHandle<Done>) -> Self {
        let most = if work == Work::Read { READING } else { WRITING };
        Self { work, task, late_at: Some(Instant::now() + most) }
    }
}

/// One file, being written.
struct Writer {
    terms: Terms,
    store: Arc<Mutex<Store>>,
    /// What the disk does for it: one thing at a time.
    job: Option<Job>,
    /// Whether an earlier daemon's was handed over.
    is_recalled: bool,
    /// Why it could not be used, the last time.
    unusable: Option<Unusable>,
    /// When each source in the file was confirmed.
    stored: Confirmed,
    /// Whether there is a state that is not in the file.
    is_behind: bool,
    look_at: Instant,
    backoff: Backoff,
    /// Why it could not be written, the last time.
    failing: Option<String>,
}

impl Writer {
    fn new(terms: Terms) -> Self {
        Self {
            store: Arc::new(Mutex::new(Store::new(terms.config.clone()))),
            terms,
            job: None,
            is_recalled: false,
            unusable: None,
            stored: BTreeMap::new(),
            is_behind: false,
            look_at: Instant::now() + LOOK,
            backoff: Backoff::default(),
            failing: None,
        }
    }

    /// Reads what is there.
    fn read(&mut self) {
        let (store, about) = (Arc::clone(&self.store), self.terms.about.clone());
        let task = spawn_blocking(move || {
            let mut store = lock(&store);
            let read = store.recall(&about, SystemTime::now());
            let is_none = matches!(read, Ok(None));
            Done::Read(read, examine_key(store.config()).err().filter(|_| is_none))
        });
        self.job = Some(Job::new(Work::Read, task));
    }

    /// Writes what there is to keep.
    fn write(&mut self, broker: &Arc<Broker>) {
        let (store, about) = (Arc::clone(&self.store), self.terms.about.clone());
        let broker = Arc::clone(broker);
        let task = spawn_blocking(move || {
            let mut store = lock(&store);
            let (mut confirmed, now) = (Confirmed::new(), SystemTime::now());
            let kept = || {
                let kept = broker.kept()?;
                confirmed = confirmations(&kept);
                Some(kept)
            };
            Done::Wrote(store.write(kept, &about, now), confirmed, now)
        });
        self.job = Some(Job::new(Work::Write, task));
        // What comes from now on may be in it, or not.
        self.is_behind = false;
    }

    /// Whether what is stored is older than that by so much, whatever the clock did.
    fn is_old(&self, kept: &[Kept], by: Duration) -> bool {
        let apart = |one: SystemTime, other: SystemTime| {
            one.duration_since(other).unwrap_or_else(|error| error.duration())
        };
        kept.iter().any(|kept| {
            let stored = self.stored.get(&kept.source);
            stored.is_none_or(|stored| apart(kept.confirmed, *stored) >= by)
        })
    }
}

fn confirmations(kept: &[Kept]) -> Confirmed {
    kept.iter().map(|kept| (kept.source.clone(), kept.confirmed)).collect()
}

/// Waits for what the disk does; for ever, where it does nothing. It may be dropped
/// at any time.
async fn done(writer: Option<&mut Writer>) -> Result<Done, JoinError> {
    match writer.and_then(|writer| writer.job.as_mut()) {
        Some(job) => (&mut job.task).await,
        None => pending().await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn finding(severity: &str, message: String, help: String, place: &str) -> FindingStatus {
    FindingStatus {
        code: None,
        severity: severity.to_owned(),
        variable: None,
        message,
        place: Some(place.to_owned()),
        help: Some(help),
    }
}

impl Keeper {
    pub(super) fn new(broker: Arc<Broker>, listener: Arc<dyn Listener>, terms: Option<Terms>) -> Self {
        Self { broker, listener, terms: watch::Sender::new(terms), shown: Mutex::default() }
    }

    /// Keeps by these terms from now on.
    pub(super) fn follow(&self, terms: Option<Terms>) {
        self.terms.send_if_modified(|present| {
            let is_other = *present != terms;
            *present = terms;
            is_other
        });
    }

    /// What is told of it; none where nothing is kept.
    pub(super) fn status(&self, sources: &[SourceStatus]) -> Option<SnapshotStatus> {
        let terms = self.terms.borrow();
        let config = &terms.as_ref()?.config;
        let shown = lock(&self.shown);
        let held = shown.held.as_ref();
        let age = |held: &Held| SystemTime::now().duration_since(held.oldest).unwrap_or_default().as_secs();
        let stands_in = sources.iter().filter(|source| source.snapshot_age_seconds.is_some());
        Some(SnapshotStatus {
            path: config.label.clone(),
            generation: held.map(|held| held.generation),
            written: held.map(|held| time(held.written)),
            age_seconds: held.map(age),
            max_age_seconds: config.max_age.as_secs(),
            stands_in: stands_in.map(|source| source.name.clone()).collect(),
            failure: shown.failure.clone(),
            unguarded: shown.unguarded.clone(),
        })
    }

    /// Keeps until told to stop. `recalled` is told when the broker may begin.
    pub(super) async fn run(&self, recalled: oneshot::Sender<()>, stopped: impl Future<Output = ()>) {
        let started = Instant::now();
        let (mut following, mut generations) = (self.terms.subscribe(), self.broker.generations());
        let first = following.borrow_and_update().clone();
        let start_grace = first.as_ref().map(|terms| terms.config.start_grace);
        let mut writer = first.map(Writer::new);
        if let Some(writer) = &mut writer {
            writer.read();
            match timeout(READING, done(Some(writer))).await {
                Ok(read) => self.conclude(writer, read, false),
                Err(_) => self.is_late(writer),
            }
        }
        let _nobody_waits = recalled.send(());
        // Only now are the sources asked: a slow disk takes nothing of their time.
        let mut grace = start_grace.map(|start_grace| Instant::now() + start_grace);
        tokio::pin!(stopped);
        loop {
            let job = writer.as_ref().and_then(|writer| writer.job.as_ref());
            let late_at = job.and_then(|job| job.late_at);
            let look_at = writer.as_ref().filter(|_| job.is_none()).map(|writer| writer.look_at);
            tokio::select! {
                biased;
                () = &mut stopped => break,
                () = sleep_until(grace.unwrap_or(started)), if grace.is_some() => {
                    grace = None;
                    self.broker.stand_in();
                }
                Ok(()) = following.changed() => {
                    let terms = following.borrow_and_update().clone();
                    writer = self.exchange(writer, terms);
                }
                Ok(()) = generations.changed() => {
                    if let Some(writer) = &mut writer {
                        (writer.is_behind, writer.look_at) = (true, Instant::now());
                    }
                }
                done = done(writer.as_mut()) => {
                    if let Some(writer) = &mut writer {
                        self.conclude(writer, done, grace.is_none());
                    }
                }
                () = sleep_until(late_at.unwrap_or(started)), if late_at.is_some() => {
                    if let Some(writer) = &mut writer {
                        self.is_late(writer);
                    }
                }
                () = sleep_until(look_at.unwrap_or(started)), if look_at.is_some() => {
                    if let Some(writer) = &mut writer {
                        self.look(writer);
                    }
                }
            }
        }
        if let Some(mut writer) = writer {
            // It may have come while the one before it was written.
            writer.is_behind |= generations.has_changed().is_ok_and(|is_so| is_so);
            self.end(&mut writer).await;
        }
    }

    /// What is known now is worth more to the next start than a quiet disk.
    async fn end(&self, writer: &mut Writer) {
        // Nobody needs any more what is read now.
        if let Some(job) = writer.job.take_if(|job| job.work != Work::Read) {
            let written = job.task.await;
            self.conclude_write(writer, written);
        }
        self.write(writer, AGAIN.0);
        if let Some(job) = writer.job.take_if(|job| job.work == Work::Write) {
            let written = job.task.await;
            self.conclude_write(writer, written);
        }
    }

    /// Reads, for as long as something may come of it, or writes.
    fn look(&self, writer: &mut Writer) {
        if !writer.is_recalled && self.broker.version().is_none() {
            writer.read();
        } else {
            self.write(writer, again_after(writer.terms.config.max_age));
        }
    }

    /// What the disk was asked for is done. `is_over`: the sources had their time.
    fn conclude(&self, writer: &mut Writer, done: Result<Done, JoinError>, is_over: bool) {
        let Some(Job { work, .. }) = writer.job.take() else { return };
        match (work, done) {
            (Work::Others, _) => writer.read(),
            (Work::Read, Ok(Done::Read(read, key))) => {
                // Once something is published, only its number counts, which ours must
                // be above: the sources are there.
                if self.broker.version().is_none() {
                    self.conclude_read(writer, read, key, is_over);
                } else {
                    (writer.is_behind, writer.look_at) = (true, Instant::now());
                }
            }
            (_, done) => self.conclude_write(writer, done),
        }
    }

    fn conclude_read(
        &self,
        writer: &mut Writer,
        read: Result<Option<Recalled>, Unusable>,
        key: Option<KeyFileError>,
        is_over: bool,
    ) {
        writer.look_at = Instant::now() + READ_AGAIN;
        match read {
            Ok(Some(recalled)) => {
                writer.stored = confirmations(&recalled.kept);
                writer.is_recalled = true;
                self.hand_over(recalled, &writer.terms.config.label);
                if is_over {
                    self.broker.stand_in();
                }
            }
            Ok(None) => {
                if writer.unusable.take().is_some() {
                    lock(&self.shown).failure = None;
                }
                match key {
                    Some(KeyFileError { message, help, .. }) => {
                        self.cannot_write(writer, message, help, false);
                    }
                    None => self.can_write(writer),
                }
            }
            Err(why) => self.cannot_use(writer, why),
        }
    }

    fn cannot_use(&self, writer: &mut Writer, why: Unusable) {
        let path = &writer.terms.config.label;
        let help = why.help(path);
        let told = finding("error", format!("the snapshot is not used: {why}"), help.clone(), path);
        lock(&self.shown).failure = Some(told);
        // What it says of a time is another thing each time.
        let is_same = |before: &Unusable| {
            let is_of_times = matches!(why, Unusable::TooOld { .. } | Unusable::FromTheFuture { .. });
            *before == why || (is_of_times && discriminant(before) == discriminant(&why))
        };
        if !writer.unusable.as_ref().is_some_and(is_same) {
            self.listener.tell(Event::SnapshotUnusable { path: path.clone(), why: why.to_string(), help });
        }
        writer.unusable = Some(why);
    }

    /// It is told that the disk takes too long; it is waited for further on.
    fn is_late(&self, writer: &mut Writer) {
        let Some(job) = &mut writer.job else { return };
        job.late_at = None;
        let help = "look after the disk".to_owned();
        if job.work == Work::Read && self.broker.version().is_none() {
            let message = "the disk did not answer in time".to_owned();
            self.cannot_use(writer, Unusable::Unreadable { message, help });
        } else {
            self.cannot_write(writer, "the disk does not answer".to_owned(), help, true);
        }
    }

    fn cannot_write(&self, writer: &mut Writer, reason: String, help: String, was_tried: bool) {
        let path = writer.terms.config.label.clone();
        let message = format!("the snapshot cannot be written: {reason}");
        lock(&self.shown).failure = Some(finding("error", message, help.clone(), &path));
        let is_news = writer.failing.as_ref() != Some(&reason);
        writer.failing = Some(reason.clone());
        if is_news || was_tried {
            self.listener.tell(Event::SnapshotFailed { path, reason, help, is_news });
        }
    }

    fn can_write(&self, writer: &mut Writer) {
        if writer.failing.take().is_some() {
            lock(&self.shown).failure = None;
            self.listener.tell(Event::SnapshotWorks { path: writer.terms.config.label.clone() });
        }
    }

    fn hand_over(&self, recalled: Recalled, path: &str) {
        let Recalled { kept, dropped, written, generation, unguarded } = recalled;
        if let Some(why) = unguarded.clone() {
            self.listener.tell(Event::SnapshotUnguarded { path: path.to_owned(), why });
        }
        let oldest = kept.iter().map(|kept| kept.confirmed).min().unwrap_or(written);
        *lock(&self.shown) =
            Shown { held: Some(Held { generation, written, oldest }), failure: None, unguarded };
        for what in dropped {
            self.listener.tell(Event::SnapshotDropped { path: path.to_owned(), what });
        }
        for unclaimed in self.broker.recall(kept) {
            let what = format!("what source {} gave: {}", unclaimed.source, unclaimed.why);
            self.listener.tell(Event::SnapshotDropped { path: path.to_owned(), what });
        }
    }

    /// Other terms: another file is written at once, one that nobody wants stays. A
    /// disk that does not answer for the old one holds up only the same file.
    fn exchange(&self, old: Option<Writer>, terms: Option<Terms>) -> Option<Writer> {
        *lock(&self.shown) = Shown::default();
        let Some(terms) = terms else {
            if let Some(old) = old {
                self.listener.tell(Event::SnapshotEnded { path: old.terms.config.label });
            }
            return None;
        };
        let mut writer = Writer::new(terms);
        let is_same = |old: &Writer| old.terms.config.path == writer.terms.config.path;
        match old.filter(is_same).and_then(|old| old.job) {
            Some(job) => writer.job = Some(Job::new(Work::Others, job.task)),
            None => writer.read(),
        }
        Some(writer)
    }

    /// Writes, if there is something that is to be written.
    fn write(&self, writer: &mut Writer, again_after: Duration) {
        writer.look_at = Instant::now() + if writer.is_behind { LOOK_SOON } else { LOOK };
        let Some(kept) = self.broker.kept() else { return };
        if writer.is_behind || writer.is_old(&kept, again_after) {
            // It is asked for again when the disk is ready for it.
            drop(kept);
            writer.write(&self.broker);
        }
    }

    fn conclude_write(&self, writer: &mut Writer, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Wrote(Ok(Some(written)), confirmed, now)) => {
                self.has_written(writer, written, confirmed, now);
            }
            Ok(Done::Wrote(Err(error), ..)) => {
                writer.is_behind = true;
                writer.look_at = Instant::now() + writer.backoff.after_failure(share());
                self.cannot_write(writer, error.to_string(), error.help(), true);
            }
            // There is nothing to keep now, or the runtime ends.
            _ => (writer.is_behind, writer.look_at) = (true, Instant::now() + LOOK_SOON),
        }
    }

    fn has_written(&self, writer: &mut Writer, written: Written, confirmed: Confirmed, now: SystemTime) {
        let path = writer.terms.config.label.clone();
        let oldest = confirmed.values().min().copied().unwrap_or(now);
        let Written { generation, unguarded } = written;
        let held = Some(Held { generation, written: now, oldest });
        writer.stored = confirmed;
        writer.look_at = if writer.is_behind { Instant::now() } else { Instant::now() + LOOK };
        writer.backoff.reset();
        let shown = Shown { held, failure: None, unguarded: unguarded.clone() };
        let before = std::mem::replace(&mut *lock(&self.shown), shown);
        self.can_write(writer);
        self.listener.tell(Event::SnapshotWritten { path: path.clone(), generation });
        if let Some(why) = unguarded.filter(|why| before.unguarded.as_ref() != Some(why)) {
            self.listener.tell(Event::SnapshotUnguarded { path, why });
        }
    }
}
