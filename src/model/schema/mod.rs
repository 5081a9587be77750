//! The schema: which variables there are, of what type, who needs them when,
//! and what must hold between them. Data, not code: a new variable needs no Rust.
//!
//! Owns: the checked form of the TOML language (`parse` makes it, `lint` judges
//! it, `export` prints it), the value types (`kind`) and the rules (`rule`).
//! Must not know: sources, values in force, how findings are printed.

pub mod export;
pub mod kind;
pub mod parse;
pub mod probe;
pub mod rule;
pub mod toml_reader;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::finding::{Code, Severity};
use super::key::Key;
use super::origin::Span;
use kind::{Dialect, Kind};
use probe::Probe;

/// A checked schema.
#[derive(Debug)]
pub struct Schema {
    /// Its name: `datalens`.
    pub name: Box<str>,
    /// What reads the variables, for sentences: `the API`; by default `the program`.
    pub program: Box<str>,
    /// The file it was read from, or `built-in schema`.
    pub path: Arc<str>,
    /// The environments.
    pub environments: Environments,
    /// The services (processes) that variables may belong to.
    pub services: Vec<Box<str>>,
    /// The groups, in the file's order.
    pub groups: Vec<Group>,
    /// Every variable, in the file's order; the names that a rotation implies
    /// follow their owner.
    pub vars: Vec<Var>,
    /// Dead names.
    pub retired: Vec<Retired>,
    /// Names that other programs read from the same files (globs): no findings.
    pub ignored: Vec<Glob>,
    /// The rules, in the file's order.
    pub rules: Vec<Rule>,
    /// How secrets are tried, in the file's order; one a secret.
    pub probes: Vec<Probe>,
    /// Name to position in `vars`.
    pub index: HashMap<Key, usize>,
    /// Replaced name to position in `vars`.
    pub replaced: HashMap<Key, usize>,
}

/// `environments = { variable = "APP_ENV", names = [...], development = "local" }`.
#[derive(Debug)]
pub struct Environments {
    /// The variable that holds the environment's name.
    pub variable: Key,
    /// The names, in order.
    pub names: Vec<Box<str>>,
    /// The one of a laptop, in which some findings only warn: `development`
    /// where the schema does not say, which then need not be one of the names.
    pub development: Box<str>,
}

impl Environments {
    /// Whether this is the environment of a laptop.
    pub fn is_development(&self, name: &str) -> bool {
        *self.development == *name
    }

    /// The environment of a laptop, if the schema has one.
    pub fn laptop(&self) -> Option<&str> {
        self.names.iter().map(|name| &**name).find(|name| self.is_development(name))
    }
}

/// `[group.NAME]`.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: Box<str>,
    /// Its members, patterns resolved, in schema order.
    pub vars: Vec<Key>,
    /// Its members come from one source revision.
    pub atomic: bool,
    /// If one of these is offered, all must be (DLC041).
    pub all_or_none: Vec<Key>,
    /// For people.
    pub description: Option<Box<str>>,
    /// The line in the schema.
    pub at: Span,
}

/// `[var.NAME]`.
#[derive(Debug)]
pub struct Var {
    /// Its name.
    pub key: Key,
    /// Its type, with constraints.
    pub kind: Kind,
    /// Whether its values are secret (by type, or by `secret = true`).
    pub secret: bool,
    /// When it must be set.
    pub presence: Presence,
    /// The services that read it; empty means all.
    pub services: Vec<Box<str>>,
    /// Delivered where nothing is offered. Never for secrets.
    pub default: Option<Box<str>>,
    /// What the program does when it is unset, for DLC001.
    pub fallback: Option<Box<str>>,
    /// Fewest bytes of the value as delivered.
    pub min_bytes: Option<usize>,
    /// Most bytes of the value as delivered.
    pub max_bytes: Option<usize>,
    /// A pattern the whole value must match (DLC012).
    pub pattern: Option<regex::Regex>,
    /// Placeholders (DLC020).
    pub forbid: Vec<Glob>,
    /// Literals printed in the program's source (DLC023).
    pub published: Vec<Glob>,
    /// How dev and rotation make one.
    pub generate: Option<Generate>,
    /// Its old names.
    pub replaces: Vec<Key>,
    /// What the program does with a value that it cannot parse.
    pub on_invalid: OnInvalid,
    /// How the program reads durations, integers, booleans and lists.
    pub dialect: Dialect,
    /// Withheld when its source is older than it may be (`stale = "refuse"`).
    pub refuse_stale: bool,
    /// How it is rotated.
    pub rotation: Option<Rotation>,
    /// For people.
    pub description: Option<Box<str>>,
    /// An example for `.env.example` and the docs.
    pub example: Option<Box<str>>,
    /// Findings silenced, with the reason.
    pub allow: BTreeMap<Code, Box<str>>,
    /// For a name that a rotation implies: the rotated variable.
    pub implied_by: Option<Key>,
    /// The line in the schema.
    pub at: Span,
}

/// When a variable must be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// In every environment.
    Always,
    /// In none.
    Never,
    /// In these environments.
    In(Vec<Box<str>>),
}

/// What the program does with a value that it cannot parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInvalid {
    /// It silently uses its default: DLC013.
    Default,
    /// It fails, or takes the text as it is: DLC010.
    Fail,
}

/// `generate = "base64url:48"`: an encoding and a number of random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generate {
    /// How the bytes are written.
    pub encoding: GenerateEncoding,
    /// How many random bytes.
    pub bytes: usize,
}

impl Generate {
    /// How many bytes the generated text has.
    pub fn text_len(self) -> usize {
        match self.encoding {
            GenerateEncoding::Base64Url => (self.bytes * 4).div_ceil(3),
            GenerateEncoding::Base64 => self.bytes.div_ceil(3) * 4,
            GenerateEncoding::Hex => self.bytes * 2,
        }
    }
}

/// How generated bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerateEncoding {
    /// RFC 4648 section 5, without padding.
    Base64Url,
    /// RFC 4648 section 4, padded.
    Base64,
    /// Lower-case hexadecimal.
    Hex,
}

/// `rotation = { strategy = "overlap", every = "30d", overlap = "8d" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// How.
    pub strategy: Strategy,
    /// How often, in seconds.
    pub every: Option<u64>,
    /// How long the previous key stays valid, in seconds.
    pub overlap: Option<u64>,
    /// How many numbered variables a ring has.
    pub slots: Option<u32>,
    /// The durations for which what the key signs lives: none of them may be longer than
    /// `overlap`.
    pub tokens: Vec<Key>,
    /// Why it is manual.
    pub reason: Option<Box<str>>,
}

/// The ways to rotate a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The next and the previous key live beside the current one.
    Overlap,
    /// Numbered keys; nothing is ever retired.
    Ring,
    /// An operator supplies the new value.
    Supplied,
    /// Leased from Vault's database engine.
    Dynamic,
    /// Vault rotates, we follow.
    StaticRole,
    /// Never by dlconf.
    Manual,
}

/// `[retired]`: a name that nothing reads any more, and why.
#[derive(Debug)]
pub struct Retired {
    /// The name.
    pub key: Key,
    /// The reason, as a clause: `nothing reads it`.
    pub reason: Box<str>,
    /// The line in the schema.
    pub at: Span,
}

/// `[[rule]]`.
#[derive(Debug)]
pub struct Rule {
    /// Its id.
    pub id: Box<str>,
    /// Environments it holds in; empty means all.
    pub environments: Vec<Box<str>>,
    /// Services it concerns; empty means all.
    pub services: Vec<Box<str>>,
    /// What must hold.
    pub expression: rule::Expression,
    /// What must hold, as a sentence.
    pub message: Box<str>,
    /// What to do.
    pub help: Option<Box<str>>,
    /// Its weight.
    pub severity: Severity,
    /// The line in the schema.
    pub at: Span,
}

impl Rule {
    /// Whether it is judged in this environment and for this service. A rule
    /// that names services is judged only where one of them was chosen.
    pub fn applies(&self, environment: &str, service: Option<&str>) -> bool {
        let here = self.environments.is_empty() || self.environments.iter().any(|e| **e == *environment);
        let ours = self.services.is_empty()
            || service.is_some_and(|service| self.services.iter().any(|s| **s == *service));
        here && ours
    }
}

/// A pattern in which `*` stands for any run of characters and `?` for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// Any text is a pattern.
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole text matches. Linear in text × stars: no blow-up.
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p, t));
                    p += 1;
                }
                Some(&b) if b == b'?' || b == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match retry {
                    Some((star, from)) => {
                        retry = Some((star, from + 1));
                        p = star + 1;
                        t = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&b| b == b'*')
    }
}

impl Schema {
    /// The declaration of a name.
    pub fn var(&self, key: &Key) -> Option<&Var> {
        self.index.get(key).map(|&i| &self.vars[i])
    }

    /// The variable that took a replaced name's place.
    pub fn replacement(&self, old: &Key) -> Option<&Var> {
        self.replaced.get(old).map(|&i| &self.vars[i])
    }

    /// Who uses the variables: the services; a program without any is one consumer, named
    /// like the schema.
    pub fn consumers(&self) -> Vec<&str> {
        if self.services.is_empty() {
            return vec![&self.name];
        }
        self.services.iter().map(|service| &**service).collect()
    }

    /// Every name that it speaks of: declared, replaced, retired.
    pub fn known_names(&self) -> BTreeSet<Key> {
        let declared = self.vars.iter().map(|var| &var.key);
        let retired = self.retired.iter().map(|retired| &retired.key);
        declared
            .chain(self.replaced.keys())
            .chain(retired)
            .chain([&self.environments.variable])
            .cloned()
            .collect()
    }

    /// How a secret is tried on the other side.
    pub fn probe(&self, secret: &Key) -> Option<&Probe> {
        self.probes.iter().find(|probe| probe.secret == *secret)
    }

    /// The retired name.
    pub fn retired(&self, key: &Key) -> Option<&Retired> {
        self.retired.iter().find(|r| r.key == *key)
    }
}

impl Var {
    /// Whether it must be set in this environment.
    pub fn required_in(&self, environment: &str) -> bool {
        match &self.presence {
            Presence::Always => true,
            Presence::Never => false,
            Presence::In(names) => names.iter().any(|n| **n == *environment),
        }
    }

    /// Whether this service reads it; without a service, everything is read.
    pub fn read_by(&self, service: Option<&str>) -> bool {
        service.is_none_or(|s| self.services.is_empty() || self.services.iter().any(|own| **own == *s))
    }
}

#[cfg(test)]
mod tests {
    use super::Glob;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("change-me*", "change-me-in-prod", true),
            ("change-me*", "change-me", true),
            ("change-me*", "please-change-me", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("sk-...", "sk-...", true),
            ("sk-...", "sk-abc", false),
            ("a*b*c", "aXbYbZc", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("DB_*", "DB_HOST", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} ~ {text}");
        }
    }
}
