//! What is in the files, and what becomes of it when somebody touches them.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use nix::sys::stat::Mode;

use super::*;

#[test]
fn what_is_acknowledged_is_in_the_file() {
    let log = Log::new();
    let audit = log.open().unwrap();
    runtime().block_on(async {
        for number in 0..3 {
            audit.record(record(number)).await.unwrap();
            let lines = log.lines();
            assert_eq!(lines.last().unwrap()["uid"], number);
            let head = audit.head();
            assert_eq!((head.count, head.failure), (u64::from(number) + 2, None));
            assert_eq!(lines.last().unwrap()["mac"], head.code);
        }
    });
    drop(audit);
    assert_eq!(log.events(), ["opened", "release", "release", "release", "closed"]);
    assert_eq!(log.whole().records, 5);
    assert_eq!(log.folder.mode("audit.jsonl"), 0o600);
    let line = &log.lines()[1];
    assert_eq!(line["vars"], serde_json::json!(["JWT_SECRET", "DB_PASSWORD"]));
    assert_eq!(line["rules"], serde_json::json!([2]));
    assert!(log.told.words().is_empty(), "{:?}", log.told.words());
}

#[test]
fn a_start_goes_on_where_the_last_one_ended() {
    let log = Log::new();
    for _ in 0..3 {
        write(&log.open().unwrap(), 2);
    }
    assert_eq!(log.whole().records, 12);
    let firsts = log.lines().iter().filter(|line| line["event"] == "opened").count();
    assert_eq!(firsts, 3);
}

#[test]
fn a_line_without_an_end_is_cut_off_and_that_is_recorded() {
    let log = Log::new();
    write(&log.open().unwrap(), 2);
    let torn = "{\"seq\":5,\"time\":\"2026";
    append(&log, torn);
    let breaks = log.verdict().breaks;
    assert_eq!(breaks.len(), 1);
    assert!(breaks[0].0 == "audit.jsonl:5" && breaks[0].1.contains("ends within a line"), "{breaks:?}");
    write(&log.open().unwrap(), 1);
    assert_eq!(log.whole().records, 7);
    assert_eq!(log.lines()[4]["dropped_bytes"], torn.len());
}

#[test]
fn a_file_of_which_nothing_is_whole_begins_anew() {
    let log = Log::new();
    log.folder.file("audit.jsonl", "{\"seq\":1");
    write(&log.open().unwrap(), 1);
    assert_eq!(log.whole().records, 3);
    assert_eq!(log.lines()[0]["dropped_bytes"], 8);
}

#[test]
fn another_key_or_a_changed_end_is_refused() {
    let log = Log::new();
    write(&log.open().unwrap(), 2);
    let text = log.text();
    log.folder.file("key", "another key of thirty-two bytes!\n");
    let error = log.open().unwrap_err();
    assert!(error.message.contains("was not written with this key"), "{error}");
    assert!(error.help.contains("--key-file OLD audit.jsonl"), "{}", error.help);
    assert_eq!(log.text(), text, "it is left as it was");
    log.folder.file("key", KEY);
    // The last line is another.
    log.folder.file("audit.jsonl", &text.replace("\"closed\"", "\"opened\""));
    assert!(log.open().unwrap_err().message.contains("was not written with this key"));
    log.folder.file("audit.jsonl", &format!("{text}no record\n"));
    assert!(log.open().unwrap_err().message.contains("was not written with this key"));
    log.folder.file("audit.jsonl", &text);
    assert!(log.open().is_ok());
}

#[test]
fn a_key_that_others_have_or_guess_is_refused() {
    let log = Log::new();
    let refused = |words: &str| {
        let error = log.open().unwrap_err();
        assert!(error.message.contains(words) && !error.help.is_empty(), "{error}");
        assert!(!error.message.contains("0123456789"), "{error}");
        assert!(!log.config.path.exists(), "nothing is made before");
    };
    for mode in [0o604, 0o640, 0o620, 0o602] {
        log.folder.bytes("key", KEY.as_bytes(), mode);
        refused(&format!("has mode {mode:04o}"));
    }
    log.folder.file("key", &KEY[1..]);
    refused("has 31 bytes, and needs 32");
    log.folder.file("key", "");
    refused("has 0 bytes");
    log.folder.file("key", &"k".repeat(4097));
    refused("4097 bytes");
    fs::remove_file(log.folder.join("key")).unwrap();
    refused("there is no file");
    nix::unistd::mkfifo(&log.folder.join("key"), Mode::S_IRUSR).unwrap();
    refused("a named pipe");
    fs::remove_file(log.folder.join("key")).unwrap();
    // Bytes that are no text are a key too.
    log.folder.bytes("key", &[0xff; 32], 0o400);
    assert!(log.open().is_ok());
}

#[test]
fn only_a_file_of_ours_is_written_on() {
    let log = Log::new();
    let path = &log.config.path;
    let refused = |words: &str| {
        let error = log.open().unwrap_err();
        assert!(error.message.contains(words), "{error}");
    };
    log.folder.file("other", "");
    symlink("other", path).unwrap();
    refused("it is a symbolic link");
    fs::remove_file(path).unwrap();
    fs::hard_link(log.folder.join("other"), path).unwrap();
    refused("has more than one name");
    fs::remove_file(path).unwrap();
    nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    refused("is no regular file");
    fs::remove_file(path).unwrap();
    fs::create_dir(path).unwrap();
    refused("cannot be opened");
    fs::remove_dir(path).unwrap();
    log.folder.bytes("audit.jsonl", b"", 0o620);
    refused("may be written by others");
    assert_eq!(log.folder.read("other"), "");
    // logrotate's `create 0640 root adm` may be read by others.
    fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
    write(&log.open().unwrap(), 1);
    assert_eq!(log.whole().records, 3);
}

#[test]
fn the_folder_is_made_and_no_link_leads_there() {
    let mut log = Log::new();
    let top = log.config.path.parent().unwrap().to_owned();
    log.config.path = top.join("a/b/audit.jsonl");
    write(&log.open().unwrap(), 1);
    assert_eq!(log.folder.mode("a/b") & 0o027, 0);
    symlink("a", top.join("link")).unwrap();
    log.config.path = top.join("link/b/audit.jsonl");
    let error = log.open().unwrap_err();
    assert!(error.message.contains("is a symbolic link"), "{error}");
    assert!(error.help.contains("a/b/audit.jsonl"), "{}", error.help);
}

#[test]
fn a_second_writer_is_refused() {
    let log = Log::new();
    let audit = log.open().unwrap();
    let error = log.open().unwrap_err();
    assert!(error.message.contains("another daemon writes"), "{error}");
    drop(audit);
    assert!(log.open().is_ok());
}

#[test]
fn full_files_are_exchanged_under_load_and_stay_one_chain() {
    let mut log = Log::new();
    (log.config.max_bytes, log.config.keep) = (4096, 100);
    let audit = Arc::new(log.open().unwrap());
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..16 {
            let audit = Arc::clone(&audit);
            tasks.spawn(async move {
                for _ in 0..20 {
                    audit.record(record(caller)).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
    });
    drop(audit);
    let fulls = log.fulls();
    assert!((20..60).contains(&fulls.len()), "{fulls:?}");
    for full in &fulls {
        let size = fs::metadata(full).unwrap().len();
        assert!((4096..5120).contains(&size), "{full:?} has {size} bytes");
        let first: Value =
            serde_json::from_str(fs::read_to_string(full).unwrap().lines().next().unwrap()).unwrap();
        assert_eq!(
            full.extension().unwrap().to_str().unwrap(),
            format!("{:012}", first["seq"].as_u64().unwrap())
        );
        assert_eq!(first["event"], "opened");
    }
    let verdict = log.whole();
    assert_eq!(verdict.files.len(), fulls.len() + 1);
    // 16 × 20, one for each file, and the end.
    assert_eq!(verdict.records, 320 + fulls.len() as u64 + 2);
    // One that is missing is missed.
    fs::remove_file(&fulls[3]).unwrap();
    let breaks = log.verdict().breaks;
    assert_eq!(breaks.len(), 1);
    assert!(breaks[0].1.contains("are missing before this one"), "{breaks:?}");
}

#[test]
fn so_many_full_files_are_kept() {
    let mut log = Log::new();
    (log.config.max_bytes, log.config.keep) = (4096, 3);
    log.folder.file("audit.jsonl.old", "").file("audit.jsonl.1", "").file("other.000000000001", "");
    write(&log.open().unwrap(), 200);
    let fulls = log.fulls();
    assert_eq!(fulls.iter().filter(|path| path.to_str().unwrap().contains("audit.jsonl.0")).count(), 3);
    for other in ["audit.jsonl.old", "audit.jsonl.1", "other.000000000001"] {
        assert!(log.folder.join(other).exists(), "{other} is not ours to remove");
    }
    let verdict = log.verdict();
    assert!(verdict.is_whole(), "{:?}", verdict.breaks);
    assert!(verdict.first.unwrap().seq > 1);
}

#[test]
fn a_log_that_is_missing_goes_on_behind_its_full_files() {
    let mut log = Log::new();
    log.config.max_bytes = 4096;
    write(&log.open().unwrap(), 30);
    let end = log.verdict().last.unwrap().seq;
    let first = log.lines()[0]["seq"].as_u64().unwrap();
    fs::rename(&log.config.path, log.folder.join(&format!("audit.jsonl.{first:012}"))).unwrap();
    write(&log.open().unwrap(), 1);
    assert_eq!(log.lines()[0]["seq"], end + 1);
    log.whole();
}

#[test]
fn a_file_that_was_moved_is_followed_by_another() {
    let log = Log::new();
    let audit = log.open().unwrap();
    say(&audit, 1);
    let moved = log.folder.join("audit.jsonl-20261122");
    fs::rename(&log.config.path, &moved).unwrap();
    say(&audit, 1);
    assert!(!log.config.path.exists(), "until it is told");
    // logrotate's `create`.
    log.folder.file("audit.jsonl", "");
    audit.reopen();
    until("the new file", || log.text().lines().count() == 1);
    audit.reopen();
    say(&audit, 2);
    drop(audit);
    assert_eq!(log.events(), ["opened", "release", "release", "closed"], "and the second changed nothing");
    assert_eq!(log.lines()[0]["why"], "moved");
    let label = |path: &PathBuf| part(path, path.display().to_string()).unwrap();
    // In any order.
    let parts = order(vec![label(&log.config.path), label(&moved)]).unwrap();
    let verdict = verify(parts, &log.config.key_file, &Expected::default()).unwrap();
    assert!(verdict.is_whole(), "{:?}", verdict.breaks);
    assert_eq!(verdict.records, 7);
}

#[test]
fn a_strange_file_in_its_place_is_not_written_on() {
    let log = Log::new();
    let audit = log.open().unwrap();
    say(&audit, 1);
    let moved = log.folder.join("moved");
    fs::rename(&log.config.path, &moved).unwrap();
    log.folder.file("audit.jsonl", "something\n");
    audit.reopen();
    until("the event", || log.told.words() == ["AuditNotRotated"]);
    say(&audit, 1);
    drop(audit);
    assert_eq!(log.text(), "something\n");
    assert_eq!(fs::read_to_string(moved).unwrap().lines().count(), 4, "the old one is written on");
}

#[test]
fn a_file_that_is_removed_is_begun_anew() {
    let log = Log::new();
    let audit = log.open().unwrap();
    say(&audit, 3);
    fs::remove_file(&log.config.path).unwrap();
    say(&audit, 1);
    assert_eq!(log.events(), ["opened", "release"]);
    assert_eq!(log.lines()[0]["seq"], 5, "the chain goes on: what is gone is missed");
    assert_eq!(log.told.words(), ["AuditMeddled"]);
    drop(audit);
    assert_eq!(log.verdict_of(&Expected { head: None, count: Some(6) }).breaks, []);
}

#[test]
fn a_file_that_is_cut_is_told_and_recorded() {
    let log = Log::new();
    let audit = log.open().unwrap();
    say(&audit, 3);
    let had = log.text().len();
    // Within a line.
    fs::File::options().write(true).open(&log.config.path).unwrap().set_len(100).unwrap();
    say(&audit, 1);
    assert_eq!(log.told.words(), ["AuditMeddled"]);
    let text = log.text();
    let lines: Vec<Value> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["event"], "meddled");
    assert_eq!((&lines[0]["had_bytes"], &lines[0]["has_bytes"]), (&had.into(), &100.into()));
    assert_eq!(lines[1]["event"], "release");
    say(&audit, 1);
    drop(audit);
    assert_eq!(log.told.words(), ["AuditMeddled"], "once");
    let places: Vec<String> = log.verdict().breaks.into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, ["audit.jsonl:1"]);
    assert!(log.verdict().first.unwrap().seq > 1);
}

#[test]
fn what_somebody_else_writes_is_told_recorded_and_kept() {
    let log = Log::new();
    let audit = log.open().unwrap();
    say(&audit, 1);
    let first = log.text().lines().next().unwrap().to_owned();
    append(&log, &format!("{first}\n"));
    say(&audit, 1);
    append(&log, "half");
    say(&audit, 1);
    drop(audit);
    assert_eq!(log.told.words(), ["AuditMeddled", "AuditMeddled"]);
    let breaks = log.verdict().breaks;
    assert!(breaks[0].1.contains("was copied or moved here"), "{breaks:?}");
    assert!(breaks.iter().any(|(_, words)| words.contains("no record")), "{breaks:?}");
    assert!(log.text().contains("\nhalf\n{"));
}

#[test]
fn refusals_that_repeat_do_not_flush_the_log() {
    let log = Log::new();
    let audit = log.open().unwrap();
    let begin = Instant::now();
    for _ in 0..1000 {
        audit.refused(refusal(7));
    }
    audit.refused(refusal(8));
    let took = begin.elapsed();
    drop(audit);
    let lines = log.lines();
    let of = |uid: u32| lines.iter().filter(move |line| line["uid"] == uid);
    let times: u64 = of(7).map(|line| line["times"].as_u64().unwrap_or(1)).sum();
    assert_eq!(times, 1000);
    let most = 9 * (usize::try_from(took.as_secs()).unwrap() + 2);
    assert!(of(7).count() <= most, "{} lines", of(7).count());
    assert!(of(7).any(|line| line["times"].as_u64() > Some(500)));
    assert_eq!(of(8).count(), 1);
    log.whole();
}

#[test]
fn counted_refusals_are_written_when_the_second_is_over() {
    let log = Log::new();
    let audit = log.open().unwrap();
    (0..20).for_each(|_| audit.refused(refusal(7)));
    until("the count", || log.lines().iter().any(|line| line["times"] == 12));
    drop(audit);
    log.whole();
}

#[test]
fn an_end_that_was_cut_off_is_found_by_a_head_that_was_noted() {
    let log = Log::new();
    let audit = log.open().unwrap();
    say(&audit, 4);
    let (noted, number) = (audit.head(), audit.status().head_number());
    say(&audit, 1);
    drop(audit);
    let text = log.text();
    let expected = |head: &str| Expected { head: Some(head.parse().unwrap()), count: Some(noted.count) };
    for head in [&noted.code, &noted.code[..12], &number.to_string()] {
        let verdict = log.verdict_of(&expected(head));
        assert_eq!((verdict.is_whole(), verdict.behind_head), (true, Some(2)), "{:?}", verdict.breaks);
    }
    let lines: Vec<&str> = text.lines().collect();
    for kept in 1..=lines.len() {
        log.folder.file("audit.jsonl", &joined(&lines[..kept]));
        assert!(log.verdict().is_whole(), "nobody can tell without");
        let verdict = log.verdict_of(&expected(&noted.code));
        assert_eq!(verdict.is_whole(), kept >= 5, "{kept} lines: {:?}", verdict.breaks);
    }
    log.folder.file("audit.jsonl", "");
    assert!(!log.verdict().is_whole(), "a log that was opened has a record");
}

fn append(log: &Log, text: &str) {
    fs::File::options().append(true).open(&log.config.path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Records so many.
fn say(audit: &Audit, records: u32) {
    runtime().block_on(async {
        for number in 0..records {
            audit.record(record(number)).await.unwrap();
        }
    });
}

/// The same, and ends it.
fn write(audit: &Audit, records: u32) {
    say(audit, records);
    runtime().block_on(audit.close(Closing::Stopped));
}
