//! `GET /v1/watch`: being told that something changed, as Server-Sent Events.
//!
//! Invariants: names only, never a value; a watcher has no queue: what happens
//! while it does not read becomes one event, so a slow one costs what a quick one
//! does; one that reads nothing at all is cut off by its connection's deadline, and
//! goes on where it was with `Last-Event-ID`. Who watches a key is told of what its
//! rotation adds to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::time::timeout;

use super::super::problem::Problem;
use super::asked::Query;
use super::{Api, Who};
use crate::access::policy::View;
use crate::access::{Action, Caller, Gate};
use crate::model::key::Key;
use crate::model::snapshot::Version;
use crate::serve::Subject;

/// How often a connection on which nothing happens is tried.
const ALIVE: Duration = Duration::from_secs(15);

/// What a client is told first: when to come back after it was cut off.
const OPENING: &str = "retry: 1000\n\n";

/// The data of one event.
#[derive(Debug, Serialize)]
struct Change<'a> {
    version: &'a str,
    changed: Vec<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resync: bool,
}

/// One who watches.
struct Watcher {
    gate: Gate,
    caller: Arc<Caller>,
    /// The variables, where less than everything is wanted.
    asked: Option<BTreeSet<Key>>,
    /// The generation that is known; none where everything is news.
    known: Option<u64>,
    /// What might be watched at the last look.
    view: View,
    subject: Arc<dyn Subject>,
    /// The keys whose rotation adds a name: who is told of the one is told of it.
    owners: BTreeMap<Key, Key>,
    /// What is to be said before anything else.
    said: VecDeque<Bytes>,
}

/// `GET /v1/watch`.
pub(super) async fn watch(
    State(api): State<Api>,
    Who(caller): Who,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["vars"])?;
    let asked = match query.vars.as_deref().map(|parts| api.selected(&caller, Action::Watch, parts)) {
        Some(Err(answer)) => return Ok(*answer),
        Some(Ok(keys)) => Some(keys),
        None => None,
    };
    let mut gate = api.gate.clone();
    gate.seen();
    // Before it is judged what is known: rules that come in between are seen then.
    let view = gate.view(&caller, Action::Watch);
    let keys = asked.clone().unwrap_or_else(|| view.keys());
    if let Err(refusal) = gate.permit(&caller, Action::Watch, &keys).await {
        return Ok(api.refused(&caller, Action::Watch, &refusal));
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let known = last.and_then(|last| gate.known(last));
    let said = VecDeque::from([Bytes::from_static(OPENING.as_bytes())]);
    let (subject, owners) = (Arc::clone(&api.subject), owners(&*api.subject));
    let watcher = Watcher { gate, caller, asked, known, view, subject, owners, said };
    let events = unfold(watcher, |mut watcher| async {
        let event = watcher.next().await?;
        Some((Ok::<Bytes, Infallible>(event), watcher))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    Ok(response)
}

impl Watcher {
    /// The next thing to say; none when there is nothing any more to watch.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(said) = self.said.pop_front() {
            return Some(said);
        }
        loop {
            self.gate.seen();
            // The rules may be others than when it began.
            let view = self.gate.view(&self.caller, Action::Watch);
            let is_permitted = match &self.asked {
                Some(keys) => keys.iter().all(|key| view.permits(key).is_some()),
                None => !view.is_empty(),
            };
            if !is_permitted {
                return None;
            }
            if view != self.view {
                (self.known, self.view) = (None, view.clone());
                self.owners = owners(&*self.subject);
            }
            if let Some(version) = self.gate.version() {
                let is_of_it = |key: &Key| match &self.asked {
                    Some(keys) => keys.contains(key),
                    None => view.permits(key).is_some(),
                };
                let of = |key: &Key| is_of_it(key) || self.owners.get(key).is_some_and(is_of_it);
                let resync = self.known.is_none();
                let changed = self.gate.changed_after(self.known.unwrap_or(0), of);
                self.known = Some(version.generation());
                if resync || !changed.is_empty() {
                    return Some(event(&version, &changed, resync));
                }
            }
            match timeout(ALIVE, self.gate.moved()).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(_) => return Some(Bytes::from_static(b": alive\n\n")),
            }
        }
    }
}

/// The names that rotations add, each with its key.
fn owners(subject: &dyn Subject) -> BTreeMap<Key, Key> {
    let program = subject.program();
    let implied =
        program.schema.vars.iter().filter_map(|var| Some((var.key.clone(), var.implied_by.clone()?)));
    implied.collect()
}

fn event(version: &Version, changed: &[Key], resync: bool) -> Bytes {
    let version = version.to_string();
    let change = Change { version: &version, changed: changed.iter().map(Key::as_str).collect(), resync };
    // Names and a version: nothing that could fail to be written.
    let data = serde_json::to_string(&change).unwrap_or_default();
    format!("id: {version}\ndata: {data}\n\n").into()
}
