//! `[delivery.NAME]`: from what is written to what a delivery is told.
//!
//! Owns: what the fields must be, and their defaults; `on_change` reads what is
//! done after a change.
//! Invariants: paths are absolute; owners are not looked up and variables not
//! compared with a schema: that is for who delivers.
//! Must not know: how a file is written.

mod on_change;

use super::layers::Merged;
use super::raw::{DeliveryType, Raw, RawDelivery};
use super::table::Table;
use super::{Opened, SettingsError};
use crate::access::Selection;
use crate::delivery::config::{DeliveryConfig, DeliveryKind};
use crate::delivery::encode::Format;
use crate::disk::rights::FileAccess;
use crate::model::schema::toml_reader::nearest;

impl Opened {
    /// The deliveries, by name.
    pub(super) fn deliveries(
        &self,
        merged: &Merged<'_>,
        raw: &Raw,
    ) -> Result<Vec<DeliveryConfig>, SettingsError> {
        let read = |(name, raw): (&String, &RawDelivery)| {
            let at = ["delivery", name.as_str()];
            delivery(&Table { opened: self, merged, at: &at }, name, raw)
        };
        raw.delivery.iter().map(read).collect()
    }
}

/// One delivery. `kinds` has judged which fields it has.
fn delivery(table: &Table<'_>, name: &str, raw: &RawDelivery) -> Result<DeliveryConfig, SettingsError> {
    let kind = match raw.kind {
        DeliveryType::EnvFile => DeliveryKind::EnvFile { format: format(table, raw.format.as_deref())? },
        DeliveryType::Directory => DeliveryKind::Directory,
    };
    let target = table.target(&["path"], "write", &raw.path)?;
    let access = FileAccess {
        mode: table.mode(&["mode"], raw.mode.as_deref())?,
        owner: principal(table, "owner", raw.owner.as_deref())?,
        group: principal(table, "group", raw.group.as_deref())?,
    };
    let on_change = raw.on_change.as_ref().map(|raw| on_change::read(table, raw)).transpose()?;
    Ok(DeliveryConfig {
        name: name.to_owned(),
        kind,
        path: target.path,
        label: target.label,
        access,
        create_dirs: raw.create_dirs.unwrap_or(true),
        vars: vars(table, raw.vars.as_deref())?,
        on_change,
    })
}

fn format(table: &Table<'_>, text: Option<&str>) -> Result<Format, SettingsError> {
    let Some(text) = text else { return Ok(Format::Dotenv) };
    let names = || Format::ALL.iter().filter(|format| is_env_file(**format)).map(|format| format.as_str());
    let list = || format!("one of: {}", names().collect::<Vec<_>>().join(", "));
    match text.parse() {
        Ok(format) if is_env_file(format) => Ok(format),
        Ok(_) => Err(table.wrong(&["format"], "is that of a manifest, no file that a program reads", list())),
        Err(()) => {
            let near = nearest(text, names());
            let help = near.map_or_else(list, |near| format!("did you mean \"{near}\"?"));
            Err(table.wrong(&["format"], "is unknown", help))
        }
    }
}

fn is_env_file(format: Format) -> bool {
    format != Format::K8sSecret
}

/// A user or a group, by name or number.
fn principal(table: &Table<'_>, field: &str, text: Option<&str>) -> Result<Option<String>, SettingsError> {
    let Some(text) = text else { return Ok(None) };
    let text = table.filled(&[field], text)?;
    if text.contains(':') {
        let help = "write the user in `owner` and the group in `group`";
        return Err(table.wrong(&[field], "must be one name or number", help));
    }
    Ok(Some(text.to_owned()))
}

fn vars(table: &Table<'_>, parts: Option<&[String]>) -> Result<Selection, SettingsError> {
    let Some(parts) = parts else { return Ok(Selection::everything()) };
    if parts.is_empty() {
        let help = "name variables, [\"DB_*\", \"group:jwt\"], or remove it to deliver everything";
        return Err(table.wrong(&["vars"], "is empty, so nothing would be delivered", help));
    }
    for (at, part) in parts.iter().enumerate() {
        let name = part.strip_prefix("group:").or_else(|| part.strip_prefix("service:")).unwrap_or(part);
        if name.trim().is_empty() {
            let help = "name a variable, a pattern such as \"DB_*\", or a group: \"group:jwt\"";
            return Err(table.wrong(&["vars", &at.to_string()], "names nothing", help));
        }
    }
    Ok(Selection::new(parts.iter().map(String::as_str)))
}

#[cfg(test)]
mod tests;
