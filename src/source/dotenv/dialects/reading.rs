//! The readers' names, and what a reading is.

use std::fmt;

use crate::model::secret::SecretValue;

/// A program or library that reads env files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// `docker run --env-file`.
    Docker,
    /// Docker compose, and dlconf.
    Compose,
    /// `joho/godotenv`, for Go.
    Godotenv,
    /// dotenv, for Node.
    Node,
    /// dotenv-expand on top of dotenv.
    Expand,
    /// python-dotenv.
    Python,
    /// `set -a; . file`.
    Bash,
    /// `EnvironmentFile=`.
    Systemd,
}

impl Reader {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 8] = [
        Self::Docker,
        Self::Compose,
        Self::Godotenv,
        Self::Node,
        Self::Expand,
        Self::Python,
        Self::Bash,
        Self::Systemd,
    ];

    /// Its short name: `compose`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Compose => "compose",
            Self::Godotenv => "godotenv",
            Self::Node => "node",
            Self::Expand => "expand",
            Self::Python => "python",
            Self::Bash => "bash",
            Self::Systemd => "systemd",
        }
    }

    /// Whether what stands before the line at which it gives up counts.
    pub(in crate::source::dotenv) fn keeps_what_it_read(self) -> bool {
        self == Self::Bash
    }
}

impl fmt::Display for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a reader makes of one assignment.
#[derive(Debug)]
pub enum Reading {
    /// This value.
    Value(SecretValue),
    /// Nothing: it does not see the assignment, and does not complain.
    Absent,
    /// It does not take the line, or the whole file because of it; why, without
    /// a word of the text.
    Refused(&'static str),
    /// Something that is known only when the reader runs: 'the output of a
    /// command, which it runs'. Never found out here.
    Runtime(&'static str),
}

impl Reading {
    /// Whether it is worth telling the two apart.
    pub(in crate::source::dotenv) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(a), Self::Value(b)) => a.same_as(b),
            (Self::Refused(a), Self::Refused(b)) | (Self::Runtime(a), Self::Runtime(b)) => a == b,
            (Self::Absent, Self::Absent) => true,
            _ => false,
        }
    }

    pub(in crate::source::dotenv) fn copy(&self) -> Self {
        match self {
            Self::Value(value) => Self::Value(value.expose().into()),
            Self::Absent => Self::Absent,
            Self::Refused(why) => Self::Refused(why),
            Self::Runtime(what) => Self::Runtime(what),
        }
    }
}
