//! Trying a secret on the other side, before it is written or to see whether it still
//! works.
//!
//! Owns: the ways to ask (`oauth`, `smtp`, `s3`, `postgres`, `bearer`), which host may be
//! asked (`target`), whom to trust (`trust`), and the connection (`wire`, `http`).
//! Invariants: only allowed hosts are asked, and a redirection leads nowhere; TLS is
//! verified, but where libpq's `sslmode` says otherwise in so many words, and then the
//! password itself is not sent; a probe ends within [`DEADLINE`] and reads little; no
//! proxy of the environment is in between; nothing that the other side says is repeated.
//! A server that takes whatever it is shown proves nothing: where asking once more does
//! no harm, "works" needs a wrong secret to be refused.
//! Must not know: sources; what becomes of the verdict.

mod bearer;
mod http;
mod oauth;
mod postgres;
mod s3;
mod smtp;
mod target;
mod trust;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use crate::model::key::Key;
use crate::model::schema::probe::{HostPattern, Probe, Question, Text};
use crate::model::secret::SecretValue;
use trust::Trust;

/// How long a probe may take, all its connections included.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// What the other side says of a secret. Value-free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probed {
    /// It takes it.
    Works,
    /// It says that it is wrong: why, as a clause.
    Wrong(String),
    /// Nobody can tell: why, as a clause, and what to do.
    Unknown(String, String),
}

/// The values that a probe looks at beside the secret, by their variables; none of one
/// that is unset.
pub type Values<'a> = dyn Fn(&Key) -> Option<Arc<SecretValue>> + Send + Sync + 'a;

/// Tries a secret as its probe says. `hosts` are the caller's own, beside those of the
/// schema.
pub async fn probe(
    spec: &Probe,
    values: &Values<'_>,
    candidate: &SecretValue,
    hosts: &[HostPattern],
) -> Probed {
    let asked = Asked { spec, values, candidate, hosts };
    let done = tokio::time::timeout(DEADLINE, asked.ask()).await;
    let done = done.unwrap_or_else(|_| {
        let why = format!("the other side did not answer within {} s", DEADLINE.as_secs());
        Err(Doubt::new(why, "try again, or look at the network between"))
    });
    done.unwrap_or_else(|doubt| Probed::Unknown(doubt.why, doubt.help))
}

/// Why nothing is known.
#[derive(Debug, PartialEq, Eq)]
struct Doubt {
    why: String,
    help: String,
}

impl Doubt {
    fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { why: why.into(), help: help.into() }
    }
}

/// One probe, with all that it was given.
struct Asked<'a> {
    spec: &'a Probe,
    values: &'a Values<'a>,
    candidate: &'a SecretValue,
    hosts: &'a [HostPattern],
}

impl Asked<'_> {
    async fn ask(&self) -> Result<Probed, Doubt> {
        let trust = Trust::of(self.spec.ca.as_deref());
        match &self.spec.question {
            Question::OAuth { url, client_id, redirect_uri, auth } => {
                let redirect_uri = self.optional(redirect_uri.as_ref());
                let endpoint = oauth::Endpoint {
                    url: self.url("url", url)?,
                    client_id: self.value("client_id", client_id)?,
                    redirect_uri,
                    auth: *auth,
                };
                endpoint.ask(self.candidate, &trust).await
            }
            Question::Smtp { host, port, user, tls } => {
                let server = smtp::Server {
                    place: self.place(host, port)?,
                    user: self.value("user", user)?,
                    tls: *tls,
                };
                server.ask(self.candidate, &trust).await
            }
            Question::S3 { access_key_id, session_token, region, bucket, endpoint } => {
                let endpoint = match endpoint {
                    Some(endpoint) if self.is_set(endpoint) => Some(self.url("endpoint", endpoint)?),
                    _ => None,
                };
                let bucket = s3::Bucket::new(
                    endpoint,
                    self.value("region", region)?.expose(),
                    self.value("bucket", bucket)?.expose(),
                    self.value("access_key_id", access_key_id)?,
                    self.optional(session_token.as_ref()),
                )?;
                bucket.ask(self.candidate, &trust).await
            }
            Question::Postgres { host, port, name, user, ssl_mode } => {
                let server = postgres::Server {
                    place: self.place(host, port)?,
                    database: self.value("name", name)?,
                    user: self.value("user", user)?,
                    mode: self.ssl_mode(ssl_mode.as_ref())?,
                };
                server.ask(self.candidate, trust).await
            }
            Question::Bearer { url, header, headers, refused } => {
                let url = self.url("url", url)?;
                let page = bearer::Page { url, header: header.as_deref(), headers, refused };
                page.ask(self.candidate, &trust).await
            }
        }
    }

    /// What a field says.
    fn value(&self, field: &str, text: &Text) -> Result<Arc<SecretValue>, Doubt> {
        match text {
            Text::Literal(literal) => Ok(Arc::new(SecretValue::from(&**literal))),
            Text::Variable(key) => {
                let value = (self.values)(key).filter(|value| !value.is_empty());
                value.ok_or_else(|| {
                    let help = format!("set it: the probe {} needs it as its `{field}`", self.spec.name);
                    Doubt::new(format!("{key} is not set"), help)
                })
            }
        }
    }

    fn optional(&self, text: Option<&Text>) -> Option<Arc<SecretValue>> {
        self.value("", text?).ok()
    }

    fn is_set(&self, text: &Text) -> bool {
        self.optional(Some(text)).is_some()
    }

    fn ssl_mode(&self, text: Option<&Text>) -> Result<postgres::Mode, Doubt> {
        let Some(text) = text else { return Ok(postgres::Mode::VerifyFull) };
        let value = self.value("ssl_mode", text)?;
        let mode = postgres::Mode::of(value.expose(), matches!(text, Text::Variable(_)));
        mode.ok_or_else(|| {
            let help = "write one of disable, allow, prefer, require, verify-ca, verify-full";
            Doubt::new(format!("{} is none of libpq's modes", target::called(text, "ssl_mode")), help)
        })
    }
}
