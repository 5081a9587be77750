//! `dlconf init`: a stranger's example becomes a schema and settings that work
//! at once.

use toml::{Table, Value};

use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// A folder with an example, and what `init` says to it.
fn init(example: &str) -> (Folder, Ran) {
    let folder = Folder::new();
    folder.file(".env.example", example);
    let ran = folder.run(&["init"]).exits(0);
    (folder, ran)
}

/// The drafted schema.
fn schema(folder: &Folder) -> Table {
    folder.read("dlconf.schema.toml").parse().unwrap()
}

/// A field of a drafted variable: a text, a switch, the texts of a list; `-`
/// where there is none.
fn field(folder: &Folder, variable: &str, field: &str) -> String {
    let schema = schema(folder);
    let variable = schema["var"].get(variable).unwrap_or_else(|| panic!("no {variable}: {schema:?}"));
    match variable.get(field) {
        None => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Boolean(switch)) => switch.to_string(),
        Some(Value::Array(texts)) => {
            texts.iter().map(|text| text.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        }
        Some(other) => panic!("{other:?}"),
    }
}

const LARAVEL: &str = r#"APP_NAME=Laravel
APP_ENV=local
APP_KEY=
APP_DEBUG=true
APP_URL=http://localhost

# PHP_CLI_SERVER_WORKERS=4

BCRYPT_ROUNDS=12

DB_CONNECTION=sqlite
# DB_HOST=127.0.0.1
# DB_PORT=3306
# DB_PASSWORD=

SESSION_DRIVER=database
MAIL_FROM_ADDRESS="hello@example.com"
VITE_APP_NAME="${APP_NAME}"
"#;

#[test]
fn what_it_drafts_works_at_once() {
    let odd = [
        LARAVEL,
        "APP_ENV=dev\nPORT=8080\n",
        "APP_ENV=Development\nPORT=8080\n",
        "APP_ENV=LOCAL\nPORT=8080\n",
        "APP_ENV=production\n",
        "APP_ENV=neverheardof\n",
        "NODE_ENV=local\n",
        "ASPNETCORE_ENVIRONMENT=\n",
        "ENV=qa\n",
        "# APP_ENV=stg\nA=1\n",
        "_=1\n__=2\na=3\nA=4\nA_B_=5\nA_B_C=6\nA_B_D=7\n",
        "MAX_CONNS=007\nTIMEOUT=5 minutes\nLOG_LEVEL=chatty\nORIGINS=,\nHOST=-\nPORT=99999\n",
        "T=\"x\\\"y\\\\z\\t[var.EVIL]\"\nU='''\nV=\u{1}\u{7f}\n",
        "DSN=postgres://u:pass@localhost/d?x=*\nE=redis://:pw@[::1]:6379/0\nF=a://b:c@\n",
        "X_CLIENT_ID=1\nX_CLIENT_SECRET=2\nDLCONF_ENV=production\n",
    ];
    for example in odd {
        let folder = Folder::new();
        folder.file(".env.example", example);
        let ran = folder.run(&["init"]);
        if ran.code == 3 {
            continue; // no env file at all
        }
        ran.exits(0).warns("then run `dlconf check`\n");
        folder.run(&["schema", "lint"]).exits(0);
        let ran = folder.run(&["check"]);
        assert!(matches!(ran.code, 0 | 1), "{example}\n{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn a_laptop_that_is_called_local_is_one() {
    let (folder, _) = init(LARAVEL);
    assert_eq!(schema(&folder)["environments"]["development"].as_str(), Some("local"));
    folder.file(".env", "APP_ENV=local\n").file(".env.local", "DB_PASSWORD=change-me\n");
    let edited = folder
        .read("dlconf.schema.toml")
        .replace("[var.DB_PASSWORD]\n", "[var.DB_PASSWORD]\nforbid = [\"change-me\"]\n");
    folder.file("dlconf.schema.toml", &edited);
    let ran = folder.run(&["dev", "--", "sh", "-c", "echo $APP_ENV ${#APP_KEY}"]).exits(0);
    assert_eq!(ran.stdout, "local 64\n");
    ran.warns("for local into .env.local");
    // Both by .env.local, which is read once.
    let ran = folder.run(&["check", "--format", "json"]).exits(0);
    assert_eq!(ran.findings(), ["DLC020 DB_PASSWORD warning"]);
    folder.run(&["check"]).exits(0).says("read .env (1), .env.local (2)");
    folder
        .run(&["dev", "--env", "production", "--", "true"])
        .exits(125)
        .warns("dev is for local, but production");
    // Elsewhere the same finding is an error, and the file is not read.
    folder.file(".env.production", "DB_PASSWORD=change-me\n").file(".env", "");
    let ran = folder.run(&["check", "--env", "production", "--format", "json"]).exits(1);
    assert!(ran.findings().contains(&"DLC020 DB_PASSWORD error".into()), "{:?}", ran.findings());
    assert!(ran.findings().contains(&"DLC001 APP_KEY error".into()), "{:?}", ran.findings());
}

#[test]
fn the_drafted_environments_are_written_as_the_examples() {
    for (example, names, laptop) in [
        ("APP_ENV=local", "local staging production", "local"),
        ("APP_ENV=dev", "dev staging prod", "dev"),
        ("APP_ENV=Development", "Development Staging Production", "Development"),
        ("ENVIRONMENT=PROD", "DEV STAGING PROD", "DEV"),
        ("APP_ENV=develop", "develop staging production", "develop"),
        ("NODE_ENV=dev", "dev staging prod", "dev"),
        ("APP_ENV=", "development staging production", "-"),
        ("# APP_ENV=local\nNODE_ENV=test", "development test production", "-"),
    ] {
        let (folder, _) = init(&format!("{example}\n"));
        let environments = &schema(&folder)["environments"];
        let drafted: Vec<&str> =
            environments["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(drafted.join(" "), names, "{example}");
        assert_eq!(environments.get("development").map_or("-", |name| name.as_str().unwrap()), laptop);
    }
}

#[test]
fn a_schema_without_a_laptops_environment_is_asked_which() {
    let schema = SMALL_SCHEMA.replace("\"development\", \"staging\"", "\"local\", \"staging\"");
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", &schema);
    folder
        .run(&["check"])
        .exits(2)
        .warns("does not say which is a laptop's")
        .warns("`--env local` or `--env staging` or `--env production`");
    folder
        .run(&["dev", "--env", "local", "--", "true"])
        .exits(125)
        .warns("`development = \"…\"`")
        .warns("local, ");
    folder.run(&["check", "--env", "local"]).exits(0);

    let says = |name: &str| {
        schema.replace("\"production\"] }", &format!("\"production\"], development = \"{name}\" }}"))
    };
    folder.file("dlconf.schema.toml", &says("local"));
    folder.run(&["check"]).exits(0).says("local · ");
    folder.run(&["schema", "env-example"]).exits(0).says("APP_ENV=local\n");
    folder.file("dlconf.schema.toml", &says("locl"));
    folder
        .run(&["schema", "lint"])
        .exits(2)
        .warns("there is no environment `locl`")
        .warns("did you mean `local`?");
}

#[test]
fn what_is_commented_out_is_optional() {
    let (folder, ran) = init(
        r#"
# Optional cache, off without it
# REDIS_URL=
#LOG_FORMAT=json
# export TRACE_SAMPLES=10
  #  QUOTED="two words"
# WORDS=true turns the words on
# JWT_SECRET=change-me
# Set FOO=bar to enable
# lower=case
# NOTE: BAR=1
# TODO: write this
# BAZ==1
# if QUX == 1
# JBSWY3DPEHPK3PXP=
PORT=8080
# PORT=9090
TEXT="
# INSIDE=1
"
"#,
    );
    ran.warns("drafted 8 variables");
    for name in ["REDIS_URL", "LOG_FORMAT", "TRACE_SAMPLES", "QUOTED", "WORDS", "JWT_SECRET"] {
        assert_eq!(field(&folder, name, "required"), "false", "{name}");
        assert_eq!(field(&folder, name, "default"), "-", "{name}");
    }
    for (name, example) in
        [("LOG_FORMAT", "json"), ("TRACE_SAMPLES", "10"), ("QUOTED", "two words"), ("WORDS", "-")]
    {
        assert_eq!(field(&folder, name, "example"), example, "{name}");
    }
    assert_eq!(field(&folder, "REDIS_URL", "type"), "dsn");
    assert_eq!(field(&folder, "JWT_SECRET", "forbid"), "change-me");
    assert_eq!(field(&folder, "JWT_SECRET", "generate"), "-", "nothing needs it");
    assert_eq!(field(&folder, "PORT", "default"), "8080");
    let text = folder.read("dlconf.schema.toml");
    for absent in ["FOO", "lower", "NOTE", "BAR", "TODO", "BAZ", "QUX", "JBSWY", "INSIDE"] {
        assert!(!text.contains(&format!("[var.{absent}")), "{absent}\n{text}");
    }
}

#[test]
fn the_last_of_a_name_counts() {
    let (folder, ran) = init("PORT=1\n# PORT=2\nHOST=a\nPORT=3\n# HOST=b\n# GONE=1\n# GONE=2\n");
    ran.warns("drafted 3 variables");
    assert_eq!(field(&folder, "PORT", "default"), "3");
    assert_eq!(field(&folder, "HOST", "default"), "a");
    assert_eq!(field(&folder, "GONE", "example"), "2");
}

#[test]
fn what_is_no_variable_is_counted_and_never_shown() {
    let (folder, ran) = init(
        "A-B=1\nPORT=1\n1X=2\nEMPTY\nMIIEvQIBADANBgkqhkiG9w0B=\nKEY= # get one at the desk\nURL=\"x\" TAIL\n",
    );
    ran.warns("passed over: lines 1, 3, 4, 5, 7 of .env.example")
        .warns("drafted 3 variables")
        .never_says("A-B")
        .never_says("EMPTY")
        .never_says("TAIL")
        .never_says("MIIE");
    let text = folder.read("dlconf.schema.toml");
    assert!(!text.contains("MIIE") && !text.contains("desk"), "{text}");
    assert_eq!(field(&folder, "KEY", "required"), "false", "it is empty");
    let (_, ran) = init("PORT=1\nALONE\n");
    ran.warns("passed over: line 2 of");
    let (_, ran) = init("PORT=1\n");
    ran.never_says("passed over");
    let (_, ran) = init(&("PORT=1\n".to_owned() + &"9=\n".repeat(12)));
    ran.warns("lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more of");
}

#[test]
fn a_sample_login_is_forbidden() {
    for (value, forbid) in [
        (
            "postgresql://johndoe:randompassword@localhost:5432/mydb",
            "postgresql://johndoe:randompassword@localhost:5432/mydb",
        ),
        (
            "postgresql://johndoe:randompassword@localhost:5432/mydb?schema=public",
            "postgresql://johndoe:randompassword@localhost:5432/mydb*",
        ),
        ("postgres://app:change-me@db.internal/app", "postgres://app:change-me@db.internal/app"),
        (
            "mongodb://root:example@127.0.0.1:27017,localhost:27018/a",
            "mongodb://root:example@127.0.0.1:27017,localhost:27018/a",
        ),
        ("redis://:letmein@[::1]:6379/0", "redis://:letmein@[::1]:6379/0"),
        // Perhaps somebody's own.
        ("postgres://app:Tr0ub4dor@db/app", "-"),
        ("postgres://app:Tr0ub4dor@localhost.corp.in/app", "-"),
        ("mongodb://app:Tr0ub4dor@localhost,db/app", "-"),
        ("postgres://app:mK8vQ2xN5pR7tW9yB3dF6gH1@localhost/app", "-"),
        // No password, no sample of one.
        ("redis://localhost:6379", "-"),
        ("postgres://postgres@localhost/app", "-"),
        // No pattern can say it.
        ("postgres://app:a*b@localhost/app", "-"),
    ] {
        let (folder, _) = init(&format!("STORE_URL={value}\n"));
        assert_eq!(field(&folder, "STORE_URL", "forbid"), forbid, "{value}");
        let repeated = folder.read("dlconf.schema.toml").contains(value.split(['@', '?']).next().unwrap());
        assert_eq!(repeated, forbid != "-", "{value}");
        if forbid != "-" {
            folder.file(".env", &format!("STORE_URL={value}\n"));
            folder.run(&["check", "--env", "production"]).exits(1).says("DLC020");
        }

        let real = Folder::with_env(&format!("STORE_URL={value}\n# OLD_URL={value}\n"));
        real.run(&["init"]).exits(0);
        let text = real.read("dlconf.schema.toml");
        let address = value.split("://").nth(1).unwrap().split('?').next().unwrap();
        assert!(!text.contains("forbid") && !text.contains(address), "{text}");
    }
}

#[test]
fn a_heading_is_no_description() {
    let (folder, _) = init(
        r"# Go service

APP_NAME=a

# Everything about the web server
HTTP_PORT=1
HTTP_HOST=a.internal
# Where the pages are
HTTP_ROOT=/srv

# Listens for metrics
METRICS_PORT=9

# ---- DB settings ----
DB_HOST=db
# The login that owns the tables
DB_USER=b
# ------------
# Mail relay
# ------------
MAIL_HOST=mail
##### Queue and workers #####
QUEUE_HOST=queue
# Speaks to the outside
#
WORKERS=3
# Reads it once, at its start.
# Then never again...
ONCE=1
# Read replica
READ_HOST=c
READ_PORT=2
# Of no heading, since it stands between variables
LATE=1
LATER=2
",
    );
    for (name, description) in [
        ("APP_NAME", "-"),
        ("HTTP_PORT", "-"),
        ("HTTP_HOST", "-"),
        ("HTTP_ROOT", "Where the pages are"),
        ("METRICS_PORT", "Listens for metrics"),
        ("DB_HOST", "-"),
        ("DB_USER", "The login that owns the tables"),
        ("MAIL_HOST", "-"),
        ("QUEUE_HOST", "-"),
        ("WORKERS", "-"),
        ("ONCE", "Reads it once, at its start. Then never again..."),
        ("READ_HOST", "-"),
        ("LATE", "Of no heading, since it stands between variables"),
        ("LATER", "-"),
    ] {
        assert_eq!(field(&folder, name, "description"), description, "{name}");
    }
    // A commented-out spelling of the same variable parts nothing.
    let (folder, _) = init("A=1\n\n# The key of the desk. Like so:\n# DESK_KEY=xxx\nDESK_KEY=\n");
    assert_eq!(field(&folder, "DESK_KEY", "description"), "The key of the desk. Like so:");
}

#[test]
fn it_replaces_nothing_unasked() {
    let (folder, _) = init("PORT=1\n");
    let first = folder.read("dlconf.schema.toml");
    folder.file(".env.example", "PORT=2\n");
    folder.run(&["init"]).exits(2).warns("already there");
    assert_eq!(folder.read("dlconf.schema.toml"), first);
    folder.run(&["init", "--force"]).exits(0);
    assert_eq!(field(&folder, "PORT", "default"), "2");
    Folder::new().run(&["init"]).exits(2).warns("nothing to draft from");
    Folder::with_env("ALONE\n").run(&["init"]).exits(2).warns("declares no variable");
}

#[test]
fn only_a_part_of_the_name_makes_an_example() {
    let folder = Folder::new();
    folder.file("distributor.env", "APP_NAME=hunter2db\n");
    folder.run(&["init", "--from", "distributor.env"]).exits(0);
    assert!(!folder.read("dlconf.schema.toml").contains("hunter2db"));
}
