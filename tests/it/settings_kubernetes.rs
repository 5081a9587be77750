//! Settings of a Kubernetes source: what is wrong with them is said before any
//! server is asked. Nothing listens at any address here.

use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// The head of every file; what follows begins in line 4.
const HEAD: &str = "environment = \"staging\"\n[source.k]\ntype = \"kubernetes\"\n";
const SECRETS: &str = "secrets = [\"api\"]\n";

/// Of a server at which nobody listens.
const KUBECONFIG: &str = r#"{"apiVersion":"v1","kind":"Config","current-context":"a",
"contexts":[{"name":"a","context":{"cluster":"c","user":"u","namespace":"shop"}}],
"clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],
"users":[{"name":"u","user":{"token":"canary"}}]}"#;

fn folder(fields: &str) -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", &format!("{HEAD}{fields}"));
    folder.file("kube", KUBECONFIG);
    folder
}

fn check(fields: &str, environment: &[(&str, &str)]) -> Ran {
    folder(fields).run_with(&["--config", "dlconf.toml", "check"], environment)
}

#[track_caller]
fn mistake(fields: &str, place: &str, message: &str, help: &str) {
    let ran = check(fields, &[("KUBECONFIG", "kube")]).exits(2);
    let at = format!("--> {place}\n");
    ran.warns(message).warns(&at).warns(help).never_says("canary").never_says("panicked");
}

#[test]
fn every_field_has_its_place() {
    for (line, message, help) in [
        ("secret = []", "[source.k] has no field `secret`", "did you mean `secrets`?"),
        ("optional = true", "no use for `optional`: its type is \"kubernetes\"", "required = false"),
        ("path = \"x\"", "has no use for `path`", "write `secrets = [\"…\"]`"),
        ("paths = []", "has no use for `paths`", "or `config_maps = "),
        ("address = \"https://x\"", "has no use for `address`", "a kubeconfig says it"),
        ("poll = \"5s\"", "has no use for `poll`", "changes are watched"),
        (
            "namespace = \"Data_Lens\"",
            "`namespace` of source `k` is none that",
            "did you mean \"data-lens\"?",
        ),
        ("namespace = \"a.b\"", "`namespace` of source `k` is none that", "at most 63"),
        ("namespace = \"\"", "`namespace` of source `k` is none that", ""),
        ("kubeconfig = \" \"", "`kubeconfig` of source `k` is empty", "remove the field"),
        ("context = \"\"", "`context` of source `k` is empty", ""),
        ("timeout = \"6m\"", "`timeout` of source `k` must be a duration from 100ms to 5m", "\"5s\""),
        ("deadline = \"1d\"", "`deadline` of source `k` must be a duration from 100ms to 10m", "\"10s\""),
        ("max_age = \"0s\"", "`max_age` of source `k` must be a duration longer", ""),
        ("required = \"yes\"", "`source.k.required` must be true or false", ""),
        (
            "config_maps = \"a\"",
            "`source.k.config_maps` must be a list of names or tables",
            "[\"datalens-api\"",
        ),
    ] {
        mistake(&format!("{line}\n{SECRETS}"), "dlconf.toml:4:1", message, help);
    }
    mistake("", "dlconf.toml:2:9", "has no `secrets` and no `config_maps`", "add `secrets = ");
    mistake("secrets = []\nconfig_maps = []\n", "dlconf.toml:2:9", "would read nothing", "");
}

#[test]
fn every_object_has_its_place() {
    for (entry, column, message, help) in [
        (
            "\"Datalens_API\"",
            1,
            "`secrets[1]` of source `k`: `name` is none",
            "did you mean \"datalens-api\"?",
        ),
        ("\"shop/api\"", 1, "`name` is none that a Secret can have", "write \"api\" alone: `namespace` says"),
        ("\"\"", 1, "`name` is none", "lower-case letters"),
        ("\"first\"", 1, "`secrets[1]` of source `k`: the list has `first` already", "keep the later one"),
        ("{ name = \"first\", only = [\"A\"] }", 3, "the list has `first` already", ""),
        ("{ name = \"A\" }", 3, "`name` is none", "did you mean \"a\"?"),
        ("1", 1, "`source.k.secrets[1]` must be a name or a table with one", "write \"datalens-api\""),
        ("{ only = [\"A\"] }", 1, "`source.k.secrets[1]` needs `name`", "add `name"),
        ("{ name = \"a\", prefx = \"A\" }", 15, "`source.k.secrets[1]` has no field `prefx`", "`prefix`?"),
        ("{ name = \"a\", map = [] }", 15, "`source.k.secrets[1].map` must be a table", "field = \"NAME\""),
        ("{ name = \"a\", map = { a = 1 } }", 23, "`source.k.secrets[1].map.a` must be a string", ""),
        ("{ name = \"a\", map = { a = \"1\" } }", 23, "`map` gives `a` no name", "letters, digits"),
        (
            "{ name = \"a\", map = { a = \"X\", b = \"X\" } }",
            32,
            "gives `a` and `b` the same name, X",
            "give each",
        ),
        ("{ name = \"a\", prefix = \"1\" }", 15, "`prefix` is not the beginning", ""),
        ("{ name = \"a\", only = \"a\" }", 15, "must be a list of names", "[\"a\", \"b\"]"),
        ("{ name = \"a\", only = [\"a\", \"\"] }", 28, "`only` has an empty name", ""),
        ("{ name = \"a\", base64 = [\"\"] }", 25, "`base64` has an empty name", "remove it"),
        (
            "{ name = \"a\", only = [\"b\"], base64 = [\"c\"] }",
            39,
            "`base64` names `c`, which `only` leaves out",
            "add \"c\" to `only`",
        ),
    ] {
        mistake(
            &format!("secrets = [\"first\",\n{entry}]\n"),
            &format!("dlconf.toml:5:{column}"),
            message,
            help,
        );
        // Of the list below nothing is left that could be taken for the entry's.
        let overlay = format!(
            "secrets = [\"x\", {{ name = \"y\", prefix = \"Y_\" }}]\n[env.staging.source.k]\n\
             secrets = [\"first\",\n{entry}]\n"
        );
        mistake(&overlay, &format!("dlconf.toml:7:{column}"), message, help);
    }
}

#[test]
fn variables_reach_into_lists() {
    for (name, value, message) in [
        ("DLCONF_SOURCE__K__SECRETS", "[\"A\"]", "`secrets[0]` of source `k`: `name` is none"),
        ("DLCONF_SOURCE__K__SECRETS", "[{name=\"a\",map={a=\"-\"}}]", "gives `a` no name"),
        ("DLCONF_SOURCE__K__NAMESPACE", "A", "`namespace` of source `k` is none"),
    ] {
        let ran = check(SECRETS, &[(name, value), ("KUBECONFIG", "kube")]).exits(2);
        ran.warns(message).warns(&format!("--> env:{name}\n"));
    }
}

#[test]
fn without_any_way_to_a_server_it_says_so() {
    let ran = check(SECRETS, &[("HOME", ""), ("KUBECONFIG", ""), ("KUBERNETES_SERVICE_HOST", "")]).exits(3);
    let told = format!("{}{}", ran.stdout, ran.stderr);
    for said in ["nothing says where the API server is", "KUBECONFIG=/path/to/kubeconfig"] {
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_kubeconfig_that_is_no_use_is_unreachable_and_not_missing() {
    let quick = "deadline = \"100ms\"\n";
    let asked = check(&format!("{SECRETS}{quick}kubeconfig = \"kube\"\n"), &[]).exits(3);
    asked.never_says("canary").never_says("DLC001");
    for (name, text, said) in [
        ("absent", None, "absent is not there"),
        ("empty", Some(""), "empty has no current context"),
        ("nonsense", Some("canary: ["), "nonsense is no kubeconfig"),
    ] {
        let folder = folder(&format!("{SECRETS}{quick}kubeconfig = \"{name}\"\n"));
        if let Some(text) = text {
            folder.file(name, text);
        }
        let ran = folder.run(&["--config", "dlconf.toml", "check"]).exits(3);
        let ran = ran.never_says("canary").never_says("DLC001");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(said), "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_kubeconfig_that_would_take_the_safety_away_is_refused() {
    let server = r#""server":"http://127.0.0.1:1""#;
    for (from, to, said) in [
        (
            server,
            r#""server":"https://127.0.0.1:1","insecure-skip-tls-verify":true"#,
            "turns the verification of the server off",
        ),
        (server, r#""server":"http://192.0.2.1:1""#, "sends every value in the clear"),
        (server, r#""server":"https://127.0.0.1:1","proxy-url":"http://127.0.0.1:2""#, "through a proxy"),
        // Without a word of it the requests would have the rights of the user himself.
        (r#""token":"canary""#, r#""token":"canary","as":"somebody""#, "acts as somebody else"),
        (r#""token":"canary""#, r#""token":"canary","as-groups":["few"]"#, "acts as somebody else"),
    ] {
        assert!(KUBECONFIG.contains(from));
        let folder = folder(&format!("{SECRETS}deadline = \"100ms\"\nkubeconfig = \"kube\"\n"));
        folder.file("kube", &KUBECONFIG.replace(from, to));
        let ran = folder.run(&["--config", "dlconf.toml", "check"]).exits(3).never_says("canary");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(said), "{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn found_settings_name_no_kubeconfig_outside_their_folder() {
    let outside = Folder::new();
    outside.file("kube", KUBECONFIG);
    let out = outside.join("kube").display().to_string();
    for path in [&*out, "../kube", "link"] {
        let folder = folder(&format!("{SECRETS}kubeconfig = \"{path}\"\n"));
        std::os::unix::fs::symlink(outside.join("kube"), folder.join("link")).unwrap();
        let ran = folder.run(&["check"]).exits(4).never_says("canary");
        ran.warns("was found, not named").warns("outside its folder").warns("--> dlconf.toml:5:1\n");
    }
    // The caller's own word is not the stranger's.
    let own = [("DLCONF_SOURCE__K__KUBECONFIG", &*out), ("DLCONF_SOURCE__K__DEADLINE", "100ms")];
    folder(SECRETS).run_with(&["check"], &own).exits(3);
}

#[test]
fn a_kubeconfig_that_was_found_runs_no_program() {
    let folder = folder(&format!("{SECRETS}deadline = \"100ms\"\nkubeconfig = \"kube\"\n"));
    let mark = folder.join("mark");
    let user = format!(
        r#"{{"exec":{{"apiVersion":"client.authentication.k8s.io/v1","interactiveMode":"Never","command":"touch","args":["{}"]}}}}"#,
        mark.display()
    );
    folder.file("kube", &KUBECONFIG.replace(r#"{"token":"canary"}"#, &user));
    let ran = folder.run(&["check"]).exits(3);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("runs a program or names further files, and the settings that"), "{said}");
    assert!(!mark.exists(), "a stranger's program ran");
    folder.run(&["--config", "dlconf.toml", "check"]).exits(3);
    assert!(mark.exists(), "the caller's own plugin runs");
}

#[test]
fn a_kubeconfig_that_was_found_names_no_further_files() {
    let folder = folder(&format!("{SECRETS}deadline = \"100ms\"\nkubeconfig = \"kube\"\n"));
    let server = r#""server":"https://127.0.0.1:1""#;
    let token = r#"{"token":"canary"}"#;
    let tls = KUBECONFIG.replace(r#""server":"http://127.0.0.1:1""#, server);
    // Whoever opened /dev/zero would read for ever.
    for named in [
        tls.replace(server, &format!(r#"{server},"certificate-authority":"/dev/zero""#)),
        tls.replace(token, r#"{"tokenFile":"/dev/zero"}"#),
        tls.replace(token, r#"{"client-certificate":"/dev/zero","client-key":"/dev/zero"}"#),
    ] {
        folder.file("kube", &named);
        let ran = folder.run(&["check"]).exits(3).never_says("canary");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(said.contains("runs a program or names further files"), "{named}: {said}");
    }
}

#[test]
fn offline_needs_no_server_and_no_kubeconfig() {
    let folder = folder(&format!("{SECRETS}kubeconfig = \"/nowhere/kube\"\n"));
    let json = folder.run(&["--env", "production", "--offline", "check", "--format", "json"]).exits(1);
    assert!(json.findings().is_empty(), "{}", json.stdout);
    assert!(json.stdout.contains("\"unjudged\""), "{}", json.stdout);
    let wrong = self::folder("secrets = [\"A\"]\n");
    wrong.run(&["--offline", "check"]).exits(2).warns("`name` is none");
}
