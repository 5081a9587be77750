//! Who rotates, of several daemons: the one that holds a Lease.
//!
//! Owns: taking the Lease, keeping it and giving it back, for as long as it is wanted.
//! Invariants: nobody leads without the Lease, nor longer than it is certain to be held;
//! who leads alone asks nobody.
//! Must not know: what a leader does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::kubernetes::{Candidate, Name, Server, Standing, Trouble, Why};
use crate::process::host_name;
use crate::source::backoff::{Backoff, jittered, share};
use crate::source::env::Environment;
use crate::telemetry::{Event, Listener};

/// From one renewal to the next.
const RENEW: Duration = Duration::from_secs(5);

/// Of what another holds, how often it is looked whether it still does.
const LOOK: Duration = Duration::from_secs(5);

/// The longest pause after a failure.
const AGAIN: Duration = Duration::from_secs(5);

/// The longest that an API server may ask to be left alone.
const LEFT_ALONE: Duration = Duration::from_mins(1);

/// How long giving it back may take: the others see by themselves that nobody renews it.
const GIVING_BACK: Duration = Duration::from_millis(400);

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leading {
    /// This daemon, since nobody else rotates.
    Alone,
    /// This daemon, which holds the Lease.
    Ours,
    /// Another one, by its name where that is plain.
    Theirs(Option<Box<str>>),
    /// Nobody can tell: why, as a clause.
    Unknown(String),
}

impl Leading {
    /// Whether it is this daemon.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Alone | Self::Ours)
    }
}

/// One who wants to lead.
pub(super) struct Runner {
    candidate: Candidate,
    lease: String,
    shown: Arc<watch::Sender<Leading>>,
    listener: Arc<dyn Listener>,
    backoff: Backoff,
    told: Option<Leading>,
}

/// What this machine or pod is called: the same for every daemon that is started here.
pub(super) fn own_name() -> String {
    host_name().map_or_else(|| "dlconf".to_owned(), |host| host.to_string_lossy().into_owned())
}

/// The API server whose Leases say who leads.
pub(super) fn server(process: &Environment) -> Server {
    Server::of_environment(process, None, true)
}

impl Runner {
    /// Asks nobody yet.
    pub(super) fn new(
        server: Server,
        name: Name,
        shown: Arc<watch::Sender<Leading>>,
        listener: Arc<dyn Listener>,
    ) -> Self {
        let host = own_name();
        // Who is started anew has the name of the one before, and does not hold its Lease.
        let number = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
        let lease = format!("lease/{name}");
        let candidate = Candidate::new(server, name, format!("{host}_{number:016x}").into());
        Self { candidate, lease, shown, listener, backoff: Backoff::default(), told: None }
    }

    /// Takes it whenever it can be had, and keeps it.
    pub(super) async fn run(&mut self) -> Infallible {
        let mut until: Option<Instant> = None;
        loop {
            let attempt = tokio::select! {
                biased;
                attempt = self.candidate.attempt() => Some(attempt),
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => None,
            };
            let pause = match attempt {
                Some(Ok(Standing::Ours(held))) => {
                    until = Some(held);
                    self.backoff.reset();
                    self.show(Leading::Ours);
                    jittered(RENEW)
                }
                Some(Ok(Standing::Theirs { holder, free_at })) => {
                    until = None;
                    self.backoff.reset();
                    self.show(Leading::Theirs(holder));
                    let free = free_at.saturating_duration_since(Instant::now()) + Duration::from_millis(10);
                    jittered(LOOK).min(free)
                }
                Some(Err(trouble)) => {
                    // It may still be renewed in time.
                    if until.is_none() {
                        self.show(Leading::Unknown(self.words(&trouble)));
                    }
                    let asked = trouble.retry_after.unwrap_or_default().min(LEFT_ALONE);
                    self.backoff.after_failure(share()).min(AGAIN).max(asked)
                }
                None => {
                    until = None;
                    self.show(Leading::Unknown(format!(
                        "{} does not let it be renewed",
                        self.candidate.server()
                    )));
                    Duration::ZERO
                }
            };
            // Not ours for longer than that is certain, however long the pause is.
            tokio::select! {
                biased;
                () = sleep(pause) => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {
                    until = None;
                    self.show(Leading::Unknown(format!("{} does not let it be renewed", self.candidate.server())));
                }
            }
        }
    }

    /// Lets another one lead.
    pub(super) async fn give_back(&mut self) {
        self.shown.send_replace(Leading::Unknown("this daemon does not want to lead any more".to_owned()));
        if self.candidate.may_hold() {
            let _it_lapses = timeout(GIVING_BACK, self.candidate.release()).await;
        }
    }

    fn words(&self, trouble: &Trouble) -> String {
        match &trouble.why {
            // It says where by itself.
            Why::Access(misfit) => misfit.message.clone(),
            why => format!("{} {why}", self.candidate.server()),
        }
    }

    fn show(&mut self, leading: Leading) {
        if self.told.as_ref() != Some(&leading) {
            let lease = self.lease.clone();
            self.listener.tell(match &leading {
                Leading::Alone | Leading::Ours => Event::Leads { lease },
                Leading::Theirs(holder) => {
                    Event::Follows { lease, holder: holder.as_ref().map(ToString::to_string) }
                }
                Leading::Unknown(why) => Event::LeaderUnknown { lease, why: why.clone() },
            });
            self.told = Some(leading.clone());
        }
        self.shown.send_if_modified(|shown| {
            let is_other = *shown != leading;
            *shown = leading;
            is_other
        });
    }
}
