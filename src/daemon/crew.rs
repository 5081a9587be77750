//! The tasks of a daemon, but for the broker's: couriers and servers.
//!
//! Owns: starting, stopping and exchanging them. Invariant: a task that ends
//! without having been told to is noticed, with its name.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::face::Face;
use super::last_good::Keeper;
use super::layout::{BoundAll, Granted, Layout};
use super::reload::Attempt;
use super::roster::{Roster, Worker};
use super::rotation::Rotations;
use crate::broker::{Broker, Intake, error_words, time};
use crate::delivery::Delivery;
use crate::delivery::config::DeliveryKind;
use crate::delivery::courier::{Courier, Ended};
use crate::delivery::directory::Directory;
use crate::delivery::env_file::EnvFile;
use crate::delivery::hook::Hook;
use crate::kubernetes::{Name, Server};
use crate::process::HelperHandle;
use crate::serve::{Bound, Limits, Subject, ops, socket};
use crate::source::{Source, Use};
use crate::status::RefusedReload;
use crate::telemetry::{Event, Listener, Telemetry};

/// For the sources that a reload left over.
const RETIREMENT: Duration = Duration::from_secs(2);

/// The tasks.
pub(super) struct Crew {
    listener: Arc<dyn Listener>,
    helper: Option<HelperHandle>,
    roster: Roster,
    ops: Option<oneshot::Sender<()>>,
    socket: Option<oneshot::Sender<()>>,
    keeper: Option<oneshot::Sender<()>>,
    rotator: Option<AtWork>,
    /// Who says to other daemons which keys are run here, under which name.
    board: Option<(Name, oneshot::Sender<()>)>,
    /// Each ends with its name, and whether it was told to.
    tasks: JoinSet<(String, bool)>,
    retired: JoinSet<()>,
    broker: Option<AbortHandle>,
}

/// The rotator at work.
struct AtWork {
    /// The Lease that says whether it leads.
    leader: Option<(Server, Name)>,
    /// Gone when it is told to stop.
    stop: oneshot::Sender<()>,
    /// Told when it has ended.
    gone: oneshot::Receiver<()>,
}

impl Crew {
    pub(super) fn new(listener: Arc<dyn Listener>, helper: Option<HelperHandle>) -> Self {
        Self {
            listener,
            helper,
            roster: Roster::default(),
            ops: None,
            socket: None,
            keeper: None,
            rotator: None,
            board: None,
            tasks: JoinSet::new(),
            retired: JoinSet::new(),
            broker: None,
        }
    }

    /// The couriers at work.
    pub(super) fn roster(&self) -> Roster {
        self.roster.clone()
    }

    /// Starts what a layout asks for and is not there; couriers begin when `after`
    /// says so.
    pub(super) fn staff(
        &mut self,
        layout: &Layout,
        bound: BoundAll,
        face: &Arc<Face>,
        after: &watch::Receiver<bool>,
    ) {
        for granted in &layout.deliveries {
            if !self.roster.has(&granted.config.name) {
                self.hire(granted, face, after.clone());
            }
        }
        face.show(self.roster.records());
        self.share(layout, face.rotations());
        self.rotate(layout, face.rotations());
        let subject: Arc<dyn Subject> = Arc::clone(face) as _;
        if let Some(bound) = bound.ops {
            let router = ops::router(Arc::clone(&subject), face.telemetry(), bound.is_local());
            self.ops = Some(self.serve("the ops port", bound, router, Limits::default(), None));
        }
        if let Some(bound) = bound.socket {
            let router = socket::router(subject, face.gate(), Arc::clone(&self.listener));
            let generations = Some(face.generations());
            self.socket = Some(self.serve("the socket", bound, router, layout.limits(), generations));
        }
    }

    /// Says to other daemons which keys are run here, where the layout says so.
    fn share(&mut self, layout: &Layout, rotations: &Arc<Rotations>) {
        let board = layout.board();
        if self.board.as_ref().map(|(name, _)| name) == board.as_ref().map(|(_, name)| name) {
            return;
        }
        let name = board.as_ref().map(|(_, name)| name.clone());
        self.board = None;
        let (Some(publisher), Some(name)) = (rotations.share(board), name) else { return };
        let rotations = Arc::clone(rotations);
        let (stop, stopped) = oneshot::channel::<()>();
        self.tasks.spawn(async move {
            rotations.publish(publisher, async { drop(stopped.await) }).await;
            ("the board of acknowledgements".to_owned(), true)
        });
        self.board = Some((name, stop));
    }

    /// Lets the rotator work where the layout has one, by what it says, and no other.
    fn rotate(&mut self, layout: &Layout, rotations: &Arc<Rotations>) {
        rotations.follow(&layout.rotation);
        let leader = layout.leader();
        if layout.rotation.enabled && self.rotator.as_ref().is_some_and(|present| present.leader == leader) {
            return;
        }
        let before = self.rotator.take().map(|AtWork { stop, gone, .. }| {
            drop(stop);
            gone
        });
        if !layout.rotation.enabled {
            rotations.rest();
            return;
        }
        let shift = rotations.shift(leader.clone());
        let rotations = Arc::clone(rotations);
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, gone) = oneshot::channel();
        self.tasks.spawn(async move {
            // One at a time.
            if let Some(before) = before {
                drop(before.await);
            }
            rotations.work(shift, async { drop(stopped.await) }).await;
            let _nobody_waits = end.send(());
            ("the rotator".to_owned(), true)
        });
        self.rotator = Some(AtWork { leader, stop, gone });
    }

    fn hire(&mut self, granted: &Granted, face: &Face, mut after: watch::Receiver<bool>) {
        let config = granted.config.clone();
        let name = config.name.clone();
        let delivery: Box<dyn Delivery> = match config.kind {
            DeliveryKind::EnvFile { .. } => Box::new(EnvFile::new(&config)),
            DeliveryKind::Directory => Box::new(Directory::new(&config)),
        };
        let on_change = config.on_change.clone();
        let hook = on_change.map(|on_change| Hook::new(&name, on_change, self.helper.clone()));
        let listener = Arc::clone(&self.listener);
        let courier = Courier::new(config, delivery, face.gate(), granted.keys.clone(), hook, listener);
        let record = courier.record();
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, gone) = oneshot::channel();
        let who = format!("delivery `{name}`");
        self.tasks.spawn(async move {
            // Who was to say so may have been cut at the end.
            drop(after.wait_for(|gone| *gone).await);
            let ended = courier.run(async { drop(stopped.await) }).await;
            let _nobody_waits = end.send(());
            (who, ended == Ended::Told)
        });
        let stop = Some(stop);
        self.roster.enter(Worker { granted: granted.clone(), record, stop, gone });
    }

    /// Lets the keeper of the snapshot work. Told when the broker may begin.
    pub(super) fn keeper(&mut self, keeper: Arc<Keeper>) -> oneshot::Receiver<()> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (recalled, begin) = oneshot::channel();
        self.keeper = Some(stop);
        self.tasks.spawn(async move {
            keeper.run(recalled, async { drop(stopped.await) }).await;
            ("the keeper of the snapshot".to_owned(), true)
        });
        begin
    }

    /// Lets the broker work, once what an earlier daemon kept was handed over.
    pub(super) fn broker(&mut self, broker: Arc<Broker>, intake: Intake, recalled: oneshot::Receiver<()>) {
        self.broker = Some(self.tasks.spawn(async move {
            // A keeper that is gone has nothing to hand over.
            drop(recalled.await);
            broker.run(intake).await;
            ("a source's task".to_owned(), false)
        }));
    }

    fn serve(
        &mut self,
        what: &'static str,
        bound: Bound,
        router: axum::Router,
        limits: Limits,
        generations: Option<watch::Receiver<u64>>,
    ) -> oneshot::Sender<()> {
        self.listener.tell(Event::Listening { what, at: bound.at().to_owned() });
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = Arc::clone(&self.listener);
        self.tasks.spawn(async move {
            let stopped = async { drop(stopped.await) };
            let served = bound.serve(router, limits, listener, generations, stopped).await;
            (what.to_owned(), served.is_ok())
        });
        stop
    }

    /// Ends a reload: exchanges what the new layout has otherwise, or says why the
    /// old one stays (`by_itself`: only if that is news). Gives the layout that is in
    /// force now, if it is new.
    pub(super) fn conclude(
        &mut self,
        attempt: Attempt,
        by_itself: bool,
        face: &Arc<Face>,
    ) -> Option<Arc<Layout>> {
        match attempt {
            Attempt::Holds { layout, bound, ended } => {
                self.retire(ended);
                self.exchange(&layout, bound, face);
                face.refuse(None);
                self.listener.tell(Event::Reloaded);
                Some(layout)
            }
            Attempt::Refused { findings, ended } => {
                self.retire(ended);
                let faults = error_words(&findings);
                let is_news = face.refuse(Some(RefusedReload { at: time(SystemTime::now()), findings }));
                if is_news || !by_itself {
                    self.listener.tell(Event::ReloadRefused { faults });
                }
                None
            }
        }
    }

    fn exchange(&mut self, layout: &Layout, bound: BoundAll, face: &Arc<Face>) {
        self.roster.dismiss(&layout.deliveries);
        let leaving = self.roster.take_dismissed();
        // A new one may write where an old one did: only when all of those are gone.
        let (gone, after) = watch::channel(leaving.is_empty());
        self.retired.spawn(async move {
            join_all(leaving.into_iter().map(Worker::leave)).await;
            gone.send_replace(true);
        });
        if layout.ops.is_none() || bound.ops.is_some() {
            self.ops = None;
        }
        if layout.control().is_none() || bound.socket.is_some() {
            self.socket = None;
        }
        self.staff(layout, bound, face, &after);
    }

    /// Ends the use of sources that nobody needs any more.
    fn retire(&mut self, sources: Vec<Arc<dyn Source>>) {
        while self.retired.try_join_next().is_some() {}
        if !sources.is_empty() {
            self.retired.spawn(async move {
                let closing = join_all(sources.iter().map(|source| source.close(Use::GoesOn)));
                let _ends_by_itself = timeout(RETIREMENT, closing).await;
            });
        }
    }

    /// Waits until a task ends that was not told to; which one.
    pub(super) async fn ended(&mut self) -> String {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((_, true))) => {}
                Some(Ok((who, false))) => return format!("{who} ended by itself"),
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(_)) => return "a task broke".to_owned(),
                None => pending().await,
            }
        }
    }

    /// Tells all to end and waits for them.
    pub(super) async fn drain(&mut self) {
        (self.ops, self.socket, self.keeper) = (None, None, None);
        (self.rotator, self.board) = (None, None);
        self.roster.dismiss(&[]);
        join_all(self.roster.take_dismissed().into_iter().map(Worker::leave)).await;
        self.broker.take().iter().for_each(AbortHandle::abort);
        while self.tasks.join_next().await.is_some() {}
        while self.retired.join_next().await.is_some() {}
    }
}

/// Passes events on, and beats when one may have changed how ready we are.
pub(super) struct Pulse {
    telemetry: Arc<Telemetry>,
    beat: Notify,
}

impl Pulse {
    pub(super) fn new(telemetry: Arc<Telemetry>) -> Self {
        Self { telemetry, beat: Notify::new() }
    }

    /// Waits for the next beat. It may be dropped at any time.
    pub(super) async fn beat(&self) {
        self.beat.notified().await;
    }
}

impl Listener for Pulse {
    fn tell(&self, event: Event) {
        let matters = !matches!(
            event,
            Event::Answered { .. }
                | Event::Fetched { .. }
                | Event::HookSaid { .. }
                | Event::Denied { .. }
                | Event::TurnedAway { .. }
                | Event::CutOff { .. }
        );
        self.telemetry.tell(event);
        if matters {
            self.beat.notify_one();
        }
    }

    fn connections(&self, what: &'static str, open: usize) {
        self.telemetry.connections(what, open);
    }
}
