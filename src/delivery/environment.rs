//! A program's environment.
//!
//! Invariants: variables come from validation, or not at all; dlconf's own settings
//! and the backends' credentials never pass.
//! Must not know: where the variables come from.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use crate::model::key::Key;
use crate::model::secret::SecretValue;

/// What of this process's own environment a child gets beside its variables.
#[derive(Debug, Clone, Copy)]
pub enum Inherited<'a> {
    /// Every name that the schema does not speak of.
    Undeclared,
    /// These names.
    Only(&'a [String]),
}

/// What passes of our own environment, `process`, then the variables. `known` is
/// every name that the schema speaks of.
pub fn environment<'a>(
    process: &[(OsString, OsString)],
    known: &BTreeSet<Key>,
    variables: impl Iterator<Item = (&'a Key, &'a SecretValue)>,
    inherited: Inherited<'_>,
) -> Vec<(OsString, OsString)> {
    let delivered: BTreeMap<&str, &str> =
        variables.map(|(key, value)| (key.as_str(), value.expose())).collect();
    let mut environment: Vec<(OsString, OsString)> = process
        .iter()
        .filter(|(name, _)| {
            let is_wanted = match inherited {
                Inherited::Undeclared => true,
                Inherited::Only(names) => names.iter().any(|allowed| name == OsStr::new(allowed)),
            };
            is_wanted && passes(known, name) && name.to_str().is_none_or(|name| !delivered.contains_key(name))
        })
        .cloned()
        .collect();
    environment.extend(delivered.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
    environment
}

/// Whether a name of our own environment may pass to a child: not dlconf's
/// settings, not the backends' credentials, nothing that the schema speaks of
/// (declared names arrive from validation, or not at all).
fn passes(known: &BTreeSet<Key>, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return true };
    if name == "DLCONF_SOCKET" {
        return true;
    }
    if ["DLCONF_", "VAULT_", "BAO_"].iter().any(|prefix| name.starts_with(prefix)) {
        return false;
    }
    !known.contains(name)
}
