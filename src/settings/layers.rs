//! The layers of settings and their merge: embedded default < file <
//! `[env.NAME]` < `DLCONF_A__B` variables.
//!
//! Owns: the texts, which layer gives a field (so that a mistake is placed in
//! the file or at the variable that made it), what a higher layer replaces whole
//! rather than field by field, and what later releases have.
//! Invariant: the process environment is read once, when the layers are made.
//! Must not know: what a field means.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use figment::providers::Env;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::SettingsError;
use super::raw::KEY_FIELDS;
use crate::model::origin::{Location, Span};
use crate::model::schema::toml_reader::Lines;

/// Under any file that declares no sources of its own: `.env` files under the
/// environment.
const EMBEDDED: &str = "order = [\"dotenv\", \"env\"]\n\
    [source.dotenv]\ntype = \"dotenv\"\noptional = true\n\
    [source.env]\ntype = \"env\"\n";

/// The prefix of variables that are settings.
const PREFIX: &str = "DLCONF_";

/// Lists whose entries may be tables.
const LISTS: [&str; 3] = ["paths", "secrets", "config_maps"];

/// All layers, not yet merged.
pub(super) struct Layers {
    file: Option<File>,
    embedded: Dict,
    written: Dict,
    overlays: BTreeMap<String, Dict>,
    variables: Variables,
}

/// What the process environment sets. A name without a double underscore is not
/// ours: Kubernetes makes `DLCONF_PORT` of a service called dlconf.
struct Variables {
    fields: Dict,
    /// The variables' names, each with its path: `DLCONF_SOURCE__A__PATH` is
    /// `source.a.path`.
    names: Vec<(Vec<String>, String)>,
    /// `CREDENTIALS_DIRECTORY`: where the service manager put what it gave.
    credentials: Option<PathBuf>,
}

struct File {
    label: String,
    text: String,
}

/// Which layer gives a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Giver {
    Embedded,
    File,
    Overlay,
    Variable,
}

/// The layers as they hold with one overlay, or with none.
pub(super) struct Merged<'l> {
    layers: &'l Layers,
    overlay: Option<&'l str>,
    /// Lowest first. A layer holds only what a higher one does not replace whole.
    stack: Vec<(Giver, Cow<'l, Dict>)>,
}

/// One layer, for figment.
struct Layer<'d>(&'d Dict);

impl Provider for Layer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("settings")
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.0.clone())]))
    }
}

impl Layers {
    /// The layers of a file with this label and text, if there is one.
    pub(super) fn new(file: Option<(String, String)>) -> Result<Self, SettingsError> {
        let file = file.map(|(label, text)| File { label, text });
        let mut table = match &file {
            Some(file) => parse(file)?,
            None => toml::Table::new(),
        };
        let overlays = take_overlays(&mut table, file.as_ref())?;
        Ok(Self {
            written: dict(table)?,
            embedded: dict(EMBEDDED.parse().unwrap_or_default())?,
            file,
            overlays,
            variables: Variables::read()?,
        })
    }

    /// The file, as the user wrote it.
    pub(super) fn label(&self) -> Option<&str> {
        self.file.as_ref().map(|file| &*file.label)
    }

    /// The environments that have an overlay.
    pub(super) fn overlays(&self) -> impl Iterator<Item = &str> {
        self.overlays.keys().map(String::as_str)
    }

    /// The layers with the overlay of this environment, where it has one.
    ///
    /// The embedded sources hold underneath as long as nothing above declares
    /// sources or an order; variables may change them (`DLCONF_SOURCE__DOTENV__PATH`).
    pub(super) fn merged<'l>(&'l self, environment: Option<&'l str>) -> Merged<'l> {
        let overlay = environment.and_then(|name| self.overlays.get_key_value(name));
        let written = [(Giver::File, &self.written)].into_iter();
        let written = written.chain(overlay.map(|(_, dict)| (Giver::Overlay, dict)));
        let mut stack: Vec<_> = written.collect();
        let declares = |dict: &Dict| dict.contains_key("order") || dict.contains_key("source");
        let adds = || match (lookup(&self.variables.fields, &["source"]), lookup(&self.embedded, &["source"]))
        {
            (Some(Value::Dict(_, own)), Some(Value::Dict(_, embedded))) => {
                own.keys().any(|name| !embedded.contains_key(name))
            }
            _ => false,
        };
        if !stack.iter().any(|(_, dict)| declares(dict)) && !adds() {
            stack.insert(0, (Giver::Embedded, &self.embedded));
        }
        stack.push((Giver::Variable, &self.variables.fields));
        let mut stack: Vec<_> = stack.into_iter().map(|(giver, dict)| (giver, Cow::Borrowed(dict))).collect();
        replace_whole(&mut stack);
        Merged { layers: self, overlay: overlay.map(|(name, _)| name.as_str()), stack }
    }

    /// Where a key stands in the file.
    pub(super) fn place_in_file(&self, path: &[&str]) -> Option<Location> {
        self.file.as_ref().map(|file| file.place(path))
    }
}

impl Variables {
    fn read() -> Result<Self, SettingsError> {
        let ours = Env::prefixed(PREFIX).filter(|name| name.as_str().contains("__")).split("__");
        let data = ours.data().map_err(|_| {
            SettingsError::new(
                "the variables that begin with DLCONF_ cannot be understood",
                None,
                "unset those with a double underscore",
            )
        })?;
        let fields = data.into_iter().find(|(profile, _)| *profile == Profile::Default).map(|(_, dict)| dict);
        let names = std::env::vars_os().filter_map(|(name, _)| {
            let name = name.into_string().ok()?;
            let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
            let is_ours = prefix.eq_ignore_ascii_case(PREFIX) && rest.contains("__");
            let path = || rest.to_ascii_lowercase().split("__").map(str::to_owned).collect();
            is_ours.then(|| (path(), name.clone()))
        });
        let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|folder| !folder.is_empty());
        Ok(Self {
            fields: fields.unwrap_or_default(),
            names: names.collect(),
            credentials: credentials.map(PathBuf::from),
        })
    }

    /// The variable that sets a field, or one of its fields, or the table that it
    /// is in.
    fn name(&self, path: &[&str]) -> String {
        let fits = |set: &[String]| set.iter().zip(path).all(|(a, b)| a == b);
        let fitting = self.names.iter().filter(|(set, _)| fits(set));
        fitting.max_by_key(|(set, _)| set.len().min(path.len())).map_or_else(
            || format!("{PREFIX}{}", path.join("__").to_ascii_uppercase()),
            |(_, name)| name.clone(),
        )
    }
}

impl Merged<'_> {
    /// The fields, merged.
    pub(super) fn figment(&self) -> Figment {
        self.stack.iter().fold(Figment::new(), |all, (_, dict)| all.merge(Layer(dict)))
    }

    /// The fields that a table has, from whatever layers.
    pub(super) fn fields(&self, table: &[&str]) -> BTreeSet<&str> {
        let tables = self.stack.iter().filter_map(|(_, dict)| lookup(dict, table)?.as_dict());
        tables.flat_map(|dict| dict.keys().map(String::as_str)).collect()
    }

    /// A field, if it is text.
    pub(super) fn text(&self, path: &[&str]) -> Option<&str> {
        self.stack.iter().rev().find_map(|(_, dict)| lookup(dict, path))?.as_str()
    }

    /// Whether a variable gives a field: that is the caller's own word.
    pub(super) fn is_of_the_caller(&self, path: &[&str]) -> bool {
        lookup(&self.layers.variables.fields, path).is_some()
    }

    /// Where the service manager put the credentials that it gave.
    pub(super) fn credentials(&self) -> Option<&Path> {
        self.layers.variables.credentials.as_deref()
    }

    /// Where a field is given: by the highest layer that does, a table by the
    /// lowest, which declares it. Of a field that nobody gives, the table that
    /// lacks it.
    pub(super) fn place(&self, path: &[&str]) -> Option<Location> {
        let mut path = path;
        while !path.is_empty() {
            let given = || self.stack.iter().filter_map(|(giver, dict)| Some((*giver, lookup(dict, path)?)));
            let is_table = |(_, value): &(Giver, &Value)| matches!(value, Value::Dict(..));
            if let Some(highest) = given().next_back() {
                let tables = || given().find(is_table);
                let declared = Some(highest).filter(is_table).and_then(|_| tables());
                return self.place_in(declared.unwrap_or(highest).0, path);
            }
            (_, path) = path.split_last()?;
        }
        None
    }

    /// The place of a field, ready to print.
    pub(super) fn shown_place(&self, field: &str) -> String {
        self.place(&[field]).map_or_else(|| "the settings".to_owned(), |place| place.to_string())
    }

    fn place_in(&self, giver: Giver, path: &[&str]) -> Option<Location> {
        match giver {
            Giver::Embedded => None,
            Giver::File => self.layers.place_in_file(path),
            Giver::Overlay => {
                let inside = ["env", self.overlay?].into_iter().chain(path.iter().copied());
                self.layers.place_in_file(&inside.collect::<Vec<_>>())
            }
            Giver::Variable => {
                Some(Location::Named(format!("env:{}", self.layers.variables.name(path)).into()))
            }
        }
    }
}

impl File {
    /// Where a key stands, as deep as it can be followed.
    fn place(&self, path: &[&str]) -> Location {
        Location::File { path: self.label.as_str().into(), at: locate(&self.text, path) }
    }
}

/// Takes out of the lower layers what a higher one replaces whole: lists of what is
/// read, a login by another method, a key in another sort of place, and another
/// reaction to changes, whose fields mean nothing to the new one.
fn replace_whole(stack: &mut [(Giver, Cow<'_, Dict>)]) {
    for at in 1..stack.len() {
        let (lower, upper) = stack.split_at_mut(at);
        let Some((_, upper)) = upper.first() else { return };
        for name in upper.get("delivery").and_then(Value::as_dict).into_iter().flat_map(Dict::keys) {
            let acts = |dict: &Dict, by| lookup(dict, &["delivery", name, "on_change", by]).is_some();
            for (new, old) in [("exec", "signal"), ("signal", "exec")] {
                // One that has both keeps both, which is a mistake to be told.
                if acts(upper, new) && !acts(upper, old) && lower.iter().any(|(_, dict)| acts(dict, old)) {
                    for (_, dict) in &mut *lower {
                        remove(dict, "delivery", name, "on_change");
                    }
                }
            }
        }
        for name in upper.get("source").and_then(Value::as_dict).into_iter().flat_map(Dict::keys) {
            let method = ["source", name, "auth", "method"];
            let below = lower.iter().rev().find_map(|(_, dict)| lookup(dict, &method));
            let another =
                lookup(upper, &method).zip(below).is_some_and(|(new, old)| new.as_str() != old.as_str());
            let gives = |field: &str| lookup(upper, &["source", name, field]).is_some();
            let keys = KEY_FIELDS
                .into_iter()
                .filter(|_| KEY_FIELDS.into_iter().any(gives))
                .filter(|key| !gives(key));
            let replaced: Vec<&str> = another
                .then_some("auth")
                .into_iter()
                .chain(LISTS.into_iter().filter(|list| gives(list)))
                .chain(keys)
                .collect();
            for (_, dict) in &mut *lower {
                for field in &replaced {
                    remove(dict, "source", name, field);
                }
            }
        }
    }
}

/// Takes a field of a source or delivery away, where it is.
fn remove(dict: &mut Cow<'_, Dict>, section: &str, name: &str, field: &str) {
    if lookup(dict, &[section, name, field]).is_some()
        && let Some(Value::Dict(_, tables)) = dict.to_mut().get_mut(section)
        && let Some(Value::Dict(_, table)) = tables.get_mut(name)
    {
        table.remove(field);
    }
}

/// Follows names, and indices of lists.
fn lookup<'d>(dict: &'d Dict, path: &[&str]) -> Option<&'d Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(dict.get(*first)?, |value, name| match value {
        Value::Dict(_, inner) => inner.get(*name),
        Value::Array(_, items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    })
}

fn locate(text: &str, path: &[&str]) -> Option<Span> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let (first, rest) = path.split_first()?;
    let (key, mut value) = document.get_ref().get_key_value(*first)?;
    let mut offset = key.span().start;
    for name in rest {
        let inner = match value.get_ref() {
            toml::de::DeValue::Table(table) => {
                table.get_key_value(*name).map(|(key, value)| (key.span(), value))
            }
            toml::de::DeValue::Array(items) => {
                let item = name.parse::<usize>().ok().and_then(|index| items.get(index));
                item.map(|item| (item.span(), item))
            }
            _ => None,
        };
        let Some((span, inner)) = inner else { break };
        (offset, value) = (span.start, inner);
    }
    Some(Lines::new(text).span(offset))
}

fn parse(file: &File) -> Result<toml::Table, SettingsError> {
    file.text.parse::<toml::Table>().map_err(|error| {
        let at = error.span().map(|span| Lines::new(&file.text).span(span.start));
        SettingsError::new(
            format!("the settings are not valid TOML: {}", error.message().replace('\n', " ")),
            Some(Location::File { path: file.label.as_str().into(), at }),
            "correct the syntax here",
        )
    })
}

fn dict(table: toml::Table) -> Result<Dict, SettingsError> {
    Value::serialize(table).ok().and_then(Value::into_dict).ok_or_else(|| {
        SettingsError::new("the settings are not a table", None, "write them as docs/settings.md shows")
    })
}

/// Takes `[env.NAME]` out of the file.
fn take_overlays(
    table: &mut toml::Table,
    file: Option<&File>,
) -> Result<BTreeMap<String, Dict>, SettingsError> {
    let fail = |message: String, path: &[&str], help: &str| {
        SettingsError::new(message, file.map(|file| file.place(path)), help)
    };
    let Some(value) = table.remove("env") else { return Ok(BTreeMap::new()) };
    let toml::Value::Table(overlays) = value else {
        let message = "`env` holds one table for each environment".into();
        return Err(fail(message, &["env"], "write [env.production]"));
    };
    let mut all = BTreeMap::new();
    for (name, overlay) in overlays {
        let toml::Value::Table(overlay) = overlay else {
            let message = format!("`env.{name}` must be a table");
            return Err(fail(message, &["env", &name], "write [env.production]"));
        };
        for field in ["environment", "schema"] {
            if overlay.contains_key(field) {
                let message =
                    format!("[env.{name}] cannot change `{field}`: it is chosen before the overlay is");
                return Err(fail(message, &["env", &name, field], "set it at the top"));
            }
        }
        all.insert(name, dict(overlay)?);
    }
    Ok(all)
}
