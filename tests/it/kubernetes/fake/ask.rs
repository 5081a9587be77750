//! A request, as the fake understood it, and the record that tests look at.

use std::time::Instant;

use super::kinds::Place;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    /// As it came, without its `?`.
    pub(super) raw_query: String,
    /// Names are lower-case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    /// HTTP/1.0: the answer ends with its connection.
    pub(super) old: bool,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    pub(super) fn query(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.raw_query.as_bytes());
        pairs.find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.query(name).as_deref(), Some("true" | "1"))
    }

    /// The name that a field selector picks; `Err` for a field that cannot be selected by.
    pub(super) fn selected(&self) -> Result<Option<String>, String> {
        let Some(selector) = self.query("fieldSelector") else { return Ok(None) };
        let mut name = None;
        for term in selector.split(',').filter(|term| !term.is_empty()) {
            let (field, value) = term.split_once('=').ok_or(term)?;
            match field {
                "metadata.name" => name = Some(value.trim_start_matches('=').to_owned()),
                "metadata.namespace" => {}
                other => return Err(other.to_owned()),
            }
        }
        Ok(name)
    }

    /// Whether metadata only is wanted: of an object, or of a list of them.
    pub(super) fn metadata_only(&self) -> bool {
        self.header("accept").split(',').any(|one| {
            let mut parts = one.split(';').map(str::trim);
            let json = parts.next() == Some("application/json");
            let parts: Vec<&str> = parts.collect();
            let partial = parts.iter().any(|p| p.starts_with("as=PartialObjectMetadata"));
            json && partial && parts.contains(&"g=meta.k8s.io") && parts.contains(&"v=v1")
        })
    }

    /// What Kubernetes calls it: `get`, `list`, `watch`, …
    pub(super) fn verb(&self) -> &'static str {
        let named = matches!(Place::of(&self.path), Place::Objects { name, .. } if !name.is_empty());
        match self.method.as_str() {
            "GET" if named => "get",
            "GET" if self.flag("watch") => "watch",
            "GET" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if named => "delete",
            "DELETE" => "deletecollection",
            _ => "unknown",
        }
    }

    /// Who writes, for `managedFields`.
    pub(super) fn manager(&self) -> String {
        let agent = self.header("user-agent").split('/').next().unwrap_or_default();
        self.query("fieldManager").unwrap_or_else(|| agent.to_owned())
    }
}

/// A request as tests see it. It holds no token, only whose it was.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// Which connection it came by, counted from one.
    pub(crate) connection: u64,
    pub(crate) query: String,
    pub(crate) verb: &'static str,
    /// `secrets`; empty for what is no object.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    /// By path or by field selector; empty where every object was asked for.
    pub(crate) name: String,
    pub(crate) metadata_only: bool,
    /// `system:serviceaccount:NAMESPACE:NAME`, `-` for a token that is not valid.
    pub(crate) user: String,
    pub(crate) user_agent: String,
}

impl Seen {
    pub(super) fn of(asked: &Asked, connection: u64, user: String) -> Self {
        let (mut resource, mut namespace, mut name) = <(String, String, String)>::default();
        if let Place::Objects { kind, namespace: n, name: object, .. } = Place::of(&asked.path) {
            (resource, namespace, name) = (kind.resource.into(), n, object);
        }
        if name.is_empty() {
            name = asked.selected().ok().flatten().unwrap_or_default();
        }
        Self {
            at: Instant::now(),
            connection,
            query: asked.raw_query.clone(),
            verb: asked.verb(),
            resource,
            namespace,
            name,
            metadata_only: asked.metadata_only(),
            user,
            user_agent: asked.header("user-agent").to_owned(),
        }
    }

    /// `watch secrets/db`.
    pub(crate) fn what(&self) -> String {
        format!("{} {}/{}", self.verb, self.resource, self.name)
    }

    /// Whether the query has this, decoded.
    pub(crate) fn asks(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
    }
}
