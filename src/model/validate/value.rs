//! Judging one variable: presence, then its value.

use super::Judge;
use super::place::{located, named};
use crate::model::finding::{Code, Finding, Fix, Severity};
use crate::model::key::Key;
use crate::model::resolve::{Entry, Loss};
use crate::model::schema::kind::{Class, Problem, looks_like_secret};
use crate::model::schema::{Glob, OnInvalid, Var};

/// The longest plain value that a sentence quotes, in characters.
const QUOTED: usize = 48;

impl Judge<'_> {
    pub(super) fn environment_differs(&mut self) {
        let key = self.schema.environments.variable.clone();
        if self.question.names_only {
            return;
        }
        let Some(entry) = self.winner(&key) else { return };
        let chosen = self.question.environment;
        if entry.value.expose() == chosen {
            return;
        }
        let known = self.schema.environments.names.iter().any(|name| **name == *entry.value.expose());
        let message = if known {
            format!("{key}={} but this is judged as {chosen}", entry.value.expose())
        } else {
            format!("{key} is none of the schema's environments; this is judged as {chosen}")
        };
        let help = if known {
            format!("choose `--env {}`, or set {key}={chosen}", entry.value.expose())
        } else {
            format!("set {key}={chosen}")
        };
        let label = format!("the chosen environment is {chosen}");
        let finding = self.finding(Code::EnvironmentDiffers, Some(&key), message);
        let finding = located(finding, entry, !known, None, &label);
        self.add(Finding { help: Some(help), ..finding });
    }

    pub(super) fn variable(&mut self, var: &Var) {
        if !self.offered(&var.key) && var.key != self.schema.environments.variable {
            self.absent(var);
        }
        if !self.question.names_only
            && var.key != self.schema.environments.variable
            && let Some(entry) = self.winner(&var.key)
        {
            self.value(var, &var.key, entry);
        }
        self.replaced_names(var);
    }

    fn absent(&mut self, var: &Var) {
        let required = var.required_in(self.question.environment);
        if self.resolution.broken.iter().any(|broken| broken.key == var.key) {
            let reason = "its value could not be made".to_owned();
            self.unjudged.push(super::Unjudged { variable: var.key.clone(), reason, required });
            return;
        }
        if let [first, ..] = self.question.unread {
            self.unjudged.push(super::Unjudged {
                variable: var.key.clone(),
                reason: format!("source {} {}", first.source, first.why),
                required,
            });
            return;
        }
        if !required {
            return;
        }
        let empty = self
            .candidates(&var.key)
            .and_then(|c| c.losers.iter().find(|l| l.why == Loss::Empty))
            .map(|loser| loser.origin.clone());
        let (code, message) = match empty {
            Some(_) => (Code::Empty, format!("{} is set to nothing, which counts as unset", var.key)),
            None => (Code::Missing, format!("{} is not set", var.key)),
        };
        let mut finding = self.finding(code, Some(&var.key), message);
        if empty.is_none() {
            finding.notes.push(self.looked_in());
        }
        let renamed = var.replaces.iter().find(|old| self.winner(old).is_some());
        if let Some(fallback) = var.fallback.as_ref().filter(|_| renamed.is_none()) {
            finding.notes.push(format!("without it, {} uses {fallback}", self.schema.program));
        }
        if self.question.forgotten.contains(&var.key) {
            finding.severity = Severity::Warning;
            finding.notes.push("somebody gave it up: dlconf forget".into());
        }
        finding.origin = Some(empty.unwrap_or_else(|| self.schema_origin(var.at)));
        finding.help = Some(match renamed {
            Some(old) => format!("{old} holds a value: rename it to {}", var.key),
            None => how_to_set(var),
        });
        self.add(finding);
    }

    /// Judges the value that a place offers for a variable; `name` is the name
    /// that it is written under, which may be a replaced one.
    pub(super) fn value(&mut self, var: &Var, name: &Key, entry: &Entry) {
        let value = entry.value.expose();
        let junk = self.unsuitable(var, name, entry).and_then(|finding| self.add(finding));
        // A placeholder of a secret has no form to speak of, and what is refused
        // already need not be refused twice. Anything else is judged to the end:
        // what only warns may be delivered.
        if junk.is_some_and(|severity| var.secret || severity == Severity::Error) {
            return;
        }
        let misplaced = self.misplaced(var, name, entry).and_then(|finding| self.add(finding));
        if misplaced == Some(Severity::Error) {
            return;
        }
        // Asked only where there is a finding: it looks at every secret.
        let masked = || var.secret || misplaced.is_some() || self.discretion.hides(entry);
        let finding = match var.kind.judge(value, var.dialect) {
            Err(problem) => Some(self.type_finding(var, name, entry, problem, masked())),
            Ok(_) => self.shape_finding(var, name, entry, &masked),
        };
        if let Some(finding) = finding {
            self.add(finding);
        }
        if var.secret
            && self.flag(name, &[Code::WrongType, Code::OutOfRange]).is_none()
            && let Some(weak) = var.kind.weakness(value, var.min_bytes)
        {
            let mut finding = self.finding(Code::WeakSecret, Some(name), format!("{name} is weak: {weak}"));
            finding = located(finding, entry, true, None, "too easy to guess");
            finding.help = Some(how_to_set(var));
            self.add(finding);
        }
    }

    /// Published fallbacks and placeholders.
    fn unsuitable(&self, var: &Var, name: &Key, entry: &Entry) -> Option<Finding> {
        let value = entry.value.expose();
        let matches = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(value));
        let program = &self.schema.program;
        let (code, message, label) = if matches(&var.published) {
            (
                Code::PublishedFallback,
                format!("{name} is the fallback that is printed in the program's source"),
                format!("anybody who can read the source of {program} knows it"),
            )
        } else if matches(&var.forbid) || (var.secret && is_placeholder(value)) {
            (
                Code::Placeholder,
                format!("{name} still holds a placeholder"),
                "copied from an example, never replaced".to_owned(),
            )
        } else {
            return None;
        };
        let finding = self.finding(code, Some(name), message);
        let mut finding = located(finding, entry, var.secret || self.discretion.hides(entry), None, &label);
        finding.help = Some(how_to_set(var));
        Some(finding)
    }

    /// A secret where a plain value belongs.
    fn misplaced(&self, var: &Var, name: &Key, entry: &Entry) -> Option<Finding> {
        if var.secret {
            return None;
        }
        let value = entry.value.expose();
        let made_from = || entry.references.iter().find(|key| self.discretion.is_secret_name(key));
        let what = if let Some(what) = looks_like_secret(value) {
            format!("it looks like {what}")
        } else if let Some(secret) = made_from() {
            format!("it is made from {secret}, which is secret")
        } else {
            // Short words are the same by chance: `admin`, `datalens`.
            let holder = self.discretion.holder(value).filter(|_| value.len() >= 12)?;
            format!("it is the value of {holder}")
        };
        let message = format!("{name} is a plain variable but holds a secret: {what}");
        let finding = self.finding(Code::MisplacedSecret, Some(name), message);
        let mut finding = located(finding, entry, true, None, "shown to everybody who may see plain values");
        finding.help = Some(format!(
            "move it to the variable that is meant for it, or declare {name} with `secret = true`"
        ));
        Some(finding)
    }

    fn type_finding(&self, var: &Var, name: &Key, entry: &Entry, problem: Problem, masked: bool) -> Finding {
        let problem = if masked { problem.without_value() } else { problem };
        let shown = if masked { None } else { Some(quoted(entry.value.expose())) };
        let silently = var.kind.is_parsed() && var.on_invalid == OnInvalid::Default;
        let assignment = shown.as_ref().map_or_else(|| name.to_string(), |value| format!("{name}={value}"));
        let program = &self.schema.program;
        let (code, message) = match problem.class {
            Class::OutOfRange => {
                (Code::OutOfRange, format!("{assignment} is out of range: expected {}", problem.expected))
            }
            Class::NotOfType if silently => {
                (Code::SilentlyDefaulted, format!("{program} silently ignores {assignment}"))
            }
            Class::NotOfType => (Code::WrongType, format!("{assignment} is not {}", problem.expected)),
        };
        let mut label = problem.reason;
        if silently && matches!(problem.class, Class::NotOfType) {
            let instead = match (&var.default, &var.fallback) {
                (Some(default), _) => format!("the default, {default}, is used"),
                (None, Some(fallback)) => format!("{fallback} is used"),
                (None, None) => "its own default is used".to_owned(),
            };
            label = format!("{label}; {instead}");
        }
        let finding = self.finding(code, Some(name), message);
        let mut finding = located(finding, entry, masked, Some(problem.at), &label);
        match problem.works.filter(|_| !masked) {
            Some(works) if works.chars().count() > QUOTED || works.contains('\n') => {
                finding.help = Some(format!("write {}", problem.expected));
            }
            Some(works) => {
                finding.help = Some(format!("write {works}"));
                // Numbers and spans of time have one meaning; a text may lose some.
                finding.fix = var.kind.is_parsed().then_some(Fix::Value(works));
            }
            None => finding.help = Some(format!("write {}", problem.expected)),
        }
        finding
    }

    /// Length and pattern.
    fn shape_finding(
        &self,
        var: &Var,
        name: &Key,
        entry: &Entry,
        masked: &dyn Fn() -> bool,
    ) -> Option<Finding> {
        let value = entry.value.expose();
        let (code, message, label) = if let Some(max) = var.max_bytes.filter(|max| value.len() > *max) {
            let text = format!("it has {} bytes, {max} are the most", value.len());
            (Code::OutOfRange, format!("{name} is too long: {text}"), text)
        } else if let Some(min) = var.min_bytes.filter(|min| !var.secret && value.len() < *min) {
            let text = format!("it has {} bytes, {min} are the fewest", value.len());
            (Code::OutOfRange, format!("{name} is too short: {text}"), text)
        } else if let Some(pattern) = var.pattern.as_ref().filter(|pattern| !pattern.is_match(value)) {
            let text = format!("must match {}", pattern.as_str());
            let shown = if masked() { name.to_string() } else { format!("{name}={}", quoted(value)) };
            (Code::Pattern, format!("{shown} does not match its pattern"), text)
        } else {
            return None;
        };
        let finding = self.finding(code, Some(name), message);
        let mut finding = located(finding, entry, masked(), None, &label);
        finding.help = Some(match &var.example {
            Some(example) if !var.secret => format!("write something like {example}"),
            _ => format!("write a value that fits: {label}"),
        });
        Some(finding)
    }

    pub(super) fn literal_references(&mut self) {
        for var in &self.schema.vars {
            if !var.read_by(self.question.service) {
                continue;
            }
            let Some(entry) = self.winner(&var.key).filter(|entry| entry.literal_reference) else { continue };
            let message =
                format!("{} holds a `$` before a name that is set nowhere: readers disagree on it", var.key);
            let finding = self.finding(Code::ReadersDisagree, Some(&var.key), message);
            let label = "kept as it is; compose and godotenv would drop the name";
            let masked = var.secret || self.discretion.hides(entry);
            let mut finding = located(finding, entry, masked, None, label);
            finding.help = Some("put the value in single quotes".into());
            self.add(finding);
        }
    }

    /// Old names of a variable.
    fn replaced_names(&mut self, var: &Var) {
        for old in &var.replaces {
            let Some(candidates) = self.candidates(old) else { continue };
            let new_is_set = self.offered(&var.key);
            let program = &self.schema.program;
            let message = format!("{program} does not read {old}: its name is {}", var.key);
            let mut finding = self.finding(Code::ReplacedName, Some(old), message);
            // While a source is unread, the new name may be set there.
            let lenient = new_is_set || self.development() || !self.question.unread.is_empty();
            let severity = if lenient { Severity::Warning } else { Severity::Error };
            finding.severity = severity;
            let judged = candidates.winner.as_ref().filter(|_| !self.question.names_only);
            let masked = var.secret || judged.is_none_or(|entry| self.discretion.hides(entry));
            finding = named(finding, candidates, masked, "never delivered");
            if new_is_set {
                finding.help = Some(format!("remove {old}; {} is set", var.key));
            } else {
                finding.help = Some(format!("write it as {}", var.key));
                finding.fix = Some(Fix::Rename(var.key.clone()));
            }
            self.add(finding);
            if let Some(entry) = judged.filter(|_| !new_is_set) {
                // What is never delivered weighs no more than its old name does.
                let first = self.findings.len();
                self.value(var, old, entry);
                for finding in self.findings.iter_mut().skip(first) {
                    finding.severity = finding.severity.min(severity);
                }
            }
        }
    }
}

/// How to give a variable a good value.
pub(super) fn how_to_set(var: &Var) -> String {
    let generated = var.generate.map(|generate| {
        let least = var.min_bytes.map_or(String::new(), |min| format!("{min} bytes or more; "));
        let encoding = match generate.encoding {
            crate::model::schema::GenerateEncoding::Hex => "-hex",
            _ => "-base64",
        };
        let what = if least.is_empty() { format!("{}; ", var.key) } else { least };
        format!("set {what}`openssl rand {encoding} {}` makes one", generate.bytes)
    });
    generated.unwrap_or_else(|| match (&var.example, var.min_bytes) {
        (Some(example), _) if !var.secret => format!("set {}, for example {example}", var.key),
        (_, Some(min)) => format!("set {}: {min} bytes or more", var.key),
        _ => match &var.description {
            Some(description) => format!("set {} ({})", var.key, first_sentence(description)),
            None => format!("set {} ({})", var.key, var.kind.name()),
        },
    })
}

/// A description's first sentence, as the end of another.
fn first_sentence(description: &str) -> &str {
    let end = description.find(". ").unwrap_or(description.len());
    description.get(..end).unwrap_or(description).trim_end_matches('.')
}

/// What people write where a secret should come. Whole values only: these are
/// nobody's passwords.
fn is_placeholder(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let stars = [
        "<*>",
        "your-*",
        "your_*",
        "change-me*",
        "changeme*",
        "change_me*",
        "replace-me*",
        "replace_me*",
        "replaceme*",
        "xxx*",
        "*-...",
        "placeholder*",
        "example-*",
        "insert-*",
        "todo",
        "todo:*",
        "fixme",
        "dummy",
        "none",
        "null",
        "undefined",
    ];
    value.chars().all(|c| c == '.' || c == '*' || c == 'x')
        || stars.iter().any(|pattern| Glob::new(pattern).matches(&value))
}

/// A plain value inside a sentence: cut, and with control characters shown as
/// what they are.
pub(super) fn quoted(value: &str) -> String {
    let mut text: String =
        value.chars().take(QUOTED).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if value.chars().count() > QUOTED {
        text.push('…');
    }
    text
}
