//! The rotator as a part of the daemon: when it works, who may order it, and what is told
//! of it.
//!
//! Owns: the rotator over its estate and its ears, the Lease that says who leads, and the
//! orders that are under way. Invariants: where rotation is off nothing of it runs; what
//! was ordered is finished although who ordered it is gone; what a reload changes takes
//! effect without losing what the rotator knows.
//! Must not know: what a rotation does next.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};

use super::estate::Premises;
use super::hearing::{Audience, Ears};
use super::leader::{Leading, Runner, own_name};
use super::tried::Trials;
use crate::broker::Broker;
use crate::kubernetes::{Name, Server};
use crate::model::key::Key;
use crate::rotation::board::{Board, Publisher, Tell};
use crate::rotation::clock::SystemClock;
use crate::rotation::config::RotationConfig;
use crate::rotation::engine::{Rotator, Terms};
use crate::rotation::order::{NotOrdered, Ordered};
use crate::serve::RotateAsked;
use crate::status::{RotationStatus, RotatorStatus};
use crate::telemetry::{Event, Listener, Words};

/// Orders that may wait for one another.
const QUEUE: usize = 16;

/// The rotations of one daemon.
pub(super) struct Rotations {
    rotator: Rotator,
    config: watch::Sender<Arc<RotationConfig>>,
    leading: Arc<watch::Sender<Leading>>,
    leads: watch::Sender<bool>,
    /// Where the programs of all daemons say what they run; none where each daemon keeps
    /// that to itself.
    board: watch::Sender<Option<Arc<Board>>>,
    audience: Arc<Audience>,
    broker: Arc<Broker>,
    /// To who works at it; none where nobody does.
    orders: Mutex<Option<mpsc::Sender<Wanted>>>,
    listener: Arc<dyn Listener>,
}

/// What somebody waits for.
struct Wanted {
    key: Key,
    asked: RotateAsked,
    done: oneshot::Sender<Result<Ordered, NotOrdered>>,
}

/// What works for the rotations while they are on.
pub(super) struct Shift {
    orders: mpsc::Receiver<Wanted>,
    runner: Option<Runner>,
}

impl Rotations {
    /// Nothing of it works yet.
    pub(super) fn new(
        broker: &Arc<Broker>,
        audience: &Arc<Audience>,
        config: RotationConfig,
        listener: Arc<dyn Listener>,
    ) -> Self {
        let terms = Terms::from(&config);
        let config = watch::Sender::new(Arc::new(config));
        let estate = Arc::new(Premises::new(Arc::clone(broker), config.subscribe()));
        let board = watch::Sender::new(None);
        let (ours, theirs) = (config.subscribe(), board.subscribe());
        let hearing = Arc::new(Ears::new(Arc::clone(audience), Arc::clone(broker), ours, theirs));
        let leads = watch::Sender::new(false);
        let rotator = Rotator::new(
            estate,
            hearing,
            Arc::new(Trials::new(Arc::clone(broker), config.subscribe())),
            Arc::new(SystemClock),
            leads.subscribe(),
            terms,
            Arc::clone(&listener),
        );
        let leading = Arc::new(watch::Sender::new(unseen()));
        let (audience, broker) = (Arc::clone(audience), Arc::clone(broker));
        Self { rotator, config, leading, leads, board, audience, broker, orders: Mutex::default(), listener }
    }

    /// Goes by these settings from now on.
    pub(super) fn follow(&self, config: &RotationConfig) {
        self.rotator.set_terms(Terms::from(config));
        self.config.send_if_modified(|present| {
            let is_other = **present != *config;
            if is_other {
                *present = Arc::new(config.clone());
            }
            is_other
        });
    }

    /// From now on what the programs of all daemons run stands on the board of this name;
    /// none: each daemon keeps it to itself. What is to say there what is known here.
    pub(super) fn share(&self, board: Option<(Server, Name)>) -> Option<Publisher> {
        let listener = Arc::clone(&self.listener);
        let tell: Tell = Arc::new(move |words| listener.tell(Event::AcknowledgementsTroubled { words }));
        // The settings have judged how long its name is.
        let board = board.and_then(|(server, prefix)| Board::new(server, prefix, &own_name(), tell).ok());
        let board = board.map(Arc::new);
        self.board.send_replace(board.clone());
        board.map(|board| Publisher::new(board, self.audience.known()))
    }

    /// Says there what is known here, until told to stop.
    pub(super) async fn publish(&self, publisher: Publisher, stopped: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = stopped => {}
            never = self.audience.tell(&self.broker) => match never {},
            never = publisher.run() => match never {},
        }
    }

    /// What is to work now; `leader` is the Lease whose holder rotates, and where it is.
    pub(super) fn shift(&self, leader: Option<(Server, Name)>) -> Shift {
        let (orders, taken) = mpsc::channel(QUEUE);
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = Some(orders);
        let runner = leader.map(|(server, name)| {
            Runner::new(server, name, Arc::clone(&self.leading), Arc::clone(&self.listener))
        });
        Shift { orders: taken, runner }
    }

    /// Works until told to stop. What was ordered before is finished then; where that
    /// takes longer than there is time, dropping this cuts it, and it is found again.
    pub(super) async fn work(&self, shift: Shift, stopped: impl Future<Output = ()>) {
        let Shift { mut orders, mut runner } = shift;
        // Not before: who worked until now has the last word on what was.
        self.leading.send_replace(if runner.is_some() { unseen() } else { Leading::Alone });
        let mut leading = self.leading.subscribe();
        let mut under_way = FuturesUnordered::new();
        {
            let mut rotates = pin!(self.rotator.run());
            let mut leads = pin!(async {
                match &mut runner {
                    Some(runner) => runner.run().await,
                    None => std::future::pending().await,
                }
            });
            let mut stopped = pin!(stopped);
            self.leads.send_replace(leading.borrow_and_update().is_ours());
            loop {
                tokio::select! {
                    biased;
                    () = &mut stopped => break,
                    _ = leading.changed() => {
                        let is_ours = leading.borrow_and_update().is_ours();
                        self.leads.send_if_modified(|leads| std::mem::replace(leads, is_ours) != is_ours);
                    }
                    Some(wanted) = orders.recv() => under_way.push(self.done(wanted)),
                    Some(()) = under_way.next(), if !under_way.is_empty() => {}
                    never = &mut leads => match never {},
                    never = &mut rotates => match never {},
                }
            }
        }
        self.leads.send_replace(false);
        // Nobody may order anything here any more; what is there is still done.
        orders.close();
        while let Ok(wanted) = orders.try_recv() {
            under_way.push(self.done(wanted));
        }
        while under_way.next().await.is_some() {}
        if let Some(runner) = &mut runner {
            runner.give_back().await;
        }
    }

    async fn done(&self, Wanted { key, asked, done }: Wanted) {
        let RotateAsked { order, supplied, dry_run } = asked;
        let ordered = self.rotator.order(&key, order, supplied, dry_run).await;
        if let Err(refused) = &ordered
            && !dry_run
        {
            self.listener.tell(Event::RotationRefused {
                key,
                code: refused.code.clone(),
                words: Words {
                    code: None,
                    message: refused.message.clone(),
                    place: None,
                    help: Some(refused.help.clone()),
                },
            });
        }
        // Who ordered it may be gone.
        let _told = done.send(ordered);
    }

    /// Does what somebody wants.
    ///
    /// # Errors
    /// [`NotOrdered`].
    pub(super) async fn order(&self, key: &Key, asked: RotateAsked) -> Result<Ordered, NotOrdered> {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config = self.config.borrow().clone();
        let Some(orders) = orders.filter(|_| config.enabled) else { return Err(off()) };
        if let Some(refused) = not_leader(&self.leading.borrow(), config.leader.as_ref()) {
            return Err(refused);
        }
        let (done, waiting) = oneshot::channel();
        let wanted = Wanted { key: key.clone(), asked, done };
        if orders.send(wanted).await.is_err() {
            return Err(off());
        }
        waiting.await.unwrap_or_else(|_| {
            Err(NotOrdered {
                code: "unavailable".to_owned(),
                message: format!("the daemon ended before the rotation of {key} was begun for certain"),
                help: "dlconf status says, when it is there again, how far it is".to_owned(),
            })
        })
    }

    /// Nothing of it works any more.
    pub(super) fn rest(&self) {
        *self.orders.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Who rotates; none where rotation is off.
    pub(super) fn status(&self) -> Option<RotatorStatus> {
        let config = self.config.borrow();
        let leading = self.leading.borrow();
        let (holder, trouble) = match &*leading {
            Leading::Alone | Leading::Ours => (None, None),
            Leading::Theirs(holder) => (holder.as_ref().map(ToString::to_string), None),
            Leading::Unknown(why) => (None, Some(why.clone())),
        };
        config.enabled.then(|| RotatorStatus {
            leads: leading.is_ours(),
            lease: config.leader.as_ref().map(|name| format!("lease/{name}")),
            holder,
            trouble,
        })
    }

    /// How each rotation is; none where rotation is off.
    pub(super) fn statuses(&self) -> Vec<RotationStatus> {
        if self.config.borrow().enabled { self.rotator.statuses() } else { Vec::new() }
    }
}

fn unseen() -> Leading {
    Leading::Unknown("that was not looked at yet".to_owned())
}

fn off() -> NotOrdered {
    NotOrdered {
        code: "off".to_owned(),
        message: "this daemon rotates nothing: its settings do not enable it".to_owned(),
        help: "ask the daemon that does, or write `enabled = true` under [rotation]".to_owned(),
    }
}

/// Why this daemon may not begin anything now; none where it leads.
fn not_leader(leading: &Leading, lease: Option<&Name>) -> Option<NotOrdered> {
    let lease = lease.map_or_else(|| "its Lease".to_owned(), |name| format!("lease/{name}"));
    let (message, help) = match leading {
        Leading::Alone | Leading::Ours => return None,
        Leading::Theirs(Some(holder)) => (
            format!("another daemon rotates here: {holder} holds {lease}"),
            "ask that one; this one takes over when it is gone".to_owned(),
        ),
        Leading::Theirs(None) => (
            format!("another daemon rotates here, which holds {lease}"),
            "ask that one; this one takes over when it is gone".to_owned(),
        ),
        Leading::Unknown(why) => (
            format!("nobody can tell who rotates here: {why}"),
            format!("see the API server, and whether this daemon may write {lease}"),
        ),
    };
    Some(NotOrdered { code: "not-leader".to_owned(), message, help })
}
