//! Why an API server's answer is not what was asked for, and what that means.
//!
//! Invariants: nothing that the server wrote is repeated; what it says is
//! recognised. Only what it states is believed: silence, errors and nonsense are
//! 'unavailable', never 'missing'.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::network::Break;

/// Why an exchange gave nothing usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Trouble {
    pub(crate) why: Why,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// Sorts of trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The connection came to nothing.
    Network(Break),
    /// There is no way to it: a kubeconfig or the service account's files.
    Access(Misfit),
    /// It does not know us (any more): 401.
    Unauthorized,
    /// It knows us and does not permit it: 403.
    Forbidden,
    /// It states that there is no such object: 404.
    NotFound,
    /// There is one already, or somebody else changed it: 409.
    Conflict,
    /// It has forgotten the version that was asked for: 410.
    Expired,
    /// It refuses what was written: 422.
    Invalid,
    /// It asks for less: 429.
    TooManyRequests,
    /// It failed (5xx).
    ServerError(u16),
    /// It sends us elsewhere (3xx), where tokens are not sent.
    Redirect(u16),
    /// It answers something that is not the API's JSON.
    NotTheApi,
    /// Its answer is larger than any object can be.
    TooLarge,
    /// It refuses the request otherwise (4xx).
    Rejected(u16),
}

/// What is wrong with the way to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// One sentence, value-free.
    pub(crate) message: String,
    /// What to do.
    pub(crate) help: String,
}

impl Why {
    /// Whether asking again may help a command that does not wait for long.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Network(what) => what.passes(),
            Self::TooManyRequests | Self::ServerError(_) | Self::NotTheApi | Self::Expired => true,
            _ => false,
        }
    }

    /// What to do about it.
    pub(crate) fn help(&self) -> String {
        let text = match self {
            Self::Network(what) => match what {
                Break::ConnectionRefused => "see whether the API server runs, and the address is right",
                Break::UnknownHost => "correct the address, or the resolver",
                Break::Connection | Break::Timeout => {
                    "see whether the API server and the network between are well; a NetworkPolicy may forbid it"
                }
                Break::UnknownIssuer => {
                    "name the cluster's authority: `certificate-authority` in the kubeconfig; in a pod, mount ca.crt beside the token"
                }
                Break::WrongName => {
                    "use a name that the certificate has, or say it: `tls-server-name` in the kubeconfig"
                }
                Break::Expired => "renew the server's certificate, or correct this machine's clock",
                Break::Tls => "see whether the address names the API's port and both speak TLS 1.2 or 1.3",
                Break::CertificateRequired => "give a client certificate in the kubeconfig",
                Break::NotHttp => "see whether the address has the right scheme and port",
            },
            Self::Access(misfit) => return misfit.help.clone(),
            Self::Unauthorized => {
                "the token has ended, is for another audience, or its service account was deleted: see what mounts it"
            }
            Self::Forbidden => "`dlconf rbac` prints the Role that the settings need",
            Self::NotFound => {
                "create it, correct the name or the namespace, or excuse it: `required = false`"
            }
            Self::Conflict => "somebody else writes it too",
            Self::Expired | Self::ServerError(_) | Self::Rejected(_) => "see the API server's log",
            Self::Invalid => "see `kubectl describe` of the object",
            Self::TooManyRequests => "the API server is busy; it is asked again",
            Self::Redirect(_) => "name the server that answers: tokens do not follow redirections",
            Self::NotTheApi | Self::TooLarge => {
                "see whether the address names the API server itself: a proxy or a login page may answer"
            }
        };
        text.to_owned()
    }
}

impl fmt::Display for Why {
    /// A clause that goes on from a subject: `https://10.0.0.1:6443 …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Network(what) => return what.fmt(f),
            Self::Access(misfit) => &misfit.message,
            Self::Unauthorized => "does not accept our credentials (401)",
            Self::Forbidden => "does not permit it (403)",
            Self::NotFound => "has no such object (404)",
            Self::Conflict => "has another version of it (409)",
            Self::Expired => "no longer has the version that was asked for (410)",
            Self::Invalid => "refuses what was written (422)",
            Self::TooManyRequests => "asks for fewer requests (429)",
            Self::ServerError(status) => return write!(f, "failed ({status})"),
            Self::Redirect(status) => return write!(f, "sends us elsewhere ({status})"),
            Self::NotTheApi => "answers with something that is not the API's JSON",
            Self::TooLarge => "answers with more than any object can be",
            Self::Rejected(status) => return write!(f, "refuses the request ({status})"),
        };
        f.write_str(text)
    }
}

impl From<Why> for Trouble {
    fn from(why: Why) -> Self {
        Self { why, retry_after: None }
    }
}

impl From<Break> for Trouble {
    fn from(what: Break) -> Self {
        Why::Network(what).into()
    }
}

/// What the API says instead of an object; its words are not looked at.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    #[serde(default)]
    kind: Box<str>,
    #[serde(default)]
    details: Option<Details>,
    #[serde(default)]
    pub(super) code: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Details {
    #[serde(default)]
    name: Option<Box<str>>,
}

impl Status {
    fn is_one(&self) -> bool {
        &*self.kind == "Status"
    }

    /// Whether it speaks of an object rather than of a path that is not served.
    fn names_an_object(&self) -> bool {
        self.details.as_ref().is_some_and(|details| details.name.is_some())
    }
}

impl Trouble {
    /// What a status other than success means. A 404 counts only where the API says
    /// it in its own words: a proxy's is none.
    pub(super) fn of_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let said = || serde_json::from_slice::<Status>(body).ok().filter(Status::is_one);
        let why = match status {
            // What Go's server says to plain HTTP on a TLS port.
            400 if body.starts_with(b"Client sent an HTTP request to an HTTPS server") => {
                Why::Network(Break::NotHttp)
            }
            401 => Why::Unauthorized,
            403 => Why::Forbidden,
            404 if said().is_some_and(|said| said.names_an_object()) => Why::NotFound,
            404 => Why::NotTheApi,
            409 => Why::Conflict,
            410 => Why::Expired,
            422 => Why::Invalid,
            429 => Why::TooManyRequests,
            300..=399 => Why::Redirect(status),
            500..=599 => Why::ServerError(status),
            _ => Why::Rejected(status),
        };
        Self { why, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expect: &Why) {
        assert_eq!(&Trouble::of_status(status, None, body.as_bytes()).why, expect, "{status} {body}");
    }

    #[test]
    fn only_the_api_says_that_something_is_not_there() {
        let body = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"secrets \"x\" not found","reason":"NotFound","details":{"name":"x","kind":"secrets"},"code":404}"#;
        check(404, body, &Why::NotFound);
        check(404, "404 page not found", &Why::NotTheApi);
        check(404, "<html>", &Why::NotTheApi);
        // What it says of a path that it does not serve.
        let path = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}"#;
        check(404, path, &Why::NotTheApi);
    }

    #[test]
    fn statuses_mean_what_the_api_means() {
        check(429, "Too many requests, please try again later.\n", &Why::TooManyRequests);
        check(400, "Client sent an HTTP request to an HTTPS server.\n", &Why::Network(Break::NotHttp));
        for (status, why) in [
            (401, Why::Unauthorized),
            (403, Why::Forbidden),
            (409, Why::Conflict),
            (410, Why::Expired),
            (422, Why::Invalid),
            (500, Why::ServerError(500)),
            (504, Why::ServerError(504)),
            (302, Why::Redirect(302)),
            (418, Why::Rejected(418)),
        ] {
            check(status, "", &why);
        }
    }
}
