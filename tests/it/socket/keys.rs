//! `/v1/keys/{key}`: the ring of a variable, by what its source has.

use dlconf::model::rotation::{KeyNote, Kid, Ledger, Phase, Print, Progress, Slot};

use super::*;

/// Kid, state and value of each.
#[track_caller]
fn ring(daemon: &Daemon, key: &str) -> Vec<(String, String, String)> {
    let answer = get(&daemon.socket, &format!("/v1/keys/{key}")).is(200);
    let ring = answer.json();
    let text = |one: &serde_json::Value, name: &str| one[name].as_str().unwrap().to_owned();
    for one in ring.as_array().unwrap() {
        // No rotation drew it.
        assert_eq!((&one["not_before"], &one["retire_after"]), (&().into(), &().into()));
    }
    let one = |one| (text(one, "kid"), text(one, "state"), text(one, "value"));
    ring.as_array().unwrap().iter().map(one).collect()
}

fn keys(wanted: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    wanted.iter().map(|(kid, state, value)| ((*kid).into(), (*state).into(), (*value).into())).collect()
}

#[test]
fn a_key_alone_is_the_initial_one() {
    let (_folder, daemon) = daemon(&shop(""));
    assert_eq!(ring(&daemon, "SIGNING_KEY"), keys(&[("initial", "active", KEY)]));
    // What does not rotate is a ring of one.
    assert_eq!(ring(&daemon, "NAME"), keys(&[("initial", "active", "shop")]));
    get(&daemon.socket, "/v1/keys/RECORD_KEY").refuses(404, "not-set");
    assert!(
        get(&daemon.socket, "/v1/keys/SIGNING_KYE").refuses(404, "unknown-variable").contains("SIGNING_KEY?")
    );
    get(&daemon.socket, "/v1/keys/SIGNING_KEY?vars=NAME").refuses(400, "malformed");
    get(&daemon.socket, "/v1/keys").refuses(404, "unknown-route");
    get(&daemon.socket, "/v1/keys/").refuses(404, "unknown-route");
}

#[test]
fn an_overlap_has_the_keys_before_and_after() {
    let (folder, daemon) =
        daemon(&shop(&format!("SIGNING_KEY_PREVIOUS={OTHER_KEY}\nSIGNING_KEY_NEXT={THIRD_KEY}\n")));
    let mut found = ring(&daemon, "SIGNING_KEY");
    found.sort();
    let wanted = [
        ("initial", "active", KEY),
        ("initial-next", "next", THIRD_KEY),
        ("initial-previous", "previous", OTHER_KEY),
    ];
    assert_eq!(found, keys(&wanted));
    // A rotation that a person does by hand at the source: the next becomes the
    // active one, that the previous.
    let moved = format!("NAME=shop\nSIGNING_KEY={THIRD_KEY}\nSIGNING_KEY_PREVIOUS={KEY}\n");
    publish(&daemon, &folder, &moved);
    let mut found = ring(&daemon, "SIGNING_KEY");
    found.sort();
    assert_eq!(found, keys(&[("initial", "active", THIRD_KEY), ("initial-previous", "previous", KEY)]));
}

#[test]
fn a_ring_has_one_active_key() {
    let numbered = format!("RECORD_KEY_1={OTHER_KEY}\nRECORD_KEY_2={THIRD_KEY}\n");
    for (more, wanted) in [
        // The variable is one of the numbered once more.
        (
            format!("RECORD_KEY={THIRD_KEY}\nRECORD_KEY_ACTIVE=2\n{numbered}"),
            &[("initial-1", "previous", OTHER_KEY), ("initial-2", "active", THIRD_KEY)][..],
        ),
        // It is one of its own, from before there were numbers.
        (
            format!("RECORD_KEY={KEY}X\nRECORD_KEY_ACTIVE=1\n{numbered}"),
            &[
                ("initial", "previous", "q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6TeX"),
                ("initial-1", "active", OTHER_KEY),
                ("initial-2", "previous", THIRD_KEY),
            ],
        ),
        // None of the numbered is called active.
        (
            format!("RECORD_KEY={KEY}X\n{numbered}"),
            &[
                ("initial", "active", "q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6TeX"),
                ("initial-1", "previous", OTHER_KEY),
                ("initial-2", "previous", THIRD_KEY),
            ],
        ),
        // The one that is called active is not there.
        (
            format!("RECORD_KEY={KEY}X\nRECORD_KEY_1={OTHER_KEY}\nRECORD_KEY_ACTIVE=3\n"),
            &[
                ("initial", "active", "q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6TeX"),
                ("initial-1", "previous", OTHER_KEY),
            ],
        ),
    ] {
        let (_folder, daemon) = daemon(&shop(&more));
        let mut found = ring(&daemon, "RECORD_KEY");
        found.sort();
        assert_eq!(found, keys(wanted), "{more}");
    }
}

#[test]
fn who_may_read_the_key_may_read_its_ring() {
    let policy = own() + &allow(SOMEBODY, &["SIGNING_KEY"], &["read"]);
    let (_folder, daemon) = ruled(&policy, &shop(&format!("SIGNING_KEY_PREVIOUS={OTHER_KEY}\n")));
    let as_somebody = |target: &str| client::ask_as(SOMEBODY, &daemon.socket, "GET", target, "");
    assert!(as_somebody("/v1/keys/SIGNING_KEY").is(200).body.contains(OTHER_KEY));
    let alone = as_somebody("/v1/config").is(200);
    assert!(alone.body.contains(KEY), "{alone:?}");
    let words = as_somebody("/v1/keys/RECORD_KEY").refuses(403, "not-permitted");
    assert!(words.contains("user 4711 read RECORD_KEY"), "{words}");
}

/// The last line of a file that notes these keys: field, kid, value, since when it signs.
fn state(retire_after: Option<u64>, keys: &[(Slot, &str, &str, Option<u64>)]) -> String {
    let note = |(slot, kid, value, not_before): &(Slot, &str, &str, Option<u64>)| {
        let kid = Kid::new(kid).unwrap();
        let print = Some(Print::of(&kid, &(*value).into()));
        (*slot, KeyNote { kid, print, not_before: *not_before, rest: serde_json::Map::new() })
    };
    let keys = keys.iter().map(note).collect();
    let progress = Progress { phase: Phase::Activated, retire_after, keys, ..Progress::default() };
    format!("DLCONF_STATE='{}'\n", Ledger::default().with("SIGNING_KEY", progress).to_text())
}

#[test]
fn a_rotation_says_which_key_is_which() {
    let previous = format!("SIGNING_KEY_PREVIOUS={OTHER_KEY}\n");
    let noted = [(Slot::Current, "k2", KEY, Some(1_795_000_000)), (Slot::Previous, "k1", OTHER_KEY, None)];
    let (folder, daemon) = daemon(&shop(&(previous.clone() + &state(None, &noted))));
    let target = "/v1/keys/SIGNING_KEY";
    let first = get(&daemon.socket, target).is(200);
    let wanted = serde_json::json!([
        {"kid": "k2", "state": "active", "not_before": "2026-11-18T11:06:40Z", "retire_after": null, "value": KEY},
        {"kid": "k1", "state": "previous", "not_before": null, "retire_after": null, "value": OTHER_KEY},
    ]);
    let sorted = |answer: &Answer| {
        let mut ring = answer.json().as_array().unwrap().clone();
        ring.sort_by_key(|one| one["state"].as_str().unwrap().to_owned());
        serde_json::Value::Array(ring)
    };
    assert_eq!(sorted(&first), wanted);
    let origin = get(&daemon.socket, "/v1/config/SIGNING_KEY").is(200).json()["origin"].clone();
    assert_eq!(origin, ".env:2:13");

    // The time at which it is retired changes no value, and the answer all the same.
    let tag = first.tag().to_owned();
    let conditional = |tag: &str| ask(&daemon.socket, "GET", target, &[("If-None-Match", tag)], "");
    conditional(&tag).is(304);
    let before = version(&daemon);
    let after = publish(&daemon, &folder, &shop(&(previous.clone() + &state(Some(1_795_086_400), &noted))));
    assert_ne!(before, after);
    let second = conditional(&tag).is(200);
    assert_eq!(sorted(&second)[1]["retire_after"], "2026-11-19T11:06:40Z");
    assert_ne!(second.tag(), tag);

    // A foreign write has the names of no rotation.
    publish(&daemon, &folder, &shop(&format!("SIGNING_KEY_PREVIOUS={THIRD_KEY}\n{}", state(None, &noted))));
    let kids = |answer: &Answer| {
        let ring = sorted(answer);
        let kid = |one: &serde_json::Value| one["kid"].as_str().unwrap().to_owned();
        ring.as_array().unwrap().iter().map(kid).collect::<Vec<_>>()
    };
    assert_eq!(kids(&get(&daemon.socket, target).is(200)), ["k2", "initial-previous"]);

    // Somebody copied a key with what was noted of it: no two have one name.
    let copied =
        [(Slot::Current, "k2", KEY, None), (Slot::Previous, "k2", KEY, None), (Slot::Next, "k2", KEY, None)];
    let fields = format!("SIGNING_KEY_PREVIOUS={KEY}\nSIGNING_KEY_NEXT={KEY}\n");
    publish(&daemon, &folder, &shop(&(fields + &state(None, &copied))));
    let mut found = kids(&get(&daemon.socket, target).is(200));
    assert_eq!(found[0], "k2", "the key that signs keeps its name: {found:?}");
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 3);
}
