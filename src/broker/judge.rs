//! From what the sources gave to a verdict: layering and validation, with what
//! could not be read said as findings.
//!
//! Pure. Must not know: where a layer is kept, or what becomes of the verdict.

use crate::model::finding::{Code, Finding, Severity};
use crate::model::key::{Key, SourceName};
use crate::model::layer::Layer;
use crate::model::origin::Origin;
use crate::model::resolve::{Resolution, resolve};
use crate::model::schema::Schema;
use crate::model::validate::{Question, Unread, Verdict, validate};
use crate::source::env::{self, Environment};
use crate::source::{Fault, FaultKind};

/// By what is judged.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// The schema.
    pub schema: &'a Schema,
    /// The environment: one of the schema's.
    pub environment: &'a str,
    /// The service, where one was chosen.
    pub service: Option<&'a str>,
    /// The process's environment, which references may look at.
    pub process: &'a Environment,
    /// Names alone are judged.
    pub names_only: bool,
    /// Findings quote no values, not even plain ones.
    pub value_free: bool,
    /// Variables that somebody gave up by name: their being missing is accepted.
    pub forgotten: &'a [Key],
}

/// What one source gave.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Its name.
    pub source: &'a SourceName,
    /// What it offers, or offered when it could last be read.
    pub layer: Option<&'a Layer>,
    /// Why it could not be read, or not whole.
    pub faults: &'a [Fault],
    /// Whether it lacks something that nobody has ever read.
    pub is_unread: bool,
}

/// What the sources said, and what validation made of it.
#[derive(Debug)]
pub struct Judged {
    /// All that was offered.
    pub resolution: Resolution,
    /// What is to be said of it.
    pub verdict: Verdict,
    /// Whether a source could not be read: exit 3.
    pub unread: bool,
}

/// Judges what the sources gave, lowest first; `passed_over` were not asked.
pub fn judge(terms: Terms<'_>, given: &[Given<'_>], passed_over: &[SourceName]) -> Judged {
    let mut findings = Vec::new();
    let mut unread = Vec::new();
    let mut failed = false;
    for source in given {
        findings.extend(source.faults.iter().map(|fault| unreadable(source.source, fault)));
        failed |= !source.faults.is_empty();
        if source.is_unread {
            unread.push(Unread { source: source.source.clone(), why: "could not be read" });
        }
    }
    let layers = given.iter().filter_map(|source| source.layer);
    let resolution = resolve(layers, &|name| env::lookup(terms.process, name));
    for broken in &resolution.broken {
        let (key, origin) = (Some(broken.key.clone()), broken.origin.clone());
        let (message, help) = (broken.message.clone(), broken.help.clone());
        findings.push(finding(Code::SourceUnreachable, key, message, origin, help));
    }
    failed |= !resolution.broken.is_empty();
    let not_asked = |source: &SourceName| Unread { source: source.clone(), why: "was not asked: --offline" };
    unread.extend(passed_over.iter().map(not_asked));
    let question = Question {
        environment: terms.environment,
        service: terms.service,
        names_only: terms.names_only,
        value_free: terms.value_free,
        unread: &unread,
        forgotten: terms.forgotten,
    };
    let mut verdict = validate(terms.schema, &resolution, question);
    verdict.findings.splice(0..0, findings);
    verdict.findings.extend(resolution.remarks.iter().map(|remark| Finding {
        severity: Severity::Warning,
        ..finding(remark.code, None, remark.message.clone(), remark.origin.clone(), remark.help.clone())
    }));
    Judged { resolution, verdict, unread: failed }
}

/// A source's fault, as the finding that it is.
fn unreadable(source: &SourceName, fault: &Fault) -> Finding {
    let code = match fault.kind {
        FaultKind::NotPermitted => Code::NotPermitted,
        FaultKind::Unreachable | FaultKind::Malformed => Code::SourceUnreachable,
    };
    let origin = Origin {
        mark: None,
        source: source.clone(),
        location: fault.location.clone(),
        revision: None,
        modified: None,
    };
    finding(code, None, fault.message.clone(), origin, fault.help.clone())
}

fn finding(code: Code, variable: Option<Key>, message: String, origin: Origin, help: String) -> Finding {
    Finding {
        code,
        severity: Severity::Error,
        variable,
        message,
        origin: Some(origin),
        snippet: None,
        notes: Vec::new(),
        help: Some(help),
        fix: None,
    }
}
