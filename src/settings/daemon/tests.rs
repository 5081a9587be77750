//! What follows from what is written: no process is needed.

use std::time::Duration;

use std::path::Path;

use super::*;
use crate::settings::{FILE_NAME, Network, Settings, SettingsFile, Trust};

fn read(text: &str, trust: Trust) -> Result<Settings, SettingsError> {
    let file = SettingsFile { label: FILE_NAME.into(), folder: "/nowhere".into(), text: text.into() };
    let opened = Opened::new(Some(file), Path::new("/nowhere"), trust)?;
    opened.in_environment("staging", &["staging".into()], Network::Online(&[]))
}

#[test]
fn what_is_not_written_has_a_default() {
    let settings = read("[socket]\npath = \"a.sock\"", Trust::Full).unwrap();
    let socket = SocketConfig { path: "/nowhere/a.sock".into(), label: "a.sock".into(), mode: 0o600 };
    assert_eq!((settings.socket.map(|socket| socket.at), settings.ops), (Some(socket), None));
    let (min, max) = (Duration::from_millis(50), Duration::from_secs(2));
    assert_eq!(settings.debounce, Debounce { min, max });
    assert!(read("", Trust::Full).unwrap().socket.is_none());
}

#[test]
fn what_is_written_holds() {
    let text = "debounce = { min = \"0s\", max = \"0s\" }\n[socket]\npath = \"/run/a\"\nmode = \"0660\"";
    let settings = read(text, Trust::Full).unwrap();
    assert_eq!(settings.debounce, Debounce { min: Duration::ZERO, max: Duration::ZERO });
    assert_eq!(settings.socket.unwrap().at.mode, 0o660);
    let overlay = format!("{text}\n[env.staging]\ndebounce.max = \"1h\"\nops.listen = \"unix:o.sock\"");
    let settings = read(&overlay, Trust::Full).unwrap();
    assert_eq!(settings.debounce.max, Duration::from_hours(1));
    let socket = SocketConfig { path: "/nowhere/o.sock".into(), label: "o.sock".into(), mode: 0o600 };
    assert_eq!(settings.ops, Some(Listen::Unix(socket)));
}

#[test]
fn connections_are_counted() {
    let counts = |text: &str| {
        let socket =
            read(&format!("[socket]\npath = \"/run/a\"\n{text}"), Trust::Full).unwrap().socket.unwrap();
        (socket.max_connections, socket.max_connections_per_user)
    };
    assert_eq!(counts(""), (4096, 2048));
    assert_eq!(counts("max_connections = 100"), (100, 50));
    assert_eq!(counts("max_connections = 1"), (1, 1));
    assert_eq!(counts("max_connections = 10\nmax_connections_per_user = 10"), (10, 10));
    assert_eq!(counts("max_connections_per_user = 7"), (4096, 7));
}

#[test]
fn a_policy_lies_beside_the_settings_or_where_they_say() {
    let policy = |policy: &str| {
        let text = format!("[socket]\npath = \"a\"\npolicy = \"{policy}\"");
        let file = read(&text, Trust::Full).unwrap().socket.unwrap().policy.unwrap();
        (file.path, file.label, file.beneath)
    };
    assert_eq!(policy("p/access.toml"), ("/nowhere/p/access.toml".into(), "p/access.toml".into(), None));
    assert_eq!(policy("/etc/access.toml"), ("/etc/access.toml".into(), "/etc/access.toml".into(), None));
}

#[test]
fn sources_forget_after_a_day_or_as_they_say() {
    let text = "order = [\"a\", \"b\"]\n[source.a]\ntype = \"env\"\n\
        [source.b]\ntype = \"dotenv\"\nmax_age = \"90m\"";
    let ages = read(text, Trust::Full).unwrap().sources.into_iter().map(|source| source.max_age);
    assert_eq!(ages.collect::<Vec<_>>(), [Duration::from_hours(24), Duration::from_mins(90)]);
}

#[test]
fn an_address_is_an_address_with_a_port() {
    for (text, address) in [
        ("127.0.0.1:9470", "127.0.0.1:9470"),
        ("[::1]:1", "[::1]:1"),
        ("0.0.0.0:9470", "0.0.0.0:9470"),
        ("LocalHost:80", "127.0.0.1:80"),
        ("127.0.0.1:0", "127.0.0.1:0"),
    ] {
        assert_eq!(tcp(text).ok(), Some(address.parse().unwrap()), "{text}");
    }
    for (text, clause, help) in [
        ("", "no port", "\"127.0.0.1:9470\""),
        ("9470", "at which address", "\"127.0.0.1:9470\""),
        (":80", "at which address", "\"127.0.0.1:80\""),
        ("*:80", "`*`", "\"0.0.0.0:80\""),
        ("127.0.0.1", "no port", "\"127.0.0.1:9470\""),
        ("::1", "no port", "\"[::1]:9470\""),
        ("[::1]", "no port", "\"[::1]:9470\""),
        ("localhost", "no port", "\"127.0.0.1:9470\""),
        ("localhost:", "no port", "\"127.0.0.1:9470\""),
        ("127.0.0.1:65536", "beyond 65535", "\"127.0.0.1:9470\""),
        ("fe80::x:80", "no address", "\"[::1]:80\""),
        ("127.0.0.256:80", "no address", "\"127.0.0.1:9470\""),
        ("127.1:80", "no address", "\"127.0.0.1:9470\""),
        ("http://127.0.0.1:80", "no URL", "unix:"),
        ("/run/ops.sock", "no path", "\"unix:/run/dlconf/ops.sock\""),
        ("ops.example.com:80", "names a host", "\"127.0.0.1:80\""),
        ("localhost.evil:80", "names a host", "\"127.0.0.1:80\""),
    ] {
        let slip = tcp(text).err().unwrap_or_else(|| panic!("{text:?} is taken"));
        assert!(slip.clause.contains(clause), "{text:?}: {}", slip.clause);
        assert!(slip.help.contains(help), "{text:?}: {}", slip.help);
    }
}

#[test]
fn a_socket_has_the_longest_path_that_can_be_bound() {
    let of = |length: usize| {
        let path = format!("/{}", "a".repeat(length - 1));
        (
            read(&format!("[socket]\npath = \"{path}\""), Trust::Full),
            std::os::unix::net::SocketAddr::from_pathname(&path),
        )
    };
    let (longest, system) = of(LONGEST);
    assert!(longest.is_ok() && system.is_ok());
    let (longer, system) = of(LONGEST + 1);
    assert!(longer.unwrap_err().message.contains("is 108 bytes long") && system.is_err());
}

#[test]
fn found_settings_are_heard_on_this_machine_only() {
    for (listen, full, found) in [
        ("127.0.0.1:1", true, true),
        ("127.8.9.1:1", true, true),
        ("[::1]:1", true, true),
        ("[::ffff:127.0.0.1]:1", true, true),
        ("localhost:1", true, true),
        ("0.0.0.0:1", true, false),
        ("[::]:1", true, false),
        ("10.0.0.1:1", true, false),
        ("unix:/run/ops.sock", true, false),
    ] {
        let text = format!("order = []\n[ops]\nlisten = \"{listen}\"");
        assert_eq!(read(&text, Trust::Full).is_ok(), full, "{listen}");
        let ours = read(&text, Trust::Found);
        assert_eq!(ours.is_ok(), found, "{listen}: {ours:?}");
        assert!(found || ours.unwrap_err().refused, "{listen}");
    }
}

#[test]
fn an_audit_log_has_terms() {
    let of = |fields: &str| {
        let text = format!("order = []\n[audit]\npath = \"log/a.jsonl\"\nkey_file = \"key\"\n{fields}");
        read(&text, Trust::Full).map(|settings| settings.audit.unwrap())
    };
    let usual = of("").unwrap();
    assert_eq!((usual.required, usual.max_bytes, usual.keep), (true, 64 * 1024 * 1024, 10));
    assert_eq!((usual.path.as_path(), &*usual.label), (Path::new("/nowhere/log/a.jsonl"), "log/a.jsonl"));
    assert_eq!(usual.key_file.path, Path::new("/nowhere/key"));
    let other = of("required = false\nmax_size = \"4KiB\"\nkeep = 1").unwrap();
    assert_eq!((other.required, other.max_bytes, other.keep), (false, 4096, 1));
    for (fields, clause) in [
        ("max_size = \"4k\"", "must be from 4KiB to 1TiB"),
        ("max_size = \"2TiB\"", "must be from 4KiB to 1TiB"),
        ("max_size = \"64 MiB\"", "is no size"),
        ("max_size = \"\"", "is no size"),
        ("keep = 0", "must be from 1 to 10000"),
        ("keep = 10001", "must be from 1 to 10000"),
    ] {
        let error = of(fields).unwrap_err();
        assert!(error.message.contains(clause) && !error.help.is_empty(), "{fields}: {error:?}");
    }
}

#[test]
fn found_settings_keep_their_log_in_their_folder() {
    for (path, key) in [("/var/log/a.jsonl", "key"), ("a.jsonl", "/etc/key"), ("../a.jsonl", "key")] {
        let text = format!("order = []\n[audit]\npath = \"{path}\"\nkey_file = \"{key}\"");
        assert!(read(&text, Trust::Full).is_ok(), "{path}");
        assert!(read(&text, Trust::Found).unwrap_err().refused, "{path}");
    }
}

#[test]
fn a_log_has_names_of_its_own() {
    let of = |path: &str, more: &str| {
        let order = if more.contains("source.s") { "[\"s\"]" } else { "[]" };
        let audit = format!("[audit]\npath = \"{path}\"\nkey_file = \"key\"");
        read(&format!("order = {order}\n{audit}\n{more}"), Trust::Full)
    };
    let delivery = |path: &str| format!("[delivery.app]\ntype = \"env-file\"\npath = \"{path}\"");
    for (path, more, words) in [
        ("key", String::new(), "`path` of [audit] is the audit key"),
        ("a", delivery("a"), "`path` of [audit] is the same place as `path` of delivery `app`"),
        ("a", delivery("a.lock"), "is the same place as"),
        ("a", delivery("a.000000000001"), "is a name that the audit log needs"),
        ("a", delivery("key"), "`path` of delivery `app` is the audit key"),
        ("dir/a", delivery("dir/a/x"), "lies inside"),
        ("a", "[source.s]\ntype = \"dotenv\"\npath = \"a\"".to_owned(), "what source `s` reads"),
        ("a", "[source.s]\ntype = \"dotenv\"\npath = \"a.000000000017\"".to_owned(), "needs a name that is"),
    ] {
        let error = of(path, &more).unwrap_err();
        assert!(error.message.contains(words), "{path}, {more}: {}", error.message);
    }
    assert!(of("a", &delivery("a.1")).is_ok());
}

#[test]
fn a_snapshot_has_terms() {
    use crate::source::key_file::KeyPlace;
    let of = |fields: &str| {
        let text = format!("order = []\n[snapshot]\npath = \"state/s\"\n{fields}");
        read(&text, Trust::Full).map(|settings| settings.snapshot.unwrap())
    };
    let usual = of("key_file = \"key\"").unwrap();
    assert_eq!((usual.path.as_path(), &*usual.label), (Path::new("/nowhere/state/s"), "state/s"));
    assert_eq!(
        (usual.mark.as_path(), &*usual.mark_label),
        (Path::new("/nowhere/state/s.mark"), "state/s.mark")
    );
    assert_eq!((usual.max_age, usual.start_grace), (Duration::from_hours(24), Duration::from_secs(2)));
    assert!(matches!(usual.key, KeyPlace::File(file) if file.path == Path::new("/nowhere/key")));
    let other =
        of("credential = \"k\"\nmax_age = \"1h\"\nstart_grace = \"0s\"\nhigh_water = \"/var/m\"").unwrap();
    assert_eq!((other.mark.as_path(), other.start_grace), (Path::new("/var/m"), Duration::ZERO));
    assert!(matches!(other.key, KeyPlace::Credential { name, .. } if name == "k"));
    for (fields, clause) in [
        ("", "[snapshot] has no key"),
        ("key_file = \"key\"\ncredential = \"k\"", "is a second key beside `key_file`"),
        ("key_file = \"\"", "`key_file` of [snapshot] is empty"),
        ("credential = \"../k\"", "is no name of a credential"),
        ("credential = \"..\"", "is no name of a credential"),
        ("key_file = \"key\"\nmax_age = \"0s\"", "must be a duration longer than 0s"),
        ("key_file = \"key\"\nstart_grace = \"2\"", "`start_grace` of [snapshot] must be a duration"),
        ("key_file = \"key\"\nstart_grace = \"61m\"", "must not be longer than 1h"),
        ("key_file = \"key\"\nhigh_water = \"a/..\"", "ends without a name"),
        ("key_file = \"key\"\nhigh_water = \"state/s\"", "is the same place as `path` of [snapshot]"),
        ("key_file = \"state/s\"", "`path` of [snapshot] is the snapshot's key"),
        ("key_file = \"state/s.mark\"", "`high_water` of [snapshot] is the snapshot's key"),
    ] {
        let error = of(fields).unwrap_err();
        assert!(error.message.contains(clause) && !error.help.is_empty(), "{fields}: {error:?}");
    }
}

#[test]
fn found_settings_keep_their_snapshot_in_their_folder() {
    for fields in [
        "path = \"/var/lib/s\"\nkey_file = \"key\"",
        "path = \"s\"\nkey_file = \"/etc/key\"",
        "path = \"s\"\nkey_file = \"key\"\nhigh_water = \"../m\"",
        "path = \"s\"\ncredential = \"key\"",
    ] {
        let text = format!("order = []\n[snapshot]\n{fields}");
        assert!(read(&text, Trust::Full).is_ok(), "{fields}");
        assert!(read(&text, Trust::Found).unwrap_err().refused, "{fields}");
    }
}

#[test]
fn a_snapshot_has_places_of_its_own() {
    let of = |more: &str| {
        let order = if more.contains("source.s") { "[\"s\"]" } else { "[]" };
        read(&format!("order = {order}\n[snapshot]\npath = \"a\"\nkey_file = \"key\"\n{more}"), Trust::Full)
    };
    let delivery = |path: &str| format!("[delivery.app]\ntype = \"env-file\"\npath = \"{path}\"");
    for (more, words) in [
        (delivery("a"), "`path` of [snapshot] is the same place as `path` of delivery `app`"),
        (delivery("a.mark"), "`high_water` of [snapshot] is the same place as `path` of delivery `app`"),
        (delivery("key"), "`path` of delivery `app` is the snapshot's key"),
        ("[source.s]\ntype = \"dotenv\"\npath = \"a\"".to_owned(), "what source `s` reads"),
        (
            "[audit]\npath = \"a\"\nkey_file = \"audit-key\"".to_owned(),
            "is the same place as `path` of [audit]",
        ),
    ] {
        let error = of(&more).unwrap_err();
        assert!(error.message.contains(words), "{more}: {}", error.message);
    }
    assert!(of(&delivery("b")).is_ok());
}
