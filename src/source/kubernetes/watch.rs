//! Being told of changes: one watch an object, of its metadata alone.
//!
//! Owns: a task an object, which finds it, reads it if it moved, and watches from
//! there on. An event ends the watch, since the metadata that came with it may hold
//! values (`kubectl apply` keeps a copy of them in an annotation); the object is
//! read, and the next watch begins.
//! Invariants: a watch that tells nothing until its end, not even a bookmark, is not
//! believed (a version from the future is answered with silence), and one that is
//! silent beyond its end is given up: then the object is found anew. A watch that
//! does not begin is not tried again from the same version, and more and more rarely,
//! however well the object can be read meanwhile.
//! Must not know: what is in an object.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::look::Found;
use super::{Shared, Slot};
use crate::kubernetes::{Event, Meta, Object, Trouble, Verb, Why};
use crate::network::Break;
use crate::source::backoff::{Backoff, share};

/// How long a watch lasts, in seconds: each draws one, so that not all end together.
const LASTS: std::ops::RangeInclusive<u32> = 25..=30;

/// How long after its end a watch is given up that has not ended.
const GRACE: Duration = Duration::from_secs(5);

/// The least time between two reads of one object, whoever writes it in a circle.
const BREATH: Duration = Duration::from_millis(50);

/// How long the server may take to tell what it knows of the past.
const RECALL: Duration = Duration::from_secs(3);

/// A watch that lasted this long, or told something, goes well: it is not ended in haste.
const LASTED: Duration = Duration::from_secs(2);

/// The running tasks, one an object.
pub(super) struct Watcher {
    tasks: JoinSet<()>,
}

impl Watcher {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let mut tasks = JoinSet::new();
        for index in 0..shared.objects.len() {
            let shared = Arc::clone(shared);
            tasks.spawn(async move {
                if let Some(slot) = shared.objects.get(index) {
                    Task { shared: &shared, slot, last_read: None, hasty: Backoff::default() }.run().await;
                }
            });
        }
        Self { tasks }
    }

    /// Ends all: each is somewhere where it may end.
    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Of one object.
struct Task<'a> {
    shared: &'a Shared,
    slot: &'a Slot,
    last_read: Option<Instant>,
    /// Grows with watches that do not begin, or that somebody ends as soon as they have.
    hasty: Backoff,
}

/// How a watch ended.
enum End {
    /// With an event; the next goes on from there.
    Told(Box<str>),
    /// Without one; the next goes on from the last bookmark. Without that, the object
    /// is found anew.
    Quiet(Option<Box<str>>),
    /// Something is wrong with it.
    Failed(Trouble),
}

impl Task<'_> {
    async fn run(mut self) {
        loop {
            // Also at first: the read before it may have been told to wait.
            let then = self.slot.tracked().may_be_asked_at();
            if let Some(then) = then {
                sleep_until(then).await;
            }
            if let ControlFlow::Break((object, verb, trouble)) = self.round().await {
                self.failed(object.as_ref(), verb, trouble).await;
                if verb == Verb::Watch {
                    // How well it can be read says nothing of when it can be watched.
                    sleep(self.hasty.after_failure(share())).await;
                }
            }
        }
    }

    /// Finds the object and watches it for as long as that goes well.
    async fn round(&mut self) -> ControlFlow<(Option<Object>, Verb, Trouble)> {
        let object = match self.shared.object(self.slot).await {
            Ok(object) => object,
            Err(trouble) => return ControlFlow::Break((None, Verb::List, trouble)),
        };
        let broke = |verb, trouble| ControlFlow::Break((Some(object.clone()), verb, trouble));
        let Found { mut version, meta } = match self.shared.find(&object).await {
            Ok(found) => found,
            Err(trouble) => return broke(Verb::List, trouble),
        };
        match meta {
            Some(meta) if self.slot.tracked().is_at(&meta) => {
                self.slot.tracked().answered();
            }
            Some(_) => self.read().await,
            None => {
                let deleted = self.was_deleted(&object).await;
                let news = match deleted {
                    Some(meta) => self.slot.tracked().deleted(&meta),
                    None => self.slot.tracked().is_absent(),
                };
                self.tell(news);
            }
        }
        loop {
            if self.slot.tracked().may_be_asked_at().is_some() {
                // It is there and cannot be read: found again soon.
                return ControlFlow::Continue(());
            }
            let began = Instant::now();
            let end = match self.watch(&object, &version).await {
                // It is forgotten: what is there now is found.
                End::Failed(trouble) if trouble.why == Why::Expired => End::Quiet(None),
                end => end,
            };
            match end {
                End::Told(next) => {
                    sleep_until(began + BREATH).await;
                    version = next;
                }
                End::Quiet(next) => {
                    self.rest(began).await;
                    let Some(next) = next else { return ControlFlow::Continue(()) };
                    version = next;
                }
                End::Failed(trouble) => return broke(Verb::Watch, trouble),
            }
        }
    }

    /// After a watch that told nothing: at once where it lasted, and ever later where
    /// somebody ends each of them as soon as it has begun.
    async fn rest(&mut self, began: Instant) {
        if began.elapsed() < LASTED {
            sleep(self.hasty.after_failure(share())).await;
        }
    }

    /// The server's statement that what we hold was deleted, where it went while nobody
    /// watched and the server still knows.
    async fn was_deleted(&self, object: &Object) -> Option<Meta> {
        let held = self.slot.tracked().version_there()?;
        let until = Instant::now() + RECALL;
        let mut lines = self.shared.follow(object, &held, 1).await.ok()?;
        while Instant::now() < until {
            match timeout_at(until, lines.next()).await.ok()?.ok()?? {
                Event::Deleted(meta) if *meta.name == *object.name.as_str() => return Some(meta),
                Event::Deleted(_) | Event::There(_) | Event::Bookmark(_) => {}
            }
        }
        None
    }

    /// One watch, to its first event or its end.
    async fn watch(&mut self, object: &Object, from: &str) -> End {
        let seconds = f64::from(*LASTS.start()) + share() * f64::from(*LASTS.end() - *LASTS.start());
        let until = Instant::now() + Duration::from_secs_f64(seconds) + GRACE;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 25 to 30
        let mut lines = match self.shared.follow(object, from, seconds as u64).await {
            Ok(lines) => lines,
            Err(trouble) => return End::Failed(trouble),
        };
        let (mut version, mut goes_well): (Option<Box<str>>, bool) = (None, false);
        let lasted = Instant::now() + LASTED;
        loop {
            let patience = if goes_well { until } else { lasted };
            // Who is never silent does not outlast it either.
            if Instant::now() >= until {
                return End::Quiet(version);
            }
            let event = match timeout_at(patience, lines.next()).await {
                Err(_) if !goes_well => {
                    goes_well = true;
                    self.goes_well();
                    continue;
                }
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => break,
                // An end in the middle: whoever is there now says what is true.
                Ok(Err(Trouble { why: Why::Network(Break::Connection), .. })) | Err(_) => {
                    return End::Quiet(None);
                }
                Ok(Err(trouble)) => return End::Failed(trouble),
            };
            if !goes_well {
                goes_well = true;
                self.goes_well();
            }
            match event {
                Event::Bookmark(at) => {
                    self.slot.tracked().confirm();
                    version = Some(at);
                }
                // Of another object: somebody on the way passes our selector over.
                Event::There(meta) | Event::Deleted(meta) if *meta.name != *object.name.as_str() => {}
                Event::There(meta) if self.slot.tracked().is_at(&meta) => {
                    self.slot.tracked().confirm();
                    version = Some(meta.resource_version);
                }
                Event::There(meta) => {
                    drop(lines);
                    self.read().await;
                    return End::Told(meta.resource_version);
                }
                Event::Deleted(meta) => {
                    drop(lines);
                    let news = self.slot.tracked().deleted(&meta);
                    self.tell(news);
                    return End::Told(meta.resource_version);
                }
            }
        }
        End::Quiet(version)
    }

    fn goes_well(&mut self) {
        self.hasty.reset();
        let news = self.slot.tracked().watched();
        self.tell(news);
    }

    async fn read(&mut self) {
        if let Some(last) = self.last_read {
            sleep_until(last + BREATH).await;
        }
        self.last_read = Some(Instant::now());
        let news = self.shared.read(self.slot).await;
        self.tell(news);
    }

    /// Notes what keeps the object from being found or watched. Where it may be read
    /// all the same, it is: so a change comes late, but it comes.
    async fn failed(&mut self, object: Option<&Object>, verb: Verb, trouble: Trouble) {
        let Some(object) = object else {
            let news = self.slot.tracked().failed(verb, trouble, Vec::new());
            return self.tell(news);
        };
        let is_forbidden = trouble.why == Why::Forbidden;
        let mut news = self.shared.fail(self.slot, object, verb, trouble).await;
        if is_forbidden {
            news |= self.shared.read_aside(self.slot, object).await;
        }
        self.tell(news);
    }

    fn tell(&self, news: bool) {
        if news {
            self.shared.moved.notify_one();
        }
    }
}
