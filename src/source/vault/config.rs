//! What a Vault source is told: checked, and without any secret.
//!
//! Settings make it; nothing here reads a file or asks a server.

use std::time::Duration;

use url::Url;

use crate::source::fields::Select;
use crate::source::file::ShownPath;

/// What holds where settings say nothing.
pub mod default {
    use std::time::Duration;

    /// Between two looks at versions.
    pub const POLL: Duration = Duration::from_secs(5);
    /// For one request, its whole answer included.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
    /// For a one-shot command, all retries included.
    pub const DEADLINE: Duration = Duration::from_secs(10);
    /// Where Kubernetes mounts the service account's token.
    pub const KUBERNETES_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
}

/// `[source.NAME]` with `type = "vault"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the server is.
    pub address: Address,
    /// The namespace of everything that is asked, without slashes at its ends.
    pub namespace: Option<String>,
    /// How to log in.
    pub auth: Auth,
    /// What is read; at least one. Of one name, the later path wins.
    pub paths: Vec<PathSpec>,
    /// How often versions are looked at.
    pub poll: Duration,
    /// Whether a path that holds nothing is an error.
    pub required: bool,
    /// Whom to trust.
    pub tls: Tls,
    /// The most that one request may take, its whole answer included.
    pub timeout: Duration,
    /// The most that a one-shot command waits for it, all retries included.
    pub deadline: Duration,
    /// Whether rotation may write to it: `doctor` then looks at what a write needs.
    pub rotates: bool,
}

/// `http://` or `https://`, a host, maybe a port and a path in front of `/v1`. No
/// user, no query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Checks an address.
    ///
    /// # Errors
    /// What is wrong with it, as a clause, without the text itself.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "is no URL such as https://vault.example.com:8200")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must begin with https:// or http://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or a password");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("must end with its path");
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err("names no host");
        }
        Ok(Self(url))
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// As printed, without a slash at its end.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }
}

/// How to log in. Files are read when they are needed, and again when they
/// change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A token from the process environment (`VAULT_TOKEN`, `BAO_TOKEN`).
    Token,
    /// A token in a file, which somebody else keeps fresh.
    TokenFile {
        /// The file.
        path: ShownPath,
    },
    /// AppRole.
    AppRole {
        /// Where it is mounted: `approle`.
        mount: String,
        /// The role's id.
        role_id: RoleId,
        /// The file that holds the secret-id, or the token that wraps it.
        secret_id: Option<ShownPath>,
        /// Whether the file holds a wrapping token.
        wrapped: bool,
    },
    /// Kubernetes: the pod's projected token.
    Kubernetes {
        /// Where it is mounted: `kubernetes`.
        mount: String,
        /// The role.
        role: String,
        /// The file of the token.
        token: ShownPath,
    },
    /// A JWT from a file: CI's identity, SPIFFE.
    Jwt {
        /// Where it is mounted: `jwt`.
        mount: String,
        /// The role; none means the mount's default.
        role: Option<String>,
        /// The file of the token.
        token: ShownPath,
    },
    /// The TLS client certificate of [`Tls::identity`].
    Cert {
        /// Where it is mounted: `cert`.
        mount: String,
        /// The certificate role; none tries all.
        role: Option<String>,
    },
}

/// AppRole's role-id: not a secret by itself, but often kept like one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleId {
    /// Written in the settings.
    Text(String),
    /// In a file.
    File(ShownPath),
}

/// Whom to trust, and who we are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// A PEM bundle: these authorities and no others. None means the system's.
    pub ca_cert: Option<ShownPath>,
    /// A client certificate and its key, in PEM.
    pub identity: Option<Identity>,
    /// Whether the server's certificate is not looked at.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key, in PEM; they may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, with its chain.
    pub cert: ShownPath,
    /// The key.
    pub key: ShownPath,
}

/// One path, and what is taken from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathSpec {
    /// What is read, and how.
    pub engine: Engine,
    /// Which of its fields, under which names.
    pub select: Select,
}

/// What is read, and how. Mounts and paths have no slash at their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// Key-value with versions.
    Kv2 {
        /// Where the engine is mounted: `secret`.
        mount: String,
        /// The secret: `datalens/production`.
        path: String,
    },
    /// Key-value without versions.
    Kv1 {
        /// Where the engine is mounted.
        mount: String,
        /// The secret.
        path: String,
    },
    /// Database credentials, with their lease.
    Database {
        /// The whole path: `database/creds/datalens`.
        path: String,
    },
    /// Anything that a read answers with `data`.
    Generic {
        /// The whole path.
        path: String,
    },
}

impl Engine {
    /// The path as the API has it for reading, without `/v1/`.
    pub fn api_path(&self) -> String {
        match self {
            Self::Kv2 { mount, path } => format!("{mount}/data/{path}"),
            Self::Kv1 { mount, path } => format!("{mount}/{path}"),
            Self::Database { path } | Self::Generic { path } => path.clone(),
        }
    }

    /// The path as people write it: `secret/datalens/production`.
    pub fn shown_path(&self) -> String {
        match self {
            Self::Kv2 { mount, path } | Self::Kv1 { mount, path } => format!("{mount}/{path}"),
            Self::Database { path } | Self::Generic { path } => path.clone(),
        }
    }
}
