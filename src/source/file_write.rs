//! Compare-and-set over a file that a source reads.
//!
//! Owns: what a file's revision is, how long somebody else's write is waited for, and
//! what a failure means for who wanted to write.
//! Invariants: a revision stands for a file and its content, and tells nobody anything
//! of either: it is made with numbers that are drawn anew at every start.
//! Must not know: what is in the file.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::path::Path;
use std::time::Duration;

use super::dotenv::rewrite::Misfit;
use super::file::FileFault;
use super::writable::{WriteError, WriteErrorKind};
use super::{Fault, FaultKind};
use crate::disk::hold::{Hold, hold, may_replace};
use crate::disk::stamp::Stamp;
use crate::disk::write_error::{Meaning, WriteError as DiskError};
use crate::model::origin::Revision;

/// How long somebody else of us may have the file. A write takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes revisions.
#[derive(Debug, Clone, Default)]
pub(super) struct Revisions([RandomState; 2]);

impl Revisions {
    /// That of a file with this content.
    pub(super) fn of(&self, stamp: &Stamp, content: &[u8]) -> Revision {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            stamp.hash(&mut hasher);
            content.hash(&mut hasher);
            hasher.finish()
        };
        let [one, other] = self.0.each_ref().map(half);
        Revision(format!("{one:016x}{other:016x}").into())
    }
}

/// An error about the file of this name.
pub(super) fn error(kind: WriteErrorKind, message: String, help: &str) -> WriteError {
    WriteError { kind, message, help: help.to_owned() }
}

/// Somebody wrote it since it was read.
pub(super) fn conflict(label: &str) -> WriteError {
    error(
        WriteErrorKind::Conflict,
        format!("{label} changed meanwhile: it is left as it is now"),
        "read it again",
    )
}

/// There is nothing to write to.
pub(super) fn not_set(label: &str, owner: &str) -> WriteError {
    error(
        WriteErrorKind::Unusable,
        format!("{label} does not set {owner}"),
        "set it there first; a rotation changes what is there",
    )
}

/// A text that cannot be changed.
pub(super) fn misfit(label: &str, misfit: &Misfit) -> WriteError {
    let kind = match misfit {
        Misfit::State(_) => WriteErrorKind::Unusable,
        Misfit::NotSet(_) => WriteErrorKind::Conflict,
        Misfit::Template(_) | Misfit::SharedLine(_) | Misfit::NotPortable(_) | Misfit::Misread => {
            WriteErrorKind::Refused
        }
    };
    error(kind, format!("{label} is not written: {misfit}"), misfit.help())
}

/// A file that could not be read.
pub(super) fn unread(fault: Fault) -> WriteError {
    let kind = match fault.kind {
        FaultKind::Unreachable => WriteErrorKind::Unavailable,
        FaultKind::NotPermitted => WriteErrorKind::Refused,
        FaultKind::Malformed => WriteErrorKind::Unusable,
    };
    let message = match fault.location.span() {
        Some(_) => format!("{}: {}", fault.location, fault.message),
        None => fault.message,
    };
    error(kind, message, &fault.help)
}

/// A file that could not be read, of this name.
pub(super) fn unread_file(fault: FileFault, label: &std::sync::Arc<str>) -> WriteError {
    let gone = matches!(fault, FileFault::NotFound).then_some(WriteErrorKind::Unusable);
    let unread = unread(fault.at_source(label));
    WriteError { kind: gone.unwrap_or(unread.kind), ..unread }
}

/// Refuses what cannot be replaced, before anything is made for it.
pub(super) fn look(path: &Path, label: &str) -> Result<(), WriteError> {
    may_replace(path).map_err(|reason| unwritten(label, &reason))
}

/// Holds the file until it is written.
pub(super) fn held(path: &Path, label: &str) -> Result<Hold, WriteError> {
    hold(path, PATIENCE).map_err(|reason| unwritten(label, &reason))
}

/// A file that could not be written. The settings' own name for it is told, since it is
/// what people know.
pub(super) fn unwritten(label: &str, reason: &DiskError) -> WriteError {
    let kind = match reason.meaning() {
        Meaning::Changed => return conflict(label),
        Meaning::Later => WriteErrorKind::Unavailable,
        Meaning::Refused => WriteErrorKind::Refused,
    };
    let help = match reason {
        DiskError::NotAFile { what: "a symbolic link", .. } => {
            "what is mounted is changed where it comes from; else name the file that the link leads to"
                .to_owned()
        }
        DiskError::Step { .. } if kind == WriteErrorKind::Refused => {
            "let dlconf's user write the file and its folder, or change it where it comes from".to_owned()
        }
        reason => reason.help(),
    };
    error(kind, format!("{label} cannot be written: {reason}"), &help)
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn what_a_failure_means() {
        let step = |reason| DiskError::Step { path: "x".into(), step: "renaming the new file", reason };
        for (reason, kind) in [
            (step(Errno::EACCES), WriteErrorKind::Refused),
            (step(Errno::EROFS), WriteErrorKind::Refused),
            (step(Errno::ENOENT), WriteErrorKind::Conflict),
            (step(Errno::ENOSPC), WriteErrorKind::Unavailable),
            (DiskError::Changed { path: "x".into() }, WriteErrorKind::Conflict),
            (DiskError::Busy { path: "x".into() }, WriteErrorKind::Unavailable),
            (DiskError::Unsettled { path: "x".into(), reason: Errno::EIO }, WriteErrorKind::Unavailable),
            (DiskError::NotAFile { path: "x".into(), what: "a symbolic link" }, WriteErrorKind::Refused),
        ] {
            let error = unwritten("app.env", &reason);
            assert_eq!(error.kind, kind, "{reason:?}");
            assert!(error.message.starts_with("app.env ") && !error.help.is_empty(), "{error:?}");
        }
    }

    #[test]
    fn a_revision_is_of_a_file_and_its_content() {
        let revisions = Revisions::default();
        let stamp = Stamp { file: (1, 2), size: 3, written: (4, 5) };
        let revision = revisions.of(&stamp, b"abc");
        assert_eq!(revision, revisions.clone().of(&stamp, b"abc"));
        let touched = Stamp { written: (4, 6), ..stamp };
        for other in [
            revisions.of(&stamp, b"abd"),
            revisions.of(&touched, b"abc"),
            Revisions::default().of(&stamp, b"abc"),
        ] {
            assert_ne!(revision, other);
        }
    }
}
