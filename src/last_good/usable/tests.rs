use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::*;
use crate::model::kept::KeptLease;
use crate::model::key::{Key, SourceName};
use crate::model::layer::{Layer, Offer};
use crate::model::origin::{Location, Origin};
use crate::model::secret::SecretValue;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const YEARS: Duration = Duration::from_hours(10 * 365 * 24);

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(500_000)
}

fn about() -> About {
    About {
        schema: "shop".into(),
        schema_hash: [7; 32],
        environment: "production".into(),
        service: String::new(),
        instance: "7f3a".into(),
    }
}

/// Written at this time with a limit of an hour.
fn state(written: SystemTime) -> State {
    let About { schema, environment, service, instance, .. } = about();
    let not_after = Some(super::super::to_seconds(written + HOUR));
    let written = super::super::to_seconds(written);
    State { generation: 1, written, not_after, schema_hash: [8; 32], schema, environment, service, instance }
}

/// A source that was confirmed then, with a value of each of these places.
fn kept(source: &str, confirmed: SystemTime, places: &[&str]) -> Kept {
    let source = SourceName::new(source);
    let offer = |place: &&str| {
        let location = Location::Field { of: (*place).into(), name: "x".into(), revision: None };
        let origin = Origin { mark: None, source: source.clone(), location, revision: None, modified: None };
        Offer { key: Key::new("A").unwrap(), value: SecretValue::from("v").into(), origin, excerpt: None }
    };
    let offers = places.iter().map(offer).collect();
    let layer = Layer { source: source.clone(), places: Vec::new(), offers, remarks: Vec::new() };
    Kept { source, identity: "i".into(), confirmed, max_age: None, lent: Vec::new(), layer, is_cut: false }
}

fn contents(kept: Vec<Kept>) -> Vec<Kept> {
    kept.into_iter().map(|kept| Kept { max_age: Some(HOUR), ..kept }).collect()
}

#[test]
fn another_purpose_is_told_by_its_name() {
    type Turn = fn(&mut About);
    let turns: [(Turn, &str); 5] = [
        (|about| about.schema = "other".into(), "it is of schema shop, and the schema is other"),
        (
            |about| about.environment = "staging".into(),
            "it is of environment production, and the environment is staging",
        ),
        (|about| about.service = "web".into(), "it is of all services, and the daemon is of service web"),
        (|about| about.schema_hash = [9; 32], ""),
        (|about| about.instance = "0000".into(), ""),
    ];
    for (turn, words) in turns {
        let mut about = about();
        turn(&mut about);
        let said = judge(&state(now()), &about, now()).err().map(|why| why.to_string()).unwrap_or_default();
        assert_eq!(said, words);
    }
}

#[test]
fn a_clock_that_moved_is_no_reason_to_believe() {
    for (written, is_refused) in [
        (now(), false),
        (now() + SKEW, false),
        (now() + SKEW + Duration::from_secs(1), true),
        (now() + YEARS, true),
    ] {
        let judged = judge(&state(written), &about(), now());
        assert_eq!(judged.is_err(), is_refused, "{written:?}");
        if let Err(why) = judged {
            assert!(why.to_string().starts_with("it is from the future: it was written at 20"), "{why}");
            assert!(why.help("s").contains("set the clock"));
        }
    }
    let old = sift(contents(vec![kept("a", now(), &["p"])]), &state(now()), HOUR, now() + YEARS).unwrap_err();
    assert_eq!(
        old.to_string(),
        "it is too old: it was written at 2027-01-15T08:00:00Z, its youngest part was confirmed 87600h ago, \
         and the limit is 1h"
    );
    assert!(old.help("s").contains("a larger max_age makes nothing younger"));
}

#[test]
fn the_smaller_limit_binds_to_the_second() {
    let sifted = |ours: Duration, theirs: Duration, age: Duration| {
        let written = now() - age;
        let contents = vec![Kept { max_age: Some(theirs), ..kept("a", written, &["p"]) }];
        let state = State { not_after: None, ..state(written) };
        sift(contents, &state, ours, now()).is_ok()
    };
    for (ours, theirs, age, is_fine) in [
        (HOUR, HOUR, HOUR, true),
        (HOUR, HOUR, HOUR + Duration::from_secs(1), false),
        (YEARS, HOUR, HOUR + Duration::from_secs(1), false),
        (MINUTE, HOUR, MINUTE + Duration::from_secs(1), false),
        (MINUTE, HOUR, MINUTE, true),
    ] {
        assert_eq!(sifted(ours, theirs, age), is_fine, "{ours:?} {theirs:?} {age:?}");
    }
    // What is sealed beside the values says so by itself.
    let state = State { not_after: Some(super::super::to_seconds(now()) - 1), ..state(now()) };
    assert!(sift(contents(vec![kept("a", now(), &["p"])]), &state, HOUR, now()).is_err());
}

#[test]
fn each_source_has_its_own_age() {
    let all = vec![
        kept("young", now() - MINUTE, &["p"]),
        kept("old", now() - HOUR - MINUTE, &["p"]),
        kept("ahead", now() + SKEW + MINUTE, &["p"]),
    ];
    let (usable, dropped) = sift(contents(all), &state(now()), HOUR, now()).unwrap();
    let names: Vec<&str> = usable.iter().map(|one| one.source.as_str()).collect();
    assert_eq!(names, ["young"]);
    assert_eq!(
        dropped,
        [
            "what source old gave: it was last confirmed at 2027-01-15T06:59:00Z, 1h1m ago, and the limit is 1h",
            "what source ahead gave: it was confirmed at 2027-01-15T08:06:00Z, which is yet to come",
        ]
    );
}

#[test]
fn what_was_lent_ends_when_it_ends() {
    let mut one = kept("vault", now(), &["kv", "db", "pki"]);
    let lease = |place: &str, ends| KeptLease { place: place.into(), ends };
    one.lent = vec![lease("db", Some(now())), lease("pki", Some(now() + MINUTE)), lease("unknown", None)];
    let (usable, dropped) = sift(contents(vec![one]), &state(now()), HOUR, now()).unwrap();
    let places: Vec<Option<&Arc<str>>> =
        usable[0].layer.offers.iter().map(|offer| offer.origin.location.place()).collect();
    assert_eq!(places, [Some(&"kv".into()), Some(&"pki".into())]);
    assert_eq!(usable[0].lent.len(), 2);
    assert!(usable[0].is_cut);
    assert_eq!(dropped, ["what source vault has of db: its lease ended at 2027-01-15T08:00:00Z"]);
}
