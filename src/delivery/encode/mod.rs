//! Encodings: the text that one reader reads back as exactly these values.
//!
//! Owns: the formats, and what each one's reader can carry. No two readers of
//! `.env` files agree, so every format names its reader.
//! Invariants: what [`encode`] returns, its reader reads back byte for byte; a
//! value that the reader would change is refused, and then nothing is returned.
//! No reason and no help holds a value. The output is made in one block, so that
//! no copy of it stays behind.
//! Must not know: where the text goes, and which values are secret.

mod refusal;
#[cfg(test)]
mod tests;
mod write;

use std::str::FromStr;

use crate::model::key::Key;
use crate::model::secret::SecretValue;
use refusal::Refusal;

/// A format, named after its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The portable default: values that seven readers of `.env` files read alike
    /// without quotes.
    Dotenv,
    /// Docker Compose: `.env` and `env_file`.
    Compose,
    /// `docker run --env-file`.
    Docker,
    /// systemd's `EnvironmentFile=`.
    Systemd,
    /// A POSIX shell: to be sourced, or given to `eval`.
    Shell,
    /// PowerShell: to be dot-sourced as UTF-8, or given to `Invoke-Expression` as
    /// one text (`Out-String`), not line by line.
    Powershell,
    /// Go's `github.com/joho/godotenv`.
    Godotenv,
    /// Node's `dotenv` package.
    Node,
    /// Python's `python-dotenv`.
    Python,
    /// One JSON object.
    Json,
    /// One YAML mapping of strings, the same in YAML 1.1 and 1.2.
    Yaml,
    /// The manifest of a Kubernetes Secret.
    K8sSecret,
}

impl Format {
    /// Every format, in the order in which they are listed to people.
    pub const ALL: &'static [Self] = &[
        Self::Dotenv,
        Self::Compose,
        Self::Docker,
        Self::Systemd,
        Self::Shell,
        Self::Powershell,
        Self::Godotenv,
        Self::Node,
        Self::Python,
        Self::Json,
        Self::Yaml,
        Self::K8sSecret,
    ];

    /// The name, as `--format` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dotenv => "dotenv",
            Self::Compose => "compose",
            Self::Docker => "docker",
            Self::Systemd => "systemd",
            Self::Shell => "shell",
            Self::Powershell => "powershell",
            Self::Godotenv => "godotenv",
            Self::Node => "node",
            Self::Python => "python",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::K8sSecret => "k8s-secret",
        }
    }
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|format| format.as_str() == text).ok_or(())
    }
}

/// What an encoding needs besides the values.
#[derive(Debug, Default)]
pub struct Options {
    /// k8s-secret: `metadata.name`, a DNS-1123 subdomain. Needed there.
    pub name: Option<String>,
    /// k8s-secret: `metadata.namespace`, a DNS-1123 label; without one, `kubectl`
    /// chooses.
    pub namespace: Option<String>,
}

impl Options {
    /// What keeps any value at all from being encoded, as one sentence part.
    /// [`encode`] refuses every key with it; a caller without values asks here.
    pub fn problem(&self, format: Format) -> Option<&'static str> {
        self.refusal(format).map(Refusal::reason)
    }

    fn refusal(&self, format: Format) -> Option<Refusal> {
        if format != Format::K8sSecret {
            return None;
        }
        if !self.name.as_deref().is_some_and(is_dns_subdomain) {
            return Some(Refusal::SecretName);
        }
        if !self.namespace.as_deref().is_none_or(is_dns_label) {
            return Some(Refusal::SecretNamespace);
        }
        None
    }
}

/// A value that the format's reader would not read back as it is.
#[derive(Debug)]
pub struct Unrepresentable {
    /// Whose value.
    pub key: Key,
    /// Why, as one sentence part; never the value.
    pub reason: String,
    /// What to do instead.
    pub help: String,
}

/// The text whose reader gets exactly these values, in this order.
///
/// # Errors
/// Every value that the reader cannot carry, in the given order. An [`Options`]
/// that does not fit the format refuses every key; without any, the list is
/// empty ([`Options::problem`] has the reason).
pub fn encode(
    format: Format,
    values: &[(&Key, &SecretValue)],
    options: &Options,
) -> Result<SecretValue, Vec<Unrepresentable>> {
    if let Some(refusal) = options.refusal(format) {
        return Err(values.iter().map(|(key, _)| explained(refusal, format, key, None)).collect());
    }
    let capacity = write::capacity(format, values, options);
    let mut out = String::with_capacity(capacity);
    let mut refused = Vec::new();
    let mut carried = 0_usize;

    write::opening(format, &mut out, values.is_empty(), options);
    for (index, (key, value)) in values.iter().enumerate() {
        carried = carried.saturating_add(value.len());
        let written = if format == Format::K8sSecret && carried > write::SECRET_BYTES {
            Err(Refusal::SecretTooLarge)
        } else {
            write::entry(format, &mut out, index, key, value.expose())
        };
        if let Err(refusal) = written {
            refused.push(explained(refusal, format, key, Some(value)));
        }
    }
    write::closing(format, &mut out, values.is_empty());

    debug_assert!(out.len() <= capacity, "the output outgrew its block");
    if refused.is_empty() { Ok(SecretValue::new(out)) } else { Err(refused) }
}

/// As Kubernetes judges the names of most objects: labels with dots between.
fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(has_label_characters)
}

/// As Kubernetes judges the names of namespaces.
fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && has_label_characters(name)
}

fn has_label_characters(label: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !label.is_empty() && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
}

/// The refusal of one key's value; without a value, of whatever it has.
fn explained(refusal: Refusal, format: Format, key: &Key, value: Option<&SecretValue>) -> Unrepresentable {
    let help = match refusal {
        Refusal::SecretName => "give a valid name with --name".to_owned(),
        Refusal::SecretNamespace => "give a valid namespace with --namespace".to_owned(),
        _ => value.map_or_else(String::new, |value| others(format, key, value)),
    };
    Unrepresentable { key: key.clone(), reason: refusal.reason().to_owned(), help }
}

/// Names the formats that can carry the value. They are tried, not listed, so
/// that the advice cannot differ from what the formats do.
fn others(refusing: Format, key: &Key, value: &SecretValue) -> String {
    let carriers: Vec<&str> = Format::ALL
        .iter()
        .filter(|format| **format != refusing)
        .filter(|format| write::alone(**format, key, value).is_ok())
        .map(|format| format.as_str())
        .collect();
    if carriers.is_empty() {
        "no format carries this value".to_owned()
    } else {
        format!("write it for a reader that can carry it: --format {}", carriers.join(", "))
    }
}
