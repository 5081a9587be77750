//! `--healthy`: new values are taken when a program works with them; otherwise it is put
//! back on those that it had, once, loudly, and they are not tried again.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

use nix::sys::signal::{Signal, kill};

use crate::supervised::{Supervised, folder, set};

/// Says what it has, in a line and in a file, and stays.
const STAYS: &str = r#"echo "$TOKEN"; printf %s "$TOKEN" > has; exec sleep 60"#;

/// The same, but that it does not stay with what is bad.
const CHOOSES: &str = r#"echo "$TOKEN"; case "$TOKEN" in bad*) exit 7;; esac; exec sleep 60"#;

/// Answers 200 where a file begins with `good`, and 503 otherwise. Ends when dropped.
struct Health {
    address: String,
    over: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl Drop for Health {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _wakes_it = TcpStream::connect(&self.address);
        self.server.take().unwrap().join().unwrap();
    }
}

impl Health {
    fn of(file: PathBuf) -> Self {
        Self::serving(move |stream| answer(stream, &file))
    }

    fn serving(mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let server = spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                serve(stream);
            }
        });
        Self { address, over, server: Some(server) }
    }
}

fn answer(mut stream: impl std::io::Read + std::io::Write, file: &Path) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        read.extend(byte);
    }
    let is_good = fs::read_to_string(file).is_ok_and(|text| text.starts_with("good"));
    let status = if is_good { "200 OK" } else { "503 Service Unavailable" };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _who_asked_may_be_gone = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
}

#[test]
fn what_never_becomes_healthy_is_put_back_once() {
    let folder = folder("good-1");
    let health = Health::of(folder.join("has"));
    let url = format!("http://{}/health", health.address);
    let options = ["--healthy", &url, "--healthy-timeout", "700ms", "-v"];
    let supervised = Supervised::start(&folder, &options, STAYS);
    supervised.tells("sh works");
    set(&folder, "bad-1");
    supervised.says(&["good-1", "bad-1", "good-1"]);
    supervised.tells("it is put back on the values that it had before");
    supervised.tells("works again, with the values that it had before");
    assert!(supervised.log().contains("TOKEN changed"), "{}", supervised.log());

    // The same again is not tried, the next is.
    folder.file("new", "# the same\nTOKEN=bad-1\n");
    fs::rename(folder.join("new"), folder.join(".env")).unwrap();
    set(&folder, "bad-2");
    supervised.says(&["good-1", "bad-1", "good-1", "bad-2", "good-1"]);
    supervised.until("it was to work again", || {
        (supervised.log().matches("works again").count() == 2).then_some(())
    });
    set(&folder, "good-2");
    supervised.says(&["good-1", "bad-1", "good-1", "bad-2", "good-1", "good-2"]);
    assert_eq!(supervised.stops(), 143);
    for secret in ["good-1", "bad-1", "bad-2", "good-2"] {
        assert!(!supervised.log().contains(secret), "{}", supervised.log());
    }
}

#[test]
fn what_ends_at_once_is_put_back() {
    let folder = folder("good-1");
    let supervised = Supervised::start(&folder, &["--healthy", "0.3s", "-v"], CHOOSES);
    supervised.tells("sh works");
    set(&folder, "bad-1");
    supervised.says(&["good-1", "bad-1", "good-1"]);
    supervised.tells("works again");
    supervised.tells("sh ended with 7 with new values");
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn with_nothing_to_put_it_back_on_it_is_told_and_goes_on() {
    let folder = folder("bad-1");
    let health = Health::of(folder.join("has"));
    let url = format!("http://{}/", health.address);
    let supervised =
        Supervised::start(&folder, &["--healthy", &url, "--healthy-timeout", "300ms", "-v"], STAYS);
    supervised.tells("does not show that it works");
    supervised.says(&["bad-1"]);
    // It is asked on, and something better takes its place.
    set(&folder, "good-1");
    supervised.says(&["bad-1", "good-1"]);
    supervised.tells("sh works");
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn a_command_looks_with_what_the_program_has() {
    let folder = folder("good-1");
    // Nobody sees what it says.
    let command = r#"sh -c 'echo noise; echo noise >&2; echo "$DLCONF_PID $TOKEN" >> looks; case "$TOKEN" in good*) exit 0;; esac; exit 1'"#;
    let script = r#"echo "$$ $TOKEN"; exec sleep 60"#;
    let options = ["--healthy", command, "--healthy-timeout", "500ms", "-v"];
    let supervised = Supervised::start(&folder, &options, script);
    supervised.tells("sh works");
    set(&folder, "bad-1");
    supervised.tells("works again");
    let said = supervised.said();
    let looks = folder.read("looks");
    for line in &said {
        assert!(looks.lines().any(|look| look == line), "{line} in {looks}");
    }
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(!supervised.log().contains("noise"), "{}", supervised.log());
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn a_command_looks_at_what_was_handed_by_file() {
    for how in ["file", "fd"] {
        let folder = folder("good-1");
        let command = r#"sh -c 'test -z "$TOKEN" && grep -q TOKEN=good "$DLCONF_FILE"'"#;
        let options = ["--deliver", how, "--healthy", command, "--healthy-timeout", "500ms", "-v"];
        let supervised = Supervised::start(&folder, &options, r#"grep TOKEN "$DLCONF_FILE"; exec sleep 60"#);
        supervised.tells("sh works");
        set(&folder, "bad-1");
        supervised.says(&["TOKEN=good-1", "TOKEN=bad-1", "TOKEN=good-1"]);
        supervised.tells("works again");
        assert_eq!(supervised.stops(), 143);
        assert_eq!(fs::read_dir(supervised.runtime()).unwrap().count(), 0);
    }
}

#[test]
fn a_file_that_is_exchanged_is_put_back_by_another_start() {
    let folder = folder("good-1");
    let command = r#"grep -q TOKEN=good "$DLCONF_FILE""#;
    let command = format!("sh -c '{command}'");
    let options = [
        "--deliver",
        "file",
        "--on-change",
        "signal:HUP",
        "--healthy",
        &command,
        "--healthy-timeout",
        "500ms",
        "-v",
    ];
    let script = r#"
        trap 'echo "told $(grep TOKEN "$DLCONF_FILE")"' HUP
        echo "starts $(grep TOKEN "$DLCONF_FILE")"
        while :; do sleep 60 & wait $!; done"#;
    let supervised = Supervised::start(&folder, &options, script);
    supervised.tells("sh works");
    set(&folder, "bad-1");
    supervised.says(&["starts TOKEN=good-1", "told TOKEN=bad-1", "starts TOKEN=good-1"]);
    supervised.tells("works again");
    assert_eq!(supervised.files().len(), 1);
    assert_eq!(supervised.stops(), 143);
}

#[test]
fn a_look_that_takes_too_long_is_killed_with_all_that_it_started() {
    let folder = folder("good-1");
    let command = r#"sh -c 'sleep 60 & echo "$$ $!" >> looks; wait'"#;
    let supervised = Supervised::start(&folder, &["--healthy", command], "exec sleep 60");
    let looks = |count: usize| {
        let looks = fs::read_to_string(folder.join("looks")).unwrap_or_default();
        (looks.lines().count() >= count).then(|| looks.lines().next().unwrap_or_default().to_owned())
    };
    // The second begins when the first is gone.
    let first = supervised.until("two looks", || looks(2));
    for pid in first.split(' ') {
        let gone = || (!Path::new("/proc").join(pid).exists()).then_some(());
        supervised.until("the look was to go", gone);
    }
    let last = || looks(2).and_then(|_| folder.read("looks").lines().last().map(str::to_owned));
    let last = last().unwrap();
    assert_eq!(supervised.stops(), 143);
    for pid in last.split(' ') {
        let gone = || (!Path::new("/proc").join(pid).exists()).then_some(());
        supervised.until("the last look was to go too", gone);
    }
}

#[test]
fn what_is_to_end_is_not_asked_any_more() {
    let folder = folder("good-1");
    let command = "sh -c 'echo look >> looks; exit 1'";
    let script = r#"
        trap 'echo ends; sleep 1; echo ended; sleep 0.3; exit 0' TERM
        echo "starts"; while :; do sleep 60 & wait $!; done"#;
    let supervised = Supervised::start(&folder, &["--healthy", command], script);
    let looks = || folder.path().join("looks").exists().then(|| folder.read("looks").lines().count());
    supervised.until("a look", looks);
    kill(supervised.pid(), Signal::SIGTERM).unwrap();
    supervised.says(&["starts", "ends"]);
    let before = looks().unwrap();
    supervised.says(&["starts", "ends", "ended"]);
    assert!(looks().unwrap() <= before + 1, "{before} looks before, {} after", looks().unwrap());
    // Hundredths of a second, of ours and of the system for us.
    let stat = fs::read_to_string(format!("/proc/{}/stat", supervised.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let spent: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    assert!(spent < 50, "it was busy for {spent} ticks");
    assert_eq!(supervised.ends(), 0);
}

#[test]
fn tls_is_verified() {
    let folder = folder("good-1");
    let (config, authority) = tls();
    let has = folder.join("has");
    let health = Health::serving(move |stream| {
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        answer(rustls::StreamOwned::new(session, stream), &has);
    });
    folder.file("ca.pem", &authority);
    let port = health.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}/");
    let options = ["--healthy", &url, "--healthy-timeout", "1s", "-v"];
    let supervised = Supervised::start(&folder, &options, STAYS);
    supervised.tells("does not show that it works");
    assert_eq!(supervised.stops(), 143);

    let runtime = tempfile::tempdir_in("/dev/shm").unwrap();
    let trusted = folder.join("ca.pem").display().to_string();
    let trusts = [("SSL_CERT_FILE", trusted.as_str())];
    let options = ["--healthy", &url, "-v"];
    let supervised = Supervised::start_in(runtime, &folder, &options, STAYS, &trusts);
    supervised.tells("sh works");
    assert_eq!(supervised.stops(), 143);
}

/// A server's side of TLS for `localhost`, and the authority that vouches for it.
fn tls() -> (Arc<rustls::ServerConfig>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let own = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let signed = server.signed_by(&own, &issuer).unwrap();
    let secret = rustls::pki_types::PrivateKeyDer::try_from(own.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![signed.der().clone()], secret)
        .unwrap();
    (Arc::new(config), certificate.pem())
}
