//! Ways to log in: tokens, AppRole, signed web tokens, Kubernetes accounts,
//! client certificates.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};

use super::tls::Identity;
use super::{Bao, OwnBao, merge};
use crate::hostile::{Hostile, Reply};

impl Bao {
    pub(crate) fn policy(&self, name: &str, hcl: &str) {
        self.write(&format!("sys/policies/acl/{name}"), &json!({ "policy": hcl }));
    }

    /// A token. `options` as auth/token/create takes them: `ttl`, `renewable`,
    /// `period`, `explicit_max_ttl`, `num_uses`, …
    pub(crate) fn token(&self, policies: &[&str], options: &Value) -> String {
        let mut body = json!({ "policies": policies });
        merge(&mut body, options);
        self.write("auth/token/create", &body)["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// Whether the server still takes the token.
    pub(crate) fn knows(&self, token: &str) -> bool {
        self.request("GET", "auth/token/lookup-self", token, None).0 == 200
    }

    /// An AppRole at `auth/approle`: its role-id and a secret-id. `options` are the role's.
    pub(crate) fn approle(&self, role: &str, policies: &[&str], options: &Value) -> (String, String) {
        self.enable_auth("approle");
        let mut body = json!({ "token_policies": policies });
        merge(&mut body, options);
        self.write(&format!("auth/approle/role/{role}"), &body);
        let id = self.read(&format!("auth/approle/role/{role}/role-id"))["data"]["role_id"].clone();
        (id.as_str().unwrap().to_owned(), self.secret_id(role))
    }

    /// One more secret-id of an AppRole.
    pub(crate) fn secret_id(&self, role: &str) -> String {
        let answer = self.write(&format!("auth/approle/role/{role}/secret-id"), &json!({}));
        answer["data"]["secret_id"].as_str().unwrap().to_owned()
    }

    /// One that is wrapped: a token that gives it once, within `ttl`.
    pub(crate) fn wrapped_secret_id(&self, role: &str, ttl: &str) -> String {
        let path = format!("auth/approle/role/{role}/secret-id");
        let headers = [("X-Vault-Token", self.root_token()), ("X-Vault-Wrap-TTL", ttl)];
        let (status, answer) = self.request_with("POST", &path, &headers, Some(&json!({})), None);
        assert_eq!(status, 200, "{answer}");
        answer["wrap_info"]["token"].as_str().unwrap().to_owned()
    }

    /// A role at `auth/jwt` for audience `dlconf`, and who signs for it.
    pub(crate) fn jwt_role(&self, role: &str, policies: &[&str], options: &Value) -> Signer {
        self.enable_auth("jwt");
        let signer = Signer::new();
        self.write("auth/jwt/config", &json!({ "jwt_validation_pubkeys": [signer.key.public_key_pem()] }));
        let mut body = json!({
            "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["dlconf"], "token_policies": policies,
        });
        merge(&mut body, options);
        self.write(&format!("auth/jwt/role/{role}"), &body);
        signer
    }

    /// A role at `auth/kubernetes` for one account, and the cluster that has it.
    pub(crate) fn kubernetes_role(
        &self,
        role: &str,
        account: (&str, &str),
        policies: &[&str],
        options: &Value,
    ) -> Cluster {
        self.enable_auth("kubernetes");
        let cluster = Cluster::new();
        self.write(
            "auth/kubernetes/config",
            &json!({
                "kubernetes_host": cluster.reviews.address(),
                "token_reviewer_jwt": cluster.token("kube-system", "reviewer", Duration::from_hours(1)),
                "disable_local_ca_jwt": true,
                // Asked for, and of no use before a plain-HTTP API.
                "kubernetes_ca_cert": rcgen::generate_simple_self_signed([]).unwrap().cert.pem(),
            }),
        );
        let (namespace, name) = account;
        let mut body = json!({
            "bound_service_account_namespaces": [namespace], "bound_service_account_names": [name],
            "token_policies": policies,
        });
        merge(&mut body, options);
        self.write(&format!("auth/kubernetes/role/{role}"), &body);
        cluster
    }

    fn enable_auth(&self, kind: &str) {
        if self.read("sys/auth")["data"].get(format!("{kind}/")).is_none() {
            self.write(&format!("sys/auth/{kind}"), &json!({ "type": kind }));
        }
    }
}

impl OwnBao {
    /// A role at `auth/cert` for a client certificate with this common name, and the certificate.
    pub(crate) fn cert_role(&self, role: &str, common_name: &str, policies: &[&str]) -> Identity {
        self.enable_auth("cert");
        let authority = std::fs::read_to_string(self.ca()).unwrap();
        self.write(
            &format!("auth/cert/certs/{role}"),
            &json!({
                "certificate": authority, "allowed_common_names": [common_name], "token_policies": policies,
            }),
        );
        self.client(common_name)
    }
}

/// Signs web tokens (ES256, which OpenBao takes for Kubernetes too).
pub(crate) struct Signer {
    key: KeyPair,
}

impl Signer {
    fn new() -> Self {
        Self { key: KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    /// A token for a subject that a `jwt_role` takes, for as long as `life`.
    pub(crate) fn token(&self, subject: &str, life: Duration) -> String {
        self.sign(&json!({ "sub": subject, "aud": "dlconf", "iat": now(), "exp": now() + life.as_secs() }))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT" });
        let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signature = self.key.sign(format!("{header}.{claims}").as_bytes()).unwrap();
        format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(plain(&signature)))
    }
}

/// A P-256 signature as web tokens have it, two numbers of 32 bytes, of one in DER.
fn plain(der: &[u8]) -> Vec<u8> {
    // SEQUENCE, its length, and twice INTEGER, its length, itself: no length needs two bytes.
    let (first, second) = der[4..].split_at(usize::from(der[3]));
    let number = |bytes: &[u8]| {
        let bytes = &bytes[bytes.len().saturating_sub(32)..];
        [&vec![0; 32 - bytes.len()], bytes].concat()
    };
    [number(first), number(&second[2..])].concat()
}

/// A Kubernetes cluster as OpenBao sees one: an API that reviews tokens.
pub(crate) struct Cluster {
    signer: Signer,
    reviews: Hostile,
    /// Tokens whose pod is gone.
    gone: Arc<Mutex<BTreeSet<String>>>,
}

impl Cluster {
    fn new() -> Self {
        let (reviews, gone) = (Hostile::new(), Arc::new(Mutex::new(BTreeSet::new())));
        let refused = Arc::clone(&gone);
        let review = move |request: &super::http::Request| {
            let mut review: Value = serde_json::from_slice(&request.body).unwrap();
            let token = review["spec"]["token"].as_str().unwrap();
            let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok()).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            let good = claims["exp"].as_u64() > Some(now()) && !refused.lock().unwrap().contains(token);
            let account = &claims["kubernetes.io"]["serviceaccount"];
            let wanted = &review["spec"]["audiences"];
            let audiences = if wanted.is_null() { &claims["aud"] } else { wanted };
            let good = good && *audiences == claims["aud"];
            review["status"] = json!({
                "authenticated": good,
                "audiences": audiences,
                "user": { "username": claims["sub"], "uid": account["uid"], "groups": ["system:serviceaccounts"] },
            });
            Reply::json(201, &review)
        };
        reviews.on("/apis/authentication.k8s.io/v1/tokenreviews", [Reply::By(Arc::new(review))]);
        Self { signer: Signer::new(), reviews, gone }
    }

    /// A projected token of a service account.
    pub(crate) fn token(&self, namespace: &str, account: &str, life: Duration) -> String {
        let uid = format!("uid-of-{account}");
        self.signer.sign(&json!({
            "iss": "https://kubernetes.default.svc", "aud": ["https://kubernetes.default.svc"],
            "sub": format!("system:serviceaccount:{namespace}:{account}"),
            "iat": now(), "nbf": now(), "exp": now() + life.as_secs(),
            "kubernetes.io": { "namespace": namespace, "serviceaccount": { "name": account, "uid": uid } },
        }))
    }

    /// From now on the cluster takes the token no more.
    pub(crate) fn revoke(&self, token: &str) {
        self.gone.lock().unwrap().insert(token.to_owned());
    }

    /// How often a token was reviewed.
    pub(crate) fn reviews(&self) -> usize {
        self.reviews.requests().len()
    }
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
