//! The HTTP API, as far as it is used: requests that `vaultrs` lacks (or loses
//! the answer of), and answers.
//!
//! Answers are our own types: those of `vaultrs` drop leases, print tokens in
//! `Debug`, and turn `1.50` into `1.5`. Here values stay the slices of JSON that
//! the server wrote, until `fields` makes them values.
//! Source: <https://openbao.org/api-docs/> (OpenBao 2.7) and
//! <https://developer.hashicorp.com/vault/api-docs>.

use std::collections::BTreeMap;

use rustify_derive::Endpoint;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::model::secret::SecretValue;

/// `GET /v1/{path}`: what any engine answers to a read.
#[derive(Debug, Endpoint)]
#[endpoint(path = "{self.path}")]
pub(super) struct Read {
    #[endpoint(skip)]
    pub(super) path: String,
}

/// `GET /v1/{mount}/subkeys/{path}?depth=1`: the names of a KV v2 secret's
/// fields, without their values.
#[derive(Debug, Endpoint)]
#[endpoint(path = "{self.mount}/subkeys/{self.path}")]
pub(super) struct ReadSubkeys {
    #[endpoint(skip)]
    pub(super) mount: String,
    #[endpoint(skip)]
    pub(super) path: String,
    #[endpoint(query)]
    pub(super) depth: u8,
}

/// `POST /v1/{mount}/data/{path}`: a new version of a KV v2 secret.
#[derive(Endpoint)]
#[endpoint(path = "{self.mount}/data/{self.path}", method = "POST")]
pub(super) struct WriteSecret {
    #[endpoint(skip)]
    pub(super) mount: String,
    #[endpoint(skip)]
    pub(super) path: String,
    /// JSON, with values.
    #[endpoint(raw)]
    pub(super) body: Vec<u8>,
}

/// `LIST /v1/{mount}/detailed-metadata/{folder}` (OpenBao since 2.2): the
/// versions of all secrets of a folder at once.
#[derive(Debug, Endpoint)]
#[endpoint(path = "{self.mount}/detailed-metadata/{self.folder}", method = "LIST")]
pub(super) struct ListDetailedMetadata {
    #[endpoint(skip)]
    pub(super) mount: String,
    #[endpoint(skip)]
    pub(super) folder: String,
}

/// `POST /v1/auth/{mount}/login` with a client certificate. The one of `vaultrs`
/// 0.8 calls the role `cert_name`, which servers pass over: they try all roles.
#[derive(Debug, Endpoint)]
#[endpoint(path = "auth/{self.mount}/login", method = "POST")]
pub(super) struct LoginByCert {
    #[endpoint(skip)]
    pub(super) mount: String,
    /// The role; empty tries all.
    pub(super) name: String,
}

/// `POST /v1/auth/token/renew-self`. The one of `vaultrs` 0.8 has a tab in its
/// path.
#[derive(Debug, Endpoint)]
#[endpoint(path = "auth/token/renew-self", method = "POST")]
pub(super) struct RenewSelf {}

/// `POST /v1/auth/token/revoke-self`; see [`RenewSelf`].
#[derive(Debug, Endpoint)]
#[endpoint(path = "auth/token/revoke-self", method = "POST")]
pub(super) struct RevokeSelf {}

/// `POST /v1/sys/leases/renew`.
#[derive(Endpoint)]
#[endpoint(path = "sys/leases/renew", method = "POST")]
pub(super) struct RenewLease {
    pub(super) lease_id: String,
}

/// `POST /v1/sys/leases/revoke`.
#[derive(Endpoint)]
#[endpoint(path = "sys/leases/revoke", method = "POST")]
pub(super) struct RevokeLease {
    pub(super) lease_id: String,
    pub(super) sync: bool,
}

/// `POST /v1/sys/capabilities-self`.
#[derive(Debug, Endpoint)]
#[endpoint(path = "sys/capabilities-self", method = "POST")]
pub(super) struct CapabilitiesSelf {
    pub(super) paths: Vec<String>,
}

/// What every answer is wrapped in.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Envelope<T> {
    pub(super) data: Option<T>,
    pub(super) auth: Option<AuthAnswer>,
    #[serde(default)]
    pub(super) lease_id: String,
    /// Seconds.
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// The login that an answer brings.
#[derive(Deserialize)]
pub(super) struct AuthAnswer {
    #[serde(deserialize_with = "secret")]
    pub(super) client_token: SecretValue,
    /// Seconds; 0 means for ever.
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

/// Fields as the server wrote them, by name.
pub(super) type RawFields = BTreeMap<String, Box<RawValue>>;

/// A read of KV v2's data; `data` is null where the version is deleted.
#[derive(Deserialize)]
pub(super) struct SecretAnswer {
    pub(super) data: Option<RawFields>,
    pub(super) metadata: VersionAnswer,
}

/// A read of KV v2's subkeys.
#[derive(Deserialize)]
pub(super) struct SubkeysAnswer {
    pub(super) subkeys: Option<BTreeMap<String, Subkey>>,
    pub(super) metadata: VersionAnswer,
}

/// What stands below a name: nothing that is looked at.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Subkey {
    _below: Option<serde::de::IgnoredAny>,
}

/// One version of a KV v2 secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct VersionAnswer {
    /// In an answer about one version.
    #[serde(default)]
    pub(super) version: u64,
    /// RFC 3339.
    #[serde(default)]
    pub(super) created_time: String,
    /// RFC 3339, empty where it is not deleted. May lie in the future.
    #[serde(default)]
    pub(super) deletion_time: String,
    #[serde(default)]
    pub(super) destroyed: bool,
}

/// A read of KV v2's metadata.
#[derive(Deserialize)]
pub(super) struct MetadataAnswer {
    pub(super) current_version: u64,
    #[serde(default)]
    pub(super) versions: BTreeMap<String, VersionAnswer>,
    /// Whether a write has to say which version it follows.
    #[serde(default)]
    pub(super) cas_required: bool,
}

/// A read of a KV v2 mount's configuration.
#[derive(Deserialize)]
pub(super) struct MountAnswer {
    /// As [`MetadataAnswer::cas_required`], for every secret of it.
    #[serde(default)]
    pub(super) cas_required: bool,
}

impl MetadataAnswer {
    /// The current version, complete; none where there never was one.
    pub(super) fn current(&self) -> Option<VersionAnswer> {
        let version = self.versions.get(&self.current_version.to_string())?;
        Some(VersionAnswer { version: self.current_version, ..version.clone() })
    }
}

/// A LIST of KV v2's detailed metadata.
#[derive(Deserialize)]
pub(super) struct FolderAnswer {
    #[serde(default)]
    pub(super) key_info: BTreeMap<String, FolderEntry>,
}

/// An entry of a folder: a secret, or a folder in it (whose info is empty).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum FolderEntry {
    /// A secret.
    Secret(MetadataAnswer),
    /// Something else.
    Other(serde::de::IgnoredAny),
}

/// A look at the token itself.
#[derive(Deserialize)]
pub(super) struct TokenAnswer {
    /// Seconds that are left; 0 means for ever.
    #[serde(default)]
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
    /// Uses that are left; 0 means any number.
    #[serde(default)]
    pub(super) num_uses: u64,
    #[serde(default)]
    pub(super) policies: Vec<String>,
}

/// What a wrapping token wraps.
#[derive(Deserialize)]
pub(super) struct WrappingAnswer {
    #[serde(default)]
    pub(super) creation_path: String,
}

/// An unwrapped secret-id.
#[derive(Deserialize)]
pub(super) struct SecretIdAnswer {
    #[serde(deserialize_with = "secret")]
    pub(super) secret_id: SecretValue,
}

/// `GET /v1/sys/health`.
#[derive(Debug, Deserialize)]
pub(super) struct HealthAnswer {
    pub(super) initialized: bool,
    #[serde(default)]
    pub(super) sealed: bool,
    #[serde(default)]
    pub(super) standby: bool,
    #[serde(default)]
    pub(super) version: String,
}

/// What the server says of its refusal.
#[derive(Deserialize)]
pub(super) struct ErrorsAnswer {
    #[serde(default)]
    pub(super) errors: Vec<String>,
    /// What some refusals say instead.
    pub(super) warnings: Option<Vec<String>>,
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretValue, D::Error> {
    String::deserialize(deserializer).map(SecretValue::new)
}
