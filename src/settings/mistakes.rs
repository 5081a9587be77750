//! figment's errors in our words, with their places.
//!
//! Invariant: what figment quotes of a value is left out, and a field that is
//! named like a secret is refused, not corrected.

use figment::error::Kind;

use super::SettingsError;
use super::kinds::{self, dotted, subject};
use super::layers::Merged;
use super::raw::OBJECT;
use crate::model::schema::toml_reader::nearest;

/// The error as a mistake of the settings.
pub(super) fn explain(merged: &Merged<'_>, error: &figment::Error) -> SettingsError {
    let mut path: Vec<&str> = error.path.iter().map(String::as_str).collect();
    let of = if path.is_empty() { "the settings".to_owned() } else { format!("`{}`", dotted(&path)) };
    let (message, help) = match &error.kind {
        Kind::UnknownField(name, known) => {
            // figment's path ends with the unknown field itself or with its table.
            if path.last() != Some(&name.as_str()) {
                path.push(name);
            }
            let table = path.get(..path.len().saturating_sub(1)).unwrap_or_default();
            unknown(merged, table, name, known)
        }
        Kind::MissingField(name) => {
            let choice = match (kinds::at(&path), name.as_ref()) {
                (Some(kinds), tag) if kinds.tag == tag => format!(": {}", kinds.list()),
                (None, "listen") => ": 127.0.0.1:9470, or unix:/run/dlconf/ops.sock".to_owned(),
                _ => String::new(),
            };
            (format!("{of} needs `{name}`"), format!("add `{name} = \"…\"`{choice}"))
        }
        Kind::UnknownVariant(name, known) => {
            let table = path.get(..path.len().saturating_sub(1)).unwrap_or_default();
            let tag = path.last().copied().unwrap_or("kind");
            let help = nearest(name, known.iter().copied()).map_or_else(
                || format!("one of: {}", known.join(", ")),
                |near| format!("did you mean \"{near}\"?"),
            );
            (format!("{} has an unknown {tag}", subject(table)), help)
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            let (expected, help) = expectation(expected, &path, merged.is_of_the_caller(&path));
            (format!("{of} must be {expected}"), help.to_owned())
        }
        _ => (format!("{of} cannot be understood"), "correct it as docs/settings.md shows".to_owned()),
    };
    SettingsError::new(message, merged.place(&path), help)
}

fn unknown(merged: &Merged<'_>, table: &[&str], name: &str, known: &[&'static str]) -> (String, String) {
    if let Some(help) = where_secrets_are(table, name) {
        let message = format!("`{}.{name}`: secrets do not belong into settings", dotted(table));
        return (message, help.to_owned());
    }
    let shown = dotted(table);
    let of = match shown.as_str() {
        "" => "the settings have".to_owned(),
        shown if shown.contains('[') => format!("`{shown}` has"),
        shown => format!("[{shown}] has"),
    };
    // Overlays are taken out of the file before figment sees it.
    let overlays = table.is_empty().then_some("env");
    let of_kind = kinds::at(table).and_then(|kinds| {
        let (_, own) = kinds.of(merged, table)?;
        Some(own.iter().copied().chain([kinds.tag]).collect::<Vec<_>>())
    });
    let known = of_kind.unwrap_or_else(|| known.iter().copied().chain(overlays).collect());
    let near = nearest(name, known.iter().copied());
    let help = near
        .map_or_else(|| format!("known are: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
    (format!("{of} no field `{name}`"), help)
}

/// What to write instead of a secret.
fn where_secrets_are(table: &[&str], name: &str) -> Option<&'static str> {
    if table.first() != Some(&"source") || table.get(2).is_some_and(|inner| *inner != "auth") {
        return None;
    }
    match name {
        "token" => Some(
            "use VAULT_TOKEN or BAO_TOKEN with `auth = { method = \"token\" }`, or a file with \
             `auth = { method = \"token-file\", path = \"…\" }`; and replace the token, which was shown",
        ),
        "secret_id" => Some("use `secret_id_file = \"…\"`; and replace the secret-id, which was shown"),
        "jwt" => Some("use `token_file = \"…\"`; and replace the token, which was shown"),
        _ => None,
    }
}

/// What a `mode` is.
const MODE: &str = "octal digits in a text";

/// What a field must be, and how to write it.
fn expectation<'e>(expected: &'e str, path: &[&str], by_variable: bool) -> (&'e str, &'static str) {
    match (expected, path) {
        ("a string", [.., "mode"]) if by_variable => {
            (MODE, "put it into '\"…\"', or else 0640 is taken for the number 640")
        }
        ("a string", [.., "mode"]) => {
            (MODE, "put it into quotes: \"0640\"; a number such as 640 would be a decimal one")
        }
        ("a string", ["ops", "listen"]) => (expected, "write it as \"127.0.0.1:9470\""),
        ("a string", [.., "signal"]) => (expected, "write its name: \"HUP\""),
        ("a string", _) if by_variable => {
            (expected, "a value that reads as a number or as true is one: put it into \"…\"")
        }
        ("a string", _) => (expected, "put it into quotes: \"…\""),
        ("a boolean", _) => ("true or false", "write true or false, without quotes"),
        ("u32", _) => ("a whole number of 0 or more", "write it as 1024, without quotes"),
        ("a sequence", ["source", _, "paths"]) => {
            ("a list of tables", "write a list: [{ mount = \"secret\", path = \"…\" }]")
        }
        ("a sequence", ["source", _, "secrets" | "config_maps"]) => (
            "a list of names or tables",
            "write a list: [\"datalens-api\", { name = \"shared\", only = [\"A\"] }]",
        ),
        (OBJECT, _) => (OBJECT, "write \"datalens-api\", or { name = \"datalens-api\", only = [\"A\"] }"),
        ("a sequence", ["source", _, "paths" | "secrets" | "config_maps", ..]) => {
            ("a list of names", "write a list: [\"a\", \"b\"]")
        }
        ("a sequence", [.., "vars"]) => ("a list of names", "write a list: [\"DB_*\", \"group:jwt\"]"),
        ("a sequence", ["rotation", "windows"]) => {
            ("a list of times", "write a list: [\"Mon-Fri 10:00-16:00\"]")
        }
        ("a sequence", ["rotation", "probe_hosts"]) => {
            ("a list of names", "write a list: [\"smtp.example.com\"]")
        }
        ("a sequence", [.., "exec"]) => {
            let help =
                "write a list: [\"/usr/local/bin/reload\", \"app\"]; there is no shell to split a text";
            ("a list: a program and its arguments", help)
        }
        ("a sequence", _) => ("a list of names", "write a list: [\"dotenv\", \"env\"]"),
        // Our own types, by the names of their structs.
        (table, path) if table == "a map" || table.starts_with("struct ") => {
            let help = match path {
                ["source", _, "auth"] => "write it as a table: { method = \"…\" }",
                ["source", _, "tls"] => "write it as a table: { ca_cert = \"…\" }",
                ["source", _, "paths", _] => "write it as a table: { mount = \"secret\", path = \"…\" }",
                ["source", _, "paths" | "secrets" | "config_maps", _, "map"] => {
                    "write it as a table: { field = \"NAME\" }"
                }
                ["delivery", _, "on_change"] => "write it as a table: { exec = [\"/usr/local/bin/reload\"] }",
                ["delivery", ..] => "write it as a table: [delivery.NAME] with `type = \"…\"`",
                ["socket"] => "write it as a table: [socket] with `path = \"…\"`",
                ["ops"] => "write it as a table: [ops] with `listen = \"127.0.0.1:9470\"`",
                ["debounce"] => "write it as a table: [debounce] with `min = \"50ms\"`",
                ["rotation"] => "write it as a table: [rotation] with `enabled = true`",
                ["consumer", ..] => "write it as a table: [consumer.NAME] with `verifies = \"ring\"`",
                _ => "write it as a table: [source.NAME] with `type = \"…\"`",
            };
            ("a table", help)
        }
        (other, _) => (other, "correct it as docs/settings.md shows"),
    }
}
