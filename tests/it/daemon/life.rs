//! Start and end, and what is left.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use super::*;

/// What the contract allows.
const IN_TIME: Duration = Duration::from_secs(1);

/// Waits until all these processes are gone: neither running nor unreaped.
#[track_caller]
fn are_gone(pids: &[u32]) {
    for pid in pids {
        wait_for(&format!("the end of {pid}"), String::new, || {
            (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }
}

#[test]
fn it_ends_in_time_and_leaves_nothing() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let folder = usual();
        let daemon = Daemon::ready(&folder);
        let children = daemon.children();
        assert_eq!(children.len(), 1, "the process that runs programs");
        let ended = daemon.end(signal).exits(0).said(&format!("stopping: {signal}"));
        assert!(ended.took < IN_TIME, "{:?}", ended.took);
        are_gone(&children);
        assert!(!folder.join("dlconf.sock").exists() && !folder.join("ops.sock").exists());
        assert!(folder.read("out/app.env").contains("NAME=one"));
    }
}

#[test]
fn it_ends_in_time_while_a_program_runs() {
    let folder = usual();
    let script =
        "cd \"${0%/*}\"\ntrap '' TERM\necho $$ > hook.pid\nfor _ in 1 2 3 4 5 6 7 8 9; do sleep 2; done\n";
    folder.file("hook.sh", script);
    let on_change =
        format!("[delivery.app.on_change]\nexec = [\"/bin/sh\", \"{}\"]\n", folder.join("hook.sh").display());
    folder.file("dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, &on_change].concat());
    let daemon = Daemon::ready(&folder);
    let pid: u32 = wait_for("the program", String::new, || {
        fs::read_to_string(folder.join("hook.pid")).ok()?.trim().parse().ok()
    });
    let mut all = daemon.children();
    all.extend(children(all[0]));
    all.extend(children(pid));
    assert!(all.contains(&pid), "{all:?}");
    let ended = daemon.end(Signal::SIGTERM).exits(0);
    assert!(ended.took < IN_TIME, "{:?}", ended.took);
    are_gone(&all);
}

#[test]
fn it_ends_in_time_while_clients_hold_connections() {
    let tcp = SOURCES.replace("\"unix:ops.sock\"", "\"127.0.0.1:0\"");
    let folder = home(&[&tcp, DELIVERIES]);
    let daemon = Daemon::ready(&folder);
    let line = daemon.says("the ops port listens at 127.0.0.1:");
    let address = line.rsplit_once(' ').unwrap().1;
    // One says nothing, one says half of it, one has asked and stays.
    let _silent = TcpStream::connect(address).unwrap();
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127").unwrap();
    let mut asked = TcpStream::connect(address).unwrap();
    asked.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
    asked.read_exact(&mut [0]).unwrap();
    let _there = UnixStream::connect(&daemon.socket).unwrap();
    let ended = daemon.end(Signal::SIGTERM).exits(0);
    assert!(ended.took < IN_TIME, "{:?}", ended.took);
}

#[test]
fn it_ends_in_time_while_a_source_hangs() {
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let vault = format!(
        "[source.vault]\ntype = \"vault\"\naddress = \"http://{}\"\npaths = [{{ mount = \"secret\", path = \"shop\" }}]\n",
        silent.local_addr().unwrap()
    );
    let settings = SOURCES.replace("\"note\"]", "\"note\", \"vault\"]");
    let folder = home(&[&settings, DELIVERIES, &vault]);
    let mut command = Daemon::command(&folder);
    let daemon = Daemon::of(&folder, command.env("VAULT_TOKEN", "a-token-for-nobody"));
    let (_connection, _) = silent.accept().unwrap();
    daemon.says("source local was read");
    let (code, text) = daemon.page("/readyz");
    assert_eq!(code, 503);
    assert!(text.contains("1 source not read yet: vault"), "{text}");
    let ended = daemon.end(Signal::SIGTERM).exits(0);
    assert!(ended.took < IN_TIME, "{:?}", ended.took);
}

#[test]
fn a_second_one_at_the_same_socket_is_refused() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let second = SOURCES.replace("[ops]\nlisten = \"unix:ops.sock\"\n", "");
    folder.file("second.toml", &[&second, DELIVERIES].concat());
    folder
        .run(&["--config", "second.toml", "daemon"])
        .exits(4)
        .warns("the socket cannot listen at dlconf.sock: another dlconf does")
        .warns("fix: ");
    // The first goes on, and its socket is its own.
    daemon.fence(&folder);
    daemon.end(Signal::SIGTERM).exits(0);
    // One that was killed leaves its socket, which the next takes over.
    drop(Daemon::ready(&folder));
    assert!(folder.join("dlconf.sock").exists());
    Daemon::ready(&folder).end(Signal::SIGTERM).exits(0);
}

#[test]
fn it_stops_where_the_process_that_runs_programs_is_gone() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let children = daemon.children();
    kill(Pid::from_raw(children[0].cast_signed()), Signal::SIGKILL).unwrap();
    let why = "the process that runs on_change programs ended by SIGKILL";
    daemon.wait().exits(70).said(&format!("error: the daemon stops: {why}"));
    are_gone(&children);
    assert!(!folder.join("dlconf.sock").exists());
}

#[test]
fn a_killed_one_leaves_no_process() {
    let folder = usual();
    let daemon = Daemon::ready(&folder);
    let children = daemon.children();
    drop(daemon);
    are_gone(&children);
}

#[test]
fn a_delivery_over_the_schema_that_was_found_ends_the_start() {
    for name in ["dlconf.schema.toml", "other.env"] {
        let folder = home(&[SOURCES, &DELIVERIES.replace("out/app.env", name), AT_ONCE]);
        folder.file("other.env", &shop("one"));
        let before = folder.read(name);
        let mut command = folder.command(&["--config", "dlconf.toml", "--env-file", "other.env", "daemon"]);
        let ended = Daemon::of(&folder, &mut command).wait();
        ended.exits(2).said(&format!("delivery `app` would be written over {name}"));
        assert_eq!(folder.read(name), before);
    }
}

#[test]
fn mistakes_end_the_start() {
    let folder = usual();
    let start = |settings: &str, arguments: &[&str]| {
        folder.file("dlconf.toml", settings);
        folder.run(&[arguments, &["daemon"]].concat())
    };
    let named = ["--config", "dlconf.toml"];
    start(&[SOURCES, DELIVERIES, "[dbounce]\n"].concat(), &named).exits(2).warns("did you mean `debounce`?");
    start(&[SOURCES, &DELIVERIES.replace("NOTE", "NOTO")].concat(), &named)
        .exits(2)
        .warns("`vars` of delivery `note` names `NOTO`")
        .warns("did you mean `NOTE`?");
    let nothing = SOURCES.replace("[socket]\npath = \"dlconf.sock\"\n", "");
    start(&nothing, &named).exits(2).warns("nothing to do");
    let exec = "[delivery.app.on_change]\nexec = [\"/bin/true\"]\n";
    start(&[SOURCES, DELIVERIES, exec].concat(), &[]).exits(4).warns("was found, not named, so it may not");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    start(&[&SOURCES.replace("unix:ops.sock", &address), DELIVERIES].concat(), &named)
        .exits(4)
        .warns(&format!("the ops port cannot listen at {address}"));
    // What was bound before that is given back.
    assert!(!folder.join("dlconf.sock").exists());
    assert!(!folder.join("out").exists());
}

#[test]
fn as_the_first_process_it_reaps_what_is_left_to_it() {
    let folder = usual();
    // The program's child outlives it, in a process group of its own.
    folder.file("hook.sh", "cd \"${0%/*}\"\nsetsid sh -c 'read x < gate' &\n");
    nix::unistd::mkfifo(&folder.join("gate"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let on_change =
        format!("[delivery.app.on_change]\nexec = [\"/bin/sh\", \"{}\"]\n", folder.join("hook.sh").display());
    folder.file("dlconf.toml", &[SOURCES, DELIVERIES, AT_ONCE, &on_change].concat());
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let may = Command::new(unshare[0]).args(&unshare[1..]).arg("true").stderr(Stdio::null()).status();
    if !may.is_ok_and(|status| status.success()) {
        // Needs root, and a kernel or container that lets it make namespaces.
        return;
    }
    let inner = Daemon::command(&folder);
    let mut command = Command::new(unshare[0]);
    command.args(&unshare[1..]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(folder.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    let daemon = Daemon::of(&folder, &mut command);
    daemon.until("readiness", |status| status["ready"] == true);
    daemon.says("on_change of delivery app: exit code 0");
    let first = daemon.children()[0];
    let adopted = wait_for(
        "the child that was left",
        || format!("{:?}", children(first)),
        || children(first).get(1).copied(),
    );
    fs::File::options().write(true).open(folder.join("gate")).unwrap().write_all(b"x\n").unwrap();
    are_gone(&[adopted]);
    // What is its own is not taken from who waits for it.
    put(&folder, ".env", &shop("two"));
    daemon.says_for(2, "on_change of delivery app: exit code 0");
    kill(Pid::from_raw(first.cast_signed()), Signal::SIGTERM).unwrap();
    daemon.wait().exits(0);
}
