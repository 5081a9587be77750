//! What the program parses, and silently replaces where it cannot.

use super::*;

/// What Go 1.24's `time.ParseDuration` gives, in nanoseconds; none: an error.
#[test]
fn go_durations_are_gos() {
    for (text, expected) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("+0", Some(0)),
        ("00", None),
        ("5s", Some(5_000_000_000)),
        ("30s", Some(30_000_000_000)),
        ("1478s", Some(1_478_000_000_000)),
        ("-5s", Some(-5_000_000_000)),
        ("+5s", Some(5_000_000_000)),
        ("5.0s", Some(5_000_000_000)),
        ("5.6s", Some(5_600_000_000)),
        ("5.s", Some(5_000_000_000)),
        (".5s", Some(500_000_000)),
        ("1.004s", Some(1_004_000_000)),
        ("1.0040s", Some(1_004_000_000)),
        ("100.00100s", Some(100_001_000_000)),
        ("10ns", Some(10)),
        ("11us", Some(11_000)),
        ("12\u{b5}s", Some(12_000)),
        ("12\u{3bc}s", Some(12_000)),
        ("13ms", Some(13_000_000)),
        ("14s", Some(14_000_000_000)),
        ("15m", Some(900_000_000_000)),
        ("16h", Some(57_600_000_000_000)),
        ("3h30m", Some(12_600_000_000_000)),
        ("10.5s4m", Some(250_500_000_000)),
        ("-2m3.4s", Some(-123_400_000_000)),
        ("1h2m3s4ms5us6ns", Some(3_723_004_005_006)),
        ("39h9m14.425s", Some(140_954_425_000_000)),
        ("1h1h", Some(7_200_000_000_000)),
        ("168h", Some(604_800_000_000_000)),
        ("52763797000ns", Some(52_763_797_000)),
        ("0.3333333333333333333h", Some(1_200_000_000_000)),
        ("0.100000000000000000000h", Some(360_000_000_000)),
        ("0.830103483285477580700h", Some(2_988_372_539_827)),
        ("9007199254740993ns", Some(9_007_199_254_740_993)),
        ("9223372036854775807ns", Some(i64::MAX)),
        ("9223372036854775.807us", Some(i64::MAX)),
        ("9223372036s854ms775us807ns", Some(i64::MAX)),
        ("-9223372036854775808ns", Some(i64::MIN)),
        ("-9223372036854775.808us", Some(i64::MIN)),
        ("-9223372036s854ms775us808ns", Some(i64::MIN)),
        ("9223372036854775808ns", None),
        ("9223372036854775.808us", None),
        ("9223372036854ms775us808ns", None),
        ("-9223372036854775809ns", None),
        ("3000000h", None),
        ("", None),
        ("3", None),
        ("-", None),
        ("+", None),
        ("s", None),
        (".", None),
        ("-.", None),
        (".s", None),
        ("+.s", None),
        ("1d", None),
        ("7d", None),
        ("1w", None),
        ("300", None),
        ("1.5", None),
        ("1 h", None),
        ("1h 30m", None),
        (" 1h", None),
        ("1h ", None),
        ("1H", None),
        ("1M", None),
        ("--1h", None),
        ("+-1h", None),
        ("1h-30m", None),
        ("1_000s", None),
        ("1e3s", None),
        ("1,5h", None),
        ("PT15M", None),
        ("15min", None),
        ("1.2.3s", None),
        ("\u{85}\u{85}", None),
        ("\u{ffff}", None),
        ("hello \u{ffff} world", None),
    ] {
        assert_eq!(parse_go_duration(text), expected, "{text:?}");
    }
}

#[test]
fn durations_that_go_ignores_get_the_value_that_works() {
    check(
        &kind("duration"),
        Dialect::Go,
        &[
            ("168h", Ok(())),
            ("1h30m", Ok(())),
            ("0", Ok(())),
            ("7d", Err("168h")),
            ("1w", Err("168h")),
            ("2weeks", Err("336h")),
            ("2 weeks", Err("336h")),
            ("1d12h", Err("36h")),
            ("1.5d", Err("36h")),
            ("300", Err("300s")),
            ("1h 30m", Err("1h30m")),
            ("5 m", Err("5m")),
            ("15min", Err("15m")),
            ("15 minutes", Err("15m")),
            ("90 minutes", Err("90m")),
            ("1 hour 30 minutes", Err("1h30m")),
            ("1.5 hours", Err("1.5h")),
            ("15M", Err("15m")),
            ("PT15M", Err("15m")),
            ("pt15m", Err("15m")),
            ("P7D", Err("168h")),
            ("P1DT12H", Err("36h")),
            (" 15m", Err("15m")),
            ("15m ", Err("15m")),
            ("\"15m\"", Err("15m")),
            ("", Err("-")),
            ("abc", Err("-")),
            ("1 month", Err("-")),
            ("P1M", Err("-")),
            ("5m later", Err("-")),
            ("999999999999999d", Err("-")),
            ("99999999999999999999999999999999999999999999d", Err("-")),
        ],
    );
}

#[test]
fn durations_of_the_other_dialects() {
    check(
        &kind("duration"),
        Dialect::Seconds,
        &[
            ("900", Ok(())),
            ("0", Ok(())),
            ("15m", Err("900")),
            ("7d", Err("604800")),
            ("PT15M", Err("900")),
            ("900s", Err("900")),
            (" 900", Err("900")),
            ("500ms", Err("-")),
            ("-5", Err("-")),
            ("9223372036855", Err("-")),
        ],
    );
    check(
        &kind("duration"),
        Dialect::Iso8601,
        &[
            ("PT15M", Ok(())),
            ("P7D", Ok(())),
            ("P1W", Ok(())),
            ("P1DT12H", Ok(())),
            ("PT0.5S", Ok(())),
            ("PT1.5H", Ok(())),
            ("15m", Err("PT15M")),
            ("7d", Err("P7D")),
            ("90s", Err("PT1M30S")),
            ("1500ms", Err("PT1.5S")),
            ("36h", Err("P1DT12H")),
            ("300", Err("PT300S")),
            ("pt15m", Err("PT15M")),
            ("P", Err("-")),
            ("PT", Err("-")),
            ("P1DT", Err("-")),
            ("P1M", Err("-")),
            ("P1Y", Err("-")),
            ("PT1M1H", Err("-")),
            ("PT1.5H30M", Err("-")),
            ("P1H", Err("-")),
        ],
    );
}

#[test]
fn durations_keep_their_limits() {
    let minute = 60_000_000_000;
    let limited = Kind::Duration { min: Some(minute), max: Some(60 * minute) };
    check(
        &limited,
        Dialect::Go,
        &[("1m", Ok(())), ("60m", Ok(())), ("59s", Err("-")), ("7d", Err("-")), ("30 min", Err("30m"))],
    );
    let problem = limited.judge("59s", Dialect::Go).unwrap_err();
    assert_eq!(problem.class, Class::OutOfRange);
    assert_eq!(problem.reason, "it is shorter than 1m");
    assert_eq!(problem.expected, "a Go duration from 1m to 1h");
}

#[test]
fn go_durations_are_written_short() {
    for (nanos, expected) in [
        (0, "0s"),
        (604_800_000_000_000, "168h"),
        (900_000_000_000, "15m"),
        (5_400_000_000_000, "1h30m"),
        (300_000_000_000, "5m"),
        (1_500_000_000, "1s500ms"),
        (1, "1ns"),
        (-900_000_000_000, "-15m"),
    ] {
        assert_eq!(go_duration(nanos), expected);
    }
    assert_eq!(plain_duration("30d"), Some(30 * 86_400_000_000_000));
    assert_eq!(plain_duration("30"), None);
}

/// `strconv.Atoi` on 64 bits.
#[test]
fn integers_are_atois() {
    check(
        &kind("int"),
        Dialect::Go,
        &[
            ("0", Ok(())),
            ("-5", Ok(())),
            ("+5", Ok(())),
            ("007", Ok(())),
            ("-0", Ok(())),
            ("9223372036854775807", Ok(())),
            ("-9223372036854775808", Ok(())),
            ("9223372036854775808", Err("-")),
            ("-9223372036854775809", Err("-")),
            ("8_080", Err("8080")),
            ("8,080", Err("8080")),
            ("8 080", Err("8080")),
            ("8080 ", Err("8080")),
            ("\t8080", Err("8080")),
            ("'8080'", Err("8080")),
            ("8080.0", Err("8080")),
            ("0x1F90", Err("8080")),
            ("1e3", Err("1000")),
            ("-1e3", Err("-1000")),
            ("8080.5", Err("-")),
            ("1,2", Err("-")),
            ("80 80", Err("-")),
            ("1e99", Err("-")),
            ("abc", Err("-")),
            ("", Err("-")),
            ("-", Err("-")),
            ("+", Err("-")),
            ("+-5", Err("-")),
            ("5k", Err("-")),
            ("\u{661}\u{662}", Err("-")),
        ],
    );
    let small = Kind::Int { min: Some(1), max: Some(10) };
    check(
        &small,
        Dialect::Go,
        &[("1", Ok(())), ("10", Ok(())), ("0", Err("-")), ("11", Err("-")), ("0x0b", Err("-"))],
    );
    assert_eq!(small.judge("11", Dialect::Go).unwrap_err().class, Class::OutOfRange);
    assert_eq!(small.judge("11", Dialect::Go).unwrap_err().expected, "an integer from 1 to 10");
    assert_eq!(kind("int").judge("9223372036854775808", Dialect::Go).unwrap_err().class, Class::NotOfType);
    assert!(kind("int").judge("-12", Dialect::Go).unwrap() == Typed::Int(-12));
}

/// `strconv.ParseBool`.
#[test]
fn booleans_are_parse_bools() {
    let words = ["1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"];
    good_and_bad("bool", &words, &["", "2", "maybe", "-1"]);
    check(
        &kind("bool"),
        Dialect::Go,
        &[
            ("yes", Err("true")),
            ("on", Err("true")),
            ("enabled", Err("true")),
            ("tRuE", Err("true")),
            (" true", Err("true")),
            ("no", Err("false")),
            ("Off", Err("false")),
        ],
    );
    assert!(kind("bool").judge("F", Dialect::Go).unwrap() == Typed::Bool(false));
}

#[test]
fn floats_are_parse_floats() {
    good_and_bad(
        "float",
        &["1", "1.", ".5", "-1.5e-3", "+2E10", "1_000.5", "1_23.50_0_0e+1_2"],
        &["", ".", "e5", "1e", "abc", "1__0", "_1", "1_", "1_.5", "0x1p-2", "1e999", "inf", "NaN", "1.2.3"],
    );
    check(&kind("float"), Dialect::Go, &[("0,5", Err("0.5")), (" 0.5", Err("0.5"))]);
    let share = Kind::Float { min: Some(0.0), max: Some(1.0) };
    assert_eq!(share.judge("1.5", Dialect::Go).unwrap_err().class, Class::OutOfRange);
    assert_eq!(share.judge("NaN", Dialect::Go).unwrap_err().class, Class::OutOfRange);
}

#[test]
fn ports() {
    good_and_bad("port", &["1", "8080", "65535", "+80"], &["0", "65536", "70000", "-1", "abc", "http"]);
    for (value, class) in [
        ("abc", Class::NotOfType),
        ("0", Class::OutOfRange),
        ("70000", Class::OutOfRange),
        ("99999999999999999999", Class::NotOfType),
    ] {
        assert_eq!(kind("port").judge(value, Dialect::Go).unwrap_err().class, class, "{value}");
    }
    for name in ["port", "int"] {
        let problem = kind(name).judge("tcp://10.0.0.1:6379", Dialect::Go).unwrap_err();
        assert!(problem.reason.contains("enableServiceLinks: false"), "{}", problem.reason);
        assert_eq!(problem.works, None);
    }
}

#[test]
fn sizes() {
    for (value, bytes) in [
        ("0", 0),
        ("512", 512),
        ("512k", 512_000),
        ("512Ki", 524_288),
        ("10MiB", 10_485_760),
        ("10MB", 10_000_000),
        ("1g", 1_000_000_000),
        ("8B", 8),
        ("7EiB", 8_070_450_532_247_928_832),
    ] {
        assert!(kind("bytes-size").judge(value, Dialect::Go) == Ok(Typed::Bytes(bytes)), "{value}");
    }
    check(
        &kind("bytes-size"),
        Dialect::Go,
        &[
            ("10 MiB", Err("10MiB")),
            ("100 bytes", Err("100")),
            ("1.5GiB", Err("1610612736")),
            ("1.5B", Err("-")),
            ("8EiB", Err("-")),
            ("-1", Err("-")),
            ("MiB", Err("-")),
            ("10ib", Err("-")),
            ("10x", Err("-")),
            ("", Err("-")),
        ],
    );
}
