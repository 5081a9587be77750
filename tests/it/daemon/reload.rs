//! Settings and schema that change: all of it takes effect, or nothing.

use std::net::{TcpListener, TcpStream};

use super::*;

const DONE: &str = "settings and schema were read again and hold";
const REFUSED: &str = "settings and schema were read again and are refused, the old ones hold: ";

/// Exchanges the settings and waits until they hold.
#[track_caller]
fn change(daemon: &Daemon, folder: &Folder, settings: &[&str]) {
    let before = daemon.count(DONE);
    put(folder, "dlconf.toml", &settings.concat());
    daemon.says_for(before + 1, DONE);
}

#[test]
fn deliveries_come_go_and_move() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let generation = daemon.generation();
    let note = trace(&folder.join("out/note.env"));
    let more = "[delivery.more]\ntype = \"directory\"\npath = \"out/more\"\nvars = [\"NAME\"]\n";
    change(&daemon, &folder, &[SOURCES, DELIVERIES, AT_ONCE, more]);
    daemon.holds(&folder, "out/more/NAME", "one");
    // One changed, one gone, one as it was.
    let moved = DELIVERIES.replace("out/app.env", "out/moved.env");
    change(&daemon, &folder, &[SOURCES, &moved, AT_ONCE]);
    daemon.holds(&folder, "out/moved.env", "NAME=one");
    let status = daemon.status();
    let names: Vec<&Value> =
        status["deliveries"].as_array().unwrap().iter().map(|delivery| &delivery["name"]).collect();
    assert_eq!(names, ["app", "note"]);
    assert_eq!(named(&status["deliveries"], "app")["path"], "out/moved.env");
    let left = trace(&folder.join("out/app.env"));
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/moved.env", "two");
    assert_eq!(trace(&folder.join("out/app.env")), left);
    assert_eq!(folder.read("out/more/NAME"), "one");
    assert_eq!(trace(&folder.join("out/note.env")), note);
    assert_eq!(daemon.generation(), generation + 1);
    // Which variables it may have is a change too.
    change(&daemon, &folder, &[SOURCES, &moved.replace("\"PORT\", ", ""), AT_ONCE]);
    wait_for(
        "its absence",
        || folder.read("out/moved.env"),
        || (!folder.read("out/moved.env").contains("PORT")).then_some(()),
    );
}

#[test]
fn a_hang_up_reads_again_and_is_no_generation() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let before = (trace(&folder.join("out/app.env")), trace(&folder.join("out/note.env")));
    let version = daemon.status()["version"].clone();
    for times in 1..=3 {
        daemon.signal(Signal::SIGHUP);
        daemon.says_for(times, DONE);
    }
    assert_eq!(daemon.status()["version"], version);
    assert_eq!((trace(&folder.join("out/app.env")), trace(&folder.join("out/note.env"))), before);
    // The sources are watched as before.
    daemon.fence(&folder);
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
}

#[test]
fn a_change_of_the_schema_counts() {
    let folder = usual();
    folder.file(".env", &format!("NAME=one\nTOKEN={TOKEN}\n"));
    let daemon = Daemon::ready(&folder);
    assert!(folder.read("out/app.env").contains("8080"));
    put(&folder, "dlconf.schema.toml", &SCHEMA.replace("8080", "8181"));
    daemon.holds(&folder, "out/app.env", "8181");
    assert_eq!(daemon.generation(), 2);
}

#[test]
fn a_change_of_the_window_counts() {
    let folder = home(&[SOURCES, DELIVERIES, "[debounce]\nmin = \"60s\"\nmax = \"60s\"\n"]);
    let daemon = Daemon::start(&folder);
    daemon.says("source local was read");
    assert_eq!(daemon.generation(), 0);
    change(&daemon, &folder, &[SOURCES, DELIVERIES, AT_ONCE]);
    daemon.until("readiness", |status| status["ready"] == true);
    daemon.fence(&folder);
}

#[test]
fn another_environment_counts() {
    let settings = format!("{SOURCES}{DELIVERIES}{AT_ONCE}");
    let folder = home(&[&settings]);
    let daemon = Daemon::ready(&folder);
    assert!(folder.read("out/app.env").contains("APP_ENV=staging"));
    change(&daemon, &folder, &[&settings.replace("\"staging\"", "\"production\"")]);
    daemon.holds(&folder, "out/app.env", "APP_ENV=production");
    assert_eq!(daemon.status()["environment"], "production");
}

#[test]
fn another_source_counts() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    folder.file("other.env", &shop("other"));
    change(
        &daemon,
        &folder,
        &[&SOURCES.replace("path = \".env\"", "path = \"other.env\""), DELIVERIES, AT_ONCE],
    );
    daemon.holds(&folder, "out/app.env", "other");
    put(&folder, ".env", &shop("unwatched"));
    put(&folder, "other.env", &shop("watched"));
    daemon.holds(&folder, "out/app.env", "=watched");
    assert_eq!(daemon.generation(), 3);
}

#[test]
fn addresses_move_and_open_connections_outlive_a_reload() {
    let tcp = SOURCES.replace("\"unix:ops.sock\"", "\"127.0.0.1:0\"");
    let folder = home(&[&tcp, DELIVERIES, AT_ONCE]);
    let daemon = Daemon::ready(&folder);
    let port = |line: String| line.rsplit_once(' ').unwrap().1.to_owned();
    let first = port(daemon.says("the ops port listens at 127.0.0.1:"));
    let mut kept = Kept::to(&first);
    assert_eq!(kept.healthz(), "ok\n");
    daemon.signal(Signal::SIGHUP);
    daemon.says(DONE);
    assert_eq!(kept.healthz(), "ok\n");
    // A reload of everything else leaves the port alone.
    put(&folder, "dlconf.schema.toml", &SCHEMA.replace("8080", "8181"));
    daemon.says_for(2, DONE);
    assert_eq!(kept.healthz(), "ok\n");
    assert_eq!(daemon.count("the ops port listens"), 1);

    let moved = tcp.replace("127.0.0.1:0", "127.0.0.2:0").replace("dlconf.sock", "moved.sock");
    put(&folder, "dlconf.toml", &[&moved, DELIVERIES, AT_ONCE].concat());
    daemon.says_for(3, DONE);
    let second = port(daemon.says("the ops port listens at 127.0.0.2:"));
    assert_eq!(Kept::to(&second).healthz(), "ok\n");
    wait_for("the old port's end", || daemon.lines().join("\n"), || TcpStream::connect(&first).err());
    wait_for(
        "the old socket's end",
        || daemon.lines().join("\n"),
        || (!folder.join("dlconf.sock").exists()).then_some(()),
    );
    let (code, status) = ask(&folder.join("moved.sock"), "GET", "/v1/status").unwrap();
    assert_eq!(code, 200);
    assert!(status.contains("\"ready\":true"), "{status}");

    // And they may go.
    let gone = moved.replace("[ops]\nlisten = \"127.0.0.2:0\"\n", "");
    put(&folder, "dlconf.toml", &[&gone, DELIVERIES, AT_ONCE].concat());
    daemon.says_for(4, DONE);
    wait_for("the port's end", || daemon.lines().join("\n"), || TcpStream::connect(&second).err());
}

/// A connection that is used again.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn to(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(BufReader::new(stream))
    }

    fn healthz(&mut self) -> String {
        self.0.get_mut().write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the connection was closed");
            if let Some(number) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = number.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }
}

/// These settings, or this schema, are refused in these words; nothing changes,
/// and a good change afterwards works.
#[track_caller]
fn is_refused(name: &str, text: &str, place: &str, words: &str) {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let before = (trace(&folder.join("out/app.env")), trace(&folder.join("out/note.env")));
    let good = folder.read(name);
    put(&folder, name, text);
    let line = daemon.says(REFUSED);
    assert!(line.contains(words), "{line}");
    assert!(line.contains(place), "{line}");
    let status = daemon.status();
    let refused = &status["reload_refused"]["findings"].to_string();
    assert!(refused.contains(place), "{refused}");
    assert_eq!((&status["generation"], &status["rejected"]), (&1.into(), &Value::Null));
    assert_eq!(daemon.page("/readyz").0, 200);
    assert_eq!(daemon.count("listens at"), 2);
    daemon.fence(&folder);
    put(&folder, ".env", &shop("two"));
    daemon.holds(&folder, "out/app.env", "two");
    assert_ne!(trace(&folder.join("out/note.env")), before.1);
    assert!(!folder.join("out/new.env").exists());

    put(&folder, name, &format!("{good}\n# mended\n"));
    daemon.says(DONE);
    assert_eq!(daemon.status()["reload_refused"], Value::Null);
    assert_eq!(daemon.generation(), 3);
    daemon.fence(&folder);
}

/// A delivery that must not come with what is refused.
const NEW: &str = "[delivery.new]\ntype = \"env-file\"\npath = \"out/new.env\"\n";

fn with_new(settings: &str) -> String {
    [settings, DELIVERIES, AT_ONCE, NEW].concat()
}

#[test]
fn settings_that_are_no_toml() {
    is_refused("dlconf.toml", &with_new(&format!("environment = \n{SOURCES}")), "dlconf.toml:1:", "");
}

#[test]
fn settings_with_an_unknown_field() {
    is_refused(
        "dlconf.toml",
        &with_new(SOURCES).replace("[ops]", "[ops]\nlsten = 1"),
        "dlconf.toml:13:1",
        "did you mean `listen`?",
    );
}

#[test]
fn another_mode_of_the_socket() {
    let wide = SOURCES.replace("[socket]\n", "[socket]\nmode = \"0660\"\n");
    assert_ne!(wide, SOURCES);
    is_refused("dlconf.toml", &with_new(&wide), "", "restart the daemon");
}

#[test]
fn settings_that_give_nothing_to_do() {
    let nothing = SOURCES.replace("[socket]\npath = \"dlconf.sock\"\n", "");
    is_refused("dlconf.toml", &nothing, "", "nothing to do");
}

#[test]
fn a_schema_that_is_wrong() {
    is_refused("dlconf.schema.toml", &SCHEMA.replace("\"port\"", "\"prot\""), "dlconf.schema.toml:", "port");
}

#[test]
fn a_source_that_cannot_be_read() {
    let settings = SOURCES.replace("path = \".env\"", "path = \"nowhere.env\"");
    is_refused("dlconf.toml", &with_new(&settings), "nowhere.env", "[DLC050]");
}

#[test]
fn a_schema_by_which_the_state_is_invalid() {
    let more = "[var.MISSING]\ntype = \"string\"\nrequired = true\ndescription = \"x\"\n";
    is_refused("dlconf.schema.toml", &format!("{SCHEMA}{more}"), "", "[DLC001]");
}

#[test]
fn an_address_that_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = with_new(&SOURCES.replace("unix:ops.sock", &address)).replace("dlconf.sock", "new.sock");
    is_refused("dlconf.toml", &settings, "", &format!("the ops port cannot listen at {address}"));
}

#[test]
fn what_was_refused_is_tried_again_when_the_source_is_there() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    put(&folder, "dlconf.toml", &with_new(&SOURCES.replace("path = \".env\"", "path = \"late.env\"")));
    daemon.says(REFUSED);
    folder.file("late.env", &shop("late"));
    daemon.signal(Signal::SIGHUP);
    daemon.says(DONE);
    daemon.holds(&folder, "out/app.env", "late");
    daemon.holds(&folder, "out/new.env", "late");
}

#[test]
fn a_new_delivery_that_fails_does_not_take_readiness_away() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    assert_eq!(daemon.page("/readyz").0, 200);
    folder.file("new", "no folder");
    let new = "[delivery.new]\ntype = \"env-file\"\npath = \"new/below.env\"\n";
    // A new port has nothing of its own to remember.
    let moved = SOURCES.replace("ops.sock", "moved.sock");
    change(&daemon, &folder, &[&moved, DELIVERIES, AT_ONCE, new]);
    daemon.says("delivery new failed");
    assert_eq!(daemon.status()["ready"], true);
    assert_eq!(ask(&folder.join("moved.sock"), "GET", "/readyz").unwrap().0, 200);
    fs::remove_file(folder.join("new")).unwrap();
    daemon.holds(&folder, "new/below.env", "NAME=one");
}

#[test]
fn the_last_of_quick_changes_holds() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    for round in 0..10 {
        for step in ["first", "second", "last"] {
            let moved = DELIVERIES.replace("out/app.env", &format!("out/{step}-{round}.env"));
            put(&folder, "dlconf.toml", &[SOURCES, &moved, AT_ONCE].concat());
        }
        daemon.holds(&folder, &format!("out/last-{round}.env"), "NAME=one");
    }
    assert_eq!(daemon.generation(), 1);
}

#[test]
fn a_reload_that_waits_for_a_source_holds_up_nothing() {
    let folder = usual();
    let mut command = Daemon::command(&folder);
    let daemon = Daemon::of(&folder, command.env("VAULT_TOKEN", "a-token-for-nobody"));
    daemon.until("readiness", |status| status["ready"] == true);
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let vault = format!(
        "[source.vault]\ntype = \"vault\"\naddress = \"http://{}\"\ntimeout = \"1s\"\npaths = [{{ mount = \"secret\", path = \"shop\" }}]\n",
        silent.local_addr().unwrap()
    );
    let settings = with_new(&SOURCES.replace("\"note\"]", "\"note\", \"vault\"]"));
    put(&folder, "dlconf.toml", &(settings + &vault));
    let (_connection, _) = silent.accept().unwrap();
    daemon.fence(&folder);
    assert_eq!(daemon.count("were read again"), 0);
    // Good ones in their place are heard after that.
    put(&folder, "dlconf.toml", &with_new(SOURCES));
    let line = daemon.says(REFUSED);
    assert!(line.contains("[DLC050]") && line.contains("did not answer in time"), "{line}");
    daemon.says(DONE);
    daemon.holds(&folder, "out/new.env", "NAME=one");
    daemon.fence(&folder);
}

#[test]
fn a_delivery_that_leaves_gets_nothing_of_the_new_settings() {
    // Many times, for it is a race.
    for round in 0..10 {
        let folder = usual();
        let daemon = Daemon::ready(&folder);
        let wide = trace(&folder.join("out/app.env"));
        put(&folder, "other.env", &shop(&format!("secret{round}")));
        let sources = SOURCES.replace("path = \".env\"", "path = \"other.env\"");
        let moved = DELIVERIES.replace("out/app.env", "out/moved.env");
        change(&daemon, &folder, &[&sources, &moved, AT_ONCE]);
        daemon.holds(&folder, "out/moved.env", &format!("secret{round}"));
        assert_eq!(trace(&folder.join("out/app.env")), wide, "round {round}");
    }
}
