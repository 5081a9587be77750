//! OAuth 2.0 (RFC 6749): a token request with a grant that nobody ever got.
//!
//! A server authenticates the client before it looks at the grant: `invalid_client` says
//! that the secret is wrong (section 5.2), `invalid_grant` that it is right. That order is
//! no more than usual, so a server has to show that it keeps it: by `invalid_client` for a
//! secret that is wrong beyond doubt.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use super::http::{Said, exchange, sensitive, wrong_secret};
use super::target::Address;
use super::trust::Trust;
use super::{Doubt, Probed};
use crate::model::schema::probe::ClientAuth;
use crate::model::secret::SecretValue;

/// A token endpoint and who asks.
pub(super) struct Endpoint {
    pub(super) url: Address,
    pub(super) client_id: Arc<SecretValue>,
    pub(super) redirect_uri: Option<Arc<SecretValue>>,
    pub(super) auth: ClientAuth,
}

/// What an endpoint says of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It does not know it by this secret.
    InvalidClient,
    /// It looked at the grant.
    InvalidGrant,
    /// Something else, with this status.
    Other(u16),
}

impl Endpoint {
    pub(super) async fn ask(&self, candidate: &SecretValue, trust: &Trust) -> Result<Probed, Doubt> {
        let place = &self.url.place;
        match self.once(candidate, trust).await? {
            Verdict::InvalidClient => {
                return Ok(Probed::Wrong(format!(
                    "{place} knows no client with this id and this secret (invalid_client)"
                )));
            }
            Verdict::InvalidGrant => {}
            Verdict::Other(status) => {
                return Err(Doubt::new(
                    format!("{place} answered {status} and neither invalid_client nor invalid_grant"),
                    "see whether the URL is that of the token endpoint; try the secret by hand",
                ));
            }
        }
        let wrong = SecretValue::new(wrong_secret()?);
        if self.once(&wrong, trust).await? == Verdict::InvalidClient {
            return Ok(Probed::Works);
        }
        Err(Doubt::new(
            format!("{place} does not refuse a wrong secret either, so its answer says nothing"),
            "try the secret by hand",
        ))
    }

    async fn once(&self, secret: &SecretValue, trust: &Trust) -> Result<Verdict, Doubt> {
        let said = self.request(secret)?;
        let answer = exchange(&self.url, trust, said).await?;
        Ok(verdict(answer.status, &answer.body))
    }

    fn request(&self, secret: &SecretValue) -> Result<Said, Doubt> {
        let mut form: Vec<(&str, &str)> = vec![("grant_type", "authorization_code")];
        let code = wrong_secret()?;
        form.push(("code", &code));
        if let Some(uri) = &self.redirect_uri {
            form.push(("redirect_uri", uri.expose()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        match self.auth {
            ClientAuth::Post => {
                form.push(("client_id", self.client_id.expose()));
                form.push(("client_secret", secret.expose()));
            }
            ClientAuth::Basic => {
                let value = basic(self.client_id.expose(), secret.expose());
                headers.extend(sensitive(value).map(|value| (AUTHORIZATION, value)));
            }
        }
        Ok(Said { method: Method::POST, headers, body: encoded(&form) })
    }
}

/// Recognises an answer, of which nothing is kept.
fn verdict(status: u16, body: &[u8]) -> Verdict {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        error: &'a str,
    }
    let error = serde_json::from_slice::<Refusal<'_>>(body).map_or("", |refusal| refusal.error);
    match (status, error) {
        (400 | 401, "invalid_client") => Verdict::InvalidClient,
        (400, "invalid_grant") => Verdict::InvalidGrant,
        _ => Verdict::Other(status),
    }
}

/// A form, written into a buffer that fits.
fn encoded(form: &[(&str, &str)]) -> Vec<u8> {
    let pieces = || {
        form.iter().enumerate().flat_map(|(index, (name, value))| {
            let start = if index == 0 { "" } else { "&" };
            [start, name, "="].into_iter().chain(byte_serialize(value.as_bytes()))
        })
    };
    let mut body = Vec::with_capacity(pieces().map(str::len).sum());
    pieces().for_each(|piece| body.extend_from_slice(piece.as_bytes()));
    body
}

/// Both are encoded as in a form first (section 2.3.1).
fn basic(id: &str, secret: &str) -> String {
    const SCHEME: &str = "Basic ";
    let pieces = || byte_serialize(id.as_bytes()).chain([":"]).chain(byte_serialize(secret.as_bytes()));
    let mut pair = String::with_capacity(pieces().map(str::len).sum());
    pair.extend(pieces());
    let mut value = String::with_capacity(SCHEME.len() + pair.len().div_ceil(3) * 4);
    value.push_str(SCHEME);
    STANDARD.encode_string(pair, &mut value);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (status, body, expected) in [
            (401, r#"{"error":"invalid_client"}"#, Verdict::InvalidClient),
            (400, r#"{"error":"invalid_client","error_description":"x"}"#, Verdict::InvalidClient),
            (400, r#"{"error":"invalid_grant"}"#, Verdict::InvalidGrant),
            // It speaks of the client, whatever else it says.
            (401, r#"{"error":"invalid_grant"}"#, Verdict::Other(401)),
            (200, r#"{"error":"invalid_grant"}"#, Verdict::Other(200)),
            (500, r#"{"error":"invalid_client"}"#, Verdict::Other(500)),
            (400, r#"{"error":"invalid_request"}"#, Verdict::Other(400)),
            (400, r#"{"error":"unauthorized_client"}"#, Verdict::Other(400)),
            (400, "invalid_grant", Verdict::Other(400)),
            (302, "", Verdict::Other(302)),
        ] {
            assert_eq!(verdict(status, body.as_bytes()), expected, "{status} {body}");
        }
    }

    #[test]
    fn forms_fit_their_buffers() {
        let form = encoded(&[("a", "x y&z"), ("b", "ü%")]);
        assert_eq!((form.as_slice(), form.capacity()), (&b"a=x+y%26z&b=%C3%BC%25"[..], form.len()));
        let value = basic("a:b", "c d");
        assert_eq!((value.as_str(), value.capacity()), ("Basic YSUzQWI6Yytk", value.len()));
    }
}
