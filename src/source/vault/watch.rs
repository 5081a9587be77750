//! Noticing changes: versions are looked at, data is read when a version moved.
//!
//! Owns: one task, which renews the token and the leases, polls, and tells that a
//! fetch would give something else. It is a task of its own so that nobody who
//! stops waiting can break a login or a renewal in the middle.
//! Invariants: an unchanged version costs one metadata read a tick (one LIST for
//! all secrets of a folder, where the server has it) and no read of data; ticks
//! are spread; one path's failure does not touch another's tick.
//! Source: OpenBao and Vault CE have no events for KV, so this is the only way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::Client;
use super::clock::Clock;
use super::config::{Config, Engine};
use super::life::{Due, Life};
use super::look::{Seen, What, compare};
use super::state::{State, wait};
use super::trouble::Kind;
use super::vitals::Held;
use super::{STOP_WITHIN, Shared};
use crate::network::Break;
use crate::source::backoff::{Backoff, jittered, share};

/// The least time between two looks, whatever is due.
pub(super) const BREATH: Duration = Duration::from_millis(10);

/// Credentials that the server changes by itself are looked at this often at
/// least: somebody may change them by hand.
const ROTATED_BY_HAND: Duration = Duration::from_mins(1);

/// An answer that says how long it is good is believed for so long.
const GOOD_FOR: Duration = Duration::from_hours(1);

/// For so many ticks an older version may be that of a standby that lags.
const LAG: u32 = 12;

/// The running task.
pub(super) struct Watcher {
    task: JoinHandle<()>,
    stop: Arc<Notify>,
}

impl Watcher {
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move { watch(&shared, &stopped).await });
        Self { task, stop }
    }

    /// Ends it: a sleeping poll at once, a request under way when it is answered.
    pub(super) async fn stop(mut self) {
        self.stop.notify_one();
        let _aborted_below = timeout(STOP_WITHIN, &mut self.task).await;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When what is looked at next, and how.
struct Agenda {
    looks: Vec<Look>,
    /// The token's and each lease's next step, drawn once for each grant.
    session: Clock,
    leases: Vec<Clock>,
    /// Those of leases that were replaced.
    replaced: Vec<Clock>,
}

/// One request of a tick.
struct Look {
    what: What,
    due: Instant,
    backoff: Backoff,
}

async fn watch(shared: &Shared, stop: &Notify) {
    let config = &shared.config;
    let mut agenda = Agenda::new(config, &*Held::of(shared).await);
    loop {
        let next = agenda.next(&*Held::of(shared).await, config);
        tokio::select! {
            () = stop.notified() => return,
            // What was asked for meanwhile may be due before that.
            () = shared.woken.notified() => continue,
            () = sleep_until(next) => {}
        }
        let mut state = Held::of(shared).await;
        if agenda.tick(config, &mut state).await {
            shared.moved.notify_one();
        }
    }
}

impl Agenda {
    fn new(config: &Config, state: &State) -> Self {
        let mut folders: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        let mut single = Vec::new();
        for (index, path) in state.paths.iter().enumerate() {
            match &path.spec.engine {
                Engine::Kv2 { mount, path } => {
                    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    folders.entry((mount, folder)).or_default().push(index);
                }
                _ => single.push(index),
            }
        }
        let mut looks = Vec::new();
        // The first tick is anywhere in the interval, since many start (or log in)
        // together.
        let mut add = |what| {
            let due = Instant::now() + config.poll.mul_f64(share());
            looks.push(Look { what, due, backoff: Backoff::default() });
        };
        for ((mount, folder), paths) in folders {
            match paths.as_slice() {
                [path] => add(What::Path(*path)),
                _ => add(What::Folder { mount: mount.to_owned(), folder: folder.to_owned(), paths }),
            }
        }
        for path in single {
            add(What::Path(path));
        }
        let clocks = || state.paths.iter().map(|_| Clock::default()).collect();
        Self { looks, session: Clock::default(), leases: clocks(), replaced: clocks() }
    }

    /// When something is due.
    fn next(&mut self, state: &State, config: &Config) -> Instant {
        let now = Instant::now();
        let mut next = now + config.poll;
        let mut consider = |at: Option<Instant>| {
            if let Some(at) = at {
                next = next.min(at);
            }
        };
        if state.trouble.is_some() {
            consider(state.not_before);
            return next.max(now + BREATH);
        }
        consider(self.session.at(state.session.as_ref().and_then(|session| session.life.as_ref())));
        for (clock, path) in self.leases.iter_mut().zip(&state.paths) {
            consider(clock.at(path.lease().filter(|_| !path.stale).map(|lease| &lease.life)));
        }
        for (clock, path) in self.replaced.iter_mut().zip(&state.paths) {
            consider(path.replaced.as_ref().and_then(|replaced| replaced.due(clock)));
        }
        self.looks.iter().for_each(|look| consider(Some(look.due)));
        let waiting = state.paths.iter().filter(|path| path.is_news());
        waiting.for_each(|path| consider(path.not_before.or(Some(now))));
        next.max(now + BREATH)
    }

    /// Does what is due. True if a fetch would give something else than the last.
    async fn tick(&mut self, config: &Config, state: &mut State) -> bool {
        let before = state.trouble.is_some();
        let Some(client) = state.ready(config).await else {
            // Told once; a fetch tells what is wrong.
            return !before;
        };
        let mut moved = before;
        if std::mem::take(&mut state.is_strange) {
            moved |= self.find_out_anew(config, state);
        }
        moved |= self.token(config, state, &client).await;
        self.renew_leases(state, &client).await;
        self.keep_replaced(state, &client).await;
        self.replace_leases(state);
        moved |= self.look(config, state, &client).await;
        let now = Instant::now();
        for path in &mut state.paths {
            // What has to be read again is told once; the fetch decides what follows.
            if path.is_news() && path.not_before.is_none_or(|then| then <= now) {
                path.told = true;
                moved = true;
            }
        }
        moved
    }

    /// With a token that knows not what the one before it knew. True if something
    /// else is to be said of a path.
    fn find_out_anew(&mut self, config: &Config, state: &mut State) -> bool {
        let said = state.forget_rights();
        self.looks = Self::new(config, state).looks;
        for (clock, path) in self.leases.iter_mut().zip(&state.paths) {
            clock.hasten(path.lease().map(|lease| &lease.life));
        }
        for (clock, path) in self.replaced.iter_mut().zip(&state.paths) {
            clock.hasten(path.replaced.as_ref().map(|replaced| &replaced.lease.life));
        }
        said
    }

    /// Keeps the token alive, or gets another.
    async fn token(&mut self, config: &Config, state: &mut State, client: &Client) -> bool {
        let now = Instant::now();
        let can_repeat = state.login.can_repeat();
        let Some(session) = &mut state.session else { return false };
        if session.life.is_none() {
            // A given token: how long does it live? If it may not tell, it is used
            // for as long as it is good.
            if self.session.not_before.is_some_and(|then| then > now) {
                return false;
            }
            match session.learn(client).await {
                Ok(()) => self.session.worked(),
                Err(trouble) if trouble.kind == Kind::Forbidden => {
                    session.life = Some(Life::new(now, Duration::ZERO, false));
                }
                Err(trouble) => self.session.failed(&trouble),
            }
            return false;
        }
        if self.session.at(session.life.as_ref()).is_none_or(|at| at > now) {
            return false;
        }
        match self.session.due(session.life.as_ref()) {
            Due::Never => {}
            Due::Renew(_) => match session.renew(client).await {
                Ok(()) => self.session.worked(),
                Err(trouble) => {
                    self.session.failed(&trouble);
                    // Out of time: what is not renewed by then is replaced.
                    let nearly_over = session.life.as_ref().is_some_and(|life| life.is_nearly_over(now));
                    if session.has_ended(now) || (can_repeat && nearly_over) {
                        session.life = session.life.as_ref().map(Life::final_grant);
                    }
                }
            },
            Due::Replace(_) if can_repeat => match state.login.session(client).await {
                Ok(session) => {
                    state.replace_token(session);
                    self.session.worked();
                }
                Err(fault) => {
                    self.session.failed(&fault.trouble());
                    if state.session.as_ref().is_some_and(|session| session.has_ended(now)) {
                        state.drop_token();
                        state.fail(fault);
                        return true;
                    }
                }
            },
            // Nothing can be done; requests will say when it ends.
            Due::Replace(_) => self.session.not_before = Some(now + config.poll.max(Duration::from_mins(1))),
        }
        false
    }

    async fn renew_leases(&mut self, state: &mut State, client: &Client) {
        let now = Instant::now();
        let Some(token) = state.session.as_ref().map(|session| &session.token) else { return };
        let mut silence = None;
        let mut forbidden = false;
        for (clock, path) in self.leases.iter_mut().zip(&mut state.paths) {
            if path.stale {
                continue;
            }
            let Some(lease) = path.held.as_mut().and_then(|held| held.lease.as_mut()) else { continue };
            let due = clock.at(Some(&lease.life)).is_some_and(|at| at <= now);
            if !(due && matches!(clock.due(Some(&lease.life)), Due::Renew(_))) {
                continue;
            }
            // Who waits for the state does not wait for each lease's silence.
            if let Some(trouble) = &silence {
                clock.failed(trouble);
                continue;
            }
            match lease.renew(client, token).await {
                Ok(()) => {
                    clock.worked();
                    path.confirm();
                }
                // Gone, so the credentials are dead already. New ones come no faster
                // than renewals are due.
                Err(trouble) if trouble.kind == Kind::NoLease => path.read_again(),
                Err(trouble) => {
                    forbidden |= trouble.kind == Kind::Forbidden;
                    clock.failed(&trouble);
                    if lease.life.is_nearly_over(now) {
                        lease.life = lease.life.final_grant();
                    }
                    silence = Some(trouble).filter(|trouble| trouble.kind == Kind::Network(Break::Timeout));
                }
            }
        }
        if forbidden && state.token_is_dead(client).await {
            state.drop_refused_token(client).await;
        }
    }

    /// Keeps what was lent before alive, or ends it.
    async fn keep_replaced(&mut self, state: &mut State, client: &Client) {
        let now = Instant::now();
        let Some(token) = state.session.as_ref().map(|session| &session.token) else { return };
        for (clock, path) in self.replaced.iter_mut().zip(&mut state.paths) {
            let Some(replaced) = path.replaced.as_mut() else { continue };
            let is_due = replaced.due(clock).is_some_and(|at| at <= now);
            if is_due && !replaced.keep(clock, client, token).await {
                path.replaced = None;
            }
        }
    }

    /// Marks what is in its end window.
    fn replace_leases(&mut self, state: &mut State) {
        let now = Instant::now();
        for (clock, path) in self.leases.iter_mut().zip(&mut state.paths) {
            let life = path.lease().map(|lease| &lease.life);
            if matches!(clock.due(life), Due::Replace(at) if at <= now) && !path.stale {
                path.read_again();
            }
        }
    }

    /// Looks at versions, and at data where there are none.
    async fn look(&mut self, config: &Config, state: &mut State, client: &Client) -> bool {
        let now = Instant::now();
        let Some(token) = state.session.as_ref().map(|session| &session.token) else { return false };
        let due: Vec<usize> = (0..self.looks.len())
            .filter(|index| self.looks.get(*index).is_some_and(|look| look.due <= now))
            .collect();
        let (paths, known) = (&state.paths, &*state.known);
        let asked: Vec<_> = due
            .into_iter()
            .filter_map(|index| Some((index, &self.looks.get(index)?.what)))
            .map(|(index, what)| async move { (index, what.ask(client, token, paths, known).await) })
            .collect();
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(4).collect().await;
        let mut moved = false;
        let mut dissolved = Vec::new();
        let mut forbidden = false;
        for (index, answer) in answers {
            let Some(look) = self.looks.get_mut(index) else { continue };
            look.due = Instant::now() + jittered(config.poll);
            match answer {
                Seen::Versions(versions) => {
                    if versions.iter().any(|(_, seen)| seen.is_ok()) {
                        look.backoff.reset();
                    }
                    for (index, seen) in versions {
                        let Some(path) = state.paths.get_mut(index) else { continue };
                        forbidden |= seen.as_ref().is_err_and(|trouble| trouble.kind == Kind::Forbidden);
                        moved |= compare(path, seen, config.poll * LAG);
                    }
                }
                Seen::Holding(index, holding) => {
                    look.backoff.reset();
                    if let Some(path) = state.paths.get_mut(index) {
                        let most = match path.spec.engine {
                            Engine::Database { .. } => ROTATED_BY_HAND,
                            _ => GOOD_FOR,
                        };
                        let lasts =
                            holding.good_for.map(|ttl| ttl.min(GOOD_FOR).mul_f64(2.0 / 3.0).min(most));
                        look.due = look.due.max(Instant::now() + lasts.unwrap_or_default());
                        moved |= path.took(*holding);
                        path.good_until = lasts.map(|_| look.due);
                    }
                }
                Seen::Nothing => {}
                Seen::NoFolders(kind) => {
                    forbidden |= kind == Kind::Forbidden;
                    dissolved.push(index);
                }
                Seen::Trouble(trouble) => {
                    forbidden |= trouble.kind == Kind::Forbidden;
                    look.due = Instant::now() + wait(&mut look.backoff, &trouble).max(jittered(config.poll));
                    for index in look.what.paths() {
                        let Some(path) = state.paths.get_mut(index) else { continue };
                        moved |= path.is_other_trouble(trouble.kind);
                        path.failed(trouble.clone());
                        // Neither may be looked at: versions are the cheaper ones.
                        path.by_data &= trouble.kind != Kind::Forbidden;
                    }
                }
            }
        }
        // A folder that cannot be listed is looked at one by one.
        dissolved.sort_unstable();
        for index in dissolved.into_iter().rev() {
            let look = self.looks.swap_remove(index);
            let due = look.due;
            let singles = look.what.paths().into_iter().map(What::Path);
            self.looks.extend(singles.map(|what| Look { what, due, backoff: Backoff::default() }));
        }
        if !forbidden {
            state.judge_exchange();
        } else if state.token_is_dead(client).await {
            state.drop_refused_token(client).await;
            // Before anybody is told what its refusals would have meant.
            moved |= state.forget_rights();
        } else {
            state.blame_token(client).await;
        }
        moved
    }
}
