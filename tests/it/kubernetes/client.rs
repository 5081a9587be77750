//! A client of an API server, fake or real: one request on one connection, or a
//! watch that goes on. Written here, since a fixture that shared the tested
//! program's client would share its mistakes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bao::tls::{Identity, connect};

/// Who asks whom.
pub(crate) struct Client {
    /// `127.0.0.1:6443`.
    pub(crate) host: String,
    /// The authority of a server with TLS.
    pub(crate) ca: Option<PathBuf>,
    /// A bearer token; empty for none.
    pub(crate) token: String,
    pub(crate) identity: Option<Identity>,
    /// How it calls itself.
    pub(crate) agent: &'static str,
}

/// What a test prepares its cluster with calls itself so: the fake's faults are not for it.
pub(crate) const FIXTURE: &str = "fixture/1";

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names are lower-case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The document, if it was granted.
    #[track_caller]
    pub(crate) fn fine(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text);
        self.json()
    }
}

trait Line: Read + Write + Send {}
impl<T: Read + Write + Send> Line for T {}

impl Client {
    fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        version: &str,
    ) -> std::io::Result<Box<dyn Line>> {
        let stream = TcpStream::connect(&self.host)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        let mut line: Box<dyn Line> = match &self.ca {
            None => Box::new(stream),
            Some(ca) => Box::new(connect(stream, ca, self.identity.as_ref())),
        };
        let mut text =
            format!("{method} {path} HTTP/{version}\r\nhost: {}\r\nconnection: close\r\n", self.host);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
            text.push_str(&format!("user-agent: {}\r\n", self.agent));
        }
        if !self.token.is_empty() {
            text.push_str(&format!("authorization: Bearer {}\r\n", self.token));
        }
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            text.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        line.write_all(&[text.as_bytes(), body].concat())?;
        line.flush()?;
        Ok(line)
    }

    /// Asks, and reads the answer to its end; what was cut is what came.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let line = self.send(method, path, headers, body, "1.1")?;
        let mut reader = BufReader::new(line);
        let (status, headers) = read_head(&mut reader)?;
        let mut bytes = Vec::new();
        match reader.read_to_end(&mut bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(error),
            _ => {}
        }
        if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            bytes = unchunked(&bytes);
        }
        Ok(Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() })
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"").unwrap()
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], b"").unwrap()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json("POST", path, "application/json", body)
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PUT", path, "application/json", body)
    }

    pub(crate) fn merge(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PATCH", path, "application/merge-patch+json", body)
    }

    pub(crate) fn json_patch(&self, path: &str, body: &Value) -> Answer {
        self.send_json("PATCH", path, "application/json-patch+json", body)
    }

    fn send_json(&self, method: &str, path: &str, media: &str, body: &Value) -> Answer {
        self.ask(method, path, &[("content-type", media)], body.to_string().as_bytes()).unwrap()
    }

    /// A watch, which is asked by HTTP/1.0: so its lines come without chunks.
    pub(crate) fn watch(&self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Watch> {
        let mut reader = BufReader::new(self.send("GET", path, headers, b"", "1.0")?);
        let (status, _) = read_head(&mut reader)?;
        assert_eq!(status, 200, "the watch did not begin");
        Ok(Watch { reader })
    }
}

/// An open watch.
pub(crate) struct Watch {
    reader: BufReader<Box<dyn Line>>,
}

impl Watch {
    /// The next event, and when it was there; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<(Value, Instant)> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(1..) => Some((serde_json::from_str(&line).unwrap(), Instant::now())),
            _ => None,
        }
    }

    /// The next event's type, name and version.
    #[track_caller]
    pub(crate) fn event(&mut self) -> (String, Value) {
        let (event, _) = self.next().expect("an event");
        (event["type"].as_str().unwrap().to_owned(), event["object"].clone())
    }
}

type Head = (u16, BTreeMap<String, String>);

fn read_head(reader: &mut BufReader<Box<dyn Line>>) -> std::io::Result<Head> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok((status, headers)) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

/// The bytes of whole and of broken chunks.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16).unwrap();
        bytes = &bytes[end + 2..];
        body.extend_from_slice(&bytes[..size.min(bytes.len())]);
        bytes = bytes.get(size + 2..).unwrap_or_default();
    }
    body
}
