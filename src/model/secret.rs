//! Values. Every value that passes through dlconf is a [`SecretValue`], whether
//! the schema calls it secret or not: only the schema knows, and most rooms
//! have no schema.
//!
//! Owns: the one type that holds a value's bytes, and the allocator that wipes
//! every block when it is freed ([`WipingAllocator`]).
//! Invariants: no `Display`, no `Debug` of the content, no `Serialize`, no
//! `PartialEq`; [`SecretValue::expose`] is the only way to the text, so a search
//! for `expose()` lists every place that sees one.
//! Must not know: where a value came from.

use std::fmt;

use zeroize::Zeroize;

/// The process's allocator: wipes on free, and never forwards `realloc`, so
/// that a growing buffer leaves no copy of its old self behind.
pub type WipingAllocator = zeroizing_alloc::ZeroAlloc<std::alloc::System>;

/// The allocator to install with `#[global_allocator]`.
pub const WIPING_ALLOCATOR: WipingAllocator = zeroizing_alloc::ZeroAlloc(std::alloc::System);

/// One value: UTF-8 text, wiped when dropped.
///
/// It may be empty and may hold any character, NUL and newlines included; what
/// an output cannot carry, its encoder refuses.
pub struct SecretValue(Box<str>);

impl SecretValue {
    /// Takes a text over. The `String` should have been made with its final
    /// capacity; if not, the allocator wipes what is left over.
    pub fn new(text: String) -> Self {
        Self(text.into_boxed_str())
    }

    /// The text. This is the one door: grep for it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no text at all; an empty value counts as unset.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether two values hold the same text. Takes the same time wherever the
    /// first difference is.
    pub fn same_as(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.0.bytes().zip(other.0.bytes()).fold(0_u8, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl From<&str> for SecretValue {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_tells_nothing() {
        assert_eq!(format!("{:?}", SecretValue::from("hunter2")), "SecretValue(…)");
    }

    #[test]
    fn same_as_compares_content() {
        assert!(SecretValue::from("abc").same_as(&SecretValue::from("abc")));
        assert!(!SecretValue::from("abc").same_as(&SecretValue::from("abd")));
        assert!(!SecretValue::from("abc").same_as(&SecretValue::from("ab")));
    }
}
