//! Why a server's answer is not what was asked for, and what that means.
//!
//! Invariants: nothing that the server wrote is repeated, since it may quote a
//! request or a connection string: what it says is recognised, not shown. Only
//! what it states is believed: silence, errors and nonsense are 'unavailable',
//! never 'missing'.

use std::fmt;
use std::time::Duration;

use super::api::ErrorsAnswer;
use crate::network::Break;

/// Why an exchange gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub(super) struct Trouble {
    pub(super) kind: Kind,
    /// How long the server asks to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Sorts of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The connection came to nothing.
    Network(Break),
    /// It is sealed.
    Sealed,
    /// It is not initialised.
    Uninitialised,
    /// It is a standby that does not answer such requests (429 of health, 472, 473).
    Standby(u16),
    /// It asks for less (429).
    TooManyRequests,
    /// It lags behind (412).
    Behind,
    /// It has an older version than was seen, and not only for a moment.
    Older,
    /// It failed (5xx).
    ServerError(u16),
    /// It sends us elsewhere (3xx), where tokens are not sent.
    Redirect(u16),
    /// It answers something that is not the API's JSON.
    NotTheApi,
    /// Its answer is larger than any secret can be.
    TooLarge,
    /// The token is not good (any more), or does not permit it (403).
    Forbidden,
    /// There is nothing (404).
    NotFound,
    /// No engine or auth method is mounted there.
    NoMount,
    /// The mount is KV version 2, and it was asked as version 1.
    Versioned,
    /// There is no such namespace.
    NoNamespace,
    /// The server does not know the operation (405).
    Unsupported,
    /// The role, the secret-id or the token to log in with is refused.
    LoginRefused,
    /// The wrapping token was used already, or has ended.
    Unwrapped,
    /// The lease is gone.
    NoLease,
    /// What was to be written was compared with a version that is not the newest.
    Outdated,
    /// It refuses the request otherwise (4xx).
    Rejected(u16),
    /// The request cannot be written: the token or the namespace holds what no
    /// header can.
    Unwritable,
}

impl Kind {
    /// Whether asking again may help.
    pub(super) fn passes(self) -> bool {
        matches!(
            self,
            Self::Sealed
                | Self::Uninitialised
                | Self::Standby(_)
                | Self::TooManyRequests
                | Self::Behind
                | Self::ServerError(_)
                | Self::NotTheApi
        ) || matches!(self, Self::Network(what) if what.passes())
    }

    /// What to do about it.
    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Network(what) => match what {
                Break::ConnectionRefused => "start the server, or correct `address`",
                Break::UnknownHost => "correct the host in `address`, or the resolver",
                Break::Connection | Break::Timeout => {
                    "see whether the server and the network between are well"
                }
                Break::UnknownIssuer => {
                    "name the authority that signed it: `tls = { ca_cert = \"ca.pem\" }`, or VAULT_CACERT"
                }
                Break::WrongName => "use the name that the certificate has in `address`",
                Break::Expired => "renew the server's certificate, or correct this machine's clock",
                Break::Tls => "see whether `address` names the API's port and both speak TLS 1.2 or 1.3",
                Break::CertificateRequired => {
                    "give a client certificate: `tls = { client_cert = …, client_key = … }`"
                }
                Break::NotHttp => "see whether `address` has the right scheme and port",
            },
            Self::Sealed => "unseal it: `bao operator unseal`",
            Self::Uninitialised => "initialise it: `bao operator init`",
            Self::Standby(_) => "name the active server, or a load balancer in front of all",
            Self::TooManyRequests => "raise its rate limit quota, or `poll`",
            Self::Behind | Self::ServerError(_) | Self::Rejected(_) => "see the server's log",
            Self::Older => {
                "if it was restored from a backup, write the secret anew; or start dlconf anew to take the older one"
            }
            Self::Redirect(_) => {
                "name in `address` the server that answers: tokens do not follow redirections"
            }
            Self::NotTheApi | Self::TooLarge => {
                "see whether `address` names the server itself: a proxy or a login page may answer"
            }
            Self::Forbidden => "`dlconf vault-policy` prints the policy that the settings need",
            Self::NotFound => "correct the path, write the secret, or excuse it: `required = false`",
            Self::NoMount => "correct the mount; `bao secrets list` and `bao auth list` show them",
            Self::Versioned => "write `engine = \"kv2\"` for this path",
            Self::NoNamespace => "correct `namespace`; `bao namespace list` shows them",
            Self::Unsupported => "use another `engine` for this path",
            Self::LoginRefused => {
                "see whether the mount and the role exist, and the credential is of the role and has not ended"
            }
            Self::Unwrapped => {
                "treat the secret-id as stolen until you know who unwrapped it; then write a new wrapping token"
            }
            Self::NoLease => "nothing: new credentials are asked for",
            Self::Outdated => "nothing: it is read again",
            Self::Unwritable => "the token file holds more than a token, or the namespace is none",
        }
    }
}

impl fmt::Display for Kind {
    /// A clause that goes on from a subject: `https://vault:8200 …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Network(what) => return what.fmt(f),
            Self::Sealed => "is sealed",
            Self::Uninitialised => "is not initialised",
            Self::Standby(status) => return write!(f, "is a standby that does not serve this ({status})"),
            Self::TooManyRequests => "asks for fewer requests (429)",
            Self::Behind => "lags behind its cluster",
            Self::Older => "has an older version there than it had before",
            Self::ServerError(status) => return write!(f, "failed ({status})"),
            Self::Redirect(status) => return write!(f, "sends us elsewhere ({status})"),
            Self::NotTheApi => "answers with something that is not Vault's JSON",
            Self::TooLarge => "answers with more than any secret can be",
            Self::Forbidden => "does not permit it (403)",
            Self::NotFound => "has nothing there (404)",
            Self::NoMount => "has no engine or auth method mounted there",
            Self::Versioned => "has KV version 2 there, not version 1",
            Self::NoNamespace => "has no such namespace",
            Self::Unsupported => "does not support the operation (405)",
            Self::LoginRefused => "refuses the login",
            Self::Unwrapped => "says that the wrapping token was used already, or has ended",
            Self::NoLease => "says that the lease is gone",
            Self::Outdated => "has another version there than the one that was read",
            Self::Rejected(status) => return write!(f, "refuses the request ({status})"),
            Self::Unwritable => "cannot be asked: the token or the namespace holds what no header can",
        };
        f.write_str(text)
    }
}

impl From<Break> for Kind {
    fn from(what: Break) -> Self {
        Self::Network(what)
    }
}

impl From<Kind> for Trouble {
    fn from(kind: Kind) -> Self {
        Self { kind, retry_after: None }
    }
}

impl From<Break> for Trouble {
    fn from(what: Break) -> Self {
        Kind::from(what).into()
    }
}

impl Trouble {
    /// What a status other than success means.
    pub(super) fn of_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let (errors, warnings) = serde_json::from_slice::<ErrorsAnswer>(body)
            .map(|answer| (answer.errors, answer.warnings.unwrap_or_default()))
            .unwrap_or_default();
        let said = |words: &str| errors.iter().any(|error| error.contains(words));
        let warned = |words: &str| warnings.iter().any(|warning| warning.contains(words));
        let kind = match status {
            300..=399 => Kind::Redirect(status),
            // What Go's server says to plain HTTP on a TLS port.
            400 if body.starts_with(b"Client sent an HTTP request to an HTTPS server") => {
                Kind::Network(Break::NotHttp)
            }
            400 if said("wrapping token is not valid") => Kind::Unwrapped,
            400 if said("check-and-set parameter did not match") => Kind::Outdated,
            400 if said("lease not found") || said("invalid lease") => Kind::NoLease,
            400 if said("invalid role or secret ID")
                || said("invalid role ID")
                || said("invalid secret id")
                || said("error validating token")
                || said("role \"")
                || said("could not be found")
                || said("error verifying token")
                || said("failed to match all constraints")
                || said("invalid certificate")
                || said("client certificate must be supplied") =>
            {
                Kind::LoginRefused
            }
            403 => Kind::Forbidden,
            404 if said("no handler for route") => Kind::NoMount,
            404 if warned("versioned K/V secrets engine") => Kind::Versioned,
            404 if said("namespace not found") => Kind::NoNamespace,
            // What the API says of nothing; a proxy's 404 is not, nor one with a reason
            // that is not known.
            404 if is_nothing(body) => Kind::NotFound,
            404 if errors.is_empty() => Kind::NotTheApi,
            405 => Kind::Unsupported,
            412 => Kind::Behind,
            429 => Kind::TooManyRequests,
            472 | 473 => Kind::Standby(status),
            501 => Kind::Uninitialised,
            503 if said("sealed") => Kind::Sealed,
            500..=599 => Kind::ServerError(status),
            _ => Kind::Rejected(status),
        };
        Self { kind, retry_after }
    }
}

/// Whether a body is the API's for 'nothing there': `errors` that are none, or an
/// answer with a `request_id`.
fn is_nothing(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Shape {
        errors: Option<Vec<serde::de::IgnoredAny>>,
        request_id: Option<serde::de::IgnoredAny>,
    }
    let says_nothing = |s: Shape| s.errors.map_or(s.request_id.is_some(), |errors| errors.is_empty());
    serde_json::from_slice::<Shape>(body).is_ok_and(says_nothing)
}
