//! `type = "vault"`: HashiCorp Vault and OpenBao.
//!
//! Owns: everything that is known of one server. `config` is what the settings
//! say; `auth` logs in, `read` reads one path, `state` remembers, `watch` notices
//! changes, `layer` tells the rest of the program; `write` changes one path, and
//! `replaced` what is lent. `client` is the only room that speaks HTTP, and no other
//! room of the program names `vaultrs`.
//! Invariants: unreachable is not missing (`trouble`); a deletion is what the
//! server states to be one; no version is older than one that was seen; a
//! failure of one path leaves the others alone.
//! Must not know: which source wins, or what a value means.

mod api;
mod auth;
mod client;
mod clock;
pub mod config;
mod document;
mod examine;
mod fields;
mod layer;
mod life;
mod look;
pub mod policy;
mod read;
mod replaced;
mod state;
mod trouble;
mod vitals;
mod watch;
mod write;

pub use config::Config;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until, timeout};

use self::read::Lease;
use self::state::{State, Tracked};
use self::trouble::Kind;
use self::vitals::{Held, Standing};
use self::watch::{BREATH, Watcher};
use super::writable::{WritableSource, WriteError};
use super::{Ask, Observation, Source, SourceError, Use, Vitals};
use crate::model::key::{Key, SourceName};
use crate::model::layer::Layer;
use crate::model::secret::SecretValue;
use crate::network::Break;

/// A Vault or OpenBao server, and what is read of it.
pub struct VaultSource {
    name: SourceName,
    shared: Arc<Shared>,
    watcher: Mutex<Option<Watcher>>,
}

/// What the source and its watcher share.
struct Shared {
    config: Config,
    /// Locked by [`Held::of`] alone.
    state: Mutex<State>,
    /// What the last holder of the state left, for those who cannot wait for one.
    standing: std::sync::Mutex<Standing>,
    /// Told when a fetch would give something else.
    moved: Notify,
    /// Told when something may be due before the watcher would wake.
    woken: Notify,
}

impl VaultSource {
    /// A source; `token` is the one of the process environment, for
    /// [`config::Auth::Token`].
    pub fn new(name: SourceName, config: Config, token: Option<SecretValue>) -> Self {
        let state = State::new(&config, token);
        let standing = std::sync::Mutex::new(Standing::of(&state, Instant::now()));
        let (moved, woken) = (Notify::new(), Notify::new());
        let shared = Shared { config, state: Mutex::new(state), standing, moved, woken };
        let shared = Arc::new(shared);
        Self { name, shared, watcher: Mutex::new(None) }
    }
}

#[async_trait]
impl Source for VaultSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, ask: Ask<'_>) -> Result<Layer, SourceError> {
        let config = &self.shared.config;
        let mut state = Held::of(&self.shared).await;
        let until = Instant::now() + config.deadline;
        if ask.retry {
            let patient = async {
                loop {
                    state.read(config, ask.known, ask.names_only).await;
                    match state.retry_at() {
                        Some(then) if then < until => sleep_until(then.max(Instant::now() + BREATH)).await,
                        _ => break,
                    }
                }
            };
            if timeout(config.deadline, patient).await.is_err() {
                state.gave_up();
            }
        } else {
            state.read(config, ask.known, ask.names_only).await;
        }
        // What was lent now may have to be renewed before the watcher would look.
        self.shared.woken.notify_one();
        let (layer, faults) = layer::layer(&self.name, config, &state);
        if faults.is_empty() {
            Ok(layer)
        } else {
            let rest = Some(Box::new(layer));
            Err(SourceError { source_name: self.name.clone(), faults, rest })
        }
    }

    async fn examine(&self) -> Vec<Observation> {
        examine::examine(&self.shared.config, &mut *Held::of(&self.shared).await).await
    }

    async fn changed(&self) {
        {
            let mut watcher = self.watcher.lock().await;
            watcher.get_or_insert_with(|| Watcher::start(Arc::clone(&self.shared)));
        }
        self.shared.moved.notified().await;
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn vitals(&self) -> Vitals {
        vitals::vitals(&self.shared, Instant::now())
    }

    fn writable(&self) -> Option<&dyn WritableSource> {
        Some(self)
    }

    async fn replace_lent(&self, key: &Key) -> Option<Result<(), WriteError>> {
        let done = Held::of(&self.shared).await.replace_lent(&self.shared.config, key).await;
        if let Some(Ok(())) = done {
            self.shared.moved.notify_one();
            self.shared.woken.notify_one();
        }
        done
    }

    async fn has_replaced(&self, key: &Key) -> bool {
        Held::of(&self.shared).await.has_replaced(key)
    }

    async fn give_up_replaced(&self, key: &Key) {
        Held::of(&self.shared).await.give_up_replaced(&self.shared.config, key).await;
        self.shared.woken.notify_one();
    }

    async fn close(&self, values: Use) {
        if let Some(watcher) = self.watcher.lock().await.take() {
            watcher.stop().await;
        }
        Held::of(&self.shared).await.give_back(values).await;
    }
}

impl State {
    /// Notes that the deadline passed while something was still asked.
    fn gave_up(&mut self) {
        if self.session.is_none() && self.trouble.is_none() {
            self.fail(Kind::from(Break::Timeout).into());
        }
        for path in self.paths.iter_mut().filter(|path| path.stale && path.trouble.is_none()) {
            path.failed(Break::Timeout.into());
        }
    }

    /// Gives back what would live on at the server for nothing.
    async fn give_back(&mut self, values: Use) {
        let (Some((_, client)), Some(session)) = (&self.client, self.session.take()) else { return };
        let leases = || self.paths.iter().flat_map(Tracked::leases);
        if values == Use::GoesOn && leases().next().is_some() {
            return;
        }
        // A token's leases end with it, but not those of the token before it.
        let is_of_it = |lease: &Lease| session.ours && lease.made >= session.since;
        for lease in leases().filter(|lease| !is_of_it(lease)) {
            let _ends_by_itself = lease.revoke(client, &session.token).await;
        }
        if session.ours && session.revoke(client).await.is_err() {
            // A batch token, which cannot be revoked.
            for lease in leases().filter(|lease| is_of_it(lease)) {
                let _ends_by_itself = lease.revoke(client, &session.token).await;
            }
        }
        for path in &mut self.paths {
            path.stale = true;
            path.held = None;
            path.replaced = None;
        }
    }
}

/// How long to wait for a watcher that is asked to stop.
const STOP_WITHIN: Duration = Duration::from_secs(2);
