//! Findings as JUnit XML: a test case for each variable.
//!
//! Invariant: no times and no random ids, so that the same report gives the
//! same file.

use std::collections::{BTreeMap, HashSet};

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::visible::visible;
use super::{Report, in_words, place_of, plural};
use crate::model::finding::{Finding, Severity};

/// One suite. Errors are failures, warnings are the output of a case that
/// passes, unjudged variables are skipped; a finding that is about no declared
/// variable gets a case of its own.
#[expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "writes UTF-8 to memory: neither I/O nor the encoding can fail"
)]
pub fn render(report: &Report<'_>) -> String {
    let mut of_subject: BTreeMap<String, Vec<&Finding>> = BTreeMap::new();
    for finding in report.findings {
        of_subject.entry(subject(finding)).or_default().push(finding);
    }
    let service = report.service.map(|service| format!(" {}", visible(service))).unwrap_or_default();
    let class = format!("{}.{}", visible(report.schema), visible(report.environment));
    let mut suite = TestSuite::new(format!("dlconf check {}{service}", visible(report.environment)));
    let mut add = |name: &str, status: TestCaseStatus, output: String| {
        let mut case = TestCase::new(name, status);
        case.set_classname(&class);
        if !output.is_empty() {
            case.set_system_out(output);
        }
        suite.add_test_case(case);
    };

    let judged = report.judged.iter().map(ToString::to_string);
    let others = report.findings.iter().map(subject);
    let mut done = HashSet::new();
    for name in judged.chain(others) {
        if done.insert(name.clone()) {
            let findings = of_subject.get(&name).map(Vec::as_slice).unwrap_or_default();
            let (errors, warnings): (Vec<&Finding>, Vec<&Finding>) =
                findings.iter().copied().partition(|finding| finding.severity == Severity::Error);
            add(&name, status(&errors), warnings.into_iter().map(paragraph).collect::<Vec<_>>().join("\n"));
        }
    }
    for unjudged in report.unjudged {
        let mut status = TestCaseStatus::skipped();
        status.set_message(visible(&unjudged.reason));
        add(unjudged.variable.as_str(), status, String::new());
    }

    let mut junit = Junit::new("dlconf");
    junit.add_test_suite(suite);
    junit.to_string().expect("XML is written to memory")
}

/// What a finding's test case is named after.
fn subject(finding: &Finding) -> String {
    match (&finding.variable, place_of(finding)) {
        (Some(variable), _) => variable.to_string(),
        (None, Some(place)) => format!("{} {}", finding.code, visible(&place)),
        (None, None) => finding.code.to_string(),
    }
}

fn status(errors: &[&Finding]) -> TestCaseStatus {
    let Some(first) = errors.first() else { return TestCaseStatus::success() };
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
    let more = match errors.len() - 1 {
        0 => String::new(),
        more => format!(" (and {})", plural(more, "other error")),
    };
    status.set_type(first.code.as_str());
    status.set_message(format!("{}{more}", visible(&first.message)));
    status.set_description(errors.iter().copied().map(paragraph).collect::<Vec<_>>().join("\n"));
    status
}

fn paragraph(finding: &Finding) -> String {
    let place = place_of(finding).map(|place| format!("\n  --> {}", visible(&place))).unwrap_or_default();
    let words = in_words(finding);
    let (message, rest) = words.split_once('\n').unwrap_or((&words, ""));
    let mut text = format!("{}[{}]: {message}{place}", finding.severity.as_str(), finding.code);
    for line in rest.lines() {
        text.push_str("\n  ");
        text.push_str(line);
    }
    text
}
