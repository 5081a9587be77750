//! What all readers of env files read alike.
//!
//! Pure. The rule was found by reading the readers, and is held by round trips through
//! them (`tests/it/encoders.rs`).

/// Docker's buffer for a line, its line feed included.
pub const DOCKER_LINE_BYTES: usize = 64 * 1024;

/// Whether bash, Compose, Docker, godotenv, node, python-dotenv and systemd read this
/// character as it stands, without quotes: they agree on no quotes at all. White space
/// beyond ASCII is trimmed by some.
pub fn is_alike(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || "_!%*+,./:=?@^{}[]-".contains(c)
    } else {
        !is_blank(c) && !is_noncharacter(c)
    }
}

/// Whether all of them read this line as it stands.
pub fn is_portable(name: &str, value: &str) -> bool {
    value.chars().all(is_alike) && name.len() + "=".len() + value.len() < DOCKER_LINE_BYTES
}

/// White space, control characters and the byte order mark: what readers trim,
/// fold, split at or reject.
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{FEFF}'
}

/// One of the 66 code points that Unicode keeps free for ever.
pub fn is_noncharacter(c: char) -> bool {
    let code = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}
