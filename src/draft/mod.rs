//! A first schema for a program that has none, drafted from its example env
//! file (`dlconf init`).
//!
//! Owns: the guesses (what a name and a value are, where a program's names
//! point) and the TOML that they are written as. Pure: reading the example and
//! writing the files are others' work.
//! Invariants: the result is a valid schema, whatever the example holds; a
//! default that it gives is of its own type; a value is repeated only where it
//! cannot be a secret, and from a file that may hold secrets only where it is a
//! switch, a number that counts something, or a word out of a closed list;
//! comments are not repeated from such a file at all. Every guess says that it
//! is one.
//! Must not know: files, sources, the command line.

mod guess;
mod hints;
mod name;
mod sensitive;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::key::Key;
use crate::model::schema::kind::Kind;
use crate::model::secret::SecretValue;
use guess::{Guess, guess};
use hints::Hints;
use name::Name;

/// One variable of the example, as its file has it.
#[derive(Debug)]
pub struct ExampleVariable {
    /// Its name.
    pub name: Key,
    /// Its value; none where the line gives none.
    pub value: Option<SecretValue>,
    /// The comment lines that are about it, from the top.
    pub comment: Vec<String>,
    /// Whether the whole line stands in a comment: `# NAME=value`.
    pub commented_out: bool,
    /// Its line in the example, from 1.
    pub line: u32,
}

/// What `dlconf init` writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// For `dlconf.schema.toml`.
    pub schema_toml: String,
    /// For `dlconf.toml`.
    pub settings_toml: String,
    /// How many variables the schema declares.
    pub variables: usize,
}

/// Drafts a schema and settings. `project` is a name for the schema, such as
/// the folder's. `may_hold_secrets` says that the example is a file in use (a
/// `.env`), not one that was made to be published.
///
/// Where a name stands twice, its last value counts, as it does for readers;
/// what is commented out counts only where nothing else is.
pub fn draft(example: &[ExampleVariable], project: &str, may_hold_secrets: bool) -> Draft {
    let variables = last_of_each(example);
    let parsed: Vec<(&ExampleVariable, Name)> =
        variables.iter().map(|variable| (*variable, Name::new(variable.name.as_str()))).collect();
    let hints = Hints::find(&variables);
    let declarations: Vec<Declaration<'_>> = parsed
        .iter()
        .map(|(variable, name)| Declaration::of(variable, name, &hints, may_hold_secrets))
        .collect();
    let groups = groups(&parsed);
    Draft {
        schema_toml: write::schema(project, &hints, &groups, &declarations),
        settings_toml: write::settings(&hints.laptop),
        variables: declarations.len(),
    }
}

/// Whether a name is one that a person gave, not a piece of a key that stands
/// without quotes.
pub fn is_given_name(name: &Key) -> bool {
    !name.looks_like_data() && !sensitive::is_random_name(name.as_str())
}

/// The variables in the order in which they first appear, each with the line
/// that counts.
fn last_of_each(example: &[ExampleVariable]) -> Vec<&ExampleVariable> {
    let mut position: BTreeMap<&Key, usize> = BTreeMap::new();
    let mut variables: Vec<&ExampleVariable> = Vec::new();
    // dlconf's own settings and state are no variables: a schema may not declare them.
    let is_ours = |variable: &&ExampleVariable| variable.name.as_str().starts_with("DLCONF_");
    for variable in example.iter().filter(|variable| !is_ours(variable)) {
        if let Some(earlier) = position.get(&variable.name).and_then(|&at| variables.get_mut(at)) {
            if earlier.commented_out || !variable.commented_out {
                *earlier = variable;
            }
        } else {
            position.insert(&variable.name, variables.len());
            variables.push(variable);
        }
    }
    variables
}

/// One `[var.NAME]`, decided.
struct Declaration<'e> {
    variable: &'e ExampleVariable,
    guess: Guess,
    presence: Presence,
    /// What is repeated of the value.
    repeated: Repeated<'e>,
    description: Option<String>,
}

/// When it is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It has a default, so this is not said.
    Defaulted,
    Optional,
    /// Wherever the program runs for others.
    Deployed,
    Always,
}

/// What the draft repeats of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repeated<'e> {
    Nothing,
    /// `default`.
    Default(&'e str),
    /// `example`: right on a laptop, and nowhere else.
    Example(&'e str),
    /// `example`: commented out, so perhaps what the program does anyway.
    Dormant(&'e str),
    /// `forbid`: a placeholder, or the start of one.
    Forbidden {
        start: &'e str,
        whole: bool,
    },
    /// Nothing, and somebody should look at the example: what stands there
    /// reads like a real secret.
    Suspect,
}

impl<'e> Declaration<'e> {
    fn of(variable: &'e ExampleVariable, name: &Name, hints: &Hints, may_hold_secrets: bool) -> Self {
        let value = variable.value.as_ref().map_or("", SecretValue::expose);
        let mut guess = guess(name, value, hints);
        let mut repeated = repeated(name, value, &guess, may_hold_secrets);
        if variable.commented_out {
            guess.generated = false;
            if let Repeated::Default(value) | Repeated::Example(value) = repeated {
                repeated = Repeated::Dormant(value);
            }
        }
        let presence = match repeated {
            _ if variable.commented_out || name.as_str() == hints.variable => Presence::Optional,
            Repeated::Default(_) => Presence::Defaulted,
            Repeated::Example(_) | Repeated::Forbidden { .. } => Presence::Deployed,
            _ if value.is_empty() && !guess.vital => Presence::Optional,
            _ if guess.secret => Presence::Deployed,
            _ if value.is_empty() => Presence::Optional,
            _ => Presence::Always,
        };
        let masked = if guess.secret { value } else { "" };
        let description = if may_hold_secrets { None } else { description(&variable.comment, masked) };
        Self { variable, guess, presence, repeated, description }
    }
}

/// What may be repeated of a value. Everything else follows from this: a value
/// reaches the draft through here or not at all.
fn repeated<'e>(name: &Name, value: &'e str, guess: &Guess, may_hold_secrets: bool) -> Repeated<'e> {
    if value.is_empty() || guess.environment {
        return Repeated::Nothing;
    }
    if may_hold_secrets {
        // A number that counts nothing may be a PIN.
        let counts = !matches!(guess.kind, Kind::Int { .. }) || name.is_amount() || name.is_time();
        let harmless = guess.is_closed() && counts && !guess.secret && !name.is_sensitive();
        return if harmless { Repeated::Default(value) } else { Repeated::Nothing };
    }
    if let Some(start) = sensitive::sample_login(value) {
        return Repeated::Forbidden { start, whole: start == value };
    }
    if sensitive::is_placeholder(value) && (guess.secret || sensitive::is_plain_placeholder(value)) {
        let forbidden = Repeated::Forbidden { start: value, whole: true };
        return if sensitive::forbiddable(value) { forbidden } else { Repeated::Nothing };
    }
    if guess.secret || (name.is_sensitive() && !name.is_property() && !guess.is_closed()) {
        // A placeholder DSN and a short word are no cause for alarm.
        let alarming = guess.secret && !guess.is_dsn() && sensitive::looks_random(value);
        return if alarming { Repeated::Suspect } else { Repeated::Nothing };
    }
    if sensitive::looks_random(value) || sensitive::carries_credentials(value) {
        return Repeated::Nothing;
    }
    if !guess.takes(value) {
        return Repeated::Nothing;
    }
    if guess.differs_by_deployment() && sensitive::is_local(value) {
        return Repeated::Example(value);
    }
    Repeated::Default(value)
}

/// The comment above a variable as its description: without commented-out
/// assignments, rules made of dashes, and lines that may hold a secret: this
/// variable's (`masked`, where it has one) or another.
fn description(comment: &[String], masked: &str) -> Option<String> {
    /// Longer comments are documentation, not a description.
    const LONGEST: usize = 240;
    let mut text = String::new();
    for line in comment {
        let line =
            line.trim_start_matches(['#', ' ', '\t']).trim_end_matches(['#', ' ', '\t', '-', '=', '*']);
        // One word is the heading of a section.
        let prose = line.chars().any(char::is_alphabetic)
            && line.split_whitespace().nth(1).is_some()
            && !is_assignment(line)
            && (masked.is_empty() || !line.contains(masked))
            && !sensitive::carries_credentials(line)
            && !line.split_whitespace().any(|word| sensitive::looks_random(word) || word.contains("://"));
        if !prose || text.chars().count() + line.chars().count() > LONGEST {
            continue;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(line.trim_start_matches(['-', '=', '*', ' ']));
    }
    (!text.is_empty()).then_some(text)
}

fn is_assignment(line: &str) -> bool {
    let line = line.strip_prefix("export ").unwrap_or(line);
    line.split_once('=').is_some_and(|(name, _)| Key::new(name.trim()).is_ok())
}

/// A `[group.NAME]`.
struct Group {
    name: String,
    pattern: String,
    /// An id and the secret that belongs to it.
    pair: Option<(String, String)>,
}

/// Three or more names with a prefix in common, and pairs of an id and its
/// secret.
fn groups(variables: &[(&ExampleVariable, Name)]) -> Vec<Group> {
    let names: Vec<&str> = variables.iter().map(|(variable, _)| variable.name.as_str()).collect();
    // Where every name begins alike (PAPERLESS_…), the second word tells more.
    let first = names.first().and_then(|name| prefix(name, 1));
    let depth = match first {
        Some(first) if names.len() > 3 && names.iter().all(|name| prefix(name, 1) == Some(first)) => 2,
        _ => 1,
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for prefix in names.iter().filter_map(|name| prefix(name, depth)) {
        *counts.entry(prefix).or_default() += 1;
    }
    let mut groups: Vec<Group> = Vec::new();
    for name in &names {
        let shared = prefix(name, depth).filter(|prefix| counts.get(prefix).is_some_and(|count| *count >= 3));
        let pair = pair(name, &names);
        for (prefix, pair) in shared.map(|prefix| (prefix, None)).into_iter().chain(pair) {
            let group_name = prefix.to_ascii_lowercase();
            match groups.iter_mut().find(|group| group.name == group_name) {
                Some(group) if pair.is_some() && group.pattern == format!("{prefix}_*") => group.pair = pair,
                Some(_) => {}
                None => groups.push(Group { name: group_name, pattern: format!("{prefix}_*"), pair }),
            }
        }
    }
    groups
}

/// The first words of a name, where more follow.
fn prefix(name: &str, words: usize) -> Option<&str> {
    let (at, _) = name.match_indices('_').nth(words - 1)?;
    name.get(..at).filter(|prefix| !prefix.is_empty() && !prefix.ends_with('_') && at + 1 < name.len())
}

/// The prefix of an id, with the id and its secret, where both are there.
fn pair<'n>(name: &'n str, names: &[&str]) -> Option<(&'n str, Option<(String, String)>)> {
    for (id, secret) in [
        ("_CLIENT_ID", "_CLIENT_SECRET"),
        ("_ACCESS_KEY_ID", "_SECRET_ACCESS_KEY"),
        ("_APP_ID", "_APP_SECRET"),
        ("_ID", "_SECRET"),
    ] {
        if let Some(prefix) = name.strip_suffix(id).filter(|prefix| !prefix.trim_matches('_').is_empty()) {
            let secret = format!("{prefix}{secret}");
            if names.contains(&secret.as_str()) {
                return Some((prefix, Some((name.to_owned(), secret))));
            }
        }
    }
    None
}
