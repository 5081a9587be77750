//! Settings of a Vault source: what is wrong with them is said before any server
//! is asked, and found ones send nothing of the caller's to strangers. Nothing
//! listens at any address here.

use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// The head of every file; what follows begins in line 4.
const HEAD: &str = "environment = \"staging\"\n[source.v]\ntype = \"vault\"\n";
const ADDRESS: &str = "address = \"https://vault.example.com:8200\"\n";
const PATHS: &str = "paths = [{ mount = \"secret\", path = \"a\" }]\n";
const FILE: &str = "auth = { method = \"token-file\", path = \"token\" }\n";

fn folder(fields: &str) -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", &format!("{HEAD}{fields}"));
    folder
}

fn check(fields: &str, environment: &[(&str, &str)]) -> Ran {
    folder(fields).run_with(&["--config", "dlconf.toml", "check"], environment)
}

#[track_caller]
fn mistake(fields: &str, place: &str, message: &str, help: &str) {
    let ran = check(fields, &[("VAULT_TOKEN", "s.canary")]).exits(2);
    let at = format!("--> {place}\n");
    ran.warns(message).warns(&at).warns(help).never_says("canary").never_says("panicked");
}

#[test]
fn every_field_has_its_place() {
    for (line, column, message, help) in [
        ("adress = \"x\"", 1, "[source.v] has no field `adress`", "did you mean `address`?"),
        ("optional = true", 1, "no use for `optional`: its type is \"vault\"", "required = false"),
        ("path = \"x\"", 1, "has no use for `path`", "write `paths = [{"),
        ("notation = \"json\"", 1, "has no use for `notation`", "remove it"),
        ("address = \"vault:8200\"", 1, "the address of source `v` must begin with https://", ""),
        ("address = \"https://me:canary@v\"", 1, "must not hold a user or a password", ""),
        ("address = \"https://v/?x\"", 1, "must end with its path", ""),
        ("namespace = \"a//b\"", 1, "the namespace of source `v` has two slashes", "team/a"),
        ("namespace = \"a b\"", 1, "must be made of printable ASCII", ""),
        ("poll = 5", 1, "`source.v.poll` must be a string", "put it into quotes"),
        ("poll = \"500ms\"", 1, "`poll` of source `v` must be a duration from 1s to 1h", "\"5s\""),
        ("timeout = \"6m\"", 1, "from 100ms to 5m", ""),
        ("deadline = \"1d\"", 1, "from 100ms to 10m", "\"10s\""),
        ("required = \"yes\"", 1, "`source.v.required` must be true or false", ""),
        ("auth = \"canary\"", 1, "`source.v.auth` must be a table", "{ method = \"…\" }"),
        ("auth = { role = \"x\" }", 1, "`source.v.auth` needs `method`", "token-file, approle"),
        ("auth = { method = \"k8s\" }", 10, "`auth` of source `v` has an unknown method", "one of: token,"),
        ("auth = { method = \"app-role\" }", 10, "unknown method", "did you mean \"approle\"?"),
        ("auth = { method = \"token\", rol = \"x\" }", 28, "has no field `rol`", "known are: method"),
        ("auth = { method = \"jwt\", rol = \"x\" }", 26, "[source.v.auth] has no field `rol`", "`role`?"),
        ("auth = { method = \"token\", path = \"t\" }", 28, "has no use for `path`", "token-file"),
        ("auth = { method = \"approle\", role = \"x\" }", 30, "has no use for `role`", "role_id"),
        ("auth = { method = \"token\", token = \"canary\" }", 28, "secrets do not belong", "VAULT_TOKEN"),
        ("token = \"canary\"", 1, "`source.v.token`: secrets do not belong", "token-file"),
        ("auth = { method = \"approle\", secret_id = \"canary\" }", 30, "secrets do not", "secret_id_file"),
        ("auth = { method = \"jwt\", jwt = \"canary\" }", 26, "secrets do not belong", "token_file"),
        ("auth = { method = \"token-file\" }", 1, "but `auth` has no `path`", "add `path"),
        ("auth = { method = \"token-file\", path = \"\" }", 33, "`auth.path` of source `v` is empty", ""),
        ("auth = { method = \"approle\" }", 1, "has no `role_id`", "or `role_id_file"),
        ("auth = { method = \"approle\", role_id = \" \" }", 30, "`auth.role_id` of source `v` is empty", ""),
        (
            "auth = { method = \"approle\", role_id = \"a\", role_id_file = \"b\" }",
            45,
            "`role_id` and `role_id_file`",
            "keep one",
        ),
        (
            "auth = { method = \"approle\", role_id = \"a\", wrapped = true }",
            45,
            "no file of it",
            "secret_id_file",
        ),
        ("auth = { method = \"kubernetes\" }", 1, "has no `role`", "add `role"),
        ("auth = { method = \"kubernetes\", role = \"r\", mount = \"a/../b\" }", 45, "`auth.mount`", "auth/"),
        ("auth = { method = \"cert\", mount = \"auth/cert\" }", 27, "begins with `auth/`", "without `auth/`"),
        ("auth = { method = \"jwt\" }", 1, "has no `token_file`", "add `token_file"),
        ("auth = { method = \"cert\" }", 1, "by certificate, but `tls` has no", "client_key"),
        ("tls = { cacert = \"x\" }", 9, "[source.v.tls] has no field `cacert`", "`ca_cert`?"),
        ("tls = { client_cert = \"x\" }", 9, "`client_cert` but no `client_key`", "one file may hold both"),
        ("tls = { client_key = \"x\" }", 9, "`client_key` but no `client_cert`", ""),
        ("tls = \"x\"", 1, "`source.v.tls` must be a table", "ca_cert"),
    ] {
        let address = if line.starts_with("address") { "" } else { ADDRESS };
        mistake(&format!("{line}\n{address}{PATHS}"), &format!("dlconf.toml:4:{column}"), message, help);
    }
}

#[test]
fn every_path_has_its_place() {
    for (entry, column, message, help) in [
        (
            "{ mount = \"s\", pth = \"a\" }",
            16,
            "`source.v.paths[1]` has no field `pth`",
            "did you mean `path`?",
        ),
        ("{ mount = \"s\" }", 1, "`source.v.paths[1]` needs `path`", "add `path"),
        ("{ path = \"a\" }", 1, "`paths[1]` of source `v`: there is no `mount`", "mount = \"secret\""),
        (
            "{ engine = \"kv3\", path = \"a\" }",
            3,
            "`paths[1]` of source `v` has an unknown engine",
            "did you mean \"kv",
        ),
        (
            "{ engine = \"database\", mount = \"d\", path = \"d/creds/a\" }",
            24,
            "no use for `mount`",
            "database/creds/",
        ),
        ("{ engine = \"generic\", mount = \"d\", path = \"d/a\" }", 23, "no use for `mount`", "MOUNT/"),
        (
            "{ engine = \"database\", path = \"datalens\" }",
            24,
            "not that of database credentials",
            "database/creds/ROLE",
        ),
        ("{ mount = \"s\", path = \"data/a/b\" }", 16, "begins with `data/`", "path = \"a/b\""),
        ("{ mount = \"s\", path = \"/metadata/a\" }", 16, "begins with `metadata/`", "path = \"a\""),
        ("{ mount = \"s\", path = \"s/a\" }", 16, "begins with the mount", "path = \"a\""),
        ("{ mount = \"s\", path = \"s/data/a\" }", 16, "begins with the mount", "path = \"a\""),
        ("{ engine = \"kv1\", mount = \"s\", path = \"s/a\" }", 32, "begins with the mount", "path = \"a\""),
        ("{ mount = \"s\", path = \"/\" }", 16, "`path` is empty", ""),
        ("{ mount = \"s\", path = \"a/../b\" }", 16, "`path` has a segment `.` or `..`", ""),
        ("{ mount = \"s\", path = \"a?b\" }", 16, "`path` holds one of ? #", ""),
        ("{ mount = \"\", path = \"a\" }", 3, "`mount` is empty", ""),
        ("{ mount = \"s\", path = \"a\\u0007\" }", 16, "`path` holds a control character", ""),
        (
            "{ mount = \"s\", path = \"a\", map = { a = \"1X\" } }",
            36,
            "`map` gives `a` no name",
            "letters, digits",
        ),
        (
            "{ mount = \"s\", path = \"a\", map = { a = \"X\", b = \"X\" } }",
            45,
            "gives `a` and `b` the same name, X",
            "",
        ),
        (
            "{ mount = \"s\", path = \"a\", map = { a = \"X\" }, only = [\"b\"] }",
            36,
            "which `only` leaves out",
            "add \"a\"",
        ),
        (
            "{ mount = \"s\", path = \"a\", map = { a = 1 } }",
            36,
            "`source.v.paths[1].map.a` must be a string",
            "",
        ),
        (
            "{ mount = \"s\", path = \"a\", map = [] }",
            28,
            "`source.v.paths[1].map` must be a table",
            "{ field = \"NAME\" }",
        ),
        ("{ mount = \"s\", path = \"a\", prefix = \"1\" }", 28, "`prefix` is not the beginning", ""),
        ("{ mount = \"s\", path = \"a\", only = [\"a\", \"\"] }", 41, "`only` has an empty name", ""),
        ("{ mount = \"s\", path = \"a\", only = \"a\" }", 28, "must be a list of names", "[\"a\", \"b\"]"),
        ("1", 1, "`source.v.paths[1]` must be a table", "path = \"…\" }"),
    ] {
        let fields = format!("{ADDRESS}{FILE}paths = [{{ mount = \"secret\", path = \"a\" }},\n{entry}]\n");
        mistake(&fields, &format!("dlconf.toml:7:{column}"), message, help);
        // Of the list below nothing is left that could be taken for the entry's.
        let below =
            "paths = [{ path = \"secret/a\", engine = \"generic\" }, { mount = \"s\", path = \"b\" }]\n";
        let overlay = format!(
            "{ADDRESS}{FILE}{below}[env.staging.source.v]\npaths = [{{ mount = \"secret\", path = \"a\" }},\n{entry}]\n"
        );
        mistake(&overlay, &format!("dlconf.toml:9:{column}"), message, help);
    }
    mistake(&format!("{ADDRESS}{FILE}"), "dlconf.toml:2:9", "has no `paths`", "add `paths");
    mistake(&format!("{ADDRESS}{FILE}paths = []"), "dlconf.toml:6:1", "has no `paths`", "add `paths");
    mistake(
        &format!("{ADDRESS}{FILE}paths = \"a\""),
        "dlconf.toml:6:1",
        "must be a list of tables",
        "[{ mount",
    );
}

#[test]
fn fields_of_other_overlays_are_judged_too() {
    for (field, message) in [
        ("adress = \"x\"", "no field `adress`"),
        ("optional = true", "no use for `optional`"),
        ("auth = { method = \"token\", role = \"x\" }", "no use for `role`"),
        ("paths = [{ engine = \"kv4\", path = \"x\" }]", "unknown engine"),
    ] {
        let fields = format!("{ADDRESS}{FILE}{PATHS}[env.production.source.v]\n{field}\n");
        check(&fields, &[]).exits(2).warns(message).warns("--> dlconf.toml:8:");
    }
}

#[test]
fn fields_of_vault_have_no_use_elsewhere() {
    for (kind, field) in [
        ("env", "address = \"x\""),
        ("env", "path = \"x\""),
        ("env", "optional = true"),
        ("dotenv", "auth = { method = \"token\" }"),
        ("dotenv", "required = true"),
        ("directory", "paths = []"),
    ] {
        let folder = folder("");
        folder.file(
            "dlconf.toml",
            &format!("environment = \"staging\"\n[source.a]\ntype = \"{kind}\"\n{field}\n"),
        );
        let message = format!(
            "source `a` has no use for `{}`: its type is \"{kind}\"",
            &field[..field.find(' ').unwrap()]
        );
        folder.run(&["check"]).exits(2).warns(&message).warns("--> dlconf.toml:4:1\n");
    }
}

#[test]
fn http_has_no_certificates() {
    let plain = "address = \"http://127.0.0.1:8200\"\n";
    let identity = "client_cert = \"c\", client_key = \"c\"";
    let skip = format!("{plain}{FILE}{PATHS}tls = {{ insecure_skip_verify = true }}\n");
    mistake(&skip, "dlconf.toml:7:9", "whose address is http://", "write https://");
    let cert = format!("{plain}auth = {{ method = \"cert\" }}\n{PATHS}tls = {{ {identity} }}\n");
    mistake(&cert, "dlconf.toml:4:1", "but its address is http://", "write https://");
}

#[test]
fn without_an_address_or_a_token_it_says_so() {
    check(PATHS, &[("VAULT_ADDR", ""), ("VAULT_TOKEN", "x")])
        .exits(2)
        .warns("has no `address`, and neither BAO_ADDR nor VAULT_ADDR is set")
        .warns("--> dlconf.toml:2:9\n");
    let token = check(&format!("{ADDRESS}{PATHS}"), &[("VAULT_TOKEN", "")]).exits(2);
    token
        .warns("source `v` has no `auth`, but neither BAO_TOKEN nor VAULT_TOKEN is set")
        .warns("~/.vault-token");
    let written = format!("{ADDRESS}auth = {{ method = \"token\" }}\n{PATHS}");
    check(&written, &[]).exits(2).warns("logs in with a token, but neither").warns("--> dlconf.toml:5:1\n");
    let wrong = check(PATHS, &[("BAO_ADDR", "unix:///canary"), ("BAO_TOKEN", "x")]).exits(2);
    wrong.warns("BAO_ADDR must begin with https://").warns("--> env:BAO_ADDR\n").never_says("canary");
    let wrong =
        check(&format!("{ADDRESS}{PATHS}"), &[("VAULT_NAMESPACE", "a/../b"), ("BAO_TOKEN", "x")]).exits(2);
    wrong.warns("VAULT_NAMESPACE has a segment").warns("--> env:VAULT_NAMESPACE\n");
}

#[test]
fn variables_with_double_underscores_reach_into_tables() {
    for (name, value, message) in [
        ("DLCONF_SOURCE__V__POLL", "5", "must be a string"),
        ("DLCONF_SOURCE__V__AUTH__METHOD", "aprole", "did you mean \"approle\"?"),
        ("DLCONF_SOURCE__V__AUTH__ROL", "x", "no field `rol`"),
        ("DLCONF_SOURCE__V__AUTH__TOKEN", "canary", "secrets do not belong into settings"),
        ("DLCONF_SOURCE__V__AUTH", "{method=\"jwt\"}", "has no `token_file`"),
        ("DLCONF_SOURCE__V__TLS__CLIENT_CERT", "c.pem", "but no `client_key`"),
        ("DLCONF_SOURCE__V__PATHS", "[{path=\"a\"}]", "there is no `mount`"),
        ("DLCONF_SOURCE__V__PATHS", "[{mount=\"s\",path=\"a\",map={a=\"-\"}}]", "gives `a` no name"),
    ] {
        let ran = check(&format!("{ADDRESS}{FILE}{PATHS}"), &[(name, value)]).exits(2);
        ran.warns(message).warns(&format!("--> env:{name}\n")).never_says("canary");
    }
}

#[test]
fn another_login_by_a_variable_leaves_nothing_of_the_one_below() {
    let fields = format!(
        "{ADDRESS}auth = {{ method = \"kubernetes\", role = \"r\" }}\n{PATHS}\
         [env.staging.source.v]\nauth.mount = \"k8s\"\n"
    );
    let lacks = check(&fields, &[("DLCONF_SOURCE__V__AUTH__METHOD", "token-file")]).exits(2);
    lacks.warns("but `auth` has no `path`").warns("--> env:DLCONF_SOURCE__V__AUTH__METHOD\n");
}

#[test]
fn found_settings_send_no_token_to_strangers() {
    let home = [("VAULT_ADDR", "https://127.0.0.1:1/"), ("VAULT_TOKEN", "s.canary")];
    let elsewhere = folder(&format!("{ADDRESS}{PATHS}"));
    let refused = elsewhere.run_with(&["check"], &home).exits(4).never_says("canary");
    refused
        .warns(
            "was found, not named, so it may not send VAULT_TOKEN to another address than that of VAULT_ADDR",
        )
        .warns("--> dlconf.toml:4:1\n")
        .warns("--config dlconf.toml; else unset VAULT_TOKEN");
    let unset = elsewhere.run_with(&["check"], &home[1..]).exits(4);
    unset.warns("VAULT_ADDR, which is not set");
    elsewhere.run_with(&["run", "--", "true"], &home).exits(125).warns("may not send VAULT_TOKEN");
    // Those that may go on ask, and find nobody.
    let asked = |folder: &Folder, arguments: &[&str], more: &[(&str, &str)]| {
        let quick = ("DLCONF_SOURCE__V__DEADLINE", "100ms");
        folder.run_with(arguments, &[&home[..], more, &[quick]].concat()).exits(3);
    };
    let own = "address = \"https://127.0.0.1:1\"\n";
    asked(&folder(PATHS), &["check"], &[]);
    asked(&folder(&format!("{own}{PATHS}")), &["check"], &[]);
    let other = folder(&format!("address = \"https://127.0.0.2:1\"\n{PATHS}"));
    asked(&other, &["--config", "dlconf.toml", "check"], &[]);
    asked(&other, &["check"], &[("DLCONF_SOURCE__V__ADDRESS", "https://127.0.0.3:1")]);
}

#[test]
fn no_proxy_gets_a_token_in_clear() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let home = [("VAULT_ADDR", "http://127.0.0.1:1"), ("VAULT_TOKEN", "s.canary")];
    let quick = ("DLCONF_SOURCE__V__DEADLINE", "100ms");
    let proxies = [("http_proxy", &*url), ("HTTP_PROXY", &*url), ("ALL_PROXY", &*url)];
    folder(PATHS).run_with(&["check"], &[&home[..], &proxies, &[quick]].concat()).exits(3);
    assert_eq!(proxy.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_found_schema_does_not_get_the_token() {
    let home = [("VAULT_ADDR", "https://127.0.0.1:1"), ("VAULT_TOKEN", "s.canary")];
    let folder = Folder::new();
    folder.file(".env", "COPY=\"x${VAULT_TOKEN}\"\n");
    for (variable, declared) in [("APP_ENV", "VAULT_TOKEN"), ("APP_ENV", "COPY"), ("VAULT_TOKEN", "COPY")] {
        for kind in ["int", "string"] {
            let schema = format!(
                "schema_version = 1\nname = \"t\"\n\
                 environments = {{ variable = \"{variable}\", names = [\"production\"] }}\n\
                 [var.{declared}]\ntype = \"{kind}\"\n"
            );
            folder.file("dlconf.schema.toml", &schema);
            for more in [
                &["check"][..],
                &["--env", "production", "check"],
                &["--env", "production", "run", "--", "env"],
            ] {
                folder.run_with(more, &home).never_says("canary");
            }
        }
    }
}

#[test]
fn found_settings_do_not_weaken_tls() {
    let home = [("VAULT_ADDR", "https://127.0.0.1:1"), ("VAULT_TOKEN", "s.canary")];
    let quick = "deadline = \"100ms\"\n";
    let skip = folder(&format!("{quick}{PATHS}tls = {{ insecure_skip_verify = true }}\n"));
    let refused = skip.run_with(&["check"], &home).exits(4);
    refused.warns("may not turn the verification of servers off").warns("--> dlconf.toml:6:9\n");
    skip.run_with(&["check", "--config", "dlconf.toml"], &home).exits(3);
    let own_word = [&home[..], &[("DLCONF_SOURCE__V__TLS__INSECURE_SKIP_VERIFY", "true")]].concat();
    skip.run_with(&["check"], &own_word).exits(3);
    let authority = folder(&format!("{quick}{PATHS}tls = {{ ca_cert = \"ca.pem\" }}\n"));
    let refused = authority.run_with(&["check"], &home).exits(4);
    refused.warns("vouch for the server that VAULT_TOKEN goes to").warns("VAULT_CACERT");
}

#[test]
fn found_settings_read_no_file_outside_their_folder() {
    let outside = Folder::new();
    outside.file("t", "s.canary");
    let out = outside.join("t").display().to_string();
    for (fields, line) in [
        (format!("{ADDRESS}auth = {{ method = \"token-file\", path = \"{out}\" }}\n{PATHS}"), 5),
        (format!("{ADDRESS}auth = {{ method = \"token-file\", path = \"../t\" }}\n{PATHS}"), 5),
        (format!("{ADDRESS}auth = {{ method = \"token-file\", path = \"link\" }}\n{PATHS}"), 5),
        (format!("{ADDRESS}auth = {{ method = \"jwt\", token_file = \"{out}\" }}\n{PATHS}"), 5),
        (format!("{ADDRESS}auth = {{ method = \"approle\", role_id_file = \"{out}\" }}\n{PATHS}"), 5),
        (
            format!(
                "{ADDRESS}auth = {{ method = \"approle\", role_id = \"r\", secret_id_file = \"{out}\" }}\n{PATHS}"
            ),
            5,
        ),
        (format!("{ADDRESS}auth = {{ method = \"kubernetes\", role = \"r\" }}\n{PATHS}"), 5),
        (format!("{ADDRESS}{FILE}tls = {{ ca_cert = \"{out}\" }}\n{PATHS}"), 6),
        (format!("{ADDRESS}{FILE}tls = {{ client_cert = \"{out}\", client_key = \"k\" }}\n{PATHS}"), 6),
        (format!("{ADDRESS}{FILE}tls = {{ client_cert = \"c\", client_key = \"{out}\" }}\n{PATHS}"), 6),
    ] {
        let folder = folder(&fields);
        std::os::unix::fs::symlink(outside.join("t"), folder.join("link")).unwrap();
        let ran = folder.run(&["check"]).exits(4).never_says("canary");
        ran.warns("was found, not named")
            .warns("outside its folder")
            .warns(&format!("--> dlconf.toml:{line}:"));
    }
    let own_word = [("DLCONF_SOURCE__V__AUTH__PATH", &*out), ("DLCONF_SOURCE__V__DEADLINE", "100ms")];
    let nobody = "address = \"https://127.0.0.1:1\"\n";
    let folder = folder(&format!("{nobody}{FILE}{PATHS}"));
    // The file is the caller's, so the address must be his as well.
    let refused = folder.run_with(&["check"], &own_word).exits(4).never_says("canary");
    refused.warns("may not send your `auth.path` to an address of its own choice");
    for own in [("DLCONF_SOURCE__V__ADDRESS", "https://127.0.0.2:1"), ("VAULT_ADDR", "https://127.0.0.1:1")] {
        folder.run_with(&["check"], &[&own_word[..], &[own]].concat()).exits(3);
    }
}

#[test]
fn offline_needs_no_server_no_address_and_no_token() {
    let kubernetes = "auth = { method = \"kubernetes\", role = \"r\" }\n";
    for fields in [PATHS.to_owned(), format!("{ADDRESS}{kubernetes}{PATHS}")] {
        let folder = folder(&fields);
        let production = folder.run(&["--env", "production", "--offline", "check"]).exits(1);
        production.never_says("DLC050").never_says("DLC001").says("TOKEN");
        let json = folder.run(&["--env", "production", "--offline", "check", "--format", "json"]).exits(1);
        assert!(json.findings().is_empty(), "{}", json.stdout);
        assert!(json.stdout.contains("\"unjudged\""), "{}", json.stdout);
        for (command, code) in [(&["run", "--", "true"][..], 125), (&["render", "--format", "json"], 1)] {
            let ran = folder.run(&[&["--env", "production", "--offline"], command].concat()).exits(code);
            assert_eq!(ran.stdout, "");
            ran.warns("TOKEN");
        }
        folder.run_with(&["--offline", "--env", "production", "check"], &[]).never_says("panicked");
        folder.run(&["--offline", "run", "--", "true"]).exits(0);
    }
    let wrong = folder(&format!("{kubernetes}paths = [{{ path = \"a\" }}]\n"));
    wrong.run(&["--offline", "check"]).exits(2).warns("there is no `mount`");
}
