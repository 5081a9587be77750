//! The schema's terms in words, shared by the exports.

use crate::model::schema::kind::Kind;
use crate::model::schema::{Generate, GenerateEncoding, Presence, Rotation, Strategy, Var};

/// The type with its constraints, as one phrase without newlines of its own:
/// `enum: debug, info`, `list of origin, separated by ","`, `int, at least 1`.
pub(super) fn type_phrase(var: &Var) -> String {
    let bytes = match (var.min_bytes, var.max_bytes) {
        (Some(min), Some(max)) => format!(", {min} to {max} bytes"),
        (Some(min), None) => format!(", at least {min} bytes"),
        (None, Some(max)) => format!(", at most {max} bytes"),
        (None, None) => String::new(),
    };
    let pattern =
        var.pattern.as_ref().map_or_else(String::new, |p| format!(", matching {}", inner_pattern(p)));
    kind_phrase(&var.kind) + &bytes + &pattern
}

fn kind_phrase(kind: &Kind) -> String {
    let name = kind.name();
    match kind {
        Kind::Enum { values } => format!("{name}: {}", values.join(", ")),
        Kind::Url { schemes } if !schemes.is_empty() => format!("{name} ({})", schemes.join(", ")),
        Kind::List { of, separator } => {
            format!("{name} of {}, separated by \"{separator}\"", kind_phrase(of))
        }
        Kind::Dsn { driver } => format!("{name} ({})", driver.name()),
        Kind::Int { min, max } => limits(name, min.as_ref(), max.as_ref(), ToString::to_string),
        Kind::Float { min, max } => limits(name, min.as_ref(), max.as_ref(), ToString::to_string),
        Kind::Duration { min, max } => limits(name, min.as_ref(), max.as_ref(), |n| nanoseconds(*n)),
        _ => name.to_owned(),
    }
}

fn limits<T>(name: &str, min: Option<&T>, max: Option<&T>, text: impl Fn(&T) -> String) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{name}, {} to {}", text(min), text(max)),
        (Some(min), None) => format!("{name}, at least {}", text(min)),
        (None, Some(max)) => format!("{name}, at most {}", text(max)),
        (None, None) => name.to_owned(),
    }
}

/// A pattern as the schema wrote it, without the anchors that reading added.
pub(super) fn inner_pattern(pattern: &regex::Regex) -> &str {
    let text = pattern.as_str();
    text.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(text)
}

/// `required`, `required in staging, production`, `optional`.
pub(super) fn presence_phrase(presence: &Presence) -> String {
    match presence {
        Presence::Always => "required".to_owned(),
        Presence::In(names) if !names.is_empty() => format!("required in {}", names.join(", ")),
        Presence::In(_) | Presence::Never => "optional".to_owned(),
    }
}

/// Whether it is required anywhere.
pub(super) fn required_somewhere(presence: &Presence) -> bool {
    match presence {
        Presence::Always => true,
        Presence::In(names) => !names.is_empty(),
        Presence::Never => false,
    }
}

/// A command that makes such a value.
pub(super) fn generate_command(generate: Generate) -> String {
    let bytes = generate.bytes;
    // openssl breaks base64 into lines of 64 characters.
    match generate.encoding {
        GenerateEncoding::Base64Url => format!("openssl rand -base64 {bytes} | tr '+/' '-_' | tr -d '=\\n'"),
        GenerateEncoding::Base64 => format!("openssl rand -base64 {bytes} | tr -d '\\n'"),
        GenerateEncoding::Hex => format!("openssl rand -hex {bytes}"),
    }
}

/// How a person comes by a secret.
pub(super) fn how_to_get(var: &Var) -> String {
    if let Some(generate) = var.generate {
        return format!("make one: {}", generate_command(generate));
    }
    match var.rotation.as_ref().map(|rotation| rotation.strategy) {
        Some(Strategy::Dynamic | Strategy::StaticRole) => {
            "Vault gives it, or whoever runs the server; do not make one up".to_owned()
        }
        _ => "whoever runs the other side gives it; do not make one up".to_owned(),
    }
}

/// How it is rotated, as a sentence.
pub(super) fn rotation_sentence(rotation: &Rotation) -> String {
    let every = rotation.every.map(|every| format!(" every {}", seconds(every))).unwrap_or_default();
    let clause = match rotation.strategy {
        Strategy::Overlap => match rotation.overlap {
            Some(overlap) => {
                format!("Rotated{every}; the previous key stays valid for {}", seconds(overlap))
            }
            None => format!("Rotated{every}"),
        },
        Strategy::Ring => match rotation.slots {
            Some(slots) => format!("Rotated{every} as a ring of {slots} keys; no key is ever retired"),
            None => format!("Rotated{every} as a ring; no key is ever retired"),
        },
        Strategy::Supplied => format!("Rotated{every} with a value that an operator supplies"),
        Strategy::Dynamic => "Leased from Vault's database engine".to_owned(),
        Strategy::StaticRole => "Rotated by Vault".to_owned(),
        Strategy::Manual => "Never rotated by dlconf".to_owned(),
    };
    match &rotation.reason {
        Some(reason) => format!("{clause}: {reason}."),
        None => format!("{clause}."),
    }
}

/// Seconds in the largest unit that fits: `30d`, `36h`, `90s`.
fn seconds(seconds: u64) -> String {
    for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds > 0 && seconds.is_multiple_of(length) {
            return format!("{}{unit}", seconds / length);
        }
    }
    format!("{seconds}s")
}

fn nanoseconds(nanoseconds: i128) -> String {
    const SECOND: i128 = 1_000_000_000;
    match u64::try_from(nanoseconds / SECOND) {
        Ok(whole) if nanoseconds % SECOND == 0 => seconds(whole),
        _ => format!("{nanoseconds}ns"),
    }
}

/// A text as one line without control characters, so that it cannot end a
/// comment or a table row.
pub(super) fn one_line(text: &str) -> String {
    let visible = |c: char| if c.is_control() || c.is_whitespace() { ' ' } else { c };
    text.chars().map(visible).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text as sentence: with a full stop, unless it ends in a mark of its own.
pub(super) fn sentence(text: &str) -> String {
    let line = one_line(text);
    if line.is_empty() || line.ends_with(['.', '!', '?', ':', '…']) { line } else { format!("{line}.") }
}
