//! `check --portability`: what other readers make of the env files, as findings.
//!
//! Invariant: a reading is shown only where it is made of its own assignment and
//! of plain values; some readers swallow comments and the lines that follow.

use std::collections::BTreeSet;

use super::assemble::Setup;
use crate::broker::judge::Judged;
use crate::model::discretion::Discretion;
use crate::model::finding::{Code, Finding, Severity};
use crate::model::key::{Key, SourceName};
use crate::model::origin::{Location, Origin, Span};
use crate::model::resolve::Resolution;
use crate::sealed::Container;
use crate::source::dotenv::portability::{self, Disagreement, Reading};
use crate::source::dotenv::{Assignment, assignments};
use crate::source::env;
use crate::source::file::TEXT_LIMIT;

/// How many lines of one file are told of. Who has more has no env file.
const MOST: usize = 1000;

/// Adds what the readers of env files disagree on.
pub(super) fn add(setup: &Setup, assembled: &mut Judged) {
    let mut found = Vec::new();
    let discretion = Discretion::new(&setup.schema, &assembled.resolution);
    for file in &setup.env_files {
        // A file that could not be read has its own finding already.
        let Ok(read) = file.read(TEXT_LIMIT) else { continue };
        if Container::is_text(&read.text) {
            continue;
        }
        let host = |name: &str| env::lookup(&setup.process, name).map(|v| v.expose().to_owned());
        let written = assignments(&read.text);
        let disagreements = portability::judge(&read.text, &host);
        let untold = disagreements.len().saturating_sub(MOST);
        for disagreement in disagreements.into_iter().take(MOST) {
            let first = written.partition_point(|a| a.key_at.line < disagreement.line);
            let on_line = written.iter().skip(first).take_while(|a| a.key_at.line == disagreement.line);
            let named = |a: &&Assignment| read.text.get(a.key.clone()) == disagreement.key.as_deref();
            let assignment = on_line.into_iter().find(named);
            let own = assignment.and_then(|a| Own::of(a, &read.text));
            // What only some reader takes for a name may be a piece of a value.
            let known = |key: &Key| {
                setup.schema.var(key).is_some() || setup.schema.replacement(key).is_some() || own.is_some()
            };
            let name = disagreement.key.as_deref().and_then(|name| Key::new(name).ok());
            let key = name.filter(|key| !key.looks_like_data() && known(key));
            let var = key.as_ref().and_then(|key| setup.schema.var(key));
            if var.is_some_and(|var| var.allow.contains_key(&Code::ReadersDisagree)) {
                continue;
            }
            let winner =
                key.as_ref().and_then(|key| assembled.resolution.variables.get(key)?.winner.as_ref());
            // A name that is not declared may hold anything: it is treated as secret.
            let plain = var.is_some_and(|var| !var.secret)
                && winner.is_none_or(|entry| !discretion.hides(entry))
                && own
                    .as_ref()
                    .is_some_and(|own| !own.refers_to_secrets(setup, &assembled.resolution, &discretion));
            let shows = |value: &str| match &own {
                Some(own) if plain && !discretion.hides_text(value) => own.shown(value),
                _ => None,
            };
            found.push(disagreement_finding(&file.label, &disagreement, key, shows));
        }
        if untold > 0 {
            found.push(untold_finding(&file.label, untold));
        }
    }
    // The readers' own account is fuller than validation's remark on a `$NAME`.
    let told: BTreeSet<&Key> = found.iter().filter_map(|f| f.variable.as_ref()).collect();
    assembled.verdict.findings.retain(|finding| {
        finding.code != Code::ReadersDisagree
            || !finding.variable.as_ref().is_some_and(|key| told.contains(key))
    });
    assembled.verdict.findings.extend(found);
}

/// An assignment as its file writes it, and what follows on its line.
struct Own<'t> {
    value: &'t str,
    comment: &'t str,
}

impl<'t> Own<'t> {
    fn of(assignment: &Assignment, text: &'t str) -> Option<Self> {
        let value = text.get(assignment.value.clone())?;
        let rest = text.get(assignment.value.end..)?;
        Some(Self { value, comment: rest.lines().next().unwrap_or_default().trim() })
    }

    /// A reading, if it is made of this assignment alone. Some readers swallow
    /// the lines that follow, or the comment: there, anything may stand.
    fn shown(&self, reading: &str) -> Option<String> {
        if self.comment.len() > 1 && reading.contains(self.comment) {
            return Some("the value with the comment behind it".into());
        }
        let expands = self.value.contains(['$', '`']);
        let feeds = self.value.matches('\n').count() + self.value.matches("\\n").count();
        let swallows = reading.matches('\n').count() > feeds || self.value.ends_with('\\');
        let alone = !swallows && (expands || reading.len() <= self.value.len());
        alone.then(|| format!("{reading:?}"))
    }

    /// Whether some reader may expand a piece of it into something that must not
    /// be shown: a secret, or what is set but not declared, or what was itself
    /// made from such.
    fn refers_to_secrets(&self, setup: &Setup, resolution: &Resolution, discretion: &Discretion<'_>) -> bool {
        self.value.split('$').skip(1).any(|rest| {
            let rest = rest.strip_prefix('{').unwrap_or(rest);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let Ok(key) = Key::new(&rest[..end]) else { return false };
            let entry = resolution.variables.get(&key).and_then(|c| c.winner.as_ref());
            match setup.schema.var(&key) {
                Some(var) => var.secret || entry.is_some_and(|entry| discretion.hides(entry)),
                None => entry.is_some() || env::lookup(&setup.process, key.as_str()).is_some(),
            }
        })
    }
}

fn untold_finding(path: &str, untold: usize) -> Finding {
    Finding {
        code: Code::ReadersDisagree,
        severity: Severity::Warning,
        message: format!("readers of env files disagree on {untold} more lines of {path}"),
        variable: None,
        origin: Some(place(path, None)),
        snippet: None,
        notes: Vec::new(),
        help: Some("is this an env file? If so, begin with the lines that are told".into()),
        fix: None,
    }
}

fn place(path: &str, at: Option<Span>) -> Origin {
    let location = Location::File { path: path.into(), at };
    Origin { mark: None, source: SourceName::new("dotenv"), location, revision: None, modified: None }
}

fn disagreement_finding(
    path: &str,
    disagreement: &Disagreement,
    key: Option<Key>,
    shows: impl Fn(&str) -> Option<String>,
) -> Finding {
    let mut notes = Vec::new();
    let mut masked = 0;
    for (reading, readers) in &disagreement.readings {
        let names: Vec<&str> = readers.iter().map(|reader| reader.as_str()).collect();
        let read = match reading {
            Reading::Value(value) => shows(value.expose()).unwrap_or_else(|| {
                masked += 1;
                format!("value {masked} (masked)")
            }),
            Reading::Runtime(what) => (*what).to_owned(),
            Reading::Absent => "nothing: the name is not set".to_owned(),
            Reading::Refused(reason) => format!("an error: {reason}"),
        };
        notes.push(format!("{}: {read}", names.join(", ")));
    }
    let at = Span { line: disagreement.line, column: disagreement.column };
    let subject = key.as_ref().map_or("this line", Key::as_str);
    Finding {
        code: Code::ReadersDisagree,
        severity: Severity::Warning,
        message: format!("readers of env files disagree on {subject}"),
        variable: key,
        origin: Some(place(path, Some(at))),
        snippet: None,
        notes,
        help: Some(
            "write it so that all read the same: `dlconf render --format dotenv` shows how, or says why it cannot be"
                .into(),
        ),
        fix: None,
    }
}
