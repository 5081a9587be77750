//! Our side of the socket: asking from a runtime.
//!
//! Invariants: one task owns the socket and the process, and reaps it, whatever
//! becomes of those who ask; who stops waiting for an answer breaks nothing.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use zeroize::Zeroize as _;

use super::wire::{Answered, Asked, CHUNK, Incoming, encode};
use super::{Helper, Ran, Request, reap};

/// How much longer than its program's timeout an answer may take: the program is
/// asked to end, killed, and waited for.
const SLACK: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HelperError {
    /// There is no such process any more.
    #[error("the process that runs programs has ended")]
    Ended,
    /// It is there, and silent.
    #[error("the process that runs programs does not answer")]
    Silent,
    /// More than a message holds.
    #[error("the program's arguments are more than 1 MiB")]
    TooLarge,
}

/// The process that runs programs, to be asked by many at once.
#[derive(Clone)]
pub struct HelperHandle {
    orders: mpsc::UnboundedSender<Order>,
    waiting: Arc<Waiting>,
    state: watch::Receiver<State>,
    pid: Pid,
}

enum Order {
    Send(Vec<u8>),
    /// To end within this time.
    Close(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Up,
    /// It ended by itself, and so.
    Lost(String),
    /// We closed it.
    Closed,
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting {
    next: AtomicU64,
    /// None once there will be no more answers.
    answers: Mutex<Option<HashMap<u64, oneshot::Sender<Ran>>>>,
}

impl Helper {
    /// Hands it over to a task of the runtime that this is called in. That ends
    /// it when all handles are gone; [`HelperHandle::close`] waits for that.
    ///
    /// # Errors
    /// The socket cannot be waited on; the process is then ended and reaped.
    pub fn start(mut self) -> io::Result<HelperHandle> {
        let Some((pid, socket)) = self.parts.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        let prepared = socket.set_nonblocking(true).and_then(|()| {
            let end = socket.try_clone()?;
            Ok((UnixStream::from_std(socket.try_clone()?)?, end))
        });
        let (stream, end) = match prepared {
            Ok(both) => both,
            Err(error) => {
                self.parts = Some((pid, socket));
                return Err(error);
            }
        };
        drop(socket);
        let (orders, ordered) = mpsc::unbounded_channel();
        let (says, state) = watch::channel(State::Up);
        let waiting = Arc::new(Waiting::default());
        *waiting.lock() = Some(HashMap::new());
        let owner = Owner { pid, stream, end, waiting: Arc::clone(&waiting) };
        tokio::spawn(async move {
            let last = owner.exchange(ordered).await;
            says.send_replace(last);
        });
        Ok(HelperHandle { orders, waiting, state, pid })
    }
}

impl HelperHandle {
    /// Runs a program and waits for its end, which comes at its timeout and a few
    /// seconds at the latest. Whoever stops waiting leaves the program running,
    /// until that timeout too.
    ///
    /// # Errors
    /// [`HelperError`]: nobody knows what became of the program, if it ran.
    pub async fn run(&self, request: Request) -> Result<Ran, HelperError> {
        let longest = request.timeout.saturating_add(SLACK);
        let id = self.waiting.next.fetch_add(1, Ordering::Relaxed);
        let frame = encode(&Asked { id, request }).ok_or(HelperError::TooLarge)?;
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().as_mut().ok_or(HelperError::Ended)?.insert(id, answer);
        self.orders.send(Order::Send(frame)).map_err(|_| HelperError::Ended)?;
        match timeout(longest, answered).await {
            Ok(answer) => answer.map_err(|_| HelperError::Ended),
            Err(_) => Err(HelperError::Silent),
        }
    }

    /// Waits until the process has ended although nobody closed it, and says how:
    /// `by SIGKILL`. It may be dropped at any time.
    pub async fn ended(&self) -> String {
        let mut state = self.state.clone();
        let lost = state.wait_for(|state| matches!(state, State::Lost(_))).await;
        match lost.as_deref() {
            Ok(State::Lost(how)) => how.clone(),
            // The task has ended without that: it was closed.
            _ => std::future::pending().await,
        }
    }

    /// Ends the process: what it still runs gets a SIGTERM, and a moment later
    /// a SIGKILL; those who wait get their answers. After `deadline` it is killed.
    /// It is reaped when this returns.
    pub async fn close(self, deadline: Duration) {
        let _ended_already = self.orders.send(Order::Close(deadline));
        let mut state = self.state;
        let _gone = state.wait_for(|state| *state != State::Up).await;
    }

    /// Its process number.
    pub fn pid(&self) -> Pid {
        self.pid
    }
}

impl fmt::Debug for HelperHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HelperHandle({})", self.pid)
    }
}

impl Waiting {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Ran>>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the one task owns.
struct Owner {
    pid: Pid,
    stream: UnixStream,
    /// The same socket, to say that nothing more comes.
    end: StdStream,
    waiting: Arc<Waiting>,
}

impl Owner {
    /// Carries messages until the process has ended, and reaps it.
    async fn exchange(self, mut ordered: mpsc::UnboundedReceiver<Order>) -> State {
        let answers = self.answers();
        tokio::pin!(answers);
        let closing = tokio::select! {
            _lost = &mut answers => None,
            deadline = self.requests(&mut ordered) => Some(deadline),
        };
        if let Some(deadline) = closing {
            let _ended_already = self.end.shutdown(Shutdown::Write);
            let _late = timeout(deadline, &mut answers).await;
        }
        // Whoever waits now learns that no answer comes.
        *self.waiting.lock() = None;
        let pid = self.pid;
        // It has ended, or is killed by this: no more than a moment.
        let status = tokio::task::spawn_blocking(move || reap(pid)).await.ok().flatten();
        match closing {
            Some(_) => State::Closed,
            None => State::Lost(words(status)),
        }
    }

    /// Sends what is ordered, until it is to end: within which time.
    async fn requests(&self, ordered: &mut mpsc::UnboundedReceiver<Order>) -> Duration {
        loop {
            match ordered.recv().await {
                Some(Order::Send(frame)) => {
                    if self.send(&frame).await.is_err() {
                        // The other direction sees how it ended.
                        std::future::pending::<()>().await;
                    }
                }
                Some(Order::Close(deadline)) => return deadline,
                // Nobody is left who could wait for it.
                None => return SLACK,
            }
        }
    }

    async fn send(&self, mut frame: &[u8]) -> io::Result<()> {
        while !frame.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(frame) {
                Ok(length) => frame = frame.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands answers to those who wait, until there are no more.
    async fn answers(&self) -> io::Result<()> {
        let mut incoming = Incoming::default();
        let mut chunk = vec![0; CHUNK];
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(length) => {
                    let came = chunk.get_mut(..length).unwrap_or_default();
                    incoming.push(came);
                    came.zeroize();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            while let Some(Answered { id, ran }) = incoming.next()? {
                let waits = self.waiting.lock().as_mut().and_then(|waiting| waiting.remove(&id));
                if let Some(waits) = waits {
                    let _nobody_waits = waits.send(ran);
                }
            }
        }
    }
}

/// How it ended.
fn words(status: Option<WaitStatus>) -> String {
    match status {
        Some(WaitStatus::Exited(_, code)) => format!("with exit code {code}"),
        Some(WaitStatus::Signaled(_, signal, _)) => format!("by {signal}"),
        _ => "in an unknown way".into(),
    }
}
