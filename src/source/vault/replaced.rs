//! What was lent before something else was: it lives on while somebody may use it, and
//! ends when nobody does.
//!
//! Invariants: a path has one such lease at most, so that no failure can make logins
//! without end; one that was given up is asked to end until the server has done so.

use tokio::time::Instant;

use super::client::Client;
use super::clock::Clock;
use super::config::Config;
use super::life::Due;
use super::policy::Access;
use super::read::{self, Lease, Stored};
use super::state::{State, wait};
use super::trouble::Kind;
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::source::backoff::Backoff;
use crate::source::writable::{WriteError, WriteErrorKind};

/// A lease that was replaced before its time.
pub(super) struct Replaced {
    pub(super) lease: Lease,
    /// Whether nobody uses it any more.
    given_up: bool,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl Replaced {
    fn new(lease: Lease) -> Self {
        Self { lease, given_up: false, backoff: Backoff::default(), not_before: None }
    }

    /// When something is due for it. `clock` is that of its lease.
    pub(super) fn due(&self, clock: &mut Clock) -> Option<Instant> {
        if self.given_up {
            return Some(self.not_before.unwrap_or_else(Instant::now));
        }
        match clock.due(Some(&self.lease.life)) {
            Due::Renew(_) => clock.at(Some(&self.lease.life)),
            Due::Replace(_) | Due::Never => self.lease.life.ends(),
        }
    }

    /// Does what is due. False if nothing of it is left.
    pub(super) async fn keep(&mut self, clock: &mut Clock, client: &Client, token: &SecretValue) -> bool {
        let now = Instant::now();
        if self.lease.life.ends().is_some_and(|end| end <= now) {
            return false;
        }
        if self.given_up {
            return self.end(client, token).await;
        }
        match self.lease.renew(client, token).await {
            Ok(()) => clock.worked(),
            Err(trouble) if trouble.kind == Kind::NoLease => return false,
            Err(trouble) => {
                clock.failed(&trouble);
                if self.lease.life.is_nearly_over(now) {
                    self.lease.life = self.lease.life.final_grant();
                }
            }
        }
        true
    }

    /// Ends it. False if nothing of it is left.
    async fn end(&mut self, client: &Client, token: &SecretValue) -> bool {
        self.given_up = true;
        match self.lease.revoke(client, token).await {
            Ok(()) => false,
            Err(trouble) if trouble.kind == Kind::NoLease => false,
            Err(trouble) => {
                self.not_before = Some(Instant::now() + wait(&mut self.backoff, &trouble));
                true
            }
        }
    }
}

impl State {
    /// Lends something else now. None where nothing of the variable is lent.
    ///
    /// # Errors
    /// [`WriteError`]: then what was lent is all there is.
    pub(super) async fn replace_lent(
        &mut self,
        config: &Config,
        key: &Key,
    ) -> Option<Result<(), WriteError>> {
        let index = self.paths.iter().rposition(|path| path.gives(key))?;
        self.paths.get(index)?.lease()?;
        Some(self.replace(config, index).await)
    }

    async fn replace(&mut self, config: &Config, index: usize) -> Result<(), WriteError> {
        if let Some(path) = self.paths.get(index).filter(|path| path.replaced.is_some()) {
            return Err(WriteError {
                kind: WriteErrorKind::Refused,
                message: format!(
                    "{} was replaced a moment ago, and what it lent before is not given up yet",
                    path.place
                ),
                help: "wait until everybody has what it lends now: `dlconf status` says who has not".into(),
            });
        }
        let client = self.reached(config).await?;
        let (Some(path), Some(session)) = (self.paths.get(index), &self.session) else { return Ok(()) };
        let spec = path.spec.clone();
        let given = match read::values(&client, &session.token, &spec, &self.known).await {
            Ok(given) => given,
            Err(trouble) => return Err(self.judge(config, &client, &spec, Access::Values, &trouble).await),
        };
        let Some(path) = self.paths.get_mut(index) else { return Ok(()) };
        if given.state != Stored::Present || given.lease.is_none() {
            return Err(WriteError {
                kind: WriteErrorKind::Unusable,
                message: format!("{} lends nothing any more", path.place),
                help: Kind::NotFound.help().into(),
            });
        }
        let before = path.held.as_mut().and_then(|held| held.lease.take());
        path.replaced = before.map(Replaced::new);
        // Whoever waits for a change is told by the caller.
        let _moved = path.took(given);
        Ok(())
    }

    /// Whether what was lent before still lives, as far as is known.
    pub(super) fn has_replaced(&self, key: &Key) -> bool {
        let is_over = |lease: &Lease| lease.life.ends().is_some_and(|end| end <= Instant::now());
        let replaced =
            self.paths.iter().filter(|path| path.gives(key)).filter_map(|path| path.replaced.as_ref());
        replaced.into_iter().any(|replaced| !is_over(&replaced.lease))
    }

    /// Ends what was lent before.
    pub(super) async fn give_up_replaced(&mut self, config: &Config, key: &Key) {
        let mut any = false;
        for path in self.paths.iter_mut().filter(|path| path.gives(key)) {
            if let Some(replaced) = &mut path.replaced {
                replaced.given_up = true;
                any = true;
            }
        }
        if !any {
            return;
        }
        // Where that fails, the watcher tries again.
        let Some(client) = self.ready(config).await else { return };
        let Some(session) = &self.session else { return };
        for path in self.paths.iter_mut().filter(|path| path.gives(key)) {
            let Some(replaced) = &mut path.replaced else { continue };
            if !replaced.end(&client, &session.token).await {
                path.replaced = None;
            }
        }
    }
}
