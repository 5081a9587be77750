//! Names: of variables and of sources.
//!
//! Invariant: a [`Key`] is a name that every reader of an environment accepts
//! (POSIX "Name"), so no encoder needs to check it again.

use std::fmt;
use std::sync::Arc;

/// The name of a variable: `[A-Za-z_][A-Za-z0-9_]*`, as POSIX defines a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// A text that is not the name of a variable. The text itself is not carried:
/// in a malformed file it may be a piece of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is made of letters, digits and underscores and does not begin with a digit")]
pub struct InvalidKey;

impl Key {
    /// Checks a text and makes it a name.
    ///
    /// # Errors
    /// [`InvalidKey`] where the text is not `[A-Za-z_][A-Za-z0-9_]*`.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            Ok(Self(text.into()))
        } else {
            Err(InvalidKey)
        }
    }

    /// Whether it is more like base64 or hexadecimal than like a name: the line
    /// of an unquoted key.
    pub fn looks_like_data(&self) -> bool {
        let has = |predicate: fn(&u8) -> bool| self.0.as_bytes().iter().any(predicate);
        let (digit, lower, upper) =
            (has(u8::is_ascii_digit), has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase));
        let one_word = !self.0.contains('_');
        digit && ((self.0.len() >= 12 && lower && one_word) || (self.0.len() >= 20 && lower && upper))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name of a source, as the settings write it: `vault` in `[source.vault]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// A source's name; any text, settings have checked it.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_posix_names() {
        for good in ["A", "_", "a_1", "JWT_SECRET"] {
            assert!(Key::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1A", "A-B", "A B", "Ä", "A=", "export A"] {
            assert!(Key::new(bad).is_err(), "{bad}");
        }
    }
}
