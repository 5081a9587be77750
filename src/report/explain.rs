//! What each code means: `dlconf explain DLC013`, the help of SARIF's rules,
//! and docs/findings.md, all of one text.
//!
//! Invariant: every code has an explanation; the compiler sees to it.

mod places;
mod values;

use std::fmt::Write as _;

use annotate_snippets::renderer::{DEFAULT_ERROR_STYLE, DEFAULT_WARNING_STYLE, Effects, Style as Paint};

use super::{Style, hang};
use crate::model::finding::{Code, Severity};

/// Lines of prose are not made longer than this, however wide the terminal.
const WIDEST: usize = 88;
/// Nor shorter, however narrow.
const NARROWEST: usize = 30;

/// What a code means. The texts are prose with code in backticks; the example
/// is preformatted.
#[derive(Debug)]
pub struct Explanation {
    /// The finding as a clause: `the secret is too weak`.
    pub title: &'static str,
    /// How severe it is, and where.
    pub weight: Weight,
    /// What was found.
    pub what: &'static str,
    /// What that does to the program that is configured.
    pub why: &'static str,
    /// What it looks like.
    pub example: &'static str,
    /// How to mend it.
    pub fix: &'static str,
    /// How to silence it, or why not.
    pub silence: &'static str,
}

/// How severe a code's findings are, which may depend on the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// An error everywhere.
    Error,
    /// A warning in `development`, else an error.
    ErrorOutsideDevelopment,
    /// A warning everywhere.
    Warning,
    /// A warning in `development` where a replaced name holds the value, else an
    /// error.
    ErrorUnlessReplaced,
    /// As the rule says; an error if it does not.
    Rule,
    /// A warning if the new name is set too, or in `development`; else an error.
    Replaced,
}

impl Weight {
    /// The severity outside development, at its worst.
    pub fn outside_development(self) -> Severity {
        match self {
            Self::Warning => Severity::Warning,
            Self::Error
            | Self::ErrorOutsideDevelopment
            | Self::ErrorUnlessReplaced
            | Self::Rule
            | Self::Replaced => Severity::Error,
        }
    }

    /// The severity as a clause.
    pub fn note(self) -> &'static str {
        match self {
            Self::Error => "an error in every environment",
            Self::ErrorOutsideDevelopment => "an error, but in development a warning",
            Self::Warning => "always a warning",
            Self::ErrorUnlessReplaced => "an error, but under a replaced name in development a warning",
            Self::Rule => "an error, unless the rule says `severity = \"warning\"`",
            Self::Replaced => "a warning if the new name is set too, or in development; else an error",
        }
    }
}

/// The explanation of a code.
pub fn explanation(code: Code) -> &'static Explanation {
    match code {
        Code::Missing => &values::MISSING,
        Code::Empty => &values::EMPTY,
        Code::WrongType => &values::WRONG_TYPE,
        Code::OutOfRange => &values::OUT_OF_RANGE,
        Code::Pattern => &values::PATTERN,
        Code::SilentlyDefaulted => &values::SILENTLY_DEFAULTED,
        Code::Placeholder => &values::PLACEHOLDER,
        Code::WeakSecret => &values::WEAK_SECRET,
        Code::SharedSecret => &values::SHARED_SECRET,
        Code::PublishedFallback => &values::PUBLISHED_FALLBACK,
        Code::MisplacedSecret => &values::MISPLACED_SECRET,
        Code::UnknownName => &places::UNKNOWN_NAME,
        Code::ReplacedName => &places::REPLACED_NAME,
        Code::RetiredName => &places::RETIRED_NAME,
        Code::Rule => &places::RULE,
        Code::IncompleteGroup => &places::INCOMPLETE_GROUP,
        Code::EnvironmentDiffers => &places::ENVIRONMENT_DIFFERS,
        Code::SourceUnreachable => &places::SOURCE_UNREACHABLE,
        Code::NotPermitted => &places::NOT_PERMITTED,
        Code::Stale => &places::STALE,
        Code::NotVerified => &places::NOT_VERIFIED,
        Code::ReadersDisagree => &places::READERS_DISAGREE,
        Code::NotRepresentable => &places::NOT_REPRESENTABLE,
        Code::UndeclaredUse => &places::UNDECLARED_USE,
        Code::UnusedDeclaration => &places::UNUSED_DECLARATION,
        Code::UnreadName => &places::UNREAD_NAME,
        Code::WidePermissions => &places::WIDE_PERMISSIONS,
    }
}

/// The sections of an explanation, in the order in which one reads them.
fn sections(explained: &Explanation) -> [(&'static str, &'static str); 3] {
    [
        ("Why it matters", explained.why),
        ("How to mend it", explained.fix),
        ("How to silence it", explained.silence),
    ]
}

/// An explanation for a terminal, ending with a newline.
pub fn render_explanation(code: Code, style: Style) -> String {
    let explained = explanation(code);
    let width = style.width.clamp(NARROWEST, WIDEST);
    let paint = |paint: Paint, text: &str| {
        if style.color { format!("{paint}{text}{paint:#}") } else { text.to_owned() }
    };
    let title = match explained.weight.outside_development() {
        Severity::Error => DEFAULT_ERROR_STYLE,
        Severity::Warning => DEFAULT_WARNING_STYLE,
    };
    let strong = Paint::new().effects(Effects::BOLD);
    let prose = |out: &mut String, text: &str| hang(out, ("  ", 2), text, width, str::to_owned);
    let mut out = String::new();
    let (head, columns) = (format!("{}: ", paint(title, code.as_str())), code.as_str().len() + 2);
    hang(&mut out, (&head, columns), explained.title, width, |line| paint(strong, line));
    let weight = format!("{}, {}", code.slug(), explained.weight.note());
    hang(&mut out, ("", 0), &weight, width, str::to_owned);
    out.push('\n');
    prose(&mut out, explained.what);
    let _ = writeln!(out, "\n{}", paint(strong, "For example"));
    for line in explained.example.lines() {
        let _ = writeln!(out, "    {line}");
    }
    for (heading, text) in sections(explained) {
        let _ = writeln!(out, "\n{}", paint(strong, heading));
        prose(&mut out, text);
    }
    out
}

/// An explanation in plain text, for machines that show it.
pub(super) fn plain(code: Code) -> String {
    render_explanation(code, Style { color: false, width: WIDEST, unicode: true })
}

/// An explanation in Markdown, without its heading.
pub(super) fn markdown(code: Code) -> String {
    let explained = explanation(code);
    let mut out = format!("`{}`, {}.\n\n{}\n", code.slug(), explained.weight.note(), explained.what);
    let _ = writeln!(out, "\n```text\n{}\n```", explained.example);
    for (heading, text) in sections(explained) {
        let _ = writeln!(out, "\n**{heading}.** {text}");
    }
    out
}

/// docs/findings.md: every explanation.
pub fn document() -> String {
    let mut out = String::from(
        "# Findings\n\n\
         What `dlconf check` and `dlconf drift` can find. `dlconf explain DLC013` prints the same text.\n\
         This page is written by a test from `src/report/explain`; do not edit it.\n\n\
         | Code | Finding | Severity |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let explained = explanation(*code);
        let anchor = code.as_str().to_ascii_lowercase();
        let _ = writeln!(out, "| [{code}](#{anchor}) | {} | {} |", explained.title, explained.weight.note());
    }
    for code in Code::ALL {
        // The code alone is the heading, so that its anchor never changes.
        let _ = write!(
            out,
            "\n## {code}\n\n**{}**: {}",
            sentence_case(explanation(*code).title),
            markdown(*code)
        );
    }
    out
}

fn sentence_case(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
