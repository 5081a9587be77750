//! What a policy that changes does to who waits and watches.

use super::client::{Watching, ask_as, raw_as, request};
use super::*;

#[test]
fn everybody_gets_their_own() {
    let policy = own()
        + &allow(SOMEBODY, &["NAME"], &["read"])
        + &allow(SOMEBODY_ELSE, &["MAIL_*", "PORT"], &["read"]);
    let (_folder, daemon) = ruled(&policy, &shop("MAIL_USER=ann\n"));
    let all = |uid| ask_as(uid, &daemon.socket, "GET", "/v1/config", "");
    assert_eq!(all(SOMEBODY).values(), ["NAME=shop"]);
    assert_eq!(all(SOMEBODY_ELSE).values(), ["MAIL_USER=ann", "PORT=8080"]);
    let words = all(4713).refuses(403, "not-permitted");
    assert!(words.contains("no rule of the access policy is for user 4713"), "{words}");
    // More than one may read is none of it.
    let words = ask_as(SOMEBODY, &daemon.socket, "GET", "/v1/config?vars=NAME,PORT", "")
        .refuses(403, "not-permitted");
    assert!(words.contains("read PORT") && !words.contains("NAME"), "{words}");
    ask_as(SOMEBODY, &daemon.socket, "GET", "/v1/config/PORT", "").refuses(403, "not-permitted");
    ask_as(SOMEBODY, &daemon.socket, "GET", "/v1/watch", "").refuses(403, "not-permitted");
    let words = ask_as(SOMEBODY, &daemon.socket, "GET", "/v1/status", "").refuses(403, "not-permitted");
    assert!(words.contains("see the status of any variable"), "{words}");
    // A suggestion is of what the caller may have.
    let words =
        ask_as(SOMEBODY, &daemon.socket, "GET", "/v1/config/POTR", "").refuses(404, "unknown-variable");
    assert!(!words.contains("PORT"), "{words}");
    assert!(daemon.page("/metrics").1.contains("dlconf_access_denied_total 5\n"));
}

#[test]
fn the_tag_is_of_the_callers_view_and_of_its_rules() {
    let both = own() + &allow(SOMEBODY, &["NAME"], &["read"]) + &allow(SOMEBODY_ELSE, &["NAME"], &["read"]);
    let (folder, daemon) = ruled(&both, &shop(""));
    let tag = |uid| {
        let answer = ask_as(uid, &daemon.socket, "GET", "/v1/config?vars=NAME", "").is(200);
        answer.tag().to_owned()
    };
    let (one, other) = (tag(SOMEBODY), tag(SOMEBODY_ELSE));
    assert_ne!(one, other);
    let known = |tag: &str| {
        let request = request("GET", "/v1/config?vars=NAME", &[("if-none-match", tag)], "");
        Answer::of(&raw_as(SOMEBODY, &daemon.socket, &request)).status
    };
    assert_eq!((known(&one), known(&other)), (304, 200));
    // Nothing that may be read changes, and by which rules: the tag does.
    rule(&daemon, &folder, &(allow(SOMEBODY, &["NAME", "PORT"], &["read"]) + &own()));
    assert_eq!(known(&one), 200);
    rule(&daemon, &folder, &own());
    assert_eq!(known(&one), 403);
}

#[test]
fn a_policy_that_changes_wakes_who_waits() {
    let (folder, daemon) = ruled(&own(), &shop(""));
    let tag = get(&daemon.socket, "/v1/config").is(200).tag().to_owned();
    let known = [("if-none-match", &*tag)];
    let asked = Asked::get(&daemon.socket, "/v1/config?wait=20s", &known);
    client::round_trip(&daemon.socket);
    assert!(!asked.is_answered());
    let uid = nix::unistd::geteuid().as_raw();
    rule(&daemon, &folder, &allow(uid, &["NAME"], &["read"]));
    let answer = asked.answer();
    let tag = answer.tag().to_owned();
    assert_eq!(answer.values(), ["NAME=shop"]);
    let known = [("if-none-match", &*tag)];
    let asked = Asked::get(&daemon.socket, "/v1/config?wait=20s", &known);
    client::round_trip(&daemon.socket);
    assert!(!asked.is_answered());
    rule(&daemon, &folder, &allow(uid, &["NAME"], &["watch"]));
    asked.answer().refuses(403, "not-permitted");
}

#[test]
fn who_waits_longer_for_a_policy_that_stays_gets_no_answer_of_it() {
    let (folder, daemon) = ruled(&own(), &shop(""));
    let tag = get(&daemon.socket, "/v1/config").is(200).tag().to_owned();
    let asked = Asked::get(&daemon.socket, "/v1/config?wait=20s", &[("if-none-match", &tag)]);
    // A rule for somebody else, and a policy that is none.
    rule(&daemon, &folder, &(own() + &allow(SOMEBODY, &["NAME"], &["read"])));
    put(&folder, "access.toml", "[[allow]]\nuid = \"x\"\n");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    daemon.says("are refused, the old ones hold");
    client::round_trip(&daemon.socket);
    assert!(!asked.is_answered());
    put(&folder, ".env", &shop("NOTE=a\n"));
    assert_eq!(asked.answer().is(200).json()["values"]["NOTE"], "a");
}

#[test]
fn who_was_away_while_the_policy_changed_begins_anew() {
    let uid = nix::unistd::geteuid().as_raw();
    let rules = allow(uid, &["NAME"], &["watch"]);
    let (folder, daemon) = ruled(&rules, &shop("MAIL_USER=ann\n"));
    let back = |last: &str| Watching::start(&daemon.socket, "/v1/watch", Some(last)).event();
    let first = Watching::start(&daemon.socket, "/v1/watch", None).event();
    assert_eq!(first.changed(), ["NAME"]);
    // What is shown besides by now did not change, and is news all the same.
    rule(&daemon, &folder, &allow(uid, &["NAME", "MAIL_*"], &["watch"]));
    let event = back(&first.id);
    assert_eq!((event.is_resync(), event.changed()), (true, vec!["NAME", "MAIL_USER"]));
    // So it is generations later; who was told since then goes on.
    let second = publish(&daemon, &folder, &shop("MAIL_USER=bob\n"));
    publish(&daemon, &folder, &shop("MAIL_USER=eve\n"));
    assert!(back(&first.id).is_resync());
    let event = back(&second);
    assert_eq!((event.is_resync(), event.changed()), (false, vec!["MAIL_USER"]));
    // The same policy once more is no other one.
    rule(&daemon, &folder, &allow(uid, &["NAME", "MAIL_*"], &["watch"]));
    assert!(!back(&second).is_resync());
}

#[test]
fn who_watches_sees_what_the_policy_shows() {
    let uid = nix::unistd::geteuid().as_raw();
    let (folder, daemon) = ruled(&allow(uid, &["NAME"], &["watch"]), &shop("MAIL_USER=ann\n"));
    let mut watching = Watching::start(&daemon.socket, "/v1/watch", None);
    let mut name = Watching::start(&daemon.socket, "/v1/watch?vars=NAME", None);
    assert_eq!((watching.event().changed(), name.event().changed()), (vec!["NAME"], vec!["NAME"]));
    publish(&daemon, &folder, &shop("MAIL_USER=bob\n"));
    client::round_trip(&daemon.socket);
    assert!(watching.is_silent());
    // What is shown from now on is news, whenever it last changed.
    rule(&daemon, &folder, &allow(uid, &["NAME", "MAIL_*"], &["watch"]));
    let event = watching.event();
    assert!(event.is_resync());
    assert_eq!(event.changed(), ["NAME", "MAIL_USER"]);
    assert!(name.event().is_resync());
    // What is not shown any more is the end of who asked for it.
    rule(&daemon, &folder, &allow(uid, &["MAIL_*"], &["watch"]));
    assert!(name.next().is_none());
    assert_eq!(watching.event().changed(), ["MAIL_USER"]);
    rule(&daemon, &folder, &allow(uid, &["MAIL_*"], &["read"]));
    assert!(watching.next().is_none());
    get(&daemon.socket, "/v1/watch").refuses(403, "not-permitted");
}
