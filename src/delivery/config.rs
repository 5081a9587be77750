//! What the settings say of one delivery, checked.

use std::path::PathBuf;
use std::time::Duration;

use super::encode::Format;
use crate::access::Selection;
use crate::disk::rights::FileAccess;
use crate::process::Signal;

/// `[delivery.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// Its name.
    pub name: String,
    /// What it makes.
    pub kind: DeliveryKind,
    /// The file or directory, absolute.
    pub path: PathBuf,
    /// The path as the user wrote it, to print.
    pub label: String,
    /// Who may read what it makes.
    pub access: FileAccess,
    /// Whether folders that are missing above it are made (0750).
    pub create_dirs: bool,
    /// What it may have; by default everything of the service.
    pub vars: Selection,
    /// What is done when its bytes have changed.
    pub on_change: Option<OnChange>,
}

/// What a delivery makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryKind {
    /// One file in a reader's dialect.
    EnvFile {
        /// The dialect.
        format: Format,
    },
    /// One file a variable, exchanged together through `..data`.
    Directory,
}

/// `on_change`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnChange {
    /// What is done.
    pub action: Action,
    /// The least time from one to the next: changes meanwhile are told together,
    /// when it is over.
    pub min_interval: Duration,
}

/// What is done when a delivery's bytes have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A program is run.
    Exec {
        /// The program (an absolute path) and its arguments; no shell.
        argv: Vec<String>,
        /// After which it is ended.
        timeout: Duration,
    },
    /// A process gets a signal.
    Signal {
        /// Which.
        signal: Signal,
        /// The file that holds the process's number, absolute.
        pid_file: PathBuf,
        /// The path as the user wrote it.
        label: String,
    },
}
