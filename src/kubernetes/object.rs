//! Which object is asked for, and where the API has it. Pure.

use std::fmt;

/// Sorts of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
    /// A Lease.
    Lease,
}

impl Kind {
    /// In a path and in a rule of RBAC: `secrets`.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::Lease => "leases",
        }
    }

    /// Of one, in a place: `secret`.
    pub(crate) fn singular(self) -> &'static str {
        match self {
            Self::Secret => "secret",
            Self::ConfigMap => "configmap",
            Self::Lease => "lease",
        }
    }

    /// Of one, as people write it: `Secret`.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
            Self::Lease => "Lease",
        }
    }

    /// The API group; empty is the core.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::Secret | Self::ConfigMap => "",
            Self::Lease => "coordination.k8s.io",
        }
    }

    fn root(self) -> &'static str {
        match self {
            Self::Secret | Self::ConfigMap => "/api/v1",
            Self::Lease => "/apis/coordination.k8s.io/v1",
        }
    }
}

/// A name of an object or of a namespace: what the API takes as one, so that it
/// needs no escaping in a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// A DNS subdomain name (RFC 1123): what Secrets, ConfigMaps and Leases are called.
    pub fn object(text: &str) -> Option<Self> {
        let label = |label: &str| {
            let ends = [label.bytes().next(), label.bytes().last()];
            ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        (text.len() <= 253 && text.split('.').all(label)).then(|| Self(text.into()))
    }

    /// A DNS label: what a namespace is called.
    pub fn namespace(text: &str) -> Option<Self> {
        Self::object(text).filter(|name| name.0.len() <= 63 && !name.0.contains('.'))
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One object of a namespace. Displays as places print it: `datalens/secret/datalens-api`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) namespace: Name,
    pub(crate) name: Name,
}

impl Object {
    /// The path of all of its kind in the namespace.
    pub(crate) fn collection(&self) -> String {
        format!("{}/namespaces/{}/{}", self.kind.root(), self.namespace, self.kind.resource())
    }

    /// Its own path.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }

    /// The query that selects it among all: what a Role with `resourceNames` allows.
    pub(crate) fn selector(&self) -> String {
        format!("fieldSelector=metadata.name%3D{}", self.name)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.kind.singular(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_api_takes() {
        for good in ["a", "datalens-api", "a.b-c.d", "0", &"x".repeat(253)] {
            assert!(Name::object(good).is_some(), "{good}");
        }
        for bad in ["", "A", "a_b", "-a", "a-", "a..b", ".a", "a/b", "a%2f", "ä", "..", &"x".repeat(254)] {
            assert!(Name::object(bad).is_none(), "{bad}");
        }
        assert!(Name::namespace("a.b").is_none());
        assert!(Name::namespace(&"x".repeat(64)).is_none());
        assert!(Name::namespace("team-a").is_some());
    }

    #[test]
    fn paths_are_those_of_the_api() {
        let object = |kind| Object {
            kind,
            namespace: Name::namespace("datalens").unwrap(),
            name: Name::object("datalens-api").unwrap(),
        };
        assert_eq!(object(Kind::Secret).path(), "/api/v1/namespaces/datalens/secrets/datalens-api");
        assert_eq!(object(Kind::ConfigMap).collection(), "/api/v1/namespaces/datalens/configmaps");
        assert_eq!(
            object(Kind::Lease).path(),
            "/apis/coordination.k8s.io/v1/namespaces/datalens/leases/datalens-api"
        );
        assert_eq!(object(Kind::Secret).selector(), "fieldSelector=metadata.name%3Ddatalens-api");
        assert_eq!(object(Kind::ConfigMap).to_string(), "datalens/configmap/datalens-api");
    }
}
