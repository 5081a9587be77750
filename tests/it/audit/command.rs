//! `dlconf audit verify`.

use super::*;

/// A log of two files with six records each, and what settings name it.
fn log() -> Log {
    let mut log = Log::new();
    log.config.path = log.config.path.parent().unwrap().join("log/audit.jsonl");
    for _start in 0..2 {
        let audit = log.open().unwrap();
        runtime().block_on(async {
            for number in 0..4 {
                audit.record(record(number)).await.unwrap();
            }
            audit.close(Closing::Stopped).await;
        });
    }
    let text = log.text();
    let lines: Vec<&str> = text.lines().collect();
    log.folder.file("log/audit.jsonl.000000000001", &joined(&lines[..6]));
    log.folder.file("log/audit.jsonl", &joined(&lines[6..]));
    let settings = "environment = \"staging\"\n[audit]\npath = \"log/audit.jsonl\"\nkey_file = \"key\"\n";
    log.folder.file("dlconf.toml", settings).file("dlconf.schema.toml", crate::program::SMALL_SCHEMA);
    log
}

fn head(log: &Log) -> String {
    log.lines().last().unwrap()["mac"].as_str().unwrap().to_owned()
}

#[test]
fn the_settings_name_the_log() {
    let log = log();
    let ran = log.folder.run(&["audit", "verify"]).exits(0);
    let ran = ran.says("log/audit.jsonl.000000000001: 6 records\nlog/audit.jsonl: 6 records\n");
    ran.says("records 1 (").says(&format!("head {}\n", head(&log))).says("whole: nothing was changed");
    let ran = log.folder.run(&["audit", "verify", "--format", "json"]).exits(0);
    let verdict: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&verdict["ok"], &verdict["records"]), (&true.into(), &12.into()));
    assert_eq!(verdict["last"]["mac"], head(&log));
    // Without [audit] there is nothing to check.
    log.folder.file("dlconf.toml", "environment = \"staging\"\n");
    log.folder.run(&["audit", "verify"]).exits(2).warns("no [audit] in staging").warns("--key-file");
}

#[test]
fn files_may_be_named_in_any_order() {
    let log = log();
    fs::remove_file(log.folder.join("dlconf.toml")).unwrap();
    let all = ["log/audit.jsonl", "log/audit.jsonl.000000000001"];
    let run = |files: &[&str]| log.folder.run(&[&["audit", "verify", "--key-file", "key"], files].concat());
    run(&all).exits(0).says("records 1 (");
    run(&all[..1]).exits(0).says("those before 7 are not in these files");
    run(&["log/none"]).exits(3).warns("log/none cannot be read");
    log.folder
        .run(&["audit", "verify", "--key-file", "none", all[0]])
        .exits(3)
        .warns("there is no file none");
}

#[test]
fn what_is_broken_has_its_place() {
    let log = log();
    let text = log.text();
    let lines: Vec<&str> = text.lines().collect();
    let with = |lines: Vec<&str>| {
        log.folder.file("log/audit.jsonl", &joined(&lines));
        log.folder.run(&["audit", "verify"])
    };
    let mut changed = lines.clone();
    let other = changed[1].replace("JWT_SECRET", "PORT");
    changed[1] = &other;
    with(changed).exits(1).says("broken: log/audit.jsonl:2: this record's code is wrong");
    with([&lines[..1], &lines[2..]].concat()).exits(1).says("broken: log/audit.jsonl:2: record 8 is missing");
    with(lines[1..].to_vec()).exits(1).says("broken: log/audit.jsonl:1: record 7 is missing");
    with([&lines[..2], &lines[1..]].concat()).exits(1).says("record 8 comes where 9 has to");
    with(lines).exits(0);
    log.folder.file("key", "another key of thirty-two bytes!");
    let ran = log.folder.run(&["audit", "verify"]).exits(1).says("or the key is another");
    ran.says("there is no genuine record").never_says("whole");
}

#[test]
fn a_file_whose_begin_is_gone_is_not_whole() {
    let log = log();
    fs::remove_file(log.folder.join("log/audit.jsonl.000000000001")).unwrap();
    log.folder.run(&["audit", "verify"]).exits(0).says("those before 7 are not in these files");
    let (text, head) = (log.text(), head(&log));
    let lines: Vec<&str> = text.lines().collect();
    log.folder.file("log/audit.jsonl", &joined(&lines[1..]));
    let broken = "broken: log/audit.jsonl:1: a file begins with its opening, and this is record 8";
    log.folder.run(&["audit", "verify", "--expect-head", &head]).exits(1).says(broken).never_says("whole");
}

#[test]
fn what_was_noted_elsewhere_is_looked_for() {
    let log = log();
    let head = head(&log);
    let number = u64::from_str_radix(&head[..12], 16).unwrap();
    let run = |option: &str, value: &str| log.folder.run(&["audit", "verify", option, value]);
    for noted in [&head, &head[..12], &number.to_string()] {
        run("--expect-head", noted).exits(0).says("the expected head is the last record's");
    }
    let earlier = log.lines()[1]["mac"].as_str().unwrap().to_owned();
    run("--expect-head", &earlier).exits(0).says("the expected head is there; 4 records after it");
    run("--expect-head", &"0".repeat(64)).exits(1).says("the end was cut off");
    run("--expect-head", "0123").exits(2);
    run("--expect-count", "12").exits(0);
    run("--expect-count", "13").exits(1).says("it ends with record 12, and 13 were expected");
}

#[test]
fn doctor_looks_at_the_log() {
    let log = log();
    log.folder.run(&["doctor"]).says("log/audit.jsonl, 12 records; its end fits its key");
    log.folder.file("key", "another key of thirty-two bytes!");
    log.folder.run(&["doctor"]).says("was not written with this key");
}
