//! The layers of settings and their merge: embedded default < file <
//! `[env.NAME]` < `DLCONF_A__B` variables.
//!
//! Owns: the texts, which layer gives a field (so that a mistake is placed in
//! the file or at the variable that made it), and what later releases have.
//! Invariant: the process environment is read once, when the layers are made.
//! Must not know: what a field means.

use std::collections::BTreeMap;

use figment::providers::Env;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize;

use super::SettingsError;
use crate::model::origin::{Location, Span};
use crate::model::schema::toml_reader::{Lines, nearest};

/// Under any file that declares no sources of its own: `.env` files under the
/// environment.
const EMBEDDED: &str = "order = [\"dotenv\", \"env\"]\n\
    [source.dotenv]\ntype = \"dotenv\"\noptional = true\n\
    [source.env]\ntype = \"env\"\n";

/// The prefix of variables that are settings.
const PREFIX: &str = "DLCONF_";

/// Tables that this release does not have yet, so that their users get a
/// better answer than 'unknown field'.
const LATER: [&str; 8] =
    ["delivery", "socket", "ops", "snapshot", "debounce", "audit", "rotation", "consumer"];

/// Source types that this release does not have yet.
const LATER_SOURCES: [&str; 3] = ["vault", "kubernetes", "sealed"];

/// Source types that it has.
pub(super) const SOURCES: [&str; 4] = ["env", "dotenv", "file", "directory"];

/// The merged fields, understood one by one but not yet together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) schema: Option<String>,
    pub(super) environment: Option<String>,
    pub(super) service: Option<String>,
    pub(super) order: Option<Vec<String>>,
    #[serde(default)]
    pub(super) source: BTreeMap<String, RawSource>,
}

/// `[source.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) path: Option<String>,
    pub(super) notation: Option<String>,
    pub(super) optional: Option<bool>,
}

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
    /// Lowest first.
    stack: Vec<(Giver, &'l Dict)>,
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
        Ok(Self { fields: fields.unwrap_or_default(), names: names.collect() })
    }

    /// The variable that sets a field, or one of its fields.
    fn name(&self, path: &[&str]) -> String {
        let sets = |set: &[String]| set.len() >= path.len() && set.iter().zip(path).all(|(a, b)| a == b);
        self.names.iter().find(|(set, _)| sets(set)).map_or_else(
            || format!("{PREFIX}{}", path.join("__").to_ascii_uppercase()),
            |(_, name)| name.clone(),
        )
    }
}

impl<'l> Merged<'l> {
    /// The fields, each of its type.
    pub(super) fn raw(&self) -> Result<Raw, SettingsError> {
        self.refuse_later()?;
        let figment = self.stack.iter().fold(Figment::new(), |all, (_, dict)| all.merge(Layer(dict)));
        figment.extract::<Raw>().map_err(|error| self.explain(&error))
    }

    /// Whether a variable gives a field: that is the caller's own word.
    pub(super) fn is_of_the_caller(&self, path: &[&str]) -> bool {
        lookup(&self.layers.variables.fields, path).is_some()
    }

    /// Where a field is given: by the highest layer that does, a table by the
    /// lowest, which declares it. Of a field that nobody gives, the table that
    /// lacks it.
    pub(super) fn place(&self, path: &[&str]) -> Option<Location> {
        let mut path = path;
        while !path.is_empty() {
            let given = |&(giver, dict): &(Giver, &'l Dict)| Some((giver, lookup(dict, path)?));
            let is_table = |(_, value): &(Giver, &Value)| matches!(value, Value::Dict(..));
            if let Some(highest) = self.stack.iter().rev().find_map(given) {
                let tables = || self.stack.iter().filter_map(given).find(is_table);
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

    /// Sections and source types of later releases, said plainly, in whatever
    /// layer they stand.
    fn refuse_later(&self) -> Result<(), SettingsError> {
        for &(giver, dict) in &self.stack {
            if let Some(section) = LATER.into_iter().find(|section| dict.contains_key(*section)) {
                return Err(SettingsError::new(
                    format!("this release has no [{section}] yet"),
                    self.place_in(giver, &[section]),
                    "remove it, or use a release that has the daemon",
                ));
            }
            let Some(Value::Dict(_, sources)) = dict.get("source") else { continue };
            for name in sources.keys() {
                let path = ["source", name, "type"];
                let kind = lookup(dict, &path).and_then(Value::as_str).unwrap_or_default();
                if LATER_SOURCES.contains(&kind) {
                    return Err(SettingsError::new(
                        format!("this release has no sources of type \"{kind}\" yet (source `{name}`)"),
                        self.place_in(giver, &path),
                        format!("it reads: {}", SOURCES.join(", ")),
                    ));
                }
            }
        }
        Ok(())
    }

    /// figment's error in our words, with its place. What it quotes of a value
    /// is left out.
    fn explain(&self, error: &figment::Error) -> SettingsError {
        use figment::error::Kind;
        let mut path: Vec<&str> = error.path.iter().map(String::as_str).collect();
        let of = if path.is_empty() { "the settings".to_owned() } else { format!("`{}`", path.join(".")) };
        let (message, help) = match &error.kind {
            Kind::UnknownField(name, known) => {
                // figment's path ends with the unknown field itself or with its table.
                if path.last() != Some(&name.as_str()) {
                    path.push(name);
                }
                let table = path.get(..path.len().saturating_sub(1)).unwrap_or_default();
                let of = if table.is_empty() {
                    "the settings have".to_owned()
                } else {
                    format!("[{}] has", table.join("."))
                };
                // Overlays are taken out of the file before figment sees it.
                let overlays = table.is_empty().then_some("env");
                let known: Vec<&str> = known.iter().copied().chain(overlays).collect();
                let near = nearest(name, known.iter().copied());
                let help = near.map_or_else(
                    || format!("known are: {}", known.join(", ")),
                    |near| format!("did you mean `{near}`?"),
                );
                (format!("{of} no field `{name}`"), help)
            }
            Kind::MissingField(name) => {
                (format!("{of} needs `{name}`"), format!("add `{name} = \"…\"`: {}", SOURCES.join(", ")))
            }
            Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
                let (expected, help) = expectation(expected, self.is_of_the_caller(&path));
                (format!("{of} must be {expected}"), help.to_owned())
            }
            _ => (format!("{of} cannot be understood"), "correct it as docs/settings.md shows".to_owned()),
        };
        SettingsError::new(message, self.place(&path), help)
    }
}

/// What a field must be, and how to write it.
fn expectation(expected: &str, by_variable: bool) -> (&str, &'static str) {
    match expected {
        "a string" if by_variable => {
            (expected, "a value that reads as a number or as true is one: put it into \"…\"")
        }
        "a string" => (expected, "put it into quotes: \"…\""),
        "a boolean" => ("true or false", "write true or false, without quotes"),
        "a sequence" => ("a list of names", "write a list: [\"dotenv\", \"env\"]"),
        // Our own types, by the names of their structs.
        table if table == "a map" || table.starts_with("struct ") => {
            ("a table", "write it as a table: [source.NAME] with `type = \"…\"`")
        }
        other => (other, "correct it as docs/settings.md shows"),
    }
}

impl File {
    /// Where a key stands, as deep as it can be followed.
    fn place(&self, path: &[&str]) -> Location {
        Location::File { path: self.label.as_str().into(), at: locate(&self.text, path) }
    }
}

fn lookup<'d>(dict: &'d Dict, path: &[&str]) -> Option<&'d Value> {
    let (last, tables) = path.split_last()?;
    let mut dict = dict;
    for name in tables {
        let Value::Dict(_, inner) = dict.get(*name)? else { return None };
        dict = inner;
    }
    dict.get(*last)
}

fn locate(text: &str, path: &[&str]) -> Option<Span> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut offset = None;
    for name in path {
        let Some((key, value)) = table.get_key_value(*name) else { break };
        offset = Some(key.span().start);
        match value.get_ref().as_table() {
            Some(inner) => table = inner,
            None => break,
        }
    }
    offset.map(|offset| Lines::new(text).span(offset))
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
