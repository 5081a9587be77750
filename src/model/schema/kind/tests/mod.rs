mod parsed;
mod secrets;
mod texts;

use proptest::prelude::*;

use super::*;

fn kind(name: &str) -> Kind {
    Kind::from_name(name).unwrap()
}

/// A value, and what works instead: nothing for `Ok`, the mended value or `-`
/// for `Err`.
fn check(kind: &Kind, dialect: Dialect, table: &[(&str, Result<(), &str>)]) {
    for (value, expected) in table {
        let name = kind.name();
        match (kind.judge(value, dialect), expected) {
            (Ok(_), Ok(())) => {}
            (Ok(_), Err(_)) => panic!("{name} accepts {value:?}"),
            (Err(problem), Ok(())) => panic!("{name} refuses {value:?}: {}", problem.reason),
            (Err(problem), Err(works)) => {
                let found = problem.works.as_deref().unwrap_or("-");
                assert_eq!(found, *works, "{name} {value:?}: {}", problem.reason);
                assert!(problem.at.end <= value.chars().count(), "{name} {value:?} marks {:?}", problem.at);
            }
        }
    }
}

fn good_and_bad(name: &str, good: &[&str], bad: &[&str]) {
    let table: Vec<_> = good.iter().map(|v| (*v, Ok(()))).chain(bad.iter().map(|v| (*v, Err("-")))).collect();
    check(&kind(name), Dialect::Go, &table);
}

#[test]
fn names_round_trip() {
    assert_eq!(Kind::NAMES.len(), 35);
    for name in Kind::NAMES {
        assert_eq!(kind(name).name(), *name);
    }
    for name in Driver::NAMES {
        assert_eq!(Driver::from_name(name).unwrap().name(), *name);
    }
    for name in Dialect::NAMES {
        assert_eq!(Dialect::from_name(name).unwrap().name(), *name);
    }
    assert!(Kind::from_name("integer").is_none());
}

#[test]
fn reasons_stand_beside_the_mark() {
    for (name, value, reason, at) in [
        ("duration", "7d", "Go has no unit \"d\"", 0..2),
        ("duration", "1h7d", "Go has no unit \"d\"", 2..4),
        ("duration", "300", "a number without a unit", 0..3),
        ("duration", "1h30", "a number without a unit", 2..4),
        ("duration", "5 m", "Go allows no spaces in a duration", 0..3),
        ("int", "8_080", "\"_\" is no digit", 1..2),
        ("int", "äbc", "\"äbc\" is no integer", 0..3),
        ("port", "80a", "\"a\" is no digit", 2..3),
        ("int", "-5x", "\"x\" is no digit", 2..3),
        ("host", "redis:6379", "a host has no port; it belongs into a variable of its own", 5..10),
    ] {
        let problem = kind(name).judge(value, Dialect::Go).unwrap_err();
        assert_eq!((problem.reason.as_str(), problem.at), (reason, at), "{name} {value}");
    }
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let named = (0..Kind::NAMES.len()).prop_map(|at| kind(Kind::NAMES[at]));
    let limited = prop_oneof![
        Just(Kind::Int { min: Some(-5), max: Some(5000) }),
        Just(Kind::Duration { min: Some(1), max: Some(1 << 50) }),
        Just(Kind::Enum { values: vec!["debug".into(), "info".into(), "warn".into()] }),
        Just(Kind::List { of: Box::new(Kind::Origin), separator: ",".into() }),
        Just(Kind::List { of: Box::new(Kind::Duration { min: None, max: None }), separator: "ä".into() }),
        Just(Kind::List {
            of: Box::new(Kind::Int { min: None, max: None }),
            separator: String::new().into()
        }),
    ];
    prop_oneof![named, limited]
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[0-9 .,_+-]{0,6}(d|h|m|s|µs|w|min|days|k|Ki| MB|[a-zä])?[0-9]{0,3}(m|s)?",
        "(https?|nats|postgres)://[a-zA-Z0-9.:@/%*ä\\[\\] -]{0,20}",
        "P?[0-9]{0,3}[WDTHMS0-9.]{0,8}",
        "[-*/,0-9a-z? @]{0,16}",
        "-----BEGIN [A-Z ]{0,12}-----\n[A-Za-z0-9+/=\n]{0,20}-----END [A-Z ]{0,12}-----",
    ]
}

proptest! {
    #[test]
    fn nothing_panics_and_what_works_works(
        kind in any_kind(),
        value in any_value(),
        dialect in prop_oneof![Just(Dialect::Go), Just(Dialect::Iso8601), Just(Dialect::Seconds)],
        min in proptest::option::of(0..64_usize),
    ) {
        if let Err(problem) = kind.judge(&value, dialect) {
            prop_assert!(problem.at.start <= problem.at.end && problem.at.end <= value.chars().count());
            if let Some(works) = problem.works {
                prop_assert!(kind.judge(&works, dialect).is_ok(), "{works}");
            }
        }
        let _ = (kind.weakness(&value, min), weakness(&value, min), looks_like_secret(&value));
    }

    #[test]
    fn written_durations_are_read_back(nanos in any::<i64>()) {
        prop_assert_eq!(parse_go_duration(&go_duration(nanos.into())), Some(nanos));
        let iso = duration::write(i128::from(nanos).abs() / 2, Dialect::Iso8601);
        let read = kind("duration").judge(&iso, Dialect::Iso8601).unwrap();
        prop_assert!(read == Typed::Duration(i128::from(nanos).abs() / 2), "{}", iso);
    }

    #[test]
    fn integers_mean_what_atoi_reads(number in any::<i64>()) {
        let read = kind("int").judge(&number.to_string(), Dialect::Go).unwrap();
        prop_assert!(read == Typed::Int(number));
    }
}
