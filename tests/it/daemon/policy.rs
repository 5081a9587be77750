//! The access policy of a running daemon: a change counts at once and as a whole, a
//! broken file changes nothing and is told.

use super::*;

const DONE: &str = "settings and schema were read again and hold";
const REFUSED: &str = "settings and schema were read again and are refused, the old ones hold: ";

const POLICY: &str = "[[allow]]\nuid = 7001\nvars = [\"service:web\"]\nactions = [\"read\"]\n";

fn home_with(policy: &str) -> Folder {
    let sources = SOURCES.replace("[ops]", "policy = \"access.toml\"\n[ops]");
    let folder = home(&[&sources, DELIVERIES, AT_ONCE]);
    folder.file("access.toml", policy);
    folder
}

#[test]
fn a_change_counts_and_a_mistake_does_not() {
    let folder = home_with(POLICY);
    let daemon = Daemon::ready(&folder);
    let version = daemon.status()["version"].clone();
    put(&folder, "access.toml", &POLICY.replace("7001", "7002"));
    daemon.says_for(1, DONE);

    put(&folder, "access.toml", &POLICY.replace("\"read\"", "\"reed\""));
    daemon.says(REFUSED);
    let refused = daemon.status()["reload_refused"].clone();
    let finding = &refused["findings"][0];
    assert_eq!(finding["message"], "rule 1 has an unknown action `reed`");
    assert_eq!(finding["place"], "access.toml:4:12");
    assert_eq!(finding["help"], "did you mean \"read\"?");

    // Each way to break it is told, and none ends the daemon.
    for (times, broken, message) in [
        (2, "", "an access policy without a rule permits nobody anything"),
        (3, "[[allow]\n", "this is not valid TOML, so it is no access policy"),
        (4, &*POLICY.replace("service:web", "service:wbe"), "rule 1: `service:wbe` selects nothing"),
    ] {
        put(&folder, "access.toml", broken);
        daemon.says_for(times, REFUSED);
        let status = daemon.status();
        let told = status["reload_refused"]["findings"][0]["message"].as_str().unwrap();
        assert!(told.starts_with(message), "{told}");
    }
    std::fs::remove_file(folder.join("access.toml")).unwrap();
    daemon.says_for(5, REFUSED);

    // What is right again counts, and it was no generation.
    put(&folder, "access.toml", POLICY);
    daemon.says_for(2, DONE);
    let status = daemon.until("no refusal", |status| status["reload_refused"].is_null());
    assert_eq!(status["version"], version);
    daemon.fence(&folder);
}

#[test]
fn a_policy_that_others_may_write_is_refused() {
    let folder = home_with(POLICY);
    let daemon = Daemon::ready(&folder);
    folder.bytes("new~", POLICY.replace("7001", "7002").as_bytes(), 0o602);
    fs::rename(folder.join("new~"), folder.join("access.toml")).unwrap();
    let line = daemon.says(REFUSED);
    assert!(line.contains("others may write the access policy (mode 0602)"), "{line}");
}

#[test]
fn a_daemon_does_not_start_without_its_policy() {
    for (policy, mode, code, words) in [
        (None, 0, 2, "the access policy could not be read: there is no file access.toml"),
        (Some(POLICY), 0o606, 4, "others may write the access policy (mode 0606)"),
        (Some("[[allow]]\nuid = 65534\n"), 0o600, 2, "rule 1 is for user 65534, which may be anybody"),
    ] {
        let folder = home_with(POLICY);
        fs::remove_file(folder.join("access.toml")).unwrap();
        if let Some(policy) = policy {
            folder.bytes("access.toml", policy.as_bytes(), mode);
        }
        Daemon::start(&folder).wait().exits(code).said(words);
        assert!(!folder.join("dlconf.sock").exists() && !folder.join("out").exists());
    }
}
