//! Validation: every finding in one run, and the only way to a [`Validated`].
//!
//! Pure. Invariants: the order of findings depends on the schema and the names
//! alone; no message, note, label or help holds a secret, nor the value of a
//! plain variable that was made from one or looks like one.
//! Must not know: how findings are printed, or where outputs go.

mod names;
mod place;
mod relations;
mod value;

pub use place::MASK;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::discretion::Discretion;
use super::finding::{Code, Finding, Severity};
use super::key::{Key, SourceName};
use super::origin::{Location, Origin, Span};
use super::resolve::{Candidates, Entry, Resolution};
use super::schema::{Schema, Var};
use super::secret::SecretValue;

/// What the caller chose.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The environment's name; one of the schema's.
    pub environment: &'a str,
    /// The service, where one was chosen.
    pub service: Option<&'a str>,
    /// Judge presence from names alone; values are not looked at.
    pub names_only: bool,
    /// Whether no finding may quote a value, not even a plain one.
    pub value_free: bool,
    /// Sources that were not read: what is unset may be there.
    pub unread: &'a [Unread],
    /// Variables that a person gave up by name: that one of them is missing only
    /// warns.
    pub forgotten: &'a [Key],
}

/// A source that was not read, or not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Which.
    pub source: SourceName,
    /// Why, as what follows its name: `could not be read`.
    pub why: &'static str,
}

/// Everything that validation says.
#[derive(Debug)]
pub struct Verdict {
    /// The findings, in schema order.
    pub findings: Vec<Finding>,
    /// Variables that could not be judged, since a source was not read.
    pub unjudged: Vec<Unjudged>,
    /// The variables that have a value or a finding, in schema order.
    pub judged: Vec<Key>,
    /// The configuration, if no finding is an error and nothing required is
    /// unjudged.
    pub outcome: Result<Validated, Refused>,
}

impl Verdict {
    /// How many judged variables no finding is about.
    pub fn fine(&self) -> usize {
        let named: BTreeSet<&Key> = self.findings.iter().filter_map(|f| f.variable.as_ref()).collect();
        self.judged.iter().filter(|key| !named.contains(key)).count()
    }
}

/// A variable that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// The variable.
    pub variable: Key,
    /// Why, as a clause.
    pub reason: String,
    /// Whether it must be set in this environment.
    pub required: bool,
}

/// There is no valid configuration; the findings say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A configuration that passed. Only validation makes one.
#[derive(Debug)]
pub struct Validated {
    variables: Vec<Delivered>,
}

/// One variable of a [`Validated`].
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Its name.
    pub key: Key,
    /// Its value; never empty.
    pub value: Arc<SecretValue>,
    /// Where it came from.
    pub origin: Origin,
    /// Whether the schema calls it secret.
    pub secret: bool,
}

impl Validated {
    /// The variables, in schema order.
    pub fn variables(&self) -> &[Delivered] {
        &self.variables
    }

    /// One of them.
    pub fn get(&self, key: &Key) -> Option<&Delivered> {
        self.variables.iter().find(|d| d.key == *key)
    }
}

/// Judges a resolution by a schema.
pub fn validate(schema: &Schema, resolution: &Resolution, question: Question<'_>) -> Verdict {
    let mut judge = Judge {
        schema,
        resolution,
        question,
        environment: Arc::new(SecretValue::from(question.environment)),
        findings: Vec::new(),
        unjudged: Vec::new(),
        flagged: BTreeMap::new(),
        discretion: Discretion::new(schema, resolution).total(question.value_free),
    };
    judge.environment_differs();
    for var in &schema.vars {
        if var.read_by(question.service) {
            judge.variable(var);
        }
    }
    if !question.names_only {
        judge.shared_secrets();
        judge.literal_references();
    }
    judge.groups();
    if !question.names_only {
        judge.rules();
    }
    judge.unknown_names();
    judge.retired_names();
    judge.wide_permissions();
    judge.verdict()
}

/// The state of one validation.
struct Judge<'a> {
    schema: &'a Schema,
    resolution: &'a Resolution,
    question: Question<'a>,
    /// The chosen environment's name, as a value.
    environment: Arc<SecretValue>,
    findings: Vec<Finding>,
    unjudged: Vec<Unjudged>,
    /// Variables with findings, which, and how much they weigh.
    flagged: BTreeMap<Key, BTreeMap<Code, Severity>>,
    /// What must not be shown.
    discretion: Discretion<'a>,
}

impl<'a> Judge<'a> {
    /// What was offered for a declared variable, as far as the chosen service
    /// reads it.
    fn candidates(&self, key: &Key) -> Option<&'a Candidates> {
        self.resolution.variables.get(key)
    }

    fn winner(&self, key: &Key) -> Option<&'a Entry> {
        self.candidates(key)?.winner.as_ref()
    }

    /// Whether a source offers it: names-only, an empty value counts as well,
    /// since values are not looked at.
    fn offered(&self, key: &Key) -> bool {
        self.candidates(key)
            .is_some_and(|c| c.winner.is_some() || (self.question.names_only && !c.losers.is_empty()))
    }

    /// The value in force: what a source offers, or the default.
    ///
    /// While a source is unread there is no telling whether a default holds.
    fn value_in_force(&self, var: &'a Var) -> Option<Text<'a>> {
        if let Some(entry) = self.winner(&var.key) {
            return Some(Text(entry.value.expose()));
        }
        if var.key == self.schema.environments.variable {
            return Some(Text(self.question.environment));
        }
        var.default.as_deref().map(Text).filter(|_| self.question.unread.is_empty())
    }

    /// Adds a finding, unless the variable's schema silences it. Its weight, if
    /// it was added.
    fn add(&mut self, finding: Finding) -> Option<Severity> {
        let silenced = finding.variable.as_ref().is_some_and(|key| {
            let var = self.schema.var(key).or_else(|| self.schema.replacement(key));
            var.is_some_and(|var| var.allow.contains_key(&finding.code))
        });
        if silenced {
            return None;
        }
        if let Some(key) = &finding.variable {
            self.flagged.entry(key.clone()).or_default().insert(finding.code, finding.severity);
        }
        let severity = finding.severity;
        self.findings.push(finding);
        Some(severity)
    }

    /// Whether the chosen environment is a laptop's, where some findings only
    /// warn.
    fn development(&self) -> bool {
        self.schema.environments.is_development(self.question.environment)
    }

    /// The heaviest of these findings about a variable.
    fn flag(&self, key: &Key, codes: &[Code]) -> Option<Severity> {
        let flags = self.flagged.get(key)?;
        codes.iter().filter_map(|code| flags.get(code)).max().copied()
    }

    fn severity(&self, code: Code) -> Severity {
        let lenient = matches!(
            code,
            Code::Placeholder
                | Code::WeakSecret
                | Code::SharedSecret
                | Code::PublishedFallback
                | Code::MisplacedSecret
                | Code::Stale
                | Code::WidePermissions
        );
        let always_warns = matches!(
            code,
            Code::UnknownName
                | Code::RetiredName
                | Code::ReadersDisagree
                | Code::UnusedDeclaration
                | Code::UnreadName
        );
        if always_warns || (lenient && self.development()) { Severity::Warning } else { Severity::Error }
    }

    /// A finding without more than its sentence.
    fn finding(&self, code: Code, variable: Option<&Key>, message: String) -> Finding {
        Finding {
            code,
            severity: self.severity(code),
            variable: variable.cloned(),
            message,
            origin: None,
            snippet: None,
            notes: Vec::new(),
            help: None,
            fix: None,
        }
    }

    /// A place in the schema, as findings about what is not there print it.
    fn schema_origin(&self, at: Span) -> Origin {
        Origin {
            mark: None,
            source: SourceName::new("schema"),
            location: Location::File {
                path: Arc::clone(&self.schema.path),
                at: Some(Span { line: at.line, column: 0 }),
            },
            revision: None,
            modified: None,
        }
    }

    /// 'looked in: .env, environment'.
    fn looked_in(&self) -> String {
        let mut labels: Vec<&str> = Vec::new();
        for (place, _) in &self.resolution.places {
            if !labels.contains(&&*place.label) {
                labels.push(&place.label);
            }
        }
        if labels.is_empty() {
            "looked nowhere: there is no source".into()
        } else {
            format!("looked in: {}", labels.join(", "))
        }
    }

    fn verdict(self) -> Verdict {
        let Self { schema, resolution, question, environment, findings, unjudged, flagged, discretion: _ } =
            self;
        let mut variables = Vec::new();
        let mut judged = Vec::new();
        let unknown: BTreeSet<&Key> = unjudged.iter().map(|u| &u.variable).collect();
        for var in schema.vars.iter().filter(|var| var.read_by(question.service)) {
            let winner = resolution.variables.get(&var.key).and_then(|c| c.winner.as_ref());
            let origin = |name: &str| Origin {
                mark: None,
                source: SourceName::new("schema"),
                location: Location::Named(name.into()),
                revision: None,
                modified: None,
            };
            let (value, origin) = if let Some(entry) = winner {
                (Arc::clone(&entry.value), entry.origin.clone())
            } else if var.key == schema.environments.variable {
                (Arc::clone(&environment), origin("chosen environment"))
            } else if let Some(default) = &var.default {
                (Arc::new(SecretValue::from(&**default)), origin("schema default"))
            } else {
                judged.extend(flagged.contains_key(&var.key).then(|| var.key.clone()));
                continue;
            };
            if !unknown.contains(&var.key) || flagged.contains_key(&var.key) {
                judged.push(var.key.clone());
            }
            variables.push(Delivered { key: var.key.clone(), value, origin, secret: var.secret });
        }
        let refused = findings.iter().any(|f| f.severity == Severity::Error)
            || unjudged.iter().any(|u| u.required)
            || !resolution.broken.is_empty();
        let outcome = if refused { Err(Refused) } else { Ok(Validated { variables }) };
        Verdict { findings, unjudged, judged, outcome }
    }
}

/// A value's text on loan to the judges.
#[derive(Clone, Copy)]
struct Text<'a>(&'a str);

#[cfg(test)]
mod tests;
