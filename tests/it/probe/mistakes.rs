//! `[probe.NAME]`: every mistake at its place, and what editors are told of it.

use std::process::Command;

use super::{HEAD, folder, var};

fn vars() -> String {
    [
        var("PASS", "password"),
        var("OTHER_PASS", "password"),
        var("HOST", "host"),
        var("PORT", "port"),
        var("USER", "string"),
    ]
    .concat()
}

/// A whole probe, with one line in another's place; without any, that line is gone.
fn mail(line: &str, instead: &str) -> String {
    let whole = "kind = \"smtp\"\nsecret = \"PASS\"\nhost = \"${HOST}\"\nport = \"${PORT}\"\nuser = \"${USER}\"\n\
                 hosts = [\"*.example.com\"]\n";
    assert!(line.is_empty() || whole.contains(line), "{line}");
    format!(
        "[probe.mail]\n{}",
        if line.is_empty() { format!("{whole}{instead}\n") } else { whole.replace(line, instead) }
    )
}

fn bearer(more: &str) -> String {
    format!("[probe.api]\nkind = \"bearer\"\nsecret = \"PASS\"\n{more}\n")
}

/// Mistakes, and whether a JSON Schema can see them too.
fn mistakes() -> Vec<(String, &'static str, bool)> {
    vec![
        (mail("kind = \"smtp\"\n", ""), "probe mail has no kind", true),
        (mail("\"smtp\"", "\"smpt\""), "did you mean `smtp`?", true),
        (mail("secret = \"PASS\"\n", ""), "probe mail does not say what it tries", true),
        (mail("\"PASS\"", "\"PAS\""), "did you mean `PASS`?", false),
        (mail("\"PASS\"", "\"${PASS}\""), "is no name of a variable", true),
        (mail("\"PASS\"", "\"USER\""), "tries USER, which is not secret", false),
        (mail("host = \"${HOST}\"\n", ""), "probe mail has no `host`", true),
        (mail("\"${HOST}\"", "\"HOST\""), "write `${HOST}`", false),
        (mail("\"${HOST}\"", "\"${HOTS}\""), "did you mean `HOST`?", false),
        (mail("\"${HOST}\"", "\"${PASS}\""), "names PASS, which is secret", false),
        (mail("\"${HOST}\"", "\"mail.${HOST}\""), "mixes a variable with text", true),
        (mail("\"${HOST}\"", "\"\""), "is empty", true),
        (mail("\"${HOST}\"", "\"https://a.b\""), "is no host", false),
        (mail("\"${PORT}\"", "\"587\""), "a number or a variable", true),
        (mail("\"${PORT}\"", "0"), "0 is no port", true),
        (mail("\"*.example.com\"", "\"*.com\""), "two labels at least", false),
        (mail("\"*.example.com\"", "\"a.*.com\""), "at the beginning only", false),
        (mail("", "tls = \"none\""), "has no choice `none`", true),
        (mail("", "ca = \"ca.pem\""), "no absolute path", true),
        (mail("", "url = \"https://a.b\""), "has no field `url`", true),
        (mail("", "tsl = \"plain\""), "did you mean `tls`?", true),
        (bearer(""), "probe api has no `url`", true),
        (bearer("url = \"http://api.example.com\""), "sends the secret in the clear", false),
        (bearer("url = \"https://u:p@api.example.com\""), "carries a login", false),
        (bearer("url = \"api.example.com\""), "is no URL", false),
        (bearer("url = \"https://a.example\"\nheader = \"x key\""), "is no name of a header", false),
        (bearer("url = \"https://a.example\"\nheader = \"Host\""), "must not set the header `Host`", false),
        (bearer("url = \"https://a.example\"\nheaders = { a = 1 }"), "a text that a header can carry", true),
        (bearer("url = \"https://a.example\"\nrefused = [500]"), "no status that refuses", true),
        (bearer("url = \"https://a.example\"\nrefused = []"), "a list of statuses", true),
        (
            bearer("url = \"https://a.example\"").replace("bearer", "postgres"),
            "probe api has no `host`",
            true,
        ),
        (
            "[probe.db]\nkind = \"postgres\"\nsecret = \"PASS\"\nhost = \"a.b\"\nport = 1\nname = \"n\"\nuser = \"u\"\nssl_mode = \"verify\"\n"
                .into(),
            "none of libpq's modes",
            false,
        ),
        (
            mail("", "") + &mail("", "").replace("probe.mail", "probe.again"),
            "is tried by the probes mail and again",
            false,
        ),
    ]
}

#[test]
fn every_mistake_has_its_place() {
    for (probe, expected, _) in mistakes() {
        let folder = folder(&(vars() + &probe), "");
        let ran = folder.run(&["--schema", "schema.toml", "schema", "lint"]).exits(2);
        let told = format!("{}{}", ran.stdout, ran.stderr).replace("\n   = fix: ", " ");
        assert!(told.contains(expected), "{expected:?} not in\n{told}\nof\n{probe}");
        assert!(told.contains("--> schema.toml:"), "{told}");
    }
    let several = mail("", "tsl = 1").replace("${HOST}", "${HOTS}").replace("\"${PORT}\"", "0");
    let ran = folder(&(vars() + &several), "").run(&["--schema", "schema.toml", "schema", "lint"]).exits(2);
    let told = ran.stdout + &ran.stderr;
    assert_eq!(told.matches("--> schema.toml:").count(), 3, "{told}");
}

#[test]
fn a_list_that_says_nothing_is_warned_of() {
    let probe = mail("\"${HOST}\"", "\"mail.example.com\"");
    let ran = folder(&(vars() + &probe), "").run(&["--schema", "schema.toml", "schema", "lint"]).exits(0);
    assert!((ran.stdout + &ran.stderr).contains("`hosts` of probe mail says nothing"));
}

#[test]
fn editors_are_told_the_same() {
    let tools = std::env::var_os("DLCONF_TEST_TOOLS").expect("run tests/run, which installs the tools");
    let python = std::path::Path::new(&tools).join("venv/bin/python3");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let right = [
        mail("", ""),
        mail("\"${PORT}\"", "587"),
        mail("", "tls = \"plain\"\nca = \"/ca.pem\""),
        bearer(
            "url = \"https://a.example\"\nheader = \"x-api-key\"\nheaders = { a = \"b\" }\nrefused = [401]",
        ),
    ]
    .map(|probe| (probe, true));
    let seen = mistakes().into_iter().filter(|(_, _, is_seen)| *is_seen).map(|(probe, ..)| (probe, false));
    let mut cases: Vec<(String, bool)> = right
        .into_iter()
        .chain(seen)
        .map(|(probe, valid)| (format!("{HEAD}{}{probe}", vars()), valid))
        .collect();
    let built_in = std::fs::read_to_string(root.join("policies/datalens.schema.toml")).unwrap();
    cases.push((built_in, true));
    let script = "import json, sys, tomllib, jsonschema\n\
        kind = jsonschema.Draft202012Validator\n\
        schema = json.load(open(sys.argv[1], encoding='utf-8'))\n\
        kind.check_schema(schema)\n\
        for text, valid in json.load(open(sys.argv[2], encoding='utf-8')):\n\
        \x20   errors = [e.json_path + ': ' + e.message for e in kind(schema).iter_errors(tomllib.loads(text))]\n\
        \x20   if valid == bool(errors): sys.exit(text[-600:] + '\\n' + str(errors))";
    let folder = crate::program::Folder::new();
    folder.file("cases.json", &serde_json::to_string(&cases).unwrap());
    let run = Command::new(python)
        .args(["-c", script])
        .args([root.join("schemas/dlconf.schema.json"), folder.join("cases.json")])
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}
