//! `[probe.NAME]`: how a secret is tried on the other side, and which hosts may be asked
//! about it.
//!
//! Must not know: how anything is asked (`crate::probe`).

use std::net::IpAddr;
use std::path::PathBuf;

use crate::model::key::Key;
use crate::model::origin::Span;

/// `[probe.NAME]`.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Its name.
    pub name: Box<str>,
    /// The variable whose value is tried.
    pub secret: Key,
    /// What is asked.
    pub question: Question,
    /// The hosts that a variable may name, beside those of the settings.
    pub hosts: Vec<HostPattern>,
    /// The authorities that sign the server's certificate, in PEM; an absolute path.
    /// None means the system's.
    pub ca: Option<PathBuf>,
    /// The line in the schema.
    pub at: Span,
}

/// What a field says: itself, or a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// `"https://api.openai.com/v1/models"`.
    Literal(Box<str>),
    /// `"${SMTP_HOST}"`.
    Variable(Key),
}

/// The ways to try a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// A token request with a grant that nobody ever got (RFC 6749).
    OAuth {
        /// The token endpoint.
        url: Text,
        /// Who asks.
        client_id: Text,
        /// Sent along where the server wants one.
        redirect_uri: Option<Text>,
        /// Where the secret stands.
        auth: ClientAuth,
    },
    /// A login at a mail server (RFC 4954).
    Smtp {
        /// The server.
        host: Text,
        /// Its port.
        port: Text,
        /// Who logs in.
        user: Text,
        /// How it is encrypted, where the port does not say.
        tls: Option<MailTls>,
    },
    /// A signed look at a bucket (AWS Signature Version 4).
    S3 {
        /// The id that belongs to the secret.
        access_key_id: Text,
        /// The token that belongs to a temporary pair; it may be unset.
        session_token: Option<Text>,
        /// Where the bucket is.
        region: Text,
        /// The bucket.
        bucket: Text,
        /// Another server than AWS; it may be unset.
        endpoint: Option<Text>,
    },
    /// A login at a PostgreSQL server.
    Postgres {
        /// The server.
        host: Text,
        /// Its port.
        port: Text,
        /// The database.
        name: Text,
        /// Who logs in.
        user: Text,
        /// libpq's `sslmode`; without it, `verify-full`.
        ssl_mode: Option<Text>,
    },
    /// A GET that shows the secret in a header.
    Bearer {
        /// What is asked for: something cheap that only a right key gets.
        url: Text,
        /// The header that carries the bare secret. None means `Authorization: Bearer`.
        header: Option<Box<str>>,
        /// Headers that the server wants besides.
        headers: Vec<(Box<str>, Box<str>)>,
        /// The statuses that say that the secret is wrong.
        refused: Vec<u16>,
    },
}

/// Where an OAuth client's secret stands in a token request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the form (`client_secret_post`).
    Post,
    /// In the `Authorization` header (`client_secret_basic`).
    Basic,
}

/// How a connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// From the first byte on.
    Implicit,
    /// By STARTTLS, before the login.
    StartTls,
    /// Not at all, which is for this machine.
    Plain,
}

impl Question {
    /// The kind, as the schema writes it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::OAuth { .. } => "oauth",
            Self::Smtp { .. } => "smtp",
            Self::S3 { .. } => "s3",
            Self::Postgres { .. } => "postgres",
            Self::Bearer { .. } => "bearer",
        }
    }

    /// Every field that may name a variable.
    pub fn texts(&self) -> Vec<&Text> {
        match self {
            Self::OAuth { url, client_id, redirect_uri, .. } => {
                [url, client_id].into_iter().chain(redirect_uri).collect()
            }
            Self::Smtp { host, port, user, .. } => vec![host, port, user],
            Self::S3 { access_key_id, session_token, region, bucket, endpoint } => {
                [access_key_id, region, bucket].into_iter().chain(session_token).chain(endpoint).collect()
            }
            Self::Postgres { host, port, name, user, ssl_mode } => {
                [host, port, name, user].into_iter().chain(ssl_mode).collect()
            }
            Self::Bearer { url, .. } => vec![url],
        }
    }

    /// The field that says which host is asked; none where AWS is.
    pub fn host(&self) -> Option<&Text> {
        match self {
            Self::OAuth { url, .. } | Self::Bearer { url, .. } => Some(url),
            Self::Smtp { host, .. } | Self::Postgres { host, .. } => Some(host),
            Self::S3 { endpoint, .. } => endpoint.as_ref(),
        }
    }
}

impl Probe {
    /// The variables that it looks at: the secret, then the others.
    pub fn variables(&self) -> Vec<&Key> {
        let named = self.question.texts().into_iter().filter_map(|text| match text {
            Text::Variable(key) => Some(key),
            Text::Literal(_) => None,
        });
        std::iter::once(&self.secret).chain(named).collect()
    }
}

/// A host that may be asked: a name, an address, or `*.` and a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern(Box<str>);

/// A text that is no [`HostPattern`]: why, as a clause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoHostPattern(&'static str);

impl HostPattern {
    /// Checks a text.
    ///
    /// # Errors
    /// [`NoHostPattern`] for what is no host, and where the wildcard stands elsewhere or
    /// for too much.
    pub fn new(text: &str) -> Result<Self, NoHostPattern> {
        let name = match text.strip_prefix("*.") {
            Some(rest) if rest.contains('*') => return Err(NoHostPattern("it has more than one `*`")),
            Some(rest) if !rest.trim_end_matches('.').contains('.') => {
                return Err(NoHostPattern("a wildcard stands before two labels at least: *.example.com"));
            }
            Some(rest) => rest,
            None if text.contains('*') => {
                return Err(NoHostPattern("a `*` stands at the beginning only, before a dot"));
            }
            None => text,
        };
        if name.parse::<IpAddr>().is_ok() && name.len() != text.len() {
            return Err(NoHostPattern("an address has no wildcard"));
        }
        let host = host_name(name)
            .ok_or(NoHostPattern("it is no host: a name or an address, without a scheme or a port"))?;
        Ok(Self(if name.len() == text.len() { host } else { format!("*.{host}").into() }))
    }

    /// As it is written, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means this host, of the form that [`host_name`] gives.
    pub fn allows(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            // The dot belongs to what is compared, so `evilexample.com` is not meant.
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => *self.0 == *host,
        }
    }
}

/// A host as it is compared: in lower case, without a dot at the end or brackets. None
/// for what is no host.
pub fn host_name(text: &str) -> Option<Box<str>> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(address.to_string().into());
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    // What ends in a number is an address to some and a name to others.
    let ends_well = name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    (name.len() <= 253 && ends_well && name.split('.').all(is_label))
        .then(|| name.to_ascii_lowercase().into_boxed_str())
}

/// Whether a host of that form is this machine.
pub fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, expected) in [
            ("API.example.com", Some("api.example.com")),
            ("api.example.com.", Some("api.example.com")),
            ("localhost", Some("localhost")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[::1]", Some("::1")),
            ("0:0:0:0:0:0:0:1", Some("::1")),
            ("127.1", None),
            ("1", None),
            ("a..b", None),
            ("", None),
            ("a b", None),
            ("a:1", None),
            ("https://a", None),
        ] {
            assert_eq!(host_name(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, host, expected) in [
            ("api.example.com", "api.example.com", true),
            ("API.Example.com", "api.example.com", true),
            ("api.example.com", "a.api.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "evilexample.com", false),
            ("*.example.com", ".example.com", false),
            ("127.0.0.1", "127.0.0.1", true),
        ] {
            assert_eq!(HostPattern::new(pattern).unwrap().allows(host), expected, "{pattern} ~ {host}");
        }
        for wrong in ["*", "*.com", "a.*.com", "*a.com", "*.*.com", "*.127.0.0.1", "a:1", "https://a.b", ""] {
            assert!(HostPattern::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn this_machine() {
        for (host, expected) in
            [("localhost", true), ("127.8.9.1", true), ("::1", true), ("::ffff:127.0.0.1", true)]
                .into_iter()
                .chain([("localhost.evil.com", false), ("10.0.0.1", false), ("127.0.0.1.evil.com", false)])
        {
            assert_eq!(is_this_machine(host), expected, "{host}");
        }
    }
}
