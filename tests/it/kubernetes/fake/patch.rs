//! Patches: JSON (RFC 6902), merge (RFC 7386), and strategic merge where that is
//! the same: objects without lists that are merged by a key.

use serde_json::{Value, json};

use super::status::Status;

pub(super) fn patched(old: &Value, media: &str, patch: &Value) -> Result<Value, Status> {
    match media.split(';').next().unwrap_or_default().trim() {
        "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            let mut new = old.clone();
            merge(&mut new, patch);
            Ok(new)
        }
        "application/json-patch+json" => {
            let mut new = old.clone();
            for operation in patch.as_array().into_iter().flatten() {
                apply(&mut new, operation).ok_or_else(|| {
                    let message = "the server rejected our request due to an error in our request";
                    Status::new(422, "Invalid", message, json!({}))
                })?;
            }
            Ok(new)
        }
        _ => Err(Status::new(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            json!({}),
        )),
    }
}

fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    let object = into.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            object.remove(name);
        } else {
            merge(object.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// One operation; `None` where it cannot be done.
fn apply(document: &mut Value, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?;
    let (parent, name) = path.rsplit_once('/')?;
    let name = name.replace("~1", "/").replace("~0", "~");
    match operation["op"].as_str()? {
        "test" => (document.pointer(path)? == &operation["value"]).then_some(()),
        "add" => {
            let parent = document.pointer_mut(parent)?;
            match parent {
                Value::Object(object) => drop(object.insert(name, operation["value"].clone())),
                Value::Array(array) if name == "-" => array.push(operation["value"].clone()),
                Value::Array(array) => {
                    let at: usize = name.parse().ok().filter(|at| *at <= array.len())?;
                    array.insert(at, operation["value"].clone());
                }
                _ => return None,
            }
            Some(())
        }
        "replace" => {
            *document.pointer_mut(path)? = operation["value"].clone();
            Some(())
        }
        "remove" => match document.pointer_mut(parent)? {
            Value::Object(object) => object.remove(&name).map(drop),
            Value::Array(array) => {
                let at: usize = name.parse().ok().filter(|at| *at < array.len())?;
                array.remove(at);
                Some(())
            }
            _ => None,
        },
        _ => None,
    }
}
