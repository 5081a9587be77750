//! The objects of a fake API server: one counter of versions, a history that
//! watches are served from, and the rules by which a change is taken or refused.
//!
//! It knows no HTTP and no rights.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::kinds::Kind;
use super::managed::{merge_managers, new_managers};
use super::rules;
use super::status::Status;

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) resource: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Id {
    pub(super) fn new(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self { resource: kind.resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(super) fn kind(&self) -> &'static Kind {
        Kind::of(self.resource)
    }
}

/// Something that happened.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) revision: u64,
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub(super) what: &'static str,
    pub(super) id: Id,
    pub(super) object: Arc<Value>,
}

/// Which objects a list or watch is about.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) resource: &'static str,
    /// Empty for all.
    pub(super) namespace: String,
    /// By field selector.
    pub(super) name: Option<String>,
}

impl Selection {
    fn has(&self, id: &Id) -> bool {
        self.resource == id.resource
            && (self.namespace.is_empty() || self.namespace == id.namespace)
            && self.name.as_ref().is_none_or(|name| *name == id.name)
    }
}

pub(super) struct Store {
    revision: u64,
    /// Watches from an older version are told that it is gone.
    compacted: u64,
    objects: BTreeMap<Id, Arc<Value>>,
    history: Vec<Change>,
    uids: u64,
}

impl Store {
    pub(super) fn new() -> Self {
        let uids = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
        Self { revision: 200, compacted: 0, objects: BTreeMap::new(), history: Vec::new(), uids }
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn compacted(&self) -> u64 {
        self.compacted
    }

    /// Something else in the cluster took these versions.
    pub(super) fn advance_to(&mut self, revision: u64) {
        assert!(revision >= self.revision, "versions never go back");
        self.revision = revision;
    }

    /// A backup of then is restored: the counter is back at an old value, and nothing
    /// remembers what came after it.
    pub(super) fn roll_back_to(&mut self, revision: u64) {
        self.revision = revision;
        self.history.retain(|change| change.revision <= revision);
        self.objects.clear();
        for change in &self.history {
            if change.what == "DELETED" {
                self.objects.remove(&change.id);
            } else {
                self.objects.insert(change.id.clone(), Arc::clone(&change.object));
            }
        }
    }

    /// Everything before now is forgotten, but for what still stands.
    pub(super) fn compact(&mut self) {
        self.compacted = self.revision;
        let objects = &self.objects;
        let stands = |change: &Change| {
            objects.get(&change.id).is_some_and(|object| Arc::ptr_eq(object, &change.object))
        };
        self.history.retain(stands);
    }

    pub(super) fn get(&self, id: &Id) -> Result<Arc<Value>, Status> {
        self.objects.get(id).cloned().ok_or_else(|| Status::not_found(id.kind(), &id.name))
    }

    pub(super) fn list(&self, selection: &Selection) -> Vec<(Id, Arc<Value>)> {
        // A name is looked up: 60,000 others cost nothing.
        if let (Some(name), false) = (&selection.name, selection.namespace.is_empty()) {
            let id = Id::new(Kind::of(selection.resource), &selection.namespace, name);
            return self
                .objects
                .get(&id)
                .map(|object| (id.clone(), Arc::clone(object)))
                .into_iter()
                .collect();
        }
        let chosen = self.objects.iter().filter(|(id, _)| selection.has(id));
        chosen.map(|(id, object)| (id.clone(), Arc::clone(object))).collect()
    }

    /// What a list showed at an older version.
    pub(super) fn list_at(&self, selection: &Selection, revision: u64) -> Vec<(Id, Arc<Value>)> {
        let mut then = BTreeMap::new();
        for change in &self.history {
            if change.revision > revision || !selection.has(&change.id) {
                continue;
            }
            if change.what == "DELETED" {
                then.remove(&change.id);
            } else {
                then.insert(change.id.clone(), Arc::clone(&change.object));
            }
        }
        then.into_iter().collect()
    }

    pub(super) fn since(&self, selection: &Selection, revision: u64) -> Vec<Change> {
        let first = self.history.partition_point(|change| change.revision <= revision);
        self.history[first..].iter().filter(|change| selection.has(&change.id)).cloned().collect()
    }

    fn put(&mut self, what: &'static str, id: Id, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        if what == "DELETED" {
            self.objects.remove(&id);
        } else {
            self.objects.insert(id.clone(), Arc::clone(&object));
        }
        let change = Change { revision: self.revision, what, id, object: Arc::clone(&object) };
        self.history.push(change);
        object
    }

    pub(super) fn create(&mut self, id: &Id, given: Value, manager: &str) -> Result<Arc<Value>, Status> {
        let kind = id.kind();
        if kind.namespaced && self.get(&Id::new(Kind::of("namespaces"), "", &id.namespace)).is_err() {
            return Err(Status::not_found(Kind::of("namespaces"), &id.namespace));
        }
        if given.pointer("/metadata/resourceVersion").and_then(Value::as_str).is_some_and(|v| !v.is_empty()) {
            let message = "resourceVersion should not be set on objects to be created";
            return Err(Status::bad_request(message));
        }
        let mut object = rules::prepare(kind, &id.name, given)?;
        if self.objects.contains_key(id) {
            return Err(Status::already_exists(kind, &id.name));
        }
        self.uids += 1;
        let metadata = object["metadata"].as_object_mut().unwrap();
        if kind.namespaced {
            metadata.insert("namespace".into(), json!(id.namespace));
        }
        let now = now();
        metadata.insert("uid".into(), json!(format!("34277e22-acb6-41e3-8ddd-{:012x}", self.uids)));
        metadata.insert("creationTimestamp".into(), json!(now));
        let managers = new_managers(kind, &object, manager, &now);
        object["metadata"]["managedFields"] = managers;
        Ok(self.put("ADDED", id.clone(), object))
    }

    /// `change` makes the new object of the current one. Equal content is no version.
    pub(super) fn update(
        &mut self,
        id: &Id,
        manager: &str,
        change: impl FnOnce(&Value) -> Result<Value, Status>,
    ) -> Result<Arc<Value>, Status> {
        let (kind, old) = (id.kind(), self.get(id)?);
        let mut object = rules::prepare(kind, &id.name, change(&old)?)?;
        let text =
            |document: &Value, path: &str| document.pointer(path).and_then(Value::as_str).map(str::to_owned);
        let version = text(&object, "/metadata/resourceVersion").unwrap_or_default();
        if version.is_empty() && kind.resource == "leases" {
            let message = "Invalid value: 0x0: must be specified for an update";
            return Err(Status::invalid(
                kind,
                &id.name,
                "FieldValueInvalid",
                message,
                "metadata.resourceVersion",
            ));
        }
        if !version.is_empty() && Some(version) != text(&old, "/metadata/resourceVersion") {
            return Err(Status::modified(kind, &id.name));
        }
        let uid = text(&object, "/metadata/uid");
        if uid.is_some() && uid != text(&old, "/metadata/uid") {
            let why = format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                uid.unwrap_or_default(),
                text(&old, "/metadata/uid").unwrap_or_default()
            );
            return Err(Status::conflict(kind, &id.name, &why));
        }
        rules::compare(kind, &id.name, &old, &object)?;
        for kept in ["namespace", "uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            if let Some(value) = old["metadata"].get(kept) {
                object["metadata"][kept] = value.clone();
            }
        }
        if object == *old {
            return Ok(old);
        }
        object["metadata"]["managedFields"] = merge_managers(kind, &old, &object, manager, &now());
        Ok(self.put("MODIFIED", id.clone(), object))
    }

    /// With the preconditions of a `DeleteOptions`.
    pub(super) fn delete(&mut self, id: &Id, options: &Value) -> Result<Value, Status> {
        let (kind, old) = (id.kind(), self.get(id)?);
        for (field, shown) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let Some(wanted) = options.pointer(&format!("/preconditions/{field}")).and_then(Value::as_str)
            else {
                continue;
            };
            let is = old["metadata"][field].as_str().unwrap();
            if wanted != is {
                let why = format!(
                    "Precondition failed: {shown} in precondition: {wanted}, {shown} in object meta: {is}"
                );
                return Err(Status::conflict(kind, &id.name, &why));
            }
        }
        if kind.resource == "namespaces" {
            let inside: Vec<Id> = self.objects.keys().filter(|i| i.namespace == id.name).cloned().collect();
            for id in inside {
                self.delete(&id, &Value::Null)?;
            }
        }
        let uid = old["metadata"]["uid"].clone();
        self.put("DELETED", id.clone(), (*old).clone());
        let mut details = kind.details(&id.name);
        details["uid"] = uid;
        Ok(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        }))
    }
}

/// As metadata writes it.
pub(super) fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    time_of(seconds)
}

pub(super) fn time_of(seconds: u64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds.try_into().unwrap(), 0).unwrap();
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
