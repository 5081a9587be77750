//! What an API server takes, and what it refuses with 400 or 422.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::status::Status;

/// The most that a Secret's or ConfigMap's values may be together.
const MOST: usize = 1 << 20;

/// An object as it is kept, of one as it is sent.
pub(super) fn prepare(kind: &Kind, name: &str, mut object: Value) -> Result<Value, Status> {
    let Some(document) = object.as_object_mut() else {
        return Err(Status::bad_request("the object provided is unrecognized (must be of type object)"));
    };
    document.insert("kind".into(), json!(kind.title));
    document.insert("apiVersion".into(), json!(kind.api_version()));
    let metadata = document.entry("metadata").or_insert_with(|| json!({}));
    metadata["name"] = json!(name);
    if let Some(metadata) = metadata.as_object_mut() {
        for part in ["labels", "annotations"] {
            if metadata.get(part).is_some_and(|part| part.as_object().is_none_or(Map::is_empty)) {
                metadata.remove(part);
            }
        }
    }
    match kind.resource {
        "secrets" => secret(kind, name, document)?,
        "configmaps" => config_map(kind, name, document)?,
        "leases" => lease(kind, name, document)?,
        _ => {}
    }
    Ok(object)
}

fn secret(kind: &Kind, name: &str, document: &mut Map<String, Value>) -> Result<(), Status> {
    let mut data = Map::new();
    for (key, value) in document.get("data").and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().unwrap_or_default();
        if let Err(at) = decode(text) {
            let message = format!(
                "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte {at}"
            );
            return Err(Status::bad_request(&message));
        }
        data.insert(key.clone(), json!(text));
    }
    if let Some(Value::Object(texts)) = document.remove("stringData") {
        for (key, text) in texts {
            data.insert(key, json!(STANDARD.encode(text.as_str().unwrap_or_default())));
        }
    }
    check_keys(kind, name, data.keys())?;
    let bytes: usize =
        data.values().map(|value| decode(value.as_str().unwrap()).map_or(0, |b| b.len())).sum();
    too_long(kind, name, bytes, "data")?;
    if data.is_empty() {
        document.remove("data");
    } else {
        document.insert("data".into(), Value::Object(data));
    }
    document.entry("type").or_insert_with(|| json!("Opaque"));
    if document.get("immutable") == Some(&Value::Null) {
        document.remove("immutable");
    }
    Ok(())
}

/// Where Go's decoder finds the first byte that is none of base64.
fn decode(text: &str) -> Result<Vec<u8>, usize> {
    STANDARD.decode(text).map_err(|_| {
        let digit = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        text.find(|c| !digit(c)).unwrap_or(text.len())
    })
}

fn config_map(kind: &Kind, name: &str, document: &Map<String, Value>) -> Result<(), Status> {
    let mut bytes = 0;
    for part in ["data", "binaryData"] {
        let map = document.get(part).and_then(Value::as_object);
        check_keys(kind, name, map.into_iter().flat_map(Map::keys))?;
        bytes += map.into_iter().flat_map(Map::values).map(|v| v.as_str().map_or(0, str::len)).sum::<usize>();
    }
    too_long(kind, name, bytes, "")
}

fn check_keys<'a>(kind: &Kind, name: &str, keys: impl Iterator<Item = &'a String>) -> Result<(), Status> {
    for key in keys {
        let fine = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        if !fine {
            let message = format!(
                "Invalid value: \"{key}\": a valid config key must consist of alphanumeric characters, '-', '_' \
                 or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is \
                 '[-._a-zA-Z0-9]+')"
            );
            return Err(Status::invalid(kind, name, "FieldValueInvalid", &message, &format!("data[{key}]")));
        }
    }
    Ok(())
}

fn too_long(kind: &Kind, name: &str, bytes: usize, field: &str) -> Result<(), Status> {
    if bytes <= MOST {
        return Ok(());
    }
    let message = format!("Too long: may not be more than {MOST} bytes");
    Err(Status::invalid(kind, name, "FieldValueTooLong", &message, field))
}

fn lease(kind: &Kind, name: &str, document: &Map<String, Value>) -> Result<(), Status> {
    let spec = document.get("spec").cloned().unwrap_or_default();
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
        let message = format!("Invalid value: {}: must be greater than 0", spec["leaseDurationSeconds"]);
        return Err(Status::invalid(kind, name, "FieldValueInvalid", &message, "spec.leaseDurationSeconds"));
    }
    for field in ["acquireTime", "renewTime"] {
        let Some(time) = spec[field].as_str() else { continue };
        // Go's layout of a MicroTime wants six digits behind the point.
        let exact = time.len() == "2006-01-02T15:04:05.000000Z".len()
            && chrono::DateTime::parse_from_rfc3339(time).is_ok();
        if !exact {
            let message = format!(
                "Lease in version \"v1\" cannot be handled as a Lease: parsing time \"{time}\" as \
                 \"2006-01-02T15:04:05.000000Z07:00\""
            );
            return Err(Status::bad_request(&message));
        }
    }
    Ok(())
}

/// Whether the new object may follow the old one.
pub(super) fn compare(kind: &Kind, name: &str, old: &Value, new: &Value) -> Result<(), Status> {
    if !["secrets", "configmaps"].contains(&kind.resource) {
        return Ok(());
    }
    if old.get("type") != new.get("type") {
        let message = format!("Invalid value: {}: field is immutable", new["type"]);
        return Err(Status::invalid(kind, name, "FieldValueInvalid", &message, "type"));
    }
    if old["immutable"] == json!(true) {
        let message = "Forbidden: field is immutable when `immutable` is set";
        let refused = |field: &str| Err(Status::invalid(kind, name, "FieldValueForbidden", message, field));
        if new["immutable"] != json!(true) {
            return refused("immutable");
        }
        for field in ["data", "binaryData"] {
            if old.get(field) != new.get(field) {
                return refused(field);
            }
        }
    }
    Ok(())
}
