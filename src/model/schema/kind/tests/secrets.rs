//! Secret kinds, the names beside them, and the strength of secrets.

use super::*;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";

const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAMCAQE=\n-----END PRIVATE KEY-----\n";

#[test]
fn connection_strings() {
    let dsn = |driver| Kind::Dsn { driver };
    let both = |driver, good: &[&str], bad: &[&str]| {
        let table: Vec<_> =
            good.iter().map(|v| (*v, Ok(()))).chain(bad.iter().map(|v| (*v, Err("-")))).collect();
        check(&dsn(driver), Dialect::Go, &table);
    };
    both(
        Driver::Postgres,
        &[
            "postgres://user:pass@localhost:5432/datalens?sslmode=disable",
            "postgresql://h/db",
            "postgres://u:p%40ss@h1:5432,h2:5433/db",
            "postgres://u@[::1]:5432/db",
        ],
        &[
            "mysql://h/db",
            "h/db",
            "postgres://",
            "postgres:///db",
            "postgres://u:p@:5432/db",
            "postgres://u:p@ss@h/db",
            "postgres://u:p/ss@h/db",
            "postgres://u:p?ss@h/db",
            "postgres://u:p#ss@h/db",
            "postgres://u:p%zz@h/db",
            "postgres://u:p ss@h/db",
            "postgres://h:0/db",
            "postgres://h:port/db",
        ],
    );
    both(Driver::Redis, &["redis://localhost:6379/0", "rediss://:p@h"], &["redis:///0", "redis://h/cache"]);
    both(
        Driver::Nats,
        &["nats://localhost:4222", "nats://a:4222,nats://b:4222", "tls://a:4222,b:4222", "wss://h"],
        &["nats://", "nats://a,", "http://a"],
    );
    both(Driver::Amqp, &["amqp://guest:guest@localhost:5672/", "amqps://h/%2f"], &["amqp://", "nats://h"]);
}

#[test]
fn pem_texts() {
    let two = CERTIFICATE.repeat(2);
    let behind = format!("{CERTIFICATE}rubbish");
    let mixed = format!("{CERTIFICATE}{PRIVATE_KEY}");
    let before = format!("subject=CN\n{CERTIFICATE}");
    good_and_bad(
        "pem-certificate",
        &[CERTIFICATE, CERTIFICATE.trim(), &two, &before],
        &[
            "",
            "abc",
            PRIVATE_KEY,
            &behind,
            &mixed,
            &CERTIFICATE.replace("MAM", "M*M"),
            &CERTIFICATE.replace("MAM", "QUM"),
        ],
    );
    let escaped = CERTIFICATE.trim().replace('\n', "\\n");
    check(&kind("pem-certificate"), Dialect::Go, &[(&escaped, Err(CERTIFICATE.trim()))]);
    let curve =
        format!("-----BEGIN EC PARAMETERS-----\nMAMCAQE=\n-----END EC PARAMETERS-----\n{PRIVATE_KEY}");
    good_and_bad(
        "pem-private-key",
        &[PRIVATE_KEY, &PRIVATE_KEY.replace("PRIVATE", "RSA PRIVATE"), &curve],
        &[
            "",
            CERTIFICATE,
            &mixed,
            &PRIVATE_KEY.replace('\n', "\\n"),
            &PRIVATE_KEY.replace("PRIVATE", "ENCRYPTED PRIVATE"),
        ],
    );
}

#[test]
fn keys_and_names_of_clouds() {
    good_and_bad(
        "aws-access-key-id",
        &["AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "minioadmin", "dev_key-1"],
        &["...", "ab", "AKIA123", "AKIAIOSFODNN7EXAMPL1", "akia key"],
    );
    good_and_bad(
        "aws-secret-access-key",
        &["wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "minioadmin"],
        &["...", "short", "AKIAIOSFODNN7EXAMPLE", "with space here", "minioadmin\n"],
    );
    good_and_bad(
        "aws-region",
        &["ap-south-1", "us-gov-west-1", "eu-isoe-west-1"],
        &["", "mumbai", "ap-south", "a-b-1"],
    );
    check(
        &kind("aws-region"),
        Dialect::Go,
        &[("ap-south-1a", Err("ap-south-1")), ("AP_SOUTH_1", Err("ap-south-1"))],
    );
    good_and_bad(
        "s3-bucket",
        &["datalens-scans", "a.b-c", "123"],
        &["", "ab", "Data", "a_b", "-ab", "ab-", "a..b", "10.0.0.1", "xn--abc", &"a".repeat(64)],
    );
    check(
        &kind("s3-bucket"),
        Dialect::Go,
        &[("s3://scans/", Err("scans")), ("arn:aws:s3:::scans", Err("scans"))],
    );
    good_and_bad("oauth-client-id", &["abc-1.apps.example"], &["", "a b", "ä"]);
    good_and_bad("hmac-key", &["any text, really", "ü"], &["abc\n", " abc", "a\0b"]);
    for name in ["api-key", "oauth-client-secret"] {
        good_and_bad(name, &["sk-abc_123=="], &["", "a b", "abc\n", "ä"]);
    }
    good_and_bad("password", &["p @ss", "ü"], &["abc\n", " abc", "a\nb"]);
}

#[test]
fn secret_kinds_say_nothing_of_the_value() {
    let value = "Hunter2 \u{1}\u{e4}%zz";
    let mut kinds: Vec<Kind> = Kind::NAMES.iter().map(|name| kind(name)).filter(Kind::is_secret).collect();
    assert_eq!(kinds.len(), 8);
    kinds.push(Kind::List { of: Box::new(Kind::AwsAccessKeyId), separator: ",".into() });
    for (kind, value) in kinds.iter().flat_map(|kind| [(kind, value), (kind, "minioadmin,Hunter2 zz")]) {
        // A password may look like this; most of the rest may not.
        let Err(problem) = kind.judge(value, Dialect::Go) else { continue };
        let shown = format!("{} {} {problem:?}", problem.reason, problem.expected);
        assert!(!shown.contains("unter2") && !shown.contains("zz"), "{} says {shown}", kind.name());
        assert_eq!((problem.works, problem.at), (None, 0..value.chars().count()), "{}", kind.name());
    }
    let plain = kind("int").judge("hunter2", Dialect::Go).unwrap_err();
    assert!(plain.reason.contains("hunter2"));
    assert!(!format!("{plain:?}").contains("hunter2"));
    let hidden = plain.without_value();
    assert_eq!((hidden.reason.as_str(), hidden.at, hidden.works), ("it is not an integer", 0..7, None));
    assert!(!format!("{:?}", Typed::List(vec!["hunter2".into()])).contains("hunter2"));
}

#[test]
fn weak_secrets() {
    let random = "q8Zr2LxV0mN5tKc7YbHj3WfPs9DgEa1U";
    let hmac = Kind::HmacKey;
    for (value, expected) in [
        (random, None),
        ("4f1c9a7be03d5826c9f7a10b3e8d46f2", None),
        ("correct-horse-battery-staple-and-more", None),
        ("0123456789abcdef0123456789abcdef", Some(Weakness::Repeated)),
        ("0123456789abcdefghijklmnopqrstuvwxyz", Some(Weakness::Sequence)),
        ("qwertyuiopasdfghjklzxcvbnmqwertyuio", Some(Weakness::Sequence)),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Some(Weakness::Repeated)),
        ("abcabcabcabcabcabcabcabcabcabcabcabc", Some(Weakness::Repeated)),
        ("your-256-bit-secret", Some(Weakness::TooShort { bytes: 19, needed: 32 })),
        ("change-me-in-prod-please-change-me-now1", None),
        ("change-me-in-prod-please-change-me-1234", Some(Weakness::Notorious)),
        ("p4ssw0rd-p4ssw0rd-s3cr3t-s3cr3t-adm1n", Some(Weakness::Notorious)),
        ("aabbccddaabbccddaabbccddaaddccbbabcd", Some(Weakness::FewCharacters)),
    ] {
        assert_eq!(hmac.weakness(value, None), expected, "{value}");
    }
    for (value, weak) in [
        ("change-me-in-prod", true),
        ("your-256-bit-secret", true),
        ("password123", true),
        ("Passw0rd!", true),
        ("letmein", true),
        ("12345678", true),
        ("hunter2", false),
        ("x9!Kp", false),
        ("aaaa", true),
        ("123", true),
    ] {
        assert_eq!(Kind::Password.weakness(value, None).is_some(), weak, "{value}");
    }
    assert_eq!(
        Kind::Password.weakness("hunter2", Some(12)).unwrap().to_string(),
        "it has 7 bytes, 12 are needed"
    );
    assert_eq!(Kind::ApiKey.weakness("abcabd", None), Some(Weakness::FewCharacters));
    assert_eq!(weakness("", None), None);
    assert_eq!(weakness("", Some(1)), Some(Weakness::TooShort { bytes: 0, needed: 1 }));
}

#[test]
fn unmistakable_secrets() {
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P";
    for (value, expected) in [
        (PRIVATE_KEY, Some("a private key")),
        ("sk-ant-api03-abcDEF123456ghiJKL789", Some("an Anthropic API key")),
        ("sk-proj-abcDEF123456ghiJKL789", Some("an OpenAI API key")),
        ("sk_live_51abcDEF123456ghi", Some("a Stripe key")),
        ("ghp_abcDEF123456ghiJKL789mnoPQR012stuVWX", Some("a GitHub token")),
        ("xoxb-123456789012-abcDEFghi", Some("a Slack token")),
        ("AIzaSyabcDEF123456ghiJKL789mnoPQR012stu", Some("a Google API key")),
        ("hvs.CAESIabcDEF123456ghiJKL789", Some("a Vault token")),
        ("s.abcDEF123456ghiJKL789mno", Some("a Vault token")),
        (jwt, Some("a JSON Web Token")),
        ("postgres://user:pass@localhost:5432/datalens", Some("a URL with a password")),
        ("sk-...", None),
        ("sk-ant-...", None),
        ("sk-your-openai-api-key-goes-here", None),
        ("sk-your-256-bit-secret-key-goes-here", None),
        ("sk-xxxxxxxxxxxxxxxxxxxxxxxx", None),
        ("sk-learn-something-interesting", None),
        ("ghp_short", None),
        ("s.example.com", None),
        ("eyJ.eyJ.x", None),
        ("nats://localhost:4222", None),
        ("https://user@host/", None),
        ("postgres://user:${PASSWORD}@host/db", None),
        ("postgres://user:@host/db", None),
        ("AKIAIOSFODNN7EXAMPLE", None),
        (CERTIFICATE, None),
        ("", None),
    ] {
        assert_eq!(looks_like_secret(value), expected, "{value}");
    }
}
