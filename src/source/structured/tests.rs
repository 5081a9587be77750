use super::*;
use crate::model::layer::Value;

fn flat(notation: Notation, text: &str) -> Result<Vec<String>, Vec<String>> {
    let read = read(&SourceName::new("config"), &"c".into(), text, notation, None);
    read.map(|offers| {
        offers
            .iter()
            .map(|o| {
                let Value::Literal(value) = &o.value else { panic!("structured files have no templates") };
                format!("{}={} @{}", o.key, value.expose(), o.origin.location)
            })
            .collect()
    })
    .map_err(|faults| faults.iter().map(|f| format!("{}: {}", f.location, f.message)).collect())
}

fn check(notation: Notation, text: &str, expected: &[&str]) {
    assert_eq!(flat(notation, text).unwrap(), expected, "{text}");
}

fn refused(notation: Notation, text: &str, expected: &str) {
    let faults = flat(notation, text).unwrap_err();
    assert!(faults.iter().any(|f| f.contains(expected)), "{text}: {faults:?}");
}

#[test]
fn toml() {
    check(
        Notation::Toml,
        "APP_PORT = 8080\n[db]\nhost = \"h\"\npool.max-open = 0x10\n[cors]\norigins = [\"a\", \"b\"]\nratio=1.50\non=true\n",
        &[
            "APP_PORT=8080 @c:1:12",
            "DB_HOST=h @c:3:8",
            "DB_POOL_MAX_OPEN=16 @c:4:17",
            "CORS_ORIGINS=a,b @c:6:11",
            "CORS_RATIO=1.50 @c:7:7",
            "CORS_ON=true @c:8:4",
        ],
    );
    refused(Notation::Toml, "a = \n", "c:1:5: this is not valid TOML");
    refused(Notation::Toml, "a = [[1]]\n", "a list may hold plain values only");
    refused(Notation::Toml, "a = [\"x,y\"]\n", "holds a comma");
    refused(Notation::Toml, "db.host = 1\ndb_host = 2\n", "c:2:11: DB_HOST is given twice: line 1");
    refused(Notation::Toml, "\"a b\" = 1\n", "does not make the name of a variable");
    let large = format!("a = 0x{}\n", "f".repeat(40));
    refused(Notation::Toml, &large, "c:1:5: this number is too large");
    refused(Notation::Toml, &large.replace("0x", "[1, 0x").replace('\n', "]\n"), "c:1:9: this number");
}

#[test]
fn json() {
    check(
        Notation::Json,
        "{\n \"DB\": {\"host\": \"a\\u00e9\\n\", \"port\": 5432.0},\n \"none\": null, \"on\": false,\n \"list\": [1, \"x\"]}",
        &["DB_HOST=aé\n @c:2:17", "DB_PORT=5432.0 @c:2:38", "ON=false @c:3:22", "LIST=1,x @c:4:10"],
    );
    refused(Notation::Json, "{\"a\": }", "c:1:7: this is not valid JSON");
    refused(Notation::Json, "[1]", "one JSON object");
    refused(Notation::Json, "{\"a\": 1, \"a\": 2}", "A is given twice");
    refused(Notation::Json, r#"{"a": "abc\ud800def"}"#, "c:1:7: this string has a `\\u` escape");
    refused(Notation::Json, r#"{"a": [1, "\udc00"]}"#, "c:1:11: this string has a `\\u` escape");
    refused(Notation::Json, r#"{"a": {"\ud800": 1}}"#, "c:1:7: a name in this object has a `\\u` escape");
    check(Notation::Json, r#"{"a": "\ud83d\ude00"}"#, &["A=😀 @c:1:7"]);
    refused(Notation::Json, &("{\"a\":".repeat(60) + "1" + &"}".repeat(60)), "nest deeper");
}

#[test]
fn yaml() {
    check(
        Notation::Yaml,
        "db:\n  host: no\n  port: 0755\n  q: 'a: b'\nempty:\nnil: ~\nlist: [a, \"b c\"]\nkey: |\n  l1\n  l2\n",
        &[
            "DB_HOST=no @c:2:9",
            "DB_PORT=0755 @c:3:9",
            "DB_Q=a: b @c:4:6",
            "LIST=a,b c @c:7:7",
            "KEY=l1\nl2\n @c:9:3",
        ],
    );
    refused(Notation::Yaml, "a: &x 1\nb: *x\n", "anchors and aliases");
    refused(Notation::Yaml, "a: 1\n---\nb: 2\n", "more than one document");
    refused(Notation::Yaml, "- a\n", "one mapping");
    refused(Notation::Yaml, "a: [[1]]\n", "plain values only");
    refused(Notation::Yaml, "a: \"unterminated\n", "not valid YAML");
    refused(Notation::Yaml, &("{a: ".repeat(40) + "1" + &"}".repeat(40)), "nest deeper");
    refused(Notation::Yaml, &"{a: ".repeat(50_000), "c:1:");
}

#[test]
fn faults_never_quote_the_text() {
    for (notation, text) in [
        (Notation::Toml, "JWT = \"canary-value\ncanary"),
        (Notation::Json, "{\"JWT\": canary-value}"),
        (Notation::Yaml, "JWT: \"canary-value\n - *canary: ["),
    ] {
        let faults = flat(notation, text).unwrap_err();
        assert!(!format!("{faults:?}").contains("canary"), "{faults:?}");
    }
}

#[test]
fn a_nul_byte_is_a_fault_with_its_name_and_place() {
    refused(Notation::Toml, "a.b = \"x\\u0000y\"\n", "c:1:7: A_B holds a NUL byte");
    refused(Notation::Json, r#"{"a": ["x", "\u0000"]}"#, "c:1:7: A holds a NUL byte");
    refused(Notation::Yaml, "a: \"x\\0y\"\n", "c:1:4: A holds a NUL byte");
}
