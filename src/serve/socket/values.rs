//! The routes that give values.

use std::collections::BTreeSet;

use axum::extract::{Request, State};
use axum::http::header::{ETAG, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout_at};

use super::super::problem::Problem;
use super::asked::Query;
use super::body::{self, Member};
use super::etag::Tag;
use super::{Api, Named, Who};
use crate::access::policy::View;
use crate::access::{Action, Asked, Caller, Refusal, Released, Standing};
use crate::delivery::encode::{Format, Options, encode};
use crate::model::key::Key;
use crate::model::schema::Var;
use crate::model::validate::Delivered;
use crate::serve::Program;

/// Seconds since the oldest value in an answer was confirmed by its source, of those
/// that are known from the last-known-good snapshot only.
const SNAPSHOT_AGE: HeaderName = HeaderName::from_static("dlconf-snapshot-age");

/// `GET /v1/config`.
pub(super) async fn all(
    State(api): State<Api>,
    Who(caller): Who,
    request: Request,
) -> Result<Response, Problem> {
    let (Parts { uri, headers, .. }, _) = request.into_parts();
    let query = Query::of(&uri, &["vars", "wait", "format", "name"])?;
    let keys = match query.vars.as_deref().map(|parts| api.selected(&caller, Action::Read, parts)) {
        Some(Err(answer)) => return Ok(*answer),
        Some(Ok(keys)) => Some(keys),
        None => None,
    };
    let asked = keys.as_ref().map_or(Asked::Everything, Asked::These);
    let form = ("all", query.format.map(Format::as_str));
    Ok(give(&api, &caller, &headers, &query, asked, form, |released| formed(released, &query)).await)
}

/// `GET /v1/config/{key}`.
pub(super) async fn one(
    State(api): State<Api>,
    Who(caller): Who,
    Named(name): Named,
    request: Request,
) -> Result<Response, Problem> {
    let (Parts { uri, headers, .. }, _) = request.into_parts();
    let query = Query::of(&uri, &["wait"])?;
    let key = match api.named(&caller, Action::Read, &name) {
        Ok(key) => key,
        Err(answer) => return Ok(*answer),
    };
    let keys = BTreeSet::from([key.clone()]);
    let form = |released: &Released| match released.variables() {
        [delivered] => body::value(released, delivered, &api.subject.provenance(delivered)),
        _ => not_set(&key),
    };
    Ok(give(&api, &caller, &headers, &query, Asked::These(&keys), ("one", None), form).await)
}

/// `GET /v1/keys/{key}`.
pub(super) async fn ring(
    State(api): State<Api>,
    Who(caller): Who,
    Named(name): Named,
    request: Request,
) -> Result<Response, Problem> {
    let (Parts { uri, headers, .. }, _) = request.into_parts();
    let query = Query::of(&uri, &["wait"])?;
    let key = match api.named(&caller, Action::Read, &name) {
        Ok(key) => key,
        Err(answer) => return Ok(*answer),
    };
    let implied = implied(&api.subject.program(), &key);
    let form = |released: &Released| match members(released, &key) {
        members if members.is_empty() => not_set(&key),
        members => body::ring(&members),
    };
    Ok(give(&api, &caller, &headers, &query, Asked::Ring(&key, &implied), ("ring", None), form).await)
}

/// Gives what is asked for, if the caller has not got it already; waits for a
/// change where that is wanted. The `kind` tells apart what is made of the same
/// variables.
async fn give(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    query: &Query,
    asked: Asked<'_>,
    kind: (&'static str, Option<&'static str>),
    form: impl Fn(&Released) -> Response,
) -> Response {
    let until = Instant::now() + query.wait;
    let known: Vec<&str> =
        headers.get_all(IF_NONE_MATCH).iter().filter_map(|header| header.to_str().ok()).collect();
    let mut gate = api.gate.clone();
    loop {
        gate.seen();
        let view = gate.view(caller, Action::Read);
        let tag = |view: &View, standing: &Standing| match asked {
            Asked::Everything => api.tags.tag(standing, (kind, view)),
            Asked::These(keys) => api.tags.tag(standing, (kind, view, keys)),
            Asked::Ring(key, others) => api.tags.tag(standing, (kind, view, key, others)),
        };
        let held = || {
            let mut permits = asked.in_order(&view);
            let standing = gate.standing(|key| permits(key).is_some())?;
            asked.is_permitted(&view).then_some(())?;
            let tag = tag(&view, &standing);
            known.iter().any(|known| tag.is_among(known)).then_some(tag)
        };
        let held = if known.is_empty() { None } else { held() };
        let answer = match held {
            Some(tag) => tagged(StatusCode::NOT_MODIFIED.into_response(), &tag),
            None => match gate.release(caller, asked).await {
                Ok((released, standing)) => {
                    let mut answer = form(&released);
                    if answer.status() == StatusCode::OK {
                        tell_snapshot(api, &released, answer.headers_mut());
                        // It was released by the rules in force, which may be others by now.
                        return tagged(answer, &tag(&gate.view(caller, Action::Read), &standing));
                    }
                    return answer;
                }
                Err(Refusal::NotReady) => api.refused(caller, Action::Read, &Refusal::NotReady),
                Err(refusal) => return api.refused(caller, Action::Read, &refusal),
            },
        };
        // A change, another policy, or the end of patience.
        match timeout_at(until, gate.moved()).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return answer,
        }
    }
}

/// Says how old the oldest value is that is known from the last-known-good snapshot
/// only, where one is.
fn tell_snapshot(api: &Api, released: &Released, headers: &mut HeaderMap) {
    let is_one = |key: &Key| released.variables().iter().any(|delivered| delivered.key == *key);
    if let Some(seconds) = api.subject.snapshot_age(&is_one) {
        headers.insert(SNAPSHOT_AGE, seconds.into());
    }
}

fn tagged(mut answer: Response, tag: &Tag) -> Response {
    answer.headers_mut().insert(ETAG, tag.header());
    answer
}

/// The values in the form that is wanted.
fn formed(released: &Released, query: &Query) -> Response {
    let Some(format) = query.format else { return body::values(released) };
    let values: Vec<_> =
        released.variables().iter().map(|delivered| (&delivered.key, &*delivered.value)).collect();
    let options = Options { name: query.name.clone(), namespace: None };
    if let Some(problem) = options.problem(format) {
        let words = format!("{problem}: give it with ?name=");
        return Problem::new(StatusCode::BAD_REQUEST, "malformed", words).into_response();
    }
    match encode(format, &values, &options) {
        Ok(text) => {
            let kind = match format {
                Format::Json => "application/json",
                Format::Yaml | Format::K8sSecret => "application/yaml",
                _ => "text/plain; charset=utf-8",
            };
            body::answer(axum::body::Bytes::copy_from_slice(text.expose().as_bytes()), kind)
        }
        Err(refused) => {
            let words: Vec<String> =
                refused.iter().take(8).map(|one| format!("{}: {}", one.key, one.reason)).collect();
            let words = format!("{} cannot carry every value: {}", format.as_str(), words.join("; "));
            Problem::new(StatusCode::NOT_ACCEPTABLE, "not-representable", words).into_response()
        }
    }
}

fn not_set(key: &Key) -> Response {
    let words = format!("{key} has no value in this generation; /v1/explain/{key} says why");
    Problem::new(StatusCode::NOT_FOUND, "not-set", words).into_response()
}

/// The names that a key's rotation adds.
fn implied(program: &Program, key: &Key) -> BTreeSet<Key> {
    let of_it = |var: &&Var| var.implied_by.as_ref() == Some(key);
    program.schema.vars.iter().filter(of_it).map(|var| var.key.clone()).collect()
}

/// The keys of a ring. A key that no rotation noted has a name made of `initial`. One at
/// most is active: the numbered one that is called so, else the variable itself, which
/// may be one of the numbered once more. No two have one name.
fn members<'a>(released: &'a Released, key: &Key) -> Vec<Member<'a>> {
    let suffix = |delivered: &'a Delivered| delivered.key.as_str().strip_prefix(key.as_str());
    let number = |delivered: &'a Delivered| suffix(delivered)?.strip_prefix('_')?.parse::<u32>().ok();
    let called = released.variables().iter().find(|delivered| suffix(delivered) == Some("_ACTIVE"));
    let called = called.and_then(|delivered| delivered.value.expose().parse::<u32>().ok());
    let mut numbered = released.variables().iter().filter(|delivered| number(delivered).is_some());
    let is_called = called.is_some() && numbered.clone().any(|delivered| number(delivered) == called);
    let mut member = |delivered: &'a Delivered| {
        let (kid, state) = match (suffix(delivered)?, number(delivered)) {
            ("", _) if is_called && numbered.any(|other| other.value.same_as(&delivered.value)) => {
                return None;
            }
            ("", _) => ("initial".to_owned(), if is_called { "previous" } else { "active" }),
            ("_NEXT", _) => ("initial-next".to_owned(), "next"),
            ("_PREVIOUS", _) => ("initial-previous".to_owned(), "previous"),
            (_, Some(number)) => {
                let state = if called == Some(number) { "active" } else { "previous" };
                (format!("initial-{number}"), state)
            }
            _ => return None,
        };
        let kid = delivered.origin.mark.as_ref().map_or(kid, |mark| mark.kid.to_string());
        Some(Member { kid, state, delivered })
    };
    let mut members: Vec<Member<'a>> =
        released.variables().iter().filter_map(|delivered| member(delivered)).collect();
    tell_apart(&mut members);
    members
}

/// Gives a name of its own to each key that has another's: somebody copied it, together
/// with what was noted of it. Whoever compares names must not take one key for another.
fn tell_apart(members: &mut [Member<'_>]) {
    for at in 1..members.len() {
        let (before, rest) = members.split_at_mut(at);
        let Some(member) = rest.first_mut() else { continue };
        let is_taken = |kid: &str| before.iter().any(|other| other.kid == kid);
        if is_taken(&member.kid) {
            // One of them is free: there are more of them than keys before this one.
            let others = (2..=at + 2).map(|number| format!("{}-{number}", member.kid));
            if let Some(free) = others.into_iter().find(|kid| !is_taken(kid)) {
                member.kid = free;
            }
        }
    }
}
