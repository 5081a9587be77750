//! The socket: values and what is known of them, for who may have it.
//!
//! Owns: the routes of the contract's API. Every one knows who asks from the
//! kernel, and lets the gate decide; what tells no value is narrowed to what the
//! caller may see.
//! Invariants: a refusal is value-free and repeats nothing but names that are
//! variables'; who may do nothing is told nothing, not even what there is.
//! Must not know: what is permitted to whom, and why; sources; deliveries.

mod asked;
mod body;
mod consumers;
mod etag;
mod rotate;
mod told;
mod values;
mod watch;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONNECTION, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

pub use consumers::{Acknowledged, Said, SaidUse};
pub use rotate::REFUSALS;
pub use told::{GivenUp, Names};

use super::Subject;
use super::peer::Peer;
use super::problem::Problem;
use crate::access::{Action, Caller, Gate, NothingSelected, Refusal};
use crate::model::key::Key;
use crate::model::schema::toml_reader::nearest;
use crate::telemetry::{Event, Listener};
use etag::Tags;

/// From a request to its answer, at the latest: some wait for a change.
pub const ANSWER: Duration = asked::LONGEST_WAIT.saturating_add(Duration::from_secs(30));

/// Variables that a refusal names.
const NAMED: usize = 8;

/// The longest unknown name that is repeated, in bytes.
const SHOWN: usize = 64;

/// What every route has. A request has many owners on its way: they share it.
#[derive(Clone)]
struct Api(Arc<Shared>);

/// What it is made of.
struct Shared {
    subject: Arc<dyn Subject>,
    gate: Gate,
    listener: Arc<dyn Listener>,
    tags: Tags,
    /// The names of the routes.
    names: Box<[&'static str]>,
}

/// The routes.
pub fn router(subject: Arc<dyn Subject>, gate: Gate, listener: Arc<dyn Listener>) -> Router {
    let routes = [
        ("/v1/config", get(values::all)),
        ("/v1/config/{key}", get(values::one)),
        ("/v1/keys/{key}", get(values::ring)),
        ("/v1/watch", get(watch::watch)),
        ("/v1/consumers/{name}", put(consumers::acknowledge)),
        ("/v1/rotate/{key}", post(rotate::rotate)),
        ("/v1/explain/{key}", get(told::explain)),
        ("/v1/forget/{key}", post(told::forget)),
        ("/v1/status", get(told::status)),
        ("/v1/names", get(told::names)),
        ("/v1/openapi.json", get(told::openapi)),
    ];
    let names = routes.each_ref().map(|(name, _)| *name).into();
    let api = Api(Arc::new(Shared { subject, gate, listener, tags: Tags::default(), names }));
    let answering = routes.into_iter().fold(Router::new(), |all, (path, method)| all.route(path, method));
    answering
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(api.clone(), guard))
        .with_state(api)
}

impl Shared {
    /// Which route answers, for the metrics: a name of ours, never a client's text.
    fn name_of(&self, path: &str) -> &'static str {
        let is_it = |name: &&&'static str| match name.split_once('{') {
            Some((before, _)) => {
                path.strip_prefix(before).is_some_and(|last| !last.is_empty() && !last.contains('/'))
            }
            None => path == **name,
        };
        self.names.iter().find(is_it).copied().unwrap_or("other")
    }
}

/// Around everything: first, who asks; last, what became of it.
async fn guard(State(api): State<Api>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = api.name_of(request.uri().path());
    let mut response = match api.known(request.extensions().get::<Peer>()) {
        Ok(()) => next.run(request).await,
        Err(refused) => *refused,
    };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    api.listener.tell(Event::Answered { route, status: response.status().as_u16(), took: began.elapsed() });
    response
}

/// Who asks: behind the guard, somebody whom a rule is for.
struct Who(Arc<Caller>);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Peer>() {
            Some(Peer::Caller(caller)) => Ok(Self(Arc::clone(caller))),
            _ => Err(nobody()),
        }
    }
}

/// What stands in the place of a name in a path, whatever it is.
struct Named(String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "malformed", "the name in the path is no text in UTF-8")
        })
    }
}

fn nobody() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "not-permitted", "the kernel does not say who asked")
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl Api {
    /// Whether any rule is for who asks; the answer where none is.
    fn known(&self, peer: Option<&Peer>) -> Result<(), Box<Response>> {
        let Some(Peer::Caller(caller)) = peer else {
            let problem = nobody();
            self.listener.tell(Event::Denied {
                what: "the socket",
                uid: None,
                detail: problem.detail.clone(),
            });
            return Err(Box::new(problem.into_response()));
        };
        if self.gate.knows(caller) {
            Ok(())
        } else {
            // What was asked for is not looked at.
            let _refused = self.gate.refuse(caller, Action::Read, Vec::new());
            let uid = caller.uid();
            let words = format!("no rule of the access policy is for user {uid}");
            let mut refused = self.denied(uid, format!("no rule is for user {uid}"), words);
            // Nothing more can come of this connection.
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            Err(Box::new(refused))
        }
    }

    /// Tells of a refusal, and makes it an answer.
    fn refused(&self, caller: &Caller, action: Action, refusal: &Refusal) -> Response {
        match refusal {
            Refusal::NotPermitted(keys) => {
                let uid = caller.uid();
                let verb = match action {
                    Action::Status => "see the status of",
                    other => other.as_str(),
                };
                let what = listed(keys).unwrap_or_else(|| "any variable".to_owned());
                let program = self.subject.program();
                let key = keys.first().or_else(|| program.schema.vars.first().map(|var| &var.key));
                let reason = key.and_then(|key| self.gate.reason(caller, action, key));
                let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                let words = format!("no rule of the access policy lets user {uid} {verb} {what}");
                self.denied(uid, format!("user {uid} may not {verb} {what}{reason}"), words)
            }
            Refusal::Unrecorded(_) => {
                let words = "this cannot be recorded in the audit log, so it is refused; try again later";
                later(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-recorded", words))
            }
            Refusal::NotReady => {
                let words = "no valid configuration was published yet; try again, or wait for it: ?wait=30s";
                later(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", words))
            }
        }
    }

    /// A refusal, in the words of the log and in those for who asked.
    fn denied(&self, uid: u32, detail: String, words: String) -> Response {
        self.listener.tell(Event::Denied { what: "the socket", uid: Some(uid), detail });
        Problem::new(StatusCode::FORBIDDEN, "not-permitted", words).into_response()
    }

    /// Refuses, in the audit too.
    fn refuse(&self, caller: &Caller, action: Action, keys: Vec<Key>) -> Response {
        let refusal = self.gate.refuse(caller, action, keys);
        self.refused(caller, action, &refusal)
    }

    /// The variables that these parts mean; a part that means none is told only to
    /// who may do that with anything.
    fn selected(
        &self,
        caller: &Caller,
        action: Action,
        parts: &[String],
    ) -> Result<BTreeSet<Key>, Box<Response>> {
        match asked::selected(&self.subject.program(), parts) {
            Ok(keys) if !keys.is_empty() => Ok(keys),
            Ok(_) => Err(Box::new(self.unknown(caller, action, None))),
            Err(NothingSelected { part, .. }) => Err(Box::new(self.unknown(caller, action, Some(&part)))),
        }
    }

    /// A variable by its name in a path.
    fn named(&self, caller: &Caller, action: Action, name: &str) -> Result<Key, Box<Response>> {
        let known = Key::new(name).ok().filter(|key| self.subject.program().schema.var(key).is_some());
        known.ok_or_else(|| Box::new(self.unknown(caller, action, Some(name))))
    }

    /// The answer to a name that means nothing: with a suggestion of what the caller
    /// may have, and a refusal where that is nothing.
    fn unknown(&self, caller: &Caller, action: Action, name: Option<&str>) -> Response {
        let view = self.gate.view(caller, action);
        if view.is_empty() {
            return self.refuse(caller, action, Vec::new());
        }
        let keys = view.keys();
        let near = name.and_then(|name| nearest(name, keys.iter().map(Key::as_str)));
        let help = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
        let words = match name {
            None => "none of these variables is read by the service of this daemon".to_owned(),
            Some(name) if is_shown(name) => format!("nothing is known of {name} here{help}"),
            Some(_) => format!("this is no name of a variable that is known here{help}"),
        };
        Problem::new(StatusCode::NOT_FOUND, "unknown-variable", words).into_response()
    }
}

/// A name as it may be repeated.
fn is_shown(name: &str) -> bool {
    name.len() <= SHOWN && Key::new(name).is_ok_and(|key| !key.looks_like_data())
}

/// Names in a sentence.
fn listed(keys: &[Key]) -> Option<String> {
    let named: Vec<&str> = keys.iter().take(NAMED).map(Key::as_str).collect();
    match keys.len().checked_sub(NAMED) {
        _ if keys.is_empty() => None,
        Some(more @ 1..) => Some(format!("{} and {more} more", named.join(", "))),
        _ => Some(named.join(", ")),
    }
}

/// An answer that may be another one soon.
fn later(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

async fn unknown_route() -> Problem {
    let words = "there is no such route; GET /v1/openapi.json describes those that there are";
    Problem::new(StatusCode::NOT_FOUND, "unknown-route", words)
}

/// The methods of HTTP.
const METHODS: [Method; 9] = [
    Method::CONNECT,
    Method::DELETE,
    Method::GET,
    Method::HEAD,
    Method::OPTIONS,
    Method::PATCH,
    Method::POST,
    Method::PUT,
    Method::TRACE,
];

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let takes = match uri.path() {
        path if path.starts_with("/v1/forget/") || path.starts_with("/v1/rotate/") => "POST",
        path if path.starts_with("/v1/consumers/") => "PUT",
        _ => "GET",
    };
    // Any other word may be anything.
    let method = if METHODS.contains(&method) { method.as_str() } else { "this method" };
    let words = format!("this route does not take {method}; it takes {takes}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", words)
}
