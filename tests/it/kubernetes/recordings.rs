//! The fake against what a real kube-apiserver 1.36 said: every recorded request is
//! asked again, in the state that it was recorded in.

use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::fake::{Fake, Fault};

/// Recordings that are not played, with the reason.
const NOT_PLAYED: [(&str, &str); 4] = [
    ("08-sa-jwks", "the fake signs no tokens, and dlconf verifies none"),
    ("13-http2-list", "over HTTP/2: a test in `faults`"),
    ("14-get-during-shutdown.1", "words of curl, no answer: a test in `faults`, as for its five followers"),
    ("16-watch-outlives-token", "a stream without its request: a test in `faults`"),
];

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/kubernetes")
}

/// A recorded request.
struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    /// Whose token: `sa-jwt`, `admin-token-rig`, …
    who: String,
}

fn request(name: &str) -> Request {
    let path = fixtures().join(format!("{name}.req"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (options, url) = text.trim_end().rsplit_once(" https://").unwrap();
    let target = url[url.find('/').unwrap()..].to_owned();
    let between = |from: &str, to: &str| {
        let start = options.find(from)? + from.len();
        let end = options[start..].find(to).map_or(options.len(), |end| start + end);
        Some(options[start..end].to_owned())
    };
    let mut headers = Vec::new();
    for header in ["Content-Type", "Accept"] {
        if let Some(value) = between(&format!("-H {header}: "), " ") {
            headers.push((header.to_owned(), value));
        }
    }
    Request {
        method: between("-X ", " ").unwrap_or_else(|| "GET".into()),
        target,
        headers,
        body: options.split_once(" -d ").map_or(String::new(), |(_, body)| body.to_owned()),
        who: between("Bearer <", ">").unwrap(),
    }
}

/// A recorded answer.
fn recorded(name: &str) -> Answer {
    let text = std::fs::read_to_string(fixtures().join(format!("{name}.http"))).unwrap();
    let text = text.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Answer { status, headers: headers.collect(), text: body.to_owned() }
}

/// The state that things were recorded in.
struct World {
    fake: Fake,
    reader: String,
}

const SECRETS: &str = "/api/v1/namespaces/datalens/secrets";

impl World {
    fn new() -> Self {
        let world = Self { fake: Fake::start(), reader: String::new() };
        let admin = world.as_who("admin-token-rig");
        admin.post("/api/v1/namespaces", &json!({ "metadata": { "name": "datalens" } })).fine();
        let account = json!({ "metadata": { "name": "reader" } });
        admin.post("/api/v1/namespaces/datalens/serviceaccounts", &account).fine();
        let rights = json!({
            "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["db", "w"],
            "verbs": ["get", "list", "watch"],
        });
        let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/datalens";
        let role = json!({ "metadata": { "name": "reader" }, "rules": [rights] });
        admin.post(&format!("{rbac}/roles"), &role).fine();
        let binding = json!({
            "metadata": { "name": "reader" },
            "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": "datalens" }],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        });
        admin.post(&format!("{rbac}/rolebindings"), &binding).fine();
        let reader = world.token("reader", &json!({}));
        world.fake.advance_to(207);
        world.create("db", &json!({ "username": "YXBw", "password": "czNjcmV0" }));
        world.create("other", &json!({ "x": "MQ==" }));
        world.fake.advance_to(212);
        Self { reader, ..world }
    }

    /// A token of a service account.
    fn token(&self, account: &str, spec: &Value) -> String {
        let path = format!("/api/v1/namespaces/datalens/serviceaccounts/{account}/token");
        let answer = self.as_who("admin-token-rig").post(&path, &json!({ "spec": spec })).fine();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    fn create(&self, name: &str, data: &Value) {
        let secret = json!({ "metadata": { "name": name }, "data": data });
        let path = format!("{SECRETS}?fieldManager=kubectl-create");
        self.as_who("admin-token-rig").post(&path, &secret).fine();
    }

    fn patch(&self, name: &str, manager: &str, patch: &Value) {
        let target = format!("{SECRETS}/{name}?fieldManager={manager}");
        self.as_who("admin-token-rig").merge(&target, patch).fine();
    }

    fn delete(&self, name: &str) {
        self.as_who("admin-token-rig").delete(&format!("{SECRETS}/{name}")).fine();
    }

    fn as_who(&self, who: &str) -> Client {
        let token = match who {
            "admin-token-rig" => self.fake.administrator().to_owned(),
            "sa-jwt" => self.reader.clone(),
            "not-a-token" => "not-a-token".into(),
            "" => String::new(),
            other => self.fake.token_of(other.strip_suffix("-token-rig").unwrap()),
        };
        let host = self.fake.https().strip_prefix("https://").unwrap().to_owned();
        Client { host, ca: Some(self.fake.ca()), token, identity: None, agent: "tests/1" }
    }

    fn ask(&self, request: &Request) -> Answer {
        let mut headers: Vec<(&str, &str)> = vec![("user-agent", "curl/8.5.0")];
        headers.extend(request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        // Nobody waits for 12 seconds: the bookmarks stand at the end of any watch.
        let target = request.target.replace("timeoutSeconds=12", "timeoutSeconds=3");
        let target = ["5", "6"].iter().fold(target, |target, seconds| {
            target.replace(&format!("timeoutSeconds={seconds}"), "timeoutSeconds=2")
        });
        let client = self.as_who(&request.who);
        client.ask(&request.method, &target, &headers, request.body.as_bytes()).unwrap()
    }

    /// Asks as recorded, and compares.
    fn plays(&self, name: &str) {
        self.same(name, &request(name));
    }

    fn same(&self, name: &str, request: &Request) {
        compare(name, &recorded(name), &self.ask(request));
    }

    /// Asks for a watch as recorded, and does something when it has begun.
    fn during(&self, name: &str, happens: impl FnOnce()) {
        thread::scope(|scope| {
            let watch = scope.spawn(|| self.plays(name));
            self.fake.sees("the watch", Duration::from_secs(10), |seen| seen.verb == "watch");
            happens();
            watch.join().unwrap();
        });
    }
}

/// What differs from one run to another, made the same.
fn normal(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                match name.as_str() {
                    "uid" | "resourceVersion" | "continue" | "token" => *value = json!(name),
                    "creationTimestamp" | "time" | "expirationTimestamp" => *value = json!("time"),
                    "authentication.kubernetes.io/credential-id" => *value = json!(["id"]),
                    _ => normal(value),
                }
                // Their order is that of the seconds in which they wrote.
                if let ("managedFields", Value::Array(managers)) = (name.as_str(), value) {
                    managers.sort_by_key(|manager| manager["manager"].to_string());
                }
            }
        }
        Value::Array(array) => array.iter_mut().for_each(normal),
        _ => {}
    }
}

/// A document, the lines of a stream, or a text.
fn documents(text: &str) -> Vec<Value> {
    let stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut documents: Vec<Value> = stream.collect::<Result<_, _>>().unwrap_or_else(|_| vec![json!(text)]);
    documents.iter_mut().for_each(normal);
    documents
}

fn compare(name: &str, recorded: &Answer, got: &Answer) {
    assert_eq!(got.status, recorded.status, "{name}: {}", got.text);
    for header in
        ["content-type", "cache-control", "retry-after", "x-content-type-options", "transfer-encoding"]
    {
        assert_eq!(got.headers.get(header), recorded.headers.get(header), "{name}: {header}");
    }
    let names = |answer: &Answer| -> Vec<String> {
        answer.headers.keys().filter(|name| *name != "connection").cloned().collect()
    };
    assert_eq!(names(got), names(recorded), "{name}");
    pretty(name, &documents(&recorded.text), &documents(&got.text));
}

fn pretty(name: &str, recorded: &[Value], got: &[Value]) {
    let text = |values: &[Value]| serde_json::to_string_pretty(values).unwrap();
    assert_eq!(got, recorded, "{name}: got\n{}\nrecorded\n{}", text(got), text(recorded));
}

type Scene = fn(&World, &str);

/// As the recording began.
const QUIET: Scene = World::plays;

/// What came before 259 is gone.
const COMPACTED: Scene = |world, name| {
    world.fake.advance_to(259);
    world.fake.compact();
    world.plays(name);
};

const THE_FUTURE: Scene = |world, name| {
    world.fake.advance_to(231);
    world.plays(name);
};

const BUSY: Scene = |world, name| {
    world.fake.fail("* *", [Fault::TooMany(1)]);
    world.plays(name);
};

/// While another Secret changes three times.
const OTHERS_CHANGE: Scene = |world, name| {
    world.fake.advance_to(223);
    world.during(name, || {
        for value in ["MQ==", "Mg==", "Mw=="] {
            world.patch("other", "kubectl-patch", &json!({ "data": { "k": value } }));
        }
    });
};

/// A Secret that came, changed, went, and came and went twice more.
fn history(world: &World) {
    let data = |value: &str| json!({ "k": value });
    world.create("w", &data("djE="));
    world.patch("w", "kubectl-patch", &json!({ "data": data("djI=") }));
    world.patch("other", "kubectl-patch", &json!({ "data": { "k": "dW5zZWVu" } }));
    world.patch("w", "kubectl-label", &json!({ "metadata": { "labels": { "tier": "gold" } } }));
    world.delete("w");
    for value in ["YQ==", "Yg=="] {
        world.create("w", &data(value));
        world.delete("w");
    }
    world.fake.advance_to(223);
    for value in ["MQ==", "Mg==", "Mw=="] {
        world.patch("other", "kubectl-patch", &json!({ "data": { "k": value } }));
    }
    assert_eq!(world.fake.revision(), 226, "the very versions of the recording");
}

const AFTERWARDS: Scene = |world, name| {
    history(world);
    world.fake.advance_to(228);
    world.plays(name);
};

const SCENES: &[(&str, Scene)] = &[
    ("01-get-named", QUIET),
    ("01-list-fieldselector-hit", QUIET),
    ("01-list-fieldselector-metadata-only", QUIET),
    ("01-list-fieldselector-miss", QUIET),
    ("01-list-rv0", QUIET),
    ("02-watch-add-mod-del", |world, name| {
        world.during(name, || {
            world.create("w", &json!({ "k": "djE=" }));
            world.patch("w", "kubectl-patch", &json!({ "data": { "k": "djI=" } }));
            // Others are not heard of.
            world.patch("other", "kubectl-patch", &json!({ "data": { "k": "eA==" } }));
            world.patch("w", "kubectl-label", &json!({ "metadata": { "labels": { "tier": "gold" } } }));
            world.delete("w");
        });
    }),
    ("02-watch-delete-recreate", |world, name| {
        world.during(name, || {
            for value in ["YQ==", "Yg=="] {
                world.create("w", &json!({ "k": value }));
                world.delete("w");
            }
        });
    }),
    ("02-watch-no-rv-synthetic-added", QUIET),
    ("02-watch-rv0-synthetic-added", QUIET),
    ("03-watch-bookmarks", OTHERS_CHANGE),
    ("03-watch-sendInitialEvents", OTHERS_CHANGE),
    ("04-list-continue-expired-410", COMPACTED),
    ("04-list-exact-compacted-410", COMPACTED),
    ("04-list-continue-compacted-still-in-cache", AFTERWARDS),
    ("04-list-exact-old-rv-still-in-cache", AFTERWARDS),
    ("04-list-future-rv-504", THE_FUTURE),
    ("04-list-limit1", QUIET),
    ("04-list-rv1-exact-still-in-cache", QUIET),
    ("04-watch-future-rv", QUIET),
    ("04-watch-invalid-rv", QUIET),
    ("04-watch-old-rv-410-bookmarks", COMPACTED),
    ("04-watch-old-rv-410", COMPACTED),
    ("04-watch-rv-compacted", |world, name| {
        // What is compacted in etcd is still in the server's cache.
        world.fake.advance_to(228);
        world.plays(name);
    }),
    ("04-watch-rv1-410", COMPACTED),
    ("04-watch-rv1-fresh-cache-replays", AFTERWARDS),
    ("05-anonymous-403", QUIET),
    ("05-forbidden-list-wrong-fieldselector", QUIET),
    ("05-forbidden-list", QUIET),
    ("05-forbidden-named", QUIET),
    ("05-forbidden-nobody-user", QUIET),
    ("05-forbidden-other-namespace", QUIET),
    ("05-forbidden-update", QUIET),
    ("05-forbidden-watch", QUIET),
    ("06-unauthorized-bad-token", QUIET),
    ("06-unauthorized-deleted-sa", |world, name| {
        world.as_who("admin-token-rig").delete("/api/v1/namespaces/datalens/serviceaccounts/reader").fine();
        world.plays(name);
    }),
    ("06-unauthorized-expired", |world, name| {
        world.fake.expire(&world.reader);
        world.same(name, &request("01-get-named"));
    }),
    ("06-unauthorized-watch", QUIET),
    ("06-unauthorized-wrong-audience", |world, name| {
        let reader = world.token("reader", &json!({ "audiences": ["vault"] }));
        let mut client = world.as_who("sa-jwt");
        client.token = reader;
        compare(name, &recorded(name), &client.get(&format!("{SECRETS}/db")));
    }),
    ("07-notfound-namespace-list-empty", QUIET),
    ("07-notfound-path", QUIET),
    ("07-notfound-secret", QUIET),
    ("08-tokenrequest-too-short", QUIET),
    ("08-tokenrequest", QUIET),
    ("08-tokenreview-audience-mismatch", |world, name| world.reviews(name, &world.reader)),
    ("08-tokenreview-audience-ok", |world, name| {
        world.reviews(name, &world.token("reader", &json!({ "audiences": ["vault"] })));
    }),
    ("08-tokenreview-bad", QUIET),
    ("08-tokenreview-deleted-sa", |world, name| {
        let admin = world.as_who("admin-token-rig");
        let accounts = "/api/v1/namespaces/datalens/serviceaccounts";
        admin.post(accounts, &json!({ "metadata": { "name": "ghost" } })).fine();
        let token = world.token("ghost", &json!({}));
        admin.delete(&format!("{accounts}/ghost")).fine();
        world.reviews(name, &token);
    }),
    ("08-tokenreview-forbidden", QUIET),
    ("08-tokenreview-success", |world, name| world.reviews(name, &world.reader)),
    ("09-bad-base64", QUIET),
    ("09-bad-key", QUIET),
    ("09-binary-create", QUIET),
    ("09-binary-get", |world, name| {
        world.ask(&request("09-binary-create"));
        world.plays(name);
    }),
    ("09-over-1MiB", |world, name| {
        let mut request = request(name);
        let value = "QUFB".repeat((1 << 20) / 3 + 1);
        request.body = json!({ "metadata": { "name": "big" }, "data": { "k": value } }).to_string();
        world.same(name, &request);
    }),
    ("10-immutable-create", QUIET),
    ("10-immutable-unset-refused", |world, name| {
        world.ask(&request("10-immutable-create"));
        world.plays(name);
    }),
    ("10-immutable-update-refused", |world, name| {
        world.ask(&request("10-immutable-create"));
        world.plays(name);
    }),
    ("11-alreadyexists-409", |world, name| {
        world.ask(&request("11-conflict-create"));
        world.plays(name);
    }),
    ("11-conflict-409-stale-rv", |world, name| {
        world.ask(&request("11-conflict-create"));
        world.patch("conflict", "kubectl-patch", &json!({ "data": { "k": "Qw==" } }));
        world.fake.advance_to(300);
        world.plays(name);
    }),
    ("11-conflict-create", QUIET),
    ("12-too-many-requests-429-watch", BUSY),
    ("12-too-many-requests-429", BUSY),
    ("13-readyz", QUIET),
    ("13-version", QUIET),
    ("15-etcd-frozen-list-rv0", |world, name| {
        world.fake.freeze(true);
        world.plays(name);
    }),
    ("15-etcd-frozen-readyz", |world, name| {
        world.fake.freeze(true);
        world.plays(name);
    }),
    ("15-etcd-frozen-watch-rv0", |world, name| {
        world.fake.freeze(true);
        world.plays(name);
    }),
    ("15-etcd-thawed-get", |world, name| {
        world.fake.freeze(true);
        world.fake.freeze(false);
        world.plays(name);
    }),
];

impl World {
    /// A TokenReview of this token, whose recording masks it.
    fn reviews(&self, name: &str, token: &str) {
        let mut request = request(name);
        request.body = request.body.replace("TOKEN", token);
        self.same(name, &request);
    }
}

#[test]
fn the_fake_answers_as_a_real_server_was_recorded() {
    thread::scope(|scope| {
        let scenes: Vec<_> = SCENES
            .iter()
            .map(|&(name, scene)| (name, scope.spawn(move || scene(&World::new(), name))))
            .collect();
        let failed: Vec<&str> =
            scenes.into_iter().filter_map(|(name, scene)| scene.join().is_err().then_some(name)).collect();
        assert!(failed.is_empty(), "not as recorded: {failed:?}");
    });
}

#[test]
fn every_recording_is_played_or_listed_with_a_reason() {
    // These have no answer, so a test each.
    let by_tests =
        ["14-watch-cut-by-apiserver-shutdown", "15-etcd-frozen-get", "15-etcd-frozen-list-consistent"];
    let known = |name: &str| {
        SCENES.iter().any(|(scene, _)| *scene == name)
            || by_tests.contains(&name)
            || NOT_PLAYED.iter().any(|(listed, reason)| {
                *listed == name && !reason.is_empty() || name.starts_with("14-get-during-shutdown.")
            })
    };
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".http") else { continue };
        assert!(known(name), "{name} is neither played nor listed");
        count += 1;
    }
    assert!(count > 70, "{count}");
}
