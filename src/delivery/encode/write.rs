//! The writers: one entry at a time, straight into the output.
//!
//! Each rule was found by reading its reader and is held by a round trip through
//! that reader (`tests/it/encoders.rs`). A key needs no escaping anywhere but is
//! quoted in YAML, where `NO` is a boolean.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::refusal::Refusal;
use super::{Format, Options};
use crate::model::key::Key;
use crate::model::secret::SecretValue;
use crate::source::dotenv::portable::{DOCKER_LINE_BYTES, is_alike, is_blank, is_noncharacter};

/// The most that the values of one Secret may hold together, in bytes.
pub(super) const SECRET_BYTES: usize = 1024 * 1024;

/// The longest key of a Secret, in bytes.
const SECRET_KEY_BYTES: usize = 253;

/// A key that YAML may write before its colon: at most 1024 characters, quotes
/// and escapes included.
const YAML_KEY_BYTES: usize = 1000;

/// What an entry has besides its key and value, at most.
const ENTRY_BYTES: usize = 32;

/// Names that bash reads but does not take, or takes and answers with something
/// else.
const SHELL_NAMES: &[&str] = &[
    "_",
    "BASHOPTS",
    "BASHPID",
    "BASH_ALIASES",
    "BASH_ARGC",
    "BASH_ARGV",
    "BASH_ARGV0",
    "BASH_CMDS",
    "BASH_COMMAND",
    "BASH_LINENO",
    "BASH_SOURCE",
    "BASH_SUBSHELL",
    "BASH_VERSINFO",
    "DIRSTACK",
    "EPOCHREALTIME",
    "EPOCHSECONDS",
    "EUID",
    "FUNCNAME",
    "GROUPS",
    "HISTCMD",
    "LINENO",
    "OPTIND",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SHLVL",
    "SRANDOM",
    "UID",
];

/// A bound of the whole output's length in bytes, so that it is made in one
/// block.
pub(super) fn capacity(format: Format, values: &[(&Key, &SecretValue)], options: &Options) -> usize {
    let growth = match format {
        Format::Json | Format::Yaml => 6, // `\u0000` for one byte
        Format::Shell => 4,               // `'\''` for one byte
        _ => 2,                           // a backslash or a second quote; base64 is below
    };
    let names = [&options.name, &options.namespace].into_iter().flatten().map(String::len);
    let entries = values.iter().map(|(key, value)| {
        value.len().saturating_mul(growth).saturating_add(key.as_str().len() + ENTRY_BYTES)
    });
    names.chain(entries).fold(128, usize::saturating_add)
}

/// What stands before the first entry.
pub(super) fn opening(format: Format, out: &mut String, empty: bool, options: &Options) {
    match format {
        Format::Json => out.push('{'),
        Format::Yaml if empty => out.push_str("{}\n"),
        Format::K8sSecret => {
            out.push_str("apiVersion: v1\nkind: Secret\nmetadata:\n");
            for (field, text) in [("name", &options.name), ("namespace", &options.namespace)] {
                if let Some(text) = text {
                    push_all(out, &["  ", field, ": \"", text, "\"\n"]);
                }
            }
            out.push_str(if empty { "type: Opaque\ndata: {}\n" } else { "type: Opaque\ndata:\n" });
        }
        _ => {}
    }
}

/// What stands after the last entry.
pub(super) fn closing(format: Format, out: &mut String, empty: bool) {
    if format == Format::Json {
        out.push_str(if empty { "}\n" } else { "\n}\n" });
    }
}

/// Whether a format could carry this value if it were the only one.
pub(super) fn alone(format: Format, key: &Key, value: &SecretValue) -> Result<(), Refusal> {
    if format == Format::K8sSecret && value.len() > SECRET_BYTES {
        return Err(Refusal::SecretTooLarge);
    }
    let mut scratch = String::with_capacity(capacity(format, &[(key, value)], &Options::default()));
    entry(format, &mut scratch, 0, key, value.expose())
}

/// One entry. After a refusal the output is of no use.
pub(super) fn entry(
    format: Format,
    out: &mut String,
    index: usize,
    key: &Key,
    value: &str,
) -> Result<(), Refusal> {
    let key = key.as_str();
    let structured = matches!(format, Format::Json | Format::Yaml | Format::K8sSecret);
    if !structured && value.contains('\0') {
        return Err(Refusal::Nul);
    }
    match format {
        Format::Dotenv => dotenv(out, key, value)?,
        Format::Compose => compose(out, key, value),
        Format::Docker => docker(out, key, value)?,
        Format::Systemd => systemd(out, key, value)?,
        Format::Shell => shell(out, key, value)?,
        Format::Powershell => powershell(out, key, value),
        Format::Godotenv => godotenv(out, key, value)?,
        Format::Node => node(out, key, value)?,
        Format::Python => python(out, key, value)?,
        Format::Json => json(out, index == 0, key, value),
        Format::Yaml => yaml(out, key, value),
        Format::K8sSecret => secret(out, key, value)?,
    }
    Ok(())
}

/// Without quotes, since the readers agree on no quotes at all. Bash, Compose,
/// Docker, godotenv, node, python-dotenv and systemd read these characters as
/// they stand; white space beyond ASCII is trimmed by some.
fn dotenv(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if !value.chars().all(is_alike) {
        return Err(Refusal::NotPortable);
    }
    docker(out, key, value)
}

fn compose(out: &mut String, key: &str, value: &str) {
    assign(out, key, '"', value, |c| matches!(c, '\\' | '"' | '$'));
}

/// As it stands, to the end of the line. Docker reads lines with a Go `Scanner`,
/// which drops a carriage return and fails on a long line.
fn docker(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if value.contains(['\n', '\r']) {
        return Err(Refusal::LineBreak);
    }
    if key.len() + "=".len() + value.len() >= DOCKER_LINE_BYTES {
        return Err(Refusal::LongLine);
    }
    push_all(out, &[key, "=", value, "\n"]);
    Ok(())
}

/// systemd checks every value with its own idea of UTF-8, which has no
/// noncharacters, and gives the whole file up for one.
fn systemd(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if value.contains(is_noncharacter) {
        return Err(Refusal::Noncharacter);
    }
    assign(out, key, '"', value, |c| matches!(c, '\\' | '"' | '`' | '$'));
    Ok(())
}

fn shell(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if SHELL_NAMES.contains(&key) {
        return Err(Refusal::ShellName);
    }
    push_all(out, &["export ", key, "='"]);
    let mut pieces = value.split('\'');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        push_all(out, &["'\\''", piece]);
    }
    out.push_str("'\n");
    Ok(())
}

/// PowerShell takes the typographic single quotes for `'` too: undoubled, one
/// would end the text, and what follows it would run.
fn powershell(out: &mut String, key: &str, value: &str) {
    push_all(out, &["$env:", key, " = '"]);
    for c in value.chars() {
        if matches!(c, '\'' | '\u{2018}'..='\u{201B}') {
            out.push(c);
        }
        out.push(c);
    }
    out.push_str("'\n");
}

/// godotenv turns CR LF into LF before it reads, so line breaks are escaped; it
/// trims every double quote from the end, an escaped one too.
fn godotenv(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if value.ends_with('"') {
        return Err(Refusal::EndsInQuote);
    }
    if value.ends_with('\\') {
        return bare(out, key, value);
    }
    push_all(out, &[key, "=\""]);
    for c in value.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' | '"' | '$' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out.push_str("\"\n");
    Ok(())
}

/// node knows no escapes but `\n` and `\r` in double quotes, so the quotes are
/// chosen by what the value holds.
fn node(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if key == "__proto__" {
        return Err(Refusal::NodeName);
    }
    if value.contains('\r') {
        return Err(Refusal::CarriageReturn);
    }
    if value.ends_with('\\') {
        return bare(out, key, value);
    }
    let fits = |quote: &char| {
        !value.contains(*quote) && (*quote != '"' || !(value.contains("\\n") || value.contains("\\r")))
    };
    let quote = ['\'', '`', '"'].into_iter().find(fits).ok_or(Refusal::Quotes)?;
    assign(out, key, quote, value, |_| false);
    Ok(())
}

/// python-dotenv opens its file in text mode, where a carriage return becomes a
/// line feed, and replaces `${NAME}` in whatever quotes.
fn python(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if value.contains('\r') {
        return Err(Refusal::CarriageReturn);
    }
    if value.contains("${") {
        return Err(Refusal::Interpolation);
    }
    if value.ends_with('\\') {
        return bare(out, key, value);
    }
    assign(out, key, '\'', value, |c| matches!(c, '\\' | '\''));
    Ok(())
}

/// Without quotes: the one way in which godotenv, node and python-dotenv read a
/// value that ends in a backslash. They take the quote behind it for escaped,
/// however many backslashes there are, and read on into the next entry.
fn bare(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    let literal = |c: char| c == ' ' || !(is_blank(c) || matches!(c, '#' | '$'));
    if value.starts_with([' ', '\'', '"', '`']) || !value.chars().all(literal) {
        return Err(Refusal::EndsInBackslash);
    }
    push_all(out, &[key, "=", value, "\n"]);
    Ok(())
}

fn json(out: &mut String, first: bool, key: &str, value: &str) {
    out.push_str(if first { "\n  " } else { ",\n  " });
    push_escaped(out, key, |_| false);
    out.push_str(": ");
    push_escaped(out, value, |c| c < ' ');
}

/// Escapes what YAML does not let stand, folds or takes for a line break, in
/// either version. The key is quoted, since `NO` and `null` are not text.
fn yaml(out: &mut String, key: &str, value: &str) {
    let escaped = |c: char| c != ' ' && (is_blank(c) || is_noncharacter(c));
    let long = key.len() > YAML_KEY_BYTES;
    let (before, after) = if long { ("? \"", "\"\n: ") } else { ("\"", "\": ") };
    push_all(out, &[before, key, after]);
    push_escaped(out, value, escaped);
    out.push('\n');
}

fn secret(out: &mut String, key: &str, value: &str) -> Result<(), Refusal> {
    if key.len() > SECRET_KEY_BYTES {
        return Err(Refusal::LongName);
    }
    push_all(out, &["  \"", key, "\": \""]);
    BASE64.encode_string(value, out);
    out.push_str("\"\n");
    Ok(())
}

/// `KEY="value"` with the quotes given, and a backslash before some characters.
fn assign(out: &mut String, key: &str, quote: char, value: &str, escaped: impl Fn(char) -> bool) {
    push_all(out, &[key, "="]);
    out.push(quote);
    for c in value.chars() {
        if escaped(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out.extend([quote, '\n']);
}

/// A double-quoted text as JSON writes it, which YAML reads alike. Only YAML
/// escapes characters beyond the first 65,536.
fn push_escaped(out: &mut String, text: &str, escaped: impl Fn(char) -> bool) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            _ if escaped(c) => push_code(out, u32::from(c)),
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// `\u000d`, or `\U0001fffe` where four digits are too few.
fn push_code(out: &mut String, code: u32) {
    let digits = if code > 0xFFFF { 8 } else { 4 };
    out.push_str(if digits == 8 { "\\U" } else { "\\u" });
    for place in (0..digits).rev() {
        out.extend(char::from_digit((code >> (4 * place)) & 0xF, 16));
    }
}

fn push_all(out: &mut String, texts: &[&str]) {
    for text in texts {
        out.push_str(text);
    }
}
