//! The socket of the daemon's own user: status, explain, forget.
//!
//! Invariants: nobody but this process's own user is answered, whatever the
//! socket's mode lets connect; what is asked for and is no name of a variable is
//! never repeated.
//! Must not know: values.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use super::listen::{Peer, peer};
use super::problem::Problem;
use super::{Forgotten, Subject};
use crate::model::key::Key;
use crate::model::schema::toml_reader::nearest;
use crate::telemetry::{Event, Listener};

/// The answer of `POST /v1/forget/{key}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The variable.
    pub key: String,
    /// The version that is without it.
    pub version: String,
}

/// What handlers and the guard before them share.
#[derive(Clone)]
struct Control {
    subject: Arc<dyn Subject>,
    listener: Arc<dyn Listener>,
    owner: u32,
}

/// Which route answered, for the metrics: a name of ours, never a client's text.
#[derive(Debug, Clone, Copy)]
struct Route(&'static str);

/// The routes. Only connections of this process's effective user are answered.
pub fn router(subject: Arc<dyn Subject>, listener: Arc<dyn Listener>) -> Router {
    let control = Control { subject, listener, owner: Uid::effective().as_raw() };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/explain/{key}", get(explain))
        .route("/v1/forget/{key}", post(forget))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(control.clone(), guard))
        .with_state(control)
}

/// Before everything else: who asks; after it: what became of it.
async fn guard(State(control): State<Control>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let who = peer(&request);
    let (route, mut response) = if who == Peer::User(control.owner) {
        let response = next.run(request).await;
        (response.extensions().get::<Route>().map_or("other", |route| route.0), response)
    } else {
        let detail = match who {
            Peer::User(uid) => format!("user {uid} asked, and only user {} may", control.owner),
            Peer::Address(_) | Peer::Unknown => "the kernel does not say who asked".to_owned(),
        };
        control.listener.tell(Event::Denied { what: "the socket", detail });
        let words = "this socket answers only the user that the daemon runs as";
        ("other", Problem::new(StatusCode::FORBIDDEN, "not-permitted", words).into_response())
    };
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    control.listener.tell(Event::Answered {
        route,
        status: response.status().as_u16(),
        took: began.elapsed(),
    });
    response
}

fn of(route: &'static str, answer: impl IntoResponse) -> Response {
    (Extension(Route(route)), answer).into_response()
}

async fn status(State(control): State<Control>) -> Response {
    of("/v1/status", Json(control.subject.status()))
}

async fn explain(State(control): State<Control>, Path(name): Path<String>) -> Response {
    let answer = match control.subject.explain(&name).await {
        Some(explanation) => Json(explanation).into_response(),
        None => unknown(&control, &name).into_response(),
    };
    of("/v1/explain/{key}", answer)
}

async fn forget(State(control): State<Control>, Path(name): Path<String>) -> Response {
    let answer = match control.subject.forget(&name).await {
        Forgotten::Done { version } => Json(GivenUp { key: name, version }).into_response(),
        Forgotten::NotHeld => Problem::new(
            StatusCode::CONFLICT,
            "not-held",
            format!("{} is not held: its source has not deleted it", shown(&name)),
        )
        .into_response(),
        Forgotten::Unknown => unknown(&control, &name).into_response(),
        Forgotten::Refused { findings } => {
            let words = format!("{} stays: the configuration would be invalid without it", shown(&name));
            Problem { findings, ..Problem::new(StatusCode::CONFLICT, "refused", words) }.into_response()
        }
    };
    of("/v1/forget/{key}", answer)
}

/// A name as it may be repeated.
fn shown(name: &str) -> &str {
    if Key::new(name).is_ok_and(|key| !key.looks_like_data()) { name } else { "this" }
}

fn unknown(control: &Control, name: &str) -> Problem {
    let known = control.subject.status().variables;
    let near = nearest(name, known.iter().map(|variable| variable.key.as_str()));
    let help = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    let words = match shown(name) {
        "this" => format!("this is no name of a variable that is known here{help}"),
        name => format!("nothing is known of {name} here{help}"),
    };
    Problem::new(StatusCode::NOT_FOUND, "unknown-variable", words)
}

async fn unknown_route() -> Problem {
    let words = "there is no such route: GET /v1/status, GET /v1/explain/KEY, POST /v1/forget/KEY";
    Problem::new(StatusCode::NOT_FOUND, "unknown-route", words)
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let takes = if uri.path().starts_with("/v1/forget/") { "POST" } else { "GET" };
    let method = if method.as_str().len() <= 8 { method.as_str() } else { "this method" };
    let words = format!("this route does not take {method}; it takes {takes}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", words)
}
