//! Where a value came from: value-free, so it may be logged and shown.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::key::SourceName;
use super::rotation::Mark;
use super::secret::SecretValue;

/// A stretch of characters in a file. Lines and columns count from 1, columns
/// in Unicode scalar values (not bytes), as editors show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The line, from 1.
    pub line: u32,
    /// The column of the first character, from 1; 0 means the whole line.
    pub column: u32,
}

/// The place of a value inside its source. Displays as findings print it:
/// `.env:12:12`, `/run/secrets/JWT_SECRET`, `env:JWT_SECRET`,
/// `vault:secret/datalens/production#JWT_SECRET@7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A file, and where in it.
    File {
        /// The path as the user wrote it.
        path: Arc<str>,
        /// Where the value begins; none where the whole file is the value.
        at: Option<Span>,
    },
    /// A place that is no file, ready to print: `env:JWT_SECRET`.
    Named(Box<str>),
    /// One field of what a server stores.
    Field {
        /// What holds it, ready to print: `vault:secret/datalens/production`.
        of: Arc<str>,
        /// The field.
        name: Box<str>,
        /// The server's revision, where it has one.
        revision: Option<Box<str>>,
    },
    /// A place that could not be asked: what was there is known from the
    /// last-known-good snapshot.
    Snapshot(Box<Location>),
}

impl Location {
    /// The file's path, where it is one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Named(_) | Self::Field { .. } | Self::Snapshot(_) => None,
        }
    }

    /// The label of the place that it belongs to ([`super::layer::Place`]), where
    /// that is smaller than the whole source.
    pub fn place(&self) -> Option<&Arc<str>> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Field { of, .. } => Some(of),
            Self::Named(_) => None,
            Self::Snapshot(of) => of.place(),
        }
    }

    /// The same place, known from the last-known-good snapshot only.
    #[must_use]
    pub fn from_snapshot(self) -> Self {
        match self {
            Self::Snapshot(_) => self,
            place => Self::Snapshot(Box::new(place)),
        }
    }

    /// The place itself, wherever it is known from.
    #[must_use]
    pub fn into_itself(self) -> Self {
        match self {
            Self::Snapshot(of) => of.into_itself(),
            place => place,
        }
    }

    /// The same, to look at.
    pub fn itself(&self) -> &Self {
        match self {
            Self::Snapshot(of) => of.itself(),
            place => place,
        }
    }

    /// Whether it is known from the last-known-good snapshot only.
    pub fn is_from_snapshot(&self) -> bool {
        matches!(self, Self::Snapshot(_))
    }

    /// The place inside the file, where there is one.
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::File { at, .. } => *at,
            Self::Named(_) | Self::Field { .. } | Self::Snapshot(_) => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, at: Some(Span { line, column: 0 }) } => write!(f, "{path}:{line}"),
            Self::File { path, at: Some(at) } => write!(f, "{path}:{}:{}", at.line, at.column),
            Self::File { path, at: None } => f.write_str(path),
            Self::Named(text) => f.write_str(text),
            Self::Field { of, name, revision: Some(revision) } => write!(f, "{of}#{name}@{revision}"),
            Self::Field { of, name, revision: None } => write!(f, "{of}#{name}"),
            Self::Snapshot(of) => write!(f, "snapshot:{of}"),
        }
    }
}

/// The source's own mark of a version: a KV version, a resourceVersion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(pub Box<str>);

/// Where one value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The source's name in the settings.
    pub source: SourceName,
    /// The place inside it.
    pub location: Location,
    /// The source's revision, where it has one.
    pub revision: Option<Revision>,
    /// When the value was last written, where the source tells.
    pub modified: Option<SystemTime>,
    /// Which key of a rotation it is, where the document that gave it says so.
    pub mark: Option<Arc<Mark>>,
}

/// The assignment that gave a value, as its file writes it, for showing under a
/// finding. It begins at the assignment's first character on the value's first
/// line and ends with the value (or the line): what else stands on the line,
/// another variable or a comment, is never shown. It holds the value, so it is
/// kept as one.
#[derive(Debug, Clone)]
pub struct Excerpt {
    /// The text, one line without its end.
    pub text: Arc<SecretValue>,
    /// The byte offset at which the value (its quotes included) begins in `text`.
    pub value_at: usize,
    /// The column (from 1) of the text's first character in the file.
    pub column: u32,
}
