//! From TOML to rules. Every mistake is found in one run and carries its place; a
//! policy with a mistake is not used at all.
//!
//! Invariants: every rule says for whom, and which variables and actions; what
//! could never match anybody is a mistake, since somebody meant something by it.
//! Must not know: where the text comes from.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::accounts::{Accounts, Unresolved};
use super::{Action, Rule, RuleId};
use crate::access::selection::{NothingSelected, Selection};
use crate::model::key::Key;
use crate::model::schema::Schema;
use crate::model::schema::toml_reader::{Lines, Mistake, Mistakes, Table, nearest};

/// What the kernel says of a user or group that it cannot map.
const UNMAPPED: u32 = 65_534;
/// What stands for 'none' in system calls.
const NO_ID: u32 = u32::MAX;

/// The units that have processes of their own.
const UNITS: [&str; 2] = ["service", "scope"];
/// Units that have none, but often a service of the same name.
const COMPANIONS: [&str; 5] = ["timer", "socket", "path", "target", "mount"];
/// The longest name of a unit, in bytes.
const LONGEST_UNIT: usize = 255;

/// One `[[allow]]`, with what only people need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What it permits.
    pub rule: Rule,
    /// The line in the file.
    pub line: u32,
    /// For people.
    pub description: Option<Box<str>>,
}

/// Reads a policy about the variables of a schema, as far as the service reads them.
///
/// # Errors
/// Every mistake, in the order of the text.
pub fn parse(
    text: &str,
    schema: &Schema,
    service: Option<&str>,
    accounts: &dyn Accounts,
) -> Result<Vec<Written>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            // The crate's message may quote the text, which may be no policy.
            mistakes.hidden(
                error.span().unwrap_or(0..0),
                "this is not valid TOML, so it is no access policy".into(),
                Some("correct the syntax here, or the path of the policy".into()),
            );
            return Err(mistakes.into_sorted());
        }
    };
    let parser = Parser { text, lines: Lines::new(text), mistakes: &mistakes, schema, service, accounts };
    let rules = parser.rules(&document);
    let all = mistakes.into_sorted();
    if all.is_empty() { Ok(rules) } else { Err(all) }
}

struct Parser<'t> {
    text: &'t str,
    lines: Lines<'t>,
    mistakes: &'t Mistakes,
    schema: &'t Schema,
    service: Option<&'t str>,
    accounts: &'t dyn Accounts,
}

/// A user or a group, and how its fields and accounts are called.
struct Kind {
    number: &'static str,
    name: &'static str,
    resolve: fn(&dyn Accounts, &str) -> Result<u32, Unresolved>,
    look: &'static str,
}

const USER: Kind =
    Kind { number: "uid", name: "user", resolve: |accounts, name| accounts.user(name), look: "passwd" };
const GROUP: Kind =
    Kind { number: "gid", name: "group", resolve: |accounts, name| accounts.group(name), look: "group" };

impl<'t> Parser<'t> {
    fn rules(&self, document: &'t Spanned<DeTable<'t>>) -> Vec<Written> {
        let top = Table::new(document.get_ref(), "an access policy", 0..0, self.mistakes);
        let mut rules = Vec::new();
        let is_empty = document.get_ref().is_empty();
        match top.get("allow").map(|value| (value.get_ref().as_array(), value)) {
            Some((Some(list), _)) if !list.is_empty() => {
                for (number, item) in (1..).zip(list) {
                    rules.extend(self.rule(number, item));
                }
            }
            Some((None, value)) => self.mistakes.error(
                value.span(),
                "`allow` of an access policy must be a list of tables".into(),
                "one rule of many",
                Some("write `[[allow]]` above each rule, with two brackets".into()),
            ),
            // A file that is being written is empty for a moment: it must not count.
            Some((Some(_), _)) => self.no_rules(),
            None if is_empty => self.no_rules(),
            None => {}
        }
        top.finish();
        rules
    }

    fn no_rules(&self) {
        self.mistakes.error(
            0..0,
            "an access policy without a rule permits nobody anything".into(),
            "there is no `[[allow]]`",
            Some("write one; without `policy` in [socket], only the daemon's own user may ask".into()),
        );
    }

    fn rule(&self, number: u32, item: &'t Spanned<DeValue<'t>>) -> Option<Written> {
        let subject = format!("rule {number}");
        let Some(table) = item.get_ref().as_table() else {
            self.mistakes.error(
                item.span(),
                format!("{subject} must be a table"),
                "this is none",
                Some("write `[[allow]]` above each rule".into()),
            );
            return None;
        };
        let at = self.header(item.span());
        let table = Table::new(table, subject, at.clone(), self.mistakes);
        let fields = ["uid", "user", "gid", "group"];
        if fields.into_iter().all(|field| table.get(field).is_none()) {
            self.mistakes.error(
                at.clone(),
                format!("{} does not say for whom it is", table.subject()),
                "`uid`, `user`, `gid` or `group` is missing",
                Some("write `uid = 10001`: the number that the program runs as".into()),
            );
        }
        let rule = Rule {
            id: RuleId(number),
            uid: self.account(&table, &USER),
            gid: self.account(&table, &GROUP),
            exe: self.exe(&table),
            unit: self.unit(&table),
            keys: Arc::new(self.keys(&table)),
            actions: self.actions(&table),
        };
        let description = table.string("description").map(|(text, _)| text.into());
        table.finish();
        Some(Written { rule, line: self.lines.span(at.start).line, description })
    }

    /// The `[[allow]]` of a rule; of one that is written in a list, where it begins.
    fn header(&self, at: Range<usize>) -> Range<usize> {
        let line = self.text.get(at.clone()).unwrap_or_default().lines().next().map_or(0, str::len);
        at.start..at.start + line
    }

    /// A user or group, by number or by name.
    fn account(&self, table: &Table<'_>, kind: &Kind) -> Option<u32> {
        let (number, name) = (self.number(table, kind), self.name(table, kind));
        if let (Some(_), Some(twice)) = (table.get(kind.number), table.get(kind.name)) {
            self.mistakes.error(
                twice.span(),
                format!("{} names its {} twice", table.subject(), kind.name),
                format!("`{}` does already", kind.number),
                Some("remove one of the two".into()),
            );
        }
        number.or(name)
    }

    fn number(&self, table: &Table<'_>, kind: &Kind) -> Option<u32> {
        let value = table.get(kind.number)?;
        if let Some(text) = value.get_ref().as_str() {
            let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
            self.mistakes.error(
                value.span(),
                format!("`{}` of {} must be a whole number", kind.number, table.subject()),
                "this is a string",
                Some(if is_number {
                    "write it without quotes".into()
                } else {
                    format!("write `{} = …` for a name", kind.name)
                }),
            );
            return None;
        }
        let (number, at) = table.integer(kind.number)?;
        match u32::try_from(number) {
            Ok(id) => self.possible(id, at, table, kind),
            Err(_) => {
                self.mistakes.error(
                    at,
                    format!("`{}` of {} is no number of a {}", kind.number, table.subject(), kind.name),
                    format!("they go from 0 to {}", NO_ID - 1),
                    None,
                );
                None
            }
        }
    }

    fn name(&self, table: &Table<'_>, kind: &Kind) -> Option<u32> {
        let (name, at) = table.string(kind.name)?;
        match (kind.resolve)(self.accounts, name) {
            Ok(id) => self.possible(id, at, table, kind),
            Err(Unresolved::Unknown) => {
                let is_number = !name.is_empty() && name.bytes().all(|digit| digit.is_ascii_digit());
                let help = if is_number {
                    format!("write `{} = {name}`", kind.number)
                } else {
                    format!("create it, correct its name, or write its number: `{} = …`", kind.number)
                };
                self.mistakes.error(
                    at,
                    format!("{} is for a {} that this machine does not have", table.subject(), kind.name),
                    format!("there is no {} `{name}`", kind.name),
                    Some(help),
                );
                None
            }
            Err(Unresolved::Failed(errno)) => {
                self.mistakes.error(
                    at,
                    format!("the {} of {} could not be looked up: {errno}", kind.name, table.subject()),
                    "the name service failed",
                    Some(format!(
                        "see `getent {} {name}`, or write its number: `{} = …`",
                        kind.look, kind.number
                    )),
                );
                None
            }
        }
    }

    /// A number that says who somebody is.
    fn possible(&self, id: u32, at: Range<usize>, table: &Table<'_>, kind: &Kind) -> Option<u32> {
        let reason = match id {
            UNMAPPED => "the kernel says this of everybody whom it cannot name",
            NO_ID => "it stands for 'none'",
            id => return Some(id),
        };
        self.mistakes.error(
            at,
            format!("{} is for {} {id}, which may be anybody", table.subject(), kind.name),
            reason,
            Some(format!("run the program as a {} of its own, and name that", kind.name)),
        );
        None
    }

    fn exe(&self, table: &Table<'_>) -> Option<PathBuf> {
        let (text, at) = table.string("exe")?;
        let path = Path::new(text);
        let wrong = |message: &str, label: &str, help: &str| {
            self.mistakes.error(
                at.clone(),
                format!("`exe` of {} {message}", table.subject()),
                label,
                Some(help.into()),
            );
            None
        };
        if !path.is_absolute() {
            return wrong("must be an absolute path", "no PATH is searched", "write \"/usr/local/bin/…\"");
        }
        if path.components().any(|part| part == Component::ParentDir) {
            let help = "write the path without `..`, as `readlink /proc/PID/exe` shows it";
            return wrong("must not have `..`", "the kernel never says this", help);
        }
        // Without `.`, doubled and last slashes: `components` leaves them out.
        let plain: PathBuf = path.components().collect();
        if plain.as_os_str() != path.as_os_str() || path.parent().is_none() {
            return wrong(
                "is not written as the kernel does",
                "no program could ever match",
                &if path.parent().is_none() {
                    "write the path of a program".to_owned()
                } else {
                    format!("write {:?}", plain.display().to_string())
                },
            );
        }
        if text.contains('\0') || text.ends_with(" (deleted)") {
            return wrong("is no path of a program", "no program could ever match", "correct it");
        }
        Some(path.to_owned())
    }

    fn unit(&self, table: &Table<'_>) -> Option<String> {
        let (text, at) = table.string("unit")?;
        let wrong = |message: &str, label: String, help: String| {
            self.mistakes.error(
                at.clone(),
                format!("`unit` of {} {message}", table.subject()),
                label,
                Some(help),
            );
            None
        };
        let odd = |c: char| !(c.is_ascii_alphanumeric() || ":-_.\\@".contains(c));
        let as_shown = || "write it as `systemctl status PID` shows it".to_owned();
        if let Some(c) = text.chars().find(|c| odd(*c)) {
            return wrong("is no name of a unit", format!("no unit has {c:?} in its name"), as_shown());
        }
        let (name, suffix) = text.rsplit_once('.').unwrap_or((text, ""));
        if name.is_empty() || text.len() > LONGEST_UNIT {
            return wrong("is no name of a unit", format!("1 to {LONGEST_UNIT} bytes"), as_shown());
        }
        if !UNITS.contains(&suffix) {
            let help = match nearest(suffix, UNITS) {
                Some(near) => format!("did you mean \"{name}.{near}\"?"),
                None if COMPANIONS.contains(&suffix) => format!("did you mean \"{name}.service\"?"),
                None => format!("write \"{text}.service\", or the .scope that the program runs in"),
            };
            return wrong("must end with .service or .scope", "processes run in these".into(), help);
        }
        if name.ends_with('@') {
            let help = format!("name the one that is meant: \"{name}NAME.{suffix}\"");
            return wrong("is a template", "no process runs in it, only in its instances".into(), help);
        }
        Some(text.to_owned())
    }

    fn keys(&self, table: &Table<'_>) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        let example =
            "write `vars = [\"service:cc\"]`, or names, patterns and groups: \"DB_*\", \"group:jwt\"";
        for (part, at) in self.list(table, "vars", example) {
            match Selection::new([part]).keys(self.schema, self.service) {
                Ok(meant) => keys.extend(meant),
                Err(nothing) => {
                    let help = self.instead(&nothing);
                    let label = format!("selects nothing of the schema {}", self.schema.name);
                    self.mistakes.error(at, format!("{}: {nothing}", table.subject()), label, help);
                }
            }
        }
        keys
    }

    /// What to write instead of what selects nothing.
    fn instead(&self, NothingSelected { part, near }: &NothingSelected) -> Option<String> {
        if let Some(near) = near {
            return Some(format!("did you mean \"{near}\"?"));
        }
        let list = |names: Vec<&str>| match names.as_slice() {
            [] => "the schema has none".to_owned(),
            names => format!("the schema has: {}", names.join(", ")),
        };
        if part.starts_with("group:") {
            return Some(list(self.schema.groups.iter().map(|group| &*group.name).collect()));
        }
        if part.starts_with("service:") {
            return Some(list(self.schema.services.iter().map(|name| &**name).collect()));
        }
        None
    }

    fn actions(&self, table: &Table<'_>) -> BTreeSet<Action> {
        let words = Action::ALL.map(Action::as_str);
        let example = format!("write `actions = [\"read\"]`; there are: {}", words.join(", "));
        let mut actions = BTreeSet::new();
        for (text, at) in self.list(table, "actions", &example) {
            if let Some(action) = Action::ALL.into_iter().find(|action| action.as_str() == text) {
                actions.insert(action);
                continue;
            }
            self.mistakes.error(
                at,
                format!("{} has an unknown action `{text}`", table.subject()),
                format!("one of: {}", words.join(", ")),
                nearest(text, words).map(|near| format!("did you mean \"{near}\"?")),
            );
        }
        actions
    }

    /// A list of texts that must be there and say something.
    fn list<'v>(&self, table: &Table<'v>, field: &'static str, help: &str) -> Vec<(&'v str, Range<usize>)> {
        let missing = |at, label: &str| {
            let message = format!("`{field}` of {} {label}", table.subject());
            self.mistakes.error(at, message, "it would permit nothing", Some(help.to_owned()));
        };
        match table.get(field).map(|value| (value.get_ref(), value.span())) {
            None => missing(table.at.clone(), "is missing"),
            Some((DeValue::Array(list), at)) if list.is_empty() => missing(at, "is empty"),
            Some((DeValue::Array(_), _)) => return table.strings(field),
            Some((_, at)) => {
                let message = format!("`{field}` of {} must be a list of strings", table.subject());
                self.mistakes.error(at, message, "this is none", Some(help.to_owned()));
            }
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests;
