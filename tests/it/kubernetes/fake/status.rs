//! `Status` documents, worded as a real API server words them: each text is one
//! of a recording, or of a server's source where no recording has it.

use serde_json::{Value, json};

use super::kinds::Kind;

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Status {
    pub(super) fn new(code: u16, reason: &str, message: &str, details: Value) -> Self {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "code": code,
        });
        body["details"] = details;
        let document = body.as_object_mut().unwrap();
        // What is empty is left out, as Go's `omitempty` does.
        document.retain(|name, value| !value.is_null() && (name != "reason" || value != ""));
        Self { code, body }
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.group_resource());
        Self::new(404, "NotFound", &message, kind.details(name))
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource", json!({}))
    }

    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.group_resource());
        Self::new(409, "AlreadyExists", &message, kind.details(name))
    }

    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.group_resource());
        Self::new(409, "Conflict", &message, kind.details(name))
    }

    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// One cause: its reason, its message and its field.
    pub(super) fn invalid(kind: &Kind, name: &str, reason: &str, message: &str, field: &str) -> Self {
        let mut details = json!({
            "name": name, "group": kind.group, "kind": kind.title,
            "causes": [{ "reason": reason, "message": message, "field": field }],
        });
        details.as_object_mut().unwrap().retain(|_, value| value != "");
        let message = format!("{} \"{name}\" is invalid: {field}: {message}", kind.group_kind());
        Self::new(422, "Invalid", &message, details)
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(400, "BadRequest", message, Value::Null)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", Value::Null)
    }

    pub(super) fn expired(message: &str) -> Self {
        Self::new(410, "Expired", message, Value::Null)
    }

    /// A list asks for a version that is not there yet.
    pub(super) fn from_the_future(wanted: u64, current: u64) -> Self {
        let cause = json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
        let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
        Self::new(504, "Timeout", &message, json!({ "causes": [cause], "retryAfterSeconds": 1 }))
    }

    /// What something before or within the server says when it fails.
    pub(super) fn failing(code: u16) -> Self {
        let (reason, message) = match code {
            500 => ("InternalError", "Internal error occurred: etcdserver: request timed out"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            504 => ("Timeout", "Timeout: request did not complete within the allotted timeout"),
            _ => ("", "an error on the server has prevented the request from succeeding"),
        };
        Self::new(code, reason, message, Value::Null)
    }
}
