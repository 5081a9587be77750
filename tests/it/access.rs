//! The access policy from the outside: `dlconf access test`, mistakes in the file,
//! who may write it, and what the one for DataLens gives to whom.

mod datalens;

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::program::{Folder, Ran, SMALL_SCHEMA};

const SETTINGS: &str = "environment = \"staging\"\n[source.env]\ntype = \"env\"\n\
    [socket]\npath = \"dlconf.sock\"\nmode = \"0660\"\npolicy = \"access.toml\"\n";

const POLICY: &str = r#"[[allow]]
description = "the web server"
uid = 7001
vars = ["service:web"]
actions = ["read", "watch"]

[[allow]]
description = "one worker's program"
uid = 7002
exe = "/usr/bin/worker"
unit = "worker.service"
vars = ["service:worker"]
actions = ["read"]

[[allow]]
gid = 7100
vars = ["TOKEN"]
actions = ["rotate"]
"#;

fn shop() -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", SETTINGS).file("access.toml", POLICY);
    folder
}

/// A trial by a daemon that is nobody's own.
fn trial(folder: &Folder, arguments: &str) -> Ran {
    let usual = ["access", "test", "--daemon-uid", "7999"];
    let arguments: Vec<&str> = usual.into_iter().chain(arguments.split_whitespace()).collect();
    folder.run(&arguments)
}

#[test]
fn everything_that_a_caller_may_have_is_listed() {
    let ran = trial(&shop(), "--uid 7001 --gid 7001 --action read --action forget").exits(4);
    let expected = "\
uid 7001 · group 7001 · program not known
access.toml · dlconf.schema.toml · all services

  allowed  read    APP_ENV  rule 1
  refused  forget  APP_ENV  rule 1 does not permit this action
  allowed  read    PORT     rule 1
  refused  forget  PORT     rule 1 does not permit this action
  allowed  read    TTL      rule 1
  refused  forget  TTL      rule 1 does not permit this action
  allowed  read    TOKEN    rule 1
  refused  forget  TOKEN    rule 1 does not permit this action
  refused  read    MODE     rule 1 is for other variables
  refused  forget  MODE     rule 1 does not permit this action and is for other variables

  rule 1  access.toml:1 · the web server
          uid 7001 · read, watch of 4 variables

";
    assert!(ran.stdout.starts_with(expected), "{}", ran.stdout);
    let ran =
        ran.says("  fix: add \"forget\" to the `actions` of rule 1, which holds for all its variables, or");
    ran.says("  fix: add \"MODE\" to the `vars` of rule 1\n").says("\n4 allowed, 6 refused\n");
    let ran = trial(&shop(), "--uid 7001 --gid 5 --var TOKEN --var PORT").exits(0);
    ran.says("\n2 allowed\n").never_says("fix:").never_says("refused");
}

#[test]
fn the_nearest_miss_says_what_would_change_it() {
    let folder = shop();
    let refused = |arguments: &str, reason: &str, help: &str| {
        let ran = trial(&folder, arguments).exits(4);
        // Lines are broken where they end.
        let plain = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(plain.contains(reason) && plain.contains(help), "{}", ran.stdout);
    };
    let worker = "--uid 7002 --gid 5 --var MODE";
    refused(
        worker,
        "rule 2 is for one program, and the caller's is not known and is for one unit",
        "say --exe /usr/bin/worker to see what rule 2 gives to that program",
    );
    refused(
        &format!("{worker} --exe /usr/bin/sh --unit worker.service"),
        "rule 2 is for another program",
        "run /usr/bin/worker, or remove the `exe` of rule 2",
    );
    refused(
        &format!("{worker} --exe /usr/bin/worker --unit other.service"),
        "rule 2 is for another unit",
        "run it in worker.service, or remove the `unit` of rule 2",
    );
    let worker = format!("{worker} --exe /usr/bin/worker --unit worker.service");
    trial(&folder, &worker).exits(0).says("uid 7002 · group 5 · /usr/bin/worker · worker.service\n");
    refused(
        "--uid 1 --gid 2 --var TOKEN --action watch",
        "no rule is for this user or one of its groups",
        "rule 1 permits `watch` of \"TOKEN\" to uid 7001: run the program so, or write a rule for uid 1",
    );
    refused(
        "--uid 1 --gid 2 --var TOKEN --action forget",
        "no rule is for this user or one of its groups",
        "write a rule for uid 1 that permits `forget` of \"TOKEN\"",
    );
    refused(
        "--uid 7999 --gid 2 --var TOKEN",
        "rule 0 does not permit this action",
        "by itself, the daemon's own user only sees the status",
    );
    trial(&folder, "--uid 7999 --gid 2 --action status")
        .exits(0)
        .says("implied: the daemon's own user, here uid");
    trial(&folder, "--uid 1 --gid 2 --gid 7100 --var TOKEN --action rotate").exits(0).says("groups 2, 7100");
}

#[test]
fn a_stranger_is_told_in_one_line() {
    let folder = Folder::new();
    folder.file("access.toml", "[[allow]]\nuid = 7001\nvars = [\"*\"]\nactions = [\"read\"]\n");
    let ran = trial(&folder, "--policy access.toml --uid 1 --gid 2").exits(4);
    assert_eq!(ran.stdout.matches("refused  read").count(), 1, "{}", ran.stdout);
    ran.says("all 79 variables  no rule is for this user").says("0 allowed, 79 refused");
}

#[test]
fn a_program_reads_the_same_as_json() {
    let arguments = "--uid 7001 --gid 5 --var TOKEN --var MODE --exe /a --format json";
    let ran = trial(&shop(), arguments).exits(4);
    let document: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["ok"], false);
    assert_eq!(
        document["caller"],
        serde_json::json!({"uid": 7001, "groups": [5], "exe": "/a", "unit": null})
    );
    assert_eq!((&document["policy"], &document["service"]), (&"access.toml".into(), &Value::Null));
    let verdicts = document["verdicts"].as_array().unwrap();
    let summary: Vec<String> = verdicts
        .iter()
        .map(|v| format!("{} {} {} {}", v["allowed"], v["action"], v["variable"], v["rule"]))
        .collect();
    assert_eq!(summary, ["true \"read\" \"TOKEN\" 1", "false \"read\" \"MODE\" 1"]);
    assert_eq!(verdicts[1]["reason"], "rule 1 is for other variables");
    assert_eq!(verdicts[1]["help"], "add \"MODE\" to the `vars` of rule 1");
    assert_eq!((&document["rules"][0]["line"], &document["rules"][0]["number"]), (&1.into(), &1.into()));
    assert_eq!(document["rules"][0]["description"], "the web server");
}

#[test]
fn a_daemon_of_one_service_gives_only_what_it_has() {
    let folder = shop();
    trial(&folder, "--uid 7001 --gid 5 --service web").exits(0).says("service web").says("4 allowed\n");
    let ran = trial(&folder, "--uid 7001 --gid 5 --service worker --var MODE").exits(4);
    ran.says("rule 1 is for other variables");
    trial(&folder, "--uid 7001 --gid 5 --service web --var MODE")
        .exits(2)
        .warns("a daemon of service web does not have MODE");
}

#[test]
fn accounts_are_looked_up_and_that_is_said() {
    let folder = shop();
    trial(&folder, "--uid 0 --var TOKEN").exits(4).says("the groups are those of the account root");
    trial(&folder, "--user root --group root --var TOKEN").exits(4).says("user root (0) · group 0 ·");
    let unknown = "no account here has this number, so no groups are known: --gid says some";
    trial(&folder, "--uid 4000000000 --var TOKEN").exits(4).says(unknown);
    trial(&folder, "--user no-such-user").exits(2).warns("there is no user `no-such-user`").warns("--uid …");
    trial(&folder, "--uid 1 --group no-such").exits(2).warns("there is no group `no-such`").warns("--gid …");
    folder.file("access.toml", "[[allow]]\nuser = \"root\"\nvars = [\"TOKEN\"]\nactions = [\"read\"]\n");
    trial(&folder, "--uid 0 --var TOKEN").exits(0);
    trial(&folder, "--uid 7001 --gid 5 --var TOKEN").exits(4);
}

#[test]
fn wrong_usage_is_told() {
    let folder = shop();
    for (arguments, message) in [
        ("", "--uid <UID>"),
        ("--uid 1 --user root", "cannot be used with"),
        ("--uid -1", "unexpected argument"),
        ("--uid 1 --action reed", "invalid value 'reed'"),
        ("--uid 1 --gid 1 --var TOKN", "did you mean TOKEN?"),
        ("--uid 1 --gid 1 --var group:jwt", "--var group:jwt selects nothing"),
        ("--uid 1 --gid 1 --exe worker", "--exe must be an absolute path"),
        (
            "--uid 1 --gid 1 --policy none.toml",
            "the access policy could not be read: there is no file none.toml",
        ),
    ] {
        trial(&folder, arguments).exits(2).warns(message);
    }
    folder.file("dlconf.toml", "environment = \"staging\"\n[source.env]\ntype = \"env\"\n");
    trial(&folder, "--uid 1 --gid 1").exits(2).warns("the settings have no [socket]").warns("--policy FILE");
    trial(&folder, "--uid 7001 --gid 1 --var TOKEN --policy access.toml").exits(0);
    folder.file("dlconf.toml", &SETTINGS.replace("policy = \"access.toml\"\n", ""));
    let ran = trial(&folder, "--uid 7001 --gid 1 --var TOKEN").exits(4);
    ran.says("no policy: only the daemon's own user may ask").says("fix: name a `policy` in [socket]");
    trial(&folder, "--uid 7999 --gid 1 --var TOKEN").exits(0);
}

#[test]
fn every_mistake_of_a_policy_is_drawn() {
    let folder = shop();
    folder.file("access.toml", &POLICY.replace("7001", "65534").replace("\"watch\"", "\"wach\""));
    let ran = trial(&folder, "--uid 1 --gid 1").exits(2);
    let expected = "\
error: rule 1 is for user 65534, which may be anybody
 --> access.toml:3:7
  |
3 | uid = 65534
  |       ^^^^^ the kernel says this of everybody whom it cannot name
  = fix: run the program as a user of its own, and name that
error: rule 1 has an unknown action `wach`
 --> access.toml:5:20
  |
5 | actions = [\"read\", \"wach\"
  |                    ^^^^^^ one of: read, watch, acknowledge, status, forget, rotate
  = fix: did you mean \"watch\"?
";
    assert_eq!(ran.stderr, expected);
    // A path that leads to something else than a policy shows nothing of it.
    folder.file("access.toml", "TOKEN=canary and more\n");
    trial(&folder, "--uid 1 --gid 1").exits(2).warns("so it is no access policy").never_says("canary");
    folder.file("access.toml", "TOKEN = \"canary\"\n");
    trial(&folder, "--uid 1 --gid 1").exits(2).warns("has no field `TOKEN`").never_says("canary");
}

#[test]
fn who_can_write_a_policy_can_read_everything() {
    let folder = shop();
    folder.bytes("access.toml", POLICY.as_bytes(), 0o646);
    let ran = trial(&folder, "--uid 7001 --gid 1").exits(4);
    ran.warns("others may write the access policy (mode 0646)").warns("chmod o-w access.toml");
    folder.bytes("access.toml", POLICY.as_bytes(), 0o644);
    trial(&folder, "--uid 7001 --gid 1 --var TOKEN").exits(0);
}

#[test]
fn found_settings_name_a_policy_in_their_folder() {
    let (folder, elsewhere) = (shop(), shop());
    std::fs::remove_file(folder.join("access.toml")).unwrap();
    symlink(elsewhere.join("access.toml"), folder.join("access.toml")).unwrap();
    trial(&folder, "--uid 7001 --gid 1")
        .exits(4)
        .warns("was found, not named, so it may not read access.toml");
    trial(&folder, "--config dlconf.toml --uid 7001 --gid 1 --var TOKEN").exits(0);
}

#[test]
fn doctor_tells_of_the_socket_and_its_policy() {
    let folder = shop();
    folder.file("run/x", "").file("dlconf.toml", &SETTINGS.replace("dlconf.sock", "run/dlconf.sock"));
    let doctor = |code| folder.run(&["--config", "dlconf.toml", "doctor"]).exits(code);
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder.join("run"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o750);
    let ran = doctor(0).says("access.toml, 3 rules; mode 0600").says("rule 2 narrows by");
    ran.says("fine        socket       run/dlconf.sock, in a folder of mode 0750");
    mode(0o777);
    let ran = doctor(0)
        .says("degraded    socket       run/dlconf.sock: everybody may write its folder (mode 0777)");
    ran.says("chmod go-w run");
    std::fs::remove_dir_all(folder.join("run")).unwrap();
    doctor(0).says("its folder is not there yet, and will have mode 0750");
    folder.file("dlconf.toml", &SETTINGS.replace("0660", "0600"));
    doctor(0).says("mode 0600: only the daemon's own user can connect").says("mode = \"0660\"");
    folder.bytes("access.toml", POLICY.as_bytes(), 0o646);
    doctor(4).says("others may write the access policy").says("source env");
    folder.file("access.toml", "[[alow]]\n");
    doctor(2).says("wrong").says("has no field `alow`").says("did you mean `allow`?");
    folder.file("dlconf.toml", &SETTINGS.replace("policy = \"access.toml\"\n", ""));
    doctor(0).says("none: only the daemon's own user may ask");
}
