//! `dlconf status` and `dlconf health`: the real program asks over the socket.

use std::io::Write as _;
use std::os::unix::net::UnixListener;

use super::fake::{Served, ill, starting, well};
use crate::program::{Folder, Ran};

fn run(folder: &Folder, arguments: &[&str]) -> Ran {
    let socket = folder.join("d.sock");
    folder.run_with(arguments, &[("DLCONF_SOCKET", socket.to_str().unwrap())])
}

#[test]
fn status_is_told() {
    let folder = Folder::new();
    let _served = Served::control(&folder.join("d.sock"), ill());
    let ran = run(&folder, &["status"]).exits(0);
    for part in ["production", "7f3a.42", "JWT_SECRET", "source vault is down", "withheld"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let json = run(&folder, &["status", "--format", "json"]).exits(0).stdout;
    assert_eq!(serde_json::from_str::<dlconf::status::Status>(&json).unwrap(), ill());
}

#[test]
fn health_is_an_exit_code() {
    let folder = Folder::new();
    let served = Served::control(&folder.join("d.sock"), starting());
    run(&folder, &["health", "--live"]).exits(0);
    let ran =
        run(&folder, &["health", "--ready"]).exits(1).warns("not ready: no configuration is published yet");
    assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("", 1), "{}", ran.stderr);
    *served.fake.status.lock().unwrap() = well();
    run(&folder, &["health", "--ready", "--live"]).exits(0);
    run(&folder, &["health"]).exits(2);
}

#[test]
fn nobody_there_is_said_so() {
    let folder = Folder::new();
    folder.run(&["status"]).exits(2).warns("DLCONF_SOCKET");
    folder.run_with(&["status"], &[("DLCONF_SOCKET", "")]).exits(2);
    run(&folder, &["status"]).exits(3).warns("no daemon answers at").warns("is it running?");
    run(&folder, &["health", "--live"]).exits(3);
    // A socket that was left behind.
    drop(UnixListener::bind(folder.join("d.sock")).unwrap());
    run(&folder, &["status"]).exits(3).warns("no daemon answers at");
}

#[test]
fn something_else_there_is_said_so() {
    for (answer, words) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "no dlconf daemon of this release"),
        ("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n", "no dlconf daemon of this release"),
        ("SSH-2.0-x\r\n", "broke off before it answered"),
        ("", "as many connections as it takes (`max_connections`)"),
    ] {
        let folder = Folder::new();
        let listener = UnixListener::bind(folder.join("d.sock")).unwrap();
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            assert_ne!(std::io::Read::read(&mut stream, &mut asked).unwrap(), 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        run(&folder, &["status"]).exits(3).warns(words);
        other.join().unwrap();
    }
}

#[test]
fn a_daemon_that_is_silent_is_not_waited_for() {
    let folder = Folder::new();
    let _silent = UnixListener::bind(folder.join("d.sock")).unwrap();
    let began = std::time::Instant::now();
    run(&folder, &["health", "--live"]).exits(3).warns("gave no answer in 5 seconds");
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}

#[test]
fn a_refusal_is_in_the_daemons_words() {
    let folder = Folder::new();
    let listener = UnixListener::bind(folder.join("d.sock")).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 1024];
        assert_ne!(std::io::Read::read(&mut stream, &mut asked).unwrap(), 0);
        let body = r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"not-permitted","detail":"only its own user"}"#;
        write!(stream, "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    });
    run(&folder, &["status"])
        .exits(4)
        .warns("only its own user")
        .warns("only the user that the daemon runs as may ask");
    daemon.join().unwrap();
}
