//! Settings of a daemon: what is wrong with them is said by every command, and
//! found ones write nothing outside their folder, run nothing and are heard on
//! this machine only. Nothing is delivered and nobody listens here.

use std::os::unix::fs::symlink;

use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// The head of every file; what follows begins in line 4.
const HEAD: &str = "environment = \"staging\"\n[source.env]\ntype = \"env\"\n";
/// A delivery; what follows begins in line 7.
const DELIVERY: &str = "[delivery.app]\ntype = \"env-file\"\npath = \"out/app.env\"\n";

fn folder(rest: &str) -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", &format!("{HEAD}{rest}"));
    folder
}

fn named(rest: &str) -> Ran {
    folder(rest).run(&["--config", "dlconf.toml", "check"])
}

#[track_caller]
fn mistake(rest: &str, place: &str, message: &str, help: &str) {
    let ran = named(rest).exits(2);
    ran.warns(message).warns(&format!("--> {place}\n")).warns(help).never_says("panicked");
}

#[test]
fn every_field_of_a_delivery_has_its_place() {
    for (line, column, message, help) in [
        ("pth = \"x\"", 1, "[delivery.app] has no field `pth`", "did you mean `path`?"),
        ("format = \"dotnev\"", 1, "`format` of delivery `app` is unknown", "did you mean \"dotenv\"?"),
        ("format = \"env\"", 1, "`format` of delivery `app` is unknown", "one of: dotenv, compose"),
        ("format = \"k8s-secret\"", 1, "is that of a manifest", "one of: dotenv"),
        ("mode = 640", 1, "`delivery.app.mode` must be octal digits in a text", "\"0640\"; a number"),
        ("mode = 0o640", 1, "must be octal digits in a text", "put it into quotes"),
        ("mode = \"u=rw\"", 1, "`mode` of delivery `app` must be 3 or 4 octal digits", "\"0600\""),
        ("mode = \"0755\"", 1, "`mode` of delivery `app` has bits beyond 0666", "lets execute"),
        ("owner = 1000", 1, "`delivery.app.owner` must be a string", "put it into quotes"),
        ("owner = \"app:app\"", 1, "`owner` of delivery `app` must be one name", "in `group`"),
        ("group = \"\"", 1, "`group` of delivery `app` is empty", "remove the field"),
        ("create_dirs = \"yes\"", 1, "`delivery.app.create_dirs` must be true or false", ""),
        ("vars = \"A\"", 1, "`delivery.app.vars` must be a list of names", "[\"DB_*\", \"group:jwt\"]"),
        ("vars = []", 1, "`vars` of delivery `app` is empty", "deliver everything"),
        ("vars = [\"A\", 1]", 14, "`delivery.app.vars[1]` must be a string", "quotes"),
        ("vars = [\"A\", \"group:\"]", 14, "`vars[1]` of delivery `app` names nothing", "\"group:jwt\""),
        ("on_change = \"x\"", 1, "`delivery.app.on_change` must be a table", "{ exec = ["),
        ("on_change = {}", 1, "`on_change` of delivery `app` says nothing", "add `exec"),
        ("on_change = { timeout = \"1s\" }", 1, "says nothing that is to be done", "`signal"),
        ("on_change = { exce = [\"/x\"] }", 15, "[delivery.app.on_change] has no field `exce`", "`exec`?"),
        ("on_change = { exec = \"/x y\" }", 15, "`delivery.app.on_change.exec` must be a list", "no shell"),
        ("on_change = { exec = [] }", 15, "`on_change.exec` of delivery `app` is empty", "write a list"),
        ("on_change = { exec = [\"\"] }", 23, "`on_change.exec[0]` of delivery `app` is empty", ""),
        (
            "on_change = { exec = [\"reload\"] }",
            23,
            "`on_change.exec[0]` of delivery `app` has no `/`, and no PATH is searched",
            "\"/usr/local/bin/reload\"",
        ),
        ("on_change = { exec = [\"/x\", \"a\\u0000\"] }", 29, "`on_change.exec[1]`", "no argument can"),
        ("on_change = { exec = [\"/x\"], timeout = \"0s\" }", 30, "longer than 0s", "\"30s\""),
        ("on_change = { exec = [\"/x\"], timeout = 5 }", 30, "timeout` must be a string", "quotes"),
        ("on_change = { exec = [\"/x\"], min_interval = \"1d\" }", 30, "must be a duration", "\"1s\""),
        ("on_change = { exec = [\"/x\"], pid_file = \"p\" }", 30, "it runs a program", "remove it"),
        ("on_change = { exec = [\"/x\"], signal = \"HUP\" }", 30, "stands beside `exec`", "keep one"),
        ("on_change = { signal = \"HUP\" }", 15, "has no `pid_file` beside it", "add `pid_file"),
        ("on_change = { signal = \"HUP\", pid_file = \"\" }", 31, "`on_change.pid_file` of delivery", ""),
        ("on_change = { pid_file = \"p\", signal = \"KILL\" }", 31, "is KILL, which no process", "\"HUP\""),
        ("on_change = { pid_file = \"p\", signal = \"sigstop\" }", 31, "is STOP, which no process", ""),
        ("on_change = { pid_file = \"p\", signal = \"TREM\" }", 31, "is no signal", "did you mean \"TERM\"?"),
        (
            "on_change = { pid_file = \"p\", signal = 15 }",
            31,
            "signal` must be a string",
            "its name: \"HUP\"",
        ),
        (
            "on_change = { pid_file = \"p\", signal = \"HUP\", timeout = \"1s\" }",
            47,
            "`on_change.timeout` of delivery `app` has no use here",
            "remove it",
        ),
    ] {
        mistake(&format!("{DELIVERY}{line}\n"), &format!("dlconf.toml:7:{column}"), message, help);
    }
}

#[test]
fn every_other_field_has_its_place() {
    let long = format!("[socket]\npath = \"/{}\"\n", "a".repeat(107));
    for (rest, place, message, help) in [
        ("[delivery.a]\n", "4:11", "`delivery.a` needs `type`", ": env-file, directory"),
        ("[delivery.a]\ntype = \"directory\"\n", "4:11", "`delivery.a` needs `path`", "add `path"),
        (
            "[delivery.a]\ntype = \"env-fil\"\n",
            "5:1",
            "delivery `a` has an unknown type",
            "did you mean \"env-file\"?",
        ),
        (
            "[delivery.a]\ntype = \"directory\"\npath = \"a\"\nformat = \"json\"\n",
            "7:1",
            "delivery `a` has no use for `format`: its type is \"directory\"",
            "as it is",
        ),
        ("[delivery.a]\ntype = \"directory\"\npath = \"\"\n", "6:1", "`path` of delivery `a` is empty", ""),
        ("[delivery.a]\ntype = \"directory\"\npath = \"a/..\"\n", "6:1", "ends without a name", ""),
        ("[socket]\n", "4:2", "`socket` needs `path`", "add `path"),
        ("[socket]\npath = \"a\"\nmode = \"0770\"\n", "6:1", "`mode` of [socket] has bits beyond", ""),
        (
            "[socket]\npath = \"a\"\npolicy = \"\"\n",
            "6:1",
            "`policy` of [socket] is empty",
            "remove the field",
        ),
        ("[socket]\npath = \"a\"\npolicy = 1\n", "6:1", "`socket.policy` must be a string", "quotes"),
        ("[socket]\npath = \"a\"\npolcy = \"p\"\n", "6:1", "[socket] has no field `polcy`", "`policy`?"),
        (
            "[socket]\npath = \"a\"\nmax_connections = 0\n",
            "6:1",
            "`max_connections` of [socket] must be 1 or more",
            "write 4096",
        ),
        (
            "[socket]\npath = \"a\"\nmax_connections = -1\n",
            "6:1",
            "`socket.max_connections` must be a whole number of 0 or more",
            "write it as 1024",
        ),
        (
            "[socket]\npath = \"a\"\nmax_connections_per_user = \"many\"\n",
            "6:1",
            "`socket.max_connections_per_user` must be a whole number of 0 or more",
            "without quotes",
        ),
        (
            "[socket]\npath = \"a\"\nmax_connections = 9\nmax_connections_per_user = 10\n",
            "7:1",
            "`max_connections_per_user` of [socket] is more than `max_connections`, which is 9",
            "write 5 or less",
        ),
        (&long, "5:1", "`path` of [socket] is 108 bytes long", "choose a shorter one"),
        ("[ops]\n", "4:2", "`ops` needs `listen`", "127.0.0.1:9470"),
        ("[ops]\nlisten = 9470\n", "5:1", "`ops.listen` must be a string", "\"127.0.0.1:9470\""),
        (
            "[ops]\nlisten = \"9470\"\n",
            "5:1",
            "`listen` of [ops] does not say at which",
            "\"127.0.0.1:9470\"",
        ),
        ("[ops]\nlisten = \"vault:1\"\n", "5:1", "`listen` of [ops] names a host", "\"127.0.0.1:1\""),
        ("[ops]\nlisten = \"unix:\"\n", "5:1", "`listen` of [ops] is empty", ""),
        ("[debounce]\nmin = \"-1s\"\n", "5:1", "`min` of [debounce] must be a duration", "\"50ms\""),
        ("[debounce]\nmin = \"3s\"\n", "5:1", "longer than `max`, which is 2s by default", "3s or more"),
        ("[debounce]\nmax = \"9ms\"\n", "5:1", "shorter than `min`, which is 50ms by default", ""),
        ("[debounce]\nmin = \"3s\"\nmax = \"1s\"\n", "6:1", "shorter than `min`, which is 3s\n", ""),
        ("[env.staging.debounce]\nmin = \"3s\"\n", "5:1", "`min` of [debounce] is longer", ""),
        ("max_age = \"1h\"\n", "4:1", "source `env` has no use for `max_age`", "does not age"),
        (
            "[env.staging.source.env]\ntype = \"dotenv\"\nmax_age = \"59s\"\n",
            "6:1",
            "`max_age` of source `env` is shorter than a minute",
            "write \"1m\" or more",
        ),
        (
            "[env.staging.source.env]\ntype = \"dotenv\"\nmax_age = \"0s\"\n",
            "6:1",
            "`max_age` of source `env` must be a duration longer than 0s",
            "\"24h\"",
        ),
    ] {
        mistake(rest, &format!("dlconf.toml:{place}"), message, help);
    }
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    let folder = folder(&format!("{DELIVERY}[ops]\nlisten = \"localhost:1\"\n"));
    for (name, value, message) in [
        ("DLCONF_DELIVERY__APP__MODE", "0640", "put it into '\"…\"'"),
        ("DLCONF_DELIVERY__APP__MODE", "\"0777\"", "bits beyond 0666"),
        ("DLCONF_DELIVERY__APP__PTH", "x", "did you mean `path`?"),
        ("DLCONF_OPS__LISTEN", "9470", "write it as \"127.0.0.1:9470\""),
        ("DLCONF_OPS__LISTEN", "host:1", "names a host"),
        ("DLCONF_DEBOUNCE__MIN", "1h", "longer than `max`"),
    ] {
        let ran = folder.run_with(&["check"], &[(name, value)]).exits(2);
        ran.warns(message).warns(&format!("--> env:{name}\n")).never_says("dlconf.toml:");
    }
}

#[test]
fn nothing_that_is_made_lies_where_something_else_is() {
    let app = |path: &str| format!("[delivery.app]\ntype = \"directory\"\npath = \"{path}\"\n");
    let sources = "[env.staging]\norder = [\"env\", \"s\"]\n[env.staging.source.s]\n";
    let dotenv = format!("{sources}type = \"dotenv\"\n");
    let directory = format!("{sources}type = \"directory\"\npath = \"in/secrets\"\n");
    for (rest, line, message) in [
        (
            format!("{DELIVERY}[delivery.b]\ntype = \"directory\"\npath = \"out/./app.env\"\n"),
            9,
            "`path` of delivery `b` is the same place as `path` of delivery `app`",
        ),
        (
            format!("{DELIVERY}[delivery.b]\ntype = \"directory\"\npath = \"link/out/app.env\"\n"),
            9,
            "is the same place as `path` of delivery `app`",
        ),
        (
            format!("{DELIVERY}[delivery.b]\ntype = \"directory\"\npath = \"no/../out\"\n"),
            6,
            "`path` of delivery `app` lies inside `path` of delivery `b`",
        ),
        (
            format!("{DELIVERY}[socket]\npath = \"out/app.env\"\n"),
            8,
            "`path` of [socket] is the same place as `path` of delivery `app`",
        ),
        (
            format!("{}[ops]\nlisten = \"unix:out/ops\"\n", app("out")),
            8,
            "`listen` of [ops] lies inside `path` of delivery `app`",
        ),
        (
            "[socket]\npath = \"a\"\n[ops]\nlisten = \"unix:a\"\n".to_owned(),
            7,
            "`listen` of [ops] is the same place as `path` of [socket]",
        ),
        (format!("{}{dotenv}", app(".env.staging")), 6, "`path` of delivery `app` is what source `s` reads"),
        (format!("{}{dotenv}path = \"in/x.env\"\n", app("in")), 6, "holds what source `s` reads"),
        (format!("{}{directory}", app("in/secrets/new")), 6, "lies inside what source `s` reads"),
        (format!("{}{directory}", app("link/in/secrets")), 6, "is what source `s` reads"),
        (app("dlconf.toml"), 6, "`path` of delivery `app` is the settings file"),
        (
            format!("{}[socket]\npath = \"s\"\npolicy = \"out/p.toml\"\n", app("out")),
            6,
            "`path` of delivery `app` holds the access policy",
        ),
    ] {
        let folder = folder(&rest);
        symlink(".", folder.join("link")).unwrap();
        let ran = folder.run(&["--config", "dlconf.toml", "check"]).exits(2);
        ran.warns(message).warns(&format!("--> dlconf.toml:{line}:1\n"));
    }
    let vault = "[env.staging]\norder = [\"env\", \"s\"]\n[env.staging.source.s]\ntype = \"vault\"\n\
        address = \"https://vault.example.com\"\npaths = [{ mount = \"s\", path = \"a\" }]\n\
        auth = { method = \"token-file\", path = \"in/token\" }\n";
    mistake(&format!("{}{vault}", app("in/token")), "dlconf.toml:6:1", "is what source `s` reads", "another");
    let schema = folder("");
    schema.file("dlconf.toml", &format!("schema = \"s.toml\"\n{HEAD}{}", app("s.toml")));
    schema.file("s.toml", SMALL_SCHEMA);
    schema.run(&["check"]).exits(2).warns("`path` of delivery `app` is the schema").warns("dlconf.toml:7:1");
    let beside = format!("{}{directory}[socket]\npath = \"in/secrets.sock\"\n", app("in/secret"));
    let folder = folder(&beside);
    folder.file("in/secrets/OTHER", "x");
    folder.run(&["--config", "dlconf.toml", "check"]).exits(0);
}

#[test]
fn found_settings_neither_write_outside_nor_run_nor_signal() {
    let outside = Folder::new();
    let elsewhere = outside.path().display();
    let signal = "on_change = { signal = \"HUP\", pid_file = \"app.pid\" }";
    for (rest, place, attempt) in [
        (format!("{DELIVERY}on_change = {{ exec = [\"./x\"] }}\n"), "7:15", "run programs".to_owned()),
        (format!("{DELIVERY}{signal}\n"), "7:15", "signal processes".to_owned()),
        (
            format!("[delivery.a]\ntype = \"directory\"\npath = \"{elsewhere}/x\"\n"),
            "6:1",
            format!("write {elsewhere}/x: that is outside its folder"),
        ),
        (
            "[delivery.a]\ntype = \"directory\"\npath = \"link/x\"\n".to_owned(),
            "6:1",
            "write link/x: that is outside its folder".to_owned(),
        ),
        (
            format!("[socket]\npath = \"s\"\npolicy = \"{elsewhere}/p\"\n"),
            "6:1",
            format!("read {elsewhere}/p: that is outside its folder"),
        ),
        (format!("[socket]\npath = \"{elsewhere}/s\"\n"), "5:1", format!("listen at {elsewhere}/s: that is")),
        ("[ops]\nlisten = \"unix:../o\"\n".to_owned(), "5:1", "listen at ../o: that is".to_owned()),
        ("[ops]\nlisten = \"0.0.0.0:1\"\n".to_owned(), "5:1", "listen at 0.0.0.0:1: others".to_owned()),
    ] {
        let folder = folder(&rest);
        symlink(outside.path(), folder.join("link")).unwrap();
        let ran = folder.run(&["check"]).exits(4);
        ran.warns(&format!("was found, not named, so it may not {attempt}"))
            .warns(&format!("--> dlconf.toml:{place}\n"))
            .warns("--config dlconf.toml");
        folder.run(&["--config", "dlconf.toml", "check"]).exits(0);
    }
    folder(&format!("{DELIVERY}[socket]\npath = \"s\"\n[ops]\nlisten = \"[::1]:1\"\n"))
        .run(&["check"])
        .exits(0);
}

#[test]
fn what_a_variable_says_is_the_callers_own_word() {
    let outside = Folder::new();
    let elsewhere = |name: &str| outside.join(name).display().to_string();
    let exec = format!("{DELIVERY}on_change = {{ exec = [\"./x\"] }}\n[socket]\npath = \"s\"\n");
    let folder = folder(&exec);
    let own_exec = ("DLCONF_DELIVERY__APP__ON_CHANGE__EXEC", "[\"/bin/true\"]");
    let check = |variables: &[(&str, &str)]| folder.run_with(&["check"], variables);
    check(&[own_exec]).exits(0);
    check(&[("DLCONF_DELIVERY__APP__ON_CHANGE__TIMEOUT", "1s")]).exits(4);
    let path = elsewhere("app.env");
    check(&[own_exec, ("DLCONF_DELIVERY__APP__PATH", &path), ("DLCONF_SOCKET__PATH", &elsewhere("s"))])
        .exits(0);
    check(&[own_exec, ("DLCONF_OPS__LISTEN", "0.0.0.0:1")]).exits(0);
    let (name, pid_file) = ("DLCONF_DELIVERY__APP__ON_CHANGE__SIGNAL", elsewhere("pid"));
    let own_pid = ("DLCONF_DELIVERY__APP__ON_CHANGE__PID_FILE", &*pid_file);
    check(&[(name, "HUP"), own_pid]).exits(0);
    check(&[(name, "HUP")]).exits(4).warns("signal processes");
}
