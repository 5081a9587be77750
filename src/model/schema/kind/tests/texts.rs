//! Addresses, structured text, enums and lists.

use super::*;

#[test]
fn urls() {
    good_and_bad(
        "url",
        &[
            "https://api.sarvam.ai",
            "http://localhost:11434",
            "https://[::1]:8443/a?b=c#d",
            "nats://localhost:4222",
            "https://h/a%20b",
        ],
        &[
            "",
            "localhost:8080",
            "example.com/x",
            "http:example.com",
            "http://",
            "http:///x",
            "http://h:99999",
            "http://h/a b",
            "http://h/%zz",
            "http://h\\x",
            "http://user:pass@h/",
            "http://user@h/",
            "http://h\n",
        ][..12],
    );
    check(
        &kind("url"),
        Dialect::Go,
        &[("https://h\n", Err("https://h")), ("\"https://h\"", Err("https://h"))],
    );
    let https = Kind::Url { schemes: vec!["https".into()] };
    check(&https, Dialect::Go, &[("https://h/x", Ok(())), ("HTTPS://h/x", Ok(())), ("http://h/x", Err("-"))]);
    assert_eq!(https.judge("http://h", Dialect::Go).unwrap_err().expected, "a URL that begins with https://");
    let problem = kind("url").judge("http://user:hunter2@h/", Dialect::Go).unwrap_err();
    assert!(!problem.reason.contains("hunter2"));
    assert_eq!(problem.at, 7..20);
}

#[test]
fn origins() {
    check(
        &kind("origin"),
        Dialect::Go,
        &[
            ("http://cc.localhost:8000", Ok(())),
            ("https://app.example.com", Ok(())),
            ("https://[::1]:8080", Ok(())),
            ("https://app.example.com/", Err("https://app.example.com")),
            ("https://App.Example.com", Err("https://app.example.com")),
            ("HTTPS://App.Example.com:443/", Err("https://app.example.com")),
            ("https://app.example.com:443", Err("https://app.example.com")),
            ("http://app.example.com:80", Err("http://app.example.com")),
            (" https://a.b", Err("https://a.b")),
            ("https://app.example.com/path", Err("-")),
            ("https://app.example.com?x", Err("-")),
            ("https://*.example.com", Err("-")),
            ("*", Err("-")),
            ("app.example.com", Err("-")),
            ("https://u@h", Err("-")),
        ],
    );
}

#[test]
fn addresses() {
    good_and_bad(
        "email",
        &["noreply@datalens.io", "a.b+c@x-y.example", "noreply@localhost"],
        &["", "a", "@b", "a@", "a b@c", ".a@b", "a..b@c", "a@b@c", "a@-b", "a@b_c", "ü@b"],
    );
    check(&kind("email"), Dialect::Go, &[("DataLens <a@b.io>", Err("a@b.io")), ("a@b.io ", Err("a@b.io"))]);
    good_and_bad(
        "host",
        &["localhost", "db-1.internal", "10.0.0.1", "::1", "example.com.", "1password.com"],
        &["", "a_b", "-a", "a-", "a..b", "http://a", "a:80", "256.1.1.1", "a b", "[::1]", "bücher.de", "."],
    );
    good_and_bad(
        "host-port",
        &["redis:6379", "10.0.0.1:1", "[::1]:80"],
        &[
            "redis",
            "redis:",
            ":80",
            "redis:0",
            "redis:65536",
            "::1:80",
            "redis:x",
            "http://a:80",
            "a:+80",
            "[x]:1",
        ],
    );
    good_and_bad("ip", &["127.0.0.1", "::1", "2001:db8::1"], &["", "localhost", "1.2.3", "10.0.0.0/8"]);
    check(&kind("ip"), Dialect::Go, &[("[::1]", Err("::1"))]);
}

#[test]
fn structured_texts() {
    good_and_bad("string", &["", " anything\n"], &[]);
    good_and_bad("path", &["/etc/x", "relative/x", "C:\\x"], &["", "a\0b"]);
    good_and_bad("regex", &["^a+$", "(?i)x", ""], &["(", "a{2,1}", "[z-a]"]);
    good_and_bad("json", &["{}", "[1, \"a\"]", "null"], &["", "{", "{'a': 1}", "{} x", "[1,]"]);
    good_and_bad("base64", &["", "YQ==", "YQ", "-_-_", "+/+/"], &["YQ=", "Y", "a+b-", "a b*", "ä"]);
    check(&kind("base64"), Dialect::Go, &[("YWJj\nZGVm", Err("YWJjZGVm"))]);
    good_and_bad("hex", &["00ff", "DEADBEEF"], &["", "abc", "xy"]);
    check(&kind("hex"), Dialect::Go, &[("0xff", Err("ff")), ("ff ", Err("ff"))]);
    good_and_bad(
        "uuid",
        &["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"],
        &["", "123e4567", "123e4567-e89b-12d3-a456-42661417400g"],
    );
    let bare = "123e4567e89b12d3a456426614174000";
    let dashed = "123e4567-e89b-12d3-a456-426614174000";
    check(&kind("uuid"), Dialect::Go, &[(bare, Err(dashed)), (&format!("{{{dashed}}}"), Err(dashed))]);
    good_and_bad("semver", &["1.2.3", "1.0.0-rc.1+5"], &["1.2", "", "01.2.3"]);
    check(&kind("semver"), Dialect::Go, &[("v1.2.3", Err("1.2.3"))]);
}

#[test]
fn json_says_where() {
    let problem = kind("json").judge("{\"ä\": 1,\n x}", Dialect::Go).unwrap_err();
    assert_eq!(problem.at, 10..11, "{}", problem.reason);
    assert!(problem.reason.ends_with("at line 2 column 2"), "{}", problem.reason);
}

#[test]
fn enums() {
    let environments =
        Kind::Enum { values: vec!["development".into(), "staging".into(), "production".into()] };
    check(
        &environments,
        Dialect::Go,
        &[
            ("production", Ok(())),
            ("Production", Err("production")),
            (" production", Err("production")),
            ("prod", Err("production")),
            ("dev", Err("development")),
            ("prodution", Err("-")),
            ("qa", Err("-")),
            ("", Err("-")),
        ],
    );
    let problem = environments.judge("prodution", Dialect::Go).unwrap_err();
    assert_eq!(problem.reason, "there is no \"prodution\"; did you mean production?");
    assert_eq!(problem.expected, "one of development, staging, production");
    let modes = Kind::Enum { values: vec!["verify-ca".into(), "verify-full".into()] };
    check(&modes, Dialect::Go, &[("verify", Err("-"))]);
    check(&kind("enum"), Dialect::Go, &[("anything", Err("-"))]);
}

#[test]
fn lists_are_split_not_trimmed() {
    let origins = Kind::List { of: Box::new(Kind::Origin), separator: ",".into() };
    check(
        &origins,
        Dialect::Go,
        &[
            ("http://a,http://b", Ok(())),
            ("http://a", Ok(())),
            ("http://a, http://b", Err("http://a,http://b")),
            ("http://a ,http://b/", Err("http://a,http://b")),
            ("http://a,,http://b,", Err("http://a,http://b")),
            ("http://a,*", Err("-")),
            ("", Err("-")),
            (",", Err("-")),
        ],
    );
    let problem = origins.judge("http://ä.b,http://b", Dialect::Go).unwrap_err();
    assert_eq!(problem.works.as_deref(), Some("http://xn--4ca.b,http://b"));
    assert_eq!(problem.at, 0..10, "{}", problem.reason);
    let problem = origins.judge("http://a, http://b", Dialect::Go).unwrap_err();
    assert_eq!(problem.at, 9..10);
    let ports = Kind::List { of: Box::new(Kind::Port), separator: ";".into() };
    check(&ports, Dialect::Go, &[("1;2", Ok(())), ("1,2", Err("-")), ("1; 2_000", Err("1;2000"))]);
    assert!(ports.judge("1;2", Dialect::Go).unwrap() == Typed::List(vec!["1".into(), "2".into()]));
}

#[test]
fn cron_schedules() {
    good_and_bad(
        "cron",
        &[
            "0 3 * * *",
            "*/5 * * * *",
            "0 9-17/2 1,15 jan-MAR mon-fri",
            "0 0 ? * 7",
            "@daily",
            "@every 1h30m",
            "0  0 * * *",
        ],
        &[
            "",
            "* * * *",
            "0 0 3 * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "? * * * *",
            "1,, * * * *",
            "1- * * * *",
            "@every 7d",
            "@every -1h",
            "@never",
        ],
    );
    check(&kind("cron"), Dialect::Go, &[("@Daily", Err("@daily"))]);
    assert_eq!(kind("cron").judge("1 1 1 1 9", Dialect::Go).unwrap_err().at, 8..9);
}
