//! The types of values: what a text must look like to be of one, what it means,
//! and, where it is not, what the owner probably meant.
//!
//! Owns: [`Kind`] and its judgement ([`Kind::judge`]). One file a theme:
//! `numbers`, `duration`, `net`, `notation` (structured text), `cron`,
//! `credentials` (kinds that are secret, and the names beside them) and
//! `strength` (weak secrets, misplaced secrets).
//! Invariants: a [`Problem`] of a secret kind carries no piece of the value (the
//! judges of such kinds can only return `&'static str`); a value in
//! [`Problem::works`] is of the kind it is offered for; nothing panics on any
//! input.
//! Must not know: variables, environments, how findings are worded.

mod credentials;
mod cron;
mod duration;
mod names;
mod net;
mod notation;
mod numbers;
mod strength;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

pub use duration::{go_duration, parse_go_duration, plain_duration};
pub(super) use notation::regex_mistake;
pub use numbers::parse_bytes_size;
pub use strength::{Weakness, carries_credentials, looks_like_secret, weakness};

/// A type, with its constraints.
#[derive(Debug, Clone, PartialEq)]
#[allow(
    missing_docs,
    reason = "the variants are the names of the schema language, explained in docs/schema.md"
)]
pub enum Kind {
    String,
    Bool,
    Int {
        min: Option<i64>,
        max: Option<i64>,
    },
    Float {
        min: Option<f64>,
        max: Option<f64>,
    },
    Port,
    Url {
        schemes: Vec<Box<str>>,
    },
    Origin,
    Email,
    Host,
    HostPort,
    Ip,
    Path,
    Enum {
        values: Vec<Box<str>>,
    },
    List {
        of: Box<Kind>,
        separator: Box<str>,
    },
    /// Limits in nanoseconds.
    Duration {
        min: Option<i128>,
        max: Option<i128>,
    },
    BytesSize,
    Regex,
    Json,
    Base64,
    Hex,
    Uuid,
    Semver,
    Cron,
    PemCertificate,
    HmacKey,
    ApiKey,
    Password,
    Dsn {
        driver: Driver,
    },
    PemPrivateKey,
    AwsAccessKeyId,
    AwsSecretAccessKey,
    OauthClientSecret,
    AwsRegion,
    S3Bucket,
    OauthClientId,
}

/// What a DSN connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "plain names of servers")]
pub enum Driver {
    Postgres,
    Redis,
    Nats,
    Amqp,
}

/// How the program that is configured reads durations, integers, booleans and
/// lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As Go's `strconv` and `time.ParseDuration` do.
    Go,
    /// ISO 8601 durations: `PT15M`.
    Iso8601,
    /// Durations as a whole number of seconds.
    Seconds,
}

/// A value as rules see it.
#[derive(Clone, PartialEq)]
#[allow(missing_docs, reason = "plain names of shapes")]
pub enum Typed {
    /// Any kind without a shape of its own: the text itself is used.
    Text,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Nanoseconds; always within 64 bits.
    Duration(i128),
    /// The number of bytes; always within 63 bits.
    Bytes(u64),
    /// The items as text.
    List(Vec<String>),
}

impl fmt::Debug for Typed {
    /// The shape only: what it holds may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "Text",
            Self::Bool(_) => "Bool(…)",
            Self::Int(_) => "Int(…)",
            Self::Float(_) => "Float(…)",
            Self::Duration(_) => "Duration(…)",
            Self::Bytes(_) => "Bytes(…)",
            Self::List(_) => "List(…)",
        })
    }
}

/// What the values of a kind are to a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "plain names of shapes")]
pub enum Shape {
    Text,
    Bool,
    Int,
    Float,
    Duration,
    /// A list of texts.
    List,
}

/// How a value misses its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The program cannot read it as this kind at all.
    NotOfType,
    /// It reads, but lies outside the limits.
    OutOfRange,
}

/// Why a value is not of its kind.
///
/// For kinds that are secret by type it is value-free. For a variable that is
/// secret only by declaration, call [`Problem::without_value`] first.
#[derive(Clone, PartialEq, Eq)]
pub struct Problem {
    /// How it misses.
    pub class: Class,
    /// A short clause to stand beside the mark; it may quote pieces of the
    /// value: `Go has no unit "d"`.
    pub reason: String,
    /// What would do, without pieces of the value: `an integer from 1 to 65535`.
    pub expected: String,
    /// The offending stretch in characters of the value; all of it where nothing
    /// narrower is known.
    pub at: Range<usize>,
    /// A value that means the same and is of the kind.
    pub works: Option<String>,
    /// How many characters the value has.
    length: usize,
}

impl Problem {
    /// The same, without any piece of the value.
    #[must_use]
    pub fn without_value(self) -> Self {
        Self { reason: format!("it is not {}", self.expected), at: 0..self.length, works: None, ..self }
    }
}

impl fmt::Debug for Problem {
    /// Leaves out what may quote the value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("class", &self.class)
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

/// A [`Problem`] before [`Kind::judge`] has completed it. Its offsets are bytes.
struct Fault {
    class: Class,
    reason: String,
    at: Option<Range<usize>>,
    works: Option<String>,
}

impl Fault {
    fn not(reason: impl Into<String>) -> Self {
        Self { class: Class::NotOfType, reason: reason.into(), at: None, works: None }
    }

    fn range(reason: impl Into<String>) -> Self {
        Self { class: Class::OutOfRange, ..Self::not(reason) }
    }

    fn at(self, at: Range<usize>) -> Self {
        Self { at: Some(at), ..self }
    }

    /// Offers a value. [`Kind::judge`] drops it if it is not of the kind.
    fn works(self, works: impl Into<Option<String>>) -> Self {
        Self { works: works.into(), ..self }
    }
}

/// A piece of a plain value for a reason: quoted, control characters escaped,
/// cut after 24 characters.
fn quoted(piece: &str) -> String {
    match piece.char_indices().nth(24) {
        Some((cut, _)) => format!("{:?}", format!("{}…", piece.get(..cut).unwrap_or_default())),
        None => format!("{piece:?}"),
    }
}

/// The first character that a predicate refuses, with its bytes.
fn first_not(value: &str, accepts: impl Fn(char) -> bool) -> Option<(Range<usize>, char)> {
    value.char_indices().find(|&(_, c)| !accepts(c)).map(|(at, c)| (at..at + c.len_utf8(), c))
}

impl Kind {
    /// Whether its values are secret whatever the schema says.
    pub fn is_secret(&self) -> bool {
        match self {
            Self::HmacKey
            | Self::ApiKey
            | Self::Password
            | Self::Dsn { .. }
            | Self::PemPrivateKey
            | Self::AwsAccessKeyId
            | Self::AwsSecretAccessKey
            | Self::OauthClientSecret => true,
            Self::List { of, .. } => of.is_secret(),
            _ => false,
        }
    }

    /// Whether the program parses it, so that it can fall back to a default when
    /// that fails (DLC013); other kinds reach the program as they are (DLC010).
    pub fn is_parsed(&self) -> bool {
        matches!(
            self,
            Self::Bool
                | Self::Int { .. }
                | Self::Float { .. }
                | Self::Port
                | Self::Duration { .. }
                | Self::BytesSize
        )
    }

    /// What its values are to a rule.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Bool => Shape::Bool,
            Self::Int { .. } | Self::Port | Self::BytesSize => Shape::Int,
            Self::Float { .. } => Shape::Float,
            Self::Duration { .. } => Shape::Duration,
            Self::List { .. } => Shape::List,
            _ => Shape::Text,
        }
    }

    /// Reads a value as the program would.
    ///
    /// # Errors
    /// A [`Problem`] where it is not of the kind or outside its limits.
    pub fn judge(&self, value: &str, dialect: Dialect) -> Result<Typed, Problem> {
        self.read(value, dialect).map_err(|fault| {
            let fault = self.with_trimmed(fault, value, dialect);
            let (secret, length) = (self.is_secret(), value.chars().count());
            Problem {
                class: fault.class,
                reason: fault.reason,
                expected: self.expected(dialect),
                at: match fault.at {
                    Some(at) if !secret => characters(value, &at),
                    _ => 0..length,
                },
                length,
                works: fault.works.filter(|works| !secret && self.read(works, dialect).is_ok()),
            }
        })
    }

    fn read(&self, value: &str, dialect: Dialect) -> Result<Typed, Fault> {
        let text = |judged: Result<(), Fault>| judged.map(|()| Typed::Text);
        // A judge of a secret kind cannot put a piece of the value into a static text.
        let secret = |judged: Result<(), &'static str>| judged.map(|()| Typed::Text).map_err(Fault::not);
        match self {
            Self::String => Ok(Typed::Text),
            Self::Bool => numbers::boolean(value).map(Typed::Bool),
            Self::Int { min, max } => numbers::int(value, *min, *max).map(Typed::Int),
            Self::Float { min, max } => numbers::float(value, *min, *max).map(Typed::Float),
            Self::Port => numbers::port(value).map(Typed::Int),
            Self::Duration { min, max } => {
                duration::read(value, dialect, *min, *max).map(|nanos| Typed::Duration(nanos.into()))
            }
            Self::BytesSize => numbers::bytes_size(value).map(Typed::Bytes),
            Self::List { of, separator } => of.read_list(value, separator, dialect).map(Typed::List),
            Self::Enum { values } => text(notation::one_of(value, values)),
            Self::Url { schemes } => text(net::url(value, schemes)),
            Self::Origin => text(net::origin(value)),
            Self::Email => text(net::email(value)),
            Self::Host => text(net::host(value)),
            Self::HostPort => text(net::host_port(value)),
            Self::Ip => text(net::ip(value)),
            Self::Path => text(notation::path(value)),
            Self::Regex => text(notation::regex(value)),
            Self::Json => text(notation::json(value)),
            Self::Base64 => text(notation::base64(value)),
            Self::Hex => text(notation::hex(value)),
            Self::Uuid => text(notation::uuid(value)),
            Self::Semver => text(notation::semver(value)),
            Self::Cron => text(cron::cron(value)),
            Self::PemCertificate => text(credentials::pem_certificate(value)),
            Self::AwsRegion => text(credentials::aws_region(value)),
            Self::S3Bucket => text(credentials::s3_bucket(value)),
            Self::OauthClientId => text(credentials::oauth_client_id(value)),
            Self::HmacKey => secret(credentials::hmac_key(value)),
            Self::ApiKey | Self::OauthClientSecret => secret(credentials::header_token(value)),
            Self::Password => secret(credentials::password(value)),
            Self::Dsn { driver } => secret(net::dsn(value, *driver)),
            Self::PemPrivateKey => secret(credentials::pem_private_key(value)),
            Self::AwsAccessKeyId => secret(credentials::aws_access_key_id(value)),
            Self::AwsSecretAccessKey => secret(credentials::aws_secret_access_key(value)),
        }
    }

    /// Splits as Go's `strings.Split` does, without trimming, and reads each
    /// item as this kind.
    fn read_list(&self, value: &str, separator: &str, dialect: Dialect) -> Result<Vec<String>, Fault> {
        let separator = if separator.is_empty() { "," } else { separator };
        let items: Vec<&str> = value.split(separator).collect();
        let mut start = 0;
        for (index, item) in items.iter().enumerate() {
            let shift = |at: Range<usize>| start + at.start..start + at.end;
            let trimmed = item.trim();
            let fault = if item.is_empty() {
                let at = start.saturating_sub(separator.len())..start + separator.len();
                Some(Fault::not("an item is empty").at(at.start..at.end.min(value.len())))
            } else if trimmed != *item {
                let lead = item.len() - item.trim_start().len();
                let at = if lead > 0 { 0..lead } else { item.trim_end().len()..item.len() };
                Some(
                    Fault::not("the space becomes part of the item: the list is split, not trimmed")
                        .at(shift(at)),
                )
            } else {
                self.read(item, dialect).err().map(|fault| Fault {
                    reason: format!("item {}: {}", index + 1, fault.reason),
                    at: Some(shift(fault.at.unwrap_or(0..item.len()))),
                    works: None,
                    class: fault.class,
                })
            };
            if let Some(fault) = fault {
                return Err(fault.works(self.mended_list(&items, separator, dialect)));
            }
            start += item.len() + separator.len();
        }
        Ok(items.into_iter().map(str::to_owned).collect())
    }

    /// The list with every item trimmed or replaced by what works for it.
    fn mended_list(&self, items: &[&str], separator: &str, dialect: Dialect) -> Option<String> {
        let mut mended = Vec::with_capacity(items.len());
        for item in items.iter().map(|item| item.trim()).filter(|item| !item.is_empty()) {
            mended.push(match self.read(item, dialect) {
                Ok(_) => item.to_owned(),
                Err(fault) => fault.works?,
            });
        }
        (!mended.is_empty()).then(|| mended.join(separator))
    }

    /// Where only surrounding white space or quotes stand between a value and
    /// its kind, says so and offers the value without them.
    fn with_trimmed(&self, fault: Fault, value: &str, dialect: Dialect) -> Fault {
        if fault.works.is_some() || self.is_secret() {
            return fault;
        }
        let trimmed = value.trim();
        if trimmed.len() < value.len() && self.read(trimmed, dialect).is_ok() {
            let lead = value.len() - value.trim_start().len();
            let (reason, at) = if lead > 0 {
                ("it begins with white space", 0..lead)
            } else {
                ("it ends with white space", trimmed.len()..value.len())
            };
            return Fault::not(reason).at(at).works(trimmed.to_owned());
        }
        let bare = ['"', '\'']
            .into_iter()
            .find_map(|quote| trimmed.strip_prefix(quote)?.strip_suffix(quote))
            .filter(|bare| self.read(bare, dialect).is_ok());
        match bare {
            Some(bare) => Fault::not("the quotes are part of the value").works(bare.to_owned()),
            None => fault,
        }
    }
}

/// A range of bytes as a range of characters.
fn characters(value: &str, bytes: &Range<usize>) -> Range<usize> {
    let until = |byte| value.char_indices().take_while(|&(at, _)| at < byte).count();
    until(bytes.start)..until(bytes.end)
}
