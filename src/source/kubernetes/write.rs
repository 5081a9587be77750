//! Writing a Secret: one JSON patch, which tests the version that was read.
//!
//! Invariants: keys that are not named stay as they are, byte for byte; what somebody else
//! wrote meanwhile is never written over, nor what a controller writes again, unless
//! somebody takes that over by name; nothing that the server says is repeated.
//! Must not know: what a rotation is about to do.

use std::io::{self, Write};
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde::{Deserialize, Serialize, Serializer};

use super::data::Stored;
use super::owner::Traces;
use super::{KubernetesSource, Slot as Tracked, layer};
use crate::kubernetes::{Kind, Meta, Names, Object, Said, Shape, Trouble, Verb, Why, missing};
use crate::model::key::Key;
use crate::model::origin::Revision;
use crate::model::rotation::{FIELD, Slot};
use crate::model::secret::SecretValue;
use crate::source::writable::{Change, Document, WritableSource, WriteError, WriteErrorKind};

#[async_trait]
impl WritableSource for KubernetesSource {
    async fn open(&self, owner: &Key) -> Result<Document, WriteError> {
        let (tracked, field) = self.giver(owner)?;
        let place = layer::place(&self.shared, &tracked.tracked());
        let spec = tracked.tracked().spec.clone();
        if spec.kind != Kind::Secret {
            return Err(WriteError {
                kind: WriteErrorKind::Refused,
                message: format!("{place} gives {owner}, and only Secrets are written"),
                help: "move it into a Secret".into(),
            });
        }
        let object = self.shared.object(tracked).await.map_err(|trouble| self.of_server(&trouble))?;
        let asked = self.shared.client.ask_dated(Said::get(object.path(), Shape::Whole)).await;
        let (stored, server_time): (Stored, _) = match asked {
            Ok(stored) => stored,
            Err(trouble) => return Err(self.failed(&object, &place, Verb::Get, &trouble).await),
        };
        if !stored.is(&object) {
            return Err(self.of_server(&Why::NotTheApi.into()));
        }
        if stored.immutable == Some(true) {
            return Err(immutable(&place));
        }
        let unusable = |message: String, help: &str| WriteError {
            kind: WriteErrorKind::Unusable,
            message,
            help: help.into(),
        };
        let is_of_it = |name: &String| Slot::of_field(&field, name).is_some();
        if let Some(name) = spec.base64.iter().find(|name| is_of_it(name)) {
            return Err(WriteError {
                kind: WriteErrorKind::Refused,
                message: format!("{place}#{name} is taken in base64, and what is rotated is text"),
                help: "store text, and leave it out of `base64`".into(),
            });
        }
        let ledger = stored.ledger().map_err(|error| {
            let message = format!("{place}#{FIELD} cannot be used: {error}");
            unusable(message, "use the release that wrote it; or remove the key, if no rotation is under way")
        })?;
        let values = stored.slots(&field).map_err(|name| {
            unusable(format!("{place}#{name} holds bytes that are no UTF-8 text"), "store text")
        })?;
        if !values.contains_key(&Slot::Current) {
            let message = format!("{place} has no value for {owner} any more");
            return Err(unusable(message, "see who removed it"));
        }
        Ok(Document {
            revision: Revision(stored.metadata.resource_version.clone()),
            place,
            field,
            values,
            ledger: ledger.unwrap_or_default(),
            server_time,
        })
    }

    async fn write(&self, document: &Document, change: &Change) -> Result<Revision, WriteError> {
        let place = &document.place;
        let tracked = self.of_place(place)?;
        let object = self.shared.object(tracked).await.map_err(|trouble| self.of_server(&trouble))?;
        let asked = self.shared.client.ask(Said::get(object.path(), Shape::Whole)).await;
        let there: There = match asked {
            Ok(there) => there,
            Err(trouble) => return Err(self.failed(&object, place, Verb::Get, &trouble).await),
        };
        if !there.is(&object) {
            return Err(self.of_server(&Why::NotTheApi.into()));
        }
        if there.metadata.resource_version != document.revision.0 {
            return Err(conflict(place));
        }
        if there.immutable == Some(true) {
            return Err(immutable(place));
        }
        let patch = Patch::of(document, change, &there);
        if !change.progress.take_over
            && let Some(owner) = there.metadata.traces.owner(patch.keys())
        {
            return Err(owned(place, &owner));
        }
        let said = Said {
            method: Method::PATCH,
            target: object.path(),
            // The answer without the values.
            shape: Shape::Meta,
            body: patch.body(),
        };
        drop(patch);
        let written: Written = match self.shared.client.ask(said).await {
            Ok(written) => written,
            Err(trouble) if trouble.why == Why::Invalid => {
                return Err(self.refused_or_late(&object, document).await);
            }
            Err(trouble) => return Err(self.failed(&object, place, Verb::Patch, &trouble).await),
        };
        // What was just written is read before a watch can tell of it.
        if self.shared.read(tracked).await {
            self.shared.moved.notify_one();
        }
        Ok(Revision(written.metadata.resource_version))
    }

    async fn before(&self, _: &Document, _: &Key) -> Result<Option<Document>, WriteError> {
        // The API server keeps no versions.
        Ok(None)
    }
}

impl KubernetesSource {
    /// The object that gives a variable, by what was read last, and the key of it.
    fn giver(&self, owner: &Key) -> Result<(&Tracked, Box<str>), WriteError> {
        // Of one name, the later object wins.
        let given = self.shared.objects.iter().rev().find_map(|object| {
            let tracked = object.tracked();
            let fields = &tracked.held.as_ref()?.given.taken.fields;
            let field = fields.iter().find(|field| field.key == *owner)?;
            Some((object, field.name.clone()))
        });
        given.ok_or_else(|| WriteError {
            kind: WriteErrorKind::Unusable,
            message: format!("no object of source {} gives {owner}", self.name.as_str()),
            help: format!("write a first {owner} there"),
        })
    }

    fn of_place(&self, place: &str) -> Result<&Tracked, WriteError> {
        let is_it = |object: &&Tracked| *layer::place(&self.shared, &object.tracked()) == *place;
        self.shared.objects.iter().find(is_it).ok_or_else(|| WriteError {
            kind: WriteErrorKind::Unusable,
            message: format!("{place} is no object of source {}", self.name.as_str()),
            help: "read it again".into(),
        })
    }

    /// Why an exchange about an object came to nothing.
    async fn failed(&self, object: &Object, place: &str, verb: Verb, trouble: &Trouble) -> WriteError {
        match trouble.why {
            Why::Conflict => conflict(place),
            Why::NotFound => WriteError {
                kind: WriteErrorKind::Unusable,
                message: format!("{place} is not there"),
                help: Why::NotFound.help(),
            },
            Why::Forbidden => {
                // Who may, and is refused all the same, is refused by a policy.
                let lacks = missing(&self.shared.client, object, &[verb]).await;
                let (message, help) = if lacks.is_ok_and(|lacks| lacks.is_empty()) {
                    let message =
                        format!("the API server refuses to {} {place}, which we may", verb.as_str());
                    (message, "see the cluster's admission policies and webhooks")
                } else {
                    let message = format!("we may not {} {place}", verb.as_str());
                    (message, "`dlconf rbac --rotate` prints the Role that rotation needs")
                };
                WriteError { kind: WriteErrorKind::Refused, message, help: help.into() }
            }
            _ => self.of_server(trouble),
        }
    }

    /// Why the server could not be asked.
    fn of_server(&self, Trouble { why, .. }: &Trouble) -> WriteError {
        let kind = match why {
            Why::Access(_)
            | Why::Unauthorized
            | Why::Redirect(_)
            | Why::Rejected(_)
            | Why::Invalid
            | Why::TooLarge => WriteErrorKind::Refused,
            Why::Network(what) if !what.passes() => WriteErrorKind::Refused,
            _ => WriteErrorKind::Unavailable,
        };
        let message = match why {
            Why::Access(misfit) => misfit.message.clone(),
            why => format!("{} {why}", self.shared.client.label()),
        };
        WriteError { kind, message, help: why.help() }
    }

    /// A patch was refused as invalid (422): a test of it failed, since somebody was
    /// quicker, or what it makes is not permitted. The answer does not tell which.
    async fn refused_or_late(&self, object: &Object, document: &Document) -> WriteError {
        let place = &document.place;
        match self.shared.client.ask::<Written>(Said::get(object.path(), Shape::Meta)).await {
            Ok(there) if there.metadata.resource_version != document.revision.0 => conflict(place),
            Ok(_) => WriteError {
                kind: WriteErrorKind::Refused,
                message: format!("the API server takes no such change of {place} (422)"),
                help: "see whether it is larger than 1 MiB then, and `kubectl describe` of it".into(),
            },
            Err(trouble) => self.failed(object, place, Verb::Get, &trouble).await,
        }
    }
}

fn conflict(place: &str) -> WriteError {
    WriteError {
        kind: WriteErrorKind::Conflict,
        message: format!("{place} was changed since it was read"),
        help: "it is read again".into(),
    }
}

fn immutable(place: &str) -> WriteError {
    WriteError {
        kind: WriteErrorKind::Refused,
        message: format!("{place} is immutable"),
        help: "make a Secret without `immutable: true` in its place".into(),
    }
}

fn owned(place: &str, owner: &str) -> WriteError {
    WriteError {
        kind: WriteErrorKind::Owned,
        message: format!("{place} belongs to {owner}"),
        help: "rotate it there; `--take-over` writes it all the same, until its owner writes over it".into(),
    }
}

/// What has to be known of an object to change it: no value.
#[derive(Deserialize)]
struct There {
    #[serde(default)]
    kind: Box<str>,
    metadata: Head,
    #[serde(default)]
    data: Names,
    #[serde(default)]
    immutable: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    uid: Box<str>,
    resource_version: Box<str>,
    #[serde(flatten)]
    traces: Traces,
}

impl There {
    fn is(&self, object: &Object) -> bool {
        *self.kind == *object.kind.title() && *self.metadata.name == *object.name.as_str()
    }

    fn has(&self, key: &str) -> bool {
        self.data.has(key)
    }
}

#[derive(Deserialize)]
struct Written {
    metadata: Meta,
}

/// A JSON patch (RFC 6902).
struct Patch {
    /// That it is the object that was read, in the version that was read.
    tests: [Operation; 2],
    changes: Vec<(Box<str>, Operation)>,
}

/// One operation of it.
#[derive(Serialize)]
struct Operation {
    op: &'static str,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    value: Option<SecretValue>,
}

#[allow(clippy::ref_option, reason = "serde gives it so")]
fn exposed<S: Serializer>(value: &Option<SecretValue>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.as_ref().map_or("", SecretValue::expose))
}

impl Operation {
    fn test(path: &str, value: &str) -> Self {
        Self { op: "test", path: path.to_owned(), value: Some(value.into()) }
    }
}

impl Patch {
    fn of(document: &Document, change: &Change, there: &There) -> Self {
        let state = document.ledger.clone().with(&document.field, change.progress.clone()).to_text();
        let state = Arc::new(SecretValue::new(state));
        let set = change.set.iter().map(|(slot, value)| (slot.field(&document.field), value));
        let set = set.chain([(FIELD.to_owned(), &state)]).map(|(key, value)| {
            let op = if there.has(&key) { "replace" } else { "add" };
            let value = Some(SecretValue::new(STANDARD.encode(value.expose())));
            let operation = Operation { op, path: pointer(&key), value };
            (key.into(), operation)
        });
        let gone = change.remove.iter().map(|slot| slot.field(&document.field));
        let gone = gone.filter(|key| there.has(key)).map(|key| {
            let operation = Operation { op: "remove", path: pointer(&key), value: None };
            (key.into(), operation)
        });
        let tests = [
            Operation::test("/metadata/uid", &there.metadata.uid),
            Operation::test("/metadata/resourceVersion", &there.metadata.resource_version),
        ];
        Self { tests, changes: set.chain(gone).collect() }
    }

    /// The keys that it changes.
    fn keys(&self) -> impl Iterator<Item = &str> {
        self.changes.iter().map(|(key, _)| &**key)
    }

    /// Its text, in a buffer that never moves: it holds values.
    fn body(&self) -> Option<Vec<u8>> {
        let operations: Vec<&Operation> =
            self.tests.iter().chain(self.changes.iter().map(|(_, operation)| operation)).collect();
        let mut length = Length(0);
        serde_json::to_writer(&mut length, &operations).ok()?;
        let mut body = Vec::with_capacity(length.0);
        serde_json::to_writer(&mut body, &operations).ok()?;
        Some(body)
    }
}

/// Where a key of a Secret is, as a JSON pointer.
fn pointer(key: &str) -> String {
    format!("/data/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::rotation::{Ledger, Phase, Progress};

    fn there() -> There {
        serde_json::from_value(json!({
            "kind": "Secret",
            "metadata": { "name": "app", "uid": "u", "resourceVersion": "7" },
            "data": { "TOKEN": "YQ==", "TOKEN_PREVIOUS": "Yg==", "OTHER": "Yw==" },
        }))
        .unwrap()
    }

    fn document() -> Document {
        Document {
            place: "k8s:shop/secret/app".into(),
            revision: Revision("7".into()),
            field: "TOKEN".into(),
            values: BTreeMap::new(),
            ledger: Ledger::default(),
            server_time: None,
        }
    }

    #[test]
    fn a_patch_tests_first_and_changes_what_is_named() {
        let change = Change {
            set: vec![(Slot::Current, Arc::new("new".into())), (Slot::Next, Arc::new("n\"e\u{e9}".into()))],
            remove: vec![Slot::Previous, Slot::Numbered(3)],
            progress: Progress { phase: Phase::Staged, ..Progress::default() },
        };
        let patch = Patch::of(&document(), &change, &there());
        let body = patch.body().unwrap();
        assert_eq!(body.len(), body.capacity(), "it was never moved");
        let operations: Vec<Value> = serde_json::from_slice(&body).unwrap();
        let told: Vec<String> = operations
            .iter()
            .map(|operation| {
                format!("{} {}", operation["op"].as_str().unwrap(), operation["path"].as_str().unwrap())
            })
            .collect();
        assert_eq!(
            told,
            [
                "test /metadata/uid",
                "test /metadata/resourceVersion",
                "replace /data/TOKEN",
                "add /data/TOKEN_NEXT",
                "add /data/DLCONF_STATE",
                "remove /data/TOKEN_PREVIOUS",
            ]
        );
        assert_eq!((&operations[0]["value"], &operations[1]["value"]), (&json!("u"), &json!("7")));
        let text = |at: usize| {
            let encoded = operations[at]["value"].as_str().unwrap();
            String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap()
        };
        assert_eq!((text(2).as_str(), text(3).as_str()), ("new", "n\"e\u{e9}"));
        assert_eq!(Ledger::parse(&text(4)).unwrap().of("TOKEN").unwrap().phase, Phase::Staged);
        assert_eq!(operations[5].get("value"), None);
    }

    #[test]
    fn a_key_is_escaped_in_a_pointer() {
        assert_eq!(pointer("a/b~c.d-E_1"), "/data/a~1b~0c.d-E_1");
    }
}
