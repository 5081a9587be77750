//! What makes a secret weak, and what betrays one in a place for plain values.
//!
//! Invariant: a [`Weakness`] says nothing of the value but its length.

use std::collections::BTreeSet;
use std::fmt;

use super::Kind;

/// Why a secret is weak (DLC021). Displays as a clause without the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// Fewer bytes than needed.
    TooShort {
        /// What it has.
        bytes: usize,
        /// What it needs.
        needed: usize,
    },
    /// One character, or one block, over and over.
    Repeated,
    /// A run through the alphabet, the digits or the rows of a keyboard.
    Sequence,
    /// Words that every guesser tries first, and nothing else.
    Notorious,
    /// Fewer than eight different characters in what should be random.
    FewCharacters,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { bytes: 1, needed } => write!(f, "it has 1 byte, {needed} are needed"),
            Self::TooShort { bytes, needed } => write!(f, "it has {bytes} bytes, {needed} are needed"),
            Self::Repeated => f.write_str("it repeats one piece over and over"),
            Self::Sequence => f.write_str("it is a run through the alphabet or the keyboard"),
            Self::Notorious => f.write_str("it is made of words that are guessed first"),
            Self::FewCharacters => f.write_str("it has fewer than 8 different characters"),
        }
    }
}

/// An HS256 key shorter than its hash is weaker than it (RFC 7518, 3.2).
const HMAC_BYTES: usize = 32;

impl Kind {
    /// Judges the strength of a secret of this kind. `min_bytes` is what the
    /// schema declares; an `hmac-key` needs 32 bytes without it.
    ///
    /// Random material (`hmac-key`, `api-key`, `oauth-client-secret`) is judged
    /// as [`weakness`] does; passwords and plain kinds that are declared secret
    /// only by length and notoriety; what has a structure (DSN, PEM, AWS keys)
    /// only by length.
    pub fn weakness(&self, value: &str, min_bytes: Option<usize>) -> Option<Weakness> {
        match self {
            Self::HmacKey => weakness(value, Some(min_bytes.unwrap_or(HMAC_BYTES))),
            Self::ApiKey | Self::OauthClientSecret => weakness(value, min_bytes),
            Self::Password | Self::String => too_short(value, min_bytes).or_else(|| notorious(value)),
            _ => too_short(value, min_bytes),
        }
    }
}

/// Why a key that should be random is weak, if it is.
pub fn weakness(value: &str, min_bytes: Option<usize>) -> Option<Weakness> {
    too_short(value, min_bytes).or_else(|| notorious(value)).or_else(|| {
        let different: BTreeSet<char> = value.chars().collect();
        (!value.is_empty() && different.len() < 8).then_some(Weakness::FewCharacters)
    })
}

fn too_short(value: &str, min_bytes: Option<usize>) -> Option<Weakness> {
    let needed = min_bytes.filter(|needed| value.len() < *needed)?;
    Some(Weakness::TooShort { bytes: value.len(), needed })
}

fn notorious(value: &str) -> Option<Weakness> {
    if is_repeated(value.as_bytes()) {
        Some(Weakness::Repeated)
    } else if is_sequence(value) {
        Some(Weakness::Sequence)
    } else if is_words(value) {
        Some(Weakness::Notorious)
    } else {
        None
    }
}

/// Whether the bytes are one block at least twice. Linear: the border of the
/// whole text gives its shortest period.
fn is_repeated(bytes: &[u8]) -> bool {
    let mut borders = vec![0_usize; bytes.len()];
    let mut border = 0;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        while border > 0 && bytes.get(border) != Some(byte) {
            border = border.checked_sub(1).and_then(|at| borders.get(at)).copied().unwrap_or_default();
        }
        if bytes.get(border) == Some(byte) {
            border += 1;
        }
        if let Some(slot) = borders.get_mut(at) {
            *slot = border;
        }
    }
    let period = bytes.len() - border;
    border > 0 && bytes.len().is_multiple_of(period)
}

/// Whether three of four steps lead to a neighbour in the alphabet, among the
/// digits or on the keyboard.
fn is_sequence(value: &str) -> bool {
    const ROWS: [&str; 6] = [
        "qwertyuiop",
        "asdfghjkl",
        "zxcvbnm",
        "1234567890",
        "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
        "1q2w3e4r5t6y7u8i9o0p",
    ];
    let text = value.to_ascii_lowercase();
    let bytes = text.as_bytes();
    if bytes.len() < 3 {
        return false;
    }
    let neighbours = |pair: &[u8]| {
        let &[a, b] = pair else { return false };
        let close = |a: u8, b: u8| a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() && b == a + 1;
        let in_row =
            |a: u8, b: u8| ROWS.iter().any(|row| row.as_bytes().windows(2).any(|pair| pair == [a, b]));
        close(a, b) || close(b, a) || in_row(a, b) || in_row(b, a)
    };
    let steps = bytes.len() - 1;
    bytes.windows(2).filter(|pair| neighbours(pair)).count() * 4 >= steps * 3
}

/// Whether nothing but known words and short numbers makes up the text.
fn is_words(value: &str) -> bool {
    let text: Vec<u8> =
        value.bytes().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase()).collect();
    // Long passphrases of such words exist, but no guesser would find them.
    if text.is_empty() || text.len() > 64 || !value.is_ascii() {
        return false;
    }
    let plain = |b: u8| match b {
        b'0' => b'o',
        b'1' => b'i',
        b'3' => b'e',
        b'4' => b'a',
        b'5' => b's',
        b'7' => b't',
        b => b,
    };
    // reached[n]: the first n bytes are words and numbers; true if a word was among them.
    let mut reached = vec![None; text.len() + 1];
    let reach = |at: usize, worded: bool, reached: &mut Vec<Option<bool>>| {
        if let Some(slot) = reached.get_mut(at) {
            *slot = Some(worded || *slot == Some(true));
        }
    };
    reach(0, false, &mut reached);
    for at in 0..text.len() {
        let Some(worded) = reached.get(at).copied().flatten() else { continue };
        let rest = text.get(at..).unwrap_or_default();
        for word in WORDS {
            let fits = rest.get(..word.len()).is_some_and(|piece| {
                piece == word.as_bytes() || piece.iter().map(|b| plain(*b)).eq(word.bytes())
            });
            if fits {
                reach(at + word.len(), true, &mut reached);
            }
        }
        let digits = rest.iter().take(4).take_while(|b| b.is_ascii_digit()).count();
        for length in 1..=digits {
            reach(at + length, worded, &mut reached);
        }
    }
    reached.last() == Some(&Some(true))
}

/// What defaults, samples and the first page of every guesser's list are made of.
#[rustfmt::skip]
const WORDS: &[&str] = &[
    "a", "abc", "access", "admin", "administrator", "amqp", "an", "api", "app", "auth", "bar", "base", "baz", "bit",
    "bits", "bucket", "by", "byte", "bytes", "change", "changed", "changeit", "character", "characters",
    "client", "company", "config", "credential", "data", "database", "db", "default", "demo",
    "dev", "devel", "development", "do", "docker", "dummy", "elastic", "empty", "encryption", "enter", "env",
    "example", "fake", "fixme", "foo", "for", "generate", "goes", "guest", "hello", "here", "hmac", "in", "insecure",
    "insert", "is", "it", "jwt", "key", "keys", "later", "letmein", "local", "localhost", "login", "long", "master",
    "me", "minio", "minioadmin", "mongo", "my", "mysecret", "mysql", "nats", "none", "not", "null", "of", "on", "only",
    "or", "our", "pass", "passphrase", "passwd", "password", "passwort", "placeholder", "please", "postgres",
    "postgresql", "private", "prod", "production", "public", "put", "pwd", "qa", "qwerty", "qwertz", "rabbit",
    "rabbitmq", "random", "redis", "replace", "root", "safe", "sample", "secret", "secrets", "secure", "security",
    "server", "service", "set", "sign", "signing", "some", "something", "stage", "staging", "string", "strong",
    "super", "supersecret", "system", "temp", "temporary", "test", "tester", "testing", "text", "that", "the", "this",
    "tmp", "to", "todo", "token", "tokens", "toor", "try", "unsafe", "use", "user", "username", "value", "vault",
    "very", "welcome", "with", "word", "world", "xxx", "you", "your",
    "baseball", "dragon", "football", "iloveyou", "monkey", "princess", "shadow", "sunshine", "trustno",
];

/// The name of the secret that a value unmistakably is (DLC024), if it is one.
/// Placeholders such as `sk-...` are none.
pub fn looks_like_secret(value: &str) -> Option<&'static str> {
    let value = value.trim();
    if value.contains("-----BEGIN ") && value.contains("PRIVATE KEY-----") {
        return Some("a private key");
    }
    for (prefix, least, name) in TOKENS {
        let rest = value.strip_prefix(prefix);
        if rest.is_some_and(|rest| rest.len() >= *least && is_random(rest)) {
            return Some(name);
        }
    }
    if is_jwt(value) {
        return Some("a JSON Web Token");
    }
    has_password(value).then_some("a URL with a password")
}

/// Prefix, fewest characters after it, what it is. Longer prefixes first.
const TOKENS: &[(&str, usize, &str)] = &[
    ("sk-ant-", 20, "an Anthropic API key"),
    ("sk_live_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("sk-", 20, "an OpenAI API key"),
    ("github_pat_", 22, "a GitHub token"),
    ("ghp_", 30, "a GitHub token"),
    ("gho_", 30, "a GitHub token"),
    ("ghs_", 30, "a GitHub token"),
    ("glpat-", 20, "a GitLab token"),
    ("xoxb-", 16, "a Slack token"),
    ("xoxa-", 16, "a Slack token"),
    ("xoxp-", 16, "a Slack token"),
    ("xoxr-", 16, "a Slack token"),
    ("xoxs-", 16, "a Slack token"),
    ("AIza", 35, "a Google API key"),
    ("hf_", 30, "a Hugging Face token"),
    ("SG.", 40, "a SendGrid key"),
    ("hvs.", 24, "a Vault token"),
    ("hvb.", 24, "a Vault token"),
    ("s.", 24, "a Vault token"),
];

/// Token characters that are no run of dots or x's, with digits and letters as
/// random text of this length has them.
fn is_random(text: &str) -> bool {
    let different: BTreeSet<char> = text.chars().collect();
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && text.contains(|c: char| c.is_ascii_digit())
        && different.len() >= 8
        && !is_words(text)
}

fn is_jwt(value: &str) -> bool {
    let parts: Vec<&str> = value.split('.').collect();
    let [header, claims, signature] = parts.as_slice() else { return false };
    let base64 = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    header.starts_with("eyJ")
        && claims.starts_with("eyJ")
        && [header, claims].iter().all(|part| part.len() >= 10 && base64(part))
        && signature.len() >= 20
        && base64(signature)
}

/// Whether a text carries a login, whatever it is besides: a URL with user
/// information or a key in its query, a connection string with a password.
pub fn carries_credentials(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let authority =
        lower.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    // `user:password@host` has no scheme, and `nats://a,nats://u:p@b` has two.
    let login = lower.split_once('@').is_some_and(|(before, _)| before.contains(':'));
    login
        || authority.is_some_and(|authority| authority.contains('@'))
        || [
            "password=",
            "passwd=",
            "pwd=",
            "accountkey=",
            "sharedaccesskey=",
            "secret=",
            "token=",
            "apikey=",
            "key=",
            "pass=",
            "auth=",
            "sig=",
            "signature=",
            "bearer ",
            "basic ",
            "password\":",
            "secret\":",
            "token\":",
        ]
        .iter()
        .any(|field| lower.contains(field))
        || ["hooks.slack.com/", "/api/webhooks/", "webhook.office.com/"]
            .iter()
            .any(|hook| lower.contains(hook))
}

fn has_password(value: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else { return false };
    let named = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return false };
    // `${…}` and `<…>` are places to fill in.
    named
        && user
            .split_once(':')
            .is_some_and(|(_, password)| !password.is_empty() && !password.starts_with(['$', '<', '*']))
}
