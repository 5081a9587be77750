//! A server that answers as a Vault does when it fails, or as whatever stands
//! before it: planned per path, in order, with every request noted.
//!
//! It knows no Vault: a plan says what to answer. A path without a plan answers
//! 501 and says so, since a 404 would read as a missing secret.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bao::http::{Request, read_request};

/// What a path answers.
#[derive(Clone)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// 200, and a JSON string in chunks that ends when the client has had enough.
    Endless,
    /// The same, a byte every 20 ms: no single read takes long.
    Drip,
    /// Takes the request and says nothing.
    Silence,
    /// A head that promises a body, and then the end of the connection.
    HeadOnly,
    /// The end of the connection instead of an answer.
    Close,
    /// Whatever the function makes of the request.
    By(Arc<dyn Fn(&Request) -> Reply + Send + Sync>),
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Answer { status, headers, body: body.to_string().into_bytes() }
    }

    /// An error as Vault words it: `{"errors": […]}`.
    pub(crate) fn error(status: u16) -> Self {
        let errors = match status {
            403 => json!(["1 error occurred:\n\t* permission denied\n\n"]),
            404 => json!([]),
            412 => json!(["required index state not present"]),
            429 => json!(["request path \"x\": rate limit quota exceeded"]),
            503 => json!(["Vault is sealed"]),
            _ => json!(["internal error"]),
        };
        Self::json(status, &json!({ "errors": errors }))
    }

    /// A page of something that stands between, with any status.
    pub(crate) fn html(status: u16) -> Self {
        let body = b"<!doctype html><title>Sign in</title><p>Please sign in.</p>".to_vec();
        Self::Answer { status, headers: vec![("content-type".to_owned(), "text/html".to_owned())], body }
    }

    /// 200, and the first half of a JSON document as a whole body.
    pub(crate) fn half(whole: &Value) -> Self {
        let text = whole.to_string();
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Self::Answer { status: 200, headers, body: text.as_bytes()[..text.len() / 2].to_vec() }
    }

    /// 307 to another address.
    pub(crate) fn redirect(to: &str) -> Self {
        Self::Answer { status: 307, headers: Vec::new(), body: Vec::new() }.header("location", to)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        match &mut self {
            Self::Answer { headers, .. } => headers.push((name.to_owned(), value.to_owned())),
            _ => panic!("only an answer has headers to add to"),
        }
        self
    }
}

#[derive(Default)]
struct State {
    plans: BTreeMap<String, VecDeque<Reply>>,
    requests: Vec<Request>,
    connections: Vec<TcpStream>,
    endless_bytes: u64,
    down: bool,
}

/// Answers until dropped.
pub(crate) struct Hostile {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Hostile {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = shared.lock().unwrap();
                if state.down {
                    return;
                }
                state.connections.push(client.try_clone().unwrap());
                drop(state);
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    serve(&client, &shared);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, state }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Plans what a path answers, in order; the last reply stays. `path` is
    /// without its query; `LIST /v1/…` is for that method only.
    pub(crate) fn on(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> &Self {
        let replies: VecDeque<Reply> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "{path}: no reply");
        self.state.lock().unwrap().plans.insert(path.to_owned(), replies);
        self
    }

    /// Every request so far, in the order they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// How many bytes of endless bodies went out.
    pub(crate) fn endless_bytes(&self) -> u64 {
        self.state.lock().unwrap().endless_bytes
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        state.down = true;
        for connection in state.connections.drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(state);
        // Wakes the one that accepts, so that it sees it.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(mut client: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(client);
    while let Ok(Some(request)) = read_request(&mut reader) {
        let mut reply = next_reply(&request, state);
        state.lock().unwrap().requests.push(request.clone());
        while let Reply::By(function) = &reply {
            reply = function(&request);
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
        match reply {
            Reply::Answer { status, headers, body } => {
                let mut text = format!("HTTP/1.1 {status} As planned\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    write!(text, "{name}: {value}\r\n").unwrap();
                }
                text.push_str("\r\n");
                let answer = [text.as_bytes(), &body].concat();
                let last = request.headers.get("connection").is_some_and(|c| c.eq_ignore_ascii_case("close"));
                if client.write_all(&answer).is_err() || last {
                    return;
                }
            }
            Reply::Endless => {
                let _ = write!(client, "{head}transfer-encoding: chunked\r\n\r\n2\r\n{{\"\r\n");
                endless(client, &[b"1000\r\n", &[b'x'; 0x1000][..], b"\r\n"].concat(), Duration::ZERO, state);
                return;
            }
            Reply::Drip => {
                let _ = write!(client, "{head}transfer-encoding: chunked\r\n\r\n2\r\n{{\"\r\n");
                endless(client, b"1\r\nx\r\n", Duration::from_millis(20), state);
                return;
            }
            Reply::Silence => {
                // Until the client closes, or this server is dropped.
                while matches!(reader.read(&mut [0; 1024]), Ok(1..)) {}
                return;
            }
            Reply::HeadOnly => {
                let _ = write!(client, "{head}content-length: 4096\r\n\r\n");
                return;
            }
            Reply::Close | Reply::By(_) => return,
        }
    }
}

fn next_reply(request: &Request, state: &Mutex<State>) -> Reply {
    let path = request.path.split('?').next().unwrap();
    let mut state = state.lock().unwrap();
    for name in [&format!("{} {path}", request.method), path] {
        if let Some(plan) = state.plans.get_mut(name) {
            return if plan.len() > 1 { plan.pop_front().unwrap() } else { plan[0].clone() };
        }
    }
    Reply::json(
        501,
        &json!({ "errors": [format!("the test planned nothing for {} {path}", request.method)] }),
    )
}

/// Sends a chunk again and again, until the client or the fixture closes.
fn endless(mut client: &TcpStream, chunk: &[u8], pause: Duration, state: &Mutex<State>) {
    while client.write_all(chunk).is_ok() {
        state.lock().unwrap().endless_bytes += chunk.len() as u64;
        if !pause.is_zero() {
            thread::sleep(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::bao::http::{Answer, ask};

    fn get(server: &Hostile, path: &str) -> std::io::Result<Answer> {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        ask(stream, "vault", "GET", path, &[("X-Vault-Token", "t")], b"")
    }

    #[test]
    fn replies_come_in_order_and_the_last_one_stays() {
        let server = Hostile::new();
        let secret = json!({ "data": { "a": "b" } });
        server.on("/v1/a", [Reply::error(429).header("retry-after", "7"), Reply::json(200, &secret)]);
        server.on("LIST /v1/a", [Reply::error(403)]);
        let first = get(&server, "/v1/a?version=1").unwrap();
        assert_eq!((first.status, first.headers["retry-after"].as_str()), (429, "7"));
        for _ in 0..2 {
            let body: Value = serde_json::from_slice(&get(&server, "/v1/a").unwrap().body).unwrap();
            assert_eq!(body, secret);
        }
        let stream = TcpStream::connect(server.address).unwrap();
        assert_eq!(ask(stream, "vault", "LIST", "/v1/a", &[], b"").unwrap().status, 403);
        assert_eq!(get(&server, "/v1/other").unwrap().status, 501);

        let requests = server.requests();
        let paths: Vec<&str> = requests.iter().map(|r| r.path.as_str()).collect();
        assert_eq!(paths, ["/v1/a?version=1", "/v1/a", "/v1/a", "/v1/a", "/v1/other"]);
        assert_eq!(requests[0].headers["x-vault-token"], "t");
    }

    #[test]
    fn every_failure_looks_as_it_should() {
        let server = Hostile::new();
        for status in [403, 404, 412, 429, 472, 473, 500, 502, 503] {
            server.on("/v1/a", [Reply::error(status)]);
            assert_eq!(get(&server, "/v1/a").unwrap().status, status);
        }
        server.on("/v1/html", [Reply::html(200)]);
        assert!(get(&server, "/v1/html").unwrap().body.starts_with(b"<!doctype html>"));
        server.on("/v1/half", [Reply::half(&json!({ "data": { "a": "b" } }))]);
        let half = get(&server, "/v1/half").unwrap();
        assert!(half.status == 200 && serde_json::from_slice::<Value>(&half.body).is_err());
        server.on("/v1/away", [Reply::redirect("http://127.0.0.1:1/v1/away")]);
        let away = get(&server, "/v1/away").unwrap();
        assert_eq!((away.status, away.headers["location"].as_str()), (307, "http://127.0.0.1:1/v1/away"));
        server.on("/v1/head", [Reply::HeadOnly]);
        let head = get(&server, "/v1/head").unwrap();
        assert_eq!((head.headers["content-length"].as_str(), head.body.len()), ("4096", 0));
        server.on("/v1/close", [Reply::Close]);
        assert!(get(&server, "/v1/close").is_err());
    }

    #[test]
    fn endless_bodies_end_with_the_client_and_silence_with_nobody() {
        let server = Hostile::new();
        server.on("/v1/endless", [Reply::Endless]).on("/v1/drip", [Reply::Drip]);
        server.on("/v1/silence", [Reply::Silence]);
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(b"GET /v1/endless HTTP/1.1\r\n\r\n").unwrap();
        client.read_exact(&mut vec![0; 3_000_000]).unwrap();
        drop(client);
        assert!(server.endless_bytes() > 2_000_000);

        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(b"GET /v1/drip HTTP/1.1\r\n\r\n").unwrap();
        let start = Instant::now();
        client.read_exact(&mut [0; 150]).unwrap();
        assert!(start.elapsed() > Duration::from_millis(100), "{:?}", start.elapsed());

        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(b"GET /v1/silence HTTP/1.1\r\n\r\n").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock), "{error}");
        drop(server);
        client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_or(0), 0, "dropped, it lets go");
    }
}
