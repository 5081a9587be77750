//! Clients of a daemon's socket that cost little, and the bare servers that it is
//! measured against. `socket_load.py` runs and judges them; a client prints its figures
//! as one line of JSON.
//!
//! ```text
//! socket_load bare SOCKET ANSWER                     answers /v1/config with the bytes of a file
//! socket_load tell SOCKET FILE EVENT                 tells of each new FILE with the bytes of EVENT
//! socket_load ask SOCKET CONNECTIONS SECONDS         asks as fast as it is answered
//! socket_load watch SOCKET WATCHERS NEXT FILE        at each line: renames NEXT, waits for all
//! socket_load pace SOCKET SECONDS                    1,000 requests a second, every other on a new connection
//! socket_load hold SOCKET CONNECTIONS ATTEMPTS       half-open connections, opened again when closed
//! ```
//!
//! The servers, `watch` and `hold` end at the end of their input, so that they do
//! not outlive who started them.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are for reading"
)]

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::unfold;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use notify::Watcher as _;
use tokio::sync::{oneshot, watch};

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// How long anything may take that a figure waits for.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Done {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["bare", socket, answer] => serve(socket, &bare(answer)?),
        ["tell", socket, file, event] => {
            let (router, _notices) = tell(Path::new(file), event)?;
            serve(socket, &router)
        }
        ["ask", socket, connections, seconds] => ask(socket, connections.parse()?, seconds.parse()?),
        ["watch", socket, watchers, next, file] => watch_all(socket, watchers.parse()?, next, file),
        ["pace", socket, seconds] => pace(socket, seconds.parse()?),
        ["hold", socket, connections, attempts] => hold(socket, connections.parse()?, attempts.parse()?),
        // `cargo bench` without anything.
        [] => say("benches/socket_load.py runs this"),
        _ => Err("this is not how socket_load.py calls it".into()),
    }
}

// The floors.

/// A handler that gives the same answer for ever.
fn bare(answer: &str) -> Done<Router> {
    let body = Bytes::from(std::fs::read(answer)?);
    let answer = async |State(body): State<Bytes>| {
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-store"),
            (ETAG, "W/\"00000000000000000000000000000000\""),
        ];
        (headers, body)
    };
    Ok(Router::new().route("/v1/config", get(answer)).with_state(body))
}

/// A broadcast of what inotify tells.
fn tell(file: &Path, event: &str) -> Done<(Router, notify::RecommendedWatcher)> {
    let event = Bytes::from(std::fs::read(event)?);
    let turns = watch::Sender::new(0_u64);
    let told = turns.clone();
    let name = file.file_name().map(ToOwned::to_owned);
    let mut notices = notify::recommended_watcher(move |notice: notify::Result<notify::Event>| {
        let is_rename = |notice: &notify::Event| {
            use notify::event::{EventKind, ModifyKind, RenameMode};
            matches!(notice.kind, EventKind::Modify(ModifyKind::Name(RenameMode::To)))
        };
        if let Ok(notice) = notice
            && is_rename(&notice)
            && notice.paths.iter().any(|path| path.file_name() == name.as_deref())
        {
            told.send_modify(|turn| *turn += 1);
        }
    })?;
    let folder = file.parent().ok_or("the file is in no folder")?;
    notices.watch(folder, notify::RecursiveMode::NonRecursive)?;
    let handler = async |State((turns, event)): State<(watch::Sender<u64>, Bytes)>| -> Response {
        let mut turns = turns.subscribe();
        turns.mark_changed();
        let events = unfold((turns, event), |(mut turns, event)| async {
            turns.changed().await.ok()?;
            Some((Ok::<_, io::Error>(event.clone()), (turns, event)))
        });
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
    };
    Ok((Router::new().route("/v1/watch", get(handler)).with_state((turns, event)), notices))
}

/// Serves on one thread, without any deadline, until the input ends.
fn serve(socket: &str, router: &Router) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(socket)?;
        let accept = async {
            loop {
                let (stream, _) = listener.accept().await?;
                let service = TowerToHyperService::new(router.clone());
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        };
        say("ready")?;
        tokio::select! {
            _ended = end_of_input() => Ok(()),
            failed = accept => failed,
        }
    })
}

/// A thread waits for it: the runtime reads no files.
async fn end_of_input() {
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let _as_good_as_ended = io::stdin().read_to_end(&mut Vec::new());
        let _nobody_waits = end.send(());
    });
    let _told = ended.await;
}

// The clients.

/// The client's side of a connection.
struct Connection {
    stream: UnixStream,
    read: Vec<u8>,
    /// How many bytes of it were read.
    filled: usize,
    /// When the answer was asked for that is awaited.
    since: Instant,
}

const CONFIG: &[u8] = b"GET /v1/config HTTP/1.1\r\nhost: dlconf\r\n\r\n";
const WATCH: &[u8] = b"GET /v1/watch HTTP/1.1\r\nhost: dlconf\r\n\r\n";

impl Connection {
    fn new(socket: &str, room: usize) -> Done<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, read: vec![0; room], filled: 0, since: Instant::now() })
    }

    fn send(&mut self, request: &[u8]) -> Done {
        self.since = Instant::now();
        Ok(self.stream.write_all(request)?)
    }

    /// Reads what is there; false where nothing is, of a stream that does not wait.
    fn more(&mut self) -> Done<bool> {
        match self.stream.read(&mut self.read[self.filled..]) {
            Ok(0) => Err("the server closed a connection".into()),
            Ok(read) => {
                self.filled += read;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes an answer that is there whole: how long it took.
    fn answered(&mut self) -> Done<Option<Duration>> {
        let read = &self.read[..self.filled];
        let Some(head) = memchr::memmem::find(read, b"\r\n\r\n") else { return Ok(None) };
        if !read.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(read).into());
        }
        let name = b"content-length: ";
        let at = memchr::memmem::find(&read[..head], name).ok_or("an answer has no length")?;
        let digits = read[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
        if self.filled < head + 4 + length {
            return Ok(None);
        }
        self.filled = 0;
        Ok(Some(self.since.elapsed()))
    }

    /// Waits for an answer.
    fn wait(&mut self) -> Done<Duration> {
        loop {
            if !self.more()? {
                return Err("no answer came in time".into());
            }
            if let Some(took) = self.answered()? {
                return Ok(took);
            }
        }
    }

    /// Takes the events that are there whole: how many.
    fn events(&mut self) -> usize {
        // Names and versions only: between two empty lines is a chunk's length.
        let Some(end) = memchr::memmem::rfind(&self.read[..self.filled], b"\n\n") else { return 0 };
        let count = memchr::memmem::find_iter(&self.read[..end], b"\ndata: ").count();
        self.read.copy_within(end + 2..self.filled, 0);
        self.filled -= end + 2;
        count
    }
}

/// Waits for those that have something to read, and tries each.
fn each_ready(
    connections: &mut [Connection],
    timeout: PollTimeout,
    mut act: impl FnMut(&mut Connection) -> Done,
) -> Done<bool> {
    let mut polled: Vec<PollFd<'_>> =
        connections.iter().map(|one| PollFd::new(one.stream.as_fd(), PollFlags::POLLIN)).collect();
    if poll(&mut polled, timeout)? == 0 {
        return Ok(false);
    }
    let ready: Vec<usize> =
        polled.iter().enumerate().filter(|(_, one)| one.any() == Some(true)).map(|(at, _)| at).collect();
    for at in ready {
        act(&mut connections[at])?;
    }
    Ok(true)
}

fn ask(socket: &str, count: usize, seconds: f64) -> Done {
    let mut connections = (0..count).map(|_| Connection::new(socket, 64 * 1024)).collect::<Done<Vec<_>>>()?;
    let mut times = Vec::with_capacity(1 << 20);
    // The first answers are those of a cold server.
    for connection in &mut connections {
        connection.send(CONFIG)?;
        connection.wait()?;
    }
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(seconds);
    for connection in &mut connections {
        connection.send(CONFIG)?;
    }
    while Instant::now() < end {
        let mut act = |connection: &mut Connection| -> Done {
            connection.more()?;
            if let Some(took) = connection.answered()? {
                times.push(took);
                connection.send(CONFIG)?;
            }
            Ok(())
        };
        match &mut connections[..] {
            [one] => act(one)?,
            many => {
                if !each_ready(many, PollTimeout::from(10_000_u16), act)? {
                    return Err("no answer came in time".into());
                }
            }
        }
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    report(&format!("\"requests\": {}, \"rate\": {rate:.1}, {}", times.len(), Spread::of(&mut times)))
}

fn watch_all(socket: &str, count: usize, next: &str, file: &str) -> Done {
    let mut watchers = (0..count).map(|_| Connection::new(socket, 8 * 1024)).collect::<Done<Vec<_>>>()?;
    for watcher in &mut watchers {
        watcher.send(WATCH)?;
    }
    // What there is when one comes.
    for watcher in &mut watchers {
        while watcher.events() == 0 {
            if !watcher.more()? {
                return Err("a watcher was told nothing".into());
            }
        }
        watcher.stream.set_nonblocking(true)?;
    }
    say("ready")?;
    for line in io::stdin().lines() {
        line?;
        let mut times = Vec::with_capacity(count);
        let began = Instant::now();
        std::fs::rename(next, file)?;
        while times.len() < count {
            let told = each_ready(&mut watchers, PollTimeout::from(10_000_u16), |watcher| {
                watcher.more()?;
                let told = began.elapsed();
                times.extend(std::iter::repeat_n(told, watcher.events()));
                Ok(())
            })?;
            if !told {
                return Err(format!("only {} of {count} watchers were told", times.len()).into());
            }
        }
        let told: Vec<String> = times.iter().map(|time| time.as_micros().to_string()).collect();
        say(&format!("[{}]", told.join(",")))?;
    }
    Ok(())
}

fn pace(socket: &str, seconds: f64) -> Done {
    const EVERY: Duration = Duration::from_millis(1);
    let began = Instant::now();
    let end = began + Duration::from_secs_f64(seconds);
    let (mut kept, mut new, mut refused) = (Vec::new(), Vec::new(), 0);
    let mut open = Connection::new(socket, 64 * 1024)?;
    let mut due = began;
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        due = (due + EVERY).max(Instant::now());
        if new.len() >= kept.len() {
            match open.send(CONFIG).and_then(|()| open.wait()) {
                Ok(took) => kept.push(took),
                Err(_) => {
                    refused += 1;
                    open = Connection::new(socket, 64 * 1024)?;
                }
            }
        } else {
            let since = Instant::now();
            let asked = Connection::new(socket, 64 * 1024).and_then(|mut one| {
                one.send(CONFIG)?;
                one.wait()
            });
            match asked {
                Ok(_) => new.push(since.elapsed()),
                Err(_) => refused += 1,
            }
        }
    }
    let mut all = [kept.as_slice(), new.as_slice()].concat();
    let (all, kept, new) = (Spread::of(&mut all), Spread::of(&mut kept), Spread::of(&mut new));
    report(&format!("\"refused\": {refused}, \"all\": {{{all}}}, \"kept\": {{{kept}}}, \"new\": {{{new}}}"))
}

/// Keeps so many connections open that say nothing, or half of something. Each that
/// is closed is opened again, until there were so many attempts.
fn hold(socket: &str, count: usize, attempts: usize) -> Done {
    /// 6,400 a second at most.
    const BURST: usize = 32;
    const PAUSE: Duration = Duration::from_millis(5);
    let socket = PathBuf::from(socket);
    let mut open: Vec<UnixStream> = Vec::with_capacity(count);
    let (mut tried, mut most, mut closed) = (0, 0, 0);
    let ended = std::thread::spawn(|| io::stdin().read_to_end(&mut Vec::new()));
    let mut is_told = false;
    while !ended.is_finished() {
        // Evenly, for these clients must leave a processor to those that are measured.
        for _ in 0..count.saturating_sub(open.len()).min(attempts - tried).min(BURST) {
            tried += 1;
            let mut stream = UnixStream::connect(&socket)?;
            if tried % 2 == 0 {
                let _closed_already = stream.write_all(b"GET /v1/config HTTP/1.1\r\nhost: dl");
            }
            open.push(stream);
        }
        most = most.max(open.len());
        if !is_told && (open.len() == count || tried == attempts) {
            say("ready")?;
            is_told = true;
        }
        // A few at a time: the kernel does not let others in while it looks at many.
        let mut is_closed = Vec::with_capacity(open.len());
        for some in open.chunks(64) {
            let mut polled: Vec<PollFd<'_>> =
                some.iter().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN)).collect();
            poll(&mut polled, PollTimeout::ZERO)?;
            // Nobody answers half a head but by closing.
            is_closed.extend(polled.iter().map(|one| one.any() == Some(true)));
        }
        closed += is_closed.iter().filter(|closed| **closed).count();
        let mut is_closed = is_closed.drain(..);
        open.retain(|_| is_closed.next() == Some(false));
        std::thread::sleep(PAUSE);
    }
    report(&format!(
        "\"attempts\": {tried}, \"most\": {most}, \"closed\": {closed}, \"left\": {}",
        open.len()
    ))
}

// Saying it.

/// In microseconds.
struct Spread {
    median: f64,
    p99: f64,
    most: f64,
}

impl Spread {
    fn of(times: &mut [Duration]) -> Self {
        times.sort_unstable();
        let part = |part: f64| {
            let at = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
        };
        Self { median: part(0.5), p99: part(0.99), most: part(1.0) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"p50\": {:.1}, \"p99\": {:.1}, \"max\": {:.1}", self.median, self.p99, self.most)
    }
}

fn report(fields: &str) -> Done {
    say(&format!("{{{fields}}}"))
}

fn say(line: &str) -> Done {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
