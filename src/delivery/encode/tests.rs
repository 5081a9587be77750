use proptest::prelude::*;

use super::*;

const NAMED: (Option<&str>, Option<&str>) = (Some("app"), None);

fn options((name, namespace): (Option<&str>, Option<&str>)) -> Options {
    Options { name: name.map(str::to_owned), namespace: namespace.map(str::to_owned) }
}

/// The output, or each refused key with its reason and help.
fn encoded(
    format: Format,
    entries: &[(&str, &str)],
    named: (Option<&str>, Option<&str>),
) -> Result<String, Vec<Unrepresentable>> {
    let owned: Vec<(Key, SecretValue)> =
        entries.iter().map(|(key, value)| (Key::new(key).unwrap(), SecretValue::from(*value))).collect();
    let borrowed: Vec<(&Key, &SecretValue)> = owned.iter().map(|(key, value)| (key, value)).collect();
    encode(format, &borrowed, &options(named)).map(|text| text.expose().to_owned())
}

fn check(format: Format, value: &str, expected: &str) {
    let output = encoded(format, &[("K", value)], NAMED).unwrap();
    assert_eq!(output, expected, "{} of {value:?}", format.as_str());
}

fn check_refused(format: Format, key: &str, value: &str, refusal: Refusal) {
    let refused = encoded(format, &[("A", "a"), (key, value), ("Z", "z")], NAMED).unwrap_err();
    let seen: Vec<_> = refused.iter().map(|one| (one.key.as_str(), one.reason.as_str())).collect();
    assert_eq!(seen, [(key, refusal.reason())], "{} of {value:?}", format.as_str());
}

#[test]
fn names_lead_back_to_their_formats() {
    assert_eq!(Format::ALL.len(), 12);
    for format in Format::ALL {
        assert_eq!(format.as_str().parse(), Ok(*format));
    }
    assert_eq!("Dotenv".parse::<Format>(), Err(()));
}

#[test]
fn each_reader_gets_its_own_quotes() {
    use Format::*;
    for (format, value, expected) in [
        (Dotenv, "", "K=\n"),
        (Dotenv, "a=b:ü/{[^@%!?*+,.-_]}", "K=a=b:ü/{[^@%!?*+,.-_]}\n"),
        (Compose, "", "K=\"\"\n"),
        (Compose, " a\\b\"c$d`e\r\n", "K=\" a\\\\b\\\"c\\$d`e\r\n\"\n"),
        (Docker, "", "K=\n"),
        (Docker, " # 'a' \"b\" $c \\ ", "K= # 'a' \"b\" $c \\ \n"),
        (Systemd, "a\\b\"c$d`e\n", "K=\"a\\\\b\\\"c\\$d\\`e\n\"\n"),
        (Shell, "", "export K=''\n"),
        (Shell, "'a'$(id)\n'", "export K=''\\''a'\\''$(id)\n'\\'''\n"),
        (Powershell, "a'b$c", "$env:K = 'a''b$c'\n"),
        (Powershell, "’; x; ‘‚‛", "$env:K = '’’; x; ‘‘‚‚‛‛'\n"),
        (Godotenv, "a\\b\"c$d\r\n", "K=\"a\\\\b\\\"c\\$d\\r\\n\"\n"),
        (Godotenv, "C:\\logs\\", "K=C:\\logs\\\n"),
        (Node, "a\"b`c\n#", "K='a\"b`c\n#'\n"),
        (Node, "a'b", "K=`a'b`\n"),
        (Node, "a'b`c", "K=\"a'b`c\"\n"),
        (Node, "C:\\logs\\", "K=C:\\logs\\\n"),
        (Python, "a\\b'c$d", "K='a\\\\b\\'c$d'\n"),
        (Python, "C:\\my logs\\", "K=C:\\my logs\\\n"),
        (Json, "\0\"\\\n\u{1F}ü\u{2028}", "{\n  \"K\": \"\\u0000\\\"\\\\\\n\\u001fü\u{2028}\"\n}\n"),
        (
            Yaml,
            "no \0\u{85}\u{2028}\u{FEFF}\u{1FFFE}😀",
            "\"K\": \"no \\u0000\\u0085\\u2028\\ufeff\\U0001fffe😀\"\n",
        ),
    ] {
        check(format, value, expected);
    }
}

#[test]
fn a_secret_is_a_manifest() {
    let entries = [("B", "hunter2"), ("A", ""), ("NO", "ü\0")];
    let output = encoded(Format::K8sSecret, &entries, (Some("datalens.api"), Some("prod-1"))).unwrap();
    assert_eq!(
        output,
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"datalens.api\"\n  namespace: \"prod-1\"\n\
         type: Opaque\ndata:\n  \"B\": \"aHVudGVyMg==\"\n  \"A\": \"\"\n  \"NO\": \"w7wA\"\n"
    );
}

#[test]
fn entries_keep_their_order() {
    let entries = [("B", "1"), ("A", "2")];
    for (format, expected) in [
        (Format::Dotenv, "B=1\nA=2\n"),
        (Format::Json, "{\n  \"B\": \"1\",\n  \"A\": \"2\"\n}\n"),
        (Format::Yaml, "\"B\": \"1\"\n\"A\": \"2\"\n"),
    ] {
        assert_eq!(encoded(format, &entries, NAMED).unwrap(), expected);
    }
}

#[test]
fn nothing_is_well_formed_too() {
    for (format, expected) in [
        (Format::Shell, ""),
        (Format::Json, "{}\n"),
        (Format::Yaml, "{}\n"),
        (
            Format::K8sSecret,
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: \"app\"\ntype: Opaque\ndata: {}\n",
        ),
    ] {
        assert_eq!(encoded(format, &[], NAMED).unwrap(), expected);
    }
}

#[test]
fn what_a_reader_would_change_is_refused() {
    use Format::*;
    let lines = "x".repeat(65_536 - "K=\n".len());
    check(Docker, &lines, &format!("K={lines}\n"));
    let long = format!("{lines}x");
    for (format, value, refusal) in [
        (Docker, "a\nb", Refusal::LineBreak),
        (Docker, "a\r", Refusal::LineBreak),
        (Docker, &long, Refusal::LongLine),
        (Dotenv, &long, Refusal::LongLine),
        (Systemd, "a\u{FDD0}", Refusal::Noncharacter),
        (Systemd, "a\u{10FFFF}", Refusal::Noncharacter),
        (Godotenv, "say \"hi\"", Refusal::EndsInQuote),
        (Godotenv, "#\\", Refusal::EndsInBackslash),
        (Node, "a\rb", Refusal::CarriageReturn),
        (Node, "'`\"", Refusal::Quotes),
        (Node, "'`\\n", Refusal::Quotes),
        (Node, "'\\", Refusal::EndsInBackslash),
        (Python, "a\rb", Refusal::CarriageReturn),
        (Python, "a${b", Refusal::Interpolation),
        (Python, " \\", Refusal::EndsInBackslash),
    ] {
        check_refused(format, "K", value, refusal);
    }
    let unlike = [" ", "a b", "\t", "#", "$", "'", "\"", "`", "\\", "~", ";", "&", "|", "<", ">", "(", ")"];
    for value in unlike
        .into_iter()
        .chain(["\n", "\r", "\u{7F}", "\u{85}", "\u{A0}", "\u{2028}", "\u{FEFF}", "\u{FFFE}"])
    {
        check_refused(Dotenv, "K", value, Refusal::NotPortable);
    }
}

#[test]
fn nul_is_refused_by_every_environment() {
    for format in Format::ALL {
        if matches!(format, Format::Json | Format::Yaml | Format::K8sSecret) {
            assert!(encoded(*format, &[("K", "a\0")], NAMED).is_ok());
        } else {
            check_refused(*format, "K", "a\0", Refusal::Nul);
        }
    }
}

#[test]
fn names_that_a_reader_keeps_are_refused() {
    check_refused(Format::Shell, "UID", "1000", Refusal::ShellName);
    check_refused(Format::Node, "__proto__", "x", Refusal::NodeName);
    check_refused(Format::K8sSecret, &"K".repeat(254), "x", Refusal::LongName);
    assert!(encoded(Format::K8sSecret, &[(&"K".repeat(253), "x")], NAMED).is_ok());
}

#[test]
fn a_secret_holds_a_mebibyte() {
    let half = "x".repeat(512 * 1024);
    let entries = [("A", half.as_str()), ("B", &half), ("C", "")];
    assert!(encoded(Format::K8sSecret, &entries, NAMED).is_ok());
    let refused = encoded(Format::K8sSecret, &[("A", &half), ("B", &half), ("C", "x")], NAMED).unwrap_err();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].reason, Refusal::SecretTooLarge.reason());
}

#[test]
fn a_secret_needs_names_that_kubernetes_takes() {
    let long = ["x".repeat(254), "x".repeat(64)];
    for (names, expected) in [
        ((None, None), Some(Refusal::SecretName)),
        ((Some(""), None), Some(Refusal::SecretName)),
        ((Some("Api"), None), Some(Refusal::SecretName)),
        ((Some("a..b"), None), Some(Refusal::SecretName)),
        ((Some("a.-b"), None), Some(Refusal::SecretName)),
        ((Some("a\": x"), None), Some(Refusal::SecretName)),
        ((Some(long[0].as_str()), None), Some(Refusal::SecretName)),
        ((Some("a.b"), Some("a.b")), Some(Refusal::SecretNamespace)),
        ((Some("a"), Some("")), Some(Refusal::SecretNamespace)),
        ((Some("a"), Some("a-")), Some(Refusal::SecretNamespace)),
        ((Some("a"), Some(long[1].as_str())), Some(Refusal::SecretNamespace)),
        ((Some("a.b-1"), Some("0a")), None),
    ] {
        let outcome = encoded(Format::K8sSecret, &[("A", "a"), ("B", "b")], names);
        assert_eq!(options(names).problem(Format::K8sSecret), expected.map(Refusal::reason), "{names:?}");
        assert_eq!(options(names).problem(Format::Json), None);
        match expected {
            None => assert!(outcome.is_ok()),
            Some(refusal) => {
                let refused = outcome.unwrap_err();
                assert_eq!(refused.len(), 2);
                assert!(refused.iter().all(|one| one.reason == refusal.reason()));
            }
        }
    }
}

#[test]
fn every_refusal_comes_in_one_run_and_names_who_can() {
    let refused = encoded(Format::Docker, &[("A", "a\nb"), ("B", "b"), ("C", "\r")], NAMED).unwrap_err();
    let keys: Vec<_> = refused.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["A", "C"]);
    assert_eq!(
        refused[0].help,
        "write it for a reader that can carry it: --format compose, systemd, shell, powershell, godotenv, \
         node, python, json, yaml, k8s-secret"
    );
    assert_eq!(
        refused[1].help,
        "write it for a reader that can carry it: --format compose, systemd, shell, powershell, godotenv, \
         json, yaml, k8s-secret"
    );
}

proptest! {
    /// Escapes grow a value by no more than was set aside: no copy is left where
    /// a smaller block was.
    #[test]
    fn the_output_fits_its_block(values in prop::collection::vec(any::<String>(), 0..8)) {
        let worst = ["\0".repeat(99), "'".repeat(99), "\u{1FFFE}\u{2019}\\\"$".repeat(99), String::new()];
        let owned: Vec<(Key, SecretValue)> = values
            .iter()
            .chain(&worst)
            .map(|value| (Key::new("K").unwrap(), SecretValue::from(value.as_str())))
            .collect();
        for format in Format::ALL {
            for count in [0, 1, owned.len()] {
                let some: Vec<_> = owned.iter().rev().take(count).map(|(key, value)| (key, value)).collect();
                let options = options((Some("name"), Some("space")));
                if let Ok(output) = encode(*format, &some, &options) {
                    prop_assert!(output.len() <= write::capacity(*format, &some, &options));
                }
            }
        }
    }

    /// A refusal says nothing of the value.
    #[test]
    fn refusals_hold_no_value(value in "[\\x00-\\x1F]{1,3}HUNTER2[\"'`${\\\\\\r]{0,3}") {
        for format in Format::ALL {
            for refused in encoded(*format, &[("K", &value)], NAMED).err().into_iter().flatten() {
                let told = format!("{refused:?}");
                prop_assert!(!told.contains("HUNTER2"));
            }
        }
    }
}
