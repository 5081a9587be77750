//! The audit log: every record is in it, in one chain, whatever happens to the disk,
//! the process and the file; and what somebody does to it is found out.

#![allow(clippy::disallowed_methods, reason = "a test's own files")]

mod command;
mod disk;
mod library;
mod log;

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dlconf::access::Audit;
use dlconf::access::audit::verify::{Expected, Verdict, order, part, parts, verify};
use dlconf::access::audit::{AuditConfig, AuditError, Closing, Outcome, Record, Who};
use dlconf::access::policy::{Action, RuleId};
use dlconf::model::key::Key;
use dlconf::source::file::ShownPath;
use dlconf::telemetry::{Event, Listener};
use serde_json::Value;

use crate::program::Folder;

/// Longer than anything takes that works, on a machine with other work.
const PATIENCE: Duration = Duration::from_secs(15);

const KEY: &str = "0123456789abcdef0123456789abcdef\n";

/// Remembers events.
#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Listener for Told {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Told {
    /// In a word each.
    fn words(&self) -> Vec<String> {
        let events = self.0.lock().unwrap();
        events.iter().map(|event| format!("{event:?}").split([' ', '{']).next().unwrap().to_owned()).collect()
    }
}

/// A log in a folder of its own.
struct Log {
    folder: Folder,
    config: AuditConfig,
    told: Arc<Told>,
}

impl Log {
    fn new() -> Self {
        let folder = Folder::new();
        // Under a temporary folder that may be a link.
        let path = folder.path().canonicalize().unwrap().join("audit.jsonl");
        folder.file("key", KEY);
        let key_file = ShownPath::named(&folder.join("key"));
        let label = "audit.jsonl".to_owned();
        let config = AuditConfig { path, label, key_file, required: true, max_bytes: 1 << 30, keep: 10 };
        Self { folder, config, told: Arc::default() }
    }

    fn open(&self) -> Result<Audit, AuditError> {
        Audit::open(&self.config, Arc::clone(&self.told) as _)
    }

    fn verdict(&self) -> Verdict {
        self.verdict_of(&Expected::default())
    }

    fn verdict_of(&self, expected: &Expected) -> Verdict {
        let parts = parts(&self.config.path, &self.config.label).unwrap();
        verify(parts, &self.config.key_file, expected).unwrap()
    }

    /// Asserts that nothing is broken.
    #[track_caller]
    fn whole(&self) -> Verdict {
        let verdict = self.verdict();
        assert!(verdict.is_whole(), "{:?}", verdict.breaks);
        assert_eq!(verdict.last.as_ref().unwrap().seq, verdict.records);
        verdict
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.config.path).unwrap()
    }

    /// The lines of the log's own file.
    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events of the lines.
    fn events(&self) -> Vec<String> {
        self.lines().iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }

    /// The full files.
    fn fulls(&self) -> Vec<PathBuf> {
        let mut fulls: Vec<PathBuf> = fs::read_dir(self.config.path.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        fulls.retain(|path| path.extension().is_some_and(|end| end.len() == 12));
        fulls.sort();
        fulls
    }
}

fn record(number: u32) -> Record {
    Record {
        who: Who::Peer { uid: number, gid: 1000, pid: Some(4711), exe: None, unit: None },
        action: Action::Read,
        keys: ["JWT_SECRET", "DB_PASSWORD"].map(|name| Key::new(name).unwrap()).to_vec(),
        version: None,
        outcome: Outcome::Permitted(vec![RuleId(2)]),
    }
}

fn refusal(uid: u32) -> Record {
    Record { outcome: Outcome::Refused, ..record(uid) }
}

/// Lines, each with its end.
fn joined(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| [*line, "\n"]).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
