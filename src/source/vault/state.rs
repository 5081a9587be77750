//! What is known of the server: the connection, the login, what each path held
//! when it was last read, and what went wrong since.
//!
//! Invariants: each path has its own fault and its own backoff, so that one
//! refusal leaves the others alone; what is held is replaced, never cleared, by
//! what cannot be read; a new token reads nothing again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::api::VersionAnswer;
use super::auth::{Login, LoginFault, Session};
use super::client::{Client, stamps};
use super::config::{Config, PathSpec};
use super::read::{self, Holding, Lease, Stored};
use super::replaced::Replaced;
use super::trouble::{Kind, Trouble};
use crate::disk::stamp::Stamp;
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::source::Fault;
use crate::source::backoff::{Backoff, share};

/// How many requests are under way at once.
const AT_ONCE: usize = 8;

/// A token that was refused is not exchanged for a new one more often than this:
/// the policy may be what is wrong.
const LOGIN_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Each exchange that did not help doubles that, so many times: five minutes.
const DOUBLINGS: u32 = 6;

/// Everything that changes.
pub(super) struct State {
    pub(super) client: Option<(Vec<Option<Stamp>>, Arc<Client>)>,
    pub(super) login: Login,
    pub(super) session: Option<Session>,
    /// What keeps every path from being read.
    pub(super) trouble: Option<LoginFault>,
    backoff: Backoff,
    pub(super) not_before: Option<Instant>,
    /// How often in a row a token was exchanged because it was refused.
    exchanged: u32,
    /// Whether the token is another than the one that taught us what is permitted
    /// and which leases live: both are to be found out anew.
    pub(super) is_strange: bool,
    pub(super) paths: Vec<Tracked>,
    /// Whether the token that was given may be what is refused, not the policy.
    pub(super) doubted: bool,
    /// Whether what is held are names alone.
    names_only: bool,
    /// The names that the last fetch knew.
    pub(super) known: Arc<BTreeSet<Key>>,
}

/// One path.
pub(super) struct Tracked {
    pub(super) spec: PathSpec,
    /// As printed: `vault:secret/datalens/production`.
    pub(super) place: Arc<str>,
    /// What it held when it was last read.
    pub(super) held: Option<Holding>,
    /// The last version that was written from here: an older one is an answer of the past.
    pub(super) written: Option<VersionAnswer>,
    /// The lease before the one that is held, while somebody may use it.
    pub(super) replaced: Option<Replaced>,
    /// Whether it has to be read.
    pub(super) stale: bool,
    /// Whether somebody was told so since it was last tried.
    pub(super) told: bool,
    /// Since when the server tells an older version than is held.
    behind_since: Option<Instant>,
    /// Whether its versions may not be looked at, so that its data tells changes.
    pub(super) by_data: bool,
    /// When the server last told that it has just what is held.
    pub(super) confirmed: Option<Instant>,
    /// Until when what it told is good without being looked at again.
    pub(super) good_until: Option<Instant>,
    pub(super) trouble: Option<Trouble>,
    backoff: Backoff,
    pub(super) not_before: Option<Instant>,
}

impl Tracked {
    fn new(spec: PathSpec) -> Self {
        let place = format!("vault:{}", spec.engine.shown_path()).into();
        Self {
            spec,
            place,
            held: None,
            written: None,
            replaced: None,
            stale: true,
            told: false,
            behind_since: None,
            by_data: false,
            confirmed: None,
            good_until: None,
            trouble: None,
            backoff: Backoff::default(),
            not_before: None,
        }
    }

    /// Its lease, where it has one.
    pub(super) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref().and_then(|held| held.lease.as_ref())
    }

    /// Every lease that it has, also the one before.
    pub(super) fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.lease().into_iter().chain(self.replaced.as_ref().map(|replaced| &replaced.lease))
    }

    fn leases_mut(&mut self) -> impl Iterator<Item = &mut Lease> {
        let held = self.held.as_mut().and_then(|held| held.lease.as_mut());
        held.into_iter().chain(self.replaced.as_mut().map(|replaced| &mut replaced.lease))
    }

    /// Whether what is held gives a variable.
    pub(super) fn gives(&self, key: &Key) -> bool {
        self.held.as_ref().is_some_and(|held| held.taken.fields.iter().any(|field| field.key == *key))
    }

    /// Notes that what is held is not what the server has.
    pub(super) fn read_again(&mut self) {
        self.stale = true;
        self.told = false;
        self.not_before = None;
    }

    /// Notes that the server has just what is held.
    pub(super) fn confirm(&mut self) {
        self.confirmed = Some(Instant::now());
    }

    /// Whether it has to be read and nobody was told.
    pub(super) fn is_news(&self) -> bool {
        self.stale && !self.told
    }

    /// Notes that it failed.
    pub(super) fn failed(&mut self, trouble: Trouble) {
        self.not_before = Some(Instant::now() + wait(&mut self.backoff, &trouble));
        self.trouble = Some(trouble);
        self.told = false;
    }

    /// Notes that it was asked and answered. True if it had failed before.
    pub(super) fn answered(&mut self) -> bool {
        self.backoff.reset();
        self.not_before = None;
        self.trouble.take().is_some()
    }

    /// Whether a failure of this kind is another than the last.
    pub(super) fn is_other_trouble(&self, kind: Kind) -> bool {
        self.trouble.as_ref().is_none_or(|before| before.kind != kind)
    }

    /// Takes what was read. True if that is something else than before.
    pub(super) fn took(&mut self, holding: Holding) -> bool {
        if holding.state == Stored::Nothing
            && self.held.as_ref().is_some_and(|held| held.state == Stored::Present)
        {
            // Nobody states that it was deleted.
            let news = self.is_other_trouble(Kind::NotFound);
            self.failed(Kind::NotFound.into());
            return news;
        }
        if holding.version.as_ref().is_some_and(|version| self.is_behind(version)) {
            // A standby that lags: what is held is newer, and so is asked again.
            self.failed(Kind::Behind.into());
            return false;
        }
        let recovered = self.answered();
        self.behind_since = None;
        self.stale = false;
        self.confirm();
        let same = self.held.as_ref().is_some_and(|held| held.gives_the_same(&holding));
        self.held = Some(holding);
        recovered || !same
    }

    /// Whether a version is older than one that is held or was written here.
    pub(super) fn is_behind(&self, version: &VersionAnswer) -> bool {
        let held = self.held.as_ref().and_then(|held| held.version.as_ref());
        held.into_iter().chain(&self.written).any(|seen| !version.may_follow(seen))
    }

    /// Notes that the server tells an older version. True if that is news: it has
    /// done so for longer than a standby may lag.
    pub(super) fn lags(&mut self, lag: Duration) -> bool {
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        if since.elapsed() < lag {
            return self.answered();
        }
        let news = self.is_other_trouble(Kind::Older);
        self.failed(Kind::Older.into());
        news
    }

    fn is_due(&self, now: Instant) -> bool {
        self.stale && self.not_before.is_none_or(|then| then <= now)
    }
}

/// How long after a failure: what the server asks for, at least.
pub(super) fn wait(backoff: &mut Backoff, trouble: &Trouble) -> Duration {
    // Many are told the same time: not all of them come at it.
    let asked = trouble.retry_after.unwrap_or_default().mul_f64(1.0 + share() / 10.0);
    backoff.after_failure(share()).max(asked)
}

impl State {
    pub(super) fn new(config: &Config, ambient: Option<SecretValue>) -> Self {
        Self {
            client: None,
            login: Login::new(config.auth.clone(), ambient),
            session: None,
            trouble: None,
            backoff: Backoff::default(),
            not_before: None,
            exchanged: 0,
            is_strange: false,
            paths: config.paths.iter().cloned().map(Tracked::new).collect(),
            doubted: false,
            names_only: false,
            known: Arc::default(),
        }
    }

    /// Whether what is held are names alone.
    pub(super) fn names_only(&self) -> bool {
        self.names_only
    }

    /// The client; a new one where certificate files were exchanged.
    pub(super) fn client(&mut self, config: &Config) -> Result<Arc<Client>, Fault> {
        let stamps = stamps(&config.tls);
        if let Some((made_of, client)) = &self.client
            && *made_of == stamps
        {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(config)?);
        self.client = Some((stamps, Arc::clone(&client)));
        Ok(client)
    }

    /// Reads every path that has to be read and may be asked now.
    pub(super) async fn read(&mut self, config: &Config, known: &BTreeSet<Key>, names_only: bool) {
        if self.names_only != names_only {
            self.names_only = names_only;
            self.paths.iter_mut().for_each(|path| path.stale = true);
        }
        if *self.known != *known {
            self.known = Arc::new(known.clone());
            // A field may be of another variable now. What is lent is not made anew for that.
            let unlent = self.paths.iter_mut().filter(|path| path.lease().is_none());
            unlent.for_each(|path| path.stale = true);
        }
        let now = Instant::now();
        if !self.paths.iter().any(|path| path.is_due(now)) {
            return;
        }
        let Some(client) = self.ready(config).await else { return };
        self.read_once(&client, known, now).await;
        self.blame_token(&client).await;
        if self.refused_since(now) && self.token_is_dead(&client).await {
            self.drop_refused_token(&client).await;
            for path in self.paths.iter_mut().filter(|path| is_forbidden(path)) {
                path.not_before = None;
            }
            if let Some(client) = self.ready(config).await {
                self.read_once(&client, known, Instant::now()).await;
                self.judge_exchange();
            }
        }
    }

    /// A client and a session; none where that failed, which is noted.
    pub(super) async fn ready(&mut self, config: &Config) -> Option<Arc<Client>> {
        if self.not_before.is_some_and(|then| then > Instant::now()) {
            return None;
        }
        let client = match self.client(config) {
            Ok(client) => client,
            Err(fault) => {
                self.fail(LoginFault::Here(fault));
                return None;
            }
        };
        // A token file that somebody exchanged. One that is just being written takes
        // nothing away.
        if self.session.as_ref().is_some_and(|session| self.login.moved(session))
            && let Ok(session) = self.login.session(&client).await
        {
            self.replace_token(session);
            self.is_strange = true;
        }
        if self.session.is_none() {
            match self.login.session(&client).await {
                Ok(session) => self.session = Some(session),
                Err(fault) => {
                    self.fail(fault);
                    return None;
                }
            }
        }
        self.backoff.reset();
        self.not_before = None;
        self.trouble = None;
        Some(client)
    }

    /// Takes a new token for the one in use.
    pub(super) fn replace_token(&mut self, session: Session) {
        self.drop_token();
        self.session = Some(session);
    }

    /// Gives the token up. What it leased ends when it does.
    pub(super) fn drop_token(&mut self) {
        let Some(end) = self.session.take().and_then(|session| session.life?.ends()) else { return };
        for lease in self.paths.iter_mut().flat_map(Tracked::leases_mut) {
            lease.life = lease.life.limited(end);
        }
    }

    /// Gives up a token that the server refuses, and what it taught. It may only not
    /// be permitted to look at itself: then it would live on for nobody, unless
    /// leases hang on it.
    pub(super) async fn drop_refused_token(&mut self, client: &Client) {
        let leased = self.paths.iter().any(|path| path.leases().next().is_some());
        if let Some(session) = self.session.as_ref().filter(|session| session.ours && !leased) {
            let _dead_already = session.revoke(client).await;
        }
        self.drop_token();
        self.exchanged = self.exchanged.saturating_add(1);
        self.is_strange = true;
    }

    /// Forgets what a token taught of the policy. True if that was anything.
    pub(super) fn forget_rights(&mut self) -> bool {
        let any = self.paths.iter().any(|path| path.by_data);
        self.paths.iter_mut().for_each(|path| path.by_data = false);
        any
    }

    /// After requests with a new token: was it the old one that was refused?
    pub(super) fn judge_exchange(&mut self) {
        if self.session.is_some() && !self.paths.iter().any(is_forbidden) {
            self.exchanged = 0;
        }
    }

    /// Where everything is refused, with a token that cannot be exchanged: notes
    /// whether the token may be what is refused. The server tells a dead token from
    /// a missing right by nothing but a look at itself.
    pub(super) async fn blame_token(&mut self, client: &Client) {
        let all = !self.login.can_repeat() && self.paths.iter().all(is_forbidden);
        self.doubted = all && self.is_refused(client).await;
    }

    /// Notes what keeps every path from being read.
    pub(super) fn fail(&mut self, fault: LoginFault) {
        self.not_before = Some(Instant::now() + wait(&mut self.backoff, &fault.trouble()));
        self.trouble = Some(fault);
    }

    async fn read_once(&mut self, client: &Client, known: &BTreeSet<Key>, now: Instant) {
        let Some(session) = &self.session else { return };
        let (token, names_only) = (&session.token, self.names_only);
        let due = self.paths.iter().enumerate().filter(|(_, path)| path.is_due(now));
        let asked = due.map(|(index, path)| async move {
            let answer = if names_only {
                read::names(client, token, &path.spec, known).await
            } else {
                read::values(client, token, &path.spec, known).await
            };
            (index, answer)
        });
        // Collected first: each future is tied to the borrow of the paths.
        let asked: Vec<_> = asked.collect();
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        for (index, answer) in answers {
            let Some(path) = self.paths.get_mut(index) else { continue };
            match answer {
                Ok(holding) => {
                    // Whoever asked sees for himself.
                    let _moved = path.took(holding);
                }
                Err(trouble) => path.failed(trouble),
            }
        }
    }

    /// Whether a path was refused, with a token that is not brand-new.
    fn refused_since(&self, start: Instant) -> bool {
        let old = self.session.as_ref().is_some_and(|session| session.since < start);
        old && self.paths.iter().any(is_forbidden)
    }

    /// Whether the token, and not the policy, is what was refused, and a new login
    /// may be made.
    pub(super) async fn token_is_dead(&self, client: &Client) -> bool {
        let Some(session) = &self.session else { return false };
        if !self.login.can_repeat() {
            return false;
        }
        if session.has_ended(Instant::now()) {
            return true;
        }
        let after = LOGIN_AGAIN_AFTER * 2_u32.pow(self.exchanged.min(DOUBLINGS));
        session.since.elapsed() >= after && self.is_refused(client).await
    }

    /// Whether the token may not even look at itself.
    async fn is_refused(&self, client: &Client) -> bool {
        let Some(session) = &self.session else { return false };
        session.look_up(client).await.is_err_and(|trouble| trouble.kind == Kind::Forbidden)
    }

    /// The earliest time at which something that may pass is to be tried again;
    /// none where nothing of the sort failed.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        if let Some(fault) = &self.trouble {
            let passes = matches!(fault, LoginFault::There(trouble) if trouble.kind.passes());
            return self.not_before.filter(|_| passes);
        }
        let failed = self
            .paths
            .iter()
            .filter(|path| path.stale && path.trouble.as_ref().is_some_and(|trouble| trouble.kind.passes()));
        failed.filter_map(|path| path.not_before).min()
    }
}

fn is_forbidden(path: &Tracked) -> bool {
    path.trouble.as_ref().is_some_and(|trouble| trouble.kind == Kind::Forbidden)
}
