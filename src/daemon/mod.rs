//! The daemon: composition, life and end.
//!
//! Owns: which parts there are, how they are wired, and every task. It binds before
//! it serves, is ready when everything was delivered once, reloads everything or
//! nothing, and drains when told to end.
//! Invariants: every task has an owner, and one that ends unasked ends the daemon;
//! no task outlives it.
//! Must not know: what is decided in the rooms below.

mod crew;
mod estate;
mod face;
mod hearing;
mod last_good;
mod layout;
mod leader;
mod reload;
mod roster;
mod rotation;
mod systemd;
mod tried;

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::access::Rules;
use crate::access::audit::Closing;
use crate::assemble::{Request, WatchedFiles};
use crate::broker::Broker;
use crate::failure::{Failure, exit};
use crate::process::{Helper, HelperHandle, reap_adopted};
use crate::report::Style;
use crate::source::Use;
use crate::source::notice::Notices;
use crate::telemetry::{Event, Listener, Telemetry};
use crew::{Crew, Pulse};
use face::Face;
use hearing::Audience;
use last_good::Keeper;
use layout::Layout;
use reload::{Attempt, Loaded};
use rotation::Rotations;
use systemd::Systemd;

/// When a reload that was refused is tried again by itself.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// For all that ends orderly; what does not is cut.
const DRAIN: Duration = Duration::from_millis(600);

/// For the process that runs programs, after that: it kills those that do not end
/// when asked, and must be able to.
const HELPER_ENDS: Duration = Duration::from_millis(300);

/// How a daemon is started.
pub struct Start {
    /// What the caller asked for.
    pub request: Request,
    /// How mistakes in the schema are drawn.
    pub style: Style,
    /// Who is told of events.
    pub telemetry: Arc<Telemetry>,
    /// The process that runs programs, forked before hardening.
    pub helper: Option<Helper>,
}

/// Runs until told to end.
///
/// The exit code: 0 after being told to end, 70 if it had to stop, which was then
/// told as an event.
///
/// # Errors
/// [`Failure`] where it cannot start (exit 2, 4).
pub fn run(start: Start) -> Result<u8, Failure> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        // Before all else: a signal that comes meanwhile is not to be lost.
        let signals = Signals::listen()?;
        let hub = Notices::new();
        let layout = Layout::read(&start.request, start.style, &hub, None)?;
        layout.judge_purpose()?;
        layout.judge_snapshot_key()?;
        layout.judge_leader()?;
        Ok(Daemon::begin(start, hub, layout)?.live(signals).await)
    });
    // A name server or a disk that does not answer holds a thread, and must not
    // hold us.
    runtime.shutdown_background();
    done
}

/// One thread for all that waits; a few more for disks.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(5))
        // Who has asked is heard soon, although others come in crowds.
        .event_interval(4)
        .build()
        .map_err(|error| {
            Failure::new(exit::REFUSED, format!("the system refuses what waiting needs: {error}"), None)
        })
}

struct Daemon {
    request: Request,
    style: Style,
    hub: Arc<Notices>,
    layout: Arc<Layout>,
    broker: Arc<Broker>,
    keeper: Arc<Keeper>,
    /// The name of its versions.
    instance: Arc<str>,
    face: Arc<Face>,
    crew: Crew,
    pulse: Arc<Pulse>,
    helper: Option<HelperHandle>,
    systemd: Systemd,
}

/// What tells a daemon something from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    child: Signal,
}

impl Daemon {
    /// Binds and wires everything. Nothing is read or served yet.
    fn begin(start: Start, hub: Arc<Notices>, layout: Layout) -> Result<Self, Failure> {
        let Start { request, style, telemetry, helper } = start;
        let pulse = Arc::new(Pulse::new(Arc::clone(&telemetry)));
        let listener: Arc<dyn Listener> = Arc::clone(&pulse) as _;
        let helper = helper.and_then(|helper| helper.start().ok());
        pulse.tell(Event::Started {
            environment: layout.plan.environment.clone(),
            service: layout.plan.service.clone(),
            schema: layout.plan.schema.path.to_string(),
            settings: layout.settings.clone(),
        });
        let audit = layout.open_audit(None, &listener)?;
        let bound = layout.bind(None)?;
        let instance = instance();
        let (broker, intake) = Broker::new(layout.plan.clone(), Arc::clone(&instance), Arc::clone(&listener));
        let terms = layout.terms(&instance);
        let keeper = Arc::new(Keeper::new(Arc::clone(&broker), Arc::clone(&listener), terms));
        let rules = Rules::new(layout.policy.clone(), audit);
        let audience = Arc::new(Audience::new());
        let rotations =
            Arc::new(Rotations::new(&broker, &audience, layout.rotation.clone(), Arc::clone(&listener)));
        let face = Face::new(Arc::clone(&broker), Arc::clone(&keeper), rules, telemetry, audience, rotations);
        let face = Arc::new(face);
        let mut crew = Crew::new(listener, helper.clone());
        let (_, at_once) = watch::channel(true);
        crew.staff(&layout, bound, &face, &at_once);
        let recalled = crew.keeper(Arc::clone(&keeper));
        crew.broker(Arc::clone(&broker), intake, recalled);
        let layout = Arc::new(layout);
        let systemd = Systemd::from_environment();
        Ok(Self { request, style, hub, layout, broker, keeper, instance, face, crew, pulse, helper, systemd })
    }

    /// Works until told to end, or until a part of it ends unasked.
    async fn live(mut self, mut signals: Signals) -> u8 {
        let mut files = WatchedFiles::new(&self.hub, self.layout.files.clone());
        let mut attempt: Option<Pin<Box<dyn Future<Output = Attempt>>>> = None;
        let (mut asked_again, mut by_itself) = (false, false);
        // A reload that was refused may work later: a source is there again.
        let mut again: Option<Instant> = None;
        let mut is_ready = false;
        let why = loop {
            tokio::select! {
                _ = signals.terminate.recv() => break Ok("SIGTERM"),
                _ = signals.interrupt.recv() => break Ok("SIGINT"),
                _ = signals.hang_up.recv() => {
                    // Who rotates logs says so with this signal too.
                    self.face.audit().inspect(|audit| audit.reopen());
                    (asked_again, by_itself) = (true, false);
                }
                _ = files.changed() => (asked_again, by_itself) = (true, false),
                _ = signals.child.recv() => reap_adopted(self.helper.as_ref().map(HelperHandle::pid)),
                ended = self.crew.ended() => break Err(ended),
                how = helper_ended(self.helper.as_ref()) => {
                    break Err(format!("the process that runs on_change programs ended {how}"));
                }
                () = self.pulse.beat() => {
                    if !is_ready && self.face.is_ready() {
                        is_ready = true;
                        self.systemd.ready();
                        self.pulse.tell(Event::Ready { version: self.broker.version() });
                    }
                    self.systemd.outdated();
                }
                due = self.systemd.due() => self.systemd.tell(due, &self.face),
                done = attempted(&mut attempt) => {
                    attempt = None;
                    again = match self.crew.conclude(done, by_itself, &self.face) {
                        Some(layout) => {
                            self.layout = layout;
                            files = WatchedFiles::new(&self.hub, self.layout.files.clone());
                            None
                        }
                        None => Some(Instant::now() + TRY_AGAIN),
                    };
                    self.systemd.reloaded(is_ready);
                }
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    (asked_again, by_itself) = (true, true);
                }
            }
            if asked_again && attempt.is_none() {
                (asked_again, again) = (false, None);
                self.systemd.reloading(is_ready);
                let loaded = Loaded {
                    layout: Arc::clone(&self.layout),
                    face: Arc::clone(&self.face),
                    broker: Arc::clone(&self.broker),
                    keeper: Arc::clone(&self.keeper),
                    instance: Arc::clone(&self.instance),
                    roster: self.crew.roster(),
                    listener: Arc::clone(&self.pulse) as _,
                };
                let (request, hub) = (self.request.clone(), Arc::clone(&self.hub));
                attempt = Some(Box::pin(reload::attempt(request, self.style, hub, loaded)));
            }
        };
        self.systemd.stopping();
        let code = if why.is_ok() { exit::FINE } else { exit::INTERNAL };
        let failed = why.is_err();
        // Told as an event, not on the way out: whoever reads nothing holds up nobody.
        self.pulse.tell(Event::Stopping { why: why.map_or_else(|cause| cause, str::to_owned), failed });
        let sources = self.layout.plan.sources.iter().map(|planned| &planned.source);
        // Who uses the values goes on doing so: leases live as long as they may.
        let closing = join_all(sources.map(|source| source.close(Use::GoesOn)));
        let drained = async { tokio::join!(self.crew.drain(), closing) };
        let _what_is_left_is_cut = timeout(DRAIN, drained).await;
        // Last, when nobody is left who gets anything.
        let audit = self.face.audit();
        let audit = async { join_all(audit.iter().map(|audit| audit.close(Closing::Stopped))).await };
        let helper = async { join_all(self.helper.map(|helper| helper.close(HELPER_ENDS))).await };
        tokio::join!(audit, helper);
        code
    }
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(exit::REFUSED, format!("signals cannot be listened to: {error}"), None)
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            child: listen(SignalKind::child())?,
        })
    }
}

async fn helper_ended(helper: Option<&HelperHandle>) -> String {
    match helper {
        Some(helper) => helper.ended().await,
        None => pending().await,
    }
}

async fn attempted(attempt: &mut Option<Pin<Box<dyn Future<Output = Attempt>>>>) -> Attempt {
    match attempt {
        Some(attempt) => attempt.await,
        None => pending().await,
    }
}

/// The name of this daemon's versions: four hexadecimal digits.
fn instance() -> Arc<str> {
    let number = getrandom::u32().unwrap_or(std::process::id());
    format!("{:04x}", number & 0xffff).into()
}
