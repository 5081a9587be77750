//! Tables that are of a kind: a source or delivery of a `type`, a login by a
//! `method`, a path of an `engine`.
//!
//! Owns: which kinds there are, and which fields each has a use for. A field that
//! its kind would ignore is an error: somebody meant something by it.
//! Must not know: what a field means.

use super::SettingsError;
use super::layers::Merged;
use super::raw::Raw;

/// The kinds that a table may be of.
pub(super) struct Kinds {
    /// The field that says which.
    pub(super) tag: &'static str,
    /// The kind of a table that does not say.
    default: Option<&'static str>,
    /// Each with its own fields.
    of: &'static [(&'static str, Fields)],
}

type Fields = &'static [&'static str];

/// `[source.NAME]`.
pub(super) const SOURCES: Kinds = Kinds {
    tag: "type",
    default: None,
    of: &[
        ("env", &[]),
        ("dotenv", &["path", "optional", "max_age"]),
        ("file", &["path", "notation", "optional", "max_age"]),
        ("directory", &["path", "optional", "max_age"]),
        ("sealed", &["path", "key_file", "passphrase_file", "credential", "optional", "max_age"]),
        (
            "vault",
            &[
                "address",
                "namespace",
                "auth",
                "paths",
                "poll",
                "timeout",
                "deadline",
                "required",
                "tls",
                "max_age",
            ],
        ),
        (
            "kubernetes",
            &[
                "secrets",
                "config_maps",
                "namespace",
                "kubeconfig",
                "context",
                "timeout",
                "deadline",
                "required",
                "max_age",
            ],
        ),
    ],
};

/// `auth` of a Vault source.
pub(super) const METHODS: Kinds = Kinds {
    tag: "method",
    default: None,
    of: &[
        ("token", &[]),
        ("token-file", &["path"]),
        ("approle", &["mount", "role_id", "role_id_file", "secret_id_file", "wrapped"]),
        ("kubernetes", &["mount", "role", "token_file"]),
        ("jwt", &["mount", "role", "token_file"]),
        ("cert", &["mount", "role"]),
    ],
};

/// One of the `paths` of a Vault source.
pub(super) const ENGINES: Kinds = Kinds {
    tag: "engine",
    default: Some("kv2"),
    of: &[
        ("kv2", &["mount", "path", "map", "prefix", "only"]),
        ("kv1", &["mount", "path", "map", "prefix", "only"]),
        ("database", &["path", "map", "prefix", "only"]),
        ("generic", &["path", "map", "prefix", "only"]),
    ],
};

/// `[delivery.NAME]`.
pub(super) const DELIVERIES: Kinds = Kinds {
    tag: "type",
    default: None,
    of: &[
        ("env-file", &["path", "format", "mode", "owner", "group", "create_dirs", "vars", "on_change"]),
        ("directory", &["path", "mode", "owner", "group", "create_dirs", "vars", "on_change"]),
    ],
};

/// Judges every table that is of a kind.
pub(super) fn judge(merged: &Merged<'_>, raw: &Raw) -> Result<(), SettingsError> {
    for (name, source) in &raw.source {
        SOURCES.judge(merged, &["source", name])?;
        METHODS.judge(merged, &["source", name, "auth"])?;
        for at in 0..source.paths.len() {
            ENGINES.judge(merged, &["source", name, "paths", &at.to_string()])?;
        }
    }
    for name in raw.delivery.keys() {
        DELIVERIES.judge(merged, &["delivery", name])?;
    }
    Ok(())
}

/// What the table at a path is a kind of.
pub(super) fn at(path: &[&str]) -> Option<&'static Kinds> {
    match path {
        ["source", _] => Some(&SOURCES),
        ["source", _, "auth"] => Some(&METHODS),
        ["source", _, "paths", _] => Some(&ENGINES),
        ["delivery", _] => Some(&DELIVERIES),
        _ => None,
    }
}

/// A table in words: `paths[2]` of source `vault`.
pub(super) fn subject(path: &[&str]) -> String {
    match path {
        [section @ ("source" | "delivery" | "consumer"), name] => format!("{section} `{name}`"),
        [section @ ("source" | "delivery" | "consumer"), name, rest @ ..] => {
            format!("`{}` of {section} `{name}`", dotted(rest))
        }
        [section @ ("socket" | "ops" | "audit" | "snapshot" | "debounce" | "rotation")] => {
            format!("[{section}]")
        }
        [section @ ("socket" | "ops" | "audit" | "snapshot" | "debounce" | "rotation"), rest @ ..] => {
            format!("`{}` of [{section}]", dotted(rest))
        }
        _ => format!("`{}`", dotted(path)),
    }
}

/// A path as it is written: `source.vault.paths[2].map`.
pub(super) fn dotted(path: &[&str]) -> String {
    let mut text = String::new();
    let mut list = false;
    for name in path {
        match name {
            index if list && index.bytes().all(|b| b.is_ascii_digit()) => text += &format!("[{index}]"),
            name if text.is_empty() => text += name,
            name => text += &format!(".{name}"),
        }
        list = matches!(
            *name,
            "order"
                | "paths"
                | "secrets"
                | "config_maps"
                | "only"
                | "base64"
                | "vars"
                | "exec"
                | "windows"
                | "probe_hosts"
        );
    }
    text
}

impl Kinds {
    /// Their names.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.of.iter().map(|(name, _)| *name)
    }

    /// The names, to be read by people.
    pub(super) fn list(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }

    /// The kind of a table, and its own fields.
    pub(super) fn of(&self, merged: &Merged<'_>, table: &[&str]) -> Option<&'static (&'static str, Fields)> {
        let kind = merged.text(&[table, &[self.tag]].concat()).or(self.default)?;
        self.of.iter().find(|(name, _)| *name == kind)
    }

    fn judge(&self, merged: &Merged<'_>, table: &[&str]) -> Result<(), SettingsError> {
        let Some((kind, own)) = self.of(merged, table) else { return Ok(()) };
        let useless = |field: &&str| *field != self.tag && !own.contains(field);
        let Some(field) = merged.fields(table).into_iter().find(useless) else { return Ok(()) };
        Err(SettingsError::new(
            format!("{} has no use for `{field}`: its {} is \"{kind}\"", subject(table), self.tag),
            merged.place(&[table, &[field]].concat()),
            instead(self.tag, kind, field).unwrap_or("remove it"),
        ))
    }
}

/// What to write instead of a field that a kind has no use for.
fn instead(tag: &str, kind: &str, field: &str) -> Option<&'static str> {
    if tag == SOURCES.tag && kind == "kubernetes" {
        return instead_of_kubernetes(field);
    }
    Some(match (kind, field) {
        ("vault", "optional") => {
            "write `required = false`: it excuses a path that holds nothing, never a server that is away"
        }
        ("vault", "path") => "write `paths = [{ mount = \"secret\", path = \"…\" }]`",
        ("env", "max_age") => "remove it: what a process begins with does not age",
        ("directory", "format") => "remove it: each file holds its value as it is",
        ("dotenv" | "file" | "directory" | "sealed", "required") => {
            "write `optional = true` if it may be absent"
        }
        ("file" | "dotenv", "key_file" | "passphrase_file" | "credential") => {
            "write `type = \"sealed\"` for what `dlconf seal` wrote"
        }
        ("database", "mount") => "put it into the path: path = \"database/creds/ROLE\"",
        ("generic", "mount") => "put it into the path: path = \"MOUNT/…\"",
        ("token", "path" | "token_file") => "write `method = \"token-file\"` and `path = \"…\"`",
        ("token-file", "token_file") => "write `path = \"…\"`",
        ("kubernetes" | "jwt", "path") => "write `token_file = \"…\"`",
        ("approle", "role") => "write `role_id = \"…\"` or `role_id_file = \"…\"`",
        _ => return None,
    })
}

/// The same of a Kubernetes source.
fn instead_of_kubernetes(field: &str) -> Option<&'static str> {
    Some(match field {
        "optional" => {
            "write `required = false`: it excuses an object that is not there, never a server that is away"
        }
        "path" | "paths" => "write `secrets = [\"…\"]` or `config_maps = [\"…\"]`",
        "address" | "auth" | "tls" => {
            "remove it: a kubeconfig says it (`kubeconfig = \"…\"`), or in a pod its service account"
        }
        "poll" => "remove it: changes are watched",
        _ => return None,
    })
}
