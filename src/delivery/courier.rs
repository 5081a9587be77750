//! One delivery at work: generation after generation, and what follows a change.
//!
//! Owns: when a delivery writes, its retries, its `on_change`, what is told of it.
//! Invariants: a failing delivery is tried again by itself and holds up no other;
//! `on_change` follows a change of bytes and nothing else; values are kept only as
//! long as they are in force here.
//! Must not know: how a delivery writes.

use std::collections::BTreeSet;
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until, timeout};

use super::config::{DeliveryConfig, DeliveryKind};
use super::hook::{Context, Hook, HookRan, mask};
use super::{Delivery, DeliveryError, Outcome};
use crate::access::{Gate, Released};
use crate::model::finding::{Code, Severity};
use crate::model::key::Key;
use crate::model::snapshot::Version;
use crate::source::backoff::{Backoff, share};
use crate::status::{DeliveryStatus, FindingStatus, HookStatus};
use crate::telemetry::{Event, Listener, Words};

/// How often it is seen whether what was delivered is still there.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How long the end of a daemon waits for an `on_change` under way.
const LAST_HOOK: Duration = Duration::from_millis(400);

/// What is told of one delivery.
#[derive(Debug)]
pub struct Record {
    config: DeliveryConfig,
    granted: BTreeSet<Key>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What is there: its version, since when, how many variables.
    delivered: Option<(Version, Instant, usize)>,
    failure: Option<FindingStatus>,
    hook: Option<(bool, String, Instant)>,
}

impl Record {
    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether a generation was ever put there.
    pub fn has_delivered(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).delivered.is_some()
    }

    fn has_delivered_version(&self, version: &Version) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.delivered.as_ref().is_some_and(|(delivered, ..)| delivered == version)
    }

    /// Its name, if it may have this variable.
    pub fn reader_of(&self, key: &str) -> Option<&str> {
        self.granted.contains(key).then_some(&*self.config.name)
    }

    /// All that is told.
    pub fn status(&self) -> DeliveryStatus {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = |since: Instant| since.elapsed().as_secs();
        DeliveryStatus {
            name: self.config.name.clone(),
            kind: match self.config.kind {
                DeliveryKind::EnvFile { .. } => "env-file".to_owned(),
                DeliveryKind::Directory => "directory".to_owned(),
            },
            path: self.config.label.clone(),
            vars: state.delivered.as_ref().map_or(0, |(_, _, vars)| *vars),
            version: state.delivered.as_ref().map(|(version, ..)| version.to_string()),
            age_seconds: state.delivered.as_ref().map(|(_, at, _)| seconds(*at)),
            failure: state.failure.clone(),
            on_change: state.hook.as_ref().map(|(ok, detail, at)| HookStatus {
                ok: *ok,
                detail: detail.clone(),
                age_seconds: seconds(*at),
            }),
        }
    }
}

/// One delivery at work.
pub struct Courier {
    /// Away while it writes.
    delivery: Option<Box<dyn Delivery>>,
    gate: Gate,
    hook: Option<Hook>,
    /// What an `on_change` that prints may have read, oldest first: what is there
    /// now, and what was since the one under way began; each with whether that was
    /// told to be there.
    readable: Vec<(Arc<Released>, bool)>,
    /// Whether an `on_change` is under way.
    hook_runs: bool,
    record: Arc<Record>,
    listener: Arc<dyn Listener>,
    backoff: Backoff,
    /// When a failed delivery is tried again.
    again: Option<Instant>,
    /// When it is seen next whether what was delivered is still there.
    look_at: Instant,
    began: std::time::Instant,
}

/// How a courier ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    Told,
    /// Nothing will be published any more, or its delivery is gone.
    Unasked,
}

impl Courier {
    /// Puts a delivery to work.
    pub fn new(
        config: DeliveryConfig,
        delivery: Box<dyn Delivery>,
        gate: Gate,
        granted: BTreeSet<Key>,
        hook: Option<Hook>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        let record = Arc::new(Record { config, granted, state: Mutex::default() });
        Self {
            delivery: Some(delivery),
            gate,
            hook,
            readable: Vec::new(),
            hook_runs: false,
            record,
            listener,
            backoff: Backoff::default(),
            again: None,
            look_at: Instant::now() + LOOK_AGAIN,
            began: std::time::Instant::now(),
        }
    }

    /// What is told of it.
    pub fn record(&self) -> Arc<Record> {
        Arc::clone(&self.record)
    }

    fn name(&self) -> &str {
        &self.record.config.name
    }

    /// Works until it is told to stop. A write under way is finished, an
    /// `on_change` under way is waited for a moment.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Ended {
        let stop = stop.shared();
        let mut running: Option<Pin<Box<dyn Future<Output = Option<HookRan>> + Send>>> = None;
        self.clean().await;
        let ended = loop {
            if self.delivery.is_none() {
                break Ended::Unasked;
            }
            tokio::select! {
                // First: who was sent away must not have what comes next.
                biased;
                () = stop.clone() => break Ended::Told,
                is_open = self.gate.advanced() => {
                    if !is_open {
                        break Ended::Unasked;
                    }
                    self.backoff.reset();
                    self.deliver(&stop).await;
                }
                () = sleep_until(self.again.unwrap_or_else(Instant::now)), if self.again.is_some() => {
                    self.deliver(&stop).await;
                }
                () = due(self.hook.as_ref()), if running.is_none() => {
                    running = self.hook.as_mut().map(|hook| Box::pin(hook.run()) as _);
                    self.hook_runs = true;
                }
                () = sleep_until(self.look_at) => self.look_again(&stop).await,
                ran = finished(&mut running) => {
                    running = None;
                    self.hook_runs = false;
                    self.tell_of_hook(ran);
                    self.forget_what_was();
                }
            }
        };
        // What is owed is told now: a beginning too early is better than none.
        let owed = self.hook.as_mut().filter(|hook| running.is_none() && hook.is_owed());
        running = running.or_else(|| owed.map(|hook| Box::pin(hook.run()) as _));
        if running.is_some()
            && let Ok(ran) = timeout(LAST_HOOK, finished(&mut running)).await
        {
            self.tell_of_hook(ran);
        }
        ended
    }

    /// Sees whether what was delivered is still there: somebody may have removed
    /// or changed it.
    async fn look_again(&mut self, stop: &(impl Future<Output = ()> + Clone)) {
        self.look_at = Instant::now() + LOOK_AGAIN;
        if self.again.is_none() && self.record.has_delivered() {
            self.deliver_if(|outcome| outcome == Outcome::Changed, stop).await;
        }
    }

    /// Removes what an earlier process left.
    async fn clean(&mut self) {
        if let Some(Err(error)) = self.write(|delivery| delivery.clean()).await {
            self.failed(&error);
        }
    }

    /// Puts the present generation there, if there is one.
    async fn deliver(&mut self, stop: &(impl Future<Output = ()> + Clone)) {
        self.deliver_if(|_| true, stop).await;
    }

    /// The same; tells of a success only if that matters.
    async fn deliver_if(
        &mut self,
        matters: impl FnOnce(Outcome) -> bool,
        stop: &(impl Future<Output = ()> + Clone),
    ) {
        self.again = None;
        let record = Arc::clone(&self.record);
        // Its record may take a while. Who is sent away meanwhile gets nothing.
        let released = tokio::select! {
            biased;
            () = stop.clone() => return,
            released = self.gate.deliver(&record.config.name, &record.granted) => released,
        };
        let released = match released {
            Ok(Some(released)) => Arc::new(released),
            Ok(None) => return,
            Err(refusal) => {
                return self.failed(&DeliveryError {
                    code: None,
                    message: format!("delivery `{}` gets nothing: {refusal}", self.name()),
                    help: "see the [audit] log's disk; `required = false` releases without a record".into(),
                });
            }
        };
        if self.hook.is_some() {
            // Also of one that fails: it may be there all the same.
            self.readable.retain(|(known, _)| known.version() != released.version());
            self.readable.push((Arc::clone(&released), false));
            self.forget_what_was();
        }
        let lent = Arc::clone(&released);
        let Some(outcome) = self.write(move |delivery| delivery.deliver(&lent)).await else { return };
        match outcome {
            Ok(outcome) if matters(outcome) => self.delivered(&released, outcome),
            Ok(_) => self.arrived(),
            Err(error) => self.failed(&error),
        }
    }

    /// Lets the delivery work where waiting for a disk holds up nobody. None if
    /// it is gone with it.
    async fn write<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Delivery) -> T + Send + 'static,
    ) -> Option<T> {
        let mut delivery = self.delivery.take()?;
        let (delivery, done) = spawn_blocking(move || {
            let done = work(&mut *delivery);
            (delivery, done)
        })
        .await
        .ok()?;
        self.delivery = Some(delivery);
        Some(done)
    }

    /// Keeps what an `on_change` may still read, and nothing older.
    fn forget_what_was(&mut self) {
        if self.hook_runs {
            return;
        }
        let in_force = self.readable.iter().rposition(|(_, is_there)| *is_there);
        let last = self.readable.len().checked_sub(1);
        let mut at = 0..;
        self.readable.retain(|_| {
            let at = at.next();
            at == in_force || at == last
        });
    }

    fn delivered(&mut self, released: &Released, outcome: Outcome) {
        self.backoff.reset();
        let version = released.version().clone();
        let changed = outcome == Outcome::Changed;
        let now = std::time::Instant::now();
        // What is restored, or was published before this courier came, tells nothing
        // of how long a change takes.
        let is_new = !self.record.has_delivered_version(&version);
        let causes = released.causes().iter().filter(|cause| is_new && cause.noticed >= self.began);
        let took = causes
            .map(|cause| (cause.source.clone(), now.saturating_duration_since(cause.noticed)))
            .collect();
        if changed && let Some(hook) = &mut self.hook {
            hook.wanted(Context { version: version.clone(), path: self.record.config.path.clone() });
        }
        self.record.update(|state| {
            state.delivered = Some((version.clone(), Instant::now(), released.variables().len()));
            state.failure = None;
        });
        self.arrived();
        let delivery = self.name().to_owned();
        self.listener.tell(Event::Delivered { delivery, version, changed, took });
    }

    /// Notes that the last that was released is there.
    fn arrived(&mut self) {
        if let Some((_, is_there)) = self.readable.last_mut() {
            *is_there = true;
        }
        self.forget_what_was();
    }

    fn failed(&mut self, error: &DeliveryError) {
        let wait = self.backoff.after_failure(share());
        self.again = Some(Instant::now() + wait);
        let words = Words {
            code: error.code,
            message: error.message.clone(),
            place: None,
            help: Some(error.help.clone()),
        };
        self.record.update(|state| {
            state.failure = Some(FindingStatus {
                code: error.code.map(Code::as_str).map(str::to_owned),
                severity: Severity::Error.as_str().to_owned(),
                variable: None,
                message: words.message.clone(),
                place: None,
                help: words.help.clone(),
            });
        });
        let delivery = self.name().to_owned();
        self.listener.tell(Event::DeliveryFailed { delivery, words, again_in: wait });
    }

    fn tell_of_hook(&self, ran: Option<HookRan>) {
        let Some(ran) = ran else { return };
        let delivery = || self.name().to_owned();
        let readable = self.readable.iter().flat_map(|(released, _)| released.variables());
        let secret = readable.filter(|delivered| delivered.secret);
        let values: Vec<_> = secret.map(|delivered| &*delivered.value).collect();
        for line in &ran.lines {
            let line = mask(line, &values);
            self.listener.tell(Event::HookSaid { delivery: delivery(), line });
        }
        if ran.dropped_lines > 0 {
            let line = format!("({} more lines)", ran.dropped_lines);
            self.listener.tell(Event::HookSaid { delivery: delivery(), line });
        }
        let detail = match ran.help {
            Some(help) => format!("{}: {help}", ran.detail),
            None => ran.detail,
        };
        self.record.update(|state| state.hook = Some((ran.ok, detail.clone(), Instant::now())));
        self.listener.tell(Event::Hook { delivery: delivery(), ok: ran.ok, detail });
    }
}

async fn due(hook: Option<&Hook>) {
    match hook {
        Some(hook) => hook.due().await,
        None => pending().await,
    }
}

async fn finished(
    running: &mut Option<Pin<Box<dyn Future<Output = Option<HookRan>> + Send>>>,
) -> Option<HookRan> {
    match running {
        Some(running) => running.await,
        None => pending().await,
    }
}
