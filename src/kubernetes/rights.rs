//! Who we are and what we may do: asked of the server, which knows its own rules.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Said, Shape};
use super::object::{Kind, Name, Object};
use super::trouble::Trouble;

/// What is done with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verb {
    /// Read it by its name.
    Get,
    /// Find it by its name among all.
    List,
    /// Be told of its changes.
    Watch,
    /// Make it.
    Create,
    /// Write it anew.
    Update,
    /// Change a part of it.
    Patch,
    /// Take it away.
    Delete,
}

impl Verb {
    /// As rules of RBAC call it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

/// Those of `verbs` that the server does not permit (SelfSubjectAccessReview, which
/// every identity may ask for unless somebody took that away).
///
/// # Errors
/// [`Trouble`] where the server does not tell.
pub(crate) async fn missing(client: &Client, object: &Object, verbs: &[Verb]) -> Result<Vec<Verb>, Trouble> {
    let mut missing = Vec::new();
    for verb in verbs {
        if !asked(client, object.kind, &object.namespace, object.name.as_str(), *verb).await? {
            missing.push(*verb);
        }
    }
    Ok(missing)
}

/// Whether the server permits this on every object of the kind in a namespace.
///
/// # Errors
/// [`Trouble`] where the server does not tell.
pub(crate) async fn may_all(
    client: &Client,
    kind: Kind,
    namespace: &Name,
    verb: Verb,
) -> Result<bool, Trouble> {
    // Of no name: of any.
    asked(client, kind, namespace, "", verb).await
}

async fn asked(
    client: &Client,
    kind: Kind,
    namespace: &Name,
    name: &str,
    verb: Verb,
) -> Result<bool, Trouble> {
    #[derive(Deserialize)]
    struct Review {
        status: Answer,
    }
    #[derive(Deserialize)]
    struct Answer {
        allowed: bool,
    }
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": {
            "group": kind.group(),
            "resource": kind.resource(),
            "namespace": namespace.as_str(),
            "name": name,
            "verb": verb.as_str(),
        } },
    });
    let said = Said {
        method: Method::POST,
        target: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".into(),
        shape: Shape::Whole,
        body: Some(review.to_string().into_bytes()),
    };
    Ok(client.ask::<Review>(said).await?.status.allowed)
}

/// Who we are, as the server says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Who {
    #[serde(default)]
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) groups: Vec<String>,
}

/// Asks the server who we are to it (SelfSubjectReview).
///
/// # Errors
/// [`Trouble`] where it does not tell, as one does that is older than 1.28.
pub(crate) async fn who(client: &Client) -> Result<Who, Trouble> {
    #[derive(Deserialize)]
    struct Review {
        status: Answer,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        user_info: Who,
    }
    let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" });
    let said = Said {
        method: Method::POST,
        target: "/apis/authentication.k8s.io/v1/selfsubjectreviews".into(),
        shape: Shape::Whole,
        body: Some(review.to_string().into_bytes()),
    };
    Ok(client.ask::<Review>(said).await?.status.user_info)
}
