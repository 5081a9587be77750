//! Law 1: what is invalid changes nothing but what is told.

use super::*;

/// A valid state is followed by this one; what is told names this code.
#[track_caller]
fn is_refused(text: &str, code: &str, words: &str) {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let before = (trace(&folder.join("out/app.env")), trace(&folder.join("out/note.env")));
    let metric = format!("dlconf_rejected_total{{code=\"{code}\"}}");
    assert_eq!(daemon.metric(&metric), 0);

    put(&folder, ".env", text);
    let status = daemon.until("a refusal", |status| !status["rejected"].is_null());
    let finding = &status["rejected"]["findings"][0];
    assert_eq!(finding["code"], code, "{finding}");
    assert!(finding["message"].as_str().unwrap().contains(words), "{finding}");
    assert_eq!(status["generation"], 1);
    let line = daemon.says("the new state is not published, ");
    assert!(line.contains(&format!("[{code}]")) && line.contains("error: "), "{line}");

    // Another look at the same is not told again, and neither is another change.
    daemon.reread("local", || put(&folder, ".env", &format!("{text}# more\n")));
    daemon.reread("note", || put(&folder, "note.env", "NOTE=x\n"));
    daemon.reread("local", || put(&folder, ".env", text));
    assert_eq!(daemon.count("is not published"), 1);
    assert_eq!(daemon.metric(&metric), 1);
    assert_eq!(daemon.generation(), 1);
    assert_eq!((trace(&folder.join("out/app.env")), trace(&folder.join("out/note.env"))), before);

    put(&folder, ".env", &shop("mended"));
    daemon.holds(&folder, "out/app.env", "mended");
    daemon.holds(&folder, "out/note.env", "x");
    let status = daemon.status();
    assert_eq!((&status["generation"], &status["rejected"]), (&2.into(), &Value::Null));
    // It is told anew if it comes again.
    put(&folder, ".env", text);
    daemon.says_for(2, "is not published");
    assert_eq!(daemon.metric(&metric), 2);
}

#[test]
fn a_value_of_the_wrong_type() {
    is_refused(&shop("two").replace("9000", "many"), "DLC010", "PORT");
}

#[test]
fn a_required_value_that_is_missing() {
    is_refused(&format!("TOKEN={TOKEN}\n"), "DLC001", "NAME");
}

#[test]
fn a_placeholder() {
    is_refused(&shop("two").replace(TOKEN, "change-me-change-me-change-me-change-me"), "DLC020", "TOKEN");
}

#[test]
fn a_rule_that_fails() {
    is_refused(&shop("two").replace("9000", "6666"), "DLC040", "this port is not for us");
}

#[test]
fn a_set_that_is_half_written() {
    is_refused(&format!("{}MAIL_USER=me\n", shop("two")), "DLC041", "MAIL_PASSWORD");
}

#[test]
fn a_start_with_an_invalid_state_waits_for_a_valid_one() {
    let folder = usual();
    folder.file(".env", "NAME=one\n").file("out/app.env", "NAME=from-before\n");
    let daemon = Daemon::start(&folder);
    daemon.says(" published yet: [DLC001]");
    assert_eq!(daemon.status()["ready"], false);
    assert_eq!(folder.read("out/app.env"), "NAME=from-before\n");
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
}

#[test]
fn a_source_that_goes_away_is_not_why_a_state_is_refused() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    put(&folder, ".env", &shop("two").replace("9000", "many"));
    daemon.says("is not published");
    fs::remove_file(folder.join(".env")).unwrap();
    daemon.says("source local cannot be read");
    let status = daemon.until("its health", |status| named(&status["sources"], "local")["health"] == "down");
    let refused = status["rejected"]["findings"].as_array().unwrap();
    assert!(refused.iter().all(|finding| finding["code"] == "DLC010"), "{refused:?}");
    let shown = folder.run(&["--config", "dlconf.toml", "status"]).exits(0).stdout;
    assert_eq!(shown.matches("DLC050").count(), 1, "{shown}");
    assert_eq!(daemon.count("is not published"), 1);
    assert_eq!(daemon.metric("dlconf_rejected_total{code=\"DLC050\"}"), 0);
}
