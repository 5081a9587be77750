//! The routes that tell of variables, or act upon them, and give no value.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::super::problem::Problem;
use super::asked::Query;
use super::{Api, Named, Who};
use crate::access::Action;
use crate::access::policy::View;
use crate::model::key::Key;
use crate::serve::{Forgotten, Program};

/// The description of this API, in OpenAPI 3.1.
const OPENAPI: &str = include_str!("openapi.json");

/// The answer of `POST /v1/forget/{key}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// The variable.
    pub key: String,
    /// The version that is without it.
    pub version: String,
}

/// The answer of `GET /v1/names`: what who starts a program must know to give it no
/// variable of an older time or another service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The environment.
    pub environment: String,
    /// The variable that names it.
    pub environment_variable: String,
    /// The service; none means all.
    pub service: Option<String>,
    /// The schema's name.
    pub schema: String,
    /// Every name that the schema speaks of: declared, replaced or retired.
    pub known: Vec<String>,
    /// Those that have keys: what a rotation moves. A daemon of an older release does
    /// not say.
    #[serde(default)]
    pub rotating: Vec<String>,
}

/// `GET /v1/status`: of the variables that the caller may see.
pub(super) async fn status(State(api): State<Api>, Who(caller): Who, uri: Uri) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let view = api.gate.view(&caller, Action::Status);
    if view.is_empty() {
        return Ok(api.refuse(&caller, Action::Status, Vec::new()));
    }
    let sees = |name: &str| Key::new(name).is_ok_and(|key| view.permits(&key).is_some());
    let program = api.subject.program();
    Ok(Json(api.subject.status().narrowed(sees, &hidden(&program, &view))).into_response())
}

/// The variables that somebody does not see. Whether one has a value, or ever had,
/// does not matter.
pub(super) fn hidden<'p>(program: &'p Program, view: &View) -> BTreeSet<&'p str> {
    let ours = program.schema.vars.iter().filter(|var| var.read_by(program.service.as_deref()));
    ours.filter(|var| view.permits(&var.key).is_none()).map(|var| var.key.as_str()).collect()
}

/// `GET /v1/explain/{key}`.
pub(super) async fn explain(
    State(api): State<Api>,
    Who(caller): Who,
    Named(name): Named,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let view = api.gate.view(&caller, Action::Status);
    let program = api.subject.program();
    // Names that only sources or older schemas know belong to nobody: who sees
    // everything may ask for them.
    let hidden = hidden(&program, &view);
    let sees = |key: &Key| match program.schema.var(key) {
        Some(_) => view.permits(key).is_some(),
        None => hidden.is_empty(),
    };
    let key = Key::new(&name).ok();
    if let Some(key) = key.as_ref().filter(|key| program.schema.var(key).is_some() && !sees(key)) {
        return Ok(api.refuse(&caller, Action::Status, vec![key.clone()]));
    }
    if key.as_ref().is_some_and(sees)
        && let Some(mut explanation) = api.subject.explain(&name).await
    {
        explanation.findings.retain(|finding| !finding.speaks_of(&hidden));
        return Ok(Json(explanation).into_response());
    }
    Ok(api.unknown(&caller, Action::Status, Some(&name)))
}

/// `POST /v1/forget/{key}`.
pub(super) async fn forget(
    State(api): State<Api>,
    Who(caller): Who,
    Named(name): Named,
    uri: Uri,
) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let key = match permitted(&api, &caller, Action::Forget, &name).await {
        Ok(key) => key,
        Err(answer) => return Ok(*answer),
    };
    Ok(match api.subject.forget(&name).await {
        Forgotten::Done { version } => Json(GivenUp { key: key.to_string(), version }).into_response(),
        Forgotten::NotHeld => Problem::new(
            StatusCode::CONFLICT,
            "not-held",
            format!("{key} is not held: its source has not deleted it"),
        )
        .into_response(),
        Forgotten::Unknown => api.unknown(&caller, Action::Forget, Some(&name)),
        Forgotten::Refused { mut findings } => {
            let (program, view) = (api.subject.program(), api.gate.view(&caller, Action::Status));
            let hidden = hidden(&program, &view);
            findings.retain(|finding| !finding.speaks_of(&hidden));
            let words = format!("{key} stays: the configuration would be invalid without it");
            Problem { findings, ..Problem::new(StatusCode::CONFLICT, "refused", words) }.into_response()
        }
    })
}

/// A variable that the caller may do this with.
pub(super) async fn permitted(
    api: &Api,
    caller: &crate::access::Caller,
    action: Action,
    name: &str,
) -> Result<Key, Box<Response>> {
    let key = api.named(caller, action, name)?;
    match api.gate.permit(caller, action, &BTreeSet::from([key.clone()])).await {
        Ok(()) => Ok(key),
        Err(refusal) => Err(Box::new(api.refused(caller, action, &refusal))),
    }
}

/// `GET /v1/names`: for everybody whom a rule is for.
pub(super) async fn names(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let program = api.subject.program();
    let schema = &program.schema;
    let ours = schema.vars.iter().filter(|var| var.read_by(program.service.as_deref()));
    let rotating = ours.filter(|var| var.rotation.is_some()).map(|var| var.key.to_string()).collect();
    Ok(Json(Names {
        environment: program.environment,
        environment_variable: schema.environments.variable.to_string(),
        service: program.service,
        schema: schema.name.to_string(),
        known: schema.known_names().iter().map(Key::to_string).collect(),
        rotating,
    })
    .into_response())
}

/// `GET /v1/openapi.json`.
pub(super) async fn openapi(uri: Uri) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let mut response = Response::new(OPENAPI.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
