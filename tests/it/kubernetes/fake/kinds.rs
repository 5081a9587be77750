//! What a fake API server can keep, and which path names which.

use serde_json::{Value, json};

/// A kind of object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) resource: &'static str,
    pub(super) title: &'static str,
    pub(super) namespaced: bool,
}

const CORE: &str = "";
const RBAC: &str = "rbac.authorization.k8s.io";

const KINDS: [Kind; 7] = [
    Kind { group: CORE, version: "v1", resource: "secrets", title: "Secret", namespaced: true },
    Kind { group: CORE, version: "v1", resource: "configmaps", title: "ConfigMap", namespaced: true },
    Kind {
        group: CORE,
        version: "v1",
        resource: "serviceaccounts",
        title: "ServiceAccount",
        namespaced: true,
    },
    Kind { group: CORE, version: "v1", resource: "namespaces", title: "Namespace", namespaced: false },
    Kind {
        group: "coordination.k8s.io",
        version: "v1",
        resource: "leases",
        title: "Lease",
        namespaced: true,
    },
    Kind { group: RBAC, version: "v1", resource: "roles", title: "Role", namespaced: true },
    Kind { group: RBAC, version: "v1", resource: "rolebindings", title: "RoleBinding", namespaced: true },
];

impl Kind {
    /// Of this resource name; the names of ours are unique without their group.
    pub(super) fn of(resource: &str) -> &'static Self {
        KINDS.iter().find(|kind| kind.resource == resource).expect("a kind that the fake keeps")
    }

    fn find(group: &str, version: &str, resource: &str, namespaced: bool) -> Option<&'static Self> {
        KINDS.iter().find(|kind| {
            (kind.group, kind.version, kind.resource, kind.namespaced)
                == (group, version, resource, namespaced)
        })
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// As messages name it: `secrets`, `leases.coordination.k8s.io`.
    pub(super) fn group_resource(&self) -> String {
        join(self.resource, self.group)
    }

    /// The same for the kind's own name.
    pub(super) fn group_kind(&self) -> String {
        join(self.title, self.group)
    }

    /// `details` of a `Status`; without a name where that is empty.
    pub(super) fn details(&self, name: &str) -> Value {
        details(self.group, self.resource, name)
    }
}

pub(super) fn join(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

pub(super) fn details(group: &str, resource: &str, name: &str) -> Value {
    let mut details = json!({ "name": name, "group": group, "kind": resource });
    details.as_object_mut().unwrap().retain(|_, value| value != "");
    details
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Objects, or one of them, or a part of that.
    Objects {
        kind: &'static Kind,
        namespace: String,
        name: String,
        part: String,
    },
    TokenReviews,
    SelfSubjectAccessReviews,
    Version,
    Health,
    Nothing,
}

impl Place {
    pub(super) fn of(path: &str) -> Self {
        match path {
            "/apis/authentication.k8s.io/v1/tokenreviews" => return Self::TokenReviews,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
                return Self::SelfSubjectAccessReviews;
            }
            "/version" => return Self::Version,
            "/readyz" | "/livez" | "/healthz" => return Self::Health,
            _ => {}
        }
        let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let (group, version, rest) = match words.as_slice() {
            ["api", version, rest @ ..] => (CORE, *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Self::Nothing,
        };
        let (namespace, resource, rest) = match rest {
            ["namespaces", namespace, resource, rest @ ..] => (*namespace, *resource, rest),
            [resource, rest @ ..] => ("", *resource, rest),
            [] => return Self::Nothing,
        };
        let Some(kind) = Kind::find(group, version, resource, !namespace.is_empty()) else {
            return Self::Nothing;
        };
        let (name, part) = match rest {
            [] => ("", ""),
            [name] => (*name, ""),
            [name, part] => (*name, *part),
            _ => return Self::Nothing,
        };
        Self::Objects { kind, namespace: namespace.into(), name: name.into(), part: part.into() }
    }
}
