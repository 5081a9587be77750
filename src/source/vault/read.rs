//! Reading one path: what each engine answers, and what that means.
//!
//! Invariant: only what the server states counts. A KV v2 version is deleted or
//! destroyed where its metadata says so; a 404 without that is 'nothing there',
//! which the caller excuses or not.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use vaultrs::api::kv1::requests::GetSecretRequest;
use vaultrs::api::kv2::requests::{ReadSecretMetadataRequest, ReadSecretRequest};

use super::api::{
    Envelope, MetadataAnswer, RawFields, Read, ReadSubkeys, RenewLease, RevokeLease, SecretAnswer,
    SubkeysAnswer, VersionAnswer,
};
use super::client::{Client, Lane};
use super::config::{Engine, PathSpec};
use super::document::Marks;
use super::fields::{take, take_names};
use super::life::Life;
use super::trouble::{Kind, Trouble};
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::source::fields::Taken;

/// What a path holds.
#[derive(Debug)]
pub(super) struct Holding {
    /// KV v2's version; none of other engines.
    pub(super) version: Option<VersionAnswer>,
    pub(super) state: Stored,
    pub(super) taken: Taken,
    /// Which keys of rotations the fields are.
    pub(super) marks: Marks,
    pub(super) lease: Option<Lease>,
    /// How long the answer is good, where it says so itself.
    pub(super) good_for: Option<Duration>,
}

/// Whether there is something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// There is.
    Present,
    /// The server states that its version is deleted.
    Deleted,
    /// The server states that its version is destroyed.
    Destroyed,
    /// There never was, as far as we know.
    Nothing,
}

/// A lease on what was read.
pub(super) struct Lease {
    id: SecretValue,
    /// It ends with the token that made it.
    pub(super) made: Instant,
    pub(super) life: Life,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").field("life", &self.life).finish_non_exhaustive()
    }
}

/// Reads a path's values.
///
/// # Errors
/// [`Trouble`], but not for what does not exist.
pub(super) async fn values(
    client: &Client,
    token: &SecretValue,
    spec: &PathSpec,
    known: &BTreeSet<Key>,
) -> Result<Holding, Trouble> {
    match &spec.engine {
        Engine::Kv2 { mount, path } => {
            let Some((answer, _)) = secret(client, token, mount, path, None).await? else {
                return Ok(nothing());
            };
            let given = answer.data.as_ref().map(|raw| take(raw, &spec.select, known));
            let marks = given.as_ref().zip(answer.data.as_ref()).map(|(given, raw)| Marks::of(raw, given));
            let marks = marks.unwrap_or_default();
            Ok(Holding { marks, ..Holding::of_version(answer.metadata, given) })
        }
        Engine::Kv1 { mount, path } => {
            let request = GetSecretRequest { mount: mount.clone(), path: path.clone() };
            plain(client.ask(Lane::Data, Some(token), request).await, spec, known, false)
        }
        Engine::Database { path } | Engine::Generic { path } => {
            let request = Read { path: path.clone() };
            plain(client.ask(Lane::Data, Some(token), request).await, spec, known, true)
        }
    }
}

/// A KV v2 secret, the newest version or this one, and the server's clock. Its data are
/// none where the server states that the version is gone; none at all where nobody states
/// anything.
///
/// # Errors
/// As [`values`].
pub(super) async fn secret(
    client: &Client,
    token: &SecretValue,
    mount: &str,
    path: &str,
    version: Option<u64>,
) -> Result<Option<(SecretAnswer, Option<SystemTime>)>, Trouble> {
    let request = ReadSecretRequest { mount: mount.to_owned(), path: path.to_owned(), version };
    let reply = client.exchange(Lane::Data, Some(token), request).await?;
    let stated = stated::<SecretAnswer>(reply.status, &reply.body);
    let answer = match stated.filter(|answer| answer.metadata.is_gone()) {
        Some(answer) => answer,
        None => match reply.envelope::<SecretAnswer>() {
            Ok(answer) => answer.data.ok_or(Kind::NotTheApi)?,
            Err(trouble) if trouble.kind == Kind::NotFound => return Ok(None),
            Err(trouble) => return Err(trouble),
        },
    };
    Ok(Some((answer, reply.date)))
}

/// Reads the names of a path's fields, and no value where the engine can tell
/// them apart.
///
/// # Errors
/// As [`values`].
pub(super) async fn names(
    client: &Client,
    token: &SecretValue,
    spec: &PathSpec,
    known: &BTreeSet<Key>,
) -> Result<Holding, Trouble> {
    match &spec.engine {
        Engine::Kv2 { mount, path } => {
            let request = ReadSubkeys { mount: mount.clone(), path: path.clone(), depth: 1 };
            let reply = client.exchange(Lane::Poll, Some(token), request).await?;
            let stated = stated::<SubkeysAnswer>(reply.status, &reply.body);
            let answer = match stated.filter(|answer| answer.metadata.is_gone()) {
                Some(answer) => answer,
                None => match reply.envelope::<SubkeysAnswer>() {
                    Ok(answer) => answer.data.ok_or(Kind::NotTheApi)?,
                    Err(trouble) if trouble.kind == Kind::NotFound => return Ok(nothing()),
                    Err(trouble) => return Err(trouble),
                },
            };
            let given = answer
                .subkeys
                .map(|subkeys| take_names(subkeys.keys().map(String::as_str), &spec.select, known));
            Ok(Holding::of_version(answer.metadata, given))
        }
        // Nothing is minted to learn two names.
        Engine::Database { .. } => {
            let fields = take_names(["password", "username"].into_iter(), &spec.select, known);
            Ok(Holding { taken: fields, state: Stored::Present, ..nothing() })
        }
        Engine::Kv1 { .. } | Engine::Generic { .. } => {
            let mut holding = values(client, token, spec, known).await?;
            for field in &mut holding.taken.fields {
                field.value = None;
            }
            Ok(holding)
        }
    }
}

/// The current version of a KV v2 secret, without its values.
///
/// # Errors
/// [`Trouble`]; [`Kind::NotFound`] where it has no metadata.
pub(super) async fn version(
    client: &Client,
    token: &SecretValue,
    mount: &str,
    path: &str,
) -> Result<VersionAnswer, Trouble> {
    // Metadata without any version: made by `kv metadata put`.
    metadata(client, token, mount, path).await?.current().ok_or_else(|| Kind::NotFound.into())
}

/// What a KV v2 secret is, without its values.
///
/// # Errors
/// [`Trouble`]; [`Kind::NotFound`] where it has no metadata.
pub(super) async fn metadata(
    client: &Client,
    token: &SecretValue,
    mount: &str,
    path: &str,
) -> Result<MetadataAnswer, Trouble> {
    let request = ReadSecretMetadataRequest { mount: mount.to_owned(), path: path.to_owned() };
    let answer = client.ask::<MetadataAnswer>(Lane::Poll, Some(token), request).await?;
    answer.data.ok_or_else(|| Kind::NotTheApi.into())
}

/// A 404 that states what became of a version carries it as data.
fn stated<T: serde::de::DeserializeOwned>(status: u16, body: &[u8]) -> Option<T> {
    if status != 404 {
        return None;
    }
    serde_json::from_slice::<Envelope<T>>(body).ok()?.data
}

fn nothing() -> Holding {
    Holding {
        version: None,
        state: Stored::Nothing,
        taken: Taken::default(),
        marks: Marks::default(),
        lease: None,
        good_for: None,
    }
}

fn plain(
    answer: Result<Envelope<RawFields>, Trouble>,
    spec: &PathSpec,
    known: &BTreeSet<Key>,
    may_be_leased: bool,
) -> Result<Holding, Trouble> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(trouble) if trouble.kind == Kind::NotFound => return Ok(nothing()),
        Err(trouble) => return Err(trouble),
    };
    let raw = answer.data.ok_or(Kind::NotTheApi)?;
    let lease = (may_be_leased && !answer.lease_id.is_empty()).then(|| Lease {
        life: Life::new(Instant::now(), Duration::from_secs(answer.lease_duration), answer.renewable),
        id: SecretValue::new(answer.lease_id),
        made: Instant::now(),
    });
    // A credential that the server changes by itself says when (static roles).
    let good_for = raw.get("ttl").filter(|_| may_be_leased && lease.is_none());
    let good_for = good_for.and_then(|ttl| ttl.get().parse().ok()).map(Duration::from_secs);
    let taken = take(&raw, &spec.select, known);
    Ok(Holding { state: Stored::Present, taken, lease, good_for, ..nothing() })
}

impl Holding {
    fn of_version(version: VersionAnswer, taken: Option<Taken>) -> Self {
        let state = match taken {
            None if version.destroyed => Stored::Destroyed,
            None if version.is_gone() => Stored::Deleted,
            // A version that was written as null holds nothing, which is no deletion.
            _ => Stored::Present,
        };
        Self { version: Some(version), state, taken: taken.unwrap_or_default(), ..nothing() }
    }

    /// Whether it gives the same as another: to tell a change where there are no
    /// versions.
    pub(super) fn gives_the_same(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.taken.fields, &other.taken.fields);
        self.state == other.state
            && self.marks == other.marks
            && mine.len() == theirs.len()
            && mine.iter().zip(theirs).all(|(a, b)| {
                let same = match (&a.value, &b.value) {
                    (Some(a), Some(b)) => a.same_as(b),
                    (None, None) => true,
                    _ => false,
                };
                a.key == b.key && a.name == b.name && same
            })
    }
}

impl VersionAnswer {
    /// When it was written.
    pub(super) fn created(&self) -> Option<SystemTime> {
        time(&self.created_time)
    }

    /// When it is, or will be, deleted.
    pub(super) fn deletion(&self) -> Option<SystemTime> {
        time(&self.deletion_time)
    }

    /// Whether the server states that it is deleted or destroyed. Asked of a
    /// version without data: `deletion_time` may also lie in the future.
    fn is_gone(&self) -> bool {
        self.destroyed || !self.deletion_time.is_empty()
    }

    /// Whether this may follow another: a lower number is an answer from the past
    /// (a standby lags), unless it was written later: then somebody has deleted
    /// the whole secret and begun anew. The same number of an earlier time is of the
    /// secret that was deleted.
    pub(super) fn may_follow(&self, seen: &Self) -> bool {
        let times = self.created().zip(seen.created());
        match self.version.cmp(&seen.version) {
            Ordering::Greater => true,
            Ordering::Equal => times.is_none_or(|(new, old)| new >= old),
            Ordering::Less => times.is_some_and(|(new, old)| new > old),
        }
    }

    /// Whether this and another are of one version, in one state.
    pub(super) fn is_still(&self, seen: &Self) -> bool {
        self.version == seen.version
            && self.created() == seen.created()
            && self.deletion_time == seen.deletion_time
            && self.destroyed == seen.destroyed
    }
}

/// A time in RFC 3339.
fn time(text: &str) -> Option<SystemTime> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(SystemTime::from)
}

impl Lease {
    /// Lets it live on.
    ///
    /// # Errors
    /// [`Trouble`]; [`Kind::NoLease`] where it is gone.
    pub(super) async fn renew(&mut self, client: &Client, token: &SecretValue) -> Result<(), Trouble> {
        let request = RenewLease { lease_id: self.id.expose().to_owned() };
        let answer: Envelope<serde::de::IgnoredAny> = client.ask(Lane::Poll, Some(token), request).await?;
        let ttl = Duration::from_secs(answer.lease_duration);
        self.life = self.life.renewed(Instant::now(), ttl, answer.renewable);
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`Trouble`].
    pub(super) async fn revoke(&self, client: &Client, token: &SecretValue) -> Result<(), Trouble> {
        let request = RevokeLease { lease_id: self.id.expose().to_owned(), sync: true };
        client.exchange(Lane::Poll, Some(token), request).await?.success()
    }
}
