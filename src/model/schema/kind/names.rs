//! What the schema language calls kinds, drivers and dialects, and what a
//! finding says a kind expects.

use super::{Dialect, Driver, Kind, duration};

macro_rules! names {
    ($($name:literal => $kind:pat, $new:expr;)*) => {
        impl Kind {
            /// Every name of the schema language, in the order of its reference.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// The kind of a name, with its default constraints: an `enum`
            /// without values, a `list` of strings separated by commas, a `dsn`
            /// of PostgreSQL.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some($new),)* _ => None }
            }

            /// Its name in the schema language.
            pub fn name(&self) -> &'static str {
                match self { $($kind => $name),* }
            }
        }
    };
}

names! {
    "string" => Self::String, Self::String;
    "bool" => Self::Bool, Self::Bool;
    "int" => Self::Int { .. }, Self::Int { min: None, max: None };
    "float" => Self::Float { .. }, Self::Float { min: None, max: None };
    "port" => Self::Port, Self::Port;
    "url" => Self::Url { .. }, Self::Url { schemes: Vec::new() };
    "origin" => Self::Origin, Self::Origin;
    "email" => Self::Email, Self::Email;
    "host" => Self::Host, Self::Host;
    "host-port" => Self::HostPort, Self::HostPort;
    "ip" => Self::Ip, Self::Ip;
    "path" => Self::Path, Self::Path;
    "enum" => Self::Enum { .. }, Self::Enum { values: Vec::new() };
    "list" => Self::List { .. }, Self::List { of: Box::new(Self::String), separator: ",".into() };
    "duration" => Self::Duration { .. }, Self::Duration { min: None, max: None };
    "bytes-size" => Self::BytesSize, Self::BytesSize;
    "regex" => Self::Regex, Self::Regex;
    "json" => Self::Json, Self::Json;
    "base64" => Self::Base64, Self::Base64;
    "hex" => Self::Hex, Self::Hex;
    "uuid" => Self::Uuid, Self::Uuid;
    "semver" => Self::Semver, Self::Semver;
    "cron" => Self::Cron, Self::Cron;
    "pem-certificate" => Self::PemCertificate, Self::PemCertificate;
    "hmac-key" => Self::HmacKey, Self::HmacKey;
    "api-key" => Self::ApiKey, Self::ApiKey;
    "password" => Self::Password, Self::Password;
    "dsn" => Self::Dsn { .. }, Self::Dsn { driver: Driver::Postgres };
    "pem-private-key" => Self::PemPrivateKey, Self::PemPrivateKey;
    "aws-access-key-id" => Self::AwsAccessKeyId, Self::AwsAccessKeyId;
    "aws-secret-access-key" => Self::AwsSecretAccessKey, Self::AwsSecretAccessKey;
    "oauth-client-secret" => Self::OauthClientSecret, Self::OauthClientSecret;
    "aws-region" => Self::AwsRegion, Self::AwsRegion;
    "s3-bucket" => Self::S3Bucket, Self::S3Bucket;
    "oauth-client-id" => Self::OauthClientId, Self::OauthClientId;
}

impl Kind {
    /// What would do, in words, without any value: `an integer from 1 to 65535`.
    pub fn expected(&self, dialect: Dialect) -> String {
        let fixed = match self {
            Self::Int { min, max } => {
                return format!("an integer{}", limits(min.as_ref(), max.as_ref(), i64::to_string));
            }
            Self::Float { min, max } => {
                return format!("a number{}", limits(min.as_ref(), max.as_ref(), f64::to_string));
            }
            Self::Duration { min, max } => {
                let (name, sample) = match dialect {
                    Dialect::Go => ("a Go duration", "15m or 168h"),
                    Dialect::Iso8601 => ("an ISO 8601 duration", "PT15M or P7D"),
                    Dialect::Seconds => ("a whole number of seconds", "900"),
                };
                let limits = limits(min.as_ref(), max.as_ref(), |n| duration::write(*n, dialect));
                return if limits.is_empty() {
                    format!("{name} such as {sample}")
                } else {
                    format!("{name}{limits}")
                };
            }
            Self::Url { schemes } if !schemes.is_empty() => {
                return format!("a URL that begins with {}", either(schemes, "://"));
            }
            Self::Enum { values } => return format!("one of {}", values.join(", ")),
            Self::List { of, separator } => {
                let separator = if separator.is_empty() { "," } else { separator };
                return format!(
                    "a list separated by {separator:?} without spaces, each item {}",
                    of.expected(dialect)
                );
            }
            Self::Dsn { driver } => {
                return format!(
                    "a DSN that begins with {}, with a host",
                    driver.schemes().join(":// or ") + "://"
                );
            }
            Self::String | Self::HmacKey | Self::Password => "a text without stray white space",
            Self::Bool => "true or false",
            Self::Port => "a port from 1 to 65535",
            Self::Url { .. } => "a URL without a user name or password",
            Self::Origin => "an origin such as https://app.example.com",
            Self::Email => "an e-mail address such as noreply@example.com",
            Self::Host => "a host name or an IP address",
            Self::HostPort => "a host and a port such as redis:6379",
            Self::Ip => "an IPv4 or IPv6 address",
            Self::Path => "a path",
            Self::BytesSize => "a number of bytes such as 512k or 10MiB",
            Self::Regex => "a regular expression",
            Self::Json => "a JSON text",
            Self::Base64 => "base64, standard or URL-safe",
            Self::Hex => "an even number of hexadecimal digits",
            Self::Uuid => "a UUID",
            Self::Semver => "a version such as 1.2.3",
            Self::Cron => "five cron fields such as 0 3 * * *, or @daily",
            Self::PemCertificate => "PEM certificates, and nothing after them",
            Self::ApiKey | Self::OauthClientSecret | Self::OauthClientId => "printable ASCII without spaces",
            Self::PemPrivateKey => "a whole PEM private key, from BEGIN to END",
            Self::AwsAccessKeyId => "20 characters that begin with AKIA or ASIA, or another store's key id",
            Self::AwsSecretAccessKey => "40 characters from AWS, or at least 8 from another store",
            Self::AwsRegion => "a region such as ap-south-1",
            Self::S3Bucket => "3 to 63 lower-case letters, digits, dots and hyphens",
        };
        fixed.to_owned()
    }
}

impl Driver {
    /// The names of the schema language.
    pub const NAMES: &'static [&'static str] = &["postgres", "redis", "nats", "amqp"];

    /// The driver of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "postgres" => Some(Self::Postgres),
            "redis" => Some(Self::Redis),
            "nats" => Some(Self::Nats),
            "amqp" => Some(Self::Amqp),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Nats => "nats",
            Self::Amqp => "amqp",
        }
    }

    /// The schemes that its clients accept.
    pub(super) fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Postgres => &["postgres", "postgresql"],
            Self::Redis => &["redis", "rediss"],
            Self::Nats => &["nats", "tls", "ws", "wss"],
            Self::Amqp => &["amqp", "amqps"],
        }
    }
}

impl Dialect {
    /// The names of the schema language.
    pub const NAMES: &'static [&'static str] = &["go", "iso8601", "seconds"];

    /// The dialect of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "go" => Some(Self::Go),
            "iso8601" => Some(Self::Iso8601),
            "seconds" => Some(Self::Seconds),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Iso8601 => "iso8601",
            Self::Seconds => "seconds",
        }
    }
}

fn limits<T>(min: Option<&T>, max: Option<&T>, write: impl Fn(&T) -> String) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!(" from {} to {}", write(min), write(max)),
        (Some(min), None) => format!(" of at least {}", write(min)),
        (None, Some(max)) => format!(" of at most {}", write(max)),
        (None, None) => String::new(),
    }
}

fn either(names: &[Box<str>], after: &str) -> String {
    names.iter().map(|name| format!("{name}{after}")).collect::<Vec<_>>().join(" or ")
}
