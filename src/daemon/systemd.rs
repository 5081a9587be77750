//! Telling systemd how we are: ready, reloading, stopping, alive.
//!
//! Nothing is said where nobody asked (`NOTIFY_SOCKET`), and a word that does not
//! arrive is no reason to stop.

use std::future::pending;
use std::time::Duration;

use sd_notify::{NotifyState, notify, watchdog_enabled};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::face::Face;
use crate::serve::Subject as _;

/// For more to happen before it is told how we are.
const BREATH: Duration = Duration::from_millis(200);

/// What systemd wants to hear of.
pub(super) struct Systemd {
    listens: bool,
    /// Ticks twice in the time after which it would end us.
    watchdog: Option<Interval>,
    /// When it hears how we are.
    status_at: Option<Instant>,
}

impl Systemd {
    /// As the environment says. To be called in a runtime.
    pub(super) fn from_environment() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        let watchdog = watchdog_enabled().filter(|limit| listens && *limit > Duration::ZERO).map(|limit| {
            let mut interval = interval(limit / 2);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        });
        Self { listens, watchdog, status_at: None }
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        if self.listens {
            let _unheard = notify(states);
        }
    }

    pub(super) fn ready(&self) {
        self.say(&[NotifyState::Ready]);
    }

    /// Something happened that the line for `systemctl status` may tell of.
    pub(super) fn outdated(&mut self) {
        if self.listens && self.status_at.is_none() {
            self.status_at = Some(Instant::now() + BREATH);
        }
    }

    /// How we are, in one line.
    fn status(&mut self, face: &Face) {
        self.status_at = None;
        let status = face.status();
        let failing = status.deliveries.iter().filter(|delivery| delivery.failure.is_some()).count();
        let mut line = match &status.version {
            Some(version) => format!("{version}, {} variables", status.variables.len()),
            None => "waiting for a first valid configuration".to_owned(),
        };
        if status.rejected.is_some() {
            line += "; a new state is refused";
        }
        if failing > 0 {
            line += &format!("; {failing} deliveries fail");
        }
        self.say(&[NotifyState::Status(&line)]);
    }

    /// A reload begins. Before it was ready there is nothing to come back to.
    pub(super) fn reloading(&self, is_ready: bool) {
        if is_ready && let Ok(now) = NotifyState::monotonic_usec_now() {
            self.say(&[NotifyState::Reloading, now]);
        }
    }

    /// A reload is over, well or not.
    pub(super) fn reloaded(&self, is_ready: bool) {
        if is_ready {
            self.ready();
        }
    }

    pub(super) fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// Waits until something is to be told, which [`Self::tell`] does.
    pub(super) async fn due(&mut self) -> Due {
        let watchdog = async {
            match &mut self.watchdog {
                Some(interval) => drop(interval.tick().await),
                None => pending().await,
            }
        };
        let status = async {
            match self.status_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = watchdog => Due::Alive,
            () = status => Due::Status,
        }
    }

    /// Tells what is due.
    pub(super) fn tell(&mut self, due: Due, face: &Face) {
        match due {
            Due::Alive => self.say(&[NotifyState::Watchdog]),
            Due::Status => self.status(face),
        }
    }
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A sign of life.
    Alive,
    /// How we are, in words.
    Status,
}
