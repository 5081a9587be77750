//! A JSON Schema (draft 2020-12) of the configuration: an object of strings,
//! which is what `render --format json` prints.
//!
//! Invariant: it never refuses what the schema accepts. Where JSON Schema
//! cannot say a constraint exactly (bytes, spans of time, patterns in Rust's
//! own syntax), it says less, and the description says the rest.

use serde_json::{Map, Value, json};

use super::words::{how_to_get, inner_pattern, one_line, sentence, type_phrase};
use crate::model::key::Key;
use crate::model::schema::kind::{Dialect, Kind};
use crate::model::schema::{Presence, Schema, Var};

/// Go's `time.ParseDuration`.
const GO_DURATION: &str = "^[+-]?(0|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$";

/// The JSON Schema of what the schema describes. Replaced and retired names are
/// not part of it: they are never delivered.
pub fn json_schema(schema: &Schema) -> Value {
    let mut properties: Map<String, Value> =
        schema.vars.iter().map(|var| (var.key.to_string(), property(schema, var))).collect();
    // It is set even where the schema does not declare it.
    properties
        .entry(schema.environments.variable.as_str())
        .or_insert_with(|| json!({ "type": "string", "enum": schema.environments.names }));
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Configuration of {}", schema.name),
        "description": format!(
            "What {} reads from its environment, as strings. Empty is unset.",
            one_line(&schema.program)
        ),
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    let always = names(schema.vars.iter().filter(|var| var.presence == Presence::Always).map(|var| &var.key));
    set(&mut root, "required", always);
    set(&mut root, "dependentRequired", together(schema));
    set(&mut root, "allOf", by_environment(schema));
    root
}

fn property(schema: &Schema, var: &Var) -> Value {
    let mut property = Map::new();
    property.insert("type".into(), "string".into());
    property.insert("description".into(), description(schema, var).into());
    if var.secret {
        property.insert("writeOnly".into(), true.into());
    }
    // Bytes are at least characters, and at most four of them make one.
    property.insert("minLength".into(), var.min_bytes.map_or(1, |min| min.div_ceil(4).max(1)).into());
    if let Some(max) = var.max_bytes {
        property.insert("maxLength".into(), max.into());
    }
    if let Some(default) = &var.default {
        property.insert("default".into(), (**default).into());
    }
    if let Some(example) = var.example.as_ref().filter(|_| !var.secret) {
        property.insert("examples".into(), json!([example]));
    }
    if let Kind::Enum { values } = &var.kind {
        property.insert("enum".into(), json!(values));
    }
    if let Some((key, value)) = annotation(&var.kind) {
        property.insert(key.into(), value.into());
    }
    let patterns = [kind_pattern(&var.kind, var.dialect).map(str::to_owned), own_pattern(var)];
    let mut patterns: Vec<String> = patterns.into_iter().flatten().collect();
    match patterns.len() {
        0 => {}
        1 => {
            property.insert("pattern".into(), patterns.remove(0).into());
        }
        _ => {
            let all: Vec<Value> = patterns.iter().map(|pattern| json!({ "pattern": pattern })).collect();
            property.insert("allOf".into(), all.into());
        }
    }
    Value::Object(property)
}

fn description(schema: &Schema, var: &Var) -> String {
    let mut parts = Vec::new();
    if let Some(description) = &var.description {
        parts.push(sentence(description));
    }
    parts.push(sentence(&format!("Type: {}", type_phrase(var))));
    if !var.services.is_empty() {
        parts.push(sentence(&format!("Read by {}", var.services.join(", "))));
    }
    if let Some(fallback) = &var.fallback {
        parts.push(sentence(&format!("Unset: {} uses {fallback}", schema.program)));
    }
    if var.secret && var.implied_by.is_none() {
        parts.push(sentence(&format!("To get one: {}", how_to_get(var))));
    }
    parts.join(" ")
}

/// What only annotates in JSON Schema, so it may be said freely.
fn annotation(kind: &Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::Url { .. } | Kind::Dsn { .. } => Some(("format", "uri")),
        Kind::Email => Some(("format", "email")),
        Kind::Uuid => Some(("format", "uuid")),
        Kind::Json => Some(("contentMediaType", "application/json")),
        Kind::Base64 => Some(("contentEncoding", "base64")),
        Kind::PemCertificate | Kind::PemPrivateKey => Some(("contentMediaType", "application/x-pem-file")),
        _ => None,
    }
}

fn kind_pattern(kind: &Kind, dialect: Dialect) -> Option<&'static str> {
    match (kind, dialect) {
        (Kind::Int { .. } | Kind::Port, _) | (Kind::Duration { .. }, Dialect::Seconds) => {
            Some("^[+-]?[0-9]+$")
        }
        (Kind::Bool, _) => Some("^(1|t|T|true|TRUE|True|0|f|F|false|FALSE|False)$"),
        (Kind::Duration { .. }, Dialect::Go) => Some(GO_DURATION),
        (Kind::Duration { .. }, Dialect::Iso8601) => Some("^[+-]?P"),
        _ => None,
    }
}

/// The variable's own pattern, where ECMA 262 reads it as Rust does.
fn own_pattern(var: &Var) -> Option<String> {
    let inner = inner_pattern(var.pattern.as_ref()?);
    portable(inner).then(|| format!("^(?:{inner})$"))
}

/// Whether a pattern uses only what Rust's and ECMA's engines agree on: no
/// flags or named groups, no set operations or POSIX classes, no escapes but
/// of punctuation and `\d`, `\s`, `\w`, `\b`.
fn portable(pattern: &str) -> bool {
    let escapes = pattern.split('\\').skip(1).filter_map(|rest| rest.chars().next());
    // A doubled backslash splits into an empty piece, which is skipped above.
    let plain_escapes = escapes.into_iter().all(|c| c.is_ascii_punctuation() || "dswb".contains(c));
    let groups = pattern.match_indices("(?").all(|(at, _)| pattern.get(at..at + 3) == Some("(?:"));
    let sets = ["[[", "[]", "[^]", "&&", "--", "~~"].iter().any(|operation| pattern.contains(operation));
    plain_escapes && groups && !sets
}

/// `all_or_none` of the groups: each member asks for the others.
fn together(schema: &Schema) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for group in &schema.groups {
        // Defaults are delivered, so a member with one is there in any case.
        let has_default = |key: &Key| schema.var(key).is_some_and(|var| var.default.is_some());
        for key in group.all_or_none.iter().filter(|key| !has_default(key)) {
            let others = group.all_or_none.iter().filter(|other| *other != key && !has_default(other));
            let entry = all.entry(key.to_string()).or_insert_with(|| json!([]));
            if let Value::Array(list) = entry {
                for other in others.map(|other| Value::from(other.as_str())) {
                    if !list.contains(&other) {
                        list.push(other);
                    }
                }
            }
        }
    }
    all.into()
}

/// What one environment requires, where the configuration says which it is.
fn by_environment(schema: &Schema) -> Value {
    let variable = schema.environments.variable.as_str();
    let mut cases = Vec::new();
    for environment in &schema.environments.names {
        let required = schema.vars.iter().filter(
            |var| matches!(&var.presence, Presence::In(names) if names.iter().any(|name| name == environment)),
        );
        let required = names(required.map(|var| &var.key));
        if required.as_array().is_some_and(|list| !list.is_empty()) {
            cases.push(json!({
                "if": { "properties": { variable: { "const": environment } }, "required": [variable] },
                "then": { "required": required },
            }));
        }
    }
    cases.into()
}

fn names<'k>(keys: impl Iterator<Item = &'k Key>) -> Value {
    keys.map(|key| Value::from(key.as_str())).collect::<Vec<_>>().into()
}

/// Sets a keyword, unless it would say nothing.
fn set(root: &mut Value, keyword: &str, value: Value) {
    let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
    if let (false, Value::Object(root)) = (empty, root) {
        root.insert(keyword.to_owned(), value);
    }
}
