//! A disk that is full, a process that is killed. Both happen to a process of their
//! own: this test binary again, which is told by a variable what to be.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use super::*;

/// The folder that a child works in.
const CHILD: &str = "DLCONF_TEST_AUDIT_CHILD";

fn child(name: &str, log: &Log) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("audit::disk::{name}"), "--ignored", "--nocapture"]);
    command.env(CHILD, log.config.path.parent().unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// The log that a child works on; none where nobody asked for one.
fn given() -> Option<(AuditConfig, Arc<Told>)> {
    let folder = PathBuf::from(std::env::var_os(CHILD)?);
    let key_file = ShownPath::named(&folder.join("key"));
    let (path, label) = (folder.join("audit.jsonl"), "audit.jsonl".to_owned());
    let config = AuditConfig { path, label, key_file, required: true, max_bytes: 256 * 1024, keep: 1000 };
    Some((config, Arc::default()))
}

#[test]
#[ignore = "the process that is killed"]
fn writes_until_it_is_killed() {
    let Some((config, told)) = given() else { return };
    let audit = Arc::new(Audit::open(&config, told).unwrap());
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..8 {
            let audit = Arc::clone(&audit);
            tasks.spawn(async move {
                loop {
                    audit.record(record(caller)).await.unwrap();
                    // What is acknowledged now must be found later.
                    println!("acknowledged {}", audit.head().count);
                }
            });
        }
        tasks.join_all().await;
    });
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    let log = Log::new();
    for round in 1..=5_u64 {
        let mut child = child("writes_until_it_is_killed", &log);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let number = |line: &str| line.rsplit_once("acknowledged ")?.1.parse::<u64>().ok();
        let begin = lines.by_ref().find_map(|line| number(&line)).unwrap();
        let end = begin + 700 * round;
        let mut acknowledged =
            lines.by_ref().find_map(|line| number(&line).filter(|number| *number > end)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // The last one may have been cut by the kill.
        for line in lines.collect::<Vec<_>>().iter().rev().skip(1) {
            acknowledged = acknowledged.max(number(line).unwrap_or(0));
        }
        let verdict = log.verdict();
        let breaks: Vec<_> =
            verdict.breaks.iter().filter(|(_, words)| !words.contains("ends within a line")).collect();
        assert!(breaks.is_empty(), "{breaks:?}");
        assert!(verdict.last.unwrap().seq >= acknowledged);
        drop(log.open().unwrap());
        log.whole();
    }
    assert!(log.fulls().len() > 1, "files were exchanged meanwhile");
}

#[test]
#[ignore = "the process whose disk is full"]
fn meets_a_full_disk() {
    let Some((config, told)) = given() else { return };
    // The kernel would end us instead; a disk that is full does not.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    let audit = Audit::open(&config, Arc::clone(&told) as _).unwrap();
    runtime().block_on(async {
        for number in 0..3 {
            audit.record(record(number)).await.unwrap();
        }
        let (head, size) = (audit.head(), fs::metadata(&config.path).unwrap().len());
        // Room for a part of a line.
        setrlimit(Resource::RLIMIT_FSIZE, size + 100, hard).unwrap();
        for number in 0..5 {
            let error = audit.record(record(100 + number)).await.unwrap_err();
            assert!(error.reason.contains("File too large"), "{error}");
            assert_eq!(fs::metadata(&config.path).unwrap().len(), size, "nothing of it is left");
        }
        assert_eq!(told.words(), ["AuditFailed"], "once");
        assert_eq!(audit.head(), dlconf::access::audit::Head { failure: audit.head().failure, ..head });
        assert!(audit.status().failure.unwrap().contains("File too large"));
        setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
        audit.record(record(200)).await.unwrap();
    });
    assert_eq!(told.words(), ["AuditFailed", "AuditWorks"]);
    assert_eq!(audit.head().failure, None);
    // Without anybody's record, too.
    let size = fs::metadata(&config.path).unwrap().len();
    setrlimit(Resource::RLIMIT_FSIZE, size, hard).unwrap();
    runtime().block_on(audit.record(record(300))).unwrap_err();
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
    until("its recovery", || audit.head().failure.is_none());
    assert_eq!(told.words(), ["AuditFailed", "AuditWorks", "AuditFailed", "AuditWorks"]);
    drop(audit);
    println!("met it");
}

#[test]
fn a_full_disk_leaves_whole_lines_and_writing_goes_on() {
    let log = Log::new();
    let mut child = child("meets_a_full_disk", &log);
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success() && said.contains("met it"), "{said}");
    log.whole();
    let lines = log.lines();
    let lost: Vec<&Value> = lines.iter().filter(|line| line["event"] == "unrecorded").collect();
    assert_eq!(lost.len(), 2);
    assert_eq!((&lost[0]["times"], &lost[1]["times"]), (&5.into(), &1.into()));
    assert!(!log.text().contains("\"uid\":10"), "what was not recorded is not there");
}
