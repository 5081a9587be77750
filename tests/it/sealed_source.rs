//! `type = "sealed"` through the real binary: an env file that was sealed, its key,
//! and everything that keeps it closed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::sync::Arc;

use dlconf::sealed::{Container, Kernel, Key, Piece, Purpose, State};
use dlconf::source::sealed::chunks;
use zeroize::Zeroizing;

use crate::daemon::{AT_ONCE, Daemon, put, wait_for};
use crate::memory_scan::scan;
use crate::program::{Folder, Ran, SMALL_SCHEMA};

/// In every value, so that it can be looked for.
const CANARY: &str = "sealed-canary-q8Zr2LxV5nBt7KjWm4Yc9PdHsX3fGa6Te";

const KEY: [u8; 32] = *b"sealed-source-key-0R8xk2Vw9Lq4Zt";
const OTHER_KEY: [u8; 32] = [0xff; 32];
const PASSPHRASE: &str = "seven horses stapled to a battery";

const SETTINGS: &str = r#"environment = "production"
order = ["local", "config", "env"]
[source.local]
type = "dotenv"
path = "local.env"
optional = true
[source.config]
type = "sealed"
path = "config/production.sealed"
key_file = "config.key"
[source.env]
type = "env"
"#;

fn bytes(bytes: &[u8]) -> Key {
    Key::new(Zeroizing::new(bytes.to_vec())).unwrap()
}

fn passphrase() -> Key {
    Key::Passphrase(Zeroizing::new(PASSPHRASE.to_owned()))
}

fn state(generation: u64) -> State {
    State { generation, written: 1_795_000_000, ..State::default() }
}

fn container(text: &str, keys: &[&Key], state: State) -> Container {
    let label: Arc<str> = "plain.env".into();
    let chunks = chunks(text, &label).unwrap();
    let pieces: Vec<Piece<'_>> = chunks
        .iter()
        .map(|chunk| {
            Piece::New(chunk.name.as_ref().map(dlconf::model::key::Key::as_str), chunk.text.as_bytes())
        })
        .collect();
    Container::seal(Purpose::File, keys, state, &pieces, &mut Kernel).unwrap()
}

fn sealed(text: &str) -> String {
    container(text, &[&bytes(&KEY)], state(7)).to_text()
}

fn plain() -> String {
    format!("# before: TOKEN=old-{CANARY}\nTOKEN={CANARY}\n\nPORT=9000\n")
}

/// A folder with the schema, these settings, a sealed file and its key.
fn folder(settings: &str, text: &str) -> Folder {
    let folder = Folder::new();
    folder.file("dlconf.schema.toml", SMALL_SCHEMA).file("dlconf.toml", settings);
    folder.bytes("config/production.sealed", sealed(text).as_bytes(), 0o644);
    folder.bytes("config.key", &KEY, 0o400);
    folder
}

fn usual() -> Folder {
    folder(SETTINGS, &plain())
}

fn check(folder: &Folder) -> Ran {
    flat(&folder.run(&["--config", "dlconf.toml", "check"]))
}

/// Without the line ends that a text gets where it is long.
fn flat(ran: &Ran) -> Ran {
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ran { code: ran.code, stdout: flat(&ran.stdout), stderr: flat(&ran.stderr) }
}

fn get(folder: &Folder, name: &str) -> Ran {
    folder.run(&["--config", "dlconf.toml", "get", "--local", name])
}

#[test]
fn its_variables_are_those_of_the_env_file_that_was_sealed() {
    let folder = folder(
        SETTINGS,
        &format!("# c\nexport TOKEN='{CANARY}'\nPORT: \"9\\\n000\" # c\nTTL=\"${{LOW:-5}}m\"\r\n\nMODE\n"),
    );
    folder.file("config.env", "");
    let ran = folder.run(&["--config", "dlconf.toml", "render", "--format", "json"]);
    // A number in two lines is none.
    ran.exits(1).never_says(CANARY);
    let folder = self::folder(
        SETTINGS,
        &format!("# c\nexport TOKEN='{CANARY}'\nPORT: \"9000\" # c\nTTL=\"${{LOW:-5}}m\"\r\n\n"),
    );
    let ran = folder.run(&["--config", "dlconf.toml", "render", "--format", "json"]).exits(0);
    let values: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (values["TOKEN"].as_str(), values["PORT"].as_str(), values["TTL"].as_str()),
        (Some(CANARY), Some("9000"), Some("5m"))
    );
    get(&folder, "TOKEN").exits(0).warns("TOKEN from config/production.sealed:8").says(CANARY);
    let child = ["--config", "dlconf.toml", "run", "--", "sh", "-c", "echo $TOKEN $PORT"];
    folder.run(&child).exits(0).says(&format!("{CANARY} 9000"));
    check(&folder).exits(0).says("config/production.sealed").never_says(CANARY);
}

#[test]
fn it_has_its_place_in_the_order_and_templates_look_across() {
    let folder = folder(SETTINGS, &format!("TOKEN={CANARY}\nPORT=9000\nTTL=${{HOURS_UNSET:-}}${{PORT}}s\n"));
    folder.file("local.env", "PORT=1111\nTTL=2s\n");
    get(&folder, "PORT").exits(0).says("9000\n").warns("config/production.sealed:8");
    get(&folder, "TTL").exits(0).says("9000s\n");
    let environment = [("PORT", "4444")];
    let ran = folder.run_with(&["--config", "dlconf.toml", "get", "--local", "PORT"], &environment);
    ran.exits(0).says("4444\n").warns("env:PORT");
    let told = folder.run(&["--config", "dlconf.toml", "explain", "PORT"]).exits(0);
    told.says("config/production.sealed:8").says("local.env:1:6").says("revision 7").never_says(CANARY);
}

#[test]
fn a_finding_in_it_has_a_place_and_no_line() {
    let folder =
        folder(SETTINGS, &format!("TOKEN={CANARY}\nPORT=no-{CANARY}\nTTL=7d\nDEAD=1\nTOKN=2\nBARE\n"));
    let ran = check(&folder).exits(1).never_says(CANARY).never_says("| ");
    let ran = ran.says("--> config/production.sealed:8 ").says("--> config/production.sealed:9 ");
    ran.says("config/production.sealed:10 ").says("config/production.sealed:12 ").never_says("--fix` mends");
    // Nothing of it can be mended in place, and nothing is.
    let before = folder.read("config/production.sealed");
    folder.run(&["--config", "dlconf.toml", "check", "--fix"]).exits(1).never_says(CANARY);
    assert_eq!(folder.read("config/production.sealed"), before);
    for format in ["json", "sarif", "github", "junit"] {
        let ran = folder.run(&["--config", "dlconf.toml", "check", "--format", format]).exits(1);
        ran.says("config/production.sealed").never_says(CANARY);
    }
}

#[test]
fn names_are_judged_without_the_key() {
    let folder = folder(SETTINGS, &format!("TOKEN={CANARY}\nTOKN=1\n"));
    fs::remove_file(folder.join("config.key")).unwrap();
    let ran = folder.run(&["--config", "dlconf.toml", "check", "--names-only"]).exits(0);
    ran.says("DLC030").says("TOKN").never_says("DLC001").never_says("DLC05");
}

#[test]
fn everything_that_keeps_it_closed_is_said_by_name() {
    let file = "config/production.sealed";
    let alter = |from: &str, to: &str| sealed(&plain()).replacen(from, to, 1);
    let moved = {
        let text = sealed(&plain());
        let lines: Vec<&str> = text.lines().collect();
        let mut swapped = lines.clone();
        swapped.swap(7, 9);
        swapped.join("\n") + "\n"
    };
    let exchanged = {
        let (one, other) = (sealed(&plain()), sealed(&plain()));
        let line = |text: &str| text.lines().find(|line| line.starts_with("TOKEN: ")).unwrap().to_owned();
        one.replace(&line(&one), &line(&other))
    };
    let wrong = container(&plain(), &[&bytes(&OTHER_KEY)], state(7)).to_text();
    let by_passphrase = container(&plain(), &[&passphrase()], state(7)).to_text();
    let over = container(&plain(), &[&bytes(&KEY)], State { not_after: Some(1_000_000_000), ..state(7) });
    let bomb = by_passphrase.replacen("m=65536", "m=4294967295", 1);
    for (text, code, says, help) in [
        (
            alter("dlconf-sealed 1", "dlconf-sealed 2"),
            "DLC050",
            "it is of version 2",
            "the release of dlconf that wrote it",
        ),
        ("TOKEN=x\n".to_owned(), "DLC050", "it is not sealed by dlconf", "`dlconf seal`"),
        (String::new(), "DLC050", "it is not sealed by dlconf", "`dlconf seal`"),
        (alter("generation=7", "generation=8"), "DLC050", "altered after it was sealed", "anew"),
        (moved, "DLC050", "not all of them together", "anew"),
        (exchanged, "DLC050", "the value of TOKEN (line ", "anew"),
        (alter("seal ", "seel "), "DLC050", "it is damaged", "anew"),
        (sealed(&plain()).replace("\nseal ", ""), "DLC050", "it is damaged", "anew"),
        (wrong, "DLC051", "was given", "put what it was sealed with into config.key"),
        (by_passphrase, "DLC051", "it opens with a passphrase", "name its passphrase with `passphrase_file`"),
        (over.to_text(), "DLC051", "may not be used any more: that ended at 2001-09-09", "seal it anew"),
        (bomb, "DLC050", "would take 4294967295 KiB of memory", "do not trust this file"),
    ] {
        let folder = usual();
        folder.bytes(file, text.as_bytes(), 0o644);
        let ran = check(&folder).exits(3);
        let ran = ran.says(&format!("error[{code}]: {file} ")).says(says).says(help);
        ran.says(&format!("--> {file} ")).never_says(CANARY).never_says("DLC001");
    }
}

#[test]
fn everything_that_keeps_its_key_away_is_said_by_name() {
    let refused = |folder: &Folder, says: &str, help: &str| {
        let ran = check(folder).exits(3).says("error[DLC051]: config/production.sealed stays closed: ");
        ran.says(says).says(help).never_says(CANARY).never_says("DLC001");
    };
    let folder = usual();
    let mode = |mode: u32| {
        fs::set_permissions(folder.join("config.key"), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (wide, who) in [(0o644, "everybody"), (0o640, "its group"), (0o602, "everybody")] {
        mode(wide);
        refused(&folder, &format!("has mode {wide:04o}: {who} may use it"), "chmod 0400 config.key");
    }
    mode(0o600);
    check(&folder).exits(0);
    folder.bytes("config.key", b"short\n", 0o600);
    refused(&folder, "has 5 bytes, and needs 32", "put what config/production.sealed was sealed with");
    fs::remove_file(folder.join("config.key")).unwrap();
    refused(&folder, "there is no file config.key", "was sealed with into config.key");
    fs::create_dir(folder.join("config.key")).unwrap();
    refused(&folder, "is a directory", "");
}

#[test]
fn an_absent_file_is_excused_only_where_it_is_optional() {
    let folder = usual();
    fs::remove_file(folder.join("config/production.sealed")).unwrap();
    check(&folder).exits(3).says("error[DLC050]: there is no file config/production.sealed");
    fs::remove_file(folder.join("config.key")).unwrap();
    folder.file("dlconf.toml", &SETTINGS.replace("key_file", "optional = true\nkey_file"));
    // Then the key is not asked for either; what is required is missing.
    check(&folder).exits(1).says("error[DLC001]: TOKEN").never_says("DLC05");
    folder.run(&["--config", "dlconf.toml", "doctor"]).says("there is none, and none is needed");
    folder.bytes("config/production.sealed", b"", 0o644);
    check(&folder).exits(3).says("it is not sealed by dlconf");
}

#[test]
fn a_passphrase_opens_it() {
    let folder = usual();
    let text = container(&plain(), &[&bytes(&OTHER_KEY), &passphrase()], state(1)).to_text();
    folder.bytes("config/production.sealed", text.as_bytes(), 0o644);
    let settings = SETTINGS.replace("key_file = \"config.key\"", "passphrase_file = \"words\"");
    folder.file("dlconf.toml", &settings).bytes("words", format!("{PASSPHRASE}\n").as_bytes(), 0o600);
    get(&folder, "TOKEN").exits(0).says(CANARY);
    folder.bytes("words", format!("{PASSPHRASE}!").as_bytes(), 0o600);
    check(&folder).exits(3).says("error[DLC051]").never_says(PASSPHRASE).never_says(CANARY);
    folder.bytes("words", b"hunter2\n", 0o600);
    check(&folder).exits(3).says("has 7 characters, and needs 12").never_says("hunter2");
    folder.bytes("words", PASSPHRASE.as_bytes(), 0o644);
    check(&folder).exits(3).says("everybody may use it");
}

#[test]
fn a_credential_of_the_service_manager_opens_it() {
    let folder = usual();
    folder.file("dlconf.toml", &SETTINGS.replace("key_file = \"config.key\"", "credential = \"app\""));
    let check = |with: &[(&str, &str)]| flat(&folder.run_with(&["--config", "dlconf.toml", "check"], with));
    let unit = "LoadCredentialEncrypted=app";
    check(&[]).exits(3).says("CREDENTIALS_DIRECTORY is not set").says(unit);
    let given = folder.join("credentials");
    let with = [("CREDENTIALS_DIRECTORY", given.to_str().unwrap())];
    check(&with).exits(3).says("there is no file").says(unit);
    folder.bytes("credentials/app", &KEY, 0o400);
    check(&with).exits(0);
    folder.bytes("credentials/app", &KEY, 0o444);
    check(&with).exits(3).says("everybody may use it");
    // Found settings do not get what the service manager gave.
    folder.bytes("credentials/app", &KEY, 0o400);
    let found = folder.run_with(&["check"], &with).exits(4);
    found.warns("may not use a credential that the service manager gave").warns("--> dlconf.toml:10:1");
    folder.file("dlconf.toml", &SETTINGS.replace("key_file = \"config.key\"", ""));
    let own = [with[0], ("DLCONF_SOURCE__CONFIG__CREDENTIAL", "app")];
    folder.run_with(&["check"], &own).exits(0);
}

#[test]
fn found_settings_reach_no_key_and_no_file_outside_their_folder() {
    let outer = Folder::new();
    let inner = Folder::new();
    outer.bytes("config.key", &KEY, 0o400).bytes("a.sealed", sealed(&plain()).as_bytes(), 0o644);
    inner.file("dlconf.schema.toml", SMALL_SCHEMA).bytes("config.key", &KEY, 0o400);
    inner.bytes("config/production.sealed", sealed(&plain()).as_bytes(), 0o644);
    inner.file("dlconf.toml", SETTINGS);
    inner.run(&["check"]).exits(0);
    for (field, own) in [("path", "config/production.sealed"), ("key_file", "config.key")] {
        let other = outer.join(if field == "path" { "a.sealed" } else { "config.key" });
        let written = format!("{field} = \"{}\"", other.display());
        inner.file("dlconf.toml", &SETTINGS.replace(&format!("{field} = \"{own}\""), &written));
        inner.run(&["check"]).exits(4).warns("that is outside its folder");
        inner.run(&["--config", "dlconf.toml", "check"]).exits(0);
        // A link that appears once the settings are read is judged by what is opened.
        inner.file("dlconf.toml", SETTINGS);
        fs::remove_file(inner.join(own)).unwrap();
        symlink(&other, inner.join(own)).unwrap();
        inner.run(&["check"]).exits(4).warns("that is outside its folder");
        fs::remove_file(inner.join(own)).unwrap();
        fs::copy(&other, inner.join(own)).unwrap();
    }
}

#[test]
fn a_file_that_everybody_may_write_is_a_finding() {
    let folder = usual();
    let mode = |mode: u32| {
        let path = folder.join("config/production.sealed");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for committed in [0o644, 0o664, 0o444] {
        mode(committed);
        check(&folder).exits(0).never_says("DLC080");
    }
    mode(0o666);
    check(&folder)
        .exits(1)
        .says("error[DLC080]: config/production.sealed holds TOKEN")
        .says("others may change it");
    let doctor = flat(&folder.run(&["--config", "dlconf.toml", "doctor"]));
    doctor.says("everybody may put an older one in its place");
    folder.run(&["--config", "dlconf.toml", "check", "--fix"]).exits(0);
    assert_eq!(folder.mode("config/production.sealed"), 0o600);
}

#[test]
fn doctor_tells_of_its_generation_its_keys_and_names_and_of_no_value() {
    let folder = usual();
    let text = container(&plain(), &[&bytes(&KEY), &passphrase()], state(41)).to_text();
    folder.bytes("config/production.sealed", text.as_bytes(), 0o644);
    let doctor = || flat(&folder.run(&["--config", "dlconf.toml", "doctor"]));
    let id = bytes(&KEY).id().unwrap();
    let ran = doctor()
        .says("generation 41, written 2026-11-18T")
        .says(&format!("opens with key {id} or a passphrase"));
    let ran = ran.says(&format!("key {id}, from config.key")).says("2 names; all of it is as it was sealed");
    ran.never_says(CANARY);
    folder.bytes("config.key", &OTHER_KEY, 0o600);
    doctor().exits(3).says("cannot be opened").says("put what it was sealed with into config.key");
    folder.bytes("config.key", &KEY, 0o644);
    doctor().exits(3).says("everybody may use it").says("chmod 0400 config.key");
    folder.bytes("config/production.sealed", b"x", 0o644);
    doctor().exits(3).says("it is not sealed by dlconf");
}

const DAEMON: &str = r#"[delivery.app]
type = "env-file"
path = "out/app.env"
[socket]
path = "dlconf.sock"
[ops]
listen = "unix:ops.sock"
"#;

fn port(port: u32) -> String {
    sealed(&plain().replace("9000", &port.to_string()))
}

#[test]
fn a_daemon_follows_it_and_holds_what_it_had_when_it_closes() {
    let folder = folder(&format!("{SETTINGS}{DAEMON}{AT_ONCE}"), &plain());
    let file = "config/production.sealed";
    let daemon = Daemon::ready(&folder);
    let holds = |text: &str| {
        daemon.until(text, |_| folder.read("out/app.env").contains(text));
    };
    holds("PORT=9000");
    put(&folder, file, &port(9001));
    holds("PORT=9001");
    assert_eq!(daemon.status()["generation"], 2);
    // Another key's file: everything stays as it is, and it is told.
    let other = container("PORT=6\n", &[&bytes(&OTHER_KEY)], state(9)).to_text();
    put(&folder, file, &other);
    daemon.says("source config cannot be read");
    daemon.says("cannot be opened: it opens with key ");
    let status = daemon.status();
    assert_eq!((&status["generation"], &status["ready"]), (&2.into(), &true.into()));
    assert!(folder.read("out/app.env").contains("PORT=9001"));
    // Its key follows.
    let text = container(&plain().replace("9000", "9002"), &[&bytes(&OTHER_KEY)], state(9)).to_text();
    put(&folder, file, &text);
    folder.bytes("new.key", &OTHER_KEY, 0o400);
    fs::rename(folder.join("new.key"), folder.join("config.key")).unwrap();
    holds("PORT=9002");
    // A key that does not fit any more is noticed by itself, long before the next look.
    let closed = daemon.count("source config cannot be read");
    put(&folder, "config.key", &"x".repeat(40));
    daemon.says_for(closed + 1, "source config cannot be read");
    let again = daemon.count("source config can be read again");
    folder.bytes("new.key", &OTHER_KEY, 0o400);
    fs::rename(folder.join("new.key"), folder.join("config.key")).unwrap();
    daemon.says_for(again + 1, "source config can be read again");
    // A file that is gone is an error, not an empty one.
    fs::remove_file(folder.join(file)).unwrap();
    daemon.says("there is no file config/production.sealed");
    assert!(folder.read("out/app.env").contains("PORT=9002"));
    assert!(!daemon.lines().join("\n").contains(CANARY));
}

/// Where this user may look at the daemon's memory.
fn is_gone(daemon: &Daemon, what: &str) {
    if fs::File::open(format!("/proc/{}/mem", daemon.pid())).is_err() {
        return;
    }
    wait_for(
        &format!("the end of {what}"),
        || daemon.lines().join("\n"),
        || (scan(daemon.pid(), what.as_bytes()).unwrap().total() == 0).then_some(()),
    );
}

#[test]
fn neither_the_key_nor_an_old_value_nor_a_comment_stays_in_memory() {
    let folder = folder(&format!("{SETTINGS}{DAEMON}{AT_ONCE}"), &plain());
    let daemon = Daemon::ready(&folder);
    is_gone(&daemon, std::str::from_utf8(&KEY).unwrap());
    is_gone(&daemon, &format!("old-{CANARY}"));
    let next = "f3Xn9Qa7Lr2Wk5Ty8Bv1Cz4Md6Hj0PsGu";
    put(&folder, "config/production.sealed", &sealed(&format!("TOKEN={next}\n")));
    daemon.until("the change", |_| folder.read("out/app.env").contains(next));
    is_gone(&daemon, CANARY);
    is_gone(&daemon, std::str::from_utf8(&KEY).unwrap());
}

/// The passphrase is stretched beside what the daemon does.
#[test]
fn a_daemon_opens_it_by_a_passphrase() {
    let settings = SETTINGS.replace("key_file = \"config.key\"", "passphrase_file = \"words\"");
    let folder = folder(&format!("{settings}{DAEMON}{AT_ONCE}"), &plain());
    let by = |text: &str| container(text, &[&passphrase()], state(1)).to_text();
    folder.bytes("config/production.sealed", by(&plain()).as_bytes(), 0o644);
    folder.bytes("words", PASSPHRASE.as_bytes(), 0o400);
    let daemon = Daemon::ready(&folder);
    put(&folder, "config/production.sealed", &by(&plain().replace("9000", "9003")));
    daemon.until("the change", |_| folder.read("out/app.env").contains("PORT=9003"));
}

/// As another user whom systemd's access list lets read: the mode is 0440 of root.
#[test]
fn a_credential_of_root_may_be_read_by_the_group_that_systemd_shows() {
    let become_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let may = Command::new(become_nobody[0]).args(&become_nobody[1..]).arg("true").status();
    if !may.is_ok_and(|status| status.success()) {
        return;
    }
    let folder = usual();
    folder.file("dlconf.toml", &SETTINGS.replace("key_file = \"config.key\"", "credential = \"app\""));
    folder.bytes("credentials/app", &KEY, 0o440);
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let open =
        |name: &str| fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    open("dlconf.toml");
    open("dlconf.schema.toml");
    // What the access list would do, the group does here.
    std::os::unix::fs::chown(folder.join("credentials/app"), Some(0), Some(65534)).unwrap();
    let mut command = Command::new(become_nobody[0]);
    command.args(&become_nobody[1..]).arg(env!("CARGO_BIN_EXE_dlconf"));
    command.args(["--config", "dlconf.toml", "check"]).current_dir(folder.path()).env_clear();
    command.env("CREDENTIALS_DIRECTORY", folder.join("credentials"));
    command.env("PATH", std::env::var_os("PATH").unwrap());
    Ran::of(&command.output().unwrap()).exits(0);
}
