//! Accepting and ending connections.
//!
//! Owns: every connection's task, who is let in, and when one is cut. Invariants: a
//! client that says nothing, says half of it, or does not read its answer is
//! closed; no more than so many are open at once, of all and of each user, and who
//! asks nothing, or has most, gives way to who comes; a lack of descriptors leaves
//! nobody waiting and spins nowhere; who does not read while a new generation comes
//! is cut within a second, for the old one waits in our memory; when serving ends,
//! no connection is left.
//! Must not know: what is answered.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use nix::errno::Errno;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::activity::Activity;
use super::bind::{Bound, Look, Placed, Socket, reserve};
use super::converse::converse;
use super::limits::Limits;
use super::peer::Peer;
use super::places::{Exchanges, Place, Places, Room, User};
use crate::access::Caller;
use crate::process;
use crate::telemetry::{Event, Listener};

/// After an accept that failed for lack of something.
const PAUSE: Duration = Duration::from_millis(100);
/// From a new generation to the end of those that do not read the old one.
const CUT: Duration = Duration::from_millis(700);
/// From one look at the socket's name in the file system to the next.
const LOOK: Duration = Duration::from_secs(5);
/// Descriptors that are left to everything else in this process.
const SPARE: usize = 64;

impl Bound {
    /// Answers until `shutdown` is over, then ends what is open. To be called
    /// within the runtime that serves. `generations` changes whenever what was
    /// answered before is to leave memory; none where no values are answered.
    ///
    /// # Errors
    /// The kernel's, where the socket cannot be listened at any more.
    pub async fn serve(
        self,
        router: Router,
        limits: Limits,
        listener: Arc<dyn Listener>,
        generations: Option<watch::Receiver<u64>>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let Self { what, at, socket, reserve } = self;
        let door = match socket {
            Socket::Tcp(listener, _) => Door::Tcp(TcpListener::from_std(listener)?),
            Socket::Unix(listener, placed) => Door::Unix(UnixListener::from_std(listener)?, placed),
        };
        let limits = door.affordable(limits, what, &*listener);
        let (end, ended) = watch::channel(false);
        let mut hall = Hall {
            what,
            router,
            limits,
            listener,
            ended,
            tasks: JoinSet::new(),
            numbers: HashMap::new(),
            places: Places::new(limits.connections, limits.per_user),
            exchanges: Exchanges::default(),
            suspects: VecDeque::new(),
        };
        let mut entrance = Entrance { at, door, reserve: Some(reserve), is_lost: false };
        entrance.tell_of_folder(&hall);
        // Its name in the file system goes when nothing is accepted any more.
        hall.receive(&mut entrance, generations, shutdown).await?;
        drop(entrance);
        // Nobody left to hear it is fine.
        let _nobody = end.send(true);
        let drained = async { while hall.tasks.join_next().await.is_some() {} };
        if timeout(limits.drain, drained).await.is_err() {
            hall.tasks.shutdown().await;
        }
        hall.listener.connections(what, 0);
        Ok(())
    }
}

/// Where connections come in.
struct Entrance {
    at: String,
    door: Door,
    /// A descriptor to give up when there is no other.
    reserve: Option<File>,
    /// Whether it was told that nobody finds it any more.
    is_lost: bool,
}

enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, Box<Placed>),
}

/// Who came in.
enum Arrived {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Door {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Arrived>> {
        match self {
            Self::Tcp(door) => door.poll_accept(context).map_ok(|(io, from)| Arrived::Tcp(io, from)),
            Self::Unix(door, _) => door.poll_accept(context).map_ok(|(io, _)| Arrived::Unix(io)),
        }
    }

    /// The limits as far as this process may have descriptors for them.
    fn affordable(&self, limits: Limits, what: &'static str, listener: &dyn Listener) -> Limits {
        // Over a Unix socket one more for the process that connected.
        let each = match self {
            Self::Tcp(_) => 1,
            Self::Unix(..) => 2,
        };
        let wanted = limits.connections;
        let allowed = process::allow_descriptors((wanted * each + 4 * SPARE) as u64);
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX);
        let connections = (allowed.saturating_sub(SPARE) / each).clamp(1, wanted.max(1));
        if connections == wanted {
            return limits;
        }
        listener.tell(Event::FewConnections { what, connections, wanted });
        // A share stays the share that it was.
        let per_user = (limits.per_user * connections / wanted.max(1)).max(1);
        Limits { connections, per_user, ..limits }
    }
}

impl Entrance {
    fn tell_of_folder(&self, hall: &Hall) {
        if let Door::Unix(_, placed) = &self.door
            && placed.is_exposed()
        {
            hall.listener.tell(Event::SocketExposed { what: hall.what, at: self.at.clone() });
        }
    }

    /// Sees whether the socket is still found under its name, and gives it back its
    /// name where that is free.
    fn look(&mut self, hall: &Hall) {
        let Door::Unix(door, placed) = &mut self.door else { return };
        let bound_again = match placed.look() {
            Look::There => {
                self.is_lost = false;
                return;
            }
            Look::Gone => match placed.renew().and_then(UnixListener::from_std) {
                Ok(renewed) => {
                    *door = renewed;
                    true
                }
                Err(_) => false,
            },
            Look::Replaced => false,
        };
        if bound_again || !self.is_lost {
            hall.listener.tell(Event::SocketLost { what: hall.what, at: self.at.clone(), bound_again });
        }
        self.is_lost = !bound_again;
    }
}

/// The connections of one listener.
struct Hall {
    what: &'static str,
    router: Router,
    limits: Limits,
    listener: Arc<dyn Listener>,
    ended: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    /// Which connection each task has.
    numbers: HashMap<Id, Place>,
    places: Places<Held>,
    /// Those that gave way to one of their own user.
    exchanges: Exchanges,
    /// Those that were busy when a generation came, the oldest first.
    suspects: VecDeque<Suspect>,
}

/// A connection that is open.
struct Held {
    task: AbortHandle,
    activity: Arc<Activity>,
}

/// A connection that may have to do with values of the generation before.
struct Suspect {
    place: Place,
    /// How often it had written everything.
    written: u64,
    /// When it is judged.
    due: Instant,
}

impl Hall {
    async fn receive(
        &mut self,
        entrance: &mut Entrance,
        mut generations: Option<watch::Receiver<u64>>,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let mut next_look = Instant::now() + LOOK;
        let mut round = pin!(sleep(LOOK));
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => return Ok(()),
                Some(left) = self.tasks.join_next_with_id() => {
                    self.left(&left);
                    continue;
                }
                () = changed(&mut generations) => {
                    self.suspect(round.as_mut());
                    continue;
                }
                () = &mut round => {
                    if next_look <= Instant::now() {
                        entrance.look(self);
                        next_look = Instant::now() + LOOK;
                    }
                    self.cut();
                    let due = self.suspects.front().map_or(next_look, |next| next.due.min(next_look));
                    round.as_mut().reset(due);
                    continue;
                }
                accepted = poll_fn(|context| entrance.door.poll_accept(context)) => accepted,
            };
            match accepted {
                Ok(arrived) => {
                    self.admit(arrived);
                    // Others have their turn before the next one comes in, be it let in or
                    // not; and a descriptor is free when the task that had it was seen to.
                    yield_now().await;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) if is_scarcity(&error) => {
                    self.listener.tell(Event::CannotAccept { what: self.what, reason: words(&error) });
                    if !entrance.turn_one_away().await {
                        tokio::select! {
                            () = &mut shutdown => return Ok(()),
                            () = sleep(PAUSE) => {}
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets somebody in, if there is room.
    fn admit(&mut self, arrived: Arrived) {
        let user = match &arrived {
            Arrived::Tcp(..) => None,
            Arrived::Unix(io) => process::peer::credentials(io).ok().map(|peer| peer.uid),
        };
        match self.places.room(user, |held| held.activity.is_busy()) {
            Room::Free => {}
            Room::None => return self.listener.tell(Event::TurnedAway { what: self.what }),
            // Who floods gains little by it, and costs little.
            Room::InsteadOf(place) if place.is_of(user) && !self.exchanges.one_more() => {
                return self.listener.tell(Event::TurnedAway { what: self.what });
            }
            Room::InsteadOf(place) => {
                self.listener.tell(Event::TurnedAway { what: self.what });
                self.end(place);
            }
        }
        self.open(arrived, user);
    }

    fn open(&mut self, arrived: Arrived, user: User) {
        let activity = Arc::new(Activity::new());
        let limits = self.limits.of_one(self.places.next());
        let (router, ended) = (self.router.clone(), self.ended.clone());
        let here = Arc::clone(&activity);
        let task = match arrived {
            Arrived::Tcp(io, from) => {
                self.tasks.spawn(converse(io, Peer::Address(from), router, limits, ended, here))
            }
            Arrived::Unix(io) => {
                let peer = Caller::of(&io).map_or(Peer::Unknown, |caller| Peer::Caller(Arc::new(caller)));
                self.tasks.spawn(converse(io, peer, router, limits, ended, here))
            }
        };
        let id = task.id();
        let place = self.places.take(user, Held { task, activity });
        self.numbers.insert(id, place);
        self.count();
    }

    /// A task is over.
    fn left(&mut self, left: &Result<(Id, ()), JoinError>) {
        let id = left.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        if let Some(place) = self.numbers.remove(&id) {
            self.places.leave(place);
        }
        self.count();
    }

    /// Ends a connection.
    fn end(&mut self, place: Place) {
        if let Some(held) = self.places.leave(place) {
            held.task.abort();
        }
    }

    fn count(&self) {
        self.listener.connections(self.what, self.places.taken());
    }

    /// A generation came: whoever is busy now may keep the one before in memory.
    fn suspect(&mut self, mut round: Pin<&mut Sleep>) {
        let due = Instant::now() + CUT;
        let busy = self.places.iter().filter(|(_, held)| held.activity.is_busy());
        let suspects = busy.map(|(place, held)| Suspect { place, written: held.activity.written(), due });
        self.suspects.extend(suspects);
        if round.deadline() > due && !self.suspects.is_empty() {
            round.as_mut().reset(due);
        }
    }

    /// Ends those that have not read since what they were told when a generation
    /// came.
    fn cut(&mut self) {
        let now = Instant::now();
        while let Some(Suspect { place, written, .. }) = self.suspects.pop_front_if(|next| next.due <= now) {
            let is_stuck = |held: &Held| held.activity.waits() && held.activity.written() == written;
            if self.places.get(place).is_some_and(is_stuck) {
                self.end(place);
                self.listener.tell(Event::CutOff { what: self.what });
            }
        }
    }
}

impl Entrance {
    /// Where no descriptor is left: accepts one connection with the one in reserve and
    /// closes it, so that who waits learns that it waits in vain. False where that is
    /// gone too.
    async fn turn_one_away(&mut self) -> bool {
        let had_one = self.reserve.take().is_some();
        if had_one {
            let arrived = poll_fn(|context| Poll::Ready(self.door.poll_accept(context))).await;
            drop(arrived);
        }
        self.reserve = reserve().ok();
        had_one && self.reserve.is_some()
    }
}

/// Waits for a new generation.
async fn changed(generations: &mut Option<watch::Receiver<u64>>) {
    if let Some(told) = generations
        && told.changed().await.is_ok()
    {
        return;
    }
    // There will be none any more.
    pending::<()>().await;
}

/// What accept reports of a client that is gone already.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) || matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EPROTO | Errno::ENETDOWN | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EPERM)
    )
}

/// What passes when somebody gives something back.
fn is_scarcity(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(Errno::from_raw),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM)
    )
}

fn words(error: &io::Error) -> &'static str {
    error.raw_os_error().map_or("it failed", |number| Errno::from_raw(number).desc())
}
