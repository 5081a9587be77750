//! A server in a process of its own, whose answers are made for a test: what holds
//! descriptors and memory there is the server's alone.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use axum::routing::{get, post};
use dlconf::serve::{Bound, Limits, Peer};
use dlconf::telemetry::{Event, Listener};
use tokio::sync::{oneshot, watch};

use super::fake::unix;

/// Says what is to be served; only the process of a [`Host`] has it.
const WANTED: &str = "DLCONF_TEST_HOST";

/// Longer than anything takes that works, on a machine with other work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A text that is nowhere in the program as it is.
pub(crate) fn marker() -> String {
    "3fB9xQ7mZk2LwT5v-dekram".chars().rev().collect()
}

/// A server in a process of its own, ended when it is dropped.
pub(crate) struct Host {
    child: Child,
    folder: tempfile::TempDir,
}

/// What a server is started with, beside its address.
pub(crate) struct Wanted {
    pub(crate) limits: Limits,
    /// The most descriptors that it may have.
    pub(crate) descriptors: u64,
    /// Of its folder.
    pub(crate) mode: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { limits: Limits::default(), descriptors: 4096, mode: 0o755 }
    }
}

impl Host {
    pub(crate) fn new(limits: Limits) -> Self {
        Self::wanted(&Wanted { limits, ..Wanted::default() })
    }

    pub(crate) fn wanted(Wanted { limits, descriptors, mode }: &Wanted) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(*mode)).unwrap();
        let Limits { connections, per_user, first, head, body, answer, write, idle, drain } = limits;
        let times = [first, head, body, answer, write, idle, drain].map(|time| time.as_millis().to_string());
        let said = format!("{connections} {per_user} {descriptors} {}", times.join(" "));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve::host::a_process_of_its_own", "--nocapture", "--test-threads=1"])
            .env(WANTED, format!("{} {said}", folder.path().join("d.sock").display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("it listens")), "it ended");
        // Whoever prints later must not find the pipe closed.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("d.sock")
    }

    pub(crate) fn connect(&self) -> UnixStream {
        connect(&self.path())
    }

    /// A connection, and what it was asked first.
    pub(crate) fn say(&self, request: &str) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// A connection that is asked something, of whose answer the head is read.
    pub(crate) fn open(&self, path: &str) -> UnixStream {
        let mut stream = self.say(&request("GET", path));
        head(&mut stream);
        stream
    }

    /// The body of an answer, on a connection of its own.
    pub(crate) fn ask(&self, method: &str, path: &str) -> String {
        let answer = self.answer(method, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        super::fake::body(&answer).to_owned()
    }

    /// All of an answer, on a connection of its own.
    pub(crate) fn answer(&self, method: &str, path: &str) -> String {
        let mut stream =
            self.say(&format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// How many descriptors it has, but for what asking takes.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    pub(crate) fn told(&self, event: &str) -> usize {
        self.ask("GET", "/told").lines().filter(|told| told.starts_with(event)).count()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

pub(crate) fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

pub(crate) fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

/// The head of an answer, byte by byte, so that nothing of the body is read.
pub(crate) fn head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Whether the other side closed it, or does so in time.
#[track_caller]
pub(crate) fn is_closed(stream: &mut UnixStream) {
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it stays open");
                return;
            }
        }
    }
}

/// Looks until something is so.
#[track_caller]
pub(crate) fn until(what: &str, so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Listener for Told {
    fn tell(&self, event: Event) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }

    fn connections(&self, what: &'static str, open: usize) {
        let mut told = self.0.lock().unwrap();
        told.retain(|event| !event.starts_with("open "));
        told.push(format!("open {open} at {what}"));
    }
}

/// Does nothing, but in the process of a [`Host`].
#[test]
fn a_process_of_its_own() {
    let Ok(wanted) = std::env::var(WANTED) else { return };
    let mut words = wanted.split(' ');
    let path = PathBuf::from(words.next().unwrap());
    let mut number = || words.next().unwrap().parse::<u64>().unwrap();
    let (connections, per_user, descriptors) =
        (number().try_into().unwrap(), number().try_into().unwrap(), number());
    let mut time = || Duration::from_millis(number());
    let limits = Limits {
        connections,
        per_user,
        first: time(),
        head: time(),
        body: time(),
        answer: time(),
        write: time(),
        idle: time(),
        drain: time(),
    };
    let nofile = nix::sys::resource::Resource::RLIMIT_NOFILE;
    nix::sys::resource::setrlimit(nofile, descriptors.min(1024), descriptors).unwrap();
    let told = Arc::new(Told::default());
    let (next, generations) = watch::channel(0);
    let (end, ended) = oneshot::channel();
    let routes = routes(told.clone(), next, end);
    let bound = Bound::bind("the socket", &unix(&path, 0o666)).unwrap();
    println!("it listens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let shutdown = async { drop(ended.await) };
    runtime.block_on(bound.serve(routes, limits, told, Some(generations), shutdown)).unwrap();
}

fn routes(told: Arc<Told>, next: watch::Sender<u64>, end: oneshot::Sender<()>) -> Router {
    let held = Arc::new(Mutex::new(Vec::new()));
    let end = Arc::new(Mutex::new(Some(end)));
    let release = held.clone();
    Router::new()
        .route("/ok", get(async || "ok\n"))
        .route("/never", get(async || std::future::pending::<()>().await))
        .route("/length", post(async |body: Bytes| body.len().to_string()))
        .route("/marker", get(async || marker()))
        .route("/markers", get(async || format!("{}{}", marker(), ".".repeat(2_000_000))))
        // What is said at once, and nothing more.
        .route("/stream", get(async || stream("hello\n", 1)))
        // More than anybody takes who does not read.
        .route("/flood", get(async || stream(&"x".repeat(10_000), usize::MAX)))
        .route("/who", get(who))
        .route("/next", post(async move || next.send_modify(|number| *number += 1)))
        .route("/told", get(async move || told.0.lock().unwrap().join("\n")))
        .route(
            "/hold",
            post(async move || {
                let held = &mut *held.lock().unwrap();
                held.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
                held.len().to_string()
            }),
        )
        .route("/release", post(async move || release.lock().unwrap().clear()))
        .route("/end", post(async move || drop(end.lock().unwrap().take())))
}

/// The same text so often, and then no end.
fn stream(text: &str, times: usize) -> Body {
    let text = Bytes::copy_from_slice(text.as_bytes());
    Body::from_stream(futures_util::stream::unfold(0, move |said| {
        let text = text.clone();
        async move {
            if said == times {
                std::future::pending::<()>().await;
            }
            Some((Ok::<_, Infallible>(text), said + 1))
        }
    }))
}

async fn who(Extension(peer): Extension<Peer>, _request: Request) -> String {
    let Peer::Caller(caller) = peer else { return format!("{peer:?}") };
    let facts = caller.facts(true);
    let exe = facts.program.map(|program| program.exe.clone());
    format!(
        "uid {} gid {} groups {:?} pid {:?} exe {exe:?}",
        facts.uid,
        facts.gid,
        facts.groups,
        caller.pid()
    )
}
