//! What this instance of a program is called, among others of its kind.

use crate::process::host_name;
use crate::rotation::consumers::Name;

/// The longest name of an instance.
const LONGEST: usize = 64;

/// The name of this instance: that of the pod or the host.
pub(super) fn instance() -> Option<Name> {
    let named = std::env::var_os("HOSTNAME").filter(|name| !name.is_empty());
    let host = named.or_else(host_name)?;
    plain(&host.to_string_lossy())
}

/// A text as a name may be.
fn plain(text: &str) -> Option<Name> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let plain: String = text
        .chars()
        .take(LONGEST)
        .map(|character| if is_plain(character) { character } else { '-' })
        .collect();
    Name::new(&plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_has_a_name() {
        let long = "x".repeat(70);
        for (text, expected) in [
            ("api-7c9f.internal", Some("api-7c9f.internal")),
            ("my host/é", Some("my-host--")),
            ("", None),
            (&*long, Some(&long[..64])),
        ] {
            assert_eq!(plain(text).as_ref().map(Name::as_str), expected, "{text}");
        }
    }
}
