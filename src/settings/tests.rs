//! What needs no process: which file is there, which layer gives what.

use std::fs::File;

use super::*;

fn opened(text: &str) -> Result<Opened, SettingsError> {
    let file = SettingsFile { label: FILE_NAME.into(), folder: "/nowhere".into(), text: text.into() };
    Opened::new(Some(file), Path::new("/nowhere"), Trust::Full)
}

fn sources(opened: &Opened, environment: &str) -> Vec<String> {
    let known = ["staging", "production"].map(Box::from);
    let settings = opened.in_environment(environment, &known, Network::Online(&[])).unwrap();
    settings.sources.iter().map(|source| source.name.to_string()).collect()
}

#[test]
fn only_not_found_means_absent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    assert_eq!(present(&file, "--config"), Ok(false));
    File::create(&file).unwrap();
    assert_eq!(present(&file, "--config"), Ok(true));
    let error = present(&file.join("below"), "--config").unwrap_err();
    assert!(error.message.contains("cannot be seen"), "{error}");
    assert!(error.help.contains("--config FILE"), "{}", error.help);
    std::os::unix::fs::symlink("nowhere", folder.path().join("dangling")).unwrap();
    assert_eq!(present(&folder.path().join("dangling"), "--config"), Ok(true));
}

#[test]
fn the_file_that_was_opened_can_be_watched() {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("named.toml")).unwrap();
    let path = |config: Option<&str>| {
        let opened = open(config.map(Path::new), folder.path()).unwrap();
        opened.path().map(Path::to_owned)
    };
    assert_eq!(path(Some("named.toml")), Some(folder.path().join("named.toml")));
    let found = folder.path().join(FILE_NAME);
    assert_ne!(path(None).as_ref(), Some(&found));
    File::create(&found).unwrap();
    assert_eq!(path(None), Some(found));
    assert_eq!(opened("").unwrap().path(), None, "a text is no file");
}

#[test]
fn the_embedded_sources_hold_until_some_are_declared() {
    let none = Opened::new(None, Path::new("/nowhere"), Trust::Full).unwrap();
    assert_eq!(sources(&none, "staging"), ["dotenv", "env"]);
    for text in ["", "environment = \"staging\"", "[env.staging]\nservice = \"web\""] {
        assert_eq!(sources(&opened(text).unwrap(), "staging"), ["dotenv", "env"], "{text:?}");
    }
    for text in ["order = []", "[source]", "[env.staging]\norder = []"] {
        assert!(sources(&opened(text).unwrap(), "staging").is_empty(), "{text:?}");
    }
    let overlay = opened("[env.production.source.only]\ntype = \"env\"").unwrap();
    assert_eq!(sources(&overlay, "production"), ["only"]);
    assert_eq!(sources(&overlay, "staging"), ["dotenv", "env"]);
}

#[test]
fn every_mistake_says_what_to_do() {
    for text in [
        "x",
        "env = 1",
        "[env]\na = 1",
        "[env.a]\nschema = \"x\"",
        "order = 1",
        "order = [1]",
        "source = 1",
        "source.a = 1",
        "source.a.type = 1",
        "[source.a]",
        "[source.a]\ntype = \"env\"\noptional = \"yes\"",
        "[source.a]\ntype = \"kubernetes\"\npoll = \"1s\"",
        "[source.a]\ntype = \"kubernetes\"\nsecrets = \"a\"",
        "[source.a]\ntype = \"kubernetes\"\nsecrets = [1]",
        "[source.a]\ntype = \"kubernetes\"\nsecrets = [{ only = [] }]",
        "[source.a]\ntype = \"kubernetes\"\nconfig_maps = [{ name = \"a\", base64 = \"x\" }]",
        "[source.a]\ntype = \"sealed\"\nkey_file = 1",
        "[source.a]\ntype = \"sealed\"\nnotation = \"toml\"",
        "[source.a]\ntype = \"dotenv\"\nkey_file = \"x\"",
        "[source.a]\ntype = \"vaults\"",
        "[source.a]\ntype = \"env\"\naddress = \"x\"",
        "[source.a]\ntype = \"vault\"\nauth = 1",
        "[source.a]\ntype = \"vault\"\nauth = { role = \"x\" }",
        "[source.a]\ntype = \"vault\"\nauth = { method = 1 }",
        "[source.a]\ntype = \"vault\"\ntls = []",
        "[source.a]\ntype = \"vault\"\npaths = 1",
        "[source.a]\ntype = \"vault\"\npaths = [1]",
        "[source.a]\ntype = \"vault\"\npaths = [{ path = 1 }]",
        "[source.a]\ntype = \"vault\"\npaths = [{ path = \"a\", map = 1 }]",
        "[source.a]\ntype = \"vault\"\npaths = [{ path = \"a\", only = [1] }]",
        "[env.a.source.a]\ntype = \"vault\"\npaths = [{ path = \"a\", engine = 0 }]",
        "nothing = 1",
        "[env.a]\nnothing = 1",
        "[env.a.audit]",
        "[socket]",
        "[socket]\npath = \"x\"\npolicy = 1",
        "[socket]\npath = \"x\"\nmax_connections = \"x\"",
        "[env.a.socket]\npolicy = \"x\"",
        "socket = 1",
        "[ops]",
        "ops = 1",
        "debounce = 1",
        "[debounce]\nmin = 1",
        "delivery = 1",
        "delivery.a = 1",
        "[delivery.a]",
        "[delivery.a]\ntype = \"file\"",
        "[delivery.a]\ntype = \"directory\"",
        "[delivery.a]\ntype = \"directory\"\npath = 1",
        "[delivery.a]\ntype = \"directory\"\npath = \"x\"\nformat = \"json\"",
        "[delivery.a]\ntype = \"directory\"\npath = \"x\"\nmode = 640",
        "[delivery.a]\ntype = \"directory\"\npath = \"x\"\nvars = \"X\"",
        "[delivery.a]\ntype = \"directory\"\npath = \"x\"\non_change = 1",
        "[delivery.a]\ntype = \"directory\"\npath = \"x\"\non_change = { exec = \"x\" }",
        "[delivery.a]\ntype = \"directory\"\npath = \"x\"\non_change = { exec = [1] }",
        "[delivery.a]\ntype = \"directory\"\npath = \"x\"\non_change = { run = 1 }",
        "[source.a]\ntype = \"env\"\nmax_age = \"1h\"",
    ] {
        let error = opened(text).err().unwrap_or_else(|| panic!("{text:?} is understood"));
        assert!(!error.help.is_empty() && error.place.is_some(), "{text:?}: {error:?}");
        assert!(!error.message.contains("struct"), "{text:?}: {error}");
    }
}

/// Where the key of the one sealed source is, in staging.
fn key_place(text: &str) -> Result<String, SettingsError> {
    let known = ["staging", "production"].map(Box::from);
    let settings = opened(text)?.in_environment("staging", &known, Network::Online(&[]))?;
    let key = settings.key_of_sealed(Path::new("/nowhere/conf/../app.sealed"));
    Ok(key.map_or_else(String::new, KeyPlace::label))
}

#[test]
fn a_sealed_source_has_one_key() {
    const HEAD: &str = "[source.a]\ntype = \"sealed\"\n";
    let with = |fields: &str| format!("{HEAD}path = \"app.sealed\"\n{fields}");
    for (fields, label) in [
        ("key_file = \"/etc/a.key\"", "/etc/a.key"),
        ("passphrase_file = \"words\"", "words"),
        ("credential = \"app.key\"", "credential app.key"),
        // Another sort of place in a higher layer replaces the lower one.
        ("key_file = \"a\"\n[env.staging.source.a]\ncredential = \"b\"", "credential b"),
        ("credential = \"b\"\n[env.staging.source.a]\npassphrase_file = \"c\"", "c"),
        ("key_file = \"a\"\n[env.production.source.a]\ncredential = \"b\"", "a"),
    ] {
        assert_eq!(key_place(&with(fields)).as_deref(), Ok(label), "{fields}");
    }
    for (text, says) in [
        (with(""), "source `a` has no key"),
        (format!("{HEAD}key_file = \"a\""), "source `a` of type \"sealed\" has no `path`"),
        (with("key_file = \"\""), "`key_file` of source `a` is empty"),
        (with("key_file = \"a\"\ncredential = \"b\""), "`credential` of source `a` stands beside `key_file`"),
        (
            with("passphrase_file = \"a\"\ncredential = \"b\""),
            "`credential` of source `a` stands beside `passphrase_file`",
        ),
        (with("credential = \"../b\""), "`credential` of source `a` is no name of a credential"),
        (with("credential = \"/b\""), "is no name of a credential"),
        (with("credential = \"b/\""), "is no name of a credential"),
        (with("credential = \"..\""), "is no name of a credential"),
        (
            with("key_file = \"a\"\n[env.staging.source.a]\nkey_file = \"b\"\ncredential = \"c\""),
            "stands beside `key_file`",
        ),
        (
            with("key_file = \"a\"\n[delivery.x]\ntype = \"env-file\"\npath = \"app.sealed\""),
            "`path` of delivery `x` is what source `a` reads",
        ),
        (
            with("key_file = \"a\"\n[delivery.x]\ntype = \"env-file\"\npath = \"a\""),
            "`path` of delivery `x` is what source `a` reads",
        ),
        (
            with("passphrase_file = \"k/a\"\n[delivery.x]\ntype = \"directory\"\npath = \"k\""),
            "`path` of delivery `x` holds what source `a` reads",
        ),
    ] {
        let error = key_place(&text).unwrap_err();
        assert!(error.message.contains(says), "{text}: {error:?}");
        assert!(error.place.is_some() && !error.help.is_empty(), "{text}: {error:?}");
    }
    let settings = opened(&with("key_file = \"a\"")).unwrap();
    let settings = settings.in_environment("staging", &["staging".into()], Network::Online(&[])).unwrap();
    assert_eq!(settings.key_of_sealed(Path::new("/nowhere/other.sealed")), None);
}
