//! What an API server answers: a request in, a reply out. It does no I/O; what
//! takes time is in the reply, and `wire` plays it.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::ask::Asked;
use super::kinds::{Kind, Place};
use super::patch::patched;
use super::rights::{AUDIENCE, Attempt, Tokens, User};
use super::status::Status;
use super::store::{Change, Id, Selection, Store, now, time_of};

/// What is played on the wire.
pub(super) enum Reply {
    Answer(Answer),
    Watch(Watch),
    /// Takes the request and says nothing.
    Never,
    /// The end of the connection instead of an answer, after a while.
    CloseAfter(Duration),
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(code: u16, body: &Value) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { code, headers, body: body.to_string().into_bytes() }
    }

    pub(super) fn text(code: u16, body: &str) -> Self {
        let headers = vec![
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
        ];
        Self { code, headers, body: body.into() }
    }

    /// 429, which is no `Status`.
    pub(super) fn too_many(seconds: u64) -> Self {
        let mut answer = Self::text(429, "Too many requests, please try again later.\n");
        answer.headers.push(("Retry-After", seconds.to_string()));
        answer
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        let mut answer = Self::json(status.code, &status.body);
        if status.code == 403 {
            answer.headers.push(("X-Content-Type-Options", "nosniff".to_owned()));
        }
        if let Some(seconds) = status.body.pointer("/details/retryAfterSeconds") {
            answer.headers.push(("Retry-After", seconds.to_string()));
        }
        answer
    }
}

/// A stream of events.
pub(super) struct Watch {
    pub(super) selection: Selection,
    /// Events after this version.
    pub(super) from: u64,
    /// Lines that come first.
    pub(super) first: Vec<Value>,
    /// Ends after these: an error was told.
    pub(super) over: bool,
    pub(super) bookmarks: bool,
    pub(super) partial: bool,
    pub(super) timeout: Option<Duration>,
}

impl Watch {
    pub(super) fn line(&self, change: &Change) -> Value {
        json!({ "type": change.what, "object": shown(&change.object, self.partial) })
    }

    pub(super) fn bookmark(&self, revision: u64) -> Value {
        let kind = Kind::of(self.selection.resource);
        let (kind, version) = if self.partial {
            ("PartialObjectMetadata", "meta.k8s.io/v1".to_owned())
        } else {
            (kind.title, kind.api_version())
        };
        json!({ "type": "BOOKMARK", "object": {
            "kind": kind, "apiVersion": version, "metadata": { "resourceVersion": revision.to_string() },
        }})
    }
}

pub(super) fn error_line(status: &Status) -> Value {
    json!({ "type": "ERROR", "object": status.body })
}

/// How a server of some version or in some state differs.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Streams lists at the start of a watch (1.32 and later).
    pub(super) initial_events: bool,
    pub(super) bookmarks: bool,
    /// Its etcd does not answer.
    pub(super) frozen: bool,
}

/// Everything that an answer is made from.
pub(super) struct Desk<'a> {
    pub(super) store: &'a mut Store,
    pub(super) tokens: &'a mut Tokens,
    pub(super) manner: &'a Manner,
    pub(super) user: User,
}

/// A whole object, or what of it is metadata.
fn shown(object: &Value, partial: bool) -> Value {
    if !partial {
        return object.clone();
    }
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

impl Desk<'_> {
    pub(super) fn reply(&mut self, asked: &Asked) -> Reply {
        self.route(asked).unwrap_or_else(|status| Reply::Answer(status.into()))
    }

    fn allow(&self, attempt: &Attempt<'_>) -> Result<(), Status> {
        attempt.allowed(self.store, &self.user).map(drop).ok_or_else(|| attempt.refusal(&self.user))
    }

    fn route(&mut self, asked: &Asked) -> Result<Reply, Status> {
        let review = |resource: &'static str, group: &'static str| Attempt {
            verb: "create",
            group,
            resource,
            namespace: "",
            name: "",
        };
        match Place::of(&asked.path) {
            Place::Nothing => Err(Status::no_such_path()),
            Place::Health => Ok(Reply::Answer(Answer::text(200, "ok"))),
            Place::Version => Ok(Reply::Answer(Answer::json(200, &version()))),
            Place::TokenReviews => {
                self.allow(&review("tokenreviews", "authentication.k8s.io"))?;
                self.token_review(asked)
            }
            // Everybody who is somebody may ask this.
            Place::SelfSubjectAccessReviews if self.user != User::Anonymous => self.access_review(asked),
            Place::SelfSubjectAccessReviews => {
                Err(review("selfsubjectaccessreviews", "authorization.k8s.io").refusal(&self.user))
            }
            Place::Objects { kind, namespace, name, part } => {
                let selected = asked.selected().map_err(|field| {
                    Status::bad_request(&format!(
                        "Unable to find {:?} that match label selector \"\", field selector {:?}: field label not supported: {field}",
                        format!("{}, Resource={}", kind.api_version(), kind.resource),
                        asked.query("fieldSelector").unwrap_or_default()
                    ))
                })?;
                let resource = if part.is_empty() {
                    kind.resource.to_owned()
                } else {
                    format!("{}/{part}", kind.resource)
                };
                let verb = asked.verb();
                let by_selector = if ["list", "watch"].contains(&verb) { selected.clone() } else { None };
                self.allow(&Attempt {
                    verb,
                    group: kind.group,
                    resource: &resource,
                    namespace: &namespace,
                    name: if name.is_empty() { by_selector.as_deref().unwrap_or_default() } else { &name },
                })?;
                match (kind.resource, part.as_str()) {
                    (_, "") => {}
                    ("serviceaccounts", "token") => return self.token_request(asked, &namespace, &name),
                    _ => return Err(Status::no_such_path()),
                }
                let selection = Selection { resource: kind.resource, namespace, name: selected };
                self.objects(asked, verb, kind, selection, &name)
            }
        }
    }

    fn objects(
        &mut self,
        asked: &Asked,
        verb: &str,
        kind: &'static Kind,
        selection: Selection,
        name: &str,
    ) -> Result<Reply, Status> {
        let id = Id::new(kind, &selection.namespace, name);
        let partial = asked.metadata_only();
        let done = |code: u16, object: &Value| Ok(Reply::Answer(Answer::json(code, &shown(object, partial))));
        if self.manner.frozen && !["list", "watch"].contains(&verb) {
            let seconds = asked.query("timeout").and_then(|t| t.trim_end_matches('s').parse().ok());
            return Ok(Reply::CloseAfter(Duration::from_secs(seconds.unwrap_or(34))));
        }
        match verb {
            "get" => done(200, &*self.store.get(&id)?),
            "list" => self.list(asked, kind, &selection, partial),
            "watch" => self.watch(asked, selection, partial),
            "create" => {
                let given = body(asked)?;
                let name = given["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                if name.is_empty() {
                    let message = "Required value: name or generateName is required";
                    return Err(Status::invalid(kind, "", "FieldValueRequired", message, "metadata.name"));
                }
                let id = Id { name, ..id };
                done(201, &*self.store.create(&id, given, &asked.manager())?)
            }
            "update" => {
                let given = body(asked)?;
                if kind.resource == "leases" && self.store.get(&id).is_err() {
                    // Of what we keep, a Lease alone may be made so.
                    return done(201, &*self.store.create(&id, given, &asked.manager())?);
                }
                done(200, &*self.store.update(&id, &asked.manager(), |_| Ok(given))?)
            }
            "patch" => {
                let (media, patch) = (asked.header("content-type").to_owned(), body(asked)?);
                let change = |old: &Value| patched(old, &media, &patch);
                done(200, &*self.store.update(&id, &asked.manager(), change)?)
            }
            "delete" => {
                let options = if asked.body.is_empty() { Value::Null } else { body(asked)? };
                Ok(Reply::Answer(Answer::json(200, &self.store.delete(&id, &options)?)))
            }
            _ => Err(Status::new(
                405,
                "MethodNotAllowed",
                "the server does not allow this method on the requested resource",
                json!({}),
            )),
        }
    }

    fn list(
        &self,
        asked: &Asked,
        kind: &Kind,
        selection: &Selection,
        partial: bool,
    ) -> Result<Reply, Status> {
        let version = version_of(asked)?;
        let current = self.store.revision();
        let exact = asked.query("resourceVersionMatch").as_deref() == Some("Exact");
        if self.manner.frozen && version != Some(0) {
            return Ok(Reply::Never);
        }
        let limit: usize = asked.query("limit").and_then(|l| l.parse().ok()).unwrap_or(0);
        let (mut revision, mut after) = (current, None);
        let mut objects = match (version, asked.query("continue")) {
            (_, Some(token)) => {
                let (then, start) = continued(&token)?;
                if then < self.store.compacted() {
                    return Err(too_old_to_go_on(&start));
                }
                (revision, after) = (then, Some(start));
                self.store.list(selection)
            }
            (Some(wanted), _) if wanted > current => return Err(Status::from_the_future(wanted, current)),
            (Some(wanted), _) if exact && wanted < self.store.compacted() => {
                return Err(Status::expired("The resourceVersion for the provided list is too old."));
            }
            (Some(wanted), _) if exact => {
                revision = wanted;
                self.store.list_at(selection, wanted)
            }
            _ => self.store.list(selection),
        };
        if let Some(selector) = asked.query("labelSelector") {
            let terms: Vec<(&str, &str)> =
                selector.split(',').filter_map(|term| term.split_once('=')).collect();
            objects.retain(|(_, object)| {
                terms.iter().all(|(name, value)| object["metadata"]["labels"][*name] == *value)
            });
        }
        if let Some(start) = after {
            objects
                .retain(|(id, _)| format!("/{}", id.name) >= start.trim_end_matches('\0').to_owned() + "\0");
        }
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if limit > 0 && objects.len() > limit {
            let rest = objects.split_off(limit);
            let start = format!("/{}\0", objects.last().unwrap().0.name);
            let token = json!({ "v": "meta.k8s.io/v1", "rv": revision, "start": start });
            metadata["continue"] = json!(URL_SAFE_NO_PAD.encode(token.to_string()));
            if selection.name.is_none() {
                metadata["remainingItemCount"] = json!(rest.len());
            }
        }
        let item = |object: &Value| {
            let mut object = shown(object, partial);
            if !partial {
                // Their kind is the list's.
                object.as_object_mut().unwrap().retain(|name, _| name != "kind" && name != "apiVersion");
            }
            object
        };
        let items: Vec<Value> = objects.iter().map(|(_, object)| item(object)).collect();
        let (kind, version) = if partial {
            ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
        } else {
            (format!("{}List", kind.title), kind.api_version())
        };
        let list = json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items });
        Ok(Reply::Answer(Answer::json(200, &list)))
    }

    fn watch(&self, asked: &Asked, selection: Selection, partial: bool) -> Result<Reply, Status> {
        let kind = Kind::of(selection.resource);
        let seconds = asked.query("timeoutSeconds").and_then(|s| s.parse().ok()).filter(|s| *s > 0);
        let bookmarks = asked.flag("allowWatchBookmarks");
        let mut watch = Watch {
            selection,
            from: self.store.revision(),
            first: Vec::new(),
            over: false,
            bookmarks: bookmarks && self.manner.bookmarks,
            partial,
            timeout: seconds.map(Duration::from_secs),
        };
        let options = |message: &str, field: &str| {
            let options = Kind {
                group: "meta.k8s.io",
                version: "v1",
                resource: "",
                title: "ListOptions",
                namespaced: false,
            };
            Err(Status::invalid(&options, "", "FieldValueForbidden", message, field))
        };
        let initial = asked.flag("sendInitialEvents");
        if asked.query("sendInitialEvents").is_some() && !self.manner.initial_events {
            let message = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
            return options(message, "sendInitialEvents");
        }
        if initial && asked.query("resourceVersionMatch").as_deref() != Some("NotOlderThan") {
            let message =
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return options(message, "resourceVersionMatch");
        }
        match watch_version_of(asked)? {
            None | Some(0) => {
                watch.first = self.present(&watch);
                if initial {
                    let mut end = watch.bookmark(watch.from);
                    end["object"]["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
                    watch.first.push(end);
                }
            }
            Some(version) if version < self.store.compacted() => {
                let message = format!("too old resource version: {version} ({})", self.store.compacted());
                watch.first = vec![error_line(&Status::expired(&message))];
                watch.over = true;
            }
            Some(version) => watch.from = version,
        }
        debug_assert_eq!(kind.resource, watch.selection.resource);
        Ok(Reply::Watch(watch))
    }

    /// What is there already, as events.
    fn present(&self, watch: &Watch) -> Vec<Value> {
        let objects = self.store.list(&watch.selection);
        objects
            .iter()
            .map(|(_, object)| json!({ "type": "ADDED", "object": shown(object, watch.partial) }))
            .collect()
    }

    fn token_request(&mut self, asked: &Asked, namespace: &str, name: &str) -> Result<Reply, Status> {
        let account = self.store.get(&Id::new(Kind::of("serviceaccounts"), namespace, name))?;
        let mut request = body(asked)?;
        let seconds = request["spec"]["expirationSeconds"].as_u64().unwrap_or(3600);
        if seconds < 600 {
            let kind = Kind {
                group: "authentication.k8s.io",
                version: "v1",
                resource: "tokenrequests",
                title: "TokenRequest",
                namespaced: true,
            };
            let message =
                format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes");
            return Err(Status::invalid(&kind, "", "FieldValueInvalid", &message, "spec.expirationSeconds"));
        }
        let uid = account["metadata"]["uid"].as_str().unwrap().to_owned();
        let user = User::ServiceAccount { namespace: namespace.into(), name: name.into(), uid };
        let wanted = request["spec"]["audiences"].as_array().cloned().unwrap_or_default();
        let audiences: Vec<&str> = wanted.iter().filter_map(Value::as_str).collect();
        let audiences = if audiences.is_empty() { vec![AUDIENCE] } else { audiences };
        let token = self.tokens.give(user, &audiences, seconds);
        let managers = spec_managers(asked, &request, "token");
        let end =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + seconds;
        request["kind"] = json!("TokenRequest");
        request["apiVersion"] = json!("authentication.k8s.io/v1");
        request["metadata"] = json!({
            "name": name, "namespace": namespace, "uid": account["metadata"]["uid"],
            "creationTimestamp": now(), "managedFields": managers,
        });
        request["spec"] =
            json!({ "audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": null });
        request["status"] = json!({ "token": token, "expirationTimestamp": time_of(end) });
        Ok(Reply::Answer(Answer::json(201, &request)))
    }

    fn token_review(&self, asked: &Asked) -> Result<Reply, Status> {
        let mut review = body(asked)?;
        let managers = spec_managers(asked, &review, "");
        let token = review["spec"]["token"].as_str().unwrap_or_default().to_owned();
        let wanted = review["spec"]["audiences"].as_array().cloned().unwrap_or_default();
        let wanted: Vec<String> = wanted.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect();
        let audiences = if wanted.is_empty() { vec![AUDIENCE.to_owned()] } else { wanted };
        review["metadata"] = json!({ "managedFields": managers });
        review["status"] = match self.tokens.review(self.store, &token, &audiences) {
            Err(error) => json!({ "user": {}, "error": error }),
            Ok((user, audiences)) => {
                let mut who = json!({ "username": user.name(), "groups": ["system:authenticated"] });
                if let User::ServiceAccount { namespace, uid, .. } = &user {
                    who["uid"] = json!(uid);
                    let own = format!("system:serviceaccounts:{namespace}");
                    who["groups"] = json!(["system:serviceaccounts", own, "system:authenticated"]);
                    let id = "JTI=8e97f094-18a4-410a-ab4b-d46a9fec7036";
                    who["extra"] = json!({ "authentication.kubernetes.io/credential-id": [id] });
                }
                json!({ "authenticated": true, "user": who, "audiences": audiences })
            }
        };
        Ok(Reply::Answer(Answer::json(201, &review)))
    }

    fn access_review(&self, asked: &Asked) -> Result<Reply, Status> {
        let mut review = body(asked)?;
        let managers = spec_managers(asked, &review, "");
        let attributes = review["spec"]["resourceAttributes"].clone();
        let text = |name: &str| attributes[name].as_str().unwrap_or_default().to_owned();
        let resource = match text("subresource").as_str() {
            "" => text("resource"),
            part => format!("{}/{part}", text("resource")),
        };
        let allowed = Attempt {
            verb: &text("verb"),
            group: &text("group"),
            resource: &resource,
            namespace: &text("namespace"),
            name: &text("name"),
        }
        .allowed(self.store, &self.user);
        review["kind"] = json!("SelfSubjectAccessReview");
        review["apiVersion"] = json!("authorization.k8s.io/v1");
        review["metadata"] = json!({ "managedFields": managers });
        review["status"] = match allowed {
            Some(reason) if reason.is_empty() => json!({ "allowed": true }),
            Some(reason) => json!({ "allowed": true, "reason": reason }),
            None => json!({ "allowed": false }),
        };
        Ok(Reply::Answer(Answer::json(201, &review)))
    }
}

fn body(asked: &Asked) -> Result<Value, Status> {
    serde_json::from_slice(&asked.body).map_err(|error| {
        Status::bad_request(&format!("couldn't get version/kind; json parse error: {error}"))
    })
}

/// `managedFields` of something that is reviewed and not kept.
fn spec_managers(asked: &Asked, review: &Value, part: &str) -> Value {
    let spec = review["spec"].as_object().cloned().unwrap_or_default();
    let fields: serde_json::Map<String, Value> =
        spec.keys().map(|key| (format!("f:{key}"), json!({}))).collect();
    let mut entry = json!({
        "manager": asked.manager(), "operation": "Update", "apiVersion": review["apiVersion"], "time": now(),
        "fieldsType": "FieldsV1", "fieldsV1": { "f:spec": fields },
    });
    if !part.is_empty() {
        entry["subresource"] = json!(part);
    }
    json!([entry])
}

fn parsed(asked: &Asked) -> Result<Option<u64>, String> {
    match asked.query("resourceVersion").filter(|version| !version.is_empty()) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            format!("Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax")
        }),
    }
}

fn version_of(asked: &Asked) -> Result<Option<u64>, Status> {
    parsed(asked).map_err(|why| Status::bad_request(&format!("resourceVersion: {why}")))
}

/// A watch says the same with another code, and without a reason.
fn watch_version_of(asked: &Asked) -> Result<Option<u64>, Status> {
    parsed(asked).map_err(|why| Status::new(500, "", &format!("resourceVersion: {why}"), Value::Null))
}

/// The version and the name of a `continue`.
fn continued(token: &str) -> Result<(u64, String), Status> {
    let bad = || Status::bad_request("continue key is not valid");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let token: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let start = token["start"].as_str().ok_or_else(bad)?.to_owned();
    Ok((token["rv"].as_u64().ok_or_else(bad)?, start))
}

fn too_old_to_go_on(start: &str) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new \
         list without the continue parameter, or use the continue token in this response to retrieve the \
         remainder of the results. Continuing with the provided token results in an inconsistent list - \
         objects that were created, modified, or deleted between the time the first chunk was returned and now \
         may show up in the list.",
    );
    let token = json!({ "v": "meta.k8s.io/v1", "rv": -1, "start": start.trim_start_matches('/') });
    status.body["metadata"]["continue"] = json!(URL_SAFE_NO_PAD.encode(token.to_string()));
    status
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35", "gitVersion": "v1.36.2",
        "gitCommit": "8e16b12fda5b1dccc41a6de48b3e356cc7d5048b", "gitTreeState": "clean",
        "buildDate": "2026-08-21T11:29:11Z", "goVersion": "go1.26.6", "compiler": "gc",
        "platform": "linux/amd64",
    })
}
