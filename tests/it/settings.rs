//! Settings: where they come from, how far they are trusted, what is wrong with
//! them.

use crate::program::{Folder, SMALL_SCHEMA};

fn folder(settings: &str) -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", settings);
    folder
}

const LAYERED: &str = r#"
environment = "staging"
order = ["files", "secrets", "local", "env"]
[source.files]
type = "file"
path = "config.yaml"
[source.secrets]
type = "directory"
path = "secrets"
[source.local]
type = "dotenv"
path = "app.env"
optional = true
[source.env]
type = "env"
"#;

#[test]
fn the_last_source_wins_and_explain_tells_of_all() {
    let folder = folder(LAYERED);
    folder.file("config.yaml", "port: 1000\nttl: 1m\n").file("secrets/PORT", "2000\n");
    folder.file("app.env", "PORT=3000\n");
    let get = |environment: &[(&str, &str)]| {
        folder.run_with(&["get", "--local", "PORT"], environment).exits(0).stdout
    };
    assert_eq!(get(&[("PORT", "4000")]), "4000\n");
    assert_eq!(get(&[("PORT", "")]), "3000\n", "an empty value shadows nothing");
    std::fs::remove_file(folder.join("app.env")).unwrap();
    assert_eq!(get(&[]), "2000\n");
    folder.run(&["explain", "PORT"]).exits(0).says("wins    secrets/PORT").says("loses   config.yaml:1:7");
}

#[test]
fn an_overlay_holds_in_its_environment_and_variables_beat_it() {
    let overlay = format!("{LAYERED}\n[env.production.source.local]\npath = \"prod.env\"\n");
    let folder = folder(&overlay);
    let yaml = "ttl: 1m\ntoken: q8Zr2LxV5nBt7KjWm4Yc9PdHs6Gf3TaE\n";
    folder.file("config.yaml", yaml).file("secrets/OTHER", "x");
    folder.file("app.env", "PORT=1\n").file("prod.env", "PORT=2\n").file("var.env", "PORT=3\n");
    let get = |environment: &[(&str, &str)], chosen: &str| {
        folder.run_with(&["--env", chosen, "get", "--local", "PORT"], environment).exits(0).stdout
    };
    assert_eq!(get(&[], "staging"), "1\n");
    assert_eq!(get(&[], "production"), "2\n");
    assert_eq!(get(&[("DLCONF_SOURCE__LOCAL__PATH", "var.env")], "production"), "3\n");
    assert_eq!(
        get(&[("DLCONF_PORT", "tcp://10.0.0.1:1")], "production"),
        "2\n",
        "a service link is not ours"
    );
}

#[test]
fn mistakes_have_a_place_and_a_fix() {
    for (settings, place, message, fix) in [
        (
            "enviroment = \"staging\"\n",
            "dlconf.toml:1:1",
            "no field `enviroment`",
            "did you mean `environment`?",
        ),
        ("environment = 1\n", "dlconf.toml:1:1", "`environment` must be a string", "put it into quotes"),
        ("a = \n", "dlconf.toml:1:5", "not valid TOML", "correct the syntax"),
        ("[source.a]\ntype = \"dotnev\"\n", "dlconf.toml:2:1", "unknown type", "did you mean \"dotenv\"?"),
        (
            "[source.a]\ntype = \"dotenv\"\npth = \"x\"\n",
            "dlconf.toml:3:1",
            "no field `pth`",
            "did you mean `path`?",
        ),
        ("[source.a]\npath = \"x\"\n", "dlconf.toml:1:9", "needs `type`", "add `type"),
        (
            "order = [\"a\", \"a\"]\n[source.a]\ntype = \"env\"\n",
            "dlconf.toml:1:1",
            "source `a` twice",
            "keep the later one",
        ),
        (
            "[source.a]\ntype = \"env\"\n[source.b]\ntype = \"env\"\n",
            "dlconf.toml:1:2",
            "several sources but no `order`",
            "write `order",
        ),
        (
            "[env.production.rotation]\npath = \"x\"\n",
            "dlconf.toml:2:1",
            "[rotation] has no field `path`",
            "known are: enabled, leader",
        ),
        (
            "[env.staging]\nservise = \"web\"\n",
            "dlconf.toml:2:1",
            "no field `servise`",
            "did you mean `service`?",
        ),
        ("[source.a]\ntype = \"file\"\n", "dlconf.toml:2:1", "has no `path`", "add `path"),
        (
            "order = [\"b\"]\n[source.a]\ntype = \"env\"\n",
            "dlconf.toml:1:1",
            "`b`, which is not declared",
            "",
        ),
        ("order = []\n[source.a]\ntype = \"env\"\n", "dlconf.toml:2:9", "`a` is declared but", "add \"a\""),
        ("[rotation]\npath = \"x\"\n", "dlconf.toml:2:1", "[rotation] has no field `path`", ""),
        (
            "environment = \"staging\"\n[env.prod]\nservice = \"web\"\n",
            "dlconf.toml",
            "[env.prod]",
            "did you mean",
        ),
        (
            "\nenvironment = \"stagin\"\n",
            "chosen by `environment` in dlconf.toml:2:1",
            "no environment `stagin`",
            "did you mean staging?",
        ),
        (
            "environment = \"staging\"\nservice = \"wbe\"\n",
            "chosen by `service` in dlconf.toml:2:1",
            "no service `wbe`",
            "did you mean web?",
        ),
        (
            "[env.staging]\nservice = \"wbe\"\n",
            "chosen by `service` in dlconf.toml:2:1",
            "no service `wbe`",
            "did you mean web?",
        ),
    ] {
        let chosen = if settings.contains("environment = \"stagin\"") { "" } else { "staging" };
        let ran = folder(settings).run_with(&["check"], &[("DLCONF_ENV", chosen)]).exits(2);
        for text in [place, message, fix] {
            assert!(ran.stderr.contains(text), "{settings}\n{text:?} not in:\n{}", ran.stderr);
        }
        assert_eq!(ran.stdout, "", "{settings}");
    }
}

#[test]
fn with_settings_no_environment_is_guessed_and_without_any_development_is() {
    let file = folder("[source.env]\ntype = \"env\"\n");
    file.run(&["check"]).exits(2).warns("no environment is chosen");
    file.run_with(&["check"], &[("APP_ENV", "staging")]).exits(0).says("staging");
    file.run_with(&["check"], &[("DLCONF_ENV", "development")]).exits(0).says("development");
    file.run_with(&["check"], &[("DLCONF_ENV", "")]).exits(2);
    let none = Folder::new();
    none.file("dlconf.schema.toml", SMALL_SCHEMA);
    none.run(&["check"]).exits(0).says("development");
    none.run(&["check", "--env", "prod"]).exits(2).warns("did you mean production?");
}

#[test]
fn a_found_file_reads_nothing_outside_its_folder() {
    let outside = Folder::with_env("PORT=1\n");
    let path = outside.join(".env").display().to_string();
    for reach in [path.clone(), "../x.env".into(), "link/.env".into()] {
        let settings =
            format!("environment = \"staging\"\n[source.a]\ntype = \"dotenv\"\npath = \"{reach}\"\n");
        let folder = folder(&settings);
        std::os::unix::fs::symlink(outside.path(), folder.join("link")).unwrap();
        let ran = folder.run(&["check"]).exits(4);
        ran.warns("was found, not named").warns("dlconf.toml:4:1").warns("--config dlconf.toml");
    }
    let settings = format!("environment = \"staging\"\n[source.a]\ntype = \"dotenv\"\npath = \"{path}\"\n");
    let ran = folder(&settings).run(&["--config", "dlconf.toml", "check"]).exits(0);
    ran.says(&format!("{path} (1)"));
}

#[test]
fn paths_start_at_the_settings_folder() {
    let folder = folder("");
    folder.file(
        "conf/dlconf.toml",
        "environment = \"staging\"\nschema = \"s.toml\"\n[source.a]\ntype = \"dotenv\"\n",
    );
    folder
        .file("conf/s.toml", SMALL_SCHEMA)
        .file("conf/.env", "PORT=1\n")
        .file("conf/.env.staging", "PORT=2\n");
    let ran = folder.run(&["--config", "conf/dlconf.toml", "check"]).exits(0);
    ran.says("read conf/.env (1), conf/.env.staging (1)").says("conf/s.toml");
}

#[test]
fn env_files_replace_the_list() {
    let folder = Folder::with_env("PORT=1\n");
    folder
        .file("dlconf.schema.toml", SMALL_SCHEMA)
        .file("a.env", "PORT=2\nTTL=1m\n")
        .file("b.env", "PORT=3\n");
    let ran = folder.run(&["get", "--local", "PORT", "--env-file", "a.env", "--env-file", "b.env"]).exits(0);
    assert_eq!(ran.stdout, "3\n");
    folder.run(&["check", "--env-file", "none.env"]).exits(3).says("none.env");
}

#[test]
fn the_four_files_and_when_the_local_ones_count() {
    let folder = Folder::with_env("PORT=1\nTTL=1m\n");
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder
        .file(".env.staging", "PORT=2\n")
        .file(".env.local", "PORT=3\n")
        .file(".env.development.local", "PORT=4\n");
    let get = |chosen: &str| folder.run(&["--env", chosen, "get", "--local", "PORT"]).exits(0).stdout;
    assert_eq!(get("development"), "4\n");
    assert_eq!(get("staging"), "2\n");
    std::fs::remove_file(folder.join(".env.development.local")).unwrap();
    assert_eq!(get("development"), "3\n");
}

/// Like [`folder`], with an `.env` that is read by default.
fn folder_with_env(settings: &str, env: &str) -> Folder {
    let folder = folder(settings);
    folder.file(".env", env);
    folder
}

#[test]
fn a_file_without_sources_reads_what_no_file_reads() {
    let folder = folder_with_env("environment = \"staging\"\n", "PORT=1\nTTL=1m\n");
    folder.run(&["check"]).exits(0).says("read .env (2), environment (0)");
    let ran = folder.run_with(&["get", "--local", "PORT"], &[("PORT", "2")]).exits(0);
    assert_eq!(ran.stdout, "2\n");
    folder.file("other.env", "PORT=3\n");
    let own = [("DLCONF_SOURCE__DOTENV__PATH", "other.env")];
    folder.run_with(&["check"], &own).exits(0).says("read other.env (1), environment (0)");
    folder.file("dlconf.toml", "environment = \"staging\"\n[source.env]\ntype = \"env\"\n");
    folder.run(&["check"]).exits(0).says("read environment (0)").never_says(".env");
}

#[test]
fn an_overlay_chooses_the_service_and_the_caller_beats_it() {
    let folder =
        folder("environment = \"staging\"\nservice = \"web\"\n[env.production]\nservice = \"worker\"\n");
    let header = |arguments: &[&str], environment: &[(&str, &str)]| {
        let ran = folder.run_with(&[&["check"], arguments].concat(), environment);
        ran.stdout.lines().next().unwrap_or_default().to_owned()
    };
    assert!(header(&[], &[]).starts_with("staging · service web"));
    assert!(header(&["--env", "production"], &[]).starts_with("production · service worker"));
    let caller = [("DLCONF_SERVICE", "web")];
    assert!(header(&["--env", "production"], &caller).starts_with("production · service web"));
    assert!(header(&["--env", "production", "--service", "web"], &[]).contains("service web"));
}

#[test]
fn who_chose_an_unknown_name_is_said() {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder.run(&["check", "--env", "prod"]).exits(2).warns("chosen by --env or DLCONF_ENV");
    let own = folder.run_with(&["check"], &[("APP_ENV", "prod")]).exits(2);
    own.warns("chosen by the process's APP_ENV").warns("did you mean production?");
    folder.run(&["check", "--service", "wbe"]).exits(2).warns("chosen by --service or DLCONF_SERVICE");
}

#[test]
fn a_mistake_in_a_variable_names_the_variable() {
    let folder = folder_with_env(
        "environment = \"staging\"\norder = [\"a\"]\n[source.a]\ntype = \"dotenv\"\npath = \".env\"\n",
        "PORT=1\n",
    );
    for (name, value, message) in [
        ("DLCONF_SOURCE__A__TYPE", "kubernetis", "did you mean \"kubernetes\"?"),
        ("DLCONF_SOURCE__A__TYPE", "dotnev", "unknown type"),
        ("DLCONF_SOURCE__A__PATH", "8080", "put it into"),
        ("DLCONF_SOURCE__A__OPTIONAL", "maybe", "must be true or false"),
        ("DLCONF_SOURCE__A__PTH", "x", "did you mean `path`?"),
        ("DLCONF_SOURCE__B__PATH", "x", "`source.b` needs `type`"),
        ("DLCONF_ORDER__X", "a", "`order` must be a list of names"),
        ("DLCONF_ROTATION__PATH", "x", "[rotation] has no field `path`"),
    ] {
        let ran = folder.run_with(&["check"], &[(name, value)]).exits(2);
        ran.warns(message).warns(&format!("--> env:{name}\n")).warns("= fix: ").never_says("dlconf.toml:");
    }
    let unset = folder.run_with(&["check"], &[("DLCONF_SOURCE__A__NOTATION", "json")]).exits(2);
    unset.warns("has no use for `notation`").warns("env:DLCONF_SOURCE__A__NOTATION");
}

#[test]
fn a_path_from_a_variable_is_the_callers_own_word() {
    let outside = Folder::with_env("PORT=1\n");
    let path = outside.join(".env").display().to_string();
    let folder = folder("environment = \"staging\"\n[source.local]\ntype = \"dotenv\"\npath = \"a.env\"\n");
    let ran = folder.run_with(&["check"], &[("DLCONF_SOURCE__LOCAL__PATH", &path)]).exits(0);
    ran.says(&format!("{path} (1)"));
}

#[test]
fn links_lead_a_found_file_nowhere_either() {
    use std::os::unix::fs::symlink;
    let outside = Folder::with_env("PORT=4711\nTTL=canary-outside\n");
    outside.file("PORT", "4711\n").file("config.yaml", "port: 4711\n");
    let refused = |settings: &str, link: &str, target: &str, named: &str| {
        let folder = folder(settings);
        std::fs::create_dir_all(folder.join(link).parent().unwrap()).unwrap();
        symlink(outside.join(target), folder.join(link)).unwrap();
        let ran = folder.run(&["check"]);
        assert!(matches!(ran.code, 3 | 4), "{link}: {}{}", ran.stdout, ran.stderr);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(all.contains(named) && all.contains("--config"), "{link}: {all}");
        assert!(!all.contains("4711") && !all.contains("canary"), "{link}: {all}");
        folder.run(&["check", "--portability"]).never_says("4711").never_says("canary");
        folder
    };
    let staging = "environment = \"staging\"\n";
    for name in [".env", ".env.staging"] {
        let folder = refused(staging, name, ".env", "error[DLC051]");
        folder.run(&["--config", "dlconf.toml", "check"]).says(&format!("{name} (2)"));
        std::fs::remove_file(folder.join("dlconf.toml")).unwrap();
        folder.run(&["--env", "staging", "check"]).says(&format!("{name} (2)"));
    }
    let file = format!("{staging}[source.a]\ntype = \"file\"\npath = \"c.yaml\"\n");
    refused(&file, "c.yaml", "config.yaml", "was found, not named");
    let directory = format!("{staging}[source.a]\ntype = \"directory\"\npath = \"secrets\"\n");
    refused(&directory, "secrets/PORT", "PORT", "error[DLC051]");
    refused(&directory, "secrets/..data", "", "error[DLC051]");
}

#[test]
fn a_found_schema_or_settings_file_is_no_link_to_elsewhere() {
    use std::os::unix::fs::symlink;
    let outside = Folder::new();
    outside.file("schema.toml", SMALL_SCHEMA).file("secret", "canary-outside\n").file("dlconf.toml", "");
    let found = Folder::new();
    symlink(outside.join("secret"), found.join("dlconf.schema.toml")).unwrap();
    let ran = found.run(&["check"]).exits(4).never_says("canary");
    ran.warns("may not lead outside its folder").warns("--schema dlconf.schema.toml");
    std::fs::remove_file(found.join("dlconf.schema.toml")).unwrap();
    symlink(outside.join("schema.toml"), found.join("dlconf.schema.toml")).unwrap();
    found.run(&["check", "--schema", "dlconf.schema.toml"]).exits(0);

    let settings = folder("schema = \"s.toml\"\nenvironment = \"staging\"\n");
    symlink(outside.join("schema.toml"), settings.join("s.toml")).unwrap();
    settings.run(&["check"]).exits(4).warns("dlconf.toml:1:1").warns("--config dlconf.toml");
    settings.run(&["--config", "dlconf.toml", "check"]).exits(0);

    let linked = Folder::new();
    linked.file("dlconf.schema.toml", SMALL_SCHEMA);
    symlink(outside.join("secret"), linked.join("dlconf.toml")).unwrap();
    linked.run(&["check"]).exits(4).never_says("canary").warns("--config dlconf.toml");
}

#[test]
fn a_missing_file_that_was_named_is_to_be_created() {
    let folder = Folder::with_env("PORT=1\n");
    for (arguments, code) in [
        (["check", "--config", "none.toml"], 2),
        (["check", "--schema", "none.toml"], 2),
        (["init", "--from", "none.env"], 3),
    ] {
        let ran = folder.run(&arguments).exits(code).warns("there is no file none.");
        ran.warns("create it, or correct the path").never_says("optional");
    }
}

#[test]
fn the_null_device_is_an_empty_env_file() {
    let folder = Folder::with_env("PORT=1\n");
    folder.file("dlconf.schema.toml", SMALL_SCHEMA);
    folder.run(&["check", "--env-file", "/dev/null"]).exits(0).says("/dev/null (0)");
    folder.run(&["check", "--env-file", "/dev/zero"]).exits(3).says("a device");
}
