//! `PUT /v1/consumers/{name}`: an instance says which keys it runs.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::super::problem::Problem;
use super::asked::Query;
use super::{Api, Named, Who};
use crate::access::Action;
use crate::model::key::Key;
use crate::rotation::consumers::{Acknowledgement, LIFE, Name, NotTaken, Use};
use crate::serve::Program;
use crate::status::ChildHealth;

/// The body: what an instance says.
#[derive(Debug, Serialize, Deserialize)]
pub struct Said {
    /// Which one: `api-7c9f`.
    pub instance: String,
    /// The keys in use, by variable.
    #[serde(default)]
    pub runs: BTreeMap<String, SaidUse>,
    /// The version that it has taken up: `7f3a.42`.
    pub version: String,
    /// How the program is, where whoever runs it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ChildHealth>,
}

/// The keys of one variable that are in use.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SaidUse {
    /// The kids that are accepted.
    #[serde(default)]
    pub verifies: Vec<String>,
    /// The kid that new things are signed with, if anything is.
    pub signs: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The consumer.
    pub consumer: String,
    /// Its instance.
    pub instance: String,
    /// For how long that counts: to be said again before.
    pub expires_in_seconds: u64,
}

/// `PUT /v1/consumers/{name}`.
pub(super) async fn acknowledge(
    State(api): State<Api>,
    Who(caller): Who,
    Named(name): Named,
    uri: Uri,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let view = api.gate.view(&caller, Action::Acknowledge);
    if view.is_empty() {
        return Ok(api.refuse(&caller, Action::Acknowledge, Vec::new()));
    }
    let body = body.map_err(|rejected| {
        let words = "the body could not be read: it is too long, too slow, or broke off";
        Problem::new(rejected.into_response().status(), "malformed", words)
    })?;
    let said = understood(&body)?;
    let program = api.subject.program();
    let keys: BTreeSet<Key> = said.runs.keys().cloned().collect();
    // What the schema does not know may be anything, and not only a name.
    if let Some(key) = keys.iter().find(|key| program.schema.var(key).is_none()) {
        return Ok(api.unknown(&caller, Action::Acknowledge, Some(key.as_str())));
    }
    // Who may say nothing of anything was refused above; the names of others are not told.
    let beyond: Vec<Key> = keys.iter().filter(|key| view.permits(key).is_none()).cloned().collect();
    if !beyond.is_empty() {
        return Ok(api.refuse(&caller, Action::Acknowledge, beyond));
    }
    let consumer = consumer(&program, &name)?;
    let recorded = if keys.is_empty() { view.keys() } else { keys };
    if let Err(refusal) = api.gate.permit(&caller, Action::Acknowledge, &recorded).await {
        return Ok(api.refused(&caller, Action::Acknowledge, &refusal));
    }
    let instance = said.instance.as_str().to_owned();
    match api.subject.acknowledge(&consumer, caller.uid(), said) {
        Ok(()) => {
            let expires_in_seconds = LIFE.as_secs();
            Ok(Json(Acknowledged { consumer, instance, expires_in_seconds }).into_response())
        }
        Err(NotTaken::Foreign) => {
            let words = "another user speaks for this instance: choose another name for it";
            Err(Problem::new(StatusCode::CONFLICT, "foreign-instance", words))
        }
        Err(NotTaken::Full) => {
            let words = "too many instances have been named: use names that stay the same";
            Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-many-instances", words))
        }
    }
}

/// One of the schema's.
fn consumer(program: &Program, name: &str) -> Result<String, Problem> {
    let names = program.schema.consumers();
    if names.contains(&name) {
        return Ok(name.to_owned());
    }
    let words = format!("there is no such consumer; there are {}", names.join(", "));
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown-consumer", words))
}

fn understood(body: &[u8]) -> Result<Acknowledgement, Problem> {
    // What serde says quotes what was sent.
    let said: Said = serde_json::from_slice(body).map_err(|error| {
        let words = format!(
            "the body is not what is expected at line {}, column {}: \
             {{\"instance\":…,\"runs\":{{KEY:{{\"verifies\":[kids],\"signs\":kid}}}},\"version\":…}}",
            error.line(),
            error.column()
        );
        Problem::new(StatusCode::BAD_REQUEST, "malformed", words)
    })?;
    let name = |what: &str, text: &str| {
        Name::new(text).map_err(|error| {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", format!("{what}: {error}"))
        })
    };
    let mut runs = BTreeMap::new();
    for (key, used) in &said.runs {
        let key = Key::new(key).map_err(|error| {
            let words = format!("a key of `runs` is no name of a variable: {error}");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", words)
        })?;
        let verifies: Result<Vec<Name>, Problem> =
            used.verifies.iter().map(|kid| name("a kid of `verifies`", kid)).collect();
        let signs = used.signs.as_deref().map(|kid| name("the kid of `signs`", kid)).transpose()?;
        runs.insert(key, Use { verifies: verifies?, signs });
    }
    let said = Acknowledgement {
        instance: name("`instance`", &said.instance)?,
        runs,
        version: name("`version`", &said.version)?,
        health: said.health,
    };
    if said.is_too_long() {
        let words = "`runs` names more variables, or more keys of one, than anybody runs";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", words));
    }
    Ok(said)
}
