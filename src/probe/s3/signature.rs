//! AWS Signature Version 4 in the `Authorization` header, for a request without a body.
//!
//! From <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>,
//! whose example is the test below; moto checks it with AWS's own code. The crates that
//! sign either sign URLs only (rusty-s3) or bring a dozen others (aws-sigv4).

use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, Tag, sign};

use crate::model::secret::SecretValue;

/// SHA-256 of no body.
pub(super) const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// What is signed.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// Made of letters that nobody encodes.
    pub(super) path: &'a str,
    /// Sorted, and made of such letters too.
    pub(super) query: &'a str,
    /// As the `Host` header has it.
    pub(super) host: &'a str,
    pub(super) token: Option<&'a str>,
    pub(super) region: &'a str,
    pub(super) at: DateTime<Utc>,
}

impl Signed<'_> {
    /// What stands in `x-amz-date`.
    pub(super) fn time(&self) -> String {
        self.at.format("%Y%m%dT%H%M%SZ").to_string()
    }

    /// What stands in `Authorization`.
    pub(super) fn authorization(&self, id: &str, secret: &SecretValue) -> String {
        let (scope, names) = (self.scope(), self.names());
        let signature = hex(sign(&self.key(secret), self.text(&scope).as_bytes()).as_ref());
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    fn scope(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.at.format("%Y%m%d"), self.region)
    }

    fn names(&self) -> &'static str {
        match self.token {
            Some(_) => "host;x-amz-content-sha256;x-amz-date;x-amz-security-token",
            None => "host;x-amz-content-sha256;x-amz-date",
        }
    }

    /// The text under the signature.
    fn text(&self, scope: &str) -> String {
        let (time, names) = (self.time(), self.names());
        let token = self.token.map_or_else(String::new, |token| format!("x-amz-security-token:{token}\n"));
        let Self { method, path, query, host, .. } = self;
        let request = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{NOTHING}\nx-amz-date:{time}\n{token}\n{names}\n{NOTHING}"
        );
        let request = hex(digest(&SHA256, request.as_bytes()).as_ref());
        format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}")
    }

    /// The key of this day, region and service.
    fn key(&self, secret: &SecretValue) -> Key {
        const BEGIN: &str = "AWS4";
        let mut text = String::with_capacity(BEGIN.len() + secret.len());
        text.push_str(BEGIN);
        text.push_str(secret.expose());
        let next = |tag: &Tag| Key::new(HMAC_SHA256, tag.as_ref());
        let day = self.at.format("%Y%m%d").to_string();
        let mut key = Key::new(HMAC_SHA256, text.as_bytes());
        for step in [&*day, self.region, "s3", "aws4_request"] {
            key = next(&sign(&key, step.as_bytes()));
        }
        key
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    /// "Example: GET Bucket (List Objects)" of AWS's documentation.
    #[test]
    fn the_example_of_aws() {
        let signed = Signed {
            method: "GET",
            path: "/",
            query: "max-keys=2&prefix=J",
            host: "examplebucket.s3.amazonaws.com",
            token: None,
            region: "us-east-1",
            at: Utc.with_ymd_and_hms(2013, 5, 24, 0, 0, 0).unwrap(),
        };
        let secret = SecretValue::from("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        assert_eq!(
            signed.authorization("AKIAIOSFODNN7EXAMPLE", &secret),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn a_token_is_signed_too() {
        let at = Utc.with_ymd_and_hms(2013, 5, 24, 0, 0, 0).unwrap();
        let signed = |token| {
            let signed = Signed { method: "HEAD", path: "/b", query: "", host: "h", token, region: "r", at };
            signed.authorization("id", &SecretValue::from("secret"))
        };
        assert_ne!(signed(Some("a")), signed(Some("b")));
        assert!(signed(Some("a")).contains(";x-amz-security-token,"));
    }
}
