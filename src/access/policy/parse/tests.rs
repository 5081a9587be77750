//! What is written and what it means; every mistake has its place and a help.

use nix::errno::Errno;

use super::*;
use crate::model::schema::parse::parse as parse_schema;

const SCHEMA: &str = r#"
schema_version = 1
name = "shop"
environments = { variable = "APP_ENV", names = ["development"] }
services = ["web", "worker"]
[var.APP_ENV]
type = "string"
[var.DB_HOST]
type = "host"
services = ["web"]
[var.TOKEN]
type = "hmac-key"
services = ["web", "worker"]
[var.QUEUE]
type = "string"
services = ["worker"]
[group.db]
vars = ["DB_*"]
"#;

/// Accounts of a machine that there is not.
struct Fake;

impl Accounts for Fake {
    fn user(&self, name: &str) -> Result<u32, Unresolved> {
        match name {
            "web" => Ok(10_001),
            "nobody" => Ok(65_534),
            "ldap" => Err(Unresolved::Failed(Errno::EIO)),
            _ => Err(Unresolved::Unknown),
        }
    }

    fn group(&self, name: &str) -> Result<u32, Unresolved> {
        match name {
            "operators" => Ok(20_000),
            "nogroup" => Ok(65_534),
            _ => Err(Unresolved::Unknown),
        }
    }
}

fn read_for(text: &str, service: Option<&str>) -> Result<Vec<Written>, Vec<Mistake>> {
    parse(text, &parse_schema("schema", SCHEMA).unwrap().schema, service, &Fake)
}

fn read(text: &str) -> Result<Vec<Written>, Vec<Mistake>> {
    read_for(text, None)
}

/// A rule that is right but for this line, its fourth.
fn with(line: &str) -> String {
    let field = line.split(' ').next().unwrap();
    let usual = ["uid = 1", "vars = [\"TOKEN\"]", "actions = [\"read\"]"];
    let is_same = |usual: &&str| !usual.starts_with(&format!("{field} "));
    let rest: Vec<&str> = usual.into_iter().filter(is_same).collect();
    format!("# A policy.\n\n[[allow]]\n{line}\n{}\n", rest.join("\n"))
}

/// The only mistake of a text: its place, its words, what to do.
#[track_caller]
fn mistake(text: &str, line: u32, column: u32, message: &str, label: &str, help: &str) {
    let mistakes = read(text).unwrap_err();
    assert_eq!(mistakes.len(), 1, "{text}\n{mistakes:#?}");
    let only = &mistakes[0];
    let at = Lines::new(text).span(only.at.start);
    assert_eq!(
        (&*only.message, &*only.label, only.help.as_deref().unwrap_or_default(), at.line, at.column),
        (message, label, help, line, column),
        "{text}"
    );
}

#[test]
fn what_is_written_holds() {
    let text = r#"
[[allow]]
description = "the shop"
user = "web"
exe = "/usr/bin/shop"
unit = "shop@1.service"
vars = ["service:web"]
actions = ["read", "watch", "read"]

[[allow]]
gid = 20_000
uid = 0
vars = ["group:db", "QUE*", "TOKEN"]
actions = ["rotate"]
[[allow]]
group = "operators"
vars = ["*"]
actions = ["acknowledge", "forget", "status"]
"#;
    let rules = read(text).unwrap();
    let keys = |at: usize| rules[at].rule.keys.iter().map(Key::as_str).collect::<Vec<_>>();
    let [shop, root, operators] = [0, 1, 2].map(|at: usize| &rules[at].rule);
    assert_eq!((shop.id, shop.uid, shop.gid), (RuleId(1), Some(10_001), None));
    assert_eq!(shop.exe.as_deref(), Some(Path::new("/usr/bin/shop")));
    assert_eq!(shop.unit.as_deref(), Some("shop@1.service"));
    assert_eq!(keys(0), ["APP_ENV", "DB_HOST", "TOKEN"]);
    assert_eq!(shop.actions, BTreeSet::from([Action::Read, Action::Watch]));
    assert_eq!((root.id, root.uid, root.gid, root.is_narrowed()), (RuleId(2), Some(0), Some(20_000), false));
    assert_eq!(keys(1), ["DB_HOST", "QUEUE", "TOKEN"]);
    assert_eq!((operators.id, operators.uid, operators.gid), (RuleId(3), None, Some(20_000)));
    assert_eq!(keys(2).len(), 4);
    assert_eq!(operators.actions.len(), 3);
    assert_eq!(rules.iter().map(|rule| rule.line).collect::<Vec<_>>(), [2, 10, 15]);
    assert_eq!(rules[0].description.as_deref(), Some("the shop"));
    assert_eq!(rules[1].description, None);
}

#[test]
fn a_daemon_of_one_service_has_no_more_than_that() {
    let text = with("vars = [\"service:worker\", \"DB_HOST\"]");
    let keys = |service| {
        let rules = read_for(&text, service).unwrap();
        rules[0].rule.keys.iter().map(Key::to_string).collect::<Vec<_>>()
    };
    assert_eq!(keys(None), ["APP_ENV", "DB_HOST", "QUEUE", "TOKEN"]);
    assert_eq!(keys(Some("web")), ["APP_ENV", "DB_HOST", "TOKEN"]);
    assert_eq!(keys(Some("worker")), ["APP_ENV", "QUEUE", "TOKEN"]);
}

#[test]
fn who_must_be_somebody() {
    let nobody = "[[allow]]\nvars = [\"TOKEN\"]\nactions = [\"read\"]\n";
    let missing = "`uid`, `user`, `gid` or `group` is missing";
    let help = "write `uid = 10001`: the number that the program runs as";
    mistake(nobody, 1, 1, "rule 1 does not say for whom it is", missing, help);
    let narrowed = format!("{nobody}exe = \"/bin/a\"\n");
    mistake(&narrowed, 1, 1, "rule 1 does not say for whom it is", missing, help);

    let both = "uid = 1\nuser = \"web\"";
    mistake(&with(both), 5, 8, "rule 1 names its user twice", "`uid` does already", "remove one of the two");
    let both = "gid = 1\ngroup = \"operators\"";
    mistake(&with(both), 5, 9, "rule 1 names its group twice", "`gid` does already", "remove one of the two");

    let anybody = "the kernel says this of everybody whom it cannot name";
    let own = "run the program as a user of its own, and name that";
    let group = "run the program as a group of its own, and name that";
    let none = "it stands for 'none'";
    for (line, column, message, label, help) in [
        ("uid = 65534", 7, "rule 1 is for user 65534, which may be anybody", anybody, own),
        ("uid = 0xffff_ffff", 7, "rule 1 is for user 4294967295, which may be anybody", none, own),
        ("gid = 65534", 7, "rule 1 is for group 65534, which may be anybody", anybody, group),
        ("gid = 4294967295", 7, "rule 1 is for group 4294967295, which may be anybody", none, group),
        ("group = \"nogroup\"", 9, "rule 1 is for group 65534, which may be anybody", anybody, group),
        ("uid = -1", 7, "`uid` of rule 1 is no number of a user", "they go from 0 to 4294967294", ""),
        (
            "gid = 4294967296",
            7,
            "`gid` of rule 1 is no number of a group",
            "they go from 0 to 4294967294",
            "",
        ),
        (
            "uid = \"web\"",
            7,
            "`uid` of rule 1 must be a whole number",
            "this is a string",
            "write `user = …` for a name",
        ),
        (
            "uid = \"10001\"",
            7,
            "`uid` of rule 1 must be a whole number",
            "this is a string",
            "write it without quotes",
        ),
        ("uid = 1.0", 7, "`uid` of rule 1 must be a whole number", "this is a float", ""),
        ("group = 5", 9, "`group` of rule 1 must be a string", "this is an integer", ""),
    ] {
        mistake(&with(line), 4, column, message, label, help);
    }
    let text = with("user = \"nobody\"").replace("uid = 1\n", "");
    mistake(&text, 4, 8, "rule 1 is for user 65534, which may be anybody", anybody, own);
    for (line, message, label, help) in [
        (
            "group = \"opertors\"",
            "rule 1 is for a group that this machine does not have",
            "there is no group `opertors`",
            "create it, correct its name, or write its number: `gid = …`",
        ),
        (
            "group = \"20000\"",
            "rule 1 is for a group that this machine does not have",
            "there is no group `20000`",
            "write `gid = 20000`",
        ),
    ] {
        mistake(&with(line), 4, 9, message, label, help);
    }
    let text = with("user = \"ldap\"").replace("uid = 1\n", "");
    let failed = "the user of rule 1 could not be looked up: EIO: I/O error";
    let help = "see `getent passwd ldap`, or write its number: `uid = …`";
    mistake(&text, 4, 8, failed, "the name service failed", help);
}

#[test]
fn a_program_is_written_as_the_kernel_writes_it() {
    let odd = "`exe` of rule 1 is not written as the kernel does";
    let never = "no program could ever match";
    for (path, message, label, help) in [
        (
            "app",
            "`exe` of rule 1 must be an absolute path",
            "no PATH is searched",
            "write \"/usr/local/bin/…\"",
        ),
        ("", "`exe` of rule 1 must be an absolute path", "no PATH is searched", "write \"/usr/local/bin/…\""),
        (
            "/usr/../bin/app",
            "`exe` of rule 1 must not have `..`",
            "the kernel never says this",
            "write the path without `..`, as `readlink /proc/PID/exe` shows it",
        ),
        ("/usr/./bin/app", odd, never, "write \"/usr/bin/app\""),
        ("/usr//bin/app", odd, never, "write \"/usr/bin/app\""),
        ("/usr/bin/", odd, never, "write \"/usr/bin\""),
        ("/", odd, never, "write the path of a program"),
        ("/bin/app (deleted)", "`exe` of rule 1 is no path of a program", never, "correct it"),
        ("/bin/\\u0000app", "`exe` of rule 1 is no path of a program", never, "correct it"),
    ] {
        mistake(&with(&format!("exe = \"{path}\"")), 4, 7, message, label, help);
    }
}

#[test]
fn a_unit_is_one_that_has_processes() {
    let suffix = "`unit` of rule 1 must end with .service or .scope";
    let no_name = "`unit` of rule 1 is no name of a unit";
    let shown = "write it as `systemctl status PID` shows it";
    for (unit, message, label, help) in [
        (
            "app",
            suffix,
            "processes run in these",
            "write \"app.service\", or the .scope that the program runs in",
        ),
        ("app.servce", suffix, "processes run in these", "did you mean \"app.service\"?"),
        ("app.timer", suffix, "processes run in these", "did you mean \"app.service\"?"),
        (
            "app@.service",
            "`unit` of rule 1 is a template",
            "no process runs in it, only in its instances",
            "name the one that is meant: \"app@NAME.service\"",
        ),
        (".service", no_name, "1 to 255 bytes", shown),
        ("", no_name, "1 to 255 bytes", shown),
        ("/system.slice/app.service", no_name, "no unit has '/' in its name", shown),
        ("a b.service", no_name, "no unit has ' ' in its name", shown),
        ("app*.service", no_name, "no unit has '*' in its name", shown),
    ] {
        mistake(&with(&format!("unit = \"{unit}\"")), 4, 8, message, label, help);
    }
    for unit in ["a.service", "init.scope", "a@b-c.service", "a\\\\x2db.service"] {
        assert!(read(&with(&format!("unit = \"{unit}\""))).is_ok(), "{unit}");
    }
}

#[test]
fn variables_are_those_of_the_schema() {
    let nothing = "selects nothing of the schema shop";
    for (part, help) in [
        ("TOKN", "did you mean \"TOKEN\"?"),
        ("group:bd", "did you mean \"group:db\"?"),
        ("group:x", "the schema has: db"),
        ("service:wrker", "did you mean \"service:worker\"?"),
        ("service:x", "the schema has: web, worker"),
        ("worker", "did you mean \"service:worker\"?"),
        ("NONE_*", ""),
        ("", ""),
    ] {
        let message = format!("rule 1: `{part}` selects nothing that the schema declares");
        mistake(&with(&format!("vars = [\"TOKEN\", \"{part}\"]")), 4, 18, &message, nothing, help);
    }
    let help = "write `vars = [\"service:cc\"]`, or names, patterns and groups: \"DB_*\", \"group:jwt\"";
    let (empty, one) = ("`vars` of rule 1 is empty", "`vars` of rule 1 must be a list of strings");
    mistake(&with("vars = []"), 4, 8, empty, "it would permit nothing", help);
    mistake(&with("vars = \"TOKEN\""), 4, 8, one, "this is none", help);
    mistake(&with("vars = [1]"), 4, 9, one, "this is an integer", "");
    let missing = "[[allow]]\nuid = 1\nactions = [\"read\"]\n";
    mistake(missing, 1, 1, "`vars` of rule 1 is missing", "it would permit nothing", help);
}

#[test]
fn actions_are_known_words() {
    let words = "one of: read, watch, acknowledge, status, forget, rotate";
    for (action, help) in [("reed", "did you mean \"read\"?"), ("*", ""), ("READ", "did you mean \"read\"?")]
    {
        let message = format!("rule 1 has an unknown action `{action}`");
        mistake(&with(&format!("actions = [\"{action}\"]")), 4, 12, &message, words, help);
    }
    let help = "write `actions = [\"read\"]`; there are: read, watch, acknowledge, status, forget, rotate";
    mistake(&with("actions = []"), 4, 11, "`actions` of rule 1 is empty", "it would permit nothing", help);
    let missing = "[[allow]]\nuid = 1\nvars = [\"TOKEN\"]\n";
    mistake(missing, 1, 1, "`actions` of rule 1 is missing", "it would permit nothing", help);
}

#[test]
fn nothing_unknown_is_passed_over() {
    let near = |near: &str| format!("did you mean `{near}`?");
    mistake(&with("eXe_ = \"/a\""), 4, 1, "rule 1 has no field `eXe_`", "unknown field", &near("exe"));
    mistake(&with("var = [\"TOKEN\"]"), 4, 1, "rule 1 has no field `var`", "unknown field", &near("vars"));
    mistake(
        &with("description = 5"),
        4,
        15,
        "`description` of rule 1 must be a string",
        "this is an integer",
        "",
    );
    let deny = "it may have: actions, description, exe, gid, group, uid, unit, user, vars";
    mistake(&with("except = [\"TOKEN\"]"), 4, 1, "rule 1 has no field `except`", "unknown field", deny);
    let rule = with("uid = 1");
    let field = "an access policy has no field `alow`";
    mistake(&rule.replace("allow", "alow"), 3, 3, field, "unknown field", &near("allow"));
    let text = format!("{rule}[[deny]]\nuid = 2\n");
    mistake(&text, 7, 3, "an access policy has no field `deny`", "unknown field", "it may have: allow");
    let list = "`allow` of an access policy must be a list of tables";
    let help = "write `[[allow]]` above each rule, with two brackets";
    mistake(&rule.replace("[[allow]]", "[allow]"), 3, 1, list, "one rule of many", help);
    mistake(
        "allow = [1]",
        1,
        10,
        "rule 1 must be a table",
        "this is none",
        "write `[[allow]]` above each rule",
    );
}

#[test]
fn a_policy_has_rules() {
    let message = "an access policy without a rule permits nobody anything";
    let help = "write one; without `policy` in [socket], only the daemon's own user may ask";
    for text in ["", "# nothing yet\n", "allow = []"] {
        mistake(text, 1, 1, message, "there is no `[[allow]]`", help);
    }
}

#[test]
fn what_is_no_toml_is_not_shown() {
    let mistakes = read("[[allow]]\nTOKEN=hunter2 and more\n").unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].hidden && !format!("{mistakes:?}").contains("hunter2"), "{mistakes:?}");
}

#[test]
fn every_mistake_comes_in_one_run_in_the_order_of_the_text() {
    let text = r#"
[[allow]]
uid = 1
user = "gone"
exe = "app"
unit = "app"
vars = ["TOKN", "QUEU"]
actions = ["reed"]
when = "now"
[[allow]]
uid = 65534
vars = []
[other]
"#;
    let mistakes = read(text).unwrap_err();
    let lines: Vec<u32> = mistakes.iter().map(|m| Lines::new(text).span(m.at.start).line).collect();
    assert_eq!(lines, [4, 4, 5, 6, 7, 7, 8, 9, 10, 11, 12, 13], "{mistakes:#?}");
}
