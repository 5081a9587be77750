//! The process environment as a source.
//!
//! Owns: the choice of names. The environment is shared with strangers, so it
//! offers the names that the schema knows and those one slip of the pen away
//! from one of them, which [`DLC030`](crate::model::finding::Code::UnknownName)
//! reports. `DLCONF_*` is never offered, nor what dlconf itself logs in with
//! ([`CREDENTIALS`]), whatever a schema declares: those are dlconf's own.
//! Of a name that the environment holds twice, the last value counts.
//! Must not know: the process. It is given the variables that were read once,
//! at start.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{Ask, Fault, FaultKind, Source, SourceError, Vitals};
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer, Place};
use crate::model::origin::{Location, Origin};
use crate::model::secret::SecretValue;

/// The variables that the process was started with, in its order.
pub type Environment = Arc<[(OsString, OsString)]>;

/// What headers and 'looked in' call it.
pub const LABEL: &str = "environment";

/// Names shorter than this are not taken for misspelt ones: everything is one
/// edit away from everything.
const SHORTEST_TYPO: usize = 5;

/// `type = "env"`.
pub struct EnvSource {
    name: SourceName,
    environment: Environment,
}

impl EnvSource {
    /// A source over these variables.
    pub fn new(name: SourceName, environment: Environment) -> Self {
        Self { name, environment }
    }
}

#[async_trait]
impl Source for EnvSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    async fn fetch(&self, ask: Ask<'_>) -> Result<Layer, SourceError> {
        self.read(ask.known)
    }

    fn is_own(&self) -> bool {
        true
    }

    /// It was read once for all: nobody can change what this process was started with.
    async fn vitals(&self) -> Vitals {
        Vitals { confirmed: Some(Instant::now()), lent: Vec::new() }
    }
}

impl EnvSource {
    fn read(&self, known: &BTreeSet<Key>) -> Result<Layer, SourceError> {
        let mut offers = Vec::new();
        let mut faults = Vec::new();
        // No shell makes a name twice, but `execve` lets anyone do so.
        let last: BTreeMap<_, _> = self.environment.iter().map(|(name, value)| (name, value)).collect();
        for (name, value) in last {
            let Some(key) = name.to_str().and_then(|text| Key::new(text).ok()) else { continue };
            let ours = key.as_str().starts_with("DLCONF_") || is_credential(key.as_str());
            if ours || !is_wanted(&key, known) {
                continue;
            }
            let location = Location::Named(format!("env:{key}").into());
            match value.to_str() {
                Some(text) => offers.push(Offer {
                    key,
                    value: SecretValue::from(text).into(),
                    origin: Origin {
                        mark: None,
                        source: self.name.clone(),
                        location,
                        revision: None,
                        modified: None,
                    },
                    excerpt: None,
                }),
                None => faults.push(Fault {
                    kind: FaultKind::Malformed,
                    location,
                    message: format!("the value of {key} in the environment is not UTF-8"),
                    help: "set it to UTF-8 text, or unset it".into(),
                }),
            }
        }
        if !faults.is_empty() {
            return Err(SourceError { source_name: self.name.clone(), faults, rest: None });
        }
        Ok(Layer {
            source: self.name.clone(),
            places: vec![Place { label: LABEL.into(), mode: None }],
            offers,
            remarks: Vec::new(),
        })
    }
}

fn is_wanted(key: &Key, known: &BTreeSet<Key>) -> bool {
    known.contains(key)
        || (key.as_str().len() >= SHORTEST_TYPO
            && known.iter().any(|name| one_edit_apart(key.as_str(), name.as_str())))
}

/// Whether one insertion, deletion, replacement or swap of neighbours makes one
/// name the other. Names are ASCII.
fn one_edit_apart(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    let prefix = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (a, b) = (&a[prefix..], &b[prefix..]);
    let suffix = a.iter().rev().zip(b.iter().rev()).take_while(|(x, y)| x == y).count();
    match (&a[..a.len() - suffix], &b[..b.len() - suffix]) {
        ([], [_]) | ([_], [] | [_]) => true,
        ([p, q], [r, s]) => p == s && q == r,
        _ => false,
    }
}

/// What dlconf logs in with. A schema or an env file that was merely found must
/// not have them printed or handed on, so nothing but [`credential`] gives them.
pub const CREDENTIALS: [&str; 2] = ["BAO_TOKEN", "VAULT_TOKEN"];

fn is_credential(name: &str) -> bool {
    CREDENTIALS.contains(&name)
}

/// Looks a name up, as text; the last one, where there are several. What is not
/// UTF-8 is not found, and [`CREDENTIALS`] are not.
pub fn lookup(environment: &[(OsString, OsString)], name: &str) -> Option<SecretValue> {
    if is_credential(name) { None } else { credential(environment, name) }
}

/// As [`lookup`], for the one that logs in.
pub fn credential(environment: &[(OsString, OsString)], name: &str) -> Option<SecretValue> {
    let (_, value) = environment.iter().rfind(|(key, _)| key == OsStr::new(name))?;
    value.to_str().map(SecretValue::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layer::Value;

    #[test]
    fn one_edit() {
        for (a, b, expected) in [
            ("JWT_SECRET", "JWT_SECRT", true),
            ("JWT_SECRET", "JWT_SECRETS", true),
            ("JWT_SECRET", "JWT_SECERT", true),
            ("JWT_SECRET", "JWT_SECRAT", true),
            ("JWT_SECRET", "JWT_SECRET", false),
            ("JWT_SECRET", "JWT_SCERTE", false),
            ("JWT_SECRET", "JWT_SEC", false),
            ("APP_PORT", "APP_PROT", true),
        ] {
            assert_eq!(one_edit_apart(a, b), expected, "{a} {b}");
            assert_eq!(one_edit_apart(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn takes_known_names_and_typos_only() {
        let environment: Environment = [
            ("JWT_SECRET", "x"),
            ("JWT_SECRT", "y"),
            ("HOME", "/"),
            ("DLCONF_ENV", "z"),
            ("VAULT_TOKEN", "t"),
        ]
        .map(|(k, v)| (OsString::from(k), OsString::from(v)))
        .into();
        let known = ["JWT_SECRET", "DLCONF_ENV", "VAULT_TOKEN"].map(|k| Key::new(k).unwrap()).into();
        let layer = EnvSource::new(SourceName::new("env"), environment).read(&known).unwrap();
        let names: Vec<&str> = layer.offers.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(names, ["JWT_SECRET", "JWT_SECRT"]);
    }

    #[test]
    fn of_a_name_that_is_there_twice_the_last_value_counts() {
        let pairs = [("PORT", "1"), ("PORT", "2"), ("HOST", "x"), ("HOST", "")];
        let environment: Environment = pairs.map(|(k, v)| (OsString::from(k), OsString::from(v))).into();
        let looked_up = lookup(&environment, "PORT").unwrap();
        assert_eq!(looked_up.expose(), "2");
        let known = ["PORT", "HOST"].map(|k| Key::new(k).unwrap()).into();
        let layer = EnvSource::new(SourceName::new("env"), environment).read(&known).unwrap();
        let offers = layer.offers.iter().map(|offer| match &offer.value {
            Value::Literal(value) => format!("{}={}", offer.key, value.expose()),
            Value::Template(_) => panic!("the environment has no templates"),
        });
        assert_eq!(offers.collect::<Vec<_>>(), ["HOST=", "PORT=2"]);
    }

    #[test]
    #[cfg(unix)]
    fn a_value_that_is_not_utf8_is_a_fault_with_its_name() {
        use std::os::unix::ffi::OsStringExt as _;
        let environment: Environment =
            [(OsString::from("JWT_SECRET"), OsString::from_vec(vec![0xff, 0xfe]))].into();
        let known = [Key::new("JWT_SECRET").unwrap()].into();
        let error = EnvSource::new(SourceName::new("env"), environment).read(&known).unwrap_err();
        assert_eq!(error.faults[0].location.to_string(), "env:JWT_SECRET");
    }
}
