//! How the writing goes, for those who show it; each trouble is told once, until
//! it is over.
//!
//! Must not know: who shows it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Head;
use super::chain::{End, hex};
use crate::telemetry::{Event, Listener};

/// How the writing goes.
pub(super) struct Shown {
    log: String,
    listener: Arc<dyn Listener>,
    required: AtomicBool,
    state: Mutex<State>,
}

struct State {
    end: End,
    failure: Option<String>,
    /// Why a full file cannot be exchanged.
    not_rotated: Option<String>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Shown {
    pub(super) fn new(log: String, listener: Arc<dyn Listener>, required: bool, end: End) -> Self {
        let state = State { end, failure: None, not_rotated: None };
        Self { log, listener, required: AtomicBool::new(required), state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log, as the user wrote it.
    pub(super) fn log(&self) -> &str {
        &self.log
    }

    pub(super) fn require(&self, required: bool) {
        self.required.store(required, Ordering::Relaxed);
    }

    pub(super) fn head(&self) -> Head {
        let state = self.lock();
        Head { count: state.end.seq, code: hex(&state.end.code), failure: state.failure.clone() }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.lock().failure.is_some()
    }

    /// Lines were written; `lost` were not, before them. `works`: nothing else is
    /// wrong.
    pub(super) fn advanced(&self, end: End, lost: u64, works: bool) {
        let mut state = self.lock();
        state.end = end;
        let failed = if works { state.failure.take() } else { None };
        drop(state);
        if failed.is_some() {
            self.listener.tell(Event::AuditWorks { log: self.log.clone(), unrecorded: lost });
        }
    }

    /// Lines cannot be written.
    pub(super) fn failed(&self, reason: &str) {
        let before = self.lock().failure.replace(reason.to_owned());
        if before.is_none() {
            let required = self.required.load(Ordering::Relaxed);
            let (log, reason) = (self.log.clone(), reason.to_owned());
            self.listener.tell(Event::AuditFailed { log, reason, required });
        }
    }

    /// Somebody else did this to the file.
    pub(super) fn meddled(&self, what: String) {
        self.listener.tell(Event::AuditMeddled { log: self.log.clone(), what });
    }

    /// The full file was exchanged, if it was one.
    pub(super) fn rotates(&self, is_rotated: bool) {
        if is_rotated {
            self.lock().not_rotated = None;
        }
    }

    /// The full file cannot be exchanged.
    pub(super) fn not_rotated(&self, reason: String) {
        let before = self.lock().not_rotated.replace(reason.clone());
        if before.is_none() {
            self.listener.tell(Event::AuditNotRotated { log: self.log.clone(), reason });
        }
    }

    /// The file was moved, and no other can be begun.
    pub(super) fn not_reopened(&self, reason: String) {
        self.listener.tell(Event::AuditNotRotated { log: self.log.clone(), reason });
    }
}
