//! Whole requests over a Unix socket, byte for byte, and what comes back.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;

use crate::daemon::PATIENCE;

/// An answer, read to the end of the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {text:?}"));
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    #[track_caller]
    pub(crate) fn tag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no tag: {self:?}"))
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The words of a refusal, after looking at what every one has.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, code: &str) -> String {
        let answer = self.is(status);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
        let problem = answer.json();
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &status.into()));
        assert_eq!(problem["code"], code, "{answer:?}");
        problem["detail"].as_str().unwrap().to_owned()
    }

    /// The values of `/v1/config`, as `NAME=value`, by name.
    #[track_caller]
    pub(crate) fn values(self) -> Vec<String> {
        let answer = self.is(200);
        let values = answer.json()["values"].as_object().unwrap().clone();
        values.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect()
    }
}

/// A request that is not answered yet.
pub(crate) struct Asked(UnixStream);

impl Asked {
    /// Sends it as it is.
    pub(crate) fn raw(socket: &Path, request: &[u8]) -> Self {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Who is refused early may be refused before all of it was read.
        let _refused_early = stream.write_all(request);
        Self(stream)
    }

    pub(crate) fn get(socket: &Path, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::raw(socket, request("GET", target, headers, "").as_bytes())
    }

    /// Whether anything has come back.
    pub(crate) fn is_answered(&self) -> bool {
        is_readable(&self.0)
    }

    /// Everything until the connection ends.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
        }
        bytes
    }

    #[track_caller]
    pub(crate) fn answer(self) -> Answer {
        Answer::of(&self.bytes())
    }
}

/// A whole request, after which the connection ends.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers =
        headers.iter().fold(String::new(), |text, (name, value)| text + name + ": " + value + "\r\n");
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}{length}\r\n{body}"
    )
}

#[track_caller]
pub(crate) fn ask(socket: &Path, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    Asked::raw(socket, request(method, target, headers, body).as_bytes()).answer()
}

#[track_caller]
pub(crate) fn get(socket: &Path, target: &str) -> Answer {
    ask(socket, "GET", target, &[], "")
}

/// What `is_answered` is asked after: a whole request and answer of another
/// connection.
pub(crate) fn round_trip(socket: &Path) {
    get(socket, "/v1/names").is(200);
}

/// The same, asked by a process of this user, whose group has the same number.
#[track_caller]
pub(crate) fn ask_as(uid: u32, socket: &Path, method: &str, target: &str, body: &str) -> Answer {
    Answer::of(&raw_as(uid, socket, &request(method, target, &[], body)))
}

const SCRIPT: &str = "import socket, sys\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(15)\n\
    s.connect(sys.argv[1])\ns.sendall(sys.stdin.buffer.read())\n\
    sys.stdout.buffer.write(b''.join(iter(lambda: s.recv(65536), b'')))";

pub(crate) fn raw_as(uid: u32, socket: &Path, request: &str) -> Vec<u8> {
    assert!(nix::unistd::Uid::effective().is_root(), "run as root: it takes another user's identity");
    let mut child = Command::new("setpriv")
        .args([&format!("--reuid={uid}"), &format!("--regid={uid}"), "--clear-groups", "--"])
        .args(["/usr/bin/python3", "-c", SCRIPT])
        .arg(socket)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let ran = child.wait_with_output().unwrap();
    assert!(ran.status.success());
    ran.stdout
}

/// Somebody who watches.
pub(crate) struct Watching {
    stream: UnixStream,
    read: Vec<u8>,
    /// What was understood so far, with the comments.
    pub(crate) text: String,
}

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Event {
    pub(crate) fn changed(&self) -> Vec<&str> {
        self.data["changed"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
    }

    pub(crate) fn is_resync(&self) -> bool {
        self.data.get("resync").is_some()
    }
}

impl Watching {
    #[track_caller]
    pub(crate) fn start(socket: &Path, target: &str, last: Option<&str>) -> Self {
        let headers: Vec<(&str, &str)> = last.iter().map(|last| ("last-event-id", *last)).collect();
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request("GET", target, &headers, "").as_bytes()).unwrap();
        let mut watching = Self { stream, read: Vec::new(), text: String::new() };
        let head = loop {
            match watching.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                Some(end) => break watching.read.drain(..end + 4).collect::<Vec<u8>>(),
                None => assert!(watching.more(), "no answer"),
            }
        };
        let answer = Answer::of(&head).is(200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        watching
    }

    /// Reads once; false at the end.
    #[track_caller]
    fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let count = match self.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error} after {:?}", self.text),
        };
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// The next chunk's text; none at the end.
    #[track_caller]
    fn chunk(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(2).position(|bytes| bytes == b"\r\n") {
                let size = std::str::from_utf8(&self.read[..end]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                if self.read.len() >= end + size + 4 {
                    let chunk: Vec<u8> = self.read.drain(..end + size + 4).collect();
                    let text = String::from_utf8(chunk[end + 2..end + 2 + size].to_vec()).unwrap();
                    return Some(text).filter(|_| size > 0);
                }
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// The next event, or none when it ends. Each is one chunk.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            let chunk = self.chunk()?;
            self.text.push_str(&chunk);
            assert!(chunk.ends_with("\n\n"), "{chunk:?}");
            let field =
                |name: &str| chunk.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let Some(data) = field("data") {
                let data: Value = serde_json::from_str(data).unwrap();
                let id = field("id").unwrap().to_owned();
                assert_eq!(data["version"], *id);
                return Some(Event { id, data });
            }
        }
    }

    #[track_caller]
    pub(crate) fn event(&mut self) -> Event {
        self.next().unwrap_or_else(|| panic!("it ended after {:?}", self.text))
    }

    /// Whether nothing more has come.
    pub(crate) fn is_silent(&self) -> bool {
        self.read.is_empty() && !is_readable(&self.stream)
    }
}

/// Whether there is something to read, now.
fn is_readable(stream: &UnixStream) -> bool {
    let mut one = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    poll(&mut one, PollTimeout::ZERO).unwrap() > 0
}
