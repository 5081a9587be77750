//! `/v1/keys/{key}`: the ring of a variable, by what its source has.

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
