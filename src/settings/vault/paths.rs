//! `paths`: what is read of a Vault, and which of its fields under which names.

use super::Reader;
use crate::settings::SettingsError;
use crate::settings::raw::{self, RawPath};
use crate::settings::select::Written;
use crate::source::fields::Select;
use crate::source::vault::config::{Engine, PathSpec};

/// A path or mount without slashes at its ends.
///
/// # Errors
/// What is wrong with it, as a clause. What a URL would take for something else
/// than a piece of the path is refused, `%` among it: it could spell a dot.
pub(super) fn segments(text: &str) -> Result<String, &'static str> {
    let text = text.trim_matches('/');
    if text.is_empty() {
        return Err("is empty");
    }
    if text.contains(char::is_control) {
        return Err("holds a control character");
    }
    if text.contains(['?', '#', '%', '\\']) {
        return Err("holds one of ? # % \\, which are no part of a path");
    }
    for segment in text.split('/') {
        match segment {
            "" => return Err("has two slashes in a row"),
            "." | ".." => return Err("has a segment `.` or `..`"),
            _ => {}
        }
    }
    Ok(text.to_owned())
}

/// One entry, being read.
struct Entry<'a> {
    reader: &'a Reader<'a>,
    index: String,
    raw: &'a RawPath,
}

impl Reader<'_> {
    /// The list of paths; at least one.
    pub(super) fn paths(&self) -> Result<Vec<PathSpec>, SettingsError> {
        if self.raw.paths.is_empty() {
            let message = format!("source `{}` has no `paths`, so it would read nothing", self.name);
            let help = "add `paths = [{ mount = \"secret\", path = \"…\" }]`";
            return Err(self.error(&["paths"], message, help));
        }
        let entries = self.raw.paths.iter().enumerate();
        entries.map(|(at, raw)| Entry { reader: self, index: at.to_string(), raw }.read()).collect()
    }
}

impl Entry<'_> {
    fn read(&self) -> Result<PathSpec, SettingsError> {
        let path = segments(&self.raw.path).map_err(|clause| {
            self.error(&["path"], format!("`path` {clause}"), "write it as datalens/production")
        })?;
        let engine = match self.raw.engine {
            raw::Engine::Kv2 => {
                let mount = self.mount()?;
                self.judge_kv2(&path)?;
                self.judge_mount(&mount, &path)?;
                Engine::Kv2 { mount, path }
            }
            raw::Engine::Kv1 => {
                let mount = self.mount()?;
                self.judge_mount(&mount, &path)?;
                Engine::Kv1 { mount, path }
            }
            raw::Engine::Database => {
                if !path.split('/').any(|segment| matches!(segment, "creds" | "static-creds")) {
                    let message = "`path` is not that of database credentials";
                    let help =
                        "write it whole: path = \"database/creds/ROLE\", or database/static-creds/ROLE";
                    return Err(self.error(&["path"], message, help));
                }
                Engine::Database { path }
            }
            raw::Engine::Generic => Engine::Generic { path },
        };
        Ok(PathSpec { engine, select: self.select()? })
    }

    fn mount(&self) -> Result<String, SettingsError> {
        let Some(mount) = &self.raw.mount else {
            let help = "add `mount = \"secret\"`: where the engine is mounted";
            return Err(self.error(&[], "there is no `mount`", help));
        };
        segments(mount).map_err(|clause| {
            self.error(&["mount"], format!("`mount` {clause}"), "write it as secret, or team/secret")
        })
    }

    /// The API's paths have `data/`, those that people write have not.
    fn judge_kv2(&self, path: &str) -> Result<(), SettingsError> {
        for part in ["data/", "metadata/"] {
            if let Some(rest) = path.strip_prefix(part) {
                let message = format!("`path` begins with `{part}`, which is a part of the API's address");
                return Err(self.error(&["path"], message, format!("leave it out: path = \"{rest}\"")));
            }
        }
        Ok(())
    }

    fn judge_mount(&self, mount: &str, path: &str) -> Result<(), SettingsError> {
        let Some(rest) = path.strip_prefix(mount).and_then(|rest| rest.strip_prefix('/')) else {
            return Ok(());
        };
        let rest = rest.strip_prefix("data/").unwrap_or(rest);
        let message = "`path` begins with the mount, which `mount` names already";
        Err(self.error(&["path"], message, format!("leave it out: path = \"{rest}\"")))
    }

    fn select(&self) -> Result<Select, SettingsError> {
        let RawPath { map, prefix, only, .. } = self.raw;
        Written { map, prefix, only }.select(|field, what, help| self.error(field, what, help))
    }

    fn error(&self, field: &[&str], what: impl AsRef<str>, help: impl Into<String>) -> SettingsError {
        let (name, index) = (self.reader.name, &self.index);
        let message = format!("`paths[{index}]` of source `{name}`: {}", what.as_ref());
        self.reader.error(&[&["paths", index.as_str()], field].concat(), message, help)
    }
}
