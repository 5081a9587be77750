//! Law 2, one source at a time: what is offered and what counts as deleted after
//! each thing that may happen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Rules, Share};
use crate::broker::tests::source::{failed, layer};
use crate::model::key::Key;
use crate::model::layer::{Layer, Value};
use crate::model::rotation::{Kid, Mark, Slot};
use crate::model::schema::Schema;
use crate::model::schema::parse::parse;
use crate::source::SourceError;

const SCHEMA: &str = r#"
schema_version = 1
name = "test"
environments = { variable = "APP_ENV", names = ["development", "staging", "production"] }
services = ["web", "worker"]
[group.trio]
vars = ["G*"]
atomic = true
[group.ring]
vars = ["K*"]
atomic = true
[var.K]
type = "hmac-key"
generate = "base64url:48"
rotation = { strategy = "overlap", overlap = "8d" }
[var.APP_ENV]
type = "string"
required = false
[var.REQ]
type = "string"
[var.PROD]
type = "string"
required = ["production"]
[var.OPT]
type = "string"
required = false
[var.DEF]
type = "string"
default = "d"
[var.OTHER]
type = "string"
services = ["worker"]
[var.G1]
type = "string"
[var.G2]
type = "string"
required = false
[var.G3]
type = "string"
required = false
"#;

fn schema() -> Schema {
    parse("s.toml", SCHEMA).unwrap_or_else(|mistakes| panic!("{mistakes:#?}")).schema
}

/// What happens: `A=1 B=2@place` is a whole answer; with `!place` one that lacks
/// that place, with `!` none at all; `tick` is time passing, `forget A` a person.
fn happen(share: &mut Share, what: &str, rules: Rules<'_>, now: Instant) {
    if what == "tick" {
        share.expire(rules, now);
    } else if let Some(key) = what.strip_prefix("forget ") {
        share.give_up(&[Key::new(key).unwrap()], rules, now);
    } else {
        share.take(answer(what), rules, now);
    }
}

fn answer(what: &str) -> Result<Layer, SourceError> {
    let (faults, offers): (Vec<&str>, Vec<&str>) =
        what.split_whitespace().partition(|word| word.starts_with('!'));
    let layer = layer("s", &offers.join(" "));
    match faults.as_slice() {
        [] => Ok(layer),
        ["!"] => Err(failed("s", &["nowhere"], None)),
        faults => {
            let places: Vec<&str> = faults.iter().map(|fault| &fault[1..]).collect();
            Err(failed("s", &places, Some(layer)))
        }
    }
}

/// `A=1 B=2 | A* B~`: what is offered, then what was deleted and is held, until it
/// is forgotten (`*`) or for a minute (`~`).
fn told(share: &Share) -> String {
    let offers: BTreeSet<String> = share
        .layer
        .iter()
        .flat_map(|layer| &layer.offers)
        .map(|offer| match &offer.value {
            Value::Literal(value) => format!("{}={}", offer.key, value.expose()),
            Value::Template(_) => panic!("a template"),
        })
        .collect();
    let deleted = share
        .deleted
        .iter()
        .map(|(key, deletion)| format!("{key}{}", if deletion.until_forgotten { "*" } else { "~" }));
    let offers: Vec<String> = offers.into_iter().collect();
    let deleted: Vec<String> = deleted.collect();
    let bar = if deleted.is_empty() { "" } else { " | " };
    format!("{}{bar}{}", offers.join(" "), deleted.join(" "))
}

/// Each step: the second at which it happens, what, and what is so afterwards.
#[track_caller]
fn follow(is_remote: bool, environment: &str, steps: &[(u64, &str, &str)]) {
    let schema = schema();
    let rules = Rules { schema: &schema, environment, service: Some("web"), is_remote };
    let (mut share, start) = (Share::default(), Instant::now());
    for (at, what, expected) in steps {
        happen(&mut share, what, rules, start + Duration::from_secs(*at));
        assert_eq!(told(&share), *expected, "after `{what}` at {at} s of {steps:?}");
    }
}

#[track_caller]
fn remote(steps: &[(u64, &str, &str)]) {
    follow(true, "production", steps);
}

#[test]
fn what_a_remote_source_states_to_be_gone() {
    // By what the schema says of it.
    for (key, environment, afterwards, after_a_minute) in [
        ("REQ", "production", "REQ=1 | REQ*", "REQ=1 | REQ*"),
        ("PROD", "production", "PROD=1 | PROD*", "PROD=1 | PROD*"),
        ("PROD", "staging", "PROD=1 | PROD~", ""),
        ("OPT", "production", "OPT=1 | OPT~", ""),
        ("DEF", "production", "DEF=1 | DEF~", ""),
        ("OTHER", "production", "", ""),
        ("UNKNOWN", "production", "", ""),
    ] {
        let (there, value) = (format!("{key}=1"), format!("{key}=1"));
        follow(
            true,
            environment,
            &[
                (0, &there, &value),
                (10, "", afterwards),
                (69, "tick", afterwards),
                (70, "tick", after_a_minute),
                (700, "", after_a_minute),
                (701, &format!("{key}=2"), &format!("{key}=2")),
            ],
        );
    }
}

#[test]
fn a_local_source_is_believed_at_once() {
    follow(
        false,
        "production",
        &[
            (0, "REQ=1 OPT=1 G1=1 G2=1", "G1=1 G2=1 OPT=1 REQ=1"),
            (1, "G2=2", "G2=2"),
            (2, "!", "G2=2"),
            (3, "", ""),
        ],
    );
}

#[test]
fn an_empty_value_is_none() {
    remote(&[(0, "REQ=1", "REQ=1"), (1, "REQ=", "REQ=1 | REQ*"), (2, "REQ=2", "REQ=2")]);
    remote(&[(0, "OPT=1", "OPT=1"), (1, "OPT=", "OPT=1 | OPT~"), (61, "tick", "OPT=")]);
}

#[test]
fn what_cannot_be_read_is_held_and_deletes_nothing() {
    let all = "OPT=1 OPT2=1@q REQ=1@q";
    // Whatever is said without it, and for however long.
    remote(&[
        (0, "OPT=1 REQ=1@q", "OPT=1 REQ=1"),
        (1, "!", "OPT=1 REQ=1"),
        (100, "tick", "OPT=1 REQ=1"),
        (101, "!q", "OPT=1 REQ=1"),
        (102, "OPT=2 !q", "OPT=2 REQ=1"),
        (900, "tick", "OPT=2 REQ=1"),
        // The minute begins with the first whole answer.
        (901, "REQ=1@q", "OPT=2 REQ=1 | OPT~"),
        (960, "tick", "OPT=2 REQ=1 | OPT~"),
        (961, "tick", "REQ=1"),
    ]);
    // What nobody would hold goes with the first answer that lacks it.
    remote(&[(0, all, "OPT2=1 OPT=1 REQ=1"), (1, "OPT=1 !q", "OPT=1 REQ=1")]);
}

#[test]
fn a_clock_that_runs_goes_on_when_the_source_fails() {
    for failure in ["!", "REQ=1 !q"] {
        remote(&[
            (0, "REQ=1 OPT=1", "OPT=1 REQ=1"),
            (10, "REQ=1", "OPT=1 REQ=1 | OPT~"),
            (20, failure, "OPT=1 REQ=1 | OPT~"),
            (69, "tick", "OPT=1 REQ=1 | OPT~"),
            (70, "tick", "REQ=1"),
            (71, failure, "REQ=1"),
        ]);
    }
}

#[test]
fn what_comes_back_starts_anew() {
    remote(&[
        (0, "REQ=1 OPT=1", "OPT=1 REQ=1"),
        (10, "", "OPT=1 REQ=1 | OPT~ REQ*"),
        (50, "REQ=2 OPT=2", "OPT=2 REQ=2"),
        (60, "REQ=2", "OPT=2 REQ=2 | OPT~"),
        (119, "tick", "OPT=2 REQ=2 | OPT~"),
        (120, "tick", "REQ=2"),
    ]);
    // A partial answer may bring it back as well.
    remote(&[
        (0, "OPT=1", "OPT=1"),
        (1, "", "OPT=1 | OPT~"),
        (2, "OPT=1 !q", "OPT=1"),
        (90, "tick", "OPT=1"),
    ]);
}

#[test]
fn what_is_forgotten_is_gone_until_it_is_there_again() {
    remote(&[
        (0, "REQ=1 OPT=1", "OPT=1 REQ=1"),
        (1, "", "OPT=1 REQ=1 | OPT~ REQ*"),
        (2, "forget REQ", "OPT=1 | OPT~"),
        (3, "forget OPT", ""),
        (4, "!", ""),
        (5, "", ""),
        (6, "REQ=2", "REQ=2"),
    ]);
}

#[test]
fn an_atomic_group_waits_for_its_deleted_member() {
    remote(&[
        (0, "G1=1 G2=1 REQ=1", "G1=1 G2=1 REQ=1"),
        // The others move, the group does not.
        (1, "G1=2 REQ=2", "G1=1 G2=1 REQ=2 | G2~"),
        (2, "G1=3 REQ=2", "G1=1 G2=1 REQ=2 | G2~"),
        (61, "tick", "G1=3 REQ=2"),
    ]);
    // It comes back: all of it moves.
    remote(&[
        (0, "G1=1 G2=1", "G1=1 G2=1"),
        (1, "G2=2", "G1=1 G2=1 | G1*"),
        (90, "tick", "G1=1 G2=1 | G1*"),
        (91, "G1=3 G2=3", "G1=3 G2=3"),
    ]);
    // Somebody gives it up: the rest of the group moves.
    remote(&[(0, "G1=1 G2=1", "G1=1 G2=1"), (1, "G2=2", "G1=1 G2=1 | G1*"), (2, "forget G1", "G2=2")]);
}

#[test]
fn a_member_that_is_new_waits_with_its_group() {
    remote(&[(0, "G1=1 G2=1", "G1=1 G2=1"), (1, "G1=2 G3=2", "G1=1 G2=1 | G2~"), (61, "tick", "G1=2 G3=2")]);
}

#[test]
fn two_deleted_members_have_their_own_clocks() {
    remote(&[
        (0, "G1=1 G2=1 G3=1", "G1=1 G2=1 G3=1"),
        (1, "G1=2 G3=2", "G1=1 G2=1 G3=1 | G2~"),
        (31, "G1=3", "G1=1 G2=1 G3=1 | G2~ G3~"),
        (61, "tick", "G1=1 G3=1 | G3~"),
        (91, "tick", "G1=3"),
    ]);
}

#[test]
fn a_group_of_two_places_moves_when_both_can_be_read() {
    remote(&[
        (0, "G1=1@p G2=1@q", "G1=1 G2=1"),
        // A source gives what it read before for what it cannot read now, or nothing.
        (1, "G1=2@p G2=1@q !q", "G1=1 G2=1"),
        (2, "G1=2@p !q", "G1=1 G2=1"),
        (3, "G1=2@p G2=2@q", "G1=2 G2=2"),
    ]);
    // One that is in the place that was read may go on.
    remote(&[
        (0, "G1=1@p G2=1@p REQ=1@q", "G1=1 G2=1 REQ=1"),
        (1, "G1=2@p G2=2@p REQ=1@q !q", "G1=2 G2=2 REQ=1"),
    ]);
}

#[test]
fn only_what_differs_is_told() {
    let schema = schema();
    let rules = Rules { schema: &schema, environment: "production", service: None, is_remote: true };
    let mut share = Share::default();
    for (what, is_other) in [
        ("REQ=1", true),
        ("REQ=1", false),
        ("REQ=2", true),
        ("REQ=2@elsewhere", true),
        ("REQ=2@elsewhere", false),
        ("REQ=2@elsewhere#2", true),
        ("REQ=2@elsewhere#2", false),
        ("REQ=2@elsewhere", true),
        ("REQ=2@elsewhere !q", true),
        ("REQ=2@elsewhere !q", false),
        ("REQ=2@elsewhere !q !r", true),
        ("!", true),
        ("!", false),
        ("REQ=2@elsewhere", true),
        ("", true),
        ("", false),
        ("REQ=2@elsewhere", true),
    ] {
        assert_eq!(share.take(answer(what), rules, Instant::now()), is_other, "{what}");
    }
}

#[test]
fn what_a_rotation_took_away_is_gone_at_once_and_what_was_lost_is_held() {
    use Slot::{Next, Previous};
    let schema = schema();
    let rules = Rules { schema: &schema, environment: "production", service: Some("web"), is_remote: true };
    let (mut share, start) = (Share::default(), Instant::now());
    let steps: [(&str, Option<&[Slot]>, &str); 8] = [
        ("K=1", Some(&[]), "K=1"),
        ("K=1 K_NEXT=2", Some(&[Next]), "K=1 K_NEXT=2"),
        // Activated: of an atomic group, and all of it at once.
        ("K=2 K_PREVIOUS=1", Some(&[Previous]), "K=2 K_PREVIOUS=1"),
        // A foreign write lost it: with the state as it was, or without any.
        ("K=2", Some(&[Previous]), "K=2 K_PREVIOUS=1 | K_PREVIOUS~"),
        ("K=2", None, "K=2 K_PREVIOUS=1 | K_PREVIOUS~"),
        ("K=2 K_PREVIOUS=1", Some(&[Previous]), "K=2 K_PREVIOUS=1"),
        // Retired.
        ("K=2", Some(&[]), "K=2"),
        ("K=2", None, "K=2"),
    ];
    for (what, beside, expected) in steps {
        let mut given = layer("s", what);
        let kid = Kid::initial();
        let mark = |slots: &[Slot]| Mark {
            kid: kid.clone(),
            not_before: None,
            retire_after: None,
            beside: slots.iter().copied().collect(),
        };
        given.offers[0].origin.mark = beside.map(|slots| Arc::new(mark(slots)));
        share.take(Ok(given), rules, start);
        assert_eq!(told(&share), expected, "after {what} beside {beside:?}");
    }
}
