//! Findings and faults in words, for events and for the status. Value-free.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::model::finding::{Code, Finding, Severity};
use crate::model::validate::Verdict;
use crate::source::{Fault, FaultKind};
use crate::status::FindingStatus;
use crate::telemetry::Words;

/// A finding as an event tells it.
pub(super) fn in_words(finding: &Finding) -> Words {
    Words {
        code: Some(finding.code),
        message: finding.message.clone(),
        place: finding.origin.as_ref().map(|origin| origin.location.to_string()),
        help: finding.help.clone(),
    }
}

/// A source's fault as an event tells it.
pub(super) fn fault_in_words(fault: &Fault) -> Words {
    Words {
        code: Some(code(fault)),
        message: fault.message.clone(),
        place: Some(fault.location.to_string()),
        help: Some(fault.help.clone()),
    }
}

pub(super) fn code(fault: &Fault) -> Code {
    match fault.kind {
        FaultKind::NotPermitted => Code::NotPermitted,
        FaultKind::Unreachable | FaultKind::Malformed => Code::SourceUnreachable,
    }
}

pub(super) fn finding_status(finding: &Finding) -> FindingStatus {
    FindingStatus {
        code: Some(finding.code.as_str().to_owned()),
        severity: finding.severity.as_str().to_owned(),
        variable: finding.variable.as_ref().map(ToString::to_string),
        message: finding.message.clone(),
        place: finding.origin.as_ref().map(|origin| origin.location.to_string()),
        help: finding.help.clone(),
    }
}

/// Why a state is not published: a source's own trouble never is.
pub(super) fn reasons(verdict: &Verdict) -> Vec<FindingStatus> {
    let of_a_source =
        [Code::SourceUnreachable, Code::NotPermitted, Code::Stale].map(|code| Some(code.as_str()));
    let is_reason =
        |error: &FindingStatus| error.variable.is_some() || !of_a_source.contains(&error.code.as_deref());
    errors(verdict).into_iter().filter(is_reason).collect()
}

/// All that is wrong with a state.
pub(super) fn errors(verdict: &Verdict) -> Vec<FindingStatus> {
    let unjudged =
        verdict.unjudged.iter().filter(|unjudged| unjudged.required).map(|unjudged| FindingStatus {
            code: None,
            severity: Severity::Error.as_str().to_owned(),
            variable: Some(unjudged.variable.to_string()),
            message: format!("{} could not be judged: {}", unjudged.variable, unjudged.reason),
            place: None,
            help: None,
        });
    let findings = verdict.findings.iter().filter(|finding| finding.severity == Severity::Error);
    findings.map(finding_status).chain(unjudged).collect()
}

/// The same, for an event.
pub fn error_words(errors: &[FindingStatus]) -> Vec<Words> {
    let words = errors.iter().map(|error| Words {
        code: error.code.as_ref().and_then(|code| code.parse().ok()),
        message: error.message.clone(),
        place: error.place.clone(),
        help: error.help.clone(),
    });
    words.collect()
}

/// RFC 3339, UTC, whole seconds. A time that no calendar has is its last or first.
pub fn time(at: SystemTime) -> String {
    let seconds = match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    };
    let end = if seconds < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
    DateTime::<Utc>::from_timestamp(seconds, 0).unwrap_or(end).to_rfc3339_opts(SecondsFormat::Secs, true)
}
