//! The variables that Vault's and OpenBao's own tools read.
//!
//! Owns: their names, which of a pair holds, and which token belongs to an
//! address: `BAO_TOKEN` to that of `BAO_ADDR`, `VAULT_TOKEN` to that of
//! `VAULT_ADDR`. An empty variable is unset.
//! Invariant: of a token only is told whether it is there.
//! Must not know: settings, and how far they are trusted.

use std::ffi::OsString;

use crate::source::env;
use crate::source::vault::config::Address;

/// The names of one thing, the first that is set holds.
pub(super) type Pair = [&'static str; 2];

pub(super) const ADDRESS: Pair = ["BAO_ADDR", "VAULT_ADDR"];
pub(super) const NAMESPACE: Pair = ["BAO_NAMESPACE", "VAULT_NAMESPACE"];
pub(super) const CA_CERT: Pair = ["BAO_CACERT", "VAULT_CACERT"];
pub(super) const TOKEN: Pair = ["BAO_TOKEN", "VAULT_TOKEN"];

/// The process environment, or nothing of it.
#[derive(Clone, Copy)]
pub(super) struct Ambient<'p>(&'p [(OsString, OsString)]);

impl<'p> Ambient<'p> {
    pub(super) fn none() -> Self {
        Self(&[])
    }

    pub(super) fn of(process: &'p [(OsString, OsString)]) -> Self {
        Self(process)
    }

    /// Whether a variable is set.
    pub(super) fn is_set(self, name: &str) -> bool {
        env::credential(self.0, name).is_some_and(|value| !value.is_empty())
    }

    /// The first that is set, and its value. Not for tokens.
    pub(super) fn first(self, pair: Pair) -> Option<(&'static str, String)> {
        pair.into_iter().find_map(|name| Some((name, self.plain(name)?)))
    }

    /// The token that is taken where nothing tells them apart.
    pub(super) fn any_token(self) -> Option<&'static str> {
        TOKEN.into_iter().find(|token| self.is_set(token))
    }

    /// The token that came with an address.
    pub(super) fn token_of(self, address: &Address) -> Option<&'static str> {
        TOKEN.into_iter().filter(|token| self.is_set(token)).find(|token| {
            let home = self.plain(home(token)).and_then(|text| Address::parse(&text).ok());
            home.is_some_and(|home| home.as_str() == address.as_str())
        })
    }

    /// Whether the caller's own tools would go to an address.
    pub(super) fn is_home(self, address: &Address) -> bool {
        ADDRESS
            .into_iter()
            .filter_map(|name| Address::parse(&self.plain(name)?).ok())
            .any(|home| home == *address)
    }

    /// The value of a variable that holds no secret.
    fn plain(self, name: &str) -> Option<String> {
        let value = env::lookup(self.0, name)?;
        (!value.is_empty()).then(|| value.expose().to_owned())
    }
}

/// The variable of the address that a token came with.
pub(super) fn home(token: &str) -> &'static str {
    if token == TOKEN[0] { ADDRESS[0] } else { ADDRESS[1] }
}
