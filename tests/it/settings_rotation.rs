//! `[rotation]` and `[consumer.NAME]`: every mistake has its place and says what to write;
//! settings that were merely found rotate nothing.

use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// The head of every file; what follows begins in line 4.
const HEAD: &str = "environment = \"staging\"\n[source.env]\ntype = \"env\"\n";

fn folder(rest: &str) -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", &format!("{HEAD}{rest}"));
    folder
}

fn named(rest: &str) -> Ran {
    folder(rest).run(&["--config", "dlconf.toml", "check"])
}

#[test]
fn all_of_it_is_understood() {
    named(
        "[rotation]\nenabled = true\nleader = \"lease/rotator\"\nwindows = [\"Mon-Fri 10:00-16:00\", \"Sat 02:00-04:00 +05:30\"]\n\
         probe_hosts = [\"api.digitallocker.gov.in\", \"10.0.0.1\"]\nacknowledgements = \"leases/shop\"\n\
         [consumer.web]\ninstances = 3\nverifies = \"ring\"\n[consumer.worker]\ninstances = 0\n",
    )
    .exits(0);
    named("[rotation]\nleader = \"none\"\nacknowledgements = \"local\"\nwindows = []\n[consumer.web]\n")
        .exits(0);
}

#[test]
fn every_field_of_rotation_has_its_place() {
    for (line, column, message, help) in [
        ("enable = true", 1, "[rotation] has no field `enable`", "did you mean `enabled`?"),
        ("enabled = \"yes\"", 1, "`rotation.enabled` must be true or false", "without quotes"),
        ("leader = \"rotator\"", 1, "`leader` of [rotation] says something that there is not", "lease/NAME"),
        ("leader = \"lease/Rotator\"", 1, "`leader` of [rotation] names no Lease", "lower-case"),
        ("leader = 1", 1, "`rotation.leader` must be a string", "quotes"),
        (
            "acknowledgements = \"leases\"",
            1,
            "`acknowledgements` of [rotation] says something that there is not",
            "leases/PREFIX",
        ),
        (
            "acknowledgements = \"leases/\"",
            1,
            "`acknowledgements` of [rotation] names no Lease",
            "Lease's name",
        ),
        ("windows = \"Mon 10:00-12:00\"", 1, "`rotation.windows` must be a list of times", "[\"Mon-Fri"),
        ("windows = [1]", 12, "`rotation.windows[0]` must be a string", "quotes"),
        (
            "windows = [\"Mon 10:00-12:00\", \"Monday 10:00-12:00\"]",
            31,
            "`windows[1]` of [rotation] names days that there are not",
            "Mon, Tue",
        ),
        (
            "windows = [\"Mon-Fri 22:00-02:00 +05:30\"]",
            12,
            "`windows[0]` of [rotation] goes over midnight",
            "write two: \"Mon-Fri 22:00-24:00 +05:30\" and \"Tue-Sat 00:00-02:00 +05:30\"",
        ),
        ("windows = [\"Mon 10:00-12:00 CET\"]", 12, "no distance from UTC", "\"+05:30\""),
        ("probe_hosts = \"a\"", 1, "`rotation.probe_hosts` must be a list of names", "smtp.example.com"),
        (
            "probe_hosts = [\"a\", \"https://a/b\"]",
            21,
            "`probe_hosts[1]` of [rotation] is no name of a host",
            "without scheme, port and path",
        ),
        ("probe_hosts = [\"a:443\"]", 16, "`probe_hosts[0]` of [rotation] is no name of a host", ""),
    ] {
        let ran = named(&format!("[rotation]\n{line}\n")).exits(2);
        ran.warns(message).warns(&format!("--> dlconf.toml:5:{column}\n")).warns(help).never_says("panicked");
    }
    let ran = folder("").file("dlconf.toml", "rotation = true\n").run(&["--config", "dlconf.toml", "check"]);
    ran.exits(2).warns("`rotation` must be a table").warns("[rotation] with `enabled = true`");
}

#[test]
fn every_field_of_a_consumer_has_its_place() {
    for (rest, place, message, help) in [
        ("[consumer.web]\ninstance = 1\n", "5:1", "[consumer.web] has no field `instance`", "`instances`?"),
        ("[consumer.web]\ninstances = -1\n", "5:1", "must be a whole number of 0 or more", "without quotes"),
        (
            "[consumer.web]\ninstances = 10001\n",
            "5:1",
            "`instances` of consumer `web` must be from 0",
            "at least",
        ),
        (
            "[consumer.web]\nverifies = \"rings\"\n",
            "5:1",
            "`verifies` of consumer `web` is neither",
            "\"ring\"",
        ),
        ("[consumer]\nweb = 1\n", "5:1", "`consumer.web` must be a table", "[consumer.NAME]"),
        ("[consumer.wbe]\n", "4:11", "consumer `wbe` is no service of the schema", "[consumer.web]?"),
        ("[consumer.other-thing]\n", "4:11", "is no service of the schema", "the schema has: web, worker"),
        (
            "[env.staging.consumer.wroker]\n",
            "4:23",
            "consumer `wroker` is no service of the schema",
            "[consumer.worker]?",
        ),
    ] {
        let ran = named(rest).exits(2);
        ran.warns(message).warns(&format!("--> dlconf.toml:{place}\n")).warns(help);
    }
}

#[test]
fn a_schema_without_services_has_one_consumer() {
    let schema = SMALL_SCHEMA
        .replace("services = [\"web\", \"worker\"]\n", "")
        .replace("services = [\"worker\"]\n", "");
    let of = |name: &str| {
        let folder = folder(&format!("[consumer.{name}]\n"));
        folder.file("dlconf.schema.toml", &schema).run(&["--config", "dlconf.toml", "check"])
    };
    of("small").exits(0);
    of("web").exits(2).warns("the schema has: small");
}

#[test]
fn settings_that_were_found_rotate_nothing() {
    for (rest, place, attempt) in [
        ("[rotation]\nenabled = true\n", "5:1", "rotate secrets"),
        ("[rotation]\nprobe_hosts = [\"evil.example.com\"]\n", "5:16", "say where secrets are tried"),
        ("[rotation]\nacknowledgements = \"leases/shop\"\n", "5:1", "write Leases"),
    ] {
        let folder = folder(rest);
        let ran = folder.run(&["check"]).exits(4);
        ran.warns(&format!("was found, not named, so it may not {attempt}"))
            .warns(&format!("--> dlconf.toml:{place}\n"))
            .warns("--config dlconf.toml");
        folder.run(&["--config", "dlconf.toml", "check"]).exits(0);
    }
    // Who may say so may be the caller, and who says less may be found.
    let folder =
        folder("[rotation]\nleader = \"lease/a\"\nwindows = [\"Mon 10:00-12:00\"]\n[consumer.web]\n");
    folder.run(&["check"]).exits(0);
    folder.run_with(&["check"], &[("DLCONF_ROTATION__ENABLED", "true")]).exits(0);
    let ran = folder.run_with(&["check"], &[("DLCONF_ROTATION__ENABLED", "maybe")]).exits(2);
    ran.warns("must be true or false").warns("--> env:DLCONF_ROTATION__ENABLED");
}

#[test]
fn an_overlay_enables_it_in_its_environment_only() {
    let folder = folder("[env.production.rotation]\nenabled = true\n");
    let doctor =
        |environment: &str| folder.run(&["--config", "dlconf.toml", "--env", environment, "doctor"]).stdout;
    assert!(doctor("staging").contains("off: this daemon rotates nothing"));
    assert!(doctor("production").contains("on: by this daemon alone"));
}

#[test]
fn doctor_says_what_each_rotation_would_find() {
    let schema = format!(
        "{SMALL_SCHEMA}\n[var.SIGNING]\ntype = \"hmac-key\"\nrequired = false\ngenerate = \"base64url:48\"\n\
         rotation = {{ strategy = \"overlap\", every = \"30d\", overlap = \"8d\" }}\ndescription = \"Signs.\"\n\
         [var.MASTER]\ntype = \"hmac-key\"\nrequired = false\n\
         rotation = {{ strategy = \"manual\", reason = \"everything is encrypted by it\" }}\ndescription = \"Seals.\"\n"
    );
    let folder =
        folder("[rotation]\nenabled = true\nleader = \"lease/turn\"\n[consumer.web]\nverifies = \"ring\"\n");
    folder.file("dlconf.schema.toml", &schema);
    let arguments = ["--config", "dlconf.toml", "doctor", "--format", "json"];
    let said = |environment: &[(&str, &str)], name: &str| {
        let ran = folder.run_with(&arguments, environment);
        let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let all = document["settings"].as_array().unwrap();
        let found = all.iter().find(|one| one["what"] == name).unwrap_or_else(|| panic!("{document:#}"));
        format!("{}: {}", found["state"].as_str().unwrap(), found["detail"].as_str().unwrap())
    };
    let canary = "canary-canary-canary-canary-canary";
    assert!(said(&[], "rotation").contains("whichever daemon holds lease/turn"));
    assert!(said(&[], "SIGNING").starts_with("degraded: overlap; no source gives it"));
    assert!(said(&[], "MASTER").contains("by hand only: everything is encrypted by it"));
    let given = said(&[("SIGNING", canary)], "SIGNING");
    assert!(
        given.contains("env:SIGNING wins, which dlconf cannot write") && !given.contains(canary),
        "{given}"
    );
}
