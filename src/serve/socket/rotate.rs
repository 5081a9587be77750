//! `POST /v1/rotate/{key}`: what somebody wants to become of a key.
//!
//! Invariants: a value becomes a `SecretValue` while it is parsed, and nothing that is
//! answered repeats it; who may not read a variable cannot try guesses of it for nothing;
//! what is misspelt does nothing; a leaked key is retired only by who
//! repeats its name.

use std::collections::BTreeSet;
use std::fmt;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

use super::super::problem::Problem;
use super::asked::Query;
use super::told::{hidden, permitted};
use super::{Api, Named, Who};
use crate::access::{Action, Caller};
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::rotation::course::{Order, Wish};
use crate::rotation::order::NotOrdered;
use crate::serve::RotateAsked;
use crate::status::FindingStatus;

/// The longest reason, in characters: it is kept beside the key.
const REASON: usize = 500;

/// Why a rotation is not done, in words for programs: the codes of 409 besides
/// `not-rotating`.
pub const REFUSALS: [&str; 38] = [
    "changed-by-hand",
    "clock",
    "conflict",
    "dynamic",
    "invalid",
    "lost",
    "manual",
    "needs-confirmation",
    "no-recipe",
    "no-source",
    "nobody-expected",
    "not-leader",
    "not-leased",
    "not-there",
    "not-writable",
    "nothing-to-undo",
    "off",
    "other-strategy",
    "overlap",
    "owned",
    "probe",
    "random",
    "refused",
    "ring",
    "ring-broken",
    "ring-full",
    "same",
    "shadowed",
    "single",
    "static-role",
    "taken",
    "unavailable",
    "undeclared",
    "under-way",
    "unknown",
    "unusable",
    "value-given",
    "value-needed",
];

/// The body. A misspelt field could be the one that keeps something from being done: it is
/// none that may be passed over.
#[derive(serde::Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Said {
    wish: SaidWish,
    value: Option<Value>,
    reason: Option<String>,
    accept_logout: bool,
    take_over: bool,
    confirm: Option<String>,
    dry_run: bool,
}

#[derive(serde::Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum SaidWish {
    #[default]
    Rotate,
    Undo,
    Compromised,
}

/// A value in a request.
struct Value(SecretValue);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Value;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a text")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value(text.into()))
            }
        }

        from.deserialize_str(Text).map_err(|_| D::Error::custom("a value is no text"))
    }
}

/// `POST /v1/rotate/{key}`.
pub(super) async fn rotate(
    State(api): State<Api>,
    Who(caller): Who,
    Named(name): Named,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    Query::of(&uri, &[])?;
    let key = match permitted(&api, &caller, Action::Rotate, &name).await {
        Ok(key) => key,
        Err(answer) => return Ok(*answer),
    };
    let body = body.map_err(|rejected| {
        let words = "the body could not be read: it is too long, too slow, or broke off";
        Problem::new(rejected.into_response().status(), "malformed", words)
    })?;
    let asked = understood(&key, &body)?;
    drop(body);
    // A guess that is tried and not written would tell whether it is right.
    let reads = || api.gate.view(&caller, Action::Read).permits(&key).is_some();
    if asked.dry_run && asked.supplied.is_some() && !reads() {
        let words = format!("who may not read {key} may not try values for it: only give it one");
        return Err(Problem::new(StatusCode::FORBIDDEN, "not-permitted", words));
    }
    if api.subject.program().schema.var(&key).is_none_or(|var| var.rotation.is_none()) {
        let words = format!("the schema does not say how {key} is rotated");
        let help = format!(
            "declare it: `rotation = {{ strategy = … }}` in [var.{key}] of the schema (docs/schema.md)"
        );
        let problem = Problem::new(StatusCode::CONFLICT, "not-rotating", words);
        return Err(Problem { help: Some(help.into()), ..problem });
    }
    match api.subject.rotate(&key, asked).await {
        Ok(ordered) => Ok(Json(ordered).into_response()),
        Err(refused) => Err(told(&api, &caller, &key, refused)),
    }
}

/// A refusal, as far as it speaks of what the caller may see.
fn told(api: &Api, caller: &Caller, key: &Key, refused: NotOrdered) -> Problem {
    let (program, view) = (api.subject.program(), api.gate.view(caller, Action::Status));
    let mut hidden: BTreeSet<&str> = hidden(&program, &view);
    // Who may rotate a key is told of it, and of its slots.
    let is_slot = |name: &str| {
        let var = Key::new(name).ok().and_then(|name| program.schema.var(&name));
        var.is_some_and(|var| var.implied_by.as_ref() == Some(key))
    };
    hidden.retain(|name| *name != key.as_str() && !is_slot(name));
    let words = FindingStatus {
        code: None,
        severity: "error".to_owned(),
        variable: None,
        message: refused.message,
        place: None,
        help: Some(refused.help),
    };
    let code = REFUSALS.into_iter().find(|code| *code == refused.code).unwrap_or("refused");
    let (detail, help) = if words.speaks_of(&hidden) {
        (format!("{key} is not rotated, for a reason that names variables which are not shown here"), None)
    } else {
        (words.message, words.help.filter(|help| !help.is_empty()))
    };
    Problem {
        code: code.into(),
        help: help.map(Into::into),
        ..Problem::new(StatusCode::CONFLICT, "refused", detail)
    }
}

fn understood(key: &Key, body: &[u8]) -> Result<RotateAsked, Problem> {
    // What serde says quotes what was sent.
    let read = match body.trim_ascii_start() {
        [] => Ok(Said::default()),
        [b'{', ..] => serde_json::from_slice(body),
        // To serde a list is a table whose fields stand in their order.
        _ => Err(serde_json::Error::custom("no object")),
    };
    let said: Said = read.map_err(|error| {
        let words = format!(
            "the body is not what is expected at line {}, column {}: {{\"wish\":\"rotate\" or \"undo\" or \
             \"compromised\",\"value\":…,\"reason\":…,\"accept_logout\":…,\"take_over\":…,\"confirm\":KEY,\
             \"dry_run\":…}}, all of them optional",
            error.line(),
            error.column()
        );
        Problem::new(StatusCode::BAD_REQUEST, "malformed", words)
    })?;
    let wrong = |words: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "malformed", words);
    let is_plain = |reason: &str| reason.chars().count() <= REASON && !reason.chars().any(char::is_control);
    if said.reason.as_deref().is_some_and(|reason| !is_plain(reason)) {
        return Err(wrong("`reason` must be one line of at most 500 characters"));
    }
    if said.confirm.as_deref().is_some_and(|confirmed| confirmed != key.as_str()) {
        let words = format!("`confirm` names another variable than {key}");
        return Err(Problem::new(StatusCode::CONFLICT, "needs-confirmation", words));
    }
    let supplied = said.value.map(|Value(value)| value);
    if supplied.as_ref().is_some_and(|value| value.is_empty() || value.expose().contains('\0')) {
        return Err(wrong("`value` is empty, or holds a NUL byte, which no environment can carry"));
    }
    let wish = match said.wish {
        SaidWish::Rotate => Wish::Rotate,
        SaidWish::Undo => Wish::Undo,
        SaidWish::Compromised => Wish::Compromised,
    };
    // Whom a leaked key's end logs out is accepted by its name, and not with whatever else.
    let accept_logout = if wish == Wish::Compromised { said.confirm.is_some() } else { said.accept_logout };
    let order = Order { wish, accept_logout, take_over: said.take_over, reason: said.reason };
    Ok(RotateAsked { order, supplied, dry_run: said.dry_run })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Result<RotateAsked, Problem> {
        understood(&Key::new("JWT_SECRET").unwrap(), body.as_bytes())
    }

    #[test]
    fn a_leaked_key_is_given_up_only_by_its_name() {
        for (body, accepts) in [
            (r#"{"wish":"compromised"}"#, false),
            (r#"{"wish":"compromised","accept_logout":true}"#, false),
            (r#"{"wish":"compromised","confirm":"JWT_SECRET"}"#, true),
            (r#"{"confirm":"JWT_SECRET"}"#, false),
            (r#"{"accept_logout":true}"#, true),
            ("", false),
            ("{}", false),
        ] {
            assert_eq!(asked(body).unwrap().order.accept_logout, accepts, "{body}");
        }
        assert_eq!(asked(r#"{"wish":"compromised","confirm":"JWT"}"#).unwrap_err().status, 409);
    }

    #[test]
    fn nothing_of_what_was_sent_is_repeated() {
        for body in [
            r#"{"value":"canary","valu":1}"#,
            r#"{"value":["canary"]}"#,
            r#"{"value":{"canary":1}}"#,
            r#"{"wish":"canary"}"#,
            r#"{"canary":true}"#,
            r#"{"value":"canary\u0000"}"#,
            r#"{"value":"canary","reason":"two\nlines"}"#,
            r#"{"value":"canary","confirm":"canary"}"#,
            r#""canary""#,
            "canary",
        ] {
            let problem = asked(body).map(|_| ()).unwrap_err();
            assert!(!format!("{problem:?}").contains("canary"), "{problem:?}");
        }
        assert!(asked(r#"{"value":""}"#).is_err());
        let taken = asked(r#"{"value":"a\"\\\né"}"#).unwrap();
        assert_eq!(taken.supplied.unwrap().expose(), "a\"\\\né");
        assert!(!format!("{:?}", asked(r#"{"value":"canary"}"#).unwrap()).contains("canary"));
    }

    #[test]
    fn each_refusal_has_its_place_in_the_list() {
        assert!(REFUSALS.is_sorted());
        let distinct: BTreeSet<&str> = REFUSALS.into_iter().collect();
        assert_eq!(distinct.len(), REFUSALS.len());
    }
}
