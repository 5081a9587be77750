//! A daemon that goes away, refuses, serves somebody else, or is none.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const ONE: &str = "one none none none staging";
const TWO: &str = "two none none none staging";

/// Ends a daemon that is still there.
fn end(daemon: Daemon) {
    daemon.end(Signal::SIGTERM).exits(0);
}

#[test]
fn a_daemon_that_is_started_anew_with_the_same_values_restarts_nothing() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    watched.started(&[ONE]);
    end(daemon);
    let daemon = Daemon::ready(&folder);
    // What runs is acknowledged to this one as well, as what it calls it.
    let version = daemon.status()["version"].clone();
    daemon.until("the acknowledgement", |status| status["consumers"][0]["version"] == version);
    publish(&daemon, &folder, &shop("NAME=two\n"));
    watched.started(&[ONE, TWO]);
}

#[test]
fn a_daemon_that_is_away_is_told_once_and_what_runs_is_held() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &["--keep-alive", "--backoff", "10ms"]);
    watched.started(&[ONE]);
    end(daemon);
    watched.says("no daemon answers at");
    watched.says("sh goes on with what it has");
    // What ends by itself is started again with what is held.
    watched.kill_program();
    watched.started(&[ONE, ONE]);
    put(&folder, ".env", &shop("NAME=two\n"));
    let _daemon = Daemon::ready(&folder);
    watched.started(&[ONE, ONE, TWO]);
    watched.says("is followed again, after");
    assert_eq!(watched.count("goes on with what it has"), 1, "{}", watched.said());
    assert_eq!(watched.count("is followed again"), 1, "{}", watched.said());
}

#[test]
fn a_daemon_that_is_not_ready_is_told_and_what_runs_is_held() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    watched.started(&[ONE]);
    end(daemon);
    put(&folder, ".env", "NAME=two\n");
    let daemon = Daemon::start(&folder);
    daemon.says(" published yet: [DLC001]");
    watched.says("is not ready");
    put(&folder, ".env", &shop("NAME=two\n"));
    watched.started(&[ONE, TWO]);
    watched.says("is followed again, after");
    assert_eq!(watched.count("is not ready"), 1, "{}", watched.said());
}

#[test]
fn a_daemon_of_another_environment_or_service_changes_nothing() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    watched.started(&[ONE]);
    let usual = folder.read("dlconf.toml");
    let other = |daemon, from: &str, to: &str| {
        end(daemon);
        put(&folder, "dlconf.toml", &usual.replace(from, to));
        put(&folder, ".env", &shop("NAME=other\n"));
        Daemon::ready(&folder)
    };
    let daemon = other(daemon, "\"staging\"", "\"production\"");
    watched.says("serves production now, and served staging before; sh goes on with what it has");
    let daemon = other(daemon, "\"production\"", "\"production\"");
    watched.says("is followed again");
    watched.started(&[ONE, "other none none none staging"]);
    let daemon = other(daemon, "\"web\"", "\"worker\"");
    watched.says("serves service worker now, and served service web before");
    end(daemon);
    put(&folder, "dlconf.toml", &usual);
    put(&folder, ".env", &shop("NAME=two\n"));
    let _daemon = Daemon::ready(&folder);
    watched.started(&[ONE, "other none none none staging", TWO]);
}

#[test]
fn a_policy_that_refuses_changes_nothing() {
    let folder = home("service = \"web\"\n", "policy = \"access.toml\"\n");
    let uid = nix::unistd::geteuid().as_raw();
    let rules = |vars: &str, actions: &str| {
        format!(
            "[[allow]]\nuid = {uid}\nvars = [\"*\"]\nactions = [\"status\"]\n\
             [[allow]]\nuid = {uid}\nvars = [{vars}]\nactions = [{actions}]\n"
        )
    };
    let all = rules("\"*\"", "\"read\"");
    folder.file("access.toml", &all);
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &["--vars", "NAME"]);
    watched.started(&[ONE]);
    // It may not say what it runs: that is told, and nothing else depends on it.
    watched.says("what runs is not acknowledged: the daemon at");
    let rule = |policy: &str| {
        let done = "settings and schema were read again and hold";
        let before = daemon.count(done);
        put(&folder, "access.toml", policy);
        daemon.signal(Signal::SIGHUP);
        daemon.says_for(before + 1, done);
    };
    rule(&rules("\"NOTE\"", "\"read\""));
    watched.says("refuses: no rule of the access policy lets user");
    publish(&daemon, &folder, &shop("NAME=two\n"));
    assert_eq!(watched.starts(), [ONE]);
    rule(&all);
    watched.started(&[ONE, TWO]);
    watched.says("is followed again");
    assert_eq!(watched.count("goes on with what it has"), 1, "{}", watched.said());
    assert_eq!(watched.count("is not acknowledged"), 1, "{}", watched.said());
}

#[test]
fn what_is_no_daemon_changes_nothing() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    watched.started(&[ONE]);
    end(daemon);
    let listener = UnixListener::bind(folder.join("dlconf.sock")).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let questions = Arc::<AtomicUsize>::default();
    let asked_of_it = Arc::clone(&questions);
    let liar = std::thread::spawn(move || {
        listener.set_nonblocking(true).unwrap();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::yield_now();
                continue;
            };
            questions.fetch_add(1, Ordering::Relaxed);
            stream.set_nonblocking(false).unwrap();
            let mut asked = [0; 1024];
            if stream.read(&mut asked).is_ok_and(|count| count > 0) {
                let body = "{\"environment\":\"Zq81-garbage\"}";
                let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ";
                let _gone = write!(stream, "{head}{}\r\n\r\n{body}", body.len());
            }
        }
    });
    watched.says("is no dlconf daemon of this release; sh goes on with what it has");
    // However often it is asked again.
    let before = asked_of_it.load(Ordering::Relaxed);
    let is_asked = || (asked_of_it.load(Ordering::Relaxed) > before + 2).then_some(());
    wait_for("more questions", || watched.said(), is_asked);
    assert_eq!(watched.count("is no dlconf daemon"), 1, "{}", watched.said());
    stop.send(()).unwrap();
    liar.join().unwrap();
    fs::remove_file(folder.join("dlconf.sock")).unwrap();
    put(&folder, ".env", &shop("NAME=two\n"));
    let _daemon = Daemon::ready(&folder);
    watched.started(&[ONE, TWO]);
    assert!(!watched.said().contains("Zq81"), "{}", watched.said());
}

#[test]
fn what_never_answers_is_told() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    watched.started(&[ONE]);
    end(daemon);
    let hanging = UnixListener::bind(folder.join("dlconf.sock")).unwrap();
    watched.says("gave no answer in 5 seconds; sh goes on with what it has");
    assert_eq!(watched.starts(), [ONE]);
    drop(hanging);
    fs::remove_file(folder.join("dlconf.sock")).unwrap();
    put(&folder, ".env", &shop("NAME=two\n"));
    let _daemon = Daemon::ready(&folder);
    watched.started(&[ONE, TWO]);
}

#[test]
fn another_users_daemon_in_its_place_is_not_believed() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    let watched = Watched::start(&folder, &[]);
    watched.started(&[ONE]);
    assert!(nix::unistd::Uid::effective().is_root(), "run as root: it takes another user's identity");
    let theirs = tempfile::tempdir().unwrap();
    fs::set_permissions(theirs.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let socket = theirs.path().join("s");
    let script = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\n\
        sys.stdin.read()";
    let mut listener = Command::new("setpriv")
        .args(["--reuid=4711", "--regid=4711", "--clear-groups", "--", "/usr/bin/python3", "-c", script])
        .arg(&socket)
        .current_dir("/")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the other user's socket", String::new, || socket.exists().then_some(()));
    end(daemon);
    fs::rename(&socket, folder.join("dlconf.sock")).unwrap();
    watched.says("is user 4711's now, and was user 0's before; sh goes on with what it has");
    drop(listener.stdin.take());
    listener.wait().unwrap();
    fs::remove_file(folder.join("dlconf.sock")).unwrap();
    put(&folder, ".env", &shop("NAME=two\n"));
    let _daemon = Daemon::ready(&folder);
    watched.started(&[ONE, TWO]);
}

#[test]
fn a_schema_that_speaks_of_one_more_name_restarts_only_who_inherited_it() {
    let folder = web();
    let daemon = Daemon::ready(&folder);
    // One of them passes on OLD, until the schema speaks of it.
    let [with, without] = [&[("OLD", "x"), ("HOSTNAME", "with")][..], &[("HOSTNAME", "without")]]
        .map(|own| Watched::with(&folder, &[], own));
    with.started(&[ONE]);
    without.started(&[ONE]);
    put(
        &folder,
        "dlconf.schema.toml",
        &SCHEMA.replace("[retired]\n", "[retired]\nOLD = \"nothing reads it\"\n"),
    );
    end(daemon);
    let daemon = Daemon::ready(&folder);
    with.started(&[ONE, ONE]);
    let version = daemon.status()["version"].clone();
    daemon.until("both acknowledgements", |status| {
        [0, 1].iter().all(|at| status["consumers"][at]["version"] == version)
    });
    publish(&daemon, &folder, &shop("NAME=two\n"));
    with.started(&[ONE, ONE, TWO]);
    without.started(&[ONE, TWO]);
}
