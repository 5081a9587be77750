//! `dlconf check`: exit codes, formats, `--names-only`, `--fix`, `--portability`.

use crate::program::{Folder, SMALL_SCHEMA};

const STRONG: &str = "q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE";

fn folder(env: &str) -> Folder {
    let folder = Folder::with_env(env);
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder
}

#[test]
fn exit_codes() {
    folder("PORT=1\n").run(&["check"]).exits(0);
    folder("PORT=x\n").run(&["check"]).exits(1);
    folder("STRANGE=1\n").run(&["check"]).exits(0);
    folder("STRANGE=1\n").run(&["check", "--fail-on", "warning"]).exits(1);
    folder("").run(&["check", "--env", "nowhere"]).exits(2);
    folder("").run(&["check", "--no-such-flag"]).exits(2);
    folder("PORT=x\nA='\n").run(&["check"]).exits(3);
}

#[test]
fn a_source_that_cannot_be_read_is_never_called_missing() {
    let ran =
        folder("TOKEN='unterminated\n").run(&["check", "--env", "production", "--format", "json"]).exits(3);
    assert_eq!(ran.findings(), ["DLC050 - error"]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(document["ok"], false);
    let unjudged: Vec<&str> =
        document["unjudged"].as_array().unwrap().iter().map(|u| u["variable"].as_str().unwrap()).collect();
    assert!(unjudged.contains(&"TOKEN"), "{unjudged:?}");
    ran.never_says("unterminated\n");
    let folder = folder("");
    std::fs::remove_file(folder.join(".env")).unwrap();
    std::fs::create_dir(folder.join(".env")).unwrap();
    folder.run(&["check"]).exits(3).says(".env is a directory");
}

#[test]
fn it_looks_like_the_contract() {
    let ran =
        folder("# the shop\nPORT=1\nOLD_TTL=7d\n").run(&["check", "--env", "production", "--color", "never"]);
    let expected = "\
production · dlconf.schema.toml · read .env (2), environment (0)

error[DLC031]: the shop does not read OLD_TTL: its name is TTL
 --> .env:3:1
3 | OLD_TTL=7d
  | ^^^^^^^ never delivered
  = fix: write it as TTL

error[DLC013]: the shop silently ignores OLD_TTL=7d
 --> .env:3:9
3 | OLD_TTL=7d
  |         ^^ Go has no unit \"d\"; the default, 300s, is used
  = fix: write 168h

error[DLC001]: TOKEN is not set
  --> dlconf.schema.toml:28      looked in: .env, environment
   = without it, the shop uses a key of its own
   = fix: set 32 bytes or more; `openssl rand -base64 32` makes one
";
    let ran = ran.exits(1);
    assert!(ran.stdout.starts_with(expected), "{}", ran.stdout);
    ran.says("3 errors, 3 variables fine · `dlconf check --fix` mends 2 · dlconf explain DLC031");
}

#[test]
fn colours_only_where_they_are_wanted() {
    let esc = "\u{1b}[";
    let folder = folder("PORT=x\n");
    folder.run(&["check"]).never_says(esc);
    folder.run(&["check", "--color", "always"]).says(esc);
}

#[test]
fn machines_read_the_same_findings() {
    let folder = folder(&format!("PORT=x\nTOKEN={STRONG}\nSTRANGE=1\n"));
    let json = folder.run(&["check", "--format", "json"]).exits(1);
    assert_eq!(json.findings(), ["DLC013 PORT error", "DLC030 STRANGE warning"]);
    let sarif = folder.run(&["check", "--format", "sarif"]).exits(1).never_says(STRONG);
    let document: serde_json::Value = serde_json::from_str(&sarif.stdout).unwrap();
    assert_eq!(document["version"], "2.1.0");
    let results = document["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results[0]["ruleId"], "DLC013");
    assert_eq!(results[0]["locations"][0]["physicalLocation"]["region"]["startLine"], 1);
    folder.run(&["check", "--format", "junit"]).exits(1).says("<testsuite").says("DLC013");
    folder.run(&["check", "--format", "github"]).exits(1).says("::error file=.env,line=1").says("::warning ");
}

#[test]
fn under_github_actions_text_adds_annotations_and_a_summary() {
    let folder = folder("PORT=x\n");
    let summary = folder.join("summary.md");
    let environment = [("GITHUB_ACTIONS", "true"), ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap())];
    let ran = folder.run_with(&["check"], &environment).exits(1);
    ran.says("error[DLC013]").says("::error file=.env,line=1,col=6");
    folder.run_with(&["check", "--format", "json"], &environment).never_says("::error");
    let text = folder.read("summary.md");
    assert_eq!(text.matches("### ").count(), 1, "once, and not for json: {text}");
    // A missing variable is anchored at its line in the schema.
    let ran = folder.run_with(&["check", "--env", "production"], &environment).exits(1);
    ran.says("::error file=dlconf.schema.toml,line=28");
}

#[test]
fn names_only_judges_presence_without_values() {
    let folder = folder("PORT=nonsense\nTOKEN=\nSTRANGE=1\n");
    let ran = folder.run(&["check", "--names-only", "--env", "production", "--format", "json"]).exits(0);
    assert_eq!(ran.findings(), ["DLC030 STRANGE warning"]);
    folder.file(".env", "PORT=1\n");
    let ran = folder.run(&["check", "--names-only", "--env", "production", "--format", "json"]).exits(1);
    assert_eq!(ran.findings(), ["DLC001 TOKEN error"]);
}

#[test]
fn fix_mends_what_is_safe_and_shows_it() {
    let text =
        "# a comment\r\nexport OLD_TTL=\"7d\"  # days\r\nPORT=80_80\r\nTOKEN=hunter2-canary\r\n\r\n# end";
    let folder = folder("");
    folder.bytes(".env", text.as_bytes(), 0o644);
    let ran = folder.run(&["check", "--fix", "--env", "production"]).exits(1);
    assert_eq!(
        folder.read(".env"),
        "# a comment\r\nexport TTL=\"168h\"  # days\r\nPORT=8080\r\nTOKEN=hunter2-canary\r\n\r\n# end"
    );
    assert_eq!(folder.mode(".env"), 0o600);
    ran.warns("-OLD_TTL=\"7d\"").warns("+TTL=\"168h\"").warns("mode 0644 is now 0600").never_says("canary");

    let before = std::fs::metadata(folder.join(".env")).unwrap().modified().unwrap();
    folder.run(&["check", "--fix", "--env", "production"]).exits(1);
    assert_eq!(
        std::fs::metadata(folder.join(".env")).unwrap().modified().unwrap(),
        before,
        "nothing left to mend"
    );
}

#[test]
fn fix_does_not_touch_what_it_must_not() {
    // A link is refused, and its target stays.
    let linked = folder("");
    linked.file("real.env", "PORT=80_80\n");
    std::fs::remove_file(linked.join(".env")).unwrap();
    std::os::unix::fs::symlink("real.env", linked.join(".env")).unwrap();
    linked.run(&["check", "--fix"]).exits(4).warns("symbolic link");
    assert_eq!(linked.read("real.env"), "PORT=80_80\n");
    // The environment cannot be mended.
    let folder = folder("");
    let ran = folder.run_with(&["check", "--fix"], &[("OLD_TTL", "5m"), ("DLCONF_ENV", "staging")]);
    ran.exits(1).says("DLC031");
    assert_eq!(folder.read(".env"), "");
}

#[test]
fn portability_tells_what_readers_read() {
    let folder = folder("PORT=80 # web\nTOKEN=\"pa$word-canary-and-more-than-32-bytes\"\nTTL=5m\n");
    let ran = folder.run(&["check", "--portability"]).exits(0);
    let ran = ran
        .says("DLC060")
        .says(".env:1:")
        .says("docker, systemd: the value with the comment behind it")
        .says("bash: \"80\"")
        .never_says("canary");
    assert!(!ran.stdout.contains(".env:3:"), "{}", ran.stdout);
    // Malformed lines are judged as well.
    folder.file(".env", "PORT=80\nA='x\n");
    folder.run(&["check", "--portability"]).exits(3).says("DLC060").says("DLC050");
}

#[test]
fn open_permissions_are_told() {
    let folder = folder("");
    folder.bytes(".env", format!("TOKEN={STRONG}\n").as_bytes(), 0o644);
    folder.run(&["check"]).exits(0).says("warning[DLC080]").says("chmod 600 .env");
    folder.run(&["check", "--env", "staging"]).exits(1).says("error[DLC080]");
}

#[test]
fn malformed_schemas_have_a_place_and_a_fix() {
    for (schema, texts) in [
        ("schema_version = 1\nname = \"x\n", &["s.toml:2", "not valid TOML"][..]),
        ("schema_version = 2\n", &["s.toml:1", "version"]),
        ("\u{feff}[[[", &["not valid TOML"]),
        ("", &["a schema begins with its version", "names its environments"]),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.A]\ntpye = \"int\"\n",
            &["has no field `tpye`", "did you mean `type`?", "s.toml:4:1", "has no type"],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.A]\ntype = \"intt\"\n",
            &["no type `intt`", "did you mean `int`?"],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.A]\ntype = \"int\"\ndefault = \"x\"\n",
            &["the default of A fails its own type", "s.toml:5:11"],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.ABC]\ntype = \"int\"\n[group.g]\nvars = [\"ABX_*\"]\n",
            &["matches no declared variable"],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.ABC]\ntype = \"int\"\n[[rule]]\nid = \"r\"\nassert = \"vars.ABD > 1\"\nmessage = \"m\"\n",
            &["rule r", "ABD", "did you mean `ABC`?", "s.toml:7:"],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.K]\ntype = \"hmac-key\"\nrotation = { strategy = \"overlap\", overlap = \"8d\" }\n",
            &["cannot make the next key", "needs `generate`"],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.LIFE]\ntype = \"duration\"\n[var.K]\ntype = \"hmac-key\"\ngenerate = \"hex:32\"\nrotation = { strategy = \"overlap\", overlap = \"8d\", tokens = [\"LIFF\", \"K\", \"LIFE\"] }\n",
            &[
                "LIFF cannot say how long lives what K signs",
                "did you mean `LIFE`?",
                "K cannot say",
                "it is no duration",
            ],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.LIFE]\ntype = \"duration\"\n[var.K]\ntype = \"hmac-key\"\ngenerate = \"hex:32\"\nrotation = { strategy = \"ring\", tokens = [\"LIFE\"] }\n",
            &["only a key that is retired must outlive what it signed", "remove `tokens`"],
        ),
        (
            "schema_version = 1\nenvironments = { variable = \"E\", names = [\"p\"] }\n[var.K]\ntype = \"hmac-key\"\ndefault = \"x\"\n",
            &["K is secret: a default in a committed file"],
        ),
    ] {
        let folder = Folder::new();
        folder.file("s.toml", schema);
        for command in [&["schema", "lint"][..], &["check"]] {
            let ran = folder.run(&[&["--schema", "s.toml"], command].concat()).exits(2);
            for text in texts {
                assert!(ran.stderr.contains(text), "{schema}\n{text:?} not in:\n{}", ran.stderr);
            }
        }
    }
    Folder::new().run(&["--schema", "none.toml", "check"]).exits(2).warns("none.toml");
}

#[test]
fn hostile_files_never_panic() {
    for bytes in [
        &b"\xff\xfe\x00"[..],
        b"A=\x00\n",
        b"\xef\xbb\xbf",
        b"=",
        b"${",
        b"A=${A:-${A:-${A",
        b"export",
        b"\"",
        b"A=\"\\",
        b"'\n'\n'",
        &[b'('; 5000],
        &[b'\n'; 5000],
    ] {
        for name in [".env", "dlconf.schema.toml", "dlconf.toml"] {
            let folder = Folder::new();
            folder.bytes(name, bytes, 0o600);
            let ran = folder.run(&["check", "--portability"]);
            assert!((0..=4).contains(&ran.code), "{name} {bytes:?}: {} {}", ran.code, ran.stderr);
            ran.never_says("internal error");
        }
    }
}

#[test]
fn a_strangers_file_cannot_steer_the_terminal_or_the_runner() {
    let folder = folder("PORT='\u{1b}[31mx\u{202e}'\nOLD_TTL='\n::error::injected\n'\n");
    let ran = folder.run_with(&["check"], &[("GITHUB_ACTIONS", "true")]).exits(1);
    let ran = ran.never_says("\u{1b}[31m").never_says("\u{202e}");
    assert!(!ran.stdout.lines().any(|line| line.starts_with("::error::injected")), "{}", ran.stdout);
}

#[test]
fn fix_leaves_alone_what_is_a_guess() {
    // A name that others refer to, a value made from references, two on a line.
    for text in [
        "OLD_TTL=5m\nTOKEN=\"${OLD_TTL}-0123456789abcdefghijklmnopqrstuv\"\n",
        "TTL=${NOPE:-7d}\n",
        "PORT=\"80\" OLD_TTL=7d\n",
        "OLD_TTL=\"5m\" OLD_TTL=\"6m\"\n",
    ] {
        let folder = folder(text);
        let before = folder.read(".env");
        folder.run(&["check", "--fix", "--env", "staging"]);
        let after = folder.read(".env");
        let wrong = after != before && !after.contains("PORT=\"80\" TTL=168h");
        assert!(!wrong, "{text:?} became {after:?}");
    }
}

#[test]
fn the_diff_shows_no_more_than_the_finding() {
    let token = "ghp_canary9abcdefghij0123456789ABCDEFGHIJ";
    let folder = folder(&format!("OLD_TTL={token} # canary in a comment\nTTL2=x\n"));
    folder.run(&["check", "--fix", "--env", "staging"]).warns("+TTL=••••••••").never_says("canary");
    assert!(folder.read(".env").starts_with(&format!("TTL={token} # canary in a comment\n")));
}

#[test]
fn fixes_are_promised_only_where_they_can_be_done() {
    let folder = folder("");
    folder.file("dlconf.toml", "environment = \"staging\"\norder = [\"c\", \"env\"]\n[source.c]\ntype = \"file\"\npath = \"c.yaml\"\n[source.env]\ntype = \"env\"\n");
    folder.bytes("c.yaml", format!("token: {STRONG}\nttl: 7d\n").as_bytes(), 0o644);
    let ran = folder.run_with(&["check"], &[("OLD_TTL", "5m")]).exits(1);
    ran.says("`dlconf check --fix` mends 1");
    folder.run(&["check", "--fix"]).exits(1).warns("mode 0644 is now 0600");
    assert_eq!(folder.mode("c.yaml"), 0o600);
    let ran = folder.run(&["check"]).exits(1);
    assert!(!ran.stdout.contains("--fix"), "{}", ran.stdout);
}

#[test]
fn portability_of_what_is_no_env_file_ends() {
    let lines: String = (0..1200).map(|n| format!("X{n}=1#c\n")).collect::<Vec<_>>().concat();
    let folder = Folder::with_env(&lines);
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    let ran = folder.run(&["check", "--portability", "--format", "json"]);
    let told = ran.findings().iter().filter(|finding| finding.starts_with("DLC060")).count();
    assert_eq!(told, 1001);
    ran.says("readers of env files disagree on 200 more lines of .env");
}

#[test]
fn portability_shows_nothing_that_is_not_the_lines_own() {
    let schema = format!(
        "{SMALL_SCHEMA}\n[var.M]\ntype = \"string\"\nrequired = false\ndescription = \"x\"\n[var.L]\ntype = \"string\"\nrequired = false\ndescription = \"x\"\n[var.PW]\ntype = \"password\"\nrequired = false\ndescription = \"x\"\n"
    );
    for text in [
        "PW=canary-canary\nM=$PW\nL=$M\n",
        "M=it's\nPW=canary-canary\nL=x'y\n",
        "M=abc\\\nPW=canary-canary\n",
        "PW=canary-canary\nL='info'$PW\n",
        "PW=canary-canary\nM=\"x\" L=$PW\n",
        "M=\"ghp_canary9abcdefghij0123456789ABCDEFGHIJ\"\n",
        "M=\"nats://u:canary9pw@h:4222\"\n",
        "M=abc # pw was canary\n",
        "L=$SECRET_OF_THE_HOST\n",
        "M='a\ncanary=1\n'\n",
        "M=$L\\\n# canary-old\n",
        "M=$L\\x'b\n# canary-old\nL=x'y\n",
    ] {
        let folder = Folder::with_env(text);
        folder.file("dlconf.schema.toml", &schema);
        for format in ["text", "json"] {
            let ran = folder.run_with(
                &["check", "--portability", "--format", format],
                &[("SECRET_OF_THE_HOST", "canary-host")],
            );
            ran.never_says("canary-").never_says("canary9").never_says("was canary");
        }
    }
}

#[test]
fn a_file_that_is_no_schema_is_not_shown() {
    for text in [
        "DB_PASSWORD=canary hunter2\n",
        "JWT_SECRET = \"canary\"\n",
        "[var.A]\ntype = \"password\"\ndefault = \"canary\"\n",
    ] {
        let folder = Folder::new();
        folder.file(".env", text);
        folder.run(&["check", "--schema", ".env"]).exits(2).never_says("canary");
    }
}

#[test]
fn get_and_explain_do_not_repeat_what_is_no_name() {
    let folder = folder("");
    folder.run(&["get", "--local", "TOKEN=canary"]).exits(2).never_says("canary");
    folder.run(&["explain", "TOKEN=canary"]).exits(2).never_says("canary");
}

#[test]
fn get_gives_only_what_the_whole_configuration_validates() {
    let folder = folder("PORT=1\nTTL=\"${NOPE?x}\"\n");
    folder.run(&["get", "--local", "PORT"]).exits(3).warns("TTL needs NOPE");
    folder.file(".env", "PORT=1\nTTL=7d\n");
    folder.run(&["get", "--local", "PORT"]).exits(1).warns("silently ignores TTL=7d");
}

#[test]
fn an_environment_variable_without_a_declaration_is_set() {
    let folder = Folder::new();
    let schema = SMALL_SCHEMA.replace(
        "[var.APP_ENV]\ntype = \"string\"\nrequired = false\ndescription = \"The environment.\"\n",
        "",
    );
    assert!(!schema.contains("[var.APP_ENV]"));
    folder.file("dlconf.schema.toml", &schema);
    let ran = folder.run(&["run", "--env", "staging", "--", "sh", "-c", "echo $APP_ENV"]).exits(0);
    assert_eq!(ran.stdout, "staging\n");
    folder.run_with(&["check", "--env", "staging"], &[("APP_ENV", "staging")]).exits(0).never_says("DLC030");
}

#[test]
fn names_that_cannot_be_variables_are_told() {
    let ran = folder("POR-T=1\n1X=2\nport=3\n").run(&["check", "--format", "json"]).exits(0);
    assert_eq!(ran.findings(), ["DLC030 port warning", "DLC030 - warning", "DLC030 - warning"]);
    assert!(ran.stdout.contains("did you mean PORT?"));
}
