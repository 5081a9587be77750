//! A namespace of its own on an API server, with a service account that dlconf runs
//! as. Whatever a test does here it does over HTTP, so that it runs unchanged on the
//! fake and on a real server; only faults are the fake's alone.
//!
//! A real server is the one that `DLCONF_TEST_KUBECONFIG` names. No controllers are
//! needed there: what a namespace holds is deleted one by one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::client::{Answer, Client, FIXTURE};
use super::fake::Fake;
use crate::bao::poll;
use crate::bao::tls::Identity;
use crate::program::Folder;

/// Where the kubeconfig of a real server stands.
const REAL: &str = "DLCONF_TEST_KUBECONFIG";

/// The service account's name, and that of its Role and RoleBinding.
const READER: &str = "reader";

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Runs what waits on one thread, as dlconf does.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Runs a test on the fake, then on the real server if there is one.
pub(crate) fn everywhere(test: impl Fn(&Cluster)) {
    test(&Cluster::fake());
    if let Some(real) = Cluster::real() {
        // Seen where it fails: nextest shows what failed tests wrote.
        let _ = writeln!(std::io::stderr(), "the same on a real API server:");
        test(&real);
    }
}

/// A namespace on a server, until dropped.
pub(crate) struct Cluster {
    fake: Option<Fake>,
    pub(crate) admin: Client,
    pub(crate) namespace: String,
    /// `kubeconfig`, the `token` that it names, `ca.pem`.
    folder: Folder,
}

/// A kind of object with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Secret,
    ConfigMap,
}

impl Of {
    fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }

    fn document(self, name: &str, values: &[(&str, &str)]) -> Value {
        let encoded = |text: &str| match self {
            Self::Secret => STANDARD.encode(text),
            Self::ConfigMap => text.to_owned(),
        };
        let data: Map<String, Value> =
            values.iter().map(|&(key, text)| (key.to_owned(), json!(encoded(text)))).collect();
        json!({ "metadata": { "name": name }, "data": data })
    }
}

impl Cluster {
    pub(crate) fn fake() -> Self {
        let fake = Fake::start();
        let folder = Folder::new();
        std::fs::copy(fake.ca(), folder.join("ca.pem")).unwrap();
        let admin = Client {
            host: fake.https().strip_prefix("https://").unwrap().to_owned(),
            ca: Some(folder.join("ca.pem")),
            token: fake.administrator().to_owned(),
            identity: None,
            agent: FIXTURE,
        };
        Self::on(Some(fake), admin, folder)
    }

    /// On the server that the environment names; `None` where it names none.
    pub(crate) fn real() -> Option<Self> {
        let path = PathBuf::from(std::env::var_os(REAL)?);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{REAL}: {error}"));
        let folder = Folder::new();
        let admin = client_of(&text, path.parent().unwrap_or(Path::new("")), &folder);
        Some(Self::on(None, admin, folder))
    }

    fn on(fake: Option<Fake>, admin: Client, folder: Folder) -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("dlconf-{}-{serial}", std::process::id());
        let cluster = Self { fake, admin, namespace, folder };
        cluster
            .admin
            .post("/api/v1/namespaces", &json!({ "metadata": { "name": cluster.namespace } }))
            .fine();
        // A server looks a new namespace up in what it last heard.
        let account = json!({ "metadata": { "name": READER } });
        soon("the service account", || cluster.admin.post(&cluster.core("serviceaccounts"), &account));
        let binding = cluster.binding();
        cluster.admin.post(&cluster.rbac("rolebindings"), &binding).fine();
        cluster.renew_token();
        cluster.write_kubeconfig();
        cluster
    }

    /// The fake, for its faults; only in tests that do not run everywhere.
    #[track_caller]
    pub(crate) fn faults(&self) -> &Fake {
        self.fake.as_ref().expect("a fake")
    }

    /// The fake, to look at what was asked; `None` on a real server.
    pub(crate) fn recorder(&self) -> Option<&Fake> {
        self.fake.as_ref()
    }

    fn core(&self, resource: &str) -> String {
        format!("/api/v1/namespaces/{}/{resource}", self.namespace)
    }

    fn rbac(&self, resource: &str) -> String {
        format!("{RBAC}/namespaces/{}/{resource}", self.namespace)
    }

    /// The path of one object.
    pub(crate) fn path(&self, of: Of, name: &str) -> String {
        format!("{}/{name}", self.core(of.resource()))
    }

    // ---- Objects ----

    pub(crate) fn create(&self, of: Of, name: &str, values: &[(&str, &str)]) -> Value {
        self.create_as(of, &of.document(name, values))
    }

    /// One that can only be deleted.
    pub(crate) fn create_immutable(&self, of: Of, name: &str, values: &[(&str, &str)]) -> Value {
        let mut document = of.document(name, values);
        document["immutable"] = json!(true);
        self.create_as(of, &document)
    }

    /// As `kubectl apply` leaves it: with its values in an annotation too.
    pub(crate) fn apply(&self, of: Of, name: &str, values: &[(&str, &str)]) -> Value {
        let mut document = of.document(name, values);
        let applied = document.to_string();
        document["metadata"]["annotations"] =
            json!({ "kubectl.kubernetes.io/last-applied-configuration": applied });
        let answer = self.admin.merge(&self.path(of, name), &document);
        if answer.status == 404 { self.create_as(of, &document) } else { answer.fine() }
    }

    fn create_as(&self, of: Of, document: &Value) -> Value {
        soon("an object", || self.admin.post(&self.core(of.resource()), document))
    }

    /// Whatever document, as it is.
    pub(crate) fn create_raw(&self, of: Of, document: &Value) -> Value {
        self.create_as(of, document)
    }

    /// Exchanges all values; the new version.
    pub(crate) fn set(&self, of: Of, name: &str, values: &[(&str, &str)]) -> String {
        let object = self.admin.put(&self.path(of, name), &of.document(name, values)).fine();
        version(&object)
    }

    /// Changes what no value is.
    pub(crate) fn label(&self, of: Of, name: &str, label: &str) -> String {
        let labels = json!({ "metadata": { "labels": { "tests/label": label } } });
        version(&self.admin.merge(&self.path(of, name), &labels).fine())
    }

    pub(crate) fn delete(&self, of: Of, name: &str) {
        self.admin.delete(&self.path(of, name)).fine();
    }

    /// The version that stands there.
    pub(crate) fn version(&self, of: Of, name: &str) -> String {
        version(&self.admin.get(&self.path(of, name)).fine())
    }

    // ---- Rights ----

    fn binding(&self) -> Value {
        json!({
            "metadata": { "name": READER },
            "subjects": [{ "kind": "ServiceAccount", "name": READER, "namespace": self.namespace }],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": READER },
        })
    }

    /// Lets the account get, list and watch exactly these, and waits until it may.
    pub(crate) fn grant(&self, objects: &[(Of, &str)]) {
        self.grant_verbs(objects, &["get", "list", "watch"]);
    }

    /// The same with these verbs.
    pub(crate) fn grant_verbs(&self, objects: &[(Of, &str)], verbs: &[&str]) {
        let allowed = |(of, name): &(Of, &str)| json!({ "apiGroups": [""], "resources": [of.resource()], "resourceNames": [name], "verbs": verbs });
        // A rule without a verb is refused.
        let rules: Vec<Value> = objects.iter().filter(|_| !verbs.is_empty()).map(allowed).collect();
        let role = json!({ "metadata": { "name": READER }, "rules": rules });
        let answer = self.admin.put(&format!("{}/{READER}", self.rbac("roles")), &role);
        if answer.status == 404 {
            soon("the Role", || self.admin.post(&self.rbac("roles"), &role));
        } else {
            answer.fine();
        }
        for (of, name) in objects {
            for verb in ["get", "list", "watch", "patch"] {
                self.wait_for_right(*of, name, verb, verbs.contains(&verb));
            }
        }
    }

    /// Lets the account do anything with Leases; on the fake, where that holds at once.
    pub(crate) fn grant_leases(&self) {
        self.faults();
        let rules =
            json!([{ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"] }]);
        let role = json!({ "metadata": { "name": READER }, "rules": rules });
        soon("the Role", || self.admin.post(&self.rbac("roles"), &role));
    }

    /// Takes every right away, and waits until that holds.
    pub(crate) fn revoke(&self, of: Of, name: &str) {
        self.admin.delete(&format!("{}/{READER}", self.rbac("rolebindings"))).fine();
        self.wait_for_right(of, name, "watch", false);
        self.wait_for_right(of, name, "get", false);
    }

    /// Gives back what `revoke` took.
    pub(crate) fn give_back(&self, of: Of, name: &str) {
        self.admin.post(&self.rbac("rolebindings"), &self.binding()).fine();
        self.wait_for_right(of, name, "watch", true);
    }

    /// Waits until the account may neither read nor watch this.
    pub(crate) fn wait_until_it_may_not(&self, of: Of, name: &str) {
        for verb in ["get", "list", "watch"] {
            self.wait_for_right(of, name, verb, false);
        }
    }

    fn wait_for_right(&self, of: Of, name: &str, verb: &str, wanted: bool) {
        let attributes = json!({
            "verb": verb, "resource": of.resource(), "namespace": self.namespace, "name": name,
        });
        let spec = json!({
            "user": format!("system:serviceaccount:{}:{READER}", self.namespace),
            "resourceAttributes": attributes,
        });
        let kind =
            json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec });
        if self.fake.is_some() {
            // It looks at its Roles with every request.
            return;
        }
        let came = poll(|| {
            let review = self.admin.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &kind).fine();
            (review["status"]["allowed"] == wanted).then_some(())
        });
        assert!(came.is_some(), "{verb} {of:?} {name} is not {wanted}");
    }

    // ---- Who dlconf is ----

    /// Writes another token into the file; it.
    pub(crate) fn renew_token(&self) -> String {
        let path = format!("{}/{READER}/token", self.core("serviceaccounts"));
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": { "expirationSeconds": 600 },
        });
        let answer = soon("a token", || self.admin.post(&path, &request));
        let token = answer["status"]["token"].as_str().unwrap().to_owned();
        // Exchanged as a whole, as the kubelet does.
        self.folder.file("token.new", &token);
        std::fs::rename(self.folder.join("token.new"), self.folder.join("token")).unwrap();
        token
    }

    /// Deletes the service account and makes another of its name: no old token is
    /// valid any more.
    pub(crate) fn replace_account(&self) {
        let accounts = self.core("serviceaccounts");
        self.admin.delete(&format!("{accounts}/{READER}")).fine();
        soon("an account", || self.admin.post(&accounts, &json!({ "metadata": { "name": READER } })));
    }

    fn write_kubeconfig(&self) {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: tests\n\
             clusters:\n- name: tests\n  cluster:\n    server: https://{}\n    certificate-authority: ca.pem\n\
             users:\n- name: {READER}\n  user:\n    tokenFile: token\n\
             contexts:\n- name: tests\n  context: {{cluster: tests, user: {READER}, namespace: {}}}\n",
            self.admin.host, self.namespace
        );
        self.folder.file("kubeconfig", &text);
    }

    /// The kubeconfig that dlconf is given.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// The folder that the kubeconfig and its token are in.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What dlconf would send.
    pub(crate) fn reader(&self) -> Client {
        let token = self.folder.read("token");
        Client {
            host: self.admin.host.clone(),
            ca: self.admin.ca.clone(),
            token,
            identity: None,
            agent: "tests/1",
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.fake.is_some() {
            return;
        }
        // What a test leaves on a real server, as far as it can be reached.
        let core = ["secrets", "configmaps", "serviceaccounts"].map(|resource| self.core(resource));
        let rbac = ["rolebindings", "roles"].map(|resource| self.rbac(resource));
        let leases = format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace);
        for path in core.iter().chain(&rbac).chain([&leases]) {
            let _best_effort = self.admin.ask("DELETE", path, &[], b"");
        }
        let path = format!("/api/v1/namespaces/{}", self.namespace);
        let _best_effort = self.admin.ask("DELETE", &path, &[], b"");
        let Ok(answer) = self.admin.ask("GET", &path, &[], b"") else { return };
        // Without a controller nobody else takes the last finalizer.
        if let Ok(mut namespace) = serde_json::from_str::<Value>(&answer.text) {
            namespace["spec"]["finalizers"] = json!([]);
            let headers = [("content-type", "application/json")];
            let body = namespace.to_string();
            let _best_effort = self.admin.ask("PUT", &format!("{path}/finalize"), &headers, body.as_bytes());
        }
    }
}

/// Asks until it is granted: a server looks new things up in what it last heard.
#[track_caller]
fn soon(what: &str, ask: impl Fn() -> Answer) -> Value {
    let mut last = None;
    let granted = poll(|| {
        let answer = ask();
        let fine = (200..300).contains(&answer.status);
        last = Some(answer.clone());
        fine.then(|| answer.json())
    });
    granted.unwrap_or_else(|| panic!("{what}: {last:?}"))
}

pub(crate) fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// The administrator of a kubeconfig with one cluster and one user.
fn client_of(text: &str, beside: &Path, folder: &Folder) -> Client {
    // Written as blocks or between braces.
    let text = text.replace(['{', '}', ','], "\n");
    let field = |name: &str| {
        let start = format!("{name}:");
        text.lines()
            .find_map(|line| line.trim().strip_prefix(&start))
            .map(|value| value.trim().trim_matches('"'))
    };
    // A file by its path, or as it stands in the kubeconfig.
    let file = |name: &str, to: &str| -> Option<PathBuf> {
        if let Some(data) = field(&format!("{name}-data")) {
            let bytes = STANDARD.decode(data).unwrap();
            folder.bytes(to, &bytes, 0o600);
        } else {
            // A path begins where the kubeconfig is.
            std::fs::copy(beside.join(field(name)?), folder.join(to)).unwrap();
        }
        Some(folder.join(to))
    };
    let server = field("server").expect("a server");
    let identity = file("client-certificate", "admin.pem")
        .zip(file("client-key", "admin.key"))
        .map(|(certificate, key)| Identity { certificate, key });
    let client = Client {
        host: server.trim_start_matches("https://").trim_end_matches('/').to_owned(),
        ca: Some(file("certificate-authority", "ca.pem").expect("the server's authority")),
        token: field("token").unwrap_or_default().to_owned(),
        identity,
        agent: FIXTURE,
    };
    let version = poll(|| client.ask("GET", "/version", &[], b"").ok());
    assert!(version.is_some(), "{REAL}: nobody answers at {server}");
    client
}

/// The fixture itself, on whatever it stands.
#[test]
fn a_namespace_of_its_own_with_exactly_its_rights() {
    everywhere(|cluster| {
        cluster.create(Of::Secret, "db", &[("K", "one")]);
        cluster.create(Of::Secret, "other", &[("K", "one")]);
        cluster.create(Of::ConfigMap, "db", &[("K", "plain")]);
        cluster.grant(&[(Of::Secret, "db")]);
        let may = |of, name| cluster.reader().get(&cluster.path(of, name)).status;
        assert_eq!(may(Of::Secret, "db"), 200);
        assert_eq!((may(Of::Secret, "other"), may(Of::ConfigMap, "db")), (403, 403));
        let watch = format!(
            "{}?watch=1&fieldSelector=metadata.name%3Ddb&resourceVersion={}",
            cluster.core("secrets"),
            cluster.version(Of::Secret, "db")
        );
        let mut watch = cluster.reader().watch(&watch, &[]).unwrap();
        let labelled = cluster.label(Of::Secret, "db", "x");
        let (kind, object) = watch.event();
        assert_eq!((kind.as_str(), version(&object)), ("MODIFIED", labelled));
        cluster.set(Of::Secret, "db", &[("K", "two")]);
        assert_eq!(watch.event().1["data"]["K"], STANDARD.encode("two"));
        cluster.revoke(Of::Secret, "db");
        assert_eq!(may(Of::Secret, "db"), 403);
        cluster.give_back(Of::Secret, "db");
        assert_eq!(may(Of::Secret, "db"), 200);
        cluster.replace_account();
        let refused = poll(|| (may(Of::Secret, "db") == 401).then_some(()));
        assert!(refused.is_some(), "an old token is refused");
        cluster.renew_token();
        assert_eq!(may(Of::Secret, "db"), 200);
        cluster.apply(Of::Secret, "db", &[("K", "three")]);
        assert_eq!(watch.event().1["data"]["K"], STANDARD.encode("three"));
        cluster.delete(Of::Secret, "db");
        let deleted = loop {
            let (kind, _) = watch.event();
            if kind != "MODIFIED" {
                break kind;
            }
        };
        assert_eq!(deleted, "DELETED");
        assert_eq!(may(Of::Secret, "db"), 404);
    });
}

/// How long anything may take that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
