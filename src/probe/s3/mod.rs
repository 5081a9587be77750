//! S3: a signed look at a bucket, path style.
//!
//! A HEAD that is refused has no body, so it does not say whether the signature was wrong
//! or the key may not look: a listing of nothing is asked for then, whose error has a
//! code. Signed is in headers, as the SDKs do it: in a URL, a session token would come
//! into the logs of whatever is in between.

mod signature;

use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use super::http::{Answer, Said, exchange, sensitive, wrong_secret};
use super::target::Address;
use super::trust::Trust;
use super::{Doubt, Probed};
use crate::model::secret::SecretValue;
use signature::{NOTHING, Signed};

/// A listing of nothing; sorted, as it is signed.
const LISTING: &str = "list-type=2&max-keys=0";

/// A bucket and who looks at it.
pub(super) struct Bucket {
    /// The bucket's URL, without a query.
    address: Address,
    region: String,
    access_key_id: Arc<SecretValue>,
    session_token: Option<Arc<SecretValue>>,
}

/// What a server says of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It is right, whatever else is not.
    Right,
    /// Another secret made it.
    WrongSecret,
    /// There is no such key.
    UnknownKey,
    /// The session token is not right any more.
    Token,
    /// The clocks differ.
    Clock,
    /// The bucket is elsewhere.
    Region,
    /// Something else, with this status.
    Other(u16),
}

impl Bucket {
    /// Puts the address together.
    pub(super) fn new(
        endpoint: Option<Address>,
        region: &str,
        bucket: &str,
        access_key_id: Arc<SecretValue>,
        session_token: Option<Arc<SecretValue>>,
    ) -> Result<Self, Doubt> {
        let is = |text: &str, more: &str| {
            let allowed = |b: u8| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b);
            (1..=63).contains(&text.len()) && text.bytes().all(allowed)
        };
        // Both come into an address and under the signature.
        if !is(region, "-") {
            return Err(Doubt::new("the region is none", "write one such as ap-south-1"));
        }
        if !is(bucket, "-._") || bucket.starts_with('.') {
            return Err(Doubt::new("the bucket's name is none", "write its name alone"));
        }
        let mut address = match endpoint {
            Some(endpoint) => endpoint,
            None => amazon(region)?,
        };
        let path = address.target.trim_end_matches('/');
        if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b)) {
            return Err(Doubt::new("the endpoint has more than a plain path", "write https://host"));
        }
        address.target = format!("{path}/{bucket}");
        Ok(Self { address, region: region.into(), access_key_id, session_token })
    }

    pub(super) async fn ask(&self, candidate: &SecretValue, trust: &Trust) -> Result<Probed, Doubt> {
        let place = &self.address.place;
        let head = self.once(&Method::HEAD, "", candidate, trust).await?;
        let verdict = match head.status {
            200 => Verdict::Right,
            _ => verdict(&self.once(&Method::GET, LISTING, candidate, trust).await?),
        };
        let doubt = |why: String, help: &str| Err(Doubt::new(why, help));
        match verdict {
            Verdict::Right => {}
            Verdict::WrongSecret => {
                return Ok(Probed::Wrong(format!(
                    "{place} says that the signature does not match: the secret is not that of the key's id"
                )));
            }
            Verdict::UnknownKey => return Ok(Probed::Wrong(format!("{place} knows no key with this id"))),
            Verdict::Token => {
                let why = format!("{place} does not take the session token");
                return doubt(why, "a temporary pair ends: get all three anew");
            }
            Verdict::Clock => {
                let why = format!("the clock of {place} and this machine's differ by too much");
                return doubt(why, "set this machine's clock");
            }
            Verdict::Region => {
                let why = format!("the bucket is not where {place} is");
                return doubt(why, "correct the region, or the endpoint");
            }
            Verdict::Other(status) => {
                let why = format!("{place} answered {status} and nothing that S3 says of a signature");
                return doubt(why, "see whether the endpoint is that of an S3 server; try again");
            }
        }
        let wrong = SecretValue::new(wrong_secret()?);
        let answer = self.once(&Method::GET, LISTING, &wrong, trust).await?;
        if self::verdict(&answer) == Verdict::WrongSecret {
            return Ok(Probed::Works);
        }
        let why = format!("{place} does not refuse a wrong secret either, so its answer says nothing");
        doubt(why, "try the secret by hand")
    }

    async fn once(
        &self,
        method: &Method,
        query: &str,
        secret: &SecretValue,
        trust: &Trust,
    ) -> Result<Answer, Doubt> {
        let at = DateTime::<Utc>::from(SystemTime::now());
        let unwritable = || Doubt::new("the key's id or token is none that a header can carry", "correct it");
        let headers = self.headers(method, query, secret, at).ok_or_else(unwritable)?;
        let mut address = self.address.clone();
        if !query.is_empty() {
            address.target = format!("{}?{query}", address.target);
        }
        exchange(&address, trust, Said { method: method.clone(), headers, body: Vec::new() }).await
    }

    fn headers(
        &self,
        method: &Method,
        query: &str,
        secret: &SecretValue,
        at: DateTime<Utc>,
    ) -> Option<HeaderMap> {
        let token = self.session_token.as_ref().map(|token| token.expose());
        let signed = Signed {
            method: method.as_str(),
            path: &self.address.target,
            query,
            host: &self.address.authority,
            token,
            region: &self.region,
            at,
        };
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("x-amz-date"), HeaderValue::try_from(signed.time()).ok()?);
        headers.insert(HeaderName::from_static("x-amz-content-sha256"), HeaderValue::from_static(NOTHING));
        if let Some(token) = token {
            headers.insert(HeaderName::from_static("x-amz-security-token"), sensitive(token.to_owned())?);
        }
        headers.insert(AUTHORIZATION, sensitive(signed.authorization(self.access_key_id.expose(), secret))?);
        Some(headers)
    }
}

/// AWS itself.
fn amazon(region: &str) -> Result<Address, Doubt> {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let url = Url::parse(&format!("https://s3.{region}.{domain}"));
    let url = url.map_err(|_| Doubt::new("the region is none", "write one such as ap-south-1"))?;
    Address::new(&url, "the region")
}

/// Recognises an answer to a GET, of which nothing is kept.
fn verdict(answer: &Answer) -> Verdict {
    if answer.status == 200 {
        return Verdict::Right;
    }
    match code(&answer.body) {
        // It looked at the signature before it said so.
        Some("AccessDenied" | "NoSuchBucket" | "AllAccessDisabled") => Verdict::Right,
        Some("SignatureDoesNotMatch") => Verdict::WrongSecret,
        Some("InvalidAccessKeyId") => Verdict::UnknownKey,
        Some("InvalidToken" | "ExpiredToken") => Verdict::Token,
        Some("RequestTimeTooSkewed") => Verdict::Clock,
        Some("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed") => Verdict::Region,
        _ => Verdict::Other(answer.status),
    }
}

/// The first `<Code>` of an error.
fn code(body: &[u8]) -> Option<&str> {
    let text = str::from_utf8(body).ok()?;
    Some(text.split_once("<Code>")?.1.split_once("</Code>")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        for (status, body, expected) in [
            (200, "", Verdict::Right),
            (403, "<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>", Verdict::Right),
            (404, "<Error><Code>NoSuchBucket</Code></Error>", Verdict::Right),
            (403, "<Error><Code>SignatureDoesNotMatch</Code></Error>", Verdict::WrongSecret),
            (403, "<Error><Code>InvalidAccessKeyId</Code></Error>", Verdict::UnknownKey),
            (400, "<Error><Code>ExpiredToken</Code></Error>", Verdict::Token),
            (403, "<Error><Code>RequestTimeTooSkewed</Code></Error>", Verdict::Clock),
            (301, "<Error><Code>PermanentRedirect</Code></Error>", Verdict::Region),
            (403, "", Verdict::Other(403)),
            (403, "<Code>AccessDenied", Verdict::Other(403)),
            (503, "<Error><Code>SlowDown</Code></Error>", Verdict::Other(503)),
        ] {
            let answer = Answer { status, body: body.into() };
            assert_eq!(verdict(&answer), expected, "{status} {body}");
        }
    }

    #[test]
    fn addresses() {
        let address = |region: &str, bucket: &str| {
            let id = Arc::new(SecretValue::from("id"));
            let bucket = Bucket::new(None, region, bucket, id, None);
            bucket.map(|bucket| format!("{}{}", bucket.address.authority, bucket.address.target)).ok()
        };
        assert_eq!(address("ap-south-1", "scans").as_deref(), Some("s3.ap-south-1.amazonaws.com/scans"));
        assert_eq!(address("cn-north-1", "scans").as_deref(), Some("s3.cn-north-1.amazonaws.com.cn/scans"));
        for (region, bucket) in
            [("evil.com/", "b"), ("", "b"), ("a", "../b"), ("a", "b/c"), ("a", "b?c"), ("a", "")]
        {
            assert_eq!(address(region, bucket), None, "{region} {bucket}");
        }
    }
}
