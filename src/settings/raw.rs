//! The fields as they are written: each of its type, not yet understood
//! together.
//!
//! Owns: which fields there are at all. Which of them a kind of source, login or
//! engine has a use for is told by `kinds`.
//! Must not know: what a field means.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IntoDeserializer as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) schema: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) service: Option<String>,
    pub(super) order: Option<Vec<String>>,
    #[serde(default)]
    pub(super) source: BTreeMap<String, RawSource>,
    #[serde(default)]
    pub(super) delivery: BTreeMap<String, RawDelivery>,
    pub(super) socket: Option<RawSocket>,
    pub(super) ops: Option<RawOps>,
    #[serde(default)]
    pub(super) debounce: RawDebounce,
    pub(super) audit: Option<RawAudit>,
    pub(super) snapshot: Option<RawSnapshot>,
    #[serde(default)]
    pub(super) rotation: RawRotation,
    #[serde(default)]
    pub(super) consumer: BTreeMap<String, RawConsumer>,
}

/// The fields that say where a key is; a table has one of them.
pub(super) const KEY_FIELDS: [&str; 3] = ["key_file", "passphrase_file", "credential"];

/// What a source reads.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceType {
    Env,
    Dotenv,
    File,
    Directory,
    Sealed,
    Vault,
    Kubernetes,
}

impl SourceType {
    /// Whether it reads files of this machine.
    pub(super) fn is_local(self) -> bool {
        matches!(self, Self::Dotenv | Self::File | Self::Directory | Self::Sealed)
    }
}

/// `[source.NAME]`, of whatever type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    #[serde(rename = "type", deserialize_with = "by_name")]
    pub(super) kind: SourceType,
    pub(super) path: Option<String>,
    pub(super) notation: Option<String>,
    pub(super) optional: Option<bool>,
    pub(super) key_file: Option<String>,
    pub(super) passphrase_file: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) max_age: Option<String>,
    pub(super) address: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) auth: Option<RawAuth>,
    #[serde(default)]
    pub(super) paths: Vec<RawPath>,
    pub(super) poll: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) deadline: Option<String>,
    pub(super) required: Option<bool>,
    #[serde(default)]
    pub(super) tls: RawTls,
    #[serde(default)]
    pub(super) secrets: Vec<RawObject>,
    #[serde(default)]
    pub(super) config_maps: Vec<RawObject>,
    pub(super) kubeconfig: Option<String>,
    pub(super) context: Option<String>,
}

/// How to log in.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    Token,
    TokenFile,
    #[serde(rename = "approle")]
    AppRole,
    Kubernetes,
    Jwt,
    Cert,
}

/// `auth`, of whatever method.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuth {
    #[serde(deserialize_with = "by_name")]
    pub(super) method: Method,
    pub(super) mount: Option<String>,
    pub(super) role: Option<String>,
    pub(super) path: Option<String>,
    pub(super) token_file: Option<String>,
    pub(super) role_id: Option<String>,
    pub(super) role_id_file: Option<String>,
    pub(super) secret_id_file: Option<String>,
    pub(super) wrapped: Option<bool>,
}

/// What answers for a path.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Engine {
    #[default]
    Kv2,
    Kv1,
    Database,
    Generic,
}

/// One of `paths`, of whatever engine.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPath {
    #[serde(default, deserialize_with = "by_name")]
    pub(super) engine: Engine,
    pub(super) mount: Option<String>,
    pub(super) path: String,
    #[serde(default)]
    pub(super) map: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) only: Vec<String>,
}

/// One of `secrets` or `config_maps`: a name alone, or a table with one.
#[derive(Debug)]
pub(super) struct RawObject {
    pub(super) name: String,
    /// Whether the name stands alone, so that no field has a place of its own.
    pub(super) alone: bool,
    pub(super) map: BTreeMap<String, String>,
    pub(super) prefix: String,
    pub(super) only: Vec<String>,
    pub(super) base64: Vec<String>,
}

/// The table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObjectTable {
    name: String,
    #[serde(default)]
    map: BTreeMap<String, String>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    only: Vec<String>,
    #[serde(default)]
    base64: Vec<String>,
}

/// What one of `secrets` or `config_maps` must be.
pub(super) const OBJECT: &str = "a name or a table with one";

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(OBJECT)
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<RawObject, E> {
                Ok(RawObject {
                    name: name.to_owned(),
                    alone: true,
                    map: BTreeMap::new(),
                    prefix: String::new(),
                    only: Vec::new(),
                    base64: Vec::new(),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawObject, A::Error> {
                let table = RawObjectTable::deserialize(MapAccessDeserializer::new(map))?;
                let RawObjectTable { name, map, prefix, only, base64 } = table;
                Ok(RawObject { name, alone: false, map, prefix, only, base64 })
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// `tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) ca_cert: Option<String>,
    pub(super) client_cert: Option<String>,
    pub(super) client_key: Option<String>,
    pub(super) insecure_skip_verify: Option<bool>,
}

/// What a delivery makes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum DeliveryType {
    EnvFile,
    Directory,
}

/// `[delivery.NAME]`, of whatever type.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDelivery {
    #[serde(rename = "type", deserialize_with = "by_name")]
    pub(super) kind: DeliveryType,
    pub(super) path: String,
    pub(super) format: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) group: Option<String>,
    pub(super) create_dirs: Option<bool>,
    pub(super) vars: Option<Vec<String>>,
    pub(super) on_change: Option<RawOnChange>,
}

/// `on_change`, whatever is done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOnChange {
    pub(super) exec: Option<Vec<String>>,
    pub(super) timeout: Option<String>,
    pub(super) signal: Option<String>,
    pub(super) pid_file: Option<String>,
    pub(super) min_interval: Option<String>,
}

/// `[socket]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSocket {
    pub(super) path: String,
    pub(super) mode: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) max_connections: Option<u32>,
    pub(super) max_connections_per_user: Option<u32>,
}

/// `[audit]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAudit {
    pub(super) path: String,
    pub(super) key_file: String,
    pub(super) required: Option<bool>,
    pub(super) max_size: Option<String>,
    pub(super) keep: Option<u32>,
}

/// `[snapshot]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSnapshot {
    pub(super) path: String,
    pub(super) key_file: Option<String>,
    pub(super) credential: Option<String>,
    pub(super) max_age: Option<String>,
    pub(super) start_grace: Option<String>,
    pub(super) high_water: Option<String>,
}

/// `[ops]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOps {
    pub(super) listen: String,
}

/// `[debounce]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDebounce {
    pub(super) min: Option<String>,
    pub(super) max: Option<String>,
}

/// `[rotation]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRotation {
    pub(super) enabled: Option<bool>,
    pub(super) leader: Option<String>,
    #[serde(default)]
    pub(super) windows: Vec<String>,
    #[serde(default)]
    pub(super) probe_hosts: Vec<String>,
    pub(super) acknowledgements: Option<String>,
}

/// `[consumer.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConsumer {
    pub(super) instances: Option<u32>,
    pub(super) verifies: Option<String>,
}

/// A kind, by its name only: figment would take a number for its place in the
/// list.
fn by_name<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(deserializer)?.into_deserializer())
}
