//! Why a file was not written, and what to do about it. Value-free.

use std::path::PathBuf;

use nix::errno::Errno;

/// Why a file was not replaced. The old one is untouched, but for
/// [`Self::Unsettled`].
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Something is in the target's place that must not be replaced.
    #[error("{path} is {what}, so it is not replaced")]
    NotAFile {
        /// The target.
        path: PathBuf,
        /// What it is: `a symbolic link`.
        what: &'static str,
    },
    /// The path names no file.
    #[error("{path} names no file")]
    NoName {
        /// The target.
        path: PathBuf,
    },
    /// The target's folder is not there.
    #[error("the folder {path} does not exist")]
    NoFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A link stands where a folder must.
    #[error("the folder {path} cannot be trusted: {link} is a symbolic link")]
    Link {
        /// The folder.
        path: PathBuf,
        /// The part of it that is a link.
        link: PathBuf,
        /// The folder that it leads to, where it leads to one.
        real: Option<PathBuf>,
    },
    /// Who owns the folder could exchange the file in it.
    #[error("the folder {path} belongs to user {owner}, who could exchange what is written there")]
    ForeignFolder {
        /// The folder.
        path: PathBuf,
        /// The owner's number.
        owner: u32,
    },
    /// There is no such user or group.
    #[error("there is no {what} `{name}` on this system")]
    NoAccount {
        /// `user` or `group`.
        what: &'static str,
        /// As the settings have it.
        name: String,
    },
    /// The file could not be given to its owner and group.
    #[error("{path} cannot be given to user {owner} and group {group}: {}", reason.desc())]
    NotGiven {
        /// The target, or its folder.
        path: PathBuf,
        /// The owner's number.
        owner: u32,
        /// The group's number.
        group: u32,
        /// The kernel's answer.
        reason: Errno,
    },
    /// Somebody else wrote it since it was read.
    #[error("{path} changed meanwhile: it is left as it is now")]
    Changed {
        /// The target.
        path: PathBuf,
    },
    /// Somebody else of us is writing it, and did not end.
    #[error("{path} is being written by somebody else, who does not end")]
    Busy {
        /// The target.
        path: PathBuf,
    },
    /// It is replaced, but the disk has perhaps not kept that yet.
    #[error("{path} is replaced, but syncing its folder failed: {}", reason.desc())]
    Unsettled {
        /// The target.
        path: PathBuf,
        /// The kernel's answer.
        reason: Errno,
    },
    /// A step failed.
    #[error("{path}: {step} failed: {}", reason.desc())]
    Step {
        /// The target, or its folder.
        path: PathBuf,
        /// What was being done: `opening the folder`.
        step: &'static str,
        /// The kernel's answer.
        reason: Errno,
    },
}

/// What a failure means for whoever wanted to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// Somebody else was there: look again.
    Changed,
    /// It may do later; where it is [`WriteError::Unsettled`], it was done.
    Later,
    /// Somebody has to do something first.
    Refused,
}

impl WriteError {
    /// What it means.
    pub fn meaning(&self) -> Meaning {
        match self {
            Self::Changed { .. } | Self::Step { reason: Errno::ENOENT, .. } => Meaning::Changed,
            Self::Step { reason: Errno::EACCES | Errno::EPERM | Errno::EROFS, .. }
            | Self::NotAFile { .. }
            | Self::NoName { .. }
            | Self::NoFolder { .. }
            | Self::Link { .. }
            | Self::ForeignFolder { .. }
            | Self::NoAccount { .. }
            | Self::NotGiven { .. } => Meaning::Refused,
            Self::Busy { .. } | Self::Unsettled { .. } | Self::Step { .. } => Meaning::Later,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::NotAFile { what: "a symbolic link", .. } => {
                "name the file that the link points to, or remove the link".into()
            }
            Self::NotAFile { .. } | Self::NoName { .. } => "name a file".into(),
            Self::Link { path, real: Some(real), .. } => {
                format!("write {}, which {} leads to", real.display(), path.display())
            }
            Self::Link { .. } => "write the folder's own path".into(),
            Self::ForeignFolder { .. } => {
                "give the folder to root or to the user that dlconf runs as, or name another".into()
            }
            Self::NoAccount { what, .. } => format!("make it, or write the {what}'s number"),
            Self::NotGiven { reason: Errno::EPERM, .. } => {
                "run dlconf as root, or as that user and a member of that group".into()
            }
            Self::Changed { .. } => "run it again".into(),
            Self::Busy { .. } => "run it again; `lslocks` shows who holds it".into(),
            Self::NoFolder { .. } => "make it first, or correct the path".into(),
            Self::Step { reason: Errno::EACCES | Errno::EPERM | Errno::EROFS, .. } => {
                "see who may write into that folder".into()
            }
            Self::NotGiven { reason, .. } | Self::Unsettled { reason, .. } | Self::Step { reason, .. } => {
                match reason {
                    Errno::ENOSPC | Errno::EDQUOT => "make room on that disk",
                    Errno::ENOTDIR => {
                        "a file stands where a folder is needed: remove it, or choose another path"
                    }
                    _ => "see whether that disk is in order",
                }
                .into()
            }
        }
    }
}
