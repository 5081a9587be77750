//! Writing back to KV v2: opens the secret that gives a variable, and changes it by
//! check-and-set.
//!
//! Invariants: what is written was compared with what was read, by us and then by the
//! server; a request that writes is sent once, and one whose answer was lost may have been
//! done; afterwards the path is read again without waiting for the poll.
//! Must not know: what a value means, or what is due.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use super::api::{RawFields, SecretAnswer, VersionAnswer, WriteSecret};
use super::auth::LoginFault;
use super::client::{Client, Lane};
use super::config::{Config, Engine, PathSpec};
use super::fields::WORDS;
use super::layer::login_fault;
use super::policy::{Access, needed};
use super::read::Stored;
use super::state::{State, Tracked};
use super::trouble::{Kind, Trouble};
use super::vitals::Held;
use super::{VaultSource, document, read};
use crate::model::key::Key;
use crate::model::origin::Revision;
use crate::model::rotation::{FIELD, Ledger};
use crate::source::fields::{NoOwner, owner_field};
use crate::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};

/// How many versions back somebody looks for a state.
const LOOK_BACK: usize = 10;

/// What to do when a right is missing.
const RIGHTS: &str = "`dlconf vault-policy --rotate` prints the policy that rotation needs: write it to the \
                      server and attach it to the role";

#[async_trait]
impl WritableSource for VaultSource {
    async fn open(&self, owner: &Key) -> Result<Document, WriteError> {
        let config = &self.shared.config;
        let mut state = Held::of(&self.shared).await;
        let index = state.giver(owner)?;
        let found = state.secret(config, index, None).await?;
        let path = state.paths.get(index).ok_or_else(|| nobody_gives(owner))?;
        let secret = found.ok_or_else(|| gone(&path.place))?;
        if path.is_behind(&secret.version) {
            return Err(unavailable(config, Kind::Behind));
        }
        let names = secret.raw.iter().filter(|(_, raw)| raw.get() != "null").map(|(name, _)| name.as_str());
        let select = &path.spec.select;
        let field = match owner_field(names, owner, select, &state.known) {
            Ok(field) => Ok(field.to_owned()),
            // It was lost: whoever repairs that has to know where it belongs.
            Err(NoOwner::Absent) => select.own_field(owner).ok_or(NoOwner::Absent),
            Err(why) => Err(why),
        };
        let field = field.map_err(|why| {
            let (message, help) = why.told(WORDS, owner);
            unusable(format!("{}: {message}", path.place), help)
        })?;
        let ledger = document::ledger(&secret.raw).map_err(|why| {
            let message = format!("the state of rotations in {}#{FIELD} cannot be used: {why}", path.place);
            unusable(message, format!("write {FIELD} as it was in the version before"))
        })?;
        Ok(secret.document(&path.place, &field, ledger))
    }

    async fn write(&self, document: &Document, change: &Change) -> Result<Revision, WriteError> {
        let mut state = Held::of(&self.shared).await;
        let written = state.write(&self.shared.config, document, change).await;
        if state.paths.iter().any(|path| path.stale && path.place == document.place) {
            self.shared.moved.notify_one();
        }
        written
    }

    async fn before(&self, document: &Document, _: &Key) -> Result<Option<Document>, WriteError> {
        let mut state = Held::of(&self.shared).await;
        let index = state.place(document)?;
        let newest = version_of(document)?;
        let mut latest: Option<(u64, Document)> = None;
        for version in (1..newest).rev().take(LOOK_BACK) {
            let Some(secret) = state.secret(&self.shared.config, index, Some(version)).await? else {
                continue;
            };
            // One that cannot be understood is passed over: an older one may be.
            let ledger = document::ledger(&secret.raw).unwrap_or_default();
            let Some(writes) = ledger.of(&document.field).map(|progress| progress.writes) else { continue };
            // An older version may have been put back, and changed since: of all states the
            // one that was written most often is the last one.
            if latest.as_ref().is_none_or(|(most, _)| writes > *most) {
                latest = Some((writes, secret.document(&document.place, &document.field, ledger)));
            }
        }
        Ok(latest.map(|(_, document)| document))
    }
}

/// A version of a secret, read just now.
struct Secret {
    version: VersionAnswer,
    raw: RawFields,
    server_time: Option<SystemTime>,
}

impl Secret {
    fn of(answer: SecretAnswer, server_time: Option<SystemTime>) -> Option<Self> {
        Some(Self { version: answer.metadata, raw: answer.data?, server_time })
    }

    fn document(&self, place: &Arc<str>, field: &str, ledger: Ledger) -> Document {
        Document {
            place: Arc::clone(place),
            revision: Revision(self.version.version.to_string().into()),
            field: field.into(),
            values: document::slots(&self.raw, field),
            ledger,
            server_time: self.server_time,
        }
    }
}

impl State {
    /// The path that gives a variable: of several the last, as everywhere.
    fn giver(&self, owner: &Key) -> Result<usize, WriteError> {
        for (index, path) in self.paths.iter().enumerate().rev() {
            if path.held.is_none() {
                return Err(WriteError {
                    kind: WriteErrorKind::Unavailable,
                    message: format!("{} was not read yet, and may give {owner}", path.place),
                    help: "see what `dlconf status` says of the source".into(),
                });
            }
            if path.gives(owner) {
                let Engine::Kv2 { .. } = path.spec.engine else {
                    return Err(refused(
                        format!("{owner} comes from {}, which has no check-and-set", path.place),
                        "keep what is to be rotated in KV version 2".into(),
                    ));
                };
                return Ok(index);
            }
        }
        // Somebody may have dropped it where it was: the one place where it would be.
        let lacks = |path: &&(usize, &Tracked)| {
            let is_there = path.1.held.as_ref().is_some_and(|held| held.state == Stored::Present);
            let is_kv2 = matches!(path.1.spec.engine, Engine::Kv2 { .. });
            is_there && is_kv2 && path.1.spec.select.own_field(owner).is_some()
        };
        let places: Vec<_> = self.paths.iter().enumerate().collect();
        let mut lacking = places.iter().filter(lacks);
        match (lacking.next(), lacking.next()) {
            (Some((index, _)), None) => Ok(*index),
            _ => Err(nobody_gives(owner)),
        }
    }

    /// The path of a document that was opened.
    fn place(&self, document: &Document) -> Result<usize, WriteError> {
        let is_it = |path: &super::state::Tracked| {
            path.place == document.place && matches!(path.spec.engine, Engine::Kv2 { .. })
        };
        self.paths.iter().position(is_it).ok_or_else(|| gone(&document.place))
    }

    /// Reads a secret afresh, the newest version or this one; none where it is deleted,
    /// destroyed or was never there.
    async fn secret(
        &mut self,
        config: &Config,
        index: usize,
        version: Option<u64>,
    ) -> Result<Option<Secret>, WriteError> {
        let client = self.reached(config).await?;
        let (Some(path), Some(session)) = (self.paths.get(index), &self.session) else { return Ok(None) };
        let Engine::Kv2 { mount, path: secret } = &path.spec.engine else { return Ok(None) };
        match read::secret(&client, &session.token, mount, secret, version).await {
            Ok(found) => Ok(found.and_then(|(answer, time)| Secret::of(answer, time))),
            Err(trouble) => {
                let spec = path.spec.clone();
                Err(self.judge(config, &client, &spec, Access::Values, &trouble).await)
            }
        }
    }

    async fn write(
        &mut self,
        config: &Config,
        document: &Document,
        change: &Change,
    ) -> Result<Revision, WriteError> {
        let (index, version) = (self.place(document)?, version_of(document)?);
        // What stays as it is goes back as the server has it now.
        let now = self.secret(config, index, None).await?;
        let unmoved =
            now.filter(|now| now.version.version == version && document::is_still(&now.raw, document));
        let Some(now) = unmoved else {
            self.read_anew(&document.place);
            return Err(conflict(&document.place));
        };
        let body = document::body(&now.raw, version, document, change)
            .map_err(|_| unusable(format!("{} cannot be written as JSON", document.place), AGAIN.into()))?;
        let client = self.reached(config).await?;
        let (Some(path), Some(session)) = (self.paths.get(index), &self.session) else {
            return Err(gone(&document.place));
        };
        let spec = path.spec.clone();
        let Engine::Kv2 { mount, path: secret } = &spec.engine else { return Err(gone(&document.place)) };
        let request = WriteSecret { mount: mount.clone(), path: secret.clone(), body };
        let answer = client.ask::<VersionAnswer>(Lane::Data, Some(&session.token), request).await;
        let answer = answer.and_then(|answer| {
            answer.data.filter(|version| version.version > 0).ok_or_else(|| Kind::NotTheApi.into())
        });
        // Whatever it says: what is there now is looked at.
        self.read_anew(&document.place);
        match answer {
            Ok(written) => {
                let revision = Revision(written.version.to_string().into());
                for path in self.paths.iter_mut().filter(|path| path.spec.engine == spec.engine) {
                    path.written = Some(written.clone());
                }
                Ok(revision)
            }
            Err(trouble) if trouble.kind == Kind::Outdated => Err(conflict(&document.place)),
            Err(trouble) => Err(self.judge(config, &client, &spec, Access::Write, &trouble).await),
        }
    }

    /// Notes that a place is to be read, and that somebody is told so.
    fn read_anew(&mut self, place: &Arc<str>) {
        for path in self.paths.iter_mut().filter(|path| path.place == *place) {
            path.read_again();
            path.told = true;
        }
    }

    /// The server, with a login.
    pub(super) async fn reached(&mut self, config: &Config) -> Result<Arc<Client>, WriteError> {
        if let Some(client) = self.ready(config).await {
            return Ok(client);
        }
        let (kind, fault) = match &self.trouble {
            Some(LoginFault::Here(fault)) => (WriteErrorKind::Refused, fault.clone()),
            Some(LoginFault::There(trouble)) => {
                let passes = trouble.kind.passes();
                let kind = if passes { WriteErrorKind::Unavailable } else { WriteErrorKind::Refused };
                (kind, login_fault(config, &self.login.label(), trouble))
            }
            None => return Err(unavailable(config, Kind::NotTheApi)),
        };
        Err(WriteError { kind, message: fault.message, help: fault.help })
    }

    /// What a failure means to who wants to write.
    pub(super) async fn judge(
        &mut self,
        config: &Config,
        client: &Client,
        spec: &PathSpec,
        access: Access,
        trouble: &Trouble,
    ) -> WriteError {
        let address = config.address.as_str();
        match trouble.kind {
            Kind::Forbidden if self.token_is_dead(client).await => {
                self.drop_refused_token(client).await;
                WriteError {
                    kind: WriteErrorKind::Unavailable,
                    message: format!("{address} does not take the token any more"),
                    help: "nothing: a new login is made".into(),
                }
            }
            Kind::Forbidden => {
                let need = needed(spec, access);
                refused(format!("{need}, which the policy does not give"), RIGHTS.into())
            }
            // Also what a connection says of itself: nobody knows how far a request came.
            kind if kind.passes() || matches!(kind, Kind::Network(_)) => unavailable(config, kind),
            kind => refused(format!("{address} {kind}: /v1/{}", spec.engine.api_path()), kind.help().into()),
        }
    }
}

/// What to do when somebody wrote in between.
const AGAIN: &str = "nothing: it is read again";

fn version_of(document: &Document) -> Result<u64, WriteError> {
    let number = document.revision.0.parse().ok().filter(|version| *version > 0);
    number.ok_or_else(|| gone(&document.place))
}

fn refused(message: String, help: String) -> WriteError {
    WriteError { kind: WriteErrorKind::Refused, message, help }
}

fn unusable(message: String, help: String) -> WriteError {
    WriteError { kind: WriteErrorKind::Unusable, message, help }
}

fn unavailable(config: &Config, kind: Kind) -> WriteError {
    WriteError {
        kind: WriteErrorKind::Unavailable,
        message: format!("{} {kind}", config.address.as_str()),
        help: kind.help().into(),
    }
}

fn conflict(place: &str) -> WriteError {
    WriteError {
        kind: WriteErrorKind::Conflict,
        message: format!("somebody wrote to {place} since it was read"),
        help: AGAIN.into(),
    }
}

fn gone(place: &str) -> WriteError {
    unusable(
        format!("there is nothing at {place}: it is deleted, or was never there"),
        "write a first version there by hand".into(),
    )
}

fn nobody_gives(owner: &Key) -> WriteError {
    unusable(format!("no path of the source gives {owner}"), format!("write a first {owner} there by hand"))
}
