//! Who asks, and what they may: bearer tokens, and the Roles and RoleBindings
//! that the store holds.
//!
//! Current limitations: no ClusterRoles, no groups but an administrator's, no
//! certificates of clients.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::kinds::{Kind, details, join};
use super::status::Status;
use super::store::{Id, Selection, Store};

/// The audience of an API server's own tokens.
pub(super) const AUDIENCE: &str = "https://kubernetes.default.svc";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// May everything.
    Administrator(String),
    Anonymous,
    /// May nothing unless something is bound to it.
    Plain(String),
    ServiceAccount {
        namespace: String,
        name: String,
        uid: String,
    },
}

impl User {
    /// As refusals name it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Administrator(name) | Self::Plain(name) => name.clone(),
            Self::Anonymous => "system:anonymous".into(),
            Self::ServiceAccount { namespace, name, .. } => {
                format!("system:serviceaccount:{namespace}:{name}")
            }
        }
    }
}

struct Token {
    user: User,
    audiences: Vec<String>,
    expired: bool,
}

/// The tokens that were given out.
#[derive(Default)]
pub(super) struct Tokens {
    known: BTreeMap<String, Token>,
    serial: u64,
}

impl Tokens {
    pub(super) fn give(&mut self, user: User, audiences: &[&str], seconds: u64) -> String {
        self.serial += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = json!({ "alg": "RS256", "kid": "fake" });
        let claims = json!({
            "aud": audiences, "exp": now + seconds, "iat": now, "nbf": now, "iss": AUDIENCE,
            "sub": user.name(), "jti": format!("{:032}", self.serial),
        });
        // What it is signed with is nobody's business but the server's, which knows it by heart.
        let parts = [header.to_string(), claims.to_string(), format!("signature {}", self.serial)];
        let token = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let audiences = audiences.iter().map(|&a| a.to_owned()).collect();
        self.known.insert(token.clone(), Token { user, audiences, expired: false });
        token
    }

    pub(super) fn expire(&mut self, token: &str) {
        self.known.get_mut(token).expect("a token that was given out").expired = true;
    }

    /// Whose request this is, by its `Authorization`.
    pub(super) fn authenticate(&self, store: &Store, authorization: &str) -> Result<User, Status> {
        let token = authorization.strip_prefix("Bearer").unwrap_or_default().trim();
        if token.is_empty() {
            return Ok(User::Anonymous);
        }
        self.review(store, token, &[AUDIENCE.to_owned()])
            .map(|(user, _)| user)
            .map_err(|_| Status::unauthorized())
    }

    /// Whose token this is and which of the audiences it is for, or the error of a review.
    pub(super) fn review(
        &self,
        store: &Store,
        token: &str,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), String> {
        let known = self.known.get(token).filter(|token| !token.expired).ok_or("invalid bearer token")?;
        let both: Vec<String> = audiences.iter().filter(|a| known.audiences.contains(a)).cloned().collect();
        if both.is_empty() {
            return Err(format!(
                "[invalid bearer token, token audiences {} is invalid for the target audiences {}]",
                go_list(&known.audiences),
                go_list(audiences)
            ));
        }
        if let User::ServiceAccount { namespace, name, uid } = &known.user {
            let account = store.get(&Id::new(Kind::of("serviceaccounts"), namespace, name));
            match account {
                Err(_) => {
                    return Err(format!("[invalid bearer token, serviceaccounts \"{name}\" not found]"));
                }
                Ok(account) if account["metadata"]["uid"] != **uid => {
                    return Err("[invalid bearer token, service account UID does not match claim]".into());
                }
                Ok(_) => {}
            }
        }
        Ok((known.user.clone(), both))
    }
}

/// As Go prints strings with `%q`.
fn go_list(texts: &[String]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
    format!("[{}]", quoted.join(" "))
}

/// What somebody wants to do.
pub(super) struct Attempt<'a> {
    pub(super) verb: &'a str,
    pub(super) group: &'a str,
    /// With its part: `serviceaccounts/token`.
    pub(super) resource: &'a str,
    /// Empty at the scope of the cluster.
    pub(super) namespace: &'a str,
    /// Empty for all.
    pub(super) name: &'a str,
}

impl Attempt<'_> {
    /// The RoleBinding that allows it, in the words of a review.
    pub(super) fn allowed(&self, store: &Store, user: &User) -> Option<String> {
        if let User::Administrator(_) = user {
            return Some(String::new());
        }
        let every = |resource: &'static str| {
            store.list(&Selection { resource, namespace: self.namespace.into(), name: None })
        };
        if self.namespace.is_empty() {
            return None;
        }
        for (id, binding) in every("rolebindings") {
            let subjects = binding["subjects"].as_array().cloned().unwrap_or_default();
            let bound = |subject: &Value| match user {
                User::ServiceAccount { namespace, name, .. } => {
                    subject["kind"] == "ServiceAccount"
                        && subject["name"] == **name
                        && subject["namespace"] == **namespace
                }
                User::Plain(name) => subject["kind"] == "User" && subject["name"] == **name,
                User::Administrator(_) | User::Anonymous => false,
            };
            let Some(subject) = subjects.iter().find(|subject| bound(subject)) else { continue };
            let role = binding["roleRef"]["name"].as_str().unwrap_or_default();
            let Ok(rules) = store.get(&Id::new(Kind::of("roles"), self.namespace, role)) else { continue };
            if rules["rules"].as_array().into_iter().flatten().any(|rule| self.allowed_by(rule)) {
                let who = match subject["namespace"].as_str() {
                    Some(namespace) => format!("{}/{namespace}", subject["name"].as_str().unwrap()),
                    None => subject["name"].as_str().unwrap().to_owned(),
                };
                return Some(format!(
                    "RBAC: allowed by RoleBinding \"{}/{}\" of Role \"{role}\" to {} \"{who}\"",
                    id.name,
                    id.namespace,
                    subject["kind"].as_str().unwrap()
                ));
            }
        }
        None
    }

    fn allowed_by(&self, rule: &Value) -> bool {
        let list = |name: &str| rule[name].as_array().cloned().unwrap_or_default();
        let has = |name: &str, wanted: &str| list(name).iter().any(|item| item == wanted || item == "*");
        let names = list("resourceNames");
        has("verbs", self.verb)
            && has("apiGroups", self.group)
            && has("resources", self.resource)
            && (names.is_empty() || (!self.name.is_empty() && names.iter().any(|name| name == self.name)))
    }

    pub(super) fn refusal(&self, user: &User) -> Status {
        let bare = self.resource.split('/').next().unwrap();
        let what = join(bare, self.group);
        let named = if self.name.is_empty() { String::new() } else { format!(" \"{}\"", self.name) };
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", self.namespace)
        };
        let message = format!(
            "{what}{named} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
            user.name(),
            self.verb,
            self.resource,
            self.group
        );
        Status::new(403, "Forbidden", &message, details(self.group, bare, self.name))
    }
}
