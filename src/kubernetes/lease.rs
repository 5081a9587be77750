//! A Lease as a lock: who holds it says so again and again, and nobody else writes
//! meanwhile.
//!
//! Owns: taking, keeping and giving back one Lease, by compare-and-set: what is
//! written carries the version that was read, so that of two who are as quick the API
//! server refuses one.
//! Invariants: a holder counts as dead only when its word has not changed for as long
//! as that was given for, by our own clock, since we first saw it: no other clock is
//! believed. What is ours is so until a moment that is reckoned from before it was
//! written. What others keep in the object (labels, fields that we do not know) stays.
//! Every attempt may be dropped: what was sent then is looked at anew.
//! Must not know: what is locked.
//! Source: client-go's `leaderelection`, whose holders and ours respect each other.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::client::{Client, Said, Shape};
use super::object::{Kind, Name, Object};
use super::server::Server;
use super::trouble::{Misfit, Trouble, Why};

/// How long a holder's word counts.
pub(crate) const DURATION: Duration = Duration::from_secs(15);

/// The longest that another's word may count, whatever it says.
const LONGEST: Duration = Duration::from_hours(24);

/// How long one exchange may take: several fit into [`DURATION`].
const PATIENCE: Duration = Duration::from_secs(4);

/// How often in a row somebody else may be quicker.
const RACES: u32 = 3;

/// Whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Ours, until then if nothing is done.
    Ours(Instant),
    Theirs {
        /// Who it is, where that is a plain name.
        holder: Option<Box<str>>,
        /// When it will be free, unless its holder says something.
        free_at: Instant,
    },
}

/// One who wants a Lease now and then.
pub(crate) struct Candidate {
    client: Client,
    name: Name,
    identity: Box<str>,
    /// The object, as long as nobody can have written it since.
    known: Option<Written>,
    sight: Option<Sight>,
    ours_until: Option<Instant>,
    /// Whether it may be ours: something was sent, whatever became of it.
    may_hold: bool,
}

/// The last that we saw a holder say, and since when.
struct Sight {
    spec: Spec,
    since: Instant,
}

/// What the API has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Written {
    pub(super) metadata: Map<String, Value>,
    #[serde(default)]
    pub(super) spec: Spec,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    holder_identity: Option<Box<str>>,
    #[serde(default)]
    lease_duration_seconds: Option<i64>,
    #[serde(default)]
    acquire_time: Option<Box<str>>,
    #[serde(default)]
    renew_time: Option<Box<str>>,
    #[serde(default)]
    lease_transitions: Option<i64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// What follows from a holder's word.
#[derive(Debug, PartialEq, Eq)]
enum Move {
    /// Nobody holds it, or nobody any more.
    Take,
    /// We hold it.
    Renew,
    /// Somebody does, until then if nothing is heard of it.
    Wait(Instant),
}

impl Candidate {
    /// Asks nobody yet. `identity` is nobody else's.
    pub(crate) fn new(server: Server, name: Name, identity: Box<str>) -> Self {
        let client = Client::new(server, PATIENCE);
        Self { client, name, identity, known: None, sight: None, ours_until: None, may_hold: false }
    }

    /// The server as messages call it.
    pub(crate) fn server(&self) -> String {
        self.client.label()
    }

    /// Whether it may be ours.
    pub(crate) fn may_hold(&self) -> bool {
        self.may_hold
    }

    /// Looks at it, and does nothing.
    ///
    /// # Errors
    /// [`Trouble`] where that is not possible.
    pub(crate) async fn look(&mut self) -> Result<(), Trouble> {
        let object = self.object().await?;
        self.read(&object).await.map(drop)
    }

    /// Takes it, or keeps it, if that may be. It may be dropped at any time.
    ///
    /// # Errors
    /// [`Trouble`]: then it is as it was, or as we wanted it; the next attempt sees.
    pub(crate) async fn attempt(&mut self) -> Result<Standing, Trouble> {
        let object = self.object().await?;
        for _ in 0..RACES {
            let found = match self.known.take() {
                Some(known) if self.ours_until.is_some() => Some(known),
                _ => self.read(&object).await?,
            };
            let now = Instant::now();
            let spec = found.as_ref().map(|found| found.spec.clone()).unwrap_or_default();
            let is_new =
                match spec.judge(&self.identity, self.sight.as_ref().map_or(now, |sight| sight.since), now) {
                    Move::Renew => false,
                    Move::Take => true,
                    Move::Wait(free_at) => {
                        self.ours_until = None;
                        return Ok(Standing::Theirs { holder: spec.shown(), free_at });
                    }
                };
            let there = found.is_some();
            let spec = spec.held(&self.identity, is_new, SystemTime::now());
            match self.write(&object, found, spec).await {
                Ok(()) => {
                    let until = now + DURATION;
                    self.ours_until = Some(until);
                    return Ok(Standing::Ours(until));
                }
                // Somebody else was quicker, or it was deleted.
                Err(trouble) if trouble.why == Why::Conflict || (there && trouble.why == Why::NotFound) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Why::Conflict.into())
    }

    /// Gives it back, if it is ours. It may be dropped at any time.
    ///
    /// # Errors
    /// [`Trouble`]: the others may have to wait until it lapses.
    pub(crate) async fn release(&mut self) -> Result<(), Trouble> {
        self.ours_until = None;
        let object = self.object().await?;
        for _ in 0..RACES {
            let found = match self.known.take() {
                Some(known) => Some(known),
                None => self.read(&object).await?,
            };
            let Some(found) = found.filter(|found| found.spec.holder() == Some(&*self.identity)) else {
                self.may_hold = false;
                return Ok(());
            };
            let spec = found.spec.clone().free(SystemTime::now());
            match self.write(&object, Some(found), spec).await {
                Ok(()) => {
                    self.may_hold = false;
                    return Ok(());
                }
                Err(trouble) if matches!(trouble.why, Why::Conflict | Why::NotFound) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Why::Conflict.into())
    }

    async fn object(&self) -> Result<Object, Trouble> {
        let namespace = self.client.namespace().await?.ok_or_else(|| {
            Why::Access(Misfit {
                message: format!("{} names no namespace", self.client.label()),
                help: "name one in the kubeconfig's context".into(),
            })
        })?;
        Ok(Object { kind: Kind::Lease, namespace, name: self.name.clone() })
    }

    async fn read(&mut self, object: &Object) -> Result<Option<Written>, Trouble> {
        let found = match self.client.ask(Said::get(object.path(), Shape::Whole)).await {
            Ok(found) => Some(Written::checked(found)?),
            Err(trouble) if trouble.why == Why::NotFound => None,
            Err(trouble) => return Err(trouble),
        };
        let now = Instant::now();
        self.sight = found.as_ref().map(|found| match self.sight.take() {
            Some(sight) if sight.spec == found.spec => sight,
            _ => Sight { spec: found.spec.clone(), since: now },
        });
        Ok(found)
    }

    /// Writes it over what was found, or anew.
    async fn write(&mut self, object: &Object, found: Option<Written>, spec: Spec) -> Result<(), Trouble> {
        self.may_hold = true;
        let (method, target, metadata) = match found {
            Some(found) => (Method::PUT, object.path(), Value::Object(found.metadata)),
            None => {
                let metadata =
                    json!({ "name": object.name.as_str(), "namespace": object.namespace.as_str() });
                (Method::POST, object.collection(), metadata)
            }
        };
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec,
        });
        let body = Some(lease.to_string().into_bytes());
        let written = self.client.ask(Said { method, target, shape: Shape::Whole, body }).await?;
        self.known = Some(Written::checked(written)?);
        Ok(())
    }
}

impl Written {
    /// What has no version could only be written over whatever is there.
    pub(super) fn checked(self) -> Result<Self, Trouble> {
        let version = self.metadata.get("resourceVersion").and_then(Value::as_str);
        if version.is_none_or(str::is_empty) { Err(Why::NotTheApi.into()) } else { Ok(self) }
    }
}

impl Spec {
    pub(super) fn holder(&self) -> Option<&str> {
        self.holder_identity.as_deref().filter(|holder| !holder.is_empty())
    }

    /// When its holder said so, as it is written.
    pub(super) fn renewed(&self) -> Option<&str> {
        self.renew_time.as_deref()
    }

    /// What follows, where we have seen this `since` then.
    fn judge(&self, identity: &str, since: Instant, now: Instant) -> Move {
        match self.holder() {
            None => Move::Take,
            Some(holder) if holder == identity => Move::Renew,
            Some(_) => {
                let free_at = since + self.duration();
                if free_at <= now { Move::Take } else { Move::Wait(free_at) }
            }
        }
    }

    pub(super) fn duration(&self) -> Duration {
        let seconds = self.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        seconds.filter(|seconds| *seconds > 0).map_or(DURATION, Duration::from_secs).min(LONGEST)
    }

    /// The same, held by us from now on, or still.
    fn held(self, identity: &str, is_new: bool, now: SystemTime) -> Self {
        self.held_for(identity, is_new, DURATION, now)
    }

    /// The same, for another time than a lock's.
    pub(super) fn held_for(mut self, identity: &str, is_new: bool, life: Duration, now: SystemTime) -> Self {
        let now = micro_time(now);
        if is_new {
            let before = self.acquire_time.replace(now.clone());
            let transitions = self.lease_transitions.unwrap_or(0).max(0);
            // That it is held for the first time is no transition.
            self.lease_transitions =
                Some(if before.is_some() { transitions.saturating_add(1) } else { transitions });
        }
        self.holder_identity = Some(identity.into());
        self.lease_duration_seconds = i64::try_from(life.as_secs()).ok();
        self.renew_time = Some(now);
        self
    }

    /// The same, held by nobody.
    pub(super) fn free(mut self, now: SystemTime) -> Self {
        self.holder_identity = Some("".into());
        self.renew_time = Some(micro_time(now));
        self
    }

    /// Its holder, where that shows as it is.
    fn shown(&self) -> Option<Box<str>> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        self.holder().filter(|holder| holder.len() <= 300 && holder.bytes().all(is_plain)).map(Box::from)
    }
}

/// As the API writes a `MicroTime`.
fn micro_time(time: SystemTime) -> Box<str> {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Micros, true).into()
}

#[cfg(test)]
mod tests;
