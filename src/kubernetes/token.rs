//! What our own token says of itself. Pure.
//!
//! Invariants: only its life and its service account are looked at, and neither proves
//! anything to us: they are told, not trusted.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

/// What a token says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Token {
    #[serde(default)]
    sub: String,
    exp: Option<u64>,
    iat: Option<u64>,
}

/// How long a token lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It does not end.
    Endless,
    /// It has ended.
    Ended,
    /// It ends in so long; `late` if whoever renews it should have done so.
    Left { rest: Duration, late: bool },
}

impl Token {
    /// The one among these headers, if it is a JWT.
    pub(super) fn among(headers: &HeaderMap) -> Option<Self> {
        headers.get(AUTHORIZATION).and_then(Self::of)
    }

    fn of(value: &HeaderValue) -> Option<Self> {
        let token = value.to_str().ok()?.strip_prefix("Bearer ")?;
        let claims = token.split('.').nth(1)?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    /// The service account that it is of.
    pub(crate) fn account(&self) -> Option<&str> {
        Some(&*self.sub).filter(|sub| sub.starts_with("system:serviceaccount:"))
    }

    /// How long it lives. The kubelet renews a token when a fifth of its life is left.
    pub(crate) fn life(&self, now: SystemTime) -> Life {
        let Some(end) = self.exp else { return Life::Endless };
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let Some(rest) = Duration::from_secs(end).checked_sub(now).filter(|rest| !rest.is_zero()) else {
            return Life::Ended;
        };
        let whole = self.iat.map(|begin| Duration::from_secs(end.saturating_sub(begin)));
        Life::Left { rest, late: whole.is_some_and(|whole| rest < whole / 10) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> Option<Token> {
        let header = format!("Bearer e30.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        Token::among(&HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(&header).unwrap())]))
    }

    #[track_caller]
    fn check(claims: &str, now: u64, life: Life, account: Option<&str>) {
        let token = token(claims).unwrap();
        assert_eq!(token.life(SystemTime::UNIX_EPOCH + Duration::from_secs(now)), life, "{claims}");
        assert_eq!(token.account(), account, "{claims}");
    }

    #[test]
    fn a_token_says_how_long_it_lives() {
        let claims = r#"{"exp":1000,"iat":0,"sub":"system:serviceaccount:shop:app"}"#;
        let of = Some("system:serviceaccount:shop:app");
        let left = |rest, late| Life::Left { rest: Duration::from_secs(rest), late };
        check(claims, 100, left(900, false), of);
        check(claims, 901, left(99, true), of);
        check(claims, 1000, Life::Ended, of);
        check(claims, 9999, Life::Ended, of);
        check(r#"{"exp":1000}"#, 999, left(1, false), None);
        check(r#"{"sub":"jane"}"#, 1, Life::Endless, None);
    }

    #[test]
    fn what_is_no_jwt_says_nothing() {
        for value in ["Bearer opaque", "Bearer a.b.c", "Basic eDp5", "Bearer e30.W10.x"] {
            assert_eq!(Token::of(&HeaderValue::from_static(value)), None, "{value}");
        }
        assert_eq!(Token::among(&HeaderMap::new()), None);
    }
}
