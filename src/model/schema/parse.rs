//! From TOML to a checked [`Schema`]. Every mistake is found in one run and
//! carries its place; a schema with an error is not used at all.

mod probe;
mod var;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::kind::{Dialect, Kind};
use super::rule::Expression;
use super::toml_reader::{Lines, Mistake, Mistakes, Table, nearest};
use super::{Environments, Glob, Group, OnInvalid, Presence, Retired, Rule, Schema, Var};
use crate::model::finding::Severity;
use crate::model::key::Key;

/// The version of the language that this program reads.
pub const SCHEMA_VERSION: i64 = 1;

/// The environment of a laptop, where a schema does not say.
const DEVELOPMENT: &str = "development";

/// A schema and the warnings about it.
#[derive(Debug)]
pub struct Parsed {
    /// The schema.
    pub schema: Schema,
    /// What `schema lint` warns of; never an error.
    pub warnings: Vec<Mistake>,
}

/// Reads a schema. `path` is what findings print.
///
/// # Errors
/// Every mistake, warnings included, in the order of the text, where at least
/// one is an error.
pub fn parse(path: &str, text: &str) -> Result<Parsed, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            // The crate's message may quote the text, which may be no schema.
            mistakes.hidden(
                error.span().unwrap_or(0..0),
                "this is not valid TOML, so it is no schema".into(),
                Some("correct the syntax here, or the path of the schema".into()),
            );
            return Err(mistakes.into_sorted());
        }
    };
    let schema = Parser { lines: Lines::new(text), mistakes: &mistakes }.schema(path, &document);
    let all = mistakes.into_sorted();
    match schema {
        Some(schema) if all.iter().all(|m| m.severity == Severity::Warning) => {
            Ok(Parsed { schema, warnings: all })
        }
        _ => Err(all),
    }
}

struct Parser<'t> {
    lines: Lines<'t>,
    mistakes: &'t Mistakes,
}

/// What every variable inherits.
struct Defaults {
    dialect: Dialect,
    on_invalid: OnInvalid,
}

impl<'t> Parser<'t> {
    fn schema(&self, path: &str, document: &'t Spanned<DeTable<'t>>) -> Option<Schema> {
        let top = Table::new(document.get_ref(), "a schema", 0..0, self.mistakes);
        match top.integer("schema_version") {
            Some((SCHEMA_VERSION, _)) => {}
            Some((_, at)) => self.mistakes.error(
                at,
                "this schema is written for another version of dlconf".into(),
                format!("this dlconf reads version {SCHEMA_VERSION}"),
                Some("use a dlconf that reads it, or write the schema anew with `dlconf init`".into()),
            ),
            None if top.get("schema_version").is_none() => self.mistakes.error(
                0..0,
                "a schema begins with its version".into(),
                "nothing says which",
                Some(format!("write `schema_version = {SCHEMA_VERSION}` in the first line")),
            ),
            None => {}
        }
        let name = top.string("name").map_or("unnamed", |(name, _)| name);
        let program = top.string("program").map_or("the program", |(name, _)| name);
        let environments = self.environments(&top)?;
        let services: Vec<Box<str>> = top.strings("services").iter().map(|(s, _)| (*s).into()).collect();
        let ignored = top.strings("ignore").iter().map(|(s, _)| Glob::new(s)).collect();
        let defaults = self.defaults(&top);
        let scope = Scope { environments: &environments.names, services: &services };

        let mut vars = Vec::new();
        for (name, table) in top.tables("var", "variable") {
            if let Some(var) = self.var(name, table, &scope, &defaults) {
                let implied = var::implied(&var);
                vars.push(var);
                vars.extend(implied);
            }
        }
        self.undescribed(&vars);
        if !vars.iter().any(|var: &Var| var.key == environments.variable) {
            vars.insert(
                0,
                environment_variable(&environments, &defaults, &self.lines, top.get("environments")),
            );
        }
        let (index, replaced) = self.indexes(&vars);
        self.tokens(&vars, &index);
        let retired = self.retired(&top, &index, &replaced);
        let mut groups = Vec::new();
        for (name, table) in top.tables("group", "group") {
            groups.push(self.group(name, table, &vars, &index));
        }
        let rules = self.rules(&top, &scope, &vars, &index);
        let mut probes = Vec::new();
        for (name, table) in top.tables("probe", "probe") {
            probes.extend(self.probe(name, table, &vars, &probes));
        }
        top.finish();
        Some(Schema {
            name: name.into(),
            program: program.into(),
            path: path.into(),
            environments,
            services,
            groups,
            vars,
            retired,
            ignored,
            rules,
            probes,
            index,
            replaced,
        })
    }

    fn environments(&self, top: &Table<'t>) -> Option<Environments> {
        let Some(table) = top.table("environments", "`environments`") else {
            if top.get("environments").is_none() {
                self.mistakes.error(
                    0..0,
                    "a schema names its environments".into(),
                    "nothing does",
                    Some(
                        "write `environments = { variable = \"APP_ENV\", names = [\"development\", \"staging\", \"production\"] }`"
                            .into(),
                    ),
                );
            }
            return None;
        };
        let variable = table.string("variable").and_then(|(text, at)| self.key(text, at));
        let names: Vec<Box<str>> = table.strings("names").iter().map(|(s, _)| (*s).into()).collect();
        if names.is_empty() {
            self.mistakes.error(
                table.at.clone(),
                "`environments` has no names".into(),
                "at least one is needed",
                None,
            );
        }
        if variable.is_none() && table.get("variable").is_none() {
            self.mistakes.error(
                table.at.clone(),
                "`environments` does not say which variable holds the environment's name".into(),
                "`variable` is missing",
                Some("write `variable = \"APP_ENV\"`".into()),
            );
        }
        let development = table.string("development").map_or(DEVELOPMENT, |(name, at)| {
            self.known_name(name, at, &names, "environment");
            name
        });
        table.finish();
        Some(Environments { variable: variable?, names, development: development.into() })
    }

    fn defaults(&self, top: &Table<'t>) -> Defaults {
        let mut defaults = Defaults { dialect: Dialect::Go, on_invalid: OnInvalid::Fail };
        if let Some(table) = top.table("defaults", "`defaults`") {
            if let Some(dialect) = self.dialect(&table) {
                defaults.dialect = dialect;
            }
            if let Some(on_invalid) = self.on_invalid(&table) {
                defaults.on_invalid = on_invalid;
            }
            table.finish();
        }
        defaults
    }

    fn dialect(&self, table: &Table<'t>) -> Option<Dialect> {
        self.choice(
            table,
            "dialect",
            &[("go", Dialect::Go), ("iso8601", Dialect::Iso8601), ("seconds", Dialect::Seconds)],
        )
    }

    fn on_invalid(&self, table: &Table<'t>) -> Option<OnInvalid> {
        self.choice(table, "on_invalid", &[("default", OnInvalid::Default), ("fail", OnInvalid::Fail)])
    }

    /// One of a few words.
    fn choice<T: Copy>(&self, table: &Table<'t>, field: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let (text, at) = table.string(field)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.mistakes.error(
                at,
                format!("`{field}` has no choice `{text}`"),
                format!("one of: {}", words.join(", ")),
                did_you_mean(text, &words),
            );
        }
        found
    }

    fn key(&self, text: &str, at: Range<usize>) -> Option<Key> {
        Key::new(text)
            .inspect_err(|error| {
                self.mistakes.error(
                    at,
                    format!("`{text}` is no name of a variable"),
                    error.to_string(),
                    None,
                );
            })
            .ok()
    }

    fn keys(&self, table: &Table<'t>, field: &'static str) -> Vec<(Key, Range<usize>)> {
        let texts = table.strings(field);
        texts.into_iter().filter_map(|(text, at)| Some((self.key(text, at.clone())?, at))).collect()
    }

    /// Names out of a closed list: environments, services.
    fn names(&self, table: &Table<'t>, field: &'static str, known: &[Box<str>], what: &str) -> Vec<Box<str>> {
        let texts = table.strings(field);
        for (text, at) in &texts {
            self.known_name(text, at.clone(), known, what);
        }
        texts.into_iter().map(|(text, _)| text.into()).collect()
    }

    fn known_name(&self, text: &str, at: Range<usize>, known: &[Box<str>], what: &str) {
        if !known.iter().any(|k| **k == *text) {
            let words: Vec<&str> = known.iter().map(|k| &**k).collect();
            self.mistakes.error(
                at,
                format!("there is no {what} `{text}`"),
                format!("declared are: {}", words.join(", ")),
                did_you_mean(text, &words),
            );
        }
    }

    /// Name to position, and replaced name to position; no name twice.
    fn indexes(&self, vars: &[Var]) -> (HashMap<Key, usize>, HashMap<Key, usize>) {
        let mut index = HashMap::with_capacity(vars.len());
        for (i, var) in vars.iter().enumerate() {
            if let Some(earlier) = index.insert(var.key.clone(), i) {
                let owner = var.implied_by.as_ref().or(vars[earlier].implied_by.as_ref());
                let owner = owner.map_or_else(String::new, Key::to_string);
                self.mistakes.error(
                    self.offset(vars[i].at),
                    format!("{} is declared twice", var.key),
                    format!("the rotation of {owner} declares it already"),
                    Some("remove the other declaration".into()),
                );
            }
        }
        let mut replaced = HashMap::new();
        for (i, var) in vars.iter().enumerate() {
            for old in &var.replaces {
                if index.contains_key(old) {
                    self.mistakes.error(
                        self.offset(var.at),
                        format!("{} replaces {old}, which is itself declared", var.key),
                        "a name is old or in use, not both",
                        None,
                    );
                } else if let Some(other) = replaced.insert(old.clone(), i) {
                    self.mistakes.error(
                        self.offset(var.at),
                        format!("{old} is replaced by {} and by {}", vars[other].key, var.key),
                        "one name has one successor",
                        None,
                    );
                }
            }
        }
        (index, replaced)
    }

    fn retired(
        &self,
        top: &Table<'t>,
        index: &HashMap<Key, usize>,
        replaced: &HashMap<Key, usize>,
    ) -> Vec<Retired> {
        let Some(table) = top.table("retired", "`retired`") else { return Vec::new() };
        let mut retired = Vec::new();
        for (name, at, value) in table.fields() {
            let Some(key) = self.key(name, at.clone()) else { continue };
            let Some(reason) = value.get_ref().as_str() else {
                table.wrong(name, value, "a reason, as a string");
                continue;
            };
            if index.contains_key(&key) || replaced.contains_key(&key) {
                self.mistakes.error(
                    at.clone(),
                    format!("{key} is retired, and declared or replaced as well"),
                    "a name is one of these",
                    None,
                );
            }
            retired.push(Retired { key, reason: reason.into(), at: self.lines.span(at.start) });
        }
        retired
    }

    fn group(&self, name: &str, table: Table<'t>, vars: &[Var], index: &HashMap<Key, usize>) -> Group {
        let mut member = vec![false; vars.len()];
        let mut mark = |pattern: &str, at: Range<usize>| {
            let glob = Glob::new(pattern);
            let mut found = false;
            for (var, member) in vars.iter().zip(&mut member) {
                if glob.matches(var.key.as_str()) {
                    *member = true;
                    found = true;
                }
            }
            if !found {
                let known: Vec<&str> = vars.iter().map(|v| v.key.as_str()).collect();
                self.mistakes.error(
                    at,
                    format!("group {name}: `{pattern}` matches no declared variable"),
                    "matches nothing",
                    did_you_mean(pattern, &known),
                );
            }
        };
        for (pattern, at) in table.strings("vars") {
            mark(pattern, at);
        }
        let mut all_or_none = Vec::new();
        for (key, at) in self.keys(&table, "all_or_none") {
            if index.contains_key(&key) {
                all_or_none.push(key);
            } else {
                self.undeclared(&format!("group {name}"), &key, at, vars);
            }
        }
        if all_or_none.len() == 1 {
            self.mistakes.error(
                table.at.clone(),
                format!("group {name}: `all_or_none` of one variable says nothing"),
                "name two or more",
                None,
            );
        }
        if table.get("vars").is_none() && all_or_none.is_empty() {
            self.mistakes.error(
                table.at.clone(),
                format!("group {name} has no `vars`"),
                "a group names its members",
                None,
            );
        }
        let members = vars.iter().zip(&member).filter(|(_, is)| **is).map(|(v, _)| v.key.clone());
        let group = Group {
            name: name.into(),
            vars: members.collect(),
            atomic: table.boolean("atomic").unwrap_or(false),
            all_or_none,
            description: table.string("description").map(|(text, _)| text.into()),
            at: self.lines.span(table.at.start),
        };
        table.finish();
        group
    }

    fn undeclared(&self, subject: &str, name: &Key, at: Range<usize>, vars: &[Var]) {
        let known: Vec<&str> = vars.iter().map(|v| v.key.as_str()).collect();
        self.mistakes.error(
            at,
            format!("{subject} names {name}, which is not declared"),
            "not declared",
            did_you_mean(name.as_str(), &known).or_else(|| Some(format!("declare it: [var.{name}]"))),
        );
    }

    fn rules(
        &self,
        top: &Table<'t>,
        scope: &Scope<'_>,
        vars: &[Var],
        index: &HashMap<Key, usize>,
    ) -> Vec<Rule> {
        let Some(value) = top.get("rule") else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            top.wrong("rule", value, "a list of tables: [[rule]]");
            return Vec::new();
        };
        let mut rules: Vec<Rule> = Vec::with_capacity(array.len());
        for item in array {
            let Some(table) = item.get_ref().as_table() else {
                top.wrong("rule", item, "a list of tables: [[rule]]");
                continue;
            };
            let table = Table::new(table, "rule", item.span(), self.mistakes);
            let at = table.at.clone();
            if let Some(rule) = self.rule(table, scope, vars, index) {
                if rules.iter().any(|other| other.id == rule.id) {
                    self.mistakes.error(
                        at,
                        format!("there are two rules `{}`", rule.id),
                        "ids are unique",
                        None,
                    );
                }
                rules.push(rule);
            }
        }
        rules
    }

    fn rule(
        &self,
        table: Table<'t>,
        scope: &Scope<'_>,
        vars: &[Var],
        index: &HashMap<Key, usize>,
    ) -> Option<Rule> {
        let at = table.at.clone();
        let need = |field: &'static str| {
            let found = table.string(field);
            if found.is_none() && table.get(field).is_none() {
                let (message, label) =
                    (format!("a rule needs its `{field}`"), format!("`{field}` is missing"));
                self.mistakes.error(at.clone(), message, label, None);
            }
            found
        };
        let id = need("id");
        let assert = need("assert");
        let message = need("message");
        let environments = self.names(&table, "environments", scope.environments, "environment");
        let services = self.names(&table, "services", scope.services, "service");
        let help = table.string("help").map(|(text, _)| text.into());
        let severity = self
            .choice(&table, "severity", &[("error", Severity::Error), ("warning", Severity::Warning)])
            .unwrap_or(Severity::Error);
        table.finish();
        let (id, (assert, assert_at), message) = (id?.0, assert?, message?.0);
        let expression = self.expression(id, assert, &assert_at, vars, index)?;
        Some(Rule {
            id: id.into(),
            environments,
            services,
            expression,
            message: message.into(),
            help,
            severity,
            at: self.lines.span(at.start),
        })
    }

    fn expression(
        &self,
        id: &str,
        source: &str,
        at: &Range<usize>,
        vars: &[Var],
        index: &HashMap<Key, usize>,
    ) -> Option<Expression> {
        let known: Vec<&str> = vars.iter().map(|v| v.key.as_str()).collect();
        let complain = |mistake: super::rule::Mistake| {
            // Inside a plain string the rule's bytes stand where the file's do.
            let inner = mistake
                .at
                .filter(|_| self.lines.is_verbatim(at, source))
                .map(|inner| at.start + 1 + inner.start..at.start + 1 + inner.end);
            let help = mistake.unknown.as_deref().and_then(|unknown| did_you_mean(unknown, &known));
            let message = format!("rule {id}: {}", mistake.message);
            self.mistakes.error(inner.unwrap_or_else(|| at.clone()), message, "here", help);
        };
        let expression = Expression::parse(source).map_err(complain).ok()?;
        let shape = |name: &str| index.get(name).map(|&i| vars[i].kind.shape());
        expression.lint(&shape).into_iter().for_each(complain);
        Some(expression)
    }

    /// The byte range of a place, for mistakes that are found after reading.
    fn offset(&self, at: crate::model::origin::Span) -> Range<usize> {
        let start = self.lines.offset(at);
        start..start
    }
}

/// The variable that holds the environment's name is declared by that alone.
fn environment_variable(
    environments: &Environments,
    defaults: &Defaults,
    lines: &Lines<'_>,
    place: Option<&Spanned<toml::de::DeValue<'_>>>,
) -> Var {
    Var {
        key: environments.variable.clone(),
        kind: Kind::Enum { values: environments.names.clone() },
        secret: false,
        presence: Presence::Never,
        services: Vec::new(),
        default: None,
        fallback: None,
        min_bytes: None,
        max_bytes: None,
        pattern: None,
        forbid: Vec::new(),
        published: Vec::new(),
        generate: None,
        replaces: Vec::new(),
        on_invalid: OnInvalid::Fail,
        dialect: defaults.dialect,
        refuse_stale: false,
        rotation: None,
        description: Some("The environment that the program runs in.".into()),
        example: None,
        allow: BTreeMap::new(),
        implied_by: None,
        at: lines.span(place.map_or(0, |value| value.span().start)),
    }
}

/// The closed lists that fields refer to.
struct Scope<'a> {
    environments: &'a [Box<str>],
    services: &'a [Box<str>],
}

fn did_you_mean(text: &str, known: &[&str]) -> Option<String> {
    nearest(text, known.iter().copied()).map(|near| format!("did you mean `{near}`?"))
}
