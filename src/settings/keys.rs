//! Where a key is: one of three fields, of a table that needs one.
//!
//! Must not know: what the key opens, and whether it is there.

use std::path::{Component, Path};

use super::SettingsError;
use super::raw::KEY_FIELDS;
use super::table::Table;
use crate::source::key_file::KeyPlace;

/// The longest name that a file can have.
const LONGEST: usize = 255;

impl Table<'_> {
    /// Where the key of this table is. `written` are the [`KEY_FIELDS`], in their order.
    pub(super) fn key_place(&self, written: [Option<&str>; 3]) -> Result<KeyPlace, SettingsError> {
        let mut given = KEY_FIELDS.into_iter().zip(written).filter_map(|(field, text)| Some((field, text?)));
        let Some((field, text)) = given.next() else {
            let help = "add `key_file = \"…\"`, `passphrase_file = \"…\"` or `credential = \"…\"`";
            return Err(self.lacking("has no key", help));
        };
        if let Some((other, _)) = given.next() {
            let clause = format!("stands beside `{field}`: one of them opens it");
            return Err(self.wrong(&[other], &clause, "keep one of the two"));
        }
        let at = [field];
        let text = self.filled(&at, text)?;
        if field == "credential" {
            return self.credential(text);
        }
        let file = self.opened.reached("read", text, self.confined(&at), || self.place(&at))?;
        Ok(if field == "key_file" { KeyPlace::File(file) } else { KeyPlace::Passphrase(file) })
    }

    /// What the service manager gave is the caller's.
    fn credential(&self, name: &str) -> Result<KeyPlace, SettingsError> {
        let at = ["credential"];
        let mut parts = Path::new(name).components();
        let is_name = matches!(parts.next(), Some(Component::Normal(first)) if first == name);
        if !is_name || name.len() > LONGEST {
            let help = "write the name alone, as `LoadCredentialEncrypted=NAME` gives it";
            return Err(self.wrong(&at, "is no name of a credential", help));
        }
        if self.confined(&at).is_some() {
            return Err(self.refused(&at, "use a credential that the service manager gave"));
        }
        let folder = self.merged.credentials().map(Path::to_owned);
        Ok(KeyPlace::Credential { name: name.to_owned(), folder })
    }
}
