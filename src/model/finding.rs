//! Findings: what is wrong (or doubtful) with a configuration. Value-free but
//! for plain values, which the excerpt may show.
//!
//! Must not know: how a finding is printed (`report`).

use std::fmt;
use std::sync::Arc;

use super::key::Key;
use super::origin::Origin;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration may be used, but look at it.
    Warning,
    /// The configuration must not be used.
    Error,
}

impl Severity {
    /// `warning` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $slug:literal;)*) => {
        /// The stable code of a finding.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// `DLC013`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => concat!("DLC", $number)),* }
            }

            /// A short name for machines: `silently-defaulted`.
            pub fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug),* }
            }
        }
    };
}

codes! {
    /// A required variable is not set.
    Missing = "001", "missing";
    /// A required variable is set to nothing.
    Empty = "002", "empty";
    /// The value is not of the variable's type.
    WrongType = "010", "wrong-type";
    /// The value is of the type but out of its range.
    OutOfRange = "011", "out-of-range";
    /// The value does not match the variable's pattern.
    Pattern = "012", "pattern";
    /// The program would silently use its default.
    SilentlyDefaulted = "013", "silently-defaulted";
    /// The value is a placeholder.
    Placeholder = "020", "placeholder";
    /// The secret is too weak.
    WeakSecret = "021", "weak-secret";
    /// Two variables hold the same secret.
    SharedSecret = "022", "shared-secret";
    /// The value is the fallback that the program publishes.
    PublishedFallback = "023", "published-fallback";
    /// A secret stands in a place for plain values.
    MisplacedSecret = "024", "misplaced-secret";
    /// The schema does not know the name.
    UnknownName = "030", "unknown-name";
    /// The name was replaced by another.
    ReplacedName = "031", "replaced-name";
    /// Nothing reads the name any more.
    RetiredName = "032", "retired-name";
    /// A rule does not hold.
    Rule = "040", "rule";
    /// A group is incomplete.
    IncompleteGroup = "041", "incomplete-group";
    /// The environment variable differs from the chosen environment.
    EnvironmentDiffers = "042", "environment-differs";
    /// A source could not be reached or read.
    SourceUnreachable = "050", "source-unreachable";
    /// A source did not permit the read.
    NotPermitted = "051", "not-permitted";
    /// A value is older than it may be.
    Stale = "052", "stale";
    /// The server that gives values is not verified.
    NotVerified = "053", "not-verified";
    /// Readers of env files disagree on a line.
    ReadersDisagree = "060", "readers-disagree";
    /// The format cannot represent the value.
    NotRepresentable = "061", "not-representable";
    /// A name is used in code but not declared.
    UndeclaredUse = "070", "undeclared-use";
    /// A name is declared but used nowhere.
    UnusedDeclaration = "071", "unused-declaration";
    /// A documented name that nothing reads.
    UnreadName = "072", "unread-name";
    /// A file with secrets may be read by others.
    WidePermissions = "080", "wide-permissions";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// The line under a finding, ready to be shown: if the variable is secret, the
/// value is already replaced by a mark of fixed width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The file, as the user wrote it.
    pub path: Arc<str>,
    /// The line's number, from 1.
    pub line: u32,
    /// The column of the text's first character in the file, from 1.
    pub column: u32,
    /// The text to show, one line.
    pub text: String,
    /// The marked stretch, in characters of `text`; may be empty at its end.
    pub mark: std::ops::Range<usize>,
    /// What is written beside the mark.
    pub label: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its code.
    pub code: Code,
    /// Its weight in the chosen environment.
    pub severity: Severity,
    /// The variable, where it is about one.
    pub variable: Option<Key>,
    /// One sentence: what is wrong, and what that does.
    pub message: String,
    /// Where the value came from (or, for a missing one, its schema line).
    pub origin: Option<Origin>,
    /// The source line.
    pub snippet: Option<Snippet>,
    /// More that helps to understand: 'looked in: …', 'the portal would …'.
    pub notes: Vec<String>,
    /// The exact fix: 'write 168h'.
    pub help: Option<String>,
    /// Whether `check --fix` can mend it.
    pub fix: Option<Fix>,
}

/// What `check --fix` does about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Write the variable under this name instead.
    Rename(Key),
    /// Write this (plain) value instead.
    Value(String),
    /// Give the file this mode.
    Mode(u32),
}
