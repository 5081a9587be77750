//! What a value gives away about itself: whether it may be a secret, is a
//! placeholder, or belongs to one laptop.
//!
//! In doubt a value is taken for a secret: the price is a missing default.

pub(super) use crate::model::schema::kind::carries_credentials;
use crate::model::schema::kind::looks_like_secret;

/// Words of which people make placeholders, and the favourites of their own.
const FILLERS: &[&str] = &[
    "change",
    "changeme",
    "changeit",
    "your",
    "xxx",
    "placeholder",
    "example",
    "sample",
    "todo",
    "fixme",
    "replace",
    "insert",
    "dummy",
    "fake",
    "here",
    "insecure",
    "enter",
    "secret",
    "password",
    "passwd",
    "pass",
    "admin",
    "root",
    "postgres",
    "mysql",
    "redis",
    "guest",
    "test",
    "testing",
    "default",
    "minioadmin",
    "rabbitmq",
    "supersecret",
    "super",
    "mysecret",
    "generate",
    "random",
    "secretkey",
    "foobar",
    "foo",
    "dev",
    "development",
    "none",
    "some",
];

/// The fillers that make a placeholder of a plain value too.
const PLAIN_FILLERS: &[&str] =
    &["your", "changeme", "change", "xxx", "placeholder", "replace", "todo", "fixme"];

/// Whether a text reads like chance: long runs of mixed letters and digits,
/// UUIDs, or any of the tokens that are known by their look. Also true of some
/// texts that only look so.
pub(super) fn looks_random(value: &str) -> bool {
    if looks_like_secret(value).is_some() || value.contains("-----BEGIN") {
        return true;
    }
    let run = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-'));
    value.split(run).any(|run| {
        // A path or a hyphenated name is judged word by word, and as a whole.
        let words = || run.split(['/', '-', '_']).filter(|word| !word.is_empty());
        words().any(is_random_word) || (run.len() >= 24 && words().count() <= 6 && mixed(run)) || is_uuid(run)
    })
}

/// One word of letters and digits that no person would have made up.
fn is_random_word(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let letters = word.len() - digits;
    let bytes = word.as_bytes();
    let swaps = |class| swaps(bytes, class);
    match word.len() {
        0..8 => false,
        // `a1b2c3d4`: letters and digits in turn.
        8..16 => digits >= 2 && letters >= 2 && swaps(u8::is_ascii_digit) >= 4,
        16..32 => {
            (digits >= 3 && letters >= 3 && swaps(u8::is_ascii_digit) >= 3)
                || swaps(u8::is_ascii_uppercase) >= 6
                || digits == word.len()
        }
        _ => true,
    }
}

/// How often a text goes over from one class of characters to the other.
fn swaps(text: &[u8], class: fn(&u8) -> bool) -> usize {
    text.windows(2).filter(|pair| class(&pair[0]) != class(&pair[1])).count()
}

/// Whether a name of capitals is rather a piece of base32 or a key of AWS.
pub(super) fn is_random_name(name: &str) -> bool {
    let has = |class: fn(&u8) -> bool| name.as_bytes().iter().any(class);
    let scattered = |word: &str| word.len() >= 12 && swaps(word.as_bytes(), u8::is_ascii_digit) >= 4;
    has(u8::is_ascii_digit)
        && !has(u8::is_ascii_lowercase)
        && (name.split('_').any(scattered) || looks_random(name))
}

/// Capitals, small letters and digits, all of them several times.
fn mixed(run: &str) -> bool {
    let count = |class: fn(&u8) -> bool| run.bytes().filter(class).count();
    count(u8::is_ascii_uppercase) >= 3 && count(u8::is_ascii_lowercase) >= 3 && count(u8::is_ascii_digit) >= 2
}

fn is_uuid(run: &str) -> bool {
    let groups: Vec<&str> = run.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(|group| is_hex(group))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a text is one that somebody wrote to be replaced: short, made of
/// words, and at least one of them a filler. Nothing that looks random is one.
pub(super) fn is_placeholder(value: &str) -> bool {
    let length = value.chars().count();
    if length > 64 || value.chars().any(|c| c.is_control() || !c.is_ascii()) || looks_random(value) {
        return false;
    }
    // An address is judged by its login.
    if value.contains("://") {
        return false;
    }
    if value.contains("...") || (value.starts_with('<') && value.ends_with('>')) {
        return true;
    }
    if value.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '?' | '-' | '_' | '.')) {
        return true;
    }
    if value.len() <= 10 && "1234567890".starts_with(value) && value.len() >= 3 {
        return true;
    }
    let lower = value.to_ascii_lowercase();
    let mut words = lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let made_up = |word: &str| word.len() >= 10 && word.bytes().any(|b| b.is_ascii_digit());
    !words.clone().any(made_up) && words.any(|word| is_filler(word, FILLERS))
}

/// An address with a login that was made up for the example: its server is a
/// laptop's, or its password a placeholder. The address to forbid, up to where a
/// pattern could not write it.
pub(super) fn sample_login(value: &str) -> Option<&str> {
    let (_, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let (login, hosts) = authority.rsplit_once('@')?;
    let (_, password) = login.split_once(':').filter(|(_, password)| !password.is_empty())?;
    let local = hosts.split(',').all(is_local_server);
    // A real password stands in front of localhost as well.
    // The query takes no part: its `?` would stand for any character.
    let start = value.split('?').next().unwrap_or(value);
    let random = start.split([':', '/', '@']).any(looks_random);
    let sample = (local || is_placeholder(password)) && !random;
    (sample && start.is_ascii() && !start.contains(char::is_whitespace) && forbiddable(start))
        .then_some(start)
}

/// Whether a server, with its port or without, is the laptop itself.
fn is_local_server(server: &str) -> bool {
    let host = match server.split_once(']') {
        Some((address, _)) => address.trim_start_matches('['),
        None => server.split(':').next().unwrap_or(server),
    };
    matches!(
        host.to_ascii_lowercase().as_str(),
        "localhost" | "127.0.0.1" | "0.0.0.0" | "::1" | "host.docker.internal"
    )
}

/// Whether a plain value waits to be replaced.
pub(super) fn is_plain_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    value.contains("...")
        || (value.starts_with('<') && value.ends_with('>'))
        || lower.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| is_filler(word, PLAIN_FILLERS))
}

/// A filler, or one with digits at its end.
fn is_filler(word: &str, fillers: &[&str]) -> bool {
    let bare = word.trim_end_matches(|c: char| c.is_ascii_digit());
    fillers.contains(&bare) || (bare.len() >= 3 && bare.bytes().all(|b| b == b'x'))
}

/// Whether a placeholder can be written as a pattern that matches it alone:
/// patterns have no escape for their own stars and question marks.
pub(super) fn forbiddable(value: &str) -> bool {
    !value.contains(['*', '?'])
}

/// Whether a value is right on a laptop and wrong wherever else.
pub(super) fn is_local(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "host.docker.internal",
        ".local",
        ".test",
        "lvh.me",
        "mailhog",
        "mailpit",
        "mailtrap",
        "example.com",
        "example.org",
        "example.net",
    ]
    .iter()
    .any(|local| lower.contains(local))
}
