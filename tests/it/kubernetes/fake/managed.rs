//! `managedFields`: who set what. Clients see them in every object, also where
//! they asked for metadata only; they hold names of keys, never values.

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// Parts whose keys have an owner each.
const MAPS: [&str; 3] = ["data", "binaryData", "spec"];

/// The fields that an object has: `f:data`, its keys, and the rest.
fn fields(object: &Value) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in object.as_object().unwrap() {
        match name.as_str() {
            "kind" | "apiVersion" | "metadata" => {}
            map if MAPS.contains(&map) => {
                let keys = value.as_object().into_iter().flat_map(Map::keys);
                let mut inner: Map<String, Value> = keys.map(|key| (format!("f:{key}"), json!({}))).collect();
                if map != "spec" {
                    inner.insert(".".into(), json!({}));
                }
                fields.insert(format!("f:{map}"), Value::Object(inner));
            }
            other => drop(fields.insert(format!("f:{other}"), json!({}))),
        }
    }
    let mut metadata = Map::new();
    for name in ["annotations", "labels"] {
        if let Some(Value::Object(map)) = object["metadata"].get(name) {
            let mut inner: Map<String, Value> =
                map.keys().map(|key| (format!("f:{key}"), json!({}))).collect();
            inner.insert(".".into(), json!({}));
            metadata.insert(format!("f:{name}"), Value::Object(inner));
        }
    }
    if !metadata.is_empty() {
        fields.insert("f:metadata".into(), Value::Object(metadata));
    }
    fields
}

fn entry(kind: &Kind, manager: &str, time: &str, fields: &Map<String, Value>) -> Value {
    json!({
        "manager": manager, "operation": "Update", "apiVersion": kind.api_version(), "time": time,
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    })
}

pub(super) fn new_managers(kind: &Kind, object: &Value, manager: &str, time: &str) -> Value {
    json!([entry(kind, manager, time, &fields(object))])
}

/// What the manager changed is its own from now on.
pub(super) fn merge_managers(kind: &Kind, old: &Value, new: &Value, manager: &str, time: &str) -> Value {
    let mut own = changed(old, new);
    let mut entries = Vec::new();
    for other in old["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let mut other = other.clone();
        let is_own = other["manager"] == manager;
        let theirs = other["fieldsV1"].as_object_mut().unwrap();
        if is_own {
            own = unite(std::mem::take(theirs), own);
            continue;
        }
        take_away(theirs, &own);
        entries.push(other);
    }
    entries.push(entry(kind, manager, time, &own));
    entries.sort_by_key(|entry| {
        (entry["time"].as_str().map(str::to_owned), entry["manager"].as_str().map(str::to_owned))
    });
    Value::Array(entries)
}

/// The fields whose values differ.
fn changed(old: &Value, new: &Value) -> Map<String, Value> {
    let (before, mut after) = (fields(old), fields(new));
    after.retain(|part, inner| {
        let name = part.trim_start_matches("f:");
        if part == "f:metadata" {
            inner.as_object_mut().unwrap().retain(|part, keys| {
                let name = part.trim_start_matches("f:");
                let had = before.get("f:metadata").and_then(|metadata| metadata.get(part)).is_some();
                differing(keys, &old["metadata"][name], &new["metadata"][name], had)
            });
            return inner.as_object().is_some_and(|inner| !inner.is_empty());
        }
        if MAPS.contains(&name) {
            return differing(inner, &old[name], &new[name], before.contains_key(part));
        }
        old[name] != new[name]
    });
    after
}

fn differing(keys: &mut Value, old: &Value, new: &Value, had: bool) -> bool {
    let keys = keys.as_object_mut().unwrap();
    keys.retain(|key, _| match key.strip_prefix("f:") {
        Some(key) => old[key] != new[key],
        None => !had,
    });
    !keys.is_empty()
}

fn take_away(theirs: &mut Map<String, Value>, own: &Map<String, Value>) {
    for (name, inner) in own {
        let Some(their) = theirs.get_mut(name).and_then(Value::as_object_mut) else { continue };
        for (key, deeper) in inner.as_object().unwrap() {
            match (their.get_mut(key).and_then(Value::as_object_mut), deeper.as_object()) {
                (Some(map), Some(deeper)) if !deeper.is_empty() => {
                    map.retain(|key, _| !deeper.contains_key(key));
                }
                _ => drop(their.remove(key)),
            }
        }
        // Of a part that has lost every key, its dot goes too.
        if their.keys().all(|key| key == ".") {
            their.clear();
        }
    }
}

fn unite(mut theirs: Map<String, Value>, own: Map<String, Value>) -> Map<String, Value> {
    for (name, inner) in own {
        match (theirs.get_mut(&name).and_then(Value::as_object_mut), inner) {
            (Some(their), Value::Object(inner)) => their.extend(inner),
            (_, inner) => drop(theirs.insert(name, inner)),
        }
    }
    theirs
}
