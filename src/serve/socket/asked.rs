//! What a request asks for, understood.
//!
//! Invariant: nothing of a request is repeated that is no name of a variable.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{StatusCode, Uri};

use super::super::problem::Problem;
use crate::access::{NothingSelected, Selection};
use crate::delivery::encode::Format;
use crate::model::key::Key;
use crate::model::schema::kind::parse_go_duration;
use crate::serve::Program;

/// The longest time that is waited for a change.
pub(super) const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Parts of `vars`.
const PARTS: usize = 1024;

/// What stands behind the `?`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Query {
    /// The variables, where less than everything is wanted.
    pub(super) vars: Option<Vec<String>>,
    /// How long to wait for a change.
    pub(super) wait: Duration,
    /// Another form than the contract's.
    pub(super) format: Option<Format>,
    /// `metadata.name` of a Kubernetes Secret.
    pub(super) name: Option<String>,
}

impl Query {
    /// Understands it, if it holds nothing but what this route takes.
    pub(super) fn of(uri: &Uri, takes: &[&'static str]) -> Result<Self, Problem> {
        let mut query = Self::default();
        let mut seen = BTreeSet::new();
        for (name, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let known = takes.iter().find(|taken| **taken == name);
            let Some(known) = known else { return Err(unknown_parameter(takes)) };
            if !seen.insert(*known) {
                return Err(malformed(&format!("`{known}` is given more than once")));
            }
            match *known {
                "vars" => query.vars = Some(parts(&value)?),
                "wait" => query.wait = duration(&value)?,
                "format" => query.format = Some(format(&value)?),
                _ => query.name = Some(value.into_owned()),
            }
        }
        if query.name.is_some() && query.format != Some(Format::K8sSecret) {
            return Err(malformed("`name` belongs to format=k8s-secret"));
        }
        Ok(query)
    }
}

fn unknown_parameter(takes: &[&str]) -> Problem {
    malformed(&match takes {
        [] => "this route takes no parameters".to_owned(),
        takes => format!("this route takes the parameters {}, and no others", takes.join(", ")),
    })
}

fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)
}

fn parts(text: &str) -> Result<Vec<String>, Problem> {
    let parts: Vec<String> =
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect();
    if parts.is_empty() {
        return Err(malformed("`vars` names nothing: write vars=A,B or vars=group:jwt, or leave it out"));
    }
    if parts.len() > PARTS {
        return Err(malformed(&format!("`vars` has more than {PARTS} parts")));
    }
    Ok(parts)
}

/// As Go writes durations; a longer one than is waited is shortened.
fn duration(text: &str) -> Result<Duration, Problem> {
    let parsed = parse_go_duration(text).and_then(|nanos| u64::try_from(nanos).ok());
    let nanos = parsed.ok_or_else(|| malformed("`wait` is no duration: write wait=30s"))?;
    Ok(Duration::from_nanos(nanos).min(LONGEST_WAIT))
}

fn format(text: &str) -> Result<Format, Problem> {
    text.parse().map_err(|()| {
        let known: Vec<&str> = Format::ALL.iter().map(|format| format.as_str()).collect();
        malformed(&format!("there is no such `format`; there are {}", known.join(", ")))
    })
}

/// The variables that these parts mean.
pub(super) fn selected(program: &Program, parts: &[String]) -> Result<BTreeSet<Key>, NothingSelected> {
    Selection::new(parts.iter().map(String::as_str)).keys(&program.schema, program.service.as_deref())
}
