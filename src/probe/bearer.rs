//! A GET that only a right key is answered: with the secret in a header.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::http::{Said, exchange, sensitive, wrong_secret};
use super::target::Address;
use super::trust::Trust;
use super::{Doubt, Probed};
use crate::model::secret::SecretValue;

/// What is asked for, and how.
pub(super) struct Page<'a> {
    pub(super) url: Address,
    pub(super) header: Option<&'a str>,
    pub(super) headers: &'a [(Box<str>, Box<str>)],
    pub(super) refused: &'a [u16],
}

impl Page<'_> {
    pub(super) async fn ask(&self, candidate: &SecretValue, trust: &Trust) -> Result<Probed, Doubt> {
        let place = &self.url.place;
        let Some(said) = self.request(candidate.expose()) else {
            return Ok(Probed::Wrong("it holds a character that no header can carry".into()));
        };
        let status = exchange(&self.url, trust, said).await?.status;
        if self.refused.contains(&status) {
            return Ok(Probed::Wrong(format!("{place} refuses it ({status})")));
        }
        if !(200..300).contains(&status) {
            let help = "see whether the URL is the right one; try again, or try the secret by hand";
            return Err(Doubt::new(format!("{place} answered {status}"), help));
        }
        let wrong = self.request(&wrong_secret()?);
        let wrong = wrong.ok_or_else(|| Doubt::new("a header cannot be written", "correct the probe"))?;
        let status = exchange(&self.url, trust, wrong).await?.status;
        if self.refused.contains(&status) {
            return Ok(Probed::Works);
        }
        Err(Doubt::new(
            format!("{place} does not refuse a wrong secret either ({status}), so its answer says nothing"),
            "let the probe ask for something that needs the secret",
        ))
    }

    fn request(&self, secret: &str) -> Option<Said> {
        const SCHEME: &str = "Bearer ";
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.insert(HeaderName::try_from(&**name).ok()?, HeaderValue::from_str(value).ok()?);
        }
        let (name, scheme) = match self.header {
            Some(name) => (HeaderName::try_from(name).ok()?, ""),
            None => (AUTHORIZATION, SCHEME),
        };
        let mut value = String::with_capacity(scheme.len() + secret.len());
        value.push_str(scheme);
        value.push_str(secret);
        headers.insert(name, sensitive(value)?);
        Some(Said { method: Method::GET, headers, body: Vec::new() })
    }
}
